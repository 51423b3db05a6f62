"""The program ``lomond``: ``lomond URL``, ``lomond serve`` and so on, by its first argument.

It imports a command when that is called, and leaves all else to the command.
"""

from __future__ import absolute_import, division, print_function

import argparse
import importlib
import pkgutil
import sys

from lomond import _console
from lomond._compat import TYPE_CHECKING, native_to_text
from lomond.cli.statuses import FAILED, INTERRUPTED

if TYPE_CHECKING:
    from typing import Any, List, Optional, Tuple  # noqa: F401

__all__ = ['COMMANDS', 'CONNECT', 'available_commands', 'load', 'main', 'make_parser']

#: What is run without the name of a command.
CONNECT = 'connect'

#: The other commands, by name: each is a module of this package with ``DESCRIPTION``,
#: ``add_arguments(parser)`` and ``run(arguments) -> int``.
COMMANDS = ('serve', 'record', 'replay', 'bench', 'shard')


def main(argv=None):
    # type: (Optional[List[str]]) -> int
    """Run the program with these arguments, or those of the process; return its exit status."""
    _console.occupy_standard_streams()
    return _console.run(lambda: _run(sys.argv[1:] if argv is None else argv)) or 0


def _run(argv):
    # type: (List[str]) -> int
    name = CONNECT
    if not argv:
        argv = ['--help']
    if argv[0] in COMMANDS:
        name, argv = argv[0], argv[1:]
    try:
        command = load(name)
        arguments = make_parser(name, command).parse_args(argv)
        return command.run(arguments)   # type: ignore[no-any-return]
    except SystemExit as error:     # of argparse, which has said why
        return error.code if isinstance(error.code, int) else 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except IOError as error:
        if error.filename != _console.STDOUT:
            raise
        _console.complain(u'lomond: could not write the output: {}'.format(
            native_to_text(error.strerror)))
        return FAILED


def load(name):
    # type: (str) -> Any
    """Return the module of a command."""
    return importlib.import_module('lomond.cli.' + name)


def available_commands():
    # type: () -> Tuple[str, ...]
    """Return the names of the other commands that this installation has."""
    found = {name for _finder, name, _is_package in pkgutil.iter_modules(__path__)}
    return tuple(name for name in COMMANDS if name in found)


class _Parser(argparse.ArgumentParser):
    """Prints its help as the commands print what they have to say."""

    def _print_message(self, message, file=None):
        # type: (str, Any) -> None
        if message:
            print_line = _console.say if file is sys.stdout else _console.complain
            print_line(message.rstrip('\n'))


def make_parser(name, command):
    # type: (str, Any) -> argparse.ArgumentParser
    """Return the parser of a command's arguments."""
    parser = _Parser(
        prog='lomond' if name == CONNECT else 'lomond ' + name,
        description=command.DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(parser=parser)
    command.add_arguments(parser)
    return parser
