"""The phases of a session, what may follow each, and the ways in which a session ends."""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING, NamedTuple, text_type

if TYPE_CHECKING:
    from typing import Dict, FrozenSet, Optional  # noqa: F401


class Phase(object):
    """How far a session has come."""

    NEW = 'new'                 # made, not begun
    DIALING = 'dialing'         # on the way to a transport
    HANDSHAKE = 'handshake'     # the opening handshake (RFC 6455 4)
    OPEN = 'open'               # from Ready to the last Close frame
    RELEASED = 'released'       # open, between two drivers
    LINGERING = 'lingering'     # the peer has yet to end TCP (RFC 6455 7.1.1)
    FINISHED = 'finished'       # everything is freed


#: From each phase, those that may follow it. A redirect leads from HANDSHAKE to DIALING.
PHASES = {
    Phase.NEW: frozenset([Phase.DIALING, Phase.FINISHED]),
    Phase.DIALING: frozenset([Phase.HANDSHAKE, Phase.FINISHED]),
    Phase.HANDSHAKE: frozenset([Phase.OPEN, Phase.DIALING, Phase.FINISHED]),
    Phase.OPEN: frozenset([Phase.RELEASED, Phase.LINGERING, Phase.FINISHED]),
    Phase.RELEASED: frozenset([Phase.OPEN, Phase.FINISHED]),
    Phase.LINGERING: frozenset([Phase.FINISHED]),
    Phase.FINISHED: frozenset(),
}  # type: Dict[str, FrozenSet[str]]

#: How a session ended: ``kind``, one of `EndKind`; ``reason`` in words; ``error``, the exception
#: behind it or None.
End = NamedTuple('End', [
    ('kind', str), ('reason', text_type), ('error', 'Optional[BaseException]')])


class EndKind(object):
    """Why a session ended."""

    FAILED = 'failed'       # no connection came about, or the handshake failed
    FORCED = 'forced'       # the application broke it, or ended the attempt to connect
    BROKEN = 'broken'       # a read or a write failed
    PEER = 'peer'           # the peer ended TCP without the closing handshake
    TIMEOUT = 'timeout'     # the peer was silent, or too slow
    CLOSED = 'closed'       # by the closing handshake, or by a Close after the peer's fault
    AGED = 'aged'           # it reached `max_age`, and another connection is to replace it
