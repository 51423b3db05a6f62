"""Payloads to messages: fragments, UTF-8, inflating.

Takes pieces of payload as they are received, of whole fragments or not, so that bad text or too
much data is found at the first wrong byte. It sees no control frames.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING, Utf8Decoder, join_text
from lomond.errors import InvalidPayload, PayloadTooLarge, ProtocolError
from lomond.events import Binary, Text
from lomond.opcode import Opcode
from lomond.protocol.gathering import MAX_BUFFERED, MIN_BUFFERED, Pieces, ReceiveBuffer

if TYPE_CHECKING:
    from typing import Any, Optional, Tuple, Type, Union  # noqa: F401

    from lomond.protocol.extensions.deflate import PermessageDeflate  # noqa: F401
    from lomond.protocol.frame import FrameHeader  # noqa: F401
    from lomond.protocol.limits import Limits  # noqa: F401


class MessageAssembler(object):
    """Gathers one message at a time from the payloads of its frames.

    Parameters: ``limits``; ``text_class``, the class of events of texts. Set
    ``deflate`` once permessage-deflate is agreed on, and ``offers_buffer`` if
    the driver can receive into `receive_buffer`.
    """

    __slots__ = (
        '_buffer', '_decoder', '_fragments', '_gathered', '_inflated_size', '_inflater',
        '_is_text', '_max_fragments', '_max_size', '_text_class', '_wire_size', 'deflate',
        'in_message', 'offers_buffer')

    def __init__(self, limits, text_class=Text):
        # type: (Limits, Type[Text]) -> None
        self._text_class = text_class
        self.deflate = None  # type: Optional[PermessageDeflate]
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
        return self._wire_size if self._inflater is None else self._inflated_size

    def begin_frame(self, header):
        # type: (FrameHeader) -> None
        """Begin with a data frame; raises ProtocolError if it can't follow, or is too large."""
        if header.opcode == Opcode.CONTINUATION:
            if not self.in_message:
                raise ProtocolError('a CONTINUATION frame, but no message to continue')
            self._fragments += 1
        else:
            if self.in_message:
                raise ProtocolError(
                    'a {} frame before the last message ended', Opcode.to_str(header.opcode))
            self._begin_message(header)
        if self._max_fragments is not None and self._fragments > self._max_fragments:
            raise PayloadTooLarge('a message of more than {} fragments', self._max_fragments)
        self._wire_size += header.length
        if self._max_size is not None and self._wire_size > self._max_size:
            raise PayloadTooLarge(
                'a message of {} bytes or more is over max_message_size ({} bytes)',
                self._wire_size, self._max_size)

    def _begin_message(self, header):
        # type: (FrameHeader) -> None
        self.in_message = True
        self._is_text = header.opcode == Opcode.TEXT
        self._inflater = self.deflate if header.rsv1 else None
        self._fragments = 1
        self._wire_size = 0
        self._inflated_size = 0
        if self._is_text:
            self._decoder = Utf8Decoder()  # type: Optional[Utf8Decoder]
            self._gathered = Pieces(join_text)  # type: Union[Pieces, ReceiveBuffer]
        else:
            self._decoder = None
            self._gathered = self._buffer_for(header) or Pieces(b''.join)

    def _buffer_for(self, header):
        # type: (FrameHeader) -> Optional[ReceiveBuffer]
        """Return the buffer for a message that can be received as it is, neither small nor huge."""
        if not self.offers_buffer or not header.fin or header.rsv1 \
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
        if self._decoder is None:
            self._gathered.add(payload)
            return
        try:
            self._gathered.add(self._decoder.decode(payload, is_last))
        except UnicodeDecodeError:
            raise invalid_utf8()

    def finish(self, received_time):
        # type: (float) -> Union[Text, Binary]
        """Return the message's event."""
        self.in_message = False
        content = self._gathered.join()  # type: Any
        del self._gathered
        if self._is_text:
            return self._text_class(content, received_time)
        return Binary(content, received_time)


def invalid_utf8():
    # type: () -> InvalidPayload
    """Make the error for text that isn't UTF-8 (RFC 6455 8.1).

    Without the codec's words, which depend on how the bytes were cut.
    """
    return InvalidPayload('text that is not UTF-8')
