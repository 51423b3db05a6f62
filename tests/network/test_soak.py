"""The soak script (`make soak`), for as long as it takes to go every way once."""

from __future__ import absolute_import, division, print_function

import os
import subprocess
import sys

from tests.network.driving import needs_proc

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@needs_proc
def test_every_way_ends_as_it_should():
    output = subprocess.check_output(
        [sys.executable, os.path.join(ROOT, 'compliance', 'soak.py'), '--connections', '60'],
        stderr=subprocess.STDOUT)
    assert b'ways' in output
