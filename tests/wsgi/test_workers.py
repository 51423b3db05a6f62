"""Workers: how long they live, what they have threads for, how they end; and nginx in front."""

from __future__ import absolute_import, division, print_function

import io
import os
import re
import signal
import socket
import sys
from contextlib import closing

import pytest

from lomond import WebSocket, errors
from tests.programs import Program, find_program, wait_until, write_file
from tests.servers.fronts import NGINX_HEAD, NGINX_HTTP
from tests.support import PATIENCE
from tests.wsgi.conftest import ROOT, run_server
from tests.wsgi.test_servers import get, talk, upgrade, url

pytestmark = pytest.mark.costly

THREADS = ('gunicorn', 'worker_class=gthread')


@pytest.fixture(autouse=True)
def gunicorn():
    return pytest.importorskip('gunicorn')


def connect(server, path):
    websocket = WebSocket(url(server, path), proxies={})
    websocket.open(PATIENCE)
    return websocket


def echo(websocket, text):
    websocket.send_text(text)
    assert websocket.receive(PATIENCE) == text


@pytest.mark.parametrize('options, path', [
    (('worker_class=gthread', 'threads=2'), '/loop'),
    (('worker_class=gthread', 'threads=2'), '/detached'),
    (('worker_class=sync',), '/pooled')], ids=['threads', 'threads-detached', 'sync-detached'])
def test_connection_outlives_the_timeout_of_a_worker(options, path):
    """It counts for requests in sync workers only; a request that comes later must be answered."""
    with run_server('gunicorn', 'timeout=4', *options) as server:
        websocket = connect(server, path)
        for number in range(20):
            echo(websocket, u'{}'.format(number))
            with pytest.raises(errors.WebSocketTimeout):
                websocket.receive(0.25)
        assert get(server, '/plain')[0] == 200
        websocket.force_disconnect()
        assert server.log() == ''


def test_sync_worker_that_loops_is_ended_and_the_log_says_what_to_do():
    with run_server('gunicorn', 'timeout=1') as server:
        websocket = connect(server, '/loop')
        with pytest.raises(errors.WebSocketClosed):
            websocket.receive(PATIENCE)
        log = server.log()
        assert log.count('detach=True') == 1 and '--timeout' in log


def test_detached_connections_leave_all_threads_free():
    with run_server(*THREADS + ('threads=4',)) as server:
        websockets = [connect(server, '/pooled') for _ in range(50)]
        assert get(server, '/plain')[1].endswith(b'hello')
        for websocket in websockets:
            echo(websocket, u'x')
            websocket.force_disconnect()


def test_client_that_is_gone_without_a_word_frees_its_thread():
    """As a laptop that was closed: TCP goes on, and nothing answers the pings."""
    with run_server(*THREADS + ('threads=1',)) as server:
        with closing(upgrade(server, '/quick')):        # which answers no ping
            assert get(server, '/plain')[0] == 200


@pytest.mark.parametrize('path', ['/loop', '/detached', '/pooled'])
@pytest.mark.parametrize('preload', ['false', 'true'])
def test_worker_that_ends_closes_each_connection_with_1001(path, preload):
    options = ('threads=4', 'close_all=1', 'preload_app={}'.format(preload))
    with run_server(*THREADS + options) as server:
        websockets = [connect(server, path) for _ in range(3)]
        server.process.send_signal(signal.SIGTERM)
        for websocket in websockets:
            with pytest.raises(errors.WebSocketClosed):
                websocket.receive(PATIENCE)
            assert websocket.close_received == (1001, u'server shutting down')
        wait_until(lambda: server.process.poll() is not None, 'the end of gunicorn')
        assert server.log() == ''


def test_fork_of_a_preloaded_application_drives_its_own():
    with run_server(*THREADS + ('threads=2', 'preload_app=true', 'workers=2')) as server:
        for _ in range(6):
            assert talk(url(server, '/pooled'), [u'x'])[0] == [u'x']


RELOADED = u'''
from flask import Flask, request
from lomond import wsgi

app = Flask(__name__)

@app.route('/feed', websocket=True)
def feed():
    for text in wsgi.upgrade(request.environ).messages():
        pass
    return ''

@app.route('/')
def index():
    return '{}'
'''


@pytest.mark.skipif(sys.version_info < (3, 8), reason='its versions for these have other options')
def test_reloader_of_flask_restarts_though_a_websocket_is_open():
    pytest.importorskip('flask')

    def make_command(folder, port):
        write_file(folder, 'app.py', RELOADED.format('old'))
        return [sys.executable, '-m', 'flask', 'run', '--debug', '--port', str(port)]

    with Program(make_command, prefix=['env', 'PYTHONPATH=' + ROOT]) as server:
        wait_until(lambda: is_answer(server, b'old'), 'the first version')
        with connect(server, '/feed') as websocket:
            write_file(server.folder, 'app.py', RELOADED.format('a newer one'))
            wait_until(lambda: is_answer(server, b'a newer one'), 'the second version')
            with pytest.raises(errors.WebSocketClosed):
                websocket.receive(PATIENCE)


def is_answer(server, body):
    """Return whether a server that may be restarting answers with this."""
    try:
        return get(server, '/')[1].endswith(body)
    except (socket.error, EOFError):
        return False


# -- TLS in the server --

@pytest.mark.parametrize('name', ['gunicorn', 'werkzeug', 'cheroot', 'gevent'])
def test_tls_in_the_server_works_in_the_request(name, server_pem, authority_file):
    pytest.importorskip(name)
    if name == 'cheroot' and sys.version_info[0] == 2:
        pytest.skip('its TLS needs another library there')
    options = ('worker_class=gthread', 'threads=4') if name == 'gunicorn' else ()
    with run_server(name, 'tls=' + server_pem, *options) as server:
        secure = u'wss://localhost:{}/loop'.format(server.port)
        messages = [u'one', b'two', os.urandom(300000)]
        received, _sent, answered = talk(secure, messages, ssl_cafile=authority_file, compress=True)
        assert received == messages
        assert answered.code == 1000
        assert talk(secure, [u'x'], u'close', ssl_cafile=authority_file)[2] == (1000, u'enough')
        # gevent logs that the fixture has connected without TLS.
        assert [line for line in server.log().splitlines()
                if 'Error' in line and 'SSL' not in line] == []
        with pytest.raises(errors.Rejected):
            connect_secure(server, authority_file)
        assert 'detach=True is not possible with TLS' in server.log()


def connect_secure(server, authority_file):
    WebSocket(u'wss://localhost:{}/detached'.format(server.port),
              ssl_cafile=authority_file, proxies={}).open(PATIENCE)


# -- greenlets --

def test_gevent_that_has_not_patched_is_named_in_a_clear_error():
    pytest.importorskip('gevent')
    with run_server('gevent', 'unpatched') as server:
        with pytest.raises(errors.Rejected):
            connect(server, '/loop')
        assert 'gevent.monkey.patch_all()' in server.log()
        assert talk(url(server, '/detached'), [u'x'])[0] == [u'x']


# -- nginx in front --

NGINX = NGINX_HEAD + u'''
http {{''' + NGINX_HTTP + u'''
    proxy_read_timeout 3s;
    {block}
}}
'''


def test_the_block_of_the_docs_makes_nginx_pass_an_upgrade_on():
    """And pings keep what is silent for longer than nginx allows."""
    program = find_program('nginx')
    with io.open(os.path.join(ROOT, 'docs', 'howto', 'wsgi.md'), encoding='utf-8') as page:
        block = re.search(r'```nginx\n(.*?)```', page.read(), re.DOTALL).group(1)

    with run_server(*THREADS + ('threads=2',)) as server:
        def make_command(folder, port):
            text = block.replace('listen 80', 'listen 127.0.0.1:{}'.format(port)) \
                .replace(':8000', ':{}'.format(server.port)).replace('/feed', '/')
            write_file(folder, 'nginx.conf', NGINX.format(block=text))
            return [program, '-p', folder, '-c', 'nginx.conf']

        with Program(make_command) as front:
            websocket = connect(front, '/often')
            with pytest.raises(errors.WebSocketTimeout):
                websocket.receive(5)
            echo(websocket, u'still there')
            websocket.force_disconnect()
            # As nginx is without the block: HTTP/1.0, and no Upgrade.
            status, data = get(server, '/loop', 'Connection: close')
            assert status == 426 and b'proxy in front' in data
