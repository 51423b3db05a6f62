"""Fixtures of the tests on real connections."""

from __future__ import absolute_import, division, print_function

import functools
import gc
import os
import shutil
import signal
import socket
import sys
import tempfile

import pytest

from lomond import WebSocket
from lomond._compat import monotonic
from lomond.net.waiter import WRITE, wait
from tests.support import IS_PYPY, RawServer

if sys.version_info < (3, 6):
    # `async` is no syntax there.
    collect_ignore_glob = ['test_aio*.py']


class Link(object):
    """A way from a WebSocket to a `RawServer`, plain or over TLS."""

    def __init__(self, server_tls=None, authority_file=None):
        #: Call it with a script, as `RawServer`.
        self.serve = functools.partial(RawServer, ssl_context=server_tls)
        #: Call it with a URL and options, as `WebSocket`.
        self.connect = functools.partial(WebSocket, ssl_cafile=authority_file)


@pytest.fixture(params=['ws', 'wss'])
def link(request, server_tls, authority_file):
    """Each way to connect in turn."""
    return Link() if request.param == 'ws' else Link(server_tls, authority_file)


@pytest.fixture(params=[False, True], ids=['calls', 'background'])
def background(request):
    """Whether calls have a thread that drives the connection."""
    return request.param


@pytest.fixture
def folder():
    """A folder with a short path: the path of a socket may have some hundred bytes."""
    folder = tempfile.mkdtemp()
    yield folder if isinstance(folder, type(u'')) else folder.decode('ascii')
    shutil.rmtree(folder)


@pytest.fixture
def path(folder):
    """Where a Unix socket may listen."""
    return folder + u'/feed'


@pytest.fixture
def nothing_is_left_open():
    """Every descriptor is closed by the end of the test."""
    if not os.path.isdir('/proc/self/fd'):
        yield       # a ResourceWarning tells, on 3.x
        gc.collect()
        return
    before = len(os.listdir('/proc/self/fd'))
    yield
    # Without a collection: a socket that only the collector closes was left open. PyPy closes all
    # by it, those that a test itself has left too.
    if IS_PYPY:
        gc.collect()
    assert len(os.listdir('/proc/self/fd')) <= before


@pytest.fixture
def listener():
    """A TCP socket of loopback that listens."""
    sock = socket.socket()
    sock.bind(('127.0.0.1', 0))
    sock.listen(5)
    yield sock
    sock.close()


@pytest.fixture
def full_listener():
    """The address of a listener that takes no more connections."""
    sock = socket.socket()
    waiting = []
    sock.bind(('127.0.0.1', 0))
    sock.listen(0)
    try:
        while len(waiting) < 32:
            client = socket.socket()
            waiting.append(client)
            client.setblocking(False)
            client.connect_ex(sock.getsockname())
            if not wait(((client.fileno(), WRITE),), 0.25):
                break
        else:
            pytest.skip('on this system a listener is never full')
        yield sock.getsockname()
    finally:
        for client in waiting:
            client.close()
        sock.close()


@pytest.fixture
def alarm():
    """Set what SIGALRM does, once, in a moment; returns when that was, in a list.

    The signal comes again until then: one just before a system call doesn't interrupt that.
    """
    before = signal.getsignal(signal.SIGALRM)
    called = []

    def set_alarm(function):
        def handle(_signum, _frame):
            signal.setitimer(signal.ITIMER_REAL, 0)
            if not called:
                called.append(monotonic())
                function()

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        return called

    yield set_alarm
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
