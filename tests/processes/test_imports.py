"""What is imported, seen in a fresh interpreter: no more than a program asks for, in any order."""

from __future__ import absolute_import, division, print_function

import os
import subprocess
import sys
import zlib

import pytest
import six

from lomond.protocol import accel
from tests.unit.test_imports import HOME
from tests.unit.test_surface import IMPORTS

pytestmark = pytest.mark.costly

#: What the first connection to a ws URL has no use for, on no Python.
UNNEEDED = {
    'asyncio', 'certifi', 'concurrent.futures', 'cookielib', 'datetime', 'decimal', 'email',
    'email.utils', 'http', 'http.client', 'http.cookiejar', 'httplib', 'inspect',
    'netrc', 'pickle', 'python_socks', 'queue', 'random', 'subprocess', 'tempfile',
    'unittest', 'urllib.request', 'urllib2', 'uuid',
    'lomond.engine.reconnect', 'lomond.http.cookies', 'lomond.net.proxy.socks', 'lomond.net.tls',
    'lomond.persist', 'lomond.server', 'lomond.testing', 'lomond.tls',
}
if not six.PY2:     # whose urllib has it
    UNNEEDED.add('ssl')

WS = '''
import sys
before = set(sys.modules)
import lomond
websocket = lomond.WebSocket('ws://me:pw@example.org/', headers={'X': '1'})
websocket.build_request()
print(' '.join(sorted(set(sys.modules) - before)))
'''


def test_nothing_is_imported_for_what_is_not_asked_for():
    # a tracer of coverage would import more
    environ = {name: value for name, value in os.environ.items()
               if not name.startswith(('COV', 'PYTEST'))}
    imported = subprocess.check_output(
        [sys.executable, '-c', WS], cwd=os.path.dirname(HOME), env=environ,
        universal_newlines=True).split()
    assert 'lomond.websocket' in imported
    assert not UNNEEDED.intersection(imported)


@pytest.mark.parametrize('path', IMPORTS)
def test_import_stays_and_works_alone(path):
    """Whatever a program imports first: no circle shows only from one side."""
    module, _dot, name = path.rpartition('.')
    subprocess.check_call([sys.executable, '-c', 'from {} import {}'.format(module, name)])


def test_package_is_imported_for_socks_only():
    code = (
        'import sys, lomond\n'
        'lomond.WebSocket(u"ws://example.org/", proxies={"http": "http://proxy"})\n'
        'sys.exit("python_socks" in sys.modules)\n')
    assert subprocess.call([sys.executable, '-c', code]) == 0


def test_zlib_ng_is_imported_once_compression_is_agreed_on():
    code = (
        'import sys, lomond\n'
        'from lomond.protocol.extensions.permessage_deflate import DeflateOptions, accept_answer\n'
        'websocket = lomond.WebSocket(u"ws://example.org/", compress=True)\n'
        'websocket.build_request()\n'
        'assert "zlib_ng" not in sys.modules\n'
        'accept_answer(DeflateOptions(), [])\n'
        'sys.exit(3 if "zlib_ng" in sys.modules else 0)\n')
    expected = 0 if accel.find_zlib() is zlib else 3
    assert subprocess.call([sys.executable, '-c', code]) == expected
