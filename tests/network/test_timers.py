"""Poll, pings and the verdict on a silent peer: a clock that the test puts forward."""

from __future__ import absolute_import, division, print_function

import threading

import pytest

from lomond import WebSocket
from lomond._compat import monotonic
from lomond.testing import Clock
from tests.network.driving import Background, drain, read_to_close, wait_for, wait_until_sending
from tests.support import (
    PATIENCE,
    RawServer,
    answer_upgrade,
    make_close,
    make_frame,
    names,
    read_frame,
)


def accept_then_drain(sock):
    """A script that accepts, and says nothing more."""
    answer_upgrade(sock)
    drain(sock)


def accept_and_answer_pings(sock):
    """A script that answers pings, and nothing else, until Close."""
    answer_upgrade(sock)
    while True:
        first, payload = read_frame(sock)
        if first == 0x89:
            sock.sendall(make_frame(10, payload))
        elif first == 0x88:
            sock.sendall(make_frame(8, payload))
            return


# -- poll --

def test_poll_comes_after_ready_and_then_by_its_interval():
    clock = Clock()
    seen = []
    with RawServer(accept_then_drain) as server:
        websocket = WebSocket(server.url)
        for event in websocket.connect(session_class=clock.session, poll=1000, ping_rate=0):
            seen.append(event.name)
            if event.name == 'poll':
                clock.ahead += 1000
            if len(seen) == 10:
                break
    assert seen == ['connecting', 'connected', 'ready'] + ['poll'] * 7


def test_poll_comes_in_real_time():
    with RawServer(accept_then_drain) as server:
        websocket = WebSocket(server.url)
        began = monotonic()
        polls = 0
        for event in websocket.connect(poll=0.02):
            polls += event.name == 'poll'
            if polls == 4:
                break
    # The first comes with Ready, and may be handled late. The clock of 2.7 has steps of 10 ms.
    assert 0.05 <= monotonic() - began < PATIENCE


@pytest.mark.parametrize('never', [None, 0])
def test_without_poll_there_is_the_first_only(never):
    clock = Clock()
    may_close = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(may_close)
        sock.sendall(make_frame(1, b'x') + make_close(1000))
        read_frame(sock)

    seen = []
    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        for event in websocket.connect(
                session_class=clock.session, poll=never, ping_rate=0, close_timeout=None):
            seen.append(event.name)
            if event.name == 'poll':
                clock.ahead += 1000000
                may_close.set()
    assert seen.count('poll') == 1
    assert seen[-1] == 'disconnected'


def test_polls_missed_by_a_slow_handler_are_not_made_up_for():
    clock = Clock()
    may_close = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(may_close)
        sock.sendall(make_close(1000))
        read_to_close(sock)

    seen = []
    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        for event in websocket.connect(session_class=clock.session, poll=60, ping_rate=0):
            seen.append(event.name)
            if event.name == 'ready':
                clock.ahead += 100000
            elif seen.count('poll') == 2:
                may_close.set()
    assert seen.count('poll') == 2


def test_poll_comes_between_the_messages_of_a_busy_peer():
    clock = Clock()
    may_send = threading.Semaphore(0)

    def script(sock):
        answer_upgrade(sock)
        for _ in range(5):
            may_send.acquire()
            sock.sendall(make_frame(1, b'x'))
        sock.sendall(make_close(1000))
        read_to_close(sock)

    seen = []
    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        for event in websocket.connect(session_class=clock.session, poll=5):
            seen.append(event.name)
            if event.name == 'ready':
                may_send.release()
            elif event.name == 'text':
                clock.ahead += 5
                may_send.release()
    assert seen.count('poll') >= 5
    assert seen.count('text') == 5


# -- pings --

def test_pings_go_out_by_ping_rate_and_do_not_depend_on_poll():
    pings = []

    def script(sock):
        answer_upgrade(sock)
        for _ in range(3):
            pings.append(read_frame(sock))
        sock.sendall(make_close(1000))
        read_to_close(sock)

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        events = list(websocket.connect(poll=1000, ping_rate=0.02))
    assert [first for first, _payload in pings] == [0x89] * 3
    assert len({payload for _first, payload in pings}) == 3
    assert [event.name for event in events].count('poll') == 1


def test_no_ping_goes_out_with_ping_rate_0():
    clock = Clock()
    frames = []

    def script(sock):
        answer_upgrade(sock)
        frames.append(read_frame(sock))

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        polls = 0
        for event in websocket.connect(
                session_class=clock.session, poll=10, ping_rate=0, ping_timeout=5):
            assert event.name != 'unresponsive'
            if event.name == 'poll':
                clock.ahead += 1000
                polls += 1
            if polls == 5:
                websocket.send_text(u'the end')
                polls += 1
    assert frames == [(0x81, b'the end')]


@pytest.mark.parametrize('options', [
    {'ping_rate': 10, 'ping_timeout': 15}, {'ping_rate': 0, 'heartbeat': 10}],
    ids=['ping', 'heartbeat'])
def test_nothing_goes_out_by_itself_after_our_close_frame(options):
    clock = Clock()
    frames = []

    def script(sock):
        answer_upgrade(sock)
        frames.append(read_frame(sock))
        frames.append(drain(sock))

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        events = []
        for event in websocket.connect(
                session_class=clock.session, poll=10, close_timeout=100, **options):
            events.append(event)
            if event.name == 'ready':
                websocket.close()
            if event.name == 'poll':
                clock.ahead += 10
    # Nobody asked the server, so it isn't judged but by close_timeout.
    assert names(events)[3:] == ['disconnected']
    assert 'Close' in events[-1].reason
    assert [event.name for event in events].count('poll') > 5
    assert frames[0][0] == 0x88 and frames[1] == b''


# -- silence --

def test_a_silent_peer_is_unresponsive_and_then_disconnected():
    clock = Clock()
    is_closed = threading.Event()

    def script(sock):
        accept_then_drain(sock)
        is_closed.set()

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        events = []
        for event in websocket.connect(
                session_class=clock.session, poll=10, ping_rate=30, ping_timeout=60):
            events.append(event)
            if event.name == 'poll':
                clock.ahead += 10
        wait_for(is_closed)
    assert names(events)[3:] == ['unresponsive', 'disconnected']
    assert not events[-1].graceful
    assert 'unresponsive' in events[-1].reason
    assert 6 <= [event.name for event in events].count('poll') <= 7


def test_a_silent_peer_is_unresponsive_in_real_time():
    with RawServer(accept_then_drain) as server:
        websocket = WebSocket(server.url)
        events = list(websocket.connect(poll=None, ping_rate=0.03, ping_timeout=0.06))
    assert names(events)[3:] == ['unresponsive', 'disconnected']


def test_without_ping_timeout_silence_is_no_matter():
    clock = Clock()
    with RawServer(accept_then_drain) as server:
        websocket = WebSocket(server.url)
        polls = 0
        for event in websocket.connect(session_class=clock.session, poll=10, ping_rate=30):
            assert event.name != 'unresponsive'
            if event.name == 'poll':
                polls += 1
                clock.ahead += 1000
            if polls == 10:
                break


def test_a_peer_that_answers_pings_is_never_unresponsive():
    clock = Clock()
    with RawServer(accept_and_answer_pings) as server:
        websocket = WebSocket(server.url)
        pongs = 0
        for event in websocket.connect(
                session_class=clock.session, poll=None, ping_rate=30, ping_timeout=60):
            assert event.name != 'unresponsive'
            if event.name == 'poll':
                clock.ahead += 30
            elif event.name == 'pong':
                clock.ahead += 30
                pongs += 1
                if pongs == 10:
                    websocket.close()
    assert event.graceful


def test_any_byte_is_a_sign_of_life():
    """No pong, and no whole message either."""
    clock = Clock()
    step = threading.Semaphore(0)
    has_sent = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(b'\x82\x7e\x10\x00')
        for _ in range(20):
            assert step.acquire()
            sock.sendall(b'x')
            has_sent.set()
        drain(sock)

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        polls = 0
        for event in websocket.connect(
                session_class=clock.session, poll=10, ping_rate=10, ping_timeout=25):
            assert event.name != 'unresponsive'
            if event.name == 'poll':
                has_sent.clear()
                step.release()
                wait_for(has_sent)
                clock.ahead += 10
                polls += 1
            if polls == 20:
                break


def test_a_slow_handler_is_not_taken_for_a_silent_peer():
    """The pong lies in the socket when the handler is done: it is read before the verdict."""
    clock = Clock()
    has_answered = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        first, payload = read_frame(sock)
        assert first == 0x89
        sock.sendall(make_frame(10, payload))
        has_answered.set()
        sock.settimeout(20)
        try:
            while True:
                first, payload = read_frame(sock)
                if first == 0x89:
                    sock.sendall(make_frame(10, payload))
        except EOFError:
            pass

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        seen = []
        for event in websocket.connect(
                session_class=clock.session, poll=10, ping_rate=30, ping_timeout=60):
            seen.append(event.name)
            if event.name == 'ready':
                clock.ahead += 30
            elif event.name == 'poll' and seen.count('poll') == 2:
                wait_for(has_answered)
                clock.ahead += 10000
            elif seen.count('pong') == 2:
                break
    assert 'unresponsive' not in seen


def test_a_peer_that_was_not_asked_during_a_slow_handler_has_its_time_to_answer():
    clock = Clock()
    with RawServer(accept_and_answer_pings) as server:
        websocket = WebSocket(server.url)
        seen = []
        for event in websocket.connect(
                session_class=clock.session, poll=10, ping_rate=30, ping_timeout=60):
            seen.append(event.name)
            if event.name == 'ready':
                clock.ahead += 10000
            elif event.name == 'pong':
                break
    assert 'unresponsive' not in seen


def test_a_peer_that_takes_nothing_in_is_unresponsive():
    """There is no room for the ping: the loop doesn't wait for it."""
    may_end = threading.Event()
    is_ready = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(may_end)

    with RawServer(script) as server:
        websocket = WebSocket(server.url, write_timeout=None)
        clock = Clock()

        def loop():
            events = []
            for event in websocket.connect(
                    session_class=clock.session, poll=0.02, ping_rate=30, ping_timeout=60):
                events.append(event)
                if event.name == 'ready':
                    is_ready.set()
                elif event.name == 'poll' and is_blocked.is_set():
                    clock.ahead += 30
            return events

        def send():
            try:
                websocket.send_binary(b'x' * (12 * 1024 * 1024))
            except Exception as error:
                return error

        is_blocked = threading.Event()
        reader = Background(loop)
        wait_for(is_ready)
        sender = Background(send)
        wait_until_sending(websocket)
        is_blocked.set()
        events = reader.result()
        error = sender.result()
        may_end.set()
    assert names(events)[3:] == ['unresponsive', 'disconnected']
    assert type(error).__name__ == 'TransportFail'


def test_no_ping_waits_for_room():
    """A send that timed out would break the connection: here nobody sends but the loop."""
    may_end = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(may_end)

    clock = Clock()
    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        events = []
        for event in websocket.connect(
                session_class=clock.session, poll=10, ping_rate=30, ping_timeout=60):
            events.append(event)
            if event.name == 'ready':
                fill(websocket)
            elif event.name == 'poll':
                clock.ahead += 10
        may_end.set()
    assert names(events)[3:] == ['unresponsive', 'disconnected']


def fill(websocket):
    """Fill the system's buffer."""
    transport = websocket.session.transport
    while transport.is_writable():
        transport.send_some(b'\0' * 65536)
