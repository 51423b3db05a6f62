"""A password in a URL stands in no error, event, log record or repr, however the URL is written."""

from __future__ import absolute_import, division, print_function

import logging
import re
import traceback

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lomond import WebSocket
from lomond._compat import text_type
from lomond.errors import HandshakeError
from lomond.http.redirects import RedirectChain, resolve
from lomond.http.response import Response
from lomond.http.url import parse_url
from lomond.persist import ReconnectPolicy

SECRET = u'hunter2'

#: What surrounds the secret: delimiters of a URL, what IDNA and percent-encoding trip over, ...
_PIECES = [
    u':', u'/', u'?', u'#', u'@', u'[', u']', u'%', u'%2F', u'%ff', u'%00', u'\\', u' ', u'.',
    u'..', u'://', u'a', u'1', u'me', u'\xe9', u'\u2100', u'\uff20', u'\xa0', u'\t', u'\n', u'{0}',
    u'%s', u'\udcff', u'x' * 64]

surroundings = st.lists(st.sampled_from(_PIECES), max_size=4).map(u''.join)


@st.composite
def userinfos(draw):
    return draw(surroundings) + SECRET + draw(surroundings)


places = st.sampled_from([
    u'proxy.invalid', u'proxy.invalid:9', u'proxy.invalid:9/path?query', u'proxy.invalid:port', u'',
    u':9', u'[::1', u'a b', u'proxy.invalid/#part', u'x' * 64, u'proxy.invalid:99999', u'\u2100',
    u'.', u'/', u'/run/a.sock:/b', u'/run/a.sock:b', u'proxy.invalid\n'])

ws_schemes = st.sampled_from([
    u'ws://', u'WSS://', u'ws+unix://', u'http://', u'nonsense://', u' ws://', u'\xa0wss://'])

proxy_schemes = st.sampled_from([
    u'http://', u'https://', u'socks5://', u'socks4a://', u'socks://', u'ftp://', u'', u'me:',
    u' '])


def is_scheme(url):
    """Tell if the secret is (part of) the scheme: it is known to be none then."""
    return re.match(u'(?i)[a-z0-9+.-]*' + SECRET + u'[a-z0-9+.-]*:', url.strip()) is not None


def is_in_credentials(target):
    """Tell if the secret was taken for one; a path, say, may have an @ in it by RFC 3986."""
    return target.credentials is not None and SECRET in u''.join(target.credentials)


def all_shown(value, seen=None):
    """Return all that may be seen of an object, and of what it holds and came from, in texts."""
    seen = [] if seen is None else seen
    if any(value is one for one in seen):
        return []
    seen.append(value)
    texts = [repr(value)]
    if isinstance(value, (bytes, text_type)):
        texts.append(value if isinstance(value, text_type) else value.decode('latin-1'))
    elif isinstance(value, BaseException):
        texts.extend(traceback.format_exception(type(value), value, None))
        for held in (value.args, getattr(value, '__context__', None),
                     getattr(value, '__cause__', None), vars(value)):
            texts.extend(all_shown(held, seen))
    elif isinstance(value, dict):
        for pair in value.items():
            texts.extend(all_shown(pair, seen))
    elif isinstance(value, (tuple, list)):
        for item in value:
            texts.extend(all_shown(item, seen))
    elif isinstance(value, logging.LogRecord):
        texts.append(value.getMessage())
        texts.extend(all_shown(value.args, seen))
        texts.extend(all_shown(value.exc_info, seen))
    elif hasattr(value, '__match_args__'):
        for name in value.__match_args__:
            texts.extend(all_shown(getattr(value, name), seen))
    return [text if isinstance(text, text_type) else text.decode('utf-8', 'replace')
            for text in texts]


def check_hidden(*values):
    """Assert that nothing shows the secret."""
    for value in values:
        for text in all_shown(value):
            assert SECRET not in text.lower(), text


@given(userinfos(), places, st.sampled_from([
    u'ws://', u'http://', u'https://', u'//', u'ftp://', u'ws:', u'']))
def test_redirect_shows_no_password(userinfo, place, scheme):
    location = scheme + userinfo + u'@' + place
    assume(not is_scheme(location))
    data = location.encode('utf-8', 'replace').replace(b'\n', b'')
    response = Response(b'HTTP/1.1 302 Found\r\nLocation: ' + data + b'\r\n\r\n')
    check_hidden(response)
    for base in (parse_url(u'ws://here.invalid/a/b'), parse_url(u'ws+unix:///run/a.sock')):
        try:
            if not is_in_credentials(resolve(response.get(u'Location'), base)):
                continue
        except ValueError as error:
            check_hidden(error)
        try:
            chain = RedirectChain.begin(base).follow(response, 5)
        except HandshakeError as error:
            check_hidden(error)
        else:
            check_hidden(repr(chain), chain.target.url)


@given(userinfos(), places)
def test_options_of_the_wrong_type_show_no_password(userinfo, place):
    url = u'http://' + userinfo + u'@' + place
    for make in (
            lambda: WebSocket('ws://a', proxies=url), lambda: WebSocket('ws://a', proxies=[url]),
            lambda: WebSocket('ws://a', proxies={url: 'http://b'}),
            lambda: WebSocket('ws://a', proxies={'http': [url]}), lambda: WebSocket([url]),
            lambda: ReconnectPolicy(urls=url), lambda: ReconnectPolicy(urls=[[url]])):
        with pytest.raises((TypeError, ValueError)) as caught:
            make()
        check_hidden(caught.value)
