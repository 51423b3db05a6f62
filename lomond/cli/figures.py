"""The numbers of ``--stats``: one line while it runs, and a few at the end.

It reads `WebSocket.stats`, and prints nothing.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING, monotonic

if TYPE_CHECKING:
    from typing import Callable, List, Optional, Text  # noqa: F401

    from lomond.stats import Stats, Traffic  # noqa: F401

__all__ = ['Figures', 'format_seconds', 'format_size']


def format_size(count):
    # type: (float) -> Text
    """Return a number of bytes with a unit."""
    for unit in (u'B', u'KiB', u'MiB'):
        if count < 1024:
            return u'{:.0f} {}'.format(count, unit) if unit == u'B' or count >= 100 \
                else u'{:.1f} {}'.format(count, unit)
        count /= 1024
    return u'{:.1f} GiB'.format(count)


def format_seconds(seconds):
    # type: (Optional[float]) -> Text
    """Return a time with a unit, or a dash for None."""
    if seconds is None:
        return u'-'
    if seconds < 0.001:
        return u'{:.0f} us'.format(seconds * 1e6)
    return u'{:.1f} ms'.format(seconds * 1e3) if seconds < 1 else u'{:.2f} s'.format(seconds)


class Figures(object):
    """What has happened since the last call of `line`, and in all."""

    def __init__(self, stats, clock=monotonic):
        # type: (Stats, Callable[[], float]) -> None
        self._stats = stats
        self._clock = clock
        self._began = self._last_at = clock()
        self._last = (0, 0, 0, 0)
        self.opened_after = None  # type: Optional[float]

    def opened(self):
        # type: () -> None
        """Take down when the first connection was open."""
        if self.opened_after is None:
            self.opened_after = self._clock() - self._began

    def line(self):
        # type: () -> Text
        """Return the rates since the last call, the round trip and the totals."""
        received, sent = self._stats.received, self._stats.sent
        now = self._clock()
        numbers = (
            received.messages, received.payload_bytes, sent.messages, sent.payload_bytes)
        span = max(now - self._last_at, 1e-3)
        rates = [(new - old) / span for new, old in zip(numbers, self._last)]
        self._last, self._last_at = numbers, now
        return u'in {:.0f}/s {}/s, out {:.0f}/s {}/s, round trip {}, {} in, {} out'.format(
            rates[0], format_size(rates[1]), rates[2], format_size(rates[3]),
            format_seconds(self._stats.round_trips.last), received.messages, sent.messages)

    def summary(self):
        # type: () -> List[Text]
        """Return lines for the end."""
        stats = self._stats
        trips = stats.round_trips
        return [
            u'open after {}, connected for {}, {} of {} attempts'.format(
                format_seconds(self.opened_after), format_seconds(stats.time_connected),
                stats.connections, stats.attempts),
            u'received {}'.format(_describe(stats.received)),
            u'sent {}'.format(_describe(stats.sent)),
            u'round trips: {}, shortest {}, mean {}'.format(
                trips.count, format_seconds(trips.minimum), format_seconds(trips.mean))]


def _describe(traffic):
    # type: (Traffic) -> Text
    return u'{} messages, {}, on the wire {}'.format(
        traffic.messages, format_size(traffic.payload_bytes), format_size(traffic.wire_bytes))
