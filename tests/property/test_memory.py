"""Whatever the peer sends, a connection holds no more of it than the limits say."""

from __future__ import absolute_import, division, print_function

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


def gathered(connection):
    """Return how many bytes of payload a connection holds, and in how many pieces."""
    kept = getattr(connection._message, '_gathered', None)
    if kept is None:
        return 0, 0
    pieces = kept._merged + kept._small
    return sum(_size(piece) for piece in pieces), len(pieces)


def check(end, limits):
    connection = end.connection
    assert len(connection._leftover) <= MOST_LEFT_OVER
    size, _count = gathered(connection)
    assert size <= limits.message
    assert 0 <= connection._missing <= limits.frame
    assert connection._message._place is None
    assert connection.inlet is None
    if not connection.is_receiving:
        assert connection._leftover == b''


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


@given(roles, keys, st.sampled_from([1, 2]), st.booleans())
def test_peer_that_sends_a_byte_at_a_time_costs_no_object_a_byte(role, key, opcode, fin):
    end = End(role, DEFAULT_LIMITS)
    frame = make_frame(opcode, b'x' * 5000, fin=fin, key=key if role == 'server' else None)
    end.receive(bytewise(frame[:-1]))
    size, count = gathered(end.connection)
    assert size == 4999
    assert count <= 1024 + 4
