"""What goes over the wire: messages like those of a feed, and the frames around them.

Runs on every Python that is measured. Imports no WebSocket library.
"""

from __future__ import absolute_import, division, print_function

import random
import struct
import zlib

FIN, RSV1 = 0x80, 0x40
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA

#: permessage-deflate leaves out these last bytes of each message (RFC 7692 7.2.1).
TAIL = b'\x00\x00\xff\xff'

#: A message larger than this is sent in pieces, not kept whole by the peer.
LARGEST_PREBUILT = 4 * 1024 * 1024

_BATCH = 256 * 1024
_SYMBOLS = ['BTC-USD', 'ETH-USD', 'SOL-EUR', 'XRP-USD', 'ADA-EUR', 'LTC-USD', 'DOT-GBP']


def opcode_of(is_text):
    """Return the opcode of a data message."""
    return TEXT if is_text else BINARY


def header(opcode, length, masked=False, compressed=False):
    """Return a frame's header (RFC 6455 5.2), without the masking key."""
    first = FIN | opcode | (RSV1 if compressed else 0)
    bit = 0x80 if masked else 0
    if length < 126:
        return struct.pack('!BB', first, bit | length)
    if length < 65536:
        return struct.pack('!BBH', first, bit | 126, length)
    return struct.pack('!BBQ', first, bit | 127, length)


def masked_length(size):
    """Return the length of a client's frame around `size` bytes."""
    return len(header(TEXT, size, masked=True)) + 4 + size


def masked_frame(payload, is_text):
    """Return a client's frame. Its key is zero, so that the payload stays as it is."""
    return header(opcode_of(is_text), len(payload), masked=True) + b'\x00\x00\x00\x00' + payload


def pong_to(ping):
    """Return a server's answer to a client's ping: a bytearray that begins with it."""
    length = ping[1] & 0x7F
    key, payload = ping[2:6], ping[6:6 + length]
    return header(PONG, length) + bytes(bytearray(
        byte ^ key[index % 4] for index, byte in enumerate(payload)))


def messages(size, count):
    """Return `count` messages of `size` bytes: JSON records, one after another, cut to size."""
    source = random.Random(1)
    made = []
    for _ in range(count):
        records, length = [], 0
        while length < size:
            record = '{"id":%d,"s":"%s","p":"%.2f","q":"%.4f","side":"%s"}' % (
                source.random() * 1e9, _SYMBOLS[int(source.random() * len(_SYMBOLS))],
                20000 + source.random() * 100, source.random() * 10,
                'buy' if source.random() < 0.5 else 'sell')
            records.append(record)
            length += len(record)
        made.append(''.join(records).encode('ascii')[:size])
    return made


def how_many(size):
    """Return how many different messages of a size are made."""
    return max(2, min(256, 512 * 1024 // size))


def deflated(made):
    """Return the messages as permessage-deflate has them on the wire, with context takeover.

    Each refers back to those before, but the first to none: so the sequence
    can be sent over and over.
    """
    compressor = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -15)
    return [
        (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-len(TAIL)]
        for message in made
    ]


class Batch(object):
    """Frames of one size, prebuilt: what the peer sends, again and again."""

    def __init__(self, size, is_text, deflate):
        made = messages(size, how_many(size))
        if deflate:
            made = deflated(made)
        frames = [
            header(opcode_of(is_text), len(message), compressed=deflate) + message
            for message in made
        ]
        # Large pieces: one sendall for many messages leaves the peer little to do.
        frames *= max(1, _BATCH // sum(map(len, frames)))
        self._frames = frames
        self._bytes = b''.join(frames)

    def pieces(self, count):
        """Return how often the whole is to be sent for `count` messages, and the rest."""
        times, rest = divmod(count, len(self._frames))
        return times, b''.join(self._frames[:rest])

    def wire_length(self, count):
        """Return the number of bytes of `count` messages on the wire."""
        times, rest = self.pieces(count)
        return times * len(self._bytes) + len(rest)

    def send(self, sock, count):
        """Send `count` messages."""
        times, rest = self.pieces(count)
        for _ in range(times):
            sock.sendall(self._bytes)
        sock.sendall(rest)


class Giant(object):
    """One message too large to be kept whole; as Batch."""

    def __init__(self, size, is_text):
        self._size = size
        self._header = header(opcode_of(is_text), size)
        self._piece = b'x' * 1024 * 1024

    def wire_length(self, count):
        """Return the number of bytes of `count` messages on the wire."""
        return count * (len(self._header) + self._size)

    def send(self, sock, count):
        """Send `count` messages, in pieces."""
        for _ in range(count):
            sock.sendall(self._header)
            for _ in range(self._size // len(self._piece)):
                sock.sendall(self._piece)
            sock.sendall(self._piece[:self._size % len(self._piece)])


def batch(size, is_text, deflate):
    """Return what sends messages of a size."""
    if size > LARGEST_PREBUILT:
        return Giant(size, is_text)
    return Batch(size, is_text, deflate)
