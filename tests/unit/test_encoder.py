"""The sending half of a Connection: what it encodes and when, counts, keys, the lock."""

from __future__ import absolute_import, division, print_function

import threading

import pytest

from lomond import errors
from lomond._compat import to_bytes
from lomond.protocol.compression import PermessageDeflate
from lomond.protocol.connection import CLIENT, SERVER, Connection
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
    Wire,
    connection_in,
    counted,
    never,
    parse_frames,
    story,
)
from tests.support import make_close, make_frame

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
    (State.CLOSED, errors.WebSocketClosed),
    ('rejected', errors.WebSocketClosed),
    ('disconnected', errors.WebSocketClosed),
])
@pytest.mark.parametrize('opcode', [TEXT, BINARY, CLOSE, PING, PONG])
def test_nothing_is_encoded_where_sending_is_not_allowed(state, expected, opcode):
    connection = connection_in(state)
    before = connection.state
    with pytest.raises(errors.WebSocketUnavailable) as caught:
        connection.encode(opcode, b'')
    assert type(caught.value) is expected
    assert connection.state == before


@BY_ROLE
@pytest.mark.parametrize('state, following, complete', [
    (State.OPEN, State.CLOSING, False), (State.PEER_CLOSING, State.CLOSED, True)])
def test_close_frame_ends_sending(role, state, following, complete):
    connection = connection_in(state, role)
    frame = connection.encode(CLOSE, b'\x03\xe8')
    assert parse_frames(frame, role) == [(0x88, b'\x03\xe8')]
    assert connection.state == following
    assert connection.is_close_complete is complete
    with pytest.raises(errors.WebSocketUnavailable):
        connection.encode(TEXT, b'late')


@pytest.mark.parametrize('compress', [False, True])
@pytest.mark.parametrize('deflate', [None, PermessageDeflate], ids=['plain', 'deflate'])
@pytest.mark.parametrize('opcode, payload', [
    (CLOSE, b'x' * 126), (PING, b'x' * 126), (PONG, b'x' * 126), (CONTINUATION, b'x'), (3, b'x'),
    (15, b'x'), (-1, b'x')])
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
    wire = Wire(SERVER, deflate=PermessageDeflate())
    assert wire.connection.supports_compression
    assert wire.connection.encode(TEXT, b'Hello') == b'\x81\x05Hello'
    assert wire.connection.encode(TEXT, b'Hello', True) == b'\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00'
    assert wire.connection.encode(BINARY, b'Hello', True) == b'\xc2\x05\xf2\x00\x11\x00\x00'
    assert Wire(SERVER).connection.encode(TEXT, b'Hello', True) == b'\x81\x05Hello'


@pytest.mark.parametrize('opcode', [PING, PONG, CLOSE])
def test_control_frame_is_never_compressed(opcode):
    wire = Wire(SERVER, deflate=PermessageDeflate())
    payload = b'\x03\xe8bye'
    assert wire.connection.encode(opcode, payload, True) == make_frame(opcode, payload)


def test_pieces_of_a_message_are_its_frame():
    wire = Wire(SERVER)
    size, pieces = wire.connection.encode_in_pieces(BINARY, b'x' * (3 * PIECE + 5))
    data = b''.join([to_bytes(piece) for piece in pieces])
    assert data == make_frame(BINARY, b'x' * (3 * PIECE + 5))
    assert size == len(data)
    with pytest.raises(errors.FrameBuildError):
        wire.connection.encode_in_pieces(CONTINUATION, b'')


def test_messages_in_pieces_and_many_are_compressed_only_if_that_was_asked_for():
    wire = Wire(SERVER, deflate=PermessageDeflate())
    _size, pieces = wire.connection.encode_in_pieces(TEXT, b'Hello')
    assert [to_bytes(piece) for piece in pieces] == [b'\x81\x05Hello']
    assert list(wire.connection.encode_many([(TEXT, b'Hello')])) == [b'\x81\x05Hello']
    _size, pieces = wire.connection.encode_in_pieces(TEXT, b'Hello', True)
    assert [to_bytes(piece) for piece in pieces] == [b'\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00']
    assert list(wire.connection.encode_many([(TEXT, b'Hello')], True)) == [
        b'\xc1\x05\xf2\x00\x11\x00\x00']


@BY_ROLE
def test_frames_of_many_messages_come_in_pieces_of_64_kib(role):
    wire = Wire(role)
    frame_size = len(wire.connection.encode(BINARY, b'x' * 1000))
    fit = -(-PIECE // frame_size)       # as many as reach 64 KiB
    messages = [(BINARY, b'x' * 1000)] * (2 * fit + 1)
    pieces = list(wire.connection.encode_many(messages))
    assert [len(piece) // frame_size for piece in pieces] == [fit, fit, 1]
    assert parse_frames(b''.join(pieces), role) == [(0x82, b'x' * 1000)] * (2 * fit + 1)


@pytest.mark.parametrize('frame_sizes, expected', [
    ([PIECE // 2] * 5, [PIECE, PIECE, PIECE // 2]),
    ([PIECE - 1, 100] * 2, [PIECE + 99] * 2),
])
def test_a_piece_of_64_kib_takes_no_more_frames_and_a_smaller_one_does(frame_sizes, expected):
    messages = [(BINARY, b'x' * (size - (4 if size > 125 else 2))) for size in frame_sizes]
    pieces = list(Wire(SERVER).connection.encode_many(messages))
    assert [len(piece) for piece in pieces] == expected


def test_many_messages_that_are_none_make_no_piece():
    assert list(Wire().connection.encode_many([])) == []


# -- the short way --

def _refuse(*_args):
    raise AssertionError('this went the long way')


@pytest.mark.parametrize('opcode', [TEXT, BINARY])
@pytest.mark.parametrize('size', [0, 1, 125])
@pytest.mark.parametrize('deflate, compress', [(False, False), (False, True), (True, False)])
def test_small_plain_messages_of_a_client_are_sent_the_short_way(opcode, size, deflate, compress):
    connection = Wire(CLIENT, deflate=PermessageDeflate() if deflate else None).connection
    connection._admit = _refuse
    frame = connection.encode(opcode, b'x' * size, compress)
    assert parse_frames(frame, CLIENT) == [(0x80 | opcode, b'x' * size)]


# -- what is counted --

@BY_ROLE
@pytest.mark.parametrize('compress', [False, True])
@pytest.mark.parametrize('size', [0, 5, 125, 126, 70000])
def test_messages_and_bytes_sent_are_counted(role, compress, size):
    stats = Stats()
    connection = Wire(role, deflate=PermessageDeflate(), stats=stats).connection
    wire_bytes = 0
    for count, opcode in enumerate([TEXT, BINARY, TEXT], 1):
        wire_bytes += len(connection.encode(opcode, b'x' * size, compress))
        assert counted(stats.sent) == (count, count * size, wire_bytes)
    frame_size, pieces = connection.encode_in_pieces(BINARY, b'x' * size, compress)
    wire_bytes += frame_size
    assert counted(stats.sent) == (4, 4 * size, wire_bytes)
    assert frame_size == sum([len(piece) for piece in pieces])
    for opcode in (PING, PONG, CLOSE):
        wire_bytes += len(connection.encode(opcode, b'\x03\xe8', compress))
        assert counted(stats.sent) == (4, 4 * size, wire_bytes)
    assert stats.pings_sent == 1


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


def test_server_draws_no_keys():
    def random_bytes(count):
        raise AssertionError('a server does not mask')

    assert Wire(SERVER, random_bytes=random_bytes).connection.encode(TEXT, b'x') == b'\x81\x01x'


# -- the lock --

class _SteppingLock(object):
    """A lock before whose second use something happens."""

    def __init__(self, step):
        self._lock = threading.Lock()
        self._step = step
        self.uses = 0

    def __call__(self):
        return self

    def __enter__(self):
        self.uses += 1
        if self.uses == 2:
            self._step()
        self._lock.acquire()

    def __exit__(self, *_exc_info):
        self._lock.release()


def test_close_is_refused_if_the_connection_ended_while_it_was_encoded():
    def transport_goes():
        connection.disconnect()

    connection = Connection(CLIENT, never, lock=_SteppingLock(transport_goes))
    connection.accept()
    with pytest.raises(errors.WebSocketClosed):
        connection.encode(CLOSE, b'')
    assert connection.state == State.CLOSED
    assert not connection.is_close_complete


def test_close_is_complete_if_the_peer_closed_while_it_was_encoded():
    def peer_closes():
        assert story([next(connection.receive(make_close(1000)))]) == [('closing', 1000, u'')]

    connection = Connection(CLIENT, never, lock=_SteppingLock(peer_closes))
    connection.accept()
    connection.encode(CLOSE, b'')
    assert connection.state == State.CLOSED
    assert connection.is_close_complete
