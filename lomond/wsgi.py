"""WebSockets inside a WSGI application: a request becomes a connection that is iterated over.

    def application(environ, start_response):
        try:
            websocket = wsgi.upgrade(environ, origins=['https://example.org'])
        except wsgi.NotUpgraded as refused:
            return refused(environ, start_response)
        for event in websocket:
            if event.name == 'text':
                websocket.send_text(event.text)
        start_response('200 OK', [])
        return []

Or ``application = wsgi.websocket_app(handler, origins=[...])``. Which servers give access to their
sockets, and what each costs, is in docs/howto/wsgi.md; how, in `lomond._wsgi_servers`.
"""

from __future__ import absolute_import, division, print_function

import logging
import os
import socket
import threading
import weakref

from lomond import errors
from lomond._checks import check_flag, check_plain, check_seconds, check_spin
from lomond._compat import TYPE_CHECKING, latin1_to_native, monotonic, quote, text_type
from lomond._describe import describe
from lomond._hints import check_passed_on, takes_options
from lomond._serving import SHUTDOWN, join_all, run_handler
from lomond._upgraded import bells, make_upgraded
from lomond._wsgi_servers import (
    HOLDERS,
    check_cooperation,
    find_socket,
    kills_long_requests,
    take_read_ahead,
)
from lomond.engine.timers import NEVER
from lomond.http.request import check_headers
from lomond.net.given import wrap
from lomond.net.takeover import can_take_over, lend, take_over
from lomond.net.workers import start_thread
from lomond.protocol.close import encode_close
from lomond.protocol.handshake import UpgradeRefused, describe_status, rebuild_request
from lomond.server import Server
from lomond.websocket import Timing, check_timing

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple, Union  # noqa: F401

    from lomond._served import ServerWebSocket
    from lomond._upgraded import UpgradedWebSocket  # noqa: F401
    from lomond.protocol.handshake import Request  # noqa: F401
    from lomond.websocket import Headers  # noqa: F401

    Environ = Dict[str, Any]
    Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
    Handler = Callable[[ServerWebSocket], Any]

__all__ = ['NotUpgraded', 'close_all', 'upgrade', 'websocket_app']

log = logging.getLogger('lomond')  # type: logging.Logger

#: Where `upgrade` leaves the WebSocket, for middleware and servers.
WEBSOCKET_KEY = 'lomond.websocket'

# What stays as it is in a path.
_SAFE = "/:@!$&'()*+,;=~-._"

# PEP 3333 leaves them to the server.
_HOP_BY_HOP = ('connection', 'upgrade')

# What keeps the socket open that the server goes on with, until it drops the environ.
_SINK_KEY = 'lomond.sink'

# The defaults of the loop's options: nginx cuts what is silent for a minute, and a client that is
# gone must not keep a worker.
_TIMING = {'poll': 5.0, 'ping_rate': 30.0, 'ping_timeout': 30.0, 'close_timeout': 10.0}


class NotUpgraded(errors.HandshakeError):
    """Raised by `upgrade` for a request that doesn't become a WebSocket: the answer to send.

    It is a WSGI application itself: ``return refused(environ, start_response)``, or in Flask
    ``return refused``. Nothing was sent.

    Attributes: ``status_code``, such as 426; ``headers``, a list of pairs of native strings;
    ``body``, bytes.
    """

    def __init__(self, status_code, body, headers=()):
        # type: (int, bytes, Iterable[Tuple[Any, Any]]) -> None
        super(NotUpgraded, self).__init__(
            'refused with HTTP {}: {}', status_code, body[:200].decode('utf-8', 'replace').strip())
        self.status_code = status_code  # type: int
        self.body = body  # type: bytes
        self.headers = [
            (_to_native(name), _to_native(value)) for name, value in headers
            if name.lower() not in _HOP_BY_HOP]  # type: List[Tuple[str, str]]
        if not any(name.lower() == 'content-type' for name, _value in self.headers):
            self.headers.append(('Content-Type', 'text/plain; charset=utf-8'))
        self.headers.append(('Content-Length', str(len(body))))

    def __call__(self, _environ, start_response):
        # type: (Environ, Callable[..., Any]) -> List[bytes]
        start_response(_to_native(describe_status(self.status_code)), self.headers)
        return [self.body]


def _to_native(value):
    # type: (Union[bytes, text_type]) -> str
    """Return a part of a header as PEP 3333 has it."""
    text = value.decode('latin-1') if isinstance(value, bytes) else value
    return latin1_to_native(text)       # type: ignore[no-any-return]


@takes_options('wsgi.upgrade', '')
def upgrade(environ, headers=(), detach=False, **options):
    # type: (Environ, Headers, bool, **Any) -> UpgradedWebSocket
    """Make the opening handshake of a request; return the `lomond.server.ServerWebSocket`.

    Iterate over it, or call its `receive` or `messages`, in the request; then return any response:
    the server writes it, but it goes nowhere, as the connection isn't the server's any more. With
    TLS in the WSGI server, and on Windows, it is still the server's: then return only after the
    connection has ended, and ``detach`` isn't possible.

    Parameters:

    - ``headers``: further headers of the answer, such as Set-Cookie; a mapping or pairs.
    - ``detach``: True if the connection is to outlive the request, which frees the worker (False).
      Then have a thread iterate over it, or `lomond.pool.Pool.add` or `lomond.server.Server.add`
      drive it, and return a response at once.
    - ``protocols``, ``compress``, ``origins``, ``on_request``, ``extensions``,
      ``max_message_size``, ``write_timeout``, ``json_loads``, ``json_dumps``, ``fragment_size``,
      ``max_read_ahead``, ``message_parts``, ``text_as_bytes``, ``logger``: as for
      `lomond.server.Server`.
      Without ``origins``, the pages of any web site can connect with the user's cookies.
    - ``poll`` (5), ``ping_rate`` (30), ``ping_timeout`` (30), ``close_timeout`` (10) and the other
      options of a loop: as for `lomond.WebSocket.connect`. A pool's `add` takes its own.

    Raises `NotUpgraded`, with the answer, if the request can't be upgraded or is refused;
    WebSocketUnavailable if this server gives no access to its socket, or was upgraded already;
    TypeError and ValueError for wrong options.
    """
    closing = _closing
    check_flag('detach', detach)
    loop_options, endpoint_options = _sort_options('wsgi.upgrade', options)
    fields = check_headers(headers)
    if WEBSOCKET_KEY in environ:
        raise errors.WebSocketUnavailable('this request was upgraded before, to {!r}'.format(
            environ[WEBSOCKET_KEY]))
    websocket = make_upgraded(_address(environ), **endpoint_options)
    try:
        answer, protocol, extensions, refusal = websocket.examine(_request(environ), fields)
    except errors.HandshakeError as error:
        refused = error if isinstance(error, UpgradeRefused) else UpgradeRefused()
        raise NotUpgraded(
            refused.status_code, (text_type(error) + u'\n').encode('utf-8'), refused.headers)
    if refusal is not None:
        raise NotUpgraded(refusal.status, refusal.body, refusal.headers)
    transport = _take(environ, detach)
    websocket.hand_over(transport, protocol, extensions, loop_options)
    try:
        transport.send(answer, websocket.write_timeout)
    except errors.TransportFail:
        transport.abort()       # the client is gone, as the loop is about to see
    websocket.environ = {
        name: value for name, value in environ.items() if name not in HOLDERS + (_SINK_KEY,)}
    environ[WEBSOCKET_KEY] = websocket
    _add(websocket)
    if _closing is not closing:     # `close_all` has come meanwhile, too early for this one
        websocket.close(*_closing)
    return websocket


@takes_options('websocket_app', '')
def websocket_app(handler, detach=False, **options):
    # type: (Handler, bool, **Any) -> Application
    """Return a WSGI application that upgrades each request, and calls a handler.

    Parameters: ``handler``, called with a `lomond.server.ServerWebSocket`, under the rules of
    `lomond.server.Server`: when it returns, the connection is closed with 1000; if it raises, the
    exception is logged and the connection closed with 1011. ``detach``: True to call it in a thread
    of its own, which frees the worker (False). ``options`` of `upgrade`. Raises TypeError and
    ValueError.
    """
    if not callable(handler):
        raise TypeError('the handler must be callable, not {!r}: websocket_app(handler)'.format(
            handler))
    check_plain('the handler', handler)
    check_flag('detach', detach)
    check_headers(options.get('headers', ()))
    others = _sort_options('websocket_app', {
        name: value for name, value in options.items() if name != 'headers'})[1]
    make_upgraded(None, **others)       # raises for invalid options

    def application(environ, start_response):
        # type: (Environ, Callable[..., Any]) -> Iterable[bytes]
        try:
            websocket = upgrade(environ, detach=detach, **options)
        except NotUpgraded as refused:
            return refused(environ, start_response)
        if detach:
            _start(handler, websocket)
        else:
            _run(handler, websocket)
        start_response('200 OK', [('Content-Length', '0')])
        return []

    return application


def _start(handler, websocket):
    # type: (Handler, UpgradedWebSocket) -> None
    """Run a handler in a thread of its own; log, and break the connection, if none is left."""
    thread = threading.Thread(
        target=_run, args=(handler, websocket), name='lomond {}'.format(websocket.address))
    thread.daemon = True
    _threads[thread] = None
    try:
        start_thread(thread)
    except socket.error as error:
        del _threads[thread]
        websocket.logger.warning(
            u'could not start a thread for %r: %s', websocket, describe(error))
        websocket.force_disconnect()


def _run(handler, websocket):
    # type: (Handler, UpgradedWebSocket) -> None
    try:
        if websocket.begin():
            run_handler(handler, websocket)
    finally:
        websocket.dispose()
        _threads.pop(threading.current_thread(), None)


def _sort_options(call, options):
    # type: (str, Dict[str, Any]) -> Tuple[Dict[str, Any], Dict[str, Any]]
    """Return the options of a loop, which are checked, and those of a `ServerWebSocket`.

    Raises TypeError, in the name of a ``call``, for one that it doesn't take.
    """
    timing = dict(_TIMING)  # type: Dict[str, Any]
    others = {}
    for name, value in options.items():
        if name in Timing._fields or name == 'spin':
            timing[name] = value
        else:
            others[name] = value
    check_passed_on(call, others, Server.__init__)
    for name in 'origins', 'on_request':
        check_plain(name, others.get(name))
    spin = check_spin(timing.pop('spin', 0.0))
    return dict(check_timing(**timing)._asdict(), spin=spin), others


# -- what the request and its server say --

def _request(environ):
    # type: (Environ) -> Request
    """Return the client's request; raises HandshakeError."""
    target = environ.get('REQUEST_URI') or environ.get('RAW_URI')
    if not target:
        path = environ.get('SCRIPT_NAME', '') + environ.get('PATH_INFO', '')
        target = quote(path if isinstance(path, bytes) else path.encode('latin-1'), _SAFE) or '/'
        if environ.get('QUERY_STRING'):
            target += '?' + environ['QUERY_STRING']
    headers = [(name[5:].replace('_', '-').title(), value)
               for name, value in environ.items() if name.startswith('HTTP_')]
    if environ.get('CONTENT_LENGTH'):
        headers.append(('Content-Length', environ['CONTENT_LENGTH']))
    # eventlet always says HTTP/1.0.
    version = 'HTTP/1.1' if 'eventlet.input' in environ else environ['SERVER_PROTOCOL']
    try:
        return rebuild_request(environ['REQUEST_METHOD'], target, headers, version)
    except ValueError as error:
        raise UpgradeRefused(text_type(error))


def _address(environ):
    # type: (Environ) -> Tuple[str, int]
    """Return the client's address, as middleware for proxies may have changed it."""
    port = environ.get('REMOTE_PORT') or '0'
    return environ.get('REMOTE_ADDR', ''), int(port) if str(port).isdigit() else 0


# -- the connection --

_has_warned = False

# Some servers drop the environ before they write the response, in the same thread.
_of_thread = threading.local()


def _take(environ, detach):
    # type: (Environ, bool) -> Any
    """Return a transport over the client's connection; raises WebSocketUnavailable."""
    sock = find_socket(environ)
    if not detach:
        check_cooperation(sock)
        _warn_of_timeout(environ)
    is_ours = can_take_over(sock)
    if detach and not is_ours:
        raise errors.WebSocketUnavailable(
            'detach=True is not possible with TLS in the WSGI server, nor on Windows: leave TLS to '
            'a proxy in front, or iterate over the WebSocket in the request')
    rest = take_read_ahead(environ)
    if is_ours:
        try:
            sock, environ[_SINK_KEY] = take_over(sock)
        except socket.error as error:       # there are no descriptors left
            log.warning(u'could not take over a connection: %s', describe(error))
            raise NotUpgraded(503, b'the server has no descriptors left\n')
        _of_thread.sink = environ[_SINK_KEY]
        _send_at_once(sock)
    else:
        sock = lend(sock)
    try:
        transport = wrap(sock)
    except errors.ConnectFail:      # there is nobody to answer to
        sock.close()
        raise NotUpgraded(400, b'the client is gone\n')
    if rest:
        transport.put_back(rest)
    return transport


def _send_at_once(sock):
    # type: (Any) -> None
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except socket.error:
        pass    # a Unix socket


def _warn_of_timeout(environ):
    # type: (Environ) -> None
    global _has_warned  # noqa: PLW0603
    if kills_long_requests(environ) and not _has_warned:
        _has_warned = True
        log.warning(
            "a sync worker of gunicorn is ended after --timeout, with its WebSocket: pass "
            "detach=True, use gunicorn's --threads or -k gevent, or raise --timeout")


# -- all of them --

# Seconds that any `Event.wait` takes; 2.7's without a limit can't be interrupted.
_LONG = 3600.0

# By their ids: those of this process that may be open.
_upgraded = weakref.WeakValueDictionary()  # type: weakref.WeakValueDictionary[int, UpgradedWebSocket]
_process = None  # type: Optional[int]

# The code and the reason of the last `close_all`: a new list for each call.
_closing = []  # type: List[Any]

# The threads that run the handlers of detached connections.
_threads = {}  # type: Dict[threading.Thread, None]


def _add(websocket):
    # type: (UpgradedWebSocket) -> None
    global _process     # noqa: PLW0603
    if _process != os.getpid():     # a forked worker: these are its parent's
        _process = os.getpid()
        _upgraded.clear()
        _threads.clear()
    _upgraded[id(websocket)] = websocket


def _open_now():
    # type: () -> List[UpgradedWebSocket]
    if _process != os.getpid():
        return []
    websockets = [reference() for reference in _upgraded.valuerefs()]   # copied in one call in C
    return [websocket for websocket in websockets
            if websocket is not None and not websocket.is_closed]


def close_all(code=SHUTDOWN[0], reason=SHUTDOWN[1], timeout=10.0):
    # type: (Optional[int], Union[bytes, text_type], Optional[float]) -> None
    """Close all connections of this process that `upgrade` made; wait until they have ended.

    And, with ``websocket_app(detach=True)``, until the handlers have.

    For the hook of a worker's exit, or a signal's handler, where ``timeout`` has to be 0: the
    thread that it interrupts may be the one that has to end a connection. Does nothing the second
    time.

    Parameters: ``code`` (1001) and ``reason``, as for `lomond.WebSocket.close`, whose errors it
    raises; ``timeout``: seconds to wait, after which those that are left are broken (10); 0 not to
    wait, and to break none; None to wait as long as it takes.
    """
    global _closing     # noqa: PLW0603
    payload = encode_close(code, reason)
    seconds = check_seconds('timeout', timeout)
    _closing = [code, reason]
    websockets = []
    for websocket in _open_now():
        session = websocket.session
        if session is None:         # nothing drives it
            websocket.close(code, reason)
        else:
            session.close(payload)      # which doesn't wait for a write of another thread
            websockets.append(websocket)
    if timeout == 0:
        return
    deadline = monotonic() + (NEVER if seconds is None else seconds)
    bell = threading.Event()
    bells.append(bell)
    try:
        while not all(websocket.is_closed for websocket in websockets):
            left = deadline - monotonic()
            if left <= 0:
                break
            bell.wait(min(left, _LONG))
            bell.clear()
    finally:
        bells.remove(bell)
    for websocket in websockets:
        if not websocket.is_closed:
            websocket.force_disconnect()
    join_all(list(_threads), None if seconds is None else max(0.0, deadline - monotonic()))
