"""A whole session over a socket that does what a script says, cuts and delays included.

No thread and no waiting: a session of some hundred bytes takes less than a
millisecond, so that a fault can be tried at each of them.
"""

from __future__ import absolute_import, division, print_function

import errno
import functools
import re
import socket
import ssl
import struct
import threading

import pytest

from lomond import WebSocket, errors
from lomond._compat import text_type
from lomond._served import BlockingServerSession, ServerWebSocket
from lomond.engine.stepped import QueuedClientSession, QueuedServerSession
from lomond.net.dial import Dialed
from lomond.net.steps import operation
from lomond.net.tls.transport import TLSTransport
from lomond.net.transport import Transport
from lomond.net.waiter import wait
from lomond.testing import Clock, Inside
from tests.protocol.harness import (
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    PING,
    PONG,
    RSV1,
    TEXT,
    parse_frames,
    raw_deflate,
)
from tests.support import accept_for, make_close, make_frame

CLIENT, SERVER = 'client', 'server'

#: What drives a session: a loop in a thread of its own, or steps with a queue.
BLOCKING, QUEUED = 'blocking', 'queued'

by_driver = pytest.mark.parametrize('driver', [BLOCKING, QUEUED])

#: What the end of a script may be, each for ever: the end of the stream, a reset, nothing.
END, RESET, SILENCE = u'end', u'reset', u'silence'

#: What a send may meet at a byte: an error for ever or once, no room for ever or once.
BROKEN, ERROR, FULL, PAUSE = 'broken', 'error', 'full', 'pause'


class Delay(object):
    """In a script: nothing is there yet, and so many seconds pass."""

    def __init__(self, seconds):
        self.seconds = seconds


class ScriptedSocket(object):
    """A connected socket whose peer is a script.

    Parameters: ``ready_fd``, a descriptor that is readable and writable, so
    that no wait on this takes time; ``clock``, put forward by delays;
    ``incoming``, bytes, each received by one call or more, and `Delay`, last one
    of `END`, `RESET` and `SILENCE`; ``fails_at``, how many bytes are taken
    before ``failure`` happens; ``most``, how many at most are taken at once.
    """

    def __init__(self, ready_fd, clock, incoming, fails_at=None, failure=None, most=None):
        self._ready_fd = ready_fd
        self._clock = clock
        self._incoming = list(reversed(incoming))
        self._fails_at = float('inf') if fails_at is None else fails_at
        self._failure = failure
        self._most = float('inf') if most is None else most
        self.sent = b''
        self.is_closed = False
        self.is_shut = False

    def setblocking(self, is_blocking):
        assert not is_blocking

    def fileno(self):
        return self._ready_fd

    def _nothing_there(self):
        raise socket.error(errno.EAGAIN, 'try again')

    _no_room = _nothing_there

    def recv(self, count):
        assert not self.is_closed
        if self.is_shut:
            return b''
        item = self._incoming.pop()
        if isinstance(item, Delay):
            self._clock.ahead += item.seconds
            self._nothing_there()
        if isinstance(item, bytes):
            if len(item) > count:
                self._incoming.append(item[count:])
            return item[:count]
        self._incoming.append(item)
        if item == RESET:
            raise socket.error(errno.ECONNRESET, 'Connection reset by peer')
        if item == SILENCE:
            # Less than what makes the loop think that it was held up.
            self._clock.ahead += 0.5
            self._nothing_there()
        return b''

    def recv_into(self, view):
        data = self.recv(len(view))
        view[:len(data)] = data
        return len(data)

    def send(self, data):
        assert not self.is_closed
        if self.is_shut:
            raise socket.error(errno.EPIPE, 'Broken pipe')
        room = min(len(data), self._most, self._fails_at - len(self.sent))
        if not room and len(data):
            if self._failure == BROKEN:
                raise socket.error(errno.ECONNRESET, 'Connection reset by peer')
            if self._failure in (ERROR, PAUSE):
                self._fails_at = float('inf')
            if self._failure == ERROR:
                raise socket.error(errno.ENOBUFS, 'No buffer space available')
            self._no_room()
        self.sent += memoryview(data)[:room].tobytes()
        return room

    def shutdown(self, how):
        self.is_shut = self.is_shut or how == socket.SHUT_RDWR

    def close(self):
        self.is_closed = True


class ScriptedTLSSocket(ScriptedSocket):
    """The same, as an SSLSocket tells it."""

    def _nothing_there(self):
        raise ssl.SSLWantReadError()

    def _no_room(self):
        raise ssl.SSLWantWriteError()

    def pending(self):
        return 0

    def unwrap(self):
        if self._incoming[-1:] != [END]:
            self._nothing_there()


class _Dialer(object):
    """Leads a client to a scripted socket."""

    def __init__(self, connect_to):
        self._connect_to = connect_to

    @operation
    def dial(self, *_args):
        yield Dialed(self._connect_to(), None)


class _Scripted(object):
    """Leads a server's end to a scripted socket."""

    connect_to = None

    @operation
    def dial(self):
        yield self.connect_to()


class _ServerSession(_Scripted, BlockingServerSession):
    pass


class _QueuedServerSession(_Scripted, QueuedServerSession):
    pass


def _loop_of(session, options):
    """Drive a session with a queue as a pool does; its options are those of the other loops."""
    given = dict({'poll': 5, 'ping_rate': 30, 'ping_timeout': None, 'auto_pong': True,
                  'close_timeout': 30}, **options)
    session.begin(**given)
    while not session.is_finished:
        for event in session.step():
            yield event
        left = session.time_left()
        if left != 0:
            wait(session.interest, left)


# -- what the peer sends --

_EXTENSION = b'Sec-WebSocket-Extensions: permessage-deflate'

#: The client's key in each session (it is RFC 6455's own), so that all are of the same bytes.
HANDSHAKE_KEY = b'dGhlIHNhbXBsZSBub25jZQ=='

#: The lines of the opening handshake of each end's peer.
HEAD_LINES = {
    CLIENT: [
        b'HTTP/1.1 101 Switching Protocols', b'Upgrade: websocket', b'Connection: Upgrade',
        b'Sec-WebSocket-Accept: ' + accept_for(HANDSHAKE_KEY)],
    SERVER: [
        b'GET / HTTP/1.1', b'Host: localhost', b'Upgrade: websocket', b'Connection: Upgrade',
        b'Sec-WebSocket-Key: ' + HANDSHAKE_KEY, b'Sec-WebSocket-Version: 13'],
}

HEADS = {
    role: b'\r\n'.join(HEAD_LINES[role] + [_EXTENSION, b'', b'']) for role in (CLIENT, SERVER)}


def _talk():
    """Return frames' arguments, each with the event that it completes."""
    def frame(opcode, payload, event=None, fin=True, rsv=0):
        return opcode, payload, fin, rsv, event

    first, second = raw_deflate(b'y' * 200)[:4], raw_deflate(b'y' * 200)[4:]
    return [
        frame(TEXT, u'caf\xe9'.encode('utf-8'), ('text', u'caf\xe9')),
        frame(BINARY, b'\0\xff' * 63, ('binary', b'\0\xff' * 63)),      # a 16-bit length
        frame(PING, b'one', ('ping', b'one')),
        frame(TEXT, b'\xe2\x82', fin=False),
        frame(PING, b'two', ('ping', b'two')),
        frame(CONTINUATION, b'\xac', fin=False),
        frame(CONTINUATION, b'!', ('text', u'\u20ac!')),
        frame(TEXT, raw_deflate(b'x' * 100), ('text', u'x' * 100), rsv=RSV1),
        frame(BINARY, first, fin=False, rsv=RSV1),
        frame(CONTINUATION, second, ('binary', b'y' * 200)),
        frame(PONG, b'', ('pong', b'')),
        frame(TEXT, b'', ('text', u'')),
    ]


class Conversation(object):
    """All that the peer of an end sends: its handshake, messages of every kind, a Close.

    ``we_close``: the end closes as soon as it is ready, and the peer's Close answers that.
    """

    def __init__(self, role, we_close=False):
        self.role = role
        self.we_close = we_close
        key = KEY if role == SERVER else None
        #: After the handshake: each frame.
        self.frames = [
            make_frame(opcode, payload, fin=fin, rsv=rsv, key=key)
            for opcode, payload, fin, rsv, _event in _talk()]
        self.frames.append(make_close(1000, b'bye', key=key))
        told = [event for _opcode, _payload, _fin, _rsv, event in _talk()]
        told.append(('closed' if we_close else 'closing', 1000, u'bye'))
        #: Events, each with the number of bytes that have to come for it.
        self.events = []
        self.size = len(HEADS[role])
        for frame, event in zip(self.frames, told):
            self.size += len(frame)
            if event is not None:
                self.events.append((self.size, event))

    @property
    def data(self):
        """Everything, as one piece."""
        return HEADS[self.role] + b''.join(self.frames)

    def expected(self, received):
        """Return the events in so many bytes, the end not among them."""
        before = [('connecting',), ('connected',)] if self.role == CLIENT else []
        if received < len(HEADS[self.role]):
            return before
        return before + [('ready',), ('poll',)] + [
            event for size, event in self.events if size <= received]

    def expected_replies(self, received):
        """Return the frames that the end sends of itself."""
        if received < len(HEADS[self.role]):
            return []
        if self.we_close:
            return [(0x88, b'\x03\xe8mine')]    # and nothing after that
        told = self.expected(received)
        replies = [(0x8a, event[1]) for event in told if event[0] == 'ping']
        if told[-1][0] == 'closing':
            replies.append((0x88, b'\x03\xe8'))
        return replies


# -- one session --

class Outcome(object):
    """What a session came to: its events as tuples, its socket, what sends raised."""

    def __init__(self, role, driver, websocket, sock, events, calls):
        self.role = role
        self.driver = driver
        self.websocket = websocket
        self.sock = sock
        self.events = events
        #: Pairs of how many bytes had gone out before a call, and what it raised or None.
        self.calls = calls
        #: How many messages Disconnected says were not sent.
        self.unsent = getattr(events[-1], 'unsent', 0)

    @property
    def head_size(self):
        """How many bytes of ours are the handshake, if all of it went out."""
        return self.sock.sent.find(b'\r\n\r\n') + 4

    @property
    def frames(self):
        """The frames that went out, all whole and masked as they should be."""
        return parse_frames(self.sock.sent[self.head_size:], self.role)


def run(ready_fd, role, incoming, is_secure=False, on_ready=(), fails_at=None, failure=None,
        most=None, write_timeout=None, connect_timeout=30.0, loop_options=None, driver=BLOCKING):
    """Run a session to its end.

    Parameters: ``incoming``, the script; ``driver``, `BLOCKING` or `QUEUED`;
    ``on_ready``, functions called with the end, one by one, at the Ready event; the rest as of
    `ScriptedSocket` and of the two ends.
    """
    clock = Clock()
    made = []
    threads = threading.active_count()

    def connect_to():
        sock_class, transport_class = (
            (ScriptedTLSSocket, TLSTransport) if is_secure else (ScriptedSocket, Transport))
        made.append(sock_class(
            ready_fd, clock, incoming, fails_at, failure, most))
        return transport_class(made[-1])

    if role == CLIENT:
        websocket = WebSocket(
            'ws://localhost/', proxies={}, compress=True, connect_timeout=connect_timeout,
            write_timeout=write_timeout, max_redirects=0)
        websocket.dialer = _Dialer(connect_to)
        if driver == BLOCKING:
            loop = websocket.connect(clock.session, **(loop_options or {}))
        else:
            loop = _loop_of(websocket.new_session(
                functools.partial(QueuedClientSession, clock=clock)), loop_options or {})
        Inside(websocket).key = HANDSHAKE_KEY
    else:
        websocket = ServerWebSocket(
            None, None, compress=True, handshake_timeout=connect_timeout,
            write_timeout=write_timeout)
        session_class = _ServerSession if driver == BLOCKING else _QueuedServerSession
        session = session_class(websocket, clock=clock)
        session.connect_to = connect_to
        websocket.attach_session(session)
        loop = session.run(**(loop_options or {})) if driver == BLOCKING \
            else _loop_of(session, loop_options or {})
    told = []
    calls = []
    for event in loop:
        told.append(event)
        if event.name == 'ready':
            for call in on_ready:
                sent = len(made[0].sent)
                try:
                    call(websocket)
                    calls.append((sent, None))
                except errors.WebSocketError as error:
                    calls.append((sent, error))
    assert len(made) == 1
    if driver == BLOCKING:      # else a worker builds the request, and waits for more for a while
        assert threading.active_count() <= threads      # such a worker may have ended
    outcome = Outcome(role, driver, websocket, made[0], told, calls)
    check_order(role, told)
    check_end(outcome)
    outcome.events = [as_tuple(event) for event in told]
    return outcome


def as_tuple(event):
    """An event as what a test can write down."""
    if event.name in ('connecting', 'connected', 'ready'):
        return (event.name,)
    if event.name == 'rejected':
        response = event.response
        return (event.name, event.reason) + (
            () if response is None else (response.status_code, response.body))
    return (event.name,) + tuple(
        getattr(event, field) for field in event.__match_args__ if field != 'unsent')


# docs/explanation/life-of-a-connection.md
_OPEN = (
    'ready poll( text| binary| ping| pong| poll)*'
    '( closing( poll)*| closed| protocol_error( poll)*| unresponsive)? disconnected')
ORDER = {
    CLIENT: re.compile(
        'connecting (connect_fail|connected (disconnected|(rejected|protocol_error) disconnected'
        '|{}))$'.format(_OPEN)),
    SERVER: re.compile(
        '(connect_fail|disconnected|(rejected|protocol_error) disconnected|{})$'.format(_OPEN)),
}


def check_order(role, told):
    """Assert that the events come in the documented order, and say something."""
    order = ' '.join(event.name for event in told)
    assert ORDER[role].match(order), order
    for event in told:
        for field in ('reason', 'error'):
            if event.name not in ('closing', 'closed') and hasattr(event, field):
                words = getattr(event, field)
                assert isinstance(words, text_type) and words, event
                assert '{}' not in words and 'Errno' not in words, words


def check_end(outcome):
    """Assert what is true of any end: what graceful says, what is left, what sends do."""
    websocket, sock, last = outcome.websocket, outcome.sock, outcome.events[-1]
    assert sock.is_closed
    assert websocket.is_closed and not websocket.is_active and websocket.state == 'closed'
    assert not websocket.session.is_running
    sent = sock.sent
    for call in (
            lambda: websocket.send_text(u'late'), lambda: websocket.send_binary(b'late'),
            websocket.send_ping, lambda: websocket.send_pong(b''),
            lambda: websocket.send_many([u'late']), lambda: websocket.send_json(late=1)):
        with pytest.raises(errors.WebSocketClosed):
            call()
    websocket.close()
    websocket.force_disconnect()
    assert sock.sent == sent
    if last.name != 'disconnected':
        return
    names = [event.name for event in outcome.events]
    got_close = 'closing' in names or 'closed' in names
    assert last.graceful == (got_close and _has_sent_close(outcome)), last
    assert (last.reason == u'closed') == last.graceful, last
    if 'protocol_error' in names and 'ready' in names:
        error = outcome.events[names.index('protocol_error')]
        assert last.reason == error.error


def _has_sent_close(outcome):
    """Tell if the last that went out is a Close frame, whole."""
    if b'\r\n\r\n' not in outcome.sock.sent:
        return False
    data = memoryview(outcome.sock.sent)[outcome.head_size:]
    while len(data) >= 2:
        first, second = struct.unpack('!BB', data[:2].tobytes())
        size = second & 0x7f
        start = 2
        if size > 125:
            layout = struct.Struct('!H' if size == 126 else '!Q')
            start += layout.size
            if len(data) < start:
                return False
            size, = layout.unpack(data[2:start].tobytes())
        start += 4 if second & 0x80 else 0
        if first & 0x0f == CLOSE:
            assert len(data) <= start + size, 'something followed the Close frame'
            return len(data) == start + size
        data = data[start + size:]
    return False
