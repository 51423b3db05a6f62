"""Calls that block, such as the resolver's: a thread makes them (`workers`), the loop waits.

So the loop keeps its deadline, and `close()`, `force_disconnect()` and Ctrl-C work. The call
itself can't be interrupted.
"""

from __future__ import absolute_import, division, print_function

import errno
import logging
import os
import socket

from lomond._compat import TYPE_CHECKING, monotonic
from lomond._locks import ProcessLock
from lomond.net.shortage import find_shortage
from lomond.net.steps import Wait, operation
from lomond.net.waker import Waker
from lomond.net.workers import Workers

if TYPE_CHECKING:
    from typing import Any, Callable, List, Optional  # noqa: F401

    from lomond.net.steps import Steps  # noqa: F401

log = logging.getLogger('lomond')  # type: logging.Logger

#: How many calls of a WebSocket may be abandoned at a time, and still go on.
MAX_ABANDONED = 4

#: The threads that make the calls of all WebSockets of the process.
shared_workers = Workers()  # type: Workers


@operation
def offload(call, deadline, discard=None, abandoned=None):
    # type: (Callable[[], Any], float, Optional[Callable[[Any], Any]], Optional[List[Any]]) -> Steps
    """Make a call in a thread; its result is what ``call()`` returns, and raised is what it raises.

    When the deadline, by the monotonic clock, comes first, raises
    socket.timeout. Then, and when this operation is closed, the call is abandoned: if it has
    begun, it goes on to its end, and its result, if it returns one, is
    passed to ``discard``.

    ``abandoned`` is a list for all calls of a WebSocket: `offload` keeps in it those that are
    abandoned and have not returned. With `MAX_ABANDONED` in it raises socket.error: a
    call that never returns must not occupy another thread with each attempt.

    Raises socket.error as well if no thread, or no descriptor, is available: the
    call would block the loop.
    """
    if abandoned is not None and _count_own(abandoned) >= MAX_ABANDONED:
        raise socket.error('{} earlier calls of this WebSocket have not returned yet'.format(
            MAX_ABANDONED))
    job = _Job(call, discard, abandoned)
    try:
        shortage = find_shortage()
        if shortage is not None:
            # The call will need one. And up to 3.8 the process aborts if none is left when its
            # first thread ends ("libgcc_s.so.1 must be installed").
            raise shortage
        shared_workers.submit(job)
        while not job.is_done:
            yield Wait((job.waker.interest,), deadline)
            if not job.is_done and monotonic() >= deadline:
                if not job.has_begun and shared_workers.are_busy:
                    raise socket.error(
                        errno.EAGAIN, u'all {} threads for lookups, and for functions given as '
                        u'sock or resolver, are busy with earlier calls'.format(
                            shared_workers.most))
                raise socket.timeout('timed out')
        result = job.take()
    finally:
        job.abandon()
    yield result


def _count_own(jobs):
    # type: (List[Any]) -> int
    """Return how many jobs are this process's: after a fork, the parent's never return here."""
    return sum(job.process == os.getpid() for job in jobs)


def logged(function, name, logger):
    # type: (Callable[..., Any], str, Any) -> Callable[..., Any]
    """Return the user's function, made to log what it raises, except errors of the system.

    The thread logs: when the function raises, the loop may not wait for it any more.
    """
    def call(*args):
        # type: (*Any) -> Any
        try:
            return function(*args)
        except EnvironmentError:
            raise               # a fault of the network: an event will say so
        except Exception:
            logger.exception('the function given as %s failed', name)
            raise
    return call


class _Job(object):
    """A call, and its outcome.

    Attributes: ``waker``, which wakes the loop at its end; ``has_begun``; ``is_done``;
    ``process``, where it was made.
    """

    def __init__(self, call, discard, abandoned):
        # type: (Callable[[], Any], Optional[Callable[[Any], Any]], Optional[List[Any]]) -> None
        self.waker = Waker()
        self.has_begun = False
        self.is_done = False
        self.process = os.getpid()
        self._call = call  # type: Any
        self._discard = discard
        self._abandoned = [] if abandoned is None else abandoned
        # An RLock: the collector may close an operation, and so abandon its job, while
        # the same thread is in `run`.
        self._lock = ProcessLock()
        self._is_abandoned = False
        self._result = None  # type: Any
        self._error = None  # type: Optional[BaseException]

    def run(self):
        # type: () -> None
        """Make the call, in a thread, unless it was abandoned before."""
        with self._lock():
            if self._is_abandoned:
                return
            self.has_begun = True
        call, self._call = self._call, None
        try:
            self._result = call()
        except StopIteration as error:
            # It would end the generator that it is raised in.
            self._error = RuntimeError('StopIteration: {}'.format(error))
        except BaseException as error:      # the loop raises it
            self._error = error
        del call        # and all that it refers to, before the loop goes on
        with self._lock():
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
                del error       # its traceback refers to this frame
        result, self._result = self._result, None
        return result

    def abandon(self):
        # type: () -> None
        """Don't wait for it any more; after `take`, or instead."""
        with self._lock():
            self._is_abandoned = True
            has_begun, is_done = self.has_begun, self.is_done
            if has_begun and not is_done:
                self._abandoned.append(self)
        self.waker.close()
        if not has_begun:
            self._call = None
            shared_workers.withdraw(self)
        elif is_done:
            self._drop()

    def _drop(self):
        # type: () -> None
        """Discard a result that wasn't taken: `run` and `abandon` call this, the last of them."""
        self._error = None      # its traceback refers to this job
        if self in self._abandoned:
            self._abandoned.remove(self)
        result, self._result = self._result, None
        if result is None or self._discard is None:
            return
        try:
            self._discard(result)
        except EnvironmentError:        # the close of a broken connection
            log.debug('could not close what a call returned too late', exc_info=True)
        except Exception:               # there is nothing to raise it in
            log.exception('could not close what a call returned too late')
