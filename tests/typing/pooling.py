"""A pool, and a server with one thread: loops over the events of many connections."""

from typing import List, Optional, Tuple

from typing_extensions import assert_type

from lomond import WebSocket, errors
from lomond.events import AnyEvent
from lomond.persist import ReconnectPolicy
from lomond.pool import Pool
from lomond.server import Server, ServerEvent, ServerWebSocket


def watch(urls: List[str]) -> None:
    pool = Pool(max_queue=None, overflow='latest', keep_outbox=True, max_dialing=10, dial_rate=0.5)
    for url in urls:
        websocket = pool.add(
            WebSocket(url), policy=ReconnectPolicy(), tag=url, poll=5, ping_timeout=60,
            idle_timeout=60, stale_disconnects=True, max_age=None, heartbeat=20)
        assert_type(websocket, WebSocket)
    for pair in pool:
        assert_type(pair, Tuple[WebSocket, AnyEvent])
    for websocket, event in pool:
        if event.name == 'text':
            assert_type(event.text, str)
            websocket.send_text(event.text)
        elif event.name == 'disconnected':
            assert_type(event.unsent, int)
        elif event.name == 'txet':  # error: comparison-overlap reportUnnecessaryComparison
            pass
        print(event.text)  # error: union-attr reportAttributeAccessIssue


def watch_by_the_second(pool: Pool) -> None:
    for websocket, event in pool.polling(1):
        assert_type(websocket, Optional[WebSocket])
        assert_type(event.received_time, float)
        print(websocket.url)  # error: union-attr reportOptionalMemberAccess
        if websocket is not None:
            print(websocket.url, websocket.tag)


def use(pool: Pool) -> None:
    assert_type(pool.websockets, List[WebSocket])
    assert_type(len(pool), int)
    for websocket in pool.websockets:
        assert_type(websocket in pool, bool)
        assert_type(pool.clear_outbox(websocket), int)
        assert_type(websocket.stats.dropped, int)
        assert_type(pool.remove(websocket), bool)
    assert_type(pool.broadcast('text', pool.websockets, compress=False), int)
    pool.broadcast(b'data')
    pool.close(1000, 'the end', timeout=None)
    with pool as entered:
        assert_type(entered, Pool)


def send(websocket: WebSocket) -> bool:
    try:
        websocket.send_text('text')
    except errors.OutboxFull as error:
        return error.size + error.queued > error.max_queue
    return True


def wrong(pool: Pool, websocket: WebSocket) -> None:
    Pool(max_queue='1')  # error: arg-type reportArgumentType
    Pool(overflow='drop_oldset')  # error: arg-type reportArgumentType
    Pool(reconnect=True)  # error: call-arg reportCallIssue
    pool.add('ws://localhost/')  # error: type-var reportArgumentType
    pool.add(websocket, policy=5)  # error: arg-type reportArgumentType
    pool.add(websocket, retries=5)  # error: call-arg reportCallIssue
    pool.add(websocket, session_class=None)  # error: call-arg reportCallIssue
    pool.polling()  # error: call-arg reportCallIssue
    pool.broadcast(5)  # error: arg-type reportArgumentType
    pool.remove('ws://localhost/')
    pool.send_text('text')  # error: attr-defined reportAttributeAccessIssue


def serve() -> None:
    server = Server(threads=False, max_connections=1000, max_queue=65536, overflow='drop_oldest')
    for websocket, event in server:
        assert_type(websocket, ServerWebSocket)
        if event.name == 'ready':
            assert_type(event.response.path, str)
        elif event.name == 'text':
            assert_type(server.broadcast(event.text), int)
        elif event.name == 'back_off':  # error: comparison-overlap reportUnnecessaryComparison
            pass
        handle(event)
    for member, _event in server.polling(1.0):
        assert_type(member, Optional[ServerWebSocket])
        if member is not None:
            assert_type(server.remove(member), bool)
    Server(threads=False, max_queue='1')  # error: arg-type reportArgumentType
    Server(threads=False, overflow='newest')  # error: arg-type reportArgumentType


def handle(event: ServerEvent) -> None:
    print(event)
