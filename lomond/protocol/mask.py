"""XOR masking of payloads (RFC 6455 5.3).

`apply_mask` is wsaccel's where that is installed, else the fastest pure way
that this Python has.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Callable  # noqa: F401

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


#: Mask or unmask bytes with a key of 4 bytes: apply_mask(payload, key).
apply_mask = _choose()
