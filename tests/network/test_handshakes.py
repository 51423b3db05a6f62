"""The opening handshake on the wire: good answers, wrong ones, refusals, silence."""

from __future__ import absolute_import, division, print_function

import socket
import threading

import pytest

from lomond import WebSocket
from lomond.protocol.extensions.permessage_deflate import DeflateOptions
from lomond.testing import Clock
from tests.network.driving import (
    accept_and_hang_up,
    accept_and_send,
    drain,
    first_far_enough,
    read_to_close,
    wait_for,
)
from tests.support import (
    RawServer,
    accept_for,
    answer_upgrade,
    get_header,
    make_close,
    make_frame,
    names,
    read_head,
)

REFUSED = ['connecting', 'connected', 'rejected', 'disconnected']
BROKEN = ['connecting', 'connected', 'protocol_error', 'disconnected']


def answer_raw(template, *afterwards):
    """Make a script that answers with bytes, in which @ is the right accept."""
    def script(sock):
        request = read_head(sock)
        accept = accept_for(get_header(request, b'Sec-WebSocket-Key'))
        sock.sendall(template.replace(b'@', accept))
        for data in afterwards:
            sock.sendall(data)
        drain(sock)
    return script


def build_answer(drop=None, **changes):
    """Return a 101, @ for its accept, with headers replaced or dropped."""
    headers = [
        (b'upgrade', b'websocket'), (b'connection', b'Upgrade'), (b'sec-websocket-accept', b'@')]
    first_line = changes.pop('first_line', b'HTTP/1.1 101 Switching Protocols')
    lines = [first_line]
    changes = {
        name.replace('_', '-').encode('ascii'): value for name, value in changes.items()}
    for name, value in headers:
        if name != drop:
            lines.append(name + b': ' + changes.pop(name, value))
    lines.extend(name + b': ' + value for name, value in sorted(changes.items()))
    return b'\r\n'.join(lines) + b'\r\n\r\n'


# -- answers that are right --

@pytest.mark.parametrize('answer', [
    build_answer(),
    build_answer(upgrade=b'WebSocket', connection=b'upgrade'),
    build_answer(connection=b'keep-alive, Upgrade'),
    build_answer(upgrade=b'h2c, websocket'),
    build_answer(first_line=b'HTTP/1.1 101 '),
    build_answer(first_line=b'HTTP/1.1 101'),
    build_answer(x_other=b'caf\xe9'),
    b'HTTP/1.1 100 Continue\r\n\r\n' + build_answer(),
    b'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n' * 3 + build_answer(),
], ids=repr)
def test_a_right_answer_makes_ready(answer):
    with RawServer(answer_raw(answer, make_close(1000))) as server:
        for event in WebSocket(server.url):
            if event.name == 'ready':
                break
        assert event.name == 'ready'
        assert event.response.status_code == 101


def test_an_answer_may_come_byte_by_byte():
    def script(sock):
        request = read_head(sock)
        accept = accept_for(get_header(request, b'Sec-WebSocket-Key'))
        data = build_answer().replace(b'@', accept) + make_frame(1, b'hi') + make_close(1000)
        for i in range(len(data)):
            sock.sendall(data[i:i + 1])
        read_to_close(sock)

    with RawServer(script) as server:
        assert names(WebSocket(server.url))[2:] == ['ready', 'text', 'closing', 'disconnected']


def test_the_request_is_what_build_request_says():
    requests = []

    def script(sock):
        requests.append(answer_upgrade(sock))

    with RawServer(script) as server:
        websocket = WebSocket(server.url + u'a b?c=\xe9', protocols=[u'chat'])
        websocket.add_header(u'X-Token', u'abc')
        expected = None
        for event in websocket:
            if event.name == 'connecting':
                expected = websocket.build_request()
    assert requests == [expected]
    assert expected.startswith(b'GET /a%20b?c=%C3%A9 HTTP/1.1\r\n')


def test_the_protocol_that_the_server_chose_is_in_ready():
    def script(sock):
        answer_upgrade(sock, b'Sec-WebSocket-Protocol: b')

    with RawServer(script) as server:
        events = list(WebSocket(server.url, protocols=[u'a', u'b']))
    assert events[2].protocol == u'b'


def test_no_protocol_chosen_is_none():
    with RawServer(accept_and_hang_up()) as server:
        events = list(WebSocket(server.url, protocols=[u'a', u'b']))
    assert events[2].protocol is None


def test_compression_that_the_server_chose_is_in_ready():
    def script(sock):
        answer_upgrade(sock, b'Sec-WebSocket-Extensions: permessage-deflate')

    with RawServer(script) as server:
        websocket = WebSocket(server.url, compress=True)
        for event in websocket:
            if event.name == 'ready':
                assert event.extensions == {u'permessage-deflate'}
                assert websocket.supports_compression


# -- answers that are wrong --

@pytest.mark.parametrize('answer', [
    build_answer(drop=b'upgrade'),
    build_answer(drop=b'connection'),
    build_answer(drop=b'sec-websocket-accept'),
    build_answer(upgrade=b'h2c'),
    build_answer(upgrade=b'websockets'),
    build_answer(connection=b'keep-alive'),
    build_answer(sec_websocket_accept=b'AAAAAAAAAAAAAAAAAAAAAAAAAAA='),
    build_answer(sec_websocket_accept=b''),
    build_answer(sec_websocket_accept=b'@x'),
    build_answer(sec_websocket_accept=b'\xff\xfe'),
    build_answer(first_line=b'HTTP/1.0 101 Switching Protocols'),
    build_answer(sec_websocket_protocol=b'chat'),
    build_answer(sec_websocket_protocol=b'a, b'),
    build_answer(sec_websocket_protocol=b''),
    build_answer(sec_websocket_extensions=b'permessage-deflate'),
    build_answer(sec_websocket_extensions=b'x-mine'),
    build_answer(sec_websocket_extensions=b'='),
], ids=repr)
def test_a_wrong_answer_is_rejected(answer):
    with RawServer(answer_raw(answer, make_frame(1, b'evil'))) as server:
        websocket = WebSocket(server.url, protocols=[u'a', u'b'])
        events = list(websocket)
    assert names(events) == REFUSED
    rejected, disconnected = events[-2:]
    assert rejected.reason == disconnected.reason
    assert rejected.response.status_code == 101
    assert not disconnected.graceful
    assert websocket.is_closed


def test_an_accept_in_another_case_is_rejected():
    def script(sock):
        request = read_head(sock)
        accept = accept_for(get_header(request, b'Sec-WebSocket-Key'))
        sock.sendall(build_answer().replace(b'@', accept.swapcase()))
        drain(sock)

    with RawServer(script) as server:
        assert names(WebSocket(server.url)) == REFUSED


@pytest.mark.parametrize('value', [
    b'permessage-deflate; unknown',
    b'permessage-deflate; server_no_context_takeover; server_no_context_takeover',
    b'permessage-deflate; server_max_window_bits=16',
    b'permessage-deflate; server_max_window_bits=7',
    b'permessage-deflate; server_max_window_bits',
    b'permessage-deflate; client_max_window_bits',
    b'permessage-deflate; server_no_context_takeover=1',
    b'permessage-deflate, permessage-deflate',
    b'permessage-deflate, x-other',
    b'permessage-deflate; server_max_window_bits=015',
    b'permessage-deflate;;',
])
def test_compression_answered_wrongly_is_rejected(value):
    with RawServer(answer_raw(build_answer(sec_websocket_extensions=value))) as server:
        websocket = WebSocket(server.url, compress=True)
        assert names(websocket) == REFUSED
        assert not websocket.supports_compression


@pytest.mark.parametrize('value', [
    b'permessage-deflate',      # server_no_context_takeover was asked for
    b'permessage-deflate; server_no_context_takeover',          # and a window of 10
    b'permessage-deflate; server_no_context_takeover; server_max_window_bits=11',
])
def test_compression_that_ignores_what_was_asked_for_is_rejected(value):
    options = DeflateOptions(server_no_context_takeover=True, server_max_window_bits=10)
    with RawServer(answer_raw(build_answer(sec_websocket_extensions=value))) as server:
        assert names(WebSocket(server.url, compress=options)) == REFUSED


@pytest.mark.parametrize('answer', [
    b'SSH-2.0-OpenSSH_8.9\r\n\r\n',
    b'\x00\x01\x02\r\n\r\n',
    b'\r\n\r\n',
    make_frame(1, b'x\r\n\r\n'),
    b'HTTP/2 101 Switching Protocols\r\n\r\n',
    b'HTTP/1.1 099 Low\r\n\r\n',
    b'HTTP/1.1 1011 High\r\n\r\n',
    b'HTTP/1.1 OK\r\n\r\n',
    b'HTTP/1.1 101 Switching Protocols\r\nno colon\r\n\r\n',
    b'HTTP/1.1 101 Switching Protocols\r\nSpace : x\r\n\r\n',
    b'HTTP/1.1 101 Switching Protocols\r\n folded: x\r\n\r\n',
    b'HTTP/1.1 101 Switching Protocols\r\nNul: a\0b\r\n\r\n',
    b'HTTP/1.1 100 Continue\r\n\r\n' * 9,
    b'HTTP/1.1 101 Switching Protocols\r\nX: ' + b'x' * 65536,
    b'HTTP/1.1 101 Switching Protocols\r\nX: ' + b'x' * 65536 + b'\r\n\r\n',
], ids=lambda answer: repr(answer[:50]))
def test_what_is_not_http_is_a_critical_protocol_error(answer):
    with RawServer(answer_raw(answer)) as server:
        events = list(WebSocket(server.url))
    assert names(events) == BROKEN
    error, disconnected = events[-2:]
    assert error.critical
    assert error.error == disconnected.reason
    assert not disconnected.graceful


def test_an_endless_head_is_cut_off_at_64_kib():
    is_cut_off = threading.Event()

    def script(sock):
        read_head(sock)
        try:
            while True:
                sock.sendall(b'x' * 4096)
        except socket.error:
            is_cut_off.set()

    with RawServer(script) as server:
        events = list(WebSocket(server.url))
        wait_for(is_cut_off)
    assert names(events) == BROKEN


def test_frames_before_the_answer_are_not_accepted():
    with RawServer(answer_raw(make_frame(1, b'hi') + build_answer())) as server:
        events = list(WebSocket(server.url))
    assert names(events) == BROKEN


# -- refusals --

@pytest.mark.parametrize('answer, body', [
    (b'HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno, ', b'no, '),
    (b'HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno, no', b'no, '),
    (b'HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n', b''),
    (b'HTTP/1.1 204 No Content\r\n\r\n', b''),
    (b'HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n', b''),
    ((b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
     b'3\r\nabc\r\n5;x=y\r\ndefgh\r\n0\r\n\r\n'), b'abcdefgh'),
    (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n', b'abc'),
    (b'HTTP/1.1 502 Bad Gateway\r\nContent-Length: 999999\r\n\r\n' + b'x' * 70000,
     b'x' * 65536),
    (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11170\r\n' + b'x' * 70000,
     b'x' * 65000),
], ids=lambda value: repr(value[:60]))
def test_a_refusal_has_status_headers_and_body_and_does_not_wait_for_more(answer, body):
    with RawServer(answer_raw(answer)) as server:
        events = list(WebSocket(server.url))
    assert names(events) == REFUSED
    rejected, disconnected = events[-2:]
    response = rejected.response
    assert response.status_code == int(answer.split()[1])
    if len(body) < 65000:
        assert response.body == body
    else:       # what surrounds a chunk counts against the limit
        assert 65000 <= len(response.body) <= 65536
    assert str(response.status_code) in rejected.reason
    assert response.status in rejected.reason
    assert disconnected.reason == rejected.reason


@pytest.mark.parametrize('answer', [
    (b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nSet-Cookie: a=1\r\n'
    b'Set-Cookie: b=2\r\n\r\nsecret'),
    (b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nSet-Cookie: a=1\r\n'
    b'Set-Cookie: b=2\r\nContent-Length: 600\r\n\r\nsecret'),
    (b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nSet-Cookie: a=1\r\n'
    b'Set-Cookie: b=2\r\nContent-Length: nonsense\r\n\r\nsecret'),
    (b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nSet-Cookie: a=1\r\n'
    b'Set-Cookie: b=2\r\nContent-Length: \xb2\r\n\r\nsecret'),
    b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nSet-Cookie: a=1\r\n'
    b'Set-Cookie: b=2\r\nContent-Length: ' + b'9' * 5000 + b'\r\n\r\nsecret',
    (b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nSet-Cookie: a=1\r\n'
    b'Set-Cookie: b=2\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nsecret\r\n'),
], ids=['until the end', 'cut', 'no number', 'a digit, but no number', 'huge', 'chunks cut'])
def test_a_refusal_without_an_end_is_complete_at_the_end_of_the_connection(answer):
    def script(sock):
        read_head(sock)
        sock.sendall(answer)

    with RawServer(script) as server:
        events = list(WebSocket(server.url))
    assert names(events) == REFUSED
    response = events[-2].response
    assert response.body == b'secret'
    assert response.get('www-authenticate') == u'Basic'
    assert response.get_list('Set-Cookie') == [u'a=1', u'b=2']


def run_out_of_time(server, name):
    """Run into connect_timeout, beyond an event of this name; return the events."""
    return first_far_enough(
        lambda timeout: list(WebSocket(server.url, connect_timeout=timeout)),
        lambda events: name in names(events))


def test_a_refusal_that_stalls_is_complete_at_the_deadline():
    with RawServer(answer_raw(b'HTTP/1.1 500 Oops\r\nContent-Length: 10\r\n\r\nhalf')) as server:
        events = run_out_of_time(server, 'rejected')
    assert names(events) == REFUSED
    assert events[-2].response.body == b'half'


def test_a_rejected_reason_may_have_braces():
    with RawServer(answer_raw(
            b'HTTP/1.1 400 {0} {x} {\r\nContent-Length: 0\r\n\r\n')) as server:
        events = list(WebSocket(server.url))
    assert u'{0} {x} {' in events[-2].reason


# -- silence --

def test_no_answer_within_connect_timeout_disconnects_and_closes_the_socket():
    is_closed = threading.Event()

    def script(sock):
        read_head(sock)
        drain(sock)
        is_closed.set()

    with RawServer(script) as server:
        events = run_out_of_time(server, 'connected')
        wait_for(is_closed)
    assert names(events) == ['connecting', 'connected', 'disconnected']
    assert 'longer than connect_timeout' in events[-1].reason
    assert not events[-1].graceful


def test_half_a_head_within_connect_timeout_disconnects():
    with RawServer(answer_raw(build_answer()[:-2])) as server:
        events = run_out_of_time(server, 'connected')
    assert names(events) == ['connecting', 'connected', 'disconnected']


def test_a_server_that_drips_its_head_is_cut_off_at_the_deadline():
    clock = Clock()

    def script(sock):
        read_head(sock)
        sock.sendall(b'HTTP/1.1 101 S')
        while True:
            sock.sendall(b'x')
            sock.settimeout(0.005)
            try:
                if not sock.recv(1):
                    return
            except socket.timeout:
                clock.ahead += 1

    with RawServer(script) as server:
        events = list(WebSocket(server.url).connect(session_class=clock.session))
    assert names(events) == ['connecting', 'connected', 'disconnected']
    assert clock.ahead < 100


def test_connect_timeout_none_waits_for_the_answer():
    clock = Clock()
    may_answer = threading.Event()

    def script(sock):
        wait_for(may_answer)
        answer_upgrade(sock)

    with RawServer(script) as server:
        events = []
        for event in WebSocket(server.url, connect_timeout=None).connect(
                session_class=clock.session):
            events.append(event)
            if event.name == 'connected':
                clock.ahead += 1000000
                may_answer.set()
    assert names(events)[2] == 'ready'


@pytest.mark.parametrize('sent', [b'', b'HTTP/1.1 101 Switching'])
def test_a_server_that_hangs_up_during_the_handshake_disconnects(sent):
    def script(sock):
        read_head(sock)
        sock.sendall(sent)

    with RawServer(script) as server:
        events = list(WebSocket(server.url))
    assert names(events) == ['connecting', 'connected', 'disconnected']
    assert 'closed the connection' in events[-1].reason


def test_a_connection_that_breaks_before_the_request_is_disconnected():
    """The tracer, which sees the request first, breaks the connection."""
    def tracer(record):
        if record['stage'] == 'request':
            websocket.session.transport.abort()

    with RawServer(accept_and_send()) as server:
        websocket = WebSocket(server.url, trace=tracer)
        events = list(websocket)
    assert names(events) == ['connecting', 'connected', 'disconnected']
    assert 'aborted' in events[-1].reason
