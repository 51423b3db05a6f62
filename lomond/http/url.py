"""Parses WebSocket URLs (RFC 6455 3), proxy URLs and origins. It does no I/O."""

from __future__ import absolute_import, division, print_function

import base64
import re

from lomond._compat import (
    TYPE_CHECKING,
    NamedTuple,
    encode_utf8,
    native_to_text,
    quote,
    text_type,
    unquote,
)
from lomond.http.redact import HIDDEN, hide_secrets

if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Tuple, Union  # noqa: F401

_DEFAULT_PORTS = {u'ws': 80, u'wss': 443, u'ws+unix': 80, u'wss+unix': 443}
_SECURE = (u'wss', u'wss+unix')
_PROXY_PORTS = {
    u'http': 80, u'https': 443, u'socks': 1080, u'socks4': 1080, u'socks4a': 1080,
    u'socks5': 1080, u'socks5h': 1080,
}
_ORIGIN_PORTS = {u'http': 80, u'https': 443}

# Characters that need no encoding in a path and query (RFC 3986 3.3, 3.4); '%' is one of them, so
# that encoded characters aren't encoded twice.
_SAFE = "%/:?@!$&'()*+,;=-._~[]"

# The same for the path of a Unix socket, which the first ':' ends.
_SAFE_IN_FILE = "/@!$&'()*+,;=-._~"

# RFC 1035 2.3.4: 255 octets in DNS, the length of each label and the final dot included.
_LONGEST_NAME = 253

_NOT_ALLOWED = re.compile(u'[\\x00-\\x1f\\x7f]')

# Scheme, authority, path, query, fragment (RFC 3986 B). Not urlsplit, which differs between
# Pythons, and shows the password in its errors.
_URL = re.compile(
    u'(?s)(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(?:\\?([^#]*))?(?:#(.*))?\\Z')
_PROXY_URL = re.compile(u'(?s)(?:([A-Za-z][A-Za-z0-9+.-]*)://)?(.*)\\Z')

# The part of the authority after '@' (RFC 3986 3.2.2, RFC 6874): address, zone, name, port.
_HOST_AND_PORT = re.compile(
    u'(?:\\[([0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)(?:%(?:25)?([A-Za-z0-9_.~-]+))?\\]|([^\\[\\]:]*))'
    u'(?::([0-9]{0,5}))?\\Z')

# For an '@' behind a '/', '?' or '#', which end the authority (RFC 3986 3.2).
_ADVICE = ' (in a user or a password encode / as %2F, ? as %3F and # as %23)'


class Target(NamedTuple('Target', [
        ('scheme', text_type), ('host', text_type), ('port', int), ('resource', text_type),
        ('credentials', 'Optional[Tuple[text_type, text_type]]'),
        ('unix_path', 'Optional[text_type]')])):
    """A parsed WebSocket URL.

    ``scheme``: 'ws', 'wss', 'ws+unix' or 'wss+unix'; ``host``: a name in ASCII or an address
    without brackets; ``port``; ``resource``: the path and query as in the request line;
    ``credentials``: (user, password) or None; ``unix_path``: the path of the Unix socket, or None.
    With a Unix socket the host is 'localhost', and the port the default one.
    """

    __slots__ = ()

    def __new__(cls, scheme, host, port, resource, credentials, unix_path=None):
        # type: (text_type, text_type, int, text_type, Optional[Tuple[text_type, text_type]], Optional[text_type]) -> Target
        return super(Target, cls).__new__(
            cls, scheme, host, port, resource, credentials, unix_path)

    def __repr__(self):
        # type: () -> str
        return super(Target, _without_secret(self)).__repr__()

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
        """The value of the Host header, without a default port (RFC 6455 4.1)."""
        # An IPv6 zone has a meaning on this machine only (RFC 6874 4).
        host = bracket(self.host.partition(u'%')[0])
        if self.port == _DEFAULT_PORTS[self.scheme]:
            return host
        return u'{}:{}'.format(host, self.port)


class ProxyTarget(NamedTuple('ProxyTarget', [
        ('scheme', text_type), ('host', text_type), ('port', int),
        ('credentials', 'Optional[Tuple[text_type, text_type]]')])):
    """A parsed proxy URL; the fields are those of `Target`.

    ``scheme`` is one of 'http', 'https', 'socks4', 'socks4a', 'socks5',
    'socks5h' and 'socks', which is SOCKS5.
    """

    __slots__ = ()

    def __repr__(self):
        # type: () -> str
        return super(ProxyTarget, _without_secret(self)).__repr__()

    @property
    def is_secure(self):
        # type: () -> bool
        """True if the connection to the proxy itself uses TLS."""
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


def parse_url(url, drops_fragment=False):
    # type: (Union[bytes, text_type], bool) -> Target
    """Parse a ws, wss, ws+unix or wss+unix URL; raises TypeError or ValueError.

    A Unix socket is ``ws+unix:///path/to/socket:/resource?query``, with the path of the socket and
    the resource percent-encoded. A fragment is dropped if ``drops_fragment``, else refused. Errors
    don't show the credentials.
    """
    text = _to_text(url)
    shown = hide_secrets(text)
    scheme, authority, path, query, fragment = _URL.match(text).groups()  # type: ignore[union-attr]
    scheme = (scheme or u'').lower()
    if scheme not in _DEFAULT_PORTS:
        raise ValueError(
            'a WebSocket URL must start with ws:// or wss:// (or ws+unix:// or wss+unix://), '
            'not {!r}'.format(shown[:80]))
    if fragment is not None and not drops_fragment:
        # RFC 6455 3: no fragment; a '#' in the path or query must be encoded as %23.
        raise ValueError(
            'a WebSocket URL must not have a fragment: encode # as %23 in {!r}'.format(shown))
    userinfo, mark, place = (authority or u'').rpartition(u'@')
    unix_path = None
    if scheme.endswith(u'+unix'):
        host, port = u'localhost', None
        unix_path, path = _unix_path_and_rest(place, path, query, shown)
    else:
        is_cut_off = text.count(u'@') > (authority or u'').count(u'@')
        host, port = _host_and_port(place, shown, _ADVICE if is_cut_off else '')
    resource = _quote(path or u'/')
    if query:
        resource += u'?' + _quote(query)
    return Target(
        scheme=scheme,
        host=host,
        port=port or _DEFAULT_PORTS[scheme],
        resource=resource,
        credentials=_basic_credentials(userinfo, shown) if mark else None,
        unix_path=unix_path,
    )


def parse_proxy_url(url):
    # type: (Union[bytes, text_type]) -> ProxyTarget
    """Parse a proxy's URL; without a scheme it is an http one. Raises TypeError, ValueError.

    The credentials end at the last ``@``, as in urllib, so a password may contain ``/``, ``?``,
    ``#`` and ``@``. Errors don't show them.
    """
    text = _to_text(url)
    shown = hide_secrets(text)
    scheme, rest = _PROXY_URL.match(text).groups()      # type: ignore[union-attr]
    scheme = (scheme or u'http').lower()
    if scheme not in _PROXY_PORTS:
        raise ValueError(
            'a proxy URL must start with http://, https://, socks4a:// or socks5://, '
            'not {}://'.format(scheme))
    userinfo, mark, rest = rest.rpartition(u'@')
    host, port = _host_and_port(re.split(u'[/?#]', rest, maxsplit=1)[0], shown)
    read_credentials = _credentials if scheme.startswith(u'socks') else _basic_credentials
    return ProxyTarget(
        scheme=scheme,
        host=host,
        port=port or _PROXY_PORTS[scheme],
        credentials=read_credentials(userinfo, shown) if mark else None,
    )


def parse_origin(origin):
    # type: (Union[bytes, text_type]) -> text_type
    """Return an origin in lower case as in RFC 6454 6.2: the host in ASCII, no default port.

    Raises TypeError, ValueError.
    """
    text = _to_text(origin, 'an origin')
    shown = hide_secrets(text)
    scheme, place, path, query, fragment = _URL.match(text).groups()    # type: ignore[union-attr]
    scheme = (scheme or u'').lower()
    if not scheme or scheme in _DEFAULT_PORTS or not place or u'*' in place \
            or (path, query, fragment) != (u'', None, None):
        raise ValueError(
            "an origin must be that of a web page, such as 'https://example.org' or "
            "'http://localhost:8080', without a path, a '/' at the end or a '*' (for other rules "
            'use a function), not {!r}'.format(shown))
    host, port = _host_and_port(place, shown)
    if port is None or port == _ORIGIN_PORTS.get(scheme):
        return u'{}://{}'.format(scheme, bracket(host))
    return u'{}://{}:{}'.format(scheme, bracket(host), port)


def bracket(host):
    # type: (text_type) -> text_type
    """Put an IPv6 address in brackets; leave any other host as it is."""
    return u'[{}]'.format(host) if u':' in host else host


def basic_authorization(credentials):
    # type: (Tuple[text_type, text_type]) -> text_type
    """Return the value of an Authorization header (RFC 7617)."""
    data = u':'.join(credentials).encode('utf-8')
    return u'Basic ' + base64.b64encode(data).decode('ascii')


# These helpers return None instead of raising: an exception that is raised while another one is
# handled shows that one as its context, and with it the URL and its password.

def _to_text(url, what='the URL'):
    # type: (Union[bytes, text_type], str) -> text_type
    if not isinstance(url, (str, text_type)):
        raise TypeError('{} must be text, not {!r}'.format(what, type(url).__name__))
    text = _decode(url)
    if text is None:
        raise ValueError(
            '{} is not UTF-8: percent-encode all bytes that are not ASCII'.format(what))
    # They could inject a header.
    if _NOT_ALLOWED.search(text):
        raise ValueError('control characters in {} {!r}'.format(what, hide_secrets(text)))
    return text.strip()


def _decode(url):
    # type: (Union[str, text_type]) -> Optional[text_type]
    """Return a URL as text; None if that isn't UTF-8."""
    try:
        text = native_to_text(url)  # type: text_type
        encode_utf8(text)       # fails at a lone surrogate: an undecodable byte of the environment
    except ValueError:
        return None
    return text


def _unquote(text):
    # type: (text_type) -> Optional[text_type]
    """Return percent-encoded text decoded; None if that isn't UTF-8."""
    try:
        return unquote(text)
    except ValueError:
        return None


def _host_and_port(place, shown, advice=''):
    # type: (text_type, text_type, str) -> Tuple[text_type, Optional[int]]
    """Return the host in ASCII, and the port or None."""
    match = _HOST_AND_PORT.match(place)
    if match is None:
        raise ValueError('invalid host or port in the URL {!r}{}'.format(shown, advice))
    address, zone, name, digits = match.groups()
    port = int(digits) if digits else None
    if port is not None and not 1 <= port <= 65535:
        raise ValueError('the port must be from 1 to 65535 in {!r}'.format(shown))
    if address:
        return address.lower() + (u'%' + zone if zone else u''), port
    if not name:
        raise ValueError('no host in the URL {!r}'.format(shown))
    ascii_name = _to_ascii(name.lower())
    if ascii_name is None:
        raise ValueError('invalid host name in the URL {!r}{}'.format(shown, advice))
    return ascii_name, port


def _unix_path_and_rest(place, resource, query, shown):
    # type: (text_type, text_type, Optional[text_type], text_type) -> Tuple[text_type, text_type]
    """Return the decoded path of the Unix socket, and the path of the resource."""
    path, colon, rest = resource.partition(u':')
    # Not a relative path, as a daemon changes its directory; a name after // would be a host.
    if place or not path.startswith(u'/') or path == u'/':
        raise ValueError(
            'a Unix socket URL must look like ws+unix:///path/to/socket:/resource, not {!r}'.format(
                shown))
    if query and not colon:
        raise ValueError(
            'a query must follow the resource, as in ws+unix:///path/to/socket:/resource?query '
            '(encode a ? in the path of the socket as %3F), in {!r}'.format(shown))
    if rest and not rest.startswith(u'/'):
        raise ValueError('the resource after the : must start with / (encode a : in the path of '
                         'the socket as %3A), in {!r}'.format(shown))
    decoded = _unquote(path)
    if decoded is None:
        raise ValueError('the path of the socket is not UTF-8 in {!r}'.format(shown))
    if u'\0' in decoded:
        raise ValueError('the path of a socket must not contain NUL: for an abstract Unix socket, '
                         'connect it yourself and pass it as sock')
    return decoded, rest


def to_ascii(host):
    # type: (text_type) -> text_type
    """Return a host name in ASCII, as DNS uses it (IDNA); raises ValueError."""
    name = _to_ascii(host)
    if name is None:
        raise ValueError('invalid host name: {!r}'.format(host))
    return name


def fold_host(host):
    # type: (text_type) -> text_type
    """Return a host name, or an address, as it is compared with others; raises ValueError.

    In ASCII and lower case, without the final dot that makes it absolute in DNS.
    """
    return (host if u':' in host else to_ascii(host)).lower().rstrip(u'.')


def _to_ascii(host):
    # type: (text_type) -> Optional[text_type]
    """Return a host name in ASCII, as DNS uses it (IDNA); None if it isn't a host name."""
    try:
        name = host.encode('idna').decode('ascii')  # type: text_type
    except UnicodeError:
        return None
    # NFKC, a step of IDNA, may have produced some of these.
    if re.search(u'[ "#/:<>?@\\\\^`{|}%]', name) or len(name.rstrip(u'.')) > _LONGEST_NAME:
        return None
    return name


def _credentials(userinfo, shown):
    # type: (text_type, text_type) -> Tuple[text_type, text_type]
    user, _colon, password = userinfo.partition(u':')
    user, password = _unquote(user), _unquote(password)     # type: ignore[assignment]
    if user is None or password is None:
        raise ValueError(
            'the percent-encoded user or password is not UTF-8 in the URL {!r}'.format(shown))
    return user, password


def _basic_credentials(userinfo, shown):
    # type: (text_type, text_type) -> Tuple[text_type, text_type]
    """Return the user and the password for `basic_authorization`."""
    user, password = _credentials(userinfo, shown)
    if u':' in user:    # the password would begin there
        raise ValueError(
            'a user must not contain a colon (RFC 7617 2): remove the %3A from the user in the '
            'URL {!r}'.format(shown))
    return user, password


def _without_secret(target):
    # type: (Any) -> Any
    """Return a target with its credentials replaced by `HIDDEN`."""
    return target if target.credentials is None else target._replace(credentials=HIDDEN)


def _quote(text):
    # type: (text_type) -> text_type
    return text_type(quote(text.encode('utf-8'), _SAFE))
