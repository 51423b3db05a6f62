"""The lock of which a forked child gets its own, and the one that Python code is safe to use."""

from __future__ import absolute_import, division, print_function

import itertools

import pytest
import six

from lomond import _compat
from lomond import _locks as locks
from lomond._compat import SteppedRLock
from lomond._locks import ProcessLock
from tests.network.driving import Background
from tests.tracing import LineTracer


def test_it_is_one_lock_in_one_process():
    lock = ProcessLock()
    assert lock() is lock()
    with lock():
        assert not Background(lock().acquire, False).result()
        with lock():
            pass
    assert Background(lock().acquire, False).result()


@pytest.mark.skipif(not six.PY2, reason='later ones use a lock in C: for 2.7 there is none')
@pytest.mark.parametrize('depth', [0, 1])
def test_an_acquire_that_is_interrupted_leaves_the_lock_as_it_was(depth):
    lock = SteppedRLock()
    for moment in itertools.count(1):
        for _ in range(depth):
            lock.acquire()
        tracer = LineTracer([_compat], moment)
        try:
            with tracer:
                lock.acquire()
        except KeyboardInterrupt:
            pass
        else:
            lock.release()
        for _ in range(depth):
            lock.release()
        assert Background(acquire_and_release, lock).result(), moment
        if not tracer.has_acted:
            break
    assert moment > 5


def acquire_and_release(lock):
    is_mine = lock.acquire(False)
    if is_mine:
        lock.release()
    return is_mine


def test_a_signal_handler_that_comes_first_has_the_same(monkeypatch):
    """It may come while its own thread makes the lock."""
    def make_lock():
        if not in_handler:
            in_handler.append(None)
            in_handler[0] = lock()
        return real_lock()

    in_handler = []
    real_lock = locks.RLock
    lock = ProcessLock()
    monkeypatch.setattr(locks, 'RLock', make_lock)
    found = lock()
    assert found is in_handler[0]
    assert lock() is found


def test_a_child_has_another(monkeypatch):
    lock = ProcessLock()
    own = lock()
    with own:
        monkeypatch.setattr(locks.os, 'getpid', lambda: -1)
        assert lock() is lock()
        assert lock() is not own
        with lock():
            pass


def test_all_threads_of_a_child_have_the_same(monkeypatch):
    """Also if two ask for it at once, for the first time."""
    def make_lock():
        if not others:
            others.append(None)
            others[0] = Background(lock).result()
        return real_lock()

    others = []
    real_lock = locks.RLock
    lock = ProcessLock()
    monkeypatch.setattr(locks.os, 'getpid', lambda: -1)
    monkeypatch.setattr(locks, 'RLock', make_lock)
    found = lock()
    assert found is others[0]
    assert lock() is found
