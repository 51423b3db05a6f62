"""One conversation of ``lomond URL``: the loop in the main thread, stdin in a thread of its own.

It decides when the conversation ends and with which status. How messages look is the business of
`lomond.cli.display`.
"""

from __future__ import absolute_import, division, print_function

import signal
import threading

from lomond._compat import TYPE_CHECKING, monotonic
from lomond.cli.signals import STATUSES, catching
from lomond.cli.statuses import FAILED, OK, TIMED_OUT, Outcome
from lomond.errors import TransportFail, WebSocketError
from lomond.opcode import Opcode
from lomond.protocol.close import encode_close
from lomond.status import Status

if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, Iterator, Optional, Tuple  # noqa: F401

    from lomond.cli.display import Display  # noqa: F401
    from lomond.cli.formats import Message  # noqa: F401
    from lomond.cli.recording import Recorder  # noqa: F401
    from lomond.websocket import WebSocket  # noqa: F401

__all__ = ['Conversation', 'send']

# The code of the Close frame for each signal.
_CODES = {
    signal.SIGINT: Status.NORMAL, signal.SIGTERM: Status.GOING_AWAY}  # type: Dict[int, int]


def send(websocket, message):
    # type: (WebSocket, Message) -> None
    """Send a message; raises what the WebSocket's methods do."""
    methods = {
        Opcode.TEXT: websocket.send_utf8, Opcode.BINARY: websocket.send_binary,
        Opcode.PING: websocket.send_ping, Opcode.PONG: websocket.send_pong}  # type: Dict[int, Any]
    methods[message.opcode](message.data)


class Openings(object):
    """Which of the connections is open, for a thread that waits for the next one."""

    def __init__(self):
        # type: () -> None
        self._changed = threading.Condition()
        self._number = 0
        self._is_open = self._is_over = False

    def open(self):
        # type: () -> None
        """Another connection is open."""
        with self._changed:
            self._number += 1
            self._is_open = True
            self._changed.notify_all()

    def close(self):
        # type: () -> None
        """It is open no more."""
        with self._changed:
            self._is_open = False

    def end(self):
        # type: () -> None
        """There won't be another one."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def wait(self, failed):
        # type: (int) -> int
        """Wait until a connection is open; return its number, or 0 if there won't be one.

        Parameters: ``failed``, the number of the one that a send failed on: not that one.
        """
        with self._changed:
            while not self._is_over and (not self._is_open or self._number == failed):
                self._changed.wait()
            return 0 if self._is_over else self._number


class Conversation(object):
    """Sends messages, shows what arrives, and ends as the options say.

    Parameters:

    - ``websocket``, and ``display``, which shows events.
    - ``first``: messages to send whenever a connection is open, before all others.
    - ``count``: how many messages to receive, or None.
    - ``linger``: seconds without a message after the last input until the end, or None to stay.
    - ``is_persistent``: whether messages wait for the next connection.
    - ``recorder``: what is called with all events and all that is sent, or None.
    - ``close_timeout``: how many seconds a connection that is closed has to end, 0 for no limit.
    """

    def __init__(
            self, websocket, display, first=(), count=None, linger=None, is_persistent=False,
            recorder=None, close_timeout=0.0):
        # type: (WebSocket, Display, Iterable[Message], Optional[int], Optional[float], bool, Optional[Recorder], float) -> None
        self._websocket = websocket
        self._display = display
        self._first = list(first)
        self._left = count
        self._has_count = count is not None
        self._linger = linger
        self._is_persistent = is_persistent
        self._recorder = recorder
        self._close_timeout = close_timeout
        self._breaker = None  # type: Optional[threading.Timer]
        self._may_limit = [True]        # what pops it limits the end: any thread may
        self._outcome = Outcome()
        self._openings = Openings()
        self._over = threading.Event()
        self._was_open = False
        self._is_timed_out = False
        self._has_failed = False        # for a reason of our own
        self._is_unsent = False         # a message that was read
        self._ends_well = False         # --count is reached, or the output is a closed pipe
        self._is_shown = False          # all that is to be shown
        self._signal = None  # type: Optional[int]
        self._close = None  # type: Optional[Tuple[int, Any]]   # the code and reason
        self._moved_at = monotonic()    # when a message was last received or sent

    # -- the main thread --

    def run(self, events):
        # type: (Iterable[Any]) -> None
        """Follow the events of a loop to their end."""
        with catching(self._on_signal):
            try:
                for event in events:
                    self._outcome.observe(event)
                    self._handle(event)
            except KeyboardInterrupt:
                pass        # a second signal
            finally:
                self._over.set()
                self._openings.end()
                if self._breaker is not None:
                    self._breaker.cancel()
                    self._breaker.join()    # 2.7 prints an error for a thread that ends with Python

    @property
    def status(self):
        # type: () -> int
        """The exit status so far; once the input's thread has ended, that of it all."""
        if self._signal is not None:
            return STATUSES[self._signal]
        if self._has_failed:
            return FAILED
        if self._ends_well:
            return OK
        if self._is_timed_out:
            return OK if self._was_open and not self._has_count else TIMED_OUT
        return self._outcome.status or (FAILED if self._is_unsent else OK)

    def _on_signal(self, number, _frame):
        # type: (int, Any) -> None
        if self._signal is not None:
            raise KeyboardInterrupt
        self._signal = number
        self._display.is_ending = True
        self.close(_CODES[number])

    def _handle(self, event):
        # type: (Any) -> None
        if self._recorder is not None:
            self._recorder.observe(self._websocket, event)
            self._check_recorder()
        if event.name == 'connecting' and self._close is not None:
            self._websocket.close(*self._close)     # there was nothing to close yet
        if event.name == 'ready':
            self._was_open = True
            self._display.show_event(event)
            self._begin()
        elif event.name in ('text', 'binary'):
            self._receive(event)
        else:
            if event.name in ('disconnected', 'closing'):
                self._openings.close()
            self._display.show_event(event)

    def _begin(self):
        # type: () -> None
        try:
            for message in self._first:
                self._display.show_sent(message)
                self._send(message)
        except WebSocketError:
            return      # the next events say why
        self._moved_at = monotonic()
        self._openings.open()

    def _receive(self, event):
        # type: (Any) -> None
        self._moved_at = monotonic()
        if self._is_shown:
            return
        try:
            is_read = self._display.show_message(event)
        except EnvironmentError as error:
            self._display.complain(u'could not write the output: {}'.format(error.strerror))
            self._has_failed = self._is_shown = True
            self.close()
            return
        if not is_read and self._display.is_given_up:
            self._display.complain(u'nobody reads the output: a message was lost')
            self._has_failed = self._is_shown = True
            return
        if self._left is not None:
            self._left -= 1
        if not is_read or self._left == 0:
            self._ends_well = self._is_shown = self._display.is_ending = True
            self.close()

    # -- any thread --

    def _check_recorder(self):
        # type: () -> None
        """End, as what can't be recorded needn't be received."""
        if self._recorder.failure is not None and not self._has_failed:     # type: ignore[union-attr]
            self.fail(self._recorder.failure)   # type: ignore[union-attr]
            self.close()

    @property
    def stays(self):
        # type: () -> bool
        """Whether the end of the input isn't the end."""
        return self._linger is None

    def close(self, code=Status.NORMAL, reason=u''):
        # type: (int, Any) -> None
        """Close the connection, or end the attempt to connect, and end the loop."""
        encode_close(code, reason)      # raises ValueError before anything has changed
        self._close = (code, reason)
        self._limit_end()
        self._websocket.close(code, reason)

    def _limit_end(self):
        # type: () -> None
        """Break the connection if it has not ended in time.

        `WebSocket.close` waits for a message that is being sent: forever, if the server doesn't
        read. And so does what shows a message, if nobody reads stdout.
        """
        if not self._close_timeout or self._over.is_set():
            return
        try:
            self._may_limit.pop()
        except IndexError:
            return
        # Later than the loop's own limit, which says what happened.
        breaker = threading.Timer(self._close_timeout + 0.5, self._break)
        breaker.daemon = True
        breaker.start()
        self._breaker = breaker

    def _break(self):
        # type: () -> None
        self._display.give_up()
        self._websocket.force_disconnect()

    def interrupt(self):
        # type: () -> None
        """Do what Ctrl-C does, for what reads the terminal itself."""
        if self._signal is not None:
            self._websocket.force_disconnect()
        self._signal = signal.SIGINT
        self._display.is_ending = True
        self.close()

    def fail(self, words):
        # type: (Any) -> None
        """Say what went wrong with the input; the exit status says so, too."""
        self._has_failed = True
        self._display.complain(words)

    def time_out(self):
        # type: () -> None
        """End, as ``--timeout`` is over."""
        self._is_timed_out = self._display.is_ending = True
        if self.status == TIMED_OUT:
            self._display.complain(u'--timeout is over')
        self.close()

    def send(self, message):
        # type: (Message) -> bool
        """Send a message as soon as there is a connection; return False if there won't be one."""
        number = 0
        is_shown = False
        while True:
            number = self._openings.wait(number)
            if not number:
                if self._was_open:
                    self._note_unsent()
                return False
            if not is_shown:
                # Before it is sent: otherwise the reply may be shown first.
                self._display.show_sent(message)
                is_shown = True
            try:
                self._send(message)
            except WebSocketError as error:
                if not self._is_persistent:
                    self._note_unsent()
                    return False
                if isinstance(error, TransportFail) and error.sent:
                    self._display.complain(u'a message was sent in part, and is not sent again')
                    return True
            else:
                self._moved_at = monotonic()
                return True

    def _note_unsent(self):
        # type: () -> None
        """Say that a message was not sent, unless this program ends the connection."""
        if not self._display.is_ending:
            self._is_unsent = True
            self._display.complain(u'a message was not sent: the connection has ended')

    def wait_open(self):
        # type: () -> bool
        """Wait until a connection is open; return False if there won't be one."""
        return self._openings.wait(0) != 0

    def _send(self, message):
        # type: (Message) -> None
        # What can't be sent yet is recorded with the connection that takes it.
        if self._recorder is not None and self._websocket.is_open:
            self._recorder.send(message)
            self._check_recorder()
        send(self._websocket, message)

    def end_input(self, is_empty):
        # type: (bool) -> None
        """Wait until nothing has arrived for a while, and close; with no input at all, stay.

        Only the input's thread calls this, with nothing left to do.
        """
        if is_empty or self._linger is None or not self.wait_open():
            return
        while not self._over.is_set():
            left = self._moved_at + self._linger - monotonic()
            if left <= 0:
                self.close()
                return
            self._over.wait(left)
