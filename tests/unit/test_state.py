"""The states: each transition, and no other; its one writer; what each state says to a sender."""

from __future__ import absolute_import, division, print_function

import threading

import pytest

from lomond import errors
from lomond.protocol.close import CloseFrame
from lomond.protocol.state import (
    CAN_SEND,
    TRANSITIONS,
    Lifecycle,
    State,
    Trigger,
    unavailable,
)

OURS = CloseFrame(1000, u'ours')
THEIRS = CloseFrame(1001, u'theirs')


def _values(cls):
    return {value for name, value in vars(cls).items() if name.isupper()}


STATES = sorted(_values(State))

#: How to come to each state.
WAYS = {
    'connecting': [],
    'open': [('accepted', None)],
    'closing': [('accepted', None), ('close_sent', OURS)],
    'peer_closing': [('accepted', None), ('close_received', THEIRS)],
    'failing': [('accepted', None), ('failed', None)],
    'closed': [('rejected', None)],
}


def led_to(state, lock=None):
    """Return a lifecycle in a state."""
    lifecycle = Lifecycle() if lock is None else Lifecycle(lock)
    for trigger, close in WAYS[state]:
        lifecycle.move(trigger, close)
    assert lifecycle.state == state
    return lifecycle


# -- the table --

@pytest.mark.parametrize('state, trigger, following', [
    ('connecting', 'accepted', 'open'),
    ('connecting', 'rejected', 'closed'),
    ('open', 'close_sent', 'closing'),
    ('open', 'close_received', 'peer_closing'),
    ('open', 'failed', 'failing'),
    ('closing', 'close_received', 'closed'),
    ('closing', 'failed', 'failing'),
    ('peer_closing', 'close_sent', 'closed'),
    ('failing', 'close_sent', 'failing'),
    ('closed', 'close_received', 'closed'),
    ('closed', 'failed', 'closed'),
])
def test_what_leads_from_state_to_state(state, trigger, following):
    assert TRANSITIONS[state, trigger] == following
    assert led_to(state).move(trigger, OURS) == following


@pytest.mark.parametrize('state', STATES)
def test_disconnecting_leads_to_closed_from_anywhere(state):
    lifecycle = led_to(state)
    for _again in range(2):
        assert lifecycle.move(Trigger.DISCONNECTED) == State.CLOSED
        assert lifecycle.state == State.CLOSED


def test_there_is_no_other_way():
    assert len(TRANSITIONS) == 11 + len(STATES)
    assert set(TRANSITIONS.values()) <= set(STATES)
    assert {trigger for _state, trigger in TRANSITIONS} == _values(Trigger)


def test_nothing_leads_out_of_closed():
    assert {TRANSITIONS[pair] for pair in TRANSITIONS if pair[0] == State.CLOSED} == {State.CLOSED}


def test_messages_may_be_sent_until_our_close_frame():
    assert CAN_SEND == {State.OPEN, State.PEER_CLOSING}


# -- the writer --

@pytest.mark.parametrize('state', STATES)
@pytest.mark.parametrize('trigger', sorted(_values(Trigger)))
def test_a_trigger_that_leads_nowhere_is_refused_and_changes_nothing(state, trigger):
    if (state, trigger) in TRANSITIONS:
        return
    lifecycle = led_to(state)
    before = lifecycle.state, lifecycle.close_sent, lifecycle.close_received
    with pytest.raises(errors.WebSocketUnavailable) as caught:
        lifecycle.move(trigger, OURS)
    if trigger == 'close_sent':
        assert type(caught.value) is type(unavailable(state))
    assert (lifecycle.state, lifecycle.close_sent, lifecycle.close_received) == before


def test_the_close_frames_are_kept_to_the_end():
    lifecycle = led_to('open')
    assert (lifecycle.close_sent, lifecycle.close_received) == (None, None)
    lifecycle.move(Trigger.CLOSE_SENT, OURS)
    assert (lifecycle.close_sent, lifecycle.close_received) == (OURS, None)
    lifecycle.move(Trigger.CLOSE_RECEIVED, THEIRS)
    lifecycle.move(Trigger.DISCONNECTED)
    assert (lifecycle.close_sent, lifecycle.close_received) == (OURS, THEIRS)


@pytest.mark.parametrize('state, expected', [
    ('connecting', False), ('open', True), ('closing', False), ('peer_closing', True),
    ('failing', True), ('closed', False)])
def test_a_close_frame_may_be_sent_from_ready_on(state, expected):
    assert led_to(state).may_close is expected


@pytest.mark.parametrize('state', ['open', 'peer_closing', 'failing'])
def test_only_one_close_frame_may_be_sent(state):
    lifecycle = led_to(state)
    following = lifecycle.move(Trigger.CLOSE_SENT, OURS)
    assert not lifecycle.may_close
    with pytest.raises(errors.WebSocketUnavailable):
        lifecycle.move(Trigger.CLOSE_SENT, CloseFrame(1001, u'another'))
    assert (lifecycle.state, lifecycle.close_sent) == (following, OURS)


def test_no_close_frame_follows_ours_after_a_fault():
    lifecycle = led_to('closing')
    lifecycle.move(Trigger.FAILED)
    assert lifecycle.close_sent == OURS
    assert not lifecycle.may_close


@pytest.mark.parametrize('triggers, expected', [
    ('accepted', False),
    ('accepted close_sent', False),
    ('accepted close_received', False),
    ('accepted close_sent close_received', True),
    ('accepted close_received close_sent', True),
    ('accepted close_sent close_received disconnected', True),
    ('accepted close_sent disconnected', False),
    ('accepted close_received disconnected', False),
    ('accepted failed close_sent', False),
    ('accepted close_sent failed', False),
    ('accepted failed close_sent disconnected', False),
    # Another thread disconnected in the meantime.
    ('accepted close_sent disconnected close_received', True),
    ('accepted disconnected close_received', False),
])
def test_closing_is_complete_once_both_close_frames_were_exchanged(triggers, expected):
    lifecycle = Lifecycle()
    for trigger in triggers.split():
        lifecycle.move(trigger, OURS)
    assert lifecycle.is_close_complete is expected


def test_a_move_is_made_under_the_lock():
    lock = threading.Lock()
    lifecycle = led_to('open', lambda: lock)
    assert not lock.locked()
    with lock:
        mover = threading.Thread(target=lifecycle.move, args=(Trigger.CLOSE_SENT, OURS))
        mover.start()
        assert lifecycle.state == 'open'
    mover.join(30)
    assert lifecycle.state == 'closing'


# -- what a state says to a sender --

@pytest.mark.parametrize('state, expected', [
    (State.CONNECTING, errors.WebSocketUnavailable),
    (State.CLOSING, errors.WebSocketClosing),
    (State.FAILING, errors.WebSocketClosing),
    (State.CLOSED, errors.WebSocketClosed),
])
def test_each_state_refuses_to_send_in_its_own_way(state, expected):
    error = unavailable(state)
    assert type(error) is expected
    assert str(error)


def test_a_sender_after_a_fault_is_told_where_to_look():
    assert 'ProtocolError' in str(unavailable(State.FAILING))
    assert str(unavailable(State.FAILING)) != str(unavailable(State.CLOSING))
