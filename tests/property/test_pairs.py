"""Two connections joined back to back, and anything that both may do, in any order.

What an end sees is what the other sent, in that order, as far as it has come.
"""

from __future__ import absolute_import, division, print_function

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lomond import errors
from lomond.protocol.connection import CLIENT, SERVER, Connection
from lomond.protocol.extensions.permessage_deflate import (
    NAME,
    DeflateOptions,
    accept_answer,
    answer_offers,
    offer,
)
from tests.property.strategies import keys, payloads, roles, texts
from tests.protocol.harness import drive, story
from tests.support import make_frame

OTHER = {CLIENT: SERVER, SERVER: CLIENT}

bits = st.integers(8, 15)
deflate_options = st.builds(
    DeflateOptions, st.booleans(), st.booleans(), bits, bits, st.integers(-1, 9),
    st.integers(1, 9))

utf8 = texts.map(lambda text: text.encode('utf-8'))
repetitive = st.sampled_from([b'abcdefgh' * 10, b'0123456789' * 30, b'\0' * 700])

#: Opcode and payload of a message.
messages = st.tuples(st.just(1), utf8) | st.tuples(st.just(2), payloads | repetitive)
controls = st.tuples(st.sampled_from([9, 10]), st.binary(max_size=125))
codes = st.sampled_from([b'', b'\x03\xe8', b'\x03\xe9bye', b'\x0f\xa0caf\xc3\xa9'])


class _End(object):
    """An end: what it sent, what it saw, its bytes on their way to the other."""

    def __init__(self, role, deflate):
        self.role = role
        self.deflate = deflate
        self.way = b''
        self.sent = []
        self.seen = []
        self.connection = Connection(role)
        self.connection.accept(deflate)

    @property
    def may_send(self):
        return not any(opcode == 8 for opcode, _payload in self.sent)

    def send(self, opcode, payload, compress=False):
        self.way += self.connection.encode(opcode, payload, compress)
        self.sent.append((opcode, payload))

    def send_fragments(self, opcode, payload, points, between, compress, key):
        """Send a message in frames made by hand, with control frames in between."""
        data = self.deflate.compress(payload) if compress else payload
        points = sorted(min(point, len(data)) for point in points)
        pieces = [data[a:b] for a, b in zip([0] + points, points + [len(data)])]
        for index, piece in enumerate(pieces):
            is_last = index == len(pieces) - 1
            self.way += make_frame(
                0 if index else opcode, piece, fin=is_last,
                rsv=0x40 if compress and not index else 0,
                key=key if self.role == CLIENT else None)
            if not is_last and between is not None:
                self.send(*between)
        self.sent.append((opcode, payload))

    @property
    def events(self):
        """What the other end should see of what this one sent, once it is all there."""
        for opcode, payload in self.sent:
            if opcode == 1:
                yield 'text', payload.decode('utf-8')
            elif opcode == 8:
                code = bytearray(payload[:2])
                yield ('close', code[0] << 8 | code[1] if code else 1005,
                       payload[2:].decode('utf-8'))
            else:
                yield {2: 'binary', 9: 'ping', 10: 'pong'}[opcode], payload


class Pair(RuleBasedStateMachine):

    def __init__(self):
        super(Pair, self).__init__()
        self.ends = {}

    @initialize(agreed=st.none() | st.tuples(deflate_options, deflate_options))
    def open(self, agreed):
        client = server = None
        if agreed is not None:
            client_options, server_options = agreed
            parameters, server = answer_offers(server_options, [(NAME, offer(client_options))])
            client = accept_answer(client_options, parameters)
        self.ends = {CLIENT: _End(CLIENT, client), SERVER: _End(SERVER, server)}

    @rule(role=roles, message=messages | controls, compress=st.booleans())
    def send(self, role, message, compress):
        end = self.ends[role]
        opcode, payload = message
        if end.may_send:
            end.send(opcode, payload, compress)
            return
        with pytest.raises(errors.WebSocketUnavailable):
            end.connection.encode(opcode, payload, compress)

    @rule(role=roles, message=messages, points=st.lists(st.integers(0, 300), max_size=4),
          between=st.none() | controls, compress=st.booleans(), key=keys)
    def send_fragments(self, role, message, points, between, compress, key):
        end = self.ends[role]
        if end.may_send:
            opcode, payload = message
            end.send_fragments(
                opcode, payload, points, between, compress and end.deflate is not None, key)

    @rule(role=roles, payload=codes, once_in=st.integers(0, 2))
    def close(self, role, payload, once_in):
        end = self.ends[role]
        if end.may_send and not once_in:
            end.send(8, payload)

    @rule(role=roles, count=st.integers(1, 40) | st.just(10 ** 6))
    def receive(self, role, count):
        sender, receiver = self.ends[OTHER[role]], self.ends[role]
        data, sender.way = sender.way[:count], sender.way[count:]
        receiver.seen.extend(
            ('close',) + entry[1:] if entry[0] in ('closing', 'closed') else entry
            for entry in story(drive(receiver.connection, data, receiver.send)))

    @invariant()
    def each_sees_what_the_other_sent(self):
        for role in self.ends:
            seen = self.ends[role].seen
            assert seen == list(self.ends[OTHER[role]].events)[:len(seen)]
            assert self.ends[role].connection.error is None

    def teardown(self):
        for role in (CLIENT, SERVER, CLIENT, SERVER) if self.ends else ():
            self.receive(role, 10 ** 6)
        has_closed = any(not end.may_send for end in self.ends.values())
        for role, end in self.ends.items():
            assert end.way == b''
            assert end.seen == list(self.ends[OTHER[role]].events)
            assert end.connection.is_close_complete == has_closed
            assert end.connection.state == ('closed' if has_closed else 'open')


Pair.TestCase.settings = settings(settings.default, stateful_step_count=25)


class TestTwoConnectionsTellTheSameStory(Pair.TestCase):
    pass
