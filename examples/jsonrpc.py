"""Call functions of a server by JSON-RPC 2.0, from several threads at a time.

    python jsonrpc.py

Each request has an id, and one thread gives each reply to the call that waits for it, in whatever
order they come. The server is in this file, too: `serve` makes it of functions. To call another
one, give its URL to the WebSocket.
"""

from __future__ import absolute_import, division, print_function

import itertools
import json
import operator
import sys
import threading
from multiprocessing.pool import ThreadPool

import six
from six.moves import queue

from lomond import WebSocket
from lomond.errors import WebSocketError
from lomond.examples import cli
from lomond.server import Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Tuple  # noqa: F401

    from lomond.server import ServerWebSocket  # noqa: F401


class Failed(Exception):
    """The server answered a call with an error, or with nothing in time."""


class Client(object):
    """Calls over a WebSocket, which ``open(background=True)`` has opened; from any thread."""

    def __init__(self, websocket, timeout=10):
        # type: (WebSocket, float) -> None
        self._websocket = websocket
        self._timeout = timeout
        self._ids = itertools.count(1)
        self._waiting = {}  # type: Dict[int, queue.Queue[Dict[str, Any]]]
        reader = threading.Thread(target=self._read)
        reader.daemon = True
        reader.start()

    def call(self, method, *params):
        # type: (str, *Any) -> Any
        """Return the result; raises `Failed`, or the WebSocketError of a send."""
        number = next(self._ids)
        replies = self._waiting[number] = queue.Queue()
        try:
            self._websocket.send_json(jsonrpc='2.0', id=number, method=method, params=params)
            reply = replies.get(timeout=self._timeout)
        except queue.Empty:
            raise Failed(u'no reply in {} s'.format(self._timeout))
        finally:
            del self._waiting[number]
        if 'error' in reply:
            raise Failed(reply['error']['message'])
        return reply['result']

    def _read(self):
        # type: () -> None
        end = u'the connection was closed'
        try:
            for message in self._websocket.messages():
                reply = json.loads(message)
                replies = self._waiting.get(reply['id'])
                if replies is not None:     # this one isn't too late
                    replies.put(reply)
        except (WebSocketError, ValueError, LookupError) as error:
            end = six.text_type(error)
            self._websocket.force_disconnect()
        for replies in list(self._waiting.values()):      # another call can't send any more
            replies.put({'error': {'message': end}})


def serve(functions):
    # type: (Dict[str, Callable[..., Any]]) -> Callable[[ServerWebSocket], None]
    """Make the handler of a `Server`: a slow call doesn't hold up the others of its client."""
    def reply(websocket, message):
        # type: (ServerWebSocket, str) -> None
        number = None
        try:
            request = json.loads(message)
            number = request['id']
            answer = {'result': functions[request['method']](*request['params'])}
        except Exception as error:      # -32000: an error of the server's own
            answer = {'error': {
                'code': -32000, 'message': u'{}: {}'.format(type(error).__name__, error)}}
        try:
            websocket.send_json(dict(answer, jsonrpc='2.0', id=number))
        except WebSocketError:
            pass        # the client has gone

    def handle(websocket):
        # type: (ServerWebSocket) -> None
        for message in websocket.messages():
            threading.Thread(target=reply, args=(websocket, message)).start()
    return handle


def main():
    # type: () -> None
    with Server(serve({'add': operator.add, 'pow': pow, 'divide': operator.truediv})) as server:
        with WebSocket(server.url, proxies={}) as websocket:
            websocket.open(timeout=10, background=True)
            client = Client(websocket)

            def call(request):
                # type: (Tuple[Any, ...]) -> str
                try:
                    return u'{} -> {}'.format(json.dumps(request), client.call(*request))
                except Failed as error:
                    return u'{} failed: {}'.format(json.dumps(request), error)

            threads = ThreadPool(4)     # four calls at a time
            for line in threads.imap(call, [
                    ('add', 1, 2), ('add', u'a', u'b'), ('pow', 2, 100), ('divide', 1, 0),
                    ('divide', 1, 4), ('multiply', 2, 3)]):
                cli.say(line)
            threads.close()
            threads.join()


if __name__ == '__main__':
    sys.exit(cli.run(main))
