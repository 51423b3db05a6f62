"""What the send buffer doesn't take waits: in which order it goes out, and what the limits are."""

from __future__ import absolute_import, division, print_function

import base64
import os
import struct
import zlib

import pytest

from lomond import errors
from lomond.engine.outbox import OVERFLOWS, Outbox, Overflow
from tests.sockets.queued_end import DEFLATE, LARGE, QueuedEnd, is_reading, is_waiting_for_space
from tests.support import make_close, make_frame

FRAGMENTS = {'fragment_size': 10000}


@pytest.fixture(params=['plain', 'tls'])
def make_end(request):
    """Make an open end; all are closed after the test."""
    secure = None
    if request.param == 'tls':
        secure = (request.getfixturevalue('server_tls'), request.getfixturevalue('authority_file'))
    ends = []

    def make_end(**options):
        ends.append(QueuedEnd(secure=secure, **options))
        return ends[-1]

    yield make_end
    for end in ends:
        end.close()


def numbered(count, size=1000):
    return [b'%05d' % number + b'x' * size for number in range(count)]


# -- order --

def test_what_does_not_fit_waits_and_arrives_whole_and_in_order(make_end):
    end = make_end()
    messages = numbered(300)
    for message in messages:
        end.websocket.send_binary(message)
    assert end.writer.has_unsent
    assert 100 < end.writer.unsent < 300
    end.settle()
    assert is_waiting_for_space(end.session) and is_reading(end.session)
    end.exchange()
    assert end.payloads == messages
    assert (end.writer.unsent, end.outbox.size, end.writer.has_unsent) == (0, 0, False)
    assert not is_waiting_for_space(end.session)
    assert end.websocket.stats.sent.messages == 300


@pytest.mark.parametrize('options', [{}, FRAGMENTS, {'fragment_size': None}])
def test_a_large_message_is_sent_bit_by_bit(make_end, options):
    end = make_end(max_queue=None, **options)
    message = os.urandom(1024 * 1024)
    end.websocket.send_binary(message)
    end.websocket.send_text(u'after it')
    end.exchange()
    assert b''.join(end.payloads[:-1]) == message
    assert end.frames[-1] == (0x81, b'after it')
    assert end.frames[0][0] == (0x02 if options == FRAGMENTS else 0x82)
    assert end.websocket.stats.sent.wire_bytes == len(end.received)


@pytest.mark.parametrize('options', [{}, FRAGMENTS])
def test_messages_that_belong_together_stay_together(make_end, options):
    end = make_end(**options)
    end.fill()
    end.websocket.send_many([u'a', b'b' * 20000, u'c'])
    end.websocket.send_ping(b'!')
    end.websocket.send_text(u'd')
    end.exchange()
    messages = b''.join(payload for first, payload in end.frames if first != 0x89)
    assert messages == b'L' * LARGE + b'a' + b'b' * 20000 + b'cd'
    assert (0x89, b'!') in end.frames


def test_bytes_that_are_no_frame_wait_like_a_message(make_end):
    end = make_end()
    end.fill()
    raw = make_frame(1, b'raw', key=b'abcd')
    end.session.write(raw)
    end.websocket.send_text(u'next')
    end.exchange()
    assert end.payloads[1:] == [b'raw', b'next']


def test_a_bytearray_may_be_changed_after_the_send(make_end):
    end = make_end()
    end.fill()
    data = bytearray(b'before')
    end.websocket.send_binary(data)
    end.websocket.send_many([data])
    data[:] = b'after!'
    end.exchange()
    assert end.payloads[1:] == [b'before', b'before']


@pytest.mark.parametrize('answers', [True, False])
def test_pings_and_pongs_go_before_the_messages_that_wait(make_end, answers):
    end = make_end(loop={'auto_pong': answers})
    end.fill()
    end.websocket.send_text(u'data')
    for number, send in enumerate([end.websocket.send_ping, end.websocket.send_pong] * 2):
        send(b'%d' % number)
    end.peer.sendall(make_frame(9, b'first') + make_frame(9, b'latest'))
    end.settle()
    assert end.writer.unsent == 2
    end.exchange()
    controls = [(0x89, b'0'), (0x8a, b'1'), (0x89, b'2'), (0x8a, b'3')]
    if answers:
        controls.append((0x8a, b'latest'))
    assert end.frames == [(0x82, b'L' * LARGE)] + controls + [(0x81, b'data')]


def test_pings_and_pongs_go_between_fragments_of_a_message(make_end):
    end = make_end(**FRAGMENTS)
    end.fill()
    end.websocket.send_ping(b'mine')
    end.peer.sendall(make_frame(9, b'theirs'))
    end.settle()
    end.exchange()
    firsts = [first for first, _payload in end.frames]
    assert firsts.index(0x8a) == firsts.index(0x89) + 1 < len(firsts) - 10
    assert firsts.count(0x00) == LARGE // 10000 - 2 and firsts[-1] == 0x80


def test_the_loops_own_ping_waits_once(make_end):
    end = make_end(loop={'ping_rate': 10}, write_timeout=None)
    end.fill()
    for _ in range(5):
        end.clock.ahead += 10
        end.settle()
    assert end.websocket.stats.pings_sent == 0
    end.exchange()
    assert end.frames[1:] == [(0x89, b'\0\0\0\0')]


def test_no_heartbeat_waits_for_the_send_buffer(make_end):
    end = make_end(loop={'heartbeat': 10}, write_timeout=None)
    end.fill()
    for _ in range(5):
        end.clock.ahead += 10
        end.settle()
    end.exchange()
    assert end.frames == [(0x82, b'L' * LARGE)]
    end.clock.ahead += 10
    end.settle()
    end.exchange()
    assert end.frames[1:] == [(0x8a, b'')]


def test_a_heartbeat_goes_out_between_two_parts_of_a_message(make_end):
    end = make_end(loop={'heartbeat': 10})
    parts = end.writer.begin_parts(1, b'one', False, lambda: None)
    end.clock.ahead += 10
    end.settle()
    end.writer.add_part(parts, b'two')
    end.writer.end_parts(parts)
    end.exchange()
    assert end.frames == [(0x01, b'one'), (0x8a, b''), (0x00, b'two'), (0x80, b'')]


def test_no_more_than_64_of_the_users_pings_and_pongs_wait(make_end):
    end = make_end()
    end.fill()
    for number in range(64):
        end.websocket.send_ping(b'%d' % number)
    for send in (end.websocket.send_ping, end.websocket.send_pong):
        with pytest.raises(errors.OutboxFull) as caught:
            send(b'one more')
        assert 'pings and pongs' in str(caught.value)
        assert 'wait for a pong' in str(caught.value)
        # That limit isn't in bytes.
        error = caught.value
        assert (error.size, error.queued, error.max_queue) == (0, 0, 0)
    end.peer.sendall(make_frame(9, b'?'))
    end.websocket.send_text(u'data')
    end.settle()
    end.exchange()
    assert end.payloads[1:] == [b'%d' % number for number in range(64)] + [b'?', b'data']
    end.websocket.send_ping(b'one more')


# -- the limits --

def fill_queue(end, size=936):
    """Send messages of ``size`` bytes until one doesn't fit; return how many did, and the error."""
    for number in range(10000):
        try:
            end.websocket.send_binary(b'%04d' % number + b'x' * (size - 4))
        except errors.OutboxFull as error:
            return number, error


def test_what_does_not_fit_raises_and_nothing_of_it_is_sent(make_end):
    end = make_end(max_queue=10000)
    count, error = fill_queue(end)
    assert (error.size, error.queued, error.max_queue) == (1000, 10000, 10000)
    with pytest.raises(errors.OutboxFull):
        end.websocket.send_many([u'not', u'this'])
    end.exchange()
    assert [int(payload[:4]) for payload in end.payloads] == list(range(count))
    end.websocket.send_many([u'but', u'now'])
    end.exchange()
    assert end.payloads[count:] == [b'but', b'now']


def test_a_full_queue_that_the_peer_has_made_space_in_meanwhile_takes_a_message(make_end):
    """Though the loop hasn't stepped since: it may be in a long handler."""
    end = make_end(max_queue=10000)
    fill_queue(end)
    while end.read():
        pass
    end.websocket.send_text(u'now')
    end.exchange()
    assert end.payloads[-1] == b'now'


@pytest.mark.parametrize('overflow', sorted(OVERFLOWS))
@pytest.mark.parametrize('is_stuck', [False, True])
@pytest.mark.parametrize('size', [5000, 100000])
def test_a_message_larger_than_the_queue_raises_with_its_size(make_end, overflow, is_stuck, size):
    end = make_end(max_queue=size + 63, overflow=overflow)
    if is_stuck:
        while not end.writer.has_unsent:
            end.websocket.send_binary(b'x' * 1000)
        end.websocket.send_text(u'small')
    before = end.writer.unsent
    with pytest.raises(errors.OutboxFull) as caught:
        end.websocket.send_binary(b'x' * size)
    assert '{} bytes'.format(size + 64) in str(caught.value)
    assert 'raise max_queue' in str(caught.value)
    with pytest.raises(errors.OutboxFull):
        end.websocket.send_many([b'x' * size, b''])
    assert (end.writer.unsent, end.websocket.stats.dropped) == (before, 0)


def test_empty_messages_count_64_bytes(make_end):
    end = make_end(max_queue=64 * 10)
    while not end.writer.has_unsent:
        end.websocket.send_binary(b'x' * 500)
    for _ in range(10):
        end.websocket.send_text(u'')
    with pytest.raises(errors.OutboxFull):
        end.websocket.send_text(u'')
    end.exchange()
    assert end.payloads[-10:] == [b''] * 10


@pytest.mark.parametrize('overflow', [Overflow.DROP_OLDEST, Overflow.LATEST])
def test_dropping_touches_neither_what_has_begun_nor_pings_nor_the_close_frame(make_end, overflow):
    end = make_end(max_queue=10000, overflow=overflow)
    while not end.writer.has_unsent:
        end.websocket.send_binary(b'0' * 9000)
    begun = end.writer.unsent
    for number in range(1, 31):
        end.websocket.send_binary(b'%04d' % number + b'x' * 932)
        end.websocket.send_ping(b'%d' % number)
    end.websocket.close()
    dropped = end.websocket.stats.dropped
    assert end.writer.unsent == 30 - dropped + begun
    end.exchange()
    data = [payload for first, payload in end.frames if first == 0x82]
    assert data[:-(30 - dropped)] == [b'0' * 9000] * (len(data) - 30 + dropped)
    assert [int(payload[:4]) for payload in data[-(30 - dropped):]] == list(range(dropped + 1, 31))
    assert dropped == 20
    assert [payload for first, payload in end.frames if first == 0x89] == [
        b'%d' % number for number in range(1, 31)]
    assert end.frames[-1] == (0x88, b'\x03\xe8goodbye')


def test_messages_of_one_send_are_dropped_together(make_end):
    end = make_end(max_queue=1000, overflow=Overflow.DROP_OLDEST, fragment_size=500)
    while not end.writer.has_unsent:
        end.websocket.send_binary(b'0' * 900)
    end.websocket.send_many([u'a'] * 5)
    end.websocket.send_text(u'b' * 600)
    assert end.websocket.stats.dropped == 0
    end.websocket.send_text(u'c')
    assert end.websocket.stats.dropped == 5
    end.exchange()
    assert end.payloads[-3:] == [b'b' * 500, b'b' * 100, b'c']


@pytest.mark.parametrize('overflow', [Overflow.DROP_OLDEST, Overflow.LATEST, Overflow.RAISE])
def test_compressed_messages_inflate_after_drops(make_end, overflow):
    """So none is deflated before it is certain to go out: the ones after it refer to it."""
    end = make_end(
        headers=[DEFLATE], compress=True, max_queue=20000, overflow=overflow, **FRAGMENTS)
    messages = [b'%d ' % number + base64.b64encode(os.urandom(6000 if number % 10 else 12000))
                for number in range(100)]
    refused = 0
    for number, message in enumerate(messages):
        try:
            end.websocket.send_text(message.decode('ascii'))
            end.websocket.send_many([message[:100]] * 2, compress=number % 3 != 0)
        except errors.OutboxFull:
            refused += 1
        if number % 20 == 0:
            end.read(9000)
            end.settle()
    assert refused > 50 if overflow == Overflow.RAISE else end.websocket.stats.dropped > 100
    end.exchange()
    arrived = inflate(end.frames)
    numbers = [int(message.split()[0]) for message in arrived]
    assert numbers == sorted(numbers)
    assert all(message in (messages[number], messages[number][:100])
               for number, message in zip(numbers, arrived))
    assert len(arrived) == end.websocket.stats.sent.messages


def inflate(frames):
    """Return the messages in frames of one deflate stream."""
    inflater = zlib.decompressobj(-15)
    messages, parts = [], []
    for first, payload in frames:
        if first & 0x0f:
            is_deflated = bool(first & 0x40)
        parts.append(payload)
        if first & 0x80:
            message, parts = b''.join(parts), []
            messages.append(inflater.decompress(message + b'\0\0\xff\xff')
                            if is_deflated else message)
    return messages


# -- the end --

def test_our_close_frame_comes_after_the_queue(make_end):
    end = make_end()
    end.fill()
    end.websocket.send_text(u'last')
    end.websocket.close(1001)
    for call in (lambda: end.websocket.send_text(u'late'), end.websocket.send_ping,
                 lambda: end.websocket.send_many([u'late']),
                 lambda: end.websocket.send_binary(b'x' * 100000)):
        with pytest.raises(errors.WebSocketClosing):
            call()
    end.websocket.close(1002)
    end.exchange()
    assert end.frames[1:] == [(0x81, b'last'), (0x88, b'\x03\xe9goodbye')]
    end.peer.sendall(make_close(1001))
    last = end.finish()
    assert (last.graceful, last.unsent) == (True, 0)


def test_close_timeout_starts_again_while_the_peer_reads(make_end):
    end = make_end(write_timeout=None)
    end.fill(800000)
    end.websocket.send_text(u'last')
    end.websocket.close()
    end.settle()
    for _ in range(4):
        end.clock.ahead += 25
        for _ in range(20):
            end.read(4096)
            end.settle()
        assert 'disconnected' not in end.names
    end.clock.ahead += 31
    last = end.run_to('disconnected')
    assert last.reason == u'the Close frame could not be sent in 30 seconds'
    assert (last.graceful, last.unsent) == (False, 2)


def test_what_waits_when_the_peer_closes_stays_unsent_but_the_last_messages_go_out(make_end):
    def on_event(end, event):
        if event.name == 'closing':
            states.append((end.websocket.state, end.writer.unsent))
            end.websocket.send_text(u'small')
            end.websocket.send_binary(b'x' * 70000)
            end.websocket.send_many([u'many', u'more'])

    states = []
    end = make_end(on_event=on_event)
    end.fill()
    for _ in range(3):
        end.websocket.send_text(u'waits')
    end.peer.sendall(make_close(1000))
    end.run_to('closing')
    end.settle()
    assert states == [('peer_closing', 4)]
    for call in (lambda: end.websocket.send_text(u'late'), end.websocket.send_ping,
                 lambda: end.websocket.send_many([u'late'])):
        with pytest.raises(errors.WebSocketClosing):
            call()
    end.exchange()
    assert end.payloads == [
        b'L' * LARGE, b'small', b'x' * 70000, b'many', b'more', b'\x03\xe8']
    last = end.finish()
    assert (last.graceful, last.unsent) == (True, 3)


@pytest.mark.parametrize('size', [10, 70000, 300000])
def test_a_message_that_is_sent_while_closing_is_handled_goes_out(make_end, size):
    def on_event(end, event):
        if event.name == 'closing':
            end.websocket.send_binary(b'x' * size)

    end = make_end(on_event=on_event)
    end.peer.sendall(make_close(1000))
    last = end.finish()
    assert end.payloads == [b'x' * size, b'\x03\xe8']
    assert (last.graceful, last.unsent) == (True, 0)


def test_a_peer_that_closes_and_does_not_read_is_given_close_timeout(make_end):
    end = make_end(write_timeout=None)
    end.fill()
    end.websocket.send_text(u'waits')
    end.peer.sendall(make_close(1000))
    end.run_to('closing')
    end.settle()
    end.clock.ahead += 29
    end.settle()
    assert end.websocket.state == 'peer_closing'
    end.clock.ahead += 2
    last = end.run_to('disconnected')
    assert (last.graceful, last.unsent) == (False, 2)


def test_a_close_of_ours_that_waits_gives_way_to_the_peers(make_end):
    end = make_end()
    end.fill()
    end.websocket.send_text(u'waits')
    end.websocket.close(1001)
    end.peer.sendall(make_close(1000))
    end.run_to('closing')
    end.exchange()
    assert [first for first, _payload in end.frames] == [0x82, 0x88]
    last = end.finish()
    assert (last.graceful, last.unsent) == (True, 1)


@pytest.mark.parametrize('options, unsent', [({}, 3), (FRAGMENTS, 4)])
def test_a_fault_of_the_peers_ends_sends_at_once(make_end, options, unsent):
    """A message in fragments is cut short, and counts as unsent."""
    end = make_end(**options)
    end.fill()
    end.websocket.send_text(u'waits')
    end.websocket.send_many([u'also', u'these'])
    end.peer.sendall(make_frame(3))
    end.run_to('protocol_error')
    for call in (lambda: end.websocket.send_text(u'late'), end.websocket.send_ping,
                 lambda: end.websocket.send_many([u'late'])):
        with pytest.raises(errors.WebSocketClosing):
            call()
    end.exchange()
    first, payload = end.frames[-1]
    assert first == 0x88 and struct.unpack('!H', payload[:2]) == (1002,)
    assert len(end.frames) < 5
    last = end.finish()
    assert (last.graceful, last.unsent) == (False, unsent)


def test_a_connection_that_breaks_counts_what_waits(make_end):
    end = make_end()
    end.fill()
    end.websocket.send_many([u'a', u'b'])
    end.peer.close()
    last = end.run_to('disconnected')
    assert (last.graceful, last.unsent) == (False, 3)
    with pytest.raises(errors.WebSocketClosed):
        end.websocket.send_text(u'late')


def test_force_disconnect_ends_it_while_messages_wait(make_end):
    end = make_end()
    end.fill()
    end.websocket.send_text(u'waits')
    end.websocket.close()
    end.websocket.force_disconnect()
    assert end.settle() <= 2
    last = end.events[-1]
    assert (last.name, last.graceful, last.unsent) == ('disconnected', False, 2)
    assert end.session.transport.is_closed


# -- write_timeout --

def test_a_peer_that_reads_nothing_in_write_timeout_ends_the_connection(make_end):
    end = make_end(write_timeout=20)
    end.fill()
    end.clock.ahead += 19
    end.settle()
    assert end.session.time_left() < 2
    end.clock.ahead += 2
    last = end.run_to('disconnected')
    assert last.reason == u"write timed out after 20 s: the peer isn't reading"
    assert (last.graceful, last.unsent) == (False, 1)


def test_write_timeout_starts_again_with_each_16_kib(make_end):
    end = make_end(write_timeout=20)
    end.fill(800000)
    for _ in range(5):
        end.clock.ahead += 19
        for _ in range(20):
            end.read(4096)
            end.settle()
    assert 'disconnected' not in end.names
    assert end.writer.has_unsent
    end.exchange()
    end.clock.ahead += 1000
    end.settle()
    assert 'disconnected' not in end.names      # nothing waits
    assert end.session.time_left() is None


def test_a_trickle_is_no_progress(make_end):
    end = make_end(write_timeout=20)
    end.fill()
    for _ in range(12):
        end.clock.ahead += 2
        end.read(1000)
        end.settle()
    last = end.run_to('disconnected')
    assert last.reason.startswith(u'write timed out after 20 s: the peer ')


def test_without_write_timeout_a_message_waits_for_as_long_as_it_takes(make_end):
    end = make_end(write_timeout=None)
    end.fill()
    end.clock.ahead += 1000000
    end.settle()
    assert end.session.time_left() is None
    end.exchange()
    assert end.payloads == [b'L' * LARGE]


def test_write_timeout_counts_from_when_something_waits(make_end):
    end = make_end(write_timeout=20)
    for _ in range(3):
        end.clock.ahead += 15
        end.fill()
        end.exchange()
    assert 'disconnected' not in end.names


# -- the driver --

def test_the_driver_is_woken_when_something_begins_to_wait(make_end):
    end = make_end()
    end.settle()
    del end.wakes[:]
    end.websocket.send_text(u'fits')
    assert end.wakes == []
    end.websocket.send_binary(b'x' * LARGE)
    assert end.wakes
    end.settle()
    del end.wakes[:]
    end.websocket.send_text(u'waits behind it')
    assert end.wakes == []


@pytest.mark.parametrize('state', ['open', 'closing', 'peer_closing', 'failing'])
def test_a_driver_does_not_spin_while_the_send_buffer_is_full(make_end, state):
    end = make_end()
    end.fill()
    end.websocket.send_text(u'waits')
    end.websocket.send_ping(b'this, too')
    if state == 'closing':
        end.websocket.close()
    elif state != 'open':
        end.peer.sendall(make_close(1000) if state == 'peer_closing' else make_frame(3))
    assert end.settle() <= 4
    for _ in range(10):
        if state in ('open', 'closing'):
            end.peer.sendall(make_frame(9, b'?'))
        assert end.settle() <= 3
    assert is_waiting_for_space(end.session)


# -- over several connections --

def test_what_is_kept_goes_out_over_the_next_connection_after_ready_was_handled(make_end):
    def on_event(end, event):
        if event.name == 'ready':
            end.websocket.send_text(u'log in')
            end.websocket.send_many([u'subscribe'])

    outbox = Outbox()
    before = make_end(outbox=outbox)
    before.fill()
    for number in range(3):
        before.websocket.send_text(u'%d' % number)
    before.peer.close()
    assert before.run_to('disconnected').unsent == 4
    outbox.hold()       # for a connection that fails to open
    after = make_end(outbox=outbox, on_event=on_event)
    after.exchange()
    assert after.payloads == [b'log in', b'subscribe', b'0', b'1', b'2']
    assert outbox.messages == 0


def test_what_the_peer_closed_upon_is_kept_too(make_end):
    outbox = Outbox()
    before = make_end(outbox=outbox)
    before.fill()
    before.websocket.send_text(u'waits')
    before.peer.sendall(make_close(1001))
    before.exchange()
    assert before.finish().unsent == 1
    after = make_end(outbox=outbox)
    after.exchange()
    assert after.payloads == [b'waits']


def test_close_in_the_handler_of_ready_comes_after_what_was_kept(make_end):
    outbox = Outbox()
    outbox.push(((1, b'kept'),), True)
    end = make_end(outbox=outbox)
    end.websocket.close()
    end.exchange()
    assert [first for first, _payload in end.frames] == [0x81, 0x88]
