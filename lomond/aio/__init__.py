"""WebSockets in an event loop: asyncio's, uvloop's, trio's. Needs Python 3.6.

    async with aio.connect(WebSocket(url)) as connection:
        async for event in connection:
            if event.name == 'text':
                await connection.send_text(event.text)

    async def echo(connection):
        async for message in connection.messages():
            await connection.send_many([message])

    async with aio.serve(echo, origins=['https://example.org', None]) as server:
        await server.serve_forever()

The loop waits for the sockets; only look-ups and the user's functions run in threads.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import require_async

require_async('lomond.aio')

from lomond.aio.connection import Connection, connect  # noqa: E402
from lomond.aio.many import PoolEvents, pool  # noqa: E402
from lomond.aio.serving import Server, ServerConnection, serve  # noqa: E402

__all__ = [
    'Connection', 'PoolEvents', 'Server', 'ServerConnection', 'connect', 'pool', 'serve']
