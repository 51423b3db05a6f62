"""However the loop is left, no descriptor and no thread is left behind."""

from __future__ import absolute_import, division, print_function

import gc
import os
import threading
import weakref

import pytest

from lomond import WebSocket, errors
from lomond.persist import persist
from tests.network.driving import (
    accept_and_send,
    count_descriptors,
    drain,
    needs_proc,
    wait_for,
    wait_until_sending,
)
from tests.support import (
    PATIENCE,
    RawServer,
    answer_upgrade,
    make_close,
    make_frame,
    needs_refcounts,
    read_head,
)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

pytestmark = needs_proc


class Server(object):
    """A raw server that accepts, sends a message, and tells how each connection ended."""

    def __init__(self):
        self.rests = []
        self.is_closed = threading.Event()
        self._raw = RawServer(self._script)

    def _script(self, sock):
        try:
            answer_upgrade(sock)
            sock.sendall(make_frame(1, b'hi'))
            self.rests.append(drain(sock))
        finally:
            self.is_closed.set()

    def __enter__(self):
        self._raw.__enter__()
        self.url = self._raw.url
        # The descriptors without a connection.
        self.before = count_descriptors()
        return self

    def __exit__(self, *exc_info):
        self._raw.__exit__(*exc_info)

    def check(self):
        """Check that the connection is gone on both sides, and no frame was sent."""
        wait_for(self.is_closed)
        # The server's own socket may be about to be closed.
        self._raw.wait_for_scripts()
        assert count_descriptors() == self.before
        assert b''.join(self.rests) == b''


@pytest.fixture
def server():
    with Server() as server:
        yield server


STAGES = ['connected', 'ready', 'poll', 'text']


@needs_refcounts
@pytest.mark.parametrize('at', STAGES)
@pytest.mark.parametrize('loop', [iter, persist])
def test_break_leaves_nothing(server, loop, at):
    websocket = WebSocket(server.url)
    for event in loop(websocket):
        if event.name == at:
            break
    server.check()
    assert websocket.is_closed


class Mishap(Exception):
    """What the loop body raises."""


@needs_refcounts
@pytest.mark.parametrize('at', STAGES)
@pytest.mark.parametrize('loop', [iter, persist])
@pytest.mark.parametrize('error', [Mishap, KeyboardInterrupt, SystemExit])
def test_an_exception_in_the_body_goes_through_and_leaves_nothing(server, loop, at, error):
    websocket = WebSocket(server.url)
    with pytest.raises(error):
        for event in loop(websocket):
            if event.name == at:
                raise error()
    # The traceback holds nothing that matters.
    server.check()


@needs_refcounts
def test_an_error_of_a_send_in_the_body_goes_through_and_leaves_nothing(server):
    websocket = WebSocket(server.url)
    with pytest.raises(TypeError):
        for event in websocket:
            if event.name == 'ready':
                websocket.send_text(5)
    server.check()


def test_garbage_collection_leaves_nothing(server):
    loop = iter(WebSocket(server.url))
    while next(loop).name != 'ready':
        pass
    del loop
    gc.collect()
    server.check()


@needs_refcounts
def test_a_session_that_is_over_is_freed_without_the_collector(server):
    """And its transport, and the TLS context of that: a daemon has one after the other."""
    websocket = WebSocket(server.url)
    gc.disable()
    try:
        for event in websocket:
            if event.name == 'ready':
                session = weakref.ref(websocket.session)
                websocket.send_text(u'x')
                websocket.force_disconnect()
        del event
        websocket.reset()
        assert session() is None
    finally:
        gc.enable()


def test_closing_the_iterator_leaves_nothing(server):
    loop = iter(WebSocket(server.url))
    while next(loop).name != 'ready':
        pass
    loop.close()
    loop.close()
    server.check()
    assert list(loop) == []


@needs_refcounts
def test_a_with_block_leaves_nothing(server):
    with WebSocket(server.url) as websocket:
        for event in websocket:
            if event.name == 'text':
                break
    server.check()


@needs_refcounts
def test_an_exception_in_a_with_block_goes_through_and_leaves_nothing(server):
    with pytest.raises(Mishap):
        with WebSocket(server.url) as websocket:
            for event in websocket:
                if event.name == 'text':
                    raise Mishap()
    server.check()


def test_force_disconnect_leaves_nothing(server):
    websocket = WebSocket(server.url)
    for event in websocket:
        if event.name == 'ready':
            websocket.force_disconnect()
    server.check()


def test_a_loop_that_never_began_leaves_nothing(dead_port):
    before = count_descriptors()
    websocket = WebSocket('ws://127.0.0.1:{}/'.format(dead_port))
    loop = websocket.connect()
    websocket.force_disconnect()
    loop.close()
    del loop
    assert count_descriptors() == before


@pytest.mark.parametrize('script', [
    accept_and_send(make_close(1000)),
    accept_and_send(make_frame(3)),
    answer_upgrade,
    read_head,
    lambda sock: sock.close(),
    lambda sock: sock.sendall(b'HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n'),
    lambda sock: sock.sendall(b'nonsense\r\n\r\n'),
    drain,
], ids=['closed', 'protocol error', 'cut', 'cut in the handshake', 'cut at once', 'rejected',
        'not http', 'no answer'])
def test_each_way_to_end_leaves_nothing(script):
    with RawServer(script) as server:
        before = count_descriptors()
        websocket = WebSocket(server.url, connect_timeout=0.05)
        for _ in range(3):
            list(websocket)
        server.wait_for_scripts()
        assert count_descriptors() == before


def test_a_connect_fail_leaves_nothing(dead_port):
    before = count_descriptors()
    for _ in range(3):
        list(WebSocket('ws://127.0.0.1:{}/'.format(dead_port)))
    assert count_descriptors() == before


def test_no_thread_is_started():
    threads = set()

    def note():
        threads.update(threading.enumerate())

    with RawServer(accept_and_send(make_close(1000))) as server:
        note()
        servers_own = len(threads) + 1
        for _event in WebSocket(server.url):
            note()
    assert len(threads) <= servers_own


@needs_refcounts
def test_a_sender_that_is_blocked_while_the_loop_is_left_frees_the_socket_itself():
    is_over = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(is_over)

    with RawServer(script) as server:
        before = count_descriptors()
        websocket = WebSocket(server.url, write_timeout=None)
        failures = []

        def send():
            try:
                websocket.send_binary(b'x' * (12 * 1024 * 1024))
            except errors.TransportFail as error:
                failures.append(error)

        sender = threading.Thread(target=send)
        for event in websocket:
            if event.name == 'ready':
                sender.start()
                wait_until_sending(websocket)
                break
        sender.join(PATIENCE)
        assert not sender.is_alive()
        assert len(failures) == 1
        is_over.set()
        server.wait_for_scripts()
        assert count_descriptors() == before
