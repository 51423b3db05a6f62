"""What tests share: a raw peer on loopback, frames built by hand, small readers.

Nothing here uses the package's own protocol code: a fault must not test itself.
"""

from __future__ import absolute_import, division, print_function

import base64
import contextlib
import hashlib
import io
import os
import platform
import socket
import ssl
import struct
import threading
from select import POLLIN, POLLOUT, poll  # some tests take the module's away

import pytest

import lomond
from lomond._compat import monotonic
from lomond.net.steps import Wait
from lomond.net.waiter import wait

GUID = b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

IS_PYPY = platform.python_implementation() == 'PyPy'

#: CPython frees an object with the last reference to it.
needs_refcounts = pytest.mark.skipif(
    IS_PYPY, reason='PyPy frees objects only when its collector runs')

needs_whole_integers = pytest.mark.skipif(
    IS_PYPY, reason="PyPy's setsockopt takes the lowest 32 bits of a number")

#: OpenSSL keeps errors for each thread: one that is left there fails the thread's next call.
needs_clean_openssl_errors = pytest.mark.skipif(
    IS_PYPY, reason='PyPy 7.3.11 leaves errors of OpenSSL to the next call of the same thread')

needs_frames = pytest.mark.skipif(
    lomond.accelerated, reason='compiled functions show no frame to a profiler or tracer')

needs_sizes = pytest.mark.skipif(IS_PYPY, reason='PyPy gives no size of an object')

#: How long, in seconds, anything on loopback may take before a test fails.
PATIENCE = 40.0


def read_source(module):
    """Return the text of a module's .py file, though the module may be compiled."""
    path, name = os.path.split(module.__file__)
    with io.open(os.path.join(path, name.split('.')[0] + '.py'), encoding='utf-8') as source:
        return source.read()


def make_frame(opcode, payload=b'', fin=True, rsv=0, key=None):
    """Build a frame by RFC 6455 5.2, wrong ones too; ``key`` masks it."""
    first = opcode | (0x80 if fin else 0) | rsv
    mask_bit = 0x80 if key is not None else 0
    length = len(payload)
    if length < 126:
        header = struct.pack('!BB', first, mask_bit | length)
    elif length < 65536:
        header = struct.pack('!BBH', first, mask_bit | 126, length)
    else:
        header = struct.pack('!BBQ', first, mask_bit | 127, length)
    if key is None:
        return header + payload
    return header + key + xor(payload, key)


def make_close(code, reason=b'', key=None):
    """Build a Close frame."""
    return make_frame(8, struct.pack('!H', code) + reason, key=key)


_XOR_TABLES = [bytes(bytearray(byte ^ key for byte in range(256))) for key in range(256)]


def xor(payload, key):
    """Mask bytes by tables: a way that lomond.protocol has not."""
    data = bytearray(payload)
    for place, byte in enumerate(bytearray(key)):
        data[place::4] = data[place::4].translate(_XOR_TABLES[byte])
    return bytes(data)


def read_exactly(sock, count):
    """Read a number of bytes from a blocking socket; EOFError if it ends before."""
    data = b''
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise EOFError('the socket ended after {!r}'.format(data))
        data += part
    return data


def read_head(sock):
    """Read an HTTP head, and nothing that follows it."""
    head = b''
    while not head.endswith(b'\r\n\r\n'):
        head += read_exactly(sock, 1)
    return head


def read_frame(sock):
    """Read a frame; return (first byte, payload unmasked)."""
    first, second = bytearray(read_exactly(sock, 2))
    length = second & 0x7f
    if length == 126:
        length, = struct.unpack('!H', read_exactly(sock, 2))
    elif length == 127:
        length, = struct.unpack('!Q', read_exactly(sock, 8))
    key = read_exactly(sock, 4) if second & 0x80 else None
    payload = read_exactly(sock, length)
    return first, payload if key is None else xor(payload, key)


def accept_for(key):
    """Return the Sec-WebSocket-Accept for a Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


def get_header(head, name):
    """Return a header's value from the bytes of a head, or None."""
    for line in head.split(b'\r\n')[1:]:
        field, _colon, value = line.partition(b':')
        if field.strip().lower() == name.lower():
            return value.strip()
    return None


def answer_upgrade(sock, *headers):
    """Read an upgrade request and accept it, with more headers; return the request."""
    request = read_head(sock)
    lines = [
        b'HTTP/1.1 101 Switching Protocols',
        b'Upgrade: websocket',
        b'Connection: Upgrade',
        b'Sec-WebSocket-Accept: ' + accept_for(get_header(request, b'Sec-WebSocket-Key')),
    ]
    lines.extend(headers)
    sock.sendall(b'\r\n'.join(lines) + b'\r\n\r\n')
    return request


@contextlib.contextmanager
def socket_at(descriptor, family=socket.AF_INET):
    """A socket on a copy of a descriptor: the same connection, its options and its addresses."""
    is_blocking = IS_PYPY and os.get_blocking(descriptor)
    sock = socket.fromfd(descriptor, family, socket.SOCK_STREAM)
    if IS_PYPY:     # whose fromfd makes it blocking
        os.set_blocking(descriptor, is_blocking)
    try:
        yield sock
    finally:
        sock.close()


def shut_down(sock):
    """End TCP both ways, whatever another thread does with the socket. Never raises."""
    try:
        if isinstance(sock, ssl.SSLSocket):
            # Its own would pull TLS away from under the other thread.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        else:
            sock.shutdown(socket.SHUT_RDWR)
    except (socket.error, ValueError):
        pass


class TlsSocket(object):
    """A blocking TLS socket that one thread may read while another one writes.

    OpenSSL doesn't allow that: each call of the real socket, which doesn't block, has a lock.
    """

    def __init__(self, sock):
        self._sock = sock
        self._lock = threading.Lock()
        self.settimeout(sock.gettimeout())

    def settimeout(self, seconds):
        self._timeout = seconds
        self._sock.setblocking(False)

    def recv(self, size):
        return self._call(self._sock.recv, size)

    def sendall(self, data):
        rest = memoryview(data)
        while rest:
            # Python 2.7's returns 0 for what else raises an error: that the socket is full.
            rest = rest[self._call(self._sock.send, rest) or self._await(POLLOUT):]

    def unwrap(self):
        return self._call(self._sock.unwrap)

    def shutdown(self, how):
        """End TCP, behind TLS."""
        socket.socket.shutdown(self._sock, how)

    def __getattr__(self, name):
        return getattr(self._sock, name)

    def _call(self, method, *args):
        while True:
            try:
                with self._lock:
                    return method(*args)
            except ssl.SSLWantReadError:
                awaited = POLLIN
            except ssl.SSLWantWriteError:
                awaited = POLLOUT
            self._await(awaited)

    def _await(self, awaited):
        waiter = poll()
        waiter.register(self._sock, awaited)
        if not waiter.poll(None if self._timeout is None else self._timeout * 1000):
            raise socket.timeout('timed out')
        return 0


class RawServer(object):
    """A peer on loopback that does what the test says, byte for byte.

    ``script(sock)`` runs in a thread for each connection, with a blocking
    socket that is closed afterwards. What it raises fails the test, when the
    server is left; EOFError and socket errors after the client went are fine.
    ``receive_buffer``, in bytes, is one that doesn't grow.
    """

    def __init__(self, script, ssl_context=None, receive_buffer=None, host='127.0.0.1'):
        self._script = script
        self._ssl_context = ssl_context
        self._listener = socket.socket()
        if receive_buffer is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.bind((host, 0))
        self._listener.listen(16)
        self._failures = []
        self._threads = []
        self._socks = []
        self.port = self._listener.getsockname()[1]
        #: How many connections came.
        self.connections = 0

    @property
    def url(self):
        scheme = u'ws' if self._ssl_context is None else u'wss'
        return u'{}://127.0.0.1:{}/'.format(scheme, self.port)

    def __enter__(self):
        self._start(self._accept_all)
        return self

    def wait_for_scripts(self):
        """Wait until each script so far has ended, and its socket is closed."""
        for thread in self._threads[1:]:        # the first one accepts
            thread.join(PATIENCE)
            assert not thread.is_alive(), 'a script did not end'

    def __exit__(self, exc_type, *_rest):
        # A thread in accept() isn't woken by close() alone.
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except socket.error:
            pass
        self._listener.close()
        # The one that accepts first: after that there is no new connection.
        self._threads[0].join(PATIENCE)
        for sock in list(self._socks):
            shut_down(sock)
        for thread in list(self._threads):
            thread.join(PATIENCE)
            assert not thread.is_alive(), 'a script did not end'
        if exc_type is None and self._failures:
            raise self._failures[0]

    def _start(self, target, *args):
        thread = threading.Thread(target=target, args=args)
        thread.daemon = True
        self._threads.append(thread)
        thread.start()

    def _accept_all(self):
        while True:
            try:
                sock, _address = self._listener.accept()
            except socket.error:
                return
            self.connections += 1
            self._socks.append(sock)
            self._start(self.serve, sock)

    def serve(self, sock):
        """Run the script on a connected socket, and close that."""
        sock.settimeout(PATIENCE)
        plain_sock = sock
        try:
            if self._ssl_context is not None:
                sock = self._ssl_context.wrap_socket(sock, server_side=True)
                self._socks.append(sock)    # on 3.x the plain one is an empty shell now
                sock = TlsSocket(sock)
            self._script(sock)
        except (EOFError, socket.error):
            pass
        except BaseException as error:
            self._failures.append(error)
        finally:
            sock.close()
            plain_sock.close()      # on 2.7 it would keep the descriptor open


class UnixServer(RawServer):
    """A `RawServer` that listens on a path."""

    def __init__(self, script, path, ssl_context=None):
        super(UnixServer, self).__init__(script, ssl_context)
        self._listener.close()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path.encode('utf-8'))
        self._listener.listen(16)
        self._path = path

    @property
    def url(self):
        scheme = u'ws' if self._ssl_context is None else u'wss'
        return u'{}+unix://{}:/'.format(scheme, self._path)


def drive(steps):
    """Do what yields each `Wait`, and last its result; return that."""
    last = None
    for step in steps:
        if isinstance(step, Wait):
            wait(step.interest, step.deadline - monotonic())
        last = step
    return last


def names(events):
    """Return the names of events, Poll left out: when it comes is another matter."""
    return [event.name for event in events if event.name != 'poll']
