"""One WebSocket in an event loop: its events, and sends that wait for space without blocking.

The loop steps the connection whenever something arrives. Events wait for the task that iterates,
up to a limit: so pings are answered while the body of its ``async for`` takes its time.
"""

from __future__ import absolute_import, division, print_function

import inspect
from collections import deque
from functools import partial

from lomond import errors
from lomond._checks import check_count
from lomond._compat import TYPE_CHECKING, NamedTuple
from lomond._messages import check_bytes, text_payload
from lomond._outcomes import NORMAL, ended, explain
from lomond.aio.iterator import LoopIterator
from lomond.engine.outbox import MAX_QUEUE, Driver, Outbox
from lomond.engine.policy import check_policy
from lomond.engine.reconnect import PersistentSession
from lomond.engine.stepped import begin_client
from lomond.engine.timers import NEVER
from lomond.events import EVENT_SIZE
from lomond.net.waiter import merge
from lomond.opcode import Opcode
from lomond.protocol.state import unavailable
from lomond.websocket import WebSocket, check_timing

if TYPE_CHECKING:
    from typing import (  # noqa: F401
        Any,
        AsyncIterable,
        AsyncIterator,
        Callable,
        Iterable,
        Iterator,
        Optional,
        Union,
    )

    from typing_extensions import TypedDict, Unpack  # noqa: F401

    from lomond._compat import text_type  # noqa: F401
    from lomond._messages import BytesLike  # noqa: F401
    from lomond.engine.policy import ReconnectPolicy  # noqa: F401
    from lomond.engine.stepped import QueuedClientSession  # noqa: F401
    from lomond.events import AnyEvent, Binary, Text  # noqa: F401
    from lomond.net.waiter import Interest  # noqa: F401
    from lomond.websocket import Timing  # noqa: F401

    #: The options of `WebSocket.connect`, without ``session_class``.
    LoopOptions = TypedDict('LoopOptions', {
        'poll': Optional[float],
        'ping_rate': Optional[float],
        'ping_timeout': Optional[float],
        'auto_pong': bool,
        'close_timeout': Optional[float],
        'idle_timeout': Optional[float],
        'stale_disconnects': bool,
        'max_age': Optional[float],
        'heartbeat': Optional[float],
    }, total=False)

#: Bytes of events that are made before the task asks for them.
MAX_AHEAD = 64 * 1024

#: Bytes that wait for the send buffer when an awaited send begins to wait, and when it goes on.
HIGH_WATER = 64 * 1024
LOW_WATER = 16 * 1024

# Steps without an event, each of which may read 64 KiB or more, before other tasks go on.
_ROUNDS = 16

# After this number of sends that didn't wait other tasks run: the loop answers pings.
_MANY_SENDS = 64

# Ends at once.
_NO_EVENTS = iter(())  # type: Iterator[AnyEvent]

# One for all, as no thread waits for space in these queues.
_DRIVER = Driver()

# Beyond any other event nothing happens until the task has handled it: a handler of Closing may
# send the last messages. Stale is another one if the connection ends after it.
_PASSED = frozenset([
    'connecting', 'connected', 'ready', 'poll', 'text', 'binary', 'ping', 'pong', 'stale'])
_PASSED_BUT_STALE = _PASSED - {'stale'}


def connect(
    websocket,              # type: WebSocket
    policy=None,            # type: Optional[ReconnectPolicy]
    max_queue=MAX_QUEUE,    # type: Optional[int]
    **options               # type: Unpack[LoopOptions]
):
    # type: (...) -> Connection
    """Return a `Connection`, which connects when you iterate over it.

    Parameters:

    - ``policy``: a `lomond.persist.ReconnectPolicy` to connect again whenever a connection ends;
      None for one connection.
    - ``max_queue``: once this number of bytes waits to be sent (1 MiB), the plain methods of the
      WebSocket raise `lomond.errors.OutboxFull`. Until then they accept a message of any size. None
      for no limit.
    - ``options``: those of `WebSocket.connect`, without ``session_class``; ``poll`` is None.

    Raises TypeError and ValueError, and WebSocketUnavailable if a loop over the WebSocket is
    running.
    """
    timing = check_timing(**options)
    if not isinstance(websocket, WebSocket):
        raise TypeError('aio.connect takes a WebSocket, not {!r}: write '
                        'aio.connect(WebSocket(url))'.format(websocket))
    check_policy(policy)
    if policy is not None:
        websocket.check_may_reconnect()
    max_queue = check_count('max_queue', max_queue, 1, none_for='no limit')
    websocket.check_idle()
    return Connection(websocket, policy, max_queue, timing)


class Connection(LoopIterator):
    """A WebSocket in an event loop: an asynchronous iterator over its events.

    One task iterates. Any task may send; so may any thread, by the plain methods of
    ``websocket``. Leaving ``async with`` breaks the connection, as a ``break`` does in a plain
    loop, and so does the end of the last reference to it: close it by `close` before, and iterate
    on to the end.

    A task that is cancelled while it waits for an event loses none.
    """

    _again = 'to connect again, call aio.connect(websocket) again'
    _usage = ('aio.connect() returns an asynchronous iterator: write async with '
              'aio.connect(websocket) as connection: async for event in connection: ...')

    def __init__(self, websocket, policy, max_queue, timing):
        # type: (WebSocket, Optional[ReconnectPolicy], Optional[int], Timing) -> None
        super(Connection, self).__init__()
        #: The WebSocket; its plain methods work here, too.
        self.websocket = websocket  # type: WebSocket
        self._policy = policy
        self._max_queue = max_queue
        # Bytes that wait when an awaited send begins to wait, and when it goes on.
        self._high_water, self._low_water = HIGH_WATER, LOW_WATER
        if max_queue is not None:
            self._high_water = min(HIGH_WATER, max_queue - 1)
            self._low_water = min(LOW_WATER, max_queue - 1)
        self._timing = timing  # type: Optional[Timing]     # until it begins
        self._passed = _PASSED_BUT_STALE if timing.stale_disconnects else _PASSED
        self._close_before = websocket.last_close
        self._machine = None  # type: Any
        # Where there are news, the machine has to attend before an event is passed on. (This saves
        # a generator's turn for each message.)
        self._news = ()  # type: Any
        self._events = _NO_EVENTS   # of the last step
        # Events that come before those: a deque while there are some, as an empty one is large.
        self._ahead = ()  # type: Any
        self._ahead_size = 0
        # The event that the task has waited for, until it runs: thousands may wait to run.
        self._found = None  # type: Optional[AnyEvent]
        self._last = None  # type: Optional[AnyEvent]   # the event that the task handles
        # True from when the task has asked until there is an event.
        self._is_asking = False
        # What another task waits for, to iterate once this one doesn't wait.
        self._heir = None  # type: Any
        self._is_paused = False     # nothing is received until it has taken what was made ahead
        self._is_late = False       # a step is due as soon as the task runs
        self._error = None  # type: Optional[Exception]
        self._sends = 0     # since other tasks had their turn
        self._parts_task = None  # type: Any    # the task that sends a message in parts
        # Of `receive`: the parts of a message that isn't whole; what makes the error at the end.
        self._parts = ()  # type: Any
        self._outcome = None  # type: Any

    # -- the task that iterates --

    async def __anext__(self):
        # type: () -> AnyEvent
        while True:
            ahead = self._ahead     # a signal's handler may break off
            if ahead:
                self._last = ahead.popleft()
                if not ahead:
                    self._end_ahead()
                return self._last
            for event in self._events:
                if self._news:
                    self._machine.attend()
                self._last = event
                return event
            self._last = None
            self._ask()
            try:
                # Here, as each coroutine of an idle connection takes memory.
                await self._new_wait(self._watch)
            finally:
                self._loop.waiter = None
                self._is_asking = False     # if this was cancelled
                if self._heir is not None:
                    self._loop.release(self._heir)
                found, self._found = self._found, None      # a signal's handler may break off
                if found is not None:
                    self._ahead = deque((found,))
                if self._is_late:
                    self._is_late = False
                    self._loop.wake()

    def _ask(self):
        # type: () -> None
        """Let the loop make events for the task; StopAsyncIteration at the end."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if self._machine is not None and self._machine.is_finished:
            self.break_off()
        if self._is_over:
            raise StopAsyncIteration
        self._check_task()
        if self._machine is None:
            self._begin()
        self._is_asking = True
        self._is_paused = False

    def _end_ahead(self):
        # type: () -> None
        """Receive on: the task has taken all that was made ahead."""
        self._ahead = ()
        self._ahead_size = 0
        if self._is_paused:
            self._is_paused = False
            self._loop.wake()

    def _start(self, loop):
        # type: (Any) -> Any
        wake = loop.wake
        websocket = self.websocket
        timing, max_queue, close_before = self._timing, self._max_queue, self._close_before
        self._timing = None     # an idle connection is small

        def is_over():
            # type: () -> bool
            return websocket.last_close is not close_before

        def begin_session():
            # type: () -> QueuedClientSession
            return begin_client(
                websocket, Outbox(max_queue, is_soft=True, driver=_DRIVER), timing, is_over, wake)

        if self._policy is None:
            self._machine = begin_session()
            self._news = websocket.stream.decoder.news
        else:
            self._machine = PersistentSession(
                websocket, begin_session, self._policy, is_over, wake=wake)
        return self._machine

    # -- messages instead of events --

    async def receive(self):
        # type: () -> Union[text_type, bytes]
        """Wait for the next message: return text as str, binary data as bytes.

        Instead of iterating, or in turn with it: other events pass unseen. If this is cancelled, no
        message is lost. The options ``message_parts`` and ``text_as_bytes`` don't matter here.

        Raises WebSocketClosed once the connection has ended, with the ``code`` and ``reason`` of
        the peer's Close frame, see `lomond.errors.WebSocketClosed`; ConnectFail, Rejected and
        CriticalProtocolError if there was none. With a ``policy`` it goes on to the next
        connection, and raises when there is no other.
        """
        while True:
            try:
                event = await self.__anext__()
            except StopAsyncIteration:
                break
            if event.name == 'text':
                message = self._gather(event, event.text)
            elif event.name == 'binary':
                message = self._gather(event, event.data)
            else:
                if event.name == 'connecting':
                    self._parts, self._outcome = (), None
                self._outcome = explain(self.websocket.session, event, self._outcome)
                continue
            if message is not None:
                return message      # type: ignore[no-any-return]
        raise (self._outcome or ended)()

    def _gather(self, event, content):
        # type: (Union[Text, Binary], Any) -> Any
        """Return a message once it is whole, otherwise None."""
        if event.message_finished and not self._parts:
            return content
        self._parts = self._parts or []
        self._parts.append(content)
        if not event.message_finished:
            return None
        parts, self._parts = self._parts, ()
        return type(content)().join(parts)

    def messages(self):
        # type: () -> AsyncIterator[Union[text_type, bytes]]
        """Iterate over the messages, as `receive` returns them, until the connection is closed.

        It ends when the Close frame of the peer has come with 1000, 1001 or no code
        (RFC 6455 7.4.1). Any other end raises WebSocketClosed; otherwise as `receive`.
        """
        return _Messages(self)

    # -- the loop --

    def on_ready(self):
        # type: () -> None
        """Step, as something has arrived, or is to be done; the loop calls this."""
        self._sends = 0
        if self._loop.waiter is not None and not self._is_asking:
            # The task runs next, and takes what there is: nothing is kept for it ahead.
            self._is_late = True
            return
        self._is_busy = True
        ahead = ()  # type: Any
        try:
            self._step()
        except Exception as error:
            self._error = error     # the task that iterates raises it, after what came before
            self._is_over = True
            ahead = self._ahead
        finally:
            self._is_busy = False
        if self._is_over:
            self.break_off()
            self._ahead = ahead

    def _step(self):
        # type: () -> None
        machine = self._machine
        is_asking = self._is_asking
        rounds = 0
        while is_asking or self._look_ahead():
            self._events = iter(machine.advance() if self._policy is None else machine.step())
            event = self._next_event()
            if event is not None:
                # The rest of the step is made when the task asks for it, or more arrives.
                if is_asking:
                    self._found = event
                    self._is_asking = False
                    self._loop.release_waiter()
                else:
                    self._keep(event)
                interest, left = machine.waits_to_flush
                if event.name == 'ready':
                    # Look at once what is due: the timer is still that of connect_timeout.
                    self._watch_for((), 0)
                elif event.name in self._passed and (interest or not is_asking):
                    self._watch_for(merge(machine.interest, interest), left)
                self._loop.glance()
                return
            if machine.is_finished:
                self._loop.release_waiter()
                return
            if machine.time_left() != 0:
                self._watch()
                return
            rounds += 1
            if rounds == _ROUNDS:       # other tasks go on, too
                self._watch_for(machine.interest, 0)
                return
        if not machine.is_finished:
            # The task that iterates has enough to do: receive no more, but go on sending.
            self._is_paused = True
            machine.flush()
            self._watch_for(*machine.waits_to_flush)

    def _look_ahead(self):
        # type: () -> bool
        """Keep what is left of the last step; False if no other step may follow for now."""
        while self._ahead_size < self._limit:
            last = self._ahead[-1] if self._ahead else self._last
            if last is not None and last.name not in self._passed:
                return False
            event = self._next_event()
            if event is None:
                return True
            self._keep(event)
        return False

    def _next_event(self):
        # type: () -> Optional[AnyEvent]
        event = next(self._events, None)
        if event is not None and self._news:
            self._machine.attend()
        return event

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
        self._ahead = self._ahead or deque()
        self._ahead.append(event)
        self._ahead_size += EVENT_SIZE + len(
            getattr(event, 'text', getattr(event, 'data', b'')))

    def _watch(self):
        # type: () -> None
        self._events = _NO_EVENTS       # the last step's have come: free what made them
        left = self._machine.time_left()    # which may change the interest
        self._watch_for(self._machine.interest, left)

    def _watch_for(self, interest, left):
        # type: (Interest, Optional[float]) -> None
        try:
            self._loop.watch(interest, left)
        except EnvironmentError as error:
            self.fail(error)
            self._loop.wake()

    def fail(self, error):
        # type: (EnvironmentError) -> None
        """End the connection: the loop can't wait for it; then it is to step."""
        self._machine.fail(error)

    # -- sending --

    async def send_text(self, text, compress=True):
        # type: (Union[text_type, Iterable[text_type], AsyncIterable[text_type]], bool) -> None
        """Send a text message; first wait while too much of what was sent before waits.

        Parameters and errors as for `WebSocket.send_text`. If this is cancelled, nothing of the
        message is sent.

        From an asynchronous iterable it sends one message, with a fragment for each item, as
        soon as the send buffer has space for it; then it asks for the next. Other messages wait
        meanwhile, pings and pongs go out. After the first item the message can't be taken back:
        what the iterable raises ends the connection and goes through, and so does cancelling this.
        Raises WebSocketClosed or WebSocketClosing, too, if the connection is closed in the middle.
        """
        if hasattr(text, '__aiter__'):
            await self._send_parts(Opcode.TEXT, text, compress, partial(
                text_payload, 'an iterable for send_text'))
            return
        await self._wait_for_space()
        self.websocket.send_text(text, compress)

    async def send_binary(self, data, compress=True):
        # type: (Union[BytesLike, Iterable[BytesLike], AsyncIterable[BytesLike]], bool) -> None
        """Send a binary message; as `send_text`."""
        if hasattr(data, '__aiter__'):
            await self._send_parts(Opcode.BINARY, data, compress, partial(
                check_bytes, 'an iterable for send_binary'))
            return
        await self._wait_for_space()
        self.websocket.send_binary(data, compress)

    async def send_utf8(self, data, compress=True):
        # type: (BytesLike, bool) -> None
        """Send bytes that are UTF-8 already as a text message; as `send_text`.

        Raises ValueError for what isn't UTF-8, as `WebSocket.send_utf8`.
        """
        await self._wait_for_space()
        self.websocket.send_utf8(data, compress)

    async def send_json(self, _obj=Ellipsis, **kwargs):
        # type: (Any, **Any) -> None
        """Send an object, or the keyword arguments as one, as JSON text; as `send_text`."""
        await self._wait_for_space()
        self.websocket.send_json(_obj, **kwargs)

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
        """Wait until the system has accepted all that was sent.

        Raises TransportFail if the connection ended before.
        """
        writer = self._writer
        if writer is None:
            return
        if writer.has_unsent:
            await self._line_up(writer, lambda: not writer.has_unsent)
        if writer.is_done and writer.unsent:
            raise writer.refusal(0) if writer.error is not None else errors.TransportFail(
                '{} messages were not sent, as the connection has ended', writer.unsent)

    async def _send_parts(self, opcode, items, compress, payload_of):
        # type: (int, Any, bool, Callable[[Any], bytes]) -> None
        """Send one message from an asynchronous iterable of its parts."""
        sending = None  # type: Any
        try:
            if self._writer is None or not self.websocket.stream.lifecycle.may_send:
                raise unavailable(self.websocket.state)
            async for item in items:
                part = payload_of(item)
                if not part:
                    continue
                if sending is None:
                    sending = await self._begin_parts(opcode, part, compress)
                else:
                    sending.writer.add_part(sending.parts, part)
                while not sending.writer.expects_part(sending.parts):
                    await sending.turn.wait()
                await self._loop.checkpoint()       # the iterable may never wait
            if sending is None:
                await self._wait_for_space()
                self._writer.send(opcode, b'', compress)
            else:
                sending.writer.end_parts(sending.parts)
        finally:
            if sending is not None:
                self._parts_task = None
                sending.writer.abandon_parts(sending.parts)
                sending.writer.step_out(sending.turn)
            if inspect.isasyncgen(items):       # it may not have ended
                await items.aclose()

    async def _begin_parts(self, opcode, part, compress):
        # type: (int, bytes, bool) -> _Sending
        await self._wait_for_space()
        writer, turn = self._writer, _Turn(self._loop)
        sending = _Sending(writer, turn, writer.begin_parts(opcode, part, compress, turn))
        self._parts_task = self._loop.current_task()
        return sending

    async def _wait_for_space(self):
        # type: () -> None
        self._sends += 1
        if self._sends >= _MANY_SENDS and self._loop is not None:
            await self._loop.checkpoint()
            self._sends = 0
        writer = self._writer
        if writer is not None and not writer.is_disposed and (
                writer.has_waiting or writer.has_unsent and writer.is_crowded(self._high_water)):
            await self._line_up(writer, lambda: not writer.is_crowded(self._low_water))
            if writer.error is not None:
                raise writer.refusal(0)

    async def _line_up(self, writer, may_go):
        # type: (Any, Callable[[], bool]) -> None
        """Wait for this task's turn, and until it may go, or nothing can be sent any more."""
        self._loop.check()
        if self._parts_task is not None and self._parts_task is self._loop.current_task():
            raise errors.WebSocketUnavailable(
                'this task is in the middle of a message that it sends from an iterable')
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

    def _forget(self):
        # type: () -> None
        self._ahead = ()
        self._found = None
        self._events = _NO_EVENTS


class _Messages(object):
    """Iterates over a connection's messages; not a generator, which may be left in the middle."""

    def __init__(self, connection):
        # type: (Connection) -> None
        self._connection = connection

    def __aiter__(self):
        # type: () -> _Messages
        return self

    async def __anext__(self):
        # type: () -> Union[text_type, bytes]
        try:
            return await self._connection.receive()
        except errors.WebSocketClosed as error:
            if error.code not in NORMAL:
                raise
        raise StopAsyncIteration


#: A message that is sent in parts: the writer, the place among those that wait, the parts.
_Sending = NamedTuple('_Sending', [('writer', 'Any'), ('turn', 'Any'), ('parts', 'Any')])


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
