"""The server's end of a WebSocket: the handshake, and the loop over its events.

It does no I/O itself: its session does. `lomond.server` accepts the connections.
"""

from __future__ import absolute_import, division, print_function

import logging
import time
from itertools import chain

from lomond import errors, events
from lomond._compat import TYPE_CHECKING, text_type
from lomond._endpoint import Endpoint, with_defaults
from lomond._options import FRAGMENT_SIZE, MAX_MESSAGE_SIZE
from lomond.engine.server import ServerSession
from lomond.net.transport import MAX_READ_AHEAD
from lomond.protocol.connection import SERVER
from lomond.protocol.handshake import (
    Request,
    RequestReader,
    answer_bad_request,
    answer_request,
    build_answer,
    check_request,
)
from lomond.protocol.limits import DEFAULT_LIMITS
from lomond.protocol.refusal import Refusal, check_origins, refuse_origin, refuse_request
from lomond.session import BlockingLoop

# Part of the ValueError of a generator that another thread runs; seconds until it is tried again.
_RUNS_ELSEWHERE = 'executing'
_GLANCE = 0.05

if TYPE_CHECKING:
    import socket  # noqa: F401
    from ssl import SSLContext  # noqa: F401
    from typing import (  # noqa: F401
        Any,
        Callable,
        Dict,
        Iterable,
        Iterator,
        List,
        Optional,
        Sequence,
        Set,
        Tuple,
        Union,
    )

    from lomond._options import JSONDumps, JSONLoads, Logger, MessageParts  # noqa: F401
    from lomond.events import AnyEvent  # noqa: F401
    from lomond.protocol.connection import Connection  # noqa: F401
    from lomond.protocol.extensions.base import Extension  # noqa: F401
    from lomond.protocol.extensions.negotiation import Factory  # noqa: F401
    from lomond.protocol.extensions.permessage_deflate import DeflateOptions  # noqa: F401
    from lomond.protocol.handshake import Field  # noqa: F401
    from lomond.protocol.refusal import OnRequest, Origins  # noqa: F401

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

# Parameters that can't change while a connection is open.
_AGREED_ON = frozenset([
    'protocols', 'compress', 'max_message_size', 'json_loads', 'fragment_size', 'max_read_ahead',
    'extension_factories', 'message_parts', 'text_as_bytes'])


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
        compress=False,                     # type: Union[None, bool, DeflateOptions]
        max_message_size=MAX_MESSAGE_SIZE,  # type: Optional[int]
        handshake_timeout=10.0,             # type: Optional[float]
        write_timeout=30.0,                 # type: Optional[float]
        json_loads=None,                    # type: Optional[JSONLoads]
        json_dumps=None,                    # type: Optional[JSONDumps]
        fragment_size=FRAGMENT_SIZE,        # type: Optional[int]
        max_read_ahead=MAX_READ_AHEAD,      # type: Optional[int]
        origins=None,                       # type: Origins
        on_request=None,                    # type: Optional[OnRequest]
        session_class=None,                 # type: Optional[Callable[[ServerWebSocket], Any]]
        extensions=(),                      # type: Iterable[Factory]
        message_parts=False,                # type: MessageParts
        text_as_bytes=False,                # type: bool
        logger=None,                        # type: Optional[Logger]
    ):
        # type: (...) -> None
        super(ServerWebSocket, self).__init__(
            protocols, compress, max_message_size, write_timeout, json_loads, json_dumps,
            fragment_size, max_read_ahead, extensions, message_parts, text_as_bytes, logger)
        self.sock = sock  # type: Optional[socket.socket]
        #: The client's address, as `socket.accept` returns it.
        self.address = address  # type: Any
        self.ssl_context = ssl_context  # type: Optional[SSLContext]
        self.connect_timeout = handshake_timeout
        #: The client's request; None until it has arrived, which is before a handler is called.
        self.request = None  # type: Request    # type: ignore[assignment]
        self._origins = check_origins(origins)
        self._on_request = on_request
        self._reader = RequestReader(DEFAULT_LIMITS.head)
        self._connection = self._new_connection()
        # Once the request has arrived: why it is refused or None, the subprotocol, the agreed
        # extensions, and the bytes that followed the request.
        self._outcome = None  # type: Any
        self._answer = None  # type: Optional[bytes]
        self._loop = None  # type: Any      # the session's generator
        self._events = None  # type: Optional[Iterator[ServerEvent]]
        # Attached here, so that close() has an effect before the handshake, too.
        self.attach_session((session_class or BlockingServerSession)(self))
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

    #: With `lomond.wsgi` the WSGI environ of the request: a copy, without what holds the server's
    #: socket; else None.
    environ = None  # type: Optional[Dict[str, Any]]

    # True once a handler iterates over it: then its messages are events, and no calls return them.
    _is_iterated = False

    @property
    def stream(self):
        # type: () -> Connection
        """The protocol's side of the connection."""
        return self._connection

    if not TYPE_CHECKING:       # for a type checker it is an error already
        def open(self, *_args, **_options):
            """Raise WebSocketUnavailable: only a client opens its connection."""
            raise errors.WebSocketUnavailable(
                'this connection is open already: in a handler call receive() or messages(); with '
                'Server(threads=False) its messages are events of the loop over the server')

    def check_may_reconnect(self):
        # type: () -> None
        """Raise TypeError: only a client can connect again."""
        raise TypeError("a server's end cannot connect again: add it to a pool without policy=")

    def do_handshake(self, **options):
        # type: (**Any) -> bool
        """Do the handshake; return True if the client's messages can be read now.

        The server calls this. ``options`` are passed to `WebsocketSession.run`.
        """
        session = self._session  # type: Any
        self._loop = session.run(**options)
        for event in self._loop:
            if event.name == 'ready':
                self._events = chain([event], self._loop)
                return True
            self.log_failure(event)
        return False

    def log_failure(self, event):
        # type: (AnyEvent) -> None
        """Log an event that comes before Ready: no handler gets it."""
        # A failed handshake is the client's fault, an earlier failure is the server's.
        is_ours = event.name == 'connect_fail' and event.phase == 'connect' \
            and event.cause is not None     # not an end that `Server.close` caused
        self.logger.log(logging.WARNING if is_ours else logging.DEBUG, '%r: %r', self, event)

    def dispose(self):
        # type: () -> None
        """Free the socket, in any state; for the thread that called `do_handshake`."""
        if self._loop is not None:
            try:
                self._loop.close()
            except ValueError:      # another thread runs it, which frees it
                self.force_disconnect()
                return
        if self.sock is not None:
            self.sock.close()

    def __iter__(self):
        # type: () -> Iterator[ServerEvent]
        if self._events is None:
            raise errors.WebSocketUnavailable(
                'only a handler can iterate over this: Server(threads=False) yields its events; or '
                'after remove(websocket, close=False), the pool that it was added to')
        if self._calls is not None:
            raise errors.WebSocketUnavailable(
                'this handler has called receive(), messages(), ping() or wait_ready(): use '
                'messages() instead of a loop over the events')
        self._is_iterated = True
        return self._events

    def _use_calls(self):
        # type: () -> Any
        if self._is_iterated:
            raise errors.WebSocketUnavailable(
                'a loop over this WebSocket has begun, whose events are its messages: use either '
                'the loop, or receive() and messages()')
        if self._events is None:
            raise errors.WebSocketUnavailable(
                'with Server(threads=False) messages are events of the loop over the server, and '
                'with aio.serve() of the connection, or await connection.receive(): receive(), '
                'messages(), ping() and wait_ready() of a WebSocket need a handler in a thread')
        return super(ServerWebSocket, self)._use_calls()

    def _make_calls(self):
        # type: () -> Any
        calls = super(ServerWebSocket, self)._make_calls()
        calls.adopt(self._loop, self._events, self._session)
        return calls

    def finish(self):
        # type: () -> None
        """Wait until both ends have sent a Close frame, or until the connection is gone.

        While another thread of the handler's waits for events, that one gets them.
        """
        if self._calls is not None:
            self._calls.finish()
            return
        while self._events is not None:
            try:
                next(self._events)
            except StopIteration:
                return
            except ValueError as error:
                if _RUNS_ELSEWHERE not in str(error):
                    raise
                time.sleep(_GLANCE)     # nothing says when a thread leaves a loop

    def _shake_hands(self, data):
        # type: (bytes) -> Iterator[AnyEvent]
        try:
            found = self._reader.feed(data)
            if found is not None:
                head, rest = found
                self._answer = self._decide(Request(head), rest)
        except errors.HandshakeError as error:
            self._outcome = (text_type(error), None, [], b'')
            self._answer = answer_bad_request(error)
        return iter(())

    def _decide(self, request, rest):
        # type: (Request, bytes) -> bytes
        """Return the answer to the request, and keep the outcome; raises HandshakeError."""
        answer, protocol, agreed, refusal = self.examine(request)
        self._outcome = (None, protocol, agreed, rest)
        if refusal is not None:
            answer = build_answer(refusal.status, refusal.body, refusal.headers)
            self._outcome = (u'refused with HTTP {}: {}'.format(
                refusal.status, refusal.body[:200].decode('utf-8', 'replace')), None, [], b'')
        return answer

    def examine(self, request, headers=()):
        # type: (Request, Sequence[Field]) -> Tuple[bytes, Optional[text_type], List[Extension], Optional[Refusal]]
        """Keep the client's request, and decide on it.

        Returns the answer, with further ``headers``, the subprotocol and the extensions that it
        names; and a refusal to answer with instead, or None. Raises HandshakeError for a request
        that can't be upgraded.
        """
        self.request = request
        check_request(request)
        try:
            answer, protocol, agreed = answer_request(
                request, self.protocols, self._make_extensions(), headers)
        except errors.HandshakeError:
            raise
        except Exception:       # an error in the user's code must not end the server
            self.logger.exception('an extension, or a factory in extensions, failed for %r', self)
            return b'', None, [], Refusal(500, u'the server could not agree on extensions\n')
        return answer, protocol, agreed, self._refuse()

    def _refuse(self):
        # type: () -> Optional[Refusal]
        """Return the refusal that the server's options lead to, or None to accept the request."""
        try:
            return refuse_origin(self.request, self._origins) \
                or refuse_request(self.request, self._on_request)
        except Exception:       # an error in the user's function must not end the server
            self.logger.exception('on_request (or the function origins) failed for %r', self)
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
        refusal, protocol, agreed, rest = self._outcome
        if refusal is not None:     # whether or not the client waited to read it
            self.stream.reject()
            yield events.Rejected(None, refusal)    # type: ignore[arg-type]
            return
        if write_error is not None:
            self.stream.reject()
            yield events.ProtocolError(write_error, critical=True)
            return
        yield self._opened(protocol, agreed)
        for event in self.stream.receive(rest):
            yield event

    def _opened(self, protocol, extensions):
        # type: (Optional[text_type], Sequence[Extension]) -> ServerReady
        """Open the connection, with what the handshake agreed on; return Ready."""
        self.stream.protocol = protocol
        self.stream.accept(extensions=extensions)
        return ServerReady(self.request, protocol, set(self.stream.extensions))


class BlockingServerSession(BlockingLoop, ServerSession):
    """Drives the server's end of a connection, in the handler's thread."""
