"""The other end of `soak.py`, in a process of its own: servers and proxies with bad manners.

What a server does depends on the path of the URL, see `MANNERS`. Prints where
it listens as one line of JSON, and ends with its standard input.
"""

from __future__ import absolute_import, division, print_function

import json
import os
import shutil
import socket
import ssl
import struct
import sys
import tempfile
import threading

import trustme

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tests.network.proxy_server import ProxyServer, Socks4aServer
from tests.support import (
    RawServer,
    accept_for,
    get_header,
    make_close,
    make_frame,
    read_frame,
    read_head,
)


def accept(sock, request):
    sock.sendall(
        b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
        b'Sec-WebSocket-Accept: ' + accept_for(get_header(request, b'Sec-WebSocket-Key'))
        + b'\r\n\r\n')


def read_until_gone(sock):
    while sock.recv(65536):
        pass


def echo(sock, request):
    """Send back what comes, and answer pings and Close."""
    accept(sock, request)
    while True:
        first, payload = read_frame(sock)
        opcode = first & 0x0f
        sock.sendall(make_frame(10 if opcode == 9 else opcode, payload))
        if opcode == 8:
            return


def close_first(sock, request):
    accept(sock, request)
    sock.sendall(make_frame(1, b'bye') + make_close(1001, b'going'))
    read_until_gone(sock)


def end(sock, request):
    """End TCP, and TLS if that's what it is, with no Close frame."""
    accept(sock, request)
    sock.sendall(make_frame(1, b'x'))


def reset(sock, request):
    accept(sock, request)
    sock.sendall(make_frame(1, b'x'))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    socket.socket.close(sock)


def tear(sock, request):
    """End in the midst of a frame."""
    accept(sock, request)
    sock.sendall(make_frame(2, b'x' * 100000)[:50000])


def break_rules(sock, request):
    accept(sock, request)
    sock.sendall(make_frame(3, b'reserved'))
    read_until_gone(sock)


def send_bad_text(sock, request):
    accept(sock, request)
    sock.sendall(make_frame(1, b'\xff\xff'))
    read_until_gone(sock)


def reject(sock, _request):
    sock.sendall(b'HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n'
                 b'Content-Length: 5\r\n\r\nlater')


def redirect(sock, _request):
    sock.sendall(b'HTTP/1.1 302 Found\r\nLocation: /echo\r\nContent-Length: 0\r\n\r\n')


def speak_no_http(sock, _request):
    sock.sendall(b'SSH-2.0-server\r\n\r\n')


def stay_silent(sock, _request):
    read_until_gone(sock)


def fall_silent(sock, request):
    accept(sock, request)
    read_until_gone(sock)


def never_read(sock, request):
    """Take nothing in, until the client is gone."""
    accept(sock, request)
    is_gone = threading.Event()
    while not is_gone.wait(0.05):
        try:
            sock.sendall(make_frame(9, b'?' * 100))
        except socket.error:
            return


MANNERS = {
    b'/' + function.__name__.encode('ascii'): function
    for function in (
        echo, close_first, end, reset, tear, break_rules, send_bad_text, reject, redirect,
        speak_no_http, stay_silent, fall_silent, never_read)
}


def serve(sock):
    request = read_head(sock)
    # A CONNECT is for a proxy, and this is none.
    MANNERS.get(request.split(b' ')[1], stay_silent)(sock, request)


def refuse_tunnels(sock):
    sock.sendall(b'HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n')
    return False


class UnixServer(RawServer):
    """The same on a Unix socket."""

    def __init__(self, script, path):
        super(UnixServer, self).__init__(script)
        self._listener.close()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(16)


def main():
    folder = tempfile.mkdtemp()
    try:
        serve_all(folder)
    finally:
        shutil.rmtree(folder)


def serve_all(folder):
    authority = trustme.CA()
    authority_file = os.path.join(folder, 'authority.pem')
    authority.cert_pem.write_to_path(authority_file)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(u'localhost', u'127.0.0.1').configure_cert(context)
    path = os.path.join(folder, 'socket')
    with RawServer(serve) as plain, RawServer(serve, context) as secure, \
            ProxyServer() as proxy, ProxyServer(ssl_context=context) as secure_proxy, \
            ProxyServer(manners=refuse_tunnels) as wrong_proxy, UnixServer(serve, path), \
            Socks4aServer({b'127.0.0.1': ('127.0.0.1', plain.port)}) as socks:
        print(json.dumps({
            'ws': plain.port, 'wss': secure.port, 'proxy': proxy.port,
            'secure_proxy': secure_proxy.port, 'wrong_proxy': wrong_proxy.port,
            'socks': socks.port, 'unix': path, 'authority': authority_file}))
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == '__main__':
    main()
