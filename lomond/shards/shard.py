"""A shard: some of many feeds, driven by one pool in a thread of its own.

It uses no engine: whatever starts it, a Ray actor, a Dask task or a pod, adds and removes its
feeds. Where their messages go is the business of its sink.
"""

from __future__ import absolute_import, division, print_function

import logging
import threading

from lomond._checks import check_seconds
from lomond._compat import TYPE_CHECKING, monotonic, text_to_native
from lomond.pool import Pool
from lomond.shards.feed import Feed
from lomond.shards.sink import COUNTERS, LOST, Sink
from lomond.shards.sinks import CallSink
from lomond.status import Status

if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, List, Optional, Set, Union  # noqa: F401

    from lomond._compat import text_type  # noqa: F401
    from lomond.shards.sink import Outlet  # noqa: F401
    from lomond.websocket import WebSocket  # noqa: F401

log = logging.getLogger('lomond')  # type: logging.Logger

# How often the pool's loop shows that it is alive, in seconds.
_BEAT = 0.25

# Seconds without a beat after which the shard says that its pool is stalled.
_STALLED = 5.0

# Seconds that peers have to answer the Close frame of feeds that leave.
_FAREWELL = 5.0

# Seconds after Ready from which a feed counts as live though it has sent nothing.
_SETTLED = 1.0


def check_overlap(overlap):
    # type: (Any) -> None
    """Raise TypeError or ValueError unless this is a number of seconds."""
    if check_seconds('overlap', overlap) is None:
        raise TypeError('overlap must be a number of seconds, not None: 0 to wait for nobody')


class _Held(object):
    """A feed that the shard has: its WebSocket, its outlet, and how it is."""

    def __init__(self, feed, websocket, outlet):
        # type: (Feed, WebSocket, Outlet) -> None
        self.feed = feed
        self.websocket = websocket
        self.outlet = outlet
        self.ready_at = None  # type: Optional[float]
        #: What the last Disconnected, ConnectFail, Rejected or GaveUp said, while it isn't open.
        self.reason = None  # type: Optional[text_type]
        #: True once its connection is closed, after `Shard.remove`.
        self.has_ended = False

    @property
    def is_live(self):
        # type: () -> bool
        """True once the sink gets its messages, or it is subscribed and silent."""
        ready_at = self.ready_at
        return ready_at is not None and self.outlet.ready is None and (
            self.outlet.has_published.is_set()
            or not self._came and monotonic() - ready_at >= _SETTLED)

    @property
    def _came(self):
        # type: () -> int
        """How many messages have come for the sink."""
        return self.outlet.counts['received'] - self.outlet.counts['skipped']

    def obstacle(self, failure):
        # type: (Optional[text_type]) -> Optional[text_type]
        """Return why it isn't live, or None; ``failure``: that of the sink."""
        if self.is_live:
            return None
        if self.ready_at is None:
            return self.reason or u'it is connecting'
        if failure is not None and (self._came or self.outlet.ready is not None):
            return u'the sink fails: {}'.format(failure)
        if self.outlet.ready is not None:
            return u'its on_ready waits for the sink'
        if not self._came:
            return u'it has just connected'
        lost = [u'{} {}'.format(self.outlet.counts[name], name)
                for name in LOST if self.outlet.counts[name]]
        return u'none of {} messages is published yet: {}'.format(
            self._came, u', '.join(lost) or u'they wait for the sink')


class Shard(object):
    """Drives feeds, and hands their messages to a sink.

        with Shard(print) as shard:
            shard.add(Feed('prices', 'wss://example.org/feed'))

    Parameters: ``sink``, a `Sink`, or a function that is called with a feed's name and each
    message; ``name``, for logs; ``options`` of `lomond.pool.Pool`, such as ``max_dialing``. The
    sink belongs to this shard alone. Every method may be called from any thread. Leaving the
    ``with`` block closes the shard. Raises TypeError and ValueError.
    """

    def __init__(self, sink, name=u'shard', **options):
        # type: (Any, text_type, **Any) -> None
        self._sink = sink if isinstance(sink, Sink) else CallSink(sink)  # type: Sink
        self._pool = Pool(**dict(options, ends_when_empty=False))
        self.name = name
        self._lock = threading.Lock()
        # A connection has ended, or a beat has come.
        self._turned = threading.Condition(self._lock)
        self._holding = {}  # type: Dict[text_type, _Held]
        # Feeds that leave, while the sink hasn't all of their messages.
        self._leaving = []  # type: List[_Held]
        # What feeds that have left have counted.
        self._past = dict.fromkeys(COUNTERS, 0)  # type: Dict[str, int]
        self._beat = monotonic()
        self._error = None  # type: Optional[BaseException]
        self._is_closed = False
        self._sink.start()
        self._thread = threading.Thread(target=self._run, name='lomond ' + text_to_native(name))
        self._thread.daemon = True
        self._thread.start()

    def __enter__(self):
        # type: () -> Shard
        return self

    def __exit__(self, *_exc_info):
        # type: (*Any) -> None
        self.close()

    # -- its feeds --

    @property
    def feeds(self):
        # type: () -> List[Feed]
        """The feeds that it has, in a new list."""
        with self._lock:
            return [held.feed for held in self._holding.values()]

    def add(self, feed, overlap=0.0):
        # type: (Feed, float) -> None
        """Hold a feed from now on; nothing happens if it has this feed already.

        ``overlap``: at most how many seconds to wait, before it publishes, for another shard that
        still publishes what comes before this one's first message. Pass it if another shard holds
        the feed until this one is live. Raises TypeError, ValueError if it has another feed of that
        name, and RuntimeError after `close`, or if its loop has ended.
        """
        if not isinstance(feed, Feed):
            raise TypeError(
                'a shard takes feeds, not {!r}: write shard.add(Feed(name, url))'.format(feed))
        check_overlap(overlap)
        with self._lock:
            if self._has(feed):
                return
        websocket = feed.make()     # without the lock: it may be slow, and may ask this shard
        with self._lock:
            if self._has(feed):
                return
            held = _Held(feed, websocket, self._sink.open(feed, overlap))
            self._pool.add(held.websocket, feed.policy, tag=held, **feed.options)
            self._holding[feed.name] = held

    def _has(self, feed):
        # type: (Feed) -> bool
        """Return whether it has a feed; raises an error if it can't take it. The lock is held."""
        if self._is_closed:
            raise RuntimeError('this shard was closed')
        if self._error is not None:
            raise RuntimeError(
                'the loop of this shard has ended, by {!r}: make another shard'.format(self._error))
        present = self._holding.get(feed.name)
        if present is not None and present.feed is not feed:
            raise ValueError(
                'the shard has another feed {!r}: remove that one first'.format(feed.name))
        return present is not None

    def remove(self, name, timeout=10.0):
        # type: (text_type, Optional[float]) -> int
        """Let go of a feed: close its connection, and wait until the sink has what came.

        ``timeout``: for at most how many seconds; None to return at once, and have a thread do it.
        Returns how many messages the sink didn't accept by then; 0 if the shard has no such feed.
        """
        if timeout is not None:
            return self._let_go(self._pop([name]), timeout)
        self.remove_soon([name])
        return 0

    def remove_soon(self, names):
        # type: (Iterable[text_type]) -> None
        """Let go of feeds, and have one thread close their connections, and wait for the sink."""
        held = self._pop(names)
        if not held:
            return
        thread = threading.Thread(target=self._let_go, args=(held, 10.0))
        thread.daemon = True
        try:
            thread.start()
        except threading.ThreadError:       # the system has no further one: do it here
            self._let_go(held, 10.0)

    def _pop(self, names):
        # type: (Iterable[text_type]) -> List[_Held]
        """Have some feeds no more, from now on; return what is to be ended."""
        with self._lock:
            gone = [self._holding.pop(name) for name in names if name in self._holding]
            self._leaving.extend(gone)
            return gone

    def _let_go(self, gone, timeout):
        # type: (List[_Held], float) -> int
        deadline = monotonic() + timeout
        self._end([held.websocket for held in gone], min(timeout, _FAREWELL))
        for held in gone:
            held.has_ended = True
        return self._sink.flush([held.outlet for held in gone], deadline - monotonic())

    def _forget(self):
        # type: () -> None
        """Forget feeds that have left, and keep what they counted. The lock is held."""
        done = [held for held in self._leaving if held.has_ended and not held.outlet.queue]
        for held in done:
            self._leaving.remove(held)
            for name, count in held.outlet.counts.items():
                self._past[name] += count

    def _end(self, websockets, timeout):
        # type: (List[WebSocket], float) -> None
        """Close connections; break those that are left after ``timeout`` seconds."""
        for websocket in websockets:
            websocket.close(Status.GOING_AWAY, u'')
        deadline, left = monotonic() + timeout, list(websockets)
        with self._lock:
            while self._thread.is_alive() and not self._is_current() and monotonic() < deadline:
                while left and left[-1] not in self._pool:
                    left.pop()      # there may be thousands: none is looked for again
                if not left:
                    break
                self._turned.wait(_BEAT)
        for websocket in websockets:
            self._pool.remove(websocket)

    @property
    def live(self):
        # type: () -> Set[text_type]
        """The names of the feeds that are live here.

        That is: its ``on_ready`` has been called, and the sink has a message that came here, or a
        later one; or the feed is open since a second, and no message has come for the sink.
        """
        with self._lock:
            return {name for name, held in self._holding.items() if held.is_live}

    # -- how it is --

    def health(self):
        # type: () -> Dict[str, Any]
        """Return how the shard is, at once.

        A dict: ``state``, 'ok', 'stalled' (its loop hasn't turned, or what the sink does hasn't
        ended, for 5 seconds), 'failing' (the sink accepts nothing) or 'ended' (an exception ended
        its loop), and ``failure``, why; ``feeds`` and ``ready``, how many it has and how many are
        open; ``queued`` and ``queued_bytes``, the messages that wait for the sink, and how much of
        its ``max_queue`` they take; the sink's counters, since it began; and ``rewound``, if the
        sink counts that, as `RedisSink` does.
        """
        now = monotonic()
        with self._lock:
            self._forget()
            held = list(self._holding.values())
            waiting = held + self._leaving
            numbers = dict(self._past)  # type: Dict[str, Any]
        for one in waiting:
            for name, count in one.outlet.counts.items():
                numbers[name] += count
        state, failure = 'ok', self._sink.failure  # type: str, Optional[text_type]
        busy_since = self._sink.busy_since
        if self._error is not None:
            state, failure = 'ended', u'{!r}'.format(self._error)
        elif now - self._beat > _STALLED:
            state, failure = 'stalled', u'a function of the user holds up the loop'
        elif busy_since is not None and now - busy_since > _STALLED:
            state, failure = 'stalled', u'the sink is slow, or a function that it calls'
        elif failure is not None:
            state = 'failing'
        numbers.update(
            name=self.name, state=state, failure=failure, feeds=len(held),
            ready=sum(one.websocket.is_open for one in held),
            queued=sum(len(one.outlet.queue) for one in waiting),
            queued_bytes=sum(one.outlet.size for one in waiting))
        rewound = getattr(self._sink, 'rewound', None)
        if rewound is not None:
            numbers['rewound'] = rewound
        return numbers

    def report(self):
        # type: () -> Dict[text_type, Dict[str, Any]]
        """Return, for each feed, its counters, whether it is open and live, and why it isn't."""
        with self._lock:
            held = dict(self._holding)
        report = {}
        for name, one in held.items():
            obstacle = one.obstacle(self._sink.failure)
            report[name] = dict(
                one.outlet.counts, ready=one.websocket.is_open, live=obstacle is None,
                reason=obstacle, last=one.outlet.last_put, queued=len(one.outlet.queue))
        return report

    # -- the end --

    def close(self, timeout=10.0):
        # type: (float) -> int
        """Close all connections, wait for the sink, and end both threads.

        Waits for the sink for at most ``timeout`` seconds, and returns how many messages it didn't
        take, those of feeds that had left among them. A thread in a function of the user's that
        doesn't return within 5 further seconds ends after that, and the sink calls none again.
        """
        deadline = monotonic() + timeout
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
            names = list(self._holding)
        self._let_go(self._pop(names), timeout)
        with self._lock:
            outlets = [held.outlet for held in self._leaving]
        self._sink.flush(outlets, deadline - monotonic())
        self._pool.close(timeout=0)
        if not self._is_current():
            self._thread.join(max(deadline - monotonic(), _FAREWELL))
        self._sink.close(max(deadline - monotonic(), _FAREWELL))
        left = self._sink.flush(outlets, 0)     # its thread has counted all that it took
        if left and not was_closed:
            log.warning('%r was closed with %s messages that the sink had not taken', self, left)
        return left

    def _is_current(self):
        # type: () -> bool
        return self._thread is threading.current_thread()

    # -- the thread --

    def _run(self):
        # type: () -> None
        try:
            for websocket, event in self._pool.polling(_BEAT):
                if websocket is None:
                    self._beat = monotonic()
                    self._turn()
                else:
                    self._handle(websocket.tag, event)
        except BaseException as error:      # `health` reports it, as nobody waits for this thread
            with self._lock:
                self._error = error
                for held in self._holding.values():
                    held.ready_at, held.reason = None, u'the loop of the shard has ended'
            log.exception('%r ended', self)

    def _turn(self):
        # type: () -> None
        with self._lock:
            self._forget()
            self._turned.notify_all()

    def _handle(self, held, event):
        # type: (_Held, Any) -> None
        name = event.name
        if name == 'text' or name == 'binary':
            self._sink.put(held.outlet, event)
        elif name == 'ready':
            self._sink.resume(held.outlet, held.websocket)      # first: it isn't subscribed yet
            held.ready_at, held.reason = monotonic(), None
        elif name in ('disconnected', 'connect_fail', 'rejected', 'gave_up'):
            held.ready_at = None
            if name != 'gave_up' or held.reason is None:
                held.reason = event.reason
            self._turn()

    def __repr__(self):
        # type: () -> str
        return '<Shard {!r}, {} feeds>'.format(self.name, len(self._holding))
