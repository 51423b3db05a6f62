"""The body of a refusal: finds its end, decodes the chunked coding, and encodes it.

Takes linear time, whatever the sizes of the pieces that arrive.
"""

from __future__ import absolute_import, division, print_function

import re

from lomond._compat import TYPE_CHECKING
from lomond.errors import HandshakeError

if TYPE_CHECKING:
    from typing import Iterator, List, Optional, Tuple  # noqa: F401

    from lomond.http.response import Response  # noqa: F401

_LENGTH = re.compile(r'[0-9]{1,18}\Z')

#: The line before a chunk: its size in hexadecimal; extensions may follow (RFC 7230 4.1).
CHUNK_SIZE = re.compile(br'([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n')


# The longest line with a chunk's size that `BodyParts` reads, extensions included, in bytes.
_MAX_LINE = 4096

#: What follows the last chunk, and the end of the trailers (RFC 9112 7.1).
LAST_CHUNK = b'0\r\n\r\n'


def encode_chunk(data):
    # type: (bytes) -> bytes
    """Return data as a chunk of the chunked coding, nothing for none: an empty one is the last."""
    return b'%x\r\n%s\r\n' % (len(data), data) if data else b''


def find_framing(response):
    # type: (Response) -> Tuple[bool, Optional[int]]
    """Return whether a body is chunked, and its size, None for up to the end of the connection.

    (RFC 9112 6.3.)
    """
    lengths = set(response.headers.get_list(u'Content-Length'))
    if response.status_code in (101, 204, 304):
        return False, 0
    if response.headers.has_token(u'Transfer-Encoding', u'chunked'):
        return True, None
    # Repeated equal values are valid, different ones are not.
    if len(lengths) == 1 and _LENGTH.match(min(lengths)):
        return False, int(min(lengths))
    return False, None


class BodyReader(object):
    """Collects a body until it is complete (RFC 7230 3.3.3), up to a limit in bytes."""

    def __init__(self, response, max_size):
        # type: (Response, int) -> None
        self._max_size = max_size
        self._gathered = bytearray()
        is_chunked, self._size = find_framing(response)
        # The start and the end of each.
        self._chunks = [] if is_chunked else None  # type: Optional[List[Tuple[int, int]]]
        self._next_chunk = 0        # where the line with its size begins
        self._searched = 0          # no line end before this index

    @property
    def held(self):
        # type: () -> int
        """How many bytes are held, those of chunks' sizes included."""
        return len(self._gathered)

    def feed(self, data, is_end):
        # type: (bytes, bool) -> Optional[bytes]
        """Return the body once it is complete, else None; ``is_end`` completes any body."""
        gathered = self._gathered
        gathered += data
        # The excess is dropped at once, so that the result doesn't depend on the pieces.
        del gathered[self._max_size:]
        is_complete = self._is_complete()
        if not (is_complete or is_end or len(gathered) == self._max_size):
            return None
        if self._chunks is None:
            return bytes(gathered[:self._size])
        return b''.join([bytes(gathered[start:stop]) for start, stop in self._chunks])

    def _is_complete(self):
        # type: () -> bool
        if self._chunks is not None:
            return self._find_chunks(self._chunks)
        return self._size is not None and len(self._gathered) >= self._size

    def _find_chunks(self, chunks):
        # type: (List[Tuple[int, int]]) -> bool
        """Find further chunks; return whether the last one was found."""
        while True:
            line_end = self._gathered.find(b'\r\n', self._searched)
            if line_end < 0:
                self._searched = max(self._next_chunk, len(self._gathered) - 1)
                return False
            match = CHUNK_SIZE.match(self._gathered, self._next_chunk)
            size = 0 if match is None else int(bytes(match.group(1)), 16)
            if size == 0:       # the last chunk, or an invalid one, after which none can be found
                return True
            start = line_end + 2
            chunks.append((start, start + size))
            self._next_chunk = self._searched = start + size + 2


class BodyParts(object):
    """Decodes a body as it arrives, of any size: it holds no more than a line with a chunk's size.

    Parameters: the response.
    """

    def __init__(self, response):
        # type: (Response) -> None
        self._is_chunked, size = find_framing(response)
        # Bytes to come of the body, or of the present chunk; None for up to the end.
        self._left = 0 if self._is_chunked else size  # type: Optional[int]
        self._line = bytearray()    # a line with a chunk's size, as far as it has come
        self._is_first = True       # a later one has the end of the last chunk before it
        #: True once all of it has come.
        self.is_complete = size == 0  # type: bool

    def feed(self, data):
        # type: (bytes) -> Iterator[bytes]
        """Yield the pieces of the body in bytes from the peer; raises HandshakeError."""
        pos = 0
        while pos < len(data) and not self.is_complete:
            if self._is_chunked and not self._left:
                pos = self._read_line(data, pos)
                continue
            piece = data[pos:] if self._left is None else data[pos:pos + self._left]
            pos += len(piece)
            if self._left is not None:
                self._left -= len(piece)
                self.is_complete = not self._left and not self._is_chunked
            yield piece

    def _read_line(self, data, pos):
        # type: (bytes, int) -> int
        """Read on in the line before a chunk; return the position after what was used."""
        before = 0 if self._is_first else 2     # the CRLF that ends the last chunk
        held = len(self._line)
        self._line += data[pos:pos + _MAX_LINE + 1]
        end = self._line.find(b'\r\n', before) + 2
        if (end if end >= 2 else len(self._line)) > _MAX_LINE:
            raise HandshakeError('the line before a chunk of the body is too long')
        if end < 2:
            return len(data)
        match = CHUNK_SIZE.match(bytes(self._line[:end]), before)
        if match is None or bytes(self._line[:before]) != b'\r\n'[:before]:
            raise HandshakeError(
                'a chunk of the body is malformed: {!r}', bytes(self._line[:end])[:80])
        self._left = int(match.group(1), 16)
        self.is_complete = not self._left       # of the trailers, if there are any, nothing is read
        self._line = bytearray()
        self._is_first = False
        return pos + end - held

    def end(self):
        # type: () -> None
        """Notice the end of the connection, which completes a body without a size."""
        self.is_complete = self.is_complete or self._left is None
