"""What a message's payload is gathered in."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond.protocol.gathering import MAX_PLACE, MIN_PLACE, Pieces, Place


@pytest.mark.parametrize('empty, piece', [(b'', b'ab'), (u'', u'\xe9b')])
@pytest.mark.parametrize('count', [0, 1, 2, 1023, 1024, 1025, 5000])
def test_pieces_are_joined_in_order(empty, piece, count):
    pieces = Pieces(empty.join)
    for _index in range(count):
        pieces.add(piece)
    assert pieces.join() == piece * count


def test_many_small_pieces_are_few_objects():
    pieces = Pieces(b''.join)
    for _index in range(100000):
        pieces.add(b'x')
    assert len(pieces._small) + len(pieces._merged) < 1200


def test_a_place_is_for_128_kib_to_1_mib():
    assert (MIN_PLACE, MAX_PLACE) == (128 * 1024, 1024 * 1024)


def test_a_place_takes_pieces_and_what_was_put_there():
    place = Place().begin(6)
    place.add(b'ab')
    rest = place.rest
    assert len(rest) == 4
    rest[:3] = b'cde'
    place.fill(3)
    assert len(place.rest) == 1
    place.add(b'f')
    assert len(place.rest) == 0
    assert place.join() == b'abcdef'


def test_a_place_keeps_its_memory_for_what_is_not_larger():
    place = Place().begin(4)
    memory = place._memory
    place.add(b'abcd')
    kept = place.join()
    assert place.begin(4)._memory is memory
    assert place.begin(3)._memory is memory
    place.add(b'xyz')
    assert place.join() == b'xyz'
    assert kept == b'abcd'
    assert place.begin(5)._memory is not memory


@pytest.mark.skipif(not hasattr(memoryview, 'obj'), reason='2.7 has no memoryview.obj')
def test_a_place_knows_its_own_memory():
    place = Place().begin(4)
    assert place.owns(place.rest[1:])
    assert not place.owns(memoryview(bytearray(4)))
