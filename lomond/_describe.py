"""What an exception of the system says, in one line of text.

Errors, events and the log take their words from here.
"""

from __future__ import absolute_import, division, print_function

import errno
import socket

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Text  # noqa: F401


def describe(error):
    # type: (BaseException) -> Text
    """Say in one line what an exception of the socket layer says."""
    if isinstance(error, socket.timeout):
        return u'timed out'
    try:
        words = getattr(error, 'strerror', None) or str(error) \
            or type(error).__name__  # type: Any
    except Exception:       # of the caller's own making; or 2.7, and text that isn't ASCII
        words = type(error).__name__
    # 2.7 has bytes, in the user's language if the application asked for that.
    text = words.decode('utf-8', 'replace') if isinstance(words, bytes) else words  # type: Text
    if getattr(error, 'errno', None) == errno.EMFILE and u'ulimit' not in text:
        text += u' (close some, or raise the limit: ulimit -n)'
    return text
