"""The body of a refusal: finds its end, and decodes the chunked coding.

Takes linear time, whatever the sizes of the pieces that arrive.
"""

from __future__ import absolute_import, division, print_function

import re

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import List, Optional, Tuple  # noqa: F401

    from lomond.http.response import Response  # noqa: F401

_LENGTH = re.compile(r'[0-9]{1,18}\Z')

#: The line before a chunk: its size in hexadecimal; extensions may follow (RFC 7230 4.1).
CHUNK_SIZE = re.compile(br'([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n')


class BodyReader(object):
    """Collects a body until it is complete (RFC 7230 3.3.3), up to a limit in bytes."""

    def __init__(self, response, max_size):
        # type: (Response, int) -> None
        self._max_size = max_size
        self._gathered = bytearray()
        self._size = None  # type: Optional[int]    # from Content-Length, if there is one
        self._chunks = None  # type: Optional[List[Tuple[int, int]]]    # start and end of each
        self._next_chunk = 0        # where the line with its size begins
        self._searched = 0          # no line end before this index
        lengths = set(response.headers.get_list(u'Content-Length'))
        if response.status_code in (101, 204, 304):
            self._size = 0
        elif response.headers.has_token(u'Transfer-Encoding', u'chunked'):
            self._chunks = []
        elif len(lengths) == 1 and _LENGTH.match(min(lengths)):
            # Repeated equal values are valid, different ones are not (RFC 9112 6.3).
            self._size = int(min(lengths))

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
