"""Output, arguments and exit of programs: the command line, and the examples.

The reader of their output may close the pipe early, as ``| head`` does. That isn't an error: `say`
returns False, and the program closes its connection and ends. Uses nothing of WebSockets.
"""

from __future__ import absolute_import, division, print_function

import argparse
import errno
import io
import os
import sys

from lomond._compat import TYPE_CHECKING, text_to_native

if TYPE_CHECKING:
    from typing import Any, Callable, Optional, Text, TypeVar  # noqa: F401

    Value = TypeVar('Value')

__all__ = ['STDOUT', 'argument', 'complain', 'number', 'occupy_standard_streams', 'port', 'run',
           'say', 'seconds']


#: The ``filename`` of the IOError of `say`.
STDOUT = '<stdout>'


def run(main):
    # type: (Callable[[], Optional[int]]) -> Optional[int]
    """Call a program's main function; return its exit status.

    Ctrl-C is the usual way to end these programs: the status is 0 then, and nothing is printed. The
    same goes for a closed pipe.
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
    """Print a line, and flush it; return False if stdout is a closed pipe. Raises IOError."""
    try:
        _write(sys.stdout, line)
    except IOError as error:
        if error.errno != errno.EPIPE:
            raise IOError(error.errno, error.strerror, STDOUT)
        return False
    return True


def complain(line):
    # type: (Text) -> bool
    """Print an error on stderr, and flush it; return False if that failed. Never raises."""
    try:
        _write(sys.stderr, line)
    except IOError:
        return False        # there is no other place to say it
    return True


def _write(stream, line):
    # type: (Any, Text) -> None
    native = text_to_native(line)
    try:
        stream.write(native + '\n')
    except UnicodeEncodeError:      # the locale is C, for example
        encoding = stream.encoding
        stream.write(native.encode(encoding, 'backslashreplace').decode(encoding) + '\n')
    stream.flush()


def _drop_unread(stream):
    # type: (Any) -> None
    """Drop the output that can't be written, which Python would report again at exit."""
    if stream is None:      # it was closed when Python started
        return
    try:
        stream.flush()
    except IOError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def occupy_standard_streams():
    # type: () -> None
    """Open the null device where a standard stream is closed, as a socket would get its number.

    A write to a closed stdout would then be sent to the server. It fails, as it should; stdin ends
    at once, and errors are dropped.
    """
    for descriptor, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, flags)      # the lowest free number: this one
    for descriptor, name in ((1, 'stdout'), (2, 'stderr')):
        if getattr(sys, name) is None:      # Python 3 has no object for one that was closed
            setattr(sys, name, io.open(descriptor, 'w', closefd=False))


def argument(read):
    # type: (Callable[[str], Value]) -> Callable[[str], Value]
    """Make a ``type`` for argparse of a function: it shows the message of its ValueError.

    argparse's own message says less, and repeats the argument, including a password.
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
    """Make a ``type`` for argparse that reads an integer from ``least`` to ``most``."""
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


def positive(text):
    # type: (str) -> float
    """Read a number above 0, as a ``type`` for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError('must be a number above 0, not {!r}'.format(text))
    return value


def seconds(text):
    # type: (str) -> float
    """Read a number of seconds, 0 or more: a ``type`` for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError('must be a number of seconds, not {!r}'.format(text))
    return value


#: A ``type`` for argparse: the port to listen on.
port = number(0, 65535)  # type: Callable[[str], int]
