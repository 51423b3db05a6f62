"""The receiving half of a Connection: the short way, what it counts, the clock.

What it makes of the peer's bytes is in tests/protocol.
"""

from __future__ import absolute_import, division, print_function

import pytest

from lomond._compat import to_bytes
from lomond.protocol.extensions.deflate import DeflateCodec
from lomond.protocol.limits import DEFAULT_LIMITS, message_limits
from lomond.stats import Stats
from tests.protocol.harness import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    ROLES,
    RSV1,
    TEXT,
    Wire,
    calls,
    counted,
    raw_deflate,
)
from tests.support import make_frame, needs_frames

BY_ROLE = pytest.mark.parametrize('role', ROLES)


# -- the short way: the events are the same as the long way makes, the calls are fewer --

def frames_of_the_long_way(wire, data):
    """Hand in bytes; return how many frames of them didn't take the short way."""
    return calls(wire.receive, data)['read_header']


@needs_frames
@pytest.mark.parametrize('opcode', [TEXT, BINARY])
@pytest.mark.parametrize('size', [2, 125, 126, 127, 255, 256, 65535])
def test_whole_messages_take_the_short_way_up_to_the_limit(opcode, size):
    frame = make_frame(opcode, b'x' * size)
    for limits in (DEFAULT_LIMITS, message_limits(size)):
        wire = Wire(limits=limits, deflate=DeflateCodec())
        assert frames_of_the_long_way(wire, frame) == 0
        assert frames_of_the_long_way(wire, frame * 2) == 0


@needs_frames
@pytest.mark.parametrize('opcode', [TEXT, BINARY])
@pytest.mark.parametrize('size', [5, 200])
def test_compressed_messages_take_the_short_way(opcode, size):
    payload = b''.join(to_bytes(bytearray([i % 128])) for i in range(size))
    frame = make_frame(opcode, raw_deflate(payload), rsv=RSV1)
    wire = Wire(deflate=DeflateCodec())
    assert frames_of_the_long_way(wire, frame) == 0
    assert frames_of_the_long_way(wire, frame * 2) == 0


@needs_frames
def test_other_messages_take_the_long_way():
    wire = Wire()
    for frame in (make_frame(TEXT, b'x' * 65536), make_frame(TEXT, b'x', fin=False)):
        assert frames_of_the_long_way(wire, frame)
    assert frames_of_the_long_way(Wire('server'), make_frame(TEXT, b'x', key=b'1234'))


@needs_frames
def test_the_short_way_is_taken_again_after_the_long_one():
    text = make_frame(TEXT, b'Hello')
    fragments = make_frame(TEXT, b'Hel', fin=False) + make_frame(CONTINUATION, b'lo')
    data = make_frame(PING) + text + fragments + text + text
    assert frames_of_the_long_way(Wire(), data) == 3
    assert len(Wire().receive(data)) == 5


@needs_frames
@pytest.mark.parametrize('size', [2, 120, 200])
@pytest.mark.parametrize('count, batches', [(1, 0), (2, 0), (5, 0), (6, 1), (64, 1), (70, 2)])
def test_only_many_messages_are_made_in_batches(size, count, batches):
    data = make_frame(BINARY, b'x' * size) * count
    assert calls(Wire().receive, data)['_take_batch'] == batches


@needs_frames
def test_a_deflated_message_is_in_no_batch():
    deflated = make_frame(BINARY, raw_deflate(b'x'), rsv=RSV1)
    data = deflated * 100 + make_frame(BINARY, b'x') * 20 + deflated
    assert calls(Wire(deflate=DeflateCodec()).receive, data)['_take_batch'] == 1


# -- what is counted --

@BY_ROLE
@pytest.mark.parametrize('size', [0, 5, 125, 126, 70000])
def test_messages_and_bytes_received_are_counted(role, size):
    stats = Stats()
    wire = Wire(role, deflate=DeflateCodec(), stats=stats)
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
            assert counted(stats.received) == (messages, messages * size, wire_bytes)
    for opcode in (PING, PONG, CLOSE):
        frame = wire.frame(opcode, b'\x03\xe8')
        wire.receive(frame)
        wire_bytes += len(frame)
        assert counted(stats.received) == (messages, messages * size, wire_bytes)
    assert stats.pongs_received == 1


# -- what the driver has to do --

@BY_ROLE
def test_pong_is_there_before_its_event(role):
    decoder = Wire(role).connection.decoder
    assert decoder.pong is None
    wire = Wire(role)
    decoder = wire.connection.decoder
    next(wire.connection.receive(wire.frame(PONG, b'seen')))
    assert decoder.pong == b'seen'
    assert decoder.news


@BY_ROLE
def test_reply_is_pending_before_the_event_of_its_ping(role):
    wire = Wire(role)
    decoder = wire.connection.decoder
    for event in wire.connection.receive(wire.frame(PING, b'1') + wire.frame(PING, b'2')):
        assert decoder.news
        assert decoder.pending == (PONG, event.data)    # the latest counts (RFC 6455 5.5.3)
    assert decoder.take_pending() == (PONG, b'2')
    assert decoder.take_pending() is None


@BY_ROLE
def test_close_takes_the_place_of_a_pong_and_no_pong_that_of_a_close(role):
    wire = Wire(role)
    decoder = wire.connection.decoder
    list(wire.connection.receive(wire.frame(PING, b'1') + wire.frame(3)))
    opcode, payload = decoder.take_pending()
    assert (opcode, payload[:2]) == (CLOSE, b'\x03\xea')


@BY_ROLE
def test_echo_is_pending_once_closing_was_handled(role):
    wire = Wire(role)
    decoder = wire.connection.decoder
    iterator = wire.connection.receive(wire.frame(PING, b'1') + wire.close_frame(1001))
    assert [next(iterator).name, next(iterator).name] == ['ping', 'closing']
    assert decoder.pending == (PONG, b'1')
    assert list(iterator) == []
    assert decoder.pending == (CLOSE, b'\x03\xe9')


# -- what is held --

@BY_ROLE
def test_what_is_not_whole_is_held(role):
    wire = Wire(role)
    decoder = wire.connection.decoder
    for _again in range(2):
        assert decoder.held == (0, 0, 0, 0)
        wire.receive(wire.frame(BINARY, b'one', fin=False))
        assert decoder.held == (0, 3, 1, 0)
        ping = wire.frame(PING, b'between')
        wire.receive(ping[:-1])
        assert decoder.held == (len(ping) - 1, 3, 1, 0)
        wire.receive(ping[-1:], wire.frame(CONTINUATION, b'two')[:-1])
        assert decoder.held == (0, 5, 2, 0)
        wire.receive(wire.frame(CONTINUATION, b'two')[-1:])
        wire.receive(wire.frame(TEXT, u'\xe9'.encode('utf-8'), fin=False))
        assert decoder.held == (0, 1, 1, 0)     # text is counted in characters
        wire.receive(wire.frame(CONTINUATION))


# -- the clock --

@BY_ROLE
def test_events_of_one_read_share_one_look_at_the_clock(role):
    readings = [1.5, 2.5]
    wire = Wire(role, clock=lambda: readings.pop(0))
    data = b''.join(wire.frame(opcode, b'x') for opcode in (TEXT, BINARY, PING, PONG, TEXT))
    assert [event.received_time for event in wire.read(data)] == [1.5] * 5
    data = wire.close_frame(1000)
    assert [event.received_time for event in wire.read(data)] == [2.5]


def test_fault_has_the_time_it_was_received():
    wire = Wire(clock=lambda: 3.5)
    event, = wire.read(b'\xff\xff')
    assert event.received_time == 3.5


@pytest.mark.parametrize('frame', [
    make_frame(TEXT, b'\xff\xff'), make_frame(BINARY, b'\xff\xff', rsv=0x40)])
def test_message_that_is_refused_is_not_counted_however_it_is_cut(frame):
    for pieces in ([frame], [frame[:2], frame[2:]]):
        wire = Wire(deflate=DeflateCodec())
        (name, _error, _critical, close_code), = wire.receive(*pieces)
        assert (name, close_code) == ('protocol_error', 1007)
        received = wire.connection.stats.received
        assert (received.messages, received.payload_bytes) == (0, 0)
