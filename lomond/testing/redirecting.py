"""Leads the connections of a program under test to a test's servers, whatever its URLs name."""

from __future__ import absolute_import, division, print_function

import re
from contextlib import contextmanager

from lomond._compat import TYPE_CHECKING, native_to_text, text_type
from lomond.errors import ConnectFail
from lomond.http.url import fold_host
from lomond.net.address import read_address
from lomond.net.detour import detours

if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, Mapping, Optional, Tuple, Union  # noqa: F401

    from lomond.http.url import Target  # noqa: F401
    from lomond.net.options import NetOptions  # noqa: F401
    from lomond.testing.scripted import ScriptedServer  # noqa: F401

# A name may begin like an address.
_LOOPBACK = re.compile(r'127(\.[0-9]+){1,3}\Z')


@contextmanager
def redirect(servers):
    # type: (Union[Any, Mapping[str, Any]]) -> Iterator[None]
    """Have every connection of this process lead to servers of the test, in a ``with`` block.

        with ScriptedServer([say(u'hello')], tls=True) as server:
            with redirect({'api.example.com': server}):
                main()      # which connects to wss://api.example.com/feed

    The program, its URLs and its Host header stay as they are. It connects to the server's port
    without a proxy, and for wss trusts the server's authority alone: also where the program names
    one of its own, an ``ssl_context`` or a fingerprint. The certificate must name the host, as
    always.

    Hosts of this machine (localhost and its addresses) are never redirected. Any other host that
    isn't among these is a ConnectFail: such a test never connects to a network.

    Parameters: ``servers``, a mapping of host names to `ScriptedServer` objects, or to others that
    have ``host`` and ``port``, and ``cafile`` for TLS; or one such server, for all hosts. It holds
    for all threads, from the next attempt to connect on, in a loop, a pool and an event loop;
    blocks may be nested, and the inner one decides first. Connections over a ``sock`` or to a Unix
    socket aren't redirected.

    Raises TypeError and ValueError.
    """
    detour = _Redirection(servers)
    detours.append(detour)
    try:
        yield
    finally:
        detours.remove(detour)


class _Redirection(object):
    """A detour, see `lomond.net.detour`."""

    def __init__(self, servers):
        # type: (Any) -> None
        self._by_name = {}  # type: Dict[str, Any]
        self._for_all = None  # type: Any
        if hasattr(servers, 'items'):
            for key, server in servers.items():
                name = _read_name(key)
                self._by_name[name] = _check(server)
        else:
            self._for_all = _check(servers)

    def __call__(self, target, options, is_outermost):
        # type: (Target, NetOptions, bool) -> Optional[Tuple[Target, NetOptions]]
        host = str(fold_host(target.host))
        is_local = _is_local(host) and host not in self._by_name
        server = None if is_local else self._by_name.get(host, self._for_all)
        if server is None:
            if not is_outermost:        # an outer block may have it
                return None
            if is_local:                # a proxy may be in a network
                return target, options.replace(proxies={})
            raise ConnectFail.during(
                'connect', u'{0} is not redirected, and a test is running: add it to '
                u'lomond.testing.redirect({{{0!r}: server}})'.format(str(target.host)))
        try:
            hop = target._replace(host=server.host, port=server.port)
        except RuntimeError as error:   # it has been stopped
            raise ConnectFail.during('connect', u'{} is redirected to a server that does not '
                                     u'listen any more'.format(target.url), error)
        cafile = getattr(server, 'cafile', None)
        if target.is_secure:
            if cafile is None:
                raise ConnectFail.during(
                    'tls', u'{} needs TLS, and the server that it is redirected to has none: use '
                    u'ScriptedServer(..., tls=True)'.format(target.url))
            if hasattr(server, 'certify'):
                server.certify(options.tls.server_hostname or host)
            options = options.replace(
                tls=options.tls.replace(cafile=cafile, context=None, fingerprint=None))
        elif cafile is not None:
            raise ConnectFail.during(
                'connect', u'{} has no TLS, and the server that it is redirected to speaks it: '
                u'use ScriptedServer(...) without tls=True'.format(target.url))
        return hop, options.replace(proxies={}, source_address=None)


def _read_name(key):
    # type: (Any) -> str
    """Return a host name, or an address, as it is compared."""
    name = native_to_text(key) if isinstance(key, str) else key
    if not isinstance(name, text_type):
        raise TypeError('redirect takes host names, such as api.example.com, not {!r}'.format(key))
    try:
        if u':' in name:
            read_address(str(name), 0)
        if name and u'/' not in name:
            return str(fold_host(name))
    except (EnvironmentError, UnicodeError):
        pass
    raise ValueError('redirect takes host names without a port, such as api.example.com, not '
                     '{!r}'.format(name))


def _check(server):
    # type: (Any) -> Any
    try:
        server.host, server.port        # noqa: B018    # RuntimeError outside of its block
    except AttributeError:
        raise TypeError('redirect takes a ScriptedServer, or a mapping of host names to such '
                        'servers, not {!r}'.format(server))
    return server


def _is_local(host):
    # type: (str) -> bool
    return host in ('localhost', '::1') or _LOOPBACK.match(host) is not None
