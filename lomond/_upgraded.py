"""The server's end of a WebSocket whose opening handshake was made inside another server."""

from __future__ import absolute_import, division, print_function

import socket

from lomond import errors
from lomond._compat import TYPE_CHECKING
from lomond._multiplexer import is_member
from lomond._outcomes import NORMAL, closed_undriven
from lomond._served import BlockingServerSession, ServerWebSocket
from lomond.engine.handover import Handover
from lomond.opcode import Opcode
from lomond.protocol.close import CloseFrame, decode_close, encode_close
from lomond.protocol.connection import SERVER
from lomond.protocol.frame import encode_frame
from lomond.status import Status

if TYPE_CHECKING:
    import threading  # noqa: F401
    from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Union  # noqa: F401

    from lomond._compat import text_type  # noqa: F401
    from lomond._served import ServerEvent  # noqa: F401
    from lomond.events import AnyEvent  # noqa: F401
    from lomond.net.transport import Transport  # noqa: F401
    from lomond.protocol.extensions.base import Extension  # noqa: F401


#: Events to be set whenever one of them ends, while somebody waits for that.
bells = []  # type: List[threading.Event]


def make_upgraded(address, **options):
    # type: (Any, **Any) -> UpgradedWebSocket
    """Return an `UpgradedWebSocket` for a client's address, with options of a `ServerWebSocket`."""
    # Its session is made when it begins: else the two would keep each other, and the socket, alive.
    return UpgradedWebSocket(None, address, session_class=lambda _websocket: None, **options)


class UpgradedWebSocket(ServerWebSocket):
    """A `lomond.server.ServerWebSocket` whose handshake `lomond.wsgi.upgrade` has made.

    Nothing is received or sent until it is iterated over, a call such as `receive` is made, or a
    `lomond.pool.Pool` or a `lomond.server.Server` with ``threads=False`` has it.
    """

    # The options of a loop, as `BlockingLoop.run` takes them.
    _loop_options = {}  # type: Dict[str, Any]

    # The Close frame with which it was closed before anything drove it, if there was one.
    _undriven_close = CloseFrame(Status.ABNORMAL, u'')  # type: CloseFrame

    def hand_over(self, transport, protocol, extensions, loop_options):
        # type: (Transport, Optional[text_type], Sequence[Extension], Dict[str, Any]) -> None
        """Have a session begin with a connection, and with what its handshake agreed on."""
        self.handover = Handover(
            transport, SERVER, protocol, extensions, self.request)  # type: Optional[Handover]
        self._loop_options = loop_options

    def open_attached(self):
        # type: () -> Iterator[AnyEvent]
        """Open the connection; the session calls this."""
        handover = self.handover  # type: Any
        yield self._opened(handover.protocol, handover.extensions)

    def __iter__(self):
        # type: () -> Iterator[ServerEvent]
        if self._events is not None:        # in a handler
            return super(UpgradedWebSocket, self).__iter__()
        with self._loop_lock():
            if self._was_closed_undriven:
                return iter(())
            loop = self._run()      # not kept: leaving the loop ends the connection
            self._is_iterated = True
            return loop     # type: ignore[no-any-return]

    def messages(self):
        # type: () -> Iterator[Union[bytes, text_type]]
        try:
            return super(UpgradedWebSocket, self).messages()
        except errors.WebSocketClosed as error:
            if error.code in NORMAL:
                return iter(())
            raise

    def _use_calls(self):
        # type: () -> Any
        if not self._is_iterated and not self.begin():
            raise closed_undriven(*self._undriven_close)
        return super(UpgradedWebSocket, self)._use_calls()

    @property
    def _was_closed_undriven(self):
        # type: () -> bool
        """Whether it was closed before anything drove it, as by a server that ends."""
        handover = self.handover  # type: Any
        return handover.is_used and self.session is None

    def begin(self):
        # type: () -> bool
        """Make one loop for all that a handler, or calls, do with it; `dispose` ends it.

        Returns False if the connection was closed before anything drove it.
        """
        with self._loop_lock():
            if self._was_closed_undriven:
                return False
            if self._events is None:
                self._loop = self._events = self._run()
            return True

    def _run(self):
        # type: () -> Any
        if is_member(self):
            raise errors.WebSocketUnavailable(
                'this WebSocket is a member of a pool, or of a server: its messages are events of '
                'the loop over that')
        return self.new_session(BlockingServerSession).run(**self._loop_options)

    def on_disconnect(self):
        # type: () -> None
        super(UpgradedWebSocket, self).on_disconnect()
        for bell in list(bells):
            bell.set()

    def close(self, code=1000, reason=u'goodbye'):
        # type: (Optional[int], Union[bytes, text_type]) -> None
        """As any WebSocket's; one that nothing has driven is closed at once."""
        payload = encode_close(code, reason)
        handover = self.handover  # type: Any
        transport = None
        with self._loop_lock():
            if self.session is None and not is_member(self):
                transport = handover.take()
                if transport is not None:
                    self._undriven_close = decode_close(payload)
        if transport is None:
            super(UpgradedWebSocket, self).close(code, reason)
            return
        try:
            transport.send_some(encode_frame(Opcode.CLOSE, payload))
            transport.receive()     # unread bytes would make TCP drop what was sent
        except (socket.error, errors.TransportFail):
            pass    # the client is gone
        finally:
            transport.close()
            super(UpgradedWebSocket, self).close(code, reason)

    # -- for pools and servers, as a `lomond.websocket.WebSocket` has them --

    def new_session(self, session_class):
        # type: (Callable[[UpgradedWebSocket], Any]) -> Any
        """Return the session that is to drive the connection, not begun.

        Raises WebSocketUnavailable if another has begun.
        """
        with self._loop_lock():
            self.check_idle()
            session = session_class(self)
            self.attach_session(session)
            return session

    def check_idle(self):
        # type: () -> None
        """Raise WebSocketUnavailable once a loop, a pool or a server has begun with it."""
        handover = self.handover  # type: Any
        if self._events is not None or handover.is_used:
            raise errors.WebSocketUnavailable(
                'this WebSocket is driven already, or was closed: it has one connection, and one '
                'loop')
