"""One open WebSocket as a state machine, for the client's role and the server's.

Bytes in, events out; opcodes and payloads in, frames out. Which thread calls,
and where the bytes come from and go, is the driver's business.
"""

from __future__ import absolute_import, division, print_function

import os
from time import time

from lomond import errors, events
from lomond._compat import TYPE_CHECKING, decode_utf8, indexable, text_type
from lomond.opcode import Opcode
from lomond.protocol.close import decode_close, encode_close
from lomond.protocol.encoder import Encoder
from lomond.protocol.frame import CONTROL_BIT, FIN, KEY_SIZE, LENGTH_16, RSV1
from lomond.protocol.frame_parser import FrameParser
from lomond.protocol.limits import DEFAULT_LIMITS
from lomond.protocol.mask import apply_mask
from lomond.protocol.message import MessageAssembler, invalid_utf8
from lomond.protocol.state import NoLock, State, Trigger
from lomond.stats import Stats

if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, List, Optional, Tuple, Type, Union  # noqa: F401

    from lomond.events import Event  # noqa: F401
    from lomond.protocol.close import CloseFrame  # noqa: F401
    from lomond.protocol.extensions.permessage_deflate import PermessageDeflate  # noqa: F401
    from lomond.protocol.frame import FrameHeader  # noqa: F401
    from lomond.protocol.limits import Limits  # noqa: F401

CLIENT = 'client'
SERVER = 'server'

_WHOLE_TEXT = FIN | Opcode.TEXT
_WHOLE_BINARY = FIN | Opcode.BINARY
_COMPRESSED_TEXT = FIN | RSV1 | Opcode.TEXT
_COMPRESSED = (_COMPRESSED_TEXT, FIN | RSV1 | Opcode.BINARY)

# Where slices of what is received are bytes, they needn't be copied for zlib.
_IS_BYTEARRAY = indexable is not bytes


class Connection(Encoder):
    """A WebSocket between its two handshakes.

    Parameters:

    - ``role``: `CLIENT` or `SERVER`.
    - ``reply``: called as ``reply(opcode, payload)`` for a frame that the
      protocol itself sends: a pong, a Close. It hands them to `encode`, sends
      what that returns, and never raises.
    - ``limits``: what the peer may make us hold.
    - ``lock``: called for what guards the state where `encode` and `receive`
      run in two threads. That is held for moments, never while anything is sent.
    - ``stats``: where messages and bytes are counted, a `lomond.stats.Stats`.
    - ``random_bytes``, ``clock``: where masking keys and `received_time` come
      from; without a clock that is the time of day.
    - ``text_class``: what makes the events of texts, see
      `lomond.events.text_class`.

    One thread may run `receive` while others call `encode`, one at a time.
    """

    def __init__(self, role, reply, limits=DEFAULT_LIMITS, lock=NoLock, stats=None,
                 random_bytes=os.urandom, clock=None, text_class=events.Text):
        # type: (str, Callable[[int, bytes], None], Limits, Any, Optional[Stats], Callable[[int], bytes], Optional[Callable[[], float]], Type[events.Text]) -> None
        self.news = []  # type: List[Any]
        self.pending = None  # type: Optional[Tuple[int, bytes]]
        self.pong = None  # type: Optional[bytes]
        super(Connection, self).__init__(role == CLIENT, lock, stats or Stats(), random_bytes)
        #: Answer pings by themselves.
        self.auto_pong = True
        #: False once nothing that arrives can become an event any more.
        self.is_receiving = False
        #: The protocol error that ended the connection, if one did.
        self.error = None  # type: Optional[errors.WebSocketError]
        #: Where the next bytes from the peer may be received into, to be handed in as a part of
        #: this; None while they have to come as bytes.
        self.inlet = None  # type: Optional[memoryview]

        self._reply = reply
        self._clock = clock
        self._parser = FrameParser(expects_mask=not self._is_client, limits=limits)
        self._message = MessageAssembler(limits, text_class)
        self._text_class = text_class
        # The short way gives what is larger, or has a longer header, to the long one.
        self._short_limit = min(
            size for size in (limits.frame, limits.message, 0xFFFF) if size is not None)
        self._max_message = limits.message

        self._leftover = b''        # received, and not yet a whole header or control frame
        self._missing = 0           # payload bytes of the present data frame still to come
        self._header = None  # type: Optional[FrameHeader]  # that frame's

    # -- the handshakes and the end --

    def accept(self, deflate=None):
        # type: (Optional[PermessageDeflate]) -> None
        """Open, after the opening handshake succeeded."""
        self.lifecycle.move(Trigger.ACCEPTED)
        self.is_receiving = True
        self._deflate = self._message.deflate = deflate
        self._parser.compression = deflate is not None

    def reject(self):
        # type: () -> None
        """Close, after the opening handshake failed."""
        self.lifecycle.move(Trigger.REJECTED)

    def disconnect(self):
        # type: () -> None
        """Close, after the transport is gone or was given up."""
        self.lifecycle.move(Trigger.DISCONNECTED)
        self.is_receiving = False
        if self._deflate is not None:
            self._deflate.release()

    def offer_inlet(self):
        # type: () -> None
        """Have an `inlet` for large messages from now on: for who can make use of it."""
        self._message.has_inlet = True

    def free_memory(self):
        # type: () -> None
        """Give back what is kept for large messages to come; it is asked for again as they come."""
        self._message.free()

    def stop_receiving(self):
        # type: () -> None
        """Make no more events of what was received, not even of what waits."""
        self.is_receiving = False

    @property
    def supports_compression(self):
        # type: () -> bool
        """Tell if permessage-deflate was agreed on."""
        return self._deflate is not None

    @property
    def state(self):
        # type: () -> str
        """How far it has come, one of `State`."""
        return self.lifecycle.state

    @property
    def close_sent(self):
        # type: () -> Optional[CloseFrame]
        """Our Close frame, or None."""
        return self.lifecycle.close_sent

    @property
    def close_received(self):
        # type: () -> Optional[CloseFrame]
        """The peer's Close frame, or None."""
        return self.lifecycle.close_received

    @property
    def is_close_complete(self):
        # type: () -> bool
        """True once both Close frames were exchanged."""
        return self.lifecycle.is_close_complete

    # -- receiving --

    def receive(self, data):
        # type: (bytes) -> Iterator[Event]
        """Yield the events in bytes from the peer. What the peer does wrong is one.

        An event's frame is behind it when it is yielded: an iterator that is
        given up loses nothing, the rest waits for the next call.

        ``data`` may be the first part of `inlet`, with bytes received right into it.
        """
        # Not bound when this was made: an application's tests may replace the time of day.
        received_time = time() if self._clock is None else self._clock()
        if self.inlet is not None and isinstance(data, memoryview):
            event = self._filled(data, received_time)  # type: Optional[Event]
            if event is not None:
                yield event
            return
        buffer = indexable(self._leftover + data if self._leftover else data)
        self._leftover = b''
        end = len(buffer)
        pos = 0
        # The short way is a client's: it knows nothing of masks.
        message = self._message
        may_hurry = self._is_client and self._header is None and not message.in_message
        limit = self._short_limit
        text_class = self._text_class
        deflate = self._deflate
        compressed = () if deflate is None else _COMPRESSED  # type: Tuple[int, ...]
        messages = payload_bytes = 0    # of the short way
        try:
            while self.is_receiving:
                # The short way: a whole message in one frame that is all here.
                if may_hurry and end - pos > 3:
                    first = buffer[pos]
                    if first == _WHOLE_TEXT or first == _WHOLE_BINARY or first in compressed:
                        length = buffer[pos + 1]
                        start = pos + 2
                        if length == LENGTH_16:
                            length = (buffer[start] << 8) | buffer[start + 1]
                            start += 2
                            stop = start + length if length >= LENGTH_16 else end + 1
                        else:
                            stop = start + length if length < LENGTH_16 else end + 1
                        if stop <= end and length <= limit:
                            pos = stop
                            if first == _WHOLE_TEXT:
                                event = text_class(decode_utf8(buffer[start:stop]), received_time)
                            elif first == _WHOLE_BINARY:
                                event = events.Binary(bytes(buffer[start:stop]), received_time)
                            else:
                                payload = buffer[start:stop]
                                if _IS_BYTEARRAY:
                                    payload = bytes(payload)
                                payload = deflate.decompress_whole(  # type: ignore[union-attr]
                                    payload, self._max_message)
                                length = len(payload)
                                if first == _COMPRESSED_TEXT:
                                    event = text_class(decode_utf8(payload), received_time)
                                else:
                                    event = events.Binary(payload, received_time)
                            # Only now: there may have been something wrong with it.
                            messages += 1
                            payload_bytes += length
                            yield event
                            continue

                # The long way: all else.
                if pos == end and self._header is None:
                    break
                event, pos = self._next_event(buffer, pos, received_time)
                if event is None:
                    break
                yield event
                if self.state == State.PEER_CLOSING:
                    # The user is done with Closing (RFC 6455 5.5.1: echo the code).
                    self._reply(Opcode.CLOSE, self._echo)
                may_hurry = self._is_client and self._header is None and not message.in_message
        except errors.ProtocolError as error:
            yield self._fail(error, received_time)
        except UnicodeDecodeError:
            yield self._fail(invalid_utf8(), received_time)
        finally:
            if self.is_receiving and pos < end:
                self._leftover = bytes(buffer[pos:])
            received = self._stats.received
            received.wire_bytes += len(data)
            received.messages += messages
            received.payload_bytes += payload_bytes

    def _next_event(self, buffer, pos, received_time):
        # type: (Union[bytes, bytearray], int, float) -> Tuple[Optional[Event], int]
        """Return the next event and the position after it.

        None, and the position up to which bytes were used, if it needs more.
        Raises ProtocolError.
        """
        while True:
            if self._header is None:
                header, start = self._parser.read_header(buffer, pos)
                if header is None:
                    return None, pos
                if header.opcode & CONTROL_BIT:
                    stop = start + header.length
                    if stop > len(buffer):
                        return None, pos
                    payload = self._unmask(bytes(buffer[start:stop]), header)
                    return self._control_event(header.opcode, payload, received_time), stop
                self._message.begin_frame(header)
                self._header = header
                self._missing = header.length
                pos = start

            header = self._header
            stop = min(pos + self._missing, len(buffer))
            used = stop - pos
            if not used and self._missing:
                return None, pos
            self._missing -= used
            is_last = header.fin and not self._missing
            payload = self._unmask(bytes(buffer[pos:stop]), header)
            pos = stop
            self._message.add(payload, is_last)
            if self._missing:
                self.inlet = self._message.inlet
                return None, pos
            self._header = self.inlet = None
            if is_last:
                return self._finish_message(received_time), pos

    def _filled(self, view, received_time):
        # type: (memoryview, float) -> Optional[Event]
        """Go on after bytes were received into the inlet; return the event if it is full."""
        if not self.is_receiving:
            return None
        self._message.fill(view)
        self._stats.received.wire_bytes += len(view)
        self._missing -= len(view)
        if self._missing:
            self.inlet = self._message.inlet
            return None
        self._header = self.inlet = None
        return self._finish_message(received_time)

    def _finish_message(self, received_time):
        # type: (float) -> Event
        self._stats.received.messages += 1
        self._stats.received.payload_bytes += self._message.size
        return self._message.finish(received_time)

    @staticmethod
    def _unmask(payload, header):
        # type: (bytes, FrameHeader) -> bytes
        """Unmask a piece of a payload, and turn the key for the next piece."""
        key = header.masking_key
        if key is None:
            return payload
        turn = len(payload) % KEY_SIZE
        header.masking_key = key[turn:] + key[:turn]
        return apply_mask(payload, key)

    def _control_event(self, opcode, payload, received_time):
        # type: (int, bytes, float) -> Event
        if opcode == Opcode.PING:
            if self.auto_pong and self.state == State.OPEN:
                self._reply(Opcode.PONG, payload)
            return events.Ping(payload, received_time)
        if opcode == Opcode.PONG:
            self._stats.pongs_received += 1
            self.pong = payload
            self.news.append(payload)
            return events.Pong(payload, received_time)

        close = decode_close(payload)
        self.is_receiving = False
        self._echo = payload[:2]
        if self.lifecycle.move(Trigger.CLOSE_RECEIVED, close) == State.CLOSED:
            return events.Closed(close.code, close.reason, received_time)
        return events.Closing(close.code, close.reason, received_time)

    def _fail(self, error, received_time):
        # type: (errors.ProtocolError, float) -> events.ProtocolError
        """Fail the connection (RFC 6455 7.1.7): say why, and take in nothing more."""
        self.is_receiving = False
        self.error = error
        words = text_type(error)
        self.lifecycle.move(Trigger.FAILED)
        if self.lifecycle.may_close:
            self._reply(Opcode.CLOSE, encode_close(error.close_code, words))
        return events.ProtocolError(
            words, critical=False, close_code=error.close_code, received_time=received_time)
