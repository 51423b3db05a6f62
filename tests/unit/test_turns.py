"""The order in which senders wait for space."""

from __future__ import absolute_import, division, print_function

from lomond.engine.turns import Turns


class Sender(object):
    """One that waits: counts how often it was woken."""

    def __init__(self):
        self.wakes = 0

    def __call__(self):
        self.wakes += 1


def waiting(count):
    """Return turns, and so many senders that wait for theirs."""
    turns, senders = Turns(), [Sender() for _ in range(count)]
    for sender in senders:
        turns.join(sender)
    return turns, senders


def wakes(senders):
    return [sender.wakes for sender in senders]


def test_a_sender_that_does_not_wait_is_next_only_if_nobody_waits():
    turns = Turns()
    assert turns.is_next(None)
    turns.join(Sender())
    assert not turns.is_next(None)


def test_the_first_to_come_is_the_next():
    turns, senders = waiting(3)
    assert [turns.is_next(sender) for sender in senders] == [True, False, False]
    turns.wake_first()
    assert wakes(senders) == [1, 0, 0]


def test_joining_again_keeps_the_place():
    turns, senders = waiting(2)
    turns.join(senders[0])
    turns.leave(senders[0])
    assert turns.is_next(senders[1])
    turns.leave(senders[1])
    assert turns.is_next(None)


def test_one_that_leaves_passes_the_turn_on_wherever_it_stood():
    turns, senders = waiting(3)
    turns.leave(senders[1])
    assert wakes(senders) == [1, 0, 0]
    turns.leave(senders[0])
    assert wakes(senders) == [1, 0, 1]
    assert turns.is_next(senders[2])


def test_one_that_does_not_wait_leaves_without_waking_anybody():
    turns, senders = waiting(2)
    turns.leave(Sender())
    assert wakes(senders) == [0, 0]


def test_all_are_woken_though_the_first_leaves_at_once():
    def leave():
        turns.leave(leave)

    turns, senders = Turns(), [Sender(), Sender()]
    turns.join(leave)
    for sender in senders:
        turns.join(sender)
    turns.wake_all()
    assert all(wakes(senders))
    assert turns.is_next(senders[0])


def test_nobody_is_woken_if_nobody_waits():
    turns = Turns()
    turns.wake_first()
    turns.wake_all()
