"""Options of a socket before it connects: TCP's own, keepalive, the user's, the source address.

Each system has its own names for keepalive. Connects to nothing, and looks nothing up.
"""

from __future__ import absolute_import, division, print_function

import errno
import os
import socket
import sys

from lomond._compat import TYPE_CHECKING, text_type
from lomond._describe import describe
from lomond.http.url import bracket
from lomond.net.address import read_address

if TYPE_CHECKING:
    from typing import Any, Optional, Text, Tuple  # noqa: F401

    from lomond.net.options import NetOptions  # noqa: F401

#: Seconds between two keepalive probes, once the first had no answer ...
PROBE_INTERVAL = 10

#: ... and how many without an answer break the connection.
PROBES = 6

#: What setting an option may raise: the user's may be of a wrong type or size.
OPTION_ERRORS = (socket.error, TypeError, ValueError, OverflowError)

# macOS has another name for it, which Python knows since 3.10 only.
_TCP_KEEPIDLE = getattr(
    socket, 'TCP_KEEPIDLE',
    getattr(socket, 'TCP_KEEPALIVE', 0x10 if sys.platform == 'darwin' else None))

# To connect from any address: nothing listens there.
_ANY_IPV4 = '0.0.0.0'       # nosec B104


def prepare_tcp(sock, family, options):
    # type: (Any, int, NetOptions) -> None
    """Set a TCP socket's options, the user's last, and bind it; raises `OPTION_ERRORS`."""
    # Frames are whole when they are sent: waiting for more bytes gains nothing.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if options.tcp_keepalive is not None:
        _keep_alive(sock, options.tcp_keepalive, options.logger)
    set_options(sock, options.socket_options)
    _bind(sock, family, options.source_address)


def set_options(sock, socket_options):
    # type: (Any, Tuple[Tuple[int, int, Any], ...]) -> None
    """Set the user's options; raises `OPTION_ERRORS`."""
    for option in socket_options:
        try:
            sock.setsockopt(*option)
        except OPTION_ERRORS as error:
            raise _named(u'socket option {!r}'.format(option), error)


def _keep_alive(sock, seconds, logger):
    # type: (Any, int, Any) -> None
    """Have the system probe the peer after this many seconds without traffic.

    Where the times can't be set, the system's own are used (RFC 1122
    4.2.3.6: two hours). That is no reason to fail, and so it is only logged.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, 'SIO_KEEPALIVE_VALS'):   # pragma: no cover  (Windows)
            sock.ioctl(socket.SIO_KEEPALIVE_VALS, (1, seconds * 1000, PROBE_INTERVAL * 1000))
            return
        for option, value in (
                (_TCP_KEEPIDLE, seconds),
                (getattr(socket, 'TCP_KEEPINTVL', None), PROBE_INTERVAL),
                (getattr(socket, 'TCP_KEEPCNT', None), PROBES)):
            if option is not None:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
    except socket.error as error:   # pragma: no cover  (sandboxes that allow a part of TCP)
        logger.debug('the options of tcp_keepalive could not be set: %s', error)


def _bind(sock, family, source_address):
    # type: (Any, int, Optional[Tuple[str, int]]) -> None
    """Bind to the source address, if there is one; raises socket.error."""
    if source_address is None:
        return
    host, port = source_address
    if not host:
        host = '::' if family == socket.AF_INET6 else _ANY_IPV4
    try:
        source = read_address(host, port)[0]
        if source[0] != family:
            raise socket.error(errno.EAFNOSUPPORT, u'not of the same family')
        if port and os.name == 'posix':
            # Attempts side by side share the port, and the next connection needn't wait until
            # the system has forgotten the last one. (On Windows this option does something else.)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(source[4])
    except socket.error as error:
        raise _named(u'source address {}'.format(bracket(text_type(host))), error)


def _named(what, error):
    # type: (Text, BaseException) -> socket.error
    """Return an error like this one, whose words begin with what it is about."""
    return socket.error(
        getattr(error, 'errno', None), u'{}: {}'.format(what, describe(error)))
