"""Connections that live while their messages stop: `idle_timeout`, `stale_disconnects`."""

from __future__ import absolute_import, division, print_function

import threading

import pytest

from lomond import WebSocket
from lomond.persist import ReconnectPolicy, persist
from lomond.testing import Clock
from tests.network.driving import drain, read_to_close, wait_for
from tests.network.test_timers import accept_and_answer_pings, accept_then_drain, fill
from tests.support import RawServer, answer_upgrade, make_frame, names, read_frame


def send_when_asked(*answers):
    """Make a script that sends one of the answers for each text, and answers the Close."""
    def script(sock):
        answer_upgrade(sock)
        left = list(answers)
        while True:
            first, payload = read_frame(sock)
            if first == 0x88:
                sock.sendall(make_frame(8, payload))
                return
            if first == 0x81:
                sock.sendall(left.pop(0))
    return script


def test_a_feed_that_stops_is_stale_though_the_server_answers_pings():
    clock = Clock()
    seen = []
    with RawServer(accept_and_answer_pings) as server:
        websocket = WebSocket(server.url)
        for event in websocket.connect(
                session_class=clock.session, poll=None, ping_rate=10, ping_timeout=40,
                idle_timeout=60):
            seen.append(event)
            if event.name in ('poll', 'pong'):
                clock.ahead += 10
            if names(seen).count('pong') == 20:
                break
    stale, = [event for event in seen if event.name == 'stale']
    assert 60 <= stale.idle < 80
    assert 'unresponsive' not in names(seen)
    assert names(seen[:seen.index(stale)]).count('pong') >= 5


def test_silence_is_noticed_in_real_time_again_and_again():
    """With no poll and no ping to make the loop look."""
    seen = []
    with RawServer(send_when_asked(*[make_frame(1, b'x')] * 3)) as server:
        websocket = WebSocket(server.url)
        for event in websocket.connect(poll=None, ping_rate=0, idle_timeout=0.03):
            seen.append(event)
            if event.name == 'stale':
                assert event.idle >= 0.02       # the clock of 2.7 has steps of 10 ms
                if names(seen).count('stale') == 4:
                    websocket.close()
                else:
                    websocket.send_text(u'more')
    assert names(seen)[3:] == ['stale', 'text'] * 3 + ['stale', 'closed', 'disconnected']
    assert seen[-1].graceful


@pytest.mark.parametrize('never', [None, 0])
def test_without_idle_timeout_silence_is_no_matter(never):
    clock = Clock()
    polls = 0
    with RawServer(accept_then_drain) as server:
        for event in WebSocket(server.url).connect(
                session_class=clock.session, poll=10, ping_rate=0, idle_timeout=never):
            assert event.name != 'stale'
            if event.name == 'poll':
                clock.ahead += 10000
                polls += 1
            if polls == 5:
                break


@pytest.mark.parametrize('frames', [
    make_frame(1, b'x'),
    make_frame(9, b'?') * 20000 + make_frame(2, b'x'),      # more than one read takes
    make_frame(1, b'x', fin=False) + make_frame(0, b'x'),
], ids=['text', 'binary after pings', 'fragments'])
def test_messages_that_waited_for_a_slow_body_are_no_silence(frames):
    clock = Clock()
    has_sent = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(frames[:65000])
        has_sent.set()
        sock.sendall(frames[65000:])
        drain(sock)

    with RawServer(script) as server:
        seen = []
        for event in WebSocket(server.url).connect(
                session_class=clock.session, poll=None, ping_rate=0, auto_pong=False,
                idle_timeout=3600):
            seen.append(event.name)
            if event.name == 'ready':
                wait_for(has_sent)
                clock.ahead += 10000
            elif event.name in ('text', 'binary'):
                break
    assert 'stale' not in seen


def test_all_that_waits_is_read_before_a_silence_is_reported():
    clock = Clock()
    seen = []
    with RawServer(accept_then_drain) as server:
        websocket = WebSocket(server.url)
        for event in websocket.connect(
                session_class=clock.session, poll=None, ping_rate=0, idle_timeout=60):
            seen.append(event.name)
            if event.name == 'poll':
                # As a send that waited may have read them ahead.
                for frame in [make_frame(1, b'x')] + [make_frame(9)] * 5:
                    websocket.session.transport.put_back(frame)
                clock.ahead += 1000
            elif event.name == 'text':
                break
    assert seen[3:] == ['poll'] + ['ping'] * 5 + ['text']


def test_a_silence_counts_from_the_read_of_the_message_however_long_its_handler_takes():
    clock = Clock()
    with RawServer(send_when_asked(make_frame(1, b'x'))) as server:
        websocket = WebSocket(server.url)
        for event in websocket.connect(
                session_class=clock.session, poll=None, ping_rate=0, idle_timeout=60):
            if event.name == 'ready':
                websocket.send_text(u'more')
            elif event.name == 'text':
                clock.ahead += 1000
            elif event.name == 'stale':
                break
    assert 1000 <= event.idle < 1060


def test_messages_that_a_send_reads_ahead_are_no_silence():
    """The send waits for the peer, which sends before it reads."""
    clock = Clock()

    def script(sock):
        answer_upgrade(sock)
        read_frame(sock)
        sock.sendall(make_frame(1, b'x'))
        session = websocket.session
        while not session.transport.backlog_size and not session.ahead_size:
            pass        # until that is read ahead
        drain(sock)

    seen = []
    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        for event in websocket.connect(
                session_class=clock.session, poll=5, ping_rate=0, idle_timeout=3600):
            seen.append(event.name)
            if event.name == 'ready':
                clock.ahead += 3000
                websocket.send_many([b'go'] + [b'x' * 100000] * 200)
                clock.ahead += 3000
            if event.name == 'poll' and 'text' in seen:
                clock.ahead += 5
            if seen.count('poll') == 4:
                break
    assert 'text' in seen
    assert 'stale' not in seen


def test_no_silence_is_reported_once_the_connection_is_closing():
    clock = Clock()
    seen = []
    with RawServer(accept_then_drain) as server:
        websocket = WebSocket(server.url)
        for event in websocket.connect(
                session_class=clock.session, poll=10, ping_rate=0, idle_timeout=60,
                close_timeout=None):
            seen.append(event.name)
            if event.name == 'ready':
                websocket.close()
            elif event.name == 'poll':
                clock.ahead += 100
            if seen.count('poll') == 5:
                break
    assert 'stale' not in seen


# -- stale_disconnects --

def run_to_stale(websocket, on_ready=None, on_stale=None):
    """Let a feed be silent for 60 seconds, and end; return the events."""
    clock = Clock()
    seen = []
    for event in websocket.connect(
            session_class=clock.session, poll=None, ping_rate=0, idle_timeout=60,
            stale_disconnects=True):
        seen.append(event)
        if event.name == 'ready':
            clock.ahead += 60
            if on_ready is not None:
                on_ready(websocket)
        elif event.name == 'stale' and on_stale is not None:
            on_stale()
    return seen


def test_a_stale_connection_is_closed_with_1001_and_not_waited_for():
    frames = []

    def script(sock):
        answer_upgrade(sock)
        frames.extend(read_to_close(sock))
        drain(sock)

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        seen = run_to_stale(websocket)
        server.wait_for_scripts()
    assert names(seen)[3:] == ['stale', 'disconnected']
    assert seen[-1].graceful is False
    assert 'idle_timeout' in seen[-1].reason
    assert frames[-1] == (0x88, b'\x03\xe9no message within idle_timeout')
    assert not websocket.session.is_aged


def test_a_stale_connection_ends_though_the_send_buffer_is_full():
    may_end = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(may_end)

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        seen = run_to_stale(websocket, on_ready=fill)
        may_end.set()
    assert names(seen)[3:] == ['stale', 'disconnected']
    assert 'idle_timeout' in seen[-1].reason
    assert websocket.close_sent is None


@pytest.mark.parametrize('end', ['close', 'force_disconnect'])
def test_a_stale_connection_may_be_ended_in_the_handler_of_the_event(end):
    with RawServer(accept_then_drain) as server:
        websocket = WebSocket(server.url)
        seen = run_to_stale(websocket, on_stale=getattr(websocket, end))
    assert names(seen)[3:] == ['stale', 'disconnected']
    assert 'idle_timeout' in seen[-1].reason


def test_persist_reconnects_a_stale_connection_by_its_policy():
    clock = Clock()
    seen = []
    with RawServer(accept_then_drain) as server:
        for event in persist(
                WebSocket(server.url), poll=None, ping_rate=0, idle_timeout=60,
                stale_disconnects=True, session_class=clock.session,
                policy=ReconnectPolicy(0, 1000, spread=1, random=lambda: 0.001)):
            seen.append(event)
            if event.name == 'ready':
                clock.ahead += 60
                if event.connection == 3:
                    break
    back_offs = [event for event in seen if event.name == 'back_off']
    # The policy has a clock of its own: to it these connections were short.
    assert [event.delay for event in back_offs] == [0.001, 0.002]
    assert all('idle_timeout' in event.reason for event in back_offs)
