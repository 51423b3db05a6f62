"""The sending half of a session: frames, in the order of the calls, from any thread.

Knows the transport's `send`, and nothing of how it came to be or who receives.
A signal's handler may come while its own thread is in here, or is receiving:
hence an RLock, `_is_sending` and `_reader`.
"""

from __future__ import absolute_import, division, print_function

import logging

from lomond import errors
from lomond._compat import TYPE_CHECKING, RLock, get_ident, text_type
from lomond.opcode import Opcode
from lomond.protocol.frame import PIECE
from lomond.protocol.message import encode_close
from lomond.protocol.state import State, unavailable

if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Optional, Tuple  # noqa: F401

    from lomond.protocol.connection import Connection  # noqa: F401

log = logging.getLogger('lomond')

#: After a failed write, how long to go on reading what has arrived (seconds).
SALVAGE = 1.0

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
        # Put off until the loop's next step: by close, and by reply.
        self._owed_close = None  # type: Optional[bytes]
        self._owed_pong = None  # type: Optional[bytes]
        self._wants_room = False        # for what is owed
        self._broken = None  # type: Optional[BaseException]  # a write failed
        self._is_disposed = False
        #: When a Close frame went out, in seconds since the session began.
        self.sent_close_time = None  # type: Optional[float]

    @property
    def session_time(self):
        # type: () -> float
        """Seconds since the session began."""
        return self._clock() - self._started

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
                    if len(data) > PIECE:
                        size, pieces = self._stream.encode_in_pieces(opcode, data, compress)
                        self._hand_over(pieces, size)
                    else:
                        frame = self._stream.encode(opcode, data, compress)
                        if self._broken is not None:
                            raise self._refusal(len(frame))
                        self._transport.send(frame, self._websocket.write_timeout or None)
                    if opcode == Opcode.CLOSE:
                        self.sent_close_time = self.session_time
                        self._notice()
                    self._is_sending = False
                except BaseException as error:
                    self._failed(error, frame is not None)
                    raise
        finally:
            if self._owed_pong is not None or self._owed_close is not None or self._is_disposed:
                self._catch_up()

    def send_compressed(self, opcode, data):
        # type: (int, bytes) -> None
        """Send a frame, compressed if that was agreed on; raises as `send`."""
        self.send(opcode, data, True)

    def send_many(self, messages, compress):
        # type: (Iterable[Tuple[int, bytes]], bool) -> None
        """Send a frame for each pair of an opcode and a payload, in as few writes as will do.

        No other thread's frame comes in between. Raises as `send`.
        """
        self._send_each(self._stream.encode_many(messages, compress))

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
                    self._is_sending = True
                    for data in parts:
                        self._hand_over(data)
                    self._is_sending = False
                except BaseException as error:
                    self._failed(error, False)
                    raise
        finally:
            self._catch_up()

    def _is_reading(self, opcode):
        # type: (Optional[int]) -> bool
        """Tell if we are in a signal's handler that came while its thread was receiving.

        But for a Close, plain TCP lets it send all the same.
        """
        return self._reader == get_ident() and (
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

    def _refusal(self, size):
        # type: (int) -> errors.TransportFail
        """Make the error for what may not follow a frame that was torn."""
        error = errors.TransportFail(
            u'not sent, as an earlier send failed: {}'.format(text_type(self._broken)))
        error.size = size
        return error

    def _failed(self, error, has_begun):
        # type: (BaseException, bool) -> None
        """Take note of what ended a send: whether more may follow it.

        Nothing may if bytes may have gone out. Nor after a signal's handler raised
        (Ctrl-C): the deflate stream may be ahead of what the peer has of it.
        """
        if self._broken is None and (has_begun or not isinstance(error, errors.WebSocketError)):
            self._break(error if isinstance(error, errors.TransportFail)
                        else errors.TransportFail(u'a send was interrupted'))
        self._is_sending = False

    def _break(self, error):
        # type: (BaseException) -> None
        """A write failed: read what has arrived, then end."""
        self._salvage_until = self._clock() + SALVAGE
        self._broken = error
        self._notice()

    def _catch_up(self):
        # type: () -> None
        """See to what was put off while the lock was held."""
        if (self._owed_pong is not None or self._owed_close is not None) \
                and not self._wants_room:
            self._notice()
        # Disposed of while we held the lock. Should another hold it now, that's for him to do.
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
        if self._stream.state != State.CONNECTING:
            self._pay()
        self._notice()      # last: the loop may be about to wait for less than what is owed needs

    # -- for the loop, which never waits for room, nor for another sender --

    def reply(self, opcode, data):
        # type: (int, bytes) -> None
        """Send a pong or a Close on the protocol's behalf, as soon as that needs no waiting.

        What fails ends the loop, but isn't raised.
        """
        if opcode == Opcode.PONG:
            self._owed_pong = data      # RFC 6455 5.5.3: that to the latest ping will do
        else:
            self._owed_close = data
        self._pay()

    def _pay(self):
        # type: () -> None
        """Send what is owed, if that needs no waiting; the loop comes back to it.

        A sender that is in the way wakes the loop when it is done. If it is
        room that lacks, `_wants_room` says so.
        """
        self._wants_room = False
        if not self._owes() or self._transport is None or not self._lock.acquire(False):
            return
        try:
            if self._is_sending:
                return          # a signal's handler: it is for the loop to go on
            if self._owed_pong is not None and self._has_room():
                owed, self._owed_pong = self._owed_pong, None
                self._try_to_send(Opcode.PONG, owed)
            if self._owed_close is not None and self._has_room():
                owed, self._owed_close = self._owed_close, None
                self._try_to_send(Opcode.CLOSE, owed)
        finally:
            self._release()

    def _owes(self):
        # type: () -> bool
        return self._owed_pong is not None or self._owed_close is not None

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
