"""docs/troubleshooting.md has the words of every error, reference/close-codes.md every code.

The source is read, not run: a message that is added to it fails the test until the page has it.
"""

from __future__ import absolute_import, division, print_function

import ast
import glob
import os
import re
import sys

import pytest

from lomond.status import Status, is_valid_on_wire
from tests.network.doc_cells import ROOT, read_page

PAGE = 'troubleshooting.md'

#: Where messages are made that a user of lomond may meet.
SOURCES = ['lomond/*.py', 'lomond/aio/*.py', 'lomond/engine/*.py', 'lomond/http/*.py',
           'lomond/net/*.py', 'lomond/net/*/*.py', 'lomond/protocol/*.py',
           'lomond/protocol/*/*.py']

#: Wrong arguments, and files: such a message says what to write, at the call.
OF_MISTAKES = ['lomond/_checks.py', 'lomond/_console.py', 'lomond/_hints.py', 'lomond/_compat.py',
               'lomond/_har_writer.py', 'lomond/_messages.py', 'lomond/har.py']

#: What is called with text that isn't an error's: mistakes in a call, the log, types.
NO_MESSAGES = {
    'TypeError', 'ValueError', 'AttributeError', 'RuntimeError', 'UnicodeDecodeError',
    'FrameBuildError', 'NamedTuple', 'TypedDict', 'TypeVar', 'Struct', 'compile', 'ArgumentParser',
    'add_argument', 'Thread', 'debug', 'info', 'warning', 'error', 'exception', 'takes_options',
    'check_passed_on', 'getLogger', 'warn', '__import__'}

#: Text that isn't a message: requests, answers, reprs, what a message begins with.
OTHER_TEXT = re.compile(
    r'^(<.*>|HTTP/1.*|\(.*\\Z|GET .*|CONNECT .*|User-Agent: .*|text/plain.*|\[ "#/.*|lomond .*'
    r'|[A-Z]\w+( [A-Z]\w+)+|python .*|OPCODE .*)$')

#: What messages of mistakes in a call are made of, as those of `NO_MESSAGES` are.
PARTS_OF_MISTAKES = {
    'the server', 'the client', 'the handler', 'an origin', 'the value of',
    'the port of source_address', 'and use protocols=', 'and use compress=',
    'one frame for each message', 'an iterable for send_text', 'an iterable for send_binary',
    '`make compiled` does it again, `make pure` removes them',
    'in a user or a password encode / as %2F, ? as %3F and # as %23', 'pure Python',
    'a pair, the reserved bits and the payload',
    'a pair, the reserved bits and the payload in bytes',
    'a list of pairs, a name and a value or None, or None instead of the list',
    'a tag is passed by name, as tag=', "not a URL: write persist(WebSocket('ws://...'",
    'not the class: write persist(WebSocket(url',
    'not a Pool: write pool.add(websocket, ReconnectPolicy()) for each member',
    'not its iterator: write persist(websocket), which connects it',
    'not ..., which has no', 'only its client can connect again',
    'iterate over the connection: async for event in connection',
}

#: How others begin.
PARTS_BEGIN = ('aio.connect() returns an ', 'aio.pool() returns an ')

needs_constants = pytest.mark.skipif(
    sys.version_info < (3, 8), reason='its ast has no Constant; the source is the same')


def messages():
    """Yield the path, the line and the text of each message, with ... for what is filled in."""
    for pattern in SOURCES:
        for found in sorted(glob.glob(os.path.join(ROOT, *pattern.split('/')))):
            path = os.path.relpath(found, ROOT).replace(os.sep, '/')
            if path not in OF_MISTAKES:
                for line, text in messages_in(path):
                    yield path, line, text


def messages_in(path):
    with open(os.path.join(ROOT, path), 'rb') as source:
        tree = ast.parse(source.read())
    left_out = set()
    for node in ast.walk(tree):
        if is_without_messages(node):
            left_out.update(id(inner) for inner in ast.walk(node))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            left_out.add(id(node.value))        # a docstring
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) \
                and id(node) not in left_out:
            text = shown(node.value)
            if ' ' in text and len(text) > 8 and text not in PARTS_OF_MISTAKES \
                    and not text.startswith(PARTS_BEGIN) \
                    and OTHER_TEXT.match(text) is None:
                yield node.lineno, text


def is_without_messages(node):
    if isinstance(node, ast.Call):
        return getattr(node.func, 'attr', getattr(node.func, 'id', '')) in NO_MESSAGES
    return isinstance(node, ast.If) and getattr(node.test, 'id', '') == 'TYPE_CHECKING'


def shown(text):
    """Return a format as the page shows it, without the punctuation at its ends."""
    return ' '.join(re.sub(r'\{[^}]*\}|%[rs]', '...', text).split()).strip(' :;,.()')


def documented():
    """Return the messages of the page: what is in backquotes in the first cell of a row."""
    found = []
    for line in read_page(PAGE).splitlines():
        if line.startswith('| `'):
            found.extend(re.findall(r'`([^`]+)`', line.split(' | ')[0]))
    return found


@needs_constants
def test_every_message_of_the_source_is_on_the_page():
    page = '\n'.join(shown(message) for message in documented())
    missing = ['{}:{}: {}'.format(path, line, text)
               for path, line, text in messages() if text not in page]
    assert not missing, '\n'.join(missing)


@needs_constants
def test_every_message_of_the_page_is_in_the_source():
    texts = {text for _path, _line, text in messages()}
    for message in documented():
        assert any(text in shown(message) for text in texts), message


def test_every_phase_of_connect_fail_is_on_the_page():
    with open(os.path.join(ROOT, 'lomond', 'errors.py')) as source:
        phases, = re.findall(r'Phase = Literal\[(.*)\]', source.read())
    for phase in re.findall(r"'(\w+)'", phases):
        assert "## ConnectFail, phase `'{}'`".format(phase) in read_page(PAGE)


def test_every_close_code_is_documented():
    rows = {row[0]: row[1] for row in re.findall(
        r'^\| (\d{4}) \| `(\w+)` \| .*', read_page('reference/close-codes.md'), re.MULTILINE)}
    assert rows == {str(code): name for name, code in vars(Status).items() if name.isupper()}
    for line in read_page('reference/close-codes.md').splitlines():
        match = re.match(r'\| (\d{4}) \| `', line)
        if match:
            assert ('never sent' in line) != is_valid_on_wire(int(match.group(1))), line
