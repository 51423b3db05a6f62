"""When sessions have something to do, and whether the peer and its messages are still there.

Reads no clock and waits for nothing: the caller passes the time.
"""

from __future__ import absolute_import, division, print_function

from heapq import heapify, heappop, heappush

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Iterator, List, Optional, Tuple  # noqa: F401

    from lomond.stats import Traffic  # noqa: F401

NEVER = float('inf')

# A loop that looks later than this, in seconds, after the peer should have answered was held up:
# by a slow handler, or with the whole machine. It sends one more ping before it gives up.
_HELD_UP = 1.0

# Outdated entries of `Deadlines`, before they are removed.
_MANY_OUTDATED = 64


class Scheduled(object):
    """What `Deadlines` can hold."""

    __slots__ = ('scheduled',)

    def __init__(self):
        # type: () -> None
        #: The time that was set for it last, NEVER for none.
        self.scheduled = NEVER  # type: float

    def __lt__(self, _other):
        # type: (Any) -> bool
        return False    # heapq compares two whose times are equal: either may be the first


class Deadlines(object):
    """The next deadline of each of many objects."""

    __slots__ = ('_outdated', 'heap')

    def __init__(self):
        # type: () -> None
        #: Pairs of a time and an object. Those with another time than its `scheduled` are outdated:
        #: they go when they come up, or when there are many.
        self.heap = []  # type: List[Tuple[float, Scheduled]]
        self._outdated = 0

    @property
    def first(self):
        # type: () -> float
        """The first deadline, or an earlier time; NEVER without any."""
        return self.heap[0][0] if self.heap else NEVER

    def set(self, thing, at):
        # type: (Scheduled, float) -> None
        """Set an object's deadline, instead of the one that it has."""
        self._outdated += thing.scheduled != NEVER
        thing.scheduled = at
        heappush(self.heap, (at, thing))
        self.compact()

    def drop(self, thing):
        # type: (Scheduled) -> None
        """Forget an object's deadline, if it has one; also by a finalizer, at any moment.

        Its entry keeps the object alive until it comes up, or `compact` removes it.
        """
        if thing.scheduled != NEVER:
            thing.scheduled = NEVER
            self._outdated += 1

    def take_due(self, now):
        # type: (float) -> Iterator[Tuple[float, Any]]
        """Yield the deadlines that have come, in order, each with its object, which has none now.

        Meanwhile others may be set.
        """
        heap = self.heap
        while heap:
            at, thing = heap[0]
            is_outdated = at != thing.scheduled
            if at > now and not is_outdated:
                return
            heappop(heap)
            if is_outdated:
                self._outdated -= 1
            else:
                thing.scheduled = NEVER
                yield at, thing

    def compact(self):
        # type: () -> None
        """Remove outdated entries, if there are many."""
        if self._outdated > _MANY_OUTDATED and self._outdated > len(self.heap) // 4:
            self.heap[:] = [entry for entry in self.heap if entry[1].scheduled == entry[0]]
            heapify(self.heap)
            self._outdated = 0

    def clear(self):
        # type: () -> None
        """Forget all deadlines, of objects that aren't used any more."""
        del self.heap[:]
        self._outdated = 0


class Timers(object):
    """The moments at which the loop has something to do, by the session's clock.

    Each option is in seconds, None or 0 for never. Pings go out every
    ``ping_rate``, and as soon as the peer was silent for half of
    ``ping_timeout``: the other half is left for its answer. Heartbeats, unsolicited
    pongs, go out every ``heartbeat``; they ask the peer for nothing.
    """

    __slots__ = (
        '_asked', '_heartbeat', '_is_asked_again', '_latest_ping', '_least_silence', '_ping_rate',
        '_ping_timeout', '_poll', 'dead_at', 'last_received', 'next_beat', 'next_ping', 'next_poll')

    def __init__(self, now, poll, ping_rate, ping_timeout, heartbeat=None):
        # type: (float, Optional[float], Optional[float], Optional[float], Optional[float]) -> None
        self._poll = poll or NEVER
        self._ping_rate = ping_rate or NEVER
        self._ping_timeout = ping_timeout or NEVER
        self._heartbeat = heartbeat or NEVER
        # Without pings a silent peer isn't asked.
        self._least_silence = ping_timeout / 2 if ping_rate and ping_timeout else NEVER
        self.next_poll = now + poll if poll else NEVER  # type: float
        #: When to look if a ping is due.
        self.next_ping = NEVER  # type: float
        self._plan_pings(now)
        #: When a heartbeat is due.
        self.next_beat = now + heartbeat if heartbeat else NEVER  # type: float
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

    def beat_is_due(self, now):
        # type: (float) -> bool
        """Return whether a heartbeat is due, and set the next; missed ones are skipped."""
        if now < self.next_beat:
            return False
        self.next_beat = now + self._heartbeat
        return True

    def spread(self, now, share):
        # type: (float, float) -> None
        """Send the first ping and heartbeat after this share of their time, from 0 to 1."""
        if self._ping_rate != NEVER:
            self._latest_ping = now + share * self._ping_rate
            self.next_ping = min(self.next_ping, self._latest_ping)
        if self._heartbeat != NEVER:
            self.next_beat = now + share * self._heartbeat

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

    def stop_asking(self):
        # type: () -> None
        """Send no pings any more, and wait for no answer."""
        self.next_ping = self.dead_at = NEVER
        self._asked = None

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
