"""When to connect again, and when to give up: the numbers behind a reconnecting loop.

Waits for nothing and connects to nothing. `reconnect` records the outcomes of the attempts.
"""

from __future__ import absolute_import, division, print_function

import re
import time
from email.utils import mktime_tz, parsedate_tz
from random import random as draw

from lomond._checks import (
    check_callable,
    check_count,
    check_seconds,
    whole_number,
)
from lomond._compat import TYPE_CHECKING, monotonic, text_type
from lomond._hints import takes_options
from lomond.http.url import parse_url

if TYPE_CHECKING:
    from typing import Any, Callable, FrozenSet, Iterable, Optional, Tuple, Union  # noqa: F401

    from lomond.websocket import WebSocket  # noqa: F401

    # Ranges of numbers are among the iterables.
    Numbers = Union[int, Iterable[Union[int, Iterable[int]]]]

_MAX_DOUBLINGS = 30

# Not isdigit(): a superscript two is a digit to it, but no number.
_SECONDS = re.compile('[0-9]+\\Z')

# An item of a header that was sent twice, and joined: the comma of a date is part of it.
_DELAY = re.compile('(?i)(?:\\s*(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\\s*,)?[^,]+')


class ReconnectPolicy(object):
    """What `persist` does after a connection ended, or an attempt to connect failed.

    The defaults suit many devices behind bad networks: delays are drawn
    from the whole range, so that devices that lost a server at the same moment
    don't come back at the same moment, and nothing ends the loop.

    A *success* is a connection that was Ready for ``stable_after``. All else
    is a failed attempt. A policy has no state: several loops may share it.

    Parameters, all times in seconds:

    - ``min_wait``: the least to wait before an attempt (0).
    - ``max_wait``: the most (60).
    - ``spread``: over how long the first attempt after a success is spread
      (5). It doubles with each wait that follows: the delay is ``min_wait +
      random() * min(max_wait - min_wait, spread * 2 ** waits)``.
    - ``max_attempts``: the number of failed attempts in a row after which it
      gives up; None for no limit.
    - ``max_outage``: how long after the last success ended (or the loop
      began) the next attempt may begin; it gives up if none would. None for
      no limit. An attempt in progress isn't cut short.
    - ``stop_on_status``: HTTP statuses of a rejection that end it: numbers,
      or ranges of them. Empty by default: devices that nobody can reach
      should outlive a server that is set up wrongly for an hour.
    - ``stop_on_code``: codes of the server's Close frame that end it:
      numbers, or ranges of them, such as ``[1008, range(4000, 5000)]``.
      Empty by default.
    - ``stable_after``: how long a connection must stay Ready to be a success,
      after which the delays and limits start over (10).
    - ``max_retry_after``: the most to wait if a rejection's Retry-After asks
      for it (3600); None ignores Retry-After. It is the least to wait then,
      and the jitter is added to it.
    - ``urls``: URLs to try in turn, instead of the websocket's own. Each
      round begins with the first. After a failed attempt the next one's turn
      comes ``min_wait`` later; after the last, the delay is waited for. A
      server that asked for patience by Retry-After is passed over until then.
    - ``before_attempt``: called as ``before_attempt(websocket, attempt)``
      right before each attempt; ``attempt`` is 1 for the first after a
      success. `persist` calls it in the loop's thread, a pool and an event
      loop in another one. It may set the websocket's url or close it.
      If it raises an Exception, that is logged, and the attempt has failed:
      ConnectFail, whose ``cause`` it is.
    - ``random``: returns a float from 0 to 1.
    - ``clock``: a monotonic clock in seconds.

    Raises TypeError and ValueError for arguments that make no sense.
    """

    @takes_options('ReconnectPolicy', 'persist(websocket, policy=ReconnectPolicy({}=...))')
    def __init__(
        self,
        min_wait=0.0,               # type: float
        max_wait=60.0,              # type: float
        spread=5.0,                 # type: float
        max_attempts=None,          # type: Optional[int]
        max_outage=None,            # type: Optional[float]
        stop_on_status=(),          # type: Numbers
        stop_on_code=(),            # type: Numbers
        stable_after=10.0,          # type: float
        max_retry_after=3600.0,     # type: Optional[float]
        urls=None,                  # type: Optional[Iterable[str]]
        before_attempt=None,        # type: Optional[Callable[[WebSocket, int], Any]]
        random=draw,                # type: Callable[[], float]
        clock=monotonic,            # type: Callable[[], float]
    ):
        # type: (...) -> None
        self.min_wait = check_wait('min_wait', min_wait)  # type: float
        self.max_wait = check_wait('max_wait', max_wait)  # type: float
        if self.min_wait > self.max_wait:
            raise ValueError(
                'min_wait, {!r}, is more than max_wait, {!r}'.format(min_wait, max_wait))
        self.spread = check_wait('spread', spread)  # type: float
        self.max_attempts = check_count(
            'max_attempts', max_attempts, 1, none_for='no limit')  # type: Optional[int]
        self.max_outage = check_seconds('max_outage', max_outage)  # type: Optional[float]
        if max_outage == 0:
            raise ValueError('max_outage must be more than 0 seconds, or None for no limit')
        self.stop_on_status = _check_numbers(
            'stop_on_status', stop_on_status, 100, 599)  # type: FrozenSet[int]
        # RFC 6455 7.4.2
        self.stop_on_code = _check_numbers(
            'stop_on_code', stop_on_code, 1000, 4999)  # type: FrozenSet[int]
        self.stable_after = check_wait('stable_after', stable_after)  # type: float
        self.max_retry_after = check_seconds(
            'max_retry_after', max_retry_after)  # type: Optional[float]
        self.urls = _check_urls(urls)  # type: Optional[Tuple[str, ...]]
        self.before_attempt = check_callable(
            'before_attempt', before_attempt)  # type: Optional[Callable[[WebSocket, int], Any]]
        for name, value in (('random', random), ('clock', clock)):
            if value is None:
                raise TypeError('{} must be callable, not None'.format(name))
            check_callable(name, value)
        self.random = random  # type: Callable[[], float]
        self.clock = clock  # type: Callable[[], float]

    def delay(self, waits, asked=None):
        # type: (int, Optional[float]) -> float
        """Return how long to wait, in seconds.

        Parameters: ``waits``, how many there were since the last success;
        ``asked``, what the server asked for, in seconds, or None.
        """
        spread = min(
            self.max_wait - self.min_wait, self.spread * 2.0 ** min(waits, _MAX_DOUBLINGS))
        return max(self.min_wait, asked or 0.0) + self.random() * spread


def check_policy(policy, hint=''):
    # type: (Any, str) -> None
    """Raise TypeError unless it is a `ReconnectPolicy`, or None; ``hint`` ends the message."""
    if policy is not None and not isinstance(policy, ReconnectPolicy):
        raise TypeError('policy must be a ReconnectPolicy, not {!r}{}'.format(policy, hint))


class LegacyPolicy(ReconnectPolicy):
    """The policy of `persist` if it was given none: as in Lomond 0.3.x."""

    def __init__(self, min_wait, max_wait, stable_after, max_retry_after, respect_retry_after,
                 random=draw):
        # type: (float, float, float, Optional[float], bool, Callable[[], float]) -> None
        check_wait('min_wait', min_wait)
        check_wait('max_wait', max_wait)
        check_wait('stable_after', stable_after)
        super(LegacyPolicy, self).__init__(
            # With a min_wait beyond max_wait the delay is min_wait, without jitter.
            min_wait, max(min_wait, max_wait), spread=1.0, stable_after=stable_after,
            max_retry_after=max_retry_after, random=random)
        if not respect_retry_after:
            self.max_retry_after = None  # type: Optional[float]

    def delay(self, waits, asked=None):
        # type: (int, Optional[float]) -> float
        """Return how long to wait: what the server asked for, or what the formula says."""
        if asked is not None:
            return max(self.min_wait, asked)
        return super(LegacyPolicy, self).delay(waits)


def parse_retry_after(value, now=None):
    # type: (Optional[str], Optional[Callable[[], float]]) -> Optional[float]
    """Return the seconds that a Retry-After header (RFC 7231 7.1.3) names.

    Of several, after commas, the longest. None for a header that isn't there
    or makes no sense. A date is compared with ``now()``, or with the time of day.
    """
    found = [_parse_delay(item.strip(), now) for item in _DELAY.findall(value or '')]
    delays = [delay for delay in found if delay is not None]
    return max(delays) if delays else None


def _parse_delay(value, now):
    # type: (str, Optional[Callable[[], float]]) -> Optional[float]
    if _SECONDS.match(value):
        # More digits than that are forever, and float() has its limits.
        return float(value) if len(value) <= 15 else 1e15
    try:
        date = parsedate_tz(value)
        return None if date is None else max(0.0, mktime_tz(date) - (now or time.time)())
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


# -- arguments --

def check_wait(name, value):
    # type: (str, float) -> float
    """Return a time in seconds, not None; raises TypeError, ValueError."""
    seconds = check_seconds(name, value)
    if seconds is None:
        raise TypeError('{} must be a number of seconds, not None'.format(name))
    return seconds


def _check_numbers(name, value, least, most):
    # type: (str, Any, int, int) -> FrozenSet[int]
    """Return the numbers in a number, or in a nest of lists and ranges of them."""
    number = whole_number(value)
    if number is not None:
        if not least <= number <= most:
            raise ValueError(
                '{} takes numbers from {} to {}, not {!r}'.format(name, least, most, value))
        return frozenset([number])
    if isinstance(value, (bytes, text_type)) or not hasattr(value, '__iter__'):
        raise TypeError('{} takes numbers, or ranges of them, not {!r}'.format(name, value))
    return frozenset(
        number for part in value for number in _check_numbers(name, part, least, most))


def _check_urls(urls):
    # type: (Optional[Iterable[str]]) -> Optional[Tuple[str, ...]]
    if urls is None:
        return None
    if isinstance(urls, (bytes, text_type)) or not hasattr(urls, '__iter__'):
        raise TypeError('urls must be a list of URLs, or None, not {}'.format(type(urls).__name__))
    urls = tuple(urls)
    if not urls:
        raise ValueError('urls is empty: name at least one, or None for that of the websocket')
    for url in urls:
        parse_url(url)
    return urls
