"""examples/redis_chat.py: what is said in one worker is heard in all."""

from __future__ import absolute_import, division, print_function

import os
import sys

import pytest

from lomond import WebSocket, errors
from tests.programs import Program
from tests.redis_server import run_redis
from tests.support import PATIENCE
from tests.wsgi.conftest import ROOT

pytestmark = pytest.mark.costly


def run_workers(redis, count):
    path = os.pathsep.join([ROOT, os.path.join(ROOT, 'examples')])
    return Program(
        lambda _folder, port: [
            sys.executable, '-m', 'gunicorn', '--bind', '127.0.0.1:{}'.format(port), '--threads',
            '4', '--workers', str(count), '--log-level', 'warning', 'redis_chat:application'],
        prefix=['env', 'PYTHONPATH=' + path, 'REDIS_URL=redis://127.0.0.1:{}'.format(redis.port)])


def test_a_message_reaches_the_clients_of_all_workers():
    for module in 'redis', 'gunicorn':
        pytest.importorskip(module)
    with run_redis() as redis, run_workers(redis, 2) as server:
        url = u'ws://127.0.0.1:{}/'.format(server.port)
        clients, workers = [], set()
        while len(workers) < 2:     # the system chooses which worker accepts
            client = WebSocket(url, proxies={})
            workers.add(client.open(PATIENCE).response.get('X-Worker'))
            clients.append(client)
            assert client.receive(PATIENCE) == u'welcome'
        clients[0].send_text(u'hello, all')
        assert {client.receive(PATIENCE) for client in clients} == {u'hello, all'}
        for client in clients:
            client.force_disconnect()
        assert server.log() == ''


def test_a_page_of_another_host_is_refused():
    for module in 'redis', 'gunicorn':
        pytest.importorskip(module)
    with run_redis() as redis, run_workers(redis, 1) as server:
        url = u'ws://127.0.0.1:{}/'.format(server.port)
        with pytest.raises(errors.Rejected) as caught:
            WebSocket(url, headers={'Origin': 'https://evil.example'}, proxies={}).open(PATIENCE)
        assert caught.value.response.status_code == 403
        origin = 'http://127.0.0.1:{}'.format(server.port)
        with WebSocket(url, headers={'Origin': origin}, proxies={}) as page:
            page.open(PATIENCE)
