"""WebSockets over sockets whose opening handshake was made elsewhere, in an event loop."""

import socket

import pytest

from lomond import WebSocket, aio, errors
from lomond.persist import ReconnectPolicy
from lomond.pool import Pool
from tests.network.event_loops import collect, in_each_loop, run_in
from tests.support import PATIENCE

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

DEFLATE = u'permessage-deflate'


@in_each_loop
def test_both_ends_of_a_connection(loop_name):
    async def echo(websocket):
        async with aio.connect(websocket) as connection:
            async for event in connection:
                names.append(event.name)
                if event.name == 'text':
                    await connection.send_text(event.text)

    async def scenario(loop):
        one, other = socket.socketpair()
        serving = loop.start(echo, WebSocket.attach(other, 'server', extensions=DEFLATE))
        seen = []
        async with aio.connect(WebSocket.attach(one, extensions=DEFLATE)) as connection:
            async for event in connection:
                seen.append(event.name)
                if event.name == 'ready':
                    await connection.send_text(u'Hello ' * 1000)
                elif event.name == 'text':
                    assert event.text == u'Hello ' * 1000
                    await connection.close()
        await serving.result()
        assert seen == ['ready', 'text', 'closed', 'disconnected']

    names = []
    run_in(loop_name, scenario)
    assert names == ['ready', 'text', 'closing', 'disconnected']


@in_each_loop
def test_a_pool_of_them(loop_name):
    async def scenario(loop):
        one, other = socket.socketpair()
        pool = Pool()
        client = pool.add(WebSocket.attach(one))
        pool.add(WebSocket.attach(other, 'server'))
        async for websocket, event in aio.pool(pool):
            if event.name == 'ready' and websocket is client:
                client.send_text(u'Hello')
            elif event.name == 'text':
                seen.append((websocket is client, event.text))
                pool.close()

    seen = []
    run_in(loop_name, scenario)
    assert seen == [(False, u'Hello')]


@in_each_loop
def test_it_has_one_connection_only(loop_name):
    async def scenario(loop):
        ours, theirs = socket.socketpair()
        websocket = WebSocket.attach(ours)
        with pytest.raises(TypeError, match='attach'):
            aio.connect(websocket, policy=ReconnectPolicy())
        theirs.close()
        seen = await collect(aio.connect(websocket))
        assert [event.name for event in seen] == ['ready', 'disconnected']
        with pytest.raises(errors.WebSocketUnavailable, match='attach'):
            aio.connect(websocket)

    run_in(loop_name, scenario)


@in_each_loop
def test_leaving_closes_the_socket(loop_name):
    async def scenario(loop):
        ours, theirs = socket.socketpair()
        theirs.settimeout(PATIENCE)
        async with aio.connect(WebSocket.attach(ours, 'server')) as connection:
            async for _event in connection:
                break
        assert theirs.recv(1) == b''
        theirs.close()

    run_in(loop_name, scenario)
