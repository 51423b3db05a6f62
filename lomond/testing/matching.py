"""Messages as a test writes them, and whether one that came is the one that was expected.

Sends and receives nothing.
"""

from __future__ import absolute_import, division, print_function

import json

from lomond._compat import TYPE_CHECKING, text_type, to_bytes
from lomond._describe import describe_with_type

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Pattern, Union

    Message = Union[text_type, bytes]
    Sendable = Union[text_type, bytes, bytearray, Dict[Any, Any], List[Any]]
    Expected = Union[None, Sendable, Pattern[Any], Callable[[Any], Any]]

#: How much of a message is shown.
SHOWN = 200


def to_message(value):
    # type: (Sendable) -> Message
    """Return the message that is meant: text, bytes, or a dict or list as JSON; TypeError else."""
    if isinstance(value, (dict, list)):
        return text_type(json.dumps(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return to_bytes(value)
    if isinstance(value, text_type):
        return value
    raise TypeError('a message is text, bytes, or a dict or list that is sent as JSON, not '
                    '{!r}'.format(value))


def check_expected(expected):
    # type: (Any) -> Any
    """Return what describes a message; raises TypeError for anything that `matches` can't use."""
    if expected is None or callable(expected) or hasattr(expected, 'search') \
            or isinstance(expected, (text_type, bytes, bytearray, dict, list)):
        return expected
    raise TypeError(
        'what is expected must be text, bytes, a dict or list to compare with JSON, a compiled '
        'regular expression, a function of the message, or None for any message, not '
        '{!r}'.format(expected))


def matches(expected, message):
    # type: (Any, Message) -> bool
    """Return whether a message is what is expected; raises what a function of the user's does."""
    if expected is None:
        return True
    if callable(expected):
        return bool(expected(message))
    if hasattr(expected, 'search'):
        try:
            return expected.search(message) is not None
        except TypeError:       # a pattern of text, and a message of bytes, or the reverse
            return False
    if isinstance(expected, (dict, list)):
        try:
            return isinstance(message, text_type) and bool(json.loads(message) == expected)
        except ValueError:
            return False
    if isinstance(expected, bytearray):
        expected = bytes(expected)
    # On 2.7 a byte string equals text.
    return isinstance(expected, text_type) == isinstance(message, text_type) \
        and bool(expected == message)


def show(message):
    # type: (Any) -> str
    """Return a message, or what is expected of one, on one line that isn't too long."""
    if callable(message):
        return getattr(message, '__name__', None) or repr(message)
    if hasattr(message, 'search'):
        return 're.compile({!r})'.format(message.pattern)
    try:
        shown = repr(message)
    except Exception as error:      # an object of the user's
        shown = str(describe_with_type(error))
    if len(shown) > SHOWN:
        return '{}...({} in all)'.format(shown[:SHOWN], len(message))
    return shown
