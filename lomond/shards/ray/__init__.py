"""Shards as Ray actors, and one actor that supervises them: `run` returns a `Fleet`.

Ray places the actors and starts them again; Redis, or another sink, refuses what comes twice. What
is in between is here: which shard has which feeds, whether each is alive, and the hand-over of
feeds. No lock and no election: a feed that two shards have for a moment is published once: its
numbers, or its epochs, show the sink what comes twice.

Needs Ray (`pip install lomond[ray]`).
"""

from __future__ import absolute_import, division, print_function

from lomond.shards.ray.fleet import Fleet, run

__all__ = ['Fleet', 'run']
