"""What may be shown of URLs, HTTP heads and traces: all but the secrets in them.

Errors, reprs and the log take it from here. It changes nothing of what is sent.
"""

from __future__ import absolute_import, division, print_function

import re

from lomond._compat import TYPE_CHECKING
from lomond.http.grammar import is_line

if TYPE_CHECKING:
    from typing import Any, Dict, Text  # noqa: F401

#: What is shown in place of a secret.
HIDDEN = u'***'

# RFC 3986 3.1
_SCHEME = re.compile(u'[A-Za-z][A-Za-z0-9+.-]*://')

# Of the names Authorization, Proxy-Authorization, Cookie, Set-Cookie, X-API-Key and so on.
_WORDS = u'authorization|cookie|key|passw|secret|session|signature|token'
_SECRET_WORD = re.compile(_WORDS, re.IGNORECASE)
_SECRET_NAME = re.compile(u'[^:]*?(?:{})[A-Za-z0-9_-]*'.format(_WORDS), re.IGNORECASE)

# What stands before the colon of a URL without its slashes.
_BARE_SCHEME = re.compile(u'["\'<(=]*[A-Za-z][A-Za-z0-9+.-]{0,20}\\Z')

# RFC 6455 11.3.1: a nonce.
_PUBLIC_NAME = u'sec-websocket-key'


def hide_credentials(url):
    # type: (Text) -> Text
    """Return a URL, well-formed or not, without what stands between its :// and the last @.

    Only what follows that is sure to be no part of a password. Without a
    scheme nothing in front of it is left.
    """
    _before, mark, after = url.rpartition(u'@')
    if not mark:
        return url
    scheme = _SCHEME.match(url)
    return (u'' if scheme is None else scheme.group()) + HIDDEN + mark + after


def redact_text(text):
    # type: (Text) -> Text
    """Return a text without what may be the credentials of a URL in it."""
    before, mark, after = text.rpartition(u'@')
    start = before.find(u'//') + 2
    if start < 2:
        word = max(before.rfind(u' '), before.rfind(u'\t')) + 1
        start = before.find(u':', word) + 1
        if not start or not _BARE_SCHEME.match(before[word:start - 1]):
            return text
    return before[:start] + HIDDEN + mark + after


def redact_line(line):
    # type: (Text) -> Text
    """Return a header line as it may be shown. It may be malformed."""
    if not is_line(line.encode('utf-8', 'replace')):
        # There is no telling where a name or a value ends.
        line = redact_text(line)
        word = _SECRET_WORD.search(line)
        return line if word is None else line[:word.end()] + HIDDEN
    if line.startswith((u' ', u'\t')):
        return HIDDEN       # folded: it goes on with the value of some header
    name = _SECRET_NAME.match(line)
    if name is None or name.group().lower() == _PUBLIC_NAME:
        return redact_text(line)
    return u'{}: {}'.format(name.group(), HIDDEN)


def redact_value(name, value):
    # type: (Text, Text) -> Text
    """Return the value of a header as it may be shown, by the header's name."""
    return redact_line(u'{}: {}'.format(name, value))[len(name) + 2:]


def redact_head(head):
    # type: (bytes) -> bytes
    """Return the head of a request or a response as it may be shown."""
    lines = head.decode('latin-1').split(u'\r\n')
    return u'\r\n'.join(lines[:1] + [redact_line(line) for line in lines[1:]]).encode('latin-1')


class TraceRecord(dict):  # type: ignore[type-arg]
    """What a tracer is called with: a dict that may be printed, its repr is that of `redacted`.

    Beside the ``head`` that is sent it has the ``redacted_head``.
    """

    def __init__(self, *args, **fields):
        # type: (*Any, **Any) -> None
        super(TraceRecord, self).__init__(*args, **fields)
        if 'head' in self:
            self['redacted_head'] = redact_head(self['head'])

    def redacted(self):
        # type: () -> Dict[str, Any]
        """Return a dict for the log: the head is the redacted one."""
        shown = dict(self)
        if 'head' in shown:
            shown['head'] = shown.pop('redacted_head')
        return shown

    def __repr__(self):
        # type: () -> str
        return repr(self.redacted())
