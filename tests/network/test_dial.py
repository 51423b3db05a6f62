"""Dialling: the resolver, addresses, options of the socket, deadlines, and what is left behind.

How several addresses race is in test_happy_eyeballs.

Step by step where an address must be made up, otherwise through WebSocket.
"""

from __future__ import absolute_import, division, print_function

import errno
import os
import signal
import socket
import struct
import subprocess
import sys
import threading

import pytest

from lomond._compat import monotonic
from lomond._describe import describe
from lomond.errors import ConnectFail
from lomond.http.url import parse_url
from lomond.net.dial import Dialer
from lomond.net.offload import MAX_ABANDONED
from lomond.net.options import NetOptions
from lomond.net.progress import Progress
from lomond.net.socket_options import PROBE_INTERVAL, PROBES
from lomond.net.steps import Wait
from lomond.net.workers import MAX_WORKERS
from lomond.persist import persist
from lomond.websocket import WebSocket

from ..support import (
    PATIENCE,
    RawServer,
    answer_upgrade,
    drive,
    make_frame,
    names,
    needs_whole_integers,
    read_frame,
    read_head,
    socket_at,
)
from .driving import Background, first_far_enough, needs_proc, wait_for

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def start(addresses, timeout=PATIENCE, told=None, **options):
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
    return Dialer().dial(
        target, NetOptions(resolver=resolve, **options), monotonic() + timeout, Progress(trace))


def fail(websocket):
    """Try to connect; return the ConnectFail and how long it took."""
    started = monotonic()
    events = list(websocket)
    took = monotonic() - started
    assert names(events) == ['connecting', 'connect_fail']
    return events[-1], took


# -- the resolver --

def test_name_that_does_not_resolve_is_a_connect_fail():
    """The system refuses it, as it is no address, and asks no server for it."""
    def resolve(host, port, family, kind):
        return socket.getaddrinfo(host, port, family, kind, 0, socket.AI_NUMERICHOST)

    event, took = fail(WebSocket(u'ws://far.invalid/', resolver=resolve))
    assert event.phase == 'resolve'
    assert 'far.invalid' in event.reason
    assert isinstance(event.cause, socket.gaierror)
    assert took < PATIENCE / 2


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
    steps = Dialer().dial(
        parse_url(u'ws://far.invalid/'), NetOptions(resolver=resolve), monotonic() + 1,
        Progress())
    with pytest.raises(ConnectFail) as caught:
        drive(steps)
    assert caught.value.phase == 'resolve'
    assert caught.value.cause is error


def test_name_without_addresses_is_a_connect_fail():
    with pytest.raises(ConnectFail) as caught:
        drive(start([]))
    assert caught.value.phase == 'resolve'


class StuckResolver(object):
    """A resolver that doesn't answer until the test ends."""

    def __init__(self):
        self.is_asked = threading.Event()
        self.may_answer = threading.Event()
        self.threads = []

    def __call__(self, *_args):
        self.threads.append(threading.current_thread())
        self.is_asked.set()
        self.may_answer.wait(PATIENCE)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, '', ('127.0.0.1', 1))]


@pytest.fixture
def stuck():
    """Such a resolver; its threads end with the test."""
    resolver = StuckResolver()
    yield resolver
    resolver.may_answer.set()
    for thread in resolver.threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_look_up_stands_under_the_deadline(stuck):
    event, took = fail(WebSocket(u'ws://far.invalid/', resolver=stuck, connect_timeout=0.1))
    assert event.phase == 'resolve'
    assert 'in time' in event.reason
    assert isinstance(event.cause, socket.timeout)
    assert took < PATIENCE / 2


@pytest.mark.parametrize('end', [WebSocket.close, WebSocket.force_disconnect])
def test_attempt_can_be_ended_during_the_look_up(stuck, end):
    websocket = WebSocket(u'ws://far.invalid/', resolver=stuck)
    loop = Background(list, websocket)
    wait_for(stuck.is_asked)
    end(websocket)
    events = loop.result()
    assert names(events) == ['connecting', 'connect_fail']
    assert 'by the application' in events[-1].reason
    assert not stuck.may_answer.is_set()


def test_persist_ends_during_the_look_up(stuck):
    websocket = WebSocket(u'ws://far.invalid/', resolver=stuck)
    loop = Background(list, persist(websocket))
    wait_for(stuck.is_asked)
    websocket.close()
    assert names(loop.result()) == ['connecting', 'connect_fail']


def test_loop_left_during_the_look_up_waits_for_nothing(stuck):
    events = WebSocket(u'ws://far.invalid/', resolver=stuck).connect()
    assert next(events).name == 'connecting'
    left = Background(next, events)
    wait_for(stuck.is_asked)
    stuck.may_answer.set()
    assert left.result().name == 'connect_fail'
    events.close()


def test_look_up_that_is_left_leaves_no_descriptor(stuck):
    """The fixture counts them while the look-up still goes on."""
    steps = Dialer().dial(
        parse_url(u'ws://far.invalid/'), NetOptions(resolver=stuck), monotonic() + PATIENCE,
        Progress())
    assert isinstance(next(steps), Wait)
    wait_for(stuck.is_asked)
    steps.close()


def test_many_websockets_that_connect_at_once_ask_by_few_threads():
    """As after an outage. The system's resolver is asked, in the end; each gets its own answer."""
    def resolve(host, port, family, kind):
        threads.add(threading.current_thread())
        wait_for(may_answer)
        assert host == 'host-{}.invalid'.format(port)
        return socket.getaddrinfo('127.0.0.1', listener.getsockname()[1], family, kind)

    threads, may_answer = set(), threading.Event()
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(512)
    before = threading.active_count()
    websockets = [
        WebSocket(u'ws://host-{0}.invalid:{0}/'.format(number), resolver=resolve)
        for number in range(1, 401)]
    dials = [
        websocket.dialer.dial(
            websocket.target, websocket.net_options, monotonic() + PATIENCE, Progress())
        for websocket in websockets]
    try:
        for dialling in dials:
            assert isinstance(next(dialling), Wait)
        assert threading.active_count() <= before + MAX_WORKERS
    finally:
        may_answer.set()
    for dialling in dials:
        transport, _proxy = drive(dialling)
        transport.close()
    listener.close()
    assert len(threads) <= MAX_WORKERS
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_resolver_that_never_answers_does_not_cost_a_thread_each_time(stuck):
    websocket = WebSocket(u'ws://far.invalid/', resolver=stuck, connect_timeout=0.02)
    while len(stuck.threads) < MAX_ABANDONED:       # the time may be over before a thread begins
        event, _took = fail(websocket)
        assert event.phase == 'resolve'
    for _again in range(2):
        event, _took = fail(websocket)
        assert 'earlier calls' in event.reason
    assert len(stuck.threads) == MAX_ABANDONED


CHILD = """
import os, threading
from lomond import WebSocket

def resolver(*_args):
    os.write(1, b'asked\\n')     # print has a lock, and the program may end with it held
    threading.Event().wait()

websocket = WebSocket('ws://far.invalid/', resolver=resolver, proxies={}, connect_timeout=None)
before = len(os.listdir('/proc/self/fd'))   # with /dev/urandom, which 2.7 keeps open
try:
    list(websocket)
except KeyboardInterrupt:
    print('interrupted')
print(len(os.listdir('/proc/self/fd')) - before)
print(websocket.state)
"""


@needs_proc
def test_ctrl_c_during_the_look_up_goes_through_and_the_program_ends():
    """With the look-up still going on: its thread is no reason to stay."""
    child = subprocess.Popen(
        [sys.executable, '-W', 'error', '-c', CHILD], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b'asked\n', child.stderr.read()
        os.kill(child.pid, signal.SIGINT)
        out, err = child.communicate()
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    assert out.decode('ascii').split() == ['interrupted', '0', 'closed'], err
    assert err == b''
    assert child.returncode == 0


# -- addresses --

def test_refused_port_is_a_connect_fail_with_its_cause(dead_port):
    event, _took = fail(WebSocket(u'ws://127.0.0.1:{}/'.format(dead_port)))
    assert event.phase == 'connect'
    assert event.cause.errno == errno.ECONNREFUSED
    assert '127.0.0.1:{}'.format(dead_port) in event.reason
    assert 'refused' in event.reason


def test_first_address_that_answers_is_taken(listener, dead_port):
    told = []
    transport, _proxy = drive(start([
        ('127.0.0.1', dead_port), ('127.0.0.1', dead_port), listener.getsockname(),
        ('127.0.0.1', 1)], told=told))
    peer, address = listener.accept()
    with socket_at(transport.fileno()) as sock:
        assert address == sock.getsockname()
    transport.close()
    peer.close()
    assert [stage for stage, _fields in told] == ['resolve', 'connect']
    assert len(told[0][1]['addresses']) == 4
    assert told[1][1]['address'] == listener.getsockname()


def test_address_of_a_family_that_is_not_there_is_passed_over(listener):
    """IPv6 where the kernel lacks it, for one."""
    transport, _proxy = drive(start([('::1', 80, 0, 0), listener.getsockname()]))
    transport.close()


def test_every_address_that_failed_is_named(dead_port):
    with pytest.raises(ConnectFail) as caught:
        drive(start([('127.0.0.1', dead_port), ('127.0.0.2', dead_port)]))
    assert caught.value.phase == 'connect'
    assert '127.0.0.1: ' in str(caught.value)
    assert '127.0.0.2: ' in str(caught.value)


def test_address_that_never_answers_leaves_time_for_the_next(full_listener, listener):
    started = monotonic()
    transport, _proxy = drive(start([full_listener, listener.getsockname()], timeout=PATIENCE / 4))
    assert monotonic() - started < PATIENCE / 2
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


# -- options of the socket --

@pytest.fixture
def talk(listener):
    """Connect to a listener with some options; return a copy of the client's socket."""
    opened = []

    def talk(**options):
        transport, _proxy = drive(start([listener.getsockname()], **options))
        sock = socket.fromfd(transport.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        opened.extend([transport, sock])
        return sock

    yield talk
    for end in opened:
        end.close()


def keepalive_of(sock):
    """Return what a socket does about a silent peer."""
    return [
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    ]


@pytest.mark.skipif(not hasattr(socket, 'TCP_KEEPIDLE'), reason='it has another name here')
def test_silence_is_asked_about_from_one_minute_on(talk):
    assert keepalive_of(talk()) == [1, 60, PROBE_INTERVAL, PROBES]
    assert keepalive_of(talk(tcp_keepalive=7.5)) == [1, 8, PROBE_INTERVAL, PROBES]


@pytest.mark.parametrize('never', [None, 0])
def test_silence_is_not_asked_about_if_so_told(talk, never):
    assert talk(tcp_keepalive=never).getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


def test_socket_options_win_over_the_defaults(talk):
    sock = talk(socket_options=[
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 0),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, struct.pack('i', 0)),
    ])
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='as Linux has it')
def test_socket_options_are_set_before_it_connects(talk):
    """The largest segment is agreed on with the first packet (RFC 793 3.1)."""
    sock = talk(socket_options=[(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 700)])
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= 700


@pytest.mark.parametrize('option', [
    (socket.IPPROTO_TCP, 9999, 1), (12345, 1, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, b''),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1 << 40),
    pytest.param((1 << 40, 1, 1), marks=needs_whole_integers),
])
def test_socket_option_that_the_system_refuses_is_a_connect_fail(listener, option):
    websocket = WebSocket(
        u'ws://127.0.0.1:{}/'.format(listener.getsockname()[1]), socket_options=[option])
    event, _took = fail(websocket)
    assert event.phase == 'connect'
    assert 'socket option {!r}: '.format(option) in event.reason


def test_source_address_is_connected_from(listener, talk):
    assert talk(source_address='127.0.0.7').getsockname()[0] == '127.0.0.7'
    assert talk(source_address=('', 0)).getsockname()[0] == '127.0.0.1'


def test_source_port_can_be_used_again_at_once():
    """Though the last connection from it was ended by us, and is remembered by the system."""
    sock = socket.socket()
    sock.bind(('127.0.0.1', 0))
    source = sock.getsockname()
    sock.close()
    for _ in range(2):
        with RawServer(lambda sock: sock.recv(1)) as server:
            transport, _proxy = drive(start([('127.0.0.1', server.port)], source_address=source))
            with socket_at(transport.fileno()) as sock:
                assert sock.getsockname() == source
            transport.close()


def test_source_address_that_is_not_ours_is_a_connect_fail(listener):
    websocket = WebSocket(
        u'ws://127.0.0.1:{}/'.format(listener.getsockname()[1]), source_address='192.0.2.1')
    event, _took = fail(websocket)
    assert event.phase == 'connect'
    assert event.cause.errno == errno.EADDRNOTAVAIL
    assert 'source address 192.0.2.1: ' in event.reason


@pytest.mark.parametrize('source', ['::1', 'fe80::1%no-such-zone'])
def test_address_that_the_source_address_does_not_go_with_is_passed_over(listener, source):
    websocket = WebSocket(
        u'ws://127.0.0.1:{}/'.format(listener.getsockname()[1]), source_address=source)
    event, _took = fail(websocket)
    assert 'source address [{}]: '.format(source) in event.reason
    assert [where for where, _words in event.tried] == [u'127.0.0.1']


def test_connection_to_oneself_is_none():
    """Nobody listens there; but TCP connects a port that connects to itself (RFC 793 3.4)."""
    sock = socket.socket()
    sock.bind(('127.0.0.1', 0))
    address = sock.getsockname()
    sock.close()
    with pytest.raises(ConnectFail) as caught:
        drive(start([address], source_address=address))
    assert caught.value.cause.errno == errno.ECONNREFUSED


# -- a socket of the caller's own --

GREETING = make_frame(1, b'hello')


def greet(sock):
    """Accept, say hello, and answer the Close frame."""
    answer_upgrade(sock)
    sock.sendall(GREETING)
    first, payload = read_frame(sock)
    assert first == 0x88
    sock.sendall(make_frame(8, payload))


def live(loop, websocket):
    """Go through connections, each closed after the first message; return the events' names."""
    events = []
    for event in loop:
        events.append(event)
        if event.name == 'text':
            websocket.close()
    return names(events)


FULL_LIFE = ['connecting', 'connected', 'ready', 'text', 'closed', 'disconnected']


def test_ready_made_socket_is_used_as_it_is_and_closed(link):
    """By wss with TLS on it; the URL's host need not be there."""
    with link.serve(greet) as server:
        sock = socket.create_connection(('127.0.0.1', server.port))
        descriptor = sock.fileno()
        url = server.url.replace(u'127.0.0.1', u'localhost')
        websocket = link.connect(
            url, sock=sock, resolver=lambda *_args: [], proxies={'http': 'http://far.invalid'})
        assert live(websocket, websocket) == FULL_LIFE
        server.wait_for_scripts()
        with pytest.raises(OSError):
            os.fstat(descriptor)


def test_ready_made_socket_serves_one_connection():
    with RawServer(greet) as server:
        sock = socket.create_connection(('127.0.0.1', server.port))
        websocket = WebSocket(server.url, sock=sock)
        live(websocket, websocket)
        event, _took = fail(websocket)
    assert event.phase == 'connect'
    assert 'earlier connection' in event.reason
    assert server.connections == 1


def test_function_makes_a_socket_for_each_connection(link):
    """In a thread, as the resolver: it may take its time."""
    threads = []

    def make():
        threads.append(threading.current_thread())
        return socket.create_connection(('127.0.0.1', server.port))

    with link.serve(greet) as server:
        websocket = link.connect(server.url, sock=make)
        for _ in range(2):
            assert live(websocket, websocket) == FULL_LIFE
    assert server.connections == 2
    assert threading.current_thread() not in threads


def test_persist_takes_a_socket_for_each_attempt():
    def make():
        return socket.create_connection(('127.0.0.1', server.port))

    def script(sock):
        answer_upgrade(sock)
        if server.connections == 2:
            sock.sendall(GREETING)
            read_frame(sock)

    with RawServer(script) as server:
        websocket = WebSocket(server.url, sock=make)
        events = live(persist(websocket, min_wait=0, max_wait=0), websocket)
    assert events.count('ready') == 2


def test_socket_pair_will_do_with_and_without_tls(link):
    """On 2.7 its ends are of another kind than other sockets."""
    with link.serve(greet) as server:
        ours, theirs = socket.socketpair()
        if not isinstance(theirs, socket.socket):
            theirs = socket.socket(_sock=theirs)
        background = Background(server.serve, theirs)
        websocket = link.connect(
            server.url.replace(u'127.0.0.1', u'localhost'), sock=ours)
        assert live(websocket, websocket) == FULL_LIFE
        background.result()


def not_connected():
    return socket.socket()


def closed():
    sock = socket.socket()
    sock.close()
    return sock


@pytest.mark.parametrize('as_function', [False, True])
@pytest.mark.parametrize('make', [not_connected, closed])
def test_socket_that_is_not_connected_is_a_connect_fail(make, as_function):
    event, _took = fail(WebSocket(u'ws://far.invalid/', sock=make if as_function else make()))
    assert event.phase == 'connect'
    assert 'no connected socket: ' in event.reason
    assert isinstance(event.cause, socket.error)


@pytest.mark.parametrize('result, words', [
    (None, 'sock must be'), (5, 'sock must be'), (ValueError('no luck'), 'no luck'),
    (socket.error(errno.ECONNREFUSED, 'refused, sorry'), 'refused, sorry'),
    (StopIteration('all used'), 'all used'), (ValueError(u'\xfc{}'), ''),
])
def test_function_that_makes_no_socket_is_a_connect_fail(result, words):
    def make():
        if isinstance(result, Exception):
            raise result
        return result
    event, _took = fail(WebSocket(u'ws://far.invalid/', sock=make))
    assert event.phase == 'connect'
    assert words in event.reason


def test_function_that_makes_no_socket_in_time_is_left():
    """What it returns in the end is closed."""
    has_begun, may_end = threading.Event(), threading.Event()
    made = []

    def make():
        made.append(threading.current_thread())
        has_begun.set()
        may_end.wait(PATIENCE)
        made.append(socket.socket())
        return made[1]

    while not has_begun.is_set():       # the time may be over before its thread begins
        event, took = fail(WebSocket(u'ws://far.invalid/', sock=make, connect_timeout=0.05))
        assert took < PATIENCE / 2
        assert 'timed out' in event.reason
    may_end.set()
    made[0].join(PATIENCE)
    del made[:]


@pytest.mark.parametrize('end', [WebSocket.close, WebSocket.force_disconnect])
def test_ready_made_socket_that_was_not_used_stays_the_callers(end):
    ours, theirs = socket.socketpair()
    websocket = WebSocket(u'ws://far.invalid/', sock=ours)
    websocket.connect().close()
    loop = websocket.connect()
    assert next(loop).name == 'connecting'
    end(websocket)
    assert names(loop) == ['connect_fail']
    ours.sendall(b'still ours')
    assert theirs.recv(100) == b'still ours'
    ours.close()
    theirs.close()


# -- what else a socket is by default --

def test_small_frames_are_sent_at_once(talk):
    assert talk().getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_socket_is_not_for_child_processes(listener):
    fcntl = pytest.importorskip('fcntl')
    transport, _proxy = drive(start([listener.getsockname()]))
    flags = fcntl.fcntl(transport.fileno(), fcntl.F_GETFD)
    assert flags & fcntl.FD_CLOEXEC
    transport.close()


# -- deadlines and the end --

def test_listener_that_never_accepts_times_out(full_listener):
    event, took = fail(
        WebSocket(u'ws://127.0.0.1:{}/'.format(full_listener[1]), connect_timeout=0.3))
    assert event.phase == 'connect'
    assert 'timed out' in event.reason
    assert isinstance(event.cause, socket.timeout)
    assert took < PATIENCE / 2


def test_server_that_never_answers_the_handshake_times_out():
    def script(sock):
        read_head(sock)
        assert sock.recv(1) == b''
    with RawServer(script) as server:
        events = first_far_enough(
            lambda timeout: list(WebSocket(server.url, connect_timeout=timeout)),
            lambda events: 'connected' in names(events))
    assert names(events) == ['connecting', 'connected', 'disconnected']
    assert 'took longer than connect_timeout' in events[-1].reason


def test_wait_that_ended_early_goes_on(full_listener):
    """The driver may be woken for another reason."""
    steps = start([full_listener])
    assert [isinstance(next(steps), Wait) for _ in range(3)] == [True] * 3
    steps.close()


def test_loop_left_while_connecting_leaves_nothing_open(full_listener):
    events = WebSocket(u'ws://127.0.0.1:{}/'.format(full_listener[1])).connect()
    assert next(events).name == 'connecting'
    events.close()


@pytest.mark.parametrize('end', [WebSocket.close, WebSocket.force_disconnect])
def test_attempt_can_be_ended_while_it_connects(full_listener, end):
    is_resolved = threading.Event()
    websocket = WebSocket(
        u'ws://127.0.0.1:{}/'.format(full_listener[1]), trace=lambda _record: is_resolved.set())
    loop = Background(list, websocket)
    wait_for(is_resolved)
    end(websocket)
    events = loop.result()
    assert names(events) == ['connecting', 'connect_fail']
    assert 'by the application' in events[-1].reason


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
