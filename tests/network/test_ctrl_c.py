"""Ctrl-C in each phase of a connection goes through, in no time, and leaves nothing open."""

from __future__ import absolute_import, division, print_function

import itertools
import os
import signal
import subprocess
import sys
import threading

import pytest

from lomond._compat import monotonic
from tests.network.driving import accept_and_send, drain, needs_proc, run_program, wait_for
from tests.support import PATIENCE, RawServer, answer_upgrade, make_frame, needs_refcounts

pytestmark = needs_proc

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# What a user's program looks like. The phase is told by what it prints last.
CHILD = """
import os, sys, threading
from lomond import WebSocket
from lomond.persist import ReconnectPolicy, persist
from lomond.pool import Pool

def pooled(websocket, policy=None):
    pool = Pool()
    pool.add(websocket, policy, ping_rate=0)
    for _websocket, event in pool:
        yield event

def tell(what):
    sys.stdout.write(what + '\\n')
    sys.stdout.flush()

def resolve(*_args):
    tell('resolving')
    threading.Event().wait(60)

def trace(record):
    tell('trace ' + record['stage'])

def on_event(event):
    tell(event.name)
    if event.name == 'text' and event.text == 'send':
        websocket.send_binary(b'x' * (64 * 1024 * 1024))
    elif event.name == 'text':
        websocket.close()

url = sys.argv[1]
before = set(os.listdir('/proc/self/fd'))
websocket = WebSocket({websocket})
try:
    for event in {loop}:
        on_event(event)
except KeyboardInterrupt:
    tell('interrupted')
left = [fd for fd in set(os.listdir('/proc/self/fd')) - before
        if os.path.exists('/proc/self/fd/' + fd)]
tell('left open: {{}}'.format(left))
tell(websocket.state)
"""


def wait_until_asleep(child):
    """Wait until the child's main thread waits for something.

    Python can't protect a socket that Ctrl-C meets while it is being made: it
    is closed then, but with a ResourceWarning.
    """
    deadline = monotonic() + PATIENCE
    while monotonic() < deadline:
        with open('/proc/{}/stat'.format(child.pid)) as stat:
            if stat.read().rpartition(')')[2].split()[0] == 'S':
                return
    raise AssertionError('the child is busy')


def interrupt(server, last, websocket='url, proxies={}', loop='websocket', reached=None):
    """Run the program, and interrupt it after it printed ``last``; return what it prints then."""
    child = subprocess.Popen(
        [sys.executable, '-W', 'error', '-c', CHILD.format(websocket=websocket, loop=loop),
         server.url],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    killer = threading.Timer(PATIENCE, child.kill)
    killer.start()
    try:
        line = None
        while line != last:
            line = child.stdout.readline().decode('ascii').strip()
            assert line, child.stderr.read()
        if reached is not None:
            assert reached.wait(PATIENCE)
        wait_until_asleep(child)
        os.kill(child.pid, signal.SIGINT)
        out, err = child.communicate()
    finally:
        killer.cancel()
        if child.poll() is None:
            child.kill()
            child.wait()
    assert err == b''
    assert child.returncode == 0
    return out.decode('ascii').splitlines()


ENDED = ['interrupted', 'left open: []', 'closed']


@pytest.mark.parametrize('loop, script, last', [
    ('websocket.connect(poll=None, ping_rate=0)', accept_and_send(), 'poll'),
    ('persist(websocket, poll=None, ping_rate=0)', accept_and_send(), 'poll'),
    ('websocket', drain, 'connected'),
    ('persist(websocket, min_wait=60, max_wait=60)', lambda sock: sock.close(), 'back_off'),
    ('pooled(websocket)', accept_and_send(), 'ready'),
    ('pooled(websocket)', drain, 'connected'),
    ('pooled(websocket, ReconnectPolicy(min_wait=60))', lambda sock: sock.close(), 'back_off'),
], ids=['open', 'persist', 'handshake', 'back off', 'pool', 'pool, handshake', 'pool, back off'])
def test_ctrl_c_while_the_loop_waits(loop, script, last):
    with RawServer(script) as server:
        assert interrupt(server, last, loop=loop) == ENDED


def test_ctrl_c_while_a_name_is_looked_up():
    class Nowhere(object):
        url = 'ws://far.invalid/'
    assert interrupt(
        Nowhere, 'resolving', websocket='url, proxies={}, resolver=resolve') == ENDED


def test_ctrl_c_while_tcp_connects(full_listener):
    class Full(object):
        url = 'ws://127.0.0.1:{}/'.format(full_listener[1])
    assert interrupt(Full, 'trace resolve', websocket='url, proxies={}, trace=trace') == ENDED


@pytest.mark.parametrize('websocket', [
    '"wss" + url[2:], proxies={}',
    '"ws://far.invalid/", proxies={"http": "http" + url[2:]}',
    '"ws://far.invalid/", proxies={"http": "https" + url[2:]}',
], ids=['TLS', 'proxy', 'TLS to the proxy'])
def test_ctrl_c_while_the_other_end_of_the_first_hop_is_silent(websocket):
    reached = threading.Event()

    def script(sock):
        sock.recv(1)
        reached.set()
        drain(sock)

    with RawServer(script) as server:
        assert interrupt(server, 'connecting', websocket, reached=reached) == ENDED


@needs_refcounts
@pytest.mark.parametrize('text', [b'send', b'close'])
def test_ctrl_c_while_the_server_takes_nothing_in_or_says_nothing(text):
    """In the midst of a send, and with the Close frame unanswered."""
    reached = threading.Event()
    is_over = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, text))
        sock.recv(1)
        reached.set()
        wait_for(is_over)

    with RawServer(script) as server:
        lines = interrupt(server, 'text', reached=reached)
        is_over.set()
    assert [line for line in lines if line != 'poll'] == ENDED


# -- in the midst of much --

# SIGALRM stands for Ctrl-C. The number of each message shows that none before it was lost.
FLOODED = """
import signal, sys
from lomond import WebSocket

def interrupt(_signum, _frame):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
count = 0
try:
    for event in WebSocket(sys.argv[1], proxies={}):
        if event.name == 'text':
            assert event.text.strip('x') == str(count % 1000), count
            if not count:
                signal.setitimer(signal.ITIMER_REAL, 0.2)
            count += 1
        elif event.name not in ('connecting', 'connected', 'ready', 'poll'):
            print(event)
except KeyboardInterrupt:
    print('interrupted')
"""


def whole(text):
    return make_frame(1, text)


def fragmented(text):
    """Return a message in almost as many fragments as it may have."""
    return make_frame(1, fin=False) + make_frame(0, b'x', fin=False) * 100000 + make_frame(0, text)


@pytest.mark.parametrize('make', [whole, fragmented])
def test_ctrl_c_ends_a_flood_of_tiny_frames(make):
    def script(sock):
        answer_upgrade(sock)
        for number in itertools.cycle(range(1000)):
            sock.sendall(make(str(number).encode('ascii')))

    with RawServer(script) as server:
        assert run_program(FLOODED, server.url) == 'interrupted\n'
