"""Output, arguments and exit of the example programs.

A reader of their output may stop before they do, as ``| head`` does. That is no
error: `say` returns False, and the program closes its connection and ends.
"""

from __future__ import absolute_import, division, print_function

import argparse
import errno
import os
import sys

from lomond._compat import TYPE_CHECKING, text_to_native

if TYPE_CHECKING:
    from typing import Any, Callable, Optional, Text, TypeVar  # noqa: F401

    Value = TypeVar('Value')


def run(main):
    # type: (Callable[[], Optional[int]]) -> Optional[int]
    """Call a program's main function; return its exit status.

    Ctrl-C is the usual way to end these programs: the status is 0 then, and
    nothing is printed. The same goes for a pipe that nobody reads.
    """
    try:
        return main()
    except KeyboardInterrupt:
        return 0
    except IOError as error:
        # argparse prints its help without `say`.
        if error.errno != errno.EPIPE:
            raise
        return 0
    finally:
        for stream in (sys.stdout, sys.stderr):
            _drop_unread(stream)


def say(line):
    # type: (Text) -> bool
    """Print a line at once, into a pipe too; return False if nobody reads it."""
    return _write(sys.stdout, line)


def complain(line):
    # type: (Text) -> bool
    """Report trouble on stderr; return False if nobody reads it."""
    return _write(sys.stderr, line)


def _write(stream, line):
    # type: (Any, Text) -> bool
    try:
        stream.write(text_to_native(line) + '\n')
        stream.flush()
    except IOError as error:
        if error.errno != errno.EPIPE:
            raise
        return False
    return True


def _drop_unread(stream):
    # type: (Any) -> None
    """Drop what is buffered for a pipe that nobody reads: Python would report it at exit."""
    try:
        stream.flush()
    except IOError as error:
        if error.errno == errno.EPIPE:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def argument(read):
    # type: (Callable[[str], Value]) -> Callable[[str], Value]
    """Make a ``type`` for argparse of a function: it shows the words of its ValueError.

    argparse's own words say less, and repeat the argument, password and all.
    """
    def read_argument(text):
        # type: (str) -> Value
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error))

    return read_argument


def number(least, most=None):
    # type: (int, Optional[int]) -> Callable[[str], int]
    """Make a ``type`` for argparse that reads a whole number between two, both included."""
    limits = ', {} or more'.format(least) if most is None \
        else ' from {} to {}'.format(least, most)

    def read_number(text):
        # type: (str) -> int
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError('must be an integer{}, not {!r}'.format(limits, text))
        return value

    return read_number


#: A ``type`` for argparse: where to listen.
port = number(0, 65535)
