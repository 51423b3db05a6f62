"""Targets: what an open WebSocket makes of bytes, in one piece and in others.

Nothing may be raised: what the peer does wrong is an event.
"""

from __future__ import absolute_import, division, print_function

import struct

from fuzz.model import BAD, Fault, Model, Unsure, check_close
from fuzz.reading import Input, check_same, cut
from lomond import errors, events, extensions
from lomond.extensions import PermessageDeflate
from lomond.protocol.close import decode_close, encode_close
from lomond.protocol.connection import CLIENT, SERVER
from lomond.protocol.extensions.deflate import DeflateCodec
from lomond.protocol.gathering import MAX_BUFFERED, MIN_BUFFERED
from lomond.protocol.limits import DEFAULT_LIMITS
from tests.protocol.examples import Checksum, Doubled
from tests.protocol.harness import CLOSE, Wire, bytewise, hand_in, parse_frames
from tests.support import make_frame

#: The events of an open connection, and those that nothing follows.
EVENTS = frozenset(['text', 'binary', 'ping', 'pong', 'closing', 'closed', 'protocol_error'])
LAST = frozenset(['closing', 'closed', 'protocol_error'])

#: What is kept of a frame that isn't data yet: a control frame without its last byte.
MAX_LEFTOVER = 2 + 4 + 125 - 1

# Longer ones aren't tried byte by byte as well.
_SHORT = 300


def choose_limits(value):
    """Return the default limits for 0, else others that messages of a few bytes run into."""
    if not value:
        return DEFAULT_LIMITS
    return DEFAULT_LIMITS._replace(
        frame=value % 16 or None, message=value // 16 or None, fragments=value % 4 + 1)


def check_story(happened, limits=DEFAULT_LIMITS):
    """Assert what is true of any story of an open connection."""
    names = [event[0] for event in happened]
    assert EVENTS.issuperset(names), names
    assert not LAST.intersection(names[:-1]), names
    for event in happened:
        if event[0] == 'protocol_error':
            _name, error, critical, close_code = event
            assert error and not critical
            assert close_code in (1002, 1007, 1009)
        elif event[0] in ('text', 'binary') and limits.message is not None:
            size = len(event[1].encode('utf-8') if event[0] == 'text' else event[1])
            assert size <= limits.message


def check_memory(connection, limits):
    """Assert that no more is kept than the limits allow."""
    held = connection.decoder.held
    assert held.leftover <= MAX_LEFTOVER
    assert held.buffer <= MAX_BUFFERED
    if connection.error is None:
        assert limits.message is None or held.payload <= limits.message
        assert held.pieces <= 1024 + held.payload // 1024


class Run(object):
    """A connection that is fed pieces: its events, its replies, its state."""

    def __init__(self, role, limits, deflate, has_closed):
        self._limits = limits
        self._deflates = deflate is not None
        self.happened = []
        self.wire = Wire(role, limits, deflate, random_bytes=lambda count: b'\0' * count)
        if has_closed:
            self.wire.connection.encode(CLOSE, b'')

    def receive(self, pieces):
        for piece in pieces:
            self.happened.extend(self.wire.receive(piece))
            check_memory(self.wire.connection, self._limits)
        check_story(self.happened, self._limits)
        return self

    @property
    def counts(self):
        """What was received, but for the bytes of what nobody reads any more."""
        received = self.wire.connection.stats.received
        return received.messages, received.payload_bytes

    @property
    def outcome(self):
        """What has to be the same however the bytes were cut.

        A compressed message may be wrong in several ways: too large, not
        deflated data, not UTF-8. Which is noticed first depends on the cuts.
        """
        connection = self.wire.connection
        happened, replies = self.happened, self.wire.sent
        if self._deflates and happened and happened[-1][0] == 'protocol_error' \
                and happened[-1][3] in (1007, 1009):
            happened = happened[:-1] + ['a bad message']
            replies = replies[:-1]
        return (happened, replies, self.counts, connection.state, connection.is_receiving,
                connection.is_close_complete, connection.error is not None)

    @property
    def summary(self):
        """The same without words: as a `Model` has it."""
        events, error = list(self.happened), self.wire.connection.error
        replies = [
            (first & 15, payload)
            for first, payload in parse_frames(b''.join(self.wire.sent), self.wire.role)]
        if error is not None:
            code = error.close_code
            assert events[-1][3] == code
            for index, (opcode, payload) in enumerate(replies):
                if opcode == CLOSE:
                    assert payload[:2] == struct.pack('!H', code)
                    replies[index] = CLOSE, self._rough(code)
            events[-1] = 'protocol_error', self._rough(code)
        return events, replies

    def _rough(self, code):
        return BAD if self._deflates and code in (1007, 1009) else code


def connection(data):
    """An open connection of either role. Options, sizes of pieces, then what the peer sends.

    Nothing may be raised.
    """
    read = Input(data)
    role = read.choose(CLIENT, SERVER)
    has_closed = read.choose(False, True)
    limits = choose_limits(read.byte())
    deflate = read.choose(None, {}, {'inflate_takeover': False})
    sizes = read.sizes()
    conversation = read.rest()

    def run(pieces):
        codec = None if deflate is None else DeflateCodec(**deflate)
        return Run(role, limits, codec, has_closed).receive(pieces)

    whole = run([conversation])
    check_same(run(cut(conversation, sizes)).outcome, whole.outcome)
    if len(conversation) <= _SHORT:
        check_same(run(bytewise(conversation)).outcome, whole.outcome)
    try:
        expected = Model(
            role == SERVER, limits, has_closed, deflate is not None, deflate == {},
        ).read(conversation)
    except Unsure:
        return
    check_same(whole.summary, (expected.events, expected.replies))


#: What a connection may have agreed on beside nothing.
_ORDERS = (
    (), (Checksum,), (Doubled,), (Checksum, Doubled), (Doubled, Checksum),
    (PermessageDeflate, Checksum), (Doubled, PermessageDeflate), (PermessageDeflate,))


def transforms(data):
    """A connection with extensions, and the same in parts, as bytes, and both. Options, bytes.

    Nothing may be raised. Messages are the same in parts, and however the bytes were cut.
    """
    read = Input(data)
    role = read.choose(CLIENT, SERVER)
    order = read.choose(*_ORDERS)
    limits = choose_limits(read.byte())._replace(fragments=None)
    sizes = read.sizes()
    conversation = read.rest()

    def run(pieces, message_parts, as_bytes):
        header, offered = extensions.offer(order)
        value, of_server = extensions.answer(header, order)
        wire = Wire(
            role, limits, message_parts=message_parts, text_class=events.text_class(None, as_bytes),
            extensions=extensions.accept(value, offered) if role == CLIENT else of_server)
        return _whole_messages(event for piece in pieces for event in wire.read(piece))

    whole = run([conversation], False, False)
    for message_parts, as_bytes in ((False, True), (True, False), (True, True)):
        for pieces in ([conversation], cut(conversation, sizes), bytewise(conversation)):
            check_same(run(pieces, message_parts, as_bytes), whole)


def _whole_messages(happened):
    """Return what the events of messages come to, the parts of each joined; and how it ended."""
    story, held = [], b''
    for event in happened:
        assert EVENTS.issuperset([event.name]), event
        assert not story or story[-1][0] not in LAST
        if event.name not in ('text', 'binary'):
            story.append((event.name, getattr(event, 'data', None)))
            continue
        content = event.text.encode('utf-8') if event.name == 'text' else event.data
        assert repr(event)
        assert content or event.frame_finished
        held += content
        if event.message_finished:
            story.append((event.name, held))
            held = b''
    return story


#: Sizes of payloads, and of pieces, around those that make a difference.
SIZES = (
    0, 1, 125, 126, 4096, 65535, 65536, MIN_BUFFERED - 1, MIN_BUFFERED, MIN_BUFFERED + 5,
    2 * MIN_BUFFERED, MAX_BUFFERED, MAX_BUFFERED + 1)

#: Of a length that no power of two is a multiple of: what is misplaced shows.
_NOISE = bytes(bytearray(range(251))) * (MAX_BUFFERED // 251 + 2)

_MAX_CONVERSATION = 4 * MAX_BUFFERED


def receive_buffer(data):
    """A client's connection with a receive buffer. A limit, whether it deflates, instructions.

    Nothing may be raised. The instructions: below 0x60, this number of bytes,
    which follow; below 0x80, bytes of a size; below 0xc0, a frame with an
    opcode and of a size; else a cut, after which the bytes come as such, or
    are put into the receive buffer.
    """
    read = Input(data)
    limits = DEFAULT_LIMITS._replace(message=read.choose(
        DEFAULT_LIMITS.message, MIN_BUFFERED + 4, MAX_BUFFERED))
    deflates = read.choose(False, True)
    pieces, current, size = [], [], 0
    as_bytes = False
    while not read.is_empty and size <= _MAX_CONVERSATION:
        op = read.byte()
        if op >= 0xc0:
            pieces.append((b''.join(current), as_bytes))
            current, as_bytes = [], bool(op & 1)
            continue
        if op < 0x60:
            made = read.take(op)
        else:
            made = _NOISE[:read.choose(*SIZES)]
            if op >= 0x80:
                made = make_frame(op & 15, made, fin=not op & 0x10)
        current.append(made)
        size += len(made)
    pieces.append((b''.join(current), as_bytes))

    def start():
        return Wire(limits=limits, deflate=DeflateCodec() if deflates else None)

    conversation = b''.join(piece for piece, _as_bytes in pieces)
    plain = start()
    expected = plain.receive(conversation)
    wire = start()
    wire.connection.decoder.offer_receive_buffer()
    happened = []
    for piece, as_bytes in pieces:
        if as_bytes:
            happened.extend(wire.receive(piece))
        else:
            happened.extend(hand_in(wire, piece))
        check_memory(wire.connection, limits)
    check_story(happened, limits)
    if deflates and happened and happened[-1][0] == 'protocol_error' \
            and happened[-1][3] in (1007, 1009):
        # See Run.outcome.
        assert expected[-1][3] in (1007, 1009)
        assert happened[:-1] == expected[:-1]
        return
    check_same(happened, expected)
    assert wire.state == plain.state
    if wire.connection.error is None:
        stats, others = (each.connection.stats.received for each in (wire, plain))
        assert stats.as_dict() == others.as_dict()
    wire.connection.decoder.free_memory()
    held = wire.connection.decoder.held
    assert held.pieces or held.buffer == 0      # freed, unless a message is in it


def close(data):
    """The payload of a Close frame. Documented: ProtocolError and its kinds."""
    try:
        expected = check_close(data)
    except Fault as fault:
        expected = fault.args[0]
    try:
        code, reason = decode_close(data)
    except errors.ProtocolError as error:
        assert error.close_code == expected
        return
    assert (code, reason.encode('utf-8')) == expected
    if data:
        assert decode_close(encode_close(code, reason)) == (
            code, reason.encode('utf-8')[:123].decode('utf-8', 'ignore'))


