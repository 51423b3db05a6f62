"""persist() with a `ReconnectPolicy`, on real connections; and what may cut it short.

What follows from which event is held by tests/unit/test_reconnect.py.
"""

from __future__ import absolute_import, division, print_function

import logging
import os
import signal
import sys
import threading
import time

import pytest

from lomond import WebSocket, errors
from lomond._compat import monotonic
from lomond.persist import ReconnectPolicy, persist
from lomond.session import WebsocketSession
from lomond.testing import Clock
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
    get_header,
    make_close,
    make_frame,
    names,
    read_head,
)

#: Waits that a test can afford.
FAST = {'min_wait': 0, 'max_wait': 0}

FAILED = ['connecting', 'connect_fail']

#: A wait that only something else ends.
FOR_EVER = {'min_wait': 1000, 'max_wait': 1000}

needs_signals = pytest.mark.skipif(
    not hasattr(signal, 'SIGUSR1'), reason='there is no SIGUSR1')


def refuse_with(status, *headers):
    """Make a script that refuses the upgrade with a status line's end, and headers."""
    head = b'\r\n'.join((b'HTTP/1.1 ' + status, b'Content-Length: 0') + headers) + b'\r\n\r\n'

    def script(sock):
        read_head(sock)
        sock.sendall(head)
    return script


def in_turn(*scripts):
    """Make a script that does each of these once, and then the last for ever."""
    left = list(scripts)

    def script(sock):
        (left.pop(0) if len(left) > 1 else left[0])(sock)
    return script


def collect(loop, count=1000):
    """Run persist to its end, or until there were so many BackOffs."""
    seen = []
    for event in loop:
        seen.append(event)
        if event.name == 'back_off':
            count -= 1
            if not count:
                break
    return seen


def make_websocket(port):
    return WebSocket(u'ws://127.0.0.1:{}/'.format(port), proxies={})


# -- giving up --

def test_without_a_policy_it_never_gives_up():
    """Nor with one, unless that says so."""
    script = in_turn(
        refuse_with(b'401 Unauthorized'), refuse_with(b'403 Forbidden'), refuse_with(b'404 No'),
        accept_and_send(make_close(1008)), accept_and_send(make_close(4001)),
        accept_and_hang_up())
    for options in (FAST, {'policy': ReconnectPolicy(**FAST)}):
        with RawServer(script) as server:
            seen = collect(persist(WebSocket(server.url), **options), 12)
        assert server.connections == 12
        assert 'gave_up' not in names(seen)


def test_after_max_attempts_the_last_event_is_gave_up(dead_port):
    policy = ReconnectPolicy(max_attempts=3, **FAST)
    seen = collect(persist(make_websocket(dead_port), policy=policy))
    assert names(seen) == (FAILED + ['back_off']) * 2 + FAILED + ['gave_up']
    assert seen[-1].reason.startswith(
        u'3 attempts in a row failed, the last: could not connect to 127.0.0.1:')
    assert all(event.reason == seen[1].reason for event in seen if event.name == 'back_off')


def test_a_success_between_them_makes_max_attempts_start_over():
    script = in_turn(
        refuse_with(b'503 Busy'), accept_and_hang_up(), refuse_with(b'503 Busy'),
        refuse_with(b'503 Busy'))
    policy = ReconnectPolicy(max_attempts=2, stable_after=0, **FAST)
    with RawServer(script) as server:
        seen = collect(persist(WebSocket(server.url), policy=policy))
    assert server.connections == 4
    assert names(seen)[-2:] == ['disconnected', 'gave_up']


def test_loops_that_share_a_policy_count_for_themselves(dead_port):
    policy = ReconnectPolicy(max_attempts=2, **FAST)
    loops = [persist(make_websocket(dead_port), policy=policy) for _ in range(2)]
    seen = list(zip(*loops))
    assert [event.name for event, _other in seen] == [event.name for _other, event in seen]
    assert len(seen) == 6


def test_an_outage_longer_than_max_outage_ends_it(dead_port):
    clock = Clock()
    policy = ReconnectPolicy(max_outage=100, clock=clock, **FAST)
    seen = []
    for event in persist(make_websocket(dead_port), policy=policy):
        seen.append(event)
        if event.name == 'connecting':
            clock.ahead += 40
    assert names(seen) == (FAILED + ['back_off']) * 2 + FAILED + ['gave_up']
    assert seen[-1].reason == u'no success in 120 s, and the next attempt only in 0 s'


def test_a_delay_that_ends_after_max_outage_is_not_waited_for():
    policy = ReconnectPolicy(max_outage=100, **FAST)
    script = refuse_with(b'503 Busy', b'Retry-After: 120')
    with RawServer(script) as server:
        seen = collect(persist(WebSocket(server.url), policy=policy))
    assert names(seen) == ['connecting', 'connected', 'rejected', 'disconnected', 'gave_up']


def test_the_outage_begins_when_a_success_ends():
    clock = Clock()
    policy = ReconnectPolicy(max_outage=100, clock=clock, **FAST)
    script = in_turn(accept_and_hang_up(), refuse_with(b'503 Busy'))
    seen = []
    with RawServer(script) as server:
        for event in persist(WebSocket(server.url), policy=policy):
            seen.append(event.name)
            if event.name == 'ready':
                clock.ahead += 1000
            elif event.name == 'rejected':
                clock.ahead += 60
    assert seen.count('back_off') == 2
    assert seen[-1] == 'gave_up'
    assert seen.count('rejected') == 2


def test_time_that_the_body_takes_after_the_end_makes_no_success():
    clock = Clock()
    policy = ReconnectPolicy(max_attempts=2, clock=clock, **FAST)
    with RawServer(accept_and_hang_up()) as server:
        for event in persist(WebSocket(server.url), policy=policy):
            if event.name == 'disconnected':
                clock.ahead += 1000
    assert event.name == 'gave_up'
    assert server.connections == 2


@pytest.mark.parametrize('status', [b'401 Unauthorized', b'403 Forbidden', b'404 Not Found'])
def test_a_status_may_end_it(status):
    policy = ReconnectPolicy(stop_on_status=[401, range(403, 405)], **FAST)
    script = in_turn(refuse_with(b'402 Payment Required'), refuse_with(status))
    with RawServer(script) as server:
        seen = collect(persist(WebSocket(server.url), policy=policy))
    rejected = ['connecting', 'connected', 'rejected', 'disconnected']
    assert names(seen) == rejected + ['back_off'] + rejected + ['gave_up']
    assert status.decode('ascii') in seen[-1].reason


@pytest.mark.parametrize('frame, stop_on_code, is_end', [
    (make_close(1008, b'no'), [1008, range(4000, 5000)], True),
    (make_close(4999), [1008, range(4000, 5000)], True),
    (make_close(1001), [1008, range(4000, 5000)], False),
    (make_frame(8), 1005, True),                # without a code
    (make_frame(8), 1000, False),
    (make_frame(3), range(1000, 5000), False),  # it's we who close, with 1002
    (b'', range(1000, 5000), False),            # it hangs up: there's no code
])
def test_a_close_code_of_the_server_may_end_it(frame, stop_on_code, is_end):
    policy = ReconnectPolicy(stop_on_code=stop_on_code, **FAST)
    script = in_turn(accept_and_hang_up(frame), refuse_with(b'503 Busy'))
    with RawServer(script) as server:
        seen = collect(persist(WebSocket(server.url), policy=policy), 1)
    assert names(seen)[-2:] == ['disconnected', 'gave_up' if is_end else 'back_off']
    if frame == make_close(1008, b'no'):
        assert seen[-1].reason == u'the server closed with code 1008 no'


def test_one_that_the_user_closes_does_not_give_up():
    """Though the server closed with a code that ends it, the end is the user's."""
    policy = ReconnectPolicy(stop_on_code=1008, max_attempts=1, **FAST)
    with RawServer(accept_and_send(make_close(1008))) as server:
        websocket = WebSocket(server.url)
        seen = []
        for event in persist(websocket, policy=policy):
            seen.append(event)
            if event.name == 'closing':
                websocket.close()
    assert names(seen)[-1] == 'disconnected'


def test_codes_of_the_answer_to_our_close_do_not_count():
    def script(sock):
        answer_upgrade(sock)
        read_to_close(sock)
        sock.sendall(make_close(1008))

    policy = ReconnectPolicy(stop_on_code=1008, **FAST)
    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        seen = []
        for event in persist(websocket, policy=policy):
            seen.append(event)
            if event.name == 'ready':
                websocket.close()
    assert names(seen)[-2:] == ['closed', 'disconnected']


# -- Retry-After --

@pytest.mark.parametrize('status', [b'301 Moved', b'429 Too Many', b'503 Busy'])
def test_retry_after_is_the_least_to_wait_and_jitter_comes_on_top(status):
    policy = ReconnectPolicy(random=lambda: 0.5)
    with RawServer(refuse_with(status, b'Retry-After: 120')) as server:
        seen = collect(persist(WebSocket(server.url), policy=policy), 1)
    assert seen[-1].delay == 122.5


def test_retry_after_is_clamped():
    policy = ReconnectPolicy(max_retry_after=60, random=lambda: 0.0)
    with RawServer(refuse_with(b'503 Busy', b'Retry-After: 120')) as server:
        seen = collect(persist(WebSocket(server.url), policy=policy), 1)
    assert seen[-1].delay == 60


# -- several URLs --

def test_urls_are_tried_in_turn_and_after_a_success_from_the_first(dead_port):
    with RawServer(refuse_with(b'503 Busy')) as busy, RawServer(accept_and_hang_up()) as good:
        urls = [u'ws://127.0.0.1:{}/'.format(dead_port), busy.url, good.url]
        policy = ReconnectPolicy(
            urls=urls, max_wait=1000, spread=1, stable_after=0, random=lambda: 0.001)
        websocket = WebSocket(u'ws://127.0.0.1:1/unused', proxies={})
        seen = collect(persist(websocket, policy=policy), 4)
    assert [event.url for event in seen if event.name == 'connecting'] == urls + urls[:1]
    delays = [event.delay for event in seen if event.name == 'back_off']
    assert delays == [0, 0, 0.001, 0]
    assert busy.connections == good.connections == 1


def test_each_url_has_its_own_host_and_credentials():
    requests = []

    def script(sock):
        requests.append(answer_upgrade(sock))

    with RawServer(script) as one, RawServer(script) as two:
        urls = [one.url.replace(u'//', u'//me:secret@') + u'a', two.url + u'b']
        policy = ReconnectPolicy(urls=urls, max_attempts=2, **FAST)
        collect(persist(make_websocket(1), policy=policy))
    assert [request.split(b' ')[1] for request in requests] == [b'/a', b'/b']
    assert [get_header(request, b'Host') for request in requests] == [
        '127.0.0.1:{}'.format(server.port).encode('ascii') for server in (one, two)]
    assert [get_header(request, b'Authorization') for request in requests] == [
        b'Basic bWU6c2VjcmV0', None]


def test_the_websockets_own_url_stays_until_the_loop_begins():
    websocket = make_websocket(1)
    loop = persist(websocket, policy=ReconnectPolicy(urls=[u'ws://127.0.0.1:2/']))
    assert websocket.port == 1
    assert next(loop).url == u'ws://127.0.0.1:2/'
    assert websocket.port == 2
    loop.close()


# -- the hook --

def test_the_hook_is_called_before_each_attempt_with_its_number():
    told = []
    script = in_turn(
        refuse_with(b'503 Busy'), refuse_with(b'503 Busy'), accept_and_hang_up(),
        refuse_with(b'503 Busy'))

    def before_attempt(websocket, attempt):
        told.append((websocket, attempt))
        seen.append(attempt)

    policy = ReconnectPolicy(before_attempt=before_attempt, stable_after=0, **FAST)
    seen = []
    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        loop = persist(websocket, policy=policy)
        assert not told
        for event in loop:
            if event.name in ('connecting', 'back_off'):
                seen.append(event.name)
            if len(told) == 5 and event.name == 'back_off':
                break
    assert told == [(websocket, number) for number in (1, 2, 3, 1, 2)]
    assert seen[:6] == [1, 'connecting', 'back_off', 2, 'connecting', 'back_off']


def test_the_hook_may_set_the_url_and_headers():
    requests = []

    def script(sock):
        requests.append(answer_upgrade(sock))

    def before_attempt(websocket, attempt):
        websocket.url = u'{}?attempt={}'.format(server.url, attempt)
        if attempt == 2:
            websocket.add_header('X-Token', 'new')

    policy = ReconnectPolicy(before_attempt=before_attempt, max_attempts=2, **FAST)
    with RawServer(script) as server:
        collect(persist(make_websocket(1), policy=policy))
    assert [request.split(b' ')[1] for request in requests] == [b'/?attempt=1', b'/?attempt=2']
    assert [get_header(request, b'X-Token') for request in requests] == [None, b'new']


def test_the_hook_has_the_last_word_on_the_url(dead_port):
    def before_attempt(websocket, attempt):
        if attempt == 1:
            assert websocket.port == dead_port
            websocket.url = server.url

    with RawServer(accept_and_hang_up()) as server:
        policy = ReconnectPolicy(
            urls=[u'ws://127.0.0.1:{}/'.format(dead_port)], before_attempt=before_attempt,
            max_attempts=2, **FAST)
        seen = collect(persist(make_websocket(1), policy=policy))
    assert server.connections == 1
    assert names(seen)[-3:] == FAILED + ['gave_up']


@pytest.mark.parametrize('error', [
    ValueError('no token'), ValueError(u'\xe4'), ValueError(b'\xff'), RuntimeError()])
def test_a_hook_that_raises_makes_the_attempt_fail(error, caplog):
    """It may need the network itself, for a token: that's no reason to end."""
    caplog.set_level(logging.ERROR, 'lomond')

    def before_attempt(websocket, attempt):
        if attempt <= 2:
            raise error

    with RawServer(accept_and_hang_up()) as server:
        policy = ReconnectPolicy(before_attempt=before_attempt, max_attempts=3, **FAST)
        seen = collect(persist(WebSocket(server.url), policy=policy))
    assert names(seen) == ['connect_fail', 'back_off'] * 2 + [
        'connecting', 'connected', 'ready', 'disconnected', 'gave_up']
    assert seen[0].cause is error
    assert seen[0].phase == 'request'
    assert u'before_attempt failed: ' in seen[0].reason
    assert not seen[0].reason.endswith(u' ')
    assert server.connections == 1
    assert [record.exc_info[1] for record in caplog.records] == [error] * 2


@pytest.mark.parametrize('error', [KeyboardInterrupt, SystemExit])
def test_ctrl_c_in_the_hook_goes_through(error, nothing_is_left_open):
    def before_attempt(websocket, attempt):
        raise error()

    policy = ReconnectPolicy(before_attempt=before_attempt, **FAST)
    with pytest.raises(error):
        collect(persist(make_websocket(1), policy=policy))


@pytest.mark.parametrize('end', ['close', 'exit_event'])
@pytest.mark.parametrize('at', [1, 2])
def test_a_hook_may_end_it_before_the_attempt(dead_port, end, at):
    exit_event = threading.Event()

    def before_attempt(websocket, attempt):
        if attempt == at:
            websocket.close() if end == 'close' else exit_event.set()

    policy = ReconnectPolicy(before_attempt=before_attempt, **FAST)
    loop = persist(make_websocket(dead_port), policy=policy, exit_event=exit_event)
    assert names(loop) == (FAILED + ['back_off']) * (at - 1)


def test_the_hook_is_not_called_for_a_loop_that_has_to_end():
    policy = ReconnectPolicy(before_attempt=lambda websocket, attempt: 1 // 0)
    exit_event = threading.Event()
    exit_event.set()
    loop = persist(make_websocket(1), policy=policy, exit_event=exit_event)
    assert names(loop) == FAILED


# -- options --

def test_every_connect_option_is_passed_on_beside_a_policy(dead_port):
    given = []

    class Session(WebsocketSession):
        def run(self, **options):
            given.append(options)
            return WebsocketSession.run(self, **options)

    policy = ReconnectPolicy(max_attempts=2, **FAST)
    collect(persist(
        make_websocket(dead_port), poll=1, ping_rate=2, ping_timeout=3, auto_pong=False,
        close_timeout=4, session_class=Session, policy=policy))
    assert given == [{
        'poll': 1, 'ping_rate': 2, 'ping_timeout': 3, 'auto_pong': False, 'close_timeout': 4}] * 2


def test_a_policy_may_be_of_a_class_of_ones_own(dead_port):
    class Stubborn(ReconnectPolicy):
        def delay(self, waits, asked=None):
            return 0.001 * (waits + 1)

    seen = collect(persist(make_websocket(dead_port), policy=Stubborn()), 3)
    assert [event.delay for event in seen if event.name == 'back_off'] == [0.001, 0.002, 0.003]


# -- the end, in the midst of a wait --

@pytest.fixture
def on_signal():
    """Set what SIGUSR1 does, for the time of a test."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda function: signal.signal(signal.SIGUSR1, lambda _signum, _frame: function())
    signal.signal(signal.SIGUSR1, before)


class Waiting(object):
    """A loop over a dead port, with a wait that has no end.

    ``helper(self)`` is called in a thread once the loop is in the midst of that.
    """

    def __init__(self, port, helper):
        self.websocket = make_websocket(port)
        self.exit_event = threading.Event()
        self._helper = helper
        self._clock_reads = 0
        self._is_waiting = threading.Event()
        self._policy = ReconnectPolicy(clock=self._clock, **FOR_EVER)

    def _clock(self):
        # The sixth time it is read in the midst of the wait.
        self._clock_reads += 1
        if self._clock_reads == 6:
            self._is_waiting.set()
        return monotonic()

    def _help(self):
        wait_for(self._is_waiting)
        self._helper(self)
        return self._clock_reads

    def run(self):
        """Return how often the loop read the clock after the helper was done."""
        background = Background(self._help)
        try:
            seen = collect(persist(
                self.websocket, policy=self._policy, exit_event=self.exit_event))
        finally:
            reads_before = background.result()
        assert names(seen) == FAILED + ['back_off']
        return self._clock_reads - reads_before


@pytest.mark.parametrize('end', [
    lambda waiting: waiting.websocket.close(),
    lambda waiting: waiting.exit_event.set(),
], ids=['close', 'exit_event'])
def test_the_wait_ends_within_a_tenth_of_a_second(
        dead_port, end, monkeypatch, nothing_is_left_open):
    """It looks ten times a second, by the system's clock, and ends with its next look."""
    def measured(seconds):
        sleeps.append(seconds)
        sleep(seconds)

    sleep, sleeps = time.sleep, []
    monkeypatch.setattr(time, 'sleep', measured)
    assert Waiting(dead_port, end).run() <= 1
    assert 0 < max(sleeps) <= 0.1


def interrupt(_waiting):
    os.kill(os.getpid(), signal.SIGUSR1)


@needs_signals
@pytest.mark.parametrize('end', [
    lambda waiting: waiting.websocket.close(),
    lambda waiting: waiting.exit_event.set(),
], ids=['close', 'exit_event'])
def test_a_signal_handler_may_end_the_wait(dead_port, end, on_signal, nothing_is_left_open):
    waiting = Waiting(dead_port, interrupt)
    on_signal(lambda: end(waiting))
    waiting.run()


@needs_signals
def test_ctrl_c_in_the_wait_goes_through(dead_port, on_signal, nothing_is_left_open):
    def handle():
        raise KeyboardInterrupt()

    on_signal(handle)
    with pytest.raises(KeyboardInterrupt):
        Waiting(dead_port, interrupt).run()


# -- leaving the loop --

class Listener(object):
    """A script that accepts, and tells when the client is gone."""

    def __init__(self):
        self.is_closed = threading.Event()

    def __call__(self, sock):
        answer_upgrade(sock)
        drain(sock)
        self.is_closed.set()


def run_to_ready(loop):
    while next(loop).name != 'ready':
        pass


def test_closing_the_iterator_closes_the_connection_at_once(nothing_is_left_open):
    listener = Listener()
    with RawServer(listener) as server:
        loop = persist(WebSocket(server.url))
        run_to_ready(loop)
        loop.close()
        wait_for(listener.is_closed)


def test_an_exception_thrown_into_the_iterator_closes_the_connection_at_once(
        nothing_is_left_open):
    """Though its traceback holds on to the frame of the loop."""
    class Mishap(Exception):
        pass

    listener = Listener()
    with RawServer(listener) as server:
        loop = persist(WebSocket(server.url))
        run_to_ready(loop)
        caught = None
        try:
            loop.throw(Mishap())
        except Mishap:
            caught = sys.exc_info()
        wait_for(listener.is_closed)
        assert caught
        del caught


def test_ctrl_c_in_persists_own_code_closes_the_connection_at_once(nothing_is_left_open):
    def clock():
        if websocket.state == 'open':
            raise KeyboardInterrupt()       # as a signal's handler may, anywhere
        return monotonic()

    listener = Listener()
    with RawServer(listener) as server:
        websocket = WebSocket(server.url)
        caught = None
        try:
            collect(persist(websocket, policy=ReconnectPolicy(clock=clock)))
        except KeyboardInterrupt:
            caught = sys.exc_info()
        wait_for(listener.is_closed)
        assert caught
        del caught


def test_another_loop_over_the_websocket_that_began_in_the_wait_is_told_of(dead_port):
    """Two loops over one WebSocket are the caller's mistake: that raises, in the later one."""
    websocket = make_websocket(dead_port)
    other = None
    with pytest.raises(errors.WebSocketUnavailable) as caught:
        for event in persist(websocket, **FAST):
            if event.name == 'back_off':
                other = websocket.connect()
                assert next(other).name == 'connecting'
    assert 'already running' in str(caught.value)
    assert [event.name for event in other] == ['connect_fail']


def test_another_loop_that_began_before_this_one_was_run_is_told_of(dead_port):
    websocket = make_websocket(dead_port)
    loop = persist(websocket)
    list(websocket)
    with pytest.raises(errors.WebSocketUnavailable):
        next(loop)
