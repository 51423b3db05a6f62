"""TLS: contexts, versions, the handshake, the encrypted byte stream.

The one module that imports ssl; it is imported with the first wss connection.
"""

from __future__ import absolute_import, division, print_function

import errno
import logging
import os
import socket
import ssl
import threading

import certifi

from lomond._compat import TYPE_CHECKING, monotonic
from lomond.errors import TransportFail
from lomond.net.selectors import READ, WRITE
from lomond.net.transport import RECEIVE_SIZE, Transport
from lomond.net.wait import Wait

if TYPE_CHECKING:
    from typing import Any, Iterator, List, Optional, Tuple, Union  # noqa: F401

    from lomond.net.options import TLSOptions  # noqa: F401

log = logging.getLogger('lomond')

_RECORD_SIZE = 16 * 1024    # RFC 8446 5.1

#: What making TLS raises: SSLError, unreadable files, names that TLS can't carry,
#: and CertificateError, a ValueError up to 3.6.
TLS_ERRORS = (EnvironmentError, ValueError)


def client_context(cafile=None, verify=True):
    # type: (Optional[str], bool) -> ssl.SSLContext
    """Make a context that verifies the server, with TLS 1.2 or newer.

    Parameters: ``cafile``, a file of certificates to trust; without it
    SSL_CERT_FILE and SSL_CERT_DIR of the environment name them, and without
    these certifi does. ``verify=False`` takes any certificate, and logs that.
    """
    capath = None
    if cafile is None:
        cafile = os.environ.get('SSL_CERT_FILE')
        capath = os.environ.get('SSL_CERT_DIR')
        if not (cafile or capath):
            cafile = certifi.where()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if hasattr(ssl, 'PROTOCOL_TLS_CLIENT') \
        else ssl.SSLContext(ssl.PROTOCOL_SSLv23)
    _harden(context)
    if ssl.HAS_ALPN:
        context.set_alpn_protocols(['http/1.1'])
    if verify:
        context.verify_mode = ssl.CERT_REQUIRED
        context.check_hostname = True
        try:
            context.load_verify_locations(cafile or None, capath or None)
        except EnvironmentError as error:
            raise IOError(error.errno, 'no certificates in {!r}: {}'.format(
                cafile or capath, error.strerror))
    else:
        log.warning('TLS certificates are not verified: anyone on the way can read and '
                    'change what is sent')
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def server_context(certfile, keyfile=None):
    # type: (str, Optional[str]) -> ssl.SSLContext
    """Make a server's context, with TLS 1.2 or newer."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _harden(context)
    context.load_cert_chain(certfile, keyfile)
    return context


def _harden(context):
    # type: (ssl.SSLContext) -> None
    """Ask for TLS 1.2 or newer, and for what some Pythons don't by themselves."""
    context.options |= ssl.OP_NO_COMPRESSION    # 2.7 leaves it to OpenSSL; CVE-2012-4929
    # 3.8 and 3.9 take a cut connection for a clean end.
    context.options &= ~getattr(ssl, 'OP_IGNORE_UNEXPECTED_EOF', 0)
    if hasattr(context, 'minimum_version'):
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    else:
        context.options |= (
            ssl.OP_NO_SSLv2 | ssl.OP_NO_SSLv3 | ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1)


def handshake(sock, context, deadline, server_hostname=None):
    # type: (Any, ssl.SSLContext, float, Optional[str]) -> Iterator[Union[Wait, TLSTransport]]
    """Make TLS on a connected socket: yields each `Wait`, and last the transport.

    A client names the server by ``server_hostname``; a server leaves it out.
    Raises one of `TLS_ERRORS`; the socket is then still the caller's to close.
    """
    sock.setblocking(False)
    tls_sock = context.wrap_socket(
        sock,
        server_side=server_hostname is None,
        server_hostname=server_hostname,
        do_handshake_on_connect=False,
        suppress_ragged_eofs=False,
    )
    try:
        tls_sock.setblocking(False)
        while True:
            try:
                tls_sock.do_handshake()
                break
            except ssl.SSLWantReadError:
                mask = READ
            except ssl.SSLWantWriteError:
                mask = WRITE
            except ssl.CertificateError as error:
                # An SSLError is OpenSSL's verdict. Any other one is 2.7's own
                # look at the names of a certificate that OpenSSL has verified:
                # it knows no addresses.
                if isinstance(error, ssl.SSLError) or not _is_for_address(
                        tls_sock.getpeercert(), server_hostname):
                    raise
                break
            except (ssl.SSLError, socket.error) as error:
                raise _tell_cut(error)
            yield Wait(((tls_sock.fileno(), mask),), deadline)
            if monotonic() >= deadline:
                raise socket.timeout('timed out')
    except BaseException:
        tls_sock.close()
        raise
    yield TLSTransport(tls_sock)


def secure(transport, options, host, deadline):
    # type: (Transport, TLSOptions, str, float) -> Iterator[Union[Wait, TLSTransport]]
    """Make TLS with a host on a transport, which is no use any more after this.

    Yields each `Wait`, and last the new transport. Raises one of `TLS_ERRORS`;
    then nothing is left open.
    """
    context = options.context()
    sock = transport.detach()
    try:
        for step in handshake(sock, context, deadline, options.server_hostname or host):
            yield step
    except BaseException:
        sock.close()
        raise


def _tell_cut(error):
    # type: (Any) -> Any
    """Return an error that says what happened if TCP ended before TLS did.

    It may be an attacker's doing. Up to 3.6 Python has no words for it, or wrong ones.
    """
    if isinstance(error, ssl.SSLEOFError) or error.errno == 0 or 'unexpected eof' in str(error):
        return socket.error(errno.ECONNRESET, 'the connection was cut off')
    return error


def _is_for_address(certificate, host):
    # type: (Any, Any) -> bool
    """Tell if a certificate, as getpeercert() gives it, names this address."""
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


class TLSTransport(Transport):
    """An encrypted byte stream.

    OpenSSL allows one thread at a time in a session: every call into it is
    made under one lock, which is never held across a wait.
    """

    is_secure = True

    def __init__(self, sock):
        # type: (ssl.SSLSocket) -> None
        super(TLSTransport, self).__init__(sock)
        self._tls_lock = threading.Lock()
        self._wants = {
            READ: ((self._fd, READ),),
            WRITE: ((self._fd, READ | WRITE),),
        }
        # Both have ended TLS. What the SSLSocket would carry now, it would in the clear.
        self._is_unwrapped = False
        # The end was met behind data: the socket needn't show it again.
        self._is_at_end = False

    @property
    def version(self):
        # type: () -> Optional[str]
        """The protocol version, such as 'TLSv1.3'."""
        return self._sock.version()  # type: ignore[no-any-return]

    @property
    def cipher(self):
        # type: () -> str
        """The name of the cipher suite."""
        return self._sock.cipher()[0]  # type: ignore[no-any-return]

    def has_pending(self):
        # type: () -> bool
        with self._tls_lock:
            return bool(self._backlog) or self._is_at_end or self._sock.pending() > 0

    def _receive_now(self):
        # type: () -> Optional[bytes]
        # A record holds 16 KiB at most; gather a few for one round of the loop.
        pieces = []  # type: List[bytes]
        size = 0
        while size < RECEIVE_SIZE:
            try:
                with self._tls_lock:
                    piece = b'' if self._is_unwrapped else self._sock.recv(RECEIVE_SIZE)
            except ssl.SSLWantReadError:
                self.interest = self._wants[READ]
                break
            except ssl.SSLWantWriteError:
                self.interest = self._wants[WRITE]
                break
            except ssl.SSLZeroReturnError:
                piece = b''     # the peer's end, met after our own
            except (ssl.SSLError, socket.error) as error:
                if pieces:      # first what arrived whole; the error comes again
                    self._is_at_end = True
                    break
                raise _tell_cut(error)
            if not piece:
                if pieces:
                    self._is_at_end = True
                    break
                return b''
            pieces.append(piece)
            size += len(piece)
        return b''.join(pieces) if pieces else None

    def _send_now(self, data):
        # type: (Any) -> Tuple[int, int]
        if self.is_aborted:
            return super(TLSTransport, self)._send_now(data)
        try:
            with self._tls_lock:
                if self._is_unwrapped:
                    raise TransportFail('TLS has ended')
                # A record at a time: OpenSSL tells of none before all are out.
                return self._sock.send(data[:_RECORD_SIZE]), WRITE
        except ssl.SSLWantWriteError:
            return 0, WRITE
        except ssl.SSLWantReadError:
            return 0, READ

    def _raw_shutdown(self, how):
        # type: (int) -> None
        if how == socket.SHUT_WR:
            # A close_notify, which also asks for the peer's; it doesn't wait.
            with self._tls_lock:
                if not self._is_unwrapped:
                    self._sock.unwrap()
                    self._is_unwrapped = True
        else:
            # SSLSocket.shutdown drops the TLS session under the other threads.
            socket.socket.shutdown(self._sock, how)

    def close(self):
        # type: () -> None
        if not self.is_aborted:
            self.shutdown_sending()
        super(TLSTransport, self).close()
