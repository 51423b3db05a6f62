"""XOR masking of payloads (RFC 6455 5.3).

By wsaccel where that is installed, else by the fastest pure way that this
Python has; and by numpy what is large, in a program that has imported numpy.
"""

from __future__ import absolute_import, division, print_function

import sys

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Callable, Iterator  # noqa: F401

try:
    from wsaccel.xormask import XorMaskerSimple
except ImportError:  # pragma: no cover  (wsaccel is there)
    XorMaskerSimple = None

_to_integer = getattr(int, 'from_bytes', None)  # type: Any

# Beyond this the integers of _mask_by_integer fall out of the cache.
_PIECE = 16 * 1024


def _mask_by_integer(payload, key):
    # type: (bytes, bytes) -> bytes
    """Mask as one large integer; int.from_bytes and ^ run at memory speed."""
    length = len(payload)
    if length <= _PIECE:
        repeated = (key * ((length + 3) >> 2))[:length]
        masked = _to_integer(payload, 'little') ^ _to_integer(repeated, 'little')  # type: int
        return masked.to_bytes(length, 'little')
    # _PIECE is a multiple of 4, so each piece starts with the key's first byte.
    integer = _to_integer(key * (_PIECE // 4), 'little')
    rest = length % _PIECE
    pieces = [
        (_to_integer(payload[start:start + _PIECE], 'little') ^ integer).to_bytes(_PIECE, 'little')
        for start in range(0, length - rest, _PIECE)]
    if rest:
        pieces.append(_mask_by_integer(payload[-rest:], key))
    return b''.join(pieces)


_XOR_TABLES = {}  # type: dict[int, bytes]


def _xor_table(byte):
    # type: (int) -> bytes
    """Return the 256-byte translation table for XOR with one byte."""
    table = _XOR_TABLES.get(byte)
    if table is None:
        table = _XOR_TABLES[byte] = bytes(bytearray([byte ^ other for other in range(256)]))
    return table


def _mask_by_table(payload, key):
    # type: (bytes, bytes) -> bytes
    """Mask each fourth byte by a translation table: for 2.7's integers are slow."""
    masked = bytearray(payload)
    for offset, byte in enumerate(bytearray(key)):
        masked[offset::4] = masked[offset::4].translate(_xor_table(byte))
    return bytes(masked)


def _mask_by_wsaccel(payload, key):
    # type: (bytes, bytes) -> bytes
    masked = XorMaskerSimple(key).process(payload)  # type: bytes
    return masked


def _choose():
    # type: () -> Callable[[bytes, bytes], bytes]
    if XorMaskerSimple is not None:
        return _mask_by_wsaccel
    if _to_integer is not None:  # pragma: no cover  (wsaccel is there)
        return _mask_by_integer
    return _mask_by_table  # pragma: no cover  (wsaccel is there)


#: As `apply_mask`, for a small payload: the choice of a way isn't made for each.
apply_mask_to_few = _choose()

# From so many bytes on numpy is the fastest, ...
_MANY = 4096

#: ... and so many at once.
NUMPY_PIECE = 256 * 1024

_OF_NUMPY = ('bitwise_xor', 'frombuffer', 'uint32')


def apply_mask(payload, key):
    # type: (bytes, bytes) -> bytes
    """Mask, or unmask, a payload with a key of 4 bytes."""
    numpy = find_numpy(len(payload))
    if numpy is not None:
        return b''.join([piece.tobytes() for piece in mask_by_numpy(numpy, b'', payload, key)])
    return apply_mask_to_few(payload, key)


def find_numpy(size):
    # type: (int) -> Any
    """Return numpy if it is of use for so many bytes and the program has imported it, else None.

    It is never imported for this: that takes longer, and more memory, than all
    else here. While another thread imports it, some of it may be missing.
    """
    if size < _MANY:
        return None
    numpy = sys.modules.get('numpy')
    if numpy is None:
        return None
    return numpy if all(hasattr(numpy, name) for name in _OF_NUMPY) else None


def mask_by_numpy(numpy, header, payload, key):
    # type: (Any, bytes, bytes, bytes) -> Iterator[memoryview]
    """Yield a header as it is, and a payload masked, in large pieces.

    All are in the same memory: what is yielded is good until the next is asked for.
    """
    size = min(len(payload), NUMPY_PIECE)
    start = 16      # behind any header, and a place for an integer
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
