"""Options of a WebSocket: as arguments, and as attributes."""

import logging
import socket
import ssl
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, Dict, FrozenSet, List, Optional, Tuple, Union

from typing_extensions import assert_type

from lomond import WebSocket
from lomond.extensions import DeflateOptions
from lomond.server import Refusal, Server
from lomond.tls import server_context
from lomond.websocket import CloseFrame, StateName, TraceRecord

URL = 'wss://localhost/'
Address = Tuple[int, int, int, str, Tuple[str, int]]


def trace(record: TraceRecord) -> None:
    print(record['stage'], record.redacted())


def trace_into_dict(record: Dict[str, Any]) -> None:
    print(record.get('url'))


def make_headers() -> Dict[str, str]:
    return {'Authorization': 'Bearer token'}


def resolve(host: str, port: int, family: int, kind: int) -> List[Address]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 0, '', ('127.0.0.1', port))]


def connect() -> socket.socket:
    return socket.create_connection(('127.0.0.1', 80))


def make(context: ssl.SSLContext, sock: socket.socket, jar: CookieJar) -> None:
    WebSocket(URL, proxies={}, protocols=['v2', 'v1'], agent='me', compress=True)
    WebSocket(URL, proxies={'http': 'http://proxy:3128', 'https': None})
    WebSocket(URL, protocols=('v2', 'v1'), agent=b'me')
    WebSocket(URL, compress=DeflateOptions(level=9, client_max_window_bits=10))
    WebSocket(URL, trace=trace, connect_timeout=None, write_timeout=5)
    WebSocket(URL, trace=trace_into_dict)
    WebSocket(URL, trace=True, max_message_size=None, max_redirects=0)
    WebSocket(URL, headers={'X-One': 'a', 'X-Two': ['a', 'b'], 'X-Three': b'c'})
    WebSocket(URL, headers={b'X-One': b'a'})
    WebSocket(URL, headers={'User-Agent': None, 'X-One': 'a'})
    WebSocket(URL, headers=[('X-One', 'a'), ('X-Two', b'b')])
    WebSocket(URL, headers=make_headers)
    WebSocket(URL, cookies=True, netrc=True)
    WebSocket(URL, cookies=jar, netrc=Path('/etc/netrc'))
    WebSocket(URL, ssl_verify=False, ssl_fingerprint=64 * '0')
    WebSocket(URL, ssl_cafile=Path('ca.pem'), ssl_certfile=Path('me.pem'), ssl_keyfile='me.key')
    WebSocket(URL, compress=None)
    WebSocket(URL, ssl_context=context, ssl_fingerprint=[64 * '0', 64 * '1'])
    WebSocket(URL, source_address='::1', tcp_keepalive=None)
    WebSocket(URL, source_address=('127.0.0.1', 0))
    WebSocket(URL, socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)])
    WebSocket(URL, sock=sock)
    WebSocket(URL, sock=connect)
    WebSocket(URL, resolver=resolve, max_read_ahead=None, fragment_size=None)
    WebSocket(URL, resolver=socket.getaddrinfo)
    WebSocket(URL, logger=logging.getLogger('feed'))
    WebSocket(URL, logger=logging.LoggerAdapter(logging.getLogger('feed'), {'feed': 'BTC'}))


def make_wrong() -> None:
    WebSocket()  # error: call-arg reportCallIssue
    WebSocket(1)  # error: arg-type reportArgumentType
    WebSocket(URL, agents='me')  # error: call-arg reportCallIssue
    WebSocket(URL, proxies='http://proxy:3128')  # error: arg-type reportArgumentType
    WebSocket(URL, compress='deflate')  # error: arg-type reportArgumentType
    WebSocket(URL, compress=DeflateOptions(level='9'))  # error: arg-type reportArgumentType
    WebSocket(URL, trace=print, connect_timeout='30')  # error: arg-type reportArgumentType
    WebSocket(URL, headers={'X-One': 1})  # error: arg-type reportArgumentType
    WebSocket(URL, cookies={'a': 'b'})  # error: arg-type reportArgumentType
    WebSocket(URL, ssl_context='/etc/ssl/ca.pem')  # error: arg-type reportArgumentType
    WebSocket(URL, ssl_cafile=5)  # error: arg-type reportArgumentType
    WebSocket(URL, sock=('127.0.0.1', 80))  # error: arg-type reportArgumentType
    WebSocket(URL, logger='feed')  # error: arg-type reportArgumentType
    WebSocket(URL, resolver=socket.gethostbyname)  # error: arg-type reportArgumentType


def change(websocket: WebSocket) -> None:
    """What is set may be all that the constructor takes; what is read is what is kept of it."""
    websocket.url = 'ws://localhost/other'
    websocket.proxies = {}
    websocket.protocols = ('v2', 'v1')
    assert_type(websocket.protocols, List[str])
    websocket.protocols = None
    websocket.compress = None
    websocket.ssl_cafile = Path('ca.pem')
    websocket.agent = None
    assert_type(websocket.agent, str)
    websocket.cookies = True
    assert_type(websocket.cookies, Optional[CookieJar])
    websocket.headers = [('X-One', 'a')]
    websocket.add_header('X-One', b'a')
    websocket.logger = None
    websocket.logger.warning('%s is late', websocket)
    websocket.write_timeout = None
    websocket.write_timeout = '5'  # error: assignment reportAttributeAccessIssue
    websocket.max_size = 1  # error: attr-defined reportAttributeAccessIssue
    websocket.protocols = 1  # error: assignment reportAttributeAccessIssue


def read(websocket: WebSocket) -> None:
    assert_type(websocket.url, str)
    assert_type(websocket.scheme, str)
    assert_type(websocket.host, str)
    assert_type(websocket.port, int)
    assert_type(websocket.resource, str)
    assert_type(websocket.is_secure, bool)
    assert_type(websocket.is_open, bool)
    assert_type(websocket.sent_close_time, Optional[float])
    assert_type(websocket.protocol, Optional[str])
    assert_type(websocket.extensions, FrozenSet[str])
    assert_type(websocket.fileno(), int)
    assert_type(websocket.address, Union[Tuple[str, int], str])
    print(websocket.peer_address[0], websocket.local_address[1])
    websocket.protocol = 'v1'  # error: misc reportAttributeAccessIssue
    if websocket.close_received is not None:
        assert_type(websocket.close_received.code, int)
        assert_type(websocket.close_received.reason, str)
    assert_type(websocket.stats.received.messages, int)
    assert_type(websocket.stats.round_trips.mean, Optional[float])
    assert_type(websocket.stats.as_dict(), Dict[str, Any])


def serve() -> None:
    Server(print, ssl_context=server_context(Path('server.pem'), 'server.key'), compress=None)
    server_context(5)  # error: arg-type reportArgumentType


def refuse() -> Refusal:
    Refusal(401, headers={'WWW-Authenticate': 'Bearer', 'X-Many': ['a', b'b']})
    Refusal(401, headers=5)  # error: arg-type reportArgumentType
    Refusal(401, headers=['X-One'])  # error: list-item reportArgumentType
    return Refusal(302, 'moved', [('Location', 'wss://localhost/')])


def show_close(websocket: WebSocket) -> Optional[CloseFrame]:
    state: StateName = websocket.state
    state = 'opne'  # error: assignment reportAssignmentType
    print(state)
    return websocket.close_received or websocket.close_sent


def ask(websocket: WebSocket) -> str:
    if websocket.state == 'connecting' or websocket.state == 'failing':
        return 'not yet, or no more'
    if websocket.state == 'opne':  # error: comparison-overlap reportUnnecessaryComparison
        return 'never'
    return websocket.state
