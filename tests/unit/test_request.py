"""What a request carries: headers, passwords, cookies; read from `build_request`, no socket."""

from __future__ import absolute_import, division, print_function

import os

import pytest
from six.moves.http_cookiejar import Cookie, CookieJar, DefaultCookiePolicy

from lomond import WebSocket, errors
from lomond.http.cookies import MAX_COOKIE_SIZE, MAX_COOKIES, MAX_COOKIES_PER_RESPONSE
from lomond.http.headers import Headers
from lomond.http.url import basic_authorization
from tests.support import get_header

URL = u'ws://example.org/feed'
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def build(url=URL, **options):
    return WebSocket(url, **options).build_request()


def fields(request, name):
    """Return every value of a header."""
    lines = [line.partition(b': ') for line in request.split(b'\r\n')[1:]]
    return [value for field, _colon, value in lines if field.lower() == name.lower()]


def redirect(websocket, location, *headers):
    """Feed a redirect; return the next request."""
    head = b'\r\n'.join((b'HTTP/1.1 302 Found', b'Location: ' + location) + headers)
    event, = websocket.feed(head + b'\r\n\r\n')
    assert event.name == 'redirected', event
    return websocket.build_request()


def fail(websocket):
    """Return the ConnectFail that building the request raises."""
    with pytest.raises(errors.ConnectFail) as caught:
        websocket.build_request()
    assert caught.value.phase == 'request'
    return caught.value


# -- headers --

@pytest.mark.parametrize('headers', [
    {u'X-Token': u'abc', u'X-More': b'1'},
    {b'X-Token': b'abc', b'X-More': u'1'},
    {'X-Token': ['abc'], 'X-More': ('1',)},
    [(u'X-Token', u'abc'), [u'X-More', u'1']],
    ((name, value) for name, value in [('X-Token', 'abc'), ('X-More', '1')]),
    Headers([(u'X-Token', u'abc'), (u'X-More', u'1')]),
    lambda: {u'X-Token': u'abc', u'X-More': u'1'},
    lambda: [(u'X-Token', u'abc'), (u'X-More', u'1')],
], ids=['text', 'bytes', 'native', 'pairs', 'generator', 'Headers', 'makes dict', 'makes pairs'])
def test_headers_are_sent(headers):
    request = build(headers=headers)
    assert fields(request, b'X-Token') == [b'abc']
    assert fields(request, b'X-More') == [b'1']


@pytest.mark.parametrize('headers', [
    {'X-A': ['1', '2']}, [('X-A', '1'), ('X-A', '2')], [('X-A', ['1', '2'])],
])
def test_a_header_may_be_repeated(headers):
    assert fields(build(headers=headers), b'X-A') == [b'1', b'2']


def test_an_empty_list_of_values_sends_nothing():
    assert fields(build(headers={'X-A': []}), b'X-A') == []


def test_added_headers_come_after_those_given():
    websocket = WebSocket(URL, headers={'X-A': '1'})
    websocket.add_header(u'X-A', u'2')
    assert fields(websocket.build_request(), b'X-A') == [b'1', b'2']
    assert websocket.headers == {'X-A': '1'}


@pytest.mark.parametrize('name', ['Host', 'user-agent', 'AUTHORIZATION'])
@pytest.mark.parametrize('wrap', [lambda headers: headers, lambda headers: lambda: headers])
def test_given_headers_replace_the_defaults(name, wrap):
    request = build(u'ws://user:pw@example.org/', headers=wrap({name: 'mine'}))
    assert fields(request, name.encode('ascii')) == [b'mine']


@pytest.mark.parametrize('value, wire', [
    (u'caf\xe9', b'caf\xc3\xa9'), (b'caf\xe9', b'caf\xe9'), (b'caf\xc3\xa9', b'caf\xc3\xa9'),
    (u'', b''), (u'a: b {0}', b'a: b {0}'),
])
def test_text_goes_in_utf_8_and_bytes_as_they_are(value, wire):
    websocket = WebSocket(URL, headers={'X-A': value})
    websocket.add_header('X-B', value)
    request = websocket.build_request()
    assert fields(request, b'X-A') == fields(request, b'X-B') == [wire]


def test_an_agent_in_bytes_goes_as_it_is():
    assert fields(build(agent=u'caf\xe9'.encode('utf-8')), b'User-Agent') == [b'caf\xc3\xa9']


@pytest.mark.parametrize('headers', [
    {'User-Agent': None}, {b'user-agent': None}, [(u'USER-AGENT', None)],
    lambda: {'User-Agent': None},
], ids=['native', 'bytes', 'pair', 'function'])
def test_none_leaves_the_user_agent_out(headers):
    websocket = WebSocket(URL, headers=headers, cookies=True)
    assert fields(websocket.build_request(), b'User-Agent') == []
    assert fields(redirect(websocket, b'/x', b'Set-Cookie: a=1'), b'Cookie') == [b'a=1']
    request = redirect(websocket, b'ws://other.example/')
    assert fields(request, b'User-Agent') == []
    assert request.count(b'\r\n') == len(SETS) + 2


#: What the handshake sends.
SETS = ['Host', 'Upgrade', 'Connection', 'Sec-WebSocket-Key', 'Sec-WebSocket-Version']


def test_an_added_user_agent_replaces_one_left_out():
    websocket = WebSocket(URL, headers={'User-Agent': None})
    websocket.add_header('User-Agent', 'mine')
    assert fields(websocket.build_request(), b'User-Agent') == [b'mine']


@pytest.mark.parametrize('name', SETS + ['host', 'UPGRADE'])
def test_a_header_that_the_rfc_requires_cannot_be_left_out(name):
    with pytest.raises(ValueError) as caught:
        WebSocket(URL, headers={name: None})
    assert str(caught.value) == \
        '{} cannot be left out: RFC 6455 4.1 requires it in each request'.format(name)


def test_a_token_that_is_none_by_mistake_raises():
    with pytest.raises(TypeError) as caught:
        WebSocket(u'ws://me:pw@example.org/', headers={'Authorization': None})
    assert 'Authorization must be text or bytes, not None' in str(caught.value)


WRONG_HEADERS = [
    ({'X-Token': 'secret\r\nX-Evil: 1'}, ValueError),
    ({'X-Token': 'secret\n'}, ValueError),
    ({'X-Token': ['a', b'secret\0']}, ValueError),
    ({'X-Token': u'secret\ud800'}, ValueError),
    ({'X Token': 'secret'}, ValueError),
    ({'': 'secret'}, ValueError),
    ({u'X-\xe4': 'secret'}, ValueError),
    ({'Upgrade': 'h2c'}, ValueError),
    ({'connection': 'close'}, ValueError),
    ({'Sec-WebSocket-Key': 'x'}, ValueError),
    ({'Sec-WebSocket-Protocol': 'x'}, ValueError),
    ({'Proxy-Authorization': 'Basic secret'}, ValueError),
    ({'X-Token': 5}, TypeError),
    ({'X-Token': None}, TypeError),
    ({'User-Agent': [None]}, TypeError),
    ({'Cookie': None}, TypeError),
    ({'X Token': None}, ValueError),
    ({'Sec-WebSocket-Protocol': None}, ValueError),
    ({'Proxy-Authorization': None}, ValueError),
    ({'X-Token': [['secret']]}, TypeError),
    ({'X-Token': bytearray(b'secret')}, TypeError),
    ({5: 'secret'}, TypeError),
    ([(('X-Token', 'secret'), 'a')], TypeError),
    ([('X-Token: secret', '')], ValueError),
    ([('X-Token',)], TypeError),
    ([('X-Token', 'a', 'b')], TypeError),
    (['X-Token: secret'], TypeError),
    (['ab'], TypeError),
    ('X-Token: secret', TypeError),
    (b'X-Token: secret', TypeError),
    (5, TypeError),
]


@pytest.mark.parametrize('headers, error', WRONG_HEADERS)
def test_headers_that_cannot_be_sent_raise_at_once_and_their_values_are_not_shown(headers, error):
    with pytest.raises(error) as caught:
        WebSocket(URL, headers=headers)
    assert 'secret' not in str(caught.value) + repr(caught.value)
    assert getattr(caught.value, '__context__', None) is None       # which would have it


@pytest.mark.parametrize('headers, error', WRONG_HEADERS + [(None, TypeError)])
def test_a_function_that_makes_wrong_headers_fails_in_its_phase(headers, error):
    failure = fail(WebSocket(URL, headers=lambda: headers))
    assert isinstance(failure.cause, error)
    assert 'headers function' in str(failure)
    assert 'secret' not in str(failure)


def test_a_function_is_called_for_each_request_and_not_before():
    tokens = iter(['one', 'two', 'three'])
    websocket = WebSocket(URL, headers=lambda: {'Authorization': next(tokens)})
    assert get_header(websocket.build_request(), b'Authorization') == b'one'
    assert get_header(websocket.build_request(), b'Authorization') == b'two'
    assert get_header(redirect(websocket, b'/other'), b'Authorization') == b'three'


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError('even this fails')


@pytest.mark.parametrize('error', [
    RuntimeError('no token'), RuntimeError(u'caf\xe9'), KeyError('x'), StopIteration(),
    Unspeakable(), errors.WebSocketClosed('closed'), errors.ConnectFail('of another'),
], ids=lambda error: type(error).__name__)
def test_what_a_function_raises_is_the_cause(error):
    def make():
        raise error

    failure = fail(WebSocket(URL, headers=make))
    assert failure.cause is error
    assert str(failure)


@pytest.mark.parametrize('interrupt', [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_function_goes_through(interrupt):
    def make():
        raise interrupt

    with pytest.raises(interrupt):
        WebSocket(URL, headers=make).build_request()


# -- across origins --

FULL = {
    'X-Token': 'secret', 'Authorization': 'secret', 'Cookie': 'secret=1', 'Host': 'secret.example',
    'Origin': 'https://example.org', 'User-Agent': 'me',
}


@pytest.mark.parametrize('headers', [FULL, lambda: FULL])
def test_another_origin_gets_nothing_but_origin_and_agent(headers):
    websocket = WebSocket(u'ws://me:secret@example.org/', headers=headers, protocols=[u'chat'])
    websocket.add_header('X-Added', 'secret')
    assert websocket.build_request().count(b'secret') == 5
    request = redirect(websocket, b'ws://other.example/')
    assert b'secret' not in request
    assert get_header(request, b'Host') == b'other.example'
    assert get_header(request, b'Origin') == b'https://example.org'
    assert get_header(request, b'User-Agent') == b'me'
    assert get_header(request, b'Sec-WebSocket-Protocol') == b'chat'
    # Nor does it lead us to bring them back home, to a URL of its choice.
    assert b'secret' not in redirect(websocket, b'ws://example.org/')


def test_the_same_origin_gets_everything_again():
    websocket = WebSocket(u'ws://me:secret@example.org/', headers={'X-Token': 'secret'})
    request = redirect(websocket, b'http://example.org:80/x')
    assert get_header(request, b'X-Token') == b'secret'
    assert get_header(request, b'Authorization') == (
        basic_authorization((u'me', u'secret')).encode('ascii'))


def test_a_locations_own_credentials_are_sent_where_it_leads():
    websocket = WebSocket(u'ws://me:secret@example.org/')
    request = redirect(websocket, b'ws://you:pw@other.example/')
    assert get_header(request, b'Authorization') == (
        basic_authorization((u'you', u'pw')).encode('ascii'))


def test_each_request_of_an_attempt_has_its_own_key():
    websocket = WebSocket(URL)
    key = websocket.key
    request = redirect(websocket, b'/x')
    assert get_header(request, b'Sec-WebSocket-Key') == websocket.key != key


def test_reset_leads_back_to_the_url():
    websocket = WebSocket(u'ws://me:pw@example.org/', headers={'X-Token': 'abc'})
    before = websocket.build_request().replace(websocket.key, b'')
    redirect(websocket, b'ws://other.example:81/x')
    assert (websocket.host, websocket.port, websocket.resource) == (u'other.example', 81, u'/x')
    assert websocket.url == u'ws://me:pw@example.org/'
    websocket.reset()
    assert websocket.host == u'example.org'
    assert websocket.build_request().replace(websocket.key, b'') == before


# -- netrc --

@pytest.fixture
def home(tmpdir, monkeypatch):
    """An empty home directory."""
    monkeypatch.setenv('HOME', str(tmpdir))
    monkeypatch.setenv('USERPROFILE', str(tmpdir))
    monkeypatch.delenv('NETRC', raising=False)
    return tmpdir


def write(directory, text, name='.netrc', mode=0o600):
    path = directory.join(name)
    path.write(text)
    path.chmod(mode)
    return str(path)


ENTRIES = 'machine example.org login me password sesame\nmachine other.example login o password p\n'
BASIC = basic_authorization((u'me', u'sesame')).encode('ascii')


@pytest.mark.parametrize('netrc', [False, None])
def test_no_file_is_read_unasked(home, netrc):
    write(home, ENTRIES)
    assert get_header(build(netrc=netrc), b'Authorization') is None


def test_netrc_true_reads_the_one_at_home(home):
    write(home, ENTRIES)
    assert get_header(build(netrc=True), b'Authorization') == BASIC


def test_netrc_of_the_environment_wins(home, monkeypatch):
    write(home, 'machine example.org login other password other\n')
    monkeypatch.setenv('NETRC', write(home, ENTRIES, name='mine', mode=0o644))
    assert get_header(build(netrc=True), b'Authorization') == BASIC


def test_netrc_may_be_a_path(home):
    path = write(home, ENTRIES, name='mine', mode=0o644)
    assert get_header(build(netrc=path), b'Authorization') == BASIC
    assert get_header(build(netrc=u'~/mine'), b'Authorization') == BASIC
    if hasattr(os, 'fspath'):
        import pathlib
        assert get_header(build(netrc=pathlib.Path(path)), b'Authorization') == BASIC


@pytest.mark.parametrize('text, expected', [
    ('machine EXAMPLE.org login me password sesame\n', BASIC),
    ('machine www.example.org login me password sesame\n', None),
    ('machine other.example login o password p\ndefault login me password sesame\n', BASIC),
    ('machine example.org login me password sesame\ndefault login o password p\n', BASIC),
    ('machine example.org password sesame\n',
     basic_authorization((u'', u'sesame')).encode('ascii')),
    ('', None),
], ids=['case', 'subdomain', 'default', 'no default', 'no user', 'empty'])
def test_netrc_is_looked_up_by_host(home, text, expected):
    write(home, text)
    assert get_header(build(netrc=True), b'Authorization') == expected


def test_netrc_is_read_for_each_request(home):
    websocket = WebSocket(URL, netrc=True)
    assert get_header(websocket.build_request(), b'Authorization') is None
    path = write(home, ENTRIES)
    assert get_header(websocket.build_request(), b'Authorization') == BASIC
    os.remove(path)
    assert get_header(websocket.build_request(), b'Authorization') is None


def test_credentials_of_the_url_and_of_headers_go_first(home):
    write(home, ENTRIES)
    url = u'ws://you:pw@example.org/'
    assert get_header(build(url, netrc=True), b'Authorization') == (
        basic_authorization((u'you', u'pw')).encode('ascii'))
    assert fields(build(url, netrc=True, headers={'authorization': 'mine'}), b'Authorization') == [
        b'mine']


def test_a_redirect_gets_the_password_of_its_host_but_not_the_default(home):
    write(home, ENTRIES + 'default login any password thing\n')
    websocket = WebSocket(URL, netrc=True)
    assert get_header(websocket.build_request(), b'Authorization') == BASIC
    assert get_header(redirect(websocket, b'//other.example/'), b'Authorization') == (
        basic_authorization((u'o', u'p')).encode('ascii'))
    assert get_header(redirect(websocket, b'//third.example/'), b'Authorization') is None
    assert get_header(redirect(websocket, b'//default/'), b'Authorization') is None


@pytest.mark.parametrize('netrc, error', [
    ('/no/such/file', ValueError), (u'/no/such/file', ValueError), (ROOT, ValueError),
    (5, TypeError), (['x'], TypeError),
])
def test_a_netrc_that_is_not_there_raises(netrc, error):
    with pytest.raises(error):
        WebSocket(URL, netrc=netrc)


@pytest.mark.parametrize('text', [
    'machine example.org login me passwort sesame\n',
    'machine example.org login me\nsesame\n',
    'sesame\n',
    'machine example.org login me password sesame sesame\n',
])
def test_a_broken_netrc_fails_and_its_content_is_not_shown(home, text):
    failure = fail(WebSocket(URL, netrc=write(home, text, name='mine')))
    assert 'netrc' in str(failure)
    assert 'sesame' not in str(failure) + repr(failure.cause)


def test_a_user_with_a_colon_in_a_netrc_fails_and_is_not_shown(home):
    """RFC 7617 2: what is before the first colon would be the user, the rest the password."""
    write(home, 'machine example.org login me:you password sesame\n'
                'machine other.example login o password p\n')
    failure = fail(WebSocket(URL, netrc=True))
    assert 'contains a colon' in str(failure) and 'example.org' in str(failure)
    assert 'you' not in str(failure) + repr(failure.cause)
    assert get_header(build(u'ws://other.example/', netrc=True), b'Authorization')


def test_a_netrc_that_is_not_text_fails_and_its_content_is_not_shown(home):
    path = home.join('mine')
    path.write_binary(b'machine example.org login me password sesame\xff\xfe\x81\n')
    try:
        request = WebSocket(URL, netrc=str(path)).build_request()
    except errors.ConnectFail as failure:
        assert 'sesame' not in str(failure) + repr(failure.cause)
    else:       # the locale's encoding took it
        assert get_header(request, b'Authorization')


@pytest.mark.skipif(os.name != 'posix', reason='by permissions of POSIX')
@pytest.mark.parametrize('mode', [0o644, 0o640, 0o602])
def test_a_netrc_at_home_that_others_may_read_fails(home, mode):
    write(home, ENTRIES, mode=mode)
    failure = fail(WebSocket(URL, netrc=True))
    assert 'chmod 600' in str(failure)


@pytest.mark.skipif(os.name != 'posix', reason='by permissions of POSIX')
@pytest.mark.parametrize('path', [b'~/.netrc', u'~/.netrc'])
def test_a_netrc_at_home_that_others_may_read_fails_by_any_type_of_path(home, path):
    write(home, ENTRIES)
    assert get_header(build(netrc=path), b'Authorization') == BASIC
    home.join('.netrc').chmod(0o644)
    assert 'chmod 600' in str(fail(WebSocket(URL, netrc=path)))


def test_a_netrc_that_cannot_be_read_fails(home):
    path = write(home, ENTRIES, name='mine')
    websocket = WebSocket(URL, netrc=path)
    os.remove(path)
    os.mkdir(path)
    failure = fail(websocket)
    assert isinstance(failure.cause, EnvironmentError)


def test_an_unknown_home_has_no_netrc(home, monkeypatch):
    def expand(_path):
        raise KeyError('getpwuid(): uid not found: 12345')

    monkeypatch.setattr(os.path, 'expanduser', expand)
    assert get_header(build(netrc=True), b'Authorization') is None


# -- cookies --

def answer(websocket, *cookies, **kwargs):
    """Feed a rejection that sets cookies."""
    lines = [b'HTTP/1.1 403 No', b'Content-Length: 0']
    lines.extend(b'Set-Cookie: ' + cookie for cookie in cookies)
    event, = websocket.feed(b'\r\n'.join(lines) + b'\r\n\r\n')
    assert event.name == 'rejected'
    websocket.reset()


def make_cookie(name, value, domain='example.org'):
    return Cookie(0, name, value, None, False, domain, False, False, '/', True, False, None, True,
                  None, None, {})


def test_without_a_jar_no_cookie_is_kept():
    websocket = WebSocket(URL)
    assert websocket.cookies is None
    answer(websocket, b'a=1')
    assert get_header(websocket.build_request(), b'Cookie') is None


def test_cookies_of_any_answer_are_sent_with_the_next_request():
    websocket = WebSocket(URL, cookies=True)
    assert get_header(websocket.build_request(), b'Cookie') is None
    answer(websocket, b'a=1; Path=/', b'b=2')
    assert fields(websocket.build_request(), b'Cookie') in ([b'a=1; b=2'], [b'b=2; a=1'])
    answer(websocket, b'a=; Max-Age=0; Path=/', b'b=3')
    assert fields(websocket.build_request(), b'Cookie') == [b'b=3']


def test_a_jar_may_be_given_and_shared():
    jar = CookieJar()
    one, two = WebSocket(URL, cookies=jar), WebSocket(u'ws://example.org/feed/2', cookies=jar)
    assert one.cookies is jar
    answer(one, b'a=1; Path=/feed')
    assert get_header(two.build_request(), b'Cookie') == b'a=1'


def test_each_websocket_has_a_jar_of_its_own():
    one, two = WebSocket(URL, cookies=True), WebSocket(URL, cookies=True)
    assert isinstance(one.cookies, CookieJar)
    assert one.cookies is not two.cookies


@pytest.mark.parametrize('set_by, cookie, url, is_sent', [
    (URL, b'a=1', u'ws://example.org/feed', True),
    (URL, b'a=1', u'ws://example.org:8080/feed', True),       # RFC 6265 8.5
    (URL, b'a=1', u'wss://example.org/feed', True),
    (URL, b'a=1', u'ws://other.example/feed', False),
    (URL, b'a=1', u'ws://www.example.org/feed', False),
    (URL, b'a=1; Domain=example.org', u'ws://www.example.org/feed', True),
    (URL, b'a=1; Domain=other.example', u'ws://other.example/feed', False),
    (URL, b'a=1; Domain=org', u'ws://other.org/feed', False),
    (URL, b'a=1; Path=/feed', u'ws://example.org/feed/x', True),
    (URL, b'a=1; Path=/feed', u'ws://example.org/', False),
    (URL, b'a=1; Max-Age=0', URL, False),
    (URL, b'a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT', URL, False),
    (u'wss://example.org/', b'a=1; Secure', u'wss://example.org/', True),
    (u'wss://example.org/', b'a=1; Secure', u'ws://example.org/', False),
    (u'wss://example.org/', b'a=1; Secure; HttpOnly', u'wss://example.org/', True),
    (u'ws://localhost:81/', b'a=1', u'ws://localhost/', True),
    (u'ws://127.0.0.1:81/', b'a=1', u'ws://127.0.0.1:82/', True),
    (u'ws://127.0.0.1/', b'a=1', u'ws://127.0.0.2/', False),
    (u'ws://[::1]:81/', b'a=1', u'ws://[::1]:82/', True),
    (u'ws://[::1]/', b'a=1', u'ws://[::2]/', False),
    (u'ws://user:pw@example.org/', b'a=1', URL, True),
    (u'ws://b\xfccher.example/\xe9?\xe9', b'a=1; Path=/', u'ws://xn--bcher-kva.example/', True),
])
def test_the_jar_decides_where_a_cookie_goes(set_by, cookie, url, is_sent):
    first = WebSocket(set_by, cookies=True)
    answer(first, cookie)
    second = WebSocket(url, cookies=first.cookies)
    assert (get_header(second.build_request(), b'Cookie') == b'a=1') is is_sent


def test_a_redirect_sets_cookies_and_gets_those_of_where_it_leads():
    websocket = WebSocket(u'ws://example.org/', cookies=True)
    websocket.cookies.set_cookie(make_cookie('theirs', '1', 'other.example'))
    request = redirect(websocket, b'/login', b'Set-Cookie: ours=2', b'Set-Cookie: more=3')
    assert sorted(get_header(request, b'Cookie').split(b'; ')) == [b'more=3', b'ours=2']
    request = redirect(websocket, b'ws://other.example/')
    assert get_header(request, b'Cookie') == b'theirs=1'


def test_a_redirect_counts_as_a_third_party():
    """For a policy that cares (RFC 2965 3.3.6)."""
    jar = CookieJar(DefaultCookiePolicy(strict_ns_unverifiable=True))
    jar.set_cookie(make_cookie('theirs', '1', 'other.example'))
    websocket = WebSocket(URL, cookies=jar)
    assert get_header(redirect(websocket, b'ws://other.example/'), b'Cookie') is None
    assert get_header(build(u'ws://other.example/', cookies=jar), b'Cookie') == b'theirs=1'


def test_cookies_of_the_caller_and_of_the_jar_make_one_header():
    """RFC 6265 5.4. The caller's wins over one of the same name."""
    websocket = WebSocket(URL, cookies=True, headers={'Cookie': ['mine=1; a=2', 'b=3']})
    websocket.add_header('cookie', 'c=4')
    for name in ('a', 'b', 'c', 'd'):
        websocket.cookies.set_cookie(make_cookie(name, 'jar'))
    request = websocket.build_request()
    assert fields(request, b'Cookie') == [b'mine=1; a=2; b=3; c=4; d=jar']


def test_the_callers_cookies_stay_as_they_are_with_an_empty_jar():
    websocket = WebSocket(URL, cookies=True, headers={'Cookie': ['a=1', 'b=2']})
    assert fields(websocket.build_request(), b'Cookie') == [b'a=1', b'b=2']


@pytest.mark.parametrize('value', [b'caf\xc3\xa9', b'caf\xe9', b'"a b"', b'{0}'])
def test_a_cookie_goes_back_byte_by_byte(value):
    websocket = WebSocket(URL, cookies=True)
    answer(websocket, b'a=' + value)
    assert get_header(websocket.build_request(), b'Cookie') == b'a=' + value


def test_a_cookie_set_by_the_caller_goes_in_utf_8_if_it_must():
    websocket = WebSocket(URL, cookies=True)
    websocket.cookies.set_cookie(make_cookie('a', u'\u20ac'))
    assert get_header(websocket.build_request(), b'Cookie') == b'a=\xe2\x82\xac'


def test_a_cookie_with_a_line_break_injects_nothing():
    websocket = WebSocket(URL, cookies=True)
    websocket.cookies.set_cookie(make_cookie('a', '1\r\nX-Evil: 1'))
    assert isinstance(fail(websocket).cause, ValueError)


def test_a_cookie_that_utf_8_cannot_encode_is_not_shown():
    websocket = WebSocket(URL, cookies=True)
    websocket.cookies.set_cookie(make_cookie('a', u'secret\udcff'))
    cause = fail(websocket).cause
    assert type(cause) is ValueError
    assert 'secret' not in repr(cause) + repr(getattr(cause, '__context__', None))


@pytest.mark.parametrize('cookies', [
    {'a': 'secret'}, 'a=secret', 1, [('a', 'secret')], object()])
def test_what_is_no_jar_raises(cookies):
    with pytest.raises(TypeError) as caught:
        WebSocket(URL, cookies=cookies)
    assert 'secret' not in str(caught.value)


def test_a_policy_of_rfc_2965_works_too():
    websocket = WebSocket(URL, cookies=CookieJar(DefaultCookiePolicy(rfc2965=True)))
    answer(websocket, b'a=1')
    request = websocket.build_request()
    assert get_header(request, b'Cookie') == b'a=1'
    assert get_header(request, b'Cookie2') is None


def test_a_jar_that_fails_ends_nothing_but_the_attempt():
    class Jar(CookieJar):
        def add_cookie_header(self, request):
            raise RuntimeError('locked')

        def extract_cookies(self, response, request):
            raise RuntimeError('locked')

    websocket = WebSocket(URL, cookies=Jar())
    assert str(fail(websocket).cause) == 'locked'
    answer(websocket, b'a=1')       # logged


def test_one_answer_sets_at_most_64_cookies():
    websocket = WebSocket(URL, cookies=True)
    answer(websocket, b'big=' + b'x' * MAX_COOKIE_SIZE,
           *[b'c' + str(i).encode('ascii') + b'=1' for i in range(MAX_COOKIES_PER_RESPONSE + 5)])
    assert len(websocket.cookies) == MAX_COOKIES_PER_RESPONSE


@pytest.mark.parametrize('is_own', [True, False])
def test_only_a_jar_of_our_own_has_a_limit(is_own):
    websocket = WebSocket(URL, cookies=True if is_own else CookieJar())
    for i in range(MAX_COOKIES):
        websocket.cookies.set_cookie(make_cookie('c{}'.format(i), '1', 'x.example'))
    answer(websocket, b'a=1')
    assert len(websocket.cookies) == (MAX_COOKIES if is_own else MAX_COOKIES + 1)


@pytest.mark.parametrize('cookie', [
    b'', b'=', b';', b'=;=;', b'a', b'a="', b'a=1; Expires=' + b'9' * 200, b'a=1; Max-Age=x',
    b'a=1; Domain=', b'a=1; Domain=..', b'a=1; Path', b'\xff=\xff', b'a=1; Version=x',
    b'a=1; Expires=Mon, 99 Foo 99999 99:99:99 GMT', b'a=1; Max-Age=' + b'9' * 400,
])
def test_a_cookie_that_makes_no_sense_ends_nothing(cookie):
    websocket = WebSocket(URL, cookies=True)
    answer(websocket, cookie)
    websocket.build_request()


def sent(websocket):
    """Return the cookies of the next request, sorted."""
    return sorted(get_header(websocket.build_request(), b'Cookie').split(b'; '))


@pytest.mark.parametrize('attribute', [
    b'Max-Age', b'max-age = ', b'Max-Age=x', b'Max-Age=' + b'9' * 400, b'Max-Age="soon"',
    b'expires=1 Jan 10000 00:00:00 GMT', b'Expires=Mon, 01 Jan 99999999999 00:00:00 GMT',
    b'expires=1 Jan ' + b'9' * 5000])
def test_an_attribute_that_the_jar_fails_at_is_ignored_without_a_warning(attribute):
    """RFC 6265 5.2. The jar would warn on stderr, and drop all cookies of the answer."""
    websocket = WebSocket(URL, cookies=True)
    answer(websocket, b'one=1; ' + attribute + b'; Path=/', b'two=2')
    assert sent(websocket) == [b'one=1', b'two=2']


def test_an_attribute_that_makes_sense_counts():
    websocket = WebSocket(URL, cookies=True)
    answer(websocket, b'one=1; Max-Age=100', b'two=2; Max-Age=0', b'three=3; Max-Age=-5',
           b'four=4; expires=Thu, 01 Jan 1970 00:00:00 GMT',
           b'five=5; expires=Fri, 31 Dec 9999 23:59:59 GMT')
    assert sent(websocket) == [b'five=5', b'one=1']
