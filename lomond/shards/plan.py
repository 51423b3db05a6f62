"""Which shard has which feeds: evenly, and with as few moves as possible. Only computes."""

from __future__ import absolute_import, division, print_function

import heapq

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Collection, Dict, List, Mapping, Set, TypeVar  # noqa: F401

    Key = TypeVar('Key')


def spread(names, held, replicas=1):
    # type: (Collection[Any], Mapping[Key, Collection[Any]], int) -> Dict[Key, Set[Any]]
    """Return the names that each shard is to have.

    Each name is with ``replicas`` shards, or with all if there are fewer; no shard has two names
    more than another.

    Parameters: ``names`` of all feeds; ``held``, what each shard has now; ``replicas``.
    """
    shards = sorted(held, key=lambda shard: (-len(held[shard]), str(shard)))
    if not shards:
        return {}
    copies = min(replicas, len(shards))
    least, more = divmod(len(names) * copies, len(shards))
    # Those that have the most keep one more: it is one move less.
    quota = {shard: least + (index < more) for index, shard in enumerate(shards)}
    missing = dict.fromkeys(names, copies)
    planned = {shard: set() for shard in shards}  # type: Dict[Any, Set[Any]]
    for index, shard in enumerate(shards):
        kept = sorted(held[shard])
        # With replicas, shards that keep the same names would leave the same ones to the others.
        start = len(kept) * index // len(shards) if copies > 1 else 0
        for name in kept[start:] + kept[:start]:
            if missing.get(name) and len(planned[shard]) < quota[shard]:
                planned[shard].add(name)
                missing[name] -= 1
    # Those with the most space first; the index decides among equal ones.
    space = [(len(planned[shard]) - quota[shard], index) for index, shard in enumerate(shards)]
    heapq.heapify(space)
    for name in sorted(name for name, count in missing.items() if count):
        passed = []     # those that have it already
        while missing[name]:
            taken, index = heapq.heappop(space)
            if name not in planned[shards[index]]:
                planned[shards[index]].add(name)
                taken += 1
                missing[name] -= 1
            passed.append((taken, index))
        for item in passed:
            heapq.heappush(space, item)
    # With replicas, shards with space may hold all of the last names already.
    excess = {shard: len(planned[shard]) - quota[shard] for shard in shards}
    for full in shards:
        for other in shards:
            count = min(excess[full], -excess[other])
            if count <= 0:
                continue
            # A name that the shard didn't hold is no further move.
            movable = sorted(planned[full] - planned[other], key=lambda name: (
                name in held[full], name not in held[other], name))[:count]
            planned[full].difference_update(movable)
            planned[other].update(movable)
            excess[full] -= count
            excess[other] += count
    return planned
