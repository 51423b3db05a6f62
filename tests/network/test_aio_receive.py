"""`receive` and `messages` in an event loop: messages instead of events, and errors at the end."""

import socket

import pytest

from lomond import WebSocket, aio, errors
from lomond.persist import ReconnectPolicy
from tests.network.driving import accept_and_hang_up, accept_and_send, drain
from tests.network.event_loops import TimedOut, collect, in_each_loop, run_in
from tests.support import (
    PATIENCE,
    RawServer,
    answer_upgrade,
    make_close,
    make_frame,
    read_frame,
    read_head,
)

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

MESSAGES = [
    make_frame(1, b'one'), make_frame(9, b'ping'), make_frame(2, b'two', fin=False),
    make_frame(0, b' and three'), make_frame(1, b'')]


def connect(server, **options):
    return aio.connect(WebSocket(server.url, proxies={}, **options))


@in_each_loop
@pytest.mark.parametrize('options', [
    {}, {'message_parts': True}, {'text_as_bytes': True}], ids=str)
def test_messages_come_whole_until_the_peer_closes(loop_name, options):
    async def scenario(_loop):
        return [message async for message in connect(server, **options).messages()]

    with RawServer(accept_and_send(*(MESSAGES + [make_close(1000)]))) as server:
        assert run_in(loop_name, scenario) == ['one', b'two and three', '']


@in_each_loop
def test_each_call_after_the_end_raises_the_same(loop_name):
    async def scenario(_loop):
        connection = connect(server)
        assert await connection.receive() == 'one'
        for _ in range(2):
            with pytest.raises(errors.WebSocketClosed) as caught:
                await connection.receive()
            assert (caught.value.code, caught.value.reason) == (4000, 'enough')
        with pytest.raises(errors.WebSocketClosed):
            async for _message in connection.messages():
                pass

    with RawServer(accept_and_send(MESSAGES[0], make_close(4000, b'enough'))) as server:
        run_in(loop_name, scenario)


@in_each_loop
def test_an_end_without_close_has_1006_and_the_reason(loop_name):
    async def scenario(_loop):
        connection = connect(server)
        with pytest.raises(errors.WebSocketClosed, match='closed the connection') as caught:
            await connection.receive()
        assert caught.value.code == 1006

    with RawServer(accept_and_hang_up()) as server:
        run_in(loop_name, scenario)


@in_each_loop
def test_an_attempt_that_fails_raises_connect_fail(loop_name, dead_port):
    async def scenario(_loop):
        url = 'ws://127.0.0.1:{}/'.format(dead_port)
        with pytest.raises(errors.ConnectFail) as caught:
            await aio.connect(WebSocket(url, proxies={})).receive()
        assert caught.value.phase == 'connect'
        policy = ReconnectPolicy(max_attempts=2, min_wait=0, max_wait=0)
        with pytest.raises(errors.ConnectFail):
            await aio.connect(WebSocket(url, proxies={}), policy).receive()

    run_in(loop_name, scenario)


@in_each_loop
def test_a_handshake_that_is_rejected_raises_rejected(loop_name):
    def script(sock):
        read_head(sock)
        sock.sendall(b'HTTP/1.1 403 Not You\r\nContent-Length: 0\r\n\r\n')

    async def scenario(_loop):
        with pytest.raises(errors.Rejected) as caught:
            await connect(server).receive()
        assert caught.value.response.status_code == 403

    with RawServer(script) as server:
        run_in(loop_name, scenario)


@in_each_loop
def test_with_a_policy_it_goes_on_to_the_next_connection(loop_name):
    async def scenario(_loop):
        policy = ReconnectPolicy(min_wait=0, max_wait=0)
        connection = aio.connect(WebSocket(server.url, proxies={}), policy)
        for _ in range(3):
            assert await connection.receive() == 'one'
        connection.break_off()

    # The first part of a message whose rest never comes belongs to no later message.
    script = accept_and_hang_up(MESSAGES[0], make_frame(1, b'first part', fin=False))
    with RawServer(script) as server:
        run_in(loop_name, scenario)


@in_each_loop
@pytest.mark.parametrize('options', [{}, {'message_parts': True}], ids=['whole', 'parts'])
def test_a_call_that_is_cancelled_loses_no_part_of_a_message(loop_name, options):
    async def scenario(loop):
        ours, theirs = socket.socketpair()
        connection = aio.connect(WebSocket.attach(ours, **options))
        data = b''.join(MESSAGES[2:4])
        received = []
        for index in range(len(data)):
            theirs.sendall(data[index:index + 1])
            try:
                received.append(await loop.within(0.002, connection.receive))
            except TimedOut:
                pass
        theirs.close()
        with pytest.raises(errors.WebSocketClosed):
            while True:     # the message may come only now
                received.append(await loop.within(PATIENCE, connection.receive))
        assert received == [b'two and three']

    run_in(loop_name, scenario)


@in_each_loop
def test_it_may_take_turns_with_a_loop(loop_name):
    async def scenario(_loop):
        connection = connect(server)
        async for event in connection:
            if event.name == 'ready':
                break
        assert await connection.receive() == 'one'
        assert [event.name for event in await collect(connection)] == [
            'ping', 'binary', 'text', 'closing', 'disconnected']
        with pytest.raises(errors.WebSocketClosed, match='has ended'):
            await connection.receive()

    with RawServer(accept_and_send(*(MESSAGES + [make_close(1000)]))) as server:
        run_in(loop_name, scenario)


@in_each_loop
def test_what_was_broken_off_raises_closed(loop_name):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(MESSAGES[0])
        drain(sock)

    async def scenario(_loop):
        async with connect(server) as connection:
            assert await connection.receive() == 'one'
        with pytest.raises(errors.WebSocketClosed) as caught:
            await connection.receive()
        assert caught.value.code == 1006

    with RawServer(script) as server:
        run_in(loop_name, scenario)


@in_each_loop
def test_our_own_close_ends_the_messages_too(loop_name):
    async def scenario(_loop):
        connection = connect(server)
        received = []
        async for message in connection.messages():
            received.append(message)
            await connection.close()
        assert received == ['one']

    def answer(sock):
        answer_upgrade(sock)
        sock.sendall(MESSAGES[0])
        read_frame(sock)
        sock.sendall(make_close(1000))
        drain(sock)

    with RawServer(answer) as server:
        run_in(loop_name, scenario)
