"""What an event loop's connections say about themselves: timings, and a logger of their own."""

import logging

import pytest

from lomond import WebSocket, aio
from lomond.pool import Pool
from tests.network.driving import accept_and_send
from tests.network.event_loops import in_each_loop, run_in
from tests.support import RawServer, make_close

pytestmark = pytest.mark.usefixtures('clean_environment')

FEED = logging.getLogger('feed')


@in_each_loop
def test_a_connection_has_the_timings_of_its_phases(loop_name, dead_port):
    async def scenario(_loop):
        found = []
        for url in (server.url, 'ws://127.0.0.1:{}/'.format(dead_port)):
            async with aio.connect(WebSocket(url, proxies={})) as events:
                found.extend([event.timings async for event in events
                              if event.name in ('ready', 'connect_fail')])
        return found

    with RawServer(accept_and_send(make_close(1000))) as server:
        good, bad = run_in(loop_name, scenario)
    assert good.resolve is good.proxy is good.tls is None
    assert 0 <= max(good.connect, good.handshake) <= good.total
    assert 0 <= bad.connect <= bad.total
    assert bad.handshake is None


@in_each_loop
def test_a_pool_has_them_too(loop_name):
    async def scenario(_loop):
        pool = Pool()
        pool.add(WebSocket(server.url, proxies={}))
        async with aio.pool(pool) as events:
            return [event.timings async for _websocket, event in events if event.name == 'ready']

    with RawServer(accept_and_send(make_close(1000))) as server:
        timings, = run_in(loop_name, scenario)
    assert 0 <= max(timings.connect, timings.handshake) <= timings.total


@in_each_loop
def test_each_end_logs_by_its_own_logger(loop_name, caplog):
    async def fail(_connection):
        raise KeyError('a fault of mine')

    async def scenario(_loop):
        async with aio.serve(fail, logger=FEED) as server:
            websocket = WebSocket(
                server.url, proxies={}, logger=logging.LoggerAdapter(FEED, {}), trace=True)
            async with aio.connect(websocket) as events:
                return [event.name async for event in events]

    caplog.set_level(logging.DEBUG)
    assert 'ready' in run_in(loop_name, scenario)
    logged = [record for record in caplog.records if record.name in ('lomond', 'feed')]
    assert {record.name for record in logged} == {'feed'}
    messages = [record.getMessage() for record in logged]
    assert any(message.startswith('the handler failed') for message in messages)
    assert any("'stage': 'handshake'" in message for message in messages)
