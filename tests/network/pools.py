"""What the tests of `lomond.pool` share: loops in a thread, scripts, the system's ways to wait."""

from __future__ import absolute_import, division, print_function

import select
import threading
from contextlib import contextmanager

from lomond.net.waiter import WAYS
from tests.network.driving import Background
from tests.support import PATIENCE, answer_upgrade, make_frame, read_frame

WAYS_HERE = [way for way in WAYS if hasattr(select, way)]

#: Nothing but the peer, the test or a wake ends a wait.
QUIET = {'poll': None, 'ping_rate': 0}


class Loop(object):
    """Iterates over a pool in a thread of its own, and records what it yields."""

    def __init__(self, pool, handle=lambda websocket, event: None):
        self._handle = handle
        self._changed = threading.Condition()
        self.pool = pool
        self.seen = []      # pairs of a websocket and the name of an event
        self._background = Background(self._run)

    def _run(self):
        for websocket, event in self.pool:
            self._handle(websocket, event)
            with self._changed:
                self.seen.append((websocket, event.name))
                self._changed.notify_all()

    def wait_for(self, name, *websockets):
        """Wait until each of these WebSockets has had an event of this name."""
        self.wait_until(lambda seen: all((websocket, name) in seen for websocket in websockets))

    def wait_until(self, condition):
        """Wait until ``condition(seen)`` is true; each time there must be one more event."""
        with self._changed:
            while not condition(self.seen):
                before = len(self.seen)
                self._changed.wait(PATIENCE)
                assert len(self.seen) > before, self.seen

    def end(self):
        """Wait until the loop has ended; return what was recorded."""
        self._background.result()
        return self.seen


@contextmanager
def looping(pool, handle=lambda websocket, event: None):
    """Iterate over a pool in a thread; close the pool at the end of the block."""
    loop = Loop(pool, handle)
    try:
        yield loop
    finally:
        pool.close(timeout=0)
        loop.end()


def names_of(seen, websocket):
    """Return the names of a WebSocket's events, in their order."""
    return [name for owner, name in seen if owner is websocket]


def run(pool, handle=lambda websocket, event: None):
    """Iterate over a pool to its end; return what it yielded, events by their names."""
    seen = []
    for websocket, event in pool:
        seen.append((websocket, event.name))
        handle(websocket, event)
    return seen


def flood(sock):
    """Accept, and send small messages without an end; a script of `RawServer`."""
    answer_upgrade(sock)
    while True:
        sock.sendall(make_frame(1, b'x') * 1000)


def accept_and_answer(sock, answered=None):
    """Accept, echo messages, answer pings and the Close; a script of `RawServer`.

    ``answered`` is a list of the pings that were answered.
    """
    answer_upgrade(sock)
    opcode = None
    while opcode != 8:
        first, payload = read_frame(sock)
        opcode = first & 15
        sock.sendall(make_frame(10 if opcode == 9 else opcode, payload))
        if opcode == 9 and answered is not None:
            answered.append(payload)
