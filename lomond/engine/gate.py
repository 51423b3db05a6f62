"""How many sessions of a driver may dial at a time, and how often each host is dialled.

Waits for nothing: a session that may not dial yet is woken when it may. One thread uses it.
"""

from __future__ import absolute_import, division, print_function

from collections import OrderedDict

from lomond._compat import TYPE_CHECKING, monotonic
from lomond.engine.timers import NEVER

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional, Set  # noqa: F401

# Beyond this number of hosts, those that may be dialled again are forgotten.
_MANY_HOSTS = 1000


class Gate(object):
    """Admits sessions to dial, in the order in which they came.

    Parameters: ``most``, how many may dial at a time; ``rate``, how many attempts a second may
    begin to one host, None for no limit; ``clock``, a monotonic clock in seconds.
    """

    def __init__(self, most, rate=None, clock=monotonic):
        # type: (int, Optional[float], Callable[[], float]) -> None
        self._most = most
        self._interval = 1.0 / rate if rate else 0.0
        self._clock = clock
        self._dialing = set()  # type: Set[Any]
        # Those that may dial as soon as another one has left.
        self._waiting = OrderedDict()  # type: OrderedDict[Any, None]
        # With a rate: the host of each session that has come and doesn't dial yet, and the sessions
        # of each host, of which the first is next.
        self._hosts = {}  # type: Dict[Any, str]
        self._queues = {}  # type: Dict[str, OrderedDict[Any, None]]
        #: When each host may be dialled again.
        self.free_at = {}  # type: Dict[str, float]

    def admit(self, session, host):
        # type: (Any, str) -> float
        """Return the time at which the session may dial, by the clock; -infinity means now.

        The session calls `admit` again at that time, and after its `wake`.
        """
        if session in self._dialing:
            return -NEVER
        if self._interval:
            self._hosts[session] = host
            queue = self._queues.setdefault(host, OrderedDict())
            queue.setdefault(session)
            if next(iter(queue)) is not session:
                return NEVER
            free_at = self.free_at.get(host, -NEVER)
            if self._clock() < free_at:
                return free_at
        if len(self._dialing) >= self._most:
            self._waiting.setdefault(session)
            return NEVER
        self._begin(session)
        return -NEVER

    def _begin(self, session):
        # type: (Any) -> None
        self._dialing.add(session)
        if session not in self._hosts:
            return
        now = self._clock()
        if len(self.free_at) > _MANY_HOSTS:
            self.free_at = {name: at for name, at in self.free_at.items() if at > now}
        self.free_at[self._hosts[session]] = now + self._interval
        self._leave_queue(session)

    def leave(self, session):
        # type: (Any) -> None
        """Make way for another: the session is open, or has ended, wherever it was."""
        self._waiting.pop(session, None)
        self._leave_queue(session)
        if session in self._dialing:
            self._dialing.remove(session)
            if self._waiting:
                following, _none = self._waiting.popitem(last=False)
                if not self._waiting:
                    self._waiting = OrderedDict()       # an empty one keeps its memory
                self._begin(following)
                following.wake()

    def _leave_queue(self, session):
        # type: (Any) -> None
        host = self._hosts.pop(session, None)
        if host is None:
            return
        queue = self._queues[host]
        del queue[session]
        if queue:
            next(iter(queue)).wake()        # it may be the first now
        else:
            del self._queues[host]
