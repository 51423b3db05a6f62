"""Reads an HTTP response: the server's to the handshake, or a proxy's to CONNECT."""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING, text_type
from lomond.errors import CriticalProtocolError, HandshakeError
from lomond.http.body import BodyReader
from lomond.http.head import ResponseHeadReader
from lomond.http.response import Response

if TYPE_CHECKING:
    from typing import Optional, Text, Tuple  # noqa: F401

#: The most that the head of a response may have, in bytes ...
MAX_HEAD = 64 * 1024

#: ... and the most that is kept of a refusal's body.
MAX_BODY = 64 * 1024

MAX_INTERIM = 8     # 1xx responses that may precede the final one

#: How long to wait for the rest of a refusal, in seconds, while no byte arrives ...
REST_TIMEOUT = 1.0

#: ... and in all.
MAX_REST_TIME = 2.0


class RestTimer(object):
    """How long to wait for the rest of a refusal. It reads no clock: the caller passes the time."""

    __slots__ = ('_end',)

    def __init__(self):
        # type: () -> None
        self._end = None  # type: Optional[float]

    def progress(self, now):
        # type: (float) -> float
        """Return when the wait ends, if some bytes have arrived just now."""
        if self._end is None:
            self._end = now + MAX_REST_TIME
        return min(self._end, now + REST_TIMEOUT)


class ResponseReader(object):
    """Reads a response: skips interim ones, keeps the body of a refusal.

    Parameters: ``max_head`` and ``max_body``, in bytes (with None the caller reads the body);
    ``subject`` and ``secure_scheme``, see `ResponseHeadReader`; ``is_tunnel``, True for the
    response to CONNECT, where any 2xx accepts, without a body (RFC 9110 9.3.6). For the handshake
    only 101 accepts.
    """

    __slots__ = (
        '_body', '_head', '_interim', '_is_tunnel', '_max_body', 'response')

    def __init__(self, max_head, max_body, subject=u'the server', secure_scheme=u'wss',
                 is_tunnel=False):
        # type: (int, Optional[int], Text, Optional[Text], bool) -> None
        self._head = ResponseHeadReader(max_head, subject, secure_scheme)
        self._max_body = max_body
        self._is_tunnel = is_tunnel
        #: The refusal, once its headers are complete; its body may still arrive.
        self.response = None  # type: Optional[Response]
        self._body = None  # type: Optional[BodyReader]     # set together with `response`
        self._interim = 0

    @property
    def is_refusal(self):
        # type: () -> bool
        """True once no further byte can make this an acceptance."""
        return self.response is not None or self._head.is_not_http

    @property
    def held(self):
        # type: () -> int
        """How many bytes are held: of the head, or once that is complete of the body."""
        return self._head.held + (0 if self._body is None else self._body.held)

    def feed(self, data):
        # type: (bytes) -> Optional[Tuple[Response, bytes]]
        """Return the response and the bytes after it, or None while it is incomplete.

        Empty ``data`` is the end of the stream, which completes a body. Raises
        CriticalProtocolError if this isn't HTTP.
        """
        is_end = not data
        while self.response is None:
            try:
                found = self._head.feed(data)
                if found is None:
                    return None
                head, data = found
                response = Response(head)
            except HandshakeError as error:
                raise CriticalProtocolError(text_type(error))
            if self._accepts(response):
                return response, data
            if response.status_code >= 200 or response.status_code == 101:
                if self._max_body is None:
                    return response, data
                self.response = response
                self._body = BodyReader(response, self._max_body)
            else:
                self._interim += 1
                if self._interim > MAX_INTERIM:
                    raise CriticalProtocolError(
                        'more than {} interim (1xx) responses', MAX_INTERIM)
        body = self._body.feed(data, is_end)    # type: ignore[union-attr]
        if body is None:
            return None
        self.response.body = body
        return self.response, b''

    def _accepts(self, response):
        # type: (Response) -> bool
        if self._is_tunnel:
            return 200 <= response.status_code < 300
        return response.status_code == 101
