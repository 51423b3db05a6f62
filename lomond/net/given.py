"""A transport over a socket that the user has connected, and secured by TLS or not."""

from __future__ import absolute_import, division, print_function

import socket

from lomond._compat import TYPE_CHECKING
from lomond._describe import describe
from lomond.errors import ConnectFail
from lomond.net.connect import with_class
from lomond.net.transport import Transport

if TYPE_CHECKING:
    from typing import Any  # noqa: F401

_NEEDED = ('getpeername', 'getsockopt', 'setblocking')


def wrap(sock):
    # type: (Any) -> Transport
    """Return a transport over a connected stream socket, plain or an `ssl.SSLSocket`.

    Nothing is sent. Raises TypeError and ValueError for what isn't one, and ConnectFail if it isn't
    connected, or not any more; then the socket stays the caller's.
    """
    if not all(hasattr(sock, name) for name in _NEEDED):
        raise TypeError('sock must be a socket, not {!r}'.format(sock))
    try:
        kind = sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
        if kind != socket.SOCK_STREAM:
            raise ValueError('sock must be a stream socket, such as that of a TCP connection, '
                             'not {!r}'.format(sock))
        sock.getpeername()
        if not hasattr(sock, 'getpeercert'):
            return Transport(with_class(sock))
        if sock.cipher() is None:
            raise ValueError(
                'the TLS handshake on sock is not complete: call sock.do_handshake() first')
        from lomond.net.tls.transport import TLSTransport  # ssl takes long to import
        return TLSTransport(sock)
    except socket.error as error:
        raise ConnectFail.during(
            'connect', u'no connected socket: {}'.format(describe(error)), error)
