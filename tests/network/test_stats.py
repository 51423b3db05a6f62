"""What a WebSocket tells of its traffic, against what went over the wire."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond import WebSocket
from lomond.server import Server
from lomond.testing import Clock
from tests.network.driving import echo_handler, read_to_close
from tests.support import RawServer, answer_upgrade, make_close, make_frame, names, read_frame

TEXTS = [u'x' * 10, u'sch\xf6n', u'', u'y' * 300]
BIG = b'z' * 70000


def converse(websocket, **options):
    """Send each message in turn, and wait for its echo; then close."""
    to_send = TEXTS + [BIG]
    received = []
    for event in websocket.connect(**options):
        if event.name in ('text', 'binary'):
            received.append(event)
        if event.name in ('ready', 'text', 'binary'):
            if not to_send:
                websocket.close()
            elif isinstance(to_send[0], bytes):
                websocket.send_binary(to_send.pop(0))
            else:
                websocket.send_text(to_send.pop(0))
    return received


PAYLOAD = sum(len(text.encode('utf-8')) for text in TEXTS) + len(BIG)
# 2 bytes of a header, 4 from 126 bytes on, 10 from 65,536 on; and a Close frame of 2 + 2.
HEADERS = 3 * 2 + 4 + 10


@pytest.mark.parametrize('compress', [False, True])
def test_messages_and_bytes_are_counted_each_way(compress):
    with Server(echo_handler, compress=compress) as server:
        websocket = WebSocket(server.url, compress=compress)
        assert len(converse(websocket)) == 5
        stats = websocket.stats
    for traffic in (stats.sent, stats.received):
        assert traffic.messages == 5
        assert traffic.payload_bytes == PAYLOAD
    if compress:
        assert stats.sent.wire_bytes < 1000
        assert stats.received.wire_bytes < 1000
    else:
        # Masking keys of 4 bytes, and our Close frame with 'goodbye' in it; the echo has none.
        assert stats.sent.wire_bytes == PAYLOAD + HEADERS + 5 * 4 + (2 + 4 + 2 + 7)
        assert stats.received.wire_bytes == PAYLOAD + HEADERS + (2 + 2)


def test_what_was_received_in_pieces_is_counted_once():
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'abc', fin=False) + make_frame(9, b'?')
                     + make_frame(0, b'de', fin=False) + make_frame(0, b''))
        sock.sendall(make_close(1000))
        read_to_close(sock)

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        list(websocket)
    received = websocket.stats.received
    assert (received.messages, received.payload_bytes) == (1, 5)
    assert received.wire_bytes == 5 + 3 + 4 + 2 + 4


def test_the_numbers_go_on_over_reconnects():
    with Server(echo_handler) as server:
        websocket = WebSocket(server.url)
        converse(websocket)
        clock = Clock()
        for event in websocket.connect(session_class=clock.session):
            if event.name == 'ready':
                clock.ahead += 5
                websocket.close()
        converse(websocket)
        stats = websocket.stats
        assert stats.sent.messages == 10
        assert stats.received.payload_bytes == 2 * PAYLOAD
        assert (stats.attempts, stats.connections, stats.reconnects) == (3, 3, 2)
        assert 5 <= stats.time_connected < 25


def test_an_attempt_that_fails_is_no_connection(dead_port):
    websocket = WebSocket('ws://127.0.0.1:{}/'.format(dead_port))
    assert names(websocket) == ['connecting', 'connect_fail']
    stats = websocket.stats
    assert (stats.attempts, stats.connections, stats.time_connected) == (1, 0, 0)


def test_round_trips_are_those_of_the_loops_own_pings():
    """Not of a pong that nobody asked for, nor of one to the user's ping."""
    clock = Clock()

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(10, b'') + make_frame(10, b'unasked'))
        while True:
            first, payload = read_frame(sock)
            if first == 0x89:
                sock.sendall(make_frame(10, payload))
            elif first == 0x88:
                sock.sendall(make_frame(8, payload))
                return

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        pongs = []
        for event in websocket.connect(session_class=clock.session, poll=None, ping_rate=30):
            if event.name == 'ready':
                websocket.send_ping(b"the user's")
            elif event.name == 'pong':
                pongs.append(event.data)
                if len(pongs) in (3, 4):
                    clock.ahead += 30
                elif len(pongs) == 5:
                    websocket.close()
    stats = websocket.stats
    assert stats.pings_sent == 3
    assert stats.pongs_received == 5
    assert stats.round_trips.count == 2
    assert 0 <= stats.round_trips.minimum <= stats.round_trips.mean <= 20
    assert stats.round_trips.last >= stats.round_trips.minimum


def test_a_server_counts_too():
    told = []

    def handler(websocket):
        echo_handler(websocket)
        told.append(websocket.stats)

    with Server(handler) as server:
        converse(WebSocket(server.url))
    stats, = told
    assert stats.received.messages == stats.sent.messages == 5
    assert stats.received.payload_bytes == PAYLOAD
