"""A `Pool` in an event loop: one asynchronous iterator over the events of all its members."""

from __future__ import absolute_import, division, print_function

from functools import partial

from lomond import errors
from lomond._compat import TYPE_CHECKING
from lomond._hints import takes_options
from lomond.aio.iterator import LoopIterator
from lomond.engine.timers import NEVER
from lomond.net.waiter import READ
from lomond.pool import Pool

if TYPE_CHECKING:
    from typing import Any, Callable, Optional, Tuple  # noqa: F401

    from lomond.events import AnyEvent  # noqa: F401
    from lomond.websocket import WebSocket  # noqa: F401


@takes_options('aio.pool', '')
def pool(pool):
    # type: (Pool) -> PoolEvents
    """Return an asynchronous iterator over a pool's events, instead of iterating over the pool.

    Needs epoll or kqueue: Linux, macOS, BSD.
    """
    if hasattr(pool, '__next__'):
        raise TypeError(
            'aio.pool takes the Pool itself, not its iterator: write aio.pool(pool). There is no '
            'polling: have another task do what is to be done regularly')
    if not isinstance(pool, Pool):
        raise TypeError('aio.pool takes a Pool, not {!r}: write aio.pool(Pool())'.format(pool))
    return PoolEvents(pool)


class PoolEvents(LoopIterator):
    """Pairs of a WebSocket and its event, as a plain loop over the `Pool` yields them.

    One task iterates. While it handles an event, no member receives anything. Leaving
    ``async with`` breaks all connections, and so does the end of the last reference to it.

    A task that is cancelled while it waits for an event loses none.
    """

    _again = 'to connect again, call aio.pool(pool) again'
    _usage = ('aio.pool() returns an asynchronous iterator: write async for websocket, event in '
              'aio.pool(pool): ...')

    def __init__(self, pool):
        # type: (Pool) -> None
        super(PoolEvents, self).__init__()
        self._pool = pool
        self._events = iter(())  # type: Any
        self._error = None  # type: Optional[OSError]

    def _start(self, loop):
        # type: (Any) -> _Iteration
        events = self._events = self._pool.iterate(waits=False)
        return _Iteration(loop, events)

    async def __anext__(self):
        # type: () -> Tuple[WebSocket, AnyEvent]
        self._check_task()
        if self._loop is None and not self._is_over:
            self._begin()
        for websocket, event in self._events:
            if event is not None:
                return websocket, event
            fd, left = self._pool.waits_for
            if self._is_over:
                break
            if fd is None:
                self.break_off()
                raise errors.WebSocketUnavailable(
                    'this system has neither epoll nor kqueue: iterate over the Pool in a thread')
            try:
                await self._new_wait(partial(
                    self._loop.watch, ((fd, READ),), None if left == NEVER else left))
            finally:
                self._loop.waiter = None
            if self._error is not None:
                self.break_off()
                raise self._error
        self.break_off()
        raise StopAsyncIteration

    def _forget(self):
        # type: () -> None
        self._events = iter(())

    def on_ready(self):
        # type: () -> None
        """Let the task go on; the loop calls this."""
        if self._loop.waiter is None:
            self._loop.pause()      # it is busy
        self._loop.release_waiter()

    def fail(self, error):
        # type: (OSError) -> None
        """Have the iteration raise an error: the loop can't wait for the pool."""
        self._error = error


class _Iteration(object):
    """A pool's generator, to be closed at the end."""

    def __init__(self, loop, events):
        # type: (Any, Any) -> None
        self._loop = loop
        self._events = events

    def dispose(self):
        # type: () -> None
        """Close it: in a moment, if this is called in a step of it."""
        if self._events.gi_running:
            self._loop.call_soon(self.dispose)
        else:
            self._events.close()
