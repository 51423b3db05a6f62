"""A reading loop and four writers on one TLS connection: nothing lost, torn, or out of order."""

from __future__ import absolute_import, division, print_function

import ssl

import pytest

from lomond import WebSocket
from lomond.server import Server
from tests.network.driving import Background
from tests.network.tls_proxy import TLSProxy

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

WRITERS = 4


def message(writer, number):
    """Return a message that tells its place; now and then one of more than a TLS record."""
    size = 20000 if number % 500 == 499 else (number * 37 + writer * 11) % 300
    return u'{}:{}:{}'.format(writer, number, chr(65 + number % 26) * size)


class Ledger(object):
    """Checks the messages of all writers as they arrive."""

    def __init__(self, count):
        self._count = count
        self._next = [0] * WRITERS

    def enter(self, text):
        """Check one; return True if that was the last."""
        writer = int(text[:1])
        assert text == message(writer, self._next[writer])
        self._next[writer] += 1
        return self._next == [self._count] * WRITERS


def run(connect, server_tls, count):
    """Have each writer send so many messages to an echo server; all are checked on both sides."""
    def write(writer):
        for number in range(count):
            websocket.send_text(message(writer, number))

    def echo(served):
        ledger = Ledger(count)
        for event in served:
            if event.name == 'text':
                ledger.enter(event.text)
                served.send_text(event.text)

    returned = Ledger(count)
    writers = []
    is_complete = False
    with Server(echo, ssl_context=server_tls) as server:
        websocket = connect(server.url)
        for event in websocket.connect(ping_rate=0.05):
            if event.name == 'ready':
                writers = [Background(write, writer) for writer in range(WRITERS)]
            elif event.name == 'text' and returned.enter(event.text):
                is_complete = True
                websocket.close()
        for writer in writers:
            writer.result()
    assert is_complete, event
    assert event.graceful


def test_tens_of_thousands_of_messages_each_way(server_tls, authority_file):
    def connect(url):
        return WebSocket(url, ssl_cafile=authority_file)
    run(connect, server_tls, 10000)


@pytest.mark.skipif(not hasattr(ssl, 'MemoryBIO'),
                    reason='there is no TLS within TLS on this Python')
def test_tens_of_thousands_of_messages_each_way_by_tls_within_tls(server_tls, authority_file):
    def connect(url):
        return WebSocket(url, ssl_cafile=authority_file, proxies=proxy.proxies)
    with TLSProxy(server_tls) as proxy:
        run(connect, server_tls, 5000)
