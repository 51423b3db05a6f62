"""XOR masking of payloads (RFC 6455 5.3), by the fastest implementation that this Python has."""

from __future__ import absolute_import, division, print_function

import sys

from lomond._compat import IS_PYPY, TYPE_CHECKING
from lomond.protocol.accel import find_masker, find_masking

if TYPE_CHECKING:
    from typing import Any, Callable, List, Union  # noqa: F401

compiled = find_masking()  # type: Any
Masker = find_masker()  # type: Any
to_integer = getattr(int, 'from_bytes', None)  # type: Any

#: Larger payloads are masked by tables: that takes as long as integers for 1 KiB, and half as long
#: for 16 KiB. (On PyPy it takes longer.)
INTEGER_SIZE = sys.maxsize if IS_PYPY else 1024  # type: int


# -- the ways to mask --

def mask_by_wsaccel(payload, key):
    # type: (Union[bytes, memoryview], bytes) -> bytes
    """Mask in wsaccel's C."""
    masked = Masker(key).process(payload)  # type: bytes
    return masked


def mask_by_integer(payload, key):
    # type: (Union[bytes, memoryview], bytes) -> bytes
    """Mask as one large integer, if the payload is small."""
    length = len(payload)
    if length > INTEGER_SIZE:
        return mask_by_table(payload, key)
    repeated = (key * ((length + 3) >> 2))[:length]
    masked = to_integer(payload, 'little') ^ to_integer(repeated, 'little')  # type: int
    return masked.to_bytes(length, 'little')


class _XorTables(dict):     # type: ignore[type-arg]
    """The 256-byte translation tables for XOR with one byte, by that byte."""

    def __missing__(self, byte):
        # type: (int) -> bytes
        table = self[byte] = bytes(bytearray([byte ^ other for other in range(256)]))
        return table


_xor_tables = _XorTables()


def mask_by_table(payload, key):
    # type: (Union[bytes, memoryview], bytes) -> bytes
    """Mask each fourth byte by a translation table."""
    masked = bytearray(payload)
    for offset, byte in enumerate(bytearray(key)):
        masked[offset::4] = masked[offset::4].translate(_xor_tables[byte])
    return bytes(masked)


#: The implementations that this Python has, the fastest first. Each takes a payload, as bytes or a
#: view of bytes, and a key of 4 bytes.
WAYS = [
    way for needed, way in [
        (compiled, getattr(compiled, 'mask', None)), (Masker, mask_by_wsaccel),
        (to_integer, mask_by_integer), (bytes, mask_by_table)]
    if needed is not None
]  # type: List[Any]

#: Mask, or unmask, a payload with a key of 4 bytes.
apply_mask = WAYS[0]  # type: Callable[[Union[bytes, memoryview], bytes], bytes]
