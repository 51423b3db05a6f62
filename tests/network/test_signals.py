"""Signals: handlers that return, handlers that raise, in the midst of a send or a wait."""

from __future__ import absolute_import, division, print_function

import os
import signal
import threading

import pytest

from lomond import WebSocket, errors
from lomond.persist import persist
from lomond.server import Server
from lomond.testing import Inside
from tests.network.driving import (
    Background,
    read_to_close,
    run_program,
    wait_for,
    wait_until_sending,
)
from tests.support import RawServer, answer_upgrade, make_close, make_frame, names, read_frame

pytestmark = pytest.mark.skipif(not hasattr(signal, 'SIGUSR1'), reason='there is no SIGUSR1')

# More than the system buffers for a peer that reads nothing.
HUGE = b'x' * (12 * 1024 * 1024)


class Handler(object):
    """What SIGUSR1 does: it calls ``function``, the first time."""

    def __init__(self, function):
        self._function = function
        self.is_called = threading.Event()

    def __call__(self, _signum, _frame):
        if not self.is_called.is_set():
            self.is_called.set()
            self._function()

    def provoke(self):
        """Send the signal until it is handled.

        One that comes just before a system call doesn't interrupt that: Python
        calls the handler afterwards.
        """
        while not self.is_called.wait(0.01):
            os.kill(os.getpid(), signal.SIGUSR1)


@pytest.fixture
def on_signal():
    """Set what SIGUSR1 does, for the time of a test."""
    before = signal.getsignal(signal.SIGUSR1)

    def on_signal(function):
        handler = Handler(function)
        signal.signal(signal.SIGUSR1, handler)
        return handler

    yield on_signal
    signal.signal(signal.SIGUSR1, before)


class Mishap(Exception):
    """What a handler raises, as that of Ctrl-C does."""


def interrupt_send(websocket, handler):
    """Send much in this thread, and the signal once that is blocked."""
    def helper():
        wait_until_sending(websocket)
        handler.provoke()

    background = Background(helper)
    try:
        websocket.send_binary(HUGE)
    finally:
        background.result()


def test_a_handler_that_closes_in_the_midst_of_a_send_does_not_block(on_signal):
    """The Close frame goes out after the frame that it interrupted, with its code."""
    is_done = threading.Event()
    frames = []

    def script(sock):
        answer_upgrade(sock)
        wait_for(is_done)
        frames.extend(read_to_close(sock))
        sock.sendall(make_close(1001))

    with RawServer(script) as server:
        websocket = WebSocket(server.url, fragment_size=None)

        def terminate():
            websocket.close(1001, u'terminated')
            websocket.close(1002, u'again')
            with pytest.raises(errors.WebSocketUnavailable):
                websocket.send_text(u'x')
            with pytest.raises(errors.WebSocketUnavailable):
                websocket.session.write(b'x')
            is_done.set()

        handler = on_signal(terminate)
        events = []
        for event in websocket:
            events.append(event)
            if event.name == 'ready':
                interrupt_send(websocket, handler)
    assert [(first, len(payload)) for first, payload in frames] == [
        (0x82, len(HUGE)), (0x88, 12)]
    assert frames[1][1] == b'\x03\xe9terminated'
    assert names(events)[3:] == ['closed', 'disconnected']
    assert events[-1].graceful


def test_a_handler_that_breaks_the_connection_frees_the_send_that_it_interrupted(on_signal):
    may_end = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(may_end)

    with RawServer(script) as server:
        websocket = WebSocket(server.url, write_timeout=None)
        handler = on_signal(websocket.force_disconnect)
        events = []
        for event in websocket:
            events.append(event)
            if event.name == 'ready':
                with pytest.raises(errors.TransportFail):
                    interrupt_send(websocket, handler)
        may_end.set()
    assert names(events)[3:] == ['disconnected']
    assert not events[-1].graceful


def test_a_handler_that_raises_in_the_midst_of_a_send_ends_the_connection(on_signal):
    """Even if the body catches that: the frame is torn, so nothing may follow it."""
    may_end = threading.Event()

    def fail():
        raise Mishap()

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'arrived'))
        wait_for(may_end)

    handler = on_signal(fail)
    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        events = []
        for event in websocket:
            events.append(event)
            if event.name == 'ready':
                with pytest.raises(Mishap):
                    interrupt_send(websocket, handler)
                with pytest.raises(errors.TransportFail):
                    websocket.send_text(u'x')
                websocket.close()
        may_end.set()
    assert names(events)[3:] == ['text', 'disconnected']
    assert not events[-1].graceful
    assert 'interrupted' in events[-1].reason


def test_a_handler_that_raises_while_a_message_is_compressed_ends_the_connection(on_signal):
    """The peer would miss what the deflate stream refers to from then on."""
    def fail():
        raise Mishap()

    def script(sock):
        answer_upgrade(sock, b'Sec-WebSocket-Extensions: permessage-deflate')
        with pytest.raises(EOFError):
            read_frame(sock)

    handler = on_signal(fail)
    with RawServer(script) as server:
        websocket = WebSocket(server.url, compress=True)
        is_compressing = threading.Event()

        def send():
            compress = websocket.stream.encoder.deflate.compress
            websocket.stream.encoder.deflate.compress = \
                lambda data: is_compressing.set() or compress(data)
            websocket.send_binary(os.urandom(1024 * 1024) * 8)

        events = []
        for event in websocket:
            events.append(event)
            if event.name == 'ready':
                background = Background(lambda: wait_for(is_compressing) or handler.provoke())
                with pytest.raises(Mishap):
                    send()
                background.result()
                with pytest.raises(errors.TransportFail):
                    websocket.send_text(u'x')
    assert names(events)[3:] == ['disconnected']
    assert 'interrupted' in events[-1].reason


def test_a_handler_that_closes_the_iterator_in_the_midst_of_a_send(on_signal):
    """The send still has the socket: it is freed once that has failed."""
    may_end = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(may_end)

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        loop = websocket.connect()
        while next(loop).name != 'ready':
            pass
        handler = on_signal(loop.close)
        with pytest.raises(errors.TransportFail):
            interrupt_send(websocket, handler)
        assert list(loop) == []
        assert websocket.is_closed
        may_end.set()


@pytest.mark.parametrize('call', ['close', 'force_disconnect'])
def test_a_handler_that_ends_it_while_the_loop_waits(on_signal, call):
    def script(sock):
        answer_upgrade(sock)
        frames = read_to_close(sock)
        sock.sendall(make_frame(8, frames[-1][1]))

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        handler = on_signal(getattr(websocket, call))
        events = []
        for event in websocket.connect(poll=None, ping_rate=0):
            events.append(event)
            if event.name == 'poll':
                background = Background(handler.provoke)
        background.result()
    assert events[-1].name == 'disconnected'
    assert events[-1].graceful is (call == 'close')


@pytest.mark.parametrize('call', ['recv', 'pending'])
def test_a_handler_that_closes_in_the_midst_of_reading_tls_does_not_block(
        on_signal, call, server_tls, authority_file):
    """OpenSSL takes no second call in the midst of one: the Close frame goes out after it.

    Nor may the handler wait for another thread's send, which waits for OpenSSL.
    """
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'hi'))
        frames.extend(read_to_close(sock))
        sock.sendall(make_frame(8, frames[-1][1]))

    frames, senders = [], []
    with RawServer(script, ssl_context=server_tls) as server:
        websocket = WebSocket(server.url, ssl_cafile=authority_file, proxies={})
        handler = on_signal(lambda: websocket.close(1001, u'terminated'))
        events = []
        for event in websocket.connect(poll=0.01, ping_rate=0):
            events.append(event)
            if event.name == 'ready':
                sock = Inside(websocket).sock
                original = getattr(sock, call)

                def interrupted(*args):
                    if not senders:
                        senders.append(Background(websocket.send_text, u'x'))
                        while websocket.session.writer.lock.acquire(False):
                            websocket.session.writer.lock.release()
                        handler.provoke()
                    return original(*args)      # noqa: B023
                setattr(sock, call, interrupted)
        senders[0].result()
    assert frames == [(0x81, b'x'), (0x88, b'\x03\xe9terminated')]
    assert names(events)[3:] == ['text', 'closed', 'disconnected']
    assert events[-1].graceful


def test_a_handler_that_sends_in_the_midst_of_reading_tls_is_refused(
        on_signal, server_tls, authority_file):
    def script(sock):
        answer_upgrade(sock)
        frames.extend(read_to_close(sock))
        sock.sendall(make_close(1000))

    def send():
        for method in (websocket.send_text, lambda text: websocket.send_many([text])):
            with pytest.raises(errors.WebSocketUnavailable):
                method(u'x')
        websocket.close()

    frames = []
    with RawServer(script, ssl_context=server_tls) as server:
        websocket = WebSocket(server.url, ssl_cafile=authority_file, proxies={})
        handler = on_signal(send)
        for event in websocket.connect(poll=0.01, ping_rate=0):
            if event.name == 'ready':
                sock = Inside(websocket).sock
                recv = sock.recv
                sock.recv = lambda *args: handler.provoke() or recv(*args)     # noqa: B023
    assert [first for first, _payload in frames] == [0x88]
    assert event.graceful


def test_a_handler_that_returns_disturbs_no_send(on_signal):
    frames = []

    def script(sock):
        answer_upgrade(sock)
        wait_for(handler.is_called)
        frames.append(read_frame(sock))
        sock.sendall(make_close(1000))
        read_to_close(sock)

    handler = on_signal(lambda: None)
    with RawServer(script) as server:
        websocket = WebSocket(server.url, fragment_size=None)
        events = []
        for event in websocket:
            events.append(event)
            if event.name == 'ready':
                interrupt_send(websocket, handler)
    assert frames == [(0x82, HUGE)]
    assert names(events)[3:] == ['closing', 'disconnected']


def test_a_handler_that_returns_disturbs_no_wait(on_signal):
    def script(sock):
        answer_upgrade(sock)
        wait_for(handler.is_called)
        sock.sendall(make_frame(1, b'hi') + make_close(1000))
        read_to_close(sock)

    handler = on_signal(lambda: None)
    with RawServer(script) as server:
        events = []
        for event in WebSocket(server.url).connect(poll=None, ping_rate=0):
            events.append(event)
            if event.name == 'poll':
                background = Background(handler.provoke)
        background.result()
    assert names(events)[3:] == ['text', 'closing', 'disconnected']


def test_a_handler_that_closes_a_server_waits_for_no_thread_that_waits_for_it(on_signal):
    """In the midst of taking in a connection, while there is another one."""
    class Size(object):
        def __index__(self):
            if threading.current_thread() is serving and server.connections:
                handler.provoke()
            return 1000

    def close():
        server.close()
        left.append(server.connections)

    def connect():
        for event in WebSocket(server.url):
            if event.name == 'ready':
                list(WebSocket(server.url))

    serving, left = None, []
    server = Server(list, max_message_size=Size(), close_timeout=2)
    serving = threading.current_thread()
    handler = on_signal(close)
    background = Background(connect)
    server.serve_forever()
    background.result()
    assert left == [[]]


@pytest.mark.parametrize('moment', ['accepting', 'waiting'])
def test_a_handler_that_closes_a_server_in_the_midst_of_its_work(on_signal, moment):
    class Size(object):
        """Looked at while a connection is taken in."""

        def __index__(self):
            if moment == 'accepting' and threading.current_thread() is serving:
                handler.provoke()
            return 1000

    serving = None
    server = Server(list, max_message_size=Size(), close_timeout=5)
    serving = threading.current_thread()
    handler = on_signal(server.close)
    act = handler.provoke if moment == 'waiting' else lambda: list(WebSocket(server.url))
    background = Background(act)
    server.serve_forever()
    background.result()
    assert handler.is_called.is_set()


def test_serve_forever_waits_for_no_descriptor_that_a_handler_has_closed():
    """Its number may be another socket's, which is never ready, when the wait goes on."""
    assert run_program(CLOSED_BY_A_HANDLER) == 'returned\n'


# The handler's thread gets the numbers of all that the server has closed.
CLOSED_BY_A_HANDLER = '''
import os, signal, socket, threading
from lomond import WebSocket
from lomond.server import Server

def serve(websocket):
    list(websocket)
    kept.extend(socket.socketpair() for _ in range(8))
    may_return.set()

def terminate(_signum, _frame):
    if not is_called.is_set():
        is_called.set()
        server.close()
        may_return.wait()

def connect():
    for event in WebSocket(server.url):
        if event.name == 'ready':
            while not is_called.wait(0.01):
                os.kill(os.getpid(), signal.SIGUSR1)

kept, is_called, may_return = [], threading.Event(), threading.Event()
server = Server(serve)
signal.signal(signal.SIGUSR1, terminate)
client = threading.Thread(target=connect)
client.start()
server.serve_forever()
print('returned')
client.join()
'''


def test_reconnect_now_in_a_handler_ends_the_back_off_of_persist(on_signal, dead_port):
    websocket = WebSocket('ws://127.0.0.1:{}/'.format(dead_port))
    attempts = []
    handler = on_signal(websocket.reconnect_now)
    for event in persist(websocket, min_wait=100000, max_wait=100000):
        if event.name == 'back_off':
            attempts.append(event)
            if len(attempts) == 2:
                break
            provoker = Background(handler.provoke)
    provoker.result()
