"""One attempt of a client to connect, as far as it is a matter of requests and responses.

Does no I/O: a websocket reads and writes it, and a session drives that.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING
from lomond.http.answer import ResponseReader
from lomond.http.redirects import RedirectChain
from lomond.protocol.handshake import new_key
from lomond.protocol.limits import DEFAULT_LIMITS

if TYPE_CHECKING:
    from typing import Any, List, Optional  # noqa: F401

    from lomond.http.url import Target  # noqa: F401
    from lomond.protocol.connection import Connection  # noqa: F401
    from lomond.protocol.extensions.base import Extension  # noqa: F401


class Attempt(object):
    """One attempt to connect, with the redirects that it follows, and the connection it leads to.

    Parameters: ``target``, where the URL leads; ``connection``, the protocol's, not yet open.
    """

    __slots__ = ('connection', 'chain', 'extensions', 'reader', '_key')

    def __init__(self, target, connection):
        # type: (Target, Connection) -> None
        #: The protocol's side: one for all requests.
        self.connection = connection  # type: Connection
        self.begin_request(RedirectChain.begin(target))

    def begin_request(self, chain):
        # type: (RedirectChain) -> None
        """Prepare the request to where a chain of redirects has led."""
        #: The redirects so far.
        self.chain = chain  # type: RedirectChain
        #: Reads the response to the present request; None once that was accepted.
        self.reader = ResponseReader(
            DEFAULT_LIMITS.head, DEFAULT_LIMITS.body,
            secure_scheme=None if chain.target.is_secure else u'wss',
        )  # type: Any      # an Optional[ResponseReader]
        #: What the request offers; None before it is built, and once the response was accepted.
        self.extensions = None  # type: Optional[List[Extension]]
        self._key = None  # type: Optional[bytes]

    @property
    def target(self):
        # type: () -> Target
        """Where to connect: where the URL leads, or the last redirect."""
        return self.chain.target

    @property
    def key(self):
        # type: () -> bytes
        """The Sec-WebSocket-Key of the present request, drawn when it is first read."""
        if self._key is None:
            self._key = new_key()
        return self._key

    @key.setter
    def key(self, key):
        # type: (bytes) -> None
        self._key = key
