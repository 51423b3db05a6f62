"""`lomond shard`: what its file may say, and a fleet that runs from one."""

from __future__ import absolute_import, division, print_function

import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest

from lomond.cli.shard import make_feeds, read_config, table
from lomond.shards.sink import LOST
from tests.cli.driving import run
from tests.programs import free_ports, wait_until
from tests.redis_server import entries_of, run_redis, url_of
from tests.shards.feeds_server import Feeds

pytestmark = pytest.mark.timeout(300)     # Ray takes its time to start

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

GOOD = {'sink': 'redis://127.0.0.1:1/0', 'feeds': {'tea': 'wss://example.org/tea'}}


def write(tmpdir, config):
    path = tmpdir.join('config.json')
    path.write(json.dumps(config))
    return str(path)


@contextlib.contextmanager
def running(*arguments, **streams):
    """Run `lomond shard` while the block runs, and end it by SIGTERM."""
    options = dict.fromkeys(('stdout', 'stderr'), subprocess.DEVNULL)
    process = subprocess.Popen(
        [sys.executable, '-m', 'lomond', 'shard'] + list(arguments), cwd=ROOT,
        **dict(options, **streams))
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


@pytest.mark.parametrize('changes, words', [
    ({'sinks': 1}, "unknown field 'sinks'; there are: address, feeds"),
    ({'shards': '4'}, 'shards has a value of the wrong type'),
    ({'shards': True}, 'shards has a value of the wrong type'),
    ({'sink': ''}, 'sink is missing'),
    ({'feeds': {}}, 'feeds is missing'),
    ({'feeds': []}, 'feeds has a value of the wrong type'),
    ({'feeds': {'tea': 'http://x/'}}, 'http'),
    ({'feeds': {'tea': 3}}, 'URL'),
    ({'sequence': 'tests.shards.feeds_server:nothing'}, 'names no function'),
    ({'sequence': 'tests.shards.feeds_server'}, 'names no function')])
def test_a_mistake_in_the_file_is_named(tmpdir, changes, words):
    with pytest.raises(ValueError, match=words):
        make_feeds(read_config(write(tmpdir, dict(GOOD, **changes))))


@pytest.mark.parametrize('source, words', [
    ('raise NameError("x")', 'NameError'), ('def(', 'SyntaxError')])
def test_module_that_can_not_be_imported_is_a_mistake(tmpdir, monkeypatch, source, words):
    tmpdir.join('its_own_module.py').write(source)
    monkeypatch.syspath_prepend(str(tmpdir))
    with pytest.raises(ValueError, match=words):
        make_feeds(read_config(write(tmpdir, dict(GOOD, sequence='its_own_module:f'))))
    with pytest.raises(ValueError, match='can not be imported'):
        make_feeds(read_config(write(tmpdir, dict(GOOD, sequence='.module:f'))))


def test_file_of_any_depth_or_name_is_wrong_arguments(tmpdir):
    path = os.path.join(str(tmpdir).encode('utf-8'), u'\xe9.json'.encode('utf-8'))
    for content in b'[' * 100000, u'{"\xe9": 1}'.encode('utf-8'):
        with open(path, 'wb') as config:
            config.write(content)
        status, output, errors = run('shard', path)
        assert (status, output) == (2, b'')
        assert b'Traceback' not in errors


def test_functions_are_found_by_name(tmpdir):
    feed, = make_feeds(read_config(write(
        tmpdir, dict(GOOD, sequence='tests.shards.feeds_server:number_of'))))
    assert feed.name == u'tea' and feed.sequence.__name__ == 'number_of'


def test_toml_is_read_where_python_has_it(tmpdir):
    path = tmpdir.join('config.toml')
    path.write('sink = "redis://x/"\nttl = 2.5\n[feeds]\ntea = "wss://example.org/"\n')
    if sys.version_info < (3, 11):
        with pytest.raises(ValueError, match='JSON'):
            read_config(str(path))
    else:
        assert read_config(str(path))['ttl'] == 2.5


def test_the_table_has_a_line_for_each_shard():
    shard = {'name': 'shard-0', 'state': 'ok', 'up': True, 'draining': False, 'pid': 7, 'held': 3,
             'failure': None}
    lines = list(table({
        'live': 2, 'feeds': 3, 'moving': 0,
        'shards': [dict(shard, received=20, **dict.fromkeys(LOST, 3)),
                   dict(shard, name='shard-1', up=False, failure='why')]}))
    assert lines[0] == '2 of 3 feeds are live, 0 are being handed over'
    assert lines[2].split() == ['shard-0', 'ok', '7', '3', '20', '15']
    assert lines[3].split()[:2] == ['shard-1', 'down']
    assert lines[4] == 'shard-1: why'


@pytest.mark.costly
@pytest.mark.parametrize('changes, words', [
    ({'shards': 0}, b'shards must be an integer, 1 or more'),
    ({'replicas': 2}, b'replicas need feeds with a sequence'),
    ({'ttl': 0}, b'ttl must be a number of seconds, more than 0'),
    ({'sink': 'out.jsonl'}, b'Redis URL must')])
def test_wrong_values_are_wrong_arguments(tmpdir, changes, words):
    for module in 'ray', 'redis':
        pytest.importorskip(module)
    status, output, errors = run('shard', write(tmpdir, dict(GOOD, **changes)))
    assert (status, output) == (2, b'')
    assert words in errors and b'Traceback' not in errors


@pytest.mark.costly
def test_feeds_that_are_not_live_are_named_with_the_reason(tmpdir):
    for module in 'ray', 'redis':
        pytest.importorskip(module)
    closed, = free_ports(1)
    path = write(tmpdir, {
        'sink': 'redis://127.0.0.1:{}/0'.format(closed), 'shards': 1,
        'feeds': {u'a': u'ws://127.0.0.1:{}/'.format(closed)}})
    with running(path, '--status', '0.5', stderr=subprocess.PIPE) as process:
        lines = iter(process.stderr.readline, b'')
        assert any(b'a is not live' in line and b'refused' in line for line in lines)


@pytest.mark.costly
def test_a_fleet_runs_from_a_file_until_sigterm(tmpdir):
    for module in 'ray', 'redis':
        pytest.importorskip(module)
    with run_redis() as server, Feeds() as feeds:
        config = {'sink': url_of(server), 'shards': 2, 'feeds': {u'a': feeds.feed(u'a').source},
                  'sequence': 'tests.shards.feeds_server:number_of'}
        path = write(tmpdir, config)
        with running(path, '--status', '0.5', stdout=subprocess.PIPE) as process:
            feeds.await_listeners(u'a')
            feeds.send(u'a')
            wait_until(lambda: entries_of(server, 'a') == [(1, 0)], 'published')
            lines = iter(process.stdout.readline, b'')
            assert any(b'1 of 1 feeds are live' in line for line in lines)
            write(tmpdir, {     # of which the feeds alone are taken
                'sink': 'redis://x/', 'sequence': 'no_such_module:f',
                'feeds': {u'b': feeds.feed(u'b').source}})
            process.send_signal(signal.SIGHUP)
            feeds.await_listeners(u'b')
            feeds.await_listeners(u'a', 0)
            feeds.say(u'b', u'7 of b')
            wait_until(lambda: entries_of(server, 'b') == [(7, 0)], 'published by its number')
        assert process.returncode == 143
