"""A server in an event loop."""

from typing import List

from typing_extensions import assert_type

from lomond import aio
from lomond.server import Refusal, Request, ServerReady, ServerWebSocket


async def handler(connection: aio.ServerConnection) -> None:
    assert_type(connection.websocket, ServerWebSocket)
    assert_type(connection.websocket.request, Request)
    async for event in connection:
        if event.name == 'ready':
            assert_type(event, ServerReady)
        elif event.name == 'text':
            await connection.send_text(event.text)
            await connection.send_text(b'bytes')  # error: arg-type reportArgumentType


async def either_end(connection: aio.Connection) -> None:
    async for message in connection.messages():
        if isinstance(message, str):
            await connection.send_text(message)
        else:
            assert_type(message, bytes)
    message = await connection.receive()
    message.upper()


def on_request(request: Request) -> Refusal:
    return Refusal(404)


async def main() -> None:
    server = aio.serve(
        handler, '127.0.0.1', 0, ssl_context=None, protocols=['chat'], compress=True,
        max_message_size=None, handshake_timeout=5, write_timeout=5, max_connections=10,
        close_timeout=5, ping_rate=5, ping_timeout=None, auto_pong=True, json_loads=None,
        json_dumps=None, fragment_size=None, max_read_ahead=None, origins=[None],
        on_request=on_request, reuse_port=False, max_queue=None, extensions=(),
        message_parts=False, text_as_bytes=False)
    assert_type(server, aio.Server)
    assert_type(server.port, int)
    async with server as entered:
        assert_type(entered, aio.Server)
        assert_type(server.connections, List[aio.ServerConnection])
        assert_type(server.broadcast('text', server.connections, compress=False), int)
        await server.serve_forever()
    await server.close(1001, 'bye', timeout=5)
    aio.serve(either_end, unix_path='/run/feed')


def plain(connection: aio.ServerConnection) -> None:
    pass


async def wrong(server: aio.Server) -> None:
    aio.serve(plain)  # error: arg-type reportArgumentType
    aio.serve(handler, threads=False)  # error: call-arg reportCallIssue
    aio.serve(handler, max_conections=5)  # error: call-arg reportCallIssue
    server.broadcast(5)  # error: arg-type reportArgumentType
    await server  # error: misc reportGeneralTypeIssues
    async for _event in server:  # error: attr-defined reportGeneralTypeIssues
        pass
