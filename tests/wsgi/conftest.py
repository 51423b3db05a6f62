"""The servers, started once for the tests of a module."""

from __future__ import absolute_import, division, print_function

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager

import pytest

from tests.support import PATIENCE

HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Running(object):
    """A server's process, and what it has written to stderr."""

    def __init__(self, process, port, log):
        self.process = process
        self.port = port
        self._log = log

    @property
    def log(self):
        self._log.flush()
        self._log.seek(0)
        return self._log.read().decode('utf-8', 'replace')

    def url(self, path, scheme='ws'):
        return u'{}://127.0.0.1:{}{}'.format(scheme, self.port, path)

    def stop(self):
        """Ask it to end, as a service manager does; return its exit code."""
        self.process.terminate()
        return wait(self.process)


def wait(process):
    if sys.version_info[0] == 2:        # it has no timeout: the one of pytest ends this
        return process.wait()
    return process.wait(PATIENCE)


@contextmanager
def run_server(name, *options):
    """Run one of `tests.wsgi.servers`."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, '-m', 'tests.wsgi.servers', name] + list(options), cwd=HOME,
            stdout=subprocess.PIPE, stderr=log)
        try:
            line = process.stdout.readline()
            running = Running(process, int(line or 0), log)
            assert line, running.log
            yield running
        finally:
            if process.poll() is None:
                process.kill()
            process.stdout.close()
            wait(process)


@pytest.fixture(autouse=True)
def clean(clean_environment):
    """No proxy of the environment stands between."""
