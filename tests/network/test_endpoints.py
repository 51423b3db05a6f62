"""What both ends say about their connection: what was agreed on, its addresses, its descriptor."""

from __future__ import absolute_import, division, print_function

import errno
import select
import socket
import ssl
import struct

import pytest
from six.moves.queue import Queue

from lomond import WebSocket, errors
from lomond.persist import ReconnectPolicy
from lomond.pool import Pool
from lomond.server import Refusal, Server, ServerWebSocket
from lomond.testing import open_over
from tests.network.driving import Background, echo, read_to_close
from tests.network.tls_proxy import TLSProxy
from tests.support import PATIENCE, RawServer, answer_upgrade, make_close, read_head, socket_at

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


#: When a client has a connection.
CONNECTED = ['connected', 'ready', 'poll', 'closed']


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


# -- the descriptor --

def descriptor(websocket):
    """Return the descriptor, or None if that is what its error is about."""
    try:
        return websocket.fileno()
    except errors.WebSocketUnavailable as error:
        assert 'there is no connection, and so no descriptor' in str(error)
        return None


def own_address(websocket):
    """Return where the socket at its descriptor is bound; None without one."""
    fd = descriptor(websocket)
    if fd is None:
        return None
    with socket_at(fd) as sock:
        return sock.getsockname()


def test_a_client_has_a_descriptor_from_connected_to_disconnected(link):
    def script(sock):
        ports.put(sock.getpeername())
        answer_upgrade(sock)
        read_to_close(sock)
        sock.sendall(make_close(1000))

    ports = Queue()
    with link.serve(script) as server:
        websocket = link.connect(server.url)
        assert descriptor(websocket) is None
        for _ in range(2):
            found = converse(websocket, own_address)
            port = ports.get(timeout=PATIENCE)
            assert [found.pop(name) for name in CONNECTED] == [port] * len(CONNECTED)
            assert found == {'connecting': None, 'disconnected': None}
            assert descriptor(websocket) is None


def test_a_connection_that_fails_has_no_descriptor(dead_port):
    found = converse(WebSocket('ws://127.0.0.1:{}'.format(dead_port)), descriptor)
    assert found == {'connecting': None, 'connect_fail': None}


def test_select_takes_a_client_itself():
    with RawServer(echo) as server:
        websocket = WebSocket(server.url)
        for event in websocket:
            if event.name == 'poll':
                assert select.select([], [websocket], [], PATIENCE)[1] == [websocket]
                websocket.send_text(u'hello')
                assert select.select([websocket], [], [], PATIENCE)[0] == [websocket]
            elif event.name == 'text':
                websocket.close()
    assert event.graceful


@pytest.mark.parametrize('secure', [False, True], ids=['ws', 'wss'])
def test_a_servers_end_has_a_descriptor_until_disconnected(secure, server_tls, authority_file):
    seen = Queue()

    def handle(websocket):
        for event in websocket:
            seen.put((event.name, own_address(websocket)))
        seen.put((None, descriptor(websocket)))

    with Server(handle, ssl_context=server_tls if secure else None) as server:
        converse(WebSocket(server.url, ssl_cafile=authority_file), descriptor)
        found = dict(iter(lambda: seen.get(timeout=PATIENCE), (None, None)))
    assert found.pop('disconnected') is None
    assert set(found) == {'ready', 'poll', 'closing'}
    assert set(found.values()) == {(server.host, server.port)}
    assert descriptor(ServerWebSocket(None, None)) is None


def test_a_websocket_that_is_open_over_a_socket_has_its_descriptor():
    ours, theirs = socket.socketpair()
    websocket = open_over(ours)
    assert websocket.fileno() == ours.fileno()
    websocket.session.dispose()
    assert descriptor(websocket) is None
    theirs.close()


def test_the_descriptor_of_tls_within_tls_is_that_of_the_way_to_the_proxy(
        server_tls, authority_file):
    if not hasattr(ssl, 'MemoryBIO'):
        pytest.skip('there is no TLS within TLS on this Python')
    with TLSProxy(server_tls, True) as proxy, Server(list, ssl_context=server_tls) as server:
        websocket = WebSocket(server.url, proxies=proxy.proxies, ssl_cafile=authority_file)
        for event in websocket:
            if event.name == 'ready':
                with socket_at(websocket.fileno()) as sock:
                    assert sock.getpeername() == ('127.0.0.1', proxy.port)
                websocket.close()
    assert event.graceful


# -- addresses --

def addresses(websocket):
    return websocket.local_address, websocket.peer_address


NOWHERE = (None, None)


def test_a_client_has_both_addresses_from_connected_to_disconnected(link):
    def script(sock):
        there.put((sock.getpeername(), sock.getsockname()))
        answer_upgrade(sock)
        read_to_close(sock)
        sock.sendall(make_close(1000))

    there = Queue()
    with link.serve(script) as server:
        websocket = link.connect(server.url)
        assert addresses(websocket) == NOWHERE
        found = converse(websocket, addresses)
        expected = there.get(timeout=PATIENCE)
        assert expected[1] == websocket.address == ('127.0.0.1', server.port)
        assert found.pop('closed')[0] == expected[0]    # the peer may have gone already
        assert found == {
            'connecting': NOWHERE, 'connected': expected, 'ready': expected, 'poll': expected,
            'disconnected': NOWHERE}
        assert addresses(websocket) == NOWHERE


@pytest.mark.parametrize('threads', [True, False])
@pytest.mark.parametrize('secure', [False, True], ids=['ws', 'wss'])
def test_a_servers_end_has_both_addresses(threads, secure, server_tls, authority_file):
    def record(websocket, event):
        seen[event.name] = addresses(websocket)
        if event.name == 'ready':
            assert websocket.address == websocket.peer_address
        elif event.name == 'disconnected':
            ended.put(None)

    def handle(websocket):
        for event in websocket:
            record(websocket, event)

    seen, ended = {}, Queue()
    options = {'ssl_context': server_tls if secure else None}
    with Server(handle, **options) if threads else Server(threads=False, **options) as server:
        assert server.address == (server.host, server.port)
        client = Background(
            converse, WebSocket(server.url, ssl_cafile=authority_file), addresses)
        if not threads:
            for websocket, event in server:
                record(websocket, event)
                if event.name == 'disconnected':
                    server.close()
        ended.get(timeout=PATIENCE)
        local, peer = client.result()['ready']
        assert peer == server.address
        assert seen.pop('disconnected') == NOWHERE
        assert seen['ready'] == (peer, local)
    assert addresses(ServerWebSocket(None, None)) == NOWHERE


def test_addresses_of_ipv6_have_their_four_parts():
    try:
        server = Server(list, host=u'::1')
    except socket.error as error:
        if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            raise
        pytest.skip('there is no IPv6 here')
    with server:
        websocket = WebSocket(server.url)
        assert server.address == websocket.address == ('::1', server.port)
        local, peer = converse(websocket, addresses)['ready']
    assert peer == ('::1', server.port, 0, 0)
    assert local[0] == '::1'


@pytest.mark.skipif(not hasattr(socket, 'AF_UNIX'), reason='there are no Unix sockets here')
def test_addresses_of_a_unix_socket_are_paths(path):
    seen = Queue()

    def handle(websocket):
        seen.put((addresses(websocket), websocket.address))
        for _event in websocket:
            pass

    with Server(handle, unix_path=path) as server:
        websocket = WebSocket(server.url)
        assert server.address == websocket.address == path
        assert converse(websocket, addresses)['ready'] == ('', path)
        assert seen.get(timeout=PATIENCE) == ((path, ''), '')


def test_the_peer_of_a_connection_through_a_proxy_is_the_proxy(server_tls, authority_file):
    secure = hasattr(ssl, 'MemoryBIO')      # 2.7 has no TLS within TLS
    with TLSProxy(server_tls, True) as proxy, \
            Server(list, ssl_context=server_tls if secure else None) as server:
        websocket = WebSocket(server.url, proxies=proxy.proxies, ssl_cafile=authority_file)
        found = converse(websocket, addresses)
        assert websocket.address == server.address
    assert found['ready'][1] == ('127.0.0.1', proxy.port)
    assert found['ready'][0][0] == '127.0.0.1'


def test_a_connection_that_was_reset_has_no_peer():
    def script(sock):
        answer_upgrade(sock)
        is_ready.get(timeout=PATIENCE)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))

    is_ready = Queue()
    with RawServer(script) as server:
        websocket = WebSocket(server.url)
        for event in websocket:
            if event.name == 'ready':
                is_ready.put(None)
                assert select.select([websocket], [], [], PATIENCE)[0]
                local, peer = addresses(websocket)
                assert local[0] == '127.0.0.1'
                assert peer is None
    assert not event.graceful


def test_the_address_follows_a_redirect():
    def redirect(sock):
        read_head(sock)
        sock.sendall(b'HTTP/1.1 302 Found\r\nLocation: ' + server.url.encode('ascii')
                     + b'\r\nContent-Length: 0\r\n\r\n')

    with Server(list) as server, RawServer(redirect) as first:
        websocket = WebSocket(first.url)
        found = converse(websocket, lambda websocket: websocket.address)
        assert found['connected'] == ('127.0.0.1', first.port)
        assert found['ready'] == server.address
