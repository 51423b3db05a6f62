"""``lomond serve --command``: a process for each connection, whose lines are messages.

A process gets a session of its own, and nothing of that is left when the connection has ended. What
a client or a program doesn't read is limited: nothing waits for either forever. POSIX only.
"""

from __future__ import absolute_import, division, print_function

import errno
import fcntl
import os
import signal
import subprocess  # nosec B404
import threading

from lomond._compat import NEW_SESSION, TYPE_CHECKING, encode_text, monotonic, text_to_native
from lomond.errors import WebSocketError
from lomond.net.waiter import READ, WRITE, wait
from lomond.net.workers import start_thread
from lomond.status import Status

if TYPE_CHECKING:
    from typing import Any, Iterable, Iterator, List, Set  # noqa: F401

    from lomond.server import ServerWebSocket  # noqa: F401

__all__ = ['Programs']

#: How long a program may not read its stdin, as for a client that doesn't read (seconds).
MOST_STALLED = 30.0

#: How long a program has to end after its stdin was closed, and again after SIGTERM (seconds).
GRACE = 2.0

# How often a thread that waits for a pipe looks whether its connection is still there (seconds).
_LOOK = 0.25

_READ_SIZE = 65536


class Programs(object):
    """Runs a program for each connection; a context manager, which leaves none running.

    Parameters: ``command``, the program and its arguments; ``max_line``: the longest line of its
    stdout, in bytes; ``is_binary``: whether its lines are sent as binary messages.
    """

    def __init__(self, command, max_line, is_binary=False):
        # type: (List[str], int, bool) -> None
        self._command = command
        self._max_line = max_line
        self._is_binary = is_binary
        self._running = set()  # type: Set[_Program]
        self._lock = threading.Lock()       # 2.7's Popen may leak descriptors between threads

    def serve(self, websocket, events):
        # type: (ServerWebSocket, Iterable[Any]) -> None
        """Run the program while a connection lasts, whose events these are."""
        try:
            with self._lock:
                program = _Program(self._command, websocket, self._max_line, self._is_binary)
                self._running.add(program)
        except EnvironmentError as error:
            websocket.close(Status.UNEXPECTED_CONDITION, u'could not run the program: {}'.format(
                os.strerror(error.errno or 0)))
            for _event in events:
                pass
            return
        try:
            program.follow(events)
        finally:
            program.end()
            self._running.discard(program)

    def __enter__(self):
        # type: () -> Programs
        return self

    def __exit__(self, *_exc_info):
        # type: (*Any) -> None
        for program in list(self._running):     # of handlers that were abandoned
            program.kill()


class _Program(object):
    """One process, and the thread that reads its stdout."""

    def __init__(self, command, websocket, max_line, is_binary):
        # type: (List[str], ServerWebSocket, int, bool) -> None
        self._websocket = websocket
        self._max_line = max_line
        self._is_binary = is_binary
        self._is_over = False       # the connection has ended
        self._lock = threading.Lock()       # on 2.7 two threads may not ask for the status at once
        self._process = subprocess.Popen(   # nosec B603  # the user's own command
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, close_fds=True,
            env=_environment(websocket), **NEW_SESSION)
        pipes = self._process.stdin, self._process.stdout  # type: Any
        self._stdin, self._stdout = pipes
        for descriptor in (self._stdin.fileno(), self._stdout.fileno()):
            flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_NONBLOCK)
        self._reader = threading.Thread(target=self._send_lines)
        self._reader.daemon = True
        try:
            start_thread(self._reader)
        except BaseException:
            self.kill()
            self._ends_within(float('inf'))
            self._close_stdin()
            self._stdout.close()
            raise

    # -- the connection's thread --

    def follow(self, events):
        # type: (Iterable[Any]) -> None
        """Write the messages to the program, until the connection has ended."""
        for event in events:
            if event.name == 'text' or event.name == 'binary':
                self._write(event.data + b'\n')

    def _write(self, data):
        # type: (bytes) -> None
        view = memoryview(data)
        deadline = monotonic() + MOST_STALLED
        while view and self._stdin is not None and self._websocket.is_open:
            try:
                view = view[os.write(self._stdin.fileno(), view[:_READ_SIZE]):]
                deadline = monotonic() + MOST_STALLED
            except OSError as error:
                if error.errno == errno.EPIPE:      # it reads no more, and may still print
                    self._close_stdin()
                elif error.errno not in (errno.EAGAIN, errno.EINTR):
                    raise
                elif monotonic() > deadline:
                    self._websocket.close(
                        Status.UNEXPECTED_CONDITION, u'the program does not read')
                else:
                    wait(((self._stdin.fileno(), WRITE),), _LOOK)

    def _close_stdin(self):
        # type: () -> None
        stdin, self._stdin = self._stdin, None
        if stdin is not None:
            stdin.close()

    def end(self):
        # type: () -> None
        """End the program, and all that it has started: by the end of stdin, or by signals."""
        self._is_over = True
        self._close_stdin()
        self._ends_within(GRACE)
        self._signal(signal.SIGTERM)
        self._ends_within(GRACE, with_all=True)
        self.kill()
        self._ends_within(float('inf'))
        self._reader.join()
        self._stdout.close()

    def kill(self):
        # type: () -> None
        """End it at once."""
        self._signal(signal.SIGKILL)

    def _ends_within(self, seconds, with_all=False):
        # type: (float, bool) -> bool
        """Wait for the program, ``with_all`` that it has started."""
        deadline = monotonic() + seconds
        pause = threading.Event()       # never set
        while True:
            with self._lock:
                if self._process.poll() is not None and not (with_all and self._signal(0)):
                    return True
            if monotonic() > deadline:
                return False
            pause.wait(0.01)

    def _signal(self, number):
        # type: (int) -> bool
        """Send a signal to what is left of its session; False if there is nothing."""
        try:
            os.killpg(self._process.pid, number)
        except OSError:
            return False
        return True

    # -- the thread that reads --

    def _send_lines(self):
        # type: () -> None
        """Send each line; then close the connection, which says how the program ended."""
        try:
            for line in self._read_lines():
                self._send(line)
        except WebSocketError:
            return      # the connection has ended, and its thread ends the program
        except ValueError as error:
            self._websocket.close(Status.UNEXPECTED_CONDITION, u'{}'.format(error))
            return
        if self._is_over:
            return
        if not self._ends_within(GRACE):
            self._websocket.close(Status.NORMAL, u'')       # it has closed its stdout
        elif self._process.returncode == 0:
            self._websocket.close(Status.NORMAL, u'')
        else:
            self._websocket.close(Status.UNEXPECTED_CONDITION, _describe(self._process.returncode))

    def _send(self, line):
        # type: (bytes) -> None
        if not self._is_binary:
            try:
                self._websocket.send_utf8(line)
                return
            except ValueError:
                pass        # it isn't UTF-8
        self._websocket.send_binary(line)

    def _read_lines(self):
        # type: () -> Iterator[bytes]
        """Yield the lines of stdout; raises ValueError for one that is too long."""
        rest = b''
        has_ended = False
        while not self._is_over:
            try:
                data = os.read(self._stdout.fileno(), _READ_SIZE)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EINTR):
                    raise
                if has_ended:
                    break       # what it has started holds its stdout
                wait(((self._stdout.fileno(), READ),), _LOOK)
                has_ended = self._ends_within(0)
                continue
            if not data:
                break
            lines = (rest + data).split(b'\n')
            rest = lines.pop()
            for line in lines:
                self._check_length(line)
                yield line
            self._check_length(rest)
        if rest and not self._is_over:
            yield rest

    def _check_length(self, line):
        # type: (bytes) -> None
        if len(line) > self._max_line:
            raise ValueError('the program wrote a line of more than {} bytes'.format(
                self._max_line))


def _environment(websocket):
    # type: (ServerWebSocket) -> Any
    """Return the environment of a program, with what it may need of the request, as in CGI.

    But PATH_INFO is still percent-encoded.
    """
    request, address = websocket.request, websocket.address
    return dict(
        # As bytes: in the locale C Python would refuse characters that are not ASCII.
        os.environ, PATH_INFO=encode_text(request.path), QUERY_STRING=encode_text(request.query),
        REMOTE_ADDR=text_to_native(address[0] if isinstance(address, tuple) else ''))


def _describe(returncode):
    # type: (int) -> Any
    if returncode < 0:
        return u'the program was ended by signal {}'.format(-returncode)
    return u'the program ended with status {}'.format(returncode)
