"""Sessions driven by steps, as a pool drives them: no step waits, whatever the peer does.

The driver here fails a step that waits for a descriptor or sleeps. (It measures no time: a busy
machine may stop any step for as long as it likes.)
"""

from __future__ import absolute_import, division, print_function

import contextlib
import socket
import threading
import time

import pytest

from lomond import WebSocket
from lomond.engine import stepped
from lomond.engine.client import ClientSession
from lomond.engine.phases import EndKind, Phase
from lomond.engine.stepped import QueuedClientSession
from lomond.errors import WebSocketUnavailable
from lomond.net import transport as transport_module
from lomond.net.transport import RECEIVE_SIZE
from lomond.net.waiter import wait
from tests.network.driving import drain, needs_proc, wait_for
from tests.support import (
    PATIENCE,
    RawServer,
    answer_upgrade,
    make_close,
    make_frame,
    names,
    read_frame,
    read_head,
)
from tests.tracing import LineTracer


class Driver(object):
    """Drives one session by steps; a step that waits fails."""

    def __init__(self, monkeypatch, session_class):
        self._session_class = session_class
        self._is_in_step = False
        self.events = []
        self.session = None
        for name, function in (('wait', wait), ('sleep', time.sleep)):
            owner = transport_module if name == 'wait' else time
            monkeypatch.setattr(owner, name, self._guard(name, function))

    def _guard(self, name, function):
        own_thread = threading.current_thread()

        def call(*args):
            waits = name == 'sleep' or args[1] is None or args[1] > 0
            assert not (waits and self._is_in_step
                        and threading.current_thread() is own_thread), 'a step waits'
            return function(*args)
        return call

    @property
    def has_queue(self):
        return self._session_class is QueuedClientSession

    def begin(self, websocket, session_class=None, **options):
        given = {'poll': None, 'ping_rate': 0, 'ping_timeout': None, 'auto_pong': True,
                 'close_timeout': None}
        given.update(options)
        self.session = websocket.new_session(session_class or self._session_class)
        self.session.begin(wake=lambda: None, **given)
        return self.session

    def step(self):
        """Make one step; return its events by name."""
        happened = []
        self._is_in_step = True
        try:
            for event in self.session.step():
                self._is_in_step = False    # what the user does with an event isn't the step's
                self.events.append(event)
                happened.append(event.name)
                self._is_in_step = True
        finally:
            self._is_in_step = False
        return happened

    def run_to(self, name):
        """Step, and wait in between, until an event of this name; return it."""
        while True:
            if name in self.step():
                return [event for event in self.events if event.name == name][-1]
            assert not self.session.is_finished, self.events
            left = self.session.time_left()
            if left != 0:
                wait(self.session.interest, PATIENCE if left is None else min(left, PATIENCE))


@pytest.fixture(params=[ClientSession, QueuedClientSession])
def driver(request, monkeypatch):
    driver = Driver(monkeypatch, request.param)
    yield driver
    if driver.session is not None:
        driver.session.dispose()


@contextlib.contextmanager
def small_pair():
    """A pair of sockets with small buffers."""
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sock.settimeout(PATIENCE)
    try:
        yield ours, theirs
    finally:
        theirs.close()
        ours.close()


def fill(session):
    """Fill the send buffer, as another thread's message would."""
    sent = 1
    while sent:
        sent, _interest = session.transport.send_some(b'\0' * 4096)


@pytest.mark.parametrize('waits', [
    lambda: transport_module.wait((), 0.01), lambda: time.sleep(0.01)], ids=['wait', 'sleep'])
def test_the_driver_fails_a_step_that_waits(driver, waits):
    class Waiting(ClientSession):
        def dial(self):
            waits()

    driver.begin(WebSocket(u'ws://example.org/', proxies={}), Waiting)
    with pytest.raises(AssertionError):
        driver.run_to('connected')


def test_a_connection_from_its_beginning_to_its_end(driver):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'Hello') + make_frame(9, b'?'))
        assert read_frame(sock) == (0x8a, b'?')
        sock.sendall(make_close(1000))
        read_frame(sock)

    with RawServer(script) as server:
        session = driver.begin(WebSocket(server.url, proxies={}))
        assert session.phase == Phase.DIALING
        driver.run_to('disconnected')
    assert names(driver.events) == [
        'connecting', 'connected', 'ready', 'text', 'ping', 'closing', 'disconnected']
    assert driver.events[-1].graceful
    assert session.is_finished
    assert session.end.kind == EndKind.CLOSED
    assert session.transport.is_aborted is False


@pytest.mark.parametrize('option', ['headers', 'resolver', 'sock'])
def test_functions_of_the_user_are_called_outside_the_steps(driver, option):
    may_return = threading.Event()
    callers = []

    def function(*args):
        callers.append(threading.current_thread())
        wait_for(may_return)
        if option == 'headers':
            return {'X-Token': 'abc'}
        if option == 'resolver':
            return socket.getaddrinfo('127.0.0.1', args[1], 0, socket.SOCK_STREAM)
        return socket.create_connection(('127.0.0.1', server.port))

    heads = []

    def script(sock):
        heads.append(read_head(sock))

    with RawServer(script) as server:
        url = u'ws://somewhere.invalid:{}/'.format(server.port)
        if option == 'headers':
            url = server.url
        driver.begin(WebSocket(url, proxies={}, **{option: function}))
        while not callers:
            driver.step()
            left = driver.session.time_left()
            assert left is None or left > 0 or driver.events
        assert driver.step() == []
        may_return.set()
        driver.run_to('connected')
        assert callers != [threading.current_thread()]
        driver.run_to('disconnected')
    assert len(heads) == 1
    assert (b'X-Token: abc' in heads[0]) == (option == 'headers')


def test_headers_that_do_not_come_in_time_fail_the_attempt(driver):
    may_return = threading.Event()

    def headers():
        wait_for(may_return)
        return {}

    with RawServer(drain) as server:
        driver.begin(WebSocket(server.url, proxies={}, headers=headers, connect_timeout=0.3))
        fail = driver.run_to('connect_fail')
        may_return.set()
    assert fail.phase == 'request'
    assert 'connect_timeout' in fail.reason
    assert driver.session.end.kind == EndKind.FAILED


def test_a_request_on_a_full_socket_is_sent_bit_by_bit(driver):
    with small_pair() as (ours, theirs):
        websocket = WebSocket(
            u'ws://example.org/', proxies={}, sock=ours, headers={'X-Large': 'x' * 50000})
        driver.begin(websocket)
        driver.run_to('connected')
        assert driver.step() == []
        assert driver.session.writer.has_head

        heads = []
        reader = threading.Thread(target=lambda: heads.append(answer_upgrade(theirs)))
        reader.start()
        driver.run_to('ready')
        reader.join(PATIENCE)
        assert not driver.session.writer.has_head


@pytest.mark.parametrize('what', ['ping', 'pong', 'close', 'fault'])
def test_control_frames_on_a_full_socket_wait_for_the_next_steps(driver, what):
    frames = {
        'pong': make_frame(9, b'?'), 'close': make_close(1000), 'fault': make_frame(3), 'ping': b''}
    with small_pair() as (ours, theirs):
        driver.begin(
            WebSocket(u'ws://example.org/', proxies={}, sock=ours),
            ping_rate=0.01 if what == 'ping' else 0)
        reader = threading.Thread(target=answer_upgrade, args=(theirs,))
        reader.start()
        driver.run_to('ready')
        reader.join(PATIENCE)
        fill(driver.session)
        theirs.sendall(frames[what])
        if what == 'ping':
            while driver.session.time_left():
                wait((), driver.session.time_left())
            driver.step()
            assert driver.session.writer.has_unsent is driver.has_queue
        else:
            driver.run_to({'pong': 'ping', 'close': 'closing', 'fault': 'protocol_error'}[what])
            driver.step()
            assert driver.session.writer.pending.any or driver.session.writer.has_unsent
            assert driver.session.writer.needs_buffer
            assert driver.session.time_left() != 0


def test_end_is_what_came_first(driver):
    with RawServer(lambda sock: (answer_upgrade(sock), drain(sock))) as server:
        session = driver.begin(WebSocket(server.url, proxies={}))
        driver.run_to('ready')
        assert session.end is None
        session.force_disconnect()
        assert session.end.kind == EndKind.FORCED
        driver.run_to('disconnected')
        assert session.end.kind == EndKind.FORCED
        assert driver.events[-1].reason == session.end.reason
        session.force_disconnect()
    assert driver.step() == []


@needs_proc
def test_dispose_frees_everything_in_any_phase(driver, nothing_is_left_open):
    for steps in range(6):
        with RawServer(lambda sock: (answer_upgrade(sock), drain(sock))) as server:
            session = driver.begin(WebSocket(server.url, proxies={}))
            for _ in range(steps):
                driver.step()
                left = session.time_left()
                if left:
                    wait(session.interest, min(left, PATIENCE))
            session.dispose()
            assert session.phase == Phase.FINISHED
            assert driver.step() == []


@pytest.mark.parametrize('call', ['close', 'force_disconnect'])
def test_ending_it_before_the_first_step_ends_it_before_the_network(call):
    websocket = WebSocket('ws://localhost/')
    loop = websocket.connect()
    getattr(websocket.session, call)()
    connecting, fail = loop
    assert connecting.name == 'connecting'
    assert fail.name == 'connect_fail'
    assert 'closed by the application' in fail.reason
    assert websocket.is_closed


def test_a_session_begins_once(driver):
    session = driver.begin(WebSocket(u'ws://example.org/', proxies={}))
    with pytest.raises(WebSocketUnavailable):
        session.begin(None, 0, None, True, None)
    session.dispose()
    with pytest.raises(WebSocketUnavailable):
        session.begin(None, 0, None, True, None)


def test_a_flood_after_a_fault_is_read_bit_by_bit(driver, monkeypatch):
    """Other connections of the driver go on meanwhile."""
    def receive(_buffer=None):
        reads.append(None)
        return b'x' * RECEIVE_SIZE

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(3))     # a reserved opcode
        drain(sock)

    reads = []
    with RawServer(script) as server:
        session = driver.begin(WebSocket(server.url, proxies={}))
        driver.run_to('protocol_error')
        # A peer that sends faster than it is read.
        monkeypatch.setattr(session.transport, 'receive', receive)
        while session.phase != Phase.LINGERING:
            assert driver.step() == []
        for _ in range(10):
            del reads[:]
            assert driver.step() == []
            assert 0 < len(reads) <= 16
            assert session.time_left() == 0
        session.dispose()


def test_force_disconnect_at_any_line_of_a_release_leaves_nothing_open(nothing_is_left_open):
    moment = 0
    has_acted = True
    while has_acted:
        moment += 1
        ours, theirs = socket.socketpair()
        websocket = WebSocket.attach(ours)
        session = websocket.new_session(QueuedClientSession)
        session.begin()
        while session.phase != Phase.OPEN:
            list(session.step())
        with LineTracer([stepped], moment, websocket.force_disconnect) as tracer:
            session.release(())
        has_acted = tracer.has_acted
        assert session.is_finished is has_acted, moment
        session.dispose()
        theirs.close()
    assert moment > 5


def test_a_session_that_another_took_the_place_of_leaves_that_alone(driver):
    with RawServer(lambda sock: (answer_upgrade(sock), drain(sock))) as server:
        websocket = WebSocket(server.url, proxies={})
        replaced = websocket.new_session(ClientSession)
        driver.begin(websocket)
        driver.run_to('ready')
        with pytest.raises(WebSocketUnavailable):
            replaced.begin(None, 0, None, True, None)
        replaced.dispose()
        ClientSession(websocket).dispose()      # one that was never attached
        assert websocket.state == 'open'
        websocket.send_text(u'still there')


def test_dispose_in_a_redirect_ends_it(driver, nothing_is_left_open):
    with RawServer(lambda sock: (read_head(sock), sock.sendall(
            b'HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n'))) as server:
        session = driver.begin(WebSocket(server.url, proxies={}))
        driver.run_to('connected')
        names = []
        while not session.is_finished:
            for event in session.step():
                names.append(event.name)
                if event.name == 'redirected':
                    session.dispose()
            if session.time_left():
                wait(session.interest, PATIENCE)
        assert names == ['redirected']


def test_dispose_in_a_callback_while_dialling_leaves_nothing_open(driver, nothing_is_left_open):
    def trace(record):
        if record['stage'] == 'connect':
            driver.session.dispose()

    with RawServer(lambda sock: None) as server:
        session = driver.begin(WebSocket(server.url, proxies={}, trace=trace))
        while not session.is_finished:
            driver.step()
            left = session.time_left()
            if left != 0:
                wait(session.interest, PATIENCE if left is None else min(left, PATIENCE))
        assert driver.step() == []
