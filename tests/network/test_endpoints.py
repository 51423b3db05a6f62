"""What both ends say about their connection: what was agreed on, its addresses, its descriptor."""

from __future__ import absolute_import, division, print_function

import pytest
from six.moves.queue import Queue

from lomond import WebSocket
from lomond.persist import ReconnectPolicy
from lomond.pool import Pool
from lomond.server import Refusal, Server, ServerWebSocket
from tests.network.driving import Background
from tests.support import PATIENCE, RawServer, read_head

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

DEFLATE = u'permessage-deflate'


def converse(websocket, look):
    """Connect, close after Ready; return what ``look`` finds at each event, by the event's name."""
    found = {}
    for event in websocket:
        found.setdefault(event.name, look(websocket))
        if event.name == 'ready':
            websocket.close()
    return found


def agreed(websocket):
    return websocket.protocol, websocket.extensions


# -- the subprotocol and the extensions --

@pytest.mark.parametrize('offered, compress, expected', [
    ([u'b', u'a'], True, (u'a', {DEFLATE})), ([u'b'], False, (u'b', set())),
    ([u'c'], True, (None, {DEFLATE})), ([], False, (None, set())),
])
def test_both_ends_say_what_was_agreed_on(offered, compress, expected):
    seen = Queue()

    def handle(websocket):
        for event in websocket:
            seen.put((event.name, agreed(websocket)))
        seen.put(('end', agreed(websocket)))

    with Server(handle, protocols=[u'a', u'b'], compress=True) as server:
        websocket = WebSocket(server.url, protocols=offered, compress=compress)
        assert agreed(websocket) == (None, set())
        found = converse(websocket, agreed)
        assert found.pop('connecting') == found.pop('connected') == (None, set())
        assert set(found) >= {'ready', 'closed', 'disconnected'}
        assert set(found.values()) == {(expected[0], frozenset(expected[1]))}
        assert agreed(websocket) == expected
        assert isinstance(websocket.extensions, frozenset)
        last = None
        while last != 'end':
            last, there = seen.get(timeout=PATIENCE)
            assert there == expected


def test_a_server_with_one_thread_says_what_was_agreed_on():
    with Server(threads=False, protocols=[u'a'], compress=True) as server:
        client = Background(list, WebSocket(server.url, protocols=[u'a'], compress=True))
        for websocket, event in server:
            if event.name == 'ready':
                assert agreed(websocket) == (event.protocol, event.extensions) == (u'a', {DEFLATE})
                server.close()
        assert client.result()[-1].graceful


def test_another_connection_and_a_failed_attempt_have_nothing_of_the_last():
    def refuse(sock):
        read_head(sock)
        sock.sendall(b'HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n')

    def handle(websocket):
        list(websocket)

    with Server(handle, protocols=[u'a'], compress=True) as server, RawServer(refuse) as other:
        websocket = WebSocket(server.url, protocols=[u'a'], compress=True)
        assert converse(websocket, agreed)['ready'] == (u'a', {DEFLATE})
        websocket.url = other.url
        assert agreed(websocket) == (u'a', {DEFLATE})       # still those of the last connection
        found = converse(websocket, agreed)
        assert set(found) == {'connecting', 'connected', 'rejected', 'disconnected'}
        assert set(found.values()) == {(None, frozenset())}


def test_a_request_that_is_refused_has_agreed_on_nothing():
    requests = Queue()

    def check(request):
        requests.put(request)
        return Refusal(403)

    with Server(list, protocols=[u'a'], on_request=check) as server:
        websocket = WebSocket(server.url, protocols=[u'a'])
        assert converse(websocket, agreed)['rejected'] == (None, frozenset())
    assert requests.get(timeout=PATIENCE).get('Sec-WebSocket-Protocol') == 'a'
    assert agreed(ServerWebSocket(None, None)) == (None, frozenset())


def test_a_replaced_connection_says_what_the_new_one_agreed_on():
    ready = []
    with Server(list, protocols=[u'a', u'b'], ping_rate=0) as server:
        pool = Pool()
        websocket = WebSocket(server.url, protocols=[u'a'])
        pool.add(websocket, ReconnectPolicy(max_wait=0), ping_rate=0)
        for _websocket, event in pool:
            if event.name == 'ready':
                ready.append((event.protocol, websocket.protocol))
                if len(ready) == 2:
                    pool.close()
                else:
                    websocket.protocols = [u'b']
                    pool.renew(websocket)
    assert ready == [(u'a', u'a'), (u'b', u'b')]
