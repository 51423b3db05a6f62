"""The TLS handshake, and the encrypted byte stream that it leads to.

Knows nothing of contexts, names or certificates: that is `tls`.
"""

from __future__ import absolute_import, division, print_function

import errno
import os
import re
import socket
import ssl
import threading

from lomond._compat import TYPE_CHECKING, monotonic
from lomond._describe import describe
from lomond.errors import TransportFail
from lomond.net.steps import Wait, operation
from lomond.net.tls.nested import NestedSocket
from lomond.net.transport import RECEIVE_SIZE, Transport
from lomond.net.waiter import READ, WRITE

if TYPE_CHECKING:
    from typing import Any, Callable, List, Optional, Tuple  # noqa: F401

    from lomond.net.steps import Steps  # noqa: F401

_HAS_SESSIONS = hasattr(ssl, 'SSLSession')

# OpenSSL's words for a first record that isn't one.
_NOT_TLS = ('wrong version number', 'unknown protocol', 'http request', 'https proxy request')

# An alert in the clear: of one record, two bytes long (RFC 8446 6).
_ALERT = re.compile(b'\x15\x03[\x00-\x04]\x00\x02[\x01\x02](.)', re.DOTALL)


@operation
def handshake(sock, context, deadline, server_hostname=None, session=None):
    # type: (Any, ssl.SSLContext, float, Optional[str], Any) -> Steps
    """Make TLS on a connected socket; the result is a `TLSTransport`.

    A client names the server by ``server_hostname``; a server leaves it out.
    ``session`` is an `ssl.SSLSession` to resume, or None.
    Raises one of `tls.TLS_ERRORS`; the socket is then still the caller's to close.
    """
    sock.setblocking(False)
    # From 3.8 to 3.12 wrap_socket trips over a connection that is broken, and leaves it open.
    broken = _find_error(sock)
    if broken is not None:
        raise _read_on(sock, broken)
    tls_sock = context.wrap_socket(
        sock,
        server_side=server_hostname is None,
        server_hostname=server_hostname,
        do_handshake_on_connect=False,
        suppress_ragged_eofs=False,
        **_resuming(session)
    )
    try:
        # On 3 it has lost its descriptor. On 2.7 it shares that, and would keep it open.
        sock.close()
        tls_sock.setblocking(False)
        yield _shake_hands(tls_sock, deadline, server_hostname)
    except BaseException:
        tls_sock.close()
        raise
    yield TLSTransport(tls_sock)


@operation
def handshake_within(transport, context, deadline, server_hostname=None, session=None):
    # type: (Transport, ssl.SSLContext, float, Optional[str], Any) -> Steps
    """Make TLS on any transport: one that is encrypted already, for one.

    Parameters and results as of `handshake`. When anything is raised, the
    transport below is closed.
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
            # An SSLError is OpenSSL's verdict. Any other one is 2.7's own
            # look at the names of a certificate that OpenSSL has verified:
            # it knows no addresses.
            if isinstance(error, ssl.SSLError) or not is_for_address(
                    tls_sock.getpeercert(), server_hostname):
                raise
            return
        except (ssl.SSLError, socket.error) as error:
            raise _read_on(tls_sock, _explain(error))
        yield Wait(((tls_sock.fileno(), mask),), deadline)
        if monotonic() >= deadline:
            raise socket.timeout('timed out')


def _find_error(sock):
    # type: (Any) -> Optional[socket.error]
    """Return what has broken a connection, or None."""
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        return socket.error(code, os.strerror(code))
    try:
        sock.getpeername()
    except socket.error as error:       # the code was asked for before
        return error
    return None


def _read_on(sock, error):
    # type: (Any, socket.error) -> socket.error
    """Return the error that had arrived in the clear when a handshake broke, or the same.

    Where a write fails OpenSSL reads no more; a server may have said no before, and gone.
    """
    if isinstance(error, ssl.SSLError) or not isinstance(sock, socket.socket):
        return error        # OpenSSL has read; or a `NestedSocket`, which reads on by itself
    try:
        # Past OpenSSL, which has never asked for more than the record that it was at.
        below = socket.fromfd(sock.fileno(), sock.family, sock.type)
    except socket.error:
        return error
    try:
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


def _explain(error):
    # type: (Any) -> Any
    """Return an error of TLS in words that say what happened, or the same."""
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLSyscallError)) or error.errno == 0 \
            or 'unexpected eof' in str(error):
        # TCP ended before TLS did, which may be an attacker's doing. Up to 3.6 Python has no
        # words for it, or wrong ones.
        return socket.error(errno.ECONNRESET, 'the connection was cut off')
    words = describe(error)
    if not isinstance(error, ssl.SSLError):
        return error
    if 'alert certificate required' not in words:
        return error
    explained = ssl.SSLError(error.errno, u'a client certificate is required: give ssl_certfile, '
                             u'or an ssl_context that has one ({})'.format(words))
    explained.library, explained.reason = error.library, error.reason
    return explained


def speaks_no_tls(error):
    # type: (BaseException) -> bool
    """Tell if a handshake failed because the peer speaks something else on this port."""
    words = describe(error)
    return isinstance(error, ssl.SSLError) and any(known in words for known in _NOT_TLS)


def is_for_address(certificate, host):
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

    Parameters: ``sock``, an `ssl.SSLSocket` whose handshake is done.
    """

    is_secure = True

    # OpenSSL tells of none of the records of a write before all are out: so
    # one at a time is given to it (RFC 8446 5.1).
    _record_size = 16 * 1024

    def __init__(self, sock):
        # type: (Any) -> None
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
        # It was cut off, or TLS failed.
        self._is_broken = False
        #: Called at the end of a connection that wasn't cut, with an object whose ``session`` is
        #: the `ssl.SSLSession` by which the next one can be resumed.
        self.on_session = None  # type: Optional[Callable[[Any], None]]
        # The socket drops it when it is closed. (2.7's has no session, but the descriptor.)
        self._session_owner = getattr(sock, '_sslobj', None) if _HAS_SESSIONS else None

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

    @property
    def is_resumed(self):
        # type: () -> bool
        """Whether the handshake went by an earlier session."""
        return bool(getattr(self._sock, 'session_reused', False))

    @property
    def certificate(self):
        # type: () -> Optional[bytes]
        """The peer's certificate in DER, verified or not; a session that is resumed brings it."""
        return self._sock.getpeercert(True)  # type: ignore[no-any-return]

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
                self._is_broken = self._is_broken or not self.is_aborted
                if pieces:      # first what arrived whole; the error comes again
                    self._is_at_end = True
                    break
                raise _explain(error)
            if not piece:
                if pieces:
                    self._is_at_end = True
                    break
                return b''
            pieces.append(piece)
            size += len(piece)
        return b''.join(pieces) if pieces else None

    def send(self, data, timeout):
        # type: (bytes, Optional[float]) -> None
        if data:        # OpenSSL wouldn't have nothing
            self.send_pieces((data,), len(data), timeout)

    def _send_now(self, data):
        # type: (Any) -> Tuple[int, int]
        if self.is_aborted:
            return super(TLSTransport, self)._send_now(data)
        try:
            with self._tls_lock:
                if self._is_unwrapped:
                    raise TransportFail('TLS has ended')
                return self._sock.send(data[:self._record_size]), WRITE
        except ssl.SSLWantWriteError:
            return 0, WRITE
        except ssl.SSLWantReadError:
            return 0, READ
        except socket.error as error:
            self._is_broken = self._is_broken or not self.is_aborted
            raise _explain(error)

    def _raw_shutdown(self, how):
        # type: (int) -> None
        if how == socket.SHUT_WR:
            # A close_notify, which also asks for the peer's; it doesn't wait.
            with self._tls_lock:
                if not self._is_unwrapped:
                    self._sock.unwrap()
                    self._is_unwrapped = True
        else:
            self._break_off()

    def _break_off(self):
        # type: () -> None
        # SSLSocket.shutdown drops the TLS session under the other threads.
        socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self):
        # type: () -> None
        with self._close_lock():
            if not self._is_closed:
                self._hand_on_session()
        if not self.is_aborted:
            self.shutdown_sending()
        super(TLSTransport, self).close()

    def _hand_on_session(self):
        # type: () -> None
        """Give away the session, last of all: TLS 1.3 has the ticket come with the data."""
        on_session, self.on_session = self.on_session, None
        if on_session is not None and not self._is_broken:
            on_session(self._session_owner)


class NestedTLSTransport(TLSTransport):
    """An encrypted byte stream within another one.

    Each layer has its own lock; this one's is taken first. Closing or breaking
    it does the same to the transport below.

    Parameters: ``sock``, a `NestedSocket` whose handshake is done.
    """

    # What it becomes is to fit into one record of the layer below.
    _record_size = 16 * 1024 - 256

    def _break_off(self):
        # type: () -> None
        self._sock.below.abort()
