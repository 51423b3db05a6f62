"""TCP keepalive, which each system has its own names for."""

from __future__ import absolute_import, division, print_function

import logging
import socket
import sys

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any  # noqa: F401

log = logging.getLogger('lomond')  # type: logging.Logger

#: Seconds between two probes, once the first had no answer ...
PROBE_INTERVAL = 10

#: ... and how many without an answer break the connection.
PROBES = 6

# macOS calls it otherwise, and Python names that since 3.10 only.
_TCP_KEEPIDLE = getattr(
    socket, 'TCP_KEEPIDLE',
    getattr(socket, 'TCP_KEEPALIVE', 0x10 if sys.platform == 'darwin' else None))


def keep_alive(sock, seconds):
    # type: (Any, int) -> None
    """Have the system ask for the other end after so many seconds without traffic.

    Where it can't be told when, the system's own times hold (RFC 1122
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
    except socket.error as error:   # pragma: no cover  (sandboxes that know a part of TCP)
        log.debug('TCP keepalive is not as it was asked for: %s', error)
