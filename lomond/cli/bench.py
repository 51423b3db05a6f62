"""``lomond bench``: how many messages a second a server echoes, and how long each takes.

One thread drives all connections, by a `Pool`. What the figures mean is in `lomond.cli.measuring`.
"""

from __future__ import absolute_import, division, print_function

import argparse
import binascii
import json
import os
from collections import deque

from lomond import _console
from lomond._compat import TYPE_CHECKING, cpu_clock, stopwatch
from lomond.cli.connecting import add_connection_arguments, loop_options, make_websocket
from lomond.cli.measuring import Histogram, describe, environment
from lomond.cli.output import escape
from lomond.cli.signals import STATUSES, catching
from lomond.cli.statuses import DROPPED, FAILED, OK, Outcome, describe_statuses
from lomond.errors import OutboxFull, WebSocketError
from lomond.http.redact import redact_url
from lomond.pool import Pool

if TYPE_CHECKING:
    from typing import Any, Deque, Dict, List, Optional  # noqa: F401

    from lomond.websocket import WebSocket  # noqa: F401

__all__ = ['DESCRIPTION', 'add_arguments', 'run']

DESCRIPTION = """\
Measure a server that sends each message back, as lomond serve does: messages a second, and round
trips. Each connection has one message on its way, and sends the next one when that is back; or,
with --rate, messages are sent at their times, whether the server keeps up or not. Only measure
servers of your own."""

# The largest message (1 GiB).
_MOST_SIZE = 1024 * 1024 * 1024

# How often to look what is due (seconds): with --rate, and without.
_TICKS = {True: 0.001, False: 0.05}

# How long to send what is due before looking at what has come, the time and signals (seconds).
_MOST_SENDING = 0.05

# How long to wait for answers at the end (seconds).
_LAST_ANSWERS = 5.0


def add_arguments(parser):
    # type: (argparse.ArgumentParser) -> None
    """Add the arguments of ``lomond bench``."""
    parser.epilog = describe_statuses()
    group = parser.add_argument_group('what is measured')
    group.add_argument('--connections', '-c', metavar='N', type=_console.number(1), default=1,
                       help='default: 1')
    group.add_argument('--size', metavar='BYTES', type=_console.number(0, _MOST_SIZE), default=32,
                       help='of a message; default: 32')
    group.add_argument('--binary', action='store_true', help='send binary messages, not texts')
    group.add_argument('--duration', metavar='S', type=_console.seconds, default=5.0, help=(
        'how long to measure once all are connected; default: 5'))
    group.add_argument('--rate', metavar='N', type=_console.positive, help=(
        'send N messages a second, of all connections together. A round trip then counts from '
        'when its message was due. Default: as fast as possible'))
    group.add_argument('--json', action='store_true', help='print the figures as JSON, in seconds')
    add_connection_arguments(parser)


def run(arguments):
    # type: (argparse.Namespace) -> int
    """Measure, and print the figures; return the exit status."""
    measurement = _Measurement(arguments)
    with catching(measurement.on_signal):
        try:
            figures = measurement.run()
        except KeyboardInterrupt:       # a second signal
            figures = None
    if figures is not None:
        lines = [u'' + json.dumps(figures, sort_keys=True)] if arguments.json \
            else describe(figures)
        for line in lines:
            _console.say(line)
    return measurement.status


class _Member(object):
    """A connection, and when each message was due that isn't answered yet."""

    def __init__(self):
        # type: () -> None
        self.waiting = deque()  # type: Deque[float]
        self.began = 0.0
        self.outcome = Outcome()


class _Measurement(object):
    """Connects, sends and receives, and counts."""

    def __init__(self, arguments):
        # type: (argparse.Namespace) -> None
        self._arguments = arguments
        self._is_binary = arguments.binary
        payload = binascii.hexlify(os.urandom(arguments.size // 2 + 1))[:arguments.size]
        self._payload = payload
        self._pool = Pool(max_queue=4 * len(payload) + 1048576)
        self._ready = []  # type: List[WebSocket]
        self._is_measuring = False
        self._start = self._end = 0.0
        self._in_time = 0           # answers before the end
        self._is_closing = False
        self._cpu = 0.0
        self._due = 0               # messages with --rate, so far
        self._failure = OK
        self._signal = None  # type: Optional[int]
        self._peer = None  # type: Any
        self._local = None  # type: Any
        self._counts = dict.fromkeys(('broken', 'unanswered', 'unsent', 'wrong'), 0)
        self._round_trips = Histogram()
        self._connecting = Histogram()

    @property
    def status(self):
        # type: () -> int
        """The exit status."""
        if self._signal is not None:
            return STATUSES[self._signal]
        is_echoed = self._round_trips.count or not self._counts['unanswered']
        return self._failure or (FAILED if self._counts['wrong'] or not is_echoed else OK)

    def on_signal(self, number, _frame):
        # type: (int, Any) -> None
        """End with the figures so far; the second time, at once."""
        if self._signal is not None:
            raise KeyboardInterrupt
        self._signal = number

    def run(self):
        # type: () -> Optional[Dict[str, Any]]
        """Return the figures, or None if the measurement has not begun."""
        arguments = argparse.Namespace(**vars(self._arguments))
        for _number in range(arguments.connections):
            websocket = make_websocket(
                arguments, text_as_bytes=True, ssl_verify=not self._arguments.insecure)
            self._pool.add(websocket, tag=_Member(), **loop_options(arguments))
            arguments.insecure = False      # one warning is enough
        with self._pool:
            for member, event in self._pool.polling(_TICKS[arguments.rate is not None]):
                if member is None:
                    self._tick()
                else:
                    self._handle(member, event)
            if self._is_measuring:      # no connection is left
                self._end = min(self._end, stopwatch())
                self._finish(0)
        return self._figures() if self._is_measuring else None

    def _handle(self, websocket, event):
        # type: (WebSocket, Any) -> None
        if event.name == 'text' or event.name == 'binary':
            self._receive(websocket, event.data)
            return
        websocket.tag.outcome.observe(event)
        if event.name == 'connecting':
            websocket.tag.began = stopwatch()
        elif event.name == 'ready':
            self._connecting.add(stopwatch() - websocket.tag.began)
            self._ready.append(websocket)
            if len(self._ready) == self._arguments.connections:
                self._begin(websocket)
        elif not self._is_closing:
            self._notice_end(websocket, event)

    def _notice_end(self, websocket, event):
        # type: (WebSocket, Any) -> None
        if event.name == 'disconnected':
            self._counts['broken'] += 1
            self._counts['unanswered'] += len(websocket.tag.waiting)
            if websocket in self._ready:
                self._ready.remove(websocket)
        if event.name in ('connect_fail', 'rejected', 'disconnected') and not self._failure:
            self._failure = websocket.tag.outcome.status or DROPPED
            _console.complain(escape(u'lomond: {}: {}'.format(
                redact_url(websocket.url), event.reason)))
        if self._failure and not self._is_measuring:
            self._close()       # not all of them are there: this is no measurement

    def _begin(self, websocket):
        # type: (WebSocket) -> None
        self._peer, self._local = websocket.peer_address, websocket.local_address
        self._cpu = cpu_clock()
        self._is_measuring = True
        self._start = stopwatch()
        self._end = self._start + self._arguments.duration
        if self._arguments.rate is None:
            for member in list(self._ready):
                self._send(member, stopwatch())

    def _send(self, websocket, due):
        # type: (WebSocket, float) -> None
        try:
            (websocket.send_binary if self._is_binary else websocket.send_utf8)(self._payload)
        except OutboxFull:
            self._counts['unsent'] += 1
        except WebSocketError:
            pass        # its Disconnected comes
        else:
            websocket.tag.waiting.append(due)

    def _receive(self, websocket, data):
        # type: (WebSocket, bytes) -> None
        now = stopwatch()
        waiting = websocket.tag.waiting
        if data != self._payload or not waiting:
            self._counts['wrong'] += 1
            return
        self._round_trips.add(now - waiting.popleft())
        if now < self._end:
            self._in_time += 1
            if self._arguments.rate is None:
                self._send(websocket, now)

    def _tick(self):
        # type: () -> None
        now = stopwatch()
        if not self._is_measuring:
            if self._signal is not None:
                self._close()
            return
        if self._signal is not None:
            self._end = min(self._end, now)
        if now >= self._end:
            left = sum(len(websocket.tag.waiting) for websocket in self._ready)
            if not left or self._signal is not None or now >= self._end + _LAST_ANSWERS:
                self._finish(left)
        elif self._arguments.rate is not None and self._ready:
            self._send_due(now)

    def _send_due(self, now):
        # type: (float) -> None
        """Send what is due: the next message, of the next connection."""
        rate = self._arguments.rate  # type: float
        until = stopwatch() + _MOST_SENDING
        while self._start + self._due / rate <= now and stopwatch() < until:
            websocket = self._ready[self._due % len(self._ready)]
            self._send(websocket, self._start + self._due / rate)
            self._due += 1

    def _finish(self, unanswered):
        # type: (int) -> None
        if not self._is_closing:
            self._counts['unanswered'] += unanswered
            self._cpu = (cpu_clock() - self._cpu) / max(stopwatch() - self._start, 1e-9)
            self._close()

    def _close(self):
        # type: () -> None
        self._is_closing = True
        self._pool.close(code=1000)

    def _figures(self):
        # type: () -> Dict[str, Any]
        arguments, seconds = self._arguments, self._end - self._start
        rate = self._in_time / max(seconds, 1e-9)
        return dict(
            environment(), url=redact_url(arguments.url), connections=arguments.connections,
            size=arguments.size, kind='binary' if self._is_binary else 'text', duration=seconds,
            rate=arguments.rate, messages=self._in_time, messages_per_second=rate,
            bytes_per_second=rate * arguments.size, round_trip=self._round_trips.as_dict(),
            connecting=self._connecting.as_dict(), client_cpu=self._cpu,
            same_machine=_is_same_machine(self._peer, self._local), **self._counts)


def _is_same_machine(peer, local):
    # type: (Any, Any) -> bool
    """Return whether both addresses, of a connection, are of one machine."""
    if not isinstance(peer, tuple) or not isinstance(local, tuple):
        return True     # a Unix socket
    return bool(peer[0] == local[0])
