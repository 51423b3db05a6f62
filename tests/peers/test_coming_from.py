"""docs/coming-from: websocket-client, websockets and aiohttp. Both sides run.

Under each headline are two programs, one for the other library and one for lomond: the clients
print the same, and the servers answer the same. The tables of options are compared with the
library's own parameters and with the hints of `lomond._hints`; each cell of code runs.
"""

from __future__ import absolute_import, division, print_function

import importlib
import inspect
import re
import socket
import sys

import pytest

from lomond import WebSocket, errors, events
from lomond._hints import OTHER_NAMES, OTHER_NAMES_OF
from lomond.pool import Pool
from lomond.server import Refusal, Server
from tests.network.doc_cells import raises, read_page, rows, run_cell
from tests.network.driving import ROOT, run_program
from tests.programs import Program
from tests.support import PATIENCE

pytestmark = [pytest.mark.costly, pytest.mark.usefixtures('clean_environment')]

#: The module of each library, by its page.
MODULES = {'websocket-client': 'websocket', 'websockets': 'websockets', 'aiohttp': 'aiohttp'}

PAGES = {name: read_page('coming-from/{}.md'.format(name)) for name in MODULES}

_BLOCK = re.compile(r'(?:<!-- needs ([0-9.]+) -->\n)?```python\n(.*?)```', re.DOTALL)
_SECTION = re.compile(r'^## (.*?)\n(.*?)(?=^## |\Z)', re.MULTILINE | re.DOTALL)

URL = 'ws://localhost:8000/'


def programs(is_server):
    """Yield the library, and both programs with the Python that each needs, of each headline."""
    for name in sorted(PAGES):
        for headline, text in _SECTION.findall(PAGES[name]):
            blocks = _BLOCK.findall(text)
            if blocks and (URL not in blocks[0][1]) == is_server:
                yield pytest.param(name, blocks, id='{}: {}'.format(name, headline))


def usable(name, blocks):
    """Return both programs, or skip the test; the second only if the library isn't here."""
    sources = []
    for needs, source in blocks:
        assert ('lomond' in source) == bool(sources), 'the other library comes first'
        sources.append(None if sys.version_info < tuple(
            int(part) for part in (needs or '0').split('.')) else str(source))
    try:
        importlib.import_module(MODULES[name])
    except ImportError:
        sources[0] = None
    if not any(sources):
        pytest.skip('it needs a newer Python')
    return sources


@pytest.mark.parametrize('name', sorted(PAGES))
def test_each_program_has_one_beside_it(name):
    pairs = [_BLOCK.findall(text) for _headline, text in _SECTION.findall(PAGES[name])]
    assert {len(pair) for pair in pairs} == {0, 2}


# -- the clients --

class Echo(object):
    """Echoes; drops the first client of /drops after a message; ends after the message 'close'."""

    def __init__(self):
        self._has_dropped = False

    def __call__(self, websocket):
        for event in websocket:
            if event.name == 'text' and event.text == u'close':
                websocket.close(4000, u'as you like')
            elif event.name == 'text':
                websocket.send_text(event.text)
                if websocket.request.path == u'/drops' and not self._has_dropped:
                    self._has_dropped = True
                    websocket.close(1011, u'dropped')
            elif event.name == 'binary':
                websocket.send_binary(event.data)


def refuse(request):
    return Refusal(403) if request.path == u'/refused' else None


@pytest.mark.parametrize('name, blocks', list(programs(is_server=False)))
def test_both_clients_print_the_same(name, blocks):
    printed = []
    for source in usable(name, blocks):
        if source is not None:
            with Server(Echo(), on_request=refuse) as server:
                printed.append(run_program(
                    'from __future__ import print_function\n'
                    + source.replace(URL, str(server.url)), flags=['-u']))
    assert printed[0]
    assert printed[1:] in ([], printed[:1])


# -- the servers --

@pytest.mark.parametrize('name, blocks', list(programs(is_server=True)))
def test_both_servers_answer_the_same(name, blocks):
    for source in usable(name, blocks):
        if source is None:
            continue

        def make_command(_folder, port, source=source):
            assert source.count(" 8000") == 1 or 'port=8000' in source
            return [sys.executable, '-c', source.replace(
                ' 8000', ' {}'.format(port)).replace('port=8000', 'port={}'.format(port))]

        with Program(make_command, prefix=['env', 'PYTHONPATH=' + ROOT]) as program:
            clients = [WebSocket(u'ws://localhost:{}/'.format(program.port)) for _ in range(2)]
            for client in clients:
                client.open(PATIENCE)
                client.send_text(u'hello')
                assert client.receive(PATIENCE) == u'hello'
            for client in clients:
                client.force_disconnect()


# -- the tables --

def tables(name, columns):
    """Yield the headline and the cells of each row with this number of columns."""
    for headline, text in _SECTION.findall(PAGES[name]):
        for row in rows(text):
            if len(row) == columns:
                yield headline, row


@pytest.fixture
def here():
    """What the pages say that the names in the cells are."""
    with Server(Echo(), on_request=refuse) as server:
        websocket = WebSocket(server.url)
        names = {
            'WebSocket': WebSocket, 'Pool': Pool, 'errors': errors, 'raises': raises,
            'socket': socket, 'url': server.url, 'refusing_url': server.url + u'refused',
            'websocket': websocket, 'ready': websocket.open(PATIENCE),
            'served': server.connections[0], 'text': events.Text(u'[1, 2]'),
            'disconnected': events.Disconnected(u'broken')}
        if sys.version_info < (3,):
            names['print'] = sys.stdout.write       # a function, as `print` is on Python 3
        yield names
        websocket.force_disconnect()


def cells():
    for name in sorted(PAGES):
        for _headline, row in tables(name, 3):
            yield pytest.param(row[1], id='{}: {}'.format(name, row[0]))
        for _headline, row in tables(name, 2):
            assert row[1].count('`') % 2 == 0, row


@pytest.mark.parametrize('code', list(cells()))
def test_the_code_of_a_row_runs(code, here):
    run_cell(code, here)


def parameters(*functions):
    """Return the names of the parameters that can be passed by name."""
    found = set()
    for function in functions:
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                found.add(name)
    return found - {'self', '_', 'url', 'uri', 'options', 'handler'}


def options_of_websocket_client():
    library = importlib.import_module('websocket')
    documented = re.findall(r'^(\w+): ', inspect.getdoc(library.WebSocket.connect).partition(
        'Parameters')[2], re.MULTILINE)
    return parameters(library.create_connection, library.WebSocket, library.WebSocketApp,
                      library.WebSocketApp.run_forever).union(documented)


def options_of_websockets():
    return parameters(importlib.import_module('websockets.sync.client').connect,
                      importlib.import_module('websockets.asyncio.client').connect)


def options_of_websockets_servers():
    return parameters(importlib.import_module('websockets.sync.server').serve)


def options_of_aiohttp():
    return parameters(importlib.import_module('aiohttp').ClientSession._ws_connect)


def options_of_aiohttp_servers():
    return parameters(importlib.import_module('aiohttp.web').WebSocketResponse)


TABLES = [
    ('websocket-client', 'Options', options_of_websocket_client),
    ('websockets', 'Options of a client', options_of_websockets),
    ('websockets', 'Options of a server', options_of_websockets_servers),
    ('aiohttp', 'Options of a client', options_of_aiohttp),
    ('aiohttp', 'Options of a server', options_of_aiohttp_servers)]


@pytest.mark.skipif(sys.version_info < (3, 11), reason='the pages are about the newest versions')
@pytest.mark.parametrize('name, headline, find', TABLES)
def test_a_table_has_each_option_of_the_library(name, headline, find):
    pytest.importorskip(MODULES[name])
    assert {row[0].strip('`') for found, row in tables(name, 2) if found == headline} == find()


def call_client(**options):
    WebSocket(u'ws://localhost/', **options)


def call_server(**options):
    Server(None, **options)


def options():
    for name, headline, _find in TABLES:
        for found, row in tables(name, 2):
            if found == headline:
                is_server = headline.endswith('server')
                yield pytest.param(is_server, row[0].strip('`'), row[1].replace('`', ''),
                                   id='{}: {} {}'.format(name, headline, row[0].strip('`')))


@pytest.mark.parametrize('is_server, option, words', list(options()))
def test_a_table_says_what_the_hint_says(is_server, option, words):
    hint = OTHER_NAMES_OF['Server'].get(option) if is_server else None
    hint = hint or OTHER_NAMES.get(option)
    try:
        (call_server if is_server else call_client)(**{option: object()})
    except (TypeError, ValueError) as error:
        message = str(error)
    is_known = 'unexpected keyword argument' not in message
    if hint is not None and not is_known:
        assert words == hint
        assert message.endswith("'{}': {}".format(option, hint))
    else:
        assert words.startswith('the same') == is_known


def test_the_names_that_others_use_for_headers_tls_pings_and_sizes_are_in_the_pages():
    # 67: what people type, as they know it from other libraries.
    listed = {row[0].strip('`') for name in PAGES for _headline, row in tables(name, 2)}
    for option in ('additional_headers', 'header', 'sslopt', 'ping_interval', 'max_size'):
        assert option in listed and option in OTHER_NAMES
    assert 'extra_headers' in PAGES['websockets'] and 'extra_headers' in OTHER_NAMES
