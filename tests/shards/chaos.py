"""Break a fleet of shards at random for a while, and account for every number that its feeds sent.

    python -m tests.shards.chaos --minutes 10       # `make shards` does this

Each feed sends consecutive numbers, whoever listens. Shards are killed, frozen, terminated, joined
and drained; Redis is restarted, and once away for 20 seconds. At the end each number has been read
once from Redis, or is missing in a window that the promise allows: 2 s after a kill, ttl + 2 s
after a freeze, none after anything else; none at all with two replicas. The exit status says
whether that holds.
"""

from __future__ import absolute_import, division, print_function

import argparse
import collections
import logging
import os
import random
import signal
import sys
import threading
import time

import ray
import redis

from lomond.persist import ReconnectPolicy
from lomond.server import Server
from lomond.shards import Feed
from lomond.shards.ray import run
from lomond.shards.reader import Reader
from lomond.shards.redis import RedisSink
from tests.programs import wait_until
from tests.redis_server import run_redis, url_of

TTL = 3.0

# Seconds before an event: what a shard had received then, and not yet published, is lost with it.
BEFORE = 0.5

PROMISE = {'kill': 2.0, 'freeze': TTL + 2.0}


def number_of(event):
    return int(event.text)


class Ticker(object):
    """Sends the same number to all listeners, `rate` times a second; remembers when."""

    def __init__(self, rate):
        self.times = [0.0]      # by number: when it was sent
        self._server = Server(threads=False, max_connections=10000, ping_rate=0)
        self._rate = rate
        self._exit = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def url(self, name):
        return self._server.url + name

    def _run(self):
        for websocket, _event in self._server.polling(1.0 / self._rate):
            if websocket is None:
                self.times.append(time.time())
                self._server.broadcast(u'{}'.format(len(self.times) - 1))
                if self._exit:
                    break

    def close(self):
        self._exit = True
        self._thread.join()
        self._server.close(timeout=0)


class Consumer(object):
    """Reads all streams in a thread; counts how often each number of a feed came."""

    def __init__(self, url, names):
        self.seen = {name: collections.Counter() for name in names}
        self.reader = None
        self._arguments = url, names
        self.is_idle = threading.Event()
        self._exit = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        url, names = self._arguments
        while not self._exit:
            try:
                if self.reader is None:
                    self.reader = Reader(url, names, u'chaos', u'one', block=0.2, claim_after=1.0)
                for entry in self.reader:
                    if entry is not None:
                        self.seen[entry.feed][entry.number] += 1
                        self.is_idle.clear()
                    elif self._exit:
                        break
                    else:
                        self.is_idle.set()
            except redis.RedisError:
                time.sleep(0.2)     # Redis is away; what wasn't acknowledged is claimed

    def close(self):
        self._exit = True
        self._thread.join()


class Chaos(object):
    """What is done to a fleet, and when."""

    def __init__(self, fleet, server, choice):
        self._fleet = fleet
        self._server = server
        self._random = choice
        self.events = []    # (what, when it began, when it was over)

    def one(self, what):
        began = time.time()
        getattr(self, what)()
        self.events.append((what, began, time.time()))
        print('{:7.1f} s  {}'.format(began - self.began, what))
        sys.stdout.flush()

    def _victim(self):
        up = [shard for shard in self._fleet.status()['shards'] if shard['up']]
        return self._random.choice(up)['pid']

    def kill(self):
        os.kill(self._victim(), signal.SIGKILL)

    def freeze(self):
        os.kill(self._victim(), signal.SIGSTOP)

    def terminate(self):
        os.kill(self._victim(), signal.SIGTERM)

    def join(self):
        self._fleet.grow()

    def drain(self):
        shards = [shard['name'] for shard in self._fleet.status()['shards'] if shard['up']]
        if len(shards) > 2:
            self._fleet.drain(self._random.choice(shards), timeout=120)

    def restart_redis(self):
        self._server.stop()
        wait_until(self._server.start, 'it starts again')

    def stop_redis(self):
        self._server.stop(kill=True)
        time.sleep(20)
        wait_until(self._server.start, 'it starts again')


def missing_ranges(seen, first, last):
    """Yield pairs of the first and the last number of each range that is missing."""
    begin = None
    for number in range(first, last + 1):
        if number not in seen and begin is None:
            begin = number
        elif number in seen and begin is not None:
            yield begin, number - 1
            begin = None
    if begin is not None:
        yield begin, last


def account(chaos, ticker, consumer, first, last, promise):
    """Print what became of each number; return whether the promise was kept."""
    times = ticker.times
    expected = len(consumer.seen) * (last - first + 1)
    double = sum(count - 1 for seen in consumer.seen.values() for count in seen.values())
    windows = [(what, began - BEFORE, began + promise[what])
               for what, began, _end in chaos.events if what in promise]
    gaps, outside = collections.defaultdict(list), []
    for name, seen in sorted(consumer.seen.items()):
        for begin, end in missing_ranges(seen, first, last):
            fitting = [what for what, opens, closes in windows
                       if opens <= times[begin] and times[end] <= closes]
            if fitting:
                gaps[fitting[-1]].append((end - begin + 1, times[end] - times[begin]))
            else:
                outside.append((name, begin, end, times[begin] - chaos.began,
                                times[end] - chaos.began))
    print('{:,} numbers of {} feeds: {:,} read, {:,} read twice'.format(
        expected, len(consumer.seen),
        sum(first <= number <= last for seen in consumer.seen.values() for number in seen), double))
    for what, found in sorted(gaps.items()):
        print('after a {}: {} gaps, {:,} numbers, the longest {:.1f} s'.format(
            what, len(found), sum(count for count, _time in found),
            max(seconds for _count, seconds in found)))
    for name, begin, end, opens, closes in outside[:20]:
        print('NOT PROMISED: {}, {} to {}, sent {:.1f} s to {:.1f} s'.format(
            name, begin, end, opens, closes))
    print('{} gaps outside the windows of the promise'.format(len(outside)))
    return not outside and not double


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--minutes', type=float, default=10)
    parser.add_argument('--feeds', type=int, default=200)
    parser.add_argument('--shards', type=int, default=4)
    parser.add_argument('--replicas', type=int, default=1)
    parser.add_argument('--rate', type=float, default=10, help='numbers a second, of each feed')
    parser.add_argument('--pause', type=float, default=12, help='seconds between two events')
    parser.add_argument('--events', default='kill freeze terminate join drain restart_redis')
    parser.add_argument('--seed', type=int, default=random.randrange(10 ** 6))
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    print('seed {}'.format(options.seed))
    choice = random.Random(options.seed)
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    with run_redis('--appendonly', 'yes') as server:
        ticker = Ticker(options.rate)
        names = [u'feed-{:03d}'.format(number) for number in range(options.feeds)]
        policy = ReconnectPolicy(min_wait=0.05, max_wait=1.0)
        feeds = [Feed(name, ticker.url(name), policy, sequence=number_of) for name in names]
        consumer = Consumer(url_of(server), names)
        with run(feeds, options.shards, RedisSink(url_of(server)), ttl=TTL,
                 replicas=options.replicas) as fleet:
            fleet.wait_live(120)
            chaos = Chaos(fleet, server, choice)
            chaos.began, first = time.time(), len(ticker.times) + 1
            is_away = False
            while time.time() - chaos.began < options.minutes * 60:
                time.sleep(options.pause)
                halfway = time.time() - chaos.began > options.minutes * 30
                if halfway and not is_away and 'redis' in options.events:
                    chaos.one('stop_redis')
                    is_away = True
                else:
                    chaos.one(choice.choice(options.events.split()))
            fleet.wait_live(120)
            time.sleep(2)
            last = len(ticker.times) - 1
            time.sleep(2)       # the last number is on its way
            consumer.is_idle.clear()
            while not all(last in seen for seen in consumer.seen.values()):
                time.sleep(0.1)
            print(fleet.status()['counts'])
            print({name: sum(shard.get(name, 0) for shard in fleet.status()['shards'])
                   for name in ('received', 'published', 'duplicates', 'dropped', 'refused')})
        consumer.close()
        ticker.close()
        is_kept = account(
            chaos, ticker, consumer, first, last, {} if options.replicas > 1 else PROMISE)
    ray.shutdown()
    return 0 if is_kept else 1


if __name__ == '__main__':
    sys.exit(main())
