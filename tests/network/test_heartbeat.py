"""Heartbeats: pongs that nobody asked for, by each way to drive a connection, at both ends."""

from __future__ import absolute_import, division, print_function

import socket
import threading

import pytest

from lomond import WebSocket, errors
from lomond.persist import ReconnectPolicy, persist
from lomond.pool import Pool
from lomond.server import Server
from lomond.testing import Clock
from tests.network.driving import Background, drain, read_to_close, wait_for
from tests.network.one_thread import Served
from tests.network.test_timers import accept_then_drain, fill
from tests.support import (
    PATIENCE,
    RawServer,
    answer_upgrade,
    make_close,
    read_frame,
    socket_at,
)

pytestmark = pytest.mark.usefixtures('clean_environment')

BEAT = (0x8a, b'')

#: Nothing else goes out.
OFTEN = {'ping_rate': 0, 'heartbeat': 0.02}


def read_and_close(frames, count=3):
    """Make a script that keeps so many frames in a list, and closes."""
    def script(sock):
        answer_upgrade(sock)
        for _ in range(count):
            frames.append(read_frame(sock))
        sock.sendall(make_close(1000))
        read_to_close(sock)
    return script


def by_pool(websocket, **options):
    pool = Pool()
    pool.add(websocket, **options)
    return [event for _websocket, event in pool]


def by_calls(websocket, **options):
    with websocket:
        websocket.open(**options)
        with pytest.raises(errors.WebSocketClosed):
            websocket.receive(PATIENCE)


DRIVERS = {
    'loop': lambda websocket: list(websocket.connect(poll=None, **OFTEN)),
    'persist': lambda websocket: list(persist(
        websocket, poll=None, policy=ReconnectPolicy(stop_on_code=[1000]), **OFTEN)),
    'pool': lambda websocket: by_pool(websocket, **OFTEN),
    'pool with a policy': lambda websocket: by_pool(
        websocket, policy=ReconnectPolicy(stop_on_code=[1000]), **OFTEN),
    'calls': lambda websocket: by_calls(websocket, **OFTEN),
    'calls in the background': lambda websocket: by_calls(websocket, background=True, **OFTEN),
}


@pytest.mark.parametrize('driver', sorted(DRIVERS))
def test_empty_pongs_go_out_by_heartbeat(driver):
    frames = []
    with RawServer(read_and_close(frames)) as server:
        websocket = WebSocket(server.url)
        DRIVERS[driver](websocket)
    assert frames == [BEAT] * 3


def get_pongs(url, count=3):
    """Connect to a server of this package until so many pongs came; return their payloads."""
    pongs = []
    websocket = WebSocket(url)
    for event in websocket.connect(poll=None, ping_rate=0):
        if event.name == 'pong':
            pongs.append(event.data)
            if len(pongs) == count:
                websocket.close()
    return pongs


def test_a_server_with_threads_sends_heartbeats_on_each_connection():
    with Server(list, poll=None, **OFTEN) as server:
        clients = [Background(get_pongs, server.url) for _ in range(2)]
        assert [client.result() for client in clients] == [[b''] * 3] * 2


def test_a_server_with_one_thread_sends_heartbeats_on_each_connection():
    with Served(heartbeat=0.02) as served:
        clients = [Background(get_pongs, served.server.url) for _ in range(2)]
        served.wait_for('disconnected', 2)
        assert [client.result() for client in clients] == [[b''] * 3] * 2


@pytest.mark.parametrize('never', [None, 0])
def test_without_heartbeat_no_pong_goes_out_unasked(never):
    clock = Clock()
    frames = []
    with RawServer(read_and_close(frames, 1)) as server:
        websocket = WebSocket(server.url)
        polls = 0
        for event in websocket.connect(
                session_class=clock.session, poll=10, ping_rate=0, heartbeat=never):
            if event.name == 'poll':
                clock.ahead += 1000
                polls += 1
                if polls == 5:
                    websocket.send_text(u'the end')
    assert frames == [(0x81, b'the end')]


def test_after_a_late_loop_there_is_one_heartbeat_not_those_that_were_missed():
    clock = Clock()
    frames = []
    with RawServer(read_and_close(frames, 9)) as server:
        websocket = WebSocket(server.url)
        for event in websocket.connect(
                session_class=clock.session, poll=1000, ping_rate=0, heartbeat=100):
            if event.name == 'poll' and websocket.is_open:
                websocket.send_text(u'late')
                clock.ahead += 1000
    assert frames[:8] == [(0x81, b'late'), BEAT] * 4


def test_heartbeats_and_pings_are_independent():
    """A peer that answers neither is judged by the pings alone."""
    clock = Clock()
    frames = []

    def script(sock):
        answer_upgrade(sock)
        while True:
            frames.append(read_frame(sock))

    with RawServer(script) as server:
        seen = []
        for event in WebSocket(server.url).connect(
                session_class=clock.session, poll=10, ping_rate=30, ping_timeout=60, heartbeat=10):
            seen.append(event.name)
            if event.name == 'poll':
                clock.ahead += 10
        server.wait_for_scripts()
    assert seen[-2:] == ['unresponsive', 'disconnected']
    assert seen.count('poll') == 6
    assert [first for first, _payload in frames] == [0x8a, 0x8a, 0x89, 0x8a, 0x8a, 0x8a, 0x89, 0x8a]


def test_without_pings_a_peer_that_gets_heartbeats_is_never_unresponsive():
    clock = Clock()
    with RawServer(accept_then_drain) as server:
        seen = []
        for event in WebSocket(server.url).connect(
                session_class=clock.session, poll=100, ping_rate=0, ping_timeout=5, heartbeat=10):
            seen.append(event.name)
            if event.name == 'poll':
                clock.ahead += 100
            if seen.count('poll') == 5:
                break
    assert 'unresponsive' not in seen


def test_no_heartbeat_waits_while_the_send_buffer_is_full():
    """A send that timed out would break the connection: here nobody sends but the loop."""
    may_read = threading.Event()
    received = []

    def script(sock):
        answer_upgrade(sock)
        wait_for(may_read)
        received.append(drain(sock))

    clock = Clock()
    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        polls = 0
        for event in websocket.connect(
                session_class=clock.session, poll=10, ping_rate=0, heartbeat=10):
            if event.name == 'poll':
                fill(websocket)
                clock.ahead += 10
                polls += 1
            if polls == 20:
                break
        may_read.set()
        server.wait_for_scripts()
    assert received[0].strip(b'\0') == b''


def iterate_by(driver, websocket, **options):
    """Return an iterator over the events."""
    if driver == 'loop':
        return websocket.connect(poll=None, **options)
    pool = Pool()
    pool.add(websocket, **options)
    return (event for _websocket, event in pool)


@pytest.mark.parametrize('driver', ['loop', 'pool'])
def test_a_heartbeat_that_fails_ends_the_connection(driver):
    may_end = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(may_end)

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        for event in iterate_by(driver, websocket, **OFTEN):
            if event.name == 'ready':
                with socket_at(websocket.fileno()) as sock:
                    sock.shutdown(socket.SHUT_WR)   # the loop goes on reading, in vain
        may_end.set()
    assert event.name == 'disconnected'
    assert not event.graceful
    assert 'could not send' in event.reason
