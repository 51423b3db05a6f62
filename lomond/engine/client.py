"""A client's session: the way to the server, the request, redirects.

Everything else of its life is in `session`.
"""

from __future__ import absolute_import, division, print_function

from lomond import errors, events
from lomond._compat import TYPE_CHECKING, text_type
from lomond.engine.session import Session
from lomond.net.dial import dial
from lomond.net.proxy.settings import find_proxy

if TYPE_CHECKING:
    from typing import Any, Iterable, Iterator, Optional  # noqa: F401

    from lomond.events import Event  # noqa: F401
    from lomond.http.url import ProxyTarget  # noqa: F401


class ClientSession(Session):
    """Connects a websocket to its server, and drives the connection.

    Of the websocket it uses, beside what `Session` does: ``target`` and
    ``net_options``, to dial, and ``build_request()``.
    """

    _proxy = None  # type: Optional[ProxyTarget]

    def _announce(self):
        # type: () -> Iterable[Event]
        return [events.Connecting(self._websocket.target.url)]

    def _dial(self):
        # type: () -> Iterator[Any]
        """Yield each `Wait`, and last the transport."""
        target, options = self._websocket.target, self._websocket.net_options
        self._proxy = None
        if options.sock is None and target.unix_path is None:
            try:
                self._proxy = find_proxy(target, options.proxies)
            except ValueError as error:
                raise errors.ConnectFail.during('proxy', text_type(error), error)
        return dial(target, self._proxy, options, self._connect_deadline, self.trace)

    def _begin_handshake(self):
        # type: () -> Iterable[Event]
        request = self._websocket.build_request()
        self.trace('request', head=request)
        self._send_head(request)
        proxy_url = self._proxy.url if self._proxy is not None else None
        return [events.Connected(self._websocket.target.url, proxy_url)]

    def _explain_silence(self, reason):
        # type: (text_type) -> text_type
        target = self._websocket.target
        if target.is_secure or target.unix_path is not None:
            return reason
        return reason + u' (before any answer: if this port speaks TLS, use wss://)'
