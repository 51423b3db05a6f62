"""The numbers of a WebSocket, without one."""

from __future__ import absolute_import, division, print_function

from lomond.stats import RoundTrips, Stats


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
        'time_connected': 0.0,
    }


def test_round_trips_have_a_last_a_minimum_and_a_mean():
    round_trips = RoundTrips()
    for seconds in (0.25, 0.125, 0.75):
        round_trips.add(seconds)
    assert round_trips.as_dict() == {
        'count': 3, 'last': 0.75, 'minimum': 0.125, 'mean': 0.375}


def test_time_connected_goes_on_over_connections_and_counts_the_present_one():
    now = [100.0]
    stats = Stats()
    stats.opened(lambda: now[0])
    now[0] += 5
    assert stats.time_connected == 5
    stats.closed()
    now[0] += 50
    assert stats.time_connected == 5
    assert stats.reconnects == 0
    stats.opened(lambda: now[0])
    now[0] += 2
    assert stats.time_connected == 7
    assert stats.reconnects == 1


def test_time_connected_does_not_fall_while_a_connection_ends():
    """Who reads it just then gets what it was, or what it will be."""
    read = []

    def clock():
        if asked:
            asked.pop()
            read.append(stats.time_connected)
        return 105.0

    asked = []
    stats = Stats()
    stats.opened(lambda: 100.0)
    stats._clock = clock
    asked.append(None)
    stats.closed()
    assert read == [5.0]


def test_the_end_of_no_connection_is_none():
    stats = Stats()
    stats.closed()
    stats.closed()
    assert stats.time_connected == 0


def test_repr_shows_the_numbers():
    stats = Stats()
    stats.sent.messages += 3
    assert "'messages': 3" in repr(stats)
    assert repr(stats.sent) == 'Traffic(messages=3, payload_bytes=0, wire_bytes=0)'
