"""A lock that a fork can't leave locked in the child."""

from __future__ import absolute_import, division, print_function

import os

from lomond._compat import TYPE_CHECKING, RLock

if TYPE_CHECKING:
    from typing import Any, List, Tuple  # noqa: F401


class ProcessLock(object):
    """Returns an RLock when it is called: ``with lock():``. A forked child gets its own.

    Only the forking thread exists in the child: a lock that another thread held during the fork
    would never be released there.
    """

    __slots__ = ('_locks',)

    def __init__(self):
        # type: () -> None
        # Pairs of a process and its lock, which is made when it is asked for: many never are.
        self._locks = []  # type: List[Tuple[int, Any]]

    def __call__(self):
        # type: () -> Any
        process = os.getpid()
        while True:
            for owner, lock in self._locks:
                if owner == process:
                    return lock
            # Two threads, or a signal's handler, may come here at once: the first lock in the list
            # is the one used.
            self._locks.append((process, RLock()))
