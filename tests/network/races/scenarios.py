"""What happens in a race: each scenario sets up a match, has it run, and checks how it ended."""

from __future__ import absolute_import, division, print_function

import os
import signal
import socket
import struct
import threading
import warnings

from lomond.persist import persist
from tests.network.driving import wait_for, wait_until_sending
from tests.network.races.judge import CLOSE, Hangup, Peer
from tests.network.races.match import Crew, Log, Match, hectic, nothing_left
from tests.support import PATIENCE

# -- the scenarios, of either side --

def everyone_sends(arena, side):
    """All calls of all threads arrive; then one closes."""
    def drive(match, loop):
        # Nothing would keep such a frame from following a Close frame: here, Close comes last.
        match.crew.may_send_raw = True
        match.follow(loop, lambda: (match.crew.start(), match.help(match.close_after_all)))

    match = Match(arena, side)
    match.run(drive)
    match.check_graceful()
    assert not match.crew.errors
    assert sum(match.crew.returned.values()) == arena.senders * arena.calls


def everyone_sends_much(arena, side):
    """As above, with messages of some TLS records: both directions are busy at once."""
    def drive(match, loop):
        match.follow(loop, lambda: (match.crew.start(), match.help(match.close_after_all)))

    match = Match(arena, side, length=40000)
    match.run(drive)
    match.check_graceful()
    assert not match.crew.errors


def many_close(arena, side):
    """Threads close all at once, in the midst of it: one Close frame, and nothing after it."""
    end_at_once(arena, side, lambda websocket: websocket.close(), 4).check_graceful()


def some_break(arena, side):
    """Threads break the connection off, in the midst of it."""
    end_at_once(arena, side, lambda websocket: websocket.force_disconnect(), 2).check_broken()


def end_at_once(arena, side, end, count):
    """Have so many threads call a function while all send; return the match."""
    is_time = threading.Event()
    moment = arena.moment()

    def wait_and_end():
        wait_for(is_time)
        end(match.websocket)

    def drive(match, loop):
        match.follow(loop, lambda: (match.help(wait_and_end, count), match.crew.start()))
        match.crew.join()

    def manners(peer):
        if peer.frames >= moment:
            is_time.set()

    match = Match(arena, side, manners)
    match.run(drive)
    return match


def peer_closes(arena, side):
    """The peer closes, in the midst of it: what was sent before our Close frame arrives."""
    moment = arena.moment()

    def drive(match, loop):
        match.follow(loop, match.crew.start)
        match.crew.join()

    def manners(peer):
        if peer.frames >= moment and not peer.has_sent_close:
            peer.send(CLOSE, b'\x03\xe9going')

    match = Match(arena, side, manners)
    match.run(drive)
    match.check_graceful()
    assert 'closing' in match.log.names


def peer_asks(arena, side):
    """The peer pings while all send: the latest ping is answered, whoever held the lock."""
    def drive(match, loop):
        match.follow(loop, match.crew.start)
        match.crew.join()

    def manners(peer):
        if peer.awaited_pong is None and not peer.has_sent_close:
            asked.append(None)
            if len(asked) > arena.calls:
                peer.send(CLOSE, b'\x03\xe8')
            else:
                peer.ask(b'are you there? %d' % len(asked))

    asked = []
    match = Match(arena, side, manners)
    match.run(drive)
    match.check_graceful()
    assert match.peer.awaited_pong is None


def peer_stalls(arena, side):
    """The peer stops reading until senders wait for room, and then goes on: nothing is lost."""
    may_go_on = threading.Event()

    def drive(match, loop):
        match.crew.calls = float('inf')
        match.follow(loop, lambda: (
            match.crew.start(), match.help(wait_until_blocked),
            match.help(match.close_after_all)))

    def wait_until_blocked():
        wait_until_sending(match.websocket)
        match.crew.calls = 0
        may_go_on.set()

    def manners(peer):
        if peer.frames == 1:
            wait_for(may_go_on)

    match = Match(arena, side, manners, length=100000, receive_buffer=65536)
    match.run(drive)
    match.check_graceful()
    assert not match.crew.errors


# -- the scenarios of a client --

def loop_leaves(arena, way, side='client'):
    """The loop's thread breaks out, closes its iterator, or raises, while others send."""
    moment = arena.moment()

    def drive(match, loop):
        def on_event(event):
            match.log.enter(event)
            if event.name == 'ready':
                match.crew.start()
            return match.log.messages >= max(1, moment // 4)    # not before Ready

        try:
            for event in loop:
                if on_event(event):
                    if way == 'break':
                        break
                    if way == 'close':
                        loop.close()
                    else:
                        raise Hangup()
        except Hangup:
            pass
        finally:
            loop.close()
        match.crew.join()
        assert match.websocket.is_closed
        assert match.websocket.session.transport.is_closed

    match = Match(arena, side)
    match.run(drive)
    match.check_arrived()
    assert 'disconnected' not in match.log.names


def persists(arena):
    """It reconnects, again and again, while others send all the time."""
    peers = []
    is_over = threading.Event()

    def script(sock):
        limit = arena.random.randrange(1, arena.calls)
        way = arena.random.choice(['close', 'end', 'reset'])

        def manners(peer):
            if peer.frames >= limit and not peer.has_sent_close:
                if way == 'close':
                    peer.send(CLOSE, b'\x03\xe9')
                    return
                if way == 'reset':
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                raise Hangup()

        peer = Peer(manners)
        peers.append(peer)
        peer.serve(sock)

    with nothing_left(), hectic(), arena.serve(script) as server:
        websocket = arena.websocket(server.url)
        crew = Crew(arena, websocket, is_over).start()
        log = Log()
        ends = 0
        for event in persist(websocket, min_wait=0, max_wait=0, poll=0.05, ping_rate=0.01):
            if event.name == 'connecting':
                log = Log()
            if event.name == 'back_off':
                log.check(log.last.graceful)
                ends += 1
                if ends == max(3, arena.calls // 8):
                    is_over.set()
                    websocket.close()
                continue
            log.enter(event)
        crew.join()
    assert len(peers) >= ends
    assert websocket.stats.connections <= websocket.stats.attempts
    reached = {}
    for peer in peers:
        for sender, number in peer.ledger.next.items():
            assert number >= reached.get(sender, 0)
            reached[sender] = number
    assert all(reached[sender] <= crew.returned[sender] + 1 for sender in reached)


def handler_closes(arena, who):
    """A signal's handler calls close(), in the midst of what the main thread does.

    That is the loop or, with ``who`` 'sender', a send. Only for a main thread.
    """
    def on_signal(_signum, _frame):
        if inside:      # one that waits for a sender isn't to be interrupted for ever
            return
        inside.append(None)
        calls.append(None)
        websocket = match.websocket
        websocket.state, websocket.sent_close_time, websocket.stats.as_dict()
        if len(calls) >= last:
            websocket.close()
        inside.pop()

    def drive(match, loop):
        if who == 'loop':
            match.follow(loop, start)
        else:
            match.follow_in_thread(loop, start, lambda: match.crew.send_here(arena.senders))
        signal.setitimer(signal.ITIMER_REAL, 0)
        match.crew.join()

    def start():
        match.crew.calls = float('inf')
        match.crew.start()
        signal.setitimer(signal.ITIMER_REAL, 0.0005 + arena.random.random() * 0.02, 0.0007)

    calls, inside = [], []
    last = arena.random.randrange(1, 20)
    before = signal.signal(signal.SIGALRM, on_signal)
    try:
        match = Match(arena, 'client')
        match.run(drive)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    match.check_graceful()


def process_forks(arena):
    """The process forks while threads send: whatever the child does, its parent goes on."""
    def drive(match, loop):
        for event in loop:
            match.log.enter(event)
            if event.name == 'ready':
                match.crew.start()
                match.help(match.close_after_all)
            elif event.name in ('text', 'binary') and len(children) < 3:
                children.append(fork(match.websocket, loop, len(children)))

    children = []
    match = Match(arena, 'client')
    match.run(drive)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    assert not any(statuses), statuses
    match.check_graceful()
    assert not match.crew.errors


def fork(websocket, loop, way):
    """Fork; the child ends in one of the ways there are. Return its number."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)    # 3.12: forks with threads may hang
        child = os.fork()
    if child:
        return child
    status = 1
    try:
        signal.alarm(int(PATIENCE))
        if way == 0:
            websocket.force_disconnect()
        elif way == 1:
            websocket.session.dispose()
        status = 0
    finally:
        os._exit(status)


#: (what it is called, the function, its further arguments)
SCENARIOS = [
    ('{} of the {}'.format(scenario.__name__, side), scenario, (side,))
    for scenario in (
        everyone_sends, everyone_sends_much, many_close, some_break, peer_closes, peer_asks,
        peer_stalls)
    for side in ('client', 'server')
] + [
    ('loop_leaves by {}'.format(way), loop_leaves, (way,)) for way in ('break', 'close', 'raise')
] + [
    # Without those in which the peer closes: what waits then is not sent.
    ('{} of the queue'.format(scenario.__name__), scenario, ('queue',))
    for scenario in (everyone_sends, everyone_sends_much, many_close, some_break, peer_stalls)
] + [
    ('loop_leaves the queue by {}'.format(way), loop_leaves, (way, 'queue'))
    for way in ('break', 'close')
] + [
    ('persists', persists, ()),
]
if hasattr(signal, 'setitimer'):
    SCENARIOS += [
        ('handler_closes the {}'.format(who), handler_closes, (who,))
        for who in ('loop', 'sender')]
if hasattr(os, 'fork'):
    SCENARIOS.append(('process_forks', process_forks, ()))
