"""``lomond URL`` on a terminal: a pty, and tmux where it is installed."""

from __future__ import absolute_import, division, print_function

import os
import re
import signal
import subprocess
import threading

import pytest

from lomond.cli.editor import Editor
from lomond.server import Server
from tests.network.driving import echo_handler, read_to_close, wait_for
from tests.programs import find_program, wait_until
from tests.support import (
    IS_PYPY,
    RawServer,
    answer_upgrade,
    make_close,
    make_frame,
    read_frame,
)

from .driving import LOMOND, OnTerminal, environ

pytestmark = [pytest.mark.costly, pytest.mark.skipif(IS_PYPY, reason='it takes PyPy long to start')]

CLOCK = b'[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{3} '


@pytest.fixture(scope='module')
def echo_url():
    with Server(echo_handler) as server:
        yield server.url


@pytest.fixture(params=['simple', 'prompt_toolkit'])
def editor(request):
    if request.param == 'prompt_toolkit':
        pytest.importorskip('prompt_toolkit')
    return request.param


def close_after(frames):
    """Make a script that accepts, sends frames, and answers the client's Close."""
    seen = []

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(b''.join(frames))
        seen.extend(read_to_close(sock))
        sock.sendall(make_close(1000))

    script.seen = seen
    return script


def test_one_ctrl_c_ends_it_with_1000(editor):
    script = close_after([make_frame(1, b'hello')])
    with RawServer(script) as server, OnTerminal(server.url, editor=editor) as program:
        before = program.modes()
        program.wait_for(b'hello\r*\n.*>[ \b]')
        program.type(b'half a line')
        program.wait_for(b'half a line')
        program.type(b'\x03')
        assert program.finish() == 130
        assert program.modes() == before
    assert script.seen == [(0x88, b'\x03\xe8')]


def test_a_second_ctrl_c_does_not_wait_for_the_server():
    got_close, is_over = threading.Event(), threading.Event()

    def script(sock):
        answer_upgrade(sock)
        read_frame(sock)
        got_close.set()
        wait_for(is_over)

    with RawServer(script) as server, OnTerminal(server.url) as program:
        program.wait_for(b'open')
        before = program.modes()
        program.wait_for(b'> ')
        program.type(b'\x03')
        wait_for(got_close)
        program.type(b'\x03')
        assert program.finish() == 130
        assert program.modes()[3] | before[3] == program.modes()[3]
        is_over.set()


def test_ctrl_backslash_leaves_the_terminal_as_it_was(echo_url):
    with OnTerminal(echo_url) as program:
        before = program.modes()
        program.wait_for(b'> ')
        assert program.modes() != before
        program.type(b'\x1c')
        assert program.finish() == -signal.SIGQUIT
        assert program.modes() == before


@pytest.mark.parametrize('streams', ['12', '1'])
def test_it_ends_though_nobody_reads_the_terminal(streams):
    def feed(websocket):
        for event in websocket:
            if event.name == 'ready':
                for _ in range(8):
                    websocket.send_text(u'x' * 65536)

    with Server(feed) as server:
        with OnTerminal(server.url, '--close-timeout', '0.5', streams=streams) as program:
            wait_until(program.has_output, 'it prints')
            program.process.send_signal(signal.SIGINT)
            wait_until(lambda: program.process.poll() is not None, 'it ends')
            assert program.process.returncode == 130


def test_ctrl_c_ends_the_attempt_to_connect():
    is_over = threading.Event()
    with RawServer(lambda sock: wait_for(is_over)) as server, OnTerminal(server.url) as program:
        program.wait_for(b'connecting')
        wait_until(lambda: server.connections, 'it connects')
        program.type(b'\x03')
        assert program.finish() == 130
        is_over.set()


def test_a_typed_line_is_sent_and_shown_with_time_and_kind(echo_url):
    with OnTerminal(echo_url) as program:
        program.wait_for(b'> ')
        program.type(b'hello\n')
        program.wait_for(CLOCK + b'> text   hello\r\n')
        program.wait_for(CLOCK + b'< text   hello\r\n')
        program.type(b'\x04')
        assert program.finish() == 0
        assert len(re.findall(CLOCK + b'> text   hello', program.output)) == 1
        assert b'closed with 1000 NORMAL' in program.output
        assert program.output.count(b'> text   hello') == 1


def test_10_kb_typed_are_one_message(echo_url, editor):
    with OnTerminal(echo_url, editor=editor) as program:
        program.wait_for(b'>[ \b]')
        line = b'0123456789' * 1024
        program.type(line + b'\n')
        program.wait_for(b'< text   ' + line + b'\r*\n')
        program.type(b'\x04')
        assert program.finish() == 0


def test_keys_edit_the_line(echo_url):
    with OnTerminal(echo_url) as program:
        program.wait_for(b'> ')
        program.type(b'wrold\x1b[D\x1b[D\x1b[D\x7fo\x1b[3~r\x01\xc3\xa9 \x05!!\x7f\n')
        program.wait_for(u'< text   \xe9 world!\r\n'.encode('utf-8'))
        program.type(b'x y\x17\x1b[A\x1b[A\n')
        program.wait_for(u'world!\r\n.*world!\r\n.*world!\r\n.*world!\r\n'.encode('utf-8'))
        program.type(b'\x04')
        assert program.finish() == 0


def test_ctrl_d_without_an_editor_ends_it_if_nothing_was_typed(echo_url):
    with OnTerminal(echo_url, editor='none') as program:
        program.wait_for(b'open')
        program.type(b'\x04')
        assert program.finish() == 0


@pytest.mark.parametrize('keys', [
    b'\x1b[[A', b'\x1b[?62;c', b'\x1b[<0;1;1M', b'\x1b[1;5A', b'\x1bO1', b'\x1bOP', b'\x1b[I',
    b'\x1b', b'\x1b[', b'\x1b[1;', b'\x1bO', b'\x1b[[', b'\x1b\x1b',
], ids=[str(number) for number in range(13)])
def test_keys_that_mean_nothing_are_ignored(keys):
    """Those of a Linux console, answers of a terminal, and sequences that were cut off."""
    lines = []
    editor = Editor(lambda text, column: None)
    reading, writing = os.pipe()
    stdin = os.dup(0)
    try:
        os.dup2(reading, 0)
        os.write(writing, keys + b'\n' + b'x\n')
        os.close(writing)
        lines.extend(editor.lines())
    finally:
        os.dup2(stdin, 0)
        os.close(stdin)
        os.close(reading)
    assert lines == [u'', u'x']


def test_what_is_typed_and_is_not_utf_8_is_replaced(echo_url, editor):
    with OnTerminal(echo_url, editor=editor) as program:
        program.wait_for(b'>[ \b]')
        program.type(b'a\xffb\n')
        program.wait_for(u'< text   a\ufffdb'.encode('utf-8'))
        program.type(b'\x04')
        assert program.finish() == 0


HOSTILE = u'\x1b]52;c;eA==\x07 \x1b[2J\r\x9b31m \u202eevil\x7f'.encode('utf-8')


def test_a_server_cannot_control_the_terminal():
    """Neither by messages, binary ones, pings, close reasons, headers nor subprotocols."""
    def script(sock):
        answer_upgrade(sock, b'X-Evil: \x1b]0;title\x07 \x9b')
        sock.sendall(make_frame(1, HOSTILE) + make_frame(2, HOSTILE) + make_frame(9, HOSTILE)
                     + make_close(4000, HOSTILE))
        read_to_close(sock)

    with RawServer(script) as server:
        with OnTerminal('-v', server.url, '--binary', 'raw') as program:
            assert program.finish() == 6
    output = re.sub(b'\r\x1b\\[K|\r\x1b\\[[0-9]+C', b'', program.output).decode('utf-8')
    assert re.findall(u'[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e]', output) == []
    assert output.count('\r') == output.count('\n')
    assert '\\x1b]52;c;eA==\\x07 \\x1b[2J\\x0d\\x9b31m \\u202eevil\\x7f' in output
    assert '\\x1b]0;title\\x07' in output


def test_json_is_indented(echo_url):
    with OnTerminal(echo_url, '--json', '--send', '{"a": [1.10, {}], "b": null}') as program:
        program.wait_for(
            b'< text   {\r\n +"a": \\[\r\n +1.10,\r\n +{}\r\n +\\],\r\n +"b": null\r\n +}\r\n')


@pytest.mark.parametrize('env, has_colours', [
    ({}, True), ({'NO_COLOR': '1'}, False), ({'NO_COLOR': ''}, True)])
def test_colours(echo_url, env, has_colours):
    with OnTerminal(echo_url, '--send', 'x', '--count', '1', env=env) as program:
        assert program.finish() == 0
        assert (re.search(b'\x1b\\[[0-9]+m', program.output) is not None) == has_colours


def test_the_locale_c_gets_escapes(echo_url):
    env = {'LANG': 'C', 'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0',
           'NO_COLOR': '1'}
    with OnTerminal(echo_url, '--format', 'jsonl', env=env) as program:
        program.wait_for(b'> ')
        program.type(b'{"data": "\\u20ac"}\n')
        program.wait_for(b'"data": "\\\\u20ac"')
    with OnTerminal(echo_url, '--binary', 'raw', env=env) as program:
        program.wait_for(b'> ')
        program.type(b'x\n')
        program.wait_for(b'< binary x\r\n')


def test_commands_are_commands_only_on_request(echo_url):
    with OnTerminal(echo_url, '--commands', '-v') as program:
        program.wait_for(b'> ')
        program.type(b'/ping abc\n')
        program.wait_for(b'< pong abc')
        program.type(b'/nonsense\n')
        program.wait_for(b'not sent: the commands are /ping')
        program.type(b'//slash\n')
        program.wait_for(b'< text   /slash')
        program.type(b'/close 4001 bye\n')
        assert program.finish() == 0
        assert b'closed with 4001\r\n' in program.output
    with OnTerminal(echo_url) as program:
        program.wait_for(b'> ')
        program.type(b'/ping abc\n')
        program.wait_for(b'< text   /ping abc')


def test_figures_are_shown_before_the_line(echo_url):
    with OnTerminal(echo_url, '--stats', '--ping-rate', '0.1', size=(24, 120)) as program:
        program.wait_for(b'round trip [0-9.]+ (us|ms|s), 0 in, 0 out\\] > ')
        program.type(b'x\n\x04')
        assert program.finish() == 0
        assert b'sent 1 messages, 1 B, on the wire' in program.output


def test_a_typed_line_stays_visible_if_the_output_is_a_pipe(echo_url):
    with OnTerminal(echo_url, '--count', '1', streams='02') as program:
        program.wait_for(b'> ')
        program.type(b'hello\n')
        assert program.process.stdout.read() == b'hello\n'
        assert program.finish() == 0
        assert b'\r\x1b[K> hello\r\n' in program.output


# -- tmux, which draws what a person sees --

class Tmux(object):
    """A terminal of 80 columns in tmux with a program in it: a context manager."""

    def __init__(self, folder, *arguments):
        self._command = [find_program('tmux'), '-S', os.path.join(str(folder), 'tmux'), '-f',
                         os.devnull, '-u']
        self._call('new-session', '-d', '-x', '80', '-y', '24', ' '.join(
            ['exec'] + ["'{}'".format(word) for word in LOMOND + list(arguments)]))

    def _run(self, *arguments):
        process = subprocess.Popen(
            self._command + list(arguments), env=environ(LANG='C.UTF-8'), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        output = process.communicate()[0].decode('utf-8')
        return process.returncode, output

    def _call(self, *arguments):
        status, output = self._run(*arguments)
        assert status == 0, output
        return output

    def __enter__(self):
        return self

    def __exit__(self, *_exc_info):
        self._run('kill-server')        # which has ended if the program has

    def type(self, *keys):
        self._call('send-keys', *keys)

    def screen(self):
        return self._call('capture-pane', '-p').rstrip('\n').split('\n')

    def wait_for_lines(self, *lines):
        """Wait until these are the last lines of the screen, without times."""
        shown = []

        def is_there():
            shown[:] = [re.sub('^[0-9:.]{12} ', '', line) for line in self.screen()][-len(lines):]
            return shown == list(lines)

        try:
            wait_until(is_there, lines)
        except AssertionError:
            raise AssertionError(shown)


def test_messages_do_not_tear_the_line(tmpdir, editor):
    """The cursor stays where it was, too, in a line that is longer than the terminal."""
    messages = [threading.Event() for _ in range(3)]

    def script(sock):
        answer_upgrade(sock)
        for number, event in enumerate(messages):
            wait_for(event)
            sock.sendall(make_frame(1, b'message %d' % number))
        first, payload = read_frame(sock)
        sock.sendall(make_frame(1, b'got ' + payload))
        wait_for(is_over)

    is_over = threading.Event()
    with RawServer(script) as server, Tmux(tmpdir, server.url, '--editor', editor) as terminal:
        try:
            terminal.wait_for_lines('open', '>')
            terminal.type('-l', 'half a lne')
            terminal.wait_for_lines('open', '> half a lne')
            messages[0].set()
            terminal.wait_for_lines('open', '< text   message 0', '> half a lne')
            terminal.type('Left', 'Left')
            messages[1].set()
            terminal.wait_for_lines('< text   message 1', '> half a lne')
            terminal.type('i')
            terminal.wait_for_lines('< text   message 1', '> half a line')
            terminal.type('End')
            terminal.type('-l', 'x' * 100)
            messages[2].set()
            terminal.wait_for_lines(*{
                'simple': ['< text   message 2', '> ' + 'x' * 77],
                'prompt_toolkit': [
                    '< text   message 2', '> half a line' + 'x' * 67, 'x' * 33]}[editor])
            terminal.type('C-u')
            terminal.type('-l', u'\u4e2d\u6587'.encode('utf-8').decode('utf-8') if str is not bytes
                          else u'\u4e2d\u6587'.encode('utf-8'))
            terminal.type('Enter')
            terminal.wait_for_lines(
                u'> text   \u4e2d\u6587', u'< text   got \u4e2d\u6587', u'>')
        finally:
            is_over.set()


def is_stopped(process):
    with open('/proc/{}/stat'.format(process.pid)) as stat:
        return stat.read().rpartition(')')[2].split()[0] == 'T'


def test_it_goes_on_after_ctrl_z(echo_url):
    """A stop, and a terminal whose modes another program has changed meanwhile."""
    with OnTerminal(echo_url) as program:
        program.wait_for(b'> ')
        program.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: is_stopped(program.process), 'it stops')
        subprocess.check_call(['stty', 'sane'], stdin=program.slave)
        program.process.send_signal(signal.SIGCONT)
        program.wait_for(b'> .*> ')
        program.type(b'on\n')
        program.wait_for(b'< text   on\r\n')
