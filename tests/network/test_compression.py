"""permessage-deflate on real connections: servers and clients that end each message's stream."""

from __future__ import absolute_import, division, print_function

import base64
import json
import socket
import zlib

import pytest

from lomond.server import Server
from tests.network.driving import read_to_close
from tests.support import (
    PATIENCE,
    answer_upgrade,
    make_close,
    make_frame,
    names,
    read_frame,
    read_head,
)

pytestmark = pytest.mark.usefixtures(
    'clean_environment', 'nothing_is_left_open', 'deflate_library')

KEY = b'\x01\x02\x03\x04'

TEXTS = [json.dumps({'price': number, 'pad': 'x' * (number * 97 % 1500)}) for number in range(12)]


def ended(text, behind=b''):
    """Deflate a text into a stream of its own, and end it."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compressor.compress(text.encode('ascii')) + compressor.flush(zlib.Z_FINISH) + behind


def frames_of(texts, behind, key=None):
    """Build each message in turn: whole, in two fragments, in fragments of a byte."""
    for number, text in enumerate(texts):
        data = ended(text, behind)
        if number % 3 == 0:
            yield make_frame(1, data, rsv=0x40, key=key)
            continue
        cuts = [len(data) // 2] if number % 3 == 1 else list(range(1, len(data)))
        starts, stops = [0] + cuts, cuts + [len(data)]
        for start, stop in zip(starts, stops):
            yield make_frame(
                0 if start else 1, data[start:stop], fin=stop == len(data),
                rsv=0 if start else 0x40, key=key)


@pytest.mark.parametrize('behind', [b'', b'\x00'], ids=['nothing', '00'])
@pytest.mark.parametrize('answer', [
    b'permessage-deflate', b'permessage-deflate; server_no_context_takeover'])
@pytest.mark.parametrize('size', [1, 7, 10 ** 6])
def test_client_reads_a_server_that_ends_each_stream(link, behind, answer, size):
    def script(sock):
        answer_upgrade(sock, b'Sec-WebSocket-Extensions: ' + answer)
        data = b''.join(frames_of(TEXTS, behind)) + make_close(1000)
        for start in range(0, len(data), size):
            sock.sendall(data[start:start + size])
        read_to_close(sock)

    with link.serve(script) as server:
        events = list(link.connect(server.url, compress=True))
    assert [event.text for event in events if event.name == 'text'] == TEXTS
    assert names(events)[-2:] == ['closing', 'disconnected']
    assert events[-1].graceful


@pytest.mark.parametrize('behind', [b'', b'\x00'], ids=['nothing', '00'])
@pytest.mark.parametrize('offer', [
    b'permessage-deflate', b'permessage-deflate; client_no_context_takeover'])
def test_server_reads_a_client_that_ends_each_stream(behind, offer):
    told = []

    def handler(websocket):
        told.extend(event.text for event in websocket if event.name == 'text')

    with Server(handler, compress=True) as server:
        sock = socket.create_connection((server.host, server.port), PATIENCE)
        try:
            sock.sendall(b'\r\n'.join([
                b'GET / HTTP/1.1', b'Host: x', b'Upgrade: websocket', b'Connection: Upgrade',
                b'Sec-WebSocket-Version: 13',
                b'Sec-WebSocket-Key: ' + base64.b64encode(b'0' * 16),
                b'Sec-WebSocket-Extensions: ' + offer, b'', b'']))
            assert offer in read_head(sock)
            sock.sendall(b''.join(frames_of(TEXTS, behind, KEY)) + make_close(1000, key=KEY))
            assert read_frame(sock)[0] == 0x88
        finally:
            sock.close()
    assert told == TEXTS
