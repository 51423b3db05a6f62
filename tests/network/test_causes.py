"""Disconnected.cause: the exception behind an end that wasn't graceful, whatever drives it."""

from __future__ import absolute_import, division, print_function

import errno
import socket
import struct

import pytest
from six.moves.queue import Queue

from lomond import WebSocket, errors
from lomond.persist import ReconnectPolicy, persist
from lomond.pool import Pool
from lomond.server import Server
from tests.network.driving import Background, accept_and_hang_up, accept_and_send, drain, echo
from tests.support import (
    PATIENCE,
    RawServer,
    answer_upgrade,
    make_close,
    make_frame,
    names,
    read_exactly,
    read_head,
)

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')


def reset(sock):
    """Accept, wait for bytes, and have the end of the script reset the connection."""
    answer_upgrade(sock)
    read_exactly(sock, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))


def plain(websocket):
    return iter(websocket)


def persistent(websocket):
    for event in persist(websocket):
        yield event
        if event.name == 'disconnected':
            websocket.close()


def pooled(websocket, policy=None):
    pool = Pool()
    pool.add(websocket, policy)
    for _websocket, event in pool:
        yield event
        if event.name == 'disconnected':
            websocket.close()


def pooled_with_policy(websocket):
    return pooled(websocket, ReconnectPolicy())


def end_of(loop, websocket, at_ready=lambda websocket: None):
    """Return the Disconnected of a loop; ``at_ready`` is called with the websocket at Ready."""
    end = None
    for event in loop(websocket):
        if event.name == 'ready':
            at_ready(websocket)
        elif event.name == 'disconnected':
            end = event
    return end


def say(websocket):
    websocket.send_text(u'hello')


in_each_loop = pytest.mark.parametrize('loop', [plain, persistent, pooled, pooled_with_policy])


@in_each_loop
def test_a_connection_that_was_reset_has_the_systems_error(loop, link):
    with link.serve(reset) as server:
        end = end_of(loop, link.connect(server.url), say)
    assert isinstance(end.cause, socket.error)
    assert end.cause.errno == errno.ECONNRESET
    assert not end.graceful


@in_each_loop
def test_the_peers_fault_is_a_protocol_error_with_its_close_code(loop):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'\xff'))
        drain(sock)

    with RawServer(script) as server:
        end = end_of(loop, WebSocket(server.url))
    assert isinstance(end.cause, errors.ProtocolError)
    assert end.cause.close_code == 1007
    assert str(end.cause) == end.reason


@in_each_loop
@pytest.mark.parametrize('script, at_ready, graceful', [
    (accept_and_send(make_close(1000)), lambda websocket: None, True),
    (echo, lambda websocket: websocket.close(), True),
    (accept_and_hang_up(), lambda websocket: None, False),
    (echo, lambda websocket: websocket.force_disconnect(), False),
], ids=['closed by the peer', 'closed by us', 'ended by the peer', 'forced'])
def test_an_end_without_an_exception_has_no_cause(loop, script, at_ready, graceful):
    with RawServer(script) as server:
        end = end_of(loop, WebSocket(server.url), at_ready)
    assert (end.graceful, end.cause) == (graceful, None)


def test_a_rejection_and_a_silent_peer_have_no_cause():
    def refuse(sock):
        read_head(sock)
        sock.sendall(b'HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n')

    def be_silent(sock):
        answer_upgrade(sock)
        drain(sock)

    with RawServer(refuse) as server:
        events = list(WebSocket(server.url))
    assert names(events)[-2:] == ['rejected', 'disconnected']
    assert events[-1].cause is None
    with RawServer(be_silent) as server:
        events = list(WebSocket(server.url).connect(ping_rate=0.01, ping_timeout=0.05))
    assert names(events)[-2:] == ['unresponsive', 'disconnected']
    assert events[-1].cause is None


def test_a_send_that_timed_out_is_the_cause_and_has_no_error_of_the_system():
    def script(sock):
        answer_upgrade(sock)
        is_over.get(timeout=PATIENCE)

    is_over = Queue()
    raised = []
    with RawServer(script, receive_buffer=4096) as server:
        websocket = WebSocket(server.url, write_timeout=0.05)
        for event in websocket:
            if event.name == 'ready':
                with pytest.raises(errors.TransportFail) as caught:
                    websocket.send_binary(b'x' * 20000000)
                raised.append(caught.value)
                assert caught.value.cause is None
        is_over.put(None)
    assert event.cause is raised[0]
    assert event.cause.sent < event.cause.size


def test_a_send_to_a_peer_that_has_gone_names_the_systems_error():
    with RawServer(reset) as server:
        websocket = WebSocket(server.url)
        for event in websocket:
            if event.name == 'ready':
                with pytest.raises(errors.TransportFail) as caught:
                    for _ in range(1000000):
                        websocket.send_binary(b'x' * 1000)
                assert isinstance(caught.value.cause, socket.error)
                assert caught.value.cause.errno in (errno.ECONNRESET, errno.EPIPE)
                with pytest.raises(errors.TransportFail) as again:
                    say(websocket)
                assert again.value.cause is caught.value.cause
    # Whichever the loop came upon first.
    assert event.cause is caught.value or event.cause.errno == errno.ECONNRESET


@pytest.mark.parametrize('threads', [True, False])
def test_a_servers_end_has_its_cause(threads):
    def break_off():
        websocket = WebSocket(server.url)
        for event in websocket:
            if event.name == 'ready':
                websocket.session.write(b'\x81\x05hello')       # it isn't masked
                # Read no more: the server has its say.
            elif event.name == 'closing':
                return event.code

    def handle(websocket):
        for event in websocket:
            ended.put(event)

    ended = Queue()
    with Server(handle) if threads else Server(threads=False) as server:
        client = Background(break_off)
        if not threads:
            for _websocket, event in server:
                ended.put(event)
                if event.name == 'disconnected':
                    server.close()
        end = ended.get(timeout=PATIENCE)
        while end.name != 'disconnected':
            end = ended.get(timeout=PATIENCE)
        assert client.result() == 1002
    assert isinstance(end.cause, errors.ProtocolError)
    assert end.cause.close_code == 1002
