"""A WebSocket in Tornado's loop, which is asyncio's, beside what Tornado does there itself."""

import pytest

from lomond import WebSocket, aio
from tests.support import PATIENCE

pytest.importorskip('tornado')

from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketHandler

pytestmark = pytest.mark.usefixtures('clean_environment')


class Echo(WebSocketHandler):

    def on_message(self, message):
        self.write_message(message, binary=isinstance(message, bytes))


@pytest.fixture
def run():
    """Run a coroutine in a loop of Tornado's, which ends with it."""
    loop = IOLoop(make_current=False)
    yield lambda function: loop.run_sync(function, timeout=PATIENCE)
    loop.close(all_fds=True)


def test_a_client_and_tornados_own_server_run_in_one_loop(run):
    async def main():
        server = HTTPServer(Application([('/', Echo)], log_function=lambda _handler: None))
        sock, = bind_sockets(0, '127.0.0.1')
        server.add_sockets([sock])
        seen = []
        url = 'ws://127.0.0.1:{}/'.format(sock.getsockname()[1])
        async with aio.connect(WebSocket(url)) as connection:
            async for event in connection:
                seen.append(event.name)
                if event.name == 'ready':
                    await connection.send_text('x' * 100000)
                    await connection.send_binary(b'bytes')
                elif event.name == 'binary':
                    await connection.close()
        server.stop()
        await server.close_all_connections()
        return seen

    assert run(main) == [
        'connecting', 'connected', 'ready', 'text', 'binary', 'closed', 'disconnected']
