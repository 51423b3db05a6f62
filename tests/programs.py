"""Real third-party programs as fixtures: start one on a free port, end it with the test.

Knows no program in particular, and nothing of WebSockets.
"""

from __future__ import absolute_import, division, print_function

import errno
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

import pytest

from lomond._compat import NEW_SESSION, monotonic
from tests.support import PATIENCE

# Where Debian has its daemons; not every user's PATH names them.
_SBIN = ['/usr/local/sbin', '/usr/sbin', '/sbin']

# Below the ports that a system gives to connections on their way out: there, one that comes
# back from a restart could find its port taken.
_PORTS = range(20000, 32000)


def find_program(name):
    """Return a program's path; the test is skipped if it isn't installed."""
    for folder in os.environ.get('PATH', '').split(os.pathsep) + _SBIN:
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK):
            return path
    pytest.skip('{} is not installed'.format(name))


def free_ports(count):
    """Return ports of 127.0.0.1 that are free now, and that no client's socket takes."""
    socks = []
    try:
        while len(socks) < count:
            sock = socket.socket()
            socks.append(sock)
            try:
                sock.bind(('127.0.0.1', random.SystemRandom().choice(_PORTS)))
            except socket.error as error:
                socks.pop().close()
                if error.errno != errno.EADDRINUSE:
                    raise
        return [sock.getsockname()[1] for sock in socks]
    finally:
        for sock in socks:
            sock.close()


def pause(seconds=0.02):
    """Let another process get on."""
    threading.Event().wait(seconds)


def wait_until(condition, what, patience=PATIENCE):
    """Wait until ``condition()`` is true, not for ever; ``what`` says what for."""
    deadline = monotonic() + patience
    while not condition():
        assert monotonic() < deadline, 'not within {} seconds: {}'.format(patience, what)
        pause()


class Program(object):
    """A program that runs while the test does.

    Parameters: ``make_command(folder, port)`` writes what files the program
    needs into the folder and returns its command line, for the foreground;
    ``listens`` is False for one that opens no port; ``prefix`` is put before
    the command, such as ``['env', 'TZ=UTC']``.

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
            for _attempt in range(5):
                self.port, = free_ports(1)
                if self.start():
                    return self
            raise AssertionError('it does not start:\n' + self.log())
        except BaseException:
            self.__exit__()
            raise

    def start(self):
        """Start it, also once more after `stop`; True when it listens, False if it ended.

        AssertionError, with what it printed, if neither happens.
        """
        command = self._prefix + self._make_command(self.folder, self.port)
        with open(os.path.join(self.folder, 'output'), 'ab') as output, \
                open(os.devnull, 'rb') as nothing:
            self.process = subprocess.Popen(
                command, stdin=nothing, stdout=output, stderr=output, cwd=self.folder,
                close_fds=True, **NEW_SESSION)      # its children can be ended with it
        deadline = monotonic() + PATIENCE
        while self.process.poll() is None:
            if not self._listens or self._answers():
                return True
            if monotonic() >= deadline:
                self.stop(kill=True)
                raise AssertionError('it does not listen:\n' + self.log())
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
        """End the program and its children, and wait for it; ``kill`` gives it no time."""
        process, self.process = self.process, None
        if process is None:
            return
        if kill:
            self._signal_all(process, signal.SIGKILL)
        elif process.poll() is None:
            process.terminate()
        deadline = monotonic() + PATIENCE
        while process.poll() is None:
            if monotonic() >= deadline:
                self._signal_all(process, signal.SIGKILL)
            pause()
        self._signal_all(process, signal.SIGKILL)       # what it left behind

    @staticmethod
    def _signal_all(process, number):
        try:
            os.killpg(process.pid, number)
        except OSError as error:
            # EPERM: another user's. It was us who started it: it is gone.
            if error.errno not in (errno.ESRCH, errno.EPERM):
                raise

    def log(self):
        """Return what it printed."""
        with open(os.path.join(self.folder, 'output'), 'rb') as output:
            return output.read().decode('utf-8', 'replace')

    def __exit__(self, *_exc_info):
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


def write_file(folder, name, text):
    """Write a file for a program; return the path."""
    path = os.path.join(folder, name)
    with open(path, 'wb') as output:
        output.write(text.encode('utf-8'))
    return path
