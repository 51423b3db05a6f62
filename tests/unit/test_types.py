"""The types in comments, as far as it takes no type checker: see tests/typing for what they say."""

from __future__ import absolute_import, division, print_function

import ast
import io
import os
import sys

import pytest

import lomond

HOME = os.path.dirname(os.path.abspath(lomond.__file__))


def sources():
    for folder, _folders, names in sorted(os.walk(HOME)):
        for name in sorted(names):
            if name.endswith('.py'):
                path = os.path.join(folder, name)
                yield pytest.param(path, id=os.path.relpath(path, HOME))


@pytest.mark.skipif(sys.version_info < (3, 8), reason='its parser knows no comments')
@pytest.mark.parametrize('path', list(sources()))
def test_type_comments_are_where_the_parser_of_python_takes_them(path):
    """mypy reads a module by it up to 3.9: what it refuses there makes Any of the whole package."""
    with io.open(path, encoding='utf-8') as source:
        ast.parse(source.read(), path, type_comments=True)


def test_the_package_says_that_it_has_types():
    assert os.path.isfile(os.path.join(HOME, 'py.typed'))
