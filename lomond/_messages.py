"""Messages as users give them to `send_*`, to payloads: types, UTF-8, JSON.

Sends nothing, and makes no frames.
"""

from __future__ import absolute_import, division, print_function

import json
from functools import partial

from lomond._compat import (
    TYPE_CHECKING,
    Utf8Decoder,
    decode_utf8,
    encode_utf8,
    surrogate_error,
    text_type,
    to_bytes,
)
from lomond.opcode import Opcode
from lomond.protocol.frame import MAX_CONTROL_PAYLOAD, PIECE

if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, Iterator, Optional, Tuple, Union  # noqa: F401

    from lomond._options import JSONDumps  # noqa: F401

    BytesLike = Union[bytes, bytearray, memoryview]

# What is read from a file at once, in bytes or characters.
_CHUNK = 64 * 1024

# RFC 8259 6: JSON has no NaN and no Infinity, but by default Python's encoder writes them.
_dumps = json.JSONEncoder(allow_nan=False).encode


def message_of(method, message):
    # type: (str, Union[text_type, BytesLike]) -> Tuple[int, bytes]
    """Return the opcode and payload of a message; ``method`` is for the words of a TypeError."""
    if not isinstance(message, text_type):
        if not isinstance(message, (bytes, bytearray, memoryview)):
            raise _wrong_type(method, 'text, bytes, bytearray or memoryview', message)
        return Opcode.BINARY, to_bytes(message)
    try:
        return Opcode.TEXT, encode_utf8(message)
    except UnicodeEncodeError:
        raise surrogate_error(message)


def text_parts(texts):
    # type: (Any) -> Iterator[bytes]
    """Return an iterator over the UTF-8 of texts, without empty ones; TypeError for no iterable."""
    if isinstance(texts, (list, tuple)) and not all(
            isinstance(text, text_type) for text in texts):
        raise _wrong_type('send_text', text_type.__name__, texts)   # before anything is sent
    items = _items('send_text', text_type.__name__, texts)
    return (part for part in (
        text_payload('an iterable for send_text', text) for text in items) if part)


def text_payload(method, text):
    # type: (str, Any) -> bytes
    """Return the payload of a text; raises TypeError, ValueError. ``method`` is for their words."""
    if not isinstance(text, text_type):
        raise _wrong_type(method, text_type.__name__, text)
    try:
        return encode_utf8(text)
    except UnicodeEncodeError:
        raise surrogate_error(text)


def binary_parts(items):
    # type: (Any) -> Iterator[bytes]
    """Return an iterator over bytes, without empty ones; TypeError for no iterable."""
    if isinstance(items, (list, tuple)):
        for data in items:
            check_bytes('send_binary', data)        # before anything is sent
    items = _items('send_binary', 'bytes, bytearray or memoryview', items)
    return (part for part in (
        check_bytes('an iterable for send_binary', data) for data in items) if part)


def _items(method, wanted, items):
    # type: (str, str, Any) -> Iterable[Any]
    if callable(getattr(items, 'read', None)):
        return iter(partial(_read, items), None)
    if isinstance(items, (dict, bytes, bytearray, memoryview, text_type)) \
            or not hasattr(items, '__iter__'):
        raise _wrong_type(method, wanted + ', or an iterable of these', items)
    return items    # type: ignore[no-any-return]


def _read(source):
    # type: (Any) -> Any
    chunk = source.read(_CHUNK)
    if isinstance(chunk, text_type) and u'\ud800' <= chunk[-1:] <= u'\udbff':
        chunk += source.read(1)     # a narrow build of 2.7 has pairs for one character
    if chunk is None:
        raise ValueError(
            '{!r} has nothing to read for now: open it in blocking mode'.format(source))
    return chunk or None


def check_bytes(method, data):
    # type: (str, BytesLike) -> bytes
    """Return bytes; TypeError for what isn't. ``method`` is for its words."""
    if isinstance(data, bytes):
        return data
    if not isinstance(data, (bytearray, memoryview)):
        raise _wrong_type(method, 'bytes, bytearray or memoryview', data)
    return to_bytes(data)


def check_utf8(method, data):
    # type: (str, BytesLike) -> bytes
    """Return bytes of UTF-8; raises TypeError and ValueError. ``method`` is for their words."""
    payload = check_bytes(method, data)
    if not _is_utf8(payload):
        raise _not_utf8(method)
    return payload


def utf8_parts(items):
    # type: (Any) -> Iterator[bytes]
    """Return an iterator over bytes, without empty ones, checked to be UTF-8 together.

    TypeError for no iterable. A character may begin in one item and end in the next.
    """
    if isinstance(items, (list, tuple)):
        for data in items:
            check_bytes('send_utf8', data)      # before anything is sent
    return _checked(_items('send_utf8', 'bytes, bytearray or memoryview', items))


def _checked(items):
    # type: (Iterable[Any]) -> Iterator[bytes]
    method = 'an iterable for send_utf8'
    decoder = Utf8Decoder()
    for data in items:
        part = check_bytes(method, data)
        if not _continues(decoder, part, False):
            raise _not_utf8(method)
        if part:
            yield part
    if not _continues(decoder, b'', True):
        raise _not_utf8(method)


def _not_utf8(method):
    # type: (str) -> ValueError
    return ValueError('{} takes UTF-8, and these bytes are not: decode them for send_text, or '
                      'send any bytes by send_binary'.format(method))


def _is_utf8(payload):
    # type: (bytes) -> bool
    if len(payload) > PIECE:
        return _continues(Utf8Decoder(), payload, True)
    try:
        decode_utf8(payload)
    except UnicodeDecodeError:
        return False
    return True


def _continues(decoder, payload, is_last):
    # type: (Utf8Decoder, bytes, bool) -> bool
    """Return whether this goes on with UTF-8, and if it is the last, ends it."""
    try:
        # By pieces, as the text of a large message may take four times its memory.
        for start in range(0, len(payload), PIECE):
            decoder.decode(payload[start:start + PIECE])
        decoder.decode(b'', is_last)
    except UnicodeDecodeError:
        return False
    return True


def _wrong_type(method, wanted, given):
    # type: (str, str, Any) -> TypeError
    """Make the error for a message of a type that a method doesn't take; it names one that does."""
    hint = ''
    if isinstance(given, dict) and method != 'broadcast' \
            or method == 'send_text' and isinstance(given, (list, tuple)):
        hint = ': send_json takes this'
    elif isinstance(given, bytes):
        hint = ': decode it, or give UTF-8 to send_utf8, and any other bytes to send_binary'
    elif isinstance(given, (bytearray, memoryview)):
        hint = ': send_binary takes this'
    elif isinstance(given, text_type):
        hint = ': send_text takes this' if method in ('send_binary', 'send_utf8') \
            else ': encode it'
    elif hasattr(given, '__aiter__') and method in ('send_text', 'send_binary'):
        hint = ': lomond.aio takes this: await connection.{}(...)'.format(method)
    elif method in ('send_text', 'send_binary') and hasattr(given, '__iter__'):
        # WebSocket takes it: this is an end of `lomond.sansio`
        hint = ': call it for each part, with message_finished=False for all but the last'
    return TypeError('{} takes {}, not {}{}'.format(method, wanted, type(given).__name__, hint))


def json_text(obj, fields, dumps):
    # type: (Any, Dict[str, Any], Optional[JSONDumps]) -> text_type
    """Return an object as JSON, or if it is Ellipsis the fields as an object.

    Parameters: ``dumps``, the option ``json_dumps``. Raises what that does, TypeError, ValueError.
    """
    if obj is Ellipsis:
        obj = fields
    elif fields:
        raise TypeError('send_json takes one object, or keyword arguments, not both')
    text = _to_json(obj) if dumps is None else dumps(obj)  # type: Union[bytes, text_type]
    if isinstance(text, bytes):
        try:
            return decode_utf8(text)
        except UnicodeDecodeError:
            raise ValueError('json_dumps must return text, or its UTF-8 in bytes: '
                             'these bytes are not UTF-8')
    if not isinstance(text, text_type):
        raise TypeError('json_dumps must return text, or its UTF-8 in bytes, not {}'.format(
            type(text).__name__))
    return text


def _to_json(obj):
    # type: (Any) -> str
    try:
        return _dumps(obj)
    except ValueError as error:
        if 'float' not in str(error):
            raise       # it holds itself
    raise ValueError('send_json was given NaN or Infinity, which are no numbers of JSON '
                     '(RFC 8259 6): send null, or have json_dumps= write what the other end reads')


def check_control(method, data):
    # type: (str, BytesLike) -> bytes
    """Return the payload of a ping or a pong; raises TypeError, ValueError."""
    payload = check_bytes(method, data)
    if len(payload) > MAX_CONTROL_PAYLOAD:
        # RFC 6455 5.5
        raise ValueError('{} takes at most 125 bytes, not {}'.format(method, len(payload)))
    return payload
