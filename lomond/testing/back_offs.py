"""Back-offs that pass at once, for tests of programs that reconnect."""

from __future__ import absolute_import, division, print_function

from contextlib import contextmanager

from lomond._checks import check_count
from lomond._compat import TYPE_CHECKING
from lomond.engine.reconnect import skippers

if TYPE_CHECKING:
    from typing import Iterator, List  # noqa: F401


@contextmanager
def skip_back_offs(limit=100):
    # type: (int) -> Iterator[List[float]]
    """Have each back-off of this process pass at once, in a ``with`` block.

    The value of the block is a list: the delays that were skipped, in seconds, in their order.

        with skip_back_offs() as delays:
            run_program()
        assert delays[0] >= 5

    It holds for `lomond.persist.persist` and for pools and event loops with a policy, in all
    threads. BackOff says how long the delay would have been, and the policy counts it as over: for
    ``max_outage`` and Retry-After that time has passed. A connection itself takes the time that it
    takes; see `Clock` for its pings and timeouts.

    Parameters: ``limit``, the number of back-offs after which the next one raises AssertionError
    in the loop (100): a program that never gets through would try without an end. The end of the
    block raises it, too, as a pool logs what one of its WebSockets raises.
    """
    check_count('limit', limit, 1)
    delays = []  # type: List[float]
    failures = []  # type: List[AssertionError]

    def skip(delay):
        # type: (float) -> None
        if len(delays) >= limit:
            failures.append(AssertionError(
                '{} back-offs were skipped, and the program still reconnects: if it should, use '
                'skip_back_offs(limit=...)'.format(limit)))
            raise failures[-1]
        delays.append(delay)

    skippers.append(skip)
    try:
        yield delays
    finally:
        skippers.remove(skip)
    if failures:
        raise failures[0]
