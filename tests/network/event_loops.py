"""The event loops that the tests of `lomond.aio` run in, with the same few words for each.

A scenario is a function `async def scenario(loop)`, which `run_in` runs: in a loop of its own, with
a limit of time. Nothing that it leaves behind goes unnoticed.
"""

import asyncio
import functools
import gc

import pytest

from tests.support import PATIENCE

try:
    import uvloop
except ImportError:
    uvloop = None
else:
    # The first one opens descriptors that stay.
    _first = uvloop.new_event_loop()
    _first.run_until_complete(asyncio.sleep(0))
    _first.close()
try:
    import trio
except ImportError:
    trio = None


class TimedOut(Exception):
    """What was to be done within some time wasn't."""


class AsyncioTask:
    """A task, which `stop` cancels, and whose `result` can be waited for."""

    def __init__(self, coroutine):
        self._task = asyncio.ensure_future(coroutine)

    @property
    def is_done(self):
        return self._task.done()

    def cancel(self):
        self._task.cancel()

    async def result(self):
        return await self._task

    async def stop(self):
        """Cancel it; wait until it has ended, and raise what else it raised."""
        self.cancel()
        try:
            await self._task
        except asyncio.CancelledError:
            pass


class AsyncioLoop:
    """asyncio, or uvloop."""

    name = 'asyncio'

    def __init__(self, new_loop, is_debug):
        self._new_loop = new_loop
        self._is_debug = is_debug
        self._complaints = []
        self.asyncio_loop = None
        self._tasks_before = 0

    def run(self, scenario):
        loop = self.asyncio_loop = self._new_loop()
        loop.set_debug(self._is_debug)
        loop.slow_callback_duration = PATIENCE
        loop.set_exception_handler(lambda _loop, context: self._complaints.append(context))
        asyncio.set_event_loop(loop)
        try:
            return loop.run_until_complete(asyncio.wait_for(self._begin(scenario), PATIENCE))
        finally:
            self._clear_up(loop)
            assert not self._complaints, self._complaints

    async def _begin(self, scenario):
        self._tasks_before = len(self.tasks())      # up to 3.11 two: one waits for the other
        return await scenario(self)

    def _clear_up(self, loop):
        """Do what `asyncio.run` does at its end."""
        tasks = self.tasks()
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()
        _collect()

    def tasks(self):
        """Return all tasks of the loop that aren't done."""
        all_tasks = getattr(asyncio, 'all_tasks', None) or asyncio.Task.all_tasks
        return [task for task in all_tasks(self.asyncio_loop) if not task.done()]

    def count_own_tasks(self):
        """Return how many tasks there are beside the scenario's."""
        return len(self.tasks()) - self._tasks_before

    @staticmethod
    async def sleep(seconds):
        await asyncio.sleep(seconds)

    def start(self, function, *args):
        """Run ``function(*args)`` in a task."""
        return AsyncioTask(function(*args))

    @staticmethod
    async def within(seconds, function):
        """Return what ``function()`` does; raise TimedOut if that takes longer."""
        try:
            return await asyncio.wait_for(function(), seconds)
        except asyncio.TimeoutError:
            raise TimedOut()

    async def in_thread(self, function):
        """Call a function in a thread, while the loop goes on."""
        return await self.asyncio_loop.run_in_executor(None, function)


def _collect():
    """Have tasks that were forgotten complain."""
    # 3.6 would look at each of the thousands of tests, too: tests/conftest.py.
    gc.collect() if hasattr(gc, 'freeze') else gc.collect(1)


class TrioTask:
    """A task, as `AsyncioTask`."""

    def __init__(self, nursery, function, args):
        self._scope = trio.CancelScope()
        self._done = trio.Event()
        self._error = None
        self._returned = None
        nursery.start_soon(self._run, function, args)

    async def _run(self, function, args):
        try:
            with self._scope:
                self._returned = await function(*args)
        except Exception as error:
            self._error = error
        finally:
            self._done.set()

    @property
    def is_done(self):
        return self._done.is_set()

    def cancel(self):
        self._scope.cancel()

    async def result(self):
        await self._done.wait()
        if self._error is not None:
            raise self._error
        return self._returned

    async def stop(self):
        self.cancel()
        await self.result()


class TrioLoop:
    """trio."""

    name = 'trio'

    def __init__(self):
        self._nursery = None

    def run(self, scenario):
        error, result = trio.run(self._run, scenario)
        _collect()
        if error is not None:
            raise error
        return result

    async def _run(self, scenario):
        result = error = None
        async with trio.open_nursery() as self._nursery:
            try:
                with trio.fail_after(PATIENCE):
                    result = await scenario(self)
            except Exception as found:      # a nursery would raise a group
                error = found
            self._nursery.cancel_scope.cancel()
        return error, result

    @staticmethod
    def count_own_tasks():
        root = trio.lowlevel.current_root_task()
        return sum(task.name == 'lomond' for nursery in root.child_nurseries
                   for task in nursery.child_tasks)

    @staticmethod
    async def sleep(seconds):
        await trio.sleep(seconds)

    def start(self, function, *args):
        return TrioTask(self._nursery, function, args)

    @staticmethod
    async def within(seconds, function):
        with trio.move_on_after(seconds) as scope:
            return await function()
        if scope.cancelled_caught:
            raise TimedOut()

    @staticmethod
    async def in_thread(function):
        return await trio.to_thread.run_sync(function)


def _make_uvloop():
    if uvloop is None:
        pytest.skip('uvloop has no wheel for this Python: see requirements/test.txt')
    return AsyncioLoop(uvloop.new_event_loop, is_debug=True)


def _make_trio():
    if trio is None:
        pytest.skip('trio is not installed: see requirements/test.txt')
    return TrioLoop()


LOOPS = {
    'asyncio': lambda: AsyncioLoop(asyncio.SelectorEventLoop, is_debug=False),
    'debug': lambda: AsyncioLoop(asyncio.SelectorEventLoop, is_debug=True),
    'uvloop': _make_uvloop,
    'trio': _make_trio,
}

in_each_loop = pytest.mark.parametrize('loop_name', list(LOOPS))
in_asyncio_loops = pytest.mark.parametrize('loop_name', ['asyncio', 'debug', 'uvloop'])


def run_in(loop_name, scenario, *args):
    """Run ``scenario(loop, *args)`` in a loop of this name; return its result."""
    loop = LOOPS[loop_name]()
    return loop.run(functools.partial(_call, scenario, args))


async def _call(scenario, args, loop):
    return await scenario(loop, *args)


async def collect(iterator, names=None):
    """Iterate to the end; return the events, and add each one's name to ``names``."""
    seen = []
    async for event in iterator:
        seen.append(event)
        if names is not None:
            names.append(event.name)
    return seen


async def wait_until(loop, condition):
    """Let other tasks run until a condition is true."""
    while not condition():
        await loop.sleep(0.001)
