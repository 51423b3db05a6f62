"""Where the payload of a message is kept until it is whole.

Knows nothing of frames: they are `message`'s.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, List  # noqa: F401

#: A message that is gathered in a `Place` has so many bytes at least, and at most.
MIN_PLACE = 128 * 1024
MAX_PLACE = 1024 * 1024


class Pieces(object):
    """Bytes, or text, gathered in linear time however small the pieces are.

    Parameters: ``join``, which makes one of several.
    """

    # A peer that sends a byte at a time must not cost us an object a byte.
    _MERGE = 1024

    def __init__(self, join):
        # type: (Callable[[Iterable[Any]], Any]) -> None
        self._join = join
        self._small = []  # type: List[Any]
        self._merged = []  # type: List[Any]

    def add(self, piece):
        # type: (Any) -> None
        self._small.append(piece)
        if len(self._small) == self._MERGE:
            self._merged.append(self._join(self._small))
            self._small = []

    @property
    def size(self):
        # type: () -> int
        """How many bytes, or characters, there are."""
        return sum([len(piece) for piece in self._merged + self._small])

    @property
    def count(self):
        # type: () -> int
        """How many objects they are in."""
        return len(self._merged) + len(self._small)

    def join(self):
        # type: () -> Any
        return self._join(self._merged + self._small)


class Place(object):
    """So many bytes, gathered where the system put them.

    Its memory stays for the next message: the system takes longer to provide
    it than to fill it.
    """

    def __init__(self):
        # type: () -> None
        self._memory = bytearray()
        self._size = self._used = 0

    #: All bytes are in one object.
    count = 1

    @property
    def size(self):
        # type: () -> int
        """How many bytes there are."""
        return self._used

    @property
    def memory_size(self):
        # type: () -> int
        """How many bytes of memory there are, used or not."""
        return len(self._memory)

    def begin(self, size):
        # type: (int) -> Place
        """Make room for so many bytes, and forget what was here."""
        if len(self._memory) < size:
            self._memory = bytearray(size)
        self._size = size
        self._used = 0
        return self

    @property
    def rest(self):
        # type: () -> memoryview
        """What is still to be filled."""
        return memoryview(self._memory)[self._used:self._size]

    def owns(self, view):
        # type: (memoryview) -> bool
        """Tell if this is a view of this memory (2.7 can't tell)."""
        return getattr(view, 'obj', self._memory) is self._memory

    def fill(self, count):
        # type: (int) -> None
        """Take note of bytes that were put at the beginning of `rest`."""
        self._used += count

    def add(self, piece):
        # type: (Any) -> None
        self.rest[:len(piece)] = piece
        self._used += len(piece)

    def join(self):
        # type: () -> bytes
        return memoryview(self._memory)[:self._size].tobytes()
