"""Calls instead of a loop: open, receive, messages, and how each end shows in them."""

from __future__ import absolute_import, division, print_function

import gc
import socket
import threading
import warnings
import zlib

import pytest
import six

from lomond import WebSocket, errors
from lomond._compat import TimedOut, monotonic
from tests.network.driving import (
    Background,
    accept_and_hang_up,
    accept_and_send,
    drain,
    echo,
    first_far_enough,
    read_to_close,
    wait_for,
)
from tests.shortages import no_threads
from tests.support import (
    PATIENCE,
    RawServer,
    accept_for,
    answer_upgrade,
    get_header,
    make_close,
    make_frame,
    read_frame,
    read_head,
)

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

PINGS = 16


def receive_to_the_end(websocket):
    """Return what came, and the error of the end."""
    messages = []
    with pytest.raises(errors.WebSocketClosed) as caught:
        while True:
            messages.append(websocket.receive(PATIENCE))
    return messages, caught.value


def refuse(sock):
    """Refuse the connection; a script of `RawServer`."""
    read_head(sock)
    sock.sendall(b'HTTP/1.1 403 Not You\r\nContent-Length: 0\r\nX-Why: no\r\n\r\n')


# -- messages --

def test_a_dialogue_needs_no_loop(link, background):
    with link.serve(echo) as server:
        with link.connect(server.url) as websocket:
            ready = websocket.open(timeout=PATIENCE, background=background)
            assert ready.name == 'ready'
            assert ready.response.status_code == 101
            assert websocket.is_open
            websocket.send_text(u'caf\xe9')
            assert websocket.receive(timeout=PATIENCE) == u'caf\xe9'
            websocket.send_binary(b'\x00\xff')
            message = websocket.receive()
            assert message == b'\x00\xff'
            assert type(message) is bytes
        assert websocket.is_closed
        assert websocket.close_received == (1000, u'goodbye')


def accepting(request):
    """Return the answer to a request."""
    key = get_header(request, b'Sec-WebSocket-Key')
    return (b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
            b'Sec-WebSocket-Accept: ' + accept_for(key) + b'\r\n\r\n')


def test_frames_that_came_with_the_101_are_kept_for_receive(link, background):
    def script(sock):
        sock.sendall(accepting(read_head(sock)) + make_frame(1, b'one') + make_frame(2, b'two'))
        read_to_close(sock)
        sock.sendall(make_close(1000))

    with link.serve(script) as server:
        with link.connect(server.url) as websocket:
            websocket.open(PATIENCE, background)
            assert websocket.receive(PATIENCE) == u'one'
            assert websocket.receive(PATIENCE) == b'two'


def deflated(payload):
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return data[:-4]


def test_receive_returns_whole_messages_where_a_loop_would_get_parts(link, background):
    frames = [make_frame(1, u'caf\xe9'.encode('utf-8')[:4], fin=False), make_frame(0, b'\xa9!'),
              make_frame(2, b'x' * 300000), make_frame(1, b'', fin=False), make_frame(0, b'')]
    with link.serve(accept_and_send(*frames)) as server:
        with link.connect(server.url, message_parts=True, text_as_bytes=True) as websocket:
            websocket.open(PATIENCE, background=background)
            assert [websocket.receive(PATIENCE) for _ in range(3)] == [
                u'caf\xe9!', b'x' * 300000, u'']
            websocket.force_disconnect()


def test_a_message_of_many_parts_takes_little_more_memory_than_its_bytes():
    tracemalloc = pytest.importorskip('tracemalloc')
    count = 30000
    frames = make_frame(2, b'ab', fin=False) + make_frame(0, b'ab', fin=False) * (count - 2) \
        + make_frame(0, b'ab')
    with RawServer(accept_and_send(frames)) as server:
        with WebSocket(server.url, message_parts=True) as websocket:
            websocket.open(PATIENCE)
            tracemalloc.start()
            try:
                assert websocket.receive(PATIENCE) == b'ab' * count
                assert tracemalloc.get_traced_memory()[1] < 10 * 2 * count
            finally:
                tracemalloc.stop()
            websocket.force_disconnect()


def test_a_message_cut_at_any_byte_by_timeouts_is_whole_later(link):
    text = u'caf\xe9 ' * 5
    payload = deflated(text.encode('utf-8'))
    wire = make_frame(1, payload[:4], fin=False, rsv=0x40) + make_frame(9, b'ping') \
        + make_frame(0, payload[4:7], fin=False) + make_frame(0, payload[7:])
    may_go_on = threading.Semaphore(0)

    def script(sock):
        answer_upgrade(sock, b'Sec-WebSocket-Extensions: permessage-deflate')
        for index in range(len(wire)):
            sock.sendall(wire[index:index + 1])
            assert may_go_on.acquire()
        read_to_close(sock)
        sock.sendall(make_close(1000))

    with link.serve(script) as server:
        with link.connect(server.url, compress=True) as websocket:
            websocket.open(PATIENCE)
            for _ in range(len(wire) - 1):
                with pytest.raises(errors.WebSocketTimeout):
                    websocket.receive(timeout=0)
                may_go_on.release()
            # Cut by its arrival, too: not all of it may have come by now.
            assert websocket.receive(PATIENCE) == text
            with pytest.raises(errors.WebSocketTimeout):
                websocket.receive(timeout=0)
            may_go_on.release()


def test_a_timeout_raises_what_python_and_the_package_call_one(link, background):
    with link.serve(echo) as server:
        with link.connect(server.url) as websocket:
            websocket.open(PATIENCE, background)
            for seconds in (0, 0.01):
                with pytest.raises(errors.WebSocketError) as caught:
                    websocket.receive(timeout=seconds)
                assert isinstance(caught.value, errors.WebSocketTimeout)
                assert isinstance(caught.value, TimedOut)
                assert str(caught.value) == \
                    'receive() timed out after {:g} s: no message came'.format(seconds)
            websocket.send_text(u'goes on')
            assert websocket.receive(PATIENCE) == u'goes on'
    assert TimedOut is (socket.timeout if six.PY2 else TimeoutError)


def test_a_timeout_of_0_takes_what_has_come(link):
    sent = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(9) * 100 + make_frame(1, b'a') + make_frame(1, b'b'))
        sent.set()
        read_to_close(sock)
        sock.sendall(make_close(1000))

    with link.serve(script) as server:
        with link.connect(server.url) as websocket:
            websocket.open(PATIENCE)
            wait_for(sent)
            assert websocket.receive(PATIENCE) == u'a'
            assert websocket.receive(0) == u'b'


@pytest.mark.parametrize('has_ended', [False, True])
def test_what_a_send_reads_ahead_after_a_timeout_comes_in_order(has_ended):
    """The loop waits for messages then, not for its body."""
    count = 400

    def script(sock):
        answer_upgrade(sock)
        wait_for(is_timed_out)
        for number in range(count):
            sock.sendall(make_frame(2, b'%08d' % number + b'x' * 20000))
        first, _payload = read_frame(sock)
        while not first & 0x80:
            first, _payload = read_frame(sock)
        if not has_ended:
            sock.sendall(b''.join(
                make_frame(2, b'%08d' % number) for number in range(count, count + 10)))
            sock.sendall(make_close(1000))
            read_to_close(sock)

    is_timed_out = threading.Event()
    with RawServer(script) as server:
        with WebSocket(server.url, max_read_ahead=None) as websocket:
            websocket.open(PATIENCE)
            with pytest.raises(errors.WebSocketTimeout):
                websocket.receive(0)
            is_timed_out.set()
            websocket.send_binary(b'z' * (8 * 1024 * 1024))
            messages, _error = receive_to_the_end(websocket)
    assert [int(message[:8]) for message in messages] == list(
        range(count if has_ended else count + 10))


def test_a_flood_of_pings_doesnt_outlast_the_timeout(link):
    def script(sock):
        answer_upgrade(sock)
        Background(drain, sock)
        while True:
            sock.sendall(make_frame(9, b'x' * 125) * 100)

    with link.serve(script) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE)
        with pytest.raises(errors.WebSocketTimeout):
            websocket.receive(0.05)
        websocket.force_disconnect()


def test_pings_between_calls_are_answered_by_the_next():
    pinged, answered = threading.Event(), []

    def script(sock):
        answer_upgrade(sock)
        for number in range(PINGS):
            sock.sendall(make_frame(9, b'%d' % number))
        pinged.set()
        answered.extend(read_frame(sock) for _ in range(PINGS))
        sock.sendall(make_frame(1, b'all'))
        drain(sock)

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        websocket.open(PATIENCE)
        wait_for(pinged)
        assert websocket.receive(PATIENCE) == u'all'
        websocket.force_disconnect()
    assert answered == [(0x8a, b'%d' % number) for number in range(PINGS)]


@pytest.mark.parametrize('timeout, error', [
    ('5', TypeError), (True, TypeError), (-1, ValueError), (float('inf'), ValueError)])
def test_a_wrong_timeout_raises_before_anything_happens(timeout, error):
    websocket = WebSocket('ws://127.0.0.1:1/')
    for call in (websocket.open, websocket.receive, websocket.ping, websocket.wait_ready):
        with pytest.raises(error, match=r'\(timeout\) must be'):
            call(timeout)


# -- no connection --

def test_open_raises_why_it_could_not_connect(dead_port):
    websocket = WebSocket('ws://127.0.0.1:{}/'.format(dead_port))
    with pytest.raises(errors.ConnectFail, match='could not connect to 127.0.0.1') as caught:
        websocket.open(PATIENCE)
    assert caught.value.phase == 'connect'
    assert isinstance(caught.value.cause, socket.error)
    assert caught.value.tried
    with pytest.raises(errors.ConnectFail):
        websocket.receive()
    assert websocket.is_closed


def test_open_raises_the_refusal(link, background):
    with link.serve(refuse) as server:
        websocket = link.connect(server.url)
        with pytest.raises(errors.Rejected, match='403') as caught:
            websocket.open(PATIENCE, background)
    assert caught.value.response.status_code == 403
    assert caught.value.response.get('X-Why') == u'no'
    assert caught.value.reason == str(caught.value)
    assert isinstance(caught.value, errors.HandshakeError)


def test_open_raises_that_the_server_speaks_no_http(link):
    def script(sock):
        read_head(sock)
        sock.sendall(b'SSH-2.0-OpenSSH_9.0\r\n')

    with link.serve(script) as server:
        with pytest.raises(errors.CriticalProtocolError, match='SSH'):
            link.connect(server.url).open(PATIENCE)


def test_open_raises_that_the_server_hung_up(link):
    with link.serve(read_head) as server:
        with pytest.raises(errors.ConnectFail) as caught:
            link.connect(server.url).open(PATIENCE)
    assert caught.value.phase == 'request'


def test_open_gives_up_at_its_timeout(link, background):
    with link.serve(drain) as server:
        websocket = link.connect(server.url)
        before = monotonic()
        with pytest.raises(errors.WebSocketTimeout, match=r'open\(\) timed out after 0.05 s'):
            websocket.open(0.05, background)
        assert monotonic() - before < PATIENCE
        assert websocket.is_closed
        with pytest.raises(errors.ConnectFail, match='closed by the application'):
            websocket.receive()


def test_connect_timeout_counts_for_open_too(link):
    def attempt(timeout):
        with pytest.raises(errors.ConnectFail) as caught:
            link.connect(server.url, connect_timeout=timeout).open()
        return caught.value

    with link.serve(drain) as server:
        error = first_far_enough(attempt, lambda error: error.phase == 'request')
    assert 'connect_timeout' in str(error)


def test_open_follows_redirects(link):
    def redirect(sock):
        read_head(sock)
        location = target.url.encode('ascii')
        sock.sendall(b'HTTP/1.1 302 Found\r\nLocation: ' + location + b'\r\n\r\n')

    with link.serve(accept_and_send(make_frame(1, b'here'))) as target, \
            link.serve(redirect) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE)
        assert websocket.receive(PATIENCE) == u'here'
        websocket.force_disconnect()


# -- the end --

def test_what_came_before_the_close_is_returned_first(link, background):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'one') + make_frame(1, b'two') + make_close(4001, b'enough'))
        frames.append(read_frame(sock))

    frames = []
    with link.serve(script) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE, background)
        messages, error = receive_to_the_end(websocket)
        assert messages == [u'one', u'two']
        for call in (websocket.receive, websocket.ping, websocket.wait_ready,
                     lambda: list(websocket.messages())):
            with pytest.raises(errors.WebSocketClosed) as caught:
                call()
            assert caught.value.code == error.code == 4001
            assert caught.value.reason == error.reason == u'enough'
            assert str(caught.value) == 'the connection was closed with code 4001: enough'
        server.wait_for_scripts()
    assert frames == [(0x88, b'\x0f\xa1')]


@pytest.mark.parametrize('end, words, cause, code', [
    (b'', 'the connection ended', None, 1006),
    (make_frame(3), 'reserved opcode', errors.ProtocolError, 1006),
    (make_frame(1, b'\xff'), 'UTF-8', errors.InvalidPayload, 1006),
    (make_close(1011, b'broken'), 'code 1011: broken', None, 1011),
    (make_frame(8), 'code 1005', None, 1005),
], ids=['eof', 'fault', 'text', 'close', 'no code'])
def test_each_end_says_what_happened(link, background, end, words, cause, code):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'first') + end)
        if end:
            drain(sock)

    with link.serve(script) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE, background)
        messages, error = receive_to_the_end(websocket)
    assert messages == [u'first']
    assert words in str(error)
    assert error.code == code
    if cause is None:
        assert end == b'' or error.cause is None    # the end of TLS without a word breaks it
    else:
        assert isinstance(error.cause, cause)
        assert error.__cause__ is error.cause


def test_an_unresponsive_server_is_the_end(link, background):
    def script(sock):
        answer_upgrade(sock)
        drain(sock)

    with link.serve(script) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE, background, ping_rate=0.02, ping_timeout=0.05)
        messages, error = receive_to_the_end(websocket)
    assert messages == []
    assert error.code == 1006
    assert error.reason == u'the server is unresponsive'
    assert isinstance(error.cause, errors.WebSocketTimeout)


@pytest.mark.parametrize('code, is_error', [(1000, False), (1001, False), (1011, True)])
def test_messages_ends_with_the_connection(link, background, code, is_error):
    script = accept_and_hang_up(
        make_frame(1, b'one'), make_frame(2, b'two'), make_close(code))
    with link.serve(script) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE, background)
        messages = []
        try:
            messages.extend(websocket.messages())
        except errors.WebSocketClosed as error:
            assert is_error and error.code == code
        else:
            assert not is_error
            assert messages == [u'one', b'two']
        with pytest.raises(errors.WebSocketClosed):
            websocket.receive()


def test_a_broken_connection_ends_messages_with_an_error(link):
    with link.serve(accept_and_hang_up(make_frame(1, b'one'))) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE)
        messages = websocket.messages()
        assert next(messages) == u'one'
        with pytest.raises(errors.WebSocketClosed):
            next(messages)
        assert list(messages) == []


def test_after_close_what_still_comes_is_returned(link, background):
    def script(sock):
        answer_upgrade(sock)
        read_to_close(sock)
        sock.sendall(make_frame(1, b'late') + make_close(1000, b'bye'))

    with link.serve(script) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE, background)
        websocket.close()
        with pytest.raises(errors.WebSocketUnavailable):
            websocket.ping()
        messages, error = receive_to_the_end(websocket)
    assert messages == [u'late']
    assert (error.code, error.reason) == (1000, u'bye')


def test_force_disconnect_frees_the_socket_at_once(link, background):
    with link.serve(accept_and_send()) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE, background)
        websocket.force_disconnect()
        with pytest.raises(errors.WebSocketClosed, match='disconnected by the application'):
            websocket.receive()
        assert websocket.is_closed
        websocket.force_disconnect()


def test_it_can_be_opened_again_after_the_end(link, background):
    with link.serve(accept_and_hang_up(
            make_frame(1, b'one'), make_frame(1, b'two'), make_close(1000))) as server:
        websocket = link.connect(server.url)
        for connection in (1, 2, 3):
            ready = websocket.open(PATIENCE, background)
            assert ready.connection == connection
            assert websocket.receive(PATIENCE) == u'one'
            if connection == 2:     # what wasn't received isn't of the next connection
                websocket.force_disconnect()
            else:
                receive_to_the_end(websocket)


# -- leaving the block --

def test_leaving_the_block_closes_and_drops_what_still_comes(link, background):
    def script(sock):
        answer_upgrade(sock)
        frames.extend(read_to_close(sock))
        sock.sendall(make_frame(2, b'x' * 2000000) * 2 + make_close(1000))

    frames = []
    with link.serve(script) as server:
        with link.connect(server.url) as websocket:
            websocket.open(PATIENCE, background)
        server.wait_for_scripts()
    assert frames == [(0x88, b'\x03\xe8goodbye')]
    assert websocket.session.end.reason == u'closed'


def test_leaving_the_block_by_an_exception_breaks_the_connection(link, background):
    def script(sock):
        answer_upgrade(sock)
        received.append(drain(sock))

    received = []
    with link.serve(script) as server:
        with pytest.raises(ZeroDivisionError):
            with link.connect(server.url) as websocket:
                websocket.open(PATIENCE, background)
                raise ZeroDivisionError
        assert websocket.is_closed
        server.wait_for_scripts()
    assert received in ([b''], [])      # a reset, if something had not been read


def test_leaving_the_block_waits_for_the_server_for_close_timeout_only(link, background):
    def script(sock):
        answer_upgrade(sock)
        reading = Background(drain, sock)
        wait_for(is_over)
        reading.result()

    is_over = threading.Event()
    with link.serve(script) as server:
        with link.connect(server.url) as websocket:
            websocket.open(PATIENCE, background, close_timeout=0.05)
        with pytest.raises(errors.WebSocketClosed, match='no answer to the Close frame'):
            websocket.receive()
        is_over.set()


def test_a_block_without_a_connection_is_left_as_ever(dead_port):
    with WebSocket('ws://127.0.0.1:{}/'.format(dead_port)) as websocket:
        with pytest.raises(errors.WebSocketUnavailable, match=r'call open\(\) first'):
            websocket.receive()


# -- what else may happen --

def test_a_proxy_that_refuses_fails_open(background):
    with RawServer(refuse) as proxy:
        websocket = WebSocket(
            'ws://far.invalid/', proxies={'ws': proxy.url.replace(u'ws', u'http')})
        with pytest.raises(errors.ConnectFail, match='403') as caught:
            websocket.open(PATIENCE, background)
    assert caught.value.phase == 'proxy'
    assert caught.value.response.status_code == 403


def test_a_session_that_somebody_disposes_of_is_the_end(link):
    with link.serve(accept_and_send(make_frame(1, b'x'))) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE)
        websocket.session.dispose()
        with pytest.raises(errors.WebSocketClosed, match='interrupted'):
            websocket.receive(PATIENCE)


def test_open_in_the_background_without_threads_raises(nothing_is_left_open):
    with RawServer(echo) as server:
        websocket = WebSocket(server.url)
        with no_threads():
            with pytest.raises(socket.error, match='limit of threads'):
                websocket.open(PATIENCE, background=True)
        assert websocket.is_closed
        websocket.open(PATIENCE, background=True)
        websocket.send_text(u'x')
        assert websocket.receive(PATIENCE) == u'x'
        websocket.close()
        receive_to_the_end(websocket)


@pytest.mark.parametrize('options, error, words', [
    ({'ping_rat': 1}, TypeError, 'open.. got .*did you mean ping_rate'),
    ({'session_class': 1}, TypeError, 'open.. got .*only a loop takes it'),
    ({'poll': 1}, TypeError, 'open.. got .*no Poll'),
    ({'ping_rate': -1}, ValueError, 'ping_rate'),
    ({'background': 'yes'}, TypeError, 'background must be True or False')])
def test_a_wrong_option_of_open_is_explained(options, error, words):
    websocket = WebSocket('ws://127.0.0.1:1/')
    with pytest.raises(error, match=words):
        websocket.open(**options)


# -- after the end --

@pytest.mark.parametrize('end, code, reason', [
    (make_close(4000, b'enough'), 4000, u'enough'), (b'', 1006, None)], ids=['close', 'broken'])
def test_after_the_end_sends_raise_what_receive_does(link, background, end, code, reason):
    def send(method, *arguments):
        with pytest.raises(errors.WebSocketClosed) as caught:
            method(*arguments)
        return str(caught.value), caught.value.code, caught.value.reason

    with link.serve(accept_and_hang_up(end)) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE, background)
        _messages, error = receive_to_the_end(websocket)
        assert error.code == code
        assert reason is None or error.reason == reason
        for raised in (send(websocket.send_text, u'x'), send(websocket.send_binary, iter([b'x'])),
                       send(websocket.send_many, [u'x']), send(websocket.send_ping)):
            assert raised == (str(error), error.code, error.reason)
        websocket.close()
        websocket.open(PATIENCE, background)
        receive_to_the_end(websocket)


def test_it_isnt_opened_again_before_its_messages_were_received(link, background):
    with link.serve(accept_and_hang_up(
            make_frame(1, b'one'), make_frame(1, b'two'), make_close(1000))) as server:
        websocket = link.connect(server.url)
        for drop in (False, True):
            websocket.open(PATIENCE, background)
            assert websocket.receive(PATIENCE) == u'one'
            for thread in threading.enumerate():
                if thread.name == 'lomond background':
                    thread.join(PATIENCE)
            with pytest.raises(errors.WebSocketUnavailable, match=r'receive\(\)'):
                websocket.open(PATIENCE, background)
            if drop:
                websocket.force_disconnect()
            else:
                assert receive_to_the_end(websocket)[0] == [u'two']


@pytest.mark.skipif(six.PY2, reason='2.7 never frees it')
def test_a_forgotten_connection_is_closed_with_a_warning(link):
    def script(sock):
        answer_upgrade(sock)
        try:
            drain(sock)
        except socket.error:
            pass        # TLS 1.3: the client had not read the tickets for a session

    with link.serve(script) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE)
        with warnings.catch_warnings():
            # The collector may come to the socket first, which then warns, too.
            warnings.filterwarnings('ignore', 'unclosed <s', ResourceWarning)
            with pytest.warns(ResourceWarning, match='unclosed WebSocket.*with block'):
                del websocket
                gc.collect()
        server.wait_for_scripts()


def test_close_ends_a_connection_that_an_iterable_broke(link, background):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'before'))
        drain(sock)

    def items():
        yield u'first'
        raise KeyError('gone')

    with link.serve(script) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE, background)
        with pytest.raises(KeyError):
            websocket.send_text(items())
        websocket.close()
        server.wait_for_scripts()
        _messages, error = receive_to_the_end(websocket)
        assert websocket.is_closed
        assert (error.code, 'not sent to its end' in error.reason) == (1006, True)
