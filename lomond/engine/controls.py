"""Control frames that wait to be sent, and their order.

Any thread may add one; the thread that holds the writer's lock takes them.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING
from lomond.opcode import Opcode

if TYPE_CHECKING:
    from typing import List, Optional, Tuple  # noqa: F401

#: How many of the user's pings and pongs may wait.
MAX_WAITING = 64


class ControlFrames(object):
    """Control frames, in their order: the user's, the pong to the latest ping, a Close."""

    __slots__ = ('_pong', '_users', 'any', 'close', 'has_closed', 'holds_close')

    def __init__(self):
        # type: () -> None
        # Lists, as their append and pop are atomic.
        self._users = []  # type: List[Tuple[int, bytes]]
        self._pong = []  # type: List[Tuple[int, bytes]]    # at most one
        #: The payload of a Close frame, until that was sent.
        self.close = None  # type: Optional[bytes]
        #: True once a Close frame has been added, or is being sent: nothing may be added after it.
        self.has_closed = False  # type: bool
        #: True while the application hasn't handled Closing, though the peer's Close has been read.
        self.holds_close = False  # type: bool
        #: True if a frame waits. Set last, so that a thread that reads it finds what was added.
        self.any = False  # type: bool

    @property
    def has_users(self):
        # type: () -> bool
        """True if a ping or pong of the user's waits."""
        return bool(self._users)

    @property
    def has_but_close(self):
        # type: () -> bool
        """True if a ping or a pong waits."""
        return bool(self._users or self._pong)

    @property
    def is_full(self):
        # type: () -> bool
        """True if no other ping or pong of the user's may wait."""
        return len(self._users) >= MAX_WAITING

    def add(self, opcode, payload):
        # type: (int, bytes) -> None
        """Add a frame of the user's."""
        if opcode == Opcode.CLOSE:
            self._add_close(payload)
        else:
            self._users.append((opcode, payload))
        self.any = True

    def add_reply(self, opcode, payload):
        # type: (int, bytes) -> None
        """Add a frame of the protocol's: a Close, or a pong, in the place of an earlier one."""
        if opcode == Opcode.PONG:
            self._pong[:] = [(opcode, payload)]     # RFC 6455 5.5.3: one to the latest ping will do
        else:
            self._add_close(payload)
        self.any = True

    def _add_close(self, payload):
        # type: (bytes) -> None
        self.has_closed = True
        self.close = payload

    def withdraw(self, opcode, payload):
        # type: (int, bytes) -> bool
        """Take back a ping or pong of the user's; False if it has been taken to be sent."""
        try:
            self._users.remove((opcode, payload))
            return True
        except ValueError:
            return False

    def take(self, may_close=True):
        # type: (bool) -> Optional[Tuple[int, bytes]]
        """Return the opcode and payload of the next frame, or None.

        A Close stays until its taker calls `close_sent`, as the loop's end
        waits for that.
        """
        self.any = False
        taken = None
        for waiting in (self._users, self._pong):
            if waiting and taken is None:
                try:
                    taken = waiting.pop(0)
                except IndexError:
                    pass        # another thread has just withdrawn it
        if taken is None and may_close and self.close is not None and not self.holds_close:
            taken = Opcode.CLOSE, self.close
        if self._users or self._pong or self.close is not None:
            self.any = True
        return taken

    def close_sent(self):
        # type: () -> None
        """Forget the Close frame: it was sent, or refused."""
        self.close = None
