"""One message from an asynchronous iterable: its fragments, what waits, and how it may fail."""

import os
import socket

import pytest

from lomond import WebSocket, aio, errors
from tests.network.driving import count_steps, read_to_close
from tests.network.event_loops import collect, in_each_loop, run_in, wait_until
from tests.network.test_aio_sending import SMALL, Reader, open_in_background
from tests.support import PATIENCE, make_close, make_frame, read_frame

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

NOISE = os.urandom(100000)


class Items:
    """An asynchronous iterator over items, which come when they are `put`; an exception is raised.

    ``asked`` counts how often it was asked.
    """

    def __init__(self, loop, *items):
        self._loop = loop
        self._items = list(items)
        self.asked = 0
        self.is_over = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        self.asked += 1
        await wait_until(self._loop, lambda: self._items or self.is_over)
        if not self._items:
            raise StopAsyncIteration
        item = self._items.pop(0)
        if isinstance(item, BaseException):
            raise item
        return item

    def put(self, *items):
        self._items.extend(items)


class Counted(WebSocket):
    """Counts the steps of its session."""

    def new_session(self, session_class):
        session = super().new_session(session_class)
        self.steps = []
        count_steps(session, self.steps)
        return session


class Peer:
    """A WebSocket over a pair of sockets, and the raw end of it."""

    def __init__(self, loop, role='client', **options):
        self._loop = loop
        ours, self.sock = socket.socketpair()
        self.sock.settimeout(PATIENCE)
        ours.setsockopt(*SMALL[0])
        self.connection = aio.connect(
            Counted.attach(ours, role, **options), close_timeout=PATIENCE)
        self.task = None
        self.names = []

    async def __aenter__(self):
        self.task = self._loop.start(self._iterate)
        await wait_until(self._loop, lambda: 'ready' in self.names)
        return self

    async def _iterate(self):
        self.events = await collect(self.connection, self.names)

    async def __aexit__(self, *_exc_info):
        self.connection.break_off()
        self.sock.close()
        await self.task.result()

    async def read(self, count=1):
        """Return the next frames."""
        return await self._loop.in_thread(lambda: [read_frame(self.sock) for _ in range(count)])

    async def rests(self):
        """Check that the loop takes no step after the other for nothing."""
        steps = self.connection.websocket.steps
        before = len(steps)
        for _ in range(100):
            await self._loop.sleep(0)
        assert len(steps) < before + 10

    async def ended(self):
        """Return the last event."""
        await self.task.result()
        return self.events[-1]


async def generate(*items):
    for item in items:
        yield item


@in_each_loop
def test_each_item_goes_out_before_the_next_is_made(loop_name):
    async def scenario(loop):
        async with Peer(loop) as peer:
            items = Items(loop, u'caf\xe9')
            sending = loop.start(peer.connection.send_text, items)
            assert await peer.read() == [(0x01, u'caf\xe9'.encode('utf-8'))]
            items.put(u'', u'two')
            assert await peer.read() == [(0x00, b'two')]
            assert not sending.is_done
            items.is_over = True
            await sending.result()
            assert await peer.read() == [(0x80, b'')]
            assert peer.connection.websocket.stats.sent.messages == 1

    run_in(loop_name, scenario)


@in_each_loop
@pytest.mark.parametrize('compress', [False, True])
def test_the_peer_gets_one_message(loop_name, compress):
    async def scenario(loop):
        one, other = socket.socketpair()
        agreed = u'permessage-deflate' if compress else u''
        server = aio.connect(WebSocket.attach(other, 'server', extensions=agreed))
        serving = loop.start(collect, server)
        async with aio.connect(WebSocket.attach(
                one, extensions=agreed, fragment_size=30000)) as connection:
            async for event in connection:
                if event.name == 'ready':
                    await connection.send_text(generate(u'one ', u'two ', u'three'))
                    await connection.send_binary(
                        generate(bytearray(NOISE), memoryview(NOISE), b''))
                    await connection.send_text(generate(u'not ', u'compressed'), compress=False)
                    await connection.send_binary(generate())
                    await connection.send_text(u'last')
                    await connection.close()
        return await serving.result()

    seen = run_in(loop_name, scenario)
    assert [event.text for event in seen if event.name == 'text'] == [
        u'one two three', u'not compressed', u'last']
    assert [event.data for event in seen if event.name == 'binary'] == [NOISE * 2, b'']
    assert seen[-1].graceful


@in_each_loop
def test_other_messages_wait_and_control_frames_go_out_in_between(loop_name):
    async def scenario(loop):
        async with Peer(loop) as peer:
            connection = peer.connection
            items = Items(loop, u'one')
            sending = loop.start(connection.send_text, items)
            assert await peer.read() == [(0x01, b'one')]
            connection.websocket.send_text(u'by a plain call')
            waiting = loop.start(connection.send_text, u'awaited')
            in_parts = loop.start(connection.send_text, generate(u'in ', u'parts'))
            draining = loop.start(connection.drain)
            await connection.send_ping(b'ours')
            peer.sock.sendall(make_frame(9, b'theirs'))
            assert await peer.read(2) == [(0x89, b'ours'), (0x8A, b'theirs')]
            items.put(u'two')
            assert await peer.read() == [(0x00, b'two')]
            assert not (waiting.is_done or in_parts.is_done or draining.is_done)
            items.is_over = True
            for task in (sending, waiting, in_parts, draining):
                await task.result()
            found = await peer.read(6)
            assert found[:2] == [(0x80, b''), (0x81, b'by a plain call')]
            assert sorted([found[2:3], found[3:]], key=len) == [
                [(0x81, b'awaited')], [(0x01, b'in '), (0x00, b'parts'), (0x80, b'')]] \
                or found[2:] == [(0x01, b'in '), (0x00, b'parts'), (0x80, b''), (0x81, b'awaited')]

    run_in(loop_name, scenario)


@in_each_loop
def test_no_item_is_asked_for_while_the_peer_reads_nothing(loop_name):
    """What waits in memory is one item."""
    async def count_forever():
        while True:
            asked.append(None)
            yield NOISE

    async def scenario(loop):
        with Reader() as reader:
            connection = reader.open()
            task = await open_in_background(loop, connection)
            sending = loop.start(connection.send_binary, count_forever())
            writer = connection.websocket.session.writer
            await wait_until(loop, lambda: writer.needs_buffer)
            # Its turn to be asked comes many times, if anything is wrong.
            for _ in range(50):
                await loop.sleep(0)
            before = len(asked)
            for _ in range(50):
                await loop.sleep(0)
            assert len(asked) == before
            assert not writer.is_crowded(len(NOISE) + 100)
            reader.may_read.set()
            await wait_until(loop, lambda: len(asked) > before + 10)
            await sending.stop()
            assert not (await task.result())[-1].graceful

    asked = []
    run_in(loop_name, scenario)


@in_each_loop
def test_a_peer_that_reads_nothing_for_write_timeout_ends_the_message(loop_name):
    async def forever():
        while True:
            yield NOISE

    async def scenario(loop):
        async with Peer(loop, write_timeout=0.1) as peer:
            with pytest.raises(errors.TransportFail, match='write timed out'):
                await peer.connection.send_binary(forever())
            assert (await peer.ended()).reason.startswith(u'write timed out')

    run_in(loop_name, scenario)


@in_each_loop
def test_an_iterable_that_takes_its_time_is_no_write_timeout(loop_name):
    async def scenario(loop):
        async with Peer(loop, write_timeout=0.01) as peer:
            items = Items(loop, u'one')
            sending = loop.start(peer.connection.send_text, items)
            await peer.read()
            writer = peer.connection.websocket.session.writer
            assert writer.deadline == float('inf')
            items.is_over = True
            await sending.result()

    run_in(loop_name, scenario)


# -- what goes wrong --

@in_each_loop
@pytest.mark.parametrize('fault, error', [
    (ZeroDivisionError('of the iterable'), ZeroDivisionError),
    (b'bytes', TypeError),
    (u'\ud800', ValueError),
])
def test_a_fault_in_the_middle_ends_the_connection_and_goes_through(loop_name, fault, error):
    async def scenario(loop):
        async with Peer(loop) as peer:
            with pytest.raises(error):
                await peer.connection.send_text(Items(loop, u'one', fault))
            assert await peer.read() == [(0x01, b'one')]
            last = await peer.ended()
            assert (last.graceful, last.reason) == (False, u'a message was not sent to its end')
            assert last.unsent == 1
            assert await loop.in_thread(lambda: peer.sock.recv(1)) == b''
            with pytest.raises(errors.WebSocketClosed):
                await peer.connection.send_text(generate(u'more'))

    run_in(loop_name, scenario)


@in_each_loop
@pytest.mark.parametrize('fault', [ZeroDivisionError('of the iterable'), b'bytes'])
def test_a_fault_before_the_first_item_leaves_the_connection_alone(loop_name, fault):
    async def scenario(loop):
        async with Peer(loop) as peer:
            with pytest.raises((ZeroDivisionError, TypeError)):
                await peer.connection.send_text(Items(loop, u'', fault))
            await peer.connection.send_text(u'next')
            assert await peer.read() == [(0x81, b'next')]

    run_in(loop_name, scenario)


@in_each_loop
def test_cancelling_in_the_middle_ends_the_connection(loop_name):
    async def scenario(loop):
        async with Peer(loop) as peer:
            sending = loop.start(peer.connection.send_text, Items(loop, u'one'))
            await peer.read()
            waiting = loop.start(peer.connection.send_text, u'behind it')
            await sending.stop()
            with pytest.raises(errors.WebSocketError):
                await waiting.result()
            assert not (await peer.ended()).graceful

    run_in(loop_name, scenario)


@in_each_loop
def test_cancelling_while_the_send_buffer_is_full_ends_the_connection(loop_name):
    async def forever():
        try:
            while True:
                yield NOISE
        finally:
            ended.append(None)

    async def scenario(loop):
        async with Peer(loop) as peer:
            sending = loop.start(peer.connection.send_binary, forever())
            writer = peer.connection.websocket.session.writer
            await wait_until(loop, lambda: writer.needs_buffer)
            await sending.stop()
            assert ended
            assert not (await peer.ended()).graceful

    ended = []
    run_in(loop_name, scenario)


@in_each_loop
def test_cancelling_before_the_first_item_leaves_the_connection_alone(loop_name):
    async def scenario(loop):
        async with Peer(loop) as peer:
            items = Items(loop)
            sending = loop.start(peer.connection.send_text, items)
            await wait_until(loop, lambda: items.asked)
            await sending.stop()
            await peer.connection.send_text(u'next')
            assert await peer.read() == [(0x81, b'next')]

    run_in(loop_name, scenario)


@in_each_loop
def test_a_peer_that_is_gone_ends_the_message(loop_name):
    async def scenario(loop):
        async with Peer(loop) as peer:
            items = Items(loop, u'one')
            sending = loop.start(peer.connection.send_text, items)
            await peer.read()
            peer.sock.close()
            await peer.ended()
            items.put(u'two')
            with pytest.raises((errors.WebSocketClosed, errors.TransportFail)):
                await sending.result()

    run_in(loop_name, scenario)


@in_each_loop
def test_the_iterable_can_not_send_on_the_same_connection(loop_name):
    async def scenario(loop):
        async def items():
            yield u'one'
            for send in (lambda: connection.send_text(u'x'), connection.drain,
                         lambda: connection.send_text(generate(u'x'))):
                with pytest.raises(errors.WebSocketUnavailable, match='iterable'):
                    await send()
            await connection.send_ping(b'p')
            yield u'two'

        async with Peer(loop) as peer:
            connection = peer.connection
            await connection.send_text(items())
            assert await peer.read(4) == [
                (0x01, b'one'), (0x89, b'p'), (0x00, b'two'), (0x80, b'')]
            await connection.send_text(u'after it')
            assert await peer.read() == [(0x81, b'after it')]

    run_in(loop_name, scenario)


@in_each_loop
def test_before_ready_nothing_is_asked_for(loop_name):
    async def scenario(loop):
        ours, theirs = socket.socketpair()
        items = Items(loop, u'one')
        async with aio.connect(WebSocket.attach(ours)) as connection:
            with pytest.raises(errors.WebSocketUnavailable, match='Ready'):
                await connection.send_text(items)
        assert not items.asked
        theirs.close()
        assert connection.websocket is not None

    run_in(loop_name, scenario)


def test_the_plain_methods_name_those_that_take_it():
    items = generate(u'one')
    websocket = WebSocket(u'ws://example.org/')
    for send in (websocket.send_text, websocket.send_binary):
        with pytest.raises(TypeError, match='await connection.' + send.__name__):
            send(items)


# -- closing in the middle --

@in_each_loop
def test_our_close_comes_after_the_message(loop_name):
    """And nothing is done over and over while it waits."""
    async def scenario(loop):
        async with Peer(loop) as peer:
            items = Items(loop, u'one')
            sending = loop.start(peer.connection.send_text, items)
            await peer.read()
            await peer.connection.close()
            await peer.rests()
            with pytest.raises(errors.WebSocketClosing):
                peer.connection.websocket.send_text(u'no other message')
            peer.sock.sendall(make_frame(9, b'p'))
            assert await peer.read() == [(0x8A, b'p')]
            items.put(u'two')
            items.is_over = True
            await sending.result()
            assert await peer.read(3) == [
                (0x00, b'two'), (0x80, b''), (0x88, b'\x03\xe8goodbye')]
            peer.sock.sendall(make_close(1000))
            peer.sock.shutdown(socket.SHUT_WR)
            assert (await peer.ended()).graceful

    run_in(loop_name, scenario)


@in_each_loop
@pytest.mark.parametrize('role', ['client', 'server'])
def test_the_answer_to_the_peer_s_close_comes_after_the_message(loop_name, role):
    """The last messages may be sent then. Nothing is done over and over while it waits."""
    async def scenario(loop):
        async with Peer(loop, role) as peer:
            items = Items(loop, u'one')
            sending = loop.start(peer.connection.send_text, items)
            await peer.read()
            peer.sock.sendall(make_close(1000, key=b'abcd' if role == 'server' else None))
            peer.sock.shutdown(socket.SHUT_WR)
            await wait_until(loop, lambda: 'closing' in peer.names)
            await peer.rests()
            items.put(u'two')
            items.is_over = True
            await sending.result()
            assert await peer.read(3) == [(0x00, b'two'), (0x80, b''), (0x88, b'\x03\xe8')]
            assert (await peer.ended()).graceful

    run_in(loop_name, scenario)


@in_each_loop
def test_a_message_that_the_peer_s_close_finds_in_the_queue_is_not_sent(loop_name):
    async def scenario(loop):
        async with Peer(loop) as peer:
            websocket = peer.connection.websocket
            writer = websocket.session.writer
            while not writer.has_unsent:
                websocket.send_binary(NOISE[:10000])
            sending = loop.start(peer.connection.send_text, Items(loop, u'one'))
            await wait_until(loop, lambda: writer.has_waiting)
            peer.sock.sendall(make_close(1000))
            peer.sock.shutdown(socket.SHUT_WR)
            await wait_until(loop, lambda: 'closing' in peer.names)
            reading = loop.start(loop.in_thread, lambda: read_to_close(peer.sock))
            with pytest.raises(errors.WebSocketClosed, match='in the middle of this message'):
                await sending.result()
            assert {first for first, _payload in (await reading.result())[:-1]} == {0x82}
            last = await peer.ended()
            assert (last.graceful, last.unsent) == (True, 1)

    run_in(loop_name, scenario)


@in_each_loop
def test_a_message_may_begin_while_closing_is_handled(loop_name):
    async def scenario(loop):
        ours, theirs = socket.socketpair()
        theirs.settimeout(PATIENCE)
        theirs.sendall(make_close(1000))
        theirs.shutdown(socket.SHUT_WR)
        async with aio.connect(WebSocket.attach(ours)) as connection:
            async for event in connection:
                if event.name == 'closing':
                    await connection.send_text(generate(u'last ', u'words'))
        assert event.graceful
        assert read_to_close(theirs) == [
            (0x01, b'last '), (0x00, b'words'), (0x80, b''), (0x88, b'\x03\xe8')]
        theirs.close()

    run_in(loop_name, scenario)


@in_each_loop
def test_a_peer_that_breaks_the_protocol_ends_the_message(loop_name):
    async def scenario(loop):
        async with Peer(loop) as peer:
            items = Items(loop, u'one')
            sending = loop.start(peer.connection.send_text, items)
            await peer.read()
            peer.sock.sendall(make_frame(3))
            assert (await peer.read())[0][0] == 0x88
            peer.sock.close()
            items.put(u'two')
            with pytest.raises((errors.WebSocketClosed, errors.WebSocketClosing)):
                await sending.result()

    run_in(loop_name, scenario)
