"""A server and its handlers."""

import logging
from pathlib import Path
from typing import FrozenSet, List, Optional, Tuple, Union

from typing_extensions import assert_type

from lomond.events import AnyEvent, Disconnected, Ready
from lomond.extensions import DeflateOptions
from lomond.server import Refusal, Request, Server, ServerEvent, ServerWebSocket
from lomond.tls import server_context


def echo(websocket: ServerWebSocket) -> None:
    assert_type(websocket.request, Request)
    assert_type(websocket.request.resource, str)
    assert_type(websocket.request.path, str)
    assert_type(websocket.request.query, str)
    assert_type(websocket.request.headers.get_list('Cookie'), List[str])
    assert_type(websocket.request.get('Origin', ''), str)
    assert_type(websocket.protocol, Optional[str])
    assert_type(websocket.extensions, FrozenSet[str])
    for event in websocket:
        if event.name == 'ready':
            assert_type(event.response, Request)
            assert_type(event.response.resource, str)
        elif event.name == 'text':
            websocket.send_text(event.text)
        elif event.name == 'binary':
            websocket.send_binary(event.data)
            websocket.send_text(event.data)  # error: arg-type reportArgumentType
        elif event.name == 'back_off':  # error: comparison-overlap reportUnnecessaryComparison
            pass
        elif isinstance(event, Disconnected):
            assert_type(event.graceful, bool)
        show(event)
        show_any(event)


def show(event: ServerEvent) -> None:
    if isinstance(event, Ready):
        assert_type(event.response.method, str)
    print(event.text)  # error: union-attr reportAttributeAccessIssue


def show_any(event: AnyEvent) -> None:
    print(event)


class Application:
    def __call__(self, websocket: ServerWebSocket) -> int:
        websocket.close(1001, 'the end')
        return 0


def check(request: Request) -> Optional[Refusal]:
    if request.path == '/old':
        return Refusal(302, headers={'Location': 'wss://example.org/new'})
    if request.get('Authorization') is None:
        return Refusal(401, b'', [('WWW-Authenticate', 'Bearer')])
    return None if request.path == '/feed' else Refusal(404, 'no such path')


def is_ours(origin: Optional[str]) -> bool:
    return origin is not None and origin.endswith('.example.org')


def serve() -> None:
    with Server(echo) as server:
        assert_type(server, Server)
        assert_type(server.url, str)
        assert_type(server.port, int)
        assert_type(server.address, Union[Tuple[str, int], str])
    server = Server(
        Application(), host='::1', port=0, ssl_context=server_context('/etc/ssl/me.pem'),
        protocols=['v1'], compress=DeflateOptions(mem_level=5), max_connections=10, poll=None,
        heartbeat=20)
    server.start().close()
    server.close(1012, 'back in a minute', timeout=None)
    server.close(timeout='5')  # error: arg-type reportArgumentType
    Server(echo, origins=['https://example.org', None], on_request=check, reuse_port=True)
    Server(echo, origins=is_ours, unix_path='/run/feed.sock')
    Server(echo, origins=None, unix_path=Path('/run/feed.sock'), logger=logging.getLogger('feed'))


def serve_in_one_thread() -> None:
    with Server(threads=False, max_queue=None, overflow='latest') as server:
        for websocket, event in server:
            assert_type(websocket, ServerWebSocket)
            if event.name == 'ready':
                assert_type(event.response, Request)
            elif event.name == 'text':
                assert_type(server.broadcast(event.text, server.connections), int)
                assert_type(server.remove(websocket), bool)
                assert_type(server.remove(websocket, close=False), bool)
        for poller, event in server.polling(0.5):
            assert_type(poller, Optional[ServerWebSocket])
            print(event)


def wrong() -> None:
    Server(5)  # error: arg-type reportArgumentType
    Server(threads=False).broadcast(5)  # error: arg-type reportArgumentType
    Server(echo, '127.0.0.1', '8080')  # error: arg-type reportArgumentType
    Server(serve)  # error: arg-type reportArgumentType
    Server(echo, ssl_context='/etc/ssl/me.pem')  # error: arg-type reportArgumentType
    Server(echo, origins=5)  # error: arg-type reportArgumentType
    Server(echo, on_request=echo)  # error: arg-type reportArgumentType
    Server(echo, on_request=lambda request: 404)  # error: arg-type return-value reportArgumentType
    Refusal('404')  # error: arg-type reportArgumentType
    server_context(certfile=None)  # error: arg-type reportArgumentType
