"""`aio.serve`: what a handler gets, how connections end, what is refused, how the server ends."""

import asyncio
import functools
import gc
import logging
import os
import signal
import socket
import struct
import warnings

import pytest

from lomond import WebSocket, aio, errors
from lomond.extensions import Extension
from lomond.server import Refusal, Request, ServerWebSocket
from tests.network.driving import count_descriptors
from tests.network.event_loops import (
    TimedOut,
    collect,
    in_each_loop,
    run_in,
    trio,
    wait_until,
)
from tests.network.one_thread import MASK, UPGRADE, Client
from tests.network.test_aio_ends import in_each_program, output_of, run_strictly
from tests.support import make_frame, names

pytestmark = [
    pytest.mark.costly, pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')]

HUNDREDS = 200

# More than the system buffers for a peer that doesn't read yet.
LARGE = b'x' * (12 * 1024 * 1024)

KEY = b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'


async def echo(connection):
    async for message in connection.messages():
        await connection.send_many([message])


async def never_end(connection):
    """Iterate for ever."""
    while True:
        async for _event in connection:
            pass


def serve(handler, **options):
    return aio.serve(handler, **dict({'ping_rate': 0}, **options))


async def dial(url, **options):
    """Connect a client; return its connection, which is ready."""
    connection = aio.connect(WebSocket(url, proxies={}, **options))
    seen = []
    async for event in connection:
        seen.append(event)
        if event.name == 'ready':
            return connection
    raise AssertionError(seen)


class RawClients:
    """Raw clients, whose calls that wait run in threads; all are closed at the end."""

    def __init__(self, loop, server):
        self._loop = loop
        self._server = server
        self._clients = []

    def __enter__(self):
        return self

    def __exit__(self, *_exc_info):
        for client in self._clients:
            client.close()

    async def dial(self, *request, **options):
        dial = functools.partial(Client, self._server.address, *request, **options)
        client = await self._loop.in_thread(dial)
        self._clients.append(client)
        return client

    async def status(self, *request):
        client = await self.dial(*request)
        return await self._loop.in_thread(client.read_status)

    async def connect(self, **options):
        """Return a client whose request was accepted."""
        client = await self.dial(**options)
        assert await self._loop.in_thread(client.read_status) == 101
        return client


# -- what it is there for --

@in_each_loop
@pytest.mark.parametrize('compress', [False, True], ids=['plain', 'compressed'])
@pytest.mark.parametrize('scheme', ['ws', 'wss', 'ws+unix'])
def test_it_echoes_for_hundreds_of_clients(
        loop_name, scheme, compress, server_tls, authority_file, path):
    server_options = {'compress': compress, 'max_connections': HUNDREDS}
    options = {'compress': compress}
    if scheme == 'wss':
        server_options['ssl_context'] = server_tls
        options['ssl_cafile'] = authority_file
    elif scheme == 'ws+unix':
        server_options['unix_path'] = path

    async def talk(url, number):
        connection = await dial(url, **options)
        await connection.send_text('message {}'.format(number))
        assert await connection.receive() == 'message {}'.format(number)
        assert connection.websocket.supports_compression is compress
        return connection

    async def end(connection):
        await connection.close()
        return (await collect(connection))[-1].graceful

    async def scenario(loop):
        async with serve(echo, **server_options) as server:
            assert server.url.startswith(scheme + ':')
            talking = [loop.start(talk, server.url, number) for number in range(HUNDREDS)]
            connections = [await task.result() for task in talking]
            assert len(server.connections) == HUNDREDS
            ending = [loop.start(end, connection) for connection in connections]
            assert [await task.result() for task in ending] == [True] * HUNDREDS
            await wait_until(loop, lambda: not server.connections)

    run_in(loop_name, scenario)


@in_each_loop
def test_a_handler_gets_all_from_ready_on_and_the_clients_request(loop_name):
    async def handler(connection):
        websocket = connection.websocket
        assert isinstance(connection, aio.ServerConnection)
        assert isinstance(websocket, ServerWebSocket)
        seen.append((websocket.protocol, websocket.request.path, websocket.peer_address))
        async for event in connection:
            seen.append(event)

    async def scenario(_loop):
        async with serve(handler, protocols=['chat']) as server:
            client = await dial(server.url + 'feed', protocols=['chat'])
            address = client.websocket.local_address
            await client.send_text('text')
            await client.send_binary(b'binary')
            await client.send_ping(b'ping')
            await client.close(1000, 'bye')
            await collect(client)
        assert seen[0] == ('chat', '/feed', address)
        assert seen[1].response is not None
        assert isinstance(seen[1].response, Request)

    seen = []
    run_in(loop_name, scenario)
    assert names(seen[1:]) == ['ready', 'text', 'binary', 'ping', 'closing', 'disconnected']
    assert (seen[-2].code, seen[-2].reason) == (1000, 'bye')
    assert seen[-1].graceful


@in_each_loop
def test_what_came_with_the_request_is_not_lost(loop_name):
    async def scenario(loop):
        async with serve(echo) as server:
            with RawClients(loop, server) as clients:
                client = await clients.dial(UPGRADE + b'\r\n' + make_frame(1, b'hi', key=MASK))
                assert await loop.in_thread(client.read_status) == 101
                assert await loop.in_thread(client.read) == (1, b'hi')

    run_in(loop_name, scenario)


@in_each_loop
def test_clients_wait_from_the_call_on_until_the_block_begins(loop_name):
    async def scenario(loop):
        server = serve(echo)
        with RawClients(loop, server) as clients:
            client = await clients.dial()
            assert server.address == (server.host, server.port)
            async with server as entered:
                assert entered is server
                assert await loop.in_thread(client.read_status) == 101
                client.close()

    run_in(loop_name, scenario)


@in_each_loop
def test_a_silent_client_is_pinged_and_disconnected(loop_name):
    async def handler(connection):
        seen.extend(await collect(connection))

    async def scenario(loop):
        async with serve(handler, ping_rate=0.05, ping_timeout=0.2) as server:
            with RawClients(loop, server) as clients:
                client = await clients.connect()
                await wait_until(loop, lambda: seen)
                assert (await loop.in_thread(client.read))[0] == 9

    seen = []
    run_in(loop_name, scenario)
    assert names(seen) == ['ready', 'unresponsive', 'disconnected']


# -- back pressure --

@in_each_loop
def test_a_client_that_does_not_read_holds_up_its_own_handler_alone(loop_name):
    async def handler(connection):
        if connection.websocket.request.path == '/feed':
            try:
                while True:
                    await connection.send_binary(b'x' * 65536)
                    sent.append(None)
            except errors.WebSocketError as error:
                ended.append(error)
        await echo(connection)

    async def scenario(loop):
        async with serve(handler) as server:
            with RawClients(loop, server) as clients:
                await clients.connect(receive_buffer=4096)
                other = await dial(server.url)
                count = -1
                while count != len(sent):       # until it waits
                    count = len(sent)
                    for _ in range(20):
                        await other.send_text('Hello')
                        assert await other.receive() == 'Hello'
                assert not ended
                assert server.broadcast('for those that read') == 2     # it waits in the queue
                assert await other.receive() == 'for those that read'
                other.break_off()
            await wait_until(loop, lambda: ended)

    sent, ended = [], []
    run_in(loop_name, scenario)


@in_each_loop
def test_a_plain_send_beyond_max_queue_raises_and_a_broadcast_leaves_it_out(loop_name):
    async def handler(connection):
        with pytest.raises(errors.OutboxFull):
            while True:
                connection.websocket.send_binary(b'x' * 65536)
        is_full.append(connection)
        await never_end(connection)

    async def scenario(loop):
        async with serve(handler, max_queue=1) as server:
            with RawClients(loop, server) as clients:
                await clients.connect(receive_buffer=4096)
                await wait_until(loop, lambda: is_full)
                assert server.broadcast('more') == 0
            await wait_until(loop, lambda: not server.connections)

    is_full = []
    run_in(loop_name, scenario)


# -- broadcast --

@in_each_loop
def test_broadcast_reaches_all_that_are_open_or_those_that_are_named(loop_name):
    async def scenario(loop):
        async with serve(echo, compress=True) as server:
            clients = [
                await dial(server.url, compress=number % 2 == 0) for number in range(4)]
            assert server.broadcast('for all ' * 1000) == 4
            for client in clients:
                assert await client.receive() == 'for all ' * 1000
            port = clients[0].websocket.local_address[1]
            chosen = [connection for connection in server.connections
                      if connection.websocket.peer_address[1] == port]
            assert server.broadcast(b'for one', chosen) == 1
            assert await clients[0].receive() == b'for one'
            clients[3].break_off()
            await wait_until(loop, lambda: len(server.connections) == 3)
            assert await loop.in_thread(lambda: server.broadcast('from a thread')) == 3
            for client in clients[:3]:
                assert await client.receive() == 'from a thread'
            for wrong in ([client.websocket], [None]):
                with pytest.raises(TypeError, match=r'broadcast\(message, \[connection\]\)'):
                    server.broadcast('text', wrong)
            with pytest.raises(TypeError, match='broadcast'):
                server.broadcast(5)
            for client in clients:
                client.break_off()

    run_in(loop_name, scenario)


# -- what it refuses --

def request(*lines):
    return b'\r\n'.join(lines) + b'\r\n\r\n'


REFUSED = [
    (request(b'GET / HTTP/1.1', b'Host: localhost'), 426),
    (request(b'POST / HTTP/1.1', b'Host: localhost', b'Content-Length: 0'), 405),
    (UPGRADE.replace(KEY, b'') + b'\r\n', 400),
    (UPGRADE + b'Origin: https://elsewhere.example\r\n\r\n', 403),
    (UPGRADE.replace(b'/feed', b'/closed') + b'\r\n', 401),
    (UPGRADE.replace(b'/feed', b'/broken') + b'\r\n', 500),
]


def on_request(request):
    if request.path == '/closed':
        return Refusal(401)
    if request.path == '/broken':
        raise ZeroDivisionError()


@in_each_loop
@pytest.mark.parametrize('data, status', REFUSED, ids=[str(status) for _, status in REFUSED])
def test_a_request_that_it_refuses_never_reaches_the_handler(loop_name, data, status, caplog):
    async def handler(connection):
        called.append(connection)

    async def scenario(loop):
        options = {'origins': ['https://example.org', None], 'on_request': on_request}
        async with serve(handler, **options) as server:
            with RawClients(loop, server) as clients:
                assert await clients.status(data) == status
                await wait_until(loop, lambda: not server.connections)

    called = []
    caplog.set_level(logging.INFO, 'lomond')
    run_in(loop_name, scenario)
    assert not called
    assert [record.levelname for record in caplog.records] == (['ERROR'] if status == 500 else [])


@in_each_loop
def test_more_than_max_connections_are_answered_with_503_and_an_end_lets_another_in(loop_name):
    async def scenario(loop):
        async with serve(echo, max_connections=2) as server:
            with RawClients(loop, server) as clients:
                await clients.dial(b'GET')      # half a request counts
                client = await clients.connect()
                assert await clients.status() == 503
                client.close()
                await wait_until(loop, lambda: len(server.connections) == 1)
                assert await clients.status() == 101

    run_in(loop_name, scenario)


@in_each_loop
@pytest.mark.parametrize('data', [b'', UPGRADE])
def test_half_a_request_is_cut_by_handshake_timeout(loop_name, data, caplog):
    async def scenario(loop):
        async with serve(echo, handshake_timeout=0.05) as server:
            with RawClients(loop, server) as clients:
                client = await clients.dial(data)
                assert await loop.in_thread(client.read_until_end) == b''
                await wait_until(loop, lambda: not server.connections)

    caplog.set_level(logging.DEBUG, 'lomond')
    run_in(loop_name, scenario)
    assert 'handshake_timeout' in caplog.text
    assert {record.levelname for record in caplog.records} == {'DEBUG'}


@in_each_loop
def test_a_client_that_speaks_no_tls_gets_an_answer(loop_name, server_tls):
    async def scenario(loop):
        async with serve(echo, ssl_context=server_tls) as server:
            with RawClients(loop, server) as clients:
                assert await clients.status() == 400
                await wait_until(loop, lambda: not server.connections)

    run_in(loop_name, scenario)


@in_each_loop
def test_a_client_that_is_silent_in_its_tls_handshake_is_cut(loop_name, server_tls):
    async def scenario(loop):
        options = {'ssl_context': server_tls, 'handshake_timeout': 0.05}
        async with serve(echo, **options) as server:
            with RawClients(loop, server) as clients:
                client = await clients.dial(b'\x16')
                await loop.in_thread(client.read_until_end)
                await wait_until(loop, lambda: not server.connections)

    run_in(loop_name, scenario)


# -- how a connection ends --

async def end_of(client):
    """Iterate to the end; return the server's close code, the reason, and if it was graceful."""
    closing, end = (await collect(client))[-2:]
    return closing.code, closing.reason, end.graceful


@in_each_loop
def test_when_the_handler_returns_the_connection_is_closed_with_1000(loop_name, caplog):
    async def handler(connection):
        assert await connection.receive() == 'go'

    async def scenario(loop):
        async with serve(handler) as server:
            client = await dial(server.url)
            for _ in range(100):
                await client.send_text('go')        # what nobody receives is dropped
            assert await end_of(client) == (1000, '', True)
            await wait_until(loop, lambda: not server.connections)

    run_in(loop_name, scenario)
    assert not caplog.records


@in_each_loop
def test_when_the_handler_raises_that_is_logged_and_the_code_is_1011(loop_name, caplog):
    async def handler(connection):
        if await connection.receive() == 'go':
            raise ZeroDivisionError()

    async def scenario(_loop):
        async with serve(handler) as server:
            client = await dial(server.url)
            await client.send_text('go')
            assert await end_of(client) == (1011, '', True)
            other = await dial(server.url)      # it goes on
            await other.close()
            await collect(other)

    run_in(loop_name, scenario)
    first, = [record for record in caplog.records if record.exc_info[0] is ZeroDivisionError]
    assert 'the handler failed for' in first.getMessage()
    assert [record for record in caplog.records if record is not first] == []


@in_each_loop
def test_a_send_to_a_client_that_is_gone_is_no_fault_of_the_handlers(loop_name, caplog):
    async def handler(connection):
        async for _event in connection:
            pass
        await connection.send_text('too late')

    async def scenario(loop):
        async with serve(handler) as server:
            (await dial(server.url)).break_off()
            await wait_until(loop, lambda: not server.connections)

    caplog.set_level(logging.INFO, 'lomond')
    run_in(loop_name, scenario)
    assert not caplog.records


@in_each_loop
def test_a_handler_may_close_or_break_the_connection_itself(loop_name, caplog):
    async def handler(connection):
        if connection.websocket.request.path == '/break':
            connection.break_off()
            with pytest.raises(errors.WebSocketUnavailable, match='only its client can connect'):
                async for _event in connection:
                    pass
            return
        await connection.close(4000, 'enough')
        seen.extend(await collect(connection))

    async def scenario(loop):
        async with serve(handler) as server:
            assert await end_of(await dial(server.url)) == (4000, 'enough', True)
            client = await dial(server.url + 'break')
            assert not (await collect(client))[-1].graceful
            await wait_until(loop, lambda: not server.connections)

    seen = []
    run_in(loop_name, scenario)
    assert names(seen) == ['ready', 'closed', 'disconnected']
    assert not caplog.records


@in_each_loop
def test_a_handler_that_is_no_coroutine_function_is_an_error_of_the_handler(loop_name, caplog):
    async def scenario(_loop):
        async with serve(lambda connection: None) as server:
            assert await end_of(await dial(server.url)) == (1011, '', True)

    run_in(loop_name, scenario)
    assert 'the handler must be an async def function' in caplog.text


class Offered(Extension):
    """Does nothing."""

    name = 'x-fails'


class Failing(Offered):
    """Fails with the first frame that comes."""

    def frame_inbound_header(self, header):
        raise ZeroDivisionError()


@in_each_loop
@pytest.mark.parametrize('handler, words', [
    (echo, 'the handler failed for'), (None, 'failed outside its handler')])
def test_an_extension_that_fails_ends_its_connection_and_is_logged(
        loop_name, handler, words, caplog):
    async def return_at_once(_connection):
        pass

    async def scenario(loop):
        async with serve(handler or return_at_once, extensions=[Failing]) as server:
            client = await dial(server.url, extensions=[Offered])
            if handler:
                await client.send_text('Hello')
            await collect(client)       # else the answer to the server's Close fails
            await wait_until(loop, lambda: not server.connections)

    run_in(loop_name, scenario)
    record, = caplog.records
    assert words in record.getMessage()
    assert record.exc_info[0] is ZeroDivisionError


@in_each_loop
def test_a_task_that_a_handler_left_iterating_ends_with_it(loop_name, caplog):
    async def handler(connection):
        tasks.append(loops[0].start(collect, connection, seen))
        await wait_until(loops[0], lambda: seen)

    async def scenario(loop):
        loops.append(loop)
        async with serve(handler) as server:
            client = await dial(server.url)
            await collect(client)
            assert client.websocket.close_received == (1000, '')
            await tasks[0].result()
            assert seen[-2:] == ['closed', 'disconnected']

    loops, tasks, seen = [], [], []
    run_in(loop_name, scenario)
    assert not caplog.records


@in_each_loop
@pytest.mark.parametrize('end', ['iterates on', 'stops', 'is cancelled'])
def test_what_a_handler_sent_goes_out_while_a_task_that_it_left_iterates(loop_name, end, caplog):
    async def read(connection):
        async for event in connection:
            seen.append(event.name)
            if event.name == 'text' and end == 'stops':
                break

    async def handler(connection):
        tasks.append(loops[0].start(read, connection))
        await wait_until(loops[0], lambda: seen)
        await connection.send_binary(LARGE)

    async def scenario(loop):
        loops.append(loop)
        async with serve(handler) as server:
            client = await dial(server.url)
            await wait_until(loop, lambda: seen)
            if end == 'is cancelled':
                tasks[0].cancel()
            client.websocket.send_text('x')
            events = await collect(client)
            assert [event.data for event in events if event.name == 'binary'] == [LARGE]
            assert client.websocket.close_received == (1000, '')
            await tasks[0].stop()

    loops, tasks, seen = [], [], []
    run_in(loop_name, scenario)
    assert not caplog.records


# -- how the server ends --

@in_each_loop
def test_leaving_the_block_closes_all_with_1001_and_frees_the_address(loop_name, path):
    async def scenario(loop):
        async with serve(echo, unix_path=path) as server:
            clients = [loop.start(end_of, await dial(server.url)) for _ in range(5)]
        assert not server.connections
        assert not os.path.exists(path)
        for client in clients:
            assert await client.result() == (1001, 'server shutting down', True)

    run_in(loop_name, scenario)


@in_each_loop
def test_close_has_a_code_and_a_reason_and_waits_for_the_handlers(loop_name):
    async def handler(connection):
        await collect(connection)
        ended.append(connection)

    async def scenario(loop):
        async with serve(handler) as server:
            client = loop.start(end_of, await dial(server.url))
            for wrong in ({'code': 5}, {'timeout': -1}):
                with pytest.raises(ValueError):
                    await server.close(**wrong)
            await server.close(1012, 'back soon')
            assert ended
            with pytest.raises(OSError):
                await loop.in_thread(lambda: socket.create_connection(server.address))
            await server.close()
            assert await client.result() == (1012, 'back soon', True)

    ended = []
    run_in(loop_name, scenario)


@in_each_loop
def test_a_client_that_never_answers_is_broken_and_its_handler_cancelled(loop_name, caplog):
    async def handler(connection):
        try:
            await never_end(connection)
        finally:
            ended.append(connection)

    async def scenario(loop):
        async with serve(handler) as server:
            with RawClients(loop, server) as clients:
                client = await clients.connect()
                await server.close(timeout=0.05)
                assert ended
                assert not server.connections
                data = await loop.in_thread(client.read_until_end)
                assert data == b'\x88\x16' + struct.pack('!H', 1001) + b'server shutting down'

    ended = []
    caplog.set_level(logging.INFO, 'lomond')
    run_in(loop_name, scenario)
    assert not caplog.records


@in_each_loop
def test_close_ends_a_handshake_and_no_handler_begins(loop_name):
    async def handler(connection):
        called.append(connection)

    async def scenario(loop):
        async with serve(handler) as server:
            with RawClients(loop, server) as clients:
                client = await clients.dial(b'GET')
                await wait_until(loop, lambda: server.connections)
                await server.close()
                assert await loop.in_thread(client.read_until_end) == b''

    called = []
    run_in(loop_name, scenario)
    assert not called


@in_each_loop
def test_a_handler_may_close_the_server_and_goes_on(loop_name):
    async def handler(connection):
        async for message in connection.messages():
            if message == 'shut down':
                await servers[0].close()
                closed.append(len(servers[0].connections))

    async def scenario(loop):
        async with serve(handler) as server:
            servers.append(server)
            first, second = await dial(server.url), await dial(server.url)
            other = loop.start(end_of, first)
            await second.send_text('shut down')
            assert (await end_of(second))[0] == 1001
            assert (await other.result())[0] == 1001
            await server.serve_forever()

    servers, closed = [], []
    run_in(loop_name, scenario)
    assert closed == [1]


@in_each_loop
@pytest.mark.parametrize('is_inside', [False, True])
def test_serve_forever_ends_after_close(loop_name, is_inside):
    async def run(server):
        if is_inside:
            async with server:
                await server.serve_forever()
        else:
            await server.serve_forever()

    async def scenario(loop):
        server = serve(echo)
        serving = loop.start(run, server)
        client = await dial(server.url)
        closing = loop.start(end_of, client)
        await server.close(4001, 'bye')
        await serving.result()
        assert await closing.result() == (4001, 'bye', True)

    run_in(loop_name, scenario)


@in_each_loop
def test_what_ends_the_block_goes_through_as_it_is(loop_name):
    async def scenario(loop):
        closing = []
        with pytest.raises(ZeroDivisionError):
            async with serve(echo) as server:
                closing.append(loop.start(end_of, await dial(server.url)))
                raise ZeroDivisionError()
        assert (await closing[0].result())[0] == 1001

    run_in(loop_name, scenario)


@in_each_loop
@pytest.mark.parametrize('handler', [echo, never_end])
def test_a_cancellation_leaves_no_socket_and_no_task_and_waits_for_no_client(loop_name, handler):
    async def run(server):
        await server.serve_forever()

    async def scenario(loop):
        before = count_descriptors()
        server = serve(handler, close_timeout=3600)
        serving = loop.start(run, server)
        with RawClients(loop, server) as clients:
            client = await clients.connect()
            await clients.dial(b'GET')
            await wait_until(loop, lambda: len(server.connections) == 2)
            await serving.stop()
            assert not server.connections
            data = await loop.in_thread(client.read_until_end)
            assert data[2:4] == struct.pack('!H', 1001)
        await wait_until(loop, lambda: loop.count_own_tasks() <= 0)
        assert count_descriptors() <= before

    run_in(loop_name, scenario)


@in_each_loop
def test_a_timeout_around_the_block_is_the_event_loops_own(loop_name):
    async def run():
        async with serve(echo) as server:
            clients.append(await dial(server.url))
            await server.serve_forever()

    async def scenario(loop):
        with pytest.raises(TimedOut):
            await loop.within(0.2, run)
        (clients.pop()).break_off()

    clients = []
    run_in(loop_name, scenario)


@in_each_loop
def test_a_second_cancellation_ends_the_wait_for_clients(loop_name):
    async def run():
        async with serve(echo, close_timeout=3600) as server:
            servers.append(server)
            await wait_until(loops[0], lambda: may_leave)

    async def scenario(loop):
        loops.append(loop)
        running = loop.start(run)
        await wait_until(loop, lambda: servers)
        with RawClients(loop, servers[0]) as clients:
            client = await clients.connect()
            may_leave.append(None)
            assert (await loop.in_thread(client.read))[0] == 8
            await running.stop()
            assert not servers[0].connections

    loops, servers, may_leave = [], [], []
    run_in(loop_name, scenario)


@in_each_loop
def test_a_server_that_was_closed_before_the_block_logs_that_it_serves_nobody(loop_name, caplog):
    async def scenario(_loop):
        server = serve(echo)
        await server.close()
        await server.serve_forever()
        with pytest.raises(errors.WebSocketUnavailable, match='has begun before'):
            async with server:
                pass

    run_in(loop_name, scenario)
    assert 'was closed before' in caplog.text


@in_each_loop
def test_connections_that_have_ended_need_no_collector(loop_name):
    async def scenario(loop):
        async with serve(echo) as server:
            for _ in range(20):
                client = await dial(server.url)
                await client.close()
                await collect(client)
                await wait_until(loop, lambda: not server.connections)
                counts.append(sum(
                    type(thing) is aio.ServerConnection for thing in gc.get_objects()))

    counts = []
    gc.collect()
    gc.disable()
    try:
        run_in(loop_name, scenario)
    finally:
        gc.enable()
    assert counts[-1] <= counts[0] + 1


def test_an_event_loop_that_is_closed_leaves_the_server_to_the_collector():
    async def begin():
        server = aio.serve(never_end)
        await server.__aenter__()
        client = Client(server.address)
        while not client.is_answered():
            await asyncio.sleep(0.001)
        return client

    loop = asyncio.new_event_loop()
    client = loop.run_until_complete(begin())
    loop.close()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', ResourceWarning)    # as for any socket left to it
        gc.collect()
    assert b'HTTP/1.1 101' in client.read_until_end()
    client.close()


# -- mistakes --

@pytest.mark.parametrize('options, words', [
    ({'threads': False}, ['aio.serve()', 'a task for each connection']),
    ({'overflow': 'latest'}, ['aio.serve()', 'await the sends']),
    ({'poll': 5}, ['aio.serve()', 'another task']),
    ({'ping_rat': 1}, ['aio.serve()', 'did you mean ping_rate']),
    ({'ssl': None}, ['aio.serve()', 'ssl_context=']),
    ({'proxies': {}}, ['a server has no such option']),
])
def test_an_unknown_option_says_where_it_belongs(options, words):
    with pytest.raises(TypeError) as caught:
        aio.serve(echo, **options)
    for word in words:
        assert word in str(caught.value)


def generate(_connection):
    yield


async def generate_asynchronously(_connection):
    yield


@pytest.mark.parametrize('handler', [None, generate, generate_asynchronously])
def test_a_wrong_handler_is_refused_at_the_call(handler):
    with pytest.raises(TypeError, match='async def'):
        aio.serve(handler)


@pytest.mark.parametrize('name', ['origins', 'on_request'])
def test_a_function_that_must_be_plain_is_refused_at_the_call(name):
    with pytest.raises(TypeError, match='must be a plain function'):
        aio.serve(echo, **{name: echo})


@pytest.mark.parametrize('options', [{'max_queue': 0}, {'close_timeout': -1}, {'port': -1}])
def test_a_wrong_value_is_refused_at_the_call(options):
    with pytest.raises(ValueError):
        aio.serve(echo, **options)


@pytest.mark.parametrize('source', [
    'await server', 'for _ in server: pass', 'async for _ in server: pass', 'with server: pass'])
def test_a_wrong_word_says_the_right_line(source):
    names = {}
    exec('async def scenario(_loop, server):\n    ' + source, names)

    async def scenario(loop):
        server = serve(echo)
        with pytest.raises(TypeError, match='async with'):
            await names['scenario'](loop, server)
        await server.close()

    run_in('asyncio', scenario)


@in_each_loop
def test_close_in_another_thread_says_so(loop_name):
    async def scenario(loop):
        async with serve(echo) as server:
            def close():
                with pytest.raises(errors.WebSocketUnavailable, match='another event loop'):
                    server.close().send(None)

            await loop.in_thread(close)

    run_in(loop_name, scenario)


# -- whole programs --

@in_each_program
@pytest.mark.parametrize('handler', ['echo', 'never_end'])
def test_ctrl_c_leaves_nothing_and_clients_get_1001(library, handler):
    child = run_strictly(library, """
async def echo(connection):
    async for message in connection.messages():
        await connection.send_text(message)

async def never_end(connection):
    while True:
        async for event in connection:
            if event.name == 'text':
                await connection.send_text(event.text)

async def main():
    async with aio.serve({}) as server:
        print(server.url, flush=True)
        await server.serve_forever()
""".format(handler), 'unused')
    url = child.stdout.readline().strip()
    client = WebSocket(url, proxies={})
    client.open()
    client.send_text(u'Hello')
    assert client.receive() == u'Hello'
    child.send_signal(signal.SIGINT)
    with pytest.raises(errors.WebSocketClosed) as caught:
        client.receive()
    assert caught.value.code in (1001, 1006)    # before 3.11 asyncio.run cancels no block
    returned, output = output_of(child)
    assert returned in (1, -signal.SIGINT, 130)
    assert output.rstrip().splitlines()[-1].startswith('KeyboardInterrupt')
    for words in ('ResourceWarning', 'never', 'destroyed', 'Exception ignored', 'Group'):
        assert words not in output.replace('never_end', '')


@in_each_program
def test_an_exit_in_a_handler_ends_the_program(library):
    child = run_strictly(library, """
async def leave(connection):
    await connection.receive()
    sys.exit(3)

async def main():
    async with aio.serve(leave) as server:
        print(server.url, flush=True)
        await server.serve_forever()
""", 'unused')
    client = WebSocket(child.stdout.readline().strip(), proxies={})
    client.open()
    client.send_text(u'Hello')
    with pytest.raises(errors.WebSocketClosed):
        client.receive()
    assert output_of(child) == (3, '')


@pytest.mark.skipif(trio is None, reason='trio is not installed')
def test_a_nursery_of_the_callers_is_left_as_ever():
    async def scenario(_loop):
        async with trio.open_nursery() as nursery:
            server = serve(echo)
            nursery.start_soon(server.serve_forever)
            client = await dial(server.url)
            await client.send_text('Hello')
            assert await client.receive() == 'Hello'
            nursery.cancel_scope.cancel()
        client.break_off()

    run_in('trio', scenario)
