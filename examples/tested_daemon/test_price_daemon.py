"""Tests of price_daemon.py, which reach no network and wait for nothing."""

from __future__ import absolute_import, division, print_function

from price_daemon import PriceDaemon, main

from lomond.events import Closing, ConnectFail
from lomond.testing import FakeWebSocket, close, drop, expect, reject, say

BTC = {'symbol': 'BTC', 'price': 7}
SUBSCRIPTION = {'subscribe': ['BTC', 'ETH']}


def test_it_subscribes_again_after_an_outage(lomond_server, lomond_redirect, lomond_back_offs):
    """The daemon as it is, over TLS, to the URL in its source."""
    server = lomond_server(
        [expect(SUBSCRIPTION), say(BTC), drop()],
        [reject(503)],
        [expect(SUBSCRIPTION), say(dict(BTC, price=8)), close(4001, u'no such account')],
        tls=True)
    lomond_redirect({'prices.example.com': server})
    lines = []
    assert main(lines.append) == 1
    assert [line for line in lines if line.startswith('BTC')] == ['BTC 7', 'BTC 8']
    assert lines[-1] == 'giving up: the server closed with code 4001 no such account'
    assert [request.path for request in server.requests] == ['/feed'] * 3
    assert len(lomond_back_offs) == 2
    assert all(delay >= 1 for delay in lomond_back_offs)


def test_it_reports_each_change_once():
    """The same loop, over events instead of a server."""
    lines = []
    websocket = FakeWebSocket([BTC, BTC, Closing(4001, u'bye')])
    assert PriceDaemon(['BTC', 'ETH'], lines.append).run(websocket) == 1
    assert lines == ['BTC 7', 'giving up: the server closed with code 4001 bye']
    websocket.assert_sent(SUBSCRIPTION)


def test_it_survives_a_failed_attempt():
    daemon = PriceDaemon(['BTC'], lambda line: None)
    assert daemon.run(FakeWebSocket([ConnectFail(u'no network')], [BTC])) == 0
    assert daemon.prices == {'BTC': 7}
