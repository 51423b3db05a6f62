"""examples/jsonrpc.py: calls whose replies come in another order."""

from __future__ import absolute_import, division, print_function

import threading

import pytest

from lomond import WebSocket
from lomond.errors import WebSocketError
from lomond.server import Server
from tests.examples.running import Program, load
from tests.network.driving import Background, wait_for
from tests.support import PATIENCE, RawServer, answer_upgrade, read_frame

pytestmark = [pytest.mark.costly, pytest.mark.usefixtures('clean_environment')]


jsonrpc = load('jsonrpc')


@pytest.fixture
def connect():
    """``connect(url)`` makes a `Client`, whose WebSocket is closed with the test."""
    def connect(url, **options):
        websocket = WebSocket(url)
        websockets.append(websocket)
        websocket.open(PATIENCE, background=True)
        return jsonrpc.Client(websocket, **options)

    websockets = []
    yield connect
    for websocket in websockets:
        websocket.force_disconnect()


def test_the_program_shows_results_and_errors():
    with Program('examples/jsonrpc.py') as program:
        status, output, errors = program.finish()
    assert (status, errors) == (0, [])
    assert output[0] == '["add", 1, 2] -> 3'
    assert output[2] == '["pow", 2, 100] -> 1267650600228229401496703205376'
    assert output[3].startswith('["divide", 1, 0] failed: ZeroDivisionError: ')
    assert output[4] == '["divide", 1, 4] -> 0.25'
    assert output[5].startswith('["multiply", 2, 3] failed: KeyError: ')


def test_a_slow_call_holds_up_no_other(connect):
    def wait():
        wait_for(is_released)
        return 'waited'

    is_released = threading.Event()
    with Server(jsonrpc.serve({'wait': wait, 'release': is_released.set})) as server:
        client = connect(server.url)
        slow = Background(client.call, 'wait')
        assert client.call('release') is None
        assert slow.result() == 'waited'


def test_a_call_fails_if_no_reply_comes_in_time(connect):
    def script(sock):
        answer_upgrade(sock)
        read_frame(sock)
        wait_for(is_over)

    is_over = threading.Event()
    with RawServer(script) as server:
        client = connect(server.url, timeout=0.01)
        with pytest.raises(jsonrpc.Failed) as caught:
            client.call('add', 1, 2)
        is_over.set()
    assert str(caught.value) == 'no reply in 0.01 s'


def test_calls_fail_when_the_connection_ends(connect):
    def script(sock):
        answer_upgrade(sock)
        read_frame(sock)

    with RawServer(script) as server:
        client = connect(server.url)
        with pytest.raises(jsonrpc.Failed):
            client.call('add', 1, 2)
        with pytest.raises((jsonrpc.Failed, WebSocketError)):
            client.call('add', 1, 2)


def test_what_is_no_request_gets_an_error():
    with Server(jsonrpc.serve({})) as server, WebSocket(server.url) as websocket:
        websocket.open(PATIENCE)
        websocket.send_text(u'[')
        reply = websocket.receive(PATIENCE)
        assert u'"error"' in reply and u'"id": null' in reply
