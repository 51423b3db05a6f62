"""Through proxies that others wrote: tinyproxy, also behind stunnel; microsocks; Dante."""

from __future__ import absolute_import, division, print_function

import socket
import ssl
from collections import namedtuple

import pytest

from lomond.server import Server
from lomond.websocket import WebSocket

from ..programs import Program, find_program, write_file
from ..support import names
from .driving import stall

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

#: More than all buffers on the way take.
MEBIBYTES = b'\0\xff' * (2 * 1024 * 1024)

TINYPROXY = u"""
Port {port}
Listen 127.0.0.1
MaxClients 20
Timeout 60
LogLevel Warning
{more}
"""

STUNNEL = u"""
foreground = yes
pid =
debug = warning
[proxy]
accept = 127.0.0.1:{port}
connect = 127.0.0.1:{behind}
cert = {cert}
"""

DANTE = u"""
logoutput: stderr
internal: 127.0.0.1 port = {port}
external: 127.0.0.1
clientmethod: none
socksmethod: none
client pass {{ from: 127.0.0.0/8 to: 127.0.0.0/8 }}
socks pass {{ from: 127.0.0.0/8 to: 127.0.0.0/8 }}
"""


# -- the programs --

def tinyproxy(more=u''):
    path = find_program('tinyproxy')

    def make_command(folder, port):
        config = write_file(folder, 'tinyproxy.conf', TINYPROXY.format(port=port, more=more))
        return [path, '-d', '-c', config]
    return Program(make_command)


def stunnel(behind, cert):
    path = find_program('stunnel4')

    def make_command(folder, port):
        config = STUNNEL.format(port=port, behind=behind.port, cert=cert)
        return [path, write_file(folder, 'stunnel.conf', config)]
    return Program(make_command)


def microsocks(*options):
    path = find_program('microsocks')
    return Program(lambda _folder, port: [path, '-i', '127.0.0.1', '-p', str(port)] + list(options))


def dante():
    path = find_program('danted')

    def make_command(folder, port):
        return [path, '-f', write_file(folder, 'danted.conf', DANTE.format(port=port))]
    return Program(make_command)


# They run while this module's tests do, one of each.

@pytest.fixture(scope='module')
def open_http():
    with tinyproxy() as program:
        yield program


@pytest.fixture(scope='module')
def closed_http():
    with tinyproxy(u'BasicAuth user secret') as program:
        yield program


@pytest.fixture(scope='module')
def open_https(open_http, server_pem):
    with stunnel(open_http, server_pem) as program:
        yield program


@pytest.fixture(scope='module')
def closed_https(closed_http, server_pem):
    with stunnel(closed_http, server_pem) as program:
        yield program


@pytest.fixture(scope='module')
def open_socks5():
    pytest.importorskip('python_socks')
    with microsocks() as program:
        yield program


@pytest.fixture(scope='module')
def closed_socks5():
    pytest.importorskip('python_socks')
    with microsocks('-u', 'user', '-P', 'secret') as program:
        yield program


@pytest.fixture(scope='module')
def open_socks():
    """Takes versions 4 and 5."""
    pytest.importorskip('python_socks')
    with dante() as program:
        yield program


Proxy = namedtuple('Proxy', ['fixture', 'scheme', 'needs_password'])

PROXIES = [
    Proxy('open_http', u'http', False),
    Proxy('closed_http', u'http', True),
    Proxy('open_https', u'https', False),
    Proxy('closed_https', u'https', True),
    Proxy('open_socks5', u'socks5', False),
    Proxy('open_socks5', u'socks5h', False),
    Proxy('closed_socks5', u'socks5', True),
    Proxy('open_socks', u'socks5', False),
    # Dante's SOCKS4 isn't 4a: it takes addresses only. test_proxies.py has one that takes names.
    Proxy('open_socks', u'socks4a', False),
    Proxy('open_socks', u'socks4', False),
]

ONE_OF_EACH_KIND = [
    proxy for proxy in PROXIES if proxy.scheme in (u'http', u'socks5') and not proxy.needs_password]


def each(proxies):
    """Have the fixture `proxy_url` give the URL of each of these, with the right password."""
    return pytest.mark.parametrize('proxy_url', proxies, indirect=True, ids=[
        '{}-{}'.format(proxy.fixture, proxy.scheme) for proxy in proxies])


@pytest.fixture
def proxy_url(request):
    proxy = request.param
    return url_of(request.getfixturevalue(proxy.fixture), proxy.scheme,
                  u'user:secret@' if proxy.needs_password else u'')


def url_of(program, scheme, userinfo=u''):
    return u'{}://{}127.0.0.1:{}'.format(scheme, userinfo, program.port)


# -- the server behind them --

def echo(websocket):
    for event in websocket:
        if event.name == 'binary':
            websocket.send_binary(event.data)


@pytest.fixture
def plain_server():
    with Server(echo) as server:
        yield server


@pytest.fixture(params=['ws', 'wss'])
def server(request, server_tls):
    with Server(echo, ssl_context=server_tls if request.param == 'wss' else None) as server:
        yield server


def live(websocket):
    """Send something large, and close when it has come back; return the events."""
    events = []
    for event in websocket:
        events.append(event)
        if event.name == 'ready':
            websocket.send_binary(MEBIBYTES)
        elif event.name == 'binary':
            assert event.data == MEBIBYTES
            websocket.close()
    return events


def check(events):
    """Check that a connection had a full life."""
    assert names(events) == [
        'connecting', 'connected', 'ready', 'binary', 'closed', 'disconnected'], events
    assert events[-1].graceful


def fail(url, proxy_url, **options):
    """Try to connect; return the ConnectFail."""
    events = list(WebSocket(url, proxies={'http': proxy_url}, **options))
    assert names(events) == ['connecting', 'connect_fail'], events
    assert events[-1].phase == 'proxy'
    return events[-1]


# -- through --

@each(PROXIES)
def test_messages_go_through(proxy_url, server, authority_file):
    if proxy_url.startswith(u'https:') and server.url.startswith('wss:') \
            and not hasattr(ssl, 'MemoryBIO'):
        pytest.skip('this Python has no TLS within TLS')
    events = live(WebSocket(
        server.url, proxies={'http': proxy_url, 'https': proxy_url}, ssl_cafile=authority_file))
    check(events)
    assert events[1].proxy == proxy_url.replace(u'user:secret@', u'')


@each(ONE_OF_EACH_KIND)
def test_name_is_left_to_the_proxy_to_look_up(proxy_url, plain_server, monkeypatch):
    def getaddrinfo(host, *args, **kwargs):
        asked.append(host)
        return system_getaddrinfo(host, *args, **kwargs)

    asked = []
    system_getaddrinfo = socket.getaddrinfo
    monkeypatch.setattr(socket, 'getaddrinfo', getaddrinfo)
    # No address to us, but one to any system's resolver; 'localhost' may be ::1.
    url = u'ws://127.1:{}/'.format(plain_server.port)
    check(live(WebSocket(url, proxies={'http': proxy_url})))
    assert '127.1' not in asked
    assert set(asked) <= {'127.0.0.1'}      # the proxy itself


@each(ONE_OF_EACH_KIND)
def test_proxy_of_the_environment_is_used_but_for_no_proxy(proxy_url, plain_server, monkeypatch):
    monkeypatch.setenv('HTTP_PROXY', str(proxy_url))
    events = live(WebSocket(plain_server.url))
    check(events)
    assert events[1].proxy is not None
    monkeypatch.setenv('NO_PROXY', 'example.org, 127.0.0.0/8')
    events = live(WebSocket(plain_server.url))
    check(events)
    assert events[1].proxy is None


# -- not through --

@pytest.mark.parametrize('fixture, scheme', [
    ('closed_http', u'http'), ('closed_https', u'https')])
@pytest.mark.parametrize('userinfo, words', [
    (u'', 'requires a user and a password'),
    (u'user:wrong@', 'refused the user or the password'),
])
def test_http_proxy_that_wants_other_credentials_is_told_apart(
        request, plain_server, authority_file, fixture, scheme, userinfo, words):
    proxy_url = url_of(request.getfixturevalue(fixture), scheme, userinfo)
    event = fail(plain_server.url, proxy_url, ssl_cafile=authority_file)
    assert words in event.reason
    # tinyproxy 1.11 takes 401 for a wrong password.
    assert event.response.status_code in ((401, 407) if userinfo else (407,))


def test_password_with_delimiters_is_the_right_one(plain_server, monkeypatch):
    pytest.importorskip('python_socks')
    with microsocks('-u', 'user', '-P', 's/e?c#r@t') as program:
        proxy_url = url_of(program, u'socks5', u'user:s/e?c#r@t@')
        check(live(WebSocket(plain_server.url, proxies={'all': proxy_url})))
        monkeypatch.setenv('ALL_PROXY', proxy_url)
        check(live(WebSocket(plain_server.url)))
        fail(plain_server.url, url_of(program, u'socks', u'user:s/e?c#r@'))


@pytest.mark.parametrize('userinfo, words', [
    (u'', 'No acceptable authentication method'),
    (u'user:wrong@', 'authentication failure'),
])
def test_socks_proxy_that_wants_other_credentials_is_told_apart_in_words(
        plain_server, closed_socks5, userinfo, words):
    event = fail(plain_server.url, url_of(closed_socks5, u'socks5', userinfo))
    assert words in event.reason
    assert event.response is None
    assert event.cause is not None


@each(ONE_OF_EACH_KIND)
def test_server_that_is_not_there_is_a_connect_fail(proxy_url, dead_port):
    fail(u'ws://127.0.0.1:{}/'.format(dead_port), proxy_url)


@pytest.mark.parametrize('fixture, scheme', [
    ('open_http', u'socks5'), ('open_http', u'socks4a'), ('open_socks5', u'http'),
    ('open_socks5', u'https')])
def test_proxy_of_another_kind_is_a_connect_fail(request, plain_server, fixture, scheme):
    if scheme.startswith(u'socks'):
        pytest.importorskip('python_socks')
    proxy_url = url_of(request.getfixturevalue(fixture), scheme)
    # To an HTTP proxy SOCKS is a request that never ends.
    stall(lambda timeout: WebSocket(
        plain_server.url, proxies={'http': proxy_url}, connect_timeout=timeout),
        lambda event: event.phase == 'proxy')
