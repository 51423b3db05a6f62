"""What there is to compare with: a socket with no WebSocket around it, zlib, and the peer alone."""

from __future__ import absolute_import, division, print_function

import socket
import zlib
from itertools import repeat

import payloads

from clients.opening import Opening

#: From here on, a message is gathered in a buffer and copied out.
LARGE = 16 * 1024

_READ_SIZE = 65536


class BareSocket(Opening):
    """Does the same system calls, and nothing with the bytes but to copy large messages out."""

    def open(self, job, operation, context=None):
        """Return a connected, upgraded socket and the number of bytes to expect."""
        host, _, port = job.url(operation).split('//')[1].split('/')[0].partition(':')
        sock = socket.create_connection((host, int(port)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            sock = context.wrap_socket(sock, server_hostname=host)
        target = '/' + job.url(operation).split('/', 3)[3]
        sock.sendall(
            'GET {} HTTP/1.1\r\nHost: {}\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n'
            'Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n'.format(target, host)
            .encode('ascii'))
        # After a byte too many, the clock of a receive would start too late.
        length = 1 if operation == 'receive' else 4096
        head = b''
        while not head.endswith(b'\r\n\r\n'):
            head += sock.recv(length)
        return sock, int(head.split(b'X-Wire-Length:')[1].split()[0])

    def close(self, connection):
        connection[0].close()

    def receive(self, job):
        sock, length = self.open(job, 'receive')
        read_exactly(sock, 4)       # `go`
        if job.seconds is not None:
            started = job.clock()
            read_exactly(sock, 4)
            return job.clock() - started
        if job.size >= LARGE and not job.deflate:
            return self._receive_large(job, sock)
        return self._receive_small(job, sock, length)

    def _receive_small(self, job, sock, left):
        recv = sock.recv
        started = job.clock()
        while left:
            left -= len(recv(_READ_SIZE))
        return job.clock() - started

    def _receive_large(self, job, sock):
        start = len(payloads.header(payloads.TEXT, job.size))
        length = start + job.size
        room = memoryview(bytearray(length))
        payload, recv_into = room[start:], sock.recv_into
        started = job.clock()
        for _ in repeat(None, job.count):
            got = 0
            while got < length:
                got += recv_into(room[got:])
            message = payload.tobytes()
        elapsed = job.clock() - started
        if len(message) != job.size:
            raise ValueError('got {}'.format(len(message)))
        return elapsed

    def send(self, job):
        sock, _ = self.open(job, 'send')
        frame, sendall = self._frame(job), sock.sendall
        started = job.clock()
        for _ in repeat(None, job.count):
            sendall(frame)
        read_exactly(sock, 4)
        return job.clock() - started

    def _frame(self, job):
        payload = job.payload
        return payloads.masked_frame(
            payload.encode('ascii') if job.is_text else payload, job.is_text)

    def burst(self, job):
        sock, _ = self.open(job, 'burst')
        frame, sendall = self._frame(job), sock.sendall
        bursts = []
        for _ in repeat(None, job.count):
            started = job.clock()
            for _ in repeat(None, job.burst):
                sendall(frame)
            bursts.append(job.clock() - started)
            read_exactly(sock, 4)
        return bursts

    def echo(self, job):
        sock, _ = self.open(job, 'echo')
        frame, sendall, recv = self._frame(job), sock.sendall, sock.recv
        trips = []
        for _ in repeat(None, job.count):
            started = job.clock()
            sendall(frame)
            recv(_READ_SIZE)
            trips.append(job.clock() - started)
        return trips


class PeerAlone(BareSocket):
    """Has the system throw the bytes away, uncopied: how fast the peer can send."""

    def receive(self, job):
        sock, left = self.open(job, 'receive')
        read_exactly(sock, 4)
        recv_into, room = sock.recv_into, bytearray(1024 * 1024)
        started = job.clock()
        while left:
            left -= recv_into(room, 0, socket.MSG_TRUNC)
        return job.clock() - started


class Zlib(object):
    """Inflates what the deflated messages carry, with no socket: zlib's own time."""

    def __init__(self):
        self._module = zlib

    def receive(self, job):
        made = payloads.messages(job.size, payloads.how_many(job.size))
        deflated = [message + payloads.TAIL for message in payloads.deflated(made)]
        decompress = self._module.decompressobj(-15).decompress
        rounds, rest = divmod(job.count, len(deflated))
        started = job.clock()
        for _ in repeat(None, rounds):
            for data in deflated:
                message = decompress(data)
        for data in deflated[:rest]:
            message = decompress(data)
        elapsed = job.clock() - started
        if len(message) != job.size:
            raise ValueError('got {}'.format(len(message)))
        return elapsed


class ZlibNg(Zlib):
    """The same with zlib-ng."""

    def __init__(self):
        from zlib_ng import zlib_ng
        self._module = zlib_ng


def read_exactly(sock, length):
    """Return exactly this number of bytes."""
    data = b''
    while len(data) < length:
        received = sock.recv(length - len(data))
        if not received:
            raise ValueError('the connection ended')
        data += received
    return data
