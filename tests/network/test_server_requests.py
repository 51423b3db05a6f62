"""The requests that a server refuses by its options ``origins`` and ``on_request``."""

from __future__ import absolute_import, division, print_function

import logging
import socket
import ssl
import threading

import pytest

from lomond import WebSocket
from lomond.protocol.limits import DEFAULT_LIMITS
from lomond.server import Refusal, Server
from tests.network.driving import Background, drain, wait_for
from tests.support import PATIENCE, get_header, make_close, names, read_head

KEY = b'dGhlIHNhbXBsZSBub25jZQ=='
SITE = b'Origin: https://example.org'
EVIL = b'Origin: https://evil.example'


class Handler(object):
    """A handler that keeps the requests it was called with, and returns."""

    def __init__(self):
        self.requests = []

    def __call__(self, websocket):
        self.requests.append(websocket.request)


def ask(server, *headers, **options):
    """Send a request with more headers; return the head and the body of the answer, in bytes."""
    line = options.get('line', b'GET / HTTP/1.1')
    sock = socket.create_connection((server.host, server.port), PATIENCE)
    try:
        if 'tls' in options:
            sock = options['tls'].wrap_socket(sock, server_hostname='localhost')
        lines = (line, b'Host: localhost', b'Upgrade: websocket', b'Connection: Upgrade',
                 b'Sec-WebSocket-Key: ' + KEY, b'Sec-WebSocket-Version: 13') + headers
        sock.sendall(b'\r\n'.join(lines) + b'\r\n\r\n')
        head = read_head(sock)
        if b' 101 ' in head:
            sock.sendall(make_close(1000, key=b'\1\2\3\4'))
        return head, drain(sock)
    finally:
        sock.close()


def status_of(answer):
    return int(answer[0].split(b' ')[1])


# -- origins --

@pytest.mark.parametrize('origins, sent, status', [
    (None, [EVIL], 101),
    (None, [], 101),
    ([u'https://example.org'], [SITE], 101),
    ([u'HTTPS://Example.ORG:443'], [SITE], 101),
    ([u'https://example.org'], [b'Origin: HTTPS://EXAMPLE.org'], 101),
    ([u'http://localhost:8080', u'https://example.org'], [b'Origin: http://localhost:8080'], 101),
    ([u'https://b\xfccher.example'], [b'Origin: https://xn--bcher-kva.example'], 101),
    ([u'http://[::1]:8080'], [b'Origin: http://[::1]:8080'], 101),
    (iter([u'https://example.org']), [SITE], 101),
    ({u'https://example.org'}, [SITE], 101),
    ([u'https://example.org', None], [], 101),
    ([u'https://example.org', None], [EVIL], 403),
    ([u'https://example.org'], [EVIL], 403),
    ([u'https://example.org'], [], 403),
    ([u'https://example.org'], [b'Origin:'], 403),
    ([u'https://example.org'], [b'Origin: null'], 403),
    ([u'https://example.org'], [b'Origin: http://example.org'], 403),
    ([u'https://example.org'], [b'Origin: https://example.org:8443'], 403),
    ([u'https://example.org'], [b'Origin: https://example.org.evil.example'], 403),
    ([u'https://example.org'], [b'Origin: https://sub.example.org'], 403),
    ([u'https://example.org'], [b'Origin: https://example.org\xe9'], 403),
    ([u'https://example.org'], [EVIL, SITE], 403),
    ([u'https://example.org'], [SITE, EVIL], 403),
    ([], [SITE], 403),
    (lambda origin: origin.endswith(u'.example'), [EVIL], 101),
    (lambda origin: origin.endswith(u'.example'), [SITE], 403),
    (lambda origin: origin is None, [], 101),
    (lambda origin: None, [SITE], 403),
])
def test_only_an_allowed_origin_reaches_the_handler(origins, sent, status):
    handler = Handler()
    with Server(handler, origins=origins) as server:
        answers = [status_of(ask(server, *sent)) for _ in range(2)]
    assert answers == [status] * 2
    assert len(handler.requests) == (2 if status == 101 else 0)


@pytest.mark.parametrize('sent, words', [
    ([EVIL], b'https://evil.example'), ([], b'without an Origin is not allowed: add None')])
def test_the_answer_names_the_origin_and_the_option(sent, words):
    with Server(Handler(), origins=[u'https://example.org']) as server:
        head, body = ask(server, *sent)
    assert head.startswith(b'HTTP/1.1 403 Forbidden\r\n')
    assert get_header(head, b'Content-Type') == b'text/plain; charset=utf-8'
    assert get_header(head, b'Content-Length') == str(len(body)).encode('ascii')
    assert get_header(head, b'Connection') == b'close'
    assert words in body
    assert b'origins=' in body


def test_the_origin_is_checked_over_tls(server_tls, authority_file):
    client_tls = ssl.create_default_context(cafile=authority_file)
    handler = Handler()
    with Server(handler, origins=[u'https://example.org'], ssl_context=server_tls) as server:
        assert status_of(ask(server, EVIL, tls=client_tls)) == 403
        assert status_of(ask(server, SITE, tls=client_tls)) == 101
    assert len(handler.requests) == 1


def test_a_request_that_is_no_upgrade_is_answered_as_without_origins():
    with Server(Handler(), origins=[u'https://example.org'], on_request=pytest.fail) as server:
        for line in (b'POST / HTTP/1.1', b'HEAD / HTTP/1.1'):
            assert status_of(ask(server, EVIL, line=line)) == 405


def test_an_origin_that_is_refused_is_in_the_log(caplog):
    with caplog.at_level(logging.DEBUG, 'lomond'):
        with Server(Handler(), origins=[u'https://example.org']) as server:
            ask(server, EVIL)
    assert 'the Origin https://evil.example is not allowed' in caplog.text


@pytest.mark.parametrize('origins, error, words', [
    (u'https://example.org', TypeError, 'origins=['),
    (b'https://example.org', TypeError, 'origins=['),
    (5, TypeError, 'a list of origins, a function, or None'),
    ([5], TypeError, 'an origin must be text'),
    ([u'https://example.org/'], ValueError, "a '/' at the end"),
    ([u'https://example.org/chat'], ValueError, 'without a path'),
    ([u'https://example.org?a=b'], ValueError, 'without a path'),
    ([u'https://example.org#a'], ValueError, 'without a path'),
    ([u'https://me:hunter2@example.org'], ValueError, 'invalid host'),
    ([u'example.org'], ValueError, 'https://example.org'),
    ([u'localhost:8080'], ValueError, 'http://localhost:8080'),
    ([u'https://'], ValueError, 'https://example.org'),
    ([u'*'], ValueError, 'use a function'),
    ([u'https://*.example.org'], ValueError, 'use a function'),
    ([u'null'], ValueError, 'use a function'),
    ([u'wss://example.org'], ValueError, 'that of a web page'),
    ([u'https://example.org:0'], ValueError, 'port'),
    ([u'https://exa\nmple.org'], ValueError, 'control characters in an origin'),
])
def test_wrong_origins_raise_at_the_call_and_say_what_to_write(origins, error, words):
    with pytest.raises(error) as caught:
        Server(Handler(), origins=origins)
    assert words in str(caught.value)
    assert 'hunter2' not in str(caught.value)


@pytest.mark.skipif(str is bytes, reason='bytes are native strings on 2.7')
def test_an_origin_in_bytes_raises_type_error():
    with pytest.raises(TypeError, match='an origin must be text'):
        Server(Handler(), origins=[b'https://example.org'])


# -- on_request --

def route(request):
    """An ``on_request`` that has an answer of each kind."""
    if request.path == u'/moved':
        return Refusal(302, headers={u'Location': u'wss://example.org/feed'})
    if request.path == u'/teapot':
        return Refusal(418, b'\x00\xff', [(b'Content-Type', b'image/png'), ('X-A', ['1', '2'])])
    if request.path != u'/feed':
        return Refusal(404, u'no such path: caf\xe9')
    if request.get(u'Authorization') != u'Bearer hunter2':
        return Refusal(401, headers=[(u'WWW-Authenticate', u'Bearer')])
    return None


def test_a_request_that_is_accepted_reaches_the_handler():
    seen = []
    handler = Handler()
    with Server(handler, on_request=seen.append) as server:
        events = list(WebSocket(server.url + u'feed?a=b'))
    assert names(events)[2] == 'ready'
    assert seen == handler.requests
    assert (seen[0].path, seen[0].query) == (u'/feed', u'a=b')


@pytest.mark.parametrize('target, first_line, fields, body', [
    (b'/nowhere', b'HTTP/1.1 404 Not Found', {
        b'Content-Type': b'text/plain; charset=utf-8'}, b'no such path: caf\xc3\xa9'),
    (b'/feed', b'HTTP/1.1 401 Unauthorized', {b'WWW-Authenticate': b'Bearer'}, b''),
    (b'/moved', b'HTTP/1.1 302 Found', {b'Location': b'wss://example.org/feed'}, b''),
    (b'/teapot', b'HTTP/1.1 418 ', {b'Content-Type': b'image/png', b'X-A': b'1'}, b'\x00\xff'),
    (b'http://localhost/nowhere', b'HTTP/1.1 404 Not Found', {}, b'no such path: caf\xc3\xa9'),
])
def test_a_refusal_is_sent_as_it_is(target, first_line, fields, body):
    handler = Handler()
    with Server(handler, on_request=route) as server:
        head, sent = ask(server, line=b'GET ' + target + b' HTTP/1.1')
    assert head.split(b'\r\n')[0] == first_line
    for name, value in fields.items():
        assert get_header(head, name) == value
    assert head.count(b'Content-Type') == 1
    assert get_header(head, b'Content-Length') == str(len(body)).encode('ascii')
    assert get_header(head, b'Connection') == b'close'
    assert sent == body
    assert not handler.requests


def test_a_lomond_client_sees_the_refusal_and_follows_a_redirect():
    with Server(Handler(), on_request=route) as server:
        refused = list(WebSocket(server.url + u'nowhere'))
        accepted = list(WebSocket(
            server.url + u'feed', headers={u'Authorization': u'Bearer hunter2'}))
        with Server(Handler(), on_request=lambda _request: Refusal(
                307, headers={u'Location': server.url + u'nowhere'})) as first:
            redirected = list(WebSocket(first.url, max_redirects=1))
    assert names(refused) == ['connecting', 'connected', 'rejected', 'disconnected']
    assert refused[2].response.body == u'no such path: caf\xe9'.encode('utf-8')
    assert names(accepted)[2] == 'ready'
    assert [event.response.status_code for event in redirected
            if event.name in ('redirected', 'rejected')] == [307, 404]


def test_on_request_is_not_called_for_a_foreign_origin():
    seen = []
    with Server(Handler(), origins=[u'https://example.org'], on_request=seen.append) as server:
        assert status_of(ask(server, EVIL)) == 403
        assert not seen
        assert status_of(ask(server, SITE)) == 101
    assert len(seen) == 1


def fail(_argument):
    raise ZeroDivisionError('a fault of the function')


@pytest.mark.parametrize('options, words', [
    ({'on_request': fail}, 'a fault of the function'),
    ({'origins': fail}, 'a fault of the function'),
    ({'on_request': lambda _request: 404}, "Refusal(404, 'no such path'), not 404"),
    ({'on_request': lambda _request: True}, 'return None to accept'),
    ({'on_request': lambda _request: Refusal(200)}, 'status must be an integer from 300 to 599'),
    ({'on_request': lambda _request: Refusal(101)}, 'status must be an integer from 300 to 599'),
    ({'on_request': lambda _request: Refusal(u'404')}, 'status must be an integer'),
    ({'on_request': lambda _request: Refusal(404, 5)}, 'text or bytes, not 5'),
    ({'on_request': lambda _request: Refusal(302, headers={u'Location': u'/\r\nX: y'})},
     'Location must not contain CR, LF or NUL'),
    ({'on_request': lambda _request: Refusal(302, headers={u'X\n': u'y'})}, 'invalid header name'),
    ({'on_request': lambda _request: Refusal(404, headers={u'content-length': u'5'})},
     'content-length is set by the server'),
    ({'on_request': lambda _request: Refusal(404, headers={u'Transfer-Encoding': u'chunked'})},
     'Transfer-Encoding is set by the server'),
])
def test_a_function_that_fails_is_logged_and_answered_with_500(caplog, options, words):
    handler = Handler()
    with caplog.at_level(logging.ERROR, 'lomond'):
        with Server(handler, **options) as server:
            for _ in range(2):      # the server goes on
                head, body = ask(server, SITE)
                assert head.startswith(b'HTTP/1.1 500 Internal Server Error\r\n')
                assert b'fault' not in body
    assert [record.levelname for record in caplog.records] == ['ERROR'] * 2
    assert words in caplog.text
    assert 'Traceback' in caplog.text
    assert not handler.requests


@pytest.mark.parametrize('name', ['origins', 'on_request'])
def test_a_function_that_a_call_would_not_run_is_refused(name):
    """A generator or a coroutine is true, and would allow all."""
    def generator(_argument):
        yield

    with pytest.raises(TypeError, match=name + ' must be a plain function'):
        Server(Handler(), **{name: generator})


@pytest.mark.parametrize('threads', [True, False])
def test_headers_that_are_too_long_are_answered_with_431(threads):
    handler = Handler()
    server = Server(handler if threads else None, threads=threads)
    serving = Background(server.serve_forever if threads else lambda: list(server))
    try:
        # Exactly what the server reads before it refuses: the rest would reset the connection.
        line = b'GET / HTTP/1.1\r\nX: '
        sock = socket.create_connection((server.host, server.port), PATIENCE)
        sock.sendall(line + b'x' * (DEFAULT_LIMITS.head + 1 - len(line)))
        assert read_head(sock).startswith(b'HTTP/1.1 431 ')
        assert b'too long' in drain(sock)
        sock.close()
    finally:
        server.close()
    serving.result()
    assert handler.requests == []


def test_on_request_must_be_callable():
    with pytest.raises(TypeError, match='on_request must be callable'):
        Server(Handler(), on_request=Refusal(404))


def test_on_request_may_take_its_time_while_others_are_served():
    def wait_at_slow(request):
        if request.path == u'/slow':
            is_asked.set()
            wait_for(may_go_on)

    is_asked, may_go_on = threading.Event(), threading.Event()
    with Server(Handler(), on_request=wait_at_slow) as server:
        slow = Background(list, WebSocket(server.url + u'slow'))
        wait_for(is_asked)
        assert names(WebSocket(server.url))[2] == 'ready'
        may_go_on.set()
        assert names(slow.result())[2] == 'ready'


def test_close_does_not_wait_forever_for_on_request():
    def stall(_request):
        is_asked.set()
        wait_for(may_end)

    is_asked, may_end = threading.Event(), threading.Event()
    handler = Handler()
    server = Server(handler, on_request=stall, close_timeout=0.2).start()
    try:
        client = Background(list, WebSocket(server.url))
        wait_for(is_asked)
        server.close()
        assert names(client.result())[-1] == 'disconnected'
    finally:
        may_end.set()
    assert not handler.requests
