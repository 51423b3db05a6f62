"""Many feeds over several processes or machines: what runs in each, and where the messages go.

- `Feed`: a named source of messages.
- `Shard`: drives some of the feeds, and hands their messages to a sink. Any engine can run it.
- `Sink`: where messages go; `CallSink` and `JSONLinesSink`; `lomond.shards.redis.RedisSink`, whose
  streams `lomond.shards.reader.Reader` reads.
- `lomond.shards.ray.run`: shards as Ray actors.

Nothing else in lomond imports this. It imports neither Ray nor Redis.
"""

from __future__ import absolute_import, division, print_function

from lomond.shards.feed import Feed
from lomond.shards.shard import Shard
from lomond.shards.sink import Sink
from lomond.shards.sinks import CallSink, JSONLinesSink

__all__ = ['CallSink', 'Feed', 'JSONLinesSink', 'Shard', 'Sink']
