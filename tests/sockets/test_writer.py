"""Interrupted at any line, a send leaves nothing locked, and nothing follows a torn frame."""

from __future__ import absolute_import, division, print_function

import itertools
import socket

import pytest

from lomond import errors
from lomond.engine import blocking, queued, writer
from lomond.engine.stepped import QueuedClientSession
from lomond.session import WebsocketSession
from lomond.testing import open_over
from tests.network.driving import Background, drain
from tests.protocol.harness import CLIENT, parse_frames
from tests.support import PATIENCE
from tests.tracing import LineTracer


class OpenEnd(object):
    """An open websocket over a pair of sockets, whose other end takes all in."""

    def __init__(self, session_class):
        ours, self._theirs = socket.socketpair()
        self._theirs.settimeout(PATIENCE)
        self.websocket = open_over(ours, session_class)
        self.session = self.websocket.session
        self._reading = Background(drain, self._theirs)

    def is_unlocked(self):
        """Tell if nobody has the lock; for another thread than that which sends."""
        is_ours = self.session.writer.lock.acquire(False)
        if is_ours:
            self.session.writer.lock.release()
        return is_ours

    def end(self):
        """Close both ends; return what was sent."""
        self.session.transport.close()
        received = self._reading.result()
        self._theirs.close()
        return received


@pytest.mark.parametrize('session_class', [WebsocketSession, QueuedClientSession])
@pytest.mark.parametrize('call', [
    lambda websocket: websocket.send_text(u'Hello'),
    lambda websocket: websocket.send_binary(b'x' * 200000),
    lambda websocket: websocket.send_many([u'Hello'] * 3),
    lambda websocket: websocket.send_text(iter([u'Hel', u'lo'])),
    lambda websocket: websocket.send_ping(),
    lambda websocket: websocket.close(),
], ids=['small', 'large', 'many', 'parts', 'ping', 'close'])
def test_interrupted_send_leaves_nothing_locked_and_no_frame_after_a_torn_one(call, session_class):
    for at in itertools.count(1):
        end = OpenEnd(session_class)
        tracer = LineTracer([writer, blocking, queued], at, counts_again=False)
        try:
            with tracer:
                call(end.websocket)
        except KeyboardInterrupt:
            pass
        assert not end.session.writer.is_sending
        assert Background(end.is_unlocked).result(), 'interrupted before line {}'.format(at)
        try:
            Background(end.websocket.send_text, u'after it').result()
            went_on = True
        except errors.WebSocketError as error:
            assert 'another thread' not in str(error)
            went_on = False
        received = end.end()
        if went_on:
            assert parse_frames(received, CLIENT)[-1] == (0x81, b'after it')
        if not tracer.has_acted:
            break
    assert at > 5
