# -*- coding: utf-8 -*-
"""``lomond record``: what it writes, whatever ends it, and what it doesn't write."""

from __future__ import absolute_import, division, print_function

import io
import os
import signal
import stat
import subprocess
import sys

import pytest

from lomond.har import read_har
from lomond.server import Refusal
from tests.cli.driving import Lomond, OnTerminal, environ, run, serving
from tests.har import answer, load
from tests.network.driving import ROOT
from tests.programs import wait_until
from tests.support import RawServer, answer_upgrade, make_close, make_frame, read_frame, read_head

pytestmark = pytest.mark.costly


@pytest.fixture
def path(tmpdir):
    return str(tmpdir.join('session.har'))


def data_of(path):
    """Return (type, data) of all messages of a file that browsers open."""
    load(path)
    return [(message.type, message.data)
            for recording in read_har(path) for message in recording.messages]


def read(path):
    with io.open(path, 'rb') as har:
        return har.read()


def test_what_is_sent_and_received_is_recorded_and_printed(path):
    with serving(answer) as server:
        status, output, errors = run(
            'record', server.url, path, '--linger', '0.5', given=u'one\nh\xe9\n'.encode('utf-8'))
    assert (status, output, errors) == (0, u'got one\ngot h\xe9\n'.encode('utf-8'), b'')
    messages = data_of(path)
    # In its own order each: it may send both before it receives.
    assert [data for kind, data in messages if kind == 'send'] == [u'one', u'h\xe9']
    assert [data for kind, data in messages if kind == 'receive'] == [u'got one', u'got h\xe9']
    assert messages.index(('send', u'one')) < messages.index(('receive', u'got one'))
    entry, = load(path)
    assert entry['request']['url'] == server.url
    assert entry['response']['status'] == 101
    assert entry['serverIPAddress'] == '127.0.0.1'
    assert 0 < entry['timings']['wait'] < entry['time']
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_answer_comes_after_its_message_in_the_file(path):
    with serving(answer) as server:
        messages = [u'{}'.format(number) for number in range(500)]
        assert run('record', server.url, path, '--count', '500', '--quiet',
                   given=u'\n'.join(messages).encode('ascii'))[0] == 0
    recorded = data_of(path)
    places = {message: place for place, message in enumerate(recorded)}
    assert len(places) == 1000
    for message in messages:
        assert places[('send', message)] < places[('receive', u'got ' + message)]


def test_quiet_prints_no_message(path):
    with serving(answer) as server:
        assert run('record', '-q', server.url, path, '--count', '1',
                   given=b'one\n') == (0, b'', b'')
    assert data_of(path) == [('send', u'one'), ('receive', u'got one')]


def test_binary_messages_are_recorded_as_they_are(path):
    with serving(answer) as server:
        assert run('record', server.url, path, '--binary', 'hex', '--count', '1',
                   given=b'00ff80\n') == (0, b'00ff80\n', b'')
    assert data_of(path) == [('send', b'\0\xff\x80'), ('receive', b'\0\xff\x80')]


def test_each_connection_of_persist_is_an_entry(path):
    def once(websocket):
        websocket.send_text(u'hello')
        websocket.close(1001)
        for _event in websocket:
            pass

    with serving(once) as server:
        assert run('record', '--persist', '--max-wait', '0.01', '--count', '3', server.url, path,
                   '--quiet')[0] == 0
    assert [len(recording.messages) for recording in read_har(path)] == [1, 1, 1]
    assert len(load(path)) == 3


def test_attempts_that_fail_are_entries(path, dead_port):
    url = u'ws://127.0.0.1:{}/'.format(dead_port)
    assert run('record', '--persist', '--max-attempts', '2', '--max-wait', '0.01', url,
               path)[0] == 3
    assert [entry['response']['status'] for entry in load(path)] == [0, 0]
    assert u'refused' in load(path)[0]['response']['_error']


def test_rejection_is_an_entry(path):
    with serving(answer, on_request=lambda _request: Refusal(401, u'no')) as server:
        assert run('record', server.url, path)[0] == 4
    entry, = load(path)
    assert entry['response']['status'] == 401
    assert entry['response']['content']['size'] == 2


def test_redirect_is_an_entry(path):
    def redirect(request):
        return Refusal(302, headers={'Location': '/b?token=SECRET'}) \
            if request.path == '/a' else None

    with serving(answer, on_request=redirect) as server:
        assert run('record', server.url + 'a', path, '--count', '1', given=b'one\n')[0] == 0
    first, second = load(path)
    assert first['response']['status'] == 302
    assert first['response']['redirectURL'] == '/b?token=***'
    assert second['request']['url'] == server.url + 'b?token=***'
    assert len(second['_webSocketMessages']) == 2


def test_connection_that_broke_has_an_error(path):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'one') + make_frame(1, b'\xff'))
        read_frame(sock)

    with RawServer(script) as server:
        assert run('record', server.url, path)[0] == 5
    kinds = [kind for kind, _data in data_of(path)]
    assert kinds[:2] == ['receive', 'error']
    assert u'UTF-8' in data_of(path)[1][1]


def test_server_that_answers_nothing_is_an_entry(path):
    with RawServer(read_head) as server:
        assert run('record', server.url, path)[0] == 3
    entry, = load(path)
    assert entry['response']['status'] == 0
    assert entry['response']['_error']
    assert [header['name'] for header in entry['request']['headers']][:1] == ['Host']


@pytest.mark.parametrize('number, status', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_the_recording(path, number, status):
    with serving(answer) as server, Lomond('record', server.url, path) as program:
        program.type(b'one\n')
        assert program.read_line() == b'got one\n'
        program.process.send_signal(number)
        assert program.finish()[0] == status
    assert data_of(path) == [('send', u'one'), ('receive', u'got one')]


@pytest.mark.parametrize('length', [20000, 500000, 1500000])
def test_recorder_that_is_killed_leaves_what_came_before(path, length):
    def feed(websocket):
        while websocket.is_open:
            websocket.send_text(u'x' * 10000)

    with serving(feed) as server, Lomond('record', '-q', server.url, path) as program:
        wait_until(lambda: os.path.exists(path) and os.stat(path).st_size > length, 'it writes')
        program.process.kill()
        program.finish()
    run('record', '--repair', path)     # the kernel may have stopped in the middle of a write
    messages = data_of(path)
    assert len(messages) * 10000 > length - 20000
    assert set(messages) == {('receive', u'x' * 10000)}


def test_cut_file_is_repaired(path):
    with serving(answer) as server:
        run('record', '-q', server.url, path, '--count', '1', given=b'one\n')
    whole = read(path)
    place = whole.index(b'"receive"}') + 4
    with io.open(path, 'r+b') as har:
        har.truncate(place)
    assert data_of_cut(path) == [('send', u'one')]
    assert run('record', '--repair', path) == (0, b'repaired\n', b'')
    assert data_of(path) == [('send', u'one')]
    assert run('record', '--repair', path) == (0, b'nothing to repair\n', b'')


def data_of_cut(path):
    return [(message.type, message.data) for message in read_har(path)[0].messages]


def test_file_of_another_program_is_not_repaired(path):
    with io.open(path, 'wb') as har:
        har.write(b'{"log": {')
    status, output, errors = run('record', '--repair', path)
    assert (status, output) == (1, b'')
    assert b'not written by lomond record' in errors
    assert read(path) == b'{"log": {'


def test_file_of_any_depth_is_not_repaired(path):
    with io.open(path, 'wb') as har:
        har.write(b'{"log": {"entries": [\n' + b'[' * 100000)
    assert run('record', '--repair', path)[0] in (0, 1)
    assert b'Traceback' not in run('record', '--repair', path)[2]


def test_fifo_without_a_reader_is_refused(path):
    os.mkfifo(path)
    status, output, errors = run('record', 'ws://127.0.0.1:1/', path, '--overwrite')
    assert (status, output) == (1, b'')
    assert b'could not write' in errors


def test_path_of_any_bytes_is_named(tmpdir):
    path = os.path.join(str(tmpdir).encode('utf-8'), b'\xff', b'session.har')
    for arguments in ['record', 'ws://127.0.0.1:1/', path], ['replay', path]:
        status, output, errors = run(*arguments)
        assert (status, output) == (1, b'')
        assert errors.startswith(b'lomond: could not ') and errors.count(b'\n') == 1


def test_file_that_exists_is_kept_without_overwrite(path):
    with io.open(path, 'wb') as existing:
        existing.write(b'precious')
    with serving(answer) as server:
        status, output, errors = run('record', server.url, path, given=b'one\n')
        assert (status, output) == (1, b'')
        assert b'--overwrite' in errors and errors.count(b'\n') == 1
        assert read(path) == b'precious'
        assert run('record', server.url, path, '--overwrite', '--count', '1',
                   given=b'one\n')[0] == 0
    assert len(data_of(path)) == 2
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


@pytest.mark.parametrize('arguments', [['http://a:x/'], ['ws://127.0.0.1/', '--max-wait', '1']])
def test_wrong_arguments_leave_no_file(path, arguments):
    assert run('record', *(arguments + [path]))[0] == 2
    assert not os.path.exists(path)


def test_full_disk_ends_the_recording_with_what_was_written(path):
    def feed(websocket):
        websocket.send_many([u'x' * 1000] * 100)
        for _event in websocket:
            pass

    limit = ('import os, resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); '
             'resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000)); '
             'from lomond.cli import main; sys.exit(main(sys.argv[1:]))')
    with serving(feed) as server:
        child = subprocess.Popen(
            [sys.executable, '-c', limit, 'record', '-q', server.url, path], cwd=ROOT,
            env=environ(), stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        errors = child.communicate()[1]
    assert child.returncode == 1
    assert b'could not write the recording: File too large' in errors
    assert 10 < len(data_of(path)) < 60


class Rewriting(object):
    """A socket that ends lines otherwise."""

    def __init__(self, sock, line_end):
        self.recv = sock.recv
        self._sock = sock
        self._line_end = line_end

    def sendall(self, data):
        self._sock.sendall(data.replace(b'\r\n', self._line_end))


#: Where a secret may be in a handshake.
SECRET = 'hunter2-Zm9vYmFy'


@pytest.mark.parametrize('line_end', [b'\r\n', b'\n'], ids=['CRLF', 'LF'])
@pytest.mark.parametrize('userinfo, headers', [
    ('me:' + SECRET + '@', []), ('', ['Authorization: Bearer ' + SECRET])])
def test_secret_in_any_place_is_neither_in_the_file_nor_in_what_verbose_shows(
        path, userinfo, headers, line_end):
    def script(sock):
        request = answer_upgrade(
            Rewriting(sock, line_end), b'Set-Cookie: a=' + SECRET.encode('ascii'),
            b'Sec-WebSocket-Protocol: ' + SECRET.encode('ascii'),
            b'Location: ws://me:' + SECRET.encode('ascii') + b'@a/?b=' + SECRET.encode('ascii'))
        assert request.count(SECRET.encode('ascii')) >= 6
        sock.sendall(make_frame(1, b'hello') + make_close(1000))
        read_frame(sock)

    with RawServer(script) as server:
        url = server.url.replace('ws://', 'ws://' + userinfo)
        arguments = [
            url + '?token={0}&x={0}&{0}'.format(SECRET), path, '-vv', '--subprotocol', 'bearer',
            '--subprotocol', SECRET]
        for header in headers + ['Cookie: a=' + SECRET, 'X-API-Key: ' + SECRET]:
            arguments += ['--header', header]
        status, output, errors = run('record', *arguments)
    assert (status, output) == (0, b'hello\n'), errors
    assert b'***' in errors
    assert SECRET.encode('ascii') not in read(path) + errors
    entry, = load(path)
    assert entry['request']['url'].endswith('/?token=***&x=***&***')


def test_a_wrong_argument_leaves_the_old_recording_alone(path, tmpdir):
    tmpdir.join('prompt_toolkit.py').write('raise ImportError')
    with open(path, 'wb') as opened:
        opened.write(b'precious')
    with OnTerminal(
            'ws://127.0.0.1:1/', path, '--overwrite', command='record', editor='prompt_toolkit',
            env={'PYTHONPATH': str(tmpdir), 'TERM': 'xterm'}) as program:
        assert program.finish() == 2
        assert b'prompt_toolkit 3 is not installed' in program.output
    assert read(path) == b'precious'


def test_messages_are_recorded_as_they_are(path):
    """They may hold secrets: the documentation says so."""
    with serving(answer) as server:
        assert run('record', '-q', server.url, path, '--count', '1',
                   given=b'{"token": "SECRET"}\n')[0] == 0
    assert data_of(path)[0] == ('send', u'{"token": "SECRET"}')
