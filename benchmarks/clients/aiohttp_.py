"""aiohttp's client, with its C extensions where it has a wheel."""

import aiohttp

from clients.asyncio_ import AsyncioClient


class Aiohttp(AsyncioClient):

    _session = None

    async def open(self, job, operation, context=None):
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return await self._session.ws_connect(
            job.url(operation), compress=15 if job.deflate else 0, max_msg_size=job.limit,
            **({'ssl': context} if context else {}))

    async def end(self):
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def receiver(self, connection):
        receive = connection.receive

        async def receive_data():
            return (await receive()).data
        return receive_data

    def sender(self, connection, is_text):
        return connection.send_str if is_text else connection.send_bytes

    async def _receive(self, job):
        # As its documentation does it: a loop over messages.
        left = job.count
        connection = await self.open(job, 'receive')
        await connection.receive()
        started = job.clock()
        async for received in connection:
            message = received.data
            left -= 1
            if not left:
                break
        elapsed = job.clock() - started
        job.check(message)
        return elapsed
