"""A password in a URL is shown by no event, log record or repr of a connection.

Without a connection: tests/property/test_secrets.py.
"""

from __future__ import absolute_import, division, print_function

import logging
import os
import socket

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lomond import WebSocket
from lomond.http.url import parse_proxy_url, parse_url
from lomond.net.proxy.settings import find_proxy, parse_proxies
from lomond.persist import ReconnectPolicy
from tests.property.test_secrets import (
    SECRET,
    check_hidden,
    is_in_credentials,
    is_scheme,
    places,
    proxy_schemes,
    userinfos,
    ws_schemes,
)


class _Log(logging.Handler):
    """Keeps the records of the package's logger while it is entered."""

    def __init__(self):
        super(_Log, self).__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)

    def __enter__(self):
        logger = logging.getLogger('lomond')
        self._level = logger.level
        logger.addHandler(self)
        logger.setLevel(logging.DEBUG)
        return self

    def __exit__(self, *_exc_info):
        logger = logging.getLogger('lomond')
        logger.removeHandler(self)
        logger.setLevel(self._level)


def _find_nothing(*_args):
    raise socket.gaierror(socket.EAI_NONAME, 'no such host')


def _connect(**options):
    """Connect to a name that leads nowhere; return the events, the log and the websocket."""
    with _Log() as log:
        websocket = WebSocket(resolver=_find_nothing, trace=True, **options)
        return list(websocket), log.records, websocket


@given(userinfos(), places, ws_schemes)
def test_url_of_a_websocket_shows_no_password(userinfo, place, scheme):
    url = scheme + userinfo + u'@' + place
    try:
        target = parse_url(url)
    except ValueError as error:
        check_hidden(error)
        for make in (WebSocket, lambda url: ReconnectPolicy(urls=[url])):
            with pytest.raises(ValueError) as caught:
                make(url)
            check_hidden(caught.value)
        return
    if not is_in_credentials(target):
        return
    check_hidden(repr(target), target.url, repr(ReconnectPolicy(urls=[url])))
    if target.unix_path is None:
        events, records, websocket = _connect(url=url, proxies={})
        check_hidden(events, records, repr(websocket))


@settings(max_examples=200)
@given(userinfos(), places, proxy_schemes)
def test_url_of_a_proxy_shows_no_password(userinfo, place, scheme):
    url = scheme + userinfo + u'@' + place
    assume(not is_scheme(url))
    for parse in (parse_proxy_url, lambda url: parse_proxies({'http': url})['http'],
                  lambda url: find_proxy(parse_url(u'ws://a'), None, {'HTTP_PROXY': url})):
        try:
            proxy = parse(url)
        except ValueError as error:
            check_hidden(error)
            continue
        check_hidden(repr(proxy), proxy.url)
        assert SECRET in u''.join(proxy.credentials)
    try:
        check_hidden(*_connect(url=u'ws://a.invalid/', proxies={'all': url}))
    except ValueError as error:
        check_hidden(error)


@pytest.fixture(scope='module')
def environment():
    """The environment, put right afterwards; for `given`, which knows no monkeypatch."""
    before = dict(os.environ)
    for name in list(os.environ):
        if name.lower().endswith('_proxy'):
            del os.environ[name]
    yield
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update(before)


@pytest.mark.usefixtures('environment')
@given(st.sampled_from(['HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'ws_proxy']), userinfos(), places,
       proxy_schemes)
def test_proxy_of_the_environment_shows_no_password(name, userinfo, place, scheme):
    value = scheme + userinfo + u'@' + place
    assume(not is_scheme(value))
    os.environ[name] = value if isinstance(value, str) else value.encode('utf-8')
    try:
        events, records, _websocket = _connect(url=u'ws://a.invalid/')
    finally:
        del os.environ[name]
    assert [event.name for event in events] == ['connecting', 'connect_fail']
    assert events[-1].phase == 'proxy'
    check_hidden(events, records)
