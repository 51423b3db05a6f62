"""Large messages that are received right into a buffer of the connection, however they are cut."""

from __future__ import absolute_import, division, print_function

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lomond.protocol.extensions.deflate import DeflateCodec
from lomond.protocol.gathering import MAX_BUFFERED, MIN_BUFFERED
from lomond.protocol.limits import DEFAULT_LIMITS
from tests.protocol.harness import Wire, assert_fails, hand_in, raw_deflate
from tests.support import make_frame

NOISE = os.urandom(64) * (MAX_BUFFERED // 64 + 1)

LARGE = MIN_BUFFERED + 5


def buffered(**options):
    wire = Wire(**options)
    wire.connection.decoder.offer_receive_buffer()
    return wire


def cut(data, sizes):
    """The data in pieces of these sizes, and the rest."""
    start = 0
    for size in sizes:
        yield data[start:start + size]
        start += size
    yield data[start:]


frames = st.tuples(
    st.sampled_from([1, 2, 2, 2, 9, 10]),
    st.sampled_from([
        0, 5, 100, MIN_BUFFERED - 1, MIN_BUFFERED, LARGE, MAX_BUFFERED, MAX_BUFFERED + 1]),
    st.sampled_from(['whole', 'whole', 'fragments', 'deflated']))


def encode(opcode, size, how):
    payload = NOISE[:size] if opcode == 2 else b'x' * (size if opcode == 1 else min(size, 125))
    if opcode > 2 or how == 'whole':
        return make_frame(opcode, payload)
    if how == 'deflated':
        return make_frame(opcode, raw_deflate(payload), rsv=0x40)
    half = size // 2
    return make_frame(opcode, payload[:half], fin=False) + make_frame(9, b'between') \
        + make_frame(0, payload[half:])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(frames, min_size=1, max_size=4),
    st.lists(st.sampled_from([1, 2, 10, 4096, 65536, 65546, 131072, 300000]), max_size=12),
    st.lists(st.booleans(), max_size=12))
def test_any_cuts_give_the_same_events_with_a_receive_buffer_and_without(messages, sizes, as_bytes):
    conversation = b''.join(encode(*message) for message in messages)
    expected = Wire(deflate=DeflateCodec()).receive(conversation)
    wire = buffered(deflate=DeflateCodec())
    happened = []
    for index, piece in enumerate(cut(conversation, sizes)):
        if index < len(as_bytes) and as_bytes[index]:
            # What had been put aside comes as bytes, although there is a receive buffer.
            happened.extend(wire.receive(piece))
        else:
            happened.extend(hand_in(wire, piece))
    assert happened == expected
    stats = wire.connection.stats.received
    assert stats.wire_bytes == len(conversation)
    assert stats.messages == sum(opcode in (1, 2) for opcode, _size, _how in messages)


def begin(wire, size=LARGE, opcode=2, fin=True, rsv=0):
    """Hand in the first bytes of a frame; return the receive buffer."""
    frame = make_frame(opcode, b'\0' * size, fin=fin, rsv=rsv, key=wire.key)
    wire.receive(frame[:100])
    return wire.connection.decoder.receive_buffer


def test_the_receive_buffer_is_the_rest_of_a_large_binary_message():
    buffer = begin(buffered())
    assert len(buffer) == LARGE - 90     # the header takes 10


@pytest.mark.parametrize('options', [
    {'size': MIN_BUFFERED - 1}, {'size': MAX_BUFFERED + 1}, {'opcode': 1}, {'fin': False}])
def test_other_messages_have_no_receive_buffer(options):
    assert begin(buffered(), **options) is None


def test_a_compressed_message_has_no_receive_buffer():
    assert begin(buffered(deflate=DeflateCodec()), rsv=0x40) is None


def test_a_masked_message_has_no_receive_buffer():
    assert begin(buffered(role='server')) is None


def test_there_is_no_receive_buffer_unless_it_was_asked_for():
    assert begin(Wire()) is None


def test_a_message_over_the_limit_has_no_receive_buffer():
    wire = buffered(limits=DEFAULT_LIMITS._replace(message=LARGE - 1))
    assert_fails(1009, wire, make_frame(2, b'\0' * LARGE)[:100])
    assert wire.connection.decoder.receive_buffer is None


@pytest.mark.skipif(not hasattr(memoryview, 'obj'), reason='2.7 has no memoryview.obj')
def test_bytes_that_are_elsewhere_are_refused():
    wire = buffered()
    begin(wire)
    with pytest.raises(ValueError):
        list(wire.read(memoryview(b'\0' * 100)))


def test_bytes_may_come_although_there_is_a_buffer():
    wire = buffered()
    frame = make_frame(2, NOISE[:LARGE])
    assert wire.receive(frame[:100]) == []
    assert wire.connection.decoder.receive_buffer is not None
    assert wire.receive(frame[100:]) == [('binary', NOISE[:LARGE])]


def test_a_memoryview_may_come_although_there_is_no_buffer():
    assert buffered().receive(memoryview(make_frame(2, b'small'))) == [('binary', b'small')]


def test_a_buffer_may_be_filled_little_by_little():
    wire = buffered()
    buffer = begin(wire)
    for _byte in range(3):
        assert wire.receive(buffer[:1]) == []
        assert len(wire.connection.decoder.receive_buffer) == len(buffer) - 1
        buffer = wire.connection.decoder.receive_buffer
    assert wire.receive(buffer) == [('binary', b'\0' * LARGE)]
    assert wire.connection.decoder.receive_buffer is None


def test_what_comes_after_the_end_is_not_counted():
    wire = buffered()
    buffer = begin(wire)
    wire.connection.stop_receiving()
    assert wire.receive(buffer) == []
    assert wire.connection.stats.received.wire_bytes == 100


def test_a_message_is_not_touched_by_the_next():
    wire = buffered()
    first, = hand_in(wire, make_frame(2, b'a' * LARGE))
    second, = hand_in(wire, make_frame(2, b'b' * LARGE))
    assert first == ('binary', b'a' * LARGE)
    assert second == ('binary', b'b' * LARGE)


def test_memory_is_given_back_between_messages_only():
    wire = buffered()
    buffer = begin(wire)
    wire.connection.decoder.free_memory()
    assert wire.receive(buffer) == [('binary', b'\0' * LARGE)]
    assert wire.connection.decoder.held.buffer == LARGE
    wire.receive(make_frame(1, b'between', fin=False))     # a message, but not in there
    wire.connection.decoder.free_memory()
    assert wire.connection.decoder.held.buffer == 0
    assert wire.receive(make_frame(0, b'')) == [('text', u'between')]
    assert hand_in(wire, make_frame(2, b'b' * LARGE)) == [('binary', b'b' * LARGE)]
