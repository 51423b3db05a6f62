"""Print the price of Bitcoin, as it changes: ``python -m lomond.examples.btcticker``.

It subscribes to the ticker channel of Coinbase Exchange's public feed, and
reconnects for as long as it runs. With ``--local`` there is no need of a
network: it starts a feed of its own, with simulated prices.
"""

from __future__ import absolute_import, division, print_function

import argparse
import sys

from lomond import WebSocket
from lomond._compat import TYPE_CHECKING
from lomond.errors import WebSocketError
from lomond.examples import feed
from lomond.persist import persist

if TYPE_CHECKING:
    from typing import Any, List, Optional  # noqa: F401

LIVE_FEED = 'wss://ws-feed.exchange.coinbase.com'


def main(arguments=None):
    # type: (Optional[List[str]]) -> int
    """Run the program; return its exit status."""
    options = parse_arguments(arguments)
    try:
        if not options.local:
            return watch(options.websocket, options.product, options.count)
        with feed.start() as server:
            say('Simulated prices, from a feed on this machine ({}):'.format(server.url))
            return watch(WebSocket(server.url, proxies={}), options.product, options.count)
    except KeyboardInterrupt:
        return 0


def parse_arguments(arguments):
    # type: (Optional[List[str]]) -> argparse.Namespace
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog='btcticker', description='Print the price of Bitcoin, as it changes.')
    parser.add_argument('--local', action='store_true', help=(
        'start a feed with simulated prices on this machine, and watch that'))
    parser.add_argument('--product', default='BTC-USD', help='default: %(default)s')
    parser.add_argument('--count', type=positive, metavar='N', help='end after N prices')
    parser.add_argument('--url', type=WebSocket, default=LIVE_FEED, dest='websocket', metavar='URL',
                        help='another feed; default: %(default)s')
    return parser.parse_args(arguments)


def positive(text):
    # type: (str) -> int
    """Read a number from 1 on; argparse reports the ValueError."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def watch(websocket, product, count=None, **options):
    # type: (WebSocket, str, Optional[int], **Any) -> int
    """Print prices, up to ``count`` of them; return the exit status.

    ``options`` go to `persist`.
    """
    status = 0
    seen = 0
    was_ready = False
    trouble = ''

    for event in persist(websocket, ping_timeout=60, **options):  # type: Any
        if event.name == 'ready':
            was_ready = True
            try:
                websocket.send_json(type='subscribe', product_ids=[product], channels=['ticker'])
            except WebSocketError:
                pass        # lost again already: Disconnected will say so

        # After close() messages may still arrive: is_active is False by then.
        elif event.name == 'text' and websocket.is_active:
            message = event.json
            if message['type'] == 'ticker':
                say('{time}  {product_id}  {price:>12}'.format(**message))
                seen += 1
                if seen == count:
                    websocket.close()
            elif message['type'] == 'error':
                complain('{}: {}'.format(message['message'], message.get('reason')))
                status = 1
                websocket.close()

        elif event.name in ('connect_fail', 'disconnected'):
            trouble = event.reason

        elif event.name == 'back_off':
            if not was_ready:
                complain('no feed at {}: {}. Try --local, which needs no network.'.format(
                    websocket.url, trouble))
                return 1
            complain('lost the feed: {}. Next attempt in {:.0f} s.'.format(
                trouble, event.delay))

    return status


def say(line):
    # type: (str) -> None
    """Print a line at once, into a pipe too."""
    print(line)
    sys.stdout.flush()


def complain(line):
    # type: (str) -> None
    """Report trouble on stderr."""
    sys.stderr.write('btcticker: {}\n'.format(line))


if __name__ == '__main__':
    sys.exit(main())
