# -*- coding: utf-8 -*-
"""lomond.net.proxy: which proxy is used, NO_PROXY, and the CONNECT exchange step by step."""

from __future__ import absolute_import, division, print_function

import base64
import os
import sys

import pytest
from six.moves.urllib.request import getproxies

from lomond.http.url import parse_proxy_url, parse_url
from lomond.net.proxy.settings import find_proxy, is_exempt, parse_proxies
from lomond.net.proxy.tunnel import connect_request
from lomond.websocket import WebSocket

from ..support import get_header

WS = parse_url(u'ws://example.org/')
WSS = parse_url(u'wss://example.org/')
PROXY = parse_proxy_url(u'http://proxy:3128')
PROXY_WITH_PASSWORD = parse_proxy_url(u'http://user:secret@proxy:3128')


def url_of(proxy):
    return None if proxy is None else proxy.url


# -- the environment --

@pytest.mark.parametrize('environ, ws, wss', [
    ({}, None, None),
    ({'HTTP_PROXY': 'http://a:1'}, u'http://a:1', None),
    ({'http_proxy': 'http://a:1'}, u'http://a:1', None),
    ({'HTTPS_PROXY': 'http://b:2'}, None, u'http://b:2'),
    ({'https_proxy': 'http://b:2'}, None, u'http://b:2'),
    ({'HTTP_PROXY': 'http://a:1', 'HTTPS_PROXY': 'http://b:2'}, u'http://a:1', u'http://b:2'),
    ({'http_proxy': 'http://a:1', 'HTTP_PROXY': 'http://b:2'}, u'http://a:1', None),
    ({'https_proxy': 'http://a:1', 'HTTPS_PROXY': 'http://b:2'}, None, u'http://a:1'),
    ({'http_proxy': '', 'HTTP_PROXY': 'http://b:2'}, None, None),
    ({'HTTP_PROXY': ''}, None, None),
    ({'HTTP_PROXY': 'a:3128'}, u'http://a:3128', None),
    # for both, and asked last
    ({'ALL_PROXY': 'http://a:1'}, u'http://a:1', u'http://a:1'),
    ({'all_proxy': 'http://a:1'}, u'http://a:1', u'http://a:1'),
    ({'all_proxy': 'http://a:1', 'ALL_PROXY': 'http://b:2'}, u'http://a:1', u'http://a:1'),
    ({'all_proxy': 'http://a:1', 'HTTP_PROXY': 'http://b:2'}, u'http://b:2', u'http://a:1'),
    ({'ALL_PROXY': 'http://a:1', 'https_proxy': 'http://b:2'}, u'http://a:1', u'http://b:2'),
    ({'ALL_PROXY': 'http://a:1', 'https_proxy': ''}, u'http://a:1', None),
    ({'all_proxy': '', 'ALL_PROXY': 'http://b:2'}, None, None),
    # for WebSockets alone, and asked first
    ({'WS_PROXY': 'http://a:1', 'http_proxy': 'http://b:2'}, u'http://a:1', None),
    ({'wss_proxy': 'http://a:1', 'HTTPS_PROXY': 'http://b:2'}, None, u'http://a:1'),
    ({'ws_proxy': '', 'HTTP_PROXY': 'http://b:2'}, None, None),
])
def test_proxy_comes_from_the_environment(environ, ws, wss):
    """Lower case first; set but empty is none."""
    assert url_of(find_proxy(WS, None, environ)) == ws
    assert url_of(find_proxy(WSS, None, environ)) == wss


def test_own_environment_is_asked_by_default(monkeypatch):
    for name in ('http_proxy', 'ws_proxy', 'WS_PROXY', 'no_proxy', 'NO_PROXY', 'REQUEST_METHOD'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('HTTP_PROXY', 'http://a:1')
    assert url_of(find_proxy(WS, None)) == u'http://a:1'


def test_proxy_header_of_a_cgi_request_is_no_proxy():
    """CVE-2016-5385 and its kin ("httpoxy")."""
    environ = {'HTTP_PROXY': 'http://evil:1', 'REQUEST_METHOD': 'GET'}
    assert find_proxy(WS, None, environ) is None
    environ['http_proxy'] = 'http://good:1'
    assert url_of(find_proxy(WS, None, environ)) == u'http://good:1'
    assert url_of(find_proxy(WS, None, dict(
        environ, http_proxy='', ALL_PROXY='http://evil:1'))) is None
    assert url_of(find_proxy(WS, None, {
        'HTTP_PROXY': 'http://evil:1', 'REQUEST_METHOD': 'GET', 'ALL_PROXY': 'http://good:3',
    })) == u'http://good:3'     # no header makes that
    environ['HTTPS_PROXY'] = 'http://good:2'
    assert url_of(find_proxy(WSS, None, environ)) == u'http://good:2'


class WindowsEnvironment(dict):
    """Variables by names of which the case makes no difference."""

    def __contains__(self, name):
        return dict.__contains__(self, name.upper())

    def __getitem__(self, name):
        return dict.__getitem__(self, name.upper())


def test_proxy_header_of_a_cgi_request_on_windows_is_no_proxy():
    environ = WindowsEnvironment(HTTP_PROXY='http://evil:1')
    assert url_of(find_proxy(WS, None, environ)) == u'http://evil:1'
    environ['REQUEST_METHOD'] = 'GET'
    assert find_proxy(WS, None, environ) is None
    environ['ALL_PROXY'] = 'http://good:2'
    assert url_of(find_proxy(WS, None, environ)) == u'http://good:2'
    environ['WS_PROXY'] = 'http://good:3'
    assert url_of(find_proxy(WS, None, environ)) == u'http://good:3'


@pytest.mark.parametrize('name', ['HTTP_PROXY', 'http_proxy', 'ALL_PROXY'])
@pytest.mark.parametrize('proxy', ['http://a:port', 'ftp://a', 'http://', 'http://me:secret@a b'])
def test_proxy_of_the_environment_that_makes_no_sense_raises_value_error(name, proxy):
    with pytest.raises(ValueError) as caught:
        find_proxy(WS, None, {name: proxy})
    assert str(caught.value).startswith(name + ': ')
    assert 'secret' not in repr(caught.value)


@pytest.mark.parametrize('name', ['NO_PROXY', 'no_proxy'])
@pytest.mark.parametrize('proxy', ['HTTP_PROXY', 'all_proxy'])
def test_no_proxy_is_honoured(name, proxy):
    environ = {proxy: 'http://a:1', name: 'localhost,example.org'}
    assert find_proxy(WS, None, environ) is None
    assert url_of(find_proxy(parse_url(u'ws://example.com/'), None, environ)) == u'http://a:1'


def test_lower_case_no_proxy_goes_first():
    environ = {'HTTP_PROXY': 'http://a:1', 'no_proxy': '', 'NO_PROXY': 'example.org'}
    assert url_of(find_proxy(WS, None, environ)) == u'http://a:1'


# -- the proxies argument --

@pytest.mark.parametrize('proxies, ws, wss', [
    ({}, None, None),
    ({'http': 'http://a:1'}, u'http://a:1', None),
    ({'https': 'http://b:2'}, None, u'http://b:2'),
    ({'http': 'http://a:1', 'https': 'http://b:2'}, u'http://a:1', u'http://b:2'),
    ({'http': None, 'https': ''}, None, None),
    ({u'http': u'http://a:1'}, u'http://a:1', None),
    ({'ws': 'http://a:1'}, u'http://a:1', None),
    ({'wss': 'http://a:1'}, None, u'http://a:1'),
    ({u'all': 'http://a:1'}, u'http://a:1', u'http://a:1'),
    ({'ws': 'http://a:1', 'http': 'http://b:2'}, u'http://a:1', None),
    ({'wss': 'http://a:1', 'https': 'http://b:2'}, None, u'http://a:1'),
    ({'http': 'http://a:1', 'all': 'http://b:2'}, u'http://a:1', u'http://b:2'),
    ({'https': 'http://a:1', 'all': 'http://b:2'}, u'http://b:2', u'http://a:1'),
    ({'wss': 'http://a:1', 'all': 'http://b:2'}, u'http://b:2', u'http://a:1'),
    ({'ws': None, 'http': 'http://b:2', 'all': 'http://c:3'}, None, u'http://c:3'),
    ({'https': '', 'all': 'http://c:3'}, u'http://c:3', None),
    ({'all': None}, None, None),
])
def test_proxies_argument_takes_the_place_of_the_environment(proxies, ws, wss):
    environ = {'HTTP_PROXY': 'http://env:1', 'HTTPS_PROXY': 'http://env:2'}
    parsed = parse_proxies(proxies)
    assert url_of(find_proxy(WS, parsed, environ)) == ws
    assert url_of(find_proxy(WSS, parsed, environ)) == wss


def test_named_proxy_is_used_whatever_no_proxy_says():
    parsed = parse_proxies({'http': 'http://a:1'})
    assert url_of(find_proxy(WS, parsed, {'NO_PROXY': '*'})) == u'http://a:1'


def test_no_proxies_argument_asks_the_environment():
    assert parse_proxies(None) is None
    assert url_of(find_proxy(WS, None, {'HTTP_PROXY': 'http://a:1'})) == u'http://a:1'


@pytest.mark.parametrize('proxies', [
    {'http': 'http://'}, {'http': 'ftp://a:1'}, {'https': 'http://a:99999'},
    {'http': 'http://a\r\nb'}, {'all': 'http://'}, {'ws': 'ws://a'}, {'wss': 'http://a b'},
])
def test_proxies_argument_that_makes_no_sense_raises_value_error(proxies):
    with pytest.raises(ValueError) as caught:
        WebSocket(u'ws://example.org/', proxies=proxies)
    assert str(caught.value).startswith('proxies[\'{}\']: '.format(list(proxies)[0]))


@pytest.mark.parametrize('proxies', [
    'http://me:secret@a:1', u'http://me:secret@a:1', ['http://me:secret@a:1'],
    {'http://me:secret@a:1'}, {'http': 1}, {'http': ['http://me:secret@a:1']},
    {'http': 'http://a', 'no': ['example.org']}])
def test_proxies_of_another_type_raise_type_error(proxies):
    with pytest.raises(TypeError) as caught:
        WebSocket(u'ws://example.org/', proxies=proxies)
    assert 'secret' not in repr(caught.value)


@pytest.mark.parametrize('proxies', [
    {'Authorization': 'Basic secret'},              # headers in their place
    {'User-Agent': 'me', 'http': 'http://a:1'}, {'host': 'example.org'}, {'cookie': 'a=secret'},
    {'HTTP': 'http://a:1'}, {'Https': 'http://a:1'}, {'http_proxy': 'http://a:1'},
    {'https://': 'http://a:1'}, {'http://example.org': 'http://a:1'}, {'': 'http://a:1'},
    {'http://me:secret@a:1': 'http'}, {'me:secret@a:1': 'http'}, {'url': 'http://me:secret@a:1'},
    {'*': 'http://a:1'}, {'no_proxy': '*'}, {'ws+unix': 'http://a:1'}, {'socks5': 'socks5://a'},
    {u'\xe9': 'http://a:1'}, {1: 'http://a:1'}, {None: 'http://a:1'}, {b'\xff': 'http://a:1'},
])
def test_key_of_proxies_that_means_nothing_raises_value_error(proxies):
    """Else it would connect directly, past the proxy that was asked for."""
    with pytest.raises(ValueError) as caught:
        WebSocket(u'ws://example.org/', proxies=proxies)
    assert 'keys of proxies' in str(caught.value)
    assert 'secret' not in repr(caught.value)


@pytest.mark.parametrize('proxies, is_refused', [
    ({'socks': 'socks5://a'}, True),
    ({'socks': 'socks5://a', 'http': 'http://a:1'}, True),
    ({'socks': 'socks5://a', 'http': 'http://a:1', 'https': 'http://a:1'}, False),
    ({'socks': 'socks5://a', 'all': 'http://a:1'}, False),
])
def test_socks_is_refused_where_it_would_be_passed_by(proxies, is_refused):
    """On Windows getproxies() has it beside what it led to for http and https."""
    if is_refused:
        with pytest.raises(ValueError) as caught:
            parse_proxies(proxies)
        assert "'all'" in str(caught.value)
    else:
        assert 'socks' not in parse_proxies(proxies)


def test_no_of_proxies_is_as_no_proxy():
    proxies = parse_proxies({'no': 'example.org', 'http': 'http://a:1'})
    assert find_proxy(WS, proxies, {}) is None
    assert url_of(find_proxy(parse_url(u'ws://example.com/'), proxies, {})) == u'http://a:1'
    for nothing in (None, '', u''):
        proxies = parse_proxies({'no': nothing, 'http': 'http://a:1'})
        assert url_of(find_proxy(WS, proxies, {})) == u'http://a:1'


def test_what_getproxies_has_besides_is_left_out():
    """For other protocols, in the system's settings."""
    proxies = parse_proxies({'ftp': 'ftp://a', 'gopher': 'x', 'rsync': 'y', 'http': 'http://a:1'})
    assert list(proxies) == ['http']


def test_what_getproxies_makes_of_the_environment_is_taken(monkeypatch):
    """Whatever is set: its keys are all that stands in front of _PROXY."""
    for name in list(os.environ):
        if name.lower().endswith('_proxy'):
            monkeypatch.delenv(name)
    variables = {
        'http_proxy': 'http://a:1', 'HTTPS_PROXY': 'http://me:b/c@b:2', 'ALL_PROXY': 'http://c:3',
        'no_proxy': 'localhost, .example.com', 'FTP_PROXY': 'ftp://d', 'grpc_proxy': 'e',
        'npm_config_https_proxy': 'f', 'SOCKS_PROXY': 'socks5://g'}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = getproxies()
    assert {'ftp', 'grpc', 'npm_config_https', 'no', 'socks'} <= set(found)
    proxies = parse_proxies(found)
    for url in (u'ws://example.org/', u'wss://example.org/', u'ws://www.example.com/'):
        target = parse_url(url)
        assert find_proxy(target, proxies) == find_proxy(target, None)


# -- NO_PROXY --

@pytest.mark.parametrize('exceptions, host, port, expected', [
    ('', u'example.org', 80, False),
    (',, ,', u'example.org', 80, False),
    ('*', u'example.org', 80, True),
    ('other,*', u'example.org', 80, True),
    ('example.org', u'example.org', 80, True),
    ('example.org', u'www.example.org', 80, True),
    ('example.org', u'a.b.example.org', 80, True),
    ('example.org', u'badexample.org', 80, False),
    ('example.org', u'example.org.evil', 80, False),
    ('example.org', u'org', 80, False),
    ('.example.org', u'www.example.org', 80, True),
    ('.example.org', u'example.org', 80, True),
    ('*.example.org', u'www.example.org', 80, True),
    ('*.example.org', u'badexample.org', 80, False),
    ('EXAMPLE.org', u'example.org', 80, True),
    (' a.net , example.org ', u'example.org', 80, True),
    ('.', u'example.org', 80, False),
    ('localhost', u'localhost', 80, True),
    ('b\xfccher.example' if str is not bytes else 'b\xc3\xbccher.example',
     u'xn--bcher-kva.example', 80, True),
    # with a port
    ('example.org:80', u'example.org', 80, True),
    ('example.org:80', u'www.example.org', 80, True),
    ('example.org:81', u'example.org', 80, False),
    ('example.org:port', u'example.org', 80, False),
    ('[::1]:80', u'::1', 80, True),
    ('[::1]:81', u'::1', 80, False),
    ('127.0.0.1:80', u'127.0.0.1', 80, True),
    # addresses
    ('127.0.0.1', u'127.0.0.1', 80, True),
    ('127.0.0.1', u'127.0.0.2', 80, False),
    ('::1', u'::1', 80, True),
    ('[::1]', u'::1', 80, True),
    ('0:0:0:0:0:0:0:1', u'::1', 80, True),
    ('[0:0::1]:80', u'::1', 80, True),
    ('::1', u'::2', 80, False),
    # networks
    ('10.0.0.0/8', u'10.1.2.3', 80, True),
    ('10.0.0.0/8', u'11.1.2.3', 80, False),
    ('192.168.1.0/24', u'192.168.1.255', 80, True),
    ('192.168.1.0/24', u'192.168.2.0', 80, False),
    ('192.168.1.77/24', u'192.168.1.1', 80, True),
    ('0.0.0.0/0', u'8.8.8.8', 80, True),
    ('127.0.0.1/32', u'127.0.0.1', 80, True),
    ('127.0.0.1/33', u'127.0.0.1', 80, False),
    ('fe80::/10', u'fe80::1', 80, True),
    ('fe80::/10', u'fec0::1', 80, False),
    ('2001:db8::/32', u'2001:db8:1::1', 80, True),
    ('::/0', u'127.0.0.1', 80, False),
    ('10.0.0.0/8', u'::1', 80, False),
    ('10.0.0.0/8', u'example.org', 80, False),
    ('10.0.0.0/', u'10.0.0.1', 80, False),
    ('10.0.0.0/x', u'10.0.0.1', 80, False),
    # a final dot, on either side
    ('example.org.', u'example.org', 80, True),
    ('example.org', u'example.org.', 80, True),
    ('example.org.', u'example.org.', 80, True),
    ('.example.org.', u'www.example.org', 80, True),
    ('*.example.org.', u'www.example.org.', 80, True),
    ('example.org.:80', u'example.org', 80, True),
    ('example.org.:81', u'example.org.', 80, False),
    ('example.org..', u'example.org', 80, False),
    ('127.0.0.1', u'127.0.0.1.', 80, True),
    ('127.0.0.1.', u'127.0.0.1', 80, True),
    ('org.', u'example.com', 80, False),
    # zones
    ('fe80::1', u'fe80::1%eth0', 80, True),
    ('fe80::1%eth0', u'fe80::1', 80, True),
    ('fe80::1%eth0', u'fe80::1%eth0', 80, True),
    ('FE80::1%ETH0', u'fe80::1%eth0', 80, True),
    ('fe80::1%eth0', u'fe80::1%Eth0', 80, True),
    ('fe80::1%eth1', u'fe80::1%eth0', 80, False),
    ('[fe80::1%eth0]', u'fe80::1%eth0', 80, True),
    ('[fe80::1%25eth0]', u'fe80::1%eth0', 80, True),
    ('fe80::1%25', u'fe80::1%25', 80, True),
    ('[fe80::1%eth0]:80', u'fe80::1%eth0', 80, True),
    ('[fe80::1%eth0]:81', u'fe80::1%eth0', 80, False),
    ('fe80::/10', u'fe80::1%eth0', 80, True),
    ('fe80::%eth0/10', u'fe80::1%eth0', 80, True),
    ('fe80::%eth1/10', u'fe80::1%eth0', 80, False),
    ('fe80::2', u'fe80::1%eth0', 80, False),
    ('example.org%eth0', u'example.org', 80, False),
    # separators
    ('localhost example.org', u'example.org', 80, True),
    ('localhost\texample.org\n', u'example.org', 80, True),
    ('localhost ,  example.org:80\t,a', u'example.org', 80, True),
    ('localhost other *', u'example.org', 80, True),
    ('example com', u'example.org', 80, False),
    ('   ', u'example.org', 80, False),
    # other letters
    ('b\xfccher.example.' if str is not bytes else 'b\xc3\xbccher.example.',
     u'xn--bcher-kva.example', 80, True),
    ('xn--BCHER-kva.example', u'xn--bcher-kva.example.', 80, True),
    ('example\u3002org\u3002' if str is not bytes else 'example\xe3\x80\x82org\xe3\x80\x82',
     u'example.org', 80, True),
    ('example.org', u'EXAMPLE.org', 80, True),
    ('10.0.0.0/-1', u'10.0.0.1', 80, False),
    ('example.org/8', u'example.org', 80, False),
])
def test_exceptions_of_no_proxy(exceptions, host, port, expected):
    assert is_exempt(host, port, exceptions) is expected


# -- the CONNECT request --

@pytest.mark.parametrize('url, authority', [
    (u'ws://example.org/path?q', b'example.org:80'),
    (u'wss://example.org/', b'example.org:443'),
    (u'wss://example.org:8443/', b'example.org:8443'),
    (u'wss://[2001:db8::1]/', b'[2001:db8::1]:443'),
    (u'wss://[fe80::1%25eth0]/', b'[fe80::1]:443'),
    (u'ws://[::1]:9001/', b'[::1]:9001'),
    (u'ws://b\xfccher.example/', b'xn--bcher-kva.example:80'),
])
def test_connect_request_names_the_target(url, authority):
    request = connect_request(parse_url(url), PROXY)
    lines = request.split(b'\r\n')
    assert lines[0] == b'CONNECT ' + authority + b' HTTP/1.1'
    assert get_header(request, b'Host') == authority
    assert get_header(request, b'User-Agent').startswith(b'Lomond/')
    assert get_header(request, b'Proxy-Authorization') is None
    assert request.endswith(b'\r\n\r\n')
    assert request.count(b'\r\n\r\n') == 1


@pytest.mark.parametrize('userinfo, credentials', [
    (u'user:password', b'user:password'),
    (u'us%40er:p%3Aa%2Fss', b'us@er:p:a/ss'),
    (u'user', b'user:'),
    (u'user:p%C3%A4ss', b'user:p\xc3\xa4ss'),
    (u'user:a%0D%0AX-Evil:%20b', b'user:a\r\nX-Evil: b'),
])
def test_proxy_credentials_are_percent_decoded(userinfo, credentials):
    proxy = parse_proxy_url(u'http://{}@proxy:3128'.format(userinfo))
    request = connect_request(WS, proxy)
    scheme, _space, encoded = get_header(request, b'Proxy-Authorization').partition(b' ')
    assert scheme == b'Basic'
    assert base64.b64decode(encoded) == credentials
    assert b'X-Evil' not in request


@pytest.mark.parametrize('find', [
    lambda url: parse_proxies({'ws': url}), lambda url: find_proxy(WS, None, {'ws_proxy': url})])
def test_a_user_of_a_proxy_with_a_colon_is_refused_and_not_shown(find):
    with pytest.raises(ValueError) as caught:
        find('http://me%3Ayou:secret@proxy:3128')
    assert 'must not contain a colon' in str(caught.value)
    assert 'you' not in str(caught.value) and 'secret' not in str(caught.value)


def test_targets_credentials_are_not_told_to_the_proxy():
    request = connect_request(parse_url(u'ws://user:secret@example.org/'), PROXY)
    assert b'uthorization' not in request
    assert b'secret' not in request


def test_all_that_is_never_asked_need_not_be_usable(monkeypatch):
    """As `urllib.request.getproxies` has it where python-socks isn't installed."""
    monkeypatch.setitem(sys.modules, 'python_socks', None)
    monkeypatch.setitem(sys.modules, 'python_socks.sync', None)
    monkeypatch.setitem(sys.modules, 'python_socks.sync.v2', None)
    proxies = {'http': 'http://a:1', 'https': 'http://a:1', 'all': 'socks5://b:1'}
    assert set(parse_proxies(proxies)) == {'http', 'https'}
    del proxies['https']
    with pytest.raises(ValueError, match='python-socks'):
        parse_proxies(proxies)
