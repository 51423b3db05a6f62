"""A loop that survives outages: connect, and connect again, after a while.

Decides when to try again. How to connect is the WebSocket's business.
"""

from __future__ import absolute_import, division, print_function

import logging
import re
import threading
import time
from email.utils import mktime_tz, parsedate_tz
from random import random

from lomond import events
from lomond._compat import TYPE_CHECKING, monotonic
from lomond.checks import check_seconds

if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, Optional, Union  # noqa: F401

    from lomond.events import Event  # noqa: F401
    from lomond.websocket import WebSocket  # noqa: F401

log = logging.getLogger('lomond')

# While it waits, `persist` looks this often, in seconds, if it should end.
_GLANCE = 0.1

_MAX_DOUBLINGS = 30

# Not isdigit(): a superscript two is a digit to it, but no number.
_SECONDS = re.compile('[0-9]+\\Z')


def persist(websocket, poll=5, min_wait=5, max_wait=30, ping_rate=30, ping_timeout=None,
            exit_event=None, respect_retry_after=True, stable_after=10.0, max_retry_after=3600.0,
            **connect_options):
    # type: (WebSocket, float, float, float, float, Optional[float], Optional[threading.Event], bool, float, float, **Any) -> Iterator[Event]
    """Run a WebSocket for good: return an iterator that reconnects after every end.

    Before each new attempt it yields ``BackOff(delay)`` and waits for ``delay``,
    ``min_wait + random() * min(max_wait - min_wait, 2 ** retries)`` seconds.

    It ends, after Disconnected (or ConnectFail), when the user calls
    ``websocket.close()``, while connected or while waiting, and when
    ``exit_event`` is set: that closes an open connection, and is noticed with
    the next event, so within ``poll`` seconds.

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

    Raises TypeError and ValueError for arguments that make no sense, and
    WebSocketUnavailable if a loop over the WebSocket is running.
    """
    back_off = BackOffPolicy(min_wait, max_wait, max_retry_after if respect_retry_after else None)
    _check_wait('stable_after', stable_after)
    if exit_event is None:
        exit_event = threading.Event()
    elif not hasattr(exit_event, 'is_set'):
        raise TypeError('exit_event must be a threading.Event, not {!r}'.format(exit_event))
    connect_options.update(poll=poll, ping_rate=ping_rate, ping_timeout=ping_timeout)
    # Made here, so that wrong options raise here; it doesn't connect yet.
    first = websocket.connect(**connect_options)
    return _persist(
        websocket, first, websocket.close_calls, back_off, exit_event, stable_after,
        connect_options)


def _persist(websocket, attempt, calls_before, back_off, exit_event, stable_after,
             connect_options):
    # type: (WebSocket, Iterator[Event], int, BackOffPolicy, threading.Event, float, dict[str, Any]) -> Iterator[Event]
    def is_over():
        # type: () -> bool
        return websocket.close_calls != calls_before or exit_event.is_set()

    while True:
        ready_at = None
        retry_after = None
        is_told = False
        for event in attempt:
            if event.name == 'ready':
                ready_at = monotonic()
            elif event.name == 'rejected':
                retry_after = event.response.get('Retry-After')
            yield event
            if not is_told and is_over():
                is_told = True
                websocket.close()
        if is_over():
            return
        if ready_at is not None and monotonic() - ready_at >= stable_after:
            back_off.reset()
        delay = back_off.next_delay(retry_after)
        log.debug('%s: next attempt in %.1f s', websocket, delay)
        yield events.BackOff(delay)
        deadline = monotonic() + delay
        while not is_over():
            left = deadline - monotonic()
            if left <= 0:
                break
            # Not exit_event.wait(): a signal handler of this thread may set the
            # event, and would wait for ever for the lock that wait() holds.
            time.sleep(min(left, _GLANCE))
        if is_over():
            return
        attempt = websocket.connect(**connect_options)


class BackOffPolicy(object):
    """How long to wait before the next attempt: exponential, with jitter.

    Parameters: ``min_wait``, ``max_wait``, and ``max_retry_after``, None to
    ignore Retry-After, all in seconds; ``random``, which returns a float from
    0 to 1. Raises TypeError and ValueError.
    """

    def __init__(self, min_wait, max_wait, max_retry_after, random=random):
        # type: (float, float, Optional[float], Callable[[], float]) -> None
        for name, value in (('min_wait', min_wait), ('max_wait', max_wait)):
            _check_wait(name, value)
        self._min_wait = min_wait
        self._max_wait = max_wait
        self._max_retry_after = check_seconds('max_retry_after', max_retry_after)
        self._random = random
        self._retries = 0

    def reset(self):
        # type: () -> None
        """Take note of a success."""
        self._retries = 0

    def next_delay(self, retry_after=None):
        # type: (Optional[str]) -> float
        """Return the seconds to wait; ``retry_after`` is the header's value or None."""
        # A min_wait beyond max_wait is waited for; nothing comes on top.
        spread = min(max(0.0, self._max_wait - self._min_wait), 2.0 ** self._retries)
        self._retries = min(self._retries + 1, _MAX_DOUBLINGS)
        if self._max_retry_after is not None:
            asked = parse_retry_after(retry_after)
            if asked is not None:
                return max(self._min_wait, min(asked, self._max_retry_after))
        return self._min_wait + self._random() * spread


def _check_wait(name, value):
    # type: (str, Optional[float]) -> None
    if check_seconds(name, value) is None:
        raise TypeError('{} must be a number of seconds, not None'.format(name))


def parse_retry_after(value, now=time.time):
    # type: (Optional[str], Callable[[], float]) -> Optional[float]
    """Return the seconds that a Retry-After header (RFC 7231 7.1.3) names.

    None for a header that isn't there or makes no sense.
    """
    if value is None:
        return None
    value = value.strip()
    if _SECONDS.match(value):
        # Anything of more digits is for ever, and float() has its limits.
        return float(value) if len(value) <= 15 else 1e15
    try:
        date = parsedate_tz(value)
        return None if date is None else max(0.0, mktime_tz(date) - now())
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
