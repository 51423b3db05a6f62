"""How a server serves: `Listener` accepts; `InThreads` and `InOneThread` drive the connections."""

from __future__ import absolute_import, division, print_function

import errno
import logging
import os
import socket
import threading
from functools import partial

from lomond import errors
from lomond._compat import TYPE_CHECKING, monotonic, set_close_on_exec
from lomond._crowd import Crowd
from lomond._describe import describe
from lomond._locks import ProcessLock
from lomond._multiplexer import Member, WarningLimit
from lomond._served import ServerWebSocket
from lomond.engine.stepped import QueuedServerSession
from lomond.engine.timers import NEVER
from lomond.net.closing import close_socket
from lomond.net.shortage import SHORTAGES
from lomond.net.transport import would_block
from lomond.net.waiter import READ, wait
from lomond.net.waker import Waker
from lomond.net.workers import start_thread
from lomond.protocol.close import encode_close
from lomond.protocol.handshake import plain_answer
from lomond.status import Status

if TYPE_CHECKING:
    from typing import (  # noqa: F401
        Any,
        Callable,
        Dict,
        Iterable,
        Iterator,
        List,
        Optional,
        Set,
        Tuple,
        Union,
    )

    from lomond._compat import text_type  # noqa: F401
    from lomond._options import Logger  # noqa: F401
    from lomond.engine.outbox import OverflowName  # noqa: F401
    from lomond.events import AnyEvent  # noqa: F401
    from lomond.net.listen import SocketFile  # noqa: F401
    from lomond.net.waiter import Interest  # noqa: F401

#: How long to wait before the next `accept` if the process has no descriptors left (seconds).
PAUSE = 0.1

# What a send raises if the client, or `Server.close`, has ended the connection.
_GONE = (errors.TransportFail, errors.WebSocketClosing, errors.WebSocketClosed)

# How many connections are accepted in one step.
_AT_ONCE = 64

#: The close code and reason of a server that ends.
SHUTDOWN = (Status.GOING_AWAY, u'server shutting down')


def run_handler(handler, websocket):
    # type: (Callable[[ServerWebSocket], Any], ServerWebSocket) -> None
    """Call a handler with a websocket that is ready; then close the connection, and wait for that.

    An exception is logged: the handler's, and an extension's afterwards.
    """
    try:
        try:
            handler(websocket)
        except Exception as error:      # an error in a handler must not end the server
            close_failed(websocket, error)
        else:
            websocket.close(Status.NORMAL, u'')
        websocket.finish()
    except Exception:       # an extension's, for a frame of no handler's
        log_failure(websocket)


def log_failure(websocket):
    # type: (ServerWebSocket) -> None
    """Log an exception that no handler's code has raised; for an ``except`` block."""
    websocket.logger.exception('%r failed outside its handler', websocket)


def close_failed(websocket, error):
    # type: (ServerWebSocket, Exception) -> None
    """Close the connection of a handler that raised, with 1011; for its ``except`` block."""
    if isinstance(error, _GONE) and not websocket.is_open:
        websocket.logger.debug(
            '%r disconnected while its handler was sending', websocket, exc_info=True)
    else:
        websocket.logger.exception('the handler failed for %r', websocket)
    websocket.close(Status.UNEXPECTED_CONDITION, u'')


def join_all(threads, timeout):
    # type: (List[threading.Thread], Optional[float]) -> None
    """Wait for threads, except for the one that calls, for at most ``timeout`` seconds in all."""
    deadline = None if timeout is None else monotonic() + timeout
    for thread in threads:
        # A thread without an identifier is about to start, or never did because of Ctrl-C.
        if thread is not threading.current_thread() and thread.ident is not None:
            thread.join(None if deadline is None else max(0.0, deadline - monotonic()))


class Listener(object):
    """Accepts connections.

    Parameters: ``sock``, which listens and doesn't block; ``socket_file``, that of a Unix socket,
    or None; ``options`` of `ServerWebSocket`.
    """

    def __init__(self, sock, socket_file, options):
        # type: (socket.socket, Optional[SocketFile], Dict[str, Any]) -> None
        self._sock = sock
        self._socket_file = socket_file
        self._options = options
        #: Where faults that are no connection's are logged.
        self.logger = options['logger']  # type: Logger
        self._warnings = WarningLimit()     # about a failed `accept`
        self._process = os.getpid()
        self.interest = ((sock.fileno(), READ),)  # type: Tuple[Tuple[int, int], ...]

    @property
    def is_inherited(self):
        # type: () -> bool
        """Whether this is a forked child: the parent listens."""
        return os.getpid() != self._process

    def accept(self):
        # type: () -> Any
        """Return a socket and the client's address; None if nothing has arrived.

        Raises socket.error if that isn't possible for the moment; it was logged.
        """
        try:
            return self._sock.accept()
        except socket.error as error:
            if would_block(error):
                return None
            if error.errno == errno.ECONNABORTED:
                self.log('a connection was closed before it was accepted', logging.DEBUG)
                return None
            if error.errno in SHORTAGES:
                self.log('could not accept a connection: {}: lower max_connections, or raise '
                         'the limit of the process or system'.format(error), logging.WARNING)
            else:
                self.log('could not accept a connection', logging.DEBUG)
            raise

    def prepare(self, sock):
        # type: (socket.socket) -> None
        """Set the options of an accepted socket."""
        set_close_on_exec(sock)
        sock.setblocking(False)
        if self._socket_file is None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def make_websocket(self, sock, address, **options):
        # type: (socket.socket, Any, **Any) -> ServerWebSocket
        """Return the websocket of an accepted connection."""
        return ServerWebSocket(sock, address, **dict(self._options, **options))

    def refuse(self, sock):
        # type: (socket.socket) -> None
        """Close an accepted connection, as there are too many."""
        try:
            if self._options['ssl_context'] is None:    # plain text is no TLS answer
                sock.send(plain_answer(503, u'too many connections'))
        except socket.error:
            pass
        sock.close()

    def log(self, words, level):
        # type: (str, int) -> None
        """Log the exception being handled; as debug if there was a warning in the last minute.

        Clients can cause it as often as they like, and must not flood the log.
        """
        if level > logging.DEBUG and not self._warnings.allows(monotonic()):
            level = logging.DEBUG
        self.logger.log(level, words, exc_info=level != logging.WARNING)

    def hang_up(self, descriptor):
        # type: (int) -> None
        """Stop listening, but keep the socket's number until `close`, as a wait may still use it.

        Meanwhile it is a copy of another ``descriptor``. (On Windows the socket goes on listening.)
        """
        if self._socket_file is not None:
            self._socket_file.remove()
        if os.name != 'nt':
            os.dup2(descriptor, self._sock.fileno())
            set_close_on_exec(self._sock)

    def close(self):
        # type: () -> None
        """Stop listening; a forked child closes its copy of the socket only."""
        if self._socket_file is not None and not self.is_inherited:
            self._socket_file.remove()
        close_socket(self._sock)


class InThreads(object):
    """Runs a handler for each connection, in a thread of its own.

    Parameters: ``listener``; ``handler``; ``max_connections``; ``options`` of `BlockingLoop.run`.
    """

    def __init__(self, listener, handler, max_connections, options):
        # type: (Listener, Callable[[ServerWebSocket], Any], int, Dict[str, Any]) -> None
        self._listener = listener
        self._handler = handler
        self._max_connections = max_connections
        self._session_options = options
        self._lock = ProcessLock()  # reentrant, as a signal handler may call `close`
        # Each change to these two is one atomic call.
        self._threads = {}  # type: Dict[threading.Thread, ServerWebSocket]
        self._ended = []  # type: List[threading.Thread]    # ended, or about to
        # Those that a `close` has waited for in vain: another one doesn't wait for them again.
        self._abandoned = set()  # type: Set[threading.Thread]
        self._thread = None  # type: Optional[threading.Thread]     # started by `start`
        # The threads that run `serve_forever`, each with an event that is set when it has stopped.
        self._acceptors = []  # type: List[Tuple[threading.Thread, threading.Event]]
        self._is_closed = False
        self._waker = Waker()

    @property
    def websockets(self):
        # type: () -> List[ServerWebSocket]
        """The websockets of the connections that are there now, in a new list."""
        return list(self._threads.copy().values())

    @property
    def is_closed(self):
        # type: () -> bool
        """True once `close` was called."""
        return self._is_closed

    def start(self):
        # type: () -> None
        """Accept connections in a new thread, unless `start` was called before.

        Raises socket.error if the thread can't be started.
        """
        thread = threading.Thread(target=self.serve_forever, name='lomond server')
        thread.daemon = True
        with self._lock():
            if self._thread is not None:
                return
            self._thread = thread
        try:
            start_thread(thread)
        except BaseException:       # out of threads, or Ctrl-C: `start` may be called again
            self._thread = None
            raise

    def serve_forever(self):
        # type: () -> None
        """Accept connections in this thread, until `close` is called."""
        acceptor = threading.current_thread(), threading.Event()
        try:
            # Added before `_is_closed` is read: `close` sets that before it reads this list.
            self._acceptors.append(acceptor)
            while not self._is_closed:
                self._accept_one()
        finally:
            try:
                acceptor[1].set()
                if self._is_closed:
                    self._stop_listening()
                if acceptor in self._acceptors:
                    self._acceptors.remove(acceptor)
            finally:
                acceptor[1].set()       # Ctrl-C may have come before

    def _stop_listening(self):
        # type: () -> None
        """Free the descriptors that `serve_forever` waits for, unless that runs: then it does so.

        A signal's handler may have interrupted its wait, which goes on with the same numbers.
        """
        with self._lock():
            if all(has_stopped.is_set() for _thread, has_stopped in list(self._acceptors)):
                self._listener.close()
                self._waker.close()
            else:
                self._listener.hang_up(self._waker.interest[0])

    def _accept_one(self):
        # type: () -> None
        """Wait for a connection, and start its handler."""
        try:
            accepted = self._listener.accept()
        except socket.error:
            if not self._is_closed:
                wait((self._waker.interest,), PAUSE)
            return
        if accepted is None:
            wait(self._listener.interest + (self._waker.interest,), None)
            return
        try:
            self._accept(*accepted)
        except Exception:       # one client's connection must not end the server
            self._listener.log('could not serve the client {!r}'.format(accepted[1]), logging.ERROR)
            accepted[0].close()

    def _try_to_start(self, thread):
        # type: (threading.Thread) -> bool
        """Start a thread; log an error, and return False, if the system has no more threads."""
        try:
            start_thread(thread)
        except socket.error as error:
            self._listener.log(
                u'could not start a thread: {}'.format(describe(error)), logging.WARNING)
            return False
        return True

    def _accept(self, sock, address):
        # type: (socket.socket, Any) -> None
        self._listener.prepare(sock)
        with self._lock():
            is_welcome = len(self._threads) < self._max_connections
            if is_welcome:
                websocket = self._listener.make_websocket(sock, address)
                thread = threading.Thread(
                    target=self._serve, args=(websocket,), name='lomond {}'.format(address))
                thread.daemon = True
                # Before the start, as Ctrl-C may interrupt that while the thread already runs; and
                # before `_is_closed` is read, as a signal handler may call `close` at any moment.
                self._threads[thread] = websocket
                is_welcome = not self._is_closed and self._try_to_start(thread)
                if not is_welcome:
                    del self._threads[thread]
                for ended in list(self._ended):
                    if not ended.is_alive():
                        self._ended.remove(ended)
        if not is_welcome:
            self._listener.refuse(sock)

    def _serve(self, websocket):
        # type: (ServerWebSocket) -> None
        """Run the handler for one connection, in the connection's thread."""
        try:
            if websocket.do_handshake(**self._session_options):
                run_handler(self._handler, websocket)
        except Exception:       # an extension's, for a frame before the handler
            log_failure(websocket)
        finally:
            websocket.dispose()
            # Without the lock: a signal handler that interrupts its holder may call `close`, which
            # waits for this thread. First added, then removed, so that `close` finds it.
            thread = threading.current_thread()
            self._ended.append(thread)
            del self._threads[thread]

    def close(self, code, reason, timeout):
        # type: (Optional[int], Union[bytes, text_type], Optional[float]) -> None
        """Close as `lomond.server.Server.close` describes."""
        if self._listener.is_inherited:
            self._listener.close()
            self._waker.close()
            return
        with self._lock():
            self._is_closed = True
            open_now = {thread: websocket for thread, websocket in self._threads.copy().items()
                        if thread not in self._abandoned}
            threads = list(open_now) + self._ended
        self._waker.wake()
        for thread, has_stopped in list(self._acceptors):
            if thread is not threading.current_thread():
                has_stopped.wait()
        self._stop_listening()
        for websocket in open_now.values():
            # Each in a thread, as `close` waits while another thread is sending a message.
            closing = threading.Thread(target=websocket.close, args=(code, reason))
            closing.daemon = True
            if self._try_to_start(closing):
                threads.append(closing)
            else:
                # This doesn't wait: if a write is in progress, the handler's loop closes after it.
                session = websocket.session
                assert session is not None      # nosec B101  # for mypy
                session.close(encode_close(code, reason))
        if self._thread is not None:
            threads.append(self._thread)
        join_all(threads, timeout)
        for thread, websocket in open_now.items():
            if thread.is_alive():
                websocket.force_disconnect()
        join_all(threads, timeout)
        self._abandoned.update(
            thread for thread in open_now
            if thread.is_alive() and thread is not threading.current_thread())


class InOneThread(Crowd):
    """Serves all connections in the thread that iterates over their events.

    Parameters: ``listener``; ``max_connections``; ``options`` of `Session.begin`; ``max_queue`` and
    ``overflow``, as for `lomond.pool.Pool`.
    """

    def __init__(self, listener, max_connections, options, max_queue, overflow):
        # type: (Listener, int, Dict[str, Any], Optional[int], OverflowName) -> None
        super(InOneThread, self).__init__(max_queue, overflow)
        self._multiplexer.logger = listener.logger
        self._listener = listener
        self._max_connections = max_connections
        self._session_options = dict(options, poll=None)
        self._acceptor = Acceptor(listener, self._accept)
        self._member = Member(self._acceptor, self._acceptor.begin)
        # What `close` was called with: a client may be accepted just before it.
        self._farewell = ()  # type: Tuple[Any, ...]

    @property
    def websockets(self):
        # type: () -> List[ServerWebSocket]
        """The websockets of the connections that are there now, in a new list."""
        return [websocket for websocket in self._multiplexer.websockets
                if websocket is not self._acceptor]

    @property
    def is_closed(self):
        # type: () -> bool
        """True once `close` was called."""
        return self._acceptor.is_closed

    def __len__(self):
        # type: () -> int
        return len(self.websockets)

    def iterate(self, poll=None, waits=True):
        # type: (Optional[float], bool) -> Any
        if self._multiplexer.find(self._acceptor) is None and not self._acceptor.is_closed:
            self._member = Member(self._acceptor, self._acceptor.begin)
            self._multiplexer.add(self._member)
        return super(InOneThread, self).iterate(poll, waits)

    def _accept(self, sock, address):
        # type: (socket.socket, Any) -> None
        self._listener.prepare(sock)
        if len(self._multiplexer) > self._max_connections:      # the acceptor is a member, too
            self._listener.refuse(sock)
            return
        websocket = self._listener.make_websocket(
            sock, address, session_class=partial(ServedSession, outbox=self._new_outbox()))
        member = Member(websocket, partial(self._begin, websocket))
        self._multiplexer.begun(member)     # now: it has a socket to be freed
        self._admit(member)

    def add(self, websocket):
        # type: (Any) -> None
        """Serve a connection as `lomond.server.Server.add` describes."""
        self._multiplexer.check_free(websocket)
        if self._claim(websocket, ServedSession):
            self._admit(Member(websocket, partial(self._begin, websocket)))

    def _admit(self, member):
        # type: (Member) -> None
        self._multiplexer.add(member)
        if self._close_deadline is not None:        # by another thread, which may have missed it
            member.websocket.close(*self._farewell)

    def _begin(self, websocket, wake):
        # type: (ServerWebSocket, Callable[[], None]) -> Any
        session = websocket.session  # type: Any
        session.begin(wake=wake, **self._session_options)
        return session

    def close(self, code, reason, timeout):     # type: ignore[override]
        # type: (Optional[int], Union[bytes, text_type], Optional[float]) -> None
        """Close as `lomond.server.Server.close` describes."""
        if self._listener.is_inherited:
            self._listener.close()
            return
        self._acceptor.close()
        if self._multiplexer.find(self._acceptor) is not None:      # a loop has begun
            self._multiplexer.wake(self._member)
        self._farewell = self._farewell or (code, reason)
        super(InOneThread, self).close(code, reason, timeout)


class ServedSession(QueuedServerSession):
    """A session whose events are those of an open connection: what comes before is logged."""

    _is_ready = False

    def dispose(self):
        # type: () -> None
        super(ServedSession, self).dispose()
        if self._websocket.sock is not None:        # not one step was made
            self._websocket.sock.close()

    def advance(self):
        # type: () -> Iterable[AnyEvent]
        happened = super(ServedSession, self).advance()
        return happened if self._is_ready else self._log_until_ready(happened)

    def _log_until_ready(self, happened):
        # type: (Iterable[AnyEvent]) -> Iterator[AnyEvent]
        for event in happened:
            self._is_ready = self._is_ready or event.name == 'ready'
            if self._is_ready:
                yield event
            else:
                self._websocket.log_failure(event)


class Acceptor(object):
    """Accepts connections, by steps, with a session's members.

    Parameters: ``listener``; ``accept``, called with each socket and the client's address.
    """

    #: As a websocket has it: it has none.
    session = None

    def __init__(self, listener, accept):
        # type: (Listener, Callable[[socket.socket, Any], None]) -> None
        self._listener = listener
        self._accept = accept
        self.is_closed = False
        self.is_finished = False
        self.interest = listener.interest  # type: Interest
        self.deadline = NEVER

    def begin(self, _wake):
        # type: (Callable[[], None]) -> Acceptor
        """Return itself: the machine of its member."""
        self.is_finished = False
        return self

    def step(self):
        # type: () -> Iterable[AnyEvent]
        """Accept what has arrived, a few dozens at most."""
        self.interest, self.deadline = self._listener.interest, NEVER
        if self.is_closed:
            self.is_finished = True
            return ()
        for _ in range(_AT_ONCE):
            try:
                accepted = self._listener.accept()
            except socket.error:
                self.interest, self.deadline = (), monotonic() + PAUSE
                break
            if accepted is None:
                break
            try:
                self._accept(*accepted)
            except BaseException as error:
                accepted[0].close()
                if not isinstance(error, Exception):    # Ctrl-C
                    raise
                # One client's connection must not end the server.
                self._listener.log(
                    'could not serve the client {!r}'.format(accepted[1]), logging.ERROR)
        return ()

    def time_left(self):
        # type: () -> float
        """Return how long, in seconds, to wait for `interest`."""
        return NEVER if self.deadline == NEVER else max(0.0, self.deadline - monotonic())

    def fail(self, error):
        # type: (EnvironmentError) -> None
        """Stop, as the driver can't wait for the listening socket."""
        self._listener.logger.error(u'could not wait for connections: %s', describe(error))
        self.close()

    def close(self):
        # type: () -> None
        """Stop listening; from any thread."""
        self.is_closed = True
        self._listener.close()

    def dispose(self):
        # type: () -> None
        """Do nothing: the server goes on listening, for the next loop."""
