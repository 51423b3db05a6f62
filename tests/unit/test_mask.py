"""XOR masking: each way against bytes masked one by one."""

from __future__ import absolute_import, division, print_function

import os
import subprocess
import sys

import pytest

from lomond._compat import PY2
from lomond.protocol import mask
from lomond.protocol.accel import find_masker
from tests.support import xor

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

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


# -- numpy: in a process of its own, since it is used once it is imported --

BY_NUMPY = """
import os, sys
from lomond.protocol import frame, mask

key = os.urandom(4)
noise = os.urandom(600000)
header = b'0123456789abcd'
sizes = list(range(20)) + list(range(4090, 4110)) + [
    piece + more for piece in (65536, 262144, 524288) for more in range(-5, 6)]

def masked():
    return [mask.apply_mask(noise[:size], key) for size in sizes]

def cut():
    return [
        b''.join(bytes(bytearray(piece)) for piece in frame.cut_frame(header, noise[:size], key))
        for size in sizes]

def cut_unmasked():
    for size in sizes:
        pieces = frame.cut_frame(header, noise[:size], None)
        assert b''.join(bytes(bytearray(piece)) for piece in pieces) == header + noise[:size]

before, cut_before = masked(), cut()
assert 'numpy' not in sys.modules

# another thread has only begun to import it
sys.modules['numpy'] = type(sys)('numpy')
assert masked() == before
assert cut() == cut_before
del sys.modules['numpy']

import numpy
assert masked() == before
assert cut() == cut_before
cut_unmasked()
assert type(mask.apply_mask(noise, key)) is bytes

by_numpy = []
bitwise_xor = numpy.bitwise_xor
numpy.bitwise_xor = lambda words, *args: by_numpy.append(len(words)) or bitwise_xor(words, *args)
for mask_all in (masked, cut):
    mask_all()
    assert sum(by_numpy) == sum(size // 4 for size in sizes if size >= 4096)
    del by_numpy[:]
"""


def test_numpy_masks_what_is_large_once_the_program_has_imported_it():
    done = subprocess.Popen(
        [sys.executable, '-c', BY_NUMPY], cwd=ROOT, stderr=subprocess.PIPE)
    _out, err = done.communicate()
    if b'No module named' in err and b'numpy' in err:
        pytest.skip('numpy is not installed')
    assert done.returncode == 0, err
