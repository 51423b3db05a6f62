"""What ``lomond bench`` makes of its figures: percentiles, a table, JSON.

It measures nothing itself, and keeps no list of times.
"""

from __future__ import absolute_import, division, print_function

import math
import platform
import sys

from lomond._compat import TYPE_CHECKING
from lomond._core import why_pure
from lomond.constants import USER_AGENT

if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Text  # noqa: F401

__all__ = ['PERCENTILES', 'Histogram', 'describe', 'environment']

#: Those that are shown.
PERCENTILES = (50, 90, 99, 99.9)

# Times that differ by less than this factor are counted as one: an error of 0.5 %.
_STEP = math.log(1.01)


class Histogram(object):
    """Counts times, in seconds, in steps of 1 %; the largest and the mean are exact."""

    def __init__(self):
        # type: () -> None
        self.count = 0  # type: int
        self.maximum = 0.0  # type: float
        self.minimum = float('inf')  # type: float
        self._sum = 0.0
        self._counts = {}  # type: Dict[int, int]

    def add(self, seconds):
        # type: (float) -> None
        """Count a time."""
        self.count += 1
        self._sum += seconds
        if seconds > self.maximum:
            self.maximum = seconds
        if seconds < self.minimum:
            self.minimum = seconds
        step = int(math.floor(math.log(max(seconds, 1e-9)) / _STEP + 0.5))
        self._counts[step] = self._counts.get(step, 0) + 1

    def percentile(self, percent):
        # type: (float) -> float
        """Return the time that ``percent`` of all times don't exceed; 0 without any."""
        left = math.ceil(self.count * percent / 100)
        for step in sorted(self._counts):
            left -= self._counts[step]
            if left <= 0:
                return min(max(math.exp(step * _STEP), self.minimum), self.maximum)
        return 0.0

    def as_dict(self):
        # type: () -> Dict[str, Any]
        """Return all figures, in seconds."""
        figures = {
            'p{:g}'.format(percent): self.percentile(percent) for percent in PERCENTILES
        }  # type: Dict[str, Any]
        figures.update(
            count=self.count, max=self.maximum, min=self.minimum if self.count else 0.0,
            mean=self._sum / self.count if self.count else 0.0)
        return figures


def environment():
    # type: () -> Dict[str, Any]
    """Return what the figures depend on at this end."""
    return {
        'client': USER_AGENT, 'compiled': why_pure is None,
        'python': '{} {}'.format(platform.python_implementation(), sys.version.split()[0])}


def describe(figures):
    # type: (Dict[str, Any]) -> List[Text]
    """Return the lines of the table of these figures, as `lomond.cli.bench` makes them."""
    lines = [
        u'{url}: {connections} connection{plural}, {size} bytes of {kind}, {pace}, {duration:.1f} s'
        .format(
            plural=u'' if figures['connections'] == 1 else u's',
            pace=u'as fast as possible' if figures['rate'] is None
            else u'{:g} messages a second wanted'.format(figures['rate']), **figures),
        u'',
        u'  messages      {:.0f} a second, {:.2f} MB/s each way'.format(
            figures['messages_per_second'], figures['bytes_per_second'] / 1e6),
        u'',
        u'  milliseconds' + u''.join(u'{:>10}'.format(name) for name in (
            [u'{:g} %'.format(percent) for percent in PERCENTILES] + [u'max'])),
        _row(u'round trip', figures['round_trip']),
        _row(u'connecting', figures['connecting']),
        u'']
    notes = {
        'broken': u'{} connections broke meanwhile.',
        'unanswered': u'{} messages were not answered.',
        'unsent': u'{} messages could not be sent, as the server reads too slowly for this rate.',
        'wrong': u'{} answers were not the message that was sent: the server must echo.'}
    lines.extend(notes[name].format(figures[name]) for name in sorted(notes) if figures[name])
    how = u'compiled' if figures['compiled'] else u'pure Python'
    lines.append(u'This client ({}, {}, {}) used {:.0f} % of one core{}.'.format(
        figures['client'], figures['python'], how, 100 * figures['client_cpu'],
        u': it may be the limit, rather than the server' if figures['client_cpu'] > 0.9 else u''))
    if figures['same_machine']:
        lines.append(u'Client and server share this machine, and compete for its processors.')
    return lines


def _row(name, times):
    # type: (Text, Dict[str, Any]) -> Text
    keys = ['p{:g}'.format(percent) for percent in PERCENTILES] + ['max']
    return u'  {:<12}{}'.format(name, u''.join(
        u'{:10.3f}'.format(1000 * times[key]) for key in keys))
