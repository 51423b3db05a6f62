"""The sending half of a session: frames, in the order of the calls, from any thread.

Knows the transport's `send`, and nothing of how it came to be or who receives.
A signal's handler may come while its own thread is in here, or is receiving:
hence an RLock, `_is_sending` and `_reader`.
"""

from __future__ import absolute_import, division, print_function

import logging

from lomond import errors
from lomond._compat import TYPE_CHECKING, RLock, text_type, thread_module
from lomond.opcode import Opcode
from lomond.protocol.frame import CONTROL_BIT, PIECE
from lomond.protocol.message import encode_close
from lomond.protocol.state import CAN_SEND, State, unavailable

if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, List, Optional, Tuple  # noqa: F401

    from lomond.protocol.connection import Connection  # noqa: F401

log = logging.getLogger('lomond')

#: After a failed write, how many bytes at most are read of what had arrived.
SALVAGE = 16 * 1024 * 1024

#: How many of the user's control frames may wait for the end of another thread's frame.
MAX_CONTROLS = 64

_GOODBYE = encode_close(1000, u'goodbye')


class Sender(object):
    """Base of the session: sends, and tells its loop what the sending means for it.

    Parameters: ``websocket``, for its ``stream`` and ``write_timeout``;
    ``clock``, a monotonic clock in seconds.
    """

    def __init__(self, websocket, clock):
        # type: (Any, Callable[[], float]) -> None
        self._websocket = websocket
        self._stream = websocket.stream  # type: Connection
        self._clock = clock
        self._started = clock()
        self._transport = None  # type: Any     # a Transport, once there is one
        # Stands around encoding a frame and sending it, so that the order on
        # the wire is that of the masks, of the deflate stream, of the states.
        self._lock = RLock()
        self._is_sending = False
        # The thread that is receiving, for as long as it does. Its signals' handlers can't wait
        # for a sender, who may wait for what it holds; nor can they enter OpenSSL once more.
        self._reader = None  # type: Optional[int]
        # A message is going out frame by frame: control frames are sent in between.
        self._interleaves = False
        # Control frames that wait for the loop's next step, or for the next frame's end: the
        # user's, the latest pong, a Close. Lists, as their append and pop need no lock.
        self._controls = []  # type: List[Tuple[int, bytes]]
        self._pongs = []  # type: List[Tuple[int, bytes]]
        self._owed_close = None  # type: Optional[bytes]
        # The peer's Close was read ahead: the user is still to see Closing, before ours goes out.
        self._holds_close = False
        # Set after one of these, so that a look at it finds all that came before.
        self._has_controls = False
        self._wants_room = False        # the send buffer is too full for what is pending
        self._is_paying = False     # the loop is sending them, in their order
        # As they are when the connection begins, as the other parameters are.
        self._fragment_size = websocket.fragment_size  # type: Optional[int]
        self._read_ahead_limit = websocket.read_ahead_limit  # type: Optional[int]
        # Larger messages go out in pieces, or in fragments.
        self._whole_size = min(PIECE, self._fragment_size or PIECE)
        self._broken = None  # type: Optional[BaseException]  # a write failed
        self._is_disposed = False
        #: When a Close frame went out, in seconds since the session began.
        self.sent_close_time = None  # type: Optional[float]

    @property
    def session_time(self):
        # type: () -> float
        """Seconds since the session began."""
        return self._clock() - self._started

    @property
    def is_ending(self):
        # type: () -> bool
        """True once a send failed, or a Close frame waits to be sent."""
        return self._broken is not None or self._owed_close is not None

    def _notice(self):
        # type: () -> None
        """Have the loop look around, wherever it is; from any thread."""
        raise NotImplementedError

    # -- for the user, through the websocket --

    def write(self, data):
        # type: (bytes) -> None
        """Send bytes as they are: for what isn't a frame.

        Raises TransportFail, or WebSocketUnavailable if there is no connection.
        """
        self._send_each((data,))

    # Each message comes through here: it calls no method where a line will do.
    def send(self, opcode, data, compress=False):
        # type: (int, bytes, bool) -> None
        """Send a frame, whole; compressed if ``compress`` is true and that was agreed on.

        Raises TransportFail, or WebSocketUnavailable and its kinds.
        """
        if self._reader is not None and self._is_reading(opcode):
            self._send_interrupting(opcode, data)
            return
        if self._is_disposed:       # in its midst a handler must not wait for another thread
            raise unavailable(self._stream.state)
        try:
            with self._lock:
                if self._is_sending:
                    self._send_interrupting(opcode, data)
                    return
                frame = None
                try:
                    self._is_sending = True
                    if self._has_controls and not self._is_paying:
                        self._send_controls_first()
                    if len(data) > self._whole_size and not opcode & CONTROL_BIT:
                        size, frames = self._stream.encode_in_frames(
                            opcode, data, compress, self._fragment_size)
                        self._hand_over(self._interleave(frames), size)
                    else:
                        frame = self._stream.encode(opcode, data, compress)
                        if self._broken is not None:
                            raise self._refusal(len(frame))
                        self._transport.send(frame, self._websocket.write_timeout or None)
                    if opcode == Opcode.CLOSE:
                        self._close_was_sent()
                    self._is_sending = False
                except BaseException as error:
                    self._failed(error, frame is not None)
                    raise
        finally:
            if self._has_controls or self._is_disposed:
                self._catch_up()

    def send_control(self, opcode, payload):
        # type: (int, bytes) -> None
        """Send a ping, a pong or a Close frame.

        While another thread's message goes out in fragments the frame waits
        for the end of a fragment, and this returns at once. Raises as `send`.
        """
        if self._interleaves and len(self._controls) < MAX_CONTROLS:
            self._queue_control(opcode, payload)
        else:
            self.send(opcode, payload)

    def _queue_control(self, opcode, payload):
        # type: (int, bytes) -> None
        """Leave a control frame to the thread that is sending; raises as `send`."""
        if self._broken is not None:
            raise self._refusal(len(payload))
        if self._stream.state not in CAN_SEND:
            raise unavailable(self._stream.state)
        if self._owed_close is not None:
            raise unavailable(State.CLOSING)
        if opcode == Opcode.CLOSE:
            self._owed_close = payload
        else:
            self._controls.append((opcode, payload))
        self._has_controls = True
        if opcode == Opcode.CLOSE or not self._interleaves:
            # close_timeout begins; or the message has just ended, and the loop sends the frame.
            self._notice()

    def send_compressed(self, opcode, data):
        # type: (int, bytes) -> None
        """Send a frame, compressed if that was agreed on; raises as `send`."""
        self.send(opcode, data, True)

    def send_many(self, messages, compress):
        # type: (Iterable[Tuple[int, bytes]], bool) -> None
        """Send a frame for each pair of an opcode and a payload, in as few writes as will do.

        No other thread's message comes in between, nor a Close frame. Raises as `send`.
        """
        self._send_each(self._stream.encode_many(messages, compress, self._fragment_size))

    def _send_each(self, parts):
        # type: (Iterable[bytes]) -> None
        """Send bytes that may be made meanwhile, in one go."""
        if self._reader is not None and self._is_reading(None):
            self._send_interrupting(None, b'')
            return
        if self._is_disposed:
            raise unavailable(self._stream.state)
        try:
            with self._lock:
                if self._is_sending:
                    self._send_interrupting(None, b'')
                    return
                try:
                    self._is_sending = self._interleaves = True
                    if self._has_controls:
                        self._send_controls_first()
                    for data in parts:
                        self._hand_over(data)
                        self._read_ahead()
                        # All of the parts go out before a Close frame.
                        self._send_controls(may_close=False)
                    self._is_sending = self._interleaves = False
                except BaseException as error:
                    self._failed(error, False)
                    raise
        finally:
            self._catch_up()

    def _interleave(self, frames):
        # type: (Iterable[Iterable[Any]]) -> Iterator[Any]
        """Yield the pieces of a message's frames, and send control frames between the frames.

        The transport asks for the next piece when it has sent the last.
        """
        self._interleaves = True
        for pieces in frames:
            for piece in pieces:
                yield piece
            self._read_ahead()
            self._send_controls()
        self._interleaves = False

    def _send_controls_first(self):
        # type: () -> None
        """Keep the order of the calls: no message overtakes a control frame that is pending."""
        try:
            self._send_controls()
        except errors.TransportFail:
            pass        # the message is refused for it

    def _send_controls(self, may_close=True):
        # type: (bool) -> None
        """Send pending control frames, in the thread that is sending, which holds the lock."""
        while self._has_controls and self._send_next_control(may_close):
            pass

    def _send_next_control(self, may_close=True):
        # type: (bool) -> bool
        """Send one pending control frame, under the lock; False if there is none."""
        control = self._next_control(may_close)
        if control is None:
            return False
        opcode, payload = control
        try:
            frame = self._stream.encode(opcode, payload)
        except errors.WebSocketUnavailable as error:
            log.debug('%s was not sent: %s', Opcode.to_str(opcode), error)
        else:
            self._hand_over(frame)
        if opcode == Opcode.CLOSE:
            self._close_was_sent()
            self._owed_close = None     # last: until then the loop waits for it
        return True

    def _read_ahead(self):
        # type: () -> None
        """Answer pings that arrived while this thread, the loop's own, was sending."""
        raise NotImplementedError

    def _is_reading(self, opcode):
        # type: (Optional[int]) -> bool
        """Tell if we are in a signal's handler that came while its thread was receiving.

        But for a Close, plain TCP lets it send all the same.
        """
        return self._reader == thread_module.get_ident() and (
            opcode == Opcode.CLOSE or self._transport.is_secure)

    def _send_interrupting(self, opcode, data):
        # type: (Optional[int], bytes) -> None
        """Do what can be done for a signal's handler that came in the midst of it."""
        if opcode != Opcode.CLOSE:
            raise errors.WebSocketUnavailable(
                'this thread is in the midst of another send, or of reading: '
                'only close() may interrupt it')
        if self._owed_close is None:
            self._owed_close = data
        self._has_controls = True
        self._notice()

    def _hand_over(self, data, size=None):
        # type: (Any, Optional[int]) -> None
        """Have the transport send bytes, or pieces of so many."""
        if self._broken is not None:
            raise self._refusal(len(data) if size is None else size)
        transport = self._transport
        if transport is None:       # a redirect has just let it go
            raise unavailable(self._stream.state)
        timeout = self._websocket.write_timeout or None
        try:
            if size is None:
                transport.send(data, timeout)
            else:
                transport.send_pieces(data, size, timeout)
        except BaseException as error:
            self._failed(error, True)
            raise

    def _close_was_sent(self):
        # type: () -> None
        self.sent_close_time = self.session_time
        self._notice()

    def _refusal(self, size):
        # type: (int) -> errors.TransportFail
        """Make the error for what may not follow a frame that was torn."""
        error = errors.TransportFail(
            u'not sent, as an earlier send failed: {}'.format(text_type(self._broken)))
        error.size = size
        return error

    def _failed(self, error, has_begun):
        # type: (BaseException, bool) -> None
        """A send raised: decide whether another may follow it.

        None may if bytes of a torn frame may have gone out. Nor after a signal's handler raised
        (Ctrl-C): the deflate stream may be ahead of what the peer has of it.
        """
        is_torn = has_begun or not isinstance(error, errors.WebSocketError)
        # A message that a Close frame cut short ended with a whole frame.
        if self._broken is None and is_torn and not isinstance(error, errors.WebSocketUnavailable):
            self._break(error if isinstance(error, errors.TransportFail)
                        else errors.TransportFail(u'a send was interrupted'))
        self._is_sending = self._interleaves = False

    def _break(self, error):
        # type: (BaseException) -> None
        """A write failed: read what has arrived, then end."""
        self._salvage = SALVAGE
        self._broken = error
        self._notice()

    def _catch_up(self):
        # type: () -> None
        """See to what was put off while the lock was held."""
        if self._has_controls and not self._wants_room:
            self._notice()
        # Disposed of while we held the lock. Whichever thread holds it now does this.
        if self._is_disposed and self._transport is not None and self._lock.acquire(False):
            try:
                if not self._is_sending:
                    self._transport.close()
            finally:
                self._lock.release()

    def _release(self):
        # type: () -> None
        self._lock.release()
        self._catch_up()

    def close(self, payload=_GOODBYE):
        # type: (bytes) -> None
        """End the attempt to connect; or close, should it have succeeded meanwhile."""
        self._owed_close = payload
        self._has_controls = True
        if self._stream.state != State.CONNECTING:
            self._pay()
        self._notice()      # last: the loop may be about to wait for less than is pending

    # -- for the loop, which never waits for the send buffer, nor for another sender --

    def reply(self, opcode, data):
        # type: (int, bytes) -> None
        """Send a pong or a Close on the protocol's behalf, as soon as that needs no waiting.

        What fails ends the loop, but isn't raised.
        """
        if opcode == Opcode.PONG:
            self._pongs[:] = [(opcode, data)]   # RFC 6455 5.5.3: that to the latest ping will do
        else:
            self._owed_close = data
        self._has_controls = True
        self._pay()

    def _pay(self):
        # type: () -> None
        """Send what is pending, if that needs no waiting; else the loop comes back to it.

        A sender that holds the lock wakes the loop when it is done, or sends
        what is pending itself. `_wants_room` is set if the send buffer is full.
        """
        self._wants_room = False
        if not self._has_controls or self._transport is None or not self._lock.acquire(False):
            return
        try:
            if self._is_sending:
                return          # a signal's handler: it is for the loop to go on
            self._is_paying = True
            while self._has_controls and self._has_room():
                control = self._next_control(True)
                if control is None:
                    return
                self._try_to_send(*control)
                if control[0] == Opcode.CLOSE:
                    self._owed_close = None
        finally:
            self._is_paying = False
            self._release()

    def _next_control(self, may_close):
        # type: (bool) -> Optional[Tuple[int, bytes]]
        """Return the next pending control frame, a Close last; for the holder of the lock.

        The caller forgets a Close when it is sent: the loop's end waits for that.
        """
        self._has_controls = False
        control = None
        for waiting in (self._controls, self._pongs):
            if waiting and control is None:
                control = waiting.pop(0)
        if control is None and may_close and self._owed_close is not None \
                and not self._holds_close:
            control = Opcode.CLOSE, self._owed_close
        if self._controls or self._pongs or self._owed_close is not None:
            self._has_controls = True
        return control

    def _has_room(self):
        # type: () -> bool
        """Tell if a small frame would go out at once, or fail at once."""
        if self._broken is not None or self._is_disposed or self._transport.has_room():
            return True
        self._wants_room = True
        return False

    def _try_to_send(self, opcode, payload):
        # type: (int, bytes) -> bool
        """Send a small frame, under the lock; False if that failed."""
        try:
            self.send(opcode, payload)
            return True
        except errors.WebSocketError as error:
            log.debug('%s was not sent: %s', Opcode.to_str(opcode), error)
            return False
