"""``lomond URL`` in pipes: lines in, messages out, nothing lost, nothing altered, nothing else."""

from __future__ import absolute_import, division, print_function

import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import threading

import pytest

from lomond._compat import text_type
from lomond.server import Server
from tests.network.driving import Background, echo_handler, read_to_close, wait_for
from tests.programs import wait_until
from tests.sampling import IS_THOROUGH
from tests.support import (
    PATIENCE,
    RawServer,
    answer_upgrade,
    make_close,
    make_frame,
    read_frame,
)

from .driving import LOMOND, Lomond, environ, run

pytestmark = pytest.mark.costly


@pytest.fixture(scope='module')
def echo_url():
    with Server(echo_handler) as server:
        yield server.url


# -- the end of the input --

class Late(object):
    """A handler that answers a message half a second later, and then closes."""

    def __call__(self, websocket):
        waiting = []
        for event in websocket:
            if event.name == 'text':
                waiting = [event.text, 2]
            elif event.name == 'poll' and waiting:
                waiting[1] -= 1
                if not waiting[1]:
                    websocket.send_text(waiting[0].upper())
                    websocket.close(1000, u'')
                    waiting = []


def test_a_reply_that_comes_after_the_end_of_the_input_is_never_lost():
    """Twenty programs, ten at a time; a hundred with LOMOND_THOROUGH."""
    count = 10 if IS_THOROUGH else 2

    def ask():
        return [run(server.url, '--linger', str(PATIENCE), given=b'x\n') for _ in range(count)]

    with Server(Late(), poll=0.25) as server:
        for results in [worker.result() for worker in [Background(ask) for _ in range(10)]]:
            assert results == [(0, b'X\n', b'')] * count


def test_a_server_that_closes_while_answers_are_on_their_way_gets_its_own_order():
    """It reads our Close frame only after it has answered everything: nothing is dropped."""
    def script(sock):
        answer_upgrade(sock)
        frames = read_to_close(sock)
        for _first, payload in frames[:-1]:
            sock.sendall(make_frame(1, payload))
        sock.sendall(make_close(1000))

    with RawServer(script) as server:
        assert run(server.url, '--linger', '0', given=b'1\n2\n3\n') == (0, b'1\n2\n3\n', b'')


def test_the_server_closes_although_the_input_goes_on():
    with Server(lambda websocket: websocket.close(1000)) as server:
        with Lomond(server.url) as program:
            assert program.finish() == (0, b'', b'')


def test_input_that_was_read_and_can_not_be_sent_is_mentioned():
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'x'))
        assert read_frame(sock)[1] == b'0123456789abcdef'
        wait_for(is_stuck)
        sock.sendall(make_close(1000))
        read_to_close(sock)

    is_stuck = threading.Event()
    with RawServer(script, receive_buffer=4096) as server, Lomond(server.url) as program:
        assert program.read_line() == b'x\n'

        def type_on():
            while True:
                program.type(b'0123456789abcdef\n' * 1000)

        sender = Background(type_on)
        # All buffers are full: then there is always a line that was read.
        wait_until(lambda: not select.select([], [program.process.stdin], [], 0.3)[1], 'a stop')
        is_stuck.set()
        status, output, errors = program.finish()
        with pytest.raises(EnvironmentError):
            sender.result()
    assert (status, output) == (1, b'')
    assert errors == b'lomond: a message was not sent: the connection has ended\n'


@pytest.mark.parametrize('given, options, close', [
    (b'/close 4000 bye\n', ['--commands'], (4000, b'bye')),
    (b'{"type": "receive", "data": "x"}\n', ['--format', 'jsonl', '--linger', '0'], (1000, b'')),
])
def test_an_input_without_messages_waits_for_the_connection_too(given, options, close):
    def script(sock):
        wait_for(has_read)
        answer_upgrade(sock)
        frames.extend(read_to_close(sock))
        sock.sendall(make_close(1000))

    has_read = threading.Event()
    frames = []
    with RawServer(script) as server, \
            Lomond('--send', 'first', server.url, *options) as program:
        program.type(given)
        wait_until(lambda: not unread(program.process.stdin), 'it has read its input')
        program.process.stdin.close()
        has_read.set()
        assert program.finish()[0] == 0
    assert frames == [(0x81, b'first'), (0x88, struct.pack('!H', close[0]) + close[1])]


def unread(pipe):
    """Return how many bytes in a pipe wait for its reader."""
    return struct.unpack('i', fcntl.ioctl(pipe.fileno(), termios.FIONREAD, b'\0' * 4))[0]


def test_commands_leave_other_bytes_alone(echo_url):
    given = b'\xff\xfe\n/ping x\n'
    assert run(echo_url, '--commands', '--binary', 'raw', given=given) == (0, b'\xff\xfe\n', b'')


@pytest.mark.parametrize('how, given, output', [
    ('base64', b'//9j/4AA\n', b''), ('base64', b'//9j/\n', b'/9j/\n'),
    ('raw', b'//\xff\n', b'/\xff\n')])
def test_two_slashes_begin_what_is_no_command_in_the_form_of_other_lines(
        echo_url, how, given, output):
    status, printed, errors = run(echo_url, '--commands', '--binary', how, given=given)
    assert printed == output
    assert (status == 0 and not errors) if output else b'it is not base64' in errors


def test_a_command_that_is_not_utf_8_says_what_to_write(echo_url):
    status, output, errors = run(
        echo_url, '--commands', '--binary', 'raw', given=b'/\xff\n')
    assert output == b''
    assert b'a command must be UTF-8' in errors


def feed(websocket):
    """Send numbers, one with each poll, and close after the third."""
    number = 0
    for event in websocket:
        if event.name == 'poll' and websocket.is_open:
            number += 1
            websocket.send_text(text_type(number))
            if number == 3:
                websocket.close()


@pytest.mark.parametrize('stdin', ['</dev/null', '<&-'])
@pytest.mark.parametrize('options, status, output', [
    ([], 0, b'1\n2\n3\n'), (['--count', '2'], 0, b'1\n2\n'), (['--linger', '0'], 0, b'1\n2\n3\n'),
])
def test_without_any_input_it_receives_until_the_end(stdin, options, status, output):
    """As in cron, or under systemd."""
    with Server(feed, poll=0.2) as server:
        command = ' '.join(LOMOND + [server.url] + options)
        program = subprocess.Popen(
            ['sh', '-c', 'exec {} {}'.format(command, stdin)], env=environ(),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert program.communicate() == (output, b'')
        assert program.returncode == status


def test_without_any_input_it_receives_until_the_timeout(echo_url):
    assert run(echo_url, '--timeout', '0.3') == (0, b'', b'')


def test_wait_stays_at_the_end_of_the_input():
    with Server(feed, poll=0.2) as server:
        assert run(server.url, '--wait', '--linger', '0', given=b'hi\n')[:2] == (0, b'1\n2\n3\n')


# -- nothing altered --

def test_a_line_of_10_mib_is_one_message(echo_url):
    line = b'0123456789abcdef' * (10 * 65536)
    status, output, errors = run(echo_url, '--count', '1', given=line + b'\n')
    assert (status, errors) == (0, b'')
    assert output == line + b'\n'


def test_the_last_line_needs_no_end(echo_url):
    assert run(echo_url, '--count', '2', given=b'\na\xc3\xa9 \tb\r') == (
        0, b'\na\xc3\xa9 \tb\r\n', b'')


def test_random_bytes_return_unchanged_between_nuls(echo_url):
    data = os.urandom(100000).rstrip(b'\0') + b'\0'
    count = str(data.count(b'\0'))
    assert run(echo_url, '--binary', 'raw', '-0', '--count', count, given=data) == (0, data, b'')


@pytest.mark.parametrize('encoding', ['hex', 'base64'])
def test_random_bytes_return_unchanged_as_text(echo_url, encoding):
    lines = run(echo_url, '--binary', encoding, '--count', '1', given={
        'hex': b'00FF 7f\n', 'base64': b'AP9/\n'}[encoding])
    assert lines == (0, {'hex': b'00ff7f\n', 'base64': b'AP9/\n'}[encoding], b'')


def test_a_file_is_one_message(echo_url, tmpdir):
    data = os.urandom(50000) + b'\n\0\r\n'
    path = tmpdir.join('data')
    path.write(data, 'wb')
    assert run(echo_url, '--file', str(path), '--binary', 'raw', '--count', '1') == (
        0, data + b'\n', b'')
    text = u'two\nlines \xe9\n'.encode('utf-8')
    path.write(text, 'wb')
    assert run(echo_url, '--file', str(path), '--send', 'more', '-0', '--count', '2') == (
        0, text + b'\0more\0', b'')


def test_a_message_with_several_lines_stays_one_between_nuls(echo_url):
    assert run(echo_url, '-0', '--count', '2', given=b'a\nb\0c\n') == (0, b'a\nb\0c\n\0', b'')


def test_controls_reach_a_pipe_unchanged(echo_url):
    line = u'\x1b]52;c;eA==\x07\x9b\u202e'.encode('utf-8') + b'\n'
    assert run(echo_url, '--count', '1', given=line) == (0, line, b'')


def test_what_is_not_utf_8_is_named_and_the_rest_is_sent(echo_url):
    status, output, errors = run(echo_url, '--count', '1', given=b'\xff\nok\n')
    assert output == b'ok\n'
    assert errors == (b'lomond: line 1 of stdin was not sent: it is not UTF-8: to send bytes, '
                      b'use --binary raw\n')
    assert status == 1


# -- JSON --

def test_lines_of_json_have_the_fields_of_a_har_file_in_and_out(echo_url):
    given = [
        {'type': 'send', 'time': 1.5, 'opcode': 1, 'data': u'a\n\xe9', 'more': 'is ignored'},
        {'type': 'receive', 'time': 1.6, 'opcode': 1, 'data': 'is not sent'},
        {'opcode': 2, 'data': 'AP8='},
        {'data': 'only'},
    ]
    status, output, errors = run(
        echo_url, '--format', 'jsonl', '--count', '3',
        given=b'\n'.join(json.dumps(item).encode('ascii') for item in given))
    assert (status, errors) == (0, b'')
    items = [json.loads(line) for line in output.decode('utf-8').splitlines()]
    assert [(item['type'], item['opcode'], item['data']) for item in items] == [
        ('receive', 1, u'a\n\xe9'), ('receive', 2, 'AP8='), ('receive', 1, 'only')]
    assert all(isinstance(item['time'], float) and len(item) == 4 for item in items)


@pytest.mark.parametrize('line, words', [
    (b'[', b'it is not JSON'), (b'[]', b'it is not a JSON object with "data", a string'),
    (b'{"data": 1}', b'it is not a JSON object with "data", a string'),
    (b'{"data": "", "opcode": 8}', b'its opcode is not 1'),
    (b'{"data": "%", "opcode": 2}', b'it is not base64'), (b'\xff', b'it is not JSON'),
    (b'{"data": "' + b'YWFh' * 42 + b'", "opcode": 9}', b'a ping or pong has 125 bytes at most'),
    (b'[' * 100000, b'it is not JSON'),
], ids=[str(number) for number in range(8)])
def test_a_line_that_is_no_message_is_named(echo_url, line, words):
    status, output, errors = run(echo_url, '--format', 'jsonl', '--linger', '0', given=line + b'\n')
    assert (status, output) == (1, b'')
    assert errors.startswith(b'lomond: line 1 of stdin was not sent: ' + words)


def test_json_is_compact_and_otherwise_unchanged(echo_url):
    lines = b'{"b": 1.10, "a": [ ], "a": {"x": "1, 2"}}\nnot json\n123456789012345678901234567890\n'
    assert run(echo_url, '--json', '--count', '3', given=lines) == (0, (
        b'{"b":1.10,"a":[],"a":{"x":"1, 2"}}\nnot json\n123456789012345678901234567890\n'), b'')


def test_json_of_any_depth_is_no_error():
    deep = b'[' * 100000 + b']' * 100000

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(0x81, deep) + make_close(1000))
        read_to_close(sock)

    with RawServer(script) as server:
        assert run(server.url, '--json') == (0, deep + b'\n', b'')


def test_stdin_that_does_not_block_is_read():
    reading, writing = os.pipe()
    fcntl.fcntl(reading, fcntl.F_SETFL, fcntl.fcntl(reading, fcntl.F_GETFL) | os.O_NONBLOCK)
    with Server(feed) as server, Lomond(server.url, '--count', '1', stdin=reading) as program:
        os.close(reading)
        assert program.read_line() == b'1\n'   # it has found nothing to read, and waits
        os.close(writing)
        assert program.finish()[0] == 0


# -- bytes, whatever the system's encoding is --

@pytest.mark.parametrize('env', [
    {'LANG': 'C', 'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'},
    {'PYTHONIOENCODING': 'cp1252'}, {'PYTHONIOENCODING': 'ascii:strict'},
    {'PYTHONUNBUFFERED': '1'},
], ids=['C', 'cp1252', 'ascii', 'unbuffered'])
def test_pipes_have_utf_8_whatever_the_locale_is(echo_url, env):
    line = u'\xe9 \u20ac \U0001f600\n'.encode('utf-8')
    assert run(echo_url, '--count', '1', given=line, env=env) == (0, line, b'')
    assert run(echo_url, '--count', '1', '--send', line.decode('utf-8').rstrip() if (
        sys.version_info[0] > 2 and 'LANG' not in env) else 'x', env=env)[0] == 0


def test_each_message_is_written_at_once():
    """The server sends the next one only when the test has read the last."""
    is_read = [threading.Event() for _ in range(3)]

    def script(sock):
        answer_upgrade(sock)
        for number, event in enumerate(is_read):
            sock.sendall(make_frame(1, b'%d' % number))
            wait_for(event)
        sock.sendall(make_close(1000))
        read_frame(sock)

    with RawServer(script) as server, Lomond(server.url) as program:
        for number, event in enumerate(is_read):
            assert program.read_line() == b'%d\n' % number
            event.set()
        assert program.finish() == (0, b'', b'')


# -- output that ends --

@pytest.mark.parametrize('env', [{}, {'PYTHONUNBUFFERED': '1'}], ids=['buffered', 'unbuffered'])
def test_a_reader_that_leaves_ends_it_quietly_and_with_a_close_frame(env):
    codes = []

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'first'))
        wait_for(has_left)
        sock.sendall(make_frame(1, b'second') + make_frame(1, b'third'))
        codes.append(read_to_close(sock)[-1])
        sock.sendall(make_close(1000))

    has_left = threading.Event()
    with RawServer(script) as server, Lomond(server.url, env=env) as program:
        assert program.read_line() == b'first\n'
        program.close_output()
        has_left.set()
        assert program.finish() == (0, b'', b'')
    assert codes == [(0x88, b'\x03\xe8')]


def test_a_full_disk_is_an_error(echo_url):
    with open('/dev/full', 'wb') as full:
        status, _output, errors = run(echo_url, given=b'x\n', stdout=full)
    assert status == 1
    assert errors == b'lomond: could not write the output: No space left on device\n'


def test_a_closed_stdout_is_an_error_and_no_message_goes_to_the_server(echo_url):
    program = subprocess.Popen(
        ['sh', '-c', 'echo x | exec {} {} >&-'.format(' '.join(LOMOND), echo_url)], env=environ(),
        stderr=subprocess.PIPE)
    errors = program.communicate()[1]
    assert program.returncode == 1
    assert errors == b'lomond: could not write the output: Bad file descriptor\n'


@pytest.mark.parametrize('arguments', [
    ['--help'], ['--version'], ['--completion', 'bash'], ['serve', '--help'], ['serve']])
def test_a_full_disk_is_an_error_for_all_that_is_printed(arguments):
    with open('/dev/full', 'wb') as full:
        status, _output, errors = run(*arguments, stdout=full)
    assert (status, errors) == (
        1, b'lomond: could not write the output: No space left on device\n')


@pytest.mark.parametrize('arguments', [['--version'], ['serve']])
def test_a_closed_stdout_is_an_error_for_all_that_is_printed(arguments):
    status, _output, errors = run(*arguments, script='exec "$@" >&-')
    assert (status, errors) == (1, b'lomond: could not write the output: Bad file descriptor\n')


def test_without_stderr_the_status_says_what_went_wrong(dead_port):
    options = {'script': 'exec "$@" 2>&-'}
    url = 'ws://127.0.0.1:{}/'.format(dead_port)
    assert run('--nonsense', **options)[:2] == (2, b'')
    assert run('bench', url, **options)[:2] == (3, b'')
    with open('/dev/full', 'wb') as full:
        assert run('bench', url, stderr=full)[:2] == (3, b'')


@pytest.mark.parametrize('arguments', [['--help'], ['--version'], ['--completion', 'bash']])
def test_help_for_a_reader_that_has_left_prints_no_error(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert run(*arguments, stdout=writing) == (0, None, b'')
    finally:
        os.close(writing)


def test_wrong_arguments_for_a_reader_of_errors_that_has_left():
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert run('--nonsense', stderr=writing)[0] in (0, 2)
    finally:
        os.close(writing)


def test_a_pipe_has_messages_only(echo_url):
    status, output, errors = run(
        echo_url, '-vv', '--stats', '--linger', '0', given=b'x\n', env={'CLICOLOR_FORCE': '1'})
    assert (status, output) == (0, b'x\n')
    assert errors and b'\x1b' not in errors


def feed_of_large_messages(websocket):
    """Send more than a pipe takes."""
    for event in websocket:
        if event.name == 'ready':
            for _ in range(8):
                websocket.send_text(u'x' * 65536)


@pytest.mark.parametrize('end, status', [
    (['--timeout', '0.5'], 1), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_it_ends_though_nobody_reads_its_output(end, status):
    with Server(feed_of_large_messages) as server:
        options = end if isinstance(end, list) else []
        program = subprocess.Popen(
            LOMOND + [server.url, '--close-timeout', '0.5'] + options, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            wait_until(lambda: unread(program.stdout) >= 65536, 'the pipe is full')
            if end is not options:
                program.send_signal(end)
            wait_until(lambda: program.poll() is not None, 'it ends')
            assert program.returncode == status
            assert b'nobody reads the output' in program.stderr.read()
        finally:
            if program.poll() is None:
                program.kill()
                program.wait()
            for stream in (program.stdin, program.stdout, program.stderr):
                stream.close()


def test_in_the_background_of_a_shell_ctrl_c_is_ignored():
    with Server(feed, poll=0.2) as server:
        program = subprocess.Popen(
            ['sh', '-c', 'trap "" INT; exec {} {} </dev/null'.format(' '.join(LOMOND), server.url)],
            env=environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert program.stdout.readline() == b'1\n'
        program.send_signal(signal.SIGINT)
        assert program.communicate() == (b'2\n3\n', b'')
        assert program.returncode == 0


@pytest.mark.parametrize('number, code, status', [
    (signal.SIGINT, 1000, 130), (signal.SIGTERM, 1001, 143)])
def test_a_signal_closes_the_connection(number, code, status):
    frames = []

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'here'))
        frames.extend(read_to_close(sock))
        sock.sendall(make_frame(1, b'last words') + make_close(code))

    with RawServer(script) as server, Lomond(server.url) as program:
        assert program.read_line() == b'here\n'
        program.process.send_signal(number)
        assert program.finish() == (status, b'last words\n', b'')
    assert frames == [(0x88, bytes(bytearray([code >> 8, code & 255])))]


@pytest.mark.parametrize('arguments, number, status', [
    ([], signal.SIGINT, 130), ([], signal.SIGTERM, 143), (['--timeout', '1'], None, 0)])
def test_a_server_that_does_not_read_holds_up_no_end(arguments, number, status):
    is_over = threading.Event()
    is_open = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(0x81, b'open'))
        is_open.set()
        is_over.wait(PATIENCE)

    with RawServer(script) as server, Lomond(
            server.url, '--close-timeout', '0.5', *arguments) as program:
        assert program.read_line() == b'open\n'
        descriptor = program.process.stdin.fileno()
        line = b'x' * 4095 + b'\n'
        # Once no more fits into the pipe, the program is waiting for the server to read.
        while select.select([], [descriptor], [], 0.5)[1]:
            os.write(descriptor, line)
        if number is not None:
            program.process.send_signal(number)
        assert program.finish()[::2] == (status, b'')
        is_over.set()
