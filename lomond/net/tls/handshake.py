"""The TLS handshake on a socket, or on another transport; leads to a `TLSTransport`.

Takes a context as it is: options are for `client`, contexts for `contexts`.
"""

from __future__ import absolute_import, division, print_function

import os
import re
import socket
import ssl

from lomond._compat import TYPE_CHECKING, monotonic
from lomond.net.closing import close_socket
from lomond.net.steps import Wait, operation
from lomond.net.tls.nested import NestedSocket
from lomond.net.tls.transport import NestedTLSTransport, TLSTransport, explain
from lomond.net.transport import RECEIVE_SIZE
from lomond.net.waiter import READ, WRITE

if TYPE_CHECKING:
    from typing import Any, Dict, Optional  # noqa: F401

    from lomond.net.steps import Steps  # noqa: F401
    from lomond.net.transport import Transport  # noqa: F401

#: What making TLS raises: SSLError, unreadable files, names that TLS can't carry,
#: and CertificateError, a ValueError up to 3.6.
TLS_ERRORS = (EnvironmentError, ValueError)

# An alert in the clear: of one record, two bytes long (RFC 8446 6).
_ALERT = re.compile(b'\x15\x03[\x00-\x04]\x00\x02[\x01\x02](.)', re.DOTALL)


@operation
def handshake(sock, context, deadline, server_hostname=None, session=None):
    # type: (Any, ssl.SSLContext, float, Optional[str], Any) -> Steps
    """Make TLS on a connected socket; the result is a `TLSTransport`.

    A client names the server by ``server_hostname``; a server leaves it out.
    ``session`` is an `ssl.SSLSession` to resume, or None.
    Raises one of `TLS_ERRORS`; the socket is then still the caller's to close.
    """
    sock.setblocking(False)
    # From 3.8 to 3.12 wrap_socket fails on a broken connection, and leaves it open.
    broken = _find_error(sock)
    if broken is not None:
        raise _read_on(sock, broken)
    options = {
        'server_side': server_hostname is None, 'server_hostname': server_hostname,
        'do_handshake_on_connect': False, 'suppress_ragged_eofs': False,
    }  # type: Dict[str, Any]
    try:
        tls_sock = context.wrap_socket(sock, **dict(options, **_resuming(session)))
    except TypeError:
        if session is None:
            raise
        tls_sock = context.wrap_socket(sock, **options)     # eventlet's of 3.6 can't resume
    try:
        # On 3 it has no descriptor any more. On 2.7 it shares one, and would keep it open.
        sock.close()
        tls_sock.setblocking(False)
        yield _shake_hands(tls_sock, deadline, server_hostname)
    except BaseException:
        close_socket(tls_sock)
        raise
    yield TLSTransport(tls_sock)


@operation
def handshake_within(transport, context, deadline, server_hostname=None, session=None):
    # type: (Transport, ssl.SSLContext, float, Optional[str], Any) -> Steps
    """Make TLS on any transport, also on one that is encrypted already.

    Otherwise the same as `handshake`; but when anything is raised, the transport below is closed.
    """
    try:
        if not hasattr(context, 'wrap_bio'):
            raise ValueError('TLS within TLS, such as wss through an https proxy, '
                             'takes Python 3.6 or newer')
        nested = NestedSocket(transport, context, server_hostname, **_resuming(session))
        yield _shake_hands(nested, deadline, server_hostname)
    except BaseException:
        transport.close()
        raise
    yield NestedTLSTransport(nested)


def _resuming(session):
    # type: (Any) -> Any
    """Return the argument to resume a session by: 2.7 has none of that name."""
    return {} if session is None else {'session': session}


@operation
def _shake_hands(tls_sock, deadline, server_hostname):
    # type: (Any, float, Optional[str]) -> Steps
    while True:
        try:
            tls_sock.do_handshake()
            return
        except ssl.SSLWantReadError:
            mask = READ
        except ssl.SSLWantWriteError:
            mask = WRITE
        except ssl.CertificateError as error:
            # An SSLError is OpenSSL's. Any other one is from 2.7's own check of
            # the names in a certificate that OpenSSL has verified: that check
            # ignores addresses.
            if isinstance(error, ssl.SSLError) or not is_for_address(
                    tls_sock.getpeercert(), server_hostname):
                raise
            return
        except (ssl.SSLError, socket.error) as error:
            raise _read_on(tls_sock, explain(error))
        yield Wait(((tls_sock.fileno(), mask),), deadline)
        if monotonic() >= deadline:
            raise socket.timeout('timed out')


def _find_error(sock):
    # type: (Any) -> Optional[socket.error]
    """Return the error that has broken a connection, or None."""
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        return socket.error(code, os.strerror(code))
    try:
        sock.getpeername()
    except socket.error as error:       # SO_ERROR was read before, which clears it
        return error
    return None


def _read_on(sock, error):
    # type: (Any, socket.error) -> socket.error
    """Return the error that had arrived in the clear when a handshake broke, or the same.

    After a failed write OpenSSL reads no more, but the server may have refused before it closed.
    """
    if isinstance(error, ssl.SSLError) or not isinstance(sock, socket.socket):
        return error        # OpenSSL has read; and a `NestedSocket` reads on itself
    try:
        # Without OpenSSL, which has read no further than the record that it is at.
        below = socket.fromfd(sock.fileno(), sock.family, sock.type)
    except socket.error:
        return error
    try:
        below.setblocking(False)    # PyPy's fromfd makes both of them blocking
        data = below.recv(RECEIVE_SIZE)
    except socket.error:
        return error
    finally:
        below.close()
    if data.startswith(b'HTTP/'):
        return ssl.SSLError(ssl.SSL_ERROR_SSL, 'wrong version number: it is plain HTTP')
    alert = _ALERT.match(data)
    return error if alert is None else ssl.SSLError(
        ssl.SSL_ERROR_SSL, 'TLS alert: {}'.format(_name_alert(ord(alert.group(1)))))


def _name_alert(code):
    # type: (int) -> str
    """Return the name of an alert, such as 'handshake failure'."""
    prefix = 'ALERT_DESCRIPTION_'
    for name in dir(ssl):
        if name.startswith(prefix) and getattr(ssl, name) == code:
            return name[len(prefix):].lower().replace('_', ' ')
    return str(code)


def is_for_address(certificate, host):
    # type: (Any, Any) -> bool
    """Return whether a certificate, as getpeercert() returns it, is for this address."""
    wanted = _pack_address(host)
    return wanted is not None and any(
        kind == 'IP Address' and _pack_address(name.strip()) == wanted
        for kind, name in certificate.get('subjectAltName', ()))


def _pack_address(host):
    # type: (str) -> Optional[bytes]
    try:
        return socket.inet_pton(socket.AF_INET6 if ':' in host else socket.AF_INET, host)
    except (socket.error, TypeError, ValueError):
        return None
