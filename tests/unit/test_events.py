"""The events: names, fields, defaults, repr, JSON and who reads it."""

from __future__ import absolute_import, division, print_function

import ast
import copy
import gc
import json
import pickle
import re
import socket
import ssl
import sys
import time
import weakref
from decimal import Decimal
from fractions import Fraction

import pytest
from six import integer_types
from six.moves import cPickle

import lomond
from lomond import errors, events
from lomond.http.response import Response
from lomond.protocol.handshake import Request
from tests.support import needs_sizes, read_source

# Constructor arguments, and what `name` is.
EVENTS = [
    (events.Connecting, ('url',), 'connecting'),
    (events.ConnectFail, ('reason',), 'connect_fail'),
    (events.Connected, ('url', 'proxy'), 'connected'),
    (events.Ready, ('response', 'protocol', 'extensions', 'connection'), 'ready'),
    (events.Rejected, ('response', 'reason'), 'rejected'),
    (events.Redirected, ('response', 'url'), 'redirected'),
    (events.Text, ('text',), 'text'),
    (events.TextPart, ('text', 'frame_finished', 'message_finished'), 'text'),
    (events.Utf8Text, ('data',), 'text'),
    (events.Utf8TextPart, ('data', 'frame_finished', 'message_finished'), 'text'),
    (events.Binary, ('data',), 'binary'),
    (events.BinaryPart, ('data', 'frame_finished', 'message_finished'), 'binary'),
    (events.Ping, ('data',), 'ping'),
    (events.Pong, ('data',), 'pong'),
    (events.Closing, ('code', 'reason'), 'closing'),
    (events.Closed, ('code', 'reason'), 'closed'),
    (events.Disconnected, ('reason', 'graceful'), 'disconnected'),
    (events.ProtocolError, ('error', 'critical'), 'protocol_error'),
    (events.Unresponsive, (), 'unresponsive'),
    (events.Stale, ('idle',), 'stale'),
    (events.Poll, (), 'poll'),
    (events.BackOff, ('delay', 'reason'), 'back_off'),
    (events.GaveUp, ('reason',), 'gave_up'),
    (events.UnknownMessage, ('message',), 'unknown'),
]

#: Those that are no special case of another, as `TextPart` is of `Text`.
KINDS = [kind for kind in EVENTS if not any(
    kind[0] is not other[0] and issubclass(kind[0], other[0]) for other in EVENTS)]

#: 2.7 takes 0 unless it is given another.
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def test_all_events_are_listed_here():
    listed = {cls for cls, _fields, _name in EVENTS}
    defined = {
        value for name, value in vars(events).items()
        if isinstance(value, type) and issubclass(value, events.Event)
        and value is not events.Event and not name.startswith('_')}
    assert defined == listed


def test_any_event_is_the_union_of_all_events_to_a_type_checker():
    unions = [node.value for node in ast.walk(ast.parse(read_source(events)))
              if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript)
              and getattr(node.targets[0], 'id', None) == 'AnyEvent']
    assert len(unions) == 1
    named = {node.id for node in ast.walk(unions[0].slice) if isinstance(node, ast.Name)}
    assert named == {cls.__name__ for cls, _fields, _name in KINDS}


def test_any_event_may_be_part_of_an_annotation():
    """At run time it is a class: Optional, List and Callable refuse a tuple of classes."""
    assert events.AnyEvent is events.Event


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


@pytest.mark.parametrize('cls, fields, name', KINDS)
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
    assert events.Disconnected().cause is None


def test_a_cause_is_not_shown_twice():
    event = events.Disconnected(u'cut', cause=ValueError(u'x' * 1000))
    assert repr(event) == 'Disconnected(reason={!r}, graceful=False, unsent=0)'.format(u'cut')
    assert event.__match_args__ == ('reason', 'graceful', 'unsent')


def test_ready_is_of_the_first_connection_unless_it_says_otherwise():
    assert events.Ready(RESPONSE, None, set()).connection == 1


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


# -- copies and pickles --

RESPONSE = Response(
    b'HTTP/1.1 407 Authentication \xe9\r\nVia: a\r\nVia: b\r\nX-Latin: \xfc\r\n\r\n')
RESPONSE.body = b'\0\xff'
REQUEST = Request(b'GET /?q=1 HTTP/1.1\r\nHost: example.org\r\n\r\n')


def tls_error():
    """Return what OpenSSL says of a file that is no certificate."""
    try:
        ssl.SSLContext(getattr(ssl, 'PROTOCOL_TLS_CLIENT', ssl.PROTOCOL_SSLv23)).load_cert_chain(
            __file__)
    except ssl.SSLError as error:
        return error


def connect_error():
    error = errors.ConnectFail.during('proxy', u'no {} \xe9', socket.timeout('timed out'))
    error.response = RESPONSE
    error.tried = ((u'::1', u'refused'), (u'127.0.0.1', u'timed out'))
    return error


def refusal():
    error = errors.HandshakeError(u'{}', u'the server answered 500 \xe9')
    error.status_code = 500     # as `UpgradeRefused` has it
    return error


CAUSES = [
    None, OSError(111, 'refused'), socket.timeout('timed out'), socket.gaierror(-2, 'no name'),
    tls_error(), UnicodeDecodeError('utf-8', b'\xff', 0, 1, 'invalid'), ValueError(u'\xe9', {}),
    errors.TransportFail.after(3, 5, u'cut {'), connect_error(), refusal(),
]


def look(value):
    """Return what can be compared, of what has no `==` of its own."""
    if isinstance(value, (events.Event, BaseException, Response, Request)):
        fields = dict(getattr(value, '__dict__', {}))
        fields.update((name, getattr(value, name)) for cls in type(value).__mro__
                      for name in getattr(cls, '__slots__', ()) if hasattr(value, name))
        if isinstance(value, BaseException):
            fields['args'] = value.args
        # Protocols 0 to 2 call a TimeoutError by the name that Python 2 had for it.
        kind = OSError if isinstance(value, socket.timeout) else type(value)
        return kind, {name: look(field) for name, field in fields.items()}
    if isinstance(value, tuple):
        return tuple(look(item) for item in value)
    return value.items() if type(value).__name__ == 'Headers' else value


FILLED = [
    events.Connecting(u'ws://example.org/\xe9', 1.5),
    events.Connected(u'ws://x/', u'http://proxy:3128', 0.1 + 0.2),
    events.Ready(RESPONSE, u'chat', {u'permessage-deflate'}),
    events.Ready(REQUEST, None, set(), 2),
    events.Rejected(RESPONSE, u'the server answered 407'),
    events.Redirected(RESPONSE, u'ws://elsewhere/'),
    events.Text(u'caf\xe9 \U0001f600 {}\0'),
    events.Text(u'[0.1, null]'),
    events.Binary(bytes(bytearray(range(256)))),
    events.Ping(b''),
    events.Pong(b'\0\x80'),
    events.Closing(1000, u'bye \xe9'),
    events.Closed(1005, u''),
    events.Disconnected(u'closed', True),
    events.ProtocolError(u'no', False, 1007),
    events.ProtocolError(u'no', True),
    events.Unresponsive(),
    events.Stale(61.5),
    events.Poll(2 ** 31 + 0.25),
    events.BackOff(1.5),
    events.GaveUp(u'no use'),
    events.UnknownMessage((1, b'x')),
    events.TextPart(u'caf\xe9', True, False),
    events.Utf8Text(b'"caf\xc3\xa9"'),
    events.Utf8TextPart(b'caf\xc3\xa9', False, False),
    events.BinaryPart(b'\0\xff', True, True),
] + [
    events.ConnectFail(u'no', 'tls', cause, RESPONSE, ((u'::1', u'refused'), (u'127.0.0.1', u'')))
    for cause in CAUSES
] + [
    events.Disconnected(u'cut', unsent=3, cause=cause) for cause in CAUSES
]
assert FILLED[7].json == [0.1, None]      # decoded: one more field


def copies(value):
    """Yield a copy by each way to make one."""
    yield copy.copy(value)
    yield copy.deepcopy(value)
    for protocol in PROTOCOLS:
        yield pickle.loads(pickle.dumps(value, protocol))


def test_all_events_are_filled_here():
    assert {type(event) for event in FILLED} == {cls for cls, _fields, _name in EVENTS}


@pytest.mark.parametrize('event', FILLED, ids=lambda event: event.name)
def test_event_is_copied_and_pickled_by_every_protocol_with_all_it_has(event):
    for twin in copies(event):
        assert type(twin) is type(event)
        assert twin is not event
        assert look(twin) == look(event)


@pytest.mark.parametrize('event', FILLED, ids=lambda event: event.name)
def test_event_without_all_its_fields_is_pickled_too(event):
    """As somebody may make one by ``__new__``."""
    blank = type(event).__new__(type(event))
    for twin in copies(blank):
        assert look(twin) == look(blank)
        # Compiled, Text, Binary and Event have their attributes from the beginning: None.
        assert set(look(blank)[1].values()) <= ({None} if lomond.accelerated else set())


# -- equality --

@pytest.mark.parametrize('event', FILLED, ids=lambda event: event.name)
def test_events_with_the_same_fields_are_equal_whenever_they_came(event):
    twin = copy.deepcopy(event)
    twin.received_time = -1.0
    assert twin == event
    assert not twin != event
    assert hash(twin) == hash(event)
    assert len({twin, event}) == 1


def test_events_are_equal_only_if_name_and_fields_are():
    blank = [type(event).__new__(type(event)) for event in FILLED]
    distinct = [event for event in FILLED if event.name not in ('connect_fail', 'disconnected')]
    for one in distinct + blank:
        assert one != distinct and one is not None
        assert [other for other in distinct if other == one] == ([one] if one in distinct else [])
        assert not one == one.name


@pytest.mark.parametrize('one, other', [
    (events.Closing(1000, u'a'), events.Closed(1000, u'a')),
    (events.Text(u'a'), events.Text(u'b')),
    (events.Text(u'a'), events.Binary(b'a')),
    (events.Text(u'a'), events.Utf8Text(b'a')),
    (events.Text(u'a'), events.TextPart(u'a', True, True)),
    (events.Ping(b'a'), events.Pong(b'a')),
    (events.Disconnected(u'a', True), events.Disconnected(u'a', False)),
    (events.ConnectFail(u'a', cause=ValueError(1)), events.ConnectFail(u'a', cause=ValueError(2))),
    (events.Rejected(RESPONSE, u''), events.Rejected(Response(b'HTTP/1.1 500 No\r\n\r\n'), u'')),
], ids=repr)
def test_these_events_differ(one, other):
    assert one != other
    assert not one == other


@pytest.mark.parametrize('one, other', [
    (events.Stale(2), events.Stale(Fraction(2))), (events.BackOff(2.0), events.BackOff(Decimal(2))),
    (events.Closing(1000, u''), events.Closing(integer_types[-1](1000), u''))], ids=repr)
def test_events_that_are_equal_have_one_hash_whatever_their_numbers_are(one, other):
    assert one == other
    assert hash(one) == hash(other)


def test_cause_of_an_end_is_compared_by_class_and_words_and_that_of_disconnected_is_not():
    assert events.ConnectFail(u'a', cause=ValueError(1)) \
        == events.ConnectFail(u'a', cause=ValueError(1))
    assert events.Disconnected(u'a', cause=ValueError(1)) == events.Disconnected(u'a')


def test_text_with_a_reader_of_its_own_equals_one_without():
    assert events.text_class(float)(u'1') == events.Text(u'1')
    assert events.text_class(float, True)(b'1') == events.Utf8Text(b'1')


def test_response_is_compared_by_its_bytes_and_its_body():
    head = b'HTTP/1.1 404 No\r\n\r\n'
    one, other = Response(head), Response(head)
    assert events.Rejected(one, u'no') == events.Rejected(other, u'no')
    other.body = b'more'
    assert events.Rejected(one, u'no') != events.Rejected(other, u'no')


class Tagged(events.Binary):
    """An event of an application's own, with a dict."""


def test_subclass_with_fields_of_its_own_keeps_them():
    event = Tagged(b'x', 12.5)
    event.tag = [u'a']
    for twin in copies(event):
        assert type(twin) is Tagged
        assert (twin.data, twin.received_time, twin.tag) == (b'x', 12.5, [u'a'])


def test_event_that_is_there_twice_is_one_after_pickling_too():
    event = events.Disconnected(u'cut', False, 12.5)
    for protocol in PROTOCOLS:
        # six's is 2.7's other pickler, in C.
        first, again = cPickle.loads(cPickle.dumps([event, event], protocol))
        assert first is again
        assert look(first) == look(event)


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
    with pytest.raises(AttributeError):
        event.no_such_field = 1


@needs_sizes
def test_an_event_with_a_reader_is_as_small_as_any_other():
    assert sys.getsizeof(make_text(read_exactly, u'{}')) == sys.getsizeof(events.Text(u'{}', 12.5))


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
@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_a_text_is_pickled_with_the_name_of_its_reader(reader, protocol):
    event = make_text(reader, u'0.1')
    twin = pickle.loads(pickle.dumps(event, protocol))
    assert type(twin) is type(event)
    assert (twin.text, twin.received_time, twin.json) == (u'0.1', 12.5, event.json)


def test_a_text_whose_reader_cannot_be_pickled_cannot_either():
    """It would be read in another way at the other end."""
    for protocol in PROTOCOLS:
        # TypeError: what 2.7 says of a lambda in protocols 0 and 1.
        with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
            pickle.dumps(make_text(lambda text: 0), protocol)
