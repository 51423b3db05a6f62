"""A daemon that keeps a feed of prices: its URL is fixed, and no line of it is there for tests.

    python price_daemon.py

It subscribes on each connection, prints each new price, and reconnects after an outage. The exit
status is 1 once the server refuses the subscription, by a Close frame with the code 4001.
"""

from __future__ import print_function

import sys

from lomond import WebSocket, errors
from lomond.persist import ReconnectPolicy, persist

try:
    from typing import Any, Callable, Dict, List  # noqa: F401
except ImportError:
    pass        # Python 2.7

URL = u'wss://prices.example.com/feed'
REFUSED = 4001


class PriceDaemon(object):
    """Keeps the last price of each symbol; ``report`` is called with each line to print."""

    def __init__(self, symbols, report=print):
        # type: (List[str], Callable[[str], Any]) -> None
        self.symbols = symbols
        self.prices = {}  # type: Dict[str, float]
        self._report = report

    def run(self, websocket):
        # type: (WebSocket) -> int
        """Keep the feed until it ends; return the exit status."""
        policy = ReconnectPolicy(min_wait=1, stop_on_code=REFUSED)
        for event in persist(websocket, policy=policy):
            if event.name == 'ready':
                try:
                    websocket.send_json(subscribe=self.symbols)
                except errors.WebSocketError:       # the connection is gone: the loop goes on
                    pass
            elif event.name == 'text':
                self.take(event.json)
            elif event.name == 'back_off':
                self._report('next attempt in {:.1f} s: {}'.format(event.delay, event.reason))
            elif event.name == 'gave_up':
                self._report('giving up: {}'.format(event.reason))
                return 1
        return 0

    def take(self, update):
        # type: (Dict[str, Any]) -> None
        """Keep a price, if it has changed."""
        symbol, price = update['symbol'], update['price']
        if self.prices.get(symbol) != price:
            self.prices[symbol] = price
            self._report('{} {}'.format(symbol, price))


def main(report=print):
    # type: (Callable[[str], Any]) -> int
    """Keep the prices of two symbols."""
    return PriceDaemon(['BTC', 'ETH'], report).run(WebSocket(URL))


if __name__ == '__main__':
    sys.exit(main())
