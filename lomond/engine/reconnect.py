"""Reconnecting as a machine of steps: attempt, back off, attempt again.

`PersistentSession` has a session's members, so a driver of sessions can drive
it. It waits for nothing itself and uses no sockets: a session connects.
"""

from __future__ import absolute_import, division, print_function

import logging
from functools import partial

from lomond import events
from lomond._compat import TYPE_CHECKING, monotonic
from lomond._describe import describe
from lomond.engine.policy import parse_retry_after
from lomond.engine.timers import NEVER
from lomond.net.offload import offload
from lomond.net.steps import Wait

if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, List, Optional, Tuple, Union  # noqa: F401

    from lomond._compat import text_type  # noqa: F401
    from lomond.engine.policy import ReconnectPolicy  # noqa: F401
    from lomond.events import AnyEvent  # noqa: F401
    from lomond.net.waiter import Interest  # noqa: F401

log = logging.getLogger('lomond')  # type: logging.Logger

#: The names of the events that a policy's decisions depend on.
OBSERVED = frozenset(['ready', 'rejected', 'closing', 'disconnected', 'connect_fail'])

#: Called with each back-off's delay, the last one first, instead of waiting: for tests, see
#: `lomond.testing.skip_back_offs`. Empty otherwise.
skippers = []  # type: List[Callable[[float], Any]]


def _do_nothing():
    # type: () -> None
    """Wake a driver that needs no waking."""


class Attempts(object):
    """The outcomes of one loop's attempts to connect, and what the policy does after each.

    (A `lomond.engine.attempt.Attempt` is one attempt: its request, and its redirects.)
    """

    def __init__(self, policy):
        # type: (ReconnectPolicy) -> None
        self._policy = policy
        self._skipped = 0.0     # seconds of back-offs that nothing waited for
        self._since = policy.clock()    # when the last success ended
        self._failures = 0
        self._waits = 0
        self._index = 0                 # of the URL
        # Of each URL's server: when it asked for a pause by Retry-After, and how long a pause.
        self._retry_after = [
            None for _url in policy.urls or (None,)]  # type: List[Optional[Tuple[float, float]]]

    def clock(self):
        # type: () -> float
        """Return the time by the policy's clock, put forward by what was skipped."""
        return self._policy.clock() + self._skipped

    def skip(self, seconds):
        # type: (float) -> None
        """Count a back-off as over that nothing waited for."""
        self._skipped += seconds

    @property
    def number(self):
        # type: () -> int
        """The number of this attempt since the last success, from 1 on."""
        return self._failures + 1

    @property
    def url(self):
        # type: () -> Optional[str]
        """The URL of this attempt, or None for the websocket's own."""
        return self._policy.urls[self._index] if self._policy.urls else None

    def begin(self):
        # type: () -> None
        """Start the next attempt's record."""
        self._ready_at = None  # type: Optional[float]
        self._ended_at = None  # type: Optional[float]
        self._asked = None  # type: Optional[float]
        self._stop_reason = None  # type: Optional[text_type]
        self._reason = None  # type: Optional[text_type]    # of its end
        self._retry_after[self._index] = None

    def observe(self, event):
        # type: (AnyEvent) -> None
        """Record an event of the attempt, one of those that `OBSERVED` names."""
        policy = self._policy
        if event.name == 'ready':
            self.opened()
        elif event.name == 'rejected':
            self._reason = event.reason
            self._asked = parse_retry_after(event.response.get('Retry-After'))
            if event.response.status_code in policy.stop_on_status:
                self._stop_reason = event.reason
        elif event.name == 'closing':
            self._reason = u'the server closed with code {} {}'.format(
                event.code, event.reason).rstrip()
            if event.code in policy.stop_on_code:
                self._stop_reason = self._reason
        elif event.name == 'disconnected' or event.name == 'connect_fail':
            self._ended_at = self.clock()
            if self._reason is None:
                self._reason = event.reason

    def opened(self):
        # type: () -> None
        """Record that the attempt has led to a connection."""
        self._ready_at = self.clock()

    def conclude(self, is_aged=False):
        # type: (bool) -> Union[events.BackOff, events.GaveUp]
        """Return what follows the attempt: BackOff before the next one, or GaveUp.

        ``is_aged`` is true if its connection reached `max_age`: that is a success, and the
        next attempt begins immediately.
        """
        policy = self._policy
        now = self.clock()
        if self._asked is not None and policy.max_retry_after is not None:
            self._retry_after[self._index] = now, min(self._asked, policy.max_retry_after)
        ended_at = now if self._ended_at is None else self._ended_at
        if is_aged:
            self._reason = u'the connection reached max_age'
            self._succeeded(ended_at)
            delay = 0.0
            self._choose_url(now, delay)
        elif self._ready_at is not None and ended_at - self._ready_at >= policy.stable_after:
            self._succeeded(ended_at)
            delay = self._begin_round(now)
        else:
            self._failures += 1
            delay = self._go_on(now)
        stop_reason = self._stop_reason
        if stop_reason is None:
            stop_reason = self._reached_limit(now, delay)
        if stop_reason is None:
            return events.BackOff(delay, self._reason)
        return events.GaveUp(stop_reason)

    def _succeeded(self, ended_at):
        # type: (float) -> None
        self._since = ended_at
        self._failures = self._waits = 0

    def _reached_limit(self, now, delay):
        # type: (float, float) -> Optional[text_type]
        policy = self._policy
        if policy.max_attempts is not None and self._failures >= policy.max_attempts:
            why = u'' if self._reason is None else u', the last: {}'.format(self._reason)
            return u'{} attempts in a row failed{}'.format(self._failures, why)
        outage = now - self._since
        if policy.max_outage is not None and outage + delay > policy.max_outage:
            return u'no success in {:.0f} s, and the next attempt only in {:.0f} s'.format(
                outage, delay)
        return None

    def _go_on(self, now):
        # type: (float) -> float
        """Choose the URL after a failed attempt; return the delay."""
        min_wait = self._policy.min_wait
        for index in range(self._index + 1, len(self._retry_after)):
            if (self._asked_for(index, now) or 0.0) <= min_wait:
                self._index = index
                return min_wait
        return self._begin_round(now)

    def _begin_round(self, now):
        # type: (float) -> float
        """Choose the first URL that may be tried; return the delay."""
        asked = [self._asked_for(index, now) for index in range(len(self._retry_after))]
        least = None if None in asked else min(asked)  # type: ignore[type-var]
        delay = self._policy.delay(self._waits, least)
        self._waits += 1
        self._choose_url(now, delay)
        return delay

    def _choose_url(self, now, delay):
        # type: (float, float) -> None
        """Choose the first URL for whose server the pause is over after the delay."""
        self._index = min(
            range(len(self._retry_after)),
            key=lambda index: (self._asked_for(index, now) or 0.0) > delay)

    def _asked_for(self, index, now):
        # type: (int, float) -> Optional[float]
        """Return how long the pause that a URL's server asked for still lasts, None without one."""
        found = self._retry_after[index]
        if found is None:
            return None
        asked_at, seconds = found
        return max(0.0, seconds - (now - asked_at))


class Pause(object):
    """A back-off: how long it still lasts. Any thread may end it."""

    def __init__(self, seconds, clock):
        # type: (float, Callable[[], float]) -> None
        self._clock = clock
        self._left = seconds            # when the clock was last read
        self._read_at = clock()
        self._is_ended = False

    def end(self):
        # type: () -> None
        """Have no time left."""
        self._is_ended = True

    def left(self):
        # type: () -> float
        """Return the time left, in seconds."""
        # Step by step: if the clock is set back, that costs one step.
        now = self._clock()
        self._left -= max(0.0, now - self._read_at)
        self._read_at = now
        return 0.0 if self._is_ended else max(0.0, self._left)


class PersistentSession(object):
    """Runs one session after the other, and backs off in between, with a session's members.

    Parameters:

    - ``websocket``: its ``url`` is set if the policy has several. Its ``attach_machine``, if it has
      that, is called before each attempt; a ``skip_back_off``, which a test's stand-in has, with
      each delay instead of waiting.
    - ``start``: returns a session for the next attempt, which has begun. If that has an ``is_aged``
      which is true at its end, the next attempt follows without a wait.
    - ``policy``: a `ReconnectPolicy`.
    - ``is_over``: returns True once no other attempt is to be made.
    - ``calls_in_loop``: whether ``policy.before_attempt`` is called in a step;
      else it is called in another thread, and the steps wait for it.
    - ``wake``: interrupts the driver's present or next wait, from any thread; it is called by
      `wake` and `end_back_off`.

    Its events are those of the sessions, BackOff in between, and GaveUp if the
    policy gives up.
    """

    # Phases of its own, not those of `lomond.engine.phases`: new, then round after round
    # PREPARING, ATTEMPTING, BACKING_OFF; FINISHED follows any of them.
    PREPARING = 'preparing'         # before_attempt
    ATTEMPTING = 'attempting'       # a session
    BACKING_OFF = 'backing_off'
    FINISHED = 'finished'

    def __init__(
        self,
        websocket,              # type: Any
        start,                  # type: Callable[[], Any]
        policy,                 # type: ReconnectPolicy
        is_over,                # type: Callable[[], bool]
        calls_in_loop=False,    # type: bool
        wake=_do_nothing,       # type: Callable[[], Any]
    ):
        # type: (...) -> None
        self._websocket = websocket
        self._start = start
        self._policy = policy
        self._is_over = is_over
        self._calls_in_loop = calls_in_loop
        self._wake_driver = wake
        self._attempts = Attempts(policy)
        #: What it is doing: one of the four above.
        self.phase = self.PREPARING  # type: str
        self._session = None  # type: Any       # of the present attempt
        self._preparation = None  # type: Optional[Iterator[Any]]    # yields each Wait
        self._wait = Wait((), -NEVER)
        # The last back-off. A new object for each, so that what ends one can't end the next.
        self._pause = Pause(0.0, policy.clock)

    # -- for the driver --

    @property
    def is_finished(self):
        # type: () -> bool
        """True once the last event has been returned, or it was disposed of."""
        return self.phase == self.FINISHED

    @property
    def will_connect(self):
        # type: () -> bool
        """True unless it has ended, or is about to, as far as is known."""
        return not self.is_finished and not self._is_over()

    @property
    def interest(self):
        # type: () -> Interest
        """What to wait for before the next step."""
        if self.phase == self.ATTEMPTING and self._session is not None:
            return self._session.interest       # type: ignore[no-any-return]
        return self._wait.interest

    @property
    def deadline(self):
        # type: () -> float
        """When the next step has something to do though nothing arrived, by the clock."""
        if self.phase == self.ATTEMPTING and self._session is not None:
            return self._session.deadline       # type: ignore[no-any-return]
        if self.phase == self.BACKING_OFF:
            return monotonic() + self._pause.left()     # type: ignore[no-any-return]
        return self._wait.deadline

    def step(self):
        # type: () -> Iterator[AnyEvent]
        """Do what can be done without waiting; yield the events."""
        for event in self.advance():
            if event.name in OBSERVED:
                self.observe(event)
            yield event

    def advance(self):
        # type: () -> Iterable[AnyEvent]
        """Do as `step` does, but leave it to the driver to `observe`.

        It passes each event whose name is in `OBSERVED` to `observe` before it
        passes that on. (It saves a generator's turn for each message.)
        """
        if self.phase == self.PREPARING:
            return self._prepare()
        if self.phase == self.BACKING_OFF:
            if self._is_over():
                self.phase = self.FINISHED
            elif not self._pause.left():
                self.phase = self.PREPARING
            return ()
        session = self._session
        if session is not None and not session.is_finished:
            return session.step()       # type: ignore[no-any-return]
        return self._conclude() if self.phase == self.ATTEMPTING else ()

    def observe(self, event):
        # type: (AnyEvent) -> None
        """Record an event of the attempt; its name is in `OBSERVED`."""
        self._attempts.observe(event)

    def renew(self):
        # type: () -> None
        """Replace the connection, by a session that can; from any thread."""
        session = self._session
        if session is not None:
            session.renew()

    def clear_retired(self):
        # type: () -> int
        """Drop what waits for a connection that was replaced; return how many; from any thread."""
        session = self._session
        return 0 if session is None else session.clear_retired()

    def flush(self):
        # type: () -> None
        """Send what waits, but receive nothing; instead of a step, while the user is busy."""
        if self._session is not None:
            self._session.flush()

    @property
    def waits_to_flush(self):
        # type: () -> Tuple[Interest, Optional[float]]
        """What to wait for before the next `flush`, and for how long, in seconds or None."""
        return ((), None) if self._session is None else self._session.waits_to_flush

    def fail(self, error):
        # type: (EnvironmentError) -> None
        """End the attempt, as the driver can't wait for the `interest`."""
        if self._session is not None:
            self._session.fail(error)

    def time_left(self):
        # type: () -> Optional[float]
        """Return how long, in seconds, to wait for `interest`; None means forever."""
        if self.phase == self.ATTEMPTING and self._session is not None:
            return self._session.time_left()    # type: ignore[no-any-return]
        if self.phase == self.BACKING_OFF:
            return 0 if self._is_over() else self._pause.left()
        if self.phase == self.PREPARING and self._wait.deadline == NEVER:
            return None
        return 0

    def go_on(self):
        # type: () -> None
        """Begin with a connection that is open already, that of the session from ``start``."""
        self._websocket.attach_machine(self)
        self._begin(())
        self._attempts.opened()

    @property
    def is_releasable(self):
        # type: () -> bool
        """As a session's; False without one."""
        session = self._session
        return session is not None and session.is_releasable

    def release(self, rest):
        # type: (Iterable[AnyEvent]) -> None
        """Do as a session does, and make no other attempt."""
        session, self._session = self._session, None
        self.phase = self.FINISHED
        session.release(rest)

    def end_back_off(self):
        # type: () -> None
        """Begin the next attempt now, if it is backing off; from any thread."""
        self._pause.end()
        self.wake()

    def wake(self):
        # type: () -> None
        """Have the driver step, as it may be over; from any thread."""
        self._wake_driver()

    def dispose(self):
        # type: () -> None
        """Free everything, whatever it is doing. Never raises."""
        self.phase = self.FINISHED
        if hasattr(self._preparation, 'close'):
            self._preparation.close()   # type: ignore[union-attr]
        self._end_session()

    # -- the steps --

    def _prepare(self):
        # type: () -> Iterable[AnyEvent]
        """Have `close` wake this, set the URL, call the user's hook, begin the attempt."""
        if self._preparation is None:
            # Before it asks whether it is over: a close() after that wakes the driver.
            if hasattr(self._websocket, 'attach_machine'):
                self._websocket.attach_machine(self)
            if self._attempts.url is not None:
                self._websocket.url = self._attempts.url
        hook = self._policy.before_attempt
        # With nothing to do any more the first attempt still begins, and ends at once.
        if hook is None or self._preparation is None and self._is_over():
            return self._begin(())
        happened = ()  # type: Iterable[AnyEvent]
        try:
            if self._preparation is None:
                self._preparation = self._call(partial(
                    hook, self._websocket, self._attempts.number))
            step = next(self._preparation, None)
            if isinstance(step, Wait):
                self._wait = step
                if self._is_over():
                    self.dispose()      # the hook's thread may take long
                return ()
        except Exception as error:
            # The hook may well ask the network for something, such as a token, and an outage
            # is what this is there to survive.
            self._logger.exception('before_attempt failed')
            happened = [events.ConnectFail(
                u'before_attempt failed: {}'.format(describe(error) or type(error).__name__),
                'request', error)]
        self._preparation = None
        self._wait = Wait((), -NEVER)
        if self._is_over():     # by the hook
            self.phase = self.FINISHED
            return ()
        return self._begin(happened)

    def _call(self, hook):
        # type: (Callable[[], Any]) -> Iterator[Any]
        """Call the hook here, or return what yields each `Wait` until it has returned."""
        if not self._calls_in_loop:
            return offload(hook, NEVER)
        hook()
        return iter(())

    def _begin(self, happened):
        # type: (Iterable[AnyEvent]) -> Iterable[AnyEvent]
        """Begin the attempt, unless it has failed already by these events."""
        self._attempts.begin()
        self.phase = self.ATTEMPTING
        self._session = None if happened else self._start()
        if self._is_over():     # since it was last asked: that close() found no new session
            self._websocket.close()
        return happened

    def _conclude(self):
        # type: () -> Iterable[AnyEvent]
        """Return what follows an attempt that has ended."""
        is_aged = getattr(self._session, 'is_aged', False)
        self._end_session()
        if hasattr(self._websocket, 'wait_for_connection'):
            self._websocket.wait_for_connection()
        if self._is_over():
            self.phase = self.FINISHED
            return ()
        event = self._attempts.conclude(is_aged)
        self._logger.debug('%s: %r', self._websocket, event)
        if event.name == 'gave_up':
            self.phase = self.FINISHED
        else:
            self.phase = self.BACKING_OFF
            self._pause = Pause(event.delay, self._policy.clock)
            self._skip_back_off(event.delay)
        return [event]

    @property
    def _logger(self):
        # type: () -> Any
        return getattr(self._websocket, 'logger', log)      # what persist takes may be a stand-in

    def _skip_back_off(self, delay):
        # type: (float) -> None
        """Have the back-off pass at once, in a test that asks for it."""
        own = getattr(self._websocket, 'skip_back_off', None)
        skip = ([own] + skippers)[-1]       # not by its index: another thread may remove one
        if skip is not None:
            skip(delay)
            self._attempts.skip(delay)
            self._pause.end()

    def _end_session(self):
        # type: () -> None
        session, self._session = self._session, None
        if session is not None:
            session.dispose()
