"""lomond.net.waiter: each way to wait, on real sockets; signals, forks, monkey patching."""

from __future__ import absolute_import, division, print_function

import errno
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import timeit
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lomond
from lomond._compat import monotonic
from lomond.net.waiter import READ, WAYS, WAYS_FOR_FEW, WRITE, Waiter, check_limit, wait

from ..support import PATIENCE
from .queues import install_kqueue

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(lomond.__file__)))

# A wait that ends by its timeout, in seconds; and how far clocks may be apart.
SHORT = 0.05
TICK = 0.02


@pytest.fixture(params=['poll', 'select'])
def way(request, monkeypatch):
    """Each of the two ways of `wait`: select is for where there is no poll."""
    if not hasattr(select, request.param):
        pytest.skip('this system has no ' + request.param)
    if request.param == 'select':
        monkeypatch.delattr(select, 'poll', raising=False)
    return request.param


def make_waiter(way, monkeypatch):
    """Return a waiter that goes a way; by a kqueue of the tests' own where the system has none."""
    if way == 'kqueue':
        install_kqueue(monkeypatch)
    if not hasattr(select, way):
        pytest.skip('this system has no ' + way)
    waiter = Waiter([way])
    assert waiter.way == way
    return waiter


@pytest.fixture(params=WAYS)
def waiter(request, monkeypatch):
    """A waiter of each way."""
    waiter = make_waiter(request.param, monkeypatch)
    yield waiter
    waiter.close()


@pytest.fixture(params=('wait by poll', 'wait by select') + WAYS)
def wait_once(request, monkeypatch):
    """A function that waits once, for an interest and a time: `wait`, or a `Waiter`'s."""
    if request.param.startswith('wait'):
        if request.param == 'wait by select':
            monkeypatch.delattr(select, 'poll', raising=False)
        yield wait
        return

    def wait_by_waiter(interest, timeout):
        waiter.watch_only(interest)
        return waiter.wait(timeout)

    waiter = make_waiter(request.param, monkeypatch)
    yield wait_by_waiter
    waiter.close()


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
    """Send until the buffer is full."""
    try:
        while True:
            sock.send(b'x' * 65536)
    except socket.error:
        pass


# -- one wait, each way --

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


def test_free_space_makes_ready_to_write(wait_once, pair):
    fd = pair[0].fileno()
    assert wait_once(((fd, WRITE),), PATIENCE) == [(fd, WRITE)]


def test_both_are_found_in_one(wait_once, pair):
    fd = pair[0].fileno()
    pair[1].send(b'x')
    assert wait_once(((fd, READ | WRITE),), PATIENCE) == [(fd, READ | WRITE)]


@pytest.mark.parametrize('is_full, expected', [(True, READ), (False, WRITE)])
def test_only_what_is_ready_is_found(wait_once, pair, is_full, expected):
    fd = pair[0].fileno()
    if is_full:
        pair[1].send(b'x')
        fill(pair[0])
    assert wait_once(((fd, READ | WRITE),), PATIENCE) == [(fd, expected)]


def test_a_full_buffer_is_not_ready_to_write(wait_once, pair):
    fill(pair[0])
    assert wait_once(((pair[0].fileno(), WRITE),), SHORT) == []


def test_only_the_ready_one_of_several_is_found(wait_once, pair):
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
    """It has to find out, even if the send buffer is full."""
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


# -- spinning before a wait --

class Ticks(object):
    """A clock for a spin: each reading is a quarter of a second later, or no later at all.

    Before the third reading ``on_third`` is called.
    """

    def __init__(self, step=0.25, on_third=None):
        self.readings = 0
        self._step = step
        self._on_third = on_third

    def __call__(self):
        self.readings += 1
        if self.readings == 3 and self._on_third is not None:
            self._on_third()
        return self.readings * self._step


@pytest.mark.parametrize('timeout, spin, questions', [
    (1 + SHORT, 1, 4), (1 + SHORT, 0.5, 2), (0.5, 1, 2), (0, 1, 1)])
def test_a_spin_ends_with_its_time_or_with_the_timeout(
        waiter, pair, monkeypatch, timeout, spin, questions):
    ticks = Ticks()
    monkeypatch.setattr('lomond.net.waiter.fine_clock', ticks)
    waiter.watch(pair[0].fileno(), READ)
    assert waiter.wait(timeout, spin) == []
    assert ticks.readings == 1 + questions


def test_a_spin_ends_as_soon_as_something_is_ready(waiter, pair, monkeypatch):
    ticks = Ticks(0, lambda: pair[1].send(b'x'))
    monkeypatch.setattr('lomond.net.waiter.fine_clock', ticks)
    fd = pair[0].fileno()
    waiter.watch(fd, READ)
    assert waiter.wait(None, 1) == [(fd, READ)]
    assert ticks.readings == 3


def test_what_a_signal_handler_raises_ends_a_spin(waiter, pair, monkeypatch):
    def handler(*_args):
        raise KeyError('from the handler')

    monkeypatch.setattr('lomond.net.waiter.fine_clock', Ticks(
        0, lambda: os.kill(os.getpid(), signal.SIGALRM)))
    waiter.watch(pair[0].fileno(), READ)
    previous = signal.signal(signal.SIGALRM, handler)
    try:
        with pytest.raises(KeyError):
            waiter.wait(None, 1)
    finally:
        signal.signal(signal.SIGALRM, previous)


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
    def only_look(readers, writers, failed, timeout):
        asked.append(timeout)
        if len(asked) == 3:
            pair[1].send(b'x')
        return system_call(readers, writers, failed, 0)
    asked = []
    fd = pair[0].fileno()
    system_call = select.select
    monkeypatch.delattr(select, 'poll', raising=False)
    monkeypatch.setattr(select, 'select', only_look)
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
    def fail(*_args):
        raise select.error(22, 'Invalid argument')
    monkeypatch.delattr(select, 'poll', raising=False)
    monkeypatch.setattr(select, 'select', fail)
    with pytest.raises(select.error):
        wait(((pair[0].fileno(), READ),), 0)


# Seconds of every kind that are no reason to wait here: they have passed, or something is ready.
PASSED = (
    st.floats(max_value=0) | st.integers(max_value=0)
    | st.sampled_from([float('nan'), -float('inf'), -0.0, -10 ** 400]))
TO_COME = (
    st.none() | st.floats(min_value=0) | st.integers(min_value=0)
    | st.sampled_from([float('inf'), 5e-324, 1e300, 10 ** 400]))


@settings(deadline=None, database=None, derandomize=True)
@given(PASSED, TO_COME)
def test_every_timeout_is_one(timeout_that_passed, timeout_to_come):
    """With each way: no wait goes on for a time that has passed, and none raises."""
    near, far = socket.socketpair()
    fd = near.fileno()
    ways = [way for way in WAYS if hasattr(select, way)]
    waiters = [Waiter([way]) for way in ways]
    try:
        for waiter in waiters:
            waiter.watch(fd, READ)
        assert wait([(fd, READ)], timeout_that_passed) == []
        for waiter in waiters:
            assert waiter.wait(timeout_that_passed) == []
        far.send(b'x')
        assert wait([(fd, READ)], timeout_to_come) == [(fd, READ)]
        for waiter in waiters:
            assert waiter.wait(timeout_to_come) == [(fd, READ)]
    finally:
        for each in waiters + [near, far]:
            each.close()


@settings(deadline=None, database=None, derandomize=True)
@given(st.floats(max_value=0.003))
def test_every_short_wait_ends(timeout):
    near, far = socket.socketpair()
    try:
        for way in WAYS:
            if hasattr(select, way):
                waiter = Waiter([way])
                waiter.watch(near.fileno(), READ)
                assert waiter.wait(timeout) == []
                waiter.close()
        assert wait([(near.fileno(), READ)], timeout) == []
    finally:
        for sock in (near, far):
            sock.close()


# -- a set of descriptors that changes --

def ready(waiter, timeout=0):
    return sorted(waiter.wait(timeout))


def test_an_empty_set_is_a_wait_for_time(waiter):
    started = monotonic()
    assert waiter.wait(SHORT) == []
    assert monotonic() - started >= SHORT - TICK


def test_what_is_watched_is_waited_for_until_it_is_forgotten(waiter, pair):
    one, other = pair[0].fileno(), pair[1].fileno()
    waiter.watch(one, WRITE)
    waiter.watch(other, WRITE)
    assert ready(waiter, PATIENCE) == sorted([(one, WRITE), (other, WRITE)])
    assert ready(waiter, PATIENCE) == sorted([(one, WRITE), (other, WRITE)])
    waiter.forget(one)
    assert ready(waiter, PATIENCE) == [(other, WRITE)]
    waiter.forget(other)
    assert ready(waiter) == []
    waiter.watch(one, WRITE)
    assert ready(waiter, PATIENCE) == [(one, WRITE)]


@pytest.mark.parametrize('masks', [
    (READ, WRITE), (WRITE, READ), (READ | WRITE, READ), (READ | WRITE, WRITE),
    (READ, READ | WRITE), (WRITE, READ | WRITE), (WRITE, WRITE)])
def test_what_is_watched_again_is_waited_for_as_it_says_last(waiter, pair, masks):
    fd = pair[0].fileno()
    pair[1].send(b'x')
    for mask in masks:
        waiter.watch(fd, mask)
    assert ready(waiter, PATIENCE) == [(fd, masks[-1])]
    waiter.forget(fd)
    assert ready(waiter) == []


def test_forgetting_what_is_not_watched_is_harmless(waiter, pair):
    fd = pair[0].fileno()
    waiter.forget(fd)
    waiter.watch(fd, WRITE)
    for _again in range(2):
        waiter.forget(fd)
    assert ready(waiter) == []


def test_watching_only_some_forgets_the_others(waiter, pair):
    one, other = pair[0].fileno(), pair[1].fileno()
    waiter.watch_only([(one, WRITE), (other, READ)])
    assert ready(waiter, PATIENCE) == [(one, WRITE)]
    waiter.watch_only([(other, WRITE)])
    assert ready(waiter, PATIENCE) == [(other, WRITE)]
    waiter.watch_only(())
    assert ready(waiter) == []


def reopen(pair, index):
    """Close one of a pair, and have a new one under its number; return the new one's peer."""
    fd = pair[index].fileno()
    new, peer = socket.socketpair()
    os.dup2(new.fileno(), fd)       # closes the old one, as another thread's open would after it
    new.close()
    return fd, peer


@pytest.mark.parametrize('is_forgotten', [True, False])
@pytest.mark.parametrize('mask', [READ, READ | WRITE])
def test_a_number_that_was_closed_and_opened_again_is_watched_again(
        waiter, pair, is_forgotten, mask):
    """Whether or not the old one was forgotten before it was closed."""
    waiter.watch(pair[0].fileno(), READ)
    if is_forgotten:
        waiter.forget(pair[0].fileno())
    fd, peer = reopen(pair, 0)
    waiter.watch(fd, mask)
    peer.send(b'x')
    assert ready(waiter, PATIENCE) == [(fd, mask)]
    waiter.forget(fd)
    assert ready(waiter) == []
    peer.close()


def test_what_was_closed_can_be_forgotten(waiter, pair):
    near, far = socket.socketpair()
    fd = near.fileno()
    waiter.watch(fd, READ)
    near.close()
    waiter.forget(fd)
    waiter.watch(pair[0].fileno(), WRITE)
    assert ready(waiter, PATIENCE) == [(pair[0].fileno(), WRITE)]
    far.close()


def test_what_was_closed_does_not_hide_the_others(waiter, pair):
    """It may be found ready itself, so that its owner meets the error, but never fails the wait."""
    near, far = socket.socketpair()
    closed, fd = near.fileno(), pair[0].fileno()
    waiter.watch(closed, READ | WRITE)
    waiter.watch(fd, WRITE)
    near.close()
    found = set()
    for _round in range(3):
        found.update(waiter.wait(0))
        waiter.forget(closed)
    assert (fd, WRITE) in found
    assert {number for number, _mask in found} <= {closed, fd}
    far.close()


def test_what_was_forgotten_and_lives_on_elsewhere_is_not_found(waiter, pair):
    """A child process may have a copy: closing alone wouldn't take it out of epoll."""
    near, far = socket.socketpair()
    copy = os.dup(near.fileno())
    waiter.watch(near.fileno(), READ)
    waiter.forget(near.fileno())
    near.close()
    far.send(b'x')
    assert ready(waiter, SHORT) == []
    os.close(copy)
    far.close()


def tcp_pair():
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(1)
    near = socket.create_connection(listener.getsockname(), PATIENCE)
    far = listener.accept()[0]
    listener.close()
    return near, far


def close_peer(far):
    far.close()


def reset_peer(far):
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    far.close()


@pytest.mark.parametrize('make_pair', [socket.socketpair, tcp_pair], ids=['unix', 'tcp'])
@pytest.mark.parametrize('end', [close_peer, reset_peer])
def test_a_hang_up_while_nothing_is_wanted_is_found_once_something_is(waiter, make_pair, end):
    """epoll and poll report it for what is watched, whatever for: so what isn't wanted is not."""
    near, far = make_pair()
    waiter.watch(near.fileno(), READ)
    waiter.forget(near.fileno())
    end(far)
    wait(((near.fileno(), READ),), PATIENCE)    # until it has arrived
    assert waiter.wait(0) == []
    waiter.watch(near.fileno(), READ)
    (fd, mask), = waiter.wait(PATIENCE)
    assert fd == near.fileno()
    assert mask & READ
    waiter.forget(near.fileno())
    near.close()


def test_a_number_closed_behind_its_back_concerns_that_number_alone(waiter, pair):
    """To watch it again fails, or finds it ready, so that its owner meets the error."""
    near, far = socket.socketpair()
    closed, fd = near.fileno(), pair[0].fileno()
    waiter.watch(closed, READ)
    waiter.watch(fd, WRITE)
    near.close()
    try:
        waiter.watch(closed, READ | WRITE)
    except EnvironmentError as error:
        assert error.errno == errno.EBADF
    else:
        assert (closed, READ | WRITE) in waiter.wait(PATIENCE)
    waiter.forget(closed)
    assert waiter.wait(PATIENCE) == [(fd, WRITE)]
    far.close()


def test_many_descriptors(waiter):
    """All are found, and in one wait those that are ready."""
    pairs = [socket.socketpair() for _ in range(100)]
    try:
        for near, _far in pairs:
            waiter.watch(near.fileno(), READ)
        assert ready(waiter) == []
        for _near, far in pairs[::2]:
            far.send(b'x')
        assert ready(waiter, PATIENCE) == sorted(
            (near.fileno(), READ) for near, _far in pairs[::2])
    finally:
        for near, far in pairs:
            near.close()
            far.close()


@pytest.mark.parametrize('timeout', [0.0003, 0.0012, 0.0101, 0.0299])
def test_no_wait_ends_before_its_time(wait_once, pair, timeout):
    """Rounded down to milliseconds, it would: and its loop would spin until the deadline."""
    for _round in range(3):
        started = timeit.default_timer()
        assert wait_once(((pair[0].fileno(), READ),), timeout) == []
        assert timeit.default_timer() - started >= timeout


@pytest.mark.parametrize('timeout', [None, float('inf'), 1e300, 2.0 ** 31 / 1000])
def test_a_waiter_waits_for_any_time(waiter, pair, timeout):
    waiter.watch(pair[0].fileno(), WRITE)
    assert ready(waiter, timeout) == [(pair[0].fileno(), WRITE)]


@pytest.mark.parametrize('timeout', [-0.001, -1e9])
def test_a_waiter_takes_a_time_that_has_passed_for_none(waiter, pair, timeout):
    waiter.watch(pair[0].fileno(), READ)
    assert ready(waiter, timeout) == []


def test_a_signal_does_no_harm_to_a_waiter(waiter, pair):
    """It may end a wait early, with nothing, and does on 2.7."""
    def handler(*_args):
        signals.append(1)
        if len(signals) == 3:
            pair[1].send(b'x')
    signals = []
    waiter.watch(pair[0].fileno(), READ)
    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, SHORT / 4, SHORT / 4)
    try:
        found = []
        while not found:
            found = waiter.wait(PATIENCE)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert found == [(pair[0].fileno(), READ)]
    assert len(signals) >= 3


def test_what_a_signal_handler_raises_ends_the_wait_of_a_waiter(waiter, pair):
    def handler(*_args):
        raise KeyboardInterrupt
    waiter.watch(pair[0].fileno(), READ)
    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, SHORT / 4)
    try:
        with pytest.raises(KeyboardInterrupt):
            while True:
                waiter.wait(PATIENCE)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


# -- the limit of select --

@pytest.fixture
def high_number(pair):
    """A copy of the pair's first, whose number is beyond those of select."""
    fcntl, resource = pytest.importorskip('fcntl'), pytest.importorskip('resource')
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[0] < 1100:
        if limits[1] < 1100:
            pytest.skip('this process may not open so many descriptors')
        resource.setrlimit(resource.RLIMIT_NOFILE, (1100, limits[1]))
    number = fcntl.fcntl(pair[0].fileno(), fcntl.F_DUPFD, 1024)
    yield number
    os.close(number)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize('mask', [READ, WRITE, READ | WRITE])
def test_select_refuses_a_number_beyond_its_limit_and_goes_on_with_the_others(
        pair, high_number, mask):
    waiter = Waiter(['select'])
    waiter.watch(pair[0].fileno(), WRITE)
    for _again in range(2):
        with pytest.raises(socket.error) as caught:
            waiter.watch(high_number, mask)
        assert caught.value.errno == errno.EINVAL
        for word in (str(high_number), 'FD_SETSIZE', 'fewer connections', 'select.poll'):
            assert word in str(caught.value)
        assert waiter.wait(PATIENCE) == [(pair[0].fileno(), WRITE)]
    waiter.forget(high_number)
    assert waiter.wait(PATIENCE) == [(pair[0].fileno(), WRITE)]


@pytest.mark.parametrize('way', WAYS[:3])
def test_no_other_way_has_this_limit(way, pair, high_number, monkeypatch):
    waiter = make_waiter(way, monkeypatch)
    waiter.watch(high_number, WRITE)
    assert waiter.wait(PATIENCE) == [(high_number, WRITE)]
    waiter.close()


@pytest.mark.skipif(not hasattr(select, 'poll'), reason='there is no poll here')
def test_a_limit_is_checked_for_what_waits_now(high_number, monkeypatch):
    check_limit(high_number)
    monkeypatch.delattr(select, 'poll')
    with pytest.raises(socket.error):
        check_limit(high_number)


def test_select_refuses_too_many_and_goes_on_with_the_others(pair, monkeypatch):
    """On Windows their number has a limit; what they are called has none."""
    def select_of_few(*lists):
        if any(len(descriptors) > 512 for descriptors in lists[:3]):
            raise ValueError('too many file descriptors in select()')
        return system_call(*lists)

    system_call = select.select
    monkeypatch.setattr(select, 'select', select_of_few)
    waiter = Waiter(['select'])
    copies = [os.dup(pair[0].fileno()) for _ in range(513)]
    for copy in copies[:-1]:
        waiter.watch(copy, WRITE)
    with pytest.raises(socket.error):
        waiter.watch(copies[-1], WRITE)
    assert len(waiter.wait(PATIENCE)) == 512
    waiter.watch(copies[0], READ | WRITE)
    waiter.forget(copies[1])
    waiter.watch(copies[-1], WRITE)
    assert len(waiter.wait(PATIENCE)) == 512
    for copy in copies:
        os.close(copy)


def test_a_closed_descriptor_does_not_hide_the_limit_of_select(pair, high_number):
    near, far = socket.socketpair()
    waiter = Waiter(['select'])
    waiter.watch(near.fileno(), READ)
    near.close()
    with pytest.raises(socket.error):
        waiter.watch(high_number, READ)
    far.close()


# -- a set as one descriptor --

def test_the_descriptor_of_a_set_is_ready_while_anything_in_it_is(waiter, pair):
    """Of those that have one."""
    if waiter.way in WAYS_FOR_FEW:
        assert waiter.fileno() is None
        return
    outer = ((waiter.fileno(), READ),)
    assert wait(outer, 0) == []
    waiter.watch(pair[0].fileno(), READ)
    assert wait(outer, 0) == []
    pair[1].send(b'x')
    assert wait(outer, PATIENCE) == list(outer)
    assert waiter.wait(0) == [(pair[0].fileno(), READ)]
    assert wait(outer, 0) == list(outer)
    pair[0].recv(1)
    assert wait(outer, 0) == []
    waiter.watch(pair[0].fileno(), WRITE)
    assert wait(outer, PATIENCE) == list(outer)
    waiter.forget(pair[0].fileno())
    assert wait(outer, 0) == []


# -- which way --

def test_the_first_way_that_there_is_is_taken(monkeypatch):
    for name in WAYS:
        monkeypatch.setattr(select, name, getattr(select, name, None), raising=False)
    there = [name for name in WAYS if getattr(select, name) is not None]
    while there:
        waiter = Waiter()
        assert waiter.way == there[0]
        waiter.close()
        monkeypatch.setattr(select, there.pop(0), None)
    with pytest.raises(ValueError) as caught:
        Waiter()
    assert 'select' in str(caught.value)


@pytest.mark.skipif(not hasattr(select, 'poll'), reason='there is no poll here')
@pytest.mark.parametrize('ways', [WAYS, WAYS_FOR_FEW])
def test_a_way_may_go_and_come_back_at_any_time(pair, monkeypatch, ways):
    """As with monkey patching: no wait fails, and a change finds the way that there is."""
    fd, other = pair[0].fileno(), pair[1].fileno()
    waiter = Waiter(ways)
    first = waiter.way
    waiter.watch(fd, WRITE)
    for way in ways[:-1]:
        monkeypatch.delattr(select, way, raising=False)
    assert waiter.wait(PATIENCE) == [(fd, WRITE)]
    assert wait(((fd, WRITE),), PATIENCE) == [(fd, WRITE)]
    waiter.watch(other, WRITE)
    assert waiter.way == 'select'
    assert ready(waiter, PATIENCE) == sorted([(fd, WRITE), (other, WRITE)])
    monkeypatch.undo()
    assert ready(waiter, PATIENCE) == sorted([(fd, WRITE), (other, WRITE)])
    waiter.forget(fd)
    assert ready(waiter, PATIENCE) == [(other, WRITE)]
    waiter.watch(other, WRITE)
    assert waiter.way == first
    assert ready(waiter, PATIENCE) == [(other, WRITE)]
    waiter.close()


def test_what_was_closed_meanwhile_does_not_keep_from_another_way(waiter, pair, monkeypatch):
    near, far = socket.socketpair()
    waiter.watch(near.fileno(), READ)
    waiter.watch(pair[0].fileno(), WRITE)
    near.close()
    # As gevent would.
    monkeypatch.setattr(select, waiter.way, partial(getattr(select, waiter.way)))
    waiter.watch(pair[1].fileno(), WRITE)
    found = ready(waiter, PATIENCE)
    assert {(sock.fileno(), WRITE) for sock in pair} <= set(found)
    far.close()


# -- descriptors of its own, and forks --

def count_descriptors():
    return len(os.listdir('/proc/self/fd')) if os.path.isdir('/proc/self/fd') else 0


@pytest.mark.parametrize('way', WAYS)
def test_closing_frees_what_the_way_takes_and_nothing_else(way, pair, monkeypatch):
    before = count_descriptors()
    waiter = make_waiter(way, monkeypatch)
    waiter.watch(pair[0].fileno(), READ)
    assert count_descriptors() - before in ((0, 1) if before else (0,))
    for _again in range(2):
        waiter.close()
    assert count_descriptors() == before
    pair[0].send(b'x')
    assert pair[1].recv(1) == b'x'


@pytest.mark.skipif(not hasattr(select, 'epoll'), reason='there is no epoll here')
def test_what_epoll_cannot_wait_for_is_an_error():
    waiter = Waiter(['epoll'])
    with open(__file__) as file:
        with pytest.raises(EnvironmentError) as caught:
            waiter.watch(file.fileno(), READ)
    assert caught.value.errno == errno.EPERM
    assert waiter.wait(0) == []
    waiter.close()


# What a child does is for the test to say. Its parent then finds all that it watches.
FORK = """
import os, signal, socket, sys
from lomond.net.waiter import READ, WRITE, Waiter

pairs = [socket.socketpair() for _ in range(2)]
near, far = [[end.fileno() for end in pair] for pair in pairs]
waiter = Waiter([{way!r}])
waiter.watch(near[0], READ)
child = os.fork()
if child == 0:
    signal.alarm({patience})
    {child}
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert waiter.wait(0) == []
os.write(near[1], b'x')
assert waiter.wait({patience}) == [(near[0], READ)]
waiter.watch(near[0], READ | WRITE)
assert waiter.wait({patience}) == [(near[0], READ | WRITE)]
waiter.watch(far[0], WRITE)
assert sorted(waiter.wait({patience})) == sorted([(near[0], READ | WRITE), (far[0], WRITE)])
waiter.close()
print('done')
"""


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='there is no fork here')
@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('child', [
    'waiter.close()',
    'waiter.forget(near[0])',
    'os.close(near[0]); waiter.forget(near[0]); waiter.close()',
    'waiter.watch(near[0], WRITE); assert waiter.wait(9) == [(near[0], WRITE)]',
    'waiter.watch_only([(far[0], WRITE)]); assert waiter.wait(9) == [(far[0], WRITE)]',
    'number = waiter.fileno(); waiter.watch(far[0], WRITE); assert number == waiter.fileno()',
    'waiter.wait(0); waiter.watch(far[0], WRITE); assert waiter.wait(9) == [(far[0], WRITE)]',
    'for number in near + far: os.close(number)\n    waiter.watch_only(()); waiter.wait(0)',
    'del waiter',
])
def test_a_forked_child_does_not_disturb_its_parent(way, child):
    if not hasattr(select, way):
        pytest.skip('this system has no ' + way)
    program = FORK.format(way=way, child=child, patience=int(PATIENCE))
    assert subprocess.check_output(
        [sys.executable, '-c', program], cwd=ROOT, stderr=subprocess.STDOUT).split() == [b'done']
