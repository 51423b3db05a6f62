"""Frames on the wire: the bits, the header, the encoding (RFC 6455 5.2)."""

from __future__ import absolute_import, division, print_function

import struct

from lomond._compat import TYPE_CHECKING
from lomond.errors import FrameBuildError
from lomond.opcode import Opcode
from lomond.protocol.mask import apply_mask, apply_mask_to_few, find_numpy, mask_by_numpy

if TYPE_CHECKING:
    from typing import Iterator, Optional, Union  # noqa: F401

FIN = 0x80
RSV1 = 0x40             # set on the first frame of a compressed message (RFC 7692 6)
RSV2 = 0x20
RSV3 = 0x10
OPCODE_BITS = 0x0F
CONTROL_BIT = 0x08      # in the opcode

MASKED = 0x80
LENGTH_BITS = 0x7F
LENGTH_16 = 126         # a 16-bit length follows
LENGTH_64 = 127         # a 64-bit length follows
KEY_SIZE = 4

MAX_CONTROL_PAYLOAD = 125

#: A large frame goes out in pieces of so many bytes.
PIECE = 64 * 1024

OPCODES = frozenset([
    Opcode.CONTINUATION, Opcode.TEXT, Opcode.BINARY,
    Opcode.CLOSE, Opcode.PING, Opcode.PONG,
])

#: The header of a small client's frame: its two bytes, and the masking key.
pack_short_masked = struct.Struct('!BB4s').pack
SHORT_HEADER = 2 + KEY_SIZE

_pack_short = struct.Struct('!BB').pack
_pack_16 = struct.Struct('!BBH').pack
_pack_64 = struct.Struct('!BBQ').pack


class FrameHeader(object):
    """A frame's header, parsed and found right."""

    __slots__ = ('opcode', 'fin', 'rsv1', 'length', 'masking_key')

    def __init__(self, opcode, fin, rsv1, length, masking_key):
        # type: (int, bool, bool, int, Optional[bytes]) -> None
        self.opcode = opcode
        self.fin = fin
        self.rsv1 = rsv1
        self.length = length
        self.masking_key = masking_key


def encode_frame(opcode, payload, fin=True, rsv1=False, masking_key=None):
    # type: (int, bytes, bool, bool, Optional[bytes]) -> bytes
    """Build a frame.

    Parameters: the opcode; the payload as bytes, never changed; ``fin``, if
    it ends its message; ``rsv1``, if it starts a compressed one;
    ``masking_key``, 4 bytes for a client's frame and None for a server's.

    Raises FrameBuildError for a frame that RFC 6455 forbids.
    """
    header = encode_header(opcode, len(payload), fin, rsv1, masking_key)
    if masking_key is None:
        return header + payload
    return header + apply_mask(payload, masking_key)


def cut_frame(header, payload, masking_key):
    # type: (bytes, bytes, Optional[bytes]) -> Iterator[Union[bytes, memoryview]]
    """Yield a frame piece by piece, each masked when it is asked for; then the one before is gone.

    So a large payload isn't there twice, and a piece still is in the
    processor's cache when it is sent.
    """
    numpy = find_numpy(len(payload))
    if masking_key is not None and numpy is not None:
        for masked in mask_by_numpy(numpy, header, payload, masking_key):
            yield masked
        return
    for start in range(0, len(payload) or 1, PIECE):
        # A multiple of 4: each piece starts with the key's first byte.
        piece = payload[start:start + PIECE]
        if masking_key is not None:
            piece = apply_mask_to_few(piece, masking_key)
        yield piece if start else header + piece


def encode_header(opcode, length, fin, rsv1, masking_key):
    # type: (int, int, bool, bool, Optional[bytes]) -> bytes
    """Build a frame's header, with the masking key at its end; parameters as of `encode_frame`."""
    if opcode & CONTROL_BIT and (length > MAX_CONTROL_PAYLOAD or not fin or rsv1):
        # RFC 6455 5.5: control frames are short, whole and (RFC 7692 6.1) plain.
        raise FrameBuildError(
            'a {} frame takes at most 125 bytes, in one uncompressed frame',
            Opcode.to_str(opcode))
    if opcode not in OPCODES:
        raise FrameBuildError('{} is not an opcode of RFC 6455', opcode)

    first = opcode
    if fin:
        first |= FIN
    if rsv1:
        first |= RSV1
    mask_bit = 0 if masking_key is None else MASKED
    if length < LENGTH_16:
        header = _pack_short(first, mask_bit | length)
    elif length <= 0xFFFF:
        header = _pack_16(first, mask_bit | LENGTH_16, length)
    else:
        header = _pack_64(first, mask_bit | LENGTH_64, length)
    return header if masking_key is None else header + masking_key
