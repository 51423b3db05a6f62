"""One WebSocket in an event loop: its events, and sends that wait for space without blocking.

The loop steps the connection whenever something arrives. Events wait for the task that iterates,
up to a limit: so pings are answered while the body of its ``async for`` takes its time.
"""

from __future__ import absolute_import, division, print_function

import logging
from collections import deque
from functools import partial

from lomond import errors
from lomond._compat import TYPE_CHECKING
from lomond.aio.loops import current_loop
from lomond.engine.outbox import MAX_QUEUE, Outbox
from lomond.engine.reconnect import PersistentSession
from lomond.engine.stepped import QueuedClientSession
from lomond.engine.timers import NEVER
from lomond.websocket import check_timing

if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, Optional, Union  # noqa: F401

    from lomond._compat import text_type  # noqa: F401
    from lomond._endpoint import BytesLike  # noqa: F401
    from lomond.engine.policy import ReconnectPolicy  # noqa: F401
    from lomond.events import AnyEvent  # noqa: F401
    from lomond.websocket import Timing, WebSocket  # noqa: F401

log = logging.getLogger('lomond')  # type: logging.Logger

#: Bytes of events that are made before the task asks for them.
MAX_AHEAD = 64 * 1024

#: Bytes that wait for the send buffer when an awaited send begins to wait, and when it goes on.
HIGH_WATER = 64 * 1024
LOW_WATER = 16 * 1024

# Bytes that an event takes beside what it holds, about.
_EVENT_SIZE = 200

# Beyond any other event nothing happens until the task has handled it: a handler of Closing may
# send the last messages.
_PASSED = frozenset(['connecting', 'connected', 'ready', 'poll', 'text', 'binary', 'ping', 'pong'])


def connect(websocket, policy=None, max_queue=MAX_QUEUE, **options):
    # type: (WebSocket, Optional[ReconnectPolicy], Optional[int], **Any) -> Connection
    """Return a `Connection`, which connects when you iterate over it.

    Parameters:

    - ``policy``: a `lomond.persist.ReconnectPolicy` to connect again whenever a connection ends;
      None for one connection.
    - ``max_queue``: bytes that may wait to be sent by the plain methods of the WebSocket (1 MiB):
      beyond that they raise `lomond.errors.OutboxFull`. None for no limit.
    - ``options``: those of `WebSocket.connect`, without ``session_class``; ``poll`` is None.

    Raises TypeError and ValueError, and WebSocketUnavailable if a loop over the WebSocket is
    running.
    """
    timing = check_timing(**options)
    websocket.check_idle()
    return Connection(websocket, policy, max_queue, timing)


class Connection(object):
    """A WebSocket in an event loop: an asynchronous iterator over its events.

    One task iterates. Any task may send; so may any thread, by the plain methods of
    ``websocket``. Leaving ``async with`` breaks the connection, as a ``break`` does in a plain
    loop, and so does the end of the last reference to it: close it by `close` before, and iterate
    on to the end.

    A task that is cancelled while it waits for an event loses none.
    """

    def __init__(self, websocket, policy, max_queue, timing):
        # type: (WebSocket, Optional[ReconnectPolicy], Optional[int], Timing) -> None
        #: The WebSocket; its plain methods work here, too.
        self.websocket = websocket  # type: WebSocket
        self._policy = policy
        self._max_queue = max_queue
        self._timing = timing
        self._machine = None  # type: Any
        self._loop = None  # type: Any
        self._events = iter(())  # type: Iterator[AnyEvent]     # of the last step
        self._ahead = deque()  # type: Any      # events that come before those
        self._ahead_size = 0
        self._last = None  # type: Optional[AnyEvent]   # the event that the task handles
        self._waiter = None  # type: Any        # what the task waits for
        self._error = None  # type: Optional[BaseException]
        self._is_over = False

    # -- the task that iterates --

    def __aiter__(self):
        # type: () -> Connection
        return self

    async def __anext__(self):
        # type: () -> AnyEvent
        while True:
            if self._ahead:
                self._last = self._ahead.popleft()
                return self._last
            for event in self._events:
                self._last = event
                return event
            self._last = None
            await self._wait()

    async def _wait(self):
        # type: () -> None
        """Wait until there may be an event; StopAsyncIteration at the end."""
        if self._error is not None:
            raise self._error
        if self._is_over or self._machine is not None and self._machine.is_finished:
            raise StopAsyncIteration
        if self._waiter is not None:
            raise errors.WebSocketUnavailable('another task is iterating over this connection')
        self._ahead_size = 0
        if self._machine is None:
            self._begin()
        elif not self._loop.is_here:
            raise errors.WebSocketUnavailable('this connection belongs to another event loop')
        if self._machine.time_left() == 0:
            # Other tasks first: a peer may send without an end.
            await self._loop.checkpoint()
            self.on_ready()
            return
        waiter = self._waiter = self._loop.new_waiter()
        self._watch()
        try:
            await self._loop.wait(waiter)
        finally:
            self._waiter = None

    def _begin(self):
        # type: () -> None
        self._loop = current_loop(self)
        wake = self._loop.wake
        websocket = self.websocket

        timing, max_queue = self._timing, self._max_queue

        def begin_session():
            # type: () -> QueuedClientSession
            session = websocket.new_session(partial(
                QueuedClientSession, outbox=Outbox(max_queue, is_soft=True)))
            session.begin(wake=wake, **timing._asdict())
            return session  # type: ignore[no-any-return]

        if self._policy is None:
            self._machine = begin_session()
            return
        close_before = websocket.last_close
        self._machine = PersistentSession(
            websocket, begin_session, self._policy,
            lambda: websocket.last_close is not close_before, wake=wake)

    # -- the loop --

    def on_ready(self):
        # type: () -> None
        """Step, as something has arrived, or is to be done; the loop calls this."""
        try:
            self._step()
        except Exception as error:
            log.exception('%r was given up', self.websocket)
            self._error = error
            self._release()

    def _step(self):
        # type: () -> None
        machine = self._machine
        while self._look_ahead():
            self._events = iter(machine.step())
            for event in self._events:
                # The rest of the step is made when the task asks for it.
                self._keep(event)
                self._release()
                return
            if machine.is_finished:
                self._release()
                return
            if machine.time_left() != 0:
                self._watch()
                return
        # The task that iterates has enough to do: receive no more, but go on sending.
        machine.flush()
        self._loop.watch(*machine.waits_to_flush)

    def _look_ahead(self):
        # type: () -> bool
        """Keep what is left of the last step; False if no other step may follow for now."""
        while self._ahead_size < self._limit:
            last = self._ahead[-1] if self._ahead else self._last
            if last is not None and last.name not in _PASSED:
                return False
            event = next(self._events, None)
            if event is None:
                return True
            self._keep(event)
        return False

    @property
    def _limit(self):
        # type: () -> float
        writer = self._writer
        if writer is None or not writer.has_waiting:
            return MAX_AHEAD
        # The peer may not read on before this end does.
        limit = self.websocket.read_ahead_limit
        return NEVER if limit is None else limit

    def _keep(self, event):
        # type: (AnyEvent) -> None
        self._ahead.append(event)
        self._ahead_size += _EVENT_SIZE + len(
            getattr(event, 'text', getattr(event, 'data', b'')))

    def _watch(self):
        # type: () -> None
        left = self._machine.time_left()    # which may change the interest
        self._loop.watch(self._machine.interest, left)

    def _release(self):
        # type: () -> None
        """Let the task that iterates go on."""
        if self._waiter is not None:
            self._loop.release(self._waiter)

    # -- sending --

    async def send_text(self, text, compress=True):
        # type: (text_type, bool) -> None
        """Send a text message; first wait while too much of what was sent before waits.

        Parameters and errors as for `WebSocket.send_text`. If this is cancelled, nothing of the
        message is sent.
        """
        await self._wait_for_space()
        self.websocket.send_text(text, compress)

    async def send_binary(self, data, compress=True):
        # type: (BytesLike, bool) -> None
        """Send a binary message; as `send_text`."""
        await self._wait_for_space()
        self.websocket.send_binary(data, compress)

    async def send_json(self, *args, **kwargs):
        # type: (*Any, **Any) -> None
        """Send an object, or the keyword arguments as one, as JSON text; as `send_text`."""
        await self._wait_for_space()
        self.websocket.send_json(*args, **kwargs)

    async def send_many(self, messages, compress=True):
        # type: (Iterable[Union[text_type, BytesLike]], bool) -> None
        """Send several messages at once, with no other in between; as `send_text`."""
        await self._wait_for_space()
        self.websocket.send_many(messages, compress)

    async def send_ping(self, data=b''):
        # type: (BytesLike) -> None
        """Send a ping, before all messages that wait; as `WebSocket.send_ping`."""
        self.websocket.send_ping(data)

    async def send_pong(self, data):
        # type: (BytesLike) -> None
        """Send a pong, before all messages that wait; as `WebSocket.send_pong`."""
        self.websocket.send_pong(data)

    async def drain(self):
        # type: () -> None
        """Wait until the system has accepted all that was sent, or the connection has ended."""
        writer = self._writer
        if writer is not None and writer.has_unsent:
            await self._line_up(writer, lambda: not writer.has_unsent)

    async def _wait_for_space(self):
        # type: () -> None
        writer = self._writer
        if writer is not None and writer.has_unsent and writer.is_crowded(HIGH_WATER):
            await self._line_up(writer, lambda: not writer.is_crowded(LOW_WATER))

    async def _line_up(self, writer, may_go):
        # type: (Any, Callable[[], bool]) -> None
        """Wait for this task's turn, and until it may go, or nothing can be sent any more."""
        turn = _Turn(self._loop)
        writer.line_up(turn)
        self.on_ready()
        try:
            while not (writer.is_disposed or writer.error is not None
                       or writer.is_next(turn) and may_go()):
                await turn.wait()
        finally:
            writer.step_out(turn)

    @property
    def _writer(self):
        # type: () -> Any
        """What sends now; None before the first connection."""
        session = self.websocket.session
        return None if session is None or self._loop is None else session.writer

    # -- the end --

    async def close(self, code=1000, reason=u'goodbye'):
        # type: (Optional[int], Union[bytes, text_type]) -> None
        """Send a Close frame, after all that waits; iterate on, to the end.

        Parameters and errors as for `WebSocket.close`.
        """
        self.websocket.close(code, reason)

    def break_off(self):
        # type: () -> None
        """Break the connection, or end the attempt to connect, and free everything, at once."""
        self._is_over = True
        self._ahead.clear()
        self._events = iter(())
        if self._loop is not None:
            self._release()
            self._loop.close()
        if self._machine is not None:
            self._machine.dispose()

    async def __aenter__(self):
        # type: () -> Connection
        return self

    async def __aexit__(self, *_exc_info):
        # type: (*Any) -> None
        # Nothing is awaited: this may be a task that is cancelled.
        self.break_off()

    def __del__(self):
        # type: () -> None
        loop = getattr(self, '_loop', None)
        if loop is None or self._is_over:
            return
        if loop.is_here:
            self.break_off()
        else:
            loop.call_soon(partial(_free, loop, self._machine))


def _free(loop, machine):
    # type: (Any, Any) -> None
    loop.close()
    machine.dispose()


class _Turn(object):
    """A task's place among those that wait for space."""

    def __init__(self, loop):
        # type: (Any) -> None
        self._loop = loop
        self._waiter = loop.new_waiter()

    def __call__(self):
        # type: () -> None
        if self._loop.is_here:
            self._loop.release(self._waiter)
        else:
            self._loop.call_soon(partial(self._loop.release, self._waiter))

    async def wait(self):
        # type: () -> None
        await self._loop.wait(self._waiter)
        self._waiter = self._loop.new_waiter()
