"""examples/asyncio_feed.py, gevent_feed.py and flask_feed.py."""

from __future__ import absolute_import, division, print_function

import json
import os
import signal
import sys

import pytest
import six
from six.moves.urllib.request import Request, urlopen

from lomond import WebSocket, errors
from tests.examples.running import Program
from tests.network.driving import ROOT
from tests.programs import Program as Server
from tests.support import PATIENCE, RawServer, answer_upgrade, make_frame, read_frame

pytestmark = [pytest.mark.costly, pytest.mark.usefixtures('clean_environment')]


@pytest.fixture(params=['asyncio', 'gevent'])
def example(request):
    if request.param == 'asyncio' and sys.version_info < (3, 7):
        pytest.skip('asyncio.run came with Python 3.7')
    if request.param == 'gevent':
        pytest.importorskip('gevent')
    return 'examples/{}_feed.py'.format(request.param)


def run(example, *arguments, **options):
    # What an older gevent does at import is its own affair.
    return Program(*(['-W', 'ignore'] if 'gevent' in example else []) + [example] + list(arguments),
                   **options)


def test_prices_of_all_feeds_are_printed_and_counted(example):
    with run(example) as program:
        seen = set()
        while len(seen) < 2:
            name, message = program.read_line().split(': ', 1)
            if json.loads(message)['type'] == 'ticker':
                seen.add(name)
        assert seen == {'feed 1', 'feed 2'}
        assert ' messages   feed 2: ' in program.read_error()
        program.send_signal(signal.SIGINT)
        assert program.finish()[0] == 0


def test_a_feed_that_comes_back_is_greeted_again_and_closed_properly_at_the_end(example):
    def script(sock):
        answer_upgrade(sock)
        assert read_frame(sock) == (0x81, b'hello')
        if server.connections == 1:
            sock.sendall(make_frame(1, b'one'))
            return
        sock.sendall(make_frame(1, b'two'))
        first, payload = read_frame(sock)
        assert first == 0x88
        sock.sendall(make_frame(8, payload))
        frames.append(payload)

    frames = []
    with RawServer(script) as server, run(example, '--send', 'hello', server.url) as program:
        assert program.read_line() == 'feed 1: one'
        assert program.read_line() == 'feed 1: two'
        program.send_signal(signal.SIGTERM)
        status, _output, complaints = program.finish()
    assert status == 0
    assert any('Next attempt in' in line for line in complaints)
    assert frames == [b'\x03\xe8goodbye']


def test_it_ends_quietly_when_nobody_reads_it(example, unread_pipe):
    with run(example, stdout=unread_pipe) as program:
        status, _output, complaints = program.finish()
    assert status == 0
    assert all('messages' in line for line in complaints)


# -- Flask --

def serve_by_flask(port):
    return ['flask', '--app', 'flask_feed', 'run', '--port', str(port)]


def serve_by_gunicorn(port):
    return ['gunicorn', '--threads', '2', '--bind', '127.0.0.1:{}'.format(port),
            '--log-level', 'warning', 'flask_feed:app']


@pytest.fixture(params=[serve_by_flask, serve_by_gunicorn], ids=['flask', 'gunicorn'])
def site(request):
    pytest.importorskip('flask')
    if six.PY2:
        pytest.skip('a Flask for 2.7 has no routes for WebSockets')
    if request.param is serve_by_flask and sys.version_info < (3, 7):
        pytest.skip('flask --app came with Flask 2.2')
    if request.param is serve_by_gunicorn:
        pytest.importorskip('gunicorn')
    path = os.pathsep.join([ROOT, os.path.join(ROOT, 'examples')])
    with Server(lambda _folder, port: [sys.executable, '-m'] + request.param(port),
                prefix=['env', 'PYTHONPATH=' + path]) as site:
        site.address = '127.0.0.1:{}'.format(site.port)
        yield site


def post(site, price):
    """Post a price; return to how many clients it went."""
    request = Request('http://{}/prices'.format(site.address), 'price={}'.format(price).encode())
    page = urlopen(request, timeout=PATIENCE)
    try:
        return int(page.read())
    finally:
        page.close()


def test_a_posted_price_goes_to_all_clients_of_flask(site):
    clients = [WebSocket(u'ws://{}/feed'.format(site.address)) for _ in range(4)]
    for client in clients:      # more than gunicorn has threads
        client.open(PATIENCE)
        assert client.receive(PATIENCE) == u'none yet'
    assert post(site, '61000.00') == 4
    for client in clients:
        assert client.receive(PATIENCE) == u'61000.00'
    if 'gunicorn' in site.process.args:
        site.process.terminate()
        for client in clients:
            with pytest.raises(errors.WebSocketClosed) as caught:
                client.receive(PATIENCE)
            assert caught.value.code == 1001
    for client in clients:
        client.force_disconnect()


def test_a_page_of_another_host_is_refused_by_flask(site):
    for origin, is_welcome in [('https://evil.example', False), ('http://' + site.address, True)]:
        with WebSocket(u'ws://{}/feed'.format(site.address), headers={'Origin': origin}) as page:
            if is_welcome:
                page.open(PATIENCE)
                continue
            with pytest.raises(errors.Rejected) as caught:
                page.open(PATIENCE)
            assert caught.value.response.status_code == 403
