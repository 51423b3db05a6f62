"""A server with one thread: what it yields, what it refuses, whom it keeps waiting, broadcast."""

from __future__ import absolute_import, division, print_function

import logging
import os
import select
import socket
import struct
import threading
import zlib

import pytest

from lomond import WebSocket, errors
from lomond.net.waiter import Waiter
from lomond.pool import Pool
from lomond.protocol import accel
from lomond.server import Refusal, Server
from lomond.testing import Inside
from tests.network.driving import Background, count_steps
from tests.network.one_thread import UPGRADE, Served
from tests.support import PATIENCE

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

HUNDREDS = 300

DEFLATE = b'Sec-WebSocket-Extensions: permessage-deflate'


def reset(client):
    """End TCP by a reset."""
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    client.close()


# -- what it is there for --

def chat(url, count, **options):
    """Connect so many clients, have a message of each echoed, close; return the messages."""
    pool = Pool()
    for number in range(count):
        pool.add(WebSocket(url, proxies={}, **options), tag=u'message {}'.format(number))
    texts = []
    for websocket, event in pool:
        if event.name == 'ready':
            websocket.send_text(websocket.tag)
        elif event.name == 'text':
            assert event.text == websocket.tag
            texts.append(event.text)
            websocket.close()
        elif event.name == 'disconnected':
            assert event.graceful, event
    return texts


@pytest.mark.parametrize('compress', [False, True], ids=['plain', 'compressed'])
@pytest.mark.parametrize('scheme', ['ws', 'wss', 'ws+unix'])
def test_it_echoes_for_hundreds_of_clients_in_one_thread(
        scheme, compress, server_tls, authority_file, folder):
    server_options, options = {'compress': compress}, {'compress': compress}
    if scheme == 'wss':
        server_options['ssl_context'] = server_tls
        options['ssl_cafile'] = authority_file
    elif scheme == 'ws+unix':
        if not hasattr(socket, 'AF_UNIX'):
            pytest.skip('there are no Unix sockets here')
        server_options['unix_path'] = os.path.join(folder, u'feed')
    with Server(threads=False, max_connections=HUNDREDS, **server_options) as server:
        assert server.url.startswith(scheme + ':')
        clients = Background(chat, server.url, HUNDREDS, **options)
        ended = []
        threads = set()
        for websocket, event in server:
            threads.add(threading.current_thread())
            if event.name == 'text':
                websocket.send_text(event.text)
            elif event.name == 'disconnected':
                ended.append(event.graceful)
                if len(ended) == HUNDREDS:
                    break
        assert len(set(clients.result())) == HUNDREDS
    assert ended == [True] * HUNDREDS
    assert len(threads) == 1


def test_each_connections_events_are_those_of_a_handler_from_ready_to_disconnected():
    with Served(protocols=[u'chat']) as served:
        client, websocket = served.connect()
        client.send(1, b'text')
        client.send(2, b'binary')
        client.send(9, b'ping')
        client.send(8, struct.pack('!H', 1000))
        served.wait_for('disconnected')
        assert [client.read()[0] for _ in range(2)] == [10, 8]
        assert served.names_of(websocket) == [
            'ready', 'text', 'binary', 'ping', 'closing', 'disconnected']
        assert served.seen[-1][1].graceful


def test_ready_has_the_clients_request_as_its_response():
    with Served() as served:
        served.connect()
        websocket, event = served.seen[0]
        assert event.response is websocket.request
        assert (event.response.path, event.response.query) == ('/feed', 'a=b')
        assert event.response.get('Host') == 'localhost'


def test_what_came_with_the_request_is_not_lost():
    with Served() as served:
        served.dial(UPGRADE + b'\r\n' + b'\x81\x82\0\0\0\0hi')
        assert served.wait_for('text')[1].text == u'hi'


def test_the_loops_poll_belongs_to_no_connection_and_these_have_none_of_their_own():
    with Served() as served:
        _client, websocket = served.connect()
        pairs = []
        while [pair[1].name for pair in pairs].count('poll') < 3:
            pairs.append(next(served.loop))
        assert {pair[0] for pair in pairs} == {None}
        assert served.names_of(websocket) == ['ready']


def test_connections_are_those_that_are_there_now():
    with Served() as served:
        assert served.server.connections == []
        _client, websocket = served.connect()
        assert served.server.connections == [websocket]
        websocket.force_disconnect()
        served.wait_for('disconnected')
        served.run(lambda: not served.server.connections)


def test_it_pings_and_a_silent_client_is_unresponsive_then_disconnected():
    with Served(ping_rate=0.05, ping_timeout=0.2) as served:
        client, websocket = served.connect()
        served.wait_for('disconnected')
        assert client.read()[0] == 9
        assert served.names_of(websocket) == ['ready', 'unresponsive', 'disconnected']


# -- what it refuses --

def test_more_than_max_connections_are_answered_with_503_and_an_end_lets_another_in():
    with Served(max_connections=2) as served:
        _client, websocket = served.connect()
        served.connect()
        refused = served.dial()
        served.run(refused.is_answered)
        assert b' 503 ' in refused.read_until_end()
        websocket.force_disconnect()
        served.wait_for('disconnected')
        served.connect()
        assert served.count('ready') == 3


@pytest.mark.parametrize('is_secure, data', [
    (False, b''), (False, b'GET / HTTP/1.1\r\nHost: x'), (True, b''), (True, b'\x16\x03\x01\2\0'),
], ids=['silence', 'half a head', 'silence over TLS', 'half a record of TLS'])
def test_a_client_without_a_request_counts_until_handshake_timeout_cuts_it(
        data, is_secure, server_tls, caplog):
    with caplog.at_level(logging.DEBUG, 'lomond'), Served(
            max_connections=1, handshake_timeout=0.3,
            ssl_context=server_tls if is_secure else None) as served:
        slow, refused = served.dial(data), served.dial()
        served.run(lambda: served.server.connections)
        assert (b' 503 ' in refused.read_until_end()) == (not is_secure)
        served.run(lambda: not served.server.connections)
        assert slow.read_until_end() == b''
        if not is_secure:
            served.connect()
        assert served.count('ready') == len(served.seen)
    assert 'handshake_timeout' in caplog.text or 'timed out' in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


@pytest.mark.parametrize('request_, status', [
    (b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n', b' 426 '),
    (b'POST / HTTP/1.1\r\nHost: localhost\r\n\r\n', b' 405 '),
    (b'nonsense\r\n\r\n', b' 400 '),
    (b'', b''),
])
def test_a_handshake_that_fails_is_logged_as_debug_and_yields_nothing(caplog, request_, status):
    with caplog.at_level(logging.DEBUG, 'lomond'), Served() as served:
        client = served.dial(request_)
        client.sock.shutdown(socket.SHUT_WR)
        served.run(lambda: 'ServerWebSocket' in caplog.text and not served.server.connections)
        assert status in client.read_until_end()
        assert served.seen == []
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


def test_bytes_that_are_no_tls_are_answered_and_yield_nothing(server_tls):
    with Served(ssl_context=server_tls) as served:
        client = served.dial()
        served.run(client.is_answered)
        assert b' 400 ' in client.read_until_end()
        assert served.seen == []


def fail(_request):
    raise ValueError('broken')


@pytest.mark.parametrize('options, status', [
    ({'origins': [u'https://example.org']}, 403),
    ({'on_request': lambda request: Refusal(404) if request.path == '/feed' else None}, 404),
    ({'on_request': fail}, 500),
    ({'origins': fail}, 500),
], ids=['origins', 'on_request', 'on_request raises', 'origins raises'])
def test_a_request_that_is_refused_yields_nothing_and_the_others_go_on(caplog, options, status):
    with caplog.at_level(logging.ERROR, 'lomond'), Served(**options) as served:
        refused = served.dial(UPGRADE + b'Origin: https://evil.example\r\n\r\n')
        served.run(refused.is_answered)
        assert refused.read_status() == status
        assert served.seen == []
    assert ('broken' in caplog.text) == (status == 500)


def test_on_request_is_called_in_the_thread_of_the_loop():
    threads = []

    def note(_request):
        threads.append(threading.current_thread())

    with Served(on_request=note) as served:
        served.connect()
    assert threads == [threading.current_thread()]


# -- fairness, and clients that don't read --

def test_a_client_that_floods_takes_one_step_for_each_step_of_another():
    with Served() as served:
        noisy, flooded = served.connect()
        quiet, websocket = served.connect()
        noisy.sock.settimeout(0.1)
        try:
            while True:
                noisy.sock.sendall(b'\x81\x81\0\0\0\0x' * 10000)
        except socket.error:        # all buffers are full
            pass
        steps = []
        count_steps(flooded.session, steps)
        for number in range(5):
            quiet.send(1, b'x')
            assert select.select([Inside(websocket).sock], [], [], PATIENCE)[0]
            while next(served.loop)[0] is not websocket:
                pass
            assert number <= len(steps) <= 2 * (number + 1)


def test_a_client_that_does_not_read_delays_nobody_and_is_ended_by_write_timeout():
    with Served(max_queue=None, write_timeout=0.5) as served:
        _deaf, stuck = served.connect(receive_buffer=4096)
        client, websocket = served.connect()
        stuck.send_binary(b'x' * (8 * 1024 * 1024))
        assert stuck.session.writer.has_unsent
        client.send(1, b'x')
        while not stuck.is_closed:
            event = served.turn()
            if event is not None and event.name == 'text':
                websocket.send_text(u'y')
                assert client.read() == (1, b'y')
                client.send(1, b'x')
        assert served.names_of(stuck) == ['ready', 'disconnected']
        last = [event for owner, event in served.seen if owner is stuck][-1]
        assert not last.graceful and 'write timed out' in last.reason
        assert last.unsent == 1


def stall(websocket):
    """Send a message that the system's buffers are too small for: all others wait behind it."""
    Inside(websocket).sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    websocket.send_binary(b'x' * 900000)
    assert websocket.session.writer.has_unsent


@pytest.mark.parametrize('overflow, taken, dropped', [
    ('raise', 3, 0), ('block', 3, 0), ('drop_oldest', 10, 7), ('latest', 10, 9)])
def test_what_is_beyond_max_queue_is_refused_or_dropped_and_never_waits(overflow, taken, dropped):
    with Served(max_queue=1000000, overflow=overflow) as served:
        _client, websocket = served.connect(receive_buffer=4096)
        stall(websocket)
        for _ in range(10):
            try:
                websocket.send_binary(b'y' * 300000)
                taken -= 1
            except errors.OutboxFull:
                pass
        assert (taken, websocket.stats.dropped) == (0, dropped)


# -- waiting --

@pytest.fixture
def waits(monkeypatch):
    """A list that each wait of the loop adds to."""
    waits = []
    wait = Waiter.wait

    def counting(waiter, timeout):
        if not 0 < timeout < 0.001:     # until 2.7's clock, of 10 ms, goes on
            waits.append(timeout)
        return wait(waiter, timeout)

    monkeypatch.setattr(Waiter, 'wait', counting)
    return waits


@pytest.mark.parametrize('is_unix', [False, True], ids=['tcp', 'unix'])
@pytest.mark.parametrize('end', ['reset', 'half-close', 'silence'])
@pytest.mark.parametrize('phase', ['head', 'full', 'closing'])
def test_it_does_not_spin_whatever_a_connection_waits_for(waits, folder, is_unix, end, phase):
    """For the request, for a client that doesn't read, for its Close."""
    options = {'unix_path': folder + u'/feed'} if is_unix else {}
    with Served(max_queue=None, **options) as served:
        client = served.dial(UPGRADE)
        served.run(lambda: served.server.connections)
        websocket, = served.server.connections
        if phase != 'head':
            client.sock.sendall(b'\r\n')
            served.wait_for('ready')
        if phase == 'full':
            websocket.send_binary(b'x' * (8 * 1024 * 1024))
        elif phase == 'closing':
            websocket.close()
        served.poll()
        if end == 'reset':
            reset(client)
        elif end == 'half-close':
            client.sock.shutdown(socket.SHUT_WR)
        del waits[:]
        served.poll(10)
        assert len(waits) < 60
        assert (websocket.is_closed or phase == 'head') == (end != 'silence' or phase == 'head')


def test_a_descriptor_that_was_closed_by_mistake_ends_its_connection_only():
    with Served() as served:
        _client, broken = served.connect()
        client, whole = served.connect()
        sock = Inside(broken).sock
        os.close(sock.fileno())
        with pytest.raises(errors.TransportFail):
            broken.send_text(u'x')
        served.wait_for('disconnected')
        assert served.seen[-1][0] is broken
        client.send(1, b'x')
        assert served.wait_for('text')[0] is whole
        if hasattr(sock, 'detach'):
            sock.detach()       # its number is another's by now


# -- remove --

def test_a_connection_that_is_removed_has_no_event_more_and_its_client_sees_no_close_frame():
    with Served(max_connections=1) as served:
        client, websocket = served.connect()
        client.send(1, b'one')
        client.send(1, b'two')
        served.wait_for('text')
        assert served.server.remove(websocket)
        assert not served.server.remove(websocket)
        assert websocket.is_closed
        with pytest.raises(errors.WebSocketClosed):
            websocket.send_text(u'x')
        served.connect()        # its place is free
        assert client.read_until_end() == b''
        assert served.names_of(websocket) == ['ready', 'text']


# -- broadcast --

def test_a_broadcast_goes_to_all_that_are_open_or_to_those_that_are_named():
    with Served() as served:
        assert served.server.broadcast(u'nobody') == 0
        pairs = [served.connect() for _ in range(3)]
        served.dial(b'')
        served.run(lambda: len(served.server.connections) == 4)
        stranger = WebSocket(u'ws://localhost/')
        assert served.server.broadcast(u'text') == 3
        assert served.server.broadcast(b'bytes') == 3
        assert served.server.broadcast(u'some', [pairs[0][1], stranger]) == 1
        pairs[1][1].close()
        pairs[2][0].send(8, struct.pack('!H', 1000))
        served.wait_for('closing')
        assert served.server.broadcast(u'last') == 2        # Closing: sending is still allowed
        served.wait_for('disconnected')
        assert served.server.broadcast(u'last') == 1
        assert [pairs[0][0].read() for _ in range(5)] == [
            (1, b'text'), (2, b'bytes'), (1, b'some'), (1, b'last'), (1, b'last')]
        assert [client.read()[0] for client, _websocket in pairs[1:] for _ in range(3)] == [
            1, 2, 8, 1, 2, 1]


def test_a_broadcast_from_a_thread_reaches_all_while_the_loop_waits():
    with Served() as served:
        clients = [served.connect()[0] for _ in range(3)]
        server = served.server
        loop = Background(list, served.loop)
        assert Background(server.broadcast, u'x').result() == 3
        assert [client.read() for client in clients] == [(1, b'x')] * 3
        server.close()
        for client in clients:
            assert client.read()[0] == 8
            client.close()
        loop.result()


def test_a_broadcast_from_a_signals_handler_reaches_all(alarm):
    with Served() as served:
        clients = [served.connect()[0] for _ in range(3)]
        counts = []
        alarm(lambda: counts.append(served.server.broadcast(u'x')))
        served.run(lambda: counts)
        assert counts == [3]
        assert [client.read() for client in clients] == [(1, b'x')] * 3


@pytest.mark.parametrize('end', [
    lambda server, websocket: websocket.close(),
    lambda server, websocket: websocket.force_disconnect(),
    lambda server, websocket: server.remove(websocket),
], ids=['close', 'force_disconnect', 'remove'])
@pytest.mark.parametrize('where', ['loop', 'thread', 'handler'])
def test_members_that_end_or_overflow_while_a_broadcast_goes_on_disturb_it_by_nothing(
        alarm, end, where):
    """Every fourth ends during it, every fourth doesn't read."""
    with Served() as served:
        pairs = [served.connect(receive_buffer=4096) for _ in range(12)]
        for _client, websocket in pairs[1::4]:
            fill(websocket)
        ended = [websocket for _client, websocket in pairs[::4]]

        def walk():
            for _client, websocket in pairs:
                if websocket in ended:
                    end(served.server, websocket)
                yield websocket

        counts = []

        def broadcast():
            counts.append(served.server.broadcast(b'y' * 900))
            counts.append(served.server.broadcast(b'y' * 900, walk()))
            counts.append(served.server.broadcast(b'y' * 900))

        if where == 'thread':
            Background(broadcast).result()
        elif where == 'handler':
            alarm(broadcast)
            served.run(lambda: counts)
        else:
            broadcast()
        assert counts == [9, 6, 6]
        for client, _websocket in pairs[2::4] + pairs[3::4]:
            assert [client.read() for _ in range(3)] == [(2, b'y' * 900)] * 3


def fill(websocket):
    """Fill a queue, which stays full."""
    stall(websocket)
    with pytest.raises(errors.OutboxFull):
        while True:
            websocket.send_binary(b'x' * 900)


OFFERS = [
    b'', DEFLATE, DEFLATE + b'; server_max_window_bits=9',
    DEFLATE + b'; server_no_context_takeover',
    DEFLATE + b'; server_no_context_takeover; server_max_window_bits=9']


@pytest.mark.parametrize('size', [0, 120, 4096, 200000])
def test_a_broadcast_is_the_same_message_however_a_client_has_it_compressed(size):
    """For all that keep no window it is deflated once, for each size of the window."""
    with Served(compress=True, max_queue=None) as served:
        clients = []
        for offer in OFFERS * 2:
            clients.append(served.dial(UPGRADE + (offer + b'\r\n' if offer else b'') + b'\r\n'))
            served.wait_for('ready')
            assert clients[-1].read_status() == 101
        text = (u'0123456789 {}'.format(list(range(size)))[:size])
        reader = Background(lambda: [
            [read_message(client, offer) for _ in range(2)]
            for client, offer in zip(clients, OFFERS * 2)])
        for _ in range(2):
            assert served.server.broadcast(text) == len(clients)
        served.run(lambda: not reader.thread.is_alive())
        assert reader.result() == [[text.encode('ascii')] * 2] * len(clients)
        traffic = {(websocket.stats.sent.messages, websocket.stats.sent.payload_bytes)
                   for websocket in served.server.connections}
        assert traffic == {(2, 2 * size)}


def read_message(client, offer):
    """Return a message's payload, inflated."""
    opcode, data = client.read()
    assert opcode == 1
    if not offer:
        return data
    if not hasattr(client, 'inflater') or b'no_context' in offer:
        client.inflater = zlib.decompressobj(-9 if b'bits=9' in offer else -15)
    return client.inflater.decompress(data + b'\0\0\xff\xff')


class CountingZlib(object):
    """zlib, and which of its windows were allocated."""

    error = zlib.error

    def __init__(self):
        self.made = []

    def compressobj(self, *args):
        self.made.append('deflate')
        return zlib.compressobj(*args)

    def decompressobj(self, *args):
        self.made.append('inflate')
        return zlib.decompressobj(*args)


def test_a_connection_has_no_deflate_windows_before_its_first_message():
    library = CountingZlib()
    before = accel.use_zlib(library)
    try:
        with Served(compress=True) as served:
            client = served.dial(UPGRADE + DEFLATE + b'\r\n\r\n')
            websocket, _event = served.wait_for('ready')
            client.send(1, b'not compressed')
            served.wait_for('text')
            websocket.send_text(u'x', compress=False)
            assert library.made == []
            websocket.send_text(u'x')
            assert library.made == ['deflate']
    finally:
        accel.use_zlib(before)


# -- wrong use --

@pytest.mark.parametrize('call, words', [
    (iter, 'use Server(threads=False)'),
    (lambda server: server.polling(1), 'use Server(threads=False)'),
    (lambda server: server.broadcast(u'x'), 'use Server(threads=False)'),
    (lambda server: server.remove(None), 'use Server(threads=False)'),
])
def test_a_server_with_threads_has_no_loop_and_says_so(call, words):
    server = Server(bool)
    with pytest.raises(TypeError) as caught:
        call(server)
    assert words in str(caught.value)
    server.close()


@pytest.mark.parametrize('options, words', [
    ({'handler': bool}, 'iterate over the server'),
    ({'poll': 1}, 'server.polling(seconds)'),
    ({'max_queue': 0}, 'max_queue'),
    ({'overflow': 'x'}, 'overflow must be'),
    ({'threads': True, 'handler': bool, 'max_queue': 5}, 'for Server(threads=False)'),
    ({'threads': True, 'handler': bool, 'overflow': 'latest'}, 'for Server(threads=False)'),
    ({'threads': True}, 'the handler must be callable'),
])
def test_options_that_do_not_fit_together_raise_and_say_what_to_do(options, words):
    with pytest.raises((TypeError, ValueError)) as caught:
        Server(**dict({'threads': False}, **options))
    assert words in str(caught.value)


@pytest.mark.parametrize('message', [5, None, [u'x']])
def test_a_broadcast_of_what_is_no_message_raises_at_the_call(message):
    with Served() as served:
        served.connect()
        with pytest.raises(TypeError):
            served.server.broadcast(message)


def test_a_server_with_one_thread_is_not_served_by_serve_forever():
    with Server(threads=False) as server:
        assert server.start() is server
        with pytest.raises(TypeError, match='iterate over the server'):
            server.serve_forever()


@pytest.mark.parametrize('begin', [list, lambda server: server.start()], ids=['loop', 'start'])
def test_a_server_that_was_closed_warns_that_it_serves_nobody(caplog, begin):
    server = Server(threads=False)
    server.close()
    assert not caplog.records
    begin(server)
    assert [record.levelname for record in caplog.records] == ['WARNING']
    assert 'was closed before' in caplog.text


def test_a_second_loop_over_the_same_server_is_refused_and_the_first_goes_on():
    with Served() as served:
        client, _websocket = served.connect()
        with pytest.raises(errors.WebSocketUnavailable):
            next(iter(served.server))
        client.send(1, b'x')
        assert served.wait_for('text')
