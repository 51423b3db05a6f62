"""The loop over one connection: order of events, what it makes of what arrives, the next one."""

from __future__ import absolute_import, division, print_function

import logging
import socket
import struct
import sys
import threading
import zlib
from time import time

import pytest

from lomond import WebSocket, errors
from lomond.session import WebsocketSession
from lomond.testing import Clock
from tests.network.driving import (
    Background,
    accept_and_hang_up,
    accept_and_send,
    answer_with,
    drain,
    read_to_close,
    wait_for,
)
from tests.support import (
    RawServer,
    answer_upgrade,
    make_close,
    make_frame,
    names,
    needs_refcounts,
    read_frame,
    read_head,
)


def reset_connection(sock):
    """End TCP with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    sock.close()


# -- order --

def test_events_of_a_good_connection_come_in_order():
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'one') + make_frame(2, b'two') + make_close(1000, b'bye'))
        read_frame(sock)

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        events = list(websocket)
    assert [event.name for event in events] == [
        'connecting', 'connected', 'ready', 'poll', 'text', 'binary', 'closing', 'disconnected']
    connecting, connected, ready, _poll, text, binary, closing, disconnected = events
    assert connecting.url == server.url
    assert (connected.url, connected.proxy) == (server.url, None)
    assert ready.response.status_code == 101
    assert (ready.protocol, ready.extensions) == (None, set())
    assert text.text == u'one'
    assert binary.data == b'two'
    assert (closing.code, closing.reason) == (1000, u'bye')
    assert (disconnected.reason, disconnected.graceful) == (u'closed', True)


def test_received_times_are_times_of_day_and_do_not_go_back():
    before = time()
    with RawServer(accept_and_hang_up(make_frame(1, b'one'), make_frame(1, b'two'))) as server:
        times = [event.received_time for event in WebSocket(server.url)]
    assert times == sorted(times)
    assert before <= times[0] and times[-1] <= time()


def test_nothing_touches_the_network_before_the_first_next():
    with RawServer(accept_and_hang_up()) as server:
        websocket = WebSocket(server.url)
        iter(websocket)
        loop = websocket.connect()
        assert next(loop).name == 'connecting'
        assert server.connections == 0
        assert next(loop).name == 'connected'
        loop.close()


def test_state_follows_the_events():
    states = {}
    with RawServer(accept_and_send(make_close(1000))) as server:
        websocket = WebSocket(server.url)
        for event in websocket:
            states[event.name] = (
                websocket.state, websocket.is_active, websocket.is_closing, websocket.is_closed)
    assert states == {
        'connecting': ('connecting', True, False, False),
        'connected': ('connecting', True, False, False),
        'ready': ('open', True, False, False),
        'poll': ('open', True, False, False),
        'closing': ('peer_closing', True, False, False),
        'disconnected': ('closed', False, False, True),
    }


def test_poll_follows_ready_before_a_message_that_came_with_the_answer():
    def script(sock):
        answer_with(sock, make_frame(1, b'at once') + make_close(1001))
        read_to_close(sock)

    with RawServer(script) as server:
        events = [event.name for event in WebSocket(server.url)]
    assert events[2:] == ['ready', 'poll', 'text', 'closing', 'disconnected']


def test_messages_arrive_whole_however_the_bytes_are_cut():
    big = bytes(bytearray(range(256))) * 1200

    def script(sock):
        answer_upgrade(sock)
        data = (
            make_frame(1, u'h\xe9llo'.encode('utf-8')) + make_frame(2, big)
            + make_frame(1, b'a', fin=False) + make_frame(9, b'!') + make_frame(0, b'b')
            + make_close(1000))
        for i in range(20):
            sock.sendall(data[i:i + 1])
        sock.sendall(data[20:])
        read_to_close(sock)

    with RawServer(script) as server:
        events = list(WebSocket(server.url))
    assert names(events)[3:] == ['text', 'binary', 'ping', 'text', 'closing', 'disconnected']
    assert [event.text for event in events if event.name == 'text'] == [u'h\xe9llo', u'ab']
    assert [event.data for event in events if event.name == 'binary'] == [big]


def test_an_empty_message_is_a_message():
    with RawServer(accept_and_send(make_frame(1), make_frame(2), make_close(1000))) as server:
        events = list(WebSocket(server.url))
    assert names(events)[3:5] == ['text', 'binary']


# -- no connection --

def test_no_server_is_a_connect_fail_and_the_end(dead_port):
    events = list(WebSocket('ws://127.0.0.1:{}/'.format(dead_port)))
    assert names(events) == ['connecting', 'connect_fail']
    assert events[1].phase == 'connect'
    assert isinstance(events[1].cause, socket.error)
    assert str(dead_port) in events[1].reason


def test_a_proxy_of_the_environment_that_makes_no_sense_is_a_connect_fail(monkeypatch, dead_port):
    monkeypatch.setenv('HTTP_PROXY', 'ftp://localhost/')
    monkeypatch.delenv('http_proxy', raising=False)
    events = list(WebSocket('ws://127.0.0.1:{}/'.format(dead_port)))
    assert names(events) == ['connecting', 'connect_fail']
    assert events[1].phase == 'proxy'


# -- what the peer does wrong: the event, and the close code on the wire --

def deflate(data):
    deflater = zlib.compressobj(-1, zlib.DEFLATED, -15)
    return (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


WRONG = {
    'ping over 125 bytes': (1002, [make_frame(9, b'x' * 126)]),
    'pong over 125 bytes': (1002, [make_frame(10, b'x' * 126)]),
    'close over 125 bytes': (1002, [make_close(1000, b'x' * 124)]),
    'fragmented ping': (1002, [make_frame(9, fin=False)]),
    'fragmented close': (1002, [make_frame(8, fin=False)]),
    'rsv1 without compression': (1002, [make_frame(1, b'x', rsv=0x40)]),
    'rsv2': (1002, [make_frame(1, b'x', rsv=0x20)]),
    'rsv3': (1002, [make_frame(1, b'x', rsv=0x10)]),
    'reserved opcode 3': (1002, [make_frame(3)]),
    'reserved opcode 7': (1002, [make_frame(7)]),
    'reserved opcode 11': (1002, [make_frame(11)]),
    'reserved opcode 15': (1002, [make_frame(15)]),
    'masked frame': (1002, [make_frame(1, b'x', key=b'abcd')]),
    'continuation of nothing': (1002, [make_frame(0, b'x')]),
    'continuation of a finished message': (1002, [
        make_frame(1, b'a', fin=False), make_frame(0, b'b'), make_frame(0, b'c')]),
    'new message inside another': (1002, [
        make_frame(1, b'a', fin=False), make_frame(1, b'b')]),
    'length not in its shortest form': (1002, [b'\x82\x7e\x00\x05hello']),
    'length with its highest bit': (1002, [b'\x82\x7f' + b'\xff' * 8]),
    'close of one byte': (1002, [make_frame(8, b'\x03')]),
    'close code 999': (1002, [make_close(999)]),
    'close code 1004': (1002, [make_close(1004)]),
    'close code 1005': (1002, [make_close(1005)]),
    'close code 1006': (1002, [make_close(1006)]),
    'close code 1015': (1002, [make_close(1015)]),
    'close code 1016': (1002, [make_close(1016)]),
    'close code 2999': (1002, [make_close(2999)]),
    'close code 5000': (1002, [make_close(5000)]),
    'close reason not utf-8': (1007, [make_close(1000, b'\xff')]),
    'text not utf-8': (1007, [make_frame(1, b'caf\xe9')]),
    'text with a surrogate': (1007, [make_frame(1, b'\xed\xa0\x80')]),
    'text cut in a character': (1007, [make_frame(1, b'\xc3')]),
    'text wrong in the middle of a fragmented message': (1007, [
        make_frame(1, b'abc\xff', fin=False)]),
    'text wrong across fragments': (1007, [
        make_frame(1, b'\xc3', fin=False), make_frame(0, b'A', fin=False)]),
    'message too big': (1009, [make_frame(2, b'x' * 1001)]),
    'fragmented message too big': (1009, [
        make_frame(2, b'x' * 600, fin=False), make_frame(0, b'x' * 401, fin=False)]),
}


@pytest.mark.parametrize('fault', sorted(WRONG))
def test_a_fault_of_the_peer_is_an_event_and_a_close_code_on_the_wire(fault):
    code, frames = WRONG[fault]
    answers = []

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'before') + b''.join(frames) + make_frame(1, b'after'))
        answers.append(read_frame(sock))
        answers.append(drain(sock))

    with RawServer(script) as server:
        events = list(WebSocket(server.url, max_message_size=1000))
    assert names(events)[-2:] == ['protocol_error', 'disconnected']
    assert [event.text for event in events if event.name == 'text'][0] == u'before'
    assert u'after' not in [event.text for event in events if event.name == 'text']
    error, disconnected = events[-2:]
    assert error.close_code == code
    assert not error.critical
    assert error.error
    assert not disconnected.graceful
    assert disconnected.reason == error.error
    (first, payload), rest = answers
    assert first == 0x88
    assert struct.unpack('!H', payload[:2]) == (code,)
    assert payload[2:].decode('utf-8')
    assert rest == b''


@pytest.mark.parametrize('frames', [
    [make_frame(1, deflate(b'x' * 5000), rsv=0x40)],
    [make_frame(1, deflate(b'x' * 5000), rsv=0x40, fin=False)],
])
def test_a_message_that_inflates_beyond_the_limit_closes_with_1009(frames):
    answers = []

    def script(sock):
        answer_upgrade(sock, b'Sec-WebSocket-Extensions: permessage-deflate')
        sock.sendall(b''.join(frames))
        answers.append(read_frame(sock))

    with RawServer(script) as server:
        events = list(WebSocket(server.url, compress=True, max_message_size=1000))
    assert names(events)[3:] == ['protocol_error', 'disconnected']
    assert answers[0][1][:2] == struct.pack('!H', 1009)


def test_compressed_garbage_closes_with_1007():
    answers = []

    def script(sock):
        answer_upgrade(sock, b'Sec-WebSocket-Extensions: permessage-deflate')
        sock.sendall(make_frame(2, b'\xff\xff\xff\xff', rsv=0x40))
        answers.append(read_frame(sock))

    with RawServer(script) as server:
        events = list(WebSocket(server.url, compress=True))
    assert names(events)[3:] == ['protocol_error', 'disconnected']
    assert answers[0][1][:2] == struct.pack('!H', 1007)


@pytest.mark.parametrize('code', [1000, 1001, 1003, 1011, 1012, 1014, 3000, 4999])
def test_a_good_close_code_is_echoed(code):
    answers = []

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_close(code, b'why'))
        answers.append(read_frame(sock))

    with RawServer(script) as server:
        events = list(WebSocket(server.url))
    assert events[-2].code == code
    assert events[-1].graceful
    assert answers == [(0x88, struct.pack('!H', code))]


def test_a_fault_in_the_packet_of_the_answer_is_reported_after_ready():
    answers = []

    def script(sock):
        answer_with(sock, make_frame(3))
        answers.append(read_frame(sock))

    with RawServer(script) as server:
        events = list(WebSocket(server.url))
    assert names(events)[2:] == ['ready', 'protocol_error', 'disconnected']
    assert answers[0][1][:2] == struct.pack('!H', 1002)


def test_a_peer_that_floods_after_its_fault_does_not_hold_up_the_end():
    def receive(_buffer=None):
        clock.ahead += 0.01
        return b'x' * 65536

    clock = Clock()
    with RawServer(accept_and_send(make_frame(3))) as server:
        websocket = WebSocket(server.url)
        events = []
        for event in websocket.connect(session_class=clock.session):
            events.append(event)
            if event.name == 'protocol_error':
                websocket.session.transport.receive = receive
    assert names(events)[3:] == ['protocol_error', 'disconnected']


# -- the connection breaks --

@pytest.mark.parametrize('hang_up', [lambda sock: sock.close(), reset_connection])
def test_messages_that_arrived_whole_before_a_cut_are_delivered(hang_up):
    is_read = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(is_read)
        sock.sendall(make_frame(1, b'one') + make_frame(1, b'two') + make_frame(1, b'thr')[:-1])
        hang_up(sock)

    with RawServer(script) as server:
        events = []
        for event in WebSocket(server.url):
            events.append(event)
            if event.name == 'poll':
                is_read.set()
    assert names(events)[3:] == ['text', 'text', 'disconnected']
    assert not events[-1].graceful
    assert events[-1].reason != u'closed'


@pytest.mark.parametrize('hang_up', [lambda sock: sock.close(), reset_connection])
def test_a_failed_write_ends_the_loop_after_delivering_what_arrived(link, hang_up):
    may_go = threading.Event()
    is_gone = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(may_go)
        sock.sendall(make_frame(1, b'one') + make_frame(1, b'two'))
        hang_up(sock)
        is_gone.set()

    failures = []
    with link.serve(script) as server:
        websocket = link.connect(server.url)
        events = []
        for event in websocket:
            events.append(event)
            if event.name == 'poll':
                may_go.set()
                wait_for(is_gone)
                # The first writes may still find a buffer to go to.
                for _ in range(1000):
                    try:
                        websocket.send_text(u'x' * 100)
                    except errors.TransportFail as error:
                        failures.append(error)
                        break
    assert str(failures[0])
    assert names(events)[3:] == ['text', 'text', 'disconnected']
    assert not events[-1].graceful


def test_after_a_failed_write_nothing_more_is_sent():
    is_gone = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        reset_connection(sock)
        is_gone.set()

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        for event in websocket:
            if event.name == 'poll':
                wait_for(is_gone)
                with pytest.raises(errors.TransportFail):
                    for _ in range(1000):
                        websocket.send_text(u'x')
                with pytest.raises(errors.TransportFail) as caught:
                    websocket.send_text(u'x')
                assert (caught.value.sent, caught.value.size) == (0, 7)
                with pytest.raises(errors.TransportFail):
                    websocket.session.write(b'x')
                websocket.close()       # harmless
        with pytest.raises(errors.WebSocketClosed):
            websocket.send_text(u'x')


# -- one after the other --

def test_the_same_websocket_connects_again():
    with RawServer(accept_and_send(make_frame(1, b'hi'), make_close(1000))) as server:
        websocket = WebSocket(server.url)
        first = names(websocket)
        key = websocket.key
        assert names(websocket) == first
        assert websocket.key != key
    assert server.connections == 2


@needs_refcounts
def test_it_connects_again_after_each_way_to_end(dead_port):
    refuse = threading.Event()

    def script(sock):
        if refuse.is_set():
            read_head(sock)
            sock.sendall(b'HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n')
        else:
            answer_upgrade(sock)
            drain(sock)

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        for _event in websocket:        # left with break
            break
        for event in websocket:
            if event.name == 'ready':
                break
        for event in websocket:         # force_disconnect
            if event.name == 'ready':
                websocket.force_disconnect()
        refuse.set()
        assert names(websocket) == ['connecting', 'connected', 'rejected', 'disconnected']
        refuse.clear()
        assert 'ready' in [event.name for event, _ in zip(websocket, range(3))]


def test_a_second_connect_while_a_loop_runs_is_unavailable():
    with RawServer(accept_and_send()) as server:
        websocket = WebSocket(server.url)
        for event in websocket:
            with pytest.raises(errors.WebSocketUnavailable):
                websocket.connect()
            with pytest.raises(errors.WebSocketUnavailable):
                iter(websocket)
            with pytest.raises(errors.WebSocketUnavailable):
                websocket.reset()
            if event.name == 'ready':
                assert websocket.is_active
                break


def test_of_two_loops_the_later_one_counts():
    with RawServer(accept_and_hang_up()) as server:
        websocket = WebSocket(server.url)
        early = websocket.connect()
        late = websocket.connect()
        assert next(late).name == 'connecting'
        with pytest.raises(errors.WebSocketUnavailable):
            next(early)
        assert names(late) == ['connected', 'ready', 'disconnected']


def is_refused(function, *args):
    """Call a function in another thread; tell if that raised WebSocketUnavailable."""
    try:
        Background(function, *args).result()
    except errors.WebSocketUnavailable:
        return True
    return False


@pytest.mark.parametrize('change', [
    lambda websocket: websocket.connect(),
    lambda websocket: websocket.reset(),
    lambda websocket: setattr(websocket, 'url', u'ws://elsewhere.invalid/'),
], ids=['connect', 'reset', 'url'])
def test_no_other_thread_gets_in_while_a_loop_begins_or_ends(change):
    """Else it would swap the stream, or the target, of a connection that goes on by the old one."""
    refused = []

    class Beginning(WebsocketSession):
        def begin(self, **options):
            WebsocketSession.begin(self, **options)
            assert is_refused(change, websocket)
            refused.append('begin')

    class Ending(WebSocket):
        def on_disconnect(self):
            assert is_refused(change, self)
            refused.append('end')
            WebSocket.on_disconnect(self)

    with RawServer(accept_and_send(make_close(1000))) as server:
        websocket = Ending(server.url)
        for _again in range(2):
            assert names(websocket.connect(session_class=Beginning)) == [
                'connecting', 'connected', 'ready', 'closing', 'disconnected']
            assert websocket.is_closed
    assert refused == ['begin', 'end'] * 2


class TellingLock(object):
    """A `ProcessLock` that sets an Event when a thread has to wait for it."""

    def __init__(self, is_awaited):
        self._lock = threading.RLock()
        self._is_awaited = is_awaited

    def __call__(self):
        return self

    def __enter__(self):
        if not self._lock.acquire(False):
            self._is_awaited.set()
            self._lock.acquire()

    def __exit__(self, *_exc_info):
        self._lock.release()


def race_for_the_loop(dead_port, moment, monkeypatch):
    """Have a loop begin at so many lines into another connect(); return which came through."""
    has_gone_on = threading.Event()
    monkeypatch.setattr('lomond._endpoint.ProcessLock', lambda: TellingLock(has_gone_on))
    websocket = WebSocket(u'ws://127.0.0.1:{}/'.format(dead_port))
    early = websocket.connect()
    lines, beginning = [], []

    def begin():
        try:
            return next(early).name
        except errors.WebSocketUnavailable:
            return None
        finally:
            has_gone_on.set()

    def trace(frame, _event, _argument):
        if frame.f_globals['__name__'] not in ('lomond.websocket', 'lomond._endpoint'):
            return None
        lines.append(frame.f_lineno)
        if len(lines) == moment:
            beginning.append(Background(begin))
            wait_for(has_gone_on)
        return trace

    late = None
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        late = websocket.connect()
    except errors.WebSocketUnavailable:
        pass
    finally:
        sys.settrace(before)
    if not beginning:
        return None
    has_begun = beginning[0].result() == 'connecting'
    if late is not None:
        assert next(late).name == 'connecting'
        late.close()
    early.close()
    return has_begun, late is not None


def test_of_two_loops_that_begin_at_once_one_counts(dead_port, monkeypatch):
    outcomes = []
    while not outcomes or outcomes[-1] is not None:
        outcomes.append(race_for_the_loop(dead_port, len(outcomes) + 1, monkeypatch))
    assert len(outcomes) > 10
    assert set(outcomes[:-1]) == {(True, False), (False, True)}


def test_a_loop_that_is_over_does_not_disturb_the_next():
    with RawServer(accept_and_send(make_close(1000))) as server:
        websocket = WebSocket(server.url)
        old = websocket.connect()
        for event in old:
            if event.name == 'disconnected':
                break
        new = websocket.connect()
        seen = [next(new).name for _ in range(3)]
        assert list(old) == []
        old.close()
        seen.extend(names(new))
    assert seen == ['connecting', 'connected', 'ready', 'closing', 'disconnected']


def test_a_session_class_of_ones_own_drives_the_connection():
    sent = []

    class ListingSession(WebsocketSession):
        def send(self, opcode, data, compress=False):
            sent.append((opcode, data))
            WebsocketSession.send(self, opcode, data, compress)

    with RawServer(accept_and_send(make_close(1000))) as server:
        websocket = WebSocket(server.url)
        assert names(websocket.connect(session_class=ListingSession))[-1] == 'disconnected'
    assert isinstance(websocket.session, ListingSession)
    assert sent == [(8, make_close(1000)[2:])]


def accept_and_close(sock):
    answer_upgrade(sock)
    read_to_close(sock)
    sock.sendall(make_close(1000))


def test_a_session_with_a_send_of_its_own_gets_control_frames_too():
    sent = []

    class ListingSession(WebsocketSession):
        def send(self, opcode, data, compress=False):
            sent.append(opcode)
            WebsocketSession.send(self, opcode, data, compress)

    with RawServer(accept_and_close) as server:
        websocket = WebSocket(server.url)
        for event in websocket.connect(session_class=ListingSession):
            if event.name == 'ready':
                websocket.send_text(u'x')
                websocket.send_ping(b'1')
                websocket.close()
    assert sent == [1, 9, 8]


def test_a_send_that_a_factory_replaced_is_called():
    sent = []

    def make_session(websocket):
        session = WebsocketSession(websocket)
        send = session.send
        session.send = lambda *args: (sent.append(args[0]), send(*args))
        return session

    with RawServer(accept_and_close) as server:
        websocket = WebSocket(server.url)
        for event in websocket.connect(session_class=make_session):
            if event.name == 'ready':
                websocket.send_text(u'x')
                websocket.close()
    assert sent == [1, 8]


def test_a_stand_in_for_a_session_is_called_itself():
    class StandIn(object):
        def __init__(self, websocket):
            self.sent = []

        def run(self, **_options):
            return iter(())

        def __getattr__(self, name):
            return None

        def send(self, *args):
            self.sent.append(args)

    websocket = WebSocket(u'ws://example.org/')
    websocket.connect(session_class=StandIn)
    websocket.send_text(u'x')
    assert websocket.session.sent == [(1, b'x', True)]


@pytest.mark.parametrize('name', ['unresponsive', 'rejected', 'protocol_error'])
def test_a_handler_that_breaks_the_connection_does_not_change_the_reason(name):
    scripts = {
        'unresponsive': lambda sock: (answer_upgrade(sock), drain(sock)),
        'rejected': lambda sock: (read_head(sock), sock.sendall(
            b'HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n'), drain(sock)),
        'protocol_error': lambda sock: (read_head(sock), sock.sendall(b'HTTP/1.1 ?\r\n'))}
    reasons = {
        'unresponsive': 'the server is unresponsive', 'rejected': '403',
        'protocol_error': 'HTTP'}
    with RawServer(scripts[name]) as server:
        websocket = WebSocket(server.url)
        for event in websocket.connect(ping_rate=0.01, ping_timeout=0.05):
            if event.name == name:
                websocket.force_disconnect()
    assert event.name == 'disconnected'
    assert reasons[name] in event.reason
    assert websocket.session.end.reason == event.reason


# -- the tracer --

def test_trace_tells_the_stages_in_order():
    records = []
    with RawServer(accept_and_send(make_close(1000))) as server:
        list(WebSocket(server.url, trace=records.append))
    assert [record['stage'] for record in records] == [
        'resolve', 'connect', 'request', 'handshake', 'disconnected']
    assert {record['url'] for record in records} == {server.url}
    fields = {record['stage']: record for record in records}
    assert fields['resolve']['host'] == u'127.0.0.1'
    assert fields['connect']['address'] == ('127.0.0.1', server.port)
    assert fields['request']['head'].startswith(b'GET / HTTP/1.1\r\n')
    assert fields['disconnected']['reason'] == u'closed'
    assert fields['disconnected']['graceful'] is True


def test_trace_true_logs_the_stages(caplog):
    caplog.set_level('DEBUG', logger='lomond')
    with RawServer(accept_and_send(make_close(1000))) as server:
        list(WebSocket(server.url, trace=True))
    assert "'stage': 'disconnected'" in caplog.text


def test_a_tracer_that_raises_does_not_end_the_connection(caplog):
    def tracer(_record):
        raise ZeroDivisionError()

    with caplog.at_level(logging.ERROR, 'lomond'):
        with RawServer(accept_and_send(make_close(1000))) as server:
            events = list(WebSocket(server.url, trace=tracer))
    assert events[-1].graceful
    assert "'resolve'" in caplog.text
    assert 'ZeroDivisionError' in caplog.text


# -- bytes of another thread --

def test_a_loop_may_run_in_any_thread():
    with RawServer(accept_and_send(make_frame(1, b'hi'), make_close(1000))) as server:
        events = Background(list, WebSocket(server.url)).result()
    assert names(events)[3:] == ['text', 'closing', 'disconnected']
