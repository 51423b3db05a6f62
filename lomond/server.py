"""A small blocking WebSocket server, on the same protocol core as the client.

It is for demos, tests and embedded feeds, and not for the open internet: it uses a thread for each
connection, and has no defence against clients that open many.

    def echo(websocket):
        for event in websocket:
            if event.name == 'text':
                websocket.send_text(event.text)

    with Server(echo) as server:
        print(server.url)
        ...
"""

from __future__ import absolute_import, division, print_function

import logging
import os
import socket
import threading
from itertools import chain

from lomond import errors, events
from lomond._checks import check_callable, check_count, check_seconds, check_ssl_context
from lomond._compat import TYPE_CHECKING, monotonic, set_close_on_exec, text_type
from lomond._describe import describe
from lomond._endpoint import FRAGMENT_SIZE, MAX_MESSAGE_SIZE, Endpoint, with_defaults
from lomond._hints import takes_options
from lomond._locks import ProcessLock
from lomond.engine.server import ServerSession
from lomond.engine.timers import NEVER
from lomond.http.url import Target, bracket
from lomond.net.listen import SocketFile, listen
from lomond.net.shortage import SHORTAGES
from lomond.net.transport import MAX_READ_AHEAD, would_block
from lomond.net.waiter import READ, wait
from lomond.net.waker import Waker
from lomond.net.workers import start_thread
from lomond.protocol.close import encode_close
from lomond.protocol.connection import SERVER
from lomond.protocol.handshake import (
    Request,
    RequestReader,
    UpgradeRefused,
    answer_request,
    build_answer,
    check_protocols,
    extension_names,
    plain_answer,
)
from lomond.protocol.limits import DEFAULT_LIMITS
from lomond.protocol.refusal import Refusal, check_origins, refuse_origin, refuse_request
from lomond.session import BlockingLoop
from lomond.status import Status

__all__ = ['Refusal', 'Request', 'Server', 'ServerEvent', 'ServerReady', 'ServerWebSocket']

if TYPE_CHECKING:
    from os import PathLike  # noqa: F401
    from ssl import SSLContext  # noqa: F401
    from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Set, Tuple, Union  # noqa: F401

    from lomond._endpoint import JSONDumps, JSONLoads  # noqa: F401
    from lomond.events import AnyEvent  # noqa: F401
    from lomond.protocol.connection import Connection  # noqa: F401
    from lomond.protocol.extensions.permessage_deflate import DeflateOptions  # noqa: F401
    from lomond.protocol.refusal import OnRequest, Origins  # noqa: F401

    Handler = Callable[['ServerWebSocket'], Any]

    # To a type checker these are what a handler's loop yields; at run time they are base classes
    # of it, for annotations: see `lomond.events.AnyEvent`.
    class ServerReady(events.Ready):
        """Ready as a handler gets it: ``response`` is the client's request."""

        def __init__(self, response, protocol, extensions, received_time=None):
            # type: (Request, Optional[text_type], Set[text_type], Optional[float]) -> None
            self.response = response  # type: Request   # type: ignore[assignment]

    ServerEvent = Union[
        events.Binary, events.Closed, events.Closing, events.Disconnected, events.Ping,
        events.Poll, events.Pong, events.ProtocolError, ServerReady, events.Text,
        events.Unresponsive]
else:
    ServerReady = events.Ready
    ServerEvent = events.Event

log = logging.getLogger('lomond')  # type: logging.Logger

# How long to wait before the next `accept` if the process has no descriptors left (seconds).
_PAUSE = 0.1

# How long to wait before the next warning about a failed `accept` (seconds).
_WARN_EVERY = 60.0

# Flags of the code of generators, coroutines and asynchronous generators.
_NOT_RUN_BY_A_CALL = 0x20 | 0x80 | 0x200

# What a send raises if the client, or `Server.close`, has ended the connection.
_GONE = (errors.TransportFail, errors.WebSocketClosing, errors.WebSocketClosed)

# Parameters that can't change while a connection is open.
_AGREED_ON = frozenset([
    'protocols', 'compress', 'max_message_size', 'json_loads', 'fragment_size', 'max_read_ahead'])

# The close code and reason of `Server.close`.
_SHUTDOWN = (Status.GOING_AWAY, u'server shutting down')


@with_defaults
class ServerWebSocket(Endpoint):
    """The server's end of a WebSocket, which `Server` passes to the handler.

    Iterating over it yields Ready (whose ``response`` is the client's
    `Request`), Poll, and then the same events as a client's loop.
    """

    _role = SERVER

    #: Attributes of a client that the session uses.
    trace = None
    connect_timeout = None  # type: Optional[float]
    is_refused = False

    def __init__(
        self,
        sock,                               # type: Optional[socket.socket]
        address,                            # type: Any
        ssl_context=None,                   # type: Optional[SSLContext]
        protocols=None,                     # type: Optional[Iterable[str]]
        compress=False,                     # type: Union[bool, DeflateOptions]
        max_message_size=MAX_MESSAGE_SIZE,  # type: Optional[int]
        handshake_timeout=10.0,             # type: Optional[float]
        write_timeout=30.0,                 # type: Optional[float]
        json_loads=None,                    # type: Optional[JSONLoads]
        json_dumps=None,                    # type: Optional[JSONDumps]
        fragment_size=FRAGMENT_SIZE,        # type: Optional[int]
        max_read_ahead=MAX_READ_AHEAD,      # type: Optional[int]
        origins=None,                       # type: Origins
        on_request=None,                    # type: Optional[OnRequest]
    ):
        # type: (...) -> None
        super(ServerWebSocket, self).__init__(
            protocols, compress, max_message_size, write_timeout, json_loads, json_dumps,
            fragment_size, max_read_ahead)
        self.sock = sock  # type: Optional[socket.socket]
        #: The client's address, as `socket.accept` returns it.
        self.address = address  # type: Any
        self.ssl_context = ssl_context  # type: Optional[SSLContext]
        self.connect_timeout = handshake_timeout
        #: The client's request; None until it has arrived, which is before a handler is called.
        self.request = None  # type: Request    # type: ignore[assignment]
        #: The subprotocol, or None.
        self.protocol = None  # type: Optional[text_type]
        self._origins = check_origins(origins)
        self._on_request = on_request
        self._reader = RequestReader(DEFAULT_LIMITS.head)
        self._connection = self._new_connection()
        # Once the request has arrived: why it is refused or None, the negotiated codec, and the
        # bytes that followed the request.
        self._outcome = None  # type: Any
        self._answer = None  # type: Optional[bytes]
        self._loop = None  # type: Any      # the session's generator
        self._events = None  # type: Optional[Iterator[ServerEvent]]
        # Attached here, so that close() has an effect before open(), too.
        self.attach(BlockingServerSession(self))
        self._is_made = True

    if not TYPE_CHECKING:
        def __setattr__(self, name, value):
            """Set an attribute; AttributeError for a parameter that can't change any more."""
            if self._is_made and name in _AGREED_ON:
                raise AttributeError('{0} cannot be changed on an open connection: use '
                                     'Server(handler, {0}=...)'.format(name))
            super(ServerWebSocket, self).__setattr__(name, value)

    def __repr__(self):
        # type: () -> str
        return 'ServerWebSocket({!r})'.format(self.address)

    @property
    def stream(self):
        # type: () -> Connection
        """The protocol's side of the connection."""
        return self._connection

    def open(self, **options):
        # type: (**Any) -> bool
        """Do the handshake; return True if the client's messages can be read now.

        ``options`` are passed to `WebsocketSession.run`.
        """
        session = self._session  # type: Any
        self._loop = session.run(**options)
        for event in self._loop:
            if event.name == 'ready':
                self._events = chain([event], self._loop)
                return True
            # A failed handshake is the client's fault, an earlier failure is the server's.
            is_ours = event.name == 'connect_fail' and event.phase == 'connect'
            log.log(logging.WARNING if is_ours else logging.DEBUG, '%r: %r', self, event)
        return False

    def dispose(self):
        # type: () -> None
        """Free the socket, in any state; for the thread that called `open`."""
        if self._loop is not None:
            self._loop.close()
        if self.sock is not None:
            self.sock.close()

    def __iter__(self):
        # type: () -> Iterator[ServerEvent]
        if self._events is None:
            raise errors.WebSocketUnavailable('call open() before iterating')
        return self._events

    def _shake_hands(self, data):
        # type: (bytes) -> Iterator[AnyEvent]
        try:
            found = self._reader.feed(data)
            if found is None:
                return
            head, rest = found
            self.request = Request(head)
            answer, self.protocol, codec = answer_request(
                self.request, self.protocols, self._deflate_options)
            self._outcome = (None, codec, rest)
            refusal = self._refuse()
            if refusal is not None:
                answer = build_answer(refusal.status, refusal.body, refusal.headers)
                self._outcome = (u'refused with HTTP {}: {}'.format(
                    refusal.status, refusal.body[:200].decode('utf-8', 'replace')), None, b'')
        except errors.CriticalProtocolError as error:
            self.stream.reject()
            yield events.ProtocolError(text_type(error), critical=True)
            return
        except errors.HandshakeError as error:
            refused = error if isinstance(error, UpgradeRefused) else UpgradeRefused()
            answer = plain_answer(refused.status_code, text_type(error), refused.headers)
            self._outcome = (text_type(error), None, b'')
        self._answer = answer

    def _refuse(self):
        # type: () -> Optional[Refusal]
        """Return the refusal that the server's options lead to, or None to accept the request."""
        try:
            return refuse_origin(self.request, self._origins) \
                or refuse_request(self.request, self._on_request)
        except Exception:       # an error in the user's function must not end the server
            log.exception('on_request (or the function origins) failed for %r', self)
            return Refusal(500, u'the server could not check the request\n')

    def take_answer(self):
        # type: () -> Optional[bytes]
        """Return the answer to the client's request, once; the session calls this."""
        answer, self._answer = self._answer, None
        return answer

    def answered(self, write_error):
        # type: (Optional[text_type]) -> Iterator[AnyEvent]
        """Yield the events that follow our answer; the session calls this once it was sent.

        ``write_error`` says why it could not be sent, or is None.
        """
        refusal, codec, rest = self._outcome
        if refusal is not None:     # whether or not the client waited to read it
            self.stream.reject()
            yield events.Rejected(None, refusal)    # type: ignore[arg-type]
            return
        if write_error is not None:
            self.stream.reject()
            yield events.ProtocolError(write_error, critical=True)
            return
        self.stream.accept(codec)
        yield ServerReady(self.request, self.protocol, extension_names(codec))
        for event in self.stream.receive(rest):
            yield event


class BlockingServerSession(BlockingLoop, ServerSession):
    """Drives the server's end of a connection, in the handler's thread."""


class Server(object):
    """Listens, and runs a handler for each connection, in a thread of its own.

    Parameters:

    - ``handler``: called with a `ServerWebSocket`. When it returns, an open connection is closed
      with 1000. If it raises, the exception is logged with its traceback, and the connection is
      closed with 1011.
    - ``host`` (127.0.0.1), ``port`` (0): where to listen; port 0 uses any free one.
    - ``ssl_context``: an `ssl.SSLContext` for wss, see `lomond.tls.server_context`.
    - ``protocols``: names of subprotocols, the preferred one first.
    - ``compress``: True to accept permessage-deflate, or a `lomond.extensions.DeflateOptions`.
    - ``max_message_size``, ``write_timeout``, ``json_loads``, ``json_dumps``, ``fragment_size``,
      ``max_read_ahead``: as for a client.
    - ``handshake_timeout``: seconds for TLS and the client's request (10).
    - ``max_connections``: how many may be open at once (100); further ones, and those for which no
      thread can be started, are answered with HTTP 503, or closed if there is an ``ssl_context``.
    - ``close_timeout``: seconds to wait for the answer to a Close frame, and in `close` for the
      handlers (10).
    - ``poll``, ``ping_rate``, ``ping_timeout``, ``auto_pong``: as for `WebSocket.connect`.
    - ``origins``: the origins of the web pages that may connect, such as ``https://example.org``,
      and None to allow requests without an Origin, which don't come from a browser; or a function
      that is called with the Origin or None, and returns whether it is allowed. Any other request
      is answered with HTTP 403. None (the default) allows any (RFC 6455 10.2).
    - ``on_request``: called with the `Request`, before it is accepted and in the thread of its
      connection; returns None to accept it, or a `Refusal`. If it raises, the exception is logged
      with its traceback, and the client gets HTTP 500.
    - ``unix_path``: listen on a Unix socket at this path (None), without ``host`` and ``port``. The
      umask decides which users may connect. A file that a server has left is replaced, and `close`
      removes the file.
    - ``reuse_port``: share the port with other processes that have this option (False), by
      SO_REUSEPORT; each accepts a part of the connections.

    It listens from the start; `start` or `serve_forever` accept connections. Raises TypeError and
    ValueError for invalid arguments, and socket.error, which names the address, if it can't listen.
    """

    @takes_options('Server', 'Server(handler, {}=...)')
    def __init__(
        self,
        handler,                            # type: Handler
        host=u'127.0.0.1',                  # type: text_type
        port=0,                             # type: int
        ssl_context=None,                   # type: Optional[SSLContext]
        protocols=None,                     # type: Optional[Iterable[str]]
        compress=False,                     # type: Union[bool, DeflateOptions]
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
    ):
        # type: (...) -> None
        if not callable(handler):
            raise TypeError('the handler must be callable, not {!r}: '
                            'Server(handler, host, port)'.format(handler))
        for name, function in (
                ('the handler', handler), ('origins', origins), ('on_request', on_request)):
            if getattr(getattr(function, '__code__', None), 'co_flags', 0) & _NOT_RUN_BY_A_CALL:
                raise TypeError('{} must be a plain function, without async or yield, '
                                'not {!r}'.format(name, function))
        self._handler = handler
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
        }  # type: Dict[str, Any]
        ServerWebSocket(None, None, **self._endpoint_options)   # raises for invalid options
        self._session_options = {
            'poll': check_seconds('poll', poll),
            'ping_rate': check_seconds('ping_rate', ping_rate),
            'ping_timeout': check_seconds('ping_timeout', ping_timeout),
            'close_timeout': check_seconds('close_timeout', close_timeout),
            'auto_pong': auto_pong,
        }  # type: Dict[str, Any]
        self._max_connections = check_count('max_connections', max_connections, 1)
        self._close_timeout = close_timeout or None
        self._socket_file = None  # type: Optional[SocketFile]
        if unix_path is not None:
            if (host, port, reuse_port) != (u'127.0.0.1', 0, False):
                raise TypeError('unix_path= replaces host=, port= and reuse_port=: remove these')
            self._socket_file = SocketFile(unix_path)

        self._lock = ProcessLock()  # reentrant, as a signal handler may call `close`
        # Each change to these two is one atomic call.
        self._threads = {}  # type: Dict[threading.Thread, ServerWebSocket]
        self._ended = []  # type: List[threading.Thread]    # ended, or about to
        self._thread = None  # type: Optional[threading.Thread]     # started by `start`
        # The threads that run `serve_forever`, each with an event that is set when it has stopped.
        self._acceptors = []  # type: List[Tuple[threading.Thread, threading.Event]]
        self._is_closed = False
        self._next_warning = -NEVER     # about a failed `accept`
        self._process = os.getpid()
        self._waker = Waker()
        try:
            if self._socket_file is None:
                self._listener = listen(host, port, reuse_port)
                self._address = self._listener.getsockname()[:2]  # type: Tuple[str, int]
            else:
                self._listener = self._socket_file.listen()
                self._address = '', 0
        except BaseException:
            self._waker.close()
            raise

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
    def url(self):
        # type: () -> text_type
        """The URL for a client on this machine."""
        scheme = u'ws' if self._endpoint_options['ssl_context'] is None else u'wss'
        if self._socket_file is not None:
            path = self._socket_file.path
            return Target(scheme + u'+unix', u'localhost', 0, u'/', None, path).url
        return u'{}://{}:{}/'.format(scheme, bracket(text_type(self.host)), self.port)

    @property
    def connections(self):
        # type: () -> List[ServerWebSocket]
        """The websockets of the connections that are there now, in a new list.

        Those that are doing the handshake or closing are among them: only if ``is_open`` is true
        can you send to one.
        """
        return list(self._threads.copy().values())

    def start(self):
        # type: () -> Server
        """Accept connections in a new thread, unless `start` was called before; return the server.

        Raises socket.error if the thread can't be started.
        """
        thread = threading.Thread(target=self.serve_forever, name='lomond server')
        thread.daemon = True
        with self._lock():
            if self._thread is not None:
                return self
            self._thread = thread
        try:
            start_thread(thread)
        except BaseException:       # out of threads, or Ctrl-C: `start` may be called again
            self._thread = None
            raise
        return self

    def serve_forever(self):
        # type: () -> None
        """Accept connections in this thread, until `close` is called."""
        acceptor = threading.current_thread(), threading.Event()
        # Added before `_is_closed` is read: `close` sets that before it reads this list.
        self._acceptors.append(acceptor)
        try:
            while not self._is_closed:
                self._accept_one()
        finally:
            acceptor[1].set()
            self._acceptors.remove(acceptor)

    def _accept_one(self):
        # type: () -> None
        """Wait for a connection, and start its handler."""
        try:
            sock, address = self._listener.accept()
        except socket.error as error:
            if would_block(error):
                wait(((self._listener.fileno(), READ), self._waker.interest), None)
            elif not self._is_closed:
                if error.errno in SHORTAGES:
                    self._log('could not accept a connection: {}: lower max_connections, or raise '
                              'the limit of the process or system'.format(error), logging.WARNING)
                else:
                    self._log('a connection was closed before it was accepted', logging.DEBUG)
                wait((self._waker.interest,), _PAUSE)
            return
        try:
            self._accept(sock, address)
        except Exception:       # one client's connection must not end the server
            self._log('could not serve the client {!r}'.format(address), logging.ERROR)
            sock.close()

    def _try_to_start(self, thread):
        # type: (threading.Thread) -> bool
        """Start a thread; log an error, and return False, if the system has no more threads."""
        try:
            start_thread(thread)
        except socket.error as error:
            self._log(u'could not start a thread: {}'.format(describe(error)), logging.WARNING)
            return False
        return True

    def _log(self, words, level):
        # type: (str, int) -> None
        """Log the exception being handled; as debug if there was a warning in the last minute.

        Clients can cause it as often as they like, and must not flood the log.
        """
        if level > logging.DEBUG:
            now = monotonic()
            if now < self._next_warning:
                level = logging.DEBUG
            else:
                self._next_warning = now + _WARN_EVERY
        log.log(level, words, exc_info=level != logging.WARNING)

    def _accept(self, sock, address):
        # type: (socket.socket, Any) -> None
        set_close_on_exec(sock)
        sock.setblocking(False)
        with self._lock():
            is_welcome = len(self._threads) < self._max_connections
            if is_welcome:
                if self._socket_file is None:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                websocket = ServerWebSocket(sock, address, **self._endpoint_options)
                thread = threading.Thread(
                    target=self._serve, args=(websocket,), name='lomond {}'.format(address))
                thread.daemon = True
                is_welcome = not self._is_closed    # a signal handler may close it at any moment
            if is_welcome:
                # Before the start, as Ctrl-C may interrupt that while the thread already runs.
                self._threads[thread] = websocket
                is_welcome = self._try_to_start(thread)
                if not is_welcome:
                    del self._threads[thread]
                for ended in list(self._ended):
                    if not ended.is_alive():
                        self._ended.remove(ended)
        if not is_welcome:
            try:
                if self._endpoint_options['ssl_context'] is None:   # plain text is no TLS answer
                    sock.send(plain_answer(503, u'too many connections'))
            except socket.error:
                pass
            sock.close()

    def _serve(self, websocket):
        # type: (ServerWebSocket) -> None
        """Run the handler for one connection, in the connection's thread."""
        try:
            if websocket.open(**self._session_options):
                self._handle(websocket)
        finally:
            websocket.dispose()
            # Without the lock: a signal handler that interrupts its holder may call `close`, which
            # waits for this thread. First added, then removed, so that `close` finds it.
            thread = threading.current_thread()
            self._ended.append(thread)
            del self._threads[thread]

    def _handle(self, websocket):
        # type: (ServerWebSocket) -> None
        try:
            self._handler(websocket)
        except Exception as error:      # an error in a handler must not end the server
            if isinstance(error, _GONE) and not websocket.is_open:
                log.debug('%r disconnected while its handler was sending', websocket, exc_info=True)
            else:
                log.exception('the handler failed for %r', websocket)
            websocket.close(Status.UNEXPECTED_CONDITION, u'')
        else:
            websocket.close(Status.NORMAL, u'')
        for _event in websocket:        # until both ends have sent a Close frame
            pass

    def close(self):
        # type: () -> None
        """Stop listening, close all connections with 1001, and wait for the handlers.

        If a client doesn't answer within ``close_timeout`` seconds, its connection is broken; a
        handler that runs for that time once more is abandoned. A second call does nothing. In a
        forked child this closes the child's copy of the listening socket only.
        """
        if os.getpid() != self._process:
            self._listener.close()
            self._waker.close()
            return
        with self._lock():
            self._is_closed = True
            open_now = self._threads.copy()
            threads = list(open_now) + self._ended
        self._waker.wake()
        for thread, has_stopped in list(self._acceptors):
            if thread is not threading.current_thread():
                has_stopped.wait()
        if self._socket_file is not None:
            self._socket_file.remove()
        self._listener.close()
        self._waker.close()
        for websocket in open_now.values():
            # Each in a thread, as `close` waits while another thread is sending a message.
            closing = threading.Thread(target=websocket.close, args=_SHUTDOWN)
            closing.daemon = True
            if self._try_to_start(closing):
                threads.append(closing)
            else:
                # This doesn't wait: if a write is in progress, the handler's loop closes after it.
                session = websocket.session
                assert session is not None      # nosec B101  # for mypy
                session.close(encode_close(*_SHUTDOWN))
        if self._thread is not None:
            threads.append(self._thread)
        self._join(threads)
        for thread, websocket in open_now.items():
            if thread.is_alive():
                websocket.force_disconnect()
        self._join(threads)

    def _join(self, threads):
        # type: (List[threading.Thread]) -> None
        """Wait for threads, for at most ``close_timeout`` seconds in all."""
        deadline = None if self._close_timeout is None else monotonic() + self._close_timeout
        for thread in threads:
            # A thread without an identifier is about to start, or never did because of Ctrl-C.
            if thread is not threading.current_thread() and thread.ident is not None:
                thread.join(None if deadline is None else max(0.0, deadline - monotonic()))

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
