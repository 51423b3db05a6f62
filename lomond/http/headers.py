"""HTTP/1.1 heads: taking them apart, looking fields up, checking fields to send.

Shared by the response, the server's request and a proxy's answer. Strict about requests:
lines end in CRLF, none is folded. In a response a line may end in LF alone, and a folded
one is unfolded (RFC 9112 2.2, 5.2). A field's bytes are read as Latin-1, so all can be.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING
from lomond.errors import HandshakeError
from lomond.http.grammar import is_line, is_token
from lomond.http.redact import redact_line, redact_value

if TYPE_CHECKING:
    from typing import Iterator, List, Optional, Text, Tuple, Union  # noqa: F401


def parse_head(data, is_response=False):
    # type: (bytes, bool) -> Tuple[Text, Headers]
    """Split a head into its first line and its fields.

    `data` may end in the empty line or without it. Raises HandshakeError if
    it isn't a head by RFC 9112.
    """
    text = data.decode('latin-1')
    lines = text.replace(u'\r\n', u'\n').split(u'\n') if is_response else text.split(u'\r\n')
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise HandshakeError('the HTTP headers are empty')
    for line in lines:
        if not is_line(line.encode('latin-1')):
            raise HandshakeError(
                'control character in an HTTP header: {!r}',
                redact_line(line)[:80])
    if is_response:
        lines = _unfold(lines)
    fields = []
    for line in lines[1:]:
        name, colon, value = line.partition(u':')
        if not colon or not is_token(name):
            raise HandshakeError('malformed HTTP header: {!r}', redact_line(line)[:80])
        fields.append((name, value.strip(u' \t')))
    return lines[0], Headers(fields)


def _unfold(lines):
    # type: (List[Text]) -> List[Text]
    """Join each line that begins with a blank to the header before it (RFC 9112 5.2)."""
    unfolded = lines[:1]
    pieces = []  # type: List[Text]     # of the present header
    for line in lines[1:] + [u'']:
        # What stands between the first line and the first header continues nothing.
        if line[:1] in (u' ', u'\t') and pieces:
            pieces.append(line.strip(u' \t'))
            continue
        if pieces:
            unfolded.append(u' '.join(pieces))
        pieces = [line.rstrip(u' \t')]
    return unfolded


class Headers(object):
    """The fields of a head in their order; names are case-insensitive."""

    def __init__(self, fields=()):
        # type: (Union[List[Tuple[Text, Text]], Tuple[()]]) -> None
        self._fields = list(fields)

    def get(self, name, default=None):
        # type: (Union[bytes, Text], Optional[Text]) -> Optional[Text]
        """Return a field's value, repeated ones joined by ', ', or the default."""
        values = self.get_all(name)
        return u', '.join(values) if values else default

    def get_all(self, name):
        # type: (Union[bytes, Text]) -> List[Text]
        """Return each value of a repeated field (such as Set-Cookie) by itself."""
        wanted = (name.decode('latin-1') if isinstance(name, bytes) else name).lower()
        return [value for field, value in self._fields if field.lower() == wanted]

    def get_list(self, name):
        # type: (Union[bytes, Text]) -> List[Text]
        """Return the items of a comma-separated field, without empty ones."""
        items = u','.join(self.get_all(name)).split(u',')
        # Not strip() alone: to Unicode more than RFC 7230's blanks are spaces.
        items = [item.strip(u' \t') for item in items]
        return [item for item in items if item]

    def has_token(self, name, token):
        # type: (Text, Text) -> bool
        """Tell if a comma-separated field has this item, in any case."""
        return token.lower() in (item.lower() for item in self.get_list(name))

    def items(self):
        # type: () -> List[Tuple[Text, Text]]
        """Return the (name, value) pairs as they came."""
        return list(self._fields)

    def __getitem__(self, name):
        # type: (Union[bytes, Text]) -> Text
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __contains__(self, name):
        # type: (Union[bytes, Text]) -> bool
        return bool(self.get_all(name))

    def __iter__(self):
        # type: () -> Iterator[Text]
        return iter([name for name, _value in self._fields])

    def __len__(self):
        # type: () -> int
        return len(self._fields)

    def __repr__(self):
        # type: () -> str
        return 'Headers({!r})'.format(
            [(name, redact_value(name, value)) for name, value in self._fields])
