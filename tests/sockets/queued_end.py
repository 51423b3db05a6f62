"""A WebSocket with a queue, over a pair of sockets, in steps; its peer reads when asked."""

from __future__ import absolute_import, division, print_function

import socket
import ssl

from lomond import WebSocket
from lomond.engine.outbox import MAX_QUEUE, Outbox, Overflow
from lomond.engine.stepped import QueuedClientSession
from lomond.net.waiter import READ, WRITE, wait
from lomond.testing import Clock
from tests.network.driving import Background
from tests.protocol.harness import CLIENT, parse_frames
from tests.support import PATIENCE, answer_upgrade

#: More than the socket's buffers hold, and one frame.
LARGE = 200000

DEFLATE = b'Sec-WebSocket-Extensions: permessage-deflate'


def socket_pair():
    """Return a pair of sockets; those of 2.7 in the class that its `ssl` expects."""
    ends = socket.socketpair()
    if isinstance(ends[0], socket.socket):
        return ends
    return [socket.socket(_sock=sock) for sock in ends]


class QueuedEnd(object):
    """A websocket that is ready, and the socket of its peer.

    Parameters: ``secure``, a server's TLS context and the path of its authority, or None;
    ``headers`` of the peer's answer; ``outbox``, or its ``max_queue`` and ``overflow``;
    ``on_event``, called with this and each event; ``loop``, options of `Session.begin`;
    ``options`` of the websocket.
    """

    def __init__(self, secure=None, headers=(), outbox=None, max_queue=MAX_QUEUE,
                 overflow=Overflow.RAISE, on_event=None, loop=None, **options):
        self.clock = Clock()
        self.outbox = Outbox(max_queue, overflow) if outbox is None else outbox
        self.events = []
        self.wakes = []
        self._on_event = on_event
        self.received = b''
        ours, self.peer = socket_pair()
        for sock in (ours, self.peer):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.peer.settimeout(PATIENCE)
        url = u'ws://localhost/'
        if secure is not None:
            url = u'wss://localhost/'
            options['ssl_cafile'] = secure[1]
        self.websocket = WebSocket(url, proxies={}, sock=ours, **options)
        self.session = self.websocket.new_session(self._make_session)
        self.writer = self.session.writer
        given = {'poll': None, 'ping_rate': 0, 'ping_timeout': None, 'auto_pong': True,
                 'close_timeout': 30}
        self.session.begin(wake=lambda: self.wakes.append(None), **dict(given, **(loop or {})))
        answering = Background(self._answer, None if secure is None else secure[0], headers)
        self.run_to('ready')
        answering.result()
        self.peer.setblocking(False)

    def _make_session(self, websocket):
        return QueuedClientSession(websocket, outbox=self.outbox, clock=self.clock)

    def _answer(self, ssl_context, headers):
        if ssl_context is not None:
            self.peer = ssl_context.wrap_socket(self.peer, server_side=True)
        answer_upgrade(self.peer, *headers)

    # -- our end --

    @property
    def names(self):
        return [event.name for event in self.events]

    def step(self):
        for event in self.session.step():
            self.events.append(event)
            if self._on_event is not None:
                self._on_event(self, event)

    def has_to_step(self):
        """Tell if a driver would step now, rather than wait."""
        return not self.session.is_finished and (
            self.session.time_left() == 0 or bool(wait(self.session.interest, 0)))

    def settle(self):
        """Step until a driver would wait; return how many steps that took."""
        steps = 0
        while self.has_to_step():
            self.step()
            steps += 1
            assert steps < 10000, 'it spins'
        return steps

    def run_to(self, name):
        """Step, and wait in between, until there is an event of this name; return the last."""
        while name not in self.names:
            assert not self.session.is_finished, self.events
            left = self.session.time_left()
            if left != 0:
                wait(self.session.interest, PATIENCE if left is None else min(left, PATIENCE))
            self.step()
        return [event for event in self.events if event.name == name][-1]

    def fill(self, size=LARGE):
        """Have the send buffer filled by a message; return that, of which a part waits."""
        message = b'L' * size
        self.websocket.send_binary(message, compress=False)
        self.settle()
        assert self.writer.has_unsent
        return message

    # -- the peer's --

    def read(self, size=65536):
        """Read what is there for the peer; return how much that was."""
        try:
            data = self.peer.recv(size)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0
        except socket.error as error:
            if isinstance(error, ssl.SSLError):
                raise
            return 0
        self.received += data
        return len(data)

    def exchange(self, size=65536):
        """Have the peer read, and our end step, until neither has anything to do."""
        while self.read(size) or self.has_to_step():
            self.settle()

    def finish(self):
        """Exchange what is left, the end included; return the last event."""
        self.exchange()
        self.peer.close()
        return self.run_to('disconnected')

    @property
    def frames(self):
        """What the peer has read: pairs of the first byte and the payload."""
        return parse_frames(self.received, CLIENT)

    @property
    def payloads(self):
        return [payload for _first, payload in self.frames]

    def close(self):
        self.session.dispose()
        self.peer.close()


def is_waiting_for_space(session):
    """Tell if a driver waits for the send buffer of a session."""
    session.time_left()
    return any(mask & WRITE for _fd, mask in session.interest)


def is_reading(session):
    return any(mask & READ for _fd, mask in session.interest)
