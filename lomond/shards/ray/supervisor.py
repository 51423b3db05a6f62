"""The actor that supervises a fleet: which shard has which feeds, and whether each is alive.

Ray starts dead actors again, never this: it only kills those that are frozen or do nothing.
"""

from __future__ import absolute_import, division, print_function

import logging
import os
import signal
import threading
import uuid

import ray

from lomond._compat import TYPE_CHECKING, monotonic
from lomond.shards.lifeline import Board
from lomond.shards.plan import spread

if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Set, Tuple  # noqa: F401

    from lomond.shards.feed import Feed  # noqa: F401

log = logging.getLogger('lomond')  # type: logging.Logger

#: Where the names of all actors are.
NAMESPACE = 'lomond'

# Signs of life of a shard in one ttl.
_BEATS = 10

# Seconds between two looks, if nothing happens.
_TURN = 0.1

# Seconds beyond a ttl after which those shards that have begun take all feeds.
_ALL_BEGIN = 10.0

# How many shards keep the list of feeds, for a supervisor that begins again.
_KEEPERS = 3

# Seconds after which a hand-over ends though the new holder isn't live: it can't be.
_PATIENCE = 30.0


class _Host(object):
    """A shard's actor, as the supervisor sees it."""

    def __init__(self, name, actor):
        # type: (str, Any) -> None
        self.name = name
        self.actor = actor
        self.line = None  # type: Any       # its lifeline, while it is up
        self.seen_at = 0.0  # type: float
        self.call = None  # type: Any       # the pending call of `report_to`
        self.call_at = 0.0  # type: float
        self.is_draining = False
        self.hello = {}  # type: Dict[str, Any]
        self.said = {}  # type: Dict[str, Any]
        #: The names of the feeds that it has, or has been sent.
        self.held = set()  # type: Set[str]
        self.live = set()  # type: Set[str]
        #: Names of feeds that became others while it wasn't up, and that it is to let go of.
        self.outdated = set()  # type: Set[str]
        # Its processes that others have replaced: after a network partition one may speak again.
        self._past = set()  # type: Set[str]
        self.starts = 0  # type: int
        self.kept = 0       # the version of the list of feeds that it keeps
        # Since when it has another number of feeds than `held`.
        self.differs_since = None  # type: Optional[float]

    @property
    def is_up(self):
        # type: () -> bool
        """True while it sends signs of life."""
        return self.line is not None

    def greet(self, line, hello):
        # type: (Any, Dict[str, Any]) -> bool
        """Take what it says first on a line; return False if it isn't this shard any more."""
        incarnation = hello['incarnation']
        if incarnation in self._past:
            return False
        if self.hello.get('incarnation') != incarnation:
            self._past.add(self.hello.get('incarnation', ''))
            self.starts += 1
        self.line, self.hello, self.held = line, hello, set(hello['held'])
        outdated, self.outdated = self.outdated, set()
        self.let_go(self.held & outdated)
        return True

    def let_go(self, names):
        # type: (Set[str]) -> None
        """Have it let go of feeds that it has."""
        if names:
            self.actor.let_go.remote(sorted(names))
            self.held -= names
            self.live -= names

    @property
    def is_leaving(self):
        # type: () -> bool
        """True if others are to take its feeds."""
        return self.is_draining or self.is_up and bool(self.said.get('leaving'))


class Supervisor(object):
    """Spreads feeds over shards, and watches these. It runs as a Ray actor.

    One that Ray has started again finds the shards by their names, and asks them what they have,
    and for the list of feeds.
    """

    def __init__(self, prefix, replicas, ttl, overlap):
        # type: (str, int, float, float) -> None
        self._prefix = prefix
        self.hosts = {}  # type: Dict[str, _Host]
        self._replicas = replicas
        self._ttl = ttl
        self._overlap = overlap
        # The names of feeds that have been live here: what comes is this fleet's to publish.
        self._begun = set()  # type: Set[str]
        self.turned = threading.Condition(threading.RLock())  # type: threading.Condition
        self._find_hosts()
        # 0 until the list of feeds is known: from the fleet, or from a shard that keeps it.
        self._version = 0
        self._feeds = {}  # type: Dict[str, Feed]
        self._asked = []  # type: List[Any]     # calls of `known`
        self._asked_at = monotonic()
        self._ask_known(list(self.hosts.values()))
        if self._asked:
            self._learn(ray.wait(
                self._asked, num_returns=len(self._asked), timeout=self._ttl)[0])
        self._list = None  # type: Any      # the feeds, where Ray has them
        # What each shard is to have: shards that are up, and don't drain.
        self._plan = {}  # type: Dict[str, Set[str]]
        self._is_planned = False
        # Since when a feed has been with two shards, by name.
        self._moving = {}  # type: Dict[str, float]
        self._counts = {'deaths': 0, 'freezes': 0, 'moves': 0, 'forced_moves': 0}
        self._is_closed = False
        self._node = ray.get_runtime_context().get_node_id()
        self._began = self._turned_at = monotonic()
        self.token = uuid.uuid4().hex  # type: str
        self.board = Board(
            ray.util.get_node_ip_address(), self.token, self._on_message, self._lose)  # type: Board
        thread = threading.Thread(target=self._run, name='lomond supervisor')
        thread.daemon = True
        thread.start()

    def _find_hosts(self):
        # type: () -> None
        """Know the shards that there are."""
        for found in ray.util.list_named_actors(all_namespaces=True):
            if found['namespace'] == NAMESPACE and found['name'].startswith(self._prefix):
                name = found['name'][len(self._prefix):]
                if name not in self.hosts:
                    self.hosts[name] = _Host(name, ray.get_actor(found['name'], NAMESPACE))

    def _ask_known(self, hosts):
        # type: (List[_Host]) -> None
        """Ask shards for the list of feeds."""
        self._asked_at = monotonic()
        self._asked = [host.actor.known.remote() for host in hosts]

    def _learn(self, answered):
        # type: (List[Any]) -> None
        """Take the newest of the lists that shards keep."""
        self._asked = []
        for call in answered:
            try:
                version, feeds = ray.get(call)
            except ray.exceptions.RayError:
                continue        # it has just died
            if version > self._version:
                self._version, self._feeds = version, {feed.name: feed for feed in feeds}

    def _ask_again(self, now):
        # type: (float) -> None
        """While no list is known, ask all shards that are up, once in a ttl."""
        is_over = now - self._asked_at > self._ttl
        done = ray.wait(
            self._asked, num_returns=len(self._asked), timeout=0)[0] if self._asked else []
        if done and (is_over or len(done) == len(self._asked)):
            self._learn(done)
        elif is_over:
            self._ask_known([host for host in self.hosts.values() if host.is_up])

    # -- what the fleet asks --

    def set_feeds(self, feeds):
        # type: (List[Feed]) -> int
        """Have these feeds, and no others; return the version of the list."""
        with self.turned:
            before, self._feeds = self._feeds, {feed.name: feed for feed in feeds}
            self._version += 1
            self._list = None
            self._let_go_of([name for name, feed in self._feeds.items()
                             if name in before and not _is_same(feed, before[name])])
            self._changed()
            self._keep()
            return self._version

    def _let_go_of(self, names):
        # type: (List[str]) -> None
        """Have shards let go of feeds that are others now; the plan has them taken again."""
        for host in self.hosts.values():
            if host.is_up:
                host.let_go(host.held.intersection(names))
            else:
                host.outdated.update(names)

    def change_feeds(self, version, added, removed):
        # type: (int, List[Feed], List[str]) -> Optional[int]
        """Have further feeds, and some no more; return the new version of the list.

        None, and nothing is changed, if it isn't ``version`` that is to be changed: after this has
        begun again, the fleet knows better.
        """
        with self.turned:
            if version != self._version:
                return None
            feeds = dict(self._feeds)
            for name in removed:
                feeds.pop(name, None)
            feeds.update((feed.name, feed) for feed in added)
            return self.set_feeds(list(feeds.values()))

    def join(self):
        # type: () -> None
        """Take further shards, that have just been made."""
        with self.turned:
            self._find_hosts()
            self.turned.notify_all()

    def drain(self, name):
        # type: (str) -> None
        """Have others take the feeds of a shard."""
        with self.turned:
            host = self.hosts[name]
            if not host.is_draining:
                host.is_draining = True
                self._changed()

    def leave(self, name):
        # type: (str) -> None
        """Forget a shard, which the fleet is about to end."""
        with self.turned:
            self.hosts.pop(name, None)
            self._changed()

    def status(self):
        # type: () -> Dict[str, Any]
        """Return how all is, as `Fleet.status` describes it."""
        now = monotonic()
        with self.turned:
            ready = {}  # type: Dict[str, int]
            failed = {}  # type: Dict[str, str]
            shards = []
            for host in sorted(self.hosts.values(), key=lambda host: host.name):
                for name in host.live:
                    ready[name] = ready.get(name, 0) + 1
                failed.update(host.said.get('failed', {}))
                shards.append(dict(
                    host.said.get('health', {}), name=host.name, up=host.is_up,
                    draining=host.is_leaving, pid=host.hello.get('pid'),
                    node=host.hello.get('node'), held=len(host.held), live=len(host.live),
                    starts=host.starts,
                    silent=round(now - host.seen_at, 3) if host.is_up else None))
            wanted = min(self._replicas, max(1, len(self.hosts)))
            return {
                'version': self._version, 'feeds': len(self._feeds),
                'replicas': self._replicas,
                'live': sum(ready.get(name, 0) >= wanted for name in self._feeds),
                'moving': len(self._moving), 'planned': self._is_planned, 'failed': failed,
                'shards': shards,
                'pid': os.getpid(), 'counts': dict(self._counts)}

    def holders(self):
        # type: () -> Dict[str, List[str]]
        """Return the names of the shards that have each feed."""
        with self.turned:
            return {name: sorted(host.name for host in self.hosts.values() if name in host.held)
                    for name in self._feeds}

    def close(self):
        # type: () -> None
        """Supervise no more."""
        with self.turned:
            self._is_closed = True
            self.turned.notify_all()
        self.board.close()

    # -- signs of life; in the board's threads --

    def _on_message(self, line, message):
        # type: (Any, Dict[str, Any]) -> None
        with self.turned:
            if 'held' in message:
                host = self.hosts.get(message['name'])
                if host is None or not host.greet(line, message):
                    return
                self._changed()
            else:
                host = self._find(line)
                if host is None:
                    return
            host.seen_at = monotonic()
            self._compare(host, message['health']['feeds'])
            if 'live' in message:
                host.live = host.held.intersection(message['live'])
                self._begun |= host.live
                self.turned.notify_all()
            if message['leaving'] and not host.is_leaving:
                self._changed()
            host.said = message

    def _compare(self, host, count):
        # type: (_Host, int) -> None
        """Ask a shard for all its feeds if a call to it seems to be lost."""
        if count + len(host.said.get('failed', ())) == len(host.held):
            host.differs_since = None
        elif host.differs_since is None:
            host.differs_since = host.seen_at
        elif host.seen_at - host.differs_since > self._ttl:
            host.differs_since = None
            host.actor.name_all.remote()

    def _lose(self, line):
        # type: (Any) -> None
        with self.turned:
            host = self._find(line)
            if host is not None and not self._is_closed:
                self._counts['deaths'] += bool(host.held or not host.is_leaving)
                self.drop(host)

    def _find(self, line):
        # type: (Any) -> Optional[_Host]
        for host in self.hosts.values():
            if host.line is line:
                return host
        return None

    def drop(self, host):
        # type: (_Host) -> None
        """Count on a shard no more, until it says hello."""
        host.line, host.held, host.live = None, set(), set()
        host.call, host.kept = None, 0
        self._changed()

    # -- the thread --

    def _changed(self):
        # type: () -> None
        """Have a new plan made."""
        self._is_planned = False
        self.turned.notify_all()

    def _run(self):
        # type: () -> None
        while True:
            with self.turned:
                if self._is_closed:
                    return
                try:
                    self._turn()
                except Exception:       # the supervisor goes on, whatever a call of Ray's raises
                    log.exception('the supervisor could not do its turn')
                self.turned.wait(_TURN)

    def _turn(self):
        # type: () -> None
        now = monotonic()
        if now - self._turned_at > self._ttl / 2:
            # It was this process that stood still: the signs of life are still unread.
            for host in self.hosts.values():
                host.seen_at = now
        self._turned_at = now
        for host in self.hosts.values():
            if not host.is_up:
                self._call(host, now)
            elif now - host.seen_at > self._ttl:
                self._counts['freezes'] += 1
                self._kill(host, 'gave no sign of life for {} s'.format(self._ttl))
            elif host.said['health']['state'] == 'ended':
                self._counts['deaths'] += 1
                self._kill(host, 'ended by {}'.format(host.said['health']['failure']))
        if not self._version:
            self._ask_again(now)
        elif not self._is_planned and self._may_plan(now):
            self._replan()
        if self._plan:
            self._follow_plan(now)
        self._keep()

    def _call(self, host, now):
        # type: (_Host, float) -> None
        """Call `report_to` of a shard, unless that was done a moment ago."""
        if host.call is None or now - host.call_at > self._ttl:
            host.call_at = now
            host.call = host.actor.report_to.remote(
                self.board.url, self.token, self._ttl / _BEATS)

    def _kill(self, host, why):
        # type: (_Host, str) -> None
        """Kill a shard that is frozen, or does nothing any more; Ray starts it again."""
        log.warning('shard %s %s: it is killed', host.name, why)
        self.drop(host)
        if host.hello['node'] == self._node:
            try:
                os.kill(host.hello['pid'], signal.SIGKILL)      # Ray needs 10 seconds
                return
            except OSError:
                pass        # it is gone
        ray.kill(host.actor, no_restart=False)

    def _may_plan(self, now):
        # type: (float) -> bool
        """Return False while shards still begin: else the first would have to take all feeds."""
        return all(host.is_up for host in self.hosts.values()) \
            or bool(self._plan) or now - self._began > self._ttl + _ALL_BEGIN

    def _replan(self):
        # type: () -> None
        usable = [host for host in self.hosts.values() if host.is_up and not host.is_leaving]
        if not usable:
            usable = [host for host in self.hosts.values() if host.is_up]
        self._plan = spread(
            list(self._feeds), {host.name: self._plan.get(host.name, host.held) for host in usable},
            self._replicas)
        self._is_planned = True

    def _follow_plan(self, now):
        # type: (float) -> None
        """Have shards take feeds, and let go of those that others have live."""
        up = [host for host in self.hosts.values() if host.is_up]
        holders = {}  # type: Dict[str, List[_Host]]
        for host in up:
            for name in host.held:
                holders.setdefault(name, []).append(host)
        for host in up:
            taken = self._plan.get(host.name, set()) - host.held
            new = taken - self._begun       # another fleet may still have these
            for overlap, names in (
                    (self._ttl, [name for name in taken if name in holders]),
                    (self._overlap, [name for name in new if name not in holders]),
                    (0.0, [name for name in taken - new if name not in holders])):
                if names:
                    host.actor.take.remote([self._feeds[name] for name in names], overlap)
            host.held |= taken
        leaving = set()
        for host in up:
            gone = [name for name in host.held - self._plan.get(host.name, set())
                    if name not in self._feeds or self._is_taken(name, now)]
            leaving.update(host.held - self._plan.get(host.name, set()) - set(gone))
            host.let_go(set(gone))
            self._counts['moves'] += sum(name in self._feeds for name in gone)
        self._moving = {name: since for name, since in self._moving.items() if name in leaving}

    def _is_taken(self, name, now):
        # type: (str, float) -> bool
        """Return whether all that are to have a feed have it live, or never will."""
        if all(name in host.live for host in self.hosts.values()
               if name in self._plan.get(host.name, ())):
            return True
        if now - self._moving.setdefault(name, now) < _PATIENCE:
            return False
        self._counts['forced_moves'] += 1
        return True

    def _keep(self):
        # type: () -> None
        """Have some shards keep the list of feeds; a shard that begins again has none."""
        up = sorted((host for host in self.hosts.values() if host.is_up),
                    key=lambda host: host.name)
        for host in up[:_KEEPERS]:
            if host.kept != self._version:
                if self._list is None:
                    self._list = ray.put(list(self._feeds.values()))
                host.actor.keep.remote(self._version, self._list)
                host.kept = self._version


def _is_same(feed, other):
    # type: (Feed, Feed) -> bool
    """Return whether two feeds are alike; both have come from another process."""
    for name in feed.__slots__:
        one, another = getattr(feed, name), getattr(other, name)
        if one != another and ray.cloudpickle.dumps(one) != ray.cloudpickle.dumps(another):
            return False
    return True
