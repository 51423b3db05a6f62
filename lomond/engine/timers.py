"""When a session has something to do, and whether the peer is still there.

Reads no clock and waits for nothing: the caller passes the time.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Optional  # noqa: F401

NEVER = float('inf')

# A loop that looks later than this, in seconds, after the peer should have answered was held up:
# by a slow handler, or with the whole machine. It sends one more ping before it gives up.
_HELD_UP = 1.0


class Timers(object):
    """The moments at which the loop has something to do, by the session's clock.

    Each option is in seconds, None or 0 for never. Pings go out every
    ``ping_rate``, and as soon as the peer was silent for half of
    ``ping_timeout``: the other half is left for its answer.
    """

    def __init__(self, now, poll, ping_rate, ping_timeout):
        # type: (float, Optional[float], Optional[float], Optional[float]) -> None
        self._poll = poll or NEVER
        self._ping_rate = ping_rate or NEVER
        self._ping_timeout = ping_timeout or NEVER
        # Without pings a silent peer isn't asked.
        self._least_silence = self._ping_timeout / 2 if ping_rate else NEVER
        self.next_poll = now + self._poll  # type: float
        #: When to look if a ping is due.
        self.next_ping = NEVER  # type: float
        self._plan_pings(now)
        #: When the peer's last byte arrived: any byte counts as life.
        self.last_received = now
        # When the oldest ping went out after which nothing arrived.
        self._asked = None  # type: Optional[float]
        self._is_asked_again = False
        #: When a peer that stays silent counts as gone.
        self.dead_at = NEVER  # type: float

    def poll_is_due(self, now):
        # type: (float) -> bool
        """Return whether Poll is due, and set the next; missed ones are skipped."""
        if now < self.next_poll:
            return False
        self.next_poll += self._poll
        if self.next_poll <= now:
            self.next_poll = now + self._poll
        return True

    def ping_is_due(self, now):
        # type: (float) -> bool
        """Return whether a ping is due, and set the next."""
        if not self._was_held_up(now):
            if now < self.next_ping:
                return False
            # What arrived meanwhile may have put it off.
            self.next_ping = min(self._latest_ping, self.last_received + self._least_silence)
            if now < self.next_ping:
                return False
        self._plan_pings(now)
        return True

    def _plan_pings(self, now):
        # type: (float) -> None
        self._latest_ping = now + self._ping_rate
        self.next_ping = min(self._latest_ping, now + self._least_silence)

    def _was_held_up(self, now):
        # type: (float) -> bool
        """Return whether the peer gets one more ping first; if so, give it time for that."""
        if self._asked is None or self._is_asked_again or now - self.dead_at < _HELD_UP \
                or self.last_received >= self._asked:
            return False
        self._is_asked_again = True
        self._asked = None
        self.dead_at = NEVER
        return True

    def asked(self, now):
        # type: (float) -> None
        """Remember a ping that went out, or would have if the send buffer were not full."""
        if self._asked is not None and self.last_received >= self._asked:
            self._asked = None
            self._is_asked_again = False
        if self._asked is None:
            self._asked = now
            # Silence counts from the last byte received, but a peer that was
            # asked late, after a slow handler, still has its time to answer.
            self.dead_at = max(
                self.last_received + self._ping_timeout,
                now + min(self._least_silence, self._ping_rate))

    def is_silent(self, now):
        # type: (float) -> bool
        """Return whether the peer left a ping unanswered for too long."""
        if self._asked is not None and self.last_received >= self._asked:
            self._asked = None
            self._is_asked_again = False
            self.dead_at = NEVER
        return now >= self.dead_at
