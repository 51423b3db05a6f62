"""lomond.net.waiter: waiting by poll and by select, being woken, being interrupted."""

from __future__ import absolute_import, division, print_function

import select
import signal
import socket
import threading

import pytest

from lomond._compat import monotonic
from lomond.net import waiter as selectors
from lomond.net.waiter import READ, WRITE, wait
from lomond.net.waker import Waker

from ..support import PATIENCE

# A wait that ends by its timeout, in seconds; and how far clocks may be apart.
SHORT = 0.05
TICK = 0.02


@pytest.fixture(params=['poll', 'select'])
def way(request, monkeypatch):
    """Each of the two ways to wait: select is for where there is no poll."""
    if not hasattr(select, request.param):
        pytest.skip('this system has no ' + request.param)
    if request.param == 'select':
        monkeypatch.delattr(select, 'poll', raising=False)
    return request.param


@pytest.fixture
def wait_once(way):
    return selectors._wait_once


@pytest.fixture
def pair():
    """Two connected sockets."""
    pair = socket.socketpair()
    for sock in pair:
        sock.setblocking(False)
    yield pair
    for sock in pair:
        sock.close()


def fill(sock):
    """Send until there is no room."""
    try:
        while True:
            sock.send(b'x' * 65536)
    except socket.error:
        pass


# -- one wait, in both ways --

def test_nothing_is_ready_after_the_timeout(wait_once, pair):
    started = monotonic()
    assert wait_once(((pair[0].fileno(), READ),), SHORT) == []
    assert SHORT - TICK <= monotonic() - started < PATIENCE


def test_zero_timeout_only_looks(wait_once, pair):
    assert wait_once(((pair[0].fileno(), READ),), 0) == []


def test_received_bytes_make_ready_to_read(wait_once, pair):
    fd = pair[0].fileno()
    pair[1].send(b'x')
    assert wait_once(((fd, READ),), PATIENCE) == [(fd, READ)]


def test_room_makes_ready_to_write(wait_once, pair):
    fd = pair[0].fileno()
    assert wait_once(((fd, WRITE),), PATIENCE) == [(fd, WRITE)]


def test_both_are_told_in_one(wait_once, pair):
    fd = pair[0].fileno()
    pair[1].send(b'x')
    assert wait_once(((fd, READ | WRITE),), PATIENCE) == [(fd, READ | WRITE)]


@pytest.mark.parametrize('is_full, expected', [(True, READ), (False, WRITE)])
def test_only_what_is_ready_is_told(wait_once, pair, is_full, expected):
    fd = pair[0].fileno()
    if is_full:
        pair[1].send(b'x')
        fill(pair[0])
    assert wait_once(((fd, READ | WRITE),), PATIENCE) == [(fd, expected)]


def test_no_room_is_not_ready_to_write(wait_once, pair):
    fill(pair[0])
    assert wait_once(((pair[0].fileno(), WRITE),), SHORT) == []


def test_only_the_ready_one_of_several_is_told(wait_once, pair):
    fd, other = pair[0].fileno(), pair[1].fileno()
    pair[1].send(b'x')
    assert wait_once(((other, READ), (fd, READ)), PATIENCE) == [(fd, READ)]
    assert sorted(wait_once(((other, WRITE), (fd, READ)), PATIENCE)) == sorted(
        [(other, WRITE), (fd, READ)])


def test_end_of_the_peer_makes_ready_to_read(wait_once, pair):
    fd = pair[0].fileno()
    pair[1].close()
    (ready_fd, mask), = wait_once(((fd, READ),), PATIENCE)
    assert ready_fd == fd
    assert mask & READ


def test_end_of_the_peer_makes_a_writer_ready(wait_once, pair):
    """It has to find out, even if there is no room."""
    fill(pair[0])
    pair[1].close()
    (ready_fd, mask), = wait_once(((pair[0].fileno(), WRITE),), PATIENCE)
    assert ready_fd == pair[0].fileno()
    assert mask & WRITE


def test_refused_connection_makes_a_writer_ready(wait_once, dead_port):
    sock = socket.socket()
    try:
        sock.setblocking(False)
        sock.connect_ex(('127.0.0.1', dead_port))
        (ready_fd, mask), = wait_once(((sock.fileno(), WRITE),), PATIENCE)
        assert ready_fd == sock.fileno()
        assert mask & WRITE
    finally:
        sock.close()


# -- wait --

def test_wait_for_nothing_is_a_wait_for_time():
    assert wait((), SHORT) == []


@pytest.mark.parametrize('timeout', [None, float('inf')])
def test_wait_without_end_returns_when_something_is_ready(pair, timeout):
    fd = pair[0].fileno()
    assert wait(((fd, WRITE),), timeout) == [(fd, WRITE)]


@pytest.mark.parametrize('timeout', [2.0 ** 31 / 1000, 3e6, 1e9, 1e12, 1e300])
def test_very_long_wait_is_a_wait(pair, timeout):
    """poll and select count in C integers; a ping rate of 30 days is the user's right."""
    fd = pair[0].fileno()
    assert wait(((fd, WRITE),), timeout) == [(fd, WRITE)]


def test_very_long_wait_goes_on_until_something_is_ready(pair, monkeypatch):
    """One system call after the other: a signal may have come right before one of them."""
    def only_look(interest, timeout):
        asked.append(timeout)
        if len(asked) == 3:
            pair[1].send(b'x')
        return wait_once(interest, 0)
    asked = []
    fd = pair[0].fileno()
    wait_once = selectors._wait_once
    monkeypatch.setattr(selectors, '_wait_once', only_look)
    assert wait(((fd, READ),), None) == [(fd, READ)]
    assert len(asked) == 3
    assert 0.5 <= asked[0] == asked[2] <= 5


@pytest.mark.parametrize('timeout', [-0.001, -0.5, -1e9])
def test_deadline_that_has_passed_is_no_wait_without_end(pair, timeout):
    assert wait(((pair[0].fileno(), READ),), timeout) == []


def test_wait_of_any_length_in_both_ways(pair, way):
    fd = pair[0].fileno()
    assert wait(((fd, WRITE),), 1e300) == [(fd, WRITE)]
    assert wait(((fd, READ),), -1) == []


def test_poll_may_go_and_come_back_at_any_time(pair, monkeypatch):
    """As with monkey patching: no wait fails, whatever the one before it went by."""
    fd = pair[0].fileno()
    waker = Waker()
    try:
        for _round in range(2):
            for interest in (((fd, WRITE),), ((fd, WRITE),)):
                assert wait(interest, PATIENCE) == [(fd, WRITE)]
                waker.wait(interest, PATIENCE)
                monkeypatch.delattr(select, 'poll', raising=False)
            monkeypatch.undo()
    finally:
        waker.close()


def test_wait_goes_on_after_a_signal(pair, way):
    """On 2.7 a signal cuts the system call short with EINTR."""
    signals = []
    previous = signal.signal(signal.SIGALRM, lambda *_args: signals.append(1))
    signal.setitimer(signal.ITIMER_REAL, SHORT / 4, SHORT / 4)
    try:
        started = monotonic()
        assert wait(((pair[0].fileno(), READ),), 3 * SHORT) == []
        assert monotonic() - started >= 3 * SHORT - TICK
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert len(signals) >= 2


def test_wait_without_end_goes_on_after_a_signal(pair):
    def handler(*_args):
        signals.append(1)
        if len(signals) == 2:
            pair[1].send(b'x')
    signals = []
    fd = pair[0].fileno()
    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, SHORT / 4, SHORT / 4)
    try:
        assert wait(((fd, READ),), None) == [(fd, READ)]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert len(signals) >= 2


def test_what_a_signal_handler_raises_ends_the_wait(pair):
    """So does Ctrl-C."""
    def handler(*_args):
        raise KeyboardInterrupt
    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, SHORT / 4)
    try:
        with pytest.raises(KeyboardInterrupt):
            wait(((pair[0].fileno(), READ),), PATIENCE)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_what_is_no_interrupt_is_raised(pair, monkeypatch):
    def fail(_interest, _timeout):
        raise select.error(22, 'Invalid argument')
    monkeypatch.setattr(selectors, '_wait_once', fail)
    with pytest.raises(select.error):
        wait((), 0)


# -- Waker --

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


def test_wait_of_a_waker_forgets_the_wake_that_ended_it(waker, pair):
    interest = ((pair[0].fileno(), READ),)
    waker.wake()
    waker.wait(interest, PATIENCE)
    assert wait((waker.interest,), 0) == []


def test_wait_of_a_waker_ends_when_something_is_ready(waker, pair, way):
    """Whether it is what it waited for the last time, or something else."""
    started = monotonic()
    pair[1].send(b'x')
    to_read = ((pair[0].fileno(), READ),)
    waker.wait(to_read, PATIENCE)
    waker.wait(to_read, None)
    waker.wait([(pair[0].fileno(), WRITE)], PATIENCE)
    waker.wait(to_read, PATIENCE)
    assert monotonic() - started < PATIENCE
    pair[0].recv(1)
    waker.wait(to_read, 0)
    waker.wait(to_read, SHORT)
    assert monotonic() - started >= SHORT - TICK


def test_signal_whose_handler_returns_does_no_harm_to_the_wait_of_a_waker(waker, pair):
    """It may end it early, and does on 2.7."""
    def handler(*_args):
        signals.append(1)
        if len(signals) == 3:
            pair[1].send(b'x')
    signals = []
    interest = ((pair[0].fileno(), READ),)
    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, SHORT / 4, SHORT / 4)
    try:
        while not wait(interest, 0):
            waker.wait(interest, PATIENCE)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert len(signals) >= 3


def test_wait_of_a_waker_that_fails_says_so(waker, pair, monkeypatch):
    def fail(_timeout):
        raise select.error(22, 'Invalid argument')

    monkeypatch.setattr('lomond.net.waker.prepare', lambda interest: fail)
    with pytest.raises(select.error):
        waker.wait(((pair[0].fileno(), READ),), PATIENCE)


def test_wake_never_waits_for_room(waker):
    for _ in range(100):
        fill(waker._writer)
        waker.wake()
    assert wait((waker.interest,), 0) == [waker.interest]


def test_wake_and_clear_after_close_are_harmless(waker):
    waker.close()
    waker.wake()
    waker.clear()
    waker.close()
