"""The events: names, fields, defaults, repr, JSON and who reads it."""

from __future__ import absolute_import, division, print_function

import copy
import gc
import json
import pickle
import re
import sys
import time
import weakref
from decimal import Decimal

import pytest

from lomond import events

# Constructor arguments, and what `name` is.
EVENTS = [
    (events.Connecting, ('url',), 'connecting'),
    (events.ConnectFail, ('reason',), 'connect_fail'),
    (events.Connected, ('url', 'proxy'), 'connected'),
    (events.Ready, ('response', 'protocol', 'extensions'), 'ready'),
    (events.Rejected, ('response', 'reason'), 'rejected'),
    (events.Redirected, ('response', 'url'), 'redirected'),
    (events.Text, ('text',), 'text'),
    (events.Binary, ('data',), 'binary'),
    (events.Ping, ('data',), 'ping'),
    (events.Pong, ('data',), 'pong'),
    (events.Closing, ('code', 'reason'), 'closing'),
    (events.Closed, ('code', 'reason'), 'closed'),
    (events.Disconnected, ('reason', 'graceful'), 'disconnected'),
    (events.ProtocolError, ('error', 'critical'), 'protocol_error'),
    (events.Unresponsive, (), 'unresponsive'),
    (events.Poll, (), 'poll'),
    (events.BackOff, ('delay',), 'back_off'),
    (events.GaveUp, ('reason',), 'gave_up'),
    (events.UnknownMessage, ('message',), 'unknown'),
]


def test_all_events_are_listed_here():
    listed = {cls for cls, _fields, _name in EVENTS}
    defined = {
        value for name, value in vars(events).items()
        if isinstance(value, type) and issubclass(value, events.Event)
        and value is not events.Event and not name.startswith('_')}
    assert defined == listed


@pytest.mark.parametrize('cls, fields, name', EVENTS)
def test_event_has_its_name_and_fields_and_time(cls, fields, name):
    values = [object() for _field in fields]
    before = time.time()
    event = cls(*values)
    assert before <= event.received_time <= time.time()
    assert event.name == name
    assert [getattr(event, field) for field in fields] == values
    assert cls.__match_args__[:len(fields)] == fields


@pytest.mark.parametrize('cls, fields, name', EVENTS)
def test_event_takes_keywords_and_the_time_it_was_received(cls, fields, name):
    event = cls(received_time=12.5, **{field: field for field in fields})
    assert event.received_time == 12.5
    assert [getattr(event, field) for field in fields] == list(fields)


@pytest.mark.parametrize('cls, fields, name', EVENTS)
def test_event_names_are_class_names_in_snake_case(cls, fields, name):
    snake_case = re.sub('(?<=.)([A-Z])', r'_\1', cls.__name__).lower()
    assert name == {'unknown_message': 'unknown'}.get(snake_case, snake_case)


@pytest.mark.parametrize('cls, fields, name', EVENTS)
def test_event_has_no_dict(cls, fields, name):
    event = cls(*[None for _field in fields])
    with pytest.raises(AttributeError):
        event.no_such_field = 1


def test_defaults_are_those_of_0_3_x():
    assert events.Connected(u'ws://x').proxy is None
    assert events.Disconnected().reason == u'closed'
    assert events.Disconnected().graceful is False


def test_connect_fail_says_how_far_it_came():
    cause = OSError()
    event = events.ConnectFail(u'no', 'tls', cause)
    assert (event.phase, event.cause) == ('tls', cause)
    event = events.ConnectFail(u'no')
    assert (event.phase, event.cause) == ('connect', None)


def test_protocol_error_has_the_close_code():
    assert events.ProtocolError(u'no', False, 1007).close_code == 1007
    assert events.ProtocolError(u'no', True).close_code is None


def test_repr_names_the_fields():
    assert repr(events.Closing(1000, 'bye')) == "Closing(code=1000, reason='bye')"
    assert repr(events.Poll()) == 'Poll()'


@pytest.mark.parametrize('event', [
    events.Text(u'x' * 10 ** 6), events.Binary(b'x' * 10 ** 6),
    events.Rejected(None, u'x' * 10 ** 6)])
def test_repr_is_short_whatever_the_event_carries(event):
    assert len(repr(event)) < 200
    assert '1000000 in all' in repr(event)


def test_repr_shows_80_characters_whole():
    assert repr(events.Text('x' * 80)) == "Text(text='{}')".format('x' * 80)


def test_text_is_decoded_as_json_once():
    event = events.Text(u'{"price": [1, null, "\xe9"]}')
    assert event.json == {u'price': [1, None, u'\xe9']}
    assert event.json is event.json


def test_text_that_is_not_json_raises_value_error():
    event = events.Text(u'{')
    for _again in range(2):
        with pytest.raises(ValueError):
            _value = event.json


# -- a reader of one's own for JSON --

def read_exactly(text):
    """Read numbers as they are written."""
    return json.loads(text, parse_float=Decimal)


class Reader(object):
    """Callable, and nothing to put in a dict or a set."""

    __hash__ = None

    def __init__(self):
        self.texts = []

    def __eq__(self, other):
        return True

    def __call__(self, text):
        self.texts.append(text)
        return read_exactly(text)


def make_text(reader, text=u'{"price": 0.1}'):
    return events.text_class(reader)(text, 12.5)


def test_without_a_reader_the_class_is_text_itself():
    assert events.text_class(None) is events.Text


def test_a_named_reader_reads_the_text_once():
    reader = Reader()
    event = make_text(reader)
    assert reader.texts == []
    assert event.json == {u'price': Decimal('0.1')}
    assert event.json is event.json
    assert reader.texts == [u'{"price": 0.1}']
    assert type(reader.texts[0]) is type(u'')


@pytest.mark.parametrize('result', [None, False, 0, b''])
def test_what_a_reader_returns_is_kept_whatever_it_is(result):
    texts = []

    def read(text):
        texts.append(text)
        return result

    event = make_text(read)
    assert event.json is event.json is result
    assert len(texts) == 1


@pytest.mark.parametrize('error', [ValueError, KeyError, AttributeError, SystemExit])
def test_what_a_reader_raises_goes_through_each_time(error):
    raised = []

    def fail(_text):
        raised.append(error('no'))
        raise raised[-1]

    event = make_text(fail)
    for _again in range(2):
        with pytest.raises(error) as caught:
            _value = event.json
        assert caught.value is raised[-1]
    assert len(raised) == 2
    assert event.text == u'{"price": 0.1}'


def test_an_event_with_a_reader_is_a_text_event_like_any_other():
    event = make_text(read_exactly, u'{}')
    plain = events.Text(u'{}', 12.5)
    assert isinstance(event, events.Text)
    assert type(event).__name__ == 'Text'
    assert event.name == 'text'
    assert event.received_time == 12.5
    assert type(event).__match_args__ == ('text',)
    assert repr(event) == repr(plain)
    assert sys.getsizeof(event) == sys.getsizeof(plain)
    with pytest.raises(AttributeError):
        event.no_such_field = 1


def test_a_method_reads_as_a_function_does():
    """It isn't taken for a method of the event."""
    assert make_text(Decimal, u'1.50').json == Decimal('1.50')
    assert make_text(json.JSONDecoder(parse_float=Decimal).decode).json == {
        u'price': Decimal('0.1')}
    assert make_text(lambda text: text).json == u'{"price": 0.1}'


def test_one_reader_makes_one_class_however_often_it_is_named():
    """A server names it for each connection."""
    first, second = Reader(), Reader()      # equal ones
    assert events.text_class(first) is events.text_class(first)
    assert events.text_class(first) is not events.text_class(second)


def test_the_class_goes_with_its_last_user():
    def read(text):
        return json.loads(text)

    event = make_text(read)
    text_class, reader = weakref.ref(type(event)), weakref.ref(read)
    del read
    gc.collect()
    assert event.json and text_class() and reader()
    del event
    gc.collect()
    assert text_class() is reader() is None


@pytest.mark.parametrize('reader', [
    None, read_exactly, Reader(), lambda text: 0, json.JSONDecoder(parse_float=Decimal).decode])
@pytest.mark.parametrize('copied', [copy.copy, copy.deepcopy])
@pytest.mark.parametrize('is_read', [False, True])
def test_a_copy_of_a_text_has_its_reader(reader, copied, is_read):
    event = make_text(reader)
    if is_read:
        assert event.json is not None
    twin = copied(event)
    assert type(twin) is type(event)
    assert (twin.text, twin.received_time, twin.json) == (event.text, 12.5, event.json)
    assert type(twin.json) is type(event.json)


@pytest.mark.parametrize('reader', [None, read_exactly, Decimal])
@pytest.mark.parametrize('protocol', range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_text_is_pickled_with_the_name_of_its_reader(reader, protocol):
    event = make_text(reader, u'0.1')
    twin = pickle.loads(pickle.dumps(event, protocol))
    assert type(twin) is type(event)
    assert (twin.text, twin.received_time, twin.json) == (u'0.1', 12.5, event.json)


def test_a_text_whose_reader_cannot_be_pickled_cannot_either():
    """It would be read in another way at the other end."""
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(make_text(lambda text: 0), 2)
