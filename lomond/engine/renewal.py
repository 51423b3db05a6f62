"""A connection that is replaced by another before it is closed, so that no message is missed.

While the new one connects, and for as long as the old one still delivers, there are two. Waits for
nothing: the machine here has a session's members.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING, monotonic
from lomond.engine.phases import Phase
from lomond.engine.timers import NEVER

if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, List, Optional, Tuple  # noqa: F401

    from lomond.events import AnyEvent  # noqa: F401
    from lomond.net.waiter import Interest  # noqa: F401

# How long to wait, in seconds, after a successor failed to connect.
_PAUSE = 10.0


class RenewedSession(object):
    """A session, and another in its place once it is due, at its `max_age` or by `renew`.

    Its events are those of the first session, Ready of the second, and then those of the second.
    Between the two, and until the first has ended, messages of both arrive: if the server sends
    each message on both, the user gets it twice. If the second fails to connect, the first goes
    on, and a third is tried.

    From the second's Ready on the first is retired: it sends its queue, then a Close, and lives
    until that is answered or a timeout of its own ends it. Its end isn't reported. Disconnected of
    the second is, once both have ended, and counts what either couldn't send.

    Parameters:

    - ``websocket``: the user's.
    - ``session``: the first, which has begun.
    - ``begin``: called with a twin of the websocket; returns a session of that, which has begun.
    - ``is_over``: returns True once no other connection is to be made.
    - ``keeps_outbox``: whether the second sends what the first couldn't, as far as nothing of a
      message has gone out.
    - ``clock``: a monotonic clock in seconds.
    """

    __slots__ = (
        '_begin', '_clock', '_events', '_interest', '_is_over', '_keeps_outbox', '_last',
        '_not_before', '_retired', '_successor', '_twin', '_unsent', '_watched', '_websocket',
        'session')

    def __init__(
        self,
        websocket,              # type: Any
        session,                # type: Any
        begin,                  # type: Callable[[Any], Any]
        is_over,                # type: Callable[[], bool]
        keeps_outbox=False,     # type: bool
        clock=monotonic,        # type: Callable[[], float]
    ):
        # type: (...) -> None
        self._websocket = websocket
        #: The session whose connection the websocket has.
        self.session = session  # type: Any
        session.is_replaceable = True
        self._begin = begin
        self._is_over = is_over
        self._keeps_outbox = keeps_outbox
        self._clock = clock
        self._twin = None  # type: Any      # what the successor, or the retired session, drives
        self._successor = None  # type: Any
        self._retired = None  # type: Any
        # Disconnected, until the retired session has ended too; and what those couldn't send.
        self._last = None  # type: Any
        self._unsent = 0
        self._not_before = -NEVER       # when the next successor may begin
        self._events = ()  # type: Iterable[AnyEvent]       # of the session's present step
        self._watched = ()  # type: Tuple[Interest, ...]    # the interests of the parts
        self._interest = ()  # type: Interest               # ... and all of them together

    @property
    def _parts(self):
        # type: () -> List[Any]
        """The sessions that are to be driven."""
        parts = [part for part in (self.session, self._successor, self._retired)
                 if part is not None and not part.is_finished]
        return parts or [self.session]

    # -- a session's members --

    @property
    def is_finished(self):
        # type: () -> bool
        """True once the websocket's session has ended, and the one before it."""
        return self.session.is_finished and self._retired is None

    @property
    def is_aged(self):
        # type: () -> bool
        """As the session's: False, as this replaces it."""
        return self.session.is_aged     # type: ignore[no-any-return]

    @property
    def interest(self):
        # type: () -> Interest
        """What to wait for before the next step: the same object as long as nothing changed."""
        watched = tuple(part.interest for part in self._parts)
        if len(watched) != len(self._watched) or any(
                new is not old for new, old in zip(watched, self._watched)):
            self._watched = watched
            self._interest = watched[0] if len(watched) == 1 else [
                pair for interest in watched for pair in interest]
        return self._interest

    @property
    def deadline(self):
        # type: () -> float
        """When the next step has something to do though nothing arrived, by the clock."""
        deadline = min(part.deadline for part in self._parts)  # type: float
        return min(deadline, self._not_before) if self._is_due else deadline

    def time_left(self):
        # type: () -> Optional[float]
        """Return how long, in seconds, to wait for `interest`; None means forever."""
        left = [part.time_left() for part in self._parts]
        if self._is_due:
            left.append(max(0.0, self._not_before - self._clock()))
        known = [seconds for seconds in left if seconds is not None]
        return min(known) if known else None

    def step(self):
        # type: () -> Iterator[AnyEvent]
        """Do what can be done without waiting; yield the events."""
        self._events = self.session.step()
        for event in self._events:
            if event.name == 'disconnected':
                self._last = event
            else:
                yield event
        self._events = ()
        if self.session.is_finished or self._is_over():
            self.session.is_due = False
            self._drop_successor()
        elif self._is_due and self._clock() >= self._not_before:
            self._twin = self._websocket.make_twin()
            self._successor = self._begin(self._twin)
        if self._successor is not None:
            for event in self._step_successor():
                yield event
        if self._retired is not None:
            for event in self._step_retired():
                yield event
        if self._last is not None and self._retired is None:
            last, self._last = self._last, None
            last.unsent += self._unsent
            yield last

    @property
    def _is_due(self):
        # type: () -> bool
        return self.session.is_due and self._successor is None and self._retired is None

    def _step_successor(self):
        # type: () -> Iterator[AnyEvent]
        successor = self._successor
        for event in successor.step():
            if event.name == 'ready':
                if self.session.phase != Phase.OPEN or self.session.is_forced \
                        or self.session.connection.close_received:
                    # Its end comes as always, and the policy decides what follows.
                    self._drop_successor()
                    return
                self._take_over()
            if self.session is successor:
                yield event
        if successor.is_finished and self.session is not successor:
            self._give_up_successor(successor.end.reason if successor.end else u'')

    def _give_up_successor(self, reason):
        # type: (Any) -> None
        self._websocket.logger.warning(
            '%r keeps its old connection, as no new one could be opened: %s',
            self._websocket, reason)
        self._drop_successor()
        self._not_before = self._clock() + _PAUSE

    def _take_over(self):
        # type: () -> None
        """Let the websocket have the successor's connection from now on; close the old one."""
        self._retired, self.session, self._successor = self.session, self._successor, None
        self._websocket.exchange(self._twin)
        self.session.is_replaceable = True
        self._retired.retire()
        # Since they were last asked: what the user called has found the old session.
        if self._is_over():
            self.session.close()
        if self._retired.is_forced:
            self.session.force_disconnect()

    def _step_retired(self):
        # type: () -> Iterator[AnyEvent]
        retired = self._retired
        self._force_if_forced(retired)
        for event in retired.step():
            if event.name == 'text' or event.name == 'binary':
                yield event
                self._force_if_forced(retired)
        if retired.is_finished and self._retired is retired:
            self._retired = self._twin = None
            self._settle(retired)

    def _force_if_forced(self, retired):
        # type: (Any) -> None
        """Break the old connection, too, if the user has broken the new one."""
        if self.session.is_forced and not retired.is_forced:
            retired.force_disconnect()

    def _settle(self, retired):
        # type: (Any) -> None
        """Pass on, or count, what a session that has ended couldn't send."""
        entries, lost = retired.writer.take_queue()
        left = sum(len(messages) for messages, _compress in entries)
        writer = self.session.writer
        if left and self._keeps_outbox and (writer.can_send or not self._is_over()):
            refused = writer.adopt(entries)
            if self._last is not None:      # they wait for the next connection
                self._unsent += left - refused
            left = refused
        lost += left
        if lost:
            self._unsent += lost
            self._websocket.logger.warning(
                '%r: %d messages were not sent over the connection that was replaced: %s',
                self._websocket, lost, retired.end.reason if retired.end else u'')

    def _drop_successor(self):
        # type: () -> None
        if self._successor is not None:
            self._successor.dispose()
            self._successor = self._twin = None

    def renew(self):
        # type: () -> None
        """Replace the connection now, if it is open; from any thread."""
        self.session.is_due = self.session.phase in (Phase.OPEN, Phase.RELEASED)
        self._not_before = -NEVER
        self.session.wake()

    def clear_retired(self):
        # type: () -> int
        """Drop what waits for the old connection; return how many messages; from any thread."""
        retired = self._retired
        return 0 if retired is None else retired.writer.clear()

    @property
    def is_releasable(self):
        # type: () -> bool
        """As a session's; False while an old connection is left."""
        return self._retired is None and self.session.is_releasable

    def release(self, _rest):
        # type: (Iterable[AnyEvent]) -> None
        """Do as a session does; nothing is to be driven here any more."""
        self.session.release(self._events)

    def fail(self, error):
        # type: (EnvironmentError) -> None
        """End, as the driver can't wait for the `interest`."""
        if self._successor is not None:     # if it is the other's, that fails next time
            self._give_up_successor(error)
            return
        for part in self._parts:
            part.fail(error)

    def dispose(self):
        # type: () -> None
        """Free everything, in whatever phase it is. Never raises."""
        for part in (self.session, self._successor, self._retired):
            if part is not None:
                part.dispose()
