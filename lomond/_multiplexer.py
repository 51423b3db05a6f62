"""Drives many connections in one thread: waits for all at once, and steps those that are ready.

What it drives are machines: sessions, and what has a session's members (`PersistentSession`). It
opens no connections, and makes only the events of a machine that fails.
"""

from __future__ import absolute_import, division, print_function

import logging
import os
from collections import deque
from heapq import heapify, heappop, heappush

from lomond import errors, events
from lomond._compat import TYPE_CHECKING, monotonic
from lomond._describe import describe
from lomond.engine.timers import NEVER
from lomond.net.waiter import WAYS, Waiter
from lomond.net.waker import Waker

if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, Iterator, List, Optional, Sequence, Tuple  # noqa: F401

    from lomond.events import AnyEvent  # noqa: F401
    from lomond.net.waiter import Interest  # noqa: F401

log = logging.getLogger('lomond')  # type: logging.Logger

# Outdated entries of the heap, before it is made again without them.
_MANY_OUTDATED = 64


class Member(object):
    """A machine in a multiplexer, and what it is known by outside: its websocket.

    Parameters: ``begin``, called in the driver's thread with the function that wakes the
    driver; returns the machine, which has begun.
    """

    __slots__ = ('begin', 'descriptors', 'interest', 'is_gone', 'is_ready', 'is_woken', 'machine',
                 'scheduled', 'websocket')

    def __init__(self, websocket, begin):
        # type: (Any, Callable[[Callable[[], None]], Any]) -> None
        self.websocket = websocket
        self.begin = begin
        self.machine = None  # type: Any
        #: True once it was removed: nothing of it is passed on any more.
        self.is_gone = False
        #: Whether it is among those to step next; whether a thread has asked for that.
        self.is_ready = False
        self.is_woken = False
        #: What is registered with the waiter: an interest, compared by identity, its descriptors.
        self.interest = ()  # type: Interest
        self.descriptors = ()  # type: Sequence[int]
        #: The time of its entry in the heap of deadlines.
        self.scheduled = NEVER


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
        self._mail = deque()  # type: Deque[Callable[[], Any]]      # calls from other threads
        self._ready = deque()  # type: Deque[Member]
        # Deadlines: of each member, the earliest that counts is its `scheduled`. Another entry is
        # outdated. A member that has more time by now is put off when its entry's time comes.
        self._heap = []  # type: List[Tuple[float, int, Member]]
        self._pushed = 0        # numbers the entries: members don't compare
        self._outdated = 0
        self._owners = {}  # type: Dict[int, Member]    # by descriptor
        self._next_poll = self._look_again = NEVER
        self._waiter = None  # type: Optional[Waiter]   # while `run` runs
        self._waker = None  # type: Optional[Waker]

    # -- from any thread --

    def __len__(self):
        # type: () -> int
        return len(self._members)

    def find(self, websocket):
        # type: (Any) -> Optional[Member]
        """Return a websocket's member, or None."""
        return self._members.get(id(websocket))

    @property
    def websockets(self):
        # type: () -> List[Any]
        """The members' websockets, in a new list."""
        return [member.websocket for member in list(self._members.values())]

    def add(self, member):
        # type: (Member) -> None
        """Drive a member; raises WebSocketUnavailable if its websocket is a member's already."""
        known = self._members.setdefault(id(member.websocket), member)
        if known is not member and known.machine is not None and known.machine.is_finished:
            self._members[id(member.websocket)] = known = member    # in the handler of its end
        if known is not member:
            raise errors.WebSocketUnavailable(
                '{!r} was added before: for a second connection, add another WebSocket'.format(
                    member.websocket))
        self.wake(member)

    def remove(self, member):
        # type: (Member) -> None
        """Pass on no event of a member from now on; the driver's thread frees it."""
        self._drop(member)
        self.call(lambda: self._free(member))

    def _drop(self, member):
        # type: (Member) -> None
        member.is_gone = True
        if self._members.get(id(member.websocket)) is member:
            del self._members[id(member.websocket)]

    def wake(self, member):
        # type: (Member) -> None
        """Have a member step."""
        if not member.is_woken:
            member.is_woken = True
            self.call(lambda: self._take_wake(member))

    def look_again(self, when):
        # type: (float) -> None
        """Ask ``is_over()`` again at this time, by the clock."""
        self._look_again = when
        self.call(lambda: None)

    def call(self, function):
        # type: (Callable[[], Any]) -> None
        """Have the driver's thread call a function between two steps."""
        self._mail.append(function)
        waker = self._waker
        if waker is not None:
            # In the driver's own thread, too: a signal's handler may be about to interrupt a wait.
            waker.wake()

    # -- the driver --

    @property
    def is_running(self):
        # type: () -> bool
        """True while `run` runs."""
        return self._waiter is not None

    def run(self, is_over, poll=None, waits=True):
        # type: (Callable[[], bool], Optional[float], bool) -> Iterator[Tuple[Any, Any]]
        """Yield pairs of a websocket and its event until ``is_over()``; then free all members.

        Parameters: ``poll``, how often to yield ``(None, Poll())``, in seconds, None for never;
        ``waits``, False to yield ``(None, None)`` after each round: then the caller waits, for
        `fileno` and `time_left`.
        """
        ready, mail = self._ready, self._mail
        process = os.getpid()
        self._next_poll = self._clock() + (poll or NEVER)
        try:
            self._waiter = Waiter(self._ways)
            self._waker = Waker()
            self._waiter.watch(*self._waker.interest)
            while process == os.getpid():
                while mail:
                    mail.popleft()()
                # Each once: one that has more to do waits for the others.
                for _ in range(len(ready)):
                    member = ready.popleft()
                    member.is_ready = False
                    if member.is_gone:
                        continue
                    websocket = member.websocket
                    try:
                        for event in self._begun(member).step():
                            yield websocket, event
                            if member.is_gone:
                                break
                        else:
                            self._look_at(member)
                    except Exception as error:      # one connection's fault is no other's
                        log.exception('%r was given up', websocket)
                        self._drop(member)
                        self._free(member)
                        yield websocket, events.Disconnected(
                            u'the connection was given up: {}'.format(describe(error)))
                now = self._clock()
                if now >= self._next_poll:
                    self._next_poll = max(self._next_poll + (poll or NEVER), now)
                    yield None, events.Poll()
                self._look_at_heap(now)
                if now >= self._look_again:
                    self._look_again = NEVER
                if is_over():
                    return
                left = self.time_left()
                if not waits:
                    yield None, None
                    left = 0
                self._collect(left)
        finally:
            self._end()

    def fileno(self):
        # type: () -> Optional[int]
        """Return a descriptor that is ready when a member's is, None if the way has none."""
        return None if self._waiter is None else self._waiter.fileno()

    def time_left(self):
        # type: () -> float
        """Return for how many seconds there is nothing to do, unless something arrives."""
        if self._ready or self._mail:
            return 0
        deadline = min(self._next_poll, self._look_again, self._heap[0][0] if self._heap else NEVER)
        return max(0.0, deadline - self._clock())

    # -- in the driver's thread --

    def _begun(self, member):
        # type: (Member) -> Any
        """Return a member's machine, which has begun."""
        if member.machine is None:
            member.machine = member.begin(lambda: self.wake(member))
        return member.machine

    def _look_at(self, member):
        # type: (Member) -> None
        """See what a member waits for, now that its step is done."""
        machine = member.machine
        if machine.is_finished:
            self._drop(member)
            self._free(member)
            return
        if machine.time_left() == 0:
            self._mark_ready(member)
            return
        if machine.interest is not member.interest:
            self._watch(member, machine.interest)
        if machine.deadline < member.scheduled:
            self._schedule(member, machine.deadline)

    def _mark_ready(self, member):
        # type: (Member) -> None
        if not member.is_ready:
            member.is_ready = True
            self._ready.append(member)

    def _take_wake(self, member):
        # type: (Member) -> None
        member.is_woken = False
        if not member.is_gone:
            self._mark_ready(member)

    def _watch(self, member, interest):
        # type: (Member, Interest) -> None
        owners, waiter = self._owners, self._waiter
        assert waiter is not None       # nosec B101  # for mypy
        member.interest = interest
        before = member.descriptors
        member.descriptors = [fd for fd, mask in interest if mask]
        for fd in before:
            if fd not in member.descriptors:
                self._forget(member, fd)
        try:
            for fd, mask in interest:
                if mask:        # for mask 0 the system would still report a hang-up
                    waiter.watch(fd, mask)
                    owners[fd] = member
        except EnvironmentError as error:
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

    def _free(self, member):
        # type: (Member) -> None
        for fd in member.descriptors:
            self._forget(member, fd)
        member.descriptors = ()
        if member.scheduled != NEVER:       # its entry must not keep what the machine holds
            member.scheduled = NEVER
            self._outdated += 1
            self._compact()
        machine, member.machine = member.machine, None
        if machine is not None:
            machine.dispose()

    # -- deadlines --

    def _schedule(self, member, deadline):
        # type: (Member, float) -> None
        if member.scheduled != NEVER:
            self._outdated += 1
        member.scheduled = deadline
        self._pushed += 1
        heappush(self._heap, (deadline, self._pushed, member))
        self._compact()

    def _compact(self):
        # type: () -> None
        if self._outdated > _MANY_OUTDATED and self._outdated > len(self._heap) // 2:
            self._heap[:] = [entry for entry in self._heap if entry[2].scheduled == entry[0]]
            heapify(self._heap)
            self._outdated = 0

    def _look_at_heap(self, now):
        # type: (float) -> None
        """Mark ready those whose deadline has come."""
        heap = self._heap
        while heap:
            at, _number, member = heap[0]
            if at != member.scheduled:
                heappop(heap)
                self._outdated -= 1
                continue
            if at > now:
                return
            heappop(heap)
            member.scheduled = NEVER
            if member.machine.deadline <= now:
                self._mark_ready(member)
            elif not member.is_ready:
                self._schedule(member, member.machine.deadline)

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
            self._drop(member)
            self._free(member)
        while self._mail:       # members that were removed at the last moment
            self._mail.popleft()()
        self._ready.clear()
        del self._heap[:]
        self._outdated = 0
        self._owners.clear()
        waker, self._waker = self._waker, None
        if waker is not None:
            waker.close()
