"""README.md and docs/: every block of Python runs, every table is complete, every link leads on.

README.md is also the description on a package index, where links into the tree lead nowhere.

A block runs unchanged, except for its URLs (and the path of a certificate):
these lead to a server of the test's own, which sends a few messages, echoes
what it gets, and after a while closes every WebSocket of the block.
"""

from __future__ import absolute_import, division, print_function

import io
import os
import re
import shlex
import subprocess
import sys
import warnings

import pytest

from lomond import WebSocket, __version__, errors, events
from lomond.pool import Pool
from lomond.server import Server
from tests.network.doc_cells import find_pages
from tests.support import RawServer, read_head

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CI = os.path.join(ROOT, '.ci')

sys.path.insert(0, CI)
try:
    from build_dist import relative_links
finally:
    sys.path.remove(CI)

SECURITY = 'docs/explanation/security.md'
SANSIO = 'docs/howto/sansio.md'

#: Whose programs `test_docs_ws4py`, `test_docs_tutorial` and `tests/peers/test_coming_from` run.
OTHERS = ['docs/coming-from/{}.md'.format(name)
          for name in ('aiohttp', 'websocket-client', 'websockets', 'ws4py')] + [
              'docs/tutorial/daemon.md']

PAGES = ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md'] + [
    page for page in find_pages('docs') if page not in OTHERS]

#: Whose links are followed, too.
LINKED_PAGES = PAGES + OTHERS + ['examples/tested_daemon/README.md'] + [
    'compliance/README.md', 'benchmarks/README.md', 'benchmarks/RESULTS.md',
    'benchmarks/NOTES.md']

_BLOCK = re.compile(r'(?:<!-- needs ([0-9.]+) -->\n)?```python\n(.*?)```', re.DOTALL)
_URL = re.compile(r"'wss?://[^']*'")
_LINK = re.compile(r'\]\(([^)#]*)#?([^)]*)\)')
_FENCED = re.compile(r'^```.*?^```$', re.DOTALL | re.MULTILINE)


def read(page):
    with io.open(os.path.join(ROOT, page), encoding='utf-8') as page_file:
        return page_file.read()


# -- the blocks --

def blocks():
    for page in PAGES:
        text = read(page)
        for match in _BLOCK.finditer(text):
            line = text.count('\n', 0, match.start(2)) + 1
            needs = tuple(int(part) for part in (match.group(1) or '0').split('.'))
            yield pytest.param(needs, match.group(2), id='{}:{}'.format(page, line))


class Playground(object):
    """Runs a block; is the handler of the server that it meets."""

    def __init__(self):
        self._names = {'__name__': '__main__'}
        self._connections = set()

    def run(self, source):
        exec(source, self._names)

    def serve(self, websocket):
        for event in websocket:
            if event.name == 'poll' and websocket.is_active:
                self._on_poll(websocket)
            elif event.name == 'text':
                websocket.send_text(event.text)
            elif event.name == 'binary':
                websocket.send_binary(event.data)

    def _on_poll(self, websocket):
        """Send something with the first one, end everything with the second."""
        if websocket not in self._connections:
            self._connections.add(websocket)
            websocket.send_json(type='ticker', price='1.00')
            websocket.send_binary(b'\x00\x01')
            return
        for value in list(self._names.values()):
            if isinstance(value, (WebSocket, Pool)):
                value.close()
            elif hasattr(value, 'set'):     # an exit event
                value.set()
        websocket.close()


@pytest.mark.parametrize('needs, source', list(blocks()))
def test_the_block_runs(needs, source, authority_file, monkeypatch):
    if sys.version_info < needs:
        pytest.skip('a newer Python has this')
    # PyPy has not all of them.
    for module in ('orjson', 'trio', 'h2', 'flask', 'prometheus_client', 'opentelemetry.metrics'):
        if 'import {}'.format(module) in source or 'from {} import'.format(module) in source:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                pytest.importorskip(module)
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    with warnings.catch_warnings():
        if 'import h2' in source:       # its older versions compare bytes with text
            warnings.simplefilter('ignore', BytesWarning)
        run_block(source, authority_file)


def run_block(source, authority_file):
    playground = Playground()
    with Server(playground.serve, poll=0.1, compress=True) as server:
        source = _URL.sub(lambda _match: repr(str(server.url)), source)
        source = source.replace("'/etc/ssl/our-authority.pem'", repr(authority_file))
        # What a reader on 2.7 has at the top of the file.
        playground.run('from __future__ import print_function\n' + source)


@pytest.mark.parametrize('source', [
    pytest.param(source, id=str(number))
    for number, (_needs, source) in enumerate(_BLOCK.findall(read(SANSIO)))
    if 'recv(65536)' in source])
def test_a_driver_loop_over_a_socket_runs_byte_by_byte(source, authority_file):
    run_block(source.replace('recv(65536)', 'recv(1)'), authority_file)


# -- the blocks that a reader tries first, with no server to be reached --

def first_blocks():
    """Yield README's programs that run a loop, the tutorial's first one, and that of threads."""
    for page, numbers in (
            ('README.md', (1, 2)), ('docs/index.md', (0,)),
            ('docs/tutorial/first-program.md', (0,)), ('docs/howto/threads.md', (0,))):
        found = _BLOCK.findall(read(page))
        for number in numbers:
            yield pytest.param(found[number][1], id='{}, {}'.format(page, number))


def test_the_first_block_prints_what_readme_shows(capsys):
    source, shown = re.search(
        r'```python\n(.*?)```\n\n```text\n(.*?)```', read('README.md'), re.DOTALL).groups()
    exec(source, {'__name__': '__main__'})
    assert capsys.readouterr()[0] == shown


def refuse(sock):
    read_head(sock)
    sock.sendall(b'HTTP/1.1 403 Not You\r\nContent-Length: 0\r\n\r\n')


def run_and_note(source, url):
    """Run a block to its end, or to the first time that it waits; return what it printed."""
    printed = []

    def note(*args):
        printed.append(u' '.join(
            arg if isinstance(arg, type(u'')) else repr(arg) for arg in args))
        if u'next attempt' in printed[-1]:
            block['websocket'].close()

    block = {'__name__': '__main__', 'print': note}
    exec('from __future__ import print_function\n' + _URL.sub(repr(str(url)), source), block)
    return u'\n'.join(printed)


@pytest.mark.parametrize('source', list(first_blocks()))
def test_a_first_program_says_why_there_is_no_connection_and_ends(source, dead_port):
    printed = run_and_note(source, 'ws://127.0.0.1:{}/'.format(dead_port))
    assert 'could not connect to 127.0.0.1' in printed


@pytest.mark.parametrize('source', list(first_blocks()))
def test_a_first_program_says_that_it_was_rejected_and_ends(source):
    with RawServer(refuse) as server:
        assert '403' in run_and_note(source, server.url)


# -- the tables --

def rows(text):
    """Yield each row of the tables in a text, as a list of its cells."""
    for line in text.splitlines():
        if line.startswith('| ') and not line.startswith('| ---'):
            yield [cell.strip() for cell in line.strip('|').split('|')]


def names_in(cell):
    """Return what is between backquotes."""
    return re.findall(r'`([^`]+)`', cell)


def table_after(words, page):
    """Return the rows of a page's first table after some words, without its head."""
    text = read(page)
    text = text[text.index(words):]
    text = text[text.index('\n| ') + 1:]
    return list(rows(text.split('\n\n')[0]))[1:]


def public_classes(module, base):
    return [
        value for name, value in sorted(vars(module).items())
        if isinstance(value, type) and issubclass(value, base) and not name.startswith('_')]


def test_every_event_is_documented_with_its_attributes():
    table = {names_in(row[0])[0]: row
             for row in table_after('# Events', 'docs/reference/events.md')}
    for event_class in public_classes(events, events.Event):
        if event_class is events.Event:
            continue
        row = table.pop(event_class.__name__)
        assert names_in(row[1]) == [event_class.name]
        assert set(event_class.__match_args__) <= set(names_in(row[2])), row
    assert not table


def test_every_exception_is_documented():
    documented = {name for row in table_after('# Errors', 'docs/reference/errors.md')
                  for name in names_in(row[0])}
    assert documented | {'WebSocketError'} == {
        error_class.__name__ for error_class in public_classes(errors, errors.WebSocketError)}


def test_every_number_is_documented():
    documented = {name for row in table_after('# Numbers', 'docs/reference/stats.md')
                  for name in names_in(row[0] + row[1])}
    stats = WebSocket('ws://localhost/').stats.as_dict()
    numbers = set(stats).union(*[value for value in stats.values() if isinstance(value, dict)])
    assert numbers <= documented <= numbers | {'Ready'}


def test_every_stage_of_a_trace_is_documented(server_tls, authority_file):
    table = table_after('at its end, with a dict', 'docs/reference/logging.md')
    documented = {names_in(row[0])[0]: set(names_in(row[1])) for row in table}

    def trace(record):
        stages[record['stage']] = set(record) - {'stage', 'url', 'seconds'}

    def hang_up(websocket):
        pass

    def redirect(sock):
        read_head(sock)
        location = server.url.encode('ascii')
        sock.sendall(b'HTTP/1.1 302 Found\r\nLocation: ' + location + b'\r\n\r\n')

    stages = {}
    with Server(hang_up, ssl_context=server_tls) as server, RawServer(redirect) as first:
        list(WebSocket(first.url, proxies={}, ssl_cafile=authority_file, trace=trace))
    assert set(stages) == set(documented) - {'proxy'}
    for stage, fields in stages.items():
        assert fields == documented[stage]


# -- the rest --

def test_every_page_is_looked_at():
    found = {name for name in os.listdir(ROOT) if name.endswith('.md')}
    for folder in ('docs', 'compliance', 'benchmarks', 'fuzz', 'examples'):
        found.update(find_pages(folder))
    assert found == set(LINKED_PAGES)


@pytest.mark.parametrize('page', [page for page in find_pages('docs') if page != 'docs/index.md'])
def test_an_index_leads_to_every_page(page):
    """`make docs` makes the tables of contents of these lists."""
    folder, name = os.path.split(page)
    if name == 'index.md':
        folder, name = os.path.dirname(folder), os.path.relpath(page, os.path.dirname(folder))
    assert re.search(
        r'^- \[[^]]+\]\({}\)'.format(re.escape(name)), read(folder + '/index.md'), re.MULTILINE)


@pytest.mark.parametrize('page', LINKED_PAGES)
def test_every_link_leads_somewhere(page):
    for path, anchor in _LINK.findall(_FENCED.sub('', read(page))):
        if '://' in path:
            continue
        target = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
        assert not target.startswith('..'), path
        assert os.path.exists(os.path.join(ROOT, target)), path
        if anchor:
            assert anchor in anchors(target), anchor


def anchors(page):
    """Return the anchors that a page's headlines have."""
    return {
        re.sub(r'[^\w -]', '', headline.lower()).replace(' ', '-')
        for headline in re.findall(r'^#+ (.*)', _FENCED.sub('', read(page)), re.MULTILINE)}


def test_every_make_target_is_there():
    targets = set(re.findall(r'^([a-z]+):', read('Makefile'), re.MULTILINE))
    for page in PAGES:
        for target in re.findall(r'^\$ make ([a-z]+)', read(page), re.MULTILINE):
            assert target in targets


# -- the description on a package index --

@pytest.mark.parametrize('text, expected', [
    (u'[a](b.md) ![c](d.svg) [e](#f) [`g`](h/#i)', [u'b.md', u'd.svg', u'#f', u'h/#i']),
    (u'[![a](b.svg)](c.md) [d][e]\n\n[e]: f.md\n<img src="g.svg"> <a href=\'h\'>',
     [u'b.svg', u'c.md', u'f.md', u'g.svg', u'h']),
    (u'[a](https://example.org/) [b](mailto:c@example.org)\n[d]: http://example.org', []),
    (u'<img src="https://example.org/e.svg">', []),
    (u'a (b.md), c[d] and (e)\n```python\nf[g](h)\n```\n', []),
])
def test_relative_links_are_found(text, expected):
    assert sorted(relative_links(text)) == sorted(expected)


@pytest.fixture(scope='module')
def description():
    """What setup.py gives to a package index."""
    pytest.importorskip('setuptools')
    output = subprocess.check_output(
        [sys.executable, 'setup.py', '--quiet', '--long-description'], cwd=ROOT,
        stderr=subprocess.PIPE, env=dict(os.environ, PYTHONIOENCODING='utf-8'))
    return output.decode('utf-8')


def test_the_description_has_no_link_into_the_tree(description):
    assert relative_links(read('README.md'))
    assert relative_links(description) == []


def test_the_description_names_what_the_readme_links_to(description):
    for path, _anchor in _LINK.findall(_FENCED.sub('', read('README.md'))):
        assert path in description


def test_the_description_is_the_readme_except_for_its_links(description):
    assert _FENCED.findall(description) == _FENCED.findall(read('README.md'))
    headlines = re.compile(r'^#.*', re.MULTILINE)
    assert headlines.findall(description) == headlines.findall(read('README.md'))
    assert len(description) > 0.9 * len(read('README.md'))


def test_the_readme_shows_the_version_that_is_printed():
    command, printed = re.search(
        r'^\$ (python -c .*__version__.*)\n(.*)\n', read('README.md'), re.MULTILINE).groups()
    output = subprocess.check_output(
        [sys.executable] + shlex.split(str(command))[1:], cwd=ROOT, universal_newlines=True)
    assert output == printed + '\n'
    assert printed == __version__


# -- the promises --

_PROOF = re.compile(r'`(tests/[a-z_/]+\.py)?(?:::(test_[a-z0-9_]+))?`')


def proofs():
    """Yield (file, name of a test or None) for all that the notes on security name."""
    path = None
    for match in _PROOF.finditer(read(SECURITY)):
        path = match.group(1) or path
        if match.group(0) != '``':
            yield path, match.group(2)


def test_every_promise_names_a_test_that_is_there():
    found = list(proofs())
    assert len(found) > 40
    for path, name in found:
        assert name is None or 'def {}('.format(name) in read(path), (path, name)
