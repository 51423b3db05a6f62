"""A loop with `match`. Needs Python 3.10."""

from typing import Optional

from typing_extensions import assert_type

from lomond import WebSocket
from lomond.events import (
    AnyEvent,
    BackOff,
    Binary,
    Closing,
    ConnectFail,
    Disconnected,
    GaveUp,
    Ready,
    Text,
)


def watch(websocket: WebSocket) -> None:
    for event in websocket:
        match event:
            case Text(text):
                assert_type(text, str)
            case Binary(data=data):
                assert_type(data, bytes)
            case Closing(code, reason):
                assert_type(code, int)
                assert_type(reason, str)
            case Disconnected(reason, graceful):
                assert_type(graceful, bool)
            case ConnectFail(reason=reason, cause=cause):
                assert_type(reason, str)
                assert_type(cause, Optional[BaseException])
            case Ready(response):
                assert_type(response.status_code, int)
            case BackOff() | GaveUp():
                pass
            case _:
                pass


def watch_names(event: AnyEvent) -> None:
    match event.name:
        case 'text':
            assert_type(event.text, str)
        case 'disconnected':
            assert_type(event.graceful, bool)
        case _:
            pass


def wrong(event: AnyEvent) -> None:
    match event:
        case Text(_, _):  # error: misc reportGeneralTypeIssues
            pass
        case Binary(text=_):  # error: misc reportUnknownVariableType
            pass
        case _:
            pass
    match event.name:
        case 'txet':  # error: reportUnnecessaryComparison
            pass
        case _:
            pass
