"""A pair of sockets that ends a wait from another thread, or from a signal's handler.

It waits for nothing itself: its ``interest`` is for whatever waits.
"""

from __future__ import absolute_import, division, print_function

import socket

from lomond._compat import TYPE_CHECKING, set_close_on_exec
from lomond._locks import ProcessLock
from lomond.net.closing import close_socket
from lomond.net.waiter import READ, check_limit

if TYPE_CHECKING:
    from typing import Tuple  # noqa: F401


class Waker(object):
    """Makes a descriptor ready to be read, until that is cleared.

    Attributes: ``interest``, the pair of that descriptor and `READ`. Raises socket.error if there
    are no descriptors for it, or if nothing can wait for them.
    """

    def __init__(self):
        # type: () -> None
        self._lock = ProcessLock()  # a signal's handler may wake, too
        self._is_closed = False
        self._is_wanted = False
        self._reader, self._writer = pair = socket.socketpair()
        try:
            check_limit(self._reader.fileno())
        except socket.error:
            for sock in pair:
                sock.close()
            raise
        for sock in pair:
            sock.setblocking(False)
            set_close_on_exec(sock)
        self.interest = (self._reader.fileno(), READ)  # type: Tuple[int, int]

    def wake(self):
        # type: () -> None
        """Make the present wait, or the next, return at once; from any thread. Never raises."""
        self._is_wanted = True
        # With the lock, as the descriptor must not become another's meanwhile. A caller that finds
        # it taken doesn't wait: in a signal's handler it may have interrupted the lock's holder,
        # which looks again.
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
        """Forget the wakes so far; for the thread that waits."""
        try:
            while self._reader.recv(1024):
                pass
        except socket.error:
            pass

    def close(self):
        # type: () -> None
        """Free the sockets; `wake` and `clear` do nothing from now on."""
        with self._lock():
            self._is_closed = True
            close_socket(self._reader)
            self._writer.close()
