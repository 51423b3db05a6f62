"""What goes out: frames on the wire, pongs, the caller's buffers, when sending is refused."""

from __future__ import absolute_import, division, print_function

import json
import threading
import zlib

import pytest
import six

from lomond import WebSocket, errors
from tests.network.driving import (
    Background,
    accept_and_send,
    drain,
    end_and_drain,
    read_to_close,
    wait_for,
    wait_until_sending,
)
from tests.support import (
    RawServer,
    answer_upgrade,
    make_close,
    make_frame,
    names,
    read_frame,
    read_head,
)


def send_and_close(send, *headers, **options):
    """Connect, call ``send(websocket)`` when it is ready, close; return the frames sent."""
    frames = []

    def script(sock):
        answer_upgrade(sock, *headers)
        frames.extend(read_to_close(sock))
        sock.sendall(make_close(1000))

    with RawServer(script) as server:
        websocket = WebSocket(server.url, **options)
        for event in websocket:
            if event.name == 'ready':
                send(websocket)
                websocket.close(1000, u'')
        assert event.graceful
    assert frames.pop() == (0x88, b'\x03\xe8')
    return frames


@pytest.mark.parametrize('send, frame', [
    (lambda ws: ws.send_text(u'h\xe9llo \U0001f600'),
     (0x81, u'h\xe9llo \U0001f600'.encode('utf-8'))),
    (lambda ws: ws.send_text(u''), (0x81, b'')),
    (lambda ws: ws.send_text(u'{braces} {0}'), (0x81, b'{braces} {0}')),
    (lambda ws: ws.send_binary(b'\x00\xff'), (0x82, b'\x00\xff')),
    (lambda ws: ws.send_binary(b''), (0x82, b'')),
    (lambda ws: ws.send_binary(bytearray(b'abc')), (0x82, b'abc')),
    (lambda ws: ws.send_binary(memoryview(b'abcdef')[1:4]), (0x82, b'bcd')),
    (lambda ws: ws.send_utf8(u'h\xe9llo \U0001f600'.encode('utf-8')),
     (0x81, u'h\xe9llo \U0001f600'.encode('utf-8'))),
    (lambda ws: ws.send_utf8(b''), (0x81, b'')),
    (lambda ws: ws.send_utf8(bytearray(b'abc')), (0x81, b'abc')),
    (lambda ws: ws.send_utf8(memoryview(b'abcdef')[1:4]), (0x81, b'bcd')),
    (lambda ws: ws.send_utf8(b'x' * 65535 + b'\xc3\xa9' + b'x' * 65535),
     (0x81, b'x' * 65535 + b'\xc3\xa9' + b'x' * 65535)),
    (lambda ws: ws.send_ping(), (0x89, b'')),
    (lambda ws: ws.send_ping(b'x' * 125), (0x89, b'x' * 125)),
    (lambda ws: ws.send_ping(bytearray(b'abc')), (0x89, b'abc')),
    (lambda ws: ws.send_pong(b'abc'), (0x8a, b'abc')),
    (lambda ws: ws.send_pong(memoryview(b'abc')), (0x8a, b'abc')),
    (lambda ws: ws.send_binary(b'x' * 125), (0x82, b'x' * 125)),
    (lambda ws: ws.send_binary(b'x' * 126), (0x82, b'x' * 126)),
    (lambda ws: ws.send_binary(b'x' * 65535), (0x82, b'x' * 65535)),
    (lambda ws: ws.send_binary(b'x' * 65536), (0x82, b'x' * 65536)),
    (lambda ws: ws.send_binary(b'x' * 1048576), (0x82, b'x' * 1048576)),
    (lambda ws: ws.session.send(1, b'raw'), (0x81, b'raw')),
    (lambda ws: ws.session.send_compressed(2, b'raw'), (0x82, b'raw')),
    (lambda ws: ws.session.write(make_frame(1, b'hand-made', key=b'abcd')),
     (0x81, b'hand-made')),
])
def test_what_is_sent_arrives(send, frame):
    assert send_and_close(send) == [frame]


@pytest.mark.skipif(six.PY2, reason='a memoryview with steps is new in 3')
def test_a_memoryview_with_gaps_is_sent_without_them():
    assert send_and_close(
        lambda ws: ws.send_binary(memoryview(b'abcdef')[::2])) == [(0x82, b'ace')]


@pytest.mark.parametrize('send, content', [
    (lambda ws: ws.send_json({'a': [1, None]}), {'a': [1, None]}),
    (lambda ws: ws.send_json(a=1, b=u'\xe9'), {'a': 1, 'b': u'\xe9'}),
    (lambda ws: ws.send_json([1, 2]), [1, 2]),
    (lambda ws: ws.send_json(None), None),
    (lambda ws: ws.send_json(False), False),
    (lambda ws: ws.send_json(), {}),
    (lambda ws: ws.send_json(obj=1), {'obj': 1}),
])
def test_send_json_sends_an_object_or_its_keywords(send, content):
    (first, payload), = send_and_close(send)
    assert first == 0x81
    assert json.loads(payload.decode('utf-8')) == content


def test_the_callers_buffer_is_not_changed():
    data = bytearray(b'precious' * 1000)
    view = memoryview(data)

    def send(websocket):
        websocket.send_binary(data)
        websocket.send_binary(view)
        websocket.send_ping(bytearray(b'abc'))

    frames = send_and_close(send)
    assert data == bytearray(b'precious' * 1000)
    assert frames[0] == frames[1] == (0x82, bytes(data))


def test_frames_are_masked_each_with_a_key_of_its_own():
    keys = []

    def script(sock):
        answer_upgrade(sock)
        data = b''
        while len(data) < 200 * 8:
            data += sock.recv(65536)
        for start in range(0, 200 * 8, 8):
            assert bytearray(data)[start + 1] == 0x82       # masked, 2 bytes
            keys.append(data[start + 2:start + 6])

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        for event in websocket:
            if event.name == 'ready':
                for _ in range(200):
                    websocket.send_text(u'ab')
    assert len(set(keys)) > 190


def test_frames_arrive_in_the_order_of_the_calls():
    def send(websocket):
        for i in range(200):
            websocket.send_text(u'{}'.format(i))

    assert send_and_close(send) == [(0x81, str(i).encode('ascii')) for i in range(200)]


def test_utf_8_is_compressed_and_sent_in_fragments_as_text_is():
    data = u'caf\xe9 again and again '.encode('utf-8') * 10
    frames = send_and_close(
        lambda ws: [ws.send_utf8(data), ws.send_utf8(data, compress=False)],
        b'Sec-WebSocket-Extensions: permessage-deflate', compress=True)
    assert frames[1] == (0x81, data)
    assert frames[0][0] == 0xc1
    assert zlib.decompressobj(-15).decompress(frames[0][1]) == data
    # In the middle of a character, which RFC 6455 5.6 allows.
    frames = send_and_close(lambda ws: ws.send_utf8(b'caf\xc3\xa9'), fragment_size=4)
    assert frames == [(0x01, b'caf\xc3'), (0x80, b'\xa9')]


# -- several at once --

def test_many_messages_go_out_in_order_and_in_one_write():
    writes = []

    def send(websocket):
        transport = websocket.session.transport
        send_as_ever = transport.send
        transport.send = lambda data, timeout: [writes.append(data), send_as_ever(data, timeout)]
        websocket.send_many([u'\xe9', b'ab', bytearray(b'cd'), memoryview(b'efg')[1:], u''])
        websocket.send_many(u'{}'.format(i) for i in range(200))
        websocket.send_many([])
        transport.send = send_as_ever

    frames = send_and_close(send)
    assert frames[:5] == [
        (0x81, b'\xc3\xa9'), (0x82, b'ab'), (0x82, b'cd'), (0x82, b'fg'), (0x81, b'')]
    assert frames[5:] == [(0x81, str(i).encode('ascii')) for i in range(200)]
    assert len(writes) == 2


def test_many_large_messages_are_not_gathered_up():
    writes = []

    def send(websocket):
        transport = websocket.session.transport
        send_as_ever = transport.send
        transport.send = lambda data, timeout: [writes.append(data), send_as_ever(data, timeout)]
        websocket.send_many([b'x' * 30000] * 20)
        transport.send = send_as_ever

    assert send_and_close(send) == [(0x82, b'x' * 30000)] * 20
    assert max(len(data) for data in writes) < 100000


def test_many_messages_are_compressed_in_order():
    text = u'again and again ' * 10
    frames = send_and_close(
        lambda ws: [ws.send_many([text, b'abc', text]), ws.send_many([text], compress=False),
                    ws.send_text(text)],
        DEFLATE, compress=True)
    assert [first for first, _payload in frames] == [0xc1, 0xc2, 0xc1, 0x81, 0xc1]
    inflate = Inflater()
    assert [inflate(payload) for first, payload in frames if first & 0x40] == [
        text.encode('ascii'), b'abc', text.encode('ascii'), text.encode('ascii')]


def test_nothing_comes_between_many_messages():
    def send(websocket):
        senders = [
            Background(websocket.send_many, [u'{} {}'.format(sender, i) for i in range(500)])
            for sender in range(4)]
        for sender in senders:
            sender.result()

    frames = [payload.split() for _first, payload in send_and_close(send)]
    order = [frames[start][0] for start in range(0, 2000, 500)]
    assert frames == [
        [sender, str(i).encode('ascii')] for sender in order for i in range(500)]


@pytest.mark.parametrize('messages, error', [
    ([u'fine', 1], TypeError),
    ([u'fine', None], TypeError),
    ([u'fine', u'\ud800'], ValueError),
    (u'text', TypeError),
    (b'bytes', TypeError),
    (1, TypeError),
])
def test_nothing_is_sent_if_one_of_many_can_not_be(messages, error):
    def send(websocket):
        with pytest.raises(error):
            websocket.send_many(messages)
        websocket.send_text(u'all that there is')

    assert send_and_close(send) == [(0x81, b'all that there is')]


@pytest.mark.skipif(six.PY2, reason='tracemalloc is new in 3')
def test_a_large_message_is_not_copied_as_a_whole():
    tracemalloc = pytest.importorskip('tracemalloc', reason='PyPy has no tracemalloc')
    message = b'x' * (32 * 1024 * 1024)
    peaks = []

    def script(sock):
        answer_upgrade(sock)
        buffer = bytearray(65536)
        while sock.recv_into(buffer):
            pass

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        for event in websocket:
            if event.name == 'ready':
                tracemalloc.start()
                try:
                    websocket.send_binary(message)
                    peaks.append(tracemalloc.get_traced_memory()[1])
                finally:
                    tracemalloc.stop()
                break
    assert peaks[0] < len(message) / 8


# -- compression --

DEFLATE = b'Sec-WebSocket-Extensions: permessage-deflate'


class Inflater(object):
    """Inflates the messages of one side, by RFC 7692 7.2.2."""

    def __init__(self):
        self._inflater = zlib.decompressobj(-15)

    def __call__(self, payload):
        return self._inflater.decompress(payload + b'\x00\x00\xff\xff')


def test_messages_are_compressed_once_that_was_agreed_on():
    text = u'again and again ' * 100
    frames = send_and_close(
        lambda ws: [ws.send_text(text), ws.send_binary(b'abc'), ws.send_text(text),
                    ws.send_json(a=1)],
        DEFLATE, compress=True)
    assert [first for first, _payload in frames] == [0xc1, 0xc2, 0xc1, 0xc1]
    inflate = Inflater()
    assert [inflate(payload) for _first, payload in frames] == [
        text.encode('ascii'), b'abc', text.encode('ascii'), b'{"a": 1}']
    # The second time the window has it already.
    assert len(frames[2][1]) < len(frames[0][1])


def test_a_message_may_ask_not_to_be_compressed():
    frames = send_and_close(
        lambda ws: [ws.send_text(u'abc', compress=False), ws.send_binary(b'abc', False),
                    ws.send_text(u'abc')],
        DEFLATE, compress=True)
    assert frames[:2] == [(0x81, b'abc'), (0x82, b'abc')]
    assert frames[2][0] == 0xc1
    assert Inflater()(frames[2][1]) == b'abc'


def test_control_frames_are_never_compressed():
    frames = send_and_close(
        lambda ws: [ws.send_ping(b'abc'), ws.send_pong(b'abc')], DEFLATE, compress=True)
    assert frames == [(0x89, b'abc'), (0x8a, b'abc')]


def test_nothing_is_compressed_if_the_server_did_not_agree():
    frames = send_and_close(lambda ws: ws.send_text(u'abc'), compress=True)
    assert frames == [(0x81, b'abc')]


# -- pings and pongs --

def test_a_ping_is_answered_and_reported():
    frames = []

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(9, b'a') + make_frame(9, b'') + make_frame(9, b'x' * 125))
        sock.sendall(make_close(1000))
        frames.extend(read_to_close(sock))

    with RawServer(script) as server:
        events = list(WebSocket(server.url))
    assert [event.data for event in events if event.name == 'ping'] == [b'a', b'', b'x' * 125]
    assert frames[:-1] == [(0x8a, b'a'), (0x8a, b''), (0x8a, b'x' * 125)]


def test_without_auto_pong_a_ping_is_only_reported():
    frames = []

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(9, b'a') + make_close(1000))
        frames.extend(read_to_close(sock))

    with RawServer(script) as server:
        events = list(WebSocket(server.url).connect(auto_pong=False))
    assert names(events)[3:] == ['ping', 'closing', 'disconnected']
    assert [first for first, _payload in frames] == [0x88]


def test_a_pong_is_reported_asked_for_or_not():
    with RawServer(accept_and_send(make_frame(10, b'a'), make_close(1000))) as server:
        events = list(WebSocket(server.url))
    assert names(events)[3:] == ['pong', 'closing', 'disconnected']
    assert events[4].data == b'a'


# -- when sending is refused --

SENDS = [
    lambda ws: ws.send_text(u'x'),
    lambda ws: ws.send_text(u'x', compress=False),
    lambda ws: ws.send_binary(b'x'),
    lambda ws: ws.send_json(a=1),
    lambda ws: ws.send_many([u'x', b'x']),
    lambda ws: ws.send_ping(b'x'),
    lambda ws: ws.send_pong(b'x'),
]


def refuses(websocket, error):
    """Check that each way to send raises exactly this error."""
    for send in SENDS:
        with pytest.raises(errors.WebSocketUnavailable) as caught:
            send(websocket)
        assert type(caught.value) is error
        assert str(caught.value)


def test_sending_raises_by_the_state_and_never_more():
    def script(sock):
        answer_upgrade(sock)
        read_frame(sock)
        sock.sendall(make_frame(1, b'late') + make_close(1000))
        assert end_and_drain(sock) == b''

    seen = []
    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        for event in websocket:
            seen.append(event.name)
            if event.name in ('connecting', 'connected'):
                refuses(websocket, errors.WebSocketUnavailable)
            elif event.name == 'ready':
                websocket.close()
                refuses(websocket, errors.WebSocketClosing)
            elif event.name == 'text':
                refuses(websocket, errors.WebSocketClosing)
            elif event.name in ('closed', 'disconnected'):
                refuses(websocket, errors.WebSocketClosed)
        refuses(websocket, errors.WebSocketClosed)
    assert seen == [
        'connecting', 'connected', 'ready', 'poll', 'text', 'closed', 'disconnected']


def test_sending_after_a_rejection_is_refused():
    def script(sock):
        read_head(sock)
        sock.sendall(b'HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n')

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        for event in websocket:
            if event.name == 'rejected':
                refuses(websocket, errors.WebSocketClosed)
                websocket.close()
        refuses(websocket, errors.WebSocketClosed)


def test_sending_after_a_connect_fail_is_refused(dead_port):
    websocket = WebSocket('ws://127.0.0.1:{}/'.format(dead_port))
    for event in websocket:
        if event.name == 'connect_fail':
            refuses(websocket, errors.WebSocketClosed)
            websocket.close()
            websocket.force_disconnect()
    refuses(websocket, errors.WebSocketClosed)
    websocket.close()
    with pytest.raises(errors.WebSocketUnavailable):
        websocket.session.write(b'x')


def test_sending_after_a_protocol_error_is_refused():
    with RawServer(accept_and_send(make_frame(3))) as server:
        websocket = WebSocket(server.url)
        for event in websocket:
            if event.name == 'protocol_error':
                refuses(websocket, errors.WebSocketClosing)
                websocket.close()


def test_wrong_arguments_raise_and_leave_the_connection_as_it_was():
    def send(websocket):
        for call, error in [
                (lambda: websocket.send_text(b'x'), TypeError),
                (lambda: websocket.send_text(u'\ud800'), ValueError),
                (lambda: websocket.send_binary(u'x'), TypeError),
                (lambda: websocket.send_ping(b'x' * 126), ValueError),
                (lambda: websocket.send_pong(u'x'), TypeError),
                (lambda: websocket.send_json(object()), TypeError),
                (lambda: websocket.close(1005), ValueError)]:
            with pytest.raises(error):
                call()
        websocket.send_text(u'fine')

    assert send_and_close(send, DEFLATE, compress=True)[0][0] == 0xc1


# -- a peer that doesn't read --

# More than the system buffers for a peer that reads nothing.
HUGE = b'x' * (12 * 1024 * 1024)


def accept_and_ignore(may_end, *frames):
    """Make a script that accepts, sends, and reads nothing until it may end.

    Its ``has_sent`` is an Event that tells how far it is.
    """
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(b''.join(frames))
        script.has_sent.set()
        wait_for(may_end)

    script.has_sent = threading.Event()
    return script


def test_a_peer_that_does_not_read_fails_a_send_within_write_timeout():
    may_end = threading.Event()
    failures = []
    script = accept_and_ignore(may_end, make_frame(1, b'unread'))
    with RawServer(script) as server:
        websocket = WebSocket(server.url, write_timeout=0.1)
        events = []
        for event in websocket:
            events.append(event)
            if event.name == 'ready':
                wait_for(script.has_sent)
                with pytest.raises(errors.TransportFail) as caught:
                    websocket.send_binary(HUGE)
                failures.append(caught.value)
        may_end.set()
    assert 'write timed out after 0.1 s: the peer ' in str(failures[0])
    assert 0 < failures[0].sent < failures[0].size
    # What it had sent is delivered all the same.
    assert names(events)[3:] == ['text', 'disconnected']
    assert not events[-1].graceful
    assert str(failures[0]) in events[-1].reason


def test_a_close_frame_that_had_arrived_does_not_hide_that_a_send_failed():
    may_end = threading.Event()
    script = accept_and_ignore(may_end, make_close(1000))
    with RawServer(script) as server:
        websocket = WebSocket(server.url, write_timeout=0.1)
        events = []
        for event in websocket:
            events.append(event)
            if event.name == 'ready':
                wait_for(script.has_sent)
                with pytest.raises(errors.TransportFail) as torn:
                    websocket.send_binary(HUGE)
        may_end.set()
    assert names(events)[3:] == ['closing', 'disconnected']
    assert events[-1].reason == str(torn.value)
    assert not events[-1].graceful


def test_a_torn_frame_is_followed_by_nothing():
    received = []
    may_read = threading.Event()
    has_read = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(may_read)
        received.append(drain(sock))
        has_read.set()

    with RawServer(script) as server:
        websocket = WebSocket(server.url, write_timeout=0.05)
        for event in websocket:
            if event.name == 'ready':
                with pytest.raises(errors.TransportFail) as torn:
                    websocket.send_binary(HUGE)
                websocket.close()
                with pytest.raises(errors.WebSocketClosing):
                    websocket.send_text(u'x')
        assert not event.graceful
        may_read.set()
        wait_for(has_read)
    assert bytearray(received[0])[0] == 0x02
    assert len(received[0]) == torn.value.sent < len(HUGE) < torn.value.size


def test_force_disconnect_frees_a_blocked_sender_at_once(link):
    may_end = threading.Event()
    is_ready = threading.Event()
    with link.serve(accept_and_ignore(may_end)) as server:
        websocket = link.connect(server.url, write_timeout=None)

        def loop():
            events = []
            for event in websocket:
                events.append(event)
                if event.name == 'poll':
                    is_ready.set()
            return events

        def send():
            # The end may come between two fragments.
            with pytest.raises((errors.TransportFail, errors.WebSocketClosed)):
                websocket.send_binary(HUGE)

        reader = Background(loop)
        wait_for(is_ready)
        sender = Background(send)
        other = Background(send_text_or_fail, websocket)
        wait_until_sending(websocket)
        websocket.force_disconnect()
        sender.result()
        other.result()
        events = reader.result()
        may_end.set()
    assert names(events)[-1] == 'disconnected'
    assert not events[-1].graceful


def send_text_or_fail(websocket):
    """Send, or find that the connection is gone."""
    try:
        websocket.send_text(u'x')
    except errors.WebSocketError:
        pass


def test_the_loop_goes_on_while_a_sender_is_blocked():
    """Messages, pings and Polls come; the pong that is owed goes out afterwards."""
    may_read = threading.Event()
    is_ready = threading.Event()
    is_blocked = threading.Event()
    frames = []

    def script(sock):
        answer_upgrade(sock)
        wait_for(is_blocked)
        sock.sendall(make_frame(1, b'hi') + make_frame(9, b'1') + make_frame(9, b'2'))
        wait_for(may_read)
        frames.append(read_frame(sock))
        while frames[-1][0] != 0x8a:
            frames.append(read_frame(sock))
        sock.sendall(make_close(1000))
        frames.extend(read_to_close(sock))

    with RawServer(script) as server:
        websocket = WebSocket(server.url, fragment_size=None)

        def loop():
            events = []
            polls = 0
            for event in websocket.connect(poll=0.01, ping_rate=0.01):
                events.append(event)
                if event.name == 'ready':
                    is_ready.set()
                elif event.name == 'poll' and 'ping' in names(events):
                    polls += 1
                    if polls == 3:
                        may_read.set()
            return events

        reader = Background(loop)
        wait_for(is_ready)
        sender = Background(websocket.send_binary, HUGE)
        wait_until_sending(websocket)
        is_blocked.set()
        sender.result()
        events = reader.result()
    assert names(events)[3:] == ['text', 'ping', 'ping', 'closing', 'disconnected']
    data = [(first, payload) for first, payload in frames if first != 0x89]
    assert [first for first, _payload in data] == [0x82, 0x8a, 0x88]
    assert data[0][1] == HUGE
    assert data[1][1] == b'2'       # RFC 6455 5.5.3: the latest will do
