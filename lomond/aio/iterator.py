"""What a WebSocket and a pool have in common in an event loop: one task iterates, and the end."""

from __future__ import absolute_import, division, print_function

from functools import partial

from lomond import errors
from lomond._compat import TYPE_CHECKING
from lomond.aio.loops import current_loop

if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar  # noqa: F401

    Self = TypeVar('Self', bound='LoopIterator')


class LoopIterator(object):
    """Is iterated over by one task of an event loop; a subclass yields the events.

    It refers to nothing that refers to it: the last reference frees it at once.
    """

    # What to do once it has ended, and what to write instead of what is wrong.
    _again = _usage = ''

    def __init__(self):
        # type: () -> None
        self._loop = None  # type: Any
        self._run = None  # type: Any       # what to dispose of at the end, once it began
        self._is_over = False
        # While what `break_off` frees is in use: it takes effect afterwards.
        self._is_busy = False

    def __aiter__(self):
        # type: (Self) -> Self
        if self._is_over:
            raise errors.WebSocketUnavailable('this has ended: ' + self._again)
        return self

    if not TYPE_CHECKING:       # for a type checker these are errors already
        def __await__(self):
            raise TypeError(self._usage)

        __iter__ = __enter__ = __await__

        def __exit__(self, *_exc_info):
            pass        # Python looks it up before it calls __enter__

    def _begin(self):
        # type: () -> None
        """Begin in the loop that runs now."""
        loop = current_loop(self)
        try:
            run = self._start(loop)
        except BaseException:
            loop.close()
            raise
        self._loop = loop
        self._run = run
        if self._is_over:       # a function of the user's, or a signal's handler, broke it off
            self.break_off()

    def _start(self, loop):
        # type: (Any) -> Any
        """Begin; return what has a ``dispose()`` that frees everything."""
        raise NotImplementedError

    def _forget(self):
        # type: () -> None
        """Forget the events that the task hasn't taken."""
        raise NotImplementedError

    def _check_task(self):
        # type: () -> None
        """Raise WebSocketUnavailable unless this task may wait for an event."""
        if self._loop is None:
            return
        if self._loop.waiter is not None:
            raise errors.WebSocketUnavailable(
                'another task is iterating: let that one pass on the events')
        self._loop.check()

    def _new_wait(self, watch):
        # type: (Callable[[], Any]) -> Any
        """Return what to await until there may be an event; then set the loop's waiter to None.

        ``watch()`` has the loop call when there may be one.
        """
        loop = self._loop
        waiter = loop.waiter = loop.new_waiter()
        self._is_busy = True
        try:
            if not self._is_over:   # by a signal's handler
                watch()
        finally:
            self._is_busy = False
        if self._is_over:
            self.break_off()
            loop.release(waiter)
        return loop.wait(waiter)

    def break_off(self):
        # type: () -> None
        """Break what is open, or end the attempt to connect, and free everything, at once.

        The iteration ends. In another thread than the loop's this takes effect a moment later.
        """
        self._is_over = True
        if self._is_busy:       # this is a signal's handler, or a function of the user's
            return
        self._forget()
        run, self._run = self._run, None
        if run is not None:
            self._loop.free(partial(_end, self._loop, run))

    async def __aenter__(self):
        # type: (Self) -> Self
        return self

    async def __aexit__(self, *_exc_info):
        # type: (*Any) -> None
        # Nothing is awaited: this may be a task that is cancelled.
        self.break_off()

    def __del__(self):
        # type: () -> None
        self.break_off()


def _end(loop, run):
    # type: (Any, Any) -> None
    loop.release_waiter()
    loop.close()
    run.dispose()
