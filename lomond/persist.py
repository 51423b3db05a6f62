"""A loop that survives outages: connect, and connect again, after a while.

Runs attempts and waits between them. How to connect is the WebSocket's
business; when to, and when to give up, the policy's (`lomond.engine.reconnect`).
"""

from __future__ import absolute_import, division, print_function

import logging
import threading
import time

from lomond import events
from lomond._compat import TYPE_CHECKING, text_type
from lomond._describe import describe
from lomond._hints import takes_options
from lomond.engine.reconnect import Attempts, ReconnectPolicy, check_wait

if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, Optional  # noqa: F401

    from lomond.events import Event  # noqa: F401
    from lomond.websocket import WebSocket  # noqa: F401

__all__ = ['ReconnectPolicy', 'persist']

log = logging.getLogger('lomond')

# What a stand-in for a WebSocket has to have.
_NEEDED = ('connect', 'close', 'last_close')

# While it waits, `persist` looks this often, in seconds, if it should end.
_GLANCE = 0.1


@takes_options('persist', 'persist(websocket, {}=...)')
def persist(websocket, poll=5, min_wait=5, max_wait=30, ping_rate=30, ping_timeout=None,
            exit_event=None, respect_retry_after=True, stable_after=10.0, max_retry_after=3600.0,
            policy=None, **connect_options):
    # type: (WebSocket, float, float, float, float, Optional[float], Optional[threading.Event], bool, float, float, Optional[ReconnectPolicy], **Any) -> Iterator[Event]
    """Run a WebSocket for good: return an iterator that reconnects after every end.

    Before each new attempt it yields ``BackOff(delay)`` and waits for ``delay``,
    ``min_wait + random() * min(max_wait - min_wait, 2 ** retries)`` seconds.

    It ends, after Disconnected (or ConnectFail), when the user calls
    ``websocket.close()``, while connected or while waiting, and when
    ``exit_event`` is set: that closes an open connection, and is noticed with
    the next event, so within ``poll`` seconds. With a ``policy`` it may give
    up besides: GaveUp is its last event then.

    Parameters, all times in seconds:

    - ``poll``, ``ping_rate``, ``ping_timeout`` and ``connect_options`` go to
      `WebSocket.connect`.
    - ``min_wait``, ``max_wait``: the bounds of the delay.
    - ``exit_event``: a `threading.Event`, or None.
    - ``respect_retry_after``: take the delay from a rejection's Retry-After,
      if it has one, but no less than ``min_wait`` and no more than
      ``max_retry_after``.
    - ``stable_after``: a connection counts as a success, and resets the
      number of retries, once it was Ready for so long.
    - ``policy``: a `ReconnectPolicy`, instead of ``min_wait``, ``max_wait``,
      ``respect_retry_after``, ``stable_after`` and ``max_retry_after``.

    ``websocket`` is a `WebSocket`, or what has its ``connect``, ``close`` and
    ``last_close``, and its ``url`` for a policy with ``urls``.

    Raises TypeError and ValueError for arguments that make no sense, and
    WebSocketUnavailable, here or out of the loop, if another loop over the
    WebSocket is running.
    """
    _check_websocket(websocket)
    if policy is None:
        policy = _Contract(
            min_wait, max_wait, stable_after, max_retry_after, respect_retry_after)
    elif not isinstance(policy, ReconnectPolicy):
        raise TypeError('policy must be a ReconnectPolicy, not {!r}'.format(policy))
    elif (min_wait, max_wait, respect_retry_after, stable_after, max_retry_after) != (
            5, 30, True, 10.0, 3600.0):
        raise TypeError(
            'min_wait, max_wait, respect_retry_after, stable_after and max_retry_after '
            'are for the policy to say, if there is one')
    if exit_event is None:
        exit_event = threading.Event()
    elif not hasattr(exit_event, 'is_set'):
        raise TypeError('exit_event must be a threading.Event, not {!r}'.format(exit_event))
    connect_options.update(poll=poll, ping_rate=ping_rate, ping_timeout=ping_timeout)
    # Made here, so that wrong options raise here; it doesn't connect yet.
    attempt = websocket.connect(**connect_options)
    return _persist(
        websocket, attempt, websocket.last_close, policy, exit_event, connect_options)


class _Contract(ReconnectPolicy):
    """What `persist` does without a policy: as in Lomond 0.3.x."""

    def __init__(self, min_wait, max_wait, stable_after, max_retry_after, respect_retry_after):
        # type: (float, float, float, Optional[float], bool) -> None
        check_wait('min_wait', min_wait)
        check_wait('max_wait', max_wait)
        check_wait('stable_after', stable_after)
        super(_Contract, self).__init__(
            # A min_wait beyond max_wait is waited for; nothing comes on top.
            min_wait, max(min_wait, max_wait), spread=1.0, stable_after=stable_after,
            max_retry_after=max_retry_after)
        if not respect_retry_after:
            self.max_retry_after = None

    def delay(self, waits, asked=None):
        # type: (int, Optional[float]) -> float
        """Return how long to wait: what the server asked for, or what the formula says."""
        if asked is not None:
            return max(self.min_wait, asked)
        return super(_Contract, self).delay(waits)


def _persist(websocket, attempt, close_before, policy, exit_event, connect_options):
    # type: (WebSocket, Any, Optional[object], ReconnectPolicy, threading.Event, dict[str, Any]) -> Iterator[Event]
    def is_over():
        # type: () -> bool
        return websocket.last_close is not close_before or exit_event.is_set()

    attempts = Attempts(policy)
    telling = attempts.telling
    while True:
        if attempts.url is not None:
            websocket.url = attempts.url
        failure = None
        if attempt is not None and (attempts.url is not None or policy.before_attempt is not None):
            attempt = None      # what is set now counts for the first attempt, too
        if policy.before_attempt is not None and not is_over():
            failure = _prepare(websocket, policy.before_attempt, attempts.number)
            if is_over():
                return
        if failure is not None:
            attempt = [failure]
        elif attempt is None:
            attempt = websocket.connect(**connect_options)
        attempts.begin()
        is_told = False
        try:
            for event in attempt:
                if event.name in telling:
                    attempts.note(event)
                yield event
                if not is_told and is_over():
                    is_told = True
                    websocket.close()
        finally:
            # Not left to the end of this frame: a traceback may hold on to it.
            if hasattr(attempt, 'close'):
                attempt.close()
        attempt = None
        if is_over():
            return
        event = attempts.conclude()
        log.debug('%s: %r', websocket, event)
        yield event
        if event.name == 'gave_up':
            return
        _wait(event.delay, policy.clock, is_over)
        if is_over():
            return


def _check_websocket(websocket):
    # type: (Any) -> None
    """Raise TypeError for what can't be run, in words that say what can."""
    missing = [name for name in _NEEDED if not hasattr(websocket, name)]
    if isinstance(websocket, (bytes, text_type)):
        what = "not a URL: write persist(WebSocket('ws://...'))"
    elif isinstance(websocket, type):
        what = 'not the class: write persist(WebSocket(url))'
    elif not missing:
        return
    elif hasattr(websocket, '__next__') or hasattr(websocket, 'next'):
        what = 'not its iterator: write persist(websocket), which connects by itself'
    else:
        shown = 'None' if websocket is None else 'this {}'.format(type(websocket).__name__)
        what = 'not {}, which has no {}'.format(shown, ', '.join(missing))
    raise TypeError('persist takes a WebSocket, {}'.format(what))


def _prepare(websocket, before_attempt, number):
    # type: (WebSocket, Callable[[WebSocket, int], Any], int) -> Optional[Event]
    """Call the user's hook; return ConnectFail if it raised."""
    try:
        before_attempt(websocket, number)
    except Exception as error:
        # It may well ask the network for something, such as a token, and an
        # outage is what `persist` is there to survive.
        log.exception('before_attempt failed')
        return events.ConnectFail(
            u'before_attempt failed: {}'.format(describe(error) or type(error).__name__),
            'request', error)
    return None


def _wait(delay, clock, is_over):
    # type: (float, Callable[[], float], Callable[[], bool]) -> None
    """Wait, in seconds by a clock, until it is over."""
    left = delay
    before = clock()
    while left > 0 and not is_over():
        # Not exit_event.wait(): a signal handler of this thread may set the
        # event, and would wait for ever for the lock that wait() holds.
        time.sleep(min(left, _GLANCE))
        now = clock()
        # Step by step: should the clock be set back, that costs one step.
        left -= max(0.0, now - before)
        before = now
