"""The sending half of a Connection: what it encodes and when, counts, keys, the lock."""

from __future__ import absolute_import, division, print_function

import os
import zlib

import pytest

from lomond import errors
from lomond._compat import to_bytes
from lomond.protocol.connection import CLIENT, SERVER, Connection
from lomond.protocol.extensions.deflate import DeflateCodec
from lomond.protocol.frame import PIECE
from lomond.protocol.state import State
from lomond.stats import Stats
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
    calls,
    connection_in,
    counted,
    parse_frames,
    story,
)
from tests.support import make_close, make_frame, needs_frames

BY_ROLE = pytest.mark.parametrize('role', ROLES)


@BY_ROLE
@pytest.mark.parametrize('state', [State.OPEN, State.PEER_CLOSING])
@pytest.mark.parametrize('opcode', [TEXT, BINARY, PING, PONG])
@pytest.mark.parametrize('payload', [b'', b'Hello'])
def test_frame_is_encoded_while_sending_is_allowed(role, state, opcode, payload):
    connection = connection_in(state, role)
    frame = connection.encode(opcode, payload)
    assert parse_frames(frame, role) == [(0x80 | opcode, payload)]
    assert connection.state == state


@BY_ROLE
@pytest.mark.parametrize('size', [125, 126, 127, 65535, 65536])
def test_frame_has_the_length_of_its_message(role, size):
    frame = Wire(role).connection.encode(BINARY, b'x' * size)
    assert parse_frames(frame, role) == [(0x82, b'x' * size)]


@pytest.mark.parametrize('state, expected', [
    (State.CONNECTING, errors.WebSocketUnavailable),
    (State.CLOSING, errors.WebSocketClosing),
    (State.FAILING, errors.WebSocketClosing),
    (State.CLOSED, errors.WebSocketClosed),
    ('rejected', errors.WebSocketClosed),
    ('disconnected', errors.WebSocketClosed),
])
@pytest.mark.parametrize('opcode', [TEXT, BINARY, CLOSE, PING, PONG])
def test_nothing_is_encoded_where_sending_is_not_allowed(state, expected, opcode):
    if (state, opcode) == (State.FAILING, CLOSE):
        return      # one may go out
    connection = connection_in(state)
    before = connection.state
    with pytest.raises(errors.WebSocketUnavailable) as caught:
        connection.encode(opcode, b'')
    assert type(caught.value) is expected
    assert connection.state == before


@BY_ROLE
@pytest.mark.parametrize('state, following, complete', [
    (State.OPEN, State.CLOSING, False), (State.PEER_CLOSING, State.CLOSED, True),
    (State.FAILING, State.FAILING, False)])
def test_close_frame_ends_sending(role, state, following, complete):
    connection = connection_in(state, role)
    frame = connection.encode(CLOSE, b'\x03\xe8')
    assert parse_frames(frame, role) == [(0x88, b'\x03\xe8')]
    assert connection.state == following
    assert connection.is_close_complete is complete
    with pytest.raises(errors.WebSocketUnavailable):
        connection.encode(TEXT, b'late')


@pytest.mark.parametrize('compress', [False, True])
@pytest.mark.parametrize('deflate', [None, DeflateCodec], ids=['plain', 'deflate'])
@pytest.mark.parametrize('opcode, payload', [
    (CLOSE, b'x' * 126), (PING, b'x' * 126), (PONG, b'x' * 126), (CONTINUATION, b'x'), (3, b'x'),
    (15, b'x'), (-1, b'x'), (2 ** 70, b'x')])
def test_frame_that_rfc_6455_forbids_is_refused_and_changes_nothing(
        opcode, payload, deflate, compress):
    wire = Wire(deflate=deflate and deflate())
    with pytest.raises(errors.FrameBuildError):
        wire.connection.encode(opcode, payload, compress)
    assert wire.state == State.OPEN
    if deflate:
        # The deflate stream is where the peer believes it to be.
        frame = wire.connection.encode(TEXT, b'Hello', compress=True)
        assert parse_frames(frame, CLIENT) == [(0xc1, b'\xf2\x48\xcd\xc9\xc9\x07\x00')]


def test_message_is_compressed_if_that_was_agreed_on_and_asked_for():
    wire = Wire(SERVER, deflate=DeflateCodec())
    assert wire.connection.supports_compression
    assert wire.connection.encode(TEXT, b'Hello') == b'\x81\x05Hello'
    assert wire.connection.encode(TEXT, b'Hello', True) == b'\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00'
    assert wire.connection.encode(BINARY, b'Hello', True) == b'\xc2\x05\xf2\x00\x11\x00\x00'
    assert Wire(SERVER).connection.encode(TEXT, b'Hello', True) == b'\x81\x05Hello'


@pytest.mark.parametrize('opcode', [PING, PONG, CLOSE])
def test_control_frame_is_never_compressed(opcode):
    wire = Wire(SERVER, deflate=DeflateCodec())
    payload = b'\x03\xe8bye'
    assert wire.connection.encode(opcode, payload, True) == make_frame(opcode, payload)


def gather(frames):
    """Return the frames, each joined from its pieces, as the sending thread takes them."""
    return [b''.join([to_bytes(piece) for piece in pieces]) for pieces in frames]


def test_pieces_of_a_message_are_its_frame():
    wire = Wire(SERVER)
    size, frames = wire.connection.encoder.encode_in_frames(BINARY, b'x' * (3 * PIECE + 5))
    frame, = gather(frames)
    assert frame == make_frame(BINARY, b'x' * (3 * PIECE + 5))
    assert size == len(frame)


@BY_ROLE
@pytest.mark.parametrize('length, fragment_size, expected', [
    (0, 1, [0]), (1, 1, [1]), (3, 1, [1, 1, 1]), (10, 4, [4, 4, 2]), (8, 4, [4, 4]),
    (7, 8, [7]), (8, 8, [8]), (9, 8, [8, 1]), (9, None, [9]),
    (126, 125, [125, 1]), (300, 126, [126, 126, 48]), (65536, 65535, [65535, 1]),
    (65537, 65536, [65536, 1]), (3 * PIECE, PIECE + 1, [PIECE + 1, PIECE + 1, PIECE - 2]),
])
def test_a_message_of_more_than_the_fragment_size_is_cut(role, length, fragment_size, expected):
    """RFC 6455 5.4."""
    payload = bytes(bytearray(i % 251 for i in range(length)))
    stats = Stats()
    connection = Wire(role, stats=stats).connection
    size, frames = connection.encoder.encode_in_frames(TEXT, payload, False, fragment_size)
    frames = gather(frames)
    assert size == sum(len(frame) for frame in frames) == stats.sent.wire_bytes
    parsed = parse_frames(b''.join(frames), role)
    assert [len(part) for _first, part in parsed] == expected
    assert b''.join([part for _first, part in parsed]) == payload
    firsts = [0x01] + [0x00] * (len(expected) - 1)
    firsts[-1] |= 0x80
    assert [first for first, _part in parsed] == firsts
    assert counted(stats.sent) == (1, length, size)


@BY_ROLE
def test_a_compressed_message_is_cut_after_compressing(role):
    """RFC 7692 6.1: RSV1 is set on the first frame only."""
    noise = os.urandom(1000)
    wire = Wire(role, deflate=DeflateCodec())
    _size, frames = wire.connection.encoder.encode_in_frames(BINARY, noise, True, 400)
    parsed = parse_frames(b''.join(gather(frames)), role)
    assert [first for first, _part in parsed] == [0x42, 0x00, 0x80]
    inflater = zlib.decompressobj(-15)
    assert inflater.decompress(
        b''.join([part for _first, part in parsed]) + b'\0\0\xff\xff') == noise
    # What fits once it is deflated isn't cut.
    _size, frames = wire.connection.encoder.encode_in_frames(BINARY, b'x' * 1000, True, 400)
    assert [first for first, _part in parse_frames(b''.join(gather(frames)), role)] == [0xc2]


@pytest.mark.parametrize('opcode', [PING, PONG, CLOSE, CONTINUATION, 3])
def test_only_a_message_goes_in_several_frames(opcode):
    wire = Wire(SERVER)
    with pytest.raises(errors.FrameBuildError):
        wire.connection.encoder.encode_in_frames(opcode, b'\x03\xe8bye', fragment_size=1)
    assert wire.state == State.OPEN


@pytest.mark.parametrize('state, expected', [
    (State.OPEN, errors.WebSocketClosing), (State.PEER_CLOSING, errors.WebSocketClosed)])
def test_a_close_frame_between_fragments_ends_the_message(state, expected):
    connection = connection_in(state, SERVER)
    _size, frames = connection.encoder.encode_in_frames(TEXT, b'x' * 10, fragment_size=4)
    assert gather([next(frames)]) == [make_frame(TEXT, b'xxxx', fin=False)]
    assert connection.encode(PING, b'between') == make_frame(PING, b'between')
    assert gather([next(frames)]) == [make_frame(CONTINUATION, b'xxxx', fin=False)]
    connection.encode(CLOSE, b'\x03\xe8')
    with pytest.raises(errors.WebSocketUnavailable, match='in the middle of this') as caught:
        next(frames)
    assert type(caught.value) is expected


def test_messages_in_frames_and_many_are_compressed_only_if_that_was_asked_for():
    wire = Wire(SERVER, deflate=DeflateCodec())
    _size, frames = wire.connection.encoder.encode_in_frames(TEXT, b'Hello')
    assert gather(frames) == [b'\x81\x05Hello']
    assert list(wire.connection.encoder.encode_many([(TEXT, b'Hello')])) == [b'\x81\x05Hello']
    _size, frames = wire.connection.encoder.encode_in_frames(TEXT, b'Hello', True)
    assert gather(frames) == [b'\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00']
    assert list(wire.connection.encoder.encode_many([(TEXT, b'Hello')], True)) == [
        b'\xc1\x05\xf2\x00\x11\x00\x00']


@BY_ROLE
def test_large_ones_of_many_messages_are_cut_and_each_part_ends_with_a_frame(role):
    wire = Wire(role)
    messages = [(BINARY, b'x' * 101), (TEXT, b'small'), (BINARY, b'z' * 100), (BINARY, b'y' * 250),
                (TEXT, b'last')]
    parts = list(wire.connection.encoder.encode_many(messages, fragment_size=100))
    assert [parse_frames(part, role) for part in parts] == [
        [(0x02, b'x' * 100)], [(0x80, b'x')],
        [(0x81, b'small'), (0x82, b'z' * 100)],
        [(0x02, b'y' * 100)], [(0x00, b'y' * 100)], [(0x80, b'y' * 50)],
        [(0x81, b'last')]]


@BY_ROLE
def test_frames_of_many_messages_come_in_pieces_of_64_kib(role):
    wire = Wire(role)
    frame_size = len(wire.connection.encode(BINARY, b'x' * 1000))
    fit = -(-PIECE // frame_size)       # as many as reach 64 KiB
    messages = [(BINARY, b'x' * 1000)] * (2 * fit + 1)
    pieces = list(wire.connection.encoder.encode_many(messages))
    assert [len(piece) // frame_size for piece in pieces] == [fit, fit, 1]
    assert parse_frames(b''.join(pieces), role) == [(0x82, b'x' * 1000)] * (2 * fit + 1)


@pytest.mark.parametrize('frame_sizes, expected', [
    ([PIECE // 2] * 5, [PIECE, PIECE, PIECE // 2]),
    ([PIECE - 1, 100] * 2, [PIECE + 99] * 2),
])
def test_a_piece_of_64_kib_takes_no_more_frames_and_a_smaller_one_does(frame_sizes, expected):
    messages = [(BINARY, b'x' * (size - (4 if size > 125 else 2))) for size in frame_sizes]
    pieces = list(Wire(SERVER).connection.encoder.encode_many(messages))
    assert [len(piece) for piece in pieces] == expected


@pytest.mark.parametrize('frame_sizes, expected', [
    ([PIECE // 2] * 3, [PIECE, PIECE // 2]),
    ([PIECE - 1, 100, 100], [PIECE + 99, 100]),
])
def test_a_piece_begins_empty_after_a_large_message(frame_sizes, expected):
    messages = [(TEXT, b'small'), (BINARY, b'x' * (PIECE + 1))]
    messages += [(BINARY, b'x' * (size - (4 if size > 125 else 2))) for size in frame_sizes]
    pieces = list(Wire(SERVER).connection.encoder.encode_many(messages, fragment_size=PIECE))
    assert [len(piece) for piece in pieces] == [7, PIECE + 10, 3] + expected


def test_many_messages_that_are_none_make_no_piece():
    assert list(Wire().connection.encoder.encode_many([])) == []


# -- the short way --

@needs_frames
@pytest.mark.parametrize('opcode', [TEXT, BINARY])
@pytest.mark.parametrize('size', [0, 1, 125])
@pytest.mark.parametrize('deflate, compress', [(False, False), (False, True), (True, False)])
def test_small_plain_messages_of_a_client_are_sent_the_short_way(opcode, size, deflate, compress):
    connection = Wire(CLIENT, deflate=DeflateCodec() if deflate else None).connection
    assert calls(connection.encode, opcode, b'x' * size, compress)['encode_frame'] == 0
    frame = connection.encode(opcode, b'x' * size, compress)
    assert parse_frames(frame, CLIENT) == [(0x80 | opcode, b'x' * size)]


@needs_frames
@pytest.mark.parametrize('role, size, compress', [
    ('server', 5, False), ('client', 126, False), ('client', 5, True)])
def test_other_messages_are_sent_the_long_way(role, size, compress):
    connection = Wire(role, deflate=DeflateCodec()).connection
    assert calls(connection.encode, TEXT, b'x' * size, compress)['encode_frame'] == 1


# -- what is counted --

@BY_ROLE
@pytest.mark.parametrize('compress', [False, True])
@pytest.mark.parametrize('size', [0, 5, 125, 126, 70000])
def test_messages_and_bytes_sent_are_counted(role, compress, size):
    stats = Stats()
    connection = Wire(role, deflate=DeflateCodec(), stats=stats).connection
    wire_bytes = 0
    for count, opcode in enumerate([TEXT, BINARY, TEXT], 1):
        wire_bytes += len(connection.encode(opcode, b'x' * size, compress))
        assert counted(stats.sent) == (count, count * size, wire_bytes)
    frame_size, frames = connection.encoder.encode_in_frames(BINARY, b'x' * size, compress)
    assert frame_size == sum([len(frame) for frame in gather(frames)])
    wire_bytes += frame_size
    assert counted(stats.sent) == (4, 4 * size, wire_bytes)
    for opcode, pings in ((PING, 1), (PONG, 1), (PING, 2), (CLOSE, 2)):
        wire_bytes += len(connection.encode(opcode, b'\x03\xe8', compress))
        assert counted(stats.sent) == (4, 4 * size, wire_bytes)
        assert stats.pings_sent == pings


# -- masking keys --

def test_client_masks_with_a_new_key_for_each_frame():
    calls = []

    def random_bytes(count):
        calls.append(count)
        return bytes(bytearray((len(calls) * 7 + i) % 256 for i in range(count)))

    connection = Wire(CLIENT, random_bytes=random_bytes).connection
    keys = [connection.encode(TEXT, b'')[2:6] for _frame in range(100)]
    given = b''.join(
        bytes(bytearray((call * 7 + i) % 256 for i in range(count)))
        for call, count in enumerate(calls, 1))
    assert b''.join(keys) == given[:400]
    # Many keys come from one call.
    assert len(calls) < 5


def test_client_draws_keys_from_the_system_by_default():
    connection = Wire(CLIENT).connection
    keys = {connection.encode(TEXT, b'')[2:6] for _frame in range(1000)}
    assert len(keys) > 990


def test_interrupt_while_keys_are_drawn_leaves_the_next_frame_right():
    """As Ctrl-C does."""
    answers = [KeyboardInterrupt, b'\x80\xff\x81\xfe']

    def random_bytes(count):
        answer = answers.pop(0)
        if answer is KeyboardInterrupt:
            raise answer
        return answer * (count // 4)

    connection = Wire(CLIENT, random_bytes=random_bytes).connection
    with pytest.raises(KeyboardInterrupt):
        connection.encode(TEXT, b'lost')
    assert connection.encode(TEXT, b'sent') == make_frame(TEXT, b'sent', key=b'\x80\xff\x81\xfe')


def test_server_draws_no_keys():
    def random_bytes(count):
        raise AssertionError('a server does not mask')

    assert Wire(SERVER, random_bytes=random_bytes).connection.encode(TEXT, b'x') == b'\x81\x01x'


# -- the lock --

def test_close_is_refused_if_the_connection_ended_while_it_was_encoded():
    def transport_goes():
        connection.disconnect()

    lock = SteppingLock()
    connection = Connection(CLIENT, lock=lock)
    connection.accept()
    lock.before_next(transport_goes)
    with pytest.raises(errors.WebSocketClosed):
        connection.encode(CLOSE, b'')
    assert connection.state == State.CLOSED
    assert not connection.is_close_complete


def test_close_is_complete_if_the_peer_closed_while_it_was_encoded():
    def peer_closes():
        assert story([next(connection.receive(make_close(1000)))]) == [('closing', 1000, u'')]

    lock = SteppingLock()
    connection = Connection(CLIENT, lock=lock)
    connection.accept()
    lock.before_next(peer_closes)
    connection.encode(CLOSE, b'')
    assert connection.state == State.CLOSED
    assert connection.is_close_complete
