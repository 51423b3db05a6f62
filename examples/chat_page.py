"""A chat in the browser, in one file and with the standard library only.

    python chat_page.py [--port 8080]

Then open http://127.0.0.1:8080/ in several tabs. An HTTP server of the standard library serves the
page, and gives each WebSocket to a pool, which one thread drives. Only this server's own page may
connect. Ctrl-C or SIGTERM ends it, with a Close frame to each tab. The exit status is 0 then, 1 if
it can't listen, and 2 for wrong arguments.
"""

from __future__ import absolute_import, division, print_function

import argparse
import signal
import socket
import sys
import threading
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from six.moves.socketserver import ThreadingMixIn

from lomond import wsgi
from lomond.examples import cli
from lomond.pool import Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, List, Text  # noqa: F401

PAGE = b'''<!doctype html>
<meta charset="utf-8">
<title>Chat</title>
<form id="form"><input id="line" autofocus autocomplete="off"> <button>Say</button></form>
<p id="state">connecting</p>
<ul id="said"></ul>
<script>
const state = document.getElementById("state"), said = document.getElementById("said");
const socket = new WebSocket(location.href.replace(/^http/, "ws") + "chat");
socket.onopen = () => state.textContent = "open";
socket.onclose = event => state.textContent = `closed: ${event.code} ${event.reason}`;
socket.onmessage = event => {
  const item = document.createElement("li");
  item.textContent = event.data;      // as text: a tag in it is no tag here
  said.prepend(item);
};
document.getElementById("form").onsubmit = event => {
  event.preventDefault();
  socket.send(line.value);
  line.value = "";
};
</script>
'''

origins = []  # type: List[Text]
pool = Pool(overflow='drop_oldest', ends_when_empty=False)


def application(environ, start_response):
    # type: (Dict[str, Any], Callable[..., Any]) -> Iterable[bytes]
    """Serve the page, and upgrade requests for /chat."""
    if environ['PATH_INFO'] == '/chat':
        try:
            websocket = wsgi.upgrade(environ, detach=True, origins=origins, max_message_size=1000)
        except wsgi.NotUpgraded as refused:
            return refused(environ, start_response)
        pool.add(websocket)
    start_response('200 OK', [
        ('Content-Type', 'text/html; charset=utf-8'), ('Content-Length', str(len(PAGE)))])
    return [PAGE]


def drive():
    # type: () -> None
    """Send to all what one says, and that one has come."""
    for _websocket, event in pool:
        if event.name == 'ready':
            pool.broadcast(u'(one more is here)')
        elif event.name == 'text':
            pool.broadcast(event.text)


class Server(ThreadingMixIn, WSGIServer):
    # Browsers open connections before they need them: each would keep a server with one thread.
    daemon_threads = True


class Handler(WSGIRequestHandler):
    def log_message(self, *_args):
        # type: (*Any) -> None
        """Log no requests."""


def main():
    # type: () -> int
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--port', type=cli.port, default=8080, help='default: %(default)s')
    options = parser.parse_args()
    try:
        server = make_server('127.0.0.1', options.port, application, Server, Handler)
    except socket.error as error:
        cli.complain(u'port {}: {}'.format(options.port, error.strerror))
        return 1
    url = u'http://127.0.0.1:{}'.format(server.server_port)
    origins.append(url)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    for number in signal.SIGTERM, signal.SIGINT:
        signal.signal(number, lambda *_: pool.close(1001, u'the server is shutting down'))
    cli.say(url + u'/')
    drive()     # until a signal closes the pool, and each tab has answered
    server.shutdown()
    server.server_close()
    thread.join()
    return 0


if __name__ == '__main__':
    sys.exit(cli.run(main))
