"""Removes secrets from URLs, HTTP heads and traces before errors, the log or a file shows them.

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

# The start of a URL without credentials: a host, or an address in brackets, and a port.
_PLAIN_AUTHORITY = re.compile(
    u'(?:[A-Za-z][A-Za-z0-9+.-]*:)?//(?:[^/?#@:\\[\\]]*|\\[[^/?#@\\[\\]]*\\])(?::[0-9]*)?'
    u'(?:[/?#]|\\Z)')

_QUERY = re.compile(u'\\?([^\\s"\'<>]+)')
_AFTER_PATH = re.compile(u'([?#]).+', re.DOTALL)
_BLANK = re.compile(u'[ \t].*', re.DOTALL)
_LINE_END = re.compile(u'(\r?\n)')     # a peer may leave the CR out
_FRAGMENT = re.compile(u'#[^?\\s]+\\Z')
_PARAMETER = re.compile(u'([A-Za-z_$][A-Za-z0-9_.:$-]{0,40})=(?!=*\\Z)')

# A name has parts such as v1, ocpp2, k8s, json, Bearer, MBWS. A token has longer ones, of any
# characters.
_PROTOCOL = u'sec-websocket-protocol'
_NAME_PART = re.compile(
    u'(?:[A-Za-z]?[a-z]{0,19}|[A-Z]{1,5}|[A-Za-z]{0,5}[0-9]{1,3}|[a-z][0-9][a-z])\\Z')
_BETWEEN_PARTS = re.compile(u'[-._/+:]')
_SECRET_PROTOCOL = re.compile(u'bearer|{}'.format(_WORDS), re.IGNORECASE)


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


def hide_secrets(url):
    # type: (Text) -> Text
    """Return a URL, well-formed or not, without its credentials, its query and its fragment."""
    return _AFTER_PATH.sub(lambda match: match.group(1) + HIDDEN, hide_credentials(url))


def redact_text(text):
    # type: (Text) -> Text
    """Return a text without anything that may be the credentials of a URL."""
    before, mark, after = text.rpartition(u'@')
    start = before.find(u'//') + 2
    if start < 2:
        word = max(before.rfind(u' '), before.rfind(u'\t')) + 1
        start = before.find(u':', word) + 1
        if not start or not _BARE_SCHEME.match(before[word:start - 1]):
            return _hide_queries(text)
    return _hide_queries(before[:start] + HIDDEN + mark + after)


def redact_url(url):
    # type: (Text) -> Text
    """Return a URL without its credentials, the values in its query, and its fragment."""
    if not _PLAIN_AUTHORITY.match(url):
        url = hide_credentials(url)
    return _hide_queries(_FRAGMENT.sub(u'#' + HIDDEN, url))


def _hide_queries(text):
    # type: (Text) -> Text
    """Return a text without the values of parameters, and what isn't certain to be a name.

    A value of any parameter may be a secret: servers take tokens under all kinds of names.
    """
    return _QUERY.sub(lambda match: u'?' + u''.join(
        part if part in (u'&', u';', u'#', u'') else _hide_parameter(part)
        for part in re.split(u'([&;#])', match.group(1))), text)


def _hide_parameter(parameter):
    # type: (Text) -> Text
    name = _PARAMETER.match(parameter)
    return HIDDEN if name is None else name.group() + HIDDEN


def _redact_protocols(value):
    # type: (Text) -> Text
    """Return a Sec-WebSocket-Protocol without items that are not certain to be names.

    Pages send tokens in it, as browsers let them set no other header: alone, after a name such as
    bearer, or as a part of an item.
    """
    shown = []
    is_secret = False
    for item in value.split(u','):
        name = item.strip(u' \t')
        word = _SECRET_PROTOCOL.search(name)
        if is_secret or not all(_NAME_PART.match(part) for part in _BETWEEN_PARTS.split(name)) \
                or word is not None and word.end() < len(name):
            name = HIDDEN
        is_secret = word is not None
        shown.append(name)
    return u', '.join(shown)


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
        field, colon, value = line.partition(u':')
        if field.lower() == u'location':
            # A blank ends no query: it is a mistake in it.
            return u'{}: {}'.format(field, _BLANK.sub(
                u' ' + HIDDEN, redact_url(value.strip(u' \t'))))
        if field.lower() == _PROTOCOL:
            return u'{}: {}'.format(field, _redact_protocols(value))
        return redact_text(line)
    return u'{}: {}'.format(name.group(), HIDDEN)


def redact_value(name, value):
    # type: (Text, Text) -> Text
    """Return the value of a header, or `HIDDEN` for a name whose values are secret."""
    return redact_line(u'{}: {}'.format(name, value))[len(name) + 2:]


def redact_head(head):
    # type: (bytes) -> bytes
    """Return the head of a request or a response without the secrets in it."""
    parts = _LINE_END.split(head.decode('latin-1'))     # each line, and what ends it
    parts[::2] = [redact_text(parts[0])] + [redact_line(line) for line in parts[2::2]]
    return u''.join(parts).encode('latin-1')


#: The fields of a trace that hold a URL.
_URLS = ('url', 'location', 'proxy')


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
        """Return a dict for the log, whose ``head`` is the redacted one, and so are its URLs."""
        shown = dict(self)
        if 'head' in shown:
            shown['head'] = shown.pop('redacted_head')
        for name in _URLS:
            if name in shown:
                shown[name] = redact_url(shown[name])
        return shown

    def __repr__(self):
        # type: () -> str
        return repr(self.redacted())
