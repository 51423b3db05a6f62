"""Out of descriptors or threads: the loop says so by an event, leaves nothing open, and goes on."""

from __future__ import absolute_import, division, print_function

import errno
import importlib
import socket
import sys
import threading

import pytest
import six

from lomond import WebSocket
from lomond.server import Server
from tests.network.driving import Background, drain, echo, needs_proc, run_program, wait_for
from tests.shortages import few_descriptors, no_threads
from tests.support import IS_PYPY, RawServer, names

pytest.importorskip('resource')

pytestmark = [needs_proc, pytest.mark.usefixtures('clean_environment')]

PROGRAM = """
import errno, os, resource, socket, sys, threading, warnings
from lomond import WebSocket
from lomond.persist import persist
from lomond.server import Server

url, cafile = sys.argv[1], sys.argv[2] or None
fillers = []

def limit(count):
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, 128))

limit(64)

def leave(count):
    '''Have so many descriptors left that can be opened.'''
    try:
        while True:
            fillers.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        assert error.errno == errno.EMFILE
    for _again in range(count):
        os.close(fillers.pop())

def free_all():
    while fillers:
        os.close(fillers.pop())

def count_open():
    return len(os.listdir('/proc/self/fd'))

def connect(**options):
    return WebSocket(url, proxies={{}}, ssl_cafile=cafile, **options)

def tell(*words):
    print(' '.join(str(word) for word in words))
    sys.stdout.flush()

def describe(event):
    if event.name != 'connect_fail':
        return event.name
    return '{{}}:{{}}:{{}}'.format(
        event.name, event.phase, errno.errorcode.get(getattr(event.cause, 'errno', None)))

before = count_open()
{body}
assert count_open() == before, (count_open(), before)
"""


@pytest.fixture(params=['address', 'name'])
def run(request, authority_file):
    """Run lines in a program that may have few descriptors; return what it tells, line by line."""
    def run(server, body):
        url = server.url
        if request.param == 'name':
            url = url.replace(u'127.0.0.1', u'localhost')
        return run_program(
            PROGRAM.format(body=body), url, authority_file if url.startswith(u'wss') else ''
        ).splitlines()
    return run


WHOLE = 'connecting connected ready text closed disconnected'


def test_a_loop_with_few_descriptors_is_a_connection_or_the_reason_why_not(link, run):
    """From none on, until it is a connection: in each phase there is one that it lacks."""
    with link.serve(echo) as server:
        lines = run(server, """
for free in range(12):
    names = []
    websocket = connect()
    leave(free)
    for event in websocket:
        if event.name == 'ready':
            websocket.send_text(u'hello')
        elif event.name == 'text':
            websocket.close()
        if event.name != 'poll':
            names.append(describe(event))
    free_all()
    assert count_open() == before, free
    tell(*names)
""")
    failures = [line for line in lines if line != WHOLE]
    assert len(failures) in range(3, 9)
    assert lines == failures + [WHOLE] * (len(lines) - len(failures))
    phases = set()
    for line in failures:
        connecting, failure = line.split()
        assert connecting == 'connecting'
        name, phase, code = failure.split(':')
        assert (name, code) == ('connect_fail', 'EMFILE')
        phases.add(phase)
    if IS_PYPY:     # which opens /dev/urandom for each key
        phases.discard('request')
    assert phases <= {'resolve', 'connect', 'tls'}
    assert 'connect' in phases


def test_persist_backs_off_until_there_are_descriptors(link, run):
    with link.serve(echo) as server:
        lines = run(server, """
websocket = connect()
for free in range(12):
    names = []
    leave(free)
    for event in persist(websocket, min_wait=0, max_wait=0):
        if event.name == 'back_off' and len(names) < 6:
            leave(free)             # once more
        elif event.name == 'back_off':
            free_all()
        elif event.name == 'ready':
            websocket.send_text(u'hello')
        elif event.name == 'text':
            websocket.close()
        if event.name != 'poll':
            names.append(event.name)
    free_all()
    assert count_open() == before, free
    tell(*names)
""")
    failures = 3 * 'connecting connect_fail back_off '
    assert set(lines) == {WHOLE, failures + WHOLE}
    assert lines[0] == failures + WHOLE
    assert lines[-1] == WHOLE


def test_a_descriptor_that_is_short_is_told_in_words_to_search_for(link, run):
    with link.serve(echo) as server:
        lines = run(server, """
for free in range(12):
    websocket = connect()
    leave(free)
    for event in websocket:
        if event.name == 'connect_fail':
            tell(event.reason)
        elif event.name == 'ready':
            websocket.close()
    free_all()
""")
    assert len(lines) >= 3
    for line in lines:
        assert 'Too many open files' in line
        assert line.count('ulimit -n') == 1


@pytest.mark.parametrize('run', ['address'], indirect=True)
def test_a_source_of_random_numbers_that_was_closed_is_opened_again(run):
    """2.7 keeps a descriptor for it, which a daemon may have closed; PyPy opens it each time."""
    with RawServer(echo) as server:
        assert run(server, """
websocket = connect()
websocket.key
for name in os.listdir('/proc/self/fd'):
    try:
        if 'urandom' in os.readlink('/proc/self/fd/' + name):
            os.close(int(name))
    except OSError:
        pass                # that of the listing
leave(3)
for event in persist(websocket, min_wait=0, max_wait=0):
    if event.name == 'connect_fail':
        tell(describe(event))
        free_all()
    elif event.name == 'ready':
        tell(event.name)
        websocket.close()
free_all()
before = count_open()
""") == (['connect_fail:request:EMFILE'] if six.PY2 or IS_PYPY else []) + ['ready']


NO_THREADS = """
def allow(is_allowed):
    '''Have each thread want a stack of more memory than there is, or not.'''
    threading.stack_size(0 if is_allowed else 1 << 46)
    if not is_allowed:
        try:
            threading.Thread(target=len).start()
        except threading.ThreadError:
            return
        raise AssertionError('a stack of this size is there')
"""


@pytest.mark.parametrize('run', ['name'], indirect=True)
def test_a_look_up_without_threads_fails_and_is_never_made_in_the_loop(link, run):
    with link.serve(echo) as server:
        assert run(server, NO_THREADS + """
def resolve(*args):
    assert threading.current_thread() is not main
    tell('resolving')
    return socket.getaddrinfo(*args)

main = threading.current_thread()
websocket = connect(resolver=resolve)
allow(False)
waits = 0
for event in persist(websocket, min_wait=0, max_wait=0):
    if event.name == 'connect_fail':
        assert 'new thread' in event.reason and 'ulimit -u' in event.reason, event
    if event.name == 'back_off':
        waits += 1
        allow(waits > 5)        # more than there are calls that may be left to themselves
    elif event.name == 'ready':
        websocket.close()
    if event.name != 'poll':
        tell(describe(event))
""") == ['connecting', 'connect_fail:resolve:EAGAIN', 'back_off'] * 6 + [
    'connecting', 'resolving', 'connected', 'ready', 'closed', 'disconnected']


@pytest.mark.parametrize('run', ['address'], indirect=True)
def test_an_address_needs_no_thread_and_a_function_that_makes_the_socket_does(link, run):
    with link.serve(echo) as server:
        assert run(server, NO_THREADS + """
allow(False)
for options in ({}, {'sock': lambda: tell('called')}):
    websocket = connect(**options)
    for event in websocket:
        websocket.close() if event.name == 'ready' else None
        if event.name != 'poll':
            tell(describe(event))
""") == ['connecting', 'connected', 'ready', 'closed', 'disconnected',
         'connecting', 'connect_fail:connect:EAGAIN']


# -- in this process --

@pytest.mark.parametrize('count', [0, 1, 2])
def test_a_loop_without_descriptors_ends_and_frees_them(dead_port, count, nothing_is_left_open):
    websocket = WebSocket(u'ws://127.0.0.1:{}/'.format(dead_port), proxies={})
    with few_descriptors(count):
        for _again in range(2):
            connecting, failure = websocket
            assert (connecting.name, failure.name) == ('connecting', 'connect_fail')
            assert (failure.phase, failure.cause.errno) == ('connect', errno.EMFILE)
    assert [event.cause.errno for event in websocket if event.name == 'connect_fail'] == [
        errno.ECONNREFUSED]


@pytest.mark.parametrize('count', [None, 8])
def test_an_import_that_fails_for_want_of_descriptors_is_an_event(count, monkeypatch):
    """2.7 says that there is no such module. Where there is none, that is raised."""
    importlib.import_module('lomond.net.tls.client')
    monkeypatch.setitem(sys.modules, 'lomond.net.tls.client', None)
    monkeypatch.delattr('lomond.net.tls.client')
    with RawServer(drain) as server:
        websocket = WebSocket(server.url.replace(u'ws', u'wss'), proxies={})
        if count is None:
            with pytest.raises(ImportError):
                list(websocket)
            return
        with few_descriptors(count):
            failure = list(websocket)[-1]
    assert (failure.name, failure.phase) == ('connect_fail', 'tls')
    assert failure.cause.errno == errno.EMFILE


def test_any_other_error_of_the_system_while_connecting_is_an_event(dead_port, monkeypatch):
    def find_proxy(_target, _proxies):
        raise EnvironmentError(errno.EMFILE, 'Too many open files', 'python_socks.py')

    monkeypatch.setattr('lomond.net.dial.find_proxy', find_proxy)
    failure = list(WebSocket(u'ws://127.0.0.1:{}/'.format(dead_port)))[-1]
    assert (failure.name, failure.phase) == ('connect_fail', 'connect')
    assert 'ulimit' in failure.reason


def test_a_server_without_threads_in_this_process(nothing_is_left_open):
    def hold(websocket):
        for event in websocket:
            if event.name == 'poll':
                is_open.set()

    is_open = threading.Event()
    server = Server(hold).start()
    client = Background(list, WebSocket(server.url, proxies={}).connect(poll=None))
    wait_for(is_open)
    with no_threads():
        refused = list(WebSocket(server.url, proxies={}))
        server.close()
        with pytest.raises(socket.error) as caught:
            Server(hold).__enter__()
    assert caught.value.errno == errno.EAGAIN
    assert names(refused) == ['connecting', 'connected', 'rejected', 'disconnected']
    assert refused[2].response.status_code == 503
    assert [event.code for event in client.result() if event.name == 'closing'] == [1001]


# -- the server --

SERVER = NO_THREADS + """
def hold(websocket):
    for event in websocket:
        if event.name == 'poll':
            is_open.set()
    ended.append((event.name, event.graceful))

def follow(loop):
    codes.append([event.code for event in loop if event.name == 'closing'])

def attach():
    # Connect; return the client's thread, once both sides are open.
    is_open.clear()
    loop = WebSocket(server.url, proxies={}).connect(poll=None, ping_rate=0)
    while next(loop).name != 'poll':
        pass
    is_open.wait()
    client = threading.Thread(target=follow, args=(loop,))
    client.start()
    return client

ended, codes = [], []
is_open = threading.Event()
with Server(bool) as warm_up:        # imports what it takes
    list(WebSocket(warm_up.url, proxies={}))
before = count_open()
"""


def run_server(body):
    """Run lines in a program that may make servers; return what it tells, line by line."""
    return run_program(PROGRAM.format(body=SERVER + body), u'', '').splitlines()


def test_a_server_without_threads_answers_503_and_closes_what_is_open():
    assert run_server("""
import logging
logging.getLogger('lomond').addHandler(logging.NullHandler())
with Server(hold) as server:
    clients = [attach(), attach()]
    allow(False)
    for event in WebSocket(server.url, proxies={}):
        if event.name == 'rejected':
            tell(event.response.status_code)
    server.close()
for client in clients:
    client.join()
tell(ended, codes)
""") == ['503', "[('disconnected', True), ('disconnected', True)] [[1001], [1001]]"]


def test_a_server_that_can_not_start_leaves_nothing_open():
    assert run_server("""
allow(False)
try:
    with Server(hold):
        tell('started')
except socket.error as error:
    tell(errno.errorcode[error.errno])
assert count_open() == before, (count_open(), before)
for free in range(3):
    leave(free)
    try:
        Server(hold)
    except socket.error as error:
        tell(errno.errorcode[error.errno])
    free_all()
    assert count_open() == before, (count_open(), before)
""") == ['EAGAIN'] + ['EMFILE'] * 3


def test_a_server_without_descriptors_keeps_connections_waiting_or_drops_them_and_logs_that():
    assert run_server("""
import logging

class Warnings(logging.Handler):
    def emit(self, record):
        if record.levelno >= logging.WARNING and 'accept' not in record.getMessage():
            tell('Too many open files' in record.getMessage())

logging.getLogger('lomond').addHandler(Warnings())
with Server(hold) as server:
    idle = count_open()
    for free in range(5):
        while count_open() != idle:     # the last connection's thread is about to end
            pass
        client = socket.socket()
        leave(free)
        client.connect((server.host, server.port))
        client.sendall(b'GET / HTTP/1.1\\r\\n\\r\\n')
        if free == 0:
            limit(128)
        try:
            answer = client.recv(12).decode('ascii')
        except socket.error:        # a reset
            answer = ''
        tell(free, answer or 'dropped')
        client.close()
        limit(64)
        free_all()
    last_client = attach()
last_client.join()
""") == ['0 HTTP/1.1 400', 'True', '1 dropped', 'True', '2 dropped', '3 HTTP/1.1 400',
         '4 HTTP/1.1 400']
