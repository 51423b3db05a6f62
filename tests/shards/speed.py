"""Measure one shard: messages a second into Redis, and memory for each feed that it holds.

    python -m tests.shards.speed

The feeds' server runs in a process of its own. docs/howto/beyond-one-machine.md has the figures.
"""

from __future__ import absolute_import, division, print_function

import subprocess
import sys
import threading
import time

from lomond.server import Server
from lomond.shards import Feed, Shard
from lomond.shards.redis import RedisSink
from tests.redis_server import run_redis, url_of

MESSAGES = 100000
SIZE = 120
IDLE = 2000


def number_of(event):
    return int(event.text[:10])


def serve():
    """Flood a client once it asks for that."""
    def handler(websocket):
        for _begin in websocket.messages():
            for number in range(1, MESSAGES + 1):
                websocket.send_text(u'{:010d}'.format(number).ljust(SIZE))

    server = Server(handler, max_connections=10 * IDLE, ping_rate=0)
    print(server.url)
    sys.stdout.flush()
    server.start()
    sys.stdin.read()
    server.close(timeout=0)


def resident():
    with open('/proc/self/status') as status:
        return [int(line.split()[1]) * 1024 for line in status if line.startswith('VmRSS')][0]


def measure(url, redis_url):
    begun = threading.Event()

    def begin(websocket, _last):
        websocket.send_text(u'begin')
        begun.set()

    with Shard(RedisSink(redis_url), max_dialing=50) as shard:
        before = resident()
        for number in range(IDLE):
            shard.add(Feed(u'idle-{}'.format(number), url + u'idle', sequence=number_of))
        while shard.health()['ready'] < IDLE:
            time.sleep(0.05)
        print('{:,.0f} bytes for each of {:,} idle feeds'.format(
            (resident() - before) / IDLE, IDLE))
    with Shard(RedisSink(redis_url, max_queue=None)) as shard:
        shard.add(Feed(u'flood', url + u'flood', sequence=number_of, on_ready=begin))
        begun.wait()
        start = time.time()
        while shard.health()['published'] < MESSAGES:
            time.sleep(0.01)
        print('{:,.0f} messages of {} bytes a second'.format(
            MESSAGES / (time.time() - start), SIZE))


def main():
    with run_redis() as redis_server:
        process = subprocess.Popen(
            [sys.executable, '-m', 'tests.shards.speed', 'serve'], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE)
        try:
            measure(process.stdout.readline().decode('ascii').strip(), url_of(redis_server))
        finally:
            process.stdin.close()
            process.wait()
            process.stdout.close()


if __name__ == '__main__':
    serve() if sys.argv[1:] == ['serve'] else main()
