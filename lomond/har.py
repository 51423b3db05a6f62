"""Reads WebSocket messages from HAR files, which browsers and ``lomond record`` save.

It opens no connection, and never changes a file. What other writers do differently is accepted:
https URLs, times in milliseconds, a file that was cut off while `lomond record` wrote it.
"""

from __future__ import absolute_import, division, print_function

import base64
import binascii
import calendar
import io
import json
import re

from lomond._compat import TYPE_CHECKING, NamedTuple, native_path, text_to_native, text_type
from lomond._describe import describe_with_type
from lomond.http.headers import Headers
from lomond.opcode import Opcode

if TYPE_CHECKING:
    from os import PathLike  # noqa: F401
    from typing import Any, Dict, Iterator, List, Optional, Text, Union  # noqa: F401

__all__ = ['Message', 'Recording', 'read_har']

#: The opcode of an error in a recording, which is no message.
ERROR = -1

#: How `lomond record` ends an entry (times in milliseconds), and a file.
END_OF_ENTRY = (
    u'\n], "time": {}, "timings": {{"blocked": -1, "dns": -1, "connect": -1, "ssl": -1, "send": 0, '
    u'"wait": {}, "receive": {}}}}}')
END_OF_FILE = u'\n]}}\n'

# A write that was cut off leaves damage at the end only: in a message or the beginning of an entry,
# and in the lines that end the entry and the file.
_DAMAGED_LINES = 5
_FILE_BEGINS = re.compile(u'\\{"log": .*"entries": \\[\\Z')
_ENTRY_ENDS = re.compile(
    re.escape(END_OF_ENTRY.format('N', 'N', 'N').strip()).replace('N', r'\d+(?:\.\d+)?') + '\\Z')

# On 2.7 a large one is a long.
_NUMBERS = (int, float, type(1 << 64))

_TYPES = {u'send': 'send', u'receive': 'receive', u'error': 'error',
          u'sent': 'send', u'received': 'receive'}
_SCHEMES = {u'http:': u'ws:', u'https:': u'wss:'}

# Of times since the epoch: more is not in seconds, but in milliseconds, or in microseconds.
_MOST_SECONDS = 1e11
_MOST_MILLISECONDS = 1e14

_DATE = re.compile(
    u'(\\d{4})-(\\d\\d)-(\\d\\d)[T ](\\d\\d):(\\d\\d)(?::(\\d\\d(?:\\.\\d+)?))?'
    u' *(?:Z|([+-])(\\d\\d):?(\\d\\d))?\\Z')

# JSON can have them, and UTF-8 can't. (A narrow build of 2.7 has pairs for other characters.)
_LONE_SURROGATE = re.compile(
    u'[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]')


#: A message, or an error: ``type``: 'send', 'receive' or 'error'; ``time`` in seconds, of which
#: only differences are certain to mean something; ``opcode``: 1 for text, 2 for binary data,
#: another one for what else a browser shows, -1 for an error; ``data``: text for 1 and -1, and
#: bytes for the rest.
Message = NamedTuple('Message', [
    ('type', str), ('time', float), ('opcode', int), ('data', 'Union[text_type, bytes]')])

#: One connection: ``url``, with the scheme ws or wss; ``started``: seconds since the epoch, or
#: None; ``request_headers`` and ``response_headers``, with the methods ``get``, ``get_list`` and
#: ``items``; ``status``: that of the response, 0 for none; ``messages``: a list of `Message`.
Recording = NamedTuple('Recording', [
    ('url', text_type), ('started', 'Optional[float]'), ('request_headers', Headers),
    ('response_headers', Headers), ('status', int), ('messages', 'List[Message]')])


def read_har(path):
    # type: (Union[text_type, str, PathLike[str]]) -> List[Recording]
    """Return the WebSocket connections of a HAR file, in their order; ignore all other requests.

    Raises ValueError, which names the file, if it isn't a HAR file or has no WebSocket messages,
    and IOError if it can't be read.
    """
    with io.open(path, 'rb') as source:
        data = source.read()
    try:
        text = data.decode('utf-8-sig')
        try:
            har = json.loads(text)
        except ValueError:
            har = json.loads(repair(text))
        entries = har['log']['entries']
        found = [_read_entry(entry) for entry in entries if _is_websocket(entry)]
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        # RuntimeError: for thousands of brackets in one another.
        # Not its repr, which has the whole file if that is not UTF-8.
        raise ValueError('{} is not a HAR file: {}'.format(
            native_path(path), text_to_native(describe_with_type(error))))
    if not any(recording.messages for recording in found):
        raise ValueError(
            'no WebSocket messages in {}: save it while the developer tools show the messages, or '
            'use `lomond record`'.format(native_path(path)))
    return found


def played(recordings):
    # type: (List[Recording]) -> List[Recording]
    """Return the recordings to play: all but those of attempts that failed, which have no message.

    A connection over HTTP/2 may have another status than 101.
    """
    return [recording for recording in recordings
            if recording.messages or recording.status == 101]


def repair(text):
    # type: (text_type) -> text_type
    """Return a file of `lomond record` without a message that was cut off when that was killed.

    Returns the same text if there is nothing to remove. Raises ValueError if it isn't such a file.
    """
    lines = text.rstrip(u' \0\n').split(u'\n')
    if not _FILE_BEGINS.match(lines[0]):
        raise ValueError('not written by lomond record, or not JSON')
    tail = max(1, len(lines) - _DAMAGED_LINES)
    while tail < len(lines) and _is_whole(lines[tail]):
        tail += 1
    if lines[tail:] == [END_OF_FILE.strip()]:
        return text
    end = u'' if tail == 1 or _ENTRY_ENDS.match(lines[tail - 1]) else END_OF_ENTRY.format(0, 0, 0)
    return u'\n'.join(lines[:tail]) + end + END_OF_FILE


def _is_whole(line):
    # type: (text_type) -> bool
    """Return whether a line begins an entry, is a message in it, or ends it."""
    if _ENTRY_ENDS.match(line):
        return True
    is_entry = line.endswith(u'[')
    try:
        item = json.loads(line.lstrip(u',') + (u']}' if is_entry else u''))
    except (ValueError, RuntimeError):
        return False
    return isinstance(item, dict) and (u'request' if is_entry else u'type') in item


def _is_websocket(entry):
    # type: (Any) -> bool
    """Return whether an entry is a WebSocket connection, by any of the signs that writers leave."""
    return '_webSocketMessages' in entry or entry.get('_resourceType') == 'websocket' \
        or entry['request']['url'].startswith(('ws:', 'wss:'))


def _read_entry(entry):
    # type: (Dict[str, Any]) -> Recording
    request, response = entry['request'], entry.get('response') or {}
    url = text_type(request['url'])
    scheme, colon, rest = url.partition(u':')
    url = _SCHEMES.get((scheme + colon).lower(), scheme + colon) + rest
    status = response.get('status')  # type: Any
    return Recording(
        url, _parse_date(entry.get('startedDateTime')), _read_headers(request),
        _read_headers(response), int(status) if _is_number(status) else 0,
        list(_read_messages(entry.get('_webSocketMessages') or ())))


def _read_headers(head):
    # type: (Dict[str, Any]) -> Headers
    return Headers([(text_type(header['name']), text_type(header.get('value') or u''))
                    for header in head.get('headers') or () if 'name' in header])


def _read_messages(items):
    # type: (Any) -> Iterator[Message]
    """Yield the messages of an entry; items that aren't any are ignored."""
    time = 0.0      # for a message without one: that of the message before
    for item in items:
        kind, data = _TYPES.get(item.get('type')), item.get('data')
        if kind is None or not isinstance(data, text_type) and data not in ('', None):
            continue
        if _is_number(item.get('time')):
            time = _to_seconds(float(item['time']))
        opcode = item.get('opcode')
        opcode = int(opcode) if _is_number(opcode) else (
            ERROR if kind == 'error' else Opcode.TEXT)
        data = text_type(data or u'')
        yield Message(
            kind, time, opcode,
            _LONE_SURROGATE.sub(u'\ufffd', data) if opcode in (Opcode.TEXT, ERROR)
            else _decode_binary(data))


def _is_number(value):
    # type: (Any) -> bool
    """Return whether this is a number, and none of those that JSON shouldn't have."""
    return isinstance(value, _NUMBERS) and not isinstance(value, bool) and abs(value) < 1e300


def _to_seconds(time):
    # type: (float) -> float
    if time > _MOST_MILLISECONDS:
        return time / 1e6
    return time / 1e3 if time > _MOST_SECONDS else time


def _decode_binary(data):
    # type: (text_type) -> bytes
    """Return the bytes of Base64, or of the text that some writers have in place of that."""
    try:
        raw = data.encode('latin-1')
    except UnicodeEncodeError:
        return _LONE_SURROGATE.sub(u'\ufffd', data).encode('utf-8')
    padding = b'=' * (-len(raw.rstrip(b'=')) % 4)       # which some writers leave out
    decoded = read_base64(raw.rstrip(b'=') + padding)
    return raw if decoded is None else decoded


def read_base64(data):
    # type: (bytes) -> Optional[bytes]
    """Return the bytes of Base64 (RFC 4648 4), or None if it isn't exactly that."""
    try:
        decoded = base64.b64decode(data)
    except (TypeError, binascii.Error):     # the former on 2.7
        return None
    # b64decode skips what isn't Base64, and may end at the first padding.
    return decoded if base64.b64encode(decoded) == data else None


def _parse_date(text):
    # type: (Any) -> Optional[float]
    """Return the seconds since the epoch of a date as in ISO 8601, or None if it isn't one."""
    match = _DATE.match(text) if isinstance(text, text_type) else None
    if match is None:
        return None
    year, month, day, hour, minute = map(int, match.group(1, 2, 3, 4, 5))
    try:
        seconds = calendar.timegm((year, month, day, hour, minute, 0)) + float(match.group(6) or 0)
    except ValueError:      # there is no such month
        return None
    if match.group(7):
        offset = 60 * (60 * int(match.group(8)) + int(match.group(9)))
        seconds -= offset if match.group(7) == u'+' else -offset
    return seconds
