# -*- coding: utf-8 -*-
"""lomond._har_writer: files that Chrome opens at any moment, and that show no secrets."""

from __future__ import absolute_import, division, print_function

import errno
import io
import os
import stat

import pytest

from lomond._har_writer import HarWriter, repair_file
from lomond.har import Message, read_har
from lomond.http.response import Response
from tests.har import load

REQUEST = b'GET /feed HTTP/1.1\r\nHost: a.example\r\nSec-WebSocket-Key: nonce\r\n\r\n'
READY = Response(b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nServer: x\r\n\r\n')

T = 1714564800.25


@pytest.fixture
def path(tmpdir):
    return str(tmpdir.join('session.har'))


@pytest.fixture
def writer(path):
    with HarWriter(path) as writer:
        yield writer


def begin(writer, time=T, **more):
    writer.begin(u'ws://a.example/feed', time, time + 0.5, REQUEST, READY, **more)


def test_file_is_valid_after_each_call(writer, path):
    assert load(path) == []
    for time in (T, T + 100):
        begin(writer, time)
        load(path)
        for number in range(3):
            writer.message('receive', time + number, 1, u'h\xe9 \U0001f600 "')
            assert len(load(path)[-1]['_webSocketMessages']) == number + 1
        writer.error(time + 4, u'broken')
        load(path)
        writer.end(time + 5)
        load(path)
    assert [len(entry['_webSocketMessages']) for entry in load(path)] == [4, 4]


def test_what_was_written_is_read_back(writer, path):
    begin(writer)
    writer.message('send', T + 1, 1, u'h\xe9llo \U0001f600 \u2028')
    writer.message('receive', T + 2, 2, bytearray(b'\0\xff'))
    writer.message('receive', T + 2, 1, u'')
    writer.error(T + 3, u'broken')
    writer.end(T + 3)
    recording, = read_har(path)
    assert recording.url == u'ws://a.example/feed'
    assert recording.started == T
    assert recording.status == 101
    assert recording.request_headers.get('Host') == u'a.example'
    assert recording.response_headers.items() == [(u'Upgrade', u'websocket'), (u'Server', u'x')]
    assert recording.messages == [
        Message('send', T + 1, 1, u'h\xe9llo \U0001f600 \u2028'),
        Message('receive', T + 2, 2, b'\0\xff'),
        Message('receive', T + 2, 1, u''), Message('error', T + 3, -1, u'broken')]


def test_entry_says_where_and_how_long(writer, path):
    begin(writer, address=u'::1', local_port=4711)
    writer.message('send', T + 2, 1, u'')
    entry, = load(path)
    assert entry['startedDateTime'] == '2024-05-01T12:00:00.250Z'
    assert (entry['serverIPAddress'], entry['connection']) == ('::1', '4711')
    assert entry['time'] == 2000
    assert (entry['timings']['wait'], entry['timings']['receive']) == (500, 1500)
    assert entry['response']['statusText'] == 'Switching Protocols'


def test_attempt_that_failed_is_a_valid_entry(writer, path):
    writer.begin(u'ws://a.example/', T, T + 1, error=u'connection refused')
    writer.begin(u'ws://a.example/', T + 2, T + 3, REQUEST, Response(
        b'HTTP/1.1 302 Found\r\nLocation: ws://b.example/\r\n\r\n'))
    begin(writer, T + 4)
    refused, redirected, ready = load(path)
    assert refused['response']['status'] == 0
    assert refused['response']['_error'] == 'connection refused'
    assert refused['time'] == 1000
    assert redirected['response']['redirectURL'] == 'ws://b.example/'
    assert ready['response']['status'] == 101


def test_clock_that_was_set_back_makes_no_negative_times(writer, path):
    begin(writer)
    writer.message('send', T - 100, 1, u'')
    writer.end(T - 100)
    entry, = load(path)
    assert (entry['time'], entry['timings']['receive']) == (500, 0)


def test_only_the_owner_may_read_the_file(tmpdir):
    existing = tmpdir.join('existing.har')
    existing.write('x' * 5000)
    existing.chmod(0o644)
    for path, replace in ((tmpdir.join('new.har'), False), (existing, True)):
        HarWriter(str(path), replace).close()
        assert stat.S_IMODE(os.stat(str(path)).st_mode) == 0o600
        assert load(str(path)) == []


def test_file_that_exists_is_kept(path):
    with io.open(path, 'w') as existing:
        existing.write(u'precious')
    with pytest.raises(OSError) as caught:
        HarWriter(path)
    assert caught.value.errno == errno.EEXIST
    with io.open(path) as existing:
        assert existing.read() == u'precious'


def test_what_is_no_file_is_refused():
    before = os.stat(os.devnull).st_mode
    with pytest.raises(OSError) as caught:
        HarWriter(os.devnull, replace=True)
    assert caught.value.errno == errno.EINVAL
    assert os.stat(os.devnull).st_mode == before


def test_full_disk_loses_only_what_came_too_late(path):
    resource = pytest.importorskip('resource')
    signal = pytest.importorskip('signal')
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with HarWriter(path) as writer:
            begin(writer)
            writer.message('receive', T + 1, 1, u'one')
            resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat(path).st_size + 5000, limits[1]))
            with pytest.raises(OSError) as caught:
                writer.message('receive', T + 2, 1, u'x' * 10000)
            assert caught.value.errno == errno.EFBIG
            assert len(load(path)[0]['_webSocketMessages']) == 1
            writer.message('receive', T + 3, 1, u'two')
            writer.end(T + 4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert [message['data'] for message in load(path)[0]['_webSocketMessages']] == ['one', 'two']


def test_file_cut_off_at_any_byte_of_a_write_is_read_and_can_be_repaired(path, tmpdir):
    """As the kernel may stop in the middle of a large write of a process that is killed."""
    contents = []
    with HarWriter(path) as writer:
        for write in (
                lambda: begin(writer), lambda: writer.message('send', T, 1, u'first'),
                lambda: writer.message('send', T + 1000, 1, u'second'), lambda: writer.end(T + 2),
                lambda: begin(writer, T + 10), lambda: writer.message('send', T + 10, 1, u'third')):
            write()
            contents.append(_read(path))
    cut = str(tmpdir.join('cut.har'))
    for before, after in zip(contents[1:], contents[2:]):
        expected = count_messages(before), count_messages(after)
        for length in range(len(os.path.commonprefix([before, after])), len(after), 3):
            with io.open(cut, 'wb') as har:
                har.write(after[:length] + before[length:])
            assert sum(len(recording.messages) for recording in read_har(cut)) in expected
            repair_file(cut)
            assert repair_file(cut) is False
            assert sum(len(entry['_webSocketMessages']) for entry in load(cut, False)) in expected


def count_messages(content):
    return content.count(b'"opcode"')


def _read(path):
    with io.open(path, 'rb') as har:
        return har.read()


def test_file_that_is_no_har_is_not_repaired(path):
    with io.open(path, 'w') as other:
        other.write(u'anything\n')
    with pytest.raises(ValueError):
        repair_file(path)
    assert _read(path) == b'anything\n'


def test_secret_in_any_place_of_the_handshake_is_not_in_the_file(writer, path):
    head = (
        b'GET /feed?x=SECRET HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer SECRET\r\n'
        b'Proxy-Authorization: Basic SECRET\r\nCookie: a=SECRET\r\nX-API-Key: SECRET\r\n'
        b'Sec-WebSocket-Protocol: bearer, SECRET\r\n\r\n')
    answer = (
        b'HTTP/1.1 302 Found\r\nSet-Cookie: a=SECRET; Path=/\r\n'
        b'Location: wss://me:SECRET@b.example/?y=SECRET\r\n'
        b'Sec-WebSocket-Protocol: SECRETSECRET\r\n\r\n')
    writer.begin(
        u'ws://me:SECRET@a.example/feed?x=SECRET&SECRET', T, T, head, Response(answer),
        error=u'cannot follow ws://me:SECRET@b.example/?y=SECRET')
    writer.error(T, u'no answer from http://me:SECRET@proxy.example/')
    assert b'SECRET' not in _read(path)
    entry, = load(path)
    assert entry['request']['url'] == 'ws://***@a.example/feed?x=***&***'
    assert entry['request']['queryString'] == [
        {'name': 'x', 'value': '***'}, {'name': '***', 'value': ''}]
    assert entry['response']['redirectURL'] == 'wss://***@b.example/?y=***'


def test_messages_are_written_as_they_are(writer, path):
    begin(writer)
    writer.message('send', T, 1, u'{"token": "SECRET"}')
    assert b'SECRET' in _read(path)
