"""Waiting until descriptors are ready: once by `wait`, again and again by a `Waiter`.

Each wait, and each change of what to wait for, checks which of the system's mechanisms there are
(poll, epoll, kqueue, select): monkey patching removes them (eventlet) or replaces them (gevent), at
any time.

Knows descriptors only, and closes none of those that it waits for.
"""

from __future__ import absolute_import, division, print_function

import os
import select

from lomond._compat import TYPE_CHECKING, fine_clock, is_interrupt, monotonic
from lomond.net.closing import add_waiter
from lomond.net.ways import READ, WAYS, WAYS_FOR_FEW, WRITE, find_way, make_set

if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Sequence, Tuple  # noqa: F401

    Interest = Sequence[Tuple[int, int]]

__all__ = [
    'LONGEST', 'READ', 'WAYS', 'WAYS_FOR_FEW', 'WRITE', 'Waiter', 'check_limit', 'merge', 'wait']

# Seconds of one system call. A signal that comes right before it is only seen
# after it, and on Windows no select is cut short by Ctrl-C.
LONGEST = 0.5 if os.name == 'nt' else 5.0

# Some thirty years, in seconds. An integer may be too large for a float.
_FOREVER = 1e9

# On 2.7 poll and select raise the first, epoll the second.
_ERRORS = (select.error, EnvironmentError)


def wait(interest, timeout):
    # type: (Interest, Optional[float]) -> List[Tuple[int, int]]
    """Wait until a descriptor is ready, an error on it included.

    Parameters: ``interest``, pairs of a descriptor and `READ` or `WRITE` or
    both; ``timeout`` in seconds, None or infinity for no limit, negative or NaN for 0. Returns the
    pairs that are ready, none after the timeout. Goes on after a signal whose handler returned.
    """
    left = _clamp(timeout)
    deadline = monotonic() + left
    while True:
        try:
            ready = _wait_once(interest, min(left, LONGEST))
            if ready or left <= LONGEST:
                return ready
        except _ERRORS as error:
            if not is_interrupt(error):
                raise
        left = _clamp(deadline - monotonic())


def _clamp(timeout):
    # type: (Optional[float]) -> float
    """Return a timeout as a number: a system call takes a negative one, and NaN, for no limit."""
    if timeout is None:
        return _FOREVER
    return min(timeout, _FOREVER) if timeout > 0 else 0.0


def merge(interest, more):
    # type: (Interest, Interest) -> Interest
    """Return an interest, and of the same descriptors also what ``more`` waits for."""
    if not more:
        return interest
    masks = dict(more)
    return tuple((fd, mask | masks.get(fd, 0)) for fd, mask in interest)


def check_limit(fd):
    # type: (int) -> None
    """Raise socket.error if `wait` can't wait for a descriptor: select has a limit."""
    make_set(WAYS_FOR_FEW).change(fd, READ, 0)


class Waiter(object):
    """Waits for any number of descriptors; for one thread.

    Close a watched socket by `lomond.net.closing.close_socket`, or forget its descriptor before you
    close it: epoll goes on with a closed one if a child process has a copy. A number that was
    closed and opened again must be watched again. A forked child that uses its parent's waiter
    gets a set of its own: the parent's doesn't change.

    Parameters: ``ways``, names from `WAYS`, the preferred first. Raises ValueError if there is
    none of them here, and OSError (on 2.7 IOError) if no descriptor is left for epoll or kqueue.
    """

    def __init__(self, ways=WAYS):
        # type: (Sequence[str]) -> None
        self._ways = ways
        self._watched = {}  # type: Dict[int, int]      # what of each descriptor
        self._set = self._make_set()

    def _make_set(self):
        # type: () -> Any
        made = make_set(self._ways)
        if made.process is not None:
            add_waiter(self)
        return made

    @property
    def way(self):
        # type: () -> str
        """The mechanism that is used now, by its name in `select`."""
        return self._set.way    # type: ignore[no-any-return]

    def fileno(self):
        # type: () -> Optional[int]
        """Return the descriptor of epoll or kqueue, None if poll or select waits.

        It is ready to be read while anything that is watched is ready: so an event loop can wait
        for all of it at once. It is another one after a fork, and after monkey patching.
        """
        self._renew_if_needed()
        return self._set.fileno()   # type: ignore[no-any-return]

    def watch(self, fd, mask):
        # type: (int, int) -> None
        """Wait for `READ`, `WRITE` or both on a descriptor from now on, instead of what was before.

        Raises OSError (on 2.7 IOError) if epoll or kqueue can't wait for it, or if it is beyond
        select's limit (EINVAL); then nothing changes for the others.
        """
        self._renew_if_needed()
        self._set.change(fd, mask, self._watched.get(fd, 0))
        self._watched[fd] = mask

    def forget(self, fd):
        # type: (int) -> None
        """Stop waiting for a descriptor; harmless if it isn't watched, or closed already.

        With epoll and kqueue any thread may call this, also while another one waits.
        """
        known = self._watched.pop(fd, 0)
        # A forked child shares its parent's set until it makes its own.
        if known and self._set.process in (None, os.getpid()):
            try:
                self._set.drop(fd, known)
            except ValueError:
                pass        # another thread has closed this waiter meanwhile

    def watch_only(self, interest):
        # type: (Interest) -> None
        """Watch these pairs, and forget all others."""
        self._renew_if_needed()
        wanted = dict(interest)
        for fd in list(self._watched):
            if fd not in wanted:
                self.forget(fd)
        for fd, mask in interest:
            self._set.change(fd, mask, self._watched.get(fd, 0))
            self._watched[fd] = mask

    def wait(self, timeout, spin=0.0):
        # type: (Optional[float], float) -> List[Tuple[int, int]]
        """Wait until something is ready, an error included; return pairs as `wait` does.

        ``timeout`` is as that of `wait`. For the first ``spin`` seconds of it, the thread doesn't
        sleep: it asks the system again and again. It may return early, with no pair: after a
        signal, and after `LONGEST`.
        """
        if self._set.process is not None and self._set.process != os.getpid():
            self._renew_if_needed()
        seconds = min(_clamp(timeout), LONGEST)
        try:
            if spin:
                spin = min(spin, seconds)
                ready = self._spin(spin)
                if ready:
                    return ready
            return self._set.wait(seconds - spin)       # type: ignore[no-any-return]
        except _ERRORS as error:
            if not is_interrupt(error):
                raise
            return []

    def _spin(self, seconds):
        # type: (float) -> List[Tuple[int, int]]
        ask = self._set.wait
        end = fine_clock() + seconds
        while True:
            ready = ask(0)  # type: List[Tuple[int, int]]
            if ready or fine_clock() >= end:
                return ready

    def close(self):
        # type: () -> None
        """Free the descriptor of epoll or kqueue; close none that is watched."""
        self._watched.clear()
        self._set.close()

    def _renew_if_needed(self):
        # type: () -> None
        """Make a new set after a fork or monkey patching."""
        _way, make = find_way(self._ways)
        current = self._set
        if current.make is make and current.process in (None, os.getpid()):
            return
        self._set = self._make_set()
        for fd, mask in list(self._watched.items()):
            try:
                self._set.change(fd, mask, 0)
            except EnvironmentError:        # it was closed; in a child, for one
                self._watched.pop(fd, None)
        current.close()


def _wait_once(interest, timeout):
    # type: (Interest, float) -> List[Tuple[int, int]]
    waiting = make_set(WAYS_FOR_FEW)
    for fd, mask in interest:
        waiting.change(fd, mask, 0)
    return waiting.wait(timeout)    # type: ignore[no-any-return]
