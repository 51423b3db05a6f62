"""Both sides of the opening handshake: heads read in any pieces, every check, the answers."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond.errors import CriticalProtocolError, HandshakeError
from lomond.http.answer import MAX_INTERIM, ResponseReader
from lomond.http.head import HeadReader
from lomond.http.response import Response
from lomond.protocol.extensions.permessage_deflate import DeflateOptions, PermessageDeflate
from lomond.protocol.handshake import (
    Request,
    RequestReader,
    UpgradeRefused,
    accept_key,
    answer_request,
    build_head,
    check_protocols,
    check_request,
    check_response,
    plain_answer,
)
from lomond.protocol.limits import DEFAULT_LIMITS
from tests.protocol.harness import bytewise

KEY = b'dGhlIHNhbXBsZSBub25jZQ=='
ACCEPT = b's3pPLMBiTxaQ9kYGzzhZRbK+xOo='

ACCEPTED = {
    b'Upgrade': b'websocket',
    b'Connection': b'Upgrade',
    b'Sec-WebSocket-Accept': ACCEPT,
}

REQUESTED = {
    b'Host': b'example.org',
    b'Upgrade': b'websocket',
    b'Connection': b'Upgrade',
    b'Sec-WebSocket-Key': KEY,
    b'Sec-WebSocket-Version': b'13',
}


def _head(first_line, fields, **changes):
    """Build a head from fields, some changed, or left out if None."""
    fields = dict(fields)
    fields.update((name.replace('_', '-').encode('ascii'), changes[name]) for name in changes)
    lines = [first_line]
    lines.extend(name + b': ' + value for name, value in sorted(fields.items())
                 if value is not None)
    return b'\r\n'.join(lines) + b'\r\n\r\n'


def _response(line=b'HTTP/1.1 101 Switching Protocols', **changes):
    return Response(_head(line, ACCEPTED, **changes))


def _request(line=b'GET /chat HTTP/1.1', **changes):
    return Request(_head(line, REQUESTED, **changes))


def test_rfc_6455_example_of_the_accept_key():
    assert accept_key(KEY) == ACCEPT


def test_head_is_built():
    assert build_head(u'GET / HTTP/1.1', [(u'A', u'b'), (u'C', u'caf\xe9')]) == (
        b'GET / HTTP/1.1\r\nA: b\r\nC: caf\xc3\xa9\r\n\r\n')
    assert build_head(u'HTTP/1.1 400 Bad Request', []) == b'HTTP/1.1 400 Bad Request\r\n\r\n'


# -- subprotocols --

@pytest.mark.parametrize('protocols, expected', [
    (None, []), ([], []), (('a', u'b'), ['a', u'b']), (iter(['chat.v2']), ['chat.v2'])])
def test_subprotocols_are_a_list_of_tokens(protocols, expected):
    assert check_protocols(protocols) == expected


@pytest.mark.parametrize('protocols, error', [
    (u'chat', TypeError), (b'chat', TypeError), ([u''], ValueError), ([u'a b'], ValueError),
    (['a,b'], ValueError), ([u'caf\xe9'], ValueError), ([5], ValueError), ([None], ValueError),
    (['a', u'a'], ValueError)])
def test_what_is_not_a_list_of_tokens_is_refused(protocols, error):
    with pytest.raises(error):
        check_protocols(protocols)


# -- reading a head --

def _feed(reader, pieces):
    """Feed pieces until there is a result; return it and the pieces left."""
    pieces = list(pieces)
    while pieces:
        found = reader.feed(pieces.pop(0))
        if found is not None:
            return found, pieces
    return None, pieces


def test_head_is_found_in_whatever_pieces_it_comes():
    data = b'HTTP/1.1 101 OK\r\nA: b\r\n\r\n\x81\x05Hello'
    head, rest = data[:-7], data[-7:]
    for split in range(len(data) + 1):
        reader = HeadReader(DEFAULT_LIMITS.head)
        found = reader.feed(data[:split])
        if split < len(head):
            assert found is None
            found = reader.feed(data[split:])
            assert found == (head, rest)
        else:
            assert found == (head, data[len(head):split])


def test_reader_is_ready_for_another_head():
    reader = HeadReader(DEFAULT_LIMITS.head)
    assert reader.feed(b'a\r\n\r\nb') == (b'a\r\n\r\n', b'b')
    assert reader.feed(b'c\r\n\r\n') == (b'c\r\n\r\n', b'')
    assert reader.feed(b'\r\nd') == (b'\r\n', b'd')


@pytest.mark.parametrize('pieces', [
    [b'x' * 97 + b'\r\n\r\n'], [b'x' * 101], bytewise(b'x' * 101),
    bytewise(b'x' * 97 + b'\r\n\r\n')], ids=['whole', 'endless', 'dripping', 'dripping-whole'])
def test_head_over_the_limit_is_refused(pieces):
    reader = HeadReader(100)
    with pytest.raises(CriticalProtocolError):
        _feed(reader, pieces)


def test_head_at_the_limit_is_taken_whatever_follows():
    reader = HeadReader(100)
    head = b'x' * 96 + b'\r\n\r\n'
    assert reader.feed(head + b'y' * 1000) == (head, b'y' * 1000)


# -- reading a client's request --

@pytest.mark.parametrize('start, words, at', [
    (b'\x16\x03\x01\x02\x00', 'this port speaks plain HTTP, not TLS', 1),
    (b'\x81\x02hi', 'the first byte', 1), (b'get / HTTP/1.1\r\n', 'the first byte', 1),
    (b'\r\n\r\n', 'the first byte', 1),
    (b'GET /\r\n', 'not an HTTP request', 7), (b'GET / HTTP/2\r\n', 'not an HTTP request', 14),
    (b'EHLO example.org\r\n', 'not an HTTP request', 18),
    (b'GET / HTTP/1.1\n', 'CRLF', 15), (b'GET / HTTP/1.1\r\nHost: x\n', 'CRLF', 24),
])
def test_what_cannot_become_a_request_is_refused_at_once(start, words, at):
    for pieces in ([start], bytewise(start)):
        reader = RequestReader(100)
        fed = []
        with pytest.raises(HandshakeError) as caught:
            for piece in pieces:
                fed.append(piece)
                assert reader.feed(piece) is None
        assert words in str(caught.value)
    assert len(fed) == at


@pytest.mark.parametrize('first, may_follow', [
    (b'@', False), (b'A', True), (b'Z', True), (b'[', False)])
def test_a_request_begins_with_a_capital_letter(first, may_follow):
    reader = RequestReader(100)
    if may_follow:
        assert reader.feed(first) is None
    else:
        with pytest.raises(HandshakeError):
            reader.feed(first)


def test_folded_line_of_a_request_is_refused():
    """RFC 9112 5.2: of a response it has to be unfolded."""
    with pytest.raises(HandshakeError):
        _request(X=b'a\r\n b')
    assert _response(X=b'a\r\n b').get(u'X') == u'a b'


# -- reading the server's answer --

def _reader(max_body=DEFAULT_LIMITS.body):
    return ResponseReader(DEFAULT_LIMITS.head, max_body)


def test_bytes_after_the_101_are_not_lost():
    data = _response().raw + b'\x81\x05Hello'
    (response, rest), _left = _feed(_reader(), [data])
    assert response.status_code == 101
    assert rest == b'\x81\x05Hello'


def test_interim_answers_are_skipped():
    data = b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n'
    data += b'HTTP/1.1 199 New\r\n\r\n' + _response().raw
    for pieces in ([data], bytewise(data)):
        (response, rest), left = _feed(_reader(), pieces)
        assert (response.status_code, rest, left) == (101, b'', [])


@pytest.mark.parametrize('status', [200, 201, 299, 300, 400, 599])
def test_any_other_answer_is_the_last(status):
    reader = _reader()
    head = 'HTTP/1.1 {} Something\r\nContent-Length: 0\r\n\r\n'.format(status)
    response, _rest = reader.feed(head.encode('ascii'))
    assert response.status_code == status


def test_folded_headers_of_the_101_are_unfolded():
    data = _response(Connection=b'keep-alive,\r\n\tUpgrade').raw
    for pieces in ([data], bytewise(data)):
        (response, _rest), _left = _feed(_reader(), pieces)
        assert check_response(response, KEY, []) is None


def test_endless_interim_answers_are_refused():
    data = b'HTTP/1.1 100 Continue\r\n\r\n'
    reader = _reader()
    assert reader.feed(data * MAX_INTERIM) is None
    with pytest.raises(CriticalProtocolError):
        reader.feed(data)


@pytest.mark.parametrize('data', [
    b'SSH-2.0-OpenSSH_9.6\r\n\r\n', b'\r\n\r\n', b'HTTP/1.1 101 OK\r\nno colon\r\n\r\n',
    b'HTTP/2 200\r\n\r\n', b'220 {braces}\r\n\r\n', b'\x16\x03\x01\r\n\r\n'])
def test_what_is_not_http_is_critical(data):
    with pytest.raises(CriticalProtocolError):
        _reader().feed(data)


@pytest.mark.parametrize('head, body, expected, left', [
    (b'Content-Length: 5', b'Hellomore', b'Hello', b''),
    (b'Content-Length: 0', b'', b'', b''),
    (b'Transfer-Encoding: chunked', b'3\r\nHel\r\n2;x=y\r\nlo\r\n0\r\n\r\n', b'Hello', b''),
    (b'Transfer-Encoding: gzip, Chunked', b'5 \r\nHello\r\n0\r\n\r\n', b'Hello', b''),
    (b'Transfer-Encoding: chunked\r\nContent-Length: 1', b'5\r\nHello\r\n0\r\n\r\n', b'Hello', b''),
    (b'Transfer-Encoding: chunked', b'5\r\nHello\r\nbroken\r\n', b'Hello', b''),
])
def test_body_of_a_rejection_ends_where_it_says(head, body, expected, left):
    data = b'HTTP/1.1 400 Bad Request\r\n' + head + b'\r\n\r\n' + body
    response, rest = _reader().feed(data)
    assert (response.status_code, response.body, rest) == (400, expected, left)


@pytest.mark.parametrize('head, body, expected', [
    (b'Content-Length: 5', b'Hello', b'Hello'),
    (b'Transfer-Encoding: chunked', b'3\r\nHel\r\n2\r\nlo\r\n0\r\n', b'Hello'),
])
def test_body_of_a_rejection_may_come_byte_by_byte(head, body, expected):
    data = b'HTTP/1.1 400 Bad Request\r\n' + head + b'\r\n\r\n' + body
    (response, _rest), left = _feed(_reader(), bytewise(data))
    assert (response.body, left) == (expected, [])


@pytest.mark.parametrize('head', [
    b'X: y', b'Content-Length: 6', b'Content-Length: x', b'Content-Length: -1', b'Content-Length:',
    b'Content-Length: 5, 6', b'Content-Length: +5', b'Content-Length: 0x5', b'Content-Length: 5 5',
    b'Content-Length: \xb2',                    # a digit, to Unicode
    b'Content-Length: ' + b'9' * 5000,          # more than int() takes
    b'Content-Length: 5\r\nContent-Length: 6', b'Content-Length: 5\r\nContent-Length: 5, 3',
    b'Content-Length: 5, x',
])
def test_body_without_a_usable_length_ends_with_the_stream(head):
    reader = _reader()
    assert reader.feed(b'HTTP/1.1 400 Bad Request\r\n' + head + b'\r\n\r\nHel') is None
    assert reader.feed(b'lo') is None
    response, rest = reader.feed(b'')
    assert (response.body, rest) == (b'Hello', b'')


@pytest.mark.parametrize('head', [
    b'Content-Length: 5, 5', b'Content-Length: 5\r\nContent-Length: 5',
    b'content-length: 5 ,5\r\nX: y\r\nContent-Length: 5,5'])
def test_length_that_is_said_again_is_still_the_length(head):
    """RFC 9112 6.3: a proxy may have joined them."""
    response, _rest = _reader().feed(b'HTTP/1.1 400 Bad Request\r\n' + head + b'\r\n\r\nHello')
    assert response.body == b'Hello'


def test_chunked_body_that_is_cut_off_is_kept_as_far_as_it_came():
    reader = _reader()
    head = b'HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n'
    assert reader.feed(head + b'3\r\nHel\r\n9\r\nlo') is None
    response, _rest = reader.feed(b'')
    assert response.body == b'Hello'


def test_end_of_the_stream_within_the_head_completes_nothing():
    reader = _reader()
    assert reader.feed(b'HTTP/1.1 400') is None
    assert reader.feed(b'') is None


@pytest.mark.parametrize('status', [b'204 No Content', b'304 Not Modified'])
def test_some_rejections_have_no_body(status):
    head = b'HTTP/1.1 ' + status + b'\r\n\r\n'
    for rest in (b'', b'more'):
        response, _rest = _reader().feed(head + rest)
        assert response.body == b''


@pytest.mark.parametrize('head', [b'X: y', b'Content-Length: 1000000'])
def test_only_the_start_of_a_long_body_is_kept_and_waited_for(head):
    reader = _reader(100)
    assert reader.feed(b'HTTP/1.1 400 Bad Request\r\n' + head + b'\r\n\r\n' + b'x' * 99) is None
    response, rest = reader.feed(b'x' * 50)
    assert (response.body, rest) == (b'x' * 100, b'')


def test_a_body_that_fills_the_room_is_not_waited_for_any_more():
    reader = _reader(100)
    response, _rest = reader.feed(b'HTTP/1.1 400 Bad Request\r\n\r\n' + b'x' * 100)
    assert response.body == b'x' * 100


def test_long_chunked_body_is_cut_too():
    reader = _reader(100)
    response, _rest = reader.feed(
        b'HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\nFFF\r\n' + b'x' * 4095)
    assert response.body == b'x' * 95       # of 100 as they came


@pytest.mark.parametrize('answer', [
    b'HTTP/1.1 403 No\r\nContent-Length: 6\r\n\r\nsecret, and more',
    b'HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\nFF\r\n' + b'x' * 150,
    b'HTTP/1.1 304 Not Modified\r\n\r\nbody',
])
def test_body_of_a_rejection_is_the_same_however_it_is_cut(answer):
    whole, _rest = _reader(100).feed(answer)
    (single, _rest), _left = _feed(_reader(100), bytewise(answer))
    assert single.body == whole.body


# -- the client's checks --

@pytest.mark.parametrize('changes', [
    {},
    {'Upgrade': b'WebSocket'},
    {'Upgrade': b'h2c, websocket'},
    {'Connection': b'keep-alive, upgrade'},
    {'Connection': b'UPGRADE'},
])
def test_right_answer_is_accepted(changes):
    assert check_response(_response(**changes), KEY, []) is None


@pytest.mark.parametrize('line, changes, words', [
    (b'HTTP/1.1 200 OK', {}, '200 OK'),
    (b'HTTP/1.1 301 Moved {0}', {}, '301 Moved {0}'),
    (b'HTTP/1.1 404 nicht m\xf6glich', {}, '404'),
    (b'HTTP/1.1 426 Upgrade Required', {}, '426'),
    (b'HTTP/1.0 101 Switching Protocols', {}, 'HTTP/1.0'),
    (None, {'Upgrade': None}, 'Upgrade'),
    (None, {'Upgrade': b'h2c'}, 'h2c'),
    (None, {'Upgrade': b'websockets'}, 'websockets'),
    (None, {'Upgrade': b'websocket/13'}, 'websocket/13'),
    (None, {'Connection': None}, 'Connection'),
    (None, {'Connection': b'close'}, 'close'),
    (None, {'Connection': b'keep-alive'}, 'keep-alive'),
    (None, {'Sec_WebSocket_Accept': None}, 'missing'),
    (None, {'Sec_WebSocket_Accept': b''}, 'does not match'),
    (None, {'Sec_WebSocket_Accept': ACCEPT.lower()}, 'does not match'),
    (None, {'Sec_WebSocket_Accept': ACCEPT + b'='}, 'does not match'),
    (None, {'Sec_WebSocket_Accept': accept_key(b'another')}, 'does not match'),
    (None, {'Sec_WebSocket_Accept': b'\xff\xfe'}, 'does not match'),
    (None, {'Sec_WebSocket_Protocol': b'chat'}, 'not offered'),
    (None, {'Sec_WebSocket_Protocol': b''}, 'not offered'),
])
def test_wrong_answer_is_refused(line, changes, words):
    response = _response(line, **changes) if line else _response(**changes)
    with pytest.raises(HandshakeError) as caught:
        check_response(response, KEY, [])
    assert words in str(caught.value)


def _repeat(head, name, value):
    """Return a head with one more header."""
    return head[:-2] + name + b': ' + value + b'\r\n\r\n'


@pytest.mark.parametrize('name, value, again', [
    (b'Sec-WebSocket-Accept', ACCEPT, ACCEPT),
    (b'Sec-WebSocket-Accept', ACCEPT, accept_key(b'another')),
    (b'Sec-WebSocket-Accept', ACCEPT, b''),
    (b'Sec-WebSocket-Protocol', b'chat', b'chat'),
    (b'Sec-WebSocket-Protocol', b'chat', b'superchat'),
    (b'Sec-WebSocket-Protocol', b'chat', b''),
    (b'Sec-WebSocket-Protocol', b'', b''),
])
def test_answer_that_repeats_what_it_may_say_once_is_refused(name, value, again):
    """Be it with the same value: RFC 6455 11.3.3, 11.3.4."""
    response = _response(**{name.decode('ascii').replace('-', '_'): value})
    with pytest.raises(HandshakeError) as caught:
        check_response(Response(_repeat(response.raw, name, again)), KEY, ['chat', 'superchat'])
    assert 'more than one ' + name.decode('ascii') in str(caught.value)


@pytest.mark.parametrize('name, value', [
    (b'Upgrade', b'websocket'), (b'Connection', b'keep-alive'), (b'Server', b'x')])
def test_answer_may_repeat_other_headers(name, value):
    assert check_response(Response(_repeat(_response().raw, name, value)), KEY, []) is None


def test_accept_given_twice_is_refused():
    response = Response(_response().raw[:-2] + b'Sec-WebSocket-Accept: ' + ACCEPT + b'\r\n\r\n')
    with pytest.raises(HandshakeError):
        check_response(response, KEY, [])


@pytest.mark.parametrize('chosen', [u'chat', u'superchat'])
def test_protocol_that_was_offered_is_returned(chosen):
    response = _response(Sec_WebSocket_Protocol=chosen.encode('ascii'))
    assert check_response(response, KEY, ['chat', u'superchat']) == chosen


@pytest.mark.parametrize('chosen', [b'Chat', b'chat, superchat', b'other', b'cha', b'{0}'])
def test_protocol_that_was_not_offered_is_refused(chosen):
    response = _response(Sec_WebSocket_Protocol=chosen)
    with pytest.raises(HandshakeError) as caught:
        check_response(response, KEY, ['chat', 'superchat'])
    assert chosen.decode('ascii') in str(caught.value)


def test_server_need_not_choose_a_protocol():
    assert check_response(_response(), KEY, ['chat']) is None


# -- the server's checks --

def test_request_is_taken_apart():
    request = _request(b'GET /chat?a=b HTTP/1.1')
    assert (request.method, request.resource, request.http_ver) == (
        u'GET', u'/chat?a=b', u'HTTP/1.1')
    assert request.raw.startswith(b'GET /chat')
    assert request.get(u'HOST') == u'example.org'
    assert request.get(u'X-Missing', u'default') == u'default'
    assert 'GET /chat?a=***' in repr(request)


@pytest.mark.parametrize('resource, path, query', [
    (b'/', u'/', u''),
    (b'/chat?a=b', u'/chat', u'a=b'),
    (b'/a%2Fb%20c?a=%26&b=?', u'/a%2Fb%20c', u'a=%26&b=?'),
    (b'/chat?', u'/chat', u''),
    (b'/?next=http://example.org/x', u'/', u'next=http://example.org/x'),
    (b'/to/http://example.org/x', u'/to/http://example.org/x', u''),
    (b'//example.org/x', u'//example.org/x', u''),
    (b'http://example.org/chat?a=b', u'/chat', u'a=b'),         # RFC 9112 3.2.2
    (b'HTTP://example.org', u'/', u''),
    (b'ws://example.org?a=/b', u'/', u'a=/b'),
])
def test_request_has_a_path_and_a_query(resource, path, query):
    request = _request(b'GET ' + resource + b' HTTP/1.1')
    assert (request.path, request.query) == (path, query)
    assert request.resource == resource.decode('ascii')


@pytest.mark.parametrize('line', [
    b'', b'GET', b'GET /', b'GET / HTTP/2', b'GET / HTTP/1.1 ', b'GET  / HTTP/1.1',
    b'get / HTTP/1.1', b'GET /a b HTTP/1.1', b'HTTP/1.1 200 OK', b'GET /\n HTTP/1.1',
    b'GET /\0 HTTP/1.1', b'GET /\r HTTP/1.1', b'\x16\x03\x01'])
def test_what_is_not_a_request_is_refused(line):
    with pytest.raises(HandshakeError):
        Request(line + b'\r\nHost: x\r\n\r\n')


@pytest.mark.parametrize('changes', [
    {},
    {'Upgrade': b'WebSocket'}, {'Upgrade': b'h2c, websocket'},
    {'Connection': b'keep-alive, Upgrade'}, {'Origin': b'http://example.com'}])
def test_right_request_is_accepted(changes):
    assert check_request(_request(**changes)) == KEY


@pytest.mark.parametrize('line, changes, status_code', [
    (b'POST / HTTP/1.1', {}, 405),
    (b'HEAD / HTTP/1.1', {}, 405),
    (b'GET / HTTP/1.0', {}, 426),
    (None, {'Host': None}, 400),
    (None, {'Upgrade': None}, 426),
    (None, {'Upgrade': b'h2c'}, 426),
    (None, {'Connection': None}, 426),
    (None, {'Connection': b'keep-alive'}, 426),
    (None, {'Sec_WebSocket_Version': None}, 426),
    (None, {'Sec_WebSocket_Version': b'8'}, 426),
    (None, {'Sec_WebSocket_Version': b'13, 8'}, 426),
    (None, {'Sec_WebSocket_Key': None}, 400),
    (None, {'Sec_WebSocket_Key': b''}, 400),
    (None, {'Sec_WebSocket_Key': b'short'}, 400),
    (None, {'Sec_WebSocket_Key': KEY[:-1]}, 400),
    (None, {'Sec_WebSocket_Key': KEY + b'x'}, 400),
    (None, {'Sec_WebSocket_Key': b'!' * 22 + b'=='}, 400),
    (None, {'Sec_WebSocket_Key': b'\xe9' * 22 + b'=='}, 400),
])
def test_wrong_request_is_refused_with_its_http_status(line, changes, status_code):
    request = _request(line, **changes) if line else _request(**changes)
    with pytest.raises(UpgradeRefused) as caught:
        check_request(request)
    assert caught.value.status_code == status_code
    headers = dict(caught.value.headers)
    if status_code == 405:
        assert headers == {u'Allow': u'GET'}
    elif status_code == 426:
        # RFC 6455 4.4
        assert headers == {u'Upgrade': u'websocket', u'Sec-WebSocket-Version': u'13'}
    else:
        assert headers == {}


@pytest.mark.parametrize('name, again', [
    (b'Host', b'example.org'), (b'Host', b'example.com'), (b'Host', b''),       # RFC 9112 3.2
    (b'Sec-WebSocket-Version', b'13'), (b'Sec-WebSocket-Version', b'8'),        # RFC 6455 11.3.5
    (b'Sec-WebSocket-Key', KEY), (b'Sec-WebSocket-Key', b''),                   # RFC 6455 11.3.1
])
def test_request_that_repeats_what_it_may_say_once_is_refused(name, again):
    with pytest.raises(UpgradeRefused) as caught:
        check_request(Request(_repeat(_request().raw, name, again)))
    assert caught.value.status_code == 400
    assert 'more than one ' + name.decode('ascii') in str(caught.value)


@pytest.mark.parametrize('name, value', [
    (b'Upgrade', b'h2c'), (b'Connection', b'keep-alive'), (b'Origin', b'http://example.org'),
    (b'Sec-WebSocket-Protocol', b'chat')])
def test_request_may_repeat_other_headers(name, value):
    head = _repeat(_repeat(_request().raw, name, value), name, value)
    assert check_request(Request(head)) == KEY


# -- the server's answer --

def test_server_accepts_with_the_key():
    head, protocol, agreed = answer_request(_request(), [], [])
    response = Response(head)
    assert check_response(response, KEY, []) is None
    assert [name for name, _value in response.headers.items()] == [
        u'Upgrade', u'Connection', u'Sec-WebSocket-Accept']
    assert (protocol, agreed) == (None, [])


@pytest.mark.parametrize('offered, supported, chosen', [
    (b'a', ['a'], u'a'),
    (b'a, b', ['b', 'a'], u'b'),
    (b'a, b', ['c', 'b'], u'b'),
    (b'a', ['A'], None),
    (b'a', [], None),
    (None, ['a'], None),
])
def test_server_chooses_its_first_protocol_that_was_offered(offered, supported, chosen):
    head, protocol, _agreed = answer_request(
        _request(Sec_WebSocket_Protocol=offered), supported, [])
    assert protocol == chosen
    assert Response(head).get(u'Sec-WebSocket-Protocol') == chosen


@pytest.mark.parametrize('offered, deflate, answered', [
    (None, DeflateOptions(), None),
    (b'permessage-deflate', None, None),
    (b'permessage-deflate', DeflateOptions(), u'permessage-deflate'),
    (b'unknown, permessage-deflate; client_max_window_bits', DeflateOptions(
        client_max_window_bits=10), u'permessage-deflate; client_max_window_bits=10'),
    (b'permessage-deflate; unknown', DeflateOptions(), None),
    (b'malformed malformed', None, None),
])
def test_server_answers_offers_of_compression(offered, deflate, answered):
    head, _protocol, agreed = answer_request(
        _request(Sec_WebSocket_Extensions=offered), [],
        [] if deflate is None else [PermessageDeflate(deflate)])
    assert Response(head).get(u'Sec-WebSocket-Extensions') == answered
    assert bool(agreed) is (answered is not None)


def test_malformed_offer_is_refused_where_compression_is_known():
    with pytest.raises(UpgradeRefused) as caught:
        answer_request(
            _request(Sec_WebSocket_Extensions=b'malformed malformed'), [],
            [PermessageDeflate()])
    assert caught.value.status_code == 400


def test_wrong_request_gets_no_answer():
    with pytest.raises(UpgradeRefused):
        answer_request(_request(Host=None), [], [])


@pytest.mark.parametrize('status_code, phrase', [
    (400, b'Bad Request'), (405, b'Method Not Allowed'), (426, b'Upgrade Required'),
    (503, b'Service Unavailable')])
def test_answer_without_an_upgrade_says_why_in_plain_text(status_code, phrase):
    answer = plain_answer(status_code, u'caf\xe9: closed', [(u'Retry-After', u'60')])
    head, _end, body = answer.partition(b'\r\n\r\n')
    first_line, _end, fields = head.partition(b'\r\n')
    assert first_line == b'HTTP/1.1 ' + str(status_code).encode('ascii') + b' ' + phrase
    assert fields.split(b'\r\n') == [
        b'Connection: close', b'Content-Type: text/plain; charset=utf-8', b'Content-Length: 14',
        b'Retry-After: 60']
    assert body == b'caf\xc3\xa9: closed\n'
