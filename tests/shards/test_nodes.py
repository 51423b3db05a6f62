"""A fleet over several nodes of a Ray cluster, each a raylet of its own on this machine."""

from __future__ import absolute_import, division, print_function

import os
import signal

import pytest

from tests.programs import wait_until
from tests.redis_server import url_of

ray = pytest.importorskip('ray')
pytest.importorskip('redis')
from ray.cluster_utils import Cluster  # noqa: E402

from lomond.shards.ray import run  # noqa: E402
from lomond.shards.redis import RedisSink  # noqa: E402
from tests.shards.test_ray import NAMES, POLICY, send_all  # noqa: E402

# Seconds: Ray takes a while to notice that a node is gone, and to start processes on another one.
LONG = 120

pytestmark = [pytest.mark.costly, pytest.mark.timeout(400)]


@pytest.fixture
def cluster():
    cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 1})
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def nodes_of(fleet):
    """Return the node of each shard that is up, by its name."""
    return {shard['name']: shard['node'] for shard in fleet.status()['shards'] if shard['up']}


def grow_beyond(fleet, here):
    """Add shards until one is on another node: Ray spreads them as well as it can."""
    for _ in range(10):
        if set(nodes_of(fleet).values()) != {here}:
            return
        fleet.grow(timeout=LONG)
    raise AssertionError('all shards are on one node')


def test_a_fleet_uses_all_nodes_and_outlives_one(cluster, feeds, server):
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    with run([feeds.feed(name, policy=POLICY) for name in NAMES], 4,
             RedisSink(url_of(server))) as fleet:
        here = ray.get_runtime_context().get_node_id()
        grow_beyond(fleet, here)
        fleet.wait_live(LONG)
        send_all(feeds, server)

        # A shard that is frozen, on the node where the supervisor isn't.
        frozen = [shard for shard in fleet.status()['shards']
                  if shard['up'] and shard['node'] != here][0]
        os.kill(frozen['pid'], signal.SIGSTOP)
        wait_until(lambda: fleet.status()['counts']['freezes'] == 1, 'it counts as dead', LONG)
        fleet.wait_live(LONG)
        send_all(feeds, server)
        wait_until(lambda: sorted(nodes_of(fleet)) == fleet.shards, 'Ray starts it again', LONG)
        fleet.wait_live(LONG)

        cluster.remove_node(node, allow_graceful=False)
        wait_until(lambda: set(nodes_of(fleet).values()) == {here}, 'the node is gone', LONG)
        fleet.wait_live(LONG)
        send_all(feeds, server)

        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        grow_beyond(fleet, here)
        fleet.wait_live(LONG)
        send_all(feeds, server)
