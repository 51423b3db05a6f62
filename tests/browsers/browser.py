"""Chromium and Firefox without a screen, driven over the WebSocket that each has for that."""

from __future__ import absolute_import, division, print_function

import json
from itertools import count

from six.moves.http_client import HTTPConnection

from lomond import WebSocket
from tests.programs import Program, find_program
from tests.support import PATIENCE

#: Or Chromium asks hosts outside, which a test must not.
_CHROMIUM = [
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync']


class _Browser(Program):
    """A browser with one page.

    Subclasses connect to it in `_connect`, by a WebSocket on which each command has an answer.
    """

    def __init__(self):
        super(_Browser, self).__init__(self._make_command)
        self._numbers = count(1)
        self._websocket = None

    def __enter__(self):
        super(_Browser, self).__enter__()
        try:
            self._connect()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info):
        if self._websocket is not None:
            self._websocket.force_disconnect()
        super(_Browser, self).__exit__(*exc_info)

    def _open(self, url):
        self._websocket = WebSocket(url, proxies={})
        self._websocket.open(PATIENCE)

    def _command(self, method, **params):
        number = next(self._numbers)
        self._websocket.send_json(id=number, method=method, params=params)
        while True:
            message = json.loads(self._websocket.receive(PATIENCE))
            if message.get('id') == number:
                assert 'error' not in message, message
                return message['result']


class Chromium(_Browser):
    """By the DevTools protocol."""

    @staticmethod
    def _make_command(folder, port):
        return [find_program('chromium')] + _CHROMIUM + [
            '--user-data-dir=' + folder, '--remote-debugging-port={}'.format(port), 'about:blank']

    def _connect(self):
        http = HTTPConnection('127.0.0.1', self.port, timeout=PATIENCE)
        http.request('PUT', '/json/new?about:blank')
        page = json.loads(http.getresponse().read().decode('utf-8'))
        http.close()
        self._open(page['webSocketDebuggerUrl'])

    def show(self, url):
        """Load a page."""
        self._command('Page.enable')
        self._command('Page.navigate', url=url)

    def evaluate(self, script):
        """Return the value of JavaScript in the page."""
        result = self._command('Runtime.evaluate', expression=script, returnByValue=True)
        assert 'exceptionDetails' not in result, result
        return result['result'].get('value')


class Firefox(_Browser):
    """By WebDriver BiDi."""

    @staticmethod
    def _make_command(folder, port):
        return [find_program('firefox-esr'), '--headless', '--profile', folder,
                '--remote-debugging-port', str(port), 'about:blank']

    def _connect(self):
        self._open(u'ws://127.0.0.1:{}/session'.format(self.port))
        self._command('session.new', capabilities={})
        self._context = self._command('browsingContext.getTree')['contexts'][0]['context']

    def show(self, url):
        """Load a page."""
        self._command('browsingContext.navigate', context=self._context, url=url, wait='complete')

    def evaluate(self, script):
        """Return the value of JavaScript in the page."""
        result = self._command(
            'script.evaluate', expression=script, target={'context': self._context},
            awaitPromise=False)
        assert result['type'] == 'success', result
        return result['result'].get('value')
