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
        self._left = 1      # the first message starts the clock
        self._started = None

    def on_ws_frame(self, transport, frame):
        if frame.msg_type is TEXT:
            message = frame.get_payload_as_utf8_text()
            self._left -= 1
            if not self._left:
                self.count_out(message)

    def count_out(self, message):
        if self._started is None:
            self._left = self._job.count
            self._started = self._job.clock()
            return
        elapsed = self._job.clock() - self._started
        self._job.check(message)
        self._done.set_result(elapsed)


class BinaryReceiver(TextReceiver):

    def on_ws_frame(self, transport, frame):
        if frame.msg_type is BINARY:
            message = frame.get_payload_as_bytes()
            self._left -= 1
            if not self._left:
                self.count_out(message)


class Round:
    """The messages that are to come over several connections."""

    def __init__(self):
        self.left = 0
        self.done = None


class Member(picows.WSListener):
    """One of several connections: its loop body is in the callback."""

    def __init__(self, common):
        self._common = common

    def on_ws_frame(self, transport, frame):
        if frame.msg_type is TEXT:
            message = frame.get_payload_as_utf8_text()
            common = self._common
            common.left -= 1
            if not common.left:
                common.done.set_result(message)


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

    def rounds(self, job):
        return self.run(self._rounds(job))

    async def _rounds(self, job):
        common, loop = Round(), asyncio.get_running_loop()
        connections = [
            await self.open(job, 'hold' if number % 10 else 'feed', None, lambda: Member(common))
            for number in range(job.connections)]
        spent = []
        for _ in repeat(None, job.count):
            common.left, common.done = job.active * job.each, loop.create_future()
            job.ask_for_round()     # blocks: the messages have arrived when the loop goes on
            started = job.clock()
            message = await common.done
            spent.append(job.clock() - started)
        job.check(message)
        for connection in connections:
            await self.close(connection)
        return spent

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

