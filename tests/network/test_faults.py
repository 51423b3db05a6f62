"""Connections that are cut in the middle, on real sockets and over TLS.

A sample of what `tests/faults` does at each byte.
"""

from __future__ import absolute_import, division, print_function

import socket
import ssl
import struct
import threading
from contextlib import closing

import pytest

from lomond.server import Server
from tests.faults.scripted import (
    CLIENT,
    END,
    HANDSHAKE_KEY,
    HEADS,
    RESET,
    SERVER,
    Conversation,
    as_tuple,
    check_order,
)
from tests.network.driving import drain, wait_for
from tests.support import PATIENCE, TlsSocket, accept_for, get_header, read_head

pytestmark = pytest.mark.usefixtures('nothing_is_left_open')


def sample(role):
    """Offsets at and next to where each frame ends, and some within the handshake."""
    talk = Conversation(role)
    offsets = {0, 1, len(HEADS[role]) // 2}
    end = len(HEADS[role])
    for frame in [b''] + talk.frames:
        end += len(frame)
        offsets.update((end - 1, end, end + 1))
    return sorted(offset for offset in offsets if offset <= talk.size)


def cut_off(sock, fault):
    """End TCP behind what was sent, or break it."""
    if fault == RESET:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        sock.close()
    else:
        sock.shutdown(socket.SHUT_WR)
        try:
            drain(sock)
        except socket.error:
            pass        # the other end was done before it had read everything


def check_story(role, offset, fault, told, is_secure):
    """Assert that these are the events of so many bytes; a reset may have overtaken some."""
    talk = Conversation(role)
    check_order(role, told)
    told = [as_tuple(event) for event in told]
    _name, reason, graceful = told.pop()
    expected = talk.expected(offset)
    if fault == RESET:
        assert told == expected[:len(told)]
    else:
        assert told == expected
        # TLS that was cut off, with no end of its own, may take no answer any more.
        assert graceful == (offset == talk.size) or (is_secure and not graceful)
    assert (reason == u'closed') == graceful
    if graceful:
        assert told[-1][0] == 'closing'


@pytest.mark.parametrize('fault', [END, RESET])
def test_client_is_cut_off_at_some_bytes(link, fault):
    def script(sock):
        key = get_header(read_head(sock), b'Sec-WebSocket-Key')
        talk = Conversation(CLIENT)
        head = HEADS[CLIENT].replace(accept_for(HANDSHAKE_KEY), accept_for(key))
        sock.sendall((head + talk.data[len(head):])[:offset])
        cut_off(sock, fault)

    with link.serve(script) as server:
        for offset in sample(CLIENT):
            websocket = link.connect(server.url, compress=True)
            told = list(websocket)
            check_story(CLIENT, offset, fault, told, websocket.is_secure)
            assert websocket.is_closed


@pytest.mark.parametrize('is_secure', [False, True], ids=['ws', 'wss'])
@pytest.mark.parametrize('fault', [END, RESET])
def test_server_is_cut_off_at_some_bytes(server_tls, authority_file, fault, is_secure):
    told = []

    def handler(websocket):
        told.extend(websocket)
        has_ended.set()

    def connect(server):
        sock = socket.create_connection((server.host, server.port), PATIENCE)
        if not is_secure:
            return sock
        context = ssl.create_default_context(cafile=authority_file)
        return TlsSocket(context.wrap_socket(sock, server_hostname='localhost'))

    ssl_context = server_tls if is_secure else None
    with Server(handler, compress=True, ssl_context=ssl_context) as server:
        for offset in sample(SERVER):
            has_ended = threading.Event()
            with closing(connect(server)) as sock:
                sock.sendall(HEADS[SERVER][:offset])
                if offset >= len(HEADS[SERVER]):
                    read_head(sock)
                    sock.sendall(Conversation(SERVER).data[len(HEADS[SERVER]):offset])
                cut_off(sock, fault)
            if offset >= len(HEADS[SERVER]):
                wait_for(has_ended)
                check_story(SERVER, offset, fault, told, is_secure)
                del told[:]
            assert not told
