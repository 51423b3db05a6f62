"""XOR masking: each implementation against bytes masked one by one."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond._compat import PY2
from lomond.protocol import mask
from tests.support import xor

IMPLEMENTATIONS = [mask.apply_mask, mask._mask_by_table]
if not PY2:
    IMPLEMENTATIONS.append(mask._mask_by_integer)
if mask.XorMaskerSimple is not None:
    IMPLEMENTATIONS.append(mask._mask_by_wsaccel)

KEY = b'\x00\x80\xff\x0d'

PIECE = mask._PIECE


@pytest.mark.parametrize('apply_mask', IMPLEMENTATIONS)
@pytest.mark.parametrize('length', [
    0, 1, 2, 3, 4, 5, 7, 8, 9, 125, 126, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 3])
def test_masking_is_xor_with_the_repeated_key(apply_mask, length):
    payload = (b'\x00\x01\x7f\x80\xfe\xff' * (length // 6 + 1))[:length]
    masked = apply_mask(payload, KEY)
    assert type(masked) is bytes
    assert masked == xor(payload, KEY)
    assert apply_mask(masked, KEY) == payload


@pytest.mark.parametrize('apply_mask', IMPLEMENTATIONS)
def test_masking_leaves_its_argument_alone(apply_mask):
    # A literal of its own: an implementation that masks in place would change it.
    payload = b''.join([b'un', b'changed'])
    apply_mask(payload, KEY)
    assert payload == b'unchanged'


@pytest.mark.parametrize('apply_mask', IMPLEMENTATIONS)
def test_rfc_6455_example(apply_mask):
    """RFC 6455 5.7: a masked "Hello"."""
    assert apply_mask(b'Hello', b'\x37\xfa\x21\x3d') == b'\x7f\x9f\x4d\x51\x58'
