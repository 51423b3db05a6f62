"""The encrypted byte stream: a `Transport` over an `ssl.SSLSocket`, or over what behaves like one.

Deals with no contexts, names or certificates; the handshake is over before.
"""

from __future__ import absolute_import, division, print_function

import errno
import socket
import ssl
import threading

from lomond._compat import TYPE_CHECKING
from lomond._describe import describe
from lomond.errors import TransportFail
from lomond.net.transport import RECEIVE_SIZE, Transport, send_failed
from lomond.net.waiter import READ, WRITE

if TYPE_CHECKING:
    from typing import Any, Callable, List, Optional, Tuple  # noqa: F401

    from lomond.net.waiter import Interest  # noqa: F401

_HAS_SESSIONS = hasattr(ssl, 'SSLSession')


def explain(error):
    # type: (Any) -> Any
    """Return an error of TLS in words that say what happened, or the same."""
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLSyscallError)) or error.errno == 0 \
            or 'unexpected eof' in str(error):
        # TCP ended before TLS did, which may be an attacker's doing. Up to 3.6 Python has no
        # words for it, or wrong ones.
        return socket.error(errno.ECONNRESET, 'the connection was cut off')
    words = describe(error)
    if not isinstance(error, ssl.SSLError) or 'alert certificate required' not in words:
        return error
    explained = ssl.SSLError(error.errno, u'a client certificate is required: give ssl_certfile, '
                             u'or an ssl_context that has one ({})'.format(words))
    explained.library, explained.reason = error.library, error.reason
    return explained


class TLSTransport(Transport):
    """An encrypted byte stream.

    OpenSSL allows one thread at a time in a session: every call into it is
    made under one lock, which is never held across a wait.

    Parameters: ``sock``, an `ssl.SSLSocket` whose handshake is done.
    """

    is_secure = True

    # OpenSSL reports the records of a write when all are sent: so it is given
    # one at a time (RFC 8446 5.1).
    _record_size = 16 * 1024

    def __init__(self, sock):
        # type: (Any) -> None
        super(TLSTransport, self).__init__(sock)
        self._tls_lock = threading.Lock()
        # What to wait for, if OpenSSL doesn't have to write: always the same object.
        self._reading = self.interest
        # Both ends have closed TLS. The SSLSocket would send in the clear from now on.
        self._is_unwrapped = False
        # The end followed data that was returned: the socket needn't report it again.
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
        """Whether the handshake resumed an earlier session."""
        return bool(getattr(self._sock, 'session_reused', False))

    @property
    def certificate(self):
        # type: () -> Optional[bytes]
        """The peer's certificate in DER, verified or not; a session that is resumed brings it."""
        return self._sock.getpeercert(True)  # type: ignore[no-any-return]

    def has_pending(self):
        # type: () -> bool
        with self._tls_lock:
            return super(TLSTransport, self).has_pending() or self._is_at_end \
                or self._sock.pending() > 0

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
                self.interest = self._reading  # type: Interest
                break
            except ssl.SSLWantWriteError:
                if self.interest is self._reading:
                    self.interest = ((self._fd, READ | WRITE),)
                break
            except ssl.SSLZeroReturnError:
                piece = b''     # the peer's end, after our own
            except (ssl.SSLError, socket.error) as error:
                self._is_broken = self._is_broken or not self.is_aborted
                if not pieces:
                    raise explain(error)
                self._keep_error(explain(error))    # first what arrived whole
                break
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
        if data:        # OpenSSL refuses to send nothing
            self.send_pieces((data,), len(data), timeout)

    def offer(self, data):
        # type: (Any) -> Tuple[int, int]
        try:
            return self._send_now(data)
        except (socket.error, TransportFail, ValueError) as error:
            # ValueError: an SSLSocket whose session is gone.
            raise send_failed(error, 0, len(data))

    def _send_now(self, data):
        # type: (Any) -> Tuple[int, int]
        if self.is_aborted:
            return super(TLSTransport, self)._send_now(data)
        try:
            with self._tls_lock:
                if self._is_unwrapped:
                    raise TransportFail('TLS was closed')
                return self._sock.send(data[:self._record_size]), WRITE
        except ssl.SSLWantWriteError:
            return 0, WRITE
        except ssl.SSLWantReadError:
            return 0, READ
        except socket.error as error:
            self._is_broken = self._is_broken or not self.is_aborted
            raise explain(error)

    def _raw_shutdown(self, how):
        # type: (int) -> None
        if how == socket.SHUT_WR:
            # A close_notify, which also asks for the peer's; it doesn't wait.
            with self._tls_lock:
                if not self._is_unwrapped:
                    try:
                        self._sock.unwrap()
                    except RuntimeError as error:   # PyPy fails to describe some errors of OpenSSL
                        raise socket.error(errno.EIO, str(error))
                    self._is_unwrapped = True
        else:
            self._break_off()

    def _break_off(self):
        # type: () -> None
        # SSLSocket.shutdown would drop the TLS session that other threads may be using. Its plain
        # base class isn't socket.socket where eventlet has replaced that.
        plain_class = next(
            base for base in type(self._sock).__mro__ if not hasattr(base, 'unwrap'))  # type: Any
        plain_class.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self):
        # type: () -> None
        with self._close_lock():
            if not self.is_closed:
                self._hand_on_session()
        if not self.is_aborted:
            self.shutdown_sending()
        super(TLSTransport, self).close()

    def _hand_on_session(self):
        # type: () -> None
        """Hand on the session, last of all: in TLS 1.3 the ticket arrives with the data."""
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
