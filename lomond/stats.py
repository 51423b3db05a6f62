"""What a WebSocket has carried, over all of its connections, and how far away its peer is.

Numbers only: whoever moves the bytes counts them here.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING, monotonic

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional, Tuple  # noqa: F401


class Traffic(object):
    """One direction: ``messages`` (text and binary), and bytes.

    ``payload_bytes`` is what the messages hold, inflated; ``wire_bytes`` all
    frames, as they are inside of TLS.
    """

    __slots__ = ('messages', 'payload_bytes', 'wire_bytes')

    def __init__(self):
        # type: () -> None
        self.messages = 0
        self.payload_bytes = 0
        self.wire_bytes = 0

    def as_dict(self):
        # type: () -> Dict[str, int]
        """Return the numbers by their names."""
        return {name: getattr(self, name) for name in self.__slots__}

    def __repr__(self):
        # type: () -> str
        return 'Traffic({})'.format(
            ', '.join('{}={}'.format(name, getattr(self, name)) for name in self.__slots__))


class RoundTrips(object):
    """The times, in seconds, from the loop's pings to their pongs; None before the first.

    As the loop sees them: what a slow handler takes in between counts too.
    """

    __slots__ = ('count', 'last', 'minimum', '_total')

    def __init__(self):
        # type: () -> None
        self.count = 0
        self.last = None  # type: Optional[float]
        self.minimum = None  # type: Optional[float]
        self._total = 0.0

    def add(self, seconds):
        # type: (float) -> None
        """Take note of a round trip."""
        self.count += 1
        self.last = seconds
        self.minimum = seconds if self.minimum is None else min(self.minimum, seconds)
        self._total += seconds

    @property
    def mean(self):
        # type: () -> Optional[float]
        """The mean of all."""
        return self._total / self.count if self.count else None

    def as_dict(self):
        # type: () -> Dict[str, Any]
        """Return the numbers by their names."""
        return {
            'count': self.count, 'last': self.last, 'minimum': self.minimum, 'mean': self.mean}


class Stats(object):
    """The numbers of a WebSocket; they only grow, and go on over reconnects.

    What one read of the socket brought is counted when its last event has
    been handled.
    """

    def __init__(self):
        # type: () -> None
        self.received = Traffic()
        self.sent = Traffic()
        #: Pings that went out, the user's own included.
        self.pings_sent = 0
        self.pongs_received = 0
        self.round_trips = RoundTrips()
        #: How often it was tried to connect.
        self.attempts = 0
        #: How often that led to Ready.
        self.connections = 0
        # Seconds of the connections that ended, and since when there is the present one.
        # One step replaces both: another thread may look at any moment.
        self._connected = (0.0, None)  # type: Tuple[float, Optional[float]]
        self._clock = monotonic  # type: Callable[[], float]

    @property
    def reconnects(self):
        # type: () -> int
        """How often there was a connection after the first."""
        return max(0, self.connections - 1)

    @property
    def time_connected(self):
        # type: () -> float
        """Seconds from Ready to the end, of all connections together, the present one included."""
        ended, since = self._connected
        return ended + (0.0 if since is None else self._clock() - since)

    def opened(self, clock):
        # type: (Callable[[], float]) -> None
        """Take note of a connection, for the session; ``clock`` is what it goes by."""
        self.connections += 1
        self._clock = clock
        self._connected = (self._connected[0], clock())

    def closed(self):
        # type: () -> None
        """Take note of its end."""
        self._connected = (self.time_connected, None)

    def as_dict(self):
        # type: () -> Dict[str, Any]
        """Return all numbers by their names, for a log or a monitor."""
        return {
            'received': self.received.as_dict(),
            'sent': self.sent.as_dict(),
            'pings_sent': self.pings_sent,
            'pongs_received': self.pongs_received,
            'round_trips': self.round_trips.as_dict(),
            'attempts': self.attempts,
            'connections': self.connections,
            'reconnects': self.reconnects,
            'time_connected': self.time_connected,
        }

    def __repr__(self):
        # type: () -> str
        return 'Stats({!r})'.format(self.as_dict())
