"""Where a Location leads, and which redirects are followed: no socket needed."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond.errors import HandshakeError
from lomond.http.redirects import REDIRECT_STATUSES, RedirectChain, resolve
from lomond.http.response import Response
from lomond.http.url import parse_url

BASE = u'ws://me:pw@example.org/a/b?c=d'


def answer(*locations, **kwargs):
    """Make a response with these Location headers."""
    lines = ['HTTP/1.1 {} Moved'.format(kwargs.get('status', 302)).encode('ascii')]
    lines.extend(b'Location: ' + location for location in locations)
    return Response(b'\r\n'.join(lines) + b'\r\n\r\n')


def begin(url=BASE):
    return RedirectChain.begin(parse_url(url))


# -- resolving --

@pytest.mark.parametrize('location, url', [
    # RFC 3986 5.4, with /a/b?c=d for a base.
    (u'g', u'ws://example.org/a/g'),
    (u'./g', u'ws://example.org/a/g'),
    (u'g/', u'ws://example.org/a/g/'),
    (u'/g', u'ws://example.org/g'),
    (u'?y', u'ws://example.org/a/b?y'),
    (u'?', u'ws://example.org/a/b'),
    (u'#s', u'ws://example.org/a/b?c=d'),
    (u'g?y#s', u'ws://example.org/a/g?y'),
    (u'.', u'ws://example.org/a/'),
    (u'..', u'ws://example.org/'),
    (u'../g', u'ws://example.org/g'),
    (u'../../../g', u'ws://example.org/g'),
    (u'/./g', u'ws://example.org/g'),
    (u'/x/../y/./z/..', u'ws://example.org/y/'),
    (u'g;x=1/../y', u'ws://example.org/a/y'),
    (u'g?y/../x', u'ws://example.org/a/g?y/../x'),
    (u'/.//g', u'ws://example.org//g'),
    (u'//other.example/g', u'ws://other.example/g'),
    (u'//other.example', u'ws://other.example/'),
    # Absolute, with every scheme that will do.
    (u'ws://other.example:81/x', u'ws://other.example:81/x'),
    (u'wss://other.example/x', u'wss://other.example/x'),
    (u'http://other.example/x', u'ws://other.example/x'),
    (u'HTTPS://Other.Example/x#frag', u'wss://other.example/x'),
    (u'https://[::1]:8443/', u'wss://[::1]:8443/'),
    # What should be encoded.
    (u'/a b', u'ws://example.org/a%20b'),
    (u'/a%20b', u'ws://example.org/a%20b'),
    (u'/caf\xc3\xa9', u'ws://example.org/caf%C3%A9'),       # UTF-8, read as Latin-1
    (u'/caf\xe9', u'ws://example.org/caf%C3%A9'),           # Latin-1
    (u'\\\\other.example', u'ws://example.org/a/%5C%5Cother.example'),
    (u'/@other.example', u'ws://example.org/@other.example'),
])
def test_a_location_is_resolved_against_the_present_url(location, url):
    assert resolve(location, parse_url(BASE)).url == url


@pytest.mark.parametrize('location', [
    u'ftp://example.org/', u'javascript:alert(1)', u'mailto:a@b', u'file:///etc/passwd',
    u'ws+unix:///run/socket', u'localhost:80/x', u'ws:/x', u'ws:x', u'ws://', u'//', u'http:///x',
    u'ws://example.org:99999/', u'ws://[::1/', u'/a\tb', u'ws://a\x01b/', u'ws://user:pw@/',
    u'ws://exa mple/',
])
def test_a_location_that_leads_nowhere_is_refused(location):
    with pytest.raises(ValueError) as caught:
        resolve(location, parse_url(BASE))
    assert 'pw' not in str(caught.value)


@pytest.mark.parametrize('location, credentials', [
    (u'/x', (u'me', u'pw')),
    (u'ws://example.org/x', (u'me', u'pw')),
    (u'http://EXAMPLE.org:80/x', (u'me', u'pw')),
    (u'ws://you:secret@example.org/x', (u'you', u'secret')),
    (u'ws://other.example/x', None),
    (u'//other.example/x', None),
    (u'ws://example.org:81/x', None),
    (u'wss://example.org/x', None),
    (u'wss://example.org:80/x', None),
    (u'ws://you:secret@other.example/x', (u'you', u'secret')),
])
def test_credentials_stay_at_their_origin(location, credentials):
    assert resolve(location, parse_url(BASE)).credentials == credentials


def test_an_ipv6_zone_is_kept_by_a_relative_location():
    target = parse_url(u'ws://[fe80::1%25eth0]:81/a')
    assert resolve(u'/b', target) == target._replace(resource=u'/b')


@pytest.mark.parametrize('location', [u'/b', u'http://localhost/b', u'ws://localhost:80/b'])
def test_a_unix_socket_is_not_left_by_what_is_the_same_origin(location):
    target = parse_url(u'ws+unix:///run/socket:/a')
    found = begin(u'ws+unix:///run/socket:/a').follow(answer(location.encode('ascii')), 5).target
    assert found == target._replace(resource=u'/b')
    assert found.unix_path == u'/run/socket'


# -- following --

@pytest.mark.parametrize('status', sorted(REDIRECT_STATUSES))
def test_a_redirect_is_followed(status):
    chain = begin().follow(answer(b'/x', status=status), 5)
    assert chain.target.url == u'ws://example.org/x'
    assert chain.first.url == u'ws://example.org/a/b?c=d'
    assert chain.redirects == 1
    assert not chain.is_cross_origin


@pytest.mark.parametrize('response, limit', [
    (answer(b'/x', status=200), 5),
    (answer(b'/x', status=201), 5),
    (answer(b'/x', status=300), 5),
    (answer(b'/x', status=304), 5),
    (answer(b'/x', status=305), 5),
    (answer(b'/x', status=401), 5),
    (answer(b'/x', status=101), 5),
    (answer(), 5),
    (answer(b''), 5),
    (answer(b'/x'), 0),
])
def test_what_is_no_redirect_is_not_followed(response, limit):
    assert begin().follow(response, limit) is None


@pytest.mark.parametrize('locations, stays', [
    ([b'/x'], True),
    ([b'ws://example.org/x'], True),
    ([b'//example.org:80/x'], True),
    ([b'//other.example/x'], False),
    ([b'ws://www.example.org/x'], False),
    ([b'ws://example.org.:80/x'], False),
    ([b'ws://example.org:81/x'], False),
    ([b'wss://example.org/x'], False),
    ([b'//other.example/x', b'/y'], False),
    ([b'//other.example/x', b'ws://example.org/a/b'], False),      # once away, away
])
def test_another_scheme_host_or_port_is_cross_origin(locations, stays):
    chain = begin()
    for location in locations:
        chain = chain.follow(answer(location), 5)
    assert chain.is_cross_origin is not stays


@pytest.mark.parametrize('url, response, words', [
    (u'wss://example.org/', answer(b'ws://example.org/'), u'from wss to ws'),
    (u'wss://example.org/', answer(b'http://other.example/'), u'from wss to ws'),
    (BASE, answer(b'/x', b'/y'), u'more than one Location'),
    (BASE, answer(b'ftp://example.org/'), u'ftp'),
    (BASE, answer(b'ws://user:secret@example.org:x/'), u'port'),
    (BASE, answer(b'ws+unix:///run/socket'), u'ws+unix'),
    (u'ws+unix:///run/socket', answer(b'ws://example.org/'), u'Unix socket'),
    (u'ws+unix:///run/socket', answer(b'//localhost:81/'), u'Unix socket'),
])
def test_a_redirect_that_is_not_followed_says_why(url, response, words):
    with pytest.raises(HandshakeError) as caught:
        begin(url).follow(response, 5)
    assert words in str(caught.value)
    assert '302' in str(caught.value)
    assert 'secret' not in str(caught.value)


def test_a_given_socket_leads_to_no_other_server():
    assert begin().follow(answer(b'/x'), 5, has_socket=True) is not None
    with pytest.raises(HandshakeError) as caught:
        begin().follow(answer(b'ws://other.example/'), 5, has_socket=True)
    assert 'other.example' in str(caught.value)


def test_the_same_location_twice_is_one():
    assert begin().follow(answer(b'/x', b'/x'), 5) is not None


def test_a_loop_ends_by_the_limit():
    chain = begin()
    for _ in range(3):
        chain = chain.follow(answer(b'/a/b?c=d'), 3)
    with pytest.raises(HandshakeError) as caught:
        chain.follow(answer(b'/a/b?c=d'), 3)
    assert 'more than 3 redirects' in str(caught.value)


def test_a_reason_is_short_and_may_have_braces():
    with pytest.raises(HandshakeError) as caught:
        begin().follow(Response(
            b'HTTP/1.1 302 {0}\r\nLocation: ws://{x}' + b'y' * 5000 + b'\r\n\r\n'), 5)
    assert len(str(caught.value)) < 400
    assert '{0}' in str(caught.value)
