"""Connections through a real HTTP proxy: tunnels, credentials, and proxies with bad manners."""

from __future__ import absolute_import, division, print_function

import socket

import pytest

from lomond._compat import monotonic
from lomond.websocket import WebSocket

from ..support import PATIENCE, RawServer, answer_upgrade, get_header, make_frame, names, read_frame
from . import proxy_server
from .proxy_server import OK, ProxyServer

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

GREETING = make_frame(1, b'hello')

#: The events of a connection on which the server says hello, and both close.
FULL_LIFE = ['connecting', 'connected', 'ready', 'text', 'closed', 'disconnected']


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


# -- tunnels --

def test_ws_goes_through_the_proxy_by_connect():
    with RawServer(greet) as server, ProxyServer() as proxy:
        events = live(WebSocket(server.url + u'path', proxies=proxy.proxies))
        assert names(events) == FULL_LIFE
        assert events[1].proxy == proxy.url
        assert events[-1].graceful
    authority = '127.0.0.1:{}'.format(server.port).encode('ascii')
    assert proxy.requests[0].startswith(b'CONNECT ' + authority + b' HTTP/1.1\r\n')
    assert get_header(proxy.requests[0], b'Host') == authority
    # The server gets a request of the usual form: it isn't the proxy's business.
    assert greet.request.startswith(b'GET /path HTTP/1.1\r\n')
    assert get_header(greet.request, b'Proxy-Authorization') is None


def test_wss_goes_through_an_http_proxy_with_tls_inside(server_tls, authority_file):
    with RawServer(greet, server_tls) as server, ProxyServer() as proxy:
        url = u'wss://localhost:{}/'.format(server.port)
        websocket = WebSocket(url, proxies=proxy.proxies, ssl_cafile=authority_file)
        events = live(websocket)
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


def test_certificate_is_checked_for_the_target_not_the_proxy(server_tls, authority_file):
    with RawServer(greet, server_tls) as server:
        route = {b'far.invalid:443': ('127.0.0.1', server.port)}
        with ProxyServer(route=route) as proxy:
            websocket = WebSocket(
                u'wss://far.invalid/', proxies=proxy.proxies, ssl_cafile=authority_file)
            event, _took = fail(websocket)
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


def test_tls_to_the_proxy_is_refused_in_words():
    with ProxyServer(manners=proxy_server.close_at_once) as proxy:
        url = proxy.url.replace(u'http:', u'https:')
        event, _took = fail(WebSocket(u'wss://127.0.0.1/', proxies={'https': url}))
    assert event.phase == 'proxy'
    assert 'not supported' in event.reason


# -- credentials --

def test_credentials_are_percent_decoded():
    with RawServer(greet) as server:
        with ProxyServer(credentials=(b'us@er', b'p:a/ss')) as proxy:
            url = u'http://us%40er:p%3Aa%2Fss@127.0.0.1:{}'.format(proxy.port)
            events = live(WebSocket(server.url, proxies={'http': url}))
            assert names(events) == FULL_LIFE
            assert events[1].proxy == proxy.url     # without them


@pytest.mark.parametrize('userinfo', [u'', u'user:wrong@', u'user@'])
def test_wrong_credentials_are_a_connect_fail(userinfo):
    with ProxyServer(credentials=(b'user', b'secret')) as proxy:
        url = u'http://{}127.0.0.1:{}'.format(userinfo, proxy.port)
        event, _took = fail(WebSocket(u'ws://127.0.0.1:1/', proxies={'http': url}))
    assert event.phase == 'proxy'
    assert '407' in event.reason


# -- bad manners --

def test_answer_that_drips_is_an_answer():
    with RawServer(greet) as server, ProxyServer(manners=proxy_server.drip) as proxy:
        assert names(live(WebSocket(server.url, proxies=proxy.proxies))) == FULL_LIFE


@pytest.mark.parametrize('manners, words', [
    (proxy_server.drip_for_ever, 'in time'),
    (proxy_server.stay_silent, 'in time'),
    (proxy_server.send_endless_head, 'too long'),
    (proxy_server.close_at_once, 'closed the connection'),
    (proxy_server.close_half_way, 'closed the connection'),
    (proxy_server.reset, 'proxy'),
    (proxy_server.answer(b'SSH-2.0-OpenSSH_9.6\r\n\r\n'), 'does not speak HTTP'),
    (proxy_server.answer(b'\x15\x03\x01\x00\x02\x02\x16\r\n\r\n'), 'does not speak HTTP'),
    (proxy_server.answer(b'HTTP/1.1 407 Proxy Authentication Required\r\n\r\n'), '407'),
    (proxy_server.answer(b'HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nbad'), '502'),
], ids=[
    'drip for ever', 'silent', 'endless head', 'close', 'close half way', 'reset', 'garbage',
    'TLS alert', '407', '502'])
def test_bad_manners_are_a_connect_fail_within_the_deadline(manners, words):
    with ProxyServer(manners=manners) as proxy:
        websocket = WebSocket(u'ws://far.invalid/', proxies=proxy.proxies, connect_timeout=0.3)
        event, took = fail(websocket)
    assert event.phase == 'proxy'
    assert words in event.reason
    assert took < PATIENCE / 4
    assert proxy.connections == 1


def test_proxy_that_cannot_reach_the_target_is_a_connect_fail(dead_port):
    with ProxyServer() as proxy:
        url = u'ws://127.0.0.1:{}/'.format(dead_port)
        event, _took = fail(WebSocket(url, proxies=proxy.proxies))
    assert event.phase == 'proxy'
    assert '502 Bad Gateway' in event.reason


def test_proxy_that_is_not_there_is_a_connect_fail(dead_port):
    proxies = {'http': u'http://127.0.0.1:{}'.format(dead_port)}
    event, _took = fail(WebSocket(u'ws://far.invalid/', proxies=proxies))
    assert event.phase == 'connect'
    assert isinstance(event.cause, socket.error)


def test_bytes_that_follow_the_answer_in_one_packet_are_the_servers():
    """Here a server that speaks at once: a rejection."""
    rejection = b'HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno'
    with ProxyServer(manners=proxy_server.answer(OK + rejection)) as proxy:
        events = list(WebSocket(u'ws://far.invalid/', proxies=proxy.proxies))
    assert names(events) == ['connecting', 'connected', 'rejected', 'disconnected']
    assert events[2].response.status_code == 403
    assert events[2].response.body == b'no'


def test_garbage_after_the_answer_fails_tls_inside():
    garbage = b'HTTP/1.1 400 Bad Request\r\n\r\n'
    with ProxyServer(manners=proxy_server.answer(OK + garbage)) as proxy:
        event, _took = fail(WebSocket(u'wss://far.invalid/', proxies=proxy.proxies))
    assert event.phase == 'tls'


def test_tunnel_that_never_answers_tls_ends_at_the_deadline():
    with ProxyServer(manners=proxy_server.answer(OK)) as proxy:
        websocket = WebSocket(u'wss://far.invalid/', proxies=proxy.proxies, connect_timeout=0.3)
        event, took = fail(websocket)
    assert event.phase == 'tls'
    assert 'timed out' in event.reason
    assert took < PATIENCE / 4


def test_close_ends_the_wait_for_a_proxy():
    def tell(sock):
        websocket.close()
        proxy_server.stay_silent(sock)
    with ProxyServer(manners=tell) as proxy:
        websocket = WebSocket(u'ws://far.invalid/', proxies=proxy.proxies)
        _event, took = fail(websocket)
    assert took < PATIENCE / 4


def test_abandoned_loop_closes_the_connection_to_the_proxy():
    with ProxyServer(manners=proxy_server.stay_silent) as proxy:
        events = WebSocket(u'ws://far.invalid/', proxies=proxy.proxies).connect()
        assert next(events).name == 'connecting'
        events.close()
