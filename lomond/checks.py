"""Checks of what users pass as arguments: each returns the value, or raises and says what to do."""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING, encode_utf8, text_type
from lomond.headers import is_token

if TYPE_CHECKING:
    from typing import Any, Iterable, List, Optional, Text  # noqa: F401


def check_seconds(name, value):
    # type: (str, Optional[float]) -> Optional[float]
    """Return a time in seconds, None and 0 included; raises TypeError, ValueError."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError('{} must be a number of seconds, or None, not {!r}'.format(name, value))
    if not 0 <= value < float('inf'):
        raise ValueError(
            '{} must be a number of seconds from 0 on, or None, not {!r}'.format(name, value))
    return value


def check_count(name, value, least, none_for=None):
    # type: (str, Any, int, Optional[str]) -> Any
    """Return a whole number from ``least`` on, or None if that stands for something.

    Raises TypeError, ValueError.
    """
    if value is None and none_for is not None:
        return None
    or_none = '' if none_for is None else ', or None for {}'.format(none_for)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError('{} must be a number{}, not {!r}'.format(name, or_none, value))
    if value < least:
        raise ValueError(
            '{} must be a number from {} on{}, not {!r}'.format(name, least, or_none, value))
    return value


def check_callable(name, value):
    # type: (str, Any) -> Any
    """Return a callable, or None; raises TypeError."""
    if value is not None and not callable(value):
        raise TypeError('{} must be callable, not {!r}'.format(name, value))
    return value


def check_utf8(name, text):
    # type: (str, Text) -> bytes
    """Return text in UTF-8; raises ValueError, which hasn't the text in it: it may be a secret."""
    try:
        data = encode_utf8(text)  # type: Optional[bytes]
    except ValueError:      # has the text
        data = None
    if data is None:
        raise ValueError('{} has a lone surrogate, which UTF-8 cannot carry'.format(name))
    return data


def check_protocols(protocols):
    # type: (Optional[Iterable[str]]) -> List[str]
    """Return the subprotocols as a list; raises TypeError, ValueError (RFC 6455 4.1)."""
    if protocols is None:
        return []
    if isinstance(protocols, (bytes, text_type)):
        raise TypeError('protocols must be a list of names, not {!r}'.format(protocols))
    checked = []  # type: List[str]
    for name in protocols:
        if not isinstance(name, (str, text_type)) or not is_token(name):
            raise ValueError('not a subprotocol name: {!r}'.format(name))
        if name in checked:
            raise ValueError('the subprotocol {!r} is named twice'.format(name))
        checked.append(name)
    return checked


def check_ssl_context(context):
    # type: (Any) -> Any
    """Return an `ssl.SSLContext`, or None; raises TypeError. Doesn't import ssl for that."""
    if context is not None and not hasattr(context, 'wrap_socket'):
        raise TypeError('ssl_context must be an ssl.SSLContext, not {!r}'.format(context))
    return context
