"""A loop that asks for data again and again before it waits: `spin`.

No test measures a time: each counts how often the loop calls poll, with a timeout of 0 and with
another one. Where something has to happen within the spin, the clock that ends it stands still.
"""

from __future__ import absolute_import, division, print_function

import os
import select
import signal
import socket
import threading

import pytest

from lomond import WebSocket, errors
from lomond._compat import thread_module
from lomond.persist import persist
from tests.network.driving import (
    Background,
    drain,
    echo,
    wait_for,
)
from tests.network.test_timers import accept_then_drain
from tests.support import PATIENCE, RawServer, answer_upgrade, make_frame

pytestmark = [
    pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open'),
    pytest.mark.skipif(not hasattr(select, 'poll'), reason='there is no poll to count')]

#: As long as it may be, in seconds.
SPIN = 1


class Asked(object):
    """Counts what the loop of this thread asks of poll, from `begin` on.

    Attributes: ``questions``, with a timeout of 0, and ``waits``, with another one. Before the
    third question ``on_third`` is called, and ``on_wait`` before each wait.
    """

    def __init__(self):
        self._thread = thread_module.get_ident()
        self._poll = select.poll
        self._is_counting = False
        self.questions = self.waits = 0
        self._on_third = self._on_wait = None

    def begin(self, on_third=None, on_wait=None):
        self.questions = self.waits = 0
        self._on_third, self._on_wait = on_third, on_wait
        self._is_counting = True

    def of_thread(self, thread):
        self._thread = thread

    def make_poll(self):
        return _Poll(self._poll(), self)

    def note(self, timeout):
        if not self._is_counting or thread_module.get_ident() != self._thread:
            return
        function = None
        if timeout:
            self.waits += 1
            function = self._on_wait
        else:
            self.questions += 1
            if self.questions == 3:
                function = self._on_third
        if function is not None:
            function()


class _Poll(object):

    def __init__(self, poll, asked):
        self._poll, self._asked = poll, asked
        self.register, self.unregister = poll.register, poll.unregister

    def poll(self, timeout):
        self._asked.note(timeout)
        return self._poll.poll(timeout)


@pytest.fixture
def asked(monkeypatch):
    asked = Asked()
    monkeypatch.setattr(select, 'poll', asked.make_poll)
    return asked


@pytest.fixture
def still_clock(monkeypatch):
    """No spin ends by its time."""
    monkeypatch.setattr('lomond.net.waiter.fine_clock', lambda: 0.0)


class Sender(object):
    """A script of a `RawServer`: it sends a text when `send` was called, then waits for the end."""

    def __init__(self):
        self._may_send = threading.Event()
        self.send = self._may_send.set

    def __call__(self, sock):
        answer_upgrade(sock)
        wait_for(self._may_send)
        sock.sendall(make_frame(1, b'at last'))
        drain(sock)


# -- data --

def receive_text(link, asked, moment):
    """Receive a text that is sent at a moment, which `asked` knows."""
    script = Sender()
    with link.serve(script) as server:
        loop = link.connect(server.url).connect(spin=SPIN)
        for event in loop:
            if event.name == 'poll':
                asked.begin(**{moment: script.send})
            elif event.name == 'text':
                break
        loop.close()
    assert event.text == u'at last'


def test_a_message_that_comes_within_the_spin_takes_no_wait(link, asked, still_clock):
    receive_text(link, asked, 'on_third')
    assert asked.questions >= 3
    assert asked.waits == 0


def test_a_message_that_comes_after_the_spin_is_waited_for(link, asked, monkeypatch):
    ticks = iter(range(10 ** 6))
    monkeypatch.setattr('lomond.net.waiter.fine_clock', lambda: next(ticks) * SPIN / 3)
    receive_text(link, asked, 'on_wait')
    assert asked.questions >= 3
    assert asked.waits >= 1


def test_a_loop_without_spin_never_asks_and_reads_no_clock_for_it(asked, monkeypatch):
    def no_clock():
        raise AssertionError('the clock was read')

    monkeypatch.setattr('lomond.net.waiter.fine_clock', no_clock)
    with RawServer(echo) as server:
        websocket = WebSocket(server.url)
        for event in websocket.connect(spin=0):
            if event.name == 'poll':
                asked.begin()
                websocket.send_text(u'hello')
            elif event.name == 'text':
                websocket.close()
    assert event.graceful
    assert asked.questions == 0


@pytest.mark.parametrize('spin', [None, 0, 0.0])
def test_none_and_zero_are_no_spin(asked, spin):
    with RawServer(echo) as server:
        websocket = WebSocket(server.url)
        for event in websocket.connect(spin=spin):
            if event.name == 'poll':
                asked.begin()
                websocket.close()
    assert asked.questions == 0


# -- what ends it --

@pytest.mark.parametrize('end', ['close', 'force_disconnect'])
def test_an_end_by_another_thread_is_noticed_within_the_spin(link, asked, still_clock, end):
    with link.serve(echo) as server:
        websocket = link.connect(server.url)
        for event in websocket.connect(spin=SPIN):
            if event.name == 'poll':
                asked.begin(on_third=lambda: Background(getattr(websocket, end)).result())
    assert event.name == 'disconnected'
    assert event.graceful == (end == 'close')
    assert asked.questions >= 3
    assert asked.waits == 0


def test_the_end_of_the_peer_is_noticed_within_the_spin(link, asked, still_clock):
    may_end = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(may_end)

    with link.serve(script) as server:
        for event in link.connect(server.url).connect(spin=SPIN):
            if event.name == 'poll':
                asked.begin(on_third=may_end.set)
    assert event.name == 'disconnected'
    assert asked.waits == 0


def test_a_signal_handler_that_closes_is_noticed_within_the_spin(asked, still_clock):
    before = signal.getsignal(signal.SIGALRM)
    with RawServer(echo) as server:
        websocket = WebSocket(server.url)
        signal.signal(signal.SIGALRM, lambda *_args: websocket.close())
        try:
            for event in websocket.connect(spin=SPIN):
                if event.name == 'poll':
                    asked.begin(on_third=lambda: os.kill(os.getpid(), signal.SIGALRM))
        finally:
            signal.signal(signal.SIGALRM, before)
    assert event.graceful
    assert asked.waits == 0


def test_ctrl_c_ends_a_spin(asked, still_clock):
    with RawServer(accept_then_drain) as server:
        with pytest.raises(KeyboardInterrupt):
            for event in WebSocket(server.url).connect(spin=SPIN):
                if event.name == 'poll':
                    asked.begin(on_third=lambda: os.kill(os.getpid(), signal.SIGINT))
    assert asked.questions == 3
    assert asked.waits == 0


# -- deadlines --

def test_a_spin_ends_when_poll_is_due(asked):
    with RawServer(accept_then_drain) as server:
        loop = WebSocket(server.url).connect(spin=SPIN, poll=0.02)
        polls = 0
        for event in loop:
            polls += event.name == 'poll'
            if polls == 1:
                asked.begin()
            if polls == 4:
                break
        loop.close()
    assert asked.questions >= 3
    assert asked.waits == 0


def test_a_silent_peer_is_noticed_within_a_spin(asked):
    with RawServer(accept_then_drain) as server:
        seen = []
        for event in WebSocket(server.url).connect(
                spin=SPIN, poll=None, ping_rate=0.05, ping_timeout=0.1):
            seen.append(event.name)
            if event.name == 'ready':
                asked.begin()
    assert seen[-2:] == ['unresponsive', 'disconnected']
    assert asked.waits == 0


def test_a_close_frame_that_is_not_answered_is_noticed_within_a_spin(asked):
    with RawServer(accept_then_drain) as server:
        websocket = WebSocket(server.url)
        for event in websocket.connect(spin=SPIN, poll=None, close_timeout=0.05):
            if event.name == 'ready':
                asked.begin()
                websocket.close()
    assert 'no answer to the Close frame' in event.reason
    assert asked.waits == 0


# -- wherever the options of a loop go --

def test_calls_spin(link, asked, still_clock):
    script = Sender()
    with link.serve(script) as server, link.connect(server.url) as websocket:
        websocket.open(spin=SPIN)
        asked.begin(on_third=script.send)
        assert websocket.receive(PATIENCE) == u'at last'
        websocket.force_disconnect()
    assert asked.questions >= 3
    assert asked.waits == 0


def test_a_call_s_timeout_ends_a_spin(asked):
    with RawServer(accept_then_drain) as server, WebSocket(server.url) as websocket:
        websocket.open(spin=SPIN)
        asked.begin()
        with pytest.raises(errors.WebSocketTimeout):
            websocket.receive(0.02)
        websocket.force_disconnect()
    assert asked.questions >= 1
    assert asked.waits == 0


def test_the_background_thread_of_calls_spins(asked, still_clock):
    script = Sender()
    with RawServer(script) as server, WebSocket(server.url) as websocket:
        websocket.open(spin=SPIN, background=True)
        asked.of_thread([
            thread.ident for thread in threading.enumerate()
            if thread.name == 'lomond background'][0])
        asked.begin(on_third=script.send)
        assert websocket.receive(PATIENCE) == u'at last'
        websocket.force_disconnect()
    assert asked.questions >= 3
    assert asked.waits == 0


def test_an_attached_connection_spins(asked, still_clock):
    near, far = socket.socketpair()
    loop = WebSocket.attach(near).connect(spin=SPIN)
    for event in loop:
        if event.name == 'poll':
            asked.begin(on_third=lambda: far.sendall(make_frame(1, b'at last')))
        elif event.name == 'text':
            break
    loop.close()
    far.close()
    assert asked.questions >= 3
    assert asked.waits == 0


def test_persist_spins(asked, still_clock):
    script = Sender()
    with RawServer(script) as server:
        loop = persist(WebSocket(server.url), spin=SPIN)
        for event in loop:
            if event.name == 'poll':
                asked.begin(on_third=script.send)
            elif event.name == 'text':
                break
        loop.close()
    assert asked.questions >= 3
    assert asked.waits == 0
