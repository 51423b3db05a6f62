"""How long each phase of an attempt to connect took: what Ready and ConnectFail say about it.

It reads no clock: `lomond.net.progress` measures.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Optional  # noqa: F401


class Timings(NamedTuple('Timings', [
        ('resolve', 'Optional[float]'), ('connect', 'Optional[float]'),
        ('proxy', 'Optional[float]'), ('tls', 'Optional[float]'),
        ('handshake', 'Optional[float]'), ('total', float)])):
    """How long, in seconds, each phase of an attempt took; None for one that did not begin.

    - ``resolve``: the DNS lookup, of the proxy's name if there is a proxy. A URL with an IP address
      needs none.
    - ``connect``: until a socket was connected, to the proxy if there is one.
    - ``proxy``: TLS with the proxy, and until it agreed to the tunnel.
    - ``tls``: TLS with the server.
    - ``handshake``: from the request to the whole answer; at a server's end, until the client's
      request was answered. It includes your handling of Connected.
    - ``total``: from the beginning to the event. It includes what is in no phase, as your
      ``headers`` function.

    A phase that failed, or was interrupted, has the time until then. After redirects all are those
    of the last connection. A phase ends when the loop notices it, so code of yours that holds up
    the thread of a pool, or an event loop, makes phases longer.
    """

    __slots__ = ()


#: Of a connection whose way isn't known, as one that `WebSocket.attach` was given.
NO_TIMINGS = Timings(None, None, None, None, None, 0.0)  # type: Timings
