"""Answers that come early, late, or in another language: each is told, and soon.

Before our request, behind a failed write, without an end; and what isn't HTTP, or isn't TLS.
"""

from __future__ import absolute_import, division, print_function

import errno
import socket
import ssl
import struct
import threading

import pytest

from lomond import WebSocket
from lomond._compat import monotonic
from lomond.errors import ConnectFail
from lomond.http.url import parse_url
from lomond.net import tls
from lomond.net.dial import Dialer
from lomond.net.options import NetOptions
from lomond.net.progress import Progress
from lomond.net.tls.advice import speaks_no_tls
from lomond.net.tls.handshake import handshake
from lomond.net.waiter import READ, wait
from lomond.persist import ReconnectPolicy, persist
from lomond.server import Server
from tests.network.driving import (
    Background,
    drain,
    first_far_enough,
    read_to_close,
    wait_for,
    wait_until_sending,
)
from tests.network.proxy_server import ProxyServer
from tests.programs import wait_until
from tests.support import (
    PATIENCE,
    RawServer,
    accept_for,
    answer_upgrade,
    drive,
    get_header,
    make_close,
    names,
    read_head,
)

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

REFUSED = ['connecting', 'connected', 'rejected', 'disconnected']
BROKEN = ['connecting', 'connected', 'protocol_error', 'disconnected']
CUT = ['connecting', 'connected', 'disconnected']

BUSY = b'HTTP/1.1 503 Busy\r\nRetry-After: 1234\r\n\r\nSorry'

#: A fatal alert in the clear: handshake failure.
ALERT = b'\x15\x03\x01\x00\x02\x02\x28'


def reset(sock):
    """Break the connection off, at once and without reading."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    sock.close()


def keep_open(data):
    """Make a script that sends bytes, and waits for the client to go."""
    def script(sock):
        sock.sendall(data)
        drain(sock)
    return script


# -- before our request --

class Haste(object):
    """A script that answers and resets before the client's request, for which that waits."""

    def __init__(self, answer=BUSY):
        self._answer = answer
        self._is_over = threading.Event()

    def __call__(self, sock):
        # TLS 1.3 has sent tickets: until they're acknowledged, Nagle would keep the answer back.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(self._answer)
        reset(sock)
        self._is_over.set()

    def headers(self):
        """The option of that name: it's asked for right before the request is sent."""
        wait_for(self._is_over)
        self._is_over.clear()
        return {}


def test_answer_before_a_reset_is_told_though_the_request_could_not_be_sent(link):
    script = Haste()
    with link.serve(script) as server:
        events = list(link.connect(server.url, headers=script.headers))
    assert names(events) == REFUSED
    assert events[2].response.get(u'Retry-After') == u'1234'
    assert events[2].response.body == b'Sorry'


def test_answer_before_a_reset_is_told_whoever_is_first():
    """Without anything that makes sure which: the read or the write."""
    def script(sock):
        sock.sendall(BUSY)
        reset(sock)

    with RawServer(script) as server:
        for _ in range(30):
            assert names(WebSocket(server.url)) == REFUSED


def test_persist_sees_the_retry_after_of_such_an_answer():
    script = Haste()
    with RawServer(script) as server:
        for event in persist(WebSocket(server.url, headers=script.headers)):
            if event.name == 'back_off':
                break
    assert event.delay == 1234


def test_persist_sees_the_status_of_such_an_answer():
    script = Haste(b'HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n')
    with RawServer(script) as server:
        events = list(persist(WebSocket(server.url, headers=script.headers),
                              policy=ReconnectPolicy(stop_on_status=[410])))
    assert names(events)[-1] == 'gave_up'


def test_redirect_before_a_reset_is_followed():
    def accept(sock):
        answer_upgrade(sock)
        sock.sendall(make_close(1000))
        read_to_close(sock)

    with RawServer(accept) as other:
        script = Haste('HTTP/1.1 307 There\r\nLocation: {}\r\n\r\n'.format(other.url).encode())
        asked = []

        def headers():
            return asked or script.headers()

        with RawServer(script) as server:
            events = []
            for event in WebSocket(server.url, headers=headers):
                events.append(event)
                if event.name == 'redirected':
                    asked.append((u'X', u'y'))
    assert names(events)[2:] == [
        'redirected', 'connecting', 'connected', 'ready', 'closing', 'disconnected']
    assert events[-1].graceful


def test_attempt_to_connect_that_was_answered_and_reset_is_a_connection(listener):
    """The loop comes to look at it late, when the system has an error for it already."""
    port = listener.getsockname()[1]
    steps = Dialer().dial(parse_url(u'ws://127.0.0.1:{}/'.format(port)), NetOptions(),
                          monotonic() + PATIENCE, Progress())
    step = next(steps)
    sock, _address = listener.accept()
    sock.sendall(BUSY)
    reset(sock)
    assert wait([(step.interest[0][0], READ)], PATIENCE)
    transport, _proxy = drive(steps)
    assert transport.receive() == BUSY
    transport.close()


def test_attempt_to_connect_that_was_reset_with_no_word_fails(listener):
    port = listener.getsockname()[1]
    steps = Dialer().dial(parse_url(u'ws://127.0.0.1:{}/'.format(port)), NetOptions(),
                          monotonic() + PATIENCE, Progress())
    step = next(steps)
    sock, _address = listener.accept()
    reset(sock)
    assert wait([(step.interest[0][0], READ)], PATIENCE)
    with pytest.raises(ConnectFail) as caught:
        drive(steps)
    assert caught.value.phase == 'connect'


# -- while the request goes out --

HUGE = {u'X-Huge': u'x' * (8 * 1024 * 1024)}


def test_answer_while_the_request_goes_out_is_told(link):
    """The server doesn't read what is too much for it."""
    may_end = threading.Event()

    def script(sock):
        sock.recv(1)
        sock.sendall(b'HTTP/1.1 431 Too Large\r\nContent-Length: 2\r\n\r\nno')
        wait_for(may_end)

    with link.serve(script, receive_buffer=4096) as server:
        events = list(link.connect(server.url, headers=HUGE, connect_timeout=None))
        may_end.set()
    assert names(events) == REFUSED
    assert events[2].response.status_code == 431


def test_request_that_goes_out_slowly_arrives_whole(link):
    requests = []

    def script(sock):
        requests.append(sock.recv(1))       # which is all that the buffer takes in
        wait_for(is_connected)
        while not requests[-1].endswith(b'\r\n\r\n'):
            requests.append(requests.pop() + sock.recv(65536))
        key = get_header(requests[0], b'Sec-WebSocket-Key')
        sock.sendall(
            b'HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
            b'Sec-WebSocket-Accept: ' + accept_for(key) + b'\r\n\r\n' + make_close(1000))
        read_to_close(sock)

    is_connected = threading.Event()
    with link.serve(script, receive_buffer=65536) as server:
        websocket = link.connect(server.url, headers=HUGE)
        events = []
        for event in websocket:
            events.append(event)
            if event.name == 'connected':
                is_connected.set()
            elif event.name == 'connecting':
                expected = len(websocket.build_request())
    assert names(events) == CUT[:2] + ['ready', 'closing', 'disconnected']
    assert events[-1].graceful
    assert [len(request) for request in requests] == [expected]


@pytest.mark.parametrize('call', ['close', 'force_disconnect'])
def test_ending_it_from_another_thread_while_the_request_goes_out(link, call):
    may_end = threading.Event()

    def script(sock):
        sock.recv(1)
        wait_for(may_end)

    with link.serve(script, receive_buffer=4096) as server:
        websocket = link.connect(server.url, headers=HUGE, connect_timeout=None)
        loop = websocket.connect()
        assert [next(loop).name, next(loop).name] == CUT[:2]
        background = Background(list, loop)
        wait_until_sending(websocket)
        getattr(websocket, call)()
        events = background.result()
        may_end.set()
    assert names(events) == ['disconnected']
    assert 'application' in events[0].reason


# -- TLS --

class RefusingServer(RawServer):
    """Wants a client's certificate; tells when it has refused one."""

    def __init__(self, context):
        super(RefusingServer, self).__init__(self._serve)
        self._context = context
        self._has_refused = threading.Event()

    def _serve(self, sock):
        try:
            secured = self._context.wrap_socket(sock, server_side=True)
        except ssl.SSLError:
            sock.close()
            self._has_refused.set()
        else:       # on 3.13 and older OpenSSL
            secured.close()

    def wait_for_refusal(self):
        wait_for(self._has_refused)
        self._has_refused.clear()
        return {}


@pytest.fixture
def demanding_tls(authority):
    """A server's context that wants a client's certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(u'localhost', u'127.0.0.1').configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.mark.parametrize('is_late', [False, True], ids=['at once', 'late'])
def test_missing_client_certificate_is_named_whoever_is_first(
        demanding_tls, authority_file, is_late):
    """TLS 1.3 tells of it after the client's handshake: a write may fail before."""
    told = set()
    with RefusingServer(demanding_tls) as server:
        url = u'wss://localhost:{}/'.format(server.port)
        for _ in range(12):
            events = list(WebSocket(
                url, ssl_cafile=authority_file,
                headers=server.wait_for_refusal if is_late else None))
            told.add((tuple(names(events)), events[-1].reason))
    if not ssl.HAS_SNI or not getattr(ssl, 'HAS_TLSv1_3', False):
        pytest.skip('TLS 1.2 refuses in the handshake')
    (kinds, reason), = told
    assert kinds == tuple(CUT)
    assert 'certificate required' in reason
    assert 'ssl_certfile' in reason


def test_missing_client_certificate_for_a_proxy_is_named(demanding_tls, authority_file):
    if not getattr(ssl, 'HAS_TLSv1_3', False):
        pytest.skip('TLS 1.2 refuses in the handshake')
    with ProxyServer(ssl_context=demanding_tls) as proxy:
        for _ in range(5):
            _connecting, event = WebSocket(
                u'ws://far.invalid/', proxies=proxy.proxies, ssl_cafile=authority_file)
            assert event.phase == 'proxy'
            assert 'certificate required' in event.reason


def connected_pair(listener):
    sock = socket.create_connection(listener.getsockname(), PATIENCE)
    peer, _address = listener.accept()
    return sock, peer


@pytest.mark.parametrize('answer, words', [
    (ALERT, 'handshake failure'),
    (b'\x15\x03\x03\x00\x02\x02\x46', 'protocol version'),
    (b'\x15\x03\x03\x00\x02\x02\xff', '255'),
    (b'HTTP/1.1 503 Busy\r\n\r\n', 'plain HTTP'),
])
def test_what_came_before_a_reset_is_why_there_is_no_tls(listener, answer, words):
    sock, peer = connected_pair(listener)
    peer.sendall(answer)
    reset(peer)
    assert wait(((sock.fileno(), READ),), PATIENCE)
    with pytest.raises(ssl.SSLError) as caught:
        next(handshake(sock, tls.client_context(), monotonic() + PATIENCE, 'localhost'))
    assert words in str(caught.value).lower().replace('http', 'HTTP')
    assert speaks_no_tls(caught.value) is (words == 'plain HTTP')
    sock.close()


@pytest.mark.parametrize('answer', [b'', b'\x15\x03', b'\x17\x03\x03\x00\x02\x02\x28'])
def test_what_says_nothing_before_a_reset_leaves_the_reset(listener, answer):
    sock, peer = connected_pair(listener)
    peer.sendall(answer)
    reset(peer)
    assert wait(((sock.fileno(), READ),), PATIENCE)
    with pytest.raises(socket.error) as caught:
        next(handshake(sock, tls.client_context(), monotonic() + PATIENCE, 'localhost'))
    assert caught.value.errno == errno.ECONNRESET
    sock.close()


# -- no end to it --

@pytest.mark.parametrize('head, body', [
    (b'', b'Sorry'), (b'', b''), (b'Content-Length: 100\r\n', b'Sorry'),
    (b'Transfer-Encoding: chunked\r\n', b'5\r\nSorry\r\n'),
], ids=['no length', 'nothing', 'too short', 'chunked and stopped'])
def test_refusal_without_an_end_is_told_without_a_timeout(link, head, body):
    answer = b'HTTP/1.1 403 Forbidden\r\n' + head + b'\r\n' + body
    with link.serve(keep_open(answer)) as server:
        events = list(link.connect(server.url, connect_timeout=None))
    assert names(events) == REFUSED
    assert events[2].response.body == (b'Sorry' if body else b'')


def test_refusal_that_drips_without_an_end_is_told_without_a_timeout():
    never = threading.Event()

    def script(sock):
        read_head(sock)
        sock.sendall(b'HTTP/1.1 403 Forbidden\r\n\r\n')
        while not never.wait(0.05):
            sock.sendall(b'x')      # fails once the client is gone

    with RawServer(script) as server:
        events = list(WebSocket(server.url, connect_timeout=None))
    assert names(events) == REFUSED
    assert set(bytearray(events[2].response.body)) == {ord('x')}


def test_connect_timeout_may_be_shorter_than_the_time_for_the_rest():
    with RawServer(keep_open(b'HTTP/1.1 403 Forbidden\r\n\r\nSorry')) as server:
        events = first_far_enough(
            lambda timeout: list(WebSocket(server.url, connect_timeout=timeout)),
            lambda events: names(events) == REFUSED)
    assert events[2].response.body == b'Sorry'


def test_refusal_of_a_proxy_without_an_end_is_told_without_a_timeout():
    with RawServer(keep_open(b'HTTP/1.1 403 Forbidden\r\n\r\nSorry')) as proxy:
        proxies = {'http': u'http://127.0.0.1:{}'.format(proxy.port)}
        _connecting, event = WebSocket(
            u'ws://far.invalid/', proxies=proxies, connect_timeout=None)
    assert event.response.body == b'Sorry'


# -- no HTTP --

@pytest.mark.parametrize('sent, words', [
    (b'SSH-2.0-OpenSSH_9.6\r\n', 'an SSH banner'),
    (b'220 mail.example.org ESMTP\r\n', 'an SMTP or FTP greeting'),
    (b'-ERR unknown command\r\n', '-ERR unknown command'),
    (b'HTTP/2 200 OK\r\n', 'HTTP/2 200'),
    (b'HTTP/1.1 what\r\n', 'HTTP/1.1 what'),
    (b'\x00\x00\x12\x04\x00\x00\x00\x00\x00', '0x00'),
    (b'SSH-2.0', 'SSH-2.0'),        # after a moment
])
def test_what_is_not_http_is_named_without_a_timeout(link, sent, words):
    """Nothing more follows, and the connection stays open."""
    with link.serve(keep_open(sent)) as server:
        events = list(link.connect(server.url, connect_timeout=None))
    assert names(events) == BROKEN
    assert events[2].critical
    assert words in events[2].error
    assert events[3].reason == events[2].error


@pytest.mark.parametrize('end', [b'\r\n', b'\n'])
def test_folded_lines_and_bare_lf_make_ready(end):
    """RFC 9112 5.2 and 2.2; from a device, say, that nobody updates any more."""
    def script(sock):
        key = get_header(read_head(sock), b'Sec-WebSocket-Key')
        sock.sendall(end.join([
            b'HTTP/1.1 101 Switching Protocols', b'Upgrade: websocket',
            b'Connection: keep-alive,', b' Upgrade', b'Sec-WebSocket-Accept:',
            b'\t' + accept_for(key), b'', b'']) + make_close(1000))
        read_to_close(sock)

    with RawServer(script) as server:
        events = list(WebSocket(server.url, connect_timeout=None))
    assert names(events) == CUT[:2] + ['ready', 'closing', 'disconnected']
    assert events[-1].graceful


def test_folded_lines_of_a_refusal_are_unfolded():
    answer = (b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\n realm="a"\r\n'
              b'Content-Length: 0\r\n\r\n')
    with RawServer(keep_open(answer)) as server:
        events = list(WebSocket(server.url))
    assert names(events) == REFUSED
    assert events[2].response.get(u'WWW-Authenticate') == u'Basic realm="a"'


# -- the wrong scheme for the port --

@pytest.mark.parametrize('sent', [ALERT, b'\x16\x03\x03\x00\x7a\x02'])
def test_ws_to_a_server_that_answers_by_tls_says_use_wss(sent):
    with RawServer(keep_open(sent)) as server:
        events = list(WebSocket(server.url, connect_timeout=None))
    assert names(events) == BROKEN
    assert events[3].reason == u'the server speaks TLS on this port: use wss://'


def test_ws_to_a_tls_port_that_says_nothing_hints_at_wss(server_tls):
    """OpenSSL has no alert for a client that speaks HTTP."""
    with RawServer(drain, server_tls) as server:
        for _ in range(5):
            events = list(WebSocket(server.url.replace(u'wss:', u'ws:'), connect_timeout=None))
            assert names(events) == CUT
            assert 'use wss://' in events[2].reason


def test_wss_that_is_cut_off_hints_at_no_scheme(server_tls, authority_file):
    with RawServer(lambda sock: None, server_tls) as server:
        events = list(WebSocket(server.url, ssl_cafile=authority_file))
    assert names(events) == CUT
    assert '://' not in events[2].reason


@pytest.mark.parametrize('answer', [
    b'HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n', b'SSH-2.0-OpenSSH_9.6\r\n'])
def test_wss_to_a_plain_port_says_so(answer):
    with RawServer(keep_open(answer)) as server:
        _connecting, event = WebSocket(
            u'wss://127.0.0.1:{}/'.format(server.port), connect_timeout=None)
    assert event.phase == 'tls'
    assert "the server doesn't speak TLS on this port: use ws://" in event.reason
    assert isinstance(event.cause, ssl.SSLError)


def test_https_for_a_plain_proxy_says_so():
    with RawServer(keep_open(b'HTTP/1.1 400 Bad Request\r\n\r\n')) as proxy:
        proxies = {'http': u'https://127.0.0.1:{}'.format(proxy.port)}
        _connecting, event = WebSocket(
            u'ws://far.invalid/', proxies=proxies, connect_timeout=None)
    assert event.phase == 'proxy'
    assert "the proxy doesn't speak TLS on this port: use http://" in event.reason


def listen(websocket):
    for _event in websocket:
        pass


def test_wss_to_a_plain_server_of_ours_ends_at_once_on_both_sides():
    with Server(listen, handshake_timeout=None) as server:
        _connecting, event = WebSocket(
            server.url.replace(u'ws:', u'wss:'), connect_timeout=None)
        assert event.phase == 'tls'
        assert 'use ws://' in event.reason
        # At the first byte: the rest of the record may never come.
        sock = socket.create_connection((server.host, server.port), PATIENCE)
        sock.sendall(b'\x16')
        assert b'not TLS: use ws://' in drain(sock)
        sock.close()


def test_ws_to_a_tls_server_of_ours_ends_at_once_on_both_sides(server_tls):
    with Server(listen, ssl_context=server_tls, handshake_timeout=None) as server:
        events = list(WebSocket(server.url.replace(u'wss:', u'ws:'), connect_timeout=None))
    assert names(events) == REFUSED
    assert events[2].response.status_code == 400
    assert b'use wss://' in events[2].response.body


def test_tls_server_of_ours_that_is_full_says_nothing_in_the_clear(server_tls):
    with Server(listen, ssl_context=server_tls, max_connections=1) as server:
        sock = socket.create_connection((server.host, server.port), PATIENCE)
        wait_until(lambda: server.connections, 'it is accepted')
        _connecting, event = WebSocket(server.url)
        assert event.phase == 'tls'
        assert '://' not in event.reason
        sock.close()


@pytest.mark.parametrize('first', [b'\0', b'SSH-2.0-x\r\n', b'\x80'])
def test_tls_server_of_ours_drops_what_is_neither(server_tls, first):
    with Server(listen, ssl_context=server_tls, handshake_timeout=None) as server:
        sock = socket.create_connection((server.host, server.port), PATIENCE)
        sock.sendall(first)
        try:
            sock.recv(1000)
        except socket.error as error:
            assert error.errno == errno.ECONNRESET
        sock.close()


def test_silent_client_of_a_tls_server_of_ours_is_dropped_in_time(server_tls):
    with Server(listen, ssl_context=server_tls, handshake_timeout=0.1) as server:
        sock = socket.create_connection((server.host, server.port), PATIENCE)
        assert drain(sock) == b''
        sock.close()


def test_tls_server_of_ours_closes_while_a_client_is_silent(server_tls):
    with Server(listen, ssl_context=server_tls, handshake_timeout=None) as server:
        sock = socket.create_connection((server.host, server.port), PATIENCE)
        wait_until(lambda: server.connections, 'it is accepted')
    assert drain(sock) == b''
    sock.close()


@pytest.mark.parametrize('request_', [b'GET / HTTP/1.1\nHost: x\n\n', b'GET / HTTP/1.1\r\n\n'])
def test_request_with_bare_lf_is_answered_at_once(request_):
    with Server(listen, handshake_timeout=None) as server:
        sock = socket.create_connection((server.host, server.port), PATIENCE)
        sock.sendall(request_)
        assert drain(sock).startswith(b'HTTP/1.1 400 ')
        sock.close()
