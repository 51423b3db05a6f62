"""What the tests of the command line share: the program in a process, on pipes or on a terminal."""

from __future__ import absolute_import, division, print_function

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import threading

from lomond import WebSocket
from lomond._compat import monotonic
from lomond.server import Server
from tests.network.driving import ROOT
from tests.support import PATIENCE

#: The beginning of the command.
LOMOND = [sys.executable, '-W', 'error', '-m', 'lomond']

# Makes the terminal of its first argument its own, then runs the rest: a shell does so, too.
_ON_TERMINAL = (
    'import os, sys\n'
    'os.setsid()\n'
    'terminal = os.open(sys.argv[1], os.O_RDWR)\n'
    'for descriptor in (0, 1, 2):\n'
    '    if str(descriptor) in sys.argv[2]:\n'
    '        os.dup2(terminal, descriptor)\n'
    'os.execvp(sys.argv[3], sys.argv[3:])\n')


def environ(**changes):
    """Return the environment for the program, without what would change its output."""
    env = dict(os.environ, PYTHONPATH=ROOT, TERM='xterm', PROMPT_TOOLKIT_NO_CPR='1')
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY', 'PYTHONIOENCODING',
                 'PYTHONUNBUFFERED', 'NO_COLOR'):
        env.pop(name, None)
    env.update(changes)
    return env


class Lomond(object):
    """The program in a process of its own, on pipes: a context manager.

    Options: ``env``, changes of the environment; ``script``, of a shell that runs the program as
    ``"$@"``; all else as for `subprocess.Popen`.
    """

    def __init__(self, *arguments, **options):
        script = options.pop('script', None)
        shell = [] if script is None else ['sh', '-c', script, 'sh']
        for name in ('stdin', 'stdout', 'stderr'):
            options.setdefault(name, subprocess.PIPE)
        self.process = subprocess.Popen(
            shell + LOMOND + list(arguments), cwd=ROOT, env=environ(**options.pop('env', {})),
            close_fds=True, **options)
        self._killer = threading.Timer(2 * PATIENCE, self.process.kill)

    def __enter__(self):
        self._killer.start()
        return self

    def __exit__(self, *_exc_info):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._killer.cancel()
        self._killer.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def type(self, data):
        """Write bytes to its stdin."""
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def read_line(self):
        """Return the next line of its output."""
        return self.process.stdout.readline()

    def close_output(self):
        """Read no more of its output, as ``head`` does."""
        self.process.stdout.close()
        self.process.stdout = None

    def finish(self):
        """Wait for the end without touching stdin; return the status, output and errors."""
        output = self.process.stdout.read() if self.process.stdout is not None else b''
        errors = self.process.stderr.read() if self.process.stderr is not None else b''
        return self.process.wait(), output, errors


def run(*arguments, **options):
    """Run the program; return its status, its output and its errors.

    Options: ``given``, the bytes of stdin; the others as for `Lomond`.
    """
    given = options.pop('given', b'')
    with Lomond(*arguments, **options) as program:
        output, errors = program.process.communicate(given)
        return program.process.returncode, output, errors


class OnTerminal(object):
    """The program on a terminal, which is a pty: a context manager.

    Options: ``env`` (no colours); ``editor``, as ``--editor`` has it ('simple'); ``command``, if it
    isn't ``lomond URL``; ``size``, the (rows, columns); ``streams``, which of the program's
    descriptors are the terminal ('012'): the others are pipes.
    """

    def __init__(self, *arguments, **options):
        self._terminal, slave = pty.openpty()
        rows, columns = options.pop('size', (24, 80))
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
        #: What it has printed so far.
        self.output = b''
        streams = options.pop('streams', '012')
        pipes = {name: subprocess.PIPE
                 for digit, name in zip('012', ('stdin', 'stdout', 'stderr'))
                 if digit not in streams}
        self.process = subprocess.Popen(
            [sys.executable, '-c', _ON_TERMINAL, os.ttyname(slave), streams] + LOMOND
            + ([options.pop('command')] if 'command' in options else [])
            + ['--editor', options.pop('editor', 'simple')] + list(arguments), cwd=ROOT,
            close_fds=True,
            env=environ(**options.pop('env', {'NO_COLOR': '1'})), **pipes)
        #: The terminal as the program has it.
        self.slave = slave

    def __enter__(self):
        return self

    def __exit__(self, *_exc_info):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        os.close(self.slave)
        os.close(self._terminal)

    def has_output(self):
        """Return whether there is something to read."""
        return bool(select.select([self._terminal], [], [], 0)[0])

    def modes(self):
        """Return the modes of the terminal."""
        return termios.tcgetattr(self.slave)

    def type(self, data):
        """Type bytes, however long it takes the program to read them."""
        while data:
            self._read(0)
            _readable, writable, _ = select.select([], [self._terminal], [], PATIENCE)
            assert writable, 'it reads no more'
            # At most what a terminal in its plain modes holds.
            data = data[os.write(self._terminal, data[:512]):]

    def wait_for(self, pattern):
        """Wait until the output matches a pattern; return the match."""
        deadline = monotonic() + PATIENCE
        while True:
            found = re.search(pattern, self.output, re.DOTALL)
            if found is not None:
                return found
            assert monotonic() < deadline and self._read(1) is not False, self.output
            assert self.process.poll() is None or self._read(0), self.output

    def _read(self, seconds):
        """Read what is there, or comes within some seconds; False at the end, None if nothing."""
        if not select.select([self._terminal], [], [], seconds)[0]:
            return None
        try:
            data = os.read(self._terminal, 65536)
        except OSError:     # the other side is closed
            return False
        self.output += data
        return True

    def finish(self):
        """Wait for the end; return the status."""
        deadline = monotonic() + PATIENCE
        while self.process.poll() is None:
            assert monotonic() < deadline, self.output
            self._read(0.05)
        while self._read(0):
            pass
        return self.process.returncode


@contextlib.contextmanager
def listening(*arguments, **options):
    """A command that serves, while the block runs; its URL is ``url``."""
    with Lomond(*arguments, **options) as program:
        program.url = program.read_line().decode('ascii').strip()
        assert program.url, program.finish()
        yield program


@contextlib.contextmanager
def connected(url, **options):
    """A client of this URL; it is broken at the end, if it is still there."""
    client = WebSocket(url, proxies={}, **options)
    client.open(PATIENCE)
    try:
        yield client
    finally:
        client.force_disconnect()


@contextlib.contextmanager
def serving(handler, **options):
    """A server of the package while the block runs."""
    with Server(handler, **options) as server:
        yield server
