"""What the properties are tried on: frames right and wrong, cuts, deflate options."""

from __future__ import absolute_import, division, print_function

import zlib

from hypothesis import strategies as st

from lomond.protocol.connection import CLIENT, SERVER, Connection
from lomond.protocol.extensions.deflate import DeflateCodec
from lomond.protocol.limits import DEFAULT_LIMITS
from tests.protocol.harness import drive, story
from tests.support import make_frame

roles = st.sampled_from([CLIENT, SERVER])

keys = st.binary(min_size=4, max_size=4)

#: Small, so that messages run into them now and then.
SMALL_LIMITS = DEFAULT_LIMITS._replace(frame=150, message=180, fragments=4)

limits = st.sampled_from([DEFAULT_LIMITS, SMALL_LIMITS, DEFAULT_LIMITS._replace(frame=100)])

#: Text that a codec may trip over; no surrogates.
texts = st.text(max_size=60) | st.text(alphabet=u'a\xe9\u20ac\U0001f600\ud7ff\ue000', max_size=60)

payloads = (
    st.binary(max_size=40)
    | texts.map(lambda text: text.encode('utf-8'))
    | st.sampled_from([b'x' * 125, b'x' * 126, b'y' * 200, b'\x03\xe8bye', b'\x03\xe8', b'\x00'])
    | st.sampled_from([b'\xf2\x48\xcd\xc9\xc9\x07\x00', b'\xed\xa0\x80', b'caf\xc3']))

# Mostly right, so that wrong ones come at any point of a conversation.
_opcodes = st.sampled_from([1, 1, 1, 2, 2, 9, 10, 0, 0, 8, 3])
_rsvs = st.sampled_from([0, 0, 0, 0, 0, 0, 0x40, 0x40, 0x20])
_fins = st.sampled_from([True, True, False])


@st.composite
def frames(draw, role):
    """A frame for a connection of this role, right or wrong."""
    wants_key = role == SERVER
    if draw(st.integers(0, 19)) == 19:
        wants_key = not wants_key
    return make_frame(
        draw(_opcodes), draw(payloads), fin=draw(_fins), rsv=draw(_rsvs),
        key=draw(keys) if wants_key else None)


def conversations(role):
    """Bytes of some frames, the last of them perhaps cut off."""
    whole = st.lists(frames(role), max_size=8).map(b''.join)
    return whole | st.tuples(whole, st.binary(max_size=20)).map(b''.join)


@st.composite
def cuts(draw, data):
    """The data in pieces, empty ones too."""
    points = sorted(draw(st.lists(st.integers(0, len(data)), max_size=10)))
    return [data[a:b] for a, b in zip([0] + points, points + [len(data)])]


@st.composite
def deflated_messages(draw):
    """Payloads of compressed messages as a peer may send them, one after another.

    By one encoder that keeps its window or by many, ended streams and spoilt
    ones among them.
    """
    deflater = None
    made = []
    for _ in range(draw(st.integers(1, 6))):
        content = draw(st.binary(max_size=60)) * draw(st.sampled_from([1, 1, 2, 40]))
        if deflater is None:
            deflater = zlib.compressobj(draw(st.integers(0, 9)), zlib.DEFLATED, -15)
        kind = draw(st.sampled_from(
            ['flushed', 'flushed', 'flushed', 'new', 'ended', 'exactly', 'spoilt', 'given']))
        data = deflater.compress(content)
        if kind == 'ended':
            data += deflater.flush(zlib.Z_FINISH)
            data = data * draw(st.sampled_from([1, 2, 10])) + draw(st.sampled_from([b'\0', b'']))
            deflater = None
        else:
            data += deflater.flush(zlib.Z_SYNC_FLUSH)[:-4]
        if kind == 'new':
            deflater = None
        elif kind == 'exactly':     # the stream ends with the bytes that a receiver puts back
            data += b'\0\0\xff\xff\x01'
            deflater = None
        elif kind == 'spoilt' and data:
            spoilt = bytearray(data)
            spoilt[draw(st.integers(0, len(data) - 1))] ^= 1 << draw(st.integers(0, 7))
            data = bytes(spoilt)
        elif kind == 'given':
            data = draw(st.sampled_from([b'', b'\0', b'\x03\0', b'\x07', b'\x01', data[:-1]]))
            deflater = None
        made.append(data)
    return made


class End(object):
    """One end: what it saw, what it replied, how it stands.

    A compressed text may be wrong twice over: neither deflated data nor, as far
    as it inflates, UTF-8. The code is 1007 for both, but which one is named
    depends on how far zlib came, and so on the cuts. Then the words don't count.
    """

    def __init__(self, role, limits, deflates=False, closes=False):
        self.replies = []
        self.events = []
        self._deflates = deflates
        self.connection = Connection(
            role, limits, random_bytes=lambda count: b'\0' * count)
        self.connection.accept(DeflateCodec() if deflates else None)
        if closes:
            self.connection.encode(8, b'')

    def _reply(self, opcode, payload):
        frame = self.connection.encode(opcode, payload)
        if self._deflates and opcode == 8 and payload[:2] == b'\x03\xef':
            frame = 'Close with 1007'
        self.replies.append(frame)

    def read(self, data):
        return drive(self.connection, data, self._reply)

    def receive(self, pieces):
        for piece in pieces:
            self.events.extend(
                event if not self._is_ambiguous(event)
                else event[:1] + ('text or compressed data',) + event[2:]
                for event in story(self.read(piece)))
        return self

    def _is_ambiguous(self, event):
        return self._deflates and event[0] == 'protocol_error' and event[3] == 1007

    @property
    def outcome(self):
        connection = self.connection
        return (
            self.events, self.replies, connection.state, connection.is_receiving,
            connection.is_close_complete, connection.error is not None)
