"""SOCKS4a and SOCKS5, by the package python-socks: bytes in, bytes out.

That package is optional, and imported where it is needed. It reads and writes
a stream that blocks. Here it gets one that has the bytes received so far, and
raises where they end; when more arrive it is run again from the start. All that
is a few hundred bytes, and the same each time. So nothing here waits, and no
thread is needed.
"""

from __future__ import absolute_import, division, print_function

import re

from lomond._compat import TYPE_CHECKING
from lomond._describe import describe
from lomond.errors import ConnectFail, WebSocketError

if TYPE_CHECKING:
    from typing import Any, Optional  # noqa: F401

    from lomond.http.url import ProxyTarget, Target  # noqa: F401

# RFC 1929 allows 255 bytes, and names no encoding; a NUL ends SOCKS4's user.
_CREDENTIAL = re.compile(u'[\\x01-\\x7f]{1,255}\\Z')


def check_usable(proxy):
    # type: (ProxyTarget) -> None
    """Raise ValueError, which says what to do, if a SOCKS proxy can't be used here."""
    try:
        import python_socks.sync.v2  # noqa: F401
    except (ImportError, SyntaxError):      # the latter from an older Python
        raise ValueError(
            'a SOCKS proxy needs the package python-socks, which is there for Python 3.6 and '
            'newer: pip install lomond[socks]')
    if proxy.credentials is None:
        return
    user, password = proxy.credentials
    if proxy.scheme.startswith(u'socks4'):
        if password:
            raise ValueError('SOCKS4 has no passwords, only a user')
        password = user
    if not (_CREDENTIAL.match(user) and _CREDENTIAL.match(password)):
        raise ValueError(
            'SOCKS takes a user and a password of 1 to 255 ASCII characters, without NUL')


class SocksExchange(object):
    """Asks a SOCKS proxy to connect to the target, whose name the proxy looks up.

    Attributes: ``output``, bytes to send next; ``rest``, the bytes received
    after the answer by which the proxy agrees, None until it has.
    """

    #: A refusal is raised with its last byte: there is never more of it to wait for.
    is_refused = False

    def __init__(self, target, proxy):
        # type: (Target, ProxyTarget) -> None
        self._target = target
        self._proxy = proxy
        self._received = b''
        self._written = 0
        self.output = b''  # type: bytes
        self.rest = None  # type: Optional[bytes]
        self.receive(b'')

    def receive(self, data):
        # type: (bytes) -> None
        """Read bytes from the proxy; raises ConnectFail if they are a refusal, or no SOCKS."""
        self._received += data
        stream = _Stream(self._received)
        try:
            self._run(stream)
        except _MoreNeeded:
            pass
        except Exception as error:
            # Not only the package's own errors: some replies make it fail in other ways.
            raise ConnectFail.during(
                'proxy', u'SOCKS failed: {}'.format(describe(error) or type(error).__name__), error)
        else:
            self.rest = stream.unread
        self.output += stream.written[self._written:]
        self._written = len(stream.written)

    def end(self):
        # type: () -> None
        """Do nothing: the bytes received so far are no answer."""

    def _run(self, stream):
        # type: (_Stream) -> None
        from python_socks import ProxyType
        from python_socks.sync.v2 import Proxy
        proxy = self._proxy
        user, password = proxy.credentials or (None, None)
        kind = ProxyType.SOCKS4 if proxy.scheme.startswith(u'socks4') else ProxyType.SOCKS5
        # An IPv6 zone means something on this machine only (RFC 6874 4).
        Proxy(kind, proxy.host, proxy.port, user, password, rdns=True, forward=stream).connect(
            self._target.host.partition(u'%')[0], self._target.port)


class _MoreNeeded(WebSocketError):
    """All received bytes have been read."""


class _Stream(object):
    """What python-socks uses as its connection to the proxy, made by another proxy in front."""

    def __init__(self, received):
        # type: (bytes) -> None
        self.unread = received
        self.written = b''

    def connect(self, **_where):
        # type: (**Any) -> _Stream
        return self

    def write(self, data):
        # type: (bytes) -> None
        self.written += data

    def read_exactly(self, count):
        # type: (int) -> bytearray
        if len(self.unread) < count:
            raise _MoreNeeded
        data, self.unread = self.unread[:count], self.unread[count:]
        return bytearray(data)

    # Their names up to version 2.
    write_all = write
    read_exact = read_exactly

    def close(self):
        # type: () -> None
        """Do nothing: the tunnel's caller closes the connection."""
