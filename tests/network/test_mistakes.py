"""What a mistake says that shows only with a socket: a loop that goes on, a server's address."""

from __future__ import absolute_import, division, print_function

import errno
import socket

import pytest

from lomond import WebSocket, errors
from lomond.persist import persist
from lomond.server import Server
from tests.support import needs_refcounts
from tests.unit.test_mistakes import COUNTS, SECONDS, URL, fails, handler, serve


def test_a_kept_iterator_says_how_to_end_it(dead_port):
    websocket = WebSocket(u'ws://127.0.0.1:{}/'.format(dead_port))
    loop = iter(websocket)
    next(loop)
    for call in (websocket.connect, websocket.reset, lambda: persist(websocket),
                 lambda: setattr(websocket, 'url', URL)):
        fails(call, errors.WebSocketUnavailable, 'already running', 'close()', 'iterator')
    loop.close()
    websocket.connect().close()


@needs_refcounts
def test_a_loop_that_was_left_and_let_go_is_over(dead_port):
    websocket = WebSocket(u'ws://127.0.0.1:{}/'.format(dead_port))
    for _event in websocket:
        break
    websocket.connect().close()


def test_a_loop_that_force_disconnect_ended_is_over_when_it_has_come_to_its_end(dead_port):
    websocket = WebSocket(u'ws://127.0.0.1:{}/'.format(dead_port))
    loop = iter(websocket)
    next(loop)
    websocket.force_disconnect()
    assert [event.name for event in loop] == ['connect_fail']
    websocket.connect().close()


@pytest.mark.parametrize('options, error, words', [
    ({'port': '8000'}, TypeError, ['port', "'8000'"]),
    ({'port': None}, TypeError, ['port']),
    ({'port': 8000.0}, TypeError, ['int(8000.0)']),
    ({'port': True}, TypeError, ['port']),
    ({'port': -1}, ValueError, ['port', '65535']),
    ({'port': 65536}, ValueError, ['port', '65535']),
    ({'host': None}, TypeError, ['host']),
    ({'host': 8000}, TypeError, ['host']),
    ({'host': 'ws://localhost'}, ValueError, ['host', 'ws://localhost']),
    ({'host': 'a..b'}, ValueError, ['host', 'a..b']),
])
def test_a_server_says_what_is_wrong_with_its_address(options, error, words):
    fails(lambda: serve(handler, **options), error, *words)


@pytest.mark.parametrize('host', ['127.0.0.1', 'localhost'])
def test_a_port_in_use_is_named(host):
    with Server(handler, host) as server:
        with pytest.raises(socket.error) as caught:
            Server(handler, host, server.port)
    assert caught.value.errno == errno.EADDRINUSE
    assert '{}:{}'.format(host, server.port) in str(caught.value)
    assert 'port=0' in str(caught.value)


def test_an_address_of_another_machine_is_named():
    with pytest.raises(socket.error) as caught:
        Server(handler, '192.0.2.1', 0)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    assert '192.0.2.1' in str(caught.value)
    assert '0.0.0.0' in str(caught.value)


def test_a_host_that_is_not_there_is_named(monkeypatch):
    class Socket(socket.socket):
        """Asks no name server."""

        def __init__(self, *args):
            super(Socket, self).__init__(*args)
            self.bind = self.look_up

        def look_up(self, _address):
            raise socket.gaierror(socket.EAI_NONAME, 'Name or service not known')

    monkeypatch.setattr('lomond.net.listen.socket.socket', Socket)
    with pytest.raises(socket.gaierror) as caught:
        Server(handler, 'no-such-host.invalid', 8000)
    assert caught.value.errno == socket.EAI_NONAME
    assert 'no-such-host.invalid:8000' in str(caught.value)


@pytest.mark.parametrize('given', SECONDS, ids=lambda given: type(given).__name__)
def test_seconds_of_a_server_are_any_real_number(given):
    serve(handler, handshake_timeout=given, poll=given)


@pytest.mark.parametrize('given', COUNTS, ids=lambda given: type(given).__name__)
def test_counts_of_a_server_are_any_whole_number(given):
    serve(handler, max_connections=given, max_message_size=given)
