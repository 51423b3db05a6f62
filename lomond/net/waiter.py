"""Waiting for one or a few sockets, with a deadline.

poll where there is one: it has no limit on descriptor numbers (select ends at
1,024), and one socket costs no more than one entry, which is where epoll and
kqueue have nothing to win. select serves Windows, where poll is missing and
select has no such limit. Each wait looks which one there is: monkey patching
takes poll away (eventlet) or replaces it (gevent), at any time.
"""

from __future__ import absolute_import, division, print_function

import os
import select
from functools import partial
from math import ceil

from lomond._compat import TYPE_CHECKING, is_interrupt, monotonic

if TYPE_CHECKING:
    from typing import Any, Callable, List, Optional, Sequence, Tuple  # noqa: F401

    Interest = Sequence[Tuple[int, int]]

READ = 1
WRITE = 2

# Seconds of one system call. A signal that comes right before it is only seen
# after it, and on Windows no select is cut short by Ctrl-C.
LONGEST = 0.5 if os.name == 'nt' else 5.0

# Where there is no poll (Windows) these are not needed.
_POLLIN, _POLLOUT = getattr(select, 'POLLIN', 1), getattr(select, 'POLLOUT', 4)

_POLL_EVENTS = {READ: _POLLIN, WRITE: _POLLOUT, READ | WRITE: _POLLIN | _POLLOUT}


def wait(interest, timeout):
    # type: (Interest, Optional[float]) -> List[Tuple[int, int]]
    """Wait until a descriptor is ready, an error on it included.

    Parameters: ``interest``, pairs of a descriptor and `READ` or `WRITE` or
    both; ``timeout`` in seconds, None or infinite for ever. Returns the pairs that are
    ready, none after the timeout. Goes on after a signal whose handler
    returned.
    """
    left = float('inf') if timeout is None else timeout
    deadline = monotonic() + left
    while True:
        try:
            # Less than nothing would be for ever.
            ready = _wait_once(interest, max(0.0, min(left, LONGEST)))
            if ready or left <= LONGEST:
                return ready
        except (select.error, OSError) as error:
            if not is_interrupt(error):
                raise
        left = deadline - monotonic()


def merge(interest, more):
    # type: (Interest, Interest) -> Interest
    """Return an interest with what more is wanted of its descriptors."""
    wanted = dict(more)
    return tuple((fd, mask | wanted.get(fd, 0)) for fd, mask in interest)


def _wait_once(interest, timeout):
    # type: (Interest, float) -> List[Tuple[int, int]]
    make_poller = getattr(select, 'poll', None)
    if make_poller is None:
        return _wait_with_select(interest, timeout)
    wait_for = _prepare_poll(interest, make_poller)
    return [(fd, _masks_of_poll(events)) for fd, events in wait_for(timeout)]


def prepare(interest):
    # type: (Interest) -> Callable[[float], List[Tuple[int, int]]]
    """Return a function that waits, for a time in seconds, and returns (descriptor, what) pairs."""
    make_poller = getattr(select, 'poll', None)
    if make_poller is None:
        return partial(_wait_with_select, interest)
    return _prepare_poll(interest, make_poller)


def _prepare_poll(interest, make_poller):
    # type: (Interest, Callable[[], Any]) -> Callable[[float], List[Tuple[int, int]]]
    poller = make_poller()
    for fd, mask in interest:
        poller.register(fd, _POLL_EVENTS[mask])
    poll = poller.poll
    # Rounded up: a wait must not end just before its deadline, and spin.
    return lambda timeout: poll(int(ceil(timeout * 1000)))


def _wait_with_select(interest, timeout):
    # type: (Interest, float) -> List[Tuple[int, int]]
    readers = [fd for fd, mask in interest if mask & READ]
    writers = [fd for fd, mask in interest if mask & WRITE]
    # Windows tells of a failed connection attempt in the third set only.
    readable, writable, failed = select.select(readers, writers, writers, timeout)
    masks = {}  # type: dict[int, int]
    for fd in readable:
        masks[fd] = READ
    for fd in writable + failed:
        masks[fd] = masks.get(fd, 0) | WRITE
    return list(masks.items())


def _masks_of_poll(events):
    # type: (int) -> int
    mask = 0
    if events & ~_POLLOUT:
        mask |= READ
    if events & ~_POLLIN:
        mask |= WRITE
    return mask
