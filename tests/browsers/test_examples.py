"""The pages of examples/, in each browser that is there, with clients of lomond beside it."""

from __future__ import absolute_import, division, print_function

import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from lomond import WebSocket, errors
from tests.browsers.browser import Chromium, Firefox
from tests.programs import Program, wait_until
from tests.support import PATIENCE

pytestmark = [pytest.mark.costly, pytest.mark.usefixtures('clean_environment')]

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run_example(name, *options):
    return Program(
        lambda _folder, port: [
            sys.executable, os.path.join(ROOT, 'examples', name), '--port', str(port)]
        + list(options), prefix=['env', 'PYTHONPATH=' + ROOT])


@pytest.fixture(scope='module', params=[Chromium, Firefox], ids=['chromium', 'firefox'])
def browser(request):
    with request.param() as running:
        yield running


def wait_for_text(browser, element, text):
    wait_until(
        lambda: text in (browser.evaluate(
            'document.readyState == "complete" ? document.getElementById("{}").textContent : ""'
            .format(element)) or ''),
        '{!r} in {}'.format(text, element))


@contextmanager
def terminal(url):
    """Run the client of the chat; yield its process."""
    process = subprocess.Popen(
        [sys.executable, os.path.join(ROOT, 'examples', 'chat_client.py'), url],
        env=dict(os.environ, PYTHONPATH=ROOT, PYTHONIOENCODING='utf-8'), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in process.stdin, process.stdout, process.stderr:
            stream.close()


def test_chat_between_a_page_and_a_terminal(browser):
    pytest.importorskip('cherrypy')
    with run_example('cherrypy_chat.py') as server:
        browser.show('http://127.0.0.1:{}/'.format(server.port))
        wait_for_text(browser, 'state', 'open')
        with terminal('ws://127.0.0.1:{}/chat'.format(server.port)) as chat:
            chat.stdin.write(u'hello <b>page</b> \u2603\n'.encode('utf-8'))
            chat.stdin.flush()
            wait_for_text(browser, 'said', u'terminal: hello <b>page</b> \u2603')
            assert chat.stdout.readline().decode('utf-8') == u'terminal: hello <b>page</b> \u2603\n'
            browser.evaluate('line.value = "hello terminal"; form.requestSubmit()')
            assert chat.stdout.readline() == b'browser: hello terminal\n'
            server.process.terminate()      # as a service manager does
            wait_for_text(browser, 'state', 'closed: 1001 the server is shutting down')
            assert chat.stdout.read() == b''
            assert chat.wait() == 0


def test_chat_page_between_a_page_and_a_client(browser):
    with run_example('chat_page.py') as server:
        url = u'http://127.0.0.1:{}'.format(server.port)
        browser.show(url + u'/')
        wait_for_text(browser, 'said', '(one more is here)')
        with WebSocket(url.replace(u'http', u'ws') + u'/chat', headers={'Origin': url}) as client:
            client.open(PATIENCE)
            assert client.receive(PATIENCE) == u'(one more is here)'
            browser.evaluate('line.value = "hello client"; form.requestSubmit()')
            assert client.receive(PATIENCE) == u'hello client'
            client.send_text(u'hello <b>page</b> \u2603')
            wait_for_text(browser, 'said', u'hello <b>page</b> \u2603')
            server.process.terminate()
            wait_for_text(browser, 'state', 'closed: 1001 the server is shutting down')
            with pytest.raises(errors.WebSocketClosed):
                while client.receive(PATIENCE):
                    pass
        assert server.process.wait() == 0


def test_sensor_s_readings_are_drawn(browser):
    with run_example('sensor.py', '--rate', '200') as server:
        browser.show('http://127.0.0.1:{}/'.format(server.port))
        wait_until(
            lambda: browser.evaluate('typeof values == "object" && values.length >= 50'),
            '50 values in the page')
        wait_until(
            lambda: browser.evaluate(
                'pen.getImageData(0, 0, canvas.width, canvas.height).data.some(byte => byte)'),
            'a curve')
