"""The guide of Lomond 0.3, example by example: its code runs here as it stands.

Only URLs differ, and times that a test can't wait for. In the order of the
guide; two typos of its examples (`Websocket`, `connect` of the class) are read
as what they mean.
"""

from __future__ import absolute_import, division, print_function

import logging
import select
import socket
import threading

import pytest
from six.moves import queue

from lomond import WebSocket, errors, events
from lomond.examples import feed
from lomond.persist import persist
from lomond.server import Server
from tests.network.driving import echo_handler

from ..support import (
    PATIENCE,
    RawServer,
    answer_upgrade,
    make_close,
    make_frame,
    names,
    needs_refcounts,
    read_exactly,
    read_frame,
    read_head,
)

TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8a


@pytest.fixture
def no_proxy(monkeypatch):
    """No proxy in the environment."""
    for name in ('http_proxy', 'https_proxy', 'ws_proxy', 'wss_proxy', 'all_proxy', 'no_proxy',
                 'REQUEST_METHOD'):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


pytestmark = pytest.mark.usefixtures('no_proxy')


@pytest.fixture
def echo_url():
    with Server(echo_handler) as server:
        yield server.url


def parameters_of(function):
    """Return the names of a function's parameters."""
    function = getattr(function, '__wrapped__', function)
    return list(function.__code__.co_varnames[:function.__code__.co_argcount])


def default_of(function, name):
    """Return the default of a parameter."""
    defaults = getattr(function, '__wrapped__', function).__defaults__
    return dict(zip(reversed(parameters_of(function)), reversed(defaults)))[name]


# -- Example --

def test_the_ticker_prints_what_the_feed_sends(capsys):
    with feed.start(poll=0.01) as server:
        websocket = WebSocket(server.url)
        ticks = 0

        for event in websocket:
            if event.name == "ready":
                websocket.send_json(
                    type='subscribe',
                    product_ids=['BTC-USD'],
                    channels=['ticker']
                )
            elif event.name == "text":
                print(event.json)
                ticks += 1
                if ticks == 4:
                    websocket.close()

    output = capsys.readouterr().out
    assert 'subscriptions' in output
    assert 'BTC-USD' in output
    assert 'ticker' in output


# -- Basic usage --

def test_a_freshly_constructed_websocket_makes_no_connection():
    with RawServer(answer_upgrade) as server:
        ws = WebSocket(server.url)
        ws.connect()
        assert server.connections == 0


def test_iterating_prints_the_events(echo_url, capsys):
    from lomond.websocket import WebSocket
    ws = WebSocket(echo_url)

    for event in ws:
        print(event)
        if event.name == 'poll':
            ws.close()

    lines = capsys.readouterr().out.replace("u'", "'").splitlines()
    assert lines[0] == "Connecting(url='{}')".format(echo_url)
    assert lines[1].startswith("Connected(url='{}'".format(echo_url))
    assert lines[2].startswith('Ready(')
    assert '<response HTTP/1.1 101 Switching Protocols>' in lines[2]
    assert 'protocol=None, extensions=set(' in lines[2]


def test_text_and_binary_are_sent_and_received(echo_url):
    ws = WebSocket(echo_url)
    received = []
    for event in ws:
        if event.name == 'ready':
            ws.send_text(u'Hello')
            ws.send_binary(b'World')
        elif event.name == 'text':
            received.append(event.text)
        elif event.name == 'binary':
            received.append(event.data)
            ws.close()
    assert received == [u'Hello', b'World']


@pytest.mark.parametrize('start', [iter, WebSocket.connect], ids=['iterate', 'connect'])
def test_iterating_is_connect_with_default_parameters(echo_url, start):
    ws = WebSocket(echo_url)
    seen = []
    for event in start(ws):
        seen.append(event.name)
        if event.name == 'poll':
            ws.close()
    assert seen == ['connecting', 'connected', 'ready', 'poll', 'closed', 'disconnected']


# -- Events --

def test_every_event_has_a_name_and_a_time(echo_url):
    ws = WebSocket(echo_url)
    times = []
    for event in ws:
        assert isinstance(event, events.Event)
        times.append(event.received_time)
        assert isinstance(event, events.Ready) == (event.name == "ready")
        if event.name == 'ready':
            ws.close()
    assert times[0] > 1e9
    assert times == sorted(times)


@needs_refcounts
def test_an_exception_in_the_loop_disconnects_without_a_close_packet():
    ends = queue.Queue()

    def handler(websocket):
        ends.put([event for event in websocket if event.name != 'poll'])

    with Server(handler) as server:
        websocket = WebSocket(server.url)
        with pytest.raises(ZeroDivisionError):
            for event in websocket:
                if event.name == 'ready':
                    raise ZeroDivisionError
        seen = ends.get(timeout=PATIENCE)
    assert names(seen) == ['ready', 'disconnected']
    assert not seen[-1].graceful
    assert websocket.is_closed


def test_a_defensive_loop_closes_gracefully(echo_url, caplog):
    log = logging.getLogger('application')

    def on_event(event):
        if event.name == 'ready':
            raise RuntimeError('oops')

    websocket = WebSocket(echo_url)
    for event in websocket:
        try:
            on_event(event)
        except Exception:
            log.exception('error handling %r', event)
            websocket.close()
    assert event.name == 'disconnected'
    assert event.graceful
    assert 'error handling Ready(' in caplog.text


# -- Compression --

def test_compression_is_used_if_the_server_supports_it():
    with Server(echo_handler, compress=True) as server:
        ws = WebSocket(server.url, compress=True)
        received = []
        for event in ws:
            if event.name == 'ready':
                assert 'permessage-deflate' in event.extensions
                assert ws.supports_compression is True
                ws.send_text(u'a' * 5000)
                ws.send_binary(b'\xff\xd8' * 5000, compress=False)
            elif event.name == 'text':
                received.append(event.text)
            elif event.name == 'binary':
                received.append(event.data)
                ws.close()
    assert received == [u'a' * 5000, b'\xff\xd8' * 5000]


def test_compress_has_no_effect_if_the_server_does_not_support_it(echo_url):
    ws = WebSocket(echo_url, compress=True)
    received = []
    for event in ws:
        if event.name == 'ready':
            assert ws.supports_compression is False
            ws.send_text(u'a' * 5000, compress=True)
        elif event.name == 'text':
            received.append(event.text)
            ws.close()
    assert received == [u'a' * 5000]


# -- Closing: client --

@pytest.mark.parametrize('from_thread', [False, True])
def test_close_may_be_called_in_the_loop_or_from_another_thread(echo_url, from_thread):
    ws = WebSocket(echo_url)
    seen = []
    thread = threading.Thread(target=ws.close)
    for event in ws:
        seen.append(event)
        if event.name == 'ready':
            if from_thread:
                thread.start()
            else:
                ws.close()
    if from_thread:
        thread.join(PATIENCE)
    assert names(seen)[-2:] == ['closed', 'disconnected']
    assert seen[-1].graceful


def test_after_close_data_may_be_received_but_not_sent():
    def script(sock):
        answer_upgrade(sock)
        assert read_frame(sock)[0] == CLOSE
        sock.sendall(make_frame(1, b'still here') + make_close(1000))

    with RawServer(script) as server:
        ws = WebSocket(server.url)
        seen = []
        for event in ws:
            seen.append(event)
            if event.name == 'ready':
                ws.close()
                assert ws.is_closing
                with pytest.raises(errors.WebSocketClosing):
                    ws.send_text(u'too late')
    assert names(seen)[-3:] == ['text', 'closed', 'disconnected']
    assert ws.is_closed


def test_a_server_that_does_not_answer_the_close_is_left_after_a_timeout():
    assert default_of(WebSocket.connect, 'close_timeout') == 30

    def script(sock):
        answer_upgrade(sock)
        read_frame(sock)
        read_exactly(sock, 1)       # until it hangs up

    with RawServer(script) as server:
        ws = WebSocket(server.url)
        for event in ws.connect(close_timeout=0.05):
            if event.name == 'ready':
                ws.close()
    assert event.name == 'disconnected'
    assert not event.graceful


# -- Closing: server --

def test_messages_may_be_sent_in_response_to_closing():
    frames = queue.Queue()

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_close(1001, b'restart'))
        frames.put(read_frame(sock))
        frames.put(read_frame(sock))

    with RawServer(script) as server:
        ws = WebSocket(server.url)
        seen = []
        for event in ws:
            seen.append(event)
            if event.name == 'closing':
                assert (event.code, event.reason) == (1001, u'restart')
                ws.send_text(u'one more thing')
    assert names(seen)[-2:] == ['closing', 'disconnected']
    assert seen[-1].graceful
    assert frames.get(timeout=PATIENCE) == (TEXT, b'one more thing')
    assert frames.get(timeout=PATIENCE)[0] == CLOSE
    with pytest.raises(errors.WebSocketClosed):
        ws.send_text(u'and another')


# -- Non-graceful closes --

def test_a_dropped_connection_is_not_graceful():
    with RawServer(answer_upgrade) as server:
        seen = list(WebSocket(server.url))
    assert names(seen)[-1] == 'disconnected'
    assert not seen[-1].graceful


# -- Pings and pongs --

def test_pings_are_sent_automatically_every_thirty_seconds():
    assert default_of(WebSocket.connect, 'ping_rate') == 30
    frames = queue.Queue()

    def script(sock):
        answer_upgrade(sock)
        frames.put(read_frame(sock))
        sock.sendall(make_frame(10) + make_close(1000))
        read_frame(sock)

    with RawServer(script) as server:
        seen = list(WebSocket(server.url).connect(ping_rate=0.01))
    assert frames.get(timeout=PATIENCE)[0] == PING
    assert 'pong' in names(seen)


def test_a_ping_rate_of_zero_disables_pings():
    def script(sock):
        answer_upgrade(sock)
        assert read_frame(sock)[0] == TEXT
        sock.sendall(make_close(1000))
        assert read_frame(sock)[0] == CLOSE

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        polls = 0
        for event in websocket.connect(ping_rate=0, poll=0.01):
            if event.name == 'poll':
                polls += 1
                if polls == 5:
                    websocket.send_text(u'no ping so far')


@pytest.mark.parametrize('auto_pong', [True, False])
def test_a_ping_is_an_event_and_is_answered(auto_pong):
    frames = queue.Queue()

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(9, b'are you there?') + make_frame(1, b'?'))
        frames.put(read_frame(sock))

    with RawServer(script) as server:
        ws = WebSocket(server.url)
        seen = []
        for event in ws.connect(auto_pong=auto_pong):
            seen.append(event)
            if event.name == 'text':
                ws.send_text(u'!')
    assert 'ping' in names(seen)
    assert frames.get(timeout=PATIENCE) == (
        (PONG, b'are you there?') if auto_pong else (TEXT, b'!'))


def test_pings_and_pongs_can_be_sent_at_any_time():
    frames = queue.Queue()

    def script(sock):
        answer_upgrade(sock)
        frames.put(read_frame(sock))
        frames.put(read_frame(sock))
        sock.sendall(make_frame(10, b'not asked for') + make_close(1000))
        read_frame(sock)

    with RawServer(script) as server:
        ws = WebSocket(server.url)
        pongs = []
        for event in ws:
            if event.name == 'ready':
                ws.send_ping(b'marco')
                ws.send_pong(b'polo')
            elif event.name == 'pong':
                pongs.append(event.data)
    assert frames.get(timeout=PATIENCE) == (PING, b'marco')
    assert frames.get(timeout=PATIENCE) == (PONG, b'polo')
    assert pongs == [b'not asked for']


# -- Polling --

def test_poll_comes_at_regular_intervals(echo_url):
    assert default_of(WebSocket.connect, 'poll') == 5
    ws = WebSocket(echo_url)
    times = []
    for event in ws.connect(poll=0.05):
        if event.name == 'poll':
            times.append(event.received_time)
            if len(times) == 4:
                ws.close()
    assert times[-1] - times[0] > 0.1


# -- Proxies --

@pytest.fixture
def proxy():
    """The URL of a small HTTP proxy, and a list of what it was asked for."""
    asked = []

    def script(sock):
        request = read_head(sock).decode('ascii')
        asked.append(request.split('\r\n')[0])
        host, port = request.split()[1].split(':')
        target = socket.create_connection((host, int(port)), PATIENCE)
        try:
            sock.sendall(b'HTTP/1.1 200 Connection established\r\n\r\n')
            relay(sock, target)
        finally:
            target.close()

    with RawServer(script) as server:
        yield 'http://127.0.0.1:{}'.format(server.port), asked


def relay(one, other):
    """Copy what comes on each socket to the other, until one of them ends."""
    while True:
        for sock in select.select([one, other], [], [], PATIENCE)[0]:
            data = sock.recv(65536)
            if not data:
                return
            (other if sock is one else one).sendall(data)


def say_hello(ws):
    """Send a text, wait for the echo_handler, close; return the events."""
    seen = []
    for event in ws:
        seen.append(event)
        if event.name == 'ready':
            ws.send_text(u'Hello')
        elif event.name == 'text':
            ws.close()
    return seen


@pytest.mark.parametrize('secure', [False, True], ids=['ws', 'wss'])
def test_a_proxy_is_set_by_a_dictionary(proxy, secure, server_tls, authority_file):
    proxy_url, asked = proxy
    with Server(echo_handler, ssl_context=server_tls if secure else None) as server:
        ws = WebSocket(
            server.url,
            proxies={
                'http': proxy_url,
                'https': proxy_url
            },
            ssl_cafile=authority_file
        )
        seen = say_hello(ws)
    assert 'text' in names(seen)
    assert seen[-1].graceful
    assert seen[1].proxy == proxy_url
    assert asked == ['CONNECT 127.0.0.1:{} HTTP/1.1'.format(server.port)]


@pytest.mark.parametrize('secure', [False, True], ids=['ws', 'wss'])
def test_a_proxy_is_detected_from_the_environment(
        proxy, secure, server_tls, authority_file, monkeypatch):
    proxy_url, asked = proxy
    monkeypatch.setenv('HTTPS_PROXY' if secure else 'HTTP_PROXY', proxy_url)
    with Server(echo_handler, ssl_context=server_tls if secure else None) as server:
        seen = say_hello(WebSocket(server.url, ssl_cafile=authority_file))
    assert 'text' in names(seen)
    assert len(asked) == 1


def test_an_empty_dictionary_disables_the_detection(echo_url, monkeypatch, dead_port):
    monkeypatch.setenv('HTTP_PROXY', 'http://127.0.0.1:{}'.format(dead_port))
    assert 'text' in names(say_hello(WebSocket(echo_url, proxies={})))


# -- WebSockets and threading --

def test_a_websocket_runs_in_a_thread_of_its_own(echo_url):
    ws = WebSocket(echo_url)
    received = queue.Queue()

    def run():
        for event in ws:
            if event.name in ('ready', 'text', 'disconnected'):
                received.put(event)

    thread = threading.Thread(target=run)
    thread.start()
    assert received.get(timeout=PATIENCE).name == 'ready'
    ws.send_text(u'from the main thread')
    assert received.get(timeout=PATIENCE).text == u'from the main thread'
    ws.close()
    assert received.get(timeout=PATIENCE).graceful
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_websocket_needs_no_thread(echo_url):
    before = threading.active_count()
    ws = WebSocket(echo_url)
    for event in ws:
        if event.name == 'connecting':
            assert threading.active_count() == before
        elif event.name == 'ready':
            # The server has one for the connection.
            assert threading.active_count() <= before + 1
            ws.close()


# -- Persistent connections --

def test_persist_goes_on_after_an_outage():
    def script(sock):
        answer_upgrade(sock)
        if server.connections > 1:
            sock.sendall(make_frame(1, b'back again'))
            read_frame(sock)

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        seen = []
        for event in persist(websocket, min_wait=0, max_wait=0):
            seen.append(event)
            if event.name == 'text':
                websocket.close()
    assert names(seen) == [
        'connecting', 'connected', 'ready', 'disconnected', 'back_off',
        'connecting', 'connected', 'ready', 'text', 'disconnected']


def test_persist_with_its_defaults_is_an_ordinary_loop(echo_url):
    websocket = WebSocket(echo_url)
    assert names(say_hello_persistently(websocket)) == [
        'connecting', 'connected', 'ready', 'text', 'closed', 'disconnected']


def say_hello_persistently(websocket):
    seen = []
    for event in persist(websocket):
        seen.append(event)
        if event.name == 'ready':
            websocket.send_text(u'Hello')
        elif event.name == 'text':
            websocket.close()
    return seen


def test_persist_waits_longer_after_each_failure_up_to_a_limit(dead_port):
    websocket = WebSocket('ws://127.0.0.1:{}'.format(dead_port))
    exit_event = threading.Event()
    delays = []
    for event in persist(websocket, min_wait=0, max_wait=0.02, exit_event=exit_event):
        if event.name == 'back_off':
            delays.append(event.delay)
            if len(delays) == 5:
                exit_event.set()
    assert all(0 <= delay <= 0.02 for delay in delays)


def test_the_parameters_of_the_reference_are_all_there():
    assert parameters_of(WebSocket.connect)[1:7] == [
        'session_class', 'poll', 'ping_rate', 'ping_timeout', 'auto_pong', 'close_timeout']
    assert parameters_of(persist)[:7] == [
        'websocket', 'poll', 'min_wait', 'max_wait', 'ping_rate', 'ping_timeout', 'exit_event']
