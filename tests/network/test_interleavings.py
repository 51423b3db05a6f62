"""Threads in the sending half of a session, line by line, in many orders.

A `Stage` lets one thread run at a time, and has them take turns at lines of the engine's writer
and session. Its dice have a seed: a schedule is the same each time. The transport is a real one, on
a pair of sockets, that also watches: no thread closes it while another is inside.
"""

from __future__ import absolute_import, division, print_function

import os
import random
import socket
import sys
import threading

import pytest

from lomond.engine import blocking, queued, session, writer
from lomond.engine.stepped import QueuedClientSession
from lomond.net.transport import Transport
from lomond.opcode import Opcode
from lomond.session import WebsocketSession
from lomond.testing import open_over
from tests.network.driving import Background
from tests.network.races.match import DOCUMENTED
from tests.sampling import share
from tests.support import PATIENCE, read_frame

_FILES = {os.path.splitext(module.__file__)[0] for module in (writer, blocking, queued, session)}


class Stage(object):
    """Runs functions in threads, one at a time; the dice say at which line it is whose turn.

    A thread that waits for a lock that another holds has to `pause`.
    """

    def __init__(self, dice):
        self._dice = dice
        # Of each thread that hasn't ended: a lock that it is given. (2.7's Events are slow.)
        self._turns = {}
        self._numbers = threading.local()

    def run(self, *functions):
        self._turns = {number: threading.Lock() for number in range(len(functions))}
        for turn in self._turns.values():
            turn.acquire()
        threads = [Background(self._play, number, function)
                   for number, function in enumerate(functions)]
        self._give_turn()
        for thread in threads:
            thread.result()

    def _give_turn(self):
        self._turns[self._dice.choice(sorted(self._turns))].release()

    def _play(self, number, function):
        self._numbers.own = number
        self._turns[number].acquire()
        sys.settrace(self._trace)
        try:
            function()
        finally:
            sys.settrace(None)
            del self._turns[number]
            if self._turns:
                self._give_turn()

    def _trace(self, frame, event, _argument):
        if os.path.splitext(frame.f_code.co_filename)[0] not in _FILES:
            return None
        if event == 'line' and self._dice.random() < 0.2:
            self.pause()
        return self._trace

    def pause(self):
        """Let another thread go on, if there is one, and wait for the next turn."""
        own = self._turns[self._numbers.own]
        self._give_turn()
        own.acquire()

    def is_alone(self):
        return len(self._turns) == 1


class StageLock(object):
    """A lock that its holder may take again, on a stage: who waits for it pauses."""

    def __init__(self, stage):
        self._stage = stage
        self._holder = None
        self._depth = 0

    def acquire(self, blocking=True):
        me = threading.current_thread()
        while self._holder not in (None, me):
            if not blocking:
                return False
            assert not self._stage.is_alone(), 'the lock was never released'
            self._stage.pause()
        self._holder = me
        self._depth += 1
        return True

    __enter__ = acquire

    def release(self):
        assert self._holder is threading.current_thread()
        self._depth -= 1
        if not self._depth:
            self._holder = None

    def __exit__(self, *_exc_info):
        self.release()


class WatchedTransport(Transport):
    """Takes note of who is inside, and pauses there, as a system call might."""

    def __init__(self, sock, stage):
        super(WatchedTransport, self).__init__(sock)
        self._stage = stage
        self.users = []
        self.faults = []

    def send(self, data, timeout):
        self.use(super(WatchedTransport, self).send, data, timeout)

    def offer(self, data):
        return self.use(super(WatchedTransport, self).offer, data)

    def use(self, method, *args):
        self.users.append(threading.current_thread())
        self._stage.pause()
        try:
            return method(*args)
        finally:
            self.users.remove(threading.current_thread())

    def close(self):
        if self.users:
            self.faults.append('closed while a thread sent')
        super(WatchedTransport, self).close()


class Play(object):
    """An open websocket on a stage, and what the threads on it do."""

    def __init__(self, session_class, seed):
        self.stage = Stage(random.Random(seed))
        sock, self.peer = socket.socketpair()
        self.peer.settimeout(PATIENCE)
        self.transport = WatchedTransport(sock, self.stage)
        self.websocket = open_over(self.transport, session_class)
        self.session = self.websocket.session
        self.session.writer.lock = StageLock(self.stage)
        self._wake = self.session.wake
        self.session.wake = self.wake
        self.is_woken = True        # the loop doesn't wait yet

    def run(self, *names):
        """Have these methods of ours take turns."""
        self.stage.run(*[getattr(self, name) for name in names])

    def send_one(self):
        self.send(1)

    def send(self, count=2):
        name = threading.current_thread().name
        for number in range(count):
            try:
                self.websocket.send_text(u'{} {}'.format(name, number))
            except DOCUMENTED:
                return

    def send_many(self):
        try:
            self.websocket.send_many([u'many 0', u'many 1'])
        except DOCUMENTED:
            pass

    def close(self):
        self.websocket.close()

    def force_disconnect(self):
        self.websocket.force_disconnect()

    def dispose(self):
        self.session.dispose()

    def answer(self):
        """As the loop does it: if the pong is left pending, the loop has to be woken."""
        self.is_woken = False
        self.session.writer.reply(Opcode.PONG, b'to a ping')

    def wake(self):
        self.is_woken = True
        self._wake()

    def check(self):
        """End it; check what arrived, and what was found on the way."""
        session = self.session
        if not session.writer.is_disposed:
            writer = session.writer
            assert not (writer.pending.any or writer.has_unsent) or self.is_woken, \
                'the loop was not woken'
            session.dispose()
        assert self.transport.is_closed, 'the socket was left open'
        assert not self.transport.faults
        frames = []
        try:
            while True:
                frames.append(read_frame(self.peer))
        except EOFError:
            pass
        firsts = [first for first, _payload in frames]
        assert 0x88 not in firsts[:-1], 'a frame after a Close frame'
        texts = [payload.rpartition(b' ') for first, payload in frames if first == 0x81]
        for sender in {sender for sender, _space, _number in texts}:
            numbers = [number for name, _space, number in texts if name == sender]
            assert numbers == [b'0', b'1'][:len(numbers)]
        sent = self.websocket.stats.sent
        assert sent.messages >= len(texts)


def explore(session_class, names, seeds):
    """Play each schedule; a failure tells its seed."""
    for seed in seeds:
        play = Play(session_class, seed)
        try:
            play.run(*names)
            play.check()
        except Exception:
            print('seed {} of {}'.format(seed, names))
            raise
        finally:
            play.transport.close()
            play.peer.close()


CASTS = [
    ('send', 'send', 'dispose'),
    ('send', 'send', 'answer'),
    ('send_one', 'answer'),         # it comes in the midst of the last send of all
    ('send', 'answer', 'close'),
    ('send_many', 'close', 'close'),
    ('send', 'send', 'force_disconnect', 'dispose'),
    ('send', 'close', 'answer', 'dispose'),
]


@pytest.mark.parametrize('session_class', [WebsocketSession, QueuedClientSession])
@pytest.mark.parametrize('names', CASTS, ids=[' '.join(names) for names in CASTS])
def test_no_order_of_steps_harms(names, session_class):
    explore(session_class, names, share(range(150)))
