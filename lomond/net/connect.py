"""To a connected socket: by TCP, to a Unix socket, or the one that the user gives.

Every function that may have to wait is an operation (see `lomond.net.steps`). The proxy and TLS
come later, in `lomond.net.dial`.
"""

from __future__ import absolute_import, division, print_function

import errno
import os
import socket
from functools import partial

from lomond._compat import TYPE_CHECKING, monotonic, set_close_on_exec
from lomond._describe import describe
from lomond.errors import ConnectFail
from lomond.http.url import bracket
from lomond.net.closing import close_socket
from lomond.net.offload import logged, offload
from lomond.net.options import check_sock
from lomond.net.race import Race
from lomond.net.resolve import resolve
from lomond.net.socket_options import OPTION_ERRORS, set_options
from lomond.net.steps import Wait, operation

if TYPE_CHECKING:
    from typing import Any, List, Optional, Text, Tuple  # noqa: F401

    from lomond.net.options import NetOptions  # noqa: F401
    from lomond.net.progress import Progress  # noqa: F401
    from lomond.net.steps import Steps  # noqa: F401

# How often to try a Unix socket whose listener's queue is full (seconds).
_UNIX_RETRY = 0.05


@operation
def connect(host, port, options, deadline, progress, abandoned=None):
    # type: (Text, int, NetOptions, float, Progress, Optional[List[Any]]) -> Steps
    """Connect to a host; the result is a socket, of the address that answered first.

    Parameters: ``abandoned``, for the lookup, a list that `lomond.net.offload.offload` describes.
    Raises ConnectFail; then, and when the operation is closed, nothing is left open.
    """
    addresses = yield resolve(host, port, options, deadline, progress, abandoned)
    progress.report('resolve', host=host, addresses=[info[4][:2] for info in addresses])

    progress.enter('connect')
    race = Race(addresses, options, deadline)
    try:
        winner = race.advance(monotonic())
        while winner is None:
            if race.is_lost:
                where = u'{}:{}'.format(bracket(host), port)
                raise _failure(where, describe_tried(race.tried), race.cause, race.tried)
            yield race.wait
            winner = race.advance(monotonic())
        progress.report('connect', address=winner.address[:2])
        sock = winner.take_sock()
    finally:
        race.close()
    yield sock


@operation
def connect_unix(path, options, deadline, progress):
    # type: (Text, NetOptions, float, Progress) -> Steps
    """Connect to a Unix socket; the result is a socket; raises as `connect` does."""
    if not hasattr(socket, 'AF_UNIX'):
        raise ConnectFail.during('connect', 'there are no Unix sockets on this system')
    sock = None  # type: Any
    progress.enter('connect')
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        set_close_on_exec(sock)
        sock.setblocking(False)
        set_options(sock, options.socket_options)
        # In bytes: 2.7, and a C locale, would encode the path as ASCII.
        code = sock.connect_ex(path.encode('utf-8'))
        while code in (errno.EAGAIN, errno.EINPROGRESS, errno.EALREADY, errno.EINTR):
            # The listener's queue is full (connect(2)), and nothing shows when it isn't any more.
            now = monotonic()
            if now >= deadline:
                raise socket.timeout('timed out')
            yield Wait((), min(deadline, now + _UNIX_RETRY))
            code = sock.connect_ex(path.encode('utf-8'))
        if code not in (0, errno.EISCONN):
            raise socket.error(code, os.strerror(code))
        progress.report('connect', address=path)
    except BaseException as error:
        if sock is not None:
            close_socket(sock)
        if not isinstance(error, OPTION_ERRORS):
            raise
        words = describe(error)
        raise _failure(path, words, error, ((path, words),))
    yield sock


@operation
def take_over(given, options, deadline, progress, abandoned=None):
    # type: (Any, NetOptions, float, Progress, Optional[List[Any]]) -> Steps
    """Take the user's own socket; the result is that; raises as `connect` does.

    Parameters: ``given``, a socket, or a function that makes one; ``abandoned``, for that function,
    a list that `lomond.net.offload.offload` describes.
    """
    sock = None if callable(given) else given
    try:
        if sock is None:
            progress.enter('connect')
            sock = yield offload(
                logged(given, 'sock', options.logger), deadline,
                partial(_close_late, options.logger), abandoned)
        check_sock(sock)
        sock.getpeername()
        sock = with_class(sock)
    except BaseException as error:
        _close(sock)
        if not isinstance(error, Exception):
            raise
        raise ConnectFail.during(
            'connect', u'no connected socket: {}'.format(describe(error)), error)
    yield sock


def with_class(sock):
    # type: (Any) -> Any
    """Return a socket that ssl accepts: 2.7's socketpair() and fromfd() make those of C's class."""
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


def _close_late(logger, sock):
    # type: (Any, Any) -> None
    """Close what the function returned after nobody waited for it any more; in its thread."""
    try:
        _close(sock)
    except EnvironmentError:        # of a broken connection
        logger.debug('could not close what sock returned too late', exc_info=True)
    except Exception:               # there is nothing to raise it in
        logger.exception('could not close what sock returned too late')


def describe_tried(tried):
    # type: (Tuple[Tuple[Text, Text], ...]) -> Text
    """Return each address and how the attempt ended, in one line."""
    return u'; '.join(u'{}: {}'.format(where, outcome) for where, outcome in tried)


def _failure(where, words, cause, tried):
    # type: (Text, Text, Optional[BaseException], Tuple[Tuple[Text, Text], ...]) -> ConnectFail
    error = ConnectFail.during(
        'connect', u'could not connect to {} ({})'.format(where, words), cause)
    error.tried = tried
    return error
