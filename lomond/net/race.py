"""Attempts to connect to a host's addresses, side by side: RFC 8305 (Happy Eyeballs).

One attempt begins after the other, a moment apart, and the first that succeeds wins. Waits for
nothing: `lomond.net.connect` does. Looks up no names.
"""

from __future__ import absolute_import, division, print_function

import errno
import os
import socket
from collections import deque

from lomond._compat import TYPE_CHECKING, set_close_on_exec, text_type
from lomond._describe import describe
from lomond.http.url import bracket
from lomond.net.closing import close_socket
from lomond.net.socket_options import OPTION_ERRORS, prepare_tcp
from lomond.net.steps import Wait
from lomond.net.waiter import WRITE, check_limit

if TYPE_CHECKING:
    from typing import Any, Deque, Dict, List, Optional, Text, Tuple  # noqa: F401

    from lomond.net.options import NetOptions  # noqa: F401

#: How long an address has, in seconds, before the next one is tried too (RFC 8305 5) ...
ATTEMPT_DELAY = 0.25

#: ... and how long at least, where the deadline is near and the addresses are many.
LEAST_ATTEMPT_DELAY = 0.01

#: How many attempts are open at a time: to begin another one, the oldest is closed.
MAX_ATTEMPTS = 8

# Not EAGAIN, which is EWOULDBLOCK except on Windows: no ports are left, says connect(2).
_IN_PROGRESS = frozenset([
    errno.EINPROGRESS, errno.EINTR, getattr(errno, 'WSAEWOULDBLOCK', errno.EINPROGRESS)])

# Faults of this machine, which has no IPv6, for example: another address's error says more.
_LOCAL_ERRORS = frozenset([
    errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EINVAL, errno.ENETUNREACH,
    errno.EPROTONOSUPPORT])

# A connection was made, and broke.
_BROKEN = frozenset([errno.ECONNRESET, errno.EPIPE])


class Race(object):
    """Attempts to connect to some addresses before a deadline.

    Parameters: ``addresses``, as `socket.getaddrinfo` returns them. Attributes: ``under_way``, the
    attempts that have begun and may succeed, the oldest first; ``is_lost``, true when no attempt is
    left that could.
    """

    def __init__(self, addresses, options, deadline):
        # type: (List[Any], NetOptions, float) -> None
        self._attempts = [_Attempt(info) for info in interleave(addresses)]
        self._waiting = deque(self._attempts)
        self.under_way = []  # type: List[_Attempt]
        self._options = options
        self._deadline = deadline
        self._next_start = -float('inf')
        self.is_lost = False  # type: bool

    def advance(self, now):
        # type: (float) -> Optional[_Attempt]
        """Do what can be done at this moment; return the attempt that has succeeded, or None."""
        latest = self.under_way[-1] if self.under_way else None
        for attempt in tuple(self.under_way):
            if attempt.is_connected():
                return attempt
            if attempt.error is not None:
                self.under_way.remove(attempt)
                if attempt is latest:
                    self._next_start = now
        if now >= self._deadline:
            for attempt in self.under_way:
                attempt.fail(socket.timeout('timed out'))
            self.is_lost = True
            return None
        while self._waiting and now >= self._next_start:
            attempt = self._waiting.popleft()
            if not attempt.start(self._options):
                continue        # the next one, at once
            self.under_way.append(attempt)
            if len(self.under_way) > MAX_ATTEMPTS:
                self.under_way.pop(0).fail(socket.timeout('no answer'), u'no answer so far')
            # A dead address must leave time for the ones behind it.
            share = (self._deadline - now) / (len(self._waiting) + 1)
            self._next_start = now + max(LEAST_ATTEMPT_DELAY, min(ATTEMPT_DELAY, share))
        self.is_lost = not self.under_way
        return None

    @property
    def wait(self):
        # type: () -> Wait
        """What to wait for before the next `advance`."""
        deadline = min(self._deadline, self._next_start) if self._waiting else self._deadline
        return Wait(tuple(attempt.interest for attempt in self.under_way), deadline)

    @property
    def tried(self):
        # type: () -> Tuple[Tuple[Text, Text], ...]
        """Each address, and how the attempt ended, in words."""
        return tuple((attempt.where, attempt.outcome) for attempt in self._attempts)

    @property
    def cause(self):
        # type: () -> BaseException
        """The error to show: the last of the most specific ones."""
        errors = [
            attempt.error for attempt in reversed(self._attempts) if attempt.error is not None]
        return max(errors, key=_rank) if errors else socket.timeout('timed out')

    def close(self):
        # type: () -> None
        """Close every socket that wasn't taken."""
        for attempt in self._attempts:
            attempt.close()


def interleave(addresses):
    # type: (List[Any]) -> List[Any]
    """Return the addresses with their families taking turns, the first's first (RFC 8305 4)."""
    families = []  # type: List[int]
    queues = {}  # type: Dict[int, Deque[Any]]
    for info in addresses:
        if info[0] not in queues:
            families.append(info[0])
            queues[info[0]] = deque()
        queues[info[0]].append(info)
    ordered = []  # type: List[Any]
    while len(ordered) < len(addresses):
        ordered.extend(queues[family].popleft() for family in families if queues[family])
    return ordered


def _rank(error):
    # type: (BaseException) -> int
    """Return how specific an error is."""
    if isinstance(error, socket.timeout):
        return 1
    return 0 if getattr(error, 'errno', None) in _LOCAL_ERRORS else 2


class _Attempt(object):
    """An attempt to connect to one address.

    Attributes: ``address``, as the family has it; ``where``, the same in
    words; ``error``, once it has failed, and ``outcome``, how in words.
    """

    def __init__(self, info):
        # type: (Any) -> None
        self._family, self._kind, self._proto, _name, address = info
        self.address = address  # type: Any
        self.where = bracket(text_type(address[0]))  # type: Text
        self.error = None  # type: Optional[BaseException]
        self.outcome = u'not tried before the timeout'  # type: Text
        self._sock = None  # type: Any

    def start(self, options):
        # type: (NetOptions) -> bool
        """Begin to connect; return False if that failed at once."""
        try:
            self._sock = socket.socket(self._family, self._kind, self._proto)
            check_limit(self._sock.fileno())
            set_close_on_exec(self._sock)
            self._sock.setblocking(False)
            prepare_tcp(self._sock, self._family, options)
            code = self._sock.connect_ex(self.address)
            if code and code not in _IN_PROGRESS:
                raise socket.error(code, os.strerror(code))
        except OPTION_ERRORS as error:      # connect_ex, too: a user's resolver may return anything
            self.fail(error)
            return False
        except BaseException:       # Ctrl-C
            self.close()
            raise
        self.interest = (self._sock.fileno(), WRITE)  # type: Tuple[int, int]
        return True

    def is_connected(self):
        # type: () -> bool
        """Return whether it has succeeded; sets `error` if it has failed."""
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            if code in _BROKEN and self._has_received():
                return True
            self.fail(socket.error(code, os.strerror(code)))
            return False
        try:
            peer = self._sock.getpeername()
        except socket.error:
            return False
        if peer == self._sock.getsockname():
            # Nothing listens there, but the system chose the same port for our
            # end: TCP has connected us to ourselves (RFC 793 3.4).
            self.fail(socket.error(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)))
            return False
        return True

    def _has_received(self):
        # type: () -> bool
        """Return whether there are bytes to read, from a peer that sent them and then reset."""
        try:
            return bool(self._sock.recv(1, socket.MSG_PEEK))
        except socket.error:
            return False

    def fail(self, error, outcome=None):
        # type: (BaseException, Optional[Text]) -> None
        """Record why it failed, and close the socket."""
        # These refer to this frame: without them no collector is needed to free it.
        error.__traceback__ = error.__context__ = None
        self.error = error
        self.outcome = describe(error) if outcome is None else outcome
        self.close()

    def take_sock(self):
        # type: () -> Any
        """Return the socket, which `close` leaves open from now on."""
        sock, self._sock = self._sock, None
        return sock

    def close(self):
        # type: () -> None
        if self._sock is not None:
            close_socket(self._sock)
