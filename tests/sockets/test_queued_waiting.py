"""A queue that is used by several threads at once, by signals' handlers, and while it ends."""

from __future__ import absolute_import, division, print_function

import itertools
import os
import signal
import threading

import pytest

from lomond import errors
from lomond.engine import outbox as outbox_module
from lomond.engine import queued, turns
from lomond.engine.outbox import Outbox, Overflow
from tests.network.driving import Background, wait_for
from tests.programs import wait_until
from tests.sockets.queued_end import QueuedEnd
from tests.support import make_close, make_frame
from tests.tracing import LineTracer

SIZE = 1000


@pytest.fixture
def end():
    """An open end whose queue is full: senders in other threads wait."""
    end = QueuedEnd(max_queue=10000, overflow=Overflow.BLOCK, write_timeout=20)
    fill_queue(end)
    yield end
    end.close()


def fill_queue(end):
    try:
        while True:
            end.websocket.send_binary(b'x' * (SIZE - 64))
    except errors.OutboxFull:
        end.settle()


def count_waiting(end):
    return len(end.writer.turns)


def start_senders(end, count, send=None):
    """Start threads that send, one after the other waits; return them."""
    if send is None:
        def send(number):
            end.websocket.send_binary(b'%d' % number + b'y' * (SIZE - 64))
    senders = []
    for number in range(count):
        senders.append(Background(send, number))
        wait_until(lambda: count_waiting(end) == len(senders), 'a sender that waits')
    return senders


def is_alive(senders):
    return [sender.thread.is_alive() for sender in senders]


def test_the_drivers_own_thread_does_not_wait(end):
    with pytest.raises(errors.OutboxFull):
        end.websocket.send_text(u'x' * SIZE)
    with pytest.raises(errors.OutboxFull):
        end.websocket.send_many([u'x' * SIZE])


def test_senders_wait_for_space_and_go_in_the_order_in_which_they_came(end):
    senders = start_senders(end, 5)
    end.settle()
    assert all(is_alive(senders))
    while any(is_alive(senders)):
        end.exchange()
    for sender in senders:
        sender.result()
    end.exchange()
    assert [payload[:1] for payload in end.payloads[-5:]] == [b'0', b'1', b'2', b'3', b'4']
    assert count_waiting(end) == 0
    assert end.websocket.stats.sent.messages == len(end.payloads)


def test_senders_that_wait_do_not_spin():
    class Counting(Outbox):
        """Counts how often a sender looks for space."""

        looks = 0

        def overflows(self, messages):
            self.looks += 1
            return super(Counting, self).overflows(messages)

    end = QueuedEnd(outbox=Counting(10000, Overflow.BLOCK))
    fill_queue(end)
    before = end.outbox.looks
    senders = start_senders(end, 4)
    assert end.settle() < 5
    assert end.outbox.looks - before < 20       # twice each, and once a second
    end.session.dispose()
    for sender in senders:
        with pytest.raises(errors.WebSocketUnavailable):
            sender.result()
    end.close()


def test_one_that_comes_later_does_not_overtake_those_that_wait(end):
    """Not even with a message for which there would be space."""
    large = start_senders(end, 1, lambda _number: end.websocket.send_binary(b'large' + b'x' * 9000))
    end.read(5000)
    end.settle()
    small = Background(end.websocket.send_text, u'small')
    wait_until(lambda: count_waiting(end) == 2, 'a sender that waits')
    while any(is_alive(large + [small])):
        end.exchange()
    end.exchange()
    assert [payload[:5] for payload in end.payloads[-2:]] == [b'large', b'small']


def test_a_message_that_could_never_wait_raises_at_once_in_any_thread(end):
    for call in (lambda: end.websocket.send_binary(b'x' * 10000),
                 lambda: end.websocket.send_many([b'x' * 5000] * 2)):
        with pytest.raises(errors.OutboxFull):
            Background(call).result()


ENDS = {
    'close': lambda end: (end.websocket.close(), end.settle()),
    'force_disconnect': lambda end: (end.websocket.force_disconnect(), end.settle()),
    'dispose': lambda end: end.session.dispose(),
    'write_timeout': lambda end: (setattr(end.clock, 'ahead', 21), end.run_to('disconnected')),
    "the peer's close": lambda end: (
        end.peer.sendall(make_close(1000)), end.run_to('closing'), end.settle()),
    "the peer's fault": lambda end: (
        end.peer.sendall(make_frame(3)), end.run_to('protocol_error'), end.settle()),
    'the end of TCP': lambda end: (end.peer.close(), end.run_to('disconnected')),
}


@pytest.mark.parametrize('way', sorted(ENDS))
def test_senders_that_wait_are_woken_by_the_end(end, way):
    senders = start_senders(end, 3)
    ENDS[way](end)
    for sender in senders:
        with pytest.raises((errors.WebSocketUnavailable, errors.TransportFail)):
            sender.result()
    assert count_waiting(end) == 0


@pytest.mark.parametrize('way', sorted(ENDS))
def test_no_sender_waits_after_the_end(end, way):
    ENDS[way](end)
    for call in (lambda: end.websocket.send_text(u'x' * SIZE), end.websocket.send_ping,
                 lambda: end.websocket.send_many([u'x' * SIZE])):
        with pytest.raises((errors.WebSocketUnavailable, errors.TransportFail)):
            Background(call).result()


def test_ctrl_c_in_a_sender_that_waits_passes_the_turn_on():
    """Its message isn't sent; the one behind it gets its place."""
    ends, is_full, may_read = [], threading.Event(), threading.Event()

    def drive():
        end = QueuedEnd(max_queue=10000, overflow=Overflow.BLOCK)
        fill_queue(end)
        ends.append(end)
        is_full.set()
        wait_for(may_read)
        while behind[0].thread.is_alive():
            end.exchange()

    behind = []
    driver = Background(drive)
    wait_for(is_full)
    end, = ends

    def interrupt():
        wait_until(lambda: count_waiting(end) == 1, 'a sender that waits')
        behind.append(Background(end.websocket.send_text, u'behind it' + u'x' * 900))
        wait_until(lambda: count_waiting(end) == 2, 'another one')
        os.kill(os.getpid(), signal.SIGINT)

    interrupting = Background(interrupt)
    with pytest.raises(KeyboardInterrupt):
        end.websocket.send_text(u'interrupted' + u'x' * 900)
        wait_until(lambda: False, 'Ctrl-C')
    interrupting.result()
    assert count_waiting(end) == 1
    may_read.set()
    behind[0].result()
    driver.result()
    end.exchange()
    assert end.payloads[-1].startswith(b'behind it')
    assert not any(payload.startswith(b'interrupted') for payload in end.payloads)
    end.close()


def test_dispose_while_threads_send_frees_the_socket_and_they_raise():
    def send(number):
        try:
            while True:
                end.websocket.send_text(u'x' * 10 ** (number % 4))
                end.websocket.send_many([u'x', b'y' * 70000])
                end.websocket.send_ping()
        except (errors.WebSocketUnavailable, errors.TransportFail):
            pass
        except errors.OutboxFull:
            wait_until(lambda: end.websocket.is_closed, 'the end')

    for round_ in range(8):
        end = QueuedEnd(max_queue=100000 if round_ % 2 else None, overflow=Overflow.BLOCK)
        senders = [Background(send, number) for number in range(4)]
        while end.websocket.stats.sent.messages < 10 * round_:
            end.read()
            end.step()
        end.session.dispose()
        for sender in senders:
            sender.result()
        assert end.session.transport.is_closed
        end.peer.close()


# -- signals' handlers --

def before_line(moment, handler):
    return LineTracer([queued, outbox_module, turns], moment, handler)


CALLS = {
    'small': lambda end: end.websocket.send_text(u'small'),
    'large': lambda end: end.websocket.send_binary(b'L' * 70000),
    'many': lambda end: end.websocket.send_many([u'1', u'2']),
    'ping': lambda end: end.websocket.send_ping(b'small'),
    'exchange': lambda end: end.exchange(),
}


@pytest.mark.parametrize('call, is_stuck', [
    ('small', False), ('small', True), ('large', False), ('many', False), ('many', True),
    ('ping', False), ('ping', True), ('exchange', True)])
def test_a_handler_that_sends_at_any_line_harms_nothing(call, is_stuck):
    """It is refused, or its message arrives."""
    def handler():
        for send in (end.websocket.send_text, end.websocket.send_ping):
            try:
                send(u'handler' if send == end.websocket.send_text else b'handler')
                sent.append(send)
            except (errors.WebSocketUnavailable, errors.OutboxFull):
                pass

    for at in itertools.count(1):
        end = QueuedEnd(max_queue=80000, fragment_size=40000)
        end.settle()
        sent = []
        if is_stuck:
            end.websocket.send_binary(b'0' * 70000)
            end.websocket.send_text(u'waits')
            end.peer.sendall(make_frame(9, b'?'))
        with before_line(at, handler) as tracer:
            CALLS[call](end)
        assert not end.writer.is_sending
        assert (end.outbox.messages == 0) is (end.outbox.size == 0)
        end.exchange()
        assert end.payloads.count(b'handler') == len(sent), at
        assert (end.writer.unsent, end.outbox.size) == (0, 0)
        assert end.websocket.stats.sent.wire_bytes == len(end.received)
        assert end.websocket.stats.dropped == 0
        assert end.writer.error is None
        end.close()
        if not tracer.has_acted:
            break
    assert at > 3


@pytest.mark.parametrize('call', ['close', 'force_disconnect', 'dispose'])
def test_a_handler_that_ends_it_at_any_line_of_a_send_harms_nothing(call):
    def handler():
        if call == 'dispose':
            end.session.dispose()
        else:
            getattr(end.websocket, call)()

    for at in itertools.count(1):
        end = QueuedEnd()
        end.settle()
        end.fill()
        try:
            with before_line(at, handler) as tracer:
                CALLS['many'](end)
        except (errors.WebSocketUnavailable, errors.TransportFail):
            assert tracer.has_acted
        assert not end.writer.is_sending
        if call == 'close' and tracer.has_acted:
            end.exchange()
            assert end.frames[-1][0] == 0x88
        end.settle()
        end.session.dispose()
        assert end.session.transport.is_closed
        end.close()
        if not tracer.has_acted:
            break
    assert at > 3


def test_a_handler_that_interrupts_reading_tls_is_refused(server_tls, authority_file):
    def handler():
        with pytest.raises(errors.WebSocketUnavailable) as caught:
            end.websocket.send_text(u'handler')
        assert 'signal handler' in str(caught.value)
        end.websocket.close()
        refused.append(None)

    end = QueuedEnd(secure=(server_tls, authority_file))
    refused = []
    receive = end.session.transport.receive

    def interrupted(*args):
        handler()
        end.session.transport.receive = receive
        return receive(*args)

    end.session.transport.receive = interrupted
    end.session.wake()
    end.exchange()
    assert refused and end.frames == [(0x88, b'\x03\xe8goodbye')]
    end.close()


