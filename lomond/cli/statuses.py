"""The exit statuses of the commands: one table, and which event leads to which.

It prints nothing, and ends nothing.
"""

from __future__ import absolute_import, division, print_function

import textwrap

from lomond._compat import TYPE_CHECKING
from lomond._outcomes import NORMAL

if TYPE_CHECKING:
    from typing import Any, Optional, Text  # noqa: F401

__all__ = [
    'CLOSED', 'DROPPED', 'FAILED', 'INTERRUPTED', 'NO_CONNECTION', 'OK', 'REJECTED', 'STATUSES',
    'TERMINATED', 'TIMED_OUT', 'WRONG_ARGUMENTS', 'Outcome', 'describe_statuses', 'exit_status']

OK = 0
FAILED = 1
WRONG_ARGUMENTS = 2
NO_CONNECTION = 3
REJECTED = 4
DROPPED = 5
CLOSED = 6
TIMED_OUT = 7
INTERRUPTED = 130
TERMINATED = 143

#: (status, what happened), for ``--help`` and for docs/reference/command-line.md.
STATUSES = (
    (OK, (
        'closed, by either side, with 1000, 1001 or no code; --count was reached; the reader of '
        'the output closed it, as head does')),
    (FAILED, 'a file or the output failed, or a message could not be sent'),
    (WRONG_ARGUMENTS, 'wrong arguments'),
    (NO_CONNECTION, (
        'no connection: the name, the address, the proxy, TLS or the handshake failed, or '
        '--connect-timeout was over')),
    (REJECTED, 'the server rejected the WebSocket, with an HTTP status'),
    (DROPPED, 'the connection broke, or the server broke the protocol'),
    (CLOSED, 'the server closed with another code'),
    (TIMED_OUT, (
        '--timeout was over before --count or before the connection was open; or --ping-timeout '
        'was over')),
    (INTERRUPTED, 'Ctrl-C'),
    (TERMINATED, 'SIGTERM'),
)

_BY_NAME = {'connect_fail': NO_CONNECTION, 'rejected': REJECTED, 'unresponsive': TIMED_OUT}


def exit_status(event, was_open=True):
    # type: (Any, bool) -> Optional[int]
    """Return the exit status for an event, or None if the event doesn't decide about it.

    Parameters: ``was_open``, whether there was Ready before.
    """
    if event.name == 'closing':
        return OK if event.code in NORMAL else CLOSED
    if event.name == 'disconnected':
        return OK if event.graceful else DROPPED if was_open else NO_CONNECTION
    return _BY_NAME.get(event.name)


class Outcome(object):
    """The exit status of a loop's events: pass each to `observe`."""

    def __init__(self):
        # type: () -> None
        self._status = None  # type: Optional[int]
        #: Whether the last connection was open.
        self.was_open = False  # type: bool

    def observe(self, event):
        # type: (Any) -> None
        """Take an event into account: the first one that says what went wrong decides."""
        if event.name == 'connecting':
            self._status, self.was_open = None, False       # another attempt
        elif event.name == 'ready':
            self.was_open = True
        else:
            self._status = self._status or exit_status(event, self.was_open)

    @property
    def status(self):
        # type: () -> int
        """The status of the events so far: that of their last connection."""
        return OK if self._status is None else self._status


def describe_statuses():
    # type: () -> str
    """Return the table as text, for ``--help``."""
    lines = ['exit status:']
    for status, meaning in STATUSES:
        lines.extend(_fold('  {:<4}'.format(status), meaning))
    return '\n'.join(lines)


def _fold(head, text, width=78):
    # type: (str, str, int) -> Any
    return textwrap.wrap(text, width, initial_indent=head, subsequent_indent=' ' * len(head))
