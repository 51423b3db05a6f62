"""docs/tutorial/daemon.md, as a reader follows it: its program, what that prints, its unit."""

from __future__ import absolute_import, division, print_function

import io
import os
import re
import shlex
import signal
import subprocess
import sys

import pytest
from six.moves import configparser

from lomond import WebSocket
from tests.network.doc_cells import ROOT, read_page
from tests.network.test_guide import default_of
from tests.programs import Program, find_program, wait_until, write_file
from tests.support import RawServer, read_head

pytestmark = pytest.mark.usefixtures('clean_environment')

PAGE = read_page('tutorial/daemon.md')

#: The port of the feed in the page.
PORT = '8765'

#: A price or a delay, but no address.
_NUMBER = re.compile(r'(?<![0-9.])[0-9]+\.[0-9]+(?![0-9.])')


def file_of(name):
    """Return a file that the page shows."""
    return re.search(
        r'<!-- file: {} -->\n```\w+\n(.*?)```'.format(re.escape(name)), PAGE, re.DOTALL).group(1)


def run_of(step):
    """Return the lines of a step: what is typed after $, and what is printed."""
    text = re.search(
        r'<!-- run{} -->\n```console\n(.*?)```'.format(step and ': ' + step), PAGE, re.DOTALL)
    lines = text.group(1).splitlines()
    return ([line[2:] for line in lines if line.startswith('$ ')],
            [line for line in lines if not line.startswith('$ ')])


def pattern_of(lines, port):
    """Return what matches these lines in this order, with other numbers, and others in between."""
    return re.compile('(?s)' + '\n.*?'.join(
        '[0-9.]+'.join(re.escape(part) for part in _NUMBER.split(line.replace(PORT, str(port))))
        for line in lines) + '\n')


def feed_command(_folder, port):
    command, = re.findall(r'^\$ python (-m lomond\.examples\.feed .*)', PAGE, re.MULTILINE)
    return [sys.executable] + shlex.split(str(command.replace(PORT, str(port))))


def prices_command(command):
    """Make the function that writes prices.py, with shorter waits, and returns what runs it."""
    def make_command(folder, _port):
        source = file_of('prices.py')
        assert 'min_wait=1,' in source
        write_file(folder, 'prices.py', source.replace(
            'min_wait=1,', 'min_wait=0.1, max_wait=0.5, spread=0.1,'))
        return [sys.executable, '-u'] + shlex.split(str(command))[1:]
    return make_command


class Shown(object):
    """What a program has printed, once a failure shows it."""

    def __init__(self, program):
        self._program = program

    def __str__(self):
        return self._program.log()


@pytest.fixture
def in_clone(monkeypatch):
    """Programs import this lomond."""
    monkeypatch.setenv('PYTHONPATH', ROOT)


@pytest.mark.skipif(os.name == 'nt', reason='it is about signals')
def test_the_daemon_prints_what_the_page_shows(in_clone):
    expected = []

    def wait_for(step):
        expected.extend(run_of(step)[1])
        pattern = pattern_of(expected, feed.port)
        wait_until(lambda: pattern.search(prices.log()), Shown(prices))

    with Program(feed_command) as feed:
        command, = run_of('')[0]
        command = command.replace(PORT, str(feed.port))
        with Program(prices_command(command), listens=False) as prices:
            wait_for('')
            feed.process.send_signal(signal.SIGINT)
            wait_until(lambda: feed.process.poll() is not None, 'the feed ends')
            assert feed.process.returncode == 0
            wait_for('the feed has stopped')
            feed.stop()
            assert feed.start()
            wait_for('the feed is back')
            printed, status = run_of('SIGTERM')[1]
            prices.process.send_signal(signal.SIGTERM)
            wait_until(lambda: prices.process.poll() is not None, 'the daemon ends')
            assert prices.log().endswith(printed + '\n')
            assert prices.process.returncode == int(status)
        assert feed.log().startswith('ws://127.0.0.1:{}/\n'.format(feed.port))


@pytest.fixture
def unit():
    parser = configparser.RawConfigParser()
    parser.optionxform = str
    read = getattr(parser, 'read_file', None) or parser.readfp      # 2.7
    read(io.StringIO(file_of('prices.service')))
    return {section: dict(parser.items(section)) for section in parser.sections()}


def test_the_command_of_the_unit_ends_with_3_if_the_feed_refuses_it(unit, in_clone):
    def refuse(sock):
        read_head(sock)
        sock.sendall(b'HTTP/1.1 403 Not You\r\nContent-Length: 0\r\n\r\n')

    command = unit['Service']['ExecStart'].split()
    assert command[0].endswith('/bin/python')
    with RawServer(refuse) as server, Program(
            lambda folder, _port: [sys.executable] + command[1:2] + [
                write_file(folder, 'prices.py', file_of('prices.py')), str(server.url)],
            listens=False) as prices:
        wait_until(lambda: prices.process.poll() is not None, prices.log)
        assert prices.process.returncode == int(unit['Service']['RestartPreventExitStatus']) == 3
        assert 'gave up: the server answered 403 Not You' in prices.log()


def test_systemd_accepts_the_unit(tmpdir):
    analyze = find_program('systemd-analyze')
    text = file_of('prices.service').replace('/opt/prices/venv/bin/python', sys.executable)
    path = write_file(str(tmpdir), 'prices.service', text)
    process = subprocess.Popen(
        [analyze, 'verify', path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = process.communicate()[0].decode('utf-8', 'replace')
    ours = [line for line in output.splitlines() if 'prices' in line]
    if process.returncode and not ours:
        pytest.skip('systemd-analyze does not work here: ' + output)
    assert not ours, output


def test_the_unit_gives_the_closing_handshake_its_time(unit):
    assert int(unit['Service']['TimeoutStopSec']) > default_of(WebSocket.connect, 'close_timeout')
