"""XOR masking: each way against bytes masked one by one."""

from __future__ import absolute_import, division, print_function

import os
import sys

import pytest

from lomond._compat import PY2, to_bytes
from lomond.protocol import frame, mask
from lomond.protocol.accel import find_masker
from tests.support import xor

IMPLEMENTATIONS = [mask.apply_mask] + mask.WAYS

KEY = b'\x00\x80\xff\x0d'

PIECE = mask.INTEGER_PIECE


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


def test_the_fastest_way_that_there_is_is_taken():
    expected = [mask.mask_by_table]
    if not PY2:
        expected.insert(0, mask.mask_by_integer)
    if find_masker() is not None:
        expected.insert(0, mask.mask_by_wsaccel)
    assert mask.WAYS == expected
    assert mask.apply_mask_to_few is expected[0]


# -- numpy: for the tests that ask for it alone, as the package would use it from its import on --

@pytest.fixture(scope='module')
def imported_numpy():
    """numpy, imported and put out of sight again."""
    numpy = pytest.importorskip('numpy')
    del sys.modules['numpy']
    return numpy


@pytest.fixture
def numpy(imported_numpy, monkeypatch):
    """numpy, as a program has it that imports it."""
    monkeypatch.setitem(sys.modules, 'numpy', imported_numpy)
    return imported_numpy


NOISE = os.urandom(600000)

SIZES = list(range(20)) + list(range(4090, 4110)) + [
    piece + more for piece in (65536, mask.NUMPY_PIECE, 2 * mask.NUMPY_PIECE)
    for more in range(-5, 6)]


@pytest.mark.parametrize('key', [KEY, b'\0\0\0\0'])
def test_numpy_masks_as_the_others_do(numpy, key):
    for size in SIZES:
        expected = mask.apply_mask_to_few(NOISE[:size], key)
        masked = mask.apply_mask(NOISE[:size], key)
        assert type(masked) is bytes
        assert masked == expected


@pytest.mark.parametrize('key', [KEY, None])
def test_frame_is_cut_into_the_same_bytes_with_numpy(numpy, key):
    for size in SIZES:
        header = frame.encode_header(2, size, True, False, key)
        pieces = frame.cut_frame(header, NOISE[:size], key)
        assert b''.join([to_bytes(piece) for piece in pieces]) == frame.encode_frame(
            2, NOISE[:size], masking_key=key)


def test_numpy_masks_what_is_large_and_nothing_else(numpy, monkeypatch):
    masked = []

    def bitwise_xor(words, *args):
        masked.append(len(words))
        return original(words, *args)

    original = numpy.bitwise_xor
    monkeypatch.setattr(numpy, 'bitwise_xor', bitwise_xor)
    large = sum(size // 4 for size in SIZES if size >= 4096)
    for size in SIZES:
        mask.apply_mask(NOISE[:size], KEY)
    assert sum(masked) == large
    for size in SIZES:
        list(frame.cut_frame(b'', NOISE[:size], KEY))
    assert sum(masked) == 2 * large
