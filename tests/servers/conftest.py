"""The fixtures of the fronts: a server that nobody here wrote, and reverse proxies before it.

A front sends every path to the server as it is, but for ``/idle``, where idle connections are
cut after `fronts.IDLE` seconds, and ``/down``, which leads to a server that isn't there.
"""

from __future__ import absolute_import, division, print_function

import importlib
import socket

import pytest
import six

from lomond import WebSocket


@pytest.fixture(scope='module')
def upstream():
    """The server behind the front, as `tests.peers` describes it, without TLS."""
    # The first isn't to be had on 2.7.
    name = 'tornado' if six.PY2 else 'websockets'
    pytest.importorskip(name)
    with importlib.import_module('tests.peers.{}_peer'.format(name)).Server(None) as server:
        yield server


@pytest.fixture(scope='module')
def ports(upstream):
    """The ports that a front is told of: the server's, and one where nobody listens."""
    sock = socket.socket()
    sock.bind(('127.0.0.1', 0))
    yield upstream.port, sock.getsockname()[1]
    sock.close()


@pytest.fixture
def dial(authority_file):
    """``dial(front, path, **options)`` makes a WebSocket to a front."""
    def dial(front, path='/', **options):
        return WebSocket(
            'wss://localhost:{}{}'.format(front.port, path),
            proxies={}, ssl_cafile=authority_file, **options)
    return dial
