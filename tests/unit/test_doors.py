"""Tests and tools use public names of lomond only: what they need has a door.

Behaviour first. Where a test has to see more, the attribute is public on the inner class, or
`lomond.testing` has it; no test reaches for a name that begins with an underscore.

Read from the source, by name: a test's own private name may not be one of lomond's on any object
but ``self``.
"""

from __future__ import absolute_import, division, print_function

import ast
import io
import os
import re
import sys

import pytest

import lomond

CAN_PARSE = sys.version_info >= (3, 10)

pytestmark = pytest.mark.skipif(
    not CAN_PARSE, reason='older ones can not parse every file: match, async')

HOME = os.path.dirname(os.path.abspath(lomond.__file__))
ROOT = os.path.dirname(HOME)
FOLDERS = ['benchmarks', 'compliance', 'fuzz', 'tests', os.path.join('lomond', 'examples')]

#: What a named tuple documents.
NAMED_TUPLE = {'_asdict', '_fields', '_make', '_replace'}

#: Functions and methods that take an attribute's name.
BY_NAME = {'delattr', 'getattr', 'hasattr', 'setattr'}

#: In a string: a program's line, or a path for `monkeypatch`.
DOTTED = re.compile(r'\.(_[A-Za-z]\w*)')


def find_sources(folder):
    """Return the paths of a folder's modules."""
    found = []
    for path, folders, names in os.walk(os.path.join(ROOT, folder)):
        folders[:] = [name for name in folders if name != 'node_modules']
        found.extend(os.path.join(path, name) for name in names if name.endswith('.py'))
    return sorted(found)


def parse(path):
    with io.open(path, 'rb') as source:
        return ast.parse(source.read(), path)


def is_private(name):
    return name.startswith('_') and name.strip('_') and not name.endswith('__')


def names_of(tree):
    """Return the names that a module and its classes define, attributes included."""
    found = set()
    bodies = [tree.body] + [
        node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    for node in (node for body in bodies for node in body):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        else:
            found.update(inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)
                         and isinstance(inner.ctx, ast.Store))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
    return found


PRIVATE = {name for path in find_sources('lomond') if CAN_PARSE for name in names_of(parse(path))
           if is_private(name)} - NAMED_TUPLE

#: `lomond._compat` and such: for the package's own tests, a module is a door.
MODULES = {name for name in (
    os.path.basename(path)[:-len('.py')] for path in find_sources('lomond')) if is_private(name)}

HIDDEN = PRIVATE - MODULES


def root_of(node):
    """Return the first name of a dotted expression, or None."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def find_heirs(tree):
    """Return the classes of a module that derive from one of lomond's."""
    above = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or '').split('.')[0] == 'lomond':
            above.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            above.update('lomond' for alias in node.names if alias.name.startswith('lomond'))
    heirs = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(root_of(base) in above for base in node.bases):
            heirs.append(node)
            above.add(node.name)
    return heirs


def find_uses(tree):
    """Return (line, name) for each use of a private name of lomond's."""
    own = set()
    for heir in find_heirs(tree):
        for node in ast.walk(heir):
            own.add(node)
            if isinstance(node, ast.FunctionDef) and node.name in HIDDEN:
                yield node.lineno, node.name        # it overrides that
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in HIDDEN:
            is_self = isinstance(node.value, ast.Name) and node.value.id in ('cls', 'self')
            if not is_self or node in own:
                yield node.lineno, node.attr
        elif isinstance(node, ast.ImportFrom) and (node.module or '').split('.')[0] == 'lomond':
            for alias in node.names:
                if alias.name in HIDDEN or is_private(alias.name) and alias.name not in MODULES:
                    yield node.lineno, alias.name
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            for name in DOTTED.findall(node.value):
                if name in HIDDEN:
                    yield node.lineno, name
        elif isinstance(node, ast.Call):
            called = getattr(node.func, 'attr', getattr(node.func, 'id', None))
            for argument in node.args if called in BY_NAME else []:
                if isinstance(argument, ast.Constant) and argument.value in HIDDEN:
                    yield node.lineno, argument.value


SOURCES = [os.path.relpath(path, ROOT) for folder in FOLDERS for path in find_sources(folder)
           if os.path.basename(path) != 'test_doors.py']


@pytest.mark.parametrize('path', SOURCES)
def test_only_public_names_are_used(path):
    uses = list(find_uses(parse(os.path.join(ROOT, path))))
    assert not uses, 'test what it does, make it public, or use lomond.testing'


@pytest.mark.parametrize('source', [
    'websocket._session',
    'websocket.session.transport._sock.close()',
    'websocket._session = None',
    'from lomond.server import _listen',
    'from lomond.net.connect import _Attempt',
    ('from lomond.session import WebsocketSession\n'
     'class Mine(WebsocketSession):\n'
     '    def _run(self): pass'),
    ('import lomond.session\n'
     'class Mine(lomond.session.WebsocketSession):\n'
     '    def f(self): self._events'),
    ('from lomond.server import Server\n'
     'class A(Server): pass\n'
     'class B(A):\n'
     '    def f(self): self._accept()'),
    "monkeypatch.setattr('lomond.server._listen', None)",
    "monkeypatch.setattr(server, '_listen', None)",
    "getattr(websocket, '_session')",
    "PROGRAM = 'websocket._session'",
])
def test_each_way_to_a_private_name_is_found(source):
    assert list(find_uses(ast.parse(source)))


@pytest.mark.parametrize('source', [
    'websocket.session',
    'from lomond import _compat\n_compat.time',
    'from lomond._locks import ProcessLock',
    ('class Mine(object):\n'
     '    def __init__(self): self._session = None'),
    "limits._replace(head=5)",
    "'lomond._compat'",
    "'a word _session and more'",
])
def test_what_is_public_or_ones_own_is_not(source):
    assert not list(find_uses(ast.parse(source)))
