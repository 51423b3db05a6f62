"""websockets, its asyncio client."""

from websockets.asyncio.client import connect

from clients.asyncio_ import AsyncioClient


class WebsocketsAsyncio(AsyncioClient):

    async def open(self, job, operation, context=None):
        return await connect(
            job.url(operation), compression='deflate' if job.deflate else None,
            max_size=job.limit, **({'ssl': context} if context else {}))

    def receiver(self, connection):
        return connection.recv

    def sender(self, connection, is_text):
        return connection.send
