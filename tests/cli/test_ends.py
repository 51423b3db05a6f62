"""How ``lomond URL`` ends: the exit statuses, the words on stderr, and reconnecting."""

from __future__ import absolute_import, division, print_function

import contextlib
import signal
import sys
import threading

import pytest

from lomond import events
from lomond.cli.connecting import read_headers
from lomond.cli.statuses import STATUSES, Outcome, exit_status
from lomond.server import Refusal, Server
from tests.network.driving import (
    accept_and_hang_up,
    accept_and_send,
    answer_upgrade,
    echo_handler,
    read_to_close,
    wait_for,
)
from tests.network.proxy_server import ProxyServer
from tests.support import RawServer, make_close, make_frame, read_frame, read_head

from .driving import Lomond, run

pytestmark = pytest.mark.costly


def reject(sock):
    read_head(sock)
    sock.sendall(b'HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno')


def stay_silent(sock):
    """Answer nothing, not even pings, until the client has gone."""
    answer_upgrade(sock)
    while True:
        read_frame(sock)


def never_answer(sock):
    read_head(sock)
    sock.recv(1)


ENDS = [
    ('closed with 1000', accept_and_send(make_close(1000)), [], 0, u''),
    ('closed with 1001', accept_and_send(make_close(1001)), [], 0, u''),
    ('closed without a code', accept_and_send(make_frame(8)), [], 0, u''),
    ('count', accept_and_send(make_frame(1, b'x'), make_close(1011)), ['--count', '1'], 0, u''),
    ('rejected', reject, [], 4,
     u'lomond: rejected: the server answered 403 Forbidden: no\n'),
    ('dropped', accept_and_hang_up(), [], 5, u'lomond: disconnected: '),
    ('wrong protocol', accept_and_send(make_frame(3)), [], 5,
     u'lomond: the server broke the protocol: '),
    ('closed with 1011', accept_and_send(make_close(1011, b'too busy')), [], 6,
     u'lomond: the server closed with 1011 UNEXPECTED_CONDITION: too busy\n'),
    ('closed with 4000', accept_and_send(make_close(4000)), [], 6,
     u'lomond: the server closed with 4000\n'),
    ('silent', stay_silent, ['--ping-timeout', '0.3', '--ping-rate', '0.1'], 7,
     u'lomond: the server is silent'),
    ('count in time', accept_and_send(), ['--count', '1', '--timeout', '0.3'], 7,
     u'lomond: --timeout is over\n'),
    ('not open in time', never_answer, ['--timeout', '0.3'], 7,
     u'lomond: --timeout is over\n'),
    ('not connected in time', never_answer, ['--connect-timeout', '0.3'], 3,
     u'lomond: no connection: '),
]


@pytest.mark.parametrize(
    'script, options, status, words', [end[1:] for end in ENDS], ids=[end[0] for end in ENDS])
def test_the_status_says_how_it_ended(script, options, status, words):
    with RawServer(script) as server:
        found, _output, errors = run(server.url, '--close-timeout', '5', *options)
    errors = errors.decode('utf-8')
    assert (found, errors[:len(words)]) == (status, words)
    assert errors.count(u'\n') == (1 if words else 0)


def test_a_port_on_which_nothing_listens_is_no_connection(dead_port):
    status, output, errors = run('ws://127.0.0.1:{}/'.format(dead_port))
    assert (status, output) == (3, b'')
    assert errors.startswith(b'lomond: no connection: ')


@pytest.mark.parametrize('arguments, words', [
    (['http://example.org/'], b'http'),
    (['ws://example.org/', '--count', '0'], b'argument --count: must be an integer, 1 or more'),
    (['ws://example.org/', '--timeout', 'x'], b'must be a number of seconds'),
    (['ws://example.org/', '--header', 'secret'], b'it is not NAME:VALUE'),
    (['ws://example.org/', '--header', '@/nowhere'], b'could not read /nowhere'),
    (['ws://example.org/', '--resolve', 'example.org:there'], b'must be HOST:ADDRESS'),
    (['ws://example.org/', '--max-wait', '1'], b'argument --max-wait: requires --persist'),
    (['ws://example.org/', '--file', '/nowhere'], b'could not read /nowhere'),
    (['ws://example.org/', '--binary', 'hex', '--send', 'x'],
     b'a message of --send: it is not hex'),
    (['ws://example.org/', '--cafile', '/nowhere'], b'/nowhere'),
    (['--completion', 'csh'], b'must be bash or fish or zsh'),
])
def test_wrong_arguments(arguments, words):
    status, output, errors = run(*arguments)
    assert (status, output) == (2, b'')
    assert words in errors
    assert b'Traceback' not in errors


def test_each_status_is_in_the_table():
    for event, status in [
            (events.ConnectFail(u'x'), 3), (events.Rejected(None, u'x'), 4),
            (events.Unresponsive(), 7), (events.Closing(1000, u''), 0),
            (events.Closing(1005, u''), 0), (events.Closing(1008, u''), 6),
            (events.Disconnected(u'x'), 5), (events.Disconnected(u'x', True), 0),
            (events.Poll(), None)]:
        assert exit_status(event) == status
        assert status is None or status in dict(STATUSES)


def test_the_first_reason_of_the_last_connection_counts():
    outcome = Outcome()
    assert outcome.status == 0
    for event in (events.Rejected(None, u'x'), events.Disconnected(u'x')):
        outcome.observe(event)
    assert outcome.status == 4
    for event in (events.Connecting(u'ws://x/'), events.Closing(1011, u''),
                  events.Disconnected(u'closed', True)):
        outcome.observe(event)
    assert outcome.status == 6


# -- --persist --

class Unsteady(object):
    """A server that drops its first connection when it has got a message, then echoes."""

    def __init__(self):
        self.texts = []
        self.is_dropped = threading.Event()
        self._connections = 0

    def __call__(self, sock):
        self._connections += 1
        is_first = self._connections == 1
        answer_upgrade(sock)
        while True:
            first, payload = read_frame(sock)
            if first & 15 == 8:
                sock.sendall(make_close(1000))
                return
            self.texts.append(payload)
            if is_first:
                self.is_dropped.set()
                return
            sock.sendall(make_frame(1, payload))


def test_persist_connects_again_and_sends_what_was_typed_meanwhile():
    script = Unsteady()
    with RawServer(script) as server:
        with Lomond(server.url, '--persist', '--max-wait', '0.1', '--send', 'first',
                    '--count', '2') as program:
            wait_for(script.is_dropped)
            # What is sent before the program notices may be lost: no send says so.
            assert b'disconnected' in program.process.stderr.readline()
            program.type(b'second\n')
            assert program.read_line() == b'first\n'
            assert program.read_line() == b'second\n'
            status, _output, errors = program.finish()
    assert status == 0
    assert b'lomond: next attempt in 0.' in errors
    assert script.texts == [b'first', b'first', b'second']


def test_persist_gives_up_as_its_options_say(dead_port):
    url = 'ws://127.0.0.1:{}/'.format(dead_port)
    status, _output, errors = run(url, '--persist', '--max-wait', '0.01', '--max-attempts', '2')
    assert status == 3
    assert errors.decode('utf-8').splitlines()[-1].startswith(u'lomond: gave up: ')
    with Server(lambda websocket: None, on_request=lambda request: Refusal(403)) as server:
        assert run(server.url, '--persist', '--stop-on-status', '403')[0] == 4
    with RawServer(accept_and_send(make_close(4001))) as server:
        assert run(server.url, '--persist', '--stop-on-code', '4001')[0] == 6


def test_persist_ends_with_ctrl_c_while_it_waits(dead_port):
    url = 'ws://127.0.0.1:{}/'.format(dead_port)
    with Lomond(url, '--persist', '--min-wait', '100', '--max-wait', '200') as program:
        assert b'no connection' in program.process.stderr.readline()
        assert b'next attempt in 1' in program.process.stderr.readline()
        program.process.send_signal(signal.SIGINT)
        assert program.finish()[0] == 130


# -- how to connect --

@contextlib.contextmanager
def requests(answer=None):
    """A server that keeps what was requested: yields its URL and a list of heads."""
    heads = []

    def script(sock):
        heads.append(answer_upgrade(sock, *[answer] if answer else []))
        sock.sendall(make_close(1000))
        read_to_close(sock)

    with RawServer(script) as server:
        yield server.url, heads


def test_headers_of_a_file_that_begins_with_a_byte_order_mark(tmpdir):
    tmpdir.join('headers').write_binary(b'\xef\xbb\xbfX-Test: 1\r\n')
    assert read_headers('@' + str(tmpdir.join('headers'))) == [(u'X-Test', u'1')]


def test_headers_of_arguments_and_files(tmpdir):
    path = tmpdir.join('headers')
    path.write_text(u'Authorization: Bearer s3cret\n\nX-Name: \xe9\n', encoding='utf-8')
    with requests(b'Sec-WebSocket-Protocol: v1') as (url, heads):
        assert run(url, '-H', 'X-A: 1', '--header', '@' + str(path), '--origin', 'https://a.example',
                   '--subprotocol', 'v2', '--subprotocol', 'v1', '--compress')[0] == 0
    for line in (b'X-A: 1', b'Authorization: Bearer s3cret', u'X-Name: \xe9'.encode('utf-8'),
                 b'Origin: https://a.example', b'Sec-WebSocket-Protocol: v2, v1'):
        assert line + b'\r\n' in heads[0]
    assert b'Sec-WebSocket-Extensions: permessage-deflate' in heads[0]


def test_no_secret_of_a_file_is_in_the_arguments_or_shown(tmpdir):
    path = tmpdir.join('headers')
    path.write('Authorization: Bearer s3cret\nCookie: id=s3cret\nX-Api-Key: s3cret')
    netrc = tmpdir.join('netrc')
    netrc.write('machine 127.0.0.1 login me password s3cret')
    netrc.chmod(0o600)
    with requests(b'Set-Cookie: s3cret') as (url, heads):
        with Lomond(url, '-vv', '--header', '@' + str(path), '--netrc',
                    env={'NETRC': str(netrc)}) as program:
            with open('/proc/{}/cmdline'.format(program.process.pid), 'rb') as command:
                assert b's3cret' not in command.read()
            status, output, errors = program.finish()
    assert (status, output) == (0, b'')
    assert b's3cret' in heads[0]
    assert b's3cret' not in errors
    assert errors.count(b'***') == 4


def test_a_password_in_the_url_is_not_shown(dead_port):
    url = 'ws://me:s3cret@127.0.0.1:{}/'.format(dead_port)
    status, _output, errors = run(url, '-vv', '--persist', '--max-attempts', '1')
    assert status == 3
    assert b's3cret' not in errors
    assert b's3cret' not in run('ws://me:s3cret@[/')[2]


@pytest.mark.parametrize('url', [
    'ws://example.org:port/?token=s3cret', 'ws://example.org:99999/?token=s3cret',
    'http://example.org/?token=s3cret', 'ws:///?token=s3cret', 'ws://example.org/?token=s3cret\n\ts3cret',
    'ws://example.org/#s3cret'])
def test_a_token_in_a_wrong_url_is_not_shown(url):
    def script(sock):
        read_head(sock)
        sock.sendall(b'HTTP/1.1 302 Found\r\nLocation: ' + url.replace('\n', '').encode('ascii')
                     + b'\r\nContent-Length: 0\r\n\r\n')

    status, _output, errors = run(url)
    assert status == 2
    assert b's3cret' not in errors
    with RawServer(script) as server:
        status, _output, errors = run(server.url, '-vv', '--connect-timeout', '0.5')
    assert status in (3, 4)
    assert b's3cret' not in errors


@pytest.mark.skipif(sys.version_info[0] > 2, reason='later ones read any bytes')
@pytest.mark.parametrize('arguments', [
    [b'ws://me:s3cret@\xff/'], [b'--proxy', b'http://me:s3cret@\xff/', b'ws://example.org/'],
    [b'--origin', b's3cret\xff', b'ws://example.org/'],
    [b'--header', b'Authorization: s3cret\xff', b'ws://example.org/']])
def test_an_argument_that_is_not_utf_8_is_not_shown(arguments):
    status, _output, errors = run(*arguments)
    assert status == 2
    assert b's3cret' not in errors and b'it is not UTF-8' in errors


def test_insecure_warns_each_time(server_tls):
    with Server(lambda websocket: websocket.close(), ssl_context=server_tls) as server:
        for _ in range(2):
            status, _output, errors = run(server.url, '--insecure')
            assert status == 0
            assert errors.count(b'warning') == 1
            assert b'--insecure' in errors
        status, _output, errors = run(server.url)
        assert status == 3
        assert b'certificate' in errors


def test_certificates_and_resolve(server_tls, authority_file):
    with Server(lambda websocket: websocket.close(), ssl_context=server_tls) as server:
        url = 'wss://localhost:{}/'.format(server.port)
        assert run(url, '--cafile', authority_file, '--resolve', 'localhost:127.0.0.1') == (
            0, b'', b'')
        assert run('ws://[::1]:{}/'.format(server.port), '--resolve', '::1:127.0.0.1')[0] == 2


@pytest.mark.parametrize('host, given', [
    (u'B\xfccher.example', u'b\xfccher.example'), (u'xn--bcher-kva.example', u'B\xfccher.example'),
    (u'a.example.', u'A.example'), (u'a.example', u'a.example.')])
def test_resolve_compares_hosts_as_dns_does(host, given):
    with Server(lambda websocket: websocket.close()) as server:
        url = u'ws://{}:{}/'.format(host, server.port)
        assert run(native(url), '--resolve', native(given + u':127.0.0.1')) == (0, b'', b'')


def native(text):
    """Return an argument of a command line."""
    return text.encode('utf-8') if str is bytes else text


def test_unix_socket(tmpdir):
    path = str(tmpdir.join('s'))
    with Server(echo_handler, unix_path=path):
        assert run('ws://localhost/x', '--unix', path, '--count', '1', given=b'x\n') == (
            0, b'x\n', b'')


@pytest.mark.parametrize('is_secure', [False, True], ids=['ws', 'wss'])
def test_a_proxy_for_ws_and_wss(is_secure, server_tls, authority_file):
    with Server(echo_handler, ssl_context=server_tls if is_secure else None) as server:
        with ProxyServer((b'me', b's3cret')) as proxy:
            url = proxy.url.replace(u'//', u'//me:s3cret@')
            arguments = [server.url, '--cafile', authority_file, '--count', '1']
            for more, env in (['--proxy', url], {}), ([], {'ALL_PROXY': url, 'NO_PROXY': ''}):
                assert run(*(arguments + more), given=b'x\n', env=env) == (0, b'x\n', b'')
            assert len(proxy.requests) == 2


def test_a_proxy_that_is_not_there(dead_port):
    with Server(echo_handler) as server:
        proxy = 'http://me:s3cret@127.0.0.1:{}'.format(dead_port)
        status, _output, errors = run(server.url, '--proxy', proxy)
        assert status == 3
        assert b'proxy' in errors and b's3cret' not in errors
        for arguments in (['--proxy', 'none'], []):
            status = run(server.url, '--timeout', '0.5', *arguments, env={
                'HTTP_PROXY': proxy, 'NO_PROXY': ''})[0]
            assert status == (0 if arguments else 3)


def test_a_message_beyond_the_limit():
    with Server(echo_handler) as server:
        status, output, errors = run(server.url, '--max-size', '10', given=b'12345678901\n')
    assert (status, output) == (5, b'')
    assert b'the server broke the protocol' in errors
