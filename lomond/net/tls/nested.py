"""TLS on a transport instead of a socket: wss through an https proxy is TLS within TLS.

Waits for nothing, and has no lock: its `TLSTransport` has.
"""

from __future__ import absolute_import, division, print_function

import socket
import ssl

from lomond._compat import TYPE_CHECKING
from lomond.errors import TransportFail
from lomond.net.waiter import READ, WRITE

if TYPE_CHECKING:
    from typing import Any, Callable, Optional, Tuple  # noqa: F401

    from lomond.net.transport import Transport  # noqa: F401

_WANT_ERRORS = {READ: ssl.SSLWantReadError, WRITE: ssl.SSLWantWriteError}


class NestedSocket(object):
    """Behaves like a non-blocking `ssl.SSLSocket`, on a transport that belongs to it.

    Parameters: ``below``, the transport, encrypted or not; ``context``, an
    `ssl.SSLContext` with ``wrap_bio``; ``server_hostname``, None on a server;
    ``options``, more arguments for ``wrap_bio``.
    """

    def __init__(self, below, context, server_hostname, **options):
        # type: (Transport, ssl.SSLContext, Optional[str], Any) -> None
        self.below = below
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        # By the name that an SSLSocket has for it.
        self._sslobj = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_hostname is None,
            server_hostname=server_hostname, **options)
        self._unsent = b''      # encrypted bytes that the layer below has not accepted yet
        self._committed = 0     # the number of the caller's bytes in there

        self.version = self._sslobj.version  # type: Callable[[], Optional[str]]
        self.cipher = self._sslobj.cipher  # type: Callable[[], Optional[Tuple[str, str, int]]]
        self.getpeercert = self._sslobj.getpeercert  # type: Callable[..., Any]

    def setblocking(self, is_blocking):
        # type: (bool) -> None
        """Do nothing: a transport never blocks."""

    def fileno(self):
        # type: () -> int
        return self.below.fileno()

    def getpeername(self):
        # type: () -> Any
        return self.below.peer_address

    def getsockname(self):
        # type: () -> Any
        return self.below.local_address

    @property
    def session_reused(self):
        # type: () -> Any
        return self._sslobj.session_reused

    def pending(self):
        # type: () -> int
        """Return more than 0 if either layer has bytes that no wait would report."""
        return self._sslobj.pending() + self._incoming.pending + self.below.has_pending()

    def do_handshake(self):
        # type: () -> None
        while True:
            try:
                self._sslobj.do_handshake()
                break
            except ssl.SSLWantReadError:
                error = self._flush_or_fail()
                try:
                    self._fill()    # even if that failed: what has arrived may say why
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    if error is not None:
                        raise error
                    raise
            except ssl.SSLError:
                self._try_to_flush()    # the alert, which says why to the server
                raise
        self._flush_or_fail()       # an error comes again with the next write, which reads on then

    def recv(self, size):
        # type: (int) -> bytes
        while True:
            try:
                return self._sslobj.read(size)
            except ssl.SSLWantReadError:
                self._try_to_flush()    # OpenSSL may have an answer to send: to a KeyUpdate
                self._fill()

    def send(self, data):
        # type: (Any) -> int
        """Send bytes, all or none; the same bytes again if the last call raised what to wait for.

        They are sent once the layer below has accepted all of their records.
        """
        if not self._committed:
            self._flush()
            try:
                self._committed = self._sslobj.write(data)
            except ssl.SSLWantReadError:
                self._try_to_flush()
                raise
        self._flush()
        committed, self._committed = self._committed, 0
        return committed

    def unwrap(self):
        # type: () -> None
        try:
            self._sslobj.unwrap()
        finally:
            self._try_to_flush()

    def close(self):
        # type: () -> None
        self.below.close()

    def _fill(self):
        # type: () -> None
        """Read what has arrived, or the end; raises what to wait for if nothing has."""
        data = self.below.receive()
        if data is None:
            must_write = self._unsent or self.below.interest[0][1] & WRITE
            raise _WANT_ERRORS[WRITE if must_write else READ]()
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _flush(self):
        # type: () -> None
        """Send all that was encrypted to the layer below; raises what to wait for."""
        if self._outgoing.pending:
            self._unsent += self._outgoing.read()
        while self._unsent:
            count, interest = self.below.send_some(self._unsent)
            if not count:
                raise _WANT_ERRORS[interest[0][1]]()
            self._unsent = self._unsent[count:]

    def _flush_or_fail(self):
        # type: () -> Optional[BaseException]
        """Flush; raises what to wait for, but returns what has failed."""
        try:
            self._flush()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except (socket.error, TransportFail) as error:
            return error
        return None

    def _try_to_flush(self):
        # type: () -> None
        try:
            self._flush()
        except (socket.error, TransportFail):
            pass        # later, or never: the reader will meet the error itself
