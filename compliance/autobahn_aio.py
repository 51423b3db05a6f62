"""lomond's asyncio client, for `autobahn_driver.py`: a module of its own, as 2.7 can't parse it."""

import asyncio
import sys

from lomond import aio, errors


def run(websockets, log):
    """Connect WebSockets, one after the other, and send back each message that comes."""
    asyncio.run(_run(websockets, log))


async def _run(websockets, log):
    for websocket in websockets:
        async with aio.connect(websocket, ping_rate=0) as connection:
            async for event in connection:
                try:
                    if event.name == 'text':
                        await connection.send_text(event.text)
                    elif event.name == 'binary':
                        await connection.send_binary(event.data)
                except errors.WebSocketError as error:
                    print('could not send: {!r}'.format(error), file=sys.stderr)
                log(event)
