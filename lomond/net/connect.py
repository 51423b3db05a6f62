"""From a host and a port to a connected TCP socket; from a path to a Unix one.

A host's addresses race, as RFC 8305 (Happy Eyeballs) wants it. Step by step,
as `dial` is.
"""

from __future__ import absolute_import, division, print_function

import errno
import os
import socket
from collections import deque

from lomond._compat import TYPE_CHECKING, monotonic, set_close_on_exec, text_type
from lomond._describe import describe
from lomond.errors import ConnectFail
from lomond.http.url import bracket
from lomond.net.address import read_address
from lomond.net.keepalive import keep_alive
from lomond.net.offload import logged, offload
from lomond.net.options import check_sock
from lomond.net.resolve import resolve
from lomond.net.steps import Wait, operation
from lomond.net.waiter import WRITE

if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, List, Optional, Text, Tuple  # noqa: F401

    from lomond.net.options import NetOptions  # noqa: F401
    from lomond.net.steps import Steps  # noqa: F401

    Trace = Callable[..., None]

#: How long an address has, in seconds, before the next one is tried too (RFC 8305 5) ...
ATTEMPT_DELAY = 0.25

#: ... and how long at least, where the deadline is near and the addresses are many.
LEAST_ATTEMPT_DELAY = 0.01

#: How many attempts are open at a time: the oldest makes room for another.
MAX_ATTEMPTS = 8

# To call from any address: nothing listens there.
_ANY_IPV4 = '0.0.0.0'       # nosec B104

# How often to try a Unix socket whose listener has no room (seconds).
_UNIX_RETRY = 0.05

# Not EAGAIN, which is EWOULDBLOCK but for Windows: there are no ports left, says connect(2).
_IN_PROGRESS = frozenset([
    errno.EINPROGRESS, errno.EINTR, getattr(errno, 'WSAEWOULDBLOCK', errno.EINPROGRESS)])

# These speak of this machine, which has no IPv6, say: what came of another address tells more.
_OUR_OWN = frozenset([
    errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EINVAL, errno.ENETUNREACH,
    errno.EPROTONOSUPPORT])

# A connection was made, and broke.
_BROKEN = frozenset([errno.ECONNRESET, errno.EPIPE])

# A user's resolver may return what no address is made of.
_ATTEMPT_ERRORS = (socket.error, TypeError, ValueError, OverflowError)


@operation
def connect(host, port, options, deadline, trace, abandoned=None):
    # type: (Text, int, NetOptions, float, Trace, Optional[List[Any]]) -> Steps
    """Connect to a host; the result is a socket, of the address that answered first.

    ``abandoned`` is as of `lomond.net.offload.offload`, for the look-up. Raises ConnectFail;
    then, and when the operation is closed, nothing is left open.
    """
    addresses = yield resolve(host, port, options.resolver, deadline, abandoned)
    trace('resolve', host=host, addresses=[info[4][:2] for info in addresses])

    race = Race(addresses, options, deadline)
    try:
        winner = race.advance(monotonic())
        while winner is None:
            if race.is_lost:
                raise race.failure(host, port)
            yield race.wait
            winner = race.advance(monotonic())
        trace('connect', address=winner.address[:2])
        sock = winner.take_sock()
    finally:
        race.close()
    yield sock


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


class Race(object):
    """Attempts to connect, one begun after the other, the first success wins."""

    def __init__(self, addresses, options, deadline):
        # type: (List[Any], NetOptions, float) -> None
        self._attempts = [_Attempt(info) for info in interleave(addresses)]
        self._waiting = deque(self._attempts)
        self._options = options
        self._deadline = deadline
        self._next_start = -float('inf')
        #: The attempts under way, the oldest first.
        self.under_way = []  # type: List[_Attempt]
        #: True when no attempt is left that could succeed.
        self.is_lost = False

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

    def failure(self, host, port):
        # type: (Text, int) -> ConnectFail
        """Return the error that says what became of each address."""
        tried = tuple((attempt.where, attempt.outcome) for attempt in self._attempts)
        where = u'{}:{}'.format(bracket(host), port)
        return _failure(where, describe_tried(tried), _most_telling(self._attempts), tried)

    def close(self):
        # type: () -> None
        """Close every socket that wasn't taken."""
        for attempt in self._attempts:
            attempt.close()


class _Attempt(object):
    """An attempt to connect to one address.

    Attributes: ``address``, as the family has it; ``where``, the same in
    words; ``error``, once it has failed, and ``outcome``, how in words.
    """

    def __init__(self, info):
        # type: (Any) -> None
        self._family, self._kind, self._proto, _name, self.address = info
        self.where = bracket(text_type(self.address[0]))
        self.error = None  # type: Optional[BaseException]
        self.outcome = u'not tried, the time was over'
        self._sock = None  # type: Any

    def start(self, options):
        # type: (NetOptions) -> bool
        """Set out; False if it failed at once."""
        try:
            self._sock = socket.socket(self._family, self._kind, self._proto)
            set_close_on_exec(self._sock)
            self._sock.setblocking(False)
            _prepare(self._sock, options)
            _bind(self._sock, self._family, options.source_address)
            code = self._sock.connect_ex(self.address)
            if code and code not in _IN_PROGRESS:
                raise socket.error(code, os.strerror(code))
        except _ATTEMPT_ERRORS as error:
            self.fail(error)
            return False
        except BaseException:       # Ctrl-C
            self.close()
            raise
        self.interest = (self._sock.fileno(), WRITE)
        return True

    def is_connected(self):
        # type: () -> bool
        """Tell if it has succeeded; sets `error` if it has failed."""
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
            # Nobody listens there, but it was the system's choice for our own
            # port, too: TCP has connected us to ourselves (RFC 793 3.4).
            self.fail(socket.error(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)))
            return False
        return True

    def _has_received(self):
        # type: () -> bool
        """Tell if there are bytes to read: from one that accepted, spoke and broke it off."""
        try:
            return bool(self._sock.recv(1, socket.MSG_PEEK))
        except socket.error:
            return False

    def fail(self, error, outcome=None):
        # type: (BaseException, Optional[Text]) -> None
        """Take note of the end, and close the socket."""
        # Both lead back here: let all go at once, without the collector.
        error.__traceback__ = error.__context__ = None
        self.error = error
        self.outcome = describe(error) if outcome is None else outcome
        self.close()

    def take_sock(self):
        # type: () -> Any
        sock, self._sock = self._sock, None
        return sock

    def close(self):
        # type: () -> None
        if self._sock is not None:
            self._sock.close()


def _most_telling(attempts):
    # type: (List[_Attempt]) -> BaseException
    """Return the error to show, the last of those that tell most."""
    def rank(error):
        # type: (BaseException) -> int
        if isinstance(error, socket.timeout):
            return 1
        return 0 if getattr(error, 'errno', None) in _OUR_OWN else 2

    errors = [attempt.error for attempt in reversed(attempts) if attempt.error is not None]
    return max(errors, key=rank) if errors else socket.timeout('timed out')


@operation
def connect_unix(path, options, deadline, trace):
    # type: (Text, NetOptions, float, Trace) -> Steps
    """Connect to a Unix socket; the result is a socket; raises as `connect` does."""
    if not hasattr(socket, 'AF_UNIX'):
        raise ConnectFail.during('connect', 'there are no Unix sockets on this system')
    sock = None  # type: Any
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        set_close_on_exec(sock)
        sock.setblocking(False)
        _set_options(sock, options.socket_options)
        # In bytes: 2.7, and a C locale, would have the path in ASCII.
        code = sock.connect_ex(path.encode('utf-8'))
        while code in (errno.EAGAIN, errno.EINPROGRESS, errno.EALREADY, errno.EINTR):
            # The listener's queue is full (connect(2)), and nothing tells when it isn't.
            now = monotonic()
            if now >= deadline:
                raise socket.timeout('timed out')
            yield Wait((), min(deadline, now + _UNIX_RETRY))
            code = sock.connect_ex(path.encode('utf-8'))
        if code not in (0, errno.EISCONN):
            raise socket.error(code, os.strerror(code))
        trace('connect', address=path)
    except BaseException as error:
        if sock is not None:
            sock.close()
        if not isinstance(error, _ATTEMPT_ERRORS):
            raise
        words = describe(error)
        raise _failure(path, words, error, ((path, words),))
    yield sock


@operation
def take_over(given, deadline, abandoned=None):
    # type: (Any, float, Optional[List[Any]]) -> Steps
    """Take the user's own socket; the result is that; raises as `connect` does.

    Parameters: ``given``, a socket, or a function that makes one; ``abandoned``, as of
    `lomond.net.offload.offload`, for that function.
    """
    sock = None if callable(given) else given
    try:
        if sock is None:
            sock = yield offload(logged(given, 'sock'), deadline, _close, abandoned)
        check_sock(sock)
        sock.getpeername()
        sock = _whole(sock)
    except BaseException as error:
        _close(sock)
        if not isinstance(error, Exception):
            raise
        raise ConnectFail.during(
            'connect', u'no connected socket: {}'.format(describe(error)), error)
    yield sock


def _whole(sock):
    # type: (Any) -> Any
    """Return a socket that ssl takes: 2.7's socketpair() and fromfd() make bare ones."""
    bare_class = getattr(socket, '_realsocket', socket.socket)
    if isinstance(sock, socket.socket) or not isinstance(sock, bare_class):
        return sock
    copy = socket.fromfd(sock.fileno(), sock.family, sock.type, sock.proto)
    sock.close()
    return socket.socket(_sock=copy)    # type: ignore[call-arg]


def _close(sock):
    # type: (Any) -> None
    if hasattr(sock, 'close'):
        sock.close()


def _prepare(sock, options):
    # type: (Any, NetOptions) -> None
    """Set a TCP socket's options, the caller's last; raises socket.error and such."""
    # Frames are whole when they are sent: nothing is won by waiting for more.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if options.tcp_keepalive is not None:
        keep_alive(sock, options.tcp_keepalive)
    _set_options(sock, options.socket_options)


def _set_options(sock, socket_options):
    # type: (Any, Tuple[Tuple[int, int, Any], ...]) -> None
    for option in socket_options:
        try:
            sock.setsockopt(*option)
        except _ATTEMPT_ERRORS as error:
            raise _explained(u'socket option {!r}'.format(option), error)


def _bind(sock, family, source_address):
    # type: (Any, int, Optional[Tuple[str, int]]) -> None
    """Bind to the source address, if there is one; raises socket.error."""
    if source_address is None:
        return
    host, port = source_address
    if not host:
        host = '::' if family == socket.AF_INET6 else _ANY_IPV4
    where = u'source address {}'.format(bracket(text_type(host)))
    try:
        source = read_address(host, port)[0]
        if source[0] != family:
            raise socket.error(errno.EAFNOSUPPORT, u'not of the same family')
        if port and os.name == 'posix':
            # Attempts side by side share the port, and the next connection
            # needn't wait until the last one is forgotten. (On Windows this
            # option is another thing.)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(source[4])
    except socket.error as error:
        raise _explained(where, error)


def _explained(where, error):
    # type: (Text, BaseException) -> socket.error
    """Return the error with words that say what it is about."""
    return socket.error(
        getattr(error, 'errno', None), u'{}: {}'.format(where, describe(error)))


def describe_tried(tried):
    # type: (Tuple[Tuple[Text, Text], ...]) -> Text
    """Say what became of each address."""
    return u'; '.join(u'{}: {}'.format(where, outcome) for where, outcome in tried)


def _failure(where, words, cause, tried):
    # type: (Text, Text, Optional[BaseException], Tuple[Tuple[Text, Text], ...]) -> ConnectFail
    error = ConnectFail.during(
        'connect', u'could not connect to {} ({})'.format(where, words), cause)
    error.tried = tried
    return error
