"""Messages of many reads, which a plain connection receives right into a buffer."""

from __future__ import absolute_import, division, print_function

import os

import pytest

from lomond import WebSocket
from lomond.protocol.gathering import MAX_BUFFERED, MIN_BUFFERED
from tests.network.driving import Background, read_to_close
from tests.support import RawServer, answer_upgrade, make_close, make_frame, names

LARGE = MIN_BUFFERED + 10000

NOISE = os.urandom(1024) * (MAX_BUFFERED // 1024 + 1)


def test_messages_of_all_sizes_arrive_whole_and_in_order():
    sizes = [MAX_BUFFERED, MIN_BUFFERED, 5, MIN_BUFFERED - 1, LARGE, 0, MAX_BUFFERED + 1, LARGE]

    def script(sock):
        answer_upgrade(sock)
        for size in sizes:
            sock.sendall(make_frame(2, NOISE[:size]) + make_frame(9) + make_frame(1, b'x' * size))
        sock.sendall(make_close(1000))
        read_to_close(sock)

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        events = [event for event in websocket if event.name in ('text', 'binary')]
    assert [getattr(event, event.name if event.name == 'text' else 'data') for event in events] \
        == [content for size in sizes for content in (NOISE[:size], u'x' * size)]
    received = websocket.stats.received
    assert received.messages == 2 * len(sizes)
    assert received.payload_bytes == 2 * sum(sizes)


def test_a_large_message_arrives_while_one_is_sent():
    """Its bytes come out of what the sender had put aside, and out of the socket."""
    def script(sock):
        answer_upgrade(sock)
        frame = make_frame(2, NOISE[:MAX_BUFFERED])
        for _count in range(12):
            sock.sendall(frame)
        frames = read_to_close(sock)
        sock.sendall(make_close(1000))
        assert sum(len(payload) for _first, payload in frames) == 12 * MAX_BUFFERED + 2

    received = []
    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        for event in websocket:
            if event.name == 'ready':
                websocket.send_binary(b'x' * (12 * MAX_BUFFERED))
            elif event.name == 'binary':
                received.append(event.data == NOISE[:MAX_BUFFERED])
                if len(received) == 12:
                    websocket.close(1000, u'')
    assert received == [True] * 12


@pytest.mark.parametrize('cut', [11, 70000, LARGE])
def test_a_connection_that_is_cut_within_a_large_message(cut):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(2, NOISE[:LARGE])[:cut])

    with RawServer(script) as server:
        events = list(WebSocket(server.url))
    assert names(events)[3:] == ['disconnected']
    assert not events[-1].graceful


def test_a_loop_that_is_broken_off_within_a_large_message_ends():
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(2, NOISE[:LARGE])[:70000])
        assert sock.recv(1) == b''

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        events = []
        for event in websocket.connect(poll=0.01):
            events.append(event)
            if event.name == 'poll' and websocket.stream.decoder.receive_buffer is not None:
                Background(websocket.force_disconnect).result()
    assert names(events)[-1] == 'disconnected'


def test_the_memory_for_large_messages_is_given_back_at_the_next_poll():
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(2, NOISE[:LARGE]))
        read_to_close(sock)
        sock.sendall(make_close(1000))

    kept = []
    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        for event in websocket.connect(poll=0.01):
            if event.name == 'binary':
                kept.append(websocket.stream.decoder.held.buffer)
            elif event.name == 'poll' and kept:
                kept.append(websocket.stream.decoder.held.buffer)
                websocket.close()
    assert kept[:2] == [LARGE, 0]
