"""A line to type into, by prompt_toolkit, with the members of `lomond.cli.editor.Editor`.

It is for a terminal that has all three streams.
"""

from __future__ import absolute_import, division, print_function

import contextlib
import re
import sys
import threading

from lomond._compat import TYPE_CHECKING, monotonic
from lomond.cli.editor import saved_modes, set_raw

if TYPE_CHECKING:
    from typing import Any, Iterator, List, Text  # noqa: F401

    from lomond.cli.output import Screen  # noqa: F401

__all__ = ['Prompt']

# Texts that wait to be printed above the line, at most: then the loop waits for the terminal.
_MOST_WAITING = 1000

# Seconds that `stop` waits for the thread that reads.
_PATIENCE = 1.0

# What is typed and isn't UTF-8.
_SURROGATES = re.compile(u'[\ud800-\udfff]')


def _make_session():
    # type: () -> Any
    import prompt_toolkit  # here, as it is an extra, and takes long
    if int(prompt_toolkit.VERSION[0]) != 3:
        raise ImportError('prompt_toolkit {} is not version 3'.format(prompt_toolkit.__version__))
    return prompt_toolkit.PromptSession(erase_when_done=True)


class Prompt(object):
    """Reads lines from the terminal, in one thread, while others print above it.

    `prompt_toolkit.patch_stdout` would give the terminal back for each text that is printed, and
    what is typed in that moment would be echoed, or lost.

    Set ``on_interrupt`` to what is called in that thread for Ctrl-C, which isn't a signal while a
    line is typed.

    Raises ImportError if prompt_toolkit 3 isn't installed.
    """

    def __init__(self, screen):
        # type: (Screen) -> None
        self.prompt = u'> '
        self.on_interrupt = lambda: None  # type: Any
        self._screen = screen
        self._is_over = False
        self._session = _make_session()
        self._app = self._session.app
        self._changed = threading.Condition()
        self._is_prompting = False
        self._waiting = []  # type: List[Text]   # to be printed above

    def show(self):
        # type: () -> None
        """Draw the line."""
        self._app.invalidate()

    # -- the thread that reads --

    def lines(self):
        # type: () -> Iterator[Text]
        """Yield each line that is typed, until Ctrl-D in an empty one."""
        while not self._is_over:
            try:
                line = self._read_line()
            except EOFError:
                return
            except KeyboardInterrupt:
                self.on_interrupt()
            else:
                yield line

    def _read_line(self):
        # type: () -> Text
        with self._changed:
            self._is_prompting = True
        try:
            return _SURROGATES.sub(u'\ufffd', self._session.prompt(
                lambda: self.prompt, pre_run=self._attend, handle_sigint=False))
        finally:
            with self._changed:
                for text in self._take():
                    self._print(text)
                self._is_prompting = False
                self._changed.notify_all()

    def _attend(self):
        # type: () -> None
        """Print what waits, and end if it is time to; in the event loop of prompt_toolkit."""
        if not self._app.is_running or self._app.future.done():
            return      # `_read_line` does it
        with self._changed:
            texts = self._take()
        if texts:
            self._app.renderer.erase()
            for text in texts:
                self._print(text)
            self._app.invalidate()
        if self._is_over:
            self._app.exit(exception=EOFError)

    def _take(self):
        # type: () -> List[Text]
        texts, self._waiting = self._waiting, []
        self._changed.notify_all()
        return texts

    def _print(self, text):
        # type: (Text) -> None
        self._app.output.write_raw(text)
        self._app.output.flush()

    # -- any thread --

    def write(self, text):
        # type: (Text) -> None
        """Print text above the line."""
        with self._changed:
            while self._is_prompting and len(self._waiting) >= _MOST_WAITING:
                self._changed.wait(1)
            if not self._is_prompting:
                self._print(text)
                return
            self._waiting.append(text)
        self._wake()

    def _wake(self):
        # type: () -> None
        loop = self._app.loop
        if loop is not None:        # else it begins with `_attend`
            try:
                loop.call_soon_threadsafe(self._attend)
            except RuntimeError:
                pass        # it has just been closed, and `_read_line` goes on

    @contextlib.contextmanager
    def terminal(self):
        # type: () -> Iterator[None]
        """Have what is printed in the block appear above the line; restore the terminal."""
        with saved_modes() as modes:
            set_raw(modes)      # between two lines
            self._screen.above = self
            try:
                yield
            finally:
                self._screen.above = None
                sys.stdout.flush()

    def stop(self):
        # type: () -> bool
        """End `lines` in its thread, wait for that, and return whether it ended."""
        self._is_over = True
        self._wake()
        deadline = monotonic() + _PATIENCE
        with self._changed:
            # Each text that is printed notifies, too.
            while self._is_prompting and monotonic() < deadline:
                self._changed.wait(max(0.0, deadline - monotonic()))
            return not self._is_prompting
