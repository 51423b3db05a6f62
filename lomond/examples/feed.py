"""A price feed with simulated prices, in the format of Coinbase Exchange's public feed.

    python -m lomond.examples.feed [--host HOST] [--port PORT]

It prints its URL, and serves clients on this machine until Ctrl-C. To watch it, run
``python -m lomond.examples.btcticker --url URL``. To start it in your own program:

    with start() as server:
        print(server.url)
        ...

Each price is a random step away from the previous one. The feed supports the ticker channel, and
these messages:

    subscribe, unsubscribe    from the client, with product_ids and channels
    subscriptions, error      the answer to them
    ticker                    a price, a few times a second for each product
"""

from __future__ import absolute_import, division, print_function

import argparse
import random
import socket
import sys
from datetime import datetime, timedelta

from lomond._compat import TYPE_CHECKING
from lomond.examples import cli
from lomond.server import Server

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional  # noqa: F401

    from lomond.server import ServerWebSocket  # noqa: F401

#: Seconds from one price of a product to the next.
TICK = 0.25

#: The products, and the first price of each.
PRODUCTS = {
    u'BTC-USD': 60000.0,
    u'ETH-USD': 3000.0,
    u'LTC-USD': 80.0,
}

_STEP = 0.0005      # the standard deviation of a price's relative change
_EPOCH = datetime(1970, 1, 1)

_random = random.Random()       # nosec B311  # for prices, not for keys


def start(**options):
    # type: (**Any) -> Server
    """Start the feed on a free port; return the server, which the caller must close.

    ``options`` go to `lomond.server.Server`.
    """
    options.setdefault('poll', TICK)
    return Server(serve, **options).start()


def main(arguments=None):
    # type: (Optional[List[str]]) -> int
    """Serve until Ctrl-C; return the exit status if that fails."""
    options = parse_arguments(arguments)
    try:
        server = Server(serve, host=options.host, port=options.port, poll=TICK)
    except socket.error as error:
        cli.complain('feed: {}'.format(error.strerror))
        return 1
    try:
        cli.say(server.url)
        server.serve_forever()
    finally:
        server.close()
    return 0


def parse_arguments(arguments):
    # type: (Optional[List[str]]) -> argparse.Namespace
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog='feed', description='Serve simulated prices, and print the URL.',
        epilog='Exit status: 0 after Ctrl-C; 1 if it cannot listen; 2 for wrong arguments.')
    parser.add_argument('--host', default='127.0.0.1', help='default: %(default)s')
    parser.add_argument('--port', type=cli.port, default=0, help='default: any free port')
    return parser.parse_args(arguments)


def serve(websocket, on_price=None):
    # type: (ServerWebSocket, Optional[Callable[[], Any]]) -> None
    """Serve one client; the server calls this in a thread for the client.

    ``on_price`` is called after each price that was sent.
    """
    markets = {}  # type: Dict[str, Market]
    for event in websocket:
        if event.name == 'text':
            websocket.send_json(answer(event, markets))
        elif event.name == 'poll':
            for market in markets.values():
                websocket.send_json(market.trade(event.received_time))
                if on_price is not None:
                    on_price()


class SubscriptionError(Exception):
    """The feed can't do what a message asks for; the text says why."""


def answer(event, markets):
    # type: (Any, Dict[str, Market]) -> Dict[str, Any]
    """Do what a client's message asks for; return the answer."""
    try:
        change_subscriptions(event.json, markets)
    except SubscriptionError as error:
        reason = error.args[0]
    except (ValueError, LookupError, TypeError, AttributeError):
        reason = 'Malformed JSON'
    else:
        channel = {'name': 'ticker', 'product_ids': sorted(markets)}
        return {'type': 'subscriptions', 'channels': [channel] if markets else []}
    return {'type': 'error', 'message': 'Failed to subscribe', 'reason': reason}


def change_subscriptions(message, markets):
    # type: (Any, Dict[str, Market]) -> None
    """Subscribe or unsubscribe; raises SubscriptionError, and then changes nothing."""
    products = named_products(message)
    if message['type'] == 'subscribe':
        if not products:
            raise SubscriptionError('No channels, or no product_ids')
        for product in products:
            if product not in PRODUCTS:
                raise SubscriptionError(u'{} is not a valid product'.format(product))
        for product in products:
            markets.setdefault(product, Market(product))
    elif message['type'] == 'unsubscribe':
        for product in products or list(markets):
            markets.pop(product, None)
    else:
        raise SubscriptionError(u'Unknown type: {}'.format(message['type']))


def named_products(message):
    # type: (Any) -> List[str]
    """Return the products that a message names, for all channels or for one."""
    products = list(message.get('product_ids', []))
    for channel in message['channels']:
        name = channel
        if isinstance(channel, dict):
            name = channel['name']
            products += channel.get('product_ids', [])
        if name != 'ticker':
            raise SubscriptionError(u'{} is not a valid channel'.format(name))
    return products


class Market(object):
    """The simulated trades of one product for one client."""

    def __init__(self, product):
        # type: (str) -> None
        self._product = product
        self._price = PRODUCTS[product]
        self._open = self._low = self._high = self._price
        self._sequence = _random.randrange(10 ** 9)
        self._trades = _random.randrange(10 ** 6)

    def trade(self, when):
        # type: (float) -> Dict[str, Any]
        """Trade once, at a time in seconds since the epoch; return the ticker message."""
        change = _random.gauss(0, _STEP)
        self._price *= 1 + change
        self._low = min(self._low, self._price)
        self._high = max(self._high, self._price)
        self._sequence += _random.randrange(1, 100)
        self._trades += 1
        return {
            'type': 'ticker',
            'sequence': self._sequence,
            'product_id': self._product,
            'price': '{:.2f}'.format(self._price),
            'open_24h': '{:.2f}'.format(self._open),
            'volume_24h': '{:.8f}'.format(self._trades / 100),
            'low_24h': '{:.2f}'.format(self._low),
            'high_24h': '{:.2f}'.format(self._high),
            'volume_30d': '{:.8f}'.format(self._trades / 4),
            'best_bid': '{:.2f}'.format(self._price - 0.01),
            'best_bid_size': random_size(),
            'best_ask': '{:.2f}'.format(self._price + 0.01),
            'best_ask_size': random_size(),
            'side': 'buy' if change > 0 else 'sell',
            'time': (_EPOCH + timedelta(seconds=when)).strftime('%Y-%m-%dT%H:%M:%S.%fZ'),
            'trade_id': self._trades,
            'last_size': random_size(),
        }


def random_size():
    # type: () -> str
    """Return a random traded amount."""
    return '{:.8f}'.format(_random.uniform(0.0001, 1))


if __name__ == '__main__':
    sys.exit(cli.run(main))
