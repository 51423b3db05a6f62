"""A stand-in for select.kqueue, over epoll, for systems that have none: its rules, real sockets.

One filter for each direction; adding is changing; what is closed goes by itself; deleting what
isn't there fails.
"""

from __future__ import absolute_import, division, print_function

import errno
import math
import os
import select
from collections import namedtuple

import pytest

READ_FILTER, WRITE_FILTER = -1, -2
ADD, DELETE = 1, 2

Kevent = namedtuple('Kevent', ['ident', 'filter', 'flags'])


class FakeKqueue(object):
    """What `select.kqueue` returns."""

    def __init__(self):
        self._epoll = select.epoll()
        self._filters = {}
        self._bits = {READ_FILTER: select.EPOLLIN, WRITE_FILTER: select.EPOLLOUT}

    def control(self, changes, max_events, timeout=None):
        for change in changes or ():
            self._change(change)
        if not max_events:
            return []
        found = []
        # In whole milliseconds here, in nanoseconds there: not too early, in either case.
        for fd, events in self._epoll.poll((math.ceil(timeout * 1000) + 0.1) / 1000):
            for filter_ in self._filters[fd]:
                if events & ~(self._bits[READ_FILTER] | self._bits[WRITE_FILTER]) \
                        or events & self._bits[filter_]:
                    found.append(Kevent(fd, filter_, 0))
        return found[:max_events]

    def _change(self, change):
        fd = change.ident
        try:
            # This forgets what was closed meanwhile, as a kqueue does.
            self._epoll.modify(fd, self._events(fd))
        except EnvironmentError as error:
            if error.errno != errno.ENOENT:
                raise
            self._filters[fd] = set()
            if change.flags == DELETE:
                raise
            self._epoll.register(fd, 0)
        if change.flags == ADD:
            self._filters[fd].add(change.filter)
        elif change.filter in self._filters[fd]:
            self._filters[fd].remove(change.filter)
        else:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        if self._filters[fd]:
            self._epoll.modify(fd, self._events(fd))
        else:
            self._epoll.unregister(fd)

    def _events(self, fd):
        return sum(self._bits[filter_] for filter_ in self._filters.get(fd, ()))

    def fileno(self):
        return self._epoll.fileno()

    def close(self):
        self._epoll.close()


def install_kqueue(monkeypatch):
    """Have `select` offer this kqueue, if the system has none."""
    if hasattr(select, 'kqueue'):
        return
    if not hasattr(select, 'epoll'):
        pytest.skip('this system has neither kqueue nor epoll')
    for name, value in (
            ('kqueue', FakeKqueue), ('kevent', Kevent), ('KQ_FILTER_READ', READ_FILTER),
            ('KQ_FILTER_WRITE', WRITE_FILTER), ('KQ_EV_ADD', ADD), ('KQ_EV_DELETE', DELETE)):
        monkeypatch.setattr(select, name, value, raising=False)
