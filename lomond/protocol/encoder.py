"""The sending half of a connection: messages and control payloads in, frames out.

Masks what a client sends, counts it, and refuses what the state forbids. Sends nothing itself, and
keeps no queue: the driver sends the frames in the order in which they were made.
"""

from __future__ import absolute_import, division, print_function

import logging
import struct

from lomond import errors
from lomond._compat import TYPE_CHECKING, text_type, to_bytes
from lomond._describe import describe_with_type
from lomond.opcode import Opcode
from lomond.protocol.close import decode_close
from lomond.protocol.extensions import permessage_deflate
from lomond.protocol.extensions.base import send_through
from lomond.protocol.frame import (
    CONTROL_BIT,
    FIN,
    LENGTH_16,
    PIECE,
    RSV1,
    SHORT_HEADER,
    cut_frame,
    encode_frame,
    encode_header,
    masked_small_frame,
)
from lomond.protocol.state import Trigger, cut_short, unavailable

if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, List, Optional, Sequence, Tuple, Union  # noqa: F401

    from lomond.protocol.extensions.base import Extension  # noqa: F401
    from lomond.protocol.extensions.deflate import DeflateCodec  # noqa: F401
    from lomond.protocol.state import Lifecycle  # noqa: F401
    from lomond.stats import Stats  # noqa: F401

log = logging.getLogger('lomond')  # type: logging.Logger

_MESSAGES = frozenset([Opcode.TEXT, Opcode.BINARY])

# One call of the system's random source serves many masking keys; a few where a connection sends
# little, as most of a pool's do: 64 keys take 3 KB.
_many_keys = struct.Struct('4s' * 64)
_few_keys = struct.Struct('4s' * 4)


class Encoder(object):
    """Makes frames, as the state of the connection allows.

    Parameters: ``is_client``, and the others as for `Connection`, whose state
    is ``lifecycle``.
    """

    __slots__ = (
        '_compresses', '_control_rsv', '_drawn_at', '_extensions', '_is_client', '_keys',
        '_lifecycle', '_may_be_short', '_random_bytes', '_rsv', '_sent', '_stats', 'deflate',
        'failure', 'unfinished')

    def __init__(self, is_client, lifecycle, stats, random_bytes):
        # type: (bool, Lifecycle, Stats, Callable[[int], bytes]) -> None
        self.deflate = None  # type: Optional[DeflateCodec]
        #: The opcode of a message of which `encode_part` has made some frames, but not the last.
        self.unfinished = None  # type: Optional[int]
        self._compresses = False        # that message
        #: What an extension raised, in words: no frame can be made after that.
        self.failure = None  # type: Optional[text_type]
        self._extensions = ()  # type: Sequence[Extension]  # not permessage-deflate alone
        # The reserved bits of those extensions, in messages and in control frames.
        self._rsv = self._control_rsv = 0
        self._is_client = is_client
        # The short way is a client's: it masks what is small.
        self._may_be_short = is_client
        self._lifecycle = lifecycle
        self._stats = stats
        self._sent = stats.sent
        self._random_bytes = random_bytes
        self._keys = []  # type: List[bytes]    # masking keys to come
        self._drawn_at = 0      # how many messages had been sent when they were drawn

    def start(self, deflate, extensions=()):
        # type: (Optional[DeflateCodec], Sequence[Extension]) -> None
        """Begin to send, with the codec that was agreed on, or else with extensions."""
        self.deflate = deflate
        if extensions:
            self._extensions = extensions
            for extension in extensions:
                self._rsv |= extension.rsv
                if extension.name != permessage_deflate.NAME:   # RFC 7692 6.1: those are plain
                    self._control_rsv |= extension.rsv
            self._may_be_short = False

    @property
    def supports_compression(self):
        # type: () -> bool
        """True if permessage-deflate was agreed on."""
        return self.deflate is not None or any(
            extension.name == permessage_deflate.NAME for extension in self._extensions)

    def release(self, logger=log):
        # type: (Any) -> None
        """Free what the extensions hold: nothing is sent any more."""
        if self.deflate is not None:
            self.deflate.release()
        for extension in self._extensions:
            try:
                extension.release()
            except Exception:
                logger.exception(
                    'the extension %s failed to release what it holds', extension.name)

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
        # The short way: a client's small message, uncompressed.
        if size < LENGTH_16 and self._may_be_short and opcode in _MESSAGES \
                and (self.deflate is None or not compress) and self._lifecycle.may_send:
            sent.messages += 1
            sent.payload_bytes += size
            sent.wire_bytes += size + SHORT_HEADER
            key = (self._keys or self._draw_keys()).pop()
            return masked_small_frame(FIN | opcode, payload, key)

        if opcode == Opcode.CLOSE:
            return self._encode_close(payload)
        payload, rsv = self._admit(opcode, payload, compress)
        if self._extensions:
            rsv, payload = self._send_through(opcode, payload, True, compress)
        frame = encode_frame(opcode, payload, True, rsv, self._masking_key())
        if opcode in _MESSAGES:
            sent.messages += 1
            sent.payload_bytes += size
        sent.wire_bytes += len(frame)
        return frame

    def _send_through(self, opcode, payload, fin, compress):
        # type: (int, bytes, bool, bool) -> Tuple[int, bytes]
        """Return the reserved bits and the payload that extensions make of a frame's payload."""
        if self.failure is not None:
            raise errors.WebSocketUnavailable(
                'nothing can be sent any more, as an extension failed: {}', self.failure)
        try:
            rsv, payload = send_through(self._extensions, opcode, payload, fin, compress)
            allowed = self._control_rsv if opcode & CONTROL_BIT else self._rsv
            if rsv & ~allowed:
                raise errors.FrameBuildError(
                    'the extensions set the bits 0x{:02x} of a {} frame, but theirs are 0x{:02x}',
                    rsv, Opcode.to_str(opcode), allowed)
            return rsv, payload
        except BaseException as error:
            # An extension before that one, such as permessage-deflate, may be ahead of the peer.
            self.failure = describe_with_type(error)
            raise

    def _encode_close(self, payload):
        # type: (bytes) -> bytes
        """Return our one Close frame; FrameBuildError for one that the peer has to refuse."""
        if not self._lifecycle.may_close:
            raise unavailable(self._lifecycle.state)
        try:
            close = decode_close(payload)
        except errors.ProtocolError as error:
            raise errors.FrameBuildError(text_type(error))
        rsv = 0
        if self._extensions:
            rsv, payload = self._send_through(Opcode.CLOSE, payload, True, False)
        frame = encode_frame(Opcode.CLOSE, payload, True, rsv, self._masking_key())
        self._lifecycle.move(Trigger.CLOSE_SENT, close)
        self._sent.wire_bytes += len(frame)
        return frame

    def encode_in_frames(self, opcode, payload, compress=False, fragment_size=None):
        # type: (int, bytes, bool, Optional[int]) -> Tuple[int, Iterator[Iterator[Union[bytes, memoryview]]]]
        """Return how many bytes a message is on the wire, and its frames, each as its pieces.

        A payload of more than ``fragment_size`` bytes (None: no limit) goes
        into several frames (RFC 6455 5.4). A frame is made when the iterator
        is asked for it, and its pieces while they are sent. If the connection
        began to close since the last one, asking raises WebSocketClosing or
        WebSocketClosed.

        For large messages; otherwise as `encode`.
        """
        if opcode not in _MESSAGES:
            raise errors.FrameBuildError(
                'a {} frame can not be sent in fragments: only messages can', Opcode.to_str(opcode))
        payload_size = len(payload)
        payload, rsv = self._admit(opcode, payload, compress)
        length = len(payload)
        if fragment_size is None or length <= fragment_size:
            fragment_size = length
        if self._extensions:
            frames = list(self._transform(opcode, payload, fragment_size, compress))
            return sum(len(header) + len(data) for header, data, _key in frames), \
                self._give_out(frames, payload_size)
        key = self._masking_key()
        header = encode_header(opcode, fragment_size, fragment_size == length, rsv, key)
        full, rest = divmod(length, fragment_size or 1)
        size = length + max(1, full) * len(header)
        if rest:
            size += len(encode_header(opcode, rest, True, 0, key))
        return size, self._cut_message(payload, payload_size, fragment_size, header, key)

    def _transform(self, opcode, payload, fragment_size, compress):
        # type: (int, bytes, int, bool) -> Iterator[Tuple[bytes, bytes, Optional[bytes]]]
        """Yield the header, payload and masking key of each frame that extensions make."""
        for start in range(0, len(payload) or 1, fragment_size or 1):
            fragment = payload[start:start + fragment_size]
            fin = start + fragment_size >= len(payload)
            rsv, data = self._send_through(opcode, fragment, fin, compress)
            key = self._masking_key()
            yield encode_header(opcode, len(data), fin, rsv, key), data, key
            opcode = Opcode.CONTINUATION

    def _give_out(self, frames, payload_size):
        # type: (List[Tuple[bytes, bytes, Optional[bytes]]], int) -> Iterator[Iterator[Union[bytes, memoryview]]]
        for number, (header, data, key) in enumerate(frames):
            if number:
                self._check_unbroken()
            self._sent.wire_bytes += len(header) + len(data)
            if number == len(frames) - 1:
                self._sent.messages += 1
                self._sent.payload_bytes += payload_size
            yield cut_frame(header, data, key)

    def _check_unbroken(self):
        # type: () -> None
        if not self._lifecycle.may_send:
            raise cut_short(self._lifecycle.state)

    def _cut_message(self, payload, payload_size, fragment_size, header, key):
        # type: (bytes, int, int, bytes, Optional[bytes]) -> Iterator[Iterator[Union[bytes, memoryview]]]
        view = memoryview(payload)      # its slices are no copies
        start = 0
        while True:
            fragment = view[start:start + fragment_size]
            start += len(fragment)
            left = len(payload) - start
            self._sent.wire_bytes += len(header) + len(fragment)
            if not left:
                # Counted once it is whole: a Close frame may cut it short.
                self._sent.messages += 1
                self._sent.payload_bytes += payload_size
            yield cut_frame(header, fragment, key)
            if not left:
                return
            self._check_unbroken()
            key = self._masking_key()
            header = encode_header(
                Opcode.CONTINUATION, min(left, fragment_size), left <= fragment_size, 0, key)

    def encode_part(self, opcode, payload, is_last, compress=False):
        # type: (int, bytes, bool, bool) -> bytes
        """Return the frame that carries a part of a message: its first, the next, or the last.

        Each part is given with the opcode of the message; ``compress`` counts with the first.
        Until the last there must be no other message in between; pings, pongs and a Close frame
        may be. Raises as `encode`, and FrameBuildError for a part of another message.
        """
        if opcode not in _MESSAGES:
            raise errors.FrameBuildError(
                'a {} frame can not be sent in parts: only messages can', Opcode.to_str(opcode))
        is_first = self.unfinished is None
        if self.unfinished not in (None, opcode):
            raise errors.FrameBuildError(
                'a message of another kind has begun: finish it first')
        if not self._lifecycle.may_send:
            raise unavailable(self._lifecycle.state)
        if is_first:
            self._compresses = compress
        on_wire = opcode if is_first else Opcode.CONTINUATION
        size = len(payload)
        rsv = 0
        if self._extensions:
            rsv, payload = self._send_through(on_wire, payload, is_last, self._compresses)
        elif self.deflate is not None and self._compresses:
            payload = self.deflate.compress_part(payload, is_last)
            rsv = RSV1 if is_first else 0
        frame = encode_frame(on_wire, payload, is_last, rsv, self._masking_key())
        self.unfinished = None if is_last else opcode
        # The short way would send another message in the middle of this one.
        self._may_be_short = is_last and self._is_client and not self._extensions
        sent = self._sent
        sent.wire_bytes += len(frame)
        sent.payload_bytes += size
        sent.messages += is_last
        return frame

    def _admit(self, opcode, payload, compress):
        # type: (int, bytes, bool) -> Tuple[bytes, int]
        """Check that a frame may be sent; return its payload and reserved bits, deflated or not."""
        if not self._lifecycle.may_send:
            raise unavailable(self._lifecycle.state)
        if opcode == Opcode.CONTINUATION:
            raise errors.FrameBuildError(
                'a CONTINUATION frame can not be sent alone: send a whole message')
        if opcode in _MESSAGES:
            if self.unfinished is not None:
                raise errors.FrameBuildError(
                    'a message that is sent in parts has not ended: finish it first')
            if compress and self.deflate is not None:
                return self.deflate.compress(payload), RSV1
        elif opcode == Opcode.PING:
            self._stats.pings_sent += 1
        return payload, 0

    def encode_many(self, messages, compress=False, fragment_size=None):
        # type: (Iterable[Tuple[int, bytes]], bool, Optional[int]) -> Iterator[bytes]
        """Yield the frames of pairs of an opcode and a payload, joined to parts of some 64 KiB.

        Each part ends with a frame, and must be sent before the next is asked
        for. ``fragment_size``, and what is raised, as for `encode_in_frames`.
        """
        frames = []  # type: List[bytes]
        size = 0
        for opcode, payload in messages:
            if fragment_size is None or len(payload) <= fragment_size:
                frame = self.encode(opcode, payload, compress)
                frames.append(frame)
                size += len(frame)
                if size >= PIECE:
                    yield b''.join(frames)
                    frames, size = [], 0
                continue
            if frames:
                yield b''.join(frames)
                frames, size = [], 0
            for pieces in self.encode_in_frames(opcode, payload, compress, fragment_size)[1]:
                yield b''.join([to_bytes(piece) for piece in pieces])
        if frames:
            yield b''.join(frames)

    def _masking_key(self):
        # type: () -> Optional[bytes]
        """Return the key of the next frame, 4 bytes that nobody can predict (RFC 6455 10.3)."""
        return (self._keys or self._draw_keys()).pop() if self._is_client else None

    def _draw_keys(self):
        # type: () -> List[bytes]
        sent = self._sent.messages
        keys = _many_keys if sent > self._drawn_at + 1 else _few_keys
        self._drawn_at = sent
        self._keys = list(reversed(keys.unpack(self._random_bytes(keys.size))))
        return self._keys
