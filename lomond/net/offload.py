"""Calls that block, such as the resolver's: made in a thread of their own, waited for in the loop.

So a deadline holds, `close()` and `force_disconnect()` work, and Ctrl-C comes
through. The thread lives as long as the call, which nothing can cut short.
"""

from __future__ import absolute_import, division, print_function

import errno
import logging
import socket
import threading

from lomond._compat import TYPE_CHECKING, monotonic
from lomond._describe import describe
from lomond._locks import ProcessLock
from lomond.net.shortage import find_shortage
from lomond.net.steps import Wait, operation
from lomond.net.waker import Waker

if TYPE_CHECKING:
    from typing import Any, Callable, List, Optional  # noqa: F401

    from lomond.net.steps import Steps  # noqa: F401

log = logging.getLogger('lomond')  # type: logging.Logger

#: How many calls of one kind may be left to themselves at a time.
MAX_ABANDONED = 4


@operation
def offload(call, deadline, discard=None, abandoned=None):
    # type: (Callable[[], Any], float, Optional[Callable[[Any], Any]], Optional[List[Any]]) -> Steps
    """Make a call in a thread; its result is what ``call()`` returns, and raised is what it raises.

    When the deadline, by the monotonic clock, comes first, raises
    socket.timeout. Then, and when this generator is closed, the call goes on
    to its own end, and nobody waits for it; its result, if it comes to one, is
    given to ``discard``.

    ``abandoned`` is a list for all calls of a kind, in which those stand that
    are left to themselves. With `MAX_ABANDONED` in it raises socket.error: a
    call that never returns must not cost a thread with each attempt.

    Raises socket.error as well where there is no thread to be had, or no
    descriptor: the call isn't made in the loop, which it would block.
    """
    if abandoned is not None and len(abandoned) >= MAX_ABANDONED:
        raise socket.error('{} earlier calls have not come back yet'.format(len(abandoned)))
    job = _Job(call, discard, abandoned)
    try:
        thread = threading.Thread(target=job.run_in_thread, name='lomond call')
        thread.daemon = True
        try:
            shortage = find_shortage()
            if shortage is not None:
                # The call will want one. And if the first thread that ends finds none, then up to
                # 3.8 that aborts the process ("libgcc_s.so.1 must be installed").
                raise shortage
            start_thread(thread)
        except socket.error:
            job.cancel()
            raise
        while not job.is_done:
            yield Wait((job.waker.interest,), deadline)
            if not job.is_done and monotonic() >= deadline:
                raise socket.timeout('timed out')
        result = job.take()
    finally:
        job.abandon()
    yield result


def logged(function, name):
    # type: (Callable[..., Any], str) -> Callable[..., Any]
    """Return the caller's function, made to log what it raises, but for errors of the system.

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


def start_thread(thread):
    # type: (threading.Thread) -> None
    """Start a thread; raises socket.error if there is none to be had."""
    try:
        thread.start()
    except threading.ThreadError as error:      # RuntimeError on 3
        if thread.ident is not None or thread in threading.enumerate():
            # It was. This is what start() may make of a Ctrl-C that comes while it waits for
            # the thread to begin; 2.7 doesn't say any more what it was made of.
            raise getattr(error, '__context__', None) or KeyboardInterrupt()
        # No more of them, or the interpreter is about to end.
        raise socket.error(errno.EAGAIN, u'{} (raise the limit of threads: ulimit -u)'.format(
            describe(error)))


class _Job(object):
    """A call, and what becomes of it."""

    def __init__(self, call, discard, abandoned):
        # type: (Callable[[], Any], Optional[Callable[[Any], Any]], Optional[List[Any]]) -> None
        self.waker = Waker()
        self.is_done = False
        self._call = call  # type: Any
        self._discard = discard
        self._abandoned = [] if abandoned is None else abandoned
        # The collector may close a generator, and so abandon its job, in the
        # midst of `run`: hence an RLock.
        self._lock = ProcessLock()
        self._is_abandoned = False
        self._result = None  # type: Any
        self._error = None  # type: Optional[BaseException]

    def run_in_thread(self):
        # type: () -> None
        """Run, and say nothing at the end of the interpreter.

        2.7 lets the thread go on there for a while, with all names gone, those
        of the exceptions included.
        """
        try:
            self.run()
        except:     # noqa: E722    # pragma: no cover    # nosec B110  # see above
            pass

    def run(self):
        # type: () -> None
        """Make the call."""
        call, self._call = self._call, None
        try:
            self._result = call()
        except StopIteration as error:
            # It would end the generator that it is raised in.
            self._error = RuntimeError('StopIteration: {}'.format(error))
        except BaseException as error:      # it is for the loop to raise
            self._error = error
        del call        # with what it holds, before anyone is told
        with self._lock():
            self.is_done = True
            is_abandoned = self._is_abandoned
        self.waker.wake()
        if is_abandoned:
            self._drop()

    def cancel(self):
        # type: () -> None
        """Give up the call, which no thread has begun."""
        self._call = None
        self.is_done = True

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
            is_done = self.is_done
            if not is_done:
                self._abandoned.append(self)
        self.waker.close()
        if is_done:
            self._drop()

    def _drop(self):
        # type: () -> None
        """Discard what nobody took; for whoever comes last, `run` or `abandon`."""
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
        except Exception:               # nobody is there to raise it at
            log.exception('could not close what a call returned too late')
