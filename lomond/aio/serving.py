"""A server in an event loop: its handler runs in a task for each connection.

How it accepts connections, and what it refuses, is the same as for `lomond.server.Server`; how a
connection is driven, as for `lomond.aio.connect`.
"""

from __future__ import absolute_import, division, print_function

import asyncio
import inspect
from collections import deque
from functools import partial

from lomond import errors
from lomond._checks import check_count
from lomond._compat import TYPE_CHECKING, monotonic
from lomond._crowd import send_to_all
from lomond._hints import check_passed_on, takes_options
from lomond._serving import SHUTDOWN, Acceptor, ServedSession, close_failed, log_failure
from lomond.aio.connection import Connection
from lomond.aio.loops import current_loop
from lomond.engine.outbox import Driver, Outbox
from lomond.engine.timers import NEVER
from lomond.server import CLOSE_TIMEOUT, BaseServer
from lomond.status import Status
from lomond.websocket import check_timing

if TYPE_CHECKING:
    from os import PathLike
    from ssl import SSLContext
    from typing import (  # noqa: F401
        Any,
        Awaitable,
        Callable,
        Dict,
        Iterable,
        List,
        Optional,
        Union,
    )

    from typing_extensions import TypedDict, Unpack  # noqa: F401

    from lomond._compat import text_type
    from lomond._messages import BytesLike  # noqa: F401
    from lomond._options import JSONDumps, JSONLoads, Logger, MessageParts
    from lomond._served import ServerEvent, ServerWebSocket  # noqa: F401
    from lomond._serving import Listener  # noqa: F401
    from lomond.protocol.extensions.negotiation import Factory
    from lomond.protocol.extensions.permessage_deflate import DeflateOptions
    from lomond.protocol.refusal import OnRequest, Origins
    from lomond.websocket import Timing  # noqa: F401

    Handler = Callable[['ServerConnection'], Awaitable[Any]]

    #: The options of `lomond.server.Server` that a server in an event loop has, too.
    ServerOptions = TypedDict('ServerOptions', {
        'ssl_context': Optional[SSLContext],
        'protocols': Optional[Iterable[str]],
        'compress': Union[None, bool, DeflateOptions],
        'max_message_size': Optional[int],
        'handshake_timeout': Optional[float],
        'write_timeout': Optional[float],
        'max_connections': int,
        'close_timeout': Optional[float],
        'heartbeat': Optional[float],
        'ping_rate': Optional[float],
        'ping_timeout': Optional[float],
        'auto_pong': bool,
        'json_loads': Optional[JSONLoads],
        'json_dumps': Optional[JSONDumps],
        'fragment_size': Optional[int],
        'max_read_ahead': Optional[int],
        'origins': Origins,
        'on_request': Optional[OnRequest],
        'unix_path': Union[None, text_type, PathLike[str]],
        'reuse_port': bool,
        'max_queue': Optional[int],
        'extensions': Iterable[Factory],
        'message_parts': MessageParts,
        'text_as_bytes': bool,
        'logger': Optional[Logger],
    }, total=False)

# Flags of the code of generators and asynchronous generators.
_NO_COROUTINE = 0x20 | 0x200

# One for all, as no thread waits for space in these queues.
_DRIVER = Driver()


@takes_options('aio.serve', '')
def serve(
    handler,                # type: Handler
    host=u'127.0.0.1',      # type: text_type
    port=0,                 # type: int
    **options               # type: Unpack[ServerOptions]
):
    # type: (...) -> Server
    """Return a `Server`, which listens from now on, and accepts within ``async with``.

    Parameters:

    - ``handler``: an ``async def`` function, which is called with a `ServerConnection` and runs in
      a task of its own. When it returns, an open connection is closed with 1000. If it raises, the
      exception is logged with its traceback, and the connection is closed with 1011.
    - ``host`` (127.0.0.1), ``port`` (0): where to listen; port 0 uses any free one.
    - ``max_queue``: as for `lomond.aio.connect` (1 MiB).
    - ``options``: as for `lomond.server.Server`, except ``poll``, ``threads`` and ``overflow``.
      ``on_request``, and a function ``origins``, are plain functions, which run in the event loop.

    Raises TypeError and ValueError for invalid arguments, and OSError, which names the address, if
    it can't listen.
    """
    check_passed_on('aio.serve', options, BaseServer.__init__)
    return Server(handler, host, port, **options)   # type: ignore[arg-type]


class Server(BaseServer):
    """What `serve` returns: ``async with server`` accepts connections in the event loop.

    Leaving the block closes all connections, as `close` does. If an exception that isn't an
    Exception ends the block, such as a cancellation, it waits for no client. In trio the handlers
    run in a nursery around the block.

    Its methods belong to the event loop, except `broadcast`, which any thread may call.
    """

    if TYPE_CHECKING:
        _serving = None  # type: InLoop   # type: ignore[assignment]

    def _choose(self, handler, poll, threads, max_queue, overflow):
        # type: (Any, Any, bool, Any, Any) -> Callable[..., Any]
        flags = getattr(getattr(handler, '__code__', None), 'co_flags', 0)
        if not callable(handler) or flags & _NO_COROUTINE:
            raise TypeError('the handler must be an async def function, without yield, not {!r}: '
                            'aio.serve(handler, host, port)'.format(handler))
        max_queue = check_count('max_queue', max_queue, 1, none_for='no limit')
        return partial(InLoop, handler=handler, max_queue=max_queue)

    @property
    def connections(self):
        # type: () -> List[ServerConnection]
        """The connections that are there now, in a new list.

        Those that are doing the handshake or closing are among them: only if
        ``connection.websocket.is_open`` is true can you send to one.
        """
        return self._serving.connections

    def broadcast(self, message, connections=None, compress=True):
        # type: (Union[text_type, BytesLike], Optional[Iterable[ServerConnection]], bool) -> int
        """Send a message to all open connections, or to these; never wait.

        Returns how many took it: those that aren't open, or whose queue is full, don't. Parameters
        and errors as for `lomond.pool.Pool.broadcast`.
        """
        if connections is None:
            connections = self.connections
        else:
            connections = list(connections)
            for connection in connections:
                if not isinstance(connection, Connection):
                    raise TypeError('broadcast takes connections, not {!r}: write '
                                    'broadcast(message, [connection])'.format(connection))
        sessions = [connection.websocket.session for connection in connections]  # type: List[Any]
        return send_to_all([session.writer for session in sessions], message, compress)

    async def serve_forever(self):
        # type: () -> None
        """Accept connections until `close` was called, and the last connection has ended.

        Without an ``async with`` around it: if it is cancelled, that closes all as leaving does.
        """
        if self._serving.has_begun:
            await self._serving.wait_closed()
            return
        async with self:
            await self._serving.wait_closed()

    async def close(self, code=SHUTDOWN[0], reason=SHUTDOWN[1], timeout=CLOSE_TIMEOUT):
        # type: (Optional[int], Union[bytes, text_type], Optional[float]) -> None
        """Stop listening, close all connections, and wait for their handlers.

        Connections that are still there after ``timeout`` seconds are broken, and their handlers
        cancelled. A handler may call this: it goes on itself, neither waited for nor cancelled.

        Parameters: ``code`` and ``reason``, as for `WebSocket.close`; ``timeout``, None for as long
        as it takes, by default the server's ``close_timeout``. Raises TypeError and ValueError, and
        WebSocketUnavailable in another event loop or thread.
        """
        await self._serving.close(*self._check_close(code, reason, timeout))

    async def __aenter__(self):
        # type: () -> Server
        self._warn_if_closed()
        await self._serving.begin()
        return self

    async def __aexit__(self, _type, error, _traceback):
        # type: (Any, Any, Any) -> None
        # Before 3.8 asyncio's CancelledError is an Exception.
        is_calm = error is None or isinstance(error, Exception) \
            and not isinstance(error, asyncio.CancelledError)
        await self._serving.leave(self._close_timeout if is_calm else 0)

    if not TYPE_CHECKING:       # for a type checker these are errors already
        def __await__(self):
            raise TypeError('aio.serve() returns a server: write async with aio.serve(handler) as '
                            'server: await server.serve_forever()')

        __enter__ = __iter__ = __aiter__ = __await__

        def __exit__(self, *_exc_info):
            pass        # Python looks it up before it calls __enter__


class ServerConnection(Connection):
    """The server's end of a WebSocket, which the handler of `serve` gets; otherwise a `Connection`.

    Its iteration begins with Ready, whose ``response`` is the client's request.
    """

    _again = 'only its client can connect again'
    _usage = 'iterate over the connection: async for event in connection: ...'

    if TYPE_CHECKING:
        websocket = None  # type: ServerWebSocket   # type: ignore[assignment]

        async def __anext__(self):
            # type: () -> ServerEvent
            raise NotImplementedError

    def __init__(self, websocket, max_queue, timing):
        # type: (ServerWebSocket, Optional[int], Timing) -> None
        super(ServerConnection, self).__init__(websocket, None, max_queue, timing)  # type: ignore[arg-type]
        #: The task of its handler.
        self.task = None  # type: Any
        self._begin()

    def _start(self, loop):
        # type: (Any) -> Any
        session = self.websocket.session  # type: Any
        session.begin_checked(loop.wake, *self._timing)     # type: ignore[misc]
        self._timing = None     # an idle connection is small
        self._news = self.websocket.stream.decoder.news
        self._machine = session
        return session

    async def do_handshake(self):
        # type: () -> bool
        """Return whether Ready has come, which is the first event to iterate over.

        The server calls this.
        """
        try:
            ready = await self.__anext__()
        except StopAsyncIteration:
            return False
        self._ahead, self._last = deque((ready,)), None
        return True

    async def finish(self):
        # type: () -> None
        """Wait until both ends have sent a Close frame, or the connection is gone.

        While another task of the handler's waits for events, that one gets them.
        """
        try:
            while True:
                while self._loop.waiter is not None:
                    self._heir = self._loop.new_waiter()
                    await self._loop.wait(self._heir)
                    self._heir = None
                await self.__anext__()
        except StopAsyncIteration:
            pass


class InLoop(object):
    """Serves each connection by a task of the event loop.

    Parameters as for `lomond._serving.InThreads`; ``handler`` returns what is awaited;
    ``max_queue`` as for `Connection`.
    """

    def __init__(self, listener, handler, max_connections, options, max_queue):
        # type: (Listener, Handler, int, Dict[str, Any], Optional[int]) -> None
        self._listener = listener
        self._handler = handler
        self._max_connections = max_connections
        self._timing = check_timing(**dict(options, poll=None))
        self._max_queue = max_queue
        self._acceptor = Acceptor(listener, self._accept)
        # By connection, what can cancel its handler.
        self._handlers = {}  # type: Dict[ServerConnection, Any]
        self._loop = None  # type: Any
        self._tasks = None  # type: Any
        self._waiters = []  # type: List[Any]   # of tasks that wait for something to change

    @property
    def connections(self):
        # type: () -> List[ServerConnection]
        """The connections that are there now, in a new list."""
        return list(self._handlers)

    @property
    def has_begun(self):
        # type: () -> bool
        """True once `begin` was called."""
        return self._loop is not None

    @property
    def is_closed(self):
        # type: () -> bool
        """True once it doesn't listen any more."""
        return self._acceptor.is_closed

    async def begin(self):
        # type: () -> None
        """Accept connections from now on, in the loop that runs."""
        if self.has_begun:
            raise errors.WebSocketUnavailable(
                'this server has begun before: for another one, call aio.serve() again')
        try:
            self._loop = current_loop(self)
        except BaseException:
            self._acceptor.close()
            raise
        self._tasks = self._loop.new_tasks()
        await self._tasks.open()
        self.on_ready()

    # -- the loop --

    def on_ready(self):
        # type: () -> None
        """Accept what has arrived, and let those go on that wait; the loop calls this."""
        self._acceptor.step()
        if self._acceptor.is_finished:
            self._release()
            return
        try:
            self._loop.watch(self._acceptor.interest, self._acceptor.time_left())
        except EnvironmentError as error:
            self.fail(error)

    def fail(self, error):
        # type: (EnvironmentError) -> None
        """Stop, as the loop can't wait for the listening socket."""
        self._acceptor.fail(error)
        self._release()

    def _accept(self, sock, address):
        # type: (Any, Any) -> None
        self._listener.prepare(sock)
        if len(self._handlers) >= self._max_connections:
            self._listener.refuse(sock)
            return
        outbox = Outbox(self._max_queue, is_soft=True, driver=_DRIVER)
        websocket = self._listener.make_websocket(
            sock, address, session_class=partial(ServedSession, outbox=outbox))
        connection = ServerConnection(websocket, self._max_queue, self._timing)
        self._handlers[connection] = self._tasks.start(self._serve, connection, self._ended)

    async def _serve(self, connection):
        # type: (ServerConnection) -> None
        """Run the handler for one connection, in its task."""
        websocket = connection.websocket
        connection.task = self._loop.current_task()
        try:
            if not await connection.do_handshake():
                return
            try:
                awaitable = self._handler(connection)
                if not inspect.isawaitable(awaitable):
                    raise TypeError('the handler must be an async def function, '
                                    'not {!r}'.format(self._handler))
                await awaitable
            except asyncio.CancelledError:      # before 3.8 it is an Exception
                raise
            except Exception as error:      # an error in a handler must not end the server
                close_failed(websocket, error)
            else:
                websocket.close(Status.NORMAL, u'')
            await connection.finish()
        except asyncio.CancelledError:
            raise
        except Exception:       # an extension's, for a frame of no handler's
            log_failure(websocket)

    def _ended(self, connection):
        # type: (ServerConnection) -> None
        websocket = connection.websocket
        try:
            websocket.close(*SHUTDOWN)      # if the handler was cancelled it is open yet
        except Exception:       # an extension's
            websocket.logger.exception('%r could not be closed', websocket)
        connection.break_off()
        del self._handlers[connection]
        self._release()

    # -- the end --

    def _release(self):
        # type: () -> None
        """Let the tasks go on that wait for something to change."""
        for waiter in self._waiters:
            self._loop.release(waiter)

    async def _until(self, is_true, deadline=NEVER):
        # type: (Callable[[], Any], float) -> None
        """Wait until something is true, or for the deadline, once nothing is accepted any more."""
        while not is_true() and monotonic() < deadline:
            waiter = self._loop.new_waiter()
            self._waiters.append(waiter)
            try:
                if deadline != NEVER:
                    self._loop.watch((), max(0.0, deadline - monotonic()))
                await self._loop.wait(waiter)
            finally:
                self._waiters.remove(waiter)

    async def wait_closed(self):
        # type: () -> None
        """Wait until `close` was called, and the last connection has ended."""
        self._loop.check()
        await self._until(lambda: self.is_closed and not self._handlers)

    async def close(self, code, reason, timeout):
        # type: (Optional[int], Union[bytes, text_type], Optional[float]) -> None
        """Close as `Server.close` describes."""
        if self._loop is None:
            self._acceptor.close()
            return
        self._loop.check()
        self._acceptor.close()
        self._release()
        current = self._loop.current_task()
        for connection in self.connections:
            connection.websocket.close(code, reason)
        try:
            await self._until(
                lambda: not self._has_others(current),
                NEVER if timeout is None else monotonic() + timeout)
        finally:
            for connection in self.connections:
                if connection.task is not current:
                    self._handlers[connection].cancel()
                    connection.break_off()
        await self._until(lambda: not self._has_others(current))

    def _has_others(self, current):
        # type: (Any) -> bool
        """Return whether there are connections beside that of a task."""
        return any(connection.task is not current for connection in self._handlers)

    async def leave(self, timeout):
        # type: (Optional[float]) -> None
        """Close, and wait for all tasks; in the task that called `begin`."""
        try:
            await self.close(*SHUTDOWN, timeout=timeout)
        finally:
            self._loop.close()
            await self._tasks.join()
