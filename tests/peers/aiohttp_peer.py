"""The `aiohttp` package, versions 3.8 to 3.14."""

import ssl

import aiohttp
from aiohttp import WSMsgType, web

from . import BURST, PING, SERVER_CLOSE, Talk
from .loops import LoopThread, run


class Server(LoopThread):

    async def serve(self, stop):
        app = web.Application()
        for path in ('/', '/burst', '/ping', '/close'):
            app.router.add_get(path, self.handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(
                runner, '127.0.0.1', 0, ssl_context=self.tls and self.tls.context)
            await site.start()
            self.started(runner.addresses[0][1])
            await stop
        finally:
            await runner.cleanup()

    async def handle(self, request):
        ws = web.WebSocketResponse(protocols=['chat'], autoping=request.path != '/ping')
        await ws.prepare(request)
        if request.path == '/burst':
            for number in range(BURST):
                await ws.send_str(str(number))
        elif request.path == '/ping':
            await ws.ping(PING)
        while True:
            message = await ws.receive()
            if message.type == WSMsgType.PONG:
                assert message.data == PING
                await ws.send_str('ponged')
            elif message.type == WSMsgType.CLOSE:
                self.closed.put((message.data, message.extra))
            elif message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return ws
            elif request.path == '/close':
                code, reason = SERVER_CLOSE
                await ws.close(code=code, message=reason.encode('utf-8'))
                # It doesn't tell the reason that came in.
                self.closed.put((ws.close_code, ''))
                return ws
            elif message.type == WSMsgType.TEXT:
                await ws.send_str(message.data)
            else:
                await ws.send_bytes(message.data)


def talk(url, authority_file, messages, close=None, protocols=(), compress=False):
    async def dialogue():
        tls = ssl.create_default_context(cafile=authority_file)
        received = []
        closed = None
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(
                    url, protocols=protocols, compress=15 if compress else 0,
                    ssl=tls) as ws:
                for message in messages:
                    if isinstance(message, bytes):
                        await ws.send_bytes(message)
                    else:
                        await ws.send_str(message)
                while len(received) < len(messages) or close is None:
                    message = await ws.receive()
                    if message.type == WSMsgType.CLOSE:
                        closed = message.data, message.extra
                        break
                    assert message.type in (WSMsgType.TEXT, WSMsgType.BINARY), message
                    received.append(message.data)
                if close is not None:
                    await ws.close(code=close[0], message=close[1].encode('utf-8'))
                    # It doesn't tell the reason that came in.
                    closed = ws.close_code, ''
                return Talk(received, closed, ws.protocol)
    return run(dialogue())
