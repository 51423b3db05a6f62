"""The rooms of the house: who may import whom; and what a program pays for.

A *room* is a module or a subpackage directly in lomond; the *house* is all of them, in levels
(`HOUSE`), which docs/architecture.md calls layers. A *face* is a module that only passes on names.

Read from the source of each module, lines that only a type checker runs and
imports inside functions included. What is imported in fact is seen in a fresh
process.
"""

from __future__ import absolute_import, division, print_function

import ast
import io
import os
import pkgutil

import pytest

import lomond

HOME = os.path.dirname(os.path.abspath(lomond.__file__))

#: The levels of the house, the lowest first: a module imports from lower levels, or from its own.
HOUSE = [
    ['_compat'],
    ['_checks', '_core', '_describe', '_hints', '_locks'],
    ['constants', 'errors', 'events', 'opcode', 'stats', 'status'],
    ['http'],
    ['net', 'protocol'],
    ['engine'],
    ['drivers', 'extensions', 'response', 'tls'],      # faces of what is deeper
    ['_messages', '_options'],
    ['_calls', '_endpoint', '_multiplexer', '_outcomes', 'session', 'websocket'],
    ['_crowd', '_served', '_serving', '_upgraded', '_wsgi_servers', 'sansio'],
    ['_har_writer', 'aio', 'har', 'persist', 'pool', 'server', 'wsgi'],
    ['__main__', '_pyinstaller', 'examples', 'testing'],
]

#: The level of each module of the package, and of each room.
LEVELS = {'lomond.' + name: level for level, names in enumerate(HOUSE) for name in names}

#: What users hold, whose types may be named from below: for a type checker alone.
NAMED_IN_TYPES = {'lomond.response', 'lomond.websocket'}

#: What opens a connection, waits for one, or needs a thread.
IO_MODULES = {'socket', 'ssl', 'select', 'selectors', 'threading', 'asyncio', 'socketserver'}


def find_modules():
    """Return {name: (path, is a package)} of every module that has Python source."""
    modules = {'lomond': (os.path.join(HOME, '__init__.py'), True)}
    for _importer, name, is_package in pkgutil.walk_packages([HOME], 'lomond.'):
        path = os.path.join(HOME, *name.split('.')[1:])
        source = os.path.join(path, '__init__.py') if is_package else path + '.py'
        if os.path.exists(source):      # not what is compiled from a .pyx file
            modules[name] = (source, is_package)
    return modules


MODULES = find_modules()


TREES = {}


def parse(name):
    if name not in TREES:
        with io.open(MODULES[name][0], 'rb') as source:
            TREES[name] = ast.parse(source.read(), MODULES[name][0])
    return TREES[name]


def is_for_types(node):
    """Tell if this is ``if TYPE_CHECKING:``."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) \
        and node.test.id == 'TYPE_CHECKING'


def walk(node, with_types):
    """Yield the nodes of a tree."""
    for child in ast.iter_child_nodes(node):
        if with_types or not is_for_types(child):
            yield child
            for grandchild in walk(child, with_types):
                yield grandchild


def imports(name, with_types=True):
    """Return (module, name in it or None, line) for each import of a module.

    ``from lomond import errors`` counts as an import of lomond.errors.
    """
    found = []
    for node in walk(parse(name), with_types):
        if isinstance(node, ast.Import):
            found.extend((alias.name, None, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module != '__future__':
            assert not node.level, '{}: {} is not named in full'.format(name, node.module)
            for alias in node.names:
                submodule = '{}.{}'.format(node.module, alias.name)
                found.append(
                    (submodule, None, node.lineno) if submodule in MODULES
                    else (node.module, alias.name, node.lineno))
    return found


def room(name):
    """Return the room that a module is, or lies in."""
    return '.'.join(name.split('.')[:2])


def is_in(name, package):
    return name == package or name.startswith(package + '.')


def own_imports(name, with_types=True):
    return [found for found in imports(name, with_types) if is_in(found[0], 'lomond')]


@pytest.mark.parametrize('name', sorted(set(MODULES) - {'lomond'}))
def test_module_has_a_room(name):
    """A new room gets its level above."""
    assert room(name) in LEVELS


@pytest.mark.parametrize('name', sorted(set(MODULES) - {'lomond'}))
def test_module_imports_from_its_own_level_or_below(name):
    at_run_time = own_imports(name, with_types=False)
    for imported, what, line in own_imports(name):
        if imported == 'lomond':
            continue        # see the next test
        assert room(imported) in LEVELS, '{}:{}'.format(name, line)
        if imported in NAMED_IN_TYPES and (imported, what, line) not in at_run_time:
            continue
        assert LEVELS[room(imported)] <= LEVELS[room(name)], \
            '{}:{} imports {}'.format(name, line, imported)


def test_only_constants_takes_the_version_from_the_package():
    """The package imports the rooms; no room imports the package, only programs do."""
    users = [(name, what) for name in sorted(MODULES) for imported, what, _line in own_imports(name)
             if imported == 'lomond'
             and room(name) not in ('lomond.examples', 'lomond.__main__', 'lomond._pyinstaller')]
    assert users == [('lomond.constants', '__version__')]


@pytest.mark.parametrize('name', sorted(MODULES))
def test_protocol_and_net_do_not_know_each_other(name):
    for imported, _what, line in own_imports(name):
        for one, other in (('lomond.protocol', 'lomond.net'), ('lomond.net', 'lomond.protocol')):
            assert not (is_in(name, one) and is_in(imported, other)), \
                '{}:{} imports {}'.format(name, line, imported)


@pytest.mark.parametrize('name', sorted(
    name for name in MODULES
    if is_in(name, 'lomond.protocol') or LEVELS.get(room(name), 99) <= LEVELS['lomond.http']))
def test_protocol_http_and_vocabulary_touch_no_socket_and_no_thread(name):
    for imported, _what, line in imports(name):
        # For the class of its timeouts.
        if (name, imported) not in (('lomond._describe', 'socket'), ('lomond._compat', 'socket')):
            assert imported.split('.')[0] not in IO_MODULES, '{}:{}'.format(name, line)


def test_sansio_needs_no_module_that_does_io():
    """Nor what it imports, except what a type checker reads."""
    needed = {'lomond.sansio'}
    while True:
        found = {imported for name in needed
                 for imported, _what, _line in own_imports(name, with_types=False)
                 if imported in MODULES and imported != 'lomond'}
        if found <= needed:
            break
        needed |= found
    assert 'lomond.protocol.connection' in needed
    assert sorted(name for name in needed if room(name) in ('lomond.net', 'lomond.engine')) == []
    for name in needed:
        used = {imported.split('.')[0] for imported, _what, _line in imports(name, False)}
        # As above: for the class of timeouts.
        allowed = {'socket'} if name in ('lomond._describe', 'lomond._compat') else set()
        assert not used & IO_MODULES - allowed, name


def test_only_the_tls_modules_know_ssl():
    users = [name for name in MODULES
             if 'ssl' in [found[0] for found in imports(name, with_types=False)]]
    assert [name for name in users if not is_in(name, 'lomond.examples')
            and not is_in(name, 'lomond.net.tls')] == []


def test_imports_make_no_circle():
    """Nor those inside functions; what only a type checker sees may."""
    imported_by = {
        name: {imported for imported, what, _line in own_imports(name, with_types=False)
               if (imported, what) != ('lomond', '__version__') and imported in MODULES}
        for name in MODULES
    }
    while imported_by:
        leaves = {name for name, imported in imported_by.items() if not imported - {name}}
        assert leaves, 'a circle of {}'.format(sorted(imported_by))
        for name in leaves:
            del imported_by[name]
        for left in imported_by.values():
            left.difference_update(leaves)


@pytest.mark.parametrize('name', sorted(set(MODULES) - {'lomond._compat'}))
def test_only_compat_asks_for_the_version_of_python(name):
    for node in walk(parse(name), with_types=True):
        if isinstance(node, ast.Attribute):
            assert node.attr not in (
                'version_info', 'hexversion', 'PY2', 'PY3', 'python_version'), \
                '{}:{}'.format(name, node.lineno)
        elif isinstance(node, ast.Name):
            assert node.id not in ('PY2', 'PY3', 'version_info'), '{}:{}'.format(name, node.lineno)
    assert 'six' not in [imported.split('.')[0] for imported, _what, _line in imports(name)]


@pytest.mark.parametrize('name', sorted(set(MODULES) - {'lomond'}))
def test_future_imports_come_first(name):
    """Absolute imports and true division on 2.7 too; in the package they'd be public names."""
    body = parse(name).body
    if not any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in body):
        return
    futures = [node for node in body
               if isinstance(node, ast.ImportFrom) and node.module == '__future__']
    assert [sorted(alias.name for alias in node.names) for node in futures] == [
        ['absolute_import', 'division', 'print_function']]


@pytest.mark.parametrize('name', sorted(MODULES))
def test_module_says_what_it_does(name):
    assert ast.get_docstring(parse(name))


def test_no_star_imports():
    for name in MODULES:
        assert '*' not in [what for _imported, what, _line in imports(name)], name
