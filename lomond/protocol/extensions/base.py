"""What an extension of the protocol is (RFC 6455 9), to be subclassed: see `Extension`.

How extensions are agreed on is in `negotiation`.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING, to_bytes

if TYPE_CHECKING:
    from typing import Any, ClassVar, Iterable, Iterator, List, Optional, Sequence, Tuple  # noqa: F401

    from lomond._compat import text_type  # noqa: F401
    from lomond.protocol.extensions.grammar import Parameter  # noqa: F401
    from lomond.protocol.frame import FrameHeader  # noqa: F401


class Extension(object):
    """An extension, on one connection.

    A WebSocket and a server take factories of these, ``extensions=[MyExtension]``: each is called
    without arguments for each connection. Subclass it, set ``name``, and override what you need.

    Where several are agreed on, what is sent passes through them in the order of the server's
    answer, and what is received in the opposite order (RFC 6455 9.1).

    The methods for frames are called in the thread that receives or sends, one frame at a time.
    They may raise `lomond.errors.ProtocolError`, or a subclass with another ``close_code``: that
    fails the connection when a frame is received, and comes out of the call that sends one.
    """

    #: The name in Sec-WebSocket-Extensions, a token.
    name = u''  # type: ClassVar[text_type]

    #: The reserved bits that it sets and understands: of `RSV1`, `RSV2` and `RSV3`, 0 for none.
    rsv = 0  # type: ClassVar[int]

    #: A client's, whose `offer` must not return None then: refuse a server that doesn't agree on
    #: it. A server ignores it.
    is_required = False  # type: bool

    # -- the opening handshake --

    def offer(self):
        # type: () -> Optional[List[Parameter]]
        """Return the parameters of a client's offer, or None to offer nothing.

        Parameters are pairs of a name and a value; the value is a token, or None for none.
        """
        return []

    def finalize(self, parameters):
        # type: (List[Parameter]) -> None
        """Take the parameters of the server's answer to the `offer`.

        Raises `lomond.errors.HandshakeError` for an answer that the offer doesn't allow: that
        fails the handshake, unless a later extension of this name takes the answer.
        """

    def accept(self, parameters):
        # type: (List[Parameter]) -> Optional[List[Parameter]]
        """Return the parameters of a server's answer to an offer, or None to decline the offer.

        It may be called again, for the client's next offer, after it declined one.
        """
        return []

    # -- frames that are received --

    def frame_inbound_header(self, header):
        # type: (FrameHeader) -> None
        """Look at the header of a frame, of a control frame, too.

        It has ``opcode``, ``fin``, ``rsv`` (the bits that are set) and ``length`` (in bytes, as
        received).
        """

    def frame_inbound_payload_data(self, data):
        # type: (bytes) -> bytes
        """Return the result for a piece of the frame's payload, which is never empty."""
        return data

    def frame_inbound_complete(self, fin):
        # type: (bool) -> Optional[bytes]
        """Return bytes to append at the end of the frame, which ends its message if ``fin``.

        b'' or None for nothing.
        """
        return b''

    # -- frames that are sent --

    def frame_outbound(self, opcode, rsv, payload, fin):
        # type: (int, int, bytes, bool) -> Tuple[int, bytes]
        """Return the reserved bits and the payload of a frame to send, of a control frame, too.

        Parameters: the opcode (0 for a fragment after the first), the bits that earlier extensions
        have set, the payload, and whether the frame ends its message. A control frame must keep to
        125 bytes.
        """
        return rsv, payload

    # -- for the connection --

    def receive_through(self, pieces, is_end, fin):
        # type: (Iterable[bytes], bool, bool) -> Iterator[bytes]
        """Yield the results for pieces of a frame's payload, the frame's last ones or not."""
        for piece in pieces:
            data = self.frame_inbound_payload_data(piece)
            if data.__class__ is not bytes:
                data = self._to_bytes('frame_inbound_payload_data', data)
            if data:
                yield data
        if is_end:
            rest = self.frame_inbound_complete(fin)
            if rest:
                yield self._to_bytes('frame_inbound_complete', rest)

    def send_through(self, opcode, rsv, payload, fin, compress):
        # type: (int, int, bytes, bool, bool) -> Tuple[int, bytes]
        """Call `frame_outbound`; ``compress`` is the sender's wish for this message."""
        return self.frame_outbound(opcode, rsv, payload, fin)

    def release(self):
        # type: () -> None
        """Free what the connection needed: it has ended."""

    def _to_bytes(self, method, data):
        # type: (str, Any) -> bytes
        """Return what a method returned, as bytes; raises TypeError, which names it."""
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise self.wrong_result(method, 'bytes', data)
        return to_bytes(data)

    def wrong_result(self, method, wanted, given):
        # type: (str, str, Any) -> TypeError
        """Make the error for a method that returned what it may not."""
        return TypeError('{}.{}() of the extension {!r} must return {}, not {!r}'.format(
            type(self).__name__, method, self.name, wanted, given))


def receive_through(extensions, payload, is_end, fin):
    # type: (Sequence[Extension], bytes, bool, bool) -> Iterable[bytes]
    """Return the results for a piece of a frame's payload, made when they are asked for."""
    pieces = [payload] if payload else []  # type: Iterable[bytes]
    for extension in reversed(extensions):
        pieces = extension.receive_through(pieces, is_end, fin)
    return pieces


def send_through(extensions, opcode, payload, fin, compress):
    # type: (Sequence[Extension], int, bytes, bool, bool) -> Tuple[int, bytes]
    """Return the reserved bits and the payload of a frame to send."""
    rsv = 0
    for extension in extensions:
        result = extension.send_through(opcode, rsv, payload, fin, compress)
        try:
            rsv, payload = result
        except (TypeError, ValueError):
            raise extension.wrong_result(
                'frame_outbound', 'a pair, the reserved bits and the payload', result)
        if payload.__class__ is not bytes and not isinstance(payload, bytes):
            raise extension.wrong_result(
                'frame_outbound', 'a pair, the reserved bits and the payload in bytes', result)
    return rsv, payload
