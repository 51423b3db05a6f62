"""WebSocket URLs (RFC 6455 3) to what it takes to connect and to ask.

Knows no sockets. Proxy URLs are taken apart here too.
"""

from __future__ import absolute_import, division, print_function

import base64
import re
from collections import namedtuple

from lomond._compat import TYPE_CHECKING, native_to_text, quote, text_type, unquote, urlsplit

if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Tuple, Union  # noqa: F401

_DEFAULT_PORTS = {u'ws': 80, u'wss': 443, u'ws+unix': 80, u'wss+unix': 443}
_SECURE = (u'wss', u'wss+unix')
_PROXY_PORTS = {
    u'http': 80, u'https': 443, u'socks4': 1080, u'socks4a': 1080, u'socks5': 1080,
    u'socks5h': 1080,
}

# What stands for itself in a path and query (RFC 3986 3.3, 3.4); '%' too, as
# what is encoded already stays so.
_SAFE = "%/:?@!$&'()*+,;=-._~[]"

# The same for the path of a Unix socket: its end is the first ':'.
_SAFE_IN_FILE = "/@!$&'()*+,;=-._~"

_NOT_ALLOWED = re.compile(u'[\\x00-\\x1f\\x7f]')

# What follows '@' in the authority (RFC 3986 3.2.2, RFC 6874): address, zone,
# name, port. urlsplit lets much more pass, and not the same on every Python.
_HOST_AND_PORT = re.compile(
    u'(?:\\[([0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)(?:%(?:25)?([A-Za-z0-9_.~-]+))?\\]|([^\\[\\]:]*))'
    u'(?::([0-9]{0,5}))?\\Z')


class Target(namedtuple(
        'Target', ['scheme', 'host', 'port', 'resource', 'credentials', 'unix_path'])):
    """Where a WebSocket URL leads.

    ``scheme`` 'ws', 'wss', 'ws+unix' or 'wss+unix'; ``host``, a name in ASCII
    or an address without brackets; ``port``; ``resource``, the path and query
    as the request line has them; ``credentials``, (user, password) or None;
    ``unix_path``, where the Unix socket is, or None. On one of these the host
    is 'localhost', and the port the default one.
    """

    __slots__ = ()

    def __new__(cls, scheme, host, port, resource, credentials, unix_path=None):
        # type: (text_type, text_type, int, text_type, Any, Optional[text_type]) -> Target
        return super(Target, cls).__new__(
            cls, scheme, host, port, resource, credentials, unix_path)

    @property
    def is_secure(self):
        # type: () -> bool
        return self.scheme in _SECURE

    @property
    def url(self):
        # type: () -> text_type
        """The URL without credentials, fit to be shown."""
        if self.unix_path is not None:
            path = text_type(quote(self.unix_path.encode('utf-8'), _SAFE_IN_FILE))
            return u'{}://{}:{}'.format(self.scheme, path, self.resource)
        return u'{}://{}{}'.format(self.scheme, self.host_header, self.resource)

    @property
    def host_header(self):
        # type: () -> text_type
        """The value of Host: the default port isn't named (RFC 6455 4.1)."""
        # An IPv6 zone means something on this machine only (RFC 6874 4).
        host = bracket(self.host.partition(u'%')[0])
        if self.port == _DEFAULT_PORTS[self.scheme]:
            return host
        return u'{}:{}'.format(host, self.port)


class ProxyTarget(namedtuple('ProxyTarget', ['scheme', 'host', 'port', 'credentials'])):
    """Where a proxy URL leads; fields as in `Target`.

    ``scheme`` is one of 'http', 'https', 'socks4', 'socks4a', 'socks5' and
    'socks5h'.
    """

    __slots__ = ()

    @property
    def is_secure(self):
        # type: () -> bool
        """Whether the way to the proxy itself is TLS."""
        return bool(self.scheme == u'https')

    @property
    def is_socks(self):
        # type: () -> bool
        return bool(self.scheme.startswith(u'socks'))

    @property
    def url(self):
        # type: () -> text_type
        """The URL without credentials, fit to be shown."""
        return u'{}://{}:{}'.format(self.scheme, bracket(self.host), self.port)


def parse_url(url):
    # type: (Union[bytes, text_type]) -> Target
    """Parse a ws, wss, ws+unix or wss+unix URL; raises TypeError or ValueError.

    The latter two are ``ws+unix:///path/to/socket:/resource?query``, the
    socket's path and the resource being percent-encoded.
    """
    text = _to_text(url)
    parts = _split(text)
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError(
            'a WebSocket URL begins with ws:// or wss:// (or ws+unix:// or wss+unix://), '
            'not {!r}'.format(_shown(text)[:80]))
    if u'#' in text:
        # RFC 6455 3: no fragment; a '#' that is data is written %23.
        raise ValueError(
            'a WebSocket URL has no fragment: write # as %23 in {!r}'.format(_shown(text)))
    path, unix_path = parts.path, None
    if parts.scheme.endswith(u'+unix'):
        host, port = u'localhost', None
        unix_path, path = _unix_path_and_rest(parts, text)
    else:
        host, port = _host_and_port(parts, text)
    resource = _quote(path or u'/')
    if parts.query:
        resource += u'?' + _quote(parts.query)
    return Target(
        scheme=text_type(parts.scheme),
        host=host,
        port=port or _DEFAULT_PORTS[parts.scheme],
        resource=resource,
        credentials=_credentials(parts),
        unix_path=unix_path,
    )


def parse_proxy_url(url):
    # type: (Union[bytes, text_type]) -> ProxyTarget
    """Parse a proxy's URL; without a scheme it is an http one. Raises ValueError."""
    text = _to_text(url)
    if u'://' not in text:
        text = u'http://' + text
    parts = _split(text)
    if parts.scheme not in _PROXY_PORTS:
        raise ValueError(
            'a proxy URL begins with http://, https://, socks4a:// or socks5://, not {}://'.format(
                parts.scheme))
    host, port = _host_and_port(parts, text)
    return ProxyTarget(
        scheme=text_type(parts.scheme),
        host=host,
        port=port or _PROXY_PORTS[parts.scheme],
        credentials=_credentials(parts),
    )


def bracket(host):
    # type: (text_type) -> text_type
    """Put an IPv6 address in brackets; leave any other host as it is."""
    return u'[{}]'.format(host) if u':' in host else host


def basic_authorization(credentials):
    # type: (Tuple[text_type, text_type]) -> text_type
    """Return the value of an Authorization header (RFC 7617)."""
    data = u':'.join(credentials).encode('utf-8')
    return u'Basic ' + base64.b64encode(data).decode('ascii')


def _to_text(url):
    # type: (Union[bytes, text_type]) -> text_type
    url = native_to_text(url)
    if not isinstance(url, text_type):
        raise TypeError('the URL must be text, not {!r}'.format(type(url).__name__))
    # urlsplit drops some of these in silence: a header could be hidden there.
    if _NOT_ALLOWED.search(url):
        raise ValueError('control characters in the URL {!r}'.format(_shown(url)))
    return url.strip()


def _shown(text):
    # type: (text_type) -> text_type
    """Return a URL without credentials, for a message that may end in a log."""
    return re.sub(u'(?s)[^/]*@', u'', text)


def _split(text):
    # type: (text_type) -> Any
    try:
        return urlsplit(text)
    except ValueError:      # its words have the credentials in them
        raise ValueError('not a URL: {!r}'.format(_shown(text)))


def _host_and_port(parts, text):
    # type: (Any, text_type) -> Tuple[text_type, Optional[int]]
    """Return the host in ASCII, and the port or None."""
    match = _HOST_AND_PORT.match(parts.netloc.rpartition(u'@')[2])
    if match is None:
        raise ValueError('not a host and port in the URL {!r}'.format(_shown(text)))
    address, zone, name, digits = match.groups()
    port = int(digits) if digits else None
    if port is not None and not 1 <= port <= 65535:
        raise ValueError('the port must be from 1 to 65535 in {!r}'.format(_shown(text)))
    if address:
        return address.lower() + (u'%' + zone if zone else u''), port
    if not name:
        raise ValueError('there is no host in the URL {!r}'.format(_shown(text)))
    return to_ascii(name.lower()), port


def _unix_path_and_rest(parts, text):
    # type: (Any, text_type) -> Tuple[text_type, text_type]
    """Return the path of the Unix socket, decoded, and that of the resource."""
    path, colon, rest = parts.path.partition(u':')
    # Relative to what, in a daemon? And a name after // would be a host.
    if parts.netloc.rpartition(u'@')[2] or not path.startswith(u'/') or path == u'/':
        raise ValueError(
            'the URL of a Unix socket is ws+unix:///path/to/socket:/resource, not {!r}'.format(
                _shown(text)))
    if parts.query and not colon:
        raise ValueError(
            'a query comes after the resource, as in ws+unix:///path/to/socket:/resource?query; '
            'a ? in the path of the socket is written %3F in {!r}'.format(_shown(text)))
    if rest and not rest.startswith(u'/'):
        raise ValueError('after the : comes a /, or the : is written %3A, in {!r}'.format(
            _shown(text)))
    path = unquote(path)
    if u'\0' in path:
        raise ValueError('there is no NUL in a path; to a socket with an abstract name connect '
                         'yourself, and give it as sock')
    return path, rest


def to_ascii(host):
    # type: (text_type) -> text_type
    """Return a host's name as DNS has it (IDNA); raises ValueError."""
    try:
        name = host.encode('idna')
    except UnicodeError as error:
        raise ValueError('not a host name: {!r} ({})'.format(host, error))
    ascii_name = name.decode('ascii')  # type: text_type
    # NFKC, a part of IDNA, may have made some of these.
    if re.search(u'[ "#/:<>?@\\\\^`{|}%]', ascii_name):
        raise ValueError('not a host name: {!r}'.format(host))
    return ascii_name


def _credentials(parts):
    # type: (Any) -> Optional[Tuple[text_type, text_type]]
    if parts.username is None:
        return None
    return unquote(parts.username), unquote(parts.password or u'')


def _quote(text):
    # type: (text_type) -> text_type
    return text_type(quote(text.encode('utf-8'), _SAFE))
