"""Unix sockets: ws+unix and wss+unix URLs, to a server that listens on a path."""

from __future__ import absolute_import, division, print_function

import errno
import os
import socket
import struct

import pytest

from lomond._compat import monotonic
from lomond.errors import ConnectFail
from lomond.net.connect import connect_unix
from lomond.net.options import NetOptions
from lomond.net.progress import Progress
from lomond.net.steps import Wait
from lomond.websocket import WebSocket

from ..support import (
    PATIENCE,
    UnixServer,
    answer_upgrade,
    get_header,
    names,
    read_frame,
    socket_at,
)
from .driving import Background

pytestmark = [
    pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open'),
    pytest.mark.skipif(not hasattr(socket, 'AF_UNIX'), reason='there are no Unix sockets here'),
]


def record(requests):
    """Make a script that accepts, keeps the request, and answers the Close frame."""
    def script(sock):
        requests.append(answer_upgrade(sock))
        read_frame(sock)
        sock.sendall(b'\x88\x02\x03\xe8')
    return script


def live(websocket):
    """Connect, and close; return the events."""
    events = []
    for event in websocket:
        events.append(event)
        if event.name == 'ready':
            websocket.close()
    return events


def fail(websocket):
    """Try to connect; return the ConnectFail."""
    events = list(websocket)
    assert names(events) == ['connecting', 'connect_fail']
    assert events[-1].phase == 'connect'
    return events[-1]


FULL_LIFE = ['connecting', 'connected', 'ready', 'closed', 'disconnected']


def test_server_on_a_path_is_reached(path):
    """Nor does a proxy, or a source address, come in between."""
    requests, records = [], []
    with UnixServer(record(requests), path):
        events = live(WebSocket(
            u'ws+unix://{}:/prices?of=tea'.format(path), proxies={'http': 'http://far.invalid'},
            source_address='127.0.0.1', trace=records.append))
    assert names(events) == FULL_LIFE
    assert events[0].url == events[1].url == u'ws+unix://{}:/prices?of=tea'.format(path)
    assert events[1].proxy is None
    assert requests[0].startswith(b'GET /prices?of=tea HTTP/1.1\r\n')
    assert get_header(requests[0], b'Host') == b'localhost'
    assert [fields['stage'] for fields in records] == [
        'connect', 'request', 'handshake', 'disconnected']
    assert records[0]['address'] == path


def test_server_on_a_path_is_reached_by_tls(path, server_tls, authority_file):
    """Its certificate is for localhost."""
    requests = []
    with UnixServer(record(requests), path, server_tls):
        events = live(WebSocket(u'wss+unix://{}:/'.format(path), ssl_cafile=authority_file))
    assert names(events) == FULL_LIFE
    assert len(requests) == 1


def test_path_is_taken_as_utf8(folder):
    requests = []
    with UnixServer(record(requests), folder + u'/caf\xe9 :?'):
        events = live(WebSocket(u'ws+unix://{}/caf\xe9%20%3A%3F'.format(folder)))
    assert names(events) == FULL_LIFE
    assert requests[0].startswith(b'GET / HTTP/1.1\r\n')


def test_proxy_of_the_environment_is_not_asked(path, monkeypatch):
    monkeypatch.setenv('HTTP_PROXY', 'http://far.invalid')
    with UnixServer(record([]), path):
        assert names(live(WebSocket(u'ws+unix://{}'.format(path)))) == FULL_LIFE


def test_path_that_is_not_there_is_a_connect_fail(path):
    event = fail(WebSocket(u'ws+unix://{}'.format(path)))
    assert event.cause.errno == errno.ENOENT
    assert path in event.reason
    assert event.tried == ((path, os.strerror(errno.ENOENT)),)


def test_path_where_nobody_listens_is_a_connect_fail(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.close()
    assert fail(WebSocket(u'ws+unix://{}'.format(path))).cause.errno == errno.ECONNREFUSED


def test_path_of_something_else_is_a_connect_fail(path):
    with open(path, 'w'):
        pass
    assert fail(WebSocket(u'ws+unix://{}'.format(path))).cause.errno == errno.ECONNREFUSED


def test_path_that_is_too_long_is_a_connect_fail(folder):
    event = fail(WebSocket(u'ws+unix://{}/{}'.format(folder, u'x' * 200)))
    assert 'too long' in event.reason


def test_socket_options_are_set(path):
    websocket = WebSocket(u'ws+unix://{}'.format(path), socket_options=[
        (socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack('ll', 77, 0))])
    with UnixServer(record([]), path):
        for event in websocket:
            if event.name == 'ready':
                with socket_at(websocket.session.transport.fileno(), socket.AF_UNIX) as sock:
                    assert struct.unpack('ll', sock.getsockopt(
                        socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)) == (77, 0)
                websocket.close()


def test_socket_option_of_tcp_is_a_connect_fail(path):
    websocket = WebSocket(u'ws+unix://{}'.format(path), socket_options=[
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)])
    with UnixServer(record([]), path):
        assert 'socket option ' in fail(websocket).reason


@pytest.fixture
def full(path):
    """A listener that takes no more connections, and the clients that it has."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen(0)
    clients = []
    try:
        while True:
            clients.append(socket.socket(socket.AF_UNIX))
            clients[-1].setblocking(False)
            if clients[-1].connect_ex(path) == errno.EAGAIN:
                break
            if len(clients) > 32:
                pytest.skip('on this system a listener is never full, or says so otherwise')
        yield sock, clients
    finally:
        for client in clients:
            client.close()
        sock.close()


def test_listener_with_a_full_queue_times_out(full, path):
    started = monotonic()
    event = fail(WebSocket(u'ws+unix://{}'.format(path), connect_timeout=0.2))
    assert isinstance(event.cause, socket.timeout)
    assert monotonic() - started < PATIENCE / 2


def test_listener_with_a_full_queue_is_waited_for(full, path):
    listener, clients = full

    def serve():
        listener.settimeout(PATIENCE)
        while True:
            sock, _address = listener.accept()
            sock.settimeout(PATIENCE)
            try:
                answer_upgrade(sock)
                return
            except EOFError:
                pass        # one of those that were there before
            finally:
                sock.close()

    steps = connect_unix(path, NetOptions(), monotonic() + PATIENCE, Progress())
    assert isinstance(next(steps), Wait)        # its queue is full, and so ...
    steps.close()
    loop = Background(list, WebSocket(u'ws+unix://{}'.format(path)))
    for client in clients:
        client.close()
    serving = Background(serve)
    assert names(loop.result()) == ['connecting', 'connected', 'ready', 'disconnected']
    serving.result()


def test_a_full_queue_is_tried_on_the_same_socket_again_and_again(full, path):
    listener, clients = full
    steps = connect_unix(path, NetOptions(), monotonic() + PATIENCE, Progress())
    for _ in range(3):
        step = next(steps)
        assert isinstance(step, Wait)
        assert step.interest == ()
    for client in clients:
        client.close()
        listener.accept()[0].close()
        step = next(steps)
        if not isinstance(step, Wait):
            break
    assert step.getpeername() in (path, path.encode('utf-8'))
    step.close()


@pytest.mark.parametrize('end', [WebSocket.close, WebSocket.force_disconnect])
def test_attempt_can_be_ended_while_the_queue_is_full(full, path, end):
    websocket = WebSocket(u'ws+unix://{}'.format(path))
    loop = websocket.connect()
    assert next(loop).name == 'connecting'
    background = Background(list, loop)
    end(websocket)
    assert names(background.result()) == ['connect_fail']


def test_loop_left_while_the_queue_is_full_leaves_nothing_open(full, path):
    loop = WebSocket(u'ws+unix://{}'.format(path)).connect()
    assert next(loop).name == 'connecting'
    loop.close()


def test_system_without_unix_sockets_is_a_connect_fail(path, monkeypatch):
    monkeypatch.delattr(socket, 'AF_UNIX')
    with pytest.raises(ConnectFail) as caught:
        next(connect_unix(path, NetOptions(), monotonic() + 1, Progress()))
    assert 'no Unix sockets' in str(caught.value)
