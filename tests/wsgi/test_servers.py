"""The same tests in each WSGI server: what goes over the connection, and what the server logs."""

from __future__ import absolute_import, division, print_function

import os
import re
import socket
import struct
import sys
from contextlib import closing

import pytest

from lomond import WebSocket, errors
from tests.network.driving import drain
from tests.network.one_thread import MASK, Client
from tests.programs import wait_until
from tests.support import PATIENCE, make_close, make_frame, read_exactly, read_frame, read_head
from tests.wsgi.conftest import run_server

pytestmark = pytest.mark.costly

MIB = os.urandom(1024 * 1024)

#: A server's name and options, and the module that it needs.
SERVERS = {
    'werkzeug': ('werkzeug',),
    'werkzeug-debug': ('werkzeug', 'debug'),
    'gunicorn-sync': ('gunicorn', 'timeout=60'),
    'gunicorn-threads': ('gunicorn', 'worker_class=gthread', 'threads=6'),
    'gunicorn-gevent': ('gunicorn', 'worker_class=gevent'),
    'gevent': ('gevent',),
    'cheroot': ('cheroot',),
    'wsgiref': ('wsgiref',),
    'eventlet': ('eventlet',),
    'waitress': ('waitress',),
    'uwsgi': ('uwsgi',),
}

#: They take frames that come with a request for a second request: docs/howto/wsgi.md says so.
READ_TOO_MUCH = ['uwsgi', 'waitress']

MODULES = {'gunicorn-gevent': ['gunicorn', 'gevent'], 'uwsgi': []}

#: Where the connection is iterated over: in the request, in a thread, in a pool; or calls are made.
PATHS = ['/loop', '/detached', '/pooled', '/called']


def modules_of(name):
    return MODULES.get(name, [SERVERS[name][0]])


@pytest.fixture(scope='module', params=sorted(SERVERS))
def name(request):
    for module in modules_of(request.param):
        pytest.importorskip(module)
    if request.param == 'waitress' and sys.version_info[0] == 2:
        pytest.skip('the last waitress for 2.7 has no way to the socket')
    if request.param == 'uwsgi' and sys.version_info[0] == 2:
        pytest.skip("it runs Debian's Python 3, with the modules of this one")
    return request.param


@pytest.fixture(scope='module', params=['bare', 'wrapped'])
def server(name, request):
    """A server; it must have logged nothing at the end."""
    with run_server(*(SERVERS[name] + (('wrapped',) if request.param == 'wrapped' else ()))) \
            as running:
        assert get(running, '/plain')[0] == 200     # it has begun, and logged that
        before = running.log()
        yield running
        lines = [line for line in running.log()[len(before):].splitlines() if line]
        if name == 'gunicorn-sync':
            assert len(lines) <= 1 and all('--timeout' in line for line in lines)
        else:
            assert lines == []


def url(server, path):
    return u'ws://127.0.0.1:{}{}'.format(server.port, path)


def talk(url, messages, last=None, **options):
    """Send messages and receive as many; return these, and the Close frames of both ends."""
    websocket = WebSocket(url, **options)
    websocket.open(PATIENCE)
    websocket.send_many(messages)
    received = [websocket.receive(PATIENCE) for _ in messages]
    if last is None:
        websocket.close(1000, u'done')
    else:
        websocket.send_text(last)
    try:
        while True:
            received.append(websocket.receive(PATIENCE))
    except errors.WebSocketClosed:
        pass
    return received, websocket.close_sent, websocket.close_received


def get(server, path, *headers):
    """Return the status, and all that comes up to the end of the body, of a plain request."""
    request = 'GET {} HTTP/1.1\r\nHost: x\r\n{}\r\n'.format(
        path, ''.join(header + '\r\n' for header in headers))
    with closing(Client(('127.0.0.1', server.port), request.encode('ascii'))) as client:
        head = read_head(client.sock)
        length = int(re.search(br'(?i)\r\ncontent-length: *([0-9]+)', head).group(1))
        return int(head.split(b' ')[1]), head + read_exactly(client.sock, length)


def upgrade(server, path, more=b'', connection=b'Upgrade', headers=b''):
    """Return a raw client whose request was accepted; its ``answer`` is the head of the answer.

    ``more``, bytes that it sends together with the request.
    """
    client = Client(
        ('127.0.0.1', server.port),
        b'GET ' + path.encode('ascii') + b' HTTP/1.1\r\nHost: 127.0.0.1\r\n'
        b'Upgrade: websocket\r\nConnection: ' + connection + b'\r\n' + headers +
        b'Sec-WebSocket-Version: 13\r\n'
        b'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n' + more)
    client.answer = read_head(client.sock)
    assert client.answer.startswith(b'HTTP/1.1 101 '), client.answer
    return client


@pytest.mark.parametrize('path', PATHS)
@pytest.mark.parametrize('compress', [False, True])
def test_texts_and_bytes_are_echoed_and_both_ends_close(server, path, compress):
    messages = [u'one', b'two', u'\xe9' * 300, MIB, MIB, u'last']
    received, sent, answered = talk(url(server, path), messages, compress=compress)
    assert received == messages
    assert sent == (1000, u'done')
    assert answered.code == 1000


@pytest.mark.parametrize('path', PATHS[:3])
def test_server_closes(server, path):
    assert talk(url(server, path), [u'x'], u'close') \
        == ([u'x'], (1000, u''), (1000, u'enough'))


@pytest.mark.parametrize('path', PATHS[:3])
def test_another_thread_of_the_server_closes_while_the_handler_waits(server, path):
    """Or another greenlet."""
    assert talk(url(server, path), [u'x'], u'close elsewhere') \
        == ([u'x'], (1000, u''), (1000, u'elsewhere'))


@pytest.mark.parametrize('path', PATHS[:3])
def test_server_breaks_off(server, path):
    assert talk(url(server, path), [u'x'], u'break') == ([u'x'], None, None)


@pytest.mark.parametrize('path', PATHS[:2])
def test_handler_that_returns_early_closes_properly(server, path):
    assert talk(url(server, path), [u'x'], u'leave')[2] == (1000, u'')


@pytest.mark.parametrize('path', PATHS)
def test_client_that_is_gone_is_no_error(server, path):
    client = upgrade(server, path)
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    client.close()
    assert get(server, '/plain')[1].endswith(b'hello')


@pytest.mark.parametrize('path', PATHS)
def test_frames_that_come_with_the_request_are_not_lost(server, path, name):
    if name in READ_TOO_MUCH:
        pytest.skip('it takes them for a second request: docs/howto/wsgi.md says so')
    early = make_frame(1, b'early', key=MASK) + make_frame(2, b'bird', key=MASK)
    with closing(upgrade(server, path, early)) as client:
        assert read_frame(client.sock) == (0x81, b'early')
        assert read_frame(client.sock) == (0x82, b'bird')
        client.sock.sendall(make_close(1000, key=MASK))
        assert read_frame(client.sock)[0] == 0x88


@pytest.mark.parametrize('path', PATHS)
def test_nothing_comes_after_the_close_frame(server, path):
    with closing(upgrade(server, path)) as client:
        client.sock.sendall(make_close(1000, key=MASK))
        assert read_frame(client.sock) == (0x88, struct.pack('!H', 1000))
        assert drain(client.sock) == b''


@pytest.mark.parametrize('path', PATHS[1:3])
def test_server_does_not_read_on_after_detaching(server, path):
    """It takes what comes for its next request, if it still has the connection."""
    messages = [u'message {}'.format(number) for number in range(1000)]
    assert talk(url(server, path), messages)[0] == messages


def test_plain_request_is_told_what_is_missing_and_that_a_proxy_may_have_removed_it(server):
    for headers, missing in ([], b'Upgrade header'), (['Upgrade: websocket'], b'Connection header'):
        status, data = get(server, '/loop', *headers)
        assert status == 426
        assert missing in data and b'is missing' in data or b'is another' in data
        assert b'a proxy in front' in data
        assert b'sec-websocket-version: 13' in data.lower()


def test_foreign_origin_is_refused_and_none_of_a_web_page_is_not(server):
    status, data = get(
        server, '/loop', 'Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13',
        'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==', 'Origin: https://evil.example')
    assert status == 403 and b'https://evil.example is not allowed' in data
    upgrade(server, '/loop', headers=b'Origin: https://good.example\r\n').close()


@pytest.mark.parametrize('connection', [b'keep-alive, Upgrade', b'upgrade', b'UPGRADE , x'])
def test_connection_header_is_a_list_of_tokens(server, connection):
    upgrade(server, '/loop', connection=connection).close()


def test_header_of_our_own_is_in_the_answer(server):
    with closing(upgrade(server, '/called')) as client:
        assert b'\r\nSet-Cookie: a=b\r\n' in client.answer


def test_answer_of_the_application_arrives_whole(server):
    status, data = get(server, '/unauthorized', 'Upgrade: websocket')
    assert status == 401 and b'Basic realm="x"' in data and data.endswith(b'\r\n\r\nno\n')


def test_request_is_what_the_client_has_sent(server):
    path = u'/loop?a=b%20c&d='
    assert talk(url(server, path), [u'path'])[0] == [path + u' GET']


def test_descriptors_are_freed(server, name):
    folder = '/proc/{}/fd'.format(server.process.pid)
    if not os.path.exists(folder) or name.startswith('gunicorn'):
        pytest.skip('the connections are those of a child process')

    def count():
        return len(os.listdir(folder))

    def talk_on_each():
        for path in PATHS:
            talk(url(server, path), [u'x'])

    talk_on_each()
    before = count()
    for _ in range(6):
        talk_on_each()
    # Each thread of the server keeps one, and some servers leave a request to the collector of
    # garbage, which runs now and then.
    wait_until(lambda: get(server, '/plain') and count() <= before + 12, 'few descriptors')
