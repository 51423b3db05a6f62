"""The opening handshake, both sides, as bytes: what comes of it on the client's end."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond.http.answer import MAX_INTERIM
from lomond.protocol.connection import SERVER, Connection
from lomond.protocol.extensions.permessage_deflate import DeflateOptions, PermessageDeflate
from lomond.protocol.handshake import Request, UpgradeRefused, answer_request
from lomond.protocol.limits import DEFAULT_LIMITS
from lomond.protocol.state import State
from lomond.websocket import WebSocket
from tests.protocol.harness import TEXT, bytewise, story
from tests.support import accept_for, make_frame

HELLO = make_frame(TEXT, b'Hello')


def _websocket(**options):
    return WebSocket('ws://example.org/chat', proxies={}, **options)


def _answer(websocket, *changes):
    """Build the right answer by hand, with fields replaced, added or ('-Name') left out."""
    fields = [
        b'HTTP/1.1 101 Switching Protocols', b'Upgrade: websocket', b'Connection: Upgrade',
        b'Sec-WebSocket-Accept: ' + accept_for(websocket.key)]
    for change in changes:
        name = change.lstrip(b'-').split(b':')[0] + b':'
        fields = [field for field in fields if not field.startswith(name)]
        if not change.startswith(b'-'):
            fields.append(change)
    return b'\r\n'.join(fields) + b'\r\n\r\n'


def _feed(websocket, *pieces):
    return story([event for piece in pieces for event in websocket.feed(piece)])


def _is_ready(happened):
    return [entry[0] for entry in happened] == ['ready']


def test_right_answer_makes_ready():
    websocket = _websocket()
    (name, response, protocol, extensions, connection), = _feed(websocket, _answer(websocket))
    assert name == 'ready'
    assert response.status_code == 101
    assert protocol is None
    assert extensions == set()
    assert connection == 1
    assert websocket.state == State.OPEN


def test_frames_that_follow_the_answer_in_the_same_read_are_not_lost():
    websocket = _websocket()
    happened = _feed(websocket, _answer(websocket) + HELLO + HELLO[:3], HELLO[3:])
    assert [entry[0] for entry in happened] == ['ready', 'text', 'text']


def test_answer_and_frames_may_come_byte_by_byte():
    websocket = _websocket()
    happened = _feed(websocket, *bytewise(_answer(websocket) + HELLO))
    assert [entry[0] for entry in happened] == ['ready', 'text']


@pytest.mark.parametrize('data', [HELLO, HELLO * 20, b'\x88\x00', b'\x81\x00\r\n\r\n'])
def test_no_frame_is_accepted_before_the_answer(data):
    websocket = _websocket()
    happened = _feed(websocket, data, _answer(websocket))
    assert [(entry[0], entry[2]) for entry in happened] == [('protocol_error', True)]
    assert websocket.state == State.CLOSED
    assert _feed(websocket, HELLO) == []


@pytest.mark.parametrize('change', [
    b'Upgrade: WEBSOCKET', b'Connection: keep-alive, upgrade', b'X-Other: {0}'])
def test_answer_that_differs_in_what_does_not_matter_makes_ready(change):
    websocket = _websocket()
    assert _is_ready(_feed(websocket, _answer(websocket, change)))


@pytest.mark.parametrize('changes', [
    (b'-Upgrade',), (b'Upgrade: h2c',), (b'-Connection',), (b'Connection: close',),
    (b'-Sec-WebSocket-Accept',), (b'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=',),
    (b'Sec-WebSocket-Protocol: chat',), (b'Sec-WebSocket-Extensions: permessage-deflate',),
    (b'Sec-WebSocket-Extensions: ,;',), (b'Upgrade: websocket\xa0',)])
def test_wrong_answer_is_rejected(changes):
    websocket = _websocket()
    happened = _feed(websocket, _answer(websocket, *changes) + HELLO, HELLO)
    assert [entry[0] for entry in happened] == ['rejected']
    assert websocket.state == State.CLOSED


def test_accept_in_another_case_is_rejected():
    websocket = _websocket()
    accept = accept_for(websocket.key)
    assert accept.swapcase() != accept
    happened = _feed(websocket, _answer(
        websocket, b'Sec-WebSocket-Accept: ' + accept.swapcase()))
    assert [entry[0] for entry in happened] == ['rejected']


def test_rejection_shows_status_headers_and_the_start_of_the_body():
    websocket = _websocket()
    head = b'HTTP/1.1 503 Busy {0}\r\nRetry-After: 7\r\nContent-Length: 5\r\n\r\n'
    assert _feed(websocket, head, b'Sor') == []
    (name, response, reason), = _feed(websocket, b'ry')
    assert name == 'rejected'
    assert (response.status_code, response.status) == (503, u'Busy {0}')
    assert response.get(u'Retry-After') == u'7'
    assert response.body == b'Sorry'
    assert '503 Busy {0}' in reason


def test_rejection_that_never_ends_is_cut():
    websocket = _websocket()
    happened = _feed(
        websocket, b'HTTP/1.1 403 No\r\n\r\n', b'x' * DEFAULT_LIMITS.body, b'x' * 10)
    assert [entry[0] for entry in happened] == ['rejected']
    assert len(happened[0][1].body) == DEFAULT_LIMITS.body


@pytest.mark.parametrize('data', [
    b'x' * (DEFAULT_LIMITS.head + 1), b'SSH-2.0-x\r\n\r\n',
    b'HTTP/1.1 100 Continue\r\n\r\n' * (MAX_INTERIM + 1)], ids=['endless', 'ssh', 'interim'])
def test_what_is_no_http_is_a_critical_protocol_error(data):
    websocket = _websocket()
    (name, error, critical, close_code), = _feed(websocket, data)
    assert (name, critical, close_code) == ('protocol_error', True, None)
    assert error
    assert websocket.state == State.CLOSED


# -- the client's request, read by the server's side --

def _handshake(client_options, protocols=(), deflate=None):
    """Shake hands in memory; return both ends and what the client saw."""
    websocket = _websocket(**client_options)
    head, protocol, agreed = answer_request(
        Request(websocket.build_request()), list(protocols),
        [] if deflate is None else [PermessageDeflate(deflate)])
    server = Connection(SERVER)
    server.accept(extensions=agreed)
    (_ready, _response, chosen, extensions, _connection), = _feed(websocket, head)
    assert chosen == protocol
    return websocket, server, chosen, extensions


def _assert_understand(websocket, server):
    """Send compressed and plain text both ways, each with what came before in its window."""
    text = u'{"price": 1.5, "caf\xe9": 1} ' * 50
    for compress in (True, False, True):
        frame = server.encode(TEXT, text.encode('utf-8'), compress)
        assert _feed(websocket, frame) == [('text', text)]
        frame = websocket.stream.encode(TEXT, text.encode('utf-8'), compress)
        assert story(server.receive(frame)) == [('text', text)]


def test_client_and_server_agree():
    websocket, server, protocol, extensions = _handshake(
        {'protocols': ['chat', 'superchat']}, protocols=['superchat'])
    assert protocol == u'superchat'
    assert extensions == set()
    _assert_understand(websocket, server)


FLAGS = [(False, False), (True, False), (False, True), (True, True)]


@pytest.mark.parametrize('client_flags', FLAGS)
@pytest.mark.parametrize('server_flags', FLAGS)
@pytest.mark.parametrize('client_bits', [(8, 8), (10, 15), (15, 10), (15, 15)])
@pytest.mark.parametrize('server_bits', [(8, 8), (9, 15), (15, 9), (15, 15)])
def test_client_and_server_agree_on_compression(
        client_flags, server_flags, client_bits, server_bits):
    websocket, server, _protocol, extensions = _handshake(
        {'compress': DeflateOptions(*(client_flags + client_bits))},
        deflate=DeflateOptions(*(server_flags + server_bits)))
    assert extensions == {u'permessage-deflate'}
    assert websocket.supports_compression and server.supports_compression
    _assert_understand(websocket, server)


@pytest.mark.parametrize('compress, deflate', [(True, None), (False, DeflateOptions())])
def test_without_compression_on_either_side_there_is_none(compress, deflate):
    websocket, server, _protocol, extensions = _handshake({'compress': compress}, deflate=deflate)
    assert extensions == set()
    assert not websocket.supports_compression and not server.supports_compression
    _assert_understand(websocket, server)


@pytest.mark.parametrize('answer', [
    b'permessage-deflate; unknown', b'permessage-deflate; server_max_window_bits',
    b'permessage-deflate; server_max_window_bits=16', b'permessage-deflate; client_max_window_bits',
    b'permessage-deflate; client_max_window_bits=7',
    b'permessage-deflate; server_no_context_takeover=1', b'permessage-deflate, permessage-deflate',
    b'permessage-deflate; server_max_window_bits=10; server_max_window_bits=10',
    b'x-webkit-deflate-frame', b'permessage-deflate;', b'permessage-deflate; {0}'])
def test_wrong_answer_to_an_offer_of_compression_is_rejected(answer):
    websocket = _websocket(compress=True)
    happened = _feed(websocket, _answer(websocket, b'Sec-WebSocket-Extensions: ' + answer))
    assert [entry[0] for entry in happened] == ['rejected']
    assert websocket.state == State.CLOSED


@pytest.mark.parametrize('name, value', [
    (b'Sec-WebSocket-Accept', None), (b'Sec-WebSocket-Protocol', b'chat')])
def test_header_that_must_not_be_repeated_is_rejected(name, value):
    websocket = _websocket(protocols=['chat'])
    line = name + b': ' + (value or accept_for(websocket.key))
    right = _answer(websocket, line)
    (happened, _response, reason), = _feed(websocket, right[:-2] + line + b'\r\n\r\n')
    assert happened == 'rejected'
    assert name.decode('ascii') in reason


def test_extension_given_in_two_headers_is_rejected():
    websocket = _websocket(compress=True)
    answer = _answer(websocket, b'Sec-WebSocket-Extensions: permessage-deflate')
    happened = _feed(
        websocket, answer[:-2] + b'Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n')
    assert [entry[0] for entry in happened] == ['rejected']


def test_request_of_another_kind_is_refused_by_the_server():
    request = _websocket().build_request()
    with pytest.raises(UpgradeRefused):
        answer_request(Request(request.replace(b'GET', b'PUT', 1)), [], [])
