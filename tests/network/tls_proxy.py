"""A proxy that is reached over TLS, made of the ssl module alone."""

from __future__ import absolute_import, division, print_function

import select
import socket
import ssl

from tests.support import PATIENCE, RawServer, read_head, shut_down


class TLSProxy(RawServer):
    """Ends TLS of its own, answers CONNECT, and passes bytes both ways.

    ``is_polite`` tells whether it ends its TLS by a close_notify when the
    server behind it has gone. ``requests`` are the heads that came.
    """

    def __init__(self, ssl_context, is_polite=True):
        super(TLSProxy, self).__init__(self._tunnel, ssl_context)
        self._is_polite = is_polite
        self.requests = []

    @property
    def proxies(self):
        """What a WebSocket takes."""
        url = u'https://127.0.0.1:{}'.format(self.port)
        return {'http': url, 'https': url}

    def cut(self):
        """Break off what is there, under TLS."""
        for sock in list(self._socks):
            shut_down(sock)

    def serve(self, sock):
        # On 3.x the TLS socket takes the descriptor over: for `cut`, and for the end, have a copy.
        copy = socket.fromfd(sock.fileno(), sock.family, sock.type)
        self._socks[self._socks.index(sock)] = copy
        try:
            super(TLSProxy, self).serve(sock)
        finally:
            self._socks.remove(copy)
            copy.close()

    def _tunnel(self, sock):
        request = read_head(sock)
        self.requests.append(request)
        _method, authority, _version = request.split(b'\r\n')[0].split(b' ')
        host, _colon, port = authority.decode('ascii').rpartition(':')
        upstream = socket.create_connection((host, int(port)), PATIENCE)
        try:
            sock.sendall(b'HTTP/1.1 200 Connection established\r\n\r\n')
            _relay(sock, upstream)
            if self._is_polite:
                sock.unwrap()
        finally:
            upstream.close()


def _relay(sock, upstream):
    """Carry bytes both ways until one has ended."""
    others = {sock: upstream, upstream: sock}
    while True:
        ready = [sock] if sock.pending() else select.select(list(others), [], [], PATIENCE)[0]
        assert ready, 'the tunnel is silent'
        for source in ready:
            try:
                data = source.recv(65536)
            except ssl.SSLError:
                return      # a cut
            if not data:
                return
            others[source].sendall(data)
