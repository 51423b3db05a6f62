"""examples/redis_stream.py, with a real Redis: a stream that misses nothing."""

from __future__ import absolute_import, division, print_function

import json
import signal

import pytest

from lomond.server import Server
from tests.examples.running import Program
from tests.programs import wait_until
from tests.redis_server import run_redis
from tests.support import RawServer, answer_upgrade, make_frame, read_frame

redis = pytest.importorskip('redis')

pytestmark = pytest.mark.costly


@pytest.fixture
def database():
    """A Redis that is empty; ``client`` reads it."""
    with run_redis('--appendonly', 'yes') as daemon:
        daemon.url = 'redis://127.0.0.1:{}'.format(daemon.port)
        with redis.Redis.from_url(daemon.url) as client:
            daemon.client = client
            yield daemon


def run(database, *arguments):
    return Program('examples/redis_stream.py', '--redis', database.url, *arguments)


def numbers(database):
    """Return the ids in the stream, and check that each is the number of its message."""
    entries = database.client.xrange('feed')
    for entry_id, fields in entries:
        assert b'%d-0' % json.loads(fields[b'message'])['sequence'] == entry_id
    return [int(entry_id.split(b'-')[0]) for entry_id, _fields in entries]


def serve_flood(websocket):
    """Send numbers as fast as the client takes them, and look for its Close frame at times."""
    number = None
    for event in websocket:
        if event.name == 'text':
            number = event.json['after']
        elif event.name == 'poll' and number is not None and websocket.is_open:
            for _ in range(50):
                number += 1
                websocket.send_json(sequence=number, price='1.00')


def has_grown(database, count):
    length = database.client.xlen('feed')
    return lambda: database.client.xlen('feed') >= length + count


def test_each_number_is_stored_once_though_the_program_is_killed(database):
    with Server(serve_flood, poll=0.01) as server:
        for _ in range(3):
            with run(database, server.url) as program:
                assert program.read_line().startswith('connected: storing what comes after')
                wait_until(has_grown(database, 200), '200 messages in Redis')
                program.send_signal(signal.SIGKILL)
                assert program.finish()[::2] == (-signal.SIGKILL, [])
        with run(database, server.url) as program:
            wait_until(has_grown(database, 200), '200 messages in Redis')
            program.send_signal(signal.SIGTERM)
            status, _output, errors = program.finish()
    assert (status, errors) == (0, [])
    found = numbers(database)
    assert found == list(range(1, len(found) + 1))


def test_each_number_is_stored_once_though_redis_is_killed(database):
    with Server(serve_flood, poll=0.01) as server:
        with run(database, server.url) as program:
            wait_until(has_grown(database, 200), '200 messages in Redis')
            database.stop(kill=True)
            status, _output, errors = program.finish()
            assert status == 1
            assert errors[-1].startswith('Redis failed: ')
        assert database.start()
        stored = numbers(database)[-1]
        assert stored > 0
        with run(database, server.url) as program:
            assert program.read_line() == 'connected: storing what comes after {}'.format(stored)
            wait_until(has_grown(database, 200), '200 messages in Redis')
            program.send_signal(signal.SIGINT)
            assert program.finish()[::2] == (0, [])
    found = numbers(database)
    assert found == list(range(1, len(found) + 1))


def test_a_feed_that_ends_is_asked_for_the_rest_and_a_repeated_number_is_dropped(database):
    def script(sock):
        answer_upgrade(sock)
        after = json.loads(read_frame(sock)[1].decode('ascii'))['after']
        asked.append(after)
        first = {0: 1, 2: 2, 3: 5}[after]       # the second time it repeats a number
        for number in range(first, first + 2):
            sock.sendall(make_frame(1, b'{"sequence": %d}' % number))
        if after == 3:
            wait_until(lambda: numbers(database)[-1] == 6, 'the last message')
            program.send_signal(signal.SIGTERM)
            read_frame(sock)

    asked = []
    with RawServer(script) as server:
        with run(database, server.url) as program:
            status, _output, errors = program.finish()
    assert status == 0
    assert asked == [0, 2, 3]
    assert numbers(database) == [1, 2, 3, 5, 6]
    assert [line for line in errors if 'left out' in line] == [
        'the feed left out 1 messages after 3']


def test_without_a_url_it_has_a_feed_of_its_own(database):
    with run(database) as program:
        wait_until(has_grown(database, 2), '2 messages in Redis')
        program.send_signal(signal.SIGINT)
        assert program.finish()[::2] == (0, [])
    found = numbers(database)
    assert found == list(range(1, len(found) + 1))


def test_a_redis_out_of_reach_is_one_line_and_status_1(dead_port):
    url = 'redis://:secret@127.0.0.1:{}'.format(dead_port)
    with Program('examples/redis_stream.py', '--redis', url) as program:
        status, output, errors = program.finish()
    assert (status, output) == (1, [])
    line, = errors
    assert line.startswith('--redis: ') and 'refused' in line and 'secret' not in line
