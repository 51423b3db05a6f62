"""Drives many connections in one thread: waits for all at once, and steps those that are ready.

It drives machines: sessions, and other objects with a session's members, such as
`PersistentSession`. It opens no connections, and makes two events only: the pool's own Poll, and
Disconnected for a machine that fails.
"""

from __future__ import absolute_import, division, print_function

import logging
import os
import weakref
from collections import deque

from lomond import errors, events
from lomond._compat import TYPE_CHECKING, monotonic
from lomond._describe import describe
from lomond.engine.timers import NEVER, Deadlines, Scheduled
from lomond.net.waiter import WAYS, Waiter
from lomond.net.waker import Waker

if TYPE_CHECKING:
    from typing import (  # noqa: F401
        Any,
        Callable,
        Deque,
        Dict,
        Iterable,
        Iterator,
        List,
        Optional,
        Sequence,
        Tuple,
    )

    from lomond.events import AnyEvent  # noqa: F401
    from lomond.net.waiter import Interest  # noqa: F401

log = logging.getLogger('lomond')  # type: logging.Logger

# How late the loop may be, in seconds, without a warning.
_LATE = 1.0

# The shortest time between two warnings of one kind, in seconds.
_WARN_EVERY = 60.0

# Weak references to all multiplexers: a websocket may be a member of one only.
_multiplexers = []  # type: List[Any]


class WarningLimit(object):
    """Allows one warning a minute, so that peers can't flood the log."""

    __slots__ = ('_next',)

    def __init__(self):
        # type: () -> None
        self._next = -NEVER

    def allows(self, now):
        # type: (float) -> bool
        """Return whether to warn now, by the clock; if so, the next minute begins."""
        if now < self._next:
            return False
        self._next = now + _WARN_EVERY
        return True


class Member(Scheduled):
    """A machine in a multiplexer, and what it is known by outside: its websocket.

    Parameters: ``begin``, called in the driver's thread with the function that wakes the
    driver; returns the machine, which has begun.
    """

    __slots__ = (
        'begin', 'driver', 'interest', 'is_gone', 'is_ready', 'is_woken', 'machine', 'websocket')

    def __init__(self, websocket, begin):
        # type: (Any, Callable[[Callable[[], None]], Any]) -> None
        super(Member, self).__init__()
        self.websocket = websocket
        self.begin = begin  # type: Any     # None once it was called
        self.machine = None  # type: Any
        #: The multiplexer that drives it.
        self.driver = None  # type: Any
        #: True once it was removed: nothing of it is passed on any more.
        self.is_gone = False
        #: Whether it is among those to step next; whether a thread has asked for that.
        self.is_ready = False
        self.is_woken = False
        #: What the waiter watches for it; compared by identity.
        self.interest = ()  # type: Interest

    def wake(self):
        # type: () -> None
        """Have it step; from any thread."""
        self.driver.wake(self)

    def woken(self):
        # type: () -> None
        """Be stepped, as it was woken; in the driver's thread."""
        self.driver.take_wake(self)

    def free(self):
        # type: () -> None
        """Leave, and free everything; in the driver's thread."""
        self.driver.take_out(self)


class Multiplexer(object):
    """Drives its members in the thread that iterates over `run`.

    `add`, `remove`, `call` and `wake` may be called from any thread, and from signals' handlers.

    Parameters: ``ways``, the names of the ways to wait that may be used, the best first; ``clock``,
    a monotonic clock in seconds.
    """

    def __init__(self, ways=WAYS, clock=monotonic):
        # type: (Sequence[str], Callable[[], float]) -> None
        self._ways = ways
        self._clock = clock
        self._members = {}  # type: Dict[int, Member]   # by the websocket's id
        # Those that were removed, until the driver's thread has freed them.
        self._leaving = {}  # type: Dict[int, Member]
        #: Calls for the driver's thread to make.
        self.mail = deque()  # type: Deque[Callable[[], Any]]
        self._ready = deque()  # type: Deque[Member]
        #: Of each member the earliest that it had: one that has more time by now is put off when
        #: that has come.
        self.deadlines = Deadlines()  # type: Deadlines
        self._owners = {}  # type: Dict[int, Member]    # by descriptor
        # The member that was stepped last, and what is left of that step.
        self._stepping = None  # type: Optional[Member]
        self._rest = ()  # type: Iterable[AnyEvent]
        self._next_poll = self._look_again = NEVER
        #: Where what is about no single member is logged.
        self.logger = log  # type: Any
        self._warnings = WarningLimit()
        self._waiter = None  # type: Optional[Waiter]   # while `run` runs
        self._waker = None  # type: Optional[Waker]
        _multiplexers.append(weakref.ref(self, _multiplexers.remove))

    # -- from any thread --

    def __len__(self):
        # type: () -> int
        return len(self._members)

    def find(self, websocket):
        # type: (Any) -> Optional[Member]
        """Return a websocket's member, or None; None as well once its last event has come."""
        member = self._members.get(id(websocket))
        if member is None or member.is_gone:
            return None
        machine = member.machine
        return None if machine is not None and machine.is_finished else member

    @property
    def websockets(self):
        # type: () -> List[Any]
        """The members' websockets, in a new list."""
        return [member.websocket for member in list(self._members.values())]

    def is_leaving(self, websocket):
        # type: (Any) -> bool
        """Return whether a websocket was removed, and the driver's thread has yet to free it."""
        return id(websocket) in self._leaving

    def check_free(self, websocket):
        # type: (Any) -> None
        """Raise WebSocketUnavailable if a websocket is a member of another multiplexer."""
        if any(other is not self for other in _owners_of(websocket)):
            raise _taken(websocket)

    def add(self, member):
        # type: (Member) -> None
        """Drive a member; raises WebSocketUnavailable if its websocket is a member's already."""
        member.driver = self
        websocket = member.websocket
        key = id(websocket)
        if self.find(websocket) is None:
            self._members.pop(key, None)
        if self._members.setdefault(key, member) is not member:
            raise _taken(websocket)
        try:
            self.check_free(websocket)      # last: another thread may be adding it elsewhere
        except errors.WebSocketUnavailable:
            self._drop(member)
            raise
        self.wake(member)

    def remove(self, member):
        # type: (Member) -> None
        """Pass on no event of a member from now on; a loop's thread frees it, if one runs."""
        member.is_gone = True
        self._leaving[id(member.websocket)] = member
        self.call(member.free)
        self._drop(member)
        if self._waker is None:     # no loop reads that
            member.free()
            self._withdraw(member.free)
            if member.is_woken:
                self._withdraw(member.woken)

    def _drop(self, member):
        # type: (Member) -> None
        member.is_gone = True
        if self._members.get(id(member.websocket)) is member:
            self._members.pop(id(member.websocket), None)   # another thread may do it, too

    def wake(self, member):
        # type: (Member) -> None
        """Have a member step."""
        if not member.is_woken:
            member.is_woken = True
            self.call(member.woken)

    def look_again(self, when):
        # type: (float) -> None
        """Have all members step, and ask ``is_over()`` again at this time, by the clock."""
        self._look_again = when
        self.call(self._mark_all_ready)

    def call(self, function):
        # type: (Callable[[], Any]) -> None
        """Have the driver's thread call a function between two steps."""
        self.mail.append(function)
        waker = self._waker
        if waker is not None:
            # In the driver's own thread, too: a signal's handler may be about to interrupt a wait.
            waker.wake()

    # -- the driver --

    def run(self, is_over, poll=None, waits=True):
        # type: (Callable[[], bool], Optional[float], bool) -> Iterator[Tuple[Any, Any]]
        """Yield pairs of a websocket and its event until ``is_over()``; then free all members.

        Parameters: ``poll``, how often to yield ``(None, Poll())``, in seconds, None for never;
        ``waits``, False to yield ``(None, None)`` before each round: then the caller waits, for
        `fileno` and `time_left`. Raises WebSocketUnavailable while another `run` runs.

        A forked child that goes on iterates over what is left of one step, and no further.
        """
        if self._waiter is not None:
            raise errors.WebSocketUnavailable(
                'another loop over this pool is running: leave that first')
        ready = self._ready
        process = os.getpid()
        period = poll or NEVER
        self._next_poll = self._clock() + period
        try:
            self._waiter = Waiter(self._ways)
            self._waker = Waker()
            self._waiter.watch(*self._waker.interest)
            while not is_over() and process == os.getpid():
                left = self.time_left()
                if not waits:
                    yield None, None
                    left = 0
                self._collect(left)
                self._read_mail()
                # Each once: one that has more to do waits for the others.
                for _ in range(len(ready)):
                    if process != os.getpid():
                        return      # in the child: the connections are its parent's
                    member = ready.popleft()
                    member.is_ready = False
                    if member.is_gone:
                        continue
                    websocket = member.websocket
                    try:
                        self._stepping, self._rest = member, self.begun(member).step()
                        for event in self._rest:
                            if member.is_gone:      # by a signal's handler, in the step
                                break
                            yield websocket, event
                            if member.is_gone:
                                break
                        else:
                            self._look_at(member)
                    except Exception as error:      # one connection's fault is no other's
                        was_removed = member.is_gone
                        is_misuse = isinstance(error, errors.WebSocketUnavailable)
                        # Another thread may have removed it in the middle of its step.
                        logger = getattr(websocket, 'logger', self.logger)
                        logger.log(logging.DEBUG if was_removed and is_misuse else logging.ERROR,
                                   '%r was given up: %s', websocket, error,
                                   exc_info=not is_misuse)
                        self.take_out(member)
                        if not was_removed:
                            yield websocket, events.Disconnected(
                                u'the connection was given up: {}'.format(describe(error)),
                                cause=error)
                now = self._clock()
                if now >= self._next_poll:
                    self._next_poll += period
                    if self._next_poll <= now:      # missed ones are skipped
                        self._next_poll = now + period
                    yield None, events.Poll()
                self._look_at_deadlines(now)
                if now >= self._look_again:
                    self._look_again = NEVER
        finally:
            self._end()

    def fileno(self):
        # type: () -> Optional[int]
        """Return a descriptor that is ready when a member's is, None if the way has none."""
        return None if self._waiter is None else self._waiter.fileno()

    def time_left(self):
        # type: () -> float
        """Return for how many seconds there is nothing to do, unless something arrives."""
        if self._ready or self.mail:
            return 0
        deadline = min(self._next_poll, self._look_again, self.deadlines.first)
        return max(0.0, deadline - self._clock())

    # -- in the driver's thread --

    def _read_mail(self):
        # type: () -> None
        while True:
            try:
                call = self.mail[0]
            except IndexError:
                return
            call()
            self._withdraw(call)    # afterwards: Ctrl-C may have come in between

    def _withdraw(self, call):
        # type: (Callable[[], Any]) -> None
        """Remove a call from the mail, if it is there."""
        while True:
            try:
                self.mail.remove(call)
            except ValueError:
                return
            except IndexError:      # of 2.7: another thread has just added one
                continue
            return

    def begun(self, member):
        # type: (Member) -> Any
        """Return a member's machine, which has begun."""
        if member.machine is None:
            member.driver = self
            member.machine = member.begin(member.wake)
            member.begin = None
        return member.machine

    def release(self, member):
        # type: (Member) -> None
        """Let go of a member whose connection another driver goes on with, if that is still open.

        In the driver's thread, between two steps, or while it passes on an event.
        """
        machine = member.machine
        if member.is_gone or machine is None or not machine.is_releasable:
            return
        machine.release(self._rest if member is self._stepping else ())
        member.machine = None       # it isn't to be disposed of
        self.take_out(member)

    def _look_at(self, member):
        # type: (Member) -> None
        """See what a member waits for, now that its step is done."""
        machine = member.machine
        if machine.is_finished:
            self.take_out(member)
            return
        if machine.time_left() == 0:
            self._mark_ready(member)
            return
        if machine.interest is not member.interest:
            self._watch(member, machine.interest)
        if machine.deadline < member.scheduled:
            self.deadlines.set(member, machine.deadline)

    def _mark_ready(self, member):
        # type: (Member) -> None
        if not member.is_ready:
            member.is_ready = True
            self._ready.append(member)

    def _mark_all_ready(self):
        # type: () -> None
        for member in list(self._members.values()):
            self._mark_ready(member)

    def take_wake(self, member):
        # type: (Member) -> None
        """Mark a member ready that was woken."""
        member.is_woken = False
        if self._members.get(id(member.websocket)) is member:   # else it is gone, or to be added
            self._mark_ready(member)

    def _watch(self, member, interest):
        # type: (Member, Interest) -> None
        owners, waiter = self._owners, self._waiter
        assert waiter is not None       # nosec B101  # for mypy
        before, member.interest = member.interest, interest
        wanted = dict(interest)
        for fd, _mask in before:
            if not wanted.get(fd):
                self._forget(member, fd)
        try:
            for fd, mask in interest:
                if mask:        # for mask 0 the system would still report a hang-up
                    waiter.watch(fd, mask)
                    owners[fd] = member
        except EnvironmentError as error:
            for fd in wanted:
                self._forget(member, fd)
            member.interest = ()
            member.machine.fail(error)
            self._mark_ready(member)

    def _forget(self, member, fd):
        # type: (Member, int) -> None
        # The number may be another member's by now.
        if self._owners.get(fd) is member:
            del self._owners[fd]
            if self._waiter is not None:
                self._waiter.forget(fd)

    def take_out(self, member):
        # type: (Member) -> None
        """Free a member; harmless if that was done already."""
        member.is_gone = True
        for fd, _mask in member.interest:
            self._forget(member, fd)
        member.interest = ()
        self.deadlines.drop(member)
        self.deadlines.compact()
        websocket = member.websocket
        machine = member.machine
        if machine is not None:
            machine.dispose()
            member.machine = None       # afterwards: Ctrl-C may have come in between
        elif member.begin is not None and getattr(websocket, 'handover', None) is not None:
            websocket.session.dispose()     # the loop hasn't come to it, and it is open already
        if self._leaving.get(id(websocket)) is member:
            self._leaving.pop(id(websocket), None)
        self._drop(member)      # last: if Ctrl-C came in between, `_end` takes it out again

    def _look_at_deadlines(self, now):
        # type: (float) -> None
        """Mark ready those whose deadline has come."""
        for at, member in self.deadlines.take_due(now):
            if now - at > _LATE:
                self._warn(now - at, now)
            try:
                is_due = member.machine.time_left() == 0
                deadline = NEVER if is_due else member.machine.deadline
            except Exception:   # a policy's clock: if its step raises it too, that ends the member
                is_due = True
            if is_due:
                self._mark_ready(member)
            elif deadline != NEVER:
                self.deadlines.set(member, deadline)

    def _warn(self, late, now):
        # type: (float, float) -> None
        """Log that the loop was held up; once in a minute."""
        if self._warnings.allows(now):
            self.logger.warning(
                'the loop over %d connections was %.1f s late with pings and timeouts: the '
                'handling of an event takes too long', len(self), late)

    # -- waiting --

    def _collect(self, timeout):
        # type: (float) -> None
        """Wait, and mark ready those whose descriptors are."""
        waiter, waker = self._waiter, self._waker
        assert waiter is not None and waker is not None     # nosec B101  # for mypy
        owners, ready = self._owners, self._ready
        for fd, _mask in waiter.wait(timeout):
            member = owners.get(fd)
            if member is None:
                if fd == waker.interest[0]:
                    waker.clear()
            elif not member.is_ready:
                member.is_ready = True
                ready.append(member)

    def _end(self):
        # type: () -> None
        """Free everything; in a forked child its copies only."""
        waiter, self._waiter = self._waiter, None       # first: it is shared with the parent
        if waiter is not None:
            waiter.close()
        for member in list(self._members.values()):
            self.take_out(member)
        waker, self._waker = self._waker, None      # before the last look at the mail, see `remove`
        try:
            self._read_mail()
            # But not those that another thread has just added, for the next loop.
            self._ready = deque(member for member in self._ready if not member.is_gone)
            self._stepping, self._rest = None, ()
            self.deadlines.clear()
            self._owners.clear()
        finally:
            if waker is not None:
                waker.close()


def is_member(websocket):
    # type: (Any) -> bool
    """Return whether a websocket is a member of any multiplexer."""
    return bool(_owners_of(websocket))


def _owners_of(websocket):
    # type: (Any) -> List[Multiplexer]
    multiplexers = [reference() for reference in list(_multiplexers)]
    return [multiplexer for multiplexer in multiplexers
            if multiplexer is not None and multiplexer.find(websocket) is not None]


def _taken(websocket):
    # type: (Any) -> errors.WebSocketUnavailable
    return errors.WebSocketUnavailable(
        '{!r} is a member of a pool: take it out by pool.remove(websocket); for a second '
        'connection, add another WebSocket'.format(websocket))
