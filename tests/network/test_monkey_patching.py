"""Programs that monkey patch: gevent and eventlet, before and after lomond is imported.

Each has greenlets instead of threads, and its own select, in a process of its own.
"""

from __future__ import absolute_import, division, print_function

import os
import select
import signal

import pytest

from tests.network.driving import accept_and_hang_up, echo, read_to_close, run_program
from tests.programs import pause
from tests.sampling import SHARE
from tests.support import answer_upgrade, get_header, make_frame, read_exactly

pytestmark = [pytest.mark.costly, pytest.mark.usefixtures('clean_environment')]

SIZE = 100000
SENDERS = 20

# `spawn` returns a greenlet, and `join` waits for it, and raises what it raised.
LIBRARIES = {
    'gevent': """
from gevent import monkey
monkey.patch_all()
from gevent import get_hub, getcurrent, spawn

def is_in_hub():
    return getcurrent() is get_hub()

def join(greenlet):
    return greenlet.get()
""",
    'eventlet': """
import eventlet, eventlet.debug
eventlet.monkey_patch()
# It forbids that a greenlet takes in what the peer sends, in a send, while another waits for it.
eventlet.debug.hub_prevent_multiple_readers(False)
from eventlet import getcurrent, spawn
from eventlet.hubs import get_hub

def is_in_hub():
    return getcurrent() is get_hub().greenlet

def join(greenlet):
    return greenlet.wait()
""",
}

PROGRAM = """
import sys, warnings
warnings.simplefilter('ignore')     # of patching ssl late, and of eventlet's age
{patch_before}
from lomond import WebSocket, errors
from lomond.persist import persist
from lomond.pool import Pool
from lomond.server import Server
from lomond.tls import server_context
{patch_after}
import os, signal, socket, threading, time

SIZE, SENDERS = {size}, {senders}
url, cafile = sys.argv[1], sys.argv[2] or None

def connect(url=url, **options):
    # The buffer is far smaller than a message.
    small = [(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)]
    return WebSocket(url, proxies={{}}, ssl_cafile=cafile, socket_options=small, **options)

def tell(*words):
    print(' '.join(str(word) for word in words))
    sys.stdout.flush()
{body}
"""


@pytest.fixture(params=sorted(LIBRARIES))
def library(request):
    pytest.importorskip(request.param)
    return request.param


@pytest.fixture(params=['patched first', 'imported first'])
def run(request, authority_file, library):
    """Run lines in a program that is monkey patched; return what it tells, line by line."""
    def run(server, body, url=None):
        places = {'patch_before': '', 'patch_after': ''}
        places['patch_before' if request.param == 'patched first' else 'patch_after'] = \
            LIBRARIES[library]
        url = server.url if url is None else url
        program = PROGRAM.format(body=body, size=SIZE, senders=SENDERS, **places)
        return run_program(
            program, url, authority_file if url.startswith(u'wss') else '').splitlines()
    return run


def collect_into(frames):
    """Make a script of a peer that takes in frames, little by little, and answers Close."""
    def script(sock):
        answer_upgrade(sock)
        frames.extend(read_to_close(sock))
        sock.sendall(make_frame(8, frames[-1][1]))
    return script


def messages_in(frames):
    """Return what the binary messages consist of, in order; each must be whole and of one kind."""
    found = []
    for first, payload in frames:
        if first == 0x82:
            assert payload == payload[:1] * SIZE
            found.append(bytearray(payload)[0])
    return found


def test_greenlets_wait_for_each_others_sends(link, run):
    """Messages larger than the buffers, and pings in between: none is refused, or torn."""
    frames = []
    with link.serve(collect_into(frames), receive_buffer=8192) as server:
        assert run(server, """
def send(number):
    for _ in range(2):
        websocket.send_binary(bytearray([number]) * SIZE)
        websocket.send_ping(b'ping')

def close_after_all():
    for sender in senders:
        join(sender)
    websocket.close()

websocket = connect()
for event in websocket.connect(poll=0.01, ping_rate=0.02):
    if event.name == 'ready':
        senders = [spawn(send, number) for number in range(SENDERS)]
        closing = spawn(close_after_all)
    elif event.name not in ('poll', 'pong'):
        tell(event.name)
join(closing)
tell(event.graceful)
""") == ['connecting', 'connected', 'closed', 'disconnected', 'True']
    assert sorted(messages_in(frames)) == sorted(list(range(SENDERS)) * 2)
    assert frames.count((0x89, b'ping')) == 2 * SENDERS
    assert frames[-1][0] == 0x88


@pytest.mark.parametrize('library', ['gevent'], indirect=True)
def test_a_greenlet_closes_while_others_send_without_end(link, run):
    """Its turn comes; the others are told that it is closed. (eventlet wakes them in no order.)"""
    frames = []
    with link.serve(collect_into(frames), receive_buffer=8192) as server:
        lines = run(server, """
def send(number):
    try:
        while True:
            websocket.send_binary(bytearray([number]) * SIZE)
    except errors.WebSocketUnavailable as error:
        return type(error).__name__

websocket = connect()
for event in websocket:
    if event.name == 'ready':
        senders = [spawn(send, number) for number in range(SENDERS)]
        closing = spawn(websocket.close)
tell(event.name, event.graceful)
tell(*sorted(set(join(sender) for sender in senders)))
join(closing)
""")
    assert lines[0] == 'disconnected True'
    assert set(lines[1].split()) <= {'WebSocketClosing', 'WebSocketClosed'}
    assert messages_in(frames)
    assert [first for first, _payload in frames if first != 0x82] == [0x88]
    assert frames[-1][0] == 0x88


def test_a_greenlet_goes_on_while_another_waits(link, run):
    """By name, through a back-off, until a third one ends it."""
    with link.serve(accept_and_hang_up(make_frame(1, b'hello'))) as server:
        lines = run(server, """
def loop():
    for event in persist(connect(), min_wait=60, max_wait=60, exit_event=done):
        if event.name in ('text', 'back_off'):
            tell(event.name)
        if event.name == 'back_off':
            waits.set()

done, waits = threading.Event(), threading.Event()
greenlet = spawn(loop)
waits.wait()
done.set()
join(greenlet)
tell('done')
""", server.url.replace(u'127.0.0.1', u'localhost'))
    assert lines == ['text', 'back_off', 'done']


def test_greenlets_run_while_a_loop_spins(link, run):
    """No time ends this spin: only the greenlet that closes does."""
    with link.serve(collect_into([])) as server:
        assert run(server, """
from lomond.net import waiter
waiter.fine_clock = lambda: 0.0
websocket = connect()
for event in websocket.connect(spin=1):
    if event.name == 'ready':
        closing = spawn(websocket.close)
join(closing)
tell(event.name, event.graceful)
""") == ['disconnected True']


def test_one_greenlet_receives_by_calls_while_another_sends(link, run):
    """Messages larger than the buffers: one that waited alone would wait forever."""
    with link.serve(echo, receive_buffer=8192) as server:
        assert run(server, """
def receive():
    return sum(message == bytearray(SIZE) for message in websocket.messages())

def send():
    for _ in range(SENDERS):
        websocket.send_binary(bytearray(SIZE))
    websocket.close()

websocket = connect()
websocket.open(timeout=30)
receiving, sending = spawn(receive), spawn(send)
join(sending)
tell(join(receiving), websocket.close_received.code)
""") == ['20 1000']


#: How many members a pool has. Each wait of eventlet costs as much as there are descriptors.
MEMBERS = {'gevent': 300 // SHARE, 'eventlet': 30}


@pytest.mark.parametrize('scheme', [u'ws', u'wss'])
def test_one_greenlet_iterates_over_a_pool_while_others_send_add_and_close(
        scheme, library, run, server_pem):
    """The server's handlers are greenlets of the same process, and so is a loop of `persist`."""
    assert run(None, """
import resource

def echo(websocket):
    for event in websocket:
        if event.name == 'text':
            websocket.send_text(event.text)
        elif event.name == 'binary':
            websocket.send_binary(event.data)

def work():
    is_ready = threading.Event()
    added = pool.add(connect(server.url), tag=is_ready)
    is_ready.wait()
    added.close()
    for websocket in websockets:
        websocket.send_text(u'x')
    websockets[0].send_binary(bytearray(SIZE))      # it waits for space

def stay_connected():
    websocket = connect(server.url)
    for event in persist(websocket, min_wait=0, max_wait=0):
        if event.name == 'ready' and event.connection == 1:
            websocket.force_disconnect()
        elif event.name == 'ready':
            websocket.close()
    return websocket.stats.connections

members = {members}
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
tls = server_context({pem!r}) if cafile else None
# On a busy machine so many TLS handshakes at once may take longer than the default timeouts.
with Server(echo, ssl_context=tls, max_connections=2 * members, handshake_timeout=None,
            close_timeout=None) as server:
    pool = Pool(max_queue=2 * SIZE, overflow='block')
    websockets = [pool.add(connect(server.url, connect_timeout=None)) for _ in range(members)]
    ready, echoes = set(), 0
    for websocket, event in pool:
        if event.name == 'ready' and websocket.tag is not None:
            websocket.tag.set()
        elif event.name == 'ready':
            ready.add(websocket)
            if len(ready) == members:
                persisting = spawn(stay_connected)
                workers = [spawn(work) for _ in range(SENDERS)]
        elif event.name in ('text', 'binary'):
            echoes += 1
            if echoes == SENDERS * (members + 1):
                pool.close()
        elif event.name == 'connect_fail' or event.name == 'disconnected' and not event.graceful:
            raise SystemExit(event)     # the echoes would never be complete
    for worker in workers:
        join(worker)
    tell(join(persisting))
""".format(members=MEMBERS[library], pem=server_pem), url=scheme + u':') == ['2']


@pytest.mark.skipif(not hasattr(signal, 'SIGUSR1'), reason='there is no SIGUSR1')
def test_a_handler_that_closes_in_the_midst_of_a_greenlets_send(link, run, tmpdir):
    """As every greenlet waits it runs in the hub, which can't: its Close frame goes out later."""
    def script(sock):
        request = answer_upgrade(sock)
        # Some of the message is here, and for the rest there is no room: the greenlet waits.
        assert read_exactly(sock, 1) == b'\x82'
        while not is_handled.exists():
            os.kill(int(get_header(request, b'X-Process')), signal.SIGUSR1)
            pause()
        second, = bytearray(read_exactly(sock, 1))
        assert second == 0x80 | 127
        read_exactly(sock, 8 + 4 + SIZE)
        frames.extend(read_to_close(sock))
        sock.sendall(make_frame(8, frames[-1][1]))

    frames = []
    is_handled = tmpdir.join('is_handled')
    with link.serve(script, receive_buffer=8192) as server:
        assert run(server, """
def handle(*_args):
    if not is_in_hub():
        return          # another signal comes soon
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    websocket.close(1001, u'terminated')
    for call in (websocket.send_text, lambda text: websocket.send_many([text])):
        try:
            call(u'x')
        except errors.WebSocketUnavailable:
            tell('refused')
    open({!r}, 'w').close()

signal.signal(signal.SIGUSR1, handle)
websocket = connect(headers={{'X-Process': str(os.getpid())}})
for event in websocket:
    if event.name == 'ready':
        sender = spawn(websocket.send_binary, bytearray(SIZE))
join(sender)
tell(event.name, event.graceful)
""".format(str(is_handled))) == ['refused', 'refused', 'disconnected True']
    assert frames == [(0x88, b'\x03\xe9terminated')]


def test_a_greenlet_waits_for_many_descriptors_while_another_goes_on(run):
    """Neither library leaves epoll in `select`: it would stop all greenlets."""
    assert run(None, """
from lomond.net.waiter import Waiter
from lomond.net.waker import Waker

waker, waiter = Waker(), Waiter()
waiter.watch(*waker.interest)
waiting = spawn(waiter.wait, 30)
waking = spawn(waker.wake)
tell(join(waiting) == [waker.interest])
tell(waiter.way in ('poll', 'select'))
waiter.close()
waker.close()
""", url=u'') == ['True', 'True']


def test_a_lock_of_greenlets_may_be_taken_by_a_handler_between_any_two_of_its_steps(run):
    assert run(None, """
from lomond._compat import RLock

def handle(frame, event, argument):
    if lock.acquire(False):
        lock.release()
    else:
        refused.append(frame.f_lineno)
    return handle

lock, refused = RLock(), []
sys.settrace(handle)
lock.acquire()
lock.acquire()
lock.release()
lock.release()
sys.settrace(None)
tell(refused)
with lock:
    tell(join(spawn(lock.acquire, False)))
tell(join(spawn(lock.acquire, False)))
""", url=u'') == ['[]', 'False', 'True']


@pytest.mark.skipif(not hasattr(select, 'poll'), reason='there is no poll here')
def test_poll_is_taken_away_and_given_back_while_connected(link, authority_file):
    frames = []
    with link.serve(collect_into(frames), receive_buffer=8192) as server:
        lines = run_program(PROGRAM.format(
            patch_before='', patch_after='import select', size=SIZE, senders=SENDERS, body="""
poll = select.poll
del select.poll
for moment in ('connecting', 'ready', 'poll', 'closed', None):
    websocket = connect(url.replace('127.0.0.1', 'localhost'))
    for event in websocket.connect(poll=0.01):
        if event.name == moment:
            select.poll = poll
        if event.name == 'ready':
            websocket.send_binary(bytearray(SIZE))
        elif event.name == 'poll' and websocket.is_active:
            websocket.send_binary(bytearray(SIZE))
            websocket.close()
    tell(event.name, event.graceful)
    if moment is not None:
        del select.poll
"""), server.url, authority_file if server.url.startswith(u'wss') else '').splitlines()
    assert lines == ['disconnected True'] * 5
    assert messages_in(frames) == [0] * 10
