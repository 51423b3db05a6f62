"""What sinks share: a queue for each feed, and the thread that empties them all.

A sink has an `Outlet` for each feed. A shard's thread puts messages into outlets and never waits
for a sink; the sink's own thread takes them out.
"""

from __future__ import absolute_import, division, print_function

import logging
import threading
from collections import deque
from itertools import islice
from weakref import WeakValueDictionary

from lomond._checks import check_count, whole_number
from lomond._compat import TYPE_CHECKING, monotonic
from lomond._describe import describe
from lomond.engine.outbox import MAX_QUEUE

if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, List, MutableMapping, Optional, Tuple, Union  # noqa: F401

    from lomond._compat import text_type  # noqa: F401
    from lomond.shards.feed import Feed  # noqa: F401

log = logging.getLogger('lomond')  # type: logging.Logger

# What a message counts for in a queue, beside its payload.
_OVERHEAD = 64

# Numbers are below this one, as in the ids of Redis.
_NUMBERS = 2 ** 64

# Messages of one feed that a sink takes at a time, so that no feed waits long for another.
_SHARE = 200

# Messages that a sink takes at a time, of all feeds.
_BATCH = 2000

# Seconds until a sink tries again what has failed: the first time, and at most.
_PAUSES = (0.05, 1.0)

#: What a sink counts for each feed.
COUNTERS = (
    'received',     # messages that the shard has put in
    'published',    # those that the sink has, put there by this shard
    'duplicates',   # those that the sink had already
    'dropped',      # those that the queue had no space for
    'skipped',      # those for which the feed's ``sequence`` returned None
    'unnumbered',   # those for which it failed
    'disordered',   # those whose number, or epoch, isn't greater than one before
    'quarantined',  # those whose number jumps too far, or isn't one from 1 to 2**64 - 1
    'refused',      # those that the sink refused, and always would
)


#: Those of them that count messages which the sink doesn't have, and was to have.
LOST = ('dropped', 'unnumbered', 'disordered', 'quarantined', 'refused')


class Message(object):
    """A message on its way: its number, or None; its payload; when it arrived."""

    __slots__ = ('data', 'is_unanswered', 'number', 'time')

    def __init__(self, number, data, time):
        # type: (Optional[int], Union[text_type, bytes], float) -> None
        self.number = number  # type: Optional[int]
        self.data = data  # type: Union[text_type, bytes]
        self.time = time  # type: float
        #: True if it was sent, and no answer came: the sink may have it.
        self.is_unanswered = False  # type: bool


def _number(message):
    # type: (Message) -> int
    """Return the number of a message of a feed with numbers."""
    return message.number       # type: ignore[return-value]


def _words(error):
    # type: (BaseException) -> text_type
    """Return the words of any error, and the name of its file."""
    filename = getattr(error, 'filename', None)
    return describe(error) if filename is None else u'{}: {!r}'.format(describe(error), filename)


class Outlet(object):
    """The queue of one feed in a sink, and its counters.

    ``overlap``: for how many seconds another shard may be behind; see `Sink.open`.
    """

    def __init__(self, feed, overlap, older):
        # type: (Feed, float, List[Outlet]) -> None
        self.feed = feed
        self.overlap = overlap
        #: Those of the same name in this sink: what they have queued goes first.
        self.older = older  # type: List[Outlet]
        # When the overlap is over; None until the sink has answered: what the other shard has
        # queued waits for the sink, too.
        self.deadline = None  # type: Optional[float]
        self.counts = dict.fromkeys(COUNTERS, 0)  # type: Dict[str, int]
        #: Set once the sink has a message of this feed, of this shard or of another after it.
        self.has_published = threading.Event()  # type: threading.Event
        #: The number of the last message that was put in, or None.
        self.last_put = None  # type: Optional[int]
        #: The last number before each reconnection, until one after it is to be published.
        self.gaps = deque()  # type: Deque[int]
        #: Queued: those that the sink has begun with are at its left end.
        self.queue = deque()  # type: Deque[Message]
        self.begun = 0
        self.has_begun = False
        self.size = 0
        #: A WebSocket that is Ready, for which the sink's thread is to call ``on_ready``, or None.
        self.ready = None  # type: Any


class Sink(object):
    """What takes the messages of feeds: a queue for each, and a thread that empties them all.

    A subclass has `publish`, and may have `last`, `begin` and `end`; all of these are called in the
    sink's thread.

    Parameters:

    - ``max_queue``: characters of text, or bytes of data, that may wait for each feed (1 MiB), with
      64 for each message; None for no limit.
    - ``overflow``: 'drop_oldest' drops the oldest messages of the queue for newer ones, 'latest'
      all others. Both are counted. (To make a feed wait isn't possible: all feeds of a shard share
      its thread, and a WebSocket that nobody reads is closed by its server sooner or later.)
    - ``max_jump``: by how much a feed's number may grow from one message to the next (10**9); None
      for no limit. One that grows further isn't published: it could block the feed's stream for
      all that follow, as numbers must grow.
    """

    def __init__(self, max_queue=MAX_QUEUE, overflow='drop_oldest', max_jump=10 ** 9):
        # type: (Optional[int], str, Optional[int]) -> None
        if overflow not in ('drop_oldest', 'latest'):
            raise ValueError(
                "overflow must be 'drop_oldest' or 'latest', not {!r}".format(overflow))
        self._max_queue = check_count('max_queue', max_queue, 1, none_for='no limit')
        self._overflow = overflow
        self._max_jump = check_count('max_jump', max_jump, 1, none_for='no limit')
        self._make_locals()
        self._waiting = deque()  # type: Deque[Outlet]      # those with something to do
        self._is_waiting = set()  # type: Any
        self._thread = None  # type: Optional[threading.Thread]
        self._is_closing = False
        #: Since when its thread has been at its present work, by the monotonic clock, or None.
        self.busy_since = None  # type: Optional[float]
        #: What the sink failed by last, in words; None while it works.
        self.failure = None  # type: Optional[text_type]
        # Why `publish` has just answered None.
        self._trouble = None  # type: Optional[text_type]

    def _make_locals(self):
        # type: () -> None
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        # The outlet that was opened last, by the name of its feed.
        self._newest = WeakValueDictionary()  # type: MutableMapping[text_type, Outlet]

    # Threads and locks stay in the process that has them.
    def __getstate__(self):
        # type: () -> Dict[str, Any]
        if self._thread is not None:
            raise TypeError('this sink is in use: pass one that no shard has started')
        state = self.__dict__.copy()
        for name in '_lock', '_changed', '_newest':
            del state[name]
        return state

    def __setstate__(self, state):
        # type: (Dict[str, Any]) -> None
        self.__dict__.update(state)
        self._make_locals()

    # -- for subclasses --

    def begin(self):
        # type: () -> None
        """Open what the sink needs; may raise, and is tried again then."""

    def publish(self, batch):
        # type: (List[Tuple[Outlet, Message]]) -> List[Optional[str]]
        """Publish messages, in order; return for each what to count, or None to try again.

        Names are those of `COUNTERS`. If it answers None, it calls `stuck_at`. If it raises, all is
        tried again. Messages for which a list that is shorter has no answer come again at once.
        """
        raise NotImplementedError

    def last(self, _outlet):
        # type: (Outlet) -> Optional[int]
        """Return the number of a feed's last message in the sink: 0 if it has none.

        None if that is unknown: then a feed begins without waiting for another holder.
        """
        return None

    def rewind(self, outlet, number, last):
        # type: (Outlet, int, int) -> None
        """Say that a sink has lost what came after ``last``, up to ``number``.

        If nothing came after that, it is accepted again, so that ``on_ready`` may ask for it.
        """
        with self._lock:
            if not outlet.queue and outlet.last_put == number:
                outlet.last_put = last or None

    def stuck_at(self, trouble):
        # type: (text_type) -> None
        """Say why messages are to be tried again; `publish` calls this."""
        self._trouble = trouble

    def end(self):
        # type: () -> None
        """Close what the sink has opened."""

    # -- for shards --

    def start(self):
        # type: () -> None
        """Start the sink's thread; once. Raises RuntimeError if it was started."""
        if self._thread is not None:
            raise RuntimeError('this sink belongs to another shard: make one for each')
        self._thread = threading.Thread(target=self._run, name='lomond sink')
        self._thread.daemon = True
        self._thread.start()

    def open(self, feed, overlap=0.0):
        # type: (Feed, float) -> Outlet
        """Return the outlet of a feed.

        ``overlap``: for at most how many seconds another shard may still publish messages that come
        before the first of this one, whose messages wait until then. It begins once the sink
        answers. After each reconnection, what comes after a gap waits in the same way.
        """
        with self._lock:
            older = []  # type: List[Outlet]
            newest = self._newest.get(feed.name)
            if newest is not None:
                newest.older = [outlet for outlet in newest.older if outlet.queue]
                older = newest.older + [newest]
            outlet = self._newest[feed.name] = Outlet(feed, overlap, older)
            return outlet

    def put(self, outlet, event):
        # type: (Outlet, Any) -> None
        """Queue a Text or Binary event; drop others if there is no space, and never wait.

        Only the shard's thread calls this.
        """
        data = event.text if event.name == 'text' else event.data
        has_numbers = outlet.feed.sequence is not None
        number = self._number(outlet, event) if has_numbers else None
        if number is not None or not has_numbers:
            size = len(data) + _OVERHEAD
            with self._lock:
                outlet.last_put = number
                self._make_space(outlet, size)
                outlet.queue.append(Message(number, data, event.received_time))
                outlet.size += size
                self._add_waiting(outlet)
        outlet.counts['received'] += 1      # last: now it is queued, or counted otherwise

    def _number(self, outlet, event):
        # type: (Outlet, Any) -> Optional[int]
        """Return the feed's number of a message, or None, counted, for one that is left out."""
        counts = outlet.counts
        sequence = outlet.feed.sequence  # type: Any
        try:
            returned = sequence(event)
            if returned is None:
                counts['skipped'] += 1
                return None
            number = whole_number(returned)
            if number is None:
                raise TypeError('it returned {!r}, which is no integer'.format(returned))
        # Any message may arrive, and any function fail on it, or end in sys.exit().
        except (Exception, SystemExit):
            counts['unnumbered'] += 1
            if counts['unnumbered'] == 1:
                log.exception('sequence of feed %r failed: this is logged once', outlet.feed.name)
            return None
        last = outlet.last_put
        if last is not None and number <= last:
            counts['disordered'] += 1
            return None
        if not self._is_near(last, number):
            counts['quarantined'] += 1
            self._warn_of_jump(outlet, last, number)
            return None
        return number

    def _is_near(self, last, number):
        # type: (Optional[int], int) -> bool
        """Return whether a number may come after the last one."""
        return 0 < number < _NUMBERS and (
            last is None or self._max_jump is None or number - last <= self._max_jump)

    def _warn_of_jump(self, outlet, last, number):
        # type: (Outlet, Optional[int], int) -> None
        if outlet.counts['quarantined'] > 1:
            return
        if not 0 < number < _NUMBERS:
            log.warning('feed %r: number %s is left out: numbers are from 1 to 2**64 - 1; this is '
                        'logged once', outlet.feed.name, number)
        else:
            log.warning(
                'feed %r: number %s after %s is left out, and so is each that is more than '
                'max_jump (%s) after %s: this is logged once', outlet.feed.name, number, last,
                self._max_jump, last)

    def _make_space(self, outlet, size):
        # type: (Outlet, int) -> None
        if self._max_queue is None or outlet.size + size <= self._max_queue:
            return
        limit = 0 if self._overflow == 'latest' else self._max_queue - size
        queue = outlet.queue
        while len(queue) > outlet.begun and outlet.size > limit:
            outlet.size -= len(queue[outlet.begun].data) + _OVERHEAD
            del queue[outlet.begun]
            outlet.counts['dropped'] += 1

    def resume(self, outlet, websocket):
        # type: (Outlet, Any) -> None
        """Have the feed's ``on_ready`` called in the sink's thread, with the last number."""
        # Another shard may still publish what this one has missed.
        if outlet.overlap and outlet.last_put is not None:
            with self._lock:
                if not outlet.gaps or outlet.gaps[-1] != outlet.last_put:
                    outlet.gaps.append(outlet.last_put)
        if outlet.feed.on_ready is not None:
            with self._lock:
                outlet.ready = websocket    # one call is enough, however often it reconnected
                self._add_waiting(outlet)

    def _add_waiting(self, outlet):
        # type: (Outlet) -> None
        if outlet not in self._is_waiting:
            self._is_waiting.add(outlet)
            self._waiting.append(outlet)
            if len(self._waiting) == 1:
                self._changed.notify_all()

    def flush(self, outlets, timeout):
        # type: (List[Outlet], float) -> int
        """Wait at most ``timeout`` seconds until these queues are empty; return what is left."""
        # In a function that the sink calls there is nothing to wait for.
        deadline = monotonic() + (0 if self._is_current() else timeout)
        with self._lock:
            while not self._is_closing and any(outlet.queue for outlet in outlets):
                left = deadline - monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            return sum(len(outlet.queue) for outlet in outlets)

    def close(self, timeout=None):
        # type: (Optional[float]) -> None
        """End the sink's thread, and wait for that; what is in the queues is lost.

        It waits for at most ``timeout`` seconds: the thread may be in a call that blocks.
        """
        with self._lock:
            self._is_closing = True
            self._changed.notify_all()
        if self._thread is not None and not self._is_current():
            self._thread.join(timeout)

    def _is_current(self):
        # type: () -> bool
        return self._thread is threading.current_thread()

    # -- the thread --

    def _run(self):
        # type: () -> None
        has_begun, pause = False, _PAUSES[0]
        while True:
            with self._lock:
                while not self._waiting and not self._is_closing:
                    self._changed.wait()
                if self._is_closing:
                    break
            try:
                self.busy_since = monotonic()
                if not has_begun:
                    self.begin()
                    has_begun = True
                is_stuck = self.work()
                trouble, self._trouble = self._trouble, None
            # A sink's network, any fault of its client, and sys.exit() in a function of the user's.
            except BaseException as error:
                is_stuck, trouble = True, _words(error)
            if trouble is not None:
                self._resume_without()
            self.busy_since = None
            self._report(trouble)
            if is_stuck:
                self._sleep(pause)
            pause = min(pause * 2, _PAUSES[1]) if trouble else _PAUSES[0]
        if has_begun:
            self.end()

    def _report(self, trouble):
        # type: (Optional[text_type]) -> None
        if trouble is not None and self.failure is None:
            log.warning('the sink failed, and is tried again: %s', trouble)
        elif trouble is None and self.failure is not None:
            log.warning('the sink works again')
        self.failure = trouble

    def _sleep(self, seconds):
        # type: (float) -> None
        with self._lock:
            if not self._is_closing:
                self._changed.wait(seconds)

    def work(self):
        # type: () -> bool
        """Publish what waits, once; the sink's thread calls this.

        Returns True if some of it can't go on yet; raises what the subclass raises.
        """
        with self._lock:
            outlets = list(self._waiting)   # they keep their places until their turn comes
        batch, is_stuck, turns = [], False, 0  # type: List[Tuple[Outlet, Message]], bool, int
        try:
            for outlet in outlets:
                if len(batch) >= _BATCH:
                    break
                turns += 1
                try:
                    self._call_on_ready(outlet)
                    if not self._take(outlet, batch):
                        is_stuck = True
                # What `last` raises is about this feed, or about all: those before it go on.
                except (Exception, SystemExit) as error:
                    self.stuck_at(_words(error))
                    is_stuck = True
                    break
            answers = self.publish(batch) if batch else []
            if 0 < len(answers) < len(batch):       # the others keep their places
                turns = outlets.index(batch[len(answers) - 1][0]) + 1
            self._count(batch, answers)
            return is_stuck or None in answers
        finally:
            with self._lock:
                for outlet in outlets:
                    outlet.begun = 0
                for outlet in outlets[:turns]:
                    self._waiting.popleft()
                    if outlet.queue or outlet.ready is not None:
                        self._waiting.append(outlet)
                    else:
                        self._is_waiting.discard(outlet)
                self._changed.notify_all()      # for `flush`

    def _call_on_ready(self, outlet):
        # type: (Outlet) -> None
        """Call ``on_ready``; while the sink can't say what it has, keep that for later."""
        if outlet.ready is not None:
            self._resume(outlet, self.last(outlet) if outlet.feed.sequence is not None else None)

    def _resume_without(self):
        # type: () -> None
        """Call ``on_ready`` of those feeds that need no answer of the sink, which fails."""
        with self._lock:
            outlets = [outlet for outlet in self._waiting if outlet.ready is not None and (
                outlet.feed.sequence is None or outlet.last_put is not None)]
        for outlet in outlets:
            self._resume(outlet, None)

    def _resume(self, outlet, last):
        # type: (Outlet, Optional[int]) -> None
        on_ready = outlet.feed.on_ready  # type: Any
        with self._lock:
            websocket, outlet.ready = outlet.ready, None
            # What waits in the queue, or was dropped from it, would be refused by `put`.
            last = max(last or 0, outlet.last_put or 0) or None
        try:
            on_ready(websocket, last)
        except (Exception, SystemExit):     # of a function of the user's
            log.exception('on_ready of feed %r failed', outlet.feed.name)

    def _take(self, outlet, batch):
        # type: (Outlet, List[Tuple[Outlet, Message]]) -> bool
        """Add an outlet's next messages to a batch; return False if it can't begin yet."""
        if outlet.gaps and outlet.queue:
            self._look_for_gap(outlet)
        has_left_one_out = bool(outlet.queue) and not outlet.has_begun and self._begin_with(outlet)
        if not outlet.has_begun:
            return has_left_one_out or not outlet.queue
        with self._lock:        # without it `put` may drop some of them meanwhile
            count = min(len(outlet.queue), _SHARE, _BATCH - len(batch))
            if outlet.gaps:
                count = sum(_number(message) <= outlet.gaps[0]
                            for message in islice(outlet.queue, count))
            outlet.begun = count
            batch.extend((outlet, message) for message in islice(outlet.queue, outlet.begun))
        return True

    def _look_for_gap(self, outlet):
        # type: (Outlet) -> None
        """Have a message wait as the very first one, if others are missing since a reconnection."""
        with self._lock:
            number = _number(outlet.queue[0])
            while outlet.gaps and number > outlet.gaps[0]:
                if number > outlet.gaps.popleft() + 1:
                    outlet.has_begun, outlet.deadline = False, None

    def _begin_with(self, outlet):
        # type: (Outlet) -> bool
        """Begin with an outlet, if its first message may go out: no other shard is behind it.

        Returns True if it left that message out.
        """
        with self._lock:
            if any(older.queue for older in outlet.older):
                return False
            outlet.older = []
            message = outlet.queue[0]
        number = message.number
        if number is None:
            outlet.has_begun = True
            return False
        last = self.last(outlet)
        if outlet.deadline is None:
            outlet.deadline = monotonic() + outlet.overlap
        if not self._is_near(last or None, number):
            with self._lock:
                if outlet.queue[0] is message:      # else it was dropped meanwhile
                    self._take_first(outlet, 'quarantined')
                    outlet.last_put = last
            self._warn_of_jump(outlet, last, number)
            return True
        outlet.has_begun = last is None or last >= number - 1 or monotonic() >= outlet.deadline
        return False

    def _count(self, batch, answers):
        # type: (List[Tuple[Outlet, Message]], List[Optional[str]]) -> None
        """Take out of the queues what was published, or never will be."""
        stopped = set()
        with self._lock:
            for (outlet, _message), answer in zip(batch, answers):
                if answer is None or outlet in stopped:
                    stopped.add(outlet)     # what comes after it waits, too
                    continue
                self._take_first(outlet, answer)
                outlet.begun -= 1
                if answer in ('published', 'duplicates'):
                    outlet.has_published.set()

    @staticmethod
    def _take_first(outlet, counter):
        # type: (Outlet, str) -> None
        """Take the first message out of a queue, and count it."""
        outlet.counts[counter] += 1     # first: a shard forgets a feed whose queue is empty
        message = outlet.queue.popleft()
        outlet.size -= len(message.data) + _OVERHEAD
