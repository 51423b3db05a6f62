"""What is read: messages from lines of stdin, from arguments, and from files.

It sends nothing. A line that isn't a message is a ValueError that says why, without the line.
"""

from __future__ import absolute_import, division, print_function

import errno
import json
import os

from lomond._compat import TYPE_CHECKING, decode_utf8, encode_text, is_interrupt, native_to_text
from lomond.cli.formats import Message, Records, decode_binary, read_item, text_of
from lomond.net.waiter import READ, wait
from lomond.opcode import Opcode

if TYPE_CHECKING:
    from typing import Callable, Iterator, Optional, Text  # noqa: F401

__all__ = ['decoder', 'read_argument', 'read_file', 'read_records', 'read_stdin']

_READ_SIZE = 65536


def read_stdin():
    # type: () -> bytes
    """Return bytes of stdin as soon as there are any, b'' at its end; raises OSError."""
    while True:
        try:
            return os.read(0, _READ_SIZE)
        except OSError as error:
            if error.errno == errno.EAGAIN:     # another process made it non-blocking
                wait(((0, READ),), None)
            elif not is_interrupt(error):
                raise


def read_records(separator):
    # type: (bytes) -> Iterator[bytes]
    """Yield the lines of stdin, of any length, as they come; raises OSError, ValueError.

    Python's own object for stdin isn't used: a thread that waits in it holds its lock, and the
    process could not end.
    """
    records = Records(separator)
    while True:
        data = read_stdin()
        for record in records.feed(data):
            yield record
        if not data:
            break
    last = records.finish()
    if last is not None:
        yield last


def decoder(binary=None, is_json=False):
    # type: (Optional[str], bool) -> Callable[[bytes], Optional[Message]]
    """Return a function that makes a message of a record, or None for one that isn't to be sent.

    Parameters: ``binary``, how records are binary messages, or None for texts; ``is_json``, whether
    they are objects as in a HAR file.
    """
    if is_json:
        return _decode_item
    if binary is not None:
        return lambda record: Message(Opcode.BINARY, decode_binary(record, binary))
    return _decode_text


def _decode_text(record):
    # type: (bytes) -> Message
    text_of(record)
    return Message(Opcode.TEXT, record)


def _decode_item(record):
    # type: (bytes) -> Optional[Message]
    if not record.strip():
        return None
    try:
        item = json.loads(decode_utf8(record))
    except (ValueError, RuntimeError):      # RuntimeError: for thousands of brackets in one another
        raise ValueError('it is not JSON')
    return read_item(item)


def read_argument(argument, binary=None):
    # type: (str, Optional[str]) -> Message
    """Return the message of ``--send``; raises ValueError."""
    data = encode_text(native_to_text(argument))
    if binary is None:
        return Message(Opcode.TEXT, data)
    return Message(Opcode.BINARY, decode_binary(data, binary))


def read_file(path, binary=None):
    # type: (str, Optional[str]) -> Message
    """Return a whole file as one message; raises ValueError, EnvironmentError."""
    with open(path, 'rb') as opened:
        data = opened.read()
    if binary is not None:
        return Message(Opcode.BINARY, decode_binary(data, binary))
    text_of(data)
    return Message(Opcode.TEXT, data)
