"""What a mistake of the caller's says: each error names what to do instead.

The first argument of each case is what is done, as a reader would write it.
"""

from __future__ import absolute_import, division, print_function

import datetime
import fractions
import re
import socket
import ssl

import pytest
import six

from lomond import WebSocket, sansio, wsgi
from lomond._hints import CALLS, OTHER_NAMES, OTHER_NAMES_OF
from lomond.drivers import QueuedClientSession
from lomond.persist import ReconnectPolicy, persist
from lomond.pool import Pool
from lomond.protocol.extensions.permessage_deflate import DeflateOptions
from lomond.server import Server
from lomond.testing import open_over

URL = u'ws://example.org/feed'

class Sink(object):
    """A transport that accepts everything, and keeps the frames."""

    is_secure = False

    def __init__(self):
        self.sent = []

    def send(self, data, timeout=None):
        self.sent.append(data)


def handler(websocket):
    pass


def make(**options):
    return WebSocket(URL, **options)


def serve(*args, **options):
    Server(*args, **options).close()


def fails(call, error, *words):
    """Check what a call raises, and that its words have these in them."""
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    for word in words:
        assert word in str(caught.value)


# -- options that belong elsewhere, or have another name elsewhere --

@pytest.mark.parametrize('call, words', [
    (lambda: make(ping_timeout=5), ['WebSocket()', 'ping_timeout', 'websocket.connect(']),
    (lambda: make(poll=1), ['websocket.connect(poll=', 'persist(websocket, poll=']),
    (lambda: make(max_attempts=3), ['ReconnectPolicy(max_attempts=']),
    (lambda: make(exit_event=None), ['persist(websocket, exit_event=']),
    (lambda: make(max_connections=5), ['Server(handler, max_connections=']),
    (lambda: make().connect(connect_timeout=5), ['connect()', 'WebSocket(url, connect_timeout=']),
    (lambda: make().connect(headers={}), ['WebSocket(url, headers=']),
    (lambda: make().connect(min_wait=1), ['persist(websocket, min_wait=']),
    (lambda: persist(make(), max_attempts=3), ['policy=ReconnectPolicy(max_attempts=']),
    (lambda: persist(make(), connect_timeout=3), ['WebSocket(url, connect_timeout=']),
    (lambda: ReconnectPolicy(exit_event=None), ['ReconnectPolicy()', 'persist(websocket, exit']),
    (lambda: persist(make(), urls=['ws://a']), ['persist() got', 'policy=ReconnectPolicy(urls=']),
    (lambda: persist(make(), auto_png=True), ['persist() got', 'did you mean auto_pong']),
    (lambda: persist(make(), exit_evnt=None), ['persist() got', 'did you mean exit_event']),
    (lambda: serve(handler, ssl_cafile='x'), ['Server()', 'WebSocket(url, ssl_cafile=']),
    (lambda: serve(handler, max_redirects=4), [
        'Server() got', 'a server has no such option; a client takes it in',
        'WebSocket(url, max_redirects=']),
    (lambda: serve(handler, connect_timeout=4), ['Server() got', 'use handshake_timeout=']),
    (lambda: serve(handler, ping_interval=4), ['Server() got', ': use ping_rate=']),
    (lambda: serve(handler, recv_timeout=4), ['Server() got', ': use ping_timeout=']),
    # other libraries' names
    (lambda: make(timeout=3), ['connect_timeout', 'write_timeout', 'ping_timeout']),
    (lambda: make().connect(timeout=3), ['connect_timeout']),
    (lambda: persist(make(), timeout=3), ['connect_timeout']),
    (lambda: make(header=['A: b']), ['headers=']),
    (lambda: make(extra_headers={}), ['headers=']),
    (lambda: make(additional_headers={}), ['headers=']),
    (lambda: make(on_message=print), ["for event in websocket", "'text'"]),
    (lambda: make(on_open=print), ["for event in websocket", "'ready'"]),
    (lambda: make(on_error=print), ["for event in websocket", "'connect_fail'"]),
    (lambda: make(sslopt={}), ['ssl_context=', 'ssl_verify=']),
    (lambda: make(ssl=None), ['ssl_context=']),
    (lambda: make(verify=False), ['ssl_verify=']),
    (lambda: make(subprotocols=['a']), ['protocols=']),
    (lambda: make(compression='deflate'), ['compress=']),
    (lambda: make(max_size=2 ** 20), ['max_message_size=']),
    (lambda: make().connect(recv_timeout=20), ['ping_timeout=', 'idle_timeout=']),
    (lambda: make(max_age=3600), ['websocket.connect(max_age=']),
    (lambda: make(ping_interval=20), ['websocket.connect(ping_rate=']),
    (lambda: make(heartbeat=20), ['websocket.connect(heartbeat=']),
    (lambda: make().connect(heartbeat_freq=20), ['websocket.connect(heartbeat=']),
    (lambda: serve(handler, heartbeat_freq=20), ['use heartbeat=']),
    (lambda: make(reconnect=5), ['persist(websocket)']),
    (lambda: make(http_proxy_host='proxy'), ['proxies=']),
    (lambda: make(proxy='http://proxy'), ['proxies=']),
    (lambda: make(origin='http://here'), ["headers={'Origin'"]),
    (lambda: make(cookie='a=b'), ["headers={'Cookie'", 'cookies=']),
    (lambda: make(auth=('me', 'pw')), ['user:password@']),
    (lambda: make(sockopt=[]), ['socket_options=']),
    # slips of the pen
    (lambda: make(ssl_verfy=False), ['did you mean ssl_verify']),
    (lambda: make().connect(ping_rat=5), ['did you mean ping_rate']),
    (lambda: serve(handler, hosts='x'), ['did you mean host']),
    (lambda: serve(handler, origin='https://x'), ['origins=']),
    (lambda: serve(handler, process_request=len), ['on_request=']),
    (lambda: serve(handler, path='/run/x'), ['unix_path=', 'on_request=']),
    (lambda: make(origins=['https://x']), ['Server(handler, origins=']),
    (lambda: serve(handler, on_connect=len), ['on_request=']),
    (lambda: serve(handler, idle_timeout=4), ['ping_timeout=']),
    (lambda: serve(handler, max_age=4), ['websocket.close()']),
    (lambda: serve(handler, spin=30e-6), ['a server has no such option', 'connect(spin=']),
    (lambda: make(spin=30e-6), ['websocket.connect(spin=']),
    (lambda: make().open(session_class=None, spin=30e-6), ['open() got', 'only a loop takes it']),
    (lambda: make().connect(policy=None), ['persist(websocket, policy=', 'aio.connect(']),
    (lambda: make().connect(max_queue=5), ['aio.connect(websocket, max_queue=']),
    # a pool's
    (lambda: Pool().add(make(), min_wait=3), ['pool.add(websocket, ReconnectPolicy(min_wait=']),
    (lambda: Pool().add(make(), reconnect=True), ['pool.add(websocket, ReconnectPolicy())']),
    (lambda: Pool().add(make(), max_retries=3), ['ReconnectPolicy(max_attempts=...))']),
    (lambda: Pool().add(make(), respect_retry_after=False), ['max_retry_after=None']),
    (lambda: Pool().add(make(), exit_event=None), ['pool.close()']),
    (lambda: Pool().add(make(), spin=30e-6), ['all its members at once', 'connect(spin=']),
    (lambda: Pool().add(make(), headers={}), ['WebSocket(url, headers=']),
    (lambda: Pool(policy=None), ['pool.add(websocket, policy=']),
    # lomond.sansio, which has no I/O
    (lambda: sansio.Client(URL, timeout=3), ['sansio.Client()', 'no sockets', 'keeps time']),
    (lambda: sansio.Client(URL, proxies={}), ['no sockets']),
    (lambda: sansio.Client(URL, ping_interval=3), ['keeps time']),
    (lambda: sansio.Client(URL, extra_headers={}), [': use headers=']),
    (lambda: sansio.Client(URL, port=80), ['part of the URL']),
    (lambda: sansio.Client(URL, autoping=False), ['use auto_pong=']),
    (lambda: sansio.Client(URL, message_part=True), ['did you mean message_parts']),
    (lambda: sansio.Server(subprotocols=['a']), ['sansio.Server()', 'use protocols=']),
    (lambda: sansio.Server(origins=['a']), ["get('Origin')", 'reject(403)']),
    (lambda: sansio.Server(ping_rate=3), ['keeps time']),
    (lambda: sansio.Server(handler=len), ['receive(data)']),
    (lambda: sansio.Server().accept(compress=True), ['accept()', 'extensions=[PermessageDeflate]']),
    (lambda: sansio.Server().accept(header={}), ['use headers=']),
    # those of a WSGI server
    (lambda: wsgi.websocket_app(handler, threads=1), ['websocket_app()', 'detach=True']),
    # a driver's
    (lambda: make().new_session(QueuedClientSession).begin(pingrate=1), ['begin()', 'ping_rate']),
    # and unknown ones
    (lambda: make(no_such_thing=1), ['WebSocket()', "unexpected keyword argument 'no_such_thing'"]),
])
def test_an_unknown_option_says_where_it_belongs(call, words):
    fails(call, TypeError, *words)


def test_every_hint_names_options_that_there_are():
    known = set().union(*(names for _name, _usage, names in CALLS))
    # A client's, that is: a server has these.
    assert known.intersection(OTHER_NAMES) == {'handshake_timeout', 'host', 'port'}
    for words in [words for names in [OTHER_NAMES] + list(OTHER_NAMES_OF.values())
                  for words in names.values()]:
        for name in re.findall(r'\b([a-z_]+)=', words):
            assert name in known, words


#: The calls that explain options, by their names in errors.
EXPLAINING = {
    'WebSocket': make,
    'connect': lambda **options: make().connect(**options),
    'open': lambda **options: make().open(**options),
    'begin': lambda **options: make().new_session(QueuedClientSession).begin(**options),
    'persist': lambda **options: persist(make(), **options),
    'ReconnectPolicy': ReconnectPolicy,
    'Pool': Pool,
    'add': lambda **options: Pool().add(make(), **options),
    'Server': lambda **options: serve(handler, **options),
    'wsgi.upgrade': lambda **options: wsgi.upgrade({}, **options),
    'websocket_app': lambda **options: wsgi.websocket_app(handler, **options),
    'sansio.Client': lambda **options: sansio.Client(URL, **options),
    'sansio.Server': sansio.Server,
    'accept': lambda **options: sansio.Server().accept(**options),
}
if six.PY3:
    from lomond import aio
    EXPLAINING['aio.connect'] = lambda **options: aio.connect(make(), **options)
    EXPLAINING['aio.pool'] = lambda **options: aio.pool(Pool(), **options)
    EXPLAINING['aio.serve'] = lambda **options: aio.serve(handler, **options)

#: What a hint says of an option of another call: websocket.connect(poll=...), write_timeout= of
#: WebSocket(), and what follows these words.
OF_ANOTHER = re.compile(
    r'[\w.]+\((?:[^()]|\([^()]*\))*\)|[a-z_]+= (?:and [a-z_]+= )?of \w|[a-z_]+=None in its \w'
    r'|(?:for a client|for WebSocket\(\)): .*')


def explain(call, option):
    """Return what the TypeError of a call says after the name of the option; None if it has it."""
    try:
        EXPLAINING[call](**{option: object()})
    except Exception as error:      # for the value, or for another option
        found = re.search(
            r"unexpected keyword argument '{}'(?:: (.*))?\Z".format(option), str(error))
        return None if found is None else found.group(1) or ''
    return None


@pytest.mark.parametrize('call', sorted(EXPLAINING))
def test_a_hint_names_options_of_the_call_itself_or_says_whose_they_are(call):
    assert {name for name in OTHER_NAMES_OF.get(call, ()) if explain(call, name) is None} == set()
    for option in set(OTHER_NAMES).union(OTHER_NAMES_OF.get(call, ())):
        for name in re.findall(r'\b([a-z_]+)=', OF_ANOTHER.sub('', explain(call, option) or '')):
            assert explain(call, name) is None, (option, name)


@pytest.mark.parametrize('call, option, hint', [
    ('open', 'ping_interval', 'pings are sent automatically: set ping_rate=, in seconds'),
    ('persist', 'timeout', ('use connect_timeout= and write_timeout= of WebSocket(), or '
                            'ping_timeout= and close_timeout=, in seconds')),
    ('add', 'autoping', 'use auto_pong= to choose whether pings are answered'),
    ('Server', 'autoping', 'use auto_pong= to choose whether pings are answered'),
    ('Server', 'writer_limit',
     'use max_queue=, in bytes; Server() takes it with threads=False only'),
    ('Server', 'verify', ('a server has no such option; for a client: use ssl_verify=False to '
                          'accept any certificate')),
    ('wsgi.upgrade', 'writer_limit', 'it is an option of the Pool that drives the connection'),
    ('connect', 'extra_headers', 'it is for WebSocket(): use headers='),
    ('Pool', 'verify', 'it is for WebSocket(): use ssl_verify=False to accept any certificate'),
    ('accept', 'verify', ''),
])
def test_a_hint_is_in_words_that_fit_the_call(call, option, hint):
    assert explain(call, option) == hint


def test_persist_passes_any_option_on_to_a_connect_of_the_user_s():
    class Own(WebSocket):
        def connect(self, depth=0, **options):
            self.depth = depth
            return super(Own, self).connect(**options)

    websocket = Own(URL)
    persist(websocket, depth=3)
    assert websocket.depth == 3


@pytest.mark.parametrize('value', [0, 1, None, True, False])
def test_a_flag_may_be_a_number_or_none(value):
    make().connect(auto_pong=value)
    Pool(keep_outbox=value, ends_when_empty=value)


@pytest.mark.parametrize('name, call', [
    ('auto_pong', lambda value: make().connect(auto_pong=value)),
    ('stale_disconnects', lambda value: make().connect(stale_disconnects=value, idle_timeout=1)),
    ('auto_pong', lambda value: persist(make(), auto_pong=value)),
    ('respect_retry_after', lambda value: persist(make(), respect_retry_after=value)),
    ('keep_outbox', lambda value: Pool(keep_outbox=value)),
    ('ends_when_empty', lambda value: Pool(ends_when_empty=value)),
    ('auto_pong', lambda value: Pool().add(make(), auto_pong=value)),
    ('auto_pong', lambda value: serve(handler, auto_pong=value)),
    ('reuse_port', lambda value: serve(handler, reuse_port=value)),
    ('threads', lambda value: serve(handler, threads=value)),
])
@pytest.mark.parametrize('value', ['no', b'x', 3, [True]])
def test_a_flag_is_true_or_false(name, call, value):
    fails(lambda: call(value), TypeError, '{} must be True or False, not '.format(name))


@pytest.mark.parametrize('given', [[make()], (make(),), make()], ids=['list', 'tuple', 'one'])
def test_a_pool_says_how_it_gets_its_members(given):
    fails(lambda: Pool(given), TypeError, 'pool.add(websocket)')


@pytest.mark.parametrize('call', [
    lambda pool: pool.broadcast(u'x', tag='a'),
    lambda pool: pool.polling(),
    lambda pool: pool.remove(),
    lambda pool: pool.clear_outbox(),
    lambda pool: pool.close(now=True),
])
def test_no_name_of_a_class_that_is_not_public_is_shown(call):
    with pytest.raises(TypeError) as caught:
        call(Pool())
    assert 'Crowd' not in str(caught.value)


def test_a_type_error_of_the_body_keeps_its_words():
    fails(lambda: make(proxies='http://localhost'), TypeError, 'proxies must be a dict')


def test_arguments_that_are_missing_or_too_many_are_python_s_own_affair():
    fails(WebSocket, TypeError, 'url' if not six.PY2 else 'argument')
    fails(lambda: make().connect(*range(20)), TypeError, 'argument')


# -- persist --

class Fake(object):
    """Has what `persist` needs of a WebSocket."""

    last_close = None

    def connect(self, **_options):
        return iter([])

    def close(self):
        pass


@pytest.mark.parametrize('given, words', [
    (URL, ['not a URL', "persist(WebSocket('ws://...'))"]),
    (b'ws://user:secret@example.org', ['not a URL']),
    (WebSocket, ['WebSocket(url)', 'not the class']),
    (make().connect(), ['not its iterator']),
    (None, ['not None']),
    (object(), ['connect']),
    (Pool(), ['not a Pool', 'pool.add(websocket, ReconnectPolicy())']),
    (5, ['persist takes a WebSocket']),
])
def test_persist_says_what_it_takes(given, words):
    fails(lambda: persist(given), TypeError, 'persist takes a WebSocket', *words)


def test_persist_shows_no_password():
    with pytest.raises(TypeError) as caught:
        persist('ws://me:secret@example.org/')
    assert 'secret' not in str(caught.value)


@pytest.mark.parametrize('missing', ['connect', 'close', 'last_close'])
def test_persist_says_what_a_stand_in_for_a_websocket_has_to_have(missing):
    members = {name: value for name, value in vars(Fake).items() if name != missing}
    fails(lambda: persist(type('Other', (object,), members)()), TypeError, 'Other', missing)


def test_persist_takes_what_has_the_members_of_a_websocket():
    loop = persist(Fake(), min_wait=0, max_wait=0)
    assert next(loop).name == 'back_off'
    loop.close()


# -- numbers --

if six.PY2:
    LONG = long     # noqa: F821
else:
    LONG = int


class Subclass(int):
    """As numpy.int64 is on 2.7."""


class Index(object):
    """A whole number of some other kind, such as numpy's."""

    def __init__(self, value):
        self._value = value

    def __index__(self):
        return self._value


SECONDS = [5, 5.0, LONG(5), fractions.Fraction(11, 2)]
COUNTS = [1009, LONG(1009), Subclass(1009), Index(1009)]


@pytest.mark.parametrize('given', SECONDS, ids=lambda given: type(given).__name__)
def test_seconds_are_any_real_number(given):
    websocket = make(connect_timeout=given, write_timeout=given, tcp_keepalive=given)
    assert websocket.connect_timeout == given
    assert isinstance(websocket.connect_timeout, (float,) + six.integer_types)
    websocket.connect(
        poll=given, ping_rate=given, ping_timeout=given, close_timeout=given, idle_timeout=given,
        max_age=given, heartbeat=given).close()
    websocket.connect(spin=given / LONG(10)).close()
    persist(websocket, min_wait=given, max_wait=given, stable_after=given).close()
    ReconnectPolicy(given, given, given, max_outage=given, max_retry_after=given)


@pytest.mark.parametrize('given', COUNTS, ids=lambda given: type(given).__name__)
def test_counts_are_any_whole_number(given):
    websocket = make(max_message_size=given, max_redirects=given,
                     socket_options=[(socket.SOL_SOCKET, given, given)])
    assert type(websocket.max_message_size) in six.integer_types
    websocket.close(given, u'')
    policy = ReconnectPolicy(max_attempts=given, stop_on_code=[given, [given]])
    assert policy.stop_on_code == {1009}


@pytest.mark.parametrize('given', [LONG(9), Index(9)])
def test_the_numbers_of_compression_and_ports_are_any_whole_number(given):
    options = DeflateOptions(
        server_max_window_bits=given, client_max_window_bits=given, level=given, mem_level=given)
    assert type(options.level) in six.integer_types
    make(source_address=('127.0.0.1', given))


@pytest.mark.parametrize('call, words', [
    (lambda: make(max_message_size=1e6), ['max_message_size', 'int(1000000.0)']),
    (lambda: make(max_redirects=2.0), ['max_redirects', 'int(2.0)']),
    (lambda: make(max_message_size='64M'), ['integer', 'None for no limit']),
    (lambda: make(connect_timeout=datetime.timedelta(0, 5)), ['total_seconds()']),
    (lambda: make(write_timeout='5'), ['number of seconds']),
    (lambda: make().close(1000.0), ['close code', 'int(1000.0)']),
    (lambda: ReconnectPolicy(max_attempts=3.0), ['int(3.0)']),
])
def test_a_number_of_another_type_says_which_to_write(call, words):
    fails(call, TypeError, *words)


# -- TLS --

@pytest.mark.parametrize('given, words', [
    ('/ca.pem', ['ssl_cafile']),
    (u'/ca.pem', ['ssl_cafile']),
    (ssl.create_default_context(), ['ssl_context']),
    (ssl.CERT_REQUIRED, ['True']),
    (None, ['True or False']),
])
def test_ssl_verify_is_true_or_false(given, words):
    fails(lambda: make(ssl_verify=given), TypeError, 'ssl_verify', *words)


# -- sending --

@pytest.mark.parametrize('call, words', [
    (lambda ws: ws.send_text({'a': 1}), ['send_text', 'dict', 'send_json']),
    (lambda ws: ws.send_text([1]), ['list', 'send_json']),
    (lambda ws: ws.send_text(b'x'), ['send_utf8', 'send_binary', 'decode']),
    (lambda ws: ws.send_utf8(u'x'), ['send_utf8', 'send_text']),
    (lambda ws: ws.send_utf8({'a': 1}), ['send_json']),
    (lambda ws: ws.send_text(None), ['NoneType']),
    (lambda ws: ws.send_text(5), ['an iterable of these', 'int']),
    (lambda ws: ws.send_binary(5), ['an iterable of these', 'int']),
    (lambda ws: ws.send_binary(u'x'), ['send_binary', 'send_text']),
    (lambda ws: ws.send_binary({'a': 1}), ['send_json']),
    (lambda ws: ws.send_ping(u'x'), ['send_ping', 'bytes']),
    (lambda ws: ws.send_many(u'x'), ['several messages', 'list']),
    (lambda ws: ws.send_many([{'a': 1}]), ['send_json']),
])
def test_a_message_of_the_wrong_type_names_the_method_that_takes_it(call, words):
    fails(lambda: call(make()), TypeError, *words)


NAN, INFINITY = float('nan'), float('inf')


@pytest.mark.parametrize('value', [
    NAN, INFINITY, -INFINITY, {'a': [NAN]}, [1.0, [INFINITY]]], ids=repr)
def test_send_json_refuses_what_json_has_no_number_for(value):
    fails(lambda: make().send_json(value), ValueError, 'NaN', 'RFC 8259', 'json_dumps=')
    fails(lambda: make().send_json(value=value), ValueError, 'RFC 8259')


def test_send_json_leaves_such_numbers_to_the_caller_s_own_writer():
    sink = Sink()
    open_over(sink, json_dumps=lambda value: u'NaN').send_json(NAN)
    assert sink.sent


def test_send_json_of_what_holds_itself_keeps_its_words():
    looped = []
    looped.append(looped)
    fails(lambda: make().send_json(looped), ValueError, 'Circular')


LONE = u'a secret \ud800 text'


@pytest.mark.parametrize('call', [
    lambda: make().send_text(LONE),
    lambda: make().send_many([u'x', LONE]),
    lambda: make().close(1000, LONE),
    lambda: make(headers={'X-A': LONE}),
    lambda: make().add_header(u'X-A', LONE),
    lambda: make(agent=LONE),
    lambda: make(json_dumps=lambda _value: LONE).send_json(1),
], ids=['send_text', 'send_many', 'close', 'headers', 'add_header', 'agent', 'json_dumps'])
def test_a_lone_surrogate_says_what_to_do_and_shows_no_text(call):
    with pytest.raises(ValueError) as caught:
        call()
    assert 'surrogate' in str(caught.value)
    assert 'U+D800' in str(caught.value)
    assert 'replace' in str(caught.value)
    assert 'secret' not in str(caught.value) + repr(caught.value)


@pytest.mark.parametrize('url', [
    u'ws://example.org/' + LONE, u'ws://example.org/?' + LONE,
    u'ws://me:' + LONE + u'@example.org/'])
def test_a_lone_surrogate_in_a_url_is_to_be_percent_encoded(url):
    with pytest.raises(ValueError) as caught:
        WebSocket(url)
    assert 'not UTF-8: percent-encode' in str(caught.value)
    assert 'secret' not in str(caught.value) + repr(caught.value)


@pytest.mark.parametrize('call', [
    lambda: make(json_dumps=lambda _value: b'a secret \xff').send_json(1),
    lambda: make().close(1000, b'a secret \xff'),
    lambda: make(agent=b'a secret \xff'),
])
def test_bytes_that_are_not_utf_8_say_so_and_are_not_shown(call):
    with pytest.raises(ValueError) as caught:
        call()
    assert 'UTF-8' in str(caught.value)
    assert 'secret' not in str(caught.value) + repr(caught.value)


# -- the server --


def test_a_server_without_a_handler_says_what_comes_first():
    fails(lambda: serve('127.0.0.1', 8000), TypeError, 'Server(handler, host, port)')
