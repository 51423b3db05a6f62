"""The fixtures of the peers: each of them, over ws and over wss."""

from __future__ import absolute_import, division, print_function

import importlib
import sys
from collections import namedtuple

import pytest

from . import node_peer

if sys.version_info < (3, 6):
    # `async` is no syntax there.
    collect_ignore_glob = ['test_aio*.py']

#: A server's TLS: an `ssl.SSLContext`, and the same as a file of PEM.
Tls = namedtuple('Tls', ['context', 'pem'])


@pytest.fixture(scope='module', params=['ws', 'wss'])
def tls(request, server_tls, server_pem):
    """What a server takes for TLS, or None for ws."""
    return Tls(server_tls, server_pem) if request.param == 'wss' else None


@pytest.fixture(scope='module', params=['websockets', 'aiohttp', 'tornado', 'node'])
def peer(request):
    """One of the modules that `tests.peers` describes."""
    if request.param == 'node':
        reason = node_peer.missing()
        if reason:
            pytest.skip(reason)
    else:
        pytest.importorskip(request.param)
    return importlib.import_module('tests.peers.{}_peer'.format(request.param))


@pytest.fixture
def talk(peer, tls, authority_file):
    """The peer's ``talk``, to a server."""
    def talk(server, *args, **kwargs):
        url = '{}://localhost:{}/'.format('wss' if tls else 'ws', server.port)
        return peer.talk(url, authority_file, *args, **kwargs)
    return talk
