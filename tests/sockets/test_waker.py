"""lomond.net.waker: a wait is ended from another thread, at any moment, and in any number."""

from __future__ import absolute_import, division, print_function

import select
import signal
import threading

import pytest

from lomond.net.waiter import READ, WAYS, Waiter, wait
from lomond.net.waker import Waker

from ..support import PATIENCE, socket_at


@pytest.fixture
def waker():
    waker = Waker()
    yield waker
    waker.close()


def test_waker_is_silent_at_first(waker):
    assert wait((waker.interest,), 0) == []


def test_wake_from_another_thread_ends_a_wait(waker):
    thread = threading.Thread(target=waker.wake)
    thread.start()
    try:
        assert wait((waker.interest,), PATIENCE) == [waker.interest]
    finally:
        thread.join()


@pytest.mark.skipif(not hasattr(signal, 'setitimer'), reason='there is no setitimer here')
@pytest.mark.parametrize('way', WAYS)
def test_wake_in_a_signal_handler_of_the_waiting_thread_ends_the_wait(waker, way):
    """The handler alone doesn't: Python 3 waits on, for the time that is left."""
    if not hasattr(select, way):
        pytest.skip('this system has no ' + way)
    waiter = Waiter([way])
    waiter.watch(*waker.interest)
    before = signal.signal(signal.SIGALRM, lambda *_args: waker.wake())
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    try:
        found = []
        while not found:
            found = waiter.wait(None)
        assert found == [waker.interest]
    finally:
        signal.signal(signal.SIGALRM, before)
        waiter.close()


def test_wake_before_the_wait_is_not_lost(waker):
    waker.wake()
    assert wait((waker.interest,), 0) == [waker.interest]
    assert wait((waker.interest,), 0) == [waker.interest]


def test_clear_forgets_all_wakes(waker):
    for _ in range(3000):
        waker.wake()
    waker.clear()
    assert wait((waker.interest,), 0) == []
    waker.clear()
    waker.wake()
    assert wait((waker.interest,), 0) == [waker.interest]


def test_wake_never_waits_for_a_full_buffer(waker):
    wakes = 20000
    for _ in range(wakes):
        waker.wake()
    assert wait((waker.interest,), 0) == [waker.interest]
    with socket_at(waker.interest[0]) as sock:
        assert len(sock.recv(wakes)) < wakes    # it was full


def test_wake_and_clear_after_close_are_harmless(waker):
    waker.close()
    waker.wake()
    waker.clear()
    waker.close()


def test_it_is_watched_like_another_descriptor(waker):
    waiter = Waiter()
    waiter.watch(*waker.interest)
    assert waiter.wait(0) == []
    for _again in range(2):
        waker.wake()
        assert waiter.wait(PATIENCE) == [waker.interest]
        waker.clear()
        assert waiter.wait(0) == []
    assert waker.interest[1] == READ
    waiter.close()
