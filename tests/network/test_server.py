"""The small server: what it takes, what it refuses, how a handler and the server end."""

from __future__ import absolute_import, division, print_function

import errno
import gc
import logging
import os
import socket
import struct
import sys
import threading
from contextlib import closing

import pytest
from six.moves.http_client import HTTPConnection
from six.moves.queue import Queue
from six.moves.urllib.error import HTTPError
from six.moves.urllib.request import ProxyHandler, build_opener

from lomond import WebSocket, _serving, errors
from lomond._compat import set_close_on_exec
from lomond.net.waiter import wait
from lomond.protocol.extensions.permessage_deflate import DeflateOptions
from lomond.server import Server, ServerWebSocket
from tests.network.driving import (
    Background,
    count_descriptors,
    drain,
    echo_handler,
    needs_proc,
    wait_for,
    wait_until_sending,
)
from tests.programs import wait_until
from tests.shortages import few_descriptors
from tests.support import (
    PATIENCE,
    accept_for,
    get_header,
    make_close,
    make_frame,
    names,
    read_frame,
    read_head,
)
from tests.tracing import LineTracer

KEY = b'dGhlIHNhbXBsZSBub25jZQ=='
MASK = b'\x37\xfa\x21\x3d'


def listen(websocket):
    """A handler that takes all in, and says nothing."""
    for _event in websocket:
        pass


def talk(url, *messages, **options):
    """Send messages to an echo server, close, return the events."""
    websocket = WebSocket(url, **options)
    events = []
    left = len(messages)
    for event in websocket:
        events.append(event)
        if event.name == 'ready':
            for message in messages:
                if isinstance(message, bytes):
                    websocket.send_binary(message)
                else:
                    websocket.send_text(message)
        elif event.name in ('text', 'binary'):
            left -= 1
            if not left:
                websocket.close()
    return events


class RawClient(object):
    """A socket to a server, closed when it is left."""

    def __init__(self, server):
        self.sock = socket.create_connection((server.host, server.port), PATIENCE)

    def __enter__(self):
        return self.sock

    def __exit__(self, *_exc_info):
        self.sock.close()


def upgrade(sock, *headers):
    """Ask for an upgrade; return the head of the answer."""
    lines = [
        b'GET /chat?a=b HTTP/1.1', b'Host: localhost', b'Upgrade: websocket',
        b'Connection: Upgrade', b'Sec-WebSocket-Key: ' + KEY, b'Sec-WebSocket-Version: 13']
    sock.sendall(b'\r\n'.join(lines + list(headers)) + b'\r\n\r\n')
    return read_head(sock)


# -- what it is there for --

def test_it_echoes_over_ws():
    big = bytes(bytearray(range(256))) * 5000
    with Server(echo_handler) as server:
        assert server.url == u'ws://127.0.0.1:{}/'.format(server.port)
        events = talk(server.url, u'h\xe9llo', b'\x00\xff', u'', big)
    assert [event.text for event in events if event.name == 'text'] == [u'h\xe9llo', u'']
    assert [event.data for event in events if event.name == 'binary'] == [b'\x00\xff', big]
    assert events[-1].graceful


def test_a_handler_sends_utf_8_as_text():
    def handle(websocket):
        for event in websocket:
            if event.name == 'text':
                websocket.send_utf8(event.text.encode('utf-8'))

    with Server(handle) as server:
        assert talk(server.url, u'h\xe9llo')[-3].text == u'h\xe9llo'


def test_it_echoes_over_wss(server_tls, authority_file):
    with Server(echo_handler, ssl_context=server_tls) as server:
        assert server.url.startswith(u'wss://')
        events = talk(server.url, u'hello', ssl_cafile=authority_file)
    assert names(events)[3:] == ['text', 'closed', 'disconnected']
    assert events[-1].graceful


def test_a_server_that_was_started_before_with_has_one_thread():
    before = set(threading.enumerate())
    server = Server(echo_handler).start()
    started = set(threading.enumerate()) - before
    with server:
        assert set(threading.enumerate()) - before == started
        assert server.start() is server
        assert set(threading.enumerate()) - before == started
    # Each of them was waited for.
    assert not any(thread.is_alive() for thread in started)


def test_it_listens_on_a_free_port_each():
    with Server(echo_handler) as one, Server(echo_handler) as other:
        assert one.port != other.port != 0


def test_it_serves_ipv6():
    try:
        server = Server(echo_handler, host=u'::1')
    except socket.error as error:
        if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            raise
        pytest.skip('there is no IPv6 here')
    with server:
        assert server.url == u'ws://[::1]:{}/'.format(server.port)
        assert talk(server.url, u'hello')[-1].graceful


def test_several_clients_at_once():
    with Server(echo_handler) as server:
        clients = [Background(talk, server.url, u'{}'.format(i)) for i in range(8)]
        for i, client in enumerate(clients):
            assert client.result()[4].text == u'{}'.format(i)


def test_the_handler_has_the_request_the_address_and_the_events():
    seen = []

    def handler(websocket):
        for event in websocket:
            seen.append(event)
            if event.name == 'ready':
                seen.append((
                    websocket.request.resource, websocket.request.get('X-Token'),
                    websocket.address[0], websocket.protocol, websocket.state,
                    websocket.is_active, repr(websocket)))
                assert event.response is websocket.request

    with Server(handler) as server:
        websocket = WebSocket(server.url + u'a?b=c')
        websocket.add_header(u'X-Token', u'secret')
        for event in websocket:
            if event.name == 'ready':
                websocket.send_text(u'hi')
                websocket.send_ping(b'?')
                websocket.close(3000, u'enough')
    assert [event.name for event in seen if not isinstance(event, tuple)] == [
        'ready', 'poll', 'text', 'ping', 'closing', 'disconnected']
    request, = [item for item in seen if isinstance(item, tuple)]
    assert request[:6] == (u'/a?b=c', u'secret', '127.0.0.1', None, 'open', True)
    assert '127.0.0.1' in request[6]
    assert (seen[-2].code, seen[-2].reason) == (3000, u'enough')
    assert seen[-1].graceful


@pytest.mark.parametrize('offered, chosen', [
    ([u'a'], u'a'),
    ([u'b', u'a'], u'a'),           # the server's preference counts
    ([u'c', u'b'], u'b'),
    ([u'c'], None),
    (None, None),
])
def test_the_first_protocol_of_the_server_that_the_client_offered(offered, chosen):
    with Server(echo_handler, protocols=[u'a', u'b']) as server:
        events = talk(server.url, u'x', protocols=offered)
    assert events[2].protocol == chosen
    assert events[-1].graceful


@pytest.mark.parametrize('server_side', [
    True, DeflateOptions(server_no_context_takeover=True), DeflateOptions(
        server_max_window_bits=9, client_max_window_bits=9, client_no_context_takeover=True)])
@pytest.mark.parametrize('client_side', [True, DeflateOptions(
    server_max_window_bits=10, client_max_window_bits=10, client_no_context_takeover=True)])
def test_it_compresses(server_side, client_side):
    text = u'over and over again ' * 200
    with Server(echo_handler, compress=server_side) as server:
        events = talk(server.url, text, text, text, compress=client_side)
    assert events[2].extensions == {u'permessage-deflate'}
    assert [event.text for event in events if event.name == 'text'] == [text] * 3


@pytest.mark.parametrize('server_side, client_side', [(True, False), (False, True)])
def test_it_does_not_compress_if_only_one_side_asks_for_it(server_side, client_side):
    with Server(echo_handler, compress=server_side) as server:
        events = talk(server.url, u'x', compress=client_side)
    assert events[2].extensions == set()
    assert events[-1].graceful


def test_its_answer_is_that_of_rfc_6455_and_its_frames_are_not_masked():
    with Server(echo_handler) as server, RawClient(server) as sock:
        head = upgrade(sock)
        assert head.startswith(b'HTTP/1.1 101 Switching Protocols\r\n')
        assert get_header(head, b'Sec-WebSocket-Accept') == accept_for(KEY)
        sock.sendall(make_frame(1, b'hi', key=MASK))
        assert sock.recv(100) == b'\x81\x02hi'
        sock.sendall(make_close(1000, key=MASK))
        assert read_frame(sock) == (0x88, b'\x03\xe8')
        # RFC 6455 7.1.1: the server ends TCP first.
        assert sock.recv(1) == b''


def test_frames_that_come_with_the_request_are_not_lost():
    with Server(echo_handler) as server, RawClient(server) as sock:
        sock.sendall(
            b'GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
            b'Sec-WebSocket-Key: ' + KEY + b'\r\nSec-WebSocket-Version: 13\r\n\r\n'
            + make_frame(1, b'early', key=MASK))
        read_head(sock)
        assert read_frame(sock) == (0x81, b'early')


@pytest.mark.parametrize('frame, code', [
    (make_frame(1, b'unmasked'), 1002),
    (make_frame(3, key=MASK), 1002),
    (make_frame(1, b'\xff', key=MASK), 1007),
    (make_frame(2, b'x' * 1001, key=MASK), 1009),
    (make_close(1005, key=MASK), 1002),
])
def test_a_fault_of_the_client_is_an_event_and_a_close_code(frame, code):
    seen = []

    def handler(websocket):
        seen.extend(websocket)

    with Server(handler, max_message_size=1000) as server:
        with RawClient(server) as sock:
            upgrade(sock)
            sock.sendall(frame)
            first, payload = read_frame(sock)
            assert (first, payload[:2]) == (0x88, struct.pack('!H', code))
            assert drain(sock) == b''
    assert names(seen) == ['ready', 'protocol_error', 'disconnected']
    assert seen[-2].close_code == code


def test_a_client_that_sends_too_much_gets_to_read_why():
    """The Close frame isn't lost to the reset that unread data would bring."""
    with Server(listen, max_message_size=1000) as server:
        websocket = WebSocket(server.url)
        events = []
        for event in websocket:
            events.append(event)
            if event.name == 'ready':
                try:
                    websocket.send_binary(b'x' * 8000000)
                except errors.TransportFail:
                    pass
    assert names(events)[3:] == ['closing', 'disconnected']
    assert events[-2].code == 1009


def test_options_reach_the_session():
    seen = []

    def handler(websocket):
        for event in websocket:
            seen.append(event.name)
            if seen.count('poll') == 3:
                return

    frames = []
    with Server(handler, poll=0.01, ping_rate=0.01, auto_pong=False) as server:
        with RawClient(server) as sock:
            upgrade(sock)
            sock.sendall(make_frame(9, b'?', key=MASK))
            while not frames or frames[-1][0] != 0x88:
                frames.append(read_frame(sock))
    assert 0x89 in [first for first, _payload in frames]
    assert 0x8a not in [first for first, _payload in frames]


def test_a_silent_client_is_unresponsive():
    seen = []

    def handler(websocket):
        seen.extend(websocket)

    with Server(handler, ping_rate=0.02, ping_timeout=0.04) as server:
        with RawClient(server) as sock:
            upgrade(sock)
            drain(sock)
    assert names(seen) == ['ready', 'unresponsive', 'disconnected']
    assert 'client' in seen[-1].reason


# -- what it refuses --

def request(server, method='GET', **headers):
    """Send an HTTP request; return its response, read."""
    connection = HTTPConnection(server.host, server.port, timeout=PATIENCE)
    try:
        connection.request(method, '/', headers={
            name.replace('_', '-'): value for name, value in headers.items()})
        response = connection.getresponse()
        response.text = response.read().decode('utf-8')
        return response
    finally:
        connection.close()


UPGRADE = {
    'Upgrade': 'websocket', 'Connection': 'Upgrade', 'Sec_WebSocket_Version': '13',
    'Sec_WebSocket_Key': KEY.decode('ascii')}


@pytest.mark.parametrize('method', ['POST', 'PUT', 'DELETE', 'OPTIONS'])
def test_other_methods_are_answered_with_405(method):
    with Server(echo_handler) as server:
        response = request(server, method, **UPGRADE)
    assert response.status == 405
    assert response.getheader('Allow') == 'GET'
    assert response.text.endswith(u'\n')


def test_what_is_no_upgrade_is_answered_with_426():
    with Server(echo_handler) as server:
        opener = build_opener(ProxyHandler({}))
        with pytest.raises(HTTPError) as caught:
            opener.open(server.url.replace('ws:', 'http:'), timeout=PATIENCE)
        response = caught.value
        try:
            assert response.code == 426
            assert response.headers['Upgrade'] == 'websocket'
            assert response.headers['Sec-WebSocket-Version'] == '13'
            assert response.headers['Connection'] == 'close'
            assert response.headers['Content-Type'] == 'text/plain; charset=utf-8'
            assert b'WebSocket' in response.read()
        finally:
            response.close()


@pytest.mark.parametrize('version', ['8', '0', '13, 8', 'x'])
def test_another_version_is_answered_with_426_and_the_version_spoken(version):
    with Server(echo_handler) as server:
        response = request(server, **dict(UPGRADE, Sec_WebSocket_Version=version))
    assert response.status == 426
    assert response.getheader('Sec-WebSocket-Version') == '13'


@pytest.mark.parametrize('changes', [
    {'Sec_WebSocket_Key': 'short'},
    {'Sec_WebSocket_Key': ''},
    {'Sec_WebSocket_Key': 'A' * 24},
    {'Content_Length': '5'},        # what follows would be read as frames
    {'Transfer_Encoding': 'chunked'},
])
def test_a_wrong_upgrade_is_answered_with_400(changes):
    with Server(echo_handler) as server:
        response = request(server, **dict(UPGRADE, **changes))
    assert response.status == 400
    assert response.getheader('Content-Length') == str(len(response.text.encode('utf-8')))


@pytest.mark.parametrize('again', [
    b'Host: 127.0.0.1', b'host: example.org', b'Sec-WebSocket-Version: 13',
    b'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=='])
def test_a_header_that_must_not_be_repeated_is_answered_with_400(again):
    """RFC 9112 3.2, RFC 6455 11.3."""
    lines = [b'GET / HTTP/1.1', b'Host: 127.0.0.1', b'Upgrade: websocket', b'Connection: Upgrade',
             b'Sec-WebSocket-Version: 13', b'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==']
    with Server(echo_handler) as server:
        for more, status in (([], b'101'), ([again], b'400')):
            with RawClient(server) as sock:
                sock.sendall(b'\r\n'.join(lines + more) + b'\r\n\r\n')
                answer = read_head(sock)
            assert answer.startswith(b'HTTP/1.1 ' + status)


@pytest.mark.parametrize('data', [
    b'GET http://me:hunter2@a/ HTTP/2\r\n\r\n',
    b'GET / HTTP/1.1\r\nHost: a\r\nAuthorization : Basic hunter2\r\n\r\n',
    b'GET / HTTP/1.1\r\nHost: a\r\nCookie: a=hunter2\0\r\n\r\n',
])
def test_a_secret_in_a_malformed_request_is_neither_logged_nor_sent_back(caplog, data):
    caplog.set_level(logging.DEBUG, 'lomond')
    with Server(echo_handler) as server, RawClient(server) as sock:
        sock.sendall(data)
        answer = drain(sock)
    assert answer.startswith(b'HTTP/1.1 400 ')
    assert b'hunter2' not in answer
    assert caplog.records
    assert 'hunter2' not in caplog.text


def test_wrong_extensions_are_answered_with_400():
    with Server(echo_handler, compress=True) as server:
        response = request(server, **dict(UPGRADE, Sec_WebSocket_Extensions='=;'))
    assert response.status == 400


@pytest.mark.parametrize('data', [
    b'nonsense\r\n\r\n',
    b'\r\n\r\n',
    b'GET / HTTP/2\r\n\r\n',
    b'GET / HTTP/1.1\r\nno colon\r\n\r\n',
    b'GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n',
    b'GET  / HTTP/1.1\r\n\r\n',
    b'\xff\xfe\r\n\r\n',
], ids=repr)
def test_a_malformed_request_is_answered_with_400(data):
    with Server(echo_handler) as server, RawClient(server) as sock:
        sock.sendall(data)
        answer = drain(sock)
    assert answer.startswith(b'HTTP/1.1 400 Bad Request\r\n')


def test_an_endless_head_is_cut_off():
    with Server(echo_handler) as server, RawClient(server) as sock:
        sock.sendall(b'GET / HTTP/1.1\r\nX: ')
        with pytest.raises((socket.error, AssertionError)):
            while True:
                sock.sendall(b'x' * 65536)


def test_a_lomond_client_sees_the_refusal():
    class OldWebSocket(WebSocket):
        def build_request(self):
            request = super(OldWebSocket, self).build_request()
            return request.replace(b'Version: 13', b'Version: 12')

    with Server(echo_handler) as server:
        websocket = OldWebSocket(server.url)
        websocket.add_header(u'Origin', u'http://example.org')
        events = list(websocket)
    assert names(events) == ['connecting', 'connected', 'rejected', 'disconnected']
    assert events[-2].response.status_code == 426
    assert b'13' in events[-2].response.body


def test_more_than_max_connections_are_answered_with_503():
    with Server(echo_handler, max_connections=1) as server:
        with RawClient(server) as sock:
            upgrade(sock)
            response = request(server, **UPGRADE)
            assert response.status == 503
            assert u'connections' in response.text
            # The one that is there goes on.
            sock.sendall(make_frame(1, b'hi', key=MASK))
            assert read_frame(sock) == (0x81, b'hi')


def test_a_connection_that_ended_lets_another_in():
    with Server(echo_handler, max_connections=1) as server:
        for _ in range(5):
            while True:         # the thread before is about to end
                events = talk(server.url, u'x')
                if names(events)[2] == 'ready':
                    break
            assert events[-1].graceful


@pytest.mark.parametrize('data', [b'', b'GET / HTTP/1.1\r\nHost'])
def test_a_request_that_does_not_come_is_given_up_after_handshake_timeout(data):
    called = []
    with Server(called.append, handshake_timeout=0.3) as server, RawClient(server) as sock:
        sock.sendall(data)
        assert drain(sock) == b''
    assert not called


def test_a_request_that_drips_is_given_up_after_handshake_timeout():
    with Server(echo_handler, handshake_timeout=0.1) as server, RawClient(server) as sock:
        sock.settimeout(0.005)
        ended = False
        for byte in b'GET / HTTP/1.1\r\nX: ' + b'x' * 10000:
            try:
                sock.sendall(bytes(bytearray([byte])) if isinstance(byte, int) else byte)
                ended = sock.recv(1) == b''
            except socket.timeout:
                continue
            except socket.error:
                ended = True
            if ended:
                break
        assert ended


def test_tls_that_does_not_come_is_given_up_after_handshake_timeout(server_tls):
    with Server(echo_handler, ssl_context=server_tls, handshake_timeout=0.05) as server:
        with RawClient(server) as sock:
            assert drain(sock) == b''


def test_plain_bytes_on_a_tls_port_are_given_up_and_the_server_goes_on(
        server_tls, authority_file):
    with Server(echo_handler, ssl_context=server_tls) as server:
        with RawClient(server) as sock:
            sock.sendall(b'GET / HTTP/1.1\r\n\r\n')
            try:
                drain(sock)
            except socket.error:
                pass
        assert talk(server.url, u'x', ssl_cafile=authority_file)[-1].graceful


def test_a_client_that_leaves_before_the_answer_is_no_matter():
    with Server(echo_handler) as server:
        for data in (b'', b'GET', b'nonsense\r\n\r\n'):
            with RawClient(server) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                sock.sendall(data)
        assert talk(server.url, u'x')[-1].graceful


# -- how a handler ends --

def test_a_handler_that_returns_closes_with_1000():
    def handler(websocket):
        for event in websocket:
            if event.name == 'text':
                return

    with Server(handler) as server:
        websocket = WebSocket(server.url)
        events = []
        for event in websocket:
            events.append(event)
            if event.name == 'ready':
                websocket.send_text(u'go')
    assert names(events)[3:] == ['closing', 'disconnected']
    assert (events[-2].code, events[-2].reason) == (1000, u'')
    assert events[-1].graceful


def test_a_handler_that_never_looks_closes_with_1000_too():
    with Server(lambda websocket: None) as server:
        events = list(WebSocket(server.url))
    assert events[-2].code == 1000
    assert events[-1].graceful


def test_a_handler_may_send_before_it_looks():
    with Server(lambda websocket: websocket.send_text(u'welcome')) as server:
        events = list(WebSocket(server.url))
    assert names(events)[3:] == ['text', 'closing', 'disconnected']


def test_a_handler_that_raises_closes_with_1011_and_logs(caplog):
    def handler(websocket):
        raise ZeroDivisionError('a fault of the handler')

    with caplog.at_level(logging.ERROR, 'lomond'):
        with Server(handler) as server:
            events = list(WebSocket(server.url))
            # The next is served all the same.
            assert names(WebSocket(server.url))[2] == 'ready'
    assert (events[-2].code, events[-2].reason) == (1011, u'')
    assert events[-1].graceful
    assert 'a fault of the handler' in caplog.text


@needs_proc
def test_a_handler_that_exits_its_thread_leaves_nothing(monkeypatch):
    def handler(_websocket):
        exits.append(None)
        sys.exit()

    exits = []
    # What the threading module has there ignores SystemExit; pytest's warns.
    monkeypatch.setattr(threading, 'excepthook', lambda _arguments: None, raising=False)
    before = count_descriptors()
    gc.disable()        # it isn't left to the collector
    try:
        with Server(handler) as server:
            events = list(WebSocket(server.url))
        assert count_descriptors() == before
    finally:
        gc.enable()
    assert len(exits) == 1
    assert not events[-1].graceful


def test_a_handler_may_close():
    def handler(websocket):
        for event in websocket:
            if event.name == 'ready':
                websocket.close(3001, u'by hand')
                with pytest.raises(errors.WebSocketClosing):
                    websocket.send_text(u'x')

    with Server(handler) as server:
        events = list(WebSocket(server.url))
    assert (events[-2].code, events[-2].reason) == (3001, u'by hand')
    assert events[-1].graceful


def test_a_handler_may_break_the_connection():
    def handler(websocket):
        websocket.force_disconnect()

    with Server(handler) as server:
        events = list(WebSocket(server.url))
    assert names(events)[-1] == 'disconnected'
    assert not events[-1].graceful


def test_a_client_that_is_gone_ends_the_handlers_loop():
    seen = []

    def handler(websocket):
        seen.extend(websocket)
        with pytest.raises(errors.WebSocketClosed):
            websocket.send_text(u'x')

    with Server(handler) as server:
        websocket = WebSocket(server.url)
        for event in websocket:
            if event.name == 'ready':
                break
        del event
    assert names(seen)[-1] == 'disconnected'
    assert not seen[-1].graceful


# -- how the server ends --

def test_close_ends_open_connections_with_1001():
    server = Server(listen).start()
    are_ready = [threading.Event() for _ in range(3)]

    def client(is_ready):
        events = []
        for event in WebSocket(server.url):
            events.append(event)
            if event.name == 'ready':
                is_ready.set()
        return events

    clients = [Background(client, is_ready) for is_ready in are_ready]
    for is_ready in are_ready:
        wait_for(is_ready)
    server.close()
    for client in clients:
        events = client.result()
        assert names(events)[3:] == ['closing', 'disconnected']
        assert events[-2].code == 1001
        assert events[-1].graceful
    server.close()      # harmless


def test_close_ends_a_handshake():
    server = Server(listen).start()
    with RawClient(server) as sock:
        sock.sendall(b'GET / HTTP/1.1\r\n')
        wait_until(lambda: server.connections, 'it is accepted')
        server.close()
        try:
            assert drain(sock) == b''
        except socket.error as error:
            # The server may not have read what was sent: then TCP says so.
            assert error.errno == errno.ECONNRESET


def test_close_breaks_a_connection_whose_client_does_not_answer():
    server = Server(listen, close_timeout=1.0).start()
    with RawClient(server) as sock:
        upgrade(sock)
        server.close()
        assert read_frame(sock)[0] == 0x88
        assert drain(sock) == b''


def test_close_sends_the_code_and_reason_it_is_given():
    with Server(listen) as server:
        with RawClient(server) as sock:
            upgrade(sock)
            closing = Background(server.close, 1012, u'back in a minute')
            first, payload = read_frame(sock)
            sock.sendall(make_frame(8, payload, key=MASK))
            closing.result()
    assert (first, payload) == (0x88, b'\x03\xf4back in a minute')


def test_close_breaks_connections_after_its_timeout_whatever_close_timeout_is():
    server = Server(listen, close_timeout=None).start()
    with RawClient(server) as sock:
        upgrade(sock)
        server.close(timeout=0.1)
        assert read_frame(sock)[0] == 0x88
        assert drain(sock) == b''


def test_close_without_a_timeout_waits_for_the_handlers_whatever_close_timeout_is():
    is_stuck, may_end = threading.Event(), threading.Event()

    def handler(_websocket):
        is_stuck.set()
        wait_for(may_end)

    server = Server(handler, close_timeout=0.01).start()
    background = Background(list, WebSocket(server.url))
    wait_for(is_stuck)
    closing = Background(server.close, timeout=None)
    closing.thread.join(0.1)
    assert closing.thread.is_alive()
    may_end.set()
    closing.result()
    background.result()


@pytest.mark.parametrize('threads', [True, False])
@pytest.mark.parametrize('given, error', [
    ({'code': 1005}, ValueError),
    ({'code': 2999}, ValueError),
    ({'code': 'x'}, TypeError),
    ({'code': 1000, 'reason': 5}, TypeError),
    ({'timeout': -1}, ValueError),
    ({'timeout': 'x'}, TypeError),
])
def test_close_refuses_wrong_arguments_and_changes_nothing(threads, given, error):
    server = Server(listen if threads else None, threads=threads)
    with pytest.raises(error):
        server.close(**given)
    socket.create_connection((server.host, server.port)).close()    # it still listens
    server.close()


def test_close_does_not_wait_forever_for_a_handler_that_is_stuck():
    may_end = threading.Event()
    has_ended = threading.Event()

    def handler(websocket):
        wait_for(may_end)
        has_ended.set()

    server = Server(handler, close_timeout=1.0).start()
    with RawClient(server) as sock:
        upgrade(sock)
        server.close()
        assert read_frame(sock)[0] == 0x88
        assert drain(sock) == b''       # broken, as nobody would answer
        may_end.set()
        wait_for(has_ended)
    server.close()


def test_a_second_close_does_not_wait_for_what_the_first_has_abandoned():
    is_stuck, may_end = threading.Event(), threading.Event()

    def handler(_websocket):
        is_stuck.set()
        may_end.wait(PATIENCE)

    server = Server(handler, close_timeout=0.05).start()
    background = Background(list, WebSocket(server.url))
    wait_for(is_stuck)
    server.close()
    try:
        closing = Background(server.close, timeout=None)  # if it waited, it would wait to the end
        closing.thread.join(PATIENCE / 4)
        assert not closing.thread.is_alive()
    finally:
        may_end.set()
    closing.result()
    background.result()


def test_close_waits_for_a_handler_that_has_called_close_itself():
    """What that call didn't wait for is its own thread only."""
    is_closed, may_end = threading.Event(), threading.Event()
    ended = []

    def handler(_websocket):
        server.close()
        is_closed.set()
        wait_for(may_end)
        ended.append(None)

    server = Server(handler, close_timeout=None).start()
    background = Background(list, WebSocket(server.url))
    wait_for(is_closed)
    closing = Background(server.close)
    may_end.set()
    closing.result()
    assert ended == [None]
    background.result()


def test_close_frees_a_handler_that_is_stuck_in_a_send():
    is_called, has_failed = threading.Event(), threading.Event()
    websockets = []

    def handler(websocket):
        websockets.append(websocket)
        is_called.set()
        try:
            websocket.send_binary(b'x' * (12 * 1024 * 1024))
        except errors.WebSocketError:
            has_failed.set()

    server = Server(handler, close_timeout=0.4, write_timeout=None).start()
    with RawClient(server) as sock:
        upgrade(sock)
        wait_for(is_called)
        wait_until_sending(websockets[0])
        server.close()
        wait_for(has_failed)


def test_close_may_be_called_by_a_handler():
    def handler(websocket):
        for event in websocket:
            if event.name == 'text':
                server.close()

    server = Server(handler).start()
    websocket = WebSocket(server.url)
    for event in websocket:
        if event.name == 'ready':
            websocket.send_text(u'stop')
        elif event.name == 'closing':
            assert event.code == 1001
    assert event.graceful
    server.close()


@pytest.mark.parametrize('never', [None, 0])
def test_without_close_timeout_close_waits_for_the_answer(never):
    server = Server(listen, close_timeout=never).start()
    with RawClient(server) as sock:
        upgrade(sock)
        closing = Background(server.close)
        _first, payload = read_frame(sock)
        sock.sendall(make_frame(8, payload, key=MASK))
        closing.result()


def test_after_close_nobody_listens():
    with Server(echo_handler) as server:
        pass
    assert names(WebSocket(server.url)) == ['connecting', 'connect_fail']


def test_a_server_that_never_started_closes():
    server = Server(echo_handler)
    server.close()
    server.close()
    server.start()      # has nothing to do any more
    server.serve_forever()


@pytest.mark.parametrize('begin', [
    lambda server: server.start(),
    lambda server: server.serve_forever(),
    lambda server: server.__enter__(),
], ids=['start', 'serve_forever', 'with'])
def test_a_server_that_was_closed_warns_that_it_serves_nobody(caplog, begin):
    with Server(echo_handler) as server:
        pass
    assert not caplog.records
    begin(server)
    assert [record.levelname for record in caplog.records] == ['WARNING']
    assert 'was closed before: make another one' in caplog.text


def test_ctrl_c_while_a_connection_gets_its_thread_loses_no_connection(monkeypatch):
    """The server closes it, as it does all others."""
    class Interrupted(threading.Thread):
        def start(self):
            super(Interrupted, self).start()
            if self.name.startswith('lomond ('):
                serving_threads.append(self)
                raise KeyboardInterrupt

    serving_threads = []
    server = Server(echo_handler)
    client = Background(list, WebSocket(server.url, proxies={}))
    monkeypatch.setattr(threading, 'Thread', Interrupted)
    with pytest.raises(KeyboardInterrupt):
        server.serve_forever()
    server.close()
    thread, = serving_threads
    assert not thread.is_alive()
    events = client.result()
    if 'ready' in names(events):        # else it was closed during the handshake
        assert [event.code for event in events if event.name == 'closing'] == [1001]
        assert events[-1].graceful


def test_connections_are_those_that_are_not_over_yet():
    """To send to all of them, from any thread."""
    with Server(listen) as server:
        assert server.connections == []
        received = []
        websocket = WebSocket(server.url)
        for event in websocket:
            if event.name == 'poll':
                wait_until(lambda: [each.is_open for each in server.connections] == [True], 'open')
                for each in server.connections:
                    assert isinstance(each, ServerWebSocket)
                    each.send_text(u'to all')
            elif event.name == 'text':
                received.append(event.text)
                websocket.close()
        assert event.graceful
        assert received == [u'to all']
        wait_until(lambda: not server.connections, 'it ends')


def test_serve_forever_ends_when_another_thread_closes():
    server = Server(echo_handler)
    serving = Background(server.serve_forever)
    assert talk(server.url, u'x')[-1].graceful
    server.close()
    serving.result()


def count_acceptors():
    return len([thread for thread in threading.enumerate() if thread.name == 'lomond server'])


def test_a_server_that_is_started_twice_accepts_in_one_thread():
    """As in ``with Server(handler).start() as server``."""
    before = count_acceptors()
    with Server(echo_handler).start() as server:
        assert server.start() is server
        assert count_acceptors() == before + 1
        assert talk(server.url, u'x')[-1].graceful
    assert count_acceptors() == before


def test_close_waits_for_every_thread_that_accepts(monkeypatch):
    """Whichever stops first: the others still need the listening socket."""
    def watched(interest, timeout):
        begun.put(None)
        ready = wait(interest, timeout)
        woken.put(None)
        if threading.current_thread() is not first.thread:
            wait_for(may_go_on)
        for descriptor, _mask in interest:
            os.fstat(descriptor)
        still_open.append(True)
        return ready

    monkeypatch.setattr('lomond._serving.wait', watched)
    begun, woken = Queue(), Queue()
    still_open = []
    may_go_on = threading.Event()
    server = Server(echo_handler)
    acceptors = [Background(server.serve_forever) for _ in range(3)]
    first = acceptors[0]
    for _acceptor in acceptors:
        begun.get(timeout=PATIENCE)
    closing = Background(server.close)
    for _acceptor in acceptors:
        woken.get(timeout=PATIENCE)
    first.result()
    may_go_on.set()
    closing.result()
    for acceptor in acceptors:
        acceptor.result()
    assert still_open == [True] * 3


def test_serve_forever_may_close_its_server_itself(monkeypatch):
    """As a signal's handler does, in the midst of a wait."""
    def close_when_connected(interest, timeout):
        if not server.connections:
            return wait(interest, timeout)
        server.close()
        with pytest.raises(socket.error):   # not after the wait only
            socket.create_connection(server.address, PATIENCE)
        return wait(interest, timeout)      # it goes on, as after a signal

    monkeypatch.setattr('lomond._serving.wait', close_when_connected)
    server = Server(listen)
    serving = Background(server.serve_forever)
    with RawClient(server) as sock:
        assert drain(sock) == b''
    serving.result()


def test_a_close_at_any_line_of_accepting_leaves_no_connection_that_is_served_later():
    """As a signal's handler calls it."""
    late = []
    for moment in range(1, 1000):
        closed = threading.Event()
        server = Server(lambda websocket, closed=closed: late.append(closed.is_set()))

        def close(server=server, closed=closed):
            server.close()
            closed.set()

        def connect(server=server):
            list(WebSocket(server.url))
            server.close()

        client = Background(connect)
        with LineTracer([_serving], moment, close, counts_again=False) as tracer:
            server.serve_forever()
        client.result()
        if not tracer.has_acted:
            break
    assert moment > 20
    assert True not in late


@pytest.mark.parametrize('stops', [False, True])
def test_what_a_handler_sent_goes_out_while_a_thread_that_it_left_iterates(stops, caplog):
    def read(websocket):
        for event in websocket:
            seen.append(event.name)
            if event.name == 'text':
                has_read.set()
                if stops:
                    break

    def handler(websocket):
        threads.append(Background(read, websocket))
        wait_for(has_read)
        websocket.send_binary(b'x' * (12 * 1024 * 1024))

    threads, seen, has_read = [], [], threading.Event()
    with Server(handler) as server:
        websocket = WebSocket(server.url)
        events = []
        for event in websocket:
            events.append(event)
            if event.name == 'ready':
                websocket.send_text(u'x')
        threads[0].result()
    assert [len(event.data) for event in events if event.name == 'binary'] == [12 * 1024 * 1024]
    assert events[-1].graceful and websocket.close_received == (1000, u'')
    assert seen[-1] == ('text' if stops else 'disconnected')
    assert not caplog.records


@needs_proc
def test_no_thread_and_no_descriptor_is_left_after_close(server_tls, authority_file):
    threads = set(threading.enumerate())
    before = count_descriptors()
    for options in ({}, {'ssl_context': server_tls}):
        with Server(echo_handler, **options) as server:
            for _ in range(5):
                assert talk(server.url, u'x', ssl_cafile=authority_file)[-1].graceful
            with RawClient(server) as sock:
                sock.sendall(b'nonsense\r\n\r\n')
            idle = RawClient(server)
        idle.sock.close()
        assert set(threading.enumerate()) == threads
        assert count_descriptors() == before


@needs_proc
def test_a_connection_is_freed_when_it_ends_not_with_the_server(server_tls, authority_file):
    for options in ({}, {'ssl_context': server_tls}):
        with Server(echo_handler, **options) as server:
            before = count_descriptors()
            for _ in range(5):
                talk(server.url, u'x', ssl_cafile=authority_file)
            wait_until(lambda: not server.connections, 'they end')
            assert count_descriptors() == before


def test_a_connection_that_cannot_be_served_does_not_end_the_server(caplog, monkeypatch):
    def fail_once(sock):
        if faults:
            raise faults.pop()
        set_close_on_exec(sock)

    faults = [RuntimeError("can't start new thread")]
    with caplog.at_level(logging.ERROR, 'lomond'):
        with Server(echo_handler) as server:
            monkeypatch.setattr('lomond._serving.set_close_on_exec', fail_once)
            with RawClient(server) as sock:
                assert drain(sock) == b''
            assert talk(server.url, u'x')[-1].graceful
    assert "can't start new thread" in caplog.text


@needs_proc
def test_an_accept_that_fails_is_logged_once_and_tried_again(caplog):
    """Such as for want of descriptors: clients may make that happen all the time."""
    def failures():
        return [record for record in list(caplog.records)
                if 'could not accept a connection' in record.getMessage()]

    with caplog.at_level(logging.DEBUG, 'lomond'):
        with Server(echo_handler) as server, closing(socket.socket()) as sock:
            with few_descriptors(0):
                sock.connect((server.host, server.port))
                wait_until(lambda: len(failures()) > 1, 'it tries again')
            sock.settimeout(PATIENCE)
            assert b' 101 ' in upgrade(sock)
    first, others = failures()[0], failures()[1:]
    assert first.levelno == logging.WARNING
    assert 'Too many open files' in first.getMessage()
    assert {record.levelno for record in others} == {logging.DEBUG}


# -- arguments --

@pytest.mark.parametrize('options, error', [
    ({'handler': 5}, TypeError),
    ({'protocols': u'chat'}, TypeError),
    ({'protocols': [u'a b']}, ValueError),
    ({'compress': 'yes'}, TypeError),
    ({'max_message_size': 0}, ValueError),
    ({'handshake_timeout': -1}, ValueError),
    ({'write_timeout': 'x'}, TypeError),
    ({'close_timeout': -1}, ValueError),
    ({'poll': 'x'}, TypeError),
    ({'ping_rate': -1}, ValueError),
    ({'ping_timeout': -1}, ValueError),
    ({'max_connections': 0}, ValueError),
    ({'max_connections': None}, TypeError),
    ({'max_connections': True}, TypeError),
    ({'ssl_context': 'x'}, TypeError),
    ({'json_loads': 'orjson'}, TypeError),
    ({'json_dumps': 'orjson'}, TypeError),
    ({'no_such_option': 1}, TypeError),
])
def test_wrong_arguments_raise_at_the_call(options, error):
    with pytest.raises(error):
        Server(**dict({'handler': echo_handler}, **options))


def test_a_port_in_use_raises_at_the_call():
    with Server(echo_handler) as server:
        with pytest.raises(socket.error):
            Server(echo_handler, port=server.port)


def test_a_server_websocket_requires_a_handshake_before_its_events():
    near, far = socket.socketpair()
    try:
        websocket = ServerWebSocket(near, 'here')
        with pytest.raises(errors.WebSocketUnavailable):
            iter(websocket)
        with pytest.raises(errors.WebSocketUnavailable):
            websocket.send_text(u'x')
    finally:
        websocket.dispose()
        far.close()


@pytest.mark.parametrize('method', [b'GET', b'POST'])
def test_a_client_that_does_not_wait_for_the_answer_makes_no_ready(method):
    near, far = socket.socketpair()
    websocket = ServerWebSocket(near, 'here')
    try:
        far.sendall(
            method + b' / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n'
            b'Connection: Upgrade\r\nSec-WebSocket-Key: ' + KEY + b'\r\n'
            b'Sec-WebSocket-Version: 13\r\n\r\n')
        far.close()
        assert not websocket.do_handshake()
        assert websocket.is_closed
    finally:
        websocket.dispose()


def test_a_server_websocket_that_was_closed_before_it_opened_frees_its_socket():
    near, far = socket.socketpair()
    try:
        websocket = ServerWebSocket(near, 'here')
        websocket.close()
        assert not websocket.do_handshake()
        websocket.dispose()
        assert far.recv(1) == b''
    finally:
        far.close()


def generator(_websocket):
    yield


@pytest.mark.parametrize('handler', [generator, lambda websocket: (yield)])
def test_a_handler_that_a_call_would_not_run_is_refused(handler):
    with pytest.raises(TypeError, match='plain function'):
        Server(handler)
