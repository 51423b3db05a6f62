"""Starts a fleet, and changes it while it runs: what a user's program calls."""

from __future__ import absolute_import, division, print_function

import logging
import threading
import uuid

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lomond._checks import check_count, check_seconds
from lomond._compat import TYPE_CHECKING, monotonic
from lomond.pool import Pool
from lomond.shards.feed import Feed
from lomond.shards.ray.host import ShardHost
from lomond.shards.ray.supervisor import NAMESPACE, Supervisor
from lomond.shards.shard import check_overlap
from lomond.shards.sink import Sink
from lomond.shards.sinks import CallSink, JSONLinesSink

if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, Iterator, List, Optional, Set  # noqa: F401

log = logging.getLogger('lomond')  # type: logging.Logger

# The addresses of clusters that this program has joined, as they were given.
_joined = set()  # type: Set[Optional[str]]

# Seconds in which all actors begin.
_START = 120.0

# Seconds for an answer of the supervisor.
_ANSWER = 30.0

# Seconds for the answers of shards, when they are asked how their feeds are.
_REPORT = 5.0

# Seconds between two questions, while a call waits.
_TURN = 0.1


class Fleet(object):
    """What `run` returns: shards that run. Leaving a ``with`` block ends them, as `close` does."""

    def __init__(self, name, supervisor, hosts, make_host, feeds, replicas, sink):
        # type: (str, Any, Dict[str, Any], Any, List[Feed], int, Sink) -> None
        self.name = name
        self._supervisor = supervisor
        self._hosts = hosts
        self._make_host = make_host
        self._next = len(hosts)
        self._replicas = replicas
        self._sink = sink
        # For a supervisor that begins again at the same time as those shards that keep the list.
        self._feeds = {feed.name: feed for feed in feeds}  # type: Dict[str, Feed]
        self._version = 0       # of that list, at the supervisor
        self._lock = threading.Lock()
        self._is_closed = False

    def __enter__(self):
        # type: () -> Fleet
        return self

    def __exit__(self, *_exc_info):
        # type: (*Any) -> None
        self.close()

    def _ask(self, call):
        # type: (Any) -> Any
        try:
            return ray.get(call, timeout=_ANSWER)
        except ray.exceptions.RayTaskError as error:
            raise RuntimeError('the supervisor of the fleet failed: {!r}'.format(error.cause))
        except ray.exceptions.RayError as error:
            raise RuntimeError('the fleet was closed' if self._is_closed else (
                'the supervisor of the fleet does not answer: {}'.format(
                    str(error).strip().split('\n')[0] or type(error).__name__)))

    def status(self):
        # type: () -> Dict[str, Any]
        """Return how all is.

        A dict: ``feeds``, how many there are, ``live``, how many of them are live at as many shards
        as they should be, ``moving``, how many are being handed over, ``planned``, False while a
        change isn't yet followed, ``failed``, why feeds can't be held, by name; ``counts`` of
        ``deaths``, ``freezes``, ``moves`` and ``forced_moves``; ``shards``, a list of what
        `Shard.health` returns for each, with ``up``, ``draining``, ``pid``, ``node``, ``held``,
        ``live``, ``starts`` and ``silent``, seconds since its last sign of life.
        """
        version = self._version     # first: another thread may change the list
        status = self._ask(self._supervisor.status.remote())  # type: Dict[str, Any]
        # It has begun again, and those that kept the list have done so, or don't answer.
        if status['version'] < version:
            with self._lock:
                self._send_all()
            status = self._ask(self._supervisor.status.remote())
        return status

    def _send_all(self):
        # type: () -> None
        """Send the supervisor the whole list of feeds. The lock is held."""
        self._version = self._ask(self._supervisor.set_feeds.remote(list(self._feeds.values())))

    def _send(self, added, removed):
        # type: (List[Feed], List[str]) -> None
        """Send the supervisor a change of the list, or all if it has another one."""
        version = self._ask(self._supervisor.change_feeds.remote(self._version, added, removed))
        if version is None:
            self._send_all()
        else:
            self._version = version

    def holders(self):
        # type: () -> Dict[str, List[str]]
        """Return the names of the shards that have each feed, by its name."""
        return self._ask(self._supervisor.holders.remote())     # type: ignore[no-any-return]

    def report(self):
        # type: () -> Dict[str, Dict[str, Any]]
        """Return how each feed is: what `Shard.report` says of it, by its name, with ``shard``.

        Of a feed that several shards have, it is one that isn't live. Shards that don't answer
        within 5 seconds are left out.
        """
        calls = {host.report.remote(): name for name, host in self._hosts.items()}
        answered, _late = ray.wait(list(calls), num_returns=len(calls), timeout=_REPORT)
        found = {}  # type: Dict[str, Dict[str, Any]]
        for call in answered:
            try:
                report = ray.get(call)
            except ray.exceptions.RayError:     # it has just died
                continue
            for name, line in report.items():
                if name not in found or not line['live']:
                    found[name] = dict(line, shard=calls[call])
        return found

    def waiting(self):
        # type: () -> Dict[str, str]
        """Return why feeds aren't live, by their names; at most 10 of them."""
        status = self.status()
        reasons = dict(status['failed'])
        for name, line in sorted(self.report().items()):
            if not line['live']:
                reasons.setdefault(name, line['reason'])
        for name, holders in self.holders().items():
            if len(holders) < min(status['replicas'], len(status['shards'])):
                reasons.setdefault(name, '{} shards have it'.format(len(holders) or 'no'))
        return {name: reasons[name] for name in sorted(reasons)[:10]}

    def wait_live(self, timeout=60.0):
        # type: (float) -> None
        """Wait until all feeds are live, and none is being handed over; else raise RuntimeError."""
        for status in self._watch(timeout):
            if status['live'] == status['feeds'] and status['planned'] and not status['moving']:
                return
        words = u'{live} of {feeds} feeds are live, {moving} are being handed over'.format(**status)
        raise RuntimeError(u'; '.join(
            [words] + [u'{}: {}'.format(*item) for item in self.waiting().items()]))

    def _watch(self, timeout):
        # type: (float) -> Iterator[Dict[str, Any]]
        """Yield the status again and again, for ``timeout`` seconds, at least once."""
        deadline = monotonic() + timeout
        waiting = threading.Event()
        yield self.status()
        while monotonic() < deadline:
            waiting.wait(_TURN)
            yield self.status()

    def add(self, *feeds):
        # type: (*Feed) -> None
        """Have further feeds; one whose name is there replaces that one."""
        added = _check_feeds(feeds, self._replicas)
        with self._lock:
            self._feeds.update((feed.name, feed) for feed in added)
            self._send(added, [])

    def remove(self, *names):
        # type: (*str) -> None
        """Have these feeds no more."""
        with self._lock:
            for name in names:
                self._feeds.pop(name, None)
            self._send([], list(names))

    def set_feeds(self, feeds):
        # type: (Iterable[Feed]) -> None
        """Have these feeds, and no others."""
        listed = _check_feeds(feeds, self._replicas)
        with self._lock:
            self._feeds = {feed.name: feed for feed in listed}
            self._send_all()

    @property
    def shards(self):
        # type: () -> List[str]
        """The names of the shards, in a new list."""
        return sorted(self._hosts)

    def grow(self, count=1, timeout=60.0):
        # type: (int, float) -> List[str]
        """Start further shards, and return their names; then they take their part of the feeds.

        Raises RuntimeError if they haven't begun after ``timeout`` seconds; they may do so later.
        Raises ValueError for a sink that is for one shard only.
        """
        check_count('count', count, 1)
        _check_sink(self._sink, len(self._hosts) + count)
        names = ['shard-{}'.format(self._next + index) for index in range(count)]
        self._next += count
        self._hosts.update((name, self._make_host(name)) for name in names)
        self._ask(self._supervisor.join.remote())
        for status in self._watch(timeout):
            if set(names) <= {shard['name'] for shard in status['shards'] if shard['up']}:
                return names
        raise RuntimeError('not all of {} have begun after {} s'.format(', '.join(names), timeout))

    def drain(self, name, timeout=60.0):
        # type: (str, float) -> None
        """Have other shards take all feeds of one, and end it; no message is missed.

        Raises ValueError if there is no such shard, or no other; RuntimeError if, after ``timeout``
        seconds, it still has feeds, or messages for its sink: then it goes on draining.
        """
        if name not in self._hosts or len(self._hosts) == 1:
            raise ValueError('there is no shard {!r} that could be drained: {}'.format(
                name, ', '.join(self.shards)))
        self._ask(self._supervisor.drain.remote(name))
        for status in self._watch(timeout):
            rest = _rest_of(name, status)
            if not rest:
                break
            # Again: a supervisor that Ray has started again was never asked.
            self._ask(self._supervisor.drain.remote(name))
        else:
            raise RuntimeError('{} still {} after {} s'.format(name, rest, timeout))
        self._ask(self._supervisor.leave.remote(name))
        left = _end([self._hosts.pop(name)], 10.0)
        if left:        # of connections that were about to be closed
            log.warning('%s was ended with %s messages that the sink had not taken', name, left)

    def close(self, timeout=10.0):
        # type: (float) -> None
        """End the supervisor and all shards: connections are closed, and the sinks flushed."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self._ask(self._supervisor.close.remote())
        except RuntimeError:
            pass
        ray.kill(self._supervisor, no_restart=True)
        actors, self._hosts = list(self._hosts.values()), {}
        _end(actors, timeout)


def _rest_of(name, status):
    # type: (str, Dict[str, Any]) -> str
    """Return what keeps a shard that drains from its end, or ''."""
    for shard in status['shards']:
        if shard['name'] != name:
            continue
        if not shard['up']:
            return 'begins'
        # What it was sent to let go of, and what it says that it has.
        if shard['held'] or shard['feeds']:
            return 'has feeds'
        if shard['queued']:
            return 'has {} messages for its sink'.format(shard['queued'])
    return ''


def _end(actors, timeout):
    # type: (List[Any], float) -> int
    """Close shards, all at a time, and end their actors; some may have died, or be stuck.

    Returns how many messages their sinks didn't take.
    """
    closing = [actor.close.remote(timeout) for actor in actors]
    closed = ray.wait(
        closing, num_returns=len(closing), timeout=timeout + 5)[0] if closing else []
    left = 0
    for call in closed:
        try:
            left += ray.get(call)
        except ray.exceptions.RayError:
            pass        # it has died
    for actor in actors:
        ray.kill(actor, no_restart=True)
    return left


def _check_feeds(feeds, replicas):
    # type: (Iterable[Any], int) -> List[Feed]
    listed = list(feeds)
    names = set()
    for feed in listed:
        if not isinstance(feed, Feed):
            raise TypeError('a fleet takes feeds, not {!r}: Feed(name, url)'.format(feed))
        if feed.name in names:
            raise ValueError('the names of feeds must differ: {} comes twice'.format(feed.name))
        if replicas > 1 and feed.sequence is None:
            raise ValueError('replicas need feeds with a sequence, which {} has not: without '
                             'numbers the sink accepts each message twice'.format(feed.name))
        names.add(feed.name)
    return listed


def _check_sink(sink, shards):
    # type: (Sink, int) -> None
    """Raise ValueError for a sink of which several shards can't have a copy each."""
    if shards > 1 and isinstance(sink, JSONLinesSink):
        raise ValueError(
            'a JSONLinesSink is for one shard, not {}: each would cut off what another one writes '
            'to the file. Pass a function that writes a file for each process, or a RedisSink'
            .format(shards))


def run(feeds, shards, sink, replicas=1, ttl=3.0, address=None, name=u'lomond', overlap=0.0,
        options=None):
    # type: (Iterable[Feed], int, Any, int, float, Optional[str], str, float, Optional[Dict[str, Any]]) -> Fleet
    """Start shards as Ray actors, and spread feeds over them; return a `Fleet`.

    Parameters:

    - ``feeds``: `Feed` objects with different names. Functions in them are sent to other processes.
    - ``shards``: how many.
    - ``sink``: a `lomond.shards.Sink` that isn't in use, of which each shard gets a copy, or a
      function as for `Shard`. A `JSONLinesSink` is for one shard only.
    - ``replicas``: how many shards have each feed (1). With 2 nothing is missed when a shard dies;
      the feeds have to number their messages (``sequence``).
    - ``ttl``: seconds without a sign of life after which a shard counts as dead (3).
    - ``address``: of a Ray cluster; None to start Ray on this machine, unless `ray.init` was
      called.
    - ``name``: of the fleet, with which the names of its actors begin.
    - ``overlap``: at most how many seconds each feed waits, before its first message is published
      here, for another fleet that still publishes what comes before (0). Set it for a program that
      takes the place of one that still runs.
    - ``options``: of `lomond.pool.Pool`, for each shard.

    The actors end with the program that calls this. Raises TypeError and ValueError for wrong
    arguments, and RuntimeError if they don't start.
    """
    check_count('shards', shards, 1)
    if check_count('replicas', replicas, 1) > shards:
        raise ValueError('{} replicas need as many shards, not {}'.format(replicas, shards))
    listed = _check_feeds(feeds, replicas)
    if not check_seconds('ttl', ttl):
        raise ValueError('ttl must be a number of seconds, more than 0, not {!r}'.format(ttl))
    check_overlap(overlap)
    # Each shard makes both; a mistake is to show here.
    sink = sink if isinstance(sink, Sink) else CallSink(sink)
    _check_sink(sink, shards)
    Pool(**dict(options or {})).close()
    _join(address)

    # Names of a program that has crashed may still be taken.
    prefix = '{}-{}-'.format(name, uuid.uuid4().hex[:8])

    def make_host(host_name):
        # type: (str) -> Any
        return ray.remote(ShardHost).options(
            name=prefix + host_name, namespace=NAMESPACE, num_cpus=0, max_restarts=-1,
            scheduling_strategy='SPREAD',
        ).remote(sink, host_name, dict(options or {}))

    hosts = {'shard-{}'.format(index): make_host('shard-{}'.format(index))
             for index in range(shards)}
    # On the node of the caller, as all ends with it anyway.
    supervisor = ray.remote(Supervisor).options(
        num_cpus=0, max_restarts=-1, max_task_retries=-1, max_concurrency=4,
        name='supervisor-of-{}'.format(prefix), namespace=NAMESPACE,
        scheduling_strategy=NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=True),
    ).remote(prefix, replicas, ttl, overlap)
    fleet = Fleet(name, supervisor, hosts, make_host, listed, replicas, sink)
    try:
        fleet._version = ray.get(supervisor.set_feeds.remote(listed), timeout=_START)
    except BaseException as error:      # SIGTERM, too, for which Ray calls sys.exit()
        fleet.close(timeout=0)
        if isinstance(error, ray.exceptions.RayError):
            raise RuntimeError('the fleet did not start: {}'.format(error))
        raise
    return fleet


def _join(address):
    # type: (Optional[str]) -> None
    """Start Ray here, or join a cluster, unless this program has done so."""
    if ray.is_initialized():
        present = ray.get_runtime_context().gcs_address
        if address not in (None, 'auto', present) and address not in _joined:
            raise ValueError('Ray runs already, at {}, so not at {}'.format(present, address))
        return
    try:
        ray.init(address=address, include_dashboard=False if address is None else None,
                 namespace=NAMESPACE)
    except ConnectionError as error:
        raise RuntimeError('there is no Ray cluster at {}: {}'.format(address, error))
    _joined.add(address)
