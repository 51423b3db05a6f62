"""The options of commands that serve, the server that they make, and its end by a signal.

It serves nothing itself: each command has its own handler.
"""

from __future__ import absolute_import, division, print_function

import errno
import re

from lomond import _console
from lomond._compat import TYPE_CHECKING
from lomond.cli.connecting import read_text
from lomond.cli.output import readable
from lomond.cli.signals import STATUSES, catching
from lomond.cli.statuses import FAILED, OK
from lomond.http.url import parse_origin
from lomond.server import Server
from lomond.tls import server_context

if TYPE_CHECKING:
    import argparse  # noqa: F401
    from typing import Any, Callable, Dict, List, Optional, Text  # noqa: F401

__all__ = ['add_server_arguments', 'make_origins', 'make_server', 'serve_until_signal']

#: The largest message by default (16 MiB): a server holds one for each client that sends.
MAX_SIZE = 16 * 1024 * 1024

#: The origins of pages that this machine serves, in any port.
_LOOPBACK = re.compile(u'https?://(localhost|127\\.0\\.0\\.1|\\[::1\\])(:[0-9]+)?\\Z')


def add_server_arguments(parser):
    # type: (argparse.ArgumentParser) -> None
    """Add the argument PORT and the options that say where to listen, and for which pages."""
    parser.add_argument('port', metavar='PORT', nargs='?', type=_console.port, default=0, help=(
        'default: a free one; the first line on stdout is the URL'))
    group = parser.add_argument_group('the server')
    group.add_argument('--host', default=u'127.0.0.1', metavar='ADDRESS',
                       type=_console.argument(_read_host), help=(
        'listen on this address; default: 127.0.0.1, which only this machine reaches; 0.0.0.0: '
        'all addresses'))
    group.add_argument('--unix', metavar='PATH', type=_console.argument(read_text),
                       help='listen on a Unix socket instead')
    group.add_argument('--cert', metavar='FILE', help='serve wss:// with this certificate (PEM)')
    group.add_argument('--key', metavar='FILE', help=(
        'its key (PEM), if it is not in the same file'))
    group.add_argument('--origin', metavar='ORIGIN', action='append', default=[], dest='origins',
                       type=_console.argument(_read_origin), help=(
        'let pages of this site connect, such as https://example.org; any: of all sites. Without '
        'it only those of localhost may, and programs; repeatable'))
    group.add_argument('--compress', action='store_true', help='accept permessage-deflate')
    group.add_argument('--max-size', metavar='BYTES', type=_console.number(1), default=MAX_SIZE,
                       help='refuse larger messages; default: {} (16 MiB)'.format(MAX_SIZE))
    group.add_argument('--max-connections', metavar='N', type=_console.number(1), default=100,
                       help='refuse more clients at a time; default: 100')


def _read_host(argument):
    # type: (str) -> Text
    if not argument:    # of a variable that isn't set; for the system it is all addresses
        raise ValueError('must be an address; 0.0.0.0: all addresses')
    return read_text(argument)


def _read_origin(argument):
    # type: (str) -> Text
    if argument in ('any', 'null'):     # null: of files, and of pages in a sandbox
        return read_text(argument)
    return parse_origin(read_text(argument))


def make_server(arguments, handler=None, **options):
    # type: (argparse.Namespace, Optional[Callable[[Any], Any]], **Any) -> Server
    """Return the server for these arguments, which listens; ``options`` are more of its own.

    Ends the program, and says why, if a file can't be read or the server can't listen.
    """
    options = dict({
        'compress': arguments.compress, 'max_message_size': arguments.max_size,
        'max_connections': arguments.max_connections, 'origins': make_origins(arguments.origins),
        'text_as_bytes': True}, **options)
    if arguments.key is not None and arguments.cert is None:
        arguments.parser.error('argument --key: requires --cert')
    if arguments.unix is not None:
        options['unix_path'] = arguments.unix
    else:
        options.update(host=arguments.host, port=arguments.port)
    try:
        if arguments.cert is not None:
            options['ssl_context'] = server_context(arguments.cert, arguments.key)
        return Server(handler, **options)
    except (EnvironmentError, ValueError) as error:     # ssl.SSLError is both on some Pythons
        words = getattr(error, 'strerror', None) or error
        if getattr(error, 'errno', None) == errno.EADDRINUSE and arguments.unix is None:
            words = u'port {} is in use: choose another one, or 0 for any that is free'.format(
                arguments.port)
        _console.complain(u'lomond: {}'.format(readable(words)))
        raise SystemExit(FAILED)


def make_origins(origins):
    # type: (List[Text]) -> Any
    """Return the ``origins`` of a server: these, programs, and pages of this machine."""
    if u'any' in origins:
        return None

    def is_allowed(origin):
        # type: (Optional[Text]) -> bool
        if origin is None:
            return True
        origin = origin.lower()
        return origin in origins or not origins and _LOOPBACK.match(origin) is not None

    return is_allowed


def serve_until_signal(server, serve=None):
    # type: (Server, Optional[Callable[[], Any]]) -> int
    """Print the URL; call ``serve``, by default the server's own; return the exit status.

    It ends when ``serve`` returns, and by Ctrl-C or SIGTERM: then each connection is closed with
    1001. A second signal breaks those that are left.
    """
    caught = []  # type: List[int]

    def on_signal(number, _frame):
        # type: (int, Any) -> None
        caught.append(number)
        if len(caught) > 1:
            raise KeyboardInterrupt
        # Not by an exception, which would break the connections of a server with one thread.
        server.close()

    with catching(on_signal):
        try:
            _console.say(server.url)
            if not caught:
                (serve or server.serve_forever)()
        except KeyboardInterrupt:
            server.close(timeout=0)
        finally:
            server.close()
    return STATUSES[caught[0]] if caught else OK
