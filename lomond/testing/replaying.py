"""Plays a recording again: the messages that a browser's HAR file, or ``lomond record``, has kept.

`lomond.har` reads the file. Nothing here connects to what was recorded.
"""

from __future__ import absolute_import, division, print_function

import time

from lomond import events
from lomond._checks import check_flag, check_seconds
from lomond._compat import TYPE_CHECKING, native_path, text_to_native, text_type
from lomond.errors import ProtocolError
from lomond.har import played, read_har
from lomond.http.response import Response
from lomond.opcode import Opcode
from lomond.protocol.close import decode_close
from lomond.testing.fake import FakeWebSocket
from lomond.testing.playing import SWITCHING
from lomond.testing.scripted import ScriptedServer
from lomond.testing.steps import close, drop, expect, ping, say

if TYPE_CHECKING:
    from os import PathLike
    from typing import Any, Callable, Iterator, List, Optional, Union  # noqa: F401

    from lomond.har import Message, Recording  # noqa: F401
    from lomond.testing.steps import Step  # noqa: F401

    FilePath = Union[str, text_type, PathLike[str]]

_MESSAGES = (Opcode.TEXT, Opcode.BINARY)

_END = u'the recording ends here'


def replay(path, url=None, speed=None, **options):
    # type: (FilePath, Optional[text_type], Optional[float], **Any) -> FakeWebSocket
    """Return a `FakeWebSocket` whose events are what the client of a recording has received.

        for event in replay('session.har'):
            if event.name == 'text':
                print(event.received_time, event.text)

    Their ``received_time`` is that of the recording. Several connections to one URL are the
    WebSocket's connections, one after the other, without attempts to connect that failed. What the
    program sends is in ``sent``, and isn't compared.

    Parameters: ``path`` of the HAR file; ``url``, which connections of the file to play, None for
    those to the URL of the first one; ``speed``, how many times faster than in the recording the
    events come, 1 for its own pace (None: without waiting; the waits are in the loop's thread);
    ``options`` of a `FakeWebSocket`.

    Raises what `lomond.har.read_har` raises, and ValueError if no connection has this URL.
    """
    if not (check_seconds('speed', speed) or speed is None):
        raise ValueError('speed must be more than 0, such as 1 for the pace of the recording')
    recordings = _choose(path, url)
    options.setdefault('url', recordings[0].url)
    return FakeWebSocket(*[_play(recording, speed) for recording in recordings], **options)


def replay_server(path, url=None, check=True, **options):
    # type: (FilePath, Optional[text_type], bool, **Any) -> ScriptedServer
    """Return a `ScriptedServer` that says what the server of a recording has said.

    It waits for each message that the client has sent there, so the order is that of the recording.
    Each connection is dropped at its end, except the last. Attempts to connect that failed are left
    out.

    Parameters: ``path`` and ``url``, as for `replay`; ``check``, False to accept any messages of
    the client instead of those in the recording (True); ``options`` of a `ScriptedServer`. Raises
    as `replay`.
    """
    check = check_flag('check', check)
    scripts = [_script(recording, check) for recording in _choose(path, url)]
    for script in scripts[:-1]:
        if not (script and script[-1].is_last):
            script.append(drop())
    return ScriptedServer(*scripts, **options)


def _choose(path, url):
    # type: (FilePath, Optional[text_type]) -> List[Recording]
    found = played(read_har(path))
    wanted = found[0].url if url is None else url
    chosen = [recording for recording in found if recording.url == wanted]
    if not chosen:
        raise ValueError('{} has no connection to {}, but to {}'.format(
            native_path(path), text_to_native(wanted),
            text_to_native(u', '.join(sorted({recording.url for recording in found})))))
    return chosen


# -- events --

def _play(recording, speed):
    # type: (Recording, Optional[float]) -> Callable[[FakeWebSocket], Iterator[Any]]
    """Return a function that yields a recording's events, to a FakeWebSocket."""
    def script(websocket):
        # type: (FakeWebSocket) -> Iterator[Any]
        first = [message.time for message in recording.messages[:1]] or [recording.started or 0.0]
        now = first[0]
        yield events.Ready(
            Response(SWITCHING), recording.response_headers.get(u'Sec-WebSocket-Protocol'), set(),
            websocket.stats.connections + 1, now)
        for message in recording.messages:
            if speed and message.time > now:
                time.sleep((message.time - now) / speed)
            now = max(now, message.time)
            event = _event(websocket, message)
            if event is not None:
                yield event
                if event.name in ('closing', 'disconnected'):
                    return
        yield events.Disconnected(_END, received_time=now)
    return script


def _event(websocket, message):
    # type: (FakeWebSocket, Message) -> Any
    """Return the event of a message that was received, or of the error that ended it all."""
    if message.type == 'error':
        return events.Disconnected(text_type(message.data), received_time=message.time)
    if message.type != 'receive':
        return None
    if message.opcode in _MESSAGES:
        return websocket.make_event(message.data, message.time)
    data = _to_bytes(message.data)
    if message.opcode == Opcode.CLOSE:
        code, reason = _read_close(data)
        return events.Closing(code, reason, message.time)
    control = {Opcode.PING: events.Ping, Opcode.PONG: events.Pong}.get(message.opcode)
    return None if control is None else control(data, message.time)


# -- steps --

def _script(recording, check):
    # type: (Recording, bool) -> List[Step]
    steps = []  # type: List[Step]
    for message in recording.messages:
        if message.type == 'error':
            return steps + [drop()]
        if message.opcode in _MESSAGES:
            steps.append(say(message.data) if message.type == 'receive'
                         else expect(message.data if check else None))
        elif message.type == 'receive' and message.opcode == Opcode.PING:
            steps.append(ping(_to_bytes(message.data)))
        elif message.type == 'receive' and message.opcode == Opcode.CLOSE:
            code, reason = _read_close(_to_bytes(message.data))
            return steps + [close(None if code == 1005 else code, reason)]
    return steps


def _to_bytes(data):
    # type: (Any) -> bytes
    return data.encode('utf-8') if isinstance(data, text_type) else data


def _read_close(data):
    # type: (bytes) -> Any
    """Return the code and the reason of a Close frame; 1005 for one that is broken."""
    try:
        return decode_close(data)
    except ProtocolError:
        return 1005, u''
