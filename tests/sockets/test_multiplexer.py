"""lomond._multiplexer: which machine steps when, over machines that a test makes."""

from __future__ import absolute_import, division, print_function

import gc
import os
import socket
import threading
import weakref
from contextlib import closing

import pytest

from lomond import _multiplexer, errors
from lomond._multiplexer import Member, Multiplexer
from lomond.engine.timers import NEVER
from lomond.net.waiter import READ, WAYS
from tests.network.driving import Background, count_descriptors, needs_proc, wait_for
from tests.support import needs_refcounts
from tests.tracing import LineTracer

WAYS_HERE = [way for way in WAYS if hasattr(__import__('select'), way)]


class Clock(object):
    """A clock that a test sets."""

    now = 100.0

    def __call__(self):
        return self.now


class Machine(object):
    """A machine that waits until it is woken; each step returns what ``act()`` does."""

    def __init__(self, act=lambda: ()):
        self.act = act
        self.interest = ()
        self.deadline = NEVER
        self.now = Clock()
        self.needs_step = True
        self.is_finished = False
        self.disposed = 0
        self.errors = []
        self.steps = 0
        self.wake_driver = lambda: None     # until it begins

    def begin(self, wake):
        self.wake_driver = wake
        return self

    def wake(self):
        self.needs_step = True
        self.wake_driver()

    def step(self):
        self.needs_step = False
        self.steps += 1
        return self.act()

    def time_left(self):
        if self.needs_step or self.is_finished:
            return 0
        return None if self.deadline == NEVER else max(0, self.deadline - self.now())

    def fail(self, error):
        self.errors.append(error)
        self.is_finished = True

    def dispose(self):
        self.disposed += 1
        self.is_finished = True


# Those of the present test: what a test makes has cycles, and waits for the collector.
loops = []


@pytest.fixture(autouse=True)
def close_loops():
    """Leave no loop open at the end of a test."""
    yield
    while loops:
        loops.pop().close()


class Driven(object):
    """A multiplexer that runs whenever the test has it run, and never waits."""

    def __init__(self, *machines, **options):
        self.clock = Clock()
        self.is_over = False
        self.multiplexer = Multiplexer(clock=self.clock, **options)
        self.members = [self.add(machine) for machine in machines]
        self.loop = None

    def add(self, machine):
        machine.now = self.clock
        member = Member(machine, machine.begin)
        self.multiplexer.add(member)
        return member

    def begin(self, poll=None):
        """Return a loop, which yields (None, None) instead of waiting."""
        loops.append(self.multiplexer.run(lambda: self.is_over, poll, waits=False))
        return loops[-1]

    def run(self, poll=None):
        """Return what it yields until it would wait, or ends."""
        if self.loop is None:
            self.loop = self.begin(poll)
        yielded = []
        for websocket, event in self.loop:
            if event is None:
                if self.multiplexer.time_left():
                    break
                continue
            yielded.append((websocket, event))
        return yielded

    def end(self):
        self.is_over = True
        assert self.run() == []


def following(loop):
    """Return the next pair of a loop that yields (None, None) between its rounds."""
    return next(pair for pair in loop if pair != (None, None))


def finish_by(machine, event):
    """Have a machine end with its next step, which yields this."""
    def act():
        machine.is_finished = True
        return [event]
    machine.act = act


# -- who steps when --

def test_each_machine_with_something_to_do_steps_once_before_any_steps_again():
    order = []

    def act(machine):
        order.append(machine)
        machine.needs_step = machine.steps < 3
        return ()

    machines = [Machine() for _ in range(3)]
    for machine in machines:
        machine.act = lambda machine=machine: act(machine)
    Driven(*machines).run()
    assert order == machines * 3


def test_one_that_is_woken_does_not_wait_for_one_that_always_has_more_to_do():
    busy, quiet = Machine(), Machine()
    driven = Driven(busy, quiet)

    def act():
        busy.needs_step = busy.steps < 1000
        if busy.steps == 500:
            quiet.wake()
        return [busy.steps, quiet.steps]

    busy.act = act
    seen = [counts for _websocket, counts in driven.run()]
    assert quiet.steps == 2
    woken_at = seen.index(500)
    # It steps before or after the busy one's next step.
    assert seen[woken_at + 1] == 1 and seen[woken_at + 5] == 2


def test_a_machine_that_waits_steps_only_when_it_is_woken():
    machine = Machine()
    driven = Driven(machine)
    for _ in range(3):
        driven.run()
    assert machine.steps == 1
    machine.wake()
    driven.run()
    assert machine.steps == 2


def test_a_wake_in_the_middle_of_a_step_is_not_lost():
    machine = Machine()
    driven = Driven(machine)

    def act():
        machine.act = lambda: ()
        Background(machine.wake).result()
        machine.needs_step = False      # as if the step had looked before
        return ()

    machine.act = act
    driven.run()
    assert machine.steps == 2


def test_hundreds_of_thousands_of_wakes_neither_block_nor_pile_up_nor_get_lost():
    machine = Machine()
    driven = Driven(machine)
    for _ in range(300000):
        machine.begin(lambda: driven.multiplexer.wake(driven.members[0]))
        machine.wake()
    assert len(driven.multiplexer.mail) == 1
    driven.run()
    assert machine.steps == 1
    for _ in range(300000):
        machine.wake()
    driven.run()
    assert machine.steps == 2
    driven.end()


def test_a_wake_from_any_thread_ends_a_wait():
    """Each thread wakes its own machine, again and again, as soon as that has stepped."""
    rounds, count = 200, 8
    machines = [Machine() for _ in range(count)]
    stepped = [threading.Semaphore(0) for _ in range(count)]
    multiplexer = Multiplexer()
    for machine, semaphore in zip(machines, stepped):
        machine.act = lambda semaphore=semaphore: semaphore.release() or ()
        multiplexer.add(Member(machine, machine.begin))
    are_done = []
    loop = Background(lambda: list(multiplexer.run(lambda: len(are_done) == count)))

    def wake_again_and_again(machine, semaphore):
        for _ in range(rounds):
            semaphore.acquire()
            machine.wake()
        semaphore.acquire()
        are_done.append(None)
        machine.wake()

    for thread in [Background(wake_again_and_again, *pair) for pair in zip(machines, stepped)]:
        thread.result()
    loop.result()
    assert all(machine.steps >= rounds + 1 for machine in machines)


# -- the end of a machine --

def test_a_machine_that_has_finished_is_freed_after_its_last_event():
    machine = Machine()
    finish_by(machine, 'the end')
    driven = Driven(machine)
    assert driven.run() == [(machine, 'the end')]
    assert machine.disposed == 1
    assert len(driven.multiplexer) == 0
    assert driven.members[0].machine is None


def test_another_member_of_the_same_websocket_may_be_added_while_its_last_event_is_handled():
    machine = Machine()
    finish_by(machine, 'the end')
    driven = Driven(machine)
    loop = driven.begin()
    assert following(loop) == (machine, 'the end')
    assert driven.multiplexer.find(machine) is None
    other = Machine(lambda: ['the other'])
    driven.multiplexer.add(Member(machine, other.begin))
    assert following(loop) == (machine, 'the other')
    assert machine.disposed == 1
    assert len(driven.multiplexer) == 1


def test_a_second_member_of_a_websocket_is_refused():
    driven = Driven(Machine())
    driven.run()
    with pytest.raises(errors.WebSocketUnavailable):
        driven.add(driven.members[0].websocket)
    assert len(driven.multiplexer) == 1


@pytest.mark.parametrize('fault', ['begin', 'step', 'events', 'time_left'])
def test_a_machine_that_raises_ends_itself_and_no_other(fault, caplog):
    def fail(*_args):
        raise ZeroDivisionError('no such luck')

    def fail_later():
        yield 'before'
        fail()

    broken, whole = Machine(), Machine(lambda: ['whole'])
    if fault == 'events':
        broken.act = fail_later
    else:
        setattr(broken, fault, fail)
    driven = Driven(broken, whole)
    yielded = driven.run()
    end = [event for websocket, event in yielded if websocket is broken][-1]
    assert (end.name, end.graceful) == ('disconnected', False)
    assert end.reason == u'the connection was given up: no such luck'
    assert isinstance(end.cause, ZeroDivisionError)
    assert (whole, 'whole') in yielded
    assert broken.disposed == (fault != 'begin')
    assert driven.multiplexer.find(broken) is None
    assert 'was given up' in caplog.text
    whole.wake()
    assert driven.run() == [(whole, 'whole')]


def test_a_machine_that_raises_at_its_deadline_ends_itself_and_no_other():
    def fail():
        raise ZeroDivisionError('no such luck')

    broken, whole = Machine(), Machine(lambda: ['whole'])
    broken.deadline = 110.0
    driven = Driven(broken, whole)
    driven.run()
    broken.time_left = fail
    driven.clock.now = 120.0
    whole.wake()
    yielded = driven.run()
    assert [event.reason for websocket, event in yielded if websocket is broken] == [
        u'the connection was given up: no such luck']
    assert (whole, 'whole') in yielded
    assert (broken.disposed, whole.disposed) == (1, 0)


def test_a_machine_that_removes_itself_and_raises_yields_nothing():
    machine = Machine()
    driven = Driven(machine)

    def act():
        driven.multiplexer.remove(driven.members[0])
        raise ZeroDivisionError()

    machine.act = act
    assert driven.run() == []
    assert machine.disposed


@pytest.mark.parametrize('moment', ['before the step', 'in the step', 'between two events'])
def test_after_a_machine_was_removed_no_event_of_it_comes(moment):
    machine = Machine()
    driven = Driven(machine)

    def remove():
        driven.multiplexer.remove(driven.members[0])

    def act():
        if moment == 'in the step':
            remove()
        yield 'first'
        if moment == 'between two events':
            remove()
        yield 'second'

    machine.act = act
    if moment == 'before the step':
        remove()
    names = [event for _websocket, event in driven.run()]
    assert names == (['first'] if moment == 'between two events' else [])
    assert machine.disposed == (moment != 'before the step')
    assert len(driven.multiplexer) == 0


def test_a_machine_that_was_removed_does_no_more_than_it_has_to():
    machine = Machine()
    driven = Driven(machine)
    machine.act = lambda: iter(['first', 'second'])
    loop = driven.begin()
    assert following(loop) == (machine, 'first')
    happened = machine.act = lambda: pytest.fail('it steps')
    driven.multiplexer.remove(driven.members[0])
    assert next(loop) == (None, None)
    assert happened
    machine.wake()      # too late
    assert next(loop) == (None, None)
    assert machine.steps == 1


def test_the_end_of_the_loop_frees_all_machines_also_those_that_were_just_removed():
    machines = [Machine(lambda: ['event']) for _ in range(3)]
    driven = Driven(*machines)
    loop = driven.multiplexer.run(lambda: False)
    next(loop)
    driven.multiplexer.remove(driven.members[0])
    loop.close()
    # The last two have not begun.
    assert [machine.disposed for machine in machines] == [1, 0, 0]
    assert len(driven.multiplexer) == 0
    assert driven.multiplexer.time_left() == NEVER


def test_one_that_is_added_while_the_loop_ends_is_there_in_the_next_loop():
    first, second = Machine(lambda: ['first']), Machine(lambda: ['second'])
    driven = Driven(first)
    first.dispose = lambda: driven.multiplexer.call(lambda: driven.add(second))
    driven.run()
    driven.end()
    assert len(driven.multiplexer) == 1
    driven.loop, driven.is_over = None, False
    assert driven.run() == [(second, 'second')]


def test_a_second_loop_at_the_same_time_is_refused_and_disturbs_the_first_by_nothing():
    machine = Machine(lambda: ['event'])
    driven = Driven(machine)
    driven.run()
    with pytest.raises(errors.WebSocketUnavailable):
        next(driven.multiplexer.run(lambda: True))
    machine.wake()
    assert driven.run() == [(machine, 'event')]


# -- deadlines --

def test_a_machine_steps_at_its_deadline_and_not_before():
    machine = Machine()
    machine.deadline = 150.0
    driven = Driven(machine)
    for now, steps in [(100.0, 1), (149.0, 1), (150.0, 2)]:
        driven.clock.now = now
        if now == 150.0:
            machine.act = lambda: setattr(machine, 'deadline', NEVER) or ()
        driven.run()
        assert machine.steps == steps
    assert driven.multiplexer.deadlines.heap == []


def test_the_earliest_deadline_says_how_long_to_wait():
    machines = [Machine() for _ in range(3)]
    driven = Driven(*machines)
    for machine, deadline in zip(machines, (170.0, 130.0, 150.0)):
        machine.deadline = deadline
    driven.run()
    assert driven.multiplexer.time_left() == 30.0


def test_a_deadline_that_is_put_off_again_and_again_makes_one_entry():
    machine = Machine()
    driven = Driven(machine)
    for now in range(100, 10100):
        driven.clock.now = float(now)
        machine.deadline = now + 30.0
        machine.wake()
        driven.run()
        assert len(driven.multiplexer.deadlines.heap) == 1
    assert machine.steps == 10000       # for none of the deadlines


def test_a_deadline_that_comes_nearer_and_nearer_makes_no_heap_of_entries():
    machine = Machine()
    driven = Driven(machine)
    for number in range(10000):
        machine.deadline = 1000000.0 - number
        machine.wake()
        driven.run()
    assert len(driven.multiplexer.deadlines.heap) < 100
    driven.clock.now = machine.deadline
    before = machine.steps
    machine.act = lambda: setattr(machine, 'deadline', NEVER) or ()
    driven.run()
    assert machine.steps == before + 1


def test_a_deadline_that_is_given_up_leaves_no_entry():
    """As that of connect_timeout, once a connection without pings is open."""
    machine = Machine()
    machine.deadline = 130.0
    driven = Driven(machine)
    driven.run()
    machine.deadline = NEVER
    driven.clock.now = 131.0
    driven.run()
    assert driven.multiplexer.deadlines.heap == []
    assert driven.multiplexer.time_left() == NEVER


def test_thousands_of_members_that_come_and_go_leave_at_most_two_entries_a_member():
    driven = Driven()
    kept = []
    for number in range(10000):
        machine = Machine()
        machine.deadline = 130.0 + number % 7
        kept.append(driven.add(machine))
        driven.run()
        machine.deadline -= 10.0
        machine.wake()
        driven.run()
        if len(kept) > 100:
            driven.multiplexer.remove(kept.pop(0))
        assert len(driven.multiplexer.deadlines.heap) <= 2 * len(kept) + 65
    driven.run()
    driven.clock.now = 200.0
    before = [member.machine.steps for member in kept]
    for member in kept:
        member.machine.act = (
            lambda machine=member.machine: setattr(machine, 'deadline', NEVER) or ())
    driven.run()
    assert [member.machine.steps for member in kept] == [steps + 1 for steps in before]
    assert driven.multiplexer.deadlines.heap == []


@needs_refcounts
def test_members_that_have_gone_are_freed_without_the_collector():
    """All but the last: the loop refers to it, and to its event, until there is another."""
    driven = Driven()
    gone = []
    gc.disable()
    try:
        for _ in range(1000):
            machine = Machine()
            finish_by(machine, 'the end')
            gone.append(weakref.ref(machine))
            driven.add(machine)
            driven.run()
            del machine.act, machine.wake_driver, machine
        assert [machine for machine in gone if machine() is not None] == gone[-1:]
    finally:
        gc.enable()


def test_a_machine_whose_deadline_moves_with_the_time_steps_when_its_time_is_over():
    """As that of a back-off, whose policy has a clock of its own."""
    class BackOff(Machine):
        ends_at = 105.0
        deadline = property(lambda self: self.now() + self.time_left(), lambda self, _: None)

        def time_left(self):
            return max(0, self.ends_at - self.now())

    machine = BackOff()
    driven = Driven(machine)
    driven.run()
    driven.clock.now = 104.0
    driven.run()
    assert machine.steps == 1
    driven.clock.now = 105.0
    machine.act = lambda: setattr(machine, 'ends_at', 200.0) or ()
    driven.run()
    assert machine.steps == 2


# -- polling --

def test_poll_comes_at_its_pace_and_belongs_to_no_websocket():
    driven = Driven(Machine())
    polls = []
    for second in range(100, 150):
        driven.clock.now = float(second)
        for websocket, event in driven.run(poll=10):
            polls.append((second, websocket, event.name))
    assert polls == [(second, None, 'poll') for second in (110, 120, 130, 140)]


def test_polls_that_a_slow_body_has_missed_are_not_made_up_for():
    driven = Driven(Machine())
    counts = []
    for now in (100.0, 135.0, 135.1, 144.0, 145.0):
        driven.clock.now = now
        counts.append(len(driven.run(poll=10)))
    assert counts == [0, 1, 0, 0, 1]


def test_poll_comes_without_any_member():
    driven = Driven()
    driven.run(poll=10)
    assert driven.multiplexer.time_left() == 10.0
    driven.clock.now += 10
    assert [event.name for _websocket, event in driven.run()] == ['poll']
    assert driven.multiplexer.time_left() == 10.0


def test_the_end_is_noticed_before_the_next_wait():
    driven = Driven()
    machine = Machine()
    finish_by(machine, 'the end')
    driven.add(machine)
    loop = driven.multiplexer.run(lambda: not len(driven.multiplexer), waits=False)
    assert [pair for pair in loop if pair != (None, None)] == [(machine, 'the end')]


def test_to_look_again_steps_all_and_asks_for_the_end_when_its_time_has_come():
    machines = [Machine() for _ in range(3)]
    driven = Driven(*machines)
    driven.run()
    driven.multiplexer.look_again(120.0)
    driven.run()
    assert [machine.steps for machine in machines] == [2, 2, 2]
    assert driven.multiplexer.time_left() == 20.0
    driven.clock.now = 120.0
    driven.run()
    assert driven.multiplexer.time_left() == NEVER


# -- descriptors --

@pytest.fixture
def pair():
    """Two connected sockets."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with closing(ours), closing(theirs):
        yield ours, theirs


@pytest.mark.parametrize('way', WAYS_HERE)
def test_a_machine_steps_when_its_descriptor_is_ready(way, pair):
    ours, theirs = pair
    machine = Machine()
    machine.interest = ((ours.fileno(), READ),)
    received = []
    machine.act = lambda: received.append(ours.recv(10)) or ()
    driven = Driven(machine, ways=(way,))
    machine.act, receive = lambda: (), machine.act
    driven.run()
    machine.act = receive
    theirs.send(b'x')
    driven.run()
    driven.run()
    assert received == [b'x']
    driven.end()


@pytest.mark.parametrize('way', WAYS_HERE)
def test_a_machine_that_wants_nothing_of_a_descriptor_does_not_step_when_that_breaks(way, pair):
    ours, theirs = pair
    machine = Machine()
    machine.interest = ((ours.fileno(), 0),)
    driven = Driven(machine, ways=(way,))
    driven.run()
    theirs.close()
    for _ in range(3):
        driven.run()
    assert machine.steps == 1
    machine.interest = ((ours.fileno(), READ),)     # it wants it again: it learns that at once
    machine.wake()
    driven.run()
    steps = machine.steps
    driven.run()
    assert machine.steps > steps
    driven.end()


@pytest.mark.parametrize('way', WAYS_HERE)
def test_a_number_that_another_machine_has_now_is_that_ones(way):
    """In one and the same round, one machine closes its descriptor, and another opens one."""
    old, new = socket.socketpair(), socket.socketpair()
    number = old[0].fileno()
    first, second = Machine(), Machine()
    first.interest = ((number, READ),)
    driven = Driven(first, second, ways=(way,))
    driven.run()

    def close_old():
        old[0].close()
        first.interest = ()
        return ()

    def open_new():
        os.dup2(new[0].fileno(), number)
        second.interest = ((number, READ),)
        second.act = lambda: ()
        return ()

    first.act, second.act = close_old, open_new
    old[1].send(b'x')
    first.wake()
    second.wake()
    driven.run()
    first.act = lambda: ()
    before = (first.steps, second.steps)
    driven.run()
    assert (first.steps, second.steps) == before
    new[1].send(b'x')
    driven.run()
    assert (first.steps, second.steps) == (before[0], before[1] + 1)
    first.wake()
    driven.multiplexer.remove(driven.members[0])    # it leaves the other's number alone
    driven.run()
    driven.run()
    assert second.steps > before[1] + 1
    driven.end()
    os.close(number)
    for sock in old + new:
        sock.close()


@pytest.mark.parametrize('way', WAYS_HERE)
def test_a_number_that_is_a_files_by_now_is_forgotten(way, tmpdir):
    ours, theirs = socket.socketpair()
    number = ours.fileno()
    machine = Machine()
    machine.interest = ((number, READ),)
    driven = Driven(machine, ways=(way,))
    driven.run()
    with tmpdir.join('file').open('w') as opened:
        ours.close()
        os.dup2(opened.fileno(), number)
        machine.interest = ()
        machine.wake()
        assert driven.run() == []
        assert driven.multiplexer.find(machine) is not None
        os.close(number)
    theirs.close()
    driven.end()


@pytest.mark.skipif('epoll' not in WAYS_HERE, reason='poll takes any number')
def test_a_descriptor_that_can_not_be_watched_fails_its_machine_and_no_other():
    closed = os.open(os.devnull, os.O_RDONLY)
    os.close(closed)
    broken, whole = Machine(), Machine(lambda: ['whole'])
    broken.interest = ((closed, READ),)
    driven = Driven(broken, whole)
    assert (whole, 'whole') in driven.run()
    assert len(broken.errors) == 1
    assert broken.disposed
    assert len(driven.multiplexer) == 1


# -- Ctrl-C --

class Connected(Machine):
    """A machine with a socket, that makes a few steps, and ends."""

    def __init__(self):
        super(Connected, self).__init__(lambda: ['event'])
        self.socks = ()

    def begin(self, wake):
        self.socks = socket.socketpair()
        self.interest = ((self.socks[0].fileno(), READ),)
        return super(Connected, self).begin(wake)

    def step(self):
        self.needs_step = self.steps < 3
        self.steps += 1
        self.deadline = self.now() + 10 - self.steps
        return self.act()

    def dispose(self):
        for sock in self.socks:
            sock.close()


def test_members_that_come_and_go_without_a_loop_leave_nothing():
    driven = Driven(Machine())
    for _ in range(100):
        driven.multiplexer.remove(driven.add(Machine()))
    driven.run()
    driven.is_over = True
    driven.run()
    for _ in range(100):
        driven.multiplexer.remove(driven.add(Machine()))
    assert len(driven.multiplexer.mail) == len(driven.multiplexer) == 0


def interrupt(moment):
    """Run a loop in which members come and go; return whether it was interrupted."""
    machines = [Connected() for _ in range(4)]
    driven = Driven(*machines)
    tracer = LineTracer([_multiplexer], moment, but='_end')
    loop = driven.multiplexer.run(lambda: False, poll=5, waits=False)
    try:
        with tracer:
            for count, (_websocket, event) in enumerate(loop):
                if count == 5:
                    finish_by(machines[0], 'the end')
                elif count == 7:
                    driven.multiplexer.remove(driven.members[1])
                elif count == 9:
                    machines[2].act = lambda: 1 // 0
                elif event is None:
                    driven.clock.now += 10
                    if count > 20:
                        break
    except KeyboardInterrupt:
        pass
    finally:
        loop.close()
    still_open = [machine for machine in machines for sock in machine.socks if is_open(sock)]
    for machine in machines:
        machine.dispose()
    assert still_open == []
    return tracer.has_acted


def is_open(sock):
    try:
        return sock.fileno() != -1
    except socket.error:        # on 2.7
        return False


@needs_proc
@needs_refcounts
def test_ctrl_c_at_any_line_leaves_nothing_open():
    gc.collect()        # of other tests
    before = count_descriptors()
    moment = 1
    while interrupt(moment):
        assert count_descriptors() == before, moment
        moment += 1
    assert moment > 100


def test_a_wait_is_ended_by_what_another_thread_has_the_driver_call():
    multiplexer = Multiplexer()
    is_called = threading.Event()
    loop = Background(lambda: list(multiplexer.run(is_called.is_set)))
    multiplexer.call(is_called.set)
    wait_for(is_called)
    loop.result()


def test_a_loop_that_was_held_up_says_so_once_in_a_minute(caplog):
    def act():
        machine.deadline = driven.clock() + 5
        return ()

    machine = Machine(act)
    driven = Driven(machine)
    for _round in range(3):
        driven.run()
        driven.clock.now += 7.5
    driven.run()
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert '2.5 s late' in warnings[0]
