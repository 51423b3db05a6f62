"""One open WebSocket, for the client's role and the server's: a decoder, an encoder, their state.

Bytes in, events out; opcodes and payloads in, frames out. Which thread calls, and where the bytes
come from and go, is for the driver to decide.
"""

from __future__ import absolute_import, division, print_function

import os

from lomond import events
from lomond._compat import TYPE_CHECKING
from lomond.opcode import Opcode
from lomond.protocol.close import encode_close
from lomond.protocol.decoder import Decoder
from lomond.protocol.encoder import Encoder, log
from lomond.protocol.extensions import permessage_deflate
from lomond.protocol.limits import DEFAULT_LIMITS
from lomond.protocol.state import Lifecycle, NoLock, Trigger
from lomond.stats import Stats

if TYPE_CHECKING:
    from typing import Any, Callable, FrozenSet, Iterator, Optional, Sequence, Tuple, Type, Union  # noqa: F401

    from typing_extensions import Final  # noqa: F401

    from lomond._compat import text_type  # noqa: F401
    from lomond.errors import ProtocolError  # noqa: F401
    from lomond.events import AnyEvent  # noqa: F401
    from lomond.protocol.close import CloseFrame  # noqa: F401
    from lomond.protocol.extensions.base import Extension  # noqa: F401
    from lomond.protocol.extensions.deflate import DeflateCodec  # noqa: F401
    from lomond.protocol.limits import Limits  # noqa: F401
    from lomond.protocol.state import StateName  # noqa: F401

CLIENT = 'client'  # type: Final
SERVER = 'server'  # type: Final

_NONE = frozenset()  # type: FrozenSet[text_type]
_DEFLATE_ALONE = frozenset([permessage_deflate.NAME])


class Connection(object):
    """A WebSocket between its two handshakes.

    Parameters:

    - ``role``: `CLIENT` or `SERVER`.
    - ``limits``: how much the peer can make it hold, a `Limits`.
    - ``lock``: called for the context manager that guards the state where
      `encode` and `receive` run in two threads. It is held for moments, never
      while anything is sent.
    - ``stats``: where messages and bytes are counted, a `lomond.stats.Stats`.
    - ``random_bytes``, ``clock``: where masking keys and `received_time` come
      from; without a clock that is the time of day.
    - ``text_class``: the class of events of texts, see
      `lomond.events.text_class`.
    - ``message_parts``: whether to make an event for each part of a message
      as it arrives: a bool (False), or a function of the opcode and the size
      of a message's first frame, in bytes.

    One thread may run `receive` while others call `encode`, one at a time. A
    driver calls the parts themselves, which saves a call for each message.
    """

    __slots__ = (
        'limits', 'stats', 'lifecycle', 'decoder', 'encoder', 'protocol', 'extensions',
        '__weakref__')

    def __init__(self, role, limits=DEFAULT_LIMITS, lock=NoLock, stats=None,
                 random_bytes=os.urandom, clock=None, text_class=events.Text, message_parts=False):
        # type: (str, Limits, Any, Optional[Stats], Callable[[int], bytes], Optional[Callable[[], float]], Type[events.Text], Union[bool, Callable[[int, int], Any]]) -> None
        self.limits = limits  # type: Limits
        self.stats = stats or Stats()  # type: Stats
        self.lifecycle = Lifecycle(lock)  # type: Lifecycle
        self.decoder = Decoder(
            role == CLIENT, self.lifecycle, limits, self.stats, clock, text_class,
            message_parts)  # type: Decoder
        self.encoder = Encoder(
            role == CLIENT, self.lifecycle, self.stats, random_bytes)  # type: Encoder
        #: What the opening handshake agreed on: the subprotocol or None, and the extensions' names.
        self.protocol = None  # type: Optional[text_type]
        self.extensions = _NONE  # type: FrozenSet[text_type]

    def receive(self, data):
        # type: (bytes) -> Iterator[AnyEvent]
        """Yield the events in bytes from the peer, as `Decoder.receive` does."""
        return self.decoder.receive(data)

    def encode(self, opcode, payload, compress=False):
        # type: (int, bytes, bool) -> bytes
        """Return a frame, as `Encoder.encode` does."""
        return self.encoder.encode(opcode, payload, compress)

    def encode_close(self, code=1000, reason=u''):
        # type: (Optional[int], Union[bytes, text_type]) -> bytes
        """Return our Close frame, the one that ends sending; raises as `encode`.

        Parameters: ``code``, see `lomond.status.Status`, or None for a frame without one;
        ``reason``, cut at 123 bytes of UTF-8. Raises TypeError, ValueError.
        """
        return self.encoder.encode(Opcode.CLOSE, encode_close(code, reason))

    def take_pending(self):
        # type: () -> Optional[Tuple[int, bytes]]
        """Return the opcode and payload of a frame that the protocol itself has to send, once.

        A pong, the echo of a Close frame, or the Close frame that says how the peer broke the
        protocol; None if there is none, or nothing may follow what was sent (RFC 6455 5.5.1). Ask
        after each event, and after the last: then `encode` it.
        """
        del self.decoder.news[:]
        pending = self.decoder.take_pending()
        return pending if self.lifecycle.may_close else None

    # -- the handshakes and the end --

    def accept(self, deflate=None, extensions=()):
        # type: (Optional[DeflateCodec], Sequence[Extension]) -> None
        """Open, after the opening handshake succeeded.

        Parameters: the codec, if permessage-deflate alone was agreed on; or the extensions that
        were agreed on, in the server's order.
        """
        if extensions:
            self.extensions = frozenset(extension.name for extension in extensions)
        if deflate is None:
            deflate = permessage_deflate.alone(extensions)
        if deflate is not None:
            self.extensions = _DEFLATE_ALONE
            extensions = ()
        self.lifecycle.move(Trigger.ACCEPTED)
        self.encoder.start(deflate, extensions)
        self.decoder.start(deflate, extensions)

    def reject(self):
        # type: () -> None
        """Close, after the opening handshake failed."""
        self.lifecycle.move(Trigger.REJECTED)

    def disconnect(self, logger=log):
        # type: (Any) -> None
        """Close, after the transport has ended or was given up.

        Parameters: ``logger``, where an extension's failure is logged.
        """
        self.lifecycle.move(Trigger.DISCONNECTED)
        self.decoder.is_receiving = False
        self.encoder.release(logger)

    def stop_receiving(self):
        # type: () -> None
        """Make no more events of what was received, not even of what is held already."""
        self.decoder.is_receiving = False

    # -- how far it has come --

    @property
    def state(self):
        # type: () -> StateName
        """How far it has come, one of `lomond.protocol.state.State`."""
        return self.lifecycle.state

    @property
    def close_sent(self):
        # type: () -> Optional[CloseFrame]
        """Our Close frame, once it was encoded, or None."""
        return self.lifecycle.close_sent

    @property
    def close_received(self):
        # type: () -> Optional[CloseFrame]
        """The peer's Close frame, once it arrived, or None."""
        return self.lifecycle.close_received

    @property
    def is_close_complete(self):
        # type: () -> bool
        """True once both Close frames were exchanged."""
        return self.lifecycle.is_close_complete

    @property
    def is_receiving(self):
        # type: () -> bool
        """False once nothing that arrives can become an event any more."""
        return self.decoder.is_receiving

    @property
    def error(self):
        # type: () -> Optional[ProtocolError]
        """How the peer broke the protocol, or None."""
        return self.decoder.error

    @property
    def supports_compression(self):
        # type: () -> bool
        """True if permessage-deflate was agreed on."""
        return self.encoder.supports_compression
