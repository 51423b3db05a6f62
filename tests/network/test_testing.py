"""lomond.testing: what it promises to those that test programs with it."""

from __future__ import absolute_import, division, print_function

import socket
import ssl

import pytest

from lomond import WebSocket
from lomond._compat import monotonic
from lomond.http.answer import ResponseReader
from lomond.protocol.handshake import RequestReader
from lomond.server import ServerWebSocket
from lomond.testing import Clock, Inside, open_over
from tests.network.driving import accept_and_send
from tests.support import (
    PATIENCE,
    RawServer,
    make_frame,
    read_frame,
)


def test_clock_is_the_system_s_until_it_is_put_forward():
    clock = Clock()
    before = monotonic()
    now = clock()
    assert before <= now <= monotonic()
    clock.ahead += 1000
    assert now + 1000 <= clock() <= monotonic() + 1000


def test_timers_of_a_connection_go_by_the_clock():
    """An hour of polls, without a wait."""
    clock = Clock()
    with RawServer(accept_and_send()) as server:
        websocket = WebSocket(server.url, proxies={})
        polls = 0
        for event in websocket.connect(session_class=clock.session, poll=600, ping_rate=0):
            if event.name == 'poll':
                polls += 1
                clock.ahead += 600
                if polls == 7:
                    websocket.force_disconnect()
    assert polls == 7
    assert 4200 <= websocket.session.session_time < 4200 + PATIENCE


# -- open_over --

@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE)
    yield ours, theirs
    theirs.close()


def test_open_websocket_sends_to_the_socket_and_makes_events_of_what_it_is_fed(
        nothing_is_left_open, pair):
    ours, theirs = pair
    websocket = open_over(ours, compress=True, max_message_size=5)
    assert websocket.is_open
    assert not websocket.supports_compression       # nothing was negotiated
    websocket.send_text(u'Hello')
    assert read_frame(theirs) == (0x81, b'Hello')
    assert [event.text for event in websocket.feed(make_frame(1, b'Hello'))] == [u'Hello']
    assert [event.name for event in websocket.feed(make_frame(1, b'Hello!'))] == ['protocol_error']
    websocket.session.dispose()
    assert websocket.is_closed
    assert b'' in (theirs.recv(100), theirs.recv(100))


def test_disposing_of_the_session_closes_an_open_websocket(nothing_is_left_open, pair):
    ours, theirs = pair
    websocket = open_over(ours)
    assert websocket.state == 'open'
    websocket.session.dispose()
    assert websocket.state == 'closed'
    assert theirs.recv(100) == b''


def test_open_websocket_takes_a_transport_as_well():
    class Kept(object):
        sent = b''

        def send(self, data, timeout):
            self.sent += data

    transport = Kept()
    open_over(transport).send_binary(b'\0')
    assert transport.sent[:2] == b'\x82\x81'


# -- Inside --

def test_sock_and_locks_are_those_of_the_connection(link):
    with link.serve(accept_and_send()) as server:
        websocket = link.connect(server.url)
        for event in websocket:
            if event.name == 'ready':
                inside = Inside(websocket)
                assert inside.sock.fileno() == websocket.session.transport.fileno()
                assert isinstance(inside.sock, ssl.SSLSocket) is websocket.is_secure
                for lock in inside.locks.values():
                    with lock:
                        pass
                websocket.close()


def test_key_is_that_of_the_next_request():
    websocket = WebSocket(u'ws://example.org/')
    Inside(websocket).key = b'dGhlIHNhbXBsZSBub25jZQ=='
    assert Inside(websocket).key == websocket.key == b'dGhlIHNhbXBsZSBub25jZQ=='
    assert b'\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n' in websocket.build_request()


@pytest.mark.parametrize('websocket, reader', [
    (WebSocket(u'ws://example.org/'), ResponseReader(10, 10)),
    (ServerWebSocket(None, None), RequestReader(10)),
], ids=['client', 'server'])
def test_reader_is_what_reads_the_peers_head(websocket, reader):
    inside = Inside(websocket)
    assert type(inside.reader) is type(reader)
    inside.reader = reader
    assert inside.reader is reader
    if isinstance(websocket, ServerWebSocket):
        assert not list(websocket.feed(b'GET / HTTP/1.1\r\n'))
        assert websocket.take_answer().startswith(b'HTTP/1.1 431 ')
    else:
        assert [event.name for event in websocket.feed(b'HTTP/1.1 101 \r\n')] == ['protocol_error']
