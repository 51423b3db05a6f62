"""How long the phases of an attempt took: the value, and what measures it, on a test's clock."""

from __future__ import absolute_import, division, print_function

import copy
import pickle

import pytest

from lomond import events
from lomond.net.progress import Progress
from lomond.timings import NO_TIMINGS, Timings


class Hands(object):
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Hands()


def test_a_phase_lasts_until_the_next_begins(clock):
    progress = Progress(clock=clock)
    clock.now += 1
    progress.enter('resolve')
    clock.now += 2
    progress.enter('connect')
    clock.now += 4
    progress.enter('request')
    clock.now += 8
    progress.enter('handshake')
    clock.now += 16
    assert progress.timings() == Timings(
        resolve=2, connect=4, proxy=None, tls=None, handshake=16, total=31)


def test_the_present_phase_has_the_time_until_now(clock):
    progress = Progress(clock=clock)
    progress.enter('connect')
    clock.now += 3
    assert progress.timings() == NO_TIMINGS._replace(connect=3, total=3)
    clock.now += 3
    assert progress.timings().connect == 6


def test_a_stage_is_reported_with_the_seconds_of_the_present_phase(clock):
    told = []
    progress = Progress(lambda stage, **fields: told.append((stage, fields)), clock)
    progress.enter('proxy')
    clock.now += 2
    progress.report('tls', version='TLSv1.3')
    clock.now += 3
    progress.report('proxy')
    assert told == [('tls', {'version': 'TLSv1.3', 'seconds': 2}), ('proxy', {'seconds': 5})]


def test_timings_do_not_change():
    with pytest.raises(AttributeError):
        NO_TIMINGS.total = 1.0
    with pytest.raises(AttributeError):
        NO_TIMINGS.another = 1.0


def test_timings_are_copied_and_pickled():
    timings = Timings(0.5, 0.25, None, None, 1.0, 1.75)
    for twin in (copy.copy(timings), copy.deepcopy(timings), pickle.loads(pickle.dumps(timings))):
        assert twin == timings
        assert type(twin) is Timings


@pytest.mark.parametrize('event', [
    events.Ready(None, None, set()), events.Rejected(None, u'no'), events.ConnectFail(u'no')])
def test_an_event_without_a_connection_has_timings_without_numbers(event):
    assert event.timings == Timings(None, None, None, None, None, 0.0)
    assert 'timings' not in repr(event)


def test_disconnected_has_none_unless_it_ends_an_attempt():
    assert events.Disconnected().timings is None
    assert events.Disconnected(timings=NO_TIMINGS).timings == NO_TIMINGS


def test_events_that_come_in_great_numbers_have_none():
    for event in (events.Text(u''), events.Binary(b''), events.Poll(), events.Ping(b'')):
        assert not hasattr(event, 'timings')
