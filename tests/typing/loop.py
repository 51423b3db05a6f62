"""A loop: what is known of an event, and what of one whose name or class was asked for."""

from typing import Callable, List, Optional

from typing_extensions import assert_type

from lomond import WebSocket, events
from lomond.errors import TransportFail
from lomond.events import AnyEvent, Event


def by_name(websocket: WebSocket) -> None:
    for event in websocket:
        assert_type(event.received_time, float)
        if event.name == 'text':
            assert_type(event, events.Text)
            assert_type(event.text, str)
            print(event.txt)  # error: attr-defined reportAttributeAccessIssue
        elif event.name == 'binary':
            assert_type(event.data, bytes)
        elif event.name == 'txet':  # error: comparison-overlap reportUnnecessaryComparison
            pass
        elif event.name == 'ready':
            assert_type(event.protocol, Optional[str])
            assert_type(event.response.status_code, int)
            assert_type(sorted(event.extensions), List[str])
            assert_type(event.connection, int)
        elif event.name == 'stale':
            assert_type(event.idle, float)
        elif event.name == 'rejected':
            assert_type(event.response.body, bytes)
            assert_type(event.response.get('Retry-After'), Optional[str])
            assert_type(event.response.get('Retry-After', '0'), str)
            assert_type(event.response.headers['Server'], str)
        elif event.name == 'connect_fail' or event.name == 'disconnected':
            assert_type(event.reason, str)
        elif event.name == 'closing':
            assert_type(event.code, int)
            event.code = 'goodbye'  # error: assignment reportAttributeAccessIssue
        elif event.name == 'back_off':
            assert_type(event.reason, Optional[str])
        print(event.text)  # error: union-attr reportAttributeAccessIssue


def by_class(websocket: WebSocket) -> None:
    for event in websocket.connect(
            poll=1, ping_timeout=None, idle_timeout=60, stale_disconnects=True, max_age=None,
            spin=30e-6, heartbeat=20):
        if isinstance(event, events.Text):
            assert_type(event.text, str)
        elif isinstance(event, (events.Ping, events.Pong)):
            assert_type(event.data, bytes)
        elif isinstance(event, events.ProtocolError):
            assert_type(event.close_code, Optional[int])


def by_names(websocket: WebSocket) -> None:
    for event in websocket:
        if event.name != 'text':
            continue
        assert_type(event.text, str)


def one_by_one(websocket: WebSocket) -> None:
    loop = websocket.connect()
    event = next(loop)
    if event.name == 'connecting':
        assert_type(event.url, str)
    loop.close()


def look(event: AnyEvent) -> None:
    if event.name == 'disconnected':
        assert_type(event.cause, Optional[BaseException])
        if isinstance(event.cause, TransportFail):
            assert_type(event.cause.cause, Optional[BaseException])


def handle(event: AnyEvent) -> str:
    return event.text if event.name == 'text' else repr(event)


def handle_any(event: Event) -> str:
    if isinstance(event, events.Text):
        return event.text
    return event.text  # error: attr-defined reportAttributeAccessIssue


def handle_binary(event: events.Binary) -> None:
    print(event.data)


def handlers(websocket: WebSocket) -> None:
    handler: Callable[[AnyEvent], str] = handle
    last: Optional[AnyEvent] = None
    seen: List[AnyEvent] = []
    for event in websocket:
        handler(event)
        handle_any(event)
        handle_binary(event)  # error: arg-type reportArgumentType
        seen.append(event)
        last = event
    if last is not None:
        assert_type(last.received_time, float)


def make() -> List[AnyEvent]:
    """As tests of a handler do."""
    return [
        events.Text('hello'), events.Binary(b'\0', received_time=0.0), events.BackOff(1.5),
        events.Disconnected(), events.ConnectFail('no route', phase='connect')]


def make_wrong() -> None:
    events.Text(b'hello')  # error: arg-type reportArgumentType
    events.ConnectFail('no route', phase='dns')  # error: arg-type reportArgumentType
