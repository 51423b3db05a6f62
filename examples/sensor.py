"""Broadcast a sensor's readings to a page that draws them, from one small process.

    python sensor.py [--port 8080] [--rate 20]

Then open http://127.0.0.1:8080/. An HTTP server of the standard library serves the page; the
connections are taken away from it, and served by one thread, however many there are. The readings
are simulated: replace `readings`.
"""

from __future__ import absolute_import, division, print_function

import argparse
import json
import math
import threading
import time
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import six
from six.moves.socketserver import ThreadingMixIn

from lomond import wsgi
from lomond.pool import Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, Iterator, List, Text  # noqa: F401

PAGE = b'''<!doctype html>
<meta charset="utf-8">
<title>Sensor</title>
<canvas id="canvas" width="640" height="240" style="border: 1px solid gray"></canvas>
<p id="state">connecting</p>
<script>
const canvas = document.getElementById("canvas"), pen = canvas.getContext("2d");
const state = document.getElementById("state"), values = [];
const socket = new WebSocket(location.href.replace(/^http/, "ws") + "feed");
socket.onclose = event => state.textContent = "closed: " + event.code;
socket.onmessage = event => {
  values.push(JSON.parse(event.data).value);
  if (values.length > canvas.width / 4) values.shift();
  state.textContent = values.length + " values, the last " + values[values.length - 1].toFixed(2);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.beginPath();
  values.forEach((value, index) => pen.lineTo(index * 4, canvas.height * (0.5 - value / 2.2)));
  pen.stroke();
};
</script>
'''


def readings(rate):
    # type: (float) -> Iterator[Dict[str, float]]
    """Yield readings at a rate, in readings a second; a sine."""
    started = time.time()
    while True:
        time.sleep(1 / rate)
        now = time.time()
        yield {'time': now, 'value': math.sin(now - started)}


class Application(object):
    """Serves the page, and upgrades requests for /feed.

    Parameters: ``pool``, which drives the connections.
    """

    def __init__(self, pool):
        # type: (Pool) -> None
        self._pool = pool
        #: See `lomond.wsgi.upgrade`.
        self.origins = []  # type: List[Text]

    def __call__(self, environ, start_response):
        # type: (Dict[str, Any], Callable[..., Any]) -> Iterable[bytes]
        if environ['PATH_INFO'] == '/feed':
            try:
                websocket = wsgi.upgrade(environ, detach=True, origins=self.origins)
            except wsgi.NotUpgraded as refused:
                return refused(environ, start_response)
            self._pool.add(websocket)
        start_response('200 OK', [
            ('Content-Type', 'text/html; charset=utf-8'), ('Content-Length', str(len(PAGE)))])
        return [PAGE]


class _Server(ThreadingMixIn, WSGIServer):
    # Browsers open connections before they need them: each would keep a server with one thread.
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, *_args):
        # type: (*Any) -> None
        """Log no requests."""


def drive(pool):
    # type: (Pool) -> None
    """Answer pings and Close frames; these clients send no messages."""
    for _websocket, _event in pool:
        pass


def main():
    # type: () -> None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--port', type=int, default=8080, help='default: %(default)s')
    parser.add_argument('--rate', type=float, default=20, help='default: %(default)s a second')
    options = parser.parse_args()
    # A client that doesn't keep up gets the latest reading, not all of them.
    pool = Pool(overflow='latest', ends_when_empty=False)
    application = Application(pool)
    server = make_server('127.0.0.1', options.port, application, _Server, _Handler)
    url = u'http://127.0.0.1:{}'.format(server.server_port)
    application.origins = [url]
    threads = [threading.Thread(target=drive, args=(pool,)),
               threading.Thread(target=server.serve_forever)]
    for thread in threads:
        thread.daemon = True
        thread.start()
    print(url + u'/')
    try:
        for reading in readings(options.rate):
            pool.broadcast(six.ensure_text(json.dumps(reading)))
    except KeyboardInterrupt:
        pass
    pool.close(timeout=5)
    threads[0].join()
    server.shutdown()
    server.server_close()


if __name__ == '__main__':
    main()
