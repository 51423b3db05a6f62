"""What to say of an option that a call doesn't take: where it belongs, what it is called here."""

from __future__ import absolute_import, division, print_function

import functools

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Callable, FrozenSet, List, Optional, Tuple, TypeVar  # noqa: F401

    F = TypeVar('F', bound=Callable[..., Any])

# Of a code object: it takes any keyword.
_TAKES_ANY = 0x08

#: What takes options: its name, how to give it one (with {} for the option), the names it takes.
PLACES = []  # type: List[Tuple[str, str, FrozenSet[str]]]


def takes_options(name, written):
    # type: (str, str) -> Callable[[F], F]
    """Make a decorator for what users call with options: it explains those that there aren't.

    The TypeError says where such an option belongs, or what it is called
    here. Parameters: ``name``, of the call; ``written``, how to give it an
    option, such as ``'websocket.connect({}=...)'``.
    """
    def decorate(function):
        # type: (F) -> F
        code = function.__code__
        taken = frozenset(code.co_varnames[:code.co_argcount]) - {'self'}
        PLACES.append((name, written, taken))
        if code.co_flags & _TAKES_ANY:
            return function     # and hands them on

        @functools.wraps(function)
        def call(*args, **options):
            # type: (*Any, **Any) -> Any
            if not taken.issuperset(options):
                raise TypeError(_explain(name, sorted(set(options) - taken)[0]))
            return function(*args, **options)

        call.__wrapped__ = function     # 2.7 doesn't set it
        return call     # type: ignore[return-value]
    return decorate


# -- the words --

_HEADERS = 'headers= is the name here'
_CERTIFICATES = 'ssl_cafile= names the file of certificates to trust'
_NO_VERIFY = 'ssl_verify=False takes any certificate'
_CONTEXT = 'ssl_context= takes an ssl.SSLContext; ssl_verify= and ssl_cafile= do without one'
_PROTOCOLS = 'protocols= is the name here'
_COMPRESS = 'compress=True offers permessage-deflate'
_SIZE = 'max_message_size= is the name here, in bytes'
_PINGS = 'pings go out by themselves: websocket.connect(ping_rate=...), in seconds'
_SILENCE = 'websocket.connect(ping_timeout=...) is how long the server may stay silent, in seconds'
_PERSIST = 'persist(websocket) reconnects: for event in persist(websocket, policy=...): ...'
_PROXIES = "proxies={'http': 'http://user:password@host:port'} is for ws, 'https' for wss"
_AUTH = 'write the URL as ws://user:password@host/, or give headers='
_URL = 'the URL names it'
_SERVER_TLS = 'ssl_context=lomond.tls.server_context(certfile, keyfile)'


def _loop(name):
    # type: (str) -> str
    return "there are no callbacks: for event in websocket: if event.name == {}: ...".format(name)


#: Names that other libraries have for what is here, too, in another form.
FOREIGN = {
    'timeout': 'connect_timeout= and write_timeout= of WebSocket(), or ping_timeout= and '
               'close_timeout= of websocket.connect(), each in seconds',
    'open_timeout': 'connect_timeout= is the name here',
    'handshake_timeout': 'connect_timeout= of a WebSocket includes the handshake',
    'read_timeout': _SILENCE,
    'receive_timeout': _SILENCE,
    'recv_timeout': _SILENCE,
    'header': _HEADERS,
    'extra_headers': _HEADERS,
    'additional_headers': _HEADERS,
    'custom_headers': _HEADERS,
    'origin': "headers={'Origin': ...}",
    'host': "{}; headers={{'Host': ...}} asks for another one".format(_URL),
    'port': _URL,
    'cookie': "headers={'Cookie': ...}; or cookies=, which takes a cookie jar",
    'auth': _AUTH,
    'http_auth': _AUTH,
    'user_agent': 'agent= is the name here',
    'user_agent_header': 'agent= is the name here',
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
    'check_hostname': 'ssl_server_hostname= is the name to check instead of the URL\'s',
    'cafile': _CERTIFICATES,
    'ca_certs': _CERTIFICATES,
    'ca_bundle': _CERTIFICATES,
    'cert': 'ssl_certfile= and ssl_keyfile= name the files',
    'certfile': 'ssl_certfile= is the name here',
    'keyfile': 'ssl_keyfile= is the name here',
    'server_hostname': 'ssl_server_hostname= is the name here',
    'fingerprint': 'ssl_fingerprint= is the name here',
    'subprotocol': _PROTOCOLS,
    'subprotocols': _PROTOCOLS,
    'compression': _COMPRESS,
    'compression_options': _COMPRESS,
    'enable_compression': _COMPRESS,
    'max_size': _SIZE,
    'max_msg_size': _SIZE,
    'max_payload_size': _SIZE,
    'ping_interval': _PINGS,
    'heartbeat': _PINGS,
    'keepalive': _PINGS,
    'autoping': 'websocket.connect(auto_pong=...) is whether pings are answered',
    'reconnect': _PERSIST,
    'auto_reconnect': _PERSIST,
    'reconnect_interval': 'persist(websocket, min_wait=..., max_wait=...), in seconds',
    'retries': 'persist(websocket, policy=ReconnectPolicy(max_attempts=...))',
    'max_retries': 'persist(websocket, policy=ReconnectPolicy(max_attempts=...))',
    'proxy': _PROXIES,
    'http_proxy_host': _PROXIES,
    'http_proxy_port': _PROXIES,
    'http_proxy_auth': _PROXIES,
    'proxy_type': _PROXIES,
    'http_no_proxy': 'proxies={} means none; NO_PROXY of the environment names exceptions',
    'redirect_limit': 'max_redirects= is the name here',
    'socket': 'sock= is the name here',
    'sockopt': 'socket_options= is the name here',
    'local_addr': 'source_address= is the name here',
    'enable_multithread': 'leave it out: any thread may send',
    'dumps': 'json_dumps= is the name here',
    'loads': 'json_loads= is the name here',
}


#: The same where they are given to a server.
FOREIGN_TO_A_SERVER = {
    'timeout': 'handshake_timeout=, write_timeout=, ping_timeout= and close_timeout=, '
               'each in seconds',
    'ssl': _SERVER_TLS,
    'certfile': _SERVER_TLS,
    'keyfile': _SERVER_TLS,
    'ssl_certfile': _SERVER_TLS,
    'ssl_keyfile': _SERVER_TLS,
}


def _explain(call, option):
    # type: (str, str) -> str
    """Return the words of the TypeError for an option that a call doesn't take, both by name."""
    error = "{}() got an unexpected keyword argument '{}'".format(call, option)
    hint = FOREIGN_TO_A_SERVER.get(option) if call == 'Server' else None
    hint = hint or FOREIGN.get(option) or _where_it_belongs(option) or _similar(call, option)
    return error if hint is None else '{}: {}'.format(error, hint)


def _where_it_belongs(option):
    # type: (str) -> Optional[str]
    places = [(name, written.format(option)) for name, written, taken in PLACES if option in taken]
    # A client's option isn't looked for on the server's side.
    found = [written for name, written in places if name != 'Server'] \
        or [written for _name, written in places]
    return 'it goes into {}'.format(' or '.join(found)) if found else None


def _similar(call, option):
    # type: (str, str) -> Optional[str]
    from difflib import get_close_matches  # few need it
    taken = [names for name, _written, names in PLACES if name == call]
    found = get_close_matches(option, sorted(frozenset().union(*taken)), 1)
    return 'did you mean {}?'.format(found[0]) if found else None
