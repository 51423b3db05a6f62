# -*- coding: utf-8 -*-
"""``lomond replay``: files of each writer, its pace, which recording a client gets, and --check."""

from __future__ import absolute_import, division, print_function

import json
import signal

import pytest

from lomond._compat import monotonic
from lomond._har_writer import HarWriter
from lomond.errors import Rejected, WebSocketClosed
from lomond.http.response import Response
from tests.cli.driving import connected, listening, run, serving
from tests.support import PATIENCE

pytestmark = pytest.mark.costly

T = 1714564800.25

#: A dialogue: (type, seconds after its beginning, text).
DIALOGUE = [
    ('send', 0.0, u'subscribe'), ('receive', 0.1, u'subscribed'), ('send', 0.2, u'h\xe9'),
    ('receive', 0.3, u'one'), ('receive', 0.4, u'two')]


@pytest.fixture
def path(tmpdir):
    return str(tmpdir.join('session.har'))


def write(path, *sessions, **options):
    """Write sessions, each a pair of a path of the URL and messages as in `DIALOGUE`."""
    with HarWriter(path, replace=True) as writer:
        for resource, messages in sessions:
            writer.begin(u'wss://a.example' + resource, T, T + 1, b'', options.get('response'))
            for kind, seconds, data in messages:
                writer.message(kind, T + seconds, 2 if isinstance(data, bytes) else 1, data)
            writer.end(T + 1000)


def replaying(path, *arguments):
    """`lomond replay` while the block runs; its URL is ``url``."""
    return listening('replay', path, *arguments)


def received(url, **options):
    """Return all that a client receives, up to the end."""
    with connected(url, **options) as client:
        return list(client.messages())


def test_client_receives_what_was_received(path):
    write(path, (u'/feed', DIALOGUE + [('receive', 0.5, b'\0\xff')]))
    with replaying(path) as program:
        assert received(program.url + 'feed') == [u'subscribed', u'one', u'two', b'\0\xff']
        # As often as clients come, and whatever they send.
        with connected(program.url) as client:
            client.send_text(u'anything')
            assert len(list(client.messages())) == 4
        program.process.send_signal(signal.SIGTERM)
        assert program.finish() == (143, b'', b'')


def test_pace_is_that_of_the_recording(path):
    write(path, (u'/', [
        ('receive', 0, u'one'), ('receive', 0.7, u'two'), ('receive', 1, u'three')]))
    with replaying(path) as program, connected(program.url) as client:
        assert client.receive(PATIENCE) == u'one'
        began = monotonic()
        assert client.receive(PATIENCE) == u'two'
        assert monotonic() - began > 0.5
        assert client.receive(PATIENCE) == u'three'


@pytest.mark.parametrize('arguments', [['--at-once'], ['--speed', '1e6']])
def test_speed_is_what_one_asks_for(path, arguments):
    write(path, (u'/', [('receive', 0, u'one'), ('receive', 90000, u'two')]))
    with replaying(path, *arguments) as program:
        assert received(program.url) == [u'one', u'two']


def test_time_that_goes_back_is_no_pause(path):
    write(path, (u'/', [('receive', 50000, u'one'), ('receive', 0, u'two')]))
    with replaying(path) as program:
        assert received(program.url) == [u'one', u'two']


def test_it_can_stay_open_after_the_last_message(path):
    write(path, (u'/', DIALOGUE))
    with replaying(path, '--at-once', '--stay') as program, connected(program.url) as client:
        assert [client.receive(PATIENCE) for _ in range(3)] == [u'subscribed', u'one', u'two']
        assert client.ping(PATIENCE) >= 0
        program.process.send_signal(signal.SIGINT)
        with pytest.raises(WebSocketClosed) as caught:
            client.receive(PATIENCE)
        assert caught.value.code == 1001


def test_server_has_the_options_of_serve(path, tmpdir):
    write(path, (u'/', DIALOGUE))
    with replaying(path, '--at-once', '--unix', str(tmpdir.join('s'))) as program:
        assert received(program.url) == [u'subscribed', u'one', u'two']
        with pytest.raises(Rejected):
            received(program.url, headers={'Origin': 'https://example.org'})


# -- which recording --

def test_client_gets_the_recording_of_its_path(path):
    write(path, (u'/a?x=***', [('receive', 0, u'of a')]), (u'/b', [('receive', 0, u'of b')]),
          (u'/c?x=1', [('receive', 0, u'of c1')]), (u'/c?x=2', [('receive', 0, u'of c2')]))
    with replaying(path) as program:
        for resource, message in (
                ('a?x=5', u'of a'), ('a', u'of a'), ('b', u'of b'), ('b?more=1', u'of b'),
                ('c', u'of c1'), ('c', u'of c2')):
            assert received(program.url + resource) == [message]
        with pytest.raises(Rejected) as caught:
            received(program.url + 'd')
        assert caught.value.response.status_code == 404
        assert b'/a?x=***\n/b\n' in caught.value.response.body


def test_recordings_of_one_url_are_played_in_turn(path):
    write(path, (u'/', [('receive', 0, u'first')]), (u'/', [('receive', 0, u'second')]))
    with replaying(path) as program:
        assert [received(program.url) for _ in range(3)] == [[u'first'], [u'second'], [u'first']]


def test_url_chooses_recordings(path):
    write(path, (u'/a', [('receive', 0, u'of a')]), (u'/b', [('receive', 0, u'of b')]))
    with replaying(path, '--url', 'example/b') as program:
        assert received(program.url) == [u'of b']
    status, output, errors = run('replay', path, '--url', 'nothing')
    assert (status, output) == (1, b'')
    assert b'--list' in errors


def test_list_shows_what_is_in_a_file(path):
    write(path, (u'/a?token=SECRET', DIALOGUE), (u'/b', []))
    assert run('replay', '--list', path) == (0, (
        b'wss://a.example/a?token=***  3 received, 2 sent\n'
        b'wss://a.example/b  0 received, 0 sent\n'), b'')


def test_list_is_printed_in_any_locale(path):
    write(path, (u'/\u6f22', DIALOGUE))
    status, output, errors = run(
        'replay', '--list', path, env={'PYTHONIOENCODING': 'ascii:strict'})
    assert (status, errors) == (0, b'')
    assert output in (b'wss://a.example/\\u6f22  3 received, 2 sent\n',
                      u'wss://a.example/\u6f22  3 received, 2 sent\n'.encode('utf-8'))    # 2.7


def test_recordings_without_messages_are_nothing_to_play(path):
    write(path, (u'/a', DIALOGUE), (u'/b', []))
    status, output, errors = run('replay', path, '--url', '/b', '--check')
    assert (status, output) == (1, b'')
    assert b'with messages' in errors


@pytest.mark.parametrize('clients, seconds', [(0, b'1'), (1, b'5')])
def test_check_waits_for_a_client_no_longer_than_for_a_message(path, clients, seconds):
    write(path, (u'/a', [('receive', 0, u'of a')]), (u'/b', [('receive', 0, u'of b')]))
    with replaying(path, '--check', '--timeout', seconds.decode('ascii')) as program:
        if clients:
            assert received(program.url + 'a') == [u'of a']
        status, output, errors = program.finish()
    assert (status, output) == (1, b'')
    assert b'no client came within ' + seconds + b' s: ' in errors


def test_once_ends_when_each_was_played(path):
    write(path, (u'/a', [('receive', 0, u'of a')]), (u'/b', [('receive', 0, u'of b')]))
    with replaying(path, '--once') as program:
        assert received(program.url + 'b') == [u'of b']
        with connected(program.url + 'b') as client:
            with pytest.raises(WebSocketClosed) as caught:
                client.receive(PATIENCE)
            assert caught.value.code == 1013
        assert received(program.url + 'a') == [u'of a']
        assert program.finish() == (0, b'', b'')


# -- what the client sends --

def test_in_step_waits_for_the_client(path):
    write(path, (u'/', DIALOGUE))
    with replaying(path, '--in-step', '--at-once') as program, connected(program.url) as client:
        for word, answers in ((u'any', [u'subscribed']), (u'thing', [u'one', u'two'])):
            assert client.ping(PATIENCE) >= 0       # nothing comes before
            client.send_text(word)
            assert [client.receive(PATIENCE) for _ in answers] == answers


@pytest.mark.parametrize('sent, status, words', [
    ([u'subscribe', u'h\xe9'], 0, b''),
    ([u'subscribe', u'other'], 1, b"message 2 is text 'other', expected text 'h"),
    ([u'subscribe', b'h\xc3\xa9'], 1, b'message 2 is binary'),
    ([u'subscribe'], 1, b'message 2 did not come, as the connection ended'),
    ([], 1, b"message 1 did not come, as the connection ended"),
    ([u'subscribe', u'h\xe9', u'x' * 100], 1, b'2 messages were expected, and another one came')])
def test_check_compares_what_the_client_sends(path, sent, status, words):
    write(path, (u'/', DIALOGUE))
    with replaying(path, '--check', '--at-once') as program, connected(program.url) as client:
        client.send_many(sent)
        client.close()
        with pytest.raises(WebSocketClosed):
            while True:
                client.receive(PATIENCE)
        result = program.finish()
    assert result[:2] == (status, b'')
    assert result[2].startswith(b'lomond: wss://a.example/: ' + words) if words else not result[2]


def test_check_does_not_wait_forever(path):
    write(path, (u'/', DIALOGUE))
    with replaying(path, '--check', '--timeout', '0.1') as program:
        with connected(program.url) as client, pytest.raises(WebSocketClosed) as caught:
            client.receive(PATIENCE)
        status, _output, errors = program.finish()
    assert (status, caught.value.code) == (1, 1008)
    assert b'message 1 did not come within 0.1 s' in errors


def test_check_with_a_client_that_breaks_off_fails(path):
    write(path, (u'/', DIALOGUE))
    with replaying(path, '--check') as program:
        with connected(program.url):
            pass
        assert program.finish()[0] == 1


def test_what_is_recorded_passes_its_own_check(path):
    def answer(websocket):
        for event in websocket:
            if event.name == 'text':
                websocket.send_text(u'got ' + event.text)

    given = u''.join(u'line {}\n'.format(number) for number in range(50)).encode('ascii')
    with serving(answer) as server:
        recorded = run('record', server.url, path, '--count', '50', given=given)
    with replaying(path, '--check', '--at-once') as program:
        assert run(program.url, '--count', '50', given=given) == recorded
        assert program.finish() == (0, b'', b'')


# -- files of other programs --

def make_har(entries, **log):
    return json.dumps({'log': dict({'version': '1.2', 'entries': entries}, **log)}).encode('ascii')


_HTTP = {
    'startedDateTime': '2024-05-01T12:00:00.000Z', 'time': 3, '_resourceType': 'document',
    'request': {'method': 'GET', 'url': 'https://a.example/', 'headers': []},
    'response': {'status': 200, 'headers': []}}


def make_entry(url, messages, method='GET', status=101, **more):
    return dict({
        'startedDateTime': '2024-05-01T12:00:00.000Z', 'time': 3,
        'request': {'method': method, 'url': url, 'headers': []},
        'response': {'status': status, 'headers': []}, '_webSocketMessages': messages}, **more)


def make_messages(first, step):
    return [{'type': kind, 'time': first + number * step, 'opcode': opcode, 'data': data}
            for number, (kind, opcode, data) in enumerate([
                ('send', 1, 'hi'), ('receive', 1, u'h\xe9'), ('receive', 2, 'AAH/'),
                ('error', -1, 'broken')])]


#: By the manner of each writer, as it was described and seen.
FILES = {
    'Chrome': make_har([_HTTP, make_entry(
        'wss://a.example/feed', make_messages(1714564800.1234, 0.01), _resourceType='websocket',
        _initiator={'type': 'script'})], creator={'name': 'WebInspector', 'version': '537.36'}),
    'Firefox': b'\xef\xbb\xbf' + make_har([_HTTP, make_entry(
        'wss://a.example/feed', make_messages(1714564800.1234, 0.01), pageref='page_1')],
        creator={'name': 'Firefox', 'version': '128.0'}, browser={'name': 'Firefox'}),
    'mitmproxy': make_har([make_entry(
        'https://a.example/feed', make_messages(1714564800.1234, 0.01),
        _resourceType='websocket')]),
    'in milliseconds': make_har([make_entry(
        'wss://a.example/feed', make_messages(1714564800123.4, 10), _resourceType='websocket')]),
    'of a clock that began at 0': make_har([make_entry(
        'wss://a.example/feed', make_messages(0, 0.01), _resourceType='websocket')]),
    'over HTTP/2': make_har([make_entry(
        'https://a.example/feed', make_messages(1714564800.1234, 0.01), 'CONNECT', 200)]),
}


@pytest.mark.parametrize('writer', sorted(FILES))
def test_file_of_any_writer_is_replayed(tmpdir, writer):
    path = tmpdir.join('session.har')
    path.write_binary(FILES[writer])
    with replaying(str(path), '--check') as program, connected(program.url) as client:
        client.send_text(u'hi')
        assert list(client.messages()) == [u'h\xe9', b'\0\1\xff']
        assert program.finish() == (0, b'', b'')


def test_recorded_subprotocol_is_chosen(path):
    write(path, (u'/', DIALOGUE), response=Response(
        b'HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Protocol: chat\r\n\r\n'))
    with replaying(path) as program:
        with connected(program.url, protocols=['other', 'chat']) as client:
            assert client.protocol == 'chat'


@pytest.mark.parametrize('content, words', [
    (make_har([_HTTP]), b'no WebSocket messages in '), (b'{', b'is not a HAR file'),
    (b'\xff' + b'SECRET', b'is not a HAR file'),
    (None, b'could not read')])
def test_file_without_messages_is_refused(tmpdir, content, words):
    path = tmpdir.join('session.har')
    if content is not None:
        path.write_binary(content)
    status, output, errors = run('replay', str(path))
    assert (status, output) == (1, b'')
    assert words in errors and errors.count(b'\n') == 1 and b'session.har' in errors
    assert b'SECRET' not in errors


@pytest.mark.parametrize('arguments', [
    ['--speed', '0'], ['--speed', 'x'], ['--speed', '2', '--at-once'], ['--speed', '-1']])
def test_wrong_speed_is_refused(path, arguments):
    write(path, (u'/', DIALOGUE))
    assert run('replay', path, *arguments)[0] == 2
