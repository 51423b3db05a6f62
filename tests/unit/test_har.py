# -*- coding: utf-8 -*-
"""lomond.har: what is read of HAR files of lomond, of browsers, and of other programs."""

from __future__ import absolute_import, division, print_function

import io
import json

import pytest

from lomond.har import Message, read_har


def make_entry(messages, url=u'ws://a.example/feed', **more):
    entry = {
        'startedDateTime': '2024-05-01T12:00:00.250Z', 'time': 12.5, '_resourceType': 'websocket',
        'request': {'method': 'GET', 'url': url, 'headers': []},
        'response': {'status': 101, 'headers': []}, '_webSocketMessages': messages}
    entry.update(more)
    return entry


def make_message(data=u'hello', time=1714564800.5, opcode=1, kind=u'receive', **more):
    return dict({'type': kind, 'time': time, 'opcode': opcode, 'data': data}, **more)


HTTP_ENTRY = {
    'request': {'method': 'GET', 'url': 'https://a.example/'}, 'response': {'status': 200},
    '_resourceType': 'document'}


@pytest.fixture
def read(tmpdir):
    """Read a HAR with these entries."""
    def write_and_read(*entries):
        path = tmpdir.join('session.har')
        path.write_binary(json.dumps({'log': {'entries': entries}}).encode('ascii'))
        return read_har(str(path))

    return write_and_read


def test_text_is_text_and_anything_else_is_bytes(read):
    recording, = read(make_entry([
        make_message(u'h\xe9llo', kind=u'send'), make_message(u'AAH/', 1714564801.0, opcode=2),
        make_message(u'broken', 1714564801.5, opcode=-1, kind=u'error')]))
    assert recording.messages == [
        Message('send', 1714564800.5, 1, u'h\xe9llo'),
        Message('receive', 1714564801.0, 2, b'\x00\x01\xff'),
        Message('error', 1714564801.5, -1, u'broken')]


def test_recording_says_what_the_handshake_was(read):
    recording, = read(make_entry(
        [make_message()], request={
            'url': 'wss://a.example/feed?x=y',
            'headers': [{'name': 'Sec-WebSocket-Protocol', 'value': 'chat'}]},
        response={'status': 101, 'headers': [{'name': 'X-One', 'value': '1'}, {'name': 'X-Two'}]}))
    assert recording.url == u'wss://a.example/feed?x=y'
    assert recording.status == 101
    assert recording.request_headers.get('sec-websocket-protocol') == u'chat'
    assert recording.response_headers.items() == [(u'X-One', u'1'), (u'X-Two', u'')]
    assert recording.started == 1714564800.25


@pytest.mark.parametrize('date, started', [
    (u'2024-05-01T12:00:00.250Z', 1714564800.25), (u'2024-05-01T14:00:00+02:00', 1714564800),
    (u'2024-05-01T06:30:00.5-0530', 1714564800.5), (u'2024-05-01 12:00Z', 1714564800),
    (u'2024-05-01T12:00:00', 1714564800), (u'yesterday', None), (None, None), (7, None)])
def test_start_is_read_in_any_zone(read, date, started):
    assert read(make_entry([make_message()], startedDateTime=date))[0].started == started


@pytest.mark.parametrize('times', [
    [1714564800.5, 1714564801.75], [1714564800500, 1714564801750], [1714564800500.0, 1714564801750],
    [1714564800500000, 1714564801750000], [12.5, 13.75], [0, 1.25]])
def test_times_are_seconds_whatever_unit_and_clock_the_writer_used(read, times):
    recording, = read(make_entry([make_message(time=time) for time in times]))
    first, second = [message.time for message in recording.messages]
    assert second - first == pytest.approx(1.25)


def test_each_websocket_is_a_recording_and_http_is_ignored(read):
    recordings = read(
        HTTP_ENTRY, make_entry([make_message()]), make_entry([], url=u'wss://b.example/'),
        HTTP_ENTRY)
    assert [recording.url for recording in recordings] == [u'ws://a.example/feed', u'wss://b.example/']


@pytest.mark.parametrize('url, shown', [
    (u'https://a.example/feed', u'wss://a.example/feed'), (u'http://a.example/', u'ws://a.example/'),
    (u'HTTPS://a.example/', u'wss://a.example/'), (u'wss://a.example/', u'wss://a.example/')])
def test_url_of_http_is_that_of_its_websocket(read, url, shown):
    entry = make_entry([make_message()], url=url)
    entry['request']['method'] = 'CONNECT'      # over HTTP/2
    entry['response']['status'] = 200
    del entry['_resourceType']
    recording, = read(entry)
    assert (recording.url, recording.status) == (shown, 200)


def test_what_is_missing_or_unknown_in_a_message_does_no_harm(read):
    recording, = read(make_entry([
        make_message(u'one', note='x'), {'type': 'receive', 'data': 'no time, no opcode'},
        {'type': 'sent', 'time': 1714564802, 'opcode': 1.0, 'data': 'other words'},
        {'type': 'opened', 'time': 1, 'opcode': 1, 'data': ''}, {'type': 'send', 'data': 7},
        {'type': 'send', 'opcode': 2, 'data': None}, {'type': 'error', 'data': 'in words'}]))
    assert recording.messages == [
        Message('receive', 1714564800.5, 1, u'one'),
        Message('receive', 1714564800.5, 1, u'no time, no opcode'),
        Message('send', 1714564802.0, 1, u'other words'),
        Message('send', 1714564802.0, 2, b''),
        Message('error', 1714564802.0, -1, u'in words')]


@pytest.mark.parametrize('data, payload', [
    (u'AAEC', b'\0\1\2'), (u'AAE=', b'\0\1'), (u'AAE', b'\0\1'), (u'', b''),
    (u'not Base64!', b'not Base64!'), (u'\x00\xff', b'\x00\xff'), (u'\u20ac', b'\xe2\x82\xac')])
def test_binary_data_that_is_not_base64_is_taken_as_it_is(read, data, payload):
    assert read(make_entry([make_message(data, opcode=2)]))[0].messages[0].data == payload


def test_text_that_utf8_cannot_encode_is_replaced(tmpdir):
    path = tmpdir.join('session.har')
    entry = json.dumps(make_entry([make_message(u'DATA')]))
    entry = entry.replace('DATA', r'\ud83d \ude00\ud83d\ude00')
    path.write('{"log": {"entries": [' + entry + ']}}')
    assert read_har(str(path))[0].messages[0].data == u'\ufffd \ufffd\U0001f600'


def test_file_may_begin_with_a_byte_order_mark(tmpdir):
    path = tmpdir.join('session.har')
    path.write_binary(b'\xef\xbb\xbf' + json.dumps(
        {'log': {'entries': [make_entry([make_message()])]}}).encode('ascii'))
    assert len(read_har(str(path))) == 1


@pytest.mark.parametrize('entries', [
    [], [HTTP_ENTRY], [make_entry([])], [make_entry(None)],
    [make_entry([{'type': 'opened', 'data': ''}])]])
def test_file_without_messages_is_refused(read, entries):
    with pytest.raises(ValueError) as caught:
        read(*entries)
    assert 'no WebSocket messages in ' in str(caught.value)
    assert 'session.har' in str(caught.value)


@pytest.mark.parametrize('content', [
    b'', b'{', b'[]', b'{}', b'{"log": {}}', b'{"log": {"entries": [7]}}', b'\xff', b'null',
    b'{"log": {"entries": [{"_webSocketMessages": [1]}]}}',
    b'{"log": {"entries": [{"_webSocketMessages": 1, "request": {"url": "ws://a"}}]}}',
    b'{"log": {"entries": [{"_webSocketMessages": [1], "request": {"url": "ws://a"}}]}}'])
def test_file_that_is_no_har_is_refused(tmpdir, content):
    path = tmpdir.join('session.har')
    path.write_binary(content)
    with pytest.raises(ValueError) as caught:
        read_har(str(path))
    assert 'session.har' in str(caught.value)


def test_missing_file_is_an_error_of_the_system(tmpdir):
    with pytest.raises((IOError, OSError)):
        read_har(str(tmpdir.join('none.har')))


def test_path_may_be_a_path_object(tmpdir):
    pathlib = pytest.importorskip('pathlib')
    path = pathlib.Path(str(tmpdir.join('session.har')))
    with io.open(str(path), 'w', encoding='utf-8') as har:
        har.write(u'' + json.dumps({'log': {'entries': [make_entry([make_message()])]}}))
    assert len(read_har(path)) == 1
