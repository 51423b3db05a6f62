"""Two extensions of the tests: a checksum on RSV2, and a transform on RSV3."""

from __future__ import absolute_import, division, print_function

import struct
import zlib

from lomond.errors import InvalidPayload, ProtocolError
from lomond.extensions import RSV2, RSV3, Extension

_pack = struct.Struct('!L').pack


class BadChecksum(ProtocolError):
    """The payload isn't what was sent."""

    close_code = 4400


class Checksum(Extension):
    """Appends the CRC-32 of each data frame's payload, and checks it."""

    name = u'x-checksum'
    rsv = RSV2

    def __init__(self):
        self._crc = None        # None in a frame without one
        self._held = b''        # the last 4 bytes so far: they may be the checksum

    def frame_inbound_header(self, header):
        self._crc = 0 if header.rsv & RSV2 else None
        self._held = b''

    def frame_inbound_payload_data(self, data):
        if self._crc is None:
            return data
        data = self._held + data
        self._held = data[-4:]
        data = data[:-4]
        self._crc = zlib.crc32(data, self._crc)
        return data

    def frame_inbound_complete(self, fin):
        if self._crc is not None and self._held != _pack(self._crc & 0xFFFFFFFF):
            raise BadChecksum('the checksum is wrong')
        return b''

    def frame_outbound(self, opcode, rsv, payload, fin):
        if opcode & 8:
            return rsv, payload
        return rsv | RSV2, payload + _pack(zlib.crc32(payload) & 0xFFFFFFFF)


class Doubled(Extension):
    """Sends each byte twice in frames that have RSV3; a transform that changes the size."""

    name = u'x-doubled'
    rsv = RSV3

    def __init__(self):
        self._is_on = False
        self._odd = b''

    def frame_inbound_header(self, header):
        self._is_on = bool(header.rsv & RSV3)
        self._odd = b''

    def frame_inbound_payload_data(self, data):
        if not self._is_on:
            return data
        data = self._odd + data
        whole = len(data) // 2 * 2
        self._odd = data[whole:]
        if data[:whole:2] != data[1:whole:2]:
            raise InvalidPayload('two bytes differ')
        return data[:whole:2]

    def frame_inbound_complete(self, fin):
        if self._odd:
            raise InvalidPayload('a byte without its twin')
        return b''

    def frame_outbound(self, opcode, rsv, payload, fin):
        doubled = bytearray(2 * len(payload))
        doubled[::2] = doubled[1::2] = payload
        if opcode & 8 and len(doubled) > 125:
            return rsv, payload
        return rsv | RSV3, bytes(doubled)
