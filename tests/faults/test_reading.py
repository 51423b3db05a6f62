"""The peer's bytes are cut, delayed, split or spoilt, at each of them: what the events say.

A whole session each time, of the client and of the server's end.
"""

from __future__ import absolute_import, division, print_function

import random

import pytest

from tests.faults.scripted import (
    CLIENT,
    END,
    HEADS,
    RESET,
    SERVER,
    SILENCE,
    Conversation,
    Delay,
    by_driver,
    run,
)
from tests.protocol.harness import bytewise
from tests.sampling import share

by_role = pytest.mark.parametrize('role', [CLIENT, SERVER])
by_closer = pytest.mark.parametrize('we_close', [False, True], ids=['they close', 'we close'])
by_link = pytest.mark.parametrize('is_secure', [False, True], ids=['plain', 'tls'])


def close_mine(websocket):
    websocket.close(1000, u'mine')


class Trial(object):
    """Runs a conversation with faults in it."""

    def __init__(self, ready_fd, role, we_close=False, **options):
        self.talk = Conversation(role, we_close)
        self._ready_fd = ready_fd
        self._options = options
        self._on_ready = (close_mine,) if we_close else ()

    def run(self, script, **options):
        """Run it with a script that is made of its bytes."""
        return run(
            self._ready_fd, self.talk.role, script, on_ready=self._on_ready,
            **dict(self._options, **options))

    def check(self, received, outcome, where):
        """Assert that the story is the one of so many bytes, and its end the end of that."""
        assert outcome.events[:-1] == self.talk.expected(received), where
        assert outcome.frames == self.talk.expected_replies(received), where
        assert outcome.events[-1][2] is (received == self.talk.size), where


@by_driver
@by_role
@by_closer
@by_link
@pytest.mark.parametrize('fault', [END, RESET])
def test_cut_anywhere_gives_the_whole_messages_before_it(
        ready_fd, driver, role, we_close, is_secure, fault):
    trial = Trial(ready_fd, role, we_close, is_secure=is_secure, driver=driver)
    data = trial.talk.data
    for offset in share(range(trial.talk.size + 1)):
        outcome = trial.run([data[:offset], fault] if offset else [fault])
        trial.check(offset, outcome, offset)
        if offset < trial.talk.size:
            assert ('broke' if fault == RESET else 'closed the connection') \
                in outcome.events[-1][1], offset


@by_driver
@by_role
@by_closer
def test_cut_anywhere_is_the_same_with_a_read_for_each_frame(ready_fd, driver, role, we_close):
    trial = Trial(ready_fd, role, we_close, driver=driver)
    for offset in share(range(trial.talk.size + 1)):
        script = []
        left = offset
        for piece in [HEADS[role]] + trial.talk.frames:
            if left:
                script.append(piece[:left])
                left -= len(script[-1])
        trial.check(offset, trial.run(script + [END]), offset)


@by_driver
@by_role
@by_closer
@by_link
def test_split_anywhere_changes_nothing(ready_fd, driver, role, we_close, is_secure):
    trial = Trial(ready_fd, role, we_close, is_secure=is_secure, driver=driver)
    data = trial.talk.data
    for offset in share(range(1, trial.talk.size)):
        outcome = trial.run([data[:offset], data[offset:], END])
        trial.check(trial.talk.size, outcome, offset)


@by_driver
@by_role
@by_closer
@by_link
def test_one_byte_at_a_time_changes_nothing(ready_fd, driver, role, we_close, is_secure):
    trial = Trial(ready_fd, role, we_close, is_secure=is_secure, driver=driver)
    data = trial.talk.data
    outcome = trial.run(bytewise(data) + [END])
    trial.check(trial.talk.size, outcome, None)


@by_driver
@by_role
def test_any_split_changes_nothing(ready_fd, driver, role):
    trial = Trial(ready_fd, role, driver=driver)
    data = trial.talk.data
    chance = random.Random(6455)
    for _ in share(range(200)):
        points = sorted(chance.sample(range(1, trial.talk.size), chance.randint(2, 12)))
        outcome = trial.run([
            data[start:stop] for start, stop in zip([0] + points, points + [trial.talk.size])
        ] + [END])
        trial.check(trial.talk.size, outcome, points)


@by_driver
@by_role
@by_closer
def test_delay_anywhere_changes_nothing(ready_fd, driver, role, we_close):
    trial = Trial(ready_fd, role, we_close, driver=driver)
    data = trial.talk.data
    for offset in share(range(1, trial.talk.size)):
        outcome = trial.run([data[:offset], Delay(2), Delay(2), data[offset:], END])
        trial.check(trial.talk.size, outcome, offset)


@by_driver
@by_role
def test_delay_that_wakes_the_timers_adds_polls_and_pings_only(ready_fd, driver, role):
    trial = Trial(ready_fd, role, driver=driver)
    data = trial.talk.data
    head_size = len(HEADS[role])
    for offset in share(range(head_size, trial.talk.size)):
        outcome = trial.run([data[:offset], Delay(12), data[offset:], END],
                            loop_options={'poll': 10, 'ping_rate': 11})
        polls = [event for event in outcome.events if event == ('poll',)]
        assert len(polls) == 2, offset
        assert [event for event in outcome.events[:-1] if event != ('poll',)] == [
            event for event in trial.talk.expected(trial.talk.size) if event != ('poll',)], offset
        frames = list(outcome.frames)
        frames.remove((0x89, b'\0\0\0\0'))
        assert frames == trial.talk.expected_replies(trial.talk.size), offset
        assert outcome.events[-1] == ('disconnected', u'closed', True), offset


@by_driver
@by_role
def test_silence_during_the_handshake_ends_with_the_time_for_it(ready_fd, driver, role):
    trial = Trial(ready_fd, role, driver=driver)
    data = trial.talk.data
    for offset in share(range(len(HEADS[role]))):
        outcome = trial.run([data[:offset], SILENCE] if offset else [SILENCE])
        trial.check(offset, outcome, offset)
        assert u'the handshake took longer than ' in outcome.events[-1][1], offset


@by_driver
@by_role
def test_silence_anywhere_is_told_as_unresponsive(ready_fd, driver, role):
    trial = Trial(ready_fd, role, driver=driver)
    data = trial.talk.data
    for offset in share(range(len(HEADS[role]), trial.talk.size)):
        outcome = trial.run([data[:offset], SILENCE],
                            loop_options={'poll': 1000, 'ping_rate': 4, 'ping_timeout': 8})
        assert outcome.events[:-2] == trial.talk.expected(offset), offset
        assert outcome.events[-2] == ('unresponsive',), offset
        assert outcome.events[-1][1].endswith(u'is unresponsive'), offset


@by_driver
@by_role
def test_silence_after_our_close_frame_ends_with_close_timeout(ready_fd, driver, role):
    trial = Trial(ready_fd, role, we_close=True, driver=driver)
    data = trial.talk.data
    for offset in share(range(len(HEADS[role]), trial.talk.size)):
        outcome = trial.run([data[:offset], SILENCE],
                            loop_options={'poll': 1000, 'ping_rate': None, 'close_timeout': 5})
        trial.check(offset, outcome, offset)
        assert outcome.events[-1][1] == u'no answer to the Close frame in 5 seconds', offset


def _spoil(data, offset, value):
    """The bytes with another one in one place."""
    return data[:offset] + bytes(bytearray([value])) + data[offset + 1:]


def _check_spoilt(trial, outcome, offset, where):
    """Assert what is true wherever a byte is wrong."""
    talk = trial.talk
    if offset >= len(HEADS[talk.role]):
        certain = talk.expected(offset)     # what was whole before it
        assert outcome.events[:len(certain)] == certain, where
        assert len(outcome.events) > len(certain), where
    names = [event[0] for event in outcome.events]
    if 'ready' not in names:
        return
    frames = outcome.frames
    errors = [event for event in outcome.events if event[0] == 'protocol_error']
    if errors and not talk.we_close:
        # The peer is told, last of all (RFC 6455 7.1.7).
        (_name, error, critical, code), = errors
        assert not critical, where
        first, payload = frames[-1]
        assert first == 0x88, where
        assert payload[:2] == bytes(bytearray([code >> 8, code & 0xff])), where
        assert payload[2:].decode('utf-8') == error, where
        assert code in (1002, 1007, 1009), where
    # Pongs answer pings, one each, in order.
    pings = [event[1] for event in outcome.events if event[0] == 'ping']
    pongs = [payload for first, payload in frames if first == 0x8a]
    assert pongs == ([] if talk.we_close else pings), where
    assert [first for first, _payload in frames].count(0x88) <= 1, where


@by_driver
@by_role
@pytest.mark.parametrize('bit', range(8))
def test_bit_flipped_anywhere_gives_no_more_than_one_error_and_the_end(ready_fd, driver, role, bit):
    trial = Trial(ready_fd, role, we_close=bit % 2 == 1, driver=driver)
    data = trial.talk.data
    for offset in share(range(trial.talk.size)):
        outcome = trial.run([
            _spoil(data, offset, bytearray(data)[offset] ^ (1 << bit)), END])
        _check_spoilt(trial, outcome, offset, (offset, bit))


@by_driver
@by_role
@by_closer
@pytest.mark.parametrize('value', [0x00, 0xff])
def test_byte_replaced_anywhere_gives_no_more_than_one_error_and_the_end(
        ready_fd, driver, role, we_close, value):
    trial = Trial(ready_fd, role, we_close, driver=driver)
    data = trial.talk.data
    for offset in share(range(trial.talk.size)):
        outcome = trial.run([_spoil(data, offset, value), END])
        _check_spoilt(trial, outcome, offset, (offset, value))


@by_driver
@by_role
def test_byte_too_much_or_too_few_gives_no_more_than_one_error_and_the_end(ready_fd, driver, role):
    trial = Trial(ready_fd, role, driver=driver)
    data = trial.talk.data
    for offset in share(range(trial.talk.size)):
        for piece in (b'', b'\0'):
            outcome = trial.run([
                data[:offset] + piece + data[offset + (0 if piece else 1):], END])
            _check_spoilt(trial, outcome, offset, (offset, piece))
