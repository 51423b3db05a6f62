"""How a supervisor knows that shards are alive: each keeps a WebSocket to it, and sends beats.

The end of the connection shows at once that a shard's process has died; Ray needs up to 2 seconds
to notice. Silence shows that it is frozen. Uses no Ray, and decides nothing.
"""

from __future__ import absolute_import, division, print_function

import hmac
import threading

from lomond import errors
from lomond._compat import TYPE_CHECKING
from lomond.persist import ReconnectPolicy, persist
from lomond.server import Refusal, Server
from lomond.websocket import WebSocket

if TYPE_CHECKING:
    from typing import Any, Callable, Dict  # noqa: F401

    from lomond._compat import text_type  # noqa: F401
    from lomond.server import ServerWebSocket  # noqa: F401

# A supervisor that Ray has started again listens elsewhere, and says where.
_POLICY = ReconnectPolicy(min_wait=0.05, max_wait=1.0, spread=0.1)


class Lifeline(object):
    """A shard's end, in a thread of its own.

    Parameters: ``url`` and ``token`` of the supervisor; ``beat``, seconds between two messages;
    ``say(is_first)`` returns the next message, a dict.
    """

    def __init__(self, url, token, beat, say):
        # type: (text_type, text_type, float, Callable[[bool], Dict[str, Any]]) -> None
        self._websocket = WebSocket(url, headers={'Authorization': token}, proxies={})
        self._beat = beat
        self._say = say
        self._exit_event = threading.Event()
        thread = threading.Thread(target=self._run, name='lomond lifeline')
        thread.daemon = True
        thread.start()

    def _run(self):
        # type: () -> None
        for event in persist(
                self._websocket, poll=self._beat, policy=_POLICY, exit_event=self._exit_event):
            if event.name in ('ready', 'poll') and self._websocket.is_open:
                try:
                    self._websocket.send_json(self._say(event.name == 'ready'))
                except errors.WebSocketError:
                    pass        # the next event says so

    def close(self):
        # type: () -> None
        """Say nothing more."""
        self._exit_event.set()
        self._websocket.close()


class Board(object):
    """The supervisor's end: a server to which all shards keep a lifeline.

    Parameters: ``host``, the address where to listen; ``token``, which shards have to know;
    ``on_message(line, message)`` and ``on_end(line)``, called in threads; a line is any object that
    represents one connection.
    """

    def __init__(self, host, token, on_message, on_end):
        # type: (text_type, text_type, Callable[[Any, Dict[str, Any]], Any], Callable[[Any], Any]) -> None
        self._token = token
        self._on_message = on_message
        self._on_end = on_end
        self._server = Server(self._serve, host=host, on_request=self._check, max_connections=10000)
        self._server.start()

    @property
    def url(self):
        # type: () -> text_type
        """The URL for lifelines."""
        return self._server.url

    def _check(self, request):
        # type: (Any) -> Any
        given = (request.get(u'Authorization') or u'').encode('utf-8')
        is_known = hmac.compare_digest(given, self._token.encode('utf-8'))
        return None if is_known else Refusal(403, u'')

    def _serve(self, websocket):
        # type: (ServerWebSocket) -> None
        try:
            for event in websocket:
                if event.name == 'text':
                    self._on_message(websocket, event.json)
        finally:
            self._on_end(websocket)

    def close(self):
        # type: () -> None
        """End all lines."""
        self._server.close(timeout=0)
