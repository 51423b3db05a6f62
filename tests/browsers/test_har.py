"""HAR files between the developer tools of a real Chromium and the command line."""

from __future__ import absolute_import, division, print_function

import json

import pytest
from six.moves.http_client import HTTPConnection

from lomond import WebSocket
from lomond.har import read_har
from lomond.server import Server
from tests.browsers.browser import Chromium
from tests.cli.driving import Lomond, run
from tests.har import answer
from tests.programs import wait_until
from tests.support import PATIENCE

pytestmark = [pytest.mark.costly, pytest.mark.usefixtures('clean_environment')]

# What the developer tools show of an entry that they have opened.
_IMPORT = """
import('./models/har/har.js').then(async har => {
  const log = new har.HARFormat.HARRoot(HAR).log;
  const requests = har.Importer.Importer.requestsFromHARLog(log);
  return JSON.stringify(requests.map(request => ({
    type: request.resourceType().name(), url: request.url(), status: request.statusCode,
    messages: request.frames().map(frame => [frame.type, frame.opCode, frame.text, frame.time])})));
})"""

# What they save.
_EXPORT = """
import('./models/logs/logs.js').then(async logs => {
  const har = await import('./models/har/har.js');
  const log = await har.Log.Log.build(
    logs.NetworkLog.NetworkLog.instance().requests(), {sanitize: false});
  return JSON.stringify({log});
})"""

_TALK = """
const socket = new WebSocket(URL, 'chat');
socket.binaryType = 'arraybuffer';
socket.onopen = () => { socket.send('one \\u20ac'); socket.send(new Uint8Array([0, 1, 255])); };
socket.onmessage = event => { if (typeof event.data != 'string') socket.close(); };
socket.onclose = () => { document.title = 'done'; };
"""


class DevTools(Chromium):
    """Chromium's developer tools, in a page of their own, which watch another page."""

    @staticmethod
    def _make_command(folder, port):
        # The page of the developer tools isn't that of a devtools:// URL here.
        return Chromium._make_command(folder, port) + ['--remote-allow-origins=*']

    def __enter__(self):
        super(DevTools, self).__enter__()
        try:
            self.page = self._open_page()
            self.show('http://127.0.0.1:{}/devtools/devtools_app.html?ws={}'.format(
                self.port, self.page.url.partition('://')[2]))
            wait_until(lambda: self.ask(
                "import('./models/logs/logs.js').then(logs => import('./core/sdk/sdk.js')).then("
                'sdk => sdk.TargetManager.TargetManager.instance().targets().length > 0, '
                '() => false)'), 'the developer tools watch the page')
            # Later than that they watch its network: until then they notice no request.
            wait_until(self._notices_a_request, 'the developer tools watch its network')
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info):
        if hasattr(self, 'page'):
            self.page.force_disconnect()
        super(DevTools, self).__exit__(*exc_info)

    def _notices_a_request(self):
        self.run("fetch('http://127.0.0.1:{}/json/version', {{mode: 'no-cors'}})".format(self.port))
        return self.ask("import('./models/logs/logs.js').then("
                        'logs => logs.NetworkLog.NetworkLog.instance().requests().length > 0)')

    def _open_page(self):
        http = HTTPConnection('127.0.0.1', self.port, timeout=PATIENCE)
        http.request('PUT', '/json/new?about:blank')
        url = json.loads(http.getresponse().read().decode('utf-8'))['webSocketDebuggerUrl']
        http.close()
        page = WebSocket(url, proxies={})
        page.open(PATIENCE)
        return page

    def ask(self, script):
        """Return the value of a promise in the page of the developer tools."""
        result = self._command('Runtime.evaluate', expression=script, awaitPromise=True,
                               returnByValue=True)
        assert 'exceptionDetails' not in result, result
        return result['result'].get('value')

    def run(self, script):
        """Run a script in the page that is watched; return its value."""
        self.page.send_json(id=1, method='Runtime.evaluate', params={'expression': script})
        return json.loads(self.page.receive(PATIENCE))['result']['result'].get('value')


@pytest.fixture(scope='module')
def tools():
    with DevTools() as running:
        yield running


def test_what_lomond_records_opens_in_chromium(tools, tmpdir):
    path = str(tmpdir.join('session.har'))
    with Server(answer) as server:
        assert run('record', server.url + '?token=SECRET', path, '--linger', '0.3', '--quiet',
                   given=u'one \u20ac\n'.encode('utf-8'))[0] == 0
    assert run('record', server.url, path + '2')[0] == 3        # no connection
    recorded = read_har(path)[0].messages
    with open(path) as har, open(path + '2') as failed:
        shown = json.loads(tools.ask(_IMPORT.replace('HAR)', har.read() + ')')))
        shown += json.loads(tools.ask(_IMPORT.replace('HAR)', failed.read() + ')')))
    assert [(entry['type'], entry['status']) for entry in shown] == [
        ('websocket', 101), ('websocket', 0)]
    assert shown[0]['url'] == server.url + '?token=***'
    assert [message[:3] for message in shown[0]['messages']] == [
        ['send', 1, u'one \u20ac'], ['receive', 1, u'got one \u20ac']]
    for message, (_type, _opcode, _data, time) in zip(recorded, shown[0]['messages']):
        assert time == pytest.approx(message.time, abs=1e-5)
    assert shown[1]['messages'] == []


def test_what_chromium_saves_is_replayed(tools, tmpdir):
    path = tmpdir.join('session.har')
    with Server(answer, protocols=['chat']) as server:
        tools.run(_TALK.replace('URL', json.dumps(server.url)))
        wait_until(lambda: tools.run('document.title') == 'done', 'the page is done')
        wait_until(
            lambda: tools.ask(_EXPORT).count('"type":"receive"') == 2, 'both answers are noticed')
        path.write_text(tools.ask(_EXPORT), 'utf-8')
    recording, = read_har(str(path))
    assert [(message.type, message.data) for message in recording.messages] == [
        ('send', u'one \u20ac'), ('send', b'\0\1\xff'), ('receive', u'got one \u20ac'),
        ('receive', b'\0\1\xff')]
    with Lomond('replay', str(path), '--check') as replay:
        client = WebSocket(replay.read_line().decode('ascii').strip(), proxies={},
                           protocols=['other', 'chat'])
        client.open(PATIENCE)
        assert client.protocol == 'chat'
        client.send_many([u'one \u20ac', b'\0\1\xff'])
        assert list(client.messages()) == [u'got one \u20ac', b'\0\1\xff']
        assert replay.finish() == (0, b'', b'')
