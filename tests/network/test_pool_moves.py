"""Connections that go on in another pool: `remove(websocket, close=False)`, of pool and server."""

from __future__ import absolute_import, division, print_function

import threading

import pytest

from lomond import WebSocket, errors
from lomond.persist import ReconnectPolicy, persist
from lomond.pool import Pool
from lomond.server import Server
from tests.network.driving import (
    accept_and_send,
    answer_with,
    drain,
    echo,
    read_to_close,
    wait_for,
)
from tests.network.one_thread import Served
from tests.network.pools import QUIET, Loop, names_of
from tests.support import RawServer, answer_upgrade, make_close, make_frame, read_frame

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

AT_ONCE = ReconnectPolicy(min_wait=0, max_wait=0, spread=0)


def move(source, target, url, name='ready', **options):
    """Move a new member of one pool to another at its first event of a name; return both's names.

    The first pool's loop ends then, and the second's begins. ``options`` are those of `add`.
    """
    websocket = source.add(WebSocket(url), **dict(QUIET, **options))
    before = []
    for _websocket, event in source:
        before.append(event.name)
        if event.name == name:
            assert source.remove(websocket, close=False) is True
            assert websocket not in source and len(source) == 0
            target.add(websocket)
    return before, [getattr(event, 'text', event.name) for _websocket, event in target]


def released(url, name='ready', **options):
    """Return a WebSocket that is open, and that no pool has any more from an event of a name on."""
    websocket = WebSocket(url)
    pool = Pool()
    pool.add(websocket, **dict(QUIET, **options))
    for _websocket, event in pool:
        if event.name == name:
            pool.remove(websocket, close=False)
    return websocket


def answer_in_one_piece(sock):
    """Accept, with messages and the Close in the same packet; a script of `RawServer`."""
    answer_with(sock, b''.join(make_frame(1, b'%d' % number) for number in range(5))
                + make_close(1000))
    drain(sock)


@pytest.mark.parametrize('policy', [None, ReconnectPolicy(stop_on_code=[1000])])
@pytest.mark.parametrize('name, count', [('ready', 5), ('text', 4)])
def test_what_was_read_with_the_last_event_comes_in_the_other_pool(name, count, policy):
    with RawServer(answer_in_one_piece) as server:
        before, after = move(Pool(), Pool(), server.url, name, policy=policy)
    assert before == ['connecting', 'connected', 'ready', 'text'][:before.index(name) + 1]
    assert after == [u'0', u'1', u'2', u'3', u'4'][-count:] + ['closing', 'disconnected']


def test_a_message_that_has_arrived_in_part_is_completed_in_the_other_pool():
    is_moved = threading.Event()

    def script(sock):
        answer_with(sock, make_frame(1, b'first') + make_frame(1, b'in ', fin=False) + b'\x80')
        wait_for(is_moved)
        sock.sendall(b'\x05parts' + make_close(1000))
        drain(sock)

    with RawServer(script) as server:
        second = Pool()
        second.add(released(server.url, 'text'))
        is_moved.set()
        texts = [event.text for _websocket, event in second if event.name == 'text']
    assert texts == [u'in parts']


def test_compression_goes_on_with_its_context_in_both_directions():
    with Server(lambda websocket: [
            websocket.send_text(event.text) for event in websocket if event.name == 'text'],
            compress=True) as server:
        websocket = WebSocket(server.url, compress=True)
        first, second = Pool(), Pool()
        first.add(websocket, **QUIET)
        texts = []
        for pool in (first, second):
            for _websocket, event in pool:
                if event.name == 'ready':
                    websocket.send_text(u'the same words again')
                elif event.name == 'text':
                    texts.append(event.text)
                    if len(texts) == 3:
                        first.remove(websocket, close=False)
                        second.add(websocket)
                    if len(texts) == 6:
                        websocket.close()
                    else:
                        websocket.send_text(u'the same words again')
    assert texts == [u'the same words again'] * 6
    assert websocket.stats.connections == 1


def test_what_is_sent_between_two_pools_waits_and_goes_out_in_order():
    may_read = threading.Event()
    received = []

    def script(sock):
        answer_upgrade(sock)
        wait_for(may_read)
        received.extend(read_to_close(sock))
        sock.sendall(make_close(1000))

    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        first, second = Pool(max_queue=None), Pool()
        first.add(websocket, tag='mine', **QUIET)
        for _websocket, event in first:
            if event.name == 'ready':
                websocket.send_binary(b'0' * 5000000)
                first.remove(websocket, close=False)
        websocket.send_text(u'1')
        second.add(websocket)
        may_read.set()
        assert second.broadcast(u'2') == 1
        websocket.close()
        last = [event for _websocket, event in second][-1]
    assert last.graceful and last.unsent == 0
    texts = [payload for _first, payload in received if len(payload) == 1]
    assert texts == [b'1', b'2']
    assert websocket.tag == 'mine'


def test_a_close_before_the_other_pool_ends_there():
    with RawServer(echo) as server:
        websocket = released(server.url)
        second = Pool()
        websocket.close()
        second.add(websocket)
        names = [event.name for _websocket, event in second]
    assert names == ['closed', 'disconnected']


def test_pings_and_timeouts_go_on_with_the_options_that_the_connection_has():
    def script(sock):
        answer_upgrade(sock)
        while read_frame(sock)[0] != 0x89:
            pass
        drain(sock)

    with RawServer(script) as server:
        _before, after = move(
            Pool(), Pool(), server.url, ping_rate=0.02, ping_timeout=0.04, poll=None)
    assert after == ['unresponsive', 'disconnected']


def test_a_member_goes_back_to_its_own_pool():
    with RawServer(accept_and_send(make_frame(1, b'x'), make_close(1000))) as server:
        pool = Pool()
        websocket = pool.add(WebSocket(server.url), **QUIET)
        names = []
        for _websocket, event in pool:
            names.append(event.name)
            if event.name == 'ready':
                pool.remove(websocket, close=False)
                pool.add(websocket)
    assert names == ['connecting', 'connected', 'ready', 'text', 'closing', 'disconnected']


def test_members_move_from_one_thread_to_another_while_both_loops_run():
    def handle(websocket, event):
        if event.name == 'ready':
            websocket.send_text(u'hello')
            assert lobby.remove(websocket, close=False)
            room.add(websocket)

    def answer(websocket, event):
        if event.name == 'text':
            websocket.close()

    lobby, room = Pool(), Pool(ends_when_empty=False)
    with RawServer(echo) as server:
        room_loop = Loop(room, answer)
        members = [lobby.add(WebSocket(server.url), **QUIET) for _ in range(50)]
        before = Loop(lobby, handle).end()
        room_loop.wait_for('disconnected', *members)
        room.close()
        after = room_loop.end()
    for websocket in members:
        assert names_of(before, websocket) == ['connecting', 'connected', 'ready']
        assert names_of(after, websocket) == ['text', 'closed', 'disconnected']


def test_a_call_in_another_thread_takes_effect_in_the_loops_next_turn():
    pool = Pool()
    with RawServer(echo) as server:
        websocket = pool.add(WebSocket(server.url), **QUIET)
        loop = Loop(pool)
        loop.wait_for('ready', websocket)
        assert pool.remove(websocket, close=False)
        loop.end()      # the pool is empty
        assert websocket.is_open
        websocket.send_text(u'hello')
        other = Pool()
        other.add(websocket)
        names = []
        for _websocket, event in other:
            names.append(event.name)
            if event.name == 'text':
                websocket.close()
    assert names == ['text', 'closed', 'disconnected']


# -- policies --

@pytest.mark.parametrize('policy', [None, AT_ONCE])
def test_the_policy_of_the_pool_that_it_left_counts_no_more(policy):
    with RawServer(accept_and_send(make_close(1001))) as server:
        _before, after = move(Pool(), Pool(), server.url, policy=policy)
    assert after == ['closing', 'disconnected']


def test_the_policy_of_the_other_pool_connects_again_with_the_options_of_its_add():
    is_moved = threading.Event()

    def script(sock):
        if server.connections > 1:
            echo(sock)
            return
        answer_upgrade(sock)
        wait_for(is_moved)
        sock.sendall(make_close(1001))
        read_to_close(sock)

    with RawServer(script) as server:
        websocket = released(server.url)
        second = Pool()
        policy = ReconnectPolicy(min_wait=0, max_wait=0, spread=0, stable_after=0, max_attempts=1)
        second.add(websocket, policy=policy, poll=60, ping_rate=0)
        is_moved.set()
        names = []
        for _websocket, event in second:
            names.append(event.name)
            if event.name == 'poll':
                websocket.close()
    assert names == ['closing', 'disconnected', 'back_off', 'connecting', 'connected', 'ready',
                     'poll', 'closed', 'disconnected']


def test_a_connection_is_replaced_in_the_pool_that_it_has_gone_to():
    with RawServer(echo) as server:
        websocket = released(server.url, policy=AT_ONCE)
        second = Pool()
        second.add(websocket, policy=AT_ONCE, **QUIET)
        assert second.renew(websocket)
        names = []
        for _websocket, event in second:
            names.append(event.name)
            if event.name == 'ready':
                with pytest.raises(errors.WebSocketUnavailable):    # the old one is left
                    second.remove(websocket, close=False)
                websocket.close()
    assert names == ['ready', 'closed', 'disconnected']


# -- what can't go --

def test_only_a_connection_that_is_open_stays_open():
    pool = Pool()
    with RawServer(echo) as server:
        websocket = WebSocket(server.url)
        assert pool.remove(websocket, close=False) is False
        pool.add(websocket, **QUIET)
        refused = []
        for _websocket, event in pool:
            if event.name == 'ready':
                websocket.close()
            elif event.name == 'disconnected':
                assert pool.remove(websocket, close=False) is False
                break
            with pytest.raises(errors.WebSocketUnavailable) as caught:
                pool.remove(websocket, close=False)
            assert 'wait for the Ready event' in str(caught.value)
            refused.append(event.name)
        assert websocket not in pool
    assert refused == ['connecting', 'connected', 'ready', 'closed']


def test_a_connection_that_has_just_moved_stays_until_its_next_event():
    with RawServer(echo) as server:
        websocket = released(server.url)
        pool = Pool()
        pool.add(websocket)
        with pytest.raises(errors.WebSocketUnavailable, match='wait for its next event'):
            pool.remove(websocket, close=False)
        websocket.send_text(u'x')
        for _websocket, event in pool:
            if event.name == 'text':
                assert pool.remove(websocket, close=False) is True
        assert websocket.is_open
        websocket.force_disconnect()


def test_a_member_that_backs_off_has_no_connection_to_leave_open():
    pool = Pool()
    with RawServer(accept_and_send(make_close(1001))) as server:
        websocket = pool.add(
            WebSocket(server.url), policy=ReconnectPolicy(min_wait=3600, max_wait=3600), **QUIET)
        for _websocket, event in pool:
            if event.name == 'back_off':
                with pytest.raises(errors.WebSocketUnavailable):
                    pool.remove(websocket, close=False)
                assert pool.remove(websocket)


@pytest.mark.parametrize('close', ['no', 5])
def test_close_is_true_or_false(close):
    with pytest.raises(TypeError) as caught:
        Pool().remove(WebSocket(u'ws://localhost/'), close=close)
    assert str(caught.value).startswith('close must be True or False')


# -- between two pools --

@pytest.mark.parametrize('begin', [
    list,
    lambda websocket: list(persist(websocket)),
    lambda websocket: websocket.open(),
    lambda websocket: websocket.reset(),
])
def test_another_driver_is_refused_and_the_way_out_is_named(begin):
    with RawServer(echo) as server:
        websocket = released(server.url)
        with pytest.raises(errors.WebSocketUnavailable) as caught:
            begin(websocket)
        assert 'pool.add(websocket)' in str(caught.value)
        assert websocket.is_open
        websocket.force_disconnect()


def test_force_disconnect_frees_it_and_it_may_connect_again():
    with RawServer(echo) as server:
        websocket = released(server.url)
        websocket.force_disconnect()
        assert websocket.is_closed
        with pytest.raises(errors.WebSocketUnavailable):
            websocket.fileno()
        names = []
        for event in websocket:
            names.append(event.name)
            if event.name == 'ready':
                websocket.close()
    assert names[-1] == 'disconnected' and 'ready' in names


def test_the_end_of_a_with_block_frees_it():
    with RawServer(echo) as server:
        with released(server.url) as websocket:
            assert websocket.is_open


def test_a_pool_whose_loop_is_left_at_once_frees_it():
    for policy in (None, AT_ONCE):
        with RawServer(echo) as server:
            websocket = released(server.url)
            with Pool() as pool:
                pool.add(websocket, policy=policy)
                for _websocket, _event in pool.polling(0.001):
                    break
            assert websocket.is_closed


@pytest.mark.parametrize('has_run', [False, True])
@pytest.mark.parametrize('leave', [
    lambda pool, websocket: None, lambda pool, websocket: pool.remove(websocket)])
def test_a_pool_that_is_left_before_its_loop_or_after_it_frees_it(leave, has_run):
    def script(sock):
        try:
            echo(sock)
        finally:        # at the end of the stream, too
            ended.set()

    ended = threading.Event()
    with RawServer(script) as server:
        websocket = released(server.url)
        with Pool() as pool:
            assert not has_run or list(pool) == []
            pool.add(websocket)
            if leave(pool, websocket):
                wait_for(ended)
        wait_for(ended)
        assert websocket.is_closed
        assert websocket not in pool


def test_no_two_pools_go_on_with_it():
    with RawServer(echo) as server:
        websocket = released(server.url)
        first, second = Pool(), Pool()
        first.add(websocket)
        for pool in (first, second):
            with pytest.raises(errors.WebSocketUnavailable):
                pool.add(websocket)
        websocket.close()
        assert [event.name for _websocket, event in first] == ['closed', 'disconnected']


# -- from a server --

def test_a_connection_of_a_server_with_one_thread_goes_on_in_a_pool():
    pool = Pool()
    names = []
    with Served() as served:
        client, websocket = served.connect()
        assert served.server.remove(websocket, close=False) is True
        assert served.server.connections == []
        with pytest.raises(errors.WebSocketUnavailable):
            list(websocket)
        with pytest.raises(TypeError):
            pool.add(websocket, policy=AT_ONCE)
        pool.add(websocket)
        client.send(1, b'hello')
        for member, event in pool:
            assert member is websocket
            names.append(event.name)
            if event.name == 'text':
                websocket.send_text(event.text)
                assert client.read() == (1, b'hello')
                client.sock.sendall(make_close(1000, key=b'\0' * 4))
        assert names == ['text', 'closing', 'disconnected']
        with pytest.raises(TypeError):
            pool.add(websocket)


def test_other_connections_of_the_server_go_on():
    with Served() as served:
        client, websocket = served.connect()
        other, _websocket = served.connect()
        served.server.remove(websocket, close=False)
        other.send(1, b'hello')
        assert served.wait_for('text')[1].text == u'hello'
        websocket.force_disconnect()
        assert client.read_until_end() == b''
