"""A Pool in an event loop, and many connections beside other transports of the loop."""

import asyncio
import gc
import threading

import pytest

from lomond import WebSocket, _crowd, _multiplexer, aio, errors
from lomond.aio import iterator, loops, many
from lomond.net import closing
from lomond.persist import ReconnectPolicy
from lomond.pool import Pool
from tests.network.driving import accept_and_send, drain, echo, needs_proc
from tests.network.event_loops import (
    AsyncioLoop,
    TimedOut,
    collect,
    in_asyncio_loops,
    in_each_loop,
    run_in,
    wait_until,
)
from tests.sampling import LINE_STEP
from tests.support import PATIENCE, RawServer, answer_upgrade, make_close, make_frame
from tests.tracing import LineTracer

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

BEGIN = ['connecting', 'connected', 'ready']


async def collect_pairs(iterator, names=None):
    pairs = []
    async for websocket, event in iterator:
        pairs.append((websocket, event))
        if names is not None:
            names.append(event.name)
    return pairs


@in_each_loop
def test_a_pool_yields_each_members_events_in_order_and_ends_when_empty(loop_name):
    async def scenario(_loop):
        return await collect_pairs(aio.pool(pool))

    sent = [make_frame(1, b'%d' % number) for number in range(50)]
    with RawServer(accept_and_send(*(sent + [make_close(1000)]))) as server:
        pool = Pool()
        members = [pool.add(WebSocket(server.url)) for _ in range(20)]
        pairs = run_in(loop_name, scenario)
    for member in members:
        own = [event for websocket, event in pairs if websocket is member]
        assert [event.name for event in own] == BEGIN + ['text'] * 50 + ['closing', 'disconnected']
        assert [int(event.text) for event in own if event.name == 'text'] == list(range(50))


@in_each_loop
def test_three_hundred_members_come_and_go_by_tasks_and_threads(loop_name):
    async def scenario(loop):
        names = []
        pool = Pool(ends_when_empty=False)
        task = loop.start(collect_pairs, aio.pool(pool), names)
        await wait_until(loop, lambda: len(pool) == 0)

        def add():
            for _ in range(50):
                pool.add(WebSocket(server.url), policy=ReconnectPolicy(min_wait=0, max_wait=0))

        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(100):
            pool.add(WebSocket(server.url))
            await loop.sleep(0)
        for thread in threads:
            await loop.in_thread(thread.join)
        await wait_until(loop, lambda: names.count('ready') >= 300)
        assert pool.broadcast(u'to all') == 300
        await wait_until(loop, lambda: names.count('text') == 300)
        for websocket in pool.websockets[:100]:
            assert pool.remove(websocket)
        assert await loop.in_thread(lambda: pool.broadcast(u'to the rest')) == 200
        await wait_until(loop, lambda: names.count('text') == 500)
        await loop.in_thread(pool.close)
        await task.result()
        assert not len(pool)
        assert names.count('disconnected') == 200

    with RawServer(echo) as server:
        run_in(loop_name, scenario)


@in_each_loop
def test_a_wait_for_a_pools_event_that_is_cancelled_loses_none(loop_name):
    async def scenario(loop):
        events = []
        iterator = aio.pool(pool)
        while True:
            try:
                _websocket, event = await loop.within(0.0005, iterator.__anext__)
            except TimedOut:
                continue
            except StopAsyncIteration:
                return events
            events.append(event)

    def script(sock):
        answer_upgrade(sock)
        for number in range(200):
            sock.sendall(make_frame(1, b'%d' % number))
        sock.sendall(make_close(1000))
        drain(sock)

    with RawServer(script) as server:
        pool = Pool()
        for _ in range(5):
            pool.add(WebSocket(server.url))
        events = run_in(loop_name, scenario)
    assert sum(event.name == 'text' for event in events) == 1000


@in_each_loop
@pytest.mark.parametrize('stage', ['request', 'disconnected'])
def test_a_function_of_the_users_may_break_a_pool_off(loop_name, stage):
    """It is called in a step of the pool's generator, which can't be closed then."""
    def trace(record):
        if record['stage'] == stage:
            events[0].break_off()

    async def scenario(loop):
        pool = Pool(ends_when_empty=False)
        pool.add(WebSocket(server.url, trace=trace))
        pool.add(WebSocket(server.url))
        events.append(aio.pool(pool))
        await collect_pairs(events[0])
        await wait_until(loop, lambda: not len(pool) and loop.count_own_tasks() <= 0)

    events = []
    with RawServer(accept_and_send(make_close(1000))) as server:
        run_in(loop_name, scenario)


def break_off_at(loop_name, moment, url):
    """Iterate, and break off before the nth line; return whether it came to that."""
    async def scenario(loop):
        pool = Pool(ends_when_empty=False)
        websocket = pool.add(WebSocket(url))
        events = aio.pool(pool)
        tracer = LineTracer(
            [iterator, loops, many, _crowd, _multiplexer], moment, events.break_off,
            but='__aiter__')    # which says that it has ended
        with tracer:
            async for _websocket, event in events:
                if event.name == 'disconnected':
                    break
        events.break_off()
        await wait_until(loop, lambda: loop.count_own_tasks() <= 0 and (
            websocket.session is None or websocket.is_closed))
        return tracer.has_acted

    return run_in(loop_name, scenario)


@pytest.mark.parametrize('loop_name', ['asyncio', 'trio'])
def test_a_signals_handler_may_break_a_pool_off_at_any_line(loop_name):
    moment = 1
    with RawServer(accept_and_send(make_frame(1), make_close(1000))) as server:
        while break_off_at(loop_name, moment, server.url):
            moment += LINE_STEP
    assert moment > 100


@in_each_loop
@pytest.mark.parametrize('leave', ['break', 'block', 'cancel', 'other task', 'thread'])
def test_leaving_a_pool_breaks_all_connections_at_once(loop_name, leave):
    async def iterate(loop, names):
        if leave == 'break':
            async for _websocket, event in aio.pool(pool):
                names.append(event.name)
                if names.count('text') == 3:
                    break
        elif leave == 'block':
            async with aio.pool(pool) as events:
                async for _websocket, event in events:
                    names.append(event.name)
                    if names.count('text') == 3:
                        return
        else:
            async with aio.pool(pool) as loop.events:
                await collect_pairs(loop.events, names)

    async def scenario(loop):
        names = []
        task = loop.start(iterate, loop, names)
        if leave not in ('break', 'block'):
            await wait_until(loop, lambda: names.count('text') == 3)
        if leave == 'cancel':
            await task.stop()
        elif leave == 'other task':
            loop.events.break_off()
        elif leave == 'thread':
            await loop.in_thread(loop.events.break_off)
        await task.result() if leave != 'cancel' else None
        await wait_until(loop, lambda: len(ended) == 3)
        await wait_until(loop, lambda: loop.count_own_tasks() <= 0)
        assert not len(pool)

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1))
        drain(sock)
        ended.append(sock)

    ended = []
    gc.collect()
    gc.disable()
    try:
        with RawServer(script) as server:
            pool = Pool()
            for _ in range(3):
                pool.add(WebSocket(server.url))
            run_in(loop_name, scenario)
    finally:
        gc.enable()


@in_each_loop
def test_a_flood_in_a_pool_does_not_starve_the_other_tasks(loop_name):
    size = 8 * 1024 * 1024

    async def count(loop):
        while True:
            turns.append(None)
            await loop.sleep(0)

    async def scenario(loop):
        other = loop.start(count, loop)
        await collect_pairs(aio.pool(pool))
        await other.stop()

    turns = []
    with RawServer(accept_and_send(make_frame(1, b'x' * 1000) * (size // 1000), make_close(1000))) \
            as server:
        pool = Pool()
        pool.add(WebSocket(server.url))
        run_in(loop_name, scenario)
    assert len(turns) > size // (64 * 1024)


@in_each_loop
def test_mistakes_with_a_pool_are_errors(loop_name):
    async def scenario(loop):
        names = []
        iterator = aio.pool(pool)
        task = loop.start(collect_pairs, iterator, names)
        await wait_until(loop, lambda: 'ready' in names)
        with pytest.raises(errors.WebSocketUnavailable, match='another task is iterating'):
            await iterator.__anext__()
        with pytest.raises(errors.WebSocketUnavailable, match='over this pool is running'):
            await aio.pool(pool).__anext__()
        await wait_until(loop, lambda: loop.count_own_tasks() <= 1)
        pool.close()
        await task.result()
        with pytest.raises(errors.WebSocketUnavailable, match='has ended'):
            await collect_pairs(iterator)

    with pytest.raises(TypeError, match='Pool'):
        aio.pool([])
    with RawServer(echo) as server:
        pool = Pool()
        pool.add(WebSocket(server.url))
        run_in(loop_name, scenario)


def test_a_pool_without_a_descriptor_to_wait_for_is_named():
    async def scenario(_loop):
        with pytest.raises(errors.WebSocketUnavailable, match='neither epoll nor kqueue'):
            await aio.pool(pool).__anext__()

    pool = Pool(poller='poll', ends_when_empty=False)
    AsyncioLoop(asyncio.SelectorEventLoop, is_debug=True).run(scenario)


@in_each_loop
def test_the_last_events_of_a_pool_that_closes_come(loop_name):
    async def scenario(loop):
        names = []
        task = loop.start(collect_pairs, aio.pool(pool), names)
        await wait_until(loop, lambda: names.count('ready') == 3)
        pool.close()
        await task.result()
        return names

    with RawServer(echo) as server:
        pool = Pool()
        for _ in range(3):
            pool.add(WebSocket(server.url))
        names = run_in(loop_name, scenario)
    assert names[-6:].count('disconnected') == names[-6:].count('closed') == 3


# -- beside asyncio's own transports --

class Echo(asyncio.Protocol):
    """Accepts a WebSocket and closes it, or refuses it, in the same loop."""

    def connection_made(self, transport):
        self._transport = transport
        self._head = b''

    def data_received(self, data):
        self._head += data
        if b'\r\n\r\n' in self._head:
            if self._head.startswith(b'GET /away'):
                self._transport.write(
                    b'HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /\r\n\r\n')
            else:
                self._transport.write(b'HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n')
            self._transport.close()


@needs_proc
@in_asyncio_loops
@pytest.mark.timeout(3 * PATIENCE)
def test_descriptors_are_reused_by_the_transports_of_the_loop(loop_name):
    """Six hundred connections begin and end, 20 at a time."""
    async def connect(url, number):
        for _ in range(30):
            events = await collect(aio.connect(WebSocket(
                url + (u'away' if number % 2 else u''), proxies={})))
            assert [event.name for event in events][-2:] == ['rejected', 'disconnected'], events

    async def scenario(loop):
        server = await loop.asyncio_loop.create_server(Echo, '127.0.0.1', 0)
        url = u'ws://127.0.0.1:{}/'.format(list(server.sockets)[0].getsockname()[1])
        tasks = [loop.start(connect, url, number) for number in range(20)]
        for task in tasks:
            await task.result()
        server.close()
        await server.wait_closed()

    run_in(loop_name, scenario)


def test_closing_a_descriptor_takes_no_longer_with_many_connections():
    """One object is asked to forget it, not one for each connection."""
    async def scenario(_loop):
        connections = [aio.connect(WebSocket(server.url)) for _ in range(20)]
        for connection in connections:
            async for event in connection:
                if event.name == 'ready':
                    break
        waiters.append(len(closing.waiters))
        for connection in connections:
            connection.break_off()

    waiters = [len(closing.waiters)]
    with RawServer(echo) as server:
        run_in('asyncio', scenario)
    assert waiters[1] == waiters[0]
