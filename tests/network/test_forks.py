"""A process that forks while it is connected: its child may end as it likes."""

from __future__ import absolute_import, division, print_function

import os
import subprocess
import sys

import pytest

from tests.support import answer_upgrade, make_frame, read_frame

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# What the child does is for a test to say.
PROGRAM = """
import os, sys
from lomond import WebSocket

websocket = WebSocket(sys.argv[1], ssl_cafile=sys.argv[2] or None, proxies={{}})
for event in websocket:
    if event.name == 'ready':
        child = os.fork()
        if child == 0:
            {}
        assert os.waitpid(child, 0)[1] == 0
        websocket.send_text(u'still here')
    elif event.name == 'text':
        websocket.close()
    elif event.name == 'disconnected':
        assert event.graceful, event
        print('graceful')
"""


def echo(sock):
    answer_upgrade(sock)
    opcode = None
    while opcode != 8:
        first, payload = read_frame(sock)
        opcode = first & 15
        sock.sendall(make_frame(opcode, payload))


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='there is no fork here')
@pytest.mark.parametrize('ending', [
    'sys.exit()',
    'break',
    'websocket.force_disconnect(); sys.exit()',
])
def test_end_of_a_child_leaves_the_connection_to_its_parent(link, authority_file, ending):
    with link.serve(echo) as server:
        output = subprocess.check_output(
            [sys.executable, '-c', PROGRAM.format(ending), server.url,
             authority_file if server.url.startswith(u'wss') else ''],
            cwd=ROOT, stderr=subprocess.STDOUT)
    assert output == b'graceful\n'
