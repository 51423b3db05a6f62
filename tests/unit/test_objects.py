"""Events and counters as objects: the same, compiled or not, except for what docs/ list."""

from __future__ import absolute_import, division, print_function

import inspect
import sys
import weakref

import pytest

import lomond
from lomond import WebSocket, events, stats
from lomond.protocol.connection import CLIENT, Connection
from tests.support import IS_PYPY

mock = pytest.importorskip('unittest.mock', reason='2.7 has no mock')
typing = pytest.importorskip('typing')

#: The classes that a user meets and that have C types, when compiled, with an object of each.
TYPED = [events.Event(1.5), events.Text(u'1', 1.5), events.Binary(b'x', 1.5), stats.Traffic()]

#: Others, of which some have one of those for a base.
OTHERS = [
    events.TextPart(u'1', True, True), events.Utf8Text(b'1'), events.BinaryPart(b'x', True, True),
    events.Ping(b'x'), events.Closing(1000, u'bye'), events.Disconnected(), stats.Stats(),
    stats.RoundTrips()]

BY_CLASS = pytest.mark.parametrize('value', TYPED + OTHERS, ids=lambda value: type(value).__name__)
BY_TYPED_CLASS = pytest.mark.parametrize('value', TYPED, ids=lambda value: type(value).__name__)


def blank(cls):
    """Make an object by ``__new__`` alone, which each of these classes allows."""
    return cls.__new__(cls)


@BY_CLASS
def test_object_has_no_attributes_but_its_own(value):
    with pytest.raises(TypeError):
        vars(value)
    with pytest.raises(AttributeError):
        value.no_such_field = 1
    with pytest.raises(AttributeError):
        _value = value.no_such_field
    if not IS_PYPY:      # there all objects have weak references
        with pytest.raises(TypeError):
            weakref.ref(value)


@pytest.mark.parametrize('value', [
    value for value in TYPED + OTHERS if not isinstance(value, events.Event)],
    ids=lambda value: type(value).__name__)
def test_counters_are_equal_and_hashed_by_identity(value):
    twin = blank(type(value))
    assert value == value
    assert value != twin
    assert len({value, twin}) == 2
    assert hash(value) == object.__hash__(value)


@BY_CLASS
def test_subclass_has_a_dict_and_weak_references(value):
    class Own(type(value)):
        """An application's."""

    own = blank(Own)
    own.extra = 1
    assert vars(own) == {'extra': 1}
    assert weakref.ref(own)() is own
    assert isinstance(own, type(value))


@BY_CLASS
def test_subclass_may_have_slots(value):
    class Own(type(value)):
        __slots__ = ('extra',)

    own = blank(Own)
    own.extra = 1
    with pytest.raises(AttributeError):
        own.other = 1
    with pytest.raises(TypeError):
        vars(own)
    del own.extra
    assert not hasattr(own, 'extra')


@BY_CLASS
@pytest.mark.parametrize('is_first', [True, False])
def test_subclass_may_have_another_base(value, is_first):
    class Other(object):
        def other(self):
            return type(self).__name__

    bases = (type(value), Other) if is_first else (Other, type(value))
    assert blank(type('Mixed', bases, {})).other() == 'Mixed'


def test_subclass_may_have_constructor_name_and_methods_of_its_own():
    class Trade(events.Text):
        name = 'trade'

        def __init__(self, text):
            super(Trade, self).__init__(text, 12.5)
            self.price = float(text)

        def __eq__(self, other):
            return self.price == other.price

        __hash__ = None

        def __repr__(self):
            return 'Trade({})'.format(self.price)

    trade = Trade(u'1.5')
    assert (trade.name, trade.text, trade.received_time) == ('trade', u'1.5', 12.5)
    assert trade.price == 1.5
    assert trade.json == 1.5
    assert trade == Trade(u'1.50')
    assert repr(trade) == 'Trade(1.5)'
    with pytest.raises(TypeError):
        hash(trade)


def test_fields_may_be_set():
    event = events.Text(u'1', 1.5)
    event.text = u'2'
    event.received_time = None
    assert (event.text, event.received_time, event.json) == (u'2', None, 2)
    traffic = stats.Traffic()
    traffic.messages += 5
    assert traffic.as_dict() == {'messages': 5, 'payload_bytes': 0, 'wire_bytes': 0}


@BY_CLASS
def test_names_and_documentation_are_there(value):
    cls = type(value)
    assert cls.__module__ == ('lomond.stats' if hasattr(value, 'as_dict') else 'lomond.events')
    assert cls.__doc__
    assert isinstance(cls.__slots__, tuple)
    assert typing.get_type_hints(cls) == {}


MATCH = '''
match event:
    case events.Text(text, received_time=1.5):
        found = text
    case events.Binary(data):
        found = data
    case events.Closing(code, reason):
        found = code, reason
    case events.Event():
        found = None
'''


@pytest.mark.skipif(sys.version_info < (3, 10), reason='it has no match')
@pytest.mark.parametrize('event, expected', [
    (events.Text(u'x', 1.5), u'x'), (events.Text(u'x', 2.5), None), (events.Binary(b'x'), b'x'),
    (events.BinaryPart(b'x', True, True), b'x'), (events.Closing(1000, u'bye'), (1000, u'bye')),
    (events.Poll(), None)])
def test_match_takes_events_apart(event, expected):
    names = {'event': event, 'events': events}
    exec(MATCH, names)
    assert names['found'] == expected


# -- mocks and patches --

@BY_CLASS
def test_mock_of_an_object_has_its_attributes_alone(value):
    double = mock.create_autospec(value)
    assert set(dir(double)) >= {name for name in dir(value) if not name.startswith('_')}
    with pytest.raises(AttributeError):
        _value = double.no_such_field


@pytest.mark.parametrize('value, name', [
    (events.Ping(b'x'), 'data'), (events.Disconnected(), 'reason'), (stats.Stats(), 'sent'),
    (events.TextPart(u'1', True, True), 'frame_finished')])
def test_field_of_an_object_can_be_patched(value, name):
    before = getattr(value, name)
    with mock.patch.object(value, name, 7):
        assert getattr(value, name) == 7
    assert getattr(value, name) is before


@pytest.mark.parametrize('cls, name', [
    (events.Ping, '__repr__'), (events.Disconnected, '__repr__'), (stats.Stats, 'as_dict'),
    (stats.RoundTrips, 'add'), (Connection, 'encode'), (WebSocket, 'send_text')])
def test_method_of_a_class_without_c_types_can_be_patched(cls, name):
    with mock.patch.object(cls, name) as double:
        assert getattr(cls, name) is double
    assert getattr(cls, name) is not double


@pytest.mark.parametrize('path', ['lomond.events.time', 'lomond.protocol.decoder.time'])
def test_clock_of_a_module_can_be_patched(path):
    connection = Connection(CLIENT)
    connection.accept()
    with mock.patch(path, lambda: 12.5):
        event = events.Poll() if path.startswith('lomond.events') else \
            next(connection.receive(b'\x81\x01x'))
    assert event.received_time == 12.5


@pytest.mark.parametrize('function, expected', [
    (stats.Traffic.as_dict, '(self)'), (stats.Stats().opened, '(clock)'),
    (events.text_class, '(json_loads, as_bytes=False)'),
    (events.Ping, '(data, received_time=None)'),
    (Connection(CLIENT).decoder.receive, '(data)'),
    (Connection(CLIENT).encoder.encode, '(opcode, payload, compress=False)')])
def test_functions_methods_and_other_classes_have_signatures(function, expected):
    assert str(inspect.signature(function)) == expected


# -- what differs: each is in docs/howto/compiled-core.md --

@BY_TYPED_CLASS
def test_class_with_c_types_cannot_be_changed(value):
    if lomond.accelerated:
        with pytest.raises(TypeError):
            type(value).added = 1
    else:
        type(value).added = 1
        assert value.added
        del type(value).added


@BY_TYPED_CLASS
def test_class_with_c_types_has_no_signature(value):
    if lomond.accelerated:
        with pytest.raises(ValueError):
            inspect.signature(type(value))
    else:
        assert inspect.signature(type(value))


def test_field_with_a_c_type_that_was_not_set_or_was_deleted_is_none():
    deleted = events.Text(u'x')
    del deleted.text
    for event in (deleted, blank(events.Text)):
        assert getattr(event, 'text', 'missing') == (None if lomond.accelerated else 'missing')


def test_field_with_a_c_type_can_be_patched_by_what_sets_it_again(monkeypatch):
    """mock.patch deletes it, and looks whether it is still there."""
    event = events.Text(u'x')
    with monkeypatch.context() as patch:
        patch.setattr(event, 'text', u'y')
        assert event.text == u'y'
    assert event.text == u'x'
    with mock.patch.object(event, 'text', u'y'):
        assert event.text == u'y'
    assert event.text == (None if lomond.accelerated else u'x')


@pytest.mark.skipif(not lomond.accelerated, reason='without a C type an attribute takes anything')
def test_counter_with_a_c_type_takes_only_whole_numbers_that_fit():
    traffic = stats.Traffic()
    with pytest.raises(TypeError):
        traffic.messages = None
    with pytest.raises(OverflowError):
        traffic.messages = 2 ** 63
    with pytest.raises(NotImplementedError):
        del traffic.messages
    traffic.messages = 2 ** 63 - 1
    assert traffic.messages == 2 ** 63 - 1
