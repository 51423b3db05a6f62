"""The server's end of a WebSocket whose opening handshake was made inside another server."""

from __future__ import absolute_import, division, print_function

from lomond import errors
from lomond._compat import TYPE_CHECKING
from lomond._served import BlockingServerSession, ServerReady, ServerWebSocket
from lomond.engine.handover import Handover
from lomond.protocol.connection import SERVER

if TYPE_CHECKING:
    import threading  # noqa: F401
    from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence  # noqa: F401

    from lomond._compat import text_type  # noqa: F401
    from lomond._served import ServerEvent  # noqa: F401
    from lomond.events import AnyEvent  # noqa: F401
    from lomond.net.transport import Transport  # noqa: F401
    from lomond.protocol.extensions.base import Extension  # noqa: F401


#: Events to be set whenever one of them ends, while somebody waits for that.
bells = []  # type: List[threading.Event]


class UpgradedWebSocket(ServerWebSocket):
    """A `lomond.server.ServerWebSocket` whose handshake `lomond.wsgi.upgrade` has made.

    Nothing is received or sent until it is iterated over, a call such as `receive` is made, or a
    `lomond.pool.Pool` or a `lomond.server.Server` with ``threads=False`` has it.
    """

    #: The WSGI environ of the request: a copy, without what holds the server's socket.
    environ = None  # type: Dict[str, Any]    # type: ignore[assignment]

    # The options of a loop, as `BlockingLoop.run` takes them.
    _loop_options = {}  # type: Dict[str, Any]

    def hand_over(self, transport, protocol, extensions, loop_options):
        # type: (Transport, Optional[text_type], Sequence[Extension], Dict[str, Any]) -> None
        """Have a session begin with a connection, and with what its handshake agreed on."""
        self.handover = Handover(transport, SERVER, protocol, extensions, self.request)
        self._loop_options = loop_options

    def open_attached(self):
        # type: () -> Iterator[AnyEvent]
        """Open the connection; the session calls this."""
        handover = self.handover  # type: Any
        self.stream.protocol = handover.protocol
        self.stream.accept(extensions=handover.extensions)
        yield ServerReady(handover.response, handover.protocol, set(self.stream.extensions))

    @property
    def is_driven_elsewhere(self):
        # type: () -> bool
        """True once a pool or a server has it."""
        return not isinstance(self.session, BlockingServerSession)

    def __iter__(self):
        # type: () -> Iterator[ServerEvent]
        self._begin()
        return super(UpgradedWebSocket, self).__iter__()

    def _use_calls(self):
        # type: () -> Any
        self._begin()
        return super(UpgradedWebSocket, self)._use_calls()

    def on_disconnect(self):
        # type: () -> None
        super(UpgradedWebSocket, self).on_disconnect()
        for bell in list(bells):
            bell.set()

    def finish(self):
        # type: () -> None
        if not self.is_driven_elsewhere:
            self._begin()       # only a loop sends the Close frame
            super(UpgradedWebSocket, self).finish()

    def _begin(self):
        # type: () -> None
        """Make the loop, once."""
        with self._loop_lock():
            if self.is_driven_elsewhere:
                raise errors.WebSocketUnavailable(
                    'this WebSocket is a member of a pool, or of a server: its messages are events '
                    'of the loop over that')
            if self._loop is None:
                session = self.session  # type: Any
                self._loop = self._events = session.run(**self._loop_options)

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
        if self._loop is not None or handover.is_used:
            raise errors.WebSocketUnavailable(
                'this WebSocket is driven already, or was closed: it has one connection, and one '
                'loop')

    def check_may_reconnect(self):
        # type: () -> None
        """Raise TypeError: a server can't connect to its client."""
        raise TypeError("the server's end of a connection can not be connected again: add it "
                        'without policy=')
