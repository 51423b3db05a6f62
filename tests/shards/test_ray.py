"""A fleet of shards on a real Ray, with a real Redis: deaths, freezes, joining and draining.

Ray takes seconds to start: all tests share it. Without Ray (`pip install ray`) they are skipped.
"""

from __future__ import absolute_import, division, print_function

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import pytest

from lomond import WebSocket
from lomond.persist import ReconnectPolicy
from lomond.shards import Feed, JSONLinesSink
from tests.programs import free_ports, wait_until
from tests.redis_server import entries_of, url_of
from tests.shards.feeds_server import Feeds, number_of
from tests.support import PATIENCE

ray = pytest.importorskip('ray')
pytest.importorskip('redis')
from lomond.shards.lifeline import Lifeline  # noqa: E402
from lomond.shards.ray import run  # noqa: E402
from lomond.shards.ray.host import ShardHost  # noqa: E402
from lomond.shards.ray.supervisor import NAMESPACE, Supervisor  # noqa: E402
from lomond.shards.redis import RedisSink  # noqa: E402

pytestmark = [pytest.mark.costly, pytest.mark.timeout(300)]

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

POLICY = ReconnectPolicy(min_wait=0.01, max_wait=0.1)
NAMES = [u'feed-{}'.format(number) for number in range(6)]


@pytest.fixture(scope='module')
def ray_runs():
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def fleet(ray_runs, feeds, server):
    with run([feeds.feed(name, policy=POLICY) for name in NAMES], 2,
             RedisSink(url_of(server))) as fleet:
        fleet.wait_live()
        yield fleet


def shard_of(fleet, name):
    return [shard for shard in fleet.status()['shards'] if shard['name'] == name][0]


@contextlib.contextmanager
def sending(feeds):
    """Send messages of all feeds, in a thread, while the block runs."""
    is_over = threading.Event()

    def send():
        while not is_over.wait(0.005):
            for name in NAMES:
                feeds.send(name)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def send_all(feeds, server, count=2):
    """Send messages of all feeds; wait until all are in Redis, with none missing."""
    for name in NAMES:
        last = feeds.send(name, count)
    numbers = [(number, 0) for number in range(1, last + 1)]
    for name in NAMES:
        wait_until(lambda name=name: entries_of(server, name) == numbers, name)


def test_feeds_are_spread_and_published(fleet, feeds, server):
    assert [shard['held'] for shard in fleet.status()['shards']] == [3, 3]
    assert {len(holders) for holders in fleet.holders().values()} == {1}
    send_all(feeds, server)


def test_the_feeds_of_a_shard_that_is_killed_go_to_the_others_and_back(fleet, feeds, server):
    send_all(feeds, server)
    actors = len(ray.util.list_named_actors(all_namespaces=True))
    os.kill(shard_of(fleet, 'shard-0')['pid'], signal.SIGKILL)
    wait_until(lambda: shard_of(fleet, 'shard-1')['held'] == 6, 'the other one has them')
    fleet.wait_live()
    send_all(feeds, server)
    wait_until(lambda: shard_of(fleet, 'shard-0')['starts'] == 2, 'Ray starts it again')
    fleet.wait_live()
    assert [shard['held'] for shard in fleet.status()['shards']] == [3, 3]
    send_all(feeds, server)
    assert fleet.status()['counts']['deaths'] == 1
    assert len(ray.util.list_named_actors(all_namespaces=True)) == actors


def test_a_shard_that_is_frozen_is_killed(fleet, feeds, server):
    os.kill(shard_of(fleet, 'shard-0')['pid'], signal.SIGSTOP)
    wait_until(lambda: fleet.status()['counts']['freezes'] == 1, 'it counts as dead')
    fleet.wait_live()
    send_all(feeds, server)
    wait_until(lambda: shard_of(fleet, 'shard-0')['starts'] == 2, 'Ray starts it again')


def test_joining_and_draining_miss_nothing(fleet, feeds, server):
    send_all(feeds, server)
    name, = fleet.grow()
    fleet.wait_live()
    assert shard_of(fleet, name)['held'] == 2       # its share
    send_all(feeds, server)
    fleet.drain('shard-0')
    assert fleet.shards == ['shard-1', name]
    assert [shard['held'] for shard in fleet.status()['shards']] == [3, 3]
    send_all(feeds, server)
    with pytest.raises(ValueError, match='shard-1, shard-2'):
        fleet.drain('shard-0')


def test_a_supervisor_that_is_killed_knows_all_again(fleet, feeds, server):
    fleet.remove(NAMES[0])
    name, = fleet.grow()
    wait_until(lambda: shard_of(fleet, name)['held'], 'it takes its share')
    fleet.wait_live()
    before = fleet.status()
    os.kill(before['pid'], signal.SIGKILL)
    wait_until(lambda: fleet.status()['pid'] != before['pid'], 'Ray starts it again')
    wait_until(lambda: fleet.status()['live'] == 5, 'it knows all feeds')
    assert [shard['name'] for shard in fleet.status()['shards']] == ['shard-0', 'shard-1', name]
    assert {shard['starts'] for shard in fleet.status()['shards']} == {1}   # none was touched
    assert NAMES[0] not in fleet.holders()


def test_all_that_are_killed_at_once_have_all_feeds_again(fleet, feeds, server):
    status = fleet.status()
    for pid in [status['pid']] + [shard['pid'] for shard in status['shards']]:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: fleet.status()['live'] == len(NAMES), 'live again')
    send_all(feeds, server)


def test_a_feed_that_comes_when_all_were_killed_takes_no_other_away(fleet, feeds, server):
    status = fleet.status()
    for pid in [status['pid']] + [shard['pid'] for shard in status['shards']]:
        os.kill(pid, signal.SIGKILL)
    fleet.add(feeds.feed(u'new', policy=POLICY))        # nobody else has the list
    wait_until(lambda: fleet.status()['live'] == len(NAMES) + 1, 'live again')
    assert sorted(fleet.holders()) == sorted(NAMES + [u'new'])


def test_a_supervisor_that_gets_no_list_touches_no_feed_and_asks_again(fleet, feeds, server):
    before = {name: feeds.listeners(name) for name in NAMES}
    status = fleet.status()
    pids = [shard['pid'] for shard in status['shards']]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        os.kill(status['pid'], signal.SIGKILL)
        wait_until(lambda: fleet.holders() == {}, 'the one that has begun again knows nothing')
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    # Not by `status`, which would send the list.
    wait_until(lambda: {len(holders) for holders in fleet.holders().values()} == {1}, 'all again')
    fleet.wait_live()
    assert {name: feeds.listeners(name) for name in NAMES} == before


@contextlib.contextmanager
def supervised(server, feed):
    """Run a supervisor in this process, and one shard with a feed; yield both."""
    actor = ray.remote(ShardHost).options(
        name='alone-shard-0', namespace=NAMESPACE, num_cpus=0, max_restarts=-1,
    ).remote(RedisSink(url_of(server)), 'shard-0', {})
    supervisor = Supervisor('alone-', 1, 3.0, 0.0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', BytesWarning)       # of Ray's own, in `ray.put`
            supervisor.set_feeds([feed])
            wait_until(lambda: supervisor.status()['live'] == 1, 'live')
            yield supervisor, supervisor.hosts['shard-0']
    finally:
        supervisor.close()
        ray.kill(actor)


def test_a_process_that_another_has_replaced_is_not_heard_again(ray_runs, feeds, server):
    """After a network partition it may still run, and connect again."""
    with supervised(server, feeds.feed(u'a', policy=POLICY)) as (supervisor, shard):
        hello = shard.hello
        os.kill(hello['pid'], signal.SIGKILL)
        wait_until(lambda: supervisor.status()['shards'][0]['starts'] == 2, 'another process')
        wait_until(lambda: supervisor.status()['live'] == 1, 'live')
        pid, line = shard.hello['pid'], shard.line
        calls = []

        def say(_is_first):
            calls.append(hello)
            return hello

        lifeline = Lifeline(supervisor.board.url, supervisor.token, 0.05, say)
        try:
            wait_until(lambda: len(calls) > 5, 'it has said hello')
            assert (shard.hello['pid'], shard.line) == (pid, line)
        finally:
            lifeline.close()
        assert supervisor.status()['shards'][0]['starts'] == 2
        wait_until(lambda: supervisor.status()['live'] == 1, 'live')


def test_a_shard_that_the_supervisor_has_lost_says_hello_again(ray_runs, feeds, server):
    with supervised(server, feeds.feed(u'a', policy=POLICY)) as (supervisor, shard):
        with supervisor.turned:
            supervisor.drop(shard)
        wait_until(lambda: supervisor.status()['live'] == 1, 'it is up again')
        assert supervisor.status()['shards'][0]['starts'] == 1


def test_a_feed_that_changes_while_its_shard_is_not_known_is_replaced(ray_runs, feeds, server):
    with Feeds() as others, \
            supervised(server, feeds.feed(u'a', policy=POLICY)) as (supervisor, shard):
        with supervisor.turned:        # so the shard can't say hello meanwhile
            supervisor.drop(shard)
            supervisor.set_feeds([others.feed(u'a', policy=POLICY)])
        wait_until(lambda: others.listeners(u'a'), 'it listens')
        wait_until(lambda: not feeds.listeners(u'a'), 'the one before listens no more')


def test_feeds_come_and_go(fleet, feeds, server):
    fleet.add(feeds.feed(u'new', policy=POLICY))
    fleet.remove(NAMES[0], NAMES[1])
    fleet.wait_live()
    wait_until(lambda: len(feeds.listeners(u'new')) == 1, 'it listens')
    wait_until(lambda: not feeds.listeners(NAMES[0]), 'it listens no more')
    assert sorted(fleet.holders()) == sorted(NAMES[2:] + [u'new'])
    fleet.set_feeds([feeds.feed(NAMES[0], policy=POLICY)])
    wait_until(lambda: not feeds.listeners(u'new'), 'it listens no more')
    with pytest.raises(TypeError, match='takes feeds'):
        fleet.add(u'ws://x/')


def test_a_feed_that_is_added_again_replaces_the_one_before(fleet, feeds, server):
    with Feeds() as others:
        fleet.add(others.feed(NAMES[0], policy=POLICY))
        wait_until(lambda: others.listeners(NAMES[0]), 'it listens')
        wait_until(lambda: not feeds.listeners(NAMES[0]), 'the one before listens no more')
        alike = [feeds.feed(name, policy=POLICY) for name in NAMES[1:]]
        before = [feeds.listeners(name) for name in NAMES[1:]]
        fleet.set_feeds([others.feed(NAMES[0], policy=POLICY)] + alike)
        fleet.wait_live()
        assert [feeds.listeners(name) for name in NAMES[1:]] == before     # none was touched
        fleet.remove(NAMES[0])
        wait_until(lambda: not others.listeners(NAMES[0]), 'it listens no more')


def test_feeds_that_threads_add_at_once_are_all_there(fleet, feeds, server):
    threads = [threading.Thread(target=fleet.add, args=(feeds.feed(u'new-{}'.format(number)),))
               for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert fleet.status()['feeds'] == len(NAMES) + 20


def test_a_supervisor_that_stood_still_kills_no_shard(ray_runs, feeds, server):
    with run([feeds.feed(name, policy=POLICY) for name in NAMES], 2, RedisSink(url_of(server)),
             ttl=3.0) as fleet:
        fleet.wait_live()
        pid = fleet.status()['pid']
        os.kill(pid, signal.SIGSTOP)
        time.sleep(5)       # longer than ttl
        os.kill(pid, signal.SIGCONT)
        fleet.wait_live()
        wait_until(lambda: all(
            shard['up'] and shard['silent'] < 1 for shard in fleet.status()['shards']), 'alive')
        assert fleet.status()['counts']['freezes'] == 0
        assert {shard['starts'] for shard in fleet.status()['shards']} == {1}


def test_a_drain_waits_for_the_sink(ray_runs, feeds, tmpdir):
    gate, written = tmpdir.join('gate'), tmpdir.join('written')

    def write(name, message):
        while not os.path.exists(str(gate)):
            time.sleep(0.05)
        with open(str(written), 'a') as lines:
            lines.write(message + u'\n')

    with run([feeds.feed(name, policy=POLICY) for name in NAMES], 2, write) as fleet:
        fleet.wait_live()
        held = [name for name, holders in fleet.holders().items() if holders == ['shard-0']]
        for name in held:
            feeds.send(name)
        wait_until(lambda: shard_of(fleet, 'shard-0')['queued'] == len(held), 'they wait')
        with pytest.raises(RuntimeError, match='shard-0 still has 3 messages for its sink'):
            fleet.drain('shard-0', timeout=8)
        assert fleet.shards == ['shard-0', 'shard-1']
        gate.write('')
        fleet.drain('shard-0')
        assert fleet.shards == ['shard-1']
    assert sorted(written.read().splitlines()) == sorted(u'1 of ' + name for name in held)


def test_a_drain_goes_on_with_a_supervisor_that_begins_again(ray_runs, feeds, server):
    names = [u'feed-{}'.format(number) for number in range(60)]
    with run([feeds.feed(name, policy=POLICY) for name in names], 3,
             RedisSink(url_of(server))) as fleet:
        fleet.wait_live()
        pid = fleet.status()['pid']
        draining = threading.Thread(target=fleet.drain, args=('shard-0',))
        draining.start()
        wait_until(lambda: shard_of(fleet, 'shard-0')['draining'], 'it drains')
        os.kill(pid, signal.SIGKILL)
        draining.join(PATIENCE)
        assert fleet.shards == ['shard-1', 'shard-2']


def test_a_shard_that_gets_sigterm_hands_its_feeds_over_before_it_ends(fleet, feeds, server):
    send_all(feeds, server)
    with sending(feeds):
        os.kill(shard_of(fleet, 'shard-0')['pid'], signal.SIGTERM)
        wait_until(lambda: shard_of(fleet, 'shard-0')['starts'] == 2, 'Ray starts it again')
        fleet.wait_live()
    assert fleet.status()['counts']['deaths'] == 0
    assert [shard['held'] for shard in fleet.status()['shards']] == [3, 3]
    send_all(feeds, server)


def test_a_new_fleet_takes_over_from_one_that_still_runs(ray_runs, feeds, server):
    """As in a deploy: the new program is live before the old one ends."""
    def start(**options):
        return run([feeds.feed(name, policy=POLICY) for name in NAMES], 2,
                   RedisSink(url_of(server)), **options)

    with start() as old, contextlib.ExitStack() as fleets:
        old.wait_live()
        send_all(feeds, server)
        with sending(feeds):
            fleets.enter_context(start(overlap=5)).wait_live()
            old.close()
        send_all(feeds, server)


def test_two_replicas_miss_nothing_when_one_dies(ray_runs, feeds, server):
    with run([feeds.feed(name, policy=POLICY) for name in NAMES], 2, RedisSink(url_of(server)),
             replicas=2) as fleet:
        fleet.wait_live()
        assert {len(holders) for holders in fleet.holders().values()} == {2}
        for change in fleet.add, lambda feed: fleet.set_feeds([feed]):
            with pytest.raises(ValueError, match='replicas need feeds with a sequence'):
                change(feeds.feed(u'new', sequence=None))
        send_all(feeds, server)
        os.kill(shard_of(fleet, 'shard-0')['pid'], signal.SIGKILL)
        send_all(feeds, server, 20)
        wait_until(lambda: shard_of(fleet, 'shard-0')['held'] == 6, 'both have all again')


def test_a_file_of_lines_has_one_shard(ray_runs, feeds, tmpdir):
    path = tmpdir.join('lines')
    with run([feeds.feed(u'a', policy=POLICY)], 1, JSONLinesSink(str(path))) as fleet:
        fleet.wait_live()
        feeds.send(u'a')
        wait_until(lambda: path.check() and path.read(), 'written')
        with pytest.raises(ValueError, match='for one shard, not 2'):
            fleet.grow()
        assert fleet.shards == ['shard-0']


def test_a_feed_that_can_not_be_held_is_named(ray_runs, feeds, server):
    def fail():
        raise ValueError('no such market')

    bad = Feed(u'bad', fail)
    with run([feeds.feed(NAMES[0], policy=POLICY), bad], 1, RedisSink(url_of(server))) as fleet:
        wait_until(lambda: u'bad' in fleet.status()['failed'], 'it is named')
        wait_until(lambda: fleet.status()['live'] == 1, 'the other one is live')
        assert 'no such market' in fleet.status()['failed'][u'bad']
        with pytest.raises(RuntimeError, match='1 of 2 feeds are live.*; bad: .*no such market'):
            fleet.wait_live(timeout=0)


def test_a_source_that_failed_is_tried_again(ray_runs, feeds, server, tmpdir):
    url, token = feeds.feed(u'late').source, tmpdir.join('token')

    def make():
        with open(str(token)):
            return WebSocket(url)

    with run([Feed(u'late', make, sequence=number_of, policy=POLICY)], 1,
             RedisSink(url_of(server))) as fleet:
        wait_until(lambda: u'late' in fleet.status()['failed'], 'it is named')
        token.write('')
        fleet.wait_live()
        assert fleet.status()['failed'] == {}


def test_a_feed_that_can_not_connect_is_named_with_the_reason(ray_runs, feeds, server):
    closed, = free_ports(1)
    bad = Feed(u'bad', u'ws://127.0.0.1:{}/'.format(closed), sequence=number_of, policy=POLICY)
    with run([feeds.feed(NAMES[0], policy=POLICY), bad], 2, RedisSink(url_of(server)),
             replicas=2) as fleet:
        wait_until(lambda: fleet.status()['live'] == 1, 'the other one is live')
        wait_until(lambda: 'refused' in fleet.waiting().get(u'bad', ''), 'the reason')
        assert fleet.report()[NAMES[0]]['live']
        assert fleet.report()[u'bad']['shard'] in fleet.shards
        with pytest.raises(RuntimeError, match='bad: .*refused'):
            fleet.wait_live(timeout=0)


def end_at_zero(event):
    """A fault of which a shard's loop ends."""
    number = number_of(event)
    if number == 0:
        raise KeyboardInterrupt
    return number


def test_a_shard_whose_loop_has_ended_is_started_again(ray_runs, feeds, server):
    with run([feeds.feed(name, policy=POLICY, sequence=end_at_zero) for name in NAMES], 2,
             RedisSink(url_of(server))) as fleet:
        fleet.wait_live()
        send_all(feeds, server)
        feeds.say(NAMES[0], u'0')
        wait_until(lambda: fleet.status()['counts']['deaths'] == 1, 'it counts as dead')
        fleet.wait_live()
        send_all(feeds, server)
        wait_until(lambda: sorted(shard['starts'] for shard in fleet.status()['shards']) == [1, 2],
                   'Ray starts it again')


DRIVER = u"""
import threading

import ray
from lomond.shards.ray import run
from tests.shards.test_ray import POLICY, RedisSink, Feed, number_of

fleet = run([Feed(u'feed-0', {feed!r}, sequence=number_of, policy=POLICY)], 2, RedisSink({redis!r}),
            address={address!r})
fleet.wait_live()
print('live', flush=True)
threading.Event().wait()
"""


def test_a_program_that_crashes_leaves_nothing_that_is_in_the_way(ray_runs, feeds, server):
    """Each runs a fleet of the same name on the same cluster; one of them is killed."""
    source = DRIVER.format(feed=feeds.feed(NAMES[0]).source, redis=url_of(server),
                           address=ray.get_runtime_context().gcs_address)
    program = subprocess.Popen([sys.executable, '-c', source], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert program.stdout.readline() == b'live\n'
        feeds.await_listeners(NAMES[0])
        program.kill()
        program.wait()
        with run([feeds.feed(name, policy=POLICY) for name in NAMES], 2,
                 RedisSink(url_of(server))) as fleet:
            fleet.wait_live()
            wait_until(lambda: len(feeds.listeners(NAMES[0])) == 1, 'the crashed one is gone')
            send_all(feeds, server)
            assert len(ray.util.list_named_actors(all_namespaces=True)) == 3
    finally:
        program.kill()
        program.wait()
        program.stdout.close()


def test_closing_leaves_nothing(ray_runs, feeds, server):
    fleet = run([feeds.feed(name, policy=POLICY) for name in NAMES], 2, RedisSink(url_of(server)))
    fleet.wait_live()
    with pytest.raises(ValueError, match='Ray runs already'):
        run([], 1, len, address='127.0.0.1:1')
    fleet.close()
    with pytest.raises(RuntimeError, match='the fleet was closed'):
        fleet.status()
    wait_until(lambda: not any(feeds.listeners(name) for name in NAMES), 'all are closed')
    wait_until(lambda: not ray.util.list_named_actors(all_namespaces=True), 'no actor is left')


def test_wrong_arguments_are_refused_before_anything_starts(feeds):
    feed = feeds.feed(u'a')
    for arguments, error, words in (
            (([feed, feed], 2, len), ValueError, 'comes twice'),
            (([u'ws://x/'], 2, len), TypeError, 'takes feeds'),
            (([feed], 0, len), ValueError, 'shards'),
            (([feed], 2, len, 3), ValueError, '3 replicas need as many shards'),
            (([feed], 2, len, 1, 0), ValueError, 'ttl'),
            (([feed], 2, len, 1, 3, None, u'x', None), TypeError, 'overlap'),
            (([feed], 2, u'redis://x/'), TypeError, 'sink'),
            (([feed], 2, JSONLinesSink(u'lines')), ValueError, 'file for each process'),
            (([feed], 2, len, 1, 3, None, u'x', 0, {'no_such': 1}), TypeError, 'no_such'),
            (([feeds.feed(u'a', sequence=None)], 2, len, 2), ValueError, 'sequence')):
        with pytest.raises(error, match=words):
            run(*arguments)
