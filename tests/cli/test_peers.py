"""``lomond URL`` with the server of `websockets`, which answers a Close frame in the background.

It reads our Close frame while a handler still works, and drops what the handler sends then.
"""

from __future__ import absolute_import, division, print_function

import sys

import pytest

from tests.programs import Program, write_file

from .driving import run

pytestmark = pytest.mark.costly

pytest.importorskip('websockets')

SERVER = '''
import asyncio
import websockets


async def answer_late(websocket, *_path):
    async for message in websocket:
        await asyncio.sleep(0.5)
        await websocket.send(message)


async def main():
    async with websockets.serve(answer_late, '127.0.0.1', {port}, max_size=None):
        await asyncio.get_event_loop().create_future()


asyncio.new_event_loop().run_until_complete(main())
'''


@pytest.fixture(scope='module')
def late_url():
    def make_command(folder, port):
        return [sys.executable, write_file(folder, 'server.py', SERVER.format(port=port))]

    with Program(make_command) as server:
        yield 'ws://127.0.0.1:{}/'.format(server.port)


def test_the_replies_come_after_the_end_of_the_input(late_url):
    assert run(late_url, given=b'one\ntwo\n') == (0, b'one\ntwo\n', b'')


def test_messages_in_fragments_compressed_and_large(late_url):
    line = b'0123456789' * 300000
    assert run(late_url, '--compress', '--count', '1', given=line + b'\n') == (
        0, line + b'\n', b'')
