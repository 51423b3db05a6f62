"""`python -m lomond.examples` and docs/examples.md list the examples that are there."""

from __future__ import absolute_import, division, print_function

import io
import os
import re

import pytest

from tests.examples.running import Program
from tests.network.doc_cells import read_page, rows
from tests.network.driving import ROOT

PAGE = read_page('examples.md')

FOLDER = os.path.join(ROOT, 'examples')


def head(path):
    """Return the docstring of a program, or the comment of a unit."""
    with io.open(os.path.join(ROOT, path), encoding='utf-8') as source:
        text = source.read()
    if text.startswith(u'"""'):
        return text[3:text.index(u'"""', 3)]
    return re.sub(u'(?m)^# ?', u'', text[:text.index(u'\n\n')])


def linked(cell):
    """Return the text and the target of a link."""
    return re.match(r'\[(.*)\]\(\.\./(.*)\)$', cell).groups()


def listed():
    for row in rows(PAGE):
        yield pytest.param(row, id=linked(row[0])[0])


def test_the_page_names_each_project():
    for name in os.listdir(FOLDER):
        if os.path.isdir(os.path.join(FOLDER, name)) and not name.startswith('__'):
            assert '](../examples/{}/README.md)'.format(name) in PAGE


def test_the_page_lists_each_file_once():
    files = [linked(row[0])[1] for row in rows(PAGE)]
    assert sorted(path for path in files if path.startswith('examples/')) == sorted(
        'examples/' + name for name in os.listdir(FOLDER)
        if os.path.isfile(os.path.join(FOLDER, name)) and not name.endswith('.pyc'))


@pytest.mark.parametrize('row', list(listed()))
def test_the_page_says_what_the_file_says(row):
    name, path = linked(row[0])
    text = head(path)
    assert row[1] == text.split(u'\n')[0]
    command = row[-1].strip('`')
    beginning = command.split(' --local')[0].split(' URL LINE')[0]
    assert any(line.strip().startswith(beginning) for line in text.split(u'\n')[1:]), command
    assert name.rsplit('.', 1)[0].split('.')[-1] in command


@pytest.mark.parametrize('row', [param for param in listed() if len(param.values[0]) == 4])
def test_the_page_names_the_packages_that_the_file_names(row):
    needs = row[2].split(', ')
    for packages in re.findall(
            r'pip\s+install (?:lomond )?([a-z0-9 ]*[a-z0-9])', head(linked(row[0])[1])):
        if packages != 'lomond':
            assert [name for name in needs if name == name.lower()] == packages.split()


def test_the_module_lists_the_programs_of_the_package():
    with Program('-m', 'lomond.examples') as program:
        status, output, errors = program.finish()
    assert (status, errors) == (0, [])
    found = [(name.split(' -m ')[1], summary.strip())
             for name, summary in zip(output, output[1:]) if ' -m ' in name]
    assert found == [
        (linked(row[0])[0], row[1]) for row in rows(PAGE) if len(row) == 3]
    assert 'examples/' in output[-2]


def test_the_list_ends_quietly_when_nobody_reads_it(unread_pipe):
    with Program('-m', 'lomond.examples', stdout=unread_pipe) as program:
        assert program.finish() == (0, [], [])
