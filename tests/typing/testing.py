"""Tests of a program, with lomond.testing."""

import re
from typing import Iterator, List, Optional, Union

from typing_extensions import assert_type

from lomond.persist import persist
from lomond.server import Request
from lomond.testing import (
    FakeWebSocket,
    ScriptedServer,
    close,
    expect,
    redirect,
    replay,
    say,
    skip_back_offs,
)


def test_server() -> None:
    with ScriptedServer([say('a'), expect({'b': 1}), expect(re.compile('c')),
                         expect(lambda message: len(message) == 2), close()], tls=True) as server:
        assert_type(server, ScriptedServer)
        assert_type(server.url, str)
        assert_type(server.cafile, Optional[str])
        assert_type(server.received, List[Union[str, bytes]])
        assert_type(server.requests, List[Request])
        with redirect({'api.example.com': server}), skip_back_offs() as delays:
            assert_type(delays, List[float])


def test_fake() -> None:
    def client(websocket: FakeWebSocket) -> Iterator[str]:
        yield 'hello'
        assert_type(websocket.sent, List[Union[str, bytes]])

    websocket = FakeWebSocket(['a', b'b', {'c': 1}], client)
    for event in persist(websocket):
        if event.name == 'text':
            assert_type(event.text, str)
    websocket.assert_sent('a', b'b', {'c': 1}, None)
    assert_type(replay('session.har'), FakeWebSocket)


def wrong() -> None:
    say(1)  # error: arg-type reportArgumentType
    expect(1)  # error: arg-type reportArgumentType
    ScriptedServer(say('a'))  # error: arg-type reportArgumentType
