"""`upgrade` and `websocket_app`: what they take, refuse, raise and leave behind."""

from __future__ import absolute_import, division, print_function

import gc
import socket
import struct
import threading
from contextlib import contextmanager
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
import six
from six.moves.socketserver import ThreadingMixIn

from lomond import WebSocket, _upgraded, errors, wsgi
from lomond.extensions import Extension
from lomond.persist import ReconnectPolicy
from lomond.pool import Pool
from lomond.server import Refusal, Server, ServerWebSocket
from tests.programs import wait_until
from tests.shortages import few_descriptors
from tests.support import PATIENCE, needs_refcounts, read_frame, read_head
from tests.tracing import LineTracer


class Threaded(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Handler(WSGIRequestHandler):
    def log_message(self, *_args):
        """Log no requests."""


@contextmanager
def served(application):
    """Serve an application on a port of loopback; yield the URL for WebSockets."""
    server = make_server('127.0.0.1', 0, application, Threaded, Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield u'ws://127.0.0.1:{}/'.format(server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Taking(object):
    """An application that upgrades each request, detached, and keeps the WebSockets."""

    def __init__(self, **options):
        self._options = dict({'detach': True}, **options)
        self.websockets = six.moves.queue.Queue()

    def __call__(self, environ, start_response):
        try:
            websocket = wsgi.upgrade(environ, **self._options)
        except wsgi.NotUpgraded as refused:
            return refused(environ, start_response)
        self.websockets.put(websocket)
        start_response('200 OK', [])
        return []

    def take(self):
        return self.websockets.get(timeout=PATIENCE)


@pytest.fixture
def taking():
    """The application, and a client that is open."""
    application = Taking()
    with served(application) as url:
        application.client = WebSocket(url)
        application.client.open(PATIENCE)
        yield application
        application.client.force_disconnect()


ENVIRON = {
    'REQUEST_METHOD': 'GET', 'SCRIPT_NAME': '', 'PATH_INFO': '/', 'QUERY_STRING': '',
    'SERVER_PROTOCOL': 'HTTP/1.1', 'HTTP_HOST': 'x', 'HTTP_UPGRADE': 'websocket',
    'HTTP_CONNECTION': 'Upgrade', 'HTTP_SEC_WEBSOCKET_VERSION': '13',
    'HTTP_SEC_WEBSOCKET_KEY': 'AAAAAAAAAAAAAAAAAAAAAA==', 'REMOTE_ADDR': '1.2.3.4',
}


def environ(**changes):
    return {name: value for name, value in dict(ENVIRON, **changes).items() if value is not None}


@contextmanager
def paired(**changes):
    """An environ with a socket in it, and the client's end."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE)
    try:
        yield environ(**dict({'lomond.socket': ours}, **changes)), theirs
    finally:
        ours.close()
        theirs.close()


# -- refusals --

@pytest.mark.parametrize('changes, status, words', [
    ({'HTTP_UPGRADE': None}, 426, 'the Upgrade header should be websocket, and is missing'),
    ({'HTTP_UPGRADE': 'h2c'}, 426, 'the Upgrade header should be websocket, and is another'),
    ({'HTTP_CONNECTION': 'close'}, 426, 'the Connection header should be Upgrade, and is another'),
    ({'HTTP_CONNECTION': None}, 426, 'a proxy in front has changed it'),
    ({'SERVER_PROTOCOL': 'HTTP/1.0'}, 426, 'came in HTTP/1.0'),
    ({'REQUEST_METHOD': 'POST'}, 405, 'begins with GET'),
    ({'CONTENT_LENGTH': '5'}, 400, 'has no body'),
    ({'HTTP_TRANSFER_ENCODING': 'chunked'}, 400, 'has no body'),
    ({'HTTP_HOST': None}, 400, 'Host'),
    ({'HTTP_SEC_WEBSOCKET_VERSION': '8'}, 426, 'only version 13'),
    ({'HTTP_SEC_WEBSOCKET_KEY': 'x'}, 400, 'Sec-WebSocket-Key'),
    ({'HTTP_X': 'a\r\nb'}, 400, 'CR, LF or NUL'),
    ({'HTTP_ORIGIN': 'https://evil.example'}, 403, 'https://evil.example is not allowed'),
    ({'PATH_INFO': '/secret'}, 404, 'nothing here')])
def test_request_that_is_refused_raises_the_answer(changes, status, words):
    def on_request(request):
        return Refusal(404, u'nothing here', {'X-Why': 'not'}) \
            if request.path == u'/secret' else None

    with pytest.raises(wsgi.NotUpgraded) as caught:
        wsgi.upgrade(environ(**changes), origins=[None], on_request=on_request)
    refused = caught.value
    assert isinstance(refused, errors.HandshakeError)
    assert refused.status_code == status
    assert words in refused.body.decode('utf-8')
    assert words[:20] in str(refused)
    started = []
    assert refused({}, lambda *args: started.append(args)) == [refused.body]
    line, headers = started[0]
    assert line.startswith('{} '.format(status)) and line[4:]
    assert dict(headers)['Content-Length'] == str(len(refused.body))
    assert ('X-Why' in dict(headers)) == (status == 404)
    assert {type(text) for pair in headers for text in pair} == {str}


def test_socket_is_not_touched_before_the_request_is_accepted():
    with paired(HTTP_UPGRADE=None) as (request, theirs):
        with pytest.raises(wsgi.NotUpgraded):
            wsgi.upgrade(request)
        theirs.setblocking(False)
        with pytest.raises(socket.error):
            theirs.recv(1)


@pytest.mark.parametrize('changes', [
    {}, {'mod_wsgi.version': (4, 9), 'wsgi.input': object()}, {'asgi.scope': {}}])
def test_server_without_a_socket_is_named_in_a_clear_error(changes):
    with pytest.raises(errors.WebSocketUnavailable, match=r'mod_wsgi .*ASGI .*lomond\.socket'):
        wsgi.upgrade(environ(**changes))


def test_request_is_upgraded_once():
    with paired() as (request, _theirs):
        websocket = wsgi.upgrade(request)
        assert request['lomond.websocket'] is websocket
        with pytest.raises(errors.WebSocketUnavailable, match='upgraded before'):
            wsgi.upgrade(request)
        websocket.force_disconnect()


def generate(_argument):
    yield


@pytest.mark.parametrize('options, error, words', [
    ({'no_such': 1}, TypeError, r"\(\) got an unexpected keyword argument 'no_such'"),
    ({'ping_rat': 1}, TypeError, 'did you mean ping_rate'),
    ({'host': u'x'}, TypeError, 'the WSGI server listens'),
    ({'handshake_timeout': 1}, TypeError, 'reads the request'),
    ({'ssl_context': None}, TypeError, 'TLS is made by the WSGI server'),
    ({'ssl': None}, TypeError, 'TLS is made by the WSGI server'),
    ({'threads': False}, TypeError, 'detach=True'),
    ({'max_queue': 1}, TypeError, 'of the Pool'),
    ({'proxies': {}}, TypeError, 'a server has no such option'),
    ({'on_request': generate}, TypeError, 'on_request must be a plain function'),
    ({'origins': generate}, TypeError, 'origins must be a plain function'),
    ({'protocols': 'chat'}, TypeError, 'protocols must be a list'),
    ({'origins': 'https://x'}, TypeError, 'origins must be a list'),
    ({'ping_rate': -1}, ValueError, 'ping_rate'),
    ({'detach': 'yes'}, TypeError, 'detach'),
    ({'headers': {'A': 'b\r\nc'}}, ValueError, 'CR')])
def test_wrong_options_are_refused_when_the_application_is_made(options, error, words):
    for call in (lambda: wsgi.websocket_app(lambda _websocket: None, **options),
                 lambda: wsgi.upgrade(environ(), **options)):
        with pytest.raises(error, match=words):
            call()


def test_handler_must_be_a_plain_function():
    with pytest.raises(TypeError, match='websocket_app'):
        wsgi.websocket_app(None)
    with pytest.raises(TypeError, match='plain function'):
        wsgi.websocket_app(generate)


# -- what the WebSocket knows --

def test_request_is_rebuilt_from_the_environ():
    with paired(SCRIPT_NAME='/app', PATH_INFO='/caf\xc3\xa9 %', QUERY_STRING='a=b%20c',
                HTTP_COOKIE='c=d', HTTP_SEC_WEBSOCKET_PROTOCOL='chat, other',
                REMOTE_PORT='81') as (request, theirs):
        with wsgi.upgrade(request, protocols=['other'], headers=[('Set-Cookie', 'e=f')]) \
                as websocket:
            assert isinstance(websocket, ServerWebSocket)
            assert websocket.request.resource == u'/app/caf%C3%A9%20%25?a=b%20c'
            assert websocket.request.get('Cookie') == u'c=d'
            assert websocket.address == ('1.2.3.4', 81)
            assert websocket.environ['HTTP_COOKIE'] == 'c=d'
            assert 'lomond.socket' not in websocket.environ
            head = theirs.recv(4096)
            assert b'Sec-WebSocket-Protocol: other\r\n' in head and b'Set-Cookie: e=f\r\n' in head
            for event in websocket:
                assert (event.name, event.protocol) == ('ready', u'other')
                assert event.response is websocket.request
                assert websocket.protocol == u'other'
                break


def test_target_as_the_server_gives_it_is_taken_unchanged():
    with paired(REQUEST_URI='/a%2Fb?c') as (request, _theirs):
        with wsgi.upgrade(request) as websocket:
            assert websocket.request.resource == u'/a%2Fb?c'


# -- what drives it --

@pytest.mark.parametrize('end', [
    lambda websocket: websocket.close(4001, u'full'),
    lambda websocket: websocket.force_disconnect(),
    lambda _websocket: wsgi.close_all(4001, u'full', timeout=0)],
    ids=['close', 'force_disconnect', 'close_all'])
def test_one_that_nothing_drives_is_closed_at_once(end):
    with paired() as (request, theirs):
        websocket = wsgi.upgrade(request, detach=True)
        end(websocket)
        assert (websocket.state, websocket.is_closed) == ('closed', True)
        assert not websocket.begin()
        request['lomond.socket'].close()
        while theirs.recv(4096):
            pass


@pytest.mark.parametrize('code, is_quiet', [(1001, True), (None, True), (4000, False)])
def test_calls_on_one_that_was_closed_undriven_say_so(code, is_quiet):
    with paired() as (request, _theirs):
        websocket = wsgi.upgrade(request)
        websocket.close(code, u'' if code is None else u'bye')
        for call in (websocket.receive, websocket.ping, websocket.wait_ready):
            with pytest.raises(errors.WebSocketClosed, match='before anything') as raised:
                call(PATIENCE)
            assert raised.value.code == (code or 1005)
        if is_quiet:
            assert list(websocket.messages()) == []
        else:
            with pytest.raises(errors.WebSocketClosed, match='4000'):
                websocket.messages()
        assert list(websocket) == []


def test_a_loop_that_begins_at_any_line_of_a_close_has_an_end():
    def drive():
        seen.append([event.name for event in websocket])

    moment = 0
    has_acted = True
    while has_acted:
        moment += 1
        seen = []
        with paired() as (request, theirs):
            websocket = wsgi.upgrade(request)
            theirs.shutdown(socket.SHUT_WR)
            with LineTracer([_upgraded], moment, drive) as tracer:
                websocket.close()
            has_acted = tracer.has_acted
            assert websocket.is_closed
        assert not has_acted or seen in ([[]], [['ready', 'poll', 'disconnected']]), moment
    assert moment > 8


def test_close_all_in_the_middle_of_an_upgrade_closes_that_too():
    """As by SIGTERM's handler, while another thread has just sent the answer."""
    moment = 1
    has_acted = True
    while has_acted:
        moment += 1     # at the first line nothing has begun
        with paired() as (request, theirs):
            with LineTracer([wsgi], moment, lambda: wsgi.close_all(timeout=0)) as tracer:
                websocket = wsgi.upgrade(request)
            has_acted = tracer.has_acted
            if has_acted:
                assert list(websocket) == []
                request['lomond.socket'].close()
                assert read_head(theirs).startswith(b'HTTP/1.1 101 ')
                assert read_frame(theirs) == (0x88, b'\x03\xe9server shutting down')
            websocket.force_disconnect()
    assert moment > 20


def test_nothing_is_received_before_it_is_driven(taking):
    websocket = taking.take()
    assert websocket.state == 'connecting'
    taking.client.send_text(u'waits')
    with websocket:
        assert websocket.receive(PATIENCE) == u'waits'
        taking.client.force_disconnect()


def test_a_pool_drives_it_and_clients_beside_it(taking):
    pool = Pool()
    websocket = pool.add(taking.take(), tag=u'server')
    seen = []
    taking.client.send_text(u'one')
    for member, event in pool:
        assert member is websocket and member.tag == u'server'
        seen.append(event.name)
        if event.name == 'text':
            assert pool.broadcast(u'two') == 1
            websocket.close()
            closing = threading.Thread(target=receive_all, args=(taking.client, seen))
            closing.start()
    closing.join()
    assert seen.count(u'two') == 1
    assert [name for name in seen if name != u'two'] == ['ready', 'text', 'closed', 'disconnected']


def receive_all(client, seen):
    try:
        while True:
            seen.append(client.receive(PATIENCE))
    except errors.WebSocketClosed:
        pass


@pytest.mark.parametrize('close', [
    lambda _pool, websocket: websocket.close(4001, u'full'),
    lambda pool, _websocket: pool.close(4001, u'full'),
    lambda _pool, _websocket: wsgi.close_all(4001, u'full', timeout=0),
], ids=['close', 'pool.close', 'close_all'])
def test_close_before_the_first_step_of_a_pool_sends_a_close_frame(taking, close, caplog):
    pool = Pool()
    close(pool, pool.add(taking.take()))
    closing = threading.Thread(target=receive_all, args=(taking.client, []))
    closing.start()
    assert [event.name for _member, event in pool] == ['ready', 'closed', 'disconnected']
    closing.join()
    assert taking.client.close_received == (4001, u'full')
    assert not caplog.records


def test_a_pool_leaves_out_what_was_closed_before(taking):
    pool = Pool()
    websocket = taking.take()
    wsgi.close_all(timeout=0)
    assert pool.add(websocket) is websocket
    assert websocket not in pool and list(pool) == []
    with Server(threads=False) as server:
        server.add(websocket)
        assert server.connections == []


@pytest.mark.parametrize('make', [
    lambda: Pool(ends_when_empty=False), lambda: Server(threads=False)], ids=['pool', 'server'])
def test_one_that_the_loop_has_not_come_to_ends_with_it(make):
    with paired() as (first, _theirs), paired() as (second, theirs):
        members = make()
        members.add(wsgi.upgrade(first, detach=True))
        loop = iter(members)
        next(loop)
        websocket = wsgi.upgrade(second, detach=True)
        members.add(websocket)
        loop.close()
        members.close()
        assert_ended(websocket, second, theirs)


def test_one_that_is_added_after_the_loop_ends_with_the_pool_s_block():
    with paired() as (request, theirs):
        with Pool() as pool:
            assert list(pool) == []
            websocket = pool.add(wsgi.upgrade(request, detach=True))
        assert len(pool) == 0
        assert_ended(websocket, request, theirs)


def assert_ended(websocket, request, theirs):
    assert websocket.is_closed
    request['lomond.socket'].close()
    while theirs.recv(4096):
        pass


def test_a_server_with_one_thread_drives_it(taking):
    with Server(threads=False) as server:
        websocket = taking.take()
        server.add(websocket)
        taking.client.send_text(u'one')
        for member, event in server:
            assert member is websocket
            if event.name == 'text':
                assert server.connections == [websocket]
                assert server.broadcast(u'two') == 1
                break
        assert taking.client.receive(PATIENCE) == u'two'


def test_it_has_one_driver(taking):
    websocket = taking.take()
    pool, server = Pool(), Server(threads=False)
    with server, pool:
        pool.add(websocket)
        for call in (lambda: server.add(websocket), lambda: pool.add(websocket),
                     lambda: Pool().add(websocket)):
            with pytest.raises(errors.WebSocketUnavailable, match='member of a pool'):
                call()
        for call in (lambda: iter(websocket), websocket.receive,
                     lambda: next(websocket.messages())):
            with pytest.raises(errors.WebSocketUnavailable, match='member of a pool'):
                call()
    websocket.force_disconnect()


def test_a_loop_of_its_own_excludes_others(taking):
    websocket = taking.take()
    loop = iter(websocket)
    assert next(loop).name == 'ready'
    with Server(threads=False) as server:
        for call in (lambda: server.add(websocket), lambda: Pool().add(websocket)):
            with pytest.raises(errors.WebSocketUnavailable, match='driven already'):
                call()
    loop.close()


def test_it_can_not_reconnect(taking):
    with pytest.raises(TypeError, match='without policy='):
        Pool().add(taking.take(), policy=ReconnectPolicy())


def test_a_server_takes_no_others():
    with Server(threads=False) as server:
        with pytest.raises(TypeError, match='lomond.wsgi.upgrade'):
            server.add(WebSocket('ws://x'))
        server.close()
        with paired() as (request, _theirs):
            with pytest.raises(errors.WebSocketUnavailable, match='closed'):
                server.add(wsgi.upgrade(request))


def test_a_pool_takes_no_server_websocket_without_a_connection():
    with pytest.raises(TypeError, match=r'lomond\.wsgi\.upgrade'):
        Pool().add(ServerWebSocket(None, None))


# -- handlers --

@pytest.mark.parametrize('handler, code', [
    (lambda websocket: None, b'\x03\xe8'),
    (lambda websocket: {}['key'], b'\x03\xf3')], ids=['returns', 'raises'])
def test_connection_is_closed_after_the_handler(handler, code, caplog):
    with paired() as (request, theirs):
        theirs.sendall(b'\x88\x82\0\0\0\0\x03\xe8')      # the answer to the Close frame
        started = []
        application = wsgi.websocket_app(handler)
        assert application(request, lambda *args: started.append(args)) == []
        assert started == [('200 OK', [('Content-Length', '0')])]
        head, _mark, frames = theirs.recv(4096).partition(b'\r\n\r\n')
        assert head.startswith(b'HTTP/1.1 101 ')
        assert frames[:4] in (b'\x88\x02' + code, b'\x88\x02\x03\xe8')
        assert ('the handler failed' in caplog.text) == (code == b'\x03\xf3')


class Failing(Extension):
    """Fails with the first frame that comes."""

    name = 'x-fails'

    def frame_inbound_header(self, header):
        raise ZeroDivisionError()


def test_an_extension_that_fails_after_the_handler_is_logged(caplog):
    with paired(HTTP_SEC_WEBSOCKET_EXTENSIONS='x-fails') as (request, theirs):
        theirs.sendall(b'\x88\x82\0\0\0\0\x03\xe8')
        application = wsgi.websocket_app(lambda _websocket: None, extensions=[Failing])
        assert application(request, lambda *_args: None) == []
    record, = caplog.records
    assert 'failed outside its handler' in record.getMessage()
    assert record.exc_info[0] is ZeroDivisionError


def test_handler_may_loop_again_as_a_server_s_may():
    def handler(websocket):
        names.append(next(iter(websocket)).name)
        names.extend(event.name for event in websocket)

    names = []
    with paired() as (request, theirs):
        theirs.sendall(b'\x81\x81\0\0\0\0x\x88\x82\0\0\0\0\x03\xe8')
        list(wsgi.websocket_app(handler)(request, lambda *_args: None))
    assert names == ['ready', 'poll', 'text', 'closing', 'disconnected']


# -- ends --

@needs_refcounts
def test_connection_is_closed_with_a_websocket_that_nobody_needs():
    with paired() as (request, theirs):
        websocket = wsgi.upgrade(request)
        theirs.recv(4096)
        request.clear()
        del websocket
        gc.collect()
        assert theirs.recv(1) == b''


def test_client_that_has_gone_before_the_upgrade_is_refused_without_an_error():
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(1)
    client = socket.create_connection(listener.getsockname())
    ours = listener.accept()[0]
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    client.close()      # by a reset
    wait_until(lambda: is_disconnected(ours), 'the reset')
    with pytest.raises(wsgi.NotUpgraded, match='gone'):
        wsgi.upgrade(environ(**{'lomond.socket': ours}))
    ours.close()
    listener.close()


def test_without_descriptors_the_answer_is_503_and_the_socket_stays(caplog):
    with paired() as (request, _theirs):
        with few_descriptors(2), pytest.raises(wsgi.NotUpgraded) as raised:
            wsgi.upgrade(request)
        assert raised.value.status_code == 503
        assert 'could not take over a connection' in caplog.text
        wsgi.upgrade(request).force_disconnect()


def is_disconnected(sock):
    try:
        sock.getpeername()
    except socket.error:
        return True
    return False


@needs_refcounts
def test_leaving_the_loop_ends_it():
    with paired() as (request, theirs):
        for _event in wsgi.upgrade(request):
            break
        theirs.recv(4096)
        assert theirs.recv(1) == b''


def test_leaving_the_with_block_ends_it():
    with paired() as (request, theirs):
        with wsgi.upgrade(request):
            pass
        theirs.recv(4096)
        assert theirs.recv(1) == b''


def test_close_all_closes_those_in_loops_in_pools_and_not_begun():
    application = Taking()
    with served(application) as url:
        clients = [WebSocket(url) for _ in range(3)]
        for client in clients:
            client.open(PATIENCE)
        looped, pooled, _idle = [application.take() for _ in clients]
        pool = Pool()
        pool.add(pooled)
        threads = [threading.Thread(target=list, args=(thing,)) for thing in (looped, pool)]
        for thread in threads:
            thread.start()
        wait_until(lambda: looped.is_open and pooled.is_open, 'both are driven')
        closing = threading.Thread(target=wsgi.close_all, args=(1012, u'restart', 1))
        closing.start()
        ends = []
        for client in clients:
            seen = []
            receive_all(client, seen)
            ends.append(client.close_received)
        closing.join()
        for thread in threads:
            thread.join()
        assert ends == [(1012, u'restart'), (1012, u'restart'), (1012, u'restart')]
        wsgi.close_all(timeout=PATIENCE)        # there is nothing to wait for


def test_close_all_with_no_time_does_not_wait():
    with paired() as (request, theirs):
        websocket = wsgi.upgrade(request)
        loop = iter(websocket)
        assert next(loop).name == 'ready'
        wsgi.close_all(timeout=0)
        assert not websocket.is_closed
        head, _mark, frames = theirs.recv(4096).partition(b'\r\n\r\n')
        assert frames[2:4] == b'\x03\xe9'
        loop.close()


@pytest.mark.parametrize('arguments', [(1005,), (1001, 3), (1001, u'', -1)])
def test_close_all_refuses_wrong_arguments(arguments):
    with pytest.raises((TypeError, ValueError)):
        wsgi.close_all(*arguments)
