"""lomond.protocol.refusal: which origins are allowed, and what a refusal may be."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond.http.url import parse_origin
from lomond.protocol.handshake import Request
from lomond.protocol.refusal import Refusal, check_origins, refuse_origin, refuse_request

REQUEST = Request(b'GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://Example.org\r\n\r\n')


@pytest.mark.parametrize('origin, serialised', [
    (u'https://example.org', u'https://example.org'),
    (u'HTTPS://EXAMPLE.ORG', u'https://example.org'),
    (u'https://example.org:443', u'https://example.org'),
    (u'http://example.org:80', u'http://example.org'),
    (u'http://example.org:443', u'http://example.org:443'),
    (u'http://127.0.0.1:8080', u'http://127.0.0.1:8080'),
    (u'http://[::1]:8080', u'http://[::1]:8080'),
    (u'https://b\xfccher.example', u'https://xn--bcher-kva.example'),
    (u'chrome-extension://abcdefgh', u'chrome-extension://abcdefgh'),
    ('https://example.org', u'https://example.org'),
])
def test_origin_is_serialised_as_a_browser_does(origin, serialised):
    assert parse_origin(origin) == serialised


def test_no_list_of_origins_refuses_nothing():
    assert check_origins(None) is None
    assert refuse_origin(REQUEST, None) is None


def test_function_gets_the_origin_as_it_was_sent():
    seen = []
    assert refuse_origin(REQUEST, check_origins(seen.append)).status == 403
    assert seen == [u'https://Example.org']


def test_origin_in_the_answer_is_cut():
    request = Request(b'GET / HTTP/1.1\r\nOrigin: ' + b'x' * 5000 + b'\r\n\r\n')
    assert len(refuse_origin(request, check_origins([])).body) < 400


def test_refusal_keeps_its_body_as_bytes():
    refusal = Refusal(404, u'caf\xe9', {u'X-A': u'b'})
    assert (refusal.status, refusal.body, refusal.headers) == (
        404, b'caf\xc3\xa9', [(u'X-A', b'b')])
    assert Refusal(404, b'\xff').body == b'\xff'
    assert Refusal(503).body == b''
    assert repr(refusal) == '<refusal 404>'


@pytest.mark.parametrize('arguments, error', [
    ((299,), ValueError), ((600,), ValueError), ((None,), TypeError), ((True,), TypeError),
    ((404, None), TypeError), ((404, bytearray(b'x')), TypeError), ((404, u'\ud800'), ValueError),
    ((404, u'', u'X: y'), TypeError), ((404, u'', {u'X': u'a\0b'}), ValueError),
    ((404, u'', {u'User-Agent': None}), TypeError),
    ((404, u'', {u'Connection': u'keep-alive'}), ValueError),
    ((404, u'', {u'Content-Length': u'1'}), ValueError),
])
def test_wrong_refusal_raises_where_it_is_made(arguments, error):
    with pytest.raises(error):
        Refusal(*arguments)


def test_function_returns_none_or_a_refusal():
    refusal = Refusal(404)
    assert refuse_request(REQUEST, None) is None
    assert refuse_request(REQUEST, lambda request: None if request is REQUEST else refusal) is None
    assert refuse_request(REQUEST, lambda _request: refusal) is refusal
    with pytest.raises(TypeError, match='must return None'):
        refuse_request(REQUEST, lambda _request: (404, u''))
