"""lomond.engine.gate: how many sessions dial at a time, and how often each host is dialled."""

from __future__ import absolute_import, division, print_function

import weakref

import pytest

from lomond.engine.gate import Gate
from lomond.engine.timers import NEVER
from tests.support import needs_refcounts

HOST = u'example.org'


class Session(object):
    """A session that counts its wakes."""

    def __init__(self):
        self.wakes = 0

    def wake(self):
        self.wakes += 1


class Clock(object):
    """A clock that a test sets."""

    now = 100.0

    def __call__(self):
        return self.now


def make_sessions(count):
    return [Session() for _ in range(count)]


def test_only_so_many_dial_at_a_time():
    gate = Gate(2)
    sessions = make_sessions(4)
    assert [gate.admit(session, HOST) for session in sessions] == [-NEVER, -NEVER, NEVER, NEVER]


def test_a_session_that_dials_may_ask_again():
    gate = Gate(1)
    session, = make_sessions(1)
    assert gate.admit(session, HOST) == gate.admit(session, HOST) == -NEVER


def test_those_that_wait_are_woken_in_the_order_in_which_they_came():
    gate = Gate(1)
    sessions = make_sessions(4)
    for session in sessions + sessions:     # asking again moves none to the end
        gate.admit(session, HOST)
    for before, after in zip(sessions, sessions[1:]):
        assert after.wakes == 0
        gate.leave(before)
        assert after.wakes == 1
        assert gate.admit(after, HOST) == -NEVER
    assert [session.wakes for session in sessions] == [0, 1, 1, 1]


def test_one_that_asks_before_the_woken_one_does_not_take_its_turn():
    gate = Gate(1)
    first, second, third = make_sessions(3)
    gate.admit(first, HOST)
    gate.admit(second, HOST)
    gate.leave(first)
    assert gate.admit(third, HOST) == NEVER
    assert gate.admit(second, HOST) == -NEVER


def test_one_that_leaves_while_it_waits_makes_way():
    gate = Gate(1)
    first, second, third = make_sessions(3)
    for session in (first, second, third):
        gate.admit(session, HOST)
    gate.leave(second)
    gate.leave(first)
    assert (second.wakes, third.wakes) == (0, 1)


def test_one_that_leaves_after_it_was_woken_and_before_it_dialled_makes_way():
    gate = Gate(1)
    first, second, third = make_sessions(3)
    for session in (first, second, third):
        gate.admit(session, HOST)
    gate.leave(first)
    gate.leave(second)
    assert third.wakes == 1


@pytest.mark.parametrize('times', [1, 2])
def test_leaving_twice_or_without_having_come_changes_nothing(times):
    gate = Gate(1)
    first, second, third = make_sessions(3)
    gate.admit(first, HOST)
    for _ in range(times):
        gate.leave(third)
    assert gate.admit(second, HOST) == NEVER
    for _ in range(times):
        gate.leave(first)
    assert second.wakes == 1


@needs_refcounts
def test_a_gate_keeps_no_session_that_has_left():
    gate = Gate(2, rate=10)
    sessions = make_sessions(5)
    references = [weakref.ref(session) for session in sessions]
    for number, session in enumerate(sessions):
        gate.admit(session, u'host{}'.format(number % 4))
    for session in sessions:
        gate.leave(session)
    del session, sessions
    assert [reference() for reference in references] == [None] * 5


# -- the rate --

def begin_one_after_the_other(gate, clock, sessions):
    """Have the sessions ask whenever they should; return when each of them may dial."""
    begun = []
    for session in sessions:
        begins_at = gate.admit(session, HOST)
        if begins_at != -NEVER:
            clock.now = begins_at
            assert gate.admit(session, HOST) == -NEVER
        begun.append(clock.now)
    return begun


def test_attempts_to_one_host_begin_at_its_rate_in_their_order():
    clock = Clock()
    gate = Gate(100, rate=4, clock=clock)
    sessions = make_sessions(4)
    assert [gate.admit(session, HOST) for session in sessions] == [-NEVER, 100.25, NEVER, NEVER]
    assert begin_one_after_the_other(gate, clock, sessions) == [100.0, 100.25, 100.5, 100.75]
    assert [session.wakes for session in sessions] == [0, 0, 1, 1]


def test_hosts_do_not_wait_for_each_other():
    gate = Gate(100, rate=1, clock=Clock())
    for number in range(10):
        assert gate.admit(Session(), u'host{}'.format(number)) == -NEVER


def test_an_attempt_begins_at_its_time_and_not_before():
    clock = Clock()
    gate = Gate(100, rate=0.5, clock=clock)
    first, second = make_sessions(2)
    gate.admit(first, HOST)
    for now in (100.0, 101.0, 101.9):
        clock.now = now
        assert gate.admit(second, HOST) == 102.0
    clock.now = 102.0
    assert gate.admit(second, HOST) == -NEVER


def test_those_that_leave_while_they_wait_for_their_time_cost_the_others_none():
    clock = Clock()
    gate = Gate(100, rate=1, clock=clock)
    sessions = make_sessions(1000)
    for session in sessions:
        gate.admit(session, HOST)
    for session in sessions[1:-1]:
        gate.leave(session)
    assert sessions[-1].wakes == 1
    assert gate.admit(sessions[-1], HOST) == 101.0


def test_a_host_is_not_dialled_faster_after_its_attempts_had_to_wait_for_others():
    clock = Clock()
    gate = Gate(1, rate=1, clock=clock)
    blocker = Session()
    gate.admit(blocker, u'other')
    sessions = make_sessions(3)
    for session in sessions:
        gate.admit(session, HOST)
    clock.now = 200.0
    gate.leave(blocker)
    assert gate.admit(sessions[0], HOST) == -NEVER
    gate.leave(sessions[0])
    assert gate.admit(sessions[1], HOST) == 201.0


def test_hosts_that_are_dialled_seldom_do_not_keep_others_from_dialling():
    gate = Gate(2, rate=0.001, clock=Clock())
    for session in make_sessions(10):
        gate.admit(session, HOST)
    assert gate.admit(Session(), u'other') == -NEVER


def test_a_time_without_attempts_allows_no_burst_after_it():
    clock = Clock()
    gate = Gate(100, rate=1, clock=clock)
    gate.admit(Session(), HOST)
    clock.now = 160.0
    assert begin_one_after_the_other(gate, clock, make_sessions(3)) == [160.0, 161.0, 162.0]


def test_attempts_that_come_again_and_again_stay_under_the_rate():
    """As with reconnect_now() from everywhere."""
    clock = Clock()
    gate = Gate(100, rate=8, clock=clock)
    begun = 0
    for _ in range(1024):
        session = Session()
        begun += gate.admit(session, HOST) == -NEVER
        gate.leave(session)
        clock.now += 1.0 / 1024
    assert begun == 8


def test_hosts_that_may_be_dialled_again_are_forgotten():
    clock = Clock()
    gate = Gate(100, rate=1, clock=clock)
    for number in range(5000):
        gate.admit(Session(), u'host{}'.format(number))
        clock.now += 1
    assert len(gate.free_at) <= 1001
