"""Connections of a pool that are replaced: the new one is Ready before the old one is closed."""

from __future__ import absolute_import, division, print_function

import logging
import threading

import pytest

from lomond import WebSocket
from lomond.persist import ReconnectPolicy
from lomond.pool import Pool
from lomond.server import Refusal, Server
from tests.network.driving import answer_with, count_descriptors, needs_proc, wait_for
from tests.support import PATIENCE, RawServer, make_close, make_frame, read_frame

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


class OneSegment(object):
    """A script of `RawServer` that sends frames in one segment with its 101, on each connection.

    The first asks for a second, as soon as it is open; ``received`` are the frames of each.
    """

    def __init__(self, first, second, *afterwards):
        self._first, self._second, self._afterwards = first, second, afterwards
        self._numbers = iter(range(1, 100))
        self.received = {}

    def __call__(self, sock):
        number = next(self._numbers)
        answer_with(sock, self._first if number == 1 else self._second)
        frames = self.received[number] = []
        while not frames or frames[-1][0] != 0x88:
            frames.append(read_frame(sock))
            if frames[-1][0] == 0x89:       # the client has seen what came with the 101
                for data in self._afterwards:
                    sock.sendall(data)
        sock.sendall(make_frame(8, frames[-1][1]))


WHOLE = make_frame(1, b'from the second')


@pytest.mark.parametrize('first, second, afterwards', [
    (b'', WHOLE, ()),
    (b'', WHOLE[:7], (WHOLE[7:],)),
    (make_frame(1, b'half a message', fin=False), WHOLE, ()),
], ids=['whole', 'half', 'fragments'])
def test_what_comes_with_the_second_answer_is_decoded_as_the_second_connections(
        first, second, afterwards):
    def handle(websocket, event):
        if event.name == 'ready' and event.connection == 1:
            assert pool.renew(websocket)
        elif event.name == 'ready':
            websocket.send_ping()
        elif event.name == 'text':
            websocket.close()

    script = OneSegment(first, second, *afterwards)
    pool = Pool()
    with RawServer(script) as server:
        pool.add(WebSocket(server.url, proxies={}), policy=POLICY, ping_rate=0, poll=None)
        seen = run(pool, handle)
    assert seen == ['connecting', 'connected', 'ready', 'ready', u'from the second', 'closed',
                    'disconnected']


def test_a_close_that_comes_with_the_second_answer_ends_the_second_connection():
    def handle(websocket, event):
        if event.name == 'ready' and event.connection == 1:
            assert pool.renew(websocket)
        elif event.name == 'closing':
            codes.append((event.code, websocket.close_received.code))
        elif event.name == 'back_off':
            websocket.close()

    codes = []
    script = OneSegment(b'', make_close(1013))
    pool = Pool()
    with RawServer(script) as server:
        pool.add(WebSocket(server.url, proxies={}), policy=POLICY, ping_rate=0, poll=None)
        seen = run(pool, handle)
    assert seen == [
        'connecting', 'connected', 'ready', 'ready', 'closing', 'disconnected', 'back_off']
    assert codes == [(1013, 1013)]
    assert [payload[:2] for _first, payload in script.received[2]] == [b'\x03\xf5']
