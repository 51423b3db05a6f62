"""Explains unknown options: which call takes the option, or what it is called in this package."""

from __future__ import absolute_import, division, print_function

import functools
import re

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, FrozenSet, List, Optional, Tuple, TypeVar  # noqa: F401

    F = TypeVar('F', bound=Callable[..., Any])

# A flag of code objects: the function has **keywords.
_TAKES_ANY = 0x08

#: The calls that take options: the name, the usage (with {} for an option), the options' names.
CALLS = []  # type: List[Tuple[str, str, FrozenSet[str]]]


def takes_options(name, usage, others=()):
    # type: (str, str, Tuple[str, ...]) -> Callable[[F], F]
    """Make a decorator for a function with options: its TypeError explains an unknown option.

    Parameters: ``name`` of the call; ``usage``, how to pass an option to it, such as
    ``'websocket.connect({}=...)'``, empty if no other call is to suggest it; ``others``, options
    that the call takes before it passes the rest to this function.
    """
    def decorate(function):
        # type: (F) -> F
        code = function.__code__
        names = frozenset(code.co_varnames[:code.co_argcount]) - {'self'}
        CALLS.append((name, usage, names.union(others)))
        if code.co_flags & _TAKES_ANY:
            return function     # it passes unknown options to another call, which explains them

        @functools.wraps(function)
        def call(*args, **options):
            # type: (*Any, **Any) -> Any
            if not names.issuperset(options):
                raise TypeError(_explain(name, sorted(set(options) - names)[0]))
            return function(*args, **options)

        call.__wrapped__ = function     # 2.7 doesn't set it
        call.option_names = names       # type: ignore[attr-defined]
        return call     # type: ignore[return-value]
    return decorate


def check_passed_on(name, options, other_call):
    # type: (str, Any, Any) -> None
    """Raise TypeError, in the name of a call, for an option that it would pass on in vain.

    Parameters: ``name`` of the call; ``options`` that it passes on to ``other_call``. Nothing is
    known about the options of a method that a user wrote: those aren't checked.
    """
    names = getattr(other_call, 'option_names', None)
    if names is None:
        return
    names = names.difference(OTHER_NAMES_OF.get(name, ()))
    if not names.issuperset(options):
        raise TypeError(_explain(name, sorted(set(options) - names)[0], names))


# -- the hints --

_HEADERS = 'use headers='
_CERTIFICATES = 'use ssl_cafile= for a file of certificates to trust'
_NO_VERIFY = 'use ssl_verify=False to accept any certificate'
_CONTEXT = 'use ssl_context= for an ssl.SSLContext, or ssl_verify= and ssl_cafile= without one'
_PROTOCOLS = 'use protocols='
_COMPRESS = 'use compress=True to offer permessage-deflate'
_SIZE = 'use max_message_size=, in bytes'
_PINGS = 'pings are sent automatically: set websocket.connect(ping_rate=...), in seconds'
_SILENCE = ('use websocket.connect(ping_timeout=...), the seconds that the server may stay silent, '
            'or websocket.connect(idle_timeout=...), the seconds without a message')
_PERSIST = 'persist(websocket) reconnects: for event in persist(websocket, policy=...): ...'
_PROXIES = "use proxies={'http': 'http://user:password@host:port'} for ws, 'https' for wss"
_AUTH = 'write the URL as ws://user:password@host/, or use headers='
_URL = 'it is part of the URL'
_PARTS = 'use message_parts=True to receive messages in parts'
_MANY = 'use lomond.pool for many connections in one thread, lomond.aio in an event loop'
_QUEUE = 'use max_queue= of Pool() or aio.connect(), in bytes'
_ORIGINS = 'use origins=, a list such as ["https://example.org"], or a function'
_SERVER_PINGS = 'pings are sent automatically: use ping_rate=, in seconds'
_SERVER_SILENCE = 'use ping_timeout=, the seconds that a client may stay silent'
_SERVER_TLS = 'use ssl_context=lomond.tls.server_context(certfile, keyfile)'
_SERVER_QUEUE = 'use max_queue=, in bytes; Server() takes it with threads=False only'


def _loop(name):
    # type: (str) -> str
    return "there are no callbacks: for event in websocket: if event.name == {}: ...".format(name)


#: Options of other libraries, and what to write here instead, in words for `WebSocket`.
OTHER_NAMES = {
    'timeout': 'use connect_timeout= and write_timeout= of WebSocket(), or ping_timeout= and '
               'close_timeout= of websocket.connect(), in seconds',
    'open_timeout': 'use connect_timeout=',
    'handshake_timeout': 'use connect_timeout= of WebSocket(), which includes the handshake',
    'read_timeout': _SILENCE,
    'receive_timeout': _SILENCE,
    'recv_timeout': _SILENCE,
    'header': _HEADERS,
    'extra_headers': _HEADERS,
    'additional_headers': _HEADERS,
    'custom_headers': _HEADERS,
    'origin': "use headers={'Origin': ...}",
    'host': "{}; to send another Host header, use headers={{'Host': ...}}".format(_URL),
    'port': _URL,
    'cookie': "use headers={'Cookie': ...}, or cookies= for a cookie jar",
    'auth': _AUTH,
    'http_auth': _AUTH,
    'user_agent': 'use agent=',
    'user_agent_header': 'use agent=',
    'on_open': _loop("'ready'"),
    'on_message': _loop("'text' (or 'binary')"),
    'on_data': _loop("'text' (or 'binary')"),
    'on_close': _loop("'disconnected'"),
    'on_error': _loop("'connect_fail' (or 'rejected', 'protocol_error', 'disconnected')"),
    'on_ping': _loop("'ping'"),
    'on_pong': _loop("'pong'"),
    'on_reconnect': _loop("'ready'"),
    'ssl': _CONTEXT,
    'sslopt': _CONTEXT,
    'ssl_options': _CONTEXT,
    'context': _CONTEXT,
    'verify': _NO_VERIFY,
    'verify_ssl': _NO_VERIFY,
    'cert_reqs': _NO_VERIFY,
    'check_hostname': 'use ssl_server_hostname= to check another name than that of the URL',
    'cafile': _CERTIFICATES,
    'ca_certs': _CERTIFICATES,
    'ca_bundle': _CERTIFICATES,
    'cert': 'use ssl_certfile= and ssl_keyfile=',
    'certfile': 'use ssl_certfile=',
    'keyfile': 'use ssl_keyfile=',
    'server_hostname': 'use ssl_server_hostname=',
    'fingerprint': 'use ssl_fingerprint=',
    'subprotocol': _PROTOCOLS,
    'subprotocols': _PROTOCOLS,
    'compression': _COMPRESS,
    'compression_options': _COMPRESS,
    'enable_compression': _COMPRESS,
    'max_size': _SIZE,
    'max_msg_size': _SIZE,
    'max_payload_size': _SIZE,
    'ping_interval': _PINGS,
    'heartbeat_freq': 'use websocket.connect(heartbeat=...), in seconds',
    'keepalive': _PINGS,
    'autoping': 'use websocket.connect(auto_pong=...) to choose whether pings are answered',
    'reconnect': _PERSIST,
    'auto_reconnect': _PERSIST,
    'reconnect_interval': 'use persist(websocket, min_wait=..., max_wait=...), in seconds',
    'retries': 'use persist(websocket, policy=ReconnectPolicy(max_attempts=...))',
    'max_retries': 'use persist(websocket, policy=ReconnectPolicy(max_attempts=...))',
    'proxy': _PROXIES,
    'http_proxy_host': _PROXIES,
    'http_proxy_port': _PROXIES,
    'http_proxy_auth': _PROXIES,
    'proxy_type': _PROXIES,
    'http_no_proxy': "use proxies={'no': ...}, or NO_PROXY of the environment",
    'redirect_limit': 'use max_redirects=',
    'socket': 'use sock=',
    'sockopt': 'use socket_options=',
    'local_addr': 'use source_address=',
    'enable_multithread': 'remove it: every thread may send',
    'dumps': 'use json_dumps=',
    'engineio_logger': 'use logger=',
    'log': 'use logger=',
    'loads': 'use json_loads=',
    'proxy_auth': _PROXIES,
    'proxy_ssl': 'TLS with a proxy is checked as TLS with the server: by ssl_verify=, ssl_cafile= '
                 'and ssl_context=',
    'http_proxy_timeout': 'use connect_timeout= of WebSocket(), which includes the proxy',
    'params': _URL,
    'suppress_origin': "remove it: there is no Origin unless headers= has one",
    'skip_utf8_validation': 'remove it: every text is checked, also with text_as_bytes=True',
    'decode_text': 'use text_as_bytes=True to receive text as bytes',
    'autoclose': 'remove it: every Close frame is answered',
    'fire_cont_frame': _PARTS,
    'on_cont_message': _PARTS,
    'dispatcher': _MANY,
    'process_exception': _PERSIST,
    'reconnect_delays': _PERSIST,
    'write_limit': _QUEUE,
    'writer_limit': _QUEUE,
}


_NO_IDLE_TIMEOUT = 'use ping_timeout=, the seconds that a client may stay silent'
_NO_POLL = ('aio.pool has no Poll: have another task call pool.broadcast(), or whatever is to be '
            'done regularly')
_NO_IO = ('lomond.sansio has no sockets, no TLS and no clock: your program connects, sends, '
          'receives and keeps time')
_NO_AUTO_PONG = 'use auto_pong=False, and answer by send_pong()'
_ASK = 'the Request event has the request: call accept() or reject()'
_ASK_ORIGIN = ("check event.request.get('Origin') when the Request event comes, and call "
               'reject(403) for a foreign one')
_SPIN = 'websocket.connect(spin=...), persist() and open() take it'
_NO_RETRY_AFTER = 'set max_retry_after=None in its ReconnectPolicy()'

#: Options that have another hint if they are passed to one of these calls.
OTHER_NAMES_OF = {
    'Server': {
        'timeout': 'use handshake_timeout=, write_timeout=, ping_timeout= and close_timeout=, '
                   'in seconds',
        'connect_timeout': 'use handshake_timeout=, in seconds',
        'open_timeout': 'use handshake_timeout=, in seconds',
        'read_timeout': _SERVER_SILENCE,
        'receive_timeout': _SERVER_SILENCE,
        'recv_timeout': _SERVER_SILENCE,
        'ping_interval': _SERVER_PINGS,
        'heartbeat_freq': 'use heartbeat=, in seconds',
        'keepalive': _SERVER_PINGS,
        'autoping': 'use auto_pong= to choose whether pings are answered',
        'write_limit': _SERVER_QUEUE,
        'writer_limit': _SERVER_QUEUE,
        'ssl': _SERVER_TLS,
        'sslopt': _SERVER_TLS,
        'ssl_options': _SERVER_TLS,
        'context': _SERVER_TLS,
        'cert': _SERVER_TLS,
        'certfile': _SERVER_TLS,
        'keyfile': _SERVER_TLS,
        'ssl_certfile': _SERVER_TLS,
        'ssl_keyfile': _SERVER_TLS,
        'origin': _ORIGINS,
        'allowed_origins': _ORIGINS,
        'cors_allowed_origins': _ORIGINS,
        'check_origin': _ORIGINS,
        'process_request': 'use on_request=',
        'select_subprotocol': 'use protocols=, the preferred one first',
        'path': 'use unix_path= to listen on a Unix socket, or on_request= to refuse other paths',
        'uds': 'use unix_path=',
        'on_connect': "use on_request=, or the event 'ready'",
        'idle_timeout': _NO_IDLE_TIMEOUT,
        'stale_disconnects': _NO_IDLE_TIMEOUT,
        'max_age': 'close the connection by websocket.close(): its client may connect again',
    },
    'sansio.Client': {
        'host': _URL,
        'port': _URL,
        'autoping': _NO_AUTO_PONG,
        'cookie': "use headers={'Cookie': ...}",
    },
    'sansio.Server': {
        'autoping': _NO_AUTO_PONG,
        'handler': 'iterate over receive(data), and answer by accept() and send_text()',
        'on_request': _ASK,
        'process_request': _ASK,
        'origin': _ASK_ORIGIN,
        'origins': _ASK_ORIGIN,
        'allowed_origins': _ASK_ORIGIN,
        'cors_allowed_origins': _ASK_ORIGIN,
        'check_origin': _ASK_ORIGIN,
        'headers': 'use accept(headers=...)',
    },
    'accept': {
        'compress': 'use compress= of Server(), or extensions=[PermessageDeflate]',
        'subprotocol': 'use protocol=, one name',
        'subprotocols': 'use protocol=, one name',
        'protocols': 'use protocol=, one name',
    },
    'add': {
        'exit_event': 'call pool.close() from any thread',
        'spin': 'a pool waits for all its members at once; ' + _SPIN,
        'respect_retry_after': _NO_RETRY_AFTER,
    },
    'aio.connect': {
        'exit_event': 'call websocket.close() from any thread, or await connection.close()',
        'spin': 'the event loop waits; ' + _SPIN,
        'respect_retry_after': _NO_RETRY_AFTER,
    },
    'open': {
        'poll': 'calls return messages, and no Poll: give receive() a timeout instead',
        'session_class': 'only a loop takes it: websocket.connect(session_class=...)',
    },
    'aio.pool': {
        'poll': _NO_POLL,
        'seconds': _NO_POLL,
    },
}  # type: Dict[str, Dict[str, str]]

# The same in an event loop, and what is for other servers only.
OTHER_NAMES_OF['aio.serve'] = dict(
    OTHER_NAMES_OF['Server'],
    poll='have another task do what is to be done regularly',
    write_limit='use max_queue=, in bytes',
    writer_limit='use max_queue=, in bytes',
    threads='aio.serve() has a task for each connection',
    overflow='await the sends of a connection: they wait for space')

_HOST = 'the WSGI server listens, and reads the request'
_WSGI_TLS = 'TLS is made by the WSGI server, or a proxy in front of it'
_WSGI_QUEUE = 'it is an option of the Pool that drives the connection'
OTHER_NAMES_OF['websocket_app'] = dict(
    ((name, _WSGI_TLS if hint == _SERVER_TLS else hint)
     for name, hint in OTHER_NAMES_OF['Server'].items()
     if name not in ('idle_timeout', 'stale_disconnects', 'max_age')),
    host=_HOST,
    port=_HOST,
    unix_path=_HOST,
    reuse_port=_HOST,
    handshake_timeout=_HOST,
    connect_timeout=_HOST,
    open_timeout=_HOST,
    path='use on_request= to refuse other paths',
    uds=_HOST,
    timeout='use write_timeout=, ping_timeout= and close_timeout=, in seconds',
    ssl_context=_WSGI_TLS,
    max_connections='the WSGI server has its own limit',
    threads='pass detach=True, and have a pool or a thread drive the connection',
    write_limit=_WSGI_QUEUE,
    writer_limit=_WSGI_QUEUE,
    max_queue=_WSGI_QUEUE,
    overflow=_WSGI_QUEUE)

OTHER_NAMES_OF['wsgi.upgrade'] = dict(
    OTHER_NAMES_OF['websocket_app'],
    handler='call websocket_app(handler)')

# The calls of servers.
_SERVERS = ('Server', 'aio.serve', 'wsgi.upgrade', 'websocket_app')

# How hints say that an option is one of a loop.
_OF_CONNECT = re.compile(r'websocket\.connect\(([a-z_]+=)\.\.\.\)| of websocket\.connect\(\)')

# The calls that take a policy, and how to pass it.
_WITH_POLICY = {
    'add': 'use pool.add(websocket, ReconnectPolicy({}))',
    'aio.connect': 'use aio.connect(websocket, policy=ReconnectPolicy({}))',
}

# What other libraries call the policy, and its options.
_POLICIES = {
    'reconnect': '',
    'auto_reconnect': '',
    'reconnect_interval': 'min_wait',
    'retries': 'max_attempts',
    'max_retries': 'max_attempts',
}


def _explain(call, option, passed_on=frozenset()):
    # type: (str, str, FrozenSet[str]) -> str
    """Return the message of the TypeError for an option that a call doesn't take.

    ``passed_on``: the names of the options that the call passes on to another one.
    """
    error = "{}() got an unexpected keyword argument '{}'".format(call, option)
    hint = OTHER_NAMES_OF.get(call, {}).get(option) or _policy(call, option) \
        or _no_io(call, option) or _other_name(call, option, passed_on) \
        or _other_call(call, option) \
        or _similar(call, option, passed_on)
    return error if hint is None else '{}: {}'.format(error, hint)


def _policy(call, option):
    # type: (str, str) -> Optional[str]
    """Return how to pass an option of a policy to a call that takes policies."""
    usage = _WITH_POLICY.get(call)
    option = _POLICIES.get(option, option)
    if usage is None or option and not any(
            option in names for name, _usage, names in CALLS if name == 'ReconnectPolicy'):
        return None
    return usage.format(option + '=...' if option else '')


def _no_io(call, option):
    # type: (str, str) -> Optional[str]
    """Return why a call of `lomond.sansio` has no option that a connection has, or None."""
    if not call.startswith('sansio.'):
        return None
    named = _named(OTHER_NAMES.get(option, ''))
    is_known = named or any(usage and option in names for _name, usage, names in CALLS)
    return _NO_IO if is_known and not named.intersection(_options_of(call)) else None


def _other_name(call, option, passed_on):
    # type: (str, str, FrozenSet[str]) -> Optional[str]
    """Return what another library's option is called here, in words that fit the call, or None."""
    hint = OTHER_NAMES.get(option, '')
    own = _options_of(call) | passed_on
    if call != 'connect' and 'close_timeout' in own:    # it takes what a loop does
        hint = _OF_CONNECT.sub(lambda match: match.group(1) or '', hint)
    named = _named(hint)
    if named <= own or not named <= _options_of('WebSocket') or 'WebSocket()' in hint:
        return hint or None
    if call == 'accept':
        return None
    place = 'a server has no such option; for a client' if call in _SERVERS \
        else 'it is for WebSocket()'
    return '{}: {}'.format(place, hint)


def _named(hint):
    # type: (str) -> FrozenSet[str]
    """Return the options that a hint names."""
    return frozenset(re.findall(r'\b([a-z_]+)=', hint))


def _options_of(call):
    # type: (str) -> FrozenSet[str]
    return frozenset().union(*(names for name, _usage, names in CALLS if name == call))


def _other_call(call, option):
    # type: (str, str) -> Optional[str]
    calls = [(name, usage.format(option)) for name, usage, names in CALLS
             if usage and option in names]
    # The server is only suggested for an option that no call of the client takes.
    found = [usage for name, usage in calls if name != 'Server'] \
        or [usage for _name, usage in calls]
    if not found:
        return None
    words = 'a server has no such option; a client takes it in {}' \
        if call in _SERVERS \
        else 'pass it as {}'
    return words.format(' or '.join(found))


def _similar(call, option, passed_on):
    # type: (str, str, FrozenSet[str]) -> Optional[str]
    from difflib import get_close_matches  # here, as few programs need it
    found = get_close_matches(option, sorted(passed_on | _options_of(call)), 1)
    return 'did you mean {}?'.format(found[0]) if found else None
