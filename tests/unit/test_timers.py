"""The timers of a session, by a made-up clock."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond.engine.timers import NEVER, Deadlines, IdleTimer, Scheduled, Timers
from lomond.stats import Traffic


def make_timers(now=100.0, poll=None, ping_rate=None, ping_timeout=None, heartbeat=None):
    return Timers(now, poll, ping_rate, ping_timeout, heartbeat)


def test_poll_is_due_after_its_interval_and_then_again():
    timers = make_timers(poll=5)
    assert not timers.poll_is_due(104.9)
    assert timers.poll_is_due(105.0)
    assert not timers.poll_is_due(105.0)
    assert timers.poll_is_due(110.0)


def test_a_late_poll_does_not_shift_the_next():
    timers = make_timers(poll=5)
    assert timers.poll_is_due(107.0)
    assert timers.next_poll == 110.0


def test_missed_polls_are_not_made_up_for():
    timers = make_timers(poll=5)
    assert timers.poll_is_due(1000.0)
    assert timers.next_poll == 1005.0


@pytest.mark.parametrize('never', [None, 0, 0.0])
def test_none_and_0_mean_never(never):
    timers = make_timers(poll=never, ping_rate=never, ping_timeout=never, heartbeat=never)
    assert not timers.poll_is_due(1e12)
    assert not timers.ping_is_due(1e12)
    assert not timers.beat_is_due(1e12)
    timers.asked(1e12)
    assert not timers.is_silent(1e15)
    assert timers.dead_at == NEVER


def test_ping_is_due_after_its_interval_whatever_poll_is():
    timers = make_timers(poll=1000, ping_rate=30)
    assert not timers.ping_is_due(129.9)
    assert timers.ping_is_due(130.0)
    assert not timers.ping_is_due(159.9)
    assert timers.ping_is_due(160.0)


def test_a_late_ping_sets_the_next_a_whole_interval_later():
    timers = make_timers(ping_rate=30)
    assert timers.ping_is_due(200.0)
    assert timers.next_ping == 230.0


def test_silence_counts_from_the_last_byte_heard():
    timers = make_timers(ping_rate=30, ping_timeout=60)
    timers.last_received = 110.0
    timers.asked(130.0)
    assert not timers.is_silent(169.9)
    assert timers.is_silent(170.0)


def test_silence_is_none_before_a_ping_asked():
    timers = make_timers(ping_rate=30, ping_timeout=5)
    assert not timers.is_silent(129.0)
    timers.asked(130.0)
    assert not timers.is_silent(132.4)
    assert timers.is_silent(132.5)


@pytest.mark.parametrize('ping_rate', [0.1, 2, 5, 9.9, 10, 15, 20, 30, 1000])
@pytest.mark.parametrize('last_byte', [0.05, 1, 4.9, 5, 9.99, 10, 19, 20, 31])
def test_silence_is_noticed_after_ping_timeout_whatever_ping_rate_is(ping_rate, last_byte):
    timers = make_timers(0.0, ping_rate=ping_rate, ping_timeout=10)
    now = 0.0
    while True:
        now = min(timers.next_ping, timers.dead_at)
        if now < last_byte:
            timers.last_received = now      # it answers at once, and then no more
        elif timers.last_received < last_byte:
            timers.last_received = last_byte
        if timers.ping_is_due(now):
            timers.asked(now)
            if now < last_byte:
                timers.last_received = now
        if timers.is_silent(now):
            break
    assert now == pytest.approx(timers.last_received + 10)


def test_a_peer_that_speaks_is_asked_every_ping_rate_only():
    timers = make_timers(ping_rate=30, ping_timeout=5)
    for now in range(101, 130):
        timers.last_received = now
        assert not timers.ping_is_due(now)
    assert timers.ping_is_due(130.0)


def test_a_silent_peer_is_asked_at_half_of_ping_timeout():
    timers = make_timers(ping_rate=30, ping_timeout=5)
    timers.last_received = 101.0
    assert not timers.ping_is_due(102.5)
    assert timers.next_ping == 103.5
    assert timers.ping_is_due(103.5)


def test_without_a_ping_rate_no_ping_and_no_verdict_comes():
    timers = make_timers(ping_rate=0, ping_timeout=5)
    assert timers.next_ping == NEVER
    assert not timers.ping_is_due(1e9)
    assert not timers.is_silent(1e9)


def test_a_peer_that_was_asked_late_has_its_time_to_answer():
    timers = make_timers(ping_rate=30, ping_timeout=60)
    timers.asked(1000.0)
    assert not timers.is_silent(1029.9)
    assert timers.is_silent(1030.0)


def test_a_second_ping_does_not_prolong_the_wait():
    timers = make_timers(ping_rate=10, ping_timeout=25)
    timers.asked(110.0)
    timers.asked(120.0)
    assert timers.dead_at == 125.0


def test_any_byte_after_the_ping_is_an_answer():
    timers = make_timers(ping_rate=30, ping_timeout=60)
    timers.asked(130.0)
    timers.last_received = 140.0
    assert not timers.is_silent(10000.0)
    assert timers.dead_at == NEVER


def test_an_answer_in_the_same_tick_of_the_clock_is_one():
    timers = make_timers(ping_rate=30, ping_timeout=60)
    timers.asked(130.0)
    timers.last_received = 130.0
    assert not timers.is_silent(10000.0)


def test_a_ping_after_an_answer_asks_anew():
    timers = make_timers(ping_rate=30, ping_timeout=60)
    timers.asked(130.0)
    timers.last_received = 131.0
    timers.asked(160.0)
    assert timers.dead_at == 191.0


def test_a_loop_that_was_held_up_asks_once_more_before_the_verdict():
    """A suspended machine, say: the answer may have got lost meanwhile."""
    timers = make_timers(ping_rate=30, ping_timeout=60)
    assert timers.ping_is_due(130.0)
    timers.asked(130.0)
    assert timers.ping_is_due(5000.0)
    timers.asked(5000.0)
    assert not timers.ping_is_due(5029.9)
    assert not timers.is_silent(5029.9)
    assert timers.is_silent(5030.0)


def test_a_loop_that_is_held_up_again_and_again_comes_to_its_verdict():
    timers = make_timers(ping_rate=30, ping_timeout=60)
    timers.asked(130.0)
    assert timers.ping_is_due(5000.0)
    timers.asked(5000.0)
    assert timers.is_silent(9000.0)


def test_an_answer_to_the_ping_of_a_loop_that_was_held_up_is_one():
    timers = make_timers(ping_rate=30, ping_timeout=60)
    timers.asked(130.0)
    assert timers.ping_is_due(5000.0)
    timers.asked(5000.0)
    timers.last_received = 5001.0
    assert not timers.is_silent(5040.0)
    # All is as before: held up once more, it asks once more.
    assert timers.ping_is_due(5050.0)
    timers.asked(5050.0)
    assert timers.ping_is_due(9000.0)
    timers.asked(9000.0)
    assert not timers.is_silent(9000.0)


def test_a_verdict_that_comes_in_time_is_not_put_off():
    timers = make_timers(ping_rate=30, ping_timeout=60)
    timers.asked(130.0)
    assert timers.ping_is_due(160.5)
    timers.asked(160.5)
    assert timers.is_silent(160.9)


# -- heartbeats --

def test_a_heartbeat_is_due_after_its_interval_whatever_the_others_are():
    timers = make_timers(poll=1000, ping_rate=1000, heartbeat=20)
    assert not timers.beat_is_due(119.9)
    assert timers.beat_is_due(120.0)
    assert not timers.beat_is_due(139.9)
    assert timers.beat_is_due(140.0)


def test_missed_heartbeats_are_not_made_up_for():
    timers = make_timers(heartbeat=20)
    assert timers.beat_is_due(5000.0)
    assert not timers.beat_is_due(5000.0)
    assert timers.next_beat == 5020.0


def test_what_arrives_does_not_put_off_a_heartbeat():
    timers = make_timers(ping_rate=30, ping_timeout=10, heartbeat=20)
    timers.last_received = 119.0
    assert timers.beat_is_due(120.0)


def test_a_heartbeat_is_no_question():
    timers = make_timers(ping_timeout=5, heartbeat=20)
    assert timers.beat_is_due(120.0)
    assert not timers.is_silent(1e9)
    assert timers.next_ping == NEVER


def test_the_first_heartbeat_may_be_spread_and_the_others_follow_at_their_rate():
    timers = make_timers(heartbeat=20)
    timers.spread(100.0, 0.5)
    assert timers.next_beat == 110.0
    assert timers.beat_is_due(110.0)
    assert timers.next_beat == 130.0


# -- messages that stop --

class Feed(object):
    """An `IdleTimer` of 60 seconds from 100.0 on, and what the session does with it."""

    def __init__(self, earlier=0):
        self.received = Traffic()
        self.received.messages = earlier
        self.timer = IdleTimer(100.0, 60, self.received)

    def read(self, now, messages=0):
        """Read bytes with so many whole messages in them."""
        self.timer.was_read(now)
        self.received.messages += messages

    def find_silence(self, now):
        """Look once it is due, and once more after a read that is to confirm it."""
        found = None
        for _again in range(2):
            if found is None and self.timer.due_at <= now:
                found = self.timer.find_silence(now, False)
        return found


def test_silence_of_a_feed_counts_from_the_beginning():
    feed = Feed(earlier=7)      # of an earlier connection
    assert feed.timer.due_at == 160.0
    assert feed.find_silence(159.9) is None
    assert feed.find_silence(160.0) == 60.0


def test_silence_of_a_feed_counts_from_the_read_of_its_last_message():
    feed = Feed()
    feed.read(110.0, messages=2)
    feed.read(130.0)        # of a pong
    assert feed.find_silence(160.0) is None
    assert feed.timer.due_at == 170.0
    assert feed.find_silence(170.5) == 60.5


def test_pings_and_parts_of_messages_are_no_messages():
    feed = Feed()
    for now in range(101, 160):
        feed.read(float(now))
    assert feed.find_silence(160.0) == 60.0


def test_silence_is_reported_once_until_a_message_comes():
    feed = Feed()
    assert feed.find_silence(160.0) == 60.0
    feed.read(200.0)
    assert feed.find_silence(220.0) is None
    feed.read(230.0, messages=1)
    assert feed.find_silence(280.0) is None
    assert feed.timer.due_at == 290.0       # 60 seconds after that message, though long reported
    assert feed.find_silence(290.0) == 60.0


def test_a_message_right_after_the_report_ends_the_silence():
    feed = Feed()
    assert feed.find_silence(160.0) == 60.0
    feed.read(160.5, messages=1)
    assert feed.timer.due_at <= 160.5 + 60
    assert feed.find_silence(220.0) is None
    assert feed.find_silence(220.5) == 60.0


def test_silence_has_to_be_confirmed_by_a_read_that_begins_after_it():
    """A process that was stopped between a read and a look at the clock has read nothing since."""
    feed = Feed()
    assert feed.timer.find_silence(5000.0, False) is None
    assert feed.timer.due_at <= 5000.0      # at once
    feed.read(5001.0, messages=3)
    assert feed.timer.find_silence(5001.0, False) is None
    assert feed.timer.due_at == 5061.0
    assert feed.find_silence(5061.0) == 60.0


def test_control_frames_in_each_read_do_not_put_off_the_report():
    feed = Feed()
    feed.read(160.0)
    assert feed.timer.find_silence(160.0, False) is None
    feed.read(160.0)
    assert feed.timer.find_silence(160.0, False) == 60.0


def test_a_large_message_that_is_read_in_parts_is_waited_for():
    feed = Feed()
    for now in (5000.0, 5001.0, 5002.0):    # each read finds a part of what has long been there
        feed.read(now)
        assert feed.timer.find_silence(now, True) is None
        assert feed.timer.due_at <= now
    feed.read(5003.0, messages=1)
    assert feed.timer.find_silence(5003.0, False) is None
    assert feed.timer.due_at == 5063.0


def test_silence_that_was_confirmed_late_is_as_long_as_was_known():
    feed = Feed()
    assert feed.timer.find_silence(161.0, False) is None
    assert feed.timer.find_silence(9000.0, False) == 61.0


def test_a_timer_that_was_stopped_finds_no_silence():
    feed = Feed()
    feed.timer.stop()
    assert feed.find_silence(1e9) is None
    assert feed.timer.due_at == NEVER


def test_the_first_ping_may_be_spread_and_the_others_follow_at_their_rate():
    timers = make_timers(ping_rate=30)
    timers.spread(100.0, 0.25)
    assert timers.next_ping == 107.5
    assert timers.ping_is_due(107.5)
    assert timers.next_ping == 137.5


def test_a_spread_of_nothing_is_never():
    timers = make_timers()
    timers.spread(100.0, 0.25)
    assert (timers.next_ping, timers.next_beat) == (NEVER, NEVER)


def test_the_pings_of_a_crowd_do_not_come_together():
    """No tenth of a second has more than a twentieth of them."""
    slots = {}
    for number in range(10000):
        timers = make_timers(ping_rate=30)
        timers.spread(100.0, 0.5 + 0.5 * number / 10000)
        slot = int(timers.next_ping * 10)
        slots[slot] = slots.get(slot, 0) + 1
    assert max(slots.values()) <= 500


# -- the deadlines of many --

def take(deadlines, now):
    return [(at, thing) for at, thing in deadlines.take_due(now)]


def test_deadlines_come_in_their_order_each_once():
    deadlines = Deadlines()
    things = [Scheduled() for _ in range(3)]
    for thing, at in zip(things, (3.0, 1.0, 2.0)):
        deadlines.set(thing, at)
    assert deadlines.first == 1.0
    assert take(deadlines, 0.9) == []
    assert take(deadlines, 2.0) == [(1.0, things[1]), (2.0, things[2])]
    assert [thing.scheduled for thing in things] == [3.0, NEVER, NEVER]
    assert take(deadlines, 9.0) == [(3.0, things[0])]
    assert deadlines.first == NEVER


def test_equal_deadlines_of_many_come_all():
    deadlines = Deadlines()
    things = [Scheduled() for _ in range(100)]
    for thing in things:
        deadlines.set(thing, 1.0)
    assert {id(thing) for _at, thing in take(deadlines, 1.0)} == {id(thing) for thing in things}


def test_only_the_deadline_that_was_set_last_counts():
    deadlines = Deadlines()
    earlier, later, dropped = [Scheduled() for _ in range(3)]
    for thing in (earlier, later, dropped):
        deadlines.set(thing, 2.0)
    deadlines.set(earlier, 1.0)
    deadlines.set(later, 3.0)
    deadlines.drop(dropped)
    deadlines.drop(dropped)
    assert take(deadlines, 2.5) == [(1.0, earlier)]
    assert take(deadlines, 3.0) == [(3.0, later)]
    assert deadlines.heap == []


def test_a_deadline_that_is_set_while_others_come_is_among_them_if_it_is_due():
    deadlines = Deadlines()
    things = [Scheduled() for _ in range(2)]
    deadlines.set(things[0], 1.0)
    taken = []
    for _at, thing in deadlines.take_due(2.0):
        taken.append(thing)
        if len(taken) == 1:
            deadlines.set(things[1], 1.5)
            deadlines.set(things[0], 3.0)
    assert taken == things
    assert things[0].scheduled == 3.0


def test_outdated_deadlines_are_at_most_a_third_of_the_others_and_some():
    deadlines = Deadlines()
    things = [Scheduled() for _ in range(1000)]
    for number, thing in enumerate(things):
        deadlines.set(thing, 1000.0 + number)
        deadlines.set(thing, 10.0)
        assert len(deadlines.heap) <= (number + 1) * 4 / 3.0 + 65
    assert len(take(deadlines, 10.0)) == 1000
