"""One connection's life as a machine of steps: connect, receive, keep time, end.

A driver owns the waiting. It calls `begin`, then again and again `step`,
whose events it passes on, and waits for `interest` until `deadline`; `wake`
interrupts its wait from any thread; `dispose` frees everything at any moment.
No step waits. Only where `calls_in_loop` is true does a step call functions of
the user's that may wait.

`Session` is what both ends share: it begins with a transport, and its base
classes say how that comes to be (`client`, `server`). Sending is in `writer`.
"""

from __future__ import absolute_import, division, print_function

import socket
import struct
from itertools import chain

from lomond import errors, events
from lomond._checks import check_seconds
from lomond._compat import TYPE_CHECKING, monotonic, text_type, thread_module, to_bytes
from lomond._describe import describe
from lomond._hints import takes_options
from lomond.engine.blocking import BlockingWriter
from lomond.engine.phases import PHASES, End, EndKind, Phase
from lomond.engine.timers import NEVER, IdleTimer, Timers
from lomond.http.answer import RestTimer
from lomond.http.redact import TraceRecord
from lomond.net.progress import Progress
from lomond.net.steps import Wait
from lomond.net.transport import PROGRESS, RECEIVE_SIZE, is_broken_pipe
from lomond.net.waiter import READ, WRITE, merge
from lomond.opcode import Opcode
from lomond.protocol.close import encode_close
from lomond.protocol.connection import SERVER
from lomond.status import Status

if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, List, Optional, Tuple  # noqa: F401

    from lomond.engine.handover import Handover  # noqa: F401
    from lomond.engine.writer import Writer  # noqa: F401
    from lomond.events import AnyEvent  # noqa: F401
    from lomond.net.steps import Operation  # noqa: F401
    from lomond.net.transport import Transport  # noqa: F401
    from lomond.net.waiter import Interest  # noqa: F401
    from lomond.protocol.connection import Connection  # noqa: F401
    from lomond.stats import Span  # noqa: F401

#: After a failed write, and after `close_timeout`, read at most this number of bytes that had
#: already arrived.
SALVAGE = 16 * 1024 * 1024

# Reads of one step while nothing that comes counts: a peer that floods must not hold up a driver's
# other connections.
_READS_IN_VAIN = 16

#: As `Session.linger`, at the server's end: it ends TCP first (RFC 6455 7.1.1).
LINGER_OF_SERVER = 0.0

#: What the server's end calls the other one, in its reasons.
PEER_OF_SERVER = u'client'

_GOODBYE = encode_close(1000, u'goodbye')

# RFC 6455 7.4.1: 1000 would say that the connection has fulfilled its purpose.
_NO_MESSAGE = encode_close(Status.GOING_AWAY, u'no message within idle_timeout')
_TOO_OLD = encode_close(Status.GOING_AWAY, u'the connection reached max_age')

_ping_struct = struct.Struct('!I')

# The method that makes a step of each phase.
_STEPS = {
    Phase.NEW: '_step_new',
    Phase.DIALING: '_step_dialing',
    Phase.HANDSHAKE: '_step_handshake',
    Phase.OPEN: '_step_open',
    Phase.RELEASED: '_step_released',       # of those that can be
    Phase.LINGERING: '_step_lingering',
    Phase.FINISHED: '_step_nothing',
}

# Why a session ends that the application forces to end, by its phase.
_FORCED = {
    Phase.NEW: u'closed by the application while connecting',
    Phase.DIALING: u'closed by the application while connecting',
    Phase.HANDSHAKE: u'closed by the application during the handshake',
    Phase.OPEN: u'disconnected by the application',
}


def do_nothing():
    # type: () -> None
    """Wake a driver that hasn't begun."""


class Session(object):
    """One connection of a websocket, up to its end; the base of both ends' sessions.

    Parameters: ``clock``, a monotonic clock in seconds; ``websocket``, of which
    the session uses these members only:

    - ``stream``, the protocol's `Connection`, and ``stats``;
    - ``session``, the one that is attached, ``claim(session)``, so that no other
      drives it, and ``on_disconnect()``, at the end;
    - ``feed(data)``, the events in bytes from the peer;
    - ``handover``, a `Handover` to begin with instead of dialling, or None, and
      ``open_attached()``, the event that follows;
    - ``is_refused``, ``connect_timeout``, ``write_timeout``,
      ``fragment_size``, ``read_ahead_limit``, ``trace``, ``logger`` and what the subclass names.
    """

    #: After the Close frames, how long to leave it to the peer to end TCP first, in seconds
    #: (RFC 6455 7.1.1); and the same after the peer's fault.
    linger = 1.0  # type: float
    linger_after_error = 1.0  # type: float

    #: Whether functions of the user's are called in the loop's thread; else in another one.
    calls_in_loop = False

    #: What sends.
    writer_class = BlockingWriter  # type: Callable[..., Any]

    #: True once the driver is to replace the connection.
    is_due = False  # type: bool

    _peer = u'server'
    _time_limit = u'connect_timeout'    # the option's name

    # Attributes that most sessions never set are class attributes, to save memory: on CPython an
    # object takes most of a kilobyte more once it has over 30 attributes, or one that no other of
    # its class had when a second was made.

    _is_forced = False          # the application has forced the end
    # Why dialling can't even begin.
    _obstacle = None  # type: Optional[errors.ConnectFail]
    _read_error = None  # type: Optional[BaseException]     # the last
    # The transport's progress when it last counted as a sign of life.
    _progress = 0
    # With an `idle_timeout`, from Ready on.
    _idle_timer = None  # type: Optional[IdleTimer]
    _stale_disconnects = False
    # When it is to be replaced, by the clock.
    _aged_at = NEVER

    def __init__(self, websocket, clock=monotonic):
        # type: (Any, Callable[[], float]) -> None
        self._websocket = websocket
        #: The protocol's side of it, and that side's receiving half.
        self.connection = websocket.stream  # type: Connection
        self._decoder = self.connection.decoder
        self._clock = clock
        self._started = clock()
        self._read_ahead_limit = websocket.read_ahead_limit  # type: Optional[int]
        #: The sending half.
        self.writer = self.writer_class(
            self.connection, websocket, self, clock)  # type: Writer
        #: How far it has come: a `Phase`.
        self.phase = Phase.NEW  # type: str
        # The first is what counts. A list, as any thread may force the end: append is atomic.
        self._ends = []  # type: List[End]

        #: What to wait for before the next step, as `lomond.net.waiter.wait` takes it.
        self.interest = ()  # type: Interest
        #: When the next step has something to do though nothing arrived, by the clock.
        self.deadline = -NEVER  # type: float
        # Whether there is something to do at once. Any thread may set it; a step clears it.
        self._needs_step = True
        self._wake_driver = do_nothing  # type: Callable[[], Any]

        # When the attempt to connect has failed, whatever it is at.
        self._connect_deadline = None  # type: Any      # a float, from the first step on
        #: What says when to dial, a `lomond.engine.gate.Gate`; None to dial at once.
        self.gate = None  # type: Any
        self._dialing = None  # type: Optional[Operation]
        # From the first step to the end of the attempt to connect.
        self._dial_progress = None  # type: Any     # an Optional[Progress]
        self._is_dialing = False        # a step is in the middle of dialling
        # Until Ready, once the peer has sent something on the present transport.
        self._rest_timer = None  # type: Optional[RestTimer]

        #: Whether Poll follows Ready at once.
        self.begins_with_poll = True  # type: bool
        #: Whether the driver replaces a connection that reached `max_age`, and then closes it.
        self.is_replaceable = False  # type: bool
        self._timing = None  # type: Any        # the options of `begin`, for Timers, until Ready
        self._close_timeout = NEVER
        self._close_deadline = NEVER
        self._timers = None  # type: Any        # Timers, from Ready on
        # The loop's last ping that has no pong yet: its payload, and when it went out.
        self._ping_sent = None  # type: Optional[Tuple[bytes, float]]
        self._span = None  # type: Optional[Span]   # the time of the connection, from Ready on

    def __repr__(self):
        # type: () -> str
        return '<{} {}>'.format(type(self).__name__, self._websocket)

    # -- how it stands --

    @property
    def transport(self):
        # type: () -> Optional[Transport]
        """The connected byte stream; None before there is one."""
        return self.writer.transport    # type: ignore[no-any-return]

    @property
    def is_running(self):
        # type: () -> bool
        """True from the first step to the last."""
        return self.phase not in (Phase.NEW, Phase.FINISHED)

    @property
    def is_finished(self):
        # type: () -> bool
        """True once the last event has been returned, or the session was disposed of."""
        return self.phase == Phase.FINISHED

    @property
    def has_opened(self):
        # type: () -> bool
        """True from Ready on, after the end too."""
        return self._span is not None

    @property
    def is_forced(self):
        # type: () -> bool
        """True once the application has forced the end."""
        return self._is_forced

    @property
    def is_ending(self):
        # type: () -> bool
        """True once a send failed, or a Close frame waits to be sent."""
        return self.writer.error is not None or self.writer.pending.close is not None

    @property
    def end(self):
        # type: () -> Optional[End]
        """How it ended: an `End`, or None as long as it hasn't."""
        return self._ends[0] if self._ends else None

    @property
    def is_aged(self):
        # type: () -> bool
        """True once it reached `max_age`: its end was planned, whatever it looks like."""
        return bool(self._ends) and self._ends[0].kind == EndKind.AGED

    @property
    def session_time(self):
        # type: () -> float
        """Seconds since the session began."""
        return self._clock() - self._started

    @property
    def sent_close_time(self):
        # type: () -> Optional[float]
        """When our Close frame went out, in seconds since the session began, or None."""
        sent_at = self.writer.close_sent_at
        return None if sent_at is None else sent_at - self._started

    @property
    def sender(self):
        # type: () -> Any
        """What the websocket sends through: the writer, or this session.

        It is this session if a user's subclass overrides `send`, `send_control` or `send_many`.
        """
        # Without __dict__: asking for it makes a dict that the session keeps.
        has_its_own = any(
            getattr(self, name) != getattr(Session, name).__get__(self, Session)
            for name in ('send', 'send_control', 'send_many'))
        return self if has_its_own else self.writer

    @staticmethod
    def random():
        # type: () -> float
        """Return a float from 0 to 1."""
        from random import random  # here, as few programs need it
        return random()     # nosec B311  # it spreads load, and keeps no secret

    # -- for the driver --

    @takes_options('begin', '')
    def begin(
        self,
        poll=None,                  # type: Optional[float]
        ping_rate=30.0,             # type: Optional[float]
        ping_timeout=None,          # type: Optional[float]
        auto_pong=True,             # type: bool
        close_timeout=30.0,         # type: Optional[float]
        wake=do_nothing,            # type: Callable[[], Any]
        idle_timeout=None,          # type: Optional[float]
        stale_disconnects=False,    # type: bool
        max_age=None,               # type: Optional[float]
        heartbeat=None,             # type: Optional[float]
    ):
        # type: (...) -> None
        """Begin; the driver steps from now on, in the thread that calls this.

        Parameters as in `WebSocket.connect`, with their defaults, except that ``poll`` is None; and
        ``wake``, which is called to interrupt the driver's present or next wait, from any thread
        and in signal handlers: it must neither wait nor raise.

        Raises TypeError and ValueError, and WebSocketUnavailable if it has begun before, or if
        another session took the place of this one.
        """
        if not callable(wake):
            raise TypeError('wake must be a function, not {!r}'.format(wake))
        self.begin_checked(
            wake, check_seconds('poll', poll), check_seconds('ping_rate', ping_rate),
            check_seconds('ping_timeout', ping_timeout), auto_pong,
            check_seconds('close_timeout', close_timeout),
            check_seconds('idle_timeout', idle_timeout), stale_disconnects,
            check_seconds('max_age', max_age), check_seconds('heartbeat', heartbeat))

    def begin_checked(
        self,
        wake,                   # type: Callable[[], Any]
        poll,                   # type: Optional[float]
        ping_rate,              # type: Optional[float]
        ping_timeout,           # type: Optional[float]
        auto_pong,              # type: bool
        close_timeout,          # type: Optional[float]
        idle_timeout,           # type: Optional[float]
        stale_disconnects,      # type: bool
        max_age,                # type: Optional[float]
        heartbeat,              # type: Optional[float]
    ):
        # type: (...) -> None
        """Begin, as `begin` does, with options that were checked: a `lomond.websocket.Timing`."""
        self._websocket.claim(self)
        self._timing = poll, ping_rate, ping_timeout, heartbeat, idle_timeout, max_age
        if stale_disconnects:
            self._stale_disconnects = True
        self._close_timeout = close_timeout or NEVER
        self._decoder.auto_pong = auto_pong
        self._wake_driver = wake
        self._begun(poll)

    def _begun(self, poll):
        # type: (Optional[float]) -> None
        """Do what a subclass has to do in `begin`, in the driver's thread."""

    def claimed(self):
        # type: () -> None
        """Count as running from now on; the websocket calls this, in `claim`."""
        self.check_new()
        self._enter(Phase.DIALING)

    def check_new(self):
        # type: () -> None
        """Raise WebSocketUnavailable if it has begun before."""
        if self.phase != Phase.NEW:
            raise errors.WebSocketUnavailable('this session has begun before: make another one')

    def step(self):
        # type: () -> Iterator[AnyEvent]
        """Do what can be done without waiting; yield the events.

        The driver exhausts them before it asks `time_left` and steps again. Raises
        WebSocketUnavailable before `begin`.
        """
        for event in self.advance():
            if self._decoder.news:
                self.attend()
            yield event

    def advance(self):
        # type: () -> Iterable[AnyEvent]
        """Do as `step` does, but leave it to the driver to `attend`.

        The driver calls `attend` before it passes on an event, whenever the decoder's list
        `news` isn't empty. (It saves a generator's turn for each message.)
        """
        self._needs_step = self.writer.pending.holds_close = False
        if self._decoder.news:
            self.attend()
        return getattr(self, _STEPS[self.phase])()     # type: ignore[no-any-return]

    def attend(self):
        # type: () -> None
        """Send the protocol's own replies, if that needs no waiting: a pong, or a Close frame.

        And measure the round trip of a pong that has just arrived.
        """
        decoder = self._decoder
        del decoder.news[:]
        pong, decoder.pong = decoder.pong, None
        if self._ping_sent is not None and pong == self._ping_sent[0]:
            self._websocket.stats.round_trips.add(self._clock() - self._ping_sent[1])
            self._ping_sent = None
        pending = decoder.take_pending()
        if pending is not None:
            self.writer.reply(*pending)

    def time_left(self):
        # type: () -> Optional[float]
        """Return how long, in seconds, to wait for `interest`; None means forever."""
        writer = self.writer
        if self._needs_step or self.phase == Phase.FINISHED or writer.error is not None \
                or self._decoder.news:
            return 0
        is_receiving = self._decoder.is_receiving
        if self.phase == Phase.OPEN and not is_receiving:
            # What arrives after the last frame that counts is not read before the end.
            if not writer.is_closing:
                return 0
        elif writer.transport is not None and self._has_unread():
            return 0
        if writer.needs_buffer and not any(mask & WRITE for _fd, mask in self.interest):
            self.interest = [(fd, mask | WRITE) for fd, mask in self.interest]
        if self.deadline == NEVER:
            return None
        return max(0.0, self.deadline - self._clock())

    def flush(self):
        # type: () -> None
        """Send what waits, but receive nothing; instead of a step, while the user is busy."""
        writer = self.writer
        if writer.is_disposed:
            return
        if writer.pending.any or writer.has_unsent:
            writer.flush_pending()
        if self._clock() >= writer.deadline:
            writer.time_out()

    @property
    def waits_to_flush(self):
        # type: () -> Tuple[Interest, Optional[float]]
        """What to wait for before the next `flush`, and for how long, in seconds or None."""
        writer = self.writer
        if writer.is_disposed or not writer.needs_buffer:
            return (), None
        left = None if writer.deadline == NEVER else max(0.0, writer.deadline - self._clock())
        return ((writer.transport.fileno(), WRITE),), left

    def _has_unread(self):
        # type: () -> bool
        self.writer.receiving_thread = thread_module.get_ident()
        try:
            return self.writer.transport.has_pending()      # type: ignore[no-any-return]
        finally:
            self.writer.receiving_thread = None

    def dispose(self):
        # type: () -> None
        """Free the transport, in whatever phase the session is. Never raises."""
        writer = self.writer
        if writer.is_disposed:      # the websocket may have begun another session
            return
        writer.is_disposed = True
        try:
            # A session that hasn't begun may stand beside the one that drives the websocket.
            if self.phase != Phase.NEW or self._websocket.session is self:
                self._websocket.on_disconnect()
                if self._span is not None:
                    self._span.end()
        finally:
            # Not earlier: from now on another thread may connect, with a connection of its own.
            self._enter(Phase.FINISHED)
            self._dial_progress = None      # it refers to this
            if self._dialing is not None and not self._is_dialing:
                self._dialing.close()
            self.interest = ()      # the descriptor may be another file's soon
            writer.dispose()

    def _enter(self, phase):
        # type: (str) -> None
        """Go on to another phase: the one place that does."""
        assert phase in PHASES[self.phase], (self.phase, phase)     # nosec B101
        self.phase = phase
        if self.gate is not None and phase in (Phase.OPEN, Phase.FINISHED):
            self.gate.leave(self)

    def _step_new(self):
        # type: () -> Iterable[AnyEvent]
        raise errors.WebSocketUnavailable(
            'this session has not begun: call begin() before step()')

    def _step_nothing(self):
        # type: () -> Iterable[AnyEvent]
        return ()

    # -- from any thread --

    def wake(self):
        # type: () -> None
        """Have the driver step, wherever it is; from any thread."""
        self._needs_step = True
        self._wake_driver()

    def close(self, payload=_GOODBYE):
        # type: (bytes) -> None
        """End the attempt to connect. If the connection is already open, send the Close frame."""
        self.writer.close(payload)

    def force_disconnect(self):
        # type: () -> None
        """End the loop with Disconnected, from any thread; never waits, never raises."""
        self._conclude(EndKind.FORCED, _FORCED.get(self.phase, _FORCED[Phase.OPEN]))
        self.connection.stop_receiving()
        transport = self.writer.transport
        if transport is not None:
            transport.abort()
        self.wake()

    def move(self, websocket):
        # type: (Any) -> None
        """Belong to another websocket, which has the connection from now on."""
        self._websocket = self.writer.options = websocket

    def retire(self):
        # type: () -> None
        """Close, as another connection has taken the place of this."""
        self.writer.close(_TOO_OLD)

    def fail(self, error):
        # type: (EnvironmentError) -> None
        """End, as the driver can't wait for the `interest`; for the driver's thread."""
        if self.is_finished:        # its socket was closed while the driver waited for it
            return
        reason = u'could not wait for the connection: {}'.format(describe(error))
        if self.phase == Phase.DIALING:
            self._obstacle = errors.ConnectFail.during('connect', reason, error)
            return
        self._conclude(EndKind.BROKEN, reason, error)
        self.writer.transport.abort()
        self.wake()

    # -- for the user, through the websocket --

    def write(self, data):
        # type: (bytes) -> None
        """Send bytes as they are: for what isn't a frame.

        Raises TransportFail, or WebSocketUnavailable if there is no connection.
        """
        self.writer.write(data)

    def send(self, opcode, data, compress=False):
        # type: (int, bytes, bool) -> None
        """Send a frame, whole; compressed if ``compress`` is true and that was agreed on.

        Raises TransportFail, or WebSocketUnavailable and its kinds.
        """
        self.writer.send(opcode, data, compress)

    def send_compressed(self, opcode, data):
        # type: (int, bytes) -> None
        """Send a frame, compressed if that was agreed on; raises as `send`."""
        self.send(opcode, data, True)

    def send_control(self, opcode, payload):
        # type: (int, bytes) -> None
        """Send a ping, a pong or a Close frame; raises as `send`."""
        self.writer.send_control(opcode, payload)

    def send_parts(self, opcode, parts, compress):
        # type: (int, Iterable[bytes], bool) -> None
        """Send one message, with a frame for each part; raises as `send`, and what they raise."""
        self.writer.send_parts(opcode, parts, compress)

    def send_many(self, messages, compress):
        # type: (Iterable[Tuple[int, bytes]], bool) -> None
        """Send a frame for each pair of an opcode and a payload; raises as `send`."""
        self.writer.send_many(messages, compress)

    # -- for the writer --

    def close_was_sent(self):
        # type: () -> None
        """Our Close frame is out: wait for the answer to it from now on."""
        self._close_deadline = NEVER

    def write_failed(self):
        # type: () -> None
        """A write failed: read what had arrived, then end."""
        self._salvage = SALVAGE

    def read_ahead(self):
        # type: () -> None
        """Answer pings that arrived while the loop's own thread is sending; a driver may."""

    # -- dialling and the handshake --

    def _announce(self):
        # type: () -> Iterable[AnyEvent]
        """Return the first events."""
        return ()

    def dial(self):
        # type: () -> Operation
        """Return the operation whose result is the transport; it raises ConnectFail."""
        raise NotImplementedError

    def _begin_handshake(self):
        # type: () -> Iterable[AnyEvent]
        """Return the events of being connected; the transport is there."""
        self._dial_progress.enter('handshake')
        return ()

    def _may_dial(self):
        # type: () -> bool
        """Return whether it is this session's turn, or the attempt is to end at once."""
        if self.gate is None or self._websocket.handover is not None \
                or self.writer.pending.close is not None or self._is_forced:
            return True
        self.deadline = self.gate.admit(self, self._websocket.target.host)
        return self.deadline == -NEVER

    def _start(self):
        # type: () -> Iterable[AnyEvent]
        self._connect_deadline = self.deadline = \
            self._clock() + (self._websocket.connect_timeout or NEVER)
        self._needs_step = True
        self._websocket.stats.attempts += 1
        handover = self._websocket.handover
        if handover is None or self._obstacle is not None:
            self._dial_progress = Progress(self.trace, self._clock)
            return self._announce()
        return self._take_over(handover)

    def _take_over(self, handover):
        # type: (Handover) -> Iterable[AnyEvent]
        """Begin with a connection whose opening handshake was made elsewhere."""
        transport = handover.take()
        if transport is None:       # another thread has just closed it
            self._conclude(EndKind.FORCED, _FORCED[Phase.DIALING])
            return ()
        if handover.role == SERVER:
            self.linger, self._peer = LINGER_OF_SERVER, PEER_OF_SERVER
        self._open_transport(transport)
        return self._follow(self._websocket.open_attached(), None)

    def _step_dialing(self):
        # type: () -> Iterable[AnyEvent]
        if self._connect_deadline is None:
            return self._start() if self._may_dial() else ()
        try:
            if self.writer.pending.close is not None or self._is_forced:
                raise errors.ConnectFail(_FORCED[Phase.DIALING])
            if self._obstacle is not None:
                raise self._obstacle
            if self._dialing is None:
                self._dialing = self.dial()
            step = self._dial_on()
            if isinstance(step, Wait):
                self.interest, self.deadline = step
                return ()
            self._dialing = None
            self._open_transport(step)
            step = None     # 2.7 keeps a descriptor open while any object refers to it
            return self._begin_handshake()
        except errors.ConnectFail as error:
            return self._connect_failed(error)
        except EnvironmentError as error:       # of an import, say, that needs a descriptor
            return self._connect_failed(
                errors.ConnectFail.during('connect', describe(error), error))

    def _dial_on(self):
        # type: () -> Any
        """Return the next `Wait`, or the transport."""
        dialing = self._dialing  # type: Any
        self._is_dialing = True
        try:
            step = next(dialing)
        finally:
            self._is_dialing = False
        if self.is_finished:        # disposed of by a callback, such as the tracer
            dialing.close()
            if not isinstance(step, Wait):
                step.close()
            raise errors.ConnectFail(_FORCED[Phase.DIALING])
        return step

    def _open_transport(self, transport):
        # type: (Transport) -> None
        transport.max_read_ahead = self._read_ahead_limit
        self.writer.attach(transport)
        self._rest_timer = None
        if transport.can_receive_into:
            self._decoder.offer_receive_buffer()
        if self._is_forced:         # it was called before there was a transport
            transport.abort()
        self.interest = transport.interest
        self.deadline = self._connect_deadline
        self._enter(Phase.HANDSHAKE)

    def _connect_failed(self, error):
        # type: (errors.ConnectFail) -> Iterable[AnyEvent]
        self._websocket.logger.debug(u'%r: %s', self._websocket, text_type(error))
        self._conclude(EndKind.FAILED, text_type(error), error)
        event = events.ConnectFail(
            text_type(error), error.phase, error.cause, error.response, error.tried)
        self._measure(event)
        self.dispose()
        return [event]

    def _step_handshake(self):
        # type: () -> Iterable[AnyEvent]
        writer = self.writer
        if self._is_forced or writer.pending.close is not None:
            return self._end_attempt()
        unsent = writer.flush_head()
        data, end = self._receive(None)
        if unsent:
            self.interest = merge(self.interest, unsent)
        if data is not None:
            if self._rest_timer is None:
                self._rest_timer = RestTimer()
            return self._follow(self._websocket.feed(data), None)
        if writer.head_error is not None:
            end = self._explain_break(end)
        if self._is_forced:     # just now, which is why the read failed
            return self._end_attempt()
        if end is not None:
            if self._rest_timer is None:
                end = end._replace(reason=self._explain_silence(end.reason))
        elif self._clock() < self.deadline:
            return ()
        else:
            end = self._handshake_timeout()
        # An end, or a deadline, completes the body of a rejection.
        return self._follow(self._websocket.feed(b''), end)

    def _send_head(self, data):
        # type: (bytes) -> None
        """Send our handshake message: now what needs no waiting, the rest in later steps."""
        self.writer.begin_head(data)
        self.writer.flush_head()
        if self.writer.has_head:
            self._needs_step = True

    def _end_attempt(self):
        # type: () -> Iterable[AnyEvent]
        return self._disconnect(EndKind.FORCED, _FORCED[Phase.HANDSHAKE])

    def _handshake_timeout(self):
        # type: () -> End
        return End(EndKind.TIMEOUT, u'the handshake took longer than {} allows ({:g} s)'.format(
            self._time_limit, self._websocket.connect_timeout or 0), None)

    def _explain_break(self, end):
        # type: (Optional[End]) -> End
        """Return how the connection broke in a write, given what reading on led to.

        The words are those of the read, had it been first.
        """
        error = self.writer.head_error  # type: Any
        if end is not None and (self._read_error is not None or is_broken_pipe(error)):
            return end
        return End(
            EndKind.BROKEN, u'the connection broke: {}'.format(describe(error)), error)

    def _explain_silence(self, reason):
        # type: (text_type) -> text_type
        """Add to a reason what may be behind a connection that ended before any answer."""
        return reason

    def _follow(self, happened, end):
        # type: (Iterable[AnyEvent], Optional[End]) -> Iterator[AnyEvent]
        """Yield what the handshake leads to; Poll comes right after Ready."""
        for event in happened:
            if event.name == 'ready' and self.writer.has_head:
                end = End(EndKind.FAILED, u'the server accepted a request that it had not '
                          u'received', None)
                break
            if event.name == 'ready' or event.name == 'rejected':
                self._measure(event)
                if self.is_finished:        # disposed of by the tracer
                    return
            if event.name == 'ready':
                self._open()
                yield event
                self.writer.opened()
                if self.begins_with_poll and not self._is_forced:
                    yield events.Poll()
                continue
            if event.name == 'redirected':
                self._dial_progress.report(
                    'redirect', status=event.response.status_code, location=event.url)
                yield event
                if self.is_finished:        # disposed of meanwhile
                    return
                self._redial()
                yield events.Connecting(event.url)
                return
            if event.name == 'rejected':
                end = End(EndKind.FAILED, event.reason, None)
            elif event.name == 'protocol_error' and event.critical:
                end = End(EndKind.FAILED, event.error, None)
            if end is not None:
                self._conclude(*end)        # before the user's handler of the event
            yield event
        if end is not None:
            for event in self._disconnect(*end):
                yield event
        elif self._rest_timer is not None and self._websocket.is_refused:
            self.deadline = min(
                self._connect_deadline, self._rest_timer.progress(self._clock()))

    def _measure(self, event):
        # type: (Any) -> None
        """Give the event that ends the attempt to connect its timings: no other one gets any."""
        if self._dial_progress is not None:
            event.timings = self._dial_progress.timings()
            self._dial_progress = None      # a connection that is open is small

    def _redial(self):
        # type: () -> None
        """Dial the websocket's new target, under the same deadline."""
        transport = self.writer.detach()
        transport.on_backlog = None
        transport.close()
        self.interest = ()
        self._needs_step = True
        self._dial_progress = Progress(self.trace, self._clock)
        self._enter(Phase.DIALING)

    def _open(self):
        # type: () -> None
        now = self._clock()
        poll, ping_rate, ping_timeout, heartbeat, idle_timeout, max_age = self._timing
        self._timing = None     # a connection that is open is small
        self._timers = Timers(now, poll, ping_rate, ping_timeout, heartbeat)
        if idle_timeout:
            self._idle_timer = IdleTimer(now, idle_timeout, self._websocket.stats.received)
        if max_age:
            # Not all at once: connections that began together would be replaced together.
            self._aged_at = now + max_age * (0.9 + 0.1 * self.random())
        self._close_deadline = NEVER
        if self._is_forced:     # it was called right before the connection began to receive
            self.connection.stop_receiving()
        self._rest_timer = None
        self._span = self._websocket.stats.opened(self._clock)
        self._enter(Phase.OPEN)
        self._set_deadline()
        self.writer.flush_pending()     # a Close: before Ready, whose handler may take its time

    # -- open --

    def _step_open(self):
        # type: () -> Iterable[AnyEvent]
        writer = self.writer
        if self._is_forced:
            return self._disconnect(*self._ends[0])
        if writer.pending.any or writer.needs_buffer or writer.has_unsent:
            writer.flush_pending()
            self._set_deadline()
        is_receiving = self._decoder.is_receiving
        if self._close_deadline == NEVER and (
                writer.close_sent_at is not None or writer.pending.close is not None
                or not is_receiving):
            self._await_close()
        if not is_receiving:
            if writer.error is not None or not writer.is_closing:
                return self._begin_linger()
            # The send buffer is full, OpenSSL has to read first, or another thread is sending.
            need = WRITE if writer.needs_buffer \
                else READ if writer.has_unsent and not writer.awaits_part else 0
            self.interest = [(fd, need) for fd, _mask in writer.transport.interest if need]
            return self._on_time(self._clock())

        data, end = self._receive(self._decoder.receive_buffer)
        if self._is_forced:     # just now, which is why the read failed
            return self._disconnect(*self._ends[0])
        if writer.has_unsent and not writer.needs_buffer:
            writer.flush_pending()      # OpenSSL had to read before it could write
            self._set_deadline()
        now = self._clock()
        if writer.error is not None:
            # Counted in bytes: the user's handlers of what had arrived take their time.
            if data is None or self._salvage <= 0:
                return self._disconnect(
                    EndKind.BROKEN, text_type(writer.error), writer.error)
            self._salvage -= len(data)
        if data:
            self._timers.last_received = now
            if self._idle_timer is not None:
                self._idle_timer.was_read(now)
            if now < self.deadline:
                return self._websocket.feed(data)   # type: ignore[no-any-return]
            if now >= self._close_deadline:     # this step is the last that reads
                data = self._receive_rest(data)
            return chain(self._websocket.feed(data), self._on_time(now))
        if end is not None:
            return self._disconnect(*end)
        return self._on_time(now)

    def _await_close(self):
        # type: () -> None
        """Once a Close frame is out, or should be, the rest has `close_timeout` to happen."""
        sent_at = self.writer.close_sent_at
        since = self._clock() if sent_at is None else sent_at
        self._close_deadline = since + self._close_timeout
        self._aged_at = NEVER
        if self._idle_timer is not None:
            self._idle_timer.stop()
        if self._close_timeout != NEVER:
            self._timers.stop_asking()
        self._set_deadline()

    def _on_time(self, now):
        # type: (float) -> Iterator[AnyEvent]
        """Do what is due, timeouts included. All that had arrived was received before."""
        self._decoder.free_memory()
        timers, writer = self._timers, self.writer
        if now >= writer.deadline:
            writer.time_out()       # the next step ends the connection
        if writer.transport.progress - self._progress >= PROGRESS:
            self._progress = writer.transport.progress
            timers.last_received = now      # the peer reads what another thread sends
            if writer.close_sent_at is None and self._close_deadline != NEVER:
                self._close_deadline = now + self._close_timeout
        if timers.ping_is_due(now) and self._ping():
            timers.asked(now)
        if timers.beat_is_due(now) and not writer.needs_buffer:
            # RFC 6455 5.5.3. What waits for the send buffer keeps the connection alive, too.
            writer.offer_control(Opcode.PONG, b'')
        if timers.is_silent(now):
            end = End(EndKind.TIMEOUT, u'the {} is unresponsive'.format(self._peer), None)
            self._conclude(*end)    # before the user's handler of the event
            yield events.Unresponsive()
            for event in self._disconnect(*end):
                yield event
        elif now >= self._close_deadline:
            reason = u'the Close frame could not be sent in {} seconds' \
                if writer.close_sent_at is None else u'no answer to the Close frame in {} seconds'
            for event in self._disconnect(
                    EndKind.TIMEOUT, reason.format(self._close_timeout)):
                yield event
        elif now >= self._aged_at:
            self._aged_at = NEVER
            if self.is_replaceable:
                self.is_due = True
            else:
                self._conclude(EndKind.AGED, u'the connection reached max_age')
                self.writer.close(_TOO_OLD)
        else:
            idle = self._find_silence(now)      # which finds it once
            if idle is not None:
                for event in self._report_silence(idle):
                    yield event
            elif timers.poll_is_due(now):
                # Last: its handler may take its time.
                yield events.Poll()
        self._set_deadline()

    def _find_silence(self, now):
        # type: (float) -> Optional[float]
        """Return how long no message has come, if that is to be reported now."""
        timer = self._idle_timer
        if timer is None or now < timer.due_at:
            return None
        return timer.find_silence(now, self._needs_step or self._has_unread())

    def _report_silence(self, idle):
        # type: (float) -> Iterator[AnyEvent]
        if not self._stale_disconnects:
            yield events.Stale(idle)
            return
        timer = self._idle_timer  # type: Any
        end = End(
            EndKind.TIMEOUT, u'no message came for {:.1f} s: idle_timeout allows {:g} s'.format(
                idle, timer.timeout), None)
        self._conclude(*end)    # before the user's handler of the event
        yield events.Stale(idle)
        self.writer.close(_NO_MESSAGE)
        for event in self._disconnect(*end):
            yield event

    def _set_deadline(self):
        # type: () -> None
        timers = self._timers
        self.deadline = min(
            timers.next_poll, timers.next_ping, timers.next_beat, timers.dead_at,
            self._close_deadline, self.writer.deadline, self._aged_at,
            NEVER if self._idle_timer is None else self._idle_timer.due_at)

    def _ping(self):
        # type: () -> bool
        """Send a ping; True if the peer has something to answer, or isn't reading."""
        payload = _ping_struct.pack(self._websocket.stats.pings_sent & 0xFFFFFFFF)
        now = self._clock()
        was_sent = self.writer.offer_control(Opcode.PING, payload)
        if was_sent:
            self._ping_sent = payload, now
        return was_sent is not False

    def _receive_rest(self, data):
        # type: (Any) -> bytes
        """Return bytes that were received, and all that has arrived after them.

        What a peer goes on to send meanwhile isn't waited for: it could put the end off.
        """
        pieces = [to_bytes(data)]
        size = len(data)
        while data and size < SALVAGE:
            data, _end = self._receive(None)
            pieces.append(data or b'')
            size += len(pieces[-1])
        return b''.join(pieces)

    def _receive(self, buffer):
        # type: (Optional[memoryview]) -> Tuple[Any, Optional[End]]
        """Return bytes or None, and how the connection has ended or None.

        With a ``buffer`` they may be its first part.
        """
        writer = self.writer
        writer.receiving_thread = thread_module.get_ident()
        try:
            data = writer.transport.receive(buffer)
        except (socket.error, ValueError) as error:
            # ValueError: an SSLSocket whose session is gone.
            self._read_error = error
            return None, End(
                EndKind.BROKEN, u'the connection broke: {}'.format(describe(error)), error)
        finally:
            writer.receiving_thread = None
        self.interest = writer.transport.interest
        if data == b'':
            return None, End(
                EndKind.PEER, u'the {} closed the connection'.format(self._peer), None)
        if data is not None and len(data) >= (
                RECEIVE_SIZE if buffer is None else min(RECEIVE_SIZE, len(buffer))):
            self._needs_step = True     # the read got all that it asked for: there may be more
        return data, None

    # -- the end --

    def _begin_linger(self):
        # type: () -> Iterable[AnyEvent]
        """Leave it to the peer to end TCP first, but not for long."""
        linger = self.linger
        if self._decoder.error is not None:
            # The peer gets to read our Close frame, and that nothing follows it. If TCP were
            # ended while it still sends, it might lose that.
            self.writer.transport.shutdown_sending()
            linger = self.linger_after_error
        self._conclude(*self._closed())
        self.deadline = self._clock() + linger
        self._enter(Phase.LINGERING)
        return self._step_lingering()

    def _step_lingering(self):
        # type: () -> Iterable[AnyEvent]
        # Nothing after a Close frame counts, and it may have no end.
        for _ in range(_READS_IN_VAIN):
            data, end = self._receive(None)
            if not data or self._clock() >= self.deadline:
                break
        is_patient = self.writer.error is None and not self._is_forced
        if end is None and is_patient and self._clock() < self.deadline:
            return ()
        return self._disconnect(*self._closed())

    def _closed(self):
        # type: () -> End
        """Return how a connection ended whose last Close frame was exchanged."""
        error = self._decoder.error or self.writer.error
        return End(EndKind.CLOSED, u'closed' if error is None else text_type(error), error)

    def _conclude(self, kind, reason, error=None):
        # type: (str, text_type, Optional[BaseException]) -> None
        """Say how it ended; the first to say it counts."""
        self._ends.append(End(kind, reason, error))
        if kind == EndKind.FORCED:
            self._is_forced = True      # after its end is there: a step in another thread uses it

    def _disconnect(self, kind, reason, error=None):
        # type: (str, text_type, Optional[BaseException]) -> Iterable[AnyEvent]
        """Free the transport; return the last event."""
        graceful = self.connection.is_close_complete \
            and self.writer.close_sent_at is not None and self.writer.error is None
        self._conclude(kind, reason, error)
        reason, cause = (u'closed', None) if graceful else self._ends[0][1:]
        self.trace(
            'disconnected', reason=reason, graceful=graceful, seconds=self.session_time)
        event = events.Disconnected(reason, graceful, unsent=self.writer.unsent, cause=cause)
        self._measure(event)
        self.dispose()
        return [event]

    def trace(self, stage, **fields):
        # type: (str, **Any) -> None
        """Report a stage to the user's tracer, if there is one; what it raises is logged."""
        tracer = self._websocket.trace
        if not tracer:
            return
        record = TraceRecord(fields, stage=stage, url=self._websocket.target.url)
        if tracer is True:
            self._websocket.logger.debug('trace: %r', record.redacted())
            return
        try:
            tracer(record)
        except Exception:       # the tracer isn't ours, and no reason to disconnect
            self._websocket.logger.exception('the tracer failed at %r', stage)
