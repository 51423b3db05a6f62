"""What a message costs, counted in work rather than in time, so that no noise gets in.

Calls of Python functions, of the system and of the clock, on real connections. A
figure here may go down; before one goes up, measure what that costs.
"""

from __future__ import absolute_import, division, print_function

import gc
import json
import sys
import threading

import pytest
import six

from lomond import WebSocket
from lomond._compat import monotonic
from lomond.engine.stepped import QueuedClientSession
from lomond.events import Binary, Text, text_class
from lomond.net.waiter import wait
from lomond.pool import Pool
from lomond.session import WebsocketSession
from tests.network.driving import drain, wait_for
from tests.support import RawServer, answer_upgrade, make_frame, read_frame

TEXT = u'x' * 120

# 2.7 has the codecs' wrappers and locks in Python, and checks UTF-8 for surrogates.
CALLS_TO_RECEIVE = 4.2 if six.PY2 else 2.2
CALLS_TO_SEND = 17 if six.PY2 else 8
CALLS_TO_SEND_MORE = 23 if six.PY2 else 14      # beyond 125 bytes
CALLS_TO_SEND_ONE_OF_MANY = 8 if six.PY2 else 3
CALLS_OF_THE_QUEUE = 32     # for messages that may have to wait, and don't

# What a connection may take beside its messages: reads, waits, timers.
BESIDE = 300


class Work(object):
    """Counts what this thread calls in a with block.

    ``calls`` of Python functions, generators that go on included, and ``c_calls``, of
    functions and methods written in C, by name.
    """

    def __init__(self):
        self.calls = 0
        self.c_calls = {}

    def __enter__(self):
        gc.disable()        # what a collection calls would count too
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_exc_info):
        sys.setprofile(None)
        gc.enable()

    def _count(self, _frame, event, what):
        if event == 'call':
            self.calls += 1
        elif event == 'c_call':
            self.c_calls[what.__name__] = self.c_calls.get(what.__name__, 0) + 1


def receive(count, clock=monotonic, **options):
    """Receive so many texts that come at once; return the work. The session goes by ``clock``."""
    is_ready = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(is_ready)
        sock.sendall(make_frame(1, TEXT.encode('ascii')) * count)
        drain(sock)

    received = 0
    work = Work()
    with RawServer(script) as server:
        loop = WebSocket(server.url, **options).connect(
            session_class=lambda websocket: WebsocketSession(websocket, clock=clock))
        for event in loop:
            if event.name == 'poll':
                break
        is_ready.set()
        with work:
            for event in loop:
                received += event.name == 'text'
                if received == count:
                    break
        loop.close()
    return work


@pytest.mark.parametrize('count', [400, 4000])
def test_a_small_message_received_is_a_few_calls_and_no_system_call(count):
    work = receive(count)
    # The generator goes on, the event is made.
    assert work.calls <= CALLS_TO_RECEIVE * count + BESIDE
    reads = count * 130 // 65536 + 10
    assert work.c_calls['recv'] <= 2 * reads
    assert work.c_calls.get('poll', 0) <= 2 * reads
    assert work.c_calls.get('time', 0) <= 2 * reads
    assert work.c_calls.get('monotonic', 0) <= 8 * reads


def test_the_clock_is_looked_at_once_or_twice_for_a_read_not_for_a_message():
    readings = []

    def clock():
        readings.append(monotonic())
        return readings[-1]

    count = 4000
    work = receive(count, clock)
    # Connecting and the handshake take a few.
    assert 0 < len(readings) <= 2 * work.c_calls['recv'] + 20 < count


def test_a_reader_of_json_costs_a_message_received_one_call():
    """That of the event's constructor."""
    count = 4000
    assert receive(count, json_loads=json.loads).calls <= receive(count).calls + count + BESIDE


def ready_in_a_loop(url):
    """Return a WebSocket that is ready, and its loop."""
    websocket = WebSocket(url)
    loop = iter(websocket)
    while next(loop).name != 'ready':
        pass
    return websocket, loop


def ready_in_steps(url):
    """The same with a queue, as a pool drives it."""
    websocket = WebSocket(url)
    session = websocket.new_session(QueuedClientSession)
    session.begin(None, 0, None, True, None)
    while 'ready' not in [event.name for event in session.step()]:
        wait(session.interest, session.time_left())
    return websocket, None


by_driver = pytest.mark.parametrize(
    'make_ready', [ready_in_a_loop, ready_in_steps], ids=['loop', 'queue'])


def send(make_ready, what, *args):
    """Call a method of a WebSocket that is ready; return the work."""
    def script(sock):
        answer_upgrade(sock)
        drain(sock)

    work = Work()
    with RawServer(script) as server:
        websocket, loop = make_ready(server.url)
        method = getattr(websocket, what)
        with work:
            method(*args)
        websocket.session.dispose()
    return work


# -- in a pool --

def pool_work(count, measure):
    """Return the work of ``measure(websocket, loop)`` in the body of a pool, once it is open."""
    is_ready = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(is_ready)
        sock.sendall(make_frame(1, TEXT.encode('ascii')) * count)
        drain(sock)

    work = Work()
    with RawServer(script) as server:
        pool = Pool()
        websocket = pool.add(WebSocket(server.url))
        loop = iter(pool)
        while next(loop)[1].name != 'ready':
            pass
        is_ready.set()
        with work:
            measure(websocket, loop)
        loop.close()
    return work


def test_a_small_message_received_in_a_pool_is_a_few_calls_and_no_system_call():
    count = 4000
    work = pool_work(count, lambda _websocket, loop: [next(loop) for _ in range(count)])
    # As in a loop of its own, and the session's step goes on.
    assert work.calls <= (CALLS_TO_RECEIVE + 1) * count + BESIDE
    reads = count * 130 // 65536 + 10
    assert work.c_calls['recv'] <= 2 * reads
    for name in ('poll', 'time', 'monotonic', 'getpid', 'heappush'):
        assert work.c_calls.get(name, 0) <= 8 * reads
    # The decoder appends each to a batch; nothing else does.
    assert work.c_calls.get('append', 0) <= count + 8 * reads


@pytest.mark.parametrize('size', [0, 120])
def test_a_small_message_sent_in_a_pool_is_one_system_call_and_a_call_more_than_outside(size):
    work = pool_work(0, lambda websocket, _loop: websocket.send_text(u'x' * size))
    assert work.c_calls['send'] == 1
    assert work.calls <= CALLS_TO_SEND + 1 + 1      # the lambda


def test_a_session_has_all_its_attributes_from_the_start():
    # One that gets another later has a dict of its own, of 800 bytes, once others exist.
    new = set(vars(QueuedClientSession(WebSocket('ws://localhost/'))))

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(10, read_frame(sock)[1]))
        drain(sock)

    with RawServer(script) as server:
        pool = Pool()
        pool.add(WebSocket(server.url), ping_rate=0.01)
        for websocket, event in pool:
            if event.name == 'pong':
                assert set(vars(websocket.session)) == new
                break


@by_driver
@pytest.mark.parametrize('size, calls', [
    (0, CALLS_TO_SEND), (120, CALLS_TO_SEND), (10000, CALLS_TO_SEND_MORE)])
def test_a_message_sent_is_one_system_call_with_its_header(make_ready, size, calls):
    work = send(make_ready, 'send_text', u'x' * size)
    assert work.c_calls['send'] == 1
    assert work.c_calls.get('poll', 0) == 0
    assert work.calls <= calls


@by_driver
def test_many_messages_sent_are_one_system_call_and_a_few_calls_each(make_ready):
    work = send(make_ready, 'send_many', [TEXT] * 64)
    assert work.c_calls['send'] == 1
    assert work.calls <= 64 * CALLS_TO_SEND_ONE_OF_MANY + CALLS_TO_SEND_MORE + (
        CALLS_OF_THE_QUEUE if make_ready is ready_in_steps else 0)


@pytest.mark.parametrize('event', [
    Text(u'x', 0.0), text_class(json.loads)(u'x', 0.0), Binary(b'x', 0.0)])
def test_an_event_is_one_object(event):
    assert not hasattr(event, '__dict__')
