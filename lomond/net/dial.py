"""From a target to a transport: a socket, the proxy, TLS, in that order.

It is made step by step: a generator yields each `Wait`, and last the
transport, so that whoever drives it decides how to wait. Nothing here blocks.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING, text_type
from lomond._describe import describe
from lomond.errors import ConnectFail
from lomond.net.connect import connect, connect_unix, describe_tried, take_over
from lomond.net.proxy.tunnel import open_tunnel
from lomond.net.steps import Wait
from lomond.net.transport import Transport, find_shortage

if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, Optional, Text, Union  # noqa: F401

    from lomond.http.url import ProxyTarget, Target  # noqa: F401
    from lomond.net.options import NetOptions, TLSOptions  # noqa: F401

    Trace = Callable[..., None]

# How many descriptors imports may have open at once: 2.7 has one for each that another waits for.
_FOR_IMPORTS = 16


def dial(target, proxy, options, deadline, trace):
    # type: (Target, Optional[ProxyTarget], NetOptions, float, Trace) -> Iterator[Union[Wait, Transport]]
    """Connect to the target, through the proxy if there is one.

    Parameters: ``deadline``, by the monotonic clock, holds for all phases
    together; ``trace`` is told ``(stage, **fields)``.

    Yields each `Wait`, and last a `Transport`. Raises ConnectFail; then, and
    when the generator is closed, nothing is left open.
    """
    transport = None  # type: Any
    try:
        for step in _reach(target, proxy, options, deadline, trace):
            if isinstance(step, Wait):
                yield step
            else:
                transport = step
        if proxy is not None:
            for step in _pass_proxy(transport, target, proxy, options, deadline, trace):
                if isinstance(step, Wait):
                    yield step
                else:
                    transport = step
            trace('proxy', proxy=proxy.url)
        if target.is_secure:
            for step in _secure(transport, target.host, options.tls, 'tls', deadline, trace):
                if isinstance(step, Wait):
                    yield step
                else:
                    transport = step
    except BaseException:
        if transport is not None:
            transport.close()
        raise
    yield transport
    transport = step = None     # 2.7 keeps a descriptor open while any object of it is about


def _reach(target, proxy, options, deadline, trace):
    # type: (Target, Optional[ProxyTarget], NetOptions, float, Trace) -> Iterator[Any]
    """Yield each `Wait`, and last a plain transport to the first hop."""
    if options.sock is not None:
        steps = take_over(options, deadline)
    elif proxy is not None:
        steps = _reach_proxy(proxy, options, deadline, trace)
    elif target.unix_path is not None:
        steps = connect_unix(target.unix_path, options, deadline, trace)
    else:
        steps = connect(target.host, target.port, options, deadline, trace)
    for step in steps:
        yield step if isinstance(step, Wait) else Transport(step)


def _reach_proxy(proxy, options, deadline, trace):
    # type: (ProxyTarget, NetOptions, float, Trace) -> Iterator[Any]
    """Yield each `Wait`, and last a socket connected to the proxy."""
    try:
        for step in connect(proxy.host, proxy.port, options, deadline, trace):
            yield step
    except ConnectFail as error:
        _blame_proxy(proxy, error)
        raise


def _blame_proxy(proxy, error):
    # type: (ProxyTarget, ConnectFail) -> None
    """Have an error say that it is the proxy that can't be reached; its cause stays."""
    words = describe_tried(error.tried) or text_type(error)
    error.args = (u'could not connect to the proxy {} ({})'.format(proxy.url, words),)
    error.phase = 'proxy'


def _pass_proxy(transport, target, proxy, options, deadline, trace):
    # type: (Transport, Target, ProxyTarget, NetOptions, float, Trace) -> Iterator[Any]
    """Yield each `Wait`, and last the transport that leads through the proxy.

    When it ends otherwise, neither this nor the one it was given is open.
    """
    way = transport  # type: Any
    try:
        if proxy.is_secure:
            for step in _secure_proxy(transport, proxy, options, deadline, trace):
                if isinstance(step, Wait):
                    yield step
                else:
                    way = step
        for step in _ask_proxy(way, target, proxy, deadline):
            yield step
    except BaseException:
        way.close()
        raise
    yield way


def _ask_proxy(transport, target, proxy, deadline):
    # type: (Transport, Target, ProxyTarget, float) -> Iterator[Wait]
    """Yield each `Wait`; the proxy has reached the target when it ends."""
    try:
        for step in open_tunnel(transport, target, proxy, deadline):
            yield step
    except ConnectFail as error:
        error.args = (u'{} ({})'.format(text_type(error), proxy.url),)
        raise


def _secure_proxy(transport, proxy, options, deadline, trace):
    # type: (Transport, ProxyTarget, NetOptions, float, Trace) -> Iterator[Any]
    """Yield each `Wait`, and last the TLS transport to the proxy itself."""
    try:
        for step in _secure(
                transport, proxy.host, options.tls.for_proxy(), 'proxy', deadline, trace):
            yield step
    except ConnectFail as error:
        _blame_proxy(proxy, error)
        raise


def _secure(transport, host, options, phase, deadline, trace):
    # type: (Transport, Text, TLSOptions, str, float, Trace) -> Iterator[Any]
    """Yield each `Wait`, and last the TLS transport on top of this one."""
    tls = _import_tls(phase)
    secured = transport  # type: Any
    try:
        for step in tls.secure(transport, options, str(host), deadline):
            yield step
            secured = step      # the last step
    except tls.TLS_ERRORS as error:
        words = describe(error) + tls.advise(error, options, phase)
        if tls.speaks_no_tls(error):
            peer, scheme = (u'proxy', u'http') if phase == 'proxy' else (u'server', u'ws')
            words = u"the {} doesn't speak TLS on this port: use {}:// ({})".format(
                peer, scheme, words)
        raise ConnectFail.during(phase, u'TLS with {} failed: {}'.format(host, words), error)
    trace('tls', version=secured.version, cipher=secured.cipher, resumed=secured.is_resumed)


def _import_tls(phase):
    # type: (str) -> Any
    """Return the module; raises ConnectFail if there is no descriptor left to read it by."""
    try:
        from lomond.net import tls  # ssl takes long to import: ws goes without
    except (EnvironmentError, ImportError):    # the latter on 2.7, or from a library in C
        shortage = find_shortage(_FOR_IMPORTS)
        if shortage is None:
            raise
        raise ConnectFail.during(
            phase, u'could not import ssl: {}'.format(describe(shortage)), shortage)
    return tls
