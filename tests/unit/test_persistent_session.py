"""lomond.engine.reconnect: the reconnecting machine, over sessions that a test makes."""

from __future__ import absolute_import, division, print_function

import gc
import threading
import weakref

import pytest

from lomond import WebSocket, events
from lomond.engine.policy import ReconnectPolicy
from lomond.engine.reconnect import PersistentSession
from lomond.http.response import Response
from lomond.net.waiter import READ
from tests.support import PATIENCE


class Session(object):
    """A session that yields what it was given, a list for each step."""

    def __init__(self, *steps):
        self._steps = list(steps)
        self.interest = ((7, READ),)
        self.deadline = 70.0
        self.is_finished = False
        self.is_disposed = False

    def step(self):
        happened = self._steps.pop(0)
        self.is_finished = not self._steps
        return happened

    def time_left(self):
        return 5.0

    def dispose(self):
        self.is_disposed = True


class Machine(object):
    """A machine, its clock, and the sessions that it starts one after the other."""

    def __init__(self, *sessions, **options):
        self.now = 100.0
        self.is_over = False
        self.sessions = list(sessions)
        self.started = []
        self.wakes = []
        calls_in_loop = options.pop('calls_in_loop', True)
        options.setdefault('random', lambda: 1.0)
        self.policy = ReconnectPolicy(clock=lambda: self.now, **options)
        self.machine = PersistentSession(
            self, self.start, self.policy, lambda: self.is_over, calls_in_loop,
            wake=lambda: self.wakes.append(None))

    def start(self):
        self.started.append(self.sessions.pop(0))
        return self.started[-1]

    def step(self):
        return [event.name for event in self.machine.step()]

    def close(self):
        self.is_closed = True


def refused():
    return Session([events.Connecting(u'ws://a/')], [events.ConnectFail(u'refused')])


def test_it_backs_off_after_an_attempt_and_tries_again():
    made = Machine(refused(), refused(), spread=2)
    names = [made.step() for _ in range(4)]
    assert names == [[], ['connecting'], ['connect_fail'], ['back_off']]
    assert made.started[0].is_disposed
    assert made.machine.phase == 'backing_off'
    assert made.machine.time_left() == 2.0
    assert made.step() == []
    made.now += 2.5
    assert made.machine.time_left() == 0
    assert [made.step() for _ in range(3)] == [[], [], ['connecting']]
    assert len(made.started) == 2


def test_it_waits_for_what_the_session_waits_for():
    made = Machine(refused())
    assert made.machine.time_left() == 0
    made.step()
    assert made.machine.interest == ((7, READ),)
    assert made.machine.deadline == 70.0
    assert made.machine.time_left() == 5.0


def test_its_deadline_follows_the_back_off():
    made = Machine(refused(), min_wait=10, max_wait=10)
    for _ in range(4):
        made.step()
    assert made.machine.interest == ()
    first = made.machine.deadline
    made.now += 4
    assert made.machine.time_left() == 6
    assert made.machine.deadline < first


def test_a_policy_that_gives_up_ends_it():
    made = Machine(refused(), max_attempts=1)
    for _ in range(3):
        made.step()
    assert made.step() == ['gave_up']
    assert made.machine.is_finished
    assert made.step() == []


@pytest.mark.parametrize('steps', range(1, 4))
def test_it_ends_without_another_attempt_once_it_is_over(steps):
    made = Machine(refused(), refused())
    for _ in range(steps):
        made.step()
    started = len(made.started)
    made.is_over = True
    for _ in range(5):
        made.step()
    assert made.machine.is_finished
    assert len(made.started) == started


def test_it_ends_while_it_backs_off():
    made = Machine(refused(), refused(), min_wait=50)
    for _ in range(4):
        made.step()
    made.is_over = True
    assert made.step() == []
    assert made.machine.is_finished


def test_dispose_ends_the_session_too():
    made = Machine(refused())
    made.step()
    made.machine.dispose()
    assert made.started[0].is_disposed
    assert made.machine.is_finished


def test_urls_are_set_in_turn():
    made = Machine(refused(), refused(), urls=['ws://a/', 'ws://b/'])
    made.step()
    assert made.url == 'ws://a/'
    for _ in range(3):
        made.step()
    made.step()
    made.step()
    assert made.url == 'ws://b/'


def test_a_hook_that_raises_fails_the_attempt(caplog):
    def before_attempt(_websocket, _number):
        raise StopIteration('no token')

    made = Machine(before_attempt=before_attempt)
    fail, = made.machine.step()
    assert (fail.name, fail.phase, type(fail.cause)) == ('connect_fail', 'request', StopIteration)
    assert made.step() == ['back_off']
    assert made.started == []
    assert 'before_attempt failed' in caplog.text


# -- a connection that reached max_age --

def test_after_a_session_that_is_aged_it_begins_the_next_at_once():
    session = refused()
    session.is_aged = True
    made = Machine(session, refused(), min_wait=50)
    for _ in range(3):
        made.step()
    back_off, = made.machine.step()
    assert (back_off.name, back_off.delay) == ('back_off', 0.0)
    assert made.machine.time_left() == 0
    assert [made.step() for _ in range(3)] == [[], [], ['connecting']]


# -- end_back_off --

#: How many steps lead to a back-off: one begins the attempt, two are its session's.
TO_BACK_OFF = 4


def back_off(*sessions, **options):
    """Return a machine that backs off, for 50 seconds and more."""
    options.setdefault('min_wait', 50)
    made = Machine(*(sessions or (refused(), refused(), refused())), **options)
    for _ in range(TO_BACK_OFF):
        made.step()
    assert made.machine.phase == 'backing_off'
    return made


def test_a_back_off_ends_when_it_is_asked_to():
    made = back_off()
    assert made.machine.time_left() > 0
    made.machine.end_back_off()
    assert len(made.wakes) == 1
    assert made.machine.time_left() == 0
    assert [made.step() for _ in range(3)] == [[], [], ['connecting']]


@pytest.mark.parametrize('steps', range(TO_BACK_OFF))
def test_to_end_a_back_off_at_another_moment_does_not_shorten_the_next(steps):
    made = Machine(refused(), refused(), min_wait=50)
    for _ in range(steps):
        made.step()
    made.machine.end_back_off()
    for _ in range(TO_BACK_OFF - steps):
        made.step()
    assert made.machine.phase == 'backing_off'
    assert made.machine.time_left() >= 50


def test_what_ended_one_back_off_does_not_shorten_the_next():
    made = back_off()
    for _ in range(3):
        made.machine.end_back_off()
    for _ in range(5):
        made.step()
    assert made.machine.phase == 'backing_off'
    assert made.machine.time_left() >= 50
    assert len(made.started) == 2


def test_an_ended_back_off_counts_as_one():
    delays = []
    made = Machine(refused(), refused(), refused(), refused(), min_wait=0, max_wait=50, spread=2)
    while len(made.started) < 4:
        for event in made.machine.step():
            if event.name == 'back_off':
                delays.append(event.delay)
                made.machine.end_back_off()
    assert delays == [2, 4, 8]


def test_to_end_a_back_off_overrides_a_retry_after():
    head = b'HTTP/1.1 503 Busy\r\nRetry-After: 3000\r\n\r\n'
    rejected = Session([], [events.Rejected(Response(head), u'no'), events.Disconnected()])
    made = back_off(rejected, refused())
    assert made.machine.time_left() >= 3000
    made.machine.end_back_off()
    assert [made.step() for _ in range(3)] == [[], [], ['connecting']]


def test_to_end_a_back_off_after_the_end_is_harmless():
    made = Machine(refused(), max_attempts=1)
    for _ in range(TO_BACK_OFF):
        made.step()
    assert made.machine.is_finished
    made.machine.end_back_off()
    made.machine.dispose()
    made.machine.end_back_off()
    assert made.step() == []


def call_from_threads(function, count=20):
    """Call it in so many threads at once."""
    may_begin = threading.Event()

    def run():
        assert may_begin.wait(PATIENCE)
        function()
        done.append(None)

    done = []
    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    may_begin.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(done) == count


@pytest.mark.parametrize('steps', range(TO_BACK_OFF + 4))
def test_many_threads_that_end_a_back_off_lead_to_one_attempt(steps):
    made = Machine(refused(), refused(), refused(), min_wait=50)
    for _ in range(steps):
        made.step()
    is_backing_off = made.machine.phase == 'backing_off'
    started = len(made.started)
    call_from_threads(made.machine.end_back_off)
    for _ in range(10):
        made.step()
    assert made.machine.phase == 'backing_off'
    assert len(made.started) == max(1, started + is_backing_off)


def test_threads_that_end_every_back_off_leave_the_attempts_whole():
    made = Machine(*[refused() for _ in range(11)], min_wait=50)
    seen = []
    is_over = threading.Event()

    def hurry():
        while not is_over.is_set():
            made.machine.end_back_off()

    threads = [threading.Thread(target=hurry) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        while len(made.started) < 11:
            seen.extend(made.step())
    finally:
        is_over.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert seen == ['connecting', 'connect_fail', 'back_off'] * 10


# -- its websocket --

class Persisted(object):
    """A WebSocket, and a machine over it whose driver counts its wakes."""

    def __init__(self, websocket=None):
        self.websocket = WebSocket(u'ws://example.org/') if websocket is None else websocket
        self.wakes = []
        before = self.websocket.last_close
        self.machine = PersistentSession(
            self.websocket, refused, ReconnectPolicy(min_wait=50),
            lambda: self.websocket.last_close is not before, wake=lambda: self.wakes.append(None))

    def step(self, count=1):
        for _ in range(count):
            list(self.machine.step())


def test_close_during_a_back_off_wakes_the_driver():
    made = Persisted()
    made.step(TO_BACK_OFF)
    assert not made.wakes
    made.websocket.close()
    assert made.wakes
    made.step()
    assert made.machine.is_finished


def test_reconnect_now_wakes_the_driver_and_ends_the_back_off():
    made = Persisted()
    made.step(TO_BACK_OFF)
    made.websocket.reconnect_now()
    assert made.wakes
    assert made.machine.time_left() == 0


def test_reconnect_now_without_a_machine_is_harmless():
    websocket = WebSocket(u'ws://example.org/')
    websocket.reconnect_now()
    websocket.connect()
    websocket.reconnect_now()
    assert websocket.state == 'connecting'


def test_a_websocket_does_not_keep_its_machine_alive():
    made = Persisted()
    made.step(TO_BACK_OFF)
    machine, made.machine = weakref.ref(made.machine), None
    gc.collect()
    assert machine() is None
    made.websocket.reconnect_now()
    made.websocket.close()


def test_of_two_machines_one_after_the_other_the_later_is_woken():
    first = Persisted()
    first.step(TO_BACK_OFF)
    first.machine.dispose()
    second = Persisted(first.websocket)
    second.step(TO_BACK_OFF)
    first.websocket.reconnect_now()
    assert (len(first.wakes), len(second.wakes)) == (0, 1)
    assert second.machine.time_left() == 0


@pytest.mark.parametrize('delay, asked', [(50, 1), (50, 2), (0, 1), (0, 2), (0, 3), (0, 4)])
def test_a_close_right_after_the_machine_asked_whether_it_is_over_is_not_lost(delay, asked):
    """As another thread's may come: the driver is woken, or the new attempt is closed."""
    class Closable(WebSocket):
        def close(self, code=1000, reason=u'goodbye'):
            happened.append('close')
            super(Closable, self).close(code, reason)

    def start():
        happened.append('start')
        return refused()

    def is_over():
        asks.append(None)
        is_over = websocket.last_close is not None
        if len(asks) == asked:
            websocket.close()
        return is_over

    happened, asks, wakes = [], [], []
    websocket = Closable(u'ws://example.org/')
    machine = PersistentSession(
        websocket, start, ReconnectPolicy(delay, delay), is_over,
        wake=lambda: wakes.append(None))
    while not machine.is_finished:
        list(machine.step())
        if machine.phase == 'backing_off' and machine.time_left():
            assert wakes, 'the driver waits'
            del wakes[:]
    assert happened[-1] == 'close'
