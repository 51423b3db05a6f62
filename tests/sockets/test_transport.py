"""lomond.net.transport and the stream of lomond.net.tls, on real pairs of sockets.

Most tests run on each: what holds for plain bytes holds for encrypted ones, and
for TLS within TLS.
"""

from __future__ import absolute_import, division, print_function

import errno
import re
import socket
import ssl
import struct
import threading
from contextlib import closing

import pytest

from lomond._compat import monotonic
from lomond.errors import ConnectFail, TransportFail
from lomond.net import tls, transport
from lomond.net.options import TLSOptions
from lomond.net.steps import Wait
from lomond.net.tls.client import TLSClient
from lomond.net.tls.handshake import handshake, handshake_within
from lomond.net.tls.transport import TLSTransport
from lomond.net.transport import RECEIVE_SIZE, Transport, would_block
from lomond.net.waiter import READ, WRITE, wait
from lomond.net.waker import Waker

from ..support import PATIENCE, needs_clean_openssl_errors, needs_sizes, read_exactly, socket_at

MIB = 1024 * 1024

#: More than a pair of sockets takes in by itself.
TOO_MUCH = 16 * MIB


def tcp_pair():
    """Return two connected sockets on loopback."""
    listener = socket.socket()
    try:
        listener.bind(('127.0.0.1', 0))
        listener.listen(1)
        client = socket.create_connection(listener.getsockname(), PATIENCE)
        server, _address = listener.accept()
    finally:
        listener.close()
    return client, server


def shake_hands(pair, client_context, server_context, handshake=handshake):
    """Make TLS on a pair of sockets or transports, in one thread; return the new transports."""
    deadline = monotonic() + PATIENCE
    # A client that is done goes last: it takes in what the server has yet to say.
    steps = [
        handshake(pair[0], client_context, deadline, 'localhost'),
        handshake(pair[1], server_context, deadline),
    ]
    ends = [None, None]
    while None in ends:
        for number in (0, 1):
            if ends[number] is None:
                step = next(steps[number])
                if not isinstance(step, Wait):
                    ends[number] = step
    return ends


def close_all(ends):
    for end in ends:
        end.abort()
        end.close()


@pytest.fixture
def plain_pair():
    ends = [Transport(sock) for sock in tcp_pair()]
    yield ends
    close_all(ends)


@pytest.fixture(scope='session')
def client_tls(authority_file):
    return tls.client_context(authority_file)


@pytest.fixture
def tls_pair(client_tls, server_tls):
    ends = shake_hands(tcp_pair(), client_tls, server_tls)
    yield ends
    close_all(ends)


@pytest.fixture
def nested_pair(tls_pair, client_tls, server_tls):
    if not hasattr(ssl, 'MemoryBIO'):
        pytest.skip('there is no TLS within TLS on this Python')
    ends = shake_hands(tls_pair, client_tls, server_tls, handshake_within)
    yield ends
    close_all(ends)


@pytest.fixture(params=['plain', 'tls', 'nested'])
def ends(request):
    """Two transports, connected with each other."""
    return request.getfixturevalue(request.param + '_pair')


class Running(object):
    """A function in a thread; `end` waits for it, and raises what it raised."""

    def __init__(self, function, *args):
        self._error = None
        self._thread = threading.Thread(target=self._run, args=(function,) + args)
        self._thread.daemon = True
        self._thread.start()

    def _run(self, function, *args):
        try:
            function(*args)
        except BaseException as error:
            self._error = error

    def end(self):
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), 'a thread did not end'
        if self._error is not None:
            raise self._error


def receive(end, count=1):
    """Wait for a number of bytes, and return them: no more than that if all went well."""
    deadline = monotonic() + PATIENCE
    pieces = []
    while count > 0:
        if not end.has_pending():
            assert wait(end.interest, deadline - monotonic()), 'nothing was received'
        piece = end.receive()
        if piece is not None:
            assert piece, 'the stream ended'
            pieces.append(piece)
            count -= len(piece)
    return b''.join(pieces)


def wait_for_end(end):
    """Read to the end of the stream, and return what came before it."""
    deadline = monotonic() + PATIENCE
    data = b''
    while True:
        piece = end.receive()
        if piece == b'':
            return data
        if piece is None:
            assert wait(end.interest, deadline - monotonic()), 'the stream did not end'
        data += piece or b''


def reset(end):
    """Close an end with a reset, where others are closed by a FIN."""
    with socket_at(end.fileno()) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    end.close()


def numbered(size):
    """Return bytes in which every 4 tell their place."""
    return struct.pack('!{}I'.format(size // 4), *range(size // 4))


# -- receiving --

def test_nothing_received_yet_is_none(ends):
    assert ends[0].receive() is None
    assert not ends[0].has_pending()
    assert wait(ends[0].interest, 0) == []


def test_bytes_arrive_as_they_were_sent(ends):
    ends[0].send(b'one', PATIENCE)
    assert receive(ends[1], 3) == b'one'
    ends[1].send(b'two', PATIENCE)
    assert receive(ends[0], 3) == b'two'
    assert ends[0].receive() is None


@pytest.mark.parametrize('pair', [
    'plain_pair', 'tls_pair', pytest.param('nested_pair', marks=needs_clean_openssl_errors)])
def test_end_of_the_stream_is_empty_bytes_and_stays_so(pair, request):
    ends = request.getfixturevalue(pair)
    ends[0].send(b'last', PATIENCE)
    ends[0].close()
    assert wait_for_end(ends[1]) == b'last'
    assert ends[1].receive() == b''


def test_one_end_may_be_closed_for_sending_only(plain_pair):
    plain_pair[0].shutdown_sending()
    assert wait_for_end(plain_pair[1]) == b''
    plain_pair[1].send(b'still', PATIENCE)
    assert receive(plain_pair[0], 5) == b'still'


def test_kind_of_stream_is_known(plain_pair, tls_pair):
    assert not plain_pair[0].is_secure
    assert tls_pair[0].is_secure
    assert re.match(r'TLSv1\.[23]\Z', tls_pair[0].version)
    assert tls_pair[0].cipher == tls_pair[1].cipher


def test_broken_connection_raises_socket_error(plain_pair):
    reset(plain_pair[1])
    assert wait(plain_pair[0].interest, PATIENCE)
    with pytest.raises(socket.error):
        plain_pair[0].receive()
    with pytest.raises(TransportFail) as caught:
        plain_pair[0].send(b'x', PATIENCE)
        plain_pair[0].send(b'x', PATIENCE)
    assert 'could not send' in str(caught.value)
    assert (caught.value.sent, caught.value.size) == (0, 1)


def test_cut_tls_stream_is_an_error_after_what_arrived_whole(tls_pair):
    """TCP's end without TLS's may be an attacker's doing: no clean end."""
    tls_pair[1].send(b'whole', PATIENCE)
    tls_pair[1].abort()
    tls_pair[1].close()
    assert receive(tls_pair[0], 5) == b'whole'
    assert wait(tls_pair[0].interest, PATIENCE)
    for _ in range(2):
        with pytest.raises(socket.error) as caught:
            tls_pair[0].receive()
        assert 'the connection was cut off' in str(caught.value)


def test_data_and_end_in_one_read_lose_nothing(tls_pair):
    """The last record and the end of TLS are here when the first read is made."""
    tls_pair[1].send(b'last', PATIENCE)
    tls_pair[1].close()
    assert wait(tls_pair[0].interest, PATIENCE)
    assert wait_for_end(tls_pair[0]) == b'last'


def test_garbage_in_the_tls_stream_is_an_error(tls_pair):
    with socket_at(tls_pair[1].fileno()) as sock:
        sock.send(b'x' * 100)
    assert wait(tls_pair[0].interest, PATIENCE)
    with pytest.raises(ssl.SSLError):
        while tls_pair[0].receive() is None:
            wait(tls_pair[0].interest, PATIENCE)


def test_garbage_right_after_data_is_an_error_after_that(tls_pair):
    tls_pair[1].send(b'whole', PATIENCE)
    with socket_at(tls_pair[1].fileno()) as sock:
        sock.send(b'x' * 100)
    assert receive(tls_pair[0], 5) == b'whole'
    with pytest.raises(ssl.SSLError):
        while tls_pair[0].receive() is None:
            wait(tls_pair[0].interest, PATIENCE)


def test_one_read_returns_a_bounded_piece(ends):
    data = numbered(4 * RECEIVE_SIZE)
    sender = Running(ends[0].send, data, PATIENCE)
    received = []
    while sum(map(len, received)) < len(data):
        if not ends[1].has_pending():
            assert wait(ends[1].interest, PATIENCE)
        piece = ends[1].receive()
        if piece is not None:
            # A TLS record, of 16 KiB, isn't split.
            assert 0 < len(piece) < RECEIVE_SIZE + 16 * 1024 + 1
            received.append(piece)
    sender.end()
    assert b''.join(received) == data


# -- a TLS record in two halves --

class Relay(object):
    """A wire between two sockets of one thread, that carries what it is told to."""

    def __init__(self):
        self.left, self._left_end = tcp_pair()
        self.right, self._right_end = tcp_pair()

    def take_record(self):
        """Take a TLS record from the right (RFC 8446 5.1)."""
        header = read_exactly(self._right_end, 5)
        return header + read_exactly(self._right_end, struct.unpack('!H', header[3:])[0])

    def give(self, data):
        """Let bytes out on the left."""
        self._left_end.sendall(data)

    def carry(self):
        """Carry all there is, both ways."""
        for source, sink in (
                (self._left_end, self._right_end), (self._right_end, self._left_end)):
            while wait(((source.fileno(), READ),), 0):
                data = source.recv(MIB)
                assert data, 'an end has gone'
                sink.sendall(data)

    def close(self):
        self._left_end.close()
        self._right_end.close()


@pytest.fixture
def relay():
    relay = Relay()
    yield relay
    relay.close()


@pytest.fixture
def relayed_pair(relay, client_tls, server_tls):
    deadline = monotonic() + PATIENCE
    steps = [
        handshake(relay.left, client_tls, deadline, 'localhost'),
        handshake(relay.right, server_tls, deadline),
    ]
    ends = [None, None]
    while None in ends:
        for number in (0, 1):
            if ends[number] is None:
                step = next(steps[number])
                if not isinstance(step, Wait):
                    ends[number] = step
            relay.carry()
    ends[1].send(b'x', PATIENCE)        # after the session tickets of TLS 1.3
    while ends[0].receive() is None:
        relay.carry()
    yield ends
    close_all(ends)


@pytest.mark.parametrize('size', [1, 1000, 16 * 1024])
def test_half_a_tls_record_is_nothing_yet(relay, relayed_pair, size):
    client, server = relayed_pair
    server.send(b'x' * size, PATIENCE)
    record = relay.take_record()
    half = len(record) // 2
    for part in (record[:3], record[3:5], record[5:half]):
        relay.give(part)
        assert wait(client.interest, PATIENCE)
        assert client.receive() is None
        assert not client.has_pending()
        assert wait(client.interest, 0) == []
    relay.give(record[half:])
    assert receive(client, size) == b'x' * size


def test_whole_record_before_half_a_one_is_received(relay, relayed_pair):
    client, server = relayed_pair
    server.send(b'first', PATIENCE)
    server.send(b'second', PATIENCE)
    first, second = relay.take_record(), relay.take_record()
    relay.give(first + second[:-1])
    assert receive(client, 5) == b'first'
    assert client.receive() is None
    relay.give(second[-1:])
    assert receive(client, 6) == b'second'


def test_sending_goes_on_while_half_a_record_is_there(relay, relayed_pair):
    client, server = relayed_pair
    server.send(b'x' * 1000, PATIENCE)
    record = relay.take_record()
    relay.give(record[:100])
    assert wait(client.interest, PATIENCE)
    assert client.receive() is None
    client.send(b'meanwhile', PATIENCE)
    while server.receive() is None:
        relay.carry()
    relay.give(record[100:])
    assert receive(client, 1000) == b'x' * 1000


# -- sending --

def test_many_partial_writes_are_one_send(ends):
    data = numbered(TOO_MUCH)
    sender = Running(ends[0].send, data, PATIENCE)
    assert receive(ends[1], len(data)) == data
    sender.end()


@pytest.mark.parametrize('kind', [bytes, bytearray])
def test_empty_send_is_nothing(ends, kind):
    ends[0].send(kind(b''), PATIENCE)
    ends[0].send(b'x', PATIENCE)
    assert receive(ends[1]) == b'x'


def test_sending_without_a_deadline_waits_for_the_peer(ends):
    data = numbered(TOO_MUCH)
    sender = Running(ends[0].send, data, None)
    assert receive(ends[1], len(data)) == data
    sender.end()


def test_pieces_arrive_as_one(ends):
    data = numbered(TOO_MUCH)
    pieces = (data[start:start + 100000] for start in range(0, len(data), 100000))
    sender = Running(ends[0].send_pieces, pieces, len(data), None)
    assert receive(ends[1], len(data)) == data
    sender.end()


def fix_buffers(end):
    """Give an end buffers that don't grow: once full, they stay full."""
    with socket_at(end.fileno()) as sock:
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, 64 * 1024)


TIMED_OUT = re.compile(
    r"write timed out after 0\.2 s: the peer (isn't reading|read only \d+ bytes in that time) "
    r'\((\d+) of (\d+) bytes sent\)\Z')


@pytest.mark.parametrize('in_pieces', [False, True], ids=['whole', 'in pieces'])
def test_peer_that_does_not_read_fails_the_send(ends, in_pieces):
    for end in ends:
        fix_buffers(end)
    started = monotonic()
    with pytest.raises(TransportFail) as caught:
        if in_pieces:
            ends[0].send_pieces((b'x' * 1000000 for _ in iter(int, 1)), TOO_MUCH, 0.2)
        else:
            ends[0].send(b'x' * TOO_MUCH, 0.2)
    assert monotonic() - started >= 0.19
    error = caught.value
    match = TIMED_OUT.match(str(error))
    assert match, str(error)
    assert (int(match.group(2)), int(match.group(3))) == (error.sent, error.size)
    assert 0 < error.sent < error.size == TOO_MUCH


def test_a_send_waits_only_when_the_system_takes_nothing(ends, monkeypatch):
    """poll says no before a buffer is full: a wait for each record would last minutes."""
    waits = []

    def count_waits(interest, timeout):
        waits.append(timeout)
        return wait(interest, timeout)

    monkeypatch.setattr(transport, 'wait', count_waits)
    with pytest.raises(TransportFail):
        ends[0].send(b'x' * TOO_MUCH, 0.05)
    assert len(waits) < 20


class SlowPeer(object):
    """A socket whose peer reads by a script of (seconds of a wait, bytes that can be sent then)."""

    def __init__(self, monkeypatch, script):
        self.now = 1000.0
        self._script = list(script)
        self.space = 0      # in the send buffer
        monkeypatch.setattr(transport, 'monotonic', lambda: self.now)
        monkeypatch.setattr(transport, 'wait', self._wait)
        self.end = Transport(self)

    def setblocking(self, is_blocking):
        assert not is_blocking

    def fileno(self):
        return 0

    def send(self, data):
        count = min(len(data), self.space)
        if not count:
            raise socket.error(errno.EAGAIN, 'try again')
        self.space -= count
        return count

    def _wait(self, _interest, timeout):
        seconds, space = self._script.pop(0)
        # Never for long: the system takes bytes before poll says so.
        assert 0 < timeout <= 0.5
        if seconds > timeout:
            self._script.insert(0, (seconds - timeout, space))
            self.now += timeout
            return []
        self.now += seconds
        self.space += space
        return [(0, WRITE)]

    def take(self, size, timeout):
        """Have so many bytes sent; return None, or the error."""
        try:
            self.end.send_pieces([b'x' * size], size, timeout)
        except TransportFail as error:
            assert error.size == size
            return error


@pytest.mark.parametrize('script', [
    [(0.9, 16384)] * 40,                                # 36 times the timeout
    [(0.4, 8192), (0.4, 8192)] * 40,
    [(0.9, 100000)] * 6 + [(0.9, 55360)],
    [(0.99, 655360)],
    [(0.9, 16384)] * 39 + [(0.9, 16383), (0.05, 1)],    # the rest
], ids=['steady', 'in halves', 'coarse', 'at once', 'the rest'])
def test_a_write_timeout_starts_again_with_each_16_kib_that_went_out(monkeypatch, script):
    peer = SlowPeer(monkeypatch, script)
    size = sum(count for _seconds, count in script)
    assert peer.take(size, 1.0) is None
    assert peer.end.progress == size


@pytest.mark.parametrize('script, sent, words', [
    ([(1.1, 16384)], 0, "the peer isn't reading"),
    ([(0.9, 16384), (1.1, 16384)], 16384, "the peer isn't reading"),
    # A trickle is no progress.
    ([(0.5, 1)] * 9, 2, 'the peer read only 2 bytes in that time'),
    ([(0.6, 8192), (0.6, 8192)], 8192, 'the peer read only 8192 bytes in that time'),
    ([(0.1, 16383), (0.8, 0), (0.2, 1)], 16383, 'the peer read only 16383 bytes in that time'),
    ([(0.9, 16384), (0.9, 16383), (0.2, 1)], 32767, 'the peer read only 16383 bytes in that time'),
])
def test_a_peer_that_reads_less_than_16_kib_in_the_timeout_fails_the_send(
        monkeypatch, script, sent, words):
    error = SlowPeer(monkeypatch, script).take(1000000, 1.0)
    assert error.sent == sent
    assert str(error) == 'write timed out after 1 s: {} ({} of 1000000 bytes sent)'.format(
        words, sent)


def test_a_write_timeout_names_the_read_ahead_that_is_full(monkeypatch):
    peer = SlowPeer(monkeypatch, [(2.0, 0)])
    peer.end.max_read_ahead = 7
    peer.end.put_back(b'unread!')
    assert str(peer.take(10, 1.0)) == (
        "write timed out after 1 s: the peer isn't reading, and has sent more than the 7 bytes of "
        'max_read_ahead (0 of 10 bytes sent)')


def test_a_send_without_a_timeout_reads_no_clock(monkeypatch):
    peer = SlowPeer(monkeypatch, [(3600, 1)] * 5)
    del peer.now        # asked for the time, it raises
    monkeypatch.setattr(transport, 'wait', lambda _interest, timeout: setattr(
        peer, 'space', 1) or [(0, WRITE)])
    assert peer.take(5, None) is None


def test_number_of_bytes_that_went_out_is_right(plain_pair):
    with pytest.raises(TransportFail) as caught:
        plain_pair[0].send(b'x' * TOO_MUCH, 0.05)
    plain_pair[0].close()
    assert caught.value.sent == len(wait_for_end(plain_pair[1]))


def test_closing_after_a_torn_send_does_not_wait(ends):
    with pytest.raises(TransportFail):
        ends[0].send(b'x' * TOO_MUCH, 0.05)
    started = monotonic()
    ends[0].shutdown_sending()
    ends[0].close()
    assert monotonic() - started < PATIENCE / 2


def test_closing_never_raises_though_the_peer_has_gone(ends):
    """Ending TLS fails then, by an error of the system."""
    ends[1].abort()
    assert wait(ends[0].interest, PATIENCE)
    for _ in range(2):
        ends[0].shutdown_sending()
    ends[0].close()


def test_room_is_told(plain_pair):
    assert plain_pair[0].is_writable()
    with pytest.raises(TransportFail):
        plain_pair[0].send(b'x' * TOO_MUCH, 0.05)
    assert not plain_pair[0].is_writable()


# -- taking in while sending --

@pytest.mark.parametrize('size', [8 * MIB, 24 * MIB], ids=['8 MiB', '24 MiB'])
def test_two_peers_that_send_before_they_read_do_not_lock_up(ends, size):
    def talk(end, data):
        end.send(data, PATIENCE)
        sent.append(1)
        received.append((end, receive(end, len(data))))
    sent, received = [], []
    messages = [numbered(size), numbered(size)[::-1]]
    threads = [Running(talk, ends[i], messages[i]) for i in (0, 1)]
    for thread in threads:
        thread.end()
    assert len(sent) == 2
    for end, data in received:
        assert data == messages[1 - ends.index(end)]


def test_peer_that_sends_8_mib_before_it_reads_is_no_lock_up():
    """A peer that knows no such trick as ours."""
    def peer():
        theirs.sendall(message[::-1])
        received.append(read_exactly(theirs, len(message)))
    message = numbered(8 * MIB)
    received = []
    ours, theirs = tcp_pair()
    theirs.settimeout(PATIENCE)
    end = Transport(ours)
    thread = Running(peer)
    end.send(message, PATIENCE)
    assert receive(end, len(message)) == message[::-1]
    thread.end()
    assert received == [message]
    end.close()
    theirs.close()


def test_what_was_taken_in_while_sending_comes_first_and_is_announced(ends):
    """Nobody reads on our side until the send is over."""
    def peer():
        ends[1].send(b'first', PATIENCE)
        announced.wait(PATIENCE)
        receive(ends[1], TOO_MUCH)
        ends[1].send(b'second', PATIENCE)
    announced = threading.Event()
    ends[0].on_backlog = announced.set
    thread = Running(peer)
    ends[0].send(b'x' * TOO_MUCH, PATIENCE)
    thread.end()
    assert announced.is_set()
    assert ends[0].has_pending()
    assert ends[0].receive() == b'first'
    assert receive(ends[0], 6) == b'second'
    assert not ends[0].has_pending()


class InterruptedSocket(object):
    """A socket on whose way to receive a signal's handler runs; counts what is sent."""

    def __init__(self, sock, handler):
        self._sock = sock
        self._handler = handler
        self.attempts = []

    def __getattr__(self, name):
        return getattr(self._sock, name)

    def recv(self, size):
        self._handler()
        return self._sock.recv(size)

    def send(self, data):
        self.attempts.append(len(data))
        return self._sock.send(data)


def test_a_send_in_the_midst_of_a_receive_leaves_what_arrives_to_that():
    """As a signal's handler may make it: it takes nothing in, and its wait is one, with an end."""
    def send():
        with pytest.raises(TransportFail):
            here.send(b'x' * TOO_MUCH, 0.2)

    ours, theirs = tcp_pair()
    sock = InterruptedSocket(ours, send)
    here = Transport(sock)
    theirs.sendall(b'hello')
    wait(here.interest, PATIENCE)
    assert here.receive() == b'hello'
    # Some while there was room, then not more than the wait has hundredths of a second.
    assert len([size for size in sock.attempts if size == sock.attempts[-1]]) < 30
    here.close()
    theirs.close()


def test_what_is_read_ahead_is_bounded(ends, monkeypatch):
    """A peer that sends without end, and doesn't read, can't fill our memory."""
    def flood():
        try:
            while True:
                ends[1].send(b'y' * 65536, PATIENCE)
        except TransportFail:
            pass        # we have gone
    def send():
        with pytest.raises(TransportFail):
            ends[0].send(b'x' * (2 * TOO_MUCH), PATIENCE)

    def watch(interest, timeout):
        (fd, mask), = interest
        if fd == ends[0].fileno() and ends[0].backlog_size >= limit and not mask & READ:
            is_full.set()
        return wait(interest, timeout)

    is_full = threading.Event()
    limit = 4 * RECEIVE_SIZE
    for end in ends:
        end.max_read_ahead = limit
    monkeypatch.setattr(transport, 'wait', watch)
    thread = Running(flood)
    sender = Running(send)
    # From now on it waits for its send buffer alone, however much the peer has to send.
    assert is_full.wait(PATIENCE)
    ends[0].abort()
    sender.end()
    taken = 0
    while ends[0].backlog_size:
        taken += len(ends[0].receive())
    # Each end was sending, and so took in what the other sent, up to the limit.
    assert limit <= taken < limit + RECEIVE_SIZE + 16 * 1024
    close_all(ends[:1])
    ends[1].abort()
    thread.end()


def test_end_of_the_peers_stream_does_not_end_a_send(plain_pair):
    """It may have shut down one direction only; the reader meets the end by itself."""
    def peer():
        plain_pair[1].send(b'last', PATIENCE)
        plain_pair[1].shutdown_sending()
        receive(plain_pair[1], TOO_MUCH)
    thread = Running(peer)
    plain_pair[0].send(b'x' * TOO_MUCH, PATIENCE)
    thread.end()
    assert wait_for_end(plain_pair[0]) == b'last'


def test_reset_while_sending_fails_the_send(plain_pair):
    def peer():
        receive(plain_pair[1], 1)
        reset(plain_pair[1])
    thread = Running(peer)
    with pytest.raises(TransportFail) as caught:
        plain_pair[0].send(b'x' * TOO_MUCH, PATIENCE)
    thread.end()
    assert 'could not send' in str(caught.value)
    assert 0 < caught.value.sent < caught.value.size == TOO_MUCH


class ResetSocket(object):
    """A socket whose peer resets the connection while a send waits for space."""

    def __init__(self, sock, peer):
        self._sock = sock
        self._peer = peer

    def __getattr__(self, name):
        return getattr(self._sock, name)

    def send(self, data):
        try:
            return self._sock.send(data)
        except socket.error as error:
            if would_block(error):
                reset(self._peer)
                assert wait(((self._sock.fileno(), READ),), PATIENCE)
            raise


@pytest.mark.parametrize('in_pieces', [False, True])
def test_a_reset_during_a_wait_for_space_is_the_sends_error_and_the_readers(in_pieces):
    ours, theirs = tcp_pair()
    peer = Transport(theirs)
    peer.send(b'last', PATIENCE)
    with closing(Transport(ResetSocket(ours, peer))) as end:
        assert wait(end.interest, PATIENCE)
        assert end.read_ahead()     # a reset may take along what the peer has sent
        announced = []
        end.on_backlog = lambda: announced.append(end.has_pending())
        with pytest.raises(TransportFail) as caught:
            if in_pieces:
                end.send_pieces([b'x' * TOO_MUCH], TOO_MUCH, PATIENCE)
            else:
                end.send(b'x' * TOO_MUCH, PATIENCE)
        assert caught.value.cause.errno == errno.ECONNRESET
        assert announced == [True]
        assert end.take_read_ahead() == b'last'
        assert end.take_read_ahead() is None
        assert end.has_pending()
        with pytest.raises(socket.error) as caught:
            end.receive()
        assert caught.value.errno == errno.ECONNRESET


def test_an_error_of_tls_met_while_taking_in_is_told_to_the_reader(tls_pair):
    """OpenSSL says what it is once; from then on it only says that the connection has ended."""
    with socket_at(tls_pair[1].fileno()) as sock:
        sock.send(b'x' * 100)
    while tls_pair[0].read_ahead():
        assert wait(tls_pair[0].interest, PATIENCE)
    with pytest.raises(ssl.SSLError) as caught:
        tls_pair[0].receive()
    assert 'cut off' not in str(caught.value)


def test_broken_stream_met_while_taking_in_is_the_readers_to_see(tls_pair):
    """What the sender reads of it is no reason for it to fail."""
    assert tls_pair[0].read_ahead()
    tls_pair[1].abort()
    assert wait(tls_pair[0].interest, PATIENCE)
    assert not tls_pair[0].read_ahead()
    with pytest.raises(socket.error):
        tls_pair[0].receive()


# -- while it is idle --

@needs_sizes
def test_an_idle_transport_is_small():
    """A program may have thousands."""
    tracemalloc = pytest.importorskip('tracemalloc')
    socks = [sock for _ in range(100) for sock in socket.socketpair()]
    transports = [None] * len(socks)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for index, sock in enumerate(socks):
            transports[index] = Transport(sock)
        assert tracemalloc.get_traced_memory()[0] - before < 1000 * len(socks)
    finally:
        tracemalloc.stop()
        close_all(transports)


# -- the end --

def test_abort_wakes_a_sender_that_waits_for_room(ends):
    def send():
        with pytest.raises(TransportFail) as caught:
            ends[0].send(b'x' * 2 * TOO_MUCH, None)
        assert 0 < caught.value.sent < caught.value.size == 2 * TOO_MUCH
    sender = Running(send)
    receive(ends[1])            # it is at it
    ends[0].abort()
    sender.end()
    assert ends[0].is_aborted


def test_abort_wakes_who_waits_to_receive(ends):
    def look():
        waiting.set()
        assert wait(ends[0].interest, PATIENCE)
        woken.append(monotonic())
    waiting, woken = threading.Event(), []
    reader = Running(look)
    assert waiting.wait(PATIENCE)
    ends[0].abort()
    reader.end()
    assert woken


def test_abort_before_the_wait_is_not_lost(ends):
    ends[0].abort()
    assert wait(ends[0].interest, PATIENCE)


def test_nothing_is_sent_after_abort(ends):
    ends[0].abort()
    with pytest.raises(TransportFail):
        ends[0].send(b'x', PATIENCE)


def test_abort_is_an_end_for_the_peer(plain_pair):
    plain_pair[0].abort()
    assert wait_for_end(plain_pair[1]) == b''


def test_abort_twice_and_after_close_is_harmless(ends):
    ends[0].abort()
    ends[0].abort()
    ends[0].close()
    ends[0].abort()
    ends[1].close()
    ends[1].abort()
    ends[1].shutdown_sending()


def test_close_twice_is_harmless(ends):
    ends[0].close()
    ends[0].close()


def test_close_frees_the_descriptor(ends):
    fd = ends[0].fileno()
    ends[0].close()
    with pytest.raises((OSError, IOError, socket.error, ValueError)) as caught:
        socket.fromfd(fd, socket.AF_INET, socket.SOCK_STREAM).close()
    assert caught.value.args[0] == errno.EBADF


def test_use_after_close_fails_as_a_broken_connection_does(ends):
    ends[0].close()
    with pytest.raises((socket.error, ValueError)):
        ends[0].receive()
    with pytest.raises(TransportFail):
        ends[0].send(b'x', PATIENCE)


@pytest.mark.parametrize('first', [0, 1])
def test_shutting_down_twice_and_closing_is_harmless(ends, first):
    """Once both have done so there is nothing left to unwrap."""
    ends[first].shutdown_sending()
    assert wait(ends[1 - first].interest, PATIENCE)
    for _ in range(2):
        for end in ends:
            end.shutdown_sending()
    for end in ends:
        assert wait_for_end(end) == b''
        end.shutdown_sending()
        fd = end.fileno()
        end.close()
        with pytest.raises((OSError, IOError, socket.error)):
            socket.fromfd(fd, socket.AF_INET, socket.SOCK_STREAM).close()


def test_nothing_goes_out_in_the_clear_after_the_end_of_tls(tls_pair):
    """Python's SSLSocket is a plain socket once it is unwrapped."""
    client, server = tls_pair
    server.shutdown_sending()
    assert wait(client.interest, PATIENCE)
    client.shutdown_sending()
    client.shutdown_sending()
    with pytest.raises(TransportFail):
        client.send(b'secret', PATIENCE)
    assert client.receive() == b''
    client.abort()
    received = b''
    with socket_at(server.fileno()) as raw:
        raw.settimeout(PATIENCE)
        for piece in iter(lambda: raw.recv(4096), b''):
            received += piece
    assert b'secret' not in received


def test_close_ends_tls_before_tcp(tls_pair):
    """So the peer knows that nothing was cut off."""
    tls_pair[0].close()
    assert wait_for_end(tls_pair[1]) == b''


def test_nothing_raises_when_the_peer_was_faster(ends):
    ends[1].abort()
    ends[1].close()
    assert wait(ends[0].interest, PATIENCE)
    ends[0].shutdown_sending()
    ends[0].abort()
    ends[0].close()


class BrokenSocket(object):
    """A socket whose every call fails, the way the system may fail it."""

    def __init__(self, code):
        self._code = code

    def setblocking(self, _is_blocking):
        pass

    def fileno(self):
        return 0

    def _fail(self, *_args):
        raise socket.error(self._code, 'no')

    recv = send = shutdown = close = _fail


def test_close_that_the_system_refuses_is_a_close():
    end = Transport(BrokenSocket(errno.EIO))
    end.shutdown_sending()
    end.abort()
    end.close()
    end.close()


@pytest.mark.parametrize('code', [errno.EAGAIN, errno.EWOULDBLOCK])
def test_nothing_there_is_no_error(code):
    end = Transport(BrokenSocket(code))
    assert end.receive() is None
    with pytest.raises(TransportFail) as caught:
        end.send(b'x', 0)
    assert (caught.value.sent, caught.value.size) == (0, 1)


@pytest.mark.parametrize('code', [errno.ECONNRESET, errno.EPIPE, errno.EBADF])
def test_other_errors_are_errors(code):
    assert not would_block(socket.error(code, 'no'))
    end = Transport(BrokenSocket(code))
    with pytest.raises(socket.error):
        end.receive()
    with pytest.raises(TransportFail):
        end.send(b'x', PATIENCE)


# -- TLS wants the other direction --

class WantingSocket(BrokenSocket):
    """A TLS socket that wants what the script says: during a renegotiation, for one."""

    def __init__(self, sock, wants):
        self._sock = sock
        self._wants = list(wants)

    def fileno(self):
        return self._sock.fileno()

    def pending(self):
        return 0

    def do_handshake(self):
        if self._wants:
            raise self._wants.pop(0)

    def recv(self, _count):
        raise self._wants.pop(0) if self._wants else ssl.SSLWantReadError()

    def send(self, data):
        if self._wants:
            raise self._wants.pop(0)
        return len(data)


@pytest.fixture
def socks():
    pair = socket.socketpair()
    yield pair
    for sock in pair:
        sock.close()


class WantingContext(object):
    """Makes the TLS socket it was made for of any socket."""

    def __init__(self, tls_sock):
        self._tls_sock = tls_sock

    def wrap_socket(self, _sock, **options):
        assert not options['do_handshake_on_connect']
        return self._tls_sock


@pytest.mark.parametrize('want, mask', [
    (ssl.SSLWantReadError, READ), (ssl.SSLWantWriteError, WRITE)])
def test_handshake_waits_for_what_tls_wants(socks, want, mask):
    context = WantingContext(WantingSocket(socks[0], [want(), want()]))
    deadline = monotonic() + PATIENCE
    steps = list(handshake(socks[1], context, deadline, 'localhost'))
    assert steps[:-1] == [Wait(((socks[0].fileno(), mask),), deadline)] * 2
    assert isinstance(steps[-1], TLSTransport)


@pytest.mark.parametrize('want, mask', [
    (ssl.SSLWantReadError, READ), (ssl.SSLWantWriteError, READ | WRITE)])
def test_receiving_waits_for_what_tls_wants(socks, want, mask):
    end = TLSTransport(WantingSocket(socks[0], [want()]))
    assert end.receive() is None
    assert end.interest == ((socks[0].fileno(), mask),)


def test_sending_waits_for_what_tls_wants(socks):
    end = TLSTransport(WantingSocket(socks[0], [
        ssl.SSLWantWriteError(), ssl.SSLWantReadError(), ssl.SSLWantReadError()]))
    socks[1].send(b'x')         # so a wait to read ends
    end.send(b'data', PATIENCE)


# -- threads --

def test_reader_and_four_writers_share_a_tls_stream(tls_pair):
    """OpenSSL allows one thread at a time in a session: nothing may be torn, or lost."""
    header = struct.Struct('!BHH')
    count, writers = 600, 4

    def message(writer, number):
        size = (number * 37 + writer * 11) % 700
        return header.pack(writer, number, size) + struct.pack('!B', number % 251) * size

    def write(writer):
        for number in range(count):
            with lock:
                tls_pair[0].send(message(writer, number), PATIENCE)

    def echo():
        left = total
        while left:
            data = receive(tls_pair[1])
            tls_pair[1].send(data, PATIENCE)
            left -= len(data)

    lock = threading.Lock()
    total = sum(len(message(w, n)) for w in range(writers) for n in range(count))
    waker = Waker()
    tls_pair[0].on_backlog = waker.wake
    threads = [Running(echo)] + [Running(write, writer) for writer in range(writers)]
    try:
        data = b''
        pieces = []
        size = 0
        while size < total:
            if not tls_pair[0].has_pending():
                assert wait(tuple(tls_pair[0].interest) + (waker.interest,), PATIENCE)
                waker.clear()
            piece = tls_pair[0].receive()
            if piece is not None:
                assert piece, 'the stream ended'
                pieces.append(piece)
                size += len(piece)
        for thread in threads:
            thread.end()
    finally:
        waker.close()
    data = b''.join(pieces)
    expected = [0] * writers
    at = 0
    while at < len(data):
        writer, number, _size = header.unpack_from(data, at)
        assert number == expected[writer]
        whole = message(writer, number)
        assert data[at:at + len(whole)] == whole
        expected[writer] += 1
        at += len(whole)
    assert expected == [count] * writers


@pytest.mark.skipif(
    not hasattr(ssl, 'MemoryBIO'), reason='there is no TLS within TLS on this Python')
def test_bytes_put_back_on_a_plain_transport_are_part_of_the_handshake(client_tls):
    """OpenSSL, on the socket itself, wouldn't see them."""
    ours, theirs = socket.socketpair()
    try:
        options = TLSOptions(context=client_tls)
        transport = Transport(ours)
        transport.put_back(b'\x15\x03\x03\x00\x02\x02\x28')    # a fatal alert: handshake failure
        with pytest.raises(ConnectFail) as caught:
            for _step in TLSClient().secure(
                    transport, 'localhost', options, monotonic() + PATIENCE, 'tls'):
                raise AssertionError('it waits')
        assert 'handshake failure' in str(caught.value).lower().replace('_', ' ')
    finally:
        theirs.close()
    with pytest.raises(socket.error):
        ours.getpeername()      # it was closed


# -- addresses --

def test_addresses_are_those_of_the_socket_until_it_is_closed():
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(1)
    sock = socket.create_connection(listener.getsockname(), PATIENCE)
    peer, address = listener.accept()
    transport = Transport(sock)
    assert transport.local_address == address
    assert transport.peer_address == listener.getsockname()
    transport.close()
    assert transport.local_address is None
    assert transport.peer_address is None
    for other in (peer, listener):
        other.close()
