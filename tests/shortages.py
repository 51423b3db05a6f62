"""Real shortages of what a process may have: descriptors, threads; in this very process."""

from __future__ import absolute_import, division, print_function

import contextlib
import os
import threading

import pytest


@contextlib.contextmanager
def few_descriptors(count):
    """Leave so many descriptors to open."""
    resource = pytest.importorskip('resource')
    opened = []
    try:
        while len(opened) <= count:
            opened.append(os.open(os.devnull, os.O_RDONLY))
    finally:
        for descriptor in opened:
            os.close(descriptor)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The numbers below are those that are open now, and so many more.
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened[-1], limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@contextlib.contextmanager
def no_threads():
    """Have each thread want a stack of more memory than there is."""
    before = threading.stack_size()
    try:
        try:
            threading.stack_size(1 << 46)
            threading.Thread(target=len, args=((),)).start()
        except (ValueError, OverflowError):
            pytest.skip('a stack of this size is refused')
        except threading.ThreadError:
            pass
        else:
            pytest.skip('a stack of this size is there')
        yield
    finally:
        threading.stack_size(before)
