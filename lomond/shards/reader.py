"""Reads the streams that `lomond.shards.redis` writes, as one consumer of a group.

Needs redis-py (`pip install lomond[redis]`), 4.0 or newer, and Redis 6.2 or newer; with
``claim_after=None``, redis-py 3.5 and Redis 5.
"""

from __future__ import absolute_import, division, print_function

import logging

import redis

from lomond._checks import check_count, check_seconds
from lomond._compat import TYPE_CHECKING, monotonic, text_type
from lomond.shards.redis import connection_options, is_cluster, make_client, stream_key

if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple, Union  # noqa: F401

log = logging.getLogger('lomond')  # type: logging.Logger


# From where XREADGROUP reads: what this consumer was given and hasn't acknowledged, or new entries.
_UNACKNOWLEDGED, _NEW = '0', '>'


class Entry(object):
    """What a `Reader` yields: ``feed``, its name; ``id``, of the entry; ``number``; ``data``.

    ``number`` is the feed's own number, or None if it has none; ``data``, text or bytes; ``time``,
    when the message arrived at its shard, in seconds since the epoch.
    """

    __slots__ = ('data', 'feed', 'id', 'number', 'time')

    def __init__(self, feed, entry_id, number, data, time):
        # type: (text_type, text_type, Optional[int], Union[text_type, bytes], float) -> None
        self.feed = feed  # type: text_type
        self.id = entry_id  # type: text_type
        self.number = number  # type: Optional[int]
        self.data = data  # type: Union[text_type, bytes]
        self.time = time  # type: float

    def __repr__(self):
        # type: () -> str
        return 'Entry({!r}, {!r}, {!r})'.format(self.feed, str(self.id), self.data)


def _pair(entry_id):
    # type: (text_type) -> Tuple[int, int]
    """Return the two numbers of an id."""
    first, second = entry_id.split('-')
    return int(first), int(second)


class Reader(object):
    """Reads the streams of feeds as one consumer of a group; iterating yields `Entry` objects.

    An entry is acknowledged once the next batch is asked for: what a consumer that died had not
    acknowledged is read by another one after ``claim_after`` seconds. So after a crash some
    entries come twice: compare their numbers.

    Parameters:

    - ``source``: a URL, or a function that returns a client, as for `RedisSink`.
    - ``feeds``: the names of the feeds; in a cluster, of one hash slot.
    - ``group`` and ``consumer``: names. A group is made at the beginning of the streams; streams
      that don't exist are made.
    - ``prefix``: as for `RedisSink` ('feed:').
    - ``count``: entries of one stream in a batch (200).
    - ``block``: for how many seconds it waits for entries before it yields None (1.0), so that the
      loop's body gets a turn; less than the client's ``socket_timeout``.
    - ``claim_after``: after how many seconds an entry that another consumer hasn't acknowledged is
      taken from it (30.0); None for never.

    Iterating raises what redis-py raises, as when Redis is away. Iterate again, and it goes on with
    the entries that weren't acknowledged; so does another reader of this consumer's name.

    ``missed`` counts, by feed, the numbers that were left out here, so with several consumers also
    those that another one reads; with one, the feed sent them while no shard held it, or the
    stream's ``maxlen`` had trimmed them before they were read. ``trimmed`` counts entries that had
    been trimmed while they were pending; ``restarts``, how often a group was gone, as after
    FLUSHALL, and was made again: after the last entry that was read, or at the beginning of a
    stream that doesn't go so far.
    """

    def __init__(self, source, feeds, group, consumer, prefix=u'feed:', count=200, block=1.0,
                 claim_after=30.0):
        # type: (Any, Iterable[text_type], text_type, text_type, text_type, int, float, Optional[float]) -> None
        if isinstance(feeds, (bytes, text_type)):
            raise TypeError('feeds must be a list of names, not {!r}'.format(feeds))
        feeds = list(feeds)
        if not feeds:
            raise ValueError('feeds must have at least one name')
        check_count('count', count, 1)
        check_seconds('claim_after', claim_after)
        if block is None:
            raise TypeError('block must be a number of seconds, not None')
        check_seconds('block', block)
        self._client = make_client(source)
        timeout = connection_options(self._client).get('socket_timeout')
        if timeout is not None and block >= timeout:
            raise ValueError('block must be less than the socket_timeout of the client, '
                             '{} s, not {}'.format(timeout, block))
        self._keys = {stream_key(prefix, name): name for name in feeds}
        if is_cluster(self._client) and len({self._client.keyslot(key) for key in self._keys}) > 1:
            raise ValueError('in a cluster a reader reads feeds of one hash slot, and these are in '
                             'several: make a reader for each feed, or give their names a common '
                             'part in braces, such as {tea}-1')
        self._group = group
        self._consumer = consumer
        self._count = count
        self._block = block
        self._claim_after = claim_after
        self._claim_at = monotonic()
        self._read = {}  # type: Dict[text_type, text_type]   # the last id, by feed
        self.missed = {}  # type: Dict[text_type, int]
        self.trimmed = 0  # type: int
        self.restarts = 0  # type: int

    def __iter__(self):
        # type: () -> Iterator[Optional[Entry]]
        self._make_groups()
        start = _UNACKNOWLEDGED
        while True:
            batches = (self._claim() if start == _NEW else []) + self._receive(start)
            for key, entries in batches:
                for entry in self._entries(self._keys[key], entries):
                    yield entry
            if batches:
                self._acknowledge(batches)
            elif start == _NEW:
                yield None
            else:
                start = _NEW

    def close(self):
        # type: () -> None
        """Close the client's connections."""
        self._client.close()

    def _make_groups(self):
        # type: () -> None
        """Make the groups that aren't there: one that was there begins after what was read."""
        was_there = False
        for key, name in self._keys.items():
            start = self._start(key)
            try:
                self._client.xgroup_create(key, self._group, id=start, mkstream=True)
            except redis.ResponseError as error:
                if not text_type(error).startswith('BUSYGROUP'):
                    raise
            else:
                was_there = was_there or name in self._read
                if start == u'0':
                    self._read.pop(name, None)
        if was_there:
            self.restarts += 1
            log.warning('the group %r was gone from Redis, and is made again', self._group)

    def _start(self, key):
        # type: (text_type) -> text_type
        """Return the last id that was read of a stream, or 0 if the stream doesn't go so far."""
        read = self._read.get(self._keys[key])
        if read is None:
            return u'0'
        last = self._client.xrevrange(key, count=1)
        return read if last and _pair(last[0][0].decode('ascii')) >= _pair(read) else u'0'

    def _receive(self, start):
        # type: (str) -> List[Tuple[text_type, Any]]
        try:
            found = self._client.xreadgroup(
                self._group, self._consumer, dict.fromkeys(self._keys, start), count=self._count,
                block=max(1, int(self._block * 1000)))      # 0: without a limit
        except redis.ResponseError as error:
            if not text_type(error).startswith('NOGROUP') \
                    and 'no longer exists' not in text_type(error):
                raise
            self._make_groups()
            return []
        found = found.items() if isinstance(found, dict) else found or ()
        return [(key.decode('utf-8'), entries) for key, entries in found if entries]

    def _claim(self):
        # type: () -> List[Tuple[text_type, Any]]
        """Return what other consumers have left unacknowledged for too long."""
        if self._claim_after is None or monotonic() < self._claim_at:
            return []
        self._claim_at = monotonic() + self._claim_after / 2
        claimed = []
        for key in self._keys:
            start = '0-0'  # type: Any
            while True:
                try:
                    answer = self._client.xautoclaim(
                        key, self._group, self._consumer, int(self._claim_after * 1000),
                        start_id=start, count=self._count)
                except redis.ResponseError as error:
                    if not text_type(error).startswith('NOGROUP'):
                        raise
                    break
                start = answer[0]
                # Redis 6.2 has no ids of those that were trimmed, newer ones list them apart.
                entries = [entry for entry in answer[1] if entry[0] is not None]
                self.trimmed += len(answer[1]) - len(entries)
                self.trimmed += len(answer[2]) if len(answer) > 2 else 0
                if entries:
                    claimed.append((key, entries))
                if start in (b'0-0', '0-0'):
                    break
        return claimed

    def _entries(self, name, entries):
        # type: (text_type, Any) -> Iterator[Entry]
        for raw_id, fields in entries:
            if not fields:      # it was trimmed while it was pending
                self.trimmed += 1
                continue
            entry_id = raw_id.decode('ascii')
            first, second = _pair(entry_id)
            number = first if second == 0 else None
            last = self._read.get(name)
            if last is not None and number is not None:
                left_out = number - _pair(last)[0] - 1
                if left_out > 0:
                    self.missed[name] = self.missed.get(name, 0) + left_out
            if last is None or (first, second) > _pair(last):
                self._read[name] = entry_id
            text = fields.get(b'text')
            yield Entry(name, entry_id, number,
                        fields.get(b'data') if text is None else text.decode('utf-8'),
                        float(fields.get(b'time', 0)))

    def _acknowledge(self, batches):
        # type: (List[Tuple[text_type, Any]]) -> None
        pipeline = self._client.pipeline(transaction=False)
        for key, entries in batches:
            pipeline.xack(key, self._group, *[entry_id for entry_id, _fields in entries])
        for answer in pipeline.execute(raise_on_error=False):
            if isinstance(answer, Exception) and 'NOGROUP' not in text_type(answer):
                raise answer
