"""Counters of a WebSocket, over all of its connections: messages, bytes, round trips.

They only count: the decoder, the encoder, the session and the writer with a queue update them.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional, Tuple  # noqa: F401


class Traffic(object):
    """One direction: ``messages`` (text and binary), and bytes.

    ``payload_bytes`` is the size of the messages, inflated; ``wire_bytes`` that of all frames,
    inside TLS.
    """

    __slots__ = ('messages', 'payload_bytes', 'wire_bytes')

    def __init__(self):
        # type: () -> None
        self.messages = 0  # type: int
        self.payload_bytes = 0  # type: int
        self.wire_bytes = 0  # type: int

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

    They are measured in the loop, so the time of a slow handler in between is included.
    """

    __slots__ = ('_numbers',)

    def __init__(self):
        # type: () -> None
        # One assignment replaces all numbers, as another thread may read them at any moment.
        self._numbers = (0, None, None, 0.0)  # type: Tuple[int, Optional[float], Optional[float], float]

    def add(self, seconds):
        # type: (float) -> None
        """Count a round trip."""
        count, _last, minimum, total = self._numbers
        self._numbers = (
            count + 1, seconds, seconds if minimum is None else min(minimum, seconds),
            total + seconds)

    @property
    def count(self):
        # type: () -> int
        """How many there were."""
        return self._numbers[0]

    @property
    def last(self):
        # type: () -> Optional[float]
        """The latest."""
        return self._numbers[1]

    @property
    def minimum(self):
        # type: () -> Optional[float]
        """The shortest."""
        return self._numbers[2]

    @property
    def mean(self):
        # type: () -> Optional[float]
        """The mean of all."""
        count, _last, _minimum, total = self._numbers
        return total / count if count else None

    def as_dict(self):
        # type: () -> Dict[str, Any]
        """Return the numbers by their names, all from the same moment."""
        count, last, minimum, total = self._numbers
        return {
            'count': count, 'last': last, 'minimum': minimum,
            'mean': total / count if count else None}


class Span(object):
    """The time of one connection, added to that of earlier ones. It never decreases.

    Parameters: ``before``, the seconds of earlier connections; ``clock``, the session's.
    """

    __slots__ = ('_before', '_clock', '_end', '_is_over', '_since')

    def __init__(self, before, clock):
        # type: (float, Callable[[], float]) -> None
        self._before = before
        self._clock = clock
        self._since = clock()
        self._is_over = False
        self._end = {}  # type: Dict[None, float]   # the moment; setdefault() sets it only once

    def seconds(self):
        # type: () -> float
        """Return the seconds so far, in any thread."""
        now = self._clock()
        # Read after the clock: if the span is still open, `now` is before its end.
        if self._is_over:
            now = self._end.setdefault(None, self._clock())
        return self._before + (now - self._since)

    def end(self):
        # type: () -> None
        """Stop, at this moment or at that of a thread which has noticed the end earlier."""
        self._is_over = True
        self._end.setdefault(None, self._clock())


class Stats(object):
    """The numbers of a WebSocket; they only grow, and continue over reconnects.

    The data of one read of the socket is counted when its last event has been handled.
    """

    __slots__ = (
        '_span', 'attempts', 'connections', 'dropped', 'pings_sent', 'pongs_received', 'received',
        'round_trips', 'sent')

    def __init__(self):
        # type: () -> None
        self.received = Traffic()  # type: Traffic
        self.sent = Traffic()  # type: Traffic
        #: Pings sent, including the user's own.
        self.pings_sent = 0  # type: int
        self.pongs_received = 0  # type: int
        self.round_trips = RoundTrips()  # type: RoundTrips
        #: The number of attempts to connect.
        self.attempts = 0  # type: int
        #: The number of attempts that led to Ready.
        self.connections = 0  # type: int
        #: Messages that the queue of a pool or a server with one thread dropped for newer ones.
        self.dropped = 0  # type: int
        self._span = None  # type: Optional[Span]      # of the present or last connection

    @property
    def reconnects(self):
        # type: () -> int
        """The number of connections after the first."""
        return max(0, self.connections - 1)

    @property
    def time_connected(self):
        # type: () -> float
        """Seconds from Ready to the end, the sum of all connections, including the present one."""
        span = self._span
        return 0.0 if span is None else span.seconds()

    def opened(self, clock):
        # type: (Callable[[], float]) -> Span
        """Count a connection; return its time. The session calls this with its clock."""
        self.connections += 1
        self._span = span = Span(self.time_connected, clock)
        return span

    def as_dict(self):
        # type: () -> Dict[str, Any]
        """Return all numbers by their names, for a log or a monitor."""
        # Pongs before pings, connections before attempts: another thread may count meanwhile, and
        # the result must never have more pongs than pings.
        round_trips = self.round_trips.as_dict()
        pongs_received = self.pongs_received
        pings_sent = self.pings_sent
        time_connected = self.time_connected
        connections = self.connections
        attempts = self.attempts
        return {
            'received': self.received.as_dict(),
            'sent': self.sent.as_dict(),
            'pings_sent': pings_sent,
            'pongs_received': pongs_received,
            'round_trips': round_trips,
            'attempts': attempts,
            'connections': connections,
            'reconnects': max(0, connections - 1),
            'dropped': self.dropped,
            'time_connected': time_connected,
        }

    def __repr__(self):
        # type: () -> str
        return 'Stats({!r})'.format(self.as_dict())
