"""The recipes of the docs for requests and replies and for callbacks, as they stand there."""

from __future__ import absolute_import, division, print_function

import json
import re
import threading

import pytest

from lomond import WebSocket, errors
from lomond._compat import TimedOut
from tests.network.doc_cells import read_page
from tests.network.driving import Background, drain, read_to_close, wait_for
from tests.support import (
    PATIENCE,
    RawServer,
    answer_upgrade,
    make_close,
    make_frame,
    names,
    read_frame,
)

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

THREADS = 8


def recipe(name):
    """Return a class of the docs, without running the program that follows it."""
    pages = [read_page('howto/requests-and-replies.md'), read_page('howto/callbacks.md')]
    block, = [block for page in pages
              for block in re.findall('```python\n(.*?)```', page, re.DOTALL)
              if 'class {}('.format(name) in block]
    block = re.split('\n\n\n(?=with|Greeter\\(\\))', block)[0]
    space = {}
    exec(block, space)
    return space[name]


Requests = recipe('Requests')


def reply(sock, number, **fields):
    sock.sendall(make_frame(1, json.dumps(dict(fields, id=number)).encode('utf-8')))


def read_request(sock):
    return json.loads(read_frame(sock)[1].decode('utf-8'))


def test_each_thread_gets_the_reply_to_its_own_request(link):
    def script(sock):
        answer_upgrade(sock)
        requests = [read_request(sock) for _ in range(THREADS)]
        for odd in (b'no JSON', b'[]', b'5', b'{}', b'{"id": 99}', b'{"id": []}'):
            sock.sendall(make_frame(1, odd) + make_frame(2, odd + b'\xff'))
        for request in reversed(requests):
            reply(sock, request['id'], value=request['value'] * 2)
        read_to_close(sock)
        sock.sendall(make_close(1000))

    with link.serve(script) as server:
        with link.connect(server.url) as websocket:
            websocket.open(PATIENCE)
            requests = Requests(websocket)
            calls = [Background(requests.request, PATIENCE, value=value)
                     for value in range(THREADS)]
            assert [call.result()['value'] for call in calls] \
                == [value * 2 for value in range(THREADS)]


def test_a_request_without_a_reply_times_out_and_a_late_reply_is_dropped(link):
    is_late = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        first = read_request(sock)['id']
        wait_for(is_late)
        reply(sock, first)
        reply(sock, read_request(sock)['id'], value=2)
        read_to_close(sock)
        sock.sendall(make_close(1000))

    with link.serve(script) as server:
        with link.connect(server.url) as websocket:
            websocket.open(PATIENCE)
            requests = Requests(websocket)
            with pytest.raises(TimedOut, match='no reply to request 1 in 0.01 s'):
                requests.request(timeout=0.01)
            is_late.set()
            assert requests.request(PATIENCE)['value'] == 2


@pytest.mark.parametrize('end, words', [
    (make_close(1000), 'the connection was closed'), (make_close(4000, b'why'), '4000: why'),
    (b'', 'the connection ended')],
    ids=['1000', '4000', 'broken'])
def test_the_end_fails_all_requests_and_those_that_follow(link, end, words):
    def script(sock):
        answer_upgrade(sock)
        for _ in range(THREADS):
            read_request(sock)
        sock.sendall(end)
        if end:
            drain(sock)

    with link.serve(script) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE)
        requests = Requests(websocket)
        for call in [Background(requests.request, PATIENCE) for _ in range(THREADS)]:
            with pytest.raises(errors.WebSocketClosed, match=words):
                call.result()
        with pytest.raises(errors.WebSocketClosed, match=words):
            requests.request()
        websocket.force_disconnect()


def test_callbacks_have_the_names_of_the_events():
    seen = []

    class Recorder(recipe('Greeter')):
        def on_ping(self, _websocket, event):
            seen.append(event)

        def on_disconnected(self, _websocket, event):
            seen.append(event)

    def script(sock):
        answer_upgrade(sock)
        frames.append(read_frame(sock))
        sock.sendall(make_frame(9) + make_frame(1, b'hello'))
        frames.extend(read_to_close(sock))
        sock.sendall(make_close(1000))

    frames = []
    with RawServer(script) as server:
        Recorder().run(WebSocket(server.url))
    assert frames[0] == (0x81, b'Hello!')
    assert names(seen) == ['ping', 'disconnected']
    assert seen[-1].graceful
