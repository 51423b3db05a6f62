"""Connections taken over from another asyncio server's handler, once it has read the request."""

import asyncio
import os
import socket

import pytest

from lomond import WebSocket, aio
from lomond.sansio import Server

from .loops import run

aiohttp = pytest.importorskip('aiohttp')
web = pytest.importorskip('aiohttp.web')


async def take_over(request):
    """Answer the request of a handler of aiohttp; return a WebSocket over its socket."""
    end = Server.from_request(request.method, request.raw_path, request.raw_headers)
    if end.state == 'rejecting':
        return None
    end.accept()
    transport = request.transport
    transport.pause_reading()
    sock = socket.socket(fileno=os.dup(transport.get_extra_info('socket').fileno()))
    sock.setblocking(False)
    transport.abort()
    await asyncio.get_event_loop().sock_sendall(sock, end.data_to_send())
    return WebSocket.attach(sock, role='server', response=end.request)


async def handle(request):
    websocket = await take_over(request)
    if websocket is None:
        return web.Response(status=426)
    async with aio.connect(websocket) as connection:
        async for message in connection.messages():
            await connection.send_many([message])
    return web.Response()       # which nobody gets: the connection isn't aiohttp's any more


async def talk(url):
    connection = aio.connect(WebSocket(url, proxies={}))
    seen = []
    async for event in connection:
        seen.append(event.name)
        if event.name == 'ready':
            await connection.send_text('Hello ' * 1000)
        elif event.name == 'text':
            assert event.text == 'Hello ' * 1000
            await connection.close()
        elif event.name == 'rejected':
            seen.append(event.response.status_code)
    return seen


def test_a_connection_of_aiohttp_is_taken_over(caplog):
    async def main():
        app = web.Application()
        app.router.add_get('/', handle)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, '127.0.0.1', 0).start()
            port = runner.addresses[0][1]
            for _ in range(3):
                assert await talk('ws://127.0.0.1:{}/'.format(port)) == [
                    'connecting', 'connected', 'ready', 'text', 'closed', 'disconnected']
            async with aiohttp.ClientSession() as session:
                async with session.get('http://127.0.0.1:{}/'.format(port)) as response:
                    assert response.status == 426
        finally:
            await runner.cleanup()

    run(main())
    assert not [record for record in caplog.records if record.levelname in ('WARNING', 'ERROR')]
