"""How feeds are spread over shards: evenly, and with few moves."""

from __future__ import absolute_import, division, print_function

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lomond.shards.plan import spread

NAMES = [u'{:02d}'.format(number) for number in range(12)]


def sizes(planned):
    return sorted(len(names) for names in planned.values())


def test_empty_shards_get_the_same_share():
    planned = spread(NAMES, {'a': (), 'b': (), 'c': ()})
    assert sizes(planned) == [4, 4, 4]
    assert set().union(*planned.values()) == set(NAMES)


def test_a_shard_that_joins_takes_its_share_and_nothing_else_moves():
    held = {'a': set(NAMES[:6]), 'b': set(NAMES[6:]), 'c': set()}
    planned = spread(NAMES, held)
    assert sizes(planned) == [4, 4, 4]
    assert planned['a'] <= held['a'] and planned['b'] <= held['b']


def test_the_feeds_of_a_shard_that_is_gone_go_to_the_others():
    planned = spread(NAMES, {'a': set(NAMES[:4]), 'b': set(NAMES[4:8])})
    assert planned['a'] >= set(NAMES[:4]) and planned['b'] >= set(NAMES[4:8])
    assert sizes(planned) == [6, 6]


def test_a_feed_that_is_no_more_leaves():
    assert spread(NAMES[:2], {'a': set(NAMES)}) == {'a': set(NAMES[:2])}


def test_replicas_are_with_different_shards():
    planned = spread(NAMES, {'a': (), 'b': (), 'c': ()}, replicas=2)
    assert sizes(planned) == [8, 8, 8]
    for name in NAMES:
        assert sum(name in names for names in planned.values()) == 2


def test_a_shard_that_joins_takes_its_share_of_replicas_and_nothing_else_moves():
    held = {'a': set(NAMES), 'b': set(NAMES), 'c': set()}
    planned = spread(NAMES, held, replicas=2)
    assert sizes(planned) == [8, 8, 8]
    assert planned['a'] < held['a'] and planned['b'] < held['b']


@pytest.mark.parametrize('held, expected', [({}, {}), ({'a': ()}, {'a': set(NAMES)})])
def test_replicas_are_as_many_as_there_are_shards(held, expected):
    assert spread(NAMES, held, replicas=3) == expected


@given(
    names=st.sets(st.sampled_from(NAMES)), replicas=st.integers(1, 4),
    held=st.dictionaries(st.sampled_from('abcdef'), st.sets(st.sampled_from(NAMES)), min_size=1))
def test_any_plan_is_complete_even_and_at_rest(names, replicas, held):
    planned = spread(names, held, replicas)
    copies = min(replicas, len(held))
    for name in names:
        assert sum(name in of_shard for of_shard in planned.values()) == copies
    assert set().union(*planned.values()) == names
    assert sizes(planned)[-1] - sizes(planned)[0] <= 1
    assert spread(names, planned, replicas) == planned
