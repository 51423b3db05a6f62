"""Connections through proxies, HTTP, HTTPS and SOCKS: tunnels, credentials, and bad manners.

Those through programs that others wrote are in test_real_proxies.py.
"""

from __future__ import absolute_import, division, print_function

import functools
import logging
import socket
import ssl
import sys
import threading

import pytest

from lomond._compat import monotonic
from lomond.net.progress import Progress
from lomond.net.waiter import wait
from lomond.websocket import WebSocket

from ..support import (
    PATIENCE,
    RawServer,
    answer_upgrade,
    get_header,
    make_frame,
    names,
    read_exactly,
    read_frame,
    socket_at,
)
from . import proxy_server
from .driving import stall
from .proxy_server import OK, ProxyServer, Socks4aServer

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

GREETING = make_frame(1, b'hello')

#: The events of a connection on which the server says hello, and both close.
FULL_LIFE = ['connecting', 'connected', 'ready', 'text', 'closed', 'disconnected']


needs_nested_tls = pytest.mark.skipif(
    not hasattr(ssl, 'MemoryBIO'), reason='this Python has no TLS within TLS')


class Way(object):
    """A way to a proxy, plain or over TLS."""

    def __init__(self, authority_file, proxy_tls=None):
        #: Call it with options, as `ProxyServer`.
        self.proxy = functools.partial(ProxyServer, ssl_context=proxy_tls)
        self._authority_file = authority_file

    def connect(self, url, proxy, **options):
        """Make a WebSocket that goes through the proxy."""
        return WebSocket(url, proxies=proxy.proxies, ssl_cafile=self._authority_file, **options)


@pytest.fixture
def plain_way(authority_file):
    return Way(authority_file)


@pytest.fixture
def secure_way(authority_file, server_tls):
    return Way(authority_file, server_tls)


@pytest.fixture(params=['plain', 'secure'])
def way(request):
    """Each way to a proxy in turn."""
    return request.getfixturevalue(request.param + '_way')


def greet(sock):
    """Accept, say hello, and answer the Close frame."""
    greet.request = answer_upgrade(sock)
    sock.sendall(GREETING)
    first, payload = read_frame(sock)
    assert first == 0x88
    sock.sendall(make_frame(8, payload))


def live(websocket):
    """Go through a connection, and close it after the first message; return the events."""
    events = []
    for event in websocket:
        events.append(event)
        if event.name == 'text':
            websocket.close()
    return events


def fail(websocket):
    """Try to connect; return the ConnectFail and how long it took."""
    started = monotonic()
    events = list(websocket)
    took = monotonic() - started
    assert names(events) == ['connecting', 'connect_fail']
    return events[-1], took


def fail_with(words, make_websocket):
    """Try to connect, with a short connect_timeout where that is in the words; return ConnectFail.

    ``make_websocket(connect_timeout)`` may be called again.
    """
    if words in ('in time', 'timed out'):
        return stall(make_websocket, lambda event: words in event.reason)
    event, took = fail(make_websocket(PATIENCE))
    assert took < PATIENCE / 2
    return event


# -- tunnels --

def test_ws_goes_through_the_proxy_by_connect(way):
    with RawServer(greet) as server, way.proxy() as proxy:
        events = live(way.connect(server.url + u'path', proxy))
        assert names(events) == FULL_LIFE
        assert events[1].proxy == proxy.url
        assert events[-1].graceful
    authority = '127.0.0.1:{}'.format(server.port).encode('ascii')
    assert proxy.requests[0].startswith(b'CONNECT ' + authority + b' HTTP/1.1\r\n')
    assert get_header(proxy.requests[0], b'Host') == authority
    # The server gets a request of the usual form: it isn't the proxy's business.
    assert greet.request.startswith(b'GET /path HTTP/1.1\r\n')
    assert get_header(greet.request, b'Proxy-Authorization') is None


@pytest.mark.parametrize('kind', [
    'plain', pytest.param('secure', marks=needs_nested_tls)])
def test_wss_goes_through_the_proxy_with_tls_inside(kind, request, server_tls):
    way = request.getfixturevalue(kind + '_way')
    with RawServer(greet, server_tls) as server, way.proxy() as proxy:
        events = live(way.connect(u'wss://localhost:{}/'.format(server.port), proxy))
        assert names(events) == FULL_LIFE
        assert events[1].proxy == proxy.url
        assert events[-1].graceful
    assert proxy.requests[0].startswith(b'CONNECT localhost:')


def test_name_is_left_to_the_proxy_to_resolve():
    """A client behind a proxy may have no DNS for what is outside."""
    with RawServer(greet) as server:
        route = {b'far.invalid:80': ('127.0.0.1', server.port)}
        with ProxyServer(route=route) as proxy:
            events = live(WebSocket(u'ws://far.invalid/', proxies=proxy.proxies))
    assert names(events) == FULL_LIFE


def test_certificate_inside_is_checked_for_the_target_not_the_proxy(server_tls, plain_way):
    with RawServer(greet, server_tls) as server:
        route = {b'far.invalid:443': ('127.0.0.1', server.port)}
        with plain_way.proxy(route=route) as proxy:
            event, _took = fail(plain_way.connect(u'wss://far.invalid/', proxy))
    assert event.phase == 'tls'
    assert 'far.invalid' in event.reason


def test_ipv6_target_is_bracketed():
    with RawServer(greet) as server:
        route = {b'[::1]:8080': ('127.0.0.1', server.port)}
        with ProxyServer(route=route) as proxy:
            events = live(WebSocket(u'ws://[::1]:8080/', proxies=proxy.proxies))
    assert names(events) == FULL_LIFE
    assert proxy.requests[0].startswith(b'CONNECT [::1]:8080 HTTP/1.1\r\nHost: [::1]:8080\r\n')


def test_proxy_of_the_environment_is_used(monkeypatch):
    with RawServer(greet) as server, ProxyServer() as proxy:
        monkeypatch.setenv('HTTP_PROXY', str(proxy.url))
        assert names(live(WebSocket(server.url))) == FULL_LIFE
        assert len(proxy.requests) == 1
        assert names(live(WebSocket(server.url, proxies={}))) == FULL_LIFE
        monkeypatch.setenv('NO_PROXY', '10.0.0.0/8, 127.0.0.0/8')
        assert names(live(WebSocket(server.url))) == FULL_LIFE
    assert len(proxy.requests) == 1


def test_lower_case_https_proxy_of_the_environment_is_used_for_wss(
        monkeypatch, server_tls, authority_file):
    with RawServer(greet, server_tls) as server, ProxyServer() as proxy:
        monkeypatch.setenv('https_proxy', str(proxy.url))
        url = u'wss://localhost:{}/'.format(server.port)
        assert names(live(WebSocket(url, ssl_cafile=authority_file))) == FULL_LIFE
    assert len(proxy.requests) == 1


def test_proxy_of_the_environment_that_makes_no_sense_is_a_connect_fail(monkeypatch):
    monkeypatch.setenv('HTTP_PROXY', 'http://127.0.0.1:port')
    event, _took = fail(WebSocket(u'ws://127.0.0.1/'))
    assert event.phase == 'proxy'
    assert isinstance(event.cause, ValueError)


# -- TLS to the proxy itself --

def test_certificate_of_the_proxy_is_checked(server_tls):
    """By the same trust as the server's."""
    with ProxyServer(ssl_context=server_tls) as proxy:
        event, _took = fail(WebSocket(u'ws://far.invalid/', proxies=proxy.proxies))
    assert event.phase == 'proxy'
    assert isinstance(event.cause, ssl.SSLError)
    assert not proxy.requests


def test_name_in_the_proxys_certificate_is_checked(authority, authority_file):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(u'proxy.invalid').configure_cert(context)
    way = Way(authority_file, context)
    with way.proxy() as proxy:
        event, _took = fail(way.connect(u'ws://far.invalid/', proxy))
    assert event.phase == 'proxy'
    assert not proxy.requests


def test_ssl_verify_false_and_a_context_hold_for_the_proxy_too(server_tls, authority_file):
    context = ssl.create_default_context(cafile=authority_file)
    with RawServer(greet) as server, ProxyServer(ssl_context=server_tls) as proxy:
        for options in ({'ssl_verify': False}, {'ssl_context': context}):
            assert names(live(WebSocket(server.url, proxies=proxy.proxies, **options))) == FULL_LIFE


def test_name_and_fingerprint_are_the_servers_and_not_asked_of_the_proxy(
        authority, authority_file, server_pem):
    """Nor is it shown our certificate: here the proxy would refuse any."""
    told = []
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.verify_mode = ssl.CERT_OPTIONAL         # and it trusts nobody
    context.set_servername_callback(lambda _sock, name, _context: told.append(name))
    authority.issue_cert(u'localhost').configure_cert(context)
    with RawServer(greet) as server, ProxyServer(ssl_context=context) as proxy:
        proxies = {'http': u'https://localhost:{}'.format(proxy.port)}
        events = live(WebSocket(
            server.url, proxies=proxies, ssl_cafile=authority_file, ssl_certfile=server_pem,
            ssl_server_hostname='far.invalid', ssl_fingerprint='00' * 32))
    assert names(events) == FULL_LIFE
    assert told == ['localhost']


@pytest.mark.parametrize('script', [
    lambda sock: sock.sendall(b'HTTP/1.1 400 Bad Request\r\n\r\n'),
    proxy_server.close_at_once,
    lambda sock: sock.recv(1) and proxy_server.reset(sock),
    proxy_server.stay_silent,
], ids=['HTTP', 'close', 'reset', 'silent'])
def test_proxy_that_does_not_speak_tls_is_a_connect_fail(script):
    with RawServer(script) as proxy:
        proxies = {'http': u'https://127.0.0.1:{}'.format(proxy.port)}
        event = stall(
            lambda timeout: WebSocket(
                u'ws://far.invalid/', proxies=proxies, connect_timeout=timeout),
            lambda event: event.phase == 'proxy')
    assert 'could not connect to the proxy {}'.format(proxies['http']) in event.reason
    assert 'TLS with 127.0.0.1 failed' in event.reason
    assert isinstance(event.cause, socket.error)


@pytest.mark.skipif(hasattr(ssl, 'MemoryBIO'), reason='this Python has TLS within TLS')
def test_wss_through_an_https_proxy_fails_in_words_where_there_is_no_way(server_tls, secure_way):
    with RawServer(greet, server_tls) as server, secure_way.proxy() as proxy:
        event, _took = fail(secure_way.connect(server.url, proxy))
    assert event.phase == 'tls'
    assert 'TLS within TLS' in event.reason


def test_trace_tells_of_both_tls_and_the_proxy(secure_way):
    stages = []
    with RawServer(greet) as server, secure_way.proxy() as proxy:
        live(secure_way.connect(
            server.url, proxy, trace=lambda record: stages.append(record['stage'])))
    assert stages == [
        'resolve', 'connect', 'tls', 'proxy', 'request', 'handshake', 'disconnected']


# -- credentials --

def test_credentials_are_percent_decoded():
    with RawServer(greet) as server:
        with ProxyServer(credentials=(b'us@er', b'p:a/ss')) as proxy:
            url = u'http://us%40er:p%3Aa%2Fss@127.0.0.1:{}'.format(proxy.port)
            events = live(WebSocket(server.url, proxies={'http': url}))
            assert names(events) == FULL_LIFE
            assert events[1].proxy == proxy.url     # without them


@pytest.mark.parametrize('userinfo, words', [
    (u'', 'requires a user and a password'), (u'user:wrong@', 'refused the user or the password'),
    (u'user@', 'refused the user or the password'),
])
def test_wrong_credentials_are_a_connect_fail_with_the_proxys_answer(userinfo, words):
    with ProxyServer(credentials=(b'user', b'secret')) as proxy:
        url = u'http://{}127.0.0.1:{}'.format(userinfo, proxy.port)
        event, _took = fail(WebSocket(u'ws://127.0.0.1:1/', proxies={'http': url}))
    assert event.phase == 'proxy'
    assert words in event.reason
    assert event.response.status_code == 407
    assert event.response.get('Proxy-Authenticate') == 'Basic realm="test"'


@pytest.mark.parametrize('password', [
    u'SECRET/tail', u'SECRET#tail', u'SECRET?tail', u'SEC@RET', u'a/b?c#d@e:f', u'a://b'])
@pytest.mark.parametrize('is_in_environment', [True, False])
def test_password_with_delimiters_works_and_is_shown_by_nothing(
        monkeypatch, caplog, password, is_in_environment):
    caplog.set_level(logging.DEBUG, 'lomond')
    with RawServer(greet) as server:
        with ProxyServer(credentials=(b'me', password.encode('ascii'))) as proxy:
            url = u'http://me:{}@127.0.0.1:{}'.format(password, proxy.port)
            if is_in_environment:
                monkeypatch.setenv('HTTP_PROXY', str(url))
            events = live(WebSocket(
                server.url, proxies=None if is_in_environment else {'all': url}, trace=True))
            assert names(events) == FULL_LIFE
            assert events[1].proxy == proxy.url
    assert caplog.records
    assert password not in repr(events) + caplog.text


@pytest.mark.parametrize('name', ['ALL_PROXY', 'all_proxy', 'WS_PROXY'])
def test_proxy_of_the_environment_by_another_name_is_used(monkeypatch, name):
    with RawServer(greet) as server, ProxyServer() as proxy:
        monkeypatch.setenv(name, str(proxy.url))
        assert live(WebSocket(server.url))[1].proxy == proxy.url
        monkeypatch.setenv('NO_PROXY', 'localhost 127.0.0.1.')
        assert live(WebSocket(server.url))[1].proxy is None


@pytest.mark.parametrize('keys', [('ws',), ('all',), ('http', 'wss')])
def test_proxy_under_any_key_that_fits_is_used(keys):
    with RawServer(greet) as server, ProxyServer() as proxy:
        assert live(WebSocket(
            server.url, proxies=dict.fromkeys(keys, proxy.url)))[1].proxy == proxy.url


# -- bad manners --

def test_answer_that_drips_is_an_answer(way):
    with RawServer(greet) as server, way.proxy(manners=proxy_server.drip) as proxy:
        assert names(live(way.connect(server.url, proxy))) == FULL_LIFE


@pytest.mark.parametrize('manners, words', [
    (proxy_server.drip_for_ever, 'in time'),
    (proxy_server.stay_silent, 'in time'),
    (proxy_server.send_endless_head, 'too long'),
    (proxy_server.close_at_once, 'the proxy'),
    (proxy_server.close_half_way, 'the proxy'),
    (proxy_server.end_tls, 'closed the connection'),
    (proxy_server.reset, 'proxy'),
    (proxy_server.answer(b'SSH-2.0-OpenSSH_9.6\r\n\r\n'), 'does not speak HTTP'),
    (proxy_server.answer(b'\x15\x03\x01\x00\x02\x02\x16\r\n\r\n'), 'does not speak HTTP'),
    (proxy_server.answer(b'HTTP/1.1 407 Proxy Authentication Required\r\n\r\n'), '407'),
    (proxy_server.answer(b'HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nbad'), '502'),
], ids=[
    'drip for ever', 'silent', 'endless head', 'close', 'close half way', 'end', 'reset',
    'garbage', 'TLS alert', '407', '502'])
def test_bad_manners_are_a_connect_fail_within_the_deadline(way, manners, words):
    with way.proxy(manners=manners) as proxy:
        attempts = []

        def make_websocket(timeout):
            attempts.append(timeout)
            return way.connect(u'ws://far.invalid/', proxy, connect_timeout=timeout)

        event = fail_with(words, make_websocket)
    assert event.phase == 'proxy'
    assert words in event.reason
    assert proxy.connections == len(attempts)


def test_proxy_that_cannot_reach_the_target_is_a_connect_fail(dead_port):
    with ProxyServer() as proxy:
        url = u'ws://127.0.0.1:{}/'.format(dead_port)
        event, _took = fail(WebSocket(url, proxies=proxy.proxies))
    assert event.phase == 'proxy'
    assert '502 Bad Gateway' in event.reason
    assert event.response.status_code == 502


# -- proxies that can't be reached --

@pytest.mark.parametrize('scheme', [u'http', u'https', u'socks5', u'socks4a'])
@pytest.mark.parametrize('url', [u'ws://far.invalid/', u'wss://far.invalid/'])
def test_proxy_that_is_down_is_a_connect_fail_that_says_so(dead_port, scheme, url):
    if scheme.startswith(u'socks'):
        pytest.importorskip('python_socks')
    proxy = u'{}://127.0.0.1:{}'.format(scheme, dead_port)
    event, _took = fail(WebSocket(url, proxies={'all': proxy.replace(u'//', u'//me:pw@')
                                                if scheme != u'socks4a' else proxy}))
    assert event.phase == 'proxy'
    assert event.reason.startswith(u'could not connect to the proxy {} (127.0.0.1: '.format(proxy))
    assert isinstance(event.cause, socket.error)
    assert [where for where, _outcome in event.tried] == [u'127.0.0.1']


def test_proxy_of_which_no_address_answers_says_what_became_of_each(dead_port):
    def resolver(_host, port, *_rest):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, '', (address, port))
                for address in ('127.0.0.1', '127.0.0.2')]

    proxy = u'http://proxy.invalid:{}'.format(dead_port)
    event, _took = fail(WebSocket(
        u'ws://far.invalid/', proxies={'http': proxy}, resolver=resolver))
    assert event.phase == 'proxy'
    assert event.reason.startswith(u'could not connect to the proxy {} ('.format(proxy))
    assert [where for where, _outcome in event.tried] == [u'127.0.0.1', u'127.0.0.2']
    for where, outcome in event.tried:
        assert u'{}: {}'.format(where, outcome) in event.reason


def test_proxy_whose_name_leads_nowhere_is_a_connect_fail_that_says_so():
    def resolver(*_args):
        raise error

    error = socket.gaierror(socket.EAI_NONAME, 'nobody knows it')
    event, _took = fail(WebSocket(
        u'ws://far.invalid/', proxies={'http': 'http://me:pw@proxy.invalid'}, resolver=resolver))
    assert event.phase == 'proxy'
    assert event.reason == (
        u'could not connect to the proxy http://proxy.invalid:80 '
        u'(could not find proxy.invalid: nobody knows it)')
    assert event.cause is error
    assert event.tried == ()


def test_proxy_that_takes_no_connection_fails_at_the_deadline(full_listener):
    proxies = {'http': u'http://{}:{}'.format(*full_listener)}
    event, took = fail(WebSocket(u'ws://far.invalid/', proxies=proxies, connect_timeout=0.3))
    assert event.phase == 'proxy'
    assert event.reason.startswith(u'could not connect to the proxy {} ('.format(proxies['http']))
    assert isinstance(event.cause, socket.timeout)
    assert took < PATIENCE / 4


def test_server_that_is_down_is_not_blamed_on_a_proxy(dead_port):
    event, _took = fail(WebSocket(
        u'ws://127.0.0.1:{}/'.format(dead_port), proxies={'https': 'http://127.0.0.1:1'}))
    assert event.phase == 'connect'
    assert 'proxy' not in event.reason


def test_bytes_that_follow_the_answer_in_one_packet_are_the_servers(way):
    """Here a server that speaks at once: a rejection."""
    rejection = b'HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno'
    with way.proxy(manners=proxy_server.answer(OK + rejection)) as proxy:
        events = list(way.connect(u'ws://far.invalid/', proxy))
    assert names(events) == ['connecting', 'connected', 'rejected', 'disconnected']
    assert events[2].response.status_code == 403
    assert events[2].response.body == b'no'


def test_bytes_that_follow_the_answer_to_a_wss_are_refused():
    """In TLS the client speaks first: the server isn't who sent them."""
    garbage = b'HTTP/1.1 400 Bad Request\r\n\r\n'
    with ProxyServer(manners=proxy_server.answer(OK + garbage)) as proxy:
        event, _took = fail(WebSocket(u'wss://far.invalid/', proxies=proxy.proxies))
    assert event.phase == 'proxy'
    assert 'more than its answer' in event.reason


def test_garbage_in_the_tunnel_fails_tls_inside():
    def send_garbage(sock):
        sock.sendall(OK)
        sock.recv(1)
        sock.sendall(b'HTTP/1.1 400 Bad Request\r\n\r\n')

    with ProxyServer(manners=send_garbage) as proxy:
        event, _took = fail(WebSocket(u'wss://far.invalid/', proxies=proxy.proxies))
    assert event.phase == 'tls'


def test_tunnel_that_never_answers_tls_ends_at_the_deadline():
    with ProxyServer(manners=proxy_server.answer(OK)) as proxy:
        event = stall(
            lambda timeout: WebSocket(
                u'wss://far.invalid/', proxies=proxy.proxies, connect_timeout=timeout),
            lambda event: event.phase == 'tls')
    assert 'timed out' in event.reason


@pytest.mark.parametrize('end', [WebSocket.close, WebSocket.force_disconnect])
def test_wait_for_a_proxy_can_be_ended(way, end):
    def tell(sock):
        end(websocket)
        proxy_server.stay_silent(sock)
    with way.proxy(manners=tell) as proxy:
        websocket = way.connect(u'ws://far.invalid/', proxy)
        _event, took = fail(websocket)
    assert took < PATIENCE / 2


def test_dialling_that_is_given_up_closes_the_connection_to_the_proxy(way):
    def wait_silently(sock):
        asked.set()
        proxy_server.stay_silent(sock)      # until the connection is closed

    asked = threading.Event()
    with way.proxy(manners=wait_silently) as proxy:
        websocket = way.connect(u'ws://far.invalid/', proxy)
        steps = websocket.dialer.dial(
            websocket.target, websocket.net_options, monotonic() + PATIENCE,
            Progress())
        while not asked.is_set():
            wait(next(steps).interest, 0.05)
        steps.close()


# -- SOCKS --

@pytest.fixture
def needs_socks():
    pytest.importorskip('python_socks')


@pytest.mark.parametrize('scheme', [u'socks4', u'socks4a'])
def test_socks4_leaves_the_name_to_the_proxy(needs_socks, scheme):
    with RawServer(greet) as server:
        with Socks4aServer({b'far.invalid': ('127.0.0.1', server.port)}) as proxy:
            url = u'{}://me@127.0.0.1:{}'.format(scheme, proxy.port)
            events = live(WebSocket(u'ws://far.invalid/', proxies={'http': url}))
    assert names(events) == FULL_LIFE
    assert events[1].proxy == url.replace(u'me@', u'')
    assert proxy.requests == [(b'far.invalid', 80, b'me')]


def test_wss_goes_through_socks_with_tls_inside(needs_socks, server_tls, authority_file):
    with RawServer(greet, server_tls) as server:
        with Socks4aServer({b'localhost': ('127.0.0.1', server.port)}) as proxy:
            url = u'socks4a://127.0.0.1:{}'.format(proxy.port)
            events = live(WebSocket(
                u'wss://localhost/', proxies={'https': url}, ssl_cafile=authority_file))
    assert names(events) == FULL_LIFE


def test_socks_proxy_is_reached_as_a_server_is(needs_socks):
    """Its name by the caller's resolver, its socket with the caller's options."""
    def resolver(host, port, *_rest):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, '', ('127.0.0.1', port))]

    asked = []
    stages = []
    with RawServer(greet) as server:
        with Socks4aServer({b'far.invalid': ('127.0.0.1', server.port)}) as proxy:
            url = u'socks4a://proxy.invalid:{}'.format(proxy.port)
            websocket = WebSocket(
                u'ws://far.invalid/', proxies={'http': url}, resolver=resolver,
                socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)],
                trace=lambda record: stages.append(record['stage']))
            received = []
            for event in websocket:
                if event.name == 'text':
                    with socket_at(websocket.session.transport.fileno()) as sock:
                        received.append(sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))
                    websocket.close()
    assert asked == ['proxy.invalid']
    assert received in ([8192], [16384])        # Linux doubles it
    assert stages == ['resolve', 'connect', 'proxy', 'request', 'handshake', 'disconnected']


def socks5(reply):
    """Make a script of a SOCKS5 proxy: it takes anyone, and answers each request by this."""
    def script(sock):
        read_exactly(sock, 3)
        sock.sendall(b'\x05\x00')
        read_exactly(sock, 5)       # of the request
        reply(sock)
    return script


def end_with(data):
    """Make a script that sends these bytes, and no more."""
    def end(sock):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        proxy_server.stay_silent(sock)
    return end


def drip_domain(sock):
    """Send a reply with a domain of 255 bytes, one now and then."""
    never = threading.Event()
    sock.sendall(b'\x05\x00\x00\x03\xff')
    while not never.wait(0.01):
        sock.sendall(b'.')


@pytest.mark.parametrize('script, words', [
    (proxy_server.stay_silent, 'in time'),
    (end_with(b''), 'closed the connection'),
    (lambda sock: sock.recv(3) and proxy_server.reset(sock), 'the proxy'),
    (proxy_server.answer(b'HTTP/1.1 400 Bad Request\r\n\r\n'), 'SOCKS failed'),
    (proxy_server.answer(b'\x05\xff'), 'SOCKS failed'),
    (proxy_server.send_endless_head, 'SOCKS failed'),
    (socks5(proxy_server.stay_silent), 'in time'),
    (socks5(drip_domain), 'in time'),
    (socks5(end_with(b'\x05\x00\x00')), 'closed the connection'),
    (socks5(proxy_server.answer(b'\x05\x05\x00\x01' + b'\0' * 6)), 'refused'),
    (socks5(proxy_server.answer(b'\x05\x00\x00\x03\x01\xff\0\0')), 'SOCKS failed'),
], ids=['silent', 'close', 'reset', 'HTTP', 'no method', 'endless', 'silent later', 'drip',
        'close later', 'refused', 'not UTF-8'])
def test_bad_manners_of_socks_are_a_connect_fail_within_the_deadline(needs_socks, script, words):
    with RawServer(script) as proxy:
        url = u'socks5://127.0.0.1:{}'.format(proxy.port)
        event = fail_with(words, lambda timeout: WebSocket(
            u'ws://far.invalid/', proxies={'http': url}, connect_timeout=timeout))
    assert event.phase == 'proxy'
    assert words in event.reason
    assert event.response is None


def test_socks_proxy_of_the_environment_without_python_socks_is_a_connect_fail(monkeypatch):
    monkeypatch.setitem(sys.modules, 'python_socks', None)
    monkeypatch.setitem(sys.modules, 'python_socks.sync.v2', None)
    monkeypatch.setenv('HTTP_PROXY', 'socks5://127.0.0.1')
    event, _took = fail(WebSocket(u'ws://far.invalid/'))
    assert event.phase == 'proxy'
    assert 'pip install lomond[socks]' in event.reason
    assert isinstance(event.cause, ValueError)
