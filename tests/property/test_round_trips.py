"""What is encoded is what is read: frames, masks, close payloads, streams, whole talks."""

from __future__ import absolute_import, division, print_function

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lomond import errors
from lomond._compat import Utf8Decoder, decode_utf8, indexable, join_text
from lomond.protocol import frame, mask
from lomond.protocol.close import decode_close, encode_close
from lomond.protocol.connection import CLIENT, SERVER, Connection
from lomond.protocol.extensions.deflate import DeflateCodec
from lomond.protocol.extensions.permessage_deflate import (
    NAME,
    DeflateOptions,
    accept_answer,
    answer_offers,
    offer,
)
from lomond.protocol.frame import FrameParser, encode_frame
from lomond.protocol.limits import DEFAULT_LIMITS
from lomond.status import is_valid_on_wire
from tests.property.strategies import cuts, keys, payloads, texts
from tests.protocol.harness import drive, story
from tests.support import make_frame, read_frame, xor

lengths = st.integers(0, 300) | st.sampled_from([65534, 65535, 65536, 65537])
rsv_bits = st.integers(0, 7).map(lambda bits: bits << 4)


class _Reader(object):
    """Bytes where a reader expects a socket."""

    def __init__(self, data):
        self.recv = io.BytesIO(data).read


@given(st.sampled_from([0, 1, 2]), lengths, st.booleans(), rsv_bits, st.none() | keys)
def test_encoded_frame_is_read_back(opcode, length, fin, rsv, key):
    payload = (b'0123456789abcdef' * (length // 16 + 1))[:length]
    data = encode_frame(opcode, payload, fin=fin, rsv=rsv, masking_key=key)
    assert data == make_frame(opcode, payload, fin=fin, rsv=rsv, key=key)
    first, read = read_frame(_Reader(data))
    assert first == opcode | (0x80 if fin else 0) | rsv
    assert read == payload
    parser = FrameParser(expects_mask=key is not None, limits=DEFAULT_LIMITS)
    parser.rsv = rsv
    header, start = parser.read_header(indexable(b'..' + data), 2)
    assert (header.opcode, header.fin, header.rsv, header.length, header.masking_key) == (
        opcode, fin, rsv, length, key)
    assert start + length == 2 + len(data)


@given(st.binary(max_size=3000), keys, st.integers(0, 7))
def test_all_masks_agree_with_bytes_masked_one_by_one(payload, key, skipped):
    expected = xor(payload[skipped:], key)
    for apply_mask in mask.WAYS:
        assert apply_mask(payload[skipped:], key) == expected
        assert apply_mask(memoryview(payload)[skipped:], key) == expected
        assert apply_mask(expected, key) == payload[skipped:]


@given(st.integers(0, 255), lengths, keys)
def test_all_ways_to_make_a_masked_frame_agree(first, length, key):
    payload = (b'\x00\x7f\x80\xff\x31' * (length // 5 + 1))[:length]
    expected = make_frame(first, payload, fin=False, key=key)
    for make in (frame.masked_frame, frame.masked_frame_by_header):
        assert make(first, payload, key) == expected
    if length < 126:
        assert frame.masked_small_frame(first, payload, key) == expected


@given(st.integers(-10, 70000), st.text(max_size=150))
def test_close_payload_is_read_back_or_refused(code, reason):
    try:
        payload = encode_close(code, reason)
    except ValueError:
        # A code that may not be sent, or (in some versions' st.text) a lone surrogate.
        assert not is_valid_on_wire(code) or any(u'\ud800' <= char <= u'\udfff' for char in reason)
        return
    assert len(payload) <= 125
    read_code, read_reason = decode_close(payload)
    assert read_code == code
    assert reason.startswith(read_reason)
    assert read_reason == reason or len(payload) > 125 - 4


@given(st.binary(max_size=125))
def test_close_payload_is_read_or_a_protocol_error(payload):
    try:
        code, reason = decode_close(payload)
    except errors.ProtocolError as error:
        assert error.close_code in (1002, 1007)
        return
    assert code == 1005 or is_valid_on_wire(code)
    assert payload[2:] == reason.encode('utf-8')


utf8_like = st.binary(max_size=12) | st.lists(st.sampled_from([
    b'a', b'\xc3', b'\xa9', b'\xe2', b'\x82', b'\xac', b'\xed', b'\x9f', b'\xa0', b'\xf0', b'\x90',
    b'\xf4', b'\x8f', b'\x80', b'\xbf', b'\xc0', b'\xff']), max_size=12).map(b''.join)


@settings(max_examples=150)
@given(st.data(), utf8_like)
def test_utf8_is_decoded_the_same_in_any_pieces(data, encoded):
    try:
        expected = decode_utf8(encoded)
    except UnicodeDecodeError:
        expected = None
    decoder = Utf8Decoder()
    try:
        pieces = [decoder.decode(piece) for piece in data.draw(cuts(encoded))]
        text = join_text(pieces + [decoder.decode(b'', True)])
    except UnicodeDecodeError:
        text = None
    assert text == expected


@settings(max_examples=150)
@given(utf8_like)
def test_utf8_fails_at_the_first_byte_that_nothing_can_make_right(encoded):
    decoder = Utf8Decoder()
    for end in range(1, len(encoded) + 1):
        try:
            decoder.decode(encoded[end - 1:end])
            failed = False
        except UnicodeDecodeError:
            failed = True
        assert failed is not _can_be_completed(encoded[:end])
        if failed:
            return


def _can_be_completed(encoded):
    """Tell if some continuation bytes make valid UTF-8 of this."""
    for rest in (b'', b'\x80', b'\xbf', b'\x80\x80', b'\xbf\xbf', b'\x80\x80\x80',
                 b'\xbf\xbf\xbf', b'\x90\x80\x80', b'\x8f\xbf\xbf', b'\xa0\x80', b'\x9f\xbf'):
        try:
            decode_utf8(encoded + rest)
            return True
        except UnicodeDecodeError:
            pass
    return False


bits = st.integers(8, 15)
options = st.builds(
    DeflateOptions, st.booleans(), st.booleans(), bits, bits, st.integers(-1, 9),
    st.integers(1, 9))

# Repetitive, so that there is something to refer back to.
messages = st.lists(
    st.sampled_from([b'abcdefgh' * 10, b'0123456789' * 30, b'\0' * 300]) | st.binary(max_size=60),
    max_size=8).map(b''.join)


@pytest.mark.usefixtures('deflate_library')
@given(st.data(), options, options, st.lists(messages, max_size=5))
def test_deflated_messages_inflate_in_any_pieces_whatever_was_agreed_on(
        data, client_options, server_options, contents):
    parameters, server = answer_offers(server_options, [(NAME, offer(client_options))])
    client = accept_answer(client_options, parameters)
    for sender, receiver in ((client, server), (server, client)):
        for content in contents:
            pieces = data.draw(cuts(sender.compress(content)))
            inflated = b''
            for i, piece in enumerate(pieces):
                inflated += receiver.decompress(
                    piece, len(content) - len(inflated), i == len(pieces) - 1)
            assert inflated == content


# -- two ends --

operations = st.lists(st.tuples(
    st.sampled_from([CLIENT, SERVER]),
    st.tuples(st.just(1), texts.map(lambda text: text.encode('utf-8')))
    | st.tuples(st.just(2), payloads)
    | st.tuples(st.sampled_from([9, 10]), st.binary(max_size=125)),
    st.booleans()), max_size=12)


class _End(object):
    """An end that notes what it sent and what it saw, and keeps its bytes for the other."""

    def __init__(self, role, deflate):
        self.outgoing = []
        self.sent = []
        self.seen = []
        self.connection = Connection(role)
        self.connection.accept(deflate)

    def send(self, opcode, payload, compress=False):
        self.outgoing.append(self.connection.encode(opcode, payload, compress))
        self.sent.append((opcode, payload))

    def receive(self, pieces):
        for piece in pieces:
            self.seen.extend(story(drive(self.connection, piece, self.send)))

    def take(self):
        data, self.outgoing = b''.join(self.outgoing), []
        return data


def _expected(sent):
    """What the other end sees of what one sent."""
    for opcode, payload in sent:
        if opcode == 1:
            yield ('text', payload.decode('utf-8'))
        elif opcode == 8:
            yield ('close', decode_close(payload)[0])
        else:
            yield ({2: 'binary', 9: 'ping', 10: 'pong'}[opcode], payload)


@given(st.data(), operations, st.booleans(), st.sampled_from([CLIENT, SERVER, None]))
def test_two_connections_back_to_back_tell_the_same_story(data, operations, deflates, closer):
    ends = {
        role: _End(role, DeflateCodec() if deflates else None) for role in (CLIENT, SERVER)}
    others = {CLIENT: SERVER, SERVER: CLIENT}

    def exchange():
        for role in (CLIENT, SERVER):
            ends[others[role]].receive(data.draw(cuts(ends[role].take())))

    for role, (opcode, payload), compress in operations:
        ends[role].send(opcode, payload, compress)
        if data.draw(st.booleans()):
            exchange()
    # Both close at once where there is no one closer.
    for role in (CLIENT, SERVER) if closer is None else (closer,):
        ends[role].send(8, b'\x03\xe8')
    for _round in range(3):
        exchange()

    for role in (CLIENT, SERVER):
        seen = [
            entry if entry[0] not in ('closing', 'closed') else ('close', entry[1])
            for entry in ends[role].seen]
        assert seen == list(_expected(ends[others[role]].sent))
        assert seen[-1] == ('close', 1000)
        connection = ends[role].connection
        assert connection.state == 'closed'
        assert connection.is_close_complete
        assert connection.error is None
