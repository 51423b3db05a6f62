"""Sends for a driver with many connections in one thread: what the send buffer doesn't take waits.

It waits as messages, in an `Outbox`, until the driver's next step finds space in the send buffer.
No call waits, unless the user chose that for other threads than the driver's (`Overflow.BLOCK`).
"""

from __future__ import absolute_import, division, print_function

import threading

from lomond import errors
from lomond._compat import TYPE_CHECKING, thread_module
from lomond.engine.outbox import MESSAGE_SIZE, Overflow, Parts, PartsToCome
from lomond.engine.timers import NEVER
from lomond.engine.turns import Turns
from lomond.engine.writer import Writer
from lomond.net.transport import PROGRESS, describe_write_timeout
from lomond.net.waiter import WRITE
from lomond.opcode import Opcode
from lomond.protocol.frame import CONTROL_BIT
from lomond.protocol.state import State, cut_short, unavailable

if TYPE_CHECKING:
    from typing import (  # noqa: F401
        Any,
        Callable,
        Iterable,
        Iterator,
        List,
        Optional,
        Sequence,
        Tuple,
        Union,
    )

    from lomond.engine.outbox import Entry, Outbox  # noqa: F401
    from lomond.engine.turns import Turn  # noqa: F401
    from lomond.protocol.connection import Connection  # noqa: F401

    Piece = Union[bytes, bytearray, memoryview]

# How often a waiting thread looks up: on 2.7 no signal's handler runs during one wait.
_GLANCE = 1.0

# What to do beyond max_queue, where that is to drop messages.
_DROPPING = frozenset([Overflow.DROP_OLDEST, Overflow.LATEST])

# A piece that isn't made yet.
_NOT_YET = bytearray()

# States in which nothing that waits can reach the peer any more.
_PEER_IS_DONE = frozenset([State.PEER_CLOSING, State.FAILING, State.CLOSED])


class QueuedWriter(Writer):
    """Sends a connection's frames without waiting; call `use` before the connection opens.

    Pings and pongs go out before the messages that wait, but after one of which a part has gone
    out, or between its fragments; our own Close comes after all of them. Once the peer has sent
    its Close, or broken the protocol, what waits isn't sent any more.
    """

    __slots__ = (
        '_cut_short', '_has_held', '_is_awaited', '_pieces', '_progress', '_rest', '_small_size',
        '_unfinished', 'awaits_part', 'deadline', 'has_unsent', 'outbox', 'turns')

    def __init__(self, connection, options, session, clock):
        # type: (Connection, Any, Any, Callable[[], float]) -> None
        super(QueuedWriter, self).__init__(connection, options, session, clock)
        #: The messages that wait.
        self.outbox = None  # type: Outbox      # type: ignore[assignment]
        #: The senders that wait for space.
        self.turns = Turns()  # type: Turns
        self.has_unsent = False  # type: bool
        self.awaits_part = False  # type: bool
        self.deadline = NEVER  # type: float
        # What comes next: the rest of a piece, and the iterator that makes the pieces after it.
        self._rest = b''  # type: Piece
        self._pieces = None  # type: Optional[Iterator[Piece]]
        # How many messages have begun to go out, and aren't out yet; and how many never will be.
        self._unfinished = self._cut_short = 0
        # True once the queue was frozen, because the peer sent Close or broke the protocol.
        self._has_held = False
        self._progress = 0      # bytes since the deadline was set
        self._is_awaited = False    # the loop didn't get the lock: its holder wakes the loop

    def use(self, outbox):
        # type: (Outbox) -> None
        """Have messages wait in this outbox."""
        self.outbox = outbox
        # Larger messages go through the queue, which refuses what it could never hold.
        self._small_size = self._whole_size if outbox.max_queue is None \
            else min(self._whole_size, outbox.max_queue - MESSAGE_SIZE)

    @property
    def unsent(self):
        # type: () -> int
        """How many messages wait, those of which a part went out included."""
        return self.outbox.messages + self._unfinished + self._cut_short

    def is_crowded(self, size):
        # type: (int) -> bool
        """Return whether more than this number of bytes waits."""
        return self.outbox.size + len(self._rest) > size

    def is_next(self, turn):
        # type: (Turn) -> bool
        """Return whether no other sender waits before this one."""
        return self.turns.is_next(turn)

    @property
    def has_waiting(self):
        # type: () -> bool
        """True while a sender waits for space."""
        return len(self.turns) > 0

    # -- for the user, through the websocket --

    def write(self, data):
        # type: (bytes) -> None
        self._queue(((None, data),), False)

    # Each message comes through here: it calls no method where a line will do.
    def send(self, opcode, data, compress=False, may_wait=True):
        # type: (int, bytes, bool, bool) -> None
        """Send a message, or queue it; a control frame as `send_control`.

        ``may_wait``: whether to wait for space, if that is the overflow. Raises TransportFail,
        WebSocketUnavailable and its kinds, and OutboxFull.
        """
        if opcode & CONTROL_BIT:
            self.send_control(opcode, data)
            return
        if not (self.has_unsent or self.pending.any or self.is_disposed
                or len(data) > self._small_size or self.receiving_thread is not None):
            try:
                with self.lock:
                    if not (self.has_unsent or self.is_sending):
                        frame = None
                        try:
                            self.is_sending = True  # type: bool
                            frame = self._encoder.encode(opcode, data, compress)
                            if self.error is not None:
                                raise self.refusal(len(frame))
                            sent, need = self.transport.offer(frame)
                            if sent != len(frame):
                                self._unfinished = 1
                                self._set_deadline()
                                self._keep(memoryview(frame)[sent:], need)
                                self._session.wake()    # the driver waits for space from now on
                            self.is_sending = False
                        except BaseException as error:
                            self._failed(error, frame is not None)
                            raise
                        return
            finally:
                if self.pending.any or self.is_disposed or self._is_awaited:
                    self._catch_up()
        self._queue(((opcode, data),), compress, may_wait)

    def send_many(self, messages, compress):
        # type: (Iterable[Tuple[int, bytes]], bool) -> None
        messages = tuple(messages)
        if messages:
            self._queue(messages, compress)

    def send_parts(self, opcode, parts, compress):
        # type: (int, Iterable[bytes], bool) -> None
        # All at once, as a message waits whole, or isn't accepted.
        self._queue(((opcode, Parts(parts)),), compress)  # type: ignore[arg-type]

    # -- a message whose parts are made while it is sent --

    def begin_parts(self, opcode, part, compress, turn):
        # type: (int, bytes, bool, Turn) -> PartsToCome
        """Queue a message, of which this is the first part; other senders wait until it ends.

        ``turn()`` is called when the next part is wanted, or when none is wanted any more. Then
        call `add_part` or `end_parts`, or `abandon_parts` in place of these, and `step_out` at
        last. Raises as `send`.
        """
        parts = PartsToCome(part, turn, self._connection.state in _PEER_IS_DONE)
        self._queue(((opcode, parts),), compress)   # type: ignore[arg-type]
        self.line_up(turn)
        return parts

    def expects_part(self, parts):
        # type: (PartsToCome) -> bool
        """Return whether the next part may come; raises once the message can't be sent any more."""
        if self.error is not None:
            raise self.refusal(0)
        if self._is_cut_short(parts):
            raise cut_short(self._connection.state)
        return parts.part is None

    def add_part(self, parts, part):
        # type: (PartsToCome, bytes) -> None
        """Send the next part, which isn't empty, when the send buffer has space."""
        parts.part = part
        self._flush_parts()

    def end_parts(self, parts):
        # type: (PartsToCome) -> None
        """End the message; raises as `expects_part` if it was cut short."""
        parts.is_complete = True
        self._flush_parts()
        if self._encoder.unfinished is not None or not parts.has_begun:
            self.expects_part(parts)

    def abandon_parts(self, parts):
        # type: (PartsToCome) -> None
        """End the connection, as the rest of the message will not come: it can't be taken back."""
        with self.lock:
            if not (parts.is_complete or self.error is not None or self._is_cut_short(parts)):
                self._break_message()

    def _is_cut_short(self, parts):
        # type: (PartsToCome) -> bool
        return self.is_disposed or not self._connection.lifecycle.may_send \
            or self._has_held and not (parts.has_begun or parts.is_late)

    def _flush_parts(self):
        # type: () -> None
        self.flush_pending()
        if self.needs_buffer:
            self._session.wake()    # the driver waits for space from now on

    def send_control(self, opcode, payload):
        # type: (int, bytes) -> None
        if self._interrupts(opcode):
            self._send_interrupting(opcode, payload)
            return
        try:
            with self.lock:
                try:
                    self.is_sending = True      # a signal's handler may not send now
                    if opcode != Opcode.CLOSE and self.pending.is_full:
                        raise errors.OutboxFull(
                            'the peer reads too slowly: too many pings and pongs wait to be sent: '
                            'wait for a pong before you send more')
                    self._queue_control(opcode, payload)
                    if not self.needs_buffer:
                        self._flush()
                    self.is_sending = False
                except BaseException:
                    self.is_sending = False
                    raise
        finally:
            self._catch_up()

    # -- the queue --

    def _queue(self, messages, compress, may_wait=True):
        # type: (Sequence[Tuple[Optional[int], bytes]], bool, bool) -> None
        """Have messages sent together, after all that wait."""
        turn = None  # type: Optional[Turn]
        try:
            while not self._try_to_queue(messages, compress, may_wait, turn):
                if turn is None:
                    woken = threading.Event()
                    turn = woken.set
                    self.line_up(turn)      # then try again: there may be space by now
                else:
                    woken.wait(_GLANCE)
                    woken.clear()
        finally:
            if turn is not None:
                self.step_out(turn)

    def _try_to_queue(self, messages, compress, may_wait, turn):
        # type: (Sequence[Tuple[Optional[int], bytes]], bool, bool, Optional[Turn]) -> bool
        """Queue messages, and send what the send buffer takes; False if this thread has to wait."""
        if self._interrupts(None):
            self._send_interrupting(None, b'')
        try:
            with self.lock:
                try:
                    self.is_sending = True      # a signal's handler may not send now
                    self._check_may_send(messages)
                    may_wait = may_wait and self.outbox.overflow == Overflow.BLOCK \
                        and thread_module.get_ident() != self.outbox.driver.thread
                    is_queued = (not may_wait or self.turns.is_next(turn)) \
                        and self._push(messages, compress, may_wait)
                    if is_queued and not self.has_unsent:
                        self._flush()
                        if self.has_unsent:
                            self._session.wake()
                    self.is_sending = False
                    return is_queued
                except BaseException:
                    self.is_sending = False
                    raise
        finally:
            self._catch_up()

    def _push(self, messages, compress, may_wait):
        # type: (Sequence[Tuple[Optional[int], bytes]], bool, bool) -> bool
        self._hold_if_peer_is_done()
        if self.outbox.overflows(messages):
            self._flush()       # the loop may be in a long handler, while the peer has read
        try:
            self._connection.stats.dropped += self.outbox.push(messages, compress)
            return True
        except BaseException as error:
            if may_wait and isinstance(error, errors.OutboxFull) and error.size <= error.max_queue:
                return False
            self._failed(error, False)      # Ctrl-C: the outbox may have miscounted
            raise

    def line_up(self, turn):
        # type: (Turn) -> None
        """Have ``turn()`` called when there may be space for a message, or nothing may be sent."""
        self.turns.join(turn)

    def step_out(self, turn):
        # type: (Turn) -> None
        """Wait for space no more: the message is queued, or given up."""
        self.turns.leave(turn)

    def _check_may_send(self, messages):
        # type: (Sequence[Tuple[Optional[int], bytes]]) -> None
        if self.is_disposed or not self._connection.lifecycle.may_send:
            raise unavailable(self._connection.state)
        if self.error is not None:
            raise self.refusal(sum(len(payload) for _opcode, payload in messages))
        if self.pending.close is not None:
            raise unavailable(State.CLOSING)

    def clear(self):
        # type: () -> int
        """Drop all messages that wait, and have not begun to go out; return how many."""
        try:
            with self.lock:
                return self.outbox.clear()
        finally:
            self.turns.wake_first()
            self._catch_up()

    def take_queue(self):
        # type: () -> Tuple[List[Entry], int]
        """Take out the messages of which nothing went out; return them, and how many are left.

        For the driver, once the connection has ended.
        """
        with self.lock:     # a sender that had begun before is done
            return self.outbox.take_all(), self._unfinished + self._cut_short

    @property
    def is_done(self):
        # type: () -> bool
        """True once nothing of what waits is sent any more."""
        return self.is_disposed or self.error is not None or self._has_held

    @property
    def can_send(self):
        # type: () -> bool
        """True while a message may still go out over this connection."""
        return not self.is_disposed and self.error is None and self._connection.lifecycle.may_send

    def adopt(self, entries):
        # type: (List[Entry]) -> int
        """Queue another connection's messages before all others; return how many it can't.

        Those that exceed the limit are dropped, if that is the overflow. If nothing may be sent any
        more, they are kept for the next connection. For the driver; never raises.
        """
        with self.lock:
            try:
                self.is_sending = True      # a signal's handler may not send now
                refused = self.outbox.put_first(entries)
                if not self.can_send or self._has_held:
                    self.outbox.hold()
                elif self.outbox.has_next:
                    self.has_unsent = True
            finally:
                self.is_sending = False
        if self.outbox.overflow in _DROPPING:
            self._connection.stats.dropped += refused
            refused = 0
        self.flush_pending()
        return refused

    def _catch_up(self):
        # type: () -> None
        if self._is_awaited:
            self._is_awaited = False
            self._session.wake()
        super(QueuedWriter, self)._catch_up()

    # -- to the transport, under the lock --

    def _keep(self, rest, need):
        # type: (Piece, int) -> None
        """Keep what the send buffer didn't take; the driver sends it."""
        self._rest = rest
        self.has_unsent = True
        self.needs_buffer = need == WRITE  # type: bool     # else OpenSSL has to read first

    def _set_deadline(self):
        # type: () -> None
        timeout = self.options.write_timeout
        self.deadline = self._clock() + timeout if timeout else NEVER
        self._progress = 0

    def _flush(self):
        # type: () -> None
        """Send what waits, as far as the send buffer takes it; raises TransportFail."""
        was_sending, self.is_sending = self.is_sending, True
        before = self.transport.progress
        try:
            while self.error is None and self._advance():
                count, need = self.transport.offer(self._rest)
                self._progress += count
                self.transport.progress += count
                if self.deadline == NEVER or self._progress >= PROGRESS:
                    self._set_deadline()
                if not count:
                    self._keep(self._rest, need)
                    break
                self._rest = self._rest[count:] or b''      # an empty view would keep all of it
            self.is_sending = was_sending
        except BaseException as error:
            self._pieces, self._rest = None, b''
            self._failed(error, True)
            raise
        # If nothing has changed: the first may be this thread, which would try again at once.
        if self.transport.progress != before or self.pending.close is not None:
            self.turns.wake_first()

    def _advance(self):
        # type: () -> bool
        """Have something in `_rest`; False if nothing waits."""
        while not len(self._rest):
            if self._pieces is None:
                self._pieces = self._make_pieces()
            piece = next(self._pieces, None)
            self.has_unsent = piece is not None
            self.awaits_part = piece is _NOT_YET
            if piece is None or piece is _NOT_YET:
                if piece is None:
                    self._pieces = None
                self.needs_buffer = False
                self.deadline = NEVER
                return False
            self._rest = memoryview(piece)
        return True

    def _make_pieces(self):
        # type: () -> Iterator[Piece]
        """Yield what goes out next, each piece when the one before is out."""
        outbox = self.outbox
        while True:
            self._unfinished = 0
            self._hold_if_peer_is_done()
            # Messages reserved until Ready has been handled go out before a Close of ours, too.
            has_more = outbox.has_next if self._has_held else outbox.messages
            for frame in self._controls(may_close=not has_more):
                yield frame
            entry = outbox.pop()
            if entry is None:
                return
            self._unfinished = len(entry[0])
            try:
                for pieces in self._encode(*entry):
                    for piece in pieces:
                        yield piece
                    for frame in self._controls(may_close=False):
                        yield frame
            except errors.WebSocketUnavailable as error:
                self._cut_short += self._unfinished
                self.options.logger.debug('a queued message was not sent: %s', error)

    def _hold_if_peer_is_done(self):
        # type: () -> None
        """Send nothing of what waits from the peer's Close or fault on; later messages may go."""
        if not self._has_held and self._connection.state in _PEER_IS_DONE:
            self._has_held = True
            self.outbox.hold()

    def _encode(self, messages, compress):
        # type: (Sequence[Tuple[Any, bytes]], bool) -> Iterable[Iterable[Piece]]
        """Return what messages are on the wire: parts, each in pieces, that end with a frame."""
        opcode, payload = messages[0]
        if opcode is None:
            return ((payload,),)
        if len(messages) > 1:
            return ((part,) for part in self._encoder.encode_many(
                messages, compress, self._fragment_size))
        if isinstance(payload, (Parts, PartsToCome)):
            return ((part,) for part in self._encode_parts(opcode, payload, compress))
        if len(payload) <= self._whole_size:
            return ((self._encoder.encode(opcode, payload, compress),),)
        return self._encoder.encode_in_frames(opcode, payload, compress, self._fragment_size)[1]

    def _encode_parts(self, opcode, parts, compress):
        # type: (int, Union[Parts, PartsToCome], bool) -> Iterator[Piece]
        limit = self._fragment_size
        for part in parts.parts:
            if part is None:
                if not self._connection.lifecycle.may_send:
                    raise unavailable(self._connection.state)
                yield _NOT_YET
                continue
            for start in range(0, len(part), limit or len(part)):
                yield self._encoder.encode_part(
                    opcode, part[start:start + limit] if limit else part, False, compress)
        yield self._encoder.encode_part(opcode, b'', True, compress)

    def _controls(self, may_close):
        # type: (bool) -> Iterator[bytes]
        """Yield the control frames that wait."""
        while self.pending.any:
            control = self.pending.take(may_close)
            if control is None:
                return
            opcode, payload = control
            try:
                yield self._encoder.encode(opcode, payload)
            except errors.WebSocketUnavailable as error:
                self.options.logger.debug('%s was not sent: %s', Opcode.to_str(opcode), error)
            if opcode == Opcode.CLOSE:
                self._close_was_sent()
                self.pending.close_sent()

    # -- for the loop --

    def flush_pending(self):
        # type: () -> None
        if self.transport is None or not (self.pending.any or self.has_unsent):
            return
        if not self.lock.acquire(False):
            self._is_awaited = True
            if not self.lock.acquire(False):
                return
        try:
            self._is_awaited = False
            if not self.is_sending:     # else this is a signal's handler: the loop goes on after it
                self._flush()
        except errors.WebSocketError as error:
            self.options.logger.debug('what waited was not sent: %s', error)
        finally:
            self._release()

    def offer_control(self, opcode, payload):
        # type: (int, bytes) -> Optional[bool]
        if self.pending.has_users or not self.lock.acquire(False):
            return None
        try:
            self._queue_control(opcode, payload)
            if not self.needs_buffer:
                self._flush()
            return True
        except errors.WebSocketError as error:
            self.options.logger.debug('%s was not sent: %s', Opcode.to_str(opcode), error)
            return False
        finally:
            self._release()

    def opened(self):
        # type: () -> None
        with self.lock:
            try:
                self.is_sending = True
                self.outbox.release()
                if self.outbox.messages:
                    self.has_unsent = True
                self.is_sending = False
            except BaseException as error:
                self._failed(error, False)
                raise
        self.flush_pending()

    def time_out(self):
        # type: () -> None
        """End the connection: the peer has read too little of what waits."""
        self._break(errors.TransportFail(
            describe_write_timeout(self.options.write_timeout or 0, self._progress)))

    def _break(self, error):
        # type: (BaseException) -> None
        super(QueuedWriter, self)._break(error)
        self.turns.wake_all()

    def dispose(self):
        # type: () -> None
        super(QueuedWriter, self).dispose()
        self.turns.wake_all()
