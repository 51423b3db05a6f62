"""A link whose packets are dropped, in network namespaces that the test makes.

Nobody is told of such an end: no FIN, no RST, no ICMP. It can only be noticed by its silence.
"""

from __future__ import absolute_import, division, print_function

import socket

import pytest

from lomond import WebSocket, errors
from lomond._compat import monotonic
from tests.namespaces import linked_namespaces
from tests.network.driving import wait_until_sending
from tests.programs import pause, wait_until
from tests.support import PATIENCE, RawServer, answer_upgrade, make_frame, names, read_frame

PING_RATE = 0.25
PING_TIMEOUT = 2.0

#: How much later than after PING_TIMEOUT of silence the loop may notice (seconds).
LATENESS = PATIENCE / 2

#: More than what the system's buffers take (bytes).
LARGE = 32 * 1024 * 1024

# Seconds: it asks after one without traffic, each second, and gives up at the second ask.
KEEPALIVE = [
    (socket.IPPROTO_TCP, getattr(socket, option, 0), value)
    for option, value in [('TCP_KEEPIDLE', 1), ('TCP_KEEPINTVL', 1), ('TCP_KEEPCNT', 2)]]


@pytest.fixture(scope='module')
def link():
    with linked_namespaces() as link:
        yield link


def serve(link, script, ssl_context=None):
    """Make a `RawServer` at the far end."""
    return link.far.call(RawServer, script, ssl_context, host=link.host)


def answer(sock):
    """Answer pings and texts, with pongs and the same texts, up to a Close."""
    answer_upgrade(sock)
    first = None
    while first != 0x88:
        first, payload = read_frame(sock)
        sock.sendall(make_frame({0x89: 10, 0x81: 1, 0x88: 8}[first], payload))


def talk_and_never_listen(sock):
    """Send texts, without end, and take nothing in."""
    answer_upgrade(sock)
    while True:
        sock.sendall(make_frame(1, b'still here'))
        pause(0.05)


class Client(object):
    """A WebSocket at the near end, to a name whose address is the server's.

    Its loop runs in a thread. ``events`` has pairs, of the time at which an
    event was handled and the event.
    """

    def __init__(self, link, server, is_secure=False, authority_file=None, addresses=None,
                 connect_options=None, **options):
        self.events = []
        family = socket.AF_INET
        infos = [(socket.AF_INET6 if ':' in host else family, socket.SOCK_STREAM, 6, '',
                  (host, server.port)) for host in addresses or [link.host]]
        self.websocket = WebSocket(
            '{}://localhost:{}/'.format('wss' if is_secure else 'ws', server.port),
            resolver=lambda *_args: infos, proxies={}, ssl_cafile=authority_file, **options)
        self._link = link
        self._connect_options = connect_options or {}
        self._senders = []
        self._loop = link.near.start(self._run)

    def _run(self):
        for event in self.websocket.connect(poll=0.2, **self._connect_options):
            self.events.append((monotonic(), event))

    def start_sending(self):
        """Send more than goes out, in a thread; and once more, in another, when that is stuck."""
        self._senders.append(self._link.near.start(self._send))
        wait_until_sending(self.websocket)
        self._senders.append(self._link.near.start(self._send))

    def _send(self):
        try:
            self.websocket.send_binary(b'x' * LARGE)
        except errors.WebSocketError as error:
            return monotonic(), error

    def failed_sends(self):
        """Return for each send when it failed, and how; None for one that didn't."""
        return [sender.result() for sender in self._senders]

    def names(self):
        return names(event for _time, event in list(self.events))

    def wait_for(self, name):
        """Wait until there was such an event."""
        wait_until(lambda: name in self.names(), name)

    def last_heard(self):
        """Return when the last event came that was the server's doing."""
        return max(time for time, event in self.events
                   if event.name in ('ready', 'text', 'pong'))

    def ended(self):
        """Wait for the end of the loop; return the events."""
        self._loop.result()
        return [event for _time, event in self.events]


@pytest.fixture(scope='module')
def deaths(link, server_tls, authority_file):
    """Clients of which each was connected when the link was cut, by scheme and what it did.

    All at once, as there is nothing to do for seconds.
    """
    asking = {'connect_options': {'ping_rate': PING_RATE, 'ping_timeout': PING_TIMEOUT}}
    plans = [
        ('idle', answer, asking, 'pong'),
        ('rarely asking', answer, {'connect_options': {'ping_timeout': PING_TIMEOUT}}, 'pong'),
        ('sending', talk_and_never_listen, asking, 'text'),
        ('spinning', answer, {'connect_options': dict(asking['connect_options'], spin=0.01)},
         'pong'),
        ('keepalive', answer,
         {'connect_options': {'ping_rate': 0}, 'socket_options': KEEPALIVE}, 'ready'),
    ]
    clients = {}
    servers = []
    try:
        for scheme, is_secure in (('ws', False), ('wss', True)):
            for what, script, options, sign in plans:
                server = serve(link, script, server_tls if is_secure else None).__enter__()
                servers.append(server)
                client = clients[scheme, what] = Client(
                    link, server, is_secure, authority_file, **options)
                client.wait_for(sign)
                if what == 'sending':
                    client.start_sending()
        with link.being_cut():
            for client in clients.values():
                client.ended()
    finally:
        for client in clients.values():
            client.websocket.force_disconnect()
        for server in servers:
            server.__exit__(None, None, None)
    return clients


@pytest.fixture(params=['ws', 'wss'])
def scheme(request):
    return request.param


def assert_noticed(client):
    """Assert that the loop ended for the silence, neither too late nor too early."""
    assert client.names()[-2:] == ['unresponsive', 'disconnected']
    assert not client.events[-1][1].graceful
    for time, _event in client.events[-2:]:
        silence = time - client.last_heard()
        assert PING_TIMEOUT - 0.2 <= silence <= PING_TIMEOUT + LATENESS


@pytest.mark.parametrize('what', ['idle', 'rarely asking', 'spinning'])
def test_a_dead_link_is_noticed_soon_after_ping_timeout(deaths, scheme, what):
    assert_noticed(deaths[scheme, what])


def test_a_dead_link_is_noticed_while_a_sender_is_stuck_and_every_sender_is_told(deaths, scheme):
    client = deaths[scheme, 'sending']
    assert_noticed(client)
    (stuck_until, stuck), (queued_until, queued) = client.failed_sends()
    assert isinstance(stuck, errors.TransportFail)
    assert isinstance(queued, (errors.TransportFail, errors.WebSocketUnavailable))
    assert stuck_until - client.last_heard() <= PING_TIMEOUT + LATENESS
    assert queued_until - client.last_heard() <= PING_TIMEOUT + LATENESS


@pytest.mark.skipif(not hasattr(socket, 'TCP_KEEPIDLE'), reason='needs its options')
def test_tcp_keepalive_ends_a_dead_connection_without_pings(deaths, scheme):
    client = deaths[scheme, 'keepalive']
    assert client.names()[-2:] == ['ready', 'disconnected']
    time, event = client.events[-1]
    assert not event.graceful
    # 3.10 and 3.11 take any end that OpenSSL meets for the same.
    assert event.reason.endswith(u'timed out') or (
        scheme == 'wss' and event.reason.endswith(u'cut off'))
    assert time - client.last_heard() < 10


def test_no_message_is_lost_when_the_link_comes_back_in_time(link):
    def send(count):
        for _ in range(count):
            client.websocket.send_text(u'{}'.format(len(sent)))
            sent.append(u'{}'.format(len(sent)))
            pause(0.02)

    def received():
        return [event.text for _time, event in list(client.events) if event.name == 'text']

    sent = []
    with serve(link, answer) as server:
        client = Client(
            link, server, connect_options={'ping_rate': PING_RATE, 'ping_timeout': 4})
        client.wait_for('ready')
        send(10)
        with link.being_cut():
            send(30)
        send(10)
        wait_until(lambda: len(received()) == len(sent), 'all have come back')
        client.websocket.close()
        events = client.ended()
    assert received() == sent
    assert names(events)[-2:] == ['closed', 'disconnected']
    assert events[-1].graceful


def test_connecting_to_where_nobody_answers_fails_at_connect_timeout(link):
    with serve(link, answer) as server:
        client = Client(link, server, addresses=[link.dead_host], connect_timeout=0.5)
        events = client.ended()
    assert names(events) == ['connecting', 'connect_fail']
    assert events[-1].phase == 'connect'
    assert 0.4 < client.events[-1][0] - client.events[0][0] < 0.5 + LATENESS


@pytest.mark.parametrize('dead', ['dead_host', 'dead_host6'])
def test_an_address_that_is_dead_holds_up_the_next_one_only_for_a_moment(link, dead):
    if getattr(link, dead) is None:
        pytest.skip('there is no IPv6')
    with serve(link, answer) as server:
        client = Client(link, server, addresses=[getattr(link, dead), link.host])
        client.wait_for('ready')
        client.websocket.close()
        client.ended()
    times = {event.name: time for time, event in client.events}
    # RFC 8305 5: the next is begun after 250 ms. (And the first was begun at all.)
    assert 0.2 < times['connected'] - times['connecting'] < LATENESS
