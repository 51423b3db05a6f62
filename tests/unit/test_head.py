"""lomond.http.head: where a head ends, and what is none, as soon as that is certain."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond.errors import CriticalProtocolError, HandshakeError
from lomond.http.head import MAX_SHOWN, HeadReader, ResponseHeadReader
from tests.protocol.harness import bytewise

LIMIT = 1000


def responses(secure_scheme=u'wss'):
    return ResponseHeadReader(LIMIT, u'the server', secure_scheme)


def failure(data):
    """Return how reading fails, byte by byte and at once; and after how many bytes."""
    errors = []
    for pieces in ([data], bytewise(data)):
        reader = responses()
        fed = []
        with pytest.raises(HandshakeError) as caught:
            for piece in pieces:
                fed.append(piece)
                assert reader.feed(piece) is None
        errors.append(str(caught.value))
    whole, by_byte = errors
    assert whole == by_byte
    return whole, len(fed)


@pytest.mark.parametrize('head', [
    b'HTTP/1.1 200 OK\nA: b\n\n', b'HTTP/1.1 200 OK\r\nA: b\n\r\n', b'HTTP/1.0 200 OK\nA: b\r\n\n',
    b'HTTP/1.1 101\n\n', b'HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n'])
@pytest.mark.parametrize('rest', [b'', b'\n', b'\r\n', b'\x81\x02hi'])
def test_lines_of_a_response_may_end_in_lf_alone(head, rest):
    """RFC 9112 2.2."""
    assert responses().feed(head + rest) == (head, rest)
    reader = responses()
    for piece in bytewise(head)[:-1]:
        assert reader.feed(piece) is None
    assert reader.feed(head[-1:] + rest) == (head, rest)


@pytest.mark.parametrize('head', [b'X\nA: b\r\n\r\n', b'X\r\nA: b\n\r\n', b'X\r\nA: b\r\n\n'])
def test_bare_lf_is_refused_at_once_where_it_is_not_allowed(head):
    reader = HeadReader(LIMIT)
    with pytest.raises(HandshakeError) as caught:
        for piece in bytewise(head):
            reader.feed(piece)
    assert 'CRLF' in str(caught.value)


@pytest.mark.parametrize('start, words', [
    (b'SSH-2.0-OpenSSH_9.6\r\n', 'an SSH banner, not HTTP: '),
    (b'220 mx.example.org ESMTP Postfix\r\n', 'an SMTP or FTP greeting, not HTTP: '),
    (b'220-welcome\n', 'an SMTP or FTP greeting, not HTTP: '),
    (b'+OK POP3\r\n', 'a POP3 greeting'),
    (b'* OK IMAP4rev1\r\n', 'an IMAP greeting'),
    (b'RFB 003.008\n', 'a VNC greeting'),
    (b'-ERR wrong number of arguments\r\n', '-ERR wrong number'),
    (b'HTTP/2.0 200 OK\r\n', 'HTTP/2.0 200 OK'),
    (b'H\n', 'H'), (b'http/1.1 200 OK\r\n', 'http/1.1'), (b'{"braces": {}}\n', '{"braces": {}}'),
    (b'x' * MAX_SHOWN, 'x' * MAX_SHOWN),
])
def test_what_is_not_http_is_shown_once_its_first_line_is_there(start, words):
    error, count = failure(start)
    assert words in error
    assert count == len(start)


@pytest.mark.parametrize('start, words, at', [
    (b'\x15\x03\x01\x00\x02\x02\x28', 'the server speaks TLS on this port: use wss://', 3),
    (b'\x16\x03\x03\x00\x7a', 'the server speaks TLS on this port: use wss://', 3),
    (b'\x15\x02\x01', 'the first byte is 0x15', 3), (b'\x16\x03\x05', 'the first byte is 0x16', 3),
    (b'\x81\x02hi', 'the first byte is 0x81', 1), (b'\r\n\r\n', 'the first byte is 0x0d', 1),
    (b'\n', 'the first byte is 0x0a', 1), (b'\0', 'the first byte is 0x00', 1),
    (b'\xff' * 100, 'the first byte is 0xff', 1), (b'\x7fELF', 'the first byte is 0x7f', 1),
])
def test_what_is_no_text_is_named_by_its_first_bytes(start, words, at):
    error, count = failure(start)
    assert words in error
    assert count == at


def test_tls_within_tls_is_nothing_to_use_wss_for():
    with pytest.raises(HandshakeError) as caught:
        responses(None).feed(b'\x15\x03\x01\x00\x02\x02\x28')
    assert '0x15' in str(caught.value)


@pytest.mark.parametrize('start, words', [
    (b'SSH-2', 'an SSH banner'), (b'\x15\x03', '0x15'), (b'\x16', '0x16'), (b'HTTX', 'HTTX')])
def test_end_of_the_stream_is_the_end_of_what_is_shown(start, words):
    reader = responses()
    assert reader.feed(start) is None
    assert reader.is_not_http
    with pytest.raises(HandshakeError) as caught:
        reader.feed(b'')
    assert words in str(caught.value)


@pytest.mark.parametrize('start', [b'', b'H', b'HTTP/1.', b'HTTP/1.1 200 OK', b'HTTP/1.1 200\r\nA'])
def test_end_of_the_stream_before_the_end_of_a_head_is_no_error(start):
    reader = responses()
    assert reader.feed(start) is None
    assert not reader.is_not_http
    assert reader.feed(b'') is None


@pytest.mark.parametrize('line', [
    b'HTTP/1.1 OK\r\n', b'HTTP/1.1\n', b'HTTP/1.1 2000 OK\r\n', b'HTTP/1.x 200 OK\n'])
def test_wrong_status_line_is_refused_before_the_rest(line):
    error, count = failure(line)
    assert 'not an HTTP response' in error
    assert count == len(line)


@pytest.mark.parametrize('data', [
    b'HTTP/1.1 200 ' + b'x' * LIMIT, b'HTTP/1.1 200 ' + b'x' * LIMIT + b'\r\n\r\n',
    b'HTTP/1.1 OK ' + b'x' * LIMIT + b'\n', b'HTTP/1.1 200\n' + b'A: b\n' * LIMIT])
def test_limit_holds_for_lines_that_do_not_end_and_for_many(data):
    for pieces in ([data], bytewise(data)):
        reader = responses()
        with pytest.raises(CriticalProtocolError) as caught:
            for piece in pieces:
                reader.feed(piece)
        assert 'too long' in str(caught.value)
