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
from lomond.aio.tasks import AsyncioTasks, TrioTasks
from lomond.engine.timers import NEVER, Deadlines, Scheduled
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
        # Weakly, as a loop that is over may leave what it watched to the collector.
        self.loops = weakref.WeakValueDictionary()  # type: weakref.WeakValueDictionary[int, _Loop]
        add_waiter(self)

    def forget(self, fd):
        # type: (int) -> None
        """Have the loop that watches a descriptor forget it, in the process of that loop."""
        loop = self.loops.pop(fd, None)
        if loop is not None and loop.place.is_in_its_process:
            loop.forget(fd)


_watched = _Watched()


class _Place(object):
    """The thread and the process that an event loop runs in."""

    def __init__(self):
        # type: () -> None
        self._thread = thread_module.get_ident()
        self._process = os.getpid()

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


class _AsyncioPlace(_Place):
    """An event loop like asyncio's, as all that runs in it shares it: with one timer for all."""

    def __init__(self, loop):
        # type: (Any) -> None
        super(_AsyncioPlace, self).__init__()
        self.loop = loop
        self._deadlines = Deadlines()
        self._timer = None  # type: Any
        self._timer_at = NEVER

    def schedule(self, thing, at):
        # type: (_AsyncioLoop, float) -> None
        """Have a thing called at this time, by the loop's clock, and not at its time before."""
        self._deadlines.set(thing, at)
        self._set_timer()

    def drop(self, thing):
        # type: (_AsyncioLoop) -> None
        """Don't have a thing called."""
        self._deadlines.drop(thing)

    def _set_timer(self):
        # type: () -> None
        at = self._deadlines.first
        if at < self._timer_at - _SLACK:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = self.loop.call_at(at, self._on_timer)

    def _on_timer(self):
        # type: () -> None
        self._timer, self._timer_at = None, NEVER
        try:
            for _at, thing in self._deadlines.take_due(self.loop.time()):
                thing.is_glancing = False
                thing.call_owner()
        finally:
            self._set_timer()


# By the id of the loop, which the place keeps alive.
_places = weakref.WeakValueDictionary()  # type: weakref.WeakValueDictionary[int, _AsyncioPlace]


def _asyncio_place():
    # type: () -> _AsyncioPlace
    """Return the place of asyncio's loop that runs now."""
    loop = asyncio.get_event_loop()
    place = _places.get(id(loop))
    if place is None or not place.is_here:
        if type(loop).add_reader is asyncio.AbstractEventLoop.add_reader:
            raise errors.WebSocketUnavailable(
                'this event loop has no add_reader: on Windows use asyncio.SelectorEventLoop, '
                'or a Pool in a thread')
        place = _places[id(loop)] = _AsyncioPlace(loop)
    return place


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
    return _AsyncioLoop(owner, _asyncio_place())


class _Loop(Scheduled):
    """What both kinds share.

    `wake` may be called from any thread and from signals' handlers, `free` and `forget` from any
    thread; all else in the loop's own.
    """

    __slots__ = (
        '__weakref__', '_interest', '_owner', 'is_closed', 'is_glancing', 'place', 'waiter')

    def __init__(self, owner, place):
        # type: (Any, Any) -> None
        super(_Loop, self).__init__()
        self._owner = weakref.ref(owner)
        #: Where it runs, a `_Place`.
        self.place = place
        self.is_closed = False
        #: What the task that iterates waits for; None if it doesn't.
        self.waiter = None  # type: Any
        #: Whether the owner is called within `_GLANCE` seconds from when this was set.
        self.is_glancing = False
        # What is watched, compared by identity.
        self._interest = ()  # type: Interest

    def _follow(self, interest):
        # type: (Interest) -> None
        """Be found by `_watched` for these descriptors, and no others."""
        masks = dict(interest)
        for fd in masks:
            _watched.loops[fd] = self
        for fd, _mask in self._interest:
            if fd not in masks and _watched.loops.get(fd) is self:
                del _watched.loops[fd]
        self._interest = interest

    def _watches_no_more(self, fd):
        # type: (int) -> bool
        """Follow a descriptor no more; return whether it was followed."""
        left = tuple(pair for pair in self._interest if pair[0] != fd)
        is_followed = len(left) < len(self._interest)
        if is_followed:
            self._interest = left
        return is_followed

    @property
    def is_here(self):
        # type: () -> bool
        """True in the thread and the process of the loop."""
        return self.place.is_here       # type: ignore[no-any-return]

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

    def call_owner(self):
        # type: () -> None
        """Have the owner step."""
        owner = self._owner()
        if owner is not None and not self.is_closed:
            owner.on_ready()

    def glance(self):
        # type: () -> None
        """Have the owner called within `_GLANCE` seconds."""
        if not self.is_glancing:        # else without a look at the clock, as for each message
            self.is_glancing = True
            self._call_within(_GLANCE)

    def _call_within(self, seconds):
        # type: (float) -> None
        """Have the owner called after some seconds, unless it is called earlier."""
        raise NotImplementedError

    def wake(self):
        # type: () -> None
        """Have the owner called soon, from any thread. Never raises."""
        self.call_soon(self.call_owner)

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
        if self.is_here or not self.place.is_in_its_process or not self.call_soon(function):
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

    __slots__ = ()

    @property
    def is_current(self):
        # type: () -> bool
        """True in a task or a callback of the loop."""
        return asyncio._get_running_loop() is self.place.loop

    def current_task(self):
        # type: () -> Any
        """Return the task that runs now."""
        return _current_task()

    @staticmethod
    def new_tasks():
        # type: () -> AsyncioTasks
        """Return what starts tasks."""
        return AsyncioTasks()

    def watch(self, interest, left):
        # type: (Interest, Optional[float]) -> None
        """Call the owner when a descriptor is ready, or after ``left`` seconds, None for never.

        Raises OSError if the loop can't wait for it.
        """
        loop = self.place.loop
        if left == 0:
            loop.call_soon(self.call_owner)     # what is watched may change until then
            return
        if interest is not self._interest:
            self._change(interest)
        if left is not None:
            self._call_within(left)

    def _call_within(self, seconds):
        # type: (float) -> None
        # A call that comes too early costs one look; a deadline that moves costs more.
        at = self.place.loop.time() + seconds
        if at < self.scheduled - _SLACK:
            self.place.schedule(self, at)

    def pause(self):
        # type: () -> None
        """Watch no descriptor until the next `watch`."""
        self._change(())

    def _change(self, interest):
        # type: (Interest) -> None
        """Watch these descriptors, instead of those before."""
        loop = self.place.loop
        before, wanted = dict(self._interest), dict(interest)
        self._follow(interest)      # first: what can't be watched is closed, and forgotten
        for fd, known in before.items():
            self._remove(fd, known & ~wanted.get(fd, 0))
        for fd, mask in wanted.items():
            new = mask & ~before.get(fd, 0)
            if new & READ:
                loop.add_reader(fd, self.call_owner)
            if new & WRITE:
                loop.add_writer(fd, self.call_owner)

    def _remove(self, fd, mask):
        # type: (int, int) -> None
        """Watch a descriptor no more for what the mask says."""
        try:
            if mask & READ:
                self.place.loop.remove_reader(fd)
            if mask & WRITE:
                self.place.loop.remove_writer(fd)
        except RuntimeError:
            pass        # the loop is closed

    def forget(self, fd):
        # type: (int) -> None
        """Watch a descriptor no more: it is about to be closed."""
        if self._watches_no_more(fd):
            self._remove(fd, READ | WRITE)

    def call_soon(self, function):
        # type: (Callable[[], Any]) -> bool
        """Have a function called in the loop, from any thread; False if the loop is over."""
        try:
            # Not call_soon: a signal's handler in the loop's own thread must end its wait.
            self.place.loop.call_soon_threadsafe(function)
        except RuntimeError:
            return False
        return True

    def new_waiter(self):
        # type: () -> Any
        """Return what a task can wait for, once, by `wait`; `release` ends that."""
        return self.place.loop.create_future()

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
            except (RuntimeError, asyncio.InvalidStateError):
                pass        # the loop is closed, or a signal's handler has just released it

    @staticmethod
    async def checkpoint():
        # type: () -> None
        """Let other tasks run."""
        await asyncio.sleep(0)

    def close(self):
        # type: () -> None
        """Watch nothing any more, and call the owner no more."""
        self.is_closed = True
        self.place.drop(self)
        if self.place.is_in_its_process:
            self._change(())
        else:
            self._follow(())


class _TrioLoop(_Loop):
    """trio's loop: a system task of its own waits for the descriptors."""

    def __init__(self, owner, trio):
        # type: (Any, Any) -> None
        self._trio = trio
        self._token = trio.lowlevel.current_trio_token()
        # What a wait for a descriptor raises.
        self._faults = (OSError, trio.ClosedResourceError, trio.BusyResourceError)
        self._scope = None  # type: Any     # of the present wait
        self._is_changed = False    # what is watched, since the wait began
        super(_TrioLoop, self).__init__(owner, _Place())
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

    def new_tasks(self):
        # type: () -> TrioTasks
        """Return what starts tasks."""
        return TrioTasks(self._trio)

    def watch(self, interest, left):
        # type: (Interest, Optional[float]) -> None
        """Call the owner when a descriptor is ready, or after ``left`` seconds, None for never."""
        if left != 0 and interest is not self._interest:    # else it may change until then
            self._follow(interest)
            self._look_again()
        if left is not None:
            self._call_within(left)

    def _call_within(self, seconds):
        # type: (float) -> None
        # A deadline that comes too early costs one look; one that moves costs more.
        deadline = self._trio.current_time() + seconds
        if deadline < self.scheduled - _SLACK:
            self.scheduled = deadline
            if self._scope is not None:
                self._scope.deadline = deadline

    def pause(self):
        # type: () -> None
        """Watch no descriptor until the next `watch`."""
        if self._interest:
            self._follow(())
            self._look_again()

    def _look_again(self):
        # type: () -> None
        self._is_changed = True
        if self._scope is not None:
            self._scope.cancel()

    def forget(self, fd):
        # type: (int) -> None
        """Watch a descriptor no more: it is about to be closed."""
        if not self._watches_no_more(fd):
            return
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
        self._follow(())
        if self.place.is_in_its_process:
            self._look_again()

    async def run(self):
        # type: () -> None
        """Call the owner whenever it is time, until what is watched changes; in the system task."""
        lowlevel = self._trio.lowlevel
        waits = [(call, fd) for fd, mask in self._interest for call, bit in (
            (lowlevel.wait_readable, READ), (lowlevel.wait_writable, WRITE)) if mask & bit]
        self._is_changed = False
        fault = None  # type: Optional[Exception]
        with self._trio.CancelScope(deadline=self.scheduled) as self._scope:
            try:
                while not self.is_closed:   # by a signal's handler, before there was a scope
                    await self._wait_for_first(waits)
                    self.call_owner()
            except self._faults as error:
                fault = error
        self._scope = None
        if self._is_changed:        # it may be what was closed
            return
        if fault is None:
            self.scheduled = NEVER
            self.is_glancing = False
        else:
            self._follow(())
            self._fail(fault)
        self.call_owner()

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
