"""The protocol without I/O: both ends of a WebSocket, with their opening handshakes.

Bytes in, events and bytes out: it opens no socket, starts no thread, and waits for nothing. What
receives and sends the bytes is yours.

    client = Client(u'wss://example.org/feed')
    ... send client.data_to_send() ...
    for event in client.receive(data):
        if event.name == 'text':
            client.send_text(event.text)
    ... send client.data_to_send() ...

`Connection` is the protocol between two handshakes, for one that was made elsewhere, such as over
HTTP/2; `lomond.extensions` agrees on extensions there. One thread at a time may use an object of
this module.
"""

from __future__ import absolute_import, division, print_function

from collections import deque
from itertools import chain

from lomond import errors, events
from lomond._checks import check_flag
from lomond._compat import TYPE_CHECKING, text_type
from lomond._hints import takes_options
from lomond._messages import check_bytes, check_control, check_utf8, json_text, text_payload
from lomond._options import CHECKS, FRAGMENT_SIZE, MAX_MESSAGE_SIZE, supported_extensions
from lomond.http.answer import ResponseReader
from lomond.http.body import LAST_CHUNK, BodyParts, encode_chunk
from lomond.http.redirects import RedirectChain
from lomond.http.request import RequestOptions, check_agent
from lomond.http.response import Response
from lomond.http.url import parse_url
from lomond.opcode import Opcode
from lomond.protocol.connection import CLIENT, SERVER, Connection
from lomond.protocol.extensions import negotiation
from lomond.protocol.handshake import Request as HTTPRequest
from lomond.protocol.handshake import (
    RequestReader,
    accept_request,
    answer_bad_request,
    build_answer,
    build_request,
    check_offers,
    check_protocols,
    check_request,
    check_response,
    choose_protocol,
    new_key,
    offered_protocols,
    rebuild_request,
)
from lomond.protocol.limits import DEFAULT_LIMITS, message_limits
from lomond.protocol.refusal import Refusal, check_answer_headers
from lomond.protocol.state import State

if TYPE_CHECKING:
    from typing import (  # noqa: F401
        Any,
        Callable,
        ClassVar,
        Deque,
        Iterable,
        Iterator,
        List,
        Optional,
        Sequence,
        Set,
        Type,
        TypeVar,
        Union,
    )

    from typing_extensions import Literal

    from lomond._messages import BytesLike  # noqa: F401
    from lomond._options import JSONDumps, JSONLoads, MessageParts  # noqa: F401
    from lomond._served import ServerReady
    from lomond.events import AnyEvent
    from lomond.protocol.close import CloseFrame  # noqa: F401
    from lomond.protocol.extensions.base import Extension  # noqa: F401
    from lomond.protocol.extensions.negotiation import Factory  # noqa: F401
    from lomond.protocol.extensions.permessage_deflate import DeflateOptions  # noqa: F401
    from lomond.stats import Stats  # noqa: F401
    from lomond.websocket import Headers, HeaderText  # noqa: F401

    S = TypeVar('S', bound='Server')

__all__ = [
    'CLIENT', 'Client', 'ClientEvent', 'Connection', 'RejectedPart', 'Request', 'SERVER', 'Server',
    'ServerEvent', 'StateName']

#: The state while an HTTP answer that refuses the handshake isn't complete; see `Client.state` and
#: `Server.state`.
REJECTING = 'rejecting'

#: A state, by its name: for annotations. To a type checker it is one of these names.
if TYPE_CHECKING:
    StateName = Literal[
        'connecting', 'rejecting', 'open', 'closing', 'peer_closing', 'failing', 'closed']
else:
    StateName = str


class Request(events.Event):
    """A client's request has come, and can be accepted: `Server.accept` it, or `Server.reject` it.

    ``request`` is a `lomond.server.Request`: ``path``, ``query``, ``headers`` ...
    """

    __slots__ = ('request',)
    __match_args__ = ('request',)

    name = 'request'  # type: ClassVar[Literal['request']]

    def __init__(self, request, received_time=None):
        # type: (HTTPRequest, Optional[float]) -> None
        events.Event.__init__(self, received_time)
        self.request = request  # type: HTTPRequest


class RejectedPart(events.Event):
    """A part of the body of a rejection, for a `Client` with ``rejected_parts``.

    ``data`` is bytes. The last part has none, and ``message_finished`` is true there. A body that
    the server cut short has no such part; after a malformed chunk ProtocolError comes instead.
    """

    __slots__ = ('data', 'message_finished')
    __match_args__ = ('data', 'message_finished')

    name = 'rejected_part'  # type: ClassVar[Literal['rejected_part']]

    def __init__(self, data, message_finished, received_time=None):
        # type: (bytes, bool, Optional[float]) -> None
        events.Event.__init__(self, received_time)
        self.data = data  # type: bytes
        self.message_finished = message_finished  # type: bool


#: What `Client.receive` and `Server.receive` yield: to a type checker a union, as
#: `lomond.events.AnyEvent`.
if TYPE_CHECKING:
    ClientEvent = Union[AnyEvent, RejectedPart]
    ServerEvent = Union[
        events.Binary, events.Closed, events.Closing, events.Disconnected, events.Ping,
        events.Pong, events.ProtocolError, ServerReady, events.Rejected, Request, events.Text]
else:
    ClientEvent = ServerEvent = events.Event


class _End(object):
    """What `Client` and `Server` have in common."""

    _role = ''
    _peer = u''

    def __init__(
        self,
        protocols,          # type: Optional[Iterable[str]]
        compress,           # type: Union[None, bool, DeflateOptions]
        max_message_size,   # type: Optional[int]
        json_loads,         # type: Optional[JSONLoads]
        json_dumps,         # type: Optional[JSONDumps]
        fragment_size,      # type: Optional[int]
        extensions,         # type: Iterable[Factory]
        message_parts,      # type: MessageParts
        text_as_bytes,      # type: bool
        auto_pong,          # type: bool
    ):
        # type: (...) -> None
        self._protocols = CHECKS['protocols'](protocols)  # type: List[str]
        self._compress = CHECKS['compress'](compress)  # type: Union[None, bool, DeflateOptions]
        self._json_dumps = CHECKS['json_dumps'](json_dumps)  # type: Optional[JSONDumps]
        self._fragment_size = CHECKS['fragment_size'](fragment_size)  # type: Optional[int]
        self._factories = CHECKS['extension_factories'](extensions)  # type: Sequence[Factory]
        self._connection = Connection(
            self._role, message_limits(CHECKS['max_message_size'](max_message_size)),
            text_class=events.text_class(
                CHECKS['json_loads'](json_loads), CHECKS['text_as_bytes'](text_as_bytes)),
            message_parts=CHECKS['message_parts'](message_parts))
        self._connection.decoder.auto_pong = check_flag('auto_pong', auto_pong)
        #: The subprotocol that was agreed on, or None.
        self.protocol = None  # type: Optional[text_type]
        #: The names of the extensions that were agreed on, a set.
        self.extensions = set()  # type: Set[text_type]
        self._output = []  # type: List[bytes]
        # Received, and not yet begun with; an empty one is the end.
        self._input = deque()  # type: Deque[bytes]
        self._is_at_end = False
        # The events of what was begun with, and those that come before any others.
        self._current = None  # type: Any       # an Optional[Iterator[Any]]
        self._made = deque()  # type: Deque[Any]
        self._was_open = False
        self._reason = None  # type: Optional[text_type]    # why it ended, if that is known

    # -- receiving --

    def receive(self, data):
        # type: (Optional[BytesLike]) -> Iterator[Any]
        """Return an iterator over the events in bytes from the peer, and in those before them.

        Parameters: bytes, bytearray or memoryview, cut anywhere; b'' or None is the end of the
        stream. What the peer does wrong is an event, never an exception.

        Iterate to its end: the answer to a Close frame is made once Closing was handled. What you
        leave waits for `events`, or the next call. Then send what `data_to_send` returns.

        Raises TypeError, and WebSocketClosed after the end of the stream.
        """
        if self._is_at_end:
            raise errors.WebSocketClosed(
                'the end of the stream was received already: nothing can come after it')
        data = b'' if data is None else check_bytes('receive', data)
        self._is_at_end = not data
        self._input.append(data)
        return self.events()

    def events(self):
        # type: () -> Iterator[Any]
        """Yield the events in what was received and not yet handed out."""
        while True:
            event = self._next_event()
            if event is None:
                return
            yield event

    def _next_event(self):
        # type: () -> Any
        while True:
            if self._current is not None:
                event = next(self._current, None)
                try:
                    self._attend()
                except BaseException:       # of an extension: the event comes next
                    if event is not None:
                        self._current = chain((event,), self._current)
                    raise
                if event is not None:
                    return event
                self._current = None
            if self._made:
                return self._made.popleft()
            if not self._input or not self._may_go_on():
                return None
            data = self._input.popleft()
            if not data:
                self._current = self._end()
            elif self._connection.state == State.CONNECTING:
                self._current = self._shake_hands(data)
            else:
                self._current = self._receive_more(data)

    def _attend(self):
        # type: () -> None
        """Send what the protocol itself has to; raises what an extension does, the first time."""
        if self._connection.decoder.news:
            pending = self._connection.take_pending()
            if pending is not None:
                try:
                    self._output.append(self._connection.encode(*pending))
                except errors.WebSocketUnavailable as error:
                    self._reason = self._reason or text_type(error)

    def _may_go_on(self):
        # type: () -> bool
        """Return whether what was received may become events now."""
        return True

    def _shake_hands(self, data):
        # type: (bytes) -> Iterator[Any]
        raise NotImplementedError

    def _receive_more(self, data):
        # type: (bytes) -> Iterator[Any]
        for event in self._connection.receive(data):
            if event.name == 'protocol_error':
                self._reason = event.error
            yield event

    def _open(self, head, protocol, agreed):
        # type: (Any, Optional[text_type], List[Extension]) -> Any
        self._connection.accept(extensions=agreed)
        self._connection.stats.connections += 1
        self._was_open = True
        self.protocol = protocol
        self.extensions = {extension.name for extension in agreed}
        return events.Ready(head, protocol, set(self.extensions))

    def _end(self):
        # type: () -> Iterator[Any]
        connection = self._connection
        graceful = connection.is_close_complete
        reason = self._reason
        if graceful:
            reason = u'closed'
        elif reason is None:
            reason = u'{} ended the connection {}'.format(
                self._peer, u'without a Close frame' if self._was_open
                else u'before the opening handshake was complete')
        connection.disconnect()
        yield events.Disconnected(reason, graceful)

    # -- sending --

    def data_to_send(self):
        # type: () -> bytes
        """Return what is to be sent to the peer, once; b'' if there is nothing."""
        data = b''.join(self._output)
        del self._output[:]
        return data

    def send_text(self, text, compress=True, message_finished=True):
        # type: (text_type, bool, bool) -> None
        """Make the frames of a text message, or of a part of one.

        Parameters: ``text``, a str (unicode on 2.7); ``compress``, whether to compress the message
        if that was agreed on (the first part's counts); ``message_finished``, False if more parts
        follow, each a fragment (RFC 6455 5.4).

        Raises TypeError for another type, ValueError for a lone surrogate, WebSocketUnavailable (or
        its kinds WebSocketClosing and WebSocketClosed) if the state doesn't allow it, and
        FrameBuildError for a part of another kind than the message that has begun.
        """
        self._send(Opcode.TEXT, text_payload('send_text', text), compress, message_finished)

    def send_binary(self, data, compress=True, message_finished=True):
        # type: (BytesLike, bool, bool) -> None
        """Make the frames of a binary message, or of a part: as `send_text`, of bytes."""
        self._send(Opcode.BINARY, check_bytes('send_binary', data), compress, message_finished)

    def send_utf8(self, data, compress=True, message_finished=True):
        # type: (BytesLike, bool, bool) -> None
        """Make the frames of bytes that are UTF-8 already, as a text message: as `send_text`.

        They are checked: ValueError for what isn't UTF-8, or ends in the middle of a character.
        """
        self._send(Opcode.TEXT, check_utf8('send_utf8', data), compress, message_finished)

    def send_json(self, _obj=Ellipsis, **kwargs):
        # type: (Any, **Any) -> None
        """Make the frames of an object, or the keyword arguments as one, as JSON text.

        Raises as `lomond.websocket.WebSocket.send_json`, and FrameBuildError in the middle of a
        message in parts.
        """
        text = json_text(_obj, kwargs, self._json_dumps)
        self._send_whole(Opcode.TEXT, text_payload('send_json', text), True)

    def send_ping(self, data=b''):
        # type: (BytesLike) -> None
        """Make a ping with up to 125 bytes; ValueError for more, otherwise as `send_text`."""
        self._output.append(self._connection.encode(
            Opcode.PING, check_control('send_ping', data)))

    def send_pong(self, data):
        # type: (BytesLike) -> None
        """Make a pong (RFC 6455 5.5.3); raises as `send_ping`."""
        self._output.append(self._connection.encode(
            Opcode.PONG, check_control('send_pong', data)))

    def close(self, code=1000, reason=u'goodbye'):
        # type: (Optional[int], Union[bytes, text_type]) -> None
        """Make a Close frame (RFC 6455 5.5.1): the first, or the answer while Closing is handled.

        Parameters: ``code``, see `lomond.status.Status`, or None for a frame without one;
        ``reason``, cut at 123 bytes of UTF-8.

        Raises TypeError, ValueError for a code that may not be sent and for a reason without a
        code, and WebSocketUnavailable (or its kinds) before the handshake is complete and after a
        Close frame was made.
        """
        if self._connection.state == State.CONNECTING:
            raise errors.WebSocketUnavailable(
                'not connected yet: close() makes a Close frame, after the Ready event; before '
                'that, end TCP')
        self._output.append(self._connection.encode_close(code, reason))

    def _send(self, opcode, payload, compress, is_last):
        # type: (int, bytes, bool, bool) -> None
        if is_last is not True:
            is_last = check_flag('message_finished', is_last)
        encoder = self._connection.encoder
        if is_last and encoder.unfinished is None:
            self._send_whole(opcode, payload, compress)
            return
        size = self._fragment_size or len(payload) or 1
        for start in range(0, len(payload) or 1, size):
            self._output.append(encoder.encode_part(
                opcode, payload[start:start + size],
                is_last and start + size >= len(payload), compress))

    def _send_whole(self, opcode, payload, compress):
        # type: (int, bytes, bool) -> None
        self._output.extend(self._connection.encoder.encode_many(
            [(opcode, payload)], compress, self._fragment_size))

    # -- how it stands --

    @property
    def connection(self):
        # type: () -> Connection
        """The protocol's `Connection`; WebSocketUnavailable before the handshake is complete."""
        if not self._was_open:
            raise errors.WebSocketUnavailable(
                'the opening handshake is not complete: there is a connection from Ready on')
        return self._connection

    @property
    def stats(self):
        # type: () -> Stats
        """Messages and bytes so far: a `lomond.stats.Stats`. It has no times here."""
        return self._connection.stats

    @property
    def close_sent(self):
        # type: () -> Optional[CloseFrame]
        """Our Close frame, a named tuple of ``code`` and ``reason``, once it was made; or None."""
        return self._connection.close_sent

    @property
    def close_received(self):
        # type: () -> Optional[CloseFrame]
        """The peer's Close frame, a named tuple as `close_sent`, once it came; or None."""
        return self._connection.close_received

    def __reduce_ex__(self, _protocol):
        # type: (Any) -> Any
        raise TypeError("a {} can't be copied or pickled".format(type(self).__name__))


class Client(_End):
    """A client's end. Its request waits in `data_to_send` from the beginning.

    Parameters, most of them the same as those of `lomond.websocket.WebSocket`:

    - ``url``: ``ws://`` or ``wss://``; ``user:password@`` is sent as Basic authorization.
    - ``protocols``: names of the subprotocols to offer, the preferred one first (none).
    - ``agent``: the User-Agent header; None for `lomond.constants.USER_AGENT`.
    - ``compress``: True to offer permessage-deflate, or a `lomond.extensions.DeflateOptions`.
    - ``headers``: headers to add to the request: a mapping, a list of pairs, or a function that
      returns either, which is called at once.
    - ``max_message_size``: bytes of the largest message to accept (64 MiB); None for no limit.
    - ``json_loads``, ``json_dumps``: the functions that decode and encode JSON.
    - ``fragment_size``: bytes of payload in one frame (1 MiB); None for no limit.
    - ``extensions``: factories of `lomond.extensions.Extension` to offer (none).
    - ``message_parts``: True to get messages in parts (False), or a function that decides.
    - ``text_as_bytes``: True to get texts as their UTF-8 in ``event.data`` (False).
    - ``auto_pong``: whether pings are answered (True).
    - ``rejected_parts``: True to get Rejected at the end of a rejection's headers, and its body, of
      any size, in `RejectedPart` events (False: Rejected has up to 64 KiB of the body).

    Raises TypeError and ValueError, and ConnectFail if a function ``headers`` fails.
    """

    _role = CLIENT
    _peer = u'the server'

    @takes_options('sansio.Client', '')
    def __init__(
        self,
        url,                                # type: text_type
        protocols=None,                     # type: Optional[Iterable[str]]
        agent=None,                         # type: Union[None, bytes, text_type]
        compress=False,                     # type: Union[None, bool, DeflateOptions]
        headers=None,                       # type: Union[None, Headers, Callable[[], Headers]]
        max_message_size=MAX_MESSAGE_SIZE,  # type: Optional[int]
        json_loads=None,                    # type: Optional[JSONLoads]
        json_dumps=None,                    # type: Optional[JSONDumps]
        fragment_size=FRAGMENT_SIZE,        # type: Optional[int]
        extensions=(),                      # type: Iterable[Factory]
        message_parts=False,                # type: MessageParts
        text_as_bytes=False,                # type: bool
        auto_pong=True,                     # type: bool
        rejected_parts=False,               # type: bool
    ):
        # type: (...) -> None
        super(Client, self).__init__(
            protocols, compress, max_message_size, json_loads, json_dumps, fragment_size,
            extensions, message_parts, text_as_bytes, auto_pong)
        self._target = target = parse_url(url)
        self._takes_parts = check_flag('rejected_parts', rejected_parts)
        self._body = None  # type: Optional[BodyParts]  # of a rejection, until it is complete
        self._reader = ResponseReader(
            DEFAULT_LIMITS.head, None if self._takes_parts else DEFAULT_LIMITS.body,
            secure_scheme=None if target.is_secure else u'wss')
        self._key = new_key()
        offer, self._offered = negotiation.offer(
            supported_extensions(self._factories, self._compress))
        own = RequestOptions(headers).fields(RedirectChain.begin(target))
        self._output.append(build_request(
            target.host_header, target.resource, self._key, self._protocols, offer,
            check_agent(agent), own))
        self._connection.stats.attempts += 1

    def __repr__(self):
        # type: () -> str
        return 'Client({!r})'.format(str(self._target.url))

    if TYPE_CHECKING:
        def receive(self, data):
            # type: (Optional[BytesLike]) -> Iterator[ClientEvent]
            """Return an iterator over the events in bytes from the peer."""

        def events(self):
            # type: () -> Iterator[ClientEvent]
            """Yield the events in what was received and not yet handed out."""

    @property
    def host(self):
        # type: () -> text_type
        """Where to connect to: the server's name in ASCII, or its address without brackets."""
        return self._target.host

    @property
    def port(self):
        # type: () -> int
        """The server's port."""
        return self._target.port

    @property
    def is_secure(self):
        # type: () -> bool
        """True if the connection has to use TLS, for a wss URL."""
        return self._target.is_secure

    @property
    def state(self):
        # type: () -> StateName
        """How far it has come: as `lomond.websocket.WebSocket.state`, or 'rejecting'.

        That is with ``rejected_parts``, from Rejected until the body is complete. (For the protocol
        it is 'closed' then.)
        """
        return REJECTING if self._body is not None else self._connection.state  # type: ignore[return-value]

    def _shake_hands(self, data):
        # type: (bytes) -> Iterator[Any]
        try:
            found = self._reader.feed(data)
        except errors.CriticalProtocolError as error:
            return self._fail(error)
        return iter(()) if found is None else self._answered(*found)

    def _fail(self, error):
        # type: (Exception) -> Iterator[Any]
        """Yield the event of a handshake that broke off: there is nothing to answer."""
        if self._connection.state == State.CONNECTING:
            self._connection.reject()
        self._reason = text_type(error)
        yield events.ProtocolError(self._reason, critical=True)

    def _answered(self, response, rest):
        # type: (Response, bytes) -> Iterator[Any]
        try:
            protocol = check_response(response, self._key, self._protocols)
            agreed = negotiation.accept(
                response.get(u'Sec-WebSocket-Extensions') or u'', self._offered)
        except errors.HandshakeError as error:
            self._reason = text_type(error)
            self._connection.reject()
            if self._takes_parts:
                self._body = BodyParts(response)
            yield events.Rejected(response, self._reason)
            if self._takes_parts:
                for part in self._rejected_parts(rest):
                    yield part
            return
        yield self._open(response, protocol, agreed)
        for event in self._receive_more(rest):
            yield event

    def _rejected_parts(self, data):
        # type: (bytes) -> Iterator[Any]
        body = self._body  # type: Any
        try:
            for piece in body.feed(data):
                yield RejectedPart(piece, False)
        except errors.HandshakeError as error:
            self._body = None
            for event in self._fail(error):
                yield event
            return
        if body.is_complete:
            self._body = None
            yield RejectedPart(b'', True)

    def _receive_more(self, data):
        # type: (bytes) -> Iterator[Any]
        if self._body is not None:
            return self._rejected_parts(data)
        return super(Client, self)._receive_more(data)

    def _end(self):
        # type: () -> Iterator[Any]
        if self._connection.state == State.CONNECTING:
            for event in self._shake_hands(b''):
                yield event
        if self._body is not None:
            self._body.end()
            if self._body.is_complete:
                self._body = None
                yield RejectedPart(b'', True)
            self._body = None
        for event in super(Client, self)._end():
            yield event


class Server(_End):
    """A server's end, of one connection.

    A `Request` event asks for `accept` or `reject`. For a request that can't be accepted there is a
    Rejected event instead: its ``response`` is the answer that waits in `data_to_send`.

    Parameters, the same as those of `lomond.server.Server`:

    - ``protocols``: names of the subprotocols it speaks, the preferred one first (none).
    - ``compress``: True to accept permessage-deflate, or a `lomond.extensions.DeflateOptions`.
    - ``max_message_size``, ``json_loads``, ``json_dumps``, ``fragment_size``, ``message_parts``,
      ``text_as_bytes``, ``auto_pong``: as of a `Client`.
    - ``extensions``: factories of `lomond.extensions.Extension` that it supports (none).

    Raises TypeError and ValueError.
    """

    _role = SERVER
    _peer = u'the client'

    @takes_options('sansio.Server', '')
    def __init__(
        self,
        protocols=None,                     # type: Optional[Iterable[str]]
        compress=False,                     # type: Union[None, bool, DeflateOptions]
        max_message_size=MAX_MESSAGE_SIZE,  # type: Optional[int]
        json_loads=None,                    # type: Optional[JSONLoads]
        json_dumps=None,                    # type: Optional[JSONDumps]
        fragment_size=FRAGMENT_SIZE,        # type: Optional[int]
        extensions=(),                      # type: Iterable[Factory]
        message_parts=False,                # type: MessageParts
        text_as_bytes=False,                # type: bool
        auto_pong=True,                     # type: bool
    ):
        # type: (...) -> None
        super(Server, self).__init__(
            protocols, compress, max_message_size, json_loads, json_dumps, fragment_size,
            extensions, message_parts, text_as_bytes, auto_pong)
        #: The client's request, a `lomond.server.Request`; None before it has come.
        self.request = None  # type: Optional[HTTPRequest]
        self._reader = RequestReader(DEFAULT_LIMITS.head)
        self._is_asking = False         # the request waits for accept() or reject()
        self._is_replaceable = False    # the answer to a bad request waits
        self._has_body = False          # reject_data() is to follow
        self._is_chunked = False        # and what it makes

    @classmethod
    def from_request(
        cls,                # type: Type[S]
        method,             # type: HeaderText
        target,             # type: HeaderText
        headers,            # type: Any
        **options           # type: Any
    ):
        # type: (...) -> S
        """Make a server's end for a request that another parser has read.

        Parameters: the method, the path with its query, and the headers, a mapping or pairs, all
        text or bytes; ``options`` of the constructor. `events` yields Request, or Rejected; but
        `accept` and `reject` may be called at once.

        Raises TypeError and ValueError.
        """
        server = cls(**options)
        try:
            server._ask(rebuild_request(method, target, headers))
        except errors.HandshakeError as error:
            server._refuse(error)
        return server

    def __repr__(self):
        # type: () -> str
        return 'Server()' if self.request is None else 'Server({!r})'.format(self.request)

    if TYPE_CHECKING:
        def receive(self, data):
            # type: (Optional[BytesLike]) -> Iterator[ServerEvent]
            """Return an iterator over the events in bytes from the peer."""

        def events(self):
            # type: () -> Iterator[ServerEvent]
            """Yield the events in what was received and not yet handed out."""

    @property
    def state(self):
        # type: () -> StateName
        """How far it has come: as `lomond.websocket.WebSocket.state`, or 'rejecting'.

        That is while the answer to a bad request may be replaced, as `data_to_send` hasn't returned
        it, and while `reject_data` has to follow. (For the protocol it is 'closed' then.)
        """
        if self._is_replaceable or self._has_body:
            return 'rejecting'
        return self._connection.state

    # -- the client's request --

    def _may_go_on(self):
        # type: () -> bool
        if self._is_asking and self._is_at_end:
            self._input.clear()     # the client is gone, and with it what it sent
            self._input.append(b'')
        return not self._is_asking or self._is_at_end

    def _shake_hands(self, data):
        # type: (bytes) -> Iterator[Any]
        try:
            found = self._reader.feed(data)
            if found is not None:
                head, rest = found
                if rest:
                    self._input.appendleft(rest)
                self._ask(HTTPRequest(head))
        except errors.HandshakeError as error:
            self._refuse(error)
        return iter(())

    def _ask(self, request):
        # type: (HTTPRequest) -> None
        self.request = request
        check_request(request)
        check_offers(request)
        self._is_asking = True
        self._made.append(Request(request))

    def _refuse(self, error):
        # type: (errors.HandshakeError) -> None
        """Answer a bad request, until the answer is replaced or taken."""
        self._reason = text_type(error)
        self._connection.reject()
        self._is_replaceable = True
        answer = answer_bad_request(error)
        self._output.append(answer)
        head, end, body = answer.partition(b'\r\n\r\n')
        response = Response(head + end)
        response.body = body
        self._made.append(events.Rejected(response, self._reason))

    @takes_options('accept', '')
    def accept(self, protocol=None, extensions=None, headers=()):
        # type: (Optional[text_type], Optional[Iterable[Factory]], Headers) -> Iterator[ServerEvent]
        """Accept the request (RFC 6455 4.2.2): the answer waits in `data_to_send`.

        Parameters:

        - ``protocol``: the subprotocol, one that the client offered; None for the first of the
          option ``protocols`` that it did.
        - ``extensions``: factories of the extensions to agree on, instead of the options
          ``extensions`` and ``compress``; None for these.
        - ``headers``: a mapping or a list of pairs to add to the answer.

        Returns an iterator over Ready, and the events in what came after the request. They are
        yielded once: by this, by the loop over `receive` that yielded the `Request`, or by
        `events`.

        Raises TypeError, ValueError for another subprotocol and for headers that the handshake
        sets, WebSocketUnavailable (WebSocketClosed) if no request waits for it, and what a factory
        raises. After an error the request still waits.
        """
        request = self._asked('accept')
        if protocol is None:
            protocol = choose_protocol(request, self._protocols)
        else:
            check_protocols([protocol])
            if protocol not in offered_protocols(request):
                raise ValueError('the client did not offer the subprotocol {!r}'.format(protocol))
        supported = supported_extensions(self._factories, self._compress) if extensions is None \
            else supported_extensions(CHECKS['extension_factories'](extensions), False)
        answer, agreed = accept_request(
            request, protocol, supported, check_answer_headers(headers))
        self._is_asking = False
        self._output.append(answer)
        self._made.append(self._open(request, protocol, agreed))
        return self.events()

    def reject(self, status, headers=(), body=b''):
        # type: (int, Headers, Union[None, bytes, text_type]) -> None
        """Refuse the request with an HTTP answer; end TCP once it is sent.

        After a bad request this replaces the answer, as long as `data_to_send` hasn't returned it.

        Parameters: ``status``, from 300 to 599; ``headers``, a mapping or a list of pairs;
        ``body``, bytes or text (empty), or None if `reject_data` gives it in parts.

        Raises TypeError, ValueError, and WebSocketUnavailable (WebSocketClosed) if no request
        waits for it.
        """
        if isinstance(headers, (bytes, text_type)):
            raise TypeError('reject takes the status, the headers and the body: write '
                            'reject({!r}, body={!r})'.format(status, headers))
        refusal = Refusal(status, b'' if body is None else body, headers)
        if not self._is_replaceable:
            self._asked('reject')
            self._connection.reject()
        del self._output[:]
        self._is_asking = self._is_replaceable = False
        self._reason = u'rejected with HTTP {}'.format(refusal.status)
        self._has_body = body is None
        # RFC 9112 6.1: no chunks for a client that may not know them
        self._is_chunked = self.request is not None and self.request.http_ver != u'HTTP/1.0'
        self._output.append(build_answer(
            refusal.status, None if body is None else refusal.body, refusal.headers,
            self._is_chunked))

    def reject_data(self, chunk, finished=False):
        # type: (BytesLike, bool) -> None
        """Add to the body of a refusal, after `reject` with ``body=None``.

        Parameters: ``chunk``, bytes, bytearray or memoryview, maybe empty; ``finished``, True for
        the last one. They are sent in the chunked transfer coding (RFC 9112 7.1), but as they are
        to a client of HTTP/1.0, and after what is no request: then the end of TCP ends the body.

        Raises TypeError, and WebSocketUnavailable if no part of a body is expected (its kind
        WebSocketClosed if the client is gone).
        """
        data = check_bytes('reject_data', chunk)
        if not self._has_body:
            if self._is_at_end:
                raise errors.WebSocketClosed(
                    'reject_data() comes too late: the client has ended the connection')
            raise errors.WebSocketUnavailable(
                'reject_data continues the answer that reject(status, body=None) began: '
                'there is none, or it is finished')
        self._output.append(encode_chunk(data) if self._is_chunked else data)
        if finished:
            self._has_body = False
            if self._is_chunked:
                self._output.append(LAST_CHUNK)

    def _asked(self, method):
        # type: (str) -> HTTPRequest
        """Return the request that waits; raises WebSocketUnavailable if there is none."""
        if self._is_asking and self._connection.state == State.CONNECTING:
            return self.request     # type: ignore[return-value]
        if self._connection.state == State.CONNECTING:
            raise errors.WebSocketUnavailable(
                'the request is not here yet: call {}() after the Request event'.format(method))
        if self._is_replaceable:
            raise errors.WebSocketUnavailable(
                'this request can not be accepted: {}'.format(self._reason))
        raise errors.WebSocketClosed(
            '{}() comes too late: the request was answered, or the client is gone'.format(method))

    def data_to_send(self):
        # type: () -> bytes
        """Return what is to be sent to the client, once; b'' if there is nothing."""
        self._is_replaceable = False
        return super(Server, self).data_to_send()

    def _end(self):
        # type: () -> Iterator[Any]
        self._is_asking = self._is_replaceable = self._has_body = False
        return super(Server, self)._end()
