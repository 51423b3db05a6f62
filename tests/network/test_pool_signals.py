"""A pool that waits for ever, and what a signal's handler does to it: it counts at once."""

from __future__ import absolute_import, division, print_function

import signal

import pytest

from lomond import WebSocket
from lomond._compat import monotonic
from lomond.net.waiter import LONGEST
from lomond.persist import ReconnectPolicy
from lomond.pool import Pool
from tests.network.driving import echo
from tests.network.pools import QUIET, WAYS_HERE, run
from tests.support import RawServer, names

pytestmark = pytest.mark.skipif(not hasattr(signal, 'setitimer'), reason='there is no setitimer')

# What no wait is short enough for, unless it is ended.
SOON = LONGEST / 2


def react(pool, websocket, alarm, act):
    """Have a handler act while the pool waits; return what comes then, and after how long."""
    loop = iter(pool)
    while next(loop)[1].name != 'ready':
        pass
    called = alarm(lambda: act(pool, websocket))
    happened = []
    for _websocket, event in loop:
        happened.append(event)
        if event.name == 'text':
            break
    loop.close()
    return names(happened), monotonic() - called[0]


@pytest.mark.parametrize('way', WAYS_HERE)
@pytest.mark.parametrize('act, expected', [
    (lambda pool, websocket: websocket.send_text(u'x'), ['text']),
    (lambda pool, websocket: pool.broadcast(u'x'), ['text']),
    (lambda pool, websocket: websocket.force_disconnect(), ['disconnected']),
    (lambda pool, websocket: websocket.close(), ['closed', 'disconnected']),
    (lambda pool, websocket: pool.close(), ['closed', 'disconnected']),
    (lambda pool, websocket: pool.close(timeout=0), ['disconnected']),
    (lambda pool, websocket: pool.remove(websocket), []),
], ids=['send', 'broadcast', 'force_disconnect', 'websocket.close', 'close', 'close now', 'remove'])
def test_what_a_handler_does_to_a_member_takes_effect_at_once(link, alarm, way, act, expected):
    with link.serve(echo) as server:
        pool = Pool(poller=way)
        websocket = pool.add(link.connect(server.url), **QUIET)
        happened, seconds = react(pool, websocket, alarm, act)
    assert happened == expected or happened[-1:] == expected == ['disconnected']
    assert seconds < SOON


def test_a_member_that_a_handler_adds_connects_at_once(alarm):
    with RawServer(echo) as server:
        pool = Pool(ends_when_empty=False)
        websocket = WebSocket(server.url)
        called = alarm(lambda: pool.add(websocket, **QUIET))

        def handle(_websocket, event):
            if event.name == 'connecting':
                assert monotonic() - called[0] < SOON
            elif event.name == 'ready':
                pool.close()

        assert run(pool, handle)[-1] == (websocket, 'disconnected')


def test_close_by_a_handler_ends_a_back_off_at_once(alarm, dead_port):
    pool = Pool()
    websocket = pool.add(
        WebSocket('ws://127.0.0.1:{}/'.format(dead_port)),
        ReconnectPolicy(min_wait=3600, max_wait=3600))
    loop = iter(pool)
    while next(loop)[1].name != 'back_off':
        pass
    called = alarm(pool.close)
    assert list(loop) == []
    assert monotonic() - called[0] < SOON
    assert websocket not in pool


@pytest.mark.parametrize('way', WAYS_HERE)
def test_signals_whose_handlers_return_do_not_disturb_the_loop(alarm, way):
    """On 2.7 they interrupt each wait."""
    count = []

    def handle_signal(_signum, _frame):
        count.append(None)
        if len(count) == 10:
            pool.close()

    with RawServer(echo) as server:
        pool = Pool(poller=way)
        websocket = pool.add(WebSocket(server.url), **QUIET)
        alarm(lambda: None)
        signal.signal(signal.SIGALRM, handle_signal)
        assert run(pool)[-1] == (websocket, 'disconnected')
    assert len(count) >= 10


class Mishap(Exception):
    """What a handler raises."""


def test_a_handler_that_raises_ends_the_loop_and_leaves_nothing(alarm, nothing_is_left_open):
    def fail():
        raise Mishap()

    with RawServer(echo) as server:
        pool = Pool()
        websocket = pool.add(WebSocket(server.url), **QUIET)
        with pytest.raises(Mishap):
            for _websocket, event in pool:
                if event.name == 'ready':
                    alarm(fail)
        assert websocket.is_closed
        assert len(pool) == 0
