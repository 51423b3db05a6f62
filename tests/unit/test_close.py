"""What a Close frame says: codes and reasons, encoded and decoded."""

from __future__ import absolute_import, division, print_function

import struct

import pytest

from lomond._compat import PY2, text_type
from lomond.errors import ProtocolError
from lomond.protocol.close import MAX_REASON, CloseFrame, decode_close, encode_close


@pytest.mark.parametrize('code, reason, payload', [
    (1000, u'', b'\x03\xe8'),
    (1000, u'goodbye', b'\x03\xe8goodbye'),
    (4999, u'caf\xe9', b'\x13\x87caf\xc3\xa9'),
    (1001, b'caf\xc3\xa9', b'\x03\xe9caf\xc3\xa9'),
    (None, u'', b''),
    (None, u'goodbye', b''), (None, b'', b''),
])
def test_close_payload_is_encoded(code, reason, payload):
    assert encode_close(code, reason) == payload


@pytest.mark.parametrize('reason, expected', [
    (u'x' * 123, b'x' * 123),
    (u'x' * 124, b'x' * 123),
    (u'x' * 122 + u'\xe9', b'x' * 122),
    (u'x' * 121 + u'\xe9', b'x' * 121 + b'\xc3\xa9'),
    (u'x' * 121 + u'\u20ac', b'x' * 121),
    (u'\U0001f600' * 40, b'\xf0\x9f\x98\x80' * 30),
])
def test_close_reason_is_cut_at_a_character(reason, expected):
    assert MAX_REASON == 123
    assert encode_close(1000, reason)[2:] == expected


@pytest.mark.parametrize('code', [0, -1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536])
def test_close_code_that_may_not_be_sent_is_refused(code):
    with pytest.raises(ValueError) as caught:
        encode_close(code, u'')
    assert str(code) in str(caught.value)


@pytest.mark.parametrize('code, reason', [
    ('1000', u''), (1000.0, u''), (True, u''), (1000, None), (1000, 7)])
def test_close_of_the_wrong_type_is_refused(code, reason):
    with pytest.raises(TypeError):
        encode_close(code, reason)


@pytest.mark.parametrize('reason', [b'\xff', u'\ud800', b'\xed\xa0\x80'])
def test_close_reason_that_is_no_text_is_refused(reason):
    with pytest.raises(ValueError):
        encode_close(1000, reason)


def test_native_string_is_a_close_reason_on_2_and_3():
    assert encode_close(1000, 'goodbye') == b'\x03\xe8goodbye'
    assert isinstance('goodbye', bytes) is PY2


@pytest.mark.parametrize('code', [1000, 1003, 1007, 1014, 3000, 4999])
def test_close_payload_is_decoded(code):
    payload = struct.pack('!H', code) + b'caf\xc3\xa9'
    close = decode_close(payload)
    assert close == CloseFrame(code, u'caf\xe9') == (code, u'caf\xe9')
    assert (close.code, close.reason) == close


def test_empty_close_payload_means_1005():
    assert decode_close(b'') == (1005, u'')
    assert isinstance(decode_close(b'').reason, text_type)


@pytest.mark.parametrize('payload, expected', [
    (b'\x03', 1002), (b'\x00\x00', 1002), (b'\x03\xed', 1002), (b'\x03\xe8\xff', 1007),
    (b'\x03\xe8\xed\xa0\x80', 1007), (b'\x03\xe8\xc3', 1007)])
def test_wrong_close_payload_is_refused(payload, expected):
    with pytest.raises(ProtocolError) as caught:
        decode_close(payload)
    assert caught.value.close_code == expected


@pytest.mark.parametrize('reason', [u'bye', b'bye'])
def test_a_reason_without_a_code_is_refused(reason):
    with pytest.raises(ValueError, match='no reason'):
        encode_close(None, reason)
