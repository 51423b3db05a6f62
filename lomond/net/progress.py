"""How far an attempt to connect has come: measures its phases, and reports its stages.

Dials nothing, and waits for nothing.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING, monotonic
from lomond.timings import NO_TIMINGS, Timings

if TYPE_CHECKING:
    from typing import Any, Callable, Dict  # noqa: F401


def _ignore(_stage, **_fields):
    # type: (str, **Any) -> None
    pass


class Progress(object):
    """Measures one connection's way, from now on.

    Parameters: ``reporter``, called with ``(stage, **fields)``; ``clock``, a monotonic clock in
    seconds.
    """

    __slots__ = ('_began', '_clock', '_ended', '_phase', '_reporter', '_since')

    def __init__(self, reporter=_ignore, clock=monotonic):
        # type: (Callable[..., Any], Callable[[], float]) -> None
        self._reporter = reporter
        self._clock = clock
        self._began = self._since = clock()
        self._phase = ''
        self._ended = {}  # type: Dict[str, float]      # seconds, by the phase

    def enter(self, phase):
        # type: (str) -> None
        """Begin a phase, a field of `Timings` or any other name; the one before has ended."""
        now = self._clock()
        self._ended[self._phase] = now - self._since
        self._phase, self._since = phase, now

    def report(self, stage, **fields):
        # type: (str, **Any) -> None
        """Report a stage, and how long the present phase has taken so far."""
        self._reporter(stage, seconds=self._clock() - self._since, **fields)

    def timings(self):
        # type: () -> Timings
        """Return how long each phase took, the present one until now."""
        now = self._clock()
        found = dict(self._ended)
        found[self._phase] = now - self._since
        return NO_TIMINGS._replace(total=now - self._began, **{
            name: found[name] for name in Timings._fields if name in found})
