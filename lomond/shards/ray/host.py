"""What runs in each of the actors: a shard, and its signs of life.

It decides on nothing except its own end: after SIGTERM it waits until others have its feeds.
"""

from __future__ import absolute_import, division, print_function

import logging
import os
import signal
import threading
import uuid

import ray

from lomond._compat import TYPE_CHECKING, monotonic
from lomond.shards.lifeline import Lifeline
from lomond.shards.shard import Shard

if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Set, Tuple  # noqa: F401

    from lomond.shards.feed import Feed  # noqa: F401

log = logging.getLogger('lomond')  # type: logging.Logger


# Seconds after SIGTERM in which other shards may take the feeds; Kubernetes waits for 30.
_GRACE = 20.0

# Seconds for the shard to close, at least.
_FAREWELL = 5.0

# Seconds until feeds whose source has failed are tried again.
_AGAIN = 2.0

# Seconds between two looks for SIGTERM, and whether it has feeds.
_LOOK = 0.1


class ShardHost(object):
    """A `Shard` in a Ray actor. It begins empty, also when Ray has started it again."""

    def __init__(self, sink, name, options):
        # type: (Any, str, Dict[str, Any]) -> None
        self._shard = Shard(sink, name, **options)
        self._incarnation = uuid.uuid4().hex
        self._node = ray.get_runtime_context().get_node_id()
        self._known = (0, [])  # type: Tuple[int, List[Feed]]
        # Feeds that it is to have, by name; the lock is for these and those that failed.
        self._lock = threading.Lock()
        self._wanted = {}  # type: Dict[str, Tuple[Feed, float]]
        self._failed = {}  # type: Dict[str, str]
        self._is_closed = threading.Event()
        self._lifeline = None  # type: Optional[Lifeline]
        self._supervisor = None  # type: Optional[Tuple[str, str]]
        self._names_all = False
        self._live = None  # type: Optional[Set[str]]   # as it was said last
        self._is_leaving = False
        for target, name in (self._leave, 'lomond leaving'), (self._try_again, 'lomond trying'):
            thread = threading.Thread(target=target, name=name)
            thread.daemon = True
            thread.start()
        signal.signal(signal.SIGTERM, self._on_sigterm)     # Ray makes actors in the main thread

    def _on_sigterm(self, _number, _frame):
        # type: (int, Any) -> None
        """Leave: the next sign of life says so, and a thread ends the process."""
        self._is_leaving = True     # no lock: the main thread may hold it

    def _leave(self):
        # type: () -> None
        """After SIGTERM, end the process once it has no feeds, and the sink all messages.

        Ray starts it again somewhere.
        """
        waiting = threading.Event()
        while not self._is_leaving:
            waiting.wait(_LOOK)
        deadline = monotonic() + _GRACE
        while (self._shard.feeds or self._shard.health()['queued']) and monotonic() < deadline:
            waiting.wait(_LOOK)
        self.close(max(deadline - monotonic(), _FAREWELL))
        os._exit(0)

    def name_all(self):
        # type: () -> None
        """Have the next sign of life name all feeds that it has."""
        self._names_all = True

    def report_to(self, url, token, beat):
        # type: (str, str, float) -> None
        """Send signs of life to a supervisor, and to no other any more."""
        if self._supervisor == (url, token):
            self._names_all = True      # it asks again: it doesn't know this shard any more
            return
        if self._lifeline is not None:
            self._lifeline.close()
        self._supervisor = url, token
        self._lifeline = Lifeline(url, token, beat, self._say)

    def _say(self, is_first):
        # type: (bool) -> Dict[str, Any]
        message = {
            'health': self._shard.health(), 'failed': dict(self._failed),
            'leaving': self._is_leaving}  # type: Dict[str, Any]
        if is_first or self._names_all:
            self._names_all = False
            self._live = None
            message.update(
                name=self._shard.name, incarnation=self._incarnation, pid=os.getpid(),
                node=self._node, held=[feed.name for feed in self._shard.feeds])
        live = self._shard.live
        if live != self._live:      # it may be long
            self._live = live
            message['live'] = sorted(live)
        return message

    def known(self):
        # type: () -> Tuple[int, List[Feed]]
        """Return the version of the list of all feeds, and the list, as `keep` was given it."""
        return self._known

    def keep(self, version, feeds):
        # type: (int, List[Feed]) -> None
        """Keep the list of all feeds, for a supervisor that begins again."""
        if version >= self._known[0]:
            self._known = version, feeds

    def take(self, feeds, overlap):
        # type: (List[Feed], float) -> None
        """Hold these feeds, too."""
        held = {feed.name for feed in self._shard.feeds}
        for feed in feeds:
            if feed.name in held:       # a call that came twice brings a copy
                continue
            with self._lock:
                wanted = self._wanted[feed.name] = feed, overlap
            self._hold(wanted)

    def _hold(self, wanted):
        # type: (Tuple[Feed, float]) -> None
        """Have the shard hold a feed; the lock isn't held, as the user's function may be slow."""
        feed, overlap = wanted
        failure = None
        try:
            self._shard.add(feed, overlap)
        # An error in the user's function: `status` has it. sys.exit() would end the actor.
        except (Exception, SystemExit) as error:
            failure = repr(error)
            if self._failed.get(feed.name) != failure:      # else it is logged already
                log.exception('feed %r can not be held, and is tried again', feed.name)
        with self._lock:
            is_wanted = self._wanted.get(feed.name) is wanted
            if is_wanted and failure is not None:
                self._failed[feed.name] = failure
            elif is_wanted:
                self._failed.pop(feed.name, None)
        # It was let go of meanwhile, and another one of its name may be there.
        if not is_wanted and any(held is feed for held in self._shard.feeds):
            self._shard.remove(feed.name, timeout=None)

    def _try_again(self):
        # type: () -> None
        """Try those feeds again that failed, in a thread of its own."""
        while not self._is_closed.wait(_AGAIN):
            with self._lock:
                again = [self._wanted[name] for name in self._failed]
            for wanted in again:
                self._hold(wanted)

    def let_go(self, names):
        # type: (List[str]) -> None
        """Let go of feeds; what came from them still goes to the sink."""
        with self._lock:
            for name in names:
                self._wanted.pop(name, None)
                self._failed.pop(name, None)
        self._shard.remove_soon(names)

    def report(self):
        # type: () -> Dict[str, Dict[str, Any]]
        """Return how each feed is."""
        return self._shard.report()

    def close(self, timeout):
        # type: (float) -> int
        """Close the shard; return how many messages the sink didn't take."""
        self._is_closed.set()
        if self._lifeline is not None:
            self._lifeline.close()
        return self._shard.close(timeout)
