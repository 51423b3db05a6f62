"""Writes WebSocket connections into a HAR file, as Chrome's developer tools save and open it.

The file is valid at any moment: each message is written together with the lines that end the file,
in one call. It keeps nothing in memory, opens no connection, and hides the secrets of the
handshake, but not those in messages.
"""

from __future__ import absolute_import, division, print_function

import base64
import errno
import json
import os
import stat
import time as clock

from lomond._compat import TYPE_CHECKING, text_type
from lomond.constants import USER_AGENT
from lomond.har import END_OF_ENTRY, END_OF_FILE, ERROR, repair
from lomond.http.redact import redact_head, redact_text, redact_url

if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Text, Union  # noqa: F401

    from lomond._messages import BytesLike  # noqa: F401
    from lomond.http.response import Response  # noqa: F401

# Without O_BINARY Windows writes \r\n.
_FLAGS = os.O_WRONLY | os.O_CREAT | getattr(os, 'O_BINARY', 0) | getattr(os, 'O_CLOEXEC', 0) \
    | getattr(os, 'O_NONBLOCK', 0)      # without it the open of a FIFO waits for a reader


class HarWriter(object):
    """A HAR file that is being written; a context manager.

    Parameters: ``path``; ``replace``: whether to overwrite a file that exists. Only its owner may
    read the file (mode 0600). The constructor and all methods raise OSError if the file can't be
    written, such as for a full disk; then it still holds, valid, what was written before.
    """

    def __init__(self, path, replace=False):
        # type: (Text, bool) -> None
        self._place = 0         # where the text begins that ends the file
        self._end = u''         # that text
        self._entries = 0
        self._messages = 0      # of the open entry
        self._began = None  # type: Optional[float]     # when that began, None without one
        self._ready = 0.0
        self._last = 0.0        # when its last message came
        self._descriptor = os.open(path, _FLAGS | (0 if replace else os.O_EXCL), 0o600)
        try:
            if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                raise OSError(errno.EINVAL, 'not a regular file', path)
            if hasattr(os, 'fchmod'):
                os.fchmod(self._descriptor, 0o600)
            os.ftruncate(self._descriptor, 0)
            name, _slash, version = USER_AGENT.partition('/')
            self._write(
                u'{{"log": {{"version": "1.2", "creator": {}, "pages": [], "entries": ['.format(
                    _dump({'name': name, 'version': version})), END_OF_FILE)
        except BaseException:
            self.close()
            raise

    def begin(self, url, started, ready, request_head=b'', response=None, error=None, address=None,
              local_port=None):
        # type: (Text, float, float, bytes, Optional[Response], Optional[Text], Optional[Text], Optional[int]) -> None
        """Begin the entry of a connection, or of an attempt that failed; end the one before.

        Parameters: ``started`` and ``ready``: when the attempt began, and when it succeeded or
        failed, in seconds since the epoch; ``request_head``: the bytes that were sent, or none;
        ``response``; ``error``: why there is no connection; ``address`` and ``local_port`` of the
        connection.
        """
        self.end(self._last)
        entry = _make_entry(url, started, request_head, response, error)
        if address is not None:
            entry['serverIPAddress'] = address
        if local_port is not None:
            entry['connection'] = text_type(local_port)
        self._began, self._ready, self._messages = started, ready, 0
        self._write(u'\n{}{}, "_webSocketMessages": ['.format(
            u',' if self._entries else u'', _dump(entry)[:-1]), self._end_of_entry(ready))
        self._entries += 1

    def message(self, kind, time, opcode, data):
        # type: (str, float, int, Union[Text, BytesLike]) -> None
        """Add a message to the open entry; without one, do nothing.

        Parameters: ``kind``: 'send', 'receive' or 'error'; ``time``: seconds since the epoch;
        ``opcode``; ``data``: text, or bytes.
        """
        if self._began is None:
            return
        item = make_item(kind, time, opcode, data)
        self._write(
            u'\n{}{}'.format(u',' if self._messages else u'', _dump(item)),
            self._end_of_entry(time))
        self._messages += 1

    def error(self, time, words):
        # type: (float, Text) -> None
        """Add an error to the messages of the open entry."""
        self.message('error', time, ERROR, redact_text(words))

    def end(self, time):
        # type: (float) -> None
        """End the open entry, if there is one; ``time``: when the connection ended."""
        if self._began is not None:
            self._write(self._end_of_entry(time)[:-len(END_OF_FILE)], END_OF_FILE)
            self._began = None

    def close(self):
        # type: () -> None
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self):
        # type: () -> HarWriter
        return self

    def __exit__(self, *_exc_info):
        # type: (*Any) -> None
        self.close()

    def _end_of_entry(self, time):
        # type: (float) -> Text
        """Return what ends the open entry, whose last message came at ``time``, and the file."""
        self._last = time
        began = self._began or 0.0
        wait = max(self._ready - began, 0.0)
        receive = max(time - began - wait, 0.0)
        milliseconds = [round(1000 * seconds, 3) for seconds in (wait + receive, wait, receive)]
        return END_OF_ENTRY.format(*milliseconds) + END_OF_FILE

    def _write(self, text, end):
        # type: (Text, Text) -> None
        """Put a text before the end of the file, and a new end after it."""
        # What ended the file before may have been longer. All of this is ASCII.
        data = text + end + u' ' * (len(self._end) - len(text + end))
        try:
            self._write_at(self._place, data)
        except BaseException:
            self._write_at(self._place, self._end)      # there is space for that
            os.ftruncate(self._descriptor, self._place + len(self._end))
            raise
        self._place += len(text)
        self._end = data[len(text):]

    def _write_at(self, place, text):
        # type: (int, Text) -> None
        data = text.encode('ascii')
        os.lseek(self._descriptor, place, os.SEEK_SET)
        while data:
            data = data[os.write(self._descriptor, data):]


def make_item(kind, time, opcode, data):
    # type: (str, float, int, Union[Text, BytesLike]) -> Dict[str, Any]
    """Return a message as ``_webSocketMessages`` has it; bytes become base64.

    Parameters: as for `HarWriter.message`.
    """
    if not isinstance(data, text_type):
        data = base64.b64encode(data).decode('ascii')
    return {'type': kind, 'time': round(time, 6), 'opcode': int(opcode), 'data': data}


def repair_file(path):
    # type: (Text) -> bool
    """Remove a message from a file that was cut off when its writer was killed.

    Returns whether there was something to remove. Raises ValueError if it isn't a HAR file, and
    OSError.
    """
    with open(path, 'rb+') as har:
        text = har.read().decode('utf-8', 'replace')
        repaired = repair(text)
        if repaired == text:
            return False
        har.seek(0)
        har.write(repaired.encode('utf-8'))
        har.truncate()
    return True


def _make_entry(url, started, request_head, response, error):
    # type: (Text, float, bytes, Optional[Response], Optional[Text]) -> Dict[str, Any]
    """Return an entry without messages and times (HAR 1.2, and what Chrome adds)."""
    url = redact_url(url)
    answer = {
        'status': 0, 'statusText': u'', 'httpVersion': u'', 'headers': [], 'cookies': [],
        'content': {'size': 0, 'mimeType': 'x-unknown'}, 'redirectURL': u'', 'headersSize': -1,
        'bodySize': -1, '_transferSize': 0, '_error': None if error is None else redact_text(error),
    }  # type: Dict[str, Any]
    if response is not None:
        headers = _list_headers(response.raw)
        answer.update({
            'status': response.status_code, 'statusText': response.status,
            'httpVersion': response.http_ver, 'headers': headers,
            'redirectURL': u''.join([header['value'] for header in headers
                                     if header['name'].lower() == u'location'][:1]),
            'headersSize': len(response.raw), '_transferSize': len(response.raw)})
        answer['content']['size'] = len(response.body)
    return {
        '_resourceType': 'websocket', 'startedDateTime': _format_date(started),
        'cache': {}, 'response': answer,
        'request': {
            'method': 'GET', 'url': url, 'httpVersion': 'HTTP/1.1',
            'headers': _list_headers(request_head), 'queryString': _list_query(url),
            'cookies': [], 'headersSize': len(request_head) or -1, 'bodySize': 0}}


def _list_headers(head):
    # type: (bytes) -> List[Dict[str, Text]]
    """Return the headers of a head without the secrets in them."""
    lines = redact_head(head).decode('latin-1').split(u'\n')[1:]
    pairs = [line.strip(u'\r').partition(u':') for line in lines]
    return [{'name': name, 'value': value.strip()} for name, colon, value in pairs if colon]


def _list_query(url):
    # type: (Text) -> List[Dict[str, Text]]
    """Return the parameters of a URL whose secrets are hidden already."""
    query = url.partition(u'#')[0].partition(u'?')[2]
    pairs = [parameter.partition(u'=') for parameter in query.split(u'&') if parameter]
    return [{'name': name, 'value': value} for name, _equals, value in pairs]


def _format_date(time):
    # type: (float) -> Text
    milliseconds = int(time * 1000)
    return u'{}.{:03}Z'.format(
        clock.strftime('%Y-%m-%dT%H:%M:%S', clock.gmtime(milliseconds // 1000)),
        milliseconds % 1000)


def _dump(value):
    # type: (Any) -> Text
    return text_type(json.dumps(value, sort_keys=True))
