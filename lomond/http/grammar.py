"""The grammar of HTTP header lines: tokens, and the bytes that a line must not contain.

Writers and readers of headers both check with these functions.
"""

from __future__ import absolute_import, division, print_function

import re

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Text  # noqa: F401

#: A token (RFC 9110 5.6.2), as a regular expression.
TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"     # nosec B105  # a pattern

_WHOLE_TOKEN = re.compile(TOKEN + r'\Z')

# RFC 9110 5.5: each of these could end the line and inject another header.
_NOT_IN_A_LINE = re.compile(b'[\r\n\0]')


def is_token(text):
    # type: (Text) -> bool
    """Return whether the text is a token, as header names and subprotocols must be."""
    return _WHOLE_TOKEN.match(text) is not None


def is_line(data):
    # type: (bytes) -> bool
    """Return whether the bytes have no CR, LF and NUL, so that they stay in one header line."""
    return _NOT_IN_A_LINE.search(data) is None


def check_line(what, text):
    # type: (str, Text) -> Text
    """Return the text if it has no CR, LF and NUL; raises ValueError, which says ``what`` it is."""
    if not is_line(text.encode('utf-8', 'replace')):
        raise ValueError('{} must not contain CR, LF or NUL: {!r}'.format(what, text))
    return text
