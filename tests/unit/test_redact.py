# -*- coding: utf-8 -*-
"""lomond.http.redact: what is left of URLs, heads and traces when their secrets are taken out."""

from __future__ import absolute_import, division, print_function

import logging

import pytest

from lomond.errors import HandshakeError
from lomond.http.headers import parse_head
from lomond.http.redact import (
    TraceRecord,
    hide_credentials,
    redact_head,
    redact_line,
    redact_text,
    redact_url,
)
from lomond.http.response import Response
from lomond.protocol.handshake import Request


@pytest.mark.parametrize('url, shown', [
    (u'ws://example.org/', u'ws://example.org/'),
    (u'ws://me:SECRET@example.org/', u'ws://***@example.org/'),
    (u'http://me:SECRET/tail@127.0.0.1:9', u'http://***@127.0.0.1:9'),
    (u'http://me:SECRET#tail@127.0.0.1:9', u'http://***@127.0.0.1:9'),
    (u'http://me:SECRET?tail@127.0.0.1:9', u'http://***@127.0.0.1:9'),
    (u'socks5h://SECRET@SECRET://SECRET@proxy/x', u'socks5h://***@proxy/x'),
    (u'ws+unix://me:SECRET@/run/a.sock:/b', u'ws+unix://***@/run/a.sock:/b'),
    (u'me:SECRET@proxy:3128', u'***@proxy:3128'),
    (u'me:SEC/RET://SECRET@proxy', u'***@proxy'),
    (u'//me:SECRET@proxy', u'***@proxy'),
    (u'ws:me:SECRET@proxy', u'***@proxy'),
    (u' ws://me:SECRET@proxy', u'***@proxy'),
    (u'ws://me:SEC\nRET@proxy', u'ws://***@proxy'),
    (u'\xfc:SECRET@proxy', u'***@proxy'),
    (u'', u''), (u'@', u'***@'), (u'://@', u'***@'), (u'ws://@', u'ws://***@'),
])
def test_nothing_before_the_last_at_sign_of_a_url_is_left_but_its_scheme(url, shown):
    assert hide_credentials(url) == shown


@pytest.mark.parametrize('text, shown', [
    (u'', u''),
    (u'/path?mail=me@example.org', u'/path?mail=***'),
    (u'GET /?a=SECRET&b=SECRET;c=#d=SECRET HTTP/1.1', u'GET /?a=***&b=***;***#d=*** HTTP/1.1'),
    (u'is /?SECRET right? no', u'is /?*** right? no'),
    (u'GET http://me:SEC RET@a/ HTTP/2', u'GET http://***@a/ HTTP/2'),
    (u'me@b, http://a', u'me@b, http://a'),
    (u'http://a:S@b, http://c:S@d', u'http://***@d'),
    (u'://' * 30000, u'://' * 30000),
    (u'//me:S@b/', u'//***@b/'), (u'Location: //me:S@b/', u'Location: //***@b/'),
    (u'ws:me:S@b', u'ws:***@b'), (u'X: ws:/me:S@b', u'X: ws:***@b'),
    (u'GET /ws:price@trade HTTP/1.1', u'GET /ws:price@trade HTTP/1.1'),
    (u'a:' * 30000 + u' @', u'a:' * 30000 + u' @'), (u'a' * 60000 + u'@', u'a' * 60000 + u'@'),
])
def test_credentials_of_urls_in_a_text_are_hidden(text, shown):
    assert redact_text(text) == shown


@pytest.mark.parametrize('line, shown', [
    (u'Host: example.org', u'Host: example.org'),
    (u'Authorization: Basic SECRET', u'Authorization: ***'),
    (u'aUTHORIZATION:SECRET', u'aUTHORIZATION: ***'),
    (u'Proxy-Authorization: Basic SECRET', u'Proxy-Authorization: ***'),
    (u'Cookie: a=SECRET; b=SECRET', u'Cookie: ***'),
    (u'Set-Cookie: a=SECRET; Path=/', u'Set-Cookie: ***'),
    (u'X-API-Key: SECRET', u'X-API-Key: ***'),
    (u'X-Auth-Token: SECRET', u'X-Auth-Token: ***'),
    (u'X-Amz-Signature: SECRET', u'X-Amz-Signature: ***'),
    (u'Sec-WebSocket-Key: nonce', u'Sec-WebSocket-Key: nonce'),
    (u'Sec-WebSocket-Protocol: chat', u'Sec-WebSocket-Protocol: chat'),
    (u'Sec-WebSocket-Protocol: graphql-transport-ws,v12.stomp , ocpp2.0.1, MBWS, base64',
     u'Sec-WebSocket-Protocol: graphql-transport-ws, v12.stomp, ocpp2.0.1, MBWS, base64'),
    (u'Sec-WebSocket-Protocol: v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0',
     u'Sec-WebSocket-Protocol: v4.channel.k8s.io, ***'),
    (u'Sec-WebSocket-Protocol: Bearer, hidden, chat', u'Sec-WebSocket-Protocol: Bearer, ***, chat'),
    (u'sec-websocket-protocol:access_token,hidden', u'sec-websocket-protocol: access_token, ***'),
    (u'Sec-WebSocket-Protocol: chat, hunter2', u'Sec-WebSocket-Protocol: chat, ***'),
    (u'Sec-WebSocket-Protocol: eyJhbGciOi.eyJzdWIi.SflKxwRJ, 0f4d88a1c0',
     u'Sec-WebSocket-Protocol: ***, ***'),
    (u'Sec-WebSocket-Protocol: token-hidden, HIDDEN', u'Sec-WebSocket-Protocol: ***, ***'),
    (u'Location: ws://example.org/?a=SECRET', u'Location: ws://example.org/?a=***'),
    (u'WWW-Authenticate: Basic realm="a"', u'WWW-Authenticate: Basic realm="a"'),
    (u'Location: ws://me:SECRET@example.org/', u'Location: ws://***@example.org/'),
    (u'From: me@example.org', u'From: me@example.org'),
    # malformed
    (u'Authorization : Basic SECRET', u'Authorization: ***'),
    (u'Authorization Basic me:SECRET', u'Authorization: ***'),
    (u'Authorization', u'Authorization: ***'),
    (u'Cookie=SECRET', u'Cookie: ***'), (u'Authorization=SECRET', u'Authorization: ***'),
    (u'X: 1\rAuthorization: SECRET', u'X: 1\rAuthorization***'),
    (u'The Cookie SECRET', u'The Cookie: ***'),
    (u' SECRET', u'***'), (u'\tSECRET: x', u'***'),
    (u'no colon', u'no colon'), (u': x', u': x'), (u'', u''),
])
def test_secret_of_a_header_is_hidden_by_its_name(line, shown):
    assert redact_line(line) == shown


@pytest.mark.parametrize('url, shown', [
    (u'ws://example.org', u'ws://example.org'),
    (u'ws://[::1]:80/a', u'ws://[::1]:80/a'),
    (u'ws://me:SECRET@example.org/a?b=SECRET', u'ws://***@example.org/a?b=***'),
    (u'ws://example.org/?mail=SECRET@example.com', u'ws://example.org/?mail=***'),
    (u'ws://example.org/?a=1&SECRET', u'ws://example.org/?a=***&***'),
    (u'ws://example.org/?U0VDUkVU=', u'ws://example.org/?***'),
    (u'ws://example.org/?U0VDUkVUCg==', u'ws://example.org/?***'),
    (u'wss://example.org/a#token=SECRET', u'wss://example.org/a#***'),
    (u'ws://me:SEC?RET@example.org/', u'ws://***@example.org/'),
    (u'//me:SECRET@example.org/', u'***@example.org/'),
    (u'/a?b=SECRET', u'/a?b=***'),
    (u'ws+unix:///run/a.sock:/b?c=SECRET', u'ws+unix:///run/a.sock:/b?c=***'),
    (u'', u''),
])
def test_url_is_shown_without_the_secrets_in_any_part_of_it(url, shown):
    assert redact_url(url) == shown


@pytest.mark.parametrize('end', [b'\r\n', b'\n'])
def test_head_is_unchanged_except_for_secrets(end):
    head = end.join([
        b'GET /a?b=c@d HTTP/1.1', b'Host: \xfc', b'Authorization: Basic SECRET',
        b'X-A: caf\xc3\xa9', b'cookie: a=SECRET;', b'\tb=SECRET', b'', b''])
    assert redact_head(head) == end.join([
        b'GET /a?b=*** HTTP/1.1', b'Host: \xfc', b'Authorization: ***',
        b'X-A: caf\xc3\xa9', b'cookie: ***', b'***', b'', b''])


# -- where heads are shown --

HEAD = (b'\r\nHost: a\r\nAuthorization: Basic SECRET\r\nSet-Cookie: a=SECRET\r\n'
        b'Location: http://me:SECRET@b/\r\nX-Other: shown\r\n\r\n')


def test_repr_of_headers_hides_what_they_hold():
    headers = Response(b'HTTP/1.1 302 Found' + HEAD).headers
    assert headers.get(u'Authorization') == u'Basic SECRET'
    assert 'shown' in repr(headers) and 'Host' in repr(headers)
    assert 'SECRET' not in repr(headers)


def test_repr_of_a_request_hides_credentials_in_its_target():
    request = Request(b'GET http://me:SECRET@example.org/ HTTP/1.1' + HEAD)
    assert request.resource == u'http://me:SECRET@example.org/'
    assert repr(request) == '<request GET http://***@example.org/>'


@pytest.mark.parametrize('line', [
    b'Authorization : Basic SECRET', b'Authorization Basic SECRET', b' SECRET', b'\tSECRET: a',
    b'Cookie: a=SECRET\0', b'Set-Cookie\0: SECRET', b'X: http://me:SECRET@a\n',
    b'x' * 70 + b' Cookie SECRET'])
def test_refusal_of_a_head_shows_no_secret(line):
    with pytest.raises(HandshakeError) as caught:
        parse_head(b'GET / HTTP/1.1\r\nHost: a\r\n' + line + b'\r\n\r\n')
    assert 'SECRET' not in repr(caught.value)
    assert 'SECRET' not in str(caught.value)


@pytest.mark.parametrize('make', [Request, Response])
def test_refusal_of_a_head_without_a_first_line_shows_no_secret(make):
    with pytest.raises(HandshakeError) as caught:
        make(b'AUTHORIZATION: SECRET\r\nHost: a\r\n\r\n')
    assert 'SECRET' not in repr(caught.value)


@pytest.mark.parametrize('make', [Request, Response])
@pytest.mark.parametrize('line', [
    b'GET http://me:SECRET@a/ HTTP/2', b'GET http://me:SEC RET@a/ HTTP/1.1',
    b'GET http://me:SECRET@a/\0 HTTP/1.1'])
def test_refusal_of_a_first_line_shows_no_credentials(make, line):
    with pytest.raises(HandshakeError) as caught:
        make(line + b'\r\nHost: a\r\n\r\n')
    assert 'RET' not in repr(caught.value)


# -- traces --

def test_record_of_a_trace_has_both_forms_of_a_head_and_shows_one():
    head = b'GET / HTTP/1.1\r\nCookie: SECRET\r\n\r\n'
    record = TraceRecord({'head': head}, stage='request', url=u'ws://a/')
    assert record['head'] == head
    assert record['redacted_head'] == b'GET / HTTP/1.1\r\nCookie: ***\r\n\r\n'
    assert sorted(record) == ['head', 'redacted_head', 'stage', 'url']
    assert record.redacted() == {
        'head': record['redacted_head'], 'stage': 'request', 'url': u'ws://a/'}
    assert repr(record) == repr(record.redacted())
    shown = logging.LogRecord('name', logging.DEBUG, 'path', 1, '%s %r', (record, record), None)
    for text in (repr(record), str(record), '{}'.format(record), shown.getMessage()):
        assert 'SECRET' not in text


def test_record_of_a_trace_hides_what_is_secret_in_its_urls():
    record = TraceRecord(
        stage='redirect', url=u'ws://a/?b=SECRET', location=u'ws://a/?c=SECRET', status=302)
    assert record['url'] == u'ws://a/?b=SECRET'
    assert 'SECRET' not in repr(record)
    assert record.redacted() == {
        'stage': 'redirect', 'url': u'ws://a/?b=***', 'location': u'ws://a/?c=***', 'status': 302}


def test_record_without_a_head_is_a_dict_like_any_other():
    record = TraceRecord({'address': u'::1'}, stage='connect')
    assert record == record.redacted() == {'address': u'::1', 'stage': 'connect'}
    assert isinstance(record, dict)
