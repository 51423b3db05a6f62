"""Text that isn't UTF-8 ends the connection with 1007, at the first wrong byte."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond._compat import text_type
from lomond.protocol.extensions.deflate import DeflateCodec
from tests.protocol.harness import (
    BINARY,
    CONTINUATION,
    PING,
    ROLES,
    RSV1,
    TEXT,
    Wire,
    assert_fails,
    raw_deflate,
)

BY_ROLE = pytest.mark.parametrize('role', ROLES)

# (valid start, wrong byte): the wrong byte alone makes it certain (RFC 3629 4).
WRONG = [
    (b'', b'\x80'), (b'', b'\xbf'),                         # a continuation byte first
    (b'', b'\xc0'), (b'', b'\xc1'),                         # overlong, two bytes
    (b'', b'\xf5'), (b'', b'\xf8'), (b'', b'\xfc'), (b'', b'\xfe'), (b'', b'\xff'),
    (b'\xc2', b'\x7f'), (b'\xc2', b'\xc0'), (b'\xdf', b'('),
    (b'\xe0', b'\x80'), (b'\xe0', b'\x9f'),                 # overlong, three bytes
    (b'\xe1', b'A'), (b'\xe1\x80', b'A'), (b'\xe1\x80', b'\xc0'),
    (b'\xed', b'\xa0'), (b'\xed', b'\xad'), (b'\xed', b'\xb0'), (b'\xed', b'\xbf'),  # surrogates
    (b'\xef\xbf', b'\xc0'),
    (b'\xf0', b'\x80'), (b'\xf0', b'\x8f'),                 # overlong, four bytes
    (b'\xf0\x90', b'A'), (b'\xf0\x90\x80', b'A'),
    (b'\xf1', b'\xc0'), (b'\xf3\x80', b'\x7f'), (b'\xf3\x80\x80', b'\xc0'),
    (b'\xf4', b'\x90'), (b'\xf4', b'\xbf'),                 # beyond U+10FFFF
    (b'\xf4\x8f', b'\xff'), (b'\xf4\x8f\xbf', b'\x00'),
]

CUT_OFF = [b'\xc2', b'\xe0', b'\xe0\xa0', b'\xed', b'\xed\x9f', b'\xf0', b'\xf0\x90',
           b'\xf0\x90\x80', b'\xf4\x8f\xbf', b'\xef\xbf']

VALID = [
    u'', u'\x00', u'\x7f', u'\x80', u'\u07ff', u'\u0800', u'\ud7ff', u'\ue000', u'\ufeff',
    u'\uffff', u'\U00010000', u'\U0010ffff', u'\u1f44b\u03ba\u1f79\u03c3\u03bc\u03b5']


@BY_ROLE
@pytest.mark.parametrize('text', VALID)
@pytest.mark.parametrize('around', [u'', u'x' * 130, u'\u20ac'])
def test_valid_text_passes_whole_and_in_fragments(role, text, around):
    wire = Wire(role)
    payload = (around + text + around).encode('utf-8')
    expected = [('text', around + text + around)]
    assert wire.receive_frame(TEXT, payload) == expected
    for split in range(len(payload) + 1):
        first = wire.frame(TEXT, payload[:split], fin=False)
        last = wire.frame(CONTINUATION, payload[split:])
        assert wire.receive(first, last) == expected


@BY_ROLE
@pytest.mark.parametrize('start, wrong', WRONG)
@pytest.mark.parametrize('before, after', [
    (b'', b''), (b'', b'after'), (b'caf\xc3\xa9', b''), (b'x' * 200, b'\xc3\xa9' * 5)],
    ids=['alone', 'first', 'last', 'within'])
def test_wrong_text_in_a_whole_message_closes_with_1007(role, start, wrong, before, after):
    wire = Wire(role)
    assert assert_fails(1007, wire, wire.frame(TEXT, before + start + wrong + after)) == []


@BY_ROLE
@pytest.mark.parametrize('start, wrong', WRONG)
def test_wrong_text_fails_at_once_wherever_a_frame_is_split(role, start, wrong):
    """The message isn't complete, and never will be."""
    payload = b'\xe2\x82\xac' + start + wrong
    for split in range(len(payload)):
        wire = Wire(role)
        # More is announced than ever comes.
        frame = wire.frame(TEXT, payload + b'...')[:-3]
        header = len(frame) - len(payload)
        fine = frame[:-1]
        assert wire.receive(fine[:header + split], fine[header + split:]) == []
        assert assert_fails(1007, wire, frame[-1:]) == []


@BY_ROLE
@pytest.mark.parametrize('start, wrong', WRONG)
def test_wrong_text_fails_at_once_wherever_fragments_are_split(role, start, wrong):
    payload = b'\xe2\x82\xac' + start
    for split in range(len(payload) + 1):
        wire = Wire(role)
        assert wire.receive_frame(TEXT, payload[:split], fin=False) == []
        assert wire.receive_frame(CONTINUATION, payload[split:], fin=False) == []
        assert assert_fails(1007, wire, wire.frame(CONTINUATION, wrong, fin=False)) == []


@BY_ROLE
@pytest.mark.parametrize('end', CUT_OFF)
def test_text_that_ends_within_a_character_closes_with_1007(role, end):
    wire = Wire(role)
    assert assert_fails(1007, wire, wire.frame(TEXT, b'x' + end)) == []
    wire = Wire(role)
    assert wire.receive_frame(TEXT, b'xy' + end, fin=False) == []
    assert assert_fails(1007, wire, wire.frame(CONTINUATION)) == []


@BY_ROLE
@pytest.mark.parametrize('end', CUT_OFF)
def test_text_that_stops_within_a_character_may_go_on(role, end):
    """It is no fault as long as something right may follow, even after a ping."""
    wire = Wire(role)
    assert wire.receive_frame(TEXT, end, fin=False) == []
    assert wire.receive_frame(PING) == [('ping', b'')]
    rest = {b'\xc2': b'\x80', b'\xe0': b'\xa0\x80', b'\xf0': b'\x90\x80\x80'}.get(end)
    if rest is None:
        # Lead bytes whose tail any continuation bytes complete.
        rest = b'\x80' * ({0xe: 3, 0xf: 4}.get(bytearray(end)[0] >> 4, 2) - len(end))
    assert wire.receive_frame(CONTINUATION, rest) == [('text', (end + rest).decode('utf-8'))]


@BY_ROLE
@pytest.mark.parametrize('start, wrong', WRONG)
def test_wrong_text_in_a_compressed_message_closes_with_1007(role, start, wrong):
    wire = Wire(role, deflate=DeflateCodec())
    data = raw_deflate(b'fine ' + start + wrong)
    assert assert_fails(1007, wire, wire.frame(TEXT, data, rsv=RSV1)) == []


@BY_ROLE
def test_wrong_text_in_a_compressed_message_fails_before_it_is_complete(role):
    wire = Wire(role, deflate=DeflateCodec())
    data = raw_deflate(b'fine \xff' + bytes(bytearray(i * 7 % 256 for i in range(500))), level=0)
    frame = wire.frame(TEXT, data, fin=False, rsv=RSV1)
    assert assert_fails(1007, wire, frame[:50]) == []


@BY_ROLE
def test_binary_may_be_anything(role):
    wire = Wire(role)
    for start, wrong in WRONG:
        assert wire.receive_frame(BINARY, start + wrong) == [('binary', start + wrong)]


@BY_ROLE
def test_decoder_of_one_message_does_not_leak_into_the_next(role):
    wire = Wire(role)
    assert wire.receive_frame(BINARY, b'\xc3', fin=False) == []
    assert wire.receive_frame(CONTINUATION, b'') == [('binary', b'\xc3')]
    assert assert_fails(1007, wire, wire.frame(TEXT, b'\xa9')) == []


@BY_ROLE
@pytest.mark.parametrize('pieces', [
    [b'plain'] * 3, [b'plain', b'caf\xc3', b'\xa9', b'plain'], [b'x'] * 2500, [b'', b''],
    [b'x'] * 1500 + [b'\xc3\xa9'] + [b'x'] * 1500])
def test_fragments_make_one_text_whatever_is_ascii_in_them(role, pieces):
    wire = Wire(role)
    assert wire.receive_frame(TEXT, pieces[0], fin=False) == []
    for piece in pieces[1:-1]:
        assert wire.receive_frame(CONTINUATION, piece, fin=False) == []
    (name, text), = wire.receive_frame(CONTINUATION, pieces[-1])
    assert (name, type(text)) == ('text', text_type)
    assert text == b''.join(pieces).decode('utf-8')


def test_the_words_name_utf8():
    wire = Wire()
    (_name, error, _critical, _code), = wire.receive_frame(TEXT, b'\xff\xff')
    assert 'UTF-8' in error
