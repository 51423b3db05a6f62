"""Proxies: which one to use, and a tunnel through it (HTTP CONNECT).

The tunnel is made step by step: nothing here waits.
"""

from __future__ import absolute_import, division, print_function

import os
import socket
from binascii import hexlify

from lomond._compat import TYPE_CHECKING, monotonic, native_to_text
from lomond.constants import USER_AGENT
from lomond.errors import ConnectFail, HandshakeError
from lomond.headers import END_OF_HEAD
from lomond.net.selectors import READ, WRITE
from lomond.net.transport import describe, would_block
from lomond.net.url import basic_authorization, bracket, parse_proxy_url, to_ascii
from lomond.net.wait import Wait
from lomond.response import Response

if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, Mapping, Optional, Text  # noqa: F401

    from lomond.net.transport import Transport  # noqa: F401
    from lomond.net.url import ProxyTarget, Target  # noqa: F401

#: The most that a proxy's answer may take, in bytes.
MAX_HEAD = 64 * 1024


def parse_proxies(proxies):
    # type: (Optional[Mapping[str, Optional[str]]]) -> Optional[Dict[str, Optional[ProxyTarget]]]
    """Parse the user's ``proxies``: keys 'http' (for ws) and 'https' (for wss).

    What `urllib.request.getproxies` has besides ('no', 'ftp') is passed over.
    """
    if proxies is None:
        return None
    if not hasattr(proxies, 'get'):
        raise TypeError('proxies must be a dict, not {!r}'.format(proxies))
    return {
        kind: parse_proxy_url(proxies[kind])    # type: ignore[arg-type]
        for kind in ('http', 'https') if proxies.get(kind)
    }


def find_proxy(target, proxies, environ=None):
    # type: (Target, Optional[Mapping[str, Optional[ProxyTarget]]], Optional[Mapping[str, str]]) -> Optional[ProxyTarget]
    """Return the proxy to reach the target through, or None.

    ``proxies`` is what `parse_proxies` made; only None asks the environment:
    HTTP_PROXY for ws, HTTPS_PROXY for wss, NO_PROXY for exceptions, each in
    lower case first. Raises ValueError for a proxy URL that makes no sense.
    """
    kind = 'https' if target.is_secure else 'http'
    if proxies is not None:
        return proxies.get(kind)
    if environ is None:
        environ = os.environ
    url = environ.get(kind + '_proxy')
    if url is None and not (kind == 'http' and 'REQUEST_METHOD' in environ):
        # In a CGI script HTTP_PROXY is the client's Proxy header ("httpoxy").
        url = environ.get(kind.upper() + '_PROXY')
    if not url:
        return None
    exceptions = environ.get('no_proxy')
    if exceptions is None:
        exceptions = environ.get('NO_PROXY', '')
    if is_exempt(target.host, target.port, exceptions):
        return None
    return parse_proxy_url(url)


def is_exempt(host, port, exceptions):
    # type: (Text, int, str) -> bool
    """Tell if NO_PROXY names the host.

    Its items, between commas, are ``*``, a domain (it stands for the hosts in
    it too, with a leading dot or without), an address or a network such as
    ``10.0.0.0/8``; a domain or address may end in ``:port``.
    """
    for item in exceptions.split(','):
        try:
            if _names(native_to_text(item).strip().lower(), host, port):
                return True
        except ValueError:
            continue        # no host is named so
    return False


def _names(item, host, port):
    # type: (Text, Text, int) -> bool
    """Tell if one item of NO_PROXY names the host; may raise ValueError."""
    if item == u'*':
        return True
    name, wanted_port = _split_port(item)
    if wanted_port is not None and wanted_port != port:
        return False
    if _is_in_network(host, name):
        return True
    name = to_ascii(name.lstrip(u'*.'))
    return bool(name) and (host == name or host.endswith(u'.' + name))


def _split_port(item):
    # type: (Text) -> tuple[Text, Optional[int]]
    """Split 'host:port' or '[v6]:port'; the port is None if there is none."""
    if item.startswith('['):
        name, _bracket, rest = item[1:].partition(']')
        return name, int(rest[1:]) if rest[1:].isdigit() else None
    name, _colon, port = item.rpartition(':')
    if name and ':' not in name and port.isdigit():
        return name, int(port)
    return item, None


def _is_in_network(host, network):
    # type: (Text, Text) -> bool
    """Tell if the host is an address of the network, or the very address."""
    base, slash, prefix = network.partition(u'/')
    family, width = (socket.AF_INET6, 128) if u':' in host else (socket.AF_INET, 32)
    try:
        host_bits = int(hexlify(socket.inet_pton(family, str(host))), 16)
        base_bits = int(hexlify(socket.inet_pton(family, str(base))), 16)
    except (socket.error, UnicodeError):
        return False
    shift = width - int(prefix) if slash else 0
    return 0 <= shift <= width and host_bits >> shift == base_bits >> shift


def open_tunnel(transport, target, proxy, deadline):
    # type: (Transport, Target, ProxyTarget, float) -> Iterator[Wait]
    """Ask a proxy, on a transport to it, to reach the target.

    Yields each `Wait`; the tunnel is there when it ends. Raises ConnectFail.
    """
    if proxy.scheme != u'http':
        raise ConnectFail.during('proxy', 'TLS to the proxy itself is not supported')
    sock = transport._sock
    data = connect_request(target, proxy)
    try:
        while data:
            try:
                data = data[sock.send(data):]
            except socket.error as error:
                if not would_block(error):
                    raise
                yield Wait(((sock.fileno(), WRITE),), deadline)
                _check_deadline(deadline)

        head = b''
        while not head.endswith(END_OF_HEAD):
            try:
                head += _receive_head_part(sock, head)
            except socket.error as error:
                if not would_block(error):
                    raise
                yield Wait(((sock.fileno(), READ),), deadline)
            if len(head) > MAX_HEAD:
                raise ConnectFail.during('proxy', 'the answer of the proxy is too long')
            _check_deadline(deadline)
    except socket.error as error:
        raise ConnectFail.during('proxy', u'the proxy failed: {}'.format(describe(error)), error)
    _check_answer(head)


def connect_request(target, proxy):
    # type: (Target, ProxyTarget) -> bytes
    """Build the CONNECT request (RFC 7231 4.3.6)."""
    authority = u'{}:{}'.format(bracket(target.host), target.port)
    lines = [
        u'CONNECT {} HTTP/1.1'.format(authority),
        u'Host: {}'.format(authority),
        u'User-Agent: {}'.format(USER_AGENT),
    ]
    if proxy.credentials is not None:
        lines.append(u'Proxy-Authorization: ' + basic_authorization(proxy.credentials))
    return u'\r\n'.join(lines + [u'', u'']).encode('ascii')


def _receive_head_part(sock, head):
    # type: (Any, bytes) -> bytes
    """Receive up to the end of the head, and not a byte of what follows it."""
    seen = sock.recv(4096, socket.MSG_PEEK)  # type: bytes
    if not seen:
        raise ConnectFail.during('proxy', 'the proxy closed the connection')
    # The end may have begun in what was received before.
    kept = head[-(len(END_OF_HEAD) - 1):]
    end = (kept + seen).find(END_OF_HEAD)
    if end >= 0:
        seen = seen[:end + len(END_OF_HEAD) - len(kept)]
    return sock.recv(len(seen))  # type: ignore[no-any-return]


def _check_answer(head):
    # type: (bytes) -> None
    try:
        response = Response(head)
    except HandshakeError as error:
        raise ConnectFail.during('proxy', 'the proxy does not speak HTTP', error)
    if 200 <= response.status_code < 300:
        return
    if response.status_code == 407:
        raise ConnectFail.during('proxy', 'the proxy wants other credentials (407)')
    raise ConnectFail.during(
        'proxy', u'the proxy answered {} {}'.format(response.status_code, response.status))


def _check_deadline(deadline):
    # type: (float) -> None
    if monotonic() >= deadline:
        raise ConnectFail.during('proxy', 'the proxy did not answer in time')
