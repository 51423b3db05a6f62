"""A loop that survives outages: connect, and connect again after a delay.

It drives the state machine of `lomond.engine.reconnect` in the caller's thread, and waits between
attempts. The policy decides when to connect again, and when to give up.
"""

from __future__ import absolute_import, division, print_function

import threading
import time
from random import random

from lomond._checks import check_flag
from lomond._compat import TYPE_CHECKING, text_type
from lomond._hints import check_passed_on, takes_options
from lomond.engine.policy import LegacyPolicy, ReconnectPolicy, check_policy
from lomond.engine.reconnect import OBSERVED, PersistentSession
from lomond.engine.timers import NEVER

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Generator, Iterable, Optional  # noqa: F401

    from typing_extensions import TypedDict, Unpack  # noqa: F401

    from lomond.events import AnyEvent  # noqa: F401
    from lomond.session import WebsocketSession
    from lomond.websocket import WebSocket

    #: The options of `WebSocket.connect` that `persist` has no parameter for.
    ConnectOptions = TypedDict('ConnectOptions', {
        'session_class': Callable[[WebSocket], WebsocketSession],
        'auto_pong': bool,
        'close_timeout': Optional[float],
        'idle_timeout': Optional[float],
        'stale_disconnects': bool,
        'max_age': Optional[float],
        'spin': Optional[float],
        'heartbeat': Optional[float],
    }, total=False)

__all__ = ['ReconnectPolicy', 'persist']

# The members that an object must have to be used instead of a WebSocket.
_NEEDED = ('connect', 'close', 'last_close')

# How often, in seconds, a waiting `persist` checks whether it should end.
_GLANCE = 0.1


@takes_options('persist', 'persist(websocket, {}=...)')
def persist(
    websocket,                  # type: WebSocket
    poll=5,                     # type: Optional[float]
    min_wait=5,                 # type: float
    max_wait=30,                # type: float
    ping_rate=30,               # type: Optional[float]
    ping_timeout=None,          # type: Optional[float]
    exit_event=None,            # type: Optional[threading.Event]
    respect_retry_after=True,   # type: bool
    stable_after=10.0,          # type: float
    max_retry_after=3600.0,     # type: Optional[float]
    policy=None,                # type: Optional[ReconnectPolicy]
    **connect_options           # type: Unpack[ConnectOptions]
):
    # type: (...) -> Generator[AnyEvent, None, None]
    """Keep a WebSocket connected: return an iterator that reconnects whenever a connection ends.

    Before each new attempt it yields ``BackOff(delay)`` and waits for ``delay``,
    ``min_wait + random() * min(max_wait - min_wait, 2 ** retries)`` seconds, or until
    ``websocket.reconnect_now()`` is called; for 0 seconds after a connection that reached
    ``max_age``.

    It ends, after Disconnected or ConnectFail, when the user calls ``websocket.close()``, while
    connected or waiting, and when ``exit_event`` is set: that closes an open connection, at the
    next event, so within ``poll`` seconds. A ``policy`` may give up: the last event is GaveUp then.

    Parameters, all times in seconds:

    - ``websocket``: a `WebSocket`, or an object with its ``connect``, ``close`` and ``last_close``,
      and with its ``url`` for a policy with ``urls``.
    - ``poll`` (5), ``ping_rate`` (30), ``ping_timeout`` (None) and ``connect_options``: options of
      `WebSocket.connect`.
    - ``min_wait`` (5), ``max_wait`` (30): the bounds of the delay.
    - ``exit_event``: a `threading.Event`, or None.
    - ``respect_retry_after`` (True): if a rejection has a Retry-After, use that as the delay, from
      ``min_wait`` up to ``max_retry_after``.
    - ``stable_after`` (10): how long a connection must stay Ready to count as a success, which
      resets ``retries``.
    - ``max_retry_after`` (3600): the longest delay for a Retry-After.
    - ``policy``: a `ReconnectPolicy`, instead of ``min_wait``, ``max_wait``,
      ``respect_retry_after``, ``stable_after`` and ``max_retry_after``.

    Raises TypeError and ValueError for invalid arguments, and WebSocketUnavailable, here or in the
    loop, if another loop over the WebSocket is running.
    """
    _check_websocket(websocket)
    if hasattr(websocket, 'check_may_reconnect'):
        websocket.check_may_reconnect()
    check_policy(policy)
    check_passed_on('persist', connect_options, websocket.connect)
    respect_retry_after = check_flag('respect_retry_after', respect_retry_after)
    if policy is None:
        policy = LegacyPolicy(
            min_wait, max_wait, stable_after, max_retry_after, respect_retry_after, _draw)
    elif (min_wait, max_wait, respect_retry_after, stable_after, max_retry_after) != (
            5, 30, True, 10.0, 3600.0):
        raise TypeError(
            'with a policy, set min_wait, max_wait, stable_after and max_retry_after in '
            'ReconnectPolicy(...), not in persist(); for respect_retry_after=False use '
            'ReconnectPolicy(max_retry_after=None)')
    if exit_event is None:
        exit_event = threading.Event()
    elif not hasattr(exit_event, 'is_set'):
        raise TypeError('exit_event must be a threading.Event, not {!r}'.format(exit_event))
    options = dict(
        connect_options, poll=poll, ping_rate=ping_rate, ping_timeout=ping_timeout,
    )  # type: Dict[str, Any]
    # Created here, so that invalid options raise here; it doesn't connect yet.
    attempt = websocket.connect(**options)
    close_before = websocket.last_close
    first = [attempt]
    if policy.urls is not None or policy.before_attempt is not None:
        del first[:]        # created again later, with what the policy or the hook has set by then

    def start():
        # type: () -> _Attempt
        return _Attempt(first.pop() if first else websocket.connect(**options), websocket)

    def is_over():
        # type: () -> bool
        return websocket.last_close is not close_before or exit_event.is_set()

    machine = PersistentSession(websocket, start, policy, is_over, calls_in_loop=True)
    return _persist(machine, websocket, is_over)


def _draw():
    # type: () -> float
    """Return a float from 0 to 1, by this module's `random` at the moment of the call."""
    # Tests of programs for 0.3.x patch that name.
    return random()     # nosec B311  # it spreads load, and keeps no secret


class _Attempt(object):
    """The iterator of `connect`, which waits in its own steps, with the members of a session."""

    interest = ()
    deadline = -NEVER

    def __init__(self, loop, websocket):
        # type: (Iterable[AnyEvent], WebSocket) -> None
        self._loop = loop
        self._websocket = websocket
        self.is_finished = False

    @property
    def is_aged(self):
        # type: () -> bool
        # What is used instead of a WebSocket may have no session, or one of its own.
        return getattr(getattr(self._websocket, 'session', None), 'is_aged', False)

    def step(self):
        # type: () -> Iterable[AnyEvent]
        """Return the iterator, which ends when the connection has ended."""
        self.is_finished = True
        return self._loop

    def time_left(self):
        # type: () -> float
        return 0

    def dispose(self):
        # type: () -> None
        # Closed here, as a traceback may keep the iterator alive.
        if hasattr(self._loop, 'close'):
            self._loop.close()


def _persist(machine, websocket, is_over):
    # type: (PersistentSession, WebSocket, Callable[[], bool]) -> Generator[AnyEvent, None, None]
    """Drive the machine in this thread, and wait between attempts."""
    is_closing = False
    try:
        while not machine.is_finished:
            for event in machine.advance():
                if event.name in OBSERVED:
                    machine.observe(event)
                yield event
                if not is_closing and is_over():
                    is_closing = True
                    websocket.close()
            left = machine.time_left()
            while left and not is_over():
                # Not exit_event.wait(): a signal handler in this thread may set the event, and
                # would wait forever for the lock that wait() holds.
                time.sleep(min(left, _GLANCE))
                left = machine.time_left()
    finally:
        machine.dispose()


def _pool_class():
    # type: () -> type
    from lomond._crowd import Crowd  # here, as most programs have no pool
    return Crowd


def _check_websocket(websocket):
    # type: (Any) -> None
    """Raise TypeError for anything but a WebSocket; the message says what to write."""
    missing = [name for name in _NEEDED if not hasattr(websocket, name)]
    if isinstance(websocket, (bytes, text_type)):
        what = "not a URL: write persist(WebSocket('ws://...'))"
    elif isinstance(websocket, type):
        what = 'not the class: write persist(WebSocket(url))'
    elif not missing:
        return
    elif isinstance(websocket, _pool_class()):
        what = 'not a Pool: write pool.add(websocket, ReconnectPolicy()) for each member'
    elif hasattr(websocket, '__next__') or hasattr(websocket, 'next'):
        what = 'not its iterator: write persist(websocket), which connects it'
    else:
        shown = 'None' if websocket is None else 'this {}'.format(type(websocket).__name__)
        what = 'not {}, which has no {}'.format(shown, ', '.join(missing))
    raise TypeError('persist takes a WebSocket, {}'.format(what))
