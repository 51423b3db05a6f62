"""examples/daemon.service: systemd accepts it, and its command works."""

from __future__ import absolute_import, division, print_function

import io
import os
import re
import shlex
import signal
import subprocess
import sys

import pytest
import six

from tests.examples.running import Program
from tests.network.driving import ROOT
from tests.programs import find_program, write_file
from tests.support import RawServer, answer_upgrade, make_frame, read_frame

UNIT = os.path.join(ROOT, 'examples', 'daemon.service')


@pytest.fixture
def unit():
    with io.open(UNIT, encoding='utf-8') as source:
        return source.read()


def here(text, url='wss://example.org/feed'):
    """Return what the unit would be on this machine: its programs and its URL."""
    for name, path in [('/opt/daemon/venv/bin/python', sys.executable),
                       ('/opt/daemon/daemon.py', os.path.join(ROOT, 'examples', 'daemon.py')),
                       ('wss://example.org/feed', url)]:
        assert name in text
        text = text.replace(name, path)
    return text


def setting(text, name):
    value, = re.findall(r'^{}=(.*)$'.format(name), text, re.MULTILINE)
    return value


def verify(text, tmpdir):
    """Return what systemd finds wrong in a unit."""
    program = find_program('systemd-analyze')
    path = write_file(str(tmpdir), 'daemon.service', text)
    return subprocess.Popen(
        [program, 'verify', path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        universal_newlines=True).communicate()[0]


def test_systemd_accepts_the_unit(unit, tmpdir):
    if 'Failed to parse service type' not in verify(here(unit).replace('=exec', '=x'), tmpdir):
        pytest.skip('systemd-analyze finds no mistakes here')
    assert 'daemon.service' not in verify(here(unit), tmpdir)


@pytest.mark.costly
def test_its_command_runs_until_systemd_stops_it(unit):
    def script(sock):
        answer_upgrade(sock)
        assert read_frame(sock) == (0x81, b'hello')
        program.send_signal(signal.SIGTERM)
        first, payload = read_frame(sock)
        assert first == 0x88
        sock.sendall(make_frame(8, payload))

    with RawServer(script) as server:
        command = shlex.split(six.ensure_str(setting(here(unit, server.url), 'ExecStart')))
        assert command[0] == sys.executable
        with Program(*command[1:]) as program:
            assert program.finish()[0] == 0


@pytest.mark.costly
def test_wrong_arguments_have_the_status_that_prevents_a_restart(unit):
    command = shlex.split(six.ensure_str(setting(here(unit, 'http://x/'), 'ExecStart')))
    with Program(*command[1:]) as program:
        assert program.finish()[0] == int(setting(unit, 'RestartPreventExitStatus'))
