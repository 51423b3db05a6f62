"""Which requests a server refuses by its options ``origins`` and ``on_request``, and the answer.

What RFC 6455 itself refuses is in `handshake`.
"""

from __future__ import absolute_import, division, print_function

from lomond._checks import check_count
from lomond._compat import TYPE_CHECKING, encode_text, text_type
from lomond.http.request import check_headers
from lomond.http.url import parse_origin

if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, List, Optional, Tuple, Union  # noqa: F401

    from lomond.protocol.handshake import Request
    from lomond.websocket import Headers  # noqa: F401

    AllowsOrigin = Callable[[Optional[text_type]], bool]
    Origins = Union[None, Iterable[Optional[text_type]], AllowsOrigin]
    OnRequest = Callable[[Request], Optional['Refusal']]

# What the server sets in each answer; a second value could make a proxy misread where it ends.
_SET_BY_SERVER = frozenset([u'content-length', u'transfer-encoding'])


class Refusal(object):
    """An HTTP answer that refuses a request; what ``on_request`` of a server may return.

    Parameters, which are attributes, too:

    - ``status``: from 300 to 599.
    - ``body``: text or bytes (empty). It is kept as bytes, text in UTF-8.
    - ``headers``: a mapping, or a list of pairs. Without a Content-Type among them, the body is
      declared as plain text in UTF-8. The server sets Connection and Content-Length.

    Raises TypeError and ValueError.
    """

    def __init__(self, status, body=u'', headers=()):
        # type: (int, Union[bytes, text_type], Headers) -> None
        self.status = check_count('status', status, 300, most=599)  # type: int
        if isinstance(body, text_type):
            body = encode_text(body, 'the body')
        if not isinstance(body, bytes):
            raise TypeError('the body of a Refusal must be text or bytes, not {!r}'.format(body))
        self.body = body  # type: bytes
        self.headers = check_answer_headers(headers)  # type: List[Tuple[text_type, bytes]]

    def __repr__(self):
        # type: () -> str
        return '<refusal {}>'.format(self.status)


def check_answer_headers(headers):
    # type: (Headers) -> List[Tuple[text_type, bytes]]
    """Return the headers to add to a server's answer; raises TypeError, ValueError."""
    fields = check_headers(headers)
    for name, _value in fields:
        if name.lower() in _SET_BY_SERVER:
            raise ValueError('{} is set by the server: remove it'.format(name))
    return fields


def check_origins(origins):
    # type: (Any) -> Optional[AllowsOrigin]
    """Return a function that says whether an Origin (None: there is none) is allowed.

    None if any is, which is what ``origins=None`` means. Raises TypeError, ValueError.
    """
    if origins is None or callable(origins):
        return origins      # type: ignore[no-any-return]
    if isinstance(origins, (bytes, text_type)):
        raise TypeError('origins must be a list: write origins=[{!r}]'.format(origins))
    if not hasattr(origins, '__iter__'):
        raise TypeError('origins must be a list of origins, a function, or None, not {!r}'.format(
            origins))
    allowed = frozenset(
        None if origin is None else parse_origin(origin) for origin in origins)
    return lambda origin: (None if origin is None else origin.lower()) in allowed


def refuse_origin(request, allows):
    # type: (Request, Optional[AllowsOrigin]) -> Optional[Refusal]
    """Return the refusal of a request whose Origin isn't allowed, else None (RFC 6455 10.2).

    ``allows`` is what `check_origins` returned.
    """
    if allows is None:
        return None
    for origin in request.headers.get_all(u'Origin') or [None]:     # type: ignore[list-item]
        if not allows(origin):
            words = u'a request without an Origin is not allowed: add None' if origin is None \
                else u'the Origin {} is not allowed: add it'.format(origin[:200])
            return Refusal(403, words + u' to origins= of the server\n')
    return None


def refuse_request(request, on_request):
    # type: (Request, Optional[OnRequest]) -> Optional[Refusal]
    """Return what the user's function returns for a request; TypeError if that is no refusal."""
    refusal = None if on_request is None else on_request(request)
    if refusal is not None and not isinstance(refusal, Refusal):
        raise TypeError('on_request must return None to accept the request, or a Refusal, as in '
                        "Refusal(404, 'no such path'), not {!r}".format(refusal))
    return refusal
