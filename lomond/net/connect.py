"""From a host and a port to a connected TCP socket: its addresses, one after the other.

Step by step, as `dial` is.
"""

from __future__ import absolute_import, division, print_function

import errno
import os
import socket

from lomond._compat import TYPE_CHECKING, monotonic, set_close_on_exec
from lomond.errors import ConnectFail
from lomond.net.selectors import WRITE
from lomond.net.transport import describe
from lomond.net.url import bracket
from lomond.net.wait import Wait

if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, List, Text  # noqa: F401

    from lomond.net.options import NetOptions  # noqa: F401

    Trace = Callable[..., None]

_IN_PROGRESS = frozenset([
    errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR, getattr(errno, 'WSAEWOULDBLOCK', None),
])


def connect(host, port, options, deadline, trace):
    # type: (Any, int, NetOptions, float, Trace) -> Iterator[Any]
    """Yield each `Wait`, and last a connected socket, to the first address that answers."""
    resolve = options.resolver or socket.getaddrinfo
    where = u'{}:{}'.format(bracket(host), port)
    try:
        addresses = resolve(str(host), port, 0, socket.SOCK_STREAM)
    except (socket.error, UnicodeError) as error:
        raise ConnectFail.during(
            'resolve', u'could not find {}: {}'.format(host, describe(error)), error)
    trace('resolve', host=host, addresses=[info[4][:2] for info in addresses])

    failures = []  # type: List[Text]
    cause = None
    for index, (family, kind, proto, _name, address) in enumerate(addresses):
        now = monotonic()
        # A dead address must leave time for the ones behind it.
        share = (deadline - now) / (len(addresses) - index)
        try:
            sock = None  # type: Any
            for step in _connect_address(family, kind, proto, address, now + share):
                if isinstance(step, Wait):
                    yield step
                else:
                    sock = step
        except socket.error as error:
            cause = error
            failures.append(u'{}: {}'.format(bracket(str(address[0])), describe(error)))
            continue
        trace('connect', address=address[:2])
        yield sock
        return
    raise ConnectFail.during(
        'connect', u'could not connect to {} ({})'.format(where, u'; '.join(failures)), cause)


def _connect_address(family, kind, proto, address, deadline):
    # type: (int, int, int, Any, float) -> Iterator[Any]
    """Yield each `Wait`, and last the connected socket; raises socket.error."""
    sock = socket.socket(family, kind, proto)
    try:
        set_close_on_exec(sock)
        sock.setblocking(False)
        # Frames are whole when they are sent: nothing is won by waiting for more.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = sock.connect_ex(address)
        while code in _IN_PROGRESS:
            yield Wait(((sock.fileno(), WRITE),), deadline)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code == 0 and not _is_connected(sock):
                code = errno.EINPROGRESS
                if monotonic() >= deadline:
                    raise socket.timeout('timed out')
        if code:
            raise socket.error(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    yield sock


def _is_connected(sock):
    # type: (Any) -> bool
    try:
        sock.getpeername()
    except socket.error:
        return False
    return True
