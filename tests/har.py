"""A server to be recorded, and the rules by which Chrome's developer tools open a HAR file.

What breaks a rule makes Chrome refuse the whole file; a message that breaks one isn't shown.
"""

from __future__ import absolute_import, division, print_function

import io
import json
import re

import six

_ISO_DATE = re.compile(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d)\Z')


def answer(websocket):
    """Answer each message; a handler of `Server`."""
    for event in websocket:
        if event.name == 'text':
            websocket.send_text(u'got ' + event.text)
        elif event.name == 'binary':
            websocket.send_binary(event.data)


def load(path, shows_all=True):
    """Return the entries of a file that Chrome opens without an error, and shows whole.

    Without ``shows_all`` there may be messages that Chrome leaves out: these are removed.
    """
    with io.open(path, encoding='utf-8') as har:
        log = json.load(har)['log']
    assert log['version'] == '1.2'
    _check_texts(log['creator'], 'name', 'version')
    assert isinstance(log['pages'], list)
    for entry in log['entries']:
        if not shows_all:
            entry['_webSocketMessages'] = [
                message for message in entry['_webSocketMessages'] if 'type' in message]
        check_entry(entry)
    return log['entries']


def check_entry(entry):
    """Assert that an entry has what Chrome demands, and what it shows as a WebSocket."""
    assert entry['_resourceType'] == 'websocket'
    assert _ISO_DATE.match(entry['startedDateTime']), entry['startedDateTime']
    _check_numbers(entry, 'time')
    assert isinstance(entry['cache'], dict)
    _check_request(entry['request'])
    _check_response(entry['response'])
    _check_numbers(entry['timings'], 'blocked', 'dns', 'connect', 'ssl', 'send', 'wait', 'receive')
    if 'connection' in entry:
        _check_texts(entry, 'connection', 'serverIPAddress')
        assert '[' not in entry['serverIPAddress']
    for message in entry['_webSocketMessages']:
        check_message(message)


def _check_request(request):
    _check_texts(request, 'method', 'url', 'httpVersion')
    assert request['url'].startswith(('ws://', 'wss://'))
    _check_pairs(request, 'headers', 'queryString', 'cookies')
    _check_numbers(request, 'headersSize', 'bodySize')


def _check_response(response):
    _check_numbers(response, 'status', 'headersSize', 'bodySize')
    _check_texts(response, 'statusText', 'httpVersion', 'redirectURL')
    _check_pairs(response, 'headers', 'cookies')
    _check_numbers(response['content'], 'size')
    _check_texts(response['content'], 'mimeType')


def check_message(message):
    """Assert that Chrome shows a message."""
    assert message['type'] in ('send', 'receive', 'error')
    _check_numbers(message, 'time', 'opcode')
    _check_texts(message, 'data')


def _check_numbers(where, *names):
    for name in names:
        value = where[name]
        assert isinstance(value, (int, float)) and not isinstance(value, bool), (name, value)
        assert value == value and abs(value) != float('inf'), name


def _check_texts(where, *names):
    for name in names:
        assert isinstance(where[name], six.text_type), (name, where[name])


def _check_pairs(where, *names):
    for name in names:
        assert isinstance(where[name], list), name
        for pair in where[name]:
            _check_texts(pair, 'name', 'value')
