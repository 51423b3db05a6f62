"""Drives a WebSocket's connection in the caller's thread, which waits for it.

`BlockingLoop` is the driver: it waits, steps, and passes on the events. How a
connection lives is the business of `lomond.engine.session`.
"""

from __future__ import absolute_import, division, print_function

import weakref
from collections import deque

from lomond import errors
from lomond._checks import check_spin
from lomond._compat import TYPE_CHECKING, thread_module
from lomond._describe import describe
from lomond.engine.client import ClientSession
from lomond.engine.phases import Phase
from lomond.engine.session import Session
from lomond.engine.timers import NEVER
from lomond.events import EVENT_SIZE
from lomond.net.waiter import WAYS_FOR_FEW, Waiter
from lomond.net.waker import Waker
from lomond.protocol.state import State

if TYPE_CHECKING:
    from typing import Any, Generator, Iterator, Optional  # noqa: F401

    from lomond.events import AnyEvent  # noqa: F401

__all__ = ['Session', 'WebsocketSession']


class BlockingLoop(Session):
    """A session that waits for its connection in the thread that iterates over its events."""

    # The user's functions may take their time in the user's own thread.
    calls_in_loop = True

    # The generator that `run` returned: a weak reference, and the thread that runs it.
    _loop = None  # type: Any
    _loop_thread = None  # type: Optional[int]

    # What the last step returned.
    _events = iter(())  # type: Iterator[AnyEvent]
    # The events that a send made of what it read ahead: a deque, once there are some ...
    _ahead = ()  # type: Any
    # ... and more of them, once the deque is full.
    _ahead_rest = None  # type: Optional[Iterator[AnyEvent]]
    #: Bytes, about, of the events that sends have made of what they read ahead, until the loop has
    #: yielded all of them.
    ahead_size = 0  # type: int
    # The transport's progress when a send last looked for what it had read ahead.
    _read_ahead_at = 0

    #: When a call that waits for an event gives up, by the clock: from then on the loop yields None
    #: after each step. A plain loop has none.
    call_deadline = NEVER  # type: float

    def run(
        self,
        poll=5,                 # type: Optional[float]
        ping_rate=30,           # type: Optional[float]
        ping_timeout=None,      # type: Optional[float]
        auto_pong=True,         # type: bool
        close_timeout=None,     # type: Optional[float]
        idle_timeout=None,      # type: Optional[float]
        stale_disconnects=False,    # type: bool
        max_age=None,           # type: Optional[float]
        spin=0.0,               # type: Optional[float]
        heartbeat=None,         # type: Optional[float]
    ):
        # type: (...) -> Generator[AnyEvent, None, None]
        """Connect, and yield events until the connection is gone.

        Parameters as in `WebSocket.connect`.
        """
        loop = self._run(
            check_spin(spin), poll=poll, ping_rate=ping_rate, ping_timeout=ping_timeout,
            auto_pong=auto_pong, close_timeout=close_timeout, idle_timeout=idle_timeout,
            stale_disconnects=stale_disconnects, max_age=max_age, heartbeat=heartbeat)
        if self.phase == Phase.NEW:
            self._loop = weakref.ref(loop)
        return loop

    def _run(self, spin, **options):
        # type: (float, **Any) -> Generator[AnyEvent, None, None]
        self.check_new()    # here: what follows disposes of the session at the end
        news = self._decoder.news       # not empty: `attend` before the next event is passed on
        waiter = Waiter(WAYS_FOR_FEW)
        waker = watched = None  # type: Any
        try:
            self.begin(**options)
            waker = self._make_waker()
            while True:
                self._loop_thread = thread_module.get_ident()
                # A send has read these ahead, after an event or between two calls.
                while self._ahead:
                    event = self._ahead.popleft()
                    if not self._is_forced or event.name == 'disconnected':
                        yield event
                    if not self._ahead:
                        for event in self._end_ahead():
                            if news:
                                self.attend()
                            yield event
                if self.is_finished:
                    break
                self._events = iter(self.advance())
                for event in self._events:
                    if news:
                        self.attend()
                    yield event
                if self._ahead:
                    continue
                timeout = self.time_left()
                if self.call_deadline != NEVER and not self.is_finished:
                    if self._clock() >= self.call_deadline:
                        yield None      # type: ignore[misc]    # to `lomond._calls` only
                    timeout = self._time_left_for_call()
                if timeout != 0:
                    # As long as the interest is the same object, it is registered once.
                    if self.interest is not watched:
                        watched = self.interest
                        waiter.watch_only(tuple(watched) + (waker.interest,))
                    for fd, _mask in waiter.wait(timeout, spin):
                        if fd == waker.interest[0]:
                            waker.clear()
        finally:
            # They refer to this session: free all at once.
            self._events, self._ahead, self._ahead_rest = iter(()), (), None
            self.dispose()
            if waker is not None:
                waker.close()
            waiter.close()

    def _time_left_for_call(self):
        # type: () -> Optional[float]
        left = self.time_left()
        if self.call_deadline == NEVER:
            return left
        for_call = max(0.0, self.call_deadline - self._clock())
        return for_call if left is None else min(left, for_call)

    def _make_waker(self):
        # type: () -> Optional[Waker]
        """Return a `Waker`, or None without the descriptors for one: then dialling fails."""
        try:
            waker = Waker()
        except EnvironmentError as error:
            error.__traceback__ = None      # it refers to this session
            self._obstacle = errors.ConnectFail.during(
                'connect', u'could not open the socket pair that wakes the loop: {}'.format(
                    describe(error)), error)
            return None
        self._wake_driver = waker.wake
        return waker

    # -- sending in the loop's body --

    def read_ahead(self):
        # type: () -> None
        """Turn what a send has read ahead into events, which the loop yields next.

        Only where the send was called in the loop's body: there nothing else
        would answer the pings among them. And only if it had to wait.
        """
        transport = self.writer.transport
        if transport.progress == self._read_ahead_at:
            return
        self._read_ahead_at = transport.progress
        loop = None if self._loop is None else self._loop()
        if loop is None or loop.gi_running or self._loop_thread != thread_module.get_ident():
            return
        if self._ahead_rest is not None:
            return
        if not self._ahead:
            self._ahead, self.ahead_size = deque(), 0
        limit = self._read_ahead_limit or NEVER
        # The loop is in the middle of these: all of them come first.
        self._take_ahead(self._events, NEVER)
        while self.ahead_size < limit and self._decoder.is_receiving:
            data = transport.take_read_ahead()
            if data is None:
                break
            now = self._timers.last_received = self._clock()
            if self._idle_timer is not None:
                self._idle_timer.was_read(now)
            rest = iter(self._websocket.feed(data))
            if not self._take_ahead(rest, limit):
                self._ahead_rest = rest
        if limit != NEVER:
            # The bytes read ahead and the events made of them share one limit.
            transport.max_read_ahead = max(1, limit - self.ahead_size)

    def _take_ahead(self, happened, limit):
        # type: (Iterator[AnyEvent], float) -> bool
        """Keep events until the limit is reached; False if there may be more."""
        lifecycle, news = self.connection.lifecycle, self._decoder.news
        for event in happened:
            self._ahead.append(event)
            content = getattr(event, 'data', None)  # type: Any
            if content is None:     # else its text is decoded only if that is asked for
                content = getattr(event, 'text', b'')
            self.ahead_size += EVENT_SIZE + len(content)
            self.writer.pending.holds_close = lifecycle.state == State.PEER_CLOSING
            if news:
                self.attend()
            if self.ahead_size >= limit:
                return False
        self.writer.pending.holds_close = lifecycle.state == State.PEER_CLOSING
        if news:
            self.attend()
        return True

    def _end_ahead(self):
        # type: () -> Iterator[AnyEvent]
        """Return what is left of the events that were read ahead, once the others are yielded."""
        rest, self._ahead_rest, self.ahead_size = self._ahead_rest, None, 0
        self._events = iter(()) if rest is None or self._is_forced else rest
        if self.writer.transport is not None:
            self.writer.transport.max_read_ahead = self._read_ahead_limit
        return self._events


class WebsocketSession(BlockingLoop, ClientSession):
    """Drives one connection of a websocket.

    Parameters: ``websocket``, a `lomond.websocket.WebSocket`; ``clock``, a
    monotonic clock in seconds.
    """
