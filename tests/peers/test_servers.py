"""The client against servers that nobody here wrote."""

from __future__ import absolute_import, division, print_function

from functools import partial

import pytest

from lomond import WebSocket
from lomond.protocol.extensions.permessage_deflate import DeflateOptions

from ..support import PATIENCE, names
from . import BURST, PING, SERVER_CLOSE

MIB = 1024 * 1024

MESSAGES = [
    u'text', u'', u'\u20ac \U0001f600 \x00', b'\x00\xff binary', b'', bytearray(range(256)) * 9,
]
LARGE = [u'\u00e9' * (MIB // 2), b'\xf0\x0d' * (MIB // 2)]

COMPRESSIONS = [
    True,
    DeflateOptions(server_no_context_takeover=True),
    DeflateOptions(client_no_context_takeover=True),
    DeflateOptions(client_max_window_bits=9, level=9, mem_level=1),
    DeflateOptions(server_max_window_bits=9),
]


@pytest.fixture(scope='module')
def server(peer, tls):
    with peer.Server(tls) as server:
        yield server


@pytest.fixture
def visit(server, tls, authority_file):
    """``visit(path, script, **options)`` runs a client's loop to its end.

    ``script(websocket, event)`` is called for each event. Returns the events,
    and the code and reason of the Close frame that the server got.
    """
    def visit(path, script, **options):
        websocket = WebSocket(
            '{}://localhost:{}{}'.format('wss' if tls else 'ws', server.port, path),
            proxies={}, ssl_cafile=authority_file, **options)
        events = []
        for event in websocket:
            events.append(event)
            script(websocket, event)
        return events, server.closed.get(timeout=PATIENCE)
    return visit


def is_peer(peer, *names):
    return peer.__name__.endswith(tuple('.{}_peer'.format(name) for name in names))


def exchange(messages, websocket, event):
    """Send messages, and close when as many came back."""
    if event.name == 'ready':
        exchange.left = len(messages)
        for message in messages:
            if isinstance(message, type(u'')):
                websocket.send_text(message)
            else:
                websocket.send_binary(message)
    elif event.name in ('text', 'binary'):
        exchange.left -= 1
        if not exchange.left:
            websocket.close()


def messages_in(events):
    return [
        event.text if event.name == 'text' else event.data
        for event in events if event.name in ('text', 'binary')]


def test_messages_come_back(visit):
    events, closed = visit('/', partial(exchange, MESSAGES))
    assert messages_in(events) == MESSAGES
    assert names(events) == (
        ['connecting', 'connected', 'ready'] + ['text'] * 3 + ['binary'] * 3
        + ['closed', 'disconnected'])
    assert closed == (1000, u'goodbye')


@pytest.mark.parametrize('compress', [False, True])
def test_a_mebibyte_comes_back(visit, compress):
    events, _closed = visit('/', partial(exchange, LARGE), compress=compress)
    assert messages_in(events) == LARGE
    assert events[-1].graceful


@pytest.mark.parametrize('compress', COMPRESSIONS, ids=[
    'default', 'server_no_takeover', 'client_no_takeover', 'client_window', 'server_window'])
def test_compressed_messages_come_back(peer, visit, compress):
    if compress is COMPRESSIONS[1] and is_peer(peer, 'tornado'):
        pytest.skip('its answer leaves the parameter out, against RFC 7692 7.1.1.1')
    agreed = []

    def script(websocket, event):
        if event.name == 'ready':
            agreed.append(websocket.supports_compression)
            agreed.extend(event.extensions)
        exchange(MESSAGES * 3, websocket, event)

    events, closed = visit('/', script, compress=compress)
    assert agreed == [True, u'permessage-deflate']
    assert messages_in(events) == MESSAGES * 3
    assert events[-1].graceful
    assert closed == (1000, u'goodbye')


def test_messages_sent_uncompressed_mix_with_compressed_ones(visit):
    def script(websocket, event):
        if event.name == 'ready':
            websocket.send_text(u'so, so, so', compress=True)
            websocket.send_text(u'so, so, so', compress=False)
            websocket.send_text(u'so, so, so', compress=True)
        elif event.name == 'text' and len(seen) < 2:
            seen.append(event.text)
        elif event.name == 'text':
            websocket.close()

    seen = []
    events, _closed = visit('/', script, compress=True)
    assert messages_in(events) == [u'so, so, so'] * 3


def test_a_burst_from_the_server_arrives_whole_and_in_order(visit):
    def script(websocket, event):
        if event.name == 'text' and event.text == u'999':
            websocket.close()

    events, _closed = visit('/burst', script)
    assert messages_in(events) == [u'{}'.format(number) for number in range(BURST)]
    assert events[-1].graceful


@pytest.mark.parametrize('compress', [False, True])
def test_a_burst_from_the_client_comes_back_whole_and_in_order(visit, compress):
    burst = [u'{}'.format(number) for number in range(BURST)]
    events, _closed = visit('/', partial(exchange, burst), compress=compress)
    assert messages_in(events) == burst
    assert events[-1].graceful


@pytest.mark.parametrize('compress', [False, True])
def test_fragments_are_put_together(peer, visit, compress):
    if is_peer(peer, 'aiohttp', 'tornado'):
        pytest.skip('it sends no fragments')
    messages = [u'', u'abcdefg', b'\x00' * 9, u'\u00fc' * 70000]
    events, _closed = visit('/fragments', partial(exchange, messages), compress=compress)
    assert messages_in(events) == messages


def test_the_client_closes(peer, visit):
    def script(websocket, event):
        if event.name == 'ready':
            websocket.close(4001, u'sch\u00f6n')

    events, closed = visit('/', script)
    assert names(events) == ['connecting', 'connected', 'ready', 'closed', 'disconnected']
    # All but this one send the code back.
    assert events[-2].code == (1000 if is_peer(peer, 'aiohttp') else 4001)
    assert events[-1].graceful
    assert closed == (4001, u'sch\u00f6n')


def test_the_server_closes(visit):
    def script(websocket, event):
        if event.name == 'ready':
            websocket.send_text(u'close, please')
        elif event.name == 'closing':
            assert websocket.is_active

    events, closed = visit('/close', script)
    assert names(events) == ['connecting', 'connected', 'ready', 'closing', 'disconnected']
    assert (events[-2].code, events[-2].reason) == SERVER_CLOSE
    assert events[-1].graceful
    assert closed[0] == SERVER_CLOSE[0]     # our Close frame has its code


def test_a_ping_is_answered_with_a_pong(visit):
    def script(websocket, event):
        if event.name == 'text':
            websocket.close()

    events, _closed = visit('/ping', script)
    assert names(events)[3:-2] == ['ping', 'text']
    assert [event.data for event in events if event.name == 'ping'] == [PING]
    assert messages_in(events) == [u'ponged']


def test_our_ping_gets_its_pong(visit):
    def script(websocket, event):
        if event.name == 'ready':
            websocket.send_ping(b'\x00 and you?')
        elif event.name == 'pong':
            assert event.data == b'\x00 and you?'
            websocket.close()

    events, _closed = visit('/', script)
    assert 'pong' in names(events)


def test_the_subprotocol_is_agreed_on(visit):
    def script(websocket, event):
        if event.name == 'ready':
            assert event.protocol == u'chat'
            websocket.close()

    events, _closed = visit('/', script, protocols=['superchat', 'chat'])
    assert events[-1].graceful


def test_a_path_that_is_not_there_is_rejected(peer, server, tls, authority_file):
    if is_peer(peer, 'websockets', 'node'):
        pytest.skip('it takes any path')
    websocket = WebSocket(
        '{}://localhost:{}/nowhere'.format('wss' if tls else 'ws', server.port),
        proxies={}, ssl_cafile=authority_file)
    events = list(websocket)
    assert names(events) == ['connecting', 'connected', 'rejected', 'disconnected']
    assert events[2].response.status_code == 404
    assert b'404' in events[2].response.body
    assert not events[3].graceful
