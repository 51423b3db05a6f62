"""A price feed that stops once, and comes back a moment later on the same port.

``btcticker --local --outage`` uses it to show how `persist` reconnects:

    with UnsteadyFeed() as unsteady:
        print(unsteady.url)
        ...
"""

from __future__ import absolute_import, division, print_function

import itertools
import socket
import threading

from lomond._compat import TYPE_CHECKING
from lomond.examples import feed
from lomond.server import Server

if TYPE_CHECKING:
    from typing import Any, Optional, Text  # noqa: F401

    from lomond.server import ServerWebSocket  # noqa: F401


class UnsteadyFeed(object):
    """A server of prices with one outage.

    Parameters:

    - ``prices``: how many it sends, to all clients together, before it stops (5).
    - ``seconds``: how long the outage lasts (1.5).
    - ``options`` go to `lomond.server.Server`.
    """

    def __init__(self, prices=5, seconds=1.5, **options):
        # type: (int, float, **Any) -> None
        options.setdefault('poll', feed.TICK)
        self._options = options
        self._seconds = seconds
        self._prices_left = itertools.count(prices - 1, -1)     # next() of it is atomic
        self._goes_away = threading.Event()
        self._is_closed = threading.Event()
        self._server = self._listen(0)
        #: The same before and after the outage.
        self.port = self._server.port  # type: int
        self.url = self._server.url  # type: Text
        #: Set if the feed can't listen again; ``failure`` is the error.
        self.has_failed = threading.Event()  # type: threading.Event
        self.failure = None  # type: Optional[socket.error]
        self._thread = threading.Thread(target=self._run, name='lomond outage')
        self._thread.daemon = True

    def _listen(self, port):
        # type: (int) -> Server
        return Server(self._serve, port=port, **self._options)

    def _serve(self, websocket):
        # type: (ServerWebSocket) -> None
        feed.serve(websocket, self._count)

    def _count(self):
        # type: () -> None
        if next(self._prices_left) == 0:
            self._goes_away.set()

    def _run(self):
        # type: () -> None
        """Stop the feed, and start it again; in its own thread, as `Server.close` waits."""
        self._goes_away.wait()
        self._server.close()
        self.stay_away()
        if self._is_closed.is_set():
            return
        try:
            self._server = self._listen(self.port).start()
        except socket.error as error:
            self.failure = error
            self.has_failed.set()

    def stay_away(self):
        # type: () -> None
        """Wait for the end of the outage; the port is free meanwhile."""
        self._is_closed.wait(self._seconds)

    def close(self):
        # type: () -> None
        """Close the feed, before, during or after the outage."""
        self._is_closed.set()
        self._goes_away.set()
        self._thread.join()
        self._server.close()

    def __enter__(self):
        # type: () -> UnsteadyFeed
        self._server.start()
        self._thread.start()
        return self

    def __exit__(self, *_exc_info):
        # type: (*Any) -> None
        self.close()
