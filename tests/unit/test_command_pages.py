"""The pages on the commands name the options that there are, and all of them."""

from __future__ import absolute_import, division, print_function

import io
import os
import re

import pytest

from lomond.cli import COMMANDS, CONNECT, load, make_parser

DOCS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(__file__))), 'docs')

#: The page of each command.
PAGES = {
    'record': 'howto/recording.md', 'replay': 'howto/recording.md',
    'serve': 'howto/serving-and-measuring.md', 'bench': 'howto/serving-and-measuring.md',
    'shard': 'howto/beyond-one-machine.md'}


def read_options(page):
    with io.open(os.path.join(DOCS, page), encoding='utf-8') as text:
        return set(re.findall(r'(?<![\w-])--[a-z][a-z-]+', text.read()))


def options_of(name):
    parser = make_parser(name, load(name))
    return {option for action in parser._actions for option in action.option_strings
            if option.startswith('--') and option != '--help'}


@pytest.mark.parametrize('name', COMMANDS)
def test_each_option_of_a_command_is_documented(name):
    # What it has in common with another command is on the page of that.
    shared = options_of('serve') if name == 'replay' else options_of(CONNECT)
    own = options_of(name) if name == 'serve' else options_of(name) - shared
    assert sorted(own - read_options(PAGES[name])) == []


@pytest.mark.parametrize('page', sorted(set(PAGES.values())))
def test_each_option_on_a_page_is_there(page):
    known = set.union(*[options_of(name) for name in COMMANDS + (CONNECT,)])
    others = {'--line-buffered'}      # of grep
    assert sorted(read_options(page) - known - others) == []
