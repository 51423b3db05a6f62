"""How long each phase of connecting took: what Ready, Rejected, ConnectFail and a trace say.

Each peer, and each function of the user's, puts the connection's clock forward where it is slow.
"""

from __future__ import absolute_import, division, print_function

import socket
import ssl
import threading

import pytest

from lomond import WebSocket, errors
from lomond._upgraded import make_upgraded
from lomond.net.progress import Progress
from lomond.net.transport import Transport
from lomond.persist import ReconnectPolicy, persist
from lomond.pool import Pool
from lomond.server import Server
from lomond.testing import Clock
from lomond.timings import NO_TIMINGS, Timings
from tests.network.driving import accept_and_hang_up, read_to_close, wait_for
from tests.network.proxy_server import OK, ProxyServer
from tests.network.tls_proxy import TLSProxy
from tests.support import RawServer, answer_upgrade, make_close, read_head

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

#: By how much, in seconds, what is slow puts the clock forward: no machine is so slow itself.
LONG = 10000.0


class Slow(object):
    """What is slow by a `Clock` that it puts forward, so that no test has to wait."""

    def __init__(self):
        self.clock = Clock()

    def down(self, count=1):
        """Take ``count`` times `LONG`."""
        self.clock.ahead += count * LONG

    def resolver(self, _host, port, *_rest):
        self.down()
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, '', ('127.0.0.1', port))]

    def run(self, url, **options):
        """Run a loop to its end, closing at Ready; return the events."""
        websocket = WebSocket(url, **dict({'proxies': {}, 'connect_timeout': None}, **options))
        events = []
        for event in websocket.connect(session_class=self.clock.session, poll=None, ping_rate=0):
            events.append(event)
            if event.name == 'ready':
                websocket.close()
        return events


@pytest.fixture
def slow():
    return Slow()


def in_rounds(timings):
    """Return how many times `LONG` each phase took; None stays."""
    return Timings(*[None if seconds is None else seconds // LONG for seconds in timings])


def last_timings(events):
    """Return the timings of the one event that has any."""
    timings, = [event.timings for event in events if has_timings(event)]
    return timings


def has_timings(event):
    return getattr(event, 'timings', None) is not None


def serve(sock):
    answer_upgrade(sock)
    sock.sendall(make_close(1000))
    read_to_close(sock)


def test_each_phase_has_its_own_time(slow, server_tls, authority_file):
    """A slow resolver, a slow proxy, slow TLS and a slow handshake, in one connection."""
    def manners(sock):
        slow.down(2)
        sock.sendall(OK)
        return True

    def script(sock):
        sock.recv(1, socket.MSG_PEEK)
        slow.down(3)
        secured = server_tls.wrap_socket(sock, server_side=True)
        try:
            sent = secured.recv(1)
            slow.down(4)
            serve(_Rest(secured, sent))
        finally:
            secured.close()

    with RawServer(script) as server:
        address = ('127.0.0.1', server.port)
        with ProxyServer(manners=manners, route={b'localhost:443': address}) as proxy:
            events = slow.run(
                u'wss://localhost/', ssl_cafile=authority_file, resolver=slow.resolver,
                proxies={'wss': u'http://proxy.invalid:{}'.format(proxy.port)})
    timings = last_timings(events)
    assert in_rounds(timings) == Timings(
        resolve=1, connect=0, proxy=2, tls=3, handshake=4, total=10)


class _Rest(object):
    """A socket of which a byte was read already."""

    def __init__(self, sock, read):
        self._sock = sock
        self._read = read

    def recv(self, size):
        read, self._read = self._read, b''
        return read or self._sock.recv(size)

    def sendall(self, data):
        self._sock.sendall(data)


def test_an_address_is_not_looked_up_and_without_proxy_and_tls_they_take_no_time(slow):
    with RawServer(serve) as server:
        timings = last_timings(slow.run(server.url))
    assert (timings.resolve, timings.proxy, timings.tls) == (None, None, None)
    assert timings.connect >= 0
    assert timings.handshake >= 0
    assert timings.total >= max(timings.connect, timings.handshake)


def test_tls_with_the_proxy_is_a_part_of_its_phase(slow, server_tls, authority_file):
    records = []
    with RawServer(serve) as server, TLSProxy(server_tls) as proxy:
        events = slow.run(
            server.url, proxies=proxy.proxies, ssl_cafile=authority_file, trace=records.append)
    timings = last_timings(events)
    assert timings.tls is None
    assert timings.proxy >= 0
    seconds = {record['stage']: record['seconds'] for record in records}
    assert seconds['tls'] <= seconds['proxy'] <= timings.proxy


def test_a_headers_function_counts_for_nothing_but_the_total(slow):
    def headers():
        slow.down()
        return {}

    with RawServer(serve) as server:
        timings = last_timings(slow.run(server.url, headers=headers))
    assert in_rounds(timings) == Timings(None, 0, None, None, 0, 1)


def test_your_handling_of_connected_is_a_part_of_the_handshake(slow):
    with RawServer(serve) as server:
        websocket = WebSocket(server.url, proxies={}, connect_timeout=None)
        for event in websocket.connect(session_class=slow.clock.session):
            if event.name == 'connected':
                slow.down()
            elif event.name == 'ready':
                timings = event.timings
                websocket.close()
    assert in_rounds(timings) == Timings(None, 0, None, None, 1, 1)


def test_a_function_that_makes_the_socket_is_the_phase_connect(slow):
    def make_sock():
        slow.down()
        return socket.create_connection(('127.0.0.1', server.port))

    with RawServer(serve) as server:
        assert in_rounds(last_timings(slow.run(u'ws://far.invalid/', sock=make_sock))) \
            == Timings(None, 1, None, None, 0, 1)
        with_sock = socket.create_connection(('127.0.0.1', server.port))
        assert last_timings(slow.run(u'ws://far.invalid/', sock=with_sock)).connect is None


def test_after_a_redirect_the_times_are_those_of_the_last_connection(slow):
    def redirect(sock):
        read_head(sock)
        slow.down()
        sock.sendall(u'HTTP/1.1 307 There\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n'.format(
            server.url).encode('ascii'))

    records = []
    with RawServer(serve) as server, RawServer(redirect) as first:
        events = slow.run(
            u'ws://first.invalid:{}/'.format(first.port), resolver=slow.resolver,
            trace=records.append)
    timings = last_timings(events)
    assert timings.resolve is None
    assert in_rounds(timings).total == 0
    assert [(record['stage'], record['seconds'] // LONG) for record in records] == [
        ('resolve', 1), ('connect', 0), ('request', 0), ('redirect', 1),
        ('resolve', 0), ('connect', 0), ('request', 0), ('handshake', 0), ('disconnected', 2)]


def test_a_rejection_has_the_time_until_its_body_was_there(slow):
    def reject(sock):
        read_head(sock)
        sock.sendall(b'HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\n')
        slow.down()
        sock.sendall(b'busy')

    records = []
    with RawServer(reject) as server:
        events = slow.run(server.url, trace=records.append)
    assert in_rounds(last_timings(events)) == Timings(None, 0, None, None, 1, 1)
    handshake, = [record for record in records if record['stage'] == 'handshake']
    assert handshake['status'] == 503
    assert handshake['seconds'] >= LONG


# -- what fails --

def test_a_lookup_that_fails_has_the_time_until_then_and_nothing_after_it(slow):
    def resolver(*_args):
        slow.down()
        raise socket.gaierror(socket.EAI_NONAME, 'no such host')

    event = slow.run(u'ws://far.invalid/', resolver=resolver)[-1]
    assert event.phase == 'resolve'
    assert in_rounds(event.timings) == Timings(1, None, None, None, None, 1)


def test_a_port_that_is_closed_has_the_time_of_the_connect(slow, dead_port):
    event = slow.run(u'ws://127.0.0.1:{}/'.format(dead_port))[-1]
    assert in_rounds(event.timings) == Timings(None, 0, None, None, None, 0)


def test_a_proxy_that_refuses_has_the_time_until_it_did(slow):
    def refuse(sock):
        slow.down()
        sock.sendall(b'HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n')

    with ProxyServer(manners=refuse) as proxy:
        event = slow.run(u'wss://far.invalid/', proxies=proxy.proxies)[-1]
    assert event.phase == 'proxy'
    assert in_rounds(event.timings) == Timings(None, 0, 1, None, None, 1)


def test_tls_that_fails_has_the_time_until_it_did(slow):
    def script(sock):
        sock.recv(1, socket.MSG_PEEK)
        slow.down()
        sock.sendall(b'this is no TLS')

    with RawServer(script) as server:
        event = slow.run(server.url.replace(u'ws:', u'wss:'))[-1]
    assert event.phase == 'tls'
    assert isinstance(event.cause, ssl.SSLError)
    assert in_rounds(event.timings) == Timings(None, 0, None, 1, None, 1)


def test_a_headers_function_that_fails_has_the_time_of_the_way_there(slow):
    def headers():
        slow.down()
        raise socket.error(5, 'the token server is down')

    with RawServer(lambda sock: None) as server:
        event = slow.run(server.url, headers=headers)[-1]
    assert event.phase == 'request'
    assert in_rounds(event.timings) == Timings(None, 0, None, None, None, 1)


def test_an_attempt_that_is_closed_has_the_time_until_then(slow):
    """The resolver is still at work."""
    def resolver(*_args):
        slow.down()
        websocket.close()
        wait_for(may_end)
        return []

    may_end = threading.Event()
    websocket = WebSocket(
        u'ws://far.invalid/', proxies={}, connect_timeout=None, resolver=resolver)
    try:
        events = list(websocket.connect(session_class=slow.clock.session))
    finally:
        may_end.set()
    assert [event.name for event in events] == ['connecting', 'connect_fail']
    assert in_rounds(events[-1].timings) == Timings(1, None, None, None, None, 1)


def test_a_server_that_hangs_up_before_its_answer_has_the_time_until_then(slow):
    def script(sock):
        read_head(sock)
        slow.down()

    with RawServer(script) as server:
        events = slow.run(server.url)
        assert [event.name for event in events] == ['connecting', 'connected', 'disconnected']
        assert in_rounds(last_timings(events)) == Timings(None, 0, None, None, 1, 1)
        with pytest.raises(errors.ConnectFail) as caught:
            WebSocket(server.url, proxies={}).open()
        assert caught.value.timings.handshake >= 0


def test_the_errors_of_open_have_the_timings_of_their_events(dead_port):
    websocket = WebSocket(u'ws://127.0.0.1:{}/'.format(dead_port), proxies={})
    with pytest.raises(errors.ConnectFail) as caught:
        websocket.open()
    assert caught.value.timings.connect >= 0
    assert caught.value.timings.handshake is None

    def reject(sock):
        read_head(sock)
        sock.sendall(b'HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n')

    with RawServer(reject) as server:
        with pytest.raises(errors.Rejected) as caught:
            WebSocket(server.url, proxies={}).open()
    assert caught.value.timings.handshake >= 0


# -- other ways to connect --

def test_persist_has_the_timings_of_each_attempt():
    timings = []
    with RawServer(accept_and_hang_up()) as server:
        policy = ReconnectPolicy(min_wait=0, max_wait=0)
        for event in persist(WebSocket(server.url, proxies={}), policy=policy):
            if event.name == 'ready':
                timings.append(event.timings)
            if len(timings) == 2:
                break
    for found in timings:
        assert found.connect >= 0
        assert found.handshake >= 0
        assert found.resolve is found.tls is None


def test_a_pool_has_the_timings_of_each_member(dead_port):
    timings = {}
    pool = Pool()
    with RawServer(serve) as server:
        good = pool.add(WebSocket(server.url, proxies={}))
        bad = pool.add(WebSocket(u'ws://127.0.0.1:{}/'.format(dead_port), proxies={}))
        for websocket, event in pool:
            if has_timings(event):
                timings[websocket] = event.timings
    assert timings[good].handshake >= 0
    assert timings[bad].connect >= 0
    assert timings[bad].handshake is None


def test_a_servers_end_has_the_time_of_the_handshake_and_of_tls(link):
    def handler(websocket):
        for event in websocket:
            if event.name == 'ready':
                timings.append(event.timings)
                websocket.close()

    timings = []
    with Server(handler, ssl_context=link.serve.keywords['ssl_context']) as server:
        list(link.connect(server.url, proxies={}))
    found, = timings
    assert found[:3] == (None, None, None)
    assert (found.tls is None) == (link.serve.keywords['ssl_context'] is None)
    assert 0 <= found.handshake <= found.total


def test_a_socket_whose_handshake_was_made_elsewhere_took_no_time():
    ours, theirs = socket.socketpair()
    try:
        event = next(iter(WebSocket.attach(ours)))
        assert event.name == 'ready'
        assert event.timings == NO_TIMINGS
    finally:
        theirs.close()


def test_a_request_that_another_server_accepted_took_no_time():
    """`lomond.wsgi.upgrade` hands such a one over."""
    ours, theirs = socket.socketpair()
    try:
        websocket = make_upgraded('here')
        websocket.hand_over(Transport(ours), None, [], {})
        loop = iter(websocket)
        assert next(loop).timings == NO_TIMINGS
        loop.close()
    finally:
        theirs.close()


def test_an_open_connection_does_not_keep_what_measured_it():
    with RawServer(serve) as server:
        websocket = WebSocket(server.url, proxies={})
        for event in websocket:
            if event.name == 'ready':
                kept = vars(websocket.session).values()
                assert not any(isinstance(value, Progress) for value in kept)


def test_a_tracer_that_disposes_of_the_session_at_the_answer_ends_it():
    def trace(record):
        if record['stage'] == 'handshake':
            websocket.session.dispose()

    with RawServer(serve) as server:
        websocket = WebSocket(server.url, proxies={}, trace=trace)
        assert [event.name for event in websocket] == ['connecting', 'connected']
