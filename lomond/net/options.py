"""How a client wants to reach its server: proxies, addresses, the socket, TLS.

Checked when they are made, used by `dial` and the rooms under it. Opens
nothing, and imports no ssl: ws connections go without.
"""

from __future__ import absolute_import, division, print_function

import os
import re

from lomond._compat import TYPE_CHECKING, native_to_text, text_type
from lomond.checks import check_callable, check_seconds, check_ssl_context
from lomond.net.proxy import parse_proxies

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Tuple, Union  # noqa: F401

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
        #: (host, port) to bind to, or None.
        self.source_address = _check_source_address(source_address)
        self.tcp_keepalive = check_seconds('tcp_keepalive', tcp_keepalive)
        #: Triples for `socket.setsockopt`.
        self.socket_options = _check_socket_options(socket_options)
        if sock is not None and not callable(sock) and not hasattr(sock, 'fileno'):
            raise TypeError('sock must be a connected socket, or a function that makes one, '
                            'not {!r}'.format(sock))
        self.sock = sock
        self.resolver = check_callable('resolver', resolver)
        self.tls = TLSOptions() if tls is None else tls

    def take_sock(self):
        # type: () -> Any
        """Return the socket to use instead of dialling: a ready-made one serves once.

        Raises ValueError if it was used up.
        """
        if callable(self.sock):
            return self.sock()
        sock, self.sock = self.sock, _used_up
        return sock


def _used_up():
    # type: () -> Any
    raise ValueError('the socket given as sock has had its connection: '
                     'give a function that makes one')


class TLSOptions(object):
    """How to make TLS, and what to ask of the server's certificate.

    Parameters as of `lomond.websocket.WebSocket`, without the ``ssl_``.
    Raises TypeError and ValueError.
    """

    def __init__(self, verify=True, cafile=None, context=None, certfile=None, keyfile=None,
                 server_hostname=None, fingerprint=None):
        # type: (bool, Optional[str], Any, Optional[str], Optional[str], Optional[str], Union[None, str, Iterable[str]]) -> None
        self.verify = verify
        self.cafile = _check_file('ssl_cafile', cafile)
        self.certfile = _check_file('ssl_certfile', certfile)
        self.keyfile = _check_file('ssl_keyfile', keyfile)
        if keyfile is not None and certfile is None:
            raise ValueError('ssl_keyfile needs ssl_certfile')
        self.server_hostname = server_hostname
        #: SHA-256 digests in hexadecimal, one of which the certificate must have.
        self.fingerprints = _parse_fingerprints(fingerprint)
        self._context = check_ssl_context(context)
        if context is not None and certfile is not None:
            raise ValueError('give the certificate to the ssl_context: it is used as it is')

    def context(self):
        # type: () -> Any
        """Return the `ssl.SSLContext`: the caller's, or one of our own, made once."""
        if self._context is None:
            from lomond.net import tls  # ssl takes long to import
            self._context = tls.client_context(self.cafile, self.verify)
        return self._context


def _check_file(name, path):
    # type: (str, Optional[str]) -> Optional[str]
    if path is not None and not os.path.isfile(path):
        raise ValueError('there is no file {!r}, as {} says'.format(path, name))
    return path


def _check_source_address(address):
    # type: (Any) -> Optional[Tuple[str, int]]
    """Return (host, port) of a host, or a pair of both."""
    if address is None:
        return None
    if isinstance(address, (bytes, text_type)):
        address = (address, 0)
    if not isinstance(address, tuple) or len(address) != 2 \
            or not isinstance(address[0], (bytes, text_type)) or not isinstance(address[1], int):
        raise TypeError('source_address must be an address, or a pair of one and a port, '
                        'not {!r}'.format(address))
    return str(native_to_text(address[0])), address[1]


def _check_socket_options(options):
    # type: (Iterable[Tuple[int, int, Any]]) -> List[Tuple[int, int, Any]]
    checked = [tuple(option) for option in options]
    for option in checked:
        if len(option) != 3:
            raise ValueError('a socket option is (level, name, value), not {!r}'.format(option))
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
