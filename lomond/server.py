"""A WebSocket server on the same protocol core: a thread for each connection, or one for all.

It is for demos, tests, embedded feeds and devices in a network of your own, and not for the open
internet: it has no defence against clients that open many connections.

    def echo(websocket):
        for event in websocket:
            if event.name == 'text':
                websocket.send_text(event.text)

    with Server(echo) as server:
        print(server.url)
        ...

    server = Server(threads=False)
    for websocket, event in server:
        if event.name == 'text':
            server.broadcast(event.text)

How connections are served is in `lomond._serving`.
"""

from __future__ import absolute_import, division, print_function

from functools import partial

from lomond import errors
from lomond._checks import (
    check_callable,
    check_count,
    check_flag,
    check_logger,
    check_plain,
    check_seconds,
    check_ssl_context,
)
from lomond._compat import TYPE_CHECKING, text_type
from lomond._crowd import Crowd
from lomond._hints import takes_options
from lomond._options import FRAGMENT_SIZE, MAX_MESSAGE_SIZE
from lomond._served import ServerEvent, ServerReady, ServerWebSocket
from lomond._serving import SHUTDOWN, InOneThread, InThreads, Listener
from lomond._upgraded import UpgradedWebSocket
from lomond.engine.outbox import MAX_QUEUE, Overflow
from lomond.http.url import Target, bracket
from lomond.net.listen import SocketFile, listen
from lomond.net.transport import MAX_READ_AHEAD
from lomond.protocol.close import encode_close
from lomond.protocol.extensions.negotiation import check_factories
from lomond.protocol.handshake import Request, check_protocols
from lomond.protocol.refusal import Refusal, check_origins

__all__ = ['Refusal', 'Request', 'Server', 'ServerEvent', 'ServerReady', 'ServerWebSocket']

if TYPE_CHECKING:
    from os import PathLike  # noqa: F401
    from ssl import SSLContext  # noqa: F401
    from typing import Any, Callable, Dict, Generator, Iterable, List, Optional, Tuple, Union  # noqa: F401

    from lomond._messages import BytesLike  # noqa: F401
    from lomond._options import JSONDumps, JSONLoads, Logger, MessageParts  # noqa: F401
    from lomond.engine.outbox import OverflowName  # noqa: F401
    from lomond.protocol.extensions.negotiation import Factory  # noqa: F401
    from lomond.protocol.extensions.permessage_deflate import DeflateOptions  # noqa: F401
    from lomond.protocol.refusal import OnRequest, Origins  # noqa: F401

    Handler = Callable[[ServerWebSocket], Any]

#: The default of the parameter ``timeout`` of `close`: None is another value.
CLOSE_TIMEOUT = Ellipsis  # type: Any


class BaseServer(object):
    """What listens on a port, or on a path: the options of a server, and its address.

    The parameters are those of `Server`. A subclass says how it serves connections, by `_choose`.
    """

    @takes_options('Server', 'Server(handler, {}=...)')
    def __init__(
        self,
        handler=None,                       # type: Optional[Handler]
        host=u'127.0.0.1',                  # type: text_type
        port=0,                             # type: int
        ssl_context=None,                   # type: Optional[SSLContext]
        protocols=None,                     # type: Optional[Iterable[str]]
        compress=False,                     # type: Union[None, bool, DeflateOptions]
        max_message_size=MAX_MESSAGE_SIZE,  # type: Optional[int]
        handshake_timeout=10.0,             # type: Optional[float]
        write_timeout=30.0,                 # type: Optional[float]
        max_connections=100,                # type: int
        close_timeout=10.0,                 # type: Optional[float]
        poll=5.0,                           # type: Optional[float]
        ping_rate=30.0,                     # type: Optional[float]
        ping_timeout=None,                  # type: Optional[float]
        auto_pong=True,                     # type: bool
        json_loads=None,                    # type: Optional[JSONLoads]
        json_dumps=None,                    # type: Optional[JSONDumps]
        fragment_size=FRAGMENT_SIZE,        # type: Optional[int]
        max_read_ahead=MAX_READ_AHEAD,      # type: Optional[int]
        origins=None,                       # type: Origins
        on_request=None,                    # type: Optional[OnRequest]
        unix_path=None,                     # type: Union[None, text_type, PathLike[str]]
        reuse_port=False,                   # type: bool
        threads=True,                       # type: bool
        max_queue=MAX_QUEUE,                # type: Optional[int]
        overflow=Overflow.RAISE,            # type: OverflowName
        extensions=(),                      # type: Iterable[Factory]
        message_parts=False,                # type: MessageParts
        text_as_bytes=False,                # type: bool
        heartbeat=None,                     # type: Optional[float]
        logger=None,                        # type: Optional[Logger]
    ):
        # type: (...) -> None
        threads = check_flag('threads', threads)
        reuse_port = check_flag('reuse_port', reuse_port)
        make_serving = self._choose(handler, poll, threads, max_queue, overflow)
        check_plain('origins', origins)
        check_plain('on_request', on_request)
        self._endpoint_options = {
            'ssl_context': check_ssl_context(ssl_context),
            'protocols': check_protocols(protocols),
            'compress': compress,
            'max_message_size': max_message_size,
            'handshake_timeout': check_seconds('handshake_timeout', handshake_timeout),
            'write_timeout': write_timeout,
            'json_loads': json_loads,
            'json_dumps': json_dumps,
            'fragment_size': fragment_size,
            'max_read_ahead': max_read_ahead,
            'origins': check_origins(origins),
            'on_request': check_callable('on_request', on_request),
            'extensions': check_factories(extensions),
            'message_parts': message_parts,
            'text_as_bytes': text_as_bytes,
            'logger': check_logger(logger),
        }  # type: Dict[str, Any]
        ServerWebSocket(None, None, **self._endpoint_options)   # raises for invalid options
        options = {
            'poll': check_seconds('poll', poll),
            'ping_rate': check_seconds('ping_rate', ping_rate),
            'ping_timeout': check_seconds('ping_timeout', ping_timeout),
            'close_timeout': check_seconds('close_timeout', close_timeout),
            'auto_pong': check_flag('auto_pong', auto_pong),
            'heartbeat': check_seconds('heartbeat', heartbeat),
        }  # type: Dict[str, Any]
        self._close_timeout = close_timeout or None
        check_count('max_connections', max_connections, 1)
        self._socket_file = None  # type: Optional[SocketFile]
        if unix_path is not None:
            if (host, port, reuse_port) != (u'127.0.0.1', 0, False):
                raise TypeError('unix_path= replaces host=, port= and reuse_port=: remove these')
            self._socket_file = SocketFile(unix_path)

        if self._socket_file is None:
            sock = listen(host, port, reuse_port)
            self._address = sock.getsockname()[:2]  # type: Tuple[str, int]
        else:
            sock = self._socket_file.listen()
            self._address = '', 0
        listener = Listener(sock, self._socket_file, self._endpoint_options)
        try:
            self._serving = make_serving(
                listener, max_connections=max_connections, options=options)  # type: Any
        except BaseException:
            listener.close()
            raise

    def _choose(self, handler, poll, threads, max_queue, overflow):
        # type: (Any, Any, bool, Any, Any) -> Callable[..., Any]
        """Return how to serve: a function of a listener, and of options as keywords.

        It has, beside what `InThreads` takes, what this adds. Raises TypeError and ValueError.
        """
        raise NotImplementedError

    @property
    def host(self):
        # type: () -> str
        """The address that the server listens on; empty with ``unix_path``."""
        return self._address[0]

    @property
    def port(self):
        # type: () -> int
        """The port that the server listens on; 0 with ``unix_path``."""
        return self._address[1]

    @property
    def address(self):
        # type: () -> Union[Tuple[str, int], text_type]
        """Where the server listens, from the start: a pair of `host` and `port`, or the path."""
        return self._address if self._socket_file is None else self._socket_file.path

    @property
    def url(self):
        # type: () -> text_type
        """The URL for a client on this machine."""
        scheme = u'ws' if self._endpoint_options['ssl_context'] is None else u'wss'
        if self._socket_file is not None:
            path = self._socket_file.path
            return Target(scheme + u'+unix', u'localhost', 0, u'/', None, path).url
        return u'{}://{}:{}/'.format(scheme, bracket(text_type(self.host)), self.port)

    def _check_close(self, code, reason, timeout):
        # type: (Optional[int], Union[bytes, text_type], Optional[float]) -> Tuple[Any, Any, Optional[float]]
        """Return the arguments of `close`, with the default of its timeout; raises."""
        encode_close(code, reason)      # raises
        return code, reason, self._close_timeout if timeout is CLOSE_TIMEOUT \
            else check_seconds('timeout', timeout)

    def _warn_if_closed(self):
        # type: () -> None
        """Log that nobody is served; no error, as a signal's handler may close it at any moment."""
        if self._serving.is_closed:
            self._endpoint_options['logger'].warning(
                'this server was closed before: make another one')


class Server(BaseServer):
    """Listens, and runs a handler for each connection, in a thread of its own.

    Or, with ``threads=False``, serves thousands of connections in the thread that iterates over
    it: that yields pairs of a `ServerWebSocket` and its event, from Ready on, until `close` was
    called and the last connection has ended. A send never waits there, see `lomond.pool.Pool`.
    Leaving the loop by ``break`` breaks all connections; the server goes on listening, and clients
    wait for the next loop.

    Parameters:

    - ``handler``: called with a `ServerWebSocket`; not with ``threads=False``. When it returns, an
      open connection is closed with 1000. If it raises, the exception is logged with its
      traceback, and the connection is closed with 1011.
    - ``host`` (127.0.0.1), ``port`` (0): where to listen; port 0 uses any free one.
    - ``ssl_context``: an `ssl.SSLContext` for wss, see `lomond.tls.server_context`.
    - ``protocols``: names of subprotocols, the preferred one first.
    - ``compress``: True to accept permessage-deflate, or a `lomond.extensions.DeflateOptions`.
    - ``max_message_size``, ``write_timeout``, ``json_loads``, ``json_dumps``, ``fragment_size``,
      ``max_read_ahead``, ``message_parts``, ``text_as_bytes``: as for a client.
    - ``logger``: the `logging.Logger` or `logging.LoggerAdapter` for what is logged about this and
      its connections; None for the logger ``lomond``.
    - ``extensions``: factories of extensions to support, such as subclasses of
      `lomond.extensions.Extension` (none).
    - ``handshake_timeout``: seconds for TLS and the client's request (10).
    - ``max_connections``: how many may be open at once (100); further ones, and those for which no
      thread can be started, are answered with HTTP 503, or closed if there is an ``ssl_context``.
    - ``close_timeout``: seconds to wait for the answer to a Close frame, and in `close` for the
      handlers (10).
    - ``poll``, ``ping_rate``, ``ping_timeout``, ``auto_pong``, ``heartbeat``: as for
      `WebSocket.connect`. With ``threads=False`` there is no ``poll``: iterate over `polling`.
    - ``origins``: the origins of the web pages that may connect, such as ``https://example.org``,
      and None to allow requests without an Origin, which don't come from a browser; or a function
      that is called with the Origin or None, and returns whether it is allowed. Any other request
      is answered with HTTP 403. None (the default) allows any (RFC 6455 10.2).
    - ``on_request``: called with the `Request`, before it is accepted and in the thread of its
      connection; returns None to accept it, or a `Refusal`. If it raises, the exception is logged
      with its traceback, and the client gets HTTP 500. With ``threads=False`` that thread is the
      loop's: while ``on_request`` or a function ``origins`` waits, so do all connections.
    - ``unix_path``: listen on a Unix socket at this path (None), without ``host`` and ``port``. The
      umask decides which users may connect. A file that a server has left is replaced, and `close`
      removes the file.
    - ``reuse_port``: share the port with other processes that have this option (False), by
      SO_REUSEPORT; each accepts a part of the connections.
    - ``threads``: True for a thread for each connection, False for one thread for all, the one
      that iterates over the server.
    - ``max_queue``, ``overflow``: with ``threads=False``, as for `lomond.pool.Pool`.

    It listens from the start; `start` or `serve_forever` accept connections. Raises TypeError and
    ValueError for invalid arguments, and socket.error, which names the address, if it can't listen.
    """

    def _choose(self, handler, poll, threads, max_queue, overflow):
        # type: (Any, Any, bool, Any, Any) -> Callable[..., Any]
        if not threads:
            if handler is not None or poll != 5.0:
                raise TypeError('Server(threads=False) takes no handler and no poll: iterate over '
                                'the server, or over server.polling(seconds)')
            return partial(InOneThread, max_queue=max_queue, overflow=overflow)
        if not callable(handler):
            raise TypeError('the handler must be callable, not {!r}: '
                            'Server(handler, host, port)'.format(handler))
        if (max_queue, overflow) != (MAX_QUEUE, Overflow.RAISE):
            raise TypeError('max_queue and overflow are for Server(threads=False): with threads, a '
                            'send waits until the client has read enough')
        check_plain('the handler', handler)
        return partial(InThreads, handler=handler)

    @property
    def connections(self):
        # type: () -> List[ServerWebSocket]
        """The websockets of the connections that are there now, in a new list.

        Those that are doing the handshake or closing are among them: only if ``is_open`` is true
        can you send to one.
        """
        return self._serving.websockets     # type: ignore[no-any-return]

    def start(self):
        # type: () -> Server
        """Accept connections in a new thread, unless `start` was called before; return the server.

        With ``threads=False`` it only returns the server. Raises socket.error if the thread can't
        be started.
        """
        self._warn_if_closed()
        if isinstance(self._serving, InThreads):
            self._serving.start()
        return self

    def serve_forever(self):
        # type: () -> None
        """Accept connections in this thread, until `close` is called; for ``threads=True``."""
        if not isinstance(self._serving, InThreads):
            raise TypeError('with threads=False, iterate over the server')
        self._warn_if_closed()
        self._serving.serve_forever()

    # -- with threads=False --

    def __iter__(self):
        # type: () -> Generator[Tuple[ServerWebSocket, ServerEvent], None, None]
        return iter(self._crowd)

    if not TYPE_CHECKING:       # for a type checker it is an error already
        def __aiter__(self):
            raise TypeError(
                'a Server has no asynchronous loop: in an event loop use aio.serve(handler, host, '
                'port), or run the plain one in a thread of its own')

    def polling(self, seconds):
        # type: (float) -> Generator[Tuple[Optional[ServerWebSocket], ServerEvent], None, None]
        """Iterate as over the server, and yield ``(None, Poll())`` every ``seconds``."""
        return self._crowd.polling(seconds)

    def broadcast(self, message, websockets=None, compress=True):
        # type: (Union[text_type, BytesLike], Optional[Iterable[ServerWebSocket]], bool) -> int
        """Send a message to all open connections, or to these; as `lomond.pool.Pool.broadcast`."""
        return self._crowd.broadcast(message, websockets, compress)

    def add(self, websocket):
        # type: (ServerWebSocket) -> None
        """Serve a connection of `lomond.wsgi.upgrade`, too, from any thread.

        It counts in ``max_connections``, and isn't refused because of it. Nothing happens if its
        own server has closed it before, as by `lomond.wsgi.close_all`. Raises TypeError for
        another WebSocket, and WebSocketUnavailable for one that is driven already, or after
        `close`.
        """
        if not isinstance(websocket, UpgradedWebSocket):
            raise TypeError('a server takes WebSockets of lomond.wsgi.upgrade, not {!r}'.format(
                websocket))
        serving = self._crowd  # type: Any
        if serving.is_closed:
            raise errors.WebSocketUnavailable('the server was closed: make another one')
        serving.add(websocket)

    def remove(self, websocket, close=True):
        # type: (ServerWebSocket, bool) -> bool
        """Break a connection off, or let a pool go on with it; as `lomond.pool.Pool.remove`."""
        return self._crowd.remove(websocket, close)

    @property
    def _crowd(self):
        # type: () -> Crowd
        if not isinstance(self._serving, Crowd):
            raise TypeError('this server runs a thread for each connection: for one loop over all '
                            'of them, and broadcast, use Server(threads=False)')
        return self._serving

    # -- the end --

    def close(self, code=SHUTDOWN[0], reason=SHUTDOWN[1], timeout=CLOSE_TIMEOUT):
        # type: (Optional[int], Union[bytes, text_type], Optional[float]) -> None
        """Stop listening, close all connections with 1001, and wait for the handlers.

        If a client doesn't answer within ``timeout`` seconds, its connection is broken; a handler
        that runs for that time once more is abandoned: a second call doesn't wait for it again. In
        a forked child this closes the child's copy of the listening socket only.

        With ``threads=False`` it doesn't wait: the loop goes on until the last connection's end.
        The first call counts, unless a later one has an earlier end.

        Parameters: ``code`` and ``reason``, as for `WebSocket.close`, whose errors it raises;
        ``timeout``, None for as long as it takes, 0 to break the connections now; by default it is
        the server's ``close_timeout``, which limits each closing handshake in any case.
        """
        self._serving.close(*self._check_close(code, reason, timeout))

    def __enter__(self):
        # type: () -> Server
        try:
            return self.start()
        except BaseException:       # no thread, or Ctrl-C
            self.close()
            raise

    def __exit__(self, *_exc_info):
        # type: (*Any) -> None
        self.close()
        if isinstance(self._serving, Crowd):    # a loop in another thread goes on to its end
            self._serving.end_loop()
