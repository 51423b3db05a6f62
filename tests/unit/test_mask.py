"""XOR masking: each way against bytes masked one by one."""

from __future__ import absolute_import, division, print_function

import os

import pytest

from lomond._compat import IS_PYPY, PY2
from lomond.protocol import mask
from lomond.protocol.accel import find_masker, find_masking
from tests.support import xor

KEY = b'\x00\x80\xff\x0d'

NOISE = os.urandom(200000)

by_way = pytest.mark.parametrize('apply_mask', mask.WAYS)

compiled = pytest.mark.skipif(mask.compiled is None, reason='nothing is compiled')


@by_way
@pytest.mark.parametrize('key', [KEY, b'\0\0\0\0', b'\xff\xff\xff\xff', b'\x01\x02\x03\x04'])
def test_masking_is_xor_with_the_repeated_key(apply_mask, key):
    for length in range(1101):
        payload = NOISE[length:2 * length]
        masked = apply_mask(payload, key)
        assert type(masked) is bytes
        assert masked == xor(payload, key)
        assert apply_mask(masked, key) == payload


@by_way
@pytest.mark.parametrize('length', [
    16383, 16384, 16387, 65535, 65536, 65537, 65543, 98304, 131072, 200000])
def test_large_payloads_are_masked_to_the_end(apply_mask, length):
    assert apply_mask(NOISE[:length], KEY) == xor(NOISE[:length], KEY)


@by_way
def test_a_payload_may_begin_at_any_address_and_byte(apply_mask):
    for start in range(16):
        for size in list(range(40)) + [1000, 3000]:
            payload = memoryview(NOISE)[start:start + size]
            assert apply_mask(payload, KEY) == xor(NOISE[start:start + size], KEY)


@by_way
@pytest.mark.parametrize('size', [1, 100, 5000])
def test_each_byte_is_masked_as_an_unsigned_one(apply_mask, size):
    for byte in range(256):
        payload = bytes(bytearray([byte])) * size
        for key_byte in (0, 1, 0x7F, 0x80, 0xFF):
            expected = bytes(bytearray([byte ^ key_byte])) * size
            assert apply_mask(payload, bytes(bytearray([key_byte])) * 4) == expected


@by_way
@pytest.mark.parametrize('size', [9, 5000])
def test_masking_leaves_its_argument_alone(apply_mask, size):
    # Of its own: an implementation that masks in place would change it.
    payload = b''.join([b'x'] * size)
    apply_mask(payload, KEY)
    assert payload == b'x' * size


class Subclass(bytes):
    """Bytes of a kind of the user's own."""


@by_way
def test_bytes_of_a_subclass_are_masked_to_bytes(apply_mask):
    masked = apply_mask(Subclass(b'Hello'), KEY)
    assert type(masked) is bytes
    assert masked == xor(b'Hello', KEY)


@by_way
def test_rfc_6455_example(apply_mask):
    """RFC 6455 5.7: a masked "Hello"."""
    assert apply_mask(b'Hello', b'\x37\xfa\x21\x3d') == b'\x7f\x9f\x4d\x51\x58'


def test_the_fastest_way_that_there_is_is_taken():
    expected = [mask.mask_by_table]
    if not PY2:
        expected.insert(0, mask.mask_by_integer)
    if find_masker() is not None:
        expected.insert(0, mask.mask_by_wsaccel)
    if find_masking() is not None:
        expected.insert(0, find_masking().mask)
    assert mask.WAYS == expected
    assert mask.apply_mask is expected[0]


@pytest.mark.skipif(PY2 or IS_PYPY, reason='all is masked by tables, or all by integers')
@pytest.mark.parametrize('size, is_large', [(1024, False), (1025, True)])
def test_only_small_payloads_are_masked_as_integers(monkeypatch, size, is_large):
    monkeypatch.setattr(mask, 'mask_by_table', lambda payload, key: None)
    assert (mask.mask_by_integer(NOISE[:size], KEY) is None) == is_large


# -- the compiled core: what it is given is checked, as no mistake may crash --

@compiled
@pytest.mark.parametrize('arguments', [
    (), (b'Hello',), (b'Hello', KEY, KEY), (None, KEY), (b'Hello', None), (None, None),
    (u'Hello', KEY), (b'Hello', u'\x00\x80\xff\x0d'), (5, KEY), (b'Hello', 5), ([1], KEY),
    (b'Hello', bytearray(KEY)), (b'Hello', memoryview(KEY))], ids=repr)
def test_compiled_masking_raises_for_what_is_not_bytes(arguments):
    with pytest.raises(TypeError):
        mask.compiled.mask(*arguments)
    with pytest.raises(TypeError):
        mask.compiled.masked_frame(0x81, *arguments)


@compiled
@pytest.mark.parametrize('key', [b'', b'abc', b'abcde', Subclass(b'abcdefgh')])
def test_compiled_masking_raises_for_a_key_of_another_size(key):
    for payload in (b'', b'Hello', bytearray(b'Hello')):
        with pytest.raises(ValueError, match='has 4 bytes, not {}'.format(len(key))):
            mask.compiled.mask(payload, key)
        with pytest.raises(ValueError, match='has 4 bytes, not {}'.format(len(key))):
            mask.compiled.masked_frame(0x81, payload, key)


@compiled
@pytest.mark.parametrize('first, error', [
    (None, TypeError), (b'\x81', TypeError), (u'', TypeError),
    (-1, OverflowError), (256, OverflowError), (2 ** 70, OverflowError)])
def test_compiled_frame_raises_for_a_first_byte_that_is_none(first, error):
    with pytest.raises(error):
        mask.compiled.masked_frame(first, b'Hello', KEY)


@compiled
def test_compiled_masking_takes_what_has_a_buffer_and_gives_it_back():
    data = bytearray(b'Hello')
    for payload in (data, memoryview(data), memoryview(data).cast('b')):
        assert mask.compiled.mask(payload, KEY) == xor(b'Hello', KEY)
        assert mask.compiled.masked_frame(0x82, payload, KEY) \
            == b'\x82\x85' + KEY + xor(b'Hello', KEY)
        with pytest.raises(ValueError):
            mask.compiled.mask(payload, b'')
    del payload
    data.append(0)      # BufferError while somebody has its buffer
    with pytest.raises(BufferError):
        mask.compiled.mask(memoryview(b'abcdef')[::2], KEY)
