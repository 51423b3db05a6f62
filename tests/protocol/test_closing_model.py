"""The closing handshake of two connections, explored: whatever happens, in any order.

`World` is a model of it after RFC 6455 5.5.1 and 7, made from its words and not
from the package's states. Two connections, joined back to back, do what it does,
step by step, and have to agree with it about everything that shows.
"""

from __future__ import absolute_import, division, print_function

from collections import namedtuple

import pytest

from lomond import errors
from lomond.protocol.connection import CLIENT, SERVER, Connection
from tests.protocol.harness import (
    CLOSE,
    KEY,
    PING,
    PONG,
    TEXT,
    drive,
    parse_frames,
    story,
)
from tests.sampling import IS_THOROUGH
from tests.support import make_frame

OTHER = {CLIENT: SERVER, SERVER: CLIENT}

#: What each end closes with, if it closes first.
CODES = {CLIENT: b'\x0b\xb8', SERVER: b'\x0b\xb9'}

WRONG = b'\x03\xea'     # 1002

#: What a peer other than ours may send: a frame with a reserved opcode.
BAD = 3

# -- the model --

#: What one end has done and seen so far. ``handling``: its user has the Closing
#: event in hand. ``left``: what it may still do of its own accord.
EndOfModel = namedtuple('EndOfModel', [
    'has_sent_close', 'has_received_close', 'has_failed', 'is_cut', 'handling', 'echo', 'left'])

#: Both ends, and the frames on their way to each: (opcode, payload).
World = namedtuple('World', ['ends', 'ways'])

ROLES = (CLIENT, SERVER)


def begin(left):
    """Return the world right after the opening handshake."""
    end = EndOfModel(False, False, False, False, False, None, left)
    return World((end, end), ((), ()))


class Step(object):
    """Makes the next world out of one: changes are put in, `world` reads them out."""

    def __init__(self, world, role):
        self._ends = dict(zip(ROLES, world.ends))
        self._ways = dict(zip(ROLES, world.ways))
        self.role = role
        self.events = []

    @property
    def end(self):
        return self._ends[self.role]

    def change(self, **fields):
        self._ends[self.role] = self.end._replace(**fields)

    def send(self, opcode, payload):
        peer = OTHER[self.role]
        if not self._ends[peer].is_cut:
            self._ways[peer] += ((opcode, payload),)

    def take(self, count):
        frames = self._ways[self.role]
        self._ways[self.role] = frames[count:]
        return frames[:count]

    @property
    def world(self):
        return World(
            tuple(self._ends[role] for role in ROLES), tuple(self._ways[role] for role in ROLES))


def may_send(end):
    """5.5.1: nothing after a Close frame."""
    return not (end.has_sent_close or end.is_cut)


def is_listening(end):
    """7.1.7, 1.4: what follows a fault, or the peer's Close frame, doesn't count."""
    return not (end.has_received_close or end.has_failed or end.is_cut)


def is_complete(end):
    """7.1.4: closed cleanly."""
    return end.has_sent_close and end.has_received_close


def state_of(end):
    if end.is_cut or is_complete(end):
        return 'closed'
    if end.has_failed:
        return 'failing'
    if end.has_sent_close:
        return 'closing'
    return 'peer_closing' if end.has_received_close else 'open'


def actions(world):
    """Return what may happen next."""
    found = []
    for role, end, way in zip(ROLES, world.ends, world.ways):
        if not end.is_cut:
            if end.handling:
                found.append(('finish', role, 0))
            elif way:
                found.append(('receive', role, 1))
                if len(way) > 1:
                    found.append(('receive', role, len(way)))
        for what in sorted(set(end.left)):
            if what == 'cut':
                if not end.is_cut:
                    found.append((what, role, 0))
            elif may_send(end) or (what == 'bad' and not end.is_cut):
                found.append((what, role, 0))
    return found


def follow(world, action):
    """Return the next world, and the events that the end of this action sees."""
    what, role, count = action
    step = Step(world, role)
    if what == 'receive':
        for opcode, payload in step.take(count):
            _receive(step, opcode, payload)
    elif what == 'finish':
        # 5.5.1: the answer to a Close frame, which echoes its code.
        if may_send(step.end):
            step.change(has_sent_close=True)
            step.send(CLOSE, step.end.echo)
        step.change(handling=False, echo=None)
    else:
        left = list(step.end.left)
        left.remove(what)
        step.change(left=tuple(left))
        if what == 'text':
            step.send(TEXT, b'words')
        elif what == 'ping':
            step.send(PING, b'?')
        elif what == 'bad':
            step.send(BAD, b'')
        elif what == 'close':
            step.change(has_sent_close=True)
            step.send(CLOSE, CODES[role])
        else:
            step.change(is_cut=True)
            step.take(len(world.ways[ROLES.index(role)]))
    return step.world, step.events


def work(world):
    """How much there is to do yet: a number that each action makes smaller, so that all ends."""
    return sum(
        100 * len(end.left) + 10 * may_send(end) + end.handling
        + sum(1 if opcode in (TEXT, PONG, BAD) else 2 for opcode, _payload in way)
        for end, way in zip(world.ends, world.ways))


def _receive(step, opcode, payload):
    end = step.end
    if not is_listening(end):
        return
    if opcode == TEXT:
        step.events.append(('text', payload.decode('ascii')))
    elif opcode == PONG:
        step.events.append(('pong', payload))
    elif opcode == PING:
        step.events.append(('ping', payload))
        if may_send(end):
            step.send(PONG, payload)
    elif opcode == CLOSE:
        step.change(has_received_close=True)
        code = bytearray(payload)
        event = 'closed' if end.has_sent_close else 'closing'
        step.events.append((event, code[0] << 8 | code[1]))
        if not end.has_sent_close:
            step.change(handling=True, echo=payload[:2])
    else:
        step.change(has_failed=True)
        step.events.append(('protocol_error', 1002))
        if may_send(end):
            step.change(has_sent_close=True)
            step.send(CLOSE, WRONG)


# -- what it is compared with --

class End(object):
    """A connection, and the bytes on their way to it."""

    def __init__(self, role):
        self.role = role
        self.way = []
        self.peer = None
        self.is_cut = False
        self._iterator = None
        self.connection = Connection(role, random_bytes=lambda size: KEY * (size // 4))
        self.connection.accept()

    def send(self, opcode, payload):
        self._put(self.connection.encode(opcode, payload))

    def _put(self, frame):
        if not self.peer.is_cut:
            self.peer.way.append(frame)

    def do(self, what, count):
        """Do what an action says; return the events of it."""
        if what == 'receive':
            data = b''.join(self.way[:count])
            del self.way[:count]
            self._iterator = drive(self.connection, data, self.send)
            return self._read_on()
        if what == 'finish':
            return self._read_on()
        if what == 'text':
            self.send(TEXT, b'words')
        elif what == 'ping':
            self.send(PING, b'?')
        elif what == 'bad':
            self._put(make_frame(BAD, key=KEY if self.role == CLIENT else None))
        elif what == 'close':
            self.send(CLOSE, CODES[self.role])
        else:
            self.is_cut = True
            self.connection.disconnect()
            del self.way[:]
        return []

    def _read_on(self):
        """Iterate, as far as the Closing event, which its user gets in hand."""
        seen = []
        for event in self._iterator:
            seen.append(event)
            if event.name == 'closing':
                break
        return seen

    @property
    def kept(self):
        """What the connection keeps that may change what it does next."""
        connection = self.connection
        return (
            connection.state, connection.is_receiving, connection.close_sent,
            connection.close_received, connection.error is None, connection.decoder.held)


def replay(path):
    """Return two fresh ends after these actions, and the events of the last."""
    ends = {role: End(role) for role in ROLES}
    seen = []
    for role in ROLES:
        ends[role].peer = ends[OTHER[role]]
    for what, role, count in path:
        seen = ends[role].do(what, count)
    return ends, seen


def _outline(events):
    """The events, as the model has them."""
    return [
        (entry[0], entry[-1]) if entry[0] == 'protocol_error' else entry[:2]
        for entry in story(events)]


def _check(world, expected_events, ends, seen):
    """Assert that the connections are where the model is, and show it."""
    assert _outline(seen) == expected_events
    for role, model, way in zip(ROLES, world.ends, world.ways):
        end = ends[role]
        connection = end.connection
        assert [
            (first & 0x0f, payload if first & 0x0f != CLOSE else payload[:2])
            for first, payload in parse_frames(b''.join(end.way), OTHER[role])] == list(way)
        assert connection.state == state_of(model)
        assert connection.is_receiving == is_listening(model)
        assert connection.is_close_complete == is_complete(model)
        assert (connection.close_sent is not None) == model.has_sent_close
        assert (connection.close_received is not None) == model.has_received_close
        assert (connection.error is not None) == model.has_failed
        if not may_send(model):
            # 5.5.1; and a refusal changes nothing, which the next steps show.
            for opcode in (TEXT, PING, PONG, CLOSE):
                with pytest.raises(errors.WebSocketUnavailable) as caught:
                    connection.encode(opcode, b'')
                assert type(caught.value) is (
                    errors.WebSocketClosed if state_of(model) == 'closed'
                    else errors.WebSocketClosing)


def explore(left):
    """Take every way there is; return the worlds at which there is nothing left to receive.

    Where the model and both connections are as they were before, another way has led there
    before.
    """
    first = begin(left)
    todo = [(first, ())]
    known = set()
    still = []
    while todo:
        world, path = todo.pop()
        possible = actions(world)
        if not any(what in ('receive', 'finish') for what, _role, _count in possible):
            still.append(world)
        for action in possible:
            next_world, events = follow(world, action)
            assert 0 <= work(next_world) < work(world)
            next_path = path + (action,)
            ends, seen = replay(next_path)
            try:
                _check(next_world, events, ends, seen)
            except BaseException:
                print('after', next_path)
                raise
            key = (next_world, ends[CLIENT].kept, ends[SERVER].kept)
            if key not in known:
                known.add(key)
                todo.append((next_world, next_path))
    return len(known), still


LEFT = [
    ('close', 'text', 'text', 'cut'),
    ('close', 'ping', 'text'),
    ('close', 'ping', 'cut'),
    ('bad', 'close', 'text'),
    ('bad', 'close', 'cut'),
]

if IS_THOROUGH:       # 55,000 worlds: a minute or two
    LEFT.append(('bad', 'close', 'cut', 'ping', 'text'))


@pytest.mark.parametrize('left', LEFT, ids=' '.join)
def test_two_connections_close_as_the_rfc_says_whatever_happens(left):
    """Each end may do what is left, once and at any time, and nothing of it."""
    count, still = explore(left)
    assert count > 100
    for world in still:
        client, server = world.ends
        if client.is_cut or server.is_cut:
            continue        # its transport ends the other, too
        assert is_complete(client) == is_complete(server) or client.has_failed \
            or server.has_failed
        # It always ends, once anyone has begun with it: both listen, or neither.
        assert is_listening(client) == is_listening(server), world
        assert may_send(client) == may_send(server), world
        assert client.has_sent_close == server.has_sent_close, world
