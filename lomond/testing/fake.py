"""A WebSocket without a connection: the test gives its events, and looks at what was sent.

What stands in for the session and its writer is here; options, states, checks of arguments and
errors are those of a real `lomond.websocket.WebSocket`. It opens no socket and waits for nothing.
"""

from __future__ import absolute_import, division, print_function

from collections import deque
from itertools import chain

from lomond import events
from lomond._compat import TYPE_CHECKING, decode_utf8, encode_utf8, text_type
from lomond.engine.phases import End, EndKind
from lomond.engine.timers import NEVER
from lomond.events import text_class
from lomond.http.response import Response
from lomond.opcode import Opcode
from lomond.protocol.close import encode_close
from lomond.protocol.connection import CLIENT, SERVER, Connection
from lomond.protocol.handshake import Request, rebuild_request
from lomond.protocol.state import State
from lomond.testing.matching import check_expected, matches, show, to_message
from lomond.websocket import WebSocket

if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Generator, Iterable, Iterator, List, Optional, Union  # noqa: F401

    from lomond.events import AnyEvent
    from lomond.protocol.close import CloseFrame  # noqa: F401
    from lomond.testing.matching import Expected, Message, Sendable  # noqa: F401

    Script = Iterable[Union[AnyEvent, Sendable]]
    Attempt = Union[Script, Callable[['FakeWebSocket'], Script]]

#: The URL of one that was given none.
URL = u'ws://fake.example/'

#: The head of an answer that accepts.
SWITCHING = b'HTTP/1.1 101 Switching Protocols\r\n\r\n'

# What may come before Ready, or instead of it.
_BEFORE_READY = frozenset(['connecting', 'connected', 'redirected', 'rejected', 'connect_fail'])


class FakeWebSocket(WebSocket):
    """A WebSocket that makes no connection: its events are those that the test gives.

        websocket = FakeWebSocket([u'price 1', u'price 2', Disconnected(u'cut off')])
        for event in websocket: ...
        websocket.assert_sent({'subscribe': 'prices'})

    It goes where a WebSocket goes: into a loop, `lomond.persist.persist`, `lomond.pool.Pool.add`,
    `lomond.aio`, calls such as ``open`` and ``receive``, and a server's handler.

    Each positional argument has the events of one connection: an iterable of events, and of
    messages, which become Text and Binary (a dict or list: its JSON); or a function, called with
    the FakeWebSocket, that returns or yields these while the program sends. What reconnects doesn't
    wait, and ends instead of beginning a connection that has no events; a loop raises
    AssertionError then.

    What the events leave out is added: Ready before the first other event; at the end Disconnected.
    After ``close()`` of the program no further event comes, but Closed and Disconnected.

    Parameters, by name:

    - ``request``: for a server's handler: what the client has requested, a
      `lomond.server.Request`, or its path as text. It is the attribute ``request``, and the
      ``response`` of Ready.
    - ``url`` and the other options of a WebSocket.

    What a connection would do of its own accord doesn't happen: no Poll, ping, timeout or
    ``max_age``, no fragment, no descriptor or address, no limit of a message's size. ``ping()`` is
    answered at once; a ``send_ping`` isn't. Taking it out of a pool with its connection open raises
    WebSocketUnavailable.
    """

    def __init__(self, *connections, **options):
        # type: (*Attempt, **Any) -> None
        self._scripts = deque(_check_script(script) for script in connections)
        self._number = 0        # of connections that have begun
        request = options.pop('request', None)
        options.setdefault('proxies', {})
        super(FakeWebSocket, self).__init__(options.pop('url', URL), **options)
        #: The messages that were sent: text and bytes.
        self.sent = []  # type: List[Message]
        #: The payloads of the pings, and of the pongs, that were sent.
        self.pings = []  # type: List[bytes]
        self.pongs = []  # type: List[bytes]
        #: The delays after which ``persist`` or a pool would have reconnected, in seconds.
        self.back_offs = []  # type: List[float]
        #: The client's request, where this is a server's end; else None.
        self.request = None  # type: Any
        if request is not None:
            if not isinstance(request, Request):
                request = rebuild_request('GET', request, {'Host': 'fake.example'})
            self.request = request
            self._role = SERVER
            self._loop = self.connect()
            # A handler is called once it is open.
            self._events = chain([next(self._loop)], self._loop)

    def assert_sent(self, *expected):
        # type: (*Expected) -> None
        """Raise AssertionError unless exactly these messages were sent, in this order.

        Parameters: each as for `lomond.testing.expect`.
        """
        for index, wanted in enumerate(expected):
            check_expected(wanted)
            if index == len(self.sent):
                raise AssertionError(
                    '{} messages were sent, and not {} as the next one; they are: {}'.format(
                        index, show(wanted), self._show_sent()))
            if not matches(wanted, self.sent[index]):
                raise AssertionError('message {} is {}, not {}; all that were sent: {}'.format(
                    index + 1, show(self.sent[index]), show(wanted), self._show_sent()))
        if len(self.sent) > len(expected):
            raise AssertionError('{} messages were expected, and {} sent: {}'.format(
                len(expected), len(self.sent), self._show_sent()))

    def _show_sent(self):
        # type: () -> str
        return ', '.join(show(message) for message in self.sent) or 'none'

    # -- for drivers --

    def new_session(self, _session_class):
        # type: (Any) -> Any
        """Return what takes the place of a session, whatever its class should be."""
        make = _FakeSession  # type: Any
        return super(FakeWebSocket, self).new_session(make)

    def make_event(self, message, received_time=None):
        # type: (Sendable, Optional[float]) -> Union[events.Text, events.Binary]
        """Return the event of a message, as the options say; its time is now, or another one."""
        message = to_message(message)
        if isinstance(message, bytes):
            return events.Binary(message, received_time)
        made = text_class(self.json_loads, self.text_as_bytes)
        return made(made.from_utf8(encode_utf8(message)), received_time)

    def begin_script(self):
        # type: () -> Optional[Iterator[Any]]
        """Return an iterator over the next connection's events; its session calls this.

        None if there is no connection, as what reconnects is about to end.
        """
        if not self._scripts:
            raise AssertionError(
                'this FakeWebSocket has the events of {} connections, and another one was begun: '
                'give it more, FakeWebSocket(events, more_events)'.format(self._number))
        self._number += 1
        script = self._scripts.popleft()  # type: Any
        if callable(script):
            script = script(self)
        return None if script is None else iter(script)

    def attach_machine(self, machine):
        # type: (Any) -> None
        """Let what reconnects this end, if there is nothing to connect to; it calls this."""
        super(FakeWebSocket, self).attach_machine(machine)
        if self._number and not self._scripts:
            self.last_close = object()  # type: Optional[object]
            self._scripts.append(None)      # the attempt that ends it has no events

    def skip_back_off(self, delay):
        # type: (float) -> None
        """Record a delay; what reconnects this calls it, and doesn't wait."""
        self.back_offs.append(delay)

    def _make_calls(self):
        # type: () -> Any
        calls = super(FakeWebSocket, self)._make_calls()
        if self.request is not None:        # as in a handler: it is open already
            calls.adopt(self._loop, self._events, self.session)
        return calls

    def __iter__(self):
        # type: () -> Any
        return self.connect() if self.request is None else self._events


def _check_script(script):
    # type: (Any) -> Any
    if callable(script) or (hasattr(script, '__iter__')
                            and not isinstance(script, (bytes, text_type, dict))):
        return script
    raise TypeError('FakeWebSocket takes the events of each connection as a list, or a function '
                    'that returns them, not {!r}: write FakeWebSocket([...])'.format(script))


class _FakeSession(object):
    """Plays the events of one connection, with a session's members."""

    # What a driver, or `lomond._calls`, may ask for.
    interest = ()
    deadline = -NEVER
    is_queued = True
    is_ending = is_forced = is_aged = is_due = is_replaceable = is_releasable = False
    is_running = is_finished = has_opened = False
    call_deadline = NEVER
    gate = transport = None
    sent_close_time = None
    session_time = 0.0
    end = None  # type: Optional[End]
    waits_to_flush = (), None

    def __init__(self, websocket):
        # type: (FakeWebSocket) -> None
        self._websocket = websocket
        self.connection = websocket.stream  # type: Connection
        self.writer = _FakeWriter(self)
        self._wake_driver = None  # type: Any
        self._playing = None  # type: Any
        self._pongs = deque()  # type: Deque[bytes]
        self._is_given_up = False

    @property
    def sender(self):
        # type: () -> _FakeWriter
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
        script = self._websocket.begin_script()
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
            if self.connection.state == State.CLOSED and event.name != 'disconnected':
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
            if self._is_given_up or self.connection.state == State.CLOSING:
                break
        for event in self._ending(is_connected, reason):
            self._before(event)
            yield event

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


class _FakeWriter(object):
    """Records what a websocket sends, and raises what a connection in its state would."""

    outbox = error = None

    def __init__(self, session):
        # type: (_FakeSession) -> None
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
