"""``lomond URL``: the arguments, and the conversation that they make.

The conversation itself is in `lomond.cli.conversation`.
"""

from __future__ import absolute_import, division, print_function

import argparse
import platform
import sys
import threading

import lomond
from lomond import _console
from lomond._compat import TYPE_CHECKING, native_to_text
from lomond._core import why_pure
from lomond.cli import reading
from lomond.cli.commands import HELP
from lomond.cli.connecting import add_connection_arguments, loop_options, make_websocket
from lomond.cli.conversation import Conversation
from lomond.cli.display import Display, show_trace
from lomond.cli.figures import Figures
from lomond.cli.formats import BINARY
from lomond.cli.frames import watch_frames
from lomond.cli.output import Screen
from lomond.cli.recording import Recorder
from lomond.cli.statuses import describe_statuses
from lomond.cli.typed import EDITORS, Input
from lomond.persist import ReconnectPolicy, persist

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional  # noqa: F401

    from lomond._har_writer import HarWriter  # noqa: F401
    from lomond.cli.formats import Message  # noqa: F401
    from lomond.websocket import WebSocket  # noqa: F401

__all__ = ['DESCRIPTION', 'add_arguments', 'add_conversation_arguments', 'run']

DESCRIPTION = """\
Connect to a WebSocket. A line that is typed is sent as a text; what arrives is printed.
In a pipe, lines are read from stdin, and messages are written to stdout, one a line.

Other commands, see lomond COMMAND --help:
  serve     a server: echo, broadcast, or a program for each connection
  record    save a session in a HAR file
  replay    serve what a HAR file has
  bench     measure a server
  shard     hold many feeds by several processes"""

# Options of `ReconnectPolicy`, which need --persist.
_POLICY = ('min_wait', 'max_wait', 'max_attempts', 'max_outage', 'stop_on_status', 'stop_on_code')


def add_arguments(parser):
    # type: (argparse.ArgumentParser) -> None
    """Add the arguments of ``lomond URL``."""
    parser.usage = '%(prog)s [OPTION ...] URL'
    parser.epilog = describe_statuses()
    parser.add_argument('--version', action=_Version, nargs=0, help=(
        'print the version, and whether the core is compiled'))
    parser.add_argument('--completion', action=_Completion, metavar='SHELL', help=(
        'print the completion of arguments for bash, zsh or fish'))
    add_conversation_arguments(parser)


def add_conversation_arguments(parser):
    # type: (argparse.ArgumentParser) -> None
    """Add the arguments of a conversation, for each command that holds one."""
    _add_message_arguments(parser.add_argument_group('messages'))
    _add_end_arguments(parser.add_argument_group('the end'))
    _add_display_arguments(parser.add_argument_group('what is shown'))
    add_connection_arguments(parser)
    _add_persist_arguments(parser.add_argument_group('reconnecting'))


def _add_message_arguments(group):
    # type: (Any) -> None
    group.add_argument('--send', metavar='TEXT', action='append', dest='first', default=[], type=(
        lambda text: (reading.read_argument, text)), help=(
            'send a message before those of stdin, on each connection; repeatable'))
    group.add_argument('--file', metavar='FILE', action='append', dest='first', type=(
        lambda path: (reading.read_file, path)), help=(
            'send a whole file as one message, like --send; repeatable'))
    group.add_argument('--binary', choices=BINARY, help=(
        'what is sent is binary, written like this, and so is what arrives as binary; default: '
        'text is sent, and binary messages are written in hex'))
    group.add_argument('--null', '-0', action='store_true', help=(
        'messages in pipes end in a NUL byte instead of a line feed'))
    group.add_argument('--format', choices=('lines', 'jsonl'), default='lines', help=(
        'jsonl: each message, in and out, is a line of JSON with the fields of a HAR file: type, '
        'time, opcode, data'))
    group.add_argument('--json', action='store_true', help=(
        'format texts that are JSON: indented on a terminal, on one line in a pipe'))
    group.add_argument('--commands', action='store_true', help=(
        'lines that begin with / are commands: ' + HELP))


def _add_end_arguments(group):
    # type: (Any) -> None
    group.add_argument('--count', metavar='N', type=_console.number(1), help=(
        'end after N messages were received'))
    group.add_argument('--timeout', metavar='S', type=_console.seconds, help=(
        'end after S seconds'))
    group.add_argument('--wait', action='store_true', help=(
        'stay at the end of stdin, until the server closes'))
    group.add_argument('--linger', metavar='S', type=_console.seconds, default=2.0, help=(
        'after the end of stdin, stay until no message came for S seconds; default: 2. If stdin '
        'is empty from the beginning, it stays as with --wait'))


def _add_display_arguments(group):
    # type: (Any) -> None
    group.add_argument('--quiet', '-q', action='store_true', help='do not show messages')
    group.add_argument('--editor', choices=EDITORS, default='auto', help=(
        'what edits the typed line: prompt_toolkit if it is installed, or a simple one; none: the '
        'terminal, whose lines have 4095 bytes at most'))
    group.add_argument('--stats', action='store_true', help=(
        'show rates, sizes and round trips in a line on the terminal, and at the end'))
    group.add_argument('--verbose', '-v', action='count', default=0, help=(
        'show the handshake, pings and pongs, without passwords, tokens and cookies; twice: the '
        'frames, too'))


def _add_persist_arguments(group):
    # type: (Any) -> None
    group.add_argument('--persist', action='store_true', help=(
        'connect again whenever the connection ends'))
    group.add_argument('--min-wait', metavar='S', type=_console.seconds, help=(
        'the shortest wait before an attempt; default: 0'))
    group.add_argument('--max-wait', metavar='S', type=_console.seconds, help=(
        'the longest wait; default: 60'))
    group.add_argument('--max-attempts', metavar='N', type=_console.number(1), help=(
        'give up after N failed attempts in a row'))
    group.add_argument('--max-outage', metavar='S', type=_console.seconds, help=(
        'give up if the next attempt would begin later than this'))
    group.add_argument('--stop-on-status', metavar='N', type=_console.number(100, 599), help=(
        'give up if the server rejects with this HTTP status; repeatable'), action='append')
    group.add_argument('--stop-on-code', metavar='N', type=_console.number(1000, 4999), help=(
        'give up if the server closes with this code; repeatable'), action='append')


class _Version(argparse.Action):
    """Prints the version, and ends."""

    def __call__(self, parser, *_arguments):
        # type: (argparse.ArgumentParser, *Any) -> None
        _console.say(u'lomond {}, {} {}, {}'.format(
            lomond.__version__, platform.python_implementation(), sys.version.split()[0],
            'compiled' if why_pure is None else 'pure Python: {}'.format(why_pure)))
        parser.exit()


class _Completion(argparse.Action):
    """Prints the completion for a shell, and ends."""

    def __call__(self, parser, _namespace, shell, *_rest):
        # type: (argparse.ArgumentParser, Any, Any, *Any) -> None
        from lomond.cli import completion  # here, as only this needs it
        if shell not in completion.SHELLS:
            parser.error('argument --completion: must be {}'.format(
                ' or '.join(sorted(completion.SHELLS))))
        _console.say(native_to_text(completion.SHELLS[shell]().rstrip('\n')))
        parser.exit()


def run(arguments, open_writer=None):
    # type: (argparse.Namespace, Optional[Callable[[argparse.Namespace], HarWriter]]) -> int
    """Hold the conversation; return the exit status.

    ``open_writer`` returns what records it, and isn't called for wrong arguments.
    """
    screen = Screen()
    display = _make_display(screen, arguments)
    first = _read_first(arguments)
    policy = _make_policy(arguments)
    websocket = make_websocket(arguments)
    source = _make_input(screen, arguments)
    recorder = None if open_writer is None else Recorder(open_writer(arguments))
    websocket.trace = _make_trace(display if arguments.verbose else None, recorder)
    conversation = Conversation(
        websocket, display, first, arguments.count, None if arguments.wait else arguments.linger,
        is_persistent=policy is not None, recorder=recorder,
        close_timeout=arguments.close_timeout)
    options = loop_options(arguments)
    options['poll'] = 1.0 if arguments.stats else None
    events = websocket.connect(**options) if policy is None \
        else persist(websocket, policy=policy, **options)  # type: Iterator[Any]
    if arguments.verbose > 1:
        events = _with_frames(events, websocket, display)
    figures = Figures(websocket.stats)
    if arguments.stats:
        events = _with_figures(events, figures, source.show_figures)
    with _time_limit(arguments.timeout, conversation.time_out), source.reading(conversation):
        conversation.run(events)
    if recorder is not None:
        recorder.close()
    if arguments.stats:
        for line in figures.summary():
            screen.notice(line)
    return conversation.status


def _make_trace(display, recorder):
    # type: (Optional[Display], Optional[Recorder]) -> Any
    """Return what the WebSocket calls on the way to a connection, or None."""
    tracers = [] if display is None else [show_trace(display.note)]
    if recorder is not None:
        tracers.append(recorder.trace)
    if not tracers:
        return None

    def trace(record):
        # type: (Any) -> None
        for tracer in tracers:
            tracer(record)

    return trace


def _make_display(screen, arguments):
    # type: (Screen, argparse.Namespace) -> Display
    return Display(
        screen, arguments.binary, arguments.format == 'jsonl', arguments.json,
        b'\0' if arguments.null else b'\n', arguments.verbose, arguments.quiet)


def _make_input(screen, arguments):
    # type: (Screen, argparse.Namespace) -> Input
    try:
        return Input(
            screen, reading.decoder(arguments.binary, arguments.format == 'jsonl'),
            b'\0' if arguments.null else b'\n', arguments.commands, arguments.editor)
    except ValueError as error:
        arguments.parser.error('argument --editor: {}'.format(error))
        raise


def _read_first(arguments):
    # type: (argparse.Namespace) -> List[Message]
    """Return the messages of --send and --file, in the order of the arguments."""
    messages = []
    for read, argument in arguments.first:
        try:
            messages.append(read(argument, arguments.binary))
        except EnvironmentError as error:
            arguments.parser.error('could not read {}: {}'.format(argument, error.strerror))
        except ValueError as error:
            what = argument if read is reading.read_file else 'a message of --send'
            arguments.parser.error('{}: {}'.format(what, error))
    return messages


def _make_policy(arguments):
    # type: (argparse.Namespace) -> Any
    """Return the policy for --persist, or None."""
    options = {
        name: getattr(arguments, name) for name in _POLICY
        if getattr(arguments, name) is not None}
    if options and not arguments.persist:
        arguments.parser.error('argument --{}: requires --persist'.format(
            sorted(options)[0].replace('_', '-')))
    if not arguments.persist:
        return None
    try:
        return ReconnectPolicy(**options)
    except (TypeError, ValueError) as error:
        arguments.parser.error(str(error))


def _with_frames(events, websocket, display):
    # type: (Iterable[Any], WebSocket, Display) -> Iterator[Any]
    """Pass events on, and have the frames of each connection noted."""
    for event in events:
        if event.name == 'connected':
            begin = watch_frames(websocket.session.transport, display.note)  # type: ignore[union-attr]
        yield event
        if event.name == 'ready':
            begin(event.response.raw)


def _with_figures(events, figures, show):
    # type: (Iterable[Any], Figures, Callable[[Any], Any]) -> Iterator[Any]
    """Pass events on, and show the figures with each Poll."""
    for event in events:
        if event.name == 'ready':
            figures.opened()
        elif event.name == 'poll':
            show(figures.line())
        yield event


class _time_limit(object):
    """Calls a function after some seconds, unless the block ends before."""

    def __init__(self, seconds, function):
        # type: (Any, Callable[[], Any]) -> None
        self._timer = threading.Timer(seconds or 0, function)
        self._timer.daemon = True
        self._is_set = seconds is not None

    def __enter__(self):
        # type: () -> None
        if self._is_set:
            self._timer.start()

    def __exit__(self, *_exc_info):
        # type: (*Any) -> None
        self._timer.cancel()
        if self._is_set:
            self._timer.join()
