"""Payloads to messages: fragments, UTF-8, inflating.

Takes pieces of payload as they are received, of whole fragments or not, so that bad text or too
much data is found at the first wrong byte. It sees no control frames.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING, Utf8Decoder, join_text
from lomond.errors import InvalidPayload, PayloadTooLarge, ProtocolError
from lomond.events import Binary, BinaryPart, Text, TextPart, Utf8Text, Utf8TextPart
from lomond.opcode import Opcode
from lomond.protocol.extensions.deflate import PART
from lomond.protocol.frame import RSV1
from lomond.protocol.gathering import MAX_BUFFERED, MIN_BUFFERED, Pieces, ReceiveBuffer

if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, Optional, Tuple, Type, Union  # noqa: F401

    from lomond.protocol.extensions.deflate import DeflateCodec  # noqa: F401
    from lomond.protocol.frame import FrameHeader  # noqa: F401
    from lomond.protocol.limits import Limits  # noqa: F401


class MessageAssembler(object):
    """Gathers one message at a time from the payloads of its frames.

    Parameters: ``limits``; ``text_class``, the class of events of texts;
    ``in_parts``, whether to make events of the parts of messages: a bool, or
    a function of the opcode and of how many bytes have been announced, until it says so.
    Set ``deflate`` once permessage-deflate is agreed on, ``is_transformed`` if
    other extensions are, and ``offers_buffer`` if the driver can receive into
    `receive_buffer`.
    """

    __slots__ = (
        '_buffer', '_decoder', '_fragments', '_gathered', '_has_begun_frame', '_inflated_size',
        '_inflater',
        '_is_text', '_max_fragments', '_max_size', '_text_class', '_wire_size', 'deflate',
        'in_message', 'in_parts', 'is_in_parts', 'is_transformed', 'offers_buffer')

    def __init__(self, limits, text_class=Text, in_parts=False):
        # type: (Limits, Type[Text], Union[bool, Callable[[int, int], Any]]) -> None
        self._text_class = text_class
        self.in_parts = in_parts  # type: Union[bool, Callable[[int, int], Any]]
        #: True while the present message is to become an event for each part.
        self.is_in_parts = False  # type: bool
        self.is_transformed = False  # type: bool
        self.deflate = None  # type: Optional[DeflateCodec]
        self.offers_buffer = False  # type: bool
        self._buffer = None  # type: Optional[ReceiveBuffer]
        self._max_size = limits.message
        self._max_fragments = limits.fragments
        #: True if a message has begun and not ended.
        self.in_message = False  # type: bool

    @property
    def size(self):
        # type: () -> int
        """How many bytes of payload there are so far, inflated."""
        return self._inflated_size if self._inflater is not None or self.is_transformed \
            else self._wire_size

    def begin_frame(self, header):
        # type: (FrameHeader) -> None
        """Begin with a data frame; raises ProtocolError if it can't follow, or is too large."""
        if header.opcode == Opcode.CONTINUATION:
            if not self.in_message:
                raise ProtocolError('a CONTINUATION frame, but no message to continue')
            self._fragments += 1
            if not self.is_in_parts and self.in_parts:
                self.is_in_parts = self._goes_in_parts(self._wire_size + header.length)
        else:
            if self.in_message:
                raise ProtocolError(
                    'a {} frame before the last message ended', Opcode.to_str(header.opcode))
            self._begin_message(header)
        if self._max_fragments is not None and self._fragments > self._max_fragments \
                and not self.is_in_parts:
            raise PayloadTooLarge('a message of more than {} fragments', self._max_fragments)
        self._wire_size += header.length
        if self._max_size is not None and self._wire_size > self._max_size:
            raise PayloadTooLarge(
                'a message of {} bytes or more is over max_message_size ({} bytes)',
                self._wire_size, self._max_size)

    def _begin_message(self, header):
        # type: (FrameHeader) -> None
        self._is_text = header.opcode == Opcode.TEXT
        self.is_in_parts = self._goes_in_parts(header.length)
        self.in_message = True
        self._inflater = self.deflate if header.rsv & RSV1 else None
        self._fragments = 1
        self._has_begun_frame = False   # there was a part of the present frame, not its last
        self._wire_size = 0
        self._inflated_size = 0
        if self._is_text:
            self._decoder = Utf8Decoder()  # type: Optional[Utf8Decoder]
            self._gathered = Pieces(
                b''.join if self._is_utf8 else join_text)  # type: Union[Pieces, ReceiveBuffer]
        else:
            self._decoder = None
            self._gathered = self._buffer_for(header) or Pieces(b''.join)

    def _goes_in_parts(self, size):
        # type: (int) -> bool
        in_parts = self.in_parts
        return bool(in_parts(Opcode.TEXT if self._is_text else Opcode.BINARY, size)
                    if callable(in_parts) else in_parts)

    def _buffer_for(self, header):
        # type: (FrameHeader) -> Optional[ReceiveBuffer]
        """Return the buffer for a message that can be received as it is, neither small nor huge."""
        if not self.offers_buffer or self.is_in_parts or not header.fin or header.rsv \
                or header.masking_key is not None \
                or not MIN_BUFFERED <= header.length <= MAX_BUFFERED:
            return None
        if self._buffer is None:
            self._buffer = ReceiveBuffer()
        return self._buffer.begin(header.length)

    @property
    def receive_buffer(self):
        # type: () -> Optional[memoryview]
        """Where the next bytes of the present frame may be received into, or None."""
        buffer = self._gathered
        return buffer.rest if isinstance(buffer, ReceiveBuffer) else None

    def fill(self, view):
        # type: (memoryview) -> None
        """Count bytes that were put at the beginning of `receive_buffer`; ValueError for others."""
        buffer = self._gathered
        if not isinstance(buffer, ReceiveBuffer) or not buffer.owns(view):
            raise ValueError('a memoryview must be a part of receive_buffer')
        buffer.fill(len(view))

    @property
    def held(self):
        # type: () -> Tuple[int, int, int]
        """Bytes (of text, characters) held, the pieces they are in, and bytes of memory kept."""
        memory = 0 if self._buffer is None else self._buffer.memory_size
        if not self.in_message:
            return 0, 0, memory
        return self._gathered.size, self._gathered.count, memory

    def free(self):
        # type: () -> None
        """Free the receive buffer, unless a message is in it."""
        if not self.in_message or self._gathered is not self._buffer:
            self._buffer = None

    def add(self, payload, is_last):
        # type: (bytes, bool) -> None
        """Add a piece of payload, the message's last or not.

        Raises InvalidPayload or PayloadTooLarge.
        """
        if self._inflater is not None:
            limit = None if self._max_size is None else self._max_size - self._inflated_size
            payload = self._inflater.decompress(payload, limit, is_last)
            self._inflated_size += len(payload)
        elif self.is_transformed:
            self._count(payload)
        text = self._decode(payload, is_last)
        self._gathered.add(payload if text is None or self._is_utf8 else text)

    def _count(self, data):
        # type: (bytes) -> None
        """Count what extensions made of the payload."""
        self._inflated_size += len(data)
        if self._max_size is not None and self._inflated_size > self._max_size:
            raise PayloadTooLarge(
                'extensions make a message larger than max_message_size ({} bytes)',
                self._max_size)

    def _decode(self, data, is_last):
        # type: (bytes, bool) -> Any
        """Return the text in a piece, for `join_text`; None if the message is binary."""
        if self._decoder is None:
            return None
        try:
            return self._decoder.decode(data, is_last)
        except UnicodeDecodeError:
            raise invalid_utf8()

    @property
    def _is_utf8(self):
        # type: () -> bool
        return issubclass(self._text_class, Utf8Text)

    # -- messages in parts --

    def parts(self, pieces, is_frame_end, is_last, received_time):
        # type: (Iterable[bytes], bool, bool, float) -> Iterator[Union[Text, Binary]]
        """Yield the events of parts that pieces of payload become.

        Parameters: the pieces, and whether the frame and the message end with them. A part that
        would be empty comes only at the end of its message, or of a frame that had parts.
        Raises InvalidPayload or PayloadTooLarge.
        """
        if self._gathered.count:
            gathered = self._take_gathered()
            if gathered:
                yield self._part(gathered, True, False, received_time)
        held = None  # type: Any
        for content in self._contents(pieces, is_last):
            if held is not None:
                yield self._part(held, False, False, received_time)
            held = content
        if is_last:
            self.in_message = False
        elif held is None and not (is_frame_end and self._has_begun_frame):
            return
        self._has_begun_frame = not is_frame_end
        yield self._part(held, is_frame_end, is_last, received_time)

    def _take_gathered(self):
        # type: () -> Any
        """Return the text or bytes of whole frames that came before the message goes in parts."""
        content = self._gathered.join()  # type: Any
        self._gathered = Pieces(b''.join)
        # The decoder has the bytes of a character that isn't complete.
        return content.decode('utf-8', 'ignore') if self._is_text and self._is_utf8 else content

    def _contents(self, pieces, is_last):
        # type: (Iterable[bytes], bool) -> Iterator[Any]
        """Yield text or bytes, none of them empty."""
        for piece in self._inflate(pieces, is_last):
            text = self._decode(piece, False)
            content = piece if text is None else join_text([text])
            if content:
                yield content
        self._decode(b'', is_last)      # raises in the middle of a character

    def _inflate(self, pieces, is_last):
        # type: (Iterable[bytes], bool) -> Iterator[bytes]
        for piece in pieces:
            if self._inflater is not None:
                for data in self._inflate_piece(piece, False):
                    yield data
                continue
            if self.is_transformed:
                self._count(piece)
            yield piece
        if is_last and self._inflater is not None:
            for data in self._inflate_piece(b'', True):
                yield data

    def _inflate_piece(self, piece, is_last):
        # type: (bytes, bool) -> Iterator[bytes]
        limit = None if self._max_size is None else self._max_size - self._inflated_size
        inflater = self._inflater  # type: Any
        for data in inflater.inflate(piece, limit, is_last, PART):
            self._inflated_size += len(data)
            yield data

    def _part(self, content, frame_finished, message_finished, received_time):
        # type: (Any, bool, bool, float) -> Union[Text, Binary]
        if not self._is_text:
            return BinaryPart(content or b'', frame_finished, message_finished, received_time)
        if not self._is_utf8:
            return TextPart(content or u'', frame_finished, message_finished, received_time)
        return Utf8TextPart(
            (content or u'').encode('utf-8'), frame_finished, message_finished, received_time)

    def finish(self, received_time):
        # type: (float) -> Union[Text, Binary]
        """Return the message's event."""
        self.in_message = False
        content = self._gathered.join()  # type: Any
        self._gathered = None   # type: ignore[assignment]  # frees it
        if self._is_text:
            return self._text_class(content, received_time)
        return Binary(content, received_time)


def invalid_utf8():
    # type: () -> InvalidPayload
    """Make the error for text that isn't UTF-8 (RFC 6455 8.1).

    Without the codec's words, which depend on how the bytes were cut.
    """
    return InvalidPayload('text that is not UTF-8')
