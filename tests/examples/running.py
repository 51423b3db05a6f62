"""Runs an example in a process of its own, and reads what it prints."""

from __future__ import absolute_import, division, print_function

import io
import os
import subprocess
import sys
import types

from tests.network.driving import ROOT


class Program(object):
    """Runs a program of this repository in a process of its own.

    Options: ``environ``, more of the environment; ``stdout`` and ``stderr``, as `subprocess` has
    them.
    """

    def __init__(self, *arguments, **options):
        environ = dict(os.environ, PYTHONPATH=ROOT)
        for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY', 'PYTHONIOENCODING',
                     'PYTHONUNBUFFERED'):
            environ.pop(name, None)
        environ.update(options.pop('environ', {}))
        options.setdefault('stdout', subprocess.PIPE)
        options.setdefault('stderr', subprocess.PIPE)
        self._process = subprocess.Popen(
            [sys.executable, '-W', 'error'] + list(arguments), cwd=ROOT, env=environ, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_exc_info):
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def close_output(self):
        """Read no more of stdout, as ``head`` does when it has its lines."""
        self._process.stdout.close()
        self._process.stdout = None

    def read_line(self):
        return self._process.stdout.readline().decode('utf-8').rstrip()

    def read_error(self):
        return self._process.stderr.readline().decode('utf-8').rstrip()

    def send_signal(self, number):
        self._process.send_signal(number)

    def finish(self):
        """Return the exit status, and the lines of stdout and stderr that weren't read."""
        output, errors = self._process.communicate()
        return (
            self._process.returncode,
            (output or b'').decode('utf-8').splitlines(),
            (errors or b'').decode('utf-8').splitlines())


def load(name):
    """Return an example as a module, which isn't run as a program."""
    module = types.ModuleType(name)
    path = os.path.join(ROOT, 'examples', name + '.py')
    with io.open(path, 'rb') as source:
        exec(compile(source.read(), path, 'exec', dont_inherit=True), module.__dict__)
    return module
