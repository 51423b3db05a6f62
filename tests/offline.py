"""Holds tests to what `make check` promises: they open no socket and start no process."""

from __future__ import absolute_import, division, print_function

import os
import socket
import subprocess

import pytest


@pytest.fixture(autouse=True)
def no_socket_and_no_process(monkeypatch):
    """Fail what opens a socket or starts a process, in a folder whose conftest.py imports this."""
    def refuse(*_args, **_options):
        raise AssertionError(
            'this folder is for tests without sockets and processes: this one belongs in '
            'tests/sockets, tests/processes or tests/network')

    monkeypatch.setattr(socket.socket, '__init__', refuse)
    monkeypatch.setattr(subprocess.Popen, '__init__', refuse)
    if hasattr(os, 'fork'):
        monkeypatch.setattr(os, 'fork', refuse)
