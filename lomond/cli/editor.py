"""A line to type into, on a terminal: it stays whole while messages are printed above it.

The terminal's own lines end at 4,096 bytes, and messages tear them; readline's can't be redrawn by
another thread than the one that waits in it. It uses nothing of WebSockets.
"""

from __future__ import absolute_import, division, print_function

import codecs
import contextlib
import os
import re
import signal
import struct
import sys
import unicodedata

from lomond._compat import TYPE_CHECKING
from lomond.cli.output import escape
from lomond.cli.reading import read_stdin
from lomond.cli.signals import catching

try:
    import fcntl
    import termios
except ImportError:     # pragma: no cover  (Windows)
    termios = fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, List, Optional, Text, Tuple  # noqa: F401

__all__ = ['Editor', 'Line', 'can_edit', 'saved_modes', 'set_raw']

# One key: an escape sequence, of which the rest may still be on its way, or a character. A sequence
# that goes on as none does is over: otherwise all that is typed later would seem a part of it.
_KEY = re.compile(
    u'\x1b(?:'
    u'\\[\\[[ -~]'                       # a function key of the Linux console
    u'|\\[[ -?]+[@-~]|\\[[@-Z\\\\-~]'    # ECMA-48 5.4
    u'|O[ -~]'
    u'|(?:\\[[ -?\\[]*|O)(?=[^ -~])'
    u'|(?=[\x00-\x1f\x7f])'
    u'|[^\\[O\x00-\x1f\x7f])'
    u'|[^\x1b]')

_MOST_HISTORY = 500


def can_edit():
    # type: () -> bool
    """Return whether stdin and stderr are a terminal on which a line can be edited."""
    return termios is not None and os.isatty(0) and os.isatty(2) \
        and os.environ.get('TERM') not in (None, '', 'dumb')


class Line(object):
    """The text that is being typed, the cursor, and earlier lines: what each key does to them."""

    def __init__(self):
        # type: () -> None
        self.text = u''  # type: Text
        self.cursor = 0  # type: int
        self._history = []  # type: List[Text]
        self._place = 0         # in the history: its length for the line that is being typed
        self._typed = u''       # that line, while an earlier one is shown

    def take(self):
        # type: () -> Text
        """Return the text, remember it, and begin an empty line."""
        text = self.text
        if text and self._history[-1:] != [text]:
            self._history.append(text)
            del self._history[:-_MOST_HISTORY]
        self._place = len(self._history)
        self.text, self.cursor = u'', 0
        return text

    def press(self, key):
        # type: (Text) -> None
        """Do what a key says; what isn't known is ignored."""
        action = _KEYS.get(key)
        if action is not None:
            action(self)
        elif len(key) == 1 and (key >= u' ' or key == u'\t'):
            self.insert(key)

    def insert(self, text):
        # type: (Text) -> None
        """Insert text at the cursor."""
        self.text = self.text[:self.cursor] + text + self.text[self.cursor:]
        self.cursor += len(text)

    def move(self, cursor):
        # type: (int) -> None
        """Put the cursor before this character, or as near as possible."""
        self.cursor = min(max(cursor, 0), len(self.text))

    def delete(self, start, end):
        # type: (int, int) -> None
        """Delete characters; the cursor is where they were."""
        start = max(start, 0)
        self.text = self.text[:start] + self.text[end:]
        self.cursor = start

    def word_start(self):
        # type: () -> int
        """Return where the word before the cursor begins."""
        return len(self.text[:self.cursor].rstrip().rpartition(u' ')[0]) + (
            1 if u' ' in self.text[:self.cursor].rstrip() else 0)

    def recall(self, step):
        # type: (int) -> None
        """Show an earlier line, or a later one."""
        place = self._place + step
        if not 0 <= place <= len(self._history):
            return
        if self._place == len(self._history):
            self._typed = self.text
        self._place = place
        self.text = self._typed if place == len(self._history) else self._history[place]
        self.cursor = len(self.text)

    def window(self, columns):
        # type: (int) -> Tuple[Text, int]
        """Return what fits into these columns around the cursor, and the cursor's column."""
        start = self.cursor
        left = right = 0
        while start and left + _width(self.text[start - 1]) <= columns:
            start -= 1
            left += _width(self.text[start])
        end = self.cursor
        while end < len(self.text) and left + right + _width(self.text[end]) <= columns:
            right += _width(self.text[end])
            end += 1
        return escape(self.text[start:end].replace(u'\t', u' ')), left


def _width(character):
    # type: (Text) -> int
    """Return how many columns a character takes."""
    if unicodedata.combining(character):
        return 0
    if unicodedata.east_asian_width(character) in (u'W', u'F'):
        return 2
    return len(escape(character)) if character != u'\t' else 1


_KEYS = {
    u'\x01': lambda line: line.move(0),                                     # Ctrl-A
    u'\x02': lambda line: line.move(line.cursor - 1),                       # Ctrl-B
    u'\x04': lambda line: line.delete(line.cursor, line.cursor + 1),        # Ctrl-D
    u'\x05': lambda line: line.move(len(line.text)),                        # Ctrl-E
    u'\x06': lambda line: line.move(line.cursor + 1),                       # Ctrl-F
    u'\x08': lambda line: line.delete(line.cursor - 1, line.cursor),        # backspace
    u'\x0b': lambda line: line.delete(line.cursor, len(line.text)),         # Ctrl-K
    u'\x0e': lambda line: line.recall(1),                                   # Ctrl-N
    u'\x10': lambda line: line.recall(-1),                                  # Ctrl-P
    u'\x15': lambda line: line.delete(0, line.cursor),                      # Ctrl-U
    u'\x17': lambda line: line.delete(line.word_start(), line.cursor),      # Ctrl-W
}
for _sequence, _same_as in (
        (u'\x7f', u'\x08'), (u'\x1b[A', u'\x10'), (u'\x1b[B', u'\x0e'), (u'\x1b[C', u'\x06'),
        (u'\x1b[D', u'\x02'), (u'\x1b[H', u'\x01'), (u'\x1b[F', u'\x05'), (u'\x1bOH', u'\x01'),
        (u'\x1bOF', u'\x05'), (u'\x1b[1~', u'\x01'), (u'\x1b[4~', u'\x05'), (u'\x1b[3~', u'\x04'),
        (u'\x1bOA', u'\x10'), (u'\x1bOB', u'\x0e'), (u'\x1bOC', u'\x06'), (u'\x1bOD', u'\x02')):
    _KEYS[_sequence] = _KEYS[_same_as]


@contextlib.contextmanager
def saved_modes():
    # type: () -> Iterator[Any]
    """Restore the modes of the terminal at the end of the block, which gets them."""
    modes = termios.tcgetattr(0)
    try:
        yield modes
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, modes)


def set_raw(modes):
    # type: (Any) -> None
    """Have the terminal pass on each key; Ctrl-C and Ctrl-Z stay signals."""
    modes = list(modes)
    modes[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
    termios.tcsetattr(0, termios.TCSADRAIN, modes)


class Editor(object):
    """Reads lines from the terminal, in one thread, and shows the line that is being typed.

    Parameters: ``set_line``, called with a text and the cursor's column; ``prompt``, which may be
    set again at any time, followed by `show`.
    """

    def __init__(self, set_line, prompt=u'> '):
        # type: (Callable[[Text, int], Any], Text) -> None
        self.prompt = prompt
        self.on_interrupt = None  # type: Any   # Ctrl-C is a signal here
        self._set_line = set_line
        self._line = Line()

    def show(self):
        # type: () -> None
        """Draw the line."""
        prompt = self.prompt
        columns = _columns()
        if len(prompt) > columns // 2:
            prompt = prompt[-(columns // 2):]
        text, column = self._line.window(columns - len(prompt) - 1)
        self._set_line(prompt + text, len(prompt) + column)

    @contextlib.contextmanager
    def terminal(self):
        # type: () -> Iterator[None]
        """Prepare the terminal for `lines`, and restore it. Use it in the main thread."""
        with saved_modes() as modes:
            def go_on(_number, _frame):
                # type: (int, Any) -> None
                set_raw(modes)
                self.show()

            def end(number, _frame):        # by Ctrl-\
                # type: (int, Any) -> None
                termios.tcsetattr(0, termios.TCSADRAIN, modes)
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)

            set_raw(modes)
            # The shell sets its own modes when Ctrl-Z has stopped this program.
            with catching(go_on, [signal.SIGCONT]), catching(end, [signal.SIGQUIT]):
                yield

    def stop(self):
        # type: () -> bool
        """Remove the line from the terminal; False, as a thread that waits in `lines` goes on."""
        self._set_line(u'', 0)
        return False

    def lines(self):
        # type: () -> Iterator[Text]
        """Yield each line that is typed, until Ctrl-D in an empty one."""
        decoder = codecs.getincrementaldecoder(
            getattr(sys.stdin, 'encoding', None) or 'utf-8')('replace')
        rest = u''
        while True:
            self.show()
            data = _read_keys()
            if not data:
                return      # the terminal is gone
            rest += decoder.decode(data)
            found = _KEY.match(rest)
            while found is not None:
                key, rest = found.group(), rest[found.end():]
                if key in (u'\n', u'\r'):
                    yield self._line.take()
                elif key == u'\x04' and not self._line.text:
                    return
                else:
                    self._line.press(key)
                found = _KEY.match(rest)


def _read_keys():
    # type: () -> bytes
    try:
        return read_stdin()
    except OSError:
        return b''


def _columns():
    # type: () -> int
    """Return how wide the terminal is."""
    try:
        size = fcntl.ioctl(2, termios.TIOCGWINSZ, b'\0' * 8)
        return max(20, struct.unpack('HHHH', size)[1] or 80)
    except (EnvironmentError, struct.error):
        return 80
