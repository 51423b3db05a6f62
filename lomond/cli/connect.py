"""``lomond URL``: the arguments, and what they make of one conversation.

The conversation itself is in `lomond.cli.conversation`.
"""

from __future__ import absolute_import, division, print_function

import argparse
import platform
import sys

import lomond
from lomond._compat import TYPE_CHECKING
from lomond._core import why_pure
from lomond.cli.connecting import add_connection_arguments, loop_options, make_websocket
from lomond.cli.statuses import Outcome, describe_statuses

if TYPE_CHECKING:
    from typing import Any  # noqa: F401

__all__ = ['DESCRIPTION', 'add_arguments', 'run']

DESCRIPTION = """\
Connect to a WebSocket. A line that is typed is sent as a text; what arrives is printed.
In a pipe, lines are read from stdin, and messages are written to stdout, one a line.

Other commands, see lomond COMMAND --help:
  serve     a server: echo, broadcast, or a program for each connection
  record    save a session in a HAR file
  replay    serve what a HAR file has
  bench     measure a server"""


def add_arguments(parser):
    # type: (argparse.ArgumentParser) -> None
    """Add the arguments of ``lomond URL``."""
    parser.epilog = describe_statuses()
    parser.add_argument('--version', action=_Version, nargs=0, help=(
        'print the version, and whether the core is compiled'))
    add_connection_arguments(parser)


class _Version(argparse.Action):
    """Prints the version, and ends."""

    def __call__(self, parser, *_arguments):
        # type: (argparse.ArgumentParser, *Any) -> None
        print('lomond {}, {} {}, {}'.format(
            lomond.__version__, platform.python_implementation(), sys.version.split()[0],
            'compiled' if why_pure is None else 'pure Python: {}'.format(why_pure)))
        parser.exit()


def run(arguments):
    # type: (argparse.Namespace) -> int
    """Hold the conversation; return the exit status."""
    websocket = make_websocket(arguments)
    outcome = Outcome()
    for event in websocket.connect(**loop_options(arguments)):
        outcome.observe(event)
    return outcome.status
