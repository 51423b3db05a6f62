"""Calls that block, such as the resolver's: made in a thread (`workers`), waited for in the loop.

So a deadline holds, `close()` and `force_disconnect()` work, and Ctrl-C comes
through. Nothing can cut the call itself short.
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

_workers = Workers()


@operation
def offload(call, deadline, discard=None, abandoned=None):
    # type: (Callable[[], Any], float, Optional[Callable[[Any], Any]], Optional[List[Any]]) -> Steps
    """Make a call in a thread; its result is what ``call()`` returns, and raised is what it raises.

    When the deadline, by the monotonic clock, comes first, raises
    socket.timeout. Then, and when this operation is closed, the call is abandoned: if it has
    begun, it goes on to its own end, and its result, if it comes to one, is
    given to ``discard``.

    ``abandoned`` is a list for all calls of a WebSocket, which has those that are abandoned and
    have not returned. With `MAX_ABANDONED` in it raises socket.error: a
    call that never returns must not cost a thread with each attempt.

    Raises socket.error as well where there is no thread to be had, or no
    descriptor: the call isn't made in the loop, which it would block.
    """
    if abandoned is not None and _count_own(abandoned) >= MAX_ABANDONED:
        raise socket.error('{} earlier calls of this WebSocket have not returned yet'.format(
            MAX_ABANDONED))
    job = _Job(call, discard, abandoned)
    try:
        shortage = find_shortage()
        if shortage is not None:
            # The call will want one. And if the first thread that ends finds none, then up to
            # 3.8 that aborts the process ("libgcc_s.so.1 must be installed").
            raise shortage
        _workers.submit(job)
        while not job.is_done:
            yield Wait((job.waker.interest,), deadline)
            if not job.is_done and monotonic() >= deadline:
                if not job.has_begun and _workers.are_busy:
                    raise socket.error(
                        errno.EAGAIN, u'all {} threads for look-ups, and for functions given as '
                        u'sock or resolver, wait for earlier calls to return'.format(
                            _workers.most))
                raise socket.timeout('timed out')
        result = job.take()
    finally:
        job.abandon()
    yield result


def _count_own(jobs):
    # type: (List[Any]) -> int
    """Return how many jobs are this process's: no other one's returns here."""
    return sum(job.process == os.getpid() for job in jobs)


def logged(function, name):
    # type: (Callable[..., Any], str) -> Callable[..., Any]
    """Return the user's function, made to log what it raises, but for errors of the system.

    In the thread: when it raises, the loop may have stopped to wait for it.
    """
    def call(*args):
        # type: (*Any) -> Any
        try:
            return function(*args)
        except EnvironmentError:
            raise               # the network's doing: an event will say so
        except Exception:
            log.exception('the function given as %s failed', name)
            raise
    return call


class _Job(object):
    """A call, and what becomes of it.

    Attributes: ``has_begun``; ``is_done``; ``process``, where it was made.
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
        # The collector may close a generator, and so abandon its job, in the
        # midst of `run`: hence an RLock.
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
        except BaseException as error:      # it is for the loop to raise
            self._error = error
        del call        # with what it holds, before the loop goes on
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
                del error       # its traceback leads back here
        result, self._result = self._result, None
        return result

    def abandon(self):
        # type: () -> None
        """Have nothing more to do with it; after `take`, or instead."""
        with self._lock():
            self._is_abandoned = True
            has_begun, is_done = self.has_begun, self.is_done
            if has_begun and not is_done:
                self._abandoned.append(self)
        self.waker.close()
        if not has_begun:
            self._call = None
            _workers.withdraw(self)
        elif is_done:
            self._drop()

    def _drop(self):
        # type: () -> None
        """Discard a result that wasn't taken; the last one to run of `run` and `abandon` does."""
        self._error = None      # its traceback leads back here
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
