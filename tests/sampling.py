"""How much is tried of what could be tried at each byte, at each line, or with more of everything.

`make faults` tries all (LOMOND_THOROUGH); `make test` all bytes, and some lines. In `make test-all`
each of the other Pythons takes one byte of four (LOMOND_SHARE), with another remainder than its
neighbours, so that together they take all. Compiled modules and 3.6 take one of four tests that are
marked as costly, too; the Pythons between 3.6 and 3.13 take one of four tests that use sockets or
processes.
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
SHARES_COSTLY = SHARE > 1 and (
    os.environ.get('LOMOND_TESTED') == 'compiled' or sys.version_info[:2] == (3, 6))

#: True if each test that uses sockets or processes is run by others.
SHARES_SOCKETS = SHARE > 1 and not SHARES_COSTLY and (3, 6) < sys.version_info[:2] < (3, 13)


def share(cases):
    """Return this Python's share of the cases, as an iterator."""
    return itertools.islice(cases, sys.version_info[1] % SHARE, None, SHARE)
