"""Clients that are coroutines: as `clients.blocking`, with `await`.

On the event loop of the standard library, which a program has if it does nothing about it.
"""

import asyncio
from itertools import repeat


class AsyncioClient:
    """Base: a subclass says how to open, to receive, to send and to close."""

    async def open(self, job, operation, context=None):
        """Return an open connection."""
        raise NotImplementedError

    def receiver(self, connection):
        """Return the coroutine function that returns the next message."""
        raise NotImplementedError

    def sender(self, connection, is_text):
        """Return the coroutine function that sends a message."""
        raise NotImplementedError

    async def ping(self, connection):
        """Send a ping."""
        await connection.ping()

    async def close(self, connection):
        """Close a connection."""
        await connection.close()

    async def end(self):
        """Free what is left."""

    def run(self, coroutine):
        """Run a coroutine, and its event loop."""
        async def whole():
            try:
                return await coroutine
            finally:
                await self.end()
        return asyncio.run(whole())

    def receive(self, job):
        return self.run(self._receive(job))

    async def _receive(self, job):
        recv = self.receiver(await self.open(job, 'receive'))
        await recv()
        started = job.clock()
        for _ in repeat(None, job.count):
            message = await recv()
        elapsed = job.clock() - started
        job.check(message)
        return elapsed

    def send(self, job):
        return self.run(self._send(job))

    async def _send(self, job):
        connection = await self.open(job, 'send')
        send, recv = self.sender(connection, job.is_text), self.receiver(connection)
        payload = job.payload
        started = job.clock()
        for _ in repeat(None, job.count):
            await send(payload)
        await recv()
        return job.clock() - started

    def burst(self, job):
        return self.run(self._burst(job))

    async def _burst(self, job):
        connection = await self.open(job, 'burst')
        send, recv = self.sender(connection, job.is_text), self.receiver(connection)
        payload = job.payload
        bursts = []
        for _ in repeat(None, job.count):
            started = job.clock()
            for _ in repeat(None, job.burst):
                await send(payload)
            bursts.append(job.clock() - started)
            await recv()
        return bursts

    def echo(self, job):
        return self.run(self._echo(job))

    async def _echo(self, job):
        flood = job.has_flood and asyncio.ensure_future(
            self._drain(await self.open(job, 'flood')))
        connection = await self.open(job, 'echo')
        send, recv = self.sender(connection, job.is_text), self.receiver(connection)
        payload = job.payload
        trips = []
        for _ in repeat(None, job.count):
            started = job.clock()
            await send(payload)
            message = await recv()
            trips.append(job.clock() - started)
        if flood:
            flood.cancel()
        job.check(message)
        return trips

    def connect(self, job):
        return self.run(self._connect(job))

    async def _connect(self, job):
        context = job.ssl_context()
        spent = []
        for _ in repeat(None, job.count):
            started = job.clock()
            connection = await self.open(job, 'connect', context)
            spent.append(job.clock() - started)
            await self.close(connection)
        return spent

    def hold(self, job, opened):
        return self.run(self._hold(job, opened))

    async def _hold(self, job, opened):
        connections = []
        for _ in repeat(None, job.count):
            connections.append(await self.open(job, 'hold'))
            opened()

    def crowd(self, job, mark):
        return self.run(self._crowd(job, mark))

    async def _crowd(self, job, mark):
        context = job.ssl_context()
        tasks = []
        for count in (job.first, job.connections):
            connections = []
            for _ in repeat(None, count):
                connection = await self.open(job, 'hold', context)
                connections.append(connection)
                tasks.append(asyncio.ensure_future(self._drain(connection)))
            mark()
            for connection in connections:
                await self.ping(connection)
            await asyncio.sleep(1)      # the peer answers
            mark()
        for task in tasks:
            task.cancel()

    async def _drain(self, connection):
        """Wait for messages without end, as a program's task does."""
        recv = self.receiver(connection)
        while True:
            await recv()


class Uvloop:
    """Mixin: on uvloop."""

    def run(self, coroutine):
        import uvloop
        uvloop.install()
        return super().run(coroutine)
