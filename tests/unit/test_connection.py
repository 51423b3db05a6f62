"""Connection by itself: the states it goes through, encoding, keys, the lock, the clock.

What it makes of the peer's bytes is told in tests/protocol.
"""

from __future__ import absolute_import, division, print_function

import threading

import pytest

from lomond import errors
from lomond._compat import to_bytes
from lomond.protocol.compression import PermessageDeflate
from lomond.protocol.connection import CLIENT, SERVER, Connection
from lomond.protocol.frame import PIECE
from lomond.protocol.limits import DEFAULT_LIMITS, message_limits
from lomond.protocol.state import State
from lomond.stats import Stats
from tests.protocol.harness import (
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    PING,
    PONG,
    ROLES,
    RSV1,
    TEXT,
    Wire,
    parse_frames,
    raw_deflate,
    story,
)
from tests.support import make_close, make_frame

BY_ROLE = pytest.mark.parametrize('role', ROLES)


def _never(opcode, payload):
    raise AssertionError('nothing to reply to')


def _connection(state, role=CLIENT):
    """Return a connection that was led to a state."""
    connection = Connection(role, _never)
    key = KEY if role == SERVER else None
    if state == 'rejected':
        connection.reject()
    elif state == 'disconnected':
        connection.disconnect()
    elif state != State.CONNECTING:
        connection.accept()
        if state in (State.CLOSING, State.CLOSED):
            connection.encode(CLOSE, b'')
        if state in (State.PEER_CLOSING, State.CLOSED):
            next(connection.receive(make_close(1000, key=key)))
    return connection


# -- states --

@BY_ROLE
def test_connection_begins_without_receiving(role):
    connection = _connection(State.CONNECTING, role)
    assert connection.state == State.CONNECTING
    assert not connection.is_receiving
    assert not connection.supports_compression
    assert not connection.is_close_complete
    assert connection.error is None
    assert list(connection.receive(make_frame(TEXT, b'early'))) == []
    connection.accept()
    assert connection.is_receiving
    # What came too early isn't kept.
    assert list(connection.receive(b'')) == []


@BY_ROLE
@pytest.mark.parametrize('led_to, state, is_receiving, is_close_complete', [
    (State.OPEN, State.OPEN, True, False),
    (State.CLOSING, State.CLOSING, True, False),
    (State.PEER_CLOSING, State.PEER_CLOSING, False, False),
    (State.CLOSED, State.CLOSED, False, True),
    ('rejected', State.CLOSED, False, False),
    ('disconnected', State.CLOSED, False, False),
])
def test_connection_goes_from_state_to_state(role, led_to, state, is_receiving, is_close_complete):
    connection = _connection(led_to, role)
    assert connection.state == state
    assert connection.is_receiving is is_receiving
    assert connection.is_close_complete is is_close_complete


@pytest.mark.parametrize('state', [
    State.OPEN, State.CLOSING, State.PEER_CLOSING, State.CLOSED, 'rejected', 'disconnected'])
def test_only_a_new_connection_can_be_accepted_or_rejected(state):
    connection = _connection(state)
    before = connection.state
    for call in (connection.accept, connection.reject):
        with pytest.raises(errors.WebSocketUnavailable):
            call()
    assert connection.state == before


@pytest.mark.parametrize('state', [
    State.CONNECTING, State.OPEN, State.CLOSING, State.PEER_CLOSING, State.CLOSED, 'rejected',
    'disconnected'])
def test_connection_can_be_disconnected_in_any_state_and_again(state):
    connection = _connection(state)
    was_complete = connection.is_close_complete
    for _again in range(2):
        connection.disconnect()
        assert connection.state == State.CLOSED
        assert not connection.is_receiving
        assert connection.is_close_complete is was_complete
        assert list(connection.receive(make_frame(TEXT, b'late'))) == []


def test_nothing_is_received_after_stop_receiving():
    connection = _connection(State.OPEN)
    iterator = connection.receive(make_frame(TEXT, b'one') + make_frame(TEXT, b'two'))
    assert story([next(iterator)]) == [('text', u'one')]
    connection.stop_receiving()
    assert list(iterator) == []
    assert list(connection.receive(make_frame(TEXT, b'three'))) == []
    assert connection.state == State.OPEN


# -- encoding --

@BY_ROLE
@pytest.mark.parametrize('state', [State.OPEN, State.PEER_CLOSING])
@pytest.mark.parametrize('opcode', [TEXT, BINARY, PING, PONG])
@pytest.mark.parametrize('payload', [b'', b'Hello'])
def test_frame_is_encoded_while_sending_is_allowed(role, state, opcode, payload):
    connection = _connection(state, role)
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
    connection = _connection(state)
    before = connection.state
    with pytest.raises(errors.WebSocketUnavailable) as caught:
        connection.encode(opcode, b'')
    assert type(caught.value) is expected
    assert connection.state == before


@BY_ROLE
@pytest.mark.parametrize('state, following, complete', [
    (State.OPEN, State.CLOSING, False), (State.PEER_CLOSING, State.CLOSED, True)])
def test_close_frame_ends_sending(role, state, following, complete):
    connection = _connection(state, role)
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


# -- the short ways: nothing tells them from the long ones but the time they take --

def _refuse(*_args):
    raise AssertionError('this went the long way')


def _short_way_only(limits=DEFAULT_LIMITS):
    wire = Wire(CLIENT, limits, deflate=PermessageDeflate())
    wire.connection._next_event = _refuse
    return wire


@pytest.mark.parametrize('opcode', [TEXT, BINARY])
@pytest.mark.parametrize('size', [0, 1, 125])
@pytest.mark.parametrize('deflate, compress', [(False, False), (False, True), (True, False)])
def test_small_plain_messages_of_a_client_are_sent_the_short_way(opcode, size, deflate, compress):
    connection = Wire(CLIENT, deflate=PermessageDeflate() if deflate else None).connection
    connection._admit = _refuse
    frame = connection.encode(opcode, b'x' * size, compress)
    assert parse_frames(frame, CLIENT) == [(0x80 | opcode, b'x' * size)]


@pytest.mark.parametrize('opcode', [TEXT, BINARY])
@pytest.mark.parametrize('size', [2, 125, 126, 127, 255, 256, 65535])
def test_whole_messages_take_the_short_way_up_to_the_limit(opcode, size):
    frame = make_frame(opcode, b'x' * size)
    for limits in (DEFAULT_LIMITS, message_limits(size)):
        wire = _short_way_only(limits)
        assert len(wire.receive(frame)) == 1
        assert len(wire.receive(frame * 2)) == 2


@pytest.mark.parametrize('opcode', [TEXT, BINARY])
@pytest.mark.parametrize('size', [5, 200])
def test_compressed_messages_take_the_short_way(opcode, size):
    payload = b''.join(to_bytes(bytearray([i % 128])) for i in range(size))
    frame = make_frame(opcode, raw_deflate(payload), rsv=RSV1)
    wire = _short_way_only()
    assert len(wire.receive(frame)) == 1
    assert len(wire.receive(frame * 2)) == 2


def test_the_short_way_is_taken_again_after_the_long_one():
    wire = Wire(CLIENT)
    next_event = wire.connection._next_event
    long_way = []

    def count(*args):
        long_way.append(args)
        return next_event(*args)

    wire.connection._next_event = count
    text = make_frame(TEXT, b'Hello')
    fragments = make_frame(TEXT, b'Hel', fin=False) + make_frame(CONTINUATION, b'lo')
    assert len(wire.receive(make_frame(PING) + text + fragments + text + text)) == 5
    assert len(long_way) == 2


# -- what is counted --

def _counted(traffic):
    return traffic.messages, traffic.payload_bytes, traffic.wire_bytes


@BY_ROLE
@pytest.mark.parametrize('compress', [False, True])
@pytest.mark.parametrize('size', [0, 5, 125, 126, 70000])
def test_messages_and_bytes_sent_are_counted(role, compress, size):
    stats = Stats()
    connection = Wire(role, deflate=PermessageDeflate(), stats=stats).connection
    wire_bytes = 0
    for count, opcode in enumerate([TEXT, BINARY, TEXT], 1):
        wire_bytes += len(connection.encode(opcode, b'x' * size, compress))
        assert _counted(stats.sent) == (count, count * size, wire_bytes)
    frame_size, pieces = connection.encode_in_pieces(BINARY, b'x' * size, compress)
    wire_bytes += frame_size
    assert _counted(stats.sent) == (4, 4 * size, wire_bytes)
    assert frame_size == sum([len(piece) for piece in pieces])
    for opcode in (PING, PONG, CLOSE):
        wire_bytes += len(connection.encode(opcode, b'\x03\xe8', compress))
        assert _counted(stats.sent) == (4, 4 * size, wire_bytes)
    assert stats.pings_sent == 1


@BY_ROLE
@pytest.mark.parametrize('size', [0, 5, 125, 126, 70000])
def test_messages_and_bytes_received_are_counted(role, size):
    stats = Stats()
    wire = Wire(role, deflate=PermessageDeflate(), stats=stats)
    payload = b'x' * size
    half = size // 2
    received = [
        wire.frame(TEXT, payload),
        wire.frame(BINARY, payload),
        wire.frame(TEXT, raw_deflate(payload) if size else b'\0', rsv=RSV1),
        wire.frame(BINARY, raw_deflate(payload) if size else b'\0', rsv=RSV1),
        wire.frame(BINARY, payload[:half], fin=False) + wire.frame(CONTINUATION, payload[half:]),
    ]
    wire_bytes = 0
    for count, data in enumerate(received, 1):
        # Whole, and again in two pieces: these go the long way.
        for times, pieces in enumerate([[data], [data[:-1], data[-1:]]], 1):
            wire.receive(*pieces)
            wire_bytes += len(data)
            messages = 2 * (count - 1) + times
            assert _counted(stats.received) == (messages, messages * size, wire_bytes)
    for opcode in (PING, PONG, CLOSE):
        frame = wire.frame(opcode, b'\x03\xe8')
        wire.receive(frame)
        wire_bytes += len(frame)
        assert _counted(stats.received) == (messages, messages * size, wire_bytes)
    assert stats.pongs_received == 1


# -- masking keys, clock, lock --

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


@BY_ROLE
def test_events_of_one_read_share_one_look_at_the_clock(role):
    readings = [1.5, 2.5]
    wire = Wire(role, clock=lambda: readings.pop(0))
    data = b''.join(wire.frame(opcode, b'x') for opcode in (TEXT, BINARY, PING, PONG, TEXT))
    assert [event.received_time for event in wire.connection.receive(data)] == [1.5] * 5
    data = wire.close_frame(1000)
    assert [event.received_time for event in wire.connection.receive(data)] == [2.5]


def test_fault_has_the_time_it_was_received():
    wire = Wire(clock=lambda: 3.5)
    event, = wire.connection.receive(b'\xff\xff')
    assert event.received_time == 3.5


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

    connection = Connection(CLIENT, _never, lock=_SteppingLock(transport_goes))
    connection.accept()
    with pytest.raises(errors.WebSocketClosed):
        connection.encode(CLOSE, b'')
    assert connection.state == State.CLOSED
    assert not connection.is_close_complete


def test_close_is_complete_if_the_peer_closed_while_it_was_encoded():
    def peer_closes():
        assert story([next(connection.receive(make_close(1000)))]) == [('closing', 1000, u'')]

    connection = Connection(CLIENT, _never, lock=_SteppingLock(peer_closes))
    connection.accept()
    connection.encode(CLOSE, b'')
    assert connection.state == State.CLOSED
    assert connection.is_close_complete


@pytest.mark.parametrize('frame', [
    make_frame(TEXT, b'\xff\xff'), make_frame(BINARY, b'\xff\xff', rsv=0x40)])
def test_message_that_is_refused_is_not_counted_however_it_is_cut(frame):
    for pieces in ([frame], [frame[:2], frame[2:]]):
        wire = Wire(deflate=PermessageDeflate())
        (name, _error, _critical, close_code), = wire.receive(*pieces)
        assert (name, close_code) == ('protocol_error', 1007)
        received = wire.connection._stats.received
        assert (received.messages, received.payload_bytes) == (0, 0)
