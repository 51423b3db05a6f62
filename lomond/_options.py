"""Options that every end of a WebSocket has, with I/O or without: defaults, and checks."""

from __future__ import absolute_import, division, print_function

from functools import partial

from lomond._checks import check_callable, check_count, check_flag, check_logger, check_seconds
from lomond._compat import TYPE_CHECKING, native_to_text, text_type
from lomond.errors import HandshakeError
from lomond.protocol.connection import CLIENT
from lomond.protocol.extensions import negotiation
from lomond.protocol.extensions.base import Extension
from lomond.protocol.extensions.grammar import parse_extensions
from lomond.protocol.extensions.negotiation import check_factories, make_extensions
from lomond.protocol.extensions.permessage_deflate import DeflateOptions, PermessageDeflate
from lomond.protocol.handshake import check_protocols

if TYPE_CHECKING:
    import logging
    from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple, Union  # noqa: F401

    from lomond.protocol.extensions.negotiation import Factory  # noqa: F401

    JSONLoads = Callable[[text_type], Any]
    JSONDumps = Callable[[Any], Union[bytes, text_type]]
    MessageParts = Union[bool, Callable[[int, int], Any]]
    Logger = Union[logging.Logger, logging.LoggerAdapter[Any]]

#: The largest message accepted by default, in bytes.
MAX_MESSAGE_SIZE = 64 * 1024 * 1024

#: The largest frame of a message sent by default, in bytes of payload.
FRAGMENT_SIZE = 1024 * 1024


def deflate_options(compress):
    # type: (Union[None, bool, DeflateOptions]) -> Optional[DeflateOptions]
    """Return what to offer or allow of permessage-deflate, None for nothing."""
    if isinstance(compress, DeflateOptions):
        return compress
    if compress in (True, False, None):
        return DeflateOptions() if compress else None
    raise TypeError('compress must be a bool or DeflateOptions, not {!r}'.format(compress))


def supported_extensions(factories, compress):
    # type: (Iterable[Factory], Union[None, bool, DeflateOptions]) -> List[Extension]
    """Make what one connection offers or supports; raises what the user's factories do."""
    extensions = make_extensions(factories)
    options = deflate_options(compress)
    if options is not None and not any(
            extension.name == PermessageDeflate.name for extension in extensions):
        extensions.append(PermessageDeflate(options))
    return extensions


def agreed_extensions(given, role):
    # type: (Union[text_type, Iterable[Extension]], str) -> Sequence[Extension]
    """Return the extensions that a handshake agreed on, in the server's order.

    Parameters: ``given``, the server's Sec-WebSocket-Extensions, of which permessage-deflate is
    known, or the extensions; ``role``, that of this end. Raises TypeError and ValueError.
    """
    header = native_to_text(given)
    if isinstance(header, text_type):
        return _read_agreed(header, role)
    agreed = tuple(given) if hasattr(given, '__iter__') else (None,)  # type: Tuple[Any, ...]
    if not all(_is_agreed(extension) for extension in agreed):
        raise TypeError(
            'extensions must be the text of Sec-WebSocket-Extensions in the answer of the '
            'handshake, or the list that lomond.extensions.accept or answer returned, '
            'not {!r}'.format(given))
    return agreed


def _is_agreed(extension):
    # type: (Any) -> bool
    if isinstance(extension, PermessageDeflate):
        return extension.codec is not None
    return isinstance(extension, Extension)


def _read_agreed(header, role):
    # type: (text_type, str) -> Sequence[Extension]
    known = [PermessageDeflate()]
    try:
        if role == CLIENT:
            return negotiation.accept(header, known)
        # Whatever a server may answer is also an offer that it leads to.
        agreed = negotiation.answer(header, known)[1]
        if len(agreed) == len(parse_extensions(header)):
            return agreed
    except HandshakeError:
        pass
    raise ValueError(
        'extensions must name what the handshake agreed on, permessage-deflate or nothing, '
        'not {!r}: for others, pass the list that lomond.extensions.accept or answer '
        'returned'.format(header))


def _check_parts(message_parts):
    # type: (Any) -> MessageParts
    if not (callable(message_parts) or message_parts in (True, False)):
        raise TypeError('message_parts must be a bool, or a function of an opcode and a size, '
                        'not {!r}'.format(message_parts))
    return message_parts    # type: ignore[no-any-return]


def _check_compress(compress):
    # type: (Union[None, bool, DeflateOptions]) -> Union[None, bool, DeflateOptions]
    deflate_options(compress)
    return compress


#: By an attribute's name: what returns the value to keep, or raises.
CHECKS = {
    'protocols': check_protocols,
    'compress': _check_compress,
    'max_message_size': partial(
        check_count, 'max_message_size', least=1, none_for='no limit'),
    'write_timeout': partial(check_seconds, 'write_timeout'),
    'json_loads': partial(check_callable, 'json_loads'),
    'json_dumps': partial(check_callable, 'json_dumps'),
    'fragment_size': partial(
        check_count, 'fragment_size', least=1, none_for='one frame for each message'),
    'max_read_ahead': partial(
        check_count, 'max_read_ahead', least=1, none_for='no limit'),
    'extension_factories': check_factories,
    'message_parts': _check_parts,
    'text_as_bytes': partial(check_flag, 'text_as_bytes'),
    'logger': check_logger,
}  # type: Dict[str, Callable[[Any], Any]]
