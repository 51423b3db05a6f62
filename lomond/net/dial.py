"""From a target to a transport: a socket, the proxy, TLS, in that order.

An operation does it (see `lomond.net.steps`): its driver decides how to wait. Nothing here blocks.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING, text_type
from lomond._describe import describe
from lomond.errors import ConnectFail
from lomond.net.connect import connect, connect_unix, describe_tried, take_over
from lomond.net.proxy.tunnel import open_tunnel
from lomond.net.shortage import find_shortage
from lomond.net.steps import operation
from lomond.net.transport import Transport

if TYPE_CHECKING:
    from typing import Any, Callable, Optional, Text  # noqa: F401

    from lomond.http.url import ProxyTarget, Target  # noqa: F401
    from lomond.net.options import NetOptions, TLSOptions  # noqa: F401
    from lomond.net.steps import Steps  # noqa: F401

    Trace = Callable[..., None]

# How many descriptors imports may have open at once: 2.7 has one for each that another waits for.
_FOR_IMPORTS = 16


@operation
def dial(target, proxy, options, deadline, trace):
    # type: (Target, Optional[ProxyTarget], NetOptions, float, Trace) -> Steps
    """Connect to the target, through the proxy if there is one.

    Parameters: ``deadline``, by the monotonic clock, holds for all phases
    together; ``trace`` is called with ``(stage, **fields)``.

    The result is a `Transport`. Raises ConnectFail; then, and when the operation is closed,
    nothing is left open.
    """
    transport = None  # type: Any
    try:
        transport = yield _reach(target, proxy, options, deadline, trace)
        if proxy is not None:
            transport = yield _pass_proxy(transport, target, proxy, options, deadline, trace)
            trace('proxy', proxy=proxy.url)
        if target.is_secure:
            transport = yield _secure(transport, target.host, options.tls, 'tls', deadline)
            _trace_tls(trace, transport)
    except BaseException:
        if transport is not None:
            transport.close()
        raise
    yield transport


@operation
def _reach(target, proxy, options, deadline, trace):
    # type: (Target, Optional[ProxyTarget], NetOptions, float, Trace) -> Steps
    """Connect to the first hop; the result is a plain transport."""
    if options.sock is not None:
        sock = yield take_over(options, deadline)
    elif proxy is not None:
        sock = yield _reach_proxy(proxy, options, deadline, trace)
    elif target.unix_path is not None:
        sock = yield connect_unix(target.unix_path, options, deadline, trace)
    else:
        sock = yield connect(target.host, target.port, options, deadline, trace)
    yield Transport(sock)


@operation
def _reach_proxy(proxy, options, deadline, trace):
    # type: (ProxyTarget, NetOptions, float, Trace) -> Steps
    """Connect to the proxy; the result is a socket."""
    try:
        sock = yield connect(proxy.host, proxy.port, options, deadline, trace)
    except ConnectFail as error:
        _blame_proxy(proxy, error)
        raise
    yield sock


def _blame_proxy(proxy, error):
    # type: (ProxyTarget, ConnectFail) -> None
    """Have an error say that it is the proxy that can't be reached; its cause stays."""
    words = describe_tried(error.tried) or text_type(error)
    error.args = (u'could not connect to the proxy {} ({})'.format(proxy.url, words),)
    error.phase = 'proxy'


@operation
def _pass_proxy(transport, target, proxy, options, deadline, trace):
    # type: (Transport, Target, ProxyTarget, NetOptions, float, Trace) -> Steps
    """Open a tunnel through the proxy; the result is the transport that leads through it.

    When it fails, neither this nor the transport that it was given is open.
    """
    way = transport  # type: Any
    try:
        if proxy.is_secure:
            way = yield _secure_proxy(transport, proxy, options, deadline)
            _trace_tls(trace, way)
        yield _ask_proxy(way, target, proxy, deadline)
    except BaseException:
        way.close()
        raise
    yield way


@operation
def _ask_proxy(transport, target, proxy, deadline):
    # type: (Transport, Target, ProxyTarget, float) -> Steps
    """Have the proxy connect to the target."""
    try:
        yield open_tunnel(transport, target, proxy, deadline)
    except ConnectFail as error:
        error.args = (u'{} ({})'.format(text_type(error), proxy.url),)
        raise


@operation
def _secure_proxy(transport, proxy, options, deadline):
    # type: (Transport, ProxyTarget, NetOptions, float) -> Steps
    """Make TLS with the proxy itself; the result is the new transport."""
    try:
        secured = yield _secure(
            transport, proxy.host, options.tls.for_proxy(), 'proxy', deadline)
    except ConnectFail as error:
        _blame_proxy(proxy, error)
        raise
    yield secured


@operation
def _secure(transport, host, options, phase, deadline):
    # type: (Transport, Text, TLSOptions, str, float) -> Steps
    """Make TLS with a host on a transport; the result is the new transport."""
    secured = yield _import_tls(phase).secure(transport, options, str(host), deadline, phase)
    yield secured


def _trace_tls(trace, transport):
    # type: (Trace, Any) -> None
    trace('tls', version=transport.version, cipher=transport.cipher, resumed=transport.is_resumed)


def _import_tls(phase):
    # type: (str) -> Any
    """Return `lomond.net.tls.client`; ConnectFail if no descriptor is left to read it by."""
    try:
        from lomond.net.tls import client  # ssl takes long to import: ws goes without
    except (EnvironmentError, ImportError):    # the latter on 2.7, or from a library in C
        shortage = find_shortage(_FOR_IMPORTS)
        if shortage is None:
            raise
        raise ConnectFail.during(
            phase, u'could not import ssl: {}'.format(describe(shortage)), shortage)
    return client
