"""Connections of a pool that are replaced: the new one is Ready before the old one is closed."""

from __future__ import absolute_import, division, print_function

import logging
import threading

import pytest

from lomond import WebSocket
from lomond.persist import ReconnectPolicy
from lomond.pool import Pool
from lomond.server import Refusal, Server
from tests.network.driving import count_descriptors, needs_proc, wait_for
from tests.support import PATIENCE

POLICY = ReconnectPolicy(max_wait=0, spread=0)


class Feed(object):
    """A server that records what happens to its connections, by their number from 1 on."""

    def __init__(self, refused=()):
        self.log = []
        self.websockets = {}
        self._refused = set(refused)
        self._requests = 0
        self._lock = threading.Lock()
        self.may_answer = threading.Event()     # a request that is held
        self.held = None
        self.is_holding = threading.Event()
        self.server = Server(self._handle, on_request=self._on_request, ping_rate=0, poll=None)

    def _on_request(self, request):
        with self._lock:
            self._requests += 1
            number = self._requests
        request.number = number
        if number == self.held:
            self.is_holding.set()
            wait_for(self.may_answer)
        if number in self._refused:
            return Refusal(503)
        self.log.append((number, 'accepted'))
        return None

    def _handle(self, websocket):
        number = websocket.request.number
        self.websockets[number] = websocket
        websocket.send_text(u'hello from {}'.format(number))
        for event in websocket:
            if event.name == 'text':
                self.log.append((number, event.text))
                websocket.send_text(u'{} got {}'.format(number, event.text))
            elif event.name == 'closing':
                self.log.append((number, event.code))
                websocket.send_text(u'last from {}'.format(number))

    def __enter__(self):
        self.server.start()
        return self

    def __exit__(self, *_exc_info):
        self.may_answer.set()
        self.server.close()


def run(pool, handle):
    """Run a pool; return the names of events, and the texts for those."""
    seen = []
    for websocket, event in pool:
        seen.append(event.text if event.name == 'text' else event.name)
        handle(websocket, event)
        assert len(seen) < 1000, seen[-20:]
    return seen


def test_the_new_connection_is_ready_before_the_old_one_is_closed():
    def handle(websocket, event):
        if event.name == 'text' and event.text == u'hello from 1':
            assert pool.renew(websocket)
        elif event.name == 'ready' and event.connection == 2:
            websocket.send_text(u'to the new one')
        elif event.name == 'text' and event.text == u'last from 1':
            done.add('old')
        elif event.name == 'text' and event.text == u'2 got to the new one':
            done.add('new')
        if done == {'old', 'new'}:
            websocket.close()

    done = set()
    pool = Pool()
    with Feed() as feed:
        websocket = pool.add(WebSocket(feed.server.url), policy=POLICY, ping_rate=0)
        seen = run(pool, handle)
    assert feed.log.index((2, 'accepted')) < feed.log.index((1, 1001))
    assert (2, u'to the new one') in feed.log
    # One connection to the user: the end of the old one isn't reported.
    assert [name for name in seen if ' ' not in name] == [
        'connecting', 'connected', 'ready', 'ready', 'closed', 'disconnected']
    assert websocket.stats.connections == 2
    assert websocket.close_sent.code == 1000


def test_a_connection_is_replaced_whenever_it_reaches_max_age():
    def handle(websocket, event):
        if event.name == 'ready':
            numbers.append(event.connection)
            if event.connection == 4:
                websocket.close()

    numbers = []
    pool = Pool()
    with Feed() as feed:
        pool.add(WebSocket(feed.server.url), policy=POLICY, max_age=0.02, ping_rate=0)
        seen = run(pool, handle)
    assert numbers == [1, 2, 3, 4]
    assert seen.count('disconnected') == 1
    assert 'back_off' not in seen


def test_the_old_connection_stays_if_no_new_one_can_be_opened(caplog):
    def handle(websocket, event):
        if event.name == 'text' and event.text == u'hello from 1':
            pool.renew(websocket)
        elif event.name == 'poll' and 'keeps its old connection' in caplog.text and not tried:
            tried.append(websocket)
            websocket.send_text(u'still here')
        elif event.name == 'text' and event.text == u'1 got still here':
            assert pool.renew(websocket)
        elif event.name == 'ready' and event.connection == 2:
            websocket.close()

    tried = []
    pool = Pool()
    with Feed(refused=[2]) as feed, caplog.at_level(logging.WARNING, 'lomond'):
        pool.add(WebSocket(feed.server.url), policy=POLICY, poll=0.01, ping_rate=0)
        seen = run(pool, handle)
    assert (1, u'still here') in feed.log
    assert seen.count('ready') == 2
    assert 'rejected' not in seen


def test_an_old_connection_that_ends_first_ends_as_any():
    def handle(websocket, event):
        if event.name == 'text' and event.text == u'hello from 1':
            pool.renew(websocket)
            breaker.start()
        elif event.name == 'ready' and event.connection == 2:
            websocket.close()

    def break_the_first():
        wait_for(feed.is_holding)
        feed.websockets[1].force_disconnect()

    pool = Pool()
    with Feed() as feed:
        feed.held = 2
        breaker = threading.Thread(target=break_the_first)
        pool.add(WebSocket(feed.server.url), policy=POLICY, ping_rate=0)
        seen = [name for name in run(pool, handle) if ' ' not in name]
        breaker.join(PATIENCE)
    assert seen == [
        'connecting', 'connected', 'ready', 'disconnected', 'back_off',
        'connecting', 'connected', 'ready', 'closed', 'disconnected']


@needs_proc
@pytest.mark.parametrize('end', ['close', 'remove', 'break'])
def test_nothing_stays_open_when_it_ends_between_two_connections(end):
    def handle(websocket, event):
        if event.name == 'text' and event.text == u'hello from 1':
            pool.renew(websocket)
        elif event.name == 'poll' and feed.is_holding.is_set():
            if end == 'close':
                websocket.close()
            elif end == 'remove':
                pool.remove(websocket)
            else:
                raise KeyError

    pool = Pool()
    with Feed() as feed:
        feed.held = 2
        before = count_descriptors()
        websocket = pool.add(WebSocket(feed.server.url), policy=POLICY, poll=0.01, ping_rate=0)
        if end == 'break':
            with pytest.raises(KeyError):
                run(pool, handle)
        else:
            seen = run(pool, handle)
            assert seen.count('ready') == 1
            assert ('disconnected' in seen) == (end == 'close')
        assert websocket.is_closed
        feed.may_answer.set()
        for served in feed.server.connections:
            served.force_disconnect()
    assert count_descriptors() <= before


def test_only_an_open_connection_with_a_policy_can_be_replaced():
    def handle(websocket, event):
        if event.name == 'connecting':
            assert not pool.renew(websocket)
        elif event.name == 'ready':
            assert not pool.renew(websocket)
            websocket.close()

    pool = Pool()
    with Feed() as feed:
        websocket = WebSocket(feed.server.url)
        assert not pool.renew(websocket)
        pool.add(websocket, ping_rate=0)
        assert run(pool, handle)[-1] == 'disconnected'
