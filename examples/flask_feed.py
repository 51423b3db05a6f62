"""A feed in a Flask application: a price that is posted goes to all WebSockets.

    pip install lomond flask                # Flask 2.2 or later
    flask --app flask_feed run              # or: gunicorn --threads 4 flask_feed:app
    curl -d price=61000.00 http://127.0.0.1:5000/prices

It listens for WebSockets on the same port, at /feed. Each one leaves its request (`detach=True`),
so it keeps no thread of the server: one thread serves all of them. The pages of this host may
connect, and programs, which send no Origin. With several worker processes, a price reaches the
clients of one worker only: redis_chat.py shows how to join them.
"""

from __future__ import absolute_import, division, print_function

import atexit
import threading

from flask import Flask, request

from lomond import wsgi
from lomond.pool import Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any  # noqa: F401

    from lomond.server import ServerWebSocket  # noqa: F401

app = Flask(__name__)


class Feed(object):
    """Sends prices to connections, in one thread, which the first one starts."""

    def __init__(self):
        # type: () -> None
        # A client that doesn't keep up misses prices, and gets the latest.
        self._pool = Pool(overflow='latest', ends_when_empty=False)
        self._lock = threading.Lock()
        self._thread = None  # type: threading.Thread | None
        self._price = u'none yet'

    def add(self, websocket):
        # type: (ServerWebSocket) -> None
        with self._lock:
            if self._thread is None:    # here it is after a server's fork
                self._thread = threading.Thread(target=self._run)
                self._thread.daemon = True
                self._thread.start()
                atexit.register(self._stop)
        self._pool.add(websocket)

    def post(self, price):
        # type: (str) -> int
        """Send a price to all clients; return how many there are."""
        self._price = price
        return self._pool.broadcast(price)

    def _run(self):
        # type: () -> None
        for websocket, event in self._pool:
            if event.name == 'ready':
                # As send_text(), but no error if this connection has just ended.
                self._pool.broadcast(self._price, [websocket])

    def _stop(self):
        # type: () -> None
        if self._thread is not None:
            self._pool.close(1001, u'the server is shutting down', timeout=5)
            self._thread.join()


feed = Feed()


@app.route('/feed', websocket=True)     # type: ignore[untyped-decorator]  # Flask isn't read
def connect():
    # type: () -> Any
    """Upgrade a request."""
    origins = [request.host_url.rstrip('/'), None]
    try:
        websocket = wsgi.upgrade(request.environ, detach=True, origins=origins)
    except wsgi.NotUpgraded as refused:
        return refused
    feed.add(websocket)
    return ''


@app.route('/prices', methods=['POST'])     # type: ignore[untyped-decorator]
def prices():
    # type: () -> Any
    """Send a price to all."""
    return '{}\n'.format(feed.post(request.form['price']))
