"""The exceptions that this package raises at its caller.

What the peer or the network does wrong becomes an event in the loop; what the
caller does wrong raises one of these (or TypeError, ValueError) at the call.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Optional, Text, Tuple, Union  # noqa: F401

    from lomond.response import Response  # noqa: F401

from lomond.status import Status


class WebSocketError(Exception):
    """Base of every exception that this package defines.

    Parameters: ``msg``, and what ``msg.format()`` is to fill in, if anything
    is: a message given alone is taken as it stands, braces and all.
    """

    def __init__(self, msg='', *args, **kwargs):
        # type: (Union[str, Text], *Any, **Any) -> None
        if args or kwargs:
            try:
                msg = msg.format(*args, **kwargs)
            except (LookupError, ValueError, AttributeError, TypeError):
                # An error must report its cause, not trip over its own text.
                # (Not by format() again: 2.7's makes no unicode of a str.)
                msg = '%s %r' % (msg, args or kwargs)
        super(WebSocketError, self).__init__(msg)


class FrameBuildError(WebSocketError):
    """A frame that RFC 6455 doesn't allow was asked for."""


class HandshakeError(WebSocketError):
    """The opening handshake broke a rule of RFC 6455 section 4."""


class CompressionParameterError(HandshakeError):
    """The permessage-deflate parameters break a rule of RFC 7692 section 7."""


class ProtocolError(WebSocketError):
    """The peer broke a rule; `close_code` is what the Close frame tells it."""

    close_code = Status.PROTOCOL_ERROR


class InvalidPayload(ProtocolError):
    """Text that isn't UTF-8, or compressed data that doesn't inflate."""

    close_code = Status.BAD_DATA


class PayloadTooLarge(ProtocolError):
    """A message, compressed or inflated, exceeds a limit."""

    close_code = Status.MESSAGE_TOO_LARGE


class CriticalProtocolError(WebSocketError):
    """The peer doesn't speak HTTP or WebSocket at all: disconnect at once."""


class ConnectFail(WebSocketError):
    """There is no connection.

    Attributes: ``phase``, one of 'resolve', 'connect', 'proxy' (connecting to
    the proxy, and all that goes on with it), 'tls' and 'request', and
    ``cause``, the exception behind it or None; ``response``, a `Response`, if
    a proxy said no by one; ``tried``, pairs of an address and what became of
    the attempt to connect to it, in words, in the order of the attempts.
    """

    phase = 'connect'
    cause = None  # type: Optional[BaseException]
    response = None  # type: Optional[Response]
    tried = ()  # type: Tuple[Tuple[Text, Text], ...]

    @classmethod
    def during(cls, phase, reason, cause=None):
        # type: (str, Union[str, Text], Optional[BaseException]) -> ConnectFail
        """Make the error of one phase, in words that need no formatting."""
        error = cls(reason)
        error.phase = phase
        error.cause = cause
        return error


class TransportFail(WebSocketError):
    """The connection broke, or the peer took nothing in, while sending.

    Attributes: ``size``, of what was to be sent, in bytes, with the frame's
    header, and ``sent``, how many of them the system took. None of them
    reached the peer if that is 0; if it is more, even all, nobody knows.
    ``reason``, the words without these numbers.
    """

    reason = u''
    sent = 0
    size = 0

    @classmethod
    def after(cls, sent, size, reason):
        # type: (int, int, Union[str, Text]) -> TransportFail
        """Make the error of a send that came so far, in words that need no formatting."""
        error = cls(u'{} ({} of {} bytes sent)', reason, sent, size)
        error.reason = reason
        error.sent = sent
        error.size = size
        return error


class WebSocketUnavailable(WebSocketError):
    """There is no open connection to use."""


class WebSocketClosed(WebSocketUnavailable):
    """The connection is closed."""


class WebSocketClosing(WebSocketUnavailable):
    """A Close frame was sent, or the peer broke the protocol: nothing may be sent any more."""
