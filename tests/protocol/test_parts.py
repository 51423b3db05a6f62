"""Messages in parts, as they arrive: flags, characters, limits, memory; and texts as bytes."""

from __future__ import absolute_import, division, print_function

import json
import struct
import zlib

import pytest

from lomond import errors, events
from lomond.extensions import Extension, PermessageDeflate
from lomond.protocol.connection import CLIENT, SERVER
from lomond.protocol.extensions.deflate import PART, DeflateCodec
from lomond.protocol.limits import DEFAULT_LIMITS, message_limits
from tests.protocol.examples import Checksum, Doubled
from tests.protocol.harness import (
    BINARY,
    CONTINUATION,
    PING,
    ROLES,
    RSV1,
    TEXT,
    Wire,
    bytewise,
    raw_deflate,
)
from tests.protocol.test_extensions import agree

by_role = pytest.mark.parametrize('role', ROLES)

TEXT_OF_ALL_WIDTHS = u'a\xe9\u20ac\U0001f600' * 3


def read(wire, *pieces):
    """Return what happened as tuples: the name, what the part has, and its two flags."""
    happened = []
    for piece in pieces:
        for event in wire.read(piece):
            content = getattr(event, 'text', getattr(event, 'data', None))
            happened.append((event.name, content) + (
                (event.frame_finished, event.message_finished)
                if event.name in ('text', 'binary') else ()))
    return happened


def joined(happened, name):
    return type(happened[0][1])().join(part[1] for part in happened if part[0] == name)


@by_role
@pytest.mark.parametrize('opcode, name, content', [
    (TEXT, 'text', u'hello'), (BINARY, 'binary', b'hello')])
def test_a_message_that_is_there_at_once_is_one_event_of_the_usual_class(
        role, opcode, name, content):
    wire = Wire(role, message_parts=True)
    event, = wire.read(wire.frame(opcode, b'hello'))
    assert isinstance(event, {'text': events.Text, 'binary': events.Binary}[name])
    assert (event.name, event.frame_finished, event.message_finished) == (name, True, True)
    assert getattr(event, 'text', getattr(event, 'data', None)) == content


@by_role
def test_each_part_says_whether_its_frame_and_its_message_are_finished(role):
    wire = Wire(role, message_parts=True)
    first = wire.frame(BINARY, b'abcdef', fin=False)
    last = wire.frame(CONTINUATION, b'ghi')
    cut = len(first) - 4
    assert read(wire, first[:cut], first[cut:], last) == [
        ('binary', b'ab', False, False), ('binary', b'cdef', True, False),
        ('binary', b'ghi', True, True)]


@by_role
def test_a_part_of_text_is_never_cut_within_a_character(role):
    wire = Wire(role, message_parts=True)
    payload = TEXT_OF_ALL_WIDTHS.encode('utf-8')
    for cut in range(1, len(payload)):
        first, second = wire.frame(TEXT, payload[:cut], fin=False), wire.frame(0, payload[cut:])
        happened = read(wire, first, second)
        assert joined(happened, 'text') == TEXT_OF_ALL_WIDTHS
        assert [part[3] for part in happened][-1:] == [True]
        assert not any(part[3] for part in happened[:-1])
        assert all(part[1] for part in happened)
    happened = read(wire, *bytewise(wire.frame(TEXT, payload)))
    assert joined(happened, 'text') == TEXT_OF_ALL_WIDTHS
    assert len(happened) == len(TEXT_OF_ALL_WIDTHS)


@by_role
def test_the_last_part_of_a_frame_is_empty_if_its_last_bytes_are_none(role):
    """Whatever the cuts: a frame that has had parts has a last one."""
    wire = Wire(role, message_parts=True)
    first = wire.frame(TEXT, b'ab\xe2\x82', fin=False)
    assert read(wire, first[:-2], first[-2:], wire.frame(0, b'\xac')) == [
        ('text', u'ab', False, False), ('text', u'', True, False), ('text', u'\u20ac', True, True)]
    assert read(wire, first, wire.frame(0, b'\xac')) == [
        ('text', u'ab', True, False), ('text', u'\u20ac', True, True)]


@by_role
def test_a_fragment_that_ends_no_character_is_no_part(role):
    wire = Wire(role, message_parts=True)
    assert read(wire, wire.frame(TEXT, b'\xc3', fin=False)) == []
    assert read(wire, wire.frame(0, b'\xa9')) == [('text', u'\xe9', True, True)]


@by_role
def test_empty_fragments_are_no_parts_but_the_last_one_is(role):
    wire = Wire(role, message_parts=True)
    assert read(wire, wire.frame(BINARY, b'', fin=False), wire.frame(0, b'', fin=False)) == []
    assert read(wire, wire.frame(0, b'')) == [('binary', b'', True, True)]
    assert read(wire, wire.frame(TEXT, b'')) == [('text', u'', True, True)]


@by_role
@pytest.mark.parametrize('payload, valid', [
    (b'ab\xc3', u'ab'), (b'ab\xff', u''), (b'ab\xed\xa0\x80', u''), (b'\xf0\x9f', u'')])
def test_text_that_is_not_utf_8_closes_with_1007_at_the_first_wrong_byte(role, payload, valid):
    wire = Wire(role, message_parts=True)
    happened = list(wire.read(wire.frame(TEXT, payload, fin=False))) \
        + list(wire.read(wire.frame(0, b'')))
    assert (happened[-1].name, happened[-1].close_code) == ('protocol_error', 1007)
    assert u''.join(event.text for event in happened[:-1]) == valid
    assert wire.connection.stats.received.messages == 0


@by_role
def test_pings_come_between_the_parts(role):
    wire = Wire(role, message_parts=True)
    assert read(
        wire, wire.frame(TEXT, b'a', fin=False) + wire.frame(PING, b'p') + wire.frame(0, b'b')) == [
            ('text', u'a', True, False), ('ping', b'p'), ('text', u'b', True, True)]
    assert wire.replies == [(10, b'p')]


@by_role
def test_a_whole_message_after_parts_is_one_event(role):
    wire = Wire(role, message_parts=True)
    data = wire.frame(BINARY, b'ab')
    assert read(wire, data[:-1], data[-1:] + wire.frame(TEXT, b'c')) == [
        ('binary', b'a', False, False), ('binary', b'b', True, True), ('text', u'c', True, True)]


@by_role
def test_parts_are_counted_as_one_message(role):
    wire = Wire(role, message_parts=True)
    list(wire.read(wire.frame(BINARY, b'abc', fin=False)))
    received = wire.connection.stats.received
    assert (received.messages, received.payload_bytes) == (0, 0)
    list(wire.read(wire.frame(0, b'de')))
    assert (received.messages, received.payload_bytes) == (1, 5)


@by_role
def test_an_iterator_that_is_closed_between_parts_loses_none(role):
    wire = Wire(role, message_parts=True, deflate=DeflateCodec())
    payload = b'x' * (3 * PART)
    data = wire.frame(BINARY, raw_deflate(payload), rsv=RSV1) + wire.frame(TEXT, b'after')
    received = []
    while not received or received[-1].name != 'text':
        iterator = wire.read(data)
        data = b''
        received.append(next(iterator))
        iterator.close()
    assert b''.join(event.data for event in received[:-1]) == payload
    assert [event.message_finished for event in received[:-1]] == [False] * (
        len(received) - 2) + [True]


# -- by message --

@by_role
def test_a_function_decides_for_each_message_by_its_opcode_and_what_has_been_announced(role):
    asked = []

    def decide(opcode, size):
        asked.append((opcode, size))
        return opcode == BINARY

    wire = Wire(role, message_parts=decide)
    fragments = {opcode: (wire.frame(opcode, b'abc', fin=False), wire.frame(0, b'de'))
                 for opcode in (TEXT, BINARY)}
    assert read(wire, *fragments[BINARY]) == [
        ('binary', b'abc', True, False), ('binary', b'de', True, True)]
    assert read(wire, *fragments[TEXT]) == [('text', u'abcde', True, True)]
    assert asked == [(BINARY, 3), (TEXT, 3), (TEXT, 5)]


@by_role
@pytest.mark.parametrize('factories', [[], [PermessageDeflate], [Doubled, PermessageDeflate]])
@pytest.mark.parametrize('text_class', [events.Text, events.Utf8Text])
def test_a_message_goes_on_in_parts_once_it_is_too_large_to_be_kept(
        role, factories, text_class):
    """It was sent from an iterable: no frame of it says how large it becomes."""
    def is_large(opcode, size):
        return size > 20

    if factories:
        by_us, by_peer = agree(factories)
        sender = Wire(CLIENT if role == SERVER else SERVER, extensions=by_peer)
        wire = Wire(role, extensions=by_us, message_parts=is_large, text_class=text_class)
    else:
        sender = Wire(CLIENT if role == SERVER else SERVER)
        wire = Wire(role, message_parts=is_large, text_class=text_class)
    payload = (TEXT_OF_ALL_WIDTHS * 4).encode('utf-8')
    pieces = [payload[start:start + 5] for start in range(0, len(payload), 5)]
    for opcode, name, whole in [(BINARY, 'binary', payload),
                                (TEXT, 'text', payload.decode('utf-8'))]:
        happened = []
        for piece in pieces:
            happened += read_as_text(wire, sender.connection.encoder.encode_part(
                opcode, piece, False, compress=True))
        assert len(happened) > 3
        happened += read_as_text(wire, sender.connection.encoder.encode_part(
            opcode, b'', True, compress=True))
        assert joined(happened, name) == whole
        assert happened[0][2:] == (True, False)
        assert factories or len(happened[0][1].encode('utf-8') if opcode == TEXT
                                else happened[0][1]) in (19, 20)
        assert [part[3] for part in happened] == [False] * (len(happened) - 1) + [True]
        assert all(part[1] for part in happened[:-1])
        assert wire.connection.decoder.held.payload == 0
    assert wire.connection.stats.received.messages == 2


@by_role
@pytest.mark.parametrize('text_class', [events.Text, events.Utf8Text])
def test_half_a_character_that_was_kept_is_no_part(role, text_class):
    wire = Wire(role, message_parts=lambda opcode, size: size > 1, text_class=text_class)
    assert read_as_text(wire, wire.frame(TEXT, b'\xc3', fin=False)) == []
    assert read_as_text(wire, wire.frame(0, b'\xa9')) == [('text', u'\xe9', True, True)]


def read_as_text(wire, data):
    """As `read`, with the text of a text that came as bytes."""
    return [part if part[0] != 'text' or not isinstance(part[1], bytes)
            else (part[0], part[1].decode('utf-8')) + part[2:] for part in read(wire, data)]


@by_role
@pytest.mark.parametrize('fails, error', [
    (lambda opcode, size: 1 // 0, ZeroDivisionError),
    (lambda opcode, size: b'\xff'.decode('ascii'), UnicodeDecodeError)])
def test_what_the_function_raises_goes_through(role, fails, error):
    wire = Wire(role, message_parts=fails)
    with pytest.raises(error):
        list(wire.read(wire.frame(TEXT, b'a', fin=False)))
    assert (wire.state, wire.replies) == ('open', [])


@by_role
def test_a_protocol_error_of_the_function_fails_the_connection_as_one_of_an_extension(role):
    def refuse(opcode, size):
        raise errors.PayloadTooLarge('no text of {} bytes', size)

    wire = Wire(role, message_parts=refuse)
    assert wire.receive(wire.frame(TEXT, b'a', fin=False)) == [
        ('protocol_error', u'no text of 1 bytes', False, 1009)]
    assert wire.state == 'failing'


# -- limits and memory --

@by_role
def test_a_message_may_be_endless_where_the_limit_is_none(role):
    wire = Wire(role, limits=message_limits(None), message_parts=True)
    assert read(wire, wire.frame(BINARY, b'', fin=False)) == []
    piece = wire.frame(0, b'x' * 1000, fin=False)
    for _number in range(100):
        assert read(wire, piece * 20) == [('binary', b'x' * 1000, True, False)] * 20
        held = wire.connection.decoder.held
        assert (held.payload, held.pieces, held.leftover) == (0, 0, 0)


def test_a_frame_of_2_gib_needs_no_memory_of_its_size():
    wire = Wire(CLIENT, limits=message_limits(None), message_parts=True)
    assert read(wire, b'\x82\x7f' + struct.pack('!Q', 2 ** 31)) == []
    piece = b'x' * 65536
    left = 2 ** 31
    for _number in range(50):       # the rest is as much the same as these
        assert read(wire, piece) == [('binary', piece, False, False)]
        left -= len(piece)
        held = wire.connection.decoder.held
        assert (held.payload, held.pieces, held.leftover, held.buffer) == (0, 0, 0, 0)


@by_role
def test_more_fragments_than_the_limit_of_a_whole_message_are_fine_in_parts(role):
    wire = Wire(role, limits=DEFAULT_LIMITS._replace(fragments=3), message_parts=True)
    read(wire, wire.frame(BINARY, b'', fin=False))
    for _number in range(10):
        assert read(wire, wire.frame(0, b'x', fin=False)) == [('binary', b'x', True, False)]


@by_role
def test_max_message_size_holds_for_all_parts_together(role):
    wire = Wire(role, limits=message_limits(10), message_parts=True)
    assert read(wire, wire.frame(BINARY, b'x' * 6, fin=False)) == [
        ('binary', b'x' * 6, True, False)]
    event, = wire.read(wire.frame(0, b'x' * 5))
    assert (event.name, event.close_code) == ('protocol_error', 1009)


@by_role
@pytest.mark.parametrize('parts', [False, True])
def test_max_message_size_holds_for_what_all_compressed_fragments_inflate_to(role, parts):
    """Each alone fits, and half as much again as the limit doesn't."""
    by_us, by_peer = agree([PermessageDeflate])
    sender = Wire(CLIENT if role == SERVER else SERVER, extensions=by_peer)
    wire = Wire(role, limits=message_limits(100), extensions=by_us, message_parts=parts)
    happened = []
    for is_last in (False, True):
        happened += wire.read(sender.connection.encoder.encode_part(
            BINARY, b'x' * 75, is_last, compress=True))
    assert [len(event.data) for event in happened[:-1]] == [75] * parts
    assert (happened[-1].name, happened[-1].close_code) == ('protocol_error', 1009)


class Grown(Extension):
    """Makes ten bytes of each that is received."""

    name = u'x-grown'

    def frame_inbound_payload_data(self, data):
        return data * 10


@by_role
@pytest.mark.parametrize('options, make', [
    ({'deflate': DeflateCodec}, lambda size: (RSV1, raw_deflate(b'x' * size))),
    ({'extensions': lambda: [Grown()]}, lambda size: (0, b'x' * (size // 10)))],
    ids=['inflated', 'transformed'])
@pytest.mark.parametrize('parts', [False, True])
def test_max_message_size_holds_for_what_the_fragments_are_made_to(role, options, make, parts):
    for sizes, fits in (([60, 40], True), ([100], True), ([60, 50], False), ([110], False)):
        wire = Wire(role, limits=message_limits(100), message_parts=parts,
                    **{name: factory() for name, factory in options.items()})
        rsv, whole = make(sum(sizes))
        cut = len(whole) // len(sizes)
        frames = [wire.frame(BINARY, whole[:cut], fin=len(sizes) == 1, rsv=rsv)]
        if len(sizes) == 2:
            frames.append(wire.frame(CONTINUATION, whole[cut:]))
        happened = [event for frame in frames for event in wire.read(frame)]
        if fits:
            assert b''.join(event.data for event in happened) == b'x' * 100
            assert wire.connection.stats.received.payload_bytes == 100
        else:
            assert (happened[-1].name, happened[-1].close_code) == ('protocol_error', 1009)


@by_role
@pytest.mark.parametrize('factories', [None, [Checksum], [Doubled]], ids=[
    'alone', 'checksum', 'doubled'])
def test_64_kib_that_inflate_to_64_mib_come_in_slices(role, factories):
    deflated = raw_deflate(b'\0' * (64 * 1024 * 1024))
    assert len(deflated) < 70000
    if factories is None:
        wire = Wire(role, message_parts=True, deflate=DeflateCodec())
        data = wire.frame(BINARY, deflated, rsv=RSV1)
    else:
        of_client, of_server = agree([PermessageDeflate] + factories)
        wire = Wire(role, message_parts=True,
                    extensions=of_client if role == CLIENT else of_server)
        other = (of_server if role == CLIENT else of_client)[1]
        rsv, payload = other.frame_outbound(BINARY, RSV1, deflated, True)
        data = wire.frame(BINARY, payload, rsv=rsv)
    size, last = 0, None
    for event in wire.read(data):
        assert event.name == 'binary' and len(event.data) <= PART
        assert last is None or not (last.message_finished or last.frame_finished)
        size += len(event.data)
        last = event
    assert size == 64 * 1024 * 1024 and last.message_finished


@by_role
@pytest.mark.parametrize('order', [[Checksum], [Doubled, Checksum]])
def test_parts_pass_through_extensions(role, order):
    of_client, of_server = agree(order)
    wire = Wire(role, message_parts=True, extensions=of_client if role == CLIENT else of_server)
    sender = Wire(SERVER if role == CLIENT else CLIENT,
                  extensions=of_server if role == CLIENT else of_client)
    happened = read(wire, *bytewise(sender.connection.encode(TEXT, b'hello')))
    assert joined(happened, 'text') == u'hello'
    assert happened[-1][2:] == (True, True)


@by_role
@pytest.mark.parametrize('takeover', [False, True])
def test_compressed_fragments_in_parts_are_what_they_are_whole(role, takeover):
    whole = Wire(role, deflate=DeflateCodec(inflate_takeover=takeover))
    wire = Wire(role, message_parts=True, deflate=DeflateCodec(inflate_takeover=takeover))
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    for number in range(5):
        if not takeover:
            deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
        text = TEXT_OF_ALL_WIDTHS * (number + 1)
        data = deflater.compress(text.encode('utf-8')) + deflater.flush(zlib.Z_SYNC_FLUSH)
        data = data[:-4]
        for cut in (0, 1, len(data) // 2, len(data)):
            if takeover and cut:
                continue        # its window would differ
            frames = [wire.frame(TEXT, data[:cut], fin=False, rsv=RSV1), wire.frame(0, data[cut:])]
            assert whole.receive(*frames) == [('text', text)]
            happened = read(wire, *(piece for frame in frames for piece in bytewise(frame)))
            assert joined(happened, 'text') == text


# -- texts as bytes --

@by_role
def test_a_text_may_come_as_its_utf_8(role):
    text_class = events.text_class(None, True)
    wire = Wire(role, text_class=text_class)
    for payload in (b'', b'{"a": 1}', TEXT_OF_ALL_WIDTHS.encode('utf-8'), b'x' * 70000):
        for pieces in ([wire.frame(TEXT, payload)], bytewise(wire.frame(TEXT, payload)[:300])):
            if sum(map(len, pieces)) < len(payload):
                continue
            event, = (event for piece in pieces for event in wire.read(piece))
            assert isinstance(event, events.Utf8Text) and event.name == 'text'
            assert (type(event.data), event.data) == (bytes, payload)
            assert event.text == payload.decode('utf-8')
    first, second = wire.frame(TEXT, b'\xc3', fin=False), wire.frame(0, b'\xa9')
    assert [event.data for event in list(wire.read(first)) + list(wire.read(second))] == [
        b'\xc3\xa9']


@by_role
@pytest.mark.parametrize('payload', [b'\xff', b'\xed\xa0\x80', b'ab\xc3'])
@pytest.mark.parametrize('is_cut', [False, True])
def test_a_text_as_bytes_is_checked(role, payload, is_cut):
    wire = Wire(role, text_class=events.text_class(None, True))
    data = wire.frame(TEXT, payload)
    happened = [event for piece in (bytewise(data) if is_cut else [data])
                for event in wire.read(piece)]
    assert [(event.name, event.close_code) for event in happened] == [('protocol_error', 1007)]


def test_json_of_a_text_as_bytes_is_read_from_the_bytes():
    read_from = []

    def reader(data):
        read_from.append(data)
        return json.loads(data.decode('utf-8'))

    wire = Wire(CLIENT, text_class=events.text_class(reader, True))
    event, = wire.read(wire.frame(TEXT, b'[1, "\xc3\xa9"]'))
    assert event.json == [1, u'\xe9'] and event.json is event.json
    assert read_from == [b'[1, "\xc3\xa9"]']


@by_role
def test_parts_of_a_text_as_bytes_end_with_whole_characters(role):
    wire = Wire(role, text_class=events.text_class(None, True), message_parts=True)
    data = wire.frame(TEXT, TEXT_OF_ALL_WIDTHS.encode('utf-8'))
    parts = [event for piece in bytewise(data) for event in wire.read(piece)]
    assert b''.join(event.data for event in parts) == TEXT_OF_ALL_WIDTHS.encode('utf-8')
    assert u''.join(event.text for event in parts) == TEXT_OF_ALL_WIDTHS
    assert len(parts) == len(TEXT_OF_ALL_WIDTHS)
    assert isinstance(parts[0], events.Utf8TextPart)
    assert [event.message_finished for event in parts] == [False] * (len(parts) - 1) + [True]
