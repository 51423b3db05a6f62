"""Ends a wait from another thread or a signal's handler."""

from __future__ import absolute_import, division, print_function

import select
import socket

from lomond._compat import TYPE_CHECKING, is_interrupt, set_close_on_exec
from lomond._locks import ProcessLock
from lomond.net.waiter import LONGEST, READ, prepare

if TYPE_CHECKING:
    from typing import Optional  # noqa: F401

    from lomond.net.waiter import Interest  # noqa: F401


class Waker(object):
    """Ends a `wait` from another thread, through a pair of sockets."""

    def __init__(self):
        # type: () -> None
        self._lock = ProcessLock()  # a signal's handler may wake, too
        self._is_closed = False
        self._is_wanted = False
        self._reader, self._writer = socket.socketpair()
        for sock in (self._reader, self._writer):
            sock.setblocking(False)
            set_close_on_exec(sock)
        self.interest = (self._reader.fileno(), READ)
        self._watched = None  # type: Optional[Interest]

    def wait(self, interest, timeout):
        # type: (Interest, Optional[float]) -> None
        """Wait as `wait` does, or for a wake, which is forgotten then; for one thread.

        It may return early, for nothing. As long as `interest` is the same
        object, what it takes to wait for it is made once.
        """
        if interest is not self._watched:
            self._wait_once = prepare(tuple(interest) + (self.interest,))
            self._watched = interest
        try:
            ready = self._wait_once(
                LONGEST if timeout is None or timeout > LONGEST else timeout)
        except (select.error, OSError) as error:
            if not is_interrupt(error):
                raise
            return
        for fd, _what in ready:
            if fd == self.interest[0]:
                self.clear()

    def wake(self):
        # type: () -> None
        """Make the present wait, or the next, return at once. Never raises."""
        self._is_wanted = True
        # The lock: the descriptor must not become another's meanwhile. Who finds it taken doesn't
        # wait, as he may have what its holder waits for, in a signal's handler: it looks again.
        lock = self._lock()
        while self._is_wanted and lock.acquire(False):
            try:
                self._is_wanted = False
                if not self._is_closed:
                    self._writer.send(b'\0')
            except socket.error:
                pass            # it is full of wakes already
            finally:
                lock.release()

    def clear(self):
        # type: () -> None
        """Forget the wakes so far."""
        try:
            while self._reader.recv(1024):
                pass
        except socket.error:
            pass

    def close(self):
        # type: () -> None
        with self._lock():
            self._is_closed = True
            self._reader.close()
            self._writer.close()
