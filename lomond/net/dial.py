"""From a target to a transport: the proxy to use, a socket, the tunnel, TLS, in that order.

An operation does it (see `lomond.net.steps`), and its driver decides how to wait. Nothing here
blocks.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING, NamedTuple, text_type
from lomond._describe import describe
from lomond.errors import ConnectFail
from lomond.net.connect import connect, connect_unix, describe_tried, take_over
from lomond.net.detour import detours, find_detour
from lomond.net.proxy.settings import find_proxy
from lomond.net.proxy.tunnel import open_tunnel
from lomond.net.shortage import find_shortage
from lomond.net.steps import operation
from lomond.net.transport import Transport

if TYPE_CHECKING:
    from typing import Any, List, Optional, Text  # noqa: F401

    from lomond.errors import Phase  # noqa: F401
    from lomond.http.url import ProxyTarget, Target  # noqa: F401
    from lomond.net.options import NetOptions, TLSOptions  # noqa: F401
    from lomond.net.progress import Progress  # noqa: F401
    from lomond.net.steps import Steps  # noqa: F401
    from lomond.net.tls.client import TLSClient  # noqa: F401

#: A `Transport`, and the `ProxyTarget` that it leads through, or None.
Dialed = NamedTuple('Dialed', [('transport', Transport), ('proxy', 'Optional[ProxyTarget]')])

# How many descriptors imports may have open at once: 2.7 has one for each that another waits for.
_FOR_IMPORTS = 16


class Dialer(object):
    """Connects one WebSocket, and keeps state from one connection to the next.

    That is TLS contexts and the sessions to resume, calls that have not returned in time, and
    which of the user's sockets was used.
    """

    __slots__ = ('_abandoned', '_tls', '_used_sock')

    def __init__(self):
        # type: () -> None
        self._abandoned = []  # type: List[Any]     # `offload` describes it
        self._tls = None  # type: Optional[TLSClient]
        self._used_sock = None  # type: Any

    @property
    def tls(self):
        # type: () -> TLSClient
        """What makes TLS; it is made, and ssl imported, with the first connection that needs it."""
        if self._tls is None:
            from lomond.net.tls.client import TLSClient  # ssl takes long to import: ws goes without
            self._tls = TLSClient()
        return self._tls

    def forget_tls(self):
        # type: () -> None
        """Resume no session of an earlier connection, as its TLS options were others."""
        self._tls = None

    @operation
    def dial(self, target, options, deadline, progress):
        # type: (Target, NetOptions, float, Progress) -> Steps
        """Connect to the target, through the proxy if there is one; the result is `Dialed`.

        Parameters: ``deadline``, by the monotonic clock, holds for all phases together.

        Raises ConnectFail; then, and when the operation is closed, nothing is left open.
        """
        hop = target
        if detours:
            hop, options = find_detour(target, options)
        proxy = _find_proxy(hop, options)
        opened = yield self._connect(hop, proxy, options, deadline, progress)
        try:
            opened = Transport(opened)
            if proxy is not None:
                progress.enter('proxy')
                opened = yield self._pass_proxy(opened, target, proxy, options, deadline, progress)
                progress.report('proxy', proxy=proxy.url)
            if target.is_secure:
                progress.enter('tls')
                opened = yield self._secure(
                    opened, target.host, options.tls, deadline, 'tls', options.logger)
                _report_tls(progress, opened)
        except BaseException:
            opened.close()
            raise
        yield Dialed(opened, proxy)

    @operation
    def _connect(self, target, proxy, options, deadline, progress):
        # type: (Target, Optional[ProxyTarget], NetOptions, float, Progress) -> Steps
        """Connect to the first hop; the result is a socket."""
        if options.sock is not None:
            yield (yield take_over(
                self._use(options.sock), options, deadline, progress, self._abandoned))
        elif target.unix_path is not None:
            yield (yield connect_unix(target.unix_path, options, deadline, progress))
        elif proxy is None:
            yield (yield connect(
                target.host, target.port, options, deadline, progress, self._abandoned))
        else:
            try:
                sock = yield connect(
                    proxy.host, proxy.port, options, deadline, progress, self._abandoned)
            except ConnectFail as error:
                _blame_proxy(proxy, error)
                raise
            yield sock

    def _use(self, sock):
        # type: (Any) -> Any
        """Return the user's socket, or function; ConnectFail for a socket that was used before."""
        if callable(sock):
            return sock
        if sock is self._used_sock:
            raise ConnectFail.during(
                'connect', u'no connected socket: the one given as sock was used for an earlier '
                u'connection: give a function that makes one')
        self._used_sock = sock
        return sock

    @operation
    def _pass_proxy(self, transport, target, proxy, options, deadline, progress):
        # type: (Transport, Target, ProxyTarget, NetOptions, float, Progress) -> Steps
        """Open a tunnel through the proxy; the result is the transport that leads through it.

        When it fails, neither this nor the transport that it was given is open.
        """
        way = transport  # type: Any
        try:
            if proxy.is_secure:
                try:
                    way = yield self._secure(
                        transport, proxy.host, options.tls.for_proxy(), deadline, 'proxy',
                        options.logger)
                except ConnectFail as error:
                    _blame_proxy(proxy, error)
                    raise
                _report_tls(progress, way)
            try:
                yield open_tunnel(way, target, proxy, deadline)
            except ConnectFail as error:
                error.args = (u'{} ({})'.format(text_type(error), proxy.url),)
                raise
        except BaseException:
            way.close()
            raise
        yield way

    @operation
    def _secure(self, transport, host, options, deadline, phase, logger):
        # type: (Transport, Text, TLSOptions, float, Phase, Any) -> Steps
        """Make TLS with a host on a transport; the result is the new transport."""
        try:
            tls = self.tls
        except (EnvironmentError, ImportError):    # the latter on 2.7, or from a library in C
            shortage = find_shortage(_FOR_IMPORTS)
            if shortage is None:
                raise
            raise ConnectFail.during(
                phase, u'could not import ssl: {}'.format(describe(shortage)), shortage)
        yield (yield tls.secure(transport, str(host), options, deadline, phase, logger))


def _find_proxy(target, options):
    # type: (Target, NetOptions) -> Optional[ProxyTarget]
    """Return the proxy to reach the target through, or None; raises ConnectFail."""
    if options.sock is not None or target.unix_path is not None:
        return None
    try:
        return find_proxy(target, options.proxies)
    except ValueError as error:
        raise ConnectFail.during('proxy', text_type(error), error)


def _blame_proxy(proxy, error):
    # type: (ProxyTarget, ConnectFail) -> None
    """Make an error say that it is the proxy that can't be reached; its cause stays."""
    words = describe_tried(error.tried) or text_type(error)
    error.args = (u'could not connect to the proxy {} ({})'.format(proxy.url, words),)
    error.phase = 'proxy'


def _report_tls(progress, transport):
    # type: (Progress, Any) -> None
    progress.report(
        'tls', version=transport.version, cipher=transport.cipher, resumed=transport.is_resumed)
