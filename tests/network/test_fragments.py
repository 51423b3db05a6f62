"""Large messages go out in fragments, with control frames in between (RFC 6455 5.4)."""

from __future__ import absolute_import, division, print_function

import os
import signal
import socket
import threading
import zlib

import pytest

from lomond import WebSocket, errors
from lomond.engine.controls import MAX_WAITING, ControlFrames
from lomond.net.transport import PROGRESS
from lomond.net.waiter import WRITE
from lomond.server import Server
from lomond.testing import Clock, open_over
from tests.network.driving import (
    Background,
    count_steps,
    drain,
    read_to_close,
    wait_for,
    wait_until_sending,
)
from tests.support import (
    PATIENCE,
    RawServer,
    answer_upgrade,
    make_close,
    make_frame,
    names,
    read_frame,
)

pytestmark = pytest.mark.usefixtures('nothing_is_left_open')

# Buffers that don't grow, and together take less than one fragment (bytes).
BUFFER = 32 * 1024
SMALL = [(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)]
FRAGMENT = 512 * 1024
MESSAGE = os.urandom(4 * FRAGMENT)

PING, PONG, CLOSE = 0x89, 0x8a, 0x88


def split(frames):
    """Return the data frames joined to (first byte, payload), and the control frames."""
    data = [(first, payload) for first, payload in frames if not first & 0x08]
    controls = [(first, payload) for first, payload in frames if first & 0x08]
    assert [first & 0x0f for first, _payload in data[1:]] == [0] * (len(data) - 1)
    return b''.join([payload for _first, payload in data]), controls


def check_pong_in_between(frames):
    """Not after which fragment: a sender that is slow at masking need not wait, and reads later."""
    firsts = [first for first, _payload in frames]
    assert firsts.index(PONG) < firsts.index(0x80)
    firsts.remove(PONG)
    assert firsts == [0x02, 0x00, 0x00, 0x80, CLOSE]


class Upload(object):
    """A client whose thread or loop sends a large message, and what the server sees of it.

    ``interrupt(sock)`` is called by the server when the client waits in the middle of its
    first fragment; then it reads all frames up to the client's Close, and answers that: when
    ``may_answer`` is set, which a test clears to see what a sender is told before.
    """

    def __init__(self, interrupt=None, **options):
        self.frames = []
        self._interrupt = interrupt
        self._may_begin = threading.Event()
        options.setdefault('fragment_size', FRAGMENT)
        self._server = RawServer(self._script, receive_buffer=BUFFER)
        self.websocket = WebSocket(
            self._server.url, write_timeout=None, socket_options=SMALL, **options)
        self.is_ready = threading.Event()
        self.may_read = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def _script(self, sock):
        answer_upgrade(sock)
        wait_for(self.is_ready)
        wait_until_sending(self.websocket)
        if self._interrupt is not None:
            self._interrupt(sock)
        wait_for(self.may_read)
        self.frames.extend(read_to_close(sock))
        wait_for(self.may_answer)
        sock.sendall(make_close(1000))

    def __enter__(self):
        self._server.__enter__()
        return self

    def __exit__(self, *exc_info):
        self.may_read.set()
        self.may_answer.set()
        self._server.__exit__(*exc_info)

    def loop(self, until=None, **options):
        """Run the loop; the server reads on once there was an event with the name ``until``."""
        events = []
        for event in self.websocket.connect(**options):
            events.append(event)
            if event.name == 'ready':
                self.is_ready.set()
            if event.name == until:
                self.may_read.set()
        return events


def send_in_background(upload, **options):
    """Begin the loop and the upload, each in a thread; return both."""
    reader = Background(lambda: upload.loop(**options))
    wait_for(upload.is_ready)
    return reader, Background(upload.websocket.send_binary, MESSAGE)


def test_a_pong_goes_out_between_the_fragments_of_another_threads_message():
    with Upload(lambda sock: sock.sendall(make_frame(9, b'now'))) as upload:
        reader, sender = send_in_background(upload, until='ping')
        sender.result()
        upload.websocket.close()
        events = reader.result()
    assert events[-1].graceful
    check_pong_in_between(upload.frames)
    assert split(upload.frames)[0] == MESSAGE


@pytest.mark.parametrize('method', ['send_binary', 'send_many'])
def test_a_pong_goes_out_while_the_loops_own_body_sends(method):
    """What the server sent comes out of the loop afterwards, in its order."""
    def interrupt(sock):
        sock.sendall(make_frame(1, b'one') + make_frame(9, b'now') + make_frame(1, b'two'))
        upload.may_read.set()

    events = []
    with Upload(interrupt) as upload:
        websocket = upload.websocket
        for event in websocket:
            events.append(event)
            if event.name == 'ready':
                upload.is_ready.set()
                getattr(websocket, method)(MESSAGE if method == 'send_binary' else [MESSAGE])
                assert names(events)[-1] == 'ready'
            elif event.name == 'text' and event.text == u'two':
                websocket.close()
    check_pong_in_between(upload.frames)
    assert split(upload.frames)[0] == MESSAGE
    assert names(events)[2:] == ['ready', 'text', 'ping', 'text', 'closed', 'disconnected']
    assert [event.text for event in events if event.name == 'text'] == [u'one', u'two']
    assert events[-1].graceful


def test_what_is_read_ahead_comes_before_the_rest_of_what_was_read_before():
    """The body sends at the first of several messages that came in one piece."""
    texts = [u'{}'.format(number) for number in range(100)]

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(b''.join([make_frame(1, text.encode('ascii')) for text in texts[:50]]))
        wait_for(is_sending)
        wait_until_sending(websocket)
        sock.sendall(b''.join([make_frame(1, text.encode('ascii')) for text in texts[50:]]))
        read_to_close(sock)
        sock.sendall(make_close(1000))

    received = []
    is_sending = threading.Event()
    with RawServer(script, receive_buffer=BUFFER) as server:
        websocket = WebSocket(server.url, socket_options=SMALL, fragment_size=FRAGMENT)
        for event in websocket:
            if event.name == 'text':
                received.append(event.text)
                if len(received) == 1:
                    is_sending.set()
                    websocket.send_binary(MESSAGE)
                    websocket.send_binary(MESSAGE)
                elif len(received) == len(texts):
                    websocket.close()
    assert event.graceful
    assert received == texts


def test_what_was_read_ahead_is_dropped_by_force_disconnect():
    def interrupt(sock):
        sock.sendall(make_frame(1, b'unread'))
        upload.may_read.set()

    events = []
    with Upload(interrupt) as upload:
        for event in upload.websocket:
            events.append(event)
            if event.name == 'ready':
                upload.is_ready.set()
                upload.websocket.send_binary(MESSAGE)
                assert upload.websocket.stats.received.messages == 1    # the loop has it to yield
                upload.websocket.force_disconnect()
    assert [event.name for event in events[2:]] == ['ready', 'disconnected']


def test_a_close_frame_of_the_users_goes_out_between_fragments():
    with Upload() as upload:
        upload.may_answer.clear()
        reader, sender = send_in_background(upload)
        wait_until_sending(upload.websocket)
        upload.websocket.close(4000, u'enough')
        upload.may_read.set()
        with pytest.raises(errors.WebSocketClosing, match='in the middle of this message'):
            sender.result()
        upload.may_answer.set()
        events = reader.result()
    assert upload.frames == [(0x02, MESSAGE[:FRAGMENT]), (CLOSE, b'\x0f\xa0enough')]
    assert names(events)[-2:] == ['closed', 'disconnected']
    assert events[-1].graceful


def test_the_peers_close_is_answered_between_the_fragments_of_another_threads_message():
    with Upload(lambda sock: sock.sendall(make_close(4001))) as upload:
        reader, sender = send_in_background(upload, until='poll', poll=0.01)
        with pytest.raises(errors.WebSocketClosed, match='in the middle of this message'):
            sender.result()
        events = reader.result()
    kinds = [first for first, _payload in upload.frames]
    assert (kinds[0], kinds[-1]) == (0x02, CLOSE)
    assert set(kinds[1:-1]) <= {0x00}       # some go out before the loop reads the Close
    assert names(events)[-2:] == ['closing', 'disconnected']
    assert events[-1].graceful


def test_a_message_of_the_loops_own_body_is_finished_before_the_peers_close_is_answered():
    """The user is still to see Closing, and may send while it is handled."""
    def interrupt(sock):
        sock.sendall(make_close(4001))
        upload.may_read.set()

    events = []
    with Upload(interrupt) as upload:
        for event in upload.websocket:
            events.append(event)
            if event.name == 'ready':
                upload.is_ready.set()
                upload.websocket.send_binary(MESSAGE)
            elif event.name == 'closing':
                upload.websocket.send_text(u'last words')
    assert [first for first, _payload in upload.frames] == [0x02, 0x00, 0x00, 0x80, 0x81, CLOSE]
    assert names(events)[2:] == ['ready', 'closing', 'disconnected']
    assert events[-1].graceful


def test_a_protocol_error_that_is_read_ahead_ends_the_message():
    def interrupt(sock):
        sock.sendall(make_frame(3, b'reserved'))
        upload.may_read.set()

    events = []
    with Upload(interrupt) as upload:
        for event in upload.websocket:
            events.append(event)
            if event.name == 'ready':
                upload.is_ready.set()
                with pytest.raises(errors.WebSocketClosing, match='in the middle'):
                    upload.websocket.send_binary(MESSAGE)
    assert [first for first, _payload in upload.frames] == [0x02, CLOSE]
    assert upload.frames[-1][1][:2] == b'\x03\xea'
    assert names(events)[2:] == ['ready', 'protocol_error', 'disconnected']


def test_pings_and_pongs_of_other_threads_go_out_between_fragments_in_their_order():
    with Upload() as upload:
        reader, sender = send_in_background(upload)
        websocket = upload.websocket
        wait_until_sending(websocket)
        for number in range(10):
            websocket.send_ping(b'%d' % number)
            websocket.send_pong(b'%d' % number)
        upload.may_read.set()
        sender.result()
        websocket.close()
        assert reader.result()[-1].graceful
    data, controls = split(upload.frames)
    assert data == MESSAGE
    assert controls[:-1] == [
        (first, b'%d' % number) for number in range(10) for first in (PING, PONG)]
    assert [first for first, _payload in upload.frames[:3]] == [0x02, PING, PONG]
    assert websocket.stats.pings_sent == 10


def test_control_frames_that_wait_are_limited():
    """One more waits for the message, as any other frame does."""
    with Upload() as upload:
        reader, sender = send_in_background(upload)
        websocket = upload.websocket
        wait_until_sending(websocket)
        for _ in range(MAX_WAITING):
            websocket.send_ping(b'waits')
        other = Background(websocket.send_ping, b'late')
        upload.may_read.set()
        sender.result()
        other.result()
        websocket.close()
        assert reader.result()[-1].graceful
    data, controls = split(upload.frames)
    assert data == MESSAGE
    assert controls[:-1] == [(PING, b'waits')] * MAX_WAITING + [(PING, b'late')]


def test_nothing_follows_a_close_frame_that_waits():
    with Upload() as upload:
        upload.may_answer.clear()
        reader, sender = send_in_background(upload)
        websocket = upload.websocket
        wait_until_sending(websocket)
        websocket.close()
        websocket.close()
        for send in (websocket.send_ping, lambda: websocket.send_pong(b'')):
            with pytest.raises(errors.WebSocketClosing):
                send()
        upload.may_read.set()
        with pytest.raises(errors.WebSocketClosing):
            sender.result()
        upload.may_answer.set()
        assert reader.result()[-1].graceful
    assert [first for first, _payload in upload.frames] == [0x02, CLOSE]


@pytest.fixture
def open_pair():
    """An open websocket without a loop, and the other end of its socket."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE)
    websocket = open_over(ours)
    yield websocket, theirs
    websocket.session.dispose()
    theirs.close()


@pytest.mark.parametrize('send, first', [
    (lambda ws: ws.send_text(u'x'), 0x81),
    (lambda ws: ws.send_binary(b'x' * 70000), 0x82),
    (lambda ws: ws.send_many([u'x']), 0x81),
    (lambda ws: ws.send_ping(), PING),
])
def test_no_message_overtakes_a_control_frame_that_waits(open_pair, send, first):
    """The message it waited for has just ended, and its thread sends the next."""
    websocket, peer = open_pair
    websocket.session.writer.is_interleaving = True
    websocket.send_ping(b'1')
    websocket.send_pong(b'2')
    websocket.session.writer.is_interleaving = False
    sender = Background(send, websocket)
    assert read_frame(peer) == (PING, b'1')
    assert read_frame(peer) == (PONG, b'2')
    assert read_frame(peer)[0] == first
    sender.result()


def test_no_message_follows_a_close_frame_that_waits(open_pair):
    websocket, peer = open_pair
    websocket.session.writer.is_interleaving = True
    websocket.close()
    websocket.session.writer.is_interleaving = False
    with pytest.raises(errors.WebSocketClosing):
        websocket.send_text(u'x')
    assert read_frame(peer)[0] == CLOSE


@pytest.mark.parametrize('is_late', [False, True], ids=['before it waits', 'after it waits'])
def test_a_ping_that_meets_a_close_frame_goes_out_or_raises(open_pair, is_late):
    """Another thread, or a signal's handler, closes while the ping is being added."""
    class Waiting(ControlFrames):
        __slots__ = ()

        def add(self, opcode, payload):
            writer.is_interleaving = False      # that message has just ended
            if is_late:
                super(Waiting, self).add(opcode, payload)
            websocket.close()
            if not is_late:
                super(Waiting, self).add(opcode, payload)

    websocket, peer = open_pair
    writer = websocket.session.writer
    writer.pending = Waiting()
    writer.is_interleaving = True
    if is_late:
        websocket.send_ping(b'1')
        assert read_frame(peer) == (PING, b'1')
    else:
        with pytest.raises(errors.WebSocketClosing):
            websocket.send_ping(b'1')
        assert not writer.pending.has_users
    assert read_frame(peer)[0] == CLOSE
    assert websocket.stats.pings_sent == int(is_late)


def test_pings_of_the_loop_go_out_between_fragments():
    is_sending = threading.Event()
    polls = []

    def loop():
        for event in upload.websocket.connect(ping_rate=0.01, poll=0.05):
            if event.name == 'ready':
                upload.is_ready.set()
            elif event.name == 'poll' and is_sending.is_set():
                polls.append(event)
                if len(polls) == 3:     # a ping was due before the last of them
                    upload.may_read.set()
        return event

    with Upload() as upload:
        reader = Background(loop)
        wait_for(upload.is_ready)
        sender = Background(upload.websocket.send_binary, MESSAGE)
        wait_until_sending(upload.websocket)
        is_sending.set()
        sender.result()
        upload.websocket.close()
        assert reader.result().graceful
    data = [first for first, _payload in upload.frames]
    fragment = data.index(0x02)     # a ping may have gone out before the message
    assert data[fragment:fragment + 2] == [0x02, PING]
    assert split(upload.frames)[0] == MESSAGE


def test_a_signals_handler_that_closes_ends_a_message_of_its_own_thread():
    def interrupt(_sock):
        os.kill(os.getpid(), signal.SIGUSR1)
        upload.may_read.set()

    before = signal.signal(signal.SIGUSR1, lambda *_args: upload.websocket.close(1001))
    try:
        with Upload(interrupt) as upload:
            for event in upload.websocket:
                if event.name == 'ready':
                    upload.is_ready.set()
                    with pytest.raises(errors.WebSocketClosing):
                        upload.websocket.send_binary(MESSAGE)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert event.graceful
    assert upload.frames[-1] == (CLOSE, b'\x03\xe9goodbye')
    assert 0x80 not in [first for first, _payload in upload.frames]


def test_without_a_fragment_size_a_message_is_one_frame_and_a_pong_comes_after_it():
    with Upload(lambda sock: sock.sendall(make_frame(9, b'now')), fragment_size=None) as upload:
        reader, sender = send_in_background(upload, until='ping')
        sender.result()
        upload.websocket.close()
        assert reader.result()[-1].graceful
    assert [first for first, _payload in upload.frames] == [0x82, PONG, CLOSE]


def test_a_compressed_message_is_sent_in_fragments_too():
    frames = []

    def script(sock):
        answer_upgrade(sock, b'Sec-WebSocket-Extensions: permessage-deflate')
        frames.extend(read_to_close(sock))
        sock.sendall(make_close(1000))

    with RawServer(script) as server:
        websocket = WebSocket(server.url, compress=True, fragment_size=100000)
        for event in websocket:
            if event.name == 'ready':
                websocket.send_binary(MESSAGE[:300000])
                websocket.send_binary(b'x' * 300000)        # one frame, once deflated
                websocket.close()
    assert event.graceful
    assert [first for first, _payload in frames] == [0x42, 0x00, 0x00, 0x80, 0xc2, CLOSE]
    inflater = zlib.decompressobj(-15)
    tail = b'\x00\x00\xff\xff'
    first = b''.join([payload for _first, payload in frames[:4]])
    assert inflater.decompress(first + tail) == MESSAGE[:300000]
    assert inflater.decompress(frames[4][1] + tail) == b'x' * 300000


@pytest.mark.parametrize('fragment_size', [1, 7, 125, 1000])
def test_small_messages_are_cut_where_the_fragment_size_is_smaller(fragment_size):
    frames = []

    def script(sock):
        answer_upgrade(sock)
        frames.extend(read_to_close(sock))
        sock.sendall(make_close(1000))

    with RawServer(script) as server:
        websocket = WebSocket(server.url, fragment_size=fragment_size)
        for event in websocket:
            if event.name == 'ready':
                websocket.send_text(u'x' * 1001)
                websocket.send_ping(b'whole' * 25)
                websocket.close()
    assert event.graceful
    assert frames[-2] == (PING, b'whole' * 25)
    data = frames[:-2]
    assert data[0][0] == 0x01
    assert data[-1][0] == 0x80
    assert len(data) == -(-1001 // fragment_size)
    assert split(data)[0] == b'x' * 1001


def test_a_fragment_size_that_is_set_holds_from_the_next_connection_on():
    counts = []

    def script(sock):
        answer_upgrade(sock)
        counts.append(len(read_to_close(sock)) - 1)
        sock.sendall(make_close(1000))

    with RawServer(script) as server:
        websocket = WebSocket(server.url, fragment_size=100000)
        for _ in range(2):
            for event in websocket:
                if event.name == 'ready':
                    websocket.fragment_size = 1000
                    websocket.send_binary(MESSAGE[:200000])
                    websocket.close()
    assert counts == [2, 200]


def test_a_server_sends_in_fragments():
    def handler(websocket):
        for event in websocket:
            if event.name == 'ready':
                websocket.send_binary(MESSAGE)
                websocket.send_text(u'end')

    with Server(handler, fragment_size=FRAGMENT) as server:
        websocket = WebSocket(server.url)
        received = []
        for event in websocket:
            if event.name == 'binary':
                received.append(event.data)
            elif event.name == 'text':
                websocket.close()
    assert received == [MESSAGE]
    assert websocket.stats.received.wire_bytes > len(MESSAGE) + 4 * 10 - 1


def test_events_read_ahead_are_limited():
    """By what they hold, inflated: a peer can't fill the memory while we send."""
    limit = 256 * 1024
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    text = b'x' * 100000
    messages = []
    for _ in range(50):
        data = deflater.compress(text) + deflater.flush(zlib.Z_SYNC_FLUSH)
        messages.append(make_frame(1, data[:-4], rsv=0x40))

    def script(sock):
        answer_upgrade(sock, b'Sec-WebSocket-Extensions: permessage-deflate')
        wait_until_sending(websocket)
        for message in messages:
            sock.sendall(message)
        read_to_close(sock)
        sock.sendall(make_close(1000))

    received = []
    most = []
    with RawServer(script, receive_buffer=BUFFER) as server:
        websocket = WebSocket(
            server.url, socket_options=SMALL, fragment_size=FRAGMENT, compress=True,
            max_message_size=len(text), max_read_ahead=limit)
        for event in websocket:
            if event.name == 'ready':
                websocket.send_binary(MESSAGE, compress=False)
                most.append(websocket.session.ahead_size)
            elif event.name == 'text':
                received.append(len(event.text))
                if len(received) == len(messages):
                    websocket.close()
    assert event.graceful
    assert received == [len(text)] * len(messages)
    # It ends with what one read of the socket brought.
    assert most[0] <= limit + 65536 // len(messages[1]) * len(text)


# -- signs of life --

def test_a_peer_that_reads_what_is_sent_is_not_unresponsive():
    """It may have nothing to say before it has read a large message."""
    clock = Clock()
    may_end = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(may_end)
        drain(sock)

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        events = []
        for event in websocket.connect(
                session_class=clock.session, poll=0.01, ping_rate=5, ping_timeout=10):
            events.append(event)
            if event.name == 'poll':
                if len(events) < 50:
                    websocket.session.transport.progress += PROGRESS
                clock.ahead += 1
        may_end.set()
    assert names(events)[2:] == ['ready', 'unresponsive', 'disconnected']
    assert len(events) > 60


def test_a_slow_handler_loses_nothing_that_had_arrived_before_a_send_failed():
    clock = Clock()
    may_end = threading.Event()
    texts = [b'%d' % number * 50000 for number in range(8)]

    def script(sock):
        answer_upgrade(sock)
        for text in texts:
            sock.sendall(make_frame(1, text))
        wait_for(may_end)

    received = []
    with RawServer(script) as server:
        websocket = WebSocket(server.url, write_timeout=0.05)
        for event in websocket.connect(session_class=clock.session):
            if event.name == 'ready':
                with pytest.raises(errors.TransportFail):
                    websocket.send_binary(b'x' * (16 * 1024 * 1024))
            elif event.name == 'text':
                received.append(event.text.encode('ascii'))
                clock.ahead += 60
        may_end.set()
    assert received == texts
    assert 'write timed out' in event.reason


def test_a_broken_connection_to_a_peer_that_sends_on_ends(monkeypatch):
    monkeypatch.setattr('lomond.engine.session.SALVAGE', 1024 * 1024)
    text = b'x' * 60000

    def script(sock):
        answer_upgrade(sock)
        while True:         # it ends with the connection
            sock.sendall(make_frame(1, text))

    with RawServer(script) as server:
        websocket = WebSocket(server.url, write_timeout=0.05, max_read_ahead=1)
        websocket.max_message_size = 65536
        received = 0
        for event in websocket:
            if event.name == 'ready':
                with pytest.raises(errors.TransportFail):
                    websocket.send_binary(b'x' * (16 * 1024 * 1024))
            elif event.name == 'text':
                received += len(event.text)
    assert event.name == 'disconnected'
    assert not event.graceful
    assert 'write timed out' in event.reason
    assert received < 64 * 1024 * 1024


# -- what the loop does beside a send --

def test_the_loop_sends_control_frames_in_the_order_of_the_calls(open_pair):
    """The message that they waited for ended before its thread looked for them."""
    websocket, peer = open_pair
    session = websocket.session
    session.writer.is_interleaving = True
    for number in range(3):
        websocket.send_ping(b'%d' % number)
    session.writer.is_interleaving = False
    session.writer.flush_pending()
    assert [read_frame(peer) for _ in range(3)] == [(PING, b'%d' % number) for number in range(3)]
    assert not session.writer.is_sending
    assert not session.writer.pending.any


@pytest.mark.parametrize('last', [make_frame(3, b''), make_close(4001)], ids=['error', 'close'])
def test_the_loop_does_not_spin_while_a_send_is_stuck_behind_the_peers_last_frame(last):
    """What the peer sends behind it is read ahead, and is nothing to wake up for."""
    is_last = threading.Event()
    may_end = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_until_sending(websocket)
        sock.sendall(last)
        wait_for(is_last)
        sock.sendall(b'junk' * 100)
        wait_for(may_end)

    polls, steps = [], []
    with RawServer(script, receive_buffer=BUFFER) as server:
        websocket = WebSocket(server.url, socket_options=SMALL, fragment_size=None)
        for event in websocket.connect(poll=0.05, ping_rate=0):
            if event.name == 'ready':
                sender = Background(websocket.send_binary, MESSAGE)
            elif event.name in ('protocol_error', 'closing'):
                is_last.set()
            elif event.name == 'poll' and is_last.is_set():
                if websocket.session.transport.has_pending():
                    if not polls:
                        count_steps(websocket.session, steps)
                    polls.append(event)
                if len(polls) == 5:
                    websocket.force_disconnect()
        may_end.set()
        with pytest.raises(errors.WebSocketError):
            sender.result()
    assert len(steps) < 50


def test_a_pong_that_finds_the_send_buffer_full_goes_out_as_soon_as_it_is_not(open_pair):
    """The ping comes out of the step's events, after the step had said what to wait for."""
    websocket, peer = open_pair
    session = websocket.session
    session.deadline = float('inf')
    session.interest = session.transport.interest
    with pytest.raises(errors.WebSocketUnavailable):    # not begun, but nothing else is left to do
        list(session.step())
    while session.transport.send_some(b'x' * 65536)[0]:
        pass
    session.writer.reply(10, b'now')
    assert session.writer.needs_buffer
    assert session.time_left() is None
    (_fd, mask), = session.interest
    assert mask & WRITE


def test_a_close_that_waits_for_a_fragment_has_close_timeout():
    """Even where the peer never reads, and a send may wait for ever."""
    may_end = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(may_end)

    with RawServer(script, receive_buffer=BUFFER) as server:
        websocket = WebSocket(
            server.url, socket_options=SMALL, fragment_size=FRAGMENT, write_timeout=None)
        for event in websocket.connect(poll=None, ping_rate=0, close_timeout=0.2):
            if event.name == 'ready':
                sender = Background(websocket.send_binary, MESSAGE)
                wait_until_sending(websocket)
                websocket.close()
        may_end.set()
        with pytest.raises(errors.WebSocketError):
            sender.result()
    assert event.reason == 'the Close frame could not be sent in 0.2 seconds'


def test_events_that_hold_nothing_count_too():
    """A flood of empty messages can't fill the memory while the body sends."""
    limit = 64 * 1024

    def script(sock):
        answer_upgrade(sock)
        wait_until_sending(websocket)
        sock.sendall(make_frame(1) * count)
        read_to_close(sock)
        sock.sendall(make_close(1000))

    received = 0
    count = 20000
    with RawServer(script, receive_buffer=BUFFER) as server:
        websocket = WebSocket(
            server.url, socket_options=SMALL, fragment_size=FRAGMENT, max_message_size=limit,
            max_read_ahead=limit)
        for event in websocket:
            if event.name == 'ready':
                websocket.send_binary(MESSAGE)
                # Each event counts 200 bytes.
                assert websocket.session.ahead_size <= limit + 2 * 200
            elif event.name == 'text':
                received += 1
                if received == count:
                    websocket.close()
    assert event.graceful
    assert received == count


def test_force_disconnect_in_the_midst_of_a_step_is_the_reason():
    def script(sock):
        answer_upgrade(sock)
        drain(sock)

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        for event in websocket.connect(poll=0.01, ping_rate=0):
            if event.name == 'poll':
                transport = websocket.session.transport
                receive = transport.receive
                transport.receive = lambda buffer=None: (
                    websocket.force_disconnect(), receive(buffer))[1]     # noqa: B023
    assert event.reason == 'disconnected by the application'
