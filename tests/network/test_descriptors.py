"""Descriptors: closed for child processes, and of any number where there is poll."""

from __future__ import absolute_import, division, print_function

import os
import select
import socket
import threading

import pytest

from lomond.websocket import WebSocket

from ..support import PATIENCE, make_frame, names, needs_refcounts
from .driving import Background, accept_and_send, needs_proc, wait_for

pytestmark = [needs_proc, pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')]

#: Where select() ends.
FD_SETSIZE = 1024


def open_descriptors():
    """Return the numbers of this process's descriptors."""
    found = set()
    for name in os.listdir('/proc/self/fd'):
        try:
            os.fstat(int(name))
        except OSError:
            continue        # that of the listing itself
        found.add(int(name))
    return found


def inherited(descriptors):
    """Return those that a child process would get."""
    fcntl = pytest.importorskip('fcntl')
    return [descriptor for descriptor in descriptors
            if not fcntl.fcntl(descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC]


@needs_refcounts
def test_none_of_a_running_loop_is_inherited(link):
    """Neither the socket, nor what wakes the loop, nor what a look-up may have left."""
    with link.serve(accept_and_send()) as server:
        websocket = link.connect(server.url.replace(u'127.0.0.1', u'localhost'))
        before = open_descriptors()
        for event in websocket:
            if event.name == 'ready':
                opened = open_descriptors() - before
                client = websocket.session.transport.fileno()
                children_get = inherited(opened)
                break
    assert client in opened
    assert client not in children_get
    # The waker's two, ours, and the server's, which 2.7 doesn't protect.
    assert len(opened) == 4
    assert len(children_get) <= 1


@needs_refcounts
def test_none_of_a_loop_that_connects_is_inherited(dead_port):
    """While a name is looked up, too, in another thread."""
    seen = []
    is_asked = threading.Event()
    may_answer = threading.Event()

    def resolver(*_args):
        is_asked.set()
        may_answer.wait(PATIENCE)
        return []

    before = open_descriptors()
    loop = Background(list, WebSocket(u'ws://far.invalid/', resolver=resolver))
    wait_for(is_asked)
    seen = open_descriptors() - before
    assert len(seen) == 4       # two pairs: one wakes the loop, one tells of the look-up
    assert inherited(seen) == []
    may_answer.set()
    assert names(loop.result()) == ['connecting', 'connect_fail']


@pytest.fixture
def many_descriptors():
    """Have so many open that the next one is beyond what select() takes."""
    resource = pytest.importorskip('resource')
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FD_SETSIZE + 200
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            pytest.skip('this process may not open so many descriptors')
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    opened = []
    try:
        while not opened or opened[-1] <= FD_SETSIZE + 50:
            opened.append(os.open(os.devnull, os.O_RDONLY))
        yield opened
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(not hasattr(select, 'poll'), reason='there is no poll here')
def test_numbers_beyond_those_of_select_do_not_matter(many_descriptors, link):
    """For connecting by name, waiting, reading and sending more than there is room for."""
    events = []
    with link.serve(accept_and_send(make_frame(1, b'hello'))) as server:
        port = server.port
        websocket = link.connect(
            server.url.replace(u'127.0.0.1', u'localhost'), resolver=lambda *_args: [
                (socket.AF_INET, socket.SOCK_STREAM, 0, '', ('127.0.0.1', port))])
        for event in websocket:
            events.append(event)
            if event.name == 'text':
                assert websocket.session.transport.fileno() > FD_SETSIZE
                websocket.send_binary(b'x' * 3000000)
                websocket.force_disconnect()
    assert names(events) == ['connecting', 'connected', 'ready', 'text', 'disconnected']


@pytest.mark.parametrize('host', [u'127.0.0.1', u'localhost'])
def test_numbers_beyond_those_of_select_fail_the_dial_where_there_is_no_poll(
        host, many_descriptors, link, monkeypatch):
    """Of that dial alone, whichever of its descriptors is the first that select can't take."""
    monkeypatch.delattr(select, 'poll', raising=False)
    below = [number for number in many_descriptors if number < FD_SETSIZE]
    phases = []
    while phases[-1:] != [None]:
        with link.serve(accept_and_send(make_frame(1, b'hello'))) as server:
            websocket = link.connect(server.url.replace(u'127.0.0.1', host))
            events = []
            for event in websocket:
                events.append(event)
                if event.name == 'text':
                    websocket.force_disconnect()
        if events[-1].name == 'connect_fail':
            assert names(events) == ['connecting', 'connect_fail']
            assert u'FD_SETSIZE' in events[-1].reason
            assert u'ulimit' not in events[-1].reason
            phases.append(events[-1].phase)
        else:
            assert names(events)[:4] == ['connecting', 'connected', 'ready', 'text']
            phases.append(None)
        many_descriptors.remove(below[-1])
        os.close(below.pop())
    assert len(phases) > 3
    assert phases[0] == 'connect'
    assert ('resolve' in phases) == (host == u'localhost')


def test_a_socket_beyond_those_of_select_fails_the_dial_where_there_is_no_poll(
        many_descriptors, monkeypatch):
    """One that the user gives."""
    monkeypatch.delattr(select, 'poll', raising=False)
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(1)
    near = socket.create_connection(listener.getsockname(), PATIENCE)
    assert near.fileno() > FD_SETSIZE
    for _ in range(8):      # for the sockets that wake the loop
        os.close(many_descriptors.pop(0))
    events = list(WebSocket(u'ws://example.org/', sock=near))
    assert names(events) == ['connecting', 'connect_fail']
    assert u'FD_SETSIZE' in events[-1].reason
    far = listener.accept()[0]
    assert far.recv(1) == b''
    for sock in (far, listener):
        sock.close()
