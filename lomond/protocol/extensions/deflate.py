"""The codec of permessage-deflate (RFC 7692 7.2): deflating, and bounded inflating.

How it is agreed on is in `permessage_deflate`.
"""

from __future__ import absolute_import, division, print_function

import zlib

from lomond._compat import TYPE_CHECKING
from lomond.errors import InvalidPayload, PayloadTooLarge
from lomond.protocol.accel import find_zlib

if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, Optional, Tuple  # noqa: F401

#: RFC 7692 7.2.1: what a sender takes off each message, a receiver puts back.
_TAIL = b'\x00\x00\xff\xff'

#: RFC 7692 7.2.3.6: an empty message; zlib flushes to nothing the second time.
_EMPTY = b'\x00'

#: An encoder ends its deflate stream (BFINAL, RFC 7692 7.2.3.4) once a message, if ever. A message
#: full of tiny streams would cost quadratic time.
MAX_STREAM_ENDS = 8

#: The most that is inflated at once, in bytes: zlib takes no length beyond a C long.
SLICE = 16 * 1024 * 1024

#: The most that a message received in parts inflates to at once, in bytes.
PART = 64 * 1024


class SharedPayload(bytes):
    """The payload of a message for many connections: deflated once for all that can share that."""

    def __init__(self, _payload):
        # type: (bytes) -> None
        super(SharedPayload, self).__init__()
        #: What it was deflated to, by the options of the codec.
        self.deflated = {}  # type: Dict[Tuple[int, int, int], bytes]


class DeflateCodec(object):
    """Deflates and inflates the messages of one open WebSocket, as was agreed on.

    Parameters: ``deflate_bits``, the window of what is sent (8 to 15), and
    ``deflate_takeover``, whether it is kept from message to message;
    ``inflate_bits`` and ``inflate_takeover``, the same of what is received;
    ``level`` (-1 to 9) and ``mem_level`` (1 to 9), zlib's.

    The windows, some 300 KiB, are allocated with the first message.
    """

    def __init__(self, deflate_bits=15, deflate_takeover=True,
                 inflate_bits=15, inflate_takeover=True,
                 level=zlib.Z_DEFAULT_COMPRESSION, mem_level=8):
        # type: (int, bool, int, bool, int, int) -> None
        # zlib has no raw window of 8 bits to deflate with. Its window of 9
        # never looks back over 250 bytes, so an 8-bit inflater understands it.
        self.deflate_bits = max(deflate_bits, 9)  # type: int
        self.deflate_takeover = deflate_takeover
        self.inflate_bits = inflate_bits
        self.inflate_takeover = inflate_takeover
        self.level = level
        self.mem_level = mem_level
        self._zlib = find_zlib()
        self._deflater = None  # type: Any
        self._inflater = None  # type: Any
        self._has_begun = False     # a first byte of the present message was inflated
        self._stream_ends = 0

    def compress(self, payload):
        # type: (bytes) -> bytes
        """Deflate a whole message. Calls must be in the order of sending."""
        if not payload:
            return _EMPTY
        if not self.deflate_takeover and isinstance(payload, SharedPayload):
            # The result depends on no earlier message.
            options = self.deflate_bits, self.level, self.mem_level
            if options not in payload.deflated:
                payload.deflated[options] = self._deflate(payload)
            return payload.deflated[options]
        return self._deflate(payload)

    def _deflate(self, payload):
        # type: (bytes) -> bytes
        deflater = self._deflater
        if deflater is None:
            deflater = self._new_deflater()
            if self.deflate_takeover:
                self._deflater = deflater
        data = deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)  # type: bytes
        return data[:-len(_TAIL)]

    def _new_deflater(self):
        # type: () -> Any
        return self._zlib.compressobj(
            self.level, zlib.DEFLATED, -self.deflate_bits, self.mem_level)

    def compress_part(self, payload, is_last):
        # type: (bytes, bool) -> bytes
        """Deflate the payload of a fragment; all of a message's must be, with none in between."""
        deflater = self._deflater
        if deflater is None:
            deflater = self._deflater = self._new_deflater()
        data = deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)  # type: bytes
        if is_last:
            # A flush with nothing new gives nothing: the peer appends the tail to half a block.
            data = data[:-len(_TAIL)] if data else _EMPTY
            if not self.deflate_takeover:
                self._deflater = None
        return data

    def decompress(self, data, limit, is_last):
        # type: (bytes, Optional[int], bool) -> bytes
        """Inflate a piece of a message, the last or not.

        Stops at ``limit`` bytes (None: no limit) with PayloadTooLarge.
        Raises InvalidPayload for what isn't deflated data.
        """
        return b''.join(self.inflate(data, limit, is_last))

    def inflate(self, data, limit, is_last, size=SLICE):
        # type: (bytes, Optional[int], bool, int) -> Iterator[bytes]
        """Yield what a piece of a message inflates to, in slices of ``size`` bytes at most.

        Otherwise as `decompress`. Use it to its end before the next piece.
        """
        if is_last:
            if data or self._has_begun:
                # Not for an empty message of no bytes at all, which some peers send: the tail
                # alone would be half a block.
                data += _TAIL
            self._has_begun = False
        elif data:
            self._has_begun = True
        if data:
            for piece in self._slices(self._inflate(data, limit, size), limit, is_last, size):
                yield piece
        if is_last:
            self._stream_ends = 0
            if not self.inflate_takeover:
                self._inflater = None

    def decompress_whole(self, data, limit):
        # type: (bytes, Optional[int]) -> bytes
        """Inflate a whole message, while no other has begun.

        As ``decompress(data, limit, True)``, only faster.
        """
        inflater = self._inflater
        if inflater is None or not data:
            return self.decompress(data, limit, True)
        # There is an inflater from the messages before, so the window is kept. As `_inflate`
        # does it, without the call.
        most = SLICE if limit is None or limit >= SLICE else limit + 1
        try:
            message = inflater.decompress(data + _TAIL, most)  # type: bytes
        except self._zlib.error as error:
            raise _bad_data(error)
        if len(message) == most or inflater.unused_data:
            message = b''.join(self._slices(message, limit, True, SLICE))
            self._stream_ends = 0
        return message

    def _inflate(self, data, limit, size):
        # type: (bytes, Optional[int], int) -> bytes
        """Inflate once, to ``size`` bytes at most.

        Not further than one byte beyond the limit: it shows that there is more.
        """
        inflater = self._inflater
        if inflater is None:
            inflater = self._inflater = self._zlib.decompressobj(-self.inflate_bits)
        most = size if limit is None or limit >= size else limit + 1
        try:
            piece = inflater.decompress(data, most)  # type: bytes
        except self._zlib.error as error:
            raise _bad_data(error)
        return piece

    def _slices(self, piece, limit, is_last, size):
        # type: (bytes, Optional[int], bool, int) -> Iterator[bytes]
        """Yield a piece just inflated, and what else the same data inflates to.

        ``is_last``: `_TAIL` is at the end of this data.
        """
        while True:
            if limit is not None:
                limit -= len(piece)
                if limit < 0:
                    raise PayloadTooLarge(
                        'a compressed message inflates to more than max_message_size')
            yield piece
            data = self._inflater.unconsumed_tail
            if not data and self._inflater.unused_data:
                data = self._inflater.unused_data
                self._restart()
                if is_last and len(data) <= len(_TAIL):
                    # Of the tail alone a new stream would keep half a block for the next message.
                    data = b''
            if not data:
                return
            piece = self._inflate(data, limit, size)

    def release(self):
        # type: () -> None
        """Free the windows at the end of a connection, whose WebSocket may be kept for long."""
        self._deflater = self._inflater = None

    def _restart(self):
        # type: () -> None
        """Begin another deflate stream after the peer ended one (BFINAL)."""
        self._inflater = None
        self._stream_ends += 1
        if self._stream_ends > MAX_STREAM_ENDS:
            raise InvalidPayload('a compressed message ends its deflate stream too often')


def _bad_data(error):
    # type: (Exception) -> InvalidPayload
    return InvalidPayload('compressed data that does not inflate: {}', error)
