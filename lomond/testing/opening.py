"""A WebSocket that is open, over any byte stream."""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING
from lomond.net.transport import Transport
from lomond.session import WebsocketSession
from lomond.websocket import WebSocket

if TYPE_CHECKING:
    from typing import Any, Callable  # noqa: F401


def open_over(sock, session_class=WebsocketSession, **options):
    # type: (Any, Callable[[WebSocket], Any], **Any) -> WebSocket
    """Return a WebSocket that is open over a connected socket, without a handshake or a loop.

    What it sends goes to the socket; `WebSocket.feed` returns the events in bytes from a peer.
    ``websocket.session.dispose()`` closes both.

    Parameters: ``sock``, such as an end of `socket.socketpair`, or a transport (an object with the
    members of `lomond.net.transport.Transport`); ``session_class``, as for `WebSocket.connect`;
    ``options`` of `WebSocket`.
    """
    websocket = WebSocket(u'ws://example.org/', **dict({'proxies': {}}, **options))
    session = websocket.new_session(session_class)
    session.writer.attach(Transport(sock) if hasattr(sock, 'setblocking') else sock)
    websocket.stream.accept()
    return websocket
