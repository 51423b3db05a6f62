"""The frames of a connection, for ``-vv``: a line for each, without its payload.

It copies what passes the transport, and changes nothing. It checks nothing: the decoder does.
"""

from __future__ import absolute_import, division, print_function

import struct

from lomond._compat import TYPE_CHECKING, to_bytes
from lomond.opcode import Opcode

if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, Text  # noqa: F401

__all__ = ['FrameHeads', 'watch_frames']

_LENGTHS = {126: ('!H', 2), 127: ('!Q', 8)}


class FrameHeads(object):
    """Describes each frame in a stream of bytes (RFC 6455 5.2), as soon as its head is there.

    Parameters: ``is_open``, False if the answer to the handshake comes first: then call `open`.
    """

    def __init__(self, is_open=True):
        # type: (bool) -> None
        self._is_open = is_open
        self._head = b''        # not whole; before `open`, all that has come
        self._payload = 0       # bytes of a payload that come before the next head

    def feed(self, data):
        # type: (bytes) -> Iterator[Text]
        """Yield a description of each frame whose head these bytes complete."""
        if not self._is_open:
            self._head += data
            return
        if self._payload >= len(data):
            self._payload -= len(data)
            return
        data, self._payload = self._head + data[self._payload:], 0
        while True:
            size = _head_size(data)
            if size is None:
                break
            length = _payload_length(data)
            yield _describe(bytearray(data[:2]), length)
            self._payload = max(0, size + length - len(data))
            data = data[size + length:]
        self._head = data


    def open(self, response):
        # type: (bytes) -> Iterator[Text]
        """Begin with what has come after the head of the response; yield as `feed`."""
        data, self._head, self._is_open = self._head, b'', True
        return self.feed(data.partition(response)[2])


def _head_size(data):
    # type: (bytes) -> Any
    """Return the size of the frame's head, or None if it isn't complete."""
    if len(data) < 2:
        return None
    second = bytearray(data[1:2])[0]
    size = 2 + _LENGTHS.get(second & 0x7f, ('', 0))[1] + (4 if second & 0x80 else 0)
    return size if len(data) >= size else None


def _payload_length(data):
    # type: (bytes) -> int
    length = bytearray(data[1:2])[0] & 0x7f
    if length not in _LENGTHS:
        return length
    layout, size = _LENGTHS[length]
    return struct.unpack(layout, data[2:2 + size])[0]   # type: ignore[no-any-return]


def _describe(head, length):
    # type: (bytearray, int) -> Text
    first, second = head
    words = [Opcode.to_str(first & 15).lower(), u'{} bytes'.format(length)]
    if not first & 0x80:
        words.append(u'not final')
    for bit, name in ((0x40, u'rsv1'), (0x20, u'rsv2'), (0x10, u'rsv3')):
        if first & bit:
            words.append(name)
    if second & 0x80:
        words.append(u'masked')
    return u', '.join(words)


def watch_frames(transport, show):
    # type: (Any, Callable[[Text], Any]) -> Callable[[bytes], None]
    """Have ``show`` called with a line for each frame that a transport sends and receives.

    Parameters: ``transport``, a `lomond.net.transport.Transport` whose request was sent. Returns
    the function to call with the head of the response, once it is known: frames follow that.
    """
    received, sent = FrameHeads(is_open=False), FrameHeads()

    def begin(response):
        # type: (bytes) -> None
        for line in received.open(response):
            show(u'< ' + line)

    def report(mark, heads, data):
        # type: (Text, FrameHeads, Any) -> None
        for line in heads.feed(to_bytes(data)):
            show(u'{} {}'.format(mark, line))

    def receiving(method):
        # type: (Callable[..., Any]) -> Callable[..., Any]
        def receive(*arguments):
            # type: (*Any) -> Any
            data = method(*arguments)
            if data:
                report(u'<', received, data)
            return data

        return receive

    def send(data, timeout):
        # type: (bytes, Any) -> None
        report(u'>', sent, data)
        plain_send(data, timeout)

    def send_pieces(pieces, size, timeout):
        # type: (Any, int, Any) -> None
        plain_send_pieces(reported(pieces), size, timeout)

    def reported(pieces):
        # type: (Any) -> Iterator[Any]
        for piece in pieces:
            report(u'>', sent, piece)
            yield piece

    plain_send, plain_send_pieces = transport.send, transport.send_pieces
    transport.receive = receiving(transport.receive)
    transport.take_read_ahead = receiving(transport.take_read_ahead)
    transport.send, transport.send_pieces = send, send_pieces
    return begin
