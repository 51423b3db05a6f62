"""reconnect_now() and close() while a back-off lasts, under persist() and another driver."""

from __future__ import absolute_import, division, print_function

import threading

import pytest

from lomond import WebSocket
from lomond.engine.client import ClientSession
from lomond.engine.reconnect import PersistentSession
from lomond.net.waiter import wait
from lomond.net.waker import Waker
from lomond.persist import ReconnectPolicy, persist
from tests.network.driving import Background, accept_and_hang_up, drain, echo, wait_for
from tests.support import PATIENCE, RawServer, names, read_head

#: Seconds that no test waits.
LONG = {'min_wait': 100000, 'max_wait': 100000}


class Driver(object):
    """Drives a machine as a pool would: in a back-off it waits for nothing but its waker.

    ``before_start`` is called with the WebSocket before each attempt begins.
    """

    def __init__(self, url, before_start=None, **policy):
        self._before_start = before_start
        self.websocket = WebSocket(url, proxies={})
        self.events = []
        self.is_backing_off = threading.Semaphore(0)
        self._waker = Waker()
        before = self.websocket.last_close
        self._machine = PersistentSession(
            self.websocket, self._start, ReconnectPolicy(**policy),
            lambda: self.websocket.last_close is not before, wake=self._waker.wake)

    def _start(self):
        if self._before_start is not None:
            self._before_start(self.websocket)
        session = self.websocket.new_session(ClientSession)
        session.begin(None, 0, None, True, None, self._waker.wake)
        return session

    def run(self):
        """Drive it to its end; return the events' names."""
        machine, waker = self._machine, self._waker
        try:
            while not machine.is_finished:
                self.events.extend(machine.step())
                left = machine.time_left()
                if left == 0:
                    continue
                if machine.phase == machine.BACKING_OFF:
                    self.is_backing_off.release()
                    left = None
                ready = wait(
                    tuple(machine.interest) + (waker.interest,),
                    PATIENCE if left is None else min(left, PATIENCE))
                assert ready or left is not None, 'nothing has woken the driver'
                waker.clear()
        finally:
            machine.dispose()
            waker.close()
        return names(self.events)


def test_persist_begins_the_next_attempt_when_it_is_asked_to(dead_port):
    websocket = WebSocket('ws://127.0.0.1:{}/'.format(dead_port))
    is_waiting = threading.Event()

    def loop():
        seen = []
        for event in persist(websocket, **LONG):
            seen.append(event.name)
            if event.name == 'back_off':
                if seen.count('back_off') == 2:
                    return seen
                is_waiting.set()

    background = Background(loop)
    wait_for(is_waiting)
    websocket.reconnect_now()
    assert background.result() == ['connecting', 'connect_fail', 'back_off'] * 2


def test_many_calls_in_the_body_lead_to_one_attempt(dead_port):
    websocket = WebSocket('ws://127.0.0.1:{}/'.format(dead_port))
    delays = []
    policy = ReconnectPolicy(1000, 100000, spread=1000, random=lambda: 1.0)
    for event in persist(websocket, policy=policy):
        if event.name == 'back_off':
            delays.append(event.delay)
            if len(delays) == 3:
                break
            callers = [Background(websocket.reconnect_now) for _ in range(20)]
            for caller in callers:
                caller.result()
    # The policy goes on counting.
    assert delays == [2000, 3000, 5000]


def test_it_overrides_what_the_server_asked_for():
    def refuse(sock):
        read_head(sock)
        sock.sendall(b'HTTP/1.1 503 Busy\r\nRetry-After: 3000\r\nContent-Length: 0\r\n\r\n')

    scripts = iter([refuse, echo])

    def script(sock):
        next(scripts)(sock)

    seen = []
    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        for event in persist(websocket):
            seen.append(event.name)
            if event.name == 'back_off':
                assert event.delay == 3000
                websocket.reconnect_now()
            elif event.name == 'ready':
                websocket.close()
    assert seen[-1] == 'disconnected'


@pytest.mark.parametrize('at', ['connecting', 'connected', 'ready', 'poll', 'disconnected'])
def test_at_other_moments_it_changes_nothing(at):
    seen = []
    with RawServer(accept_and_hang_up()) as server:
        websocket = WebSocket(server.url)
        for event in persist(websocket, **LONG):
            seen.append(event.name)
            if event.name == at:
                websocket.reconnect_now()
            elif event.name == 'back_off':
                assert event.delay == 100000
                websocket.close()
    assert seen == ['connecting', 'connected', 'ready', 'poll', 'disconnected', 'back_off']


def test_under_plain_connect_it_changes_nothing():
    with RawServer(echo) as server:
        websocket = WebSocket(server.url)
        for event in websocket:
            websocket.reconnect_now()
            if event.name == 'poll':
                websocket.close()
        websocket.reconnect_now()
    assert event.graceful
    assert server.connections == 1


def test_it_works_in_a_second_loop_too(dead_port):
    websocket = WebSocket('ws://127.0.0.1:{}/'.format(dead_port))
    for _ in range(2):
        attempts = 0
        for event in persist(websocket, **LONG):
            if event.name == 'back_off':
                attempts += 1
                if attempts == 3:
                    websocket.close()
                else:
                    websocket.reconnect_now()
        assert attempts == 3


class Delegating(object):
    """Used instead of a WebSocket: it has what `persist` asks for, and no more."""

    def __init__(self, websocket):
        self._websocket = websocket

    def connect(self, **options):
        return self._websocket.connect(**options)

    def close(self):
        self._websocket.close()

    @property
    def last_close(self):
        return self._websocket.last_close


@pytest.mark.parametrize('options', [{}, {'max_age': 0.01}])
def test_persist_takes_what_has_no_such_member(options):
    seen = []
    with RawServer(echo if options else accept_and_hang_up()) as server:
        websocket = WebSocket(server.url)
        for event in persist(
                Delegating(websocket), min_wait=0, max_wait=0, poll=None, **options):
            seen.append(event.name)
            if seen.count('back_off') == 2:
                websocket.close()
    assert seen.count('ready') == 2


# -- another driver --

def test_a_driver_that_waits_for_its_waker_is_woken(dead_port):
    driver = Driver('ws://127.0.0.1:{}/'.format(dead_port), min_wait=100000, max_wait=100000)
    background = Background(driver.run)
    for _ in range(3):
        assert driver.is_backing_off.acquire()
        driver.websocket.reconnect_now()
    assert driver.is_backing_off.acquire()
    driver.websocket.close()
    assert background.result() == ['connecting', 'connect_fail', 'back_off'] * 4


@pytest.mark.parametrize('kind', ['refused', 'dropped'])
def test_a_close_at_any_moment_ends_a_driver_that_waits_for_its_waker(kind, dead_port):
    """The moments differ, and so each comes: no wait is measured."""
    with RawServer(accept_and_hang_up()) as server:
        url = server.url if kind == 'dropped' else 'ws://127.0.0.1:{}/'.format(dead_port)
        for moment in range(60):
            driver = Driver(url, min_wait=100000, max_wait=100000)
            background = Background(driver.run)
            for _ in range(moment * 100):
                pass
            callers = [Background(driver.websocket.reconnect_now) for _ in range(3)]
            driver.websocket.close()
            background.result()
            for caller in callers:
                caller.result()
            assert driver.websocket.is_closed


def test_a_close_ends_the_attempt_that_begins_at_that_moment():
    """The close() finds no session of the new attempt."""
    with RawServer(drain) as server:
        driver = Driver(server.url, before_start=WebSocket.close)
        assert driver.run() == ['connecting', 'connect_fail']
    assert server.connections == 0
