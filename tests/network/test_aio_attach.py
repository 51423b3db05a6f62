"""WebSockets over sockets whose opening handshake was made elsewhere, in an event loop."""

import asyncio
import os
import socket
from functools import partial

import pytest

from lomond import WebSocket, aio, errors
from lomond.persist import ReconnectPolicy
from lomond.pool import Pool
from lomond.sansio import Server
from tests.network.event_loops import (
    collect,
    in_asyncio_loops,
    in_each_loop,
    run_in,
    trio,
    wait_until,
)
from tests.network.one_thread import MASK, UPGRADE, Client
from tests.support import PATIENCE, make_frame

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


# -- taken over from asyncio's own streams --

async def take_over(reader, writer):
    """Return the connection's socket, and the bytes that were read ahead."""
    writer.transport.pause_reading()
    sock = socket.socket(fileno=os.dup(writer.get_extra_info('socket').fileno()))
    sock.setblocking(False)
    writer.transport.abort()
    reader.feed_eof()
    return sock, await reader.read()


async def serve_stream(reader, writer):
    end = Server()
    for event in end.receive(await reader.readuntil(b'\r\n\r\n')):
        if event.name == 'request':
            end.accept()
    sock, rest = await take_over(reader, writer)
    answer = end.data_to_send()
    await asyncio.get_event_loop().sock_sendall(sock, answer)
    async with aio.connect(WebSocket.attach(
            sock, role='server', rest=rest)) as connection:
        async for event in connection:
            if event.name == 'text':
                await connection.send_text(event.text)


@in_asyncio_loops
@pytest.mark.parametrize('count', [1, 50])
def test_connections_of_asyncios_streams_are_taken_over(loop_name, count):
    """Beside its transports, whose descriptors have the numbers that ended connections had."""
    async def talk(url, number):
        connection = aio.connect(WebSocket(url, proxies={}))
        async for event in connection:
            if event.name == 'ready':
                break
        text = 'message {} '.format(number) * 1000
        for _ in range(3):
            await connection.send_text(text)
            assert await connection.receive() == text
        await connection.close()
        assert (await collect(connection))[-1].graceful

    async def scenario(loop):
        server = await asyncio.start_server(serve_stream, '127.0.0.1', 0)
        port = server.sockets[0].getsockname()[1]
        for _ in range(3):
            tasks = [loop.start(talk, 'ws://127.0.0.1:{}/'.format(port), number)
                     for number in range(count)]
            for task in tasks:
                await task.result()
        server.close()
        await server.wait_closed()
        await wait_until(loop, lambda: loop.count_own_tasks() <= 0)

    run_in(loop_name, scenario)


@in_asyncio_loops
def test_what_a_stream_has_read_ahead_is_not_lost(loop_name):
    async def scenario(loop):
        server = await asyncio.start_server(serve_stream, '127.0.0.1', 0)
        address = server.sockets[0].getsockname()
        frames = b''.join(make_frame(1, b'%d' % number, key=MASK) for number in range(50))
        client = await loop.in_thread(lambda: Client(address, UPGRADE + b'\r\n' + frames))
        assert await loop.in_thread(client.read_status) == 101
        for number in range(50):
            assert await loop.in_thread(client.read) == (1, b'%d' % number)
        client.close()
        server.close()
        await server.wait_closed()
        await wait_until(loop, lambda: loop.count_own_tasks() <= 0)

    run_in(loop_name, scenario)


@pytest.mark.skipif(trio is None, reason='trio is not installed')
def test_a_connection_of_trios_streams_is_taken_over():
    async def serve_trio(stream):
        end = Server()
        events = []
        while not events:
            events = list(end.receive(await stream.receive_some()))
        end.accept()
        await stream.send_all(end.data_to_send())
        sock = socket.socket(fileno=os.dup(stream.socket.fileno()))
        await stream.aclose()
        async with aio.connect(WebSocket.attach(sock, role='server')) as connection:
            async for message in connection.messages():
                await connection.send_text(message)

    async def scenario(_loop):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(
                trio.serve_tcp, serve_trio, 0, host='127.0.0.1'))
            port = listeners[0].socket.getsockname()[1]
            client = aio.connect(WebSocket('ws://127.0.0.1:{}/'.format(port), proxies={}))
            async for event in client:
                if event.name == 'ready':
                    await client.send_text('Hello')
                elif event.name == 'text':
                    await client.close()
            assert event.graceful
            nursery.cancel_scope.cancel()

    run_in('trio', scenario)
