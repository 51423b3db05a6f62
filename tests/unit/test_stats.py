"""The numbers of a WebSocket, without one."""

from __future__ import absolute_import, division, print_function

import os
import sys

from lomond import stats as stats_module
from lomond.stats import RoundTrips, Stats
from tests.support import needs_frames


def test_all_begin_at_nothing():
    stats = Stats()
    assert stats.as_dict() == {
        'received': {'messages': 0, 'payload_bytes': 0, 'wire_bytes': 0},
        'sent': {'messages': 0, 'payload_bytes': 0, 'wire_bytes': 0},
        'pings_sent': 0,
        'pongs_received': 0,
        'round_trips': {'count': 0, 'last': None, 'minimum': None, 'mean': None},
        'attempts': 0,
        'connections': 0,
        'reconnects': 0,
        'dropped': 0,
        'time_connected': 0.0,
    }


def test_round_trips_have_a_last_a_minimum_and_a_mean():
    round_trips = RoundTrips()
    for seconds in (0.25, 0.125, 0.75):
        round_trips.add(seconds)
    assert round_trips.as_dict() == {
        'count': 3, 'last': 0.75, 'minimum': 0.125, 'mean': 0.375}


@needs_frames
def test_round_trips_are_all_of_one_moment_wherever_they_are_read():
    round_trips = RoundTrips()
    read = []
    for seconds in (0.5, 0.25, 1.0):
        at_each_line(lambda: read.append((round_trips.as_dict(), round_trips.mean)),
                     round_trips.add, seconds)
    read.append((round_trips.as_dict(), round_trips.mean))
    known = [
        {'count': 0, 'last': None, 'minimum': None, 'mean': None},
        {'count': 1, 'last': 0.5, 'minimum': 0.5, 'mean': 0.5},
        {'count': 2, 'last': 0.25, 'minimum': 0.25, 'mean': 0.375},
        {'count': 3, 'last': 1.0, 'minimum': 0.25, 'mean': 1.75 / 3},
    ]
    assert [numbers for numbers, _mean in read if numbers not in known] == []
    assert all(mean == numbers['mean'] for numbers, mean in read)


@needs_frames
def test_the_numbers_of_a_dict_fit_together_while_they_grow():
    """What follows from something is never ahead of it."""
    def grow():
        stats.attempts += 1
        stats.opened(lambda: 100.0)
        stats.pings_sent += 1
        stats.pongs_received += 1
        stats.round_trips.add(0.5)

    stats = Stats()
    grow()
    for _again in range(3):
        numbers = at_each_line(grow, stats.as_dict)
        assert numbers['round_trips']['count'] <= numbers['pongs_received'] \
            <= numbers['pings_sent']
        assert numbers['connections'] <= numbers['attempts']
        assert numbers['reconnects'] == numbers['connections'] - 1


def test_time_connected_goes_on_over_connections_and_counts_the_present_one():
    now = [100.0]
    stats = Stats()
    span = stats.opened(lambda: now[0])
    now[0] += 5
    assert stats.time_connected == 5
    span.end()
    now[0] += 50
    assert stats.time_connected == 5
    assert stats.reconnects == 0
    span = stats.opened(lambda: now[0])
    now[0] += 2
    assert stats.time_connected == 7
    assert stats.reconnects == 1


_MODULE = os.path.splitext(stats_module.__file__)[0]


def at_each_line(act, function, *args):
    """Call a function, and ``act()`` before each line of its module, as another thread might.

    Return what the function returns.
    """
    acting = []

    def trace(frame, _event, _argument):
        if acting or os.path.splitext(frame.f_code.co_filename)[0] != _MODULE:
            return None
        acting.append(None)
        act()
        acting.pop()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return function(*args)
    finally:
        sys.settrace(before)


class Reader(object):
    """Reads time_connected where it is called, and puts its clock forward by a second each time."""

    def __init__(self, stats):
        self._stats = stats
        self._now = 100.0
        self._is_reading = False
        self.read = []

    def __call__(self):
        if not self._is_reading:
            self._is_reading = True
            self._now += 1
            self.read.append(self._stats.time_connected)
            self._is_reading = False

    def clock(self):
        """Return the time of before another thread reads."""
        now = self._now
        self()
        return now


@needs_frames
def test_time_connected_never_falls_wherever_it_is_read():
    stats = Stats()
    reader = Reader(stats)
    for _connection in range(3):
        span = at_each_line(reader, stats.opened, reader.clock)
        at_each_line(reader, span.end)
        at_each_line(reader, span.end)
    reader()
    assert len(reader.read) > 20
    assert reader.read == sorted(reader.read)
    assert reader.read[-1] == stats.time_connected > 0


def test_time_connected_is_what_it_was_to_a_reader_that_is_held_up_over_the_end():
    """A thread between its read of the connection and of the clock never gets too much."""
    moments = []

    def clock():
        if moments:
            moments.pop()()
        return now[0]

    def end_and_wait():
        span.end()
        assert stats.time_connected == 5
        now[0] += 50

    now = [100.0]
    stats = Stats()
    span = stats.opened(clock)
    now[0] += 5
    moments.append(end_and_wait)
    assert stats.time_connected == 5
    assert stats.time_connected == 5


def test_time_connected_ends_where_the_first_reader_saw_the_end():
    """The thread that ends it is held up, right after it has read the clock."""
    moments = []

    def clock():
        moment = now[0]
        if moments:
            moments.pop()()
        return moment

    def wait_and_read():
        now[0] += 3
        read.append(stats.time_connected)

    now, read = [100.0], []
    stats = Stats()
    span = stats.opened(clock)
    now[0] += 5
    moments.append(wait_and_read)
    span.end()
    now[0] += 50
    assert read + [stats.time_connected] == sorted(read + [stats.time_connected])
    assert 5 <= stats.time_connected <= 8


def test_repr_shows_the_numbers():
    stats = Stats()
    stats.sent.messages += 3
    assert "'messages': 3" in repr(stats)
    assert repr(stats.sent) == 'Traffic(messages=3, payload_bytes=0, wire_bytes=0)'
