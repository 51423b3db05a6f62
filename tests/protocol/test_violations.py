"""Whatever breaks the framing ends the connection, with 1002 on the wire, once."""

from __future__ import absolute_import, division, print_function

import struct

import pytest

from lomond import errors
from lomond._compat import text_type
from lomond.protocol.connection import SERVER
from lomond.protocol.extensions.deflate import DeflateCodec
from lomond.protocol.state import State
from tests.protocol.harness import (
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    PING,
    PONG,
    ROLES,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    Wire,
    assert_fails,
    bytewise,
)
from tests.support import make_frame

BY_ROLE = pytest.mark.parametrize('role', ROLES)
DEFLATE = pytest.mark.parametrize('deflate', [False, True], ids=['plain', 'deflate'])

CONTROLS = [CLOSE, PING, PONG]


def _wire(role, deflate=False):
    return Wire(role, deflate=DeflateCodec() if deflate else None)


@BY_ROLE
@DEFLATE
@pytest.mark.parametrize('opcode', [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize('fin', [True, False])
def test_reserved_opcode_closes_with_1002(role, deflate, opcode, fin):
    wire = _wire(role, deflate)
    assert assert_fails(1002, wire, wire.frame(opcode, b'x', fin=fin)) == []


@BY_ROLE
@DEFLATE
@pytest.mark.parametrize('opcode', [TEXT, BINARY, PING, PONG, CLOSE])
@pytest.mark.parametrize('rsv', [RSV2, RSV3, RSV2 | RSV3, RSV1 | RSV2, RSV1 | RSV3])
def test_reserved_bit_closes_with_1002(role, deflate, opcode, rsv):
    wire = _wire(role, deflate)
    assert assert_fails(1002, wire, wire.frame(opcode, rsv=rsv)) == []


@BY_ROLE
@pytest.mark.parametrize('opcode', [TEXT, BINARY, PING, PONG, CLOSE])
def test_rsv1_closes_with_1002_where_no_compression_was_agreed_on(role, opcode):
    wire = _wire(role)
    assert assert_fails(1002, wire, wire.frame(opcode, rsv=RSV1)) == []


@BY_ROLE
@pytest.mark.parametrize('opcode', CONTROLS)
def test_rsv1_on_a_control_frame_closes_with_1002(role, opcode):
    wire = _wire(role, deflate=True)
    assert assert_fails(1002, wire, wire.frame(opcode, rsv=RSV1)) == []


@BY_ROLE
@pytest.mark.parametrize('rsv', [0, RSV1], ids=['plain-message', 'compressed-message'])
def test_rsv1_on_a_continuation_closes_with_1002(role, rsv):
    wire = _wire(role, deflate=True)
    assert wire.receive_frame(TEXT, b'', fin=False, rsv=rsv) == []
    assert assert_fails(1002, wire, wire.frame(CONTINUATION, rsv=RSV1)) == []


@BY_ROLE
@pytest.mark.parametrize('opcode', CONTROLS)
@pytest.mark.parametrize('length', [126, 127, 65535, 65536])
def test_oversized_control_frame_closes_with_1002(role, opcode, length):
    wire = _wire(role)
    assert assert_fails(1002, wire, wire.frame(opcode, b'\x03\xe8' + b'x' * (length - 2))) == []


@BY_ROLE
@pytest.mark.parametrize('opcode', CONTROLS)
def test_oversized_control_frame_is_refused_before_its_payload_comes(role, opcode):
    wire = _wire(role)
    assert assert_fails(1002, wire, wire.frame(opcode, b'x' * 126)[:2]) == []


@BY_ROLE
@pytest.mark.parametrize('opcode', CONTROLS)
def test_fragmented_control_frame_closes_with_1002(role, opcode):
    wire = _wire(role)
    assert assert_fails(1002, wire, wire.frame(opcode, fin=False)) == []


@BY_ROLE
@pytest.mark.parametrize('fin', [True, False])
def test_continuation_of_nothing_closes_with_1002(role, fin):
    wire = _wire(role)
    assert assert_fails(1002, wire, wire.frame(CONTINUATION, b'x', fin=fin)) == []


@BY_ROLE
def test_continuation_after_a_whole_message_closes_with_1002(role):
    wire = _wire(role)
    before = assert_fails(1002, wire, wire.frame(TEXT, b'whole') + wire.frame(CONTINUATION))
    assert before == [('text', u'whole')]


@BY_ROLE
def test_continuation_after_the_last_fragment_closes_with_1002(role):
    wire = _wire(role)
    before = assert_fails(
        1002, wire, wire.frame(BINARY, b'a', fin=False), wire.frame(CONTINUATION, b'b'),
        wire.frame(CONTINUATION, b'c'))
    assert before == [('binary', b'ab')]


@BY_ROLE
@pytest.mark.parametrize('first', [TEXT, BINARY])
@pytest.mark.parametrize('second', [TEXT, BINARY])
@pytest.mark.parametrize('fin', [True, False])
def test_message_within_a_message_closes_with_1002(role, first, second, fin):
    wire = _wire(role)
    before = assert_fails(
        1002, wire, wire.frame(first, b'x', fin=False), wire.frame(second, b'long', fin=fin))
    assert before == []


@BY_ROLE
@pytest.mark.parametrize('opcode', [TEXT, BINARY])
def test_message_within_a_message_closes_with_1002_in_one_read_after_a_ping(role, opcode):
    wire = Wire(role)
    data = wire.frame(TEXT, b'one', fin=False) + wire.frame(PING) + wire.frame(opcode, b'two')
    happened = wire.receive(data)
    assert [event[0] for event in happened] == ['ping', 'protocol_error']
    assert happened[-1][3] == 1002


@pytest.mark.parametrize('opcode', [TEXT, BINARY, PING, PONG, CLOSE])
@BY_ROLE
def test_wrong_masking_closes_with_1002(role, opcode):
    """A server must not mask, a client must (RFC 6455 5.1)."""
    wire = _wire(role)
    frame = make_frame(opcode, b'', key=None if role == SERVER else KEY)
    assert assert_fails(1002, wire, frame) == []


@BY_ROLE
def test_wrong_masking_is_found_before_the_payload_comes(role):
    wire = _wire(role)
    frame = make_frame(TEXT, b'Hello', key=None if role == SERVER else KEY)
    assert assert_fails(1002, wire, frame[:2]) == []


@BY_ROLE
@pytest.mark.parametrize('form, length', [
    ('!BBH', 0), ('!BBH', 125), ('!BBQ', 0), ('!BBQ', 125), ('!BBQ', 126), ('!BBQ', 65535)])
def test_length_that_is_not_in_its_shortest_form_closes_with_1002(role, form, length):
    wire = _wire(role)
    mask_bit = 0x80 if wire.key else 0
    header = struct.pack(form, 0x82, mask_bit | (126 if form == '!BBH' else 127), length)
    assert assert_fails(1002, wire, header + (wire.key or b'') + b'x' * length) == []


@BY_ROLE
def test_length_with_its_highest_bit_set_closes_with_1002(role):
    wire = _wire(role)
    mask_bit = 0x80 if wire.key else 0
    header = struct.pack('!BBQ', 0x82, mask_bit | 127, 2 ** 63)
    assert assert_fails(1002, wire, header + (wire.key or b'')) == []


@BY_ROLE
def test_messages_before_a_violation_are_not_lost(role):
    wire = _wire(role)
    data = wire.frame(TEXT, b'one') + wire.frame(PING, b'two') + wire.frame(3)
    happened = wire.receive(data)
    assert [entry[0] for entry in happened] == ['text', 'ping', 'protocol_error']
    assert wire.replies[0] == (PONG, b'two')
    assert wire.replies[1][0] == CLOSE


@BY_ROLE
def test_messages_before_a_violation_are_not_lost_byte_by_byte(role):
    wire = _wire(role)
    before = assert_fails(1002, wire, *bytewise(
        wire.frame(TEXT, b'one') + wire.frame(BINARY, b'two') + wire.frame(3)))
    assert before == [('text', u'one'), ('binary', b'two')]


@BY_ROLE
def test_violation_after_our_close_frame_sends_no_second_one(role):
    wire = _wire(role)
    wire.connection.encode(CLOSE, b'')
    happened = wire.receive_frame(3)
    assert [entry[0] for entry in happened] == ['protocol_error']
    assert happened[0][3] == 1002
    assert wire.sent == []
    assert wire.state == State.FAILING
    assert wire.connection.close_sent == (1005, u'')
    assert not wire.connection.is_receiving
    assert wire.receive(wire.close_frame(1000)) == []
    assert not wire.connection.is_close_complete


@BY_ROLE
def test_failed_connection_sends_nothing_more(role):
    wire = _wire(role)
    assert_fails(1002, wire, wire.frame(3))
    assert wire.state == State.FAILING
    for opcode in (TEXT, BINARY, PING, PONG, CLOSE):
        with pytest.raises(errors.WebSocketClosing):
            wire.connection.encode(opcode, b'')
    assert wire.receive_frame(PING, b'x') == []
    assert len(wire.sent) == 1


@BY_ROLE
def test_words_of_an_error_are_text(role):
    """As all words in events are, on 2.7 too."""
    wire = _wire(role)
    (_name, error, _critical, _code), = wire.receive_frame(3)
    assert isinstance(error, text_type)
