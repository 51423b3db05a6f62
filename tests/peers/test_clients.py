"""The server against clients that nobody here wrote."""

from __future__ import absolute_import, division, print_function

import pytest
from six.moves import queue

from lomond.protocol.extensions.permessage_deflate import DeflateOptions
from lomond.server import Server

from ..support import PATIENCE, names
from . import BURST, SERVER_CLOSE

pytestmark = pytest.mark.costly

MIB = 1024 * 1024

MESSAGES = [u'text', u'', u'\u20ac \U0001f600 \x00', b'\x00\xff binary', b'']
LARGE = [u'\u00e9' * (MIB // 2), b'\xf0\x0d' * (MIB // 2)]

COMPRESSIONS = [
    True,
    DeflateOptions(server_no_context_takeover=True),
    DeflateOptions(client_no_context_takeover=True),
    DeflateOptions(client_max_window_bits=9),
    DeflateOptions(server_max_window_bits=9, level=9, mem_level=1),
]


class EchoServer(Server):
    """Sends back what it gets, and closes when it gets the text 'close'.

    ``seen`` is a queue with, for each connection, the list of its events and
    whether compression was agreed on.
    """

    def __init__(self, **options):
        super(EchoServer, self).__init__(self._serve_one, **options)
        self.seen = queue.Queue()

    def _serve_one(self, websocket):
        seen = []
        for event in websocket:
            seen.append(event)
            if event.name == 'text' and event.text == u'close':
                websocket.close(*SERVER_CLOSE)
            elif event.name == 'text':
                websocket.send_text(event.text)
            elif event.name == 'binary':
                websocket.send_binary(event.data)
        self.seen.put((seen, websocket.supports_compression))

    def last(self):
        return self.seen.get(timeout=PATIENCE)


@pytest.fixture
def serve(tls):
    """``serve(**options)`` is an `EchoServer`, on ws or wss."""
    def serve(**options):
        return EchoServer(ssl_context=tls and tls.context, **options)
    return serve


@pytest.mark.parametrize('compress', [False, True])
def test_messages_come_back(serve, talk, compress):
    with serve(compress=compress) as server:
        result = talk(server, MESSAGES, close=(1000, u''), compress=compress)
        seen, compressed = server.last()
    assert result.messages == MESSAGES
    assert compressed is compress
    assert seen[-1].graceful


@pytest.mark.parametrize('compress', [False, True])
def test_a_mebibyte_comes_back(serve, talk, compress):
    with serve(compress=compress) as server:
        result = talk(server, LARGE, close=(1000, u''), compress=compress)
    assert result.messages == LARGE


@pytest.mark.parametrize('compress', COMPRESSIONS, ids=[
    'default', 'server_no_takeover', 'client_no_takeover', 'client_window', 'server_window'])
def test_compressed_messages_come_back(peer, serve, talk, compress):
    if compress is COMPRESSIONS[2] and peer.__name__.endswith('tornado_peer'):
        pytest.skip('it keeps its context although the answer forbids it (RFC 7692 7.1.1.2)')
    messages = [u'{} is the number of this message'.format(i) for i in range(300)]
    with serve(compress=compress) as server:
        result = talk(server, messages, close=(1000, u''), compress=True)
        seen, compressed = server.last()
    assert compressed
    assert result.messages == messages
    assert seen[-1].graceful


def test_a_burst_comes_back_whole_and_in_order(serve, talk):
    burst = [u'{}'.format(number) for number in range(BURST)]
    with serve() as server:
        result = talk(server, burst, close=(1000, u''))
    assert result.messages == burst


def test_the_client_closes(serve, talk):
    with serve() as server:
        result = talk(server, [], close=(4001, u'sch\u00f6n'))
        seen, _compressed = server.last()
    assert names(seen) == ['ready', 'closing', 'disconnected']
    assert (seen[-2].code, seen[-2].reason) == (4001, u'sch\u00f6n')
    assert seen[-1].graceful
    assert result.closed[0] == 4001


def test_the_server_closes(serve, talk):
    with serve() as server:
        result = talk(server, [u'close'])
        seen, _compressed = server.last()
    assert result.messages == []
    assert result.closed == SERVER_CLOSE
    assert names(seen) == ['ready', 'text', 'closed', 'disconnected']
    assert seen[-1].graceful


def test_the_subprotocol_is_agreed_on(serve, talk):
    with serve(protocols=['quiz', 'chat']) as server:
        result = talk(server, [], close=(1000, u''), protocols=('superchat', 'chat'))
        seen, _compressed = server.last()
    assert result.protocol == 'chat'
    assert seen[0].protocol == u'chat'
