"""A process that forks while its pool runs: the connections stay those of the parent."""

from __future__ import absolute_import, division, print_function

import socket
import struct

import pytest

from tests.network.driving import accept_and_send, echo, run_program
from tests.network.pools import WAYS_HERE
from tests.network.test_forks import needs_fork
from tests.support import PATIENCE, RawServer, answer_upgrade, make_close, make_frame, read_frame

pytestmark = pytest.mark.costly

# The parent forks when all are ready, and each has a message echoed afterwards.
PROGRAM = """
import gc, os, signal, sys
from lomond import WebSocket
from lomond._multiplexer import Multiplexer
from lomond.pool import Pool

pool = Pool()
pool._multiplexer = Multiplexer(ways=({way!r},))
for _ in range(5):
    pool.add(WebSocket(sys.argv[1], ssl_cafile=sys.argv[2] or None, proxies={{}}), ping_rate=0)
loop = iter(pool)
ready = set()
while len(ready) < 5:
    websocket, event = next(loop)
    if event.name == 'ready':
        ready.add(websocket)
child = os.fork()
if child == 0:
    signal.alarm({patience})
    {ending}
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
for websocket in ready:
    websocket.send_text(u'still here')
ends = []
for websocket, event in loop:
    if event.name == 'text':
        websocket.close()
    elif event.name == 'disconnected':
        ends.append(event.graceful)
print(ends)
"""


@needs_fork
@pytest.mark.parametrize('way', WAYS_HERE)
@pytest.mark.parametrize('ending', [
    'loop.close()',
    'del loop; gc.collect()',
    'sys.exit()',
    'assert list(loop) == []',
    'pool.remove(websocket); assert list(loop) == []',
    'websocket.force_disconnect(); loop.close()',
], ids=['close', 'collector', 'exit', 'iterate', 'remove', 'force_disconnect'])
def test_what_a_child_does_with_the_loop_leaves_the_parents_messages_alone(
        link, authority_file, way, ending):
    program = PROGRAM.format(way=way, ending=ending, patience=int(PATIENCE))
    with link.serve(echo) as server:
        output = run_program(
            program, server.url, authority_file if 'wss' in server.url else '',
            flags=['-W', 'error'])
    assert output == '[True, True, True, True, True]\n'


@needs_fork
def test_a_child_that_iterates_on_has_what_was_read_before_the_fork_at_most():
    source = """
import os, signal, sys
from lomond import WebSocket
from lomond.pool import Pool

pool = Pool()
websocket = pool.add(WebSocket(sys.argv[1], proxies={{}}), ping_rate=0)
loop = iter(pool)
texts = []
for _websocket, event in loop:
    if event.name == 'text':
        texts.append(event.text)
    if texts == [u'0']:
        child = os.fork()
        if child == 0:
            signal.alarm({patience})
            os._exit(len(list(loop)) > 4)
        assert os.waitpid(child, 0)[1] == 0
    if len(texts) == 5:
        websocket.close()
print(len(texts))
""".format(patience=int(PATIENCE))

    script = accept_and_send(*[make_frame(1, b'%d' % number) for number in range(5)])
    with RawServer(script) as server:
        assert run_program(source, server.url, flags=['-W', 'error']) == '5\n'


# The child holds the descriptors until its parent has ended. The parent counts its waits.
HELD = """
import os, signal, sys, time
from lomond import WebSocket
from lomond.net import waiter
from lomond.persist import ReconnectPolicy
from lomond.pool import Pool

waits = []
wait = waiter.Waiter.wait
waiter.Waiter.wait = lambda self, timeout: waits.append(None) or wait(self, timeout)

policy = ReconnectPolicy(min_wait=3600, max_wait=3600) if {persists} else None
pool = Pool(ends_when_empty=False)
websocket = pool.add(WebSocket(sys.argv[1], proxies={{}}), policy, ping_rate=0, close_timeout=1)
child = None
polls = 0
for _websocket, event in pool.polling(0.1):
    if event.name == 'ready':
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writer)
            signal.alarm({patience})
            os.read(reader, 1)
            os._exit(0)
        websocket.send_text(u'forked')
    elif event.name in ('disconnected', 'back_off'):
        del waits[:]
        polls = 0
    elif event.name == 'poll':
        polls += 1
        if polls == 10 and (websocket.is_closed or not len(pool)):
            print(len(waits) < 200)     # a loop that spins waits a hundred thousand times
            break
        assert polls < 200
os.close(writer)
assert os.waitpid(child, 0)[1] == 0
"""


def end_of_file(sock):
    """End TCP in order."""


def close_frame(sock):
    """End by the closing handshake."""
    sock.sendall(make_close(1000))
    read_frame(sock)


def reset(sock):
    """End TCP by a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))


@needs_fork
@pytest.mark.skipif('epoll' not in WAYS_HERE, reason='there is no epoll')
@pytest.mark.parametrize('persists', [False, True])
@pytest.mark.parametrize('end', [end_of_file, close_frame, reset])
def test_the_parent_does_not_spin_when_a_connection_has_ended_that_its_child_holds(end, persists):
    def script(sock):
        answer_upgrade(sock)
        read_frame(sock)
        end(sock)

    with RawServer(script) as server:
        source = HELD.format(persists=persists, patience=int(PATIENCE))
        assert run_program(source, server.url, flags=['-W', 'error']) == 'True\n'


@needs_fork
def test_a_pool_that_was_made_before_a_fork_runs_in_both_processes():
    source = """
import os, sys
from lomond import WebSocket
from lomond.pool import Pool

pool = Pool()
websocket = pool.add(WebSocket(sys.argv[1], proxies={}))
child = os.fork()
names = []
for websocket, event in pool:
    names.append(event.name)
    if event.name == 'ready':
        websocket.close()
assert names[-2:] == ['closed', 'disconnected'], names
if child == 0:
    os._exit(0)
print(os.waitpid(child, 0)[1])
"""
    with RawServer(echo) as server:
        assert run_program(source, server.url, flags=['-W', 'error']) == '0\n'
        assert server.connections == 2
