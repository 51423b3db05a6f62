"""What becomes of a connection that was replaced: its queue, its last messages, and its end."""

from __future__ import absolute_import, division, print_function

import errno
import itertools
import logging
import socket
import threading

import pytest

from lomond import WebSocket, _multiplexer, errors
from lomond.engine.outbox import Outbox
from lomond.net.waiter import Waiter
from lomond.persist import ReconnectPolicy
from lomond.pool import Pool
from tests.network.driving import count_descriptors, drain, needs_proc, wait_for
from tests.support import (
    PATIENCE,
    RawServer,
    accept_for,
    answer_upgrade,
    get_header,
    make_close,
    make_frame,
    read_frame,
    read_head,
)

POLICY = ReconnectPolicy(max_wait=0, min_wait=0, spread=0)

#: More than the system's buffers take.
MESSAGES = [b'%d' % number + b'.' * 5000 for number in range(400)]

#: Buffers that don't grow.
SMALL = 16 * 1024


class Peers(RawServer):
    """Serves its first connection by the first script, the next one by the next.

    The scripts are called with the peers and a socket, which has accepted. ``received`` has the
    payloads of each connection's messages.
    """

    def __init__(self, *scripts):
        RawServer.__init__(self, self._serve, receive_buffer=SMALL)
        self._scripts = scripts
        self._numbers = itertools.count()
        self.received = [[] for _script in scripts]
        #: Lets `late` go on.
        self.go = threading.Event()

    def _serve(self, sock):
        number = next(self._numbers)
        answer_upgrade(sock)
        self._scripts[number](self, sock, self.received[number])

    def __exit__(self, *exc_info):
        self.go.set()
        RawServer.__exit__(self, *exc_info)


def polite(_peers, sock, received):
    """Read everything, and answer the Close."""
    while True:
        first, payload = read_frame(sock)
        if first & 15 == 8:
            sock.sendall(make_frame(8, payload))
            return
        received.append(payload)


def late(peers, sock, received):
    """Read nothing until the test says so."""
    wait_for(peers.go)
    polite(peers, sock, received)


def deaf(peers, sock, _received):
    """Never read."""
    wait_for(peers.go)
    sock.close()


def mute(peers, sock, received):
    """Read everything, but don't answer the Close."""
    while read_frame(sock)[0] & 15 != 8:
        pass
    received.append(b'Close')
    wait_for(peers.go)


def talkative(peers, sock, received):
    """Answer the Close after many messages, once the test says so."""
    sock.sendall(make_frame(1, b'begin'))
    first, payload = read_frame(sock)
    wait_for(peers.go)
    sock.sendall(b''.join(make_frame(1, b'%d' % number) for number in range(3000)))
    sock.sendall(make_frame(8, payload))
    received.append(first)


def make_websocket(peers, **options):
    return WebSocket(peers.url, socket_options=[
        (socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)], **options)


def run(pool, websocket, handle):
    """Run a pool; return the events of one websocket."""
    seen = []
    for owner, event in pool:
        if owner is websocket:
            seen.append(event)
        handle(event if owner is websocket else None)
        assert len(seen) < 10000, seen[-20:]
    return seen


def send_all_and_renew(pool, websocket):
    for message in MESSAGES:
        websocket.send_binary(message)
    assert pool.renew(websocket)


@pytest.mark.parametrize('keep_outbox', [False, True])
@pytest.mark.parametrize('end', ['member', 'pool'])
def test_the_old_queue_is_sent_though_the_new_connection_is_closed(end, keep_outbox):
    def handle(event):
        if event.name == 'ready' and event.connection == 1:
            send_all_and_renew(pool, websocket)
        elif event.name == 'ready':
            if end == 'member':
                websocket.close()
            else:
                pool.close(timeout=PATIENCE)
            peers.go.set()

    pool = Pool(max_queue=None, keep_outbox=keep_outbox)
    with Peers(late, polite) as peers:
        websocket = pool.add(make_websocket(peers), POLICY, ping_rate=0)
        seen = run(pool, websocket, handle)
    assert peers.received == [MESSAGES, []]
    assert [event.name for event in seen] == [
        'connecting', 'connected', 'ready', 'ready', 'closed', 'disconnected']
    assert seen[-1].graceful
    assert seen[-1].unsent == 0


def unread(keep_outbox, caplog):
    """Renew a connection whose peer never reads.

    Returns what the next one received, the last event, and the warnings about lost messages.
    """
    def handle(event):
        if event.name == 'ready' and event.connection == 1:
            send_all_and_renew(pool, websocket)
        elif event.name == 'poll' and (
                peers.received[1][-1:] == MESSAGES[-1:] if keep_outbox
                else 'not sent' in caplog.text):
            websocket.close()

    pool = Pool(max_queue=None, keep_outbox=keep_outbox)
    with Peers(deaf, polite) as peers, caplog.at_level(logging.WARNING, 'lomond'):
        websocket = pool.add(
            make_websocket(peers, write_timeout=0.1), POLICY, poll=0.01, ping_rate=0)
        seen = run(pool, websocket, handle)
    assert [event.name for event in seen if event.name != 'poll'] == [
        'connecting', 'connected', 'ready', 'ready', 'closed', 'disconnected']
    warnings = [record.getMessage() for record in caplog.records
                if 'not sent' in record.getMessage()]
    return peers.received[1], seen[-1], warnings


def test_what_the_old_connection_could_not_send_goes_out_over_the_new_one(caplog):
    received, last, warnings = unread(True, caplog)
    assert 0 < len(received) < len(MESSAGES)
    assert received == MESSAGES[-len(received):]
    # One may have been cut off in the middle.
    assert last.unsent == len(warnings) <= 1


def test_what_the_old_connection_could_not_send_is_counted_and_logged(caplog):
    received, last, warnings = unread(False, caplog)
    assert received == []
    assert 0 < last.unsent < len(MESSAGES)
    assert len(warnings) == 1
    assert str(last.unsent) in warnings[0]
    assert 'write timed out' in warnings[0]


def test_what_is_left_counts_once_though_the_new_connection_ended_first(caplog):
    def handle(event):
        if event.name == 'ready' and event.connection == 1:
            send_all_and_renew(pool, websocket)
        elif event.name == 'ready':
            websocket.close()

    pool = Pool(max_queue=None, keep_outbox=True)
    with Peers(deaf, polite) as peers, caplog.at_level(logging.WARNING, 'lomond'):
        websocket = pool.add(make_websocket(peers, write_timeout=0.1), POLICY, ping_rate=0)
        seen = run(pool, websocket, handle)
    assert [event.name for event in seen] == [
        'connecting', 'connected', 'ready', 'ready', 'closed', 'disconnected']
    assert peers.received[1] == []
    assert 0 < seen[-1].unsent < len(MESSAGES)
    assert caplog.text.count('not sent') == 1


def test_what_is_left_goes_out_over_the_third_connection_once_the_second_broke(caplog):
    def handle(event):
        if event.name == 'ready' and event.connection == 1:
            send_all_and_renew(pool, websocket)
        elif event.name == 'poll' and peers.received[2] and not websocket.session.writer.unsent:
            websocket.close()

    def breaking(_peers, sock, _received):
        sock.close()

    pool = Pool(max_queue=None, keep_outbox=True)
    with Peers(deaf, breaking, polite) as peers, caplog.at_level(logging.WARNING, 'lomond'):
        websocket = pool.add(
            make_websocket(peers, write_timeout=0.1), POLICY, poll=0.01, ping_rate=0)
        seen = [event for event in run(pool, websocket, handle) if event.name != 'poll']
    assert [event.name for event in seen] == [
        'connecting', 'connected', 'ready', 'ready', 'disconnected', 'back_off',
        'connecting', 'connected', 'ready', 'closed', 'disconnected']
    received = peers.received[2]
    assert received == MESSAGES[-len(received):]
    assert len(received) <= seen[4].unsent <= len(received) + 1
    assert seen[-1].unsent == 0


@pytest.mark.parametrize('end', ['member', 'pool'])
def test_messages_of_the_old_connection_arrive_though_the_new_one_is_closed(end):
    def handle(event):
        if event.name == 'text' and event.text == u'begin':
            assert pool.renew(websocket)
        elif event.name == 'ready' and event.connection == 2:
            if end == 'member':
                websocket.close()
            else:
                pool.close(timeout=PATIENCE)
        elif event.name == 'closed':
            peers.go.set()

    pool = Pool()
    with Peers(talkative, polite) as peers:
        websocket = pool.add(make_websocket(peers), POLICY, ping_rate=0)
        seen = run(pool, websocket, handle)
    assert [event.text for event in seen if event.name == 'text'] == [u'begin'] + [
        u'{}'.format(number) for number in range(3000)]
    assert seen[-1].name == 'disconnected'
    assert seen[-1].graceful


@pytest.mark.parametrize('end', ['close', 'force_disconnect'])
def test_disconnected_is_the_last_event_of_a_member_with_two_connections(end):
    def handle(event):
        if event is None:
            return
        if event.name == 'text' and event.text == u'begin':
            assert pool.renew(websocket)
        elif event.name == 'ready' and event.connection == 2:
            getattr(websocket, end)()
            peers.go.set()
        elif event.name == 'disconnected':
            websocket.close()       # it would connect again
            other.close()

    pool = Pool()
    with Peers(talkative, polite) as peers, RawServer(flood) as flooding:
        websocket = pool.add(make_websocket(peers), POLICY, ping_rate=0)
        other = pool.add(WebSocket(flooding.url), ping_rate=0)
        seen = run(pool, websocket, handle)
    assert [event.name for event in seen].count('disconnected') == 1
    assert seen[-1].name == 'disconnected'


def flood(sock):
    answer_upgrade(sock)
    for _ in range(10000):
        sock.sendall(make_frame(1, b'x'))


def test_force_disconnect_while_a_late_message_is_handled_ends_both_at_once():
    def handle(event):
        if event.name == 'text' and event.text == u'begin':
            assert pool.renew(websocket)
        elif event.name == 'ready' and event.connection == 2:
            peers.go.set()
        elif event.name == 'text':
            websocket.force_disconnect()

    pool = Pool()
    with Peers(talkative, mute) as peers:
        websocket = pool.add(make_websocket(peers), POLICY, ping_rate=0, close_timeout=None)
        seen = run_once(pool, websocket, handle)
    assert [event.name for event in seen].count('text') == 2


def run_once(pool, websocket, handle):
    """Run a pool until a member's first Disconnected."""
    def handle_and_close(event):
        handle(event)
        if event.name == 'disconnected':
            websocket.close()
    return run(pool, websocket, handle_and_close)


@needs_proc
@pytest.mark.parametrize('end', [
    'force_disconnect', 'force_disconnect later', 'remove', 'break', 'pool.close', 'close_timeout'])
def test_nothing_stays_open_when_neither_end_is_answered(end):
    def handle(event):
        if event.name == 'ready' and event.connection == 1:
            assert pool.renew(websocket)
        elif event.name == 'poll' and peers.received[0] and not ended:
            ended.append(end)
            if end == 'force_disconnect':
                websocket.force_disconnect()
            elif end == 'remove':
                assert pool.remove(websocket)
            elif end == 'break':
                raise KeyError
            elif end == 'pool.close':
                pool.close(timeout=0)
            else:
                websocket.close()
        elif event.name == 'poll' and len(peers.received[1]) and len(ended) == 1:
            ended.append(end)
            if end == 'force_disconnect later':
                websocket.force_disconnect()
        if event.name == 'disconnected':
            websocket.close()

    ended = []
    pool = Pool()
    close_timeout = 0.2 if end == 'close_timeout' else None
    with Peers(mute, mute) as peers:
        before = count_descriptors()
        websocket = pool.add(make_websocket(peers), POLICY, poll=0.01, ping_rate=0,
                             close_timeout=close_timeout)
        if end == 'break':
            with pytest.raises(KeyError):
                run(pool, websocket, handle)
        else:
            names = [event.name for event in run(pool, websocket, handle)]
            assert names.count('disconnected') == (end != 'remove')
            assert names.count('ready') == 2
        assert websocket.is_closed
        peers.go.set()
        peers.wait_for_scripts()
        assert count_descriptors() <= before


def test_clear_outbox_drops_what_waits_for_both_connections():
    def handle(event):
        if event.name == 'ready' and event.connection == 1:
            send_all_and_renew(pool, websocket)
        elif event.name == 'ready':
            cleared.append(pool.clear_outbox(websocket))
            websocket.send_binary(b'new')
            websocket.close()
            peers.go.set()

    cleared = []
    pool = Pool(max_queue=None)
    with Peers(late, polite) as peers:
        websocket = pool.add(make_websocket(peers), POLICY, ping_rate=0)
        seen = run(pool, websocket, handle)
    assert cleared[0] > 0
    assert peers.received == [MESSAGES[:-cleared[0]], [b'new']]
    assert seen[-1].unsent == 0


def test_close_right_after_renew_opens_no_other_connection():
    def handle(event):
        if event.name == 'ready':
            assert pool.renew(websocket)
            websocket.close()
        elif event.name == 'poll' and peers.received[0]:
            polls.append(event)
            if len(polls) > 1:
                assert not websocket.session.is_due     # the loop would step all the time
                peers.go.set()

    def slow(peers, sock, received):
        _first, payload = read_frame(sock)
        received.append(payload)
        wait_for(peers.go)
        sock.sendall(make_frame(8, payload))

    polls = []
    pool = Pool()
    with Peers(slow) as peers:
        websocket = pool.add(make_websocket(peers), POLICY, poll=0.01, ping_rate=0)
        assert run(pool, websocket, handle)[-1].graceful
    assert peers.connections == 1


def test_close_at_the_very_moment_of_the_change_closes_both():
    class Watched(WebSocket):
        def on_response(self, response):
            responses.append(response)
            if len(responses) == 2:
                websocket.close()       # as another thread might; the change follows at once
            return super(Watched, self).on_response(response)

    def handle(event):
        if event.name == 'ready' and event.connection == 1:
            assert pool.renew(websocket)

    responses = []
    pool = Pool()
    with Peers(polite, polite) as peers:
        websocket = pool.add(Watched(peers.url), POLICY, ping_rate=0)
        assert run(pool, websocket, handle)[-1].graceful


def test_force_disconnect_at_the_very_moment_of_the_change_ends_both():
    class Watched(WebSocket):
        def on_response(self, response):
            responses.append(response)
            if len(responses) == 2:
                websocket.force_disconnect()        # as another thread might
            return super(Watched, self).on_response(response)

    def handle(event):
        if event.name == 'ready' and event.connection == 1:
            assert pool.renew(websocket)
        elif event.name == 'back_off':
            websocket.close()

    responses = []
    pool = Pool()
    with Peers(deaf, deaf) as peers:
        websocket = pool.add(Watched(peers.url), POLICY, ping_rate=0)
        seen = run(pool, websocket, handle)
        peers.go.set()
    assert [event.graceful for event in seen if event.name == 'disconnected'] == [False]
    assert [event.connection for event in seen if event.name == 'ready'] == [1]
    assert websocket.is_closed


def test_a_new_connection_that_can_not_be_waited_for_leaves_the_old_one(caplog, monkeypatch):
    """As if there were more descriptors than select() takes."""
    class Limited(Waiter):
        def watch(self, fd, mask):
            if is_renewing and fd not in watched:
                raise socket.error(errno.ENOSPC, 'no space')
            watched.add(fd)
            super(Limited, self).watch(fd, mask)

    def handle(event):
        if event is None:
            return
        if event.name == 'ready':
            is_renewing.append(True)
            assert pool.renew(websocket)
        elif event.name == 'poll' and caplog.records:
            websocket.close()

    is_renewing, watched = [], set()
    pool = Pool()
    monkeypatch.setattr(_multiplexer, 'Waiter', Limited)
    with Peers(polite, polite) as peers:
        websocket = pool.add(make_websocket(peers), POLICY, ping_rate=0, poll=0.05)
        assert run(pool, websocket, handle)[-1].graceful
    record, = caplog.records
    assert 'keeps its old connection' in record.getMessage() and 'no space' in record.getMessage()


def test_a_handler_of_a_signal_is_told_that_no_send_is_possible_while_a_queue_moves(monkeypatch):
    def put_first(outbox, entries):
        with pytest.raises(errors.WebSocketUnavailable, match='signal handler'):
            websocket.send_text(u'x')
        moved.append(len(entries))
        return before(outbox, entries)

    before = Outbox.put_first
    monkeypatch.setattr(Outbox, 'put_first', put_first)
    moved = []

    def handle(event):
        if event.name == 'ready' and event.connection == 1:
            send_all_and_renew(pool, websocket)
        elif event.name == 'poll' and peers.received[1][-1:] == MESSAGES[-1:]:
            websocket.close()

    pool = Pool(max_queue=None, keep_outbox=True)
    with Peers(deaf, polite) as peers:
        websocket = pool.add(
            make_websocket(peers, write_timeout=0.1), POLICY, poll=0.01, ping_rate=0)
        run(pool, websocket, handle)
    assert len(moved) == 1


@pytest.mark.parametrize('stops', [False, True])
def test_a_connection_that_its_server_closes_for_the_new_one_ends_as_always(stops):
    """The server allows one connection for each user: its Close decides, not a later end."""
    def script(sock):
        if not is_taken.is_set():
            is_taken.set()
            answer_upgrade(sock)
            wait_for(has_asked)
            sock.sendall(make_close(4001, b'replaced'))
            assert read_frame(sock)[0] == 0x88
            is_closed.set()
            drain(sock)         # it leaves the end of TCP to the client
        else:
            head = read_head(sock)
            has_asked.set()
            wait_for(is_closed)
            sock.sendall(ANSWER.format(accept_for(get_header(head, b'Sec-WebSocket-Key')).decode(
                'ascii')).encode('ascii'))
            drain(sock)

    is_taken, has_asked, is_closed = threading.Event(), threading.Event(), threading.Event()
    policy = ReconnectPolicy(
        max_wait=0, spread=0, stop_on_code=[4001] if stops else ())
    seen = []
    with RawServer(script) as server:
        pool = Pool()
        websocket = pool.add(WebSocket(server.url), policy, ping_rate=0)
        for _websocket, event in pool:
            seen.append(event.name)
            if event.name == 'ready' and event.connection == 1:
                assert pool.renew(websocket)
            elif event.name in ('back_off', 'gave_up'):
                assert u'code 4001 replaced' in event.reason
                websocket.close()
    assert seen == ['connecting', 'connected', 'ready', 'closing', 'disconnected',
                    'gave_up' if stops else 'back_off']


ANSWER = (u'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
          u'Sec-WebSocket-Accept: {}\r\n\r\n')
