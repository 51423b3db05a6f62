"""What a program that sets up no logging sees on stderr: its own exceptions, not its peers' faults.

Each program runs in its own process, as logging is configured in a test's process.
"""

from __future__ import absolute_import, division, print_function

import os
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

HEAD = '''
from __future__ import print_function
import logging, socket, struct, sys, threading
from lomond import WebSocket
from lomond.persist import ReconnectPolicy, persist
from lomond.server import Server

def fail(*_args):
    raise KeyError('a fault of mine')

def echo(websocket):
    for event in websocket:
        if event.name == 'text':
            websocket.send_text(event.text)

def talk(server, **options):
    """Send a text, and close when it comes back; return the names of the events."""
    websocket = WebSocket(server.url, proxies={}, **options)
    names = []
    for event in websocket:
        names.append(event.name)
        if event.name == 'ready':
            websocket.send_text(u'hello')
        elif event.name == 'text':
            websocket.close()
    return names

def leave(server):
    websocket = WebSocket(server.url, proxies={})
    for event in websocket:
        if event.name == 'ready':
            websocket.close()

def connect_to(server):
    return socket.create_connection((server.host, server.port), 10)
'''


def run(program):
    """Run a program; return what it wrote to stderr."""
    environ = dict(os.environ, PYTHONPATH=ROOT)
    process = subprocess.Popen(
        [sys.executable, '-W', 'error', '-c', HEAD + program], env=environ,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    _out, printed = process.communicate()
    assert process.returncode == 0, printed
    return printed


OWN_FAULTS = {
    'handler': '''
with Server(fail) as server:
    assert 'closing' in talk(server)
''',
    'handler after the client has gone': '''
def handler(websocket):
    for _event in websocket:
        pass
    fail()

with Server(handler) as server:
    leave(server)
''',
    'handler of another arity': '''
def handler():
    raise KeyError('a fault of mine')

with Server(handler) as server:
    talk(server)
''',
    'tracer': '''
with Server(echo) as server:
    assert 'text' in talk(server, trace=fail)
''',
    'headers': '''
with Server(echo) as server:
    assert talk(server, headers=fail)[-1] == 'connect_fail'
''',
    'before_attempt': '''
with Server(echo) as server:
    policy = ReconnectPolicy(max_attempts=1, before_attempt=fail)
    for event in persist(WebSocket(server.url), policy=policy):
        pass
    assert event.name == 'gave_up'
''',
    'cookies, asked': '''
class Jar(object):
    add_cookie_header = fail
    extract_cookies = None

with Server(echo) as server:
    assert talk(server, cookies=Jar())[-1] == 'connect_fail'
''',
    'cookies, received': '''
class Jar(object):
    extract_cookies = fail
    def add_cookie_header(self, request):
        pass

websocket = WebSocket('ws://localhost/', cookies=Jar())
list(websocket.feed(b'HTTP/1.1 403 No\\r\\nSet-Cookie: a=b\\r\\nContent-Length: 0\\r\\n\\r\\n'))
''',
    'resolver': '''
for event in WebSocket('ws://far.invalid/', proxies={}, resolver=fail):
    pass
assert event.name == 'connect_fail'
''',
    'resolver, a generator': '''
def resolver(*_args):
    yield fail()

for event in WebSocket('ws://far.invalid/', proxies={}, resolver=resolver):
    pass
assert event.name == 'connect_fail'
''',
    'sock': '''
for event in WebSocket('ws://far.invalid/', sock=fail):
    pass
assert event.name == 'connect_fail'
''',
    'sock that fails too late': '''
loop_is_over, threads = threading.Event(), []

def sock():
    threads.append(threading.current_thread())
    loop_is_over.wait(30)
    fail()

while not threads:      # the time may be over before the thread begins
    for event in WebSocket('ws://far.invalid/', sock=sock, connect_timeout=0.01):
        pass
loop_is_over.set()
for thread in threads:
    thread.join(30)
''',
    'sock that can not be closed': '''
class Sock(object):
    close = fail

loop_is_over, threads = threading.Event(), []

def sock():
    threads.append(threading.current_thread())
    loop_is_over.wait(30)
    return Sock()

while not threads:
    for event in WebSocket('ws://far.invalid/', sock=sock, connect_timeout=0.01):
        pass
loop_is_over.set()
for thread in threads:
    thread.join(30)
''',
}


@pytest.mark.parametrize('where', sorted(OWN_FAULTS))
def test_an_exception_of_the_program_is_seen_with_its_traceback(where):
    printed = run(OWN_FAULTS[where])
    assert 'Traceback (most recent call last)' in printed
    assert ('TypeError' if 'arity' in where else 'a fault of mine') in printed


@pytest.mark.parametrize('setup', [
    "logging.getLogger('lomond').addHandler(logging.NullHandler())",
    "logging.getLogger().addHandler(logging.NullHandler())",
    "logging.getLogger('lomond').setLevel(logging.CRITICAL)",
    "logging.disable(logging.CRITICAL)",
])
def test_the_log_can_be_silenced(setup):
    assert run(setup + OWN_FAULTS['handler']) == ''


def test_a_program_with_a_log_of_its_own_sees_each_fault_once():
    printed = run("logging.basicConfig(format='MINE %(message)s')" + OWN_FAULTS['handler'])
    assert printed.count("KeyError: 'a fault") == printed.count('MINE') == 1


PEERS_FAULTS = {
    'clients that come with nonsense, or leave': '''
with Server(echo) as server:
    for data in (b'', b'GET / HTTP/1.1\\r\\n\\r\\n', b'\\0' * 70000):
        sock = connect_to(server)
        sock.sendall(data)
        sock.close()
''',
    'a client that leaves while the handler sends': '''
is_over = threading.Event()

def flood(websocket):
    try:
        for event in websocket:
            while event.name == 'ready':
                websocket.send_binary(b'x' * 65536)
    finally:
        is_over.set()

with Server(flood) as server:
    loop = iter(WebSocket(server.url, proxies={}))
    for event in loop:
        if event.name == 'binary':
            break
    loop.close()
    assert is_over.wait(30)
''',
    'a client that has left before the handler sends': '''
def send_late(websocket):
    for _event in websocket:
        pass
    websocket.send_text(u'too late')

with Server(send_late) as server:
    leave(server)
''',
    'a server that shuts down under its handler': '''
is_closing = threading.Event()

def send_on(websocket):
    for event in websocket:
        if event.name == 'ready':
            is_closing.wait(30)
            while True:
                websocket.send_text(u'going on')

server = Server(send_on).start()
for event in WebSocket(server.url, proxies={}):
    if event.name == 'ready':
        closing = threading.Thread(target=server.close)
        closing.start()
        is_closing.set()
closing.join(30)
''',
    'nobody listens': '''
bound = socket.socket()
bound.bind(('127.0.0.1', 0))
for event in WebSocket('ws://127.0.0.1:{}/'.format(bound.getsockname()[1]), proxies={}):
    pass
bound.close()
assert event.name == 'connect_fail'
''',
    'a name that is not there': '''
def resolver(*_args):
    raise socket.gaierror(socket.EAI_NONAME, 'no such host')

for event in WebSocket('ws://far.invalid/', proxies={}, resolver=resolver):
    pass
''',
    'a way that is closed': '''
def sock():
    raise socket.error(111, 'refused')

for event in WebSocket('ws://far.invalid/', sock=sock):
    pass
''',
    'a server that breaks the protocol': '''
def break_it(websocket):
    for event in websocket:
        if event.name == 'ready':
            websocket.session.write(b'\\xff\\xff')

with Server(break_it) as server:
    assert 'protocol_error' in talk(server)
''',
    'connections that are gone before they are accepted': '''
import errno

class Listener(socket.socket):
    errors = [errno.ECONNABORTED] * 5

    def accept(self):
        if self.errors:
            raise socket.error(self.errors.pop(), 'aborted')
        return super(Listener, self).accept()

real_socket, socket.socket = socket.socket, Listener
server = Server(echo)
socket.socket = real_socket
with server:
    talk(server)
assert not Listener.errors
''',
}


@pytest.mark.parametrize('what', sorted(PEERS_FAULTS))
def test_a_fault_of_the_peer_is_not_worth_a_word(what):
    assert run(PEERS_FAULTS[what]) == ''
