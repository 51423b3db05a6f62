"""`RedisSink` and `Reader`, with a real Redis that is slow, restarted, full, emptied or cut off."""

from __future__ import absolute_import, division, print_function

import contextlib
import gc
import os
import signal
import time
import weakref

import pytest

from lomond.persist import ReconnectPolicy
from lomond.shards import Shard
from tests.programs import wait_until
from tests.redis_server import (
    SLOTS,
    client_of,
    entries_of,
    ids_of,
    run_cluster,
    run_redis,
    run_sentinel,
    url_of,
)
from tests.shards.feeds_server import number_of
from tests.support import PATIENCE

redis = pytest.importorskip('redis')
from lomond.shards.reader import Entry, Reader  # noqa: E402
from lomond.shards.redis import RedisSink  # noqa: E402

# Some wait for what redis-py does when a server is frozen: it tries again, for tens of seconds.
pytestmark = [pytest.mark.costly, pytest.mark.timeout(300)]

SOON = ReconnectPolicy(min_wait=0.01, max_wait=0.05)


def hold(shard, feeds, name, count=1, **options):
    """Have a shard hold a feed; return once it listens."""
    overlap = options.pop('overlap', 0)
    feed = feeds.feed(name, **dict({'policy': SOON}, **options))
    shard.add(feed, overlap)
    feeds.await_listeners(name, count)
    return feed


def wait_for(shard, **numbers):
    wait_until(lambda: {name: shard.health()[name] for name in numbers} == numbers, numbers)


def read_all(reader):
    """Return the entries that there are."""
    entries = []
    for entry in reader:
        if entry is None:
            return entries
        entries.append(entry)


def numbered(*numbers):
    return [(number, 0) for number in numbers]


def cluster_client(server):
    return redis.RedisCluster(host='127.0.0.1', port=server.port, socket_timeout=0.5)


# -- the sink --

def test_entries_have_the_numbers_of_the_feed(server, feeds):
    with Shard(RedisSink(url_of(server))) as shard:
        hold(shard, feeds, u'a')
        feeds.send(u'a', 3)
        wait_for(shard, published=3)
    assert entries_of(server, 'a') == numbered(1, 2, 3)
    client = client_of(server)
    _entry_id, fields = client.xrange('feed:a')[0]
    client.close()
    assert fields[b'text'] == b'1 of a' and float(fields[b'time']) > 1e9


def test_two_shards_publish_each_number_once(server, feeds):
    with Shard(RedisSink(url_of(server))) as one, Shard(RedisSink(url_of(server))) as other:
        hold(one, feeds, u'a')
        hold(other, feeds, u'a', 2)
        feeds.send(u'a', 500)
        wait_until(lambda: one.health()['published'] + one.health()['duplicates'] == 500, 'all')
        wait_until(lambda: other.health()['published'] + other.health()['duplicates'] == 500, 'all')
        assert one.health()['published'] + other.health()['published'] == 500
    assert entries_of(server, 'a') == numbered(*range(1, 501))


def test_a_new_holder_waits_for_what_the_old_one_still_publishes(server, feeds):
    """Its first message overtakes nothing: Redis would refuse what comes after it for good."""
    with Shard(RedisSink(url_of(server))) as new:
        client = client_of(server)
        client.xadd('feed:a', {'text': '1'}, id='1-0')
        feeds.send(u'a', 4)         # nobody listens: an old holder is about to publish these
        hold(new, feeds, u'a', overlap=PATIENCE)
        feeds.send(u'a')
        wait_for(new, received=1)
        wait_until(lambda: not new.live and new.health()['queued'] == 1, 'it waits')
        for number in 2, 3, 4:
            client.xadd('feed:a', {'text': '1'}, id='{}-0'.format(number))
        client.close()
        wait_for(new, published=1)
    assert entries_of(server, 'a') == numbered(1, 2, 3, 4, 5)


def test_a_new_holder_waits_no_longer_than_the_overlap(server, feeds):
    with Shard(RedisSink(url_of(server))) as new:
        client = client_of(server)
        client.xadd('feed:a', {'text': '1'}, id='1-0')
        client.close()
        feeds.send(u'a', 4)
        hold(new, feeds, u'a', overlap=0.1)
        feeds.send(u'a')
        wait_for(new, published=1)
    assert entries_of(server, 'a') == numbered(1, 5)


def test_a_feed_without_numbers_is_published_by_its_last_holder(server, feeds):
    with Shard(RedisSink(url_of(server))) as old, Shard(RedisSink(url_of(server))) as new:
        hold(old, feeds, u'a', sequence=None)
        feeds.send(u'a', 2)
        wait_for(old, published=2)
        hold(new, feeds, u'a', 2, sequence=None)
        feeds.listeners(u'a')[1].send_text(u'to the new one')
        wait_for(new, published=1)
        feeds.listeners(u'a')[0].send_text(u'to the old one')
        wait_for(old, disordered=1, duplicates=0)
    assert entries_of(server, 'a') == [(1, 1), (1, 2), (2, 1)]


def test_a_feed_without_numbers_goes_back_to_its_former_holder_once_the_new_one_is_gone(
        server, feeds, caplog):
    class Impatient(RedisSink):
        _abandoned = 0.1

    with Shard(Impatient(url_of(server))) as old:
        hold(old, feeds, u'a', sequence=None)
        feeds.send(u'a')
        wait_for(old, published=1)
        with Shard(RedisSink(url_of(server))) as new:
            hold(new, feeds, u'a', 2, sequence=None)
            feeds.listeners(u'a')[1].send_text(u'to the new one')
            wait_for(new, published=1)
            feeds.listeners(u'a')[0].send_text(u'to the old one')
            wait_for(old, disordered=1)
        feeds.await_listeners(u'a')
        feeds.send(u'a', 3)
        wait_for(old, published=4, disordered=1, duplicates=0, queued=0)
    assert entries_of(server, 'a') == [(1, 1), (2, 1), (3, 1), (3, 2), (3, 3)]
    assert ['takes it back' in record.getMessage() for record in caplog.records] == [True]


def test_a_former_holder_takes_no_feed_back_from_one_that_publishes(server, feeds, client):
    class Impatient(RedisSink):
        _abandoned = 0.0

    with Shard(Impatient(url_of(server))) as old:
        hold(old, feeds, u'a', sequence=None)
        feeds.send(u'a')
        wait_for(old, published=1)
        for count in 1, 2, 3:
            client.xadd('feed:a', {'text': 'new'}, id='9-{}'.format(count))
            feeds.send(u'a')
            wait_for(old, disordered=count)
    assert entries_of(server, 'a') == [(1, 1), (9, 1), (9, 2), (9, 3)]


def test_the_epoch_of_a_feed_without_numbers_is_above_what_is_there(server, feeds):
    client = client_of(server)
    client.xadd('feed:a', {'text': '1'}, id='7-3')
    client.close()
    with Shard(RedisSink(url_of(server))) as shard:
        hold(shard, feeds, u'a', sequence=None)
        feeds.send(u'a')
        wait_for(shard, published=1)
    assert entries_of(server, 'a') == [(7, 3), (8, 1)]


def test_a_feed_is_resumed_after_the_last_number_that_redis_has(server, feeds):
    with Shard(RedisSink(url_of(server))) as shard:
        client = client_of(server)
        client.xadd('feed:a', {'text': '1'}, id='41-0')
        client.close()
        hold(shard, feeds, u'a', on_ready=lambda websocket, last: websocket.send_text(
            u'after {}'.format(last)))
        wait_until(lambda: feeds.said == [(u'a', u'after 41')], 'resumed')


def test_a_huge_first_number_does_not_block_the_stream(server, feeds):
    with Shard(RedisSink(url_of(server))) as shard:
        client = client_of(server)
        client.xadd('feed:a', {'text': '1'}, id='3-0')
        client.close()
        hold(shard, feeds, u'a')
        feeds.say(u'a', u'{}'.format(2 ** 63))
        wait_for(shard, quarantined=1)
        feeds.say(u'a', u'4')
        wait_for(shard, published=1)
    assert entries_of(server, 'a') == numbered(3, 4)


def test_what_redis_had_taken_without_an_answer_is_no_duplicate(server, feeds):
    """A client whose answers are lost: each number is there once, and counted as published."""
    lost = []

    class Losing(redis.Redis):
        def pipeline(self, *args, **options):
            pipeline = super(Losing, self).pipeline(*args, **options)
            execute = pipeline.execute

            def lose(**execute_options):
                answers = execute(**execute_options)
                if len(lost) < 3:
                    lost.append(1)
                    raise redis.ConnectionError('lost the answer')
                return answers

            pipeline.execute = lose
            return pipeline

    with Shard(RedisSink(lambda: Losing(port=server.port))) as shard:
        hold(shard, feeds, u'a')
        feeds.send(u'a', 20)
        wait_for(shard, published=20, duplicates=0)
    assert entries_of(server, 'a') == numbered(*range(1, 21))


def test_redis_may_be_away_for_a_while(feeds, caplog):
    with run_redis('--appendonly', 'yes') as server:
        with Shard(RedisSink(url_of(server))) as shard:
            hold(shard, feeds, u'a')
            feeds.send(u'a', 3)
            wait_for(shard, published=3)
            server.stop(kill=True)
            feeds.send(u'a', 3)
            wait_for(shard, state='failing', queued=3)
            wait_until(server.start, 'it starts again')
            wait_for(shard, published=6, queued=0, state='ok')
        assert entries_of(server, 'a') == numbered(*range(1, 7))


def test_redis_that_is_frozen_holds_up_neither_health_nor_the_feed(server, feeds):
    with Shard(RedisSink(lambda: redis.Redis(port=server.port, socket_timeout=0.2),
                         max_queue=20 * 70)) as shard:
        hold(shard, feeds, u'a')
        feeds.send(u'a')
        wait_for(shard, published=1)
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            feeds.send(u'a', 50)
            wait_until(lambda: shard.health()['dropped'], 'dropped')
            wait_until(lambda: shard.health()['state'] == 'failing', 'failing')
            assert shard.health()['ready'] == 1
        finally:
            os.kill(server.process.pid, signal.SIGCONT)
        wait_for(shard, queued=0, received=51)
        health = shard.health()
    assert health['published'] + health['dropped'] == 51
    assert len(entries_of(server, 'a')) == health['published']


def test_redis_that_is_full_takes_all_once_it_has_memory(server, feeds, caplog):
    client = client_of(server)
    with Shard(RedisSink(url_of(server))) as shard:
        hold(shard, feeds, u'a')
        feeds.send(u'a')
        wait_for(shard, published=1)
        client.config_set('maxmemory', 1)
        feeds.send(u'a', 3)
        wait_for(shard, received=4, queued=3, state='failing')
        assert 'maxmemory' in shard.health()['failure']
        client.config_set('maxmemory', 0)
        wait_for(shard, published=4, queued=0)
    client.close()
    assert entries_of(server, 'a') == numbered(1, 2, 3, 4)


def test_a_key_of_another_kind_is_an_error_that_is_counted_and_logged(server, feeds, caplog):
    client = client_of(server)
    with Shard(RedisSink(url_of(server))) as shard:
        hold(shard, feeds, u'a')
        feeds.send(u'a')
        wait_for(shard, published=1)
        client.set('feed:a', 'no stream')
        feeds.send(u'a', 2)
        wait_for(shard, refused=2, queued=0)
    client.close()
    assert 'WRONGTYPE' in caplog.records[0].getMessage()


def test_entries_that_redis_lost_after_it_confirmed_them_are_reported(feeds, caplog):
    with run_redis() as server:     # without a file: it comes back empty
        sink = RedisSink(url_of(server))
        with Shard(sink) as shard:
            hold(shard, feeds, u'a')
            feeds.send(u'a', 3)
            wait_for(shard, published=3)
            server.stop(kill=True)
            feeds.send(u'a')
            wait_until(lambda: shard.health()['state'] == 'failing', 'failing')
            wait_until(server.start, 'it starts again')
            wait_for(shard, published=4, rewound=1)
        assert sink.rewound == 1
        assert any('had confirmed' in record.getMessage() for record in caplog.records)


def test_what_redis_lost_is_resumed_if_nothing_came_after_it(feeds, caplog):
    with run_redis() as server:     # without a file: it comes back empty
        with Shard(RedisSink(url_of(server))) as shard:
            hold(shard, feeds, u'a', on_ready=lambda websocket, last: websocket.send_text(
                u'after {}'.format(last)))
            wait_until(lambda: feeds.said, 'subscribed')
            feeds.send(u'a', 3)
            wait_for(shard, published=3)
            server.stop(kill=True)
            wait_until(server.start, 'it starts again')
            feeds.drop(u'a')
            wait_until(lambda: feeds.said == [(u'a', u'after None')] * 2, 'resumed')
            feeds.await_listeners(u'a')
            for number in 1, 2, 3, 4:
                feeds.say(u'a', u'{}'.format(number))
            wait_for(shard, published=7, disordered=0, rewound=1)
        assert entries_of(server, 'a') == numbered(1, 2, 3, 4)


@pytest.mark.parametrize('policy, is_warned_of', [
    ('allkeys-lru', True), ('volatile-lru', False), ('noeviction', False)])
def test_a_policy_that_evicts_streams_is_warned_of(feeds, caplog, policy, is_warned_of):
    with run_redis('--maxmemory-policy', policy) as server:
        with Shard(RedisSink(url_of(server))) as shard:
            hold(shard, feeds, u'a')
            feeds.send(u'a')
            wait_for(shard, published=1)
    assert [policy in record.getMessage() for record in caplog.records] == [True] * is_warned_of


def test_a_stream_keeps_about_maxlen_entries(server, feeds):
    with Shard(RedisSink(url_of(server), maxlen=100)) as shard:
        hold(shard, feeds, u'a')
        feeds.send(u'a', 1000)
        wait_for(shard, published=1000)
    assert 100 <= len(entries_of(server, 'a')) < 300


def test_on_ready_is_called_though_redis_was_away_at_ready(feeds):
    with run_redis('--appendonly', 'yes') as server:
        with Shard(RedisSink(url_of(server))) as shard:
            hold(shard, feeds, u'a',
                 on_ready=lambda websocket, last: websocket.send_text(u'after {}'.format(last)))
            feeds.send(u'a')
            wait_for(shard, published=1)
            server.stop(kill=True)
            feeds.drop(u'a')
            feeds.await_listeners(u'a')
            wait_until(lambda: shard.health()['state'] == 'failing', 'failing')
            wait_until(server.start, 'it starts again')
            wait_until(lambda: u'after 1' in [text for _name, text in feeds.said], 'resumed')
            wait_for(shard, state='ok')


def test_a_key_of_another_kind_holds_up_no_other_feed(server, feeds, client, caplog):
    client.set('feed:a', 'no stream')
    client.set('feed:b', 'no stream')
    with Shard(RedisSink(url_of(server))) as shard:
        hold(shard, feeds, u'a')
        hold(shard, feeds, u'b', sequence=None)
        hold(shard, feeds, u'c')
        for name in u'abc':
            feeds.send(name, 2)
        wait_for(shard, published=2, refused=4, queued=0, state='ok')
    assert entries_of(server, 'c') == numbered(1, 2)


def test_a_new_holder_does_not_overtake_what_waits_for_redis(server, feeds, client):
    """Redis is away for longer than the overlap: the old holder's queue goes first even so."""
    with Shard(RedisSink(url_of(server))) as old, Shard(RedisSink(url_of(server))) as new:
        hold(old, feeds, u'a')
        hold(new, feeds, u'b')
        feeds.send(u'a')
        feeds.send(u'b')
        wait_for(old, published=1)
        wait_for(new, published=1)
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            feeds.send(u'a', 3000)
            wait_for(old, received=3001)
            hold(new, feeds, u'a', 2, overlap=2)
            feeds.send(u'a')
            wait_for(new, received=2)
            time.sleep(2.1)         # the overlap, while nobody can publish
        finally:
            os.kill(server.process.pid, signal.SIGCONT)
        wait_for(old, queued=0)
        wait_for(new, queued=0)
    assert entries_of(server, 'a') == numbered(*range(1, 3003))


def test_a_restart_between_two_writes_is_noticed(feeds, caplog):
    """redis-py connects again in silence: no write fails."""
    with run_redis() as server:     # without a file: it comes back empty
        sink = RedisSink(url_of(server))
        with Shard(sink) as shard:
            hold(shard, feeds, u'a')
            feeds.send(u'a', 3)
            wait_for(shard, published=3)
            server.stop(kill=True)
            wait_until(server.start, 'it starts again')
            feeds.send(u'a')
            wait_for(shard, published=4)
        assert sink.rewound == 1
        assert ['from the first to 3' in record.getMessage() for record in caplog.records] == [True]
        assert entries_of(server, 'a') == numbered(4)


def test_what_redis_lost_of_a_feed_that_was_silent_is_reported_too(feeds, caplog):
    with run_redis() as server:     # without a file: it comes back empty
        sink = RedisSink(url_of(server))
        with Shard(sink) as shard:
            for name in u'ab':
                hold(shard, feeds, name)
                feeds.send(name, 3)
            wait_for(shard, published=6)
            server.stop(kill=True)
            feeds.send(u'a')
            wait_until(lambda: shard.health()['state'] == 'failing', 'failing')
            wait_until(server.start, 'it starts again')
            wait_for(shard, published=7)
            feeds.send(u'b')
            wait_for(shard, published=8)
        assert sink.rewound == 2


def test_a_sink_keeps_nothing_of_feeds_that_have_left(server, feeds):
    opened = weakref.WeakSet()

    class Noting(RedisSink):
        def open(self, feed, overlap=0.0):
            outlet = super(Noting, self).open(feed, overlap)
            opened.add(outlet)
            return outlet

    sink = Noting(url_of(server))
    with Shard(sink) as shard:
        for name in u'abcdef':
            hold(shard, feeds, name, sequence=number_of if name < u'd' else None)
            feeds.send(name)
        wait_for(shard, published=6)
        outlets = [weakref.ref(outlet) for outlet in opened]
        for name in u'abcdef':
            shard.remove(name)
        assert shard.health()['published'] == 6
        gc.collect()
        # The pool's loop may have the last one still at hand.
        assert sum(outlet() is not None for outlet in outlets) <= 1


# -- Sentinel and Cluster --

def test_a_cluster_has_the_streams_of_all_feeds(feeds, caplog):
    names = [u'feed-{}'.format(number) for number in range(8)] + [u'{tea}-1', u'a}b']
    with run_cluster() as (one, other):
        with Shard(RedisSink(lambda: cluster_client(one))) as shard:
            for name in names:
                hold(shard, feeds, name)
            hold(shard, feeds, u'{tea}-2', sequence=None)
            hold(shard, feeds, u'plain', sequence=None)
            for _ in range(3):
                for name in names + [u'{tea}-2', u'plain']:
                    feeds.send(name)
            wait_for(shard, published=36, queued=0, state='ok')
            for name in names:
                feeds.drop(name)        # and each asks for its last number
        with contextlib.closing(cluster_client(other)) as client:
            assert {name: ids_of(client, name) for name in names} == dict.fromkeys(
                names, numbered(1, 2, 3))
            assert ids_of(client, u'plain') == ids_of(client, u'{tea}-2') == [
                (1, 1), (1, 2), (1, 3)]
            assert len({client.keyslot('feed:' + name) // (SLOTS // 2) for name in names}) == 2
            for server in one, other:
                with contextlib.closing(client_of(server)) as node:
                    assert node.dbsize()
        assert not caplog.records


def test_a_cluster_of_which_a_part_was_away_has_all(feeds, caplog):
    names = [u'feed-{}'.format(number) for number in range(8)]
    with run_cluster() as (one, other):
        sink = RedisSink(lambda: cluster_client(one))
        with Shard(sink) as shard:
            for name in names:
                hold(shard, feeds, name)
                feeds.send(name)
            wait_for(shard, published=8)
            os.kill(other.process.pid, signal.SIGSTOP)
            try:
                for name in names:
                    feeds.send(name, 3)
                # Stalled, if redis-py tries again for long.
                wait_until(lambda: shard.health()['state'] != 'ok', 'failing')
            finally:
                os.kill(other.process.pid, signal.SIGCONT)
            wait_for(shard, received=32, queued=0)
            assert shard.health()['published'] + shard.health()['duplicates'] == 32
        with contextlib.closing(cluster_client(one)) as client:
            assert {name: ids_of(client, name) for name in names} == dict.fromkeys(
                names, numbered(1, 2, 3, 4))
        assert sink.rewound == 0


# redis-py formats its own bytes, for which python -b warns.
@pytest.mark.filterwarnings('ignore:str.. on a bytes instance:BytesWarning')
def test_a_reader_reads_feeds_of_one_slot_of_a_cluster():
    with run_cluster() as (one, _other):
        with pytest.raises(ValueError, match='one hash slot'):
            Reader(lambda: cluster_client(one), [u'a', u'b'], u'group', u'one', block=0.01)
        with contextlib.closing(cluster_client(one)) as client:
            add(client, '{tea}-1', 1, 2)
            add(client, '{tea}-2', 1)
            reader = Reader(lambda: cluster_client(one), [u'{tea}-1', u'{tea}-2'], u'group',
                            u'dead', block=0.01)
            assert len(read_all(reader)) == 3
            assert client.xpending('feed:{tea}-1', 'group')['pending'] == 0
            add(client, '{tea}-1', 3)
            assert next(iter(reader)).number == 3       # and never comes back
            reader.close()
        alive = Reader(lambda: cluster_client(one), [u'{tea}-1'], u'group', u'alive', block=0.01,
                       claim_after=0.02)
        assert next(entry for entry in alive if entry is not None).number == 3
        alive.close()


def test_a_sentinel_that_names_another_primary_holds_up_nothing(feeds, caplog):
    with run_sentinel() as (primary, replica, sentinel):
        def make_client():
            return redis.Sentinel([('127.0.0.1', sentinel.port)]).master_for(
                'feeds', socket_timeout=5)

        sink = RedisSink(make_client)
        with Shard(sink) as shard:
            hold(shard, feeds, u'a')
            feeds.send(u'a', 3)
            wait_for(shard, published=3)
            reader = Reader(make_client, [u'a'], u'group', u'one', block=0.01)
            assert len(read_all(reader)) == 3
            with contextlib.closing(client_of(replica)) as client:
                wait_until(lambda: ids_of(client, 'a') == numbered(1, 2, 3), 'the replica has all')
            primary.stop(kill=True)
            feeds.send(u'a', 3)
            wait_for(shard, received=6, queued=0)
            health = shard.health()
            assert health['published'] + health['duplicates'] == 6
            assert [entry.number for entry in read_all(reader)] == [4, 5, 6]
            reader.close()
        assert entries_of(replica, 'a') == numbered(*range(1, 7))
        assert sink.rewound == 0


def test_what_a_primary_had_not_passed_on_is_reported(feeds, caplog):
    with run_sentinel() as (primary, replica, sentinel):
        sink = RedisSink(lambda: redis.Sentinel([('127.0.0.1', sentinel.port)]).master_for('feeds'))
        with Shard(sink) as shard:
            hold(shard, feeds, u'a')
            feeds.send(u'a', 3)
            wait_for(shard, published=3)
            with contextlib.closing(client_of(replica)) as client:
                wait_until(lambda: ids_of(client, 'a') == numbered(1, 2, 3), 'the replica has all')
            os.kill(replica.process.pid, signal.SIGSTOP)
            try:
                with contextlib.closing(client_of(primary)) as client:
                    client.execute_command('CLIENT', 'KILL', 'TYPE', 'replica')
                feeds.send(u'a', 2)
                wait_for(shard, published=5)
                primary.stop(kill=True)
            finally:
                os.kill(replica.process.pid, signal.SIGCONT)
            feeds.send(u'a')
            wait_for(shard, received=6, queued=0)
        assert entries_of(replica, 'a') == numbered(1, 2, 3, 6)
        assert sink.rewound == 1


def test_a_client_that_decodes_is_refused(server, caplog):
    def make_client():
        return redis.Redis(port=server.port, decode_responses=True)

    with pytest.raises(ValueError, match='decode_responses'):
        Reader(make_client, [u'a'], u'group', u'one')
    with pytest.raises(ValueError, match='decode_responses'):
        Reader(url_of(server) + u'?decode_responses=1', [u'a'], u'group', u'one')


# -- the reader --

def add(client, name, *numbers):
    for number in numbers:
        client.xadd('feed:' + name, {'text': u'{}'.format(number)}, id='{}-0'.format(number))


@pytest.fixture
def client(server):
    client = client_of(server)
    yield client
    client.close()


def make_reader(server, consumer=u'one', **options):
    return Reader(url_of(server), [u'a', u'b'], u'group', consumer,
                  **dict({'block': 0.01}, **options))


def test_a_reader_reads_all_feeds_and_counts_what_is_missed(server, client):
    add(client, 'a', 1, 2, 5)
    client.xadd('feed:b', {'data': b'\xff', 'time': '1.5'}, id='3-1')
    reader = make_reader(server)
    entries = read_all(reader)
    assert [(entry.number, entry.data) for entry in entries if entry.feed == u'a'] \
        == [(1, u'1'), (2, u'2'), (5, u'5')]
    other, = [entry for entry in entries if entry.feed == u'b']
    assert (other.id, other.number, other.data, other.time) == (u'3-1', None, b'\xff', 1.5)
    assert reader.missed == {u'a': 2}
    assert "'3-1'" in repr(other) and isinstance(other, Entry)
    assert client.xpending('feed:a', 'group')['pending'] == 0
    reader.close()


def test_consumers_share_the_entries(server, client):
    one, two = make_reader(server, u'one', count=1), make_reader(server, u'two', count=1)
    readers = [iter(one), iter(two)]
    add(client, 'a', 1, 2)
    assert sorted(next(reader).number for reader in readers) == [1, 2]
    for reader in one, two:
        reader.close()


def test_what_a_dead_consumer_left_is_claimed(server, client):
    dead = make_reader(server, u'dead')
    add(client, 'a', 1, 2)
    assert next(iter(dead)).number == 1     # and never comes back
    dead.close()
    alive = make_reader(server, u'alive', claim_after=0.02)
    numbers = []
    for entry in alive:
        if entry is not None:
            numbers.append(entry.number)
        if len(numbers) == 2:
            break
    assert sorted(numbers) == [1, 2]
    alive.close()


def test_entries_that_were_trimmed_while_pending_are_counted(server, client):
    dead = make_reader(server, u'dead')
    add(client, 'a', 1, 2, 3)
    assert next(iter(dead)).number == 1
    dead.close()
    client.xtrim('feed:a', maxlen=1, approximate=False)
    alive = make_reader(server, u'alive', claim_after=0.02)
    for entry in alive:
        if entry is not None:
            assert entry.number == 3
            break
    wait_until(lambda: alive.trimmed == 2, 'counted')
    alive.close()


def test_a_reader_goes_on_with_a_stream_that_begins_again_before_what_was_read(
        server, client, caplog):
    """As after Redis has come back empty: the epochs of a feed without numbers begin again."""
    reader = make_reader(server)
    client.xadd('feed:a', {'text': 'old'}, id='7-30')
    assert [entry.id for entry in read_all(reader)] == [u'7-30']
    client.flushall()
    assert read_all(reader) == []       # here the group is made again
    client.xadd('feed:a', {'text': 'new'}, id='1-1')
    assert [entry.id for entry in read_all(reader)] == [u'1-1']
    assert reader.restarts == 1
    assert ['was gone' in record.getMessage() for record in caplog.records] == [True]
    reader.close()


def test_a_feed_that_redis_permits_no_entries_of_holds_up_no_other(server, feeds, client, caplog):
    client.execute_command('ACL', 'SETUSER', 'writer', 'on', '>secret', '+@all', '~feed:b')
    with Shard(RedisSink(lambda: redis.Redis(
            port=server.port, username='writer', password='secret'))) as shard:
        for name in u'ab':
            hold(shard, feeds, name)
            feeds.send(name, 2)
        wait_for(shard, published=2, refused=2, queued=0, state='ok')
    assert entries_of(server, 'b') == numbered(1, 2)


@pytest.mark.parametrize('rules, epoch', [
    (('+@all', '~feed:*'), None),           # the key of the epoch is epoch:{feed:a}
    (('+@all', '-eval', '~*'), None),
    (('+@all', '-get', '~*'), None),
    (('+@all', '~*'), 'no number'),
    (('+@all', '~*'), ['a list'])])
def test_a_feed_without_numbers_that_gets_no_epoch_holds_up_no_other(
        server, feeds, client, caplog, rules, epoch):
    client.execute_command('ACL', 'SETUSER', 'writer', 'on', '>secret', *rules)
    if isinstance(epoch, list):
        client.rpush('epoch:{feed:a}', *epoch)
    elif epoch is not None:
        client.set('epoch:{feed:a}', epoch)
    with Shard(RedisSink(lambda: redis.Redis(
            port=server.port, username='writer', password='secret'))) as shard:
        hold(shard, feeds, u'a', sequence=None)
        hold(shard, feeds, u'b')
        for name in u'ab':
            feeds.send(name, 2)
        wait_for(shard, published=2, refused=2, queued=0, state='ok')
    assert entries_of(server, 'b') == numbered(1, 2)
    assert ["Redis refused an entry of feed" in record.getMessage() for record in caplog.records] \
        == [True]


def test_a_sink_that_may_not_read_goes_on_after_an_answer_that_was_lost(feeds, client, server):
    """Whether the entry is there can't be known: it counts as one that comes too late."""
    client.execute_command(
        'ACL', 'SETUSER', 'writer', 'on', '>secret', '~*', '+@all', '-xrange', '-xrevrange')
    lost = []

    class Losing(redis.Redis):
        def pipeline(self, *args, **options):
            pipeline = super(Losing, self).pipeline(*args, **options)
            execute = pipeline.execute

            def lose(**execute_options):
                answers = execute(**execute_options)
                if not lost:
                    lost.append(1)
                    raise redis.ConnectionError('lost the answer')
                return answers

            pipeline.execute = lose
            return pipeline

    with Shard(RedisSink(lambda: Losing(
            port=server.port, username='writer', password='secret'))) as shard:
        hold(shard, feeds, u'a', sequence=None)
        feeds.send(u'a')
        wait_for(shard, disordered=1, queued=0)
        feeds.send(u'a')
        wait_for(shard, published=1, queued=0)
    assert entries_of(server, 'a') == [(1, 1), (1, 2)]


def test_a_group_that_is_gone_is_made_again_after_the_last_entry_that_was_read(
        server, client, caplog):
    reader = make_reader(server)
    add(client, 'a', 1, 2)
    entries = iter(reader)
    assert [next(entries).number, next(entries).number, next(entries)] == [1, 2, None]
    client.flushall()
    add(client, 'a', 1, 2, 3)
    found = None
    while found is None:
        found = next(entries)
    assert found.number == 3
    assert reader.restarts == 1
    assert len(caplog.records) == 1
    reader.close()


def test_a_reader_that_is_iterated_again_goes_on_where_it_was(server, client):
    reader = make_reader(server)
    add(client, 'a', 1, 2)
    assert [entry.number for entry in read_all(reader)] == [1, 2]
    client.flushall()
    add(client, 'a', 1, 2, 3)
    assert [entry.number for entry in read_all(reader)] == [3]
    reader.close()


def test_a_reader_that_does_not_wait_yields_none(server, client):
    reader = make_reader(server, block=0)
    assert next(iter(reader)) is None
    reader.close()


def test_a_reader_that_left_the_loop_gets_again_what_it_did_not_acknowledge(server, client):
    reader = make_reader(server)
    add(client, 'a', 1, 2, 3)
    assert next(iter(reader)).number == 1
    assert [entry.number for entry in read_all(reader)] == [1, 2, 3]
    add(client, 'a', 4, 5)
    assert next(iter(reader)).number == 4
    reader.close()
    again = make_reader(server)         # as after a crash: the same name
    assert [entry.number for entry in read_all(again)] == [4, 5]
    assert read_all(again) == []
    again.close()


@pytest.mark.parametrize('feeds, options, error', [
    (u'tea', {}, TypeError), ([], {}, ValueError), ([u'tea'], {'count': 0}, ValueError),
    ([u'tea'], {'claim_after': u'1'}, TypeError), ([u'tea'], {'block': None}, TypeError),
    ([u'tea'], {'block': u'1'}, TypeError), ([u'tea'], {'block': -1}, ValueError)])
def test_wrong_arguments_of_a_reader_are_refused(server, feeds, options, error):
    with pytest.raises(error):
        Reader(url_of(server), feeds, u'group', u'one', **options)


@pytest.mark.parametrize('arguments, options, error', [
    ((u'127.0.0.1:6379',), {}, ValueError), ((u'http://x/',), {}, ValueError),
    ((u'redis://x/?decode_responses=1',), {}, ValueError),
    ((), {'prefix': 5}, TypeError), ((), {'maxlen': 0}, ValueError)])
def test_wrong_arguments_of_a_sink_are_refused(arguments, options, error):
    with pytest.raises(error):
        RedisSink(*arguments, **options)


def test_block_is_shorter_than_the_timeout_of_the_client(server):
    with pytest.raises(ValueError, match='socket_timeout'):
        make_reader(server, block=10)
