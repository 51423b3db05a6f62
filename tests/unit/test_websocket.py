"""The WebSocket that the user holds: options, the request, calls without a connection, feed."""

from __future__ import absolute_import, division, print_function

import base64
import copy
import errno
import os
import pickle
import ssl

import pytest

from lomond import WebSocket, __version__, errors
from lomond.constants import USER_AGENT
from lomond.http.response import Response
from lomond.protocol.extensions.permessage_deflate import DeflateOptions
from tests.support import accept_for, get_header, make_close, make_frame

URL = u'ws://example.org/feed'


def build_answer(websocket, *headers):
    """Return the bytes of a 101 for the websocket's key."""
    lines = [
        b'HTTP/1.1 101 Switching Protocols',
        b'Upgrade: websocket',
        b'Connection: Upgrade',
        b'Sec-WebSocket-Accept: ' + accept_for(websocket.key),
    ]
    lines.extend(headers)
    return b'\r\n'.join(lines) + b'\r\n\r\n'


# -- options and attributes --

def test_defaults():
    websocket = WebSocket(URL)
    assert websocket.url == URL
    assert websocket.proxies is None
    assert websocket.protocols == []
    assert websocket.agent == USER_AGENT
    assert websocket.compress is False
    assert websocket.ssl_verify is True
    assert websocket.ssl_cafile is None
    assert websocket.ssl_context is None
    assert websocket.trace is None
    assert websocket.max_message_size == 64 * 1024 * 1024
    assert websocket.connect_timeout == 30.0
    assert websocket.write_timeout == 30.0
    assert websocket.headers is None
    assert websocket.cookies is None
    assert websocket.netrc is False
    assert websocket.max_redirects == 5


def test_parameters_may_be_given_by_position():
    """The order of 0.3.x: url, proxies, protocols, agent, compress, ssl_verify, ..."""
    context = ssl.create_default_context()
    websocket = WebSocket(URL, {}, [u'a'], u'agent', True, False, None, context, max)
    assert websocket.proxies == {}
    assert websocket.protocols == [u'a']
    assert websocket.agent == u'agent'
    assert websocket.compress is True
    assert websocket.ssl_verify is False
    assert websocket.ssl_context is context
    assert websocket.trace is max


@pytest.mark.parametrize('url, scheme, host, port, resource, is_secure', [
    (u'ws://example.org', u'ws', u'example.org', 80, u'/', False),
    (u'wss://example.org/a?b=c', u'wss', u'example.org', 443, u'/a?b=c', True),
    (u'ws://[::1]:8080/x', u'ws', u'::1', 8080, u'/x', False),
    ('ws://native.example/', u'ws', u'native.example', 80, u'/', False),
])
def test_url_is_taken_apart(url, scheme, host, port, resource, is_secure):
    websocket = WebSocket(url)
    assert (websocket.scheme, websocket.host, websocket.port) == (scheme, host, port)
    assert websocket.resource == resource
    assert websocket.is_secure is is_secure


def test_state_before_connecting():
    websocket = WebSocket(URL)
    assert websocket.state == 'connecting'
    assert websocket.is_active
    assert not websocket.is_closing
    assert not websocket.is_closed
    assert websocket.sent_close_time is None
    assert not websocket.supports_compression
    assert websocket.session is None
    assert websocket.stream is not None
    assert len(websocket.key) == 24


def test_repr_shows_no_password():
    assert repr(WebSocket(u'ws://user:secret@example.org/')) == "WebSocket('ws://example.org/')"


@pytest.mark.parametrize('options, error', [
    ({'protocols': u'chat'}, TypeError),
    ({'protocols': b'chat'}, TypeError),
    ({'protocols': [u'a b']}, ValueError),
    ({'protocols': [u'']}, ValueError),
    ({'protocols': [5]}, ValueError),
    ({'protocols': [u'a', u'a']}, ValueError),
    ({'protocols': [u'a\r\nX: y']}, ValueError),
    ({'agent': u'a\r\nX: y'}, ValueError),
    ({'agent': u'a\0'}, ValueError),
    ({'agent': 5}, TypeError),
    ({'compress': 'yes'}, TypeError),
    ({'compress': 2}, TypeError),
    ({'max_message_size': 0}, ValueError),
    ({'max_message_size': -1}, ValueError),
    ({'max_message_size': 1.5}, TypeError),
    ({'max_message_size': True}, TypeError),
    ({'connect_timeout': -1}, ValueError),
    ({'connect_timeout': float('nan')}, ValueError),
    ({'connect_timeout': u'3'}, TypeError),
    ({'write_timeout': True}, TypeError),
    ({'write_timeout': float('inf')}, ValueError),
    ({'trace': 5}, TypeError),
    ({'max_redirects': -1}, ValueError),
    ({'max_redirects': None}, TypeError),
    ({'max_redirects': True}, TypeError),
    ({'ssl_cafile': '/no/such/file'}, ValueError),
    ({'ssl_context': 5}, TypeError),
    ({'proxies': 'http://localhost'}, TypeError),
    ({'proxies': {'http': 'ftp://localhost'}}, ValueError),
    ({'json_loads': 'orjson'}, TypeError),
    ({'json_loads': False}, TypeError),
    ({'json_dumps': 5}, TypeError),
])
def test_wrong_options_raise_at_the_call(options, error):
    with pytest.raises(error) as caught:
        WebSocket(URL, **options)
    assert str(caught.value)


@pytest.mark.parametrize('url', [
    u'http://example.org/', u'example.org', u'', u'ws://', u'ws://example.org/#a',
    u'ws://example.org:99999/', u'ws://example.org/a\r\nX: y',
])
def test_a_url_that_is_none_of_a_websocket_raises(url):
    with pytest.raises(ValueError):
        WebSocket(url)


def test_a_url_of_another_type_raises():
    with pytest.raises(TypeError):
        WebSocket(5)


@pytest.mark.parametrize('option', [
    'poll', 'ping_rate', 'ping_timeout', 'close_timeout', 'idle_timeout', 'max_age', 'spin',
    'heartbeat'])
def test_wrong_times_raise_when_connect_is_called(option):
    websocket = WebSocket(URL)
    with pytest.raises(ValueError):
        websocket.connect(**{option: -1})
    with pytest.raises(TypeError):
        websocket.connect(**{option: 'x'})


@pytest.mark.parametrize('spin', [1.01, 30])
def test_a_spin_of_more_than_a_second_is_refused_and_the_unit_named(spin):
    with pytest.raises(ValueError, match=r'spin must be at most 1 second.*spin=30e-6'):
        WebSocket(URL).connect(spin=spin)
    with pytest.raises(ValueError, match=r'spin must be at most 1 second'):
        WebSocket(URL).open(spin=spin)


def test_stale_disconnects_without_an_idle_timeout_is_refused():
    with pytest.raises(ValueError) as caught:
        WebSocket(URL).connect(stale_disconnects=True)
    assert 'idle_timeout' in str(caught.value)


def test_connect_takes_its_options_by_position():
    """In the order of 0.3.x: session_class, poll, ping_rate, ping_timeout, auto_pong, ..."""
    calls = []

    class Session(object):
        is_running = False

        def __init__(self, websocket):
            self.websocket = websocket

        def run(self, **options):
            calls.append(options)
            return iter([])

    websocket = WebSocket(URL)
    assert list(websocket.connect(Session, 1, 2, 3, False, 4)) == []
    assert websocket.session.websocket is websocket
    assert calls == [{
        'poll': 1, 'ping_rate': 2, 'ping_timeout': 3, 'auto_pong': False, 'close_timeout': 4}]
    # A newer one only if it is set: 0.3.x's run() has none of them.
    assert list(websocket.connect(Session, spin=30e-6)) == []
    assert calls[1]['spin'] == 30e-6


@pytest.mark.parametrize('url, error', [
    (u'http://example.org/', ValueError), (u'', ValueError), (5, TypeError), (None, TypeError),
])
def test_the_url_can_be_set_to_another_websocket_url_only(url, error):
    websocket = WebSocket(URL)
    with pytest.raises(error):
        websocket.url = url
    assert websocket.url == URL
    websocket.url = u'wss://user:pw@other.example/x'
    assert (websocket.scheme, websocket.host, websocket.port) == (u'wss', u'other.example', 443)
    assert get_header(websocket.build_request(), b'Host') == b'other.example'


# -- calls without a connection --

@pytest.mark.parametrize('call', [
    lambda websocket: websocket.send_text(u'x'),
    lambda websocket: websocket.send_text(u'x', compress=False),
    lambda websocket: websocket.send_binary(b'x'),
    lambda websocket: websocket.send_utf8(b'x'),
    lambda websocket: websocket.send_json(a=1),
    lambda websocket: websocket.send_many([u'x']),
    lambda websocket: websocket.send_ping(),
    lambda websocket: websocket.send_pong(b''),
])
@pytest.mark.parametrize('has_session', [False, True])
def test_sending_before_ready_is_unavailable(call, has_session):
    websocket = WebSocket(URL)
    if has_session:
        websocket.connect()
    with pytest.raises(errors.WebSocketUnavailable) as caught:
        call(websocket)
    assert not isinstance(caught.value, (errors.WebSocketClosed, errors.WebSocketClosing))
    assert 'Ready' in str(caught.value)


@pytest.mark.parametrize('text', [b'bytes', bytearray(b'x'), None, 5, [u'x', 5], {u'x': 1}])
def test_send_text_takes_only_text(text):
    with pytest.raises(TypeError):
        WebSocket(URL).send_text(text)


def test_send_text_refuses_a_lone_surrogate():
    with pytest.raises(ValueError):
        WebSocket(URL).send_text(u'\ud800')


@pytest.mark.parametrize('data', [u'text', None, 5, [1, 2]])
@pytest.mark.parametrize('method', ['send_binary', 'send_utf8', 'send_ping', 'send_pong'])
def test_binary_data_is_only_bytes(method, data):
    with pytest.raises(TypeError):
        getattr(WebSocket(URL), method)(data)


INVALID_UTF_8 = [
    b'\xff', b'caf\xc3', b'\xed\xa0\x80', b'\xc0\xaf', b'\xf4\x90\x80\x80', b'\xe2\x82', b'\x80']


@pytest.mark.parametrize('data', INVALID_UTF_8 + [
    b'x' * 65535 + b'\xc3', b'x' * 65535 + b'\xc3x', b'x' * 65536 + b'\x80' + b'x' * 70000,
    b'x' * 200000 + b'\xed\xb0\x80', bytearray(b'\xff'), memoryview(b'\xff')])
def test_send_utf8_refuses_what_is_not_utf_8_and_does_not_show_it(data):
    with pytest.raises(ValueError) as caught:
        WebSocket(URL).send_utf8(data)
    assert type(caught.value) is ValueError
    assert str(caught.value) == (
        'send_utf8 takes UTF-8, and these bytes are not: decode them for send_text, or send any '
        'bytes by send_binary')
    assert getattr(caught.value, '__context__', None) is None       # which would have the bytes


@pytest.mark.parametrize('method', ['send_ping', 'send_pong'])
def test_a_control_payload_over_125_bytes_raises(method):
    websocket = WebSocket(URL)
    with pytest.raises(ValueError):
        getattr(websocket, method)(b'x' * 126)
    with pytest.raises(errors.WebSocketUnavailable):
        getattr(websocket, method)(b'x' * 125)


def test_send_json_takes_one_object_or_keywords():
    websocket = WebSocket(URL)
    with pytest.raises(TypeError):
        websocket.send_json({}, a=1)
    with pytest.raises(TypeError):
        websocket.send_json(object())


@pytest.mark.parametrize('written, error', [
    (None, TypeError), (5, TypeError), (bytearray(b'{}'), TypeError), ({}, TypeError),
    (b'"\xff"', ValueError), (b'"\xed\xa0\x80"', ValueError), (u'"\ud800"', ValueError),
    (b'{}', errors.WebSocketUnavailable), (u'{}', errors.WebSocketUnavailable),
])
def test_what_json_dumps_returns_must_be_text_or_its_utf_8(written, error):
    websocket = WebSocket(URL, json_dumps=lambda _obj: written)
    with pytest.raises(error):
        websocket.send_json(a=1)


def test_what_json_dumps_raises_goes_through():
    def fail(_obj):
        raise KeyError('no such writer')

    with pytest.raises(KeyError):
        WebSocket(URL, json_dumps=fail).send_json(a=1)


@pytest.mark.parametrize('code', [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536, -1])
def test_close_refuses_codes_that_may_not_be_sent(code):
    with pytest.raises(ValueError):
        WebSocket(URL).close(code)


@pytest.mark.parametrize('code, reason', [
    (u'1000', u''), (1000.0, u''), (True, u''), (1000, 5), (1000, None),
])
def test_close_refuses_other_types(code, reason):
    with pytest.raises(TypeError):
        WebSocket(URL).close(code, reason)


def test_ending_what_never_began_does_nothing():
    websocket = WebSocket(URL)
    websocket.close()
    websocket.close(1001, u'again')
    websocket.close(None)
    websocket.force_disconnect()
    websocket.on_disconnect()
    websocket.reset()
    assert websocket.state == 'connecting'


def test_reset_forgets_the_last_connection():
    websocket = WebSocket(URL)
    key = websocket.key
    websocket.connect()
    websocket.on_disconnect()
    assert websocket.is_closed
    websocket.reset()
    assert websocket.key != key
    assert websocket.state == 'connecting'
    assert websocket.session is None


def test_leaving_a_with_block_without_a_connection_is_harmless():
    with WebSocket(URL) as websocket:
        assert isinstance(websocket, WebSocket)


# -- the request --

def test_request_is_a_get_with_the_headers_of_rfc_6455():
    websocket = WebSocket(u'ws://example.org:8080/a?b=c')
    assert websocket.build_request() == (
        b'GET /a?b=c HTTP/1.1\r\n'
        b'Host: example.org:8080\r\n'
        b'Upgrade: websocket\r\n'
        b'Connection: Upgrade\r\n'
        b'Sec-WebSocket-Key: ' + websocket.key + b'\r\n'
        b'Sec-WebSocket-Version: 13\r\n'
        b'User-Agent: ' + USER_AGENT.encode('ascii') + b'\r\n'
        b'\r\n')


@pytest.mark.parametrize('url, address', [
    (u'ws://example.org/feed', (u'example.org', 80)),
    (u'wss://me:pw@b\xfccher.example:8443', (u'xn--bcher-kva.example', 8443)),
    (u'wss://[::1]/', (u'::1', 443)),
    (u'ws+unix:///run/feed.sock:/prices', u'/run/feed.sock'),
    (u'wss+unix:///run/a%3Ab%3F', u'/run/a:b?'),
])
def test_the_address_is_known_before_it_connects(url, address):
    websocket = WebSocket(url)
    assert websocket.address == address
    assert websocket.peer_address is None
    assert websocket.local_address is None
    with pytest.raises(AttributeError):
        websocket.address = address


def test_user_agent_names_the_version():
    assert __version__ in USER_AGENT


def test_request_offers_protocols_compression_and_credentials():
    websocket = WebSocket(
        u'ws://user:p%40ss@example.org/', protocols=[u'b', u'a'], compress=True, agent=u'me')
    request = websocket.build_request()
    assert get_header(request, b'Sec-WebSocket-Protocol') == b'b, a'
    assert get_header(request, b'Sec-WebSocket-Extensions') == (
        b'permessage-deflate; client_max_window_bits')
    assert get_header(request, b'Authorization') == b'Basic dXNlcjpwQHNz'
    assert get_header(request, b'User-Agent') == b'me'
    assert get_header(request, b'Host') == b'example.org'


def test_request_offers_the_compression_that_was_asked_for():
    options = DeflateOptions(server_no_context_takeover=True, client_max_window_bits=10)
    assert get_header(
        WebSocket(URL, compress=options).build_request(), b'Sec-WebSocket-Extensions') == (
            b'permessage-deflate; server_no_context_takeover; client_max_window_bits=10')


def test_an_empty_agent_leaves_the_header_out():
    assert get_header(WebSocket(URL, agent=u'').build_request(), b'User-Agent') is None


@pytest.mark.parametrize('name, value', [
    (u'X-Token', u'abc'), (b'X-Token', b'abc'), ('X-Token', 'abc'),
])
def test_add_header_takes_text_and_bytes(name, value):
    websocket = WebSocket(URL)
    websocket.add_header(name, value)
    assert get_header(websocket.build_request(), b'X-Token') == b'abc'


@pytest.mark.parametrize('name', [u'Host', u'user-agent', u'Authorization'])
def test_an_added_header_replaces_the_default(name):
    websocket = WebSocket(u'ws://user:secret@example.org/')
    websocket.add_header(name, u'mine')
    request = websocket.build_request()
    assert request.lower().count(b'\r\n' + name.lower().encode('ascii') + b':') == 1
    assert get_header(request, name.encode('ascii')) == b'mine'


def test_a_header_may_be_added_twice():
    websocket = WebSocket(URL)
    websocket.add_header(u'Cookie', u'a=1')
    websocket.add_header(u'Cookie', u'b=2')
    assert websocket.build_request().count(b'Cookie: ') == 2


@pytest.mark.parametrize('name, value, error', [
    (u'X-Token', u'a\r\nX-Evil: 1', ValueError),
    (u'X-Token', u'a\nb', ValueError),
    (u'X-Token', u'a\0b', ValueError),
    (u'X-Token', b'a\r\nX-Evil: 1', ValueError),
    (u'X Token', u'a', ValueError),
    (u'X-Token:', u'a', ValueError),
    (u'', u'a', ValueError),
    (u'X-\xe4', u'a', ValueError),
    (u'Upgrade', u'h2c', ValueError),
    (u'Sec-WebSocket-Key', u'x', ValueError),
    (u'X-Token', 5, TypeError),
    (5, u'a', TypeError),
])
def test_headers_that_cannot_be_sent_raise(name, value, error):
    with pytest.raises(error):
        WebSocket(URL).add_header(name, value)


# -- feed --

def feed_names(websocket, data):
    return [event.name for event in websocket.feed(data)]


def test_feed_opens_and_yields_messages_byte_by_byte():
    websocket = WebSocket(URL)
    data = build_answer(websocket) + make_frame(1, b'one') + make_frame(2, b'two')
    events = []
    for i in range(len(data)):
        events.extend(websocket.feed(data[i:i + 1]))
    assert [event.name for event in events] == ['ready', 'text', 'binary']
    assert websocket.is_active


def test_feed_takes_frames_with_the_answer():
    websocket = WebSocket(URL)
    data = build_answer(websocket) + make_frame(1, b'one') + make_close(1000)
    assert feed_names(websocket, data) == ['ready', 'text', 'closing']


def test_json_is_read_by_the_reader_named_on_each_connection():
    websocket = WebSocket(URL, json_loads=len)
    for _connection in range(2):
        websocket.reset()
        _ready, event = websocket.feed(build_answer(websocket) + make_frame(1, b'one'))
        assert event.json == 3


def test_feed_makes_an_event_of_what_is_not_http():
    websocket = WebSocket(URL)
    event, = websocket.feed(b'SSH-2.0-OpenSSH_8.9\r\n\r\n')
    assert event.name == 'protocol_error'
    assert event.critical
    assert event.close_code is None
    assert websocket.is_closed


def test_feed_rejects_a_refusal():
    websocket = WebSocket(URL)
    event, = websocket.feed(
        b'HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno')
    assert event.name == 'rejected'
    assert event.response.status_code == 403
    assert event.response.body == b'no'
    assert '403' in event.reason
    assert websocket.is_closed


def test_feed_of_nothing_completes_the_body_of_a_refusal():
    websocket = WebSocket(URL)
    assert feed_names(websocket, b'HTTP/1.1 403 Forbidden\r\n\r\nno') == []
    event, = websocket.feed(b'')
    assert event.response.body == b'no'


@pytest.mark.parametrize('rest', [b'', b'Content-Length: 9\r\n'])
def test_feed_follows_a_redirect_by_its_head(rest):
    websocket = WebSocket(u'ws://user:secret@example.org/feed')
    key, stream = websocket.key, websocket.stream
    head = b'HTTP/1.1 307 Over There\r\nLocation: ws://user:secret@example.org/there\r\n'
    event, = websocket.feed(head + rest + b'\r\nhalf')
    assert event.name == 'redirected'
    assert event.url == websocket.target.url == u'ws://example.org/there'
    assert event.response.status_code == 307
    assert websocket.state == 'connecting'
    assert websocket.stream is stream
    assert websocket.key != key
    assert feed_names(websocket, build_answer(websocket)) == ['ready']


def test_feed_rejects_a_redirect_that_is_not_followed_once_its_body_is_there():
    websocket = WebSocket(u'wss://example.org/')
    head = b'HTTP/1.1 302 Found\r\nLocation: ws://example.org/\r\nContent-Length: 4\r\n\r\n'
    assert feed_names(websocket, head + b'go') == []
    event, = websocket.feed(b'ne')
    assert event.name == 'rejected'
    assert event.response.body == b'gone'
    assert 'wss to ws' in event.reason
    assert websocket.is_closed


def test_feed_of_nothing_without_an_answer_yields_nothing():
    assert feed_names(WebSocket(URL), b'') == []


def test_feed_negotiates_a_protocol_and_compression():
    websocket = WebSocket(URL, protocols=[u'a', u'b'], compress=True)
    event, = websocket.feed(build_answer(
        websocket, b'Sec-WebSocket-Protocol: b', b'Sec-WebSocket-Extensions: permessage-deflate'))
    assert event.protocol == u'b'
    assert event.extensions == {u'permessage-deflate'}
    assert websocket.supports_compression


def test_a_key_is_one_of_16_random_bytes_for_each_connection():
    websocket = WebSocket(URL)
    key = websocket.key
    assert len(base64.b64decode(key)) == 16
    assert websocket.key == key
    assert b'\r\nSec-WebSocket-Key: ' + key + b'\r\n' in websocket.build_request()
    websocket.reset()
    assert websocket.key != key


def test_no_random_numbers_are_a_reason_not_to_connect(monkeypatch):
    """2.7 needs a descriptor for them, and there may be none left."""
    def urandom(_count):
        raise OSError(errno.EMFILE, 'Too many open files')

    monkeypatch.setattr(os, 'urandom', urandom)
    websocket = WebSocket(URL)
    with pytest.raises(errors.ConnectFail) as caught:
        websocket.build_request()
    assert (caught.value.phase, caught.value.cause.errno) == ('request', errno.EMFILE)


def test_replies_without_a_session_go_nowhere():
    websocket = WebSocket(URL)
    data = build_answer(websocket) + make_frame(9, b'hello')
    assert feed_names(websocket, data) == ['ready', 'ping']


def test_on_response_returns_protocol_and_extensions():
    websocket = WebSocket(URL, protocols=[u'a'])
    answer = Response(build_answer(websocket, b'Sec-WebSocket-Protocol: a'))
    assert websocket.on_response(answer) == (u'a', set())
    assert websocket.is_active


def test_on_response_raises_for_a_wrong_answer():
    with pytest.raises(errors.HandshakeError):
        websocket = WebSocket(URL)
        websocket.on_response(Response(b'HTTP/1.1 200 OK\r\n\r\n'))


def test_process_extensions_puts_them_in_force():
    websocket = WebSocket(URL, compress=True)
    assert websocket.process_extensions([u'permessage-deflate']) == {u'permessage-deflate'}
    assert websocket.supports_compression


def test_process_extensions_refuses_what_was_not_offered():
    with pytest.raises(errors.HandshakeError):
        WebSocket(URL).process_extensions([u'permessage-deflate'])


@pytest.mark.parametrize('copy_it', [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_websocket_can_not_be_copied(copy_it):
    """What is set on a copy would hold for the original, too: they would share their options."""
    with pytest.raises(TypeError, match="can't be copied"):
        copy_it(WebSocket('wss://example.org/'))


def test_a_list_of_protocols_that_was_changed_is_checked_again():
    websocket = WebSocket('ws://example.org/', protocols=['a'])
    websocket.protocols.append('b\r\nX-Injected: y')
    with pytest.raises(ValueError):
        websocket.build_request()


def test_connect_says_that_options_are_given_by_name():
    for wrong in (0.5, 'ws://example.org/'):
        with pytest.raises(TypeError, match='pass options by name'):
            WebSocket('ws://example.org/').connect(wrong)


def test_close_is_known_on_the_class_for_mocks_of_it():
    assert WebSocket.last_close is None
