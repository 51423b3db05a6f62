"""The TLS contexts of clients: equal options share one, and a file that changes makes a new one.

Loading certificates takes some 20 ms and 0.8 MB. For each TLS connection a few
calls of stat tell whether they have changed, so that a renewed certificate
counts from the next connection on.
"""

from __future__ import absolute_import, division, print_function

import os
from weakref import WeakValueDictionary

from lomond._compat import TYPE_CHECKING
from lomond._locks import ProcessLock
from lomond.net.tls.client import client_context, find_authorities, find_key_log

if TYPE_CHECKING:
    import ssl  # noqa: F401
    from typing import Any, Hashable, List, Optional, Tuple  # noqa: F401

#: How many contexts are kept that nobody uses: the next WebSocket may have the same options.
MAX_IDLE = 16


class Contexts(object):
    """Makes contexts, and finds those made before, from any thread."""

    def __init__(self):
        # type: () -> None
        # By what each was made of: options and stamps. WebSockets and connections hold them.
        self._used = WeakValueDictionary()  # type: WeakValueDictionary[Hashable, ssl.SSLContext]
        # The last ones made, with their options; replaced as a whole, as any thread may fork.
        self._recent = []  # type: List[Tuple[Hashable, ssl.SSLContext]]
        self._lock = ProcessLock()

    def get(self, cafile, verify, certfile, keyfile):
        # type: (Optional[str], bool, Optional[str], Optional[str]) -> ssl.SSLContext
        """Return the context for these options, the environment and the files as they are now.

        Parameters as of `lomond.net.tls.client_context`, which says what is
        raised. A failure isn't kept: the next call looks at the files again.
        """
        capath = None
        if verify:
            cafile, capath = find_authorities(cafile)
        else:
            cafile = None
        key_log = find_key_log()
        options = (verify, cafile, capath, certfile, keyfile, key_log)
        files = [cafile, certfile, keyfile] + (capath.split(os.pathsep) if capath else [])
        # Before they are read: what changes meanwhile differs the next time.
        stamps = tuple([_stamp(path) for path in files if path])
        context = self._used.get((options, stamps, _identity(key_log)))
        if context is not None:
            return context
        with self._lock():
            context = self._used.get((options, stamps, _identity(key_log)))
            if context is None:
                context = client_context(cafile, verify, certfile, keyfile, capath)
                # Making it makes the key log's file too, if there was none.
                self._used[options, stamps, _identity(key_log)] = context
                if key_log is None:     # that file is open as long as the context is there
                    others = [kept for kept in self._recent if kept[0] != options]
                    self._recent = others[-MAX_IDLE + 1:] + [(options, context)]
        return context


def _stamp(path):
    # type: (str) -> Any
    """Return what differs once a file, or the names in a directory, have changed."""
    try:
        status = os.stat(path)
    except EnvironmentError:
        return None
    return status.st_mtime, status.st_ctime, status.st_size, status.st_ino, status.st_dev


def _identity(path):
    # type: (Optional[str]) -> Any
    """Return what stays while a file grows; None if there is none."""
    stamp = None if path is None else _stamp(path)
    return stamp and stamp[3:]


_contexts = Contexts()

#: `Contexts.get`, for the whole process.
shared_context = _contexts.get
