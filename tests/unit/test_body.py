"""Bodies of answers that turn the upgrade down: where they end, and at what cost."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond.http import body
from lomond.http.body import BodyReader
from lomond.http.response import Response
from tests.protocol.harness import bytewise

CHUNKED = b'Transfer-Encoding: chunked'


def reader_for(field, status=b'400 Bad Request', max_size=10000):
    return BodyReader(Response(b'HTTP/1.1 ' + status + b'\r\n' + field + b'\r\n\r\n'), max_size)


def read(data, field=CHUNKED, is_bytewise=False):
    """Return the body, and if that was complete before the end of the stream."""
    reader = reader_for(field)
    for piece in bytewise(data) if is_bytewise else [data]:
        found = reader.feed(piece, False)
        if found is not None:
            return found, True
    return reader.feed(b'', True), False


@pytest.mark.parametrize('is_bytewise', [False, True])
def test_the_size_of_a_chunk_is_hexadecimal(is_bytewise):
    data = b''.join(b'%x\r\n' % size + b'x' * size + b'\r\n' for size in (9, 10, 16, 255, 4096))
    assert read(data + b'0\r\n\r\n', is_bytewise=is_bytewise) == (
        b'x' * (9 + 10 + 16 + 255 + 4096), True)


@pytest.mark.parametrize('is_bytewise', [False, True])
@pytest.mark.parametrize('data, expected', [
    (b'', (b'', False)),
    (b'5', (b'', False)),
    (b'5\r', (b'', False)),
    (b'5\r\n', (b'', False)),
    (b'5\r\nHel', (b'Hel', False)),
    (b'5\r\nHello', (b'Hello', False)),
    (b'5\r\nHello\r\n', (b'Hello', False)),
    (b'5\r\nHel\r\n\r\n', (b'Hel\r\n', False)),
    (b'5\r\nHello\r\nx\r\n', (b'Hello', True)),
    (b'5\r\nHello\r\n0\r\n', (b'Hello', True)),
    (b'5\r\nHello\r\n0\r\nTrailer: x\r\n\r\n', (b'Hello', True)),
    (b'3\r\nHel\r\n2;x=y\r\nlo\r\n0\r\n', (b'Hello', True)),
    (b'1\r\nH\r\n1\r\ne\r\n3\t\r\nllo', (b'Hello', False)),
    (b'00005\r\nHello\r\n', (b'Hello', False)),
    (b'0000000005\r\nHello\r\n', (b'', True)),         # garbage: nothing to wait for
    (b'x\r\nHello', (b'', True)),
    (b'-5\r\nHello', (b'', True)),
    (b'5;\n\r\nHello', (b'', True)),
    (b'\r\nHello', (b'', True)),
])
def test_chunks_are_taken_as_far_as_they_go(data, expected, is_bytewise):
    assert read(data, is_bytewise=is_bytewise) == expected


@pytest.mark.parametrize('is_bytewise', [False, True])
@pytest.mark.parametrize('field, expected', [
    (b'Content-Length: 4', (b'Hell', True)),
    (b'Content-Length: 5', (b'Hello', True)),
    (b'Content-Length: 6', (b'Hello', False)),
    (b'X: y', (b'Hello', False)),
])
def test_the_length_in_the_headers_is_the_bodys(field, expected, is_bytewise):
    assert read(b'Hello', field, is_bytewise) == expected


@pytest.mark.parametrize('status', [b'204 No Content', b'304 Not Modified'])
@pytest.mark.parametrize('field', [b'Content-Length: 3', CHUNKED])
def test_a_status_that_has_no_body_has_none_whatever_the_head_says(status, field):
    assert reader_for(field, status).feed(b'', False) == b''
    assert reader_for(field, status).feed(b'3\r\nabc', False) == b''


def test_what_exceeds_the_limit_is_not_kept():
    for pieces in ([b'x' * 10], [b'x' * 9, b'xx']):
        reader = reader_for(b'X: y', max_size=10)
        for piece in pieces[:-1]:
            assert reader.feed(piece, False) is None
        assert reader.feed(pieces[-1], False) == b'x' * 10


def test_a_chunk_that_comes_byte_by_byte_is_looked_at_once(monkeypatch):
    """Else each byte of a body could cost a parse of 64 KiB."""
    class Counting(object):
        def match(self, data, pos):
            looks.append(pos)
            return chunk_size.match(data, pos)

    looks = []
    chunk_size = body.CHUNK_SIZE
    monkeypatch.setattr(body, 'CHUNK_SIZE', Counting())
    chunk = b'2; a remark\r\nxy\r\n'
    assert read(chunk * 100, is_bytewise=True) == (b'xy' * 100, False)
    assert looks == [len(chunk) * number for number in range(100)]
