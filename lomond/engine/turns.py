"""The order in which senders wait for space in a queue.

Each waits by its own means, a thread for an event, a task for a future, and is woken when it is
the first and there may be space.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Callable, List, Optional  # noqa: F401

    #: One sender's place: called, in any thread, when it should try again.
    Turn = Callable[[], Any]


class Turns(object):
    """Those that wait, in the order in which they came.

    Each change is one atomic call, so any thread may make it, and a signal's handler too.
    """

    __slots__ = ('_waiting',)

    def __init__(self):
        # type: () -> None
        self._waiting = []  # type: List[Turn]

    def __len__(self):
        # type: () -> int
        return len(self._waiting)

    def is_next(self, turn):
        # type: (Optional[Turn]) -> bool
        """Return whether no other sender waits before this one.

        Pass None for a sender that hasn't joined the queue.
        """
        return self._waiting[:1] in ([], [turn])

    def join(self, turn):
        # type: (Turn) -> None
        """Wait behind all others, unless it waits already."""
        if turn not in self._waiting:
            self._waiting.append(turn)

    def leave(self, turn):
        # type: (Turn) -> None
        """Wait no more, for whatever reason, and let the next one try."""
        try:
            self._waiting.remove(turn)
        except ValueError:
            return      # it didn't wait
        self.wake_first()

    def wake_first(self):
        # type: () -> None
        """Let the first try."""
        for turn in self._waiting[:1]:
            turn()

    def wake_all(self):
        # type: () -> None
        """Let all try: each finds that nothing may be sent any more."""
        for turn in list(self._waiting):
            turn()
