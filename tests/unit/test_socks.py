"""lomond.net.proxy.socks: what goes to a SOCKS proxy and comes back; no python-socks."""

from __future__ import absolute_import, division, print_function

import sys

import pytest

from lomond.errors import ConnectFail
from lomond.http.url import parse_proxy_url, parse_url
from lomond.net.proxy.settings import find_proxy, parse_proxies
from lomond.net.proxy.socks import SocksExchange, check_usable
from lomond.websocket import WebSocket

try:
    import python_socks
except ImportError:
    python_socks = None

needs_package = pytest.mark.skipif(python_socks is None, reason='python-socks is not installed')

WS = parse_url(u'ws://example.org/')

#: SOCKS5: no password needed; a reply with an IPv4 address.
NO_PASSWORD = b'\x05\x00'
PASSWORD = b'\x05\x02'
PASSWORD_TAKEN = b'\x01\x00'
DONE = b'\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50'
DONE_4 = b'\x00\x5a\x00\x50\x7f\x00\x00\x01'


def exchange_with(proxy, url=u'ws://example.org/'):
    return SocksExchange(parse_url(url), parse_proxy_url(proxy))


def take_output(exchange):
    output, exchange.output = exchange.output, b''
    return output


# -- URLs --

@pytest.mark.parametrize('url, scheme, port', [
    (u'socks5://proxy', u'socks5', 1080),
    (u'socks5h://proxy:9050', u'socks5h', 9050),
    (u'socks4://proxy', u'socks4', 1080),
    (u'SOCKS4A://proxy', u'socks4a', 1080),
])
def test_socks_url_is_taken_apart(url, scheme, port):
    proxy = parse_proxy_url(url)
    assert (proxy.scheme, proxy.host, proxy.port) == (scheme, u'proxy', port)
    assert proxy.is_socks
    assert not proxy.is_secure


def test_other_proxies_are_no_socks():
    assert not parse_proxy_url(u'http://proxy').is_socks
    assert parse_proxy_url(u'https://proxy').is_secure


def test_socks_without_a_version_is_socks5():
    """GNOME has ALL_PROXY so."""
    proxy = parse_proxy_url(u'socks://proxy')
    assert proxy.is_socks
    assert proxy.port == 1080


@pytest.mark.parametrize('url', [u'sock://proxy', u'socks6://proxy'])
def test_other_versions_are_refused(url):
    with pytest.raises(ValueError):
        parse_proxy_url(url)


# -- usable or not --

@needs_package
@pytest.mark.parametrize('userinfo', [
    u'', u'user:password@', u'us%3Aer:p%40ss%20word@', u'u:' + u'p' * 255 + u'@'])
def test_credentials_that_socks5_can_carry(userinfo):
    check_usable(parse_proxy_url(u'socks5://{}proxy'.format(userinfo)))


@needs_package
@pytest.mark.parametrize('proxy', [
    u'socks5://user@proxy',                 # RFC 1929 2: 1 to 255
    u'socks5://user:@proxy',
    u'socks5://:secret@proxy',
    u'socks5://user:' + u'secret' * 43 + u'@proxy',
    u'socks5://user:secr%C3%A9t@proxy',
    u'socks5://us%C3%A9r:secret@proxy',
    u'socks5://user:secret%00@proxy',
    u'socks4://user:secret@proxy',          # it has no passwords
    u'socks4a://user:secret@proxy',
    u'socks4a://user%00evil.example@proxy',
    u'socks4a://@proxy',
])
def test_credentials_that_socks_cannot_carry_are_refused_without_telling_them(proxy):
    with pytest.raises(ValueError) as caught:
        WebSocket(u'ws://example.org/', proxies={'http': proxy})
    assert 'secr' not in str(caught.value)
    assert 'evil' not in str(caught.value)


@pytest.fixture
def no_package(monkeypatch):
    """python-socks can't be imported, whether it is installed or not."""
    for name in list(sys.modules):
        if name.split('.')[0] == 'python_socks':
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'python_socks', None)


@pytest.mark.parametrize('scheme', [u'socks4', u'socks4a', u'socks5', u'socks5h'])
def test_without_the_package_a_socks_proxy_is_refused_at_the_call(no_package, scheme):
    with pytest.raises(ValueError) as caught:
        WebSocket(u'ws://example.org/', proxies={'http': scheme + u'://proxy'})
    assert 'pip install lomond[socks]' in str(caught.value)


def test_package_for_another_python_is_as_good_as_none(tmpdir, monkeypatch, no_package):
    """Such as one for 3.x that lies on 2.7's path."""
    tmpdir.mkdir('python_socks').join('__init__.py').write('syntax of some other Python\n')
    monkeypatch.delitem(sys.modules, 'python_socks')
    monkeypatch.syspath_prepend(str(tmpdir))
    with pytest.raises(ValueError) as caught:
        parse_proxies({'https': 'socks5://proxy'})
    assert 'pip install lomond[socks]' in str(caught.value)


def test_socks_proxy_of_the_environment_is_refused_when_it_is_needed(no_package):
    environ = {'HTTP_PROXY': 'socks5://proxy', 'NO_PROXY': 'example.net'}
    with pytest.raises(ValueError):
        find_proxy(WS, None, environ)
    assert find_proxy(parse_url(u'ws://example.net/'), None, environ) is None


# -- SOCKS5 (RFC 1928, RFC 1929) --

@needs_package
@pytest.mark.parametrize('scheme', [u'socks5', u'socks5h'])
@pytest.mark.parametrize('url, address', [
    (u'ws://example.org/', b'\x03\x0bexample.org\x00\x50'),
    (u'wss://localhost:8443/', b'\x03\x09localhost\x20\xfb'),
    (u'ws://b\xfccher.example/', b'\x03\x15xn--bcher-kva.example\x00\x50'),
    (u'ws://10.1.2.3/', b'\x01\x0a\x01\x02\x03\x00\x50'),
    (u'ws://[2001:db8::1]/', b'\x04\x20\x01\x0d\xb8' + b'\0' * 11 + b'\x01\x00\x50'),
    (u'ws://[fe80::1%25eth0]/', b'\x04\xfe\x80' + b'\0' * 13 + b'\x01\x00\x50'),
])
def test_socks5_sends_the_name_as_it_is(scheme, url, address):
    exchange = exchange_with(scheme + u'://proxy', url)
    assert take_output(exchange) == b'\x05\x01\x00'
    exchange.receive(NO_PASSWORD)
    assert take_output(exchange) == b'\x05\x01\x00' + address
    assert exchange.rest is None
    exchange.receive(DONE)
    assert take_output(exchange) == b''
    assert exchange.rest == b''


@needs_package
def test_socks5_sends_the_password_if_it_is_asked_for():
    exchange = exchange_with(u'socks5://us%40er:se%3Acret@proxy')
    assert take_output(exchange) == b'\x05\x02\x00\x02'
    exchange.receive(PASSWORD)
    assert take_output(exchange) == b'\x01\x05us@er\x07se:cret'
    exchange.receive(PASSWORD_TAKEN)
    assert take_output(exchange).startswith(b'\x05\x01\x00\x03')
    exchange.receive(DONE)
    assert exchange.rest == b''


@needs_package
def test_socks5_keeps_the_password_if_it_is_not_asked_for():
    exchange = exchange_with(u'socks5://user:secret@proxy')
    exchange.receive(NO_PASSWORD)
    assert b'secret' not in take_output(exchange)


@needs_package
@pytest.mark.parametrize('reply', [
    DONE,
    b'\x05\x00\x00\x03\x04host\x00\x50',
    b'\x05\x00\x00\x04' + b'\0' * 16 + b'\x00\x50',
])
def test_pieces_may_end_anywhere_and_what_follows_is_kept(reply):
    data = PASSWORD + PASSWORD_TAKEN + reply
    exchange = exchange_with(u'socks5://user:secret@proxy')
    output = take_output(exchange)
    for index in range(len(data)):
        assert exchange.rest is None
        rest = b'more' if index == len(data) - 1 else b''
        exchange.receive(data[index:index + 1] + rest)
        output += take_output(exchange)
    assert exchange.rest == b'more'
    assert output == (
        b'\x05\x02\x00\x02' + b'\x01\x04user\x06secret' +
        b'\x05\x01\x00\x03\x0bexample.org\x00\x50')


def fail(exchange, data):
    with pytest.raises(ConnectFail) as caught:
        exchange.receive(data)
    assert caught.value.phase == 'proxy'
    assert caught.value.cause is not None
    return str(caught.value)


@needs_package
@pytest.mark.parametrize('data, words', [
    (b'\x05\xff', 'authentication method'),
    (b'\x05\x01', 'authentication method'),         # GSSAPI: we didn't offer it
    (PASSWORD + b'\x01\x01', 'authentication failure'),
    (NO_PASSWORD + b'\x05\x01\x00\x01', 'failure'),
    (NO_PASSWORD + b'\x05\x02\x00\x01', 'not allowed'),
    (NO_PASSWORD + b'\x05\x03\x00\x01', 'Network unreachable'),
    (NO_PASSWORD + b'\x05\x04\x00\x01', 'Host unreachable'),
    (NO_PASSWORD + b'\x05\x05\x00\x01', 'refused'),
    (NO_PASSWORD + b'\x05\x63\x00\x01', 'SOCKS failed'),
    (NO_PASSWORD + b'\x05\x00\x00\x05' + b'\0' * 20, 'SOCKS failed'),
    (NO_PASSWORD + b'\x05\x00\x00\x03\x01\xff\x00\x50', 'SOCKS failed'),
    (b'HTTP/1.1 400 Bad Request\r\n\r\n', 'SOCKS failed'),
])
def test_socks5_proxy_that_says_no_or_nonsense_fails_in_words(data, words):
    assert words in fail(exchange_with(u'socks5://user:secret@proxy'), data)


# -- SOCKS4a --

@needs_package
@pytest.mark.parametrize('scheme', [u'socks4', u'socks4a'])
@pytest.mark.parametrize('userinfo, user', [(u'', b''), (u'me@', b'me')])
@pytest.mark.parametrize('url, address, name', [
    (u'ws://example.org/', b'\0\0\0\x01', b'example.org\0'),
    (u'ws://10.1.2.3/', b'\x0a\x01\x02\x03', b''),
])
def test_socks4_sends_the_name_as_it_is(scheme, userinfo, user, url, address, name):
    exchange = exchange_with(u'{}://{}proxy'.format(scheme, userinfo), url)
    assert take_output(exchange) == b'\x04\x01\x00\x50' + address + user + b'\0' + name
    exchange.receive(DONE_4[:3])
    assert exchange.rest is None
    exchange.receive(DONE_4[3:] + b'more')
    assert exchange.rest == b'more'
    assert exchange.output == b''


@needs_package
@pytest.mark.parametrize('data', [
    b'\x00\x5b' + b'\0' * 6, b'\x00\x5d' + b'\0' * 6, b'\x00\x00' + b'\0' * 6, b'HTTP/1.1 400',
])
def test_socks4_proxy_that_says_no_or_nonsense_fails_in_words(data):
    assert 'SOCKS failed' in fail(exchange_with(u'socks4a://proxy'), data)
