"""What a small text message costs from the socket to the loop body.

A peer in a process of its own sends prebuilt frames of 120 bytes of text as
fast as they are taken, so that the client is what is measured. Each client
runs in a fresh process; the runs are interleaved, and each figure is the
median of several, in microseconds per message and as a ratio to Lomond.

    python benchmarks/receive_small.py [--rounds 7] [--messages 300000]

It needs nothing beside Lomond; websocket-client is measured if it is
installed, and so is a bare socket that reads the same bytes and does nothing
with them.
"""

from __future__ import absolute_import, division, print_function

import argparse
import base64
import hashlib
import os
import socket
import subprocess
import sys
from time import time

TEXT = b'x' * 120
FRAME = b'\x81\x78' + TEXT
BATCH = 500


def serve(messages):
    """Accept one client, upgrade, and send the messages and a Close frame."""
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(1)
    print(listener.getsockname()[1])
    sys.stdout.flush()
    sock, _address = listener.accept()
    head = b''
    while b'\r\n\r\n' not in head:
        head += sock.recv(4096)
    key = [line.split(b':', 1)[1].strip() for line in head.split(b'\r\n')
           if line.lower().startswith(b'sec-websocket-key')][0]
    accept = hashlib.sha1(key + b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest()
    sock.sendall(
        b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
        b'Sec-WebSocket-Accept: ' + base64.b64encode(accept) + b'\r\n\r\n')
    batch = FRAME * BATCH
    for _ in range(messages // BATCH):
        sock.sendall(batch)
    sock.sendall(b'\x88\x02\x03\xe8')
    try:
        while sock.recv(4096):
            pass
    except socket.error:
        pass


def run_lomond(port, messages):
    """Count messages in the loop that the README shows."""
    from lomond import WebSocket
    count = 0
    for event in WebSocket('ws://127.0.0.1:{}/'.format(port), proxies={}):
        if event.name == 'text':
            count += 1
            if count == 1:
                started = time()
            if count == messages:
                return time() - started


def run_websocket_client(port, messages):
    """Count messages with the blocking API of websocket-client."""
    import websocket
    client = websocket.create_connection('ws://127.0.0.1:{}/'.format(port))
    client.recv()
    started = time()
    for _ in range(messages - 1):
        client.recv()
    return time() - started


def run_bare_socket(port, messages):
    """Read the same bytes, and do nothing with them."""
    sock = socket.create_connection(('127.0.0.1', port))
    sock.sendall(b'GET / HTTP/1.1\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n')
    left = messages * len(FRAME)
    sock.recv(129)
    started = time()
    while left > 0:
        left -= len(sock.recv(65536))
    return time() - started


CLIENTS = [
    ('lomond', run_lomond),
    ('websocket-client', run_websocket_client),
    ('bare socket', run_bare_socket),
]


def measure(name, messages):
    """Return the microseconds per message of one run, or None if it can't be run."""
    script = os.path.abspath(__file__)
    counted = ['--messages', str(messages)]
    peer = subprocess.Popen(
        [sys.executable, script, '--serve'] + counted, stdout=subprocess.PIPE)
    try:
        port = peer.stdout.readline().decode().strip()
        client = subprocess.Popen(
            [sys.executable, script, '--client', name, '--port', port] + counted,
            stdout=subprocess.PIPE)
        output = client.communicate()[0]
        return float(output) / messages * 1e6 if client.returncode == 0 else None
    finally:
        peer.kill()
        peer.communicate()


def median(values):
    """Return the middle one."""
    return sorted(values)[len(values) // 2]


def is_available(name):
    """Tell if a client's package is installed."""
    if name != 'websocket-client':
        return True
    try:
        import websocket  # noqa: F401
    except ImportError:
        return False
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--messages', type=int, default=300000)
    parser.add_argument('--serve', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('--client', help=argparse.SUPPRESS)
    parser.add_argument('--port', type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    messages = args.messages // BATCH * BATCH
    if args.serve:
        return serve(messages)
    if args.client:
        print(dict(CLIENTS)[args.client](args.port, messages))
        return

    names = [name for name, _run in CLIENTS if is_available(name)]
    runs = {name: [] for name in names}
    for _ in range(args.rounds):
        for name in names:
            runs[name].append(measure(name, messages))
    ours = median(runs['lomond'])
    print('Python {}, {} messages of {} bytes, median of {} runs'.format(
        sys.version.split()[0], messages, len(TEXT), args.rounds))
    for name in names:
        figure = median(runs[name])
        print('{:<18}{:6.2f} us a message{:8.2f} x lomond'.format(name, figure, figure / ours))


if __name__ == '__main__':
    main()
