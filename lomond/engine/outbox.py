"""Messages that wait for the send buffer, up to a limit, and the choice of what to do beyond that.

They wait as messages, not as frames: a frame that was deflated can't be dropped any more, as the
ones after it refer to it. Encodes and sends nothing, and takes no lock: the writer does.
"""

from __future__ import absolute_import, division, print_function

from collections import deque

from lomond import errors
from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Iterable, Iterator, List, Optional, Sequence, Tuple  # noqa: F401

    from typing_extensions import Final, Literal  # noqa: F401

    from lomond.engine.turns import Turn  # noqa: F401

    #: One of `Overflow`.
    OverflowName = Literal['raise', 'block', 'drop_oldest', 'latest']

    #: Messages that stay together, pairs of an opcode and a payload, and whether to compress them.
    Entry = Tuple[Sequence[Tuple[Optional[int], bytes]], bool]

#: The default of ``max_queue``, in bytes.
MAX_QUEUE = 1024 * 1024

#: What a message counts beside its payload, in bytes: about its size in memory.
MESSAGE_SIZE = 64


class Overflow(object):
    """What to do with a message that the outbox has no space for."""

    # Raise OutboxFull.
    RAISE = 'raise'  # type: Final
    # Wait for space; in the loop's own thread raise.
    BLOCK = 'block'  # type: Final
    # Drop the oldest messages.
    DROP_OLDEST = 'drop_oldest'  # type: Final
    # Drop all other messages.
    LATEST = 'latest'  # type: Final


class Parts(object):
    """The payload of a message that is sent with a frame for each part."""

    __slots__ = ('parts', '_size')

    def __init__(self, parts):
        # type: (Iterable[bytes]) -> None
        self.parts = list(parts)  # type: List[bytes]
        # Many small parts take more memory than their bytes.
        self._size = sum([len(part) for part in self.parts]) + MESSAGE_SIZE * len(self.parts)

    def __len__(self):
        # type: () -> int
        return self._size


class PartsToCome(object):
    """The payload of a message whose parts are made while it is sent: one waits at a time.

    Parameters: ``part``, the first, never empty; ``turn``, called when the next is wanted;
    ``is_late``, whether the peer's Close came before.
    """

    __slots__ = ('has_begun', 'is_complete', 'is_late', 'part', 'turn')

    def __init__(self, part, turn, is_late):
        # type: (bytes, Turn, bool) -> None
        #: The part that waits, or None.
        self.part = part  # type: Optional[bytes]
        self.turn = turn  # type: Turn
        self.is_late = is_late  # type: bool
        #: Whether it is the turn of the message; and whether it has all its parts.
        self.has_begun = False  # type: bool
        self.is_complete = False  # type: bool

    def __len__(self):
        # type: () -> int
        return 0    # the size must not change while it is in the queue

    @property
    def parts(self):
        # type: () -> Iterator[Optional[bytes]]
        """Yield each part, and None where there is none yet."""
        self.has_begun = True
        while self.part is not None or not self.is_complete:
            part = self.part
            yield part
            if part is not None:        # it is out
                self.part = None
                self.turn()


OVERFLOWS = frozenset([Overflow.RAISE, Overflow.BLOCK, Overflow.DROP_OLDEST, Overflow.LATEST])


class Driver(object):
    """Which thread drives connections, as far as is known; one for all that a loop drives."""

    __slots__ = ('thread',)

    def __init__(self):
        # type: () -> None
        #: The thread's identifier: it never waits for space.
        self.thread = None  # type: Optional[int]


class Outbox(object):
    """A queue of messages.

    Parameters: ``max_queue``, how many bytes may wait, or None for no limit; ``overflow``,
    one of `Overflow`; ``is_soft``, True to let the last message exceed the limit; ``driver``, a
    `Driver`, a new one by default.
    """

    __slots__ = (
        '_entries', '_is_soft', '_kept', 'driver', 'max_queue', 'messages', 'overflow', 'size')

    def __init__(self, max_queue=MAX_QUEUE, overflow=Overflow.RAISE, is_soft=False, driver=None):
        # type: (Optional[int], OverflowName, bool, Optional[Driver]) -> None
        self._is_soft = is_soft
        #: Which thread sends what waits.
        self.driver = driver or Driver()  # type: Driver
        self.max_queue = max_queue  # type: Optional[int]
        self.overflow = overflow  # type: OverflowName
        # Deques once something waits: an empty one takes 600 bytes.
        self._entries = ()  # type: Any
        # Reserved for the next connection, whose Ready the user has not handled yet.
        self._kept = ()  # type: Any
        #: Bytes that wait, with `MESSAGE_SIZE` for each message.
        self.size = 0  # type: int
        #: How many messages wait.
        self.messages = 0  # type: int

    def overflows(self, messages):
        # type: (Sequence[Tuple[Optional[int], bytes]]) -> bool
        """Return whether these messages exceed the limit, with all that wait."""
        size = 1 if self._is_soft else _size(messages)
        return self.max_queue is not None and self.size + size > self.max_queue

    def push(self, messages, compress):
        # type: (Sequence[Tuple[Optional[int], bytes]], bool) -> int
        """Add messages that are sent, or dropped, together; return how many were dropped for them.

        Raises OutboxFull if there is no space, and none may be made; then nothing was added.
        """
        size = _size(messages)
        limit = self.max_queue
        before = self.messages
        if limit is not None and self.overflows(messages):
            if size > limit or self.overflow not in (Overflow.LATEST, Overflow.DROP_OLDEST):
                raise errors.OutboxFull.over(limit, size, self.size, self._is_soft)
            if self.overflow == Overflow.LATEST:
                self.clear()
            while self.size + size > limit:
                self._remove_from(self._kept or self._entries)
        dropped = before - self.messages
        entries = self._entries
        if not entries:
            entries = self._entries = deque()
        entries.append((messages, compress))
        self.size += size
        self.messages += len(messages)
        return dropped

    @property
    def has_next(self):
        # type: () -> bool
        """True if a message may be sent now."""
        return bool(self._entries)

    def pop(self):
        # type: () -> Optional[Entry]
        """Take out the oldest messages to send now; None without any but reserved ones."""
        return self._remove_from(self._entries) if self._entries else None

    def _remove_from(self, entries):
        # type: (Any) -> Entry
        entry = entries.popleft()  # type: Entry
        self.size -= _size(entry[0])
        self.messages -= len(entry[0])
        return entry

    def clear(self):
        # type: () -> int
        """Drop all messages; return how many there were."""
        count = self.messages
        self._entries, self._kept, self.size, self.messages = (), (), 0, 0
        return count

    def take_all(self):
        # type: () -> List[Entry]
        """Take out all messages, in their order."""
        entries = list(self._kept)
        entries.extend(self._entries)
        self.clear()
        return entries

    def put_first(self, entries):
        # type: (List[Entry]) -> int
        """Add messages before all others; return how many, the oldest, there is no space for."""
        limit = self.max_queue
        kept = deque(self._entries)
        entries = list(entries)
        while entries:
            messages = entries[-1][0]
            size = _size(messages)
            if limit is not None and self.size + size > limit:
                break
            kept.appendleft(entries.pop())
            self.size += size
            self.messages += len(messages)
        self._entries = kept or ()
        return sum(len(messages) for messages, _compress in entries)

    def hold(self):
        # type: () -> None
        """Reserve what waits for the next connection, until `release`."""
        if self._kept:      # the connection before never opened
            self._kept.extend(self._entries)
        else:
            self._kept = self._entries
        self._entries = ()

    def release(self):
        # type: () -> None
        """Have the reserved messages sent, after those that wait by now."""
        if self._kept:
            self._kept.extendleft(reversed(self._entries))
            self._entries, self._kept = self._kept, ()


def _size(messages):
    # type: (Sequence[Tuple[Optional[int], bytes]]) -> int
    size = MESSAGE_SIZE * len(messages)
    for _opcode, payload in messages:
        size += len(payload)
    return size
