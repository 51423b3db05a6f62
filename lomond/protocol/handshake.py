"""Both sides of the opening handshake (RFC 6455 4): build it, read it, check it.

Heads in, heads out: it reads no socket, and a `Connection` begins after it.
"""

from __future__ import absolute_import, division, print_function

import base64
import hashlib
import os
import re

from lomond._compat import TYPE_CHECKING, encode_text, text_type
from lomond.constants import WS_KEY, WS_VERSION
from lomond.errors import CriticalProtocolError, HandshakeError
from lomond.http.grammar import is_line, is_token
from lomond.http.head import HeadReader
from lomond.http.headers import Head, parse_head
from lomond.http.redact import redact_line, redact_text
from lomond.protocol.extensions import negotiation
from lomond.protocol.extensions.grammar import parse_extensions

if TYPE_CHECKING:
    from typing import (  # noqa: F401
        Any,
        Iterable,
        List,
        Match,
        Optional,
        Sequence,
        Tuple,
        Type,
        Union,
    )

    from lomond.http.response import Response  # noqa: F401
    from lomond.protocol.extensions.base import Extension  # noqa: F401

    Field = Tuple[text_type, Union[bytes, text_type]]

# RFC 7230 3.1.1
_REQUEST_LINE = re.compile(r'([A-Z]+) ([^ ]+) (HTTP/1\.[0-9])\Z')

# Scheme and authority of a request line in absolute form (RFC 9112 3.2.2)
_ABSOLUTE = re.compile(r'\A[A-Za-z][A-Za-z0-9+.-]*://[^/?]*')

# 16 bytes in base64
_KEY = re.compile(r'[A-Za-z0-9+/]{22}==\Z')

#: The first byte of a client that speaks TLS: the type of a handshake record (RFC 8446 5.1).
TLS_HANDSHAKE = b'\x16'


def accept_key(key):
    # type: (bytes) -> bytes
    """Return the Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 4.2.2)."""
    # RFC 6455's choice, which guards no secret; `usedforsecurity` would need Python 3.9.
    sha1 = hashlib.sha1(key + WS_KEY)   # nosec B324
    return base64.b64encode(sha1.digest())


def build_head(first_line, fields):
    # type: (text_type, Iterable[Field]) -> bytes
    """Build the head of a request or a response from checked text; bytes go as they are."""
    lines = [first_line.encode('utf-8')]
    for name, value in fields:
        data = value if isinstance(value, bytes) else value.encode('utf-8')
        lines.append(name.encode('ascii') + b': ' + data)
    lines.append(b'\r\n')
    return b'\r\n'.join(lines)


def check_protocols(protocols):
    # type: (Optional[Iterable[str]]) -> List[str]
    """Return the subprotocols as a list; raises TypeError, ValueError (RFC 6455 4.1)."""
    if protocols is None:
        return []
    if isinstance(protocols, (bytes, text_type)):
        raise TypeError('protocols must be a list of names, not {!r}'.format(protocols))
    checked = []  # type: List[str]
    for name in protocols:
        if not isinstance(name, (str, text_type)) or not is_token(name):
            raise ValueError('not a subprotocol name: {!r}'.format(name))
        if name in checked:
            raise ValueError('the subprotocol {!r} is named twice'.format(name))
        checked.append(name)
    return checked


# -- the client's side --

def new_key():
    # type: () -> bytes
    """Return a Sec-WebSocket-Key: 16 random bytes in base64 (RFC 6455 4.1)."""
    return base64.b64encode(os.urandom(16))


def build_request(host, resource, key, protocols, offer, agent, own):
    # type: (text_type, text_type, bytes, Sequence[text_type], text_type, text_type, Sequence[Tuple[text_type, Optional[bytes]]]) -> bytes
    """Build a client's request (RFC 6455 4.1).

    Parameters: the value of Host; the path and query; the key; the subprotocols and the value of
    Sec-WebSocket-Extensions to offer; the User-Agent; the user's own fields, checked, which
    replace these (one whose value is None leaves the field out).
    """
    fields = [
        (u'Host', host),
        (u'Upgrade', u'websocket'),
        (u'Connection', u'Upgrade'),
        (u'Sec-WebSocket-Key', key),
        (u'Sec-WebSocket-Version', text_type(WS_VERSION)),
    ]  # type: List[Field]
    if protocols:
        fields.append((u'Sec-WebSocket-Protocol', u', '.join(protocols)))
    if offer:
        fields.append((u'Sec-WebSocket-Extensions', offer))
    if agent:
        fields.append((u'User-Agent', agent))
    replaced = {name.lower() for name, _value in own}
    fields = [field for field in fields if field[0].lower() not in replaced]
    fields.extend((name, value) for name, value in own if value is not None)
    return build_head(u'GET {} HTTP/1.1'.format(resource), fields)


def check_response(response, key, protocols):
    # type: (Response, bytes, Sequence[text_type]) -> Optional[text_type]
    """Check the server's answer as RFC 6455 4.1 demands; return its subprotocol, or None.

    Parameters: the response, the key that was sent, the subprotocols that were
    offered. Extensions are checked by `negotiation.accept`. Raises HandshakeError.
    """
    if response.status_code != 101:
        raise HandshakeError(
            'the server answered {} {}', response.status_code, response.status)
    if response.http_ver == u'HTTP/1.0':
        raise HandshakeError('the server answered 101 in HTTP/1.0, which has no upgrade')
    _require_token(response, u'Upgrade', u'websocket')
    _require_token(response, u'Connection', u'Upgrade')
    accept = _get_only(response, u'Sec-WebSocket-Accept')
    if accept is None:
        raise HandshakeError('Sec-WebSocket-Accept is missing')
    if accept.encode('latin-1') != accept_key(key):
        raise HandshakeError('Sec-WebSocket-Accept does not match the key: {!r}', accept)
    protocol = _get_only(response, u'Sec-WebSocket-Protocol')
    if protocol is not None and protocol not in protocols:
        raise HandshakeError('the server chose a protocol that was not offered: {!r}', protocol)
    return protocol


def _get_only(message, name, error_class=HandshakeError):
    # type: (Union[Response, Request], text_type, Type[HandshakeError]) -> Optional[text_type]
    """Return the value of a header that must not be repeated, or None.

    Raises ``error_class`` if it is repeated, even with the same value
    (RFC 6455 11.3, RFC 9112 3.2).
    """
    values = message.headers.get_all(name)
    if len(values) > 1:
        raise error_class('there is more than one {} header', name)
    return values[0] if values else None


def _require_token(response, name, token):
    # type: (Response, text_type, text_type) -> None
    if not response.headers.has_token(name, token):
        raise HandshakeError(
            'the {} header should be {!r}, not {!r}', name, token, response.get(name))


# -- the server's side --

class UpgradeRefused(HandshakeError):
    """A request that a server can't upgrade to a WebSocket.

    Attributes: ``status_code`` and ``headers`` of the HTTP answer to send.
    """

    status_code = 400
    headers = ()  # type: Sequence[Tuple[text_type, text_type]]


class _HeadersTooLarge(UpgradeRefused):
    """RFC 6585 5: the answer to a head that exceeds the limit."""

    status_code = 431


class RequestReader(HeadReader):
    """Gathers the head of a client's request, up to ``max_size`` bytes."""

    def feed(self, data):
        # type: (bytes) -> Optional[Tuple[bytes, bytes]]
        """Do as `HeadReader.feed`, but raise UpgradeRefused if the head exceeds the limit."""
        try:
            return super(RequestReader, self).feed(data)
        except CriticalProtocolError as error:
            raise _HeadersTooLarge(text_type(error))

    def _check_start(self, is_end):
        # type: (bool) -> None
        first = bytes(self._gathered[:1])
        if first == TLS_HANDSHAKE:
            raise HandshakeError('this port speaks plain HTTP, not TLS: use ws://')
        if first and not b'A' <= first <= b'Z':
            raise HandshakeError('not an HTTP request: the first byte is {!r}', first)

    def _check_first_line(self, line):
        # type: (text_type) -> None
        _check_request_line(line)


def _check_request_line(line):
    # type: (text_type) -> Match[text_type]
    match = _REQUEST_LINE.match(line)
    if match is None:
        raise HandshakeError('not an HTTP request: {!r}', redact_line(line)[:80])
    return match


class Request(Head):
    """A client's request, as a server sees it.

    Parameters: the bytes of the head. Raises HandshakeError if they aren't one.
    Attributes: ``raw``, ``method``, ``resource`` (path and query), ``path`` and
    ``query`` (still percent-encoded; the query without its '?', empty if there
    is none), ``http_ver``, ``headers``.
    """

    def __init__(self, header_data):
        # type: (bytes) -> None
        line, headers = parse_head(header_data)
        super(Request, self).__init__(header_data, headers)
        match = _check_request_line(line)
        self.method = match.group(1)  # type: text_type
        self.resource = match.group(2)  # type: text_type
        path, _mark, query = _ABSOLUTE.sub(u'', self.resource, 1).partition(u'?')
        self.path = path or u'/'  # type: text_type
        self.query = query  # type: text_type
        self.http_ver = match.group(3)  # type: text_type

    def __repr__(self):
        # type: () -> str
        return '<request {} {}>'.format(self.method, redact_text(self.resource))


def rebuild_request(method, target, headers, version=u'HTTP/1.1'):
    # type: (Any, Any, Any, Any) -> Request
    """Return the request that another parser has read.

    Parameters: method, path and query, headers (a mapping or pairs), and the version of HTTP, text
    or bytes. Raises TypeError and ValueError for what can't have been read from a head,
    HandshakeError for what isn't a request as in RFC 9112.
    """
    lines = [b' '.join(_to_line(part) for part in (method, target, version))]
    pairs = headers.items() if hasattr(headers, 'items') else headers
    if isinstance(pairs, (bytes, text_type)) or not hasattr(pairs, '__iter__'):
        raise TypeError('the headers of a request must be a mapping or pairs, not {!r}'.format(
            headers))
    for name, value in pairs:
        lines.append(_to_line(name) + b': ' + _to_line(value))
    return Request(b'\r\n'.join(lines) + b'\r\n\r\n')


def _to_line(value):
    # type: (Any) -> bytes
    """Return a part of a head as bytes: in Latin-1, as WSGI has text, or else in UTF-8."""
    if isinstance(value, text_type):
        try:
            value = value.encode('latin-1')
        except UnicodeEncodeError:
            value = encode_text(value)
    if not isinstance(value, bytes):
        raise TypeError('a request is made of text or bytes, not {!r}'.format(value))
    if not is_line(value):
        raise ValueError('a part of a request must not contain CR, LF or NUL')
    return value


class _UpgradeRequired(UpgradeRefused):
    """RFC 6455 4.4: the answer names the version that the server supports."""

    status_code = 426
    headers = (
        (u'Upgrade', u'websocket'),
        (u'Sec-WebSocket-Version', text_type(WS_VERSION)),
    )


# Why the request of a WebSocket client arrives without it, most often.
_PROXY = ('. If a WebSocket client sent it, a proxy in front has changed it (nginx: set '
          'proxy_http_version 1.1, and proxy_set_header for Upgrade and Connection)')


class _MethodNotAllowed(UpgradeRefused):
    status_code = 405
    headers = ((u'Allow', u'GET'),)


def check_request(request):
    # type: (Request) -> bytes
    """Check a client's request as RFC 6455 4.2.1 demands; return its key.

    Raises UpgradeRefused, which has the HTTP answer.
    """
    if request.method != u'GET':
        raise _MethodNotAllowed('a WebSocket begins with GET, not {}', request.method)
    if request.http_ver == u'HTTP/1.0':
        raise _UpgradeRequired(
            'a WebSocket needs HTTP/1.1, and this request came in HTTP/1.0' + _PROXY)
    if _get_only(request, u'Host', UpgradeRefused) is None:
        raise UpgradeRefused('the Host header is missing')
    if request.get(u'Content-Length', u'0') != u'0' or u'Transfer-Encoding' in request.headers:
        # What follows would be read as frames.
        raise UpgradeRefused('the request of a WebSocket has no body')
    for name, token in (u'Upgrade', u'websocket'), (u'Connection', u'Upgrade'):
        if not request.headers.has_token(name, token):
            raise _UpgradeRequired(
                'this is a WebSocket endpoint: the {} header should be {}, and {}' + _PROXY,
                name, token, 'is another' if name in request.headers else 'is missing')
    if _get_only(request, u'Sec-WebSocket-Version', UpgradeRefused) != text_type(WS_VERSION):
        raise _UpgradeRequired('only version {} of the WebSocket protocol is supported', WS_VERSION)
    key = _get_only(request, u'Sec-WebSocket-Key', UpgradeRefused) or u''
    if not _KEY.match(key):
        raise UpgradeRefused('Sec-WebSocket-Key is not 16 bytes in base64')
    return key.encode('ascii')


def check_offers(request):
    # type: (Request) -> text_type
    """Return the value of a client's Sec-WebSocket-Extensions, empty if there is none.

    Raises UpgradeRefused if it breaks the grammar (RFC 6455 9.1).
    """
    value = request.get(u'Sec-WebSocket-Extensions') or u''
    try:
        parse_extensions(value)
    except HandshakeError as error:
        raise UpgradeRefused(text_type(error))
    return value


def offered_protocols(request):
    # type: (Request) -> List[text_type]
    """Return the subprotocols that a client offers, the preferred one first."""
    return request.headers.get_list(u'Sec-WebSocket-Protocol')


def choose_protocol(request, protocols):
    # type: (Request, Sequence[text_type]) -> Optional[text_type]
    """Return the first of a server's subprotocols that the client offers, or None."""
    offered = offered_protocols(request)
    return next((name for name in protocols if name in offered), None)


def accept_request(request, protocol, extensions, own=()):
    # type: (Request, Optional[text_type], Sequence[Extension], Sequence[Field]) -> Tuple[bytes, List[Extension]]
    """Return the 101 answer to a request, and the extensions that it names (RFC 6455 4.2.2).

    Parameters: the subprotocol to name, or None; the extensions that the server supports; further
    fields, checked. Raises UpgradeRefused.
    """
    key = check_request(request)
    fields = [
        (u'Upgrade', u'websocket'),
        (u'Connection', u'Upgrade'),
        (u'Sec-WebSocket-Accept', accept_key(key)),
    ]  # type: List[Field]
    if protocol is not None:
        fields.append((u'Sec-WebSocket-Protocol', protocol))
    agreed = []  # type: List[Extension]
    if extensions:
        value, agreed = negotiation.answer(check_offers(request), extensions)
        if agreed:
            fields.append((u'Sec-WebSocket-Extensions', value))
    fields.extend(own)
    return build_head(u'HTTP/1.1 101 Switching Protocols', fields), agreed


def answer_request(request, protocols, extensions, own=()):
    # type: (Request, Sequence[text_type], Sequence[Extension], Sequence[Field]) -> Tuple[bytes, Optional[text_type], List[Extension]]
    """Return the 101 answer to a request, and the subprotocol and the extensions that it names.

    The subprotocol is the first of the server's ``protocols`` that the client
    offered, or None; ``extensions`` are those that the server supports; ``own``
    are further fields, checked. Raises UpgradeRefused.
    """
    protocol = choose_protocol(request, protocols)
    answer, agreed = accept_request(request, protocol, extensions, own)
    return answer, protocol, agreed


# Statuses without a phrase are sent without one (RFC 9112 4).
_PHRASES = {
    301: u'Moved Permanently',
    302: u'Found',
    303: u'See Other',
    307: u'Temporary Redirect',
    308: u'Permanent Redirect',
    400: u'Bad Request',
    401: u'Unauthorized',
    403: u'Forbidden',
    404: u'Not Found',
    405: u'Method Not Allowed',
    426: u'Upgrade Required',
    429: u'Too Many Requests',
    431: u'Request Header Fields Too Large',
    500: u'Internal Server Error',
    503: u'Service Unavailable',
}


def describe_status(status_code):
    # type: (int) -> text_type
    """Return a status and its phrase, as they are on the first line of an answer."""
    return u'{} {}'.format(status_code, _PHRASES.get(status_code, u''))


def build_answer(status_code, body, headers, is_chunked=False):
    # type: (int, Optional[bytes], Sequence[Field], bool) -> bytes
    """Build a whole HTTP answer, of plain text unless there is a Content-Type.

    With ``body`` None it is the head alone: of a body in the chunked coding if ``is_chunked``, else
    of one that ends with the connection (RFC 9112 6.3).
    """
    fields = [(u'Connection', u'close')]  # type: List[Field]
    if not any(name.lower() == u'content-type' for name, _value in headers):
        fields.append((u'Content-Type', u'text/plain; charset=utf-8'))
    if body is not None:
        fields.append((u'Content-Length', text_type(len(body))))
    elif is_chunked:
        fields.append((u'Transfer-Encoding', u'chunked'))
    fields.extend(headers)
    return build_head(u'HTTP/1.1 ' + describe_status(status_code), fields) + (body or b'')


def plain_answer(status_code, text, headers=()):
    # type: (int, text_type, Sequence[Field]) -> bytes
    """Build a whole HTTP answer that says, in plain text, why there is no upgrade."""
    return build_answer(status_code, (text + u'\n').encode('utf-8'), headers)


def answer_bad_request(error):
    # type: (HandshakeError) -> bytes
    """Build the whole HTTP answer to a request that can't be upgraded, or isn't one."""
    refused = error if isinstance(error, UpgradeRefused) else UpgradeRefused()
    return plain_answer(refused.status_code, text_type(error), refused.headers)
