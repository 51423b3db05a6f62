"""What a mistake in an event loop says: each error names what to write instead."""

import asyncio
import threading

import pytest

from lomond import WebSocket, aio, errors
from lomond.persist import ReconnectPolicy
from lomond.pool import Pool
from lomond.server import Server
from tests.network.driving import accept_and_hang_up, echo, wait_for
from tests.network.event_loops import collect, in_each_loop, run_in
from tests.support import RawServer, answer_upgrade
from tests.unit.test_mistakes import fails, make

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')


@pytest.mark.parametrize('options, words', [
    ({'reconnect': True}, ['use aio.connect(websocket, policy=ReconnectPolicy())']),
    ({'min_wait': 1}, ['aio.connect(websocket, policy=ReconnectPolicy(min_wait=...))']),
    ({'retries': 1}, ['policy=ReconnectPolicy(max_attempts=...)']),
    ({'respect_retry_after': False}, ['max_retry_after=None']),
    ({'exit_event': None}, ['close()']),
    ({'overflow': 'block'}, ['Pool(overflow=']),
    ({'ping_rat': 1}, ['aio.connect()', 'did you mean ping_rate']),
    ({'proxies': {}}, ['WebSocket(url, proxies=']),
])
def test_an_unknown_option_says_where_it_belongs(options, words):
    fails(lambda: aio.connect(make(), **options), TypeError, *words)


def test_aio_pool_says_that_it_does_not_poll():
    pool = Pool()
    fails(lambda: aio.pool(pool.polling(1)), TypeError, 'not its iterator', 'another task')
    fails(lambda: aio.pool(pool, poll=1), TypeError, 'aio.pool()', 'another task')
    fails(lambda: aio.pool(make()), TypeError, 'takes a Pool')


@in_each_loop
def test_a_full_queue_says_to_await_the_send(loop_name):
    async def scenario(_loop):
        connection = aio.connect(WebSocket(server.url), max_queue=1)
        async for event in connection:
            if event.name == 'ready':
                with pytest.raises(errors.OutboxFull, match='await connection.send_') as caught:
                    while True:
                        connection.websocket.send_binary(b'x' * 100000)
                assert 'overflow' not in str(caught.value)
                connection.websocket.force_disconnect()

    def deaf(sock):
        answer_upgrade(sock)
        wait_for(may_end)

    may_end = threading.Event()
    with RawServer(deaf) as server:
        try:
            run_in(loop_name, scenario)
        finally:
            may_end.set()


@in_each_loop
def test_what_has_ended_says_how_to_connect_again(loop_name):
    async def scenario(_loop):
        connection, events = aio.connect(WebSocket(server.url)), aio.pool(Pool())
        await collect(connection)
        async for _pair in events:
            pass
        with pytest.raises(errors.WebSocketUnavailable, match=r'call aio.connect\(websocket\) ag'):
            await collect(connection)
        with pytest.raises(errors.WebSocketUnavailable, match=r'call aio.pool\(pool\) again'):
            async for _pair in events:
                pass

    with RawServer(accept_and_hang_up()) as server:
        run_in(loop_name, scenario)


@in_each_loop
def test_a_member_of_a_pool_is_refused_and_says_why(loop_name):
    async def scenario(_loop):
        pool = Pool()
        websocket = pool.add(WebSocket(server.url), ReconnectPolicy())
        async for _websocket, event in aio.pool(pool):
            if event.name == 'ready':
                with pytest.raises(errors.WebSocketUnavailable, match='is a member of a pool'):
                    aio.connect(websocket)
                websocket.close()

    with RawServer(echo) as server:
        run_in(loop_name, scenario)


def run_with(source, **names):
    """Run the body of a coroutine in a loop of its own."""
    exec('async def scenario():\n    ' + source, names)
    run_in('asyncio', lambda _loop: names['scenario']())


CONNECT = 'async with aio.connect(websocket) as connection:'
POOL = 'async for websocket, event in aio.pool(pool)'


@pytest.mark.parametrize('source, words', [
    ('await aio.connect(websocket)', CONNECT),
    ('for event in aio.connect(websocket): pass', CONNECT),
    ('with aio.connect(websocket) as connection: pass', CONNECT),
    ('await asyncio.wait_for(aio.connect(websocket), 1)', CONNECT),
    ('await aio.pool(pool)', POOL),
    ('for websocket, event in aio.pool(pool): pass', POOL),
    ('with aio.pool(pool): pass', POOL),
    ('async for event in websocket: pass', 'async for event in aio.connect(websocket)'),
    ('async for websocket, event in pool: pass', POOL),
    ('async for websocket, event in server: pass', 'in a thread of its own'),
])
def test_a_wrong_word_says_the_right_line(source, words):
    server = Server(threads=False)
    try:
        fails(lambda: run_with(
            source, aio=aio, asyncio=asyncio, websocket=make(), pool=Pool(), server=server,
        ), TypeError, words)
    finally:
        server.close()
