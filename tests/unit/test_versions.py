"""The Pythons that lomond is for are the same wherever they are listed."""

from __future__ import absolute_import, division, print_function

import io
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def read(*path):
    with io.open(os.path.join(ROOT, *path), encoding='utf-8') as opened:
        return opened.read()


def names_of_tox():
    """Return the environments with the tests on pure Python, as tox names them."""
    groups = re.findall(r'^    \{([^}]*)\}\{,-install\}$', read('tox.ini'), re.MULTILINE)
    return ','.join(groups).split(',')


def pythons_of_tox():
    """Return what `make test-all` runs: '2.7', ..., 'pypy3'."""
    return {re.sub(r'^py(\d)(\d+)$', r'\1.\2', name) for name in names_of_tox()}


def test_coverage_comes_after_all_of_them():
    listed = re.search(r'^depends = \{([^}]*)\}', read('tox.ini'), re.MULTILINE).group(1)
    assert sorted(listed.split(',')) == sorted(names_of_tox())


def test_ci_runs_all_of_them():
    matrices = re.findall(r"^ +python: \[(.*)\]", read('.github', 'workflows', 'ci.yml'),
                          re.MULTILINE)
    listed = {name.strip().strip("'") for matrix in matrices for name in matrix.split(',')}
    assert {re.sub(r'^(pypy\d).*', r'\1', name) for name in listed} == pythons_of_tox()


def test_those_that_are_released_are_named_to_package_indexes():
    classifiers = set(re.findall(
        r'^    Programming Language :: Python :: (\d\.\d+)$', read('setup.cfg'), re.MULTILINE))
    assert pythons_of_tox() - classifiers == {'3.14', 'pypy3'}
    assert classifiers <= pythons_of_tox()
