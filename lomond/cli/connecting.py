"""The options that say how to connect, for each command that connects, and the WebSocket they make.

It connects to nothing, and reads only the files that an option names.
"""

from __future__ import absolute_import, division, print_function

import io
import os
import socket

from lomond import _console
from lomond._compat import TYPE_CHECKING, native_to_text, text_to_native
from lomond.http.grammar import is_line
from lomond.http.url import fold_host
from lomond.websocket import WebSocket

if TYPE_CHECKING:
    import argparse  # noqa: F401
    from typing import Any, Callable, Dict, List, Optional, Text, Tuple  # noqa: F401

    Header = Tuple[Text, Text]

__all__ = ['add_connection_arguments', 'loop_options', 'make_websocket', 'read_text']


def add_connection_arguments(parser):
    # type: (argparse.ArgumentParser) -> None
    """Add the argument URL and the options that say how to connect."""
    parser.add_argument(
        'url', metavar='URL', type=_console.argument(read_text), help='ws://... or wss://...')
    group = parser.add_argument_group('the connection')
    group.add_argument(
        '--header', '-H', metavar='NAME:VALUE', action='append', default=[], dest='headers',
        type=_console.argument(read_headers), help=(
            'add a header to the request, or, with @FILE, those in the lines of a file, which '
            'other users of the machine cannot see; repeatable'))
    group.add_argument(
        '--origin', metavar='ORIGIN', type=_console.argument(read_text), help='the Origin header')
    group.add_argument(
        '--subprotocol', metavar='NAME', action='append', type=_console.argument(read_text),
        dest='subprotocols',
        help='offer a subprotocol, the preferred one first; repeatable')
    group.add_argument(
        '--proxy', metavar='URL', type=_console.argument(read_text), help=(
            'connect through an http, https or socks5 proxy; none: not even that of the '
            'environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY)'))
    group.add_argument(
        '--compress', action='store_true', help='offer permessage-deflate')
    group.add_argument(
        '--cafile', metavar='FILE', help='trust the certificates in this file (PEM)')
    group.add_argument(
        '--cert', metavar='FILE', help="the client's own certificate (PEM)")
    group.add_argument(
        '--key', metavar='FILE', help='its key (PEM), if it is not in the same file')
    group.add_argument(
        '--insecure', action='store_true', help=(
            'accept any certificate: anyone on the way can read and change what is sent'))
    group.add_argument(
        '--resolve', metavar='HOST:ADDRESS', action='append', default=[],
        type=_console.argument(_read_resolve),
        help='connect to this IP address instead of looking the host up; repeatable')
    group.add_argument(
        '--unix', metavar='PATH', help='connect to a Unix socket; the URL gives host and path')
    group.add_argument(
        '--netrc', action='store_true', help=(
            'read the password of the host from ~/.netrc, or the file that NETRC names'))
    group.add_argument('--ping-rate', metavar='S', type=_console.seconds, default=30.0, help=(
        'send a ping every S seconds; default: 30; 0: never'))
    group.add_argument('--ping-timeout', metavar='S', type=_console.seconds, help=(
        'end if the server is silent for S seconds, although it was pinged; default: never'))
    group.add_argument('--connect-timeout', metavar='S', type=_console.seconds, default=30.0, help=(
        'give up if there is no connection after S seconds; default: 30; 0: never'))
    group.add_argument('--close-timeout', metavar='S', type=_console.seconds, default=10.0, help=(
        "wait S seconds for the server's answer to a Close frame; default: 10"))
    group.add_argument(
        '--max-size', metavar='BYTES', type=_console.number(1), help=(
            'refuse larger messages; default: 67108864 (64 MiB)'))


def make_websocket(arguments, **options):
    # type: (argparse.Namespace, **Any) -> WebSocket
    """Return a WebSocket for these arguments; ``options`` are more of its own.

    It warns on stderr if certificates aren't checked. What the WebSocket refuses ends the program,
    with the status for wrong arguments.
    """
    if arguments.insecure:
        _console.complain(u'lomond: warning: with --insecure the certificate of the server is not '
                          u'checked: anyone on the way can read and change what is sent')
    options = dict(_websocket_options(arguments), **options)
    try:
        return WebSocket(text_to_native(arguments.url), **options)
    except (TypeError, ValueError) as error:
        arguments.parser.error(str(error))
        raise


def loop_options(arguments):
    # type: (argparse.Namespace) -> Dict[str, Any]
    """Return the options of `WebSocket.connect` for these arguments."""
    return {
        name: getattr(arguments, name)
        for name in ('ping_rate', 'ping_timeout', 'close_timeout')}


def _websocket_options(arguments):
    # type: (argparse.Namespace) -> Dict[str, Any]
    headers = [header for some in arguments.headers for header in some]
    if arguments.origin is not None:
        headers.append((u'Origin', arguments.origin))
    options = {
        'headers': headers or None, 'protocols': arguments.subprotocols,
        'compress': arguments.compress, 'ssl_cafile': arguments.cafile,
        'ssl_certfile': arguments.cert, 'ssl_keyfile': arguments.key,
        'ssl_verify': not arguments.insecure, 'netrc': arguments.netrc,
        'connect_timeout': arguments.connect_timeout}  # type: Dict[str, Any]
    if arguments.proxy is not None:
        options['proxies'] = {} if arguments.proxy in (u'', u'none') \
            else {'all': text_to_native(arguments.proxy)}
    if arguments.resolve:
        options['resolver'] = _make_resolver(dict(arguments.resolve))
    if arguments.unix is not None:
        options['sock'] = lambda: _connect_unix(arguments.unix)
    if arguments.max_size is not None:
        options['max_message_size'] = arguments.max_size
    return options


def read_text(argument):
    # type: (str) -> Text
    """Return an argument as text: 2.7 has the bytes that the shell passed. Raises ValueError."""
    try:
        return native_to_text(argument)     # type: ignore[no-any-return]
    except UnicodeDecodeError:
        raise ValueError('it is not UTF-8')


def read_headers(argument):
    # type: (str) -> List[Header]
    """Return the header NAME:VALUE, or those in the lines of @FILE; raises ValueError.

    No error shows a value, as it may be secret.
    """
    if not argument.startswith('@'):
        return [_read_header(read_text(argument), 'it')]
    path = argument[1:]
    try:
        with io.open(os.path.expanduser(path), encoding='utf-8-sig') as lines:
            return [_read_header(line.rstrip(u'\r\n'), 'line {} of {}'.format(number, path))
                    for number, line in enumerate(lines, 1) if line.strip()]
    except EnvironmentError as error:
        raise ValueError('could not read {}: {}'.format(path, error.strerror))
    except UnicodeDecodeError:
        raise ValueError('{} is not UTF-8'.format(path))


def _read_header(line, what):
    # type: (Text, str) -> Header
    name, colon, value = line.partition(u':')
    if not colon or not is_line(line.encode('utf-8', 'replace')):
        raise ValueError('{} is not NAME:VALUE, a name and a value with a colon in between'.format(
            what))
    return name, value.strip()


def _read_resolve(argument):
    # type: (str) -> Tuple[Text, str]
    host, _colon, address = argument.partition(':')
    address = address.strip('[]')
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, address)
        except (socket.error, ValueError):
            continue
        if host:
            return fold_host(read_text(host)), address
    raise ValueError('must be HOST:ADDRESS, with an IP address, not {}'.format(argument))


def _make_resolver(addresses):
    # type: (Dict[Text, str]) -> Callable[..., Any]
    """Return a function like `socket.getaddrinfo` that knows these hosts' addresses."""
    def resolve(host, *arguments):
        # type: (str, *Any) -> Any
        return socket.getaddrinfo(addresses.get(fold_host(native_to_text(host)), host), *arguments)

    return resolve


def _connect_unix(path):
    # type: (str) -> socket.socket
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock
