"""The judge of a race: it has its own parser and its own zlib stream, and keeps a book."""

from __future__ import absolute_import, division, print_function

import base64
import os
import random
import re
import socket
import struct
import zlib

from tests.support import PATIENCE, accept_for, get_header, make_frame, read_head, xor

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

#: With which frames are masked that are made here.
KEY = b'\x8a\x01\xff\x10'

_MARK = re.compile(b'(race|raw) ([0-9]+) ([0-9]+) ([0-9]+) ([0-9]+) ([0-9]+) ')
# Hardly to be compressed, and no two places alike.
_FILLING = base64.b64encode(bytes(bytearray(
    map(random.Random(0).randrange, [256] * 150000))))


def make_message(sender, number, size=1, index=0, word=b'race', length=0):
    """Return the bytes of a message that tells its place; ``index`` of ``size`` in a send_many."""
    return word + (' {} {} {} {} {} '.format(sender, number, size, index, length)).encode(
        'ascii') + _FILLING[number % 1000:number % 1000 + length]


class Ledger(object):
    """Checks that messages come whole and in order.

    With ``has_gaps`` some may be missing: those that aren't echoed.
    """

    def __init__(self, has_gaps=False):
        self._has_gaps = has_gaps
        self._group = None      # what has to come next, within a send_many
        self.next = {}

    def enter(self, content, is_control=False):
        """Check a message, or what a control frame carries, which may come at any time."""
        found = _MARK.match(content)
        assert found, 'not a message of ours: {!r}'.format(content[:80])
        word = found.group(1)
        sender, number, size, index, length = [int(part) for part in found.groups()[1:]]
        assert content == make_message(sender, number, size, index, word, length), (
            'a message was torn: {!r}'.format(content[:80]))
        place = (sender, number, size, index)
        if self._group is not None and not is_control:
            assert place == self._group, '{} came between: {} was due'.format(place, self._group)
        else:
            due = self.next.get(sender, number)
            assert index == 0 and (number >= due if self._has_gaps else number == due), (
                '{} came, {} was due'.format(place, due))
        if not is_control:
            self._group = (sender, number, size, index + 1) if index + 1 < size else None
        self.next[sender] = number + 1

    def enter_other(self, what):
        """Check that what isn't a sender's may come now."""
        assert self._group is None, '{} came between: {} was due'.format(what, self._group)


class Hangup(Exception):
    """Raised by manners to end the connection."""


class Peer(object):
    """The other end of one connection: checks each frame, echoes messages, answers.

    ``manners(peer)`` is called after each frame. It may call `send`, wait, or raise Hangup.
    """

    def __init__(self, manners=lambda peer: None, receive_buffer=None):
        self._manners = manners
        self._receive_buffer = receive_buffer
        self._received = bytearray()
        self._inflater = self._deflater = None
        self.ledger = Ledger()
        self.frames = 0         # of senders
        # Of a message in fragments: its first byte, the size of the frames, the payloads.
        self._begun = None
        self.closes = []        # payloads
        self.messages = self.payload_bytes = self.wire_bytes = self.pings = 0
        self.sent_messages = self.sent_payload_bytes = self.sent_bytes = self.sent_pongs = 0
        self.has_sent_close = False
        self.awaited_pong = None

    def serve(self, sock):
        """Be the server of a connection; a script of `RawServer`."""
        request = read_head(sock)
        is_deflating = b'permessage-deflate' in request
        sock.sendall(
            b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
            + (b'Sec-WebSocket-Extensions: permessage-deflate\r\n' if is_deflating else b'')
            + b'Sec-WebSocket-Accept: ' + accept_for(get_header(request, b'Sec-WebSocket-Key'))
            + b'\r\n\r\n')
        self._agree(is_deflating)
        self._key = None
        self._run(sock)

    def call(self, address, ssl_context, compress):
        """Be the client of a server."""
        sock = plain = socket.socket()
        try:
            if self._receive_buffer is not None:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
            plain.settimeout(PATIENCE)
            plain.connect(address)
            if ssl_context is not None:
                sock = ssl_context.wrap_socket(plain, server_hostname='127.0.0.1')
            head = [
                b'GET / HTTP/1.1', b'Host: 127.0.0.1', b'Upgrade: websocket',
                b'Connection: Upgrade', b'Sec-WebSocket-Version: 13',
                b'Sec-WebSocket-Key: ' + base64.b64encode(os.urandom(16))]
            if compress:
                head.append(b'Sec-WebSocket-Extensions: permessage-deflate')
            sock.sendall(b'\r\n'.join(head) + b'\r\n\r\n')
            self._agree(get_header(read_head(sock), b'Sec-WebSocket-Extensions') is not None)
            self._key = KEY
            self._run(sock)
        except (socket.error, EOFError):
            pass        # as in `RawServer`
        finally:
            sock.close()
            plain.close()

    def _agree(self, is_deflating):
        if is_deflating:
            self._inflater = zlib.decompressobj(-15)
            self._deflater = zlib.compressobj(-1, zlib.DEFLATED, -15)

    def _run(self, sock):
        self._sock = sock
        try:
            while True:
                data = sock.recv(65536)
                if not data:
                    break
                assert not self.closes, 'bytes after a Close frame'
                self._received += data
                for first, payload, size in self._take_frames():
                    self._judge(first, payload, size)
                    self._manners(self)
                if self.closes:
                    assert not self._received, 'bytes after a Close frame'
                    if self._key is None:       # a server ends TCP first
                        if hasattr(sock, 'unwrap'):     # TLS has an end of its own
                            break
                        sock.shutdown(socket.SHUT_WR)
        except Hangup:
            pass

    def _take_frames(self):
        """Yield (first byte, payload, size of the frame) of each that is whole."""
        buffer = self._received
        while len(buffer) >= 2:
            length, start = buffer[1] & 0x7f, 2
            if length >= 126:
                form, start = ('!H', 4) if length == 126 else ('!Q', 10)
                if len(buffer) < start:
                    return
                length, = struct.unpack(form, bytes(buffer[2:start]))
            assert bool(buffer[1] & 0x80) is (self._key is None), 'masked, or not, by mistake'
            key = bytes(buffer[start:start + 4]) if buffer[1] & 0x80 else b''
            start += len(key)
            if len(buffer) < start + length:
                return
            first, payload = buffer[0], bytes(buffer[start:start + length])
            del buffer[:start + length]
            yield first, xor(payload, key) if key else payload, start + length

    def _judge(self, first, payload, size):
        assert not self.closes, 'a frame after a Close frame'
        opcode = first & 0x0f
        if opcode in (TEXT, BINARY) or not opcode:
            assert bool(opcode) is (self._begun is None), 'a message within a message'
            begun, size_before, parts = self._begun or (first, 0, [])
            parts.append(payload)
            size += size_before
            if not first & 0x80:
                self._begun = (begun, size, parts)
                return
            self._begun = None
            first, opcode, payload = begun, begun & 0x0f, b''.join(parts)
        else:
            assert first & 0x80, 'a fragment of a control frame'
        assert first & 0x70 in ((0, 0x40) if opcode in (TEXT, BINARY) and self._inflater
                                else (0,)), 'reserved bits'
        if opcode in (TEXT, BINARY):
            self._judge_message(opcode, self._inflate(payload) if first & 0x40 else payload, size)
            return
        self.wire_bytes += size
        assert size <= 131
        if opcode == CLOSE:
            self.ledger.enter_other('a Close frame')
            if self._begun is not None:     # it cut a message short
                self.wire_bytes += self._begun[1]
            self.closes.append(payload)
            if not self.has_sent_close:
                self.send(CLOSE, payload)
            return
        assert opcode in (PING, PONG), 'opcode {}'.format(opcode)
        if payload.startswith(b'race '):
            self._enter(payload, is_control=True)
        if opcode == PING:
            self.pings += 1
            if not self.has_sent_close:
                self.send(PONG, payload)
        elif payload == self.awaited_pong:
            self.awaited_pong = None

    def _judge_message(self, opcode, message, size):
        content = message
        if message.startswith(b'{'):
            content = message[len(b'{"race": "'):-len(b'"}')]
        self._enter(content)
        if not content.startswith(b'raw'):
            self.messages += 1
            self.payload_bytes += len(message)
            self.wire_bytes += size
        if not self.has_sent_close:
            self.send(opcode, message)

    def _enter(self, content, is_control=False):
        self.ledger.enter(content, is_control)
        self.frames += 1

    def _inflate(self, payload):
        return self._inflater.decompress(payload + b'\x00\x00\xff\xff')

    def send(self, opcode, payload=b''):
        """Send a frame; a Close is the last one."""
        rsv = 0
        if opcode in (TEXT, BINARY):
            self.sent_messages += 1
            self.sent_payload_bytes += len(payload)
            if self._deflater is not None:
                payload = (self._deflater.compress(payload)
                           + self._deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
                rsv = 0x40
        elif opcode == PONG:
            self.sent_pongs += 1
        elif opcode == CLOSE:
            self.has_sent_close = True
        frame = make_frame(opcode, payload, rsv=rsv, key=self._key)
        self.sent_bytes += len(frame)
        self._sock.sendall(frame)

    def ask(self, payload):
        """Send a ping; `awaited_pong` is None once it was answered."""
        self.awaited_pong = payload
        self.send(PING, payload)
