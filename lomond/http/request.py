"""What a client's request carries beside the handshake: headers, passwords, cookies.

Opens no connection. A function that makes headers is called, and a netrc file
is read, for each request anew: passwords and tokens change while a daemon runs.
"""

from __future__ import absolute_import, division, print_function

import logging

from lomond._compat import TYPE_CHECKING, encode_text, text_type
from lomond._describe import describe
from lomond.errors import ConnectFail
from lomond.http.grammar import is_line, is_token
from lomond.http.netrc import check_netrc
from lomond.http.url import basic_authorization

if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple, Union  # noqa: F401

    from lomond.http.cookies import Cookies  # noqa: F401
    from lomond.http.redirects import Course  # noqa: F401
    from lomond.http.response import Response  # noqa: F401

    Field = Tuple[text_type, bytes]

log = logging.getLogger('lomond')

# What the handshake itself decides.
_RESERVED = frozenset([
    u'upgrade', u'connection', u'sec-websocket-key', u'sec-websocket-version',
    u'sec-websocket-protocol', u'sec-websocket-extensions', u'sec-websocket-accept',
])

# What to use instead of some of these.
_REPLACEMENTS = {
    u'sec-websocket-protocol': ' and use protocols=',
    u'sec-websocket-extensions': ' and use compress=',
}

# A secret may stand in any other header: another origin isn't sent it.
_FOR_ANYONE = frozenset([u'origin', u'user-agent'])

class RequestOptions(object):
    """What the requests of a client carry.

    Parameters as of `lomond.websocket.WebSocket`. Raises TypeError and
    ValueError.
    """

    def __init__(self, headers=None, cookies=None, netrc=False):
        # type: (Any, Any, Any) -> None
        #: Fields, or a function that returns what they are made of.
        self.headers = _check_own_headers(headers)  # type: Any
        self.netrc = check_netrc(netrc)
        self.cookies = None  # type: Optional[Cookies]
        if cookies is not None:
            from lomond.http.cookies import check_cookies  # few need it
            self.cookies = check_cookies(cookies)
        self._added = []  # type: List[Field]

    @property
    def jar(self):
        # type: () -> Any
        """The cookie jar, or None."""
        return None if self.cookies is None else self.cookies.jar

    def change(self, name, value):
        # type: (str, Any) -> None
        """Set one parameter; raises as the constructor does, and then nothing has changed."""
        setattr(self, name, getattr(RequestOptions(**{name: value}), name))

    def add_header(self, name, value):
        # type: (Any, Any) -> None
        """Add a header to those given; raises as `check_header`."""
        self._added.append(check_header(name, value))

    def fields(self, course):
        # type: (Course) -> List[Field]
        """Return the header fields for a request to where the attempt has come.

        Raises ConnectFail, in the phase 'request'.
        """
        fields = self._own_fields()
        if course.is_foreign:
            fields = [field for field in fields if field[0].lower() in _FOR_ANYONE]
        if not any(name.lower() == u'authorization' for name, _value in fields):
            credentials = course.target.credentials
            if credentials is None and self.netrc is not None:
                credentials = self.netrc.find(course.target.host, not course.is_foreign)
            if credentials is not None:
                fields.append((
                    u'Authorization', basic_authorization(credentials).encode('ascii')))
        if self.cookies is None:
            return fields
        try:
            return self.cookies.add_to(fields, course)
        except Exception as error:      # the caller's jar, or policy
            log.exception('the cookie jar failed')
            raise ConnectFail.during(
                'request', u'the cookie jar failed: {}'.format(describe(error)), error)

    def _own_fields(self):
        # type: () -> List[Field]
        if not callable(self.headers):
            return self.headers + self._added       # type: ignore[no-any-return]
        try:
            return check_headers(self.headers()) + self._added
        except Exception as error:      # the caller's function: the next attempt asks it again
            log.exception('the headers function failed')
            raise ConnectFail.during(
                'request', u'the headers function failed: {}'.format(describe(error)), error)

    def take_cookies(self, response, course):
        # type: (Response, Course) -> None
        """Keep the cookies that a response sets, if any are kept. Never raises."""
        if self.cookies is not None:
            self.cookies.take(response, course)


def _check_own_headers(headers):
    # type: (Any) -> Any
    if headers is None:
        return []
    return headers if callable(headers) else check_headers(headers)


def check_headers(headers):
    # type: (Any) -> List[Field]
    """Return the fields of a mapping, or of a list of pairs; a value may be a list.

    Raises TypeError and ValueError.
    """
    pairs = headers.items() if hasattr(headers, 'items') else headers
    if isinstance(pairs, (bytes, text_type)) or not hasattr(pairs, '__iter__'):
        raise TypeError('headers must be a mapping, a list of pairs, or a function that returns '
                        'either, not {}'.format(type(headers).__name__))
    fields = []  # type: List[Field]
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError('headers must be a mapping, or pairs of a name and a value')
        name, value = pair
        values = value if isinstance(value, (tuple, list)) else (value,)
        fields.extend(check_header(name, single) for single in values)
    return fields


def check_header(name, value):
    # type: (Any, Any) -> Field
    """Return a header's name, and its value as bytes (text in UTF-8).

    Raises TypeError, and ValueError for what can't stand in a header, and for
    those that aren't the caller's to set. The words never tell the value: it
    may be a secret.
    """
    if isinstance(name, bytes):
        name = name.decode('latin-1')
    if not isinstance(name, text_type):
        raise TypeError('a header name must be text or bytes, not {}'.format(type(name).__name__))
    if not is_token(name):
        # Of a whole line, given by mistake, the value isn't shown.
        raise ValueError('invalid header name: {!r}'.format(name.partition(u':')[0]))
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
