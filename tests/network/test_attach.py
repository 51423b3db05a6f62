"""WebSockets over sockets whose opening handshake was made elsewhere, at both ends."""

from __future__ import absolute_import, division, print_function

import socket
import ssl

import pytest

from lomond import WebSocket, errors, extensions
from lomond._compat import text_type
from lomond.drivers import QueuedClientSession
from lomond.persist import ReconnectPolicy, persist
from lomond.pool import Pool
from lomond.response import Response
from lomond.sansio import Client, Server
from lomond.server import Request
from lomond.testing import Clock
from tests.network.driving import Background, steps_of
from tests.support import (
    PATIENCE,
    make_close,
    make_frame,
    needs_refcounts,
    read_exactly,
    read_frame,
)

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

KEY = b'\1\2\3\4'
DEFLATE = u'permessage-deflate; client_max_window_bits=12; server_no_context_takeover'

both_roles = pytest.mark.parametrize('role', ['client', 'server'])


def socketpair():
    return socket.socketpair()


def tcp_pair():
    listener = socket.socket()
    try:
        listener.bind(('127.0.0.1', 0))
        listener.listen(1)
        client = socket.create_connection(listener.getsockname())
        return client, listener.accept()[0]
    finally:
        listener.close()


@pytest.fixture
def pair():
    """A connected socket to attach, and the other end, which is raw."""
    ours, theirs = socketpair()
    theirs.settimeout(PATIENCE)
    yield ours, theirs
    ours.close()
    theirs.close()


def frame(role, opcode, payload=b'', **options):
    """Return a frame for an end in this role: a server gets masked ones."""
    return make_frame(opcode, payload, key=KEY if role == 'server' else None, **options)


def echo(websocket):
    """Send each message back; return the events."""
    seen = []
    for event in websocket:
        seen.append(event)
        if event.name == 'text':
            websocket.send_text(event.text)
        elif event.name == 'binary':
            websocket.send_binary(event.data)
    return seen


def names_of(seen):
    return [event.name for event in seen]


# -- both ends --

@pytest.mark.parametrize('make_pair', [socketpair, tcp_pair])
@pytest.mark.parametrize('agreed', [u'', DEFLATE])
def test_both_ends_talk_and_close(make_pair, agreed):
    one, other = make_pair()
    client = WebSocket.attach(one, extensions=agreed, protocol=u'chat', max_message_size=5000)
    server = WebSocket.attach(other, role='server', extensions=agreed, protocol=u'chat')
    serving = Background(echo, server)
    seen = []
    for event in client:
        seen.append(event)
        if event.name == 'ready':
            client.send_text(u'caf\xe9 ' * 500)
            client.send_binary(b'')
        elif event.name == 'binary':
            client.close(4000, u'done')
    assert names_of(seen) == ['ready', 'poll', 'text', 'binary', 'closed', 'disconnected']
    assert seen[2].text == u'caf\xe9 ' * 500
    assert seen[-1].graceful
    assert client.stats.sent.wire_bytes < 1000 or not agreed
    served = serving.result()
    assert names_of(served) == ['ready', 'poll', 'text', 'binary', 'closing', 'disconnected']
    assert (served[-2].code, served[-1].graceful) == (4000, True)
    for websocket in (client, server):
        assert websocket.protocol == u'chat'
        assert websocket.extensions == ({u'permessage-deflate'} if agreed else frozenset())
        assert websocket.supports_compression is bool(agreed)


@both_roles
def test_only_a_client_masks(pair, role):
    ours, theirs = pair
    websocket = WebSocket.attach(ours, role)
    websocket.open()
    websocket.send_text(u'Hello')
    head = bytearray(read_exactly(theirs, 2))
    assert head[1] == (0x85 if role == 'client' else 0x05)
    websocket.force_disconnect()


@both_roles
def test_ready_has_what_was_agreed_and_the_given_head(pair, role):
    response = Response(b'HTTP/1.1 101 Switching Protocols\r\nX-Feed: 7\r\n\r\n') \
        if role == 'client' else Request(b'GET /feed HTTP/1.1\r\nHost: example.org\r\n\r\n')
    websocket = WebSocket.attach(
        pair[0], role, protocol=u'chat', extensions=DEFLATE, response=response)
    for event in websocket:
        assert event.name == 'ready'
        assert event.response is response
        assert event.protocol == u'chat'
        assert event.extensions == {u'permessage-deflate'}
        assert event.connection == 1
        break


@both_roles
def test_frames_in_the_rest_come_after_ready_and_poll_and_before_all_others(pair, role):
    ours, theirs = pair
    rest = frame(role, 1, b'one') + frame(role, 2, b'two') + frame(role, 1, b'thr', fin=False)[:4]
    late = frame(role, 1, b'thr', fin=False)[4:] + frame(role, 0, b'ee')
    theirs.sendall(late + frame(role, 8, b'\x03\xe8'))
    theirs.shutdown(socket.SHUT_WR)
    websocket = WebSocket.attach(ours, role, rest=bytearray(rest))
    seen = list(websocket)
    assert names_of(seen) == [
        'ready', 'poll', 'text', 'binary', 'text', 'closing', 'disconnected']
    assert [event.text for event in seen if event.name == 'text'] == [u'one', u'three']


@both_roles
def test_all_events_are_in_the_rest_of_a_connection_that_has_ended(pair, role):
    pair[1].close()
    seen = list(WebSocket.attach(pair[0], role, rest=frame(role, 1, b'last')))
    assert names_of(seen) == ['ready', 'poll', 'text', 'disconnected']
    assert not seen[-1].graceful
    other = {'client': u'server', 'server': u'client'}[role]
    assert seen[-1].reason == u'the {} closed the connection'.format(other)


def test_the_server_s_end_ends_tcp_first(pair):
    """It doesn't wait for the client to do so (RFC 6455 7.1.1)."""
    ours, theirs = pair
    theirs.sendall(make_close(1000, key=KEY))
    clock = Clock()
    websocket = WebSocket.attach(ours, 'server')
    seen = list(websocket.connect(session_class=clock.session))
    assert seen[-1].graceful
    assert read_frame(theirs)[0] == 0x88
    assert theirs.recv(1) == b''


@both_roles
@pytest.mark.parametrize('timeout', [None, 0, 7.5])
def test_how_the_socket_waited_makes_no_difference(pair, role, timeout):
    ours, theirs = pair
    ours.settimeout(timeout)
    with WebSocket.attach(ours, role) as websocket:
        websocket.open()
        theirs.sendall(frame(role, 1, b'x'))
        assert websocket.receive(timeout=PATIENCE) == u'x'
        websocket.force_disconnect()


@pytest.mark.parametrize('role', ['client', 'server'])
def test_tls_of_the_user_s_own(role, server_tls, authority_file):
    one, other = tcp_pair()
    client_tls = ssl.create_default_context(cafile=authority_file)
    client_tls.check_hostname = False
    securing = Background(server_tls.wrap_socket, other, server_side=True)
    secured = {'client': client_tls.wrap_socket(one), 'server': securing.result()}
    theirs = secured.pop({'client': 'server', 'server': 'client'}[role])
    theirs.settimeout(PATIENCE)
    websocket = WebSocket.attach(secured.pop(role), role, rest=frame(role, 1, b'first'))
    assert websocket.is_secure
    assert websocket.url.startswith('wss://127.0.0.1:')
    answering = Background(lambda: (
        read_frame(theirs), theirs.sendall(frame(role, 8, b'\x03\xe8')), theirs.close()))
    seen = []
    for event in websocket:
        seen.append(event)
        if event.name == 'text':
            websocket.close()
    answering.result()
    assert names_of(seen) == ['ready', 'poll', 'text', 'closed', 'disconnected']


def test_a_tls_handshake_that_is_not_complete_is_refused():
    one, other = tcp_pair()
    context = ssl.create_default_context()
    context.check_hostname = False
    sock = context.wrap_socket(one, do_handshake_on_connect=False)
    with pytest.raises(ValueError, match='do_handshake'):
        WebSocket.attach(sock)
    sock.close()
    other.close()


# -- what its user finds --

def test_before_the_beginning_it_is_connecting_and_sends_nothing(pair):
    websocket = WebSocket.attach(pair[0])
    assert (websocket.state, websocket.is_open) == ('connecting', False)
    with pytest.raises(errors.WebSocketUnavailable):
        websocket.send_text(u'x')
    with pytest.raises(errors.WebSocketUnavailable, match='open()'):
        websocket.receive()
    websocket.force_disconnect()
    pair[1].setblocking(True)
    assert pair[1].recv(1) == b''


def test_its_url_is_made_of_the_other_end_s_address_or_given():
    one, other = tcp_pair()
    with WebSocket.attach(one) as client:
        assert client.url == u'ws://127.0.0.1:{}/'.format(other.getsockname()[1])
    with WebSocket.attach(other, 'server', url=u'ws://example.org/feed?a=1') as server:
        assert repr(server) == "WebSocket('ws://example.org/feed?a=1')"
        assert server.resource == u'/feed?a=1'


def test_options_are_those_of_a_connection(pair):
    ours, theirs = pair
    websocket = WebSocket.attach(
        ours, max_message_size=1000, write_timeout=7, fragment_size=2, message_parts=True,
        text_as_bytes=True, json_loads=len, json_dumps=str, max_read_ahead=5000)
    assert (websocket.max_message_size, websocket.write_timeout) == (1000, 7)
    websocket.open()
    websocket.send_binary(b'xyz')
    assert [read_frame(theirs) for _ in range(2)] == [(0x02, b'xy'), (0x80, b'z')]
    websocket.force_disconnect()


@both_roles
def test_calls_replace_the_loop(pair, role):
    ours, theirs = pair
    with WebSocket.attach(ours, role, rest=frame(role, 1, b'one')) as websocket:
        assert websocket.open(timeout=PATIENCE).name == 'ready'
        assert websocket.is_open
        theirs.sendall(frame(role, 1, b'two') + frame(role, 8, b'\x03\xe8'))
        theirs.shutdown(socket.SHUT_WR)
        assert list(websocket.messages()) == [u'one', u'two']
    assert read_frame(theirs)[0] == 0x88


def test_calls_with_a_thread_in_the_background(pair):
    ours, theirs = pair
    with WebSocket.attach(ours, 'server') as websocket:
        websocket.open(background=True)
        theirs.sendall(frame('server', 9, b'p'))
        assert read_frame(theirs) == (0x8A, b'p')
        theirs.sendall(frame('server', 8, b'\x03\xe8'))
        with pytest.raises(errors.WebSocketClosed):
            websocket.receive()


def test_a_pool_drives_both_ends():
    one, other = socketpair()
    pool = Pool(max_dialing=1)
    client = pool.add(WebSocket.attach(one), ping_rate=0)
    server = pool.add(WebSocket.attach(other, 'server'), ping_rate=0)
    seen = {client: [], server: []}
    for websocket, event in pool:
        seen[websocket].append(event.name)
        if event.name == 'ready' and websocket is client:
            client.send_text(u'Hello')
        elif event.name == 'text' and websocket is server:
            server.send_text(event.text.upper())
        elif event.name == 'text':
            assert event.text == u'HELLO'
            pool.close()
    assert seen[client] == ['ready', 'text', 'closed', 'disconnected']
    assert seen[server][:2] == ['ready', 'text']
    assert seen[server][-1] == 'disconnected'


def test_a_driver_of_the_user_s_own_drives_it(pair):
    ours, theirs = pair
    theirs.sendall(make_frame(1, b'x') + make_close(1000))
    theirs.shutdown(socket.SHUT_WR)
    websocket = WebSocket.attach(ours)
    seen = list(steps_of(websocket.new_session(QueuedClientSession)))
    assert names_of(seen) == ['ready', 'text', 'closing', 'disconnected']


def test_timers_go_by_the_options_of_the_loop(pair):
    ours, theirs = pair
    clock = Clock()
    websocket = WebSocket.attach(ours, 'server')
    seen = []
    for event in websocket.connect(session_class=clock.session, poll=600, ping_rate=1000):
        seen.append(event.name)
        if len(seen) == 4:
            websocket.force_disconnect()
        elif event.name == 'poll':
            clock.ahead += 600
    assert seen == ['ready', 'poll', 'poll', 'poll', 'disconnected']
    assert read_frame(theirs)[0] == 0x89


# -- the socket's end --

@both_roles
@pytest.mark.parametrize('leave', [
    lambda websocket: websocket.close(),
    lambda websocket: websocket.force_disconnect(),
    lambda websocket: websocket.__exit__(None, None, None),
    lambda websocket: websocket.new_session(QueuedClientSession).dispose(),
], ids=['close', 'force_disconnect', 'exit', 'dispose'])
def test_the_socket_is_closed_though_nothing_has_begun(pair, role, leave):
    ours, theirs = pair
    websocket = WebSocket.attach(ours, role)
    leave(websocket)
    assert theirs.recv(1) == b''


@needs_refcounts
@both_roles
def test_the_socket_is_closed_with_a_websocket_that_nobody_needs(role):
    ours, theirs = socketpair()
    WebSocket.attach(ours, role)
    assert theirs.recv(1) == b''
    theirs.close()


@needs_refcounts
@both_roles
def test_the_socket_is_closed_by_leaving_the_loop(role):
    ours, theirs = socketpair()
    websocket = WebSocket.attach(ours, role)
    for _event in websocket:
        break
    assert theirs.recv(1) == b''
    theirs.close()
    assert websocket.is_closed


def test_the_socket_is_closed_by_a_pool_that_never_ran(pair):
    pool = Pool()
    websocket = pool.add(WebSocket.attach(pair[0]))
    assert pool.remove(websocket)
    assert pair[1].recv(1) == b''


def test_a_close_before_the_first_event_goes_out_as_a_frame(pair):
    """Where a loop is about to begin: the connection is open already."""
    ours, theirs = pair
    websocket = WebSocket.attach(ours)
    loop = websocket.connect()
    websocket.close(1001, u'')
    theirs.sendall(make_close(1001))
    theirs.shutdown(socket.SHUT_WR)
    seen = list(loop)
    assert read_frame(theirs) == (0x88, b'\x03\xe9')
    assert names_of(seen)[0] == 'ready'
    assert names_of(seen)[-2:] == ['closed', 'disconnected']


def test_one_that_is_broken_before_the_first_event_never_opens(pair):
    websocket = WebSocket.attach(pair[0])
    loop = websocket.connect()
    websocket.force_disconnect()
    seen = list(loop)
    assert names_of(seen)[-1] == 'connect_fail'
    assert 'ready' not in names_of(seen)
    assert pair[1].recv(1) == b''


def test_one_that_another_thread_closes_as_its_loop_begins_never_opens(pair):
    websocket = WebSocket.attach(pair[0])
    loop = websocket.connect()
    websocket.handover.close()      # that thread found no session
    seen = list(loop)
    assert names_of(seen) == ['connect_fail']
    assert 'closed by the application' in seen[0].reason


# -- what isn't possible --

def test_it_has_one_connection_only(pair):
    ours, theirs = pair
    theirs.close()
    websocket = WebSocket.attach(ours)
    assert names_of(websocket)[-1] == 'disconnected'
    for begin in (websocket.connect, websocket.open, websocket.reset,
                  lambda: Pool().add(websocket), lambda: iter(websocket)):
        with pytest.raises(errors.WebSocketUnavailable, match='attach'):
            begin()


def test_a_second_loop_is_refused_while_one_runs(pair):
    websocket = WebSocket.attach(pair[0])
    for _event in websocket:
        with pytest.raises(errors.WebSocketUnavailable, match='already running'):
            websocket.connect()
        break


@pytest.mark.parametrize('begin', [
    persist,
    lambda websocket: persist(websocket, policy=ReconnectPolicy()),
    lambda websocket: Pool().add(websocket, ReconnectPolicy()),
], ids=['persist', 'policy', 'pool'])
def test_it_can_not_reconnect(pair, begin):
    with WebSocket.attach(pair[0]) as websocket:
        with pytest.raises(TypeError, match='attach'):
            begin(websocket)
        websocket.open()        # nothing has happened to it
        websocket.force_disconnect()


@pytest.mark.parametrize('options, error, words', [
    ({'role': 'proxy'}, ValueError, "'client' or 'server'"),
    ({'protocol': u'a b'}, ValueError, 'a b'),
    ({'rest': u'text'}, TypeError, 'rest takes bytes'),
    ({'compress': True}, TypeError, 'attach.. has no option compress'),
    ({'proxies': {}}, TypeError, 'attach.. has no option proxies'),
    ({'max_message_size': 0}, ValueError, 'max_message_size'),
    ({'url': u'http://example.org/'}, ValueError, 'http'),
    ({'extensions': u'x-unknown'}, ValueError, 'lomond.extensions.accept'),
    ({'extensions': u'permessage-deflate; no=such'}, ValueError, 'lomond.extensions.accept'),
    ({'extensions': u'permessage-deflate, permessage-deflate'}, ValueError, 'accept'),
    ({'extensions': u'permessage-deflate; "'}, ValueError, 'accept'),
    ({'extensions': {u'permessage-deflate'}}, TypeError, 'Sec-WebSocket-Extensions'),
    ({'extensions': [extensions.PermessageDeflate]}, TypeError, 'lomond.extensions.accept'),
    ({'extensions': extensions.PermessageDeflate()}, TypeError, 'lomond.extensions.accept'),
    ({'extensions': [extensions.PermessageDeflate()]}, TypeError, 'lomond.extensions.accept'),
    ({'extensions': None}, TypeError, 'lomond.extensions.accept'),
])
@both_roles
def test_a_wrong_argument_is_refused_and_the_socket_stays_the_user_s(
        pair, role, options, error, words):
    ours, theirs = pair
    ours.settimeout(PATIENCE)
    with pytest.raises(error, match=words):
        WebSocket.attach(ours, **dict({'role': role}, **options))
    assert ours.gettimeout() == PATIENCE
    ours.sendall(b'x')
    assert theirs.recv(2) == b'x'


def udp_socket():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(('127.0.0.1', 9))
    return sock


def bound_socket():
    sock = socket.socket()
    sock.bind(('127.0.0.1', 0))
    return sock


def closed_socket():
    sock = socket.socket()
    sock.close()
    return sock


@pytest.mark.parametrize('make, error, words', [
    (udp_socket, ValueError, 'stream socket'),
    (bound_socket, errors.ConnectFail, 'no connected socket'),
    (socket.socket, errors.ConnectFail, 'no connected socket'),
    (closed_socket, errors.ConnectFail, 'no connected socket'),
])
def test_what_is_no_connected_stream_socket_is_refused(make, error, words):
    sock = make()
    with pytest.raises(error, match=words):
        WebSocket.attach(sock)
    sock.close()


@pytest.mark.parametrize('given', [None, u'ws://example.org/', object(), 3, lambda: None])
def test_what_is_no_socket_is_refused(given):
    with pytest.raises(TypeError, match='sock must be a socket'):
        WebSocket.attach(given)


# -- extensions --

class Shift(extensions.Extension):
    """Adds 1 to each byte."""

    name = u'x-shift'

    def accept(self, parameters):
        return []

    def finalize(self, parameters):
        pass

    def offer(self):
        return []

    def frame_outbound(self, opcode, rsv, payload, fin):
        return rsv, bytes(bytearray((byte + 1) % 256 for byte in bytearray(payload)))

    def frame_inbound_payload_data(self, data):
        return bytes(bytearray((byte - 1) % 256 for byte in bytearray(data)))


def test_extensions_as_lomond_extensions_agreed_on_them():
    one, other = socketpair()
    factories = [Shift, extensions.PermessageDeflate]
    offer, offered = extensions.offer(factories)
    header, agreed = extensions.answer(offer, factories)
    client = WebSocket.attach(one, extensions=extensions.accept(header, offered))
    server = WebSocket.attach(other, 'server', extensions=agreed)
    serving = Background(echo, server)
    with client:
        client.open()
        assert client.extensions == {u'x-shift', u'permessage-deflate'}
        client.send_text(u'Hello ' * 100)
        assert client.receive(PATIENCE) == u'Hello ' * 100
    assert serving.result()[-1].graceful


@pytest.mark.parametrize('header', [
    u'permessage-deflate',
    u'permessage-deflate; server_max_window_bits=9',
    u'permessage-deflate; server_max_window_bits=15; client_max_window_bits=15',
    u'permessage-deflate; client_no_context_takeover; client_max_window_bits=9',
    u'permessage-deflate; server_no_context_takeover; client_no_context_takeover',
])
def test_the_header_of_the_answer_means_the_same_at_both_ends(header):
    one, other = socketpair()
    client = WebSocket.attach(one, extensions=header)
    server = WebSocket.attach(other, 'server', extensions=header)
    serving = Background(echo, server)
    noise = u''.join(text_type(number) for number in range(20000))
    with client:
        client.open()
        for _ in range(3):
            client.send_text(noise)
            assert client.receive(PATIENCE) == noise
    assert serving.result()[-1].graceful


# -- handshakes made by sans-I/O ends --

def read_on(sock, end):
    """Pass on what is received until the handshake is made; return the events."""
    seen = []
    while not seen:
        seen.extend(end.receive(sock.recv(65536)))
    return seen


@pytest.mark.parametrize('compress', [False, True])
def test_handshakes_of_lomond_sansio(compress):
    one, other = tcp_pair()
    client_end = Client(u'ws://example.org/feed', protocols=['chat'], compress=compress)
    server_end = Server(protocols=['chat'], compress=compress)
    one.sendall(client_end.data_to_send())
    request = read_on(other, server_end)[0].request
    assert [event.name for event in server_end.accept()] == ['ready']
    answer = server_end.data_to_send()
    other.sendall(answer)
    ready = read_on(one, client_end)[0]
    header = ready.response.get('Sec-WebSocket-Extensions') or u''
    client = WebSocket.attach(
        one, protocol=client_end.protocol, extensions=header, response=ready.response)
    server = WebSocket.attach(
        other, 'server', protocol=server_end.protocol, extensions=header, response=request)
    serving = Background(echo, server)
    with client:
        assert client.open().response.status_code == 101
        assert client.protocol == u'chat'
        assert client.supports_compression is compress
        client.send_binary(b'x' * 1000)
        assert client.receive(PATIENCE) == b'x' * 1000
    served = serving.result()
    assert served[0].response.path == u'/feed'
    assert served[-1].graceful


