"""From a target to a transport: addresses, TCP, the proxy, TLS, in that order.

It is made step by step: a generator yields each `Wait`, and last the
transport, so that whoever drives it decides how to wait. Only the resolver
blocks.
"""

from __future__ import absolute_import, division, print_function

import errno
import os
import socket

from lomond._compat import TYPE_CHECKING, monotonic, set_close_on_exec
from lomond.errors import ConnectFail
from lomond.net.proxy import open_tunnel
from lomond.net.selectors import WRITE
from lomond.net.transport import Transport, describe
from lomond.net.url import bracket
from lomond.net.wait import Wait

if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, List, Optional, Text, Tuple, Union  # noqa: F401

    from lomond.net.url import ProxyTarget, Target  # noqa: F401

    Trace = Callable[..., None]

_IN_PROGRESS = frozenset([
    errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR, getattr(errno, 'WSAEWOULDBLOCK', None),
])


def dial(target, proxy, make_tls_context, deadline, trace, resolve=None):
    # type: (Target, Optional[ProxyTarget], Callable[[], Any], float, Trace, Optional[Callable[..., Any]]) -> Iterator[Union[Wait, Transport]]
    """Connect to the target, through the proxy if there is one.

    Parameters: ``make_tls_context`` is called for a wss target only;
    ``deadline``, by the monotonic clock, holds for all phases together;
    ``trace`` is told ``(stage, **fields)``; ``resolve`` takes the place of
    `socket.getaddrinfo`.

    Yields each `Wait`, and last a `Transport`. Raises ConnectFail; then, and
    when the generator is closed, nothing is left open.
    """
    host, port = (target.host, target.port) if proxy is None else (proxy.host, proxy.port)
    sock = None  # type: Any
    for step in _connect(host, port, deadline, trace, resolve or socket.getaddrinfo):
        if isinstance(step, Wait):
            yield step
        else:
            sock = step
    try:
        if proxy is not None:
            for step in open_tunnel(sock, target, proxy, deadline):
                yield step
            trace('proxy', proxy=proxy.url)
        transport = None  # type: Optional[Transport]
        if not target.is_secure:
            transport = Transport(sock)
        else:
            for step in _secure(sock, target, make_tls_context, deadline, trace):
                if isinstance(step, Wait):
                    yield step
                else:
                    transport = step
    except BaseException:
        sock.close()
        raise
    del sock    # 2.7 keeps a descriptor open while any object of it is about
    yield transport  # type: ignore[misc]


def _connect(host, port, deadline, trace, resolve):
    # type: (Any, int, float, Trace, Callable[..., Any]) -> Iterator[Any]
    """Yield each `Wait`, and last a connected socket, to the first address that answers."""
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


def _secure(sock, target, make_tls_context, deadline, trace):
    # type: (Any, Target, Callable[[], Any], float, Trace) -> Iterator[Any]
    """Yield each `Wait`, and last the TLS transport."""
    from lomond.net import tls  # ssl takes long to import: ws goes without
    try:
        context = make_tls_context()
        for step in tls.handshake(sock, context, deadline, str(target.host)):
            yield step
            transport = step  # type: Any   # the last step
    except tls.TLS_ERRORS as error:
        raise ConnectFail.during(
            'tls', u'TLS with {} failed: {}'.format(target.host, describe(error)), error)
    trace('tls', version=transport.version, cipher=transport.cipher)
