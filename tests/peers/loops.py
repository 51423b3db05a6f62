"""asyncio in the tests: a server in a thread of its own, a client's coroutine."""

import asyncio
import queue
import selectors
import threading

from ..support import PATIENCE


def run(coroutine):
    """Run a coroutine to its end, and the transports that it leaves behind to theirs.

    TLS connections end a while after they were closed, and a loop closed
    before that leaves their sockets open.
    """
    selector = selectors.DefaultSelector()
    loop = asyncio.SelectorEventLoop(selector)
    asyncio.set_event_loop(loop)
    try:
        result = loop.run_until_complete(coroutine)
        loop.run_until_complete(asyncio.wait_for(settle(selector), PATIENCE))
        return result
    finally:
        asyncio.set_event_loop(None)
        loop.close()


async def settle(selector):
    """Wait until the loop has nothing but its own pipe to watch."""
    while len(selector.get_map()) > 1:
        await asyncio.sleep(0)
    await asyncio.sleep(0)      # a transport closes its socket in the round after


class LoopThread(object):
    """Runs the coroutine ``serve(stop)`` of a subclass.

    That is to call ``started(port)`` once it listens, and to end when the
    future ``stop`` is done.
    """

    def __init__(self, tls):
        self.tls = tls
        self.port = None
        self.closed = queue.Queue()
        self._started = threading.Event()
        self._loop = None
        self._stop = None
        self._thread = threading.Thread(target=self._run)

    def started(self, port):
        self.port = port
        self._started.set()

    async def serve(self, stop):
        raise NotImplementedError

    def __enter__(self):
        self._thread.start()
        assert self._started.wait(PATIENCE)
        assert self.port, 'the server failed'
        return self

    def __exit__(self, *_exc_info):
        self._loop.call_soon_threadsafe(self._stop.set_result, None)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _run(self):
        try:
            run(self._serve())
        finally:
            self._started.set()

    async def _serve(self):
        self._loop = asyncio.get_event_loop()
        self._stop = self._loop.create_future()
        await self.serve(self._stop)
