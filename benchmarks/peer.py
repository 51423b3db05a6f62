"""The raw peer: accepts connections on loopback, and does what the request's path asks for.

    /receive?size=120&count=1000&text=1     sends a message `go`, then the messages, prebuilt
    /take?size=120&count=64&times=10        takes `count` frames, says `ok`; and that so often
    /echo?size=64&count=1000                takes a frame and answers, again and again
    /idle?seconds=60                        sends `go`, and `ok` that much later
    /hold                                   nothing

It knows the lengths of frames and looks into none but those of an idle
connection, so that it costs as little as can be: the client is what is
measured. A process of its own; it prints its two ports, the second with TLS if
it is given a certificate, and the two of `crowd.py`, which serves many
connections at once; and ends with its standard input.
"""

from __future__ import absolute_import, division, print_function

import argparse
import select
import socket
import ssl
import sys
import threading
import time

import payloads
from crowd import Crowd
from upgrade import Gone, answer, parse_target, read_head

_OK = payloads.header(payloads.TEXT, 2) + b'ok'

#: Bytes. Not much more: the system's overhead for each small segment fills its buffer.
_LOW_WATER = 4 * 1024

_batches = {}
_batches_lock = threading.Lock()


def batch_of(size, is_text, deflate):
    """Return the prebuilt messages, made once."""
    key = size, is_text, deflate
    with _batches_lock:
        if key not in _batches:
            _batches[key] = payloads.batch(size, is_text, deflate)
        return _batches[key]


def send_messages(sock, batch, count, is_text):
    """Let the client start its clock, then keep it busy."""
    sock.sendall(payloads.header(payloads.opcode_of(is_text), 2) + b'go')
    batch.send(sock, count)


def take(sock, length, times):
    """Read `length` bytes and report that, the given number of times."""
    room = memoryview(bytearray(1024 * 1024))
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    for _ in range(times):
        left = length
        while left > 0:
            # Wake up seldom: otherwise each small send pays for waking this process.
            # With poll: a recv that has begun waits for as much again.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, min(left, _LOW_WATER))
            poll.poll()
            got = sock.recv_into(room, min(left, len(room)))
            if not got:
                raise Gone
            left -= got
        sock.sendall(_OK)


def echo(sock, size, count):
    """Answer each frame of `size` bytes with one of the same size."""
    reply = payloads.header(payloads.TEXT, size) + payloads.messages(size, 1)[0]
    length = payloads.masked_length(size)
    for _ in range(count):
        left = length
        while left > 0:
            got = len(sock.recv(left))
            if not got:
                raise Gone
            left -= got
        sock.sendall(reply)


def stay_idle(sock, seconds):
    """Send nothing for some time but the answers to pings."""
    sock.sendall(payloads.header(payloads.TEXT, 2) + b'go')
    ending = time.time() + seconds
    received = bytearray()
    while True:
        left = ending - time.time()
        if left <= 0:
            break
        sock.settimeout(left)
        try:
            data = sock.recv(4096)
        except (socket.timeout, ssl.SSLError):
            break
        if not data:
            raise Gone
        received += data
        while len(received) >= 6 and len(received) >= 6 + (received[1] & 0x7F):
            if received[0] == payloads.FIN | payloads.PING:
                sock.sendall(payloads.pong_to(received))
            del received[:6 + (received[1] & 0x7F)]
    sock.settimeout(None)
    sock.sendall(_OK)


def serve(sock):
    """Do what one client asks for."""
    target, fields = read_head(sock)
    path, options = parse_target(target)
    deflate = bool(options.get('deflate'))
    is_text = bool(options.get('text'))
    size, count = options.get('size', 0), options.get('count', 0)
    if path == '/receive':
        batch = batch_of(size, is_text, deflate)
        answer(sock, fields, deflate, batch.wire_length(count))
        send_messages(sock, batch, count, is_text)
        return
    answer(sock, fields, False, 0)
    if path == '/take':
        take(sock, count * payloads.masked_length(size), options['times'])
    elif path == '/echo':
        echo(sock, size, count)
    elif path == '/idle':
        stay_idle(sock, options['seconds'])


def handle(sock, context):
    """Serve one connection, then wait for the client's end of it."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            sock = context.wrap_socket(sock, server_side=True)
        serve(sock)
        # A Close frame, or the end: every client is content with the end of TCP.
        sock.recv(4096)
    except (Gone, socket.error, ssl.SSLError):
        pass
    finally:
        sock.close()


def accept_all(listener, context):
    """Give each connection a thread."""
    while True:
        sock, _address = listener.accept()
        start(handle, sock, context)


def start(function, *args):
    """Run a function in a thread that doesn't outlive the process."""
    thread = threading.Thread(target=function, args=args)
    thread.daemon = True
    thread.start()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--certificate', help='PEM file: key and certificate, for wss')
    args = parser.parse_args()
    context = None
    if args.certificate:
        context = ssl.SSLContext(getattr(ssl, 'PROTOCOL_TLS_SERVER', ssl.PROTOCOL_SSLv23))
        context.load_cert_chain(args.certificate)
    ports = []
    for own_context in (None, context):
        listener = socket.socket()
        listener.bind(('127.0.0.1', 0))
        listener.listen(128)
        ports.append(listener.getsockname()[1])
        start(accept_all, listener, own_context)
    crowd = Crowd(context)
    start(crowd.run)
    print(*(ports + crowd.ports))
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == '__main__':
    main()
