"""Sends for a driver with many connections in one thread: what the send buffer doesn't take waits.

It waits as messages, in an `Outbox`, until the driver's next step finds space in the send buffer.
No call waits, unless the user chose that for other threads than the driver's (`Overflow.BLOCK`).
"""

from __future__ import absolute_import, division, print_function

import logging
import threading

from lomond import errors
from lomond._compat import TYPE_CHECKING, thread_module
from lomond.engine.outbox import Overflow
from lomond.engine.timers import NEVER
from lomond.engine.turns import Turns
from lomond.engine.writer import Writer
from lomond.net.transport import PROGRESS
from lomond.net.waiter import WRITE
from lomond.opcode import Opcode
from lomond.protocol.frame import CONTROL_BIT
from lomond.protocol.state import State, unavailable

if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, Optional, Sequence, Tuple, Union  # noqa: F401

    from lomond.engine.outbox import Outbox  # noqa: F401
    from lomond.engine.turns import Turn  # noqa: F401
    from lomond.protocol.connection import Connection  # noqa: F401

    Piece = Union[bytes, memoryview]

log = logging.getLogger('lomond')  # type: logging.Logger

# How often a waiting thread looks up: on 2.7 no signal's handler runs during one wait.
_GLANCE = 1.0

# States in which nothing that waits can reach the peer any more.
_PEER_IS_DONE = frozenset([State.PEER_CLOSING, State.FAILING, State.CLOSED])


class QueuedWriter(Writer):
    """Sends a connection's frames without waiting; set ``outbox`` before the connection opens.

    Pings and pongs go out before the messages that wait, but after one of which a part has gone
    out, or between its fragments; our own Close comes after all of them. Once the peer has sent
    its Close, or broken the protocol, what waits is dropped.
    """

    __slots__ = (
        '_pieces', '_progress', '_rest', '_turns', '_unfinished', 'deadline',
        'driving_thread', 'has_unsent', 'outbox')

    def __init__(self, connection, options, session, clock):
        # type: (Connection, Any, Any, Callable[[], float]) -> None
        super(QueuedWriter, self).__init__(connection, options, session, clock)
        #: The messages that wait.
        self.outbox = None  # type: Outbox      # type: ignore[assignment]
        #: The thread that drives the session: it never waits here.
        self.driving_thread = None  # type: Optional[int]
        self.has_unsent = False
        self.deadline = NEVER
        # What comes next: the rest of a piece, and the iterator that makes the pieces after it.
        self._rest = b''  # type: Piece
        self._pieces = None  # type: Optional[Iterator[Piece]]
        # How many messages have begun to go out, and aren't out yet.
        self._unfinished = 0
        self._progress = 0      # bytes since the deadline was set
        self._turns = None  # type: Optional[Turns]

    @property
    def unsent(self):
        # type: () -> int
        """How many messages wait, those of which a part went out included."""
        return self.outbox.messages + self._unfinished

    def is_crowded(self, size):
        # type: (int) -> bool
        """Return whether more than this number of bytes waits."""
        return self.outbox.size + len(self._rest) > size

    def is_next(self, turn):
        # type: (Turn) -> bool
        """Return whether no other sender waits before this one."""
        return self._turns is None or self._turns.is_next(turn)

    @property
    def has_waiting(self):
        # type: () -> bool
        """True while a sender waits for space."""
        return self._turns is not None and len(self._turns) > 0

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
                or len(data) > self._whole_size or self.receiving_thread is not None):
            with self.lock:
                if not (self.has_unsent or self.is_sending):
                    self._send_now(opcode, data, compress)
                    return
        self._queue(((opcode, data),), compress, may_wait)

    def _send_now(self, opcode, data, compress):
        # type: (int, bytes, bool) -> None
        """Send a small message, under the lock; nothing waits."""
        frame = None
        try:
            self.is_sending = True
            frame = self._encoder.encode(opcode, data, compress)
            if self.error is not None:
                raise self._refusal(len(frame))
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
        finally:
            if self.pending.any or self.is_disposed:
                self._catch_up()

    def send_many(self, messages, compress):
        # type: (Iterable[Tuple[int, bytes]], bool) -> None
        messages = tuple(messages)
        if messages:
            self._queue(messages, compress)

    def send_control(self, opcode, payload):
        # type: (int, bytes) -> None
        if self._interrupts(opcode):
            self._send_interrupting(opcode, payload)
            return
        try:
            with self.lock:
                if opcode != Opcode.CLOSE and self.pending.is_full:
                    raise errors.OutboxFull(
                        'the peer reads too slowly: too many pings and pongs wait to be sent')
                self._queue_control(opcode, payload)
                if not self.needs_buffer:
                    self._flush()
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
            self._catch_up()

    def _try_to_queue(self, messages, compress, may_wait, turn):
        # type: (Sequence[Tuple[Optional[int], bytes]], bool, bool, Optional[Turn]) -> bool
        """Queue messages, and send what the send buffer takes; False if this thread has to wait."""
        if self._interrupts(None):
            self._send_interrupting(None, b'')
        outbox = self.outbox
        with self.lock:
            self._check_may_send(messages)
            may_wait = may_wait and outbox.overflow == Overflow.BLOCK \
                and thread_module.get_ident() != self.driving_thread
            if may_wait and self._turns is not None and not self._turns.is_next(turn):
                return False
            if outbox.overflows(messages):
                self._flush()       # the loop may be in a long handler, while the peer has read
            try:
                self._connection.stats.dropped += outbox.push(messages, compress)
            except errors.OutboxFull as error:
                if may_wait and error.size <= error.max_queue:
                    return False
                raise
            if not self.has_unsent:
                self._flush()
                if self.has_unsent:
                    self._session.wake()
            return True

    def line_up(self, turn):
        # type: (Turn) -> None
        """Have ``turn()`` called when there may be space for a message, or nothing may be sent."""
        with self.lock:
            if self._turns is None:
                self._turns = Turns()
            self._turns.join(turn)

    def step_out(self, turn):
        # type: (Turn) -> None
        """Wait for space no more: the message is queued, or given up."""
        with self.lock:
            if self._turns is not None:
                self._turns.leave(turn)

    def _check_may_send(self, messages):
        # type: (Sequence[Tuple[Optional[int], bytes]]) -> None
        if self.error is not None:
            raise self._refusal(sum(len(payload) for _opcode, payload in messages))
        if self.is_disposed or not self._connection.lifecycle.may_send:
            raise unavailable(self._connection.state)
        if self.pending.close is not None and not self.pending.holds_close:
            raise unavailable(State.CLOSING)

    def _interrupts(self, opcode):
        # type: (Optional[int]) -> bool
        """Return whether this is a signal's handler that can't send now."""
        if self.is_sending and self.lock.acquire(False):
            try:
                if self.is_sending:     # by the lock's holder, which is this thread
                    return True
            finally:
                self.lock.release()
        return self.receiving_thread is not None and self._interrupts_reading(opcode)

    # -- to the transport, under the lock --

    def _keep(self, rest, need):
        # type: (Piece, int) -> None
        """Keep what the send buffer didn't take; the driver sends it."""
        self._rest = rest
        self.has_unsent = True
        self.needs_buffer = need == WRITE       # else OpenSSL has to read first

    def _set_deadline(self):
        # type: () -> None
        timeout = self._options.write_timeout
        self.deadline = self._clock() + timeout if timeout else NEVER
        self._progress = 0

    def _flush(self):
        # type: () -> None
        """Send what waits, as far as the send buffer takes it; raises TransportFail."""
        self.is_sending = True
        try:
            while self._advance():
                if self.error is not None:
                    raise self._refusal(len(self._rest))
                count, need = self.transport.offer(self._rest)
                self._progress += count
                self.transport.progress += count
                if self.deadline == NEVER or self._progress >= PROGRESS:
                    self._set_deadline()
                if not count:
                    self._keep(self._rest, need)
                    break
                self._rest = self._rest[count:]
            self.is_sending = False
        except BaseException as error:
            self._pieces, self._rest = None, b''
            self._failed(error, True)
            raise
        if self._turns is not None:
            self._turns.wake_first()

    def _advance(self):
        # type: () -> bool
        """Have something in `_rest`; False if nothing waits."""
        while not len(self._rest):
            if self._pieces is None:
                self._pieces = self._make_pieces()
            piece = next(self._pieces, None)
            if piece is None:
                self._pieces = None
                self.has_unsent = self.needs_buffer = False
                self.deadline = NEVER
                return False
            self.has_unsent = True
            self._rest = memoryview(piece)
        return True

    def _make_pieces(self):
        # type: () -> Iterator[Piece]
        """Yield what goes out next, each piece when the one before is out."""
        while True:
            self._unfinished = 0
            is_over = self._connection.state in _PEER_IS_DONE and not self.pending.holds_close
            for frame in self._controls(may_close=is_over or not self.outbox.messages):
                yield frame
            entry = None if is_over else self.outbox.pop()
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
                log.debug('a queued message was not sent: %s', error)

    def _encode(self, messages, compress):
        # type: (Sequence[Tuple[Any, bytes]], bool) -> Iterable[Iterable[Piece]]
        """Return what messages are on the wire: parts, each in pieces, that end with a frame."""
        opcode, payload = messages[0]
        if opcode is None:
            return ((payload,),)
        if len(messages) > 1:
            return ((part,) for part in self._encoder.encode_many(
                messages, compress, self._fragment_size))
        if len(payload) <= self._whole_size:
            return ((self._encoder.encode(opcode, payload, compress),),)
        return self._encoder.encode_in_frames(opcode, payload, compress, self._fragment_size)[1]

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
                log.debug('%s was not sent: %s', Opcode.to_str(opcode), error)
            if opcode == Opcode.CLOSE:
                self._close_was_sent()
                self.pending.close_sent()

    # -- for the loop --

    def flush_pending(self):
        # type: () -> None
        if self.transport is None or not (self.pending.any or self.has_unsent):
            return
        if not self.lock.acquire(False):
            self._session.wake()        # held for moments
            return
        try:
            if not self.is_sending:     # else this is a signal's handler: the loop goes on after it
                self._flush()
        except errors.WebSocketError as error:
            log.debug('what waited was not sent: %s', error)
        finally:
            self._release()

    def ping(self, payload):
        # type: (bytes) -> Optional[bool]
        if self.pending.has_users or not self.lock.acquire(False):
            return None
        try:
            self._queue_control(Opcode.PING, payload)
            if not self.needs_buffer:
                self._flush()
            return True
        except errors.WebSocketError as error:
            log.debug('no ping was sent: %s', error)
            return False
        finally:
            self._release()

    def opened(self):
        # type: () -> None
        self.outbox.release()
        if self.outbox.messages:
            self.has_unsent = True
            self.flush_pending()

    def time_out(self):
        # type: () -> None
        """End the connection: the peer has read too little of what waits."""
        words = u'write timed out after {:g} s: '.format(self._options.write_timeout or 0)
        words += u'the peer read only {} bytes in that time'.format(self._progress) \
            if self._progress else u"the peer isn't reading"
        self._break(errors.TransportFail(words))

    def _break(self, error):
        # type: (BaseException) -> None
        super(QueuedWriter, self)._break(error)
        self._wake_waiting()

    def dispose(self):
        # type: () -> None
        super(QueuedWriter, self).dispose()
        self._wake_waiting()

    def _wake_waiting(self):
        # type: () -> None
        if self._turns is not None:
            self._turns.wake_all()
