"""Print the price of Bitcoin, as it changes.

    python -m lomond.examples.btcticker [--local [--outage]] [--product BTC-USD] [--count N]

It subscribes to the ticker channel of Coinbase Exchange's public feed, and reconnects for as long
as it runs. With ``--local`` it needs no network: it starts its own feed, with simulated prices.
With ``--outage`` that feed stops once, and comes back.
"""

from __future__ import absolute_import, division, print_function

import argparse
import sys

from lomond import WebSocket
from lomond._compat import TYPE_CHECKING
from lomond.errors import WebSocketError
from lomond.examples import cli, feed
from lomond.examples.outage import UnsteadyFeed
from lomond.persist import persist

if TYPE_CHECKING:
    from typing import Any, List, Optional, Text  # noqa: F401

LIVE_FEED = 'wss://ws-feed.exchange.coinbase.com'


def main(arguments=None):
    # type: (Optional[List[str]]) -> int
    """Run the program; return its exit status."""
    options = parse_arguments(arguments)
    if options.outage:
        return watch_outage(options.product, options.count)
    if options.local:
        with feed.start() as server:
            cli.say('Simulated prices, from a feed on this machine ({}):'.format(server.url))
            return watch(WebSocket(server.url, proxies={}), options.product, options.count)
    return watch(options.websocket, options.product, options.count)


def parse_arguments(arguments):
    # type: (Optional[List[str]]) -> argparse.Namespace
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog='btcticker', description='Print the price of Bitcoin, as it changes.', epilog=(
            'Exit status: 0 after --count prices, with Ctrl-C, or when the output is a closed pipe '
            '(as with head); 1 if the feed cannot be reached, or refuses the subscription; 2 for '
            'wrong arguments.'))
    source = parser.add_mutually_exclusive_group()
    source.add_argument('--local', action='store_true', help=(
        'start a feed with simulated prices on this machine, and print those'))
    source.add_argument('--url', type=cli.argument(WebSocket), default=LIVE_FEED, dest='websocket',
                        metavar='URL', help='another feed; default: %(default)s')
    parser.add_argument('--outage', action='store_true', help=(
        'with --local: the feed stops after a few prices, and comes back'))
    parser.add_argument('--product', default='BTC-USD', help='default: %(default)s')
    parser.add_argument(
        '--count', type=cli.number(1), metavar='N', help='end after N prices; default: never')
    options = parser.parse_args(arguments)
    if options.outage and not options.local:
        parser.error('argument --outage: requires --local')
    return options


def watch_outage(product, count):
    # type: (str, Optional[int]) -> int
    """Print the prices of a feed that stops once; return the exit status."""
    with UnsteadyFeed() as unsteady:
        cli.say('Simulated prices, from a feed on this machine ({}) that stops once:'.format(
            unsteady.url))
        status = watch(
            WebSocket(unsteady.url, proxies={}), product, count,
            min_wait=1, max_wait=1, exit_event=unsteady.has_failed)
        if unsteady.failure is not None:
            complain('could not restart the feed: {}'.format(unsteady.failure.strerror))
            return 1
        return status


def watch(websocket, product, count=None, **options):
    # type: (WebSocket, str, Optional[int], **Any) -> int
    """Print prices, up to ``count`` of them; return the exit status.

    ``options`` go to `persist`.
    """
    status = 0
    seen = 0
    was_ready = is_lost = False
    trouble = u''

    for event in persist(websocket, ping_timeout=60, **options):  # type: Any
        if event.name == 'ready':
            if is_lost:
                complain('the feed is back')
            was_ready, is_lost = True, False
            try:
                websocket.send_json(type='subscribe', product_ids=[product], channels=['ticker'])
            except WebSocketError:
                pass        # the connection ended already: Disconnected follows

        # Messages that arrive after close() are ignored: is_active is False by then.
        elif event.name == 'text' and websocket.is_active:
            message = event.json
            if message['type'] == 'ticker':
                seen += 1
                is_read = cli.say(u'{time}  {product_id}  {price:>12}'.format(**message))
                if not is_read or seen == count:
                    websocket.close()
            elif message['type'] == 'error':
                complain(u'{}: {}'.format(message['message'], message.get('reason')))
                status = 1
                websocket.close()

        elif event.name == 'closing':
            trouble = u'closed with code {}: {}'.format(event.code, event.reason).rstrip(u': ')

        elif event.name == 'connect_fail' or (event.name == 'disconnected' and not event.graceful):
            trouble = event.reason

        elif event.name == 'back_off':
            if not was_ready:
                complain(u'no feed at {}: {}. Try --local, which needs no network'.format(
                    websocket.target.url, trouble))
                return 1
            is_read = complain(u'{}: {}. Next attempt in {:.0f} s'.format(
                u'still no feed' if is_lost else u'lost the feed', trouble, event.delay))
            if not is_read:
                websocket.close()
            is_lost = True

    return status


def complain(line):
    # type: (Text) -> bool
    """Print an error on stderr; return False if stderr is a closed pipe."""
    return cli.complain(u'btcticker: ' + line)


if __name__ == '__main__':
    sys.exit(cli.run(main))
