"""picows: its core API of callbacks; for deflated messages, which that can't do, its other one."""

import asyncio
from itertools import repeat

import picows

from clients.asyncio_ import AsyncioClient

TEXT = picows.WSMsgType.TEXT
BINARY = picows.WSMsgType.BINARY


class Listener(picows.WSListener):
    """Passes each message to a function, which can be replaced; tracks back pressure."""

    def __init__(self):
        self.on_message = lambda frame: None
        self.room = asyncio.Event()
        self.room.set()

    def on_ws_frame(self, transport, frame):
        self.on_message(frame)

    def pause_writing(self):
        self.room.clear()

    def resume_writing(self):
        self.room.set()


class TextReceiver(picows.WSListener):
    """The loop body is in the callback: that is how its user has it."""

    def __init__(self, job, done):
        self._job, self._done = job, done
        self._left = job.count + 1
        self._started = None

    def take(self, frame):
        return frame.get_payload_as_utf8_text()

    def on_ws_frame(self, transport, frame):
        if frame.msg_type is TEXT or frame.msg_type is BINARY:
            message = self.take(frame)
            self._left -= 1
            if not self._left:
                elapsed = self._job.clock() - self._started
                self._job.check(message)
                self._done.set_result(elapsed)
            elif self._started is None:
                self._started = self._job.clock()


class BinaryReceiver(TextReceiver):

    def take(self, frame):
        return frame.get_payload_as_bytes()


class Picows(AsyncioClient):

    async def open(self, job, operation, context=None, listener=Listener):
        return await picows.ws_connect(
            listener, job.url(operation), ssl_context=context,
            max_frame_size=min(job.limit, 2 ** 31 - 1))

    async def ping(self, connection):
        connection[0].send_ping()

    async def _drain(self, connection):
        """Do nothing: its listener is called, and needs no task."""

    async def close(self, connection):
        connection[0].disconnect()
        await connection[0].wait_disconnected()

    async def _receive(self, job):
        if job.deflate:
            return await self._receive_deflated(job)
        done = asyncio.get_running_loop().create_future()
        kind = TextReceiver if job.is_text else BinaryReceiver
        await self.open(job, 'receive', listener=lambda: kind(job, done))
        return await done

    async def _receive_deflated(self, job):
        try:
            from picows.websockets.asyncio.client import connect
        except ImportError:
            raise NotImplementedError('no permessage-deflate') from None
        recv = (await connect(
            job.url('receive'), compression='deflate', max_size=job.limit)).recv
        await recv()
        started = job.clock()
        for _ in repeat(None, job.count):
            message = await recv()
        elapsed = job.clock() - started
        job.check(message)
        return elapsed

    async def _send(self, job):
        transport, listener = await self.open(job, 'send')
        done = asyncio.get_running_loop().create_future()
        listener.on_message = done.set_result
        send, kind = transport.send, TEXT if job.is_text else BINARY
        payload = job.payload.encode() if job.is_text else job.payload
        has_room = listener.room.is_set
        started = job.clock()
        for _ in repeat(None, job.count):
            send(kind, payload)
            if not has_room():
                await listener.room.wait()
        await done
        return job.clock() - started

    async def _burst(self, job):
        transport, listener = await self.open(job, 'burst')
        send, loop = transport.send, asyncio.get_running_loop()
        payload = job.payload.encode()
        bursts = []
        for _ in repeat(None, job.count):
            done = loop.create_future()
            listener.on_message = done.set_result
            started = job.clock()
            for _ in repeat(None, job.burst):
                send(TEXT, payload)
            bursts.append(job.clock() - started)
            await done
        return bursts

    async def _echo(self, job):
        transport, listener = await self.open(job, 'echo')
        done = asyncio.get_running_loop().create_future()
        send, clock, payload = transport.send, job.clock, job.payload.encode()
        trips = []
        started = clock()

        def on_message(frame):
            nonlocal started
            message = frame.get_payload_as_utf8_text()
            trips.append(clock() - started)
            if len(trips) == job.count:
                job.check(message)
                done.set_result(None)
                return
            started = clock()
            send(TEXT, payload)

        listener.on_message = on_message
        started = clock()
        send(TEXT, payload)
        await done
        return trips

