"""What a WebSocket is made of. Of all that tests use, this module alone knows private names."""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Dict, Union  # noqa: F401

    from lomond.server import ServerWebSocket  # noqa: F401
    from lomond.websocket import WebSocket  # noqa: F401


class Inside(object):
    """A look inside a WebSocket, of a client or a server, for tests that have to interfere with it.

    What its attributes lead to is private: it may change with any version. Use it where nothing
    public will do, and read the changelog before you update.
    """

    def __init__(self, websocket):
        # type: (Union[WebSocket, ServerWebSocket]) -> None
        self._websocket = websocket  # type: Any

    @property
    def sock(self):
        # type: () -> Any
        """The connection's `socket.socket` or `ssl.SSLSocket`."""
        return self._websocket.session.transport._sock

    @property
    def key(self):
        # type: () -> bytes
        """A client's Sec-WebSocket-Key; set it before the request is built, for a known answer."""
        return self._websocket.key      # type: ignore[no-any-return]

    @key.setter
    def key(self, key):
        # type: (bytes) -> None
        self._attempt.key = key

    @property
    def reader(self):
        # type: () -> Any
        """What reads the peer's head of the handshake; set one that has other limits."""
        attempt = self._attempt
        return self._websocket._reader if attempt is None else attempt.reader

    @reader.setter
    def reader(self, reader):
        # type: (Any) -> None
        if self._attempt is None:
            self._websocket._reader = reader
        else:
            self._attempt.reader = reader

    @property
    def _attempt(self):
        # type: () -> Any
        """A client's attempt to connect; None for the server's end, which has none."""
        return getattr(self._websocket, '_attempt', None)

    @property
    def calls(self):
        # type: () -> Any
        """What `receive`, `ping` and their kind share; made when it is first asked for."""
        return self._websocket._use_calls()

    @property
    def locks(self):
        # type: () -> Dict[str, Any]
        """The locks of a connection with a loop, by what a thread holds each of them for."""
        session, transport = self._websocket.session, self._websocket.session.transport
        return {
            'sending': session.writer.lock,
            'receiving': transport._read_lock,
            'closing': transport._close_lock(),
            'waking': session._wake_driver.__self__._lock(),
            'state': self._websocket.stream.lifecycle.lock(),
        }


class InsideLoop(object):
    """A look inside a `lomond.aio.Connection`; the same holds as for `Inside`."""

    def __init__(self, connection):
        # type: (Any) -> None
        self._connection = connection

    @property
    def ahead(self):
        # type: () -> Any
        """The events that were made before the task asked for them."""
        return self._connection._ahead

    def pause(self):
        # type: () -> None
        """Have the event loop watch no descriptor of the connection until it has to again."""
        self._connection._loop.pause()
