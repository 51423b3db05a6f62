"""What masking costs a process in memory, and payloads beyond 32 bits: in the compiled core."""

from __future__ import absolute_import, division, print_function

import os
import subprocess
import sys

import pytest

from lomond.protocol.accel import find_masking
from tests.sampling import IS_THOROUGH
from tests.support import make_frame, xor

masking = find_masking()

pytestmark = [
    pytest.mark.costly, pytest.mark.skipif(masking is None, reason='nothing is compiled')]

KEY = b'\x00\x80\xff\x0d'

# Ten million messages each way; of those that are refused, some.
LEAKS = '''
import resource, sys
from itertools import repeat
from lomond.protocol._masking import mask, masked_frame

def use(count):
    for payload in (b'x' * 120, memoryview(b'x' * 1000)):
        for _ in repeat(None, count):
            masked_frame(0x81, payload, b'1234')
        for _ in repeat(None, count):
            mask(payload, b'1234')
    for payload, key in ((None, b'1234'), (b'x' * 120, b''), (bytearray(120), b''), (b'', None)):
        for _ in repeat(None, count // 10):
            try:
                mask(payload, key)
            except (TypeError, ValueError):
                pass

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

use(1000)
before = peak()
use(5000000)
assert peak() < before * 1.05, (before, peak())
'''


@pytest.mark.skipif(os.name != 'posix', reason='no module resource')
def test_memory_stays_the_same_over_ten_million_messages_each_way():
    process = subprocess.Popen([sys.executable, '-c', LEAKS], stderr=subprocess.PIPE)
    errors = process.communicate()[1]
    assert process.returncode == 0, errors.decode('utf-8', 'replace')


def free_memory():
    """Return how many bytes are free, 0 if the system doesn't tell."""
    try:
        return os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    except (AttributeError, ValueError, OSError):
        return 0


MEBIBYTE = 1 << 20


@pytest.mark.skipif(not IS_THOROUGH, reason='takes gigabytes of memory: set LOMOND_THOROUGH=1')
@pytest.mark.timeout(600)
@pytest.mark.parametrize('size', [
    2 ** 31 - 1, 2 ** 31, 2 ** 31 + 1, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1])
def test_payloads_of_2_and_4_gib_are_masked_to_the_last_byte(size):
    if free_memory() < size + (1 << 30):
        pytest.skip('not enough memory is free')
    payload = bytes(size)       # zeros: the system provides memory for the result alone
    frame = memoryview(masking.masked_frame(0x82, payload, KEY))
    header = make_frame(2, b'', key=KEY)[:1] + b'\xff' + size.to_bytes(8, 'big') + KEY
    assert frame[:len(header)] == header
    masked = frame[len(header):]
    assert len(masked) == size
    expected = xor(bytes(MEBIBYTE), KEY)
    for start in range(0, size, MEBIBYTE):
        piece = masked[start:start + MEBIBYTE]
        assert piece == expected[:len(piece)], start
