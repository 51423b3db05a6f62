"""A real Redis, alone, as a cluster, or with a replica and a Sentinel; and what is in it."""

from __future__ import absolute_import, division, print_function

import contextlib

import pytest

from tests.programs import Program, find_program, free_ports, wait_until, write_file

#: A cluster has so many hash slots.
SLOTS = 16384


def run_redis(*options):
    program = find_program('redis-server')
    return Program(lambda folder, port: [
        program, '--port', str(port), '--bind', '127.0.0.1', '--save', '', '--dir', folder]
        + list(options))


@contextlib.contextmanager
def run_cluster():
    """Run a cluster of two, each with half of the slots; the block gets them."""
    one_bus, other_bus = free_ports(2)
    options = ('--cluster-enabled', 'yes', '--cluster-port')
    with run_redis(*options + (str(one_bus),)) as one, \
            run_redis(*options + (str(other_bus),)) as other:
        for server, first, last, epoch in (one, 0, 8191, 1), (other, 8192, SLOTS - 1, 2):
            with contextlib.closing(client_of(server)) as client:
                client.execute_command('CLUSTER', 'ADDSLOTSRANGE', first, last)
                client.execute_command('CLUSTER', 'SET-CONFIG-EPOCH', epoch)
                if server is other:
                    client.execute_command('CLUSTER', 'MEET', '127.0.0.1', one.port, one_bus)
        for server in one, other:
            with contextlib.closing(client_of(server)) as client:
                wait_until(lambda client=client: client.cluster('INFO')['cluster_state'] == 'ok',
                           'the cluster')
        yield one, other


@contextlib.contextmanager
def run_sentinel():
    """Run a primary, a replica of it and a Sentinel that knows them as 'feeds'; yield all three."""
    def make_command(folder, port):
        return [find_program('redis-server'), write_file(
            folder, 'sentinel.conf',
            u'port {}\nbind 127.0.0.1\nsentinel monitor feeds 127.0.0.1 {} 1\n'
            u'sentinel down-after-milliseconds feeds 500\n'.format(port, primary.port)),
            '--sentinel']

    with run_redis() as primary, \
            run_redis('--replicaof', '127.0.0.1 {}'.format(primary.port)) as replica, \
            Program(make_command) as sentinel:
        with contextlib.closing(client_of(sentinel)) as client:
            wait_until(lambda: client.sentinel_slaves('feeds'), 'the Sentinel knows the replica')
        with contextlib.closing(client_of(replica)) as client:
            wait_until(lambda: client.info('replication')['master_link_status'] == 'up',
                       'the replica follows')
        yield primary, replica, sentinel


def url_of(redis_server):
    return u'redis://127.0.0.1:{}/0'.format(redis_server.port)


def client_of(redis_server):
    redis = pytest.importorskip('redis')
    return redis.Redis(port=redis_server.port, socket_timeout=10)


def entries_of(redis_server, name):
    """Return the ids of a feed's stream, as pairs of numbers."""
    client = client_of(redis_server)
    try:
        return ids_of(client, name)
    finally:
        client.close()


def ids_of(client, name):
    """Return the ids of a feed's stream, as pairs of numbers, by a client."""
    return [tuple(int(part) for part in entry_id.split(b'-'))
            for entry_id, _fields in client.xrange('feed:' + name)]
