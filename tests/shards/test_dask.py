"""The program for Dask in docs/howto/beyond-one-machine.md: another worker takes the feeds."""

from __future__ import absolute_import, division, print_function

import io
import os
import re
import signal
import textwrap

import pytest

from tests.programs import wait_until
from tests.redis_server import entries_of, run_redis, url_of
from tests.shards.feeds_server import Feeds

distributed = pytest.importorskip('distributed')
pytest.importorskip('redis')

pytestmark = pytest.mark.costly

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def program():
    path = os.path.join(ROOT, 'docs', 'howto', 'beyond-one-machine.md')
    with io.open(path, encoding='utf-8') as page:
        section = page.read().split(u'\n## Dask\n')[1]
    return textwrap.dedent(re.search(r'\n\n((?:    .*\n|\n)+)', section).group(1))


def pid():
    return os.getpid()


def test_the_feeds_of_a_worker_that_is_killed_go_to_another():
    with run_redis() as server, Feeds() as feeds:
        names = {'REDIS': url_of(server), '__name__': '__main__'}
        exec(program(), names)
        with distributed.LocalCluster(
                n_workers=2, threads_per_worker=3, dashboard_address=None) as cluster, \
                distributed.Client(cluster) as client:
            futures = names['start'](client, [feeds.feed(u'a'), feeds.feed(u'b')], 2)
            for name in u'ab':
                feeds.await_listeners(name)
                feeds.send(name)
                wait_until(lambda name=name: entries_of(server, name) == [(1, 0)], name)
            worker = next(iter(client.processing()))
            os.kill(client.run(pid, workers=[worker])[worker], signal.SIGKILL)
            for name in u'ab':      # its connection may look open for a moment
                sent_before = feeds.send(name)
                wait_until(lambda name=name, sent=sent_before: feeds.send(name)
                           and entries_of(server, name)[-1][0] > sent, name)
            client.cancel(futures, force=True)
