"""``lomond serve``: a server that echoes, or passes messages on to all others, or runs a program.

How programs run is in `lomond.cli.programs`.
"""

from __future__ import absolute_import, division, print_function

import argparse
import os

from lomond import _console
from lomond._compat import TYPE_CHECKING
from lomond.cli.output import escape
from lomond.cli.serving import add_server_arguments, make_server, serve_until_signal
from lomond.cli.statuses import describe_statuses
from lomond.http.redact import redact_text

if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, Text  # noqa: F401

    from lomond.server import Server, ServerWebSocket  # noqa: F401

    Notice = Callable[[ServerWebSocket, Any], None]

__all__ = ['DESCRIPTION', 'add_arguments', 'run']

DESCRIPTION = """\
Serve WebSockets, on this machine only unless --host is given. Each message is sent back to its
sender, or with --broadcast to all others; or a program serves each client:
  lomond serve 8080 --command grep --line-buffered error
Ctrl-C and SIGTERM close all connections with 1001."""


def add_arguments(parser):
    # type: (argparse.ArgumentParser) -> None
    """Add the arguments of ``lomond serve``."""
    parser.epilog = describe_statuses()
    add_server_arguments(parser)
    group = parser.add_argument_group('what it does')
    group.add_argument('--broadcast', action='store_true', help=(
        'send each message to all others. A client that reads too slowly misses messages'))
    group.add_argument('--command', metavar='PROGRAM', nargs=argparse.REMAINDER, help=(
        'run this program, with all that follows as its arguments, for each client: a message is '
        'a line of its stdin, and a line of its stdout is a message. It ends with the connection, '
        'and the connection with it'))
    group.add_argument('--binary', action='store_true', help=(
        'with --command: send the lines as binary messages'))
    group.add_argument('--verbose', '-v', action='store_true', help=(
        'show on stderr which clients come and go'))


def run(arguments):
    # type: (argparse.Namespace) -> int
    """Serve until a signal comes; return the exit status."""
    if arguments.command is not None:
        if not arguments.command or arguments.broadcast:
            arguments.parser.error('argument --command: requires a program, and no --broadcast')
        if os.name != 'posix':      # pragma: no cover
            arguments.parser.error('argument --command: not on this system')
    notice = _notice if arguments.verbose else _ignore
    if arguments.broadcast:
        # Twice the largest message, and what is counted for each: one fits beside another.
        server = make_server(
            arguments, threads=False, text_as_bytes=False, overflow='drop_oldest',
            max_queue=2 * arguments.max_size + 1024)
        return serve_until_signal(server, lambda: _broadcast(server, notice))
    if not arguments.command:
        return serve_until_signal(make_server(arguments, lambda websocket: _echo(
            websocket, notice)))
    from lomond.cli.programs import Programs  # here, as it needs POSIX
    with Programs(arguments.command, arguments.max_size, arguments.binary) as programs:
        return serve_until_signal(make_server(arguments, lambda websocket: programs.serve(
            websocket, _noticed(websocket, notice))))


def _echo(websocket, notice):
    # type: (ServerWebSocket, Notice) -> None
    for event in _noticed(websocket, notice):
        if event.name == 'text':
            websocket.send_utf8(event.data)
        elif event.name == 'binary':
            websocket.send_binary(event.data)


def _broadcast(server, notice):
    # type: (Server, Notice) -> None
    for websocket, event in server:
        notice(websocket, event)
        if event.name == 'text' or event.name == 'binary':
            others = [other for other in server.connections if other is not websocket]
            server.broadcast(event.text if event.name == 'text' else event.data, others)


def _noticed(websocket, notice):
    # type: (ServerWebSocket, Notice) -> Iterator[Any]
    """Yield the events of a connection."""
    for event in websocket:
        notice(websocket, event)
        yield event


def _ignore(_websocket, _event):
    # type: (ServerWebSocket, Any) -> None
    """Show nothing."""


def _notice(websocket, event):
    # type: (ServerWebSocket, Any) -> None
    """Show on stderr that a client has come or gone."""
    if event.name == 'ready':
        words = u'+ {} {}'.format(_client(websocket), redact_text(websocket.request.resource))
    elif event.name == 'disconnected':
        close = websocket.close_received
        words = u'- {} {}'.format(_client(websocket), event.reason if close is None
                                  else u'closed with {}'.format(close.code))
    else:
        return
    _console.complain(escape(words))


def _client(websocket):
    # type: (ServerWebSocket) -> Text
    address = websocket.address     # also after the end
    return u'{}:{}'.format(*address[:2]) if isinstance(address, tuple) else u'a client'
