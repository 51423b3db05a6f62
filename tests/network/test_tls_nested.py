"""TLS within TLS: wss through an https proxy, and what the two layers owe each other."""

from __future__ import absolute_import, division, print_function

import ssl
import threading

import pytest

from lomond import WebSocket, errors
from lomond.server import Server
from tests.network.driving import (
    Background,
    accept_and_send,
    echo_handler,
    stall,
    wait_for,
)
from tests.network.tls_proxy import TLSProxy
from tests.support import RawServer, answer_upgrade, make_close, make_frame, names, read_frame

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

needs_memory_bio = pytest.mark.skipif(
    not hasattr(ssl, 'MemoryBIO'), reason='there is no TLS within TLS on this Python')


@pytest.fixture(params=[True, False], ids=['polite', 'rude'])
def proxy(request, server_tls):
    """A TLS proxy that ends its TLS by a close_notify, or doesn't."""
    with TLSProxy(server_tls, request.param) as proxy:
        yield proxy


@pytest.fixture
def connect(proxy, authority_file):
    def connect(server, **options):
        return WebSocket(server.url, proxies=proxy.proxies, ssl_cafile=authority_file, **options)
    return connect


@needs_memory_bio
def test_talk_and_close(connect, server_tls, proxy):
    with Server(echo_handler, ssl_context=server_tls) as server:
        websocket = connect(server)
        events = []
        for event in websocket:
            events.append(event)
            if event.name == 'ready':
                websocket.send_text(u'hello')
            elif event.name == 'text':
                websocket.close()
    assert names(events) == ['connecting', 'connected', 'ready', 'text', 'closed', 'disconnected']
    assert events[-1].graceful
    assert events[1].proxy == proxy.proxies['https']
    assert proxy.requests[0].startswith(b'CONNECT 127.0.0.1:')


@needs_memory_bio
def test_big_messages_both_ways(connect, server_tls):
    big = [bytes(bytearray(range(256))) * 4096 * size for size in (1, 5)]
    with Server(echo_handler, ssl_context=server_tls) as server:
        websocket = connect(server)
        received = []
        for event in websocket:
            if event.name == 'ready':
                for data in big:
                    websocket.send_binary(data)     # while the answers come in
            elif event.name == 'binary':
                received.append(event.data)
                if len(received) == len(big):
                    websocket.close()
    assert received == big
    assert event.graceful


@needs_memory_bio
def test_both_layers_resume_and_the_trace_tells(connect, server_tls):
    records = []

    def hang_up(websocket):
        for _event in websocket:
            return
    with Server(hang_up, ssl_context=server_tls) as server:
        websocket = connect(server, trace=records.append)
        for _ in range(2):
            assert names(websocket)[-1] == 'disconnected'
    resumed = [record['resumed'] for record in records if record['stage'] == 'tls']
    assert resumed[:2] == [False, False]
    assert resumed[3] is True       # the server's; the proxy's own, if that wasn't cut off


@needs_memory_bio
def test_the_name_of_the_server_is_checked_within(connect, authority):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(u'example.org').configure_cert(context)
    with RawServer(accept_and_send(make_close(1000)), context) as server:
        events = list(connect(server))
        assert names(events) == ['connecting', 'connect_fail']
        assert events[-1].phase == 'tls'
        assert 'verify failed' in events[-1].reason or "doesn't match" in events[-1].reason
        events = list(connect(server, ssl_server_hostname='example.org'))
    assert 'connected' in names(events)


@needs_memory_bio
def test_fingerprint_is_the_servers_not_the_proxys(connect, server_tls, authority):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(u'127.0.0.1').configure_cert(context)
    with RawServer(accept_and_send(make_close(1000)), context) as server:
        event = list(connect(server, ssl_fingerprint='0' * 64))[-1]
        assert event.phase == 'tls'
        events = list(connect(server, ssl_fingerprint=event.reason.split()[-1]))
    assert names(events)[-1] == 'disconnected'


@needs_memory_bio
def test_cut_of_the_proxys_connection_is_not_graceful(connect, server_tls, proxy):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'whole') + make_frame(1, b'torn')[:-1])
        wait_for(is_cut)

    is_cut = threading.Event()
    with RawServer(script, server_tls) as server:
        events = []
        for event in connect(server).connect(poll=None, ping_rate=0):
            events.append(event)
            if event.name == 'text':
                proxy.cut()
        is_cut.set()
    assert names(events)[3:] == ['text', 'disconnected']
    assert not events[-1].graceful


@needs_memory_bio
@pytest.mark.parametrize('ends_tls', [True, False])
def test_end_of_the_servers_tls_is_told_from_a_cut(connect, server_tls, ends_tls):
    """The proxy's own close_notify is no word of the server's."""
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'whole'))
        if ends_tls:
            sock.settimeout(0)
            try:
                sock.unwrap()
            except ssl.SSLError:
                pass

    with RawServer(script, server_tls) as server:
        websocket = connect(server)
        events = list(websocket.connect(poll=None, ping_rate=0))
    assert names(events)[3:] == ['text', 'disconnected']
    assert not events[-1].graceful
    assert ('closed the connection' if ends_tls else 'cut off') in events[-1].reason
    # What was cut off isn't resumed.
    assert any('tls' in key for key in websocket.dialer.tls.sessions) is ends_tls


@needs_memory_bio
@pytest.mark.parametrize('call', ['close', 'force_disconnect'])
def test_ending_it_from_another_thread(connect, server_tls, call):
    def script(sock):
        answer_upgrade(sock)
        _first, payload = read_frame(sock)
        sock.sendall(make_frame(8, payload))

    def run():
        for event in websocket.connect(poll=None, ping_rate=0):
            if event.name == 'ready':
                is_ready.set()
        return event

    is_ready = threading.Event()

    with RawServer(script, server_tls) as server:
        websocket = connect(server)
        loop = Background(run)
        wait_for(is_ready)
        getattr(websocket, call)()
        last = loop.result()
    assert last.name == 'disconnected'
    assert last.graceful is (call == 'close')


@needs_memory_bio
def test_force_disconnect_frees_a_sender_that_the_server_does_not_read(connect, server_tls):
    def script(sock):
        answer_upgrade(sock)
        wait_for(is_over)

    def send():
        with pytest.raises(errors.WebSocketError):
            while True:
                websocket.send_binary(b'x' * 4000000)

    is_over = threading.Event()
    with RawServer(script, server_tls) as server:
        websocket = connect(server)
        for event in websocket.connect(poll=0.05):
            if event.name == 'ready':
                sender = Background(send)
            elif event.name == 'poll' and not websocket.session.transport.is_writable():
                websocket.force_disconnect()
        sender.result()
        is_over.set()
    assert not event.graceful


@needs_memory_bio
def test_proxy_that_ends_during_the_inner_handshake_is_a_connect_fail(connect):
    def script(sock):
        sock.recv(100)

    with RawServer(script) as server:
        events = list(connect(server_of_tls(server)))
    assert names(events) == ['connecting', 'connect_fail']
    assert events[-1].phase == 'tls'
    assert 'cut off' in events[-1].reason


@needs_memory_bio
def test_inner_handshake_that_stalls_ends_at_the_deadline(connect):
    def script(sock):
        while sock.recv(4096):
            pass

    with RawServer(script) as server:
        event = stall(lambda timeout: connect(server_of_tls(server), connect_timeout=timeout),
                      lambda event: event.phase == 'tls')
    assert 'timed out' in event.reason


class server_of_tls(object):
    """A plain server, as one of wss that speaks no TLS."""

    def __init__(self, server):
        self.url = server.url.replace(u'ws:', u'wss:')


@pytest.mark.skipif(hasattr(ssl, 'MemoryBIO'), reason='there is TLS within TLS on this Python')
def test_python_without_it_says_so(connect, server_tls):
    with RawServer(accept_and_send(), server_tls) as server:
        events = list(connect(server))
    assert names(events) == ['connecting', 'connect_fail']
    assert events[-1].phase == 'tls'
    assert 'https proxy' in events[-1].reason
