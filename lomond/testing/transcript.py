"""What happened on the connections of a `ScriptedServer`, in lines to be read when a test fails."""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING, monotonic
from lomond._locks import ProcessLock

if TYPE_CHECKING:
    from typing import List, Tuple  # noqa: F401

#: How many lines of a connection are shown: its first ones, and its last ones.
MOST = 40


class Transcript(object):
    """Lines of several threads, each with its time and the number of its connection."""

    def __init__(self):
        # type: () -> None
        self._began = monotonic()
        self._lines = []  # type: List[Tuple[int, float, str]]
        self._lock = ProcessLock()

    def add(self, connection, line):
        # type: (int, str) -> None
        """Record what has just happened."""
        with self._lock():
            self._lines.append((connection, monotonic() - self._began, line))

    def __str__(self):
        # type: () -> str
        with self._lock():
            lines = list(self._lines)
        shown = []
        for number in sorted({line[0] for line in lines}):
            shown.append('connection {}:'.format(number))
            own = ['  {:8.3f} s  {}'.format(time, words)
                   for connection, time, words in lines if connection == number]
            if len(own) > 2 * MOST:
                own[MOST:-MOST] = ['  ... {} lines ...'.format(len(own) - 2 * MOST)]
            shown.extend(own)
        return '\n'.join(shown or ['no client connected'])
