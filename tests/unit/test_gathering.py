"""What the payload of a message is gathered in."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond.protocol.gathering import MAX_BUFFERED, MIN_BUFFERED, Pieces, ReceiveBuffer


@pytest.mark.parametrize('empty, piece', [(b'', b'ab'), (u'', u'\xe9b')])
@pytest.mark.parametrize('count', [0, 1, 2, 1023, 1024, 1025, 5000])
def test_pieces_are_joined_in_order(empty, piece, count):
    pieces = Pieces(empty.join)
    for _index in range(count):
        pieces.add(piece)
    assert pieces.join() == piece * count


def test_pieces_are_counted():
    pieces = Pieces(b''.join)
    assert (pieces.size, pieces.count) == (0, 0)
    for expected in [1, 2, 3]:
        pieces.add(b'xy')
        assert (pieces.size, pieces.count) == (2 * expected, expected)
    for _index in range(1023):
        pieces.add(b'xy')
    assert (pieces.size, pieces.count) == (2 * 1026, 3)     # 1024 of them have become one


def test_many_small_pieces_are_few_objects():
    pieces = Pieces(b''.join)
    for _index in range(100000):
        pieces.add(b'x')
    assert pieces.size == 100000
    assert pieces.count < 1200


def test_a_receive_buffer_is_for_128_kib_to_1_mib():
    assert (MIN_BUFFERED, MAX_BUFFERED) == (128 * 1024, 1024 * 1024)


def test_a_receive_buffer_takes_pieces_and_what_was_put_there():
    buffer = ReceiveBuffer().begin(6)
    buffer.add(b'ab')
    rest = buffer.rest
    assert len(rest) == 4
    rest[:3] = b'cde'
    buffer.fill(3)
    assert len(buffer.rest) == 1
    assert (buffer.size, buffer.count) == (5, 1)
    buffer.add(b'f')
    assert len(buffer.rest) == 0
    assert buffer.join() == b'abcdef'


def test_a_receive_buffer_keeps_its_memory_for_what_is_not_larger():
    buffer = ReceiveBuffer().begin(4)
    first = buffer.rest
    buffer.add(b'abcd')
    joined = buffer.join()
    assert first.tobytes() == b'abcd'
    for size in (4, 3):
        buffer.begin(size)
        assert (buffer.size, buffer.memory_size) == (0, 4)
        buffer.add(b'xyz')
        assert first.tobytes() == b'xyzd'       # the same memory
    assert buffer.join() == b'xyz'
    assert joined == b'abcd'
    assert buffer.begin(5).memory_size == 5


@pytest.mark.skipif(not hasattr(memoryview, 'obj'), reason='2.7 has no memoryview.obj')
def test_a_receive_buffer_knows_its_own_memory():
    buffer = ReceiveBuffer().begin(4)
    assert buffer.owns(buffer.rest[1:])
    assert not buffer.owns(memoryview(bytearray(4)))
