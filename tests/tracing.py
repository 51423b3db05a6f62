"""Something happens before a chosen line of the library: Ctrl-C, or a signal's handler."""

from __future__ import absolute_import, division, print_function

import inspect
import linecache
import sys


def press_ctrl_c():
    """Do as Ctrl-C does in the main thread."""
    raise KeyboardInterrupt()


class LineTracer(object):
    """Calls ``act()`` before the nth line of some modules that this thread runs in a with block.

    Not before a "try:": no signal's handler runs there, but a tracer does, since 3.10.

    Parameters: ``modules``; ``moment``, the number of the line, from 1 on; ``act``;
    ``but``, the name of a function whose lines don't count; ``counts_again``, False if a line
    counts only when it is first run: the end of a "with" is a second visit to its line, where no
    handler runs either.
    """

    def __init__(self, modules, moment, act=press_ctrl_c, but=None, counts_again=True):
        self._files = [inspect.getsourcefile(module) for module in modules]
        self._moment = moment
        self._act = act
        self._but = but
        self._counts_again = counts_again
        self._lines = []
        self._before = None     # coverage's

    @property
    def has_acted(self):
        """Whether it came to the nth line."""
        return len(self._lines) >= self._moment

    def __enter__(self):
        self._before = sys.gettrace()
        sys.settrace(self)
        return self

    def __exit__(self, *exc_info):
        sys.settrace(self._before)

    def __call__(self, frame, event, _argument):
        place = frame.f_code.co_filename, frame.f_lineno
        if place[0] not in self._files or frame.f_code.co_name == self._but:
            return None
        if event == 'line' and linecache.getline(*place).strip() != 'try:' and (
                self._counts_again or place not in self._lines):
            self._lines.append(place)
            if len(self._lines) == self._moment:
                self._act()
        return self


class CallTracer(object):
    """Calls ``act()`` at the nth moment at which CPython runs a signal's handler, in a with block.

    That is directly after a function written in C returned, and at the beginning of one in Python.
    What some modules call counts, and what is in them. Parameters: as those of `LineTracer`; what
    ``but`` calls doesn't count either.
    """

    def __init__(self, modules, moment, act=press_ctrl_c, but=None):
        self._but = but
        self._files = [inspect.getsourcefile(module) for module in modules]
        self._left = moment
        self._act = act

    @property
    def has_acted(self):
        """Whether it came to the nth moment."""
        return self._left <= 0

    def __enter__(self):
        sys.setprofile(self)
        return self

    def __exit__(self, *exc_info):
        sys.setprofile(None)

    def __call__(self, frame, event, _argument):
        names = frame.f_code.co_name, frame.f_back.f_code.co_name
        if event in ('c_return', 'call') and frame.f_code.co_filename in self._files \
                and self._but not in names:
            self._left -= 1
            if self._left == 0:
                self._act()
