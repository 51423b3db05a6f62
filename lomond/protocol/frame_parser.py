"""Bytes to frame headers: every check that needs no more than the header.

Keeps no bytes: it reads where it is told to, and says where the payload starts.
"""

from __future__ import absolute_import, division, print_function

import struct

from lomond._compat import TYPE_CHECKING
from lomond.errors import PayloadTooLarge, ProtocolError
from lomond.opcode import Opcode
from lomond.protocol import frame as bits
from lomond.protocol.frame import FrameHeader

if TYPE_CHECKING:
    from typing import Optional, Tuple, Union  # noqa: F401

    from lomond.protocol.limits import Limits  # noqa: F401

_unpack_16 = struct.Struct('!H').unpack
_unpack_64 = struct.Struct('!Q').unpack


class FrameParser(object):
    """Reads and checks frame headers.

    Parameters: ``expects_mask``, whether the peer must mask (a client must,
    a server must not); ``limits``. Set ``compression`` once permessage-deflate
    is agreed on: until then RSV1 is an error.
    """

    def __init__(self, expects_mask, limits):
        # type: (bool, Limits) -> None
        self.expects_mask = expects_mask
        self.compression = False
        self._max_payload = limits.frame

    def read_header(self, buffer, pos):
        # type: (Union[bytes, bytearray], int) -> Tuple[Optional[FrameHeader], int]
        """Read the header at `pos`.

        Returns it and the position of the payload, or None and `pos` while
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
        length = second & bits.LENGTH_BITS
        key_size = bits.KEY_SIZE if self.expects_mask else 0
        if length < bits.LENGTH_16:
            length_size = 0
        else:
            length_size = 2 if length == bits.LENGTH_16 else 8
        if available < 2 + length_size + key_size:
            return None, pos
        if length_size:
            length = self._extended_length(bytes(buffer[start:start + length_size]))
            start += length_size
        # A control frame is small enough as it is: it may be larger than any message.
        if (self._max_payload is not None and length > self._max_payload
                and not first & bits.CONTROL_BIT):
            raise PayloadTooLarge(
                'a frame of {} bytes is over the limit of {}', length, self._max_payload)

        masking_key = None
        if key_size:
            masking_key = bytes(buffer[start:start + key_size])
            start += key_size
        header = FrameHeader(
            opcode=first & bits.OPCODE_BITS,
            fin=bool(first & bits.FIN),
            rsv1=bool(first & bits.RSV1),
            length=length,
            masking_key=masking_key,
        )
        return header, start

    def _check(self, first, second):
        # type: (int, int) -> None
        """Apply RFC 6455 5.2 and 5.5 to the first two bytes of a frame."""
        opcode = first & bits.OPCODE_BITS
        if opcode not in bits.OPCODES:
            raise ProtocolError('reserved opcode 0x{:X}', opcode)
        is_control = opcode & bits.CONTROL_BIT

        if first & (bits.RSV2 | bits.RSV3):
            raise ProtocolError('a reserved bit is set')
        if first & bits.RSV1:
            # RFC 7692 6.1: only the first frame of a data message has it.
            if not self.compression:
                raise ProtocolError('RSV1 is set, but no compression was agreed on')
            if is_control or opcode == Opcode.CONTINUATION:
                raise ProtocolError('RSV1 is set on a {} frame', Opcode.to_str(opcode))

        if bool(second & bits.MASKED) != self.expects_mask:
            raise ProtocolError(
                'an unmasked frame from a client' if self.expects_mask
                else 'a masked frame from a server')
        if is_control:
            if not first & bits.FIN:
                raise ProtocolError('a fragmented {} frame', Opcode.to_str(opcode))
            if second & bits.LENGTH_BITS > bits.MAX_CONTROL_PAYLOAD:
                raise ProtocolError('a {} frame over 125 bytes', Opcode.to_str(opcode))

    @staticmethod
    def _extended_length(data):
        # type: (bytes) -> int
        """Decode a 16 or 64-bit length; RFC 6455 5.2 wants the shortest form."""
        length = (_unpack_16 if len(data) == 2 else _unpack_64)(data)[0]  # type: int
        if length < bits.LENGTH_16 or (len(data) == 8 and length <= 0xFFFF):
            raise ProtocolError('a payload length is not in its shortest form')
        if length >> 63:
            raise ProtocolError('the highest bit of a payload length is set')
        return length
