"""Proxies: which one to use, and a tunnel through it (HTTP CONNECT, SOCKS).

The tunnel is made step by step: nothing here waits.
"""

from __future__ import absolute_import, division, print_function

import os
import re
import socket
from binascii import hexlify

from lomond._compat import TYPE_CHECKING, monotonic, native_to_text, text_type
from lomond._redact import hide_credentials
from lomond.constants import USER_AGENT
from lomond.errors import ConnectFail, CriticalProtocolError, TransportFail
from lomond.http.answer import ResponseReader, RestTimer
from lomond.net.selectors import merge
from lomond.net.transport import describe, is_broken_pipe
from lomond.net.url import basic_authorization, bracket, parse_proxy_url, to_ascii
from lomond.net.wait import Wait

if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Text, Tuple  # noqa: F401

    from lomond.net.selectors import Interest  # noqa: F401
    from lomond.net.transport import Transport  # noqa: F401
    from lomond.net.url import ProxyTarget, Target  # noqa: F401

#: The most that the head of a proxy's answer may take, in bytes ...
MAX_HEAD = 64 * 1024

# For ws and for wss: the keys of `proxies` that count, which are also what stands in front of
# _PROXY in the environment. The first that is there decides.
_KINDS = {False: ('ws', 'http', 'all'), True: ('wss', 'https', 'all')}

# Proxies of other protocols, which may be in the settings of the system.
_OTHER_KINDS = frozenset(['ftp', 'gopher', 'rsync'])

# NO_PROXY has commas to most programs, and blanks to some.
_SEPARATORS = re.compile(r'[,\s]+')
#: ... and what is kept of a refusal's body.
MAX_BODY = 64 * 1024


def parse_proxies(proxies):
    # type: (Optional[Mapping[str, Any]]) -> Optional[Dict[str, Any]]
    """Parse the user's ``proxies``: keys 'ws', 'wss', 'http', 'https', 'all' and 'no'.

    The result has the same keys, with a `ProxyTarget` or None for each, and
    the text of 'no'. What `urllib.request.getproxies` has besides, for other
    protocols, is left out. Raises TypeError, and ValueError for another key
    or a proxy that can't be used.
    """
    if proxies is None:
        return None
    if not hasattr(proxies, 'get'):
        raise TypeError("proxies must be a dict such as {{'all': 'http://host:port'}}, "
                        'not {}'.format(type(proxies).__name__))
    parsed = {}  # type: Dict[str, Any]
    others = []  # type: List[Any]
    # Then 'all' is never asked, and may be of a kind that can't be used here.
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

    To pass a key over is to connect past a proxy that may be meant for us.
    """
    if key == 'socks' and not all(
            any(kind in parsed for kind in kinds) for kinds in _KINDS.values()):
        raise ValueError("give a SOCKS proxy under 'all', as socks5://host:port, "
                         "instead of under 'socks' in proxies")
    if key == 'socks' or key in _OTHER_KINDS:
        return
    # getproxies() takes any name.
    if not any(name.lower() == key + '_proxy' for name in os.environ):
        raise ValueError(
            "the keys of proxies are 'ws', 'wss', 'http', 'https', 'all' and 'no', not {}".format(
                hide_credentials(native_to_text(repr(key)))))


def find_proxy(target, proxies, environ=None):
    # type: (Target, Optional[Mapping[str, Any]], Optional[Mapping[str, str]]) -> Optional[ProxyTarget]
    """Return the proxy to reach the target through, or None.

    ``proxies`` is what `parse_proxies` made: 'ws' and 'wss' go before 'http'
    and 'https', and these before 'all'. Only None asks the environment:
    WS_PROXY, HTTP_PROXY and ALL_PROXY for ws, WSS_PROXY, HTTPS_PROXY and
    ALL_PROXY for wss, NO_PROXY for exceptions, each in lower case first.
    Raises ValueError for a proxy that can't be used.
    """
    kinds = _KINDS[target.is_secure]
    if proxies is not None:
        proxy = next((proxies[kind] for kind in kinds if kind in proxies), None)
        is_direct = is_exempt(target.host, target.port, proxies.get('no', ''))
        return None if is_direct else proxy
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
            # In a CGI script HTTP_PROXY is the client's Proxy header ("httpoxy").
            if name in environ and not (name == 'HTTP_PROXY' and 'REQUEST_METHOD' in environ):
                yield name, environ[name]


def _parse_proxy(where, url):
    # type: (str, str) -> ProxyTarget
    """Parse a proxy's URL; raises ValueError also for what only this machine can't do.

    ``where`` it was found is in the error's words.
    """
    try:
        proxy = parse_proxy_url(url)
        if proxy.is_socks:
            from lomond.net.socks import check_usable  # few need it
            check_usable(proxy)
    except (TypeError, ValueError) as error:
        error.args = (u'{}: {}'.format(where, text_type(error)),)
        raise
    return proxy


def is_exempt(host, port, exceptions):
    # type: (Text, int, str) -> bool
    """Tell if NO_PROXY names the host.

    Its items, between commas or blanks, are ``*``, a domain (it stands for the
    hosts in it too, with a leading dot or without), an address or a network
    such as ``10.0.0.0/8``; a domain or address may end in ``:port``. Neither
    a final dot nor case makes a difference. A zone of an IPv6 address counts
    where both sides have one.
    """
    host = _without_dot(host.lower())
    for item in _SEPARATORS.split(exceptions):
        try:
            if _names(native_to_text(item).lower(), host, port):
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
    if _is_in_network(host, _without_dot(name)):
        return True
    name = _without_dot(to_ascii(name.lstrip(u'*.')))
    return bool(name) and (host == name or host.endswith(u'.' + name))


def _without_dot(name):
    # type: (Text) -> Text
    """Return a name without the final dot, by which DNS takes it for a whole one."""
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
    """Tell if the host is an address of the network, or the very address."""
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


def open_tunnel(transport, target, proxy, deadline):
    # type: (Transport, Target, ProxyTarget, float) -> Iterator[Wait]
    """Ask a proxy, on a transport to it, to reach the target.

    Yields each `Wait`; the tunnel is there when it ends. Raises ConnectFail.
    """
    if proxy.is_socks:
        from lomond.net.socks import SocksExchange
        exchange = SocksExchange(target, proxy)  # type: Any
    else:
        exchange = ConnectExchange(target, proxy)
    for step in _converse(transport, exchange, deadline):
        yield step
    if not exchange.rest:
        return
    if target.is_secure:
        # In TLS the client speaks first (RFC 8446 4.1.2): the server didn't send this.
        raise ConnectFail.during('proxy', 'the proxy sent more than its answer')
    transport.put_back(exchange.rest)


def _converse(transport, exchange, deadline):
    # type: (Transport, Any, float) -> Iterator[Wait]
    """Send what the exchange wants to, and give it what comes, until it has its consent."""
    write_error = None  # type: Any
    rest_timer = RestTimer()
    wait_until = deadline
    has_waited = False
    while exchange.rest is None:
        need = ()  # type: Interest
        if write_error is None:
            try:
                need = _send_output(transport, exchange)
            except (socket.error, TransportFail) as error:
                write_error = error     # the answer may have come before, and say why
        try:
            data = transport.receive()
        except (socket.error, TransportFail) as error:
            exchange.end()
            raise _failure(error)
        if data:
            exchange.receive(data)
            if exchange.is_refused:
                wait_until = min(deadline, rest_timer.progress(monotonic()))
        elif data is not None:
            exchange.end()
            if write_error is None or is_broken_pipe(write_error):
                raise ConnectFail.during('proxy', 'the proxy closed the connection')
            raise _failure(write_error)
        elif write_error is not None:
            exchange.end()
            raise _failure(write_error)
        elif has_waited and monotonic() >= wait_until:
            exchange.end()
            raise ConnectFail.during('proxy', 'the proxy did not answer in time')
        else:
            yield Wait(merge(transport.interest, need), wait_until)
            has_waited = True


def _send_output(transport, exchange):
    # type: (Transport, Any) -> Interest
    """Send what can be sent without waiting; return what to wait for before the next call."""
    while exchange.output:
        sent, interest = transport.send_some(exchange.output)
        if not sent:
            return interest
        exchange.output = exchange.output[sent:]
    return ()


def _failure(error):
    # type: (BaseException) -> ConnectFail
    return ConnectFail.during('proxy', u'the proxy failed: {}'.format(describe(error)), error)


class ConnectExchange(object):
    """Asks an HTTP proxy to reach the target, by CONNECT (RFC 9110 9.3.6).

    Attributes: ``output``, bytes to send next; ``rest``, what was received
    behind the proxy's consent, None until that is there.
    """

    def __init__(self, target, proxy):
        # type: (Target, ProxyTarget) -> None
        self._has_credentials = proxy.credentials is not None
        self._reader = ResponseReader(MAX_HEAD, MAX_BODY, u'it', u'https', is_tunnel=True)
        self.output = connect_request(target, proxy)
        self.rest = None  # type: Optional[bytes]

    @property
    def is_refused(self):
        # type: () -> bool
        """True once there can be no consent any more: what still comes is the refusal's body."""
        return self._reader.is_refusal

    def receive(self, data):
        # type: (bytes) -> None
        """Take in what came from the proxy; raises ConnectFail if that is a no, or nonsense."""
        try:
            found = self._reader.feed(data)
        except CriticalProtocolError as error:
            raise ConnectFail.during(
                'proxy', u'the proxy does not speak HTTP: {}'.format(text_type(error)), error)
        if found is None:
            return
        response, rest = found
        if not self._reader.is_refusal:
            self.rest = rest
            return
        # 401 is an origin server's; tinyproxy 1.11 says it where the password is wrong.
        if response.status_code in (401, 407):
            words = u'the proxy wants {}credentials ({})'.format(
                u'other ' if self._has_credentials else u'', response.status_code)
        else:
            words = u'the proxy answered {} {}'.format(response.status_code, response.status)
        refusal = ConnectFail.during('proxy', words)
        refusal.response = response
        raise refusal

    def end(self):
        # type: () -> None
        """Take in that nothing more will come; raises ConnectFail if what came was a no."""
        self.receive(b'')


def connect_request(target, proxy):
    # type: (Target, ProxyTarget) -> bytes
    """Build the CONNECT request (RFC 7231 4.3.6)."""
    # An IPv6 zone means something on this machine only (RFC 6874 4).
    authority = u'{}:{}'.format(bracket(target.host.partition(u'%')[0]), target.port)
    lines = [
        u'CONNECT {} HTTP/1.1'.format(authority),
        u'Host: {}'.format(authority),
        u'User-Agent: {}'.format(USER_AGENT),
    ]
    if proxy.credentials is not None:
        lines.append(u'Proxy-Authorization: ' + basic_authorization(proxy.credentials))
    return u'\r\n'.join(lines + [u'', u'']).encode('ascii')
