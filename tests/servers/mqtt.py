"""A small MQTT 3.1.1 client on top of a WebSocket: a protocol that others wrote a broker for.

By the OASIS standard of 2014; the section numbers are its own. Knows as much of it as the tests
need, and no more of the WebSocket than a user does.
"""

from __future__ import absolute_import, division, print_function

import struct
from collections import namedtuple

from six.moves import queue

from lomond import WebSocket
from tests.network.driving import Background
from tests.support import PATIENCE

CONNECT, CONNACK, PUBLISH, PUBACK = 1, 2, 3, 4
SUBSCRIBE, SUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 12, 13, 14

RETAIN = 0x01

#: A control packet: its type, the flags beside it, the rest without the length.
Packet = namedtuple('Packet', ['kind', 'flags', 'body'])

#: What a PUBLISH carries; ``number`` is the packet identifier, None for QoS 0.
Publication = namedtuple('Publication', ['topic', 'payload', 'qos', 'is_retained', 'number'])


def encode(kind, body=b'', flags=0):
    """Build a control packet (2.2)."""
    length = len(body)
    header = bytearray([kind << 4 | flags])
    while True:
        header.append(length % 128 | (0x80 if length >= 128 else 0))
        length //= 128
        if not length:
            return bytes(header) + body


def decode(data):
    """Return (packet, rest), or (None, data) while the packet isn't whole."""
    length = 0
    for index, byte in enumerate(bytearray(data[1:5])):
        length |= (byte & 0x7f) << 7 * index
        if byte < 0x80:
            start = index + 2
            if len(data) - start < length:
                break
            first, = bytearray(data[:1])
            return (Packet(first >> 4, first & 0x0f, data[start:start + length]),
                    data[start + length:])
    return None, data


def encode_text(text):
    """Build a UTF-8 string with its length (1.5.3)."""
    data = text.encode('utf-8')
    return struct.pack('!H', len(data)) + data


def decode_publication(packet):
    """Take a PUBLISH apart (3.3)."""
    size, = struct.unpack('!H', packet.body[:2])
    topic, rest = packet.body[2:2 + size].decode('utf-8'), packet.body[2 + size:]
    qos = packet.flags >> 1 & 3
    number = None
    if qos:
        number, = struct.unpack('!H', rest[:2])
        rest = rest[2:]
    return Publication(topic, rest, qos, bool(packet.flags & RETAIN), number)


class Client(object):
    """One connection to a broker, which has accepted it once this is entered.

    Parameters: ``client_id``, and ``options`` for `WebSocket`. ``events`` are
    those of the WebSocket; what comes of MQTT goes through `expect`.
    """

    def __init__(self, url, client_id, **options):
        self.websocket = WebSocket(url, proxies={}, protocols=['mqtt'], **options)
        self.client_id = client_id
        self.events = []
        self._packets = queue.Queue()
        self._loop = None

    def __enter__(self):
        self._loop = Background(self._run)
        # 3.2.2: no session of before, and welcome.
        assert self.expect(CONNACK).body == b'\x00\x00'
        return self

    def __exit__(self, *_exc_info):
        self.websocket.force_disconnect()
        self._loop.result()

    def _run(self):
        data = b''
        for event in self.websocket:
            self.events.append(event)
            if event.name == 'ready':
                # 3.1: a clean session, which the broker needn't hear from for a minute.
                self.send(CONNECT, encode_text(u'MQTT') + b'\x04\x02' + struct.pack('!H', 60)
                          + encode_text(self.client_id))
            elif event.name == 'binary':
                # 6: packets don't keep to the frames.
                packet, data = decode(data + event.data)
                while packet is not None:
                    self._packets.put(packet)
                    packet, data = decode(data)
        self._packets.put(None)

    def send(self, kind, body=b'', flags=0):
        self.websocket.send_binary(encode(kind, body, flags))

    def expect(self, kind):
        """Return the next packet, which must be of this type."""
        packet = self._packets.get(timeout=PATIENCE)
        assert packet is not None, 'the connection ended: {}'.format(self.events)
        assert packet.kind == kind
        return packet

    def ended(self):
        """Wait for the end of the connection, and return all its events."""
        packet = self._packets.get(timeout=PATIENCE)
        assert packet is None, packet
        self._loop.result()
        return self.events

    def subscribe(self, topic, qos):
        """Subscribe, and have it acknowledged (3.8, 3.9)."""
        self.send(SUBSCRIBE, b'\x00\x01' + encode_text(topic) + struct.pack('!B', qos), flags=2)
        assert self.expect(SUBACK).body == b'\x00\x01' + struct.pack('!B', qos)

    def publish(self, topic, payload, qos=0, number=None, flags=0):
        """Publish (3.3), and have it acknowledged (3.4) if ``qos`` is 1."""
        body = encode_text(topic) + (struct.pack('!H', number) if qos else b'') + payload
        self.send(PUBLISH, body, flags | qos << 1)
        if qos:
            assert self.expect(PUBACK).body == struct.pack('!H', number)

    def take(self):
        """Return the next publication; acknowledge it if it wants that."""
        publication = decode_publication(self.expect(PUBLISH))
        if publication.qos:
            self.send(PUBACK, struct.pack('!H', publication.number))
        return publication
