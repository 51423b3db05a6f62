"""HTTP/1.1 heads: parses them into a first line and headers, and looks headers up.

Shared by the server's response, a proxy's response and the client's request. Requests are parsed
strictly: lines end in CRLF, none is folded. In a response a line may end in LF alone, and a folded
line is unfolded (RFC 9112 2.2, 5.2). Bytes are decoded as Latin-1, which can't fail.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING
from lomond.errors import HandshakeError
from lomond.http.grammar import is_line, is_token
from lomond.http.redact import redact_line, redact_value

if TYPE_CHECKING:
    from typing import Iterable, Iterator, List, Optional, Text, Tuple, Union, overload  # noqa: F401

    Name = Union[bytes, Text]


def parse_head(data, is_response=False):
    # type: (bytes, bool) -> Tuple[Text, Headers]
    """Split a head into its first line and its headers.

    The empty line at the end of ``data`` may be missing. Raises HandshakeError if it isn't a head
    as in RFC 9112.
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
    pieces = []  # type: List[Text]     # of the current header
    for line in lines[1:] + [u'']:
        # A folded line right after the first line has no header to continue.
        if line[:1] in (u' ', u'\t') and pieces:
            pieces.append(line.strip(u' \t'))
            continue
        if pieces:
            unfolded.append(u' '.join(pieces))
        pieces = [line.rstrip(u' \t')]
    return unfolded


class Headers(object):
    """The headers of a head in their order; names are case-insensitive."""

    def __init__(self, fields=()):
        # type: (Iterable[Tuple[Text, Text]]) -> None
        self._fields = list(fields)

    if TYPE_CHECKING:
        @overload
        def get(self, name, default=None):
            # type: (Name, None) -> Optional[Text]
            pass

        @overload
        def get(self, name, default):
            # type: (Name, Text) -> Text
            pass

    def get(self, name, default=None):
        # type: (Name, Optional[Text]) -> Optional[Text]
        """Return a header's value, repeated ones joined by ', ', or the default."""
        values = self.get_all(name)
        return u', '.join(values) if values else default

    def get_all(self, name):
        # type: (Name) -> List[Text]
        """Return a list of the values of a repeated header, such as Set-Cookie."""
        wanted = (name.decode('latin-1') if isinstance(name, bytes) else name).lower()
        return [value for field, value in self._fields if field.lower() == wanted]

    def get_list(self, name):
        # type: (Name) -> List[Text]
        """Return the items of a comma-separated header, without empty ones."""
        items = u','.join(self.get_all(name)).split(u',')
        # Not strip() alone: that would also strip Unicode spaces, which aren't RFC 7230's blanks.
        items = [item.strip(u' \t') for item in items]
        return [item for item in items if item]

    def has_token(self, name, token):
        # type: (Text, Text) -> bool
        """Return whether a comma-separated header has this item, ignoring case."""
        return token.lower() in (item.lower() for item in self.get_list(name))

    def items(self):
        # type: () -> List[Tuple[Text, Text]]
        """Return the (name, value) pairs in their order."""
        return list(self._fields)

    def __getitem__(self, name):
        # type: (Name) -> Text
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __contains__(self, name):
        # type: (Name) -> bool
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


class Head(object):
    """Base of a response and a request: ``raw``, the bytes of the head, and its ``headers``."""

    def __init__(self, header_data, headers):
        # type: (bytes, Headers) -> None
        self.raw = header_data  # type: bytes
        self.headers = headers  # type: Headers

    if TYPE_CHECKING:
        @overload
        def get(self, name, default=None):
            # type: (Name, None) -> Optional[Text]
            pass

        @overload
        def get(self, name, default):
            # type: (Name, Text) -> Text
            pass

    def get(self, name, default=None):
        # type: (Name, Optional[Text]) -> Optional[Text]
        """Return a header's value, repeated ones joined by ', ', or the default."""
        return self.headers.get(name, default)

    def get_list(self, name):
        # type: (Name) -> List[Text]
        """Return the items of a comma-separated header."""
        return self.headers.get_list(name)
