"""Small real proxies for the tests: HTTP CONNECT, plain and over TLS, and SOCKS; bad manners."""

from __future__ import absolute_import, division, print_function

import base64
import select
import socket
import struct
import threading

from ..support import PATIENCE, RawServer, get_header, read_exactly, read_head

OK = b'HTTP/1.1 200 Connection established\r\n\r\n'


class ProxyServer(RawServer):
    """A proxy on loopback, a thread for each client.

    Parameters: ``credentials``, (user, password) in bytes, that a client must
    have; ``route``, which maps what a client asks for, such as
    b'example.org:443', to the address to connect to, for names that mean
    nothing here; ``manners``, a function that answers in its place: it is given
    the socket when the request was read, and returns True if a tunnel follows;
    ``ssl_context``, for a proxy that is reached over TLS.

    ``requests`` are the heads that came.
    """

    def __init__(self, credentials=None, route=(), manners=None, ssl_context=None):
        super(ProxyServer, self).__init__(self._serve, ssl_context)
        self._credentials = credentials
        self._route = dict(route)
        self._manners = manners
        self.requests = []

    @property
    def url(self):
        scheme = u'http' if self._ssl_context is None else u'https'
        return u'{}://127.0.0.1:{}'.format(scheme, self.port)

    @property
    def proxies(self):
        """What a WebSocket takes."""
        return {'http': self.url, 'https': self.url}

    def _serve(self, sock):
        request = read_head(sock)
        self.requests.append(request)
        method, authority, _version = request.split(b'\r\n')[0].split(b' ')
        assert method == b'CONNECT', request
        if not self._is_welcome(request):
            sock.sendall(
                b'HTTP/1.1 407 Proxy Authentication Required\r\n'
                b'Proxy-Authenticate: Basic realm="test"\r\nContent-Length: 0\r\n\r\n')
        elif self._manners is not None and not self._manners(sock):
            pass
        else:
            self._connect(sock, authority)

    def _is_welcome(self, request):
        if self._credentials is None:
            return True
        expected = b'Basic ' + base64.b64encode(b':'.join(self._credentials))
        return get_header(request, b'Proxy-Authorization') == expected

    def _connect(self, sock, authority):
        address = self._route.get(authority)
        if address is None:
            host, _colon, port = authority.decode('ascii').rpartition(':')
            address = (host.strip('[]'), int(port))
        try:
            upstream = socket.create_connection(address, PATIENCE)
        except socket.error:
            sock.sendall(b'HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n')
            return
        try:
            if self._manners is None:
                sock.sendall(OK)
            relay(sock, upstream)
        finally:
            upstream.close()


class Socks4aServer(RawServer):
    """A SOCKS4a proxy on loopback, as its specification has it.

    Parameters: ``route``, as of `ProxyServer`. ``requests`` has (host, port, user)
    of each; the host is an address in dots if the client sent it as one.
    """

    def __init__(self, route=()):
        super(Socks4aServer, self).__init__(self._serve)
        self._route = dict(route)
        self.requests = []

    def _serve(self, sock):
        version, command, port = struct.unpack('!BBH', read_exactly(sock, 4))
        assert (version, command) == (4, 1)
        address = read_exactly(sock, 4)
        user = self._read_text(sock)
        is_named = address.startswith(b'\0\0\0')
        host = self._read_text(sock) if is_named else socket.inet_ntoa(address).encode('ascii')
        self.requests.append((host, port, user))
        upstream = socket.create_connection(self._route[host], PATIENCE)
        try:
            sock.sendall(b'\0\x5a' + b'\0' * 6)
            relay(sock, upstream)
        finally:
            upstream.close()

    @staticmethod
    def _read_text(sock):
        text = b''
        while not text.endswith(b'\0'):
            text += read_exactly(sock, 1)
        return text[:-1]


def relay(client, upstream):
    """Carry bytes both ways until both directions have ended."""
    sinks = {client: upstream, upstream: client}
    while sinks:
        readable, _writable, _failed = select.select(list(sinks), [], [], PATIENCE)
        assert readable, 'the tunnel is silent'
        for source in readable:
            data = source.recv(65536)
            while data:
                sinks[source].sendall(data)
                # What TLS has decrypted, no select shows.
                data = source.recv(65536) if is_pending(source) else None
            if data == b'':
                sink = sinks.pop(source)
                if hasattr(sink, 'unwrap'):
                    return      # TLS can't end one way only
                sink.shutdown(socket.SHUT_WR)


def is_pending(sock):
    """Tell if a socket with TLS has bytes that it has received already."""
    return hasattr(sock, 'pending') and sock.pending() > 0


# -- manners: of those that lead to a tunnel --

def drip(sock):
    """Answer a byte at a time."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in bytearray(OK):
        sock.sendall(struct.pack('!B', byte))
    return True


# -- and of those that don't --

def drip_for_ever(sock):
    """Send a byte now and then, and never come to an end."""
    never = threading.Event()
    sock.sendall(b'HTTP/1.1 200 OK\r\nX-Drip: ')
    while not never.wait(0.01):
        sock.sendall(b'.')      # fails once the client has gone


def send_endless_head(sock):
    """Send header after header as fast as it goes."""
    sock.sendall(b'HTTP/1.1 200 OK\r\n')
    while True:
        sock.sendall(b'X-More: and more\r\n' * 100)


def stay_silent(sock):
    """Say nothing until the client has gone."""
    while sock.recv(4096):
        pass


def close_at_once(_sock):
    """Close the connection."""


def end_tls(sock):
    """Close the connection, with the notice that TLS has for that."""
    if hasattr(sock, 'unwrap'):
        sock.unwrap()


def close_half_way(sock):
    """Close the connection in the middle of the head."""
    sock.sendall(b'HTTP/1.1 200 OK\r\nVia: ')


def reset(sock):
    """Break the connection off."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))


def answer(data):
    """Make manners that send these bytes, and wait for the client to go."""
    def send(sock):
        sock.sendall(data)
        stay_silent(sock)
    return send
