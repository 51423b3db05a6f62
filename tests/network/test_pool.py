"""lomond.pool: members come and go, and their events are those of a loop of their own."""

from __future__ import absolute_import, division, print_function

import gc
import os
import socket
import struct
import threading

import pytest

from lomond import WebSocket, errors
from lomond._compat import monotonic
from lomond._multiplexer import Member, Multiplexer
from lomond.engine.stepped import QueuedClientSession
from lomond.net.waiter import WAYS, Waiter
from lomond.persist import ReconnectPolicy, persist
from lomond.pool import Pool
from lomond.server import Server
from lomond.testing import Clock, Inside
from tests.network.driving import (
    Background,
    accept_and_hang_up,
    accept_and_send,
    answer_with,
    drain,
    echo,
    echo_handler,
    wait_for,
)
from tests.network.pools import (
    QUIET,
    WAYS_HERE,
    accept_and_answer,
    flood,
    looping,
    names_of,
    run,
)
from tests.programs import wait_until
from tests.shortages import few_descriptors
from tests.support import (
    PATIENCE,
    RawServer,
    UnixServer,
    answer_upgrade,
    make_close,
    make_frame,
    read_frame,
    read_head,
)

NEVER_AGAIN = ReconnectPolicy(min_wait=3600, max_wait=3600)
needs_unix = pytest.mark.skipif(
    not hasattr(socket, 'AF_UNIX'), reason='there are no Unix sockets here')
AT_ONCE = {'min_wait': 0, 'max_wait': 0, 'spread': 0}


@pytest.fixture(scope='module')
def echo_server():
    with Server(echo_handler) as server:
        yield server


# -- the loop --

WHOLE = ['connecting', 'connected', 'ready', 'text', 'text', 'closed', 'disconnected']


def talk(websocket, event):
    """Have two messages echoed, then close."""
    if event.name == 'ready':
        websocket.send_text(u'1')
    elif event.name == 'text' and event.text == u'1':
        websocket.send_text(u'2')
    elif event.name == 'text':
        websocket.close()


@pytest.mark.parametrize('policy', [None, ReconnectPolicy()], ids=['once', 'policy'])
def test_each_member_has_its_events_in_their_order_and_the_loop_ends_with_the_last(
        echo_server, policy):
    pool = Pool()
    websockets = [pool.add(WebSocket(echo_server.url), policy) for _ in range(30)]
    seen = run(pool, talk)
    assert [names_of(seen, websocket) for websocket in websockets] == [WHOLE] * 30
    assert len(pool) == 0


@pytest.mark.parametrize('poller', ['', 'devpoll', 3, ('poll',)])
def test_a_poller_that_is_not_known_is_refused(poller):
    with pytest.raises(ValueError, match="'select' or None"):
        Pool(poller=poller)


@pytest.mark.parametrize('way', sorted(set(WAYS) - set(WAYS_HERE)))
def test_a_poller_that_this_system_does_not_have_is_refused(way):
    with pytest.raises(ValueError, match='there is none of ' + way):
        Pool(poller=way)


@pytest.mark.parametrize('way', WAYS_HERE)
def test_it_waits_by_each_way_of_the_system_plain_and_over_tls(link, way):
    with link.serve(echo) as server:
        pool = Pool(poller=way)
        websockets = [pool.add(link.connect(server.url), **QUIET) for _ in range(5)]
        seen = run(pool, talk)
    assert [names_of(seen, websocket) for websocket in websockets] == [WHOLE] * 5


@pytest.mark.parametrize('way', WAYS_HERE)
def test_messages_that_came_in_one_read_or_one_tls_record_all_come_without_another(link, way):
    """What TLS has decrypted is no longer in the socket: no wait would report it."""
    count = 3000
    may_end = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'x' * 20) * count)
        wait_for(may_end)

    received = []

    def handle(websocket, event):
        if event.name == 'text':
            received.append(websocket)
            if len(received) == 2 * count:
                may_end.set()

    with link.serve(script) as server:
        pool = Pool(poller=way)
        websockets = [pool.add(link.connect(server.url), **QUIET) for _ in range(2)]
        run(pool, handle)
    assert [received.count(websocket) for websocket in websockets] == [count, count]


def test_an_empty_pool_has_no_events():
    assert list(Pool()) == []


def test_a_pool_that_does_not_end_when_empty_goes_on_until_another_thread_closes_it(echo_server):
    pool = Pool(ends_when_empty=False)
    first, second = WebSocket(echo_server.url), WebSocket(echo_server.url)
    with looping(pool, talk) as loop:
        pool.add(first, **QUIET)
        loop.wait_for('disconnected', first)
        pool.add(second, **QUIET)
        loop.wait_for('disconnected', second)
        pool.close()
        loop.end()
    assert names_of(loop.seen, second) == WHOLE


def test_the_pools_poll_belongs_to_no_member_and_members_have_none_of_their_own(echo_server):
    pool = Pool()
    pool.add(WebSocket(echo_server.url))
    polls = []
    for websocket, event in pool.polling(0.01):
        if event.name == 'poll':
            polls.append(websocket)
            if len(polls) == 5:
                break
    assert polls == [None] * 5


def test_a_member_has_its_poll_if_that_was_asked_for(echo_server):
    pool = Pool()
    asked = pool.add(WebSocket(echo_server.url), poll=0.01)
    quiet = pool.add(WebSocket(echo_server.url))
    polls = []
    for websocket, event in pool:
        if event.name == 'poll':
            polls.append(websocket)
            if len(polls) == 5:
                break
    assert polls == [asked] * 5
    assert quiet not in pool


def test_a_second_loop_over_a_pool_is_refused(echo_server):
    pool = Pool()
    pool.add(WebSocket(echo_server.url))
    loop, other = iter(pool), iter(pool)
    next(loop)
    with pytest.raises(errors.WebSocketUnavailable):
        next(other)
    assert [event.name for _websocket, event in (next(loop), next(loop))] == [
        'connected', 'ready']
    loop.close()


# -- members --

def test_members_are_counted_and_listed_and_have_their_tags(echo_server):
    pool = Pool()
    first, second = WebSocket(echo_server.url), WebSocket(echo_server.url)
    assert pool.add(first, tag='first') is first
    pool.add(second)
    assert (len(pool), pool.websockets) == (2, [first, second])
    assert (first.tag, second.tag) == ('first', None)
    assert first in pool and second in pool and WebSocket(echo_server.url) not in pool
    assert pool.remove(first)
    assert pool.websockets == [second]
    assert not pool.remove(first)


@pytest.mark.parametrize('policy', [None, NEVER_AGAIN])
@pytest.mark.parametrize('at', [None, 'connecting', 'ready', 'back_off'])
def test_a_websocket_that_was_added_before_is_refused_and_goes_on(policy, at):
    if at == 'back_off' and policy is None:
        return
    with RawServer(accept_and_hang_up()) as server:
        pool = Pool()
        websocket = pool.add(WebSocket(server.url), policy, tag='first')
        loop = iter(pool)
        while at is not None and next(loop)[1].name != at:
            pass
        session = websocket.session
        with pytest.raises(errors.WebSocketUnavailable):
            pool.add(websocket, tag='second')
        assert (websocket.tag, websocket.session) == ('first', session)
        assert len(pool) == 1
        loop.close()


def test_a_websocket_with_a_loop_or_in_another_pool_is_refused(echo_server):
    own, pooled = WebSocket(echo_server.url), WebSocket(echo_server.url)
    own_loop, other = iter(own), Pool()
    other.add(pooled)
    other_loop = iter(other)
    next(own_loop)
    next(other_loop)
    pool = Pool()
    for websocket in (own, pooled):
        with pytest.raises(errors.WebSocketUnavailable):
            pool.add(websocket)
    assert len(pool) == 0
    own_loop.close()
    other_loop.close()


def test_a_websocket_that_another_loop_took_ends_with_an_event_that_says_so(echo_server):
    pool = Pool()
    websocket = pool.add(WebSocket(echo_server.url))
    own_loop = iter(websocket)
    next(own_loop)
    (owner, event), = list(pool)
    assert (owner, event.name) == (websocket, 'disconnected')
    assert 'a loop over this WebSocket is already running' in event.reason
    assert next(own_loop).name == 'connected'       # the other loop goes on
    own_loop.close()


@pytest.mark.parametrize('policy', [None, ReconnectPolicy(max_attempts=1)])
def test_a_websocket_may_be_added_again_when_its_last_event_is_handled(policy):
    last = 'disconnected' if policy is None else 'gave_up'
    with RawServer(accept_and_hang_up()) as server:
        pool = Pool()
        websocket = WebSocket(server.url)
        pool.add(websocket, policy)
        seen = []
        for _websocket, event in pool:
            seen.append(event.name)
            if event.name == last and seen.count(last) < 3:
                pool.add(websocket, policy)
    assert seen.count('ready') == seen.count(last) == 3
    assert seen[-1] == last


@pytest.mark.parametrize('what', ['added', 'closed', 'removed'])
def test_what_was_done_before_the_loop_began_counts(what):
    with RawServer(accept_and_hang_up()) as server:
        pool = Pool()
        websocket = pool.add(WebSocket(server.url))
        if what == 'closed':
            websocket.close()
        elif what == 'removed':
            pool.remove(websocket)
        names = names_of(run(pool), websocket)
    assert names == {
        'added': ['connecting', 'connected', 'ready', 'disconnected'],
        'closed': ['connecting', 'connect_fail'], 'removed': []}[what]
    assert server.connections == (what == 'added')


# -- remove --

def test_after_a_member_was_removed_in_the_body_no_event_of_it_comes(link):
    with link.serve(accept_and_send(*[make_frame(1, b'x')] * 50)) as server:
        pool = Pool()
        gone, kept = [pool.add(link.connect(server.url)) for _ in range(2)]
        seen = []
        for websocket, event in pool:
            seen.append((websocket, event.name))
            if websocket is gone and event.name == 'text':
                assert pool.remove(gone)
                assert gone not in pool
            elif names_of(seen, kept).count('text') == 50:
                kept.close()
    assert names_of(seen, gone) == ['connecting', 'connected', 'ready', 'text']
    assert names_of(seen, kept)[-1] == 'disconnected'
    assert gone.is_closed


def test_a_member_that_was_removed_sees_no_close_frame_and_may_be_added_again():
    rests = []

    def script(sock):
        answer_upgrade(sock)
        rests.append(drain(sock))

    with RawServer(script) as server:
        pool = Pool(ends_when_empty=False)
        websocket = WebSocket(server.url)
        with looping(pool) as loop:
            for _ in range(3):
                del loop.seen[:]
                pool.add(websocket, **QUIET)
                loop.wait_for('ready', websocket)
                assert pool.remove(websocket)
    assert rests == [b''] * 3


def sends_of(websocket):
    return [lambda: websocket.send_text(u'x'), lambda: websocket.send_binary(b'x'),
            lambda: websocket.send_json({}), lambda: websocket.send_many([u'x', b'y']),
            websocket.send_ping, lambda: websocket.send_pong(b'')]


@pytest.mark.parametrize('policy', [None, ReconnectPolicy(**AT_ONCE)])
@pytest.mark.parametrize('where', ['body', 'thread'])
def test_sends_raise_at_once_after_a_member_was_removed(echo_server, where, policy):
    def remove():
        assert pool.remove(websocket)
        for send in sends_of(websocket):
            with pytest.raises(errors.WebSocketClosed):
                send()
        assert pool.broadcast(u'x') == 1
        assert websocket.is_closed
        assert not websocket.is_open

    def handle(owner, event):
        if event.name == 'ready' and owner is websocket:
            if kept.is_open:
                if where == 'body':
                    remove()
                else:
                    Background(remove).result()     # the pool's thread waits here
                kept.close()
        elif event.name == 'ready':
            pool.add(websocket, policy)

    pool = Pool()
    kept, websocket = pool.add(WebSocket(echo_server.url)), WebSocket(echo_server.url)
    seen = run(pool, handle)
    assert names_of(seen, websocket) == ['connecting', 'connected', 'ready']


@pytest.mark.parametrize('where', ['body', 'thread'])
def test_a_member_that_was_removed_may_be_added_again_at_once(echo_server, where):
    def remove_and_add():
        for _ in range(3):
            assert pool.remove(websocket)
            assert pool.add(websocket) is websocket
            assert websocket in pool

    def handle(_websocket, event):
        if event.name == 'ready':
            if len(ready) < 3:
                ready.append(websocket.session)
                if where == 'body':
                    remove_and_add()
                else:
                    Background(remove_and_add).result()
            else:
                websocket.close()

    ready = []
    pool = Pool()
    websocket = pool.add(WebSocket(echo_server.url), tag='kept')
    seen = run(pool, handle)
    assert names_of(seen, websocket) == ['connecting', 'connected', 'ready'] * 4 + [
        'closed', 'disconnected']
    assert len(set(map(id, ready))) == 3
    assert websocket.tag == 'kept'


@pytest.mark.parametrize('policy', [None, NEVER_AGAIN])
@pytest.mark.parametrize('is_running', [False, True])
def test_a_member_of_another_pool_is_refused(echo_server, is_running, policy):
    first, second = Pool(), Pool()
    websocket = first.add(WebSocket(echo_server.url), policy, tag='first')
    loop = iter(first)
    if is_running:
        next(loop)
    with pytest.raises(errors.WebSocketUnavailable, match='is a member of a pool'):
        second.add(websocket, policy, tag='second')
    assert websocket.tag == 'first'
    assert (len(first), len(second)) == (1, 0)
    if is_running:
        loop.close()
    else:
        assert first.remove(websocket)
    assert second.add(websocket, tag='second').tag == 'second'


def test_a_member_of_a_pool_that_is_gone_may_be_added_to_another_one():
    websocket = Pool().add(WebSocket('ws://127.0.0.1:1/'))
    gc.collect()
    assert Pool().add(websocket) is websocket


@pytest.mark.parametrize('policy', [None, NEVER_AGAIN])
def test_a_loop_of_its_own_over_a_member_is_refused_and_says_why(echo_server, policy):
    pool = Pool()
    websocket = pool.add(WebSocket(echo_server.url), policy)
    with looping(pool) as loop:
        loop.wait_for('ready', websocket)
        for begin in (websocket.connect, lambda: persist(websocket)):
            with pytest.raises(errors.WebSocketUnavailable, match='is a member of a pool'):
                begin()


def test_the_tag_stays_if_none_is_given(echo_server):
    def handle(_websocket, event):
        if event.name == 'ready':
            websocket.close()
        elif event.name == 'disconnected' and not added:
            added.append(pool.add(websocket).tag)

    added = []
    pool = Pool()
    websocket = pool.add(WebSocket(echo_server.url), tag='tea')
    run(pool, handle)
    assert added == ['tea']


def test_a_member_that_dials_can_be_removed(full_listener):
    pool = Pool()
    websocket = WebSocket('ws://127.0.0.1:{}/'.format(full_listener[1]), proxies={})
    pool.add(websocket)
    is_connecting = threading.Event()
    remover = Background(lambda: wait_for(is_connecting) or pool.remove(websocket))
    names = names_of(run(pool, lambda _websocket, _event: is_connecting.set()), websocket)
    assert remover.result()
    assert names == ['connecting']


def test_a_member_that_backs_off_can_be_removed(dead_port):
    pool = Pool()
    websocket = WebSocket('ws://127.0.0.1:{}/'.format(dead_port))
    pool.add(websocket, NEVER_AGAIN)
    with looping(pool) as loop:
        loop.wait_for('back_off', websocket)
        with pytest.raises(errors.WebSocketClosed, match='send after the next Ready'):
            websocket.send_text(u'x')
        assert pool.remove(websocket)
        with pytest.raises(errors.WebSocketClosed, match='is closed'):
            websocket.send_text(u'x')
        loop.end()
    assert names_of(loop.seen, websocket) == ['connecting', 'connect_fail', 'back_off']


# -- mistakes --

@pytest.mark.parametrize('call', [
    lambda pool, given: pool.renew(given),
    lambda pool, given: pool.remove(given),
    lambda pool, given: pool.clear_outbox(given),
    lambda pool, given: pool.broadcast(u'x', [given]),
], ids=['renew', 'remove', 'clear_outbox', 'broadcast'])
@pytest.mark.parametrize(
    'given', [u'ws://localhost/', b'x', None, Pool()], ids=['text', 'bytes', 'None', 'pool'])
def test_what_is_no_websocket_is_refused(call, given):
    with pytest.raises(TypeError, match='WebSocket'):
        call(Pool(), given)


@pytest.mark.parametrize('given', [u'abc', b'abc', 5])
def test_a_broadcast_to_what_is_no_list_is_refused(given):
    with pytest.raises(TypeError, match='a list of WebSockets'):
        Pool().broadcast(u'x', given)


def test_a_stranger_is_no_member():
    pool, stranger = Pool(), WebSocket('ws://127.0.0.1:1/')
    assert not pool.renew(stranger)
    assert not pool.remove(stranger)
    assert pool.clear_outbox(stranger) == pool.broadcast(u'x', iter([stranger])) == 0


def test_a_loop_over_a_pool_that_was_closed_and_is_empty_is_warned_of(caplog):
    pool = Pool()
    pool.add(WebSocket('ws://127.0.0.1:1/'))
    pool.close()
    assert [event.name for _websocket, event in pool] == ['connecting', 'connect_fail']
    assert not caplog.records
    assert list(pool) == []
    assert 'was closed before' in caplog.text


# -- dialling --

@pytest.mark.parametrize('most', [1, 3])
def test_no_more_members_dial_at_a_time_than_they_may_and_all_get_their_turn(most, dead_port):
    dialing, counts = set(), []
    with RawServer(echo) as server:
        pool = Pool(max_dialing=most)
        for number in range(24):
            url = 'ws://127.0.0.1:{}/'.format(dead_port) if number % 5 == 4 else server.url
            pool.add(WebSocket(url), tag=number)
        order = []
        for websocket, event in pool:
            if event.name == 'connecting':
                order.append(websocket.tag)
                dialing.add(websocket)
                counts.append(len(dialing))
            elif event.name in ('ready', 'connect_fail'):
                dialing.remove(websocket)
                if event.name == 'ready':
                    websocket.close()
    assert max(counts) == most
    assert order == list(range(24))


@pytest.mark.parametrize('leave', [
    lambda pool, websocket: websocket.close(),
    lambda pool, websocket: websocket.force_disconnect(),
    lambda pool, websocket: pool.remove(websocket),
], ids=['close', 'force_disconnect', 'remove'])
def test_a_member_that_leaves_while_it_waits_to_dial_makes_way(leave):
    """The first one's handshake is answered only when the last one may dial next."""
    may_answer = threading.Event()

    def script(sock):
        wait_for(may_answer)
        accept_and_hang_up()(sock)

    with RawServer(script) as server:
        pool = Pool(max_dialing=1)
        first, waiting, last = [pool.add(WebSocket(server.url)) for _ in range(3)]
        seen = []
        for websocket, event in pool:
            seen.append((websocket, event.name))
            if (websocket, event.name) == (first, 'connected'):
                leave(pool, waiting)
                may_answer.set()
    assert server.connections == 2
    assert 'connected' not in names_of(seen, waiting)
    assert 'ready' in names_of(seen, last)


def test_attempts_to_one_host_keep_its_rate_and_other_hosts_do_not_wait(dead_port):
    began = []
    pool = Pool(dial_rate=20)
    for _ in range(4):
        pool.add(WebSocket('ws://127.0.0.1:{}/'.format(dead_port)), tag='slow')
    pool.add(WebSocket('ws://127.0.0.2:{}/'.format(dead_port)), tag='other')
    for websocket, event in pool:
        if event.name == 'connecting':
            began.append((websocket.tag, monotonic()))
    assert [tag for tag, _at in began[:2]] == ['slow', 'other']
    times = [at for tag, at in began if tag == 'slow']
    # The event comes later than the attempt, by chance.
    assert times[-1] - times[0] >= 0.1


# -- fairness --

@pytest.mark.parametrize('way', WAYS_HERE)
def test_a_member_with_messages_without_an_end_leaves_the_others_their_turns(link, way):
    """Nothing else ends this loop."""
    answers = []

    def handle(websocket, event):
        if websocket.tag == 'echo' and event.name in ('ready', 'text'):
            answers.append(event.name)
            websocket.send_text(u'x')
        if len(answers) == 8:
            pool.close(timeout=0)

    with link.serve(flood) as noisy, link.serve(echo) as quiet:
        pool = Pool(poller=way)
        pool.add(link.connect(noisy.url), tag='flood')
        pool.add(link.connect(quiet.url), tag='echo', **QUIET)
        run(pool, handle)
    assert len(answers) == 8


def test_a_peer_that_does_not_read_delays_no_other_member():
    may_end = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(may_end)

    answers = []

    def handle(websocket, event):
        if event.name == 'ready' and websocket is stuck:
            websocket.send_binary(b'x' * (8 * 1024 * 1024))
            assert websocket.session.writer.has_unsent
        elif websocket is not stuck and event.name in ('ready', 'text'):
            answers.append(event.name)
            websocket.send_text(u'x')
        if len(answers) == 20:
            may_end.set()
            pool.close(timeout=0)

    with RawServer(script) as deaf, RawServer(echo) as server:
        pool = Pool(max_queue=None)
        stuck = pool.add(WebSocket(deaf.url))
        pool.add(WebSocket(server.url))
        seen = run(pool, handle)
    assert names_of(seen, stuck)[-1] == 'disconnected'


def all_are_ready(seen, websockets):
    return all('ready' in names_of(seen, websocket) for websocket in websockets)


def drive(websockets, clock, **options):
    """Drive WebSockets as a pool does, by a clock of the test's own."""
    multiplexer = Multiplexer(clock=clock)
    timing = dict({'poll': None, 'ping_rate': 30, 'ping_timeout': None, 'auto_pong': True,
                   'close_timeout': None}, **options)
    for websocket in websockets:
        def begin(wake, websocket=websocket):
            session = websocket.new_session(
                lambda websocket: QueuedClientSession(websocket, clock=clock))
            session.begin(wake=wake, **timing)
            return session
        multiplexer.add(Member(websocket, begin))
    return multiplexer.run(lambda: not len(multiplexer))


def test_a_body_that_takes_longer_than_ping_timeout_makes_no_peer_unresponsive():
    """Whichever body it is: the answers of all peers lie unread meanwhile."""
    clock = Clock()
    answered, seen = [], []

    def are_answered():
        return len(answered) == sum(websocket.stats.pings_sent for websocket in websockets)

    with RawServer(lambda sock: accept_and_answer(sock, answered)) as server:
        websockets = [WebSocket(server.url) for _ in range(3)]
        for websocket, event in drive(websockets, clock, ping_rate=10, ping_timeout=20):
            seen.append((websocket, event.name))
            if event.name in ('ready', 'pong') and all_are_ready(seen, websockets):
                wait_until(are_answered, 'the answers to all pings')
                clock.ahead += 60
            if names_of(seen, websocket).count('pong') == 4:
                websocket.close()
    for websocket in websockets:
        names = names_of(seen, websocket)
        assert names[:3] + names[-2:] == [
            'connecting', 'connected', 'ready', 'closed', 'disconnected']
        assert set(names[3:-2]) == {'pong'}     # four, or one more that was on its way


def test_a_silent_peer_is_unresponsive_then_disconnected_each_once():
    clock = Clock()

    def script(sock):
        answer_upgrade(sock)
        drain(sock)

    seen = []
    with RawServer(script) as silent, RawServer(accept_and_answer) as server:
        dead, alive = WebSocket(silent.url), WebSocket(server.url)
        for websocket, event in drive([dead, alive], clock, ping_rate=5, ping_timeout=20):
            seen.append((websocket, event.name))
            if event.name in ('ready', 'pong') and all_are_ready(seen, [dead, alive]):
                clock.ahead += 5
            if websocket is dead and event.name == 'disconnected':
                assert not event.graceful
                alive.close()
    assert names_of(seen, dead) == [
        'connecting', 'connected', 'ready', 'unresponsive', 'disconnected']
    assert 'unresponsive' not in names_of(seen, alive)


# -- waiting --

@pytest.fixture
def waits(monkeypatch):
    """A list that each wait of a pool's loop adds to.

    Not those that end as soon as the clock of 2.7, which has steps of 10 ms, goes on.
    """
    waits = []
    wait = Waiter.wait

    def counting(waiter, timeout):
        if not 0 < timeout < 0.001:
            waits.append(timeout)
        return wait(waiter, timeout)

    monkeypatch.setattr(Waiter, 'wait', counting)
    return waits


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    sock.close()


@pytest.mark.parametrize('way, scheme', [(way, 'ws') for way in WAYS_HERE] + [
    pytest.param(WAYS_HERE[0], 'ws+unix', marks=needs_unix)])
@pytest.mark.parametrize('ends', [True, False], ids=['reset', 'silence'])
@pytest.mark.parametrize('phase', ['full', 'closing', 'lingering'])
def test_a_pool_does_not_spin_whatever_a_member_waits_for(waits, way, scheme, phase, ends, path):
    """With a queue that the peer doesn't read, for its Close, or for the end of TCP."""
    is_full, may_end = threading.Event(), threading.Event()

    def script(sock):
        answer_upgrade(sock)
        if phase == 'lingering':
            sock.sendall(make_close(1000))
            read_frame(sock)
        elif phase == 'full':
            wait_for(is_full)
        if ends:
            reset(sock)
        wait_for(may_end)

    with RawServer(script) if scheme == 'ws' else UnixServer(script, path) as server:
        pool = Pool(poller=way, max_queue=None, ends_when_empty=False)
        websocket = pool.add(WebSocket(server.url), close_timeout=0.4, **QUIET)
        polls, names = 0, []
        for _websocket, event in pool.polling(0.05):
            names.append(event.name)
            if event.name == 'ready' and phase == 'full':
                websocket.send_binary(b'x' * (8 * 1024 * 1024))
                is_full.set()
            elif event.name == 'ready' and phase == 'closing':
                websocket.close()
            elif event.name in ('ready', 'closing'):
                del waits[:]
            if event.name == 'poll':
                polls += 1
                if polls == 10:
                    break
        may_end.set()
    assert len(waits) < 60
    assert ('disconnected' in names) == (ends or phase == 'closing') or phase == 'lingering'


# -- faults --

@pytest.mark.parametrize('way', WAYS_HERE)
def test_a_descriptor_that_was_closed_by_mistake_ends_its_member_only(way):
    with RawServer(echo) as server:
        pool = Pool(poller=way)
        broken, whole = [pool.add(WebSocket(server.url), **QUIET) for _ in range(2)]
        seen = []
        for websocket, event in pool:
            seen.append((websocket, event.name))
            if event.name == 'ready' and names_of(seen, broken).count('ready') \
                    and names_of(seen, whole).count('ready'):
                sock = Inside(broken).sock
                os.close(sock.fileno())
                with pytest.raises(errors.TransportFail):
                    broken.send_text(u'x')
            elif websocket is broken and event.name == 'disconnected':
                assert not event.graceful
                whole.send_text(u'x')
            elif event.name == 'text':
                whole.close()
        if hasattr(sock, 'detach'):
            sock.detach()       # its number is another's by now
    assert names_of(seen, whole)[-3:] == ['text', 'closed', 'disconnected']


def test_a_member_without_a_descriptor_to_dial_with_fails_alone(nothing_is_left_open):
    with RawServer(echo) as server:
        pool = Pool()
        first = pool.add(WebSocket(server.url), **QUIET)
        second = WebSocket(server.url)
        seen = []
        loop = iter(pool)
        while not names_of(seen, first).count('ready'):
            seen.append((next(loop)[0], 'ready' if first.is_open else None))
        with few_descriptors(0):
            pool.add(second)
            websocket, event = next(loop)
            while event.name != 'connect_fail':
                websocket, event = next(loop)
        assert websocket is second
        assert 'Too many open files' in event.reason
        first.send_text(u'x')
        assert next(loop)[1].text == u'x'
        first.close()
        assert [event.name for _websocket, event in loop] == ['closed', 'disconnected']


class Mishap(Exception):
    """What a function of the user's raises."""


def fail(*_args):
    raise Mishap('no token')


@pytest.mark.parametrize('options, policy, names', [
    ({'headers': fail}, None, ['connecting', 'connect_fail']),
    ({'trace': fail}, None, WHOLE),
    ({'resolver': fail}, None, ['connecting', 'connect_fail']),
    ({}, ReconnectPolicy(before_attempt=fail, max_attempts=1), ['connect_fail', 'gave_up']),
], ids=['headers', 'trace', 'resolver', 'before_attempt'])
def test_a_function_of_the_users_that_raises_ends_its_own_member_only(
        echo_server, options, policy, names):
    pool = Pool()
    broken = pool.add(
        WebSocket(echo_server.url.replace('127.0.0.1', 'localhost'), **options), policy)
    whole = pool.add(WebSocket(echo_server.url))
    seen = run(pool, talk)
    assert names_of(seen, broken) == names
    assert names_of(seen, whole) == WHOLE


def test_a_clock_that_raises_in_a_back_off_ends_its_own_member_only(echo_server, dead_port):
    faults, reasons = [], []

    def clock():
        if faults:
            raise faults[0]
        return monotonic()

    pool = Pool()
    whole = pool.add(WebSocket(echo_server.url))
    broken = pool.add(WebSocket('ws://127.0.0.1:{}/'.format(dead_port)), ReconnectPolicy(
        min_wait=0.1, max_wait=0.1, clock=clock))
    seen = []
    for websocket, event in pool.polling(0.01):
        seen.append((websocket, event.name))
        if websocket is broken and event.name == 'disconnected':
            reasons.append(event.reason)
            whole.send_text(u'2')
        elif websocket is whole and event.name == 'text':
            whole.close()
        elif event.name == 'poll' and whole.is_open and (broken, 'back_off') in seen:
            faults.append(Mishap('no time'))
    assert reasons == [u'the connection was given up: no time']
    assert names_of(seen, whole)[-3:] == ['text', 'closed', 'disconnected']


@pytest.mark.parametrize('call', [
    lambda: Pool(max_queue=0), lambda: Pool(max_dialing=0), lambda: Pool(overflow='wait'),
    lambda: Pool(dial_rate=-1), lambda: Pool(dial_rate=0), lambda: Pool().polling(0),
    lambda: Pool().polling(None), lambda: Pool().add(WebSocket('ws://example.org/'), poll=-1),
    lambda: Pool().close(1005), lambda: Pool().close(timeout=-1),
    lambda: Pool().broadcast(u'\ud800')])
def test_values_that_make_no_sense_raise_value_error(call):
    with pytest.raises(ValueError):
        call()


@pytest.mark.parametrize('call, words', [
    (lambda: Pool(max_queue='1'), 'max_queue must be an integer'),
    (lambda: Pool(max_dialing=None), 'max_dialing must be an integer'),
    (lambda: Pool(dial_rate='1'), 'dial_rate must be a number'),
    (lambda: Pool(reconnect=True), 'reconnect'),
    (lambda: Pool().add('ws://example.org/'), 'a pool takes WebSockets'),
    (lambda: Pool().add(WebSocket('ws://example.org/'), policy=5), 'policy must be a Reconnect'),
    (lambda: Pool().add(WebSocket('ws://example.org/'), 5), 'policy must be a Reconnect'),
    (lambda: Pool().broadcast(5), 'broadcast takes'),
])
def test_values_of_a_wrong_type_raise_type_error_that_says_what_to_give(call, words):
    with pytest.raises(TypeError) as caught:
        call()
    assert words in str(caught.value)


# -- reconnecting --

def refuse(sock):
    read_head(sock)
    sock.sendall(b'HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n')


def outages():
    """Return a script, another one for each connection."""
    scripts = iter([
        refuse, accept_and_hang_up(make_frame(1, b'x')), lambda sock: sock.close(), refuse,
        accept_and_send(make_close(1001, b'later')), accept_and_send(make_frame(3)), refuse])

    def script(sock):
        next(scripts)(sock)
    return script


def test_a_policy_gives_the_same_events_in_the_same_order_as_persist():
    policy = ReconnectPolicy(max_attempts=7, **AT_ONCE)
    with RawServer(outages()) as server:
        expected = [event.name for event in persist(
            WebSocket(server.url), poll=None, policy=policy) if event.name != 'poll']
    with RawServer(outages()) as server:
        pool = Pool()
        websocket = pool.add(WebSocket(server.url), policy)
        assert names_of(run(pool), websocket) == expected
    assert expected.count('back_off') == 6
    assert expected[-1] == 'gave_up'


def test_a_back_off_lasts_as_long_as_it_says_and_the_next_attempt_follows():
    policy = ReconnectPolicy(min_wait=0.05, max_wait=0.05)
    times = {}
    with RawServer(accept_and_hang_up()) as server:
        pool = Pool()
        websocket = pool.add(WebSocket(server.url), policy)
        seen = []
        for _websocket, event in pool:
            seen.append(event.name)
            times[event.name] = monotonic()
            if seen.count('connecting') == 3:
                break
    assert 0.04 < times['connecting'] - times['back_off'] < PATIENCE
    assert websocket.is_closed


def test_before_attempt_is_called_outside_the_pools_thread_and_delays_no_other_member(echo_server):
    may_go_on = threading.Event()
    threads = []

    def before_attempt(_websocket, _number):
        threads.append(threading.current_thread())
        wait_for(may_go_on)

    def handle(websocket, event):
        talk(websocket, event)
        if event.name == 'disconnected' and websocket is quick:
            may_go_on.set()

    pool = Pool()
    slow = pool.add(
        WebSocket(echo_server.url), ReconnectPolicy(before_attempt=before_attempt))
    quick = pool.add(WebSocket(echo_server.url))
    seen = run(pool, handle)
    assert names_of(seen, slow) == names_of(seen, quick) == WHOLE
    assert seen.index((quick, 'disconnected')) < seen.index((slow, 'connecting'))
    assert threads[0] is not threading.current_thread()


def test_what_an_old_session_still_does_changes_nothing_for_the_new_one():
    sessions = []
    with RawServer(echo) as server:
        pool = Pool()
        websocket = pool.add(WebSocket(server.url), ReconnectPolicy(**AT_ONCE))
        names = []
        for _websocket, event in pool:
            names.append(event.name)
            if event.name == 'ready':
                sessions.append(websocket.session)
                if len(sessions) < 3:
                    websocket.force_disconnect()
                    continue
                for session in sessions[:-1]:
                    session.wake()
                    session.close()
                    session.force_disconnect()
                    session.dispose()
                websocket.send_text(u'x')
            elif event.name == 'text':
                websocket.close()
    assert names[-3:] == ['text', 'closed', 'disconnected']
    assert names.count('ready') == 3


def test_kept_messages_go_out_after_what_the_body_sends_when_the_next_connection_is_ready():
    """Log-in first, and subscriptions."""
    is_deaf = threading.Event()
    received = []

    def script(sock):
        answer_upgrade(sock)
        if not is_deaf.is_set():
            is_deaf.set()
            wait_for(may_cut)
            return
        while len(received) < 5:
            received.append(read_frame(sock)[1])
        sock.sendall(make_close(1000))
        read_frame(sock)

    may_cut = threading.Event()
    with RawServer(script) as server:
        pool = Pool(keep_outbox=True, max_queue=None)
        websocket = pool.add(WebSocket(server.url), ReconnectPolicy(**AT_ONCE))
        connections = 0
        for _websocket, event in pool:
            if event.name == 'ready':
                connections += 1
                if connections == 1:
                    websocket.send_binary(b'x' * (8 * 1024 * 1024))     # it has begun: it is lost
                    for text in (u'a', u'b', u'c'):
                        websocket.send_text(text)
                    may_cut.set()
                else:
                    websocket.send_text(u'log in')
                    websocket.send_text(u'subscribe')
            elif event.name == 'closing':
                websocket.close()
    assert received == [b'log in', b'subscribe', b'a', b'b', b'c']


# -- broadcast --

def test_a_broadcast_goes_to_those_that_are_open_or_to_those_that_are_named(echo_server, dead_port):
    pool = Pool()
    websockets = [pool.add(WebSocket(echo_server.url), tag=number) for number in range(4)]
    backing_off = pool.add(WebSocket('ws://127.0.0.1:{}/'.format(dead_port)), NEVER_AGAIN)
    stranger = WebSocket(echo_server.url)
    counts, received = [], []
    for websocket, event in pool:
        if event.name == 'ready':
            counts.append(pool.broadcast(u'so far'))
        elif event.name == 'text':
            received.append((websocket.tag, event.text))
            if len(received) == 10:
                counts.append(pool.broadcast(u'named', [websockets[0], backing_off, stranger]))
            elif event.text == u'named':
                counts.append(pool.broadcast(b'bytes', compress=False))
                pool.close(timeout=PATIENCE)
                counts.append(pool.broadcast(u'too late'))
    assert counts == [1, 2, 3, 4, 1, 4, 0]
    assert received[-1] == (0, u'named')
    assert list(pool.websockets) == [] and pool.broadcast(u'nobody') == 0


@pytest.mark.parametrize('overflow', ['raise', 'block', 'drop_oldest', 'latest'])
def test_a_broadcast_never_waits_and_leaves_out_those_whose_queue_is_full(overflow):
    may_end = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(may_end)

    with RawServer(script) as deaf, RawServer(echo) as server:
        pool = Pool(max_queue=1000, overflow=overflow)
        stuck = pool.add(WebSocket(deaf.url), **QUIET)
        fine = pool.add(WebSocket(server.url), **QUIET)
        with looping(pool) as loop:
            loop.wait_for('ready', stuck, fine)
            while not stuck.session.writer.has_unsent:
                pool.broadcast(b'x' * 900, [stuck])
            # Some go to neither: the other one's queue may be full for a moment, too.
            expected = 2 if overflow in ('drop_oldest', 'latest') else 1
            wait_until(lambda: pool.broadcast(b'y' * 900) == expected, 'a broadcast to the rest')
            loop.wait_for('binary', fine)
            assert pool.clear_outbox(stuck) <= 1
            assert pool.clear_outbox(stuck) == 0
            may_end.set()


@pytest.mark.parametrize('overflow', ['raise', 'block', 'drop_oldest', 'latest'])
def test_a_member_that_does_not_read_keeps_no_message_from_ninety_nine_others(overflow):
    may_end = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(may_end)

    with RawServer(script) as deaf, Server(echo_handler) as server:
        pool = Pool(max_queue=100000, overflow=overflow)
        stuck = pool.add(WebSocket(deaf.url), **QUIET)
        others = [pool.add(WebSocket(server.url), **QUIET) for _ in range(99)]
        with looping(pool) as loop:
            loop.wait_for('ready', stuck, *others)
            while not stuck.session.writer.has_unsent:
                pool.broadcast(b'x' * 90000, [stuck])
            for number in range(20):
                assert pool.broadcast(u'{}'.format(number)) >= 99
            loop.wait_until(lambda seen: sum(name == 'text' for _, name in seen) == 20 * 99)
            may_end.set()
    for websocket in others:
        assert names_of(loop.seen, websocket).count('text') == 20


@pytest.mark.parametrize('before, at', [
    ('connected', 'ready'), ('ready', 'text'), ('text', 'text')])
def test_the_thread_that_takes_a_loop_over_never_waits_for_space(before, at):
    may_end = threading.Event()

    def script(sock):
        answer_with(sock, make_frame(1, b'x') * 3)      # in one step
        wait_for(may_end)

    def go_on():
        for websocket, event in loop:
            if event.name == at:
                while True:
                    websocket.send_binary(b'x' * 5000)

    with RawServer(script) as server:
        pool = Pool(max_queue=10000, overflow='block')
        pool.add(WebSocket(server.url), **QUIET)
        loop = iter(pool)
        while next(loop)[1].name != before:
            pass
        background = Background(go_on)
        try:
            with pytest.raises(errors.OutboxFull):
                background.result()
        finally:
            may_end.set()


def test_members_that_end_while_a_broadcast_goes_on_disturb_it_by_nothing(echo_server):
    pool = Pool(ends_when_empty=False)
    websockets = [WebSocket(echo_server.url) for _ in range(20)]
    with looping(pool) as loop:
        for websocket in websockets:
            pool.add(websocket, **QUIET)
        loop.wait_for('ready', *websockets)

        def end_every_second():
            for websocket in websockets[::4]:
                websocket.close()
                pool.remove(websocket)
            for websocket in websockets[2::4]:
                websocket.force_disconnect()

        ender = Background(end_every_second)
        while any(websocket in pool for websocket in websockets[::2]):
            assert pool.broadcast(u'x') >= 10
        ender.result()
        assert pool.broadcast(u'last') == 10
        loop.wait_for('text', *websockets[1::2])


def test_threads_that_add_send_and_remove_at_once_do_not_disturb_each_other(echo_server):
    pool = Pool(ends_when_empty=False)
    replies = []

    def handle(websocket, event):
        if event.name == 'ready':
            websocket.send_text(u'x')
        elif event.name == 'text':
            replies.append(websocket)
            websocket.tag.set()

    def come_and_go():
        for number in range(15):
            is_there = threading.Event()
            websocket = pool.add(WebSocket(echo_server.url), tag=is_there, **QUIET)
            wait_for(is_there)
            pool.broadcast(u'y', [websocket])
            if number % 2:
                pool.remove(websocket)
            else:
                websocket.close()

    with looping(pool, handle):
        for thread in [Background(come_and_go) for _ in range(4)]:
            thread.result()
    assert len(set(replies)) == 60
