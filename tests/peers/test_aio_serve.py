"""The server in an event loop against clients that nobody here wrote."""

import pytest

from lomond import aio

from ..support import PATIENCE
from . import SERVER_CLOSE
from .loops import LoopThread
from .test_clients import LARGE, MESSAGES, MIB

pytestmark = pytest.mark.costly


class EchoServer(LoopThread):
    """Sends back what it gets, in asyncio; closes when it gets the text 'close'."""

    async def serve(self, stop):
        options = {'protocols': ['chat'], 'compress': True, 'max_queue': MIB}
        async with aio.serve(
                self.handle, ssl_context=self.tls and self.tls.context, **options) as server:
            self.started(server.port)
            await stop

    async def handle(self, connection):
        async for event in connection:
            if event.name == 'text' and event.text == 'close':
                await connection.close(*SERVER_CLOSE)
            elif event.name == 'text':
                await connection.send_text(event.text)
            elif event.name == 'binary':
                await connection.send_binary(event.data)
        self.closed.put(event.graceful)


@pytest.mark.parametrize('compress', [False, True])
@pytest.mark.parametrize('messages', [MESSAGES, LARGE], ids=['small', 'large'])
def test_messages_come_back_and_the_client_closes(tls, talk, messages, compress):
    with EchoServer(tls) as server:
        result = talk(
            server, messages, close=(1000, ''), compress=compress, protocols=('superchat', 'chat'))
        assert server.closed.get(timeout=PATIENCE)
    assert result.messages == messages
    assert result.protocol == 'chat'


def test_the_server_closes(tls, talk):
    with EchoServer(tls) as server:
        result = talk(server, ['close'])
        assert server.closed.get(timeout=PATIENCE)
    assert result.closed == SERVER_CLOSE
