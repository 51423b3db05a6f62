"""The tables of docs/ in which a column is code: their rows, and how a cell runs."""

from __future__ import absolute_import, division, print_function

import io
import os
import re

import pytest

from tests.network.driving import ROOT

_COMMENT = re.compile(r'<!--.*?-->')


def read_page(name):
    with io.open(os.path.join(ROOT, 'docs', *name.split('/')), encoding='utf-8') as page:
        return page.read()


def find_pages(folder):
    """Return the paths of the Markdown files in a folder of the checkout and under it, sorted."""
    found = []
    for path, folders, files in os.walk(os.path.join(ROOT, folder)):
        folders[:] = [name for name in folders if not name.startswith(('.', '_'))]
        found.extend(
            os.path.relpath(os.path.join(path, name), ROOT).replace(os.sep, '/')
            for name in files if name.endswith('.md'))
    return sorted(found)


def rows(text):
    """Yield the cells of each row of the tables in a text, without comments and headlines."""
    is_headline = True
    for line in _COMMENT.sub('', text).splitlines():
        if not line.startswith('| '):
            is_headline = True
        elif is_headline:
            is_headline = False
        elif not line.startswith('| --- '):
            yield [cell.strip() for cell in line.strip().strip('|').split(' | ')]


def run_cell(code, names):
    """Run the statements of a cell, with these names; what has == in it must be true."""
    assert code.startswith('`') and code.endswith('`')
    for part in code.strip('`').split('; '):
        if ' == ' in part:
            assert eval(part, names)
        else:
            exec(part, names)


def raises(error, call):
    """Call a function that has to raise this; cells use it."""
    with pytest.raises(error):
        call()
