"""The receiving half of a connection: bytes from the peer in, events out.

A small whole message takes the short way, in `Decoder.receive` itself; everything else takes the
long way, through `FrameParser` and `MessageAssembler`. Reads no socket, sends nothing and calls
nothing of its driver's: a frame that the protocol itself has to send waits in `Decoder.pending`.
"""

from __future__ import absolute_import, division, print_function

from time import time

from lomond import errors, events
from lomond._compat import TYPE_CHECKING, decode_utf8, indexable, text_type
from lomond.events import Binary, Text
from lomond.opcode import Opcode
from lomond.protocol.close import decode_close, encode_close
from lomond.protocol.extensions.base import receive_through
from lomond.protocol.frame import (
    CONTROL_BIT,
    FIN,
    KEY_SIZE,
    LENGTH_16,
    MAX_CONTROL_PAYLOAD,
    RSV1,
    FrameParser,
)
from lomond.protocol.limits import Held
from lomond.protocol.mask import apply_mask
from lomond.protocol.message import MessageAssembler, invalid_utf8
from lomond.protocol.state import State, Trigger

if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, List, Optional, Sequence, Tuple, Type, Union  # noqa: F401

    from lomond.events import AnyEvent  # noqa: F401
    from lomond.protocol.extensions.base import Extension  # noqa: F401
    from lomond.protocol.extensions.deflate import DeflateCodec  # noqa: F401
    from lomond.protocol.frame import FrameHeader  # noqa: F401
    from lomond.protocol.limits import Limits  # noqa: F401
    from lomond.protocol.state import Lifecycle  # noqa: F401
    from lomond.stats import Stats  # noqa: F401

_WHOLE_TEXT = FIN | Opcode.TEXT
_WHOLE_BINARY = FIN | Opcode.BINARY
_DEFLATED_TEXT = FIN | RSV1 | Opcode.TEXT
_DEFLATED = (_DEFLATED_TEXT, FIN | RSV1 | Opcode.BINARY)

# Before a batch is made: more messages of a message's size must follow in the same read.
_MANY = 4
_BATCH = 64

# On 2.7 what is received becomes a bytearray, whose slices zlib doesn't take.
_IS_BYTEARRAY = indexable is not bytes


class Decoder(object):
    """Makes events of what the peer sends, until its Close frame or a fault.

    Parameters: ``is_client``, and the others as for `Connection`, whose state
    is ``lifecycle``.
    """

    __slots__ = (
        '_batch_bytes', '_clock', '_deflated', '_echo', '_extensions', '_header', '_leftover',
        '_lifecycle', '_max_message', '_may_be_short', '_message', '_missing', '_parser', '_parts',
        '_received', '_short_limit', '_stats', 'auto_pong', 'error', 'is_receiving', 'news',
        'pending', 'pong', 'receive_buffer', 'text_class', '__weakref__')

    def __init__(self, is_client, lifecycle, limits, stats, clock, text_class, message_parts):
        # type: (bool, Lifecycle, Limits, Stats, Optional[Callable[[], float]], Type[events.Text], Union[bool, Callable[[int, int], Any]]) -> None
        #: Answer pings with pongs.
        self.auto_pong = True  # type: bool
        #: False before the opening handshake, and once nothing that arrives can become an event.
        self.is_receiving = False  # type: bool
        #: The error that the peer's fault was, if there was one.
        self.error = None  # type: Optional[errors.ProtocolError]
        #: Where the next bytes from the peer may be received into, to be handed in as a part of
        #: it; None while they must come as bytes.
        self.receive_buffer = None  # type: Optional[memoryview]
        #: The frame that the protocol itself has to send, its opcode and payload, until the
        #: driver takes it: a Close, or the pong to the latest ping (RFC 6455 5.5.3).
        self.pending = None  # type: Optional[Tuple[int, bytes]]
        #: The payload of the latest pong, until the driver takes it.
        self.pong = None  # type: Optional[bytes]
        #: Not empty once one of these two was set, until the driver empties it. It stays the
        #: same list: a driver checks it before it passes on an event, and that has to be cheap.
        self.news = []  # type: List[int]
        self.text_class = text_class  # type: Type[events.Text]

        # The short way is the client's: it unmasks nothing.
        self._may_be_short = is_client
        self._extensions = ()  # type: Sequence[Extension]  # not permessage-deflate alone
        # The first bytes of whole deflated messages that take the short way.
        self._deflated = ()  # type: Tuple[int, ...]
        self._lifecycle = lifecycle
        self._stats = stats
        self._received = stats.received
        self._clock = clock
        self._parser = FrameParser(expects_mask=not is_client, limits=limits)
        self._message = MessageAssembler(limits, text_class, message_parts)
        # What is larger, or has a longer header, takes the long way.
        self._short_limit = min(
            size for size in (limits.frame, limits.message, 0xFFFF) if size is not None)
        self._max_message = limits.message

        self._leftover = b''        # received, and not yet a whole header or control frame
        self._missing = 0           # payload bytes of the present data frame still to come
        self._header = None  # type: Optional[FrameHeader]  # that frame's
        # Events of the piece of payload before the present position.
        self._parts = None  # type: Optional[Iterator[AnyEvent]]

    def start(self, deflate, extensions=()):
        # type: (Optional[DeflateCodec], Sequence[Extension]) -> None
        """Begin to receive, with the codec that was agreed on, or else with extensions."""
        self._message.deflate = deflate
        self._parser.compression = deflate is not None
        # In parts, a small message that inflates to a large one isn't made at once.
        if deflate is not None and not self._message.in_parts:
            self._deflated = _DEFLATED
        if extensions:
            self._extensions = extensions
            self._may_be_short = False
            self._message.is_transformed = True
            for extension in extensions:
                self._parser.rsv |= extension.rsv
        self.is_receiving = True

    def offer_receive_buffer(self):
        # type: () -> None
        """Have a `receive_buffer` for large messages, for a driver that can receive into it."""
        self._message.offers_buffer = True

    @property
    def held(self):
        # type: () -> Held
        """How much is held of what isn't whole yet."""
        payload, pieces, buffer = self._message.held
        return Held(len(self._leftover), payload, pieces, buffer)

    def free_memory(self):
        # type: () -> None
        """Free what is kept for large messages; it is allocated again when they come."""
        self._message.free()

    # -- the short way --

    def receive(self, data):
        # type: (bytes) -> Iterator[AnyEvent]
        """Yield the events in bytes from the peer. What the peer does wrong is one.

        The frame of an event is used up before the event is yielded: an iterator that is closed
        loses nothing, the rest waits for the next call.

        ``data`` may be the first part of `receive_buffer`, with bytes received right into it.
        """
        # The global is looked up at each call: an application's tests may replace it.
        received_time = time() if self._clock is None else self._clock()
        if self.receive_buffer is not None and isinstance(data, memoryview):
            event = self._buffer_filled(data, received_time)  # type: Optional[AnyEvent]
            if event is not None:
                yield event
            return
        buffer = data
        if _IS_BYTEARRAY or self._leftover or type(data) is not bytes:
            buffer = indexable(self._leftover + data if self._leftover else data)
            self._leftover = b''
        end = len(buffer)
        pos = 0
        message = self._message
        may_be_short = self._may_be_short and self._header is None and not message.in_message
        limit = self._short_limit
        text_class = self.text_class
        decode = text_class.from_utf8
        deflated = self._deflated
        messages = payload_bytes = 0    # of the short way
        waiting = None  # type: Optional[Iterator[AnyEvent]]    # of a batch
        is_short = True
        try:
            while self.is_receiving:
                # A whole message in one frame that is all here?
                if may_be_short and end - pos > 3:
                    first = buffer[pos]
                    if first == _WHOLE_TEXT or first == _WHOLE_BINARY or first in deflated:
                        length = buffer[pos + 1]
                        start = pos + 2
                        if length < LENGTH_16:
                            stop = start + length
                        elif length == LENGTH_16:
                            length = (buffer[start] << 8) | buffer[start + 1]
                            start += 2
                            stop = start + length if length >= LENGTH_16 else end + 1
                        else:
                            stop = end + 1
                        if stop <= end and length <= limit:
                            if stop < end and end - stop > _MANY * (stop - pos) \
                                    and first not in deflated:
                                begin = pos
                                batch = []  # type: List[AnyEvent]
                                waiting = iter(batch)   # first: Ctrl-C may come at any moment
                                pos = self._take_batch(buffer, pos, received_time, batch)
                                size = self._batch_bytes
                                for event in waiting:
                                    yield event
                                    if not self.is_receiving:
                                        return
                                waiting = None
                                messages += len(batch)
                                payload_bytes += size
                                continue
                            pos = stop
                            if first == _WHOLE_TEXT:
                                event = text_class(decode(buffer[start:stop]), received_time)
                            elif first == _WHOLE_BINARY:
                                event = Binary(bytes(buffer[start:stop]), received_time)
                            else:
                                payload = buffer[start:stop]
                                if _IS_BYTEARRAY:
                                    payload = bytes(payload)
                                payload = message.deflate.decompress_whole(  # type: ignore[union-attr]
                                    payload, self._max_message)
                                length = len(payload)
                                if first == _DEFLATED_TEXT:
                                    event = text_class(decode(payload), received_time)
                                else:
                                    event = Binary(payload, received_time)
                            # Counted after decoding: a message that is refused doesn't count.
                            messages += 1
                            payload_bytes += length
                            yield event
                            continue

                if pos == end and self._header is None and self._parts is None:
                    break
                try:
                    event, pos = self._next_event(buffer, pos, received_time)
                except BaseException:
                    # The peer's fault, or an extension's: where the frame ends isn't known.
                    self.is_receiving = is_short = False
                    raise
                if event is None:
                    break
                yield event
                if self._lifecycle.state == State.PEER_CLOSING:
                    # The user has handled Closing: now echo the code (RFC 6455 5.5.1).
                    self._want(Opcode.CLOSE, self._echo)
                may_be_short = self._may_be_short and self._header is None \
                    and not message.in_message
        except errors.ProtocolError as error:
            yield self._fail(error, received_time)
        except UnicodeDecodeError:
            if not is_short:
                raise       # an extension's own: the long way makes ProtocolError of bad text
            yield self._fail(invalid_utf8(), received_time)
        finally:
            if waiting is not None:
                # What wasn't yielded is left for the next call.
                pos = begin
                for _ in range(len(batch) - len(list(waiting))):
                    header, start = self._parser.read_header(buffer, pos)
                    pos = start + header.length     # type: ignore[union-attr]  # it is all here
                    messages += 1
                    payload_bytes += header.length  # type: ignore[union-attr]
            if self.is_receiving and pos < end:
                self._leftover = bytes(buffer[pos:])
            received = self._received
            received.wire_bytes += len(data)
            received.messages += messages
            received.payload_bytes += payload_bytes

    def _take_batch(self, buffer, pos, received_time, batch):
        # type: (Any, int, float, List[AnyEvent]) -> int
        """Append the events of whole small messages that aren't deflated, `_BATCH` at most.

        Returns the position after them, and sets `_batch_bytes` to the size of their payloads.
        Raises UnicodeDecodeError if the first is to blame, and then takes none.
        """
        end = len(buffer)
        limit = self._short_limit
        text_class = self.text_class
        is_plain = text_class is Text
        payload_bytes = 0
        try:
            while len(batch) < _BATCH and end - pos > 3:
                first = buffer[pos]
                length = buffer[pos + 1]
                start = pos + 2
                if length >= LENGTH_16:
                    if length != LENGTH_16:
                        break
                    length = (buffer[start] << 8) | buffer[start + 1]
                    if length < LENGTH_16:
                        break
                    start += 2
                stop = start + length
                if stop > end or length > limit:
                    break
                if first == _WHOLE_TEXT:
                    if is_plain:
                        # As its constructor does, without the call.
                        text = Text.__new__(Text)
                        text.text = decode_utf8(buffer[start:stop]) if _IS_BYTEARRAY \
                            else buffer[start:stop].decode('utf-8')
                        text.received_time = received_time
                        batch.append(text)
                    else:
                        batch.append(text_class(
                            text_class.from_utf8(buffer[start:stop]), received_time))
                elif first == _WHOLE_BINARY:
                    binary = Binary.__new__(Binary)
                    binary.data = \
                        bytes(buffer[start:stop]) if _IS_BYTEARRAY else buffer[start:stop]
                    binary.received_time = received_time
                    batch.append(binary)
                else:
                    break
                pos = stop
                payload_bytes += length
        except UnicodeDecodeError:
            if not batch:
                raise
        self._batch_bytes = payload_bytes
        return pos

    # -- the long way --

    def _next_event(self, buffer, pos, received_time):
        # type: (Union[bytes, bytearray], int, float) -> Tuple[Optional[AnyEvent], int]
        """Return the next event and the position after it.

        None, and the position up to which bytes were used, if more bytes are needed.
        Raises ProtocolError.
        """
        while True:
            if self._parts is not None:
                event = next(self._parts, None)
                if event is not None:
                    if not self._message.in_message:
                        self._count_message()
                    return event, pos
                self._parts = None
            if self._header is None:
                header, start = self._parser.read_header(buffer, pos)
                if header is None:
                    return None, pos
                if header.opcode & CONTROL_BIT:
                    stop = start + header.length
                    if stop > len(buffer):
                        return None, pos
                    payload = _unmask(bytes(buffer[start:stop]), header)
                    if self._extensions:
                        self._show(header)
                        payload = self._receive_control(payload)
                    return self._control_event(header.opcode, payload, received_time), stop
                if self._extensions:
                    self._show(header)
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
            payload = _unmask(bytes(buffer[pos:stop]), header)
            pos = stop
            if self._extensions or self._message.is_in_parts:
                pieces = receive_through(
                    self._extensions, payload, not self._missing, header.fin)
                if self._message.is_in_parts:
                    if not self._missing:
                        self._header = None
                    self._parts = self._message.parts(
                        pieces, not self._missing, is_last, received_time)
                    continue
                for piece in pieces:
                    self._message.add(piece, False)
                payload = b''
            self._message.add(payload, is_last)
            if self._missing:
                self.receive_buffer = self._message.receive_buffer
                return None, pos
            self._header = self.receive_buffer = None
            if is_last:
                return self._finish_message(received_time), pos

    def _receive_control(self, payload):
        # type: (bytes) -> bytes
        """Return what extensions make of a control frame's payload; raises ProtocolError."""
        result = b''
        for piece in receive_through(self._extensions, payload, True, True):
            result += piece
            if len(result) > MAX_CONTROL_PAYLOAD:
                raise errors.ProtocolError(
                    'extensions make a control frame larger than {} bytes', MAX_CONTROL_PAYLOAD)
        return result

    def _buffer_filled(self, view, received_time):
        # type: (memoryview, float) -> Optional[AnyEvent]
        """Go on after bytes were received into the buffer; return the event if it is full."""
        if not self.is_receiving:
            return None
        self._message.fill(view)
        self._received.wire_bytes += len(view)
        self._missing -= len(view)
        if self._missing:
            self.receive_buffer = self._message.receive_buffer
            return None
        self._header = self.receive_buffer = None
        return self._finish_message(received_time)

    def _show(self, header):
        # type: (FrameHeader) -> None
        for extension in reversed(self._extensions):
            extension.frame_inbound_header(header)

    def _finish_message(self, received_time):
        # type: (float) -> AnyEvent
        self._count_message()
        return self._message.finish(received_time)

    def _count_message(self):
        # type: () -> None
        self._received.messages += 1
        self._received.payload_bytes += self._message.size

    def _control_event(self, opcode, payload, received_time):
        # type: (int, bytes, float) -> AnyEvent
        if opcode == Opcode.PING:
            if self.auto_pong and self._lifecycle.state == State.OPEN:
                self._want(Opcode.PONG, payload)
            return events.Ping(payload, received_time)
        if opcode == Opcode.PONG:
            self._stats.pongs_received += 1
            self.pong = payload
            self.news.append(opcode)
            return events.Pong(payload, received_time)

        close = decode_close(payload)
        self.is_receiving = False
        self._echo = payload[:2]
        if self._lifecycle.move(Trigger.CLOSE_RECEIVED, close) == State.CLOSED:
            return events.Closed(close.code, close.reason, received_time)
        return events.Closing(close.code, close.reason, received_time)

    def take_pending(self):
        # type: () -> Optional[Tuple[int, bytes]]
        """Return the opcode and payload of `pending`, once; None if there is none."""
        pending, self.pending = self.pending, None
        return pending

    def _want(self, opcode, payload):
        # type: (int, bytes) -> None
        """Have the driver send a frame; a later one replaces it, and a Close is always the last."""
        self.pending = opcode, payload
        self.news.append(opcode)

    def _fail(self, error, received_time):
        # type: (errors.ProtocolError, float) -> events.ProtocolError
        """Fail the connection (RFC 6455 7.1.7): say why, and ignore what follows."""
        self.is_receiving = False
        self.error = error
        words = text_type(error)
        self._lifecycle.move(Trigger.FAILED)
        if self._lifecycle.may_close:
            self._want(Opcode.CLOSE, encode_close(error.close_code, words))
        return events.ProtocolError(
            words, critical=False, close_code=error.close_code, received_time=received_time)


def _unmask(payload, header):
    # type: (bytes, FrameHeader) -> bytes
    """Unmask a piece of a payload, and turn the key for the next piece."""
    key = header.masking_key
    if key is None:
        return payload
    turn = len(payload) % KEY_SIZE
    header.masking_key = key[turn:] + key[:turn]
    return apply_mask(payload, key)
