"""Locks that a process which forks can't leave locked for its child."""

from __future__ import absolute_import, division, print_function

import os

from lomond._compat import TYPE_CHECKING, RLock

if TYPE_CHECKING:
    from typing import Any  # noqa: F401


class ProcessLock(object):
    """Returns an RLock when it is called: ``with lock():``. A forked child gets its own.

    Only the thread that forks goes on in the child: a lock that another one
    held would be waited for for ever.
    """

    def __init__(self):
        # type: () -> None
        # By process. One step puts a lock there: two threads may ask for it at once.
        self._locks = {os.getpid(): RLock()}

    def __call__(self):
        # type: () -> Any
        process = os.getpid()
        return self._locks.get(process) or self._locks.setdefault(process, RLock())
