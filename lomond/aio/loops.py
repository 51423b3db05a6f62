"""The event loops: how each calls back when a descriptor is ready, or its time has come.

A loop here serves one connection, or one pool. It knows neither: it calls a method of its owner,
which it refers to weakly, so that an owner that nobody needs any more is freed at once.
"""

from __future__ import absolute_import, division, print_function

import asyncio
import errno
import os
import sys
import weakref

from lomond import errors
from lomond._compat import TYPE_CHECKING, thread_module
from lomond.engine.timers import NEVER
from lomond.net.closing import add_waiter
from lomond.net.waiter import READ, WRITE

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple  # noqa: F401

    from lomond.net.waiter import Interest  # noqa: F401

# Seconds that a timer may be late for a deadline that has moved closer.
_SLACK = 0.001

# Seconds after which the owner looks what is due, while the task handles an event.
_GLANCE = 1.0


# 3.6 has only the other one.
_current_task = getattr(asyncio, 'current_task', None) \
    or asyncio.Task.current_task  # type: ignore[attr-defined]


class _Watched(object):
    """The loops that watch descriptors, by descriptor; closing a socket calls `forget`.

    One for all loops of the process: with a waiter for each loop, closing a socket would take
    longer the more connections there are.
    """

    def __init__(self):
        # type: () -> None
        # An entry may be outdated: a loop forgets only what it watches.
        self.loops = weakref.WeakValueDictionary()  # type: weakref.WeakValueDictionary[int, _Loop]
        add_waiter(self)

    def forget(self, fd):
        # type: (int) -> None
        """Have the loop that watches a descriptor forget it, in the process of that loop."""
        loop = self.loops.get(fd)
        if loop is not None and loop.is_in_its_process:
            loop.forget(fd)


_watched = _Watched()


def current_loop(owner):
    # type: (Any) -> Any
    """Return what calls ``owner.on_ready()`` in the loop that runs now.

    Raises RuntimeError if none runs.
    """
    trio = sys.modules.get('trio')
    if trio is not None:
        try:
            trio.lowlevel.current_task()
        except RuntimeError:
            pass
        else:
            return _TrioLoop(owner, trio)
    return _AsyncioLoop(owner)


class _Loop(object):
    """What both kinds share.

    `wake` may be called from any thread and from signals' handlers, `free` and `forget` from any
    thread; all else in the loop's own.
    """

    def __init__(self, owner):
        # type: (Any) -> None
        self._owner = weakref.ref(owner)
        self._thread = thread_module.get_ident()
        self._process = os.getpid()
        self.is_closed = False
        #: What the task that iterates waits for; None if it doesn't.
        self.waiter = None  # type: Any
        # What is watched, compared by identity; None if that has to be looked at again.
        self._interest = ()  # type: Optional[Interest]

    @property
    def is_in_its_process(self):
        # type: () -> bool
        """False in a forked child, whose copy of the loop nobody runs."""
        return self._process == os.getpid()

    @property
    def is_here(self):
        # type: () -> bool
        """True in the thread and the process of the loop."""
        return self._thread == thread_module.get_ident() and self.is_in_its_process

    @property
    def is_current(self):
        # type: () -> bool
        """True in a task or a callback of the loop."""
        raise NotImplementedError

    def current_task(self):
        # type: () -> Any
        """Return the task that runs now."""
        raise NotImplementedError

    def check(self):
        # type: () -> None
        """Raise WebSocketUnavailable unless the loop is the one that runs the caller."""
        if not self.is_current:
            raise errors.WebSocketUnavailable(
                'this belongs to another event loop, or thread: there use the methods of the '
                'WebSocket, such as websocket.send_text and websocket.close')

    def _call_owner(self):
        # type: () -> None
        owner = self._owner()
        if owner is not None and not self.is_closed:
            owner.on_ready()

    def wake(self):
        # type: () -> None
        """Have the owner called soon, from any thread. Never raises."""
        self.call_soon(self._call_owner)

    def release_waiter(self):
        # type: () -> None
        """Let the task that iterates go on, if it waits."""
        if self.waiter is not None:
            self.release(self.waiter)

    def release(self, waiter):
        # type: (Any) -> None
        """Let the task that waits for this go on; harmless if it did already."""
        raise NotImplementedError

    def free(self, function):
        # type: (Callable[[], Any]) -> None
        """Call what frees something: in the loop, or here if that is as safe; from any thread."""
        if self.is_here or not self.is_in_its_process or not self.call_soon(function):
            function()

    def call_soon(self, function):
        # type: (Callable[[], Any]) -> bool
        """Have a function called in the loop, from any thread; False if the loop is over."""
        raise NotImplementedError

    def forget(self, fd):
        # type: (int) -> None
        """Watch a descriptor no more: it is about to be closed."""
        raise NotImplementedError


class _AsyncioLoop(_Loop):
    """asyncio's loop, or one that is made like it."""

    def __init__(self, owner):
        # type: (Any) -> None
        self._loop = asyncio.get_event_loop()
        if type(self._loop).add_reader is asyncio.AbstractEventLoop.add_reader:
            raise errors.WebSocketUnavailable(
                'this event loop has no add_reader: on Windows use asyncio.SelectorEventLoop, '
                'or a Pool in a thread')
        self._masks = {}  # type: Dict[int, int]    # what is watched, by descriptor
        self._timer = None  # type: Any
        self._timer_at = NEVER
        super(_AsyncioLoop, self).__init__(owner)

    @property
    def is_current(self):
        # type: () -> bool
        """True in a task or a callback of the loop."""
        return asyncio._get_running_loop() is self._loop

    def current_task(self):
        # type: () -> Any
        """Return the task that runs now."""
        return _current_task()

    def watch(self, interest, left):
        # type: (Interest, Optional[float]) -> None
        """Call the owner when a descriptor is ready, or after ``left`` seconds, None for never.

        Raises OSError if the loop can't wait for it.
        """
        if left == 0:
            self._loop.call_soon(self._call_owner)      # what is watched may change until then
            return
        if interest is not self._interest:
            self._set_masks(dict(interest))
            self._interest = interest
        if left is not None:
            # A timer that comes too early costs one look; one that moves costs more.
            at = self._loop.time() + left
            if at < self._timer_at - _SLACK:
                self._set_timer(at)

    def glance(self):
        # type: () -> None
        """Have the owner called after `_GLANCE` seconds, unless a timer is set."""
        if self._timer_at == NEVER:
            self._set_timer(self._loop.time() + _GLANCE)

    def _set_timer(self, at):
        # type: (float) -> None
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._on_timer)

    def pause(self):
        # type: () -> None
        """Watch no descriptor until the next `watch`."""
        self._set_masks({})
        self._interest = None

    def _set_masks(self, masks):
        # type: (Dict[int, int]) -> None
        loop = self._loop
        for fd, known in list(self._masks.items()):
            self._remove(fd, known & ~masks.get(fd, 0))
        for fd, mask in masks.items():
            known = self._masks.get(fd, 0)
            if mask & READ and not known & READ:
                loop.add_reader(fd, self._call_owner)
            if mask & WRITE and not known & WRITE:
                loop.add_writer(fd, self._call_owner)
            if mask:
                self._masks[fd] = mask
                _watched.loops[fd] = self

    def _remove(self, fd, mask):
        # type: (int, int) -> None
        """Watch a descriptor no more for what the mask says."""
        left = self._masks.pop(fd, 0) & ~mask
        if left:
            self._masks[fd] = left
        try:
            if mask & READ:
                self._loop.remove_reader(fd)
            if mask & WRITE:
                self._loop.remove_writer(fd)
        except RuntimeError:
            pass        # the loop is closed

    def forget(self, fd):
        # type: (int) -> None
        """Watch a descriptor no more: it is about to be closed."""
        if fd in self._masks:
            self._remove(fd, READ | WRITE)
            self._interest = None

    def _on_timer(self):
        # type: () -> None
        self._timer, self._timer_at = None, NEVER
        self._call_owner()

    def call_soon(self, function):
        # type: (Callable[[], Any]) -> bool
        """Have a function called in the loop, from any thread; False if the loop is over."""
        try:
            # Not call_soon: a signal's handler in the loop's own thread must end its wait.
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            return False
        return True

    def new_waiter(self):
        # type: () -> Any
        """Return what a task can wait for, once, by `wait`; `release` ends that."""
        return self._loop.create_future()

    @staticmethod
    def wait(waiter):
        # type: (Any) -> Any
        """Return what is to be awaited until somebody releases this."""
        return waiter

    def release(self, waiter):
        # type: (Any) -> None
        """Let the task that waits for this go on; harmless if it did already."""
        if not waiter.done():
            try:
                waiter.set_result(None)
            except asyncio.InvalidStateError:
                pass        # a signal's handler has just released it

    @staticmethod
    async def checkpoint():
        # type: () -> None
        """Let other tasks run."""
        await asyncio.sleep(0)

    def close(self):
        # type: () -> None
        """Watch nothing any more, and call the owner no more."""
        self.is_closed = True
        if self.is_in_its_process:
            self._set_masks({})
            if self._timer is not None:
                self._timer.cancel()


class _TrioLoop(_Loop):
    """trio's loop: a system task of its own waits for the descriptors."""

    def __init__(self, owner, trio):
        # type: (Any, Any) -> None
        self._trio = trio
        self._token = trio.lowlevel.current_trio_token()
        # What a wait for a descriptor raises.
        self._faults = (OSError, trio.ClosedResourceError, trio.BusyResourceError)
        self._scope = None  # type: Any     # of the present wait
        self._deadline = NEVER
        self._is_changed = False    # what is watched, since the wait began
        super(_TrioLoop, self).__init__(owner)
        trio.lowlevel.spawn_system_task(_run, weakref.ref(self), name='lomond')

    @property
    def is_current(self):
        # type: () -> bool
        """True in a task or a callback of the loop."""
        try:
            return self._trio.lowlevel.current_trio_token() is self._token
        except RuntimeError:
            return False

    def current_task(self):
        # type: () -> Any
        """Return the task that runs now."""
        return self._trio.lowlevel.current_task()

    def watch(self, interest, left):
        # type: (Interest, Optional[float]) -> None
        """Call the owner when a descriptor is ready, or after ``left`` seconds, None for never."""
        if left != 0 and interest is not self._interest:    # else it may change until then
            self._interest = interest
            for fd, _mask in interest:
                _watched.loops[fd] = self
            self._look_again()
        if left is not None:
            self._call_at(self._trio.current_time() + left)

    def glance(self):
        # type: () -> None
        """Have the owner called after `_GLANCE` seconds, unless a timer is set."""
        if self._deadline == NEVER:
            self._call_at(self._trio.current_time() + _GLANCE)

    def _call_at(self, deadline):
        # type: (float) -> None
        # A deadline that comes too early costs one look; one that moves costs more.
        if deadline < self._deadline - _SLACK:
            self._deadline = deadline
            if self._scope is not None:
                self._scope.deadline = deadline

    def pause(self):
        # type: () -> None
        """Watch no descriptor until the next `watch`."""
        if self._interest is not None:
            self._interest = None
            self._look_again()

    def _look_again(self):
        # type: () -> None
        self._is_changed = True
        if self._scope is not None:
            self._scope.cancel()

    def forget(self, fd):
        # type: (int) -> None
        """Watch a descriptor no more: it is about to be closed."""
        if fd not in dict(self._interest or ()):
            return
        self._interest = None
        if self.is_here:
            self._trio.lowlevel.notify_closing(fd)
            self._look_again()
        else:
            self.call_soon(self._look_again)

    def call_soon(self, function):
        # type: (Callable[[], Any]) -> bool
        """Have a function called in the loop, from any thread; False if the loop is over."""
        try:
            self._token.run_sync_soon(function)
        except self._trio.RunFinishedError:
            return False
        return True

    def new_waiter(self):
        # type: () -> Any
        """Return what a task can wait for, once, by `wait`; `release` ends that."""
        return self._trio.Event()

    @staticmethod
    def wait(waiter):
        # type: (Any) -> Any
        """Return what is to be awaited until somebody releases this."""
        return waiter.wait()

    def release(self, waiter):
        # type: (Any) -> None
        """Let the task that waits for this go on; harmless if it did already."""
        waiter.set()

    async def checkpoint(self):
        # type: () -> None
        """Let other tasks run."""
        await self._trio.lowlevel.checkpoint()

    def close(self):
        # type: () -> None
        """Watch nothing any more, and call the owner no more."""
        self.is_closed = True
        self._interest = None
        if self.is_in_its_process:
            self._look_again()

    async def run(self):
        # type: () -> None
        """Call the owner whenever it is time, until what is watched changes; in the system task."""
        lowlevel = self._trio.lowlevel
        waits = [(call, fd) for fd, mask in self._interest or () for call, bit in (
            (lowlevel.wait_readable, READ), (lowlevel.wait_writable, WRITE)) if mask & bit]
        self._is_changed = False
        fault = None  # type: Optional[Exception]
        with self._trio.CancelScope(deadline=self._deadline) as self._scope:
            try:
                while not self.is_closed:   # by a signal's handler, before there was a scope
                    await self._wait_for_first(waits)
                    self._call_owner()
            except self._faults as error:
                fault = error
        self._scope = None
        if self._is_changed:        # it may be what was closed
            return
        if fault is None:
            self._deadline = NEVER
        else:
            self._interest = None
            self._fail(fault)
        self._call_owner()

    def _fail(self, fault):
        # type: (Exception) -> None
        owner = self._owner()
        if owner is not None:
            owner.fail(fault if isinstance(fault, OSError) else OSError(errno.EBUSY, str(fault)))

    async def _wait_for_first(self, waits):
        # type: (List[Tuple[Callable[[int], Any], int]]) -> None
        if not waits:
            await self._trio.sleep_forever()
        elif len(waits) == 1:
            await waits[0][0](waits[0][1])
        else:
            faults = []  # type: List[Exception]
            async with self._trio.open_nursery() as nursery:
                async def wait_for(call, fd):
                    # type: (Callable[[int], Any], int) -> None
                    try:
                        await call(fd)
                    except self._faults as error:       # the nursery would raise a group
                        faults.append(error)
                    nursery.cancel_scope.cancel()

                for call, fd in waits:
                    nursery.start_soon(wait_for, call, fd)
            if faults:
                raise faults[0]


async def _run(reference):
    # type: (Callable[[], Optional[_TrioLoop]]) -> None
    """Run a loop, for as long as somebody has it."""
    while True:
        loop = reference()
        if loop is None or loop.is_closed:
            return
        await loop.run()
        del loop
