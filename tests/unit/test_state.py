"""The states: each transition, and no other; what each state says to a sender."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond import errors
from lomond.protocol.state import CAN_SEND, TRANSITIONS, State, Trigger, unavailable


def _values(cls):
    return {value for name, value in vars(cls).items() if name.isupper()}


@pytest.mark.parametrize('state, trigger, following', [
    ('connecting', 'accepted', 'open'),
    ('connecting', 'rejected', 'closed'),
    ('open', 'close_sent', 'closing'),
    ('open', 'close_received', 'peer_closing'),
    ('closing', 'close_received', 'closed'),
    ('peer_closing', 'close_sent', 'closed'),
])
def test_what_leads_from_state_to_state(state, trigger, following):
    assert TRANSITIONS[state, trigger] == following


@pytest.mark.parametrize('state', sorted(_values(State)))
def test_disconnecting_leads_to_closed_from_anywhere(state):
    assert TRANSITIONS[state, Trigger.DISCONNECTED] == State.CLOSED


def test_there_is_no_other_way():
    assert len(TRANSITIONS) == 6 + len(_values(State))
    assert set(TRANSITIONS.values()) <= _values(State)
    assert {trigger for _state, trigger in TRANSITIONS} == _values(Trigger)


def test_nothing_leads_out_of_closed():
    assert {TRANSITIONS[pair] for pair in TRANSITIONS if pair[0] == State.CLOSED} == {State.CLOSED}


def test_sending_is_allowed_until_our_close_frame():
    assert CAN_SEND == {State.OPEN, State.PEER_CLOSING}


@pytest.mark.parametrize('state, expected', [
    (State.CONNECTING, errors.WebSocketUnavailable),
    (State.CLOSING, errors.WebSocketClosing),
    (State.CLOSED, errors.WebSocketClosed),
])
def test_each_state_refuses_to_send_in_its_own_way(state, expected):
    error = unavailable(state)
    assert type(error) is expected
    assert str(error)
