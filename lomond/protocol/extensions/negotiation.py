"""Agreeing on extensions in the opening handshake (RFC 6455 9.1), for both sides.

What they do to frames is in `base`.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING, text_type
from lomond.errors import HandshakeError
from lomond.http.grammar import is_token
from lomond.protocol.extensions.base import Extension
from lomond.protocol.extensions.grammar import format_extension, parse_extensions
from lomond.protocol.frame import RSV_BITS

if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, List, Sequence, Tuple  # noqa: F401

    from lomond.protocol.extensions.grammar import Parameter  # noqa: F401

    Factory = Callable[[], Extension]


def check_factories(factories):
    # type: (Any) -> Tuple[Factory, ...]
    """Return the option ``extensions`` as a tuple; raises TypeError, ValueError."""
    if callable(factories) or not hasattr(factories, '__iter__') or isinstance(
            factories, (bytes, type(u''))):
        raise TypeError(
            'extensions must be a list of factories, such as [MyExtension], not {!r}'.format(
                factories))
    checked = tuple(factories)
    for number, factory in enumerate(checked):
        if not callable(factory):
            raise TypeError(
                'extensions takes factories, such as the class of an extension or a function that '
                'makes one, not {!r}'.format(factory))
        if factory in checked[:number]:
            raise ValueError('extensions has {!r} twice: remove one'.format(factory))
    return checked


def make_extensions(factories):
    # type: (Iterable[Factory]) -> List[Extension]
    """Make the extensions of one connection; raises TypeError and ValueError, and what they do."""
    extensions = []
    for factory in factories:
        extension = factory()
        if not isinstance(extension, Extension):
            raise TypeError('a factory in extensions must return a lomond.extensions.Extension, '
                            'not {!r}'.format(extension))
        if not _is_token(extension.name):
            raise ValueError('{}.name, the name of an extension, must be a token in text, not '
                             '{!r}'.format(type(extension).__name__, extension.name))
        if extension.rsv & ~RSV_BITS:
            raise ValueError('rsv of {} may have RSV1, RSV2 and RSV3: 0x{:X}'.format(
                extension.name, extension.rsv))
        extensions.append(extension)
    return extensions


def offer(extensions):
    # type: (Iterable[Extension]) -> Tuple[text_type, List[Extension]]
    """Return a client's Sec-WebSocket-Extensions, empty for none, and the extensions it names."""
    offered = []
    items = []
    for extension in extensions:
        parameters = extension.offer()
        if parameters is not None:
            offered.append(extension)
            items.append(_format(extension, 'offer', parameters))
        elif extension.is_required:
            raise ValueError(
                'the extension {} is required, but its offer() returned None: set is_required to '
                'False where it offers nothing'.format(extension.name))
    return u', '.join(items), offered


def _format(extension, method, parameters):
    # type: (Extension, str, List[Parameter]) -> text_type
    """Return an item of the header, of what a method of an extension returned."""
    if not isinstance(parameters, (list, tuple)) \
            or not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in parameters):
        raise extension.wrong_result(
            method, 'a list of pairs, a name and a value or None, or None instead of the list',
            parameters)
    for parameter, value in parameters:
        if not _is_token(parameter) or value is not None and not _is_token(value):
            raise ValueError(
                '{}.{}() of the extension {!r} returned {!r}: a name must be a token in text, and '
                'a value a token in text, or None'.format(
                    type(extension).__name__, method, extension.name, (parameter, value)))
    return format_extension(extension.name, parameters)


def _is_token(value):
    # type: (Any) -> bool
    return isinstance(value, (str, text_type)) and is_token(value)


def accept(value, offered):
    # type: (text_type, Sequence[Extension]) -> List[Extension]
    """Return the extensions that a server chose, in its order.

    Parameters: the value of its Sec-WebSocket-Extensions, and the extensions that were offered.
    Raises HandshakeError, its kind CompressionParameterError included.
    """
    agreed = []  # type: List[Extension]
    for name, parameters in parse_extensions(value):
        named = [extension for extension in offered if extension.name == name]
        if not named:
            raise HandshakeError(
                'the server chose an extension that was not offered: {!r}', name[:80])
        left = [extension for extension in named if extension not in agreed]
        if not left:
            raise HandshakeError('the server chose {} twice', name)
        agreed.append(_choose(left, parameters, agreed))
    names = [extension.name for extension in agreed]
    for extension in offered:
        if extension.is_required and extension.name not in names:
            raise HandshakeError(
                'the server did not accept the extension {}, which is required', extension.name)
    return agreed


def _choose(offered, parameters, agreed):
    # type: (Sequence[Extension], List[Parameter], Sequence[Extension]) -> Extension
    """Return the first of several offers of one extension that allows the server's answer."""
    for extension in offered[:-1]:
        try:
            return _finalize(extension, parameters, agreed)
        except HandshakeError:
            pass        # RFC 6455 9.1: a later offer may be a fallback
    return _finalize(offered[-1], parameters, agreed)


def _finalize(extension, parameters, agreed):
    # type: (Extension, List[Parameter], Iterable[Extension]) -> Extension
    _check_bits(extension, agreed)
    extension.finalize(parameters)
    return extension


def _check_bits(extension, agreed):
    # type: (Extension, Iterable[Extension]) -> None
    for other in agreed:
        if other.rsv & extension.rsv:
            raise HandshakeError(
                'the server chose {} and {}, which use the same reserved bit',
                other.name, extension.name)


def answer(value, supported):
    # type: (text_type, Sequence[Extension]) -> Tuple[text_type, List[Extension]]
    """Return a server's Sec-WebSocket-Extensions, empty for none, and the extensions it names.

    Parameters: the value of the client's header, and the extensions that the server supports. Of
    two that use the same reserved bit the client's first offer counts. Raises HandshakeError if
    the header is malformed.
    """
    agreed = []  # type: List[Extension]
    items = []
    taken = 0
    for name, parameters in parse_extensions(value):
        for extension in supported:
            if extension.name != name or extension in agreed or extension.rsv & taken:
                continue
            reply = extension.accept(parameters)
            if reply is not None:
                agreed.append(extension)
                items.append(_format(extension, 'accept', reply))
                taken |= extension.rsv
                break
    return u', '.join(items), agreed
