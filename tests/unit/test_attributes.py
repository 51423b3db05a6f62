"""Parameters of a WebSocket as attributes: checked when set, used by the next connection."""

from __future__ import absolute_import, division, print_function

import logging
import socket
import ssl

import pytest

from lomond import WebSocket
from lomond.http.url import ProxyTarget
from lomond.protocol.extensions.permessage_deflate import DeflateOptions, PermessageDeflate
from lomond.server import ServerWebSocket
from tests.support import get_header, make_frame
from tests.unit.test_surface import parameters_of

URL = u'wss://example.org/feed'

CONTEXT = ssl.create_default_context()

ADAPTER = logging.LoggerAdapter(logging.getLogger('feed'), {})


def first_resolver(*_args):
    return []


def second_resolver(*_args):
    return []


#: Of each parameter: a value to begin with, another one, one that is refused, and the error.
PARAMETERS = {
    'url': (URL, u'ws://other.example/', u'http://example.org/', ValueError),
    'proxies': ({}, {'https': 'http://proxy:3128'}, {'http': 'ftp://x'}, ValueError),
    'protocols': ([u'a'], [u'b', u'c'], u'chat', TypeError),
    'agent': (u'mine/1', u'mine/2', u'a\r\nb', ValueError),
    'compress': (False, True, 'yes', TypeError),
    'ssl_verify': (True, False, '/ca.pem', TypeError),
    'ssl_cafile': (None, __file__, '/no/such/file', ValueError),
    'ssl_context': (None, CONTEXT, 5, TypeError),
    'trace': (None, print, 5, TypeError),
    'max_message_size': (10, 2 ** 20, 1e6, TypeError),
    'connect_timeout': (1.0, None, -1, ValueError),
    'write_timeout': (1.0, None, '5', TypeError),
    'headers': ({u'X-A': u'1'}, [(u'X-B', u'2')], {u'Host\r\n': u''}, ValueError),
    'cookies': (None, None, 5, TypeError),
    'netrc': (False, __file__, '/no/such/file', ValueError),
    'max_redirects': (1, 0, -1, ValueError),
    'ssl_certfile': (None, __file__, '/no/such/file', ValueError),
    'ssl_keyfile': (None, None, '/no/such/file', ValueError),
    'ssl_server_hostname': (u'one.example', u'two.example', u'', ValueError),
    'ssl_fingerprint': ('0' * 64, ['1' * 64], 'x', ValueError),
    'source_address': ('127.0.0.1', ('127.0.0.1', 5000), 'localhost', ValueError),
    'tcp_keepalive': (60.0, None, True, TypeError),
    'socket_options': ((), [(1, 2, 3)], [5], TypeError),
    'sock': (None, socket.socket, 5, TypeError),
    'resolver': (first_resolver, second_resolver, 5, TypeError),
    'json_loads': (None, float, 5, TypeError),
    'json_dumps': (None, repr, 5, TypeError),
    'fragment_size': (1, None, 0, ValueError),
    'max_read_ahead': (1, None, 1e6, TypeError),
    'extensions': ((), (PermessageDeflate,), PermessageDeflate, TypeError),
    'message_parts': (False, max, 'yes', TypeError),
    'text_as_bytes': (False, True, 'yes', TypeError),
    'logger': (logging.getLogger('lomond'), ADAPTER, 'feed', TypeError),
}

#: Of parameters whose attribute has another name: that name.
RENAMED = {'extensions': 'extension_factories'}


def test_every_parameter_is_an_attribute_that_is_tested_here():
    assert set(PARAMETERS) == {name for name, _default in parameters_of(WebSocket)}


@pytest.mark.parametrize('name', sorted(PARAMETERS))
def test_an_attribute_is_set_to_what_the_constructor_takes_and_to_nothing_else(name):
    first, second, wrong, error = PARAMETERS[name]
    websocket = WebSocket(**dict({'url': URL}, **{name: first}))
    attribute = RENAMED.get(name, name)
    assert getattr(websocket, attribute) == first
    with pytest.raises(error) as at_the_constructor:
        WebSocket(**dict({'url': URL}, **{name: wrong}))
    with pytest.raises(error) as when_set:
        setattr(websocket, attribute, wrong)
    assert str(when_set.value) == str(at_the_constructor.value)
    assert getattr(websocket, attribute) == first
    setattr(websocket, attribute, second)
    assert getattr(websocket, attribute) == second


def test_the_request_uses_what_was_set():
    websocket = WebSocket(URL, headers={u'X-A': u'1'})
    websocket.add_header(u'X-Added', u'here')
    websocket.agent = u'other/1'
    websocket.protocols = [u'one', u'two']
    websocket.compress = DeflateOptions(server_no_context_takeover=True)
    websocket.headers = lambda: {u'X-B': u'2'}
    request = websocket.build_request()
    assert get_header(request, b'User-Agent') == b'other/1'
    assert get_header(request, b'Sec-WebSocket-Protocol') == b'one, two'
    assert b'server_no_context_takeover' in get_header(request, b'Sec-WebSocket-Extensions')
    assert get_header(request, b'X-A') is None
    assert get_header(request, b'X-B') == b'2'
    assert get_header(request, b'X-Added') == b'here'


def test_the_agent_of_the_package_comes_back():
    websocket = WebSocket(URL, agent=u'mine/1')
    before = WebSocket(URL).agent
    websocket.agent = None
    assert websocket.agent == before


def test_a_netrc_file_and_a_cookie_jar_may_be_set(tmpdir):
    path = tmpdir.join('netrc')
    path.write('machine example.org login me password pw\n')
    websocket = WebSocket(URL)
    websocket.netrc = str(path)
    websocket.cookies = True
    assert get_header(websocket.build_request(), b'Authorization').startswith(b'Basic ')
    other = WebSocket(URL, cookies=websocket.cookies)
    assert other.cookies is websocket.cookies is not None
    websocket.netrc = False
    websocket.cookies = None
    assert get_header(websocket.build_request(), b'Authorization') is None
    assert websocket.cookies is None


def test_the_way_to_the_server_uses_what_was_set():
    websocket = WebSocket(URL)
    websocket.proxies = {'https': 'http://proxy.example:3128'}
    websocket.source_address = '127.0.0.1'
    websocket.tcp_keepalive = 7
    websocket.socket_options = [(1, 2, 3)]
    websocket.resolver = second_resolver
    options = websocket.net_options
    assert options.proxies == {
        'https': ProxyTarget(u'http', u'proxy.example', 3128, None)}
    assert options.source_address == ('127.0.0.1', 0)
    assert options.tcp_keepalive == 7
    assert options.socket_options == ((1, 2, 3),)
    assert options.resolver is second_resolver


@pytest.mark.parametrize('name, value', [
    ('ssl_verify', False), ('ssl_context', CONTEXT), ('ssl_server_hostname', 'two.example'),
    ('ssl_fingerprint', '1' * 64)])
def test_tls_that_was_set_begins_without_the_sessions_of_before(name, value):
    """What was verified by other rules must not be resumed."""
    websocket = WebSocket(URL, ssl_server_hostname='one.example')
    before, tls = websocket.net_options.tls, websocket.dialer.tls
    websocket.proxies = {}
    assert websocket.net_options.tls is before
    assert websocket.dialer.tls is tls
    setattr(websocket, name, value)
    assert websocket.net_options.tls != before
    assert websocket.dialer.tls is not tls


def test_a_context_that_is_set_again_begins_without_the_sessions_of_before():
    """Its user has loaded another certificate into it."""
    websocket = WebSocket(URL, ssl_context=CONTEXT)
    tls = websocket.dialer.tls
    websocket.ssl_context = CONTEXT
    assert websocket.dialer.tls is not tls


def test_messages_use_what_was_set_from_the_next_connection_on():
    websocket = WebSocket(URL)
    websocket.max_message_size = 3
    websocket.json_loads = float
    websocket.stream.accept()
    event, = websocket.feed(make_frame(1, b'1234'))
    assert event.json == 1234
    assert type(event.json) is int
    websocket.on_disconnect()
    websocket.reset()
    websocket.stream.accept()
    event, = websocket.feed(make_frame(1, b'123'))
    assert type(event.json) is float
    event, = websocket.feed(make_frame(1, b'1234'))
    assert event.close_code == 1009


def test_a_subclass_may_set_attributes_before_the_constructor_and_its_own_after():
    class Mine(WebSocket):
        def __init__(self, url):
            self.ssl_cafile = __file__
            self.mine = 1
            super(Mine, self).__init__(url, ssl_cafile=self.ssl_cafile)
            self.ssl_verify = False
            self.mine = 2

    websocket = Mine(URL)
    assert websocket.mine == 2
    assert websocket.net_options.tls.verify is False
    assert websocket.net_options.tls.cafile == __file__


def test_what_was_agreed_on_with_a_client_can_not_be_set():
    websocket = ServerWebSocket(None, 'here')
    for name in ('protocols', 'compress', 'max_message_size', 'json_loads', 'fragment_size',
                 'max_read_ahead'):
        before = getattr(websocket, name)
        with pytest.raises(AttributeError) as caught:
            setattr(websocket, name, before)
        assert 'Server(handler, {}='.format(name) in str(caught.value)
    websocket.write_timeout = 5
    websocket.json_dumps = repr
    websocket.logger = ADAPTER
    with pytest.raises(TypeError):
        websocket.write_timeout = 'x'
