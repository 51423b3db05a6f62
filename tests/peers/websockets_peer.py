"""The `websockets` package, versions 9 to 17."""

import ssl

import websockets
from websockets.exceptions import ConnectionClosed

from . import BURST, PING, SERVER_CLOSE, Talk, cut
from .loops import LoopThread, run

MAX_SIZE = 4 * 1024 * 1024


class Server(LoopThread):

    def __init__(self, tls):
        super().__init__(tls)
        self.records = []

    async def serve(self, stop):
        async with websockets.serve(
                self.handle, '127.0.0.1', 0, ssl=self.tls and self.tls.context,
                max_size=MAX_SIZE, compression='deflate',
                subprotocols=['chat'], select_subprotocol=select_subprotocol) as server:
            self.started(list(server.sockets)[0].getsockname()[1])
            await stop

    async def handle(self, ws, path=None):
        # The path came as an argument, then as an attribute, then in the request.
        path = path or getattr(ws, 'path', None) or ws.request.path
        try:
            await self.behave(ws, path)
        except ConnectionClosed:
            pass
        await ws.wait_closed()
        self.closed.put((ws.close_code, ws.close_reason))

    async def behave(self, ws, path):
        if path == '/burst':
            for number in range(BURST):
                await ws.send(str(number))
        elif path == '/ping':
            await (await ws.ping(PING))
            await ws.send('ponged')
        elif path == '/record':
            self.records.append([])
            record = self.records[-1]
        async for message in ws:
            if path == '/record':
                record.append(message)
            elif path == '/close':
                await ws.close(*SERVER_CLOSE)
            elif path == '/fragments':
                await ws.send(cut(message))
            else:
                await ws.send(message)


def select_subprotocol(first, second):
    """Choose 'chat'; what comes first and second depends on the version."""
    offered = first if isinstance(first, list) else second
    return 'chat' if 'chat' in offered else None


def talk(url, authority_file, messages, close=None, protocols=(), compress=False):
    async def dialogue():
        options = {}
        if url.startswith('wss'):
            options['ssl'] = ssl.create_default_context(cafile=authority_file)
        received = []
        async with websockets.connect(
                url, max_size=MAX_SIZE, subprotocols=list(protocols) or None,
                compression='deflate' if compress else None, **options) as ws:
            for message in messages:
                await ws.send(message)
            try:
                while len(received) < len(messages) or close is None:
                    received.append(await ws.recv())
            except ConnectionClosed:
                pass
            if close is not None:
                await ws.close(*close)
            await ws.wait_closed()
            return Talk(received, (ws.close_code, ws.close_reason), ws.subprotocol)
    return run(dialogue())
