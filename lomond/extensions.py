"""Extensions of the protocol (RFC 6455 9): permessage-deflate (RFC 7692), and how to write others.

`offer`, `accept` and `answer` agree on them in opening handshakes that were made elsewhere.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING
from lomond.protocol.extensions import negotiation
from lomond.protocol.extensions.base import Extension
from lomond.protocol.extensions.permessage_deflate import DeflateOptions, PermessageDeflate
from lomond.protocol.frame import RSV1, RSV2, RSV3, FrameHeader

if TYPE_CHECKING:
    from typing import Iterable, List, Sequence, Tuple  # noqa: F401

    from lomond._compat import text_type  # noqa: F401
    from lomond.protocol.extensions.negotiation import Factory  # noqa: F401

__all__ = [
    'DeflateOptions', 'Extension', 'FrameHeader', 'PermessageDeflate', 'RSV1', 'RSV2', 'RSV3',
    'SUPPORTED', 'accept', 'answer', 'offer']

#: The extensions of this package, by their names.
SUPPORTED = {PermessageDeflate.name: PermessageDeflate}


def offer(factories):
    # type: (Iterable[Factory]) -> Tuple[text_type, List[Extension]]
    """Make a client's offer: return its Sec-WebSocket-Extensions, and the extensions for `accept`.

    The value is empty if nothing is offered: then leave the header out. Raises TypeError and
    ValueError for factories of anything but extensions, and ValueError for one that is required but
    offers nothing.
    """
    return negotiation.offer(negotiation.make_extensions(negotiation.check_factories(factories)))


def accept(header, offered):
    # type: (text_type, Sequence[Extension]) -> List[Extension]
    """Return the extensions that a server chose, in its order, for `Connection.accept`.

    Parameters: the value of its Sec-WebSocket-Extensions, empty if it sent none; the extensions
    that `offer` returned. Raises `lomond.errors.HandshakeError` if the answer isn't allowed, or
    leaves out an extension that is required (RFC 6455 9.1).
    """
    return negotiation.accept(header, offered)


def answer(header, factories):
    # type: (text_type, Iterable[Factory]) -> Tuple[text_type, List[Extension]]
    """Make a server's answer: return its Sec-WebSocket-Extensions, and the agreed extensions.

    Parameters: the value of the client's header, empty if it sent none; factories of what the
    server supports. The value is empty if nothing was agreed on: then leave the header out. Raises
    `lomond.errors.HandshakeError` if the client's header is malformed.
    """
    supported = negotiation.make_extensions(negotiation.check_factories(factories))
    return negotiation.answer(header, supported)
