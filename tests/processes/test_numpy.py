"""Programs that use numpy: its numbers are numbers."""

from __future__ import absolute_import, division, print_function

import subprocess
import sys

import pytest

NUMPY = '''
import numpy
from lomond import WebSocket
from lomond._checks import check_count, check_seconds
from lomond.persist import ReconnectPolicy

for number in (numpy.int64(1009), numpy.uint16(1009), numpy.float32(1009), numpy.float64(1009)):
    kept = check_seconds('seconds', number)
    assert kept == 1009 and isinstance(kept, (int, float)), number
for number in (numpy.int64(1009), numpy.uint16(1009)):
    kept = check_count('count', number, 1)
    assert kept == 1009 and type(kept) is int, number
    WebSocket('ws://localhost/', max_message_size=number).close(number)
    assert ReconnectPolicy(stop_on_code=numpy.array([number])).stop_on_code == {1009}
'''


def test_numbers_of_numpy_are_numbers():
    """In a process of its own, as numpy masks from its import on."""
    process = subprocess.Popen([sys.executable, '-c', NUMPY], stderr=subprocess.PIPE)
    _out, stderr = process.communicate()
    if b'No module named' in stderr and b'numpy' in stderr:
        pytest.skip('numpy is not installed')
    assert process.returncode == 0, stderr
