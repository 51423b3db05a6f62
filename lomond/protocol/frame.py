"""Frames on the wire: the bits, the header, to bytes and back (RFC 6455 5.2).

Keeps no bytes and no state: `encoder` and `decoder` do.
"""

from __future__ import absolute_import, division, print_function

import struct

from lomond._compat import TYPE_CHECKING, to_bytes
from lomond.errors import FrameBuildError, PayloadTooLarge, ProtocolError
from lomond.opcode import Opcode
from lomond.protocol.mask import (
    WAYS,
    Masker,
    apply_mask,
    compiled,
    mask_by_integer,
    mask_by_wsaccel,
    to_integer,
)

if TYPE_CHECKING:
    from typing import Callable, Iterator, Optional, Tuple, Union  # noqa: F401

    from lomond.protocol.limits import Limits  # noqa: F401

FIN = 0x80
RSV1 = 0x40             # set on the first frame of a compressed message (RFC 7692 6)
RSV2 = 0x20
RSV3 = 0x10
RSV_BITS = RSV1 | RSV2 | RSV3
OPCODE_BITS = 0x0F
CONTROL_BIT = 0x08      # in the opcode

MASKED = 0x80
LENGTH_BITS = 0x7F
LENGTH_16 = 126         # a 16-bit length follows
LENGTH_64 = 127         # a 64-bit length follows
KEY_SIZE = 4

MAX_CONTROL_PAYLOAD = 125

#: A frame with a larger payload, in bytes, goes out in pieces.
PIECE = 64 * 1024

#: The size of those that are masked: the compiled core masks one in less time than a system call
#: takes, so there are fewer; but they fit into the processor's cache, and malloc doesn't map them.
MASKED_PIECE = PIECE if compiled is None else 96 * 1024

OPCODES = frozenset([
    Opcode.CONTINUATION, Opcode.TEXT, Opcode.BINARY,
    Opcode.CLOSE, Opcode.PING, Opcode.PONG,
])

#: The size of the header of a client's small frame: its two bytes, and the masking key.
SHORT_HEADER = 2 + KEY_SIZE

_pack_short = struct.Struct('!BB').pack
_pack_short_masked = struct.Struct('!BB4s').pack
_pack_16 = struct.Struct('!BBH').pack
_pack_64 = struct.Struct('!BBQ').pack
_unpack_16 = struct.Struct('!H').unpack
_unpack_64 = struct.Struct('!Q').unpack


class FrameHeader(object):
    """A frame's header, read and checked."""

    __slots__ = ('opcode', 'fin', 'rsv', 'length', 'masking_key')

    def __init__(self, opcode, fin, rsv, length, masking_key):
        # type: (int, bool, int, int, Optional[bytes]) -> None
        self.opcode = opcode  # type: int
        self.fin = fin  # type: bool
        #: Those of `RSV1`, `RSV2` and `RSV3` that are set.
        self.rsv = rsv  # type: int
        #: Bytes of payload, as received.
        self.length = length  # type: int
        self.masking_key = masking_key  # type: Optional[bytes]


# -- to bytes --

def encode_frame(opcode, payload, fin=True, rsv=0, masking_key=None):
    # type: (int, bytes, bool, int, Optional[bytes]) -> bytes
    """Build a frame.

    Parameters: the opcode; the payload as bytes, never changed; ``fin``, if
    it ends its message; ``rsv``, those of `RSV1`, `RSV2` and `RSV3` to set;
    ``masking_key``, 4 bytes for a client's frame and None for a server's.

    Raises FrameBuildError for a frame that RFC 6455 forbids.
    """
    first = _first_byte(opcode, len(payload), fin, rsv)
    if masking_key is None:
        return _pack_header(first, 0, len(payload)) + payload
    return masked_frame(first, payload, masking_key)


def cut_frame(header, payload, masking_key):
    # type: (bytes, Union[bytes, memoryview], Optional[bytes]) -> Iterator[Union[bytes, memoryview]]
    """Yield a frame piece by piece, each masked when it is asked for.

    So a large payload isn't in memory twice, and a piece still is in the
    processor's cache when it is sent.
    """
    view = memoryview(payload)
    if masking_key is None:
        yield header + to_bytes(view[:PIECE])
        if len(view) > PIECE:
            yield view[PIECE:]
        return
    for start in range(0, len(view) or 1, MASKED_PIECE):
        # MASKED_PIECE is a multiple of 4, so each piece starts with the key's first byte.
        piece = apply_mask(view[start:start + MASKED_PIECE], masking_key)
        yield piece if start else header + piece


def encode_header(opcode, length, fin, rsv, masking_key):
    # type: (int, int, bool, int, Optional[bytes]) -> bytes
    """Build a frame's header, with the masking key at its end; parameters as for `encode_frame`."""
    first = _first_byte(opcode, length, fin, rsv)
    if masking_key is None:
        return _pack_header(first, 0, length)
    return _pack_header(first, MASKED, length) + masking_key


def _first_byte(opcode, length, fin, rsv):
    # type: (int, int, bool, int) -> int
    """Return the first byte of a frame; raises FrameBuildError for one that RFC 6455 forbids."""
    if opcode & CONTROL_BIT and (length > MAX_CONTROL_PAYLOAD or not fin):
        # RFC 6455 5.5: control frames are short and whole.
        raise FrameBuildError(
            'a {} frame carries at most 125 bytes, in one fragment',
            Opcode.to_str(opcode))
    if opcode not in OPCODES:
        raise FrameBuildError('{} is not an opcode of RFC 6455', opcode)
    return opcode | rsv | (FIN if fin else 0)


def _pack_header(first, mask_bit, length):
    # type: (int, int, int) -> bytes
    if length < LENGTH_16:
        return _pack_short(first, mask_bit | length)
    if length <= 0xFFFF:
        return _pack_16(first, mask_bit | LENGTH_16, length)
    return _pack_64(first, mask_bit | LENGTH_64, length)


# -- masked frames: the ways to make one --

def masked_frame_by_header(first, payload, key):
    # type: (int, bytes, bytes) -> bytes
    return _pack_header(first, MASKED, len(payload)) + key + apply_mask(payload, key)


# For a client's small message: these call no other function in Python.

def small_frame_by_wsaccel(first, payload, key):
    # type: (int, bytes, bytes) -> bytes
    masked = Masker(key).process(payload)  # type: bytes
    return _pack_short_masked(first, MASKED | len(payload), key) + masked


def small_frame_by_integer(first, payload, key):
    # type: (int, bytes, bytes) -> bytes
    length = len(payload)
    masked = to_integer(payload, 'little') ^ to_integer((key * 32)[:length], 'little')  # type: int
    return _pack_short_masked(first, MASKED | length, key) + masked.to_bytes(length, 'little')


#: Return a masked frame of its first byte, its payload, and a key of 4 bytes.
masked_frame = getattr(
    compiled, 'masked_frame', masked_frame_by_header)  # type: Callable[[int, bytes, bytes], bytes]

#: The same, for a payload of at most 125 bytes.
masked_small_frame = {
    mask_by_wsaccel: small_frame_by_wsaccel, mask_by_integer: small_frame_by_integer,
}.get(WAYS[0], masked_frame)  # type: Callable[[int, bytes, bytes], bytes]


# -- and back --

class FrameParser(object):
    """Reads the headers of frames: every check that needs no more than the header.

    Parameters: ``expects_mask``, whether the peer must mask (a client must,
    a server must not); ``limits``. Set ``compression`` once permessage-deflate
    is agreed on: until then RSV1 is an error. Set ``rsv`` to the bits that
    other extensions use.
    """

    __slots__ = (
        '_max_payload', 'compression', 'expects_mask', 'rsv')

    def __init__(self, expects_mask, limits):
        # type: (bool, Limits) -> None
        self.expects_mask = expects_mask  # type: bool
        self.compression = False  # type: bool
        self.rsv = 0  # type: int
        self._max_payload = limits.frame

    def read_header(self, buffer, pos):
        # type: (Union[bytes, bytearray], int) -> Tuple[Optional[FrameHeader], int]
        """Read the header at a position in a buffer.

        Returns it and the position of the payload, or None and ``pos`` while
        bytes are missing. Raises ProtocolError as soon as the first two bytes
        show a fault.
        """
        available = len(buffer) - pos
        if available < 2:
            return None, pos
        first = buffer[pos]
        second = buffer[pos + 1]
        self._check(first, second)

        start = pos + 2
        length = second & LENGTH_BITS
        key_size = KEY_SIZE if self.expects_mask else 0
        if length < LENGTH_16:
            length_size = 0
        else:
            length_size = 2 if length == LENGTH_16 else 8
        if available < 2 + length_size + key_size:
            return None, pos
        if length_size:
            length = self._extended_length(bytes(buffer[start:start + length_size]))
            start += length_size
        # A limit below 125 bytes is for messages, not for control frames.
        if (self._max_payload is not None and length > self._max_payload
                and not first & CONTROL_BIT):
            raise PayloadTooLarge(
                'a frame of {} bytes is over max_message_size ({} bytes)',
                length, self._max_payload)

        masking_key = None
        if key_size:
            masking_key = bytes(buffer[start:start + key_size])
            start += key_size
        header = FrameHeader(
            opcode=first & OPCODE_BITS,
            fin=bool(first & FIN),
            rsv=first & RSV_BITS,
            length=length,
            masking_key=masking_key,
        )
        return header, start

    def _check(self, first, second):
        # type: (int, int) -> None
        """Apply RFC 6455 5.2 and 5.5 to the first two bytes of a frame."""
        opcode = first & OPCODE_BITS
        if opcode not in OPCODES:
            raise ProtocolError('reserved opcode 0x{:X}', opcode)
        is_control = opcode & CONTROL_BIT

        unknown = first & RSV_BITS & ~self.rsv
        if unknown & (RSV2 | RSV3):
            raise ProtocolError('RSV2 or RSV3 is set, but no extension was agreed on that uses it')
        if unknown:
            # RFC 7692 6.1: only the first frame of a data message has it.
            if not self.compression:
                raise ProtocolError('RSV1 is set, but no compression was agreed on')
            if is_control or opcode == Opcode.CONTINUATION:
                raise ProtocolError('RSV1 is set on a {} frame', Opcode.to_str(opcode))

        if bool(second & MASKED) != self.expects_mask:
            raise ProtocolError(
                'an unmasked frame from a client' if self.expects_mask
                else 'a masked frame from a server')
        if is_control:
            if not first & FIN:
                raise ProtocolError('a fragmented {} frame', Opcode.to_str(opcode))
            if second & LENGTH_BITS > MAX_CONTROL_PAYLOAD:
                raise ProtocolError('a {} frame over 125 bytes', Opcode.to_str(opcode))

    @staticmethod
    def _extended_length(data):
        # type: (bytes) -> int
        """Decode a 16 or 64-bit length; RFC 6455 5.2 requires the shortest form."""
        length = (_unpack_16 if len(data) == 2 else _unpack_64)(data)[0]  # type: int
        if length < LENGTH_16 or (len(data) == 8 and length <= 0xFFFF):
            raise ProtocolError('a payload length is not in its shortest form')
        if length >> 63:
            raise ProtocolError('the highest bit of a payload length is set')
        return length
