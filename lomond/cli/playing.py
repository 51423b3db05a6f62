"""``lomond replay``: what one client gets of a recording, and what it should send.

It reads no file, and chooses no recording.
"""

from __future__ import absolute_import, division, print_function

from collections import deque

from lomond._compat import TYPE_CHECKING, encode_text, monotonic, text_type
from lomond.errors import WebSocketClosed, WebSocketError, WebSocketTimeout
from lomond.events import EVENT_SIZE
from lomond.opcode import Opcode

if TYPE_CHECKING:
    from typing import Any, Deque, List, Optional, Text, Union  # noqa: F401

    from lomond.har import Message, Recording  # noqa: F401
    from lomond.server import ServerWebSocket  # noqa: F401

__all__ = ['Difference', 'play']

_SHOWN = 80

# Bytes that a client may be ahead of the recording.
_MOST_RECEIVED = 64 * 1024 * 1024


class Difference(WebSocketError):
    """What a client sent isn't what was recorded, or it didn't send it."""


def play(websocket, recording, speed=1.0, waits=False, checks=False, patience=None):
    # type: (ServerWebSocket, Recording, Optional[float], bool, bool, Optional[float]) -> None
    """Send what was received in a recording.

    Parameters: ``speed``: how many times as fast, None for at once; ``waits``: whether to wait for
    a message of the client where the recording has one; ``checks``: whether to compare these, for
    which it waits as well; ``patience``: for how many seconds, None for no limit.

    Raises `Difference` if ``checks``, or if the client is far ahead, and WebSocketError if the
    connection ends before.
    """
    player = _Player(websocket, speed, waits or checks)
    number = 0      # of the client's message
    for message in recording.messages:
        if message.opcode not in (Opcode.TEXT, Opcode.BINARY) or message.type == 'error':
            continue        # nothing that a program sends or receives
        if message.type == 'receive':
            player.send_at(message)
        elif checks:
            number += 1
            player.expect(message, number, patience)
        elif waits:
            player.receive(message, None)
    if checks:
        player.expect_no_more(number)


class _Player(object):
    """The pace of a recording: the time of a message counts from that of the last one."""

    def __init__(self, websocket, speed, keeps):
        # type: (ServerWebSocket, Optional[float], bool) -> None
        self._websocket = websocket
        self._speed = speed
        self._keeps = keeps     # whether what the client sends matters
        self._due = monotonic()
        self._time = None  # type: Optional[float]      # of the last message, in the recording
        self._received = deque()  # type: Deque[Any]    # what came while it waited
        self._size = 0      # of those, in bytes

    def send_at(self, message):
        # type: (Message) -> None
        """Send a message when it is due; receive meanwhile."""
        if self._speed is not None and self._time is not None:
            self._due += max(0.0, message.time - self._time) / self._speed
        self._time = message.time
        self._receive_until(self._due)
        if message.opcode == Opcode.TEXT:
            self._websocket.send_text(message.data)     # type: ignore[arg-type]
        else:
            self._websocket.send_binary(message.data)   # type: ignore[arg-type]

    def receive(self, message, patience):
        # type: (Message, Optional[float]) -> Any
        """Return the client's next message; the next ones of the recording are due after it."""
        if self._received:
            sent = self._received.popleft()
            self._size -= EVENT_SIZE + len(sent)
        else:
            sent = self._websocket.receive(patience)
        self._due, self._time = monotonic(), message.time
        return sent

    def expect(self, message, number, patience):
        # type: (Message, int, Optional[float]) -> None
        """Receive the client's next message; raise `Difference` if it is another one."""
        try:
            sent = self.receive(message, patience)
        except WebSocketTimeout:
            raise Difference(u'message {} did not come within {} s: expected {}'.format(
                number, patience, _show(message.data)))
        except WebSocketClosed as error:
            raise Difference(u'message {} did not come, as the connection ended ({}): expected {}'
                             .format(number, error, _show(message.data)))
        if isinstance(sent, text_type) != isinstance(message.data, text_type) \
                or sent != message.data:
            raise Difference(u'message {} is {}, expected {}'.format(
                number, _show(sent), _show(message.data)))

    def _receive_until(self, due):
        # type: (float) -> None
        left = due - monotonic()
        while left > 0:
            try:
                message = self._websocket.receive(left)
            except WebSocketTimeout:
                return
            if self._keeps:
                self._received.append(message)
                self._size += EVENT_SIZE + len(message)
                if self._size > _MOST_RECEIVED:
                    raise Difference(u'the client is more than 64 MiB ahead of the recording')
            left = due - monotonic()

    def expect_no_more(self, count):
        # type: (int) -> None
        """Close, and raise `Difference` if the client has sent another message."""
        self._websocket.close()
        more = list(self._received)[:1]
        while not more:
            try:
                more.append(self._websocket.receive())
            except WebSocketError:
                return
        raise Difference(u'{} messages were expected, and another one came: {}'.format(
            count, _show(more[0])))


def _show(data):
    # type: (Union[Text, bytes]) -> Text
    """Return a message in a few words."""
    kind = u'text' if isinstance(data, text_type) else u'binary'
    size = len(encode_text(data)) if isinstance(data, text_type) else len(data)
    words = u'{!r}'.format(data[:_SHOWN])
    if words.startswith(u'u'):      # 2.7
        words = words[1:]
    return u'{} {}{}'.format(kind, words.lstrip(u'b'), u'... ({} bytes)'.format(size)
                             if len(data) > _SHOWN else u'')
