"""The option `sock`: a connected socket, or a function that makes one."""

from __future__ import absolute_import, division, print_function

import socket

import pytest

from lomond import WebSocket
from lomond.net.options import NetOptions


def attempt(websocket):
    """Connect, and break that off; return the names of the events."""
    happened = []
    for event in websocket:
        happened.append(event.name)
        if event.name == 'connected':
            websocket.force_disconnect()
    return happened


def test_sock_with_tls_already_is_refused(server_tls):
    sock = socket.socket()
    tls_sock = server_tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
    try:
        with pytest.raises(TypeError) as caught:
            WebSocket(u'ws://example.org/', sock=tls_sock)
        assert 'wss' in str(caught.value)
    finally:
        tls_sock.close()
        sock.close()


def test_socket_or_a_function_that_makes_one_is_kept_as_it_is():
    one, other = socket.socketpair()
    assert NetOptions(sock=one).sock is one
    assert NetOptions(sock=socket.socket).sock is socket.socket
    one.close()
    other.close()


def test_a_socket_that_was_used_up_stays_so_until_another_is_set():
    near, far = socket.socketpair()
    websocket = WebSocket(u'ws://example.org/', sock=near)
    assert attempt(websocket) == ['connecting', 'connected', 'disconnected']
    websocket.proxies = {}
    assert attempt(websocket) == ['connecting', 'connect_fail']
    other, another = socket.socketpair()
    websocket.sock = other
    assert attempt(websocket) == ['connecting', 'connected', 'disconnected']
    for sock in (far, another):
        sock.close()
