"""The end of a connection: who closes, in which order, what counts as graceful."""

from __future__ import absolute_import, division, print_function

import errno
import socket
import struct
import threading

import pytest

from lomond import WebSocket, errors
from lomond.engine.session import SALVAGE
from lomond.server import Server
from lomond.session import WebsocketSession
from lomond.status import Status
from lomond.testing import Clock
from tests.network.driving import (
    Background,
    accept_and_send,
    drain,
    end_and_drain,
    read_to_close,
    wait_for,
)
from tests.support import (
    PATIENCE,
    RawServer,
    accept_for,
    answer_upgrade,
    get_header,
    make_close,
    make_frame,
    names,
    read_exactly,
    read_frame,
    read_head,
)


def run(websocket, **actions):
    """Run the loop, calling ``action()`` at the events named; return the events."""
    events = []
    for event in websocket:
        events.append(event)
        action = actions.get(event.name)
        if action is not None:
            action()
    return events


def accept_then_drain(sock):
    """A script that accepts, and reads until the client is gone."""
    answer_upgrade(sock)
    drain(sock)


def accept_answer_close(sock):
    """A script that answers the client's Close."""
    answer_upgrade(sock)
    _first, payload = read_to_close(sock)[-1]
    sock.sendall(make_frame(8, payload))


def describe(websocket):
    """Return the state, and which of the predicates are true."""
    predicates = ('is_active', 'is_open', 'is_closing', 'is_closed')
    return (websocket.state,) + tuple(name for name in predicates if getattr(websocket, name))


# -- how it stands --

def test_it_is_open_from_ready_until_we_close():
    stood = []

    def note():
        stood.append(describe(websocket))

    def close():
        note()
        websocket.close()
        note()

    with RawServer(accept_answer_close) as server:
        websocket = WebSocket(server.url)
        note()
        run(websocket, connecting=note, connected=note, ready=close, closed=note,
            disconnected=note)
    before, open_ = ('connecting', 'is_active'), ('open', 'is_active', 'is_open')
    closing, over = ('closing', 'is_closing'), ('closed', 'is_closed')
    assert stood == [before, before, before, open_, closing, over, over]
    websocket.reset()
    assert describe(websocket) == before


def test_it_is_open_no_more_while_the_server_closes_though_something_may_be_sent():
    def answer():
        assert describe(websocket) == ('peer_closing', 'is_active')
        websocket.send_text(u'good night')

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_close(1001))
        assert read_frame(sock)[1] == b'good night'

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        events = run(websocket, closing=answer)
    assert 'closing' in names(events)
    assert describe(websocket) == ('closed', 'is_closed')


def test_it_is_failing_once_the_server_broke_the_protocol():
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(3))     # a reserved opcode
        read_to_close(sock)

    def look():
        assert describe(websocket) == ('failing', 'is_closing')
        assert websocket.close_sent.code == 1002
        assert websocket.close_received is None
        with pytest.raises(errors.WebSocketClosing):
            websocket.send_text(u'late')

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        events = run(websocket, protocol_error=look)
    assert names(events)[-2:] == ['protocol_error', 'disconnected']
    assert websocket.close_sent.reason == events[-2].error


@pytest.mark.parametrize('args, sent, received', [
    ((), (1000, u'goodbye'), (1000, u'goodbye')),
    ((1001, u'caf\xe9'), (1001, u'caf\xe9'), (1001, u'caf\xe9')),
    ((None,), (1005, u''), (1005, u'')),
])
def test_the_close_frames_that_were_exchanged_are_there_to_read(args, sent, received):
    def close():
        assert websocket.close_sent is None
        websocket.close(*args)
        assert websocket.close_sent == sent

    def compare():
        assert websocket.close_received == received
        assert (websocket.close_sent.code, websocket.close_sent.reason) == sent

    with RawServer(accept_answer_close) as server:
        websocket = WebSocket(server.url)
        assert websocket.close_sent is None
        events = run(websocket, ready=close, closed=compare, disconnected=compare)
    assert events[-1].graceful
    compare()
    websocket.reset()
    assert (websocket.close_sent, websocket.close_received) == (None, None)


def test_the_close_frame_of_the_server_is_there_to_read_while_it_is_handled():
    def compare():
        assert websocket.close_received == (1001, u'bye')
        assert websocket.close_sent is None

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_close(1001, b'bye'))
        drain(sock)

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        run(websocket, closing=compare)
    assert websocket.close_received == (1001, u'bye')
    assert websocket.close_sent == (1001, u'')      # RFC 6455 5.5.1: the code is echoed


def test_it_is_never_open_without_a_connection(dead_port):
    websocket = WebSocket(u'ws://127.0.0.1:{}/'.format(dead_port))
    for _event in websocket:
        assert not websocket.is_open
    assert not websocket.is_open


@pytest.mark.parametrize('end', [
    lambda websocket: websocket.force_disconnect(),
    lambda websocket: list(websocket.feed(make_frame(3))),      # a reserved opcode
], ids=['force_disconnect', 'protocol error'])
def test_it_is_open_no_more_once_its_end_is_certain(end):
    with RawServer(accept_then_drain) as server:
        websocket = WebSocket(server.url)
        for event in websocket:
            if event.name == 'ready':
                assert websocket.is_open
                end(websocket)
                assert not websocket.is_open


def test_it_is_open_no_more_once_a_send_has_failed():
    """Though what had arrived is still handed out."""
    def script(sock):
        answer_upgrade(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        for event in websocket:
            if event.name == 'ready':
                with pytest.raises(errors.TransportFail):
                    while True:
                        websocket.send_binary(b'x' * 65536)
                assert not websocket.is_open


# -- we close --

def test_we_close_and_messages_still_arrive_until_closed():
    frames = []

    def script(sock):
        answer_upgrade(sock)
        frames.append(read_frame(sock))
        sock.sendall(make_frame(1, b'late') + make_frame(9, b'?') + make_close(1000, b'goodbye'))
        frames.append(end_and_drain(sock))

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        states = []
        events = []
        for event in websocket:
            events.append(event)
            states.append((event.name, websocket.is_closing))
            if event.name == 'ready':
                websocket.close()
                assert websocket.is_closing
                assert not websocket.is_active
    assert names(events)[3:] == ['text', 'ping', 'closed', 'disconnected']
    closed, disconnected = events[-2:]
    assert (closed.code, closed.reason) == (1000, u'goodbye')
    assert disconnected.graceful
    assert ('text', True) in states
    # Nothing follows our Close frame, not even a pong.
    assert frames == [(0x88, struct.pack('!H', 1000) + b'goodbye'), b'']


@pytest.mark.parametrize('arguments, payload', [
    ((), struct.pack('!H', 1000) + b'goodbye'),
    ((1001,), struct.pack('!H', 1001) + b'goodbye'),
    ((Status.GOING_AWAY, u'bye'), struct.pack('!H', 1001) + b'bye'),
    ((3000, b'bytes'), struct.pack('!H', 3000) + b'bytes'),
    ((4999, u''), struct.pack('!H', 4999)),
    ((None,), b''),
    ((1000, u'x' * 123), struct.pack('!H', 1000) + b'x' * 123),
    ((1000, u'x' * 124), struct.pack('!H', 1000) + b'x' * 123),
    ((1000, u'\u20ac' * 42), struct.pack('!H', 1000) + u'\u20ac'.encode('utf-8') * 41),
    ((1000, u'x' + u'\u20ac' * 41), struct.pack('!H', 1000)
     + b'x' + u'\u20ac'.encode('utf-8') * 40),
    ((1000, u'x' * 120 + u'\U0001f600'), struct.pack('!H', 1000) + b'x' * 120),
], ids=lambda value: repr(value)[:40])
def test_the_close_frame_says_what_close_was_told(arguments, payload):
    frames = []

    def script(sock):
        answer_upgrade(sock)
        frame = read_frame(sock)
        frames.append(frame)
        sock.sendall(make_frame(8, frame[1][:2]))

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        events = run(websocket, ready=lambda: websocket.close(*arguments))
    assert frames == [(0x88, payload)]
    assert events[-1].graceful


def test_a_close_frame_without_a_code_is_reported_as_1005():
    with RawServer(accept_and_send(make_frame(8))) as server:
        events = list(WebSocket(server.url))
    assert events[-2].name == 'closing'
    assert (events[-2].code, events[-2].reason) == (1005, u'')
    assert events[-1].graceful


@pytest.mark.parametrize('code', [1004, 1005, 1006, 1015, 2999, 5000])
def test_a_bad_close_code_raises_and_leaves_the_connection_open(code):
    with RawServer(accept_and_send(make_frame(1, b'hi'), make_close(1000))) as server:
        websocket = WebSocket(server.url)

        def close():
            with pytest.raises(ValueError):
                websocket.close(code)
            assert websocket.is_active

        assert names(run(websocket, ready=close))[3:] == ['text', 'closing', 'disconnected']


def test_a_second_close_is_harmless():
    frames = []

    def script(sock):
        answer_upgrade(sock)
        frames.append(read_frame(sock))
        sock.sendall(make_close(1000))
        frames.append(end_and_drain(sock))

    with RawServer(script) as server:
        websocket = WebSocket(server.url)

        def close():
            websocket.close(1001, u'first')
            websocket.close(1002, u'second')

        events = run(websocket, ready=close, closed=websocket.close, disconnected=websocket.close)
        websocket.close()
    assert events[-1].graceful
    assert frames == [(0x88, struct.pack('!H', 1001) + b'first'), b'']


def test_sent_close_time_is_in_seconds_of_the_session():
    with RawServer(accept_and_send()) as server:
        websocket = WebSocket(server.url)
        clock = Clock()
        for event in websocket.connect(session_class=clock.session):
            if event.name == 'ready':
                assert websocket.sent_close_time is None
                clock.ahead += 100
                websocket.close()
                assert 100 <= websocket.sent_close_time <= websocket.session.session_time < 120


def test_without_an_answer_the_loop_ends_after_close_timeout():
    clock = Clock()
    is_closed = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        drain(sock)
        is_closed.set()

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        events = []
        for event in websocket.connect(
                session_class=clock.session, close_timeout=30, poll=0.01):
            events.append(event)
            if event.name == 'ready':
                websocket.close()
                clock.ahead += 29
            elif event.name == 'poll' and len(events) > 8:
                clock.ahead += 1
        wait_for(is_closed)
    assert names(events) == ['connecting', 'connected', 'ready', 'disconnected']
    assert len(events) > 8      # Polls came on until then
    assert not events[-1].graceful
    assert 'Close' in events[-1].reason


def test_close_timeout_holds_with_no_other_timer():
    """Neither poll nor pings wake the loop."""
    with RawServer(accept_then_drain) as server:
        websocket = WebSocket(server.url)
        events = []
        for event in websocket.connect(poll=None, ping_rate=0, close_timeout=0.05):
            events.append(event)
            if event.name == 'ready':
                websocket.close()
    assert names(events)[-1] == 'disconnected'
    assert not events[-1].graceful


def test_close_timeout_holds_when_close_comes_from_another_thread():
    is_waiting = threading.Event()
    with RawServer(accept_then_drain) as server:
        websocket = WebSocket(server.url)

        def loop():
            events = []
            for event in websocket.connect(poll=None, ping_rate=0, close_timeout=0.05):
                events.append(event)
                if event.name == 'poll':
                    is_waiting.set()
            return events

        background = Background(loop)
        wait_for(is_waiting)
        websocket.close()
        assert names(background.result())[-1] == 'disconnected'


def test_close_timeout_holds_against_a_peer_that_goes_on_sending():
    clock = Clock()
    is_over = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        while not is_over.is_set():
            sock.sendall(make_frame(2, b'x' * 60000))

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        events = []
        for event in websocket.connect(
                session_class=clock.session, poll=None, ping_rate=0, close_timeout=30):
            events.append(event)
            if event.name == 'ready':
                websocket.close()
            elif event.name == 'binary':
                clock.ahead += 1
        is_over.set()
    assert not events[-1].graceful
    assert len(events) < 100 + SALVAGE // 60000     # what had arrived by then is among them


@pytest.mark.parametrize('never', [None, 0])
def test_close_timeout_none_and_0_wait_for_the_answer(never):
    clock = Clock()
    may_answer = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        read_frame(sock)
        wait_for(may_answer)
        sock.sendall(make_close(1000))

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        events = []
        for event in websocket.connect(
                session_class=clock.session, poll=0.01, close_timeout=never):
            events.append(event)
            if event.name == 'ready':
                websocket.close()
            elif event.name == 'poll':
                clock.ahead += 1000
                if len(events) > 8:
                    may_answer.set()
    assert events[-1].graceful


def test_an_answer_that_lay_there_at_the_deadline_still_counts():
    """The handler took longer than close_timeout."""
    clock = Clock()
    has_answered = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        read_frame(sock)
        sock.sendall(make_frame(1, b'late') + make_close(1000))
        has_answered.set()

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        events = []
        for event in websocket.connect(session_class=clock.session, close_timeout=30):
            events.append(event)
            if event.name == 'ready':
                websocket.close()
                wait_for(has_answered)
                clock.ahead += 1000
    assert names(events)[3:] == ['text', 'closed', 'disconnected']
    assert events[-1].graceful


@pytest.mark.parametrize('size', [100, 50000, 150000])
def test_all_that_lay_there_at_the_deadline_is_delivered(size, link):
    """The program was busy for longer than close_timeout; it takes several reads."""
    clock = Clock()
    count = 150000 // size
    has_answered = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        read_frame(sock)
        sock.sendall(make_frame(2, b'x' * size) * count + make_close(1000))
        has_answered.set()

    with link.serve(script) as server:
        websocket = link.connect(
            server.url, socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 200 * 1024)])
        events = []
        for event in websocket.connect(session_class=clock.session, close_timeout=30):
            events.append(event)
            if event.name == 'ready':
                websocket.close()
                wait_for(has_answered)
                clock.ahead += 1000
    assert names(events)[3:] == ['binary'] * count + ['closed', 'disconnected']
    assert events[-1].graceful


def test_a_large_message_of_which_a_part_was_read_before_the_deadline_is_whole(link):
    clock = Clock()
    frame = make_frame(2, bytes(bytearray(range(250))) * 1200)
    may_go_on, has_answered = threading.Event(), threading.Event()

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(frame[:140000])
        wait_for(may_go_on)
        read_frame(sock)
        sock.sendall(frame[140000:260000])
        sock.sendall(frame[260000:] + make_frame(1, b'more') + make_close(1000))
        has_answered.set()

    with link.serve(script) as server:
        websocket = link.connect(
            server.url, socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 200 * 1024)])
        events = []
        for event in websocket.connect(
                session_class=clock.session, poll=0.01, ping_rate=0, close_timeout=30):
            events.append(event)
            if event.name == 'poll' and not may_go_on.is_set() \
                    and websocket.stats.received.wire_bytes == 140000:
                websocket.close()
                may_go_on.set()
                wait_for(has_answered)
                clock.ahead += 1000
    assert names(events)[3:] == ['binary', 'text', 'closed', 'disconnected']
    assert [event.data for event in events if event.name == 'binary'] == [frame[10:]]
    assert events[-1].graceful


@pytest.mark.parametrize('ping_timeout', [10, 50])
def test_after_close_close_timeout_takes_the_place_of_ping_timeout(ping_timeout):
    clock = Clock()
    with RawServer(accept_then_drain) as server:
        websocket = WebSocket(server.url)
        events = []
        for event in websocket.connect(
                session_class=clock.session, poll=0.01, ping_rate=ping_timeout / 4,
                ping_timeout=ping_timeout, close_timeout=100):
            events.append(event)
            if event.name == 'poll':
                if websocket.stats.pings_sent == 2:
                    websocket.close()
                clock.ahead += ping_timeout / 4
    assert 'unresponsive' not in [event.name for event in events]
    assert 'no answer to the Close frame' in events[-1].reason


def test_close_during_poll_right_after_ready():
    with RawServer(accept_answer_close) as server:
        websocket = WebSocket(server.url)
        assert names(run(websocket, poll=websocket.close))[3:] == ['closed', 'disconnected']


# -- the server closes --

def test_the_server_closes_and_what_we_send_meanwhile_arrives_before_the_echo():
    frames = []

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_close(1001, b'restart') + make_frame(1, b'too late'))
        frames.extend(read_to_close(sock))

    with RawServer(script) as server:
        websocket = WebSocket(server.url)

        def say_goodbye():
            assert websocket.is_active
            websocket.send_text(u'last')
            websocket.send_binary(b'words')

        events = run(websocket, closing=say_goodbye)
    assert names(events)[3:] == ['closing', 'disconnected']
    assert (events[-2].code, events[-2].reason) == (1001, u'restart')
    assert events[-1].graceful
    assert frames == [(0x81, b'last'), (0x82, b'words'), (0x88, struct.pack('!H', 1001))]


def test_closing_with_a_code_of_ones_own_takes_the_place_of_the_echo():
    frames = []

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_close(1000))
        frames.append(read_frame(sock))
        frames.append(end_and_drain(sock))

    with RawServer(script) as server:
        websocket = WebSocket(server.url)

        def close():
            websocket.close(3001, u'mine')
            with pytest.raises(errors.WebSocketClosed):
                websocket.send_text(u'x')

        events = run(websocket, closing=close)
    assert events[-1].graceful
    assert frames == [(0x88, struct.pack('!H', 3001) + b'mine'), b'']


def test_both_close_at_once():
    """Their Close crosses ours: it is the answer."""
    frames = []
    has_sent = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_close(1001))
        has_sent.set()
        frames.append(read_frame(sock))
        frames.append(end_and_drain(sock))

    with RawServer(script) as server:
        websocket = WebSocket(server.url)

        def close():
            wait_for(has_sent)
            websocket.close()

        events = run(websocket, ready=close)
    assert names(events)[3:] == ['closed', 'disconnected']
    assert events[-1].graceful
    assert len(frames) == 2


class HeldUp(object):
    """Holds the thread that calls a session's transport with a Close frame: it isn't out yet."""

    def __init__(self):
        self.is_sending = threading.Event()
        self.may_go_on = threading.Event()

    def hold(self, transport):
        send = transport.send

        def send_later(data, timeout):
            if bytearray(data)[0] == 0x88:
                self.is_sending.set()
                wait_for(self.may_go_on)
            send(data, timeout)

        transport.send = send_later


def close_crosses(websocket, loop, held_up, may_answer):
    """Run a loop; another thread closes, and is held up until Poll has come after Closed."""
    events = []
    for event in loop:
        events.append(event)
        if event.name == 'ready':
            held_up.hold(websocket.session.transport)
            closer = Background(websocket.close)
            wait_for(held_up.is_sending)
            may_answer.set()
        elif event.name == 'poll' and 'closed' in names(events):
            held_up.may_go_on.set()
    held_up.may_go_on.set()
    closer.result()
    return events


def test_the_end_waits_for_a_close_frame_that_another_thread_is_sending():
    """Both Close frames are exchanged when ours is out, not when it is made."""
    held_up, may_answer = HeldUp(), threading.Event()
    frames = []

    def script(sock):
        answer_upgrade(sock)
        wait_for(may_answer)
        sock.sendall(make_close(1001))
        frames.append(read_frame(sock))

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        events = close_crosses(
            websocket, websocket.connect(poll=0.01, ping_rate=0), held_up, may_answer)
    assert names(events)[3:] == ['closed', 'disconnected']
    assert events[-1].graceful
    assert frames == [(0x88, b'\x03\xe8goodbye')]


def test_the_end_of_a_server_waits_for_a_close_frame_that_another_thread_is_sending():
    held_up, may_answer = HeldUp(), threading.Event()
    told = []

    def handler(websocket):
        told.extend(close_crosses(websocket, iter(websocket), held_up, may_answer))

    with Server(handler, poll=0.01, ping_rate=0) as server:
        sock = socket.create_connection((server.host, server.port), PATIENCE)
        sock.sendall(b'GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n'
                     b'Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n'
                     b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n')
        read_head(sock)
        wait_for(may_answer)
        sock.sendall(make_close(1001, key=b'\x01\x02\x03\x04'))
        assert read_frame(sock) == (0x88, b'\x03\xe8goodbye')
        assert sock.recv(1) == b''
        sock.close()
    assert names(told) == ['ready', 'closed', 'disconnected']
    assert told[-1].graceful


def test_a_close_frame_that_fails_while_theirs_arrives_is_not_graceful():
    held_up, may_answer = HeldUp(), threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(may_answer)
        sock.sendall(make_close(1001))
        drain(sock)

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        loop = websocket.connect(poll=0.01, ping_rate=0)
        abort = held_up.may_go_on.set
        held_up.may_go_on.set = lambda: (websocket.session.transport.abort(), abort())
        events = close_crosses(websocket, loop, held_up, may_answer)
    assert names(events)[3:] == ['closed', 'disconnected']
    assert not events[-1].graceful


def test_a_close_frame_that_cannot_be_sent_holds_the_end_up_for_close_timeout_at_most():
    held_up, may_answer = HeldUp(), threading.Event()
    clock = Clock()

    def script(sock):
        answer_upgrade(sock)
        wait_for(may_answer)
        sock.sendall(make_close(1001))
        drain(sock)

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        loop = websocket.connect(
            session_class=clock.session, poll=0.01, ping_rate=0, close_timeout=100)
        events = []
        for event in loop:
            events.append(event)
            if event.name == 'ready':
                held_up.hold(websocket.session.transport)
                closer = Background(websocket.close)
                wait_for(held_up.is_sending)
                may_answer.set()
            elif event.name == 'poll' and 'closed' in names(events):
                clock.ahead += 100
        held_up.may_go_on.set()
        closer.result()
    assert names(events)[3:] == ['closed', 'disconnected']
    assert not events[-1].graceful
    assert events[-1].reason == u'the Close frame could not be sent in 100 seconds'


def test_data_after_the_close_frame_is_not_delivered():
    with RawServer(accept_and_send(
            make_close(1000), make_frame(1, b'after'), make_frame(3), make_close(1001))) as server:
        events = list(WebSocket(server.url))
    assert names(events)[3:] == ['closing', 'disconnected']


def test_the_server_has_a_moment_to_end_tcp_first():
    """RFC 6455 7.1.1."""
    class Patient(WebsocketSession):
        linger = PATIENCE

    ended_first = []
    may_close = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_close(1000))
        read_frame(sock)
        wait_for(may_close)
        sock.settimeout(0)
        try:
            sock.recv(1)
        except socket.error:
            ended_first.append('server')

    with RawServer(script) as server:
        loop = WebSocket(server.url).connect(session_class=Patient)
        for event in loop:
            if event.name == 'closing':
                break
        may_close.set()
        rest = list(loop)
    assert ended_first == ['server']
    assert names(rest) == ['disconnected']
    assert rest[0].graceful


# -- graceful, or not --

def cut_after_ours(sock):
    answer_upgrade(sock)
    read_frame(sock)


def test_a_cut_after_our_close_frame_is_not_graceful():
    with RawServer(cut_after_ours) as server:
        websocket = WebSocket(server.url)
        events = run(websocket, ready=websocket.close)
    assert names(events)[3:] == ['disconnected']
    assert not events[-1].graceful
    assert events[-1].reason != u'closed'


def test_a_cut_after_half_of_their_close_frame_is_not_graceful():
    def script(sock):
        answer_upgrade(sock)
        read_frame(sock)
        sock.sendall(make_close(1000)[:-1])

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        events = run(websocket, ready=websocket.close)
    assert not events[-1].graceful


def test_a_cut_after_their_close_frame_before_our_echo_is_not_graceful():
    has_cut = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_close(1000))
        sock.close()
        has_cut.set()

    with RawServer(script) as server:
        websocket = WebSocket(server.url)

        def fail_to_send():
            wait_for(has_cut)
            with pytest.raises(errors.TransportFail):
                for _ in range(1000):
                    websocket.send_text(u'x' * 1000)

        events = run(websocket, closing=fail_to_send)
    assert names(events)[3:] == ['closing', 'disconnected']
    assert not events[-1].graceful


def test_an_end_without_close_frames_is_not_graceful():
    def script(sock):
        answer_upgrade(sock)

    with RawServer(script) as server:
        events = list(WebSocket(server.url))
    assert not events[-1].graceful
    assert 'server closed the connection' in events[-1].reason


def test_a_cut_after_both_close_frames_is_graceful():
    with RawServer(accept_answer_close) as server:
        websocket = WebSocket(server.url)
        events = run(websocket, ready=websocket.close)
    assert events[-1].graceful


# -- close() and force_disconnect() wherever the loop is --

CALLS = ['close', 'force_disconnect']


@pytest.mark.parametrize('call', CALLS)
@pytest.mark.parametrize('at', [
    'connecting', 'connected', 'ready', 'poll', 'text', 'closing', 'disconnected'])
def test_ending_it_while_an_event_is_handled(call, at):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'hi') + make_close(1000))
        read_to_close(sock)

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        end = getattr(websocket, call)
        events = run(websocket, **{at: end})
        end()
        end()
    last = events[-1]
    seen = names(events)
    if at == 'connecting':
        assert seen == ['connecting', 'connect_fail']
        assert 'application' in last.reason
        return
    assert last.name == 'disconnected'
    if at == 'connected':
        assert seen == ['connecting', 'connected', 'disconnected']
        assert 'application' in last.reason
    elif call == 'force_disconnect' and at not in ('closing', 'disconnected'):
        # Nothing is delivered after it, not even what had arrived.
        assert seen[-2] == {'poll': 'ready'}.get(at, at)
        assert 'application' in last.reason
    if call == 'force_disconnect' and at != 'disconnected':
        assert not last.graceful
    elif at in ('ready', 'poll', 'text', 'closing', 'disconnected'):
        assert last.graceful


@pytest.mark.parametrize('call', CALLS)
@pytest.mark.parametrize('times', [1, 2])
def test_ending_it_before_connecting_does_not_bear_on_the_next_connection(call, times):
    with RawServer(accept_and_send(make_close(1000))) as server:
        websocket = WebSocket(server.url)
        for _ in range(times):
            getattr(websocket, call)()
        assert list(websocket)[-1].graceful


@pytest.mark.parametrize('call', CALLS)
def test_ending_it_after_the_end_does_not_bear_on_the_next_connection(call):
    with RawServer(accept_and_send(make_close(1000))) as server:
        websocket = WebSocket(server.url)
        list(websocket)
        getattr(websocket, call)()
        assert list(websocket)[-1].graceful


@pytest.mark.parametrize('call', CALLS)
def test_ending_it_from_another_thread_during_the_handshake(call):
    has_request = threading.Event()
    is_closed = threading.Event()

    def script(sock):
        read_head(sock)
        has_request.set()
        drain(sock)
        is_closed.set()

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        background = Background(list, websocket)
        wait_for(has_request)
        getattr(websocket, call)()
        events = background.result()
        wait_for(is_closed)
    assert names(events) == ['connecting', 'connected', 'disconnected']
    assert 'application' in events[-1].reason
    assert not events[-1].graceful


@pytest.mark.parametrize('call', CALLS)
def test_ending_it_from_another_thread_while_the_loop_waits(call):
    is_waiting = threading.Event()

    def loop():
        events = []
        for event in websocket.connect(poll=None, ping_rate=0, close_timeout=None):
            events.append(event)
            if event.name == 'poll':
                is_waiting.set()
        return events

    with RawServer(accept_answer_close) as server:
        websocket = WebSocket(server.url)
        background = Background(loop)
        wait_for(is_waiting)
        getattr(websocket, call)()
        events = background.result()
    assert events[-1].graceful is (call == 'close')
    assert websocket.is_closed


@pytest.mark.parametrize('call', CALLS)
def test_ending_it_from_another_thread_while_the_loop_handles_ready(call):
    with RawServer(accept_answer_close) as server:
        websocket = WebSocket(server.url)
        events = run(websocket, ready=lambda: Background(getattr(websocket, call)).result())
    assert events[-1].graceful is (call == 'close')


@pytest.mark.parametrize('arguments, payload', [
    ((), b'\x03\xe8goodbye'), ((b'\x03\xe9bye',), b'\x03\xe9bye')])
def test_close_that_meets_the_answer_on_its_way_closes_the_connection(arguments, payload):
    """It found 'connecting', but the answer was there when it took effect."""
    frames = []

    def script(sock):
        answer_upgrade(sock)
        frames.extend(read_to_close(sock))
        sock.sendall(make_frame(8, payload))

    with RawServer(script) as server:
        websocket = WebSocket(server.url)

        def close():
            # What `WebSocket.close` calls while connecting.
            websocket.session.close(*arguments)

        events = run(websocket, ready=close)
    assert names(events) == ['connecting', 'connected', 'ready', 'closed', 'disconnected']
    assert events[-1].graceful
    assert frames == [(0x88, payload)]


def test_close_that_came_before_ready_does_not_wait_for_the_handler_of_ready():
    """The answer is read, and found good, while another thread closes."""
    class ClosedOnTheWay(WebSocket):
        def on_response(self, response):
            Background(self.close).result()
            return WebSocket.on_response(self, response)

    has_closed = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        read_to_close(sock)
        has_closed.set()
        sock.sendall(make_close(1000))

    with RawServer(script) as server:
        events = run(ClosedOnTheWay(server.url), ready=lambda: wait_for(has_closed))
    assert events[-1].graceful


@pytest.mark.parametrize('call', CALLS)
def test_ending_it_while_tcp_connects(call, full_port):
    is_connecting = threading.Event()

    def tracer(record):
        if record['stage'] == 'resolve':
            is_connecting.set()

    websocket = WebSocket('ws://127.0.0.1:{}/'.format(full_port), trace=tracer)
    background = Background(list, websocket)
    wait_for(is_connecting)
    getattr(websocket, call)()
    events = background.result()
    assert names(events) == ['connecting', 'connect_fail']
    assert 'application' in events[-1].reason


@pytest.fixture
def full_port():
    """A port that answers no more connection requests: its backlog is full."""
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(0)
    socks = []
    try:
        for _ in range(8):
            sock = socket.socket()
            socks.append(sock)
            sock.settimeout(0.25)
            try:
                sock.connect(listener.getsockname())
            except socket.error as error:
                if not isinstance(error, socket.timeout) and error.errno != errno.EINPROGRESS:
                    raise
                break
        else:
            pytest.skip('this system takes connections beyond the backlog')
        yield listener.getsockname()[1]
    finally:
        for sock in socks:
            sock.close()
        listener.close()


def test_force_disconnect_while_ready_is_handled_leaves_only_the_end():
    with RawServer(accept_then_drain) as server:
        websocket = WebSocket(server.url)
        events = run(websocket, ready=websocket.force_disconnect)
    assert [event.name for event in events[2:]] == ['ready', 'disconnected']


def test_a_second_run_of_a_session_leaves_the_first_alone():
    def run_again():
        with pytest.raises(errors.WebSocketUnavailable, match='has begun before'):
            next(websocket.session.run())
        websocket.close()

    with RawServer(accept_answer_close) as server:
        websocket = WebSocket(server.url)
        events = run(websocket, ready=run_again)
    assert events[-1].graceful


def test_force_disconnect_sends_no_close_frame():
    rest = []

    def script(sock):
        answer_upgrade(sock)
        rest.append(drain(sock))

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        run(websocket, ready=websocket.force_disconnect)
    assert rest == [b'']


def test_force_disconnect_while_we_close_ends_it_at_once():
    def script(sock):
        answer_upgrade(sock)
        read_exactly(sock, 1)
        drain(sock)

    with RawServer(script) as server:
        websocket = WebSocket(server.url)

        def end():
            websocket.close()
            websocket.force_disconnect()

        events = run(websocket, ready=end)
    assert names(events)[3:] == ['disconnected']
    assert not events[-1].graceful


@pytest.mark.parametrize('data', [make_frame(1, b'hello'), make_frame(9) + make_close(1000)])
def test_force_disconnect_right_before_the_answer_is_accepted_delivers_nothing_more(data):
    """Not even what came with the answer."""
    class Ended(WebSocket):
        def process_extensions(self, extensions):
            Background(self.force_disconnect).result()
            return WebSocket.process_extensions(self, extensions)

    def script(sock):
        key = get_header(read_head(sock), b'Sec-WebSocket-Key')
        sock.sendall(b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n'
                     b'Connection: Upgrade\r\nSec-WebSocket-Accept: ' + accept_for(key)
                     + b'\r\n\r\n' + data)
        drain(sock)

    with RawServer(script) as server:
        events = list(Ended(server.url))
    assert names(events)[3:] == ['disconnected']
    assert not events[-1].graceful


def test_leaving_a_with_block_breaks_the_connection():
    rest = []

    def script(sock):
        answer_upgrade(sock)
        rest.append(drain(sock))

    with RawServer(script) as server:
        with WebSocket(server.url) as websocket:
            loop = websocket.connect()
            for event in loop:
                if event.name == 'ready':
                    break
        assert names(loop) == ['disconnected']
        assert websocket.is_closed
    assert rest == [b'']
