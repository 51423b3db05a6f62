"""A session of one's own."""

from typing import Any, Optional

from typing_extensions import assert_type

from lomond import WebSocket
from lomond.opcode import Opcode
from lomond.session import Session, WebsocketSession


class CountingSession(WebsocketSession):
    """As a program writes one to look at what it sends."""

    linger = 0.0

    def __init__(self, websocket: Any) -> None:
        super().__init__(websocket)
        self.bytes_sent = 0

    def send(self, opcode: int, data: bytes, compress: bool = False) -> None:
        if opcode == Opcode.TEXT:
            self.bytes_sent += len(data)
        super().send(opcode, data, compress)


def watch(websocket: WebSocket) -> None:
    for event in websocket.connect(session_class=CountingSession, close_timeout=None):
        if event.name == 'text':
            assert_type(event.text, str)
    session = websocket.session
    assert_type(session, Optional[Session])
    if session is not None:
        assert_type(session.session_time, float)
        assert_type(session.sent_close_time, Optional[float])
        session.write(b'bytes')
        session.send_compressed(Opcode.TEXT, b'text')
        session.send(Opcode.TEXT, 'text')  # error: arg-type reportArgumentType
        session.force_disconnect()


def make(websocket: WebSocket) -> WebsocketSession:
    return CountingSession(websocket)


def wrong(websocket: WebSocket) -> None:
    websocket.connect(make)
    websocket.connect(int)  # error: arg-type reportArgumentType
    websocket.connect(polls=1)  # error: call-arg reportCallIssue
    websocket.connect(poll='1')  # error: arg-type reportArgumentType
