"""The sending half of a `Connection`: messages and control payloads in, frames out.

Masks what a client sends, counts, and knows by the state what may go out;
the order of the frames and their way are the driver's business.
"""

from __future__ import absolute_import, division, print_function

import struct

from lomond import errors
from lomond._compat import TYPE_CHECKING
from lomond.opcode import Opcode
from lomond.protocol.frame import (
    FIN,
    LENGTH_16,
    MASKED,
    PIECE,
    SHORT_HEADER,
    cut_frame,
    encode_frame,
    encode_header,
    pack_short_masked,
)
from lomond.protocol.mask import apply_mask_to_few
from lomond.protocol.state import CAN_SEND, TRANSITIONS, State, Trigger, unavailable

if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, List, Optional, Tuple, Union  # noqa: F401

    from lomond.protocol.compression import PermessageDeflate  # noqa: F401
    from lomond.stats import Stats  # noqa: F401

_MESSAGES = frozenset([Opcode.TEXT, Opcode.BINARY])

# One call of the system's random source serves this many masking keys.
_keys_struct = struct.Struct('4s' * 64)


class Encoder(object):
    """Base of the connection: makes frames, as its state allows.

    Parameters: ``is_client``, and the rest as of `Connection`.
    """

    def __init__(self, is_client, lock, stats, random_bytes):
        # type: (bool, Callable[[], Any], Stats, Callable[[int], bytes]) -> None
        self.state = State.CONNECTING
        #: True once both Close frames were exchanged.
        self.is_close_complete = False
        self._is_client = is_client
        self._lock = lock
        self._stats = stats
        self._sent = stats.sent
        self._random_bytes = random_bytes
        self._keys = []  # type: List[bytes]    # masking keys to come
        self._deflate = None  # type: Optional[PermessageDeflate]   # once it was agreed on

    def encode(self, opcode, payload, compress=False):
        # type: (int, bytes, bool) -> bytes
        """Return the frame that carries a message or a control payload.

        Deflates a message if ``compress`` is true and compression was agreed
        on, so frames must be sent in the order of the calls. A CLOSE frame
        ends sending: only one can be made.

        Raises WebSocketUnavailable, or its kind, if the state forbids it, and
        FrameBuildError.
        """
        sent = self._sent
        size = len(payload)
        # The short way: a small message of a client's, as it is.
        if size < LENGTH_16 and self._is_client and opcode in _MESSAGES \
                and (self._deflate is None or not compress) and self.state in CAN_SEND:
            sent.messages += 1
            sent.payload_bytes += size
            sent.wire_bytes += size + SHORT_HEADER
            key = (self._keys or self._draw_keys()).pop()
            return pack_short_masked(FIN | opcode, MASKED | size, key) \
                + apply_mask_to_few(payload, key)

        payload, rsv1 = self._admit(opcode, payload, compress)
        frame = encode_frame(opcode, payload, True, rsv1, self._masking_key())
        sent.wire_bytes += len(frame)
        if opcode == Opcode.CLOSE:
            with self._lock():
                # The other thread may have moved on since the check above.
                if self.state not in CAN_SEND:
                    raise unavailable(self.state)
                self.state = TRANSITIONS[self.state, Trigger.CLOSE_SENT]
                self.is_close_complete = self.state == State.CLOSED
        return frame

    def encode_in_pieces(self, opcode, payload, compress=False):
        # type: (int, bytes, bool) -> Tuple[int, Iterator[Union[bytes, memoryview]]]
        """Return the size of a message's frame, and its pieces, made while they are sent.

        For large messages; otherwise as `encode`.
        """
        payload, rsv1 = self._admit(opcode, payload, compress)
        key = self._masking_key()
        header = encode_header(opcode, len(payload), True, rsv1, key)
        size = len(header) + len(payload)
        self._sent.wire_bytes += size
        return size, cut_frame(header, payload, key)

    def _admit(self, opcode, payload, compress):
        # type: (int, bytes, bool) -> Tuple[bytes, bool]
        """Count what is to be sent; return the payload, and whether it is compressed now."""
        if self.state not in CAN_SEND:
            raise unavailable(self.state)
        if opcode == Opcode.CONTINUATION:
            raise errors.FrameBuildError('a message goes out whole: there is none to continue')
        if opcode in _MESSAGES:
            self._sent.messages += 1
            self._sent.payload_bytes += len(payload)
            if compress and self._deflate is not None:
                return self._deflate.compress(payload), True
        elif opcode == Opcode.PING:
            self._stats.pings_sent += 1
        return payload, False

    def encode_many(self, messages, compress=False):
        # type: (Iterable[Tuple[int, bytes]], bool) -> Iterator[bytes]
        """Yield the frames of pairs of an opcode and a payload, joined to pieces of some 64 KiB.

        Each is to be sent before the next is asked for. Raises as `encode`.
        """
        frames = []  # type: List[bytes]
        size = 0
        for opcode, payload in messages:
            frame = self.encode(opcode, payload, compress)
            frames.append(frame)
            size += len(frame)
            if size >= PIECE:
                yield b''.join(frames)
                frames = []
                size = 0
        if frames:
            yield b''.join(frames)

    def _masking_key(self):
        # type: () -> Optional[bytes]
        """Return the next frame's, 4 bytes that a server can't foresee (RFC 6455 10.3)."""
        return (self._keys or self._draw_keys()).pop() if self._is_client else None

    def _draw_keys(self):
        # type: () -> List[bytes]
        drawn = _keys_struct.unpack(self._random_bytes(_keys_struct.size))
        self._keys = list(reversed(drawn))
        return self._keys
