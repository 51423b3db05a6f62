"""A match: the threads on this end of a connection, what they see, and the judge at the other."""

from __future__ import absolute_import, division, print_function

import os
import random
import ssl
import sys
import threading
from contextlib import contextmanager
from functools import partial

from lomond import WebSocket, errors
from lomond.engine.outbox import Outbox, Overflow
from lomond.engine.stepped import QueuedClientSession
from lomond.opcode import Opcode
from lomond.server import Server
from tests.network.driving import Background, steps_of, wait_for
from tests.network.races.judge import KEY, TEXT, Ledger, Peer, make_message
from tests.support import PATIENCE, RawServer, make_frame

#: What a call may raise.
DOCUMENTED = (errors.WebSocketUnavailable, errors.TransportFail)

# Less than many a message: those go out in fragments (bytes).
FRAGMENT_SIZE = 200

# How far a state is on the way.
_STAGES = {'connecting': 0, 'open': 1, 'closing': 2, 'peer_closing': 2, 'failing': 3, 'closed': 4}


@contextmanager
def hectic():
    """Have Python switch threads as often as it can."""
    if hasattr(sys, 'setswitchinterval'):
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
    else:
        before = sys.getcheckinterval()
        sys.setcheckinterval(1)
    try:
        yield
    finally:
        getattr(sys, 'setswitchinterval', getattr(sys, 'setcheckinterval', None))(before)


@contextmanager
def nothing_left():
    """Every descriptor is closed and every thread has ended, without the collector's help."""
    def count():
        return len(os.listdir('/proc/self/fd')) if os.path.isdir('/proc/self/fd') else 0
    before, threads = count(), threading.active_count()
    yield
    assert count() <= before, 'descriptors were left open'
    assert threading.active_count() <= threads, 'threads were left behind'


class Arena(object):
    """How to connect, and how much to send.

    Parameters: ``compress``; ``server_tls`` and ``authority_file`` for wss; ``calls``, how many
    each sender makes; ``senders``, how many there are; ``seed`` of all that is random.
    """

    def __init__(self, compress=False, server_tls=None, authority_file=None, calls=40, senders=4,
                 seed=0):
        self.compress = compress
        self.server_tls = server_tls
        self.authority_file = authority_file
        self.calls = calls
        self.senders = senders
        self.random = random.Random(seed)

    def serve(self, script, **options):
        return RawServer(script, ssl_context=self.server_tls, **options)

    def websocket(self, url, **options):
        return WebSocket(url, proxies={}, compress=self.compress, fragment_size=FRAGMENT_SIZE,
                         ssl_cafile=self.authority_file, **options)

    def moment(self):
        """Return after how many frames something is to happen, now and then before any."""
        return self.random.randrange(self.calls * self.senders)


class Crew(object):
    """Threads that call all there is on one WebSocket, and one that watches it.

    Each stops after so many ``calls``, or when the connection is gone; with ``is_over``, an
    Event, they go on until that is set, over all connections.
    """

    def __init__(self, arena, websocket, is_over=None, length=300):
        self._arena = arena
        self._websocket = websocket
        self._is_over = is_over
        self._length = length
        self.calls = arena.calls
        #: The masking key for frames made elsewhere, if some are to be sent.
        self.raw_key = None
        self.may_send_raw = False
        #: Whether pings and pongs keep their place among the messages, so that they have a number.
        self.controls_keep_order = True
        self._has_ended = threading.Event()
        self._threads = []
        #: How many calls of each sender returned.
        self.returned = {}
        #: What ended a sender, if it was an error.
        self.errors = []

    def start(self):
        """Start them all; `join` waits for them, and raises what went wrong."""
        self._watcher = Background(self._watch)
        for sender in range(self._arena.senders):
            seed = self._arena.random.random()
            self._threads.append(Background(self._send, sender, random.Random(seed)))
        return self

    def join(self):
        try:
            for thread in self._threads:
                thread.result()
        finally:
            self._has_ended.set()
            self._watcher.result()

    def send_here(self, sender):
        """Be one more sender, in this thread."""
        self._send(sender, random.Random(self._arena.random.random()))

    def _send(self, sender, dice):
        self.returned[sender] = number = 0
        while number < self.calls or self._is_over is not None:
            if self._is_over is not None and self._is_over.is_set():
                return
            try:
                self._call(sender, number, dice)
                self.returned[sender] = number + 1
            except DOCUMENTED as error:
                self.errors.append(error)
                if self._is_over is None:
                    return
                if isinstance(error, errors.WebSocketUnavailable):
                    self._is_over.wait(0.001)
                    continue        # with the same number: nothing of it was sent
            number += 1

    def _call(self, sender, number, dice):
        """Make one call; the method goes by the dice."""
        websocket = self._websocket
        length = dice.randrange(self._length)
        message = make_message(sender, number, length=length)
        kind = dice.randrange(10)
        if kind == 0 and self.controls_keep_order:
            websocket.send_ping(make_message(sender, number))
        elif kind == 1 and self.controls_keep_order:
            websocket.send_pong(bytearray(make_message(sender, number)))
        elif kind == 2:
            websocket.send_json(race=message.decode('ascii'))
        elif kind == 3:
            size = dice.randrange(2, 6)
            messages = [make_message(sender, number, size, index, length=length)
                        for index in range(size)]
            websocket.send_many([messages[0].decode('ascii')] + messages[1:])
        elif kind in (4, 5):
            websocket.send_binary(message, compress=kind == 4)
        elif kind == 6:
            session = websocket.session
            if session is None or websocket.state == 'connecting':
                raise errors.WebSocketUnavailable('not connected')
            if dice.random() < 0.5:
                session.send(Opcode.TEXT, message)
            else:
                session.send_compressed(Opcode.BINARY, message)
        elif kind == 7 and self.may_send_raw:
            websocket.session.write(make_frame(
                TEXT, make_message(sender, number, word=b'raw', length=length), key=self.raw_key))
        else:
            websocket.send_text(message.decode('ascii'), compress=kind != 8)

    def _watch(self):
        """Read all properties: the state goes forward, the numbers grow."""
        websocket = self._websocket
        stream, stage, before = None, 0, None
        while not self._has_ended.is_set():
            found = websocket.stream
            state = found.state
            if found is not stream:
                stream, stage = found, 0
            assert _STAGES[state] >= stage, 'from stage {} back to {}'.format(stage, state)
            stage = _STAGES[state]
            for name in ('state', 'is_active', 'is_closing', 'is_closed', 'sent_close_time',
                         'supports_compression', 'session', 'last_close'):
                getattr(websocket, name)
            repr(websocket), repr(websocket.session), repr(websocket.stats)
            now = flatten(websocket.stats.as_dict())
            if before is not None:
                for name, value in now.items():
                    assert value >= before[name], '{} fell from {} to {}'.format(
                        name, before[name], value)
            before = now
            # Else it is all that runs, with switches this fast.
            self._has_ended.wait(0.001)


def flatten(numbers):
    """Return the numbers of a nested dict that only grow, by their paths."""
    flat = {}
    for name, value in numbers.items():
        if isinstance(value, dict):
            for inner, number in flatten(value).items():
                flat[name + '.' + inner] = number
        elif name not in ('last', 'minimum', 'mean'):
            flat[name] = value
    return flat


class Log(object):
    """What the loop yielded: checks echoes, and that Disconnected comes once and last."""

    def __init__(self):
        self._ledger = Ledger(has_gaps=True)
        self.names = []
        self.last = None
        self.messages = 0

    def enter(self, event):
        assert not self.names or self.names[-1] != 'disconnected', 'an event after Disconnected'
        if event.name in ('text', 'binary'):
            content = event.data if event.name == 'binary' else event.text.encode('ascii')
            if content.startswith(b'{'):
                content = content[len(b'{"race": "'):-len(b'"}')]
            self._ledger.enter(content)
            self.messages += 1
        elif event.name not in ('poll', 'ping', 'pong'):
            self.names.append(event.name)
        self.last = event

    def check(self, graceful):
        assert self.names.count('disconnected') == 1 and self.names[-1] == 'disconnected', \
            self.names
        assert 'protocol_error' not in self.names, self.names
        assert self.last.graceful is graceful, self.last


class Match(object):
    """One connection on this end and its judge at the other.

    ``side`` is 'client', 'server', or 'queue': a client in steps, whose sends wait in a queue.

    Parameters: the arena; ``manners`` of the judge. `run` calls ``drive(websocket, loop)``, which
    has to exhaust the loop or give it up, with ``log`` and ``crew`` at its hands.
    """

    def __init__(self, arena, side, manners=lambda peer: None, length=300, receive_buffer=None):
        self._arena = arena
        self._side = side
        self._length = length
        self._receive_buffer = receive_buffer
        self.peer = Peer(manners, receive_buffer)
        self.log = Log()
        self.websocket = self.crew = None
        self._helpers = []

    def run(self, drive):
        self._drive = drive
        with nothing_left(), hectic():
            if self._side == 'server':
                self._run_server()
            else:
                with self._arena.serve(
                        self.peer.serve, receive_buffer=self._receive_buffer) as server:
                    websocket = self._arena.websocket(server.url)
                    self._meet(websocket, self._loop_of(websocket))
        return self

    def _loop_of(self, websocket):
        options = {'poll': 0.05, 'ping_rate': 0.01, 'close_timeout': PATIENCE}
        if self._side == 'client':
            return websocket.connect(**options)
        session = websocket.new_session(partial(
            QueuedClientSession, outbox=Outbox(overflow=Overflow.BLOCK)))
        return steps_of(session, ping_timeout=None, auto_pong=True, **options)

    def _run_server(self):
        failures = []

        def handle(websocket):
            try:
                self._meet(websocket, iter(websocket))
            except BaseException as error:      # the server would only log it
                failures.append(error)
                websocket.force_disconnect()

        arena = self._arena
        context = None
        if arena.server_tls is not None:
            context = ssl.create_default_context(cafile=arena.authority_file)
            context.check_hostname = False      # 2.7 knows no addresses
        with Server(handle, compress=arena.compress, ssl_context=arena.server_tls, poll=0.05,
                    ping_rate=0.01, close_timeout=PATIENCE,
                    fragment_size=FRAGMENT_SIZE) as server:
            self.peer.call((server.host, server.port), context, arena.compress)
        if failures:
            raise failures[0]

    def _meet(self, websocket, loop):
        self.websocket = websocket
        self.crew = Crew(self._arena, websocket, length=self._length)
        self.crew.controls_keep_order = self._side != 'queue'
        if self._side != 'server':
            self.crew.raw_key = KEY
        try:
            self._drive(self, loop)
        finally:
            if self._side != 'server':
                loop.close()
            for helper in self._helpers:
                helper.result()

    def help(self, function, count=1):
        """Run a function in threads of their own; they are waited for."""
        self._helpers.extend(Background(function) for _ in range(count))

    def follow(self, loop, on_ready):
        """Exhaust the loop."""
        for event in loop:
            self.log.enter(event)
            if event.name == 'ready':
                on_ready()

    def close_after_all(self):
        """Close when all senders are done."""
        self.crew.join()
        self.websocket.close()

    def follow_in_thread(self, loop, on_ready, do):
        """Exhaust the loop in a thread, and do something else in this one, from Ready on."""
        is_ready = threading.Event()
        thread = Background(self.follow, loop, is_ready.set)
        wait_for(is_ready)
        on_ready()
        do()
        thread.result()

    def check_graceful(self):
        """Check what holds after Close frames both ways: all that was sent has arrived."""
        self.log.check(graceful=True)
        peer, stats = self.peer, self.websocket.stats
        assert len(peer.closes) == 1
        for sender, returned in self.crew.returned.items():
            assert peer.ledger.next.get(sender, 0) == returned, (
                'sender {}: {} calls returned, {} arrived'.format(
                    sender, returned, peer.ledger.next.get(sender, 0)))
        sent, received = stats.sent, stats.received
        assert (sent.messages, sent.payload_bytes, sent.wire_bytes, stats.pings_sent) == (
            peer.messages, peer.payload_bytes, peer.wire_bytes, peer.pings)
        assert (received.messages, received.payload_bytes, received.wire_bytes) == (
            peer.sent_messages, peer.sent_payload_bytes, peer.sent_bytes)
        assert stats.pongs_received == peer.sent_pongs
        assert self.log.messages == peer.sent_messages

    def check_broken(self):
        """Check what holds after any other end: what returned may be lost, what raised torn."""
        self.log.check(graceful=False)
        self.check_arrived()

    def check_arrived(self):
        for sender, arrived in self.peer.ledger.next.items():
            assert arrived <= self.crew.returned[sender] + 1
