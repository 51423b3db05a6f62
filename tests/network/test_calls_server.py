"""Calls in a server's handler, instead of its loop."""

from __future__ import absolute_import, division, print_function

import logging
import threading

import pytest

from lomond import WebSocket, errors
from lomond.server import Server
from tests.network.driving import Background, wait_for
from tests.support import PATIENCE

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')


@pytest.fixture(params=['ws', 'wss'])
def serve(request, server_tls, authority_file):
    """Run a handler; return the server, and a function that connects to it."""
    tls = server_tls if request.param == 'wss' else None
    servers = []

    def start(handler, **options):
        server = Server(handler, ssl_context=tls, **options).start()
        servers.append(server)
        return server, lambda: WebSocket(server.url, ssl_cafile=authority_file)

    yield start
    for server in servers:
        server.close()


def test_a_handler_receives_and_answers_by_calls(serve):
    def handle(websocket):
        assert websocket.wait_ready() is None
        assert websocket.ping(PATIENCE) >= 0
        with pytest.raises(errors.WebSocketTimeout):
            websocket.receive(0)
        may_send.set()
        assert websocket.receive(PATIENCE) == u'question'
        websocket.send_text(u'answer')
        received.extend(websocket.messages())

    may_send, received = threading.Event(), []
    _server, connect = serve(handle)
    with connect() as websocket:
        websocket.open(PATIENCE, background=True)
        wait_for(may_send)
        websocket.send_text(u'question')
        assert websocket.receive(PATIENCE) == u'answer'
        websocket.send_binary(b'more')
    assert websocket.close_received.code == 1000
    assert received == [b'more']


def test_a_handler_that_returns_closes_and_drops_the_rest(serve):
    def handle(websocket):
        websocket.receive()

    _server, connect = serve(handle)
    websocket = connect()
    websocket.open(PATIENCE)
    websocket.send_many([u'one', b'x' * 100000, u'three'])
    with pytest.raises(errors.WebSocketClosed) as caught:
        websocket.receive(PATIENCE)
    assert (caught.value.code, caught.value.reason) == (1000, u'')


def test_a_client_that_leaves_is_no_fault_of_a_handler_that_receives(serve, caplog):
    def handle(websocket):
        try:
            while True:
                websocket.send_text(websocket.receive())
        except errors.WebSocketClosed as error:
            ends.append((error.code, error.reason))
            has_ended.set()
            raise

    ends, has_ended = [], threading.Event()
    caplog.set_level(logging.INFO, logger='lomond')
    server, connect = serve(handle)
    with connect() as websocket:
        websocket.open(PATIENCE)
        websocket.send_text(u'x')
        assert websocket.receive(PATIENCE) == u'x'
        websocket.close(4000, u'enough')
    wait_for(has_ended)
    server.close()
    assert ends == [(4000, u'enough')]
    assert caplog.records == []


def test_a_thread_of_the_handlers_may_receive(serve):
    def handle(websocket):
        receiving.append(Background(lambda: list(websocket.messages())))
        wait_for(may_return)

    receiving, may_return = [], threading.Event()
    _server, connect = serve(handle)
    with connect() as websocket:
        websocket.open(PATIENCE)
        websocket.send_many([u'one', u'two'])
        websocket.ping(PATIENCE)        # the thread has read these
        may_return.set()
        with pytest.raises(errors.WebSocketClosed):
            websocket.receive(PATIENCE)
    assert receiving[0].result() == [u'one', u'two']


def test_a_handler_uses_a_loop_or_calls(serve):
    def handle(websocket):
        try:
            if websocket.request.path == '/calls':
                websocket.receive()
                with pytest.raises(errors.WebSocketUnavailable, match=r'use messages\(\) instead'):
                    iter(websocket)
            else:
                for event in websocket:
                    if event.name == 'text':
                        break
                for call in (websocket.receive, websocket.ping, websocket.messages,
                             websocket.wait_ready):
                    with pytest.raises(errors.WebSocketUnavailable, match='a loop over this'):
                        call()
            outcomes.append(websocket.request.path)
        except BaseException as error:
            outcomes.append(error)

    outcomes = []
    server, _connect = serve(handle)
    for path in ('/calls', '/loop'):
        _server, connect = server, _connect
        websocket = connect()
        websocket.url = server.url.rstrip(u'/') + path
        websocket.open(PATIENCE)
        websocket.send_text(u'x')
        with pytest.raises(errors.WebSocketClosed):
            websocket.receive(PATIENCE)
    assert outcomes == ['/calls', '/loop']


def test_open_in_a_handler_is_refused_and_harms_nothing(serve):
    def handle(websocket):
        for options in ({}, {'timeout': 5}, {'background': True}):
            with pytest.raises(errors.WebSocketUnavailable, match=r'open already.*receive\(\)'):
                websocket.open(**options)
        websocket.send_text(websocket.receive(PATIENCE))

    _server, connect = serve(handle)
    with connect() as websocket:
        websocket.open(PATIENCE)
        websocket.send_text(u'x')
        assert websocket.receive(PATIENCE) == u'x'


def test_a_server_in_one_thread_has_no_calls(server_tls):
    server = Server(threads=False)
    client = Background(lambda: list(WebSocket(server.url)))
    for websocket, event in server:
        if event.name == 'ready':
            for call in (websocket.receive, websocket.ping, websocket.messages,
                         websocket.wait_ready, websocket.open):
                with pytest.raises(errors.WebSocketUnavailable, match='threads=False'):
                    call()
            server.close()
    assert client.result()[-1].graceful


def test_server_close_ends_a_handler_that_receives(serve):
    def handle(websocket):
        is_there.set()
        with pytest.raises(errors.WebSocketClosed) as caught:
            websocket.receive()
        codes.append(caught.value.code)

    is_there, codes = threading.Event(), []
    server, connect = serve(handle)
    websocket = connect()
    websocket.open(PATIENCE, background=True)
    wait_for(is_there)
    server.close()
    with pytest.raises(errors.WebSocketClosed) as caught:
        websocket.receive(PATIENCE)
    assert caught.value.code == 1001
    assert codes == [1001]
