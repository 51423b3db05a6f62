"""The states of a WebSocket, what leads from one to the next, and what each allows.

The one place that knows. It moves no bytes.
"""

from __future__ import absolute_import, division, print_function

from lomond import errors
from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Dict, Tuple  # noqa: F401


class State(object):
    """Where a WebSocket stands."""

    CONNECTING = 'connecting'
    OPEN = 'open'
    CLOSING = 'closing'             # we sent Close; data may still arrive
    PEER_CLOSING = 'peer_closing'   # the peer sent Close; ours may wait a little
    CLOSED = 'closed'


class Trigger(object):
    """What can happen to it."""

    ACCEPTED = 'accepted'           # the opening handshake succeeded
    REJECTED = 'rejected'           # or didn't
    CLOSE_SENT = 'close_sent'
    CLOSE_RECEIVED = 'close_received'
    DISCONNECTED = 'disconnected'   # the transport is gone


TRANSITIONS = {
    (State.CONNECTING, Trigger.ACCEPTED): State.OPEN,
    (State.CONNECTING, Trigger.REJECTED): State.CLOSED,
    (State.OPEN, Trigger.CLOSE_SENT): State.CLOSING,
    (State.OPEN, Trigger.CLOSE_RECEIVED): State.PEER_CLOSING,
    (State.CLOSING, Trigger.CLOSE_RECEIVED): State.CLOSED,
    (State.PEER_CLOSING, Trigger.CLOSE_SENT): State.CLOSED,

    (State.CONNECTING, Trigger.DISCONNECTED): State.CLOSED,
    (State.OPEN, Trigger.DISCONNECTED): State.CLOSED,
    (State.CLOSING, Trigger.DISCONNECTED): State.CLOSED,
    (State.PEER_CLOSING, Trigger.DISCONNECTED): State.CLOSED,
    (State.CLOSED, Trigger.DISCONNECTED): State.CLOSED,
}  # type: Dict[Tuple[str, str], str]

#: States in which frames may go out. RFC 6455 5.5.1 forbids data only after
#: our own Close frame, so the user may still send while handling Closing.
CAN_SEND = frozenset([State.OPEN, State.PEER_CLOSING])


def unavailable(state):
    # type: (str) -> errors.WebSocketUnavailable
    """Make the error for an attempt to send in a state that doesn't allow it."""
    if state == State.CONNECTING:
        return errors.WebSocketUnavailable('not connected yet: send after the Ready event')
    if state == State.CLOSING:
        return errors.WebSocketClosing('a Close frame was sent: nothing may follow it')
    return errors.WebSocketClosed('the WebSocket is closed')
