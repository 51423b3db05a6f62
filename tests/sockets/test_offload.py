"""lomond.net.offload: a call that blocks, waited for step by step, and abandoned if need be.

And lomond.net.workers: the threads that make these calls are few.
"""

from __future__ import absolute_import, division, print_function

import errno
import functools
import gc
import os
import socket
import subprocess
import sys
import threading
import weakref

import pytest

import lomond
from lomond._compat import monotonic
from lomond.net.offload import MAX_ABANDONED, offload
from lomond.net.steps import Wait
from lomond.net.waiter import wait
from lomond.net.workers import MAX_WORKERS, Workers

from ..shortages import few_descriptors, no_threads
from ..support import PATIENCE, drive, needs_refcounts


class Call(object):
    """A call that blocks until it is told what to return, or what to raise."""

    def __init__(self):
        self.has_begun = threading.Event()
        self.has_ended = threading.Event()
        self.thread = None
        self._may_end = threading.Event()
        self._result = None

    def __call__(self):
        self.thread = threading.current_thread()
        self.has_begun.set()
        assert self._may_end.wait(PATIENCE)
        try:
            if isinstance(self._result, BaseException):
                raise self._result
            return self._result
        finally:
            self.has_ended.set()

    def end(self, result):
        self._result = result
        self._may_end.set()

    def join(self):
        """Wait until its thread is gone."""
        assert self.has_begun.wait(PATIENCE)
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


@pytest.fixture
def call():
    call = Call()
    yield call
    call.end(None)
    if call.has_begun.is_set():
        call.join()


def start(call, timeout=PATIENCE, **options):
    """Begin; return the steps, of which the first is done. A thread is making the call."""
    steps = submit(call, timeout, **options)
    assert call.has_begun.wait(PATIENCE)
    return steps


def submit(call, timeout=PATIENCE, **options):
    """Begin; return the steps, of which the first is done. The call may wait for a thread."""
    steps = offload(call, monotonic() + timeout, **options)
    assert isinstance(next(steps), Wait)
    return steps


ROOT = os.path.dirname(os.path.dirname(os.path.abspath(lomond.__file__)))


def count_descriptors():
    return len(os.listdir('/proc/self/fd')) if os.path.isdir('/proc/self/fd') else 0


# -- results --

def test_result_is_the_last_step(call):
    steps = start(call)
    assert isinstance(next(steps), Wait)    # the driver may be woken for another reason
    call.end('result')
    assert drive(steps) == 'result'


def test_wait_ends_when_the_call_does(call):
    steps = offload(call, monotonic() + PATIENCE)
    step = next(steps)
    assert not wait(step.interest, 0)
    call.end('result')
    assert wait(step.interest, PATIENCE)
    assert list(steps) == ['result']


@pytest.mark.parametrize('result', [None, [], 0, Wait])
def test_any_result_will_do(call, result):
    steps = start(call)
    call.end(result)
    assert drive(steps) is result


def test_nothing_is_started_before_the_first_step():
    calls = []
    offload(lambda: calls.append(1), monotonic()).close()
    assert calls == []


@pytest.mark.parametrize('error', [
    ValueError('v'), socket.gaierror(-2, 'unknown'), KeyboardInterrupt(), SystemExit(3)])
def test_error_is_raised_in_the_loop(call, error):
    steps = start(call)
    call.end(error)
    with pytest.raises(type(error)) as caught:
        drive(steps)
    assert caught.value is error


def test_end_of_an_iterator_is_an_error_like_another(call):
    """Raised in a generator, StopIteration would only end it."""
    steps = start(call)
    call.end(StopIteration('no more'))
    with pytest.raises(RuntimeError) as caught:
        drive(steps)
    assert 'no more' in str(caught.value)


# -- the deadline --

def test_deadline_ends_the_wait_and_leaves_the_call_alone(call):
    discarded = []
    steps = start(call, timeout=0.05, discard=discarded.append)
    with pytest.raises(socket.timeout):
        drive(steps)
    assert not call.has_ended.is_set()
    assert discarded == []
    call.end('late')
    call.join()
    assert discarded == ['late']


def test_result_that_is_there_at_the_deadline_counts(call):
    steps = start(call, timeout=0.05)
    call.end('result')
    call.join()
    assert drive(steps) == 'result'
    steps = offload(lambda: 'result', monotonic() - 1)
    try:
        step = next(steps)
        while isinstance(step, Wait):
            wait(step.interest, PATIENCE)
            step = next(steps)
        assert step == 'result'
    except socket.timeout:
        pass    # it wasn't there yet
    steps.close()


# -- left alone --

def test_closing_does_not_wait_and_discards_what_comes_later(call):
    discarded = []
    steps = start(call, discard=discarded.append)
    steps.close()
    assert not call.has_ended.is_set()
    call.end('late')
    call.join()
    assert discarded == ['late']


def test_closing_discards_what_nobody_took(call):
    discarded = []
    steps = start(call, discard=discarded.append)
    call.end('result')
    call.join()
    steps.close()
    assert discarded == ['result']


def test_what_was_taken_is_not_discarded(call):
    discarded = []
    steps = start(call, discard=discarded.append)
    call.end('result')
    assert drive(steps) == 'result'
    steps.close()
    assert discarded == []


@pytest.mark.parametrize('late', [None, ValueError('too late'), KeyboardInterrupt()])
def test_nothing_and_errors_are_not_discarded(call, late, capfd):
    discarded = []
    start(call, discard=discarded.append).close()
    call.end(late)
    call.join()
    assert discarded == []
    assert capfd.readouterr() == ('', '')


def test_error_of_discard_is_nobodys(call, capfd):
    def discard(_result):
        raise ValueError('closed already')
    steps = start(call, discard=discard)
    call.end('result')
    call.join()
    steps.close()
    assert capfd.readouterr() == ('', '')


def test_result_is_taken_or_discarded_exactly_once():
    """The end of the call and that of the wait meet, now the one first and now the other."""
    for round_number in range(100):
        discarded = []
        call = Call()
        steps = start(call, discard=discarded.append)
        call.end('result')
        taken = []
        if round_number % 2:
            step = next(steps)
            if not isinstance(step, Wait):
                taken.append(step)
        steps.close()
        call.join()
        assert len(taken) + len(discarded) == 1


def test_no_descriptor_is_left(call):
    before = count_descriptors()
    for _ in range(3):
        start(call).close()
    assert count_descriptors() == before
    steps = start(call)
    call.end('result')
    assert drive(steps) == 'result'
    assert count_descriptors() == before


@needs_refcounts
@pytest.mark.parametrize('end', ['result', ValueError('v')])
@pytest.mark.parametrize('is_abandoned', [False, True])
def test_nothing_is_left_for_the_collector(end, is_abandoned):
    class Held(object):
        """What the call holds."""

    held = Held()
    is_gone = weakref.ref(held)
    has_begun, may_end, threads = threading.Event(), threading.Event(), []

    def make_call(_held):
        def call():
            threads.append(threading.current_thread())
            has_begun.set()
            may_end.wait(PATIENCE)
            if isinstance(end, Exception):
                raise end
            return end
        return call

    gc.collect()
    gc.disable()
    try:
        steps = submit(make_call(held))
        assert has_begun.wait(PATIENCE)
        thread = threads.pop()
        del held
        if is_abandoned:
            steps.close()
        may_end.set()
        thread.join(PATIENCE)
        try:
            drive(steps)
        except ValueError as error:
            error.__traceback__ = None
        del steps, thread
        assert is_gone() is None
    finally:
        gc.enable()
        end = None


def test_calls_that_never_return_are_not_many():
    """Otherwise each attempt would cost another thread."""
    abandoned = []
    calls = [Call() for _ in range(MAX_ABANDONED)]
    for call in calls:
        start(call, abandoned=abandoned).close()
    assert len(abandoned) == MAX_ABANDONED
    with pytest.raises(socket.error) as caught:
        next(offload(Call(), monotonic() + PATIENCE, abandoned=abandoned))
    assert 'earlier calls' in str(caught.value)
    for call in calls:
        call.end('late')
        call.join()
    assert abandoned == []
    call = Call()
    steps = start(call, abandoned=abandoned)
    call.end('result')
    assert drive(steps) == 'result'
    assert abandoned == []


# -- threads --

def test_thread_does_not_keep_the_program_alive(call):
    steps = start(call)
    assert call.has_begun.wait(PATIENCE)
    assert call.thread.daemon
    assert call.thread is not threading.current_thread()
    steps.close()


@pytest.mark.parametrize('is_over', [False, True])
def test_ctrl_c_while_a_thread_begins_comes_through(call, monkeypatch, is_over):
    """A start() waits for its thread to begin, and makes an error of its own of what interrupts it.

    Now and then, and nothing can force it to; the thread is there all the same.
    """
    def start_and_fail(thread):
        start_thread(thread)
        assert call.has_begun.wait(PATIENCE)
        if is_over:
            call.end('result')
            call.join()
        try:
            raise KeyboardInterrupt
        finally:
            threading.Lock().release()

    start_thread = threading.Thread.start
    monkeypatch.setattr(threading.Thread, 'start', start_and_fail)
    discarded = []
    before = count_descriptors()
    with pytest.raises(KeyboardInterrupt):
        next(offload(call, monotonic() + PATIENCE, discard=discarded.append))
    assert count_descriptors() == before
    call.end('result')
    call.join()
    assert discarded == ['result']


def refuse(code, words):
    """Begin calls that can't be made: one more than may be left to themselves."""
    calls, abandoned = [], []
    for _ in range(MAX_ABANDONED + 1):
        with pytest.raises(socket.error) as caught:
            next(offload(lambda: calls.append(1), monotonic() + PATIENCE, abandoned=abandoned))
        assert caught.value.errno == code
        assert words in str(caught.value)
    assert calls == []
    assert abandoned == []


def test_call_is_not_made_in_the_loop_where_no_thread_starts():
    """It would block the loop, deadline or not."""
    before = count_descriptors()
    with no_threads():
        refuse(errno.EAGAIN, 'ulimit -u')
    assert count_descriptors() == before


@pytest.mark.parametrize('count', [0, 1, 2])
def test_call_is_not_made_without_a_descriptor_for_it(count):
    """Two tell of its end. And one is for the call, which may say something else without it."""
    before = count_descriptors()
    with few_descriptors(count):
        refuse(errno.EMFILE, 'Too many open files')
    assert count_descriptors() == before


# -- few threads --

def count_threads():
    return sum(thread.name == 'lomond call' for thread in threading.enumerate())


@pytest.fixture
def two_workers(monkeypatch):
    """Have calls made by two threads at most."""
    workers = Workers(2)
    monkeypatch.setattr('lomond.net.offload.shared_workers', workers)
    return workers


@pytest.fixture
def busy(two_workers):
    """Two calls that keep both threads, and the steps that wait for them."""
    calls = [Call(), Call()]
    steps = [start(call) for call in calls]
    yield calls
    for call, waiting in zip(calls, steps):
        call.end(None)
        call.join()
        waiting.close()


def test_many_calls_at_once_are_made_by_few_threads():
    """In the order they came, and each gets its own result."""
    may_end, begun, threads = threading.Event(), [], set()

    def call(number):
        begun.append(number)
        threads.add(threading.current_thread())
        assert may_end.wait(PATIENCE)
        return number

    count = 4 * MAX_WORKERS
    before = count_threads()
    steps = [submit(functools.partial(call, number)) for number in range(count)]
    try:
        assert count_threads() <= before + MAX_WORKERS
    finally:
        may_end.set()
    assert [drive(waiting) for waiting in steps] == list(range(count))
    assert sorted(begun) == list(range(count))
    assert len(threads) <= MAX_WORKERS
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_a_call_waits_for_a_thread_that_is_free(busy, call):
    steps = submit(call)
    assert not call.has_begun.is_set()
    busy[1].end(None)
    assert call.has_begun.wait(PATIENCE)
    assert call.thread is busy[1].thread
    call.end('result')
    assert drive(steps) == 'result'


@needs_refcounts
@pytest.mark.parametrize('is_collected', [False, True])
def test_a_call_that_was_abandoned_in_its_turn_is_never_made(busy, is_collected):
    """And what it holds is let go at once, though the threads may be busy for long."""
    made, abandoned = [], []

    class Held(object):
        """What the call holds."""

    held = Held()
    is_gone = weakref.ref(held)
    steps = submit(functools.partial(made.append, held), abandoned=abandoned)
    del held
    if is_collected:
        del steps
    else:
        steps.close()
        del steps
    assert is_gone() is None
    assert abandoned == []
    call = Call()
    other = submit(call)
    busy[0].end(None)
    call.end('result')
    assert drive(other) == 'result'
    assert made == []


def test_the_deadline_counts_while_a_call_waits_for_its_turn(busy):
    """It says so: the call itself did nothing wrong."""
    made, abandoned = [], []
    for _again in range(MAX_ABANDONED + 1):
        steps = submit(lambda: made.append(1), timeout=0.01, abandoned=abandoned)
        with pytest.raises(socket.error) as caught:
            drive(steps)
        assert caught.value.errno == errno.EAGAIN
        assert 'all 2 threads' in str(caught.value)
    assert abandoned == []
    assert made == []


def test_where_no_more_threads_start_a_call_waits_for_those_that_are_there(two_workers, call):
    """One is enough."""
    first = Call()
    waiting = start(first)
    with no_threads():
        steps = submit(call)
    first.end('first')
    call.end('second')
    assert drive(waiting) == 'first'
    assert drive(steps) == 'second'
    assert call.thread is first.thread


def test_calls_that_come_while_threads_end_are_made(two_workers):
    """A thread looks for a call, finds none, and ends: one that comes then gets another thread."""
    for number in range(300):
        assert drive(offload(lambda number=number: number, monotonic() + PATIENCE)) == number
    several = [offload(lambda: 1, monotonic() + PATIENCE) for _ in range(200)]
    for steps in several:
        if not isinstance(next(steps), Wait):
            steps.close()
    assert {drive(steps) for steps in several} <= {1, None}


def test_a_thread_that_may_not_have_begun_for_ctrl_c_takes_no_place(two_workers, monkeypatch):
    """Whether it begins after all or not."""
    def fail_before(thread):
        raise KeyboardInterrupt

    def fail_after(thread):
        thread_start(thread)
        raise KeyboardInterrupt

    thread_start = threading.Thread.start
    for fail in (fail_before, fail_after) * 2:
        monkeypatch.setattr(threading.Thread, 'start', fail)
        with pytest.raises(KeyboardInterrupt):
            next(offload(lambda: 'result', monotonic() + PATIENCE))
    monkeypatch.setattr(threading.Thread, 'start', thread_start)
    calls = [Call(), Call()]
    steps = [start(call) for call in calls]
    for call in calls:
        call.end('result')
    assert [drive(waiting) for waiting in steps] == ['result'] * 2


# -- forks and the end of the program --

PROGRAM = """
import os, signal, socket, sys, threading, warnings
from lomond._compat import monotonic
from lomond.net.offload import MAX_ABANDONED, offload
from lomond.net.steps import Wait
from lomond.net.waiter import wait
from lomond.net.workers import MAX_WORKERS

warnings.simplefilter('ignore', DeprecationWarning)     # 3.12: forks with threads may hang

def drive(steps):
    for step in steps:
        if isinstance(step, Wait):
            wait(step.interest, step.deadline - monotonic())
    return step

def stay():
    begun.append(os.getpid())
    may_end.wait(60)

begun, may_end, abandoned = [], threading.Event(), []
deadline = monotonic() + {patience}
waiting = [offload(stay, deadline, None, abandoned) for _ in range({count})]
for steps in waiting:
    next(steps)
"""


def run_program(program, **values):
    process = subprocess.Popen(
        [sys.executable, '-c', program.format(**values)], cwd=ROOT, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, universal_newlines=True)
    output = process.communicate()[0]
    assert process.returncode == 0, output
    return output


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='there is no fork here')
def test_a_forked_child_begins_with_no_threads_and_no_calls():
    """Its parent's are all busy, and more wait; it counts none of them as its own."""
    assert run_program(PROGRAM + """
for steps in waiting[:MAX_ABANDONED]:
    steps.close()
child = os.fork()
if child == 0:
    signal.alarm({patience})
    for steps in waiting:
        steps.close()
    assert drive(offload(os.getpid, deadline, None, abandoned)) == os.getpid()
    assert os.getpid() not in begun
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
try:
    next(offload(stay, deadline, None, abandoned))
except socket.error as error:
    assert 'earlier calls' in str(error), error
may_end.set()
for steps in waiting[MAX_ABANDONED:]:
    drive(steps)
assert len(begun) == len(waiting), len(begun)
print('done')
""", count='MAX_WORKERS + 5', patience=int(PATIENCE)) == 'done\n'


@pytest.mark.parametrize('end', ['', 'for steps in waiting: steps.close()', 'may_end.set()'])
def test_a_program_ends_while_calls_go_on_and_others_wait(end):
    """No thread keeps it, and none says anything as it goes."""
    assert run_program(PROGRAM + end, count='MAX_WORKERS + 5', patience=int(PATIENCE)) == ''
