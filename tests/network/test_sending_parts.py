"""Messages sent from an iterable or a file: a fragment for each item, and nothing in between."""

from __future__ import absolute_import, division, print_function

import io
import os
import threading

import pytest

from lomond import WebSocket, errors
from lomond.pool import Pool
from lomond.server import Server
from tests.network.driving import Background, wait_for
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


class Recorder(object):
    """A script for `RawServer` that records each frame, as its first byte and payload."""

    def __init__(self):
        self.frames = []
        self.changed = threading.Condition()

    def __call__(self, sock):
        answer_upgrade(sock)
        opcode = None
        while opcode != 8:
            first, payload = read_frame(sock)
            opcode = first & 15
            with self.changed:
                self.frames.append((first, payload))
                self.changed.notify_all()
        sock.sendall(make_close(1000))

    def wait_for(self, frame):
        with self.changed:
            while frame not in self.frames:
                self.changed.wait(PATIENCE)

    @property
    def messages(self):
        return [frame for frame in self.frames if frame[0] & 15 != 8]


def run(websocket, body):
    """Run the body at Ready, and close; return the events."""
    seen = []
    for event in websocket:
        seen.append(event)
        if event.name == 'ready':
            body(websocket)
            websocket.close()
    return seen


def send_to_recorder(link, body, **options):
    recorder = Recorder()
    with link.serve(recorder) as server:
        seen = run(link.connect(server.url, **options), body)
    assert seen[-1].graceful, seen
    return recorder.messages


@pytest.mark.parametrize('chunks, frames', [
    ([], [(0x82, b'')]),
    ([b''], [(0x82, b'')]),
    ([b'a'], [(0x02, b'a'), (0x80, b'')]),
    ([b'a', b'', b'bc'], [(0x02, b'a'), (0x00, b'bc'), (0x80, b'')]),
    ([b'x' * 25], [(0x02, b'x' * 10), (0x00, b'x' * 10), (0x00, b'x' * 5), (0x80, b'')]),
])
@pytest.mark.parametrize('kind', [list, iter, tuple])
def test_each_item_is_a_fragment_of_one_message(link, chunks, frames, kind):
    assert send_to_recorder(
        link, lambda websocket: websocket.send_binary(kind(chunks)), fragment_size=10) == frames


def test_texts_are_fragments_in_utf_8(link):
    assert send_to_recorder(link, lambda websocket: websocket.send_text(
        text for text in [u'caf', u'\xe9', u''])) == [
            (0x01, b'caf'), (0x00, b'\xc3\xa9'), (0x80, b'')]


@pytest.mark.parametrize('method, source', [
    ('send_binary', lambda: io.BytesIO(b'x' * 100000)),
    ('send_text', lambda: io.StringIO(u'x' * 100000))])
def test_a_file_is_read_in_pieces(link, method, source):
    frames = send_to_recorder(link, lambda websocket: getattr(websocket, method)(source()))
    assert [len(payload) for _first, payload in frames] == [65536, 100000 - 65536, 0]
    assert [first & 0x80 for first, _payload in frames] == [0, 0, 0x80]


def test_a_character_of_two_units_on_a_narrow_build_stays_whole(link):
    text = u'x' * 65535 + u'\U0001f600y'
    frames = send_to_recorder(link, lambda websocket: websocket.send_text(io.StringIO(text)))
    assert b''.join(payload for _first, payload in frames) == text.encode('utf-8')


@pytest.mark.skipif(not hasattr(os, 'set_blocking'), reason='os.set_blocking is new in 3.5')
def test_a_file_with_nothing_to_read_for_now_does_not_end_the_message(link):
    """Not as if it were at its end: `read` of a pipe that doesn't block returns None."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    with os.fdopen(write_end, 'wb', 0) as writer, os.fdopen(read_end, 'rb', 0) as reader:
        writer.write(b'some')
        with link.serve(Recorder()) as server:
            websocket = link.connect(server.url)
            for event in websocket:
                if event.name == 'ready':
                    with pytest.raises(ValueError, match='blocking mode'):
                        websocket.send_binary(reader)
    assert event.name == 'disconnected' and not event.graceful


@pytest.mark.parametrize('make', [
    iter, list, lambda items: io.BytesIO(b''.join(map(bytes, items)))])
def test_utf_8_in_parts_is_checked_across_them(link, make):
    def body(websocket):
        websocket.send_utf8(make([b'caf\xc3', b'', b'\xa9 \xf0\x9f', bytearray(b'\x98\x80')]))

    frames = send_to_recorder(link, body)
    assert frames[0][0] == 0x01
    assert b''.join(payload for _first, payload in frames) == u'caf\xe9 \U0001f600'.encode('utf-8')


@pytest.mark.parametrize('wrong, error', [
    ([b'\xff'], ValueError), ([b'\xed', b'\xa0\x80'], ValueError), ([b'\xc3'], ValueError),
    ([u'text'], TypeError), (5, TypeError), ({}, TypeError)])
def test_parts_that_are_not_utf_8_are_refused(link, wrong, error):
    def body(websocket):
        with pytest.raises(error, match='send_utf8'):
            websocket.send_utf8(wrong)

    with link.serve(Recorder()) as server:
        run(link.connect(server.url), body)


def test_a_fragment_goes_out_before_the_next_item_is_asked_for(link):
    def items():
        yield b'first'
        recorder.wait_for((0x02, b'first'))
        yield b'second'

    recorder = Recorder()
    with link.serve(recorder) as server:
        run(link.connect(server.url), lambda websocket: websocket.send_binary(items()))
    assert recorder.messages == [(0x02, b'first'), (0x00, b'second'), (0x80, b'')]


@pytest.mark.parametrize('make', [Server, None], ids=['server', 'pool'])
def test_a_message_in_parts_is_compressed_as_one_if_that_was_agreed_on(make):
    def handler(websocket):
        for event in websocket:
            if event.name == 'text':
                websocket.send_text([event.text, u'!', u' again'])

    with Server(handler, compress=True) as server:
        websocket = WebSocket(server.url, compress=True)
        received = []

        def handle(event):
            if event.name == 'ready':
                websocket.send_text(iter([u'hello ' * 100, u'world']))
            elif event.name == 'text':
                received.append(event.text)
                if len(received) == 3:
                    websocket.close()
                else:
                    websocket.send_text([u'next'])

        if make is Server:
            for event in websocket:
                handle(event)
        else:
            pool = Pool()
            pool.add(websocket)
            for _websocket, event in pool:
                handle(event)
    assert received == [u'hello ' * 100 + u'world! again'] + [u'next! again'] * 2
    assert websocket.stats.sent.messages == 3
    assert websocket.stats.sent.wire_bytes < 300


def test_control_frames_go_out_between_the_items_and_no_message_does(link):
    """Four threads, each with messages in parts and whole ones."""
    def send(websocket, number):
        for _again in range(10):
            websocket.send_binary(b'%d' % number for _part in range(5))
            websocket.send_binary(b'whole')
            websocket.send_many([b'one', b'of many'])
            websocket.send_ping(b'ping')

    def body(websocket):
        threads = [Background(send, websocket, number) for number in range(4)]
        for thread in threads:
            thread.result()

    frames = send_to_recorder(link, body)
    message, count = None, 0
    for first, payload in frames:
        if first & 8:
            continue
        if message is None:
            assert first & 15 == 2
            message = payload
        else:
            assert first & 15 == 0 and payload in (message, b'')
        if first & 0x80:
            message, count = None, count + 1
    assert count == 4 * 10 * 4
    assert sum(first == 0x89 for first, _payload in frames) == 40


def test_the_loop_answers_pings_while_the_iterable_of_another_thread_takes_its_time(link):
    def script(sock):
        answer_upgrade(sock)
        assert read_frame(sock) == (0x02, b'first')
        sock.sendall(make_frame(9, b'are you there'))
        assert read_frame(sock) == (0x8A, b'are you there')
        answered.set()
        assert read_frame(sock) == (0x00, b'second')
        assert read_frame(sock) == (0x80, b'')
        sock.sendall(make_close(1000))
        read_frame(sock)

    def items():
        yield b'first'
        wait_for(answered)
        yield b'second'

    answered = threading.Event()
    with link.serve(script) as server:
        websocket = link.connect(server.url)
        for event in websocket:
            if event.name == 'ready':
                sender = Background(websocket.send_binary, items())
        sender.result()


# -- what goes wrong --

def test_what_the_iterable_raises_at_once_goes_through_and_harms_nothing(link):
    def body(websocket):
        with pytest.raises(ZeroDivisionError):
            websocket.send_binary(1 // 0 for _item in [1])
        websocket.send_binary(b'fine')

    assert send_to_recorder(link, body) == [(0x82, b'fine')]


def test_what_it_raises_in_the_middle_goes_through_and_ends_the_connection(link):
    def items():
        yield b'first'
        raise KeyError('gone')

    def body(websocket):
        with pytest.raises(KeyError):
            websocket.send_binary(items())
        with pytest.raises(errors.TransportFail, match='not sent to its end'):
            websocket.send_binary(b'more')

    recorder = Recorder()
    with link.serve(recorder) as server:
        seen = run(link.connect(server.url), body)
    assert not seen[-1].graceful
    assert u'not sent to its end' in seen[-1].reason
    assert recorder.messages == [(0x02, b'first')]


@pytest.mark.parametrize('wrong', [5, None, u'text', [b'a']])
def test_an_item_of_a_wrong_type_is_named(link, wrong):
    def body(websocket):
        with pytest.raises(TypeError, match='iterable for send_binary'):
            websocket.send_binary(iter([wrong]))
        with pytest.raises(TypeError):
            websocket.send_binary([b'first', wrong])
        websocket.send_binary(b'fine')

    assert send_to_recorder(link, body) == [(0x82, b'fine')]


def test_sending_from_within_the_iterable_raises_and_does_not_wait_for_itself(link):
    def items(websocket):
        yield u'first'
        for send in (lambda: websocket.send_text(u'no'), lambda: websocket.send_many([u'no']),
                     lambda: websocket.send_text(iter([u'no']))):
            with pytest.raises(errors.WebSocketUnavailable, match='from an iterable'):
                send()
        websocket.send_ping(b'yes')

    assert send_to_recorder(
        link, lambda websocket: websocket.send_text(items(websocket))) == [
            (0x01, b'first'), (0x89, b'yes'), (0x80, b'')]


def test_another_thread_waits_no_longer_than_write_timeout(link):
    def items():
        yield b'first'
        wait_for(timed_out)

    def body(websocket):
        sender = Background(websocket.send_binary, items())
        recorder.wait_for((0x02, b'first'))
        with pytest.raises(errors.WebSocketUnavailable, match='from an iterable.*write_timeout'):
            websocket.send_binary(b'too early')
        timed_out.set()
        sender.result()
        websocket.send_binary(b'fine')

    timed_out, recorder = threading.Event(), Recorder()
    with link.serve(recorder) as server:
        seen = run(link.connect(server.url, write_timeout=0.05), body)
    assert seen[-1].graceful
    assert recorder.messages == [(0x02, b'first'), (0x80, b''), (0x82, b'fine')]


@pytest.mark.parametrize('kind', ['whole', 'many', 'in parts'])
def test_a_thread_comes_to_its_turn_beside_one_that_sends_in_parts_without_a_pause(link, kind):
    def flood(websocket):
        while not is_over.is_set():
            websocket.send_text([u'a', u'b'])

    def body(websocket):
        sender = Background(flood, websocket)
        recorder.wait_for((0x01, b'a'))
        try:
            for _ in range(20):
                if kind == 'whole':
                    websocket.send_binary(b'turn')
                elif kind == 'many':
                    websocket.send_many([b'turn'])
                else:
                    websocket.send_binary([b'turn'])
        finally:
            is_over.set()
            sender.result()

    is_over, recorder = threading.Event(), Recorder()
    with link.serve(recorder) as server:
        seen = run(link.connect(server.url), body)
    assert seen[-1].graceful
    assert [payload for _first, payload in recorder.frames].count(b'turn') == 20


def test_many_threads_that_send_in_parts_take_turns(link):
    def send(websocket, number):
        for _ in range(10):
            websocket.send_text([number, number])

    def body(websocket):
        senders = [Background(send, websocket, u'{}'.format(number)) for number in range(6)]
        for sender in senders:
            sender.result()

    recorder = Recorder()
    with link.serve(recorder) as server:
        seen = run(link.connect(server.url), body)
    assert seen[-1].graceful
    frames = recorder.messages
    assert len(frames) == 180
    for start in range(0, 180, 3):
        (first, one), (_cont, two), last = frames[start:start + 3]
        assert (first, last) == (0x01, (0x80, b'')) and one == two


@pytest.mark.parametrize('end', ['close', 'force_disconnect'])
def test_an_end_in_the_middle_comes_out_of_the_call_and_of_those_that_wait(link, end):
    def items(websocket):
        yield b'first'
        waiting.append(Background(websocket.send_binary, b'waits'))
        getattr(websocket, end)()
        yield b'second'

    def body(websocket):
        with pytest.raises(errors.WebSocketError):
            websocket.send_binary(items(websocket))

    waiting, recorder = [], Recorder()
    with link.serve(recorder) as server:
        seen = run(link.connect(server.url), body)
        with pytest.raises(errors.WebSocketError):
            waiting[0].result()
    assert names(seen)[-1] == 'disconnected'
    assert (0x00, b'second') not in recorder.frames


def test_before_ready_it_is_refused_and_the_iterable_is_not_touched():
    taken = []
    websocket = WebSocket(u'ws://127.0.0.1:1/')
    with pytest.raises(errors.WebSocketUnavailable):
        websocket.send_text(taken.append(item) or u'x' for item in [1])
    assert taken == []


# -- where sends wait in a queue --

def test_in_a_pool_it_is_queued_whole_or_refused_whole():
    def failing():
        yield b'a'
        raise KeyError('gone')

    recorder = Recorder()
    with RawServer(recorder) as server:
        pool = Pool(max_queue=1000)
        websocket = pool.add(WebSocket(server.url, fragment_size=10))
        for _websocket, event in pool:
            if event.name == 'ready':
                with pytest.raises(KeyError):
                    websocket.send_binary(failing())
                with pytest.raises(errors.OutboxFull):
                    websocket.send_binary(iter([b'x' * 600, b'y' * 600]))
                websocket.send_binary(iter([b'x' * 15, b'', b'y']))
                websocket.send_text(u'after')
                websocket.close()
    assert recorder.messages == [
        (0x02, b'x' * 10), (0x00, b'x' * 5), (0x00, b'y'), (0x80, b''), (0x81, b'after')]
    assert websocket.stats.sent.messages == 2
