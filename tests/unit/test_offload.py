"""lomond.net.offload: a call that blocks, waited for step by step, left alone if need be."""

from __future__ import absolute_import, division, print_function

import errno
import gc
import os
import socket
import threading
import weakref

import pytest

from lomond._compat import monotonic
from lomond.net.offload import MAX_ABANDONED, offload
from lomond.net.steps import Wait
from lomond.net.waiter import wait

from ..shortages import few_descriptors, no_threads
from ..support import PATIENCE, drive


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
    """Begin; return the steps, of which the first is done."""
    steps = offload(call, monotonic() + timeout, **options)
    assert isinstance(next(steps), Wait)
    return steps


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
        barrier = threading.Event()

        def call(barrier=barrier):
            barrier.wait(PATIENCE)
            return 'result'

        steps = start(call, discard=discarded.append)
        threads = [thread for thread in threading.enumerate() if thread.name == 'lomond call']
        barrier.set()
        taken = []
        if round_number % 2:
            step = next(steps)
            if not isinstance(step, Wait):
                taken.append(step)
        steps.close()
        for thread in threads:
            thread.join(PATIENCE)
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


@pytest.mark.parametrize('end', ['result', ValueError('v')])
@pytest.mark.parametrize('is_abandoned', [False, True])
def test_nothing_is_left_for_the_collector(end, is_abandoned):
    class Held(object):
        """What the call holds."""

    held = Held()
    is_gone = weakref.ref(held)
    may_end = threading.Event()

    def make_call(_held):
        def call():
            may_end.wait(PATIENCE)
            if isinstance(end, Exception):
                raise end
            return end
        return call

    gc.collect()
    gc.disable()
    try:
        steps = start(make_call(held))
        thread, = [thread for thread in threading.enumerate() if thread.name == 'lomond call']
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
