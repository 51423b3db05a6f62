"""A real Redis, and what is in it."""

from __future__ import absolute_import, division, print_function

import pytest

from tests.programs import Program, find_program


def run_redis(*options):
    program = find_program('redis-server')
    return Program(lambda folder, port: [
        program, '--port', str(port), '--bind', '127.0.0.1', '--save', '', '--dir', folder]
        + list(options))


def url_of(redis_server):
    return u'redis://127.0.0.1:{}/0'.format(redis_server.port)


def client_of(redis_server):
    redis = pytest.importorskip('redis')
    return redis.Redis(port=redis_server.port, socket_timeout=10)


def entries_of(redis_server, name):
    """Return the ids of a feed's stream, as pairs of numbers."""
    client = client_of(redis_server)
    try:
        return [tuple(int(part) for part in entry_id.split(b'-'))
                for entry_id, _fields in client.xrange('feed:' + name)]
    finally:
        client.close()
