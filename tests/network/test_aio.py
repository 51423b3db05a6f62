"""A WebSocket in an event loop: its events from Connecting to the end, in each kind of loop."""

import asyncio
import functools
import select
import socket
import threading

import pytest

from lomond import WebSocket, aio, errors
from lomond.extensions import Extension
from lomond.persist import ReconnectPolicy, persist
from lomond.testing import InsideLoop
from tests.network.driving import (
    Background,
    accept_and_hang_up,
    accept_and_send,
    drain,
    echo,
    fill_and_reset,
    read_to_close,
    send_until_full,
    wait_for,
)
from tests.network.event_loops import (
    AsyncioLoop,
    collect,
    in_each_loop,
    run_in,
    wait_until,
)
from tests.network.test_heartbeat import read_and_close
from tests.support import (
    PATIENCE,
    RawServer,
    answer_upgrade,
    make_close,
    make_frame,
    names,
    read_frame,
    read_head,
)

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

SMALL = [(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)]
POLICY = ReconnectPolicy(min_wait=0, max_wait=0, max_attempts=1)
BEGIN = ['connecting', 'connected', 'ready']

#: A connect_timeout that a test doesn't see the end of: its timer helps nobody after Ready.
LONG = 100 * PATIENCE


def get_events(loop_name, websocket, **options):
    """Iterate over a WebSocket in a loop of its own; return the events."""
    async def scenario(_loop):
        return await collect(aio.connect(websocket, **options))
    return run_in(loop_name, scenario)


# -- events, in order, to the end --

@in_each_loop
def test_each_event_comes_in_order_to_the_end(loop_name, link):
    sent = [make_frame(1, b'%d' % number) for number in range(1000)]
    with link.serve(accept_and_send(*(sent + [make_close(1000)]))) as server:
        events = get_events(loop_name, link.connect(server.url))
    assert names(events) == BEGIN + ['text'] * 1000 + ['closing', 'disconnected']
    assert [event.text for event in events[3:1003]] == [str(number) for number in range(1000)]
    assert events[-1].graceful


@in_each_loop
def test_this_side_closes_and_iterates_on_to_the_end(loop_name, link):
    async def scenario(_loop):
        seen = []
        async with aio.connect(link.connect(server.url)) as connection:
            async for event in connection:
                seen.append(event)
                if event.name == 'ready':
                    await connection.send_text(u'hello')
                    await connection.send_binary(b'bytes')
                    await connection.send_json(a=1)
                    await connection.send_many([u'one', b'two'])
                    await connection.send_ping(b'?')
                elif event.name == 'text' and event.text == u'one':
                    await connection.close(4000, u'enough')
        return seen

    with link.serve(echo) as server:
        seen = run_in(loop_name, scenario)
    assert names(seen)[-2:] == ['closed', 'disconnected']
    assert seen[-2].code == 4000
    assert seen[-1].graceful
    assert [event.text for event in seen if event.name == 'text'] == [u'hello', u'{"a": 1}', u'one']


@in_each_loop
def test_poll_comes_when_it_is_asked_for(loop_name):
    async def scenario(_loop):
        seen = []
        async for event in aio.connect(WebSocket(server.url), poll=0.01):
            seen.append(event.name)
            if seen.count('poll') == 3:
                return seen

    with RawServer(echo) as server:
        seen = run_in(loop_name, scenario)
    assert seen == BEGIN + ['poll'] * 3


@in_each_loop
def test_a_rejection_is_an_event_and_ends_it(loop_name):
    def refuse(sock):
        read_head(sock)
        sock.sendall(b'HTTP/1.1 403 Not You\r\nContent-Length: 3\r\n\r\nno!')

    with RawServer(refuse) as server:
        events = get_events(loop_name, WebSocket(server.url))
    assert names(events) == ['connecting', 'connected', 'rejected', 'disconnected']
    assert events[2].response.body == b'no!'


@in_each_loop
def test_a_failure_to_connect_is_an_event_and_ends_it(loop_name, dead_port):
    events = get_events(loop_name, WebSocket('ws://localhost:{}/'.format(dead_port)))
    assert names(events) == ['connecting', 'connect_fail']


@in_each_loop
def test_a_timeout_while_connecting_is_an_event(loop_name, full_listener):
    websocket = WebSocket('ws://{}:{}/'.format(*full_listener), connect_timeout=0.1)
    assert names(get_events(loop_name, websocket)) == ['connecting', 'connect_fail']


@in_each_loop
def test_a_redirect_leads_to_another_descriptor(loop_name):
    def redirect(sock):
        read_head(sock)
        sock.sendall(b'HTTP/1.1 302 Found\r\nLocation: ' + server.url.encode() + b'\r\n\r\n')

    with RawServer(accept_and_send(make_close(1000))) as server, RawServer(redirect) as first:
        events = get_events(loop_name, WebSocket(first.url))
    assert names(events) == [
        'connecting', 'connected', 'redirected'] + BEGIN + ['closing', 'disconnected']


@in_each_loop
def test_the_addresses_of_a_name_race(loop_name, listener, dead_port):
    """Several descriptors are watched at once, and closed while others are."""
    def resolver(host, port, *_args):
        return [(family, socket.SOCK_STREAM, 6, '', address) for family, address in (
            (socket.AF_INET6, ('::1', dead_port, 0, 0)),
            (socket.AF_INET, ('192.0.2.1', 9)),
            (socket.AF_INET, ('127.0.0.1', server.port)))]

    with RawServer(accept_and_send(make_close(1000))) as server:
        events = get_events(loop_name, WebSocket('ws://name.test/', resolver=resolver))
    assert names(events)[-2:] == ['closing', 'disconnected']


@in_each_loop
def test_a_connection_that_breaks_says_so(loop_name):
    with RawServer(accept_and_hang_up(make_frame(1, b'last'))) as server:
        events = get_events(loop_name, WebSocket(server.url))
    assert names(events) == BEGIN + ['text', 'disconnected']
    assert not events[-1].graceful


# -- reconnecting --

def drop_each(sock):
    answer_upgrade(sock)
    sock.sendall(make_frame(1, b'a message'))


@in_each_loop
def test_a_policy_gives_the_same_events_as_persist(loop_name, dead_port):
    def policy():
        return ReconnectPolicy(
            min_wait=0, max_wait=0, max_attempts=4, urls=[
                server.url, 'ws://127.0.0.1:{}/'.format(dead_port)])

    with RawServer(drop_each) as server:
        expected = names(persist(WebSocket(server.url), policy=policy(), poll=None))
        events = get_events(loop_name, WebSocket(server.url), policy=policy())
    assert names(events) == expected
    assert 'connect_fail' in expected
    assert expected[-1] == 'gave_up'


@in_each_loop
@pytest.mark.parametrize('from_thread', [False, True])
def test_close_ends_a_back_off_at_once(loop_name, from_thread):
    async def scenario(loop):
        websocket = WebSocket(server.url)
        connection = aio.connect(websocket, policy=ReconnectPolicy(min_wait=3600, max_wait=3600))
        task = loop.start(collect, connection, seen)
        await wait_until(loop, lambda: 'back_off' in seen)
        await loop.sleep(0)
        if from_thread:
            await loop.in_thread(websocket.close)
        else:
            await connection.close()
        await task.result()

    seen = []
    with RawServer(drop_each) as server:
        run_in(loop_name, scenario)
    assert seen[-2:] == ['disconnected', 'back_off']


@in_each_loop
def test_reconnect_now_from_another_thread_ends_a_back_off(loop_name):
    async def scenario(loop):
        websocket = WebSocket(server.url)
        connection = aio.connect(websocket, policy=ReconnectPolicy(min_wait=3600, max_wait=3600))
        task = loop.start(collect, connection, seen)
        for times in (1, 2):
            await wait_until(loop, lambda: seen.count('back_off') == times)     # noqa: B023
            await loop.sleep(0)
            await loop.in_thread(websocket.reconnect_now)
        await wait_until(loop, lambda: seen.count('ready') == 3)
        await task.stop()
        connection.break_off()

    seen = []
    with RawServer(drop_each) as server:
        run_in(loop_name, scenario)


@in_each_loop
@pytest.mark.parametrize('from_thread', [False, True])
def test_close_ends_an_attempt_to_connect_at_once(loop_name, from_thread, full_listener):
    async def scenario(loop):
        websocket = WebSocket('ws://{}:{}/'.format(*full_listener), connect_timeout=3600)
        connection = aio.connect(websocket)
        task = loop.start(collect, connection, seen)
        await wait_until(loop, lambda: seen == ['connecting'])
        await loop.sleep(0.01)
        if from_thread:
            await loop.in_thread(websocket.close)
        else:
            await connection.close()
        await task.result()

    seen = []
    run_in(loop_name, scenario)
    assert seen == ['connecting', 'connect_fail']


@in_each_loop
def test_before_attempt_is_called_in_a_thread(loop_name):
    threads = []

    def before_attempt(websocket, number):
        threads.append(threading.current_thread())

    with RawServer(drop_each) as server:
        get_events(loop_name, WebSocket(server.url), policy=ReconnectPolicy(
            min_wait=0, max_wait=0, max_attempts=2, before_attempt=before_attempt))
    assert len(threads) == 2
    assert threading.current_thread() not in threads


@in_each_loop
def test_the_descriptor_of_the_last_connection_is_not_watched_in_a_back_off(loop_name):
    """Though something waited to be sent there, and the event is still being handled."""
    async def scenario(loop):
        connection = aio.connect(WebSocket(server.url, socket_options=SMALL), policy=POLICY)
        async for event in connection:
            seen.append(event.name)
            if event.name == 'ready':
                while not connection.websocket.session.writer.needs_buffer:
                    connection.websocket.send_binary(b'x' * 100000)
                connection.websocket.force_disconnect()
            elif event.name == 'disconnected':
                connection.on_ready()       # as by a timer that has just come
                await loop.sleep(0)

    def accept(sock):
        answer_upgrade(sock)
        wait_for(is_over)

    seen, is_over = [], threading.Event()
    with RawServer(accept, receive_buffer=65536) as server:
        try:
            run_in(loop_name, scenario)
        finally:
            is_over.set()
    assert seen == BEGIN + ['disconnected', 'gave_up']


# -- ahead of the task --

@in_each_loop
def test_pings_are_answered_while_the_body_is_busy(loop_name):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'go'))
        wait_for(is_busy)
        for number in range(20):
            sock.sendall(make_frame(9, b'%d' % number))
            assert read_frame(sock) == (0x8a, b'%d' % number)
        answered.set()
        sock.sendall(make_close(1000))
        read_to_close(sock)

    async def scenario(loop):
        async for event in aio.connect(WebSocket(server.url)):
            seen.append(event.name)
            if event.name == 'text':
                is_busy.set()
                await wait_until(loop, answered.is_set)

    seen, is_busy, answered = [], threading.Event(), threading.Event()
    with RawServer(script) as server:
        run_in(loop_name, scenario)
    assert seen == BEGIN + ['text'] + ['ping'] * 20 + ['closing', 'disconnected']


@in_each_loop
def test_a_ping_that_comes_with_a_message_is_answered_while_the_body_is_busy(loop_name):
    def script(sock):
        answer_upgrade(sock)
        assert not select.select([sock], [], [], 1.5)[0]        # what came before Ready is long ago
        sock.settimeout(10)     # less than the time until its own next ping
        sock.sendall(make_frame(1, b'go') + make_frame(9, b'x'))
        assert read_frame(sock) == (0x8a, b'x')
        answered.set()
        sock.sendall(make_close(1000))
        read_to_close(sock)

    async def scenario(loop):
        async for event in aio.connect(WebSocket(server.url)):
            if event.name == 'text':
                await wait_until(loop, answered.is_set)

    answered = threading.Event()
    with RawServer(script) as server:
        run_in(loop_name, scenario)


@in_each_loop
def test_pings_are_answered_while_a_handler_of_stale_is_busy(loop_name):
    def script(sock):
        answer_upgrade(sock)
        wait_for(is_busy)
        sock.sendall(make_frame(9, b'x'))
        assert read_frame(sock) == (0x8a, b'x')
        answered.set()
        sock.sendall(make_close(1000))
        read_to_close(sock)

    async def scenario(loop):
        async for event in aio.connect(WebSocket(server.url), idle_timeout=0.01, ping_rate=0):
            if event.name == 'stale' and not is_busy.is_set():
                is_busy.set()
                await wait_until(loop, answered.is_set)

    is_busy, answered = threading.Event(), threading.Event()
    with RawServer(script) as server:
        run_in(loop_name, scenario)


class FailsThird(Extension):
    """Fails with the third message that comes."""

    name = 'x-fails'
    is_over = False

    def __init__(self):
        self.frames = 0

    def frame_inbound_header(self, header):
        self.frames += 1
        if self.frames == 4:
            type(self).is_over = True
            raise ZeroDivisionError()


@in_each_loop
def test_what_came_before_an_error_comes_first(loop_name):
    def script(sock):
        answer_upgrade(sock, b'Sec-WebSocket-Extensions: x-fails')
        sock.sendall(make_frame(1, b'go'))
        wait_for(is_busy)
        for text in b'a', b'b', b'c':
            sock.sendall(make_frame(1, text))
        drain(sock)

    async def scenario(loop):
        async for event in aio.connect(WebSocket(server.url, extensions=[Fails])):
            if event.name == 'text':
                seen.append(event.text)
                if event.text == 'go':
                    is_busy.set()
                    await wait_until(loop, lambda: Fails.is_over)

    class Fails(FailsThird):
        pass

    seen, is_busy = [], threading.Event()
    with RawServer(script) as server, pytest.raises(ZeroDivisionError):
        run_in(loop_name, scenario)
    assert seen == ['go', 'a', 'b']


@in_each_loop
def test_close_while_a_handler_of_back_off_is_busy_ends_the_back_off(loop_name, dead_port):
    async def scenario(loop):
        websocket = WebSocket('ws://127.0.0.1:{}/'.format(dead_port))
        policy = ReconnectPolicy(min_wait=3600, max_wait=3600)
        async for event in aio.connect(websocket, policy=policy):
            seen.append(event.name)
            if event.name == 'back_off':
                websocket.close()
                await loop.sleep(0.1)       # the loop is woken meanwhile

    seen = []
    run_in(loop_name, scenario)
    assert seen == ['connecting', 'connect_fail', 'back_off']


@in_each_loop
def test_its_own_pings_go_out_while_the_body_is_busy(loop_name):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'go'))
        for _ in range(5):
            assert read_frame(sock)[0] == 0x89
            sock.sendall(make_frame(10))
        pinged.set()
        sock.sendall(make_close(1000))
        read_to_close(sock)

    async def scenario(loop):
        async for event in aio.connect(
                WebSocket(server.url, connect_timeout=LONG), ping_rate=0.02,
                ping_timeout=PATIENCE):
            seen.append(event.name)
            if event.name == 'text':
                await wait_until(loop, pinged.is_set)

    seen, pinged = [], threading.Event()
    with RawServer(script) as server:
        run_in(loop_name, scenario)
    assert seen[-2:] == ['closing', 'disconnected']


@in_each_loop
@pytest.mark.parametrize('policy', [None, ReconnectPolicy(stop_on_code=[1000])])
def test_empty_pongs_go_out_by_heartbeat(loop_name, policy):
    frames = []
    with RawServer(read_and_close(frames)) as server:
        get_events(loop_name, WebSocket(server.url), policy=policy, ping_rate=0, heartbeat=0.02)
    assert frames == [(0x8a, b'')] * 3


@in_each_loop
def test_its_own_pings_go_out_after_a_poll_that_the_body_has_not_asked_for(loop_name):
    def script(sock):
        answer_upgrade(sock)
        assert read_frame(sock)[0] == 0x89
        pinged.set()
        sock.sendall(make_close(1000))
        read_to_close(sock)

    async def scenario(loop):
        async for event in aio.connect(
                WebSocket(server.url, connect_timeout=LONG), ping_rate=0.2, poll=0.1):
            if event.name == 'ready':
                await wait_until(loop, pinged.is_set)

    pinged = threading.Event()
    with RawServer(script) as server:
        run_in(loop_name, scenario)


@in_each_loop
def test_a_body_that_blocks_the_loop_gets_no_false_unresponsive(loop_name):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'go'))
        assert read_frame(sock)[0] == 0x89
        sock.sendall(make_frame(10) + make_close(1000))
        closed.set()
        read_to_close(sock)

    async def scenario(loop):
        async for event in aio.connect(
                WebSocket(server.url, connect_timeout=LONG), ping_rate=0.05, ping_timeout=0.1):
            seen.append(event.name)
            if event.name == 'text':
                wait_until_pinged = Background(wait_for, closed)
                while not closed.is_set():
                    await loop.sleep(0.01)
                threading.Event().wait(0.3)
                wait_until_pinged.result()

    seen, closed = [], threading.Event()
    with RawServer(script) as server:
        run_in(loop_name, scenario)
    assert 'unresponsive' not in seen
    assert seen[-2:] == ['closing', 'disconnected']


@in_each_loop
def test_a_silent_peer_is_unresponsive(loop_name):
    def script(sock):
        answer_upgrade(sock)
        drain(sock)

    with RawServer(script) as server:
        events = get_events(
            loop_name, WebSocket(server.url), ping_rate=0.02, ping_timeout=0.05)
    assert names(events) == BEGIN + ['unresponsive', 'disconnected']


@in_each_loop
def test_a_flood_is_held_back_while_the_body_is_busy(loop_name):
    """At most some 64 KiB of events are made ahead; the rest waits in the system's buffers."""
    def script(sock):
        answer_upgrade(sock)
        send_until_full(sock)
        is_full.set()
        drain(sock)

    async def scenario(loop):
        connection = aio.connect(WebSocket(server.url))
        async with connection:
            async for event in connection:
                if event.name == 'text':
                    await wait_until(loop, is_full.is_set)
                    return sum(len(event.text) + 200 for event in InsideLoop(connection).ahead)

    is_full = threading.Event()
    with RawServer(script, receive_buffer=65536) as server:
        held = run_in(loop_name, scenario)
    assert 0 < held <= 64 * 1024 + 1200


@in_each_loop
def test_a_reset_while_nothing_is_received_ends_the_connection_once_it_goes_on(loop_name):
    async def scenario(loop):
        events = []
        async for event in aio.connect(WebSocket(server.url)):
            if not is_reset.is_set() and event.name == 'text':
                await wait_until(loop, is_reset.is_set)
            events.append(event)
        return events

    is_reset = threading.Event()
    with RawServer(fill_and_reset(is_reset), receive_buffer=65536) as server:
        events = run_in(loop_name, scenario)
    assert events[-1].name == 'disconnected' and u'broke' in events[-1].reason


@in_each_loop
def test_a_ping_is_answered_while_the_body_handles_a_large_event_that_was_made_ahead(loop_name):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'small') + make_frame(1, b'x' * 100000))
        wait_for(is_taken)
        sock.sendall(make_frame(9, b'?'))
        assert read_frame(sock) == (0x8a, b'?')
        is_answered.set()
        drain(sock)

    async def scenario(loop):
        connection = aio.connect(WebSocket(server.url))
        async with connection:
            async for event in connection:
                if event.name == 'text' and event.text == u'small':
                    await wait_until(loop, lambda: InsideLoop(connection).ahead)
                elif event.name == 'text':
                    is_taken.set()
                    await wait_until(loop, is_answered.is_set)
                    return

    is_taken, is_answered = threading.Event(), threading.Event()
    with RawServer(script) as server:
        run_in(loop_name, scenario)


@in_each_loop
def test_what_the_handler_of_closing_sends_arrives_before_the_close(loop_name):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'last') + make_close(1001))
        frames.extend(read_to_close(sock))

    async def scenario(loop):
        connection = aio.connect(WebSocket(server.url))
        async for event in connection:
            if event.name == 'text':
                for _ in range(20):
                    await loop.sleep(0.001)
            elif event.name == 'closing':
                for number in range(20):
                    await loop.sleep(0.001)
                    await connection.send_text(str(number))

    frames = []
    with RawServer(script) as server:
        run_in(loop_name, scenario)
    assert [payload for first, payload in frames[:-1]] == [b'%d' % number for number in range(20)]


@in_each_loop
def test_a_flood_does_not_starve_the_other_tasks(loop_name):
    """Counted, not timed: at least one turn of another task for each 64 KiB that come."""
    size = 8 * 1024 * 1024

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'x' * 1000) * (size // 1000))
        sock.sendall(make_close(1000))
        read_to_close(sock)

    async def count(loop):
        while True:
            turns.append(None)
            await loop.sleep(0)

    async def scenario(loop):
        other = loop.start(count, loop)
        messages = 0
        async for event in aio.connect(WebSocket(server.url)):
            messages += event.name == 'text'
        await other.stop()
        return messages

    turns = []
    with RawServer(script) as server:
        assert run_in(loop_name, scenario) == size // 1000
    assert len(turns) > size // (64 * 1024)


# -- mistakes --

@in_each_loop
def test_two_tasks_that_iterate_get_an_error(loop_name):
    async def scenario(loop):
        connection = aio.connect(WebSocket(server.url))
        task = loop.start(collect, connection, seen)
        await wait_until(loop, lambda: 'ready' in seen)
        with pytest.raises(errors.WebSocketUnavailable, match='another task is iterating'):
            async for event in connection:
                raise AssertionError(event)
        await connection.close()
        await task.result()

    seen = []
    with RawServer(echo) as server:
        run_in(loop_name, scenario)
    assert seen == BEGIN + ['closed', 'disconnected']


@in_each_loop
def test_iterating_again_after_the_end_is_an_error(loop_name):
    async def scenario(_loop):
        connection = aio.connect(WebSocket(server.url))
        await collect(connection)
        with pytest.raises(errors.WebSocketUnavailable, match='has ended'):
            await collect(connection)
        with pytest.raises(StopAsyncIteration):
            await connection.__anext__()

    with RawServer(accept_and_send(make_close(1000))) as server:
        run_in(loop_name, scenario)


@in_each_loop
def test_iterating_goes_on_after_a_break(loop_name):
    async def scenario(_loop):
        connection = aio.connect(WebSocket(server.url))
        async for event in connection:
            if event.name == 'ready':
                break
        return names(await collect(connection))

    with RawServer(accept_and_send(make_frame(1), make_close(1000))) as server:
        assert run_in(loop_name, scenario) == ['text', 'closing', 'disconnected']


@in_each_loop
def test_another_loop_gets_an_error_and_breaks_nothing(loop_name):
    async def elsewhere(_loop, connection):
        with pytest.raises(errors.WebSocketUnavailable, match='another event loop, or thread'):
            await connection.__anext__()

    async def scenario(loop):
        connection = aio.connect(WebSocket(server.url))
        async for event in connection:
            if event.name == 'ready':
                break
        for other in ('asyncio', loop_name):
            await loop.in_thread(functools.partial(run_in, other, elsewhere, connection))
        await connection.close()
        return names(await collect(connection))

    with RawServer(echo) as server:
        assert run_in(loop_name, scenario) == ['closed', 'disconnected']


@in_each_loop
def test_a_later_loop_of_the_same_thread_gets_an_error(loop_name):
    async def begin(_loop):
        async for event in connection:
            if event.name == 'ready':
                return

    async def go_on(_loop):
        with pytest.raises(errors.WebSocketUnavailable, match='another event loop, or thread'):
            await connection.__anext__()

    with RawServer(echo) as server:
        connection = aio.connect(WebSocket(server.url))
        run_in(loop_name, begin)
        run_in(loop_name, go_on)
        connection.break_off()


@in_each_loop
def test_a_websocket_that_is_connected_already_is_an_error(loop_name):
    async def scenario(loop):
        websocket = WebSocket(server.url)
        first, second = aio.connect(websocket), aio.connect(websocket)
        async for event in second:
            if event.name == 'ready':
                break
        with pytest.raises(errors.WebSocketUnavailable, match='already running'):
            aio.connect(websocket)
        with pytest.raises(errors.WebSocketUnavailable):
            await first.__anext__()
        await wait_until(loop, lambda: loop.count_own_tasks() <= 1)
        await second.close()
        return names(await collect(second))

    with RawServer(echo) as server:
        assert run_in(loop_name, scenario) == ['closed', 'disconnected']


def test_a_loop_without_add_reader_is_named():
    """As the default one of Windows is."""
    class Proactor(asyncio.SelectorEventLoop):
        add_reader = asyncio.AbstractEventLoop.add_reader

    async def scenario(_loop):
        with pytest.raises(errors.WebSocketUnavailable, match='SelectorEventLoop'):
            await collect(aio.connect(WebSocket('ws://127.0.0.1:1/')))

    AsyncioLoop(Proactor, is_debug=True).run(scenario)


def test_no_loop_at_all_is_an_error():
    connection = aio.connect(WebSocket('ws://127.0.0.1:1/'))
    with pytest.raises(RuntimeError):
        connection.__anext__().send(None)


@pytest.mark.parametrize('arguments, options, error', [
    (['ws://localhost/'], {}, TypeError),
    ([WebSocket('ws://localhost/')], {'policy': 5}, TypeError),
    ([WebSocket('ws://localhost/')], {'max_queue': 0}, ValueError),
    ([WebSocket('ws://localhost/')], {'max_queue': '1'}, TypeError),
    ([WebSocket('ws://localhost/')], {'poll': -1}, ValueError),
    ([WebSocket('ws://localhost/')], {'ping_interval': 5}, TypeError),
])
def test_wrong_arguments_are_refused(arguments, options, error):
    with pytest.raises(error):
        aio.connect(*arguments, **options)


def never_answer(sock):
    read_head(sock)
    drain(sock)


def test_what_asyncio_cannot_wait_for_ends_the_connection():
    class Loop(asyncio.SelectorEventLoop):
        def add_reader(self, fd, callback):
            if 'connected' in seen:
                raise OSError('no more of these')
            super().add_reader(fd, callback)

    async def scenario(_loop):
        return (await collect(aio.connect(WebSocket(server.url)), seen))[-1]

    seen = []
    with RawServer(never_answer) as server:
        last = AsyncioLoop(Loop, is_debug=True).run(scenario)
    assert last.name == 'disconnected'
    assert 'no more of these' in last.reason


def test_what_trio_cannot_wait_for_ends_the_connection():
    """Another task has begun to wait for the same descriptor."""
    async def scenario(loop):
        connection = aio.connect(WebSocket(server.url))
        async for event in connection:
            if event.name == 'ready':
                await connection.send_text(u'an echo')
            if event.name == 'text':
                await loop.sleep(0.01)      # what was due when the text came is done
                InsideLoop(connection).pause()
                await loop.sleep(0.01)
                other = loop.start(
                    trio.lowlevel.wait_readable, connection.websocket.session.transport.fileno())
                await loop.sleep(0.01)
        await other.stop()
        return event

    trio = pytest.importorskip('trio')
    with RawServer(echo) as server:
        last = run_in('trio', scenario)
    assert last.name == 'disconnected'
    assert 'could not wait for the connection' in last.reason
