"""Options of how to reach a server: proxies, addresses, the socket, TLS.

They are values: checked when they are made, and never changed. State is in
`lomond.net.dial.Dialer`. Opens nothing, and doesn't import ssl, which ws connections don't need.
"""

from __future__ import absolute_import, division, print_function

import math
import os
import re
import socket
from functools import partial

from lomond._checks import (
    check_callable,
    check_logger,
    check_port,
    check_seconds,
    check_ssl_context,
    check_ssl_verify,
    whole_number,
)
from lomond._compat import TYPE_CHECKING, NamedTuple, native_to_text, text_type, to_bytes
from lomond.http.url import to_ascii
from lomond.net.address import read_address
from lomond.net.proxy.settings import parse_proxies

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, Optional, Tuple, TypeVar, Union  # noqa: F401

    Options = TypeVar('Options', 'NetOptions', 'TLSOptions')

# What TCP_KEEPIDLE takes, in seconds (Linux: MAX_TCP_KEEPIDLE).
_LONGEST_KEEPALIVE = 32767

_SHA256 = re.compile(u'[0-9a-f]{64}\\Z')


class TLSOptions(NamedTuple('TLSOptions', [
        ('verify', bool), ('cafile', 'Any'), ('context', 'Any'),
        ('certfile', 'Any'), ('keyfile', 'Any'),
        ('server_hostname', 'Optional[str]'), ('fingerprint', 'Tuple[text_type, ...]')])):
    """How to make TLS, and what to check in the server's certificate.

    Parameters, by name only, are the ``ssl_...`` ones of `lomond.websocket.WebSocket`, without that
    prefix; they are attributes, too. ``cafile``, ``certfile`` and ``keyfile`` are paths, as text or
    `os.PathLike`, or None; ``server_hostname`` is the name or address to ask for and to
    check instead of the host's, or None; ``fingerprint`` a tuple of SHA-256 digests in
    hexadecimal, one of which the certificate must have, unless it is empty.

    Raises TypeError and ValueError.
    """

    __slots__ = ()

    def __new__(cls, **given):
        # type: (**Any) -> TLSOptions
        return _DEFAULT_TLS.replace(**given)

    def replace(self, **given):
        # type: (**Any) -> TLSOptions
        """Return options with other values; raises as the constructor does."""
        made = _replace(self, _TLS_CHECKS, given)
        if made.keyfile is not None and made.certfile is None:
            raise ValueError('ssl_keyfile needs ssl_certfile')
        if made.context is not None and made.certfile is not None:
            raise ValueError('give the certificate to the ssl_context: it is used as it is')
        return made

    def for_proxy(self):
        # type: () -> TLSOptions
        """Return the options for TLS with a proxy: the same authorities, and nothing else.

        The name, the fingerprint and the client's certificate are for the server.
        """
        return _DEFAULT_TLS._replace(
            verify=self.verify, cafile=self.cafile, context=self.context)

    def without_certificate(self):
        # type: () -> TLSOptions
        """Return the same without the client's certificate; one in a context given stays."""
        return self._replace(certfile=None, keyfile=None)


class NetOptions(NamedTuple('NetOptions', [
        ('proxies', 'Optional[Dict[str, Any]]'), ('source_address', 'Optional[Tuple[str, int]]'),
        ('tcp_keepalive', 'Optional[int]'), ('socket_options', 'Tuple[Tuple[int, int, Any], ...]'),
        ('sock', 'Any'), ('resolver', 'Optional[Callable[..., Iterable[Any]]]'),
        ('tls', TLSOptions), ('logger', 'Any')])):
    """What a `lomond.net.dial.Dialer` needs besides the target.

    Parameters, by name only, are those of `lomond.websocket.WebSocket`, and ``tls``, `TLSOptions`;
    they are attributes, too. ``proxies`` is as `parse_proxies` returns it, None for the
    environment's; ``source_address``, None or a pair to bind to, whose address may be '', for any;
    ``tcp_keepalive``, whole seconds, or None; ``socket_options``, a tuple of triples for
    `socket.setsockopt`; ``logger``, where the faults of the user's functions are logged.

    Raises TypeError and ValueError.
    """

    __slots__ = ()

    def __new__(cls, **given):
        # type: (**Any) -> NetOptions
        return _DEFAULT.replace(**given)

    def replace(self, **given):
        # type: (**Any) -> NetOptions
        """Return options with other values; raises as the constructor does."""
        return _replace(self, _CHECKS, given)

    def for_other_origin(self):
        # type: () -> NetOptions
        """Return the options for a server of another origin, after a redirect: no certificate."""
        return self.replace(tls=self.tls.without_certificate())


def _replace(options, checks, given):
    # type: (Options, Dict[str, Callable[[Any], Any]], Dict[str, Any]) -> Options
    """Return options with other values, which are checked; the same ones if none differs."""
    unknown = set(given).difference(checks)
    if unknown:
        raise TypeError('there is no option {}'.format(', '.join(sorted(unknown))))
    others = {
        name: checks[name](given[name]) for name in options._fields
        if name in given and given[name] is not getattr(options, name)}
    made = options._replace(**others) if others else options
    return options if made == options else made


def check_sock(sock):
    # type: (Any) -> Any
    """Return a socket; raises TypeError if it isn't one, or one with TLS already."""
    if not (hasattr(sock, 'getpeername') and hasattr(sock, 'setblocking')):
        raise TypeError('sock must be a connected socket, or a function that makes one, '
                        'not {!r}'.format(sock))
    if hasattr(sock, 'getpeercert'):
        raise TypeError('sock must be a plain socket: a wss URL makes TLS on it')
    return sock


def _check_sock_or_function(sock):
    # type: (Any) -> Any
    return sock if sock is None or callable(sock) else check_sock(sock)


def _check_file(name, path):
    # type: (str, Any) -> Any
    if path is not None and not os.path.isfile(path):
        raise ValueError('{}: no such file: {!r}'.format(name, path))
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
    # type: (Iterable[Tuple[int, int, Any]]) -> Tuple[Tuple[int, int, Any], ...]
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
    return tuple(checked)


def _parse_fingerprints(fingerprint):
    # type: (Union[None, str, Iterable[str]]) -> Tuple[text_type, ...]
    """Return SHA-256 digests, lower case and without colons."""
    if fingerprint is None:
        return ()
    if isinstance(fingerprint, (bytes, text_type)):
        fingerprint = [fingerprint]
    digests = []
    for text in fingerprint:
        digest = native_to_text(text).replace(u':', u'').lower()
        if not _SHA256.match(digest):
            raise ValueError('ssl_fingerprint takes the SHA-256 of a certificate, '
                             '64 hexadecimal digits, not {!r}'.format(text))
        digests.append(digest)
    return tuple(digests)


_TLS_CHECKS = {
    'verify': check_ssl_verify,
    'cafile': partial(_check_file, 'ssl_cafile'),
    'context': check_ssl_context,
    'certfile': partial(_check_file, 'ssl_certfile'),
    'keyfile': partial(_check_file, 'ssl_keyfile'),
    'server_hostname': _check_server_hostname,
    'fingerprint': _parse_fingerprints,
}  # type: Dict[str, Callable[[Any], Any]]

_CHECKS = {
    'proxies': parse_proxies,
    'source_address': _check_source_address,
    'tcp_keepalive': _check_keepalive,
    'socket_options': _check_socket_options,
    'sock': _check_sock_or_function,
    'resolver': partial(check_callable, 'resolver'),
    'tls': lambda tls: tls,
    'logger': check_logger,
}  # type: Dict[str, Callable[[Any], Any]]

# Shared by all whose options are these.
_DEFAULT_TLS = TLSOptions._make([True, None, None, None, None, None, ()])
_DEFAULT = NetOptions._make([None, None, 60, (), None, None, _DEFAULT_TLS, check_logger(None)])
