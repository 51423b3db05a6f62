"""The states of a WebSocket: one table of what leads from each to the next, and its one writer.

Moves no bytes: the decoder and the encoder say what went over the wire, and ask what may.
"""

from __future__ import absolute_import, division, print_function

from lomond import errors
from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Tuple  # noqa: F401

    from typing_extensions import Final, Literal  # noqa: F401

    from lomond.protocol.close import CloseFrame  # noqa: F401

#: A state, by its name: for annotations. To a type checker it is one of these names.
if TYPE_CHECKING:
    StateName = Literal['connecting', 'open', 'closing', 'peer_closing', 'failing', 'closed']
else:
    StateName = str


class State(object):
    """How far a connection has come."""

    CONNECTING = 'connecting'  # type: Final
    OPEN = 'open'  # type: Final
    # Our Close frame went out; messages may still arrive.
    CLOSING = 'closing'  # type: Final
    # The peer's arrived; our Close frame is sent after the application has handled Closing.
    PEER_CLOSING = 'peer_closing'  # type: Final
    # The peer broke the protocol: what follows is ignored.
    FAILING = 'failing'  # type: Final
    CLOSED = 'closed'  # type: Final


class Trigger(object):
    """What leads from one state to the next."""

    ACCEPTED = 'accepted'           # the opening handshake succeeded
    REJECTED = 'rejected'           # the opening handshake failed
    CLOSE_SENT = 'close_sent'
    CLOSE_RECEIVED = 'close_received'
    FAILED = 'failed'               # the peer broke the protocol (RFC 6455 7.1.7)
    DISCONNECTED = 'disconnected'   # the transport has ended


TRANSITIONS = {
    (State.CONNECTING, Trigger.ACCEPTED): State.OPEN,
    (State.CONNECTING, Trigger.REJECTED): State.CLOSED,

    (State.OPEN, Trigger.CLOSE_SENT): State.CLOSING,
    (State.OPEN, Trigger.CLOSE_RECEIVED): State.PEER_CLOSING,
    (State.OPEN, Trigger.FAILED): State.FAILING,
    (State.CLOSING, Trigger.CLOSE_RECEIVED): State.CLOSED,
    (State.CLOSING, Trigger.FAILED): State.FAILING,
    (State.PEER_CLOSING, Trigger.CLOSE_SENT): State.CLOSED,
    (State.FAILING, Trigger.CLOSE_SENT): State.FAILING,

    (State.CONNECTING, Trigger.DISCONNECTED): State.CLOSED,
    (State.OPEN, Trigger.DISCONNECTED): State.CLOSED,
    (State.CLOSING, Trigger.DISCONNECTED): State.CLOSED,
    (State.PEER_CLOSING, Trigger.DISCONNECTED): State.CLOSED,
    (State.FAILING, Trigger.DISCONNECTED): State.CLOSED,
    (State.CLOSED, Trigger.DISCONNECTED): State.CLOSED,

    # Another thread disconnected while these were being decoded.
    (State.CLOSED, Trigger.CLOSE_RECEIVED): State.CLOSED,
    (State.CLOSED, Trigger.FAILED): State.CLOSED,
}  # type: Dict[Tuple[str, str], StateName]

#: States in which messages, pings and pongs may be sent. RFC 6455 5.5.1 forbids them only after
#: our own Close frame, so the user may still send while handling Closing.
CAN_SEND = frozenset([State.OPEN, State.PEER_CLOSING])


class NoLock(object):
    """The lock of a connection that only one thread uses."""

    def __enter__(self):
        # type: () -> None
        pass

    def __exit__(self, *_exc_info):
        # type: (*Any) -> None
        pass


class Lifecycle(object):
    """How far one connection has come, and the Close frames that were exchanged over it.

    The connection, its decoder and its encoder share it. All may read it; only `move` writes it.

    Parameters: ``lock``, called for the context manager that guards a move. It is held for moments,
    never while anything is sent.
    """

    __slots__ = ('state', 'may_send', 'close_sent', 'close_received', 'lock')

    def __init__(self, lock=NoLock):
        # type: (Any) -> None
        self.state = State.CONNECTING  # type: StateName
        #: True while messages, pings and pongs may be sent.
        self.may_send = False  # type: bool
        #: Our Close frame, once it was encoded.
        self.close_sent = None  # type: Optional[CloseFrame]
        #: The peer's Close frame, once it arrived, unless that itself broke the protocol.
        self.close_received = None  # type: Optional[CloseFrame]
        self.lock = lock  # type: Any

    def move(self, trigger, close=None):
        # type: (str, Optional[CloseFrame]) -> StateName
        """Go where a trigger leads; return the new state.

        ``close`` is the Close frame that was sent or received. Raises WebSocketUnavailable, or its
        kind, if the trigger leads nowhere from the present state.
        """
        with self.lock():
            following = TRANSITIONS.get((self.state, trigger))
            if trigger == Trigger.CLOSE_SENT:
                if following is None or self.close_sent is not None:
                    raise unavailable(self.state)
                self.close_sent = close
            elif following is None:
                raise errors.WebSocketUnavailable(
                    'a WebSocket that is {} can not be {}', self.state, trigger)
            elif trigger == Trigger.CLOSE_RECEIVED:
                self.close_received = close
            self.state = following
            self.may_send = following in CAN_SEND
            return following

    @property
    def may_close(self):
        # type: () -> bool
        """True while a Close frame may be sent: from Ready on, and only one."""
        return self.close_sent is None and (self.state, Trigger.CLOSE_SENT) in TRANSITIONS

    @property
    def is_close_complete(self):
        # type: () -> bool
        """True once both Close frames were exchanged (RFC 6455 7.1.4)."""
        return self.close_sent is not None and self.close_received is not None


def cut_short(state):
    # type: (str) -> errors.WebSocketUnavailable
    """Make the error for a message in whose middle the connection left the open states."""
    return type(unavailable(state))(
        'the connection was closed in the middle of this message: the peer discards it')


def unavailable(state):
    # type: (str) -> errors.WebSocketUnavailable
    """Make the error for an attempt to send in a state that doesn't allow it."""
    if state == State.CONNECTING:
        return errors.WebSocketUnavailable('not connected yet: send after the Ready event')
    if state == State.CLOSING:
        return errors.WebSocketClosing('a Close frame was sent: nothing may follow it')
    if state == State.FAILING:
        return errors.WebSocketClosing(
            'the peer broke the WebSocket protocol, so the connection is being closed: '
            'see the ProtocolError event')
    return errors.WebSocketClosed('the WebSocket is closed')
