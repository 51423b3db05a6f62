"""Whatever the bytes, and however they are cut: the same events, and no exception."""

from __future__ import absolute_import, division, print_function

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lomond.errors import ProtocolError
from lomond.protocol.connection import CLIENT, SERVER
from lomond.protocol.extensions.deflate import MAX_STREAM_ENDS, DeflateCodec
from lomond.protocol.limits import DEFAULT_LIMITS
from tests.property.strategies import (
    SMALL_LIMITS,
    End,
    conversations,
    cuts,
    deflated_messages,
    keys,
    limits,
    payloads,
    roles,
    texts,
)
from tests.protocol.harness import bytewise
from tests.support import make_frame

EVENTS = {'text', 'binary', 'ping', 'pong', 'closing', 'closed', 'protocol_error'}

LAST = {'closing', 'closed', 'protocol_error'}


def _check_story(events):
    """Assert what is true of any story: known events, and an end that is one."""
    names = [event[0] for event in events]
    assert set(names) <= EVENTS
    assert not set(names[:-1]) & LAST
    for event in events:
        if event[0] == 'protocol_error':
            _name, error, critical, close_code = event
            assert error
            assert critical is False
            assert close_code in (1002, 1007, 1009)
        elif event[0] in ('closing', 'closed'):
            assert event[1] in (1005,) or 1000 <= event[1] <= 4999


@pytest.mark.usefixtures('deflate_library')
@given(st.data(), roles, limits, st.booleans(), st.booleans())
def test_any_chunking_gives_the_same_events(data, role, limits, deflates, closes):
    conversation = data.draw(conversations(role))
    whole = End(role, limits, deflates, closes).receive([conversation])
    _check_story(whole.events)
    pieces = data.draw(cuts(conversation))
    assert End(role, limits, deflates, closes).receive(pieces).outcome == whole.outcome
    # Byte by byte, no frame is ever whole in the buffer: the long way throughout.
    single = End(role, limits, deflates, closes).receive(bytewise(conversation))
    assert single.outcome == whole.outcome


@given(st.data(), roles)
def test_iterator_given_up_at_any_event_gives_the_same_events(data, role):
    conversation = data.draw(conversations(role))
    whole = End(role, DEFAULT_LIMITS).receive([conversation])
    end = End(role, DEFAULT_LIMITS)
    events = []
    piece = conversation
    while True:
        iterator = end.read(piece)
        event = next(iterator, None)
        if event is None:
            break
        if event.name == 'closing':     # the echo is sent behind it
            events.append(event)
            events.extend(iterator)
            break
        events.append(event)
        iterator.close()
        piece = b''
    assert [event.name for event in events] == [event[0] for event in whole.events]
    assert end.replies == whole.replies


@given(st.lists(
    st.tuples(st.just(1), texts.map(lambda text: text.encode('utf-8')))
    | st.tuples(st.sampled_from([1, 2]), payloads), max_size=6),
    st.sampled_from([DEFAULT_LIMITS, SMALL_LIMITS]), keys)
def test_the_short_way_and_the_long_way_make_the_same_events(messages, limits, key):
    """Whole frames take the client's short way; none does if masked, or cut."""
    short = End(CLIENT, limits).receive(
        [b''.join(make_frame(opcode, payload) for opcode, payload in messages)])
    by_frame = End(CLIENT, limits).receive(
        [make_frame(opcode, payload) for opcode, payload in messages])
    cut = End(CLIENT, limits)
    for opcode, payload in messages:
        frame = make_frame(opcode, payload)
        cut.receive([frame[:-1], frame[-1:]] if payload else [frame[:1], frame[1:]])
    masked = End(SERVER, limits).receive(
        [b''.join(make_frame(opcode, payload, key=key) for opcode, payload in messages)])
    fragmented = End(CLIENT, limits).receive(
        [make_frame(opcode, payload, fin=False) + make_frame(0) for opcode, payload in messages])
    for other in (by_frame, cut, masked):
        assert other.events == short.events
    assert fragmented.events == short.events


#: Messages that show what a codec has kept of those before: one that ends its stream as often as
#: it may, one that refers back, an empty one.
PROBES = [b'\x03\x00' * MAX_STREAM_ENDS, b'\xf2\x48\xcd\xc9\xc9\x07\x00',
          b'\xf2\x00\x11\x00\x00', b'']


def _inflate_all(messages, limit, inflate, **options):
    """Return what each message inflates to, and then each probe, up to the first error."""
    codec = DeflateCodec(**options)
    inflated = []
    try:
        for data in messages:
            inflated.append(inflate(codec, data, limit))
        for data in PROBES:
            inflated.append(codec.decompress(data, None, True))
    except ProtocolError as error:
        inflated.append((type(error), error.close_code, str(error)))
    return inflated


@pytest.mark.usefixtures('deflate_library')
@settings(max_examples=200)
@given(st.data(), deflated_messages(), st.sampled_from([None, 0, 1, 59, 60, 2400, 10 ** 5]),
       st.booleans(), st.sampled_from([8, 9, 15]))
def test_whole_message_inflates_as_in_pieces(data, messages, limit, takeover, bits):
    options = {'inflate_takeover': takeover, 'inflate_bits': bits}
    whole = _inflate_all(
        messages, limit, lambda codec, *args: codec.decompress_whole(*args), **options)
    piece = _inflate_all(
        messages, limit, lambda codec, *args: codec.decompress(*args + (True,)), **options)
    assert whole == piece

    if bits < 15:
        return      # zlib lets data refer beyond its window, as far as that is in the same piece

    def in_pieces(codec, message, limit):
        inflated = b''
        pieces = data.draw(cuts(message))
        for i, cut in enumerate(pieces):
            left = None if limit is None else limit - len(inflated)
            inflated += codec.decompress(cut, left, i == len(pieces) - 1)
        return inflated

    cut_up = _inflate_all(messages, limit, in_pieces, **options)
    if isinstance(piece[-1], tuple):
        # Bad and too large: which of the two is found first depends on the cuts.
        assert isinstance(cut_up[-1], tuple)
        assert cut_up[:-1] == piece[:-1]
    else:
        assert cut_up == piece


@pytest.mark.usefixtures('deflate_library')
@settings(max_examples=200)
@given(deflated_messages(), st.sampled_from([1, 2]), limits, st.booleans(), keys)
def test_compressed_messages_make_the_same_events_the_short_way_and_the_long_way(
        messages, opcode, limits, joined, key):
    frames = [make_frame(opcode, message, rsv=0x40) for message in messages]
    short = End(CLIENT, limits, deflates=True).receive([b''.join(frames)] if joined else frames)
    single = End(CLIENT, limits, deflates=True).receive(bytewise(b''.join(frames)))
    masked = End(SERVER, limits, deflates=True).receive(
        [make_frame(opcode, message, rsv=0x40, key=key) for message in messages])
    fragmented = End(CLIENT, limits, deflates=True).receive(
        [make_frame(opcode, message, fin=False, rsv=0x40) + make_frame(0)
         for message in messages])
    assert masked.events == short.events
    for other in (single, fragmented):
        # In pieces, other faults of a message that has several may be noticed first.
        assert _without_reasons(other.events) == _without_reasons(short.events)


def _without_reasons(events):
    return [event[:1] if event[0] == 'protocol_error' else event for event in events]


@settings(max_examples=100)
@given(st.binary(max_size=300), roles, limits, st.booleans(), st.booleans())
def test_any_bytes_give_documented_events_and_never_an_exception(
        data, role, limits, deflates, closes):
    end = End(role, limits, deflates, closes).receive([data])
    _check_story(end.events)


@given(st.data(), roles, limits, st.booleans())
def test_after_a_fault_there_is_nothing_more(data, role, limits, deflates):
    conversation = data.draw(conversations(role))
    end = End(role, limits, deflates).receive([conversation])
    assume(end.connection.error is not None)
    before = end.outcome
    assert end.events[-1][0] == 'protocol_error'
    assert len(end.replies) >= 1
    end.receive([data.draw(conversations(role)), data.draw(st.binary(max_size=50))])
    assert end.outcome == before


@given(st.data(), roles)
def test_after_the_end_there_is_nothing_more(data, role):
    end = End(role, DEFAULT_LIMITS).receive([data.draw(conversations(role))])
    end.connection.disconnect()
    before = len(end.events)
    end.receive([data.draw(conversations(role))])
    assert len(end.events) == before


@pytest.mark.usefixtures('deflate_library')
@given(st.data(), limits, st.booleans())
def test_what_comes_among_many_messages_gives_the_same_events(data, limits, deflates):
    """Many small messages in one read become events in batches."""
    filler = make_frame(1, b'text') * 500
    pieces = [data.draw(conversations(CLIENT)) for _ in range(3)]
    conversation = filler.join(pieces + [b''])
    whole = End(CLIENT, limits, deflates).receive([conversation])
    _check_story(whole.events)
    pieces = data.draw(cuts(conversation))
    assert End(CLIENT, limits, deflates).receive(pieces).outcome == whole.outcome
