"""Options that every end of a WebSocket has, with I/O or without: defaults, and checks."""

from __future__ import absolute_import, division, print_function

from functools import partial

from lomond._checks import check_callable, check_count, check_flag, check_seconds
from lomond._compat import TYPE_CHECKING
from lomond.protocol.extensions.negotiation import check_factories, make_extensions
from lomond.protocol.extensions.permessage_deflate import DeflateOptions, PermessageDeflate
from lomond.protocol.handshake import check_protocols

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, List, Optional, Union  # noqa: F401

    from lomond._compat import text_type
    from lomond.protocol.extensions.base import Extension  # noqa: F401
    from lomond.protocol.extensions.negotiation import Factory  # noqa: F401

    JSONLoads = Callable[[text_type], Any]
    JSONDumps = Callable[[Any], Union[bytes, text_type]]
    MessageParts = Union[bool, Callable[[int, int], Any]]

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
}  # type: Dict[str, Callable[[Any], Any]]
