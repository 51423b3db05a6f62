"""The raw peer for many connections at once: one thread, and no more than a client makes it do.

    /hold                                   accepts; from then on it answers pings
    /feed?group=7                           the same, as one of a group
    /round?group=7&size=120&each=16         sends so many messages to each of a group, says `ok`
    /dial?port=8000&count=1000              opens connections to a server

A request for `/round` or `/dial` may be followed by others, on the same
connection. What a round has sent is in the client's receive buffers when it
says `ok`, so that the client needn't wait for it.
"""

from __future__ import absolute_import, division, print_function

import selectors
import socket
import ssl

import payloads
from upgrade import Gone, answer, parse_target, read_head

_UPGRADE = (
    'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n')


class Crowd:
    """Many connections, served in the thread that calls `run`.

    Parameters: ``context``, for the second port, or None.
    """

    def __init__(self, context):
        self._selector = selectors.DefaultSelector()
        self._groups = {}
        self.ports = [self._listen(None), self._listen(context)]

    def _listen(self, context):
        listener = socket.socket()
        listener.bind(('127.0.0.1', 0))
        listener.listen(4096)
        self._watch(listener, lambda listener: self._accept(listener, context))
        return listener.getsockname()[1]

    def _watch(self, sock, function):
        self._selector.register(sock, selectors.EVENT_READ, function)

    def run(self):
        """Serve without end."""
        while True:
            for key, _events in self._selector.select():
                sock = key.fileobj
                try:
                    key.data(sock)
                except (Gone, socket.error, ssl.SSLError):
                    self._selector.unregister(sock)
                    sock.close()

    def _accept(self, listener, context):
        # One after another, to the end of the handshake: a client on loopback is quick.
        sock, _address = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if context is not None:
                sock = context.wrap_socket(sock, server_side=True)
            self._serve(sock)
        except (Gone, socket.error, ssl.SSLError):
            sock.close()

    def _serve(self, sock):
        """Do what a new connection asks for."""
        target, fields = read_head(sock)
        path, options = parse_target(target)
        if path in ('/round', '/dial'):
            self._do(sock, path, options)
            self._watch(sock, self._obey)
            return
        answer(sock, fields, False, 0)
        if path == '/feed':
            self._groups.setdefault(options['group'], []).append(sock)
        self._watch(sock, _answer_ping)

    def _obey(self, sock):
        self._do(sock, *parse_target(read_head(sock)[0]))

    def _do(self, sock, path, options):
        if path == '/dial':
            for _ in range(options['count']):
                self._dial(options['port'])
        else:
            frame = payloads.header(payloads.TEXT, options['size']) + payloads.messages(
                options['size'], 1)[0]
            for member in self._groups[options['group']]:
                member.sendall(frame * options['each'])
        sock.sendall(b'ok')

    def _dial(self, port):
        sock = socket.create_connection(('127.0.0.1', port))
        sock.sendall(_UPGRADE.encode('ascii'))
        read_head(sock)
        self._watch(sock, _answer_ping)


def _answer_ping(sock):
    """Read, and throw it away unless it begins with a ping."""
    data = bytearray(sock.recv(65536))
    if not data:
        raise Gone
    if data[0] == payloads.FIN | payloads.PING:
        sock.sendall(payloads.pong_to(data))
