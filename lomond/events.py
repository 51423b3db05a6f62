"""What the loop over a WebSocket yields.

Every event has a ``name``, the class name in snake case, and a
``received_time``, in seconds since the epoch. Ignore the events you don't
know: later versions may add some.
"""

from __future__ import absolute_import, division, print_function

import json
from functools import partial
from numbers import Number
from time import time
from weakref import WeakValueDictionary

from lomond._compat import TYPE_CHECKING, decode_utf8, text_type
from lomond.timings import NO_TIMINGS

if TYPE_CHECKING:
    from typing import Any, Callable, ClassVar, List, Optional, Set, Tuple, Type, Union  # noqa: F401

    from typing_extensions import Literal  # noqa: F401  # type checkers know it on any Python

    from lomond.errors import Phase  # noqa: F401
    from lomond.response import Response  # noqa: F401
    from lomond.timings import Timings  # noqa: F401


EVENT_SIZE = 200    # bytes that an event takes beside what it holds, about

_SHOWN = 80     # characters or bytes of a payload that repr() shows


def _short_repr(value):
    # type: (Any) -> str
    """Show a value on part of a line, however large it is."""
    if isinstance(value, (bytes, text_type)) and len(value) > _SHOWN:
        return '{!r}...({} in all)'.format(value[:_SHOWN], len(value))
    return repr(value)


# The fields of these types count for the hash; others may have none, as a set of extensions.
_HASHED = (bytes, text_type, Number)


def _values(event):
    # type: (Event) -> List[Any]
    """Return what an event's fields are compared by."""
    fields = event.__match_args__  # type: Tuple[str, ...]
    return [_compared(getattr(event, field, None)) for field in fields]


def _compared(value):
    # type: (Any) -> Any
    """Return what a field is compared by: an exception by its class and words, a head by bytes."""
    if isinstance(value, BaseException):
        return type(value), value.args
    raw = getattr(value, 'raw', None)       # of a Response, or of a server's Request
    return value if raw is None else (raw, getattr(value, 'body', b''))


class Event(object):
    """Base of all events.

    Two are equal if their names and their fields are; ``received_time`` isn't compared, nor the
    ``cause`` of Disconnected.
    """

    __slots__ = ('received_time',)
    __match_args__ = ()

    name = 'event'  # type: ClassVar[str]

    def __init__(self, received_time=None):
        # type: (Optional[float]) -> None
        self.received_time = time() if received_time is None else received_time  # type: float

    def __repr__(self):
        # type: () -> str
        fields = self.__match_args__  # type: Tuple[str, ...]
        return '{}({})'.format(type(self).__name__, ', '.join(
            '{}={}'.format(field, _short_repr(getattr(self, field))) for field in fields))

    # Tests compare events with those that they expect: by name and value, not by time.

    def __eq__(self, other):
        # type: (object) -> bool
        if not isinstance(other, Event):
            return NotImplemented
        # Classes differ for one event, see `text_class`; and Utf8Text has other fields than Text.
        return self is other or (
            self.name == other.name and self.__match_args__ == other.__match_args__
            and _values(self) == _values(other))

    def __ne__(self, other):        # 2.7 doesn't derive it
        # type: (object) -> bool
        is_equal = self.__eq__(other)
        return is_equal if is_equal is NotImplemented else not is_equal

    def __hash__(self):
        # type: () -> int
        values = tuple(value for value in _values(self) if isinstance(value, _HASHED))
        return hash((self.name, values))

    def __reduce_ex__(self, protocol):
        # type: (Any) -> Any
        # Protocols 0 and 1 refuse slots, or lose what is in them, but they carry what 2 makes.
        return super(Event, self).__reduce_ex__(max(protocol, 2))


# Text and Binary come in great numbers: their constructors call nothing.

class Text(Event):
    """A text message; ``text`` is a str (unicode on 2.7).

    ``frame_finished`` and ``message_finished`` are true, except in a `TextPart`.
    """

    __slots__ = ('text', '_json')
    __match_args__ = ('text',)

    name = 'text'  # type: ClassVar[Literal['text']]

    frame_finished = True  # type: bool
    message_finished = True  # type: bool

    #: Makes of a message's UTF-8 what the constructor takes; raises UnicodeDecodeError.
    from_utf8 = staticmethod(decode_utf8)  # type: Callable[[Any], Any]

    # The class's, so that an event is no larger for it; see `text_class`.
    _json_loads = None  # type: Optional[Callable[[Any], Any]]

    def __init__(self, text, received_time=None):
        # type: (text_type, Optional[float]) -> None
        self.text = text  # type: text_type
        self.received_time = time() if received_time is None else received_time  # type: float

    @property
    def json(self):
        # type: () -> Any
        """The text decoded as JSON, once; ValueError if it isn't JSON.

        By `json.loads`, or by the WebSocket's option ``json_loads``, and then
        it raises what that does.
        """
        found = getattr(self, '_json', None)  # type: Any
        if found is None:
            loads = json.loads if self._json_loads is None else self._json_loads
            # In a tuple, as what was read may be None.
            found = self._json = (loads(self._source),)
        return found[0]

    @property
    def _source(self):
        # type: () -> Any
        return self.text

    def __reduce_ex__(self, protocol):
        # type: (Any) -> Any
        reduced = super(Text, self).__reduce_ex__(protocol)  # type: Any
        if self._json_loads is None:
            return reduced
        # pickle can't find the class by its name, but may find its reader by its own.
        # In a partial, as deepcopy would copy an argument, and can't copy every reader.
        return (partial(_blank_text, self._json_loads, isinstance(self, Utf8Text)), ()) \
            + reduced[2:]


def _check_utf8(data):
    # type: (Any) -> bytes
    """Return received bytes as they are; UnicodeDecodeError if they aren't UTF-8."""
    decode_utf8(data)
    return bytes(data)


class Utf8Text(Text):
    """A text message whose ``data`` is its UTF-8, checked, for ``text_as_bytes=True``.

    ``text`` is decoded when it is first read; ``json`` reads the bytes.
    """

    __slots__ = ('data', '_decoded')
    __match_args__ = ('data',)

    from_utf8 = staticmethod(_check_utf8)  # type: Callable[[Any], Any]

    def __init__(self, data, received_time=None):
        # type: (bytes, Optional[float]) -> None
        self.data = data  # type: bytes
        self.received_time = time() if received_time is None else received_time  # type: float

    @property
    def text(self):
        # type: () -> text_type
        """The text, a str (unicode on 2.7); decoded once."""
        decoded = getattr(self, '_decoded', None)  # type: Any
        if decoded is None:
            decoded = self._decoded = decode_utf8(self.data)
        return decoded      # type: ignore[no-any-return]

    @text.setter
    def text(self, text):
        # type: (text_type) -> None
        self._decoded = text

    @property
    def _source(self):
        # type: () -> bytes
        return self.data


# By the id of their reader, which a class keeps alive; a callable may have no hash.
_text_classes = WeakValueDictionary()  # type: WeakValueDictionary[Tuple[int, bool], Type[Text]]


def text_class(json_loads, as_bytes=False):
    # type: (Optional[Callable[[Any], Any]], bool) -> Type[Text]
    """Return the class of text events whose ``json`` is read by a callable, or by `json.loads`.

    It is `Text`, or `Utf8Text` if ``as_bytes``, or a subclass of the same name
    and size.
    """
    base = Utf8Text if as_bytes else Text  # type: Type[Text]
    if json_loads is None:
        return base
    found = _text_classes.get((id(json_loads), as_bytes))
    if found is None:
        found = type(base.__name__, (base,), {
            '__doc__': base.__doc__, '__module__': __name__, '__slots__': (),
            '_json_loads': staticmethod(json_loads)})
        _text_classes[id(json_loads), as_bytes] = found
    return found


def _blank_text(json_loads, as_bytes=False):
    # type: (Callable[[Any], Any], bool) -> Text
    """Make the event that copying and unpickling fill."""
    cls = text_class(json_loads, as_bytes)
    return cls.__new__(cls)


class TextPart(Text):
    """A part of a text message as it arrives, for the option ``message_parts``.

    ``text`` ends with a whole character. ``frame_finished`` is true for the last part of a frame,
    ``message_finished`` for the last part of the message.
    """

    __slots__ = ('frame_finished', 'message_finished')
    __match_args__ = ('text', 'frame_finished', 'message_finished')

    def __init__(self, text, frame_finished, message_finished, received_time=None):
        # type: (text_type, bool, bool, Optional[float]) -> None
        Text.__init__(self, text, received_time)
        self.frame_finished = frame_finished  # type: bool
        self.message_finished = message_finished  # type: bool


class Utf8TextPart(Utf8Text):
    """A `TextPart` whose ``data`` is the UTF-8 of its text, for ``text_as_bytes=True``, too."""

    __slots__ = ('frame_finished', 'message_finished')
    __match_args__ = ('data', 'frame_finished', 'message_finished')

    def __init__(self, data, frame_finished, message_finished, received_time=None):
        # type: (bytes, bool, bool, Optional[float]) -> None
        Utf8Text.__init__(self, data, received_time)
        self.frame_finished = frame_finished  # type: bool
        self.message_finished = message_finished  # type: bool


class Binary(Event):
    """A binary message; ``data`` is bytes.

    ``frame_finished`` and ``message_finished`` are true, except in a `BinaryPart`.
    """

    __slots__ = ('data',)
    __match_args__ = ('data',)

    name = 'binary'  # type: ClassVar[Literal['binary']]

    frame_finished = True  # type: bool
    message_finished = True  # type: bool

    def __init__(self, data, received_time=None):
        # type: (bytes, Optional[float]) -> None
        self.data = data  # type: bytes
        self.received_time = time() if received_time is None else received_time  # type: float


class BinaryPart(Binary):
    """A part of a binary message as it arrives; the flags are those of a `TextPart`."""

    __slots__ = ('frame_finished', 'message_finished')
    __match_args__ = ('data', 'frame_finished', 'message_finished')

    def __init__(self, data, frame_finished, message_finished, received_time=None):
        # type: (bytes, bool, bool, Optional[float]) -> None
        Binary.__init__(self, data, received_time)
        self.frame_finished = frame_finished  # type: bool
        self.message_finished = message_finished  # type: bool


class Connecting(Event):
    """About to connect to ``url``, which is shown without credentials."""

    __slots__ = ('url',)
    __match_args__ = ('url',)

    name = 'connecting'  # type: ClassVar[Literal['connecting']]

    def __init__(self, url, received_time=None):
        # type: (text_type, Optional[float]) -> None
        Event.__init__(self, received_time)
        self.url = url  # type: text_type


class ConnectFail(Event):
    """There is no connection, and the loop ends.

    ``reason`` says why in words, ``phase`` how far it came ('resolve',
    'connect', 'proxy', 'tls' or 'request'), ``cause`` is the exception behind
    it or None. ``response`` is what a proxy answered that won't let us
    through, such as one with the ``status_code`` 407, and its ``body``; else None. ``tried`` has
    a pair for each address tried, in this order: the address, and the
    outcome in words. ``timings`` says how long each phase took, the last of them until it failed:
    a `lomond.timings.Timings`.
    """

    __slots__ = ('reason', 'phase', 'cause', 'response', 'tried', 'timings')
    __match_args__ = ('reason', 'phase', 'cause', 'response', 'tried')

    name = 'connect_fail'  # type: ClassVar[Literal['connect_fail']]

    def __init__(
        self,
        reason,                 # type: text_type
        phase='connect',        # type: Phase
        cause=None,             # type: Optional[BaseException]
        response=None,          # type: Optional[Response]
        tried=(),               # type: Tuple[Tuple[text_type, text_type], ...]
        received_time=None,     # type: Optional[float]
        timings=NO_TIMINGS,     # type: Timings
    ):
        # type: (...) -> None
        Event.__init__(self, received_time)
        self.reason = reason  # type: text_type
        self.phase = phase  # type: Phase
        self.cause = cause  # type: Optional[BaseException]
        self.response = response  # type: Optional[Response]
        self.tried = tried  # type: Tuple[Tuple[text_type, text_type], ...]
        self.timings = timings  # type: Timings


class Connected(Event):
    """Connected to ``url``, through ``proxy`` (a URL) if that isn't None."""

    __slots__ = ('url', 'proxy')
    __match_args__ = ('url', 'proxy')

    name = 'connected'  # type: ClassVar[Literal['connected']]

    def __init__(self, url, proxy=None, received_time=None):
        # type: (text_type, Optional[text_type], Optional[float]) -> None
        Event.__init__(self, received_time)
        self.url = url  # type: text_type
        self.proxy = proxy  # type: Optional[text_type]


class Ready(Event):
    """The handshake succeeded: messages may be sent.

    ``response`` is the server's answer, ``protocol`` the subprotocol it chose
    or None, ``extensions`` the set of extension names it accepted. ``connection``
    is 1 for the WebSocket's first connection that became ready, 2 for the next,
    and so on: more than 1 is a reconnect. (On the server's side ``response`` is
    the client's request, and ``connection`` always 1.) ``timings`` says how long each phase of
    connecting took, a `lomond.timings.Timings`: at a server's end TLS and the handshake, and
    nothing if the handshake was made elsewhere.
    """

    __slots__ = ('response', 'protocol', 'extensions', 'connection', 'timings')
    __match_args__ = ('response', 'protocol', 'extensions', 'connection')

    name = 'ready'  # type: ClassVar[Literal['ready']]

    def __init__(
        self,
        response,               # type: Response
        protocol,               # type: Optional[text_type]
        extensions,             # type: Set[text_type]
        connection=1,           # type: int
        received_time=None,     # type: Optional[float]
        timings=NO_TIMINGS,     # type: Timings
    ):
        # type: (...) -> None
        Event.__init__(self, received_time)
        self.response = response  # type: Response
        self.protocol = protocol  # type: Optional[text_type]
        self.extensions = extensions  # type: Set[text_type]
        self.connection = connection  # type: int
        self.timings = timings  # type: Timings


class Rejected(Event):
    """The server answered, but didn't upgrade; Disconnected follows.

    ``response.body`` is the start of the body: up to 64 KiB, as far as it
    arrived before a pause of a second. ``timings`` says how long each phase took, the body
    included, as those of `Ready`.
    """

    __slots__ = ('response', 'reason', 'timings')
    # Without the timings, as in all events that have them: they say nothing about what happened.
    __match_args__ = ('response', 'reason')

    name = 'rejected'  # type: ClassVar[Literal['rejected']]

    def __init__(self, response, reason, received_time=None, timings=NO_TIMINGS):
        # type: (Response, text_type, Optional[float], Timings) -> None
        Event.__init__(self, received_time)
        self.response = response  # type: Response
        self.reason = reason  # type: text_type
        self.timings = timings  # type: Timings


class Redirected(Event):
    """The server sent us on to ``url``: Connecting follows."""

    __slots__ = ('response', 'url')
    __match_args__ = ('response', 'url')

    name = 'redirected'  # type: ClassVar[Literal['redirected']]

    def __init__(self, response, url, received_time=None):
        # type: (Response, text_type, Optional[float]) -> None
        Event.__init__(self, received_time)
        self.response = response  # type: Response
        self.url = url  # type: text_type


class Ping(Event):
    """A ping; its pong went out already unless ``auto_pong`` is off."""

    __slots__ = ('data',)
    __match_args__ = ('data',)

    name = 'ping'  # type: ClassVar[Literal['ping']]

    def __init__(self, data, received_time=None):
        # type: (bytes, Optional[float]) -> None
        Event.__init__(self, received_time)
        self.data = data  # type: bytes


class Pong(Event):
    """A pong, asked for or not."""

    __slots__ = ('data',)
    __match_args__ = ('data',)

    name = 'pong'  # type: ClassVar[Literal['pong']]

    def __init__(self, data, received_time=None):
        # type: (bytes, Optional[float]) -> None
        Event.__init__(self, received_time)
        self.data = data  # type: bytes


class _CloseFrame(Event):
    """A Close frame came in; code 1005 (`Status.NO_STATUS`) if it had none."""

    __slots__ = ('code', 'reason')
    __match_args__ = ('code', 'reason')

    def __init__(self, code, reason, received_time=None):
        # type: (int, text_type, Optional[float]) -> None
        Event.__init__(self, received_time)
        self.code = code  # type: int
        self.reason = reason  # type: text_type


class Closing(_CloseFrame):
    """The peer closes. Messages may still be sent while this is handled."""

    __slots__ = ()

    name = 'closing'  # type: ClassVar[Literal['closing']]


class Closed(_CloseFrame):
    """The peer answered our Close frame; Disconnected follows."""

    __slots__ = ()

    name = 'closed'  # type: ClassVar[Literal['closed']]


class Disconnected(Event):
    """The connection is gone, and the loop ends.

    ``graceful`` is True only if both Close frames were exchanged. ``unsent`` is how many messages
    the queue of a pool, an event loop or a server with one thread still held. What the system had
    accepted isn't among them, and may be lost, too. ``cause`` is the exception behind an end that
    wasn't graceful: an error of the system (`socket.error`), a TransportFail, or the peer's fault,
    a `lomond.errors.ProtocolError`. None if there is no exception behind it, as after a timeout.
    ``timings`` says how long each phase of connecting took, a `lomond.timings.Timings`, if the
    attempt ended in the handshake without `Ready` and `Rejected`; else it is None.
    """

    __slots__ = ('reason', 'graceful', 'unsent', 'cause', 'timings')
    # Without the cause: its words are in the reason.
    __match_args__ = ('reason', 'graceful', 'unsent')

    name = 'disconnected'  # type: ClassVar[Literal['disconnected']]

    def __init__(
        self,
        reason=u'closed',       # type: text_type
        graceful=False,         # type: bool
        received_time=None,     # type: Optional[float]
        unsent=0,               # type: int
        cause=None,             # type: Optional[BaseException]
        timings=None,           # type: Optional[Timings]
    ):
        # type: (...) -> None
        Event.__init__(self, received_time)
        self.reason = reason  # type: text_type
        self.graceful = graceful  # type: bool
        self.unsent = unsent  # type: int
        self.cause = cause  # type: Optional[BaseException]
        self.timings = timings  # type: Optional[Timings]


class ProtocolError(Event):
    """The peer broke the protocol; Disconnected follows.

    ``error`` says how. The peer was sent a Close frame with ``close_code``,
    unless the error is ``critical``: then there was nobody to send it to.
    """

    __slots__ = ('error', 'critical', 'close_code')
    __match_args__ = ('error', 'critical', 'close_code')

    name = 'protocol_error'  # type: ClassVar[Literal['protocol_error']]

    def __init__(self, error, critical, close_code=None, received_time=None):
        # type: (text_type, bool, Optional[int], Optional[float]) -> None
        Event.__init__(self, received_time)
        self.error = error  # type: text_type
        self.critical = critical  # type: bool
        self.close_code = close_code  # type: Optional[int]


class Unresponsive(Event):
    """Nothing came from the server for ``ping_timeout``; Disconnected follows."""

    __slots__ = ()

    name = 'unresponsive'  # type: ClassVar[Literal['unresponsive']]


class Stale(Event):
    """No text or binary message came for ``idle`` seconds, which is ``idle_timeout`` or more.

    Comes once per silence; the next message ends that. Pings and pongs don't count. With
    ``stale_disconnects`` Disconnected follows.
    """

    __slots__ = ('idle',)
    __match_args__ = ('idle',)

    name = 'stale'  # type: ClassVar[Literal['stale']]

    def __init__(self, idle, received_time=None):
        # type: (float, Optional[float]) -> None
        Event.__init__(self, received_time)
        self.idle = idle  # type: float


class Poll(Event):
    """Comes right after Ready, then every ``poll`` seconds.

    In a pool or an event loop it comes only with a ``poll``.
    """

    __slots__ = ()

    name = 'poll'  # type: ClassVar[Literal['poll']]


class BackOff(Event):
    """The loop waits ``delay`` seconds, then reconnects: `persist`, or any loop with a policy.

    ``reason`` says in words why the attempt failed, or how the connection
    ended: with which code the server closed; else the reason of ConnectFail, Rejected or
    Disconnected; or that the connection reached ``max_age``.
    """

    __slots__ = ('delay', 'reason')
    __match_args__ = ('delay', 'reason')

    name = 'back_off'  # type: ClassVar[Literal['back_off']]

    def __init__(self, delay, reason=None, received_time=None):
        # type: (float, Optional[text_type], Optional[float]) -> None
        Event.__init__(self, received_time)
        self.delay = delay  # type: float
        self.reason = reason  # type: Optional[text_type]


class GaveUp(Event):
    """The policy allows no further attempt to connect; it is the last event of the WebSocket."""

    __slots__ = ('reason',)
    __match_args__ = ('reason',)

    name = 'gave_up'  # type: ClassVar[Literal['gave_up']]

    def __init__(self, reason, received_time=None):
        # type: (text_type, Optional[float]) -> None
        Event.__init__(self, received_time)
        self.reason = reason  # type: text_type


class UnknownMessage(Event):
    """Kept for code that names it: a reserved opcode is a ProtocolError now."""

    __slots__ = ('message',)
    __match_args__ = ('message',)

    name = 'unknown'  # type: ClassVar[Literal['unknown']]

    def __init__(self, message, received_time=None):
        # type: (Any, Optional[float]) -> None
        Event.__init__(self, received_time)
        self.message = message  # type: Any


#: What a loop yields. To a type checker it is the union of all events, which a look at ``name``,
#: ``isinstance`` or ``match`` narrows down to one; at run time it is `Event`, so that an
#: annotation may name it on any Python.
if TYPE_CHECKING:
    AnyEvent = Union[
        BackOff, Binary, Closed, Closing, ConnectFail, Connected, Connecting, Disconnected, GaveUp,
        Ping, Poll, Pong, ProtocolError, Ready, Redirected, Rejected, Stale, Text, UnknownMessage,
        Unresponsive]
else:
    AnyEvent = Event
