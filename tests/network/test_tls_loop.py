"""The loop over wss: cuts, half records, threads. Certificates are another file's matter."""

from __future__ import absolute_import, division, print_function

import socket
import ssl
import struct
import threading

import pytest

from lomond import WebSocket, errors
from lomond.server import Server
from lomond.testing import Clock
from tests.network.driving import (
    Background,
    accept_and_send,
    count_descriptors,
    drain,
    needs_proc,
    read_to_close,
    stall,
    wait_for,
)
from tests.support import (
    PATIENCE,
    RawServer,
    answer_upgrade,
    make_close,
    make_frame,
    names,
    needs_refcounts,
    read_exactly,
    read_frame,
)


class Relay(object):
    """Passes bytes to a server and back; holds the second half of one piece back on demand.

    So a client sees half a TLS record, whatever the ssl module can do here.
    """

    def __init__(self, port):
        self._port = port
        self.may_hold = threading.Event()
        self.is_held = threading.Event()
        self.may_go_on = threading.Event()
        self._raw = RawServer(self._script)

    def _script(self, sock):
        server = socket.create_connection(('127.0.0.1', self._port), PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        up = Background(self._pass_on, sock, server)
        try:
            while True:
                data = server.recv(65536)
                if not data:
                    break
                if self.may_hold.is_set() and not self.is_held.is_set():
                    half = len(data) // 2
                    sock.sendall(data[:half])
                    self.is_held.set()
                    wait_for(self.may_go_on)
                    data = data[half:]
                sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            up.result()
        finally:
            server.close()

    @staticmethod
    def _pass_on(source, drain):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                drain.sendall(data)
            drain.shutdown(socket.SHUT_WR)
        except socket.error:
            pass

    def __enter__(self):
        self._raw.__enter__()
        self.url = u'wss://127.0.0.1:{}/'.format(self._raw.port)
        return self

    def __exit__(self, *exc_info):
        self.may_go_on.set()
        self._raw.__exit__(*exc_info)


@pytest.fixture
def connect(authority_file):
    """Make a WebSocket that trusts the authority."""
    def connect(url, **options):
        return WebSocket(url, ssl_cafile=authority_file, **options)
    return connect


def test_events_over_tls_come_in_the_same_order(connect, server_tls):
    big = b'x' * 300000
    script = accept_and_send(make_frame(1, b'hi'), make_frame(2, big), make_close(1000))
    with RawServer(script, server_tls) as server:
        events = list(connect(server.url))
    assert names(events) == [
        'connecting', 'connected', 'ready', 'text', 'binary', 'closing', 'disconnected']
    assert events[5].data == big
    assert events[-1].graceful


def test_it_connects_again_over_tls(connect, server_tls):
    with RawServer(accept_and_send(make_close(1000)), server_tls) as server:
        websocket = connect(server.url)
        assert names(websocket) == names(websocket)
    assert server.connections == 2


def test_a_context_of_the_callers_is_used_as_it_is(server_tls, authority_file):
    context = ssl.create_default_context(cafile=authority_file)
    options = context.options
    with RawServer(accept_and_send(make_close(1000)), server_tls) as server:
        events = list(WebSocket(server.url, ssl_context=context))
    assert events[-1].graceful
    assert context.options == options


def test_trace_tells_of_tls(connect, server_tls):
    records = []
    with RawServer(accept_and_send(make_close(1000)), server_tls) as server:
        list(connect(server.url, trace=records.append))
    assert [record['stage'] for record in records] == [
        'resolve', 'connect', 'tls', 'request', 'handshake', 'disconnected']
    assert records[2]['version'].startswith('TLSv1')
    assert records[2]['resumed'] is False


def test_what_openssl_holds_is_delivered_without_more_from_the_network(connect, server_tls):
    """Many messages in few records: the socket is empty long before OpenSSL is."""
    count = 20000
    may_close = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(2, b'0123456789') * count)
        wait_for(may_close)

    with RawServer(script, server_tls) as server:
        seen = 0
        for event in connect(server.url).connect(poll=None, ping_rate=0):
            seen += event.name == 'binary'
            if seen == count:
                may_close.set()
    assert seen == count


def test_a_half_received_record_delays_neither_poll_nor_pings(connect, server_tls):
    pings = []
    has_pings = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(relay.may_hold)
        sock.sendall(make_frame(2, b'x' * 10000))
        while len(pings) < 3:
            pings.append(read_frame(sock))
        has_pings.set()
        sock.sendall(make_close(1000))
        read_to_close(sock)

    with RawServer(script, server_tls) as server:
        with Relay(server.port) as relay:
            events = []
            polls_meanwhile = 0
            for event in connect(relay.url).connect(poll=0.01, ping_rate=0.01):
                events.append(event)
                if event.name == 'ready':
                    relay.may_hold.set()
                elif event.name == 'poll' and relay.is_held.is_set():
                    polls_meanwhile += not relay.may_go_on.is_set()
                    if polls_meanwhile >= 3 and has_pings.is_set():
                        relay.may_go_on.set()
    assert polls_meanwhile >= 3
    assert names(events)[3:] == ['binary', 'closing', 'disconnected']
    assert [first for first, _payload in pings] == [0x89] * 3


def test_half_a_record_is_no_hindrance_to_sending(connect, server_tls):
    received = []

    def script(sock):
        answer_upgrade(sock)
        wait_for(relay.may_hold)
        sock.sendall(make_frame(2, b'x' * 10000))
        received.append(read_frame(sock))
        relay.may_go_on.set()
        sock.sendall(make_close(1000))
        read_to_close(sock)

    with RawServer(script, server_tls) as server:
        with Relay(server.port) as relay:
            websocket = connect(relay.url)
            for event in websocket.connect(poll=0.01):
                if event.name == 'ready':
                    relay.may_hold.set()
                elif event.name == 'poll' and relay.is_held.is_set() and not received:
                    websocket.send_binary(b'y' * 500000)
    assert received[0][1] == b'y' * 500000
    assert event.graceful


# -- cuts --

def reset(sock):
    """End TCP with RST, under TLS."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    sock.close()


def cut(sock):
    """End TCP, with no word of TLS."""
    sock.close()


def end_tls(sock):
    """End TLS by its rules, and TCP."""
    try:
        sock.unwrap().close()
    except (socket.error, ValueError):
        sock.close()


@pytest.mark.parametrize('end', [cut, reset, end_tls])
def test_messages_that_arrived_whole_before_a_cut_are_delivered(connect, server_tls, end):
    is_read = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(is_read)
        sock.sendall(make_frame(1, b'one') + make_frame(1, b'two') + make_frame(1, b'thr')[:-1])
        end(sock)

    with RawServer(script, server_tls) as server:
        events = []
        for event in connect(server.url).connect(poll=None, ping_rate=0):
            events.append(event)
            if event.name == 'poll':
                is_read.set()
    assert names(events)[3:] == ['text', 'text', 'disconnected']
    assert not events[-1].graceful


def test_an_end_of_tls_without_close_frames_is_not_graceful(connect, server_tls):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'hi'))
        end_tls(sock)

    with RawServer(script, server_tls) as server:
        # With no timer to look after it.
        events = list(connect(server.url).connect(poll=None, ping_rate=0))
    assert names(events)[3:] == ['text', 'disconnected']
    assert not events[-1].graceful


@pytest.mark.parametrize('end', [cut, reset, end_tls])
def test_a_cut_after_our_close_frame_is_not_graceful(connect, server_tls, end):
    def script(sock):
        answer_upgrade(sock)
        read_frame(sock)
        end(sock)

    with RawServer(script, server_tls) as server:
        websocket = connect(server.url)
        for event in websocket:
            if event.name == 'ready':
                websocket.close()
    assert event.name == 'disconnected'
    assert not event.graceful


@pytest.mark.parametrize('end', [cut, reset, end_tls])
def test_a_cut_after_both_close_frames_is_graceful(connect, server_tls, end):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_close(1001))
        read_frame(sock)
        end(sock)

    with RawServer(script, server_tls) as server:
        events = list(connect(server.url))
    assert names(events)[3:] == ['closing', 'disconnected']
    assert events[-1].graceful


@pytest.mark.parametrize('end', [cut, reset, end_tls])
def test_a_cut_during_the_handshake_disconnects(connect, server_tls, end):
    def script(sock):
        read_exactly(sock, 20)
        end(sock)

    with RawServer(script, server_tls) as server:
        events = list(connect(server.url))
    assert names(events)[-1] in ('disconnected', 'connect_fail')
    assert len(events) == 3


def test_a_protocol_error_with_the_end_of_tls_behind_it(connect, server_tls):
    """Both ends say that they are done; nothing may be sent or raised after that."""
    def script(sock):
        answer_upgrade(sock)
        sock.settimeout(0)
        sock.sendall(make_frame(1, b'hi') + make_frame(3))
        try:
            sock.unwrap()
        except (socket.error, ValueError):
            pass
        sock.settimeout(PATIENCE)
        drain(sock)

    with RawServer(script, server_tls) as server:
        events = list(connect(server.url))
    assert names(events)[3:] == ['text', 'protocol_error', 'disconnected']
    assert events[-2].close_code == 1002


# -- a peer that doesn't read, and threads --

HUGE = b'x' * (12 * 1024 * 1024)


def test_a_peer_that_does_not_read_fails_a_send_within_write_timeout(connect, server_tls):
    has_sent, may_end = threading.Event(), threading.Event()

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'unread'))
        has_sent.set()
        wait_for(may_end)

    with RawServer(script, server_tls) as server:
        websocket = connect(server.url, write_timeout=0.1)
        events = []
        for event in websocket:
            events.append(event)
            if event.name == 'ready':
                wait_for(has_sent)
                with pytest.raises(errors.TransportFail):
                    websocket.send_binary(HUGE)
        may_end.set()
    assert names(events)[3:] == ['text', 'disconnected']
    assert not events[-1].graceful


def test_both_sides_send_from_threads_and_all_arrives(connect, server_tls):
    count = 300
    received = []

    def send(websocket, thread):
        for number in range(count):
            websocket.send_text(u'{}:{}:{}'.format(thread, number, u'lorem ' * (number % 50)))

    def expected(thread):
        return [u'{}:{}:{}'.format(thread, number, u'lorem ' * (number % 50))
                for number in range(count)]

    def handler(websocket):
        senders = []
        for event in websocket:
            if event.name == 'ready':
                senders = [Background(send, websocket, thread) for thread in range(2)]
            elif event.name == 'text':
                received.append(event.text)
                if len(received) == 2 * count:
                    for sender in senders:
                        sender.result()
                    return

    with Server(handler, ssl_context=server_tls, compress=True) as server:
        websocket = connect(server.url, compress=True)
        events = []
        senders = []
        for event in websocket:
            events.append(event)
            if event.name == 'ready':
                senders = [Background(send, websocket, thread) for thread in range(2)]
        for sender in senders:
            sender.result()
    sent = [event.text for event in events if event.name == 'text']
    for texts in (received, sent):
        assert len(texts) == 2 * count
        for thread in range(2):
            own = [text for text in texts if text.startswith(u'{}:'.format(thread))]
            assert own == expected(thread)
    assert events[-1].graceful


@needs_proc
@pytest.mark.parametrize('way', [
    pytest.param('break', marks=needs_refcounts), 'close', 'force_disconnect',
    pytest.param('raise', marks=needs_refcounts)])
def test_no_descriptor_is_left(connect, server_tls, way):
    with RawServer(accept_and_send(make_frame(1, b'hi')), server_tls) as server:
        before = count_descriptors()
        websocket = connect(server.url, connect_timeout=5)
        try:
            for event in websocket:
                if event.name == 'text':
                    if way == 'break':
                        break
                    if way == 'raise':
                        raise KeyError(way)
                    getattr(websocket, way)()
        except KeyError:
            pass
        server.wait_for_scripts()
        assert count_descriptors() == before


def test_an_untrusted_server_is_a_connect_fail(server_tls):
    with RawServer(lambda sock: None, server_tls) as server:
        events = list(WebSocket(server.url))
    assert names(events) == ['connecting', 'connect_fail']
    assert events[-1].phase == 'tls'


@pytest.mark.parametrize('call', ['close', 'force_disconnect'])
def test_ending_it_from_another_thread_during_the_tls_handshake(connect, call):
    has_hello = threading.Event()
    is_closed = threading.Event()

    def script(sock):
        read_exactly(sock, 20)
        has_hello.set()
        drain(sock)
        is_closed.set()

    with RawServer(script) as server:
        websocket = connect(server.url.replace(u'ws:', u'wss:'))
        background = Background(list, websocket)
        wait_for(has_hello)
        getattr(websocket, call)()
        events = background.result()
        wait_for(is_closed)
    assert names(events) == ['connecting', 'connect_fail']


def test_a_tls_handshake_that_stalls_is_a_connect_fail_at_the_deadline(connect):
    is_closed = threading.Event()

    def script(sock):
        drain(sock)
        is_closed.set()

    with RawServer(script) as server:
        url = server.url.replace(u'ws:', u'wss:')
        event = stall(lambda timeout: connect(url, connect_timeout=timeout),
                      lambda event: event.phase == 'tls')
        wait_for(is_closed)
    assert 'timed out' in event.reason


def test_no_ping_is_late_for_a_busy_clock(connect, server_tls):
    """Silence over TLS is judged as in the plain."""
    clock = Clock()

    def script(sock):
        answer_upgrade(sock)
        drain(sock)

    with RawServer(script, server_tls) as server:
        events = []
        for event in connect(server.url).connect(
                session_class=clock.session, poll=10, ping_rate=30, ping_timeout=60):
            events.append(event)
            if event.name == 'poll':
                clock.ahead += 10
    assert names(events)[3:] == ['unresponsive', 'disconnected']
