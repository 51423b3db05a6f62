"""What is logged about one WebSocket, or one server, goes to its own logger, and nowhere else."""

from __future__ import absolute_import, division, print_function

import logging
import socket
import threading

import pytest

from lomond import WebSocket
from lomond.extensions import Extension
from lomond.persist import ReconnectPolicy, persist
from lomond.pool import Pool
from lomond.server import Server
from lomond.wsgi import NotUpgraded, upgrade
from tests.network.driving import accept_and_send, echo_handler
from tests.support import RawServer, make_close, read_head

pytestmark = pytest.mark.usefixtures('clean_environment')

FEED = logging.getLogger('feed')


def fail(*_args):
    raise KeyError('a fault of mine')


@pytest.fixture
def logged(caplog):
    """Return what was logged: pairs of the logger's name and the message."""
    caplog.set_level(logging.DEBUG)
    return lambda: [
        (record.name, record.getMessage()) for record in caplog.records
        if record.name in ('lomond', 'feed')]


def check(logged, words, count=1):
    """Assert that these words were logged, and that all went to the logger feed."""
    assert {name for name, _message in logged()} == {'feed'}
    assert sum(words in message for _name, message in logged()) >= count


def talk(url, **options):
    """Connect, and close; return the events' names."""
    websocket = WebSocket(url, logger=FEED, **dict({'proxies': {}}, **options))
    names = []
    for event in websocket:
        names.append(event.name)
        if event.name == 'ready':
            websocket.close()
    return names


class Bad(Extension):
    """An extension that can't free what it holds."""

    name = u'x-bad'

    def release(self):
        fail()


class Jar(object):
    """A cookie jar that fails at a response."""

    def add_cookie_header(self, request):
        pass

    extract_cookies = fail


CLIENTS_FAULTS = {
    'the tracer failed': {'trace': fail},
    'the headers function failed': {'headers': fail},
    "trace: {": {'trace': True},
    'the function given as sock failed': {'sock': fail},
}


@pytest.mark.parametrize('words', sorted(CLIENTS_FAULTS))
def test_what_a_clients_functions_raise_goes_to_its_logger(logged, words):
    with RawServer(accept_and_send(make_close(1000))) as server:
        talk(server.url, **CLIENTS_FAULTS[words])
    check(logged, words)


def test_a_failing_resolver_goes_to_its_logger(logged):
    talk(u'ws://far.invalid/', resolver=fail)
    check(logged, 'the function given as resolver failed')
    check(logged, 'could not find far.invalid')


def test_a_failing_jar_goes_to_its_logger(logged):
    def reject(sock):
        read_head(sock)
        sock.sendall(b'HTTP/1.1 403 No\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n')

    with RawServer(reject) as server:
        talk(server.url, cookies=Jar())
    check(logged, 'the cookie jar failed')


def test_unverified_tls_is_warned_of_by_its_logger(logged, server_tls):
    with RawServer(accept_and_send(make_close(1000)), server_tls) as server:
        assert 'ready' in talk(server.url, ssl_verify=False)
    check(logged, 'TLS certificates are not verified')


def test_what_a_function_made_too_late_goes_to_its_logger(logged):
    """In the function's thread, when the loop has long ended."""
    class Sock(object):
        close = fail

    def make_sock():
        threads.append(threading.current_thread())
        loop_is_over.wait(30)
        return Sock()

    loop_is_over, threads = threading.Event(), []
    while not threads:      # the time may be over before the thread begins
        talk(u'ws://far.invalid/', sock=make_sock, connect_timeout=0.01)
    loop_is_over.set()
    for thread in threads:
        thread.join(30)
    check(logged, 'could not close what sock returned too late')


def test_an_extension_goes_to_the_loggers_of_both_ends(logged):
    with Server(echo_handler, extensions=[Bad], logger=FEED) as server:
        assert 'ready' in talk(server.url, extensions=[Bad])
    check(logged, 'the extension x-bad failed to release', count=2)


def test_persist_logs_by_the_websockets_logger(logged, dead_port):
    websocket = WebSocket('ws://127.0.0.1:{}/'.format(dead_port), proxies={}, logger=FEED)
    policy = ReconnectPolicy(max_attempts=2, before_attempt=fail, min_wait=0, max_wait=0)
    assert list(persist(websocket, policy=policy))[-1].name == 'gave_up'
    check(logged, 'before_attempt failed', count=2)
    check(logged, 'GaveUp')


def test_each_member_of_a_pool_has_its_own_logger(logged, dead_port):
    url = 'ws://127.0.0.1:{}/'.format(dead_port)
    pool = Pool()
    pool.add(WebSocket(url, proxies={}, logger=FEED))
    pool.add(WebSocket(url, proxies={}))
    list(pool)
    assert sorted(name for name, message in logged() if 'could not connect' in message) == [
        'feed', 'lomond']


def test_a_member_of_a_pool_that_is_given_up_goes_to_its_logger(logged):
    class Broken(WebSocket):
        def build_request(self):
            fail()

    pool = Pool()
    with RawServer(read_head) as server:
        pool.add(Broken(server.url, proxies={}, logger=FEED))
        assert [event.name for _websocket, event in pool][-1] == 'disconnected'
    check(logged, 'was given up')


def test_a_loggers_adapter_and_another_logger_later_are_used(logged):
    class Named(logging.LoggerAdapter):
        def process(self, msg, kwargs):
            return 'BTC-USD ' + msg, kwargs

    websocket = WebSocket(
        u'ws://far.invalid/', proxies={}, resolver=fail, logger=Named(FEED, {}))
    list(websocket)
    check(logged, 'BTC-USD the function given as resolver failed')
    websocket.logger = None
    list(websocket)
    assert [name for name, message in logged() if message.startswith('the function')] == ['lomond']


@pytest.mark.parametrize('wrong', ['feed', True, print, logging])
@pytest.mark.parametrize('make', [
    lambda logger: WebSocket(u'ws://far.invalid/', logger=logger),
    lambda logger: Server(echo_handler, logger=logger),
    lambda logger: upgrade({}, logger=logger)], ids=['WebSocket', 'Server', 'upgrade'])
def test_what_is_no_logger_is_refused(make, wrong):
    with pytest.raises(TypeError) as caught:
        make(wrong)
    assert "such as logging.getLogger('feed')" in str(caught.value)


# -- servers --

def test_a_failing_handler_goes_to_the_servers_logger(logged):
    with Server(fail, logger=FEED) as server:
        assert 'disconnected' in talk(server.url)
    check(logged, 'the handler failed')


def test_a_failing_on_request_goes_to_the_servers_logger(logged):
    with Server(echo_handler, on_request=fail, logger=FEED) as server:
        assert 'rejected' in talk(server.url)
    check(logged, 'on_request (or the function origins) failed')
    check(logged, 'Rejected(')


@pytest.mark.parametrize('threads', [True, False])
def test_a_server_that_was_closed_says_so_by_its_logger(logged, threads):
    server = Server(*[echo_handler] if threads else [], threads=threads, logger=FEED)
    server.close()
    if threads:
        server.start()
    else:
        list(server)
    check(logged, 'closed before')


def test_a_connection_that_was_gone_is_logged_by_the_servers_logger(logged, monkeypatch):
    """By the thread that accepts, which has no connection."""
    class Listener(socket.socket):
        left = 1

        def accept(self):
            if self.left:
                self.left = 0
                raise socket.error(103, 'aborted')
            return super(Listener, self).accept()

    monkeypatch.setattr(socket, 'socket', Listener)
    server = Server(echo_handler, logger=FEED)
    monkeypatch.undo()
    with server:
        talk(server.url)
    check(logged, 'a connection was closed before it was accepted')


def test_a_request_that_wsgi_upgrades_has_a_logger_of_its_own(logged):
    """The user's function fails before there is a connection."""
    environ = {
        'REQUEST_METHOD': 'GET', 'PATH_INFO': '/', 'SERVER_PROTOCOL': 'HTTP/1.1',
        'HTTP_HOST': 'localhost', 'HTTP_UPGRADE': 'websocket', 'HTTP_CONNECTION': 'Upgrade',
        'HTTP_SEC_WEBSOCKET_VERSION': '13',
        'HTTP_SEC_WEBSOCKET_KEY': 'dGhlIHNhbXBsZSBub25jZQ=='}
    with pytest.raises(NotUpgraded):
        upgrade(environ, on_request=fail, logger=FEED)
    check(logged, 'on_request (or the function origins) failed')
