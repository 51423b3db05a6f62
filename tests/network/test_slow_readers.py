"""A peer that sends and doesn't read: the loop's own frames wait, the loop doesn't."""

from __future__ import absolute_import, division, print_function

import socket
import threading

import pytest

from lomond import WebSocket, errors
from lomond.net.transport import RECEIVE_SIZE
from lomond.net.waiter import WRITE, wait
from lomond.testing import Clock
from tests.network.driving import (
    Background,
    count_steps,
    drain,
    read_to_close,
    wait_for,
    wait_until_sending,
)
from tests.support import (
    PATIENCE,
    RawServer,
    answer_upgrade,
    make_close,
    make_frame,
    names,
    needs_refcounts,
    read_frame,
)

pytestmark = pytest.mark.usefixtures('nothing_is_left_open')


# Buffers of this size, in bytes, that don't grow: once full, they stay full.
BUFFER = 64 * 1024
SMALL = [(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)]


def fill(websocket, moment=0.1):
    """Send messages until the system takes no more, nor has sent some on a moment later.

    Even then it may find room once more, when it tries to reach the peer again: a test that
    can't do with that fills it again, right before it counts.
    """
    descriptor = websocket.session.interest[0][0]
    while wait(((descriptor, WRITE),), moment):
        websocket.send_binary(b'x' * 1000)


def count_polls(events):
    return [event.name for event in events].count('poll')


def test_a_peer_that_pings_and_does_not_read_does_not_hold_up_the_loop(link):
    """The latest pong goes out when there is room (RFC 6455 5.5.3)."""
    is_full = threading.Event()
    may_read = threading.Event()
    frames = []

    def script(sock):
        answer_upgrade(sock)
        wait_for(is_full)
        for number in range(100):
            sock.sendall(make_frame(9, b'%03d' % number))
        sock.sendall(make_frame(1, b'and a text'))
        wait_for(may_read)
        frames.append(read_frame(sock))
        while frames[-1] != (0x8a, b'099'):
            frames.append(read_frame(sock))
        sock.sendall(make_close(1000))
        frames.extend(read_to_close(sock))

    with link.serve(script, receive_buffer=BUFFER) as server:
        websocket = link.connect(server.url, write_timeout=None, socket_options=SMALL)
        events = []
        for event in websocket.connect(poll=0.01, ping_rate=0):
            events.append(event)
            if event.name == 'ready':
                fill(websocket)
                is_full.set()
            elif event.name == 'ping':
                fill(websocket, moment=0)
            elif event.name == 'poll' and 'text' in names(events):
                may_read.set()
    assert names(events)[3:] == ['ping'] * 100 + ['text', 'closing', 'disconnected']
    assert events[-1].graceful
    pongs = [payload for first, payload in frames if first == 0x8a]
    assert pongs[-1] == b'099'
    assert len(pongs) < 100


@pytest.mark.parametrize('does_read', [True, False], ids=['later', 'never'])
def test_a_close_that_finds_no_room_waits_for_it_but_not_for_ever(does_read):
    """Over a pair of sockets: TCP, on a busy machine, may find space in a buffer that was full."""
    is_full = threading.Event()
    may_read = threading.Event()
    frames = []

    def script():
        answer_upgrade(theirs)
        wait_for(is_full)
        theirs.sendall(make_close(4000))
        wait_for(may_read)
        if does_read:
            frames.extend(read_to_close(theirs))
        theirs.close()

    clock = Clock()
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE)
    peer = Background(script)
    websocket = WebSocket(u'ws://example.org/', write_timeout=None, sock=ours)
    events = []
    for event in websocket.connect(
            session_class=clock.session, poll=0.01, ping_rate=0, close_timeout=20):
        events.append(event)
        if event.name == 'ready':
            fill(websocket, moment=0)
            is_full.set()
        elif event.name == 'poll' and 'closing' in names(events):
            if does_read:
                may_read.set()
            else:
                clock.ahead += 5
    may_read.set()
    peer.result()
    assert names(events)[3:] == ['closing', 'disconnected']
    assert events[-1].graceful == does_read
    assert count_polls(events) > 1
    if does_read:
        assert frames[-1] == (0x88, b'\x0f\xa0')
    else:
        assert 'could not be sent' in events[-1].reason


def test_a_close_that_ends_a_full_read_and_finds_no_room_does_not_make_the_loop_spin():
    is_full = threading.Event()
    is_sent = threading.Event()
    may_end = threading.Event()
    steps = []

    def script(sock):
        answer_upgrade(sock)
        wait_for(is_full)
        close = make_close(4000)
        sock.sendall(make_frame(2, b'x' * (RECEIVE_SIZE - 4 - len(close))) + close)
        is_sent.set()
        wait_for(may_end)

    with RawServer(script, receive_buffer=BUFFER) as server:
        websocket = WebSocket(server.url, write_timeout=None, socket_options=SMALL)
        events = []
        for event in websocket.connect(poll=None, ping_rate=0, close_timeout=0.2):
            events.append(event)
            if event.name == 'ready':
                fill(websocket)
                is_full.set()
                wait_for(is_sent)
                count_steps(websocket.session, steps)
        may_end.set()
    assert names(events)[3:] == ['binary', 'closing', 'disconnected']
    assert len(steps) < 20


def test_a_close_waits_for_another_threads_send_but_the_loop_does_not():
    is_ready = threading.Event()
    is_blocked = threading.Event()
    may_read = threading.Event()
    frames = []

    def script(sock):
        answer_upgrade(sock)
        wait_for(is_blocked)
        sock.sendall(make_close(4000))
        wait_for(may_read)
        frames.extend(read_to_close(sock))

    with RawServer(script, receive_buffer=BUFFER) as server:
        websocket = WebSocket(
            server.url, write_timeout=None, socket_options=SMALL, fragment_size=None)

        def loop():
            events = []
            for event in websocket.connect(poll=0.01, ping_rate=0):
                events.append(event)
                if event.name == 'ready':
                    is_ready.set()
                elif event.name == 'poll' and 'closing' in names(events):
                    may_read.set()
            return events

        reader = Background(loop)
        wait_for(is_ready)
        sender = Background(websocket.send_binary, b'x' * (12 * 1024 * 1024))
        wait_until_sending(websocket)
        is_blocked.set()
        sender.result()
        events = reader.result()
    assert names(events)[3:] == ['closing', 'disconnected']
    assert events[-1].graceful
    assert [first for first, _payload in frames] == [0x82, 0x88]


def test_a_loop_that_waits_for_room_does_not_spin():
    """A pong is owed, and there is no room: it steps with the timers only."""
    is_full = threading.Event()
    may_end = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(is_full)
        sock.sendall(make_frame(9, b'?'))
        wait_for(may_end)

    with RawServer(script, receive_buffer=BUFFER) as server:
        websocket = WebSocket(server.url, socket_options=SMALL)
        loop = websocket.connect(poll=0.2, ping_rate=0)
        for event in loop:
            if event.name == 'ready':
                fill(websocket)
                is_full.set()
            elif event.name == 'ping':
                break
        steps = []
        count_steps(websocket.session, steps)
        assert next(loop).name == 'poll'
        loop.close()
        may_end.set()
    assert len(steps) < 5


@needs_refcounts
def test_a_sender_that_is_in_the_way_does_not_make_the_loop_spin():
    is_ready = threading.Event()
    is_blocked = threading.Event()
    may_end = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(is_blocked)
        sock.sendall(make_frame(9, b'?'))
        wait_for(may_end)
        drain(sock)

    with RawServer(script, receive_buffer=BUFFER) as server:
        websocket = WebSocket(server.url, socket_options=SMALL)
        steps = []

        def loop():
            for event in websocket.connect(poll=0.2, ping_rate=0):
                if event.name == 'ready':
                    is_ready.set()
                elif event.name == 'ping':
                    count_steps(websocket.session, steps)
                elif event.name == 'poll' and steps:
                    break

        reader = Background(loop)
        wait_for(is_ready)
        sender = Background(websocket.send_binary, b'x' * (12 * 1024 * 1024))
        wait_until_sending(websocket)
        is_blocked.set()
        reader.result()
        may_end.set()
        with pytest.raises(errors.WebSocketError):
            sender.result()
    assert len(steps) < 5
