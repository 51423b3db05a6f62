"""lomond in an event loop."""

from clients.asyncio_ import AsyncioClient, Uvloop
from clients.lomond_ import Lomond


class LomondAio(AsyncioClient):

    def __init__(self):
        self._websocket = Lomond().websocket
        from lomond.aio import connect
        self._connect = connect

    async def open(self, job, operation, context=None):
        connection = self._connect(self._websocket(job, operation, context))
        await wait_for(connection, 'ready')
        return connection

    def receiver(self, connection):
        async def receive_text():
            return (await wait_for(connection, 'text')).text
        return receive_text

    def sender(self, connection, is_text):
        return connection.send_text if is_text else connection.send_binary

    async def ping(self, connection):
        await connection.send_ping()

    async def _drain(self, connection):
        async for _event in connection:
            pass

    async def _receive(self, job):
        left = job.count
        name = 'text' if job.is_text else 'binary'
        connection = await self.open(job, 'receive')
        await wait_for(connection, name)
        started = job.clock()
        async for event in connection:
            if event.name == name:
                message = event.text if job.is_text else event.data
                left -= 1
                if not left:
                    break
        elapsed = job.clock() - started
        job.check(message)
        return elapsed


class LomondUvloop(Uvloop, LomondAio):
    """The same, on uvloop."""


async def wait_for(connection, name):
    """Return the next event of that name."""
    async for event in connection:
        if event.name == name:
            return event
    raise ValueError('the connection ended: {!r}'.format(event))
