"""Completion of arguments for shells, made of the parsers: ``lomond --completion bash``.

It writes text in the shells' languages, and runs none of it.
"""

from __future__ import absolute_import, division, print_function

import argparse

from lomond._compat import TYPE_CHECKING
from lomond.cli import CONNECT, available_commands, load, make_parser

if TYPE_CHECKING:
    from typing import Any, Iterator, List, Tuple  # noqa: F401

__all__ = ['SHELLS']

_FILES = ('FILE', 'PATH')


def _parsers():
    # type: () -> List[Tuple[str, List[argparse.Action]]]
    """Return the name of each command, and its options."""
    return [
        (name, [action for action in make_parser(name, load(name))._actions
                if action.option_strings and action.help != argparse.SUPPRESS])
        for name in (CONNECT,) + available_commands()]


def _words(actions):
    # type: (List[argparse.Action]) -> str
    return ' '.join(option for action in actions for option in action.option_strings)


def _values(action):
    # type: (argparse.Action) -> Any
    """Return the values to choose from, or ()."""
    if action.dest == 'completion':
        return tuple(sorted(SHELLS))
    return tuple(action.choices or ())


def _takes_value(action):
    # type: (argparse.Action) -> bool
    return action.nargs != 0


def complete_bash():
    # type: () -> str
    """Return a function for bash."""
    lines = [
        '# bash completion for lomond',
        '_lomond() {',
        '    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}',
        '    local command=connect options=',
        '    COMPREPLY=()',
    ]
    parsers = _parsers()
    names = ' '.join(name for name, _actions in parsers[1:])
    lines += [
        '    case "${COMP_WORDS[1]}" in',
        '        %s) [ "$COMP_CWORD" -gt 1 ] && command=${COMP_WORDS[1]} ;;' % (
            names.replace(' ', '|') or "''"),
        '    esac',
        '    case "$command:$prev" in',
    ]
    for name, actions in parsers:
        for action in actions:
            if not _takes_value(action):
                continue
            cases = '|'.join('{}:{}'.format(name, option) for option in action.option_strings)
            reply = 'compgen -W "{}" -- "$cur"'.format(' '.join(_values(action))) \
                if _values(action) else 'compgen -f -- "$cur"' if action.metavar in _FILES else ':'
            lines.append('        {}) COMPREPLY=($({})); return ;;'.format(cases, reply))
    lines.append('    esac')
    lines.append('    case "$command" in')
    for name, actions in parsers:
        lines.append('        {}) options="{}" ;;'.format(name, _words(actions)))
    lines += [
        '    esac',
        '    [ "$COMP_CWORD" -eq 1 ] && options="$options %s"' % names,
        '    COMPREPLY=($(compgen -W "$options" -- "$cur"))',
        '}',
        'complete -o default -F _lomond lomond',
    ]
    return '\n'.join(lines) + '\n'


def complete_zsh():
    # type: () -> str
    """Return a function for zsh."""
    parsers = _parsers()
    names = [name for name, _actions in parsers[1:]]
    lines = ['#compdef lomond', '_lomond() {', '    case $words[2] in']
    for name, actions in parsers[1:] + parsers[:1]:
        lines.append('        {})'.format('*' if name == CONNECT else name))
        lines.append('            _arguments -s \\')
        for action in actions:
            lines += ['                {} \\'.format(spec) for spec in _zsh_specs(action)]
        first = "'1:command or URL:({})'".format(' '.join(names)) if name == CONNECT \
            else "'*:argument:_files'"
        lines += ['                ' + first, '            ;;']
    lines += ['    esac', '}', '_lomond "$@"']
    return '\n'.join(lines) + '\n'


def _zsh_specs(action):
    # type: (argparse.Action) -> Iterator[str]
    value = ''
    if _takes_value(action):
        value = ':{}:{}'.format(
            str(action.metavar or action.dest).replace(':', '\\:'),
            '({})'.format(' '.join(_values(action))) if _values(action)
            else '_files' if action.metavar in _FILES else '')
    for option in action.option_strings:
        yield "'*{}[{}]{}'".format(option, _quote(_summary(action), '[]:'), value)


def complete_fish():
    # type: () -> str
    """Return the commands for fish."""
    parsers = _parsers()
    names = ' '.join(name for name, _actions in parsers[1:])
    lines = ['# fish completion for lomond']
    if names:
        lines.append("complete -c lomond -n '__fish_is_first_token' -a '{}'".format(names))
    for name, actions in parsers:
        where = "'__fish_seen_subcommand_from {}'".format(name) if name != CONNECT \
            else "'not __fish_seen_subcommand_from {}'".format(names)
        for action in actions:
            words = ['complete -c lomond -n', where]
            for option in action.option_strings:
                words.append('-l ' + option[2:] if option.startswith('--') else '-s ' + option[1:])
            if _takes_value(action):
                words.append('-r' if action.metavar in _FILES else '-x')
            if _values(action):
                words.append("-a '{}'".format(' '.join(_values(action))))
            words.append("-d '{}'".format(_quote(_summary(action), '')))
            lines.append(' '.join(words))
    return '\n'.join(lines) + '\n'


def _summary(action):
    # type: (argparse.Action) -> str
    """Return the first part of an option's help."""
    return str(action.help).split(';')[0].split(': ')[0]


def _quote(text, special):
    # type: (str, str) -> str
    for character in special:
        text = text.replace(character, '\\' + character)
    return text.replace("'", "'\\''")


#: What each shell gets.
SHELLS = {'bash': complete_bash, 'zsh': complete_zsh, 'fish': complete_fish}
