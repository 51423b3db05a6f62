"""``lomond serve``: echo, broadcast, a program for each client; and how it ends."""

from __future__ import absolute_import, division, print_function

import contextlib
import os
import signal
import socket
import sys

import pytest

from lomond import WebSocket
from lomond.cli.serving import make_origins
from lomond.errors import Rejected, WebSocketClosed
from tests.cli.driving import connected, listening, run
from tests.network.driving import needs_proc
from tests.programs import pause, wait_until
from tests.support import PATIENCE, read_frame, read_head

pytestmark = pytest.mark.costly


def serving(*arguments, **options):
    """`lomond serve` while the block runs; its URL is ``url``."""
    return listening('serve', *arguments, **options)


def end(program, number=signal.SIGTERM):
    """End the program by a signal; return its status and its errors."""
    program.process.send_signal(number)
    status, _output, errors = program.finish()
    return status, errors


def close_of(client):
    """Receive to the end; return the code and the reason of the server's Close frame."""
    with pytest.raises(WebSocketClosed) as caught:
        while True:
            client.receive(PATIENCE)
    return caught.value.code, caught.value.reason


# -- echo --

def test_each_message_comes_back_as_it_was():
    messages = [u'one', b'\0\xff', u'h\xe9', u'', b'', u'x' * 300000]
    with serving() as program, connected(program.url) as client:
        for message in messages:
            (client.send_binary if isinstance(message, bytes) else client.send_text)(message)
            assert client.receive(PATIENCE) == message


@pytest.mark.parametrize('number, status', [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_closes_all_connections_with_1001(number, status):
    with serving() as program:
        with connected(program.url) as one, connected(program.url) as two:
            program.process.send_signal(number)
            assert [close_of(client)[0] for client in (one, two)] == [1001, 1001]
            assert program.finish() == (status, b'', b'')


def test_second_signal_does_not_wait_for_a_client_that_does_not_answer():
    with serving() as program, connected(program.url) as client:
        program.process.send_signal(signal.SIGTERM)
        # It listens no more once it has begun to close; the client answers nothing.
        wait_until(lambda: not is_listening(program.url), 'it closes')
        assert end(program)[0] == 143
        client.force_disconnect()


def is_listening(url):
    sock = socket.socket()
    try:
        host, port = url.split('/')[2].split(':')
        return sock.connect_ex((host, int(port))) == 0
    finally:
        sock.close()


def test_port_may_be_chosen_and_may_be_taken():
    with serving() as program:
        port = program.url.split(':')[2].strip('/')
        status, output, errors = run('serve', port)
    assert (status, output) == (1, b'')
    assert errors.startswith(b'lomond: ') and b'in use' in errors


@pytest.mark.skipif(not hasattr(socket, 'AF_UNIX'), reason='needs Unix sockets')
def test_it_serves_on_a_unix_socket(tmpdir):
    path = str(tmpdir.join('s'))
    with serving('--unix', path) as program, connected(program.url) as client:
        assert program.url.startswith('ws+unix://')
        client.send_text(u'hi')
        assert client.receive(PATIENCE) == u'hi'
        client.close()
        assert close_of(client)[0] == 1000
        assert end(program) == (143, b'')
    assert not os.path.exists(path)


def test_it_serves_tls(server_pem, authority_file):
    with serving('--cert', server_pem) as program:
        assert program.url.startswith('wss://')
        with connected(program.url, ssl_cafile=authority_file) as client:
            client.send_text(u'hi')
            assert client.receive(PATIENCE) == u'hi'


@pytest.mark.parametrize('arguments, words', [
    (['--key', 'x'], b'requires --cert'), (['--command'], b'requires a program'),
    (['--broadcast', '--command', 'cat'], b'no --broadcast'), (['70000'], b'PORT'),
    (['--origin', 'example.org'], b'https://example.org'),
    (['--host', ''], b'0.0.0.0: all addresses')])
def test_wrong_arguments_are_refused(arguments, words):
    status, output, errors = run('serve', *arguments)
    assert (status, output) == (2, b'')
    assert words in errors


def test_certificate_that_cannot_be_read_is_an_error(tmpdir):
    path = str(tmpdir.join('none.pem'))
    status, output, errors = run('serve', '--cert', path)
    assert (status, output) == (1, b'')
    assert errors.startswith(b'lomond: ') and errors.count(b'\n') == 1


@pytest.mark.parametrize('arguments', [[], ['--broadcast']])
def test_errors_that_can_not_be_written_end_nothing(arguments):
    with open('/dev/full', 'wb') as full, \
            serving('--verbose', *arguments, stderr=full) as program, \
            connected(program.url) as one, connected(program.url) as two:
        two.send_text(u'x')
        assert (one if arguments else two).receive(PATIENCE) == u'x'


# -- origins --

@pytest.mark.parametrize('origins, origin, is_allowed', [
    ([], None, True), ([], u'http://localhost:3000', True), ([], u'https://127.0.0.1', True),
    ([], u'http://[::1]:8000', True), ([], u'https://example.org', False), ([], u'null', False),
    ([], u'http://localhost.example.org', False), ([], u'http://localhost:3000@x.org', False),
    ([u'https://example.org'], u'https://EXAMPLE.org', True),
    ([u'https://example.org'], None, True), ([u'https://example.org'], u'http://localhost', False),
    ([u'https://example.org', u'null'], u'null', True)])
def test_only_pages_of_this_machine_may_connect_or_those_that_are_named(
        origins, origin, is_allowed):
    assert make_origins(origins)(origin) is is_allowed


@pytest.mark.parametrize('arguments, is_allowed', [
    ([], False), (['--origin', 'https://Example.org:443'], True), (['--origin', 'any'], True)])
def test_page_of_another_site_is_refused(arguments, is_allowed):
    with serving(*arguments) as program:
        client = WebSocket(program.url, proxies={}, headers={'Origin': 'https://example.org'})
        if is_allowed:
            client.open(PATIENCE)
            client.force_disconnect()
            return
        with pytest.raises(Rejected) as caught:
            client.open(PATIENCE)
        assert caught.value.response.status_code == 403


# -- broadcast --

def test_message_goes_to_all_others():
    with serving('--broadcast') as program:
        with connected(program.url) as one, connected(program.url) as two, \
                connected(program.url) as three:
            one.send_text(u'hello')
            assert [client.receive(PATIENCE) for client in (two, three)] == [u'hello', u'hello']
            two.send_binary(b'\xff')
            # What it sent itself would have come before.
            assert [client.receive(PATIENCE) for client in (one, three)] == [b'\xff', b'\xff']
            program.process.send_signal(signal.SIGTERM)
            assert [close_of(client)[0] for client in (one, two, three)] == [1001] * 3
        assert program.finish() == (143, b'', b'')


def test_client_that_does_not_read_holds_up_no_other():
    message = u'x' * 100000
    with serving('--broadcast', '--max-size', '200000') as program:
        with connected(program.url), connected(program.url) as reader, \
                connected(program.url) as sender:
            for _number in range(200):      # 20 MB: more than any buffer of the system
                sender.send_text(message)
                assert reader.receive(PATIENCE) == message


def test_verbose_says_who_comes_and_goes_without_their_secrets():
    with serving('-v') as program:
        with connected(program.url + 'path?token=SECRET') as client:
            client.close()
            assert close_of(client)[0] == 1000
        status, errors = end(program)
    lines = errors.decode('ascii').splitlines()
    assert [line.split()[0] for line in lines] == ['+', '-']
    assert lines[0].endswith(' /path?token=***')
    assert lines[1].endswith(' closed with 1000')


# -- a program for each client --

def python(source):
    """The arguments of a program in Python."""
    return ['--command', sys.executable, '-c', source]


#: Answers each line, with the number of its process.
ANSWER = """
import os, sys
for line in iter(sys.stdin.readline, ''):
    sys.stdout.write('%d %s' % (os.getpid(), line))
    sys.stdout.flush()
"""


def children_of(pid):
    """Return the processes that a process has started, zombies included."""
    found = []
    for name in os.listdir('/proc'):
        if name.isdigit():
            try:
                with open('/proc/{}/stat'.format(name)) as stat:
                    if int(stat.read().rpartition(')')[2].split()[1]) == pid:
                        found.append(int(name))
            except (IOError, OSError):
                pass
    return found


def is_running(pid):
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def test_messages_are_lines_of_a_program_of_each_client():
    with serving(*python(ANSWER)) as program:
        with connected(program.url) as one, connected(program.url) as two:
            answers = []
            for client, word in ((one, u'first'), (two, u'second'), (one, u'third')):
                client.send_text(word)
                answers.append(client.receive(PATIENCE).split())
    assert [answer[1] for answer in answers] == [u'first', u'second', u'third']
    assert answers[0][0] == answers[2][0] != answers[1][0]


@needs_proc
@pytest.mark.parametrize('leave', [
    lambda client: (client.close(), close_of(client)), lambda client: client.force_disconnect()])
def test_program_ends_with_its_connection(leave):
    with serving(*python(ANSWER)) as program:
        with connected(program.url) as client:
            client.send_text(u'hi')
            pid = int(client.receive(PATIENCE).split()[0])
            assert children_of(program.process.pid) == [pid]
            leave(client)
            wait_until(lambda: not children_of(program.process.pid), 'no process, no zombie')


@needs_proc
def test_what_a_program_has_started_ends_with_it():
    source = """
import os, subprocess, sys
child = subprocess.Popen(['sh', '-c', 'trap "" TERM HUP; while :; do sleep 1; done'])
sys.stdout.write('%d\\n' % child.pid)
sys.stdout.flush()
sys.stdin.read()
"""
    with serving(*python(source)) as program, connected(program.url) as client:
        pid = int(client.receive(PATIENCE))
        client.close()
        close_of(client)
        wait_until(lambda: not is_running(pid), 'the child of the program is gone')


def test_what_a_program_has_started_may_end_in_its_own_way(tmpdir):
    path = tmpdir.join('done')
    source = """
(trap "sleep 0.3; echo done > {}; exit" TERM; echo ready; while :; do sleep 0.1; done) &
cat
""".format(path)
    with serving('--command', 'sh', '-c', source) as program, connected(program.url) as client:
        assert client.receive(PATIENCE) == u'ready'
        client.close()
        close_of(client)
        wait_until(path.exists, 'it has ended in its own way')


def test_a_line_that_is_too_long_is_not_sent_although_it_comes_whole():
    with serving('--max-size', '100', '--command', 'printf', 'ok\n%0200d\n', '1') as program, \
            connected(program.url) as client:
        assert client.receive(PATIENCE) == u'ok'
        assert close_of(client) == (1011, u'the program wrote a line of more than 100 bytes')


@needs_proc
def test_programs_that_ignore_all_end_with_the_server():
    source = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sys.stdout.write('ready\\n')
sys.stdout.flush()
while True:
    signal.pause()
"""
    with serving(*python(source)) as program:
        with connected(program.url) as one, connected(program.url) as two:
            assert [client.receive(PATIENCE) for client in (one, two)] == [u'ready', u'ready']
            pids = children_of(program.process.pid)
            assert len(pids) == 2
            program.process.send_signal(signal.SIGTERM)
            assert [close_of(client)[0] for client in (one, two)] == [1001, 1001]
            assert program.finish()[0] == 143
        assert not [pid for pid in pids if is_running(pid)]


@pytest.mark.parametrize('source, code, reason', [
    ('print("bye")', 1000, u''), ('import sys; print("bye"); sys.exit(3)', 1011, u'status 3'),
    ('import os, sys; print("bye"); sys.stdout.flush(); os.kill(os.getpid(), 9)', 1011,
     u'signal 9')])
def test_connection_ends_with_its_program(source, code, reason):
    with serving(*python(source)) as program, connected(program.url) as client:
        assert client.receive(PATIENCE) == u'bye'
        closed = close_of(client)
    assert closed[0] == code
    assert closed[1].endswith(reason)


def test_program_that_is_not_there_closes_with_1011():
    with serving('--command', '/nowhere/program') as program, connected(program.url) as client:
        assert close_of(client) == (1011, u'could not run the program: No such file or directory')


def test_program_gets_what_the_client_asked_for():
    source = ('import os; print("|".join(os.environ[name] for name in '
              '("PATH_INFO", "QUERY_STRING", "REMOTE_ADDR")))')
    with serving(*python(source)) as program, connected(program.url + 'a%20b?c=d') as client:
        assert client.receive(PATIENCE) == u'/a%20b|c=d|127.0.0.1'


def test_program_gets_what_is_not_ascii_in_any_locale():
    with serving('--command', 'sh', '-c', 'echo "$PATH_INFO"', env={
            'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'}) as program:
        with contextlib.closing(socket.create_connection(
                ('127.0.0.1', int(program.url.rpartition(':')[2].strip('/'))))) as sock:
            sock.sendall(
                b'GET /\xe9 HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\n'
                b'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n'
                b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n')
            assert read_head(sock).startswith(b'HTTP/1.1 101 ')
            assert read_frame(sock) == (0x81, u'/\xe9'.encode('utf-8'))


def test_connection_ends_with_its_program_although_another_one_has_its_stdout():
    with serving('--command', 'sh', '-c', 'echo bye; sleep 1000 & exit 3') as program, \
            connected(program.url) as client:
        assert client.receive(PATIENCE) == u'bye'
        assert close_of(client)[0] == 1011


@pytest.mark.parametrize('arguments, message', [([], u'h\xe9'), (['--binary'], b'h\xc3\xa9')])
def test_line_is_text_or_with_binary_data(arguments, message):
    source = 'import os; os.write(1, b"h\\xc3\\xa9\\n\\xff\\xfe\\r\\n\\nend")'
    with serving(*(arguments + python(source))) as program, connected(program.url) as client:
        received = [client.receive(PATIENCE) for _ in range(4)]
    # What isn't UTF-8 is binary in any case.
    assert received == [message, b'\xff\xfe\r'] + ([b'', b'end'] if arguments else [u'', u'end'])


@needs_proc
def test_line_without_an_end_is_limited():
    source = 'import os\nwhile True: os.write(1, b"x" * 65536)'
    with serving('--max-size', '1000000', *python(source)) as program, \
            connected(program.url) as client:
        assert close_of(client) == (1011, u'the program wrote a line of more than 1000000 bytes')
        wait_until(lambda: not children_of(program.process.pid), 'no process, no zombie')


@needs_proc
def test_program_waits_for_a_client_that_does_not_read():
    source = 'import os\nwhile True: os.write(1, b"x" * 999 + b"\\n")'
    with serving(*python(source)) as program, connected(program.url) as client:
        assert client.receive(PATIENCE) == u'x' * 999
        pid, = children_of(program.process.pid)
        wait_until(lambda: is_waiting(pid), 'it waits')
        assert memory_of(program.process.pid) < 200e6
        assert client.receive(PATIENCE) == u'x' * 999
        client.force_disconnect()
        wait_until(lambda: not children_of(program.process.pid), 'no process, no zombie')


def is_waiting(pid):
    """Return whether a process has done nothing for a while."""
    times = []
    for _look in range(3):
        with open('/proc/{}/stat'.format(pid)) as stat:
            times.append(stat.read().rpartition(')')[2].split()[:13])
        pause(0.1)
    return times[0][0] == 'S' and times[0] == times[1] == times[2]


def memory_of(pid):
    with open('/proc/{}/statm'.format(pid)) as statm:
        return int(statm.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


@needs_proc
def test_program_that_does_not_read_ends_with_the_server():
    """Though its thread waits for it to read."""
    source = 'import signal; print("ready"); signal.pause()'
    with serving('--command', sys.executable, '-u', '-c', source) as program, \
            connected(program.url, max_message_size=None) as client:
        assert client.receive(PATIENCE) == u'ready'
        client.send_text(u'x' * 1000000)
        pid, = children_of(program.process.pid)
        program.process.send_signal(signal.SIGTERM)
        assert close_of(client)[0] == 1001
        assert program.finish()[0] == 143
        assert not is_running(pid)


def test_program_is_ended_by_a_closed_pipe_as_in_a_shell():
    """Python ignores SIGPIPE, and what it starts must not."""
    script = '(yes; echo "status $?" >&2) | head -n 1'
    with serving('--command', 'sh', '-c', script) as program, connected(program.url) as client:
        assert client.receive(PATIENCE) == u'y'
        assert close_of(client)[0] == 1000
        assert end(program) == (143, b'status 141\n')


def test_program_that_closed_its_stdin_may_go_on():
    source = """
import os, sys
os.close(0)
os.write(1, b'closed\\n')
signal = __import__('signal')
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
while True:
    signal.pause()
"""
    with serving(*python(source)) as program, connected(program.url) as client:
        assert client.receive(PATIENCE) == u'closed'
        for _ in range(3):
            client.send_text(u'x' * 100000)
        client.send_ping(b'there?')
        assert client.ping(PATIENCE) >= 0
        client.close()
        assert close_of(client)[0] == 1000
        assert end(program)[0] == 143       # once the program is over
