"""docs/reference/command-line.md and the completions: they have what the parsers have."""

from __future__ import absolute_import, division, print_function

import argparse
import io
import os
import re
import subprocess

import pytest

from lomond import cli
from lomond.cli import completion
from lomond.cli.statuses import STATUSES
from tests.network.driving import ROOT
from tests.programs import find_program

from .driving import environ, run

PAGE = os.path.join(ROOT, 'docs', 'reference', 'command-line.md')


def read_page():
    with io.open(PAGE, encoding='utf-8') as page:
        return page.read()


def options_of(name):
    parser = cli.make_parser(name, cli.load(name))
    return [action for action in parser._actions if action.option_strings]


def describe_option(action):
    """Return the row of an option in the page's table."""
    names = ', '.join('`{}`'.format(name) for name in sorted(action.option_strings, reverse=True))
    value = '' if action.nargs == 0 else ' or '.join(
        '`{}`'.format(choice) for choice in action.choices or [action.metavar])
    return '| {} | {} | {} |'.format(names, value, action.help.replace('|', '\\|'))


def test_the_page_has_each_option_as_the_help_has_it():
    rows = [describe_option(action) for action in options_of(cli.CONNECT)]
    assert [line for line in read_page().splitlines() if line.startswith('| `-')] == rows, \
        '\n'.join(rows)


def test_the_page_has_the_exit_statuses():
    rows = re.findall('^\\| ([0-9]+) \\| (.*) \\|$', read_page(), re.MULTILINE)
    assert [(int(status), meaning) for status, meaning in rows] == list(STATUSES)


def test_help_has_the_exit_statuses_and_the_other_commands():
    status, output, errors = run('--help')
    assert (status, errors) == (0, b'')
    words = ' '.join(output.decode('ascii').split())
    for number, meaning in STATUSES:
        assert '{} {}'.format(number, meaning) in words
    for name in cli.COMMANDS:
        assert '{} '.format(name) in words


@pytest.mark.parametrize('name', (cli.CONNECT,) + cli.available_commands())
def test_each_option_is_described(name):
    for action in options_of(name):
        assert action.help, action.option_strings


def complete_in_bash(*words):
    """Return what bash offers for the last of these words."""
    script = (
        '{}COMP_WORDS=({}); COMP_CWORD={}; _lomond; printf "%s\\n" "${{COMPREPLY[@]}}"'.format(
            completion.complete_bash(), ' '.join("'{}'".format(word) for word in words),
            len(words) - 1))
    process = subprocess.Popen(
        [find_program('bash'), '-c', script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=environ(), cwd=ROOT)
    return sorted(process.communicate()[0].decode('utf-8').split())


def test_bash_completes_options_values_and_files():
    assert complete_in_bash('lomond', '--pi') == ['--ping-rate', '--ping-timeout']
    assert complete_in_bash('lomond', '--binary', '') == ['base64', 'hex', 'raw']
    assert complete_in_bash('lomond', '--completion', 'f') == ['fish']
    assert complete_in_bash('lomond', 'ws://x/', '--cafile', 'setup.p') == ['setup.py']
    assert complete_in_bash('lomond', '--send', '') == []
    first = complete_in_bash('lomond', '')
    assert set(cli.available_commands()) <= set(first)
    assert {name for action in options_of(cli.CONNECT) for name in action.option_strings
            } <= set(first)
    for name in cli.available_commands():
        assert complete_in_bash('lomond', name, '--he') == [
            option for option in ['--header', '--help']
            if any(option in action.option_strings for action in options_of(name))]


@pytest.mark.parametrize('shell', sorted(completion.SHELLS))
def test_each_shell_accepts_its_completion_with_every_option(shell, tmpdir):
    script = completion.SHELLS[shell]()
    for action in options_of(cli.CONNECT):
        for option in action.option_strings:
            # fish writes the names without their dashes.
            assert option in script or ' {} '.format(option.lstrip('-')) in script
        assert action.help != argparse.SUPPRESS
    path = tmpdir.join('completion')
    path.write(script)
    subprocess.check_call([find_program(shell), '-n', str(path)])
    status, output, errors = run('--completion', shell)
    assert (status, output.decode('utf-8'), errors) == (0, script, b'')
