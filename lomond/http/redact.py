"""Removes secrets from URLs, HTTP heads and traces before errors, reprs and the log show them.

It never changes what is sent.
"""

from __future__ import absolute_import, division, print_function

import re

from lomond._compat import TYPE_CHECKING
from lomond.http.grammar import is_line

if TYPE_CHECKING:
    from typing import Any, Dict, Text  # noqa: F401

    Fields = Dict[str, Any]
else:
    Fields = dict

#: What is shown in place of a secret.
HIDDEN = u'***'

# RFC 3986 3.1
_SCHEME = re.compile(u'[A-Za-z][A-Za-z0-9+.-]*://')

# Parts of the names Authorization, Proxy-Authorization, Cookie, Set-Cookie, X-API-Key and so on.
_WORDS = u'authorization|cookie|key|passw|secret|session|signature|token'
_SECRET_WORD = re.compile(_WORDS, re.IGNORECASE)
_SECRET_NAME = re.compile(u'[^:]*?(?:{})[A-Za-z0-9_-]*'.format(_WORDS), re.IGNORECASE)

# The text before the colon of a URL whose slashes are missing.
_BARE_SCHEME = re.compile(u'["\'<(=]*[A-Za-z][A-Za-z0-9+.-]{0,20}\\Z')

# Not secret: a nonce (RFC 6455 11.3.1).
_PUBLIC_NAME = u'sec-websocket-key'


def hide_credentials(url):
    # type: (Text) -> Text
    """Return a URL, well-formed or not, without the text between its :// and the last @.

    The text after the last @ is certain not to be part of a password. Without a scheme everything
    before the @ is removed.
    """
    _before, mark, after = url.rpartition(u'@')
    if not mark:
        return url
    scheme = _SCHEME.match(url)
    return (u'' if scheme is None else scheme.group()) + HIDDEN + mark + after


def redact_text(text):
    # type: (Text) -> Text
    """Return a text without anything that may be the credentials of a URL."""
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
    """Return a header line, which may be malformed, without the secrets in it."""
    if not is_line(line.encode('utf-8', 'replace')):
        # Where a name or a value ends is uncertain.
        line = redact_text(line)
        word = _SECRET_WORD.search(line)
        return line if word is None else line[:word.end()] + HIDDEN
    if line.startswith((u' ', u'\t')):
        return HIDDEN       # folded: it continues the value of an unknown header
    name = _SECRET_NAME.match(line)
    if name is None or name.group().lower() == _PUBLIC_NAME:
        return redact_text(line)
    return u'{}: {}'.format(name.group(), HIDDEN)


def redact_value(name, value):
    # type: (Text, Text) -> Text
    """Return the value of a header, or `HIDDEN` for a name whose values are secret."""
    return redact_line(u'{}: {}'.format(name, value))[len(name) + 2:]


def redact_head(head):
    # type: (bytes) -> bytes
    """Return the head of a request or a response without the secrets in it."""
    lines = head.decode('latin-1').split(u'\r\n')
    return u'\r\n'.join(lines[:1] + [redact_line(line) for line in lines[1:]]).encode('latin-1')


class TraceRecord(Fields):
    """The dict that a tracer is called with; its repr shows no secrets, see `redacted`.

    In addition to the ``head`` that is sent it has the ``redacted_head``.
    """

    def __init__(self, *args, **fields):
        # type: (*Any, **Any) -> None
        super(TraceRecord, self).__init__(*args, **fields)
        if 'head' in self:
            self['redacted_head'] = redact_head(self['head'])

    def redacted(self):
        # type: () -> Dict[str, Any]
        """Return a dict for the log, whose ``head`` is the redacted one."""
        shown = dict(self)
        if 'head' in shown:
            shown['head'] = shown.pop('redacted_head')
        return shown

    def __repr__(self):
        # type: () -> str
        return repr(self.redacted())
