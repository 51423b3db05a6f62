"""The exceptions of this package.

Faults of the peer or the network become events in the loop. Mistakes of the caller raise one of
these, or TypeError or ValueError, at the call.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Optional, Text, Tuple  # noqa: F401

    from typing_extensions import Literal

    from lomond.response import Response  # noqa: F401
    from lomond.timings import Timings  # noqa: F401

    TimedOut = TimeoutError
else:
    from lomond._compat import TimedOut

from lomond.status import Status
from lomond.timings import NO_TIMINGS

#: How far an attempt to connect came: for annotations. To a type checker it is one of these names.
if TYPE_CHECKING:
    Phase = Literal['resolve', 'connect', 'proxy', 'tls', 'request']
else:
    Phase = str


class WebSocketError(Exception):
    """Base of every exception that this package defines.

    Parameters: ``msg``, and the arguments of ``msg.format()``. Without arguments the message isn't
    formatted, and may contain braces.
    """

    def __init__(self, msg='', *args, **kwargs):
        # type: (Text, *Any, **Any) -> None
        if args or kwargs:
            try:
                msg = msg.format(*args, **kwargs)
            except (LookupError, ValueError, AttributeError, TypeError):
                # An error must report its cause, even if its text doesn't match the arguments.
                # (Not with format(), which on 2.7 can't turn a str into unicode.)
                msg = '%s %r' % (msg, args or kwargs)
        super(WebSocketError, self).__init__(msg)


class FrameBuildError(WebSocketError):
    """The caller asked for a frame that RFC 6455 doesn't allow."""


class HandshakeError(WebSocketError):
    """The opening handshake broke a rule of RFC 6455 section 4."""


class Rejected(HandshakeError):
    """The server refused the connection, or its answer broke RFC 6455 4.1.

    `WebSocket.open` raises it; in a loop it is an event.

    Attributes: ``response``, the server's `Response`; ``reason`` and ``timings``, as in the event
    Rejected.
    """

    response = None  # type: Any
    reason = u''  # type: Text
    timings = NO_TIMINGS  # type: Timings


class CompressionParameterError(HandshakeError):
    """The permessage-deflate parameters break a rule of RFC 7692 section 7."""


class ProtocolError(WebSocketError):
    """The peer broke the protocol; ``close_code`` is the code of the Close frame sent to it."""

    close_code = Status.PROTOCOL_ERROR  # type: int


class InvalidPayload(ProtocolError):
    """Text that isn't UTF-8, or compressed data that doesn't inflate."""

    close_code = Status.BAD_DATA


class PayloadTooLarge(ProtocolError):
    """A message, compressed or inflated, exceeds a limit."""

    close_code = Status.MESSAGE_TOO_LARGE


class CriticalProtocolError(WebSocketError):
    """The peer doesn't speak HTTP or WebSocket at all: disconnect at once."""


class ConnectFail(WebSocketError):
    """The attempt to connect failed.

    Attributes: ``phase``, one of 'resolve', 'connect', 'proxy' (connecting to the proxy and talking
    to it), 'tls' and 'request'; ``cause``, the original exception or None; ``response``, the
    `Response` of a proxy that refused, or None; ``tried``, pairs of an address and the outcome of
    connecting to it as text, in the order of the attempts; ``timings``, if a call such as
    `WebSocket.open` raised it, how long each phase took, a `lomond.timings.Timings`.
    """

    phase = 'connect'  # type: Phase
    cause = None  # type: Optional[BaseException]
    response = None  # type: Optional[Response]
    tried = ()  # type: Tuple[Tuple[Text, Text], ...]
    timings = NO_TIMINGS  # type: Timings

    @classmethod
    def during(cls, phase, reason, cause=None):
        # type: (Phase, Text, Optional[BaseException]) -> ConnectFail
        """Make the error of one phase; the reason isn't formatted."""
        error = cls(reason)
        error.phase = phase
        error.cause = cause
        return error


class TransportFail(WebSocketError):
    """A send failed: the connection broke, or the peer didn't read for ``write_timeout``.

    Attributes: ``size``, the bytes to send, including frame headers, or 0 for an awaited send that
    failed while it waited; ``sent``, how many of them the operating system accepted; ``reason``,
    the message without these numbers; ``cause``, the system's exception, or None as after a
    timeout. If ``sent`` is 0, the peer received none of them; otherwise it may have received any
    number, even all.
    """

    sent = 0  # type: int
    size = 0  # type: int
    cause = None  # type: Optional[BaseException]

    def __init__(self, msg='', *args, **kwargs):
        # type: (Text, *Any, **Any) -> None
        super(TransportFail, self).__init__(msg, *args, **kwargs)
        self.reason = self.args[0]  # type: Text

    @classmethod
    def after(cls, sent, size, reason, cause=None):
        # type: (int, int, Text, Optional[BaseException]) -> TransportFail
        """Make the error of a send; the reason isn't formatted."""
        error = cls(u'{} ({} of {} bytes sent)', reason, sent, size)
        error.reason = reason
        error.sent = sent
        error.size = size
        error.cause = cause
        return error


class WebSocketUnavailable(WebSocketError):
    """There is no open connection."""


class WebSocketClosed(WebSocketUnavailable):
    """The connection is closed.

    Attributes, if a call such as `WebSocket.receive` raised it: ``code`` and ``reason`` of the
    Close frame that the peer sent (RFC 6455 7.1.5), or 1006 and why the connection ended without
    one; ``cause``, the exception behind that or None. After a call has seen the end, a send raises
    it with these, too; otherwise ``code`` is None from a send.
    """

    code = None  # type: Optional[int]
    reason = u''  # type: Text
    cause = None  # type: Optional[BaseException]


class WebSocketClosing(WebSocketUnavailable):
    """A Close frame was sent, or the peer broke the protocol: nothing may be sent any more."""


class WebSocketTimeout(WebSocketError, TimedOut):
    """A call such as `WebSocket.receive` took longer than its ``timeout``.

    It is a TimeoutError, too; on 2.7, which has none, a socket.timeout.
    """


class OutboxFull(WebSocketError):
    """The peer reads more slowly than this program sends: the message was not queued.

    Attributes, in bytes: ``size``, of the message or the messages, with 64 for each; ``queued``,
    what waits already; ``max_queue``, the limit. All three are 0 for a ping or a pong: their limit
    is a number, 64.
    """

    size = 0  # type: int
    queued = 0  # type: int
    max_queue = 0  # type: int

    @classmethod
    def over(cls, max_queue, size, queued, may_await=False):
        # type: (int, int, int, bool) -> OutboxFull
        """Make the error of a message that doesn't fit; ``may_await`` is true in an event loop."""
        if may_await:
            words = (u'the peer reads too slowly: {2} bytes wait, and max_queue is {0} bytes: use '
                     u'await connection.send_...(), which waits for space, or raise max_queue')
        elif size > max_queue:
            words = u'a message of {1} bytes is larger than max_queue, {0} bytes: raise max_queue'
        else:
            words = (u'the peer reads too slowly: {2} bytes wait, and with {1} more they would '
                     u'exceed max_queue, {0} bytes: send less, raise max_queue, or set overflow')
        error = cls(words, max_queue, size, queued)
        error.size = size
        error.queued = queued
        error.max_queue = max_queue
        return error
