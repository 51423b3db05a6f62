"""A clock that a test puts forward."""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING, monotonic
from lomond.session import WebsocketSession

if TYPE_CHECKING:
    from lomond.websocket import WebSocket  # noqa: F401


class Clock(object):
    """A monotonic clock in seconds that a test puts forward, by adding to ``ahead``.

    All timers of a connection use it, if its `session` made the connection's session:

        clock = Clock()
        for event in websocket.connect(session_class=clock.session, poll=60):
            if event.name == 'poll':
                clock.ahead += 60

    Put it forward in the loop's body: a wait that has begun takes the system's time. DNS, TLS and
    proxies use the system's clock.
    """

    def __init__(self):
        # type: () -> None
        #: How many seconds it is ahead of the system's clock.
        self.ahead = 0.0  # type: float

    def __call__(self):
        # type: () -> float
        """Return the time."""
        return monotonic() + self.ahead     # type: ignore[no-any-return]

    def session(self, websocket):
        # type: (WebSocket) -> WebsocketSession
        """Return a session that uses this clock: pass this as ``session_class`` of `connect`."""
        return WebsocketSession(websocket, clock=self)
