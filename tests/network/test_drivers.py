"""A driver of one's own, made of public names only: select, selectors, other threads, the end."""

from __future__ import absolute_import, division, print_function

import select
import socket
import threading
from functools import partial

import pytest

from lomond import WebSocket
from lomond.drivers import READ, WRITE, QueuedClientSession
from lomond.errors import WebSocketUnavailable
from tests.network.driving import accept_and_hang_up, drain, echo, wait_for
from tests.support import PATIENCE, RawServer, answer_upgrade, names, read_frame

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')


class Driver(object):
    """That of docs/howto/own-driver.md, as a class."""

    def __init__(self, websocket, **options):
        self._reader, self._writer = socket.socketpair()
        for sock in (self._reader, self._writer):
            sock.setblocking(False)
        #: Set while it waits.
        self.is_waiting = threading.Event()
        self.wakes = 0
        self.session = websocket.new_session(partial(QueuedClientSession, max_queue=4000000))
        self.session.begin(wake=self._wake, **options)

    def _wake(self):
        self.wakes += 1
        try:
            self._writer.send(b'x')
        except socket.error:
            pass

    def __iter__(self):
        session = self.session
        try:
            while not session.is_finished:
                for event in session.step():
                    yield event
                readers = [fd for fd, mask in session.interest if mask & READ]
                writers = [fd for fd, mask in session.interest if mask & WRITE]
                left = session.time_left()
                if left is None or left > 0:
                    self.is_waiting.set()
                ready = select.select([self._reader] + readers, writers, writers, left)[0]
                self.is_waiting.clear()
                if self._reader in ready:
                    self._reader.recv(4096)
        finally:
            session.dispose()
            self._reader.close()
            self._writer.close()


def test_a_driver_by_select_connects_sends_receives_and_closes(link):
    with link.serve(echo) as server:
        websocket = link.connect(server.url, fragment_size=None)
        events = []
        for event in Driver(websocket):
            events.append(event)
            if event.name == 'ready':
                websocket.send_text(u'x' * 3000000)     # more than the send buffer takes
            elif event.name == 'text':
                websocket.close()
    assert names(events) == ['connecting', 'connected', 'ready', 'text', 'closed', 'disconnected']
    assert len(events[3].text) == 3000000
    assert events[-1].graceful
    assert not list(websocket.session.interest)
    assert websocket.session.time_left() == 0


def test_a_driver_by_selectors_watches_what_is_there():
    selectors = pytest.importorskip('selectors')
    assert (READ, WRITE) == (selectors.EVENT_READ, selectors.EVENT_WRITE)
    with RawServer(echo) as server, selectors.DefaultSelector() as selector:
        websocket = WebSocket(server.url.replace(u'127.0.0.1', u'localhost'))
        session = websocket.new_session(QueuedClientSession)
        session.begin()
        watched, seen = (), []
        while not session.is_finished:
            for event in session.step():
                seen.append(event.name)
                if event.name == 'ready':
                    websocket.close()
            for fd, _mask in watched:
                selector.unregister(fd)
            watched = tuple(session.interest)
            for fd, mask in watched:
                selector.register(fd, mask)
            selector.select(session.time_left())
        assert not selector.get_map()
    assert seen == ['connecting', 'connected', 'ready', 'closed', 'disconnected']


@pytest.mark.parametrize('call, last', [
    (lambda websocket: websocket.close(), 'closed'),
    (lambda websocket: websocket.send_text(u'hello'), 'text'),
    (lambda websocket: websocket.force_disconnect(), 'disconnected'),
], ids=['close', 'send', 'force_disconnect'])
def test_another_thread_wakes_the_driver(call, last):
    def act():
        wait_for(is_open)
        wait_for(driver.is_waiting)
        call(websocket)

    is_open = threading.Event()
    with RawServer(echo) as server:
        websocket = WebSocket(server.url)
        driver = Driver(websocket, ping_rate=0)
        thread = threading.Thread(target=act)
        thread.start()
        for event in driver:
            if event.name == 'ready':
                driver.is_waiting.clear()
                is_open.set()
            if event.name == last:
                break
        thread.join(PATIENCE)
        websocket.force_disconnect()
        driver.session.dispose()
    assert event.name == last


def test_session_wake_makes_the_driver_step():
    with RawServer(echo) as server:
        websocket = WebSocket(server.url)
        driver = Driver(websocket, ping_rate=0)
        for event in driver:
            if event.name == 'ready':
                before = driver.wakes
                driver.session.wake()
                assert driver.wakes == before + 1
                assert driver.session.time_left() == 0
                websocket.close()
    assert event.graceful


def test_a_failure_to_connect_and_a_lost_connection_are_events(dead_port):
    websocket = WebSocket('ws://127.0.0.1:{}'.format(dead_port))
    assert names(Driver(websocket)) == ['connecting', 'connect_fail']
    with RawServer(accept_and_hang_up()) as server:
        websocket.url = server.url
        assert names(Driver(websocket)) == ['connecting', 'connected', 'ready', 'disconnected']


def test_dispose_at_any_step_leaves_nothing_open():
    def script(sock):
        answer_upgrade(sock)
        drain(sock)

    with RawServer(script) as server:
        for steps in range(6):
            session = WebSocket(server.url).new_session(QueuedClientSession)
            session.begin()
            for _ in range(steps):
                list(session.step())
                select.select([fd for fd, mask in session.interest if mask & READ],
                              [fd for fd, mask in session.interest if mask & WRITE], [], 0.01)
            session.dispose()
            session.dispose()
            assert session.is_finished
            assert not list(session.step())


def test_begin_has_the_options_of_connect_and_checks_them():
    def script(sock):
        answer_upgrade(sock)
        assert read_frame(sock)[0] == 0x89
        drain(sock)

    with RawServer(script) as server:
        driver = Driver(WebSocket(server.url), poll=0.01, ping_rate=0.01, ping_timeout=0.05)
        seen = [event.name for event in driver]
    assert 'poll' in seen
    assert seen[-2:] == ['unresponsive', 'disconnected']
    for name in ('poll', 'ping_rate', 'ping_timeout', 'close_timeout', 'idle_timeout', 'max_age',
                 'heartbeat'):
        session = WebSocket(server.url).new_session(QueuedClientSession)
        for value, error in ((-1, ValueError), ('1', TypeError)):
            with pytest.raises(error) as caught:
                session.begin(**{name: value})
            assert str(caught.value).startswith(name)
        session.dispose()


def test_the_queue_has_a_limit_of_its_own_which_is_checked():
    def make(**options):
        return WebSocket(u'ws://example.org/').new_session(partial(QueuedClientSession, **options))

    assert make().writer.outbox.max_queue == 1048576
    assert make(max_queue=None).writer.outbox.max_queue is None
    with pytest.raises(ValueError):
        make(max_queue=0)
    with pytest.raises(TypeError):
        make(max_queue=1.5)


def test_a_step_before_begin_says_what_is_missing():
    websocket = WebSocket(u'ws://example.org/')
    session = websocket.new_session(QueuedClientSession)
    with pytest.raises(WebSocketUnavailable, match=r'call begin\(\) before step'):
        list(session.step())
    session.dispose()
    assert websocket.state == 'closed'
    assert not list(session.step())


@pytest.mark.parametrize('wake', [5, None])
def test_wake_must_be_a_function_and_the_session_may_still_begin(wake):
    session = WebSocket(u'ws://example.org/').new_session(QueuedClientSession)
    with pytest.raises(TypeError, match='wake must be a function'):
        session.begin(wake=wake)
    session.begin()
    session.dispose()


def test_a_session_class_that_is_none_leaves_the_session_before_it():
    websocket = WebSocket(u'ws://example.org/')
    session = websocket.new_session(QueuedClientSession)
    with pytest.raises(TypeError, match='QueuedClientSession, not 5'):
        websocket.new_session(5)
    assert websocket.session is session


def test_a_session_begins_once_and_alone():
    websocket = WebSocket(u'ws://example.org/')
    session = websocket.new_session(QueuedClientSession)
    session.begin()
    with pytest.raises(WebSocketUnavailable):
        session.begin()
    with pytest.raises(WebSocketUnavailable, match=r'dispose\(\)'):
        websocket.new_session(QueuedClientSession)
    session.dispose()
    websocket.new_session(QueuedClientSession).dispose()
