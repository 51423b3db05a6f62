"""lomond.engine.reconnect: the reconnecting machine, over sessions that a test makes."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond import events
from lomond.engine.policy import ReconnectPolicy
from lomond.engine.reconnect import PersistentSession
from lomond.net.waiter import READ


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
        calls_in_loop = options.pop('calls_in_loop', True)
        options.setdefault('random', lambda: 1.0)
        self.policy = ReconnectPolicy(clock=lambda: self.now, **options)
        self.machine = PersistentSession(
            self, self.start, self.policy, lambda: self.is_over, calls_in_loop)

    def start(self):
        self.started.append(self.sessions.pop(0))
        return self.started[-1]

    def step(self):
        return [event.name for event in self.machine.step()]


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
