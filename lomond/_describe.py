"""Describes an exception of the system in one line of text, for errors, events and the log."""

from __future__ import absolute_import, division, print_function

import errno
import socket

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Text  # noqa: F401


def describe(error):
    # type: (BaseException) -> Text
    """Return the message of an exception as one line of text."""
    if isinstance(error, socket.timeout):
        return u'timed out'
    try:
        words = getattr(error, 'strerror', None) or str(error) \
            or type(error).__name__  # type: Any
    except Exception:       # a user's exception class; or on 2.7 a message that isn't ASCII
        words = type(error).__name__
    # On 2.7 it is bytes, in the user's language if the application has set a locale.
    text = words.decode('utf-8', 'replace') if isinstance(words, bytes) else words  # type: Text
    if getattr(error, 'errno', None) == errno.EMFILE and u'ulimit' not in text:
        text += u' (close some, or raise the limit: ulimit -n)'
    return text


def describe_with_type(error):
    # type: (BaseException) -> Text
    """Return the name of an exception's class, and its message if it has one."""
    name, words = type(error).__name__, describe(error)
    return name if words == name else u'{}: {}'.format(name, words)
