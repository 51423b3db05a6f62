"""How a server with one thread ends: close, break, Ctrl-C, forks; and without descriptors."""

from __future__ import absolute_import, division, print_function

import gc
import logging
import socket
import threading
import warnings

import pytest

from lomond import _serving
from lomond.net.waiter import Waiter
from lomond.server import Server
from tests.network.driving import Background, count_descriptors, needs_proc, run_program
from tests.network.one_thread import UPGRADE, Client, Served
from tests.network.test_forks import needs_fork
from tests.shortages import few_descriptors
from tests.support import PATIENCE, make_close, needs_refcounts
from tests.tracing import LineTracer

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

GOING_AWAY = (8, b'\x03\xe9server shutting down')


def is_refused(address):
    """Return whether nobody listens there."""
    sock = socket.socket()
    try:
        return sock.connect_ex(address) != 0
    finally:
        sock.close()


# -- close --

@pytest.mark.parametrize('where', ['loop', 'thread', 'handler'])
def test_close_sends_1001_to_all_and_the_loop_ends_with_the_last(alarm, where):
    with Served() as served:
        server = served.server
        clients = [served.connect()[0] for _ in range(3)]
        shaking_hands = served.dial(b'GET')
        served.poll()
        if where == 'thread':
            Background(server.close).result()
        elif where == 'handler':
            called = alarm(server.close)
            served.run(lambda: called)
        else:
            server.close()
        assert is_refused((server.host, server.port))
        for client in clients:
            assert client.read() == GOING_AWAY
            client.sock.sendall(make_close(1001, key=b'\0' * 4))
        rest = [event for websocket, event in served.loop if websocket is not None]
        assert sorted(event.name for event in rest) == ['closed'] * 3 + ['disconnected'] * 3
        assert all(event.graceful for event in rest if event.name == 'disconnected')
        assert shaking_hands.read_until_end() == b''
        assert list(server) == []


def test_close_breaks_connections_whose_clients_do_not_answer_within_close_timeout():
    with Served(close_timeout=0.2) as served:
        clients = [served.connect()[0] for _ in range(2)]
        served.server.close()
        rest = [event for websocket, event in served.loop if websocket is not None]
        assert [(event.name, event.graceful) for event in rest] == [('disconnected', False)] * 2
        assert [client.read() for client in clients] == [GOING_AWAY] * 2


def test_close_sends_the_code_and_reason_it_is_given():
    with Served() as served:
        client, _websocket = served.connect()
        served.server.close(1012, u'back in a minute')
        assert client.read() == (8, b'\x03\xf4back in a minute')


def test_close_breaks_connections_after_its_timeout_whatever_close_timeout_is():
    with Served(close_timeout=None) as served:
        served.connect()
        served.server.close(timeout=0.1)
        assert not served.wait_for('disconnected')[1].graceful


def test_a_second_close_may_wait_for_less_time_but_not_for_more():
    with Served(close_timeout=None) as served:
        client, _websocket = served.connect()
        served.server.close(1012, u'bye', timeout=PATIENCE)
        served.server.close()
        served.server.close(timeout=0)
        assert not served.wait_for('disconnected')[1].graceful
        assert client.read() == (8, b'\x03\xf4bye')


def test_a_client_that_is_accepted_just_before_close_gets_its_code_and_reason():
    def close(_request):
        served.server.close(1012, u'bye')

    with Served(on_request=close) as served:
        client = served.dial(UPGRADE + b'\r\n')
        served.wait_for('ready')
        assert client.read_status() == 101
        assert client.read() == (8, b'\x03\xf4bye')


def test_a_second_close_changes_nothing():
    with Served() as served:
        client, _websocket = served.connect()
        for _ in range(3):
            served.server.close()
        assert client.read() == GOING_AWAY
        client.sock.sendall(make_close(1001, key=b'\0' * 4))
        assert served.wait_for('disconnected')[1].graceful
        served.server.close()


@pytest.mark.parametrize('begins', [False, True], ids=['without a loop', 'before the first event'])
def test_close_before_the_loop_begins_ends_that_at_once(begins):
    server = Server(threads=False)
    loop = iter(server) if begins else None
    client = Client((server.host, server.port))
    server.close()
    assert list(loop or server) == []
    assert client.read_until_end() == b''
    client.close()
    assert list(server) == [] == list(server.polling(1))


def test_close_by_on_request_closes_its_own_connection_and_ends_the_other_handshakes():
    def close(_request):
        served.server.close()

    with Served(on_request=close) as served:
        client = served.dial(UPGRADE + b'\r\n' + make_close(1001, key=b'\0' * 4))
        other = served.dial(b'GET')
        rest = [event.name for websocket, event in served.loop if websocket is not None]
        assert rest[0] == 'ready' and rest[-1] == 'disconnected'
        assert client.read_status() == 101
        assert client.read() == GOING_AWAY
        assert other.read_until_end() == b''


# -- leaving the loop --

def test_break_breaks_all_connections_and_the_next_loop_goes_on_listening():
    with Served() as served:
        client, websocket = served.connect()
        served.loop.close()
        assert client.read_until_end() == b''
        assert websocket.is_closed and served.server.connections == []
        waiting = served.dial()         # nobody iterates: the system accepts it
        for again, event in served.server:
            assert event.name == 'ready' and again is not websocket
            break
        assert waiting.read_status() == 101
        assert waiting.read_until_end() == b''
        served.loop = served.server.polling(0.01)
        served.connect()


def test_break_frees_connections_that_were_accepted_and_not_looked_at_yet():
    """The listening socket is ready first, and a client's in the same moment."""
    with Served() as served:
        for _ in range(5):
            client, websocket = served.connect()
            served.poll()
            waiting = served.dial()
            client.send(1, b'x')
            assert served.wait_for('text')[0] is websocket
            served.loop.close()
            waiting.close()
            served.loop = served.server.polling(0.01)


class Mishap(Exception):
    """What a body raises."""


@pytest.mark.parametrize('error', [Mishap, KeyboardInterrupt])
def test_an_exception_in_the_body_goes_through_and_leaving_with_stops_listening(error):
    with pytest.raises(error):
        with Server(threads=False) as server:
            client = Client((server.host, server.port))
            for _websocket, event in server:
                assert event.name == 'ready'
                raise error()
    assert client.read_status() == 101
    assert client.read_until_end() in (b'', b'\x88\x16' + GOING_AWAY[1])
    client.close()
    assert is_refused((server.host, server.port))


def test_leaving_with_after_break_sends_1001_and_breaks_the_connections():
    with Server(threads=False) as server:
        client = Client((server.host, server.port))
        loop = iter(server)
        websocket, _event = next(loop)
    assert client.read_status() == 101
    assert client.read() == GOING_AWAY
    assert client.read_until_end() == b''
    assert websocket.is_closed and list(loop) == []
    client.close()


@pytest.mark.parametrize('is_busy', [False, True], ids=['it waits', 'in its body'])
@pytest.mark.parametrize('begins', ['there', 'here'])
def test_leaving_with_while_another_thread_iterates_closes_and_lets_that_go_on_to_the_end(
        is_busy, begins):
    def iterate():
        for _websocket, event in iterator:
            seen.append(event.name)
            if is_busy and event.name == 'ready':
                is_ready.set()
                may_go_on.wait(PATIENCE)

    seen = []
    is_ready, may_go_on = threading.Event(), threading.Event()
    with Server(threads=False) as server:
        iterator = iter(server) if begins == 'here' else server
        loop = Background(iterate)
        client = Client((server.host, server.port))
        assert client.read_status() == 101
        if is_busy:
            assert is_ready.wait(PATIENCE)
    assert client.read() == GOING_AWAY
    client.sock.sendall(make_close(1001, key=b'\0' * 4))
    may_go_on.set()
    loop.result()
    client.close()
    assert seen == ['ready', 'closed', 'disconnected']


# -- Ctrl-C --

def interrupt(moment):
    """Serve two clients until it is interrupted, then serve them; return whether it was."""
    tracer = LineTracer([_serving], moment)
    with Served() as served:
        served.dial()
        served.dial(b'GET')
        served.loop = served.server.polling(0.01)
        try:
            with tracer:
                served.wait_for('ready')
                served.server.broadcast(u'x')
        except KeyboardInterrupt:
            pass
        served.loop.close()
        assert served.server.connections == []
        served.loop = served.server.polling(0.01)
        served.connect()
    return tracer.has_acted


@needs_proc
@needs_refcounts
def test_ctrl_c_at_any_line_leaves_nothing_open_and_the_next_loop_serves():
    gc.collect()        # of other tests
    before = count_descriptors()
    moment = 1
    # Python can't protect a socket that Ctrl-C meets just when it was accepted: that is closed, but
    # with a ResourceWarning.
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        while interrupt(moment):
            assert count_descriptors() == before, moment
            moment += 1
    assert moment > 50


# -- forks --

FORKS = """
import os, signal, socket, sys, warnings
from lomond.server import Server
from tests.network.one_thread import Client
warnings.simplefilter('ignore', DeprecationWarning)

server = Server(threads=False, ping_rate=0)
client = Client((server.host, server.port))
loop = iter(server)
websocket, event = next(loop)
assert event.name == 'ready'
assert client.read_status() == 101
child = os.fork()
if child == 0:
    signal.alarm({patience})
    {ending}
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert server.broadcast(u'still here') == 1
assert client.read() == (1, b'still here')
another = Client((server.host, server.port))
assert next(loop)[1].name == 'ready'
server.close()
assert client.read()[0] == 8
client.close()
another.close()
print([event.name for _websocket, event in loop])
"""


@needs_fork
@pytest.mark.parametrize('ending', [
    'server.close()',
    'server.close(); server.close()',
    'loop.close()',
    'server.__exit__(None, None, None)',
    'assert list(loop) == []',
    'server.close(); assert list(loop) == []',
    'server.remove(websocket); server.close()',
    'del loop, server, websocket, event',
    'sys.exit()',
])
def test_what_a_forked_child_does_leaves_the_parents_connections_and_socket_alone(ending):
    assert run_program(FORKS.format(ending=ending, patience=int(PATIENCE))) == str(
        ['disconnected'] * 2) + '\n'


# -- descriptors --

@needs_proc
def test_without_descriptors_it_serves_what_is_open_waits_and_then_accepts_the_rest(
        monkeypatch, caplog):
    """40 descriptors, 80 clients."""
    waits = []
    wait = Waiter.wait

    def counting(waiter, timeout):
        waits.append(timeout)
        return wait(waiter, timeout)

    def logged():
        return [record for record in caplog.records if record.levelno >= logging.WARNING]

    with caplog.at_level(logging.WARNING, 'lomond'), Served() as served:
        served.poll()       # the loop has begun
        socks = [socket.socket() for _ in range(80)]
        try:
            with few_descriptors(40):
                for sock in socks:
                    sock.settimeout(PATIENCE)
                    sock.connect((served.server.host, served.server.port))
                    sock.sendall(UPGRADE + b'\r\n')
                served.poll(5)
                assert served.count('ready') == 40
                monkeypatch.setattr(Waiter, 'wait', counting)
                served.poll(20)
                # Its own Poll, and every 0.1 s another attempt to accept: some 25.
                assert len(waits) < 60
                assert served.server.broadcast(u'x') == 40
                for websocket in served.server.connections[:10]:
                    served.server.remove(websocket)
                served.wait_for('ready', 10)
            served.wait_for('ready', 30)
            served.poll()
            assert len(served.server.connections) == 70
            assert len(logged()) == 1
            assert 'Too many open files' in caplog.text
        finally:
            for sock in socks:
                sock.close()
