"""How many sessions of a driver may dial at a time, and how often each host is dialled.

Waits for nothing: a session that may not dial yet is woken when it may. One thread uses it.
"""

from __future__ import absolute_import, division, print_function

from collections import deque

from lomond._compat import TYPE_CHECKING, monotonic
from lomond.engine.timers import NEVER

if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, Optional, Set  # noqa: F401

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
        self._waiting = deque()  # type: Deque[Any]
        # When each session may begin, and each host be dialled again.
        self._begins = {}  # type: Dict[Any, float]
        self._free_at = {}  # type: Dict[str, float]

    def admit(self, session, host):
        # type: (Any, str) -> float
        """Return when the session may dial, by the clock; -infinity if now.

        It asks again then, and when it is woken.
        """
        if session not in self._dialing:
            begins_at = self._begins.get(session)
            if begins_at is None:
                begins_at = self._begins[session] = self._reserve(host)
            if self._clock() < begins_at:
                return begins_at
            if len(self._dialing) >= self._most:
                if session not in self._waiting:
                    self._waiting.append(session)
                return NEVER
            self._dialing.add(session)
        return -NEVER

    def _reserve(self, host):
        # type: (str) -> float
        """Return when the next attempt to connect to a host may begin."""
        if not self._interval:
            return -NEVER
        now = self._clock()
        if len(self._free_at) > _MANY_HOSTS:
            self._free_at = {name: at for name, at in self._free_at.items() if at > now}
        begins_at = max(now, self._free_at.get(host, now))
        self._free_at[host] = begins_at + self._interval
        return begins_at

    def leave(self, session):
        # type: (Any) -> None
        """Make way for another: the session is open, or has ended, wherever it was."""
        self._begins.pop(session, None)
        if session in self._dialing:
            self._dialing.remove(session)
            if self._waiting:
                following = self._waiting.popleft()
                self._dialing.add(following)
                following.wake()
        elif session in self._waiting:
            self._waiting.remove(session)
