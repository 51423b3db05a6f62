"""Write a feed into a Redis stream: each message once, also if this program is killed.

    pip install lomond redis
    python redis_stream.py [--redis redis://127.0.0.1:6379] [--stream feed] [URL]

The feed numbers its messages, and a client says after which number to begin. A message's
number is the id of its entry in Redis, so Redis itself has the last number, and refuses one that it
has already. If Redis fails, the program ends with status 1. Let a service manager start it again:
it goes on after the last entry. Ctrl-C or SIGTERM ends it with status 0.

Without a URL it starts a feed of its own. Redis writes the stream to its disk if you set
`appendonly yes`. Each message is a JSON object such as {"sequence": 42, "price": "1.00"}.
"""

from __future__ import absolute_import, division, print_function

import argparse
import itertools
import signal
import sys

import redis

from lomond import WebSocket
from lomond.errors import WebSocketError
from lomond.examples import cli
from lomond.persist import ReconnectPolicy, persist
from lomond.server import Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any  # noqa: F401

    from lomond.server import ServerWebSocket  # noqa: F401


class Stream(object):
    """A Redis stream whose ids are the numbers of a feed."""

    def __init__(self, client, name):
        # type: (Any, str) -> None
        self._client = client
        self._name = name
        newest = client.xrevrange(name, count=1)
        #: The number of the last message that Redis has.
        self.last = int(newest[0][0].split(b'-')[0]) if newest else 0

    def add(self, number, text):
        # type: (int, str) -> None
        """Add a message, unless Redis has it already."""
        if number > self.last:
            self._client.xadd(self._name, {'message': text}, id='{}-0'.format(number))
            self.last = number


def store(websocket, stream):
    # type: (WebSocket, Stream) -> int
    """Store messages until a signal comes, or Redis fails; return the exit status."""
    for event in persist(websocket, ping_timeout=60, policy=ReconnectPolicy(spread=1.0)):
        try:
            on_event(websocket, stream, event)
        except WebSocketError:
            pass        # the connection has just ended: the next events say why
        except redis.RedisError as error:
            cli.complain(u'Redis failed: {}'.format(error))
            return 1
    return 0


def on_event(websocket, stream, event):
    # type: (WebSocket, Stream, Any) -> None
    if event.name == 'ready':
        cli.say(u'connected: storing what comes after {}'.format(stream.last))
        websocket.send_json(type='subscribe', after=stream.last)
    elif event.name == 'text':
        number = event.json['sequence']
        if number > stream.last + 1:
            cli.complain(u'the feed left out {} messages after {}'.format(
                number - stream.last - 1, stream.last))
        stream.add(number, event.text)
    elif event.name == 'back_off':
        cli.complain(u'{}. Next attempt in {:.1f} s'.format(event.reason, event.delay))


def serve_numbers(websocket):
    # type: (ServerWebSocket) -> None
    """Serve a feed, as an example: it has every number, and so can begin after any."""
    numbers = None
    for event in websocket:
        if event.name == 'text':
            numbers = itertools.count(event.json['after'] + 1)
        elif event.name == 'poll' and numbers is not None:
            websocket.send_json(sequence=next(numbers), price='1.00')


def main():
    # type: () -> int
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--redis', default='redis://127.0.0.1:6379', help='default: %(default)s')
    parser.add_argument('--stream', default='feed', help='default: %(default)s')
    parser.add_argument('websocket', metavar='URL', nargs='?', type=cli.argument(WebSocket))
    options = parser.parse_args()
    try:
        stream = Stream(redis.Redis.from_url(options.redis), options.stream)
    except (redis.RedisError, ValueError) as error:
        cli.complain(u'--redis: {}'.format(error))
        return 1
    with Server(serve_numbers, poll=0.2) as server:
        websocket = options.websocket or WebSocket(server.url, proxies={})
        for number in signal.SIGTERM, signal.SIGINT:
            signal.signal(number, lambda *_: websocket.close())
        return store(websocket, stream)


if __name__ == '__main__':
    sys.exit(cli.run(main))
