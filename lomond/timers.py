"""When a session's loop has something to do, and whether the peer is still there.

Reads no clock and waits for nothing: it is told the time.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Optional  # noqa: F401

NEVER = float('inf')


class Timers(object):
    """The moments at which the loop has something to do, by the session's clock.

    Each option is in seconds, None or 0 for never.
    """

    def __init__(self, now, poll, ping_rate, ping_timeout):
        # type: (float, Optional[float], Optional[float], Optional[float]) -> None
        self._poll = poll or NEVER
        self._ping_rate = ping_rate or NEVER
        self._ping_timeout = ping_timeout or NEVER
        self.next_poll = now + self._poll
        self.next_ping = now + self._ping_rate
        #: When the peer was last heard: any byte counts as life.
        self.heard = now
        # When the oldest ping went out that nothing was heard after.
        self._asked = None  # type: Optional[float]
        #: When a peer that stays silent counts as gone.
        self.verdict = NEVER

    def poll_is_due(self, now):
        # type: (float) -> bool
        """Tell if Poll is due, and set the next; late ones aren't made up for."""
        if now < self.next_poll:
            return False
        self.next_poll += self._poll
        if self.next_poll <= now:
            self.next_poll = now + self._poll
        return True

    def ping_is_due(self, now):
        # type: (float) -> bool
        """Tell if a ping is due, and set the next."""
        if now < self.next_ping:
            return False
        self.next_ping = now + self._ping_rate
        return True

    def asked(self, now):
        # type: (float) -> None
        """Take note of a ping that went out, or would have but for a full buffer."""
        if self._asked is None or self.heard >= self._asked:
            self._asked = now
            # Silence counts from the last byte heard, but a peer that was
            # asked late, after a slow handler, still has its time to answer.
            self.verdict = max(
                self.heard + self._ping_timeout,
                now + min(self._ping_timeout, self._ping_rate))

    def is_silent(self, now):
        # type: (float) -> bool
        """Tell if the peer left a ping unanswered for too long."""
        if self._asked is not None and self.heard >= self._asked:
            self._asked = None
            self.verdict = NEVER
        return now >= self.verdict
