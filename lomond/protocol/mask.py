"""XOR masking of payloads (RFC 6455 5.3), by the fastest implementation that this Python has.

What is large is masked by numpy, in a program that has imported it.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING
from lomond.protocol.accel import find_masker, find_numpy

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, List  # noqa: F401

_Masker = find_masker()

_to_integer = getattr(int, 'from_bytes', None)  # type: Any

#: `mask_by_integer` masks pieces of this size: larger integers fall out of the processor's cache.
INTEGER_PIECE = 16 * 1024

#: `mask_by_numpy` masks pieces of this size.
NUMPY_PIECE = 256 * 1024


# -- the ways to mask --

def mask_by_wsaccel(payload, key):
    # type: (bytes, bytes) -> bytes
    """Mask in C."""
    masked = _Masker(key).process(payload)  # type: bytes
    return masked


def mask_by_integer(payload, key):
    # type: (bytes, bytes) -> bytes
    """Mask as one large integer; int.from_bytes and ^ run at memory speed."""
    length = len(payload)
    if length <= INTEGER_PIECE:
        repeated = (key * ((length + 3) >> 2))[:length]
        masked = _to_integer(payload, 'little') ^ _to_integer(repeated, 'little')  # type: int
        return masked.to_bytes(length, 'little')
    # INTEGER_PIECE is a multiple of 4, so each piece starts with the key's first byte.
    integer = _to_integer(key * (INTEGER_PIECE // 4), 'little')
    rest = length % INTEGER_PIECE
    pieces = [
        (_to_integer(payload[start:start + INTEGER_PIECE], 'little') ^ integer).to_bytes(
            INTEGER_PIECE, 'little')
        for start in range(0, length - rest, INTEGER_PIECE)]
    if rest:
        pieces.append(mask_by_integer(payload[-rest:], key))
    return b''.join(pieces)


_XOR_TABLES = {}  # type: Dict[int, bytes]


def _xor_table(byte):
    # type: (int) -> bytes
    """Return the 256-byte translation table for XOR with one byte."""
    table = _XOR_TABLES.get(byte)
    if table is None:
        table = _XOR_TABLES[byte] = bytes(bytearray([byte ^ other for other in range(256)]))
    return table


def mask_by_table(payload, key):
    # type: (bytes, bytes) -> bytes
    """Mask each fourth byte by a translation table: 2.7 makes no integers of bytes."""
    masked = bytearray(payload)
    for offset, byte in enumerate(bytearray(key)):
        masked[offset::4] = masked[offset::4].translate(_xor_table(byte))
    return bytes(masked)


#: The implementations that this Python has, the fastest first. Each takes a payload and a key of
#: 4 bytes.
WAYS = [
    way for needed, way in [
        (_Masker, mask_by_wsaccel), (_to_integer, mask_by_integer), (bytes, mask_by_table)]
    if needed is not None
]  # type: List[Callable[[bytes, bytes], bytes]]


# -- masking --

#: As `apply_mask`, for a payload that is too small for numpy: it saves the question.
apply_mask_to_few = WAYS[0]  # type: Callable[[bytes, bytes], bytes]


def apply_mask(payload, key):
    # type: (bytes, bytes) -> bytes
    """Mask, or unmask, a payload with a key of 4 bytes."""
    numpy = find_numpy(len(payload))
    if numpy is not None:
        return b''.join([piece.tobytes() for piece in mask_by_numpy(numpy, b'', payload, key)])
    return apply_mask_to_few(payload, key)


def mask_by_numpy(numpy, header, payload, key):
    # type: (Any, bytes, bytes, bytes) -> Iterator[memoryview]
    """Yield a header as it is, and a payload masked, in large pieces.

    All are in the same memory: what is yielded is valid until the next is asked for.
    """
    size = min(len(payload), NUMPY_PIECE)
    start = 16      # more than any header takes, and aligned for integers
    memory = bytearray(start + size + 3)
    memory[start - len(header):start] = header
    view = memoryview(memory)
    begin = start - len(header)

    words = numpy.frombuffer(payload, numpy.uint32, len(payload) // 4)
    key_word = numpy.frombuffer(key, numpy.uint32)
    masked = numpy.frombuffer(memory, numpy.uint32, size // 4, start)
    step = NUMPY_PIECE // 4
    for first in range(0, len(words), step):
        count = len(words[first:first + step])
        numpy.bitwise_xor(words[first:first + count], key_word, masked[:count])
        end = start + 4 * count
        if first + count == len(words) and len(payload) % 4:
            rest = apply_mask_to_few(payload[4 * len(words):], key)
            view[end:end + len(rest)] = rest
            end += len(rest)
        yield view[begin:end]
        begin = start
