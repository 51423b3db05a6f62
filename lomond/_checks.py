"""Checks of users' arguments: each returns the value, or raises an error that says what to do."""

from __future__ import absolute_import, division, print_function

import logging
import numbers
import operator

from lomond._compat import TYPE_CHECKING, text_type

if TYPE_CHECKING:
    from typing import Any, Iterable, List, Optional, Text  # noqa: F401

# Flags of the code of generators, coroutines and asynchronous generators.
_NOT_RUN_BY_A_CALL = 0x20 | 0x80 | 0x200


# -- numbers --

def whole_number(value):
    # type: (Any) -> Optional[int]
    """Return an integer of any type (2.7's long and numpy's too) as Python's own, else None.

    A bool or a float isn't an integer here, whatever its value.
    """
    if isinstance(value, bool):
        return None
    try:
        return int(operator.index(value))   # int(), as on 2.7 numpy.int64 is a subclass of int
    except TypeError:
        return None


def instead_of(value):
    # type: (Any) -> str
    """Return 'not VALUE' for a TypeError, and for a whole float also the integer to write."""
    if isinstance(value, float) and value.is_integer():
        return 'not the float {0!r}: write int({0!r})'.format(value)
    return 'not {!r}'.format(value)


def check_seconds(name, value):
    # type: (str, Optional[float]) -> Optional[float]
    """Return a time in seconds, None and 0 included; raises TypeError, ValueError."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        hint = ': pass its total_seconds()' if hasattr(value, 'total_seconds') else ''
        raise TypeError('{} must be a number of seconds, or None, not {!r}{}'.format(
            name, value, hint))
    if not 0 <= value < float('inf'):
        raise ValueError(
            '{} must be a finite number of seconds, 0 or more, or None, not {!r}'.format(
                name, value))
    return value if isinstance(value, (int, float)) else float(value)


def check_spin(value):
    # type: (Optional[float]) -> float
    """Return the value of the option ``spin``; raises TypeError, ValueError."""
    seconds = check_seconds('spin', value) or 0.0
    if seconds > 1:
        raise ValueError('spin must be at most 1 second, as it keeps a core busy, not {!r}: '
                         '30 microseconds are spin=30e-6'.format(value))
    return seconds


def check_rate(name, value):
    # type: (str, Optional[float]) -> Optional[float]
    """Return how often a second something may happen, None for no limit; raises as the others."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError('{} must be a number, or None for no limit, not {!r}'.format(name, value))
    if not 0 < value < float('inf'):
        raise ValueError('{} must be a finite number of times a second, more than 0, or None for '
                         'no limit, not {!r}'.format(name, value))
    return float(value)


def check_count(name, value, least, none_for=None, most=None):
    # type: (str, Any, int, Optional[str], Optional[int]) -> Any
    """Return an integer from ``least`` to ``most``; raises TypeError, ValueError.

    ``none_for`` is the meaning of None, for error messages; without it None is refused.
    """
    if value is None and none_for is not None:
        return None
    or_none = '' if none_for is None else ', or None for {}'.format(none_for)
    number = whole_number(value)
    if number is None:
        raise TypeError('{} must be an integer{}, {}'.format(name, or_none, instead_of(value)))
    if number < least or most is not None and number > most:
        bounds = ', {} or more'.format(least) if most is None \
            else ' from {} to {}'.format(least, most)
        raise ValueError('{} must be an integer{}{}, not {!r}'.format(
            name, bounds, or_none, value))
    return number


def check_port(name, value):
    # type: (str, Any) -> int
    """Return a port, 0 included; raises TypeError, ValueError."""
    return check_count(name, value, 0, most=65535)      # type: ignore[no-any-return]


# -- other values --

def check_flag(name, value):
    # type: (str, Any) -> bool
    """Return a bool; raises TypeError. None, 0 and 1 are accepted, as 0.3.x did, but no text."""
    if not isinstance(value, (bytes, text_type)) and value in (True, False, None):
        return bool(value)
    raise TypeError('{} must be True or False, not {!r}'.format(name, value))


def check_plain(name, function):
    # type: (str, Any) -> None
    """Raise TypeError for a function that a call doesn't run."""
    if getattr(getattr(function, '__code__', None), 'co_flags', 0) & _NOT_RUN_BY_A_CALL:
        raise TypeError('{} must be a plain function, without async or yield, '
                        'not {!r}'.format(name, function))


def check_callable(name, value):
    # type: (str, Any) -> Any
    """Return a callable, or None; raises TypeError."""
    if value is not None and not callable(value):
        raise TypeError('{} must be callable, not {!r}'.format(name, value))
    return value


def check_logger(logger):
    # type: (Any) -> Any
    """Return a logger, for None the one of the package; raises TypeError."""
    if logger is None:
        return logging.getLogger('lomond')
    if not isinstance(logger, (logging.Logger, logging.LoggerAdapter)):
        raise TypeError(
            "logger must be a logging.Logger or LoggerAdapter, such as logging.getLogger('feed'), "
            'or None for the logger lomond, not {!r}'.format(logger))
    return logger


def check_ssl_context(context):
    # type: (Any) -> Any
    """Return an `ssl.SSLContext`, or None; raises TypeError. It doesn't import ssl."""
    if context is not None and not hasattr(context, 'wrap_socket'):
        raise TypeError('ssl_context must be an ssl.SSLContext, or None, not {!r}'.format(context))
    return context


def check_ssl_verify(verify):
    # type: (Any) -> bool
    """Return whether to verify certificates; raises TypeError."""
    if isinstance(verify, (bytes, text_type)):
        raise TypeError('ssl_verify must be True or False, not {0!r}: '
                        'to trust the certificates in a file, use ssl_cafile={0!r}'.format(verify))
    if hasattr(verify, 'wrap_socket'):
        raise TypeError('ssl_verify must be True or False: pass an ssl.SSLContext as ssl_context')
    if verify not in (True, False):
        raise TypeError('ssl_verify must be True or False, not {!r}'.format(verify))
    return bool(verify)
