"""Gathering messages from frames, without a connection."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond.errors import InvalidPayload, PayloadTooLarge, ProtocolError
from lomond.events import Binary, Text
from lomond.protocol.extensions.deflate import DeflateCodec
from lomond.protocol.frame import RSV1, FrameHeader
from lomond.protocol.gathering import MAX_BUFFERED, MIN_BUFFERED
from lomond.protocol.limits import DEFAULT_LIMITS
from lomond.protocol.message import MessageAssembler

CONTINUATION, TEXT, BINARY = 0, 1, 2


def _header(opcode, length=0, fin=True, rsv=0):
    return FrameHeader(opcode, fin, rsv, length, None)


def _assembler(**limits):
    return MessageAssembler(DEFAULT_LIMITS._replace(**limits))


def _gather(assembler, opcode, fragments, rsv=0):
    for i, fragment in enumerate(fragments):
        is_last = i == len(fragments) - 1
        assembler.begin_frame(_header(
            CONTINUATION if i else opcode, len(fragment), is_last, 0 if i else rsv))
        assert assembler.in_message
        assembler.add(fragment, is_last)
    return assembler.finish(12.5)


@pytest.mark.parametrize('fragments', [
    [b''], [b'one'], [b'one', b'two'], [b'', b'', b''], [b'\xc3', b'\xa9'], [b'x'] * 3000])
def test_fragments_become_one_event(fragments):
    assembler = _assembler()
    for _again in range(2):
        assert not assembler.in_message
        event = _gather(assembler, TEXT, fragments)
        assert isinstance(event, Text)
        assert event.text == b''.join(fragments).decode('utf-8')
        assert event.received_time == 12.5
        event = _gather(assembler, BINARY, fragments)
        assert isinstance(event, Binary)
        assert event.data == b''.join(fragments)


def test_continuation_of_nothing_is_refused():
    assembler = _assembler()
    with pytest.raises(ProtocolError) as caught:
        assembler.begin_frame(_header(CONTINUATION))
    assert caught.value.close_code == 1002


@pytest.mark.parametrize('opcode, name', [(TEXT, 'TEXT'), (BINARY, 'BINARY')])
def test_message_within_a_message_is_refused(opcode, name):
    assembler = _assembler()
    assembler.begin_frame(_header(TEXT, fin=False))
    with pytest.raises(ProtocolError) as caught:
        assembler.begin_frame(_header(opcode))
    assert caught.value.close_code == 1002
    assert name in str(caught.value)


def test_sizes_are_added_up_before_payloads_come():
    assembler = _assembler(message=10)
    assembler.begin_frame(_header(BINARY, 6, fin=False))
    assembler.add(b'x' * 6, False)
    assembler.begin_frame(_header(CONTINUATION, 4, fin=False))
    with pytest.raises(PayloadTooLarge) as caught:
        assembler.begin_frame(_header(CONTINUATION, 1))
    assert caught.value.close_code == 1009


def test_fragments_are_counted():
    assembler = _assembler(fragments=3)
    for _message in range(2):
        _gather(assembler, BINARY, [b''] * 3)
    with pytest.raises(PayloadTooLarge):
        _gather(assembler, BINARY, [b''] * 4)


@pytest.mark.parametrize('size, expected', [
    (MIN_BUFFERED - 1, False), (MIN_BUFFERED, True), (MAX_BUFFERED, True),
    (MAX_BUFFERED + 1, False)])
def test_a_binary_message_of_128_kib_to_1_mib_has_a_receive_buffer(size, expected):
    assembler = _assembler()
    assembler.offers_buffer = True
    assembler.begin_frame(_header(BINARY, size))
    assert (assembler.receive_buffer is not None) is expected


@pytest.mark.parametrize('opcode', [TEXT, BINARY])
def test_size_is_what_there_is_so_far_inflated(opcode):
    assembler = _assembler()
    assembler.deflate = DeflateCodec()
    _gather(assembler, opcode, [b'x' * 3, b'x' * 4])
    assert assembler.size == 7
    _gather(assembler, opcode, [DeflateCodec().compress(b'x' * 200)], rsv=RSV1)
    assert assembler.size == 200
    _gather(assembler, opcode, [b'x'])
    assert assembler.size == 1


def test_there_need_be_no_limits():
    assembler = _assembler(message=None, fragments=None)
    assembler.deflate = DeflateCodec()
    assert _gather(assembler, BINARY, [b'x'] * 200).data == b'x' * 200
    deflated = DeflateCodec().compress(b'x' * 200)
    assert _gather(assembler, BINARY, [deflated], rsv=RSV1).data == b'x' * 200


def test_inflated_size_is_added_up_over_fragments():
    deflated = DeflateCodec().compress(b'x' * 100)
    fragments = [deflated[:4], deflated[4:]]
    assembler = _assembler(message=100)
    assembler.deflate = DeflateCodec()
    assert _gather(assembler, TEXT, fragments, rsv=RSV1).text == u'x' * 100
    assembler = _assembler(message=99)
    assembler.deflate = DeflateCodec()
    with pytest.raises(PayloadTooLarge):
        _gather(assembler, TEXT, fragments, rsv=RSV1)


def test_bad_text_is_noticed_at_once():
    assembler = _assembler()
    assembler.begin_frame(_header(TEXT, 100, fin=False))
    assembler.add(b'fine', False)
    with pytest.raises(InvalidPayload) as caught:
        assembler.add(b'\xff', False)
    assert caught.value.close_code == 1007
