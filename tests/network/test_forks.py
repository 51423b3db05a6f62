"""A process that forks while it is connected: its child may end as it likes."""

from __future__ import absolute_import, division, print_function

import os
import subprocess
import sys

import pytest

from tests.network.driving import echo
from tests.support import PATIENCE

pytestmark = pytest.mark.costly

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# The end of a program's loop, in the parent.
GOES_ON = """\
        websocket.send_text(u'still here')
    elif event.name == 'text':
        websocket.close()
    elif event.name == 'disconnected':
        assert event.graceful, event
        print('graceful')
"""

# What the child does is for a test to say, and which lock another thread has meanwhile.
NOBODYS = 'threading.Lock()'
PROGRAM = """
import os, shutil, signal, sys, tempfile, threading, warnings
from lomond import WebSocket
from lomond.testing import Inside

warnings.simplefilter('ignore', DeprecationWarning)     # 3.12: forks with threads may hang

def hold(lock):
    with lock:
        is_held.set()
        may_end.wait()

class MakingContext(object):
    '''In this block a thread is making a TLS context: it waits for the file of authorities.'''

    def __enter__(self):
        self.folder = tempfile.mkdtemp()
        path = os.path.join(self.folder, 'fifo')
        os.mkfifo(path)
        self.thread = threading.Thread(target=self.make, args=(path,))
        self.thread.daemon = True
        self.thread.start()
        self.fifo = open(path, 'wb')        # this waits until the thread opens the other end

    def make(self, path):
        from lomond.net.tls.contexts import shared_context
        try:
            shared_context(path, True, None, None)
        except EnvironmentError as error:
            assert path in str(error)       # the file was empty

    def __exit__(self, *_exc_info):
        self.fifo.close()
        self.thread.join()
        shutil.rmtree(self.folder)

websocket = WebSocket(sys.argv[1], ssl_cafile=sys.argv[2] or None, proxies={{}})
for event in websocket:
    if event.name == 'ready':
        is_held, may_end = threading.Event(), threading.Event()
        holder = threading.Thread(target=hold, args=({lock},))
        holder.daemon = True
        holder.start()
        assert is_held.wait({patience})
        child = os.fork()
        if child == 0:
            signal.alarm({patience})
            {ending}
        status = os.waitpid(child, 0)[1]
        may_end.set()
        holder.join()
        assert status == 0, status
""" + GOES_ON

# Both processes close the server.
SERVER_PROGRAM = """
import os, signal
from lomond import WebSocket
from lomond.server import Server

def echo(websocket):
    for event in websocket:
        if event.name == 'text':
            websocket.send_text(event.text)

server = Server(echo).start()
websocket = WebSocket(server.url, proxies={{}})
for event in websocket:
    if event.name == 'ready':
        child = os.fork()
        if child == 0:
            signal.alarm({patience})
            break
        assert os.waitpid(child, 0)[1] == 0
""" + GOES_ON + """
server.close()
"""

needs_fork = pytest.mark.skipif(not hasattr(os, 'fork'), reason='there is no fork here')


def run(link, authority_file, ending, lock):
    """Run it; it asks that what the child did was right, and tells how the parent's loop ended."""
    program = PROGRAM.format(ending=ending, lock=lock, patience=int(PATIENCE))
    with link.serve(echo) as server:
        child = subprocess.Popen(
            [sys.executable, '-c', program, server.url,
             authority_file if server.url.startswith(u'wss') else ''],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return child.communicate()[0]


@needs_fork
@pytest.mark.parametrize('ending', [
    'sys.exit()',
    'break',
    'websocket.force_disconnect(); sys.exit()',
])
def test_end_of_a_child_leaves_the_connection_to_its_parent(link, authority_file, ending):
    assert run(link, authority_file, ending, NOBODYS) == b'graceful\n'


@needs_fork
@pytest.mark.parametrize('lock', ['closing', 'receiving', 'sending', 'state', 'waking'])
def test_child_does_not_wait_for_a_thread_that_only_its_parent_has(link, authority_file, lock):
    ending = 'websocket.force_disconnect(); break'
    lock = 'Inside(websocket).locks[{!r}]'.format(lock)
    assert run(link, authority_file, ending, lock) == b'graceful\n'


@needs_fork
def test_child_does_not_wait_for_a_thread_that_makes_a_tls_context(link, authority_file):
    ending = (
        'websocket = WebSocket("wss://example.org/"); '
        'websocket.dialer.tls.context(websocket.net_options.tls); '
        'os._exit(0)')
    assert run(link, authority_file, ending, 'MakingContext()') == b'graceful\n'


@needs_fork
@pytest.mark.parametrize('lock', [NOBODYS, 'Inside(websocket).locks["sending"]'])
def test_child_can_free_its_copy_of_the_descriptor(link, authority_file, lock):
    ending = (
        'fd = websocket.session.transport.fileno(); websocket.session.dispose(); '
        'os._exit(os.path.exists("/dev/fd/{}".format(fd)))')
    assert run(link, authority_file, ending, lock) == b'graceful\n'


@needs_fork
def test_child_of_a_server_leaves_it_to_its_parent():
    """At the end of its block: the threads that it would wait for aren't there."""
    program = SERVER_PROGRAM.format(patience=int(PATIENCE))
    output = subprocess.check_output(
        [sys.executable, '-W', 'ignore::DeprecationWarning', '-c', program],
        cwd=ROOT, stderr=subprocess.STDOUT)
    assert output == b'graceful\n'
