"""Where the payload of a message is kept until it is whole.

Frames are the business of `message`.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, List  # noqa: F401

#: The smallest and the largest message that is gathered in a `ReceiveBuffer`, in bytes.
MIN_BUFFERED = 128 * 1024
MAX_BUFFERED = 1024 * 1024


class Pieces(object):
    """Bytes, or text, gathered in linear time however small the pieces are.

    Parameters: ``join``, which makes one of several.
    """

    # A peer that sends one byte at a time must not cost an object for each.
    _MERGE = 1024

    def __init__(self, join):
        # type: (Callable[[Iterable[Any]], Any]) -> None
        self._join = join
        self._small = []  # type: List[Any]
        self._merged = []  # type: List[Any]

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

    def add(self, piece):
        # type: (Any) -> None
        self._small.append(piece)
        if len(self._small) == self._MERGE:
            self._merged.append(self._join(self._small))
            self._small = []

    def join(self):
        # type: () -> Any
        return self._join(self._merged + self._small)


class ReceiveBuffer(object):
    """Bytes of a message, received right into memory that stays for the next message.

    (The system takes longer to provide such memory than to fill it.)
    """

    #: All bytes are in one object.
    count = 1

    def __init__(self):
        # type: () -> None
        self._memory = bytearray()
        self._wanted = 0
        self.size = 0  # type: int

    def begin(self, size):
        # type: (int) -> ReceiveBuffer
        """Prepare for a message of this size, and forget the last one."""
        if len(self._memory) < size:
            self._memory = bytearray(size)
        self._wanted = size
        self.size = 0
        return self

    @property
    def memory_size(self):
        # type: () -> int
        """How many bytes of memory there are, used or not."""
        return len(self._memory)

    @property
    def rest(self):
        # type: () -> memoryview
        """The part that is still to be filled."""
        return memoryview(self._memory)[self.size:self._wanted]

    def owns(self, view):
        # type: (memoryview) -> bool
        """Return whether this is a view of this memory; True on 2.7, which can't find out."""
        return getattr(view, 'obj', self._memory) is self._memory

    def fill(self, count):
        # type: (int) -> None
        """Count bytes that were put at the beginning of `rest`."""
        self.size += count

    def add(self, piece):
        # type: (Any) -> None
        self.rest[:len(piece)] = piece
        self.size += len(piece)

    def join(self):
        # type: () -> bytes
        return memoryview(self._memory)[:self._wanted].tobytes()
