"""Where a server listens: on a Unix socket, or on a port that it shares with others."""

from __future__ import absolute_import, division, print_function

import errno
import os
import socket
import subprocess
import sys

import pytest

from lomond import WebSocket
from lomond.net import listen as listen_module
from lomond.server import Server
from tests.network.driving import ROOT, run_program
from tests.support import names

needs_unix = pytest.mark.skipif(
    not hasattr(socket, 'AF_UNIX'), reason='there are no Unix sockets here')
needs_reuse_port = pytest.mark.skipif(
    not hasattr(socket, 'SO_REUSEPORT'), reason='there is no SO_REUSEPORT here')


def greet(websocket):
    """A handler that sends its address, and returns."""
    websocket.send_text(u'{}'.format(websocket.address))


def talk(url, **options):
    """Connect to `greet`; return the events."""
    return list(WebSocket(url, **options))


# -- Unix sockets --

@needs_unix
@pytest.mark.parametrize('name', [u'feed', u'a feed: 50%?', u'caf\xe9'])
def test_it_listens_on_a_unix_socket_until_it_is_closed(folder, name):
    path = u'{}/{}'.format(folder, name)
    with Server(greet, unix_path=path) as server:
        assert server.url.startswith(u'ws+unix://' + folder)
        assert (server.host, server.port) == ('', 0)
        events = talk(server.url)
        assert names(events)[2:] == ['ready', 'text', 'closing', 'disconnected']
        assert events[-1].graceful
        assert os.path.exists(path.encode('utf-8'))
    assert not os.path.exists(path.encode('utf-8'))
    assert names(talk(server.url)) == ['connecting', 'connect_fail']


@needs_unix
def test_it_speaks_tls_on_a_unix_socket(path, server_tls, authority_file):
    with Server(greet, unix_path=path, ssl_context=server_tls) as server:
        assert server.url == u'wss+unix://{}:/'.format(path)
        assert talk(server.url, ssl_cafile=authority_file)[-1].graceful


@needs_unix
def test_a_relative_path_and_one_of_pathlib_lead_to_the_absolute_url(folder, monkeypatch):
    class Path(object):
        def __fspath__(self):
            return folder + u'/feed'

    monkeypatch.chdir(folder)
    for given in (u'feed', 'feed', Path()):
        server = Server(greet, unix_path=given)
        assert os.path.realpath(server.url[len(u'ws+unix://'):-2]) == os.path.realpath(
            folder + u'/feed')
        monkeypatch.chdir(u'/')
        server.close()
        monkeypatch.chdir(folder)
        assert os.listdir(folder) == []


@needs_unix
def test_the_umask_says_which_users_may_connect(path):
    before = os.umask(0o077)
    try:
        with Server(greet, unix_path=path):
            assert os.stat(path).st_mode & 0o777 == 0o700
    finally:
        os.umask(before)


# Listens, and dies without closing anything.
DIES = """
import os, sys
from lomond.server import Server
Server(print, unix_path=sys.argv[1])
print('listening')
sys.stdout.flush()
os._exit(0)
"""


@needs_unix
def test_the_file_of_a_server_that_died_is_replaced(path):
    assert run_program('from __future__ import print_function\n' + DIES, path) == 'listening\n'
    assert os.path.exists(path)
    with Server(greet, unix_path=path) as server:
        assert talk(server.url)[-1].graceful
    assert not os.path.exists(path)


@needs_unix
def test_the_file_of_a_server_that_listens_is_not_replaced(path):
    with Server(greet, unix_path=path) as server:
        with pytest.raises(socket.error) as caught:
            Server(greet, unix_path=path)
        assert caught.value.errno == errno.EADDRINUSE
        assert path in str(caught.value)
        assert 'another program listens on this Unix socket' in str(caught.value)
        assert talk(server.url)[-1].graceful


@needs_unix
def test_the_file_of_a_server_whose_queue_is_full_is_not_replaced(path):
    clients = []
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(path)
        listener.listen(0)
        while not clients or clients[-1].connect_ex(path) != errno.EAGAIN:
            clients.append(socket.socket(socket.AF_UNIX))
            clients[-1].setblocking(False)
            if len(clients) == 32:
                pytest.skip('the queue of this system takes any number')
        with pytest.raises(socket.error) as caught:
            Server(greet, unix_path=path)
        assert caught.value.errno == errno.EADDRINUSE
    finally:
        for sock in clients + [listener]:
            sock.close()


@needs_unix
def test_another_file_is_not_replaced(path, folder):
    with open(path, 'w') as other:
        other.write('mine')
    os.symlink(folder + u'/nothing', folder + u'/link')
    for there in (path, folder + u'/link', folder):
        with pytest.raises(socket.error) as caught:
            Server(greet, unix_path=there)
        assert caught.value.errno == errno.EEXIST
        assert 'no socket: use another unix_path' in str(caught.value)
    with open(path) as other:
        assert other.read() == 'mine'
    assert os.path.islink(folder + u'/link')


@needs_unix
def test_close_leaves_a_file_that_has_replaced_its_own(path):
    server = Server(greet, unix_path=path).start()
    os.unlink(path)
    with Server(greet, unix_path=path) as successor:
        server.close()
        assert talk(successor.url)[-1].graceful
        server.close()
        assert os.path.exists(path)
    assert not os.path.exists(path)
    server.close()


@needs_unix
def test_close_does_not_mind_a_file_that_is_gone(folder):
    server = Server(greet, unix_path=folder + u'/a/../feed').start()
    os.unlink(folder + u'/feed')
    server.close()


@needs_unix
@pytest.mark.skipif(not hasattr(os, 'fork'), reason='there is no fork here')
def test_a_forked_child_that_closes_leaves_the_file(path):
    with Server(greet, unix_path=path) as server:
        assert run_program("""
import os, sys, warnings
from lomond.server import Server
warnings.simplefilter('ignore', DeprecationWarning)     # 3.12: forks with threads may hang
server = Server(len, unix_path=sys.argv[1])
child = os.fork()
if not child:
    server.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert os.path.exists(sys.argv[1])
server.close()
assert not os.path.exists(sys.argv[1])
print('done')
""", path + u'2') == 'done\n'
        assert talk(server.url)[-1].graceful


@needs_unix
def test_a_folder_that_is_not_there_is_named(folder):
    with pytest.raises(socket.error) as caught:
        Server(greet, unix_path=folder + u'/nowhere/feed')
    assert caught.value.errno == errno.ENOENT
    assert folder + u'/nowhere/feed' in str(caught.value)
    assert 'create the directory first' in str(caught.value)


@needs_unix
@pytest.mark.parametrize('options, error, words', [
    ({'unix_path': 5}, TypeError, 'unix_path must be the path of a file'),
    ({'unix_path': u''}, ValueError, 'unix_path must be the path of a file'),
    ({'unix_path': u'\0abstract'}, ValueError, 'no NUL'),
    ({'unix_path': u'/tmp/' + u'x' * 104}, ValueError, 'at most 10'),
    ({'unix_path': u'/tmp/' + u'\xe9' * 52}, ValueError, 'at most 10'),
    ({'unix_path': u'/tmp/feed', 'host': u'localhost'}, TypeError, 'replaces host='),
    ({'unix_path': u'/tmp/feed', 'port': 8080}, TypeError, 'port='),
    ({'unix_path': u'/tmp/feed', 'reuse_port': True}, TypeError, 'reuse_port='),
])
def test_wrong_paths_raise_at_the_call(options, error, words):
    with pytest.raises(error) as caught:
        Server(greet, **options)
    assert words in str(caught.value)


@needs_unix
def test_the_longest_path_is_accepted(folder):
    path = folder + u'/'
    path += u'x' * (listen_module.MAX_PATH - len(path))
    with Server(greet, unix_path=path) as server:
        assert talk(server.url)[-1].graceful
    with pytest.raises(ValueError, match='use a shorter path'):
        Server(greet, unix_path=path + u'x')


def test_without_unix_sockets_an_error_says_so(monkeypatch):
    monkeypatch.delattr('socket.AF_UNIX', raising=False)
    with pytest.raises(ValueError, match='no Unix sockets on this system'):
        Server(greet, unix_path=u'/tmp/feed')


# -- SO_REUSEPORT --

@needs_reuse_port
def test_two_servers_share_a_port():
    def count(websocket):
        served.append(websocket)

    served = []
    with Server(count, reuse_port=True) as one:
        with Server(count, port=one.port, reuse_port=True) as other:
            assert one.port == other.port
            for _ in range(4):
                assert talk(one.url)[-1].graceful
        # The other one is gone, and this takes all.
        assert talk(one.url)[-1].graceful
    assert len(served) == 5


@needs_reuse_port
@pytest.mark.parametrize('first, second', [(False, False), (False, True), (True, False)])
def test_a_port_is_shared_only_if_both_ask_for_it(first, second):
    with Server(greet, reuse_port=first) as server:
        with pytest.raises(socket.error) as caught:
            Server(greet, port=server.port, reuse_port=second)
    assert caught.value.errno == errno.EADDRINUSE
    assert 'reuse_port=True in both' in str(caught.value)


# Answers each client with the number of its process, until its input ends.
SHARES = """
import os, sys
from lomond.server import Server

def handler(websocket):
    websocket.send_text(u'{}'.format(os.getpid()))

with Server(handler, port=int(sys.argv[1]), reuse_port=True):
    print('listening')
    sys.stdout.flush()
    sys.stdin.read()
"""


@needs_reuse_port
@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='others may give all to one')
def test_two_processes_share_a_port():
    reserved = socket.socket()      # bound, it keeps the port from other programs
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind(('127.0.0.1', 0))
    port = str(reserved.getsockname()[1])
    processes = [subprocess.Popen(
        [sys.executable, '-c', 'from __future__ import print_function\n' + SHARES, port], cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for process in processes:
            assert process.stdout.readline().strip() == b'listening'
        served_by = set()
        while len(served_by) < 2:       # the system picks one by the addresses of the connection
            events = talk(u'ws://127.0.0.1:{}/'.format(port))
            served_by.update(event.text for event in events if event.name == 'text')
        assert served_by == {u'{}'.format(process.pid) for process in processes}
    finally:
        for process in processes:
            process.communicate()
        reserved.close()
    assert [process.returncode for process in processes] == [0, 0]


def test_without_so_reuseport_an_error_says_so(monkeypatch):
    monkeypatch.delattr('socket.SO_REUSEPORT', raising=False)
    with pytest.raises(ValueError, match='reuse_port=True needs SO_REUSEPORT'):
        Server(greet, reuse_port=True)
