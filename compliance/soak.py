"""Connect, break the connection in one of many ways, connect again: 2,000 times.

    python compliance/soak.py [--connections 2000]

Each way has to end as it should. After the first hundred connections and
after the last one, the process must have the same number of descriptors and
threads, and within 5 % the same memory. The peer is `soak_peer.py`, in a
process of its own.
"""

from __future__ import absolute_import, division, print_function

import argparse
import ctypes
import gc
import itertools
import json
import logging
import os
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import closing
from time import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from lomond import WebSocket, errors  # noqa: E402
from lomond.persist import persist  # noqa: E402

#: Connections before the first look: until then, caches fill.
WARM_UP = 100

#: How much more memory there may be in the end.
ALLOWED_GROWTH = 1.05

# malloc.h
M_ARENA_MAX = -8


class Peer(object):
    """The other end's process, and how to reach its parts."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, 'soak_peer.py')],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.parts = json.loads(self._process.stdout.readline().decode('ascii'))
        with closing(socket.socket()) as sock:
            sock.bind(('127.0.0.1', 0))
            self.dead_port = sock.getsockname()[1]

    def close(self):
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait() == 0, 'the peer failed'

    def websocket(self, path, scheme='ws', **options):
        """Make a WebSocket for a path of the peer's server."""
        options.setdefault('proxies', {})
        options.setdefault('ssl_cafile', self.parts['authority'])
        options.setdefault('connect_timeout', 10)
        url = '{}://127.0.0.1:{}/{}'.format(scheme, self.parts[scheme], path)
        return WebSocket(url, **options)

    def proxies(self, part, scheme='http'):
        url = '{}://127.0.0.1:{}'.format(scheme, self.parts[part])
        return {'http': url, 'https': url}


# -- what the client does --

def listen(websocket, **options):
    """Run the loop to its end; return the names of the events but Poll."""
    return [event.name for event in websocket.connect(**options) if event.name != 'poll']


def talk(websocket, **options):
    """Send a message, wait for its echo, close."""
    seen = []
    for event in websocket.connect(**options):
        if event.name != 'poll':
            seen.append(event.name)
        if event.name == 'ready':
            websocket.send_text(u'hello, ' * 100)
        elif event.name == 'text':
            websocket.close()
    return seen


def leave(websocket, name):
    """Leave the loop by break at an event."""
    seen = []
    for event in websocket:
        if event.name != 'poll':
            seen.append(event.name)
        if event.name == name:
            break
    return seen


def raise_in_body(websocket):
    seen = []
    try:
        for event in websocket:
            if event.name == 'poll':
                raise KeyError('in the body')
            seen.append(event.name)
    except KeyError:
        return seen


def end_from_thread(websocket, method, name):
    """Have another thread end it at an event."""
    seen = []
    thread = threading.Thread(target=getattr(websocket, method))
    for event in websocket:
        if event.name != 'poll':
            seen.append(event.name)
        if event.name == name:
            thread.start()
            thread.join()
    return seen


def send_into_the_void(websocket):
    """Send what is never taken in, in a thread, until the write times out."""
    def send():
        try:
            while True:
                websocket.send_binary(b'x' * 1000000)
        except errors.WebSocketError:
            pass

    seen = set()
    thread = threading.Thread(target=send)
    for event in websocket.connect(poll=0.05):
        if event.name not in ('poll', 'ping'):
            seen.add(event.name)
        if event.name == 'ready':
            thread.start()
    thread.join()
    return sorted(seen)


def come_back(websocket):
    """Lose a connection in `persist`, and close the next."""
    seen = []
    for event in persist(websocket, min_wait=0, max_wait=0):
        if event.name != 'poll':
            seen.append(event.name)
        if event.name == 'back_off' and seen.count('back_off') == 2:
            websocket.close()
    return seen


GOOD = ['connecting', 'connected', 'ready']
TALK = GOOD + ['text', 'closed', 'disconnected']
LOST = GOOD + ['text', 'disconnected']
FAILED = ['connecting', 'connect_fail']
NO_HANDSHAKE = ['connecting', 'connected', 'disconnected']


def is_there(module):
    try:
        __import__(module)
        return True
    except ImportError:
        return False


def ways(peer):
    """Return (name, function, the events that should come of it) of each way there is."""
    make, parts = peer.websocket, peer.parts

    def stuck(*_args):
        threading.Event().wait(0.2)
        return []

    def fail_to_resolve(*_args):
        raise socket.gaierror(socket.EAI_NONAME, 'no such name')

    found = [
        ('refused', lambda: listen(WebSocket(
            'ws://127.0.0.1:{}/'.format(peer.dead_port), proxies={})), FAILED),
        ('no such name', lambda: listen(WebSocket(
            'ws://far.invalid/', proxies={}, resolver=fail_to_resolve)), FAILED),
        ('a resolver that hangs', lambda: listen(WebSocket(
            'ws://far.invalid/', proxies={}, resolver=stuck, connect_timeout=0.02)), FAILED),
        ('an untrusted certificate', lambda: listen(make('echo', 'wss', ssl_cafile=None)),
         FAILED),
        ('a wrong fingerprint', lambda: listen(make(
            'echo', 'wss', ssl_fingerprint='00' * 32)), FAILED),
        ('TLS with a server of plain TCP', lambda: listen(WebSocket(
            'wss://127.0.0.1:{}/'.format(parts['ws']), proxies={}, connect_timeout=0.1)), FAILED),
        ('a proxy wants a password', lambda: listen(make(
            'echo', proxies=peer.proxies('wrong_proxy'))), FAILED),
        ('a proxy that is no proxy', lambda: listen(make(
            'echo', proxies=peer.proxies('ws'), connect_timeout=0.1)), FAILED),
        ('a message over a proxy', lambda: talk(make(
            'echo', proxies=peer.proxies('proxy'))), TALK),
        ('a message over a proxy and TLS', lambda: talk(make(
            'echo', 'wss', proxies=peer.proxies('proxy'))), TALK),
        ('a message over TLS to the proxy', lambda: talk(make(
            'echo', proxies=peer.proxies('secure_proxy', 'https'))), TALK),
        ('a Unix socket', lambda: talk(WebSocket(
            'ws+unix://{}:/echo'.format(parts['unix']))), TALK),
        ('a cookie jar and a function for headers', lambda: talk(make(
            'echo', cookies=True, headers=lambda: {'X-Token': 'fresh'})), TALK),
    ]
    if is_there('python_socks'):
        found.append(('SOCKS', lambda: talk(make(
            'echo', proxies=peer.proxies('socks', 'socks4a'))), TALK))
    if hasattr(ssl, 'MemoryBIO'):
        found.append(('TLS in TLS', lambda: talk(make(
            'echo', 'wss', proxies=peer.proxies('secure_proxy', 'https'))), TALK))
    for scheme in ('ws', 'wss'):
        def way(path, function, expected, scheme=scheme, **options):
            found.append((
                '{} {}'.format(scheme, path), lambda: function(make(path, scheme, **options)),
                expected))
        way('echo', talk, TALK)
        way('redirect', talk, GOOD[:2] + ['redirected'] + TALK)
        way('close_first', listen, GOOD + ['text', 'closing', 'disconnected'])
        way('end', listen, LOST)
        way('tear', listen, GOOD + ['disconnected'])
        way('break_rules', listen, GOOD + ['protocol_error', 'disconnected'])
        way('send_bad_text', listen, GOOD + ['protocol_error', 'disconnected'])
        way('reject', listen, GOOD[:2] + ['rejected', 'disconnected'])
        way('speak_no_http', listen, GOOD[:2] + ['protocol_error', 'disconnected'])
        way('stay_silent', listen, NO_HANDSHAKE, connect_timeout=0.1)
        way('stay_silent', lambda websocket: end_from_thread(websocket, 'close', 'connected'),
            NO_HANDSHAKE)
        way('stay_silent',
            lambda websocket: end_from_thread(websocket, 'force_disconnect', 'connected'),
            NO_HANDSHAKE)
        way('fall_silent', lambda websocket: listen(websocket, ping_rate=0.02, ping_timeout=0.05),
            GOOD + ['unresponsive', 'disconnected'])
        way('fall_silent',
            lambda websocket: end_from_thread(websocket, 'force_disconnect', 'ready'),
            GOOD + ['disconnected'])
        way('never_read', send_into_the_void,
            ['connected', 'connecting', 'disconnected', 'ready'], write_timeout=0.1)
        way('echo', lambda websocket: leave(websocket, 'connecting'), GOOD[:1])
        way('echo', lambda websocket: leave(websocket, 'connected'), GOOD[:2])
        way('echo', lambda websocket: leave(websocket, 'ready'), GOOD)
        way('echo', raise_in_body, GOOD)
        way('end', come_back, (LOST + ['back_off']) * 2)
    # A reset may overtake what was sent before it.
    found.append(('ws reset', lambda: [
        name for name in listen(make('reset')) if name != 'text'], GOOD + ['disconnected']))
    return found


# -- what it leaves behind --

def look():
    """Return (descriptors, threads, memory in bytes) of this process."""
    # A look-up that was given up goes on in its thread for a moment.
    deadline = time() + 5
    while threading.active_count() > 1 and time() < deadline:
        threading.Event().wait(0.05)
    gc.collect()
    give_back_memory()
    with open('/proc/self/statm') as statm:
        memory = int(statm.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
    return len(os.listdir('/proc/self/fd')), threading.active_count(), memory


def tune_malloc():
    """Have all threads share one heap (glibc): another's keeps some of what is free."""
    try:
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
    except AttributeError:
        pass


def give_back_memory():
    """Have malloc give back what is free (glibc): what is left is in use."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except AttributeError:
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--connections', type=int, default=2000)
    arguments = parser.parse_args()
    tune_malloc()
    logging.getLogger('lomond').addHandler(logging.NullHandler())

    peer = Peer()
    started = time()
    first = None
    try:
        found = ways(peer)
        for number, (name, run, expected) in enumerate(itertools.cycle(found)):
            if number == WARM_UP:
                first = look()
                print('after {:5}: {} descriptors, {} threads, {:.1f} MB'.format(
                    number, first[0], first[1], first[2] / 1e6))
            if number == arguments.connections:
                break
            seen = run()
            assert seen == expected, '{}: {}, not {}'.format(name, seen, expected)
        last = look()
    finally:
        peer.close()
    print('after {:5}: {} descriptors, {} threads, {:.1f} MB; {} ways, {:.0f} seconds'.format(
        number, last[0], last[1], last[2] / 1e6, len(found), time() - started))
    if first is not None:
        assert last[:2] == first[:2], 'descriptors or threads were left behind'
        assert last[2] <= first[2] * ALLOWED_GROWTH, 'memory has grown'


if __name__ == '__main__':
    main()
