"""What ``lomond record`` writes of a conversation: events, and what is sent, into a HAR file.

It shows and sends nothing. Any thread may report what it sends.
"""

from __future__ import absolute_import, division, print_function

import threading
import time

from lomond._compat import TYPE_CHECKING, decode_utf8, native_to_text
from lomond.opcode import Opcode

if TYPE_CHECKING:
    from typing import Any, Callable, Optional, Text  # noqa: F401

    from lomond._har_writer import HarWriter  # noqa: F401
    from lomond.cli.formats import Message  # noqa: F401
    from lomond.websocket import WebSocket  # noqa: F401

__all__ = ['Recorder']


class Recorder(object):
    """Writes one connection after another.

    If ``writer`` can't write the file, nothing more is recorded, and ``failure`` says why.
    """

    def __init__(self, writer):
        # type: (HarWriter) -> None
        self._writer = writer
        self.failure = None  # type: Optional[Text]
        self._lock = threading.Lock()
        self._url = u''
        self._started = 0.0
        self._head = b''        # of the request
        self._is_written = False   # whether this attempt has an entry

    def trace(self, record):
        # type: (Any) -> None
        """Take the request into account: the ``trace`` of the WebSocket."""
        if record['stage'] == 'request':
            self._head = record['redacted_head']

    def observe(self, websocket, event):
        # type: (WebSocket, Any) -> None
        """Write what an event says."""
        name, when = event.name, event.received_time
        if name == 'connecting':
            self._url, self._started, self._head, self._is_written = event.url, when, b'', False
        elif name == 'ready':
            self._begin(websocket, when, event.response)
        elif name == 'text':
            self._write('receive', when, Opcode.TEXT, event.text)
        elif name == 'binary':
            self._write('receive', when, Opcode.BINARY, event.data)
        elif name in ('redirected', 'rejected', 'connect_fail'):
            self._begin(websocket, when, getattr(event, 'response', None),
                        getattr(event, 'reason', None))
            self._try(lambda writer: writer.end(when))
        elif name == 'protocol_error':
            self._write_error(when, event.error)
        elif name == 'unresponsive':
            self._write_error(when, u'the server is unresponsive')
        elif name == 'disconnected':
            self._end(websocket, event)

    def _end(self, websocket, event):
        # type: (WebSocket, Any) -> None
        when = event.received_time
        if not self._is_written:       # it ended before there was a response
            self._begin(websocket, when, error=event.reason)
        elif not event.graceful:
            self._write_error(when, event.reason)
        self._try(lambda writer: writer.end(when))

    def send(self, message):
        # type: (Message) -> None
        """Write a message that is about to be sent: before that, as its answer may come sooner."""
        if message.opcode == Opcode.TEXT:
            self._write('send', time.time(), Opcode.TEXT, decode_utf8(message.data))
        elif message.opcode == Opcode.BINARY:
            self._write('send', time.time(), Opcode.BINARY, message.data)

    def close(self):
        # type: () -> None
        """Close the file."""
        with self._lock:
            self._writer.close()

    def _begin(self, websocket, when, response=None, error=None):
        # type: (WebSocket, float, Any, Optional[Text]) -> None
        self._is_written = True
        address, port = _places(websocket)
        self._try(lambda writer: writer.begin(
            self._url, self._started, when, self._head, response,
            None if error is None else native_to_text(error), address, port))

    def _write(self, kind, when, opcode, data):
        # type: (str, float, int, Any) -> None
        self._try(lambda writer: writer.message(kind, when, opcode, data))

    def _write_error(self, when, words):
        # type: (float, Text) -> None
        self._try(lambda writer: writer.error(when, native_to_text(words)))

    def _try(self, write):
        # type: (Callable[[HarWriter], Any]) -> None
        with self._lock:
            if self.failure is not None:
                return
            try:
                write(self._writer)
            except EnvironmentError as error:
                self.failure = u'could not write the recording: {}'.format(
                    native_to_text(error.strerror))


def _places(websocket):
    # type: (WebSocket) -> Any
    """Return the server's IP address and the local port of a connection, or None for each."""
    peer, local = websocket.peer_address, websocket.local_address
    return (
        native_to_text(peer[0]) if isinstance(peer, tuple) else None,
        local[1] if isinstance(local, tuple) and isinstance(peer, tuple) else None)
