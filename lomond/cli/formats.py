"""Messages as bytes in files and pipes: lines, with NUL, as hex or base64, or as lines of JSON.

It reads and writes nothing, and has nothing for terminals but JSON in several lines.
"""

from __future__ import absolute_import, division, print_function

import base64
import binascii
import json
import re

from lomond._compat import TYPE_CHECKING, NamedTuple, decode_utf8, encode_text, text_type
from lomond.har import read_base64
from lomond.opcode import Opcode
from lomond.protocol.frame import MAX_CONTROL_PAYLOAD

if TYPE_CHECKING:
    from typing import Any, Iterator, List, Optional, Text  # noqa: F401

__all__ = [
    'BINARY', 'MAX_RECORD', 'Message', 'Records', 'decode_binary', 'encode_binary', 'format_json',
    'read_item', 'text_of']

#: How binary data is written as text.
BINARY = ('hex', 'base64', 'raw')

#: The longest line that is read, in bytes (1 GiB).
MAX_RECORD = 1024 * 1024 * 1024

#: What is sent or was received: the opcode, and bytes; those of a text are UTF-8.
Message = NamedTuple('Message', [('opcode', int), ('data', bytes)])


class Records(object):
    """Splits a stream of bytes at a separator."""

    def __init__(self, separator=b'\n'):
        # type: (bytes) -> None
        self._separator = separator
        self._pieces = []  # type: List[bytes]
        self._size = 0

    def feed(self, data):
        # type: (bytes) -> Iterator[bytes]
        """Yield the records that these bytes complete; raises ValueError for one too long."""
        records = data.split(self._separator)
        for record in records[:-1]:
            self._pieces.append(record)
            yield self._join()
        self._pieces.append(records[-1])
        self._size += len(records[-1])
        if self._size > MAX_RECORD:
            raise ValueError('a line of more than {} bytes'.format(MAX_RECORD))

    def finish(self):
        # type: () -> Optional[bytes]
        """Return the last record if no separator ends it, or None."""
        return self._join() or None

    def _join(self):
        # type: () -> bytes
        record = b''.join(self._pieces)
        self._pieces, self._size = [], 0
        return record


def encode_binary(data, how):
    # type: (bytes, str) -> bytes
    """Return bytes written as ``how`` says, one of `BINARY`."""
    if how == 'raw':
        return data
    return binascii.hexlify(data) if how == 'hex' else base64.b64encode(data)


def decode_binary(data, how):
    # type: (bytes, str) -> bytes
    """Return the bytes that are written so; raises ValueError, which shows none of them."""
    if how == 'raw':
        return data
    data = b''.join(data.split())
    decoded = _read_hex(data) if how == 'hex' else read_base64(data)
    if decoded is None:
        raise ValueError('it is not {}'.format(how))
    return decoded


def _read_hex(data):
    # type: (bytes) -> Optional[bytes]
    try:
        return binascii.unhexlify(data)
    except (binascii.Error, TypeError):     # the latter on 2.7
        return None


def read_item(item):
    # type: (Any) -> Optional[Message]
    """Return the message that such an object says to send, or None if it was received.

    Only ``data`` is needed: ``opcode`` is 1 without it. Raises ValueError.
    """
    if not isinstance(item, dict) or not isinstance(item.get('data'), text_type):
        raise ValueError('it is not a JSON object with "data", a string')
    if item.get('type', 'send') != 'send':
        return None
    opcode, data = item.get('opcode', Opcode.TEXT), item['data']
    if opcode == Opcode.TEXT:
        return Message(Opcode.TEXT, encode_text(data))
    if opcode not in (Opcode.BINARY, Opcode.PING, Opcode.PONG):
        raise ValueError('its opcode is not 1 (text), 2 (binary), 9 (ping) or 10 (pong)')
    payload = decode_binary(encode_text(data), 'base64')
    if opcode != Opcode.BINARY and len(payload) > MAX_CONTROL_PAYLOAD:
        raise ValueError('a ping or pong has 125 bytes at most')
    return Message(opcode, payload)


# Further in, lines are indented no more: brackets in one another would make it far too long.
_DEEPEST = 40

# A string, a bracket, comma or colon, or any other value: what comes between is white space.
_TOKEN = re.compile(u'"(?:[^"\\\\]|\\\\.)*"|[\\[\\]{},:]|[^\\s\\[\\]{},:"]+')


def format_json(text, indent=None):
    # type: (Text, Optional[int]) -> Text
    """Return JSON on one line, or indented; text that isn't JSON unchanged.

    Numbers, strings and the order of keys stay as they were written.
    """
    try:
        json.loads(text)
    except (ValueError, RuntimeError):      # RuntimeError: for thousands of brackets in one another
        return text
    tokens = _TOKEN.findall(text)
    return u''.join(tokens) if indent is None else u''.join(_indent(tokens, indent))


def _indent(pieces, indent):
    # type: (List[Text], int) -> Iterator[Text]
    depth = 0       # of brackets
    for index, piece in enumerate(pieces):
        before = pieces[index - 1] if index else u''
        if piece in u']}':
            depth -= 1
        is_empty = before in (u'[', u'{') and piece in (u']', u'}')
        if not is_empty and (before in (u'[', u'{', u',') or piece in (u']', u'}')):
            yield u'\n' + u' ' * (indent * min(depth, _DEEPEST))
        yield piece + u' ' if piece == u':' else piece
        if piece in u'[{':
            depth += 1


def text_of(data):
    # type: (bytes) -> Text
    """Return the text of UTF-8; raises ValueError, which says what to do."""
    try:
        return decode_utf8(data)
    except UnicodeDecodeError:
        raise ValueError('it is not UTF-8: to send bytes, use --binary raw')
