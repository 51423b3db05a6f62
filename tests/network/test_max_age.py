"""Connections that are replaced once they are old enough: `max_age`."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond import WebSocket
from lomond.engine.phases import EndKind
from lomond.persist import persist
from lomond.session import WebsocketSession
from lomond.testing import Clock
from tests.network.driving import accept_and_hang_up, drain, echo, read_to_close
from tests.network.test_timers import accept_then_drain
from tests.support import RawServer, answer_upgrade, make_close, make_frame, names, read_head


def session_class(clock, draw=0.0):
    """Return a class of sessions with a clock and a random number of the test's."""
    class Session(WebsocketSession):
        random = staticmethod(lambda: draw)

        def __init__(self, websocket):
            super(Session, self).__init__(websocket, clock=clock)
    return Session


@pytest.mark.parametrize('draw, age', [(0.0, 90), (0.5, 95), (1.0, 100)])
def test_an_old_connection_is_closed_with_1001_at_an_age_drawn_from_the_last_tenth(draw, age):
    frames = []
    clock = Clock()

    def script(sock):
        answer_upgrade(sock)
        frames.extend(read_to_close(sock))
        sock.sendall(make_frame(8, frames[-1][1]))

    seen = []
    polls_while_open = 0
    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        for event in websocket.connect(
                session_class=session_class(clock, draw), poll=1, ping_rate=0, max_age=100):
            seen.append(event)
            if event.name == 'poll' and websocket.is_open:
                polls_while_open += 1
                clock.ahead += 1
    assert names(seen)[3:] == ['closed', 'disconnected']
    assert seen[-1].graceful
    assert frames == [(0x88, b'\x03\xe9the connection reached max_age')]
    assert age - 1 <= polls_while_open <= age + 1
    assert websocket.session.is_aged
    assert websocket.session.end.kind == EndKind.AGED


def test_an_old_connection_ends_in_real_time_without_polls():
    with RawServer(echo) as server:
        seen = names(WebSocket(server.url).connect(poll=None, ping_rate=0, max_age=0.03))
    assert seen == ['connecting', 'connected', 'ready', 'closed', 'disconnected']


def test_messages_still_arrive_after_the_close_of_an_old_connection():
    def script(sock):
        answer_upgrade(sock)
        read_to_close(sock)
        sock.sendall(make_frame(1, b'the last') + make_close(1001))
        drain(sock)

    with RawServer(script) as server:
        seen = list(WebSocket(server.url).connect(poll=None, ping_rate=0, max_age=0.03))
    assert names(seen)[3:] == ['text', 'closed', 'disconnected']
    assert seen[-1].graceful


def test_persist_replaces_an_old_connection_without_a_wait():
    clock = Clock()
    seen = []
    with RawServer(echo) as server:
        for event in persist(
                WebSocket(server.url), poll=None, ping_rate=0, max_age=86400, min_wait=1000,
                max_wait=1000, session_class=session_class(clock)):
            seen.append(event)
            if event.name == 'ready':
                clock.ahead += 86400
                if event.connection == 3:
                    break
    once = ['connecting', 'connected', 'ready', 'closed', 'disconnected', 'back_off']
    assert names(seen) == once * 2 + once[:3]
    for event in seen:
        if event.name == 'back_off':
            assert event.delay == 0.0
            assert 'max_age' in event.reason


def test_persist_does_not_wait_either_if_the_server_does_not_answer_the_close():
    clock = Clock()
    seen = []
    with RawServer(accept_then_drain) as server:
        for event in persist(
                WebSocket(server.url), poll=10, ping_rate=0, max_age=600, close_timeout=10,
                min_wait=1000, max_wait=1000, session_class=session_class(clock)):
            seen.append(event)
            if event.name == 'poll':
                clock.ahead += 600 if len(seen) == 4 else 10
            if names(seen).count('ready') == 2:
                break
    end, = [event for event in seen if event.name == 'disconnected']
    assert not end.graceful
    assert 'max_age' in end.reason
    assert 'back_off' in names(seen)


def test_persist_ends_if_the_user_closes_an_old_connection():
    clock = Clock()
    seen = []
    with RawServer(echo) as server:
        websocket = WebSocket(server.url)
        for event in persist(
                websocket, poll=None, ping_rate=0, max_age=600,
                session_class=session_class(clock)):
            seen.append(event)
            if event.name == 'ready':
                clock.ahead += 600
            elif event.name == 'closed':
                websocket.close()
    assert names(seen)[-1] == 'disconnected'


@pytest.mark.parametrize('end', ['close', 'force_disconnect'])
def test_a_connection_that_ended_before_is_not_an_old_one(end):
    clock = Clock()
    with RawServer(echo) as server:
        websocket = WebSocket(server.url)
        for event in websocket.connect(
                session_class=session_class(clock), poll=None, ping_rate=0, max_age=600,
                close_timeout=None):
            if event.name == 'poll':
                getattr(websocket, end)()
                clock.ahead += 600
    assert event.name == 'disconnected'
    assert not websocket.session.is_aged


@pytest.mark.parametrize('never', [None, 0])
def test_without_max_age_no_connection_is_too_old(never):
    clock = Clock()
    polls = 0
    with RawServer(accept_then_drain) as server:
        for event in WebSocket(server.url).connect(
                session_class=clock.session, poll=10, ping_rate=0, max_age=never):
            if event.name == 'poll':
                clock.ahead += 1e6
                polls += 1
            if polls == 5:
                break
    assert event.name == 'poll'


# -- the number of a connection --

def test_ready_has_the_number_of_the_connection():
    def refuse(sock):
        read_head(sock)
        sock.sendall(b'HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n')

    scripts = iter([accept_and_hang_up(), refuse, accept_and_hang_up(), accept_and_hang_up()])

    def script(sock):
        next(scripts)(sock)

    numbers = []
    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        for event in persist(websocket, min_wait=0, max_wait=0):
            if event.name == 'ready':
                numbers.append(event.connection)
                assert event.connection == websocket.stats.connections
                if len(numbers) == 2:
                    break
        # A loop of another kind counts on.
        numbers.extend(event.connection for event in websocket if event.name == 'ready')
    assert numbers == [1, 2, 3]
