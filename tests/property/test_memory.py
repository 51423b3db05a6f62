"""Whatever the peer sends, a connection holds no more of it than the limits say."""

from __future__ import absolute_import, division, print_function

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lomond._compat import text_type
from lomond.protocol.limits import DEFAULT_LIMITS
from tests.property.strategies import End, conversations, cuts, deflated_messages, keys, roles
from tests.protocol.harness import bytewise
from tests.support import make_frame

TINY = DEFAULT_LIMITS._replace(frame=30, message=40, fragments=3)

#: A header with a key, and the payload of a control frame, all but its last byte.
MOST_LEFT_OVER = 2 + 4 + 125 - 1


def _size(piece):
    return len(piece.encode('utf-8') if isinstance(piece, text_type) else piece)


def check(end, limits):
    connection = end.connection
    held = connection.decoder.held
    assert held.leftover <= MOST_LEFT_OVER
    assert held.payload <= limits.message
    assert held.buffer == 0
    assert connection.decoder.receive_buffer is None
    if not connection.is_receiving:
        assert held.leftover == 0


@pytest.mark.usefixtures('deflate_library')
@settings(max_examples=100)
@given(st.data(), roles, st.booleans(), st.booleans())
def test_connection_holds_no_more_than_the_limits_say(data, role, deflates, closes):
    conversation = data.draw(conversations(role))
    for pieces in (data.draw(cuts(conversation)), bytewise(conversation)):
        end = End(role, TINY, deflates, closes)
        for piece in pieces:
            end.receive([piece])
            check(end, TINY)
        for event in end.events:
            if event[0] in ('text', 'binary'):
                assert _size(event[1]) <= TINY.message


@pytest.mark.usefixtures('deflate_library')
@given(st.data(), roles, deflated_messages(), keys)
def test_compressed_messages_are_held_inflated_up_to_the_limit(data, role, messages, key):
    end = End(role, TINY, deflates=True)
    key = key if role == 'server' else None
    for message in messages:
        for piece in data.draw(cuts(make_frame(2, message, rsv=0x40, key=key))):
            end.receive([piece])
            check(end, TINY)


@given(roles, keys, st.integers(TINY.message - 2, TINY.message + 2), st.integers(10, 30),
       st.booleans())
def test_message_is_whole_up_to_the_limit_and_not_one_byte_beyond(
        role, key, size, first, bytewise_too):
    end = End(role, TINY)
    key = key if role == 'server' else None
    data = make_frame(2, b'x' * first, fin=False, key=key) + make_frame(
        0, b'x' * (size - first), key=key)
    for piece in bytewise(data) if bytewise_too else [data]:
        end.receive([piece])
        check(end, TINY)
    (name, content), = [event[:2] for event in end.events]
    if size <= TINY.message and size - first <= TINY.frame:
        assert (name, content) == ('binary', b'x' * size)
    else:
        assert name == 'protocol_error'


@pytest.mark.usefixtures('deflate_library')
@given(roles, keys, st.lists(st.sampled_from([b'a', b'b']), min_size=41, max_size=100))
def test_message_that_inflates_little_by_little_ends_at_the_limit(role, key, letters):
    """Each byte of it becomes a few: none of the steps is over the limit by itself."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    data = deflater.compress(b''.join(letters)) + deflater.flush(zlib.Z_SYNC_FLUSH)
    end = End(role, TINY, deflates=True)
    for piece in bytewise(make_frame(2, data, rsv=0x40, key=key if role == 'server' else None)):
        end.receive([piece])
        check(end, TINY)
    assert [event[:1] + event[3:] for event in end.events] == [('protocol_error', 1009)]


@pytest.mark.parametrize('role', ['client', 'server'])
@pytest.mark.parametrize('deflates', [False, True])
def test_any_header_is_judged_before_its_payload_is_held(role, deflates):
    lengths = [(0, b''), (1, b''), (125, b''), (126, b'\1\0'), (127, b'\0' * 5 + b'\1\0\0')]
    for first in range(256):
        for length, more in lengths:
            for mask in (0, 0x80):
                end = End(role, TINY, deflates)
                header = bytes(bytearray([first, length | mask])) + more
                for piece in [header] + [b'\0' * 100] * 3:
                    end.receive([piece])
                    check(end, TINY)


@pytest.mark.parametrize('role', ['client', 'server'])
@pytest.mark.parametrize('opcode', [1, 2])
def test_peer_that_sends_a_byte_at_a_time_costs_no_object_a_byte(role, opcode):
    end = End(role, DEFAULT_LIMITS)
    frame = make_frame(opcode, b'x' * 5000, key=b'1234' if role == 'server' else None)
    end.receive(bytewise(frame[:-1]))
    held = end.connection.decoder.held
    assert held.payload == 4999
    assert held.pieces <= 1024 + 4
