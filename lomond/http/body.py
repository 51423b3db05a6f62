"""The body of an HTTP answer that is a refusal: where it ends, and what it says.

Linear in its size, however it is cut.
"""

from __future__ import absolute_import, division, print_function

import re

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import List, Optional, Tuple  # noqa: F401

    from lomond.http.response import Response  # noqa: F401

_LENGTH = re.compile(r'[0-9]{1,18}\Z')

# A chunk's size is hexadecimal; extensions may follow (RFC 7230 4.1).
_CHUNK_SIZE = re.compile(br'([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n')


class BodyReader(object):
    """Gathers a body until it is complete by its head (RFC 7230 3.3.3), up to a limit in bytes."""

    def __init__(self, response, max_size):
        # type: (Response, int) -> None
        self._max_size = max_size
        self._gathered = bytearray()
        self._size = None  # type: Optional[int]    # as the head says, if it does
        self._chunks = None  # type: Optional[List[Tuple[int, int]]]    # where each begins and ends
        self._next_chunk = 0        # where its size stands
        self._searched = 0          # for the end of that line
        lengths = set(response.headers.get_list(u'Content-Length'))
        if response.status_code in (101, 204, 304):
            self._size = 0
        elif response.headers.has_token(u'Transfer-Encoding', u'chunked'):
            self._chunks = []
        elif len(lengths) == 1 and _LENGTH.match(min(lengths)):
            # Said twice it counts; what contradicts itself doesn't (RFC 9112 6.3).
            self._size = int(min(lengths))

    def feed(self, data, is_end):
        # type: (bytes, bool) -> Optional[bytes]
        """Return the body once it is complete, else None; the end of the stream completes any."""
        gathered = self._gathered
        gathered += data
        # No more is kept than what counts, so that the cuts make no difference.
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
        """Take note of further chunks; return if there is none to come."""
        while True:
            line_end = self._gathered.find(b'\r\n', self._searched)
            if line_end < 0:
                self._searched = max(self._next_chunk, len(self._gathered) - 1)
                return False
            match = _CHUNK_SIZE.match(self._gathered, self._next_chunk)
            size = 0 if match is None else int(bytes(match.group(1)), 16)
            if size == 0:       # the last one; or garbage, and to wait for more is pointless
                return True
            start = line_end + 2
            chunks.append((start, start + size))
            self._next_chunk = self._searched = start + size + 2
