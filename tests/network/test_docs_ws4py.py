"""docs/coming-from/ws4py.md: nothing of ws4py is missing, and every piece of code runs.

Each thing that ws4py's documentation offers has a number here, in its order; comments in the page
say where it is.
"""

from __future__ import absolute_import, division, print_function

import codecs
import contextlib
import io
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading

import pytest
from six.moves.urllib.request import urlopen

from lomond import WebSocket, errors, events, wsgi
from lomond.drivers import QueuedClientSession
from lomond.extensions import RSV2, Extension
from lomond.opcode import Opcode
from lomond.pool import Pool
from lomond.protocol.frame import encode_frame
from lomond.protocol.mask import apply_mask
from lomond.sansio import CLIENT, SERVER, Client, Connection
from lomond.sansio import Server as SansioServer
from lomond.server import Refusal, Server
from tests.network.doc_cells import raises, read_page, rows, run_cell
from tests.network.driving import ROOT, echo_handler, run_program
from tests.support import PATIENCE, read_source

pytestmark = [pytest.mark.costly, pytest.mark.usefixtures('clean_environment')]

PAGE = read_page('coming-from/ws4py.md')

#: How many things ws4py's documentation offers.
COUNT = 110

_NUMBERS = re.compile(r'<!-- ([0-9][0-9, ]*) -->')
_BLOCK = re.compile(r'(?:<!-- needs ([0-9.]+) -->\n)?```python\n(.*?)```', re.DOTALL)

#: What a reader on 2.7 has at the top of a file.
PRINT = 'from __future__ import print_function\n'


def codes():
    for row in rows(PAGE):
        if len(row) == 3:
            yield pytest.param(row[1], id=row[0])


def block(headline):
    """Return the program under a headline; skip the test on a Python that is too old for it."""
    text = PAGE[PAGE.index(u'\n## ' + headline):]
    (needs, source), = _BLOCK.findall(text[:text.index(u'\n## ', 1)])
    if sys.version_info < tuple(int(part) for part in (needs or u'0').split(u'.')):
        pytest.skip('a newer Python has this')
    return PRINT + str(source)


def test_everything_that_ws4py_offers_is_there():
    found = {int(number) for numbers in _NUMBERS.findall(PAGE) for number in numbers.split(',')}
    assert found == set(range(1, COUNT + 1))


def test_a_row_has_code_or_the_reason_why_there_is_none():
    for row in rows(PAGE):
        assert len(row) in (2, 3) and row[1], row


def test_every_program_of_the_page_is_run():
    headlines = re.findall(r'^(?:## .*|```python)$', PAGE, re.MULTILINE)
    with_program = [before[3:] for before, line in zip(headlines, headlines[1:])
                    if line == '```python']
    here = read_source(sys.modules[__name__])
    assert with_program
    for headline in with_program:
        assert "'{}'".format(headline) in here, headline


# -- the cells --

class MyExtension(Extension):
    name = u'x-mine'


def refuse(request):
    return Refusal(403) if request.path == u'/refused' else None


def run(websocket):
    for event in websocket:
        if event.name == 'ready':
            websocket.close()


def shake_hands():
    """Return a `sansio.Client` that is open."""
    client, server = Client(u'ws://localhost/'), SansioServer()
    list(server.receive(client.data_to_send()))
    list(server.accept())
    list(client.receive(server.data_to_send()))
    return client


def wsgi_request(sock, **more):
    return dict({
        'REQUEST_METHOD': 'GET', 'SCRIPT_NAME': '', 'PATH_INFO': '/feed', 'QUERY_STRING': '',
        'SERVER_PROTOCOL': 'HTTP/1.1', 'wsgi.input': io.BytesIO(), 'lomond.socket': sock,
        'HTTP_HOST': 'localhost'}, **more)


UPGRADE = {
    'HTTP_UPGRADE': 'websocket', 'HTTP_CONNECTION': 'Upgrade', 'HTTP_SEC_WEBSOCKET_VERSION': '13',
    'HTTP_SEC_WEBSOCKET_KEY': 'AAAAAAAAAAAAAAAAAAAAAA=='}


@pytest.fixture
def here(authority_file, server_pem, tmpdir):
    """What the page says that the names in the cells are."""
    sock, other = socket.socketpair()
    connection, peer = Connection(SERVER), Connection(CLIENT)
    connection.accept()
    peer.accept()
    with Server(echo_handler, on_request=refuse) as server:
        websocket = WebSocket(server.url)
        ready = websocket.open(PATIENCE)
        session = WebSocket(server.url).new_session(QueuedClientSession)
        session.begin()
        names = {
            'CLIENT': CLIENT, 'Connection': Connection, 'MyExtension': MyExtension,
            'Opcode': Opcode, 'Pool': Pool, 'RSV2': RSV2, 'SERVER': SERVER, 'Server': Server,
            'WebSocket': WebSocket, 'apply_mask': apply_mask, 'codecs': codecs,
            'echo': echo_handler, 'encode_frame': encode_frame, 'errors': errors,
            'logging': logging, 'raises': raises, 'run': run, 'socket': socket,
            'threading': threading, 'wsgi': wsgi, 'authority_file': authority_file,
            'server_pem': server_pem,
            'path': str(tmpdir.join('log')), 'sock': sock, 'url': server.url,
            'refusing_url': server.url + u'refused', 'websocket': websocket,
            'served': server.connections[0], 'pool': Pool(), 'session': session,
            'connection': connection, 'client': shake_hands(),
            'data': peer.encode(Opcode.TEXT, b'hello') + peer.encode(Opcode.PING, b''),
            'environ': wsgi_request(sock, **UPGRADE), 'page': wsgi_request(sock),
            'ready': ready, 'text': events.Text(u'hello'), 'binary': events.Binary(b'hello'),
            'pong': events.Pong(b''), 'disconnected': events.Disconnected(u'broken')}
        try:
            yield names
        finally:
            session.dispose()
            for value in names.values():
                if isinstance(value, WebSocket):
                    value.force_disconnect()
            upgraded = names['environ'].get('lomond.websocket')
            if upgraded is not None:
                upgraded.force_disconnect()
            names.clear()
            sock.close()
            other.close()


@pytest.mark.parametrize('code', list(codes()))
def test_the_code_of_a_row_runs(code, here):
    run_cell(code, here)


# -- the clients --

@pytest.fixture
def run_client():
    """Run the program under a headline; return what it printed, line by line."""
    def run_client(headline):
        source = block(headline).replace('ws://localhost:8000/', str(server.url))
        return run_program(source).splitlines()
    with Server(echo_handler, protocols=[u'chat']) as server:
        yield run_client


def test_a_class_has_its_methods_called(run_client):
    assert run_client('Your class, or a loop') == ['text 5', 'closed: 1000 ']


def test_a_client_runs_in_a_thread(run_client):
    assert run_client('A client in a thread') == ['18 3 ... 2 ... 1 ... '] + [
        '{} {}'.format(size, '.' * size) for size in range(0, 100, 20)] + ['disconnected closed']


def test_a_client_runs_in_tornado(run_client):
    pytest.importorskip('tornado')
    assert run_client('A client in Tornado') == ['0', '20', '40', '60', '80', 'disconnected closed']


def test_one_greenlet_receives_and_one_sends(run_client):
    pytest.importorskip('gevent')
    assert run_client('A client with gevent') == ['0', '20', '40', '60', '80']


def greet(websocket):
    websocket.send_text(u'hello')


def test_many_clients_run_in_one_thread():
    with Server(greet, max_connections=1000) as server:
        source = block('Thousands of clients').replace('COUNT = 2000 ', 'COUNT = 50 ')
        printed = run_program(source.replace(
            'ws://localhost:8000/', str(server.url))).splitlines()
    assert sum(line.startswith('open: (') for line in printed) == 50
    assert printed.count('received: hello') == printed.count('over: closed') == 50
    assert len(printed) == 150


def test_bytes_come_from_no_socket():
    printed = run_program(block('Without a socket'))
    assert printed == 'from no socket at all\n'


def test_a_request_is_refused_by_what_is_in_it():
    printed = run_program(block('In any WSGI server')).splitlines()
    assert printed == ['400', '401', 'chat', '/']


# -- the servers --

@contextlib.contextmanager
def run_server(headline, *changes):
    """Run the program under a headline, after changes that let it print its port; yield both."""
    source = block(headline)
    for old, new in changes:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    environ = dict(os.environ, PYTHONPATH=os.pathsep.join([ROOT, os.path.join(ROOT, 'examples')]))
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, '-u', '-c', source],
            stdout=subprocess.PIPE, stderr=log, env=environ)
        killer = threading.Timer(2 * PATIENCE, process.kill)
        killer.start()
        try:
            line = process.stdout.readline()
            if not line:
                log.seek(0)
                raise AssertionError(log.read().decode('utf-8', 'replace'))
            yield process, int(line)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            killer.cancel()
            process.stdout.close()


def connect(port, path=u'/'):
    websocket = WebSocket(u'ws://localhost:{}{}'.format(port, path))
    websocket.open(PATIENCE)
    return websocket


def ask(websocket, text):
    websocket.send_text(text)
    return websocket.receive(PATIENCE)


def last_of(websocket):
    """Return the code and reason with which the server ends a connection."""
    with pytest.raises(errors.WebSocketClosed) as raised:
        websocket.receive(PATIENCE)
    return raised.value.code, raised.value.reason


def talk_to_three(port):
    clients = [connect(port) for _ in range(3)]
    for client in clients:
        assert ask(client, u'hello') == u'hello'
        client.force_disconnect()


def await_idle(port):
    """Wait until a server in wsgiref has handled all requests: until then it ignores Ctrl-C."""
    with contextlib.closing(socket.create_connection(('localhost', port), PATIENCE)) as sock:
        sock.sendall(b'GET / HTTP/1.0\r\n\r\n')
        while sock.recv(4096):
            pass


def test_wsgiref_serves_many_and_closes_them_at_its_end():
    with run_server(
            'A server in wsgiref', (' 8000, application', ' 0, application'),
            ('    httpd.serve', '    print(httpd.server_port); httpd.serve'),
    ) as (process, port):
        clients = [connect(port) for _ in range(3)]
        for client in clients:
            assert ask(client, u'hello') == u'hello'
        await_idle(port)
        process.send_signal(signal.SIGINT)
        for client in clients:
            assert last_of(client) == (1001, u'shutting down')
        assert process.wait() == 0


def test_gevent_serves_many():
    pytest.importorskip('gevent')
    with run_server(
            'A server in gevent', (' 8000), application', ' 0), application'),
            ('.serve_forever', '.start(); print(httpd.server_port); httpd.serve_forever'),
    ) as (_process, port):
        talk_to_three(port)


def test_cherrypy_serves_and_broadcasts():
    pytest.importorskip('cherrypy')
    with run_server(
            'A server in CherryPy', ('= 8000', '= 0'),
            ('.start()', '.start(); print(cherrypy.server.bound_addr[1])'),
    ) as (process, port):
        clients = [connect(port, u'/feed') for _ in range(2)]
        for client in clients:      # from its echo on, it is one of the pool
            assert ask(client, u'hello') == u'hello'
        with contextlib.closing(urlopen('http://localhost:{}/say?text=all'.format(port))) as page:
            assert page.read() == b'said to all'
        for client in clients:
            assert client.receive(PATIENCE) == u'all'
        process.terminate()
        for client in clients:
            assert last_of(client)[0] == 1001


def test_asyncio_serves_many():
    with run_server(
            'A server in asyncio', (" 8000, origins", " 0, origins"),
            ('await server.serve_forever', 'print(server.port); await server.serve_forever'),
    ) as (_process, port):
        talk_to_three(port)
