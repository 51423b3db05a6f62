"""Which modules a program imports, of those that are compiled, depending on what is installed."""

from __future__ import absolute_import, division, print_function

import os
import shutil
import subprocess
import sys

import pytest

from lomond._compat import extension_suffixes
from lomond._core import MODULES
from tests.unit.test_imports import HOME

pytestmark = pytest.mark.costly

SUFFIXES = extension_suffixes()

needs_compiled = pytest.mark.skipif(not SUFFIXES, reason='2.7 has no compiled modules')

IMPORT = '''
import importlib, lomond, sys
from lomond._core import MODULES
lomond.WebSocket(u"ws://example.org/")
for name in MODULES:
    try:
        print(importlib.import_module(name).__file__)
    except ImportError as error:
        print(error)
'''


def install(folder, compiled):
    """Copy the package, and put files that are no libraries where compiled modules would be."""
    home = os.path.join(str(folder), 'lomond')
    shutil.copytree(HOME, home, ignore=shutil.ignore_patterns(
        '__pycache__', *['*' + suffix for suffix in SUFFIXES]))
    for name in compiled:
        with open(os.path.join(home, *name.split('.')[1:]) + SUFFIXES[0], 'wb'):
            pass


def run(folder, *arguments, **options):
    """Return what Python prints about the package in a folder, and whether it fails."""
    environ = {name: value for name, value in os.environ.items()
               if not name.startswith(('COV', 'LOMOND', 'PYTHON'))}
    environ.update(options, PYTHONPATH=str(folder))
    process = subprocess.Popen(
        (sys.executable, '-W', 'error') + arguments, env=environ, cwd=str(folder),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    output = process.communicate()[0]
    return output, process.returncode


def test_version_says_that_nothing_is_compiled(tmpdir):
    install(tmpdir, [])
    output, status = run(tmpdir, '-m', 'lomond', '--version')
    assert output.startswith('lomond ')
    assert output.endswith(', pure Python: no compiled modules are installed\n')
    assert status == 0


@needs_compiled
def test_compiled_modules_are_imported_if_all_are_there(tmpdir):
    install(tmpdir, MODULES)
    output, status = run(tmpdir, '-m', 'lomond', '--version')
    assert 'ImportError' in output      # as these are no libraries
    assert status == 1


@needs_compiled
@pytest.mark.parametrize('compiled, options, reason', [
    (MODULES, {'LOMOND_COMPILED': 'no'}, 'LOMOND_COMPILED=no'),
    (MODULES[:-1], {}, 'compiled modules are missing: ' + MODULES[-1]),
    (MODULES[-1:], {}, 'compiled modules are missing: ' + ', '.join(MODULES[:-1])),
], ids=['switched off', 'all but one', 'one'])
def test_source_is_imported_beside_compiled_modules_that_are_not_used(
        tmpdir, compiled, options, reason):
    install(tmpdir, compiled)
    output, status = run(tmpdir, '-m', 'lomond', '--version', **options)
    assert output.endswith(', pure Python: {}\n'.format(reason))
    assert status == 0
    output, status = run(tmpdir, '-c', IMPORT, **options)
    assert status == 0, output
    for name, line in zip(MODULES, output.splitlines()):
        path = os.path.join(str(tmpdir), *name.split('.')) + '.py'
        assert line == (path if os.path.exists(path)
                        else '{} is not imported: {}'.format(name, reason))


@needs_compiled
@pytest.mark.parametrize('suffix', ['.py', '.pxd'])
def test_compiled_modules_in_a_clone_are_not_used_once_a_source_has_changed(tmpdir, suffix):
    install(tmpdir, MODULES)
    source = os.path.join(str(tmpdir), 'lomond', 'stats') + suffix
    compiled = os.path.join(str(tmpdir), 'lomond', 'stats') + SUFFIXES[0]
    later = os.path.getmtime(compiled) + 10
    os.utime(source, (later, later))
    assert run(tmpdir, '-m', 'lomond', '--version')[1] == 1     # installed: nobody edits it
    tmpdir.join('setup.py').write('')       # another package's, that was installed by mistake
    assert run(tmpdir, '-m', 'lomond', '--version')[1] == 1
    tmpdir.mkdir('.ci').join('compiled.py').write('')
    output, status = run(tmpdir, '-m', 'lomond', '--version')
    assert 'pure Python: a source has changed since these were compiled: lomond.stats ' in output
    assert status == 0
    os.utime(compiled, (later, later))
    assert run(tmpdir, '-m', 'lomond', '--version')[1] == 1


@pytest.mark.parametrize('value', ['NO', '0', 'off', ' no'])
def test_unknown_choice_is_an_error(tmpdir, value):
    install(tmpdir, [])
    output, status = run(tmpdir, '-c', 'import lomond', LOMOND_COMPILED=value)
    assert 'ImportError: LOMOND_COMPILED={}: set it to no, yes or required'.format(value) in output
    assert status == 1


def test_without_an_option_help_is_printed(tmpdir):
    output, status = run(os.path.dirname(HOME), '-m', 'lomond')
    assert '--version' in output
    assert status == 0
