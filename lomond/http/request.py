"""The user's part of a client's request: headers, passwords, cookies.

It opens no connection. For each request it calls the user's headers function and reads the netrc
file again, as passwords and tokens may change while a daemon runs.
"""

from __future__ import absolute_import, division, print_function

import logging

from lomond._compat import TYPE_CHECKING, encode_text, text_type
from lomond._describe import describe
from lomond.constants import USER_AGENT
from lomond.errors import ConnectFail
from lomond.http.grammar import check_line, is_line, is_token
from lomond.http.netrc import check_netrc
from lomond.http.url import basic_authorization

if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Optional, Tuple, Union  # noqa: F401

    from lomond.http.cookies import Cookies  # noqa: F401
    from lomond.http.netrc import NetrcFile  # noqa: F401
    from lomond.http.redirects import RedirectChain  # noqa: F401
    from lomond.http.response import Response  # noqa: F401

    # With None as the value, the header isn't sent.
    Field = Tuple[text_type, Optional[bytes]]

log = logging.getLogger('lomond')  # type: logging.Logger

# Headers that the handshake sets.
_RESERVED = frozenset([
    u'upgrade', u'connection', u'sec-websocket-key', u'sec-websocket-version',
    u'sec-websocket-protocol', u'sec-websocket-extensions', u'sec-websocket-accept',
])

# What to use instead of some of these.
_REPLACEMENTS = {
    u'sec-websocket-protocol': ' and use protocols=',
    u'sec-websocket-extensions': ' and use compress=',
}

# The package's own headers that every request needs (RFC 6455 4.1), and those that None leaves out.
# (Not Authorization: a token that is None by mistake has to raise.)
_REQUIRED = frozenset([
    u'host', u'upgrade', u'connection', u'sec-websocket-key', u'sec-websocket-version'])
_OPTIONAL = frozenset([u'user-agent'])

# The only headers that are sent to another origin, as any other may contain a secret.
_SENT_CROSS_ORIGIN = frozenset([u'origin', u'user-agent'])


class RequestOptions(object):
    """The user's options for the requests of a client.

    The parameters are those of `lomond.websocket.WebSocket`. Raises TypeError and ValueError.
    """

    __slots__ = ('_added', 'cookies', 'headers', 'netrc')

    def __init__(self, headers=None, cookies=None, netrc=False):
        # type: (Any, Any, Any) -> None
        #: The fields, or the user's function.
        self.headers = _check_headers_option(headers)  # type: Any
        self.netrc = check_netrc(netrc)  # type: Optional[NetrcFile]
        self.cookies = None  # type: Optional[Cookies]
        if cookies is not None:
            from lomond.http.cookies import check_cookies  # here, as few programs need it
            self.cookies = check_cookies(cookies)
        self._added = ()  # type: Tuple[Field, ...]

    @property
    def jar(self):
        # type: () -> Any
        """The cookie jar, or None."""
        return None if self.cookies is None else self.cookies.jar

    def change(self, name, value):
        # type: (str, Any) -> None
        """Set one parameter; raises as the constructor does, and then changes nothing."""
        setattr(self, name, getattr(RequestOptions(**{name: value}), name))

    def add_header(self, name, value):
        # type: (Any, Any) -> None
        """Add a header to those of ``headers``; raises as `check_header`."""
        self._added += (check_header(name, value),)

    def fields(self, chain, logger=log):
        # type: (RedirectChain, Any) -> List[Field]
        """Return the header fields for a request to the chain's target.

        A header whose value is None isn't sent at all. Raises ConnectFail, in the phase 'request',
        after it has logged what a function of the user's raised.
        """
        fields = self._user_fields(logger)
        if chain.is_cross_origin:
            fields = [field for field in fields if field[0].lower() in _SENT_CROSS_ORIGIN]
        if not any(name.lower() == u'authorization' for name, _value in fields):
            credentials = chain.target.credentials
            if credentials is None and self.netrc is not None:
                credentials = self.netrc.find(
                    chain.target.host, with_default=not chain.is_cross_origin)
            if credentials is not None:
                fields.append((
                    u'Authorization', basic_authorization(credentials).encode('ascii')))
        if self.cookies is None:
            return fields
        try:
            return self.cookies.add_to(fields, chain)
        except Exception as error:      # the user's jar or policy may raise anything
            logger.exception('the cookie jar failed')
            raise ConnectFail.during(
                'request', u'the cookie jar failed: {}'.format(describe(error)), error)

    def _user_fields(self, logger):
        # type: (Any) -> List[Field]
        if not callable(self.headers):
            return list(self.headers) + list(self._added)
        try:
            return _check_request_headers(self.headers()) + list(self._added)
        except Exception as error:      # the user's function: the next attempt calls it again
            logger.exception('the headers function failed')
            raise ConnectFail.during(
                'request', u'the headers function failed: {}'.format(describe(error)), error)

    def store_cookies(self, response, chain, logger=log):
        # type: (Response, RedirectChain, Any) -> None
        """Keep the cookies that a response sets, if there is a jar. Never raises."""
        if self.cookies is not None:
            self.cookies.store(response, chain, logger)


def check_agent(agent):
    # type: (Union[None, bytes, text_type]) -> text_type
    """Return a User-Agent as text, for None lomond's own; raises TypeError, ValueError."""
    if agent is None:
        agent = USER_AGENT
    if isinstance(agent, bytes):
        try:
            agent = agent.decode('utf-8')
        except UnicodeDecodeError:
            raise ValueError('agent must be text or UTF-8 bytes: these bytes are not UTF-8')
    if not isinstance(agent, text_type):
        raise TypeError('agent must be text or bytes, not {!r}'.format(agent))
    encode_text(agent)
    return check_line('agent', agent)


def _check_headers_option(headers):
    # type: (Any) -> Any
    if headers is None:
        return ()
    return headers if callable(headers) else _check_request_headers(headers)


def check_headers(headers):
    # type: (Any) -> List[Tuple[text_type, bytes]]
    """Return the fields of a mapping, or of a list of pairs; a value may be a list.

    Raises TypeError and ValueError.
    """
    return [field for name, value in _pairs(headers) for field in _check_values(name, value)]


def _check_request_headers(headers):
    # type: (Any) -> List[Field]
    """Return the fields as `check_headers` does; the value of User-Agent may be None."""
    fields = []  # type: List[Field]
    for name, value in _pairs(headers):
        if value is None:
            fields.append((_check_left_out(name), None))
        else:
            fields.extend(_check_values(name, value))
    return fields


def _pairs(headers):
    # type: (Any) -> Iterator[Any]
    """Yield the pairs of a name and a value, neither checked; raises TypeError."""
    pairs = headers.items() if hasattr(headers, 'items') else headers
    if isinstance(pairs, (bytes, text_type)) or not hasattr(pairs, '__iter__'):
        raise TypeError('headers must be a mapping, a list of pairs, or a function that returns '
                        'either, not {}'.format(type(headers).__name__))
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError('headers must be a mapping, or pairs of a name and a value')
        yield pair


def _check_values(name, value):
    # type: (Any, Any) -> List[Tuple[text_type, bytes]]
    values = value if isinstance(value, (tuple, list)) else (value,)
    return [check_header(name, single) for single in values]


def check_header(name, value):
    # type: (Any, Any) -> Tuple[text_type, bytes]
    """Return a header's name, and its value as bytes (text in UTF-8).

    Raises TypeError, and ValueError for invalid characters and for reserved headers. The message
    never shows the value, which may be a secret.
    """
    name = _check_name(name)
    if name.lower() in _RESERVED:
        raise ValueError('{} is set by the handshake: remove it{}'.format(
            name, _REPLACEMENTS.get(name.lower(), '')))
    if name.lower() == u'proxy-authorization':
        raise ValueError('{} would be sent to the server, not to the proxy: put the password into '
                         "the proxy's URL".format(name))
    if isinstance(value, text_type):
        value = encode_text(value, 'the value of {}'.format(name))
    if not isinstance(value, bytes):
        raise TypeError('the value of {} must be text or bytes, not {}'.format(
            name, type(value).__name__))
    if not is_line(value):
        raise ValueError('the value of {} must not contain CR, LF or NUL'.format(name))
    return name, value


def _check_left_out(name):
    # type: (Any) -> text_type
    """Return the name of a header whose value is None; raises if it can't be left out."""
    name = _check_name(name)
    if name.lower() in _REQUIRED:
        raise ValueError('{} cannot be left out: RFC 6455 4.1 requires it in each request'.format(
            name))
    if name.lower() not in _OPTIONAL:
        check_header(name, b'')
        raise TypeError('the value of {} must be text or bytes, not None: None is for User-Agent '
                        'only, to leave it out'.format(name))
    return name     # type: ignore[no-any-return]


def _check_name(name):
    # type: (Any) -> text_type
    if isinstance(name, bytes):
        name = name.decode('latin-1')
    if not isinstance(name, text_type):
        raise TypeError('a header name must be text or bytes, not {}'.format(type(name).__name__))
    if not is_token(name):
        # A whole line may have been passed by mistake: its value isn't shown.
        raise ValueError('invalid header name: {!r}'.format(name.partition(u':')[0]))
    return name
