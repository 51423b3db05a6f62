"""A small blocking WebSocket server, on the same protocol core as the client.

It is what demos, tests and embedded feeds run against. It isn't meant for the
open internet: it has a thread for each connection, and no defence against
those who open many.

    def echo(websocket):
        for event in websocket:
            if event.name == 'text':
                websocket.send_text(event.text)

    with Server(echo) as server:
        print(server.url)
        ...
"""

from __future__ import absolute_import, division, print_function

import errno
import logging
import os
import socket
import threading
from itertools import chain

from lomond import errors, events
from lomond._checks import check_count, check_port, check_seconds, check_ssl_context
from lomond._compat import (
    TYPE_CHECKING,
    monotonic,
    native_to_text,
    set_close_on_exec,
    text_type,
)
from lomond._describe import describe
from lomond._endpoint import FRAGMENT_SIZE, MAX_MESSAGE_SIZE, Endpoint
from lomond._hints import takes_options
from lomond._locks import ProcessLock
from lomond.engine.server import ServerSession
from lomond.engine.timers import NEVER
from lomond.http.url import bracket, to_ascii
from lomond.net.address import read_address
from lomond.net.offload import start_thread
from lomond.net.shortage import SHORTAGES
from lomond.net.transport import MAX_READ_AHEAD, would_block
from lomond.net.waiter import READ, wait
from lomond.net.waker import Waker
from lomond.protocol.close import encode_close
from lomond.protocol.connection import SERVER
from lomond.protocol.handshake import (
    Request,
    RequestReader,
    UpgradeRefused,
    answer_request,
    check_protocols,
    extension_names,
    plain_answer,
)
from lomond.protocol.limits import DEFAULT_LIMITS
from lomond.session import BlockingLoop
from lomond.status import Status

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Set, Tuple, Union  # noqa: F401

    from lomond._endpoint import JSONDumps, JSONLoads  # noqa: F401
    from lomond.events import Event  # noqa: F401
    from lomond.protocol.extensions.permessage_deflate import DeflateOptions  # noqa: F401

    Handler = Callable[['ServerWebSocket'], Any]

log = logging.getLogger('lomond')

# After running out of descriptors, when to try to accept again (seconds).
_PAUSE = 0.1

# How often at most to warn of what keeps it from accepting (seconds).
_WARN_EVERY = 60.0

# Flags of the code of generators, coroutines and asynchronous generators.
_NOT_RUN_BY_A_CALL = 0x20 | 0x80 | 0x200

# What a send raises when the other end, or `Server.close`, has ended the connection.
_GONE = (errors.TransportFail, errors.WebSocketClosing, errors.WebSocketClosed)

# Parameters that a connection goes by from its beginning.
_AGREED_ON = frozenset([
    'protocols', 'compress', 'max_message_size', 'json_loads', 'fragment_size', 'max_read_ahead'])

# What to do when it can't listen.
_REMEDIES = {
    errno.EADDRINUSE: ': another program listens on this port: use another port, or port=0 for '
                      'any free one',
    errno.EACCES: ': ports below 1024 need privileges: use a port from 1024 to 65535',
    errno.EADDRNOTAVAIL: ': this machine has no such address: use 127.0.0.1 to accept local '
                         'clients only, or 0.0.0.0 to listen on all addresses',
}
# What `Server.close` closes with.
_SHUTDOWN = (Status.GOING_AWAY, u'server shutting down')


class ServerWebSocket(Endpoint):
    """The server's end of a WebSocket: what a handler gets.

    Iterating over it yields Ready (whose ``response`` is the client's
    `lomond.protocol.handshake.Request`), Poll, and then the events that a
    client's loop has too. `Server` makes these.
    """

    _role = SERVER

    #: The session knows these of a client.
    trace = None
    connect_timeout = None  # type: Optional[float]
    is_refused = False

    def __init__(self, sock, address, ssl_context=None, protocols=None, compress=False,
                 max_message_size=MAX_MESSAGE_SIZE, handshake_timeout=10.0, write_timeout=30.0,
                 json_loads=None, json_dumps=None, fragment_size=FRAGMENT_SIZE,
                 max_read_ahead=MAX_READ_AHEAD):
        # type: (Optional[socket.socket], Any, Any, Optional[Iterable[str]], Union[bool, DeflateOptions], Optional[int], Optional[float], Optional[float], Optional[JSONLoads], Optional[JSONDumps], Optional[int], Optional[int]) -> None
        super(ServerWebSocket, self).__init__(
            protocols, compress, max_message_size, write_timeout, json_loads, json_dumps,
            fragment_size, max_read_ahead)
        self.sock = sock
        #: Where the client is, as `socket.accept` tells.
        self.address = address
        self.ssl_context = ssl_context
        self.connect_timeout = handshake_timeout
        #: The client's request, once it has come.
        self.request = None  # type: Optional[Request]
        #: The subprotocol, or None.
        self.protocol = None  # type: Optional[text_type]
        self._reader = RequestReader(DEFAULT_LIMITS.head)
        # Once the request has come: why it is refused, the codec agreed on, what came behind it.
        self._verdict = None  # type: Any
        self._answer = None  # type: Optional[bytes]
        self._loop = None  # type: Any      # the session's generator
        self._events = None  # type: Optional[Iterator[Event]]
        # From the start, so that close() counts before open() too.
        self._attach(BlockingServerSession(self))
        self._is_made = True

    if not TYPE_CHECKING:
        def __setattr__(self, name, value):
            """Set an attribute; AttributeError for what was agreed on with the client already."""
            if self._is_made and name in _AGREED_ON:
                raise AttributeError('{0} cannot be changed on an open connection: use '
                                     'Server(handler, {0}=...)'.format(name))
            super(ServerWebSocket, self).__setattr__(name, value)

    def __repr__(self):
        # type: () -> str
        return 'ServerWebSocket({!r})'.format(self.address)

    def open(self, **options):
        # type: (**Any) -> bool
        """Shake hands; True if the client's messages can be read now.

        ``options`` go to `WebsocketSession.run`.
        """
        session = self._session  # type: Any
        self._loop = session.run(**options)
        for event in self._loop:
            if event.name == 'ready':
                self._events = chain([event], self._loop)
                return True
            # Anybody may fail at the handshake. Before it, the fault is on this side.
            is_ours = event.name == 'connect_fail' and event.phase == 'connect'
            log.log(logging.WARNING if is_ours else logging.DEBUG, '%r: %r', self, event)
        return False

    def dispose(self):
        # type: () -> None
        """Free the socket, however far it came; for the thread that called `open`."""
        if self._loop is not None:
            self._loop.close()
        if self.sock is not None:
            self.sock.close()

    def __iter__(self):
        # type: () -> Iterator[Event]
        if self._events is None:
            raise errors.WebSocketUnavailable('call open() before iterating')
        return self._events

    def _shake_hands(self, data):
        # type: (bytes) -> Iterator[Event]
        try:
            found = self._reader.feed(data)
            if found is None:
                return
            head, rest = found
            self.request = Request(head)
            answer, self.protocol, codec = answer_request(
                self.request, self.protocols, self._deflate_options)
            self._verdict = (None, codec, rest)
        except errors.CriticalProtocolError as error:
            self._stream.reject()
            yield events.ProtocolError(text_type(error), critical=True)
            return
        except errors.HandshakeError as error:
            refusal = error if isinstance(error, UpgradeRefused) else UpgradeRefused()
            answer = plain_answer(refusal.status_code, text_type(error), refusal.headers)
            self._verdict = (text_type(error), None, b'')
        self._answer = answer

    def take_answer(self):
        # type: () -> Optional[bytes]
        """Return the answer to the client's request, once; the session calls this."""
        answer, self._answer = self._answer, None
        return answer

    def answered(self, write_error):
        # type: (Optional[text_type]) -> Iterator[Event]
        """Yield the events that follow once our answer is out; the session calls this.

        ``write_error`` says why it could not be sent, or is None.
        """
        refusal, codec, rest = self._verdict
        if refusal is not None:     # whether or not the client waited to read it
            self._stream.reject()
            yield events.Rejected(None, refusal)    # type: ignore[arg-type]
            return
        if write_error is not None:
            self._stream.reject()
            yield events.ProtocolError(write_error, critical=True)
            return
        self._stream.accept(codec)
        yield events.Ready(self.request, self.protocol, extension_names(codec))
        for event in self._stream.receive(rest):
            yield event


class BlockingServerSession(BlockingLoop, ServerSession):
    """Drives the server's end in the handler's thread."""


class Server(object):
    """Listens, and runs a handler in a thread of its own for each connection.

    Parameters:

    - ``handler``: called with a `ServerWebSocket`. When it returns, an open
      connection is closed with 1000; when it raises, that is logged with its
      traceback, and the connection is closed with 1011.
    - ``host``, ``port``: where to listen; port 0 takes a free one.
    - ``ssl_context``: an `ssl.SSLContext` for wss, see
      `lomond.tls.server_context`.
    - ``protocols``: names of subprotocols, the preferred first.
    - ``compress``: whether to accept permessage-deflate, or a
      `lomond.extensions.DeflateOptions`.
    - ``max_message_size``, ``write_timeout``, ``json_loads``, ``json_dumps``,
      ``fragment_size``, ``max_read_ahead``: as for a client.
    - ``handshake_timeout``: seconds for TLS and the upgrade request.
    - ``max_connections``: how many may be open at once; more are answered
      with HTTP 503, or dropped if ``ssl_context`` is given.
    - ``close_timeout``: as for `WebSocket.connect`; and how long `close` waits
      for the handlers.
    - ``poll``, ``ping_rate``, ``ping_timeout``, ``auto_pong``: as for
      `WebSocket.connect`.

    It listens from the start; `start` or `serve_forever` accept. Raises
    TypeError and ValueError for arguments that make no sense, and
    socket.error if it can't listen, in words that name the address. A connection
    for which there is no thread is answered with HTTP 503.
    """

    @takes_options('Server', 'Server(handler, {}=...)')
    def __init__(self, handler, host=u'127.0.0.1', port=0, ssl_context=None, protocols=None,
                 compress=False, max_message_size=MAX_MESSAGE_SIZE, handshake_timeout=10.0,
                 write_timeout=30.0, max_connections=100, close_timeout=10.0, poll=5.0,
                 ping_rate=30.0, ping_timeout=None, auto_pong=True, json_loads=None,
                 json_dumps=None, fragment_size=FRAGMENT_SIZE, max_read_ahead=MAX_READ_AHEAD):
        # type: (Handler, str, int, Any, Optional[Iterable[str]], Union[bool, DeflateOptions], Optional[int], Optional[float], Optional[float], int, Optional[float], Optional[float], Optional[float], Optional[float], bool, Optional[JSONLoads], Optional[JSONDumps], Optional[int], Optional[int]) -> None
        if not callable(handler):
            raise TypeError('the handler must be callable, not {!r}: '
                            'Server(handler, host, port)'.format(handler))
        if getattr(getattr(handler, '__code__', None), 'co_flags', 0) & _NOT_RUN_BY_A_CALL:
            raise TypeError('the handler must be a plain function, without async or yield, '
                            'not {!r}'.format(handler))
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
        }  # type: Dict[str, Any]
        ServerWebSocket(None, None, **self._endpoint_options)   # what is wrong raises here
        self._session_options = {
            'poll': check_seconds('poll', poll),
            'ping_rate': check_seconds('ping_rate', ping_rate),
            'ping_timeout': check_seconds('ping_timeout', ping_timeout),
            'close_timeout': check_seconds('close_timeout', close_timeout),
            'auto_pong': auto_pong,
        }  # type: Dict[str, Any]
        self._max_connections = check_count('max_connections', max_connections, 1)
        self._close_timeout = close_timeout or None

        self._lock = ProcessLock()  # a signal's handler may close, too
        self._threads = {}  # type: Dict[threading.Thread, ServerWebSocket]
        self._ended = []  # type: List[threading.Thread]    # or just about to
        self._thread = None  # type: Optional[threading.Thread]     # made by `start`
        # The threads that run `serve_forever`, each with what is set when it has stopped.
        self._acceptors = []  # type: List[Tuple[threading.Thread, threading.Event]]
        self._is_closed = False
        self._next_warning = -NEVER     # of what keeps it from accepting
        self._process = os.getpid()
        self._waker = Waker()
        try:
            self._listener = _listen(host, port)
        except BaseException:
            self._waker.close()
            raise
        self._address = self._listener.getsockname()

    @property
    def host(self):
        # type: () -> str
        """The address it listens on."""
        return self._address[0]     # type: ignore[no-any-return]

    @property
    def port(self):
        # type: () -> int
        """The port it listens on."""
        return self._address[1]     # type: ignore[no-any-return]

    @property
    def url(self):
        # type: () -> text_type
        """The URL for a client on this machine."""
        scheme = u'ws' if self._endpoint_options['ssl_context'] is None else u'wss'
        return u'{}://{}:{}/'.format(scheme, bracket(text_type(self.host)), self.port)

    def start(self):
        # type: () -> Server
        """Accept connections in a thread of their own, if none does yet; return the server.

        Raises socket.error if there is no thread to be had.
        """
        thread = threading.Thread(target=self.serve_forever, name='lomond server')
        thread.daemon = True
        with self._lock():
            if self._thread is not None:
                return self
            self._thread = thread
        try:
            start_thread(thread)
        except BaseException:       # no more threads, or Ctrl-C: it may be started again
            self._thread = None
            raise
        return self

    def serve_forever(self):
        # type: () -> None
        """Accept connections in this thread, until `close` is called."""
        acceptor = threading.current_thread(), threading.Event()
        # Before `_is_closed` is read: `close` sets that before it looks who accepts.
        self._acceptors.append(acceptor)
        try:
            while not self._is_closed:
                self._accept_one()
        finally:
            acceptor[1].set()
            self._acceptors.remove(acceptor)

    def _accept_one(self):
        # type: () -> None
        """Wait for a connection, and take it in."""
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
        except Exception:       # it must not end the server
            self._log('could not serve the client {!r}'.format(address), logging.ERROR)
            sock.close()

    def _try_to_start(self, thread):
        # type: (threading.Thread) -> bool
        """Start a thread; False if the system has none, which is logged."""
        try:
            start_thread(thread)
        except socket.error as error:
            self._log(u'could not start a thread: {}'.format(describe(error)), logging.WARNING)
            return False
        return True

    def _log(self, words, level):
        # type: (str, int) -> None
        """Log the exception being handled; as debug if there was a warning a moment ago.

        Clients can make it happen as often as they like.
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
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                websocket = ServerWebSocket(sock, address, **self._endpoint_options)
                thread = threading.Thread(
                    target=self._serve, args=(websocket,), name='lomond {}'.format(address))
                thread.daemon = True
                is_welcome = not self._is_closed    # by a signal's handler, even in here
            if is_welcome:
                # Before it starts, as Ctrl-C may interrupt that while the thread already runs.
                self._threads[thread] = websocket
                is_welcome = self._try_to_start(thread)
                if not is_welcome:
                    del self._threads[thread]
                self._ended = [ended for ended in self._ended if ended.is_alive()]
        if not is_welcome:
            try:
                if self._endpoint_options['ssl_context'] is None:   # in the clear it would mislead
                    sock.send(plain_answer(503, u'too many connections'))
            except socket.error:
                pass
            sock.close()

    def _serve(self, websocket):
        # type: (ServerWebSocket) -> None
        """Run the handler for one connection; a thread of its own does this."""
        try:
            if websocket.open(**self._session_options):
                self._handle(websocket)
        finally:
            websocket.dispose()
            thread = threading.current_thread()
            with self._lock():
                del self._threads[thread]
                self._ended.append(thread)

    def _handle(self, websocket):
        # type: (ServerWebSocket) -> None
        try:
            self._handler(websocket)
        except Exception as error:      # a handler's fault must not end the server
            if isinstance(error, _GONE) and not websocket.is_open:
                log.debug('%r disconnected while its handler was sending', websocket, exc_info=True)
            else:
                log.exception('the handler failed for %r', websocket)
            websocket.close(Status.UNEXPECTED_CONDITION, u'')
        else:
            websocket.close(Status.NORMAL, u'')
        for _event in websocket:        # until both have closed
            pass

    def close(self):
        # type: () -> None
        """Stop listening, close what is open with 1001, and wait for the handlers.

        A connection whose client doesn't answer within ``close_timeout``
        seconds is broken; a handler that goes on for as long again is left
        behind. Harmless when called again. A forked child only gives up its
        copy of the listening socket: all else is its parent's.
        """
        if os.getpid() != self._process:
            self._listener.close()
            self._waker.close()
            return
        with self._lock():
            self._is_closed = True
            open_now = list(self._threads.items())
            threads = list(self._threads) + self._ended
        self._waker.wake()
        for thread, has_stopped in list(self._acceptors):
            if thread is not threading.current_thread():
                has_stopped.wait()
        self._listener.close()
        self._waker.close()
        for _thread, websocket in open_now:
            # Each in a thread, as another may be in the midst of a long write.
            closing = threading.Thread(target=websocket.close, args=_SHUTDOWN)
            closing.daemon = True
            if self._try_to_start(closing):
                threads.append(closing)
            else:
                # It doesn't wait: where a write is under way, the handler's loop closes after it.
                session = websocket.session
                assert session is not None      # nosec B101  # for mypy
                session.close(encode_close(*_SHUTDOWN))
        if self._thread is not None:
            threads.append(self._thread)
        self._join(threads)
        for thread, websocket in open_now:
            if thread.is_alive():
                websocket.force_disconnect()
        self._join(threads)

    def _join(self, threads):
        # type: (List[threading.Thread]) -> None
        """Wait for threads, not longer than ``close_timeout`` for all together."""
        deadline = None if self._close_timeout is None else monotonic() + self._close_timeout
        for thread in threads:
            # One without an identifier is about to start, or never did, as Ctrl-C came first.
            if thread is not threading.current_thread() and thread.ident is not None:
                thread.join(None if deadline is None else max(0.0, deadline - monotonic()))

    def __enter__(self):
        # type: () -> Server
        try:
            return self.start()
        except BaseException:       # no thread
            self.close()
            raise

    def __exit__(self, *_exc_info):
        # type: (*Any) -> None
        self.close()


def _listen(host, port):
    # type: (str, int) -> socket.socket
    """Return a socket that listens; raises TypeError, ValueError, socket.error."""
    port = check_port('port', port)
    host = _check_host(host)
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    listener = None  # type: Optional[socket.socket]
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
        set_close_on_exec(listener)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
        listener.setblocking(False)
        return listener
    except BaseException as error:
        if listener is not None:
            listener.close()
        if not isinstance(error, socket.error):
            raise
        raise type(error)(error.errno, 'could not listen on {}:{}: {}{}'.format(
            bracket(text_type(host)), port, describe(error), _REMEDIES.get(error.errno or 0, '')))


def _check_host(host):
    # type: (Any) -> str
    """Return the name or address to listen on, '' for any; raises TypeError, ValueError."""
    if not isinstance(host, (str, text_type)):
        raise TypeError('host must be an address or a name, not {!r}'.format(host))
    try:
        if ':' not in host:
            return str(to_ascii(native_to_text(host)))
        read_address(host, 0)
        return str(host)
    except (socket.error, ValueError) as error:
        raise ValueError('host must be an address or a name of this machine, not {!r}: {}'.format(
            host, describe(error)))
