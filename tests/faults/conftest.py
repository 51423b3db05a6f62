"""What the tests of faults have in common: nothing of theirs is left behind."""

from __future__ import absolute_import, division, print_function

import os
import socket

import pytest


@pytest.fixture
def ready_fd():
    """A descriptor that is always readable and writable.

    After the test, no other one may be left.
    """
    ends = socket.socketpair()
    ends[1].send(b'\0')
    descriptors = _count_descriptors()
    try:
        yield ends[0].fileno()
        assert _count_descriptors() == descriptors
    finally:
        for end in ends:
            end.close()


def _count_descriptors():
    if not os.path.isdir('/proc/self/fd'):
        return None     # a ResourceWarning tells, on 3.x
    return len(os.listdir('/proc/self/fd'))
