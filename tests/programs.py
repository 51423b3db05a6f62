"""Real third-party programs as fixtures: start one on a free port, end it with the test."""

from __future__ import absolute_import, division, print_function

import os
import shutil
import socket
import subprocess
import tempfile
import threading

import pytest

from lomond._compat import monotonic
from tests.support import PATIENCE

# Where Debian has its daemons; not every user's PATH names them.
_SBIN = os.pathsep.join(['/usr/local/sbin', '/usr/sbin', '/sbin'])


def find_program(name):
    """Return a program's path; the test is skipped if it isn't installed."""
    for folder in (os.environ.get('PATH', '') + os.pathsep + _SBIN).split(os.pathsep):
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK):
            return path
    pytest.skip('{} is not installed'.format(name))


def free_ports(count):
    """Return ports of 127.0.0.1 that are free now."""
    socks = [socket.socket() for _ in range(count)]
    try:
        for sock in socks:
            sock.bind(('127.0.0.1', 0))
        return [sock.getsockname()[1] for sock in socks]
    finally:
        for sock in socks:
            sock.close()


def pause(seconds=0.02):
    """Let another process get on."""
    threading.Event().wait(seconds)


class Program(object):
    """A program that runs while the test does.

    Parameters: ``make_command(folder, port)`` writes what files the program
    needs into the folder and returns its command line, for the foreground;
    ``listens`` is False for one that opens no port; ``prefix`` is put before
    the command, such as ``['ip', 'netns', 'exec', name]``.

    Attributes: ``port``, ``folder``, ``process``. A context manager.
    """

    def __init__(self, make_command, listens=True, prefix=()):
        self._make_command = make_command
        self._listens = listens
        self._prefix = list(prefix)
        self.process = None

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix='lomond-test-')
        os.chmod(self.folder, 0o755)        # for those that give up root
        try:
            # Another process may take the port in between: then the next one.
            for attempt in range(5):
                self.port, = free_ports(1)
                if self.start():
                    return self
        except BaseException:
            self.__exit__()
            raise
        log = self.log()
        self.__exit__()
        raise AssertionError('it does not start:\n' + log)

    def start(self):
        """Start it, also once more after `stop`; True when it listens."""
        command = self._prefix + self._make_command(self.folder, self.port)
        with open(os.path.join(self.folder, 'output'), 'ab') as output, \
                open(os.devnull, 'rb') as nothing:
            self.process = subprocess.Popen(
                command, stdin=nothing, stdout=output, stderr=output, cwd=self.folder,
                close_fds=True)
        deadline = monotonic() + PATIENCE
        while monotonic() < deadline and self.process.poll() is None:
            if not self._listens or self._answers():
                return True
            pause()
        self.stop()
        return False

    def _answers(self):
        sock = socket.socket()
        try:
            sock.settimeout(1)
            return sock.connect_ex(('127.0.0.1', self.port)) == 0
        except socket.error:
            return False
        finally:
            sock.close()

    def stop(self, kill=False):
        """End the process, and wait for it."""
        process, self.process = self.process, None
        if process is None:
            return
        if process.poll() is None:
            (process.kill if kill else process.terminate)()
        deadline = monotonic() + PATIENCE
        while process.poll() is None:
            if monotonic() >= deadline:
                process.kill()
            pause()

    def log(self):
        """Return what it printed."""
        with open(os.path.join(self.folder, 'output'), 'rb') as output:
            return output.read().decode('utf-8', 'replace')

    def __exit__(self, *_exc_info):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def write_file(folder, name, text):
    """Write a file for a program; return the path."""
    path = os.path.join(folder, name)
    with open(path, 'wb') as output:
        output.write(text.encode('utf-8'))
    return path
