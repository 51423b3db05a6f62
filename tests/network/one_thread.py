"""What the tests of `Server(threads=False)` share: a loop that the test turns, and raw clients.

All in one thread: what a client has sent is in the system's buffers before the server looks.
"""

from __future__ import absolute_import, division, print_function

import socket

from lomond._compat import monotonic
from lomond.net.waiter import READ, wait
from lomond.server import Server
from tests.support import PATIENCE, make_frame, read_frame, read_head

MASK = b'\x37\xfa\x21\x3d'

UPGRADE = (
    b'GET /feed?a=b HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
    b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n')

# How often the loop looks up, in seconds.
_GLANCE = 0.02


class Client(object):
    """A raw client, which sends a request at once, and reads the answer when it is asked to.

    ``address``: a pair for TCP, the path of a Unix socket. ``receive_buffer``, in bytes, is one
    that doesn't grow.
    """

    def __init__(self, address, request=UPGRADE + b'\r\n', receive_buffer=None):
        self.sock = socket.socket(
            socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX)
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(address)
        self.sock.sendall(request)

    def is_answered(self):
        """Return whether there is something to read."""
        return bool(wait(((self.sock.fileno(), READ),), 0))

    def read_status(self):
        """Read the head of the answer; return its status."""
        return int(read_head(self.sock).split(b' ')[1])

    def send(self, opcode, payload=b''):
        self.sock.sendall(make_frame(opcode, payload, key=MASK))

    def read(self):
        """Read a frame; return its opcode and payload."""
        first, payload = read_frame(self.sock)
        return first & 15, payload

    def read_until_end(self):
        """Return what comes until the server ends TCP, in order or not."""
        data = b''
        try:
            while True:
                piece = self.sock.recv(65536)
                if not piece:
                    return data
                data += piece
        except socket.error:
            return data

    def close(self):
        self.sock.close()


class Served(object):
    """A server without threads, and the loop over it; leave it to close all that it has."""

    def __init__(self, **options):
        self.server = Server(threads=False, **dict({'ping_rate': 0}, **options))
        self._address = options.get('unix_path') or (self.server.host, self.server.port)
        self.loop = self.server.polling(_GLANCE)
        self.clients = []
        #: Pairs of a websocket and its event; and how many of the loop's own Polls there were.
        self.seen = []
        self.polls = 0

    def __enter__(self):
        return self

    def __exit__(self, *_exc_info):
        self.loop.close()
        self.server.close()
        for client in self.clients:
            client.close()

    def turn(self):
        """Take the next event; None if it is the loop's Poll."""
        websocket, event = next(self.loop)
        if websocket is None:
            self.polls += 1
            return None
        self.seen.append((websocket, event))
        return event

    def run(self, is_done):
        """Iterate until ``is_done()``."""
        deadline = monotonic() + PATIENCE
        while not is_done():
            self.turn()
            assert monotonic() < deadline, self.seen

    def poll(self, count=1):
        """Iterate until the loop's own Poll has come so many more times."""
        total = self.polls + count
        self.run(lambda: self.polls >= total)

    def wait_for(self, name, count=1):
        """Iterate until so many more events of this name have come; return the last one's pair."""
        total = count + self.count(name)
        self.run(lambda: self.count(name) == total)
        return self.seen[-1]

    def count(self, name):
        return sum(event.name == name for _websocket, event in self.seen)

    def names_of(self, websocket):
        """Return the names of a connection's events."""
        return [event.name for owner, event in self.seen if owner is websocket]

    def dial(self, *request, **options):
        """Return a new client, whose request waits for the server."""
        client = Client(self._address, *request, **options)
        self.clients.append(client)
        return client

    def connect(self, **options):
        """Return a new client, and the server's end of its connection."""
        client = self.dial(**options)
        address = client.sock.getsockname()
        self.run(lambda: self.seen and self.seen[-1][0].address == address)
        assert client.read_status() == 101
        return client, self.seen[-1][0]
