"""Cookies of a WebSocket's requests, kept in a jar of the standard library (RFC 6265).

The jar decides which cookie is sent where. It works on urllib's request and response objects: the
classes below have the members that it uses.
"""

from __future__ import absolute_import, division, print_function

import logging
import re

from lomond._compat import TYPE_CHECKING, encode_text, latin1_to_native, make_cookie_jar, text_type
from lomond.http.grammar import is_line

if TYPE_CHECKING:
    from typing import Any, List, Optional, Tuple, Union  # noqa: F401

    from lomond.http.redirects import RedirectChain  # noqa: F401
    from lomond.http.response import Response  # noqa: F401

log = logging.getLogger('lomond')  # type: logging.Logger

#: How many cookies one response may set. RFC 6265 6.1 requires at least 50 for a domain.
MAX_COOKIES_PER_RESPONSE = 64

#: The largest Set-Cookie header, in bytes. RFC 6265 6.1 requires at least 4096.
MAX_COOKIE_SIZE = 8192

#: How many cookies a jar of our own holds, as a hostile server could fill a daemon's memory.
MAX_COOKIES = 1024

_MAX_AGE = re.compile(u'-?[0-9]{1,10}\\Z')

# The longest number in a date is the year, with four digits.
_TOO_LONG = re.compile(u'[0-9]{5}')


def check_cookies(cookies):
    # type: (Any) -> Optional[Cookies]
    """Return the `Cookies` for a jar, or for True; None for None. Raises TypeError."""
    if cookies is None or cookies is False:
        return None
    if cookies is True:
        return Cookies(make_cookie_jar(), MAX_COOKIES)
    if not (hasattr(cookies, 'add_cookie_header') and hasattr(cookies, 'extract_cookies')):
        raise TypeError('cookies must be an http.cookiejar.CookieJar (cookielib on Python 2), '
                        'or True for a new one, not {}'.format(type(cookies).__name__))
    return Cookies(cookies)


class Cookies(object):
    """A cookie jar, applied to requests and responses.

    Parameters: the ``jar``, and ``limit``, how many cookies it may hold, or None for no limit.
    """

    def __init__(self, jar, limit=None):
        # type: (Any, Optional[int]) -> None
        self.jar = jar
        self._limit = limit

    def add_to(self, fields, chain):
        # type: (List[Tuple[text_type, Any]], RedirectChain) -> List[Tuple[text_type, Any]]
        """Return the fields of a request, with the jar's cookies for the chain's target.

        The result has one Cookie field (RFC 6265 5.4). A cookie in ``fields`` takes precedence over
        one of the same name in the jar. Raises what the jar raises.
        """
        request = _Request(chain)
        self.jar.add_cookie_header(request)
        if request.cookies is None:
            return fields
        found = _to_wire(request.cookies)
        own = b'; '.join(value for name, value in fields if name.lower() == u'cookie')
        if own:
            taken = {_name(pair) for pair in own.split(b';')}
            found = b'; '.join(
                [own] + [pair for pair in found.split(b'; ') if _name(pair) not in taken])
        fields = [(name, value) for name, value in fields if name.lower() != u'cookie']
        return fields + [(u'Cookie', found)]

    def store(self, response, chain, logger=log):
        # type: (Response, RedirectChain, Any) -> None
        """Put the cookies that a response sets into the jar. Never raises."""
        values = [
            value for value in response.headers.get_all(u'Set-Cookie')
            if len(value) <= MAX_COOKIE_SIZE]
        if not values:
            return
        try:
            # One by one: a jar drops all cookies of a response if it fails at one.
            for value in values[:MAX_COOKIES_PER_RESPONSE]:
                if self._limit is not None and len(self.jar) >= self._limit:
                    logger.debug('cookies from %s ignored: the jar is full (%d cookies)',
                                 chain.target.url, self._limit)
                    return
                self.jar.extract_cookies(_Response([_drop_invalid(value)]), _Request(chain))
        except Exception:       # the user's jar or policy may raise anything
            logger.exception('the cookie jar failed for a response of %s', chain.target.url)


class _Request(object):
    """The members of a request that a jar uses: attributes on Python 3, methods on 2.7."""

    def __init__(self, chain):
        # type: (RedirectChain) -> None
        target = chain.target
        # A jar sends secure cookies over https; older Pythons don't accept wss.
        self.type = 'https' if target.is_secure else 'http'
        self.host = str(target.host_header)
        self.origin_req_host = str(chain.first.host)
        # RFC 2965 3.3.6: the user has not chosen the target of a redirect.
        self.unverifiable = bool(chain.redirects)
        self.cookies = None  # type: Any
        self._url = '{}://{}{}'.format(self.type, self.host, str(target.resource))

    def get_full_url(self):
        # type: () -> str
        return self._url

    def get_type(self):
        # type: () -> str
        return self.type

    def get_host(self):
        # type: () -> str
        return self.host

    def get_origin_req_host(self):
        # type: () -> str
        return self.origin_req_host

    def is_unverifiable(self):
        # type: () -> bool
        return self.unverifiable

    def has_header(self, name):
        # type: (str) -> bool
        return False

    def add_unredirected_header(self, name, value):
        # type: (str, Any) -> None
        if name == 'Cookie':        # not Cookie2, which RFC 6265 has removed
            self.cookies = value


class _Response(object):
    """The members of a response that a jar uses, and of its headers: the Set-Cookie values."""

    def __init__(self, values):
        # type: (List[text_type]) -> None
        self._values = [latin1_to_native(value) for value in values]

    def info(self):
        # type: () -> _Response
        return self

    def get_all(self, name, default=None):
        # type: (str, Any) -> Any
        return self._values if name.lower() == 'set-cookie' else default

    def getheaders(self, name):     # 2.7
        # type: (str) -> List[str]
        return self._values if name.lower() == 'set-cookie' else []


def _drop_invalid(value):
    # type: (text_type) -> text_type
    """Return a Set-Cookie without its invalid attributes, which RFC 6265 5.2 ignores.

    The standard jar would fail at them, and emit a warning.
    """
    parts = value.split(u';')
    return u';'.join(parts[:1] + [part for part in parts[1:] if not _is_invalid(part)])


def _is_invalid(attribute):
    # type: (text_type) -> bool
    name, _equals, value = attribute.partition(u'=')
    name, value = name.strip().lower(), value.strip(u' \t"')
    if name == u'max-age':
        return _MAX_AGE.match(value) is None
    return name == u'expires' and _TOO_LONG.search(value) is not None


def _name(pair):
    # type: (bytes) -> bytes
    return pair.partition(b'=')[0].strip()


def _to_wire(value):
    # type: (Any) -> bytes
    """Return a jar's Cookie header as bytes; raises ValueError."""
    if isinstance(value, text_type):
        is_latin_1 = all(character <= u'\xff' for character in value)    # as headers are read
        value = value.encode('latin-1') if is_latin_1 else encode_text(value, 'a cookie')
    if not is_line(value):
        raise ValueError('a cookie must not contain CR, LF or NUL')
    return bytes(value)
