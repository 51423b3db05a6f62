"""The fixtures of lomond.testing, and the example's tests, run by a pytest of their own."""

from __future__ import absolute_import, division, print_function

import io
import os
import subprocess
import sys
import threading

import pytest

from lomond._compat import native_to_text
from tests.network.driving import ROOT, run_program
from tests.support import PATIENCE

pytestmark = [pytest.mark.costly, pytest.mark.usefixtures('clean_environment')]

EXAMPLE = os.path.join(ROOT, 'examples', 'tested_daemon')

CONFTEST = u"pytest_plugins = ['lomond.testing.fixtures']\n"

MET = u"""
from lomond import WebSocket
from lomond.persist import persist
from lomond.testing import drop, expect, reject, say


def connect(url, **options):
    websocket = WebSocket(url, **options)
    for event in websocket:
        if event.name == 'text':
            websocket.send_text(event.text.upper())
            websocket.close()
    return event


def test_server(lomond_server):
    server = lomond_server([say(u'a'), expect(u'A')])
    assert connect(server.url, proxies={}).graceful


def test_redirect(lomond_server, lomond_redirect):
    lomond_redirect({'one.example': lomond_server([say(u'a'), expect(u'A')], tls=True)})
    lomond_redirect({'two.example': lomond_server([say(u'b'), expect(u'B')])})
    assert connect(u'wss://one.example/').graceful
    assert connect(u'ws://two.example/').graceful


def test_back_offs(lomond_server, lomond_back_offs):
    server = lomond_server([drop()], [reject(503)], [])
    websocket = WebSocket(server.url, proxies={})
    for event in persist(websocket, min_wait=1000):
        if event.name == 'ready' and event.connection == 2:
            websocket.close()
    assert len(lomond_back_offs) == 2


def test_clock(lomond_server, lomond_clock):
    server = lomond_server([])
    websocket = WebSocket(server.url, proxies={})
    polls = 0
    for event in websocket.connect(session_class=lomond_clock.session, poll=1000):
        if event.name == 'poll':
            lomond_clock.ahead += 1000
            polls += 1
            if polls == 3:
                websocket.close()


def test_nothing_is_left():
    from lomond.engine.reconnect import skippers
    from lomond.net.detour import detours
    assert skippers == detours == []
"""

UNMET = u"""
from lomond.testing import say


def test_passes_but_its_server_does_not(lomond_server):
    lomond_server([say(u'a')])
"""


def run_pytest(folder, *arguments):
    """Run pytest in a folder; return the exit status, and what it printed."""
    child = subprocess.Popen(
        [sys.executable, '-bb', '-W', 'error::ResourceWarning', '-m', 'pytest', '-p',
         'no:cacheprovider'] + list(arguments), cwd=folder, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=dict(
            os.environ, PYTHONPATH=ROOT, PYTHONDONTWRITEBYTECODE='1', PYTEST_ADDOPTS=''))
    killer = threading.Timer(2 * PATIENCE, child.kill)
    killer.start()
    try:
        output = child.communicate()[0].decode('utf-8', 'replace')
    finally:
        killer.cancel()
    return child.returncode, output


@pytest.fixture
def project(tmpdir):
    """A folder to write files of a project into: `write(name, text)`."""
    def write(name, text):
        with io.open(str(tmpdir.join(name)), 'w', encoding='utf-8') as opened:
            opened.write(native_to_text(text))
        return str(tmpdir)

    write('pytest.ini', u'[pytest]\n')      # else pytest reads one of a folder above
    write('conftest.py', CONFTEST)
    return write


@pytest.mark.parametrize('arguments', [(), ('-n', '2')], ids=['alone', 'xdist'])
def test_fixtures_of_a_project_that_asks_for_them(project, arguments):
    status, output = run_pytest(project('test_met.py', MET), *arguments)
    assert status == 0, output
    assert '5 passed' in output


def test_script_that_is_not_met_is_an_error_of_its_test_with_the_transcript(project):
    status, output = run_pytest(project('test_unmet.py', UNMET))
    assert status == 1, output
    assert 'there are 1 scripts, and only 0 connections came' in output
    assert '1 passed, 1 error' in output


def test_project_that_does_not_ask_for_them_has_none(project):
    project('conftest.py', u'')
    status, output = run_pytest(project('test_unmet.py', UNMET))
    assert status == 1, output
    assert "fixture 'lomond_server' not found" in output


def test_kit_does_without_pytest():
    assert run_program("""if 1:
        import sys
        sys.modules['pytest'] = None
        import lomond.testing
        print(sorted(set(sys.modules) & {'trustme', 'cryptography'}))
        """) == '[]\n'


def test_example_has_tests_that_pass():
    status, output = run_pytest(EXAMPLE)
    assert status == 0, output
    assert '3 passed' in output
