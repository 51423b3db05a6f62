"""``lomond record``: the conversation of ``lomond URL``, saved in a HAR file.

What is written is decided in `lomond.cli.recording`.
"""

from __future__ import absolute_import, division, print_function

import argparse
import errno

from lomond import _console
from lomond._compat import TYPE_CHECKING
from lomond._har_writer import HarWriter, repair_file
from lomond.cli import connect
from lomond.cli.output import escape, readable
from lomond.cli.statuses import FAILED, describe_statuses

if TYPE_CHECKING:
    from typing import Any  # noqa: F401

__all__ = ['DESCRIPTION', 'add_arguments', 'run']

DESCRIPTION = """\
Do what lomond URL does, and save the messages in a HAR file, which the developer tools of browsers
open, and lomond replay serves. Passwords, tokens and cookies of the handshake are left out;
messages are saved as they are."""


def add_arguments(parser):
    # type: (argparse.ArgumentParser) -> None
    """Add the arguments of ``lomond record``."""
    parser.epilog = describe_statuses()
    connect.add_conversation_arguments(parser)
    parser.add_argument('har', metavar='FILE', help=(
        'the file to write, which only you may read; it is valid at any moment'))
    group = parser.add_argument_group('the file')
    group.add_argument('--overwrite', action='store_true', help='replace a file that exists')
    group.add_argument('--repair', metavar='FILE', action=_Repair, help=(
        'remove the message that was being written when lomond record was killed, and end'))


class _Repair(argparse.Action):
    """Repairs a file, and ends."""

    def __call__(self, parser, _namespace, path, *_rest):
        # type: (argparse.ArgumentParser, Any, Any, *Any) -> None
        try:
            is_repaired = repair_file(path)
        except EnvironmentError as error:
            parser.exit(FAILED, 'lomond: {}: {}\n'.format(path, error.strerror))
        except ValueError as error:
            parser.exit(FAILED, 'lomond: {}: {}\n'.format(path, error))
        _console.say(u'repaired' if is_repaired else u'nothing to repair')
        parser.exit()


def run(arguments):
    # type: (argparse.Namespace) -> int
    """Record the conversation; return the exit status."""
    return connect.run(arguments, _open)


def _open(arguments):
    # type: (argparse.Namespace) -> HarWriter
    """Return what writes the file, or end the program, and say why."""
    try:
        return HarWriter(arguments.har, arguments.overwrite)
    except EnvironmentError as error:
        advice = u': choose another name, or --overwrite' if error.errno == errno.EEXIST else u''
        _console.complain(escape(u'lomond: could not write {}: {}{}'.format(
            readable(arguments.har), readable(error.strerror), advice)))
        raise SystemExit(FAILED)
