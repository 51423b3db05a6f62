"""A `Pool` in an event loop: one asynchronous iterator over the events of all its members."""

from __future__ import absolute_import, division, print_function

from lomond import errors
from lomond._compat import TYPE_CHECKING
from lomond.aio.loops import current_loop
from lomond.net.waiter import READ

if TYPE_CHECKING:
    from typing import Any, Optional, Tuple  # noqa: F401

    from lomond.events import AnyEvent  # noqa: F401
    from lomond.pool import Pool  # noqa: F401
    from lomond.websocket import WebSocket  # noqa: F401


def pool(pool):
    # type: (Pool) -> PoolEvents
    """Return an asynchronous iterator over a pool's events, instead of iterating over the pool.

    Needs epoll or kqueue: Linux, macOS, BSD.
    """
    return PoolEvents(pool)


class PoolEvents(object):
    """Pairs of a WebSocket and its event, as a plain loop over the `Pool` yields them.

    One task iterates. While it handles an event, no member receives anything. Leaving
    ``async with`` breaks all connections.
    """

    def __init__(self, pool):
        # type: (Pool) -> None
        self._pool = pool
        self._events = None  # type: Any
        self._loop = None  # type: Any
        self._waiter = None  # type: Any

    def __aiter__(self):
        # type: () -> PoolEvents
        return self

    async def __anext__(self):
        # type: () -> Tuple[Optional[WebSocket], AnyEvent]
        if self._waiter is not None:
            raise errors.WebSocketUnavailable('another task is iterating over this pool')
        if self._loop is None:
            self._loop = current_loop(self)
            self._events = self._pool.iterate(waits=False)
        for websocket, event in self._events:
            if event is not None:
                return websocket, event
            await self._wait()
        self.break_off()
        raise StopAsyncIteration

    async def _wait(self):
        # type: () -> None
        fd, left = self._pool.waits_for
        if fd is None:
            raise errors.WebSocketUnavailable(
                'this system has neither epoll nor kqueue: iterate over the Pool in a thread')
        waiter = self._waiter = self._loop.new_waiter()
        if not left:
            self._loop.release(waiter)
        self._loop.watch(((fd, READ),), left)
        try:
            await self._loop.wait(waiter)
        finally:
            self._waiter = None
            self._loop.pause()

    def on_ready(self):
        # type: () -> None
        """Let the task go on; the loop calls this."""
        if self._waiter is not None:
            self._loop.release(self._waiter)

    def break_off(self):
        # type: () -> None
        """Break all connections, and free everything."""
        if self._loop is not None:
            self._loop.close()
        if self._events is not None:
            self._events.close()

    async def __aenter__(self):
        # type: () -> PoolEvents
        return self

    async def __aexit__(self, *_exc_info):
        # type: (*Any) -> None
        self.break_off()
