"""The HTTP response of the server, or of a proxy."""

from __future__ import absolute_import, division, print_function

import re

from lomond._compat import TYPE_CHECKING
from lomond.errors import HandshakeError
from lomond.http.headers import Head, parse_head
from lomond.http.redact import redact_line

if TYPE_CHECKING:
    from typing import Match, Text  # noqa: F401

# RFC 7230 3.1.2. Some servers omit the space before an empty reason.
_STATUS_LINE = re.compile(r'(HTTP/1\.[0-9]) ([1-9][0-9][0-9])(?: (.*))?\Z')


def check_status_line(line):
    # type: (Text) -> Match[Text]
    """Parse the first line of a response; raises HandshakeError if it isn't HTTP/1."""
    match = _STATUS_LINE.match(line)
    if match is None:
        raise HandshakeError('not an HTTP response: {!r}', redact_line(line)[:80])
    return match


class Response(Head):
    """An HTTP response.

    Parameters: ``header_data``, the bytes of the status line and headers. Raises HandshakeError
    if they aren't an HTTP/1 head.

    Attributes: ``raw`` (those bytes), ``http_ver`` ('HTTP/1.1'), ``status_code`` (int), ``status``
    (its phrase), ``headers``, and ``body``, up to 64 KiB of the body of a rejection.
    """

    def __init__(self, header_data):
        # type: (bytes) -> None
        line, headers = parse_head(header_data, is_response=True)
        super(Response, self).__init__(header_data, headers)
        match = check_status_line(line)
        self.http_ver = match.group(1)  # type: Text
        self.status_code = int(match.group(2))  # type: int
        self.status = match.group(3) or u''  # type: Text
        self.body = b''  # type: bytes

    def __repr__(self):
        # type: () -> str
        return '<response {} {} {}>'.format(
            self.http_ver, self.status_code,
            self.status.encode('ascii', 'replace').decode('ascii'))
