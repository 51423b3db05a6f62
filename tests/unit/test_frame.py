"""Frames to bytes and back: the examples of RFC 6455 5.7, lengths, and each fault."""

from __future__ import absolute_import, division, print_function

import os
import struct

import pytest

from lomond._compat import indexable, to_bytes
from lomond.errors import FrameBuildError, PayloadTooLarge, ProtocolError
from lomond.opcode import Opcode
from lomond.protocol.frame import (
    MASKED_PIECE,
    PIECE,
    RSV1,
    SHORT_HEADER,
    FrameParser,
    cut_frame,
    encode_frame,
    encode_header,
    masked_frame,
    masked_frame_by_header,
    masked_small_frame,
    small_frame_by_integer,
    small_frame_by_wsaccel,
)
from lomond.protocol.limits import DEFAULT_LIMITS, message_limits
from lomond.protocol.mask import Masker, compiled, to_integer
from tests.support import make_frame

KEY = b'\x37\xfa\x21\x3d'


@pytest.mark.parametrize('encoded, expected', [
    (encode_frame(1, b'Hello'), b'\x81\x05Hello'),
    (encode_frame(1, b'Hello', masking_key=KEY), b'\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58'),
    (encode_frame(1, b'Hel', fin=False), b'\x01\x03Hel'),
    (encode_frame(0, b'lo'), b'\x80\x02lo'),
    (encode_frame(9, b'Hello'), b'\x89\x05Hello'),
    (encode_frame(10, b'Hello', masking_key=KEY), b'\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58'),
    (encode_frame(2, b'\0' * 256), b'\x82\x7e\x01\x00' + b'\0' * 256),
    (encode_frame(2, b'\0' * 65536), b'\x82\x7f\0\0\0\0\0\x01\0\0' + b'\0' * 65536),
], ids=[
    'text', 'masked-text', 'first-fragment', 'last-fragment', 'ping', 'masked-pong', '256', '64K'])
def test_rfc_6455_examples(encoded, expected):
    assert encoded == expected


@pytest.mark.parametrize('key', [None, KEY], ids=['plain', 'masked'])
@pytest.mark.parametrize('length', [0, 1, 125, 126, 127, 65535, 65536])
def test_length_is_in_its_shortest_form(length, key):
    payload = b'x' * length
    assert encode_frame(2, payload, masking_key=key) == make_frame(2, payload, key=key)


# -- masked frames: each way that there is --

SMALL_WAYS = [masked_frame, masked_small_frame, masked_frame_by_header] \
    + [small_frame_by_integer] * (to_integer is not None) \
    + [small_frame_by_wsaccel] * (Masker is not None)


@pytest.mark.parametrize('make', SMALL_WAYS)
def test_a_small_masked_frame_is_its_header_and_the_masked_payload(make):
    for length in range(126):
        payload = os.urandom(length)
        for first in (0x01, 0x81, 0x82, 0xC1, 0xFF):
            frame = make(first, payload, KEY)
            assert type(frame) is bytes
            assert frame == make_frame(first, payload, fin=False, key=KEY)
            assert len(frame) == length + SHORT_HEADER


@pytest.mark.parametrize('make', [masked_frame, masked_frame_by_header])
@pytest.mark.parametrize('length', list(range(124, 130)) + [
    254, 255, 256, 257, 1000, 65534, 65535, 65536, 65537, 70000, 200000])
def test_a_masked_frame_has_its_length_in_the_shortest_form(make, length):
    payload = os.urandom(length)
    for first in (0x00, 0x82):
        assert make(first, payload, KEY) == make_frame(first, payload, fin=False, key=KEY)


def test_masked_frames_are_made_by_the_compiled_core_or_as_payloads_are_masked():
    if compiled is not None:
        assert masked_frame is masked_small_frame is compiled.masked_frame
        return
    assert masked_frame is masked_frame_by_header
    expected = small_frame_by_wsaccel if Masker is not None else \
        small_frame_by_integer if to_integer is not None else masked_frame
    assert masked_small_frame is expected


# -- in pieces --

@pytest.mark.parametrize('key', [None, KEY], ids=['plain', 'masked'])
@pytest.mark.parametrize('length', [
    size + more for size in (PIECE, MASKED_PIECE, 3 * MASKED_PIECE) for more in (-1, 0, 1, 7)
] + [0, 1])
def test_pieces_of_a_frame_are_the_frame(length, key):
    payload = os.urandom(length)
    header = encode_header(2, length, True, False, key)
    for given in (payload, memoryview(payload)):
        pieces = [to_bytes(piece) for piece in cut_frame(header, given, key)]
        assert b''.join(pieces) == make_frame(2, payload, key=key)
        assert all(pieces)


def test_a_masked_piece_is_64_kib_or_96_if_the_core_is_compiled():
    header = encode_header(2, 200000, True, False, KEY)
    sizes = [len(piece) for piece in cut_frame(header, b'x' * 200000, KEY)]
    size = 65536 if compiled is None else 98304
    assert sizes[0] == size + len(header)
    assert sizes[1] == size
    assert len(sizes) == -(-200000 // size)


def test_what_is_not_masked_is_sent_from_the_memory_where_it_is():
    payload = b'x' * 1000000
    header = encode_header(2, len(payload), True, False, None)
    first, rest = cut_frame(header, payload, None)
    assert first == header + payload[:PIECE]
    assert rest == memoryview(payload)[PIECE:]
    assert isinstance(rest, memoryview)


def test_a_message_of_more_than_64_kib_goes_out_in_pieces():
    assert PIECE == 64 * 1024


def test_compressed_message_starts_with_rsv1():
    assert encode_frame(1, b'\x00', rsv=RSV1) == b'\xc1\x01\x00'


@pytest.mark.parametrize('opcode', [Opcode.CLOSE, Opcode.PING, Opcode.PONG])
@pytest.mark.parametrize('wrong', [
    {'payload': b'x' * 126}, {'payload': b'', 'fin': False},
], ids=['long', 'fragmented'])
def test_control_frame_that_rfc_6455_forbids_is_not_built(opcode, wrong):
    with pytest.raises(FrameBuildError) as caught:
        encode_frame(opcode, **wrong)
    assert Opcode.to_str(opcode) in str(caught.value)


@pytest.mark.parametrize('opcode', [Opcode.CLOSE, Opcode.PING, Opcode.PONG])
def test_control_frame_may_have_125_bytes(opcode):
    assert encode_frame(opcode, b'x' * 125)[2:] == b'x' * 125


@pytest.mark.parametrize('opcode', [3, 4, 5, 6, 7, 11, 12, 13, 14, 15, 16, -1])
def test_reserved_opcode_is_not_built(opcode):
    with pytest.raises(FrameBuildError):
        encode_frame(opcode, b'')


def test_payload_is_left_alone():
    payload = b''.join([b'un', b'changed'])
    encode_frame(2, payload, masking_key=KEY)
    assert payload == b'unchanged'


# -- reading headers: each fault as early as it shows --

def _read(data, masked=False, pos=0, limits=DEFAULT_LIMITS, compression=False):
    parser = FrameParser(expects_mask=masked, limits=limits)
    parser.compression = compression
    return parser.read_header(indexable(data), pos)


@pytest.mark.parametrize('masked', [False, True], ids=['from-server', 'from-client'])
@pytest.mark.parametrize('length', [0, 125, 126, 127, 65535, 65536])
def test_header_is_read_when_complete_and_not_before(masked, length):
    key = KEY if masked else None
    frame = make_frame(2, b'x' * length, key=key)
    size = len(frame) - length
    for end in range(size):
        assert _read(frame[:end], masked) == (None, 0)
    header, start = _read(frame[:size], masked)
    assert start == size
    assert header.opcode == 2
    assert header.fin is True
    assert header.rsv == 0
    assert header.length == length
    assert header.masking_key == key


def test_header_is_read_at_a_position():
    header, start = _read(b'....' + make_frame(1, b'Hello'), pos=4)
    assert (header.opcode, header.length, start) == (1, 5, 6)
    assert _read(b'....', pos=4) == (None, 4)


def test_fragment_has_no_fin():
    header, _start = _read(make_frame(1, b'', fin=False))
    assert header.fin is False


def test_rsv1_is_refused_unless_compression_was_agreed_on():
    parser = FrameParser(expects_mask=False, limits=DEFAULT_LIMITS)
    with pytest.raises(ProtocolError):
        parser.read_header(indexable(make_frame(1, b'', rsv=0x40)), 0)


@pytest.mark.parametrize('opcode', [1, 2])
def test_rsv1_is_read_once_compression_is_agreed_on(opcode):
    header, _start = _read(make_frame(opcode, b'', rsv=0x40), compression=True)
    assert header.rsv == RSV1


@pytest.mark.parametrize('first, second, compression, words', [
    (0x83, 0, False, 'opcode 0x3'),
    (0x8b, 0, False, 'opcode 0xB'),
    (0xa1, 0, True, 'RSV2 or RSV3'),
    (0x91, 0, True, 'RSV2 or RSV3'),
    (0xc1, 0, False, 'RSV1'),
    (0xc0, 0, True, 'RSV1 is set on a CONTINUATION'),
    (0xc9, 0, True, 'RSV1 is set on a PING'),
    (0x81, 0x80, False, 'masked frame from a server'),
    (0x09, 0, False, 'fragmented PING'),
    (0x8a, 126, False, 'PONG frame over 125'),
    (0x88, 127, False, 'CLOSE frame over 125'),
])
def test_fault_shows_in_the_first_two_bytes(first, second, compression, words):
    data = bytes(bytearray([first, second]))
    assert _read(data[:1], compression=compression) == (None, 0)
    with pytest.raises(ProtocolError) as caught:
        _read(data, compression=compression)
    assert words in str(caught.value)
    assert caught.value.close_code == 1002


def test_client_must_mask():
    with pytest.raises(ProtocolError) as caught:
        _read(b'\x81\x00', masked=True)
    assert 'unmasked frame from a client' in str(caught.value)


@pytest.mark.parametrize('header', [
    struct.pack('!BBH', 0x82, 126, 0),
    struct.pack('!BBH', 0x82, 126, 125),
    struct.pack('!BBQ', 0x82, 127, 0),
    struct.pack('!BBQ', 0x82, 127, 125),
    struct.pack('!BBQ', 0x82, 127, 126),
    struct.pack('!BBQ', 0x82, 127, 65535),
])
def test_length_that_is_not_in_its_shortest_form_is_refused(header):
    with pytest.raises(ProtocolError) as caught:
        _read(header)
    assert 'shortest' in str(caught.value)
    assert caught.value.close_code == 1002


@pytest.mark.parametrize('length', [2 ** 63, 2 ** 64 - 1])
def test_length_with_its_highest_bit_set_is_refused(length):
    with pytest.raises(ProtocolError) as caught:
        _read(struct.pack('!BBQ', 0x82, 127, length), limits=message_limits(None))
    assert caught.value.close_code == 1002


def test_longest_length_is_read_where_there_is_no_limit():
    header, start = _read(
        struct.pack('!BBQ', 0x82, 127, 2 ** 63 - 1), limits=message_limits(None))
    assert (header.length, start) == (2 ** 63 - 1, 10)


@pytest.mark.parametrize('size', [5, 200, 70000])
def test_frame_over_the_limit_is_refused_by_its_header(size):
    frame = make_frame(2, b'x' * size)
    header = frame[:len(frame) - size]
    assert _read(header, limits=message_limits(size))[0].length == size
    with pytest.raises(PayloadTooLarge) as caught:
        _read(header, limits=message_limits(size - 1))
    assert caught.value.close_code == 1009
    assert str(size) in str(caught.value)
