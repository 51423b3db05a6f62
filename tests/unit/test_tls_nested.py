"""lomond.net.tls.nested: a TLS socket on a transport that takes and gives what the test says.

What it does on real connections, tests/sockets/test_transport.py and
tests/network/test_tls_nested.py have.
"""

from __future__ import absolute_import, division, print_function

import errno
import socket
import ssl

import pytest

from lomond._compat import monotonic
from lomond.errors import TransportFail
from lomond.net import tls
from lomond.net.steps import Wait
from lomond.net.tls.handshake import handshake_within
from lomond.net.waiter import READ, WRITE
from tests.support import PATIENCE

if not hasattr(ssl, 'MemoryBIO'):
    pytest.skip('there is no TLS within TLS on this Python', allow_module_level=True)

FD = 7


class Below(object):
    """A transport in memory: `room` bytes go out into `sent`; `arrived` is what comes in."""

    is_secure = True

    def __init__(self):
        self.room = float('inf')
        self.need = WRITE
        self.sent = b''
        self.arrived = []
        self.interest = ((FD, READ),)
        self.is_open = True

    def fileno(self):
        return FD

    def has_pending(self):
        return bool(self.arrived)

    def receive(self):
        data = self.arrived.pop(0) if self.arrived else None
        if isinstance(data, Exception):
            raise data
        return data

    def send_some(self, data):
        count = min(len(data), self.room)
        self.room -= count
        self.sent += data[:count]
        return count, ((FD, self.need),)

    def abort(self):
        self.is_open = False

    close = abort


class Peer(object):
    """The server's end, in memory too."""

    def __init__(self, context):
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def take(self, below):
        self._incoming.write(below.sent)
        below.sent = b''

    def give(self):
        return self._outgoing.read()

    def read(self):
        try:
            return self.tls.read(100000)
        except ssl.SSLWantReadError:
            return b''


@pytest.fixture
def below():
    return Below()


@pytest.fixture
def peer(server_tls):
    return Peer(server_tls)


@pytest.fixture
def context(authority_file):
    return tls.client_context(authority_file)


def begin(below, context):
    return handshake_within(below, context, monotonic() + PATIENCE, 'localhost')


@pytest.fixture
def end(below, peer, context):
    """The client's end, its handshake done."""
    for step in begin(below, context):
        if not isinstance(step, Wait):
            peer.take(below)
            peer.tls.do_handshake()
            below.arrived = [peer.give()]       # the tickets of TLS 1.3
            assert step.receive() is None
            return step
        peer.take(below)
        try:
            peer.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        below.arrived.append(peer.give())


def test_handshake_waits_to_read(below, context):
    step = next(begin(below, context))
    assert step.interest == ((FD, READ),)
    assert below.sent


def test_server_that_is_not_trusted_is_told(below, peer):
    steps = begin(below, tls.client_context())
    with pytest.raises(ssl.SSLError) as caught:
        for _step in steps:
            peer.take(below)
            with pytest.raises(ssl.SSLWantReadError):
                peer.tls.do_handshake()
            below.arrived = [peer.give()]
    assert 'verify failed' in str(caught.value)
    assert not below.is_open
    peer.take(below)
    with pytest.raises(ssl.SSLError) as caught:
        peer.tls.do_handshake()
    assert 'unknown ca' in str(caught.value)


def fail_to_send(_data):
    raise socket.error(errno.EPIPE, 'Broken pipe')


def test_alert_that_came_before_a_write_failed_below_is_told(below, context):
    below.send_some = fail_to_send
    below.arrived = [b'\x15\x03\x03', b'\x00\x02\x02\x28']     # fatal: handshake failure
    with pytest.raises(ssl.SSLError) as caught:
        list(begin(below, context))
    assert 'handshake failure' in str(caught.value)
    assert not below.is_open


def test_write_that_fails_below_with_nothing_to_read_is_told(below, context):
    below.send_some = fail_to_send
    with pytest.raises(socket.error) as caught:
        list(begin(below, context))
    assert caught.value.errno == errno.EPIPE
    assert not below.is_open


@pytest.mark.parametrize('need', [READ, WRITE])
def test_handshake_waits_for_what_the_layer_below_wants(below, context, need):
    below.room, below.need = 10, need
    steps = begin(below, context)
    assert next(steps).interest == ((FD, need),)
    assert len(below.sent) == 10
    below.room = float('inf')
    assert next(steps).interest == ((FD, READ),)
    assert len(below.sent) > 10


def test_handshake_that_is_left_closes_the_layer_below(below, context):
    steps = begin(below, context)
    next(steps)
    steps.close()
    assert not below.is_open


def test_bytes_count_once_the_layer_below_has_all_they_became(below, peer, end):
    below.room = 50
    assert end.send_some(b'x' * 1000) == (0, ((FD, WRITE),))
    below.room = 50
    assert end.send_some(b'x' * 1000) == (0, ((FD, WRITE),))
    below.room = float('inf')
    assert end.send_some(b'x' * 1000)[0] == 1000
    peer.take(below)
    assert peer.read() == b'x' * 1000
    assert end.send_some(b'y')[0] == 1
    peer.take(below)
    assert peer.read() == b'y'


def test_a_record_fits_into_one_below(below, end):
    """Or each would be two of them, and two system calls."""
    count, _interest = end.send_some(b'x' * 100000)
    assert 16000 < count < len(below.sent) <= 16 * 1024


def test_half_a_record_is_nothing_yet_and_not_pending(below, peer, end):
    peer.tls.write(b'x' * 1000)
    record = peer.give()
    below.arrived = [record[:3], record[3:500]]
    assert end.has_pending()
    assert end.receive() is None
    assert not end.has_pending()
    assert end.interest == ((FD, READ),)
    below.arrived = [record[500:]]
    assert end.receive() == b'x' * 1000
    assert end.receive() is None


def test_what_either_layer_holds_is_pending(below, peer, end):
    assert not end.has_pending()
    for _ in range(8):
        peer.tls.write(b'x' * 16384)
    below.arrived = [peer.give()]
    assert end.has_pending()                # below
    assert len(end.receive()) == 4 * 16384
    assert not below.has_pending()
    assert end.has_pending()                # here
    assert len(end.receive()) == 4 * 16384
    assert not end.has_pending()


def test_leftover_of_our_own_is_waited_for_by_the_reader_too(below, end):
    below.room = 10
    end.send_some(b'x' * 1000)
    assert end.receive() is None
    assert end.interest == ((FD, READ | WRITE),)
    below.room = float('inf')
    assert end.receive() is None            # which sent it
    assert end.interest == ((FD, READ),)


def test_wish_of_the_layer_below_to_write_is_the_readers(below, end):
    below.interest = ((FD, READ | WRITE),)
    assert end.receive() is None
    assert end.interest == ((FD, READ | WRITE),)


@pytest.mark.parametrize('last', [b'', socket.error(104, 'reset')])
def test_end_below_without_an_end_here_is_a_cut(below, peer, end, last):
    peer.tls.write(b'whole')
    below.arrived = [peer.give(), last, last, last]
    assert end.receive() == b'whole'
    with pytest.raises(socket.error) as caught:
        end.receive()
    assert caught.value.errno == 104


def test_end_here_is_an_end(below, peer, end):
    peer.tls.write(b'last')
    with pytest.raises(ssl.SSLWantReadError):
        peer.tls.unwrap()
    below.arrived = [peer.give()]
    assert end.receive() == b'last'
    assert end.receive() == b''


def test_shutting_down_sends_a_close_notify_and_leaves_the_layer_below_open(below, peer, end):
    end.shutdown_sending()
    assert below.is_open
    peer.take(below)
    assert peer.tls.read(100) == b''
    peer.tls.write(b'still talking')
    below.arrived = [peer.give()]
    assert end.receive() == b'still talking'


def test_shutting_down_never_raises(below, end):
    def send_some(_data):
        raise TransportFail('the connection was aborted')
    below.send_some = send_some
    end.shutdown_sending()
    end.close()
    assert not below.is_open


@pytest.mark.parametrize('call', ['abort', 'close'])
def test_layer_below_goes_with_it(below, end, call):
    getattr(end, call)()
    assert not below.is_open
