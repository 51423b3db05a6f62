"""`Sink`: how its thread takes messages out of the queues, without a shard."""

from __future__ import absolute_import, division, print_function

import threading
from collections import deque

import pytest

from lomond.events import Text
from lomond.shards import Feed
from lomond.shards.sink import Sink
from tests.support import PATIENCE


class Keeping(Sink):
    """Keeps what it is given: a list of (name, text) for each batch. ``has`` is its last number."""

    has = None

    def __init__(self, **options):
        super(Keeping, self).__init__(**options)
        self.batches = []
        self.is_enough = threading.Event()

    def publish(self, batch):
        self.batches.append([(outlet.feed.name, message.data) for outlet, message in batch])
        if len(self.batches) == 3:
            self.is_enough.set()
        return ['published'] * len(batch)

    def last(self, _outlet):
        return self.has

    @property
    def texts(self):
        return [text for batch in self.batches for _name, text in batch]


@pytest.fixture
def closing():
    """A list of sinks that are closed in the end."""
    sinks = []
    yield sinks
    for sink in sinks:
        sink.close(PATIENCE)


def feed_of(name, **options):
    return Feed(name, u'ws://127.0.0.1:1/', **options)


def put(sink, outlet, *numbers):
    for number in numbers:
        sink.put(outlet, Text(u'{}'.format(number)))


def test_a_feed_gets_its_turn_though_ten_others_always_have_messages(closing):
    class Refilled(Keeping):
        def publish(self, batch):
            if len(self.batches) < 2:
                for outlet in busy:
                    put(self, outlet, *range(200))
            return super(Refilled, self).publish(batch)

    sink = Refilled(max_queue=None)
    closing.append(sink)
    busy = [sink.open(feed_of(u'busy {}'.format(number))) for number in range(10)]
    for outlet in busy:
        put(sink, outlet, *range(200))
    put(sink, sink.open(feed_of(u'quiet')), 1)
    sink.start()
    assert sink.is_enough.wait(PATIENCE)
    assert [len(batch) for batch in sink.batches[:2]] == [2000, 2000]
    assert sink.batches[1][0] == (u'quiet', u'1')


@pytest.fixture
def told():
    """What on_ready was called with."""
    return []


def test_on_ready_is_called_once_for_the_last_of_several_connections(told):
    sink = Keeping()
    outlet = sink.open(feed_of(u'a', on_ready=lambda *arguments: told.append(arguments)))
    sink.resume(outlet, u'first')
    sink.resume(outlet, u'second')
    sink.work()
    assert told == [(u'second', None)]


def test_on_ready_asks_for_nothing_that_is_queued_or_would_be_refused(told):
    sink = Keeping()
    outlet = sink.open(feed_of(u'a', sequence=lambda event: int(event.text),
                               on_ready=lambda _websocket, last: told.append(last)))
    sink.has = 3
    for number in 4, 5:
        sink.resume(outlet, u'websocket')
        sink.work()
        put(sink, outlet, number)
    sink.resume(outlet, u'websocket')
    sink.work()
    sink.has = 9
    sink.resume(outlet, u'websocket')
    sink.work()
    assert told == [3, 4, 5, 9]


def test_on_ready_of_a_feed_without_numbers_gets_none(told):
    sink = Keeping()
    sink.has = 7        # such as an epoch
    outlet = sink.open(feed_of(u'a', on_ready=lambda _websocket, last: told.append(last)))
    sink.resume(outlet, u'websocket')
    sink.work()
    assert told == [None]


def test_a_message_is_counted_before_it_leaves_the_queue():
    seen = []

    class Watched(deque):
        def popleft(self):
            seen.append(outlet.counts['published'])
            return super(Watched, self).popleft()

    sink = Keeping()
    outlet = sink.open(feed_of(u'a'))
    put(sink, outlet, 1, 2)
    outlet.queue = Watched(outlet.queue)
    sink.work()
    assert seen == [1, 2]


def numbers_of(event):
    return int(event.text)


def test_a_first_message_waits_for_those_before_it_though_the_sink_has_none():
    sink = Keeping()
    sink.has = 0
    outlet = sink.open(feed_of(u'a', sequence=numbers_of), overlap=PATIENCE)
    put(sink, outlet, 10)
    assert sink.work() and not sink.texts
    sink.has = 9
    sink.work()
    assert sink.texts == [u'10']


@pytest.mark.parametrize('has, overlap', [(None, PATIENCE), (0, 0)])
def test_a_first_message_waits_for_nothing_unknown_and_not_without_an_overlap(has, overlap):
    sink = Keeping()
    sink.has = has
    outlet = sink.open(feed_of(u'a', sequence=numbers_of), overlap=overlap)
    put(sink, outlet, 10)
    assert not sink.work()
    assert sink.texts == [u'10']


@pytest.mark.parametrize('sequence', [None, numbers_of])
def test_a_feed_that_is_held_again_lets_what_it_had_queued_go_first(sequence):
    sink = Keeping()
    sink.has = 0
    feed = feed_of(u'a', sequence=sequence)
    first = sink.open(feed, overlap=PATIENCE)
    first.has_begun = True
    put(sink, first, 1)
    _second, third, other = sink.open(feed), sink.open(feed), sink.open(feed_of(u'b'))
    put(sink, third, 3)
    put(sink, other, 9)
    assert sink.work() and sink.texts == [u'1', u'9']
    assert not sink.work() and sink.texts == [u'1', u'9', u'3']
    assert third.older == []


def test_what_a_sink_lost_is_accepted_again_if_nothing_came_after_it(told):
    sink = Keeping()
    outlet = sink.open(feed_of(u'a', sequence=numbers_of))
    put(sink, outlet, 1, 2, 3)
    sink.rewind(outlet, 3, 1)
    assert outlet.last_put == 3     # the queue would bring it after 3
    sink.work()
    sink.rewind(outlet, 3, 1)
    put(sink, outlet, 2, 3)
    sink.work()
    assert sink.texts == [u'1', u'2', u'3', u'2', u'3']


def test_a_sink_that_lost_all_accepts_any_first_number():
    sink = Keeping()
    outlet = sink.open(feed_of(u'a', sequence=numbers_of))
    put(sink, outlet, 10 ** 12)
    sink.work()
    sink.rewind(outlet, 10 ** 12, 0)
    put(sink, outlet, 10 ** 12)
    sink.work()
    assert sink.texts == [u'{}'.format(10 ** 12)] * 2


def test_what_comes_after_a_gap_waits_for_another_holder_after_a_reconnection():
    sink = Keeping()
    sink.has = 0
    outlet = sink.open(feed_of(u'a', sequence=numbers_of), overlap=PATIENCE)
    put(sink, outlet, 1, 2)
    sink.resume(outlet, u'websocket')
    put(sink, outlet, 3)        # nothing is missing
    for _ in range(3):
        sink.resume(outlet, u'websocket')
    put(sink, outlet, 6, 7)
    assert list(outlet.gaps) == [2, 3]
    for _ in range(3):
        sink.work()
    assert sink.texts == [u'1', u'2', u'3']
    assert sink.work()
    sink.has = 5
    assert not sink.work()
    assert sink.texts == [u'1', u'2', u'3', u'6', u'7']
    assert not outlet.gaps


def test_a_gap_after_a_reconnection_is_waited_for_no_longer_than_the_overlap():
    sink = Keeping()
    sink.has = 2
    outlet = sink.open(feed_of(u'a', sequence=numbers_of), overlap=1e-6)
    put(sink, outlet, 3)
    sink.resume(outlet, u'websocket')
    put(sink, outlet, 9)
    while len(sink.texts) < 2:
        sink.work()
    assert sink.texts == [u'3', u'9']


def test_without_an_overlap_a_gap_is_not_waited_for():
    sink = Keeping()
    sink.has = 2
    outlet = sink.open(feed_of(u'a', sequence=numbers_of))
    put(sink, outlet, 3)
    sink.resume(outlet, u'websocket')
    put(sink, outlet, 9)
    assert not sink.work()
    assert sink.texts == [u'3', u'9']


class Forgetful(Keeping):
    """A sink that can't say what it has of the feed ``unknown``."""

    unknown = u'a'

    def last(self, outlet):
        if outlet.feed.name == self.unknown:
            raise EnvironmentError('it is away')
        return super(Forgetful, self).last(outlet)


def test_a_feed_that_reconnects_while_the_sink_is_away_is_subscribed_by_what_waits(closing, told):
    sink = Forgetful()
    closing.append(sink)
    subscribed = threading.Event()

    def subscribe(websocket, last):
        told.append((websocket, last))
        subscribed.set()

    outlet = sink.open(feed_of(u'a', sequence=numbers_of, on_ready=subscribe))
    put(sink, outlet, 7)
    sink.resume(outlet, u'websocket')
    sink.start()
    assert subscribed.wait(PATIENCE)
    assert told == [(u'websocket', 7)]
    assert outlet.ready is None


def test_a_feed_without_numbers_is_subscribed_though_the_sink_can_not_begin(closing, told):
    class Away(Keeping):
        def begin(self):
            raise EnvironmentError('it is away')

    sink = Away()
    closing.append(sink)
    subscribed = threading.Event()
    outlet = sink.open(feed_of(u'a', on_ready=lambda *_arguments: subscribed.set()))
    sink.resume(outlet, u'websocket')
    sink.start()
    assert subscribed.wait(PATIENCE)


def test_a_feed_of_which_a_sink_can_not_say_what_it_has_holds_up_no_other(told):
    sink = Forgetful()
    outlets = [sink.open(feed_of(name, sequence=numbers_of,
                                 on_ready=lambda _websocket, last: told.append(last)))
               for name in (u'b', u'a', u'c')]
    for number in 1, 2, 3:
        for outlet in outlets:
            put(sink, outlet, number)
            sink.resume(outlet, u'websocket')
        for _ in range(3):
            assert sink.work()
    assert [text for batch in sink.batches for name, text in batch if name == u'b'] \
        == [text for batch in sink.batches for name, text in batch if name == u'c'] \
        == [u'1', u'2', u'3']
    assert sorted(told) == [1, 1, 2, 2, 3, 3]
    assert len(outlets[1].queue) == 3


def test_a_sink_that_answers_for_some_messages_gets_the_others_next():
    """A feed whose messages had no turn comes before one that had."""
    class Short(Keeping):
        def publish(self, batch):
            return super(Short, self).publish(batch[:2])

    sink = Short()
    outlets = [sink.open(feed_of(name)) for name in (u'a', u'b')]
    put(sink, outlets[0], 1, 2, 3, 4)
    put(sink, outlets[1], 5)
    for _ in range(3):
        assert not sink.work()
    assert sink.texts == [u'1', u'2', u'5', u'3', u'4']
    assert all(outlet.begun == 0 for outlet in outlets)


def test_the_words_of_an_error_may_be_bytes_of_any_language(closing):
    """As those of the system are, on 2.7."""
    class Failing(Keeping):
        def publish(self, batch):
            if not self.failures:
                self.failures.append(1)
                raise EnvironmentError(5, b'Ger\xc3\xa4t nicht bereit')
            return super(Failing, self).publish(batch)

    sink = Failing()
    sink.failures = []
    closing.append(sink)
    outlet = sink.open(feed_of(u'a'))
    put(sink, outlet, 1)
    sink.start()
    assert sink.flush([outlet], PATIENCE) == 0
    assert sink.texts == [u'1']


def test_a_first_message_that_is_left_out_makes_nobody_wait(caplog):
    sink = Keeping(max_jump=100)
    sink.has = 3
    outlet = sink.open(feed_of(u'a', sequence=numbers_of))
    put(sink, outlet, 1000, 1001)
    assert not sink.work()
    assert outlet.counts['quarantined'] == 1
