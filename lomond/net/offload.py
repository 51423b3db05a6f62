"""Calls that block, such as the resolver's: made in a thread of their own, waited for in the loop.

So a deadline holds, `close()` and `force_disconnect()` work, and Ctrl-C comes
through. The thread lives as long as the call.
"""

from __future__ import absolute_import, division, print_function

import socket
import threading

from lomond._compat import TYPE_CHECKING, monotonic
from lomond.net.selectors import Waker
from lomond.net.wait import Wait

if TYPE_CHECKING:
    from typing import Any, Callable, Iterator  # noqa: F401


def offload(call, deadline, discard=None):
    # type: (Callable[[], Any], float, Callable[[Any], Any]|None) -> Iterator[Any]
    """Yield each `Wait`, and last what ``call()`` returns; what it raises is raised here.

    When the deadline comes first, raises socket.timeout. Then, and when this
    generator is closed, the call goes on to its own end, and nobody waits for
    it; its result, if it comes to one, is given to ``discard``.
    """
    job = _Job(call, discard)
    thread = threading.Thread(target=job.run, name='lomond resolver')
    thread.daemon = True
    try:
        try:
            thread.start()
        except RuntimeError:
            # No more threads: better to wait for it than to fail.
            job.run()
        while not job.is_done:
            yield Wait((job.waker.interest,), deadline)
            if not job.is_done and monotonic() >= deadline:
                raise socket.timeout('timed out')
        result = job.take()
    finally:
        job.abandon()
    yield result


class _Job(object):
    """A call, and what becomes of it."""

    def __init__(self, call, discard):
        # type: (Callable[[], Any], Any) -> None
        self.waker = Waker()
        self.is_done = False
        self._call = call
        self._discard = discard
        self._lock = threading.Lock()
        self._is_abandoned = False
        self._result = None  # type: Any
        self._error = None  # type: Any

    def run(self):
        # type: () -> None
        """Make the call; in the thread."""
        try:
            self._result = self._call()
        except BaseException as error:      # it is for the loop to raise
            self._error = error
        with self._lock:
            self.is_done = True
            is_abandoned = self._is_abandoned
        self.waker.wake()
        if is_abandoned:
            self._drop()

    def take(self):
        # type: () -> Any
        """Return the result, or raise the error; once it is done."""
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error       # its traceback leads back here
        self._discard = None
        return self._result

    def abandon(self):
        # type: () -> None
        """Have nothing more to do with it; after `take`, or instead."""
        with self._lock:
            self._is_abandoned = True
            is_done = self.is_done
        self.waker.close()
        if is_done:
            self._drop()

    def _drop(self):
        # type: () -> None
        discard, self._discard = self._discard, None
        if discard is not None and self._result is not None:
            discard(self._result)
