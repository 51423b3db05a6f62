"""A server's session: TLS on an accepted socket, the client's request, our answer.

Everything else of its life is in `session`.
"""

from __future__ import absolute_import, division, print_function

import socket
from itertools import chain

from lomond import errors
from lomond._compat import TYPE_CHECKING, monotonic, text_type
from lomond._describe import describe
from lomond.engine.session import LINGER_OF_SERVER, PEER_OF_SERVER, Session
from lomond.net.steps import Wait, operation
from lomond.net.transport import RECEIVE_SIZE, Transport, would_block
from lomond.net.waiter import READ
from lomond.protocol.handshake import TLS_HANDSHAKE, plain_answer

if TYPE_CHECKING:
    from typing import Iterable, Iterator, Optional  # noqa: F401

    from lomond.engine.phases import End  # noqa: F401
    from lomond.events import AnyEvent  # noqa: F401
    from lomond.net.steps import Steps  # noqa: F401


class ServerSession(Session):
    """Answers the client's request, and drives the connection.

    Of the websocket it uses, beside what `Session` does: ``sock``, the
    accepted socket, and ``ssl_context`` or None; ``take_answer()``, the bytes to
    send once the request is there, or None; ``answered(error)``, the events
    that follow.
    """

    linger = LINGER_OF_SERVER  # type: float

    _peer = PEER_OF_SERVER
    _time_limit = u'handshake_timeout'

    @operation
    def dial(self):
        # type: () -> Steps
        websocket = self._websocket
        sock, websocket.sock = websocket.sock, None
        if websocket.ssl_context is None:
            yield Transport(sock)
            return
        self._dial_progress.enter('tls')
        from lomond.net.tls.handshake import TLS_ERRORS, handshake  # ssl takes long to import
        try:
            yield _check_for_tls(sock, self._connect_deadline)
            transport = yield handshake(sock, websocket.ssl_context, self._connect_deadline)
        except TLS_ERRORS as error:
            sock.close()
            raise errors.ConnectFail.during('tls', describe(error), error)
        except BaseException:
            sock.close()
            raise
        yield transport

    def _step_handshake(self):
        # type: () -> Iterable[AnyEvent]
        writer = self.writer
        if not writer.has_head or self._is_forced or writer.pending.close is not None:
            return super(ServerSession, self)._step_handshake()
        unsent = writer.flush_head()
        if not unsent:
            return super(ServerSession, self)._follow(self._answered(), None)
        if self._clock() >= self.deadline:
            return self._disconnect(*self._handshake_timeout())
        # What the client sends now has to wait until it has our answer.
        self.interest = unsent
        return ()

    def _follow(self, happened, end):
        # type: (Iterable[AnyEvent], Optional[End]) -> Iterator[AnyEvent]
        return super(ServerSession, self)._follow(chain(happened, self._answer()), end)

    def _answer(self):
        # type: () -> Iterator[AnyEvent]
        """Send our answer, if the request has come; yield the events if all of it is out."""
        answer = self._websocket.take_answer()
        if answer is not None:
            self._send_head(answer)
            if self.writer.head_error is not None or not self.writer.has_head:
                for event in self._answered():
                    yield event

    def _answered(self):
        # type: () -> Iterator[AnyEvent]
        """Return the events that follow once our answer is out, or could not be sent."""
        error = None if self.writer.head_error is None else text_type(self.writer.error)
        return self._websocket.answered(error)      # type: ignore[no-any-return]


@operation
def _check_for_tls(sock, deadline):
    # type: (socket.socket, float) -> Steps
    """Wait for the client's first byte; raises TLS_ERRORS if that isn't one of TLS.

    OpenSSL fails after the same byte too, but then no answer could be sent.
    """
    sock.setblocking(False)
    while True:
        try:
            first = sock.recv(1, socket.MSG_PEEK)
            break
        except socket.error as error:
            if not would_block(error):
                raise
        if monotonic() >= deadline:
            raise socket.timeout('timed out')
        yield Wait(((sock.fileno(), READ),), deadline)
    if first in (b'', TLS_HANDSHAKE):
        return
    if b'A' <= first <= b'Z':       # an HTTP request, which has to be read before the end
        sock.recv(RECEIVE_SIZE)
        sock.send(plain_answer(400, u'this port speaks TLS: use wss://'))
    raise ValueError('the client speaks no TLS')


