"""Sending: which types each method takes."""

import json
from typing import Iterator, Union

from typing_extensions import assert_type

from lomond import WebSocket
from lomond.status import Status


def texts() -> Iterator[Union[str, bytes]]:
    yield 'text'
    yield b'data'


def send(websocket: WebSocket) -> None:
    websocket.send_text('text')
    websocket.send_text('text', compress=False)
    websocket.send_binary(b'data')
    websocket.send_binary(bytearray(b'data'))
    websocket.send_binary(memoryview(b'data'), compress=False)
    websocket.send_utf8(b'text')
    websocket.send_utf8(bytearray(b'text'), compress=False)
    websocket.send_utf8([b'te', bytearray(b'xt')])
    websocket.send_json({'any': [1, None]})
    websocket.send_json(type='subscribe', channels=['ticker'])
    websocket.send_many(['text', b'data', bytearray(b'data')])
    websocket.send_many(['one', 'two'])
    websocket.send_many(texts(), compress=False)
    websocket.send_ping()
    websocket.send_ping(b'data')
    websocket.send_pong(b'data')
    websocket.close()
    websocket.close(Status.GOING_AWAY, 'the end')
    assert_type(Status.to_str(Status.GOING_AWAY), str)
    websocket.close(None, b'')
    websocket.force_disconnect()


def send_wrong(websocket: WebSocket) -> None:
    websocket.send_text(b'data')  # error: arg-type reportArgumentType
    websocket.send_text(1)  # error: arg-type reportArgumentType
    websocket.send_utf8('text')  # error: arg-type reportArgumentType
    websocket.send_binary('text')  # error: arg-type reportArgumentType
    websocket.send_binary([1, 2])  # error: list-item reportArgumentType
    websocket.send_many([1, 2])  # error: list-item reportArgumentType
    websocket.send_many(b'data')  # error: arg-type reportArgumentType
    websocket.send_ping('text')  # error: arg-type reportArgumentType
    websocket.send_pong()  # error: call-arg reportCallIssue
    websocket.close('the end')  # error: arg-type reportArgumentType
    websocket.send_texts('text')  # error: attr-defined reportAttributeAccessIssue


def dump(value: object) -> str:
    return json.dumps(value)


def by_another_json() -> None:
    websocket = WebSocket('ws://localhost/', json_loads=json.loads, json_dumps=dump)
    with websocket as entered:
        assert_type(entered, WebSocket)
    WebSocket('ws://localhost/', json_dumps=len)  # error: arg-type reportArgumentType
