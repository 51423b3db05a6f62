"""permessage-deflate by itself: options, negotiation, deflating, bounded inflating."""

from __future__ import absolute_import, division, print_function

import itertools
import subprocess
import sys
import zlib

import pytest

from lomond._compat import PY2
from lomond.errors import CompressionParameterError, InvalidPayload, PayloadTooLarge
from lomond.protocol.extensions import permessage_deflate
from lomond.protocol.extensions.grammar import format_extension, parse_extensions
from lomond.protocol.extensions.permessage_deflate import (
    NAME,
    DeflateOptions,
    PermessageDeflate,
    accept_answer,
    answer_offers,
    offer,
)

BOTH_LIBRARIES = pytest.mark.usefixtures('deflate_library')

BITS = range(8, 16)

# Repeats itself far back, and takes more room than any window.
MESSAGE = b''.join(
    b'{"id": %d, "price": "%d.%d"}' % (i, i * 7919 % 1000, i % 97) if not PY2
    else '{"id": %d, "price": "%d.%d"}' % (i, i * 7919 % 1000, i % 97)
    for i in range(2000))


def _parameters(text):
    """Parse the parameters of an offer or answer as they would stand in the header."""
    (_name, parameters), = parse_extensions(NAME + (u'; ' + text if text else u''))
    return parameters


def _text(parameters):
    return format_extension(NAME, parameters)[len(NAME):].lstrip('; ')


# -- options --

@pytest.mark.parametrize('name, good, bad', [
    ('server_max_window_bits', (8, 15), (7, 16, '15', None, 15.0)),
    ('client_max_window_bits', (8, 15), (7, 16, '15', None, 15.0)),
    ('level', (-1, 0, 9), (-2, 10, '6', None)),
    ('mem_level', (1, 9), (0, 10, '8', None)),
])
def test_options_are_checked(name, good, bad):
    for value in good:
        assert getattr(DeflateOptions(**{name: value}), name) == value
    for value in bad:
        with pytest.raises(ValueError) as caught:
            DeflateOptions(**{name: value})
        assert name in str(caught.value)


def test_by_default_windows_are_largest_and_kept_and_the_effort_is_zlibs():
    options = DeflateOptions()
    assert not options.server_no_context_takeover
    assert not options.client_no_context_takeover
    assert (options.server_max_window_bits, options.client_max_window_bits) == (15, 15)
    assert (options.level, options.mem_level) == (zlib.Z_DEFAULT_COMPRESSION, 8)
    codec = PermessageDeflate()
    assert (codec.deflate_bits, codec.inflate_bits) == (15, 15)
    assert codec.deflate_takeover
    assert codec.inflate_takeover
    assert (codec._level, codec._mem_level) == (zlib.Z_DEFAULT_COMPRESSION, 8)


# -- the client's offer and the server's answer to it --

@pytest.mark.parametrize('options, expected', [
    ({}, 'client_max_window_bits'),
    ({'client_max_window_bits': 10}, 'client_max_window_bits=10'),
    ({'client_max_window_bits': 14}, 'client_max_window_bits=14'),
    ({'server_max_window_bits': 10}, 'server_max_window_bits=10; client_max_window_bits'),
    ({'server_max_window_bits': 14}, 'server_max_window_bits=14; client_max_window_bits'),
    ({'server_no_context_takeover': True}, 'server_no_context_takeover; client_max_window_bits'),
    ({'client_no_context_takeover': True}, 'client_no_context_takeover; client_max_window_bits'),
])
def test_client_offers_what_its_options_say(options, expected):
    assert _text(offer(DeflateOptions(**options))) == expected


@pytest.mark.parametrize('options, answer, deflate, inflate', [
    # (window bits, context takeover) of what we send and of what we receive
    ({}, '', (15, True), (15, True)),
    ({}, 'client_max_window_bits=10', (10, True), (15, True)),
    ({}, 'client_max_window_bits="10"', (10, True), (15, True)),
    ({}, 'client_max_window_bits=15', (15, True), (15, True)),
    # zlib deflates with no window of 8 bits: 9 stays within it.
    ({}, 'client_max_window_bits=8', (9, True), (15, True)),
    ({}, 'server_max_window_bits=8', (15, True), (8, True)),
    ({}, 'server_max_window_bits=15', (15, True), (15, True)),
    ({}, 'server_no_context_takeover', (15, True), (15, False)),
    ({}, 'client_no_context_takeover', (15, False), (15, True)),
    ({'client_no_context_takeover': True}, '', (15, False), (15, True)),
    ({'server_no_context_takeover': True}, 'server_no_context_takeover', (15, True), (15, False)),
    ({'client_max_window_bits': 12}, '', (12, True), (15, True)),
    ({'client_max_window_bits': 12}, 'client_max_window_bits=11', (11, True), (15, True)),
    ({'client_max_window_bits': 12}, 'client_max_window_bits=12', (12, True), (15, True)),
    ({'server_max_window_bits': 12}, 'server_max_window_bits=12', (15, True), (12, True)),
    ({'server_max_window_bits': 12}, 'server_max_window_bits=9', (15, True), (9, True)),
])
def test_client_takes_an_answer_that_its_offer_allows(options, answer, deflate, inflate):
    codec = accept_answer(DeflateOptions(**options), _parameters(answer))
    assert (codec.deflate_bits, codec.deflate_takeover) == deflate
    assert (codec.inflate_bits, codec.inflate_takeover) == inflate


@pytest.mark.parametrize('options, answer', [
    ({}, 'unknown'),
    ({}, 'unknown=1'),
    ({}, 'Server_No_Context_Takeover=1'),
    ({}, 'server_no_context_takeover=1'),
    ({}, 'client_no_context_takeover=true'),
    ({}, 'server_no_context_takeover; server_no_context_takeover'),
    ({}, 'server_max_window_bits=10; server_max_window_bits=10'),
    ({}, 'client_max_window_bits'),
    ({}, 'server_max_window_bits'),
    ({}, 'server_max_window_bits=7'),
    ({}, 'server_max_window_bits=16'),
    ({}, 'server_max_window_bits=08'),
    ({}, 'server_max_window_bits=10.0'),
    ({}, 'server_max_window_bits=1e1'),
    ({}, 'server_max_window_bits=0xA'),
    ({}, 'client_max_window_bits=7'),
    ({}, 'client_max_window_bits=16'),
    ({}, 'client_max_window_bits=+9'),
    # asked for, and left out or exceeded
    ({'server_no_context_takeover': True}, ''),
    ({'server_max_window_bits': 12}, ''),
    ({'server_max_window_bits': 12}, 'server_max_window_bits=13'),
    # RFC 7692 7.1.2.2: equal to or smaller than what was offered
    ({'client_max_window_bits': 12}, 'client_max_window_bits=13'),
])
def test_client_refuses_an_answer_that_its_offer_does_not_allow(options, answer):
    with pytest.raises(CompressionParameterError):
        accept_answer(DeflateOptions(**options), _parameters(answer))


@pytest.mark.parametrize('options, offers, expected', [
    ({}, '', ''),
    ({}, 'client_max_window_bits', ''),
    ({}, 'client_max_window_bits=10', 'client_max_window_bits=10'),
    ({}, 'server_max_window_bits=10', 'server_max_window_bits=10'),
    ({}, 'server_max_window_bits=15', 'server_max_window_bits=15'),
    ({}, 'server_no_context_takeover', 'server_no_context_takeover'),
    ({}, 'client_no_context_takeover', 'client_no_context_takeover'),
    ({'server_no_context_takeover': True}, '', 'server_no_context_takeover'),
    ({'client_no_context_takeover': True}, '', 'client_no_context_takeover'),
    ({'server_max_window_bits': 9}, '', 'server_max_window_bits=9'),
    ({'server_max_window_bits': 14}, '', 'server_max_window_bits=14'),
    ({'client_max_window_bits': 14}, 'client_max_window_bits', 'client_max_window_bits=14'),
    ({'server_max_window_bits': 9}, 'server_max_window_bits=8', 'server_max_window_bits=8'),
    ({'server_max_window_bits': 9}, 'server_max_window_bits=12', 'server_max_window_bits=9'),
    ({'client_max_window_bits': 9}, 'client_max_window_bits', 'client_max_window_bits=9'),
    ({'client_max_window_bits': 9}, 'client_max_window_bits=8', 'client_max_window_bits=8'),
    ({'client_max_window_bits': 9}, 'client_max_window_bits=12', 'client_max_window_bits=9'),
    # RFC 7692 7.1.2.2: nothing to answer to a client that didn't name it
    ({'client_max_window_bits': 9}, '', ''),
])
def test_server_answers_what_its_options_and_the_offer_allow(options, offers, expected):
    answer, codec = answer_offers(
        DeflateOptions(**options), [(NAME, _parameters(offers))])
    assert _text(answer) == expected
    said = dict(answer)
    assert codec.inflate_bits == int(said.get(u'client_max_window_bits', 15))
    assert codec.deflate_bits == max(9, int(said.get(u'server_max_window_bits', 15)))
    assert codec.deflate_takeover is (u'server_no_context_takeover' not in said)
    assert codec.inflate_takeover is (u'client_no_context_takeover' not in said)


@pytest.mark.parametrize('wrong', [
    'unknown', 'server_max_window_bits', 'server_max_window_bits=7', 'server_max_window_bits=16',
    'client_max_window_bits=7', 'client_max_window_bits=010', 'server_no_context_takeover=1',
    'client_no_context_takeover; client_no_context_takeover',
    'client_max_window_bits; client_max_window_bits=10'])
def test_server_declines_a_wrong_offer_and_looks_at_the_next(wrong):
    options = DeflateOptions()
    assert answer_offers(options, [(NAME, _parameters(wrong))]) is None
    answer, _codec = answer_offers(options, [
        (u'x-unknown', []), (NAME, _parameters(wrong)),
        (NAME, _parameters('client_max_window_bits=11')), (NAME, [])])
    assert _text(answer) == 'client_max_window_bits=11'


def test_server_answers_nothing_where_nothing_it_knows_is_offered():
    assert answer_offers(DeflateOptions(), []) is None
    assert answer_offers(DeflateOptions(), [(u'permessage-bzip2', [])]) is None


@BOTH_LIBRARIES
@pytest.mark.parametrize('flags', list(itertools.product([False, True], repeat=4)))
@pytest.mark.parametrize('bits', [(8, 15, 15, 8), (15, 8, 9, 15), (12, 12, 10, 11)])
def test_both_sides_agree_on_what_was_negotiated(flags, bits):
    client_options = DeflateOptions(flags[0], flags[1], bits[0], bits[1])
    server_options = DeflateOptions(flags[2], flags[3], bits[2], bits[3])
    answer, server = answer_offers(server_options, [(NAME, offer(client_options))])
    client = accept_answer(client_options, answer)
    assert client.inflate_bits == min(bits[0], bits[2])
    assert server.inflate_bits == min(bits[1], bits[3])
    assert server.deflate_bits <= max(9, client.inflate_bits)
    assert client.deflate_bits <= max(9, server.inflate_bits)
    assert client.inflate_takeover or not server.deflate_takeover
    assert server.inflate_takeover or not client.deflate_takeover
    for sender, receiver in ((client, server), (server, client)):
        for _again in range(2):
            assert receiver.decompress(sender.compress(MESSAGE), None, True) == MESSAGE


# -- deflating and inflating --

@BOTH_LIBRARIES
@pytest.mark.parametrize('takeover', [True, False])
@pytest.mark.parametrize('bits', BITS)
def test_what_is_deflated_inflates_within_the_window(bits, takeover):
    sender = PermessageDeflate(deflate_bits=bits, deflate_takeover=takeover)
    receiver = PermessageDeflate(inflate_bits=bits, inflate_takeover=takeover)
    for message in (MESSAGE, b'', b'x', MESSAGE[:100], MESSAGE, b'\0' * 70000):
        deflated = sender.compress(message)
        assert deflated
        assert receiver.decompress(deflated, len(message), True) == message


@BOTH_LIBRARIES
def test_window_is_kept_between_messages_or_forgotten():
    keeping = PermessageDeflate()
    forgetting = PermessageDeflate(deflate_takeover=False)
    first, again = keeping.compress(MESSAGE[:500]), keeping.compress(MESSAGE[:500])
    assert len(again) < len(first) // 4
    assert forgetting.compress(MESSAGE[:500]) == forgetting.compress(MESSAGE[:500])


@BOTH_LIBRARIES
def test_receiver_that_forgets_refuses_what_refers_back():
    keeping = PermessageDeflate()
    forgetting = PermessageDeflate(inflate_takeover=False)
    forgetting.decompress(keeping.compress(MESSAGE[:500]), None, True)
    with pytest.raises(InvalidPayload):
        forgetting.decompress(keeping.compress(MESSAGE[:500]), None, True)


@BOTH_LIBRARIES
def test_window_larger_than_agreed_on_is_refused():
    noise = bytearray([1])
    while len(noise) < 600:
        noise.append((noise[-1] * 37 + len(noise) // 7) % 256)
    sender = PermessageDeflate()
    receiver = PermessageDeflate(inflate_bits=8)
    assert receiver.decompress(sender.compress(bytes(noise)), None, True) == noise
    # The same again is a reference 600 bytes back.
    with pytest.raises(InvalidPayload) as caught:
        receiver.decompress(sender.compress(bytes(noise)), None, True)
    assert caught.value.close_code == 1007


@BOTH_LIBRARIES
@pytest.mark.parametrize('limit, size, fits', [
    (0, 0, True), (0, 1, False), (1, 1, True), (100, 100, True), (100, 101, False),
    (100, 10 ** 6, False), (None, 10 ** 6, True), (sys.maxsize, 100, True),
    (2 ** 31 - 1, 100, True), (2 ** 31, 100, True), (2 ** 80, 100, True)])
def test_inflating_stops_at_the_limit(limit, size, fits):
    data = b'\0' * size
    deflated = PermessageDeflate().compress(data)
    if fits:
        assert PermessageDeflate().decompress(deflated, limit, True) == data
    else:
        with pytest.raises(PayloadTooLarge) as caught:
            PermessageDeflate().decompress(deflated, limit, True)
        assert caught.value.close_code == 1009


@BOTH_LIBRARIES
@pytest.mark.parametrize('limit', [None, 2 * permessage_deflate._SLICE + 7])
def test_large_message_is_inflated_slice_by_slice(limit):
    size = 2 * permessage_deflate._SLICE + 7
    deflated = PermessageDeflate().compress(b'\0' * size)
    receiver = PermessageDeflate()
    inflated = receiver.decompress(deflated, limit, True)
    assert len(inflated) == size
    assert not inflated.strip(b'\0')
    # The inflater stands where it should for the next message.
    assert receiver.decompress(b'\xf2\x48\xcd\xc9\xc9\x07\x00', limit, True) == b'Hello'


@BOTH_LIBRARIES
def test_large_message_over_the_limit_is_refused_in_a_later_slice():
    size = permessage_deflate._SLICE + 100
    deflated = PermessageDeflate().compress(b'\0' * size)
    with pytest.raises(PayloadTooLarge):
        PermessageDeflate().decompress(deflated, size - 1, True)


@BOTH_LIBRARIES
@pytest.mark.parametrize('data', [
    b'\x07', b'\xff\xff\xff\xff', b'not deflated', b'\x00\x05\x00\x00\x00Hello'])
def test_what_does_not_inflate_is_refused(data):
    with pytest.raises(InvalidPayload) as caught:
        PermessageDeflate().decompress(data, None, True)
    assert caught.value.close_code == 1007


# -- RFC 7692 7.2.3 --

HELLO = b'\xf2\x48\xcd\xc9\xc9\x07\x00'
HELLO_AGAIN = b'\xf2\x00\x11\x00\x00'
HELLO_FINAL = b'\xf3\x48\xcd\xc9\xc9\x07\x00\x00'


@BOTH_LIBRARIES
@pytest.mark.parametrize('data', [
    HELLO,
    b'\x00\x05\x00\xfa\xffHello\x00',                                   # stored
    HELLO_FINAL,                                                        # BFINAL
    b'\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00',            # two blocks
], ids=['one-block', 'stored', 'bfinal', 'two-blocks'])
@pytest.mark.parametrize('takeover', [True, False])
def test_rfc_7692_examples_inflate_in_any_pieces(data, takeover):
    for split in range(len(data) + 1):
        receiver = PermessageDeflate(inflate_takeover=takeover)
        for _again in range(3):
            text = receiver.decompress(data[:split], 100, False)
            text += receiver.decompress(data[split:], 100, True)
            assert text == b'Hello'


@BOTH_LIBRARIES
def test_rfc_7692_example_of_the_shared_window():
    receiver = PermessageDeflate()
    assert receiver.decompress(HELLO, None, True) == b'Hello'
    assert receiver.decompress(HELLO_AGAIN, None, True) == b'Hello'
    sender = PermessageDeflate()
    assert sender.compress(b'Hello') == HELLO
    assert sender.compress(b'Hello') == HELLO_AGAIN


@BOTH_LIBRARIES
def test_rfc_7692_example_of_the_empty_message():
    assert PermessageDeflate().compress(b'') == b'\x00'
    assert PermessageDeflate().decompress(b'\x00', 0, True) == b''


@BOTH_LIBRARIES
def test_stream_that_ends_within_a_message_goes_on_in_the_next_block():
    """A sender that has no sync flush ends a deflate stream with each write (7.2.3.4)."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    final = compressor.compress(b'first') + compressor.flush(zlib.Z_FINISH)
    receiver = PermessageDeflate()
    assert receiver.decompress(final + HELLO, 100, True) == b'firstHello'
    assert receiver.decompress(HELLO_AGAIN, 100, True) == b'Hello'


@BOTH_LIBRARIES
def test_stream_that_ends_again_and_again_is_refused():
    empty_stream = b'\x03\x00'
    message = empty_stream * permessage_deflate._MAX_STREAM_ENDS + b'\x00'
    receiver = PermessageDeflate()
    for _again in range(3):
        assert receiver.decompress(message, 100, True) == b''
    with pytest.raises(InvalidPayload):
        receiver.decompress(empty_stream + message, 100, True)
    with pytest.raises(InvalidPayload):
        PermessageDeflate().decompress(empty_stream + message, 100, True)


@BOTH_LIBRARIES
def test_whole_messages_that_end_their_streams_are_counted_one_by_one():
    message = b'\x03\x00' * permessage_deflate._MAX_STREAM_ENDS + b'\x00'
    receiver = PermessageDeflate()
    assert receiver.decompress(HELLO, 100, True) == b'Hello'
    for _again in range(3):
        assert receiver.decompress_whole(message, 100) == b''
    with pytest.raises(InvalidPayload):
        receiver.decompress_whole(b'\x03\x00' + message, 100)


@BOTH_LIBRARIES
def test_stream_ends_count_toward_the_limit():
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = compressor.compress(b'x' * 60) + compressor.flush(zlib.Z_FINISH)
    assert PermessageDeflate().decompress(stream + stream + b'\x00', 120, True) == b'x' * 120
    with pytest.raises(PayloadTooLarge):
        PermessageDeflate().decompress(stream + stream + b'\x00', 119, True)


# -- peers that end the stream of each message, with the 00 of RFC 7692 7.2.3.4 or without --

def finished(library, message, bits=15, flush_first=False):
    """Deflate a message into a stream of its own, and end it."""
    # None of the libraries has a raw window of 8 bits to deflate with.
    compressor = library.compressobj(9, zlib.DEFLATED, -max(bits, 9))
    data = compressor.compress(message)
    if flush_first:
        data += compressor.flush(zlib.Z_SYNC_FLUSH)
    return data + compressor.flush(zlib.Z_FINISH)


def inflate_at(receiver, data, cut, limit):
    """Inflate a message in two pieces."""
    return receiver.decompress(data[:cut], limit, False) \
        + receiver.decompress(data[cut:], limit, True)


SHORT = [b'one', b'two two two', b'', b'\0\0\xff\xff', b'x' * 300, b'one']


@pytest.mark.parametrize('bits', BITS)
@pytest.mark.parametrize('takeover', [True, False])
@pytest.mark.parametrize('behind', [b'', b'\x00'], ids=['nothing', '00'])
@pytest.mark.parametrize('flush_first', [False, True])
def test_streams_that_end_with_each_message_inflate(
        deflate_library, bits, takeover, behind, flush_first):
    messages = SHORT + [MESSAGE[:200], MESSAGE]
    receiver = PermessageDeflate(inflate_bits=bits, inflate_takeover=takeover)
    for message in messages:
        data = finished(deflate_library, message, bits, flush_first) + behind
        assert receiver.decompress(data, len(message), True) == message
        assert receiver.decompress_whole(data, len(message)) == message
    for message in messages[:-1]:
        data = finished(deflate_library, message, bits, flush_first) + behind
        for cut in range(len(data) + 1):
            assert inflate_at(receiver, data, cut, len(message)) == message
        single = [receiver.decompress(data[i:i + 1], len(message), False)
                  for i in range(len(data))]
        assert b''.join(single) + receiver.decompress(b'', len(message), True) == message


@BOTH_LIBRARIES
@pytest.mark.parametrize('takeover', [True, False])
def test_ended_stream_leaves_the_next_message_to_a_new_one_of_any_kind(takeover):
    """And the window goes with the stream that it belonged to."""
    receiver = PermessageDeflate(inflate_takeover=takeover)
    final = HELLO_FINAL[:-1]
    for data, message in ((final, b'Hello'), (HELLO, b'Hello'), (final, b'Hello'), (b'', b''),
                          (b'\x00', b''), (HELLO_FINAL, b'Hello'), (final + HELLO, b'HelloHello'),
                          (final + final, b'HelloHello'), (HELLO, b'Hello')):
        assert receiver.decompress_whole(data, 100) == message
    assert receiver.decompress_whole(final, 100) == b'Hello'
    with pytest.raises(InvalidPayload):
        receiver.decompress_whole(HELLO_AGAIN, 100)


@BOTH_LIBRARIES
@pytest.mark.parametrize('data, message', [
    (b'\x01', b''),                      # a stored block: its length is the tail that was cut off
    (HELLO + b'\x00\x00\xff\xff\x01', b'Hello'),
    (b'\x03', b''),                      # a block whose last bits are the tail's first
])
def test_stream_that_ends_within_the_tail_that_was_cut_off_is_whole(data, message):
    receiver = PermessageDeflate()
    for _again in range(2):
        for cut in range(len(data) + 1):
            assert inflate_at(receiver, data, cut, 100) == message
        assert receiver.decompress_whole(data, 100) == message
        assert receiver.decompress_whole(HELLO, 100) == b'Hello'


@BOTH_LIBRARIES
@pytest.mark.parametrize('left', [b'\xff', b'\x07', b'\xff\xff\xff\xff', b'\x00\x05\x00\x00\x00'])
def test_what_the_peer_sent_behind_an_ended_stream_must_inflate(left):
    """No more of it is let pass than our own tail."""
    data = HELLO_FINAL[:-1] + left
    for cut in range(len(data) + 1):
        with pytest.raises(InvalidPayload):
            inflate_at(PermessageDeflate(), data, cut, 100)
    receiver = PermessageDeflate()
    assert receiver.decompress_whole(HELLO, 100) == b'Hello'
    with pytest.raises(InvalidPayload):
        receiver.decompress_whole(data, 100)


@BOTH_LIBRARIES
def test_stream_that_ends_again_and_again_is_refused_without_00_too():
    receiver = PermessageDeflate()
    message = b'\x03\x00' * permessage_deflate._MAX_STREAM_ENDS
    for _again in range(3):
        assert receiver.decompress(message, 100, True) == b''
        assert receiver.decompress_whole(HELLO, 100) == b'Hello'
        assert receiver.decompress_whole(message, 100) == b''
        for cut in range(len(message) + 1):
            assert inflate_at(receiver, message, cut, 100) == b''
    for data in (b'\x03\x00' + message, message * 2):
        for cut in range(len(data) + 1):
            with pytest.raises(InvalidPayload):
                inflate_at(PermessageDeflate(), data, cut, 100)


def test_limit_holds_for_ended_streams(deflate_library):
    bomb = finished(deflate_library, b'\0' * 10 ** 6)
    assert len(bomb) < 2000
    for data, size in ((bomb, 10 ** 6), (bomb * 2, 2 * 10 ** 6)):
        for limit in (size, None):
            assert len(PermessageDeflate().decompress(data, limit, True)) == size
        receiver = PermessageDeflate()
        assert receiver.decompress_whole(HELLO, 100) == b'Hello'
        assert len(receiver.decompress_whole(data, size)) == size
        for limit in (size - 1, 1000, 0):
            with pytest.raises(PayloadTooLarge):
                PermessageDeflate().decompress(data, limit, True)
            receiver = PermessageDeflate()
            assert receiver.decompress_whole(HELLO, 100) == b'Hello'
            with pytest.raises(PayloadTooLarge):
                receiver.decompress_whole(data, limit)


@BOTH_LIBRARIES
@pytest.mark.parametrize('bits', BITS)
@pytest.mark.parametrize('level', range(-1, 10))
def test_any_level_deflates_within_the_window_agreed_on(level, bits):
    """Python's own zlib at the other end refuses what refers back further than that."""
    sender = PermessageDeflate(deflate_bits=bits, level=level, mem_level=level % 9 + 1)
    receiver = zlib.decompressobj(-bits)
    noise = bytearray([1])
    while len(noise) < 600:
        noise.append((noise[-1] * 37 + len(noise) // 7) % 256)
    for message in (MESSAGE, bytes(noise[:250]) * 3, bytes(noise) * 3, b'x', MESSAGE):
        assert receiver.decompress(sender.compress(message) + b'\0\0\xff\xff') == message


# -- a whole message at once --

@BOTH_LIBRARIES
@pytest.mark.parametrize('takeover', [True, False])
def test_whole_message_is_inflated_as_in_pieces(takeover):
    sender = PermessageDeflate(deflate_takeover=takeover)
    receiver = PermessageDeflate(inflate_takeover=takeover)
    for message in (MESSAGE, b'', b'x', MESSAGE[:100], MESSAGE, b'\0' * 70000):
        deflated = sender.compress(message)
        assert receiver.decompress_whole(deflated, len(message)) == message
        assert receiver.decompress_whole(b'', 0) == b''


@BOTH_LIBRARIES
@pytest.mark.parametrize('limit, fits', [(None, True), (5, True), (4, False), (0, False)])
def test_whole_message_stops_at_the_limit(limit, fits):
    receiver = PermessageDeflate()
    assert receiver.decompress_whole(HELLO, 5) == b'Hello'
    if fits:
        assert receiver.decompress_whole(HELLO_AGAIN, limit) == b'Hello'
    else:
        with pytest.raises(PayloadTooLarge):
            receiver.decompress_whole(HELLO_AGAIN, limit)


@BOTH_LIBRARIES
def test_whole_message_larger_than_a_slice_is_inflated():
    size = 2 * permessage_deflate._SLICE + 7
    sender, receiver = PermessageDeflate(), PermessageDeflate()
    for length in (5, size, permessage_deflate._SLICE, 5):
        message = b'\0' * length
        assert receiver.decompress_whole(sender.compress(message), size) == message


@BOTH_LIBRARIES
def test_whole_messages_that_end_their_streams_are_inflated():
    receiver = PermessageDeflate()
    # The last of these ends just with the bytes that a receiver puts back.
    for data in (HELLO, HELLO_FINAL, HELLO, HELLO + b'\0\0\xff\xff\x01'):
        for _again in range(3):
            assert receiver.decompress_whole(data, 5) == b'Hello'


@BOTH_LIBRARIES
@pytest.mark.parametrize('data', [
    b'\x07', b'\xff\xff\xff\xff', b'not deflated', b'\x00\x05\x00\x00\x00Hello'])
def test_whole_message_that_does_not_inflate_is_refused(data):
    receiver = PermessageDeflate()
    receiver.decompress_whole(HELLO, None)
    with pytest.raises(InvalidPayload) as caught:
        receiver.decompress_whole(data, None)
    assert caught.value.close_code == 1007


# -- the library --

@pytest.fixture
def fresh(monkeypatch):
    """No library was looked for yet."""
    monkeypatch.setattr(permessage_deflate, '_found_zlib', None)


def test_zlib_ng_is_used_where_it_is_installed(fresh):
    zlib_ng = pytest.importorskip(
        'zlib_ng.zlib_ng', reason='zlib-ng has no wheel for this Python')
    assert permessage_deflate.find_zlib() is zlib_ng
    assert permessage_deflate.find_zlib() is zlib_ng


def test_without_zlib_ng_the_standard_library_serves(fresh, monkeypatch):
    monkeypatch.setitem(sys.modules, 'zlib_ng', None)
    assert permessage_deflate.find_zlib() is zlib
    assert PermessageDeflate().decompress_whole(HELLO, None) == b'Hello'


def test_zlib_ng_for_another_python_is_as_good_as_none(fresh, monkeypatch, tmpdir):
    tmpdir.mkdir('zlib_ng').join('__init__.py').write('syntax of some other Python\n')
    for name in list(sys.modules):
        if name.split('.')[0] == 'zlib_ng':
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmpdir))
    assert permessage_deflate.find_zlib() is zlib


def test_zlib_ng_that_can_not_be_read_now_is_looked_for_again(fresh, monkeypatch, tmpdir):
    """There may be no descriptor left."""
    tmpdir.mkdir('zlib_ng').join('__init__.py').write(
        'raise EnvironmentError(24, "Too many open files")\n')
    for name in list(sys.modules):
        if name.split('.')[0] == 'zlib_ng':
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmpdir))
    assert permessage_deflate.find_zlib() is zlib
    assert permessage_deflate._found_zlib is None


def test_zlib_ng_is_imported_once_compression_is_agreed_on():
    code = (
        'import sys, lomond\n'
        'from lomond.protocol.extensions.permessage_deflate import DeflateOptions, accept_answer\n'
        'websocket = lomond.WebSocket(u"ws://example.org/", compress=True)\n'
        'websocket.build_request()\n'
        'assert "zlib_ng" not in sys.modules\n'
        'accept_answer(DeflateOptions(), [])\n'
        'sys.exit(3 if "zlib_ng" in sys.modules else 0)\n')
    expected = 0 if permessage_deflate.find_zlib() is zlib else 3
    assert subprocess.call([sys.executable, '-c', code]) == expected
