"""The input of ``lomond URL``, in a daemon thread: from a pipe, or typed on a terminal.

It chooses what reads the terminal: prompt_toolkit, the editor of `lomond.cli.editor`, or plain
lines. It knows the conversation only as something to send to.
"""

from __future__ import absolute_import, division, print_function

import contextlib
import os
import threading

from lomond._compat import TYPE_CHECKING, decode_utf8, encode_text, monotonic
from lomond.cli import editor
from lomond.cli.commands import read_command
from lomond.cli.formats import Message
from lomond.cli.prompting import Prompt
from lomond.cli.reading import read_records

if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, Optional, Text  # noqa: F401

    from lomond.cli.conversation import Conversation  # noqa: F401
    from lomond.cli.output import Screen  # noqa: F401

__all__ = ['EDITORS', 'Input', 'make_editor']

# Seconds to wait for the thread at the end.
_PATIENCE = 1.0

#: What may read a terminal.
EDITORS = ('auto', 'prompt_toolkit', 'simple', 'none')


def make_editor(name, screen):
    # type: (str, Screen) -> Any
    """Return what reads the terminal, of `EDITORS`, or None; raises ValueError."""
    if name == 'none' or not editor.can_edit():
        return None
    if name != 'simple' and screen.is_interactive:
        try:
            return Prompt(screen)
        except ImportError:
            if name != 'auto':
                raise ValueError('prompt_toolkit 3 is not installed: pip install lomond[cli]')
    return editor.Editor(screen.set_line)


class Input(object):
    """Reads messages and has a conversation send them.

    Parameters: ``screen``; ``decode``, a function of `lomond.cli.reading.decoder`; ``separator``,
    the byte between messages in a pipe; ``has_commands``, whether ``/ping`` and so on are commands;
    ``line_editor``, one of `EDITORS`.
    """

    def __init__(
            self, screen, decode, separator=b'\n', has_commands=False, line_editor='auto'):
        # type: (Screen, Callable[[bytes], Optional[Message]], bytes, bool, str) -> None
        self._screen = screen
        self._decode = decode
        self._separator = separator
        self._has_commands = has_commands
        self._editor = make_editor(line_editor, screen)
        self._is_reading = False
        self.is_typed = os.isatty(0)  # type: bool

    def show_figures(self, words):
        # type: (Any) -> None
        """Show the numbers of ``--stats``: before the line that is typed, or in its place."""
        if self._editor is not None:
            self._editor.prompt = u'[{}] > '.format(words)
            self._editor.show()
        elif self._screen.err.is_terminal:
            self._screen.set_line(words[:79])

    @contextlib.contextmanager
    def reading(self, conversation):
        # type: (Conversation) -> Iterator[None]
        """Read in a thread while the block runs, and leave the terminal as it was."""
        thread = threading.Thread(target=self._read, args=(conversation,))
        thread.daemon = True
        with self._terminal(conversation):
            thread.start()
            try:
                yield
            finally:
                self._end(thread)

    @contextlib.contextmanager
    def _terminal(self, conversation):
        # type: (Conversation) -> Iterator[None]
        if self._editor is None:
            yield
            return
        self._editor.on_interrupt = conversation.interrupt
        with self._editor.terminal():
            yield

    def _end(self, thread):
        # type: (threading.Thread) -> None
        has_stopped = self._editor is not None and self._editor.stop()
        self._screen.set_line(u'')
        # Unless it waits for input, it has an end. A thread that ends with Python may hold stdout,
        # which aborts the process; 2.7 prints an error.
        deadline = monotonic() + _PATIENCE
        while thread.is_alive() and (has_stopped or not self._is_reading) \
                and monotonic() < deadline:
            thread.join(0.05)

    def _read(self, conversation):
        # type: (Conversation) -> None
        is_empty = True
        number = 0
        try:
            for record in self._watched(self._records()):
                number += 1
                if self.is_typed and not record:
                    continue        # the Enter key alone
                is_empty = False
                if not self._pass_on(conversation, record, number):
                    return
        except (EnvironmentError, ValueError) as error:
            conversation.fail(u'could not read stdin: {}'.format(
                getattr(error, 'strerror', None) or error))
        if self.is_typed and not conversation.stays and (self._editor is not None or is_empty):
            conversation.close()        # Ctrl-D
            return
        conversation.end_input(is_empty)

    def _records(self):
        # type: () -> Iterable[bytes]
        if self._editor is None:
            return read_records(b'\n' if self.is_typed else self._separator)
        return self._edited()

    def _watched(self, records):
        # type: (Iterable[bytes]) -> Iterator[bytes]
        records = iter(records)
        while True:
            self._is_reading = True
            try:
                record = next(records, None)
            finally:
                self._is_reading = False
            if record is None:
                return
            yield record

    def _edited(self):
        # type: () -> Iterator[bytes]
        for line in self._editor.lines():
            if not self._screen.out.is_terminal:    # there, it is shown when it was sent
                self._screen.keep(u'> ' + line)
            yield encode_text(line)

    def _pass_on(self, conversation, record, number):
        # type: (Conversation, bytes, int) -> bool
        """Do what a record says; return False once there is nothing to send to."""
        try:
            command = None
            if self._has_commands and record.startswith(b'//'):
                record = record[1:]     # no command
            elif self._has_commands and record.startswith(b'/'):
                command = read_command(_text_of_command(record))
            if isinstance(command, tuple) and not isinstance(command, Message):
                # What was read before it is sent before it.
                if self.is_typed or conversation.wait_open():
                    conversation.close(*command)
                return False
            message = command or self._decode(record)
        except ValueError as error:
            words = u'not sent: {}'.format(error) if self.is_typed \
                else u'line {} of stdin was not sent: {}'.format(number, error)
            conversation.fail(words) if not self.is_typed else self._screen.notice(words, 'error')
            return True
        return message is None or conversation.send(message)


def _text_of_command(record):
    # type: (bytes) -> Text
    try:
        return decode_utf8(record)
    except UnicodeDecodeError:
        raise ValueError('a command must be UTF-8: // begins what is no command')
