"""The sending half of a session, as far as it is the same however a driver sends.

Frames go out in the order of the calls, from any thread; control frames that can't go out now are
kept. Whether a call waits while the send buffer is full is for the subclasses (`blocking`,
`queued`). Neither dials nor receives, and never calls the user's code.

A signal's handler may run in the middle of any method here, in the same
thread: hence an RLock, `is_sending` and `receiving_thread`.
"""

from __future__ import absolute_import, division, print_function

import socket

from lomond import errors
from lomond._compat import TYPE_CHECKING, RLock, text_type, thread_module
from lomond._describe import describe, describe_with_type
from lomond.engine.controls import ControlFrames
from lomond.engine.timers import NEVER
from lomond.net.waiter import WRITE
from lomond.opcode import Opcode
from lomond.protocol.frame import PIECE
from lomond.protocol.state import CAN_SEND, State, unavailable

if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Optional, Tuple  # noqa: F401

    from lomond.net.transport import Transport  # noqa: F401
    from lomond.net.waiter import Interest  # noqa: F401
    from lomond.protocol.connection import Connection  # noqa: F401


class _NoSession(object):
    """Takes the place of a session that is over, so that it is freed while a thread still sends."""

    def wake(self):
        # type: () -> None
        pass

    close_was_sent = write_failed = read_ahead = wake

    sender = None


def interrupted_by(error):
    # type: (BaseException) -> errors.TransportFail
    """Make the error for what is sent after an exception has interrupted a send."""
    failure = errors.TransportFail(
        u'a send was interrupted by {}'.format(describe_with_type(error)))
    failure.cause = error
    return failure


class Writer(object):
    """Sends a connection's frames.

    Parameters:

    - ``connection``: the protocol's `Connection`, which encodes.
    - ``options``: its ``write_timeout`` (seconds, read for each message),
      ``fragment_size`` and ``read_ahead_limit`` (bytes, read once).
    - ``session``: its ``wake()`` makes the loop take a step; it is called
      back by ``close_was_sent()``, ``write_failed()`` and ``read_ahead()``;
      its ``sender`` is this, or the session itself, if a user's subclass overrides `send`.
    - ``clock``: a monotonic clock in seconds.

    What the session's loop calls (`reply`, `flush_pending`, `offer_control`,
    `flush_head`) never waits, neither for the send buffer nor for another
    sender. All else may be called from any thread.
    """

    __slots__ = (
        '_clock', '_connection', '_encoder', '_fragment_size', '_head', '_head_size',
        '_session', '_whole_size', 'close_sent_at', 'error',
        'head_error', 'is_disposed', 'is_interleaving', 'is_sending', 'lock', 'needs_buffer',
        'options', 'pending', 'receiving_thread', 'transport')

    #: True while messages, or a part of one, wait for the send buffer.
    has_unsent = False  # type: bool
    #: True while the next part of a message isn't made yet: then only pings and pongs may go out.
    awaits_part = False  # type: bool
    #: When what waits has waited too long for the peer to read, by the clock.
    deadline = NEVER  # type: float

    def __init__(self, connection, options, session, clock):
        # type: (Connection, Any, Any, Callable[[], float]) -> None
        self._connection = connection
        self._encoder = connection.encoder
        self.options = options  # type: Any
        self._session = session
        self._clock = clock
        #: Where the bytes go; None before there is a connection, and during a redirect.
        self.transport = None  # type: Any
        #: Held while a frame is encoded and sent: the order on the wire is that of the masking
        #: keys, of the deflate stream and of the states.
        self.lock = RLock()  # type: Any
        #: True while a thread sends: the RLock doesn't stop a signal handler that runs in the same
        #: thread.
        self.is_sending = False  # type: bool
        #: The thread that is receiving: a signal's handler in it can't enter OpenSSL again, nor
        #: wait for a sender, which may wait for the bytes that this thread is about to read.
        self.receiving_thread = None  # type: Optional[int]
        #: True while a message goes out frame by frame: control frames go out in between.
        self.is_interleaving = False  # type: bool
        #: True once no frame may be sent any more: the session is over.
        self.is_disposed = False  # type: bool
        #: The first write that failed: the peer has a part of a frame, so nothing may follow.
        self.error = None  # type: Optional[BaseException]
        #: When the Close frame went out, by the clock.
        self.close_sent_at = None  # type: Optional[float]

        #: Control frames that wait for the loop's next step, or for the end of another thread's
        #: frame.
        self.pending = ControlFrames()  # type: ControlFrames
        #: True if the send buffer is too full for what is pending.
        self.needs_buffer = False  # type: bool

        # Fixed when the connection begins, as the connection's other options are.
        self._fragment_size = options.fragment_size  # type: Optional[int]
        # Larger messages go out in pieces, or in fragments.
        self._whole_size = min(PIECE, self._fragment_size or PIECE)

        # Our handshake message (request or response): what has not gone out yet, and why it could
        # not.
        self._head = b''  # type: Any
        self._head_size = 0
        self.head_error = None  # type: Optional[BaseException]

    # -- by the subclass --

    def write(self, data):
        # type: (bytes) -> None
        """Send bytes as they are: for what isn't a frame.

        Raises TransportFail, or WebSocketUnavailable if there is no connection.
        """
        raise NotImplementedError

    def send(self, opcode, data, compress=False):
        # type: (int, bytes, bool) -> None
        """Send a frame, whole; compressed if ``compress`` is true and that was agreed on.

        Raises TransportFail, or WebSocketUnavailable and its kinds.
        """
        raise NotImplementedError

    def send_control(self, opcode, payload):
        # type: (int, bytes) -> None
        """Send a ping, a pong or a Close frame, or keep it for now; raises as `send`."""
        raise NotImplementedError

    def send_many(self, messages, compress):
        # type: (Iterable[Tuple[int, bytes]], bool) -> None
        """Send a frame for each pair of an opcode and a payload, in as few writes as possible.

        No other thread's message comes in between, nor a Close frame. Raises as `send`.
        """
        raise NotImplementedError

    def send_parts(self, opcode, parts, compress):
        # type: (int, Iterable[bytes], bool) -> None
        """Send one message, with a frame for each part, while the iterable makes them.

        Control frames go out in between, no other message. What the iterable raises goes through,
        and so do the errors of `send`.
        """
        raise NotImplementedError

    def flush_pending(self):
        # type: () -> None
        """Send what waits, as far as that needs no waiting. Never raises.

        `needs_buffer` is set if the send buffer is full.
        """
        raise NotImplementedError

    def offer_control(self, opcode, payload):
        # type: (int, bytes) -> Optional[bool]
        """Send a ping or a pong of the loop's own, without waiting.

        Returns True if it went out, or goes out next; False if the connection doesn't allow it;
        None if it can't. Then the send buffer is full, or another thread is sending.
        """
        raise NotImplementedError

    @property
    def unsent(self):
        # type: () -> int
        """How many messages wait, those of which a part went out included."""
        return 0

    def opened(self):
        # type: () -> None
        """Send the messages reserved for this connection: the user has handled Ready."""

    def time_out(self):
        # type: () -> None
        """End the connection, as `deadline` has passed."""

    # -- control frames --

    def _queue_control(self, opcode, payload):
        # type: (int, bytes) -> None
        """Leave a control frame to the thread that is sending; raises as `send`."""
        if self._connection.state not in CAN_SEND:
            raise unavailable(self._connection.state)
        if self.error is not None:
            raise self.refusal(len(payload))
        if self.pending.has_closed:
            raise unavailable(State.CLOSING)
        self.pending.add(opcode, payload)
        # Another thread, or a signal's handler, may have begun to close meanwhile.
        if opcode != Opcode.CLOSE and self.pending.has_closed \
                and self.pending.withdraw(opcode, payload):
            raise unavailable(State.CLOSING)
        if opcode == Opcode.CLOSE or not self.is_interleaving:
            # close_timeout begins; or the message has just ended, and the loop sends the frame.
            self._session.wake()

    # -- signals' handlers --

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

    def _interrupts_reading(self, opcode):
        # type: (Optional[int]) -> bool
        """Return whether this is a signal's handler, in a thread that was receiving.

        Over plain TCP such a handler may send anything but a Close at once.
        """
        return self.receiving_thread == thread_module.get_ident() and (
            opcode == Opcode.CLOSE or self.transport.is_secure)

    def _send_interrupting(self, opcode, data):
        # type: (Optional[int], bytes) -> None
        """Handle a send from a signal's handler that interrupted a send or a read."""
        if opcode != Opcode.CLOSE:
            raise errors.WebSocketUnavailable(
                'a signal handler interrupted this thread while it was sending or reading: '
                'only close() may be called there')
        if self.pending.close is None:
            self.pending.add(opcode, data)
        self._session.wake()

    # -- to the transport --

    def _close_was_sent(self):
        # type: () -> None
        self.close_sent_at = self._clock()
        self._session.close_was_sent()
        self._session.wake()

    def refusal(self, size):
        # type: (int) -> errors.TransportFail
        """Make the error for what may not follow a frame of which only a part went out."""
        error = errors.TransportFail(
            u'not sent, as an earlier send failed: {}'.format(text_type(self.error)))
        error.size = size
        error.cause = getattr(self.error, 'cause', None)
        return error

    def _failed(self, error, has_begun):
        # type: (BaseException, bool) -> None
        """A send raised: decide whether another may follow it.

        None may if bytes of an incomplete frame may have gone out. Nor after a signal's handler
        (Ctrl-C) or an extension raised: the deflate stream may be ahead of what the peer has of it.
        """
        is_torn = has_begun or not isinstance(error, errors.WebSocketError) \
            or self._encoder.failure is not None
        # A message that a Close frame cut short ended with a whole frame.
        if self.error is None and is_torn and not isinstance(error, errors.WebSocketUnavailable):
            self._break(error if isinstance(error, errors.TransportFail) else interrupted_by(error))
        self.is_sending = self.is_interleaving = False

    def _break(self, error):
        # type: (BaseException) -> None
        """Refuse all sends from now on; the loop reads what has arrived, then ends."""
        self._session.write_failed()
        self.error = error
        self._session.wake()

    def _break_message(self):
        # type: () -> None
        """End the connection: a message can't be taken back, and what follows would be its part."""
        self._break(errors.TransportFail(u'a message was not sent to its end'))

    def _catch_up(self):
        # type: () -> None
        """Do what other threads left to this one while it held the lock."""
        if self.pending.any and not self.needs_buffer \
                and (not self.awaits_part or self.pending.has_but_close):
            self._session.wake()
        # The session ended while this thread held the lock: the holder closes the transport.
        if self.is_disposed and self.transport is not None and self.lock.acquire(False):
            try:
                if not self.is_sending:
                    self.transport.close()
            finally:
                self.lock.release()

    def _release(self):
        # type: () -> None
        self.lock.release()
        self._catch_up()

    # -- for the loop --

    @property
    def is_closing(self):
        # type: () -> bool
        """True if a Close frame is still to go out: it waits, or another thread is sending it."""
        return self.pending.close is not None or (
            self.close_sent_at is None and self._connection.state not in CAN_SEND)

    def close(self, payload):
        # type: (bytes) -> None
        """Have a Close frame sent as soon as the connection is open; from any thread."""
        self.pending.add(Opcode.CLOSE, payload)
        if self._connection.state != State.CONNECTING:
            self.flush_pending()
        self._session.wake()        # last: the loop may be about to wait for less than is pending

    def reply(self, opcode, data):
        # type: (int, bytes) -> None
        """Send a pong or a Close on the protocol's behalf, as soon as that needs no waiting.

        A failure ends the loop, but isn't raised.
        """
        self.pending.add_reply(opcode, data)
        self.flush_pending()

    # -- our handshake message: the request or the response --

    def begin_head(self, data):
        # type: (bytes) -> None
        """Have `flush_head` send our handshake message."""
        self._head = memoryview(data)
        self._head_size = len(data)
        self.head_error = None

    @property
    def has_head(self):
        # type: () -> bool
        """True while a part of our handshake message has not gone out."""
        return bool(self._head)

    def flush_head(self):
        # type: () -> Interest
        """Send more of our handshake message without waiting; return what to wait for, if anything.

        A failure is kept as `head_error`: what the peer sent before may say why.
        """
        if not self._head or self.head_error is not None:
            return ()
        if not self.lock.acquire(False):        # another thread's `write`
            return ((self.transport.fileno(), WRITE),)
        try:
            self.is_sending = True
            while self._head:
                count, interest = self.transport.send_some(self._head)
                if not count:
                    return interest     # type: ignore[no-any-return]
                # An empty view would keep all of the message.
                self._head = self._head[count:] or b''
        except (socket.error, ValueError, errors.TransportFail) as error:
            # ValueError: an SSLSocket whose session is gone.
            self.head_error = error
            self._break(errors.TransportFail.after(
                self._head_size - len(self._head), self._head_size,
                u'could not send: {}'.format(describe(error)), error))
        finally:
            self.is_sending = False
            self._release()
        return ()

    # -- the transport's life --

    def attach(self, transport):
        # type: (Transport) -> None
        """Send over this transport from now on."""
        self.transport = transport

    def detach(self):
        # type: () -> Any
        """Return the transport, which is the caller's to close; another may be attached."""
        transport, self.transport = self.transport, None
        self.error = None
        return transport

    def dispose(self):
        # type: () -> None
        """Close the transport, or leave that to the thread that is sending. Never raises.

        The session has set `is_disposed` before: nothing is to be sent while it ends.
        """
        self._session = _NoSession()
        transport = self.transport
        if transport is None:
            return
        transport.on_backlog = None     # it refers to the session
        if transport.is_inherited:
            transport.close()       # the thread that holds the lock is in the parent process
            return
        # A sender may be waiting inside the transport. It holds the lock, so it closes the
        # transport: to wait for it here could take forever.
        if self.lock.acquire(False):
            try:
                if not self.is_sending:
                    transport.close()
                    return
            finally:
                self.lock.release()
        transport.abort()
