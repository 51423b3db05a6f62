"""Finds the end of an HTTP/1.1 head (start line and headers), and rejects other data early.

Takes linear time, and the result doesn't depend on the sizes of the pieces that arrive.
"""

from __future__ import absolute_import, division, print_function

import re

from lomond._compat import TYPE_CHECKING
from lomond.errors import CriticalProtocolError, HandshakeError
from lomond.http.redact import redact_line
from lomond.http.response import check_status_line

if TYPE_CHECKING:
    from typing import Optional, Text, Tuple  # noqa: F401

_START_OF_RESPONSE = b'HTTP/1.'

# A TLS record begins with its type, and the version 3.0 to 3.4 (RFC 8446 5.1).
_TLS_RECORD = re.compile(b'[\x14-\x17]\x03[\x00-\x04]')

#: How many bytes of other data than HTTP are read, to show them in the error.
MAX_SHOWN = 60

_BANNERS = (
    (b'SSH-', u'an SSH banner'),
    (b'220', u'an SMTP or FTP greeting'),
    (b'+OK', u'a POP3 greeting'),
    (b'* OK', u'an IMAP greeting'),
    (b'RFB ', u'a VNC greeting'),
)


class HeadReader(object):
    """Collects an HTTP head, up to ``max_size`` bytes.

    A line ends in CRLF, or also in LF alone if ``allows_bare_lf`` (RFC 9112 2.2).
    """

    __slots__ = (
        '_allows_bare_lf', '_gathered', '_line_start', '_max_size', '_searched')

    def __init__(self, max_size, allows_bare_lf=False):
        # type: (int, bool) -> None
        self._max_size = max_size
        self._allows_bare_lf = allows_bare_lf
        self._gathered = bytearray()
        self._line_start = 0
        self._searched = 0      # no line end before this index

    @property
    def held(self):
        # type: () -> int
        """How many bytes are held of a head that is incomplete."""
        return len(self._gathered)

    def feed(self, data):
        # type: (bytes) -> Optional[Tuple[bytes, bytes]]
        """Return the head and the bytes after it, or None while it is incomplete.

        Empty ``data`` is the end of the stream. Raises CriticalProtocolError if the head exceeds
        the limit, HandshakeError if these bytes can't become a head.
        """
        self._gathered += data
        self._check_start(not data)
        while True:
            line_end = self._gathered.find(b'\n', self._searched) + 1
            if (line_end or len(self._gathered)) > self._max_size:
                raise CriticalProtocolError(
                    'the HTTP headers are too long: more than {} bytes', self._max_size)
            if not line_end:
                self._searched = len(self._gathered)
                return None
            line = bytes(self._gathered[self._line_start:line_end])
            self._check_line(line)
            is_first = self._line_start == 0
            self._line_start = self._searched = line_end
            if line in (b'\r\n', b'\n'):
                return self._split(line_end)
            if is_first:
                self._check_first_line(line.rstrip(b'\r\n').decode('latin-1'))

    def _split(self, size):
        # type: (int) -> Tuple[bytes, bytes]
        """Return the head and the bytes after it, and reset the reader for another head."""
        head, rest = bytes(self._gathered[:size]), bytes(self._gathered[size:])
        del self._gathered[:]
        self._line_start = self._searched = 0
        return head, rest

    def _check_line(self, line):
        # type: (bytes) -> None
        if not self._allows_bare_lf and not line.endswith(b'\r\n'):
            raise HandshakeError(
                'an HTTP header line must end in CRLF: {!r}',
                redact_line(line.decode('latin-1'))[:MAX_SHOWN])

    def _check_start(self, is_end):
        # type: (bool) -> None
        """Raise HandshakeError if the bytes so far can't be the start of a head."""

    def _check_first_line(self, line):
        # type: (Text) -> None
        """Raise HandshakeError if this line can't be the first of a head."""


class ResponseHeadReader(HeadReader):
    """Collects the head of a response, whose lines may end in LF alone.

    Parameters: ``max_size`` in bytes; for error messages ``subject``, such as 'the server', and
    ``secure_scheme``, the scheme to suggest to a user if the peer speaks TLS, None within TLS.
    """

    __slots__ = (
        '_secure_scheme', '_subject', 'is_not_http')

    def __init__(self, max_size, subject, secure_scheme):
        # type: (int, Text, Optional[Text]) -> None
        super(ResponseHeadReader, self).__init__(max_size, allows_bare_lf=True)
        self._subject = subject
        self._secure_scheme = secure_scheme
        #: True once this can't be HTTP/1, and only more bytes to show are read.
        self.is_not_http = False  # type: bool

    def _check_start(self, is_end):
        # type: (bool) -> None
        start = bytes(self._gathered[:len(_START_OF_RESPONSE)])
        self.is_not_http = not _START_OF_RESPONSE.startswith(start)
        if self.is_not_http:
            words = self._describe_start(bytes(self._gathered[:MAX_SHOWN]), is_end)
            if words is not None:
                raise HandshakeError(words)

    def _describe_start(self, start, is_end):
        # type: (bytes, bool) -> Optional[Text]
        """Return what the peer sent instead of HTTP, or None if that takes more bytes."""
        if self._secure_scheme is not None and _TLS_RECORD.match(start):
            return u'{} speaks TLS on this port: use {}://'.format(
                self._subject, self._secure_scheme)
        first = bytearray(start)[0]
        if first < 0x20 or first > 0x7e:
            # Three bytes show whether it is TLS.
            if len(start) < 3 and 0x14 <= first <= 0x17 and not is_end:
                return None
            return u'{} did not answer with HTTP: the first byte is 0x{:02x}'.format(
                self._subject, first)
        line, end, _rest = start.partition(b'\n')
        if not (end or is_end or len(start) == MAX_SHOWN):
            return None
        for prefix, name in _BANNERS:
            if start.startswith(prefix):
                return u'{} answered with {}, not HTTP: {!r}'.format(
                    self._subject, name, line.rstrip(b'\r'))
        return u'{} did not answer with HTTP/1: {!r}'.format(
            self._subject, line.rstrip(b'\r'))

    def _check_first_line(self, line):
        # type: (Text) -> None
        check_status_line(line)
