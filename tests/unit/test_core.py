"""Which modules are compiled, and whether they are: what is reported is what is imported."""

from __future__ import absolute_import, division, print_function

import importlib
import os

import pytest

import lomond
from lomond._compat import extension_suffixes
from lomond._core import MODULES, why_pure
from tests import sources


def is_compiled(name):
    return importlib.import_module(name).__file__.endswith(tuple(extension_suffixes()))


def has_python_source(name):
    return sources.compiled.source(name).endswith('.py')


@pytest.mark.skipif(not lomond.accelerated, reason='pure Python: {}'.format(why_pure))
@pytest.mark.parametrize('name', MODULES)
def test_each_module_is_compiled_if_lomond_is_accelerated(name):
    assert is_compiled(name)


@pytest.mark.skipif(lomond.accelerated, reason='lomond is compiled')
@pytest.mark.parametrize('name', MODULES)
def test_no_module_is_compiled_if_lomond_is_not_accelerated(name):
    if has_python_source(name):
        assert not is_compiled(name)
    else:
        with pytest.raises(ImportError):
            importlib.import_module(name)


def test_there_is_a_reason_for_pure_python():
    assert lomond.accelerated is (why_pure is None)


def test_the_build_compiles_what_is_imported_at_run_time():
    assert sources.compiled.modules() == MODULES


@pytest.mark.parametrize('name', MODULES)
def test_each_module_has_a_source(name):
    assert os.path.exists(os.path.join(sources.compiled.ROOT, sources.compiled.source(name)))


def test_hash_changes_with_a_source(tmpdir, monkeypatch):
    home = tmpdir.mkdir('lomond')
    home.join('_core.py').write('MODULES = (\n    "lomond.events", "lomond._sources")\n')
    for name in ('events.py', 'events.pxd', '_sources.pyx', 'pool.py'):
        home.join(name).write(name)
    monkeypatch.setattr(sources.compiled, 'ROOT', str(tmpdir))
    hashes = [sources.compiled.hash_sources()]
    for name in ('events.py', 'events.pxd', '_sources.pyx', 'pool.py'):
        home.join(name).write('# changed')
        hashes.append(sources.compiled.hash_sources())
    assert hashes[-2] == hashes[-1]     # pool.py is not compiled
    assert len(set(hashes)) == 4
