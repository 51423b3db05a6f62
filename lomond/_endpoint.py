"""What both ends of an open WebSocket offer: sending, closing, and how it stands.

`lomond.websocket.WebSocket` is the client's end, `lomond.server.ServerWebSocket`
the server's. An endpoint does no I/O: its session does.
"""

from __future__ import absolute_import, division, print_function

import weakref
from functools import partial

from lomond import errors
from lomond._compat import TYPE_CHECKING, encode_utf8, surrogate_error, text_type, to_bytes
from lomond._locks import ProcessLock
from lomond._messages import (
    binary_parts,
    check_control,
    check_utf8,
    json_text,
    message_of,
    text_parts,
    utf8_parts,
)
from lomond._options import CHECKS, supported_extensions
from lomond.events import text_class
from lomond.opcode import Opcode
from lomond.protocol.close import encode_close
from lomond.protocol.connection import Connection
from lomond.protocol.limits import message_limits
from lomond.protocol.state import State, Trigger, unavailable
from lomond.stats import Stats

if TYPE_CHECKING:
    from types import TracebackType  # noqa: F401
    from typing import (  # noqa: F401
        Any,
        Callable,
        Dict,
        FrozenSet,
        Generic,
        Iterable,
        Iterator,
        List,
        Optional,
        Tuple,
        Type,
        TypeVar,
        Union,
    )

    from lomond._messages import BytesLike  # noqa: F401
    from lomond._options import JSONDumps, JSONLoads, Logger, MessageParts  # noqa: F401
    from lomond.engine.handover import Handover  # noqa: F401
    from lomond.engine.reconnect import PersistentSession  # noqa: F401
    from lomond.engine.session import Session  # noqa: F401
    from lomond.events import AnyEvent  # noqa: F401
    from lomond.net.transport import Transport  # noqa: F401
    from lomond.protocol.close import CloseFrame  # noqa: F401
    from lomond.protocol.extensions.base import Extension  # noqa: F401
    from lomond.protocol.extensions.negotiation import Factory  # noqa: F401
    from lomond.protocol.extensions.permessage_deflate import DeflateOptions  # noqa: F401
    from lomond.protocol.state import StateName  # noqa: F401

    Self = TypeVar('Self', bound='Endpoint')
    Given = TypeVar('Given')
    Kept = TypeVar('Kept')

    class Option(Generic[Given, Kept]):
        """An attribute that is set to what its parameter takes, and read as what is kept of it."""

        def __get__(self, instance, owner):
            # type: (Any, Any) -> Kept
            raise NotImplementedError

        def __set__(self, instance, value):
            # type: (Any, Given) -> None
            raise NotImplementedError


# One for all connections: it is held for moments, and no other lock is acquired meanwhile.
_lifecycle_lock = ProcessLock()


def with_defaults(cls):
    # type: (Type[Self]) -> Type[Self]
    """Decorate a class of endpoints: the defaults of its parameters become attributes of the class.

    In 10,000 objects with 40 attributes each, defaults alone would take 14 MB.
    """
    init = getattr(cls.__init__, '__wrapped__', cls.__init__)  # type: Any
    defaults = init.__defaults__
    names = init.__code__.co_varnames[:init.__code__.co_argcount][-len(defaults):]
    for name, default in zip(names, defaults):
        attribute = cls._renamed.get(name, name)
        check = cls._checks.get(attribute)
        kept = default if check is None else check(default)
        if not isinstance(kept, list):      # somebody may change a list
            setattr(cls, attribute, kept)
    return cls


class Endpoint(object):
    """One end of a WebSocket, as its user holds it.

    Every method may be called from any thread, in any state: it works, or
    raises WebSocketUnavailable, WebSocketClosing or WebSocketClosed.

    Each parameter is an attribute, too. Setting it checks the value as the
    constructor does. It has an effect from the next connection on; ``write_timeout``,
    ``json_dumps``, ``logger`` and a client's ``trace`` immediately. At a server's end the others
    raise AttributeError: it has only one connection.
    """

    _role = ''
    _is_made = False    # the constructor is done

    if TYPE_CHECKING:
        protocols = Option()  # type: Option[Optional[Iterable[str]], List[str]]
        logger = Option()  # type: Option[Optional[Logger], Logger]

    #: Anything of the user's: what `Pool.add` was given.
    tag = None  # type: Any

    #: What a session begins with instead of dialling, after `lomond.websocket.WebSocket.attach`.
    handover = None  # type: Optional[Handover]

    #: A new object after each call of close(), which `persist` notices. Not a counter: two
    #: threads that count at once may count one.
    last_close = None  # type: Optional[object]

    # What waits for messages and pongs without a loop, a `lomond._calls.Calls`, once it is used.
    _calls = None  # type: Any

    # Returns the PersistentSession that reconnects it, or None: a weak reference, set at its
    # first step.
    _machine = staticmethod(lambda: None)  # type: Callable[[], Any]

    # Parameters whose attribute has another name.
    _renamed = {'extensions': 'extension_factories'}  # type: Dict[str, str]

    # By an attribute's name: what returns the value to keep, or raises.
    _checks = CHECKS  # type: Dict[str, Callable[[Any], Any]]

    def __init__(
        self,
        protocols,          # type: Optional[Iterable[str]]
        compress,           # type: Union[None, bool, DeflateOptions]
        max_message_size,   # type: Optional[int]
        write_timeout,      # type: Optional[float]
        json_loads,         # type: Optional[JSONLoads]
        json_dumps,         # type: Optional[JSONDumps]
        fragment_size,      # type: Optional[int]
        max_read_ahead,     # type: Optional[int]
        extensions,         # type: Iterable[Factory]
        message_parts,      # type: MessageParts
        text_as_bytes,      # type: bool
        logger,             # type: Optional[Logger]
    ):
        # type: (...) -> None
        self.protocols = protocols
        self.compress = compress  # type: Union[None, bool, DeflateOptions]
        self.max_message_size = max_message_size  # type: Optional[int]
        self.write_timeout = write_timeout  # type: Optional[float]
        self.json_loads = json_loads  # type: Optional[JSONLoads]
        self.json_dumps = json_dumps  # type: Optional[JSONDumps]
        self.fragment_size = fragment_size  # type: Optional[int]
        self.max_read_ahead = max_read_ahead  # type: Optional[int]
        #: The option ``extensions``: what makes those that each connection offers, or supports.
        self.extension_factories = extensions  # type: Iterable[Factory]
        self.message_parts = message_parts  # type: MessageParts
        self.text_as_bytes = text_as_bytes  # type: bool
        self.logger = logger
        self._stats = Stats()
        self._session = None  # type: Optional[Session]
        # What sends for it: the session's writer, which saves a call for each message; or the
        # session itself, where a subclass of the user's has its own `send`.
        self._sender = None  # type: Any
        # Held while a loop begins, and while the connection and the options are replaced.
        self._loop_lock = ProcessLock()

    if not TYPE_CHECKING:       # with it, mypy would let any attribute be set
        # Not properties: `write_timeout` is read for each message.
        def __setattr__(self, name, value):
            """Set an attribute; a parameter's is checked. A default stays the class's."""
            if name.startswith('_'):
                object.__setattr__(self, name, value)
                return
            default = getattr(type(self), name, self)
            if value is not default:        # which was checked
                check = self._checks.get(name)
                if check is not None:
                    value = check(value)
                if type(default) is not type(value) or default != value:
                    object.__setattr__(self, name, value)
                    return
            if getattr(self, name) is not default:
                object.__delattr__(self, name)      # not through __dict__: that takes memory

    def __reduce_ex__(self, _protocol):
        # type: (Any) -> Any
        # A copy would share the options, the TLS sessions and the connection.
        raise TypeError("a {} can't be copied or pickled: make another one with the same "
                        'options'.format(type(self).__name__))

    def _make_extensions(self):
        # type: () -> List[Extension]
        """Make what one connection offers or supports; raises what the user's factories do."""
        return supported_extensions(self.extension_factories, self.compress)

    def _new_connection(self):
        # type: () -> Connection
        return Connection(
            self._role, message_limits(self.max_message_size), _lifecycle_lock,
            self._stats, text_class=text_class(self.json_loads, self.text_as_bytes),
            message_parts=self.message_parts)

    # -- how it stands --

    @property
    def session(self):
        # type: () -> Optional[Session]
        """The session that drives the present or last connection."""
        return self._session

    def attach_session(self, session):
        # type: (Any) -> None
        """Send and close through this session from now on; None for none.

        This replaces the session that the websocket has made.
        """
        self._session = session
        # By the class: a stand-in for a session may have any attribute.
        self._sender = session.sender if hasattr(type(session), 'sender') else session

    def claim(self, session):
        # type: (Session) -> None
        """Let a session's loop begin; the session calls this.

        Raises WebSocketUnavailable if another connect() has made another session since.
        """
        with self._loop_lock():
            if self._session is not session:
                raise errors.WebSocketUnavailable(
                    'another call of connect() took the place of this')
            session.claimed()

    def attach_machine(self, machine):
        # type: (PersistentSession) -> None
        """Have `close` wake the machine that reconnects this, without keeping it alive."""
        self._machine = weakref.ref(machine)

    def wait_for_connection(self):
        # type: () -> None
        """Refuse all sends until the next session is attached; the attached machine calls this."""
        self._sender = _NoSender(partial(_between_connections, self._machine))

    def refuse_sends(self, session, make_error):
        # type: (Any, Callable[[], Exception]) -> None
        """Have sends raise what ``make_error()`` makes, unless another session was attached."""
        with self._loop_lock():
            if self._session is session:
                self._sender = _NoSender(make_error)

    @property
    def stream(self):
        # type: () -> Connection
        """The protocol's side of the present or last connection."""
        raise NotImplementedError

    def new_session(self, session_class):
        # type: (Callable[[Any], Any]) -> Any
        """Return the session of a connection, not begun, for what drives it in steps."""
        raise NotImplementedError

    def check_idle(self):
        # type: () -> None
        """Raise WebSocketUnavailable unless a driver may begin with this."""
        raise NotImplementedError

    def check_may_reconnect(self):
        # type: () -> None
        """Raise TypeError unless this can connect again."""
        raise NotImplementedError

    @property
    def _transport(self):
        # type: () -> Optional[Transport]
        """The present connection's byte stream; None without a connection."""
        session = self._session
        if session is None:
            return None if self.handover is None else self.handover.transport
        return None if session.is_finished else session.transport

    def fileno(self):
        # type: () -> int
        """Return the descriptor of the present connection's socket.

        It exists from Connected (on the server, from the handshake) until Disconnected, and its
        number may be used for another file then. It is for `select.select`, statistics of the
        system and the like: the loop alone reads, writes and closes it.

        Raises WebSocketUnavailable if there is no connection.
        """
        transport = self._transport
        fd = -1 if transport is None else transport.fileno()
        if fd < 0:
            raise errors.WebSocketUnavailable(
                'there is no connection, and so no descriptor: call fileno() between the Connected '
                'and the Disconnected event')
        return fd

    @property
    def peer_address(self):
        # type: () -> Any
        """Where the present connection leads, as `socket.getpeername` says: to a proxy, if any.

        A tuple of an IP address and a port (with IPv6 two more numbers), or the path of a Unix
        socket, empty if that end has none. None without a connection, and as soon as both ends have
        ended TCP.
        """
        transport = self._transport
        return None if transport is None else transport.peer_address

    @property
    def local_address(self):
        # type: () -> Any
        """This end of the present connection, as `socket.getsockname` says; as `peer_address`."""
        transport = self._transport
        return None if transport is None else transport.local_address

    @property
    def stats(self):
        # type: () -> Stats
        """What went over all connections so far: a `lomond.stats.Stats`."""
        return self._stats

    @property
    def state(self):
        # type: () -> StateName
        """How far the connection has come, one of `lomond.protocol.state.State`.

        - 'connecting': before Ready, and before the first loop: nothing may be sent.
        - 'open': from Ready on: anything may be sent.
        - 'closing': our Close frame went out: messages may still arrive, none may be sent.
        - 'peer_closing': the peer's came, and Closing is being handled: the
          last messages may be sent, none will arrive.
        - 'failing': the peer broke the protocol: none may be sent, none will
          arrive. Our Close frame says why, unless one went out before.
        - 'closed': it is over. The next loop begins with 'connecting'.
        """
        return self.stream.lifecycle.state

    @property
    def is_open(self):
        # type: () -> bool
        """True from Ready until a Close frame goes either way, or the connection ends or fails.

        Check it before you send. (While Closing is being handled it is False,
        though the last messages may still be sent.)
        """
        stream, session = self.stream, self._session
        return stream.lifecycle.state == State.OPEN and stream.decoder.is_receiving \
            and session is not None and not session.is_ending

    @property
    def is_active(self):
        # type: () -> bool
        """True until our Close frame goes out, or the connection ends; before Ready, too.

        Ask `is_open` for whether there is a connection.
        """
        lifecycle = self.stream.lifecycle
        return lifecycle.state != State.CLOSED and lifecycle.close_sent is None

    @property
    def is_closing(self):
        # type: () -> bool
        """True after our Close frame went out, until the end: nothing may be sent."""
        lifecycle = self.stream.lifecycle
        return lifecycle.state != State.CLOSED and lifecycle.close_sent is not None

    @property
    def is_closed(self):
        # type: () -> bool
        """True once the connection is over."""
        return self.stream.lifecycle.state == State.CLOSED

    @property
    def read_ahead_limit(self):
        # type: () -> Optional[int]
        """How many bytes a waiting send reads ahead, at most: a whole message, at least."""
        if self.max_read_ahead is None or self.max_message_size is None:
            return None
        return max(self.max_read_ahead, self.max_message_size)

    @property
    def supports_compression(self):
        # type: () -> bool
        """True if compression was agreed on."""
        return self.stream.supports_compression

    @property
    def protocol(self):
        # type: () -> Optional[text_type]
        """The subprotocol of the present or last connection, as in Ready; None for none.

        Set before Ready comes (RFC 6455 1.9).
        """
        return self.stream.protocol

    @property
    def extensions(self):
        # type: () -> FrozenSet[text_type]
        """The names of the extensions of the present or last connection, as in Ready.

        Set before Ready comes, and empty if none was agreed on (RFC 6455 9.1).
        """
        return self.stream.extensions

    @property
    def close_sent(self):
        # type: () -> Optional[CloseFrame]
        """The Close frame that was sent over the present or last connection, or None.

        A named tuple: ``code``, an int, and ``reason``, text. They are 1005 and an empty text if
        the frame has no code (RFC 6455 7.1.5), as after ``close(None)``. Set when the frame is
        handed to the transport: a write that fails may still keep it from the peer.
        """
        return self.stream.lifecycle.close_sent

    @property
    def close_received(self):
        # type: () -> Optional[CloseFrame]
        """The Close frame that the peer sent over the present or last connection, or None.

        A named tuple like `close_sent`: the ``code`` and ``reason`` of Closing or Closed, set
        before that event comes. None, too, if the frame itself broke the protocol.
        """
        return self.stream.lifecycle.close_received

    @property
    def sent_close_time(self):
        # type: () -> Optional[float]
        """When a Close frame was sent, in seconds since the session began, or None."""
        session = self._session
        return session.sent_close_time if session is not None else None

    # -- receiving --

    def feed(self, data):
        # type: (bytes) -> Iterator[AnyEvent]
        """Yield the events in bytes from the peer; the session calls this.

        Empty bytes are the end of the stream: they complete a rejection.
        What the peer does wrong is an event, never an exception.
        """
        stream = self.stream
        if stream.lifecycle.state == State.CONNECTING:
            return self._shake_hands(data)
        return stream.decoder.receive(data)

    def _shake_hands(self, data):
        # type: (bytes) -> Iterator[AnyEvent]
        """Yield the events of the opening handshake, and of what came with its end."""
        raise NotImplementedError

    # -- sending --

    def send_text(self, text, compress=True):
        # type: (Union[text_type, Iterable[text_type]], bool) -> None
        """Send a text message.

        Parameters: ``text``, a str (unicode on 2.7), or an iterable of these, or a file: one
        message, with a fragment for each item, sent while they are made (RFC 6455 5.4). What the
        iterable raises in the middle of the message ends the connection, and goes through.
        ``compress``, whether to compress it if that was agreed on.

        Raises TypeError for another type, ValueError for a lone surrogate,
        TransportFail if the connection breaks, WebSocketUnavailable (or its
        kinds WebSocketClosing and WebSocketClosed) if it isn't open, or if it
        begins to close between two fragments of a large message.
        """
        if not isinstance(text, text_type):
            self._send_parts(Opcode.TEXT, text_parts(text), compress)
            return
        try:
            payload = encode_utf8(text)
        except UnicodeEncodeError:
            raise surrogate_error(text)
        # As `_send`, without the call: most messages come through here.
        sender = self._sender
        if sender is None:
            raise unavailable(self.stream.state)
        sender.send(Opcode.TEXT, payload, compress)

    def send_binary(self, data, compress=True):
        # type: (Union[BytesLike, Iterable[BytesLike]], bool) -> None
        """Send a binary message: bytes, bytearray or memoryview, which stay as they are.

        Or an iterable of these, or a file: otherwise as `send_text`.
        """
        if isinstance(data, bytes):
            self._send(Opcode.BINARY, data, compress)
        elif isinstance(data, (bytearray, memoryview)):
            self._send(Opcode.BINARY, to_bytes(data), compress)
        else:
            self._send_parts(Opcode.BINARY, binary_parts(data), compress)

    def send_utf8(self, data, compress=True):
        # type: (Union[BytesLike, Iterable[BytesLike]], bool) -> None
        """Send bytes that are UTF-8 already, as a text message: they are checked, not decoded.

        Parameters: ``data``, bytes, bytearray or memoryview, or an iterable of these, or a binary
        file: one message, as in `send_text`, where an item may end within a character;
        ``compress``, whether to compress them if that was agreed on.

        Raises TypeError for another type, ValueError for what isn't UTF-8 (RFC 6455 8.1), such as
        encoded surrogates; otherwise as `send_text`.
        """
        if isinstance(data, (bytes, bytearray, memoryview)):
            self._send(Opcode.TEXT, check_utf8('send_utf8', data), compress)
        else:
            self._send_parts(Opcode.TEXT, utf8_parts(data), compress)

    def send_json(self, _obj=Ellipsis, **kwargs):
        # type: (Any, **Any) -> None
        """Send an object, or the keyword arguments as an object, as JSON text.

        By Python's `json`, or by the option ``json_dumps``. Raises what that
        does: TypeError if it can't be encoded, ValueError for NaN and
        Infinity, which JSON hasn't (RFC 8259 6). Otherwise as `send_text`.
        """
        self.send_text(json_text(_obj, kwargs, self.json_dumps))

    def send_many(self, messages, compress=True):
        # type: (Iterable[Union[text_type, BytesLike]], bool) -> None
        """Send several messages at once: for many small ones much faster than one by one.

        They go out in this order, with no other thread's message in between,
        and in as few writes as 64 KiB each allow.

        Parameters: ``messages``, an iterable of text, for text messages, and
        of bytes, bytearrays and memoryviews, for binary ones; ``compress``, whether to
        compress them if that was agreed on.

        Raises TypeError and ValueError before anything is sent, otherwise as
        `send_text`. A TransportFail counts the bytes of the write that failed.
        """
        if isinstance(messages, (bytes, bytearray, memoryview, text_type)):
            raise TypeError('send_many takes several messages, such as a list of them, '
                            'not one {}'.format(type(messages).__name__))
        checked = [message_of('send_many', message) for message in messages]
        sender = self._sender
        if sender is None:
            raise unavailable(self.stream.state)
        sender.send_many(checked, compress)

    def send_ping(self, data=b''):
        # type: (BytesLike) -> None
        """Send a ping with up to 125 bytes; the peer's pong carries them back.

        Raises TypeError, ValueError over 125 bytes; otherwise as `send_text`.
        """
        self._send_control(Opcode.PING, check_control('send_ping', data))

    def send_pong(self, data):
        # type: (BytesLike) -> None
        """Send a pong, unasked (RFC 6455 5.5.3); raises as `send_ping`."""
        self._send_control(Opcode.PONG, check_control('send_pong', data))

    def _send(self, opcode, payload, compress):
        # type: (int, bytes, bool) -> None
        sender = self._sender
        if sender is None:
            raise unavailable(self.stream.state)
        sender.send(opcode, payload, compress)

    def _send_parts(self, opcode, parts, compress):
        # type: (int, Iterable[bytes], bool) -> None
        sender = self._sender
        if sender is None:
            raise unavailable(self.stream.state)
        sender.send_parts(opcode, parts, compress)

    def _send_control(self, opcode, payload):
        # type: (int, bytes) -> None
        sender = self._sender
        if sender is None:
            raise unavailable(self.stream.state)
        sender.send_control(opcode, payload)

    # -- calls instead of a loop --

    def _use_calls(self):
        # type: () -> Any
        """Return what the calls share. Made when it is used: most WebSockets have a loop."""
        with self._loop_lock():
            if self._calls is None or self._calls.is_inherited:
                self._calls = self._make_calls()
            return self._calls

    def _next_calls(self):
        # type: () -> Any
        """Return what the calls of the next connection share."""
        calls = self._use_calls()
        is_over = calls.is_over()       # without the lock: it waits for a thread that may want it
        with self._loop_lock():
            if is_over and self._calls is calls:
                self._calls = self._make_calls()
            return self._calls

    def _make_calls(self):
        # type: () -> Any
        from lomond._calls import Calls
        return Calls(self)

    def receive(self, timeout=None):
        # type: (Optional[float]) -> Union[text_type, bytes]
        """Wait for the next message: return text as str (unicode on 2.7), binary data as bytes.

        Instead of a loop, after `lomond.websocket.WebSocket.open`, or in a server's handler. A
        message that has arrived in part when the time is over isn't lost: a later call returns it
        whole. Pings are answered only while a call waits, unless ``open`` got ``background=True``.
        Without that, Ctrl-C here breaks the connection, as in a loop.

        Parameters: ``timeout`` in seconds (None: no limit); 0 takes what has arrived.

        Raises WebSocketTimeout, which is a TimeoutError; WebSocketClosed once the connection has
        ended, and all that arrived before was returned: it has the ``code`` and ``reason`` of the
        peer's Close frame, see `lomond.errors.WebSocketClosed`; WebSocketUnavailable if there was
        no ``open()``, if a loop runs, or if another thread is in such a call; TypeError and
        ValueError.

        The options ``message_parts`` and ``text_as_bytes`` are for loops: this returns whole
        messages, and text as str, whatever they are.
        """
        return self._use_calls().receive(timeout)       # type: ignore[no-any-return]

    def messages(self):
        # type: () -> Iterator[Union[text_type, bytes]]
        """Yield each message, as `receive` returns it, until the connection is closed.

        It ends when the Close frame of the peer has come with 1000, 1001 or no code
        (RFC 6455 7.4.1). Any other end raises WebSocketClosed; otherwise as `receive`.
        """
        return self._use_calls().messages()     # type: ignore[no-any-return]

    def ping(self, timeout=None):
        # type: (Optional[float]) -> float
        """Send a ping, wait for its pong, and return the round trip in seconds (RFC 6455 5.5.2).

        After `lomond.websocket.WebSocket.open`, or in a server's handler. Any number of threads may
        call this at a time, also while another one is in `receive`. A pong to a later ping counts
        for all before it. Messages that come meanwhile wait for `receive`.

        Parameters: ``timeout`` in seconds (None: no limit).

        Raises as `receive` and `send_ping`.
        """
        return self._use_calls().ping(timeout)      # type: ignore[no-any-return]

    def wait_ready(self, timeout=None):
        # type: (Optional[float]) -> None
        """Wait until another thread's `lomond.websocket.WebSocket.open` has connected.

        Parameters: ``timeout`` in seconds (None: no limit).

        Raises WebSocketTimeout; what ``open`` raises, if it fails; WebSocketClosed after the
        connection's end; WebSocketUnavailable if a loop runs.
        """
        self._use_calls().wait_ready(timeout)

    # -- the end --

    def close(self, code=1000, reason=u'goodbye'):
        # type: (Optional[int], Union[bytes, text_type]) -> None
        """Send a Close frame; the loop goes on until the peer has answered it.

        Before Ready it ends the attempt to connect; with no connection, or
        when called again, it does nothing. Without a loop, call `receive` until it raises
        WebSocketClosed, or leave the ``with`` block.

        Parameters: ``code``, see `lomond.status.Status`, or None for a frame
        without one; ``reason``, cut at 123 bytes of UTF-8. Raises ValueError
        for a code that RFC 6455 7.4 doesn't let an application send, and
        TypeError.
        """
        payload = encode_close(code, reason)
        self.last_close = object()
        if self._calls is not None:
            self._calls.ring()
        machine = self._machine()
        if machine is not None:
            machine.wake()
        session = self._session
        if session is None:
            self._close_handover()
            return
        if self.stream.state == State.CONNECTING:
            session.close(payload)
            return
        try:
            session.send_control(Opcode.CLOSE, payload)
        except errors.WebSocketUnavailable:
            pass        # closed already: an event says so
        except errors.TransportFail:
            # Broken: the loop ends, and says so; with calls nothing else would end it.
            if self._calls is not None and self._calls.drives(session):
                self._calls.free()

    def force_disconnect(self):
        # type: () -> None
        """Break the connection now, with no Close frame; the loop ends with Disconnected.

        Never waits, never raises, and does nothing if there is no connection.
        """
        session = self._session
        if session is not None:
            session.force_disconnect()
            if self._calls is not None:
                self._calls.forced(session)
            self._drop_handover()
        else:
            self._close_handover()

    def give_up(self):
        # type: () -> None
        """Count as closed from now on; what drives the connection frees it later."""
        self.last_close = object()
        self._sender = None
        stream = self.stream
        stream.stop_receiving()
        # Not `disconnect`: another thread may be sending, and using what that frees.
        stream.lifecycle.move(Trigger.DISCONNECTED)
        self._drop_handover()

    def on_disconnect(self):
        # type: () -> None
        """Close the connection's state: the transport is gone; the session calls this."""
        self.stream.disconnect(self.logger)
        self._drop_handover()

    def _close_handover(self):
        # type: () -> None
        """End a connection whose handshake was made elsewhere, and that nothing drives."""
        if self.handover is not None:
            self.on_disconnect()

    def _drop_handover(self):
        # type: () -> None
        """Close the socket of a handshake made elsewhere, unless a session has taken it."""
        if self.handover is not None:
            self.handover.close()

    def __enter__(self):
        # type: (Self) -> Self
        return self

    def __exit__(self, exc_type, exc_value, traceback):
        # type: (Optional[Type[BaseException]], Optional[BaseException], Optional[TracebackType]) -> None
        calls = self._calls
        if calls is None or calls.is_inherited or not calls.drives(self._session):
            self.force_disconnect()
        elif exc_type is None:
            calls.leave()
        else:
            calls.break_off()


class _NoSender(object):
    """Takes the place of a session, and refuses what is sent.

    Parameters: ``make_error``, which is called for each, as several threads may raise it.
    """

    __slots__ = ('_make_error',)

    def __init__(self, make_error):
        # type: (Callable[[], Exception]) -> None
        self._make_error = make_error

    def send(self, *_args):
        # type: (*Any) -> None
        """Raise the error."""
        raise self._make_error()

    send_many = send_parts = send_control = send


def _between_connections(machine):
    # type: (Callable[[], Any]) -> errors.WebSocketUnavailable
    """Make the error while the next connection is waited for; ``machine`` is a weak reference."""
    present = machine()
    if present is None or not present.will_connect:
        return unavailable(State.CLOSED)
    return errors.WebSocketClosed('not connected now: send after the next Ready event')
