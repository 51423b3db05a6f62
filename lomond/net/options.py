"""How a client wants to reach its server: proxies, addresses, the socket, TLS.

Checked when they are made, used by `dial` and the rooms under it. Opens
nothing, and imports no ssl: ws connections go without.
"""

from __future__ import absolute_import, division, print_function

import copy
import math
import os
import re
import socket

from lomond._checks import (
    check_callable,
    check_port,
    check_seconds,
    check_ssl_context,
    check_ssl_verify,
    whole_number,
)
from lomond._compat import TYPE_CHECKING, native_to_text, text_type, to_bytes
from lomond.http.url import to_ascii
from lomond.net.address import read_address
from lomond.net.proxy.settings import parse_proxies

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Tuple, Union  # noqa: F401

# What TCP_KEEPIDLE takes, in seconds (Linux: MAX_TCP_KEEPIDLE).
_LONGEST_KEEPALIVE = 32767

_SHA256 = re.compile(u'[0-9a-f]{64}\\Z')


class NetOptions(object):
    """Everything that `dial` goes by beside the target.

    Parameters as of `lomond.websocket.WebSocket`, and ``tls``, `TLSOptions`.
    Raises TypeError and ValueError.
    """

    def __init__(self, proxies=None, source_address=None, tcp_keepalive=60.0, socket_options=(),
                 sock=None, resolver=None, tls=None):
        # type: (Optional[Mapping[str, Optional[str]]], Any, Optional[float], Iterable[Tuple[int, int, Any]], Any, Optional[Callable[..., Any]], Optional[TLSOptions]) -> None
        #: The proxies' URLs taken apart; None asks the environment.
        self.proxies = parse_proxies(proxies)
        #: (address, port) to bind to, or None; the address may be '', for any.
        self.source_address = _check_source_address(source_address)
        #: Whole seconds, or None.
        self.tcp_keepalive = _check_keepalive(tcp_keepalive)
        #: Triples for `socket.setsockopt`.
        self.socket_options = _check_socket_options(socket_options)
        if sock is not None and not callable(sock):
            check_sock(sock)
        self.sock = sock
        self.resolver = check_callable('resolver', resolver)
        #: Calls of `resolver` and `sock` that didn't return in time, as for `offload`.
        self.abandoned = []  # type: List[Any]
        self.tls = TLSOptions() if tls is None else tls

    def change(self, name, value):
        # type: (str, Any) -> None
        """Set one parameter; raises as the constructor does, and then nothing has changed."""
        setattr(self, name, getattr(NetOptions(**{name: value}), name))

    def take_sock(self):
        # type: () -> Any
        """Return the socket to use instead of dialling, or the function that makes one.

        A ready-made socket serves once; ValueError if it was used up.
        """
        sock = self.sock
        if sock is _USED_UP:
            raise ValueError('the socket given as sock has had its connection: '
                             'give a function that makes one')
        if not callable(sock):
            self.sock = _USED_UP
        return sock

    def for_strangers(self):
        # type: () -> NetOptions
        """Return how to reach a server that a redirect led away to: without our certificate."""
        for_strangers = copy.copy(self)
        for_strangers.tls = self.tls.without_certificate()
        return for_strangers


# Stands in the place of a socket that was taken.
_USED_UP = object()


def check_sock(sock):
    # type: (Any) -> Any
    """Return a socket; raises TypeError if it isn't one, or one with TLS already."""
    if not (hasattr(sock, 'getpeername') and hasattr(sock, 'setblocking')):
        raise TypeError('sock must be a connected socket, or a function that makes one, '
                        'not {!r}'.format(sock))
    if hasattr(sock, 'getpeercert'):
        raise TypeError('sock must be a plain socket: a wss URL makes TLS on it')
    return sock


class TLSOptions(object):
    """How to make TLS, and what to ask of the server's certificate.

    Parameters as of `lomond.websocket.WebSocket`, without the ``ssl_``.
    Raises TypeError and ValueError.
    """

    def __init__(self, verify=True, cafile=None, context=None, certfile=None, keyfile=None,
                 server_hostname=None, fingerprint=None):
        # type: (bool, Optional[str], Any, Optional[str], Optional[str], Optional[str], Union[None, str, Iterable[str]]) -> None
        self.verify = check_ssl_verify(verify)
        self.cafile = _check_file('ssl_cafile', cafile)
        self.certfile = _check_file('ssl_certfile', certfile)
        self.keyfile = _check_file('ssl_keyfile', keyfile)
        if keyfile is not None and certfile is None:
            raise ValueError('ssl_keyfile needs ssl_certfile')
        #: The name or address to ask for and to check instead of the host's, or None.
        self.server_hostname = _check_server_hostname(server_hostname)
        #: SHA-256 digests in hexadecimal, one of which the certificate must have.
        self.fingerprints = _parse_fingerprints(fingerprint)
        #: What may be resumed: `tls.secure` keeps here, for each server, what has its session.
        self.sessions = {}  # type: Dict[Any, Any]
        #: How often it was tried.
        self.resumptions = 0
        self._given_context = check_ssl_context(context)
        self._context = None  # type: Any       # the last one of our own, to keep it
        self._for_proxy = None  # type: Optional[TLSOptions]
        self._without_certificate = None  # type: Optional[TLSOptions]
        if context is not None and certfile is not None:
            raise ValueError('give the certificate to the ssl_context: it is used as it is')

    @property
    def has_context(self):
        # type: () -> bool
        """True if the context is the caller's."""
        return self._given_context is not None

    def context(self):
        # type: () -> Any
        """Return the `ssl.SSLContext`: the caller's, or one of our own.

        Options that are equal share one, until a file that it was made of
        changes. Raises one of `lomond.net.tls.handshake.TLS_ERRORS`.
        """
        if self._given_context is not None:
            return self._given_context
        from lomond.net.tls import contexts  # ssl takes long to import
        is_first = self._context is None
        self._context = contexts.shared_context(
            self.cafile, bool(self.verify), self.certfile, self.keyfile)
        if is_first and not (self.verify or self.fingerprints):
            contexts.warn_of_no_check()
        return self._context

    def for_proxy(self):
        # type: () -> TLSOptions
        """Return how to make TLS with a proxy: by the same trust, and no more than that.

        The name, the fingerprint and our certificate are for the server.
        """
        if self._for_proxy is None:
            self._for_proxy = TLSOptions(self.verify, self.cafile, self._given_context)
        return self._for_proxy

    def without_certificate(self):
        # type: () -> TLSOptions
        """Return the same without our own certificate, unless that is in a context given."""
        if self._without_certificate is None:
            self._without_certificate = TLSOptions(
                self.verify, self.cafile, self._given_context, None, None, self.server_hostname,
                self.fingerprints)
        return self._without_certificate


def _check_file(name, path):
    # type: (str, Optional[str]) -> Optional[str]
    if path is not None and not os.path.isfile(path):
        raise ValueError('there is no file {!r}, as {} says'.format(path, name))
    return path


def _check_server_hostname(name):
    # type: (Any) -> Optional[str]
    if name is None:
        return None
    if not isinstance(name, (bytes, text_type)):
        raise TypeError('ssl_server_hostname must be a name, not {!r}'.format(name))
    text = native_to_text(name)
    if not text or text.startswith(u'.'):
        raise ValueError('not a server name: {!r}'.format(name))
    return str(text if u':' in text else to_ascii(text.lower()))     # an IPv6 address has no IDNA


def _check_source_address(address):
    # type: (Any) -> Optional[Tuple[str, int]]
    """Return (address, port) of an address, or a pair of both."""
    if address is None:
        return None
    if isinstance(address, (bytes, text_type)):
        address = (address, 0)
    if not isinstance(address, tuple) or len(address) != 2 \
            or not isinstance(address[0], (bytes, text_type)):
        raise TypeError('source_address must be an address, or a pair of one and a port, '
                        'not {!r}'.format(address))
    port = check_port('the port of source_address', address[1])
    try:
        host = str(native_to_text(address[0]))
        # A zone may come up later. A name would have to be looked up, and that may take long.
        read_address(host.partition('%')[0] or '::', port)
    except (socket.error, UnicodeError):
        raise ValueError('source_address must have an IP address, not {!r}'.format(address[0]))
    return host, port


def _check_keepalive(seconds):
    # type: (Optional[float]) -> Optional[int]
    """Return whole seconds; None for None and 0."""
    if not check_seconds('tcp_keepalive', seconds):
        return None
    if seconds > _LONGEST_KEEPALIVE:    # type: ignore[operator]
        raise ValueError('tcp_keepalive must be at most {} seconds, or None for never, '
                         'not {!r}'.format(_LONGEST_KEEPALIVE, seconds))
    return int(math.ceil(seconds))      # type: ignore[arg-type]


def _check_socket_options(options):
    # type: (Iterable[Tuple[int, int, Any]]) -> List[Tuple[int, int, Any]]
    checked = []
    for option in options:
        if not isinstance(option, (tuple, list)):
            raise TypeError('a socket option is (level, name, value), not {!r}'.format(option))
        if len(option) != 3:
            raise ValueError('a socket option is (level, name, value), not {!r}'.format(option))
        level, name, value = option
        if isinstance(value, (bytes, bytearray, memoryview)):
            value = to_bytes(value)
        else:
            value = whole_number(int(value) if isinstance(value, bool) else value)
            if value is None:
                raise TypeError('the value of a socket option is a whole number or bytes, '
                                'in {!r}'.format(option))
        where = whole_number(level), whole_number(name)
        if where[0] is None or where[1] is None:
            raise TypeError('level and name of a socket option are whole numbers, '
                            'in {!r}'.format(option))
        checked.append((where[0], where[1], value))
    return checked


def _parse_fingerprints(fingerprint):
    # type: (Union[None, str, Iterable[str]]) -> List[text_type]
    """Return SHA-256 digests, lower case and without colons."""
    if fingerprint is None:
        return []
    if isinstance(fingerprint, (bytes, text_type)):
        fingerprint = [fingerprint]
    digests = []
    for text in fingerprint:
        digest = native_to_text(text).replace(u':', u'').lower()
        if not _SHA256.match(digest):
            raise ValueError('ssl_fingerprint takes the SHA-256 of a certificate, '
                             '64 hexadecimal digits, not {!r}'.format(text))
        digests.append(digest)
    return digests
