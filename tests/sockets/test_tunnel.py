# -*- coding: utf-8 -*-
"""lomond.net.proxy.tunnel: the CONNECT exchange with a proxy, step by step."""

from __future__ import absolute_import, division, print_function

import socket
import ssl
import struct
import threading

import pytest

from lomond._compat import monotonic
from lomond.errors import ConnectFail
from lomond.http.url import parse_proxy_url, parse_url
from lomond.net import tls
from lomond.net.proxy.tunnel import MAX_HEAD, open_tunnel
from lomond.net.steps import Wait
from lomond.net.tls.handshake import handshake
from lomond.net.transport import Transport
from lomond.net.waiter import READ, WRITE, wait

from ..support import PATIENCE, read_head

WS = parse_url(u'ws://example.org/')
WSS = parse_url(u'wss://example.org/')
PROXY = parse_proxy_url(u'http://proxy:3128')
PROXY_WITH_PASSWORD = parse_proxy_url(u'http://user:secret@proxy:3128')


@pytest.fixture
def plain_ends():
    """Our transport to a proxy, and the proxy's socket."""
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(1)
    sock = socket.create_connection(listener.getsockname(), PATIENCE)
    proxys, _address = listener.accept()
    listener.close()
    proxys.settimeout(PATIENCE)
    ours = Transport(sock)
    yield ours, proxys
    ours.close()
    proxys.close()


@pytest.fixture
def secure_ends(plain_ends, server_tls, authority_file):
    """The same over TLS."""
    def wrap():
        wrapped.append(server_tls.wrap_socket(plain_ends[1], server_side=True))
        plain_ends[1].close()       # on 2.7 it would keep the descriptor open

    wrapped = []
    thread = threading.Thread(target=wrap)
    thread.start()
    steps = handshake(
        plain_ends[0].detach(), tls.client_context(authority_file), monotonic() + PATIENCE,
        'localhost')
    ours = finish(steps)
    thread.join(PATIENCE)
    proxys, = wrapped
    yield ours, proxys
    ours.close()
    proxys.close()


@pytest.fixture(params=['plain', 'secure'])
def ends(request):
    return request.getfixturevalue(request.param + '_ends')


def tunnel(transport, deadline=None, target=WS, proxy=PROXY):
    """Begin a tunnel."""
    return open_tunnel(
        transport, target, proxy, monotonic() + PATIENCE if deadline is None else deadline)


def finish(steps):
    """Do the remaining steps; return the last, if it isn't a Wait."""
    for step in steps:
        if not isinstance(step, Wait):
            return step
        assert wait(step.interest, step.deadline - monotonic())
    return None


def receive(transport, count):
    """Wait for a number of bytes, and return them."""
    data = b''
    while len(data) < count:
        piece = transport.receive()
        assert piece != b''
        if piece is None:
            assert wait(transport.interest, PATIENCE)
        data += piece or b''
    return data


def fill(transport):
    """Send until there is no room."""
    while transport.send_some(b'x' * 65536)[0]:
        pass


def reset(sock):
    """Break the connection off."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    sock.close()


def test_tunnel_is_there_after_200(ends):
    ours, proxys = ends
    steps = tunnel(ours)
    assert next(steps).interest == ((ours.fileno(), READ),)
    assert read_head(proxys).startswith(b'CONNECT example.org:80 ')
    proxys.sendall(b'HTTP/1.1 200 Connection established\r\n\r\n')
    finish(steps)
    assert ours.receive() is None


@pytest.mark.parametrize('head', [
    b'HTTP/1.0 200 OK\r\n\r\n',
    b'HTTP/1.1 200\r\n\r\n',
    b'HTTP/1.1 204 No Content\r\nVia: 1.1 proxy\r\nX-Empty:\r\n\r\n',
])
def test_any_2xx_opens_the_tunnel(plain_ends, head):
    """RFC 7231 4.3.6."""
    plain_ends[1].sendall(head)
    finish(tunnel(plain_ends[0]))


def test_answer_byte_by_byte_opens_the_tunnel(ends):
    ours, proxys = ends
    steps = tunnel(ours)
    next(steps)
    for byte in bytearray(b'HTTP/1.1 200 OK\r\nA: b\r\n\r'):
        proxys.sendall(struct.pack('!B', byte))
        assert wait(((ours.fileno(), READ),), PATIENCE)
        assert next(steps).interest == ((ours.fileno(), READ),)
    proxys.sendall(b'\n')
    finish(steps)


@pytest.mark.parametrize('cut', range(1, 23))
def test_what_follows_the_answer_is_received_next(ends, cut):
    """Wherever the pieces end; it is the server's."""
    ours, proxys = ends
    data = b'HTTP/1.1 200 OK\r\n\r\nmore'
    steps = tunnel(ours)
    next(steps)
    proxys.sendall(data[:cut])
    assert wait(((ours.fileno(), READ),), PATIENCE)
    if cut < len(data) - 4:
        next(steps)
        proxys.sendall(data[cut:])
        finish(steps)
    else:
        finish(steps)
        assert ours.has_pending() == (cut > len(data) - 4)
        proxys.sendall(data[cut:])
    assert receive(ours, 4) == b'more'


def test_what_follows_the_answer_to_a_wss_is_refused(plain_ends):
    """TLS is made on the socket, and the client speaks first there."""
    plain_ends[1].sendall(b'HTTP/1.1 200 OK\r\n\r\n!')
    assert 'more than its answer' in str(fail(tunnel(plain_ends[0], target=WSS)))


def test_request_that_meets_a_full_buffer_is_sent_later(plain_ends):
    ours, proxys = plain_ends
    fill(ours)
    steps = tunnel(ours)
    assert next(steps).interest == ((ours.fileno(), READ | WRITE),)
    received = b''
    while not received.endswith(b'\r\n\r\n'):
        received = (received + proxys.recv(1 << 20))[-1000:]
        for step in steps:
            if step.interest[0][1] == READ or not wait(step.interest, 0):
                break
    assert received.lstrip(b'x').startswith(b'CONNECT example.org:80 ')
    proxys.sendall(b'HTTP/1.1 200 OK\r\n\r\n')
    finish(steps)


def fail(steps):
    """Do the steps, and return what they end with."""
    with pytest.raises(ConnectFail) as caught:
        finish(steps)
    assert caught.value.phase == 'proxy'
    return caught.value


@pytest.mark.parametrize('head, words', [
    (b'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n', u'407'),
    (b'HTTP/1.1 502 Bad Gateway\r\n\r\n', u'502 Bad Gateway'),
    (b'HTTP/1.1 403 Verboten f\xfcr alle\r\n\r\n', u'403 Verboten f\xfcr alle'),
    (b'HTTP/1.1 301 Moved\r\nLocation: http://a/\r\n\r\n', u'301'),
    (b'HTTP/1.1 101 Switching Protocols\r\n\r\n', u'101'),
])
def test_other_answers_fail_in_words_and_are_kept(plain_ends, head, words):
    plain_ends[1].sendall(head)
    plain_ends[1].shutdown(socket.SHUT_WR)
    error = fail(tunnel(plain_ends[0]))
    assert words in error.args[0]
    assert error.response.raw == head
    assert error.response.status_code == int(head.split()[1])


@pytest.mark.parametrize('status', [b'407', b'401'])
@pytest.mark.parametrize('proxy, words', [
    (PROXY, 'requires a user and a password'),
    (PROXY_WITH_PASSWORD, 'refused the user or the password')])
def test_407_says_whether_there_were_credentials(plain_ends, status, proxy, words):
    plain_ends[1].sendall(b'HTTP/1.1 ' + status + b' Authenticate\r\nContent-Length: 0\r\n\r\n')
    assert words in str(fail(tunnel(plain_ends[0], proxy=proxy)))


@pytest.mark.parametrize('head', [
    b'SSH-2.0-OpenSSH_9.6\r\n\r\n',
    b'\r\n\r\n',
    b'HTTP/2 200\r\n\r\n',
    b'HTTP/1.1 99 Low\r\n\r\n',
    b'HTTP/1.1 200 OK\r\nno colon\r\n\r\n',
    b'HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n',
])
def test_what_is_not_http_fails_in_words(plain_ends, head):
    plain_ends[1].sendall(head)
    error = fail(tunnel(plain_ends[0]))
    assert 'does not speak HTTP' in str(error)
    assert error.response is None


@pytest.mark.parametrize('interim', [
    b'HTTP/1.1 100 Continue\r\n\r\n', b'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n' * 2])
@pytest.mark.parametrize('cut', [0, 1, 27])
def test_interim_answers_are_skipped(plain_ends, interim, cut):
    """As a server's are: it is the same reader."""
    ours, proxys = plain_ends
    steps = tunnel(ours)
    next(steps)
    answer = interim + b'HTTP/1.1 200 OK\r\n\r\nmore'
    if cut:
        proxys.sendall(answer[:cut])
        assert wait(((ours.fileno(), READ),), PATIENCE)
        next(steps)
    proxys.sendall(answer[cut:])
    finish(steps)
    assert receive(ours, 4) == b'more'


def test_interim_answers_without_end_fail(plain_ends):
    plain_ends[1].sendall(b'HTTP/1.1 100 Continue\r\n\r\n' * 9)
    assert 'interim' in str(fail(tunnel(plain_ends[0])))


@pytest.mark.parametrize('head', [
    b'HTTP/1.1 200 OK\r\nVia: a,\r\n b\r\n\r\n',
    b'HTTP/1.0 200 OK\nVia: a\n\n',
    b'HTTP/1.1 200 OK\nVia: a\r\n\tb\n\r\n',
])
def test_folded_lines_and_bare_lf_are_taken(plain_ends, head):
    """RFC 9112 5.2 and 2.2."""
    plain_ends[1].sendall(head)
    finish(tunnel(plain_ends[0]))


@pytest.mark.parametrize('sent, words', [
    (b'SSH-2.0-OpenSSH_9.6\r\n', 'an SSH banner'),
    (b'220 mx.example.org ESMTP\r\n', 'an SMTP or FTP greeting'),
    (b'\x15\x03\x01\x00\x02\x02\x16', 'use https://'),
    (b'HTTP/2 200\r\n', 'HTTP/2 200'),
    (b'\x05\xff', '0x05'),
])
def test_what_cannot_become_http_fails_at_once_and_is_named(plain_ends, sent, words):
    """With nothing more to come, and no deadline."""
    plain_ends[1].sendall(sent)
    assert words in str(fail(tunnel(plain_ends[0], float('inf'))))


@pytest.mark.parametrize('body, kept', [
    (b'Content-Length: 4\r\n\r\nSorry', b'Sorr'),
    (b'Transfer-Encoding: chunked\r\n\r\n3\r\nSor\r\n2\r\nry\r\n0\r\n\r\n', b'Sorry'),
])
def test_body_of_a_refusal_is_kept(plain_ends, body, kept):
    plain_ends[1].sendall(b'HTTP/1.1 403 Forbidden\r\n' + body)
    assert fail(tunnel(plain_ends[0])).response.body == kept


@pytest.mark.parametrize('body, kept', [
    (b'Content-Length: 9\r\n\r\nSorr', b'Sorr'), (b'\r\nSorry', b'Sorry'), (b'\r\n', b''),
    (b'Transfer-Encoding: chunked\r\n\r\n3\r\nSor\r\n', b'Sor'),
])
@pytest.mark.parametrize('deadline', [0.0, float('inf')])
def test_body_without_an_end_is_waited_for_only_a_moment(plain_ends, body, kept, deadline):
    plain_ends[1].sendall(b'HTTP/1.1 403 Forbidden\r\n' + body)
    steps = tunnel(plain_ends[0], deadline)
    step = next(steps)
    if step.deadline:
        assert step.deadline <= monotonic() + 1.0
        wait((), step.deadline - monotonic())
    assert fail(steps).response.body == kept


def test_answer_that_came_before_a_reset_is_told(plain_ends):
    """The request can't be sent any more, but why is there to read."""
    ours, proxys = plain_ends
    proxys.sendall(b'HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n\r\nSorry')
    reset(proxys)
    assert wait(((ours.fileno(), READ),), PATIENCE)
    error = fail(tunnel(ours))
    assert error.response.get(u'Retry-After') == u'7'
    assert error.response.body == b'Sorry'


def test_answer_is_read_while_the_request_waits_to_be_sent(plain_ends):
    ours, proxys = plain_ends
    fill(ours)
    steps = tunnel(ours)
    next(steps)
    proxys.sendall(b'HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n')
    assert fail(steps).response.status_code == 503


@pytest.mark.parametrize('start', [b'', b'HTTP/1.1 200 OK\r\n'])
def test_proxy_that_closes_fails(plain_ends, start):
    plain_ends[1].sendall(start)
    plain_ends[1].shutdown(socket.SHUT_WR)
    assert 'closed the connection' in str(fail(tunnel(plain_ends[0])))


def test_proxy_that_is_cut_off_from_tls_fails_with_its_cause(secure_ends):
    ours, proxys = secure_ends
    steps = tunnel(ours)
    next(steps)
    proxys.shutdown(socket.SHUT_WR)     # of TCP only
    error = fail(steps)
    assert 'cut off' in str(error)
    assert isinstance(error.cause, socket.error)


def test_proxy_that_resets_fails_with_its_cause(ends):
    ours, proxys = ends
    steps = tunnel(ours)
    next(steps)
    reset(proxys)
    error = fail(steps)
    assert isinstance(error.cause, socket.error)


def test_proxy_that_is_gone_before_the_request_fails(ends):
    ours, proxys = ends
    reset(proxys)
    assert wait(((ours.fileno(), READ),), PATIENCE)
    assert isinstance(fail(tunnel(ours)).cause, socket.error)


@pytest.mark.parametrize('filler', [b'x', b'A: b\r\n'])
def test_endless_head_fails(ends, filler):
    ours, proxys = ends
    steps = tunnel(ours)
    next(steps)
    proxys.sendall(b'HTTP/1.1 200 ')
    proxys.settimeout(0)
    sent = 0
    with pytest.raises(ConnectFail) as caught:
        while sent < 100 * MAX_HEAD:
            try:
                sent += proxys.send(filler * 1000)
            except (socket.error, ssl.SSLError):
                pass
            next(steps)
    assert 'too long' in str(caught.value)
    assert caught.value.phase == 'proxy'


def test_head_of_the_largest_size_is_taken(plain_ends):
    ours, proxys = plain_ends
    head = b'HTTP/1.1 200 OK\r\nA: '
    head += b'x' * (MAX_HEAD - len(head) - 4) + b'\r\n\r\n'
    proxys.sendall(head)
    finish(tunnel(ours))


def test_head_one_byte_longer_fails(plain_ends):
    ours, proxys = plain_ends
    head = b'HTTP/1.1 200 OK\r\nA: '
    head += b'x' * (MAX_HEAD - len(head) - 3) + b'\r\n\r\n'
    proxys.sendall(head)
    assert 'too long' in str(fail(tunnel(ours)))


def test_silent_proxy_fails_at_the_deadline(ends):
    steps = tunnel(ends[0], monotonic() - 1)
    next(steps)
    assert 'in time' in str(fail(steps))


def test_dripping_proxy_fails_at_the_deadline(ends):
    """Each byte it sends is no reason to wait longer."""
    steps = tunnel(ends[0], monotonic() - 1)
    next(steps)
    ends[1].sendall(b'H')
    assert wait(((ends[0].fileno(), READ),), PATIENCE)
    with pytest.raises(ConnectFail) as caught:
        next(steps)
    assert 'in time' in str(caught.value)


def test_request_that_is_not_taken_fails_at_the_deadline(plain_ends):
    fill(plain_ends[0])
    steps = tunnel(plain_ends[0], monotonic() - 1)
    next(steps)
    with pytest.raises(ConnectFail) as caught:
        next(steps)
    assert 'in time' in str(caught.value)


def test_transport_that_was_given_up_fails(plain_ends):
    plain_ends[0].abort()
    assert 'aborted' in str(fail(tunnel(plain_ends[0])))
