"""The server's answer as its user sees it."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond.errors import HandshakeError
from lomond.http.response import Response

HEAD = b'HTTP/1.1 503 Service Unavailable\r\nRetry-After: 12\r\nX-List: a, b\r\nx-list: c\r\n\r\n'


def test_response_has_the_attributes_of_0_3_x():
    response = Response(HEAD)
    assert response.raw == HEAD
    assert response.http_ver == u'HTTP/1.1'
    assert response.status_code == 503
    assert response.status == u'Service Unavailable'
    assert response.headers[u'retry-after'] == u'12'
    assert response.body == b''


@pytest.mark.parametrize('name', [u'Retry-After', u'retry-after', b'RETRY-AFTER'])
def test_header_names_are_case_insensitive(name):
    assert Response(HEAD).get(name) == u'12'


def test_missing_header_gives_the_default():
    assert Response(HEAD).get(u'X-Missing') is None
    assert Response(HEAD).get(u'X-Missing', u'default') == u'default'


def test_get_list_splits_and_gathers():
    assert Response(HEAD).get_list(u'X-List') == [u'a', u'b', u'c']
    assert Response(HEAD).get(u'X-List') == u'a, b, c'


@pytest.mark.parametrize('line, code, status', [
    (b'HTTP/1.1 200 OK', 200, u'OK'),
    (b'HTTP/1.0 404 Not Found', 404, u'Not Found'),
    (b'HTTP/1.1 200 ', 200, u''),
    (b'HTTP/1.1 200', 200, u''),
    (b'HTTP/1.1 404 nicht m\xf6glich', 404, u'nicht m\xf6glich'),
    (b'HTTP/1.1 400 {braces}', 400, u'{braces}'),
])
def test_status_line_is_taken_apart(line, code, status):
    response = Response(line + b'\r\n\r\n')
    assert response.status_code == code
    assert response.status == status
    assert str(code) in repr(response)
    assert repr(response).startswith('<response ')


@pytest.mark.parametrize('line', [
    b'', b'HTTP/1.1', b'HTTP/1.1 ', b'HTTP/1.1 20', b'HTTP/1.1 2000 OK', b'HTTP/1.1 099 OK',
    b'HTTP/1.1 abc OK', b'HTTP/1.1  200 OK', b'HTTP/2 200 OK', b'HTTP/2.0 200 OK',
    b'http/1.1 200 OK', b' HTTP/1.1 200 OK', b'SSH-2.0-OpenSSH_9.6', b'GET / HTTP/1.1',
    b'HTTP/1.1 200 O\rK', b'HTTP/1.1 200 O\0K', b'HTTP/1.1 \xb2\xb2\xb2 OK',
])
def test_what_is_not_http_1_is_refused(line):
    with pytest.raises(HandshakeError):
        Response(line + b'\r\nA: b\r\n\r\n')
