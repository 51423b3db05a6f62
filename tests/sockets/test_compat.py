"""lomond._compat, on a socket."""

from __future__ import absolute_import, division, print_function

import socket

import pytest

from lomond._compat import set_close_on_exec


def test_socket_is_kept_from_child_processes():
    fcntl = pytest.importorskip('fcntl')
    sock = socket.socket()
    try:
        set_close_on_exec(sock)
        assert fcntl.fcntl(sock.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    finally:
        sock.close()
