"""A target: a connection does the same, compiled or in pure Python.

In a process without compiled modules, it finds only what isn't always the same.
"""

from __future__ import absolute_import, division, print_function

import itertools

from fuzz.reading import Input, check_same, cut
from lomond._compat import to_bytes
from tests.builds import load_both

COMPILED, PURE = load_both([
    'lomond.events', 'lomond.extensions', 'lomond.protocol.accel',
    'lomond.protocol.extensions.deflate', 'tests.protocol.examples', 'tests.protocol.harness'])

#: So that more messages follow than are made in one batch.
_MANY = 60


class Side(object):
    """A connection of one form of the core, and what happened on it."""

    def __init__(self, modules, read):
        self._modules = modules
        harness = modules['tests.protocol.harness']
        role = read.choose(harness.CLIENT, harness.SERVER)
        numbers = itertools.count()
        self.happened = []
        self.wire = harness.Wire(
            role, self._choose_limits(read.byte()), clock=lambda: 12.5,
            random_bytes=lambda count: bytes(bytearray(next(numbers) % 251 for _ in range(count))),
            message_parts=read.choose(False, True),
            text_class=modules['lomond.events'].text_class(
                read.choose(None, float), read.choose(False, True)),
            **self._choose_extensions(role, read.byte()))
        self.connection = self.wire.connection
        self.connection.stats.received.payload_bytes = read.choose(0, 2 ** 31 - 5, 2 ** 40)
        self.connection.stats.sent.wire_bytes = read.choose(0, 2 ** 32 - 5, 2 ** 40)

    def _choose_limits(self, value):
        limits = self._modules['tests.protocol.harness'].DEFAULT_LIMITS
        if value == 1:
            return limits._replace(frame=None, message=None, fragments=None)
        if value:
            return limits._replace(frame=value, message=value, fragments=value % 5 + 1)
        return limits

    def _choose_extensions(self, role, value):
        extensions = self._modules['lomond.extensions']
        examples = self._modules['tests.protocol.examples']
        if value % 5 < 3:
            codec = self._modules['lomond.protocol.extensions.deflate'].DeflateCodec
            options = [None, {}, {'inflate_takeover': False, 'deflate_takeover': False}][value % 5]
            return {'deflate': None if options is None else codec(**options)}
        order = [examples.Checksum, extensions.PermessageDeflate][:value % 5 - 2]
        header, offered = extensions.offer(order)
        answer, of_server = extensions.answer(header, order)
        return {'extensions': of_server if role == 'server' else extensions.accept(answer, offered)}

    def run(self, pieces, actions):
        """Do something with each piece; return what happened."""
        for piece, number in zip(pieces, itertools.cycle(actions or [0])):
            action = ACTIONS[number % len(ACTIONS)]
            try:
                self.tell('done', action(self, piece))
            except Exception as error:
                self.tell(type(error).__name__, str(error))
            self.look()
        return self.happened

    def tell(self, *what):
        self.happened.append(what)

    def look(self):
        """Tell all that can be seen of the connection."""
        connection = self.connection
        decoder, encoder, lifecycle = (
            connection.decoder, connection.encoder, connection.lifecycle)
        self.tell(
            tuple(decoder.held), decoder.is_receiving, str(decoder.error), decoder.pending,
            decoder.pong, list(decoder.news), decoder.receive_buffer)
        self.tell(encoder.failure, encoder.unfinished, encoder.supports_compression)
        self.tell(lifecycle.state, lifecycle.may_send, lifecycle.may_close,
                  tuple(lifecycle.close_sent or ()), tuple(lifecycle.close_received or ()))
        self.tell(connection.stats.as_dict(), list(self.wire.sent))

    def see(self, event):
        fields = [(field, type(getattr(event, field)).__name__, getattr(event, field))
                  for field in type(event).__match_args__]
        self.tell(type(event).__name__, event.name, event.received_time, fields, repr(event))


# -- what is done with a piece --

def receive(side, piece):
    for event in side.wire.read(piece):
        side.see(event)


def receive_one_event(side, piece):
    """Give the iterator up after its first event."""
    for event in side.wire.read(piece):
        side.see(event)
        break


def receive_within(side, piece):
    """Receive what follows while an event of what is before is handled."""
    half = len(piece) // 2
    for event in side.wire.read(piece[:half]):
        side.see(event)
        if half:
            receive(side, piece[half:])
            half = 0


def receive_and_stop(side, piece):
    for event in side.wire.read(piece):
        side.see(event)
        side.connection.stop_receiving()


def receive_and_raise(side, piece):
    iterator = side.connection.receive(piece)
    side.see(next(iterator))
    iterator.throw(KeyError('thrown'))


def send(side, piece):
    data = bytearray(piece or b'\0')
    return side.connection.encode(data[0] & 15, piece, bool(data[0] & 16))


def send_in_frames(side, piece):
    data = bytearray(piece or b'\0')
    size, frames = side.connection.encoder.encode_in_frames(
        1 + (data[0] & 1), piece, bool(data[0] & 16), data[0] >> 4 or None)
    # Masking in C makes larger pieces.
    return size, [b''.join(to_bytes(piece) for piece in frame) for frame in frames]


def send_part(side, piece):
    data = bytearray(piece or b'\0')
    return side.connection.encoder.encode_part(
        1 + (data[0] & 1), piece, bool(data[0] & 2), bool(data[0] & 16))


def send_many(side, piece):
    data = bytearray(piece or b'\0')
    return list(side.connection.encoder.encode_many(
        [(1 + number % 2, piece[number:]) for number in range(5)], bool(data[0] & 1), 150))


def close(side, piece):
    return side.connection.encode_close(1000 + len(piece), piece.decode('latin-1'))


def disconnect(side, _piece):
    side.connection.disconnect()


ACTIONS = (
    receive, receive, receive, receive_one_event, receive_within, send, send, send_in_frames,
    send_part, send_many, receive_and_stop, receive_and_raise, close, disconnect)


def builds(data):
    """A connection of either role, compiled and not. Options, pieces, actions, then bytes.

    Nothing may be raised, and nothing may differ.
    """
    accel = COMPILED['lomond.protocol.accel']
    PURE['lomond.protocol.accel'].use_zlib(accel.find_zlib())
    stories = []
    for modules in (COMPILED, PURE):
        read = Input(data)
        side = Side(modules, read)
        sizes = read.sizes()
        actions = bytearray(read.take(read.byte() % 16))
        count = read.choose(1, _MANY)
        conversation = read.rest() * count
        stories.append(side.run(cut(conversation, sizes), actions))
    check_same(*stories)
