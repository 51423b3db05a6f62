"""The ends of a pool: close(), and loops that are left in any way, with nothing left open."""

from __future__ import absolute_import, division, print_function

import gc
import threading
import weakref
from functools import partial

import pytest

from lomond import WebSocket, _multiplexer, errors
from lomond.persist import ReconnectPolicy
from lomond.pool import Pool
from tests.network.driving import (
    Background,
    accept_and_hang_up,
    count_descriptors,
    drain,
    echo,
    fill_and_reset,
    needs_proc,
    read_to_close,
    wait_for,
)
from tests.network.pools import QUIET, Loop, flood, looping, names_of, run
from tests.programs import wait_until
from tests.support import (
    PATIENCE,
    RawServer,
    answer_upgrade,
    make_close,
    make_frame,
    needs_refcounts,
    read_frame,
)
from tests.tracing import LineTracer

NEVER_AGAIN = ReconnectPolicy(min_wait=3600, max_wait=3600)


class Closed(object):
    """A script of `RawServer`: it notes the Close frames that arrive, and answers them, or not."""

    def __init__(self, answers=True):
        self.frames = []
        self._answers = answers

    def __call__(self, sock):
        answer_upgrade(sock)
        self.frames.append(read_to_close(sock)[-1])
        if self._answers:
            sock.sendall(make_close(1000))
        drain(sock)


def all_ready(pool, seen, count):
    """Return whether so many of the pool's members are ready."""
    return sum(name == 'ready' for _websocket, name in seen) == count


def test_a_reset_while_the_body_is_busy_ends_the_connection_once_it_goes_on():
    is_reset = threading.Event()
    pool = Pool()
    with RawServer(fill_and_reset(is_reset), receive_buffer=65536) as server:
        pool.add(WebSocket(server.url))
        for _websocket, event in pool:
            if event.name == 'text':
                wait_for(is_reset)
    assert event.name == 'disconnected' and u'broke' in event.reason


# -- close --

@pytest.mark.parametrize('policy', [None, ReconnectPolicy()], ids=['once', 'policy'])
@pytest.mark.parametrize('by', ['body', 'thread'])
def test_close_sends_a_close_frame_for_each_member_and_the_loop_ends_with_the_last(
        link, policy, by):
    script = Closed()
    closers = []
    seen = []

    def close():
        pool.close(1012, u'restart', timeout=PATIENCE)

    with link.serve(script) as server:
        pool = Pool(ends_when_empty=False)
        websockets = [pool.add(link.connect(server.url), policy, **QUIET) for _ in range(5)]
        for websocket, event in pool:
            seen.append((websocket, event.name))
            if event.name == 'ready' and all_ready(pool, seen, 5):
                closers.append(close() if by == 'body' else Background(close).result())
            if event.name == 'disconnected':
                assert event.graceful
    assert script.frames == [(0x88, b'\x03\xf4restart')] * 5
    assert [names_of(seen, websocket)[-2:] for websocket in websockets] == [
        ['closed', 'disconnected']] * 5


def test_close_gives_all_peers_one_deadline_together_and_cuts_then():
    script = Closed(answers=False)
    seen = []
    with RawServer(script) as server:
        pool = Pool()
        websockets = [pool.add(WebSocket(server.url), **QUIET) for _ in range(5)]
        for websocket, event in pool:
            seen.append((websocket, event.name))
            if event.name == 'ready' and all_ready(pool, seen, 5):
                pool.close(timeout=0.1)
            if event.name == 'disconnected':
                assert (event.graceful, event.reason) == (
                    False, u'disconnected by the application')
    assert script.frames == [(0x88, b'\x03\xe9')] * 5
    assert [names_of(seen, websocket)[-1] for websocket in websockets] == ['disconnected'] * 5


def test_a_flood_of_messages_does_not_keep_close_from_ending_the_loop(link):
    def handle(websocket, event):
        if event.name == 'text' and pool.websockets == [websocket] and websocket.is_open:
            pool.close(timeout=0.05)

    with link.serve(flood) as server:
        pool = Pool()
        websocket = pool.add(link.connect(server.url))
        assert names_of(run(pool, handle), websocket)[-1] == 'disconnected'


def test_close_before_the_loop_begins_ends_all_members_without_a_connection():
    with RawServer(echo) as server:
        pool = Pool(ends_when_empty=False)
        websockets = [pool.add(WebSocket(server.url), policy)
                      for policy in (None, ReconnectPolicy())]
        pool.close()
        seen = run(pool)
    assert [names_of(seen, websocket) for websocket in websockets] == [
        ['connecting', 'connect_fail']] * 2
    assert server.connections == 0


def test_close_ends_members_that_dial_wait_to_dial_or_shake_hands(full_listener):
    seen = []
    with RawServer(drain) as server:
        pool = Pool(max_dialing=2)
        urls = ['ws://127.0.0.1:{}/'.format(full_listener[1]), server.url, server.url]
        websockets = [pool.add(WebSocket(url, proxies={}), ReconnectPolicy()) for url in urls]
        for websocket, event in pool:
            seen.append((websocket, event.name))
            if event.name == 'connected':
                pool.close()
    assert [names_of(seen, websocket)[-1] for websocket in websockets] == [
        'connect_fail', 'disconnected', 'connect_fail']


def test_close_ends_a_member_that_backs_off(dead_port):
    pool = Pool()
    websocket = pool.add(WebSocket('ws://127.0.0.1:{}/'.format(dead_port)), NEVER_AGAIN)
    with looping(pool) as loop:
        loop.wait_for('back_off', websocket)
        pool.close(timeout=None)
        loop.end()
    assert names_of(loop.seen, websocket) == ['connecting', 'connect_fail', 'back_off']


def test_a_member_that_is_closed_while_it_backs_off_ends_at_once(dead_port):
    pool = Pool()
    websocket = pool.add(WebSocket('ws://127.0.0.1:{}/'.format(dead_port)), NEVER_AGAIN)
    polls = 0
    for _websocket, event in pool.polling(0.05):
        if event.name == 'back_off':
            websocket.close()
        polls += event.name == 'poll'
        assert polls < 20


@pytest.mark.parametrize('what', ['pool', 'websocket'])
@pytest.mark.parametrize('attempt', [1, 2])
def test_close_ends_a_member_whose_before_attempt_hangs(dead_port, what, attempt):
    is_called, may_return = threading.Event(), threading.Event()

    def before_attempt(_websocket, number):
        if number == attempt:
            is_called.set()
            assert may_return.wait(PATIENCE), 'close() was not noticed'

    pool = Pool()
    websocket = pool.add(
        WebSocket('ws://127.0.0.1:{}/'.format(dead_port)),
        ReconnectPolicy(before_attempt=before_attempt, min_wait=0, max_wait=0))
    loop = Loop(pool)
    try:
        wait_for(is_called)
        if what == 'pool':
            pool.close(timeout=None)
        else:
            websocket.close()
        loop.end()
    finally:
        may_return.set()
    assert names_of(loop.seen, websocket) == [
        'connecting', 'connect_fail', 'back_off'] * (attempt - 1)


def test_close_may_be_called_again_and_the_last_deadline_counts():
    seen = []
    with RawServer(Closed(answers=False)) as server:
        pool = Pool()
        websocket = pool.add(WebSocket(server.url), **QUIET)
        with looping(pool) as loop:
            loop.wait_for('ready', websocket)
            pool.close(timeout=None)
            pool.close(1001, u'again', timeout=3600)
            pool.close(timeout=0)
            seen = loop.end()
    assert names_of(seen, websocket)[-1] == 'disconnected'
    pool.close()
    assert list(pool) == []


def test_a_later_close_puts_no_deadline_off():
    def handle(_websocket, event):
        if event.name == 'ready':
            pool.close(timeout=0)
            pool.close(timeout=3600)

    with RawServer(Closed(answers=False)) as server:
        pool = Pool()
        websocket = pool.add(WebSocket(server.url), **QUIET)
        assert run(pool, handle)[-1] == (websocket, 'disconnected')


def test_a_removal_in_the_midst_of_another_before_the_loop_disturbs_no_third_member(dead_port):
    """By another thread, or by a signal's handler."""
    moment = 0
    has_acted = True
    while has_acted:
        moment += 1
        pool = Pool()
        first, second, third = [
            pool.add(WebSocket('ws://127.0.0.1:{}/'.format(dead_port))) for _ in range(3)]
        with LineTracer([_multiplexer], moment, partial(pool.remove, second)) as tracer:
            pool.remove(first)
        has_acted = tracer.has_acted
        if has_acted:
            assert run(pool) == [(third, 'connecting'), (third, 'connect_fail')], moment
    assert moment > 10


def test_a_pool_that_was_closed_takes_no_members():
    pool = Pool()
    pool.close()
    with pytest.raises(errors.WebSocketUnavailable):
        pool.add(WebSocket('ws://127.0.0.1:1/'))


def test_a_member_that_another_thread_adds_while_the_pool_is_closed_ends_too():
    """In the last moment at which it isn't refused."""
    class Late(WebSocket):
        def reset(self):
            super(Late, self).reset()
            if late:
                pool.close(timeout=None)

    with RawServer(echo) as server:
        pool = Pool()
        late = None
        late = Late(server.url)
        pool.add(late)
        assert names_of(run(pool), late) == ['connecting', 'connect_fail']


# -- leaving the loop --

class Peer(object):
    """A server that notes what comes after the handshake; its members get a message each."""

    def __init__(self):
        self.rests = []
        self._raw = RawServer(self._script)

    def _script(self, sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'hi'))
        self.rests.append(drain(sock))

    def __enter__(self):
        self._raw.__enter__()
        self.url = self._raw.url
        gc.collect()
        self.before = count_descriptors(), threading.active_count()
        return self

    def __exit__(self, *exc_info):
        self._raw.__exit__(*exc_info)

    def check(self):
        """Check that nothing is left open on either side, and no frame was sent."""
        wait_until(     # the server has yet to accept, and to close, some of them
            lambda: (count_descriptors(), threading.active_count()) == self.before,
            'the ends of all connections')
        assert b''.join(self.rests) == b''


@pytest.fixture
def peer(dead_port):        # whose socket is counted too
    with Peer() as peer:
        yield peer


def fill(pool, peer, dead_port):
    """Add members that connect, and one that backs off."""
    websockets = [pool.add(WebSocket(peer.url), ReconnectPolicy()) for _ in range(4)]
    websockets.append(pool.add(
        WebSocket('ws://127.0.0.1:{}/'.format(dead_port)), NEVER_AGAIN))
    return websockets


STAGES = ['connecting', 'connected', 'ready', 'text', 'back_off']


@needs_proc
@needs_refcounts
@pytest.mark.parametrize('at', STAGES)
def test_break_leaves_nothing_and_the_pool_takes_new_members(peer, dead_port, at):
    pool = Pool()
    websockets = fill(pool, peer, dead_port)
    for _ in range(2):
        for _websocket, event in pool:
            if event.name == at:
                break
        peer.check()
        assert len(pool) == 0
        assert all(websocket.is_closed or websocket.session is None for websocket in websockets)
        for websocket in websockets:
            pool.add(websocket, ReconnectPolicy())


class Mishap(Exception):
    """What the loop body raises."""


@needs_proc
@needs_refcounts
@pytest.mark.parametrize('at', STAGES)
@pytest.mark.parametrize('error', [Mishap, KeyboardInterrupt, SystemExit])
def test_an_exception_in_the_body_goes_through_and_leaves_nothing(peer, dead_port, at, error):
    pool = Pool()
    fill(pool, peer, dead_port)
    with pytest.raises(error):
        for _websocket, event in pool:
            if event.name == at:
                raise error()
    peer.check()


@needs_proc
@pytest.mark.parametrize('way', ['close', 'garbage', 'with'])
def test_closing_or_forgetting_the_iterator_or_leaving_the_block_leaves_nothing(
        peer, dead_port, way):
    with Pool() as pool:
        fill(pool, peer, dead_port)
        loop = iter(pool)
        while next(loop)[1].name != 'text':
            pass
        if way == 'close':
            loop.close()
            loop.close()
        elif way == 'garbage':
            del loop
            gc.collect()
        if way != 'with':
            peer.check()
    peer.check()
    if way != 'garbage':
        assert list(loop) == []


@needs_proc
def test_leaving_the_block_ends_a_loop_in_another_thread(peer, dead_port):
    with Pool(ends_when_empty=False) as pool:
        websockets = fill(pool, peer, dead_port)
        loop = Loop(pool)
        loop.wait_for('text', *websockets[:-1])
        loop.wait_for('back_off', websockets[-1])
    loop.end()
    assert len(pool) == 0


@needs_proc
@pytest.mark.parametrize('overflow', ['raise', 'block'])
@pytest.mark.parametrize('at', [None, 'connecting', 'text'])
def test_leaving_the_block_ends_a_loop_that_another_thread_took_over(
        peer, dead_port, at, overflow):
    with Pool(ends_when_empty=False, overflow=overflow) as pool:
        fill(pool, peer, dead_port)
        iterator = iter(pool)
        while at is not None and next(iterator)[1].name != at:
            pass
        loop = Loop(iterator)
        loop.wait_until(len)
    loop.end()
    assert len(pool) == 0


def test_leaving_the_block_ends_a_loop_beside_which_another_was_refused(peer, dead_port):
    with Pool(ends_when_empty=False) as pool:
        websockets = fill(pool, peer, dead_port)
        loop = Loop(pool)
        loop.wait_for('text', *websockets[:-1])
        with pytest.raises(errors.WebSocketUnavailable):
            next(iter(pool))
    loop.end()
    assert len(pool) == 0


def test_leaving_the_block_after_the_loop_has_ended_in_another_thread_is_harmless(dead_port):
    with Pool() as pool:
        pool.add(WebSocket('ws://127.0.0.1:{}/'.format(dead_port)))
        iterator = iter(pool)
        Loop(iterator).end()
    assert names_of(run(pool), None) == []
    pool.add(WebSocket('ws://127.0.0.1:{}/'.format(dead_port)))


@needs_proc
def test_leaving_the_block_without_a_loop_is_harmless():
    before = count_descriptors()
    with Pool() as pool:
        pool.add(WebSocket('ws://127.0.0.1:1/'))
    assert count_descriptors() == before


@needs_proc
def test_the_end_of_the_last_member_leaves_nothing(dead_port):
    with RawServer(accept_and_hang_up()) as server:
        before = count_descriptors()
        pool = Pool()
        for _ in range(5):
            pool.add(WebSocket(server.url))
            pool.add(WebSocket('ws://127.0.0.1:{}/'.format(dead_port)))
        run(pool)
        server.wait_for_scripts()
        assert count_descriptors() == before


@needs_refcounts
def test_sessions_that_are_over_are_freed_without_the_collector():
    gc.collect()
    gc.disable()
    sessions = []
    try:
        with RawServer(accept_and_hang_up(make_frame(1, b'x'))) as server:
            pool = Pool()
            websockets = [pool.add(WebSocket(server.url)) for _ in range(20)]
            for websocket, event in pool:
                if event.name == 'ready':
                    sessions.append(weakref.ref(websocket.session))
            del event
        for websocket in websockets:
            websocket.reset()
        assert [session() for session in sessions] == [None] * 20
        gone = weakref.ref(pool)
        del pool
        assert gone() is None
    finally:
        gc.enable()


def test_ctrl_c_in_the_body_sends_no_frame_and_the_next_loop_begins_anew():
    frames = []

    def script(sock):
        answer_upgrade(sock)
        frames.append(drain(sock))

    with RawServer(script) as server:
        pool = Pool()
        for _ in range(3):
            websocket = pool.add(WebSocket(server.url))
            with pytest.raises(KeyboardInterrupt):
                for _websocket, event in pool:
                    if event.name == 'ready':
                        raise KeyboardInterrupt()
            assert websocket.is_closed
    assert frames == [b''] * 3


def test_a_member_that_is_closed_by_itself_ends_as_a_loop_of_its_own_does():
    script = Closed()
    with RawServer(script) as server:
        pool = Pool()
        websocket = pool.add(WebSocket(server.url), ReconnectPolicy(), **QUIET)

        def handle(_websocket, event):
            if event.name == 'ready':
                websocket.close(4000, u'enough')

        assert names_of(run(pool, handle), websocket)[-2:] == ['closed', 'disconnected']
    assert script.frames == [(0x88, b'\x0f\xa0enough')]


def test_what_had_arrived_before_a_peers_close_comes_before_the_end(link):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'x') * 100 + make_close(1001, b'bye'))
        read_frame(sock)

    with link.serve(script) as server:
        pool = Pool()
        websockets = [pool.add(link.connect(server.url)) for _ in range(3)]
        closings = []

        def handle(websocket, event):
            if event.name == 'closing':
                closings.append((event.code, event.reason, websocket.close_received.code))
        seen = run(pool, handle)
    assert closings == [(1001, u'bye', 1001)] * 3
    for websocket in websockets:
        assert names_of(seen, websocket)[3:] == ['text'] * 100 + ['closing', 'disconnected']
