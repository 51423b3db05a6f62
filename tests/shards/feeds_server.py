"""A server of feeds that the test turns on: each message goes to all who listen to the feed."""

from __future__ import absolute_import, division, print_function

import threading

from six.moves.urllib.parse import unquote

from lomond._compat import monotonic
from lomond.errors import WebSocketError
from lomond.server import Server
from lomond.shards import Feed
from tests.support import PATIENCE


def number_of(event):
    """Return the number with which a message begins."""
    return int(event.text.split()[0])


def _name_of(websocket):
    """Return the name of the feed that a client listens to."""
    return unquote(websocket.request.path[1:])


class Feeds(object):
    """Serves `/NAME` for any name; `send` sends the next messages of a feed.

    What a client says is kept in ``said``, pairs of a name and a text.
    """

    def __init__(self):
        self._changed = threading.Condition()
        self._last = {}
        self.said = []

    def __enter__(self):
        self._server = Server(self._handle, ping_rate=0)
        self._server.start()
        return self

    def __exit__(self, *_exc_info):
        self._server.close()

    def feed(self, name, **options):
        return Feed(name, self._server.url + name, **dict({'sequence': number_of}, **options))

    def listeners(self, name):
        return [websocket for websocket in self._server.connections
                if websocket.is_open and _name_of(websocket) == name]

    def await_listeners(self, name, count=1):
        """Wait until so many clients listen to a feed."""
        deadline = monotonic() + PATIENCE
        with self._changed:
            while len(self.listeners(name)) != count:
                assert monotonic() < deadline, len(self.listeners(name))
                self._changed.wait(0.01)

    def send(self, name, count=1):
        """Send messages; return the number of the last one."""
        for _ in range(count):
            number = self._last[name] = self._last.get(name, 0) + 1
            self.say(name, u'{} of {}'.format(number, name))
        return self._last[name]

    def say(self, name, text):
        for websocket in self.listeners(name):
            try:
                websocket.send_text(text)
            except WebSocketError:
                pass

    def drop(self, name):
        """Break the connections of a feed."""
        for websocket in self.listeners(name):
            websocket.force_disconnect()

    def _handle(self, websocket):
        for event in websocket:
            if event.name == 'text':
                with self._changed:
                    self.said.append((_name_of(websocket), event.text))
                    self._changed.notify_all()
