"""`WebSocket.attach` against wsproto, after handshakes that `lomond.sansio` made over sockets."""

from __future__ import absolute_import, division, print_function

import socket

import pytest

from lomond import WebSocket
from lomond.sansio import Client, Server
from tests.network.driving import Background
from tests.support import PATIENCE, read_head

wsproto = pytest.importorskip('wsproto')

from wsproto import ConnectionType, WSConnection  # noqa: E402
from wsproto import events as theirs  # noqa: E402
from wsproto.extensions import PerMessageDeflate  # noqa: E402

TEXT = u'{"price": 1.5, "caf\xe9": 1} ' * 1000


@pytest.fixture
def pair():
    ours, other = socket.socketpair()
    ours.settimeout(PATIENCE)
    other.settimeout(PATIENCE)
    yield ours, other
    ours.close()
    other.close()


def serve(sock, extensions):
    """Run a server of wsproto, which sends each text back."""
    connection = WSConnection(ConnectionType.SERVER)
    while True:
        data = sock.recv(65536)
        connection.receive_data(data or None)
        for event in connection.events():
            if isinstance(event, theirs.Request):
                sock.sendall(connection.send(theirs.AcceptConnection(
                    subprotocol='chat', extensions=extensions)))
            elif isinstance(event, theirs.TextMessage):
                sock.sendall(connection.send(theirs.TextMessage(
                    data=event.data, message_finished=event.message_finished)))
            elif isinstance(event, theirs.CloseConnection):
                sock.sendall(connection.send(event.response()))
                sock.close()
                return event.code


def call(sock, extensions):
    """Run a client of wsproto: send a text, and return what comes back."""
    connection = WSConnection(ConnectionType.CLIENT)
    sock.sendall(connection.send(theirs.Request(
        host='localhost', target='/feed', subprotocols=['chat'], extensions=extensions)))
    parts = []
    while True:
        connection.receive_data(sock.recv(65536) or None)
        for event in connection.events():
            if isinstance(event, theirs.AcceptConnection):
                sock.sendall(connection.send(theirs.TextMessage(data=TEXT)))
            elif isinstance(event, theirs.TextMessage):
                parts.append(event.data)
                if event.message_finished:
                    sock.sendall(connection.send(theirs.CloseConnection(code=1000)))
            elif isinstance(event, theirs.CloseConnection):
                return u''.join(parts)


@pytest.mark.parametrize('compress', [False, True])
def test_attached_client_talks_to_their_server(pair, compress):
    ours, other = pair
    serving = Background(serve, other, [PerMessageDeflate()] if compress else [])
    end = Client(u'ws://localhost/feed', protocols=['chat'], compress=compress)
    ours.sendall(end.data_to_send())
    ready, = end.receive(read_head(ours))
    websocket = WebSocket.attach(
        ours, protocol=ready.protocol, response=ready.response,
        extensions=ready.response.get('Sec-WebSocket-Extensions') or u'')
    with websocket:
        websocket.open()
        assert websocket.supports_compression is compress
        websocket.send_text(TEXT)
        assert websocket.receive(PATIENCE) == TEXT
    assert serving.result() == 1000


@pytest.mark.parametrize('compress', [False, True])
def test_attached_server_talks_to_their_client(pair, compress):
    ours, other = pair
    calling = Background(call, other, [PerMessageDeflate()] if compress else [])
    end = Server(protocols=['chat'], compress=compress)
    request, = end.receive(read_head(ours))
    ready, = end.accept()
    answer = end.data_to_send()
    ours.sendall(answer)
    agreed = [line for line in answer.decode('ascii').split('\r\n')
              if line.startswith('Sec-WebSocket-Extensions: ')]
    websocket = WebSocket.attach(
        ours, 'server', protocol=ready.protocol, response=request.request,
        extensions=agreed[0].partition(': ')[2] if agreed else u'')
    for event in websocket:
        if event.name == 'text':
            assert event.text == TEXT
            websocket.send_text(event.text)
    assert websocket.supports_compression is compress
    assert event.graceful
    assert calling.result() == TEXT
