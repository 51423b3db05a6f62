"""A client's session: the way to the server, the request, redirects.

Everything else of its life is in `session`.
"""

from __future__ import absolute_import, division, print_function

import socket

from lomond import errors, events
from lomond._compat import TYPE_CHECKING, monotonic
from lomond.engine.session import Session
from lomond.net.offload import offload
from lomond.net.steps import operation

if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Optional, Text  # noqa: F401

    from lomond.events import AnyEvent  # noqa: F401
    from lomond.http.url import ProxyTarget  # noqa: F401
    from lomond.net.steps import Steps  # noqa: F401


class ClientSession(Session):
    """Connects a websocket to its server, and drives the connection.

    Of the websocket it uses, beside what `Session` does: ``dialer``, ``target`` and
    ``net_options``, to dial, and ``build_request()``, in another thread if
    ``request_takes_time``.
    """

    def __init__(self, websocket, clock=monotonic):
        # type: (Any, Callable[[], float]) -> None
        super(ClientSession, self).__init__(websocket, clock)
        self._proxy = None  # type: Optional[ProxyTarget]
        self._request = b''     # built, and not yet sent

    def _announce(self):
        # type: () -> Iterable[AnyEvent]
        return [events.Connecting(self._websocket.target.url)]

    @operation
    def dial(self):
        # type: () -> Steps
        websocket, progress = self._websocket, self._dial_progress
        transport, self._proxy = yield websocket.dialer.dial(
            websocket.target, websocket.net_options, self._connect_deadline, progress)
        try:
            progress.enter('request')
            self._request = yield self._build_request()
        except BaseException:
            transport.close()
            raise
        yield transport
        transport = None        # 2.7 keeps a descriptor open while any object refers to it

    @operation
    def _build_request(self):
        # type: () -> Steps
        """Build the request: that calls the user's functions, and reads files."""
        if self.calls_in_loop or not self._websocket.request_takes_time:
            yield self._websocket.build_request()
            return
        try:
            request = yield offload(self._websocket.build_request, self._connect_deadline)
        except socket.timeout as error:
            raise errors.ConnectFail.during(
                'request', u'the headers or the cookies did not come in time: raise '
                u'connect_timeout', error)
        yield request

    def _begin_handshake(self):
        # type: () -> Iterable[AnyEvent]
        request, self._request = self._request, b''
        progress = self._dial_progress
        progress.report('request', head=request)
        progress.enter('handshake')
        self._send_head(request)
        proxy_url = self._proxy.url if self._proxy is not None else None
        return [events.Connected(self._websocket.target.url, proxy_url)]

    def _measure(self, event):
        # type: (Any) -> None
        if self._dial_progress is not None and event.name in ('ready', 'rejected'):
            self._dial_progress.report('handshake', status=event.response.status_code)
        super(ClientSession, self)._measure(event)

    def _explain_silence(self, reason):
        # type: (Text) -> Text
        target = self._websocket.target
        if target.is_secure or target.unix_path is not None:
            return reason
        return reason + u' (before any answer: if this port speaks TLS, use wss://)'
