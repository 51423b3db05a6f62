"""lomond.testing with asyncio: the same servers, redirects and fakes."""

import pytest

from lomond import WebSocket, aio, events
from lomond.persist import ReconnectPolicy
from lomond.testing import (
    FakeWebSocket,
    ScriptedServer,
    close,
    drop,
    expect,
    redirect,
    say,
    skip_back_offs,
)
from tests.network.event_loops import in_each_loop, run_in

pytestmark = pytest.mark.usefixtures('nothing_is_left_open', 'clean_environment')


async def greet(_loop, websocket, policy=None):
    """Answer each text; return all events."""
    seen = []
    async with aio.connect(websocket, policy=policy) as connection:
        async for event in connection:
            seen.append(event)
            if event.name == 'text':
                await connection.send_text('re ' + event.text)
            if event == events.Text('b'):
                await connection.close()
    return seen


@in_each_loop
def test_redirected_connection_is_kept_without_waiting(loop_name):
    with ScriptedServer([say('a'), expect('re a'), drop()], [say('b'), expect('re b')],
                        tls=True) as server:
        with redirect({'api.example.com': server}), skip_back_offs() as delays:
            seen = run_in(
                loop_name, greet, WebSocket('wss://api.example.com/'),
                ReconnectPolicy(min_wait=1000, max_wait=2000))
    assert [event.text for event in seen if event.name == 'text'] == ['a', 'b']
    assert len(delays) == 1
    assert seen[-1].graceful


@in_each_loop
def test_fake_plays_its_events(loop_name):
    websocket = FakeWebSocket(['a', events.Disconnected('cut off')], ['b'])
    seen = run_in(
        loop_name, greet, websocket, ReconnectPolicy(min_wait=1000, max_wait=2000))
    assert [event.name for event in seen] == [
        'ready', 'text', 'disconnected', 'back_off', 'ready', 'text', 'closed', 'disconnected']
    websocket.assert_sent('re a', 're b')


@in_each_loop
def test_server_closes(loop_name):
    async def receive(_loop, url):
        async with aio.connect(WebSocket(url)) as connection:
            return [message async for message in connection.messages()]

    with ScriptedServer([say('a'), say(b'b'), close()]) as server:
        assert run_in(loop_name, receive, server.url) == ['a', b'b']


@in_each_loop
def test_fake_takes_no_message_that_is_still_made(loop_name):
    async def parts():      # a text, piece by piece
        yield 'a'

    async def send(_loop, websocket):
        async with aio.connect(websocket) as connection:
            async for event in connection:
                if event.name == 'ready':
                    await connection.send_text('whole')
                    await connection.drain()
                    with pytest.raises(NotImplementedError, match='ScriptedServer'):
                        await connection.send_text(parts())

    websocket = FakeWebSocket([])
    run_in(loop_name, send, websocket)
    websocket.assert_sent('whole')
