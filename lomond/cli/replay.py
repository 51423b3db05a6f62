"""``lomond replay``: serve what a HAR file has, of a browser or of ``lomond record``.

Which recording a client gets is decided here; how it is played in `lomond.cli.playing`.
"""

from __future__ import absolute_import, division, print_function

import threading

from lomond import _console
from lomond._compat import TYPE_CHECKING
from lomond.cli.connecting import read_text
from lomond.cli.output import escape, readable
from lomond.cli.playing import Difference, play
from lomond.cli.serving import add_server_arguments, make_server, serve_until_signal
from lomond.cli.statuses import FAILED, OK, describe_statuses
from lomond.errors import WebSocketError
from lomond.har import played, read_har
from lomond.http.redact import HIDDEN, redact_url
from lomond.server import Refusal

if TYPE_CHECKING:
    import argparse  # noqa: F401
    from typing import Any, Dict, List, Optional, Text  # noqa: F401

    from lomond.har import Recording  # noqa: F401
    from lomond.server import Request, Server, ServerWebSocket  # noqa: F401

__all__ = ['DESCRIPTION', 'add_arguments', 'run']

DESCRIPTION = """\
Serve the messages that a HAR file has as received, at the pace of the recording. The file is of
lomond record, or of a browser: developer tools, Network, "Save all as HAR". After its last message
a connection is closed with 1000."""


def add_arguments(parser):
    # type: (argparse.ArgumentParser) -> None
    """Add the arguments of ``lomond replay``."""
    parser.epilog = describe_statuses()
    parser.add_argument('har', metavar='FILE', help='a HAR file')
    add_server_arguments(parser)
    group = parser.add_argument_group('what it plays')
    group.add_argument('--list', action='store_true', help=(
        'print the recordings in the file, and end'))
    group.add_argument('--url', metavar='TEXT', type=_console.argument(read_text), help=(
        'play only recordings whose URL contains this text. Clients get the one with the path of '
        'their own URL; if the file has one URL only, with any path. Several recordings of '
        'the same URL are played in turn'))
    pace = group.add_mutually_exclusive_group()
    pace.add_argument('--speed', metavar='N', type=_console.positive, default=1.0, help=(
        'play N times as fast; default: 1'))
    pace.add_argument('--at-once', action='store_const', const=None, dest='speed', help=(
        'play without pauses'))
    group.add_argument('--in-step', action='store_true', help=(
        'wait for a message of the client where the recording has one, whatever it says'))
    group.add_argument('--check', action='store_true', help=(
        'compare what the client sends with the recording, in its order, and wait for it; play '
        'each recording once, then end. The exit status is 0 if exactly that was sent, or 1'))
    group.add_argument('--timeout', metavar='S', type=_console.seconds, default=30.0, help=(
        'with --check: how long to wait for a message, or a client; default: 30; 0: no limit'))
    group.add_argument('--once', action='store_true', help=(
        'play each recording once, then end'))
    group.add_argument('--stay', action='store_true', help=(
        'leave connections open after the last message'))


def run(arguments):
    # type: (argparse.Namespace) -> int
    """Serve the recordings; return the exit status."""
    try:
        recordings = read_har(arguments.har)
    except EnvironmentError as error:
        return _fail(u'could not read {}: {}'.format(
            readable(arguments.har), readable(error.strerror)))
    except ValueError as error:
        return _fail(readable(str(error)))
    if arguments.url is not None:
        recordings = [recording for recording in recordings if arguments.url in recording.url]
        if not any(recording.messages for recording in recordings):
            return _fail(u'no recording in {} with messages has a URL that contains {}: see --list'
                         .format(readable(arguments.har), arguments.url))
    if arguments.list:
        for recording in recordings:
            _console.say(_describe(recording))
        return OK
    replay = _Replay(arguments, played(recordings))
    server = make_server(
        arguments, replay.serve, on_request=replay.check, text_as_bytes=False,
        protocols=_list_protocols(recordings))
    status = serve_until_signal(server, lambda: replay.run(server))
    return status or replay.status


def _fail(words):
    # type: (Text) -> int
    _console.complain(u'lomond: {}'.format(escape(words)))
    return FAILED


def _describe(recording):
    # type: (Recording) -> Text
    counts = [len([message for message in recording.messages if message.type == kind])
              for kind in ('receive', 'send')]
    return u'{}  {} received, {} sent'.format(escape(redact_url(recording.url)), *counts)


def _list_protocols(recordings):
    # type: (List[Recording]) -> Optional[List[Text]]
    """Return the subprotocols that the recorded servers chose."""
    names = []  # type: List[Text]
    for recording in recordings:
        for name in recording.response_headers.get_list(u'Sec-WebSocket-Protocol'):
            if name not in names and name != HIDDEN:
                names.append(name)
    return names or None


class _Replay(object):
    """Plays recordings to clients, each in a thread of its own."""

    def __init__(self, arguments, recordings):
        # type: (argparse.Namespace, List[Recording]) -> None
        self._arguments = arguments
        self._recordings = recordings
        self._is_once = arguments.check or arguments.once
        self._lock = threading.Lock()
        self._played = {}  # type: Dict[int, int]       # how many times each was begun
        self._left = len(recordings)    # to be played to their end
        self._server = None  # type: Optional[Server]
        self._closer = None  # type: Optional[threading.Thread]
        self._playing = 0       # to how many clients
        # With --check, until a client comes.
        self._timer = None  # type: Optional[threading.Timer]
        self._timers = []  # type: List[threading.Timer]    # all that there were
        self.status = OK        # that of --check

    def run(self, server):
        # type: (Server) -> None
        """Serve until all is played, with --once and --check, or forever."""
        self._server = server
        with self._lock:
            self._limit_wait()
        server.serve_forever()
        with self._lock:
            self._end_wait()
        for timer in self._timers:
            timer.join()    # 2.7 prints an error for a thread that ends with Python
        if self._closer is not None:
            self._closer.join()

    def _limit_wait(self):
        # type: () -> None
        """Wait for a client no longer than --check does for a message. The lock is held."""
        if self._arguments.check and self._arguments.timeout:
            self._timer = threading.Timer(self._arguments.timeout, self._give_up)
            self._timer.daemon = True
            self._timer.start()
            self._timers.append(self._timer)

    def _end_wait(self):
        # type: () -> None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self):
        # type: () -> None
        with self._lock:
            if self._timer is None:     # a client has just come
                return
            self.status = FAILED
        _console.complain(u'lomond: no client came within {:g} s: {} of {} recordings were played'
                          .format(self._arguments.timeout, len(self._played),
                                  len(self._recordings)))
        self._server.close()    # type: ignore[union-attr]  # it serves

    def check(self, request):
        # type: (Request) -> Optional[Refusal]
        """Refuse a request for which there is no recording."""
        if self._find(request):
            return None
        return Refusal(404, u'no recording has this path, only:\n{}\n'.format(u'\n'.join(sorted({
            redact_url(_resource(recording.url)) for recording in self._recordings}))))

    def _find(self, request):
        # type: (Request) -> List[Recording]
        """Return the recordings for a request: those of its path and query, or of the only URL."""
        resource = request.resource
        # lomond record hides the values of a query.
        for wanted in (resource, redact_url(resource), request.path):
            found = [recording for recording in self._recordings if wanted in (
                _resource(recording.url), _resource(recording.url).partition(u'?')[0])]
            if found:
                return found
        if len({recording.url for recording in self._recordings}) == 1:
            return self._recordings
        return []

    def _take(self, request):
        # type: (Request) -> Optional[Recording]
        """Return the recording for a client; None if each was played, with --once."""
        with self._lock:
            found = self._find(request)
            recording = min(found, key=lambda one: self._played.get(id(one), 0))
            if self._is_once and id(recording) in self._played:
                return None
            self._played[id(recording)] = self._played.get(id(recording), 0) + 1
            self._playing += 1
            self._end_wait()
            return recording

    def serve(self, websocket):
        # type: (ServerWebSocket) -> None
        """Play a recording to a client; the handler of the server."""
        arguments = self._arguments
        recording = self._take(websocket.request)
        if recording is None:
            websocket.close(1013, u'each recording is played once')
            return
        try:
            play(websocket, recording, arguments.speed, arguments.in_step, arguments.check,
                 arguments.timeout if arguments.check and arguments.timeout else None)
            if arguments.stay and not arguments.check:
                _wait_for_end(websocket)
            websocket.close()
        except Difference as error:
            self.status = FAILED
            _console.complain(escape(u'lomond: {}: {}'.format(
                redact_url(recording.url), error)))
            websocket.close(1008, u'not as recorded')
        except WebSocketError as error:
            if arguments.check:
                self.status = FAILED
                _console.complain(escape(u'lomond: {}: the connection ended: {}'.format(
                    redact_url(recording.url), error)))
        finally:
            self._end_one()

    def _end_one(self):
        # type: () -> None
        with self._lock:
            self._left -= 1
            self._playing -= 1
            is_last = self._is_once and self._left == 0
            if not is_last and not self._playing:
                self._limit_wait()
        if is_last and self._server is not None:
            # Not in this thread: close() waits for this handler.
            self._closer = threading.Thread(target=self._server.close)
            self._closer.start()


def _resource(url):
    # type: (Text) -> Text
    """Return the path and query of a URL."""
    path = url.partition(u'#')[0].partition(u'://')[2].partition(u'/')
    return path[1] + path[2] or u'/'


def _wait_for_end(websocket):
    # type: (ServerWebSocket) -> Any
    while True:
        websocket.receive()     # raises WebSocketClosed
