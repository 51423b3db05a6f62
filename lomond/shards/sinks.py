"""Sinks that need no other package: a function, and a file."""

from __future__ import absolute_import, division, print_function

import errno
import io
import json
import logging
import os
import stat
from base64 import b64encode

from lomond._compat import TYPE_CHECKING, monotonic, text_type
from lomond.shards.sink import Sink

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple  # noqa: F401

    from lomond.shards.sink import Message, Outlet  # noqa: F401

    Call = Callable[[text_type, Any], Any]

log = logging.getLogger('lomond')  # type: logging.Logger

# Seconds of calls after which what they took is counted.
_TURN = 0.2


class CallSink(Sink):
    """Calls a function with a feed's name and each message, in the sink's thread, in order.

    What the function raises is logged once for each feed, and the message counted as ``refused``.
    Parameters: ``function``; ``options`` of `Sink`.
    """

    #: As `_TURN`; a test's subclass may have less patience.
    _turn = _TURN

    def __init__(self, function, **options):
        # type: (Call, **Any) -> None
        super(CallSink, self).__init__(**options)
        if not callable(function):
            raise TypeError('the sink must be a function, not {!r}'.format(function))
        self._function = function

    def publish(self, batch):
        # type: (List[Tuple[Outlet, Message]]) -> List[Optional[str]]
        """Call the function for each message, until its turn is over, or the sink is closed."""
        answers = []  # type: List[Optional[str]]
        failed = set()
        deadline = monotonic() + self._turn
        for outlet, message in batch:
            now = monotonic()
            if self._is_closing or answers and now >= deadline:
                break
            # A call that doesn't end is stalled, not a slow function.
            self.busy_since = now  # type: Optional[float]
            try:
                self._function(outlet.feed.name, message.data)
                answers.append('published')
            # What a function of the user's raises ends no sink, and tries no other message again.
            except (Exception, SystemExit):
                if not outlet.counts['refused'] and outlet not in failed:
                    log.exception('the sink failed for a message of feed %r: this is logged once',
                                  outlet.feed.name)
                failed.add(outlet)
                answers.append('refused')
        return answers


class JSONLinesSink(Sink):
    """Appends each message to a file, as a line of JSON with feed, number, time and text or data.

    ``data`` is binary data in base64, ``time`` when it arrived, in seconds since the epoch. The
    lines of a batch are written and flushed together. Parameters: ``path``; ``options`` of `Sink`.
    """

    def __init__(self, path, **options):
        # type: (Any, **Any) -> None
        super(JSONLinesSink, self).__init__(**options)
        if not isinstance(path, (bytes, text_type)) and not hasattr(path, '__fspath__'):
            raise TypeError('path must be a path, not {!r}'.format(path))
        self._path = path
        self._file = None  # type: Any

    def begin(self):
        # type: () -> None
        """Open the file, and end its last line if a process was killed while it wrote that."""
        if os.path.exists(self._path) and not stat.S_ISREG(os.stat(self._path).st_mode):
            raise ValueError('path must be a regular file, not a pipe or a device: pass a function '
                             'that writes to {!r}'.format(self._path))
        try:
            self._file = io.open(self._path, 'a+b', buffering=0)
        except EnvironmentError as error:
            if error.errno != errno.EACCES:
                raise
            self._file = io.open(self._path, 'ab', buffering=0)     # it may be written only
            return
        try:
            size = self._file.seek(0, 2)
            if size:
                self._file.seek(size - 1)
                if self._file.read(1) != b'\n':
                    self._file.write(b'\n')
        except EnvironmentError:
            self._file.close()
            raise

    def publish(self, batch):
        # type: (List[Tuple[Outlet, Message]]) -> List[Optional[str]]
        """Write a batch."""
        lines = b''.join(
            json.dumps(self._line(outlet, message)).encode('ascii') + b'\n'
            for outlet, message in batch)
        start = self._file.seek(0, 2)
        try:
            while lines:
                lines = lines[self._file.write(lines):]
        except EnvironmentError:
            self._file.truncate(start)      # no part of it is written twice
            raise
        return ['published'] * len(batch)

    @staticmethod
    def _line(outlet, message):
        # type: (Outlet, Message) -> Dict[str, Any]
        data = message.data  # type: Any
        is_text = isinstance(data, text_type)
        return {
            'feed': outlet.feed.name, 'number': message.number, 'time': message.time,
            'text' if is_text else 'data':
                data if is_text else b64encode(data).decode('ascii')}

    def end(self):
        # type: () -> None
        """Close the file."""
        self._file.close()
