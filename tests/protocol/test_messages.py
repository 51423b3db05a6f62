"""Messages come in whole, in fragments, with control frames in between; in any pieces."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond.events import Binary, Text
from lomond.protocol.extensions.deflate import DeflateCodec
from lomond.protocol.limits import DEFAULT_LIMITS
from tests.protocol.harness import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    ROLES,
    RSV1,
    TEXT,
    Wire,
    assert_fails,
    bytewise,
    raw_deflate,
    story,
)

BY_ROLE = pytest.mark.parametrize('role', ROLES)

LENGTHS = [0, 1, 2, 124, 125, 126, 127, 128, 65534, 65535, 65536, 65537, 200000]


@BY_ROLE
@pytest.mark.parametrize('length', LENGTHS)
def test_whole_message_is_one_event(role, length):
    wire = Wire(role)
    payload = b'abc\xc3\xa9'[:5] * (length // 5) + b'x' * (length % 5)
    assert wire.receive_frame(TEXT, payload) == [('text', payload.decode('utf-8'))]
    payload = payload.replace(b'\xc3', b'\xff')
    assert wire.receive_frame(BINARY, payload) == [('binary', payload)]
    assert wire.sent == []


@BY_ROLE
@pytest.mark.parametrize('length', LENGTHS)
def test_whole_message_may_be_split_anywhere(role, length):
    wire = Wire(role)
    payload = (b'0123456789' * (length // 10 + 1))[:length]
    frame = wire.frame(TEXT, payload)
    splits = set(range(20)) | {length // 2, len(frame) - 1, len(frame)}
    for split in sorted(splits):
        assert wire.receive(frame[:split], frame[split:]) == [('text', payload.decode('ascii'))]


@BY_ROLE
def test_many_messages_come_in_one_read(role):
    wire = Wire(role)
    data = b''.join(wire.frame(TEXT, b'%d' % i if str is not bytes else str(i))
                    for i in range(300))
    assert wire.receive(data) == [('text', u'{}'.format(i)) for i in range(300)]


@BY_ROLE
def test_messages_and_the_start_of_the_next_come_in_one_read(role):
    wire = Wire(role)
    frame = wire.frame(TEXT, b'Hello')
    for cut in range(1, len(frame)):
        assert wire.receive(frame * 3 + frame[:cut]) == [('text', u'Hello')] * 3
        assert wire.receive(frame[cut:]) == [('text', u'Hello')]


@BY_ROLE
@pytest.mark.parametrize('opcode, name', [(TEXT, 'text'), (BINARY, 'binary')])
@pytest.mark.parametrize('fragments', [
    [b'', b''], [b'one', b''], [b'', b'one'], [b'one', b'two', b'three'],
    [b'x' * 126, b'y' * 70000, b'']])
def test_fragments_are_one_event(role, opcode, name, fragments):
    wire = Wire(role)
    data = wire.frame(opcode, fragments[0], fin=False)
    data += b''.join(wire.frame(CONTINUATION, part, fin=False) for part in fragments[1:-1])
    data += wire.frame(CONTINUATION, fragments[-1])
    whole = b''.join(fragments)
    expected = [(name, whole.decode('ascii') if name == 'text' else whole)]
    assert wire.receive(data) == expected
    assert wire.receive(data[:5], data[5:]) == expected
    # And the connection is ready for the next message.
    assert wire.receive_frame(TEXT, b'next') == [('text', u'next')]


@BY_ROLE
def test_character_may_be_split_between_fragments(role):
    wire = Wire(role)
    text = u'\xe9\u20ac\U0001f600'
    pieces = bytewise(text.encode('utf-8'))
    data = wire.frame(TEXT, pieces[0], fin=False)
    data += b''.join(wire.frame(CONTINUATION, piece, fin=False) for piece in pieces[1:])
    data += wire.frame(CONTINUATION)
    assert wire.receive(data) == [('text', text)]
    assert wire.receive(*bytewise(data)) == [('text', text)]


@BY_ROLE
def test_control_frames_come_between_fragments_and_disturb_nothing(role):
    """A ping between fragments doesn't disturb the UTF-8 check (RFC 6455 5.4)."""
    wire = Wire(role)
    data = (
        wire.frame(TEXT, b'caf\xc3', fin=False)
        + wire.frame(PING, b'\xff\xfe')
        + wire.frame(CONTINUATION, b'', fin=False)
        + wire.frame(PONG, b'\xc3')
        + wire.frame(CONTINUATION, b'\xa9'))
    expected = [('ping', b'\xff\xfe'), ('pong', b'\xc3'), ('text', u'caf\xe9')]
    assert wire.receive(data) == expected
    assert wire.receive(*bytewise(data)) == expected
    assert wire.replies == [(PONG, b'\xff\xfe')] * 2


@BY_ROLE
def test_text_between_fragments_is_refused(role):
    """A whole message can't come in between, even though it could be read the short way."""
    wire = Wire(role)
    before = assert_fails(
        1002, wire, wire.frame(TEXT, b'one', fin=False) + wire.frame(TEXT, b'two'))
    assert before == []


@BY_ROLE
@pytest.mark.parametrize('length', [0, 1, 5, 125])
def test_ping_is_answered_with_its_own_payload(role, length):
    wire = Wire(role)
    payload = b'\x00\xff\xfe\xed\xa0'.ljust(length, b'z')[:length]
    assert wire.receive_frame(PING, payload) == [('ping', payload)]
    assert wire.replies == [(PONG, payload)]
    assert wire.receive_frame(PONG, payload) == [('pong', payload)]
    assert len(wire.replies) == 1


@BY_ROLE
def test_each_ping_is_answered_in_turn(role):
    wire = Wire(role)
    data = b''.join(wire.frame(PING, payload) for payload in bytewise(b'abc'))
    wire.receive(data)
    assert wire.replies == [(PONG, b'a'), (PONG, b'b'), (PONG, b'c')]


def test_pong_has_gone_out_when_the_ping_is_seen():
    wire = Wire()
    next(wire.read(wire.frame(PING, b'x')))
    assert wire.replies == [(PONG, b'x')]


@BY_ROLE
def test_ping_is_not_answered_with_auto_pong_off(role):
    wire = Wire(role)
    wire.connection.decoder.auto_pong = False
    assert wire.receive_frame(PING, b'x') == [('ping', b'x')]
    assert wire.sent == []


@BY_ROLE
def test_control_frame_may_come_byte_by_byte(role):
    wire = Wire(role)
    assert wire.receive(*bytewise(wire.frame(PING, b'x' * 125))) == [('ping', b'x' * 125)]
    assert wire.replies == [(PONG, b'x' * 125)]


@BY_ROLE
@pytest.mark.parametrize('frames', [
    [(TEXT, b'one'), (BINARY, b'two'), (PING, b'three'), (TEXT, b'four')],
    [(PING, b'one'), (PING, b'two'), (PING, b'three'), (PONG, b'four')]])
def test_iterator_that_is_given_up_loses_nothing(role, frames):
    wire = Wire(role)
    data = b''.join(wire.frame(*frame) for frame in frames)
    happened = []
    piece = data[:-1]
    while len(happened) < 3:
        iterator = wire.read(piece)
        happened.extend(story([next(iterator)]))
        iterator.close()
        piece = b''
    happened.extend(wire.receive(data[-1:]))
    assert [entry[1] if entry[0] != 'text' else entry[1].encode('ascii') for entry in happened] == [
        payload for _opcode, payload in frames]


@BY_ROLE
def test_received_data_is_handed_out_as_bytes_and_text(role):
    wire = Wire(role)
    data = bytearray(wire.frame(TEXT, b'text') + wire.frame(BINARY, b'long' * 50))
    text, binary = wire.read(data)
    assert type(text.text) is type(u'')
    assert type(binary.data) is bytes
    data[:] = b'\0' * len(data)
    assert binary.data == b'long' * 50


@BY_ROLE
def test_every_text_is_of_the_class_asked_for_however_it_comes(role):
    class Shout(Text):
        __slots__ = ()

    wire = Wire(role, text_class=Shout, deflate=DeflateCodec(inflate_takeover=False))
    data = wire.frame(TEXT, b'text') + wire.frame(TEXT, raw_deflate(b'text'), rsv=RSV1)
    data += wire.frame(TEXT, b'te', fin=False) + wire.frame(CONTINUATION, b'xt')
    data += wire.frame(BINARY, b'binary')
    for pieces in ([data], bytewise(data)):
        received = [event for piece in pieces for event in wire.read(piece)]
        assert [type(event) for event in received] == [Shout] * 3 + [Binary]
        assert story(received) == [('text', u'text')] * 3 + [('binary', b'binary')]


@BY_ROLE
def test_message_of_16_mib_passes_with_the_defaults(role):
    wire = Wire(role)
    payload = b'0123456789abcdef' * (1024 * 1024)
    # xor() of the harness takes bytes one by one: a key of zeros needs no masking.
    wire.key = None
    frame = bytearray(wire.frame(BINARY, payload))
    if role == 'server':
        frame[1] |= 0x80
        frame[10:10] = b'\0\0\0\0'
    frame = bytes(frame)
    pieces = [frame[i:i + 65536] for i in range(0, len(frame), 65536)]
    (name, data), = wire.receive(*pieces)
    assert name == 'binary'
    assert data == payload


@BY_ROLE
@pytest.mark.parametrize('step', [1, 1000])
def test_message_of_65536_fragments_passes_with_the_defaults(role, step):
    wire = Wire(role)
    fragment = wire.frame(CONTINUATION, b'x', fin=False)
    data = [wire.frame(TEXT, b'x', fin=False)]
    data.extend([fragment * step] * (65534 // step))
    data.append(fragment * (65534 % step))
    data.append(wire.frame(CONTINUATION, b'x'))
    assert wire.receive(*data) == [('text', u'x' * 65536)]
    assert DEFAULT_LIMITS.fragments >= 65536
