"""What a user may import, with its names, parameters and defaults: none may go or change.

More parameters may come, at the end and with defaults.
"""

from __future__ import absolute_import, division, print_function

import ast
import importlib
import inspect
import re
import sys

import pytest
import six

import lomond
from lomond import _core
from lomond.errors import WebSocketError
from lomond.session import WebsocketSession
from lomond.websocket import WebSocket
from tests.support import read_source

#: Callables, methods without self. A parameter without a default may get one.
SIGNATURES = {
    'lomond.websocket.WebSocket':
        'url, proxies=None, protocols=None, agent=None, compress=False, ssl_verify=True, '
        'ssl_cafile=None, ssl_context=None, trace=None',
    'lomond.websocket.WebSocket.attach':
        "sock, role='client', protocol=None, extensions=(), rest=b'', response=None, url=None",
    'lomond.websocket.WebSocket.add_header': 'header, value',
    'lomond.websocket.WebSocket.connect':
        'session_class=WebsocketSession, poll=5.0, ping_rate=30.0, ping_timeout=None, '
        'auto_pong=True, close_timeout=30.0, idle_timeout=None, stale_disconnects=False, '
        'max_age=None, spin=0.0, heartbeat=None',
    'lomond.websocket.WebSocket.open': 'timeout=None, background=False',
    'lomond.websocket.WebSocket.receive': 'timeout=None',
    'lomond.websocket.WebSocket.messages': '',
    'lomond.websocket.WebSocket.ping': 'timeout=None',
    'lomond.websocket.WebSocket.wait_ready': 'timeout=None',
    'lomond.server.ServerWebSocket.receive': 'timeout=None',
    'lomond.server.ServerWebSocket.messages': '',
    'lomond.server.ServerWebSocket.ping': 'timeout=None',
    'lomond.websocket.WebSocket.send_text': 'text, compress=True',
    'lomond.websocket.WebSocket.send_binary': 'data, compress=True',
    'lomond.websocket.WebSocket.send_utf8': 'data, compress=True',
    'lomond.websocket.WebSocket.send_ping': "data=b''",
    'lomond.websocket.WebSocket.send_pong': 'data',
    'lomond.websocket.WebSocket.close': "code=1000, reason=u'goodbye'",
    'lomond.websocket.WebSocket.force_disconnect': '',
    'lomond.websocket.WebSocket.reset': '',
    'lomond.websocket.WebSocket.fileno': '',
    'lomond.websocket.WebSocket.reconnect_now': '',
    'lomond.websocket.WebSocket.feed': 'data',
    'lomond.websocket.WebSocket.build_request': '',
    'lomond.websocket.WebSocket.on_response': 'response',
    'lomond.websocket.WebSocket.process_extensions': 'extensions',
    'lomond.websocket.WebSocket.on_disconnect': '',
    'lomond.websocket.WebSocket.new_session': 'session_class',
    'lomond.drivers.QueuedClientSession': 'websocket',
    'lomond.drivers.QueuedClientSession.step': '',
    'lomond.drivers.QueuedClientSession.time_left': '',
    'lomond.drivers.QueuedClientSession.wake': '',
    'lomond.drivers.QueuedClientSession.dispose': '',
    'lomond.drivers.QueuedClientSession.begin':
        'poll=None, ping_rate=30.0, ping_timeout=None, auto_pong=True, close_timeout=30.0',
    'lomond.session.WebsocketSession': 'websocket',
    'lomond.session.WebsocketSession.close': '',
    'lomond.session.WebsocketSession.force_disconnect': '',
    'lomond.session.WebsocketSession.write': 'data',
    'lomond.session.WebsocketSession.send': 'opcode, data',
    'lomond.session.WebsocketSession.send_compressed': 'opcode, data',
    'lomond.session.WebsocketSession.run':
        'poll=5, ping_rate=30, ping_timeout=None, auto_pong=True, close_timeout=None, '
        'idle_timeout=None, stale_disconnects=False, max_age=None, spin=0.0, heartbeat=None',
    'lomond.persist.persist':
        'websocket, poll=5, min_wait=5, max_wait=30, ping_rate=30, ping_timeout=None, '
        'exit_event=None, respect_retry_after=True',
    'lomond.pool.Pool':
        "max_queue=1048576, overflow='raise', keep_outbox=False, max_dialing=100, dial_rate=None, "
        'ends_when_empty=True',
    'lomond.pool.Pool.add':
        'websocket, policy=None, tag=None, poll=None, ping_rate=30.0, ping_timeout=None, '
        'auto_pong=True, close_timeout=30.0, idle_timeout=None, stale_disconnects=False, '
        'max_age=None, heartbeat=None',
    'lomond.pool.Pool.remove': 'websocket, close=True',
    'lomond.pool.Pool.polling': 'seconds',
    'lomond.pool.Pool.broadcast': 'message, websockets=None, compress=True',
    'lomond.pool.Pool.clear_outbox': 'websocket',
    'lomond.pool.Pool.close': "code=1001, reason=u'', timeout=10.0",
    'lomond.server.Server':
        "handler=None, host=u'127.0.0.1', port=0, ssl_context=None, protocols=None, "
        'compress=False, max_message_size=67108864, handshake_timeout=10.0, write_timeout=30.0, '
        'max_connections=100, close_timeout=10.0, poll=5.0, ping_rate=30.0, ping_timeout=None, '
        'auto_pong=True, json_loads=None, json_dumps=None, fragment_size=1048576, '
        'max_read_ahead=67108864, origins=None, on_request=None, unix_path=None, '
        "reuse_port=False, threads=True, max_queue=1048576, overflow='raise', extensions=(), "
        'message_parts=False, text_as_bytes=False, heartbeat=None',
    'lomond.server.ServerWebSocket.fileno': '',
    'lomond.server.Server.start': '',
    'lomond.server.Server.serve_forever': '',
    'lomond.server.Server.polling': 'seconds',
    'lomond.server.Server.broadcast': 'message, websockets=None, compress=True',
    'lomond.server.Server.remove': 'websocket, close=True',
    'lomond.server.Server.close': "code=1001, reason=u'server shutting down'",
    'lomond.sansio.Client':
        'url, protocols=None, agent=None, compress=False, headers=None, '
        'max_message_size=67108864, json_loads=None, json_dumps=None, fragment_size=1048576, '
        'extensions=(), message_parts=False, text_as_bytes=False, auto_pong=True, '
        'rejected_parts=False',
    'lomond.sansio.Client.receive': 'data',
    'lomond.sansio.Client.events': '',
    'lomond.sansio.Client.data_to_send': '',
    'lomond.sansio.Client.send_text': 'text, compress=True, message_finished=True',
    'lomond.sansio.Client.send_binary': 'data, compress=True, message_finished=True',
    'lomond.sansio.Client.send_utf8': 'data, compress=True, message_finished=True',
    'lomond.sansio.Client.send_ping': "data=b''",
    'lomond.sansio.Client.send_pong': 'data',
    'lomond.sansio.Client.close': "code=1000, reason=u'goodbye'",
    'lomond.sansio.Server':
        'protocols=None, compress=False, max_message_size=67108864, json_loads=None, '
        'json_dumps=None, fragment_size=1048576, extensions=(), message_parts=False, '
        'text_as_bytes=False, auto_pong=True',
    'lomond.sansio.Server.from_request': 'method, target, headers',
    'lomond.sansio.Server.accept': 'protocol=None, extensions=None, headers=()',
    'lomond.sansio.Server.reject': "status, headers=(), body=b''",
    'lomond.sansio.Server.reject_data': 'chunk, finished=False',
    'lomond.sansio.Request': 'request',
    'lomond.sansio.RejectedPart': 'data, message_finished',
    'lomond.sansio.Connection': 'role',
    'lomond.sansio.Connection.receive': 'data',
    'lomond.sansio.Connection.encode': 'opcode, payload, compress=False',
    'lomond.sansio.Connection.encode_close': "code=1000, reason=u''",
    'lomond.sansio.Connection.take_pending': '',
    'lomond.sansio.Connection.accept': 'deflate=None, extensions=()',
    'lomond.sansio.Connection.disconnect': '',
    'lomond.events.Connecting': 'url',
    'lomond.events.ConnectFail': 'reason',
    'lomond.events.Connected': 'url, proxy=None',
    'lomond.events.Ready': 'response, protocol, extensions, connection=1',
    'lomond.events.Rejected': 'response, reason',
    'lomond.events.Text': 'text',
    'lomond.events.Binary': 'data',
    'lomond.events.Ping': 'data',
    'lomond.events.Pong': 'data',
    'lomond.events.Closing': 'code, reason',
    'lomond.events.Closed': 'code, reason',
    'lomond.events.Disconnected': "reason=u'closed', graceful=False",
    'lomond.events.ProtocolError': 'error, critical',
    'lomond.events.Unresponsive': '',
    'lomond.events.Stale': 'idle',
    'lomond.events.Poll': '',
    'lomond.events.BackOff': 'delay',
    'lomond.events.UnknownMessage': 'message',
    'lomond.errors.WebSocketError': 'msg',
    'lomond.har.read_har': 'path',
    'lomond.opcode.Opcode.to_str': 'opcode',
    'lomond.status.Status.to_str': 'code',
    'lomond.response.Response': 'header_data',
    'lomond.response.Response.get': 'name, default=None',
    'lomond.response.Response.get_list': 'name',
}

#: What the documents have named, and users may import.
IMPORTS = [
    'lomond.accelerated',
    'lomond.WebSocket',
    'lomond.__version__',
    'lomond.constants.USER_AGENT',
    'lomond.errors.Phase',
    'lomond.errors.WebSocketError',
    'lomond.drivers.QueuedClientSession',
    'lomond.drivers.READ',
    'lomond.drivers.WRITE',
    'lomond.events.AnyEvent',
    'lomond.events.Text',
    'lomond.examples.btcticker',
    'lomond.examples.feed',
    'lomond.extensions.DeflateOptions',
    'lomond.har.Message',
    'lomond.har.Recording',
    'lomond.net.tls.server_context',
    'lomond.opcode.Opcode',
    'lomond.persist.ReconnectPolicy',
    'lomond.persist.persist',
    'lomond.persist.random',        # programs' tests patch it
    'lomond.pool.Pool',
    'lomond.protocol.compression.DeflateOptions',
    'lomond.response.Response',
    'lomond.sansio.CLIENT',
    'lomond.sansio.Client',
    'lomond.sansio.ClientEvent',
    'lomond.sansio.Connection',
    'lomond.sansio.RejectedPart',
    'lomond.sansio.Request',
    'lomond.sansio.SERVER',
    'lomond.sansio.Server',
    'lomond.sansio.ServerEvent',
    'lomond.sansio.StateName',
    'lomond.server.Refusal',
    'lomond.server.Request',
    'lomond.server.Server',
    'lomond.server.ServerEvent',
    'lomond.server.ServerReady',
    'lomond.server.ServerWebSocket',
    'lomond.session.WebsocketSession',
    'lomond.stats.Stats',
    'lomond.status.Status',
    'lomond.testing.Clock',
    'lomond.testing.FakeWebSocket',
    'lomond.testing.Inside',
    'lomond.testing.ScriptedServer',
    'lomond.testing.accept',
    'lomond.testing.call',
    'lomond.testing.close',
    'lomond.testing.drop',
    'lomond.testing.expect',
    'lomond.testing.fragment',
    'lomond.testing.open_over',
    'lomond.testing.ping',
    'lomond.testing.raw',
    'lomond.testing.redirect',
    'lomond.testing.reject',
    'lomond.testing.replay',
    'lomond.testing.replay_server',
    'lomond.testing.reset',
    'lomond.testing.say',
    'lomond.testing.skip_back_offs',
    'lomond.testing.split',
    'lomond.testing.stall',
    'lomond.testing.wait',
    'lomond.tls.server_context',
    'lomond.websocket.CloseFrame',
    'lomond.websocket.StateName',
    'lomond.websocket.TraceRecord',
    'lomond.websocket.WebSocket',
]

if not six.PY2:
    SIGNATURES.update({
        'lomond.aio.connect': 'websocket, policy=None, max_queue=1048576',
        'lomond.aio.pool': 'pool',
        'lomond.aio.Connection.send_text': 'text, compress=True',
        'lomond.aio.Connection.send_binary': 'data, compress=True',
        'lomond.aio.Connection.send_utf8': 'data, compress=True',
        'lomond.aio.Connection.send_json': '',
        'lomond.aio.Connection.send_many': 'messages, compress=True',
        'lomond.aio.Connection.send_ping': "data=b''",
        'lomond.aio.Connection.send_pong': 'data',
        'lomond.aio.Connection.drain': '',
        'lomond.aio.Connection.receive': '',
        'lomond.aio.Connection.messages': '',
        'lomond.aio.Connection.close': "code=1000, reason=u'goodbye'",
        'lomond.aio.Connection.break_off': '',
        'lomond.aio.PoolEvents.break_off': '',
        'lomond.aio.serve': "handler, host=u'127.0.0.1', port=0",
        'lomond.aio.Server.broadcast': 'message, connections=None, compress=True',
        'lomond.aio.Server.serve_forever': '',
        'lomond.aio.Server.close': "code=1001, reason=u'server shutting down'",
    })
    IMPORTS.extend([
        'lomond.aio.Connection', 'lomond.aio.PoolEvents', 'lomond.aio.Server',
        'lomond.aio.ServerConnection', 'lomond.aio.connect', 'lomond.aio.pool', 'lomond.aio.serve'])

#: An earlier path, and the one to write now.
FACES = {
    'lomond.WebSocket': 'lomond.websocket.WebSocket',
    'lomond.net.tls.server_context': 'lomond.tls.server_context',
    'lomond.protocol.compression.DeflateOptions': 'lomond.extensions.DeflateOptions',
}

EVENTS = [name.split('.')[-1] for name in SIGNATURES if name.startswith('lomond.events.')]

#: Each exception and its base.
ERRORS = {
    'FrameBuildError': 'WebSocketError',
    'HandshakeError': 'WebSocketError',
    'CompressionParameterError': 'HandshakeError',
    'ProtocolError': 'WebSocketError',
    'PayloadTooLarge': 'ProtocolError',
    'CriticalProtocolError': 'WebSocketError',
    'ConnectFail': 'WebSocketError',
    'TransportFail': 'WebSocketError',
    'WebSocketUnavailable': 'WebSocketError',
    'WebSocketClosed': 'WebSocketUnavailable',
    'WebSocketClosing': 'WebSocketUnavailable',
    'OutboxFull': 'WebSocketError',
    'Rejected': 'HandshakeError',
    'WebSocketTimeout': 'WebSocketError',
}

CONSTANTS = {
    'lomond.status.Status': {
        'NORMAL': 1000, 'GOING_AWAY': 1001, 'PROTOCOL_ERROR': 1002, 'DATA_NOT_UNDERSTOOD': 1003,
        'BAD_DATA': 1007, 'POLICY_VIOLATION': 1008, 'MESSAGE_TOO_LARGE': 1009,
        'EXTENSION_FAILED': 1010, 'UNEXPECTED_CONDITION': 1011,
    },
    'lomond.opcode.Opcode': {
        'CONTINUATION': 0, 'TEXT': 1, 'BINARY': 2, 'CLOSE': 8, 'PING': 9, 'PONG': 10,
    },
    'lomond.constants': {
        'WS_KEY': b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11', 'WS_VERSION': 13,
        'USER_AGENT': 'Lomond/' + lomond.__version__,
    },
}

PROPERTIES = [
    'is_secure', 'is_active', 'is_closing', 'is_closed', 'sent_close_time',
    'supports_compression', 'session', 'stream', 'key', 'scheme', 'host', 'port', 'resource',
    'state', 'is_open', 'protocol', 'extensions', 'peer_address', 'local_address', 'address',
]


def find(path):
    """Return what a dotted path names."""
    parts = path.split('.')
    found = importlib.import_module('.'.join(parts[:2]))
    for part in parts[2:]:
        found = getattr(found, part)
    return found


def find_by_import(path):
    """Return what ``from module import name`` gives for a dotted path."""
    module, _dot, name = path.rpartition('.')
    return getattr(importlib.import_module(module), name)


def parameters_in_source(cls):
    """Return what `parameters_of` does, of a compiled class: those have no signature."""
    tree = ast.parse(read_source(sys.modules[cls.__module__]))
    name = [base for base in cls.__mro__ if '__init__' in vars(base)][0].__name__
    body, = [node.body for node in tree.body
             if isinstance(node, ast.ClassDef) and node.name == name]
    arguments, = [node.args for node in body
                  if isinstance(node, ast.FunctionDef) and node.name == '__init__']
    defaults = [()] * (len(arguments.args) - len(arguments.defaults)) + [
        (ast.literal_eval(default),) for default in arguments.defaults]
    return [(argument.arg, default) for argument, default in zip(arguments.args, defaults)][1:]


def parameters_of(function):
    """Return [(name, (default,) or ())] of a callable, without self or cls."""
    if inspect.isclass(function):
        if lomond.accelerated and not hasattr(function.__init__, '__code__'):
            return parameters_in_source(function)
        function = function.__init__
    function = getattr(function, '__wrapped__', function)
    if hasattr(inspect, 'signature'):
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        parameters = [
            (parameter.name, () if parameter.default is parameter.empty else (parameter.default,))
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind in kinds]
    else:
        names, _args, _kwargs, defaults = inspect.getargspec(function)
        defaults = [(default,) for default in defaults or ()]
        parameters = list(zip(names, [()] * (len(names) - len(defaults)) + defaults))
    return [parameter for parameter in parameters if parameter[0] not in ('self', 'cls')]


def parse(signature):
    """Return [(name, (default,) or ())] of the text of a signature."""
    parameters = []
    for parameter in re.split(r', ', signature) if signature else []:
        name, equals, default = parameter.partition('=')
        if default == 'WebsocketSession':
            parameters.append((name, (WebsocketSession,)))
        else:
            parameters.append((name, (ast.literal_eval(default),) if equals else ()))
    return parameters


def test_package_exports_three_names():
    assert sorted(lomond.__all__) == ['WebSocket', '__version__', 'accelerated']
    public = {name for name in vars(lomond) if not name.startswith('_')}
    modules = {name for name in public if inspect.ismodule(getattr(lomond, name))}
    assert public - modules == {'WebSocket', 'accelerated'}
    assert lomond.WebSocket is WebSocket
    assert re.match(r'\d+\.\d+\.\d+(\.?[a-z]+\d+)?\Z', lomond.__version__)


def test_persist_stays_a_module():
    """``from lomond.persist import persist`` would break if the package had the function."""
    import lomond.persist
    assert inspect.ismodule(lomond.persist)


@pytest.mark.parametrize('path, other', sorted(FACES.items()))
def test_two_paths_lead_to_one_object(path, other):
    assert find_by_import(path) is find_by_import(other)


@pytest.mark.parametrize('path', sorted(SIGNATURES))
def test_parameters_and_defaults_stay(path):
    expected = parse(SIGNATURES[path])
    actual = parameters_of(find(path))
    assert [name for name, _default in actual[:len(expected)]] == [name for name, _ in expected]
    for (name, default), (_name, actual_default) in zip(expected, actual):
        if default:
            assert actual_default == default, name
            assert type(actual_default[0]) in (type(default[0]), float, int), name
    assert all(default for _name, default in actual[len(expected):])


@pytest.mark.skipif(not hasattr(inspect, 'signature'), reason='2.7 has no signatures')
@pytest.mark.parametrize('path', [
    'lomond.websocket.WebSocket', 'lomond.websocket.WebSocket.connect', 'lomond.persist.persist',
    'lomond.persist.ReconnectPolicy', 'lomond.server.Server', 'lomond.pool.Pool',
    'lomond.pool.Pool.add'])
def test_signatures_name_each_parameter(path):
    """For help() and editors: what explains unknown options isn't to be seen."""
    shown = [parameter for parameter in inspect.signature(find(path)).parameters.values()
             if parameter.name != 'self']
    assert [parameter.name for parameter in shown if parameter.kind
            == parameter.POSITIONAL_OR_KEYWORD] == [name for name, _ in parameters_of(find(path))]
    others = [parameter.name for parameter in shown if parameter.kind == parameter.VAR_KEYWORD]
    assert others == (['connect_options'] if path.endswith('persist') else [])


def test_send_json_takes_an_object_or_fields():
    """Any name may be a field's, so no parameter has a name, except hidden ones."""
    for name, _default in parameters_of(WebSocket.send_json):
        assert name.startswith('_')


@pytest.mark.parametrize('name', PROPERTIES)
def test_property_stays(name):
    assert isinstance(getattr(WebSocket, name), property)
    getattr(WebSocket(u'ws://example.org'), name)


@pytest.mark.parametrize('name', [name for name, _default in parse(
    SIGNATURES['lomond.websocket.WebSocket'])])
def test_parameter_of_the_websocket_is_an_attribute(name):
    assert hasattr(WebSocket(u'ws://example.org'), name)


def test_websocket_is_iterable_and_a_context_manager():
    websocket = WebSocket(u'ws://example.org')
    events = iter(websocket)
    assert events is not iter(websocket)
    with websocket as entered:
        assert entered is websocket


def test_session_has_its_time():
    assert isinstance(WebsocketSession.session_time, property)
    assert 0 <= WebsocketSession(WebSocket(u'ws://example.org')).session_time < 60


@pytest.mark.parametrize('name', EVENTS)
def test_event_has_its_name_in_snake_case(name):
    expected = 'unknown' if name == 'UnknownMessage' \
        else re.sub(r'(?<!\A)([A-Z])', r'_\1', name).lower()
    event_class = find('lomond.events.' + name)
    assert event_class.name == expected
    arguments = parse(SIGNATURES['lomond.events.' + name])
    event = event_class(*[argument for argument, _default in arguments])
    assert event.received_time > 1.4e9      # seconds since the epoch
    for argument, _default in arguments:
        assert getattr(event, argument) == argument


def test_text_event_decodes_json():
    assert find('lomond.events.Text')(u'{"a": [1]}').json == {u'a': [1]}


@pytest.mark.parametrize('name, base', sorted(ERRORS.items()))
def test_error_has_its_base(name, base):
    assert issubclass(find('lomond.errors.' + name), find('lomond.errors.' + base))


def test_every_error_of_the_package_is_a_websocket_error():
    """Errors that only the modules inside know, too."""
    import pkgutil
    for _importer, name, _is_package in pkgutil.walk_packages(lomond.__path__, 'lomond.'):
        if name.startswith('lomond.examples.') or six.PY2 and name == 'lomond.aio':
            continue
        if _core.why_pure and name in _core.MODULES and name not in sys.modules:
            continue    # compiled from .pyx, and LOMOND_COMPILED=no
        try:
            module = importlib.import_module(name)
        except ImportError as error:    # of a package that only these need
            assert name.startswith('lomond.shards.r'), error
            continue
        for value in vars(module).values():
            if inspect.isclass(value) and issubclass(value, BaseException) \
                    and value.__module__.startswith('lomond'):
                assert issubclass(value, WebSocketError), value


def test_message_of_an_error_is_formatted():
    assert str(WebSocketError('{} of {total}', 1, total=2)) == '1 of 2'
    assert str(WebSocketError('{braces}')) == '{braces}'


@pytest.mark.parametrize('owner, name, value', sorted(
    (owner, name, value) for owner, names in CONSTANTS.items() for name, value in names.items()))
def test_constant_keeps_its_value(owner, name, value):
    assert getattr(find(owner), name) == value


def test_response_has_its_attributes():
    response = find('lomond.response.Response')(
        b'HTTP/1.1 404 Not Found\r\nX-Many: a, b\r\nx-many: c\r\n\r\n')
    assert response.raw == b'HTTP/1.1 404 Not Found\r\nX-Many: a, b\r\nx-many: c\r\n\r\n'
    assert response.http_ver == u'HTTP/1.1'
    assert response.status_code == 404
    assert response.status == u'Not Found'
    assert response.headers[u'X-MANY'] == u'a, b, c'
    assert response.get('x-Many') == response.get(b'x-Many') == u'a, b, c'
    assert response.get('X-None') is None
    assert response.get('X-None', u'nothing') == u'nothing'
    assert response.get_list('X-Many') == [u'a', u'b', u'c']


def test_opcode_has_a_name():
    assert find('lomond.opcode.Opcode').to_str(9) == 'PING'
