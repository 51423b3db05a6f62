"""Leads the connections of a program under test to a test's servers, whatever its URLs name."""

from __future__ import absolute_import, division, print_function

from contextlib import contextmanager

from lomond._compat import TYPE_CHECKING, native_to_text
from lomond.errors import ConnectFail
from lomond.http.url import to_ascii
from lomond.net.detour import detours

if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, Mapping, Optional, Tuple, Union  # noqa: F401

    from lomond.http.url import Target  # noqa: F401
    from lomond.net.options import NetOptions  # noqa: F401
    from lomond.testing.scripted import ScriptedServer  # noqa: F401


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
                name = native_to_text(key)
                if u'/' in name or not name:
                    raise ValueError('redirect takes host names, such as api.example.com, not '
                                     '{!r}'.format(name))
                self._by_name[_fold(name if u':' in name else to_ascii(name))] = _check(server)
        else:
            self._for_all = _check(servers)

    def __call__(self, target, options):
        # type: (Target, NetOptions) -> Optional[Tuple[Target, NetOptions]]
        host = _fold(target.host)
        server = self._by_name.get(host, self._for_all)
        if _is_local(host) and host not in self._by_name:
            return None
        if server is None:
            if detours[0] is not self:      # an outer block may have it
                return None
            raise ConnectFail.during(
                'connect', u'{0} is not redirected, and a test is running: add it to '
                u'lomond.testing.redirect({{{0!r}: server}})'.format(str(target.host)))
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
        hop = target._replace(host=server.host, port=server.port)
        return hop, options.replace(proxies={}, source_address=None)


def _check(server):
    # type: (Any) -> Any
    if not (hasattr(server, 'host') and hasattr(server, 'port')):
        raise TypeError('redirect takes a ScriptedServer, or a mapping of host names to such '
                        'servers, not {!r}'.format(server))
    return server


def _fold(host):
    # type: (Any) -> str
    """Return a host name as it is compared: in lower case, without a final dot."""
    return str(host).lower().rstrip('.')


def _is_local(host):
    # type: (str) -> bool
    return host in ('localhost', '::1') or host.startswith('127.')
