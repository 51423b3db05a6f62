"""The pages of examples/, in each browser that is there, with clients of lomond beside it."""

from __future__ import absolute_import, division, print_function

import json
import os
import sys

import pytest

from lomond import WebSocket
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


def test_chat_between_a_page_and_a_terminal(browser):
    pytest.importorskip('cherrypy')
    with run_example('cherrypy_chat.py') as server:
        browser.show('http://127.0.0.1:{}/'.format(server.port))
        wait_for_text(browser, 'state', 'open')
        with WebSocket('ws://127.0.0.1:{}/chat'.format(server.port), compress=True) as terminal:
            terminal.open(PATIENCE)
            terminal.send_json(name=u'terminal', text=u'hello <b>page</b> \u2603')
            wait_for_text(browser, 'said', u'terminal: hello <b>page</b> \u2603')
            assert json.loads(terminal.receive(PATIENCE))['name'] == 'terminal'
            browser.evaluate('line.value = "hello terminal"; form.requestSubmit()')
            assert json.loads(terminal.receive(PATIENCE)) == {
                'name': 'browser', 'text': 'hello terminal'}
            server.process.terminate()      # as a service manager does
            wait_for_text(browser, 'state', 'closed: 1001 the server is shutting down')


def test_sensor_s_readings_are_drawn(browser):
    with run_example('sensor.py', '--rate', '200') as server:
        browser.show('http://127.0.0.1:{}/'.format(server.port))
        wait_until(
            lambda: browser.evaluate('typeof values == "object" && values.length >= 50'),
            '50 values in the page')
        drawn = browser.evaluate(
            'pen.getImageData(0, 0, canvas.width, canvas.height).data.some(byte => byte)')
        assert drawn is True
