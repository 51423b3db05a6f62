"""A Connection under test, and the peer's side of the wire built by hand."""

from __future__ import absolute_import, division, print_function

import struct
import sys
import threading
import zlib
from collections import Counter
from contextlib import closing

from lomond.protocol.connection import CLIENT, SERVER, Connection
from lomond.protocol.limits import DEFAULT_LIMITS
from lomond.protocol.state import State
from tests.support import make_close, make_frame, xor

ROLES = (CLIENT, SERVER)

KEY = b'\x37\xfa\x21\x3d'

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

RSV1, RSV2, RSV3 = 0x40, 0x20, 0x10


def drive(connection, data, reply):
    """Yield the events in bytes as a driver does: `reply` gets what the connection has to send."""
    with closing(connection.receive(data)) as received:
        for event in received:
            _attend(connection, reply)
            yield event
    _attend(connection, reply)


def _attend(connection, reply):
    if connection.decoder.news:
        del connection.decoder.news[:]
        pending = connection.decoder.take_pending()
        if pending is not None:
            reply(*pending)


def connection_in(state, role=CLIENT):
    """Return a connection that was led to a state; in 'failing' its Close is still to be sent."""
    connection = Connection(role)
    key = KEY if role == SERVER else None
    if state == 'rejected':
        connection.reject()
    elif state == 'disconnected':
        connection.disconnect()
    elif state != State.CONNECTING:
        connection.accept()
        if state == State.FAILING:
            list(connection.receive(make_frame(3, key=key)))
        if state in (State.CLOSING, State.CLOSED):
            connection.encode(CLOSE, b'')
        if state in (State.PEER_CLOSING, State.CLOSED):
            next(connection.receive(make_close(1000, key=key)))
    return connection


class SteppingLock(object):
    """A connection's lock, before whose next use something may happen."""

    def __init__(self):
        self._lock = threading.Lock()
        self._step = None

    def before_next(self, step):
        self._step = step

    def __call__(self):
        return self

    def __enter__(self):
        step, self._step = self._step, None
        if step is not None:
            step()
        self._lock.acquire()

    def __exit__(self, *_exc_info):
        self._lock.release()


class Wire(object):
    """An open connection of one role; `sent` is what it replied, as frames."""

    def __init__(self, role=CLIENT, limits=DEFAULT_LIMITS, deflate=None, extensions=(), **options):
        self.role = role
        #: The key with which the peer masks: clients do, servers don't.
        self.key = KEY if role == SERVER else None
        self.sent = []
        #: A list to take the replies that can't be sent yet, or None: then they are sent.
        self.held_up = None
        self.connection = Connection(role, limits, **options)
        self.connection.accept(deflate, extensions)

    def _reply(self, opcode, payload):
        if self.held_up is None:
            self.sent.append(self.connection.encode(opcode, payload))
        else:
            self.held_up.append((opcode, payload))

    @property
    def state(self):
        return self.connection.state

    def frame(self, opcode, payload=b'', fin=True, rsv=0):
        """Build a frame as the peer of this role must send it, or a wrong one."""
        return make_frame(opcode, payload, fin=fin, rsv=rsv, key=self.key)

    def close_frame(self, code, reason=b''):
        return self.frame(CLOSE, struct.pack('!H', code) + reason)

    def receive(self, *pieces):
        """Feed pieces of bytes; return what happened, as tuples."""
        return story([event for piece in pieces for event in self.read(piece)])

    def read(self, data):
        """Yield the events in bytes, and send the replies."""
        return drive(self.connection, data, self._reply)

    def receive_frame(self, *args, **kwargs):
        return self.receive(self.frame(*args, **kwargs))

    @property
    def replies(self):
        """What the connection replied: (opcode, payload) each, all well-formed."""
        return [
            (first & 0x0f, payload)
            for first, payload in parse_frames(b''.join(self.sent), self.role)]


def story(events):
    """Turn events into tuples that compare: the name, then the fields but for the time."""
    return [
        (event.name,) + tuple(getattr(event, field) for field in event.__match_args__)
        for event in events]


def counted(traffic):
    """Return the numbers of one way of a connection's `stats`."""
    return traffic.messages, traffic.payload_bytes, traffic.wire_bytes


def parse_frames(data, role):
    """Take apart what one role sent into (first byte, payload unmasked)."""
    frames = []
    pos = 0
    data = bytearray(data)
    while pos < len(data):
        first, second = data[pos:pos + 2]
        assert bool(second & 0x80) == (role == CLIENT), 'masked if and only if a client sent it'
        pos += 2
        length = second & 0x7f
        if length == 126:
            length, = struct.unpack('!H', bytes(data[pos:pos + 2]))
            pos += 2
        elif length == 127:
            length, = struct.unpack('!Q', bytes(data[pos:pos + 8]))
            pos += 8
        key = b'\0\0\0\0'
        if second & 0x80:
            key = bytes(data[pos:pos + 4])
            pos += 4
        assert pos + length <= len(data), 'a frame is cut off'
        frames.append((first, xor(bytes(data[pos:pos + length]), key)))
        pos += length
    return frames


def fault(code, wire):
    """Assert that the connection sent a Close frame for a fault; return the words."""
    (opcode, payload), = wire.replies
    assert opcode == CLOSE
    sent_code, = struct.unpack('!H', payload[:2])
    assert sent_code == code
    return payload[2:].decode('utf-8')


def assert_fails(code, wire, *pieces):
    """Assert that these bytes end in one ProtocolError, with the code on the wire.

    Returns the events before it.
    """
    happened = wire.receive(*pieces)
    assert happened[-1][0] == 'protocol_error', happened
    _name, error, critical, close_code = happened[-1]
    assert close_code == code
    assert not critical
    assert fault(code, wire) == error
    assert wire.connection.error.close_code == code
    assert not wire.connection.is_receiving
    assert not wire.connection.is_close_complete
    # Nothing that follows counts (RFC 6455 7.1.7).
    assert wire.receive(wire.frame(TEXT, b'late'), wire.close_frame(1000)) == []
    return happened[:-1]


def bytewise(data):
    """Return the bytes one by one."""
    return [data[i:i + 1] for i in range(len(data))]


def hand_in(wire, piece):
    """Hand in bytes as a driver does that receives into the receive buffer; return the story."""
    happened = []
    while piece:
        buffer = wire.connection.decoder.receive_buffer
        count = len(piece) if buffer is None else min(len(buffer), len(piece))
        data = piece[:count]
        if buffer is not None:
            buffer[:count] = data
            data = buffer[:count]
        happened.extend(story(wire.read(data)))
        piece = piece[count:]
    return happened


def calls(function, *args):
    """Call a function; return how often each Python function was called in it, by name."""
    names = []

    def profile(frame, event, _what):
        if event == 'call':
            names.append(frame.f_code.co_name)

    sys.setprofile(profile)
    try:
        function(*args)
    finally:
        sys.setprofile(None)
    return Counter(names)


def raw_deflate(payload, wbits=15, level=9):
    """Deflate a message as RFC 7692 7.2.1 says, with a compressor of its own."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -wbits)
    data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert data.endswith(b'\x00\x00\xff\xff')
    return data[:-4]
