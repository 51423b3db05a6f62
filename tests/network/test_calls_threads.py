"""Calls from several threads, pings that wait for their pongs, the background thread, loops."""

from __future__ import absolute_import, division, print_function

import threading

import pytest

from lomond import WebSocket, errors
from lomond._calls import MAX_AHEAD
from lomond.persist import persist
from lomond.pool import Pool
from lomond.testing import Inside
from tests.network.driving import (
    Background,
    accept_and_hang_up,
    accept_and_send,
    drain,
    echo,
    fill_and_reset,
    read_to_close,
    wait_for,
)
from tests.programs import wait_until
from tests.support import (
    PATIENCE,
    RawServer,
    answer_upgrade,
    make_close,
    make_frame,
    read_frame,
)

# What another driver of the same WebSocket is called.
LOOP = 'loop over this|member of a pool'

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')


def until_it_waits(websocket, count=1):
    """Wait until so many threads wait in calls."""
    calls = Inside(websocket).calls
    while len(calls.bells) < count:
        pass


def threads_of_background():
    return [thread for thread in threading.enumerate() if thread.name == 'lomond background']


# -- several threads --

def test_a_second_thread_may_not_receive_at_the_same_time(link):
    with link.serve(accept_and_send()) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE)
        first = Background(websocket.receive)
        until_it_waits(websocket)
        for call in (websocket.receive, websocket.open, lambda: next(websocket.messages())):
            with pytest.raises(errors.WebSocketUnavailable, match='another thread is in open'):
                call()
        websocket.force_disconnect()
        with pytest.raises(errors.WebSocketClosed, match='disconnected by the application'):
            first.result()


def test_another_thread_may_receive_afterwards(link):
    with link.serve(echo) as server:
        with link.connect(server.url) as websocket:
            Background(websocket.open, PATIENCE).result()
            for number in range(5):
                websocket.send_text(u'%d' % number)
                assert Background(websocket.receive, PATIENCE).result() == u'%d' % number


def test_any_thread_may_receive_with_a_background_thread(link):
    numbers = [u'%d' % number for number in range(40)]

    def take(count):
        return [websocket.receive(PATIENCE) for _ in range(count)]

    with link.serve(echo) as server:
        with link.connect(server.url) as websocket:
            websocket.open(PATIENCE, background=True)
            takers = [Background(take, 10) for _ in range(4)]
            websocket.send_many(numbers)
            taken = sum((taker.result() for taker in takers), [])
            assert sorted(taken) == sorted(numbers)


def test_close_by_another_thread_ends_a_call_that_waits(link, background):
    with link.serve(echo) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE, background)
        receiving = Background(websocket.receive)
        until_it_waits(websocket, 1 + background)
        websocket.close(4000, u'over')
        with pytest.raises(errors.WebSocketClosed) as caught:
            receiving.result()
        assert (caught.value.code, caught.value.reason) == (4000, u'over')


def test_close_by_another_thread_ends_open(link, background):
    connected = threading.Event()

    def script(sock):
        connected.set()
        drain(sock)

    with link.serve(script) as server:
        websocket = link.connect(server.url)
        opening = Background(websocket.open, None, background)
        wait_for(connected)
        websocket.close()
        with pytest.raises(errors.ConnectFail, match='closed by the application'):
            opening.result()


def test_leaving_the_block_while_another_thread_receives_ends_that(link):
    with link.serve(echo) as server:
        with link.connect(server.url) as websocket:
            websocket.open(PATIENCE)
            receiving = Background(websocket.receive)
            until_it_waits(websocket)
        with pytest.raises(errors.WebSocketClosed) as caught:
            receiving.result()
        assert caught.value.code == 1000


# -- wait_ready --

def test_wait_ready_waits_for_the_open_of_another_thread(link, background):
    with link.serve(echo) as server:
        with link.connect(server.url) as websocket:
            waiting = Background(websocket.wait_ready)
            until_it_waits(websocket)
            websocket.open(PATIENCE, background)
            assert waiting.result() is None
            assert websocket.wait_ready() is None


def test_wait_ready_raises_why_open_failed(dead_port):
    websocket = WebSocket('ws://127.0.0.1:{}/'.format(dead_port))
    waiting = Background(websocket.wait_ready)
    until_it_waits(websocket)
    with pytest.raises(errors.ConnectFail):
        websocket.open()
    with pytest.raises(errors.ConnectFail):
        waiting.result()


def test_wait_ready_gives_up_at_its_timeout():
    with pytest.raises(errors.WebSocketTimeout, match='no connection is open'):
        WebSocket('ws://127.0.0.1:1/').wait_ready(0.01)


# -- pings --

def test_ping_returns_the_round_trip(link, background):
    def script(sock):
        answer_upgrade(sock)
        for _ in range(2):
            sock.sendall(make_frame(1, b'meanwhile') + make_frame(10, read_frame(sock)[1]))
        read_to_close(sock)
        sock.sendall(make_close(1000))

    with link.serve(script) as server:
        with link.connect(server.url) as websocket:
            websocket.open(PATIENCE, background)
            assert 0 <= websocket.ping(PATIENCE) < PATIENCE
            assert 0 <= websocket.ping() < PATIENCE
            assert websocket.receive(0) == websocket.receive(0) == u'meanwhile'


def test_pings_of_several_threads_get_their_own_pongs(link, background):
    """While another thread is in receive."""
    def script(sock):
        answer_upgrade(sock)
        pings.extend(read_frame(sock)[1] for _ in range(4))
        for ping in pings:
            assert may_go_on.acquire()
            sock.sendall(make_frame(10, ping))
        assert may_go_on.acquire()
        sock.sendall(make_frame(1, b'done'))
        read_to_close(sock)
        sock.sendall(make_close(1000))

    pings, may_go_on = [], threading.Semaphore(0)
    with link.serve(script) as server:
        with link.connect(server.url) as websocket:
            websocket.open(PATIENCE, background)
            receiving = Background(websocket.receive)
            pinging = []
            for number in range(4):
                pinging.append(Background(websocket.ping))
                while len(Inside(websocket).calls.pings) <= number:
                    pass
            for number, ping in enumerate(pinging):
                may_go_on.release()
                assert ping.result() >= 0
                assert all(other.thread.is_alive() for other in pinging[number + 1:])
            may_go_on.release()
            assert receiving.result() == u'done'
    assert len(set(pings)) == 4


def test_a_pong_to_a_later_ping_counts_for_those_before(link):
    def script(sock):
        answer_upgrade(sock)
        last = [read_frame(sock)[1] for _ in range(3)][-1]
        sock.sendall(make_frame(10, b'unasked') + make_frame(10, last))
        read_to_close(sock)
        sock.sendall(make_close(1000))

    with link.serve(script) as server:
        with link.connect(server.url) as websocket:
            websocket.open(PATIENCE)
            pings = [Background(websocket.ping, PATIENCE) for _ in range(3)]
            assert all(ping.result() >= 0 for ping in pings)


def test_a_ping_without_a_pong_times_out_and_the_next_may_succeed(link, background):
    def script(sock):
        answer_upgrade(sock)
        read_frame(sock)
        sock.sendall(make_frame(10, read_frame(sock)[1]))
        read_to_close(sock)
        sock.sendall(make_close(1000))

    with link.serve(script) as server:
        with link.connect(server.url) as websocket:
            websocket.open(PATIENCE, background)
            with pytest.raises(errors.WebSocketTimeout, match='no pong came'):
                websocket.ping(0.01)
            assert websocket.ping(PATIENCE) >= 0


def test_the_end_wakes_all_that_wait(link, background):
    def script(sock):
        answer_upgrade(sock)
        for _ in range(3):
            read_frame(sock)
        sock.sendall(make_close(4002, b'no more'))
        drain(sock)

    with link.serve(script) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE, background)
        waiting = [Background(websocket.receive)] + [Background(websocket.ping) for _ in range(3)]
        for one in waiting:
            with pytest.raises(errors.WebSocketClosed) as caught:
                one.result()
            assert (caught.value.code, caught.value.reason) == (4002, u'no more')


def test_a_ping_keeps_its_timeout_while_another_thread_sends(link, background):
    def script(sock):
        answer_upgrade(sock)
        wait_for(may_read)
        first = None
        while first != 0x88:
            first, payload = read_frame(sock)
            if first == 0x89:
                sock.sendall(make_frame(10, payload))
        sock.sendall(make_close(1000))

    def send():
        with Inside(websocket).locks['sending']:
            is_sending.set()
            wait_for(may_read)
            websocket.send_text(u'at last')

    may_read, is_sending = threading.Event(), threading.Event()
    with link.serve(script) as server:
        with link.connect(server.url) as websocket:
            websocket.open(PATIENCE, background)
            sending = Background(send)
            wait_for(is_sending)
            with pytest.raises(errors.WebSocketTimeout, match='no pong came'):
                Background(websocket.ping, 0.01).result()
            pinging = Background(websocket.ping, PATIENCE)
            while not Inside(websocket).calls.pings:
                pass
            may_read.set()
            assert pinging.result() >= 0
            sending.result()
    assert websocket.stats.pings_sent == 1      # the first one was taken back


@pytest.mark.parametrize('call', ['ping', 'receive'])
def test_a_call_learns_how_its_connection_ended_although_another_is_open(link, background, call):
    """Another thread opens it before the one that waits has looked."""
    def script(sock):
        answer_upgrade(sock)
        if server.connections == 1:
            wait_for(may_close)
            sock.sendall(make_close(1001))
        drain(sock)

    may_close = threading.Event()
    with link.serve(script) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE, background)
        driving = Background(websocket.ping)
        until_it_waits(websocket, 1 + background)
        waiting = Background(getattr(websocket, call))
        until_it_waits(websocket, 2 + background)
        bell = Inside(websocket).calls.bells.pop()      # it isn't woken by the end
        may_close.set()
        with pytest.raises(errors.WebSocketClosed):
            driving.result()
        websocket.open(PATIENCE, background)
        bell.ring()
        with pytest.raises(errors.WebSocketClosed) as caught:
            waiting.result()
        assert caught.value.code == 1001
        assert websocket.is_open
        websocket.force_disconnect()
        with pytest.raises(errors.WebSocketClosed):
            websocket.receive()


def test_a_ping_doesnt_gather_messages_without_limit(link):
    def script(sock):
        answer_upgrade(sock)
        read_frame(sock)
        sock.sendall(make_frame(2, b'x' * 1000) * 20)
        drain(sock)

    with link.serve(script) as server:
        websocket = link.connect(server.url, max_message_size=2000, max_read_ahead=2000)
        websocket.open(PATIENCE)
        with pytest.raises(errors.WebSocketUnavailable, match=r'call receive\(\) first'):
            websocket.ping()
        for _ in range(20):
            assert websocket.receive(PATIENCE) == b'x' * 1000
        websocket.force_disconnect()


def test_a_ping_behind_a_full_queue_says_so(link):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(2, b'x' * MAX_AHEAD))
        drain(sock)

    with link.serve(script) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE, background=True)
        while not Inside(websocket).calls.is_full:
            pass
        with pytest.raises(errors.WebSocketTimeout, match=r'call receive\(\) first'):
            websocket.ping(0.01)
        websocket.force_disconnect()
        assert websocket.receive() == b'x' * MAX_AHEAD
        with pytest.raises(errors.WebSocketClosed):
            websocket.receive()


# -- the background thread --

def test_the_background_thread_answers_pings_between_calls(link):
    ponged = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(9, b'there?'))
        assert read_frame(sock) == (0x8a, b'there?')
        ponged.set()
        read_to_close(sock)
        sock.sendall(make_close(1000))

    with link.serve(script) as server:
        with link.connect(server.url) as websocket:
            websocket.open(PATIENCE, background=True)
            wait_for(ponged)


def test_the_background_thread_stops_reading_until_messages_are_taken(link):
    size, count = 65536, 400
    sent = []

    def script(sock):
        answer_upgrade(sock)
        for number in range(count):
            sock.sendall(make_frame(2, b'%8d' % number + b'x' * (size - 8)))
            sent.append(number)
        read_to_close(sock)
        sock.sendall(make_close(1000))

    with link.serve(script) as server:
        with link.connect(server.url) as websocket:
            websocket.open(PATIENCE, background=True)
            calls = Inside(websocket).calls
            while not calls.is_full:
                pass
            for number in range(count):
                assert int(websocket.receive(PATIENCE)[:8]) == number
                assert calls.held < MAX_AHEAD + 2 * (size + 200)
    assert len(sent) == count


def test_a_reset_while_the_queue_is_full_ends_the_messages_once_they_are_taken():
    is_reset = threading.Event()
    with RawServer(fill_and_reset(is_reset), receive_buffer=65536) as server:
        with WebSocket(server.url) as websocket:
            websocket.open(PATIENCE, background=True)
            wait_for(is_reset)
            with pytest.raises(errors.WebSocketClosed) as closed:
                while True:
                    assert websocket.receive(PATIENCE) == u'x' * 1000
    assert closed.value.code == 1006 and u'broke' in closed.value.reason


def test_messages_that_are_dropped_after_close_leave_no_gap_and_an_error():
    def script(sock):
        answer_upgrade(sock)
        reading = Background(read_to_close, sock)
        for number in range(400):
            sock.sendall(make_frame(2, b'%08d' % number + b'x' * 8000))
        reading.result()
        sock.sendall(make_close(1000))

    with RawServer(script) as server:
        with WebSocket(server.url) as websocket:
            websocket.open(PATIENCE, background=True)
            thread, = threads_of_background()
            wait_until(lambda: Inside(websocket).calls.is_full, 'a full queue')
            websocket.close()
            thread.join(PATIENCE)
            numbers = []
            with pytest.raises(errors.WebSocketClosed, match='were dropped') as closed:
                while True:
                    numbers.append(int(websocket.receive(PATIENCE)[:8]))
    assert closed.value.code == 1006
    assert numbers == list(range(len(numbers))) and 100 < len(numbers) < 400


@pytest.mark.parametrize('end', ['close', 'force_disconnect', 'leave'])
def test_the_background_thread_ends_although_its_queue_is_full(link, end):
    def script(sock):
        answer_upgrade(sock)
        client = Background(read_to_close, sock)
        while client.thread.is_alive():
            sock.sendall(make_frame(2, b'x' * 100000))
        sock.sendall(make_close(1000))

    with link.serve(script) as server:
        with link.connect(server.url) as websocket:
            websocket.open(PATIENCE, background=True)
            thread, = threads_of_background()
            while not Inside(websocket).calls.is_full:
                pass
            if end != 'leave':
                getattr(websocket, end)()
                thread.join(PATIENCE)
                assert not thread.is_alive()
                assert websocket.receive() == b'x' * 100000      # what came before is there
        assert not thread.is_alive()
        assert websocket.is_closed


def fail_in_an_iterable(websocket):
    def parts():
        yield b'a part'
        raise KeyError('the source failed')

    with pytest.raises(KeyError):
        websocket.send_binary(parts())


def fail_by_write_timeout(websocket):
    with pytest.raises(errors.TransportFail, match='write timed out'):
        websocket.send_binary(b'x' * (32 * 1024 * 1024))


@pytest.mark.parametrize('fail', [fail_in_an_iterable, fail_by_write_timeout])
def test_leaving_the_block_returns_although_a_send_failed_while_the_queue_was_full(link, fail):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(2, b'x' * MAX_AHEAD))
        wait_for(has_left)

    has_left = threading.Event()
    with link.serve(script) as server:
        websocket = link.connect(server.url, write_timeout=0.05)
        websocket.open(PATIENCE, background=True)
        wait_until(lambda: Inside(websocket).calls.is_full, 'a full queue')
        fail(websocket)
        try:
            Background(websocket.__exit__, None, None, None).result()
        finally:
            websocket.force_disconnect()
            has_left.set()
        assert not threads_of_background()


def test_a_full_queue_loses_nothing_after_max_age(link):
    """The user has not closed the connection."""
    def script(sock):
        answer_upgrade(sock)
        read_to_close(sock)
        for number in range(count):
            sock.sendall(make_frame(2, b'%08d' % number + b'x' * 100000))
        sock.sendall(make_close(1001))
        drain(sock)

    count = 40
    with link.serve(script) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE, background=True, max_age=0.001, close_timeout=PATIENCE)
        wait_until(lambda: Inside(websocket).calls.is_full, 'a full queue')
        for number in range(count):
            assert int(websocket.receive(PATIENCE)[:8]) == number
        with pytest.raises(errors.WebSocketClosed) as closed:
            websocket.receive(PATIENCE)
    assert closed.value.code == 1001


def test_open_raises_at_once_while_a_connection_that_reached_max_age_is_closing(link):
    def script(sock):
        answer_upgrade(sock)
        read_to_close(sock)
        is_closing.set()
        drain(sock)

    def refuse_to_open(websocket):
        for _ in range(100):        # if each waited, even briefly, this would exceed PATIENCE
            with pytest.raises(errors.WebSocketUnavailable, match=r'open already, by open\(\)'):
                websocket.open(0.01)

    is_closing = threading.Event()
    with link.serve(script) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE, background=True, max_age=0.001, close_timeout=None)
        wait_for(is_closing)
        try:
            Background(refuse_to_open, websocket).result()
        finally:
            websocket.force_disconnect()
        with pytest.raises(errors.WebSocketClosed):
            websocket.receive(PATIENCE)     # the thread has freed the connection


def test_the_background_thread_ends_with_the_connection(link):
    with link.serve(accept_and_hang_up()) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE, background=True)
        for thread in threads_of_background():
            thread.join(PATIENCE)
        assert not threads_of_background()
        with pytest.raises(errors.WebSocketClosed):
            websocket.receive()


# -- loops --

def pooled(websocket):
    Pool().add(websocket)


@pytest.mark.parametrize('begin', [
    iter, lambda websocket: next(persist(websocket)), pooled, WebSocket.reset, WebSocket.open,
    lambda websocket: setattr(websocket, 'url', 'ws://localhost/')],
    ids=['loop', 'persist', 'pool', 'reset', 'open', 'url'])
def test_no_loop_begins_while_it_is_open(link, background, begin):
    with link.serve(echo) as server:
        with link.connect(server.url) as websocket:
            websocket.open(PATIENCE, background)
            with pytest.raises(errors.WebSocketUnavailable, match=r'open already, by open\(\)'):
                begin(websocket)
            websocket.send_text(u'still here')
            assert websocket.receive(PATIENCE) == u'still here'


def test_no_event_loop_begins_while_it_is_open(link, background):
    aio = pytest.importorskip('lomond.aio')
    with link.serve(echo) as server:
        with link.connect(server.url) as websocket:
            websocket.open(PATIENCE, background)
            with pytest.raises(errors.WebSocketUnavailable, match=r'open already, by open\(\)'):
                aio.connect(websocket)


def test_no_call_gets_in_while_a_pool_or_persist_runs(link):
    def in_pool(websocket):
        pool = Pool()
        pool.add(websocket)
        for _websocket, event in pool:
            yield event

    with link.serve(echo) as server:
        for loop in (in_pool, persist):
            websocket = link.connect(server.url)
            for event in loop(websocket):
                if event.name == 'ready':
                    for call in (websocket.open, websocket.receive, websocket.ping):
                        with pytest.raises(errors.WebSocketUnavailable, match=LOOP):
                            call()
                    websocket.close()
            assert event.graceful


def test_no_call_gets_in_while_a_loop_runs(link):
    with link.serve(echo) as server:
        websocket = link.connect(server.url)
        for event in websocket:
            if event.name == 'ready':
                for call in (websocket.open, websocket.receive, websocket.ping,
                             websocket.wait_ready, lambda: next(websocket.messages())):
                    with pytest.raises(errors.WebSocketUnavailable, match=LOOP):
                        call()
                websocket.close()
        assert event.graceful


def test_a_loop_and_calls_may_follow_each_other(link, background):
    with link.serve(echo) as server:
        websocket = link.connect(server.url)
        for _ in range(2):
            for event in websocket:
                if event.name == 'ready':
                    websocket.close()
            assert event.graceful
            with pytest.raises(errors.WebSocketUnavailable, match='not connected'):
                websocket.receive()
            with websocket:
                websocket.open(PATIENCE, background)
                websocket.send_text(u'x')
                assert websocket.receive(PATIENCE) == u'x'
    assert websocket.stats.connections == 4
