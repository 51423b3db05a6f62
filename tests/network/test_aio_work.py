"""What a message costs in an event loop, counted in work as in `test_work`."""

import threading

import pytest

from lomond import WebSocket, aio
from tests.network.driving import drain, wait_for
from tests.network.event_loops import run_in, wait_until
from tests.network.one_thread import Client
from tests.network.test_work import CALLS_TO_RECEIVE, TEXT, Work
from tests.support import RawServer, answer_upgrade, make_frame

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')


def test_a_small_message_received_in_an_event_loop_is_a_few_calls():
    def script(sock):
        answer_upgrade(sock)
        wait_for(is_ready)
        sock.sendall(make_frame(1, TEXT.encode('ascii')) * count)
        drain(sock)

    async def scenario(_loop):
        received = 0
        async with aio.connect(WebSocket(server.url)) as connection:
            async for event in connection:
                if event.name == 'ready':
                    is_ready.set()
                    break
            with work:
                async for event in connection:
                    received += event.name == 'text'
                    if received == count:
                        break

    count, work, is_ready = 4000, Work(), threading.Event()
    with RawServer(script) as server:
        run_in('asyncio', scenario)
    # The coroutine and the generator go on, the event is made; for each read the loop turns.
    reads = work.c_calls['recv']
    assert work.calls <= CALLS_TO_RECEIVE * count + 60 * reads
    assert reads < count // 20


def note_timers(loop):
    """Return a list that gets each timer of asyncio's from now on."""
    timers = []
    call_at = loop.asyncio_loop.call_at

    def note(*args, **options):
        timers.append(call_at(*args, **options))
        return timers[-1]

    loop.asyncio_loop.call_at = note
    return timers


async def timers_left(loop, timers):
    """Return those that are to come, once each task has had its turn."""
    for _ in range(3):
        await loop.sleep(0)
    now = loop.asyncio_loop.time()
    return [timer for timer in timers if not timer._cancelled and timer._when > now]


def test_connections_in_an_event_loop_share_one_timer():
    async def wait_for_ready(connection):
        async for event in connection:
            if event.name == 'ready':
                return

    async def scenario(loop):
        timers = note_timers(loop)
        connections = [aio.connect(WebSocket(server.url)) for _ in range(20)]
        for connection in connections:
            await wait_for_ready(connection)
        tasks = [loop.start(connection.__anext__) for connection in connections]
        waiting = await timers_left(loop, timers)
        for task in tasks:
            await task.stop()
        for connection in connections:
            connection.break_off()
        return waiting

    def script(sock):
        answer_upgrade(sock)
        drain(sock)

    with RawServer(script) as server:
        assert len(run_in('asyncio', scenario)) == 1


def test_connections_of_a_server_in_an_event_loop_share_one_timer():
    async def handler(connection):
        async for _event in connection:
            begun.append(connection)

    async def scenario(loop):
        timers = note_timers(loop)
        async with aio.serve(handler) as server:
            clients = [
                await loop.in_thread(lambda: Client(server.address)) for _ in range(20)]
            await wait_until(loop, lambda: len(begun) == 20)
            waiting = await timers_left(loop, timers)
            for client in clients:
                client.close()
        return waiting

    begun = []
    assert len(run_in('asyncio', scenario)) == 1
