"""Heads and headers of any content: parsed, or refused with a documented error."""

from __future__ import absolute_import, division, print_function

from hypothesis import given, settings
from hypothesis import strategies as st

from lomond import errors
from lomond.http.answer import ResponseReader
from lomond.http.response import Response
from lomond.protocol.extensions import negotiation, permessage_deflate
from lomond.protocol.extensions.grammar import format_extension, parse_extensions
from lomond.protocol.extensions.permessage_deflate import DeflateOptions, PermessageDeflate
from lomond.protocol.handshake import (
    Request,
    UpgradeRefused,
    answer_request,
    check_request,
    check_response,
)
from tests.property.strategies import cuts

latin = st.text(alphabet=st.characters(min_codepoint=0, max_codepoint=255), max_size=40)

# What comes close to right, more often than chance does.
extension_parts = st.sampled_from([
    u'permessage-deflate', u'client_max_window_bits', u'server_max_window_bits',
    u'client_no_context_takeover', u'server_no_context_takeover', u'=', u';', u',', u' ', u'"',
    u'\\', u'8', u'10', u'15', u'"12"', u'foo', u'{}', u'\xe9'])
extension_headers = latin | st.lists(extension_parts, max_size=10).map(u''.join)

names = st.sampled_from([
    b'Upgrade', b'Connection', b'Sec-WebSocket-Accept', b'Sec-WebSocket-Protocol',
    b'Sec-WebSocket-Extensions', b'Sec-WebSocket-Key', b'Sec-WebSocket-Version', b'Host',
    b'Content-Length', b'Transfer-Encoding', b'X', b'x y', b''])
values = st.binary(max_size=20) | st.sampled_from([
    b'websocket', b'Upgrade', b'keep-alive, upgrade', b'13', b'dGhlIHNhbXBsZSBub25jZQ==',
    b's3pPLMBiTxaQ9kYGzzhZRbK+xOo=', b'chat', b'permessage-deflate', b'5', b'\xb2', b'{0}',
    b'chunked', b'9' * 4400])
fields = st.lists(st.tuples(names, values), max_size=8).map(
    lambda pairs: b''.join(name + b': ' + value + b'\r\n' for name, value in pairs))

response_lines = st.binary(max_size=20) | st.sampled_from([
    b'HTTP/1.1 101 Switching Protocols', b'HTTP/1.1 200 OK', b'HTTP/1.1 400', b'HTTP/1.1 103 x',
    b'HTTP/1.0 101 x', b'HTTP/1.1 204 \xff{}'])
request_lines = st.binary(max_size=20) | st.sampled_from([
    b'GET / HTTP/1.1', b'GET /{0} HTTP/1.1', b'POST / HTTP/1.1', b'GET / HTTP/1.0'])

KEY = b'dGhlIHNhbXBsZSBub25jZQ=='


def _heads(lines):
    return st.tuples(lines, st.just(b'\r\n'), fields, st.just(b'\r\n')).map(b''.join) | st.binary(
        max_size=60)


@settings(max_examples=150)
@given(extension_headers)
def test_extensions_are_parsed_or_refused(value):
    try:
        extensions = parse_extensions(value)
    except errors.HandshakeError:
        return
    # What was read says the same when it is written down.
    written = u', '.join(format_extension(name, parameters) for name, parameters in extensions)
    assert parse_extensions(written) == extensions


@given(extension_headers)
def test_extensions_are_accepted_by_a_client_or_refused(value):
    try:
        agreed = negotiation.accept(value, [PermessageDeflate()])
    except errors.HandshakeError:
        return
    assert len(agreed) == len(parse_extensions(value))
    assert not agreed or 8 <= agreed[0].codec.inflate_bits <= 15


@given(extension_headers)
def test_offers_are_answered_by_a_server_or_refused(value):
    try:
        offers = parse_extensions(value)
    except errors.HandshakeError:
        return
    answered = permessage_deflate.answer_offers(DeflateOptions(), offers)
    if answered is not None:
        parameters, _codec = answered
        assert parse_extensions(format_extension(permessage_deflate.NAME, parameters))


@settings(max_examples=100)
@given(_heads(response_lines))
def test_response_is_read_or_refused(head):
    try:
        response = Response(head)
    except errors.HandshakeError:
        return
    assert 100 <= response.status_code <= 999
    assert repr(response)
    for name in response.headers:
        assert response.get(name) is not None
    try:
        check_response(response, KEY, [u'chat'])
    except errors.HandshakeError as error:
        assert error.args[0]


@settings(max_examples=100)
@given(st.data(), _heads(response_lines), st.binary(max_size=60))
def test_reader_gives_a_response_or_a_critical_error_however_it_is_fed(data, head, rest):
    def read(pieces):
        reader = ResponseReader(5000, 50)
        for piece in pieces:
            try:
                found = reader.feed(piece)
            except errors.CriticalProtocolError:
                return 'critical'
            if found is not None:
                response, _rest = found
                return response.status_code
        return None

    pieces = [piece for piece in data.draw(cuts(head + rest)) if piece]
    whole = [head + rest] if head + rest else []
    # Empty bytes are the end of the stream.
    assert read(pieces + [b'']) == read(whole + [b''])


@settings(max_examples=100)
@given(_heads(request_lines))
def test_request_is_read_or_refused(head):
    try:
        request = Request(head)
    except errors.HandshakeError:
        return
    assert repr(request)
    try:
        key = check_request(request)
    except UpgradeRefused as error:
        assert error.status_code in (400, 405, 426)
        key = None
    try:
        answer, protocol, _agreed = answer_request(request, [u'chat'], [PermessageDeflate()])
    except UpgradeRefused:
        return
    assert key is not None
    assert Response(answer).status_code == 101
    assert protocol in (None, u'chat')
