"""Makes the errors that calls raise for what is an event in a loop.

Each is a new one every time, as several threads may raise it at once. Nothing here waits.
"""

from __future__ import absolute_import, division, print_function

from functools import partial

from lomond import errors
from lomond._compat import TYPE_CHECKING
from lomond.engine.phases import EndKind
from lomond.status import Status
from lomond.timings import NO_TIMINGS

if TYPE_CHECKING:
    from typing import Any, Callable, Optional, Text  # noqa: F401

    from lomond import events  # noqa: F401
    from lomond.events import AnyEvent  # noqa: F401

#: Close codes after which there are no more messages, without an error.
NORMAL = frozenset([Status.NORMAL, Status.GOING_AWAY, Status.NO_STATUS])


def timed_out(words, timeout):
    # type: (Text, Optional[float]) -> errors.WebSocketTimeout
    """Make the error of a call whose time is over; {} in the words is for its timeout."""
    return errors.WebSocketTimeout(words.format(timeout))


def loop_runs():
    # type: () -> errors.WebSocketUnavailable
    """Make the error of a call while a loop runs."""
    return errors.WebSocketUnavailable(
        'a loop over this WebSocket is running, whose events are its messages: use the loop, or '
        'open(), receive() and messages(), not both')


def explain(session, event, before):
    # type: (Any, AnyEvent, Any) -> Any
    """Return what makes the error that calls raise at the end, given the next event; None for none.

    ``before``: what this returned for the event before, None for the first of a connection.
    """
    if event.name == 'rejected':
        return partial(rejected, event)
    if event.name == 'protocol_error' and event.critical:
        return partial(errors.CriticalProtocolError, event.error)
    if event.name == 'connect_fail':
        return partial(connect_fail, event)
    if event.name == 'disconnected':
        return explain_end(session, event) if session.has_opened \
            else before or explain_failure(session, event)
    return before


def connect_fail(event):
    # type: (events.ConnectFail) -> errors.ConnectFail
    """Make the error of an attempt that failed."""
    error = errors.ConnectFail.during(event.phase, event.reason, event.cause)
    error.response, error.tried, error.timings = event.response, event.tried, event.timings
    if event.cause is not None:
        error.__cause__ = event.cause
    return error


def rejected(event):
    # type: (events.Rejected) -> errors.Rejected
    """Make the error of a handshake that failed."""
    error = errors.Rejected(event.reason)
    error.response, error.reason, error.timings = event.response, event.reason, event.timings
    return error


def interrupted(cause):
    # type: (Optional[Exception]) -> errors.WebSocketClosed
    """Make the error of a connection that an exception in a call has broken."""
    words = u'a call was interrupted, which broke the connection'
    return _closed(words, Status.ABNORMAL, words, cause)


def ended():
    # type: () -> errors.WebSocketClosed
    """Make the error of a connection whose end came in a loop, or that was broken off."""
    words = u'the connection has ended'
    return _closed(words, Status.ABNORMAL, words, None)


def dropped():
    # type: () -> errors.WebSocketClosed
    """Make the error of a connection whose last messages were dropped."""
    words = (u'messages that arrived after close() were dropped, as receive() was not called while '
             u'others waited')
    return _closed(words, Status.ABNORMAL, words, None)


def closed_undriven(code, reason):
    # type: (int, Text) -> errors.WebSocketClosed
    """Make the error of a connection that this end has closed before anything was received."""
    words = u'the connection was closed with code {}, before anything was received'.format(code)
    return _closed(words, code, reason, None)


def explain_failure(session, event):
    # type: (Any, events.Disconnected) -> Callable[[], errors.ConnectFail]
    """Return what makes the error of a connection that ended before Ready."""
    cause = None if session.end is None else session.end.error
    return partial(_failure, event, cause)


def _failure(event, cause):
    # type: (events.Disconnected, Optional[BaseException]) -> errors.ConnectFail
    error = errors.ConnectFail.during('request', event.reason, cause)
    error.timings = event.timings or NO_TIMINGS
    return error


def explain_end(session, event):
    # type: (Any, events.Disconnected) -> Callable[[], errors.WebSocketClosed]
    """Return what makes the error of a connection that has ended."""
    end = session.end
    cause = None if end is None else end.error
    received = session.connection.lifecycle.close_received
    if received is not None:
        words = u'the connection was closed with code {}'.format(received.code)
        if received.reason:
            words += u': ' + received.reason
        return partial(_closed, words, received.code, received.reason, cause)
    if cause is None and end is not None and end.kind == EndKind.TIMEOUT:
        cause = errors.WebSocketTimeout(event.reason)
    words = u'the connection ended: {}'.format(event.reason)
    return partial(_closed, words, Status.ABNORMAL, event.reason, cause)


def _closed(words, code, reason, cause):
    # type: (Text, int, Text, Optional[BaseException]) -> errors.WebSocketClosed
    error = errors.WebSocketClosed(words)
    error.code, error.reason = code, reason
    if cause is not None:
        error.cause = error.__cause__ = cause
    return error
