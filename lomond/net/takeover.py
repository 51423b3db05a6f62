"""Takes a connection away from what has accepted it, such as a WSGI server.

That goes on with its socket: it writes an answer, reads the next request, closes. It does so to a
socket that leads nowhere, and has the descriptor's number from now on.
"""

from __future__ import absolute_import, division, print_function

import os
import socket

from lomond._compat import TYPE_CHECKING, set_close_on_exec
from lomond.net.connect import with_class

try:
    import fcntl
except ImportError:     # pragma: no cover  (Windows)
    fcntl = None    # type: ignore[assignment]

if TYPE_CHECKING:
    from typing import Any, Optional, Tuple  # noqa: F401


class Sink(object):
    """The other end of the socket that was left: what is written there goes nowhere.

    Parameters: ``fd``, a descriptor, closed with this object. (A socket could warn before.)
    """

    __slots__ = ('_fd',)

    def __init__(self, fd):
        # type: (int) -> None
        self._fd = fd

    def __del__(self, _close=os.close):
        # type: (Any) -> None
        _close(self._fd)


class _Lent(object):
    """A socket that stays its owner's: `close` ends the connection, and frees no descriptor."""

    def __init__(self, sock):
        # type: (Any) -> None
        self._lent = sock

    def __getattr__(self, name):
        # type: (str) -> Any
        return getattr(self._lent, name)

    def close(self):
        # type: () -> None
        try:
            self._lent.shutdown(socket.SHUT_RDWR)
        except socket.error:
            pass    # it has ended


def can_take_over(sock):
    # type: (Any) -> bool
    """Return whether a connection can be taken away: not from OpenSSL, which has its number."""
    return fcntl is not None and not hasattr(sock, 'getpeercert')


def take_over(sock):
    # type: (Any) -> Tuple[Any, Sink]
    """Return a socket of the same connection, and what to keep as long as ``sock`` is used.

    Parameters: ``sock``, or what has its ``fileno``. Raises socket.error.
    """
    fd = sock.fileno()
    family = getattr(sock, 'family', socket.AF_INET)
    mine = with_class(socket.fromfd(fd, family, socket.SOCK_STREAM))
    try:
        set_close_on_exec(mine)
        theirs, other = socket.socketpair()
        try:
            other.shutdown(socket.SHUT_WR)      # there is no next request
            # As its owner expects it: gevent's sockets never block.
            fcntl.fcntl(theirs.fileno(), fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL))
            sink = Sink(os.dup(other.fileno()))
            _replace(fd, theirs.fileno())
        finally:
            theirs.close()
            other.close()
    except BaseException:
        mine.close()
        raise
    return mine, sink


def _replace(fd, by):
    # type: (int, int) -> None
    """Have a descriptor refer to what another one does; child processes don't inherit it."""
    os.dup2(by, fd)
    flags = fcntl.fcntl(fd, fcntl.F_GETFD)
    fcntl.fcntl(fd, fcntl.F_SETFD, flags | fcntl.FD_CLOEXEC)


def lend(sock):
    # type: (Any) -> Any
    """Return a socket that ends the connection when it is closed, and leaves ``sock`` open."""
    return _Lent(sock)
