"""Which proxy to use: by the option ``proxies``, or by the environment.

Connects to nothing, and looks up no names.
"""

from __future__ import absolute_import, division, print_function

import os
import re
import socket
from binascii import hexlify

from lomond._compat import TYPE_CHECKING, native_to_text, text_type
from lomond.http.redact import hide_credentials
from lomond.http.url import parse_proxy_url, to_ascii

if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Text, Tuple  # noqa: F401

    from lomond.http.url import ProxyTarget, Target  # noqa: F401

# For ws and for wss: the keys of `proxies` that apply, of which the first that is there decides.
# With _PROXY they are also the names of the environment's variables.
_KINDS = {False: ('ws', 'http', 'all'), True: ('wss', 'https', 'all')}

# Proxies of other protocols, which may be in the settings of the system.
_OTHER_KINDS = frozenset(['ftp', 'gopher', 'rsync'])

# Most programs separate the items of NO_PROXY by commas, and some by blanks.
_SEPARATORS = re.compile(r'[,\s]+')


def parse_proxies(proxies):
    # type: (Optional[Mapping[str, Any]]) -> Optional[Dict[str, Any]]
    """Parse the user's ``proxies``: keys 'ws', 'wss', 'http', 'https', 'all' and 'no'.

    The result has the same keys, with a `ProxyTarget` or None for each, and
    the text of 'no'. What `urllib.request.getproxies` returns for other
    protocols is left out. Raises TypeError, and ValueError for another key
    or a proxy that can't be used.
    """
    if proxies is None:
        return None
    if not hasattr(proxies, 'get'):
        raise TypeError("proxies must be a dict such as {{'all': 'http://host:port'}}, "
                        'not {}'.format(type(proxies).__name__))
    parsed = {}  # type: Dict[str, Any]
    others = []  # type: List[Any]
    # Then 'all' is never read, and may be of a kind that can't be used here.
    is_all_unused = all(
        any(kind in proxies for kind in kinds if kind != 'all') for kinds in _KINDS.values())
    for key in proxies:
        value = proxies[key]
        if not isinstance(key, (str, text_type)):
            raise ValueError('the keys of proxies must be text, not {}'.format(type(key).__name__))
        if key == 'no':
            parsed['no'] = _check_exceptions(value)
        elif key == 'all' and is_all_unused:
            continue
        elif key in _KINDS[False] + _KINDS[True]:
            parsed[str(key)] = _parse_proxy('proxies[{!r}]'.format(key), value) if value else None
        else:
            others.append(key)
    for key in others:
        _check_is_for_others(key, parsed)
    return parsed


def _check_exceptions(value):
    # type: (Any) -> str
    if value and not isinstance(value, (str, text_type)):
        raise TypeError("proxies['no'] must be text, as NO_PROXY is, not {}".format(
            type(value).__name__))
    return value or ''


def _check_is_for_others(key, parsed):
    # type: (Any, Dict[str, Any]) -> None
    """Raise ValueError unless a key names the proxy of a protocol that isn't ours.

    To ignore a key could mean to connect past a proxy that the user requires.
    """
    if key == 'socks' and not all(
            any(kind in parsed for kind in kinds) for kinds in _KINDS.values()):
        raise ValueError("give a SOCKS proxy under 'all', as socks5://host:port, "
                         "instead of under 'socks' in proxies")
    if key == 'socks' or key in _OTHER_KINDS:
        return
    # getproxies() returns any name.
    if not any(name.lower() == key + '_proxy' for name in os.environ):
        raise ValueError(
            "the keys of proxies are 'ws', 'wss', 'http', 'https', 'all' and 'no', not {}".format(
                hide_credentials(native_to_text(repr(key)))))


def find_proxy(target, proxies, environ=None):
    # type: (Target, Optional[Mapping[str, Any]], Optional[Mapping[str, str]]) -> Optional[ProxyTarget]
    """Return the proxy to reach the target through, or None.

    ``proxies`` is what `parse_proxies` returned: 'ws' and 'wss' are used before 'http'
    and 'https', and these before 'all'. With None the environment is used:
    WS_PROXY, HTTP_PROXY and ALL_PROXY for ws, WSS_PROXY, HTTPS_PROXY and
    ALL_PROXY for wss, NO_PROXY for exceptions, each in lower case first.
    Raises ValueError for a proxy that can't be used.
    """
    kinds = _KINDS[target.is_secure]
    if proxies is not None:
        proxy = next((proxies[kind] for kind in kinds if kind in proxies), None)
        if proxy is None or is_exempt(target.host, target.port, proxies.get('no', '')):
            return None
        return proxy    # type: ignore[no-any-return]
    if environ is None:
        environ = os.environ
    name, url = next(_variables(kinds, environ), ('', ''))
    if not url:
        return None
    _name, exceptions = next(_variables(('no',), environ), ('', ''))
    if is_exempt(target.host, target.port, exceptions):
        return None
    return _parse_proxy(name, url)


def _variables(kinds, environ):
    # type: (Iterable[str], Mapping[str, str]) -> Iterator[Tuple[str, str]]
    """Yield the name and the value of each variable that is set, empty ones too."""
    for kind in kinds:
        for name in (kind + '_proxy', kind.upper() + '_PROXY'):
            if name in environ and not _is_of_a_client(name, environ):
                yield name, environ[name]


def _is_of_a_client(name, environ):
    # type: (str, Mapping[str, str]) -> bool
    """Return whether a variable is the header Proxy of a CGI script's request ("httpoxy")."""
    if name == 'HTTP_PROXY':
        return 'REQUEST_METHOD' in environ
    # On Windows case makes no difference.
    return name == 'http_proxy' and 'request_method' in environ


def _parse_proxy(where, url):
    # type: (str, str) -> ProxyTarget
    """Parse a proxy's URL; raises ValueError also for a kind that this machine can't use.

    Errors begin with ``where`` it was found.
    """
    try:
        proxy = parse_proxy_url(url)
        if proxy.is_socks:
            from lomond.net.proxy.socks import check_usable  # few programs need it
            check_usable(proxy)
    except (TypeError, ValueError) as error:
        error.args = (u'{}: {}'.format(where, text_type(error)),)
        raise
    return proxy


def is_exempt(host, port, exceptions):
    # type: (Text, int, str) -> bool
    """Return whether NO_PROXY names the host.

    Its items, between commas or blanks, are ``*``, a domain (with or without a leading dot, it
    includes the hosts in it), an address or a network
    such as ``10.0.0.0/8``; a domain or address may end in ``:port``. Neither
    a final dot nor case makes a difference. The zone of an IPv6 address is compared
    if both sides have one.
    """
    host = _without_dot(host.lower())
    for item in _SEPARATORS.split(exceptions):
        try:
            if _names(native_to_text(item).lower(), host, port):
                return True
        except ValueError:
            continue        # no host has such a name
    return False


def _names(item, host, port):
    # type: (Text, Text, int) -> bool
    """Return whether one item of NO_PROXY names the host; may raise ValueError."""
    if item == u'*':
        return True
    name, wanted_port = _split_port(item)
    if wanted_port is not None and wanted_port != port:
        return False
    if _is_in_network(host, _without_dot(name)):
        return True
    name = _without_dot(to_ascii(name.lstrip(u'*.')))
    return bool(name) and (host == name or host.endswith(u'.' + name))


def _without_dot(name):
    # type: (Text) -> Text
    """Return a name without the final dot that makes it absolute in DNS."""
    return name[:-1] if name.endswith(u'.') else name


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
    """Return whether the host is an address of the network, or the address itself."""
    base, slash, prefix = network.partition(u'/')
    base, base_zone = _split_zone(base)
    host, zone = _split_zone(host)
    if zone and base_zone and zone != base_zone:
        return False
    family, width = (socket.AF_INET6, 128) if u':' in host else (socket.AF_INET, 32)
    try:
        host_bits = int(hexlify(socket.inet_pton(family, str(host))), 16)
        base_bits = int(hexlify(socket.inet_pton(family, str(base))), 16)
    except (socket.error, UnicodeError):
        return False
    shift = width - int(prefix) if slash else 0
    return 0 <= shift <= width and host_bits >> shift == base_bits >> shift


def _split_zone(address):
    # type: (Text) -> Tuple[Text, Text]
    """Split 'fe80::1%eth0', or with %25 as URLs have it (RFC 6874); the zone may be empty."""
    address, _percent, zone = address.partition(u'%')
    return address, zone[2:] if zone.startswith(u'25') and len(zone) > 2 else zone
