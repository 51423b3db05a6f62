# -*- coding: utf-8 -*-
"""lomond.http.url: what a WebSocket URL and a proxy's URL mean, and what is refused.

The Host header, the request line and the headers of a request follow from it,
so they are looked at here too.
"""

from __future__ import absolute_import, division, print_function

import base64

import pytest

from lomond.http.url import basic_authorization, bracket, parse_proxy_url, parse_url
from lomond.websocket import WebSocket

from ..support import get_header

#: The longest name that DNS has (RFC 1035 2.3.4): 255 octets, with a length before each label and
#: an empty one at the end.
LONGEST = u'.'.join([u'a' * 63] * 3 + [u'a' * 61])


def request_line(url):
    return WebSocket(url).build_request().split(b'\r\n')[0]


def request_header(url, name):
    return get_header(WebSocket(url).build_request(), name)


# -- what a URL means --

@pytest.mark.parametrize('url, scheme, host, port, resource', [
    (u'ws://example.org', u'ws', u'example.org', 80, u'/'),
    (u'wss://example.org', u'wss', u'example.org', 443, u'/'),
    (u'WSS://Example.ORG/Path', u'wss', u'example.org', 443, u'/Path'),
    (u'ws://example.org:8080/a/b?c=d&e', u'ws', u'example.org', 8080, u'/a/b?c=d&e'),
    (u'ws://example.org?q', u'ws', u'example.org', 80, u'/?q'),
    (u'ws://example.org:/', u'ws', u'example.org', 80, u'/'),
    (u'wss://example.org:80/', u'wss', u'example.org', 80, u'/'),
    (u'ws://127.0.0.1:9001/', u'ws', u'127.0.0.1', 9001, u'/'),
    (u'ws://[::1]:9001/', u'ws', u'::1', 9001, u'/'),
    (u'wss://[2001:DB8::7]/', u'wss', u'2001:db8::7', 443, u'/'),
    (u'ws://[::ffff:10.0.0.1]/', u'ws', u'::ffff:10.0.0.1', 80, u'/'),
    (u'ws://my_host-1.local/', u'ws', u'my_host-1.local', 80, u'/'),
    (u' ws://example.org/ ', u'ws', u'example.org', 80, u'/'),
    (u'ws://example.org:65535/', u'ws', u'example.org', 65535, u'/'),
    (u'ws://user:a:b@example.org:81/', u'ws', u'example.org', 81, u'/'),
    (u'ws://user:a@b@example.org/', u'ws', u'example.org', 80, u'/'),
])
def test_url_is_taken_apart(url, scheme, host, port, resource):
    target = parse_url(url)
    assert target[:4] == (scheme, host, port, resource)
    assert target.is_secure is (scheme == u'wss')


def test_native_string_is_a_url():
    assert parse_url('ws://example.org/caf\xc3\xa9' if str is bytes else 'ws://example.org/café') \
        == parse_url(u'ws://example.org/caf\xe9')


def test_url_that_is_not_text_raises_type_error():
    with pytest.raises(TypeError) as caught:
        parse_url(42)
    assert 'must be text' in str(caught.value)


@pytest.mark.skipif(str is bytes, reason='on 2.7 bytes are native strings')
def test_bytes_url_raises_type_error():
    with pytest.raises(TypeError):
        parse_url(b'ws://example.org/')


@pytest.mark.parametrize('url', [
    u'http://example.org/', u'https://example.org/', u'example.org', u'//example.org/',
    u'/path', u'', u'ftp://example.org/', u'ws', u'wsss://example.org/', u'unix:///tmp/sock',
])
def test_scheme_that_is_no_websocket_one_is_refused(url):
    with pytest.raises(ValueError) as caught:
        WebSocket(url)
    assert 'ws://' in str(caught.value)


@pytest.mark.parametrize('url', [
    u'ws://', u'ws:///path', u'ws://:80/', u'ws://user@/', u'ws:example.org', u'ws:/example.org',
    u'ws://[]/', u'ws://[]:80/', u'ws://user:password@:80/',
])
def test_url_without_host_is_refused(url):
    with pytest.raises(ValueError):
        parse_url(url)


@pytest.mark.parametrize('port', [
    u'0', u'65536', u'99999', u'100000000000000000000', u'-1', u'+80', u'8_0', u' 80', u'80 ',
    u'eighty', u'80:90', u'0x50', u'\u0668\u0660', u'8.0',
])
@pytest.mark.parametrize('host', [u'example.org', u'[::1]'])
def test_port_that_makes_no_sense_is_refused(host, port):
    with pytest.raises(ValueError):
        parse_url(u'ws://{}:{}/'.format(host, port))
    with pytest.raises(ValueError):
        parse_proxy_url(u'http://{}:{}/'.format(host, port))


@pytest.mark.parametrize('host', [
    u'[::1', u'::1]', u'::1', u'[::1]x', u'x[::1]', u'[[::1]]', u'[example.org]', u'[127.0.0.1]',
    u'[v7.xyz]', u'[::g]', u'[::1]]', u'[::1%]', u'[::1%25a b]',
])
def test_address_with_wrong_brackets_is_refused(host):
    with pytest.raises(ValueError):
        parse_url(u'ws://{}/'.format(host))
    with pytest.raises(ValueError):
        parse_url(u'ws://{}:80/'.format(host))


@pytest.mark.parametrize('host', [
    u'a b', u'a%20b', u'a"b', u'a<b', u'a>b', u'a\\b', u'a^b', u'a`b', u'{a}', u'a|b',
    u'a\u2100b',            # NFKC makes 'a/c' of it
    u'a\uff0fb', u'a\uff1ab', u'a\uff20b', u'a\uff03b', u'a\uff1fb',    # wide / : @ # ?
    u'a\xa0b',              # NFKC makes a space of it
    u'.example.org', u'a..b', u'..', u'.', u'a' * 64 + u'.org',     # not by DNS, nor by TLS
    u'xn--\u0660', u'\u0627a', u'b\xfccher..example', u'\xfc' * 64,
    LONGEST + u'a', LONGEST + u'a.', u'\xfc.' + LONGEST[2:],
])
def test_host_that_is_no_name_is_refused(host):
    with pytest.raises(ValueError):
        parse_url(u'ws://{}/'.format(host))


@pytest.mark.parametrize('host', [LONGEST, LONGEST + u'.'])
def test_host_of_253_characters_is_a_name(host):
    assert parse_url(u'ws://{}/'.format(host)).host == host


@pytest.mark.parametrize('url', [
    u'ws://example.org/#', u'ws://example.org/#part', u'ws://example.org#part',
    u'ws://example.org/?a=#b',
])
def test_fragment_is_refused(url):
    """RFC 6455 3."""
    with pytest.raises(ValueError) as caught:
        parse_url(url)
    assert '%23' in str(caught.value)


def test_encoded_number_sign_is_data():
    assert request_line(u'ws://example.org/a%23b') == b'GET /a%23b HTTP/1.1'


# -- Unix sockets --

@pytest.mark.parametrize('url, path, resource', [
    (u'ws+unix:///run/feed.sock:/', u'/run/feed.sock', u'/'),
    (u'ws+unix:///run/feed.sock', u'/run/feed.sock', u'/'),
    (u'ws+unix:///run/feed.sock:', u'/run/feed.sock', u'/'),
    (u'ws+unix:/run/feed.sock:/a', u'/run/feed.sock', u'/a'),
    (u'WS+UNIX:///Run/Feed.sock:/A/b:c?d=/e:f', u'/Run/Feed.sock', u'/A/b:c?d=/e:f'),
    (u'ws+unix:///run/a%20b%3Ac%3F%25.sock:/a%20b', u'/run/a b:c?%.sock', u'/a%20b'),
    (u'ws+unix:///run/caf\xe9:/caf\xe9', u'/run/caf\xe9', u'/caf%C3%A9'),
    (u'ws+unix:///@/run@home:/', u'/@/run@home', u'/'),
    (u'ws+unix:///a:?query', u'/a', u'/?query'),
])
def test_url_of_a_unix_socket_is_taken_apart(url, path, resource):
    target = parse_url(url)
    assert target == (u'ws+unix', u'localhost', 80, resource, None, path)
    assert not target.is_secure
    assert target.host_header == u'localhost'
    assert parse_url(target.url) == target


def test_url_of_a_unix_socket_makes_sense_in_the_parts_of_a_websocket():
    websocket = WebSocket(u'wss+unix://me:secret@/run/my%20feed:/path?query')
    assert websocket.scheme == u'wss+unix'
    assert websocket.host == u'localhost'
    assert websocket.port == 443
    assert websocket.resource == u'/path?query'
    assert websocket.is_secure
    assert websocket.target.credentials == (u'me', u'secret')
    assert websocket.target.url == u'wss+unix:///run/my%20feed:/path?query'
    assert get_header(websocket.build_request(), b'Host') == b'localhost'


@pytest.mark.parametrize('url', [
    u'ws+unix:', u'ws+unix://', u'ws+unix:///', u'ws+unix:///:/path', u'ws+unix://:/path',
    u'ws+unix:run/feed', u'ws+unix:./feed:/', u'ws+unix://run/feed:/', u'ws+unix://localhost/run',
    u'ws+unix://user@localhost/run/feed:/', u'ws+unix://:80/run/feed', u'ws+unix:///run/feed:path',
    u'ws+unix:///run/feed?query', u'ws+unix:///run/feed?:/', u'ws+unix:///run/feed:/#part', u'ws+unix:///run/%00feed:/',
    u'ws+unix:///%00feed:/', u'ws+unix:///run/%FF:/', u'ws+unix:///run/a\0b:/',
    u'http+unix:///run/feed:/',
])
def test_url_of_no_unix_socket_is_refused(url):
    with pytest.raises(ValueError):
        WebSocket(url)


@pytest.mark.parametrize('url, words', [
    (u'ws+unix:///run/feed?query', '%3F'), (u'ws+unix:///run/feed:path', '%3A'),
    (u'ws+unix://run/feed', 'ws+unix:///path/to/socket:/resource'),
    (u'ws+unix:///%00feed', 'sock'),
])
def test_refusal_of_a_unix_url_says_what_to_write(url, words):
    with pytest.raises(ValueError) as caught:
        parse_url(url)
    assert words in str(caught.value)


# -- the request line --

@pytest.mark.parametrize('path, line', [
    (u'', b'/'),
    (u'/', b'/'),
    (u'/a b', b'/a%20b'),
    (u'/caf\xe9', b'/caf%C3%A9'),
    (u'/\U0001f600?\u4f60=\u597d', b'/%F0%9F%98%80?%E4%BD%A0=%E5%A5%BD'),
    (u'/%20%C3%A9', b'/%20%C3%A9'),
    (u'/a+b;c=d,e!$\'()*~-._@:&', b'/a+b;c=d,e!$\'()*~-._@:&'),
    (u'/"<>\\^`{|}', b'/%22%3C%3E%5C%5E%60%7B%7C%7D'),
    (u'/?a=b&c=d/e?f', b'/?a=b&c=d/e?f'),
    (u'?a=b c', b'/?a=b%20c'),
    (u'//a//b', b'//a//b'),
])
def test_path_and_query_are_percent_encoded_once(path, line):
    assert request_line(u'ws://example.org' + path) == b'GET ' + line + b' HTTP/1.1'


# -- the Host header --

@pytest.mark.parametrize('url, host', [
    (u'ws://example.org/', b'example.org'),
    (u'ws://example.org:80/', b'example.org'),
    (u'wss://example.org:443/', b'example.org'),
    (u'ws://example.org:443/', b'example.org:443'),
    (u'wss://example.org:80/', b'example.org:80'),
    (u'ws://example.org:8080/', b'example.org:8080'),
    (u'ws://[::1]/', b'[::1]'),
    (u'ws://[::1]:8080/', b'[::1]:8080'),
    (u'wss://[2001:db8::1]:443/', b'[2001:db8::1]'),
    (u'ws://[fe80::1%25eth0]:81/', b'[fe80::1]:81'),
    (u'ws://b\xfccher.example/', b'xn--bcher-kva.example'),
    (u'ws://B\xdcCHER.example:8080/', b'xn--bcher-kva.example:8080'),
    (u'ws://xn--bcher-kva.example/', b'xn--bcher-kva.example'),
    (u'ws://user:password@example.org/', b'example.org'),
])
def test_host_header_has_the_bare_host_and_no_default_port(url, host):
    assert request_header(url, b'Host') == host


@pytest.mark.parametrize('url', [u'ws://[fe80::1%25eth0]/', u'ws://[fe80::1%eth0]/'])
def test_zone_stays_with_the_address_to_connect_to(url):
    assert parse_url(url).host == u'fe80::1%eth0'


# -- credentials --

@pytest.mark.parametrize('userinfo, credentials', [
    (u'user:password', (u'user', u'password')),
    (u'user', (u'user', u'')),
    (u'user:', (u'user', u'')),
    (u':password', (u'', u'password')),
    (u'us%40er:p%3Aa%2Fss%25', (u'us@er', u'p:a/ss%')),
    (u'user:a:b', (u'user', u'a:b')),
    (u'us@er:pass', (u'us@er', u'pass')),
    (u'\xfcser:p%C3%A4ss', (u'\xfcser', u'p\xe4ss')),
    (u'user:100%', (u'user', u'100%')),
    (u'user:a\\b[c]', (u'user', u'a\\b[c]')),
    (u'', (u'', u'')),
])
def test_credentials_are_percent_decoded(userinfo, credentials):
    assert parse_url(u'ws://{}@example.org/'.format(userinfo)).credentials == credentials
    assert parse_proxy_url(u'http://{}@example.org/'.format(userinfo)).credentials == credentials


@pytest.mark.parametrize('userinfo', [u'%ff:password', u'user:%e4', u'user:password\udcff'])
def test_credentials_that_are_not_utf_8_are_refused(userinfo):
    """Nothing good comes of sending others than the user wrote."""
    for parse in (parse_url, parse_proxy_url):
        with pytest.raises(ValueError) as caught:
            parse(u'ws://{}@example.org/'.format(userinfo).replace(
                u'ws:', u'ws:' if parse is parse_url else u'http:'))
        assert 'UTF-8' in str(caught.value)
        check_bare(caught.value)


@pytest.mark.parametrize('parse, url', [
    (parse_url, u'ws://me%3Ayou:secret@example.org/'),
    (parse_url, u'wss+unix://me%3ayou:secret@/run/feed.sock'),
    (parse_proxy_url, u'http://me%3Ayou:secret@example.org/'),
    (parse_proxy_url, u'me%3Ayou:secret@example.org:3128'),
    (parse_proxy_url, u'https://%3A:secret@example.org/')])
def test_a_user_with_a_colon_is_refused(parse, url):
    """RFC 7617 2: what is before the first colon would be the user, the rest the password."""
    with pytest.raises(ValueError) as caught:
        parse(url)
    assert 'must not contain a colon' in str(caught.value)
    check_bare(caught.value)


def test_a_user_of_a_socks_proxy_may_have_a_colon():
    proxy = parse_proxy_url(u'socks5://me%3Ayou:secret@example.org')
    assert proxy.credentials == (u'me:you', u'secret')


@pytest.mark.skipif(str is not bytes, reason='native strings are text on 3.x')
def test_native_string_that_is_not_utf_8_is_refused():
    for parse in (parse_url, parse_proxy_url):
        with pytest.raises(ValueError) as caught:
            parse(b'ws://user:secret\xff@example.org/')
        check_bare(caught.value)


def test_no_credentials_is_none():
    assert parse_url(u'ws://example.org/').credentials is None
    assert request_header(u'ws://example.org/', b'Authorization') is None


def test_credentials_become_basic_authorization():
    value = request_header(u'ws://\xfcs%20er:p%C3%A4%3Ass@example.org/', b'Authorization')
    scheme, _space, encoded = value.partition(b' ')
    assert scheme == b'Basic'
    assert base64.b64decode(encoded).decode('utf-8') == u'\xfcs er:p\xe4:ss'


def test_long_credentials_stay_on_one_line():
    value = basic_authorization((u'u' * 200, u'p' * 200))
    assert u'\n' not in value


def test_line_ends_in_decoded_credentials_are_encoded_away():
    value = request_header(u'ws://user:a%0d%0aX-Evil:%20b@example.org/', b'Authorization')
    assert base64.b64decode(value.partition(b' ')[2]) == b'user:a\r\nX-Evil: b'


def test_own_authorization_header_wins_over_the_url():
    websocket = WebSocket(u'ws://user:password@example.org/')
    websocket.add_header(b'Authorization', b'Bearer token')
    request = websocket.build_request()
    assert request.count(b'uthorization:') == 1
    assert get_header(request, b'Authorization') == b'Bearer token'


def check_bare(error):
    """Assert that nothing hangs on an error: Python's own hold the text that they are about."""
    assert type(error) is ValueError
    assert getattr(error, '__context__', None) is None
    assert 'secret' not in repr(error).lower()


@pytest.mark.parametrize('url', [
    u'ws://me:SECRET/tail@127.0.0.1:9', u'ws://me:SECRET?tail@127.0.0.1:9',
    u'wss://me:pass/SECRET/tail@example.org/path', u'ws://me:p@s:s/SECRET@example.org/',
    u'ws://me SECRET/tail@example.org', u'ws://SECRET\u2100/@example.org', u'ws://[SECRET/@a',
    u'ws://' + u'SECRET' * 20 + u'/@example.org', u'ws+unix://me:SECRET/a@/run/feed.sock'])
def test_password_that_ends_too_early_is_not_shown_and_the_refusal_says_what_to_write(url):
    """By RFC 3986 its '/' ends the authority."""
    with pytest.raises(ValueError) as caught:
        parse_url(url)
    check_bare(caught.value)
    assert '%2F' in str(caught.value) or url.startswith(u'ws+unix')
    assert '***@' in str(caught.value)


def test_password_with_a_number_sign_is_not_shown():
    with pytest.raises(ValueError) as caught:
        parse_url(u'ws://me:SECRET#secret@127.0.0.1:9')
    check_bare(caught.value)
    assert '%23' in str(caught.value)


@pytest.mark.parametrize('resource', [u'/path?user=a@b', u'/@me', u'/a/@b?c=@', u'/?next=x://a@b'])
def test_at_sign_in_a_path_or_query_is_part_of_it(resource):
    target = parse_url(u'ws://example.org' + resource)
    assert target == (u'ws', u'example.org', 80, resource, None, None)
    assert target.url == u'ws://example.org' + resource


@pytest.mark.parametrize('url, words', [
    (u'ws://example.org:port/', 'invalid host or port'), (u'ws://me:secret@:80/', 'no host'),
    (u'ws://me:secret@a b/', 'invalid host name')])
def test_refusal_gives_no_advice_where_no_password_ended_too_early(url, words):
    with pytest.raises(ValueError) as caught:
        parse_url(url)
    assert words in str(caught.value)
    assert '%2F' not in str(caught.value)


def test_repr_of_a_target_has_no_credentials():
    target = parse_url(u'ws://me:secret@example.org/a')
    proxy = parse_proxy_url(u'http://me:secret@proxy:3128')
    assert target.credentials == proxy.credentials == (u'me', u'secret')
    for one in (target, proxy):
        assert repr(one).startswith(type(one).__name__)
        assert '***' in repr(one)
        assert 'secret' not in repr(one) + str(one) + '{}'.format(one) + '%s' % (one,)
    assert '***' not in repr(parse_url(u'ws://example.org/'))


def test_shown_url_has_no_credentials():
    target = parse_url(u'wss://user:secret@example.org:444/path?q')
    assert target.url == u'wss://example.org:444/path?q'
    assert 'secret' not in repr(WebSocket(u'wss://user:secret@example.org/'))
    assert parse_proxy_url(u'http://user:secret@proxy/').url == u'http://proxy:80'


@pytest.mark.parametrize('parse', [parse_url, parse_proxy_url])
@pytest.mark.parametrize('url', [
    u'ftp://user:secret@example.org/', u'ws://user:secret@example.org/#', u'ws://user:secret@/',
    u'ws://user:secret@example.org:port/', u'ws://user:secret@example.org:0/',
    u'ws://user:secret@[::1/', u'ws://user:secret@a\u2100b/', u'ws://user:secret@a b/',
    u'ws://user:secret@example.org/\n', u'ws://user:sec\nret@example.org/',
    u'http://user:secret@example.org:port', u'http://user:secret@:80', u'user:secret@a b',
])
def test_refusal_does_not_show_the_password(parse, url):
    """A proxy of the environment that is refused goes to the log."""
    with pytest.raises(ValueError) as caught:
        parse(url)
    assert 'ret' not in str(caught.value)
    check_bare(caught.value)


# -- header injection --

@pytest.mark.parametrize('character', [u'\r', u'\n', u'\0', u'\r\nX-Evil: 1'])
@pytest.mark.parametrize('url', [
    u'ws://example.org/{}', u'ws://example.org/{}path', u'ws://example.org/?{}',
    u'ws://exa{}mple.org/', u'ws://example.org:80{}/', u'ws://us{}er:password@example.org/',
    u'{}ws://example.org/', u'w{}s://example.org/', u'ws:/{}/example.org/',
])
def test_line_end_or_nul_in_the_url_raises_value_error(url, character):
    with pytest.raises(ValueError):
        WebSocket(url.format(character))


@pytest.mark.parametrize('number', sorted(set(range(32)) | {127}))
def test_control_character_in_the_url_raises_value_error(number):
    with pytest.raises(ValueError):
        parse_url(u'ws://example.org/a' + chr(number) + u'b')


@pytest.mark.parametrize('character', [u'\r', u'\n', u'\0', u'\r\nX-Evil: 1'])
def test_line_end_or_nul_in_a_header_protocol_or_agent_raises_value_error(character):
    with pytest.raises(ValueError):
        WebSocket(u'ws://example.org/', agent=u'agent' + character)
    with pytest.raises(ValueError):
        WebSocket(u'ws://example.org/', protocols=[u'chat' + character])
    websocket = WebSocket(u'ws://example.org/')
    for name, value in ((u'X-A', u'b' + character), (u'X-A' + character, u'b')):
        with pytest.raises(ValueError):
            websocket.add_header(name, value)
        with pytest.raises(ValueError):
            websocket.add_header(name.encode('ascii'), value.encode('ascii'))
    assert b'X-Evil' not in websocket.build_request()


@pytest.mark.parametrize('name', [u'', u'a b', u'a:', u'caf\xe9', u'a\tb'])
def test_header_name_that_is_no_token_raises_value_error(name):
    with pytest.raises(ValueError):
        WebSocket(u'ws://example.org/').add_header(name, u'value')


@pytest.mark.parametrize('name, value', [(1, u'value'), (u'X-Name', 1), (u'X-Name', None)])
def test_header_that_is_no_text_raises_type_error(name, value):
    with pytest.raises(TypeError):
        WebSocket(u'ws://example.org/').add_header(name, value)


# -- proxy URLs --

@pytest.mark.parametrize('url, scheme, host, port', [
    (u'http://proxy:3128', u'http', u'proxy', 3128),
    (u'http://proxy', u'http', u'proxy', 80),
    (u'https://proxy/', u'https', u'proxy', 443),
    (u'HTTP://Proxy:3128/ignored', u'http', u'proxy', 3128),
    (u'proxy:3128', u'http', u'proxy', 3128),
    (u'proxy', u'http', u'proxy', 80),
    (u'user:password@proxy:3128', u'http', u'proxy', 3128),
    (u'http://[::1]:3128', u'http', u'::1', 3128),
    (u'[::1]:3128', u'http', u'::1', 3128),
    (u'http://proxy:3128?ignored', u'http', u'proxy', 3128),
    (u'http://proxy#ignored/:1', u'http', u'proxy', 80),
    (u'socks5h://[fe80::1%25eth0]', u'socks5h', u'fe80::1%eth0', 1080),
])
def test_proxy_url_is_taken_apart(url, scheme, host, port):
    assert parse_proxy_url(url)[:3] == (scheme, host, port)


@pytest.mark.parametrize('scheme', [u'http://', u'https://', u'socks5://', u''])
@pytest.mark.parametrize('password, meant', [
    (u'SECRET/tail', u'SECRET/tail'), (u'SECRET#tail', u'SECRET#tail'),
    (u'SECRET?tail', u'SECRET?tail'), (u'SEC@RET', u'SEC@RET'), (u'a/b?c#d@e:f', u'a/b?c#d@e:f'),
    (u'/', u'/'), (u'x://y', u'x://y'), (u'[a]', u'[a]'), (u'a/%2Fb', u'a//b'), (u'%', u'%'),
    (u'\u2100', u'\u2100'), (u'', u''),
])
def test_password_of_a_proxy_ends_at_the_last_at_sign(scheme, password, meant):
    """As urllib takes it."""
    proxy = parse_proxy_url(u'{}me:{}@127.0.0.1:9/path'.format(scheme, password))
    assert proxy[1:] == (u'127.0.0.1', 9, (u'me', meant))


@pytest.mark.parametrize('url', [
    u'ftp://proxy', u'ws://proxy', u'http://', u'http://:3128', u':3128', u'http://pro xy',
    u'http://pro\r\nxy', u'http://proxy:port',
])
def test_proxy_url_that_makes_no_sense_is_refused(url):
    with pytest.raises(ValueError):
        parse_proxy_url(url)


def test_proxy_url_is_shown_with_brackets():
    assert parse_proxy_url(u'http://[::1]').url == u'http://[::1]:80'


def test_only_addresses_with_colons_are_bracketed():
    assert bracket(u'::1') == u'[::1]'
    assert bracket(u'10.0.0.1') == u'10.0.0.1'
    assert bracket(u'example.org') == u'example.org'
