"""Cookies of a WebSocket's requests, kept in a jar of the standard library (RFC 6265).

Which cookie goes where is the jar's business. It is made to ask for HTTP
requests and responses as urllib has them: here is as much of these as it needs.
"""

from __future__ import absolute_import, division, print_function

import logging
import re

from lomond._compat import TYPE_CHECKING, encode_text, latin1_to_native, make_cookie_jar, text_type
from lomond.http.grammar import is_line

if TYPE_CHECKING:
    from typing import Any, List, Optional, Tuple, Union  # noqa: F401

    from lomond.http.redirects import Course  # noqa: F401
    from lomond.http.response import Response  # noqa: F401

log = logging.getLogger('lomond')

#: What one answer may set: so many cookies, each of so many bytes. RFC 6265
#: 6.1 asks for 50 and 4096 at least.
MAX_COOKIES_AT_ONCE = 64
MAX_COOKIE_SIZE = 8192

#: How many cookies a jar of our own holds: a hostile server could fill it over
#: the years of a daemon.
MAX_COOKIES = 1024


_MAX_AGE = re.compile(u'-?[0-9]{1,10}\\Z')

# No number in a date has more digits than its year.
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
    """A cookie jar, and how requests and responses meet it.

    Parameters: the ``jar``, and how many cookies it may hold, None for any.
    """

    def __init__(self, jar, limit=None):
        # type: (Any, Optional[int]) -> None
        self.jar = jar
        self._limit = limit

    def add_to(self, fields, course):
        # type: (List[Tuple[text_type, bytes]], Course) -> List[Tuple[text_type, bytes]]
        """Return the fields of a request with the jar's cookies for where it goes.

        There is one Cookie field then (RFC 6265 5.4). A cookie that the fields
        have already stays as it is. Raises what the jar raises.
        """
        request = _Request(course)
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

    def take(self, response, course):
        # type: (Response, Course) -> None
        """Put the cookies that a response sets into the jar. Never raises."""
        values = [
            value for value in response.headers.get_all(u'Set-Cookie')
            if len(value) <= MAX_COOKIE_SIZE]
        if not values:
            return
        try:
            # One by one: a jar drops all of an answer's cookies if it fails at one.
            for value in values[:MAX_COOKIES_AT_ONCE]:
                if self._limit is not None and len(self.jar) >= self._limit:
                    log.debug('cookies from %s ignored: the jar is full (%d cookies)',
                              course.target.url, self._limit)
                    return
                self.jar.extract_cookies(_Response([_without_faults(value)]), _Request(course))
        except Exception:       # a jar or a policy of the caller's, over what the server sent
            log.exception('the cookie jar failed for a response of %s', course.target.url)


class _Request(object):
    """What a jar asks of a request: attributes on Python 3, methods on 2.7."""

    def __init__(self, course):
        # type: (Course) -> None
        target = course.target
        # A jar sends secure cookies over https; not every Python's knows wss.
        self.type = 'https' if target.is_secure else 'http'
        self.host = str(target.host_header)
        self.origin_req_host = str(course.home.host)
        # RFC 2965 3.3.6: nobody has asked the user where a redirect leads.
        self.unverifiable = bool(course.redirects)
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
        if name == 'Cookie':        # not Cookie2, which RFC 6265 has done away with
            self.cookies = value


class _Response(object):
    """What a jar asks of a response: that, and the headers, with their Set-Cookie."""

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


def _without_faults(value):
    # type: (text_type) -> text_type
    """Return a Set-Cookie without the attributes that the standard jar trips over, and warns of.

    RFC 6265 5.2 has them ignored.
    """
    parts = value.split(u';')
    return u';'.join(parts[:1] + [part for part in parts[1:] if not _is_faulty(part)])


def _is_faulty(attribute):
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
        is_latin_1 = all(character <= u'\xff' for character in value)    # as it was read
        value = value.encode('latin-1') if is_latin_1 else encode_text(value, 'a cookie')
    if not is_line(value):
        raise ValueError('a cookie must not contain CR, LF or NUL')
    return bytes(value)
