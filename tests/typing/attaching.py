"""WebSockets over sockets whose handshake was made elsewhere."""

import logging
import socket
import ssl
from typing import Optional

from typing_extensions import assert_type

from lomond import WebSocket, aio, extensions
from lomond.pool import Pool
from lomond.response import Response
from lomond.server import Request


class Feed(WebSocket):
    """A subclass of the user's."""


def attach(sock: socket.socket, tls: ssl.SSLSocket, response: Response, request: Request) -> None:
    websocket = WebSocket.attach(sock)
    assert_type(websocket, WebSocket)
    for event in websocket:
        if event.name == 'ready':
            assert_type(event.protocol, Optional[str])
    _header, offered = extensions.offer([extensions.PermessageDeflate])
    agreed = extensions.accept('permessage-deflate', offered)
    assert_type(Feed.attach(tls, 'server', 'chat', agreed, bytearray(), request), Feed)
    Pool().add(WebSocket.attach(
        sock, role='client', extensions='permessage-deflate', response=response,
        url='ws://example.org/', max_message_size=None, write_timeout=1, message_parts=True))
    aio.connect(WebSocket.attach(sock, rest=b'', trace=True, logger=logging.getLogger('feed')))


def wrong(sock: socket.socket) -> None:
    WebSocket.attach(sock, 'proxy')  # error: arg-type reportArgumentType
    WebSocket.attach(sock, rest='text')  # error: arg-type reportArgumentType
    WebSocket.attach(sock, extensions=[WebSocket])  # error: list-item reportArgumentType
    WebSocket.attach(sock, compress=True)  # error: call-arg reportCallIssue
