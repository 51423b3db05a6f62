"""A loop over a WebSocket, or a Pool, in an event loop."""

from typing import AsyncIterator

from typing_extensions import assert_type

from lomond import WebSocket, aio, events
from lomond.events import AnyEvent
from lomond.persist import ReconnectPolicy
from lomond.pool import Pool


async def by_name(websocket: WebSocket) -> None:
    async with aio.connect(
            websocket, policy=ReconnectPolicy(), max_queue=None, poll=1, ping_rate=20,
            ping_timeout=60, auto_pong=True, close_timeout=5, idle_timeout=60,
            stale_disconnects=True, max_age=None, heartbeat=20) as connection:
        assert_type(connection, aio.Connection)
        async for event in connection:
            assert_type(event.received_time, float)
            if event.name == 'text':
                assert_type(event, events.Text)
                await connection.send_text(event.text)
                await connection.send_text(b'bytes')  # error: arg-type reportArgumentType
            elif event.name == 'back_off':
                assert_type(event.delay, float)
    assert_type(connection.websocket, WebSocket)


async def words() -> AsyncIterator[str]:
    yield 'word'


async def send(connection: aio.Connection) -> None:
    await connection.send_text(words(), compress=False)
    await connection.send_binary(words())  # error: arg-type reportArgumentType
    await connection.send_text(['in', 'parts'])
    await connection.send_binary(bytearray(1), compress=False)
    await connection.send_json({'a': 1})
    await connection.send_json(a=1)
    await connection.send_json(1, 2, 3)  # error: call-arg reportCallIssue
    await connection.send_many(['text', b'bytes'])
    await connection.send_ping()
    await connection.send_pong(b'data')
    await connection.drain()
    await connection.close(1001, 'bye')
    connection.break_off()


async def one_by_one(websocket: WebSocket) -> AnyEvent:
    return await aio.connect(websocket).__anext__()


async def many(pool: Pool) -> None:
    async with aio.pool(pool) as pairs:
        assert_type(pairs, aio.PoolEvents)
        async for websocket, event in pairs:
            assert_type(websocket, WebSocket)
            if event.name == 'text':
                assert_type(event.text, str)


def wrong(websocket: WebSocket) -> None:
    aio.connect('ws://localhost/')  # error: arg-type reportArgumentType
    aio.connect(websocket, policy=5)  # error: arg-type reportArgumentType
    aio.connect(websocket, poll='no')  # error: arg-type reportArgumentType
    aio.connect(websocket, ping_tiemout=5)  # error: call-arg reportCallIssue
    aio.connect(websocket, session_class=None)  # error: call-arg reportCallIssue
    aio.pool(websocket)  # error: arg-type reportArgumentType


async def mixed(websocket: WebSocket, pool: Pool) -> None:
    await aio.connect(websocket)  # error: misc reportGeneralTypeIssues
    for _event in aio.connect(websocket):  # error: attr-defined reportGeneralTypeIssues
        pass
    async for _other in websocket:  # error: attr-defined reportGeneralTypeIssues
        pass
    async for _pair in pool:  # error: attr-defined reportGeneralTypeIssues
        pass
