"""Calls instead of a loop, at both ends."""

from typing import Optional, Union

from typing_extensions import assert_type

from lomond import WebSocket
from lomond.errors import ConnectFail, Rejected, WebSocketClosed, WebSocketError, WebSocketTimeout
from lomond.events import Ready
from lomond.server import ServerWebSocket


def call(url: str) -> Union[str, bytes]:
    with WebSocket(url) as websocket:
        assert_type(websocket.open(timeout=10), Ready)
        websocket.send_text('hi')
        assert_type(websocket.receive(), Union[str, bytes])
        assert_type(websocket.ping(timeout=2.5), float)
        websocket.wait_ready(1)
        for message in websocket.messages():
            assert_type(message, Union[str, bytes])
            if isinstance(message, str):
                websocket.send_text(message)
            else:
                assert_type(message, bytes)
                websocket.send_binary(message)
        websocket.receive('5')  # error: arg-type reportArgumentType
        return websocket.receive(timeout=5)


def in_the_background(websocket: WebSocket) -> None:
    websocket.open(None, background=True, ping_rate=10, ping_timeout=None)
    websocket.open(10, 'yes')  # error: arg-type reportArgumentType


def handle(websocket: ServerWebSocket) -> None:
    for message in websocket.messages():
        assert_type(message, Union[str, bytes])
    assert_type(websocket.receive(0), Union[str, bytes])


def explain(error: WebSocketError) -> None:
    if isinstance(error, ConnectFail):
        assert_type(error.cause, Optional[BaseException])
    elif isinstance(error, Rejected):
        assert_type(error.reason, str)
    elif isinstance(error, WebSocketClosed):
        assert_type(error.code, Optional[int])
        assert_type(error.reason, str)
        assert_type(error.cause, Optional[BaseException])


def wait(websocket: WebSocket) -> None:
    try:
        websocket.receive(timeout=1)
    except WebSocketTimeout as timeout:
        assert_type(timeout, WebSocketTimeout)
    except TimeoutError as error:
        assert_type(error, TimeoutError)
