"""Many small messages in one read become events in batches: nobody can tell.

What is received in pieces of a byte, or one message a read, takes no batch: it is the model.
"""

from __future__ import absolute_import, division, print_function

import itertools
import json

import pytest

from lomond import events
from lomond.events import Binary, Text
from lomond.protocol.extensions.deflate import DeflateCodec
from lomond.protocol.limits import message_limits
from lomond.stats import Stats
from tests.protocol.harness import (
    BINARY,
    CONTINUATION,
    PING,
    ROLES,
    RSV1,
    TEXT,
    Wire,
    counted,
    raw_deflate,
    story,
)
from tests.support import make_frame, needs_refcounts

#: More than two batches, of each length that a header can have in a batch.
PAYLOADS = [(u'{} {}'.format(number, u'\xe9' * (number % 130)).encode('utf-8'))
            for number in range(200)]
FRAMES = [make_frame(BINARY if number % 5 == 0 else TEXT, payload)
          for number, payload in enumerate(PAYLOADS)]
MANY = b''.join(FRAMES)
COUNT = len(PAYLOADS)
BYTES = sum(map(len, PAYLOADS))


def model():
    return Wire().receive(*FRAMES)


def test_messages_of_one_read_are_those_of_many_reads():
    assert Wire().receive(MANY) == model()


@pytest.mark.parametrize('size', [1, 7, 1000, 2049, 4096, 5000])
def test_the_cuts_between_reads_make_no_difference(size):
    pieces = [MANY[start:start + size] for start in range(0, len(MANY), size)]
    assert Wire().receive(*pieces) == model()


def test_events_are_of_exact_types_and_of_one_time():
    received = list(Wire(clock=lambda: 12.5).connection.receive(MANY))
    assert {type(event) for event in received} == {Text, Binary}
    assert {event.received_time for event in received} == {12.5}
    assert {type(event.data) for event in received if event.name == 'binary'} == {bytes}
    assert {type(event.text) for event in received if event.name == 'text'} == {type(u'')}


@pytest.mark.parametrize('as_bytes', [False, True])
@pytest.mark.parametrize('loads', [None, json.loads])
def test_texts_are_of_the_class_asked_for(as_bytes, loads):
    text_class = events.text_class(loads, as_bytes)
    received = list(Wire(text_class=text_class).connection.receive(MANY))
    assert {type(event) for event in received} == {text_class, Binary}
    assert [event.text if event.name == 'text' else event.data for event in received] \
        == [fields[1] for fields in model()]


def test_at_most_64_are_made_before_the_first_is_yielded():
    made = []

    class Counted(Text):
        __slots__ = ()

        def __init__(self, text, received_time=None):
            made.append(text)
            Text.__init__(self, text, received_time)

    received = Wire(text_class=Counted).connection.receive(make_frame(TEXT, b'text') * 10000)
    next(received)
    assert 1 <= len(made) <= 64
    received.close()


# -- iterators that are given up --

@pytest.mark.parametrize('count', [1, 2, 63, 64, 65, 128, COUNT - 1, COUNT])
def test_iterator_given_up_in_the_middle_leaves_the_rest_to_the_next_call(count):
    stats = Stats()
    connection = Wire(stats=stats).connection
    iterator = connection.receive(MANY)
    first = [next(iterator) for _ in range(count)]
    iterator.close()
    assert counted(stats.received) == (count, sum(map(len, PAYLOADS[:count])), len(MANY))
    rest = list(connection.receive(b''))
    assert story(first + rest) == model()
    assert counted(stats.received) == (COUNT, BYTES, len(MANY))


def test_each_event_of_an_iterator_of_its_own():
    connection = Wire().connection
    received = []
    data = MANY
    while len(received) < COUNT:
        iterator = connection.receive(data)
        received.append(next(iterator))
        iterator.close()
        data = b''
    assert story(received) == model()
    assert list(connection.receive(b'')) == []


def test_bytes_of_events_not_yielded_are_held_as_bytes():
    connection = Wire().connection
    iterator = connection.receive(MANY)
    next(iterator)
    iterator.close()
    held = connection.decoder.held
    assert held.leftover == len(MANY) - len(FRAMES[0])
    assert held.payload == held.pieces == 0


@needs_refcounts
@pytest.mark.parametrize('count', [1, 63, 64, 65])
def test_iterator_that_nobody_has_any_more_leaves_the_rest_too(count):
    connection = Wire().connection
    first = list(itertools.islice(connection.receive(MANY), count))
    assert story(first + list(connection.receive(b''))) == model()


@pytest.mark.parametrize('count', [1, 63, 64, 65])
@pytest.mark.parametrize('error', [KeyError, KeyboardInterrupt, GeneratorExit])
def test_exception_thrown_into_the_iterator_leaves_the_rest_too(error, count):
    connection = Wire().connection
    iterator = connection.receive(MANY)
    first = [next(iterator) for _ in range(count)]
    with pytest.raises(error):
        iterator.throw(error())
    assert list(iterator) == []
    assert story(first + list(connection.receive(b''))) == model()


@pytest.mark.parametrize('end', ['stop_receiving', 'disconnect'])
@pytest.mark.parametrize('count', [1, 10, 64, 65, 100])
def test_nothing_is_yielded_once_the_body_has_ended_it(count, end):
    stats = Stats()
    connection = Wire(stats=stats).connection
    received = []
    for event in connection.receive(MANY):
        received.append(event)
        if len(received) == count:
            getattr(connection, end)()
    assert len(received) == count
    assert counted(stats.received) == (count, sum(map(len, PAYLOADS[:count])), len(MANY))
    assert list(connection.receive(b'')) == []


@pytest.mark.parametrize('place', [0, 1, 63, 64, 70])
def test_interrupt_while_events_are_made_loses_none(place):
    """As Ctrl-C does, or a signal's handler that raises."""
    texts = [u'text {}'.format(number) for number in range(300)]
    interrupts = [place]

    class Interrupted(Text):
        __slots__ = ()

        def __init__(self, text, received_time=None):
            if interrupts and text == texts[interrupts[0]]:
                del interrupts[:]
                raise KeyboardInterrupt
            Text.__init__(self, text, received_time)

    stats = Stats()
    connection = Wire(text_class=Interrupted, stats=stats).connection
    data = b''.join(make_frame(TEXT, text.encode('ascii')) for text in texts)
    received = []
    with pytest.raises(KeyboardInterrupt):
        for event in connection.receive(data):
            received.append(event)
    received.extend(connection.receive(b''))
    assert [event.text for event in received] == texts
    assert stats.received.messages == len(texts)


@needs_refcounts
def test_exception_in_the_body_loses_nothing():
    connection = Wire().connection
    received = []

    def consume(data):
        for event in connection.receive(data):
            received.append(event)
            if len(received) % 30 == 0:
                raise KeyError(len(received))

    data = MANY
    while len(received) < COUNT:
        try:
            consume(data)
        except KeyError:
            pass
        data = b''
    assert story(received) == model()


@pytest.mark.parametrize('count', [1, 63, 64, 65])
def test_sending_and_closing_in_the_body_changes_nothing_of_what_was_read(count):
    connection = Wire().connection
    received = []
    for event in connection.receive(MANY):
        received.append(event)
        if len(received) == count:
            connection.encode(TEXT, b'x' * 70000)
            connection.encode_close(1000)
    assert story(received) == model()


# -- what else is in the same read --

@pytest.mark.parametrize('place', [0, 1, 63, 64, 65, 130])
def test_bad_utf8_comes_after_all_that_was_good(place):
    good = b''.join(make_frame(TEXT, payload) for payload in PAYLOADS[:place])
    wire = Wire(stats=Stats())
    happened = wire.receive(good + make_frame(TEXT, b'\xed\xa0\x80') + MANY)
    assert [fields[0] for fields in happened] == ['text'] * place + ['protocol_error']
    assert happened[-1][3] == 1007
    assert wire.connection.stats.received.messages == place


@pytest.mark.parametrize('place', [0, 1, 63, 64, 65, 130])
def test_message_over_the_limit_comes_after_all_that_was_within(place):
    good = b''.join(make_frame(BINARY, b'x' * 30) for _ in range(place))
    wire = Wire(limits=message_limits(30))
    happened = wire.receive(good + make_frame(BINARY, b'x' * 31) + MANY)
    assert [fields[0] for fields in happened] == ['binary'] * place + ['protocol_error']
    assert happened[-1][3] == 1009


@pytest.mark.parametrize('place', [0, 1, 63, 64, 65, 130])
@pytest.mark.parametrize('other, name', [
    (make_frame(PING, b'ping'), 'ping'),
    (make_frame(TEXT, b'te', fin=False) + make_frame(CONTINUATION, b'xt'), 'text'),
    (make_frame(TEXT, raw_deflate(b'deflated'), rsv=RSV1), 'text'),
    (make_frame(BINARY, b'x' * 70000), 'binary'),
    (make_frame(TEXT), 'text')])
def test_other_frames_keep_their_place(place, other, name):
    before = [make_frame(TEXT, payload) for payload in PAYLOADS[:place]]
    wire = Wire(deflate=DeflateCodec())
    happened = wire.receive(b''.join(before) + other + MANY)
    assert happened == Wire(deflate=DeflateCodec()).receive(*(before + [other] + [MANY]))
    assert happened[place][0] == name
    assert happened[place + 1:] == model()


@pytest.mark.parametrize('length', [
    b'\x7e\x00\x7d', b'\x7e\x00\x00', b'\x7f' + b'\0' * 7 + b'\x05', b'\xff' * 9])
def test_length_that_is_no_length_ends_the_connection_in_its_turn(length):
    happened = Wire().receive(FRAMES[0] * 70 + b'\x81' + length + MANY)
    assert [fields[0] for fields in happened] == ['binary'] * 70 + ['protocol_error']


@pytest.mark.parametrize('role', ROLES)
@pytest.mark.parametrize('size', [125, 126, 127, 128, 129, 255, 256, 65535, 65536])
def test_all_lengths_come_whole(role, size):
    wire = Wire(role)
    payload = b'\xc3\xa9' * (size // 2) + b'x' * (size % 2)
    data = wire.frame(TEXT, payload) + wire.frame(BINARY, payload)
    tail = wire.frame(TEXT, b'tail') * 1000
    happened = wire.receive(data + tail)
    assert happened[:2] == [('text', payload.decode('utf-8')), ('binary', payload)]
    assert happened[2:] == [('text', u'tail')] * 1000


def test_another_call_in_the_body_counts_what_is_its_own():
    stats = Stats()
    connection = Wire(stats=stats).connection
    other = make_frame(TEXT, b'other') * 500
    received = []
    for event in connection.receive(MANY):
        received.append(event)
        if len(received) == 10:
            inner = list(connection.receive(other))
    assert story(received) == model()
    assert story(inner) == [('text', u'other')] * 500
    assert counted(stats.received) == (COUNT + 500, BYTES + 2500, len(MANY) + len(other))


@pytest.mark.parametrize('count', [6, 64, 70])
@pytest.mark.parametrize('kept', [1, 2, 3, 4, 5])
@pytest.mark.parametrize('size', [5, 200, 70000])
def test_header_that_is_cut_after_many_messages_waits_for_its_rest(count, kept, size):
    wire = Wire()
    last = make_frame(BINARY, b'y' * size)
    happened = wire.receive(make_frame(TEXT, b'text') * count + last[:kept])
    assert happened == [('text', u'text')] * count
    assert wire.receive(last[kept:]) == [('binary', b'y' * size)]
