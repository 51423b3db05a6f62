"""Keep 10,000 connections in a pool, broken in many ways, for ten minutes.

    python compliance/soak_pool.py [--connections 10000] [--seconds 600] [--quick]

Each connects again when it was broken. The events of each have to come in
order, and its connections have to end in the way that belongs to it.
Descriptors, threads and memory must not grow from the second quarter of the
time to the last. Then the peer, `soak_pool_peer.py`, is calm: all have to be
open in the end, and the pool must use next to no CPU. Once it is closed,
nothing may be left. Needs Linux and Python 3.
"""

from __future__ import absolute_import, division, print_function

import argparse
import collections
import json
import logging
import os
import resource
import socket
import subprocess
import sys
import threading
import time

from soak import ALLOWED_GROWTH, HERE, look, tune_malloc

from lomond import WebSocket, errors
from lomond.persist import ReconnectPolicy
from lomond.pool import Pool

#: The event that each connection, or attempt, leads to; by the peer's manner.
WAYS = {
    'end': 'disconnected', 'reset': 'disconnected', 'say_goodbye': 'closing',
    'fall_silent': 'unresponsive', 'tear': 'disconnected', 'break_rules': 'protocol_error',
    'stop_reading': 'disconnected', 'reject': 'rejected', 'cut_the_head': 'disconnected',
    'alert': 'connect_fail', 'refuse': 'connect_fail'}

#: Those that never lead to a connection, even if the peer is calm.
NEVER_OPEN = ('alert', 'refuse')

_OPEN = {'text', 'pong', 'closing', 'closed', 'protocol_error', 'unresponsive', 'disconnected'}

#: What may come after each event.
FOLLOWERS = {
    None: {'connecting'},
    'connecting': {'connected', 'connect_fail'},
    'connected': {'ready', 'rejected', 'protocol_error', 'disconnected'},
    'ready': _OPEN, 'text': _OPEN, 'pong': _OPEN,
    'closing': {'closed', 'disconnected'},
    'closed': {'disconnected'}, 'protocol_error': {'disconnected'}, 'rejected': {'disconnected'},
    'unresponsive': {'disconnected'},
    'disconnected': {'back_off'}, 'connect_fail': {'back_off'},
    'back_off': {'connecting'}}

PING_TIMEOUT = 10
POLICY = ReconnectPolicy(min_wait=1, max_wait=10)

#: How much of a CPU the pool may use while nothing happens but pings.
IDLE = 0.25


class Member(object):
    """A websocket's tag: how it is broken, its last event, whether the awaited one has come."""

    def __init__(self, way):
        self.way = way
        self.last = None
        self.is_broken = False

    def check(self, name):
        """Check an event; return whether a connection has ended."""
        assert name in FOLLOWERS[self.last], '{}: {} after {}'.format(self.way, name, self.last)
        self.last = name
        if name == WAYS[self.way]:
            self.is_broken = True
        if name == 'back_off':
            assert self.is_broken, '{}: no {}'.format(self.way, WAYS[self.way])
            self.is_broken = False
        return name == 'back_off'


def start_peer():
    """Start the peer; return its process and the ports by manner, with one that refuses."""
    process = subprocess.Popen(
        [sys.executable, os.path.join(HERE, 'soak_pool_peer.py')],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    ports = json.loads(process.stdout.readline().decode('ascii'))
    sock = socket.socket()      # bound, and not listening
    sock.bind(('127.0.0.1', 0))
    ports['refuse'] = sock.getsockname()[1]
    return process, ports, sock


def fill(pool, ports, count):
    ways = sorted(WAYS)
    for number in range(count):
        way = ways[number % len(ways)]
        pool.add(
            WebSocket('{}://127.0.0.1:{}/'.format('wss' if way == 'alert' else 'ws', ports[way]),
                      proxies={}, write_timeout=5,
                      socket_options=[(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)]),
            POLICY, tag=Member(way), ping_timeout=PING_TIMEOUT, close_timeout=5)


def churn(pool, loop, seconds):
    """Let connections break and come back; return samples of what the process has."""
    samples, counts, ended = [], collections.Counter(), 0
    until = time.time() + seconds
    for websocket, event in loop:
        if websocket is None:
            samples.append(sample())
            if time.time() > until:
                break
            continue
        ended += take(websocket, event)
        counts[event.name] += 1
    print('{:,} connections or attempts ended; {}'.format(ended, dict(counts)))
    return samples


def take(websocket, event):
    if event.name == 'text' and event.text == 'go':
        try:
            for _ in range(4):
                websocket.send_binary(b'x' * 10000)
        except errors.WebSocketError:
            pass
    return websocket.tag.check(event.name)


def sample():
    """Return the descriptors, the threads and the memory in bytes of this moment."""
    with open('/proc/self/statm') as statm:
        memory = int(statm.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
    return len(os.listdir('/proc/self/fd')), threading.active_count(), memory


def check_flat(samples):
    """Fail if there is more in the last quarter than in the second."""
    quarter = len(samples) // 4
    for index, what in enumerate(('descriptors', 'threads', 'bytes of memory')):
        before, after = (
            max(found[index] for found in part)
            for part in (samples[quarter:2 * quarter], samples[-quarter:]))
        print('at most {:,} {}, later {:,}'.format(before, what, after))
        assert after <= before * ALLOWED_GROWTH, '{} have grown'.format(what)


def calm_down(pool, loop):
    """Wait until all are open; return the share of a CPU that the pool uses then."""
    for websocket in pool.websockets:
        if websocket.tag.way in NEVER_OPEN:
            pool.remove(websocket)
    started = used = None
    deadline = time.time() + 120
    for websocket, event in loop:
        if websocket is not None:
            take(websocket, event)
            continue
        now = time.time()
        if started is not None and now > started + 5:
            return (time.process_time() - used) / (now - started)
        waiting = [one.tag.way for one in pool.websockets if not one.is_open]
        if waiting:
            assert now < deadline, 'not open again: {}'.format(collections.Counter(waiting))
            started = None
        elif started is None:
            started, used = now, time.process_time()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--connections', type=int, default=10000)
    parser.add_argument('--seconds', type=int, default=600)
    parser.add_argument('--quick', action='store_true', help='2,000 connections')
    arguments = parser.parse_args()
    count = 2000 if arguments.quick else arguments.connections
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    tune_malloc()
    logging.getLogger('lomond').addHandler(logging.NullHandler())

    before = look()
    peer, ports, dead = start_peer()
    try:
        pool = Pool(max_queue=16 * 1024)
        fill(pool, ports, count)
        loop = pool.polling(0.5)
        check_flat(churn(pool, loop, arguments.seconds))
        peer.stdin.write(b'calm\n')
        peer.stdin.flush()
        share = calm_down(pool, loop)
        print('all of {:,} are open; idle, they use {:.1%} of a CPU'.format(len(pool), share))
        assert share < IDLE, 'the idle pool is busy'
        pool.close()
        for websocket, event in loop:
            if websocket is not None:
                websocket.tag.last = event.name
        assert not len(pool)
    finally:
        peer.stdin.close()
        peer.stdout.close()
        assert peer.wait() == 0, 'the peer failed'
        dead.close()
    after = look()
    print('before: {} descriptors, {} threads; after: {}, {}'.format(*(before[:2] + after[:2])))
    assert after[:2] == before[:2], 'descriptors or threads were left behind'


if __name__ == '__main__':
    main()
