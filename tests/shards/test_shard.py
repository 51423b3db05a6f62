"""`Shard`: what it drives, counts, and says; sinks that need no other program."""

from __future__ import absolute_import, division, print_function

import gc
import json
import os
import pickle
import threading
import weakref

import pytest

from lomond import WebSocket
from lomond._compat import monotonic
from lomond.events import Text
from lomond.persist import ReconnectPolicy
from lomond.shards import CallSink, Feed, JSONLinesSink, Shard
from tests.programs import free_ports, wait_until
from tests.shards.feeds_server import number_of
from tests.support import PATIENCE

pytestmark = pytest.mark.costly

SOON = ReconnectPolicy(min_wait=0.01, max_wait=0.05)


class Got(object):
    """A sink's function that keeps what it is called with, once it may."""

    def __init__(self):
        self.messages = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.has_begun = threading.Event()

    def __call__(self, name, data):
        self.has_begun.set()
        assert self.may_go_on.wait(PATIENCE)
        self.messages.append((name, data))

    def wait(self, count):
        wait_until(lambda: len(self.messages) >= count, '{} messages'.format(count))
        return self.messages


@pytest.fixture
def got():
    got = Got()
    yield got
    got.may_go_on.set()


def test_the_messages_of_all_feeds_go_to_the_sink_in_order(feeds, got):
    with Shard(got) as shard:
        for name in u'ab':
            shard.add(feeds.feed(name))
            feeds.await_listeners(name)
            feeds.send(name, 3)
        got.wait(6)
    for name in u'ab':
        assert [data for feed, data in got.messages if feed == name] \
            == [u'{} of {}'.format(number, name) for number in (1, 2, 3)]


def test_a_feed_is_added_once_and_leaves_with_a_close_frame(feeds, got):
    with Shard(got) as shard:
        feed = feeds.feed(u'a')
        shard.add(feed)
        shard.add(feed)
        feeds.await_listeners(u'a')
        served, = feeds.listeners(u'a')
        assert shard.feeds == [feed]
        assert shard.remove(u'a') == 0
        assert shard.feeds == []
        wait_until(lambda: served.close_received, 'closed')
        assert served.close_received.code == 1001
        assert shard.remove(u'a') == 0
        shard.add(feed)
        feeds.await_listeners(u'a')


def test_what_had_arrived_goes_to_the_sink_before_a_feed_leaves(feeds, got):
    got.may_go_on.clear()
    with Shard(got) as shard:
        shard.add(feeds.feed(u'a'))
        feeds.await_listeners(u'a')
        feeds.send(u'a', 5)
        wait_until(lambda: shard.health()['received'] == 5, 'all are there')
        assert shard.remove(u'a', timeout=0.01) == 5
        got.may_go_on.set()
        got.wait(5)


def test_a_feed_reconnects_and_its_sink_hears_of_it(feeds, got):
    with Shard(got) as shard:
        shard.add(feeds.feed(u'a', policy=SOON))
        feeds.await_listeners(u'a')
        feeds.send(u'a')
        got.wait(1)
        feeds.drop(u'a')
        feeds.await_listeners(u'a')
        feeds.send(u'a')
        got.wait(2)


def test_on_ready_may_subscribe_on_each_connection(feeds, got):
    def subscribe(websocket, last):
        websocket.send_text(u'from {}'.format(last))

    with Shard(got) as shard:
        shard.add(feeds.feed(u'a', policy=SOON, on_ready=subscribe))
        wait_until(lambda: feeds.said == [(u'a', u'from None')], 'subscribed')
        feeds.drop(u'a')
        wait_until(lambda: len(feeds.said) == 2, 'subscribed again')


def test_a_function_of_the_users_that_fails_is_logged_and_counted(feeds, got, caplog):
    def fail(*_arguments):
        raise ZeroDivisionError

    with Shard(CallSink(fail)) as shard:
        shard.add(feeds.feed(u'a', on_ready=fail))
        shard.add(feeds.feed(u'b', sequence=fail))
        feeds.await_listeners(u'a')
        feeds.await_listeners(u'b')
        feeds.send(u'a', 2)
        feeds.send(u'b', 2)
        wait_until(lambda: shard.health()['refused'] == 2, 'refused')
        wait_until(lambda: shard.health()['unnumbered'] == 2, 'unnumbered')
        assert shard.health()['state'] == 'ok'
    assert len(caplog.records) == 3     # on_ready, the sink, sequence: each once


def test_what_sequence_returns_is_an_integer_or_none(feeds, got, caplog):
    """A welcome has no number, and isn't published; a time in seconds is no number of a message."""
    numbers = iter([None, 1, 2.5, u'3', None, 4])
    with Shard(got) as shard:
        shard.add(feeds.feed(u'a', sequence=lambda event: next(numbers)))
        feeds.await_listeners(u'a')
        feeds.send(u'a', 6)
        wait_until(lambda: shard.health()['received'] == 6, 'received')
        wait_until(lambda: shard.health()['published'] == 2, 'published')
        assert (shard.health()['skipped'], shard.health()['unnumbered']) == (2, 2)
    record, = caplog.records
    assert 'sequence of feed' in record.getMessage()


def test_a_feed_whose_messages_are_all_lost_is_not_live(feeds, caplog):
    def refuse(_name, _message):
        raise ValueError

    with Shard(refuse) as shard:
        shard.add(feeds.feed(u'silent', sequence=lambda event: None))
        shard.add(feeds.feed(u'lost', sequence=lambda event: event.nothing))
        shard.add(feeds.feed(u'refused'))
        shard.add(feeds.feed(u'huge', sequence=lambda event: 2 ** 64))
        for name in u'silent', u'lost', u'refused', u'huge':
            feeds.await_listeners(name)
            feeds.send(name, 3)
        wait_until(lambda: shard.health()['received'] == 12, 'received')
        wait_until(lambda: shard.health()['refused'] == 3, 'refused')
        wait_until(lambda: shard.live == {u'silent'}, 'live')
        reasons = {name: line['reason'] for name, line in shard.report().items()}
        assert reasons == {
            u'silent': None, u'lost': u'none of 3 messages is published yet: 3 unnumbered',
            u'refused': u'none of 3 messages is published yet: 3 refused',
            u'huge': u'none of 3 messages is published yet: 3 quarantined'}


def test_why_a_feed_is_not_live(feeds, tmpdir, caplog):
    closed, = free_ports(1)
    with Shard(JSONLinesSink(str(tmpdir.join('missing', 'lines')))) as shard:
        shard.add(Feed(u'away', u'ws://127.0.0.1:{}/'.format(closed)))
        shard.add(feeds.feed(u'a'))
        feeds.await_listeners(u'a')
        feeds.send(u'a')
        wait_until(lambda: 'the sink fails: ' in (shard.report()[u'a']['reason'] or ''), 'why')
        wait_until(lambda: 'refused' in (shard.report()[u'away']['reason'] or ''), 'why')
        assert shard.close(timeout=0.1) == 1
    assert '1 messages that the sink had not taken' in caplog.records[-1].getMessage()


def test_a_number_that_does_not_grow_or_jumps_too_far_is_counted(feeds, got):
    with Shard(CallSink(got, max_jump=100)) as shard:
        shard.add(feeds.feed(u'a'))
        feeds.await_listeners(u'a')
        for text in u'5', u'5', u'4', u'106', u'105', u'0', u'x', u'106':
            feeds.say(u'a', text)
        got.wait(3)
        health = shard.health()
    assert [data for _name, data in got.messages] == [u'5', u'105', u'106']
    assert (health['disordered'], health['quarantined'], health['unnumbered']) == (3, 1, 1)


@pytest.mark.parametrize('overflow, kept', [('drop_oldest', [1, 5, 6]), ('latest', [1, 6])])
def test_a_sink_that_is_slow_drops_what_it_has_no_space_for_and_counts(
        feeds, got, overflow, kept):
    got.may_go_on.clear()
    size = 64 + len(u'1 of a')
    with Shard(CallSink(got, max_queue=3 * size, overflow=overflow)) as shard:
        shard.add(feeds.feed(u'a'))
        feeds.await_listeners(u'a')
        feeds.send(u'a')
        assert got.has_begun.wait(PATIENCE)     # so the first isn't dropped
        feeds.send(u'a', 5)
        wait_until(lambda: shard.health()['received'] == 6, 'all are there')
        got.may_go_on.set()
        wait_until(lambda: not shard.health()['queued'], 'all are out')
        health = shard.health()
    assert [int(data.split()[0]) for _name, data in got.messages] == kept
    assert health['dropped'] == 6 - len(kept)
    assert health['published'] + health['dropped'] == health['received']


def test_a_sink_that_is_stuck_does_not_keep_health_waiting(feeds, got):
    got.may_go_on.clear()
    with Shard(got) as shard:
        shard.add(feeds.feed(u'a'))
        feeds.await_listeners(u'a')
        feeds.send(u'a', 2)
        wait_until(lambda: shard.health()['received'] == 2, 'both are there')
        assert shard.health()['queued'] == 2 and shard.health()['ready'] == 1
        wait_until(lambda: shard.health()['state'] == 'stalled', 'stalled')
        assert 'sink' in shard.health()['failure']
        got.may_go_on.set()
        wait_until(lambda: shard.health()['state'] == 'ok', 'ok again')


def test_a_function_that_blocks_the_loop_shows_in_health(feeds, got):
    may_go_on = threading.Event()

    def block(event):
        assert may_go_on.wait(PATIENCE)
        return number_of(event)

    with Shard(got) as shard:
        shard.add(feeds.feed(u'a', sequence=block))
        feeds.await_listeners(u'a')
        feeds.send(u'a')
        wait_until(lambda: shard.health()['state'] == 'stalled', 'stalled')
        may_go_on.set()
        wait_until(lambda: shard.health()['state'] == 'ok', 'ok again')


def test_a_feed_is_live_after_a_message_or_a_while(feeds, got):
    with Shard(got) as shard:
        shard.add(feeds.feed(u'a'))
        shard.add(Feed(u'b', u'ws://127.0.0.1:1/', policy=SOON))
        feeds.await_listeners(u'a')
        feeds.send(u'a')
        wait_until(lambda: shard.live == {u'a'}, 'live')
        report = shard.report()
        assert report[u'a']['last'] == 1 and report[u'a']['ready']
        wait_until(lambda: shard.report()[u'b']['reason'], 'the reason why not')
        assert not shard.report()[u'b']['live']


def test_a_shard_that_is_closed_takes_no_feed_and_leaves_no_thread(feeds, got):
    before = threading.active_count()
    shard = Shard(got)
    shard.add(feeds.feed(u'a'))
    assert shard.close() == 0
    with pytest.raises(RuntimeError, match='closed'):
        shard.add(feeds.feed(u'b'))
    wait_until(lambda: threading.active_count() <= before + 1, 'no thread but the server\'s')


def test_a_sink_belongs_to_one_shard(got):
    sink = CallSink(got)
    with Shard(sink):
        with pytest.raises(RuntimeError, match='another shard'):
            Shard(sink)
        with pytest.raises(TypeError, match='in use'):
            pickle.dumps(sink)


def test_a_sink_and_a_feed_can_be_sent_to_another_process():
    assert isinstance(pickle.loads(pickle.dumps(CallSink(len))), CallSink)
    feed = pickle.loads(pickle.dumps(Feed(u'a', u'ws://x/', sequence=number_of), 2))
    assert (feed.name, feed.sequence) == (u'a', number_of)


def test_json_lines(feeds, tmpdir):
    path = tmpdir.join('lines')
    path.write(u'{}\n')
    began = monotonic()
    with Shard(JSONLinesSink(str(path))) as shard:
        shard.add(feeds.feed(u'a'))
        shard.add(feeds.feed(u'b', sequence=None))
        for name in u'ab':
            feeds.await_listeners(name)
        feeds.send(u'a', 2)
        feeds.listeners(u'b')[0].send_binary(b'\x00\xff')
        wait_until(lambda: shard.health()['published'] == 3, 'written')
    lines = [json.loads(line) for line in path.read_binary().decode('ascii').splitlines()]
    assert lines[0] == {}
    assert [(line['number'], line['text']) for line in lines[1:] if line['feed'] == u'a'] \
        == [(1, u'1 of a'), (2, u'2 of a')]
    assert [(line['number'], line['data']) for line in lines[1:] if line['feed'] == u'b'] \
        == [(None, u'AP8=')]
    assert monotonic() - began < PATIENCE


def test_a_sink_that_fails_says_so_and_goes_on(feeds, tmpdir, caplog):
    folder = tmpdir.join('folder')
    with Shard(JSONLinesSink(str(folder.join('lines')))) as shard:
        shard.add(feeds.feed(u'a'))
        feeds.await_listeners(u'a')
        feeds.send(u'a', 2)
        wait_until(lambda: shard.health()['state'] == 'failing', 'failing')
        assert 'lines' in shard.health()['failure']
        folder.mkdir()
        wait_until(lambda: shard.health()['published'] == 2, 'written')
        wait_until(lambda: shard.health()['state'] == 'ok', 'ok')
    assert [record.levelname for record in caplog.records] == ['WARNING'] * 2


@pytest.mark.parametrize('make, error, words', [
    (lambda: Feed(u'', u'ws://x/'), TypeError, 'name'),
    (lambda: Feed(u'a', u'http://x/'), ValueError, 'ws'),
    (lambda: Feed(u'a', None), TypeError, 'returns a WebSocket'),
    (lambda: Feed(u'a', u'ws://x/', policy=3), TypeError, 'ReconnectPolicy'),
    (lambda: Feed(u'a', u'ws://x/', sequence=3), TypeError, 'sequence'),
    (lambda: Feed(u'a', lambda: None).make(), TypeError, 'must return a WebSocket'),
    (lambda: CallSink(None), TypeError, 'function'),
    (lambda: CallSink(len, overflow='raise'), ValueError, 'drop_oldest'),
    (lambda: CallSink(len, max_queue=0), ValueError, 'max_queue'),
    (lambda: Shard(len).add(u'ws://x/'), TypeError, 'Feed'),
    (lambda: Shard(len, no_such=1), TypeError, 'no_such')])
def test_wrong_arguments_are_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_a_source_may_make_websockets(feeds, got):
    url = feeds.feed(u'a').source
    with Shard(got) as shard:
        shard.add(Feed(u'a', lambda: WebSocket(url, headers={'X': 'y'})))
        feeds.await_listeners(u'a')
        assert feeds.listeners(u'a')[0].request.get('X') == u'y'


def test_close_waits_no_longer_for_a_sink_that_blocks(feeds, got):
    got.may_go_on.clear()
    shard = Shard(got)
    shard.add(feeds.feed(u'a'))
    feeds.await_listeners(u'a')
    feeds.send(u'a', 3)
    assert got.has_begun.wait(PATIENCE)
    wait_until(lambda: shard.health()['received'] == 3, 'all are there')
    began = monotonic()
    assert shard.close(timeout=0.1) == 3
    assert monotonic() - began < PATIENCE / 2
    got.may_go_on.set()
    assert shard.close() <= 3
    assert monotonic() - began < PATIENCE / 2


def test_a_sinks_function_may_close_its_shard(feeds):
    left, done = [], threading.Event()

    def close(_name, _data):
        left.append(shard.close())
        done.set()

    shard = Shard(close)
    shard.add(feeds.feed(u'a'))
    feeds.await_listeners(u'a')
    feeds.send(u'a')
    assert done.wait(PATIENCE)
    assert left == [1]      # the one that it was called with
    shard.close()
    assert shard.health()['published'] == 1


def test_sequence_may_close_its_shard(feeds, got):
    left, done = [], threading.Event()

    def close(_event):
        left.append(shard.close())
        done.set()
        return 1

    shard = Shard(got)
    shard.add(feeds.feed(u'a', sequence=close))
    feeds.await_listeners(u'a')
    feeds.send(u'a')
    assert done.wait(PATIENCE)
    assert left == [0]
    shard.close()


def test_close_waits_for_the_messages_of_feeds_that_have_left(feeds, got):
    got.may_go_on.clear()
    shard = Shard(got)
    shard.add(feeds.feed(u'a'))
    feeds.await_listeners(u'a')
    feeds.send(u'a', 500)       # more than the sink takes at a time
    wait_until(lambda: shard.health()['received'] == 500, 'all are there')
    shard.remove(u'a', timeout=None)
    assert shard.health()['queued'] == 500
    got.may_go_on.set()
    assert shard.close() == 0
    assert len(got.messages) == 500 == shard.health()['published']


def test_a_feed_that_has_left_is_forgotten_though_nobody_asks_how_the_shard_is(feeds, got):
    opened = weakref.WeakSet()

    class Noting(CallSink):
        def open(self, feed, overlap=0.0):
            outlet = super(Noting, self).open(feed, overlap)
            opened.add(outlet)
            return outlet

    with Shard(Noting(got)) as shard:
        for name in u'abcd':
            shard.add(feeds.feed(name))
            feeds.await_listeners(name)
            shard.remove(name)

        def is_forgotten():
            gc.collect()
            return len(opened) <= 1     # the pool's loop may have the last one still at hand

        wait_until(is_forgotten, 'forgotten')


def interrupt(_event):
    raise KeyboardInterrupt


def test_a_feed_with_a_wrong_option_is_not_held(got):
    with Shard(got) as shard:
        with pytest.raises(TypeError, match='no_such'):
            shard.add(Feed(u'a', u'ws://127.0.0.1:1/', options={'no_such': 1}))
        assert shard.feeds == []


def test_an_exit_in_a_function_of_the_users_ends_nothing_silently(feeds, caplog):
    def leave(*_arguments):
        raise SystemExit('left')

    shard = Shard(leave)
    try:
        shard.add(feeds.feed(u'a'))
        feeds.await_listeners(u'a')
        feeds.send(u'a')
        wait_until(lambda: shard.health()['refused'] == 1, 'refused')
        shard.add(feeds.feed(u'b', sequence=leave))
        feeds.await_listeners(u'b')
        feeds.send(u'b')
        wait_until(lambda: shard.health()['unnumbered'] == 1, 'counted')
    finally:
        assert shard.close() == 0


def test_an_exit_for_one_message_hands_no_other_over_again(feeds):
    messages = []

    def leave(_name, message):
        messages.append(int(message.split()[0]))
        if messages[-1] == 3:
            raise SystemExit

    with Shard(leave) as shard:
        shard.add(feeds.feed(u'a'))
        feeds.await_listeners(u'a')
        feeds.send(u'a', 5)
        wait_until(lambda: shard.health()['published'] == 4, 'the others')
        assert shard.health()['refused'] == 1
    assert messages == [1, 2, 3, 4, 5]


def test_a_loop_that_has_ended_shows_in_health(feeds, got, caplog):
    with Shard(got) as shard:
        shard.add(feeds.feed(u'a', sequence=interrupt))
        feeds.await_listeners(u'a')
        feeds.send(u'a')
        wait_until(lambda: shard.health()['state'] == 'ended', 'ended')
        assert 'KeyboardInterrupt' in shard.health()['failure']
        wait_until(lambda: not shard.live, 'not live')
        assert 'ended' in shard.report()[u'a']['reason']


def test_a_jump_that_blocks_a_feed_is_logged_once(feeds, got, caplog):
    with Shard(CallSink(got, max_jump=100)) as shard:
        shard.add(feeds.feed(u'a'))
        feeds.await_listeners(u'a')
        for text in u'5', u'106', u'107':
            feeds.say(u'a', text)
        wait_until(lambda: shard.health()['quarantined'] == 2, 'left out')
    record, = caplog.records
    assert 'number 106 after 5' in record.getMessage() and 'max_jump' in record.getMessage()


def test_another_feed_of_a_name_is_refused(feeds, got):
    with Shard(got) as shard:
        feed = feeds.feed(u'a')
        shard.add(feed)
        with pytest.raises(ValueError, match='another feed'):
            shard.add(feeds.feed(u'a'))
        assert shard.feeds == [feed]


def test_a_source_may_ask_its_shard_how_it_is(feeds, got):
    """Nothing waits for a source, not even the shard that calls it."""
    url = feeds.feed(u'a').source
    asked = []

    def ask():
        asked.append((shard.health()['feeds'], shard.live, shard.report()))
        return WebSocket(url)

    with Shard(got) as shard:
        adding = threading.Thread(target=shard.add, args=(Feed(u'a', ask),))
        adding.daemon = True
        adding.start()
        adding.join(PATIENCE)
        assert asked == [(0, set(), {})]
        feeds.await_listeners(u'a')


def test_a_shard_that_is_closed_while_a_source_runs_takes_no_feed(got):
    def close():
        shard.close()
        return WebSocket(u'ws://127.0.0.1:1/')

    shard = Shard(got)
    with pytest.raises(RuntimeError, match='closed'):
        shard.add(Feed(u'a', close))
    assert shard.feeds == []


@pytest.mark.parametrize('overlap, error', [(None, TypeError), (u'1', TypeError), (-1, ValueError)])
def test_an_overlap_is_a_number_of_seconds(got, overlap, error):
    with Shard(got) as shard:
        with pytest.raises(error, match='overlap must be'):
            shard.add(Feed(u'a', u'ws://127.0.0.1:1/'), overlap)


def test_one_thread_lets_go_of_many_feeds(feeds, got):
    names = [u'feed-{}'.format(number) for number in range(20)]
    got.may_go_on.clear()
    with Shard(got) as shard:
        for name in names:
            shard.add(feeds.feed(name))
            feeds.await_listeners(name)
            feeds.send(name)
        wait_until(lambda: shard.health()['received'] == 20, 'all are there')
        before = threading.active_count()
        shard.remove_soon(names + [u'another'])
        assert shard.feeds == [] and threading.active_count() <= before + 1
        got.may_go_on.set()
        got.wait(20)
        wait_until(lambda: not any(feeds.listeners(name) for name in names), 'all are closed')


def test_feeds_are_let_go_of_where_no_thread_can_be_started(feeds, got):
    with Shard(got) as shard:
        shard.add(feeds.feed(u'a'))
        feeds.await_listeners(u'a')
        try:
            before = threading.stack_size(2 ** 47)      # there is no such memory
        except ValueError:
            pytest.skip('this system refuses such a stack at once')
        try:
            shard.remove(u'a', timeout=None)
        finally:
            threading.stack_size(before)
        feeds.await_listeners(u'a', 0)
        assert shard.health()['feeds'] == 0


def test_a_feed_that_is_not_subscribed_yet_is_not_live(feeds, caplog):
    class Away(CallSink):
        is_away = True

        def last(self, outlet):
            if self.is_away:
                raise EnvironmentError('it is away')
            return 41

    sink = Away(len)
    with Shard(sink) as shard:
        shard.add(feeds.feed(u'a', on_ready=lambda websocket, last: websocket.send_text(
            u'after {}'.format(last))))
        feeds.await_listeners(u'a')
        wait_until(lambda: shard.report()[u'a']['reason'] == u'the sink fails: it is away', 'why')
        assert not shard.live and not feeds.said
        sink.is_away = False
        wait_until(lambda: feeds.said == [(u'a', u'after 41')], 'subscribed')
        wait_until(lambda: shard.live == {u'a'}, 'live')


def test_a_name_of_a_shard_may_be_any_text(got):
    with Shard(got, name=u'Ger\xe4t') as shard:
        assert shard.health()['name'] == u'Ger\xe4t'
        assert repr(shard)


def put(sink, outlet, count):
    for number in range(count):
        sink.put(outlet, Text(u'{}'.format(number)))


def test_a_function_is_called_with_no_further_message_once_its_sink_is_closed():
    called = []

    def close(_name, message):
        called.append(message)
        sink.close()

    sink = CallSink(close)
    outlet = sink.open(Feed(u'a', u'ws://127.0.0.1:1/'))
    put(sink, outlet, 5)
    sink.work()
    assert called == [u'0']
    assert (outlet.counts['published'], len(outlet.queue)) == (1, 4)


def test_each_call_of_a_function_is_a_work_of_its_own():
    """So a healthy, slow function isn't reported as stalled, however many messages wait."""
    began = []
    sink = CallSink(lambda _name, _message: began.append(sink.busy_since))
    outlet = sink.open(Feed(u'a', u'ws://127.0.0.1:1/'))
    put(sink, outlet, 3)
    before = monotonic()
    sink.work()
    assert len(began) == 3 and before <= began[0] <= began[1] <= began[2]


def test_what_a_slow_function_has_taken_is_counted_before_the_queue_is_empty():
    class Impatient(CallSink):
        _turn = 0.0

    called = []
    sink = Impatient(lambda name, _message: called.append(name))
    outlets = [sink.open(Feed(name, u'ws://127.0.0.1:1/')) for name in (u'a', u'b')]
    for outlet in outlets:
        put(sink, outlet, 2)
    for count in 1, 2, 3, 4:
        assert not sink.work()
        assert len(called) == count == sum(outlet.counts['published'] for outlet in outlets)
    assert called == [u'a', u'b', u'a', u'b']


def test_close_returns_what_its_function_was_not_called_with(feeds, got):
    """Also of messages that it was called with after the time was over."""
    called = []

    def note(_name, message):
        called.append(message)
        if len(called) == 3:
            got.has_begun.set()
            assert got.may_go_on.wait(PATIENCE)

    got.may_go_on.clear()
    shard = Shard(note)
    shard.add(feeds.feed(u'a'))
    feeds.await_listeners(u'a')
    feeds.send(u'a', 10)
    assert got.has_begun.wait(PATIENCE)
    wait_until(lambda: shard.health()['received'] == 10, 'all are there')
    left = []
    closing = threading.Thread(target=lambda: left.append(shard.close(timeout=0)))
    closing.start()
    wait_until(lambda: not shard.feeds, 'it closes')
    got.may_go_on.set()
    closing.join(PATIENCE)
    assert left == [10 - len(called)]
    assert shard.health()['published'] == len(called)


def test_a_line_is_appended_after_one_that_a_process_left_incomplete(tmpdir):
    path = tmpdir.join('lines')
    path.write(u'{"feed": "a", "te')
    for _ in range(2):
        sink = JSONLinesSink(str(path))
        outlet = sink.open(Feed(u'a', u'ws://127.0.0.1:1/'))
        put(sink, outlet, 1)
        sink.begin()
        sink.work()
        sink.end()
    first, second, third = path.read().splitlines()
    assert first == u'{"feed": "a", "te'
    assert json.loads(second)['text'] == json.loads(third)['text'] == u'0'


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='this system has no FIFOs')
def test_a_pipe_is_no_file_of_lines(tmpdir):
    path = str(tmpdir.join('fifo'))
    os.mkfifo(path)
    with pytest.raises(ValueError, match='regular file'):
        JSONLinesSink(path).begin()


def test_a_shard_whose_loop_has_ended_takes_no_feed(feeds, got, caplog):
    with Shard(got) as shard:
        shard.add(feeds.feed(u'a', sequence=interrupt))
        feeds.await_listeners(u'a')
        feeds.send(u'a')
        wait_until(lambda: shard.health()['state'] == 'ended', 'ended')
        with pytest.raises(RuntimeError, match='the loop of this shard has ended'):
            shard.add(feeds.feed(u'b'))
