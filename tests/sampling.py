"""How much is tried of what could be tried at each byte, at each line, or with more of everything.

`make faults` tries all (LOMOND_THOROUGH); `make test` all bytes, and some lines. In `make test-all`
each of the other Pythons takes one byte of four (LOMOND_SHARE), with another remainder than its
neighbours, so that together they take all. The Pythons between 3.6 and 3.13 take one of four tests
that use sockets or processes, too; 3.6, 3.13 and those with compiled modules take one of three
tests that are marked as costly: 3.9, 3.11 and 3.13 together run each of them on compiled modules.
"""

from __future__ import absolute_import, division, print_function

import itertools
import os
import sys

#: True if time doesn't matter.
IS_THOROUGH = bool(os.environ.get('LOMOND_THOROUGH'))

#: Other Pythons try what this one leaves out: one of so many cases is enough here.
SHARE = 1 if IS_THOROUGH else int(os.environ.get('LOMOND_SHARE') or 1)

#: How far it is from one line that a test tries to the next: all of them take a minute.
LINE_STEP = 1 if IS_THOROUGH else 7 * SHARE

#: True if each costly test is run by others.
SHARES_COSTLY = SHARE > 1 and sys.version_info[0] > 2

#: True if each test that uses sockets or processes is run by others.
SHARES_SOCKETS = (
    SHARE > 1 and (3, 6) < sys.version_info[:2] < (3, 13)
    and os.environ.get('LOMOND_TESTED') != 'compiled')


def share(cases):
    """Return this Python's share of the cases, as an iterator."""
    return itertools.islice(cases, sys.version_info[1] % SHARE, None, SHARE)


def share_costly(tests):
    """Return this Python's share of the tests that are marked as costly, as an iterator."""
    return itertools.islice(tests, sys.version_info[1] // 2 % 3, None, 3)
