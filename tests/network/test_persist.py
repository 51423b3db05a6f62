"""persist() on real connections: it comes back, backs off, and ends when told to."""

from __future__ import absolute_import, division, print_function

import threading

import pytest

from lomond import WebSocket, errors
from lomond._compat import monotonic
from lomond.engine.policy import LegacyPolicy
from lomond.persist import ReconnectPolicy, persist
from lomond.session import WebsocketSession
from tests.network.driving import (
    Background,
    accept_and_hang_up,
    accept_and_send,
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
    read_head,
)

#: Waits that a test can afford.
FAST = {'min_wait': 0, 'max_wait': 0}


def refuse_with(*headers):
    """Make a script that refuses the upgrade with 503 and more headers."""
    head = b'\r\n'.join((b'HTTP/1.1 503 Busy', b'Content-Length: 0') + headers) + b'\r\n\r\n'

    def script(sock):
        read_head(sock)
        sock.sendall(head)
    return script


def take_delays(loop, count):
    """Run persist until so many BackOffs came; return their delays."""
    delays = []
    for event in loop:
        if event.name == 'back_off':
            delays.append(event.delay)
            if len(delays) == count:
                return delays


# -- coming back --

def test_it_reconnects_after_a_graceful_end_with_a_back_off_before():
    seen = []
    with RawServer(accept_and_send(make_frame(1, b'hi'), make_close(1000))) as server:
        websocket = WebSocket(server.url)
        for event in persist(websocket, **FAST):
            seen.append(event)
            if names(seen).count('text') == 3:
                websocket.close()
    once = ['connecting', 'connected', 'ready', 'text', 'closing', 'disconnected']
    assert names(seen)[:14] == (once + ['back_off']) * 2
    assert names(seen)[-1] == 'disconnected'
    assert server.connections == 3


def test_it_reconnects_after_a_cut_and_after_a_refusal():
    scripts = iter([
        lambda sock: None, accept_and_hang_up(), refuse_with(), accept_and_send(make_close(1000))])

    def script(sock):
        next(scripts)(sock)

    seen = []
    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        for event in persist(websocket, **FAST):
            seen.append(event.name)
            if event.name == 'closing':
                websocket.close()
    assert seen.count('back_off') == 3
    assert 'rejected' in seen
    assert seen[-1] == 'disconnected'


def test_it_goes_on_after_no_connection_at_all(dead_port):
    seen = []
    websocket = WebSocket('ws://127.0.0.1:{}/'.format(dead_port))
    for event in persist(websocket, **FAST):
        seen.append(event.name)
        if len(seen) == 9:
            break
    assert seen == ['connecting', 'connect_fail', 'back_off'] * 3


def test_it_reconnects_after_force_disconnect():
    seen = []
    with RawServer(accept_and_send()) as server:
        websocket = WebSocket(server.url)
        for event in persist(websocket, **FAST):
            seen.append(event.name)
            if event.name == 'ready':
                if seen.count('ready') == 2:
                    break
                websocket.force_disconnect()
    assert seen.count('back_off') == 1


def test_persist_may_be_called_again_for_the_same_websocket():
    with RawServer(accept_and_send(make_close(1000))) as server:
        websocket = WebSocket(server.url)
        for _ in range(2):
            for event in persist(websocket, **FAST):
                if event.name == 'closing':
                    websocket.close()
            assert event.name == 'disconnected'
    assert server.connections == 2


# -- backing off --

def make_policy(**options):
    """Return a policy that waits 1, 2, 4, 8, ... thousandths of a second."""
    return ReconnectPolicy(0, 1000, spread=1, random=lambda: 0.001, **options)


def test_a_server_that_accepts_and_drops_at_once_is_not_hammered():
    """A connection that dies young is no success: the delay goes on growing."""
    with RawServer(accept_and_hang_up()) as server:
        websocket = WebSocket(server.url)
        delays = take_delays(persist(websocket, policy=make_policy()), 5)
    assert delays == [0.001, 0.002, 0.004, 0.008, 0.016]


def test_a_connection_that_lived_for_stable_after_resets_the_back_off():
    with RawServer(accept_and_hang_up()) as server:
        websocket = WebSocket(server.url)
        delays = take_delays(persist(websocket, policy=make_policy(stable_after=0.0)), 4)
    assert delays == [0.001] * 4


def test_a_refusal_however_late_does_not_reset_the_back_off():
    with RawServer(refuse_with()) as server:
        websocket = WebSocket(server.url)
        delays = take_delays(persist(websocket, policy=make_policy(stable_after=0.0)), 4)
    assert delays == [0.001, 0.002, 0.004, 0.008]


def test_the_delay_is_waited_for(dead_port):
    websocket = WebSocket('ws://127.0.0.1:{}/'.format(dead_port))
    times = []
    for event in persist(websocket, min_wait=0.05, max_wait=0.05):
        if event.name == 'back_off':
            assert event.delay == 0.05
        times.append(monotonic())
        if len(times) == 4:
            break
    assert times[3] - times[2] >= 0.03      # the clock of 2.7 has steps of 10 ms


def test_a_long_delay_is_announced_by_its_length(dead_port):
    websocket = WebSocket('ws://127.0.0.1:{}/'.format(dead_port))
    delay, = take_delays(persist(websocket, min_wait=2, max_wait=30), 1)
    assert 2 <= delay <= 3


def test_retry_after_of_a_refusal_is_the_delay():
    with RawServer(refuse_with(b'Retry-After: 120')) as server:
        assert take_delays(persist(WebSocket(server.url), **FAST), 1) == [120]


def test_a_huge_retry_after_is_cut_and_a_broken_one_ignored():
    with RawServer(refuse_with(b'Retry-After: ' + b'9' * 100)) as server:
        websocket = WebSocket(server.url)
        assert take_delays(persist(websocket, **FAST), 1) == [3600]
        assert take_delays(persist(websocket, max_retry_after=60, **FAST), 1) == [60]
    with RawServer(refuse_with(b'Retry-After: \xb2')) as server:
        assert take_delays(persist(WebSocket(server.url), **FAST), 3) == [0, 0, 0]


@pytest.mark.parametrize('header', [
    b'Retry-After: 120, 120', b'Retry-After: 120\r\nRetry-After: 120',
    b'Retry-After: 5\r\nretry-after: 120\r\nRetry-After: soon'])
def test_of_a_retry_after_that_is_sent_twice_the_longest_counts(header):
    with RawServer(refuse_with(header)) as server:
        assert take_delays(persist(WebSocket(server.url), **FAST), 1) == [120]


def test_retry_after_can_be_ignored():
    with RawServer(refuse_with(b'Retry-After: 120')) as server:
        websocket = WebSocket(server.url)
        assert take_delays(persist(websocket, respect_retry_after=False, **FAST), 2) == [0, 0]


def test_retry_after_counts_once():
    scripts = iter([refuse_with(b'Retry-After: 0'), accept_and_hang_up(), refuse_with()])

    def script(sock):
        next(scripts)(sock)

    with RawServer(script) as server:
        policy = LegacyPolicy(0, 1000, 10.0, 3600.0, True)
        policy.random = lambda: 0.001
        delays = take_delays(persist(WebSocket(server.url), policy=policy), 3)
    assert delays == [0, 0.002, 0.004]


def test_the_name_random_that_tests_of_programs_patch_sets_the_waits(dead_port, monkeypatch):
    """As in 0.3.x, whose module had `from random import random`."""
    websocket = WebSocket('ws://127.0.0.1:{}'.format(dead_port))
    monkeypatch.setattr('lomond.persist.random', lambda: 0.25)
    assert take_delays(persist(websocket, min_wait=2, max_wait=3), 1) == [2.25]
    loop = persist(websocket, min_wait=0, max_wait=0.02)
    monkeypatch.setattr('lomond.persist.random', lambda: 0.5)
    assert take_delays(loop, 1) == [0.01]


def test_a_policy_has_a_random_of_its_own(dead_port, monkeypatch):
    monkeypatch.setattr('lomond.persist.random', lambda: 0.25)
    policy = ReconnectPolicy(max_wait=4, random=lambda: 0.5)
    websocket = WebSocket('ws://127.0.0.1:{}'.format(dead_port))
    assert take_delays(persist(websocket, policy=policy), 1) == [2.0]


# -- the end --

@pytest.mark.parametrize('at', ['ready', 'poll', 'text'])
def test_close_while_connected_ends_it_after_disconnected(at):
    with RawServer(accept_hello_and_answer_close) as server:
        websocket = WebSocket(server.url)
        seen = []
        for event in persist(websocket, **FAST):
            seen.append(event)
            if event.name == at:
                websocket.close()
    assert seen[-1].name == 'disconnected'
    assert seen[-1].graceful
    assert 'back_off' not in names(seen)


def accept_hello_and_answer_close(sock):
    """A script that accepts, sends a text, and answers Close."""
    answer_upgrade(sock)
    sock.sendall(make_frame(1, b'hello'))
    _first, payload = read_to_close(sock)[-1]
    sock.sendall(make_frame(8, payload))


@pytest.mark.parametrize('at, last', [
    ('connecting', 'connect_fail'),
    ('connected', 'disconnected'),
    ('disconnected', 'disconnected'),
    ('closing', 'disconnected'),
])
def test_close_at_other_moments_ends_it_too(at, last):
    with RawServer(accept_and_send(make_close(1000))) as server:
        websocket = WebSocket(server.url)
        seen = []
        for event in persist(websocket, **FAST):
            seen.append(event.name)
            if event.name == at:
                websocket.close()
    assert seen[-1] == last
    assert 'back_off' not in seen


def test_close_after_a_connect_fail_ends_it(dead_port):
    websocket = WebSocket('ws://127.0.0.1:{}/'.format(dead_port))
    seen = []
    for event in persist(websocket, **FAST):
        seen.append(event.name)
        if event.name == 'connect_fail':
            websocket.close()
    assert seen == ['connecting', 'connect_fail']


def test_close_while_back_off_is_handled_ends_it(dead_port):
    websocket = WebSocket('ws://127.0.0.1:{}/'.format(dead_port))
    for event in persist(websocket, min_wait=1000, max_wait=1000):
        if event.name == 'back_off':
            websocket.close()
    assert event.name == 'back_off'


@pytest.mark.parametrize('end', ['close', 'exit_event'])
def test_it_ends_while_it_waits(dead_port, end):
    websocket = WebSocket('ws://127.0.0.1:{}/'.format(dead_port))
    exit_event = threading.Event()
    is_waiting = threading.Event()

    def loop():
        for event in persist(
                websocket, min_wait=1000, max_wait=1000, exit_event=exit_event):
            if event.name == 'back_off':
                is_waiting.set()
        return event

    background = Background(loop)
    wait_for(is_waiting)
    if end == 'close':
        websocket.close()
    else:
        exit_event.set()
    assert background.result().name == 'back_off'


def test_close_from_another_thread_while_connected_ends_it():
    is_ready = threading.Event()

    def loop():
        for event in persist(websocket, poll=None, ping_rate=0, **FAST):
            if event.name == 'text':
                is_ready.set()
        return event

    with RawServer(accept_hello_and_answer_close) as server:
        websocket = WebSocket(server.url)
        background = Background(loop)
        wait_for(is_ready)
        websocket.close()
        last = background.result()
    assert last.name == 'disconnected'
    assert last.graceful


def test_exit_event_while_connected_closes_gracefully_and_ends_it():
    frames = []
    exit_event = threading.Event()
    is_ready = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        frames.extend(read_to_close(sock))
        sock.sendall(make_frame(8, frames[-1][1]))

    def loop():
        for event in persist(websocket, poll=0.01, exit_event=exit_event, **FAST):
            if event.name == 'ready':
                is_ready.set()
        return event

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        background = Background(loop)
        wait_for(is_ready)
        exit_event.set()
        last = background.result()
    assert last.name == 'disconnected'
    assert last.graceful
    assert frames == [(0x88, b'\x03\xe8goodbye')]


def test_exit_event_during_the_handshake_ends_it():
    exit_event = threading.Event()

    def script(sock):
        read_head(sock)
        drain(sock)

    with RawServer(script) as server:
        seen = []
        for event in persist(WebSocket(server.url), exit_event=exit_event, **FAST):
            seen.append(event.name)
            if event.name == 'connected':
                exit_event.set()
    assert seen == ['connecting', 'connected', 'disconnected']


def test_exit_event_set_before_it_begins_touches_no_network():
    exit_event = threading.Event()
    exit_event.set()
    with RawServer(accept_and_send()) as server:
        seen = names(persist(WebSocket(server.url), exit_event=exit_event))
    assert seen == ['connecting', 'connect_fail']
    assert server.connections == 0


def test_a_close_before_the_call_does_not_end_it():
    with RawServer(accept_hello_and_answer_close) as server:
        websocket = WebSocket(server.url)
        websocket.close()
        seen = []
        for event in persist(websocket, **FAST):
            seen.append(event.name)
            if event.name == 'text':
                websocket.close()
    assert 'ready' in seen


# -- options --

def test_every_connect_option_is_passed_on():
    given = []

    class Session(WebsocketSession):
        def run(self, **options):
            given.append(options)
            return WebsocketSession.run(self, **options)

    with RawServer(accept_and_send(make_close(1000))) as server:
        websocket = WebSocket(server.url)
        for event in persist(
                websocket, poll=1, ping_rate=2, ping_timeout=3, auto_pong=False,
                close_timeout=4, session_class=Session, **FAST):
            if event.name == 'back_off' and len(given) == 2:
                break
    assert given == [{
        'poll': 1, 'ping_rate': 2, 'ping_timeout': 3, 'auto_pong': False, 'close_timeout': 4}] * 2


@needs_refcounts
def test_the_iterator_can_be_given_up_at_any_event():
    with RawServer(accept_hello_and_answer_close) as server:
        for name in ['connecting', 'connected', 'ready', 'poll', 'text']:
            websocket = WebSocket(server.url)
            for event in persist(websocket, **FAST):
                if event.name == name:
                    break
            assert websocket.is_closed


def test_a_send_during_a_back_off_says_when_to_send(dead_port):
    websocket = WebSocket(u'ws://127.0.0.1:{}/'.format(dead_port))
    loop = persist(websocket, policy=ReconnectPolicy(min_wait=0, max_wait=0, max_attempts=2))
    for event in loop:
        sends = [lambda: websocket.send_text(u'x'), lambda: websocket.send_binary(b'x'),
                 lambda: websocket.send_many([u'x']), websocket.send_ping]
        words = {
            'connecting': 'not connected yet',
            'back_off': 'not connected now: send after the next Ready event',
        }.get(event.name, 'is closed')
        for send in sends:
            with pytest.raises(errors.WebSocketUnavailable, match=words) as caught:
                send()
            assert isinstance(caught.value, errors.WebSocketClosed) == (event.name != 'connecting')
    assert event.name == 'gave_up'


@pytest.mark.parametrize('end', ['websocket.close()', 'loop.close()'])
def test_a_send_after_the_end_of_a_back_off_says_that_it_is_closed(dead_port, end):
    websocket = WebSocket(u'ws://127.0.0.1:{}/'.format(dead_port))
    loop = persist(websocket)
    while next(loop).name != 'back_off':
        pass
    if end == 'loop.close()':
        loop.close()
    else:
        websocket.close()
    with pytest.raises(errors.WebSocketClosed, match='is closed'):
        websocket.send_text(u'x')
    loop.close()
