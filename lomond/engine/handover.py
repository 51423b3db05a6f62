"""A connection whose opening handshake was made elsewhere, until a session takes it over."""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Optional, Sequence  # noqa: F401

    from lomond._compat import text_type  # noqa: F401
    from lomond.net.transport import Transport  # noqa: F401
    from lomond.protocol.extensions.base import Extension  # noqa: F401


class Handover(object):
    """What a session begins with instead of dialling, once.

    Parameters: ``transport``, which is closed with this unless a session took it; ``role``, that of
    this end; ``protocol``, ``extensions`` and ``response``, what the handshake agreed on, and what
    Ready is to have.
    """

    __slots__ = ('_transports', 'extensions', 'protocol', 'response', 'role')

    def __init__(self, transport, role, protocol, extensions, response):
        # type: (Transport, str, Optional[text_type], Sequence[Extension], Any) -> None
        self._transports = [transport]      # a list, as its `pop` is atomic
        self.role = role  # type: str
        self.protocol = protocol  # type: Optional[text_type]
        self.extensions = extensions  # type: Sequence[Extension]
        self.response = response  # type: Any

    @property
    def is_used(self):
        # type: () -> bool
        """True once a session took the transport, or it was closed."""
        return not self._transports

    @property
    def transport(self):
        # type: () -> Optional[Transport]
        """The transport, as long as no session took it; from any thread."""
        return next(iter(self._transports), None)

    def take(self):
        # type: () -> Optional[Transport]
        """Return the transport, once; None after that; from any thread."""
        try:
            return self._transports.pop()
        except IndexError:
            return None

    def close(self):
        # type: () -> None
        """Close the transport unless a session took it; from any thread. Never raises."""
        transport = self.take()
        if transport is not None:
            transport.close()

    def __del__(self):
        # type: () -> None
        self.close()
