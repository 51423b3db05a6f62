"""Read what is published at an MQTT broker, over WebSocket, and publish.

    python mqtt.py ws://127.0.0.1:9001/ 'news/#'
    python mqtt.py ws://127.0.0.1:9001/ news/today --publish 'hello'

It shows a protocol of others on top of WebSocket: the subprotocol `mqtt`, and packets of MQTT 3.1.1
in binary messages (QoS 0 only). It reconnects and subscribes again after each outage. Ctrl-C or
SIGTERM ends it. The exit status is 0 then, 1 if the broker refuses it, and 2 for wrong arguments.

mosquitto accepts such clients with these lines in mosquitto.conf:

    listener 9001 127.0.0.1
    protocol websockets
    allow_anonymous true
"""

from __future__ import absolute_import, division, print_function

import argparse
import signal
import struct
import sys

import six

from lomond import WebSocket
from lomond.errors import WebSocketError
from lomond.examples import cli
from lomond.persist import ReconnectPolicy, persist

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, Optional, Text, Tuple  # noqa: F401

# The types of packets, each with its flags.
CONNECT, CONNACK, PUBLISH, SUBSCRIBE, SUBACK, PINGREQ = 0x10, 0x20, 0x30, 0x82, 0x90, 0xc0
KEEP_ALIVE = 60     # seconds; the broker ends a connection after half as much again


def packet(kind, *parts):
    # type: (int, *bytes) -> bytes
    """Build a packet: its type, its length in groups of seven bits, and its parts."""
    body = b''.join(parts)
    header, length = bytearray([kind]), len(body)
    while length > 127:
        header.append(length % 128 | 128)
        length //= 128
    return bytes(header + bytearray([length])) + body


def text(value):
    # type: (Text) -> bytes
    data = value.encode('utf-8')
    return struct.pack('!H', len(data)) + data


def take_packets(data):
    # type: (bytearray) -> Iterator[Tuple[int, bytes]]
    """Remove the packets that are complete; yield the type and the body of each."""
    while True:
        length = 0
        for index, byte in enumerate(data[1:5]):
            length |= (byte & 127) << 7 * index
            if byte < 128:
                break
        else:
            if len(data) > 4:
                raise ValueError('a length of more than four bytes')
            return      # the length isn't complete
        start = index + 2
        if len(data) < start + length:
            return
        kind, body = data[0], bytes(data[start:start + length])
        del data[:start + length]
        yield kind, body


class Client(object):
    """Subscribes to a topic and prints what is published, or publishes a message to it."""

    def __init__(self, websocket, topic, message):
        # type: (WebSocket, Text, Optional[Text]) -> None
        self._websocket = websocket
        self._topic = topic
        self._message = message
        self._data = bytearray()
        self._status = 0

    def run(self):
        # type: () -> int
        """Return the exit status."""
        for event in persist(self._websocket, poll=KEEP_ALIVE / 2, ping_timeout=60,
                             policy=ReconnectPolicy(spread=1.0)):
            try:
                self._on_event(event)
            except WebSocketError:
                pass        # the connection has just ended: the next events say why
        return self._status

    def _on_event(self, event):
        # type: (Any) -> None
        if event.name == 'ready':
            self._data = bytearray()
            # Version 4 of the protocol is 3.1.1; flag 2: the session ends with the connection.
            self._send(CONNECT, text(u'MQTT') + b'\x04\x02',
                       struct.pack('!H', KEEP_ALIVE), text(u''))
        elif event.name == 'poll':
            self._send(PINGREQ)
        elif event.name == 'binary':
            self._data += event.data    # a packet needn't end where a message does
            try:
                for kind, body in take_packets(self._data):
                    self._on_packet(kind, body)
            except (ValueError, IndexError, struct.error) as error:
                cli.complain(u'what came is not MQTT: {}'.format(error))
                self._status = 1
                self._websocket.close(1002)
        elif event.name == 'back_off':
            cli.complain(u'{}. Next attempt in {:.1f} s'.format(event.reason, event.delay))

    def _send(self, kind, *parts):
        # type: (int, *bytes) -> None
        self._websocket.send_binary(packet(kind, *parts))

    def _on_packet(self, kind, body):
        # type: (int, bytes) -> None
        if kind in (CONNACK, SUBACK) and bytearray(body)[-1] >= (1 if kind == CONNACK else 128):
            cli.complain(u'the broker refuses')
            self._status = 1
            self._websocket.close()
        elif kind == CONNACK and self._message is not None:
            self._send(PUBLISH, text(self._topic), self._message.encode('utf-8'))
            self._websocket.close()
        elif kind == CONNACK:
            self._send(SUBSCRIBE, b'\x00\x01', text(self._topic), b'\x00')
        elif kind == SUBACK:
            cli.complain(u'subscribed to {}'.format(self._topic))
        elif kind & 0xf0 == PUBLISH:
            size, = struct.unpack('!H', body[:2])
            topic, message = body[2:2 + size], body[2 + size:]
            if not cli.say(u'{}: {}'.format(
                    topic.decode('utf-8'), message.decode('utf-8', 'replace'))):
                self._websocket.close()


def main():
    # type: () -> int
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--publish', metavar='MESSAGE', help='publish this, and end')
    parser.add_argument('url', metavar='URL', help='ws://... or wss://...')
    parser.add_argument('topic', metavar='TOPIC')
    options = parser.parse_args()
    try:
        websocket = WebSocket(options.url, protocols=['mqtt'])
    except ValueError as error:
        parser.error(str(error))
    for number in signal.SIGTERM, signal.SIGINT:
        signal.signal(number, lambda *_: websocket.close())
    message = options.publish
    return Client(websocket, six.ensure_text(options.topic),
                  message if message is None else six.ensure_text(message)).run()


if __name__ == '__main__':
    sys.exit(cli.run(main))
