"""Races: many threads on one live connection, and a judge at its other end.

The judge (`Peer`) has its own parser and its own zlib stream. What a scenario holds:

- Frames are whole, and each thread's come in the order of its calls, none missing: each call
  carries its number. Between the frames of one send_many there is no other.
- The deflate stream is never mixed up: every message inflates to what was sent.
- A call that returned before a graceful end has arrived; one that raised has not.
- Disconnected comes once, and last. After our Close frame comes nothing.
- A call raises WebSocketUnavailable (or a kind of it), TransportFail, or nothing.
- The state goes forward only; the numbers of ``stats`` only grow, and add up in the end.
- Everything ends: no deadlock. No descriptor and no thread is left.

Each scenario is a function of an `Arena`, which says how to connect and how much to send. The
suite (test_races.py) runs each for a moment, `make races` for minutes.
"""

from __future__ import absolute_import, division, print_function

import base64
import os
import random
import re
import signal
import socket
import ssl
import struct
import sys
import threading
import warnings
import zlib
from contextlib import contextmanager

from lomond import WebSocket, errors
from lomond.opcode import Opcode
from lomond.persist import persist
from lomond.server import Server
from tests.network.driving import Background, wait_for, wait_until_sending
from tests.support import PATIENCE, RawServer, accept_for, get_header, make_frame, read_head

#: What a call may raise.
DOCUMENTED = (errors.WebSocketUnavailable, errors.TransportFail)

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

# How far a state is on the way.
_STAGES = {'connecting': 0, 'open': 1, 'closing': 2, 'peer_closing': 2, 'closed': 3}

_MARK = re.compile(b'(race|raw) ([0-9]+) ([0-9]+) ([0-9]+) ([0-9]+) ([0-9]+) ')
_KEY = b'\x8a\x01\xff\x10'
# Hardly to be compressed, and no two places alike.
_FILLING = base64.b64encode(bytes(bytearray(
    map(random.Random(0).randrange, [256] * 150000))))
_TABLES = [bytes(bytearray(byte ^ key for byte in range(256))) for key in range(256)]


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
        return WebSocket(url, proxies={}, compress=self.compress,
                         ssl_cafile=self.authority_file, **options)

    def moment(self):
        """Return after how many frames something is to happen, now and then before any."""
        return self.random.randrange(self.calls * self.senders)


# -- what is sent, and the book that is kept of it --

def make_message(sender, number, size=1, index=0, word=b'race', length=0):
    """Return the bytes of a message that tells its place; ``index`` of ``size`` in a send_many."""
    return word + (' {} {} {} {} {} '.format(sender, number, size, index, length)).encode(
        'ascii') + _FILLING[number % 1000:number % 1000 + length]


class Ledger(object):
    """Checks that messages come whole and in order.

    With ``has_gaps`` some may be missing: those that aren't echoed.
    """

    def __init__(self, has_gaps=False):
        self._has_gaps = has_gaps
        self._group = None      # what has to come next, within a send_many
        self.next = {}

    def enter(self, content):
        """Check a message."""
        found = _MARK.match(content)
        assert found, 'not a message of ours: {!r}'.format(content[:80])
        word = found.group(1)
        sender, number, size, index, length = [int(part) for part in found.groups()[1:]]
        assert content == make_message(sender, number, size, index, word, length), (
            'a message was torn: {!r}'.format(content[:80]))
        place = (sender, number, size, index)
        if self._group is not None:
            assert place == self._group, '{} came between: {} was due'.format(place, self._group)
        else:
            due = self.next.get(sender, number)
            assert index == 0 and (number >= due if self._has_gaps else number == due), (
                '{} came, {} was due'.format(place, due))
        self._group = (sender, number, size, index + 1) if index + 1 < size else None
        self.next[sender] = number + 1

    def enter_other(self, what):
        """Check that what isn't a sender's may come now."""
        assert self._group is None, '{} came between: {} was due'.format(what, self._group)


# -- the judge --

def unmask(payload, key):
    """Mask bytes by tables: a way that lomond.protocol has not."""
    data = bytearray(payload)
    for place, byte in enumerate(bytearray(key)):
        data[place::4] = data[place::4].translate(_TABLES[byte])
    return bytes(data)


class Hangup(Exception):
    """Raised by manners to end the connection."""


class Peer(object):
    """The other end of one connection: checks each frame, echoes messages, answers.

    ``manners(peer)`` is called after each frame. It may call `send`, wait, or raise Hangup.
    """

    def __init__(self, manners=lambda peer: None, receive_buffer=None):
        self._manners = manners
        self._receive_buffer = receive_buffer
        self._received = bytearray()
        self._inflater = self._deflater = None
        self.ledger = Ledger()
        self.frames = 0         # of senders
        self.closes = []        # payloads
        self.messages = self.payload_bytes = self.wire_bytes = self.pings = 0
        self.sent_messages = self.sent_payload_bytes = self.sent_bytes = self.sent_pongs = 0
        self.has_sent_close = False
        self.awaited_pong = None

    def serve(self, sock):
        """Be the server of a connection; a script of `RawServer`."""
        request = read_head(sock)
        is_deflating = b'permessage-deflate' in request
        sock.sendall(
            b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
            + (b'Sec-WebSocket-Extensions: permessage-deflate\r\n' if is_deflating else b'')
            + b'Sec-WebSocket-Accept: ' + accept_for(get_header(request, b'Sec-WebSocket-Key'))
            + b'\r\n\r\n')
        self._agree(is_deflating)
        self._key = None
        self._run(sock)

    def call(self, address, ssl_context, compress):
        """Be the client of a server."""
        sock = plain = socket.socket()
        try:
            if self._receive_buffer is not None:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
            plain.settimeout(PATIENCE)
            plain.connect(address)
            if ssl_context is not None:
                sock = ssl_context.wrap_socket(plain, server_hostname='127.0.0.1')
            head = [
                b'GET / HTTP/1.1', b'Host: 127.0.0.1', b'Upgrade: websocket',
                b'Connection: Upgrade', b'Sec-WebSocket-Version: 13',
                b'Sec-WebSocket-Key: ' + base64.b64encode(os.urandom(16))]
            if compress:
                head.append(b'Sec-WebSocket-Extensions: permessage-deflate')
            sock.sendall(b'\r\n'.join(head) + b'\r\n\r\n')
            self._agree(get_header(read_head(sock), b'Sec-WebSocket-Extensions') is not None)
            self._key = _KEY
            self._run(sock)
        except (socket.error, EOFError):
            pass        # as in `RawServer`
        finally:
            sock.close()
            plain.close()

    def _agree(self, is_deflating):
        if is_deflating:
            self._inflater = zlib.decompressobj(-15)
            self._deflater = zlib.compressobj(-1, zlib.DEFLATED, -15)

    def _run(self, sock):
        self._sock = sock
        try:
            while True:
                data = sock.recv(65536)
                if not data:
                    break
                assert not self.closes, 'bytes after a Close frame'
                self._received += data
                for first, payload, size in self._take_frames():
                    self._judge(first, payload, size)
                    self._manners(self)
                if self.closes:
                    assert not self._received, 'bytes after a Close frame'
                    if self._key is None:       # a server ends TCP first
                        if isinstance(sock, ssl.SSLSocket):
                            break
                        sock.shutdown(socket.SHUT_WR)
        except Hangup:
            pass

    def _take_frames(self):
        """Yield (first byte, payload, size of the frame) of each that is whole."""
        buffer = self._received
        while len(buffer) >= 2:
            length, start = buffer[1] & 0x7f, 2
            if length >= 126:
                form, start = ('!H', 4) if length == 126 else ('!Q', 10)
                if len(buffer) < start:
                    return
                length, = struct.unpack(form, bytes(buffer[2:start]))
            assert bool(buffer[1] & 0x80) is (self._key is None), 'masked, or not, by mistake'
            key = bytes(buffer[start:start + 4]) if buffer[1] & 0x80 else b''
            start += len(key)
            if len(buffer) < start + length:
                return
            first, payload = buffer[0], bytes(buffer[start:start + length])
            del buffer[:start + length]
            yield first, unmask(payload, key) if key else payload, start + length

    def _judge(self, first, payload, size):
        assert not self.closes, 'a frame after a Close frame'
        assert first & 0x80, 'a fragment'
        opcode = first & 0x0f
        assert first & 0x70 in ((0, 0x40) if opcode in (TEXT, BINARY) and self._inflater
                                else (0,)), 'reserved bits'
        if opcode in (TEXT, BINARY):
            self._judge_message(opcode, self._inflate(payload) if first & 0x40 else payload, size)
            return
        self.wire_bytes += size
        assert size <= 131
        if opcode == CLOSE:
            self.ledger.enter_other('a Close frame')
            self.closes.append(payload)
            if not self.has_sent_close:
                self.send(CLOSE, payload)
            return
        assert opcode in (PING, PONG), 'opcode {}'.format(opcode)
        if payload.startswith(b'race '):
            self._enter(payload)
        else:
            self.ledger.enter_other('the loop\'s own frame')
        if opcode == PING:
            self.pings += 1
            if not self.has_sent_close:
                self.send(PONG, payload)
        elif payload == self.awaited_pong:
            self.awaited_pong = None

    def _judge_message(self, opcode, message, size):
        content = message
        if message.startswith(b'{'):
            content = message[len(b'{"race": "'):-len(b'"}')]
        self._enter(content)
        if not content.startswith(b'raw'):
            self.messages += 1
            self.payload_bytes += len(message)
            self.wire_bytes += size
        if not self.has_sent_close:
            self.send(opcode, message)

    def _enter(self, content):
        self.ledger.enter(content)
        self.frames += 1

    def _inflate(self, payload):
        return self._inflater.decompress(payload + b'\x00\x00\xff\xff')

    def send(self, opcode, payload=b''):
        """Send a frame; a Close is the last one."""
        rsv = 0
        if opcode in (TEXT, BINARY):
            self.sent_messages += 1
            self.sent_payload_bytes += len(payload)
            if self._deflater is not None:
                payload = (self._deflater.compress(payload)
                           + self._deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
                rsv = 0x40
        elif opcode == PONG:
            self.sent_pongs += 1
        elif opcode == CLOSE:
            self.has_sent_close = True
        frame = make_frame(opcode, payload, rsv=rsv, key=self._key)
        self.sent_bytes += len(frame)
        self._sock.sendall(frame)

    def ask(self, payload):
        """Send a ping; `awaited_pong` is None once it was answered."""
        self.awaited_pong = payload
        self.send(PING, payload)


# -- the threads on this end --

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
        if kind == 0:
            websocket.send_ping(make_message(sender, number))
        elif kind == 1:
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
                         'supports_compression', 'session', 'close_calls'):
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
    """One connection on this end (``side`` 'client' or 'server') and its judge at the other.

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
            if self._side == 'client':
                with self._arena.serve(
                        self.peer.serve, receive_buffer=self._receive_buffer) as server:
                    websocket = self._arena.websocket(server.url)
                    self._meet(websocket, websocket.connect(
                        poll=0.05, ping_rate=0.01, close_timeout=PATIENCE))
            else:
                self._run_server()
        return self

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
                    ping_rate=0.01, close_timeout=PATIENCE) as server:
            self.peer.call((server.host, server.port), context, arena.compress)
        if failures:
            raise failures[0]

    def _meet(self, websocket, loop):
        self.websocket = websocket
        self.crew = Crew(self._arena, websocket, length=self._length)
        if self._side == 'client':
            self.crew.raw_key = _KEY
        try:
            self._drive(self, loop)
        finally:
            if self._side == 'client':
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


# -- the scenarios, of either side --

def everyone_sends(arena, side):
    """All calls of all threads arrive; then one closes."""
    def drive(match, loop):
        # Nothing would keep such a frame from following a Close frame: here, Close comes last.
        match.crew.may_send_raw = True
        match.follow(loop, lambda: (match.crew.start(), match.help(match.close_after_all)))

    match = Match(arena, side)
    match.run(drive)
    match.check_graceful()
    assert not match.crew.errors
    assert sum(match.crew.returned.values()) == arena.senders * arena.calls


def everyone_sends_much(arena, side):
    """As above, with messages of some TLS records: both directions are busy at once."""
    def drive(match, loop):
        match.follow(loop, lambda: (match.crew.start(), match.help(match.close_after_all)))

    match = Match(arena, side, length=40000)
    match.run(drive)
    match.check_graceful()
    assert not match.crew.errors


def many_close(arena, side):
    """Threads close all at once, in the midst of it: one Close frame, and nothing after it."""
    end_at_once(arena, side, lambda websocket: websocket.close(), 4).check_graceful()


def some_break(arena, side):
    """Threads break the connection off, in the midst of it."""
    end_at_once(arena, side, lambda websocket: websocket.force_disconnect(), 2).check_broken()


def end_at_once(arena, side, end, count):
    """Have so many threads call a function while all send; return the match."""
    is_time = threading.Event()
    moment = arena.moment()

    def wait_and_end():
        wait_for(is_time)
        end(match.websocket)

    def drive(match, loop):
        match.follow(loop, lambda: (match.help(wait_and_end, count), match.crew.start()))
        match.crew.join()

    def manners(peer):
        if peer.frames >= moment:
            is_time.set()

    match = Match(arena, side, manners)
    match.run(drive)
    return match


def peer_closes(arena, side):
    """The peer closes, in the midst of it: what was sent before our Close frame arrives."""
    moment = arena.moment()

    def drive(match, loop):
        match.follow(loop, match.crew.start)
        match.crew.join()

    def manners(peer):
        if peer.frames >= moment and not peer.has_sent_close:
            peer.send(CLOSE, b'\x03\xe9going')

    match = Match(arena, side, manners)
    match.run(drive)
    match.check_graceful()
    assert 'closing' in match.log.names


def peer_asks(arena, side):
    """The peer pings while all send: the latest ping is answered, whoever held the lock."""
    def drive(match, loop):
        match.follow(loop, match.crew.start)
        match.crew.join()

    def manners(peer):
        if peer.awaited_pong is None and not peer.has_sent_close:
            asked.append(None)
            if len(asked) > arena.calls:
                peer.send(CLOSE, b'\x03\xe8')
            else:
                peer.ask(b'are you there? %d' % len(asked))

    asked = []
    match = Match(arena, side, manners)
    match.run(drive)
    match.check_graceful()
    assert match.peer.awaited_pong is None


def peer_stalls(arena, side):
    """The peer stops reading until senders wait for room, and then goes on: nothing is lost."""
    may_go_on = threading.Event()

    def drive(match, loop):
        match.crew.calls = float('inf')
        match.follow(loop, lambda: (
            match.crew.start(), match.help(wait_until_blocked),
            match.help(match.close_after_all)))

    def wait_until_blocked():
        wait_until_sending(match.websocket)
        match.crew.calls = 0
        may_go_on.set()

    def manners(peer):
        if peer.frames == 1:
            wait_for(may_go_on)

    match = Match(arena, side, manners, length=100000, receive_buffer=65536)
    match.run(drive)
    match.check_graceful()
    assert not match.crew.errors


# -- the scenarios of a client --

def loop_leaves(arena, way):
    """The loop's thread breaks out, closes its iterator, or raises, while others send."""
    moment = arena.moment()

    def drive(match, loop):
        def on_event(event):
            match.log.enter(event)
            if event.name == 'ready':
                match.crew.start()
            return match.log.messages >= max(1, moment // 4)    # not before Ready

        try:
            for event in loop:
                if on_event(event):
                    if way == 'break':
                        break
                    if way == 'close':
                        loop.close()
                    else:
                        raise Hangup()
        except Hangup:
            pass
        finally:
            loop.close()
        match.crew.join()
        assert match.websocket.is_closed
        assert match.websocket.session._transport._is_closed

    match = Match(arena, 'client')
    match.run(drive)
    match.check_arrived()
    assert 'disconnected' not in match.log.names


def persists(arena):
    """It reconnects, again and again, while others send all the time."""
    peers = []
    is_over = threading.Event()

    def script(sock):
        limit = arena.random.randrange(1, arena.calls)
        way = arena.random.choice(['close', 'end', 'reset'])

        def manners(peer):
            if peer.frames >= limit and not peer.has_sent_close:
                if way == 'close':
                    peer.send(CLOSE, b'\x03\xe9')
                    return
                if way == 'reset':
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                raise Hangup()

        peer = Peer(manners)
        peers.append(peer)
        peer.serve(sock)

    with nothing_left(), hectic(), arena.serve(script) as server:
        websocket = arena.websocket(server.url)
        crew = Crew(arena, websocket, is_over).start()
        log = Log()
        ends = 0
        for event in persist(websocket, min_wait=0, max_wait=0, poll=0.05, ping_rate=0.01):
            if event.name == 'connecting':
                log = Log()
            if event.name == 'back_off':
                log.check(log.last.graceful)
                ends += 1
                if ends == max(3, arena.calls // 8):
                    is_over.set()
                    websocket.close()
                continue
            log.enter(event)
        crew.join()
    assert len(peers) >= ends
    assert websocket.stats.connections <= websocket.stats.attempts
    reached = {}
    for peer in peers:
        for sender, number in peer.ledger.next.items():
            assert number >= reached.get(sender, 0)
            reached[sender] = number
    assert all(reached[sender] <= crew.returned[sender] + 1 for sender in reached)


def handler_closes(arena, who):
    """A signal's handler calls close(), in the midst of what the main thread does.

    That is the loop or, with ``who`` 'sender', a send. Only for a main thread.
    """
    def on_signal(_signum, _frame):
        if inside:      # one that waits for a sender isn't to be interrupted for ever
            return
        inside.append(None)
        calls.append(None)
        websocket = match.websocket
        websocket.state, websocket.sent_close_time, websocket.stats.as_dict()
        if len(calls) >= last:
            websocket.close()
        inside.pop()

    def drive(match, loop):
        if who == 'loop':
            match.follow(loop, start)
        else:
            match.follow_in_thread(loop, start, lambda: match.crew.send_here(arena.senders))
        signal.setitimer(signal.ITIMER_REAL, 0)
        match.crew.join()

    def start():
        match.crew.calls = float('inf')
        match.crew.start()
        signal.setitimer(signal.ITIMER_REAL, 0.0005 + arena.random.random() * 0.02, 0.0007)

    calls, inside = [], []
    last = arena.random.randrange(1, 20)
    before = signal.signal(signal.SIGALRM, on_signal)
    try:
        match = Match(arena, 'client')
        match.run(drive)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    match.check_graceful()


def process_forks(arena):
    """The process forks while threads send: whatever the child does, its parent goes on."""
    def drive(match, loop):
        for event in loop:
            match.log.enter(event)
            if event.name == 'ready':
                match.crew.start()
                match.help(match.close_after_all)
            elif event.name in ('text', 'binary') and len(children) < 3:
                children.append(fork(match.websocket, loop, len(children)))

    children = []
    match = Match(arena, 'client')
    match.run(drive)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    assert not any(statuses), statuses
    match.check_graceful()
    assert not match.crew.errors


def fork(websocket, loop, way):
    """Fork; the child ends in one of the ways there are. Return its number."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)    # 3.12: forks with threads may hang
        child = os.fork()
    if child:
        return child
    status = 1
    try:
        signal.alarm(int(PATIENCE))
        if way == 0:
            websocket.force_disconnect()
        elif way == 1:
            websocket.session.dispose()
        status = 0
    finally:
        os._exit(status)


#: (what it is called, the function, its further arguments)
SCENARIOS = [
    ('{} of the {}'.format(scenario.__name__, side), scenario, (side,))
    for scenario in (
        everyone_sends, everyone_sends_much, many_close, some_break, peer_closes, peer_asks,
        peer_stalls)
    for side in ('client', 'server')
] + [
    ('loop_leaves by {}'.format(way), loop_leaves, (way,)) for way in ('break', 'close', 'raise')
] + [
    ('persists', persists, ()),
]
if hasattr(signal, 'setitimer'):
    SCENARIOS += [
        ('handler_closes the {}'.format(who), handler_closes, (who,))
        for who in ('loop', 'sender')]
if hasattr(os, 'fork'):
    SCENARIOS.append(('process_forks', process_forks, ()))
