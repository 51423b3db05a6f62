"""What messages cost a process in memory once they are gone: nothing, compiled or not."""

from __future__ import absolute_import, division, print_function

import os
import subprocess
import sys

import pytest

from tests.sampling import IS_THOROUGH
from tests.support import IS_PYPY
from tests.unit.test_imports import HOME

pytestmark = [
    pytest.mark.costly, pytest.mark.timeout(600),
    pytest.mark.skipif(os.name != 'posix', reason='no module resource'),
    pytest.mark.skipif(IS_PYPY, reason='PyPy frees memory when its collector runs')]

#: Messages of each kind.
COUNT = 2 * 10 ** 6 if IS_THOROUGH else 50000

MESSAGES = '''
import copy, resource, sys
from lomond import events
from lomond.protocol.connection import CLIENT, SERVER, Connection
from lomond.protocol.extensions.deflate import DeflateCodec
from tests.protocol.harness import raw_deflate
from tests.support import make_frame

def accept(role=CLIENT, deflate=None, **options):
    connection = Connection(role, **options)
    connection.accept(deflate)
    return connection

def receive(connection, data, times):
    for _ in range(times):
        for event in connection.receive(data):
            repr(event)

def refuse(connection, *arguments):
    try:
        connection.encode(*arguments)
    except Exception:
        pass

text, binary = make_frame(1, u'caf\\xe9 {}'.encode('utf-8')), make_frame(2, b'x' * 120)
large = make_frame(2, b'x' * 70000)
cut = make_frame(1, b'te', fin=False) + make_frame(0, b'xt')
masked = make_frame(1, b'text', key=b'1234')
deflated = make_frame(1, raw_deflate(b'text' * 30), rsv=0x40)
plain, parts, server = accept(), accept(message_parts=True), accept(SERVER)
as_bytes = accept(text_class=events.text_class(float, True))
deflating = accept(deflate=DeflateCodec(inflate_takeover=False))

def use(count):
    receive(plain, (text + binary) * 50, count // 100)
    receive(plain, text, count)
    receive(plain, large, count // 100)
    receive(plain, cut * 20, count // 20)
    receive(parts, (text + cut) * 20, count // 40)
    receive(as_bytes, text * 100, count // 100)
    receive(server, masked * 20, count // 20)
    receive(deflating, deflated * 20, count // 20)
    for _ in range(count // 100):
        next(plain.receive((text + binary) * 50))       # the iterator is given up
        list(plain.receive(b''))
        receive(accept(), binary * 50 + make_frame(1, b'\\xff') + binary * 50, 1)
        receive(accept(), text * 50 + make_frame(8), 1)
        refuse(plain, 3, b'x')
        refuse(plain, 1, None)
        refuse(plain, None, b'x')
        refuse(accept(role=SERVER), 9, b'x' * 126)
        copy.copy(events.Text(u'x'))
        plain.encode(2, b'x' * 70000)
        list(plain.encoder.encode_many([(1, b'x' * 120)] * 100))
        for frame in plain.encoder.encode_in_frames(2, b'x' * 1000, fragment_size=300)[1]:
            list(frame)
    for _ in range(count):
        plain.encode(1, b'x' * 120)
        deflating.encode(2, b'x', True)
        server.encode(1, b'x' * 120)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

use(2000)
before = peak()
use(int(sys.argv[1]))
assert peak() < before * 1.05, (before, peak())
'''


def test_memory_stays_the_same_however_many_messages_come_and_go():
    process = subprocess.Popen(
        [sys.executable, '-c', MESSAGES, str(COUNT)], cwd=os.path.dirname(HOME),
        stderr=subprocess.PIPE)
    errors = process.communicate()[1]
    assert process.returncode == 0, errors.decode('utf-8', 'replace')
