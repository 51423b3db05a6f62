"""The events: names, fields, defaults, repr, JSON."""

from __future__ import absolute_import, division, print_function

import re
import time

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
