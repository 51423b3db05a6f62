"""Addresses of sockets: read from text, never looked up."""

from __future__ import absolute_import, division, print_function

import socket

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, List  # noqa: F401


def read_address(host, port):
    # type: (str, int) -> List[Any]
    """Return what `socket.getaddrinfo` does of an address; never looks anything up.

    Raises socket.gaierror, or UnicodeError, if it isn't one.
    """
    return socket.getaddrinfo(
        host, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
