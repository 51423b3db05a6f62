"""A lock that a fork can't leave locked in the child."""

from __future__ import absolute_import, division, print_function

import os

from lomond._compat import TYPE_CHECKING, RLock

if TYPE_CHECKING:
    from typing import Any  # noqa: F401


class ProcessLock(object):
    """Returns an RLock when it is called: ``with lock():``. A forked child gets its own.

    Only the forking thread exists in the child: a lock that another thread held during the fork
    would never be released there.
    """

    def __init__(self):
        # type: () -> None
        # By process. A lock is added by one atomic call, as two threads may ask for it at once.
        self._locks = {os.getpid(): RLock()}

    def __call__(self):
        # type: () -> Any
        process = os.getpid()
        return self._locks.get(process) or self._locks.setdefault(process, RLock())
