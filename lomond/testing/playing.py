"""What takes the place of a session, and of its writer, for a `FakeWebSocket`.

It has a session's members, so that every driver takes it, and yields the events of a script. It
opens no socket and waits for nothing; the states are those of a real `Connection`.
"""

from __future__ import absolute_import, division, print_function

from collections import deque

from lomond import events
from lomond._compat import TYPE_CHECKING, decode_utf8
from lomond.engine.phases import End, EndKind
from lomond.engine.timers import NEVER
from lomond.http.response import Response
from lomond.opcode import Opcode
from lomond.protocol.close import encode_close
from lomond.protocol.connection import CLIENT, SERVER, Connection
from lomond.protocol.state import State

if TYPE_CHECKING:
    from typing import Any, Deque, Generator, Iterable, Iterator, Optional, Tuple  # noqa: F401

    from lomond._compat import text_type  # noqa: F401
    from lomond.events import AnyEvent  # noqa: F401
    from lomond.net.waiter import Interest  # noqa: F401
    from lomond.testing.fake import FakeWebSocket  # noqa: F401

#: The head of an answer that accepts.
SWITCHING = b'HTTP/1.1 101 Switching Protocols\r\n\r\n'

# What may come before Ready, or instead of it.
_BEFORE_READY = frozenset(['connecting', 'connected', 'redirected', 'rejected', 'connect_fail'])


class PlayedSession(object):
    """Plays the events of one connection, with a session's members."""

    # What a driver, or `lomond._calls`, may ask for.
    interest = ()  # type: Interest
    deadline = -NEVER  # type: float
    is_queued = True
    is_ending = is_aged = is_due = is_replaceable = is_releasable = False
    is_forced = False  # type: bool
    is_running = False  # type: bool
    is_finished = False  # type: bool
    has_opened = False  # type: bool
    call_deadline = NEVER
    gate = transport = None
    sent_close_time = None
    session_time = 0.0  # type: float
    end = None  # type: Optional[End]
    waits_to_flush = (), None  # type: Tuple[Interest, Optional[float]]

    def __init__(self, websocket):
        # type: (FakeWebSocket) -> None
        self._websocket = websocket
        self.connection = websocket.stream  # type: Connection
        self.writer = _Recorder(self)  # type: _Recorder
        self._wake_driver = None  # type: Any
        self._playing = None  # type: Any
        self._pongs = deque()  # type: Deque[bytes]
        self._is_given_up = False

    @property
    def sender(self):
        # type: () -> _Recorder
        """What the websocket sends through."""
        return self.writer

    @property
    def websocket(self):
        # type: () -> FakeWebSocket
        """Whose session it is."""
        return self._websocket

    # -- beginning, and driving --

    def run(self, **_options):
        # type: (**Any) -> Generator[AnyEvent, None, None]
        """Yield the events, for a loop."""
        self.begin_checked(None)
        try:
            while not self.is_finished:
                for event in self.step():
                    yield event
        finally:
            self.dispose()

    def begin_checked(self, wake, *_timing):
        # type: (Any, *Any) -> None
        """Begin; options of time have no effect."""
        websocket = self._websocket  # type: Any
        websocket.claim(self)
        self._wake_driver = wake
        try:
            script = self._websocket.begin_script()
        except BaseException:       # of the test's function
            self.dispose()
            raise
        self._playing = iter(()) if script is None else self._play(script)

    def claimed(self):
        # type: () -> None
        """Be the websocket's session from now on."""
        self.is_running = True
        self._websocket.stats.attempts += 1

    def begin(self, wake=None, **_options):
        # type: (Any, **Any) -> None
        """Begin, for a driver of the user's."""
        self.begin_checked(wake)

    def step(self):
        # type: () -> Iterable[AnyEvent]
        """Return the next event, if there is one."""
        event = None if self.is_finished else next(self._playing, None)
        if event is None:
            self.dispose()
            return ()
        return (event,)

    advance = step

    def time_left(self):
        # type: () -> Optional[float]
        """Return how long to wait: not at all."""
        return 0

    def wake(self):
        # type: () -> None
        """Have the driver step."""
        if self._wake_driver is not None:
            self._wake_driver()

    def attend(self):
        # type: () -> None
        """Send nothing: there is no protocol that has to."""

    flush = attend

    def fail(self, _error):
        # type: (Any) -> None
        """End, as the driver can't go on."""
        self.force_disconnect()

    def dispose(self):
        # type: () -> None
        """End, whatever it is doing."""
        if not self.is_finished:
            self.is_finished, self.is_running = True, False
            if not getattr(self._playing, 'gi_running', True):
                self._playing.close()
            self._end(EndKind.FORCED, u'disposed of')
            self._websocket.on_disconnect()

    # -- ending, by the program --

    def send_control(self, opcode, payload):
        # type: (int, bytes) -> None
        """Send what `close` of the websocket sends."""
        self.writer.send_control(opcode, payload)

    def close(self, payload=None):
        # type: (Optional[bytes]) -> None
        """Send a Close frame; before Ready end the attempt."""
        if self.connection.state == State.CONNECTING:
            self._is_given_up = True
        elif self.connection.lifecycle.may_close:
            self.writer.send_control(
                Opcode.CLOSE, encode_close(1000, u'goodbye') if payload is None else payload)

    def force_disconnect(self):
        # type: () -> None
        """End without a Close frame."""
        if self.is_running:
            self.is_forced = self._is_given_up = True
            self.connection.disconnect()

    def move(self, websocket):
        # type: (Any) -> None
        """Raise, as there is no second connection to replace this."""
        raise NotImplementedError('a FakeWebSocket has no connection that could be replaced')

    # -- the events --

    def answer_ping(self, payload):
        # type: (bytes) -> None
        """Have the pong to a ping come next."""
        self._pongs.append(payload)

    def _play(self, script):
        # type: (Iterator[Any]) -> Iterator[AnyEvent]
        is_connected, reason = False, None  # type: bool, Optional[text_type]
        for event in self._completed(script):
            # The script, or another thread, may have closed it meanwhile.
            if self._is_over() or self.connection.state == State.CLOSED \
                    and event.name != 'disconnected':
                break
            is_connected = is_connected or event.name != 'connecting'
            if event.name == 'rejected':
                reason = event.reason
            self._before(event)
            yield event
            if event.name in ('disconnected', 'connect_fail'):
                return
            if event.name == 'closing' and self.connection.lifecycle.may_close:
                self.connection.encode(Opcode.CLOSE, encode_close(
                    None if event.code == 1005 else event.code, u''))
            if self._is_over():
                break
        for event in self._ending(is_connected, reason):
            self._before(event)
            yield event

    def _is_over(self):
        # type: () -> bool
        """Return whether the program has ended it, and it waits for nothing but its end."""
        return self._is_given_up or self.connection.state == State.CLOSING

    def _completed(self, script):
        # type: (Iterator[Any]) -> Iterator[AnyEvent]
        """Yield the events of the script, as events, with a Ready."""
        is_expected = self._websocket.request is None
        if not is_expected:
            yield self._ready()
        for item in script:
            event = self._to_event(item)
            if event.name == 'ready' and self.has_opened:
                continue
            if is_expected and event.name not in _BEFORE_READY:
                is_expected = False
                if event.name not in ('ready', 'disconnected'):
                    yield self._ready()
            is_expected = is_expected and event.name not in ('rejected', 'connect_fail')
            while self._pongs:
                yield events.Pong(self._pongs.popleft())
            yield event
        if is_expected:
            yield self._ready()
        while self._pongs:
            yield events.Pong(self._pongs.popleft())

    def _ready(self):
        # type: () -> events.Ready
        websocket = self._websocket
        return events.Ready(
            websocket.request or Response(SWITCHING), None, set(),
            websocket.stats.connections + 1)

    def _to_event(self, item):
        # type: (Any) -> Any
        if isinstance(item, events.Event):
            return item
        return self._websocket.make_event(item)

    def _before(self, event):
        # type: (Any) -> None
        """Have the state that the program finds while it handles an event."""
        if event.name == 'ready':
            self.connection.protocol = event.protocol
            self.connection.accept()
            self.has_opened = True
            self._websocket.stats.connections += 1
        elif event.name in ('closing', 'closed'):
            self._receive_close(event.code, event.reason)
        elif event.name == 'rejected':
            self.connection.reject()
        elif event.name in ('disconnected', 'connect_fail'):
            kind = EndKind.FORCED if self.is_forced else EndKind.BROKEN
            if getattr(event, 'graceful', False):
                kind = EndKind.CLOSED
            self._end(kind, event.reason, event.cause)
            self.is_finished, self.is_running = True, False
            self._websocket.on_disconnect()

    def _receive_close(self, code, reason):
        # type: (int, text_type) -> None
        """Have the connection receive the peer's Close frame."""
        peer = Connection(CLIENT if self._websocket.request is not None else SERVER)
        peer.accept()
        frame = peer.encode_close(None if code == 1005 else code, reason)
        for _event in self.connection.receive(frame):
            pass

    def _ending(self, is_connected, reason):
        # type: (bool, Optional[text_type]) -> Iterator[Any]
        """Yield the events that end a connection whose script has no Disconnected."""
        connection = self.connection
        if not self.has_opened and reason is None and not is_connected:
            yield events.ConnectFail(u'closed by the application while connecting', 'connect')
            return
        if connection.state == State.CLOSING:
            code, words = connection.close_sent     # type: ignore[misc]    # it was sent
            yield events.Closed(code, words)
        graceful = connection.is_close_complete
        if graceful:
            reason = u'closed'
        elif self._is_given_up:
            reason = u'disconnected by the application'
        yield events.Disconnected(
            reason or u'this FakeWebSocket has no more events', graceful)

    def _end(self, kind, reason, error=None):
        # type: (str, text_type, Optional[BaseException]) -> None
        if self.end is None:
            self.end = End(kind, reason, error)


class _Recorder(object):
    """Records what a websocket sends, and raises what a connection in its state would."""

    # What drivers ask of a writer: nothing waits here.
    outbox = error = None
    is_disposed = is_done = has_waiting = has_unsent = False
    unsent = 0

    def __init__(self, session):
        # type: (PlayedSession) -> None
        self._session = session

    @property
    def can_send(self):
        # type: () -> bool
        return self._session.connection.lifecycle.may_send

    def send(self, opcode, payload, compress=False, may_wait=True):
        # type: (int, Any, bool, bool) -> None
        """Record a message; ``compress`` has no effect, and it never waits."""
        payload = bytes(payload)
        self._session.connection.encode(opcode, payload)        # raises
        self._session.websocket.sent.append(
            decode_utf8(payload) if opcode == Opcode.TEXT else payload)

    def send_many(self, messages, compress=False):
        # type: (Any, bool) -> None
        """Record several messages."""
        for opcode, payload in messages:
            self.send(opcode, payload)

    def send_parts(self, opcode, parts, compress=False):
        # type: (int, Iterable[bytes], bool) -> None
        """Record a message that is made while it is sent."""
        self.send(opcode, b''.join(parts))

    def begin_parts(self, *_args):
        # type: (*Any) -> None
        """Raise, as there is no connection over which a message could be under way."""
        raise NotImplementedError(
            'a FakeWebSocket takes no asynchronous iterable as a message: send a whole one, or '
            'test with a ScriptedServer')

    def send_control(self, opcode, payload):
        # type: (int, bytes) -> None
        """Record a ping or a pong, or send a Close frame."""
        self._session.connection.encode(opcode, payload)        # raises
        if opcode == Opcode.PING:
            self._session.websocket.pings.append(payload)
        elif opcode == Opcode.PONG:
            self._session.websocket.pongs.append(payload)

    def send_ping(self, payload):
        # type: (bytes) -> None
        """Record the ping of a call, and answer it."""
        self.send_control(Opcode.PING, payload)
        self._session.answer_ping(payload)

    def take_back_ping(self, payload):
        # type: (bytes) -> None
        """Do nothing: the ping was recorded."""

    def clear(self):
        # type: () -> int
        """Drop nothing, as nothing waits."""
        return 0
