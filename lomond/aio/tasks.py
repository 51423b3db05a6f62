"""Tasks that a server starts, and waits for: asyncio's, and trio's within a nursery."""

from __future__ import absolute_import, division, print_function

import asyncio

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Callable, Optional, Set  # noqa: F401


class AsyncioTasks(object):
    """Tasks of asyncio."""

    def __init__(self):
        # type: () -> None
        self._tasks = set()  # type: Set[Any]

    async def open(self):
        # type: () -> None
        """Begin: from now on tasks can be started."""

    def start(self, function, argument, on_end):
        # type: (Callable[[Any], Any], Any, Callable[[Any], Any]) -> Any
        """Run ``function(argument)`` in a task, and at its end call ``on_end(argument)``.

        Returns what has a ``cancel()``.
        """
        def finish(task):
            # type: (Any) -> None
            self._tasks.discard(task)
            if not task.cancelled():
                task.exception()    # or asyncio would report an exit that its loop raises
            on_end(argument)

        task = asyncio.ensure_future(function(argument))
        self._tasks.add(task)
        task.add_done_callback(finish)
        return task

    async def join(self):
        # type: () -> None
        """Wait until all tasks have ended."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))


class TrioTasks(object):
    """Tasks of trio, in a nursery that is open from `open` to `join`: one task calls both."""

    def __init__(self, trio):
        # type: (Any) -> None
        self._trio = trio
        self._manager = trio.open_nursery()
        self._nursery = None  # type: Any
        self._raised = None  # type: Optional[BaseException]

    async def open(self):
        # type: () -> None
        """Begin: from now on tasks can be started."""
        self._nursery = await self._manager.__aenter__()

    def start(self, function, argument, on_end):
        # type: (Callable[[Any], Any], Any, Callable[[Any], Any]) -> Any
        """Run ``function(argument)`` in a task; as `AsyncioTasks.start`."""
        scope = self._trio.CancelScope()

        async def run():
            # type: () -> None
            try:
                with scope:
                    await function(argument)
            except (KeyboardInterrupt, SystemExit) as error:
                self._raised = error     # `join` raises it: the nursery would put it into a group
                self._nursery.cancel_scope.cancel()
            finally:
                on_end(argument)

        self._nursery.start_soon(run)
        return scope

    async def join(self):
        # type: () -> None
        """Wait until all tasks have ended; raise the exit that one of them raised."""
        # So that no cancellation of the caller's becomes part of a group.
        self._nursery.cancel_scope.shield = True
        await self._manager.__aexit__(None, None, None)
        if self._raised is not None:
            raise self._raised
