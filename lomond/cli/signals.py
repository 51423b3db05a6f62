"""Signals that end a command: one way to catch them, and the exit status of each."""

from __future__ import absolute_import, division, print_function

import signal
from contextlib import contextmanager

from lomond._compat import TYPE_CHECKING
from lomond.cli.statuses import INTERRUPTED, TERMINATED

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, Iterator  # noqa: F401

__all__ = ['STATUSES', 'catching']

#: The exit status of a command that a signal has ended.
STATUSES = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}  # type: Dict[int, int]


@contextmanager
def catching(handler, numbers=tuple(STATUSES)):
    # type: (Callable[[int, Any], Any], Iterable[int]) -> Iterator[None]
    """Have a function called for signals while the block runs.

    Not for one that is ignored: a shell has what runs in the background ignore Ctrl-C. And for none
    in a thread that isn't the main one.
    """
    before = {}  # type: Dict[int, Any]
    try:
        try:
            for number in numbers:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    before[number] = signal.signal(number, handler)
        except ValueError:      # this isn't the main thread
            pass
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
