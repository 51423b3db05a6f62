"""Dialling: the resolver, addresses that are dead, deadlines, and what is left behind.

Step by step where an address must be made up, otherwise through WebSocket.
"""

from __future__ import absolute_import, division, print_function

import errno
import socket

import pytest

from lomond._compat import monotonic
from lomond.errors import ConnectFail
from lomond.net.dial import dial
from lomond.net.options import NetOptions
from lomond.net.selectors import wait
from lomond.net.transport import describe
from lomond.net.url import parse_url
from lomond.net.wait import Wait
from lomond.websocket import WebSocket

from ..support import PATIENCE, RawServer, answer_upgrade, names, read_head

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')


def start(addresses, timeout=PATIENCE, told=None):
    """Begin to dial a name that has these addresses: (host, port), or more for no family."""
    def resolve(host, port, family, kind):
        assert (host, port, family, kind) == ('far.invalid', 80, 0, socket.SOCK_STREAM)
        return [
            (socket.AF_INET if len(address) == 2 else socket.AF_UNSPEC,
             socket.SOCK_STREAM, socket.IPPROTO_TCP, '', address)
            for address in addresses
        ]

    def trace(stage, **fields):
        if told is not None:
            told.append((stage, fields))

    target = parse_url(u'ws://far.invalid/')
    return dial(target, None, NetOptions(resolver=resolve), monotonic() + timeout, trace)


def drive(steps):
    """Do the steps; return the transport."""
    last = None
    for step in steps:
        if isinstance(step, Wait):
            wait(step.interest, step.deadline - monotonic())
        last = step
    return last


def fail(websocket):
    """Try to connect; return the ConnectFail and how long it took."""
    started = monotonic()
    events = list(websocket)
    took = monotonic() - started
    assert names(events) == ['connecting', 'connect_fail']
    return events[-1], took


@pytest.fixture
def listener():
    sock = socket.socket()
    sock.bind(('127.0.0.1', 0))
    sock.listen(5)
    yield sock
    sock.close()


@pytest.fixture
def full_listener():
    """The address of a listener that takes no more connections."""
    sock = socket.socket()
    waiting = []
    sock.bind(('127.0.0.1', 0))
    sock.listen(0)
    try:
        while len(waiting) < 32:
            client = socket.socket()
            waiting.append(client)
            client.setblocking(False)
            client.connect_ex(sock.getsockname())
            if not wait(((client.fileno(), 2),), 0.05):
                break
        else:
            pytest.skip('on this system a listener is never full')
        yield sock.getsockname()
    finally:
        for client in waiting:
            client.close()
        sock.close()


# -- the resolver --

def test_name_that_does_not_resolve_is_a_connect_fail():
    """It is too long (RFC 1035 2.3.4): no server is asked for it."""
    host = u'.'.join([u'a' * 60] * 5) + u'.invalid'
    event, took = fail(WebSocket(u'ws://{}/'.format(host)))
    assert event.phase == 'resolve'
    assert host in event.reason
    assert isinstance(event.cause, socket.gaierror)
    assert took < PATIENCE / 4


def test_nothing_is_resolved_before_the_first_event():
    told = []
    websocket = WebSocket(u'ws://far.invalid/', trace=lambda record: told.append(record['stage']))
    events = websocket.connect()
    assert told == []
    assert next(events).name == 'connecting'
    assert told == []
    events.close()


@pytest.mark.parametrize('error', [
    socket.gaierror(-2, 'Name or service not known'), socket.error(errno.EMFILE, 'no more'),
    UnicodeError('label too long')])
def test_fault_of_the_resolver_is_a_connect_fail(error):
    def resolve(*_args):
        raise error
    steps = dial(
        parse_url(u'ws://far.invalid/'), None, NetOptions(resolver=resolve), monotonic() + 1,
        lambda *_a: None)
    with pytest.raises(ConnectFail) as caught:
        next(steps)
    assert caught.value.phase == 'resolve'
    assert caught.value.cause is error


def test_name_without_addresses_is_a_connect_fail():
    with pytest.raises(ConnectFail) as caught:
        drive(start([]))
    assert caught.value.phase == 'connect'


# -- addresses --

def test_refused_port_is_a_connect_fail_with_its_cause(dead_port):
    event, _took = fail(WebSocket(u'ws://127.0.0.1:{}/'.format(dead_port)))
    assert event.phase == 'connect'
    assert event.cause.errno == errno.ECONNREFUSED
    assert '127.0.0.1:{}'.format(dead_port) in event.reason
    assert 'refused' in event.reason


def test_first_address_that_answers_is_taken(listener, dead_port):
    told = []
    transport = drive(start([
        ('127.0.0.1', dead_port), ('127.0.0.1', dead_port), listener.getsockname(),
        ('127.0.0.1', 1)], told=told))
    peer, address = listener.accept()
    assert address == transport._sock.getsockname()
    transport.close()
    peer.close()
    assert [stage for stage, _fields in told] == ['resolve', 'connect']
    assert len(told[0][1]['addresses']) == 4
    assert told[1][1]['address'] == listener.getsockname()


def test_address_of_a_family_that_is_not_there_is_passed_over(listener):
    """IPv6 where the kernel lacks it, for one."""
    transport = drive(start([('::1', 80, 0, 0), listener.getsockname()]))
    transport.close()


def test_every_address_that_failed_is_named(dead_port):
    with pytest.raises(ConnectFail) as caught:
        drive(start([('127.0.0.1', dead_port), ('127.0.0.2', dead_port)]))
    assert caught.value.phase == 'connect'
    assert '127.0.0.1: ' in str(caught.value)
    assert '127.0.0.2: ' in str(caught.value)


def test_address_that_never_answers_leaves_time_for_the_next(full_listener, listener):
    started = monotonic()
    transport = drive(start([full_listener, listener.getsockname()], timeout=0.4))
    assert monotonic() - started < PATIENCE / 4
    transport.close()


def test_ipv6_server_is_reached():
    sock = None
    try:
        sock = socket.socket(socket.AF_INET6)
        sock.bind(('::1', 0))
    except socket.error:
        if sock is not None:
            sock.close()
        pytest.skip('there is no IPv6 here')
    sock.listen(1)
    websocket = WebSocket(u'ws://[::1]:{}/'.format(sock.getsockname()[1]))
    for event in websocket:
        if event.name == 'connected':
            peer, _address = sock.accept()
            assert b'\r\nHost: [::1]:' in read_head(peer)
            peer.close()
    sock.close()
    assert names([event]) == ['disconnected']


def test_server_on_one_of_the_addresses_of_localhost_is_reached():
    """Where localhost is ::1 too, nobody listens there."""
    with RawServer(answer_upgrade) as server:
        events = list(WebSocket(u'ws://localhost:{}/'.format(server.port)))
    assert names(events) == ['connecting', 'connected', 'ready', 'disconnected']


def test_small_frames_are_sent_at_once(listener):
    transport = drive(start([listener.getsockname()]))
    assert transport._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    transport.close()


def test_socket_is_not_for_child_processes(listener):
    fcntl = pytest.importorskip('fcntl')
    transport = drive(start([listener.getsockname()]))
    flags = fcntl.fcntl(transport._sock.fileno(), fcntl.F_GETFD)
    assert flags & fcntl.FD_CLOEXEC
    transport.close()


# -- deadlines and the end --

def test_listener_that_never_accepts_times_out(full_listener):
    event, took = fail(
        WebSocket(u'ws://127.0.0.1:{}/'.format(full_listener[1]), connect_timeout=0.3))
    assert event.phase == 'connect'
    assert 'timed out' in event.reason
    assert isinstance(event.cause, socket.timeout)
    assert took < PATIENCE / 4


def test_server_that_never_answers_the_handshake_times_out():
    def script(sock):
        read_head(sock)
        assert sock.recv(1) == b''
    with RawServer(script) as server:
        started = monotonic()
        events = list(WebSocket(server.url, connect_timeout=0.3))
        assert monotonic() - started < PATIENCE / 4
    assert names(events) == ['connecting', 'connected', 'disconnected']


def test_wait_that_ended_early_goes_on(full_listener):
    """The driver may be woken for another reason."""
    steps = start([full_listener])
    assert [isinstance(next(steps), Wait) for _ in range(3)] == [True] * 3
    steps.close()


def test_loop_left_while_connecting_leaves_nothing_open(full_listener):
    events = WebSocket(u'ws://127.0.0.1:{}/'.format(full_listener[1])).connect()
    assert next(events).name == 'connecting'
    events.close()


def test_no_connect_timeout_is_no_limit():
    with RawServer(answer_upgrade) as server:
        events = list(WebSocket(server.url, connect_timeout=None))
    assert names(events) == ['connecting', 'connected', 'ready', 'disconnected']


# -- words --

@pytest.mark.parametrize('error, words', [
    (socket.timeout('whatever'), u'timed out'),
    (socket.error(errno.ECONNREFUSED, 'Connection refused'), u'Connection refused'),
    (UnicodeError('label too long'), u'label too long'),
    (socket.error(errno.EPIPE, b'Zeit\xc3\xbcberschreitung \xff' if str is bytes
                  else u'Zeit\xfcberschreitung \ufffd'), u'Zeit\xfcberschreitung \ufffd'),
])
def test_faults_are_described_in_text(error, words):
    """On 2.7 the system's words are bytes, in the language the application asked for."""
    assert describe(error) == words
