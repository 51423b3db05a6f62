"""Sends that wait in an event loop: in order, with back pressure, cancelled, from other threads."""

import itertools
import os
import socket
import threading

import pytest

from lomond import WebSocket, aio, errors
from lomond.persist import ReconnectPolicy
from lomond.testing import InsideLoop
from tests.network.driving import accept_and_hang_up, echo, read_to_close, wait_for
from tests.network.event_loops import (
    TimedOut,
    collect,
    in_each_loop,
    run_in,
    wait_until,
)
from tests.support import RawServer, answer_upgrade, make_close, make_frame, read_frame

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

BUFFER = 64 * 1024
NOISE = os.urandom(10000)
SMALL = [(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)]


class Reader:
    """A peer that reads once it may; its frames up to the Close, and then all is over."""

    def __init__(self, script=None):
        self.may_read = threading.Event()
        self.frames = []
        self.server = RawServer(script or self._script, receive_buffer=BUFFER)

    def _script(self, sock):
        answer_upgrade(sock)
        wait_for(self.may_read)
        self.frames.extend(read_to_close(sock))
        sock.sendall(make_close(1000))

    def __enter__(self):
        self.server.__enter__()
        return self

    def __exit__(self, *exc_info):
        self.may_read.set()
        self.server.__exit__(*exc_info)

    def open(self, **options):
        return aio.connect(WebSocket(self.server.url, socket_options=SMALL, **options))

    @property
    def texts(self):
        return [payload for first, payload in self.frames if first == 0x81]


async def open_in_background(loop, connection):
    """Iterate in a task of its own; return that once it is open."""
    names = []
    task = loop.start(collect, connection, names)
    await wait_until(loop, lambda: 'ready' in names or task.is_done)
    return task


def is_stuck(connection):
    """Return whether tasks wait for space."""
    return connection.websocket.session.writer.has_waiting


async def fill(loop, connection):
    """Send until a send waits, and then more, so that it goes on waiting; return its task.

    TCP may find space in buffers that were full. Noise, as that can't be compressed.
    """
    async def send():
        while True:
            await connection.send_binary(NOISE)
    task = loop.start(send)
    await wait_until(loop, lambda: is_stuck(connection))
    if connection.websocket.session.writer.outbox.max_queue > 900000:
        for _ in range(90):
            connection.websocket.send_binary(NOISE)
    return task


@in_each_loop
def test_a_send_waits_while_64_kib_wait_before_it(loop_name):
    async def scenario(loop):
        connection = peer.open()
        task = await open_in_background(loop, connection)
        async def send():
            while True:
                await connection.send_binary(NOISE)
        sender = loop.start(send)
        await wait_until(loop, lambda: is_stuck(connection))
        writer = connection.websocket.session.writer
        assert not writer.is_crowded(64 * 1024 + 20000)
        await sender.stop()
        peer.may_read.set()
        await connection.drain()
        assert not writer.has_unsent
        await connection.close()
        await task.result()

    with Reader() as peer:
        run_in(loop_name, scenario)
    assert len(peer.frames) > 8


@in_each_loop
@pytest.mark.parametrize('compress', [False, True])
def test_a_hundred_tasks_send_in_turn_and_all_arrives(loop_name, compress):
    async def send(connection, number):
        await connection.send_text(u'{}:'.format(number) + u'x' * 100000)
        sent.append(number)

    async def scenario(loop):
        connection = peer.open(compress=compress)
        task = await open_in_background(loop, connection)
        if loop.name == 'trio':         # which starts tasks in any order
            senders = []
            for number in range(100):
                senders.append(loop.start(send, connection, number))
                await loop.sleep(0)
                await loop.sleep(0)
        else:
            senders = [loop.start(send, connection, number) for number in range(100)]
        await wait_until(loop, lambda: is_stuck(connection))
        peer.may_read.set()
        for sender in senders:
            await sender.result()
        await connection.close()
        await task.result()

    sent = []
    with Reader() as peer:
        run_in(loop_name, scenario)
    assert sent == list(range(100))
    assert [int(text.split(b':')[0]) for text in peer.texts if b':' in text] == sent
    assert {len(text.split(b':')[1]) for text in peer.texts} == {100000}


@in_each_loop
def test_utf_8_is_sent_as_text_in_its_turn_and_checked(loop_name):
    async def scenario(loop):
        connection = peer.open()
        task = await open_in_background(loop, connection)
        filler = await fill(loop, connection)
        await filler.stop()
        sender = loop.start(connection.send_utf8, 'caf\xe9'.encode())
        await wait_until(loop, lambda: is_stuck(connection))
        peer.may_read.set()
        await sender.result()
        with pytest.raises(ValueError, match='send_utf8 takes UTF-8'):
            await connection.send_utf8(b'\xff')
        await connection.close()
        await task.result()

    with Reader() as peer:
        run_in(loop_name, scenario)
    assert peer.texts == ['caf\xe9'.encode()]


@in_each_loop
def test_a_send_does_not_overtake_those_that_wait(loop_name):
    async def send(connection, text):
        await connection.send_text(text)

    async def scenario(loop):
        connection = peer.open()
        task = await open_in_background(loop, connection)
        filler = await fill(loop, connection)
        senders = []
        for number in range(10):
            senders.append(loop.start(send, connection, str(number)))
            await loop.sleep(0.001)
        await filler.stop()
        # Less than the limit waits by now; but others wait, too.
        connection.websocket.session.writer.outbox.size -= 900000
        senders.append(loop.start(send, connection, u'last'))
        await loop.sleep(0.001)
        connection.websocket.session.writer.outbox.size += 900000
        peer.may_read.set()
        for sender in senders:
            await sender.result()
        await connection.close()
        await task.result()

    with Reader() as peer:
        run_in(loop_name, scenario)
    assert peer.texts == [b'%d' % number for number in range(10)] + [b'last']


@in_each_loop
@pytest.mark.parametrize('compress', [False, True])
def test_a_send_that_is_cancelled_sends_nothing_and_lets_the_next_one_go(loop_name, compress):
    async def send(connection, text):
        await connection.send_text(text)

    async def scenario(loop):
        connection = peer.open(compress=compress)
        task = await open_in_background(loop, connection)
        filler = await fill(loop, connection)
        await filler.stop()
        senders = []
        for number in range(20):
            senders.append(loop.start(send, connection, str(number)))
            await loop.sleep(0.001)
        for number in (0, 1, 5, 19):        # the first, too, whose turn it is
            await senders[number].stop()
        peer.may_read.set()
        for number, sender in enumerate(senders):
            if number not in (0, 1, 5, 19):
                await sender.result()
        await connection.close()
        await task.result()

    with Reader() as peer:
        run_in(loop_name, scenario)
    assert peer.texts == [b'%d' % number for number in range(20) if number not in (0, 1, 5, 19)]


@in_each_loop
def test_a_peer_that_never_reads_fails_all_sends_after_write_timeout(loop_name):
    async def send(connection):
        with pytest.raises((errors.TransportFail, errors.WebSocketClosed)) as caught:
            while True:
                await connection.send_text(u'x' * 10000)
        # It failed while it waited: the message wasn't encoded yet. (On a busy machine, before it
        # could begin.)
        if isinstance(caught.value, errors.TransportFail):
            assert (caught.value.sent, caught.value.size) == (0, 0)

    async def scenario(loop):
        connection = peer.open(write_timeout=0.1)
        task = await open_in_background(loop, connection)
        senders = [loop.start(send, connection) for _ in range(10)]
        for sender in senders:
            await sender.result()
        return (await task.result())[-1]

    with Reader() as peer:
        last = run_in(loop_name, scenario)
    assert last.name == 'disconnected'
    assert 'write timed out after 0.1 s: the peer' in last.reason
    assert last.unsent > 0


@in_each_loop
def test_a_peer_that_never_reads_fails_the_send_of_the_body_that_iterates(loop_name):
    async def scenario(_loop):
        connection = peer.open(write_timeout=0.1)
        async for event in connection:
            if event.name == 'ready':
                with pytest.raises(errors.TransportFail):
                    while True:
                        await connection.send_text(u'x' * 10000)
        return event

    with Reader() as peer:
        last = run_in(loop_name, scenario)
    assert 'write timed out after 0.1 s: the peer' in last.reason


@in_each_loop
def test_two_ends_that_both_send_before_they_read_do_not_lock_up(loop_name):
    size, count = 100000, 100

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(2, b'y' * size) * count)
        for _ in range(count):
            assert read_frame(sock)[0] == 0x82
        sock.sendall(make_close(1000))
        read_to_close(sock)

    async def scenario(loop):
        received = 0
        connection = aio.connect(WebSocket(server.url, socket_options=SMALL))
        async for event in connection:
            if event.name != 'binary':
                continue
            received += 1
            if received == 1:
                # It doesn't receive by now, as enough waits for the task that iterates.
                await wait_until(loop, lambda: InsideLoop(connection).ahead)
                await loop.sleep(0.01)
                for _ in range(count):
                    await connection.send_binary(b'x' * size)
        assert event.graceful
        return received

    with RawServer(script, receive_buffer=BUFFER) as server:
        assert run_in(loop_name, scenario) == count


@in_each_loop
def test_threads_send_by_the_plain_methods(loop_name):
    def send(websocket, name):
        for number in range(200):
            websocket.send_text(u'{} {}'.format(name, number))

    async def scenario(loop):
        connection = peer.open()
        task = await open_in_background(loop, connection)
        threads = [threading.Thread(target=send, args=(connection.websocket, name))
                   for name in 'abcd']
        peer.may_read.set()
        for thread in threads:
            thread.start()
        for thread in threads:
            await loop.in_thread(thread.join)
        await connection.close()
        await task.result()

    with Reader() as peer:
        run_in(loop_name, scenario)
    assert sorted(peer.texts) == sorted(
        u'{} {}'.format(name, number).encode() for name in 'abcd' for number in range(200))


@in_each_loop
def test_the_plain_methods_raise_outbox_full_beyond_max_queue(loop_name):
    async def scenario(loop):
        connection = aio.connect(
            WebSocket(peer.server.url, socket_options=SMALL), max_queue=100000)
        task = await open_in_background(loop, connection)
        is_waiting = False
        while not is_waiting:       # the system may still accept some more
            with pytest.raises(errors.OutboxFull):
                while True:
                    connection.websocket.send_binary(b'x' * 10000)
            # An awaited send waits instead.
            try:
                await loop.within(0.01, lambda: connection.send_text(u'x'))
            except TimedOut:
                is_waiting = True
        peer.may_read.set()
        await connection.send_text(u'y')
        await connection.close()
        await task.result()

    with Reader() as peer:
        run_in(loop_name, scenario)
    assert peer.texts[-1:] == [b'y']


@in_each_loop
def test_an_awaited_send_waits_with_a_small_max_queue_and_takes_a_larger_message(loop_name):
    async def scenario(loop):
        connection = aio.connect(WebSocket(peer.server.url, socket_options=SMALL), max_queue=1000)
        task = await open_in_background(loop, connection)
        async def send():
            for number in range(100):
                await connection.send_text(str(number) + u'x' * 50000)
        sender = loop.start(send)
        await wait_until(loop, lambda: is_stuck(connection))
        peer.may_read.set()
        await sender.result()
        await connection.close()
        await task.result()

    with Reader() as peer:
        run_in(loop_name, scenario)
    assert [text.rstrip(b'x') for text in peer.texts] == [b'%d' % number for number in range(100)]


@in_each_loop
def test_a_send_from_another_loop_that_would_wait_is_an_error(loop_name):
    async def elsewhere(_loop, connection):
        with pytest.raises(errors.WebSocketUnavailable, match='another event loop, or thread'):
            await connection.send_text(u'x')

    async def scenario(loop):
        connection = peer.open()
        task = await open_in_background(loop, connection)
        filler = await fill(loop, connection)
        await loop.in_thread(lambda: run_in('asyncio', elsewhere, connection))
        await filler.stop()
        peer.may_read.set()
        await connection.close()
        await task.result()

    with Reader() as peer:
        run_in(loop_name, scenario)


@in_each_loop
def test_a_task_that_only_sends_lets_the_loop_answer_pings(loop_name):
    """Though none of its sends has to wait."""
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(9, b'?'))
        frames = [read_frame(sock)]
        while frames[-1] != (0x8a, b'?'):
            frames.append(read_frame(sock))
        answered.set()
        while frames[-1][0] != 0x88:
            frames.append(read_frame(sock))
        sock.sendall(make_close(1000))

    async def scenario(loop):
        connection = aio.connect(WebSocket(server.url))
        task = await open_in_background(loop, connection)
        while not answered.is_set():
            await connection.send_text(u'.')
        await connection.close()
        await task.result()

    answered = threading.Event()
    with RawServer(script) as server:
        run_in(loop_name, scenario)


@in_each_loop
@pytest.mark.parametrize('state', ['before', 'connecting', 'after'])
def test_a_send_that_is_not_possible_raises(loop_name, state):
    expected = errors.WebSocketClosed if state == 'after' else errors.WebSocketUnavailable

    async def scenario(_loop):
        connection = aio.connect(WebSocket(server.url))
        if state == 'connecting':
            await connection.__anext__()
        elif state == 'after':
            await collect(connection)
        for send in (lambda: connection.send_text(u''), lambda: connection.send_binary(b''),
                     lambda: connection.send_json({}), lambda: connection.send_many([u'']),
                     connection.send_ping, lambda: connection.send_pong(b'')):
            with pytest.raises(expected):
                await send()
        await connection.drain()
        await connection.close()

    with RawServer(accept_and_hang_up()) as server:
        run_in(loop_name, scenario)


@in_each_loop
@pytest.mark.parametrize('end', ['force_disconnect', 'break_off', 'write_timeout', 'peer'])
def test_drain_raises_when_the_connection_ends_before_all_was_accepted(loop_name, end):
    async def scenario(loop):
        connection = peer.open(write_timeout=0.1 if end == 'write_timeout' else None)
        task = await open_in_background(loop, connection)
        for _ in range(90):
            connection.websocket.send_binary(NOISE)
        drainer = loop.start(connection.drain)
        if end == 'peer':
            may_hang_up.set()
            await wait_until(loop, lambda: connection.websocket.close_received)
            may_read.set()
        elif end != 'write_timeout':
            await loop.sleep(0.01)
            assert not drainer.is_done
            getattr(connection if end == 'break_off' else connection.websocket, end)()
        for draining in (drainer.result, connection.drain):
            with pytest.raises(errors.TransportFail, match='write timed out' if (
                    end == 'write_timeout') else 'not sent'):
                await draining()
        await task.result()
        with pytest.raises(errors.TransportFail):
            await connection.drain()

    def hang_up(sock):
        answer_upgrade(sock)
        wait_for(may_hang_up)
        sock.sendall(make_close(1000))
        wait_for(may_read)      # otherwise all may be accepted before the Close is read
        read_to_close(sock)

    may_hang_up, may_read = threading.Event(), threading.Event()
    with Reader(hang_up if end == 'peer' else None) as peer:
        run_in(loop_name, scenario)


@in_each_loop
def test_drain_forgets_what_an_earlier_connection_could_not_send(loop_name):
    async def scenario(_loop):
        connection = aio.connect(
            WebSocket(server.url, socket_options=SMALL),
            policy=ReconnectPolicy(min_wait=0, max_wait=0, spread=0))
        async for event in connection:
            if event.name == 'ready':
                if event.connection == 1:
                    for _ in range(90):
                        connection.websocket.send_binary(NOISE)
                    connection.websocket.force_disconnect()
                else:
                    await connection.drain()
                    await connection.close()
            elif event.name == 'back_off':
                may_end.set()
                with pytest.raises(errors.TransportFail, match='not sent'):
                    await connection.drain()
                with pytest.raises(errors.WebSocketClosed, match='send after the next Ready'):
                    await connection.send_text(u'x')

    def take_nothing_first(sock):
        if next(connections) == 1:
            answer_upgrade(sock)
            wait_for(may_end)
        else:
            echo(sock)

    may_end, connections = threading.Event(), itertools.count(1)
    with RawServer(take_nothing_first, receive_buffer=BUFFER) as server:
        run_in(loop_name, scenario)


@in_each_loop
def test_breaking_off_wakes_the_sends_that_wait(loop_name):
    async def send(connection):
        with pytest.raises(errors.WebSocketClosed):
            await connection.send_text(u'x')

    async def scenario(loop):
        connection = peer.open()
        task = await open_in_background(loop, connection)
        filler = await fill(loop, connection)
        senders = [loop.start(send, connection) for _ in range(5)]
        await loop.sleep(0.01)
        await filler.stop()
        connection.break_off()
        for sender in senders:
            await sender.result()
        await task.result()

    with Reader() as peer:
        run_in(loop_name, scenario)
