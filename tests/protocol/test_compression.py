"""permessage-deflate on the wire: RFC 7692's examples, RSV1, windows, bad streams."""

from __future__ import absolute_import, division, print_function

import gc
import itertools
import weakref
import zlib

import pytest

from lomond.protocol import accel
from lomond.protocol.connection import CLIENT, SERVER
from lomond.protocol.extensions.deflate import DeflateCodec
from tests.protocol.harness import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    ROLES,
    RSV1,
    TEXT,
    Wire,
    assert_fails,
    bytewise,
    raw_deflate,
)

pytestmark = pytest.mark.usefixtures('deflate_library')

BY_ROLE = pytest.mark.parametrize('role', ROLES)

HELLO = b'\xf2\x48\xcd\xc9\xc9\x07\x00'


def _wire(role, **options):
    return Wire(role, deflate=DeflateCodec(**options))


# -- RFC 7692 7.2.3, byte for byte as a server sends them --

@pytest.mark.parametrize('data', [
    b'\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00',
    b'\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00',
    b'\xc1\x0b\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00',
    b'\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00',
    b'\xc1\x0d\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00',
], ids=['one-block', 'fragments', 'stored', 'bfinal', 'two-blocks'])
@pytest.mark.parametrize('takeover', [True, False])
def test_rfc_7692_examples(data, takeover):
    wire = _wire(CLIENT, inflate_takeover=takeover)
    assert wire.receive(data) == [('text', u'Hello')]
    assert wire.receive(*bytewise(data)) == [('text', u'Hello')]
    assert wire.receive(data + data) == [('text', u'Hello')] * 2


def test_rfc_7692_example_of_the_shared_window():
    wire = _wire(CLIENT)
    data = b'\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00' + b'\xc1\x05\xf2\x00\x11\x00\x00'
    assert wire.receive(data) == [('text', u'Hello')] * 2


@pytest.mark.parametrize('takeover', [True, False])
@pytest.mark.parametrize('empty', [b'\xc1\x00', b'\x41\x00\x80\x00'], ids=['whole', 'fragments'])
def test_empty_message_with_no_payload_at_all_is_taken(takeover, empty):
    """Some peers send what zlib flushes for it the second time: nothing."""
    hello = b'\xc1\x07' + HELLO
    wire = _wire(CLIENT, inflate_takeover=takeover)
    assert wire.receive(hello + empty + empty + hello) == [
        ('text', u'Hello'), ('text', u''), ('text', u''), ('text', u'Hello')]
    first = _wire(CLIENT, inflate_takeover=takeover)
    assert first.receive(empty + hello) == [('text', u''), ('text', u'Hello')]


@BY_ROLE
def test_a_window_is_made_for_the_first_compressed_message_each_way(role, monkeypatch):
    """A window takes up to 256 KiB: a connection that sends none has none."""
    class Counting(object):
        error = zlib.error

        @staticmethod
        def compressobj(*args):
            made.append('compressobj')
            return zlib.compressobj(*args)

        @staticmethod
        def decompressobj(*args):
            made.append('decompressobj')
            return zlib.decompressobj(*args)

    made = []
    before = accel.use_zlib(Counting)
    try:
        wire = _wire(role)
        wire.receive(wire.frame(TEXT, b'plain'))
        wire.connection.encode(TEXT, b'plain')
        assert made == []
        wire.receive(wire.frame(TEXT, HELLO, rsv=RSV1))
        assert made == ['decompressobj']
        wire.connection.encode(TEXT, b'Hello', compress=True)
        assert made == ['decompressobj', 'compressobj']
    finally:
        accel.use_zlib(before)


def test_rfc_7692_example_of_the_shared_window_without_one():
    wire = _wire(CLIENT, inflate_takeover=False)
    before = assert_fails(
        1007, wire, b'\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00' + b'\xc1\x05\xf2\x00\x11\x00\x00')
    assert before == [('text', u'Hello')]


@BY_ROLE
@pytest.mark.parametrize('opcode, expected', [(TEXT, ('text', u'')), (BINARY, ('binary', b''))])
def test_empty_message_is_one_zero_byte(role, opcode, expected):
    wire = _wire(role)
    assert wire.receive_frame(opcode, b'\x00', rsv=RSV1) == [expected]
    assert wire.receive_frame(opcode, b'\x00', rsv=RSV1) == [expected]
    assert wire.receive_frame(TEXT, HELLO, rsv=RSV1) == [('text', u'Hello')]


@BY_ROLE
def test_fragments_are_inflated_as_they_come_with_control_frames_between(role):
    wire = _wire(role)
    for split in range(len(HELLO) + 1):
        # The dictionary of the example is empty each time: a new stream.
        wire = _wire(role)
        assert wire.receive(
            wire.frame(TEXT, HELLO[:split], fin=False, rsv=RSV1),
            wire.frame(PING, b'plain'),
            wire.frame(CONTINUATION, b'', fin=False),
            wire.frame(CONTINUATION, HELLO[split:]),
        ) == [('ping', b'plain'), ('text', u'Hello')]
        assert wire.replies == [(PONG, b'plain')]


@BY_ROLE
def test_messages_without_rsv1_are_left_as_they_are(role):
    wire = _wire(role)
    assert wire.receive(
        wire.frame(BINARY, HELLO), wire.frame(TEXT, HELLO, rsv=RSV1), wire.frame(TEXT, b'plain'),
        wire.frame(TEXT, b'pla', fin=False), wire.frame(CONTINUATION, b'in'),
        wire.frame(TEXT, b'\xf2\x00\x11\x00\x00', rsv=RSV1),
    ) == [
        ('binary', HELLO), ('text', u'Hello'), ('text', u'plain'), ('text', u'plain'),
        ('text', u'Hello')]


@BY_ROLE
@pytest.mark.parametrize('data', [b'\x07', b'\xff\xff\xff\xff', b'\x00\x05\x00\x00\x00Hello'])
def test_what_does_not_inflate_closes_with_1007(role, data):
    wire = _wire(role)
    assert assert_fails(1007, wire, wire.frame(TEXT, data, rsv=RSV1)) == []


@BY_ROLE
def test_what_does_not_inflate_fails_before_it_is_complete(role):
    wire = _wire(role)
    assert assert_fails(1007, wire, wire.frame(TEXT, b'\x07' * 100, rsv=RSV1)[:20]) == []


@BY_ROLE
@pytest.mark.parametrize('takeover', [True, False])
def test_streams_that_end_with_each_message_are_read(role, takeover):
    """RFC 7692 7.2.3.4: BFINAL set, and a block that isn't after it."""
    wire = _wire(role, inflate_takeover=takeover)
    for text in (u'one', u'two two two', u''):
        compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
        data = compressor.compress(text.encode('ascii')) + compressor.flush(zlib.Z_FINISH)
        frame = wire.frame(TEXT, data + b'\x00', rsv=RSV1)
        assert wire.receive(frame) == [('text', text)]
        assert wire.receive(*bytewise(frame)) == [('text', text)]


@BY_ROLE
@pytest.mark.parametrize('takeover', [True, False])
def test_streams_that_end_with_each_message_are_read_without_00_behind_them(role, takeover):
    """Some servers leave out what RFC 7692 7.2.3.4 asks for; others' clients take it."""
    wire = _wire(role, inflate_takeover=takeover)
    for text in (u'one', u'two two two', u'', u'x' * 2000, u'one'):
        compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
        data = compressor.compress(text.encode('ascii')) + compressor.flush(zlib.Z_FINISH)
        frame = wire.frame(TEXT, data, rsv=RSV1)
        assert wire.receive(frame) == [('text', text)]
        assert wire.receive(frame + frame) == [('text', text)] * 2
        assert wire.receive(*bytewise(frame)) == [('text', text)]
        for cut in range(len(data) + 1):
            assert wire.receive(
                wire.frame(TEXT, data[:cut], fin=False, rsv=RSV1),
                wire.frame(PING, b''),
                wire.frame(CONTINUATION, data[cut:]),
            ) == [('ping', b''), ('text', text)]
        assert wire.receive(wire.frame(TEXT, HELLO, rsv=RSV1)) == [('text', u'Hello')]


@BY_ROLE
@pytest.mark.parametrize('count', [9, 5000])
@pytest.mark.parametrize('behind', [b'', b'\x00'])
def test_message_full_of_tiny_streams_closes_with_1007(role, count, behind):
    for before in (b'', b'\x00'):
        wire = _wire(role)
        assert wire.receive_frame(TEXT, before, rsv=RSV1) == [('text', u'')]
        assert assert_fails(
            1007, wire, wire.frame(TEXT, b'\x03\x00' * count + behind, rsv=RSV1)) == []


@BY_ROLE
@pytest.mark.parametrize('bits', range(9, 16))
@pytest.mark.parametrize('takeover', [True, False])
def test_peer_may_use_the_window_agreed_on(role, bits, takeover):
    wire = _wire(role, inflate_bits=bits, inflate_takeover=takeover)
    message = bytes(bytearray(i * i * i * 7 // 5 % 256 for i in range(3000)))
    compressor = zlib.compressobj(9, zlib.DEFLATED, -bits)
    for _again in range(3):
        if not takeover:
            compressor = zlib.compressobj(9, zlib.DEFLATED, -bits)
        data = (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
        assert wire.receive_frame(BINARY, data, rsv=RSV1) == [('binary', message)]


@pytest.mark.parametrize('bits', list(itertools.product([8, 9, 12, 15], repeat=2)))
@pytest.mark.parametrize('takeover', list(itertools.product([False, True], repeat=2)))
def test_two_ends_understand_each_other(bits, takeover):
    client = _wire(
        CLIENT, deflate_bits=bits[0], deflate_takeover=takeover[0],
        inflate_bits=bits[1], inflate_takeover=takeover[1])
    server = _wire(
        SERVER, deflate_bits=bits[1], deflate_takeover=takeover[1],
        inflate_bits=bits[0], inflate_takeover=takeover[0])
    text = u'{"price": 12.5, "caf\xe9": [1, 2, 3]} ' * 100
    for sender, receiver in ((client, server), (server, client)):
        for compress in (True, False, True, True):
            frame = sender.connection.encode(TEXT, text.encode('utf-8'), compress)
            assert receiver.receive(frame) == [('text', text)]
            assert (len(frame) < len(text) // 2) is compress
            assert receiver.receive(sender.connection.encode(PING, b'x', compress)) == [
                ('ping', b'x')]
            assert receiver.receive(sender.connection.encode(BINARY, b'', compress)) == [
                ('binary', b'')]


@BY_ROLE
def test_large_message_is_inflated_in_small_reads(role):
    wire = _wire(role)
    message = bytes(bytearray(i * 31 // 7 % 256 for i in range(100000)))
    frame = wire.frame(BINARY, raw_deflate(message), rsv=RSV1)
    pieces = [frame[i:i + 100] for i in range(0, len(frame), 100)]
    assert wire.receive(*pieces) == [('binary', message)]


# -- the end --

class _Window(object):
    """An object of zlib's, by way of one that a weak reference may be made to."""

    def __init__(self, wrapped):
        self._wrapped = wrapped

    def __getattr__(self, name):
        return getattr(self._wrapped, name)


class _CountedLibrary(object):
    """A library that deflates, and the set of its windows that are in memory."""

    def __init__(self, library):
        self._library = library
        self.error = library.error
        self.windows = weakref.WeakSet()

    def compressobj(self, *args):
        return self._keep(self._library.compressobj(*args))

    def decompressobj(self, *args):
        return self._keep(self._library.decompressobj(*args))

    def _keep(self, wrapped):
        window = _Window(wrapped)
        self.windows.add(window)
        return window


@BY_ROLE
def test_windows_are_freed_with_the_connection(role, deflate_library):
    """Some 300 KiB, while the WebSocket may be kept for long."""
    library = _CountedLibrary(deflate_library)
    accel.use_zlib(library)
    try:
        wire = Wire(role, deflate=DeflateCodec())
    finally:
        accel.use_zlib(deflate_library)
    assert len(library.windows) == 0
    assert wire.receive(wire.frame(TEXT, raw_deflate(b'Hello'), rsv=RSV1)) == [('text', u'Hello')]
    wire.connection.encode(TEXT, b'Hello', True)
    assert len(library.windows) == 2
    wire.connection.disconnect()
    gc.collect()
    assert len(library.windows) == 0
    assert wire.connection.supports_compression
