"""Both ends of a WebSocket without I/O."""

from typing import List, Optional, Set, Tuple

from typing_extensions import assert_type

from lomond.events import Ready, Rejected
from lomond.protocol.close import CloseFrame
from lomond.response import Response
from lomond.sansio import (
    CLIENT,
    Client,
    ClientEvent,
    Connection,
    RejectedPart,
    Request,
    Server,
    ServerEvent,
    StateName,
)
from lomond.server import Request as HTTPRequest
from lomond.stats import Stats


def talk(client: Client, data: Optional[bytes]) -> bytes:
    assert_type(client.host, str)
    assert_type(client.port, int)
    assert_type(client.state, StateName)
    assert_type(client.protocol, Optional[str])
    assert_type(client.extensions, Set[str])
    assert_type(client.stats, Stats)
    assert_type(client.connection, Connection)
    assert_type(client.close_sent, Optional[CloseFrame])
    for event in client.receive(data):
        if event.name == 'text':
            client.send_text(event.text, message_finished=False)
            client.send_text(b'')  # error: arg-type reportArgumentType
        elif event.name == 'rejected_part':
            assert_type(event, RejectedPart)
            assert_type(event.data, bytes)
        elif event.name == 'request':  # error: comparison-overlap reportUnnecessaryComparison
            pass
        elif isinstance(event, Ready):
            assert_type(event.response, Response)
        keep(event)
    return client.data_to_send()


def keep(event: ClientEvent) -> float:
    return event.received_time


def serve(data: bytes) -> bytes:
    server = Server(protocols=['chat'], compress=True)
    for event in server.receive(data):
        answer(server, event)
    if server.state == 'rejecting':
        server.reject_data(b'', finished=True)
    if server.state == 'refusing':  # error: comparison-overlap reportUnnecessaryComparison
        pass
    return server.data_to_send()


def answer(server: Server, event: ServerEvent) -> None:
    if isinstance(event, Request):
        assert_type(event.request, HTTPRequest)
        assert_type(event.request.path, str)
        server.accept('chat', headers={'Set-Cookie': 'a=1'})
        server.accept(b'chat')  # error: arg-type reportArgumentType
    elif event.name == 'ready':
        assert_type(event.response, HTTPRequest)
    elif isinstance(event, Rejected):
        assert_type(event.response.status_code, int)
        server.reject(404, body=None)


class MyServer(Server):
    pass


def upgrade(headers: List[Tuple[str, str]]) -> MyServer:
    return MyServer.from_request('GET', '/', headers, compress=True)


def reply(connection: Connection) -> Optional[bytes]:
    pending = connection.take_pending()
    return None if pending is None else connection.encode(*pending)


def begin() -> Connection:
    return Connection(CLIENT)
