"""The server's end of one connection of a `ScriptedServer`: runs a script over a blocking socket.

One thread runs it. The protocol is `lomond.sansio.Server`; only `raw` writes anything else.
"""

from __future__ import absolute_import, division, print_function

import socket
import struct
import traceback
from collections import deque

from lomond._compat import TYPE_CHECKING, monotonic, text_type
from lomond._describe import describe
from lomond.errors import WebSocketError
from lomond.opcode import Opcode
from lomond.testing.matching import matches, show
from lomond.testing.steps import cut

if TYPE_CHECKING:
    from typing import Any, Deque, List, Optional, Sequence, Set  # noqa: F401

    from lomond.testing.matching import Message  # noqa: F401
    from lomond.testing.steps import Step  # noqa: F401

_RESET = struct.pack('ii', 1, 0)

#: How often, in seconds, a step that waits for an event looks whether it should end.
_LOOK = 0.05

# What ssl raises on 2.7 instead of socket.timeout.
_TLS_TIMEOUT = ('The read operation timed out',)


class Unmet(WebSocketError):
    """The client did something else than the script says, or nothing; the text says what."""


class ScriptedEnd(object):
    """Runs the steps of a script on one connection.

    Parameters: ``server``, the `ScriptedServer`; ``number`` of the connection; ``sock``, which is
    closed at the end; ``steps``; ``protocol``, a `lomond.sansio.Server`.
    """

    def __init__(self, server, number, sock, steps, protocol):
        # type: (Any, int, Any, Sequence[Step], Any) -> None
        self._server = server
        self.number = number
        self._steps = steps
        self._protocol = protocol
        self._plain_sock = sock
        self._sock = sock
        self._inbox = deque()  # type: Deque[Message]
        self._pongs = set()  # type: Set[bytes]
        self._request = None  # type: Any       # the event
        # How the client has left, in words; None as long as it hasn't.
        self._end = None  # type: Optional[text_type]
        #: Whether the script is over, and nothing but the client's end is waited for.
        self.is_idle = False

    def run(self):
        # type: () -> None
        """Run the script, report to the server how it went, and close the socket."""
        step = None  # type: Any
        try:
            self._plain_sock.settimeout(self._server.timeout)
            self._plain_sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sock = self._server.secure(self._plain_sock)
            self._read_request()
            steps = deque(self._steps)
            if not steps or steps[0].accepts:
                self.accept()
            while steps:
                step = steps.popleft()
                step.run(self)
            step = None
            self._idle()
        except Unmet as error:
            self._failed(step, text_type(error))
        except socket.error as error:
            if not self.is_idle:
                self._failed(step, u'the connection broke: {}'.format(describe(error)))
        except BaseException:
            self._failed(step, u'\n' + _to_text(traceback.format_exc()))
        finally:
            self._close()
            self._server.ended(self)

    def _note(self, words):
        # type: (str) -> None
        self._server.transcript.add(self.number, words)

    def _failed(self, step, words):
        # type: (Optional[Step], text_type) -> None
        self._note('FAILED   {}'.format('' if step is None else repr(step)))
        self._server.fail(u'connection {}{}: {}'.format(
            self.number, u'' if step is None else u', {!r}'.format(step), words))

    # -- reading --

    def _read_request(self):
        # type: () -> None
        deadline = monotonic() + self._server.timeout
        while self._request is None:
            if self._end is not None:
                raise Unmet(u'no WebSocket request came: {}'.format(self._end))
            self._read(deadline, u'no request came')
        request = self._request.request
        self._server.requests.append(request)
        self._note('received {} {}'.format(request.method, request.resource))

    def _read(self, deadline=None, what=u''):
        # type: (Optional[float], text_type) -> None
        """Read once, and answer what the protocol answers; sets `_end` if the client has left."""
        if deadline is None:
            self._sock.settimeout(None)
        else:
            left = deadline - monotonic()
            if left <= 0:
                raise Unmet(u'{} in {:g} s'.format(what, self._server.timeout))
            self._sock.settimeout(left)
        try:
            data = self._sock.recv(65536)
        except socket.error as error:
            if isinstance(error, socket.timeout) or error.args == _TLS_TIMEOUT:
                raise Unmet(u'{} in {:g} s'.format(what, self._server.timeout))
            self._end = self._end or u'the client broke the connection: {}'.format(describe(error))
            return
        for event in self._protocol.receive(data):
            self._take(event)
        self._flush()

    def _take(self, event):
        # type: (Any) -> None
        if event.name == 'request':
            self._request = event
            return
        if event.name in ('text', 'binary'):
            message = event.text if event.name == 'text' else event.data
            self._inbox.append(message)
            self._server.received.append(message)
            self._note('received {} {}'.format(event.name, show(message)))
            return
        if event.name == 'pong':
            self._pongs.add(event.data)
        elif event.name in ('closing', 'closed'):
            self._end = u'the client closed with {} {}'.format(event.code, event.reason).rstrip()
        elif event.name in ('rejected', 'protocol_error', 'disconnected'):
            self._end = self._end or getattr(event, 'error', None) or event.reason
        self._note('received {!r}'.format(event))

    def _idle(self):
        # type: () -> None
        """Go on answering until the client has left, or the server's block ends."""
        self._server.finished(self)
        while True:
            if self._inbox and self._server.is_strict:
                raise Unmet(u'the script is over, and a message came that no step expects: '
                            u'{}'.format(show(self._inbox[0])))
            self._inbox.clear()
            if self._end is not None:
                return
            self._read()

    # -- writing --

    def write(self, data):
        # type: (bytes) -> None
        """Send bytes as they are."""
        self._note('sent     {} bytes {}'.format(len(data), show(data[:40])))
        self._send(data)

    def _send(self, data):
        # type: (bytes) -> None
        self._sock.settimeout(self._server.timeout)
        self._sock.sendall(data)

    def _flush(self):
        # type: () -> None
        data = self._protocol.data_to_send()
        if data:
            try:
                self._send(data)
            except socket.error as error:       # what it read is to be looked at first
                self._end = self._end or u'the client broke the connection: {}'.format(
                    describe(error))

    # -- what steps do --

    def accept(self, protocol=None, headers=()):
        # type: (Optional[text_type], Any) -> None
        """Answer the request with 101."""
        for event in self._protocol.accept(protocol, headers=headers):
            if event.name != 'ready':
                self._take(event)
        self._note('sent     101, the handshake is complete')
        self._send(self._protocol.data_to_send())

    def reject(self, status, headers, body):
        # type: (int, Any, Any) -> None
        """Answer the request with something else, and end TCP."""
        self._protocol.reject(status, headers, body)
        self._note('sent     {}'.format(status))
        self._send(self._protocol.data_to_send())
        self.drop()

    def say(self, message):
        # type: (Message) -> None
        """Send a message."""
        self._put(message)
        self._send(self._protocol.data_to_send())

    def say_in_parts(self, parts):
        # type: (List[Message]) -> None
        """Send a message in fragments."""
        for index, part in enumerate(parts):
            self._put(part, index + 1 == len(parts))
        self._send(self._protocol.data_to_send())

    def say_in_pieces(self, message, sizes):
        # type: (Message, Any) -> None
        """Send a message, and write its frame in pieces."""
        self._put(message)
        for piece in cut(self._protocol.data_to_send(), sizes):
            self._send(piece)       # type: ignore[arg-type]    # bytes give bytes

    def _put(self, message, is_last=True):
        # type: (Message, bool) -> None
        self._check_there()
        kind = 'text' if isinstance(message, text_type) else 'binary'
        self._note('sent     {}{} {}'.format(kind, '' if is_last else ' (part)', show(message)))
        send = self._protocol.send_text if kind == 'text' else self._protocol.send_binary
        send(message, message_finished=is_last)

    def expect(self, expected):
        # type: (Any) -> None
        """Wait for the next message, and check it."""
        deadline = monotonic() + self._server.timeout
        while True:
            while self._inbox:
                message = self._inbox.popleft()
                if matches(expected, message):
                    return
                if self._server.is_strict:
                    raise Unmet(u'another message came: {}'.format(show(message)))
            self._check_there()
            self._read(deadline, u'no message came')

    def ping(self, data):
        # type: (bytes) -> None
        """Send a ping, and wait for its pong."""
        self._check_there()
        self._protocol.send_ping(data)
        self._note('sent     {} {}'.format(Opcode.to_str(Opcode.PING), show(data)))
        self._send(self._protocol.data_to_send())
        deadline = monotonic() + self._server.timeout
        while data not in self._pongs:
            self._check_there()
            self._read(deadline, u'no pong came')
        self._pongs.discard(data)

    def _check_there(self):
        # type: () -> None
        if self._end is not None:
            raise Unmet(self._end)

    def wait(self, event):
        # type: (Any) -> None
        """Wait for the test's event."""
        deadline = monotonic() + self._server.timeout
        while not event.wait(max(0.0, min(_LOOK, deadline - monotonic()))):
            if self._server.is_broken_off:
                raise Unmet(u'the block has ended before the event was set')
            if monotonic() >= deadline:
                raise Unmet(u'the event was not set in {:g} s'.format(self._server.timeout))

    def close(self, code, reason):
        # type: (Any, text_type) -> None
        """Send a Close frame, and wait for the client's, unless that came, and was answered."""
        if self._protocol.close_received is not None:
            return
        self._check_there()
        self._protocol.close(code, reason)
        self._note('sent     Close {} {}'.format(code, show(reason) if reason else '').rstrip())
        self._send(self._protocol.data_to_send())
        deadline = monotonic() + self._server.timeout
        while self._protocol.close_received is None:
            self._check_there()
            self._read(deadline, u'no Close frame came')

    def drop(self):
        # type: () -> None
        """End TCP, and read what the client still sends."""
        self._note('sent     the end of TCP')
        self._server.finished(self)     # before it may fail, as the client has ended TCP
        # Not SSLSocket's own, which would send an alert first, or drop TLS from what is read.
        socket.socket.shutdown(self._sock, socket.SHUT_WR)
        self._sock.settimeout(None)
        while self._sock.recv(65536):
            pass
        self._end = u'TCP was ended'

    def reset(self):
        # type: () -> None
        """Reset TCP."""
        self._note('sent     a reset of TCP')
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._close()
        self._end = u'TCP was reset'

    def stall(self):
        # type: () -> None
        """Do nothing until the server's block ends."""
        self._server.finished(self)
        self._server.stopping.wait()
        self._end = u'the block has ended'

    # -- the end --

    def shut_down(self):
        # type: () -> None
        """End TCP both ways, which wakes the thread; from another one. Never raises."""
        try:
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
        except (socket.error, ValueError):
            pass

    def _close(self):
        # type: () -> None
        self._sock.close()
        self._plain_sock.close()        # on 2.7 it would keep the descriptor open


def _to_text(words):
    # type: (Any) -> text_type
    return words.decode('utf-8', 'replace') if isinstance(words, bytes) else words
