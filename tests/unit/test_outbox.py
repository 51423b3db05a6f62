"""Messages that wait: in order, whole, within the limit, counted exactly."""

from __future__ import absolute_import, division, print_function

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lomond.engine.outbox import MAX_QUEUE, MESSAGE_SIZE, OVERFLOWS, Outbox, Overflow
from lomond.errors import OutboxFull
from lomond.opcode import Opcode


def group(*payloads):
    return tuple((Opcode.BINARY, payload) for payload in payloads)


def taken(outbox):
    """Take out all there is to send; return the payloads of each group."""
    groups = []
    while outbox.has_next:
        messages, _compress = outbox.pop()
        groups.append([payload for _opcode, payload in messages])
    return groups


def test_messages_come_out_in_order_with_what_was_asked_of_them():
    outbox = Outbox()
    outbox.push(group(b'a'), True)
    outbox.push(((Opcode.TEXT, b'b'), (Opcode.BINARY, b'c')), False)
    assert outbox.pop() == (group(b'a'), True)
    assert outbox.pop() == (((Opcode.TEXT, b'b'), (Opcode.BINARY, b'c')), False)
    assert outbox.pop() is None


def test_an_empty_one_holds_nothing():
    outbox = Outbox()
    assert (outbox.size, outbox.messages, outbox.has_next) == (0, 0, False)
    assert outbox.pop() is None
    assert outbox.clear() == 0
    assert outbox.max_queue == MAX_QUEUE
    assert outbox.overflow == Overflow.RAISE


def test_each_message_counts_its_payload_and_64_bytes():
    outbox = Outbox()
    outbox.push(group(b'', b'x' * 10), True)
    assert (outbox.size, outbox.messages) == (2 * 64 + 10, 2)
    outbox.pop()
    assert (outbox.size, outbox.messages) == (0, 0)


def test_the_messages_of_an_earlier_connection_come_first_and_keep_their_order():
    earlier, outbox = Outbox(), Outbox()
    earlier.push(group(b'a'), True)
    earlier.hold()
    earlier.push(group(b'b', b'c'), False)
    outbox.push(group(b'd'), True)
    assert outbox.put_first(earlier.take_all()) == 0
    assert (earlier.size, earlier.messages, earlier.has_next) == (0, 0, False)
    assert (outbox.size, outbox.messages) == (4 * 65, 4)
    assert taken(outbox) == [[b'a'], [b'b', b'c'], [b'd']]
    assert (outbox.size, outbox.messages) == (0, 0)


def test_the_oldest_messages_of_an_earlier_connection_are_refused_beyond_the_limit():
    earlier, outbox = Outbox(), Outbox(max_queue=4 * 65)
    for payloads in ((b'a', b'b'), (b'c',), (b'd', b'e')):
        earlier.push(group(*payloads), True)
    outbox.push(group(b'f'), True)
    assert outbox.put_first(earlier.take_all()) == 2
    assert taken(outbox) == [[b'c'], [b'd', b'e'], [b'f']]


def test_empty_messages_are_limited_too():
    outbox = Outbox(max_queue=640)
    for _ in range(10):
        outbox.push(group(b''), True)
    with pytest.raises(OutboxFull):
        outbox.push(group(b''), True)
    assert outbox.messages == 10


def test_none_is_no_limit():
    outbox = Outbox(max_queue=None)
    outbox.push(group(b'x' * 2 * MAX_QUEUE), True)
    assert not outbox.overflows(group(b'x' * 2 * MAX_QUEUE))
    outbox.push(group(b'y'), True)
    assert outbox.messages == 2


@pytest.mark.parametrize('overflow', [Overflow.RAISE, Overflow.BLOCK])
def test_what_does_not_fit_raises_and_takes_nothing(overflow):
    outbox = Outbox(max_queue=200, overflow=overflow)
    assert outbox.push(group(b'x' * 36), True) == 0
    assert outbox.overflows(group(b'', b''))
    with pytest.raises(OutboxFull) as caught:
        outbox.push(group(b'', b''), True)
    error = caught.value
    assert (error.size, error.queued, error.max_queue) == (128, 100, 200)
    assert '100 bytes wait' in str(error) and 'set overflow' in str(error)
    assert taken(outbox) == [[b'x' * 36]]


@pytest.mark.parametrize('overflow', sorted(OVERFLOWS))
def test_what_is_larger_than_the_limit_alone_raises_with_its_size(overflow):
    outbox = Outbox(max_queue=1000, overflow=overflow)
    outbox.push(group(b'a'), True)
    for messages in (group(b'x' * 937), group(b'x' * 500, b'x' * 373)):
        with pytest.raises(OutboxFull) as caught:
            outbox.push(messages, True)
        assert '1001 bytes' in str(caught.value) and 'raise max_queue' in str(caught.value)
    outbox.clear()
    assert outbox.push(group(b'x' * 936), True) == 0


def test_drop_oldest_drops_whole_groups_and_no_more_than_needed():
    outbox = Outbox(max_queue=64 * 6, overflow=Overflow.DROP_OLDEST)
    for messages in (group(b'', b'', b''), group(b''), group(b'', b'')):
        assert outbox.push(messages, True) == 0
    assert outbox.push(group(b''), True) == 3
    assert outbox.messages == 4
    assert outbox.push(group(b'', b''), True) == 0
    assert outbox.push(group(b''), True) == 1


def test_latest_drops_all_others():
    outbox = Outbox(max_queue=64 * 3, overflow=Overflow.LATEST)
    outbox.push(group(b'', b''), True)
    outbox.push(group(b''), True)
    assert outbox.push(group(b''), True) == 3
    assert taken(outbox) == [[b'']]


def test_what_is_kept_comes_after_what_was_sent_since():
    outbox = Outbox()
    outbox.push(group(b'1'), True)
    outbox.push(group(b'2'), True)
    outbox.hold()
    assert outbox.pop() is None
    assert outbox.messages == 2
    outbox.push(group(b'log in'), True)
    outbox.push(group(b'subscribe'), True)
    outbox.release()
    assert taken(outbox) == [[b'log in'], [b'subscribe'], [b'1'], [b'2']]


def test_what_is_kept_is_dropped_first():
    outbox = Outbox(max_queue=64 * 2, overflow=Overflow.DROP_OLDEST)
    outbox.push(group(b''), True)
    outbox.hold()
    outbox.push(group(b''), True)
    outbox.push(group(b''), True)
    outbox.release()
    assert len(taken(outbox)) == 2


def test_what_is_kept_over_several_connections_stays_in_order():
    """Some of which never open: nothing is released between."""
    outbox = Outbox()
    outbox.push(group(b'1'), True)
    outbox.hold()
    outbox.hold()
    outbox.push(group(b'2'), True)
    outbox.hold()
    outbox.release()
    outbox.release()
    assert taken(outbox) == [[b'1'], [b'2']]


class Model(RuleBasedStateMachine):
    """An outbox beside two plain lists of groups."""

    def __init__(self):
        super(Model, self).__init__()
        self.outbox = Outbox()
        self.waiting, self.kept = [], []
        self.number = 0

    @property
    def all(self):
        return self.kept + self.waiting

    def size_of(self, groups):
        return sum(len(payload) + MESSAGE_SIZE for messages in groups
                   for _opcode, payload in messages)

    @initialize(
        max_queue=st.none() | st.integers(1, 600), overflow=st.sampled_from(sorted(OVERFLOWS)))
    def make(self, max_queue, overflow):
        self.outbox = Outbox(max_queue, overflow)

    @rule(sizes=st.lists(st.integers(0, 120), min_size=1, max_size=4))
    def push(self, sizes):
        self.number += 1
        messages = group(*[b'%c' % (self.number % 256) * size for size in sizes])
        size, limit, overflow = (
            self.size_of([messages]), self.outbox.max_queue, self.outbox.overflow)
        fits = limit is None or self.size_of(self.all) + size <= limit
        assert self.outbox.overflows(messages) is not fits
        drops = overflow in (Overflow.LATEST, Overflow.DROP_OLDEST)
        if not fits and (size > limit or not drops):
            with pytest.raises(OutboxFull):
                self.outbox.push(messages, True)
            return
        dropped = 0
        while limit is not None and self.all and (
                self.size_of(self.all) + size > limit
                or not fits and overflow == Overflow.LATEST):
            dropped += len((self.kept or self.waiting).pop(0))
        assert self.outbox.push(messages, True) == dropped
        self.waiting.append(messages)

    @rule()
    def pop(self):
        expected = (self.waiting.pop(0), True) if self.waiting else None
        assert self.outbox.pop() == expected

    @rule()
    def clear(self):
        assert self.outbox.clear() == sum(len(messages) for messages in self.all)
        self.waiting, self.kept = [], []

    @rule()
    def hold(self):
        self.outbox.hold()
        self.waiting, self.kept = [], self.kept + self.waiting

    @rule()
    def release(self):
        self.outbox.release()
        self.waiting, self.kept = self.waiting + self.kept, []

    @invariant()
    def counts(self):
        assert self.outbox.size == self.size_of(self.all)
        assert self.outbox.messages == sum(len(messages) for messages in self.all)
        assert self.outbox.has_next is bool(self.waiting)
        assert self.outbox.max_queue is None or self.outbox.size <= self.outbox.max_queue


TestModel = Model.TestCase
