"""What the commands write: messages to stdout, notices to stderr, one line in place on a terminal.

Pipes get the bytes that they are given, at once. What goes to a terminal is escaped by the caller,
with `escape`: what a peer sends must not control it. Reads nothing.
"""

from __future__ import absolute_import, division, print_function

import errno
import os
import re
import stat
import sys
import time

from lomond._compat import TYPE_CHECKING, RLock, is_interrupt
from lomond.net.waiter import WRITE, wait

if TYPE_CHECKING:
    from typing import Any, Match, Text  # noqa: F401

__all__ = ['COLOURS', 'Screen', 'Sink', 'escape', 'has_colours', 'readable']

#: Codes of SGR, by what they are used for.
COLOURS = {'time': u'2', 'in': u'32', 'out': u'36', 'notice': u'33', 'error': u'31'}

# Bytes that a pipe takes at once when it takes any (PIPE_BUF), and those of a write to a file.
_SHORT = 4096
_LONG = 65536

# Seconds between two looks whether a stream that nobody reads was given up.
_GLANCE = 0.1

# Seconds until a write is tried again of which nothing went out.
_PAUSE = 0.01

# C0 but the tab, DEL, C1, and what changes the direction or the line: a terminal would obey them.
_CONTROLS = re.compile(
    u'[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb]')


def escape(text):
    # type: (Text) -> Text
    """Return text without control characters, for a terminal: as the escapes of Python."""
    return _CONTROLS.sub(_escape_one, text)


def _escape_one(found):
    # type: (Match[Text]) -> Text
    code = ord(found.group())
    return (u'\\x{:02x}' if code < 256 else u'\\u{:04x}').format(code)


def readable(value):
    # type: (Any) -> Text
    """Return what is to be printed as text: a path on 2.7, for example, is bytes of any kind."""
    return value.decode('utf-8', 'replace') if isinstance(value, bytes) else u'{}'.format(value)


def has_colours(sink):
    # type: (Sink) -> bool
    """Return whether to use colours: on a terminal, unless NO_COLOR is set."""
    return sink.is_terminal and not os.environ.get('NO_COLOR')


class Sink(object):
    """A standard stream to write to, without a buffer: what is written has left this process.

    Parameters: ``descriptor``; ``stream``, Python's object for it, or None if it was closed.
    """

    def __init__(self, descriptor, stream):
        # type: (int, Any) -> None
        self._descriptor = descriptor  # type: int
        self._stream = stream
        self._encoding = getattr(stream, 'encoding', None) or 'ascii'
        self.is_terminal = os.isatty(descriptor)  # type: bool
        if self.is_terminal:
            self._descriptor = _open_again(descriptor)
        self._may_wait = _may_wait(descriptor)
        #: Set it, in any thread, to have `write` wait for no reader any more.
        self.is_given_up = False  # type: bool

    def write(self, data):
        # type: (bytes) -> bool
        """Write all bytes; return False if this is a pipe that was closed, or was given up.

        Raises OSError.
        """
        view = memoryview(data)
        while view:
            try:
                if self._may_wait and not self._wait():
                    return False
                view = view[self._write_some(view):]
            except (OSError, IOError) as error:
                if error.errno == errno.EPIPE:
                    return False
                if error.errno == errno.EAGAIN:     # a terminal with too little space
                    time.sleep(_PAUSE)
                elif not is_interrupt(error):
                    raise
        return True

    def _wait(self):
        # type: () -> bool
        """Wait until a short write needs no waiting; False if it was given up before."""
        while not wait(((self._descriptor, WRITE),), _GLANCE):
            if self.is_given_up:
                return False
        return True

    def _write_some(self, data):
        # type: (memoryview) -> int
        if os.name == 'nt' and self._stream is not None:    # pragma: no cover
            # A console there takes UTF-8 from Python's own object only.
            stream = getattr(self._stream, 'buffer', self._stream)
            stream.write(data.tobytes())
            stream.flush()
            return len(data)
        return os.write(self._descriptor, data[:_SHORT if self._may_wait else _LONG])

    def encode(self, text):
        # type: (Text) -> bytes
        """Return text as bytes: for a terminal in its encoding, for all else in UTF-8."""
        return text.encode(self._encoding if self.is_terminal else 'utf-8', 'backslashreplace')


def _open_again(descriptor):
    # type: (int) -> int
    """Return a descriptor of the same terminal whose writes don't wait, or else the same one.

    A terminal counts as writable as soon as it takes a byte, and the flag of the one that this
    program was given is shared with other programs.
    """
    try:
        return os.open(os.ttyname(descriptor), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, AttributeError):       # the latter on Windows
        return descriptor


def _may_wait(descriptor):
    # type: (int) -> bool
    """Return whether a write may wait for a reader."""
    try:
        return os.name != 'nt' and not stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:     # it is closed
        return False


class Screen(object):
    """Both streams, and a line at the bottom that what is printed doesn't tear.

    Any thread may use it.
    """

    def __init__(self):
        # type: () -> None
        self.out = Sink(1, sys.stdout)  # type: Sink
        self.err = Sink(2, sys.stderr)  # type: Sink
        self._lock = RLock()    # a signal handler may print, too
        #: What prints text above a line that isn't this object's, on the terminal; or None.
        self.above = None  # type: Any
        self._line = u''        # in place, at the bottom; and where its cursor is
        self._column = 0

    def message(self, data):
        # type: (bytes) -> bool
        """Write bytes to stdout; return False if that is a closed pipe. Raises OSError."""
        return self._print(self.out, data)

    def show(self, text):
        # type: (Text) -> bool
        """Print a line on stdout, which is a terminal; as `message`."""
        return self._print(self.out, self.out.encode(text + u'\n'))

    def _print(self, sink, data):
        # type: (Sink, bytes) -> bool
        with self._lock:
            if self.above is not None and sink.is_terminal:
                self.above.write(data.decode('utf-8', 'replace'))
                return True
            self._erase()
            is_read = sink.write(data)
            self._draw()
            return is_read

    @property
    def is_given_up(self):
        # type: () -> bool
        """True once `give_up` was called."""
        return self.out.is_given_up

    def give_up(self):
        # type: () -> None
        """Wait no more for readers of the streams; from any thread, also while another prints."""
        self.out.is_given_up = self.err.is_given_up = True

    def keep(self, text):
        # type: (Text) -> None
        """Print a line that was typed, on stderr, as it is."""
        self._print(self.err, self.err.encode(escape(text) + u'\n'))

    def notice(self, text, colour='notice'):
        # type: (Text, str) -> None
        """Print a line on stderr, of any text; never raises."""
        line = u'{}{}'.format(
            u'' if self.is_interactive else u'lomond: ', escape(readable(text)))
        try:
            self._print(self.err, self.err.encode(self.paint(colour, line, self.err) + u'\n'))
        except EnvironmentError:
            pass        # there is no other place to say it

    @property
    def is_interactive(self):
        # type: () -> bool
        """Whether a person sees both streams."""
        return self.out.is_terminal and self.err.is_terminal

    def paint(self, colour, text, sink=None):
        # type: (str, Text, Any) -> Text
        """Return text in a colour of `COLOURS`, if the stream, stdout by default, has colours."""
        if not has_colours(sink or self.out):
            return text
        return u'\x1b[{}m{}\x1b[0m'.format(COLOURS[colour], text)

    def set_line(self, text, column=None):
        # type: (Text, Any) -> None
        """Show a line in place, on the terminal that stderr is; the cursor is at ``column``."""
        with self._lock:
            self._erase()
            self._line = text
            self._column = len(text) if column is None else column
            self._draw()

    def _erase(self):
        # type: () -> None
        if self._line:
            self.err.write(b'\r\x1b[K')

    def _draw(self):
        # type: () -> None
        if self._line:
            self.err.write(self.err.encode(u'{}\r{}'.format(
                self._line, u'\x1b[{}C'.format(self._column) if self._column else u'')))
