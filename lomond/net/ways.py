"""The system's mechanisms to wait for descriptors, in one form; `lomond.net.waiter` uses them.

poll suits a few descriptors best: it has no limit on their numbers (select ends at 1,024), and
makes no system call for a change. epoll and kqueue suit many, as no wait costs more for those that
are not ready. select serves Windows, where it is the only one, and has no such limit.
"""

from __future__ import absolute_import, division, print_function

import errno
import os
import select
import socket
import time
from math import ceil

from lomond._compat import TYPE_CHECKING, is_interrupt, set_close_on_exec

if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Sequence, Set, Tuple  # noqa: F401

READ = 1
WRITE = 2

#: The mechanisms, by their names in `select`: for many descriptors, the best first ...
WAYS = ('epoll', 'kqueue', 'poll', 'select')

#: ... and for a few.
WAYS_FOR_FEW = ('poll', 'select')

# epoll's are the same. Where there is no poll (Windows) they are not needed.
_POLLIN, _POLLOUT = getattr(select, 'POLLIN', 1), getattr(select, 'POLLOUT', 4)

_POLL_EVENTS = {READ: _POLLIN, WRITE: _POLLOUT, READ | WRITE: _POLLIN | _POLLOUT}

# Errors of changing a set: the descriptor was closed, or closed and opened again, maybe as a file,
# for which epoll has EPERM.
_NOT_IN_SET = frozenset([errno.ENOENT, errno.EBADF, errno.EPERM])

# What any select can wait for: a lower number on POSIX, fewer descriptors than this on Windows.
_SELECT_SURELY = 512

# How many events to ask kqueue for: the others come with the next wait. (It is epoll's default.)
_MOST_EVENTS = 1023


def find_way(ways):
    # type: (Sequence[str]) -> Tuple[str, Any]
    """Return the first mechanism that `select` has now, and its function or class.

    Raises ValueError if it has none of them.
    """
    for way in ways:
        make = getattr(select, way, None)
        if make is not None:
            return way, make
    raise ValueError('there is none of {} on this system'.format(', '.join(ways)))


def make_set(ways):
    # type: (Sequence[str]) -> Any
    """Return an empty set of descriptors, for the first mechanism that `select` has now."""
    way, make = find_way(ways)
    return _SETS[way](way, make)


# Each set has ``way`` and ``make``, as `find_way` returned them, and ``process``: the process id
# for a kernel object (epoll, kqueue), else None. `change` and `drop` get the mask that is watched
# already; for `change` that may be 0.

class _PollSet(object):
    """What poll waits for."""

    process = None  # type: Optional[int]

    def __init__(self, way, make):
        # type: (str, Any) -> None
        self.way = way
        self.make = make
        self._poller = make()

    def change(self, fd, mask, _known):
        # type: (int, int, int) -> None
        self._poller.register(fd, _POLL_EVENTS[mask])

    def drop(self, fd, _known):
        # type: (int, int) -> None
        self._poller.unregister(fd)

    def wait(self, timeout):
        # type: (float) -> List[Tuple[int, int]]
        ready = []
        # Rounded up: a wait must not end just before its deadline, and spin.
        for fd, events in self._poller.poll(int(ceil(timeout * 1000))):
            # Other bits are an error, which makes both directions ready.
            mask = READ if events & ~_POLLOUT else 0
            ready.append((fd, mask | WRITE if events & ~_POLLIN else mask))
        return ready

    def fileno(self):
        # type: () -> Optional[int]
        """Return the set's own descriptor; here None: the system has no such set."""
        return None

    def close(self):
        # type: () -> None
        """Free the set's own descriptor."""


class _EpollSet(_PollSet):
    """What epoll waits for."""

    def __init__(self, way, make):
        # type: (str, Any) -> None
        super(_EpollSet, self).__init__(way, make)
        set_close_on_exec(self._poller)
        self.process = os.getpid()

    def change(self, fd, mask, known):
        # type: (int, int, int) -> None
        calls = [self._poller.register, self._poller.modify]
        if known:
            calls.reverse()
        try:
            calls[0](fd, _POLL_EVENTS[mask])
        except EnvironmentError as error:
            # The number was closed, and maybe opened again.
            if error.errno not in (errno.ENOENT, errno.EEXIST):
                raise
            calls[1](fd, _POLL_EVENTS[mask])

    def drop(self, fd, _known):
        # type: (int, int) -> None
        try:
            self._poller.unregister(fd)
        except EnvironmentError as error:
            if error.errno not in _NOT_IN_SET:
                raise

    def wait(self, timeout):
        # type: (float) -> List[Tuple[int, int]]
        ready = []
        # Rounded up to whole milliseconds: 2.7 would round down.
        for fd, events in self._poller.poll((ceil(timeout * 1000) + 0.1) / 1000):
            mask = READ if events & ~_POLLOUT else 0
            ready.append((fd, mask | WRITE if events & ~_POLLIN else mask))
        return ready

    def fileno(self):
        # type: () -> Optional[int]
        return self._poller.fileno()    # type: ignore[no-any-return]

    def close(self):
        # type: () -> None
        self._poller.close()


class _KqueueSet(object):
    """What kqueue waits for: it has a filter for each direction."""

    # A forked child has no queue, and its number may be that of another descriptor by now, which
    # the object would close at its end.
    _parents = []  # type: List[Any]

    def __init__(self, way, make):
        # type: (str, Any) -> None
        self.way = way
        self.make = make
        self.process = os.getpid()  # type: Optional[int]
        self._queue = make()
        self._names = select  # type: Any       # typeshed knows these names on macOS only
        self._filters = [
            (READ, self._names.KQ_FILTER_READ), (WRITE, self._names.KQ_FILTER_WRITE)]
        self._masks = {filter_: mask for mask, filter_ in self._filters}

    def change(self, fd, mask, known):
        # type: (int, int, int) -> None
        for wanted, filter_ in self._filters:
            if mask & wanted:
                self._control(fd, filter_, self._names.KQ_EV_ADD)
        self._delete(fd, known & ~mask)

    def drop(self, fd, known):
        # type: (int, int) -> None
        self._delete(fd, known)

    def _delete(self, fd, masks):
        # type: (int, int) -> None
        for mask, filter_ in self._filters:
            if masks & mask:
                try:
                    self._control(fd, filter_, self._names.KQ_EV_DELETE)
                except EnvironmentError as error:
                    if error.errno not in _NOT_IN_SET:
                        raise

    def _control(self, fd, filter_, action):
        # type: (int, int, int) -> None
        self._queue.control([self._names.kevent(fd, filter_, action)], 0, 0)

    def wait(self, timeout):
        # type: (float) -> List[Tuple[int, int]]
        masks = {}  # type: Dict[int, int]
        for event in self._queue.control(None, _MOST_EVENTS, timeout):
            masks[event.ident] = masks.get(event.ident, 0) | self._masks[event.filter]
        return list(masks.items())

    def fileno(self):
        # type: () -> Optional[int]
        return self._queue.fileno()     # type: ignore[no-any-return]

    def close(self):
        # type: () -> None
        if self.process == os.getpid():
            self._queue.close()
        else:
            self._parents.append(self._queue)


class _SelectSet(object):
    """What select waits for."""

    process = None  # type: Optional[int]

    def __init__(self, way, make):
        # type: (str, Any) -> None
        self.way = way
        self.make = make
        self._readers = []  # type: List[int]
        self._writers = []  # type: List[int]

    def change(self, fd, mask, known):
        # type: (int, int, int) -> None
        directions = (self._readers, READ), (self._writers, WRITE)
        for descriptors, wanted in directions:
            if mask & wanted and not known & wanted:
                self._check_limit(descriptors + [fd])
        for descriptors, wanted in directions:
            if mask & wanted and not known & wanted:
                descriptors.append(fd)
            elif known & wanted and not mask & wanted:
                descriptors.remove(fd)

    def _check_limit(self, descriptors):
        # type: (List[int]) -> None
        """Raise socket.error if select can't take the last of these: every wait would fail then."""
        if descriptors[-1] < _SELECT_SURELY and len(descriptors) <= _SELECT_SURELY:
            return
        try:
            # In the third set, as eventlet's has one waiting greenlet for each of the others.
            self.make([], [], descriptors, 0)
        except ValueError:
            # Not EMFILE, whose advice is to raise a limit of the system.
            raise socket.error(errno.EINVAL, (
                'select cannot wait for descriptor {}, beyond its limit FD_SETSIZE: open fewer '
                'connections, or use a system whose Python has select.poll'.format(
                    descriptors[-1])))
        except (select.error, EnvironmentError):
            pass        # one of them was closed: `wait` finds out which

    def drop(self, fd, known):
        # type: (int, int) -> None
        self.change(fd, 0, known)

    def wait(self, timeout):
        # type: (float) -> List[Tuple[int, int]]
        readers, writers = self._readers, self._writers
        if not readers and not writers:
            time.sleep(timeout)     # Windows has no select of nothing
            return []
        masks = {}  # type: Dict[int, int]
        try:
            # Windows reports a failed connection attempt in the third set only.
            readable, writable, failed = self.make(readers, writers, writers, timeout)
        except (select.error, OSError) as error:
            closed = set() if is_interrupt(error) else self._find_closed()
            if not closed:
                raise
            masks = dict.fromkeys(closed, READ | WRITE)
            readers, writers = (
                [fd for fd in fds if fd not in closed] for fds in (readers, writers))
            readable, writable, failed = self.make(readers, writers, writers, 0)
        for fd in readable:
            masks[fd] = READ
        for fd in writable + failed:
            masks[fd] = masks.get(fd, 0) | WRITE
        return list(masks.items())

    def _find_closed(self):
        # type: () -> Set[int]
        """Return the descriptors that were closed: one of them makes select fail for all."""
        closed = set()
        for fd in self._readers + self._writers:
            try:
                self.make([fd], [], [], 0)
            except (select.error, OSError):
                closed.add(fd)
        return closed

    def fileno(self):
        # type: () -> Optional[int]
        return None

    def close(self):
        # type: () -> None
        pass


_SETS = {'epoll': _EpollSet, 'kqueue': _KqueueSet, 'poll': _PollSet, 'select': _SelectSet}
