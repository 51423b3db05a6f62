"""When a session has something to do, and whether the peer and its messages are still there.

Reads no clock and waits for nothing: the caller passes the time.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Optional  # noqa: F401

    from lomond.stats import Traffic  # noqa: F401

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

    __slots__ = (
        '_asked', '_is_asked_again', '_latest_ping', '_least_silence', '_ping_rate',
        '_ping_timeout', '_poll', 'dead_at', 'last_received', 'next_ping', 'next_poll')

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
        self.last_received = now  # type: float
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

    def spread_pings(self, now, share):
        # type: (float, float) -> None
        """Send the first ping after this share of ``ping_rate``, a number from 0 to 1."""
        self._latest_ping = now + share * self._ping_rate if self._ping_rate != NEVER else NEVER
        self.next_ping = min(self.next_ping, self._latest_ping)

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


class IdleTimer(object):
    """Notices that no message has come for some time, however lively the connection is.

    It compares a count of messages, at each read and when it is due, so that a message costs
    nothing. A silence begins with the read that brought the last message.

    Parameters: ``now``; ``timeout``, in seconds; ``received``, whose ``messages`` is the count.
    """

    __slots__ = (
        '_count', '_is_reported', '_message_at', '_overdue_at', '_read_at', '_received', 'due_at',
        'timeout')

    def __init__(self, now, timeout, received):
        # type: (float, float, Traffic) -> None
        self.timeout = timeout  # type: float
        #: When to call `find_silence`; NEVER after `stop`.
        self.due_at = now + timeout  # type: float
        self._received = received
        self._count = received.messages
        self._read_at = self._message_at = now      # the last read, that of the last message
        # When it was first looked at after it was due.
        self._overdue_at = None  # type: Optional[float]
        self._is_reported = False

    def was_read(self, now):
        # type: (float) -> None
        """Notice that bytes were read, before messages are made of them."""
        self._look_for_messages()
        self._read_at = now

    def find_silence(self, now, may_be_more):
        # type: (float, bool) -> Optional[float]
        """Return how long no message has come, in seconds, if that is to be reported now.

        Call it after each read once it is due, and say if there may be more to read: a silence
        is reported after all was read that had come by then.
        """
        self._look_for_messages()
        self.due_at = self._message_at + self.timeout
        if now < self.due_at:
            self._overdue_at = None
            return None
        if self._overdue_at is None:
            # The process may have been stopped since the read: another one has to begin.
            self._overdue_at = now
            return None
        if may_be_more:
            return None
        silence = self._overdue_at - self._message_at
        self._overdue_at = None
        self.due_at = now + self.timeout    # a message may end the silence before that
        if self._is_reported:
            return None
        self._is_reported = True
        return silence

    def stop(self):
        # type: () -> None
        """Find no silence any more."""
        self.due_at = NEVER

    def _look_for_messages(self):
        # type: () -> None
        if self._received.messages != self._count:
            # All that is counted since the last read came with it.
            self._count = self._received.messages
            self._message_at = self._read_at
            self._is_reported = False
