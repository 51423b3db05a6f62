"""What must hold behind any reverse proxy: talking, closing, being cut, its restarts."""

from __future__ import absolute_import, division, print_function

import threading

import pytest

from lomond import errors
from lomond._compat import monotonic
from lomond.persist import persist
from tests.network.driving import Background, wait_for
from tests.peers import BURST, PING, SERVER_CLOSE
from tests.peers.test_servers import LARGE, MESSAGES, exchange, messages_in
from tests.programs import wait_until
from tests.servers import fronts
from tests.support import PATIENCE, names


@pytest.fixture(scope='module')
def start(ports, server_pem):
    """``start(name)`` makes a front's `Program`."""
    def start(name):
        return getattr(fronts, name)(*ports, pem=server_pem)
    return start


@pytest.fixture(scope='module', params=['nginx', 'haproxy', 'haproxy_tcp'])
def front(request, start):
    """Each of the fronts."""
    with start(request.param) as program:
        yield program


@pytest.fixture(scope='module', params=['nginx', 'haproxy'])
def http_front(request, start):
    """Those that look at the path."""
    with start(request.param) as program:
        yield program


@pytest.fixture
def visit(front, upstream, dial):
    """As in `tests.peers.test_servers`: run a loop; return the events, and what the server saw."""
    def visit(path, script, **options):
        websocket = dial(front, path, **options)
        events = []
        for event in websocket:
            events.append(event)
            script(websocket, event)
        return events, upstream.closed.get(timeout=PATIENCE)
    return visit


@pytest.mark.parametrize('compress', [False, True])
def test_messages_small_and_large_come_back(visit, compress):
    agreed = []

    def script(websocket, event):
        if event.name == 'ready':
            agreed.append(websocket.supports_compression)
        exchange(MESSAGES + LARGE, websocket, event)

    events, closed = visit('/', script, compress=compress)
    assert messages_in(events) == MESSAGES + LARGE
    assert agreed == [compress]
    assert events[-1].graceful
    assert closed == (1000, u'goodbye')


def test_bursts_arrive_whole_and_in_order(visit):
    def script(websocket, event):
        if event.name == 'ready':
            for text in burst:
                websocket.send_text(text)
        elif event.name == 'text':
            came.append(event.text)
            if len(came) == 2 * BURST:
                websocket.close()

    burst = [u'{}'.format(number) for number in range(BURST)]
    came = []
    visit('/burst', script)
    # The server's own, and ours, which it sends back after that.
    assert came == burst + burst


def test_pings_are_answered_both_ways(visit):
    def script(websocket, event):
        seen.append(event.name)
        if event.name == 'ready':
            websocket.send_ping(b'\x00 and you?')
        if {'pong', 'text'}.issubset(seen):
            websocket.close()

    seen = []
    events, _closed = visit('/ping', script)
    assert [event.data for event in events if event.name == 'ping'] == [PING]
    assert [event.data for event in events if event.name == 'pong'] == [b'\x00 and you?']
    assert messages_in(events) == [u'ponged']


def test_the_subprotocol_is_agreed_on(visit):
    def script(websocket, event):
        if event.name == 'ready':
            assert event.protocol == u'chat'
            websocket.close()

    events, _closed = visit('/', script, protocols=['superchat', 'chat'])
    assert events[-1].graceful


def test_the_client_closes(visit):
    def script(websocket, event):
        if event.name == 'ready':
            websocket.close(4001, u'sch\u00f6n')

    events, closed = visit('/', script)
    assert names(events)[2:] == ['ready', 'closed', 'disconnected']
    assert events[-2].code == 4001      # not every server sends the reason back
    assert events[-1].graceful
    assert closed == (4001, u'sch\u00f6n')


def test_the_server_closes(visit):
    def script(websocket, event):
        if event.name == 'ready':
            websocket.send_text(u'close, please')

    events, closed = visit('/close', script)
    assert names(events)[2:] == ['ready', 'closing', 'disconnected']
    assert (events[-2].code, events[-2].reason) == SERVER_CLOSE
    assert events[-1].graceful
    assert closed[0] == SERVER_CLOSE[0]


def test_an_idle_connection_is_cut_and_one_with_pings_is_not(http_front, dial):
    started = monotonic()
    idle = Background(list, dial(http_front, '/idle').connect(ping_rate=0))
    websocket = dial(http_front, '/idle')
    kept = []
    for event in websocket.connect(poll=0.05, ping_rate=fronts.IDLE / 8):
        kept.append(event)
        if event.name == 'poll' and monotonic() >= started + fronts.IDLE + 0.3:
            websocket.close()
    assert names(kept)[-2:] == ['closed', 'disconnected']
    assert kept[-1].graceful

    cut = idle.result()
    assert names(cut)[2:] == ['ready', 'disconnected']
    assert cut[-1].reason == u'the server closed the connection'
    assert not cut[-1].graceful


class Load(object):
    """Sends numbered messages, without end, through a loop that survives outages.

    Attributes: ``sent``, a list of the pairs (number, how often there had been
    a Ready before) of the messages whose sending didn't raise; ``events``.
    """

    def __init__(self, websocket):
        self._websocket = websocket
        self._stopped = threading.Event()
        self.sent = []
        self.events = []
        self.connections = 0
        self.failed_to_connect = threading.Event()
        self._loop = Background(self._run)
        self._sender = Background(self._send)

    def _run(self):
        for event in persist(self._websocket, poll=1, min_wait=0.01, max_wait=0.05):
            self.events.append(event)
            if event.name == 'ready':
                self.connections += 1
            elif event.name == 'connect_fail':
                self.failed_to_connect.set()

    def _send(self):
        number = 0
        while not self._stopped.wait(0.0005):       # leaves the others some time
            number += 1
            readies = self.connections
            try:
                self._websocket.send_text(u'{}'.format(number))
            except (errors.WebSocketUnavailable, errors.TransportFail):
                continue
            self.sent.append((number, readies))
        self._websocket.close()

    def wait_for(self, connections, records):
        """Wait until there were so many, and the last of them has brought the server messages."""
        wait_until(
            lambda: self.connections >= connections == len(records) and len(records[-1]) >= 50,
            'messages over connection {}'.format(connections))

    def stop(self):
        """Stop sending, close, and wait for the end of the loop."""
        self._stopped.set()
        self._sender.result()
        self._loop.result()


@pytest.mark.parametrize('kill', [False, True], ids=['stopped', 'killed'])
@pytest.mark.parametrize('name', ['nginx', 'haproxy'])
def test_persist_comes_back_after_a_restart_under_load(start, upstream, dial, name, kill):
    del upstream.records[:]
    with start(name) as program:
        load = Load(dial(program, '/record'))
        try:
            for connections in (1, 2):
                load.wait_for(connections, upstream.records)
                program.stop(kill)
                wait_for(load.failed_to_connect)
                load.failed_to_connect.clear()
                assert program.start(), program.log()
            load.wait_for(3, upstream.records)
        finally:
            load.stop()

    assert load.events[-1].name == 'disconnected'
    assert load.events[-1].graceful
    assert load.connections == 3
    assert_only_tails_are_lost(load.sent, [
        [int(text) for text in record] for record in upstream.records])


def assert_only_tails_are_lost(sent, records):
    """Assert that what was sent after a Ready is lost only if that connection was lost later.

    Parameters: ``sent``, as of `Load`; ``records``, what the server got, by connections.
    """
    left = list(sent)
    for index, record in enumerate(records):
        lost_before = [pair for pair in left if pair[0] < record[0]]
        # The tail of the connection before. Nothing of it was sent after this one's Ready.
        assert all(readies <= index for _number, readies in lost_before)
        left = left[len(lost_before):]
        assert record == [number for number, _readies in left[:len(record)]]
        left = left[len(record):]
    assert not left     # the last one was closed gracefully: it has no tail
