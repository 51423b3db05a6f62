"""Numbers that C has no room for in some type: high bytes, lengths and counters beyond 32 bits."""

from __future__ import absolute_import, division, print_function

import struct

import pytest

from lomond._compat import indexable, to_bytes
from lomond.protocol.connection import CLIENT
from lomond.protocol.frame import FrameParser
from lomond.protocol.limits import DEFAULT_LIMITS, MIB, message_limits
from lomond.stats import Stats
from tests.protocol.harness import BINARY, ROLES, TEXT, Wire, assert_fails, counted
from tests.support import make_frame

NO_LIMITS = DEFAULT_LIMITS._replace(frame=None, message=None, fragments=None)

#: What fits into 64 bits with a sign: RFC 6455 5.2 allows no more.
LENGTHS = [2 ** 31 - 1, 2 ** 31, 2 ** 31 + 1, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 63 - 1]
TOO_LONG = [2 ** 63, 2 ** 63 + 1, 2 ** 64 - 1]

#: Bytes that would be negative if they had a sign.
HIGH = bytes(bytearray(range(128, 256)))
HIGH_KEY = b'\x80\xff\x81\xfe'


def header(length, role, first=0x80 | BINARY):
    """Return a header with a length of 64 bits."""
    return struct.pack('!BBQ', first, 127 | (0 if role == CLIENT else 0x80), length) + (
        b'' if role == CLIENT else HIGH_KEY)


# -- lengths --

@pytest.mark.parametrize('role', ROLES)
@pytest.mark.parametrize('opcode', [TEXT, BINARY])
@pytest.mark.parametrize('length', LENGTHS)
def test_message_of_any_length_may_begin_without_limits(role, opcode, length):
    wire = Wire(role, NO_LIMITS)
    # Bytes whose mask is the key are zeros: UTF-8.
    payload = (b'\0' * 4 if role == CLIENT else HIGH_KEY) * 75
    assert wire.receive(header(length, role, 0x80 | opcode), payload) == []
    assert wire.connection.is_receiving
    assert wire.connection.decoder.held.leftover == 0
    assert wire.connection.stats.received.wire_bytes == len(header(length, role)) + 300


@pytest.mark.parametrize('length', LENGTHS)
def test_header_has_the_length(length):
    parser = FrameParser(False, NO_LIMITS)
    found, pos = parser.read_header(indexable(header(length, CLIENT)), 0)
    assert (found.length, pos) == (length, 10)


@pytest.mark.parametrize('role', ROLES)
@pytest.mark.parametrize('limits', [NO_LIMITS, DEFAULT_LIMITS])
@pytest.mark.parametrize('length', TOO_LONG)
def test_length_of_64_bits_is_a_violation(role, limits, length):
    assert assert_fails(1002, Wire(role, limits), header(length, role)) == []


@pytest.mark.parametrize('role', ROLES)
@pytest.mark.parametrize('limit', [1, MIB, 2 ** 31 - 2, 2 ** 31 - 1])
@pytest.mark.parametrize('length', LENGTHS[1:])
def test_length_over_the_limit_is_refused_by_its_header(role, limit, length):
    assert assert_fails(1009, Wire(role, message_limits(limit)), header(length, role)) == []


@pytest.mark.parametrize('limit', [2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 63, 2 ** 70])
def test_limit_beyond_32_bits_is_a_limit(limit):
    wire = Wire(limits=message_limits(limit))
    assert wire.receive(make_frame(TEXT, b'small'), make_frame(BINARY, b'x' * 70000)) == [
        ('text', u'small'), ('binary', b'x' * 70000)]
    if limit < 2 ** 63:
        assert_fails(1009, wire, header(limit + 1 if limit < 2 ** 63 - 1 else limit, CLIENT))


@pytest.mark.parametrize('length', [2 ** 32, 2 ** 63 - 1])
def test_fragments_whose_sum_is_beyond_the_limit_are_refused(length):
    wire = Wire(limits=DEFAULT_LIMITS._replace(frame=None, message=length))
    beginning = make_frame(BINARY, b'x', fin=False)
    assert_fails(1009, wire, beginning + header(length, CLIENT, 0x80))


def test_message_without_limits_comes_whole():
    payload = HIGH * 1024
    for role in ROLES:
        wire = Wire(role, NO_LIMITS)
        assert wire.receive(wire.frame(BINARY, payload)) == [('binary', payload)]


@pytest.mark.parametrize('size', [2 ** 31, 2 ** 63, 2 ** 70])
def test_any_size_of_fragments_may_be_asked_for(size):
    wire = Wire('server')
    total, frames = wire.connection.encoder.encode_in_frames(BINARY, HIGH, fragment_size=size)
    sent = b''.join(to_bytes(piece) for frame in frames for piece in frame)
    assert sent == make_frame(BINARY, HIGH)
    assert total == len(sent)


# -- counters --

@pytest.mark.parametrize('before', [2 ** 31 - 1, 2 ** 32 - 1, 2 ** 40])
def test_counters_go_on_beyond_32_bits(before):
    stats = Stats()
    for traffic in (stats.received, stats.sent):
        traffic.messages = traffic.payload_bytes = traffic.wire_bytes = before
    wire = Wire(stats=stats)
    messages = [b'x' * 10] * 300 + [b'y' * 70000]
    data = b''.join(make_frame(BINARY, message) for message in messages)
    wire.receive(data, data[:5], data[5:])
    expected = before + 602, before + 2 * (3000 + 70000), before + 2 * len(data)
    assert counted(stats.received) == expected
    sent = b''.join(wire.connection.encode(BINARY, message) for message in messages)
    sent += b''.join(wire.connection.encoder.encode_many(
        [(BINARY, message) for message in messages]))
    assert counted(stats.sent) == (
        before + 602, before + 2 * (3000 + 70000), before + len(sent))
    assert stats.as_dict()['sent']['messages'] == before + 602


# -- bytes of 0x80 and more --

@pytest.mark.parametrize('size', [0, 1, 2, 3, 4, 7, 8, 9, 125, 126, 127, 128, 129, 255, 256, 32767,
                                  32768, 65535, 65536])
def test_high_bytes_are_sent_and_received_as_they_are(size):
    payload = (HIGH * (size // 128 + 1))[:size]
    for role in ROLES:
        wire = Wire(role, random_bytes=lambda count: HIGH_KEY * (count // 4))
        key = HIGH_KEY if role == CLIENT else None
        assert wire.connection.encode(BINARY, payload) == make_frame(BINARY, payload, key=key)
        _total, frames = wire.connection.encoder.encode_in_frames(BINARY, payload)
        assert b''.join(to_bytes(piece) for frame in frames for piece in frame) \
            == make_frame(BINARY, payload, key=key)
        received = make_frame(BINARY, payload, key=HIGH_KEY if role != CLIENT else None)
        for data in (received, received * 3):
            assert wire.receive(data)[0] == ('binary', payload)


@pytest.mark.parametrize('first', range(256))
def test_each_first_byte_has_its_own_outcome(first):
    """Of an empty frame: only these are right without an extension."""
    name = {0x01: None, 0x02: None, 0x81: 'text', 0x82: 'binary', 0x88: 'closing', 0x89: 'ping',
            0x8a: 'pong'}.get(first, 'protocol_error')
    wire = Wire()
    assert [fields[0] for fields in wire.receive(bytes(bytearray([first, 0])))] == (
        [] if name is None else [name])
