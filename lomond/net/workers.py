"""Threads for calls that block: a few of them for all WebSockets of a process.

A thread is started when a call is submitted, until there are `MAX_WORKERS`; then calls wait for
their turn. A thread ends as soon as no call waits: a program that doesn't connect has none. One
whose call never returns isn't replaced. All are daemons: none keeps a program from ending.

Deadlines, results and errors of a call are for `lomond.net.offload`.
"""

from __future__ import absolute_import, division, print_function

import errno
import os
import socket
import threading
from collections import deque

from lomond._compat import TYPE_CHECKING
from lomond._describe import describe
from lomond._locks import ProcessLock

if TYPE_CHECKING:
    from typing import Any, Deque, Dict  # noqa: F401

#: How many threads there are at most. Lookups wait for the network, not for the processor.
MAX_WORKERS = 32


class Workers(object):
    """Runs jobs, objects with a ``run`` that raises nothing, in threads, in the order of `submit`.

    Every method may be called from any thread. A forked child begins with no threads and no jobs.

    Parameters: ``most``, how many threads there may be.
    """

    def __init__(self, most=MAX_WORKERS):
        # type: (int) -> None
        self.most = most
        # A signal's handler, and the collector, may withdraw a job while its thread submits one.
        self._lock = ProcessLock()
        self._reset()

    def _reset(self):
        # type: () -> None
        self._process = os.getpid()
        self._waiting = deque()  # type: Deque[Any]     # jobs that no thread has taken
        # Each thread, and whether it has begun.
        self._threads = {}  # type: Dict[threading.Thread, bool]

    @property
    def are_busy(self):
        # type: () -> bool
        """True if there are as many threads as there may be."""
        return len(self._threads) >= self.most

    def submit(self, job):
        # type: (Any) -> None
        """Have a thread run the job, as soon as one is free.

        Raises socket.error if there is none and none can be started; then the job isn't run.
        """
        thread = None
        try:
            with self._lock():
                if self._process != os.getpid():
                    self._reset()
                self._waiting.append(job)
                if len(self._threads) < self.most:
                    thread = threading.Thread(target=self._run_in_thread, name='lomond call')
                    thread.daemon = True
                    self._threads[thread] = False
            if thread is not None:
                start_thread(thread)
        except BaseException as error:      # Ctrl-C, for one
            with self._lock():
                if thread is not None and not self._threads.get(thread, True):
                    del self._threads[thread]       # if it does begin later, it ends at once
                # The threads that there are will run the job.
                will_run = isinstance(error, socket.error) and bool(self._threads)
            if not will_run:
                self.withdraw(job)
                raise

    def withdraw(self, job):
        # type: (Any) -> None
        """Forget a job that no thread has taken yet; do nothing about any other one."""
        with self._lock():
            if self._process == os.getpid() and job in self._waiting:
                self._waiting.remove(job)

    def _run_in_thread(self):
        # type: () -> None
        """Run jobs; raise nothing, at the interpreter's exit either.

        2.7 lets daemon threads run on for a while then, with all global names gone,
        the exceptions' included.
        """
        try:
            thread = threading.current_thread()
            with self._lock():
                if thread not in self._threads:
                    return
                self._threads[thread] = True
            while self._run_next(thread):
                pass
        except:     # noqa: E722    # pragma: no cover    # nosec B110  # see above
            pass

    def _run_next(self, thread):
        # type: (threading.Thread) -> bool
        """Run the next job; False if there is none, and the thread doesn't count any more."""
        with self._lock():
            # In another process, a call has forked and returned in the child, too.
            if self._process != os.getpid() or not self._waiting:
                self._threads.pop(thread, None)
                return False
            job = self._waiting.popleft()
        job.run()
        return True


def start_thread(thread):
    # type: (threading.Thread) -> None
    """Start a thread; raises socket.error if the system has none left."""
    try:
        thread.start()
    except threading.ThreadError as error:      # RuntimeError on 3
        if thread.ident is not None or thread in threading.enumerate():
            # It was started. start() may raise this after a Ctrl-C that came while it waited for
            # the thread to begin; on 2.7 without the KeyboardInterrupt as its context.
            raise getattr(error, '__context__', None) or KeyboardInterrupt()
        # There are too many, or the interpreter is about to exit.
        raise socket.error(errno.EAGAIN, u'{} (raise the limit of threads: ulimit -u)'.format(
            describe(error)))
