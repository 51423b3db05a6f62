"""A client's request, and the answer to it, for `peer.py` and `crowd.py`."""

from __future__ import absolute_import, division, print_function

import base64
import hashlib

_GUID = b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11'


class Gone(Exception):
    """The client has closed the connection."""


def read_head(sock):
    """Return the request's target and a dict of its headers."""
    head = b''
    while b'\r\n\r\n' not in head:
        data = sock.recv(4096)
        if not data:
            raise Gone
        head += data
    lines = head.decode('latin-1').split('\r\n')
    fields = {}
    for line in lines[1:]:
        name, _, value = line.partition(':')
        fields[name.strip().lower()] = value.strip()
    return lines[0].split(' ')[1], fields


def parse_target(target):
    """Return the path and a dict of the numbers in the query."""
    path, _, query = target.partition('?')
    options = {}
    for pair in query.split('&'):
        if pair:
            name, _, value = pair.partition('=')
            options[name] = float(value) if name == 'seconds' else int(value)
    return path, options


def answer(sock, fields, deflate, wire_length):
    """Upgrade. `X-Wire-Length` is for the bare socket, which doesn't parse frames."""
    accept = hashlib.sha1(fields['sec-websocket-key'].encode('ascii') + _GUID).digest()
    lines = [
        'HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade',
        'Sec-WebSocket-Accept: ' + base64.b64encode(accept).decode('ascii'),
        'X-Wire-Length: %d' % wire_length,
    ]
    if deflate and 'permessage-deflate' in fields.get('sec-websocket-extensions', ''):
        # With context takeover, the default: each measured client supports it.
        lines.append('Sec-WebSocket-Extensions: permessage-deflate')
    sock.sendall(('\r\n'.join(lines) + '\r\n\r\n').encode('ascii'))
