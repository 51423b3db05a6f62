"""The tests' own check for leaks: without it `ResourceWarning` would pass unseen."""

from __future__ import absolute_import, division, print_function

import os
import subprocess
import sys

import pytest

from tests.support import needs_refcounts

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@needs_refcounts
# Older ones don't report errors in an object's finalizer to pytest.
@pytest.mark.skipif(sys.version_info < (3, 8), reason='no sys.unraisablehook')
@pytest.mark.parametrize('leak', ['socket.socket()', 'open(__file__)'])
def test_what_is_left_open_fails_its_test(tmpdir, leak):
    tmpdir.join('test_leak.py').write(
        'import socket\ndef test_leak():\n    {}\ndef test_none():\n    pass\n'.format(leak))
    process = subprocess.Popen(
        [sys.executable, '-m', 'pytest', '-c', os.path.join(ROOT, 'tox.ini'),
         '--rootdir', str(tmpdir), str(tmpdir)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = process.communicate()[0].decode('utf-8')
    assert process.returncode == 1, output
    assert 'ResourceWarning: unclosed' in output
    assert '1 failed, 1 passed' in output
