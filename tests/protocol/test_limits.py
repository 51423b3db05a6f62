"""What is too much ends with 1009, before it is held or inflated."""

from __future__ import absolute_import, division, print_function

import struct
import zlib

import pytest

from lomond.protocol.connection import SERVER
from lomond.protocol.extensions.deflate import DeflateCodec
from lomond.protocol.limits import DEFAULT_LIMITS, MIB, message_limits
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
)

try:
    import tracemalloc
except ImportError:     # 2.7
    import resource
    tracemalloc = None

BY_ROLE = pytest.mark.parametrize('role', ROLES)
OPCODES = pytest.mark.parametrize('opcode, name', [(TEXT, 'text'), (BINARY, 'binary')])


def _content(name, payload):
    return payload.decode('ascii') if name == 'text' else payload


def _wire(role, **limits):
    return Wire(role, DEFAULT_LIMITS._replace(**limits))


@BY_ROLE
@OPCODES
@pytest.mark.parametrize('limit', [1, 5, 125, 126, 1000, 65535, 65536])
def test_message_at_the_limit_passes_and_one_over_it_closes_with_1009(role, opcode, name, limit):
    payload = b'x' * limit
    wire = Wire(role, message_limits(limit))
    assert wire.receive_frame(opcode, payload) == [(name, _content(name, payload))]
    assert assert_fails(1009, wire, wire.frame(opcode, payload + b'x')) == []


@BY_ROLE
@OPCODES
@pytest.mark.parametrize('limits', [
    {'frame': 10}, {'message': 10}, {'frame': 10, 'message': None}, {'frame': None, 'message': 10}])
def test_either_limit_holds_by_itself(role, opcode, name, limits):
    wire = _wire(role, **limits)
    assert wire.receive_frame(opcode, b'x' * 10) == [(name, _content(name, b'x' * 10))]
    assert assert_fails(1009, wire, wire.frame(opcode, b'x' * 11)) == []


@BY_ROLE
def test_control_frames_do_not_fall_under_the_limit_of_messages(role):
    wire = Wire(role, message_limits(1))
    assert wire.receive(
        wire.frame(PING, b'x' * 125), wire.frame(PONG, b'y' * 125), wire.frame(TEXT, b'z'),
        wire.close_frame(1001, b'going away'),
    ) == [
        ('ping', b'x' * 125), ('pong', b'y' * 125), ('text', u'z'),
        ('closing', 1001, u'going away')]


@BY_ROLE
def test_oversized_frame_is_refused_by_its_header(role):
    wire = Wire(role)
    mask_bit = 0x80 if role == SERVER else 0
    header = struct.pack('!BBQ', 0x82, mask_bit | 127, 64 * MIB + 1) + (wire.key or b'')
    assert assert_fails(1009, wire, header) == []


@BY_ROLE
def test_frame_at_the_default_limit_is_waited_for(role):
    wire = Wire(role)
    mask_bit = 0x80 if role == SERVER else 0
    header = struct.pack('!BBQ', 0x82, mask_bit | 127, 64 * MIB) + (wire.key or b'')
    assert wire.receive(header, b'some', b'of it') == []
    assert wire.connection.is_receiving


@BY_ROLE
@OPCODES
def test_fragments_add_up_to_the_limit(role, opcode, name):
    wire = Wire(role, message_limits(10))
    for _again in range(3):
        assert wire.receive(
            wire.frame(opcode, b'x' * 4, fin=False), wire.frame(PING, b'not counted'),
            wire.frame(CONTINUATION, b'x' * 6))[1:] == [(name, _content(name, b'x' * 10))]
    wire.sent[:] = []
    assert wire.receive_frame(opcode, b'x' * 4, fin=False) == []
    assert wire.receive_frame(CONTINUATION, b'x' * 6, fin=False) == []
    # The header alone is enough.
    assert assert_fails(1009, wire, wire.frame(CONTINUATION, b'x')[:6 if wire.key else 2]) == []


@BY_ROLE
def test_fragments_are_counted_empty_ones_too(role):
    wire = _wire(role, fragments=3)
    fragments = [wire.frame(TEXT, fin=False)] + [wire.frame(CONTINUATION, fin=False)] * 2
    assert wire.receive(*(fragments[:2] + [wire.frame(CONTINUATION)])) == [('text', u'')]
    assert wire.receive(*fragments) == []
    assert assert_fails(1009, wire, wire.frame(CONTINUATION)) == []


@BY_ROLE
def test_default_number_of_fragments_is_bounded(role):
    wire = Wire(role)
    fragment = wire.frame(CONTINUATION, fin=False)
    assert wire.receive(
        wire.frame(BINARY, fin=False), fragment * (DEFAULT_LIMITS.fragments - 1)) == []
    assert assert_fails(1009, wire, fragment) == []


@BY_ROLE
def test_there_need_be_no_limit(role):
    wire = _wire(role, frame=None, message=None, fragments=None)
    payload = b'x' * 70000
    assert wire.receive_frame(BINARY, payload) == [('binary', payload)]
    assert wire.receive_frame(TEXT, b'x', fin=False) == []
    assert wire.receive_frame(CONTINUATION, b'y') == [('text', u'xy')]


# -- inflated --

def _deflating_wire(role, limits=DEFAULT_LIMITS):
    return Wire(role, limits, DeflateCodec())


@BY_ROLE
@OPCODES
@pytest.mark.parametrize('limit', [20, 1000, 70000])
def test_inflated_size_counts(role, opcode, name, limit):
    wire = _deflating_wire(role, message_limits(limit))
    payload = b'x' * limit
    assert wire.receive_frame(opcode, raw_deflate(payload), rsv=RSV1) == [
        (name, _content(name, payload))]
    data = raw_deflate(payload + b'x')
    assert len(data) <= limit
    assert assert_fails(1009, wire, wire.frame(opcode, data, rsv=RSV1)) == []


@BY_ROLE
def test_inflated_size_adds_up_byte_by_byte(role):
    wire = _deflating_wire(role, message_limits(1000))
    for _again in range(2):
        data = wire.frame(TEXT, raw_deflate(b'x' * 1000), rsv=RSV1)
        assert wire.receive(*bytewise(data)) == [('text', u'x' * 1000)]
    data = wire.frame(TEXT, raw_deflate(b'x' * 1001), rsv=RSV1)
    assert assert_fails(1009, wire, *bytewise(data)) == []


@pytest.fixture(scope='module')
def bomb():
    """200 KB that inflate to 200 MB of zeros."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = b'\0' * (1000 * 1000)
    data = b''.join([compressor.compress(piece) for _piece in range(200)])
    data = (data + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
    assert len(data) < 220 * 1000
    return data


@BY_ROLE
@pytest.mark.parametrize('pieces', [1, 10], ids=['at-once', 'in-pieces'])
def test_bomb_stops_at_the_limit_with_bounded_memory(role, pieces, bomb):
    """200 MB never come out of 200 KB first."""
    wire = _deflating_wire(role, message_limits(MIB))
    # xor() of the harness is slow: with a key of zeros there is nothing to do.
    wire.key = None
    frame = bytearray(wire.frame(BINARY, bomb, rsv=RSV1))
    if role == SERVER:
        frame[1] |= 0x80
        frame[10:10] = b'\0\0\0\0'
        wire.key = b'\0\0\0\0'
    frame = bytes(frame)
    step = len(frame) // pieces + 1
    data = [frame[i:i + step] for i in range(0, len(frame), step)]
    if tracemalloc is not None:
        tracemalloc.start()
        try:
            assert assert_fails(1009, wire, *data) == []
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    else:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert assert_fails(1009, wire, *data) == []
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert peak < 8 * MIB


@BY_ROLE
def test_bomb_of_many_fragments_stops_at_the_limit(role, bomb):
    wire = _deflating_wire(role, message_limits(MIB))
    happened = []
    for i in range(0, 5000, 100):
        happened = wire.receive_frame(
            CONTINUATION if i else BINARY, bomb[i:i + 100], fin=False, rsv=0 if i else RSV1)
        if happened:
            break
    # 100 bytes inflate to about 100 KB.
    assert 900 < i < 1400
    assert [(entry[0], entry[-1]) for entry in happened] == [('protocol_error', 1009)]


@BY_ROLE
def test_inflated_message_of_16_mib_passes_with_the_defaults(role):
    wire = _deflating_wire(role)
    (name, data), = wire.receive_frame(BINARY, raw_deflate(b'0123' * (4 * MIB)), rsv=RSV1)
    assert name == 'binary'
    assert data == b'0123' * (4 * MIB)


@BY_ROLE
def test_inflating_without_a_limit_goes_on_to_the_end(role):
    wire = _deflating_wire(role, message_limits(None))
    (_name, data), = wire.receive_frame(BINARY, raw_deflate(b'x' * 70000), rsv=RSV1)
    assert data == b'x' * 70000


@BY_ROLE
@pytest.mark.parametrize('size', [2 ** 31, 2 ** 63 - 1, 2 ** 70])
def test_limit_may_be_larger_than_any_machine(role, size):
    wire = _deflating_wire(role, message_limits(size))
    assert wire.receive_frame(TEXT, raw_deflate(b'Hello'), rsv=RSV1) == [('text', u'Hello')]
    assert wire.receive_frame(TEXT, b'Hello') == [('text', u'Hello')]
