"""Two networks of their own with a link between them, which a test can cut: Linux, as root.

A network namespace lives as long as something holds it, here a descriptor of this process: so
nothing is left behind, however the process ends. A thread enters one; the sockets that it makes
belong there, also when other threads use them, and so do its child processes.
"""

from __future__ import absolute_import, division, print_function

import contextlib
import ctypes
import os
import subprocess

import pytest

from tests.network.driving import Background
from tests.programs import find_program

_CLONE_NEWNET = 0x40000000      # <linux/sched.h>


class Namespace(object):
    """A network namespace. Raises EnvironmentError where it can't be made."""

    def __init__(self):
        self._fd = Background(self._make).result()
        #: By this `ip` finds it.
        self.path = '/proc/{}/fd/{}'.format(os.getpid(), self._fd)

    @staticmethod
    def _make():
        _call_libc('unshare', _CLONE_NEWNET)
        return os.open('/proc/thread-self/ns/net', os.O_RDONLY)

    def start(self, function, *args, **kwargs):
        """Call a function in a thread that is in here; return the `Background`."""
        def enter_and_call():
            _call_libc('setns', self._fd, _CLONE_NEWNET)
            return function(*args, **kwargs)
        return Background(enter_and_call)

    def call(self, function, *args, **kwargs):
        """Call a function in here; return what it does."""
        return self.start(function, *args, **kwargs).result()

    def run(self, program, *arguments):
        """Run a program in here. Raises CalledProcessError, with its ``output``."""
        command = [find_program(program)] + list(arguments)
        self.call(subprocess.check_output, command, stderr=subprocess.STDOUT, close_fds=True)

    def close(self):
        """Let go of it: it is gone with the last of its sockets."""
        os.close(self._fd)


def _call_libc(name, *args):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*args):
        code = ctypes.get_errno()
        raise OSError(code, '{}: {}'.format(name, os.strerror(code)))


class Link(object):
    """A cable between two namespaces, `near` and `far`.

    Attributes: ``host``, where the far end has servers; ``dead_host`` and
    ``dead_host6``, addresses of it where nobody answers, not even with a
    refusal. The last is None without IPv6.
    """

    host = '10.77.0.2'
    dead_host = '10.77.0.3'
    dead_host6 = 'fd77::3'

    def __init__(self, near, far):
        self.near = near
        self.far = far
        near.run('ip', 'link', 'add', 'link0', 'type', 'veth',
                 'peer', 'name', 'link0', 'netns', far.path)
        near.run('ip', 'address', 'add', '10.77.0.1/24', 'dev', 'link0')
        for host in (self.host, self.dead_host):
            far.run('ip', 'address', 'add', host + '/24', 'dev', 'link0')
        for end in (near, far):
            end.run('ip', 'link', 'set', 'link0', 'up')
            end.run('ip', 'link', 'set', 'lo', 'up')
        far.run('iptables', '-w', '-A', 'INPUT', '-d', self.dead_host, '-j', 'DROP')
        try:
            near.run('ip', 'address', 'add', 'fd77::1/64', 'dev', 'link0', 'nodad')
            far.run('ip', 'address', 'add', self.dead_host6 + '/64', 'dev', 'link0', 'nodad')
            far.run('ip6tables', '-w', '-A', 'INPUT', '-p', 'tcp', '-j', 'DROP')
        except subprocess.CalledProcessError:
            self.dead_host6 = None

    def cut(self):
        """Drop every packet, both ways, as if there were no cable: nobody is told."""
        for chain in ('INPUT', 'OUTPUT'):
            self.far.run('iptables', '-w', '-I', chain, '-j', 'DROP')

    def mend(self):
        """Undo `cut`."""
        for chain in ('INPUT', 'OUTPUT'):
            self.far.run('iptables', '-w', '-D', chain, '-j', 'DROP')

    @contextlib.contextmanager
    def being_cut(self):
        """Cut it for a while."""
        self.cut()
        try:
            yield
        finally:
            self.mend()


@contextlib.contextmanager
def linked_namespaces():
    """Yield a `Link`; the test is skipped where that can't be made."""
    for program in ('ip', 'iptables', 'ip6tables'):
        find_program(program)
    ends = []
    try:
        try:
            for _end in ('near', 'far'):
                ends.append(Namespace())
            link = Link(*ends)
        except (EnvironmentError, AttributeError) as error:
            # AttributeError: no Linux, no such function.
            pytest.skip('no network namespaces: {}'.format(error))
        except subprocess.CalledProcessError as error:
            pytest.skip('no link between network namespaces: {}: {}'.format(
                error, error.output.decode('utf-8', 'replace').strip()))
        yield link
    finally:
        for end in ends:
            end.close()
