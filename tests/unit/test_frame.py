"""Encoding frames: the examples of RFC 6455 5.7, lengths, and what is refused."""

from __future__ import absolute_import, division, print_function

import os

import pytest

from lomond._compat import to_bytes
from lomond.errors import FrameBuildError
from lomond.opcode import Opcode
from lomond.protocol.frame import (
    PIECE,
    SHORT_HEADER,
    cut_frame,
    encode_frame,
    encode_header,
    pack_short_masked,
)
from lomond.protocol.mask import NUMPY_PIECE
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


def test_short_header_is_that_of_a_masked_frame():
    empty = encode_frame(1, b'', masking_key=KEY)
    assert len(empty) == SHORT_HEADER
    assert pack_short_masked(0x81, 0x80, KEY) == empty


@pytest.mark.parametrize('key', [None, KEY], ids=['plain', 'masked'])
@pytest.mark.parametrize('length', [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 7])
def test_pieces_of_a_frame_are_the_frame(length, key):
    payload = os.urandom(length)
    header = encode_header(2, length, True, False, key)
    pieces = [to_bytes(piece) for piece in cut_frame(header, payload, key)]
    assert b''.join(pieces) == make_frame(2, payload, key=key)
    assert max(map(len, pieces)) <= NUMPY_PIECE + len(header)


def test_a_piece_is_64_kib():
    assert PIECE == 64 * 1024


def test_compressed_message_starts_with_rsv1():
    assert encode_frame(1, b'\x00', rsv1=True) == b'\xc1\x01\x00'


@pytest.mark.parametrize('opcode', [Opcode.CLOSE, Opcode.PING, Opcode.PONG])
@pytest.mark.parametrize('wrong', [
    {'payload': b'x' * 126}, {'payload': b'', 'fin': False}, {'payload': b'', 'rsv1': True},
], ids=['long', 'fragmented', 'compressed'])
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
