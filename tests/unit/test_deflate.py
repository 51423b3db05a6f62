"""The codec of permessage-deflate: deflating, and inflating that is bounded."""

from __future__ import absolute_import, division, print_function

import sys
import zlib

import pytest

from lomond._compat import PY2
from lomond.errors import InvalidPayload, PayloadTooLarge
from lomond.protocol.extensions.deflate import (
    MAX_STREAM_ENDS,
    SLICE,
    DeflateCodec,
    SharedPayload,
)

BOTH_LIBRARIES = pytest.mark.usefixtures('deflate_library')

BITS = range(8, 16)

# Repeats itself far back, and is larger than any window.
MESSAGE = b''.join(
    b'{"id": %d, "price": "%d.%d"}' % (i, i * 7919 % 1000, i % 97) if not PY2
    else '{"id": %d, "price": "%d.%d"}' % (i, i * 7919 % 1000, i % 97)
    for i in range(2000))


# -- deflating and inflating --

@BOTH_LIBRARIES
@pytest.mark.parametrize('takeover', [True, False])
@pytest.mark.parametrize('bits', BITS)
def test_what_is_deflated_inflates_within_the_window(bits, takeover):
    sender = DeflateCodec(deflate_bits=bits, deflate_takeover=takeover)
    receiver = DeflateCodec(inflate_bits=bits, inflate_takeover=takeover)
    for message in (MESSAGE, b'', b'x', MESSAGE[:100], MESSAGE, b'\0' * 70000):
        deflated = sender.compress(message)
        assert deflated
        assert receiver.decompress(deflated, len(message), True) == message


@BOTH_LIBRARIES
def test_window_is_kept_between_messages_or_forgotten():
    keeping = DeflateCodec()
    forgetting = DeflateCodec(deflate_takeover=False)
    first, again = keeping.compress(MESSAGE[:500]), keeping.compress(MESSAGE[:500])
    assert len(again) < len(first) // 4
    assert forgetting.compress(MESSAGE[:500]) == forgetting.compress(MESSAGE[:500])


@BOTH_LIBRARIES
def test_a_shared_payload_is_deflated_once_for_all_that_keep_no_window():
    def deflate(**options):
        return DeflateCodec(deflate_takeover=False, **options).compress(shared)

    shared = SharedPayload(MESSAGE)
    first = deflate()
    assert deflate() is first
    others = [deflate(deflate_bits=9), deflate(level=1), deflate(mem_level=1)]
    assert len(set(others + [first])) == 4
    assert deflate() is first
    for deflated in others + [first]:
        assert DeflateCodec().decompress(deflated, None, True) == MESSAGE
    assert deflate(deflate_bits=8) is others[0]
    assert DeflateCodec(deflate_takeover=False).compress(SharedPayload(b'')) == b'\0'


@BOTH_LIBRARIES
def test_a_shared_payload_is_deflated_for_each_that_keeps_a_window():
    shared = SharedPayload(MESSAGE[:500])
    sender, receiver = DeflateCodec(), DeflateCodec()
    DeflateCodec(deflate_takeover=False).compress(shared)
    first, again = sender.compress(shared), sender.compress(shared)
    assert len(again) < len(first) // 4
    for deflated in (first, again):
        assert receiver.decompress(deflated, None, True) == MESSAGE[:500]


@BOTH_LIBRARIES
def test_receiver_that_forgets_refuses_what_refers_back():
    keeping = DeflateCodec()
    forgetting = DeflateCodec(inflate_takeover=False)
    forgetting.decompress(keeping.compress(MESSAGE[:500]), None, True)
    with pytest.raises(InvalidPayload):
        forgetting.decompress(keeping.compress(MESSAGE[:500]), None, True)


@BOTH_LIBRARIES
def test_window_larger_than_agreed_on_is_refused():
    noise = bytearray([1])
    while len(noise) < 600:
        noise.append((noise[-1] * 37 + len(noise) // 7) % 256)
    sender = DeflateCodec()
    receiver = DeflateCodec(inflate_bits=8)
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
    deflated = DeflateCodec().compress(data)
    if fits:
        assert DeflateCodec().decompress(deflated, limit, True) == data
    else:
        with pytest.raises(PayloadTooLarge) as caught:
            DeflateCodec().decompress(deflated, limit, True)
        assert caught.value.close_code == 1009


@BOTH_LIBRARIES
@pytest.mark.parametrize('limit', [None, 2 * SLICE + 7])
def test_large_message_is_inflated_slice_by_slice(limit):
    size = 2 * SLICE + 7
    deflated = DeflateCodec().compress(b'\0' * size)
    receiver = DeflateCodec()
    inflated = receiver.decompress(deflated, limit, True)
    assert len(inflated) == size
    assert not inflated.strip(b'\0')
    # The inflater stands where it should for the next message.
    assert receiver.decompress(b'\xf2\x48\xcd\xc9\xc9\x07\x00', limit, True) == b'Hello'


@BOTH_LIBRARIES
def test_large_message_over_the_limit_is_refused_in_a_later_slice():
    size = SLICE + 100
    deflated = DeflateCodec().compress(b'\0' * size)
    with pytest.raises(PayloadTooLarge):
        DeflateCodec().decompress(deflated, size - 1, True)


@BOTH_LIBRARIES
@pytest.mark.parametrize('data', [
    b'\x07', b'\xff\xff\xff\xff', b'not deflated', b'\x00\x05\x00\x00\x00Hello'])
def test_what_does_not_inflate_is_refused(data):
    with pytest.raises(InvalidPayload) as caught:
        DeflateCodec().decompress(data, None, True)
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
        receiver = DeflateCodec(inflate_takeover=takeover)
        for _again in range(3):
            text = receiver.decompress(data[:split], 100, False)
            text += receiver.decompress(data[split:], 100, True)
            assert text == b'Hello'


@BOTH_LIBRARIES
def test_rfc_7692_example_of_the_shared_window():
    receiver = DeflateCodec()
    assert receiver.decompress(HELLO, None, True) == b'Hello'
    assert receiver.decompress(HELLO_AGAIN, None, True) == b'Hello'
    sender = DeflateCodec()
    assert sender.compress(b'Hello') == HELLO
    assert sender.compress(b'Hello') == HELLO_AGAIN


@BOTH_LIBRARIES
def test_rfc_7692_example_of_the_empty_message():
    assert DeflateCodec().compress(b'') == b'\x00'
    assert DeflateCodec().decompress(b'\x00', 0, True) == b''


@BOTH_LIBRARIES
def test_stream_that_ends_within_a_message_goes_on_in_the_next_block():
    """A sender that has no sync flush ends a deflate stream with each write (7.2.3.4)."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    final = compressor.compress(b'first') + compressor.flush(zlib.Z_FINISH)
    receiver = DeflateCodec()
    assert receiver.decompress(final + HELLO, 100, True) == b'firstHello'
    assert receiver.decompress(HELLO_AGAIN, 100, True) == b'Hello'


@BOTH_LIBRARIES
def test_stream_that_ends_again_and_again_is_refused():
    empty_stream = b'\x03\x00'
    message = empty_stream * MAX_STREAM_ENDS + b'\x00'
    receiver = DeflateCodec()
    for _again in range(3):
        assert receiver.decompress(message, 100, True) == b''
    with pytest.raises(InvalidPayload):
        receiver.decompress(empty_stream + message, 100, True)
    with pytest.raises(InvalidPayload):
        DeflateCodec().decompress(empty_stream + message, 100, True)


@BOTH_LIBRARIES
def test_whole_messages_that_end_their_streams_are_counted_one_by_one():
    message = b'\x03\x00' * MAX_STREAM_ENDS + b'\x00'
    receiver = DeflateCodec()
    assert receiver.decompress(HELLO, 100, True) == b'Hello'
    for _again in range(3):
        assert receiver.decompress_whole(message, 100) == b''
    with pytest.raises(InvalidPayload):
        receiver.decompress_whole(b'\x03\x00' + message, 100)


@BOTH_LIBRARIES
def test_stream_ends_count_toward_the_limit():
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = compressor.compress(b'x' * 60) + compressor.flush(zlib.Z_FINISH)
    assert DeflateCodec().decompress(stream + stream + b'\x00', 120, True) == b'x' * 120
    with pytest.raises(PayloadTooLarge):
        DeflateCodec().decompress(stream + stream + b'\x00', 119, True)


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
    receiver = DeflateCodec(inflate_bits=bits, inflate_takeover=takeover)
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
    receiver = DeflateCodec(inflate_takeover=takeover)
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
    receiver = DeflateCodec()
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
            inflate_at(DeflateCodec(), data, cut, 100)
    receiver = DeflateCodec()
    assert receiver.decompress_whole(HELLO, 100) == b'Hello'
    with pytest.raises(InvalidPayload):
        receiver.decompress_whole(data, 100)


@BOTH_LIBRARIES
def test_stream_that_ends_again_and_again_is_refused_without_00_too():
    receiver = DeflateCodec()
    message = b'\x03\x00' * MAX_STREAM_ENDS
    for _again in range(3):
        assert receiver.decompress(message, 100, True) == b''
        assert receiver.decompress_whole(HELLO, 100) == b'Hello'
        assert receiver.decompress_whole(message, 100) == b''
        for cut in range(len(message) + 1):
            assert inflate_at(receiver, message, cut, 100) == b''
    for data in (b'\x03\x00' + message, message * 2):
        for cut in range(len(data) + 1):
            with pytest.raises(InvalidPayload):
                inflate_at(DeflateCodec(), data, cut, 100)


def test_limit_holds_for_ended_streams(deflate_library):
    bomb = finished(deflate_library, b'\0' * 10 ** 6)
    assert len(bomb) < 2000
    for data, size in ((bomb, 10 ** 6), (bomb * 2, 2 * 10 ** 6)):
        for limit in (size, None):
            assert len(DeflateCodec().decompress(data, limit, True)) == size
        receiver = DeflateCodec()
        assert receiver.decompress_whole(HELLO, 100) == b'Hello'
        assert len(receiver.decompress_whole(data, size)) == size
        for limit in (size - 1, 1000, 0):
            with pytest.raises(PayloadTooLarge):
                DeflateCodec().decompress(data, limit, True)
            receiver = DeflateCodec()
            assert receiver.decompress_whole(HELLO, 100) == b'Hello'
            with pytest.raises(PayloadTooLarge):
                receiver.decompress_whole(data, limit)


@BOTH_LIBRARIES
@pytest.mark.parametrize('bits', BITS)
@pytest.mark.parametrize('level', range(-1, 10))
def test_any_level_deflates_within_the_window_agreed_on(level, bits):
    """Python's own zlib at the other end refuses what refers back further than that."""
    sender = DeflateCodec(deflate_bits=bits, level=level, mem_level=level % 9 + 1)
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
    sender = DeflateCodec(deflate_takeover=takeover)
    receiver = DeflateCodec(inflate_takeover=takeover)
    for message in (MESSAGE, b'', b'x', MESSAGE[:100], MESSAGE, b'\0' * 70000):
        deflated = sender.compress(message)
        assert receiver.decompress_whole(deflated, len(message)) == message
        assert receiver.decompress_whole(b'', 0) == b''


@BOTH_LIBRARIES
@pytest.mark.parametrize('limit, fits', [(None, True), (5, True), (4, False), (0, False)])
def test_whole_message_stops_at_the_limit(limit, fits):
    receiver = DeflateCodec()
    assert receiver.decompress_whole(HELLO, 5) == b'Hello'
    if fits:
        assert receiver.decompress_whole(HELLO_AGAIN, limit) == b'Hello'
    else:
        with pytest.raises(PayloadTooLarge):
            receiver.decompress_whole(HELLO_AGAIN, limit)


@BOTH_LIBRARIES
def test_whole_message_larger_than_a_slice_is_inflated():
    size = 2 * SLICE + 7
    sender, receiver = DeflateCodec(), DeflateCodec()
    for length in (5, size, SLICE, 5):
        message = b'\0' * length
        assert receiver.decompress_whole(sender.compress(message), size) == message


@BOTH_LIBRARIES
def test_whole_messages_that_end_their_streams_are_inflated():
    receiver = DeflateCodec()
    # The last of these ends just with the bytes that a receiver puts back.
    for data in (HELLO, HELLO_FINAL, HELLO, HELLO + b'\0\0\xff\xff\x01'):
        for _again in range(3):
            assert receiver.decompress_whole(data, 5) == b'Hello'


@BOTH_LIBRARIES
@pytest.mark.parametrize('data', [
    b'\x07', b'\xff\xff\xff\xff', b'not deflated', b'\x00\x05\x00\x00\x00Hello'])
def test_whole_message_that_does_not_inflate_is_refused(data):
    receiver = DeflateCodec()
    receiver.decompress_whole(HELLO, None)
    with pytest.raises(InvalidPayload) as caught:
        receiver.decompress_whole(data, None)
    assert caught.value.close_code == 1007
