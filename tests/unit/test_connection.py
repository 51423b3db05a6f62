"""Connection by itself: the states it goes through, its parts.

How it sends is in test_encoder, how it receives in test_decoder, what it makes of the peer's bytes
in tests/protocol.
"""

from __future__ import absolute_import, division, print_function

import gc
import weakref

import pytest

from lomond import errors
from lomond.protocol.state import State
from tests.protocol.harness import ROLES, TEXT, connection_in, story
from tests.support import make_frame, needs_refcounts

BY_ROLE = pytest.mark.parametrize('role', ROLES)


@BY_ROLE
def test_connection_begins_without_receiving(role):
    connection = connection_in(State.CONNECTING, role)
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
    (State.FAILING, State.FAILING, False, False),
    (State.CLOSED, State.CLOSED, False, True),
    ('rejected', State.CLOSED, False, False),
    ('disconnected', State.CLOSED, False, False),
])
def test_connection_goes_from_state_to_state(role, led_to, state, is_receiving, is_close_complete):
    connection = connection_in(led_to, role)
    assert connection.state == state
    assert connection.is_receiving is is_receiving
    assert connection.is_close_complete is is_close_complete


@pytest.mark.parametrize('state', [
    State.OPEN, State.CLOSING, State.PEER_CLOSING, State.FAILING, State.CLOSED, 'rejected',
    'disconnected'])
def test_only_a_new_connection_can_be_accepted_or_rejected(state):
    connection = connection_in(state)
    before = connection.state
    for call in (connection.accept, connection.reject):
        with pytest.raises(errors.WebSocketUnavailable):
            call()
    assert connection.state == before


@pytest.mark.parametrize('state', [
    State.CONNECTING, State.OPEN, State.CLOSING, State.PEER_CLOSING, State.FAILING, State.CLOSED,
    'rejected', 'disconnected'])
def test_connection_can_be_disconnected_in_any_state_and_again(state):
    connection = connection_in(state)
    was_complete = connection.is_close_complete
    for _again in range(2):
        connection.disconnect()
        assert connection.state == State.CLOSED
        assert not connection.is_receiving
        assert connection.is_close_complete is was_complete
        assert list(connection.receive(make_frame(TEXT, b'late'))) == []


def test_a_mistyped_attribute_is_an_error():
    """A connection is only its parts: what is set belongs to one of these."""
    with pytest.raises(AttributeError):
        connection_in(State.OPEN).auto_pong = False


@needs_refcounts
@BY_ROLE
def test_a_connection_is_freed_without_the_collector(role):
    gc.disable()
    try:
        connection = connection_in(State.OPEN, role)
        iterator = connection.receive(make_frame(TEXT, b'one'))
        connection.encode(TEXT, b'one')
        freed = weakref.ref(connection), weakref.ref(connection.decoder)
        del connection, iterator
        assert [reference() for reference in freed] == [None, None]
    finally:
        gc.enable()


def test_nothing_is_received_after_stop_receiving():
    connection = connection_in(State.OPEN)
    iterator = connection.receive(make_frame(TEXT, b'one') + make_frame(TEXT, b'two'))
    assert story([next(iterator)]) == [('text', u'one')]
    connection.stop_receiving()
    assert list(iterator) == []
    assert list(connection.receive(make_frame(TEXT, b'three'))) == []
    assert connection.state == State.OPEN
