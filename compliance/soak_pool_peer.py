"""The other end of `soak_pool.py`, in a process of its own: a port for each of `MANNERS`.

What a client can do wrong here is its own affair: nothing is checked. Prints
the ports as one line of JSON, is calm after a line on its standard input, and
ends with that. Calm, it answers pings and Close, and breaks nothing.
"""

from __future__ import absolute_import, division, print_function

import heapq
import itertools
import json
import os
import random
import resource
import selectors
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tests.support import accept_for, get_header, make_close, make_frame

#: Seconds that a connection is open before it is broken.
AGES = 3, 30

#: A TLS record: the alert handshake_failure.
ALERT = b'\x15\x03\x03\x00\x02\x02\x28'


class Connection:
    """One connection: it upgrades, answers, and has its manner when its time comes."""

    def __init__(self, peer, sock, manner):
        self.peer = peer
        self.sock = sock
        self._manner = manner
        self._received = b''
        self._is_open = self.is_silent = self._is_gone = False
        sock.setblocking(False)
        peer.watch(sock, self.receive)

    def receive(self):
        try:
            data = self.sock.recv(65536)
        except OSError:
            data = b''
        if not data:
            self.close()
            return
        self._received += data
        if not self._is_open:
            self._shake_hands()
        elif self.is_silent:
            self._received = b''
        else:
            self._answer()

    def _shake_hands(self):
        if self._manner in AT_ONCE and not self.peer.is_calm:
            self._manner(self)
            return
        head, end, rest = self._received.partition(b'\r\n\r\n')
        if not end:
            return
        self._received = rest
        self._is_open = True
        self.send(
            b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
            b'Sec-WebSocket-Accept: ' + accept_for(get_header(head + end, b'Sec-WebSocket-Key'))
            + b'\r\n\r\n' + make_frame(1, b'welcome'))
        self.peer.later(random.uniform(*AGES), self._break)

    def _answer(self):
        """Answer the frames that have arrived."""
        while len(self._received) >= 6:
            length, start = self._received[1] & 0x7f, 2
            if length == 126:
                length, start = struct.unpack('!H', self._received[2:4])[0], 4
            end = start + 4 + length
            if len(self._received) < end:
                return
            opcode = self._received[0] & 0x0f
            key, payload = self._received[start:start + 4], self._received[start + 4:end]
            self._received = self._received[end:]
            if opcode >= 8:
                self.send(make_frame(10 if opcode == 9 else opcode, bytes(
                    byte ^ key[index % 4] for index, byte in enumerate(payload))))
            if opcode == 8:
                self.close()
                return

    def _break(self):
        if not (self._is_gone or self.peer.is_calm):
            self._manner(self)

    def send(self, data):
        try:
            self.sock.send(data)
        except OSError:
            self.close()

    def stop_reading(self):
        self.peer.forget(self.sock)
        self.send(make_frame(1, b'go'))

    def close(self):
        if not self._is_gone:
            self._is_gone = True
            self.peer.forget(self.sock)
            self.sock.close()


# -- how a connection is broken --

def end(connection):
    connection.close()


def reset(connection):
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    connection.close()


def say_goodbye(connection):
    connection.send(make_close(1001, b'going'))


def fall_silent(connection):
    connection.is_silent = True


def tear(connection):
    """End in the middle of a frame."""
    connection.send(make_frame(2, b'x' * 1000)[:500])
    connection.close()


def break_rules(connection):
    connection.send(make_frame(3, b'reserved'))


def stop_reading(connection):
    """Ask for messages, and read none of them."""
    connection.stop_reading()
    connection.peer.later(60, connection.close)


def reject(connection):
    connection.send(b'HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nlater')
    connection.close()


def cut_the_head(connection):
    connection.send(b'HTTP/1.1 101 Switching Pro')
    connection.close()


def alert(connection):
    connection.send(ALERT)
    connection.close()


AT_ONCE = reject, cut_the_head, alert
MANNERS = AT_ONCE + (end, reset, say_goodbye, fall_silent, tear, break_rules, stop_reading)


class Peer:
    """Serves all connections in the thread that calls `run`."""

    def __init__(self):
        self.is_calm = False
        self._selector = selectors.DefaultSelector()
        self._calls = []        # heap of (when, number, function)
        self._numbers = itertools.count()
        self.ports = {manner.__name__: self._listen(manner) for manner in MANNERS}

    def _listen(self, manner):
        listener = socket.socket()
        if manner is stop_reading:      # what it doesn't read must not fit in the buffers
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(('127.0.0.1', 0))
        listener.listen(4096)
        self.watch(listener, lambda: Connection(self, listener.accept()[0], manner))
        return listener.getsockname()[1]

    def watch(self, sock, function):
        """Call a function whenever a socket can be read."""
        self._selector.register(sock, selectors.EVENT_READ, function)

    def forget(self, sock):
        """Watch a socket no more."""
        if sock in self._selector.get_map():
            self._selector.unregister(sock)

    def later(self, seconds, function):
        """Call a function after that time."""
        heapq.heappush(self._calls, (time.monotonic() + seconds, next(self._numbers), function))

    def run(self):
        """Serve until the end of standard input."""
        self.watch(sys.stdin.buffer.raw, self._obey)
        while True:
            wait = self._calls[0][0] - time.monotonic() if self._calls else None
            for key, _events in self._selector.select(wait):
                key.data()
            while self._calls and self._calls[0][0] <= time.monotonic():
                heapq.heappop(self._calls)[2]()

    def _obey(self):
        if not os.read(0, 100):
            sys.exit()
        self.is_calm = True


def main():
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    peer = Peer()
    print(json.dumps(peer.ports))
    sys.stdout.flush()
    peer.run()


if __name__ == '__main__':
    main()
