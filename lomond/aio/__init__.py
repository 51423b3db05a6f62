"""WebSockets in an event loop: asyncio's, uvloop's, trio's. Needs Python 3.6.

    async with aio.connect(WebSocket(url)) as connection:
        async for event in connection:
            if event.name == 'text':
                await connection.send_text(event.text)

The loop waits for the sockets; no thread is used but for look-ups and the user's functions.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import require_async

require_async('lomond.aio')

from lomond.aio.connection import Connection, connect
from lomond.aio.many import PoolEvents, pool

__all__ = ['Connection', 'PoolEvents', 'connect', 'pool']
