"""The closing handshake from either side, crossing, broken; and the close codes."""

from __future__ import absolute_import, division, print_function

import struct

import pytest

from lomond import errors
from lomond.protocol.connection import CLIENT, SERVER, Connection
from lomond.protocol.state import State
from tests.protocol.harness import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    ROLES,
    TEXT,
    SteppingLock,
    Wire,
    assert_fails,
    bytewise,
    drive,
    parse_frames,
    story,
)

BY_ROLE = pytest.mark.parametrize('role', ROLES)

ACCEPTED = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999,
            4000, 4999]
REFUSED = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


@BY_ROLE
@pytest.mark.parametrize('code', ACCEPTED)
def test_close_code_is_accepted_and_echoed(role, code):
    wire = Wire(role)
    assert wire.receive(wire.close_frame(code, b'caf\xc3\xa9')) == [('closing', code, u'caf\xe9')]
    assert wire.replies == [(CLOSE, struct.pack('!H', code))]
    assert wire.state == State.CLOSED
    assert wire.connection.is_close_complete
    assert wire.connection.close_received == (code, u'caf\xe9')
    assert wire.connection.close_sent == (code, u'')
    assert wire.connection.error is None


@BY_ROLE
@pytest.mark.parametrize('code', REFUSED)
def test_close_code_is_refused_with_1002(role, code):
    wire = Wire(role)
    assert assert_fails(1002, wire, wire.close_frame(code, b'why')) == []
    assert wire.connection.close_received is None
    assert wire.connection.close_sent.code == 1002


@BY_ROLE
@pytest.mark.parametrize('code', REFUSED)
def test_wrong_close_code_after_our_close_frame_is_a_fault_too(role, code):
    wire = Wire(role)
    wire.connection.encode(CLOSE, b'\x03\xe8')
    (name, _error, _critical, close_code), = wire.receive(wire.close_frame(code))
    assert (name, close_code) == ('protocol_error', 1002)
    assert wire.sent == []
    assert not wire.connection.is_close_complete


@BY_ROLE
def test_close_without_a_code_is_1005_and_echoed_empty(role):
    wire = Wire(role)
    assert wire.receive_frame(CLOSE) == [('closing', 1005, u'')]
    assert wire.replies == [(CLOSE, b'')]
    assert wire.connection.close_received == wire.connection.close_sent == (1005, u'')
    assert wire.connection.is_close_complete


@BY_ROLE
def test_half_a_close_code_closes_with_1002(role):
    wire = Wire(role)
    assert assert_fails(1002, wire, wire.frame(CLOSE, b'\x03')) == []


@BY_ROLE
@pytest.mark.parametrize('reason', [b'\xff', b'caf\xc3', b'\xed\xa0\x80', b'\xc0\x80'])
def test_close_reason_that_is_not_utf8_closes_with_1007(role, reason):
    wire = Wire(role)
    assert assert_fails(1007, wire, wire.close_frame(1000, reason)) == []


@BY_ROLE
def test_close_reason_may_have_123_bytes(role):
    wire = Wire(role)
    assert wire.receive(wire.close_frame(1000, b'x' * 123)) == [('closing', 1000, u'x' * 123)]


@BY_ROLE
def test_close_frame_may_come_byte_by_byte(role):
    wire = Wire(role)
    assert wire.receive(*bytewise(wire.close_frame(1001, b'bye'))) == [('closing', 1001, u'bye')]
    assert wire.replies == [(CLOSE, b'\x03\xe9')]


@BY_ROLE
def test_peer_closes_and_the_user_may_still_send(role):
    """RFC 6455 5.5.1: what must not be sent after is only what follows our own Close."""
    wire = Wire(role)
    iterator = wire.read(wire.close_frame(1000))
    assert story([next(iterator)]) == [('closing', 1000, u'')]
    assert wire.state == State.PEER_CLOSING
    assert wire.connection.close_received == (1000, u'')
    assert wire.connection.close_sent is None
    assert wire.sent == []
    wire.sent.append(wire.connection.encode(TEXT, b'last words'))
    assert list(iterator) == []
    assert wire.replies == [(TEXT, b'last words'), (CLOSE, b'\x03\xe8')]
    assert wire.state == State.CLOSED
    with pytest.raises(errors.WebSocketClosed):
        wire.connection.encode(TEXT, b'late')


@BY_ROLE
def test_peer_closes_and_the_user_answers(role):
    wire = Wire(role)
    iterator = wire.read(wire.close_frame(1000))
    next(iterator)
    wire.sent.append(wire.connection.encode(CLOSE, b'\x0f\xa0mine'))
    assert list(iterator) == []
    assert wire.replies == [(CLOSE, b'\x0f\xa0mine')]
    assert wire.connection.close_sent == (4000, u'mine')
    assert wire.connection.is_close_complete


@BY_ROLE
def test_peer_closes_and_the_transport_goes_before_the_echo(role):
    wire = Wire(role)
    iterator = wire.read(wire.close_frame(1000))
    next(iterator)
    wire.connection.disconnect()
    assert list(iterator) == []
    assert wire.sent == []
    assert not wire.connection.is_close_complete


@BY_ROLE
def test_echo_that_can_not_be_sent_leaves_the_close_incomplete(role):
    replies = []
    connection = Connection(role)
    connection.accept()
    wire = Wire(role)
    happened = drive(connection, wire.close_frame(1000), lambda *reply: replies.append(reply))
    assert story(happened) == [('closing', 1000, u'')]
    assert replies == [(CLOSE, b'\x03\xe8')]
    assert connection.state == State.PEER_CLOSING
    assert not connection.is_close_complete
    assert list(connection.receive(b'')) == []
    assert connection.decoder.pending is None


@BY_ROLE
def test_we_close_and_messages_still_arrive(role):
    wire = Wire(role)
    wire.connection.encode(CLOSE, b'\x03\xe8')
    assert wire.receive(
        wire.frame(TEXT, b'one'), wire.frame(BINARY, b'two', fin=False),
        wire.frame(CONTINUATION, b'more') + wire.frame(PONG, b'x')
        + wire.close_frame(1000, b'bye'),
    ) == [('text', u'one'), ('binary', b'twomore'), ('pong', b'x'), ('closed', 1000, u'bye')]
    assert wire.sent == []
    assert wire.state == State.CLOSED
    assert wire.connection.is_close_complete


@BY_ROLE
def test_ping_after_our_close_frame_is_not_answered(role):
    """Nothing may follow a Close frame."""
    wire = Wire(role)
    wire.connection.encode(CLOSE, b'')
    assert wire.receive_frame(PING, b'x') == [('ping', b'x')]
    assert wire.sent == []


@BY_ROLE
def test_peer_answers_without_a_code(role):
    wire = Wire(role)
    wire.connection.encode(CLOSE, b'\x03\xe8')
    assert wire.receive_frame(CLOSE) == [('closed', 1005, u'')]
    assert wire.connection.is_close_complete


@BY_ROLE
@pytest.mark.parametrize('we_closed', [False, True])
def test_data_after_the_close_frame_is_not_delivered(role, we_closed):
    wire = Wire(role)
    if we_closed:
        wire.connection.encode(CLOSE, b'')
    after = wire.frame(TEXT, b'late') + wire.frame(PING, b'late') + b'\xff\xff\xff'
    happened = wire.receive(wire.close_frame(1000) + after, after, wire.close_frame(1000))
    assert happened == [('closed' if we_closed else 'closing', 1000, u'')]
    assert len(wire.sent) == (0 if we_closed else 1)


@BY_ROLE
def test_close_between_fragments_ends_the_message_unseen(role):
    wire = Wire(role)
    assert wire.receive(
        wire.frame(TEXT, b'never', fin=False), wire.close_frame(1001),
        wire.frame(CONTINUATION, b'complete')) == [('closing', 1001, u'')]
    assert wire.replies == [(CLOSE, b'\x03\xe9')]


def _pair():
    """Return a client's and a server's end, and what each put on the wire."""
    ends = []
    for role in (CLIENT, SERVER):
        wire = Wire(role)
        ends.append(wire)
    return ends


@pytest.mark.parametrize('first', [CLIENT, SERVER])
def test_two_ends_close_in_turn(first):
    client, server = _pair()
    us, them = (client, server) if first == CLIENT else (server, client)
    frame = us.connection.encode(CLOSE, b'\x03\xe8bye')
    assert them.receive(frame) == [('closing', 1000, u'bye')]
    assert us.receive(b''.join(them.sent)) == [('closed', 1000, u'')]
    for end in (client, server):
        assert end.state == State.CLOSED
        assert end.connection.is_close_complete
    assert us.sent == []


def test_two_ends_close_at_once():
    client, server = _pair()
    from_client = client.connection.encode(CLOSE, b'\x03\xe8client')
    from_server = server.connection.encode(CLOSE, b'\x03\xe9server')
    assert client.receive(from_server) == [('closed', 1001, u'server')]
    assert server.receive(from_client) == [('closed', 1000, u'client')]
    for end in (client, server):
        assert end.sent == []
        assert end.state == State.CLOSED
        assert end.connection.is_close_complete


def _failing(role):
    """Return an end whose peer broke the protocol, and the payload of the Close that is pending."""
    wire = Wire(role)
    wire.held_up = []
    (name, _error, _critical, code), = wire.receive_frame(3)
    assert (name, code) == ('protocol_error', 1002)
    (opcode, payload), = wire.held_up
    assert opcode == CLOSE
    assert wire.state == State.FAILING
    assert wire.connection.close_sent is None
    return wire, payload


@BY_ROLE
def test_after_a_fault_our_close_frame_is_all_that_may_be_sent(role):
    wire, payload = _failing(role)
    for opcode in (TEXT, BINARY, PING, PONG):
        with pytest.raises(errors.WebSocketClosing, match='ProtocolError'):
            wire.connection.encode(opcode, b'')
    wire.sent.append(wire.connection.encode(CLOSE, payload))
    assert wire.replies == [(CLOSE, payload)]
    assert wire.connection.close_sent.code == 1002
    assert wire.state == State.FAILING
    for opcode in (TEXT, PING, CLOSE):
        with pytest.raises(errors.WebSocketClosing):
            wire.connection.encode(opcode, b'')
    wire.connection.disconnect()
    assert wire.state == State.CLOSED
    assert not wire.connection.is_close_complete


@BY_ROLE
def test_after_a_fault_the_users_close_frame_may_come_first(role):
    wire, payload = _failing(role)
    wire.connection.encode(CLOSE, b'\x0f\xa0mine')
    assert wire.connection.close_sent == (4000, u'mine')
    with pytest.raises(errors.WebSocketClosing):
        wire.connection.encode(CLOSE, payload)


@BY_ROLE
def test_a_fault_in_the_middle_of_our_message_ends_it(role):
    wire = Wire(role)
    _size, frames = wire.connection.encoder.encode_in_frames(TEXT, b'x' * 10, fragment_size=4)
    next(frames)
    wire.held_up = []
    wire.receive_frame(3)
    with pytest.raises(errors.WebSocketClosing, match='in the middle of this message'):
        next(frames)


@BY_ROLE
@pytest.mark.parametrize('we_closed', [False, True])
@pytest.mark.parametrize('last, expected', [
    ((3, b''), 'protocol_error'), ((CLOSE, b'\x03\xe8'), 'closed')])
def test_the_transport_may_go_while_the_last_frame_is_decoded(role, we_closed, last, expected):
    """Another thread may disconnect; what the peer sent never raises."""
    lock = SteppingLock()
    wire = Wire(role, lock=lock)
    if we_closed:
        wire.connection.encode(CLOSE, b'')
    lock.before_next(wire.connection.disconnect)
    (name,), = [event[:1] for event in wire.receive_frame(*last)]
    assert name == expected
    assert wire.sent == []
    assert wire.state == State.CLOSED
    assert wire.connection.is_close_complete is (we_closed and expected == 'closed')


@BY_ROLE
@pytest.mark.parametrize('payload', [
    b'\x03', b'\x03\xed', b'\x00\x00', b'\x03\xe8\xff', b'\x03\xe8' + b'x' * 124])
def test_close_frame_that_the_peer_would_refuse_is_not_sent(role, payload):
    wire = Wire(role)
    with pytest.raises(errors.FrameBuildError):
        wire.connection.encode(CLOSE, payload)
    assert wire.state == State.OPEN
    assert wire.connection.close_sent is None
    wire.connection.encode(CLOSE, b'\x03\xe8')


@BY_ROLE
def test_fault_tells_its_reason_in_the_close_frame(role):
    wire = Wire(role)
    (_name, error, _critical, _code), = wire.receive_frame(3)
    ((first, payload),) = parse_frames(wire.sent[0], role)
    assert first == 0x88
    assert payload[2:].decode('utf-8') == error
    assert len(payload) <= 125
