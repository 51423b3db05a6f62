"""A chat on CherryPy: a tool that upgrades requests, a plugin that drives connections, a page.

    pip install lomond cherrypy
    python cherrypy_chat.py [--port 8080]

Then open http://127.0.0.1:8080/ in several browser tabs, or run chat_client.py beside it. The tool
and the plugin aren't about chats: take them into an application of your own. The plugin serves all
connections in one thread, so CherryPy's own threads are free again after each handshake.
"""

from __future__ import absolute_import, division, print_function

import argparse
import threading

import cherrypy
from cherrypy.process import plugins

from lomond import wsgi
from lomond.pool import Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional, Text, Union  # noqa: F401

    from lomond.server import ServerEvent, ServerWebSocket

    Handler = Callable[[ServerWebSocket, ServerEvent], Any]


class ConnectionsPlugin(plugins.SimplePlugin):      # type: ignore[misc]  # it has no types
    """Drives the connections that `UpgradeTool` upgrades, from the engine's start to its stop.

    Publish ``websocket-broadcast`` with a message, text or bytes, to send it to all that are open.
    At the engine's stop each client gets a Close frame with 1001.
    """

    def __init__(self, bus):
        # type: (Any) -> None
        super(ConnectionsPlugin, self).__init__(bus)
        self._pool = Pool()
        self._thread = None  # type: Optional[threading.Thread]

    def start(self):
        # type: () -> None
        self._pool = Pool(ends_when_empty=False)
        self._thread = threading.Thread(target=self._run, name='WebSockets')
        self._thread.start()
        self.bus.subscribe('websocket-add', self.add)
        self.bus.subscribe('websocket-broadcast', self.broadcast)

    def stop(self):
        # type: () -> None
        if self._thread is None:
            return
        self.bus.unsubscribe('websocket-add', self.add)
        self.bus.unsubscribe('websocket-broadcast', self.broadcast)
        self._pool.close(1001, u'the server is shutting down', timeout=5)
        self._thread.join()
        self._thread = None

    def add(self, websocket, handler):
        # type: (ServerWebSocket, Handler) -> None
        """Drive a connection; ``handler(websocket, event)`` is called in the plugin's thread."""
        self._pool.add(websocket, tag=handler)

    def broadcast(self, message):
        # type: (Union[bytes, Text]) -> None
        self._pool.broadcast(message)

    def _run(self):
        # type: () -> None
        for websocket, event in self._pool:
            try:
                websocket.tag(websocket, event)
            except Exception:
                self.bus.log('a WebSocket handler failed', level=40, traceback=True)
                websocket.close(1011, u'')


class UpgradeTool(cherrypy.Tool):       # type: ignore[misc]  # it has no types
    """Upgrades a request before the page's method is called.

    Options: ``handler``, a function of a websocket and an event; others as for
    `lomond.wsgi.upgrade`. The method finds the WebSocket in ``cherrypy.request.websocket``, and
    what it returns goes nowhere. A request that can't be upgraded doesn't reach it.
    """

    def __init__(self):
        # type: () -> None
        super(UpgradeTool, self).__init__('before_handler', self._upgrade)

    def _upgrade(self, handler, **options):
        # type: (Handler, **Any) -> None
        request, response = cherrypy.serving.request, cherrypy.serving.response
        try:
            websocket = wsgi.upgrade(request.wsgi_environ, detach=True, **options)
        except wsgi.NotUpgraded as refused:
            response.status = refused.status_code
            response.headers.update(refused.headers)
            response.body = refused.body
            request.handler = None
            return
        request.websocket = websocket
        cherrypy.engine.publish('websocket-add', websocket, handler)


def chat(_websocket, event):
    # type: (ServerWebSocket, ServerEvent) -> None
    """Pass on to all what one says."""
    if event.name == 'text':
        cherrypy.engine.publish('websocket-broadcast', event.text)


PAGE = u'''<!doctype html>
<meta charset="utf-8">
<title>Chat</title>
<ul id="said"></ul>
<form id="form"><input id="line" autofocus autocomplete="off"><button>Say</button></form>
<p id="state">connecting</p>
<script>
const said = document.getElementById("said"), line = document.getElementById("line");
const state = document.getElementById("state");
const socket = new WebSocket(location.href.replace(/^http/, "ws") + "chat");
socket.onopen = () => state.textContent = "open";
socket.onclose = event => state.textContent = "closed: " + event.code + " " + event.reason;
socket.onmessage = event => {
  const {name, text} = JSON.parse(event.data), item = document.createElement("li");
  item.textContent = name + ": " + text;      // as text: what others say is no HTML
  said.appendChild(item);
};
document.getElementById("form").onsubmit = event => {
  event.preventDefault();
  socket.send(JSON.stringify({name: "browser", text: line.value}));
  line.value = "";
};
</script>
'''


class Root(object):

    @cherrypy.expose    # type: ignore[untyped-decorator]
    def index(self):
        # type: () -> Text
        return PAGE

    @cherrypy.expose    # type: ignore[untyped-decorator]
    def chat(self):
        # type: () -> None
        cherrypy.log('{!r} has joined'.format(cherrypy.request.websocket.address))


def main():
    # type: () -> None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--port', type=int, default=8080, help='default: %(default)s')
    options = parser.parse_args()
    origin = u'http://127.0.0.1:{}'.format(options.port)
    plugin = ConnectionsPlugin(cherrypy.engine)
    plugin.subscribe()
    cherrypy.tools.upgrade = UpgradeTool()
    cherrypy.config.update({
        'server.socket_host': '127.0.0.1', 'server.socket_port': options.port,
        'engine.autoreload.on': False})
    cherrypy.quickstart(Root(), '/', {'/chat': {
        'tools.upgrade.on': True,
        'tools.upgrade.handler': chat,
        'tools.upgrade.compress': True,
        # The page's own, and programs, which have none.
        'tools.upgrade.origins': [origin, None]}})


if __name__ == '__main__':
    main()
