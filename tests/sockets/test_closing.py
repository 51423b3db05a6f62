"""lomond.net.closing: what is closed leaves epoll and kqueue before; threads, and real forks."""

from __future__ import absolute_import, division, print_function

import os
import select
import socket
import ssl
import subprocess
import sys
import threading
import weakref
from functools import partial

import pytest

import lomond
from lomond._compat import monotonic
from lomond.errors import ConnectFail
from lomond.net import closing
from lomond.net.closing import close_socket
from lomond.net.offload import offload
from lomond.net.options import NetOptions, TLSOptions
from lomond.net.race import Race
from lomond.net.tls.client import TLSClient
from lomond.net.transport import Transport
from lomond.net.waiter import READ, WAYS, WRITE, Waiter
from lomond.net.waker import Waker

from ..network.driving import Background
from ..support import PATIENCE, needs_refcounts
from .queues import install_kqueue

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(lomond.__file__)))


@pytest.fixture(params=WAYS[:2])
def waiter(request, monkeypatch):
    """A waiter whose set is in the kernel."""
    if request.param == 'kqueue':
        install_kqueue(monkeypatch)
    if not hasattr(select, request.param):
        pytest.skip('this system has no ' + request.param)
    waiter = Waiter([request.param])
    yield waiter
    waiter.close()


@pytest.fixture
def pair():
    """Two connected sockets. (2.7 can't make TLS on those of socketpair.)"""
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(1)
    near = socket.create_connection(listener.getsockname(), PATIENCE)
    pair = near, listener.accept()[0]
    yield pair
    for sock in pair + (listener,):
        sock.close()


def watch_with_copy(waiter, sock, mask=READ):
    """Watch a socket; return a copy, which keeps it open as that of a forked child would."""
    waiter.watch(sock.fileno(), mask)
    return os.dup(sock.fileno())


def test_a_closed_socket_is_not_found_although_a_copy_is_open(waiter, pair):
    copy = watch_with_copy(waiter, pair[0])
    for _again in range(2):
        close_socket(pair[0])
    pair[1].send(b'x')
    assert waiter.wait(0) == []
    os.close(copy)


def test_every_waiter_forgets_it(waiter, pair):
    with_epoll_or_kqueue = [waiter, Waiter([waiter.way])]
    copies = [watch_with_copy(each, pair[0]) for each in with_epoll_or_kqueue]
    close_socket(pair[0])
    pair[1].send(b'x')
    for each in with_epoll_or_kqueue:
        assert each.wait(0) == []
        each.close()
    for copy in copies:
        os.close(copy)


def test_a_number_that_was_closed_and_opened_again_has_the_events_of_the_new_one(waiter, pair):
    fd = pair[0].fileno()
    copy = watch_with_copy(waiter, pair[0])
    close_socket(pair[0])
    new, peer = socket.socketpair()
    assert new.fileno() == fd       # the lowest that is free
    waiter.watch(fd, READ)
    pair[1].send(b'x')
    assert waiter.wait(0) == []
    peer.send(b'x')
    assert waiter.wait(PATIENCE) == [(fd, READ)]
    os.close(copy)
    for sock in (new, peer):
        close_socket(sock)


def test_a_second_close_leaves_the_number_to_its_next_owner(waiter, pair):
    """Of a transport, too: its number is another's by then."""
    ends = [Transport(sock) for sock in pair]
    fd = ends[0].fileno()
    ends[0].close()
    new, peer = socket.socketpair()
    assert new.fileno() == fd       # the lowest that is free
    waiter.watch(fd, WRITE)
    ends[0].close()
    close_socket(pair[0])
    assert ends[0].fileno() == -1
    assert waiter.wait(PATIENCE) == [(fd, WRITE)]
    for sock in (new, peer):
        close_socket(sock)
    ends[1].close()


def test_any_thread_may_close_while_another_one_waits(waiter, pair):
    """The wait goes on with the others, and ends for them."""
    waker = Waker()
    waiter.watch(*waker.interest)
    copy = watch_with_copy(waiter, pair[0])
    waiting = Background(waiter.wait, PATIENCE)
    close_socket(pair[0])
    pair[1].send(b'x')
    waker.wake()
    assert waiting.result() == [waker.interest]
    waker.close()
    os.close(copy)


class ClosingEpoll(object):
    """An epoll that another thread closes right before a descriptor is removed."""

    def __init__(self):
        self._epoll = select.epoll()

    def __getattr__(self, name):
        return getattr(self._epoll, name)

    def unregister(self, fd):
        self._epoll.close()
        self._epoll.unregister(fd)


@pytest.mark.skipif(not hasattr(select, 'epoll'), reason='there is no epoll here')
def test_a_waiter_may_be_closed_while_another_thread_closes_a_socket(pair, monkeypatch):
    closing_epoll = ClosingEpoll()
    monkeypatch.setattr(select, 'epoll', lambda: closing_epoll)
    waiter = Waiter(['epoll'])
    waiter.watch(pair[0].fileno(), READ)
    close_socket(pair[0])
    assert pair[1].recv(1) == b''


@needs_refcounts
def test_a_waiter_without_references_is_freed(pair):
    waiter = Waiter()
    waiter.watch(pair[0].fileno(), READ)
    reference = weakref.ref(waiter)
    del waiter
    assert reference() is None
    close_socket(pair[0])


def testwaiters_for_few_are_not_asked(pair):
    """They have no set in the kernel: a program with blocking loops alone pays for nothing."""
    waiters = [Waiter([way]) for way in ('poll', 'select') if hasattr(select, way)]
    assert not any(each() in waiters for each in closing.waiters.valuerefs())


# -- everything that lomond closes --

def close_transport(pair, waiter):
    transport = Transport(pair[0])
    copy = watch_with_copy(waiter, transport)
    transport.close()
    return copy


def detach(pair, waiter):
    """The user may do as they like with it."""
    transport = Transport(pair[0])
    copy = watch_with_copy(waiter, transport)
    assert transport.detach() is pair[0]
    assert transport.fileno() == -1
    return copy


def close_waker(pair, waiter):
    waker = Waker()
    waiter.watch(*waker.interest)
    waker.wake()
    copy = os.dup(waker.interest[0])
    waker.close()
    return copy


def give_up(operation, waiter):
    """Watch what an operation waits for first, then close it."""
    (fd, mask), = next(operation).interest
    waiter.watch(fd, mask)
    copy = os.dup(fd)
    operation.close()
    return copy


def give_up_tls(pair, waiter):
    return give_up(secure(Transport(pair[0])), waiter)


def give_up_tls_on_a_transport(pair, waiter):
    """As in a tunnel whose proxy sent TLS's first byte with its own answer."""
    if not hasattr(ssl, 'MemoryBIO'):
        pytest.skip('there is no TLS within TLS on this Python')
    transport = Transport(pair[0])
    transport.put_back(b'\x16')
    return give_up(secure(transport), waiter)


def fail_tls(pair, waiter):
    operation = secure(Transport(pair[0]))
    (fd, mask), = next(operation).interest
    waiter.watch(fd, mask)
    copy = os.dup(fd)
    pair[1].send(b'this is no TLS')
    with pytest.raises(ConnectFail):
        next(operation)
    return copy


def secure(transport):
    return TLSClient().secure(
        transport, 'localhost', TLSOptions(verify=False), monotonic() + PATIENCE, 'tls')


def give_up_a_call(_pair, waiter):
    may_end = threading.Event()
    try:
        return give_up(offload(partial(may_end.wait, PATIENCE), monotonic() + PATIENCE), waiter)
    finally:
        may_end.set()


@pytest.mark.parametrize('end', [
    close_transport, detach, close_waker, give_up_tls, give_up_tls_on_a_transport, fail_tls,
    give_up_a_call])
def test_what_ends_is_not_found_although_a_copy_is_open(end, waiter, pair):
    copy = end(pair, waiter)
    pair[1].close()     # which makes the copy ready
    assert waiter.wait(0) == []
    os.close(copy)


def test_an_attempt_that_is_given_up_is_not_found(waiter):
    """Its socket may connect, in a child's hands, long after."""
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(1)
    race = Race(
        [(socket.AF_INET, socket.SOCK_STREAM, 0, '', listener.getsockname())], NetOptions(),
        monotonic() + PATIENCE)
    race.advance(monotonic())
    (fd, mask), = race.wait.interest
    waiter.watch(fd, mask)
    copy = os.dup(fd)
    race.close()
    assert waiter.wait(0) == []
    os.close(copy)
    listener.close()


# -- forks --

# Each line of {child} and {parent} is for the test to say.
FORK = """
import os, signal, socket
from lomond.net.closing import close_socket
from lomond.net.transport import Transport
from lomond.net.waiter import READ, WRITE, Waiter
from lomond.net.waker import Waker

def make(count):
    return [Transport(sock) for _ in range(count) for sock in socket.socketpair()]

near, far, other, other_far = ends = make(2)
waker = Waker()
waiter = Waiter(['epoll'])
for end in (near, other):
    waiter.watch(end.fileno(), READ)
waiter.watch(*waker.interest)
numbers = near.fileno(), other.fileno()
may_end, tell = os.pipe()
is_done, done = os.pipe()
child = os.fork()
if child == 0:
    signal.alarm({patience})
    {child}
    os.write(done, b'x')
    os.close(tell)
    os.read(may_end, 1)
    os._exit(0)
os.close(done)
assert os.read(is_done, 1) == b'x', 'the child failed'
{parent}
os.close(tell)
assert os.waitpid(child, 0)[1] == 0
print('done')
"""

needs_epoll_and_fork = pytest.mark.skipif(
    not hasattr(os, 'fork') or not hasattr(select, 'epoll'), reason='there is no epoll here')


def run(child, parent):
    """Run both; the child has copies of all descriptors until the parent is done."""
    program = FORK.format(child=child, parent=parent, patience=int(PATIENCE))
    assert subprocess.check_output(
        [sys.executable, '-c', program], cwd=ROOT, stderr=subprocess.STDOUT).split() == [b'done']


@needs_epoll_and_fork
@pytest.mark.parametrize('end', [
    'near.close()',
    'near.abort(); near.close()',
    'sock = near.detach(); close_socket(sock)',
    'far.close(); near.receive(); near.close()',
])
def test_parent_that_ends_a_connection_hears_no_more_of_it(end):
    run('pass', end + """
assert waiter.wait(0) == []
if not (near.is_aborted or far.is_closed):
    far.send(b'x', 9)
assert waiter.wait(0) == []
# The number is another's now, and has that one's events alone.
new, new_far = make(1)
assert new.fileno() == numbers[0]
waiter.watch(new.fileno(), READ)
assert waiter.wait(0) == []
new_far.send(b'x', 9)
assert waiter.wait(9) == [(new.fileno(), READ)]
assert new.receive() == b'x'
other_far.send(b'x', 9)
assert waiter.wait(9) == [(other.fileno(), READ)]
""")


@needs_epoll_and_fork
@pytest.mark.parametrize('child', [
    'near.close(); other.close(); waker.close()',
    'near.detach(); other.abort(); other.close(); waker.close()',
    'waiter.close(); near.close(); other.close(); waker.close()',
    'near.close(); waiter.wait(0); other.close(); waker.close()',
    'del near, other, waker, waiter',
])
def test_child_that_closes_its_copies_leaves_its_parents_set_alone(child):
    run(child, """
assert waiter.wait(0) == []
for end in (far, other_far):
    end.send(b'x', 9)
assert sorted(waiter.wait(9)) == sorted((number, READ) for number in numbers)
waker.wake()
assert (waker.interest[0], READ) in waiter.wait(9)
""")


@needs_epoll_and_fork
def test_child_goes_on_with_what_it_has_not_closed():
    run("""near.close()
    new, new_far = make(1)
    assert new.fileno() == numbers[0]
    assert waiter.wait(0) == []
    for end in (new_far, other_far):
        end.send(b'x', 9)
    assert waiter.wait(9) == [(other.fileno(), READ)]
    assert other.receive() == b'x'
    waiter.watch(new.fileno(), READ)
    assert waiter.wait(9) == [(new.fileno(), READ)]
""", 'assert waiter.wait(0) == []')
