"""How events and messages look: on a terminal with time and kind, in a pipe the messages alone.

It decides about nothing but words and bytes.
"""

from __future__ import absolute_import, division, print_function

import json
import time

from lomond._compat import TYPE_CHECKING, decode_utf8, encode_text
from lomond._har_writer import make_item
from lomond.cli.formats import encode_binary, format_json
from lomond.cli.output import escape
from lomond.http.redact import redact_head, redact_url, redact_value
from lomond.opcode import Opcode
from lomond.status import Status

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional, Text  # noqa: F401

    from lomond.cli.formats import Message  # noqa: F401
    from lomond.cli.output import Screen  # noqa: F401

__all__ = ['Display', 'show_trace']

#: Of binary data, on a terminal, if ``--binary`` doesn't say how to write it.
_SHOWN_BYTES = 256

_MARGIN = u' ' * 22


class Display(object):
    """Shows what arrives.

    Parameters: ``screen``; ``binary``, how binary messages are written, or None; ``is_json_lines``,
    whether each message is an object as in a HAR file; ``pretty``, whether to format texts that are
    JSON; ``end``, the bytes after each message in a pipe; ``verbosity``, that of ``-v``;
    ``is_quiet``, whether to show no messages.
    """

    def __init__(
            self, screen, binary=None, is_json_lines=False, pretty=False, end=b'\n', verbosity=0,
            is_quiet=False):
        # type: (Screen, Optional[str], bool, bool, bytes, int, bool) -> None
        self._screen = screen
        self._binary = binary
        self._is_json_lines = is_json_lines
        self._pretty = pretty
        self._end = end
        self._verbosity = verbosity
        self._is_quiet = is_quiet
        self._is_explained = False      # an event has said why this connection ends
        self._was_open = False
        #: True once we have decided to end: how the connection ends then is no failure to show.
        self.is_ending = False  # type: bool

    # -- messages --

    def show_message(self, event):
        # type: (Any) -> bool
        """Show a text or binary event; return False if stdout is a closed pipe. Raises OSError."""
        if self._is_quiet:
            return True
        opcode = Opcode.TEXT if event.name == 'text' else Opcode.BINARY
        data = event.text if event.name == 'text' else event.data
        if self._is_json_lines:
            item = make_item('receive', event.received_time, opcode, data)
            line = json.dumps(item, sort_keys=True, ensure_ascii=self._screen.out.is_terminal)
            return self._screen.message(encode_text(u'' + line) + self._end)
        if self._screen.out.is_terminal:
            return self._show(event.received_time, u'<', opcode, data)
        if opcode == Opcode.BINARY:
            return self._screen.message(encode_binary(data, self._binary or 'hex') + self._end)
        return self._screen.message(encode_text(self._format(data)) + self._end)

    def show_sent(self, message):
        # type: (Message) -> None
        """Show what is sent now, on a terminal."""
        if self._is_quiet or not self._screen.is_interactive or self._is_json_lines:
            return
        data = decode_utf8(message.data) if message.opcode == Opcode.TEXT else message.data
        try:
            self._show(time.time(), u'>', message.opcode, data)
        except EnvironmentError:
            pass        # the next message that arrives says so

    def _show(self, when, mark, opcode, data):
        # type: (float, Text, int, Any) -> bool
        colour = 'in' if mark == u'<' else 'out'
        head = u'{} {}'.format(
            self._screen.paint('time', _clock(when)),
            self._screen.paint(colour, u'{} {:<6}'.format(mark, Opcode.to_str(opcode).lower())))
        lines = self._format(data).split(u'\n') if opcode == Opcode.TEXT \
            else [self._describe(data)]
        body = (u'\n' + _MARGIN).join(escape(line) for line in lines)
        return self._screen.show(u'{} {}'.format(head, body))

    def _format(self, text):
        # type: (Text) -> Text
        if not self._pretty:
            return text
        return format_json(text, 2 if self._screen.out.is_terminal else None)

    def _describe(self, data):
        # type: (bytes) -> Text
        if self._binary == 'raw':
            return data.decode('utf-8', 'replace')
        shown = data if self._binary is not None else data[:_SHOWN_BYTES]
        words = encode_binary(shown, self._binary or 'hex').decode('ascii')
        if len(shown) < len(data):
            words += u'... ({} bytes)'.format(len(data))
        return words

    # -- the rest --

    @property
    def is_given_up(self):
        # type: () -> bool
        """True once `give_up` was called."""
        return self._screen.is_given_up

    def give_up(self):
        # type: () -> None
        """Drop what nobody reads; from any thread."""
        self._screen.give_up()

    def complain(self, words):
        # type: (Text) -> None
        """Print an error."""
        self._screen.notice(words, 'error')

    def note(self, words):
        # type: (Text) -> None
        """Print what ``-v`` asks for."""
        self._screen.notice(words, 'time')

    def show_event(self, event):
        # type: (Any) -> None
        """Show what isn't a message, if it is a reason to end, or wanted."""
        if event.name in ('connecting', 'ready'):
            self._is_explained = False
            self._was_open = event.name == 'ready'
        words = None if self.is_ending else _FAILURES.get(event.name, _nothing)(event)
        if words is not None and not (event.name == 'disconnected' and self._is_explained):
            self._is_explained = True
            if event.name == 'disconnected' and not self._was_open:
                words = u'no connection: {}'.format(event.reason)
            self.complain(words)
        words = _NEWS.get(event.name, _nothing)(event)
        if words is not None and (self._screen.is_interactive or self._verbosity):
            self._screen.notice(words)
        if self._verbosity:
            self._show_details(event)

    def _show_details(self, event):
        # type: (Any) -> None
        response = getattr(event, 'response', None)
        if response is not None and event.name != 'disconnected':
            for line in redact_head(response.raw).decode('latin-1').splitlines():
                if line:
                    self.note(u'< ' + line)
        if event.name in ('ping', 'pong'):
            self.note(u'{} < {} {}'.format(
                _clock(event.received_time), event.name,
                event.data.decode('utf-8', 'backslashreplace') if _is_text(event.data)
                else encode_binary(event.data, 'hex').decode('ascii')))


def show_trace(note):
    # type: (Callable[[Text], Any]) -> Callable[[Any], None]
    """Return a tracer for a WebSocket that has the way to the connection noted."""
    def trace(record):
        # type: (Any) -> None
        record = record.redacted()
        stage = record['stage']
        if stage == 'request':
            for line in record['head'].decode('latin-1').splitlines():
                if line:
                    note(u'> ' + line)
        elif stage != 'disconnected':
            note(u'* {}'.format(_STAGES[stage](record) if stage in _STAGES else stage))

    return trace


def _clock(when):
    # type: (float) -> Text
    """Return the local time of day, in milliseconds."""
    return u'{}.{:03.0f}'.format(
        time.strftime('%H:%M:%S', time.localtime(when)), int(when % 1 * 1000))


def _is_text(data):
    # type: (bytes) -> bool
    try:
        decode_utf8(data)
    except UnicodeDecodeError:
        return False
    return True


def _address_words(address):
    # type: (Any) -> Text
    return u'{} port {}'.format(*address[:2]) if isinstance(address, tuple) \
        else u'{}'.format(address)


def _nothing(_event):
    # type: (Any) -> None
    return None


def _close_words(code, reason):
    # type: (int, Text) -> Text
    words = u'without a code' if code == 1005 else u'with {}'.format(code)
    name = Status.to_str(code)
    if not name.startswith('CODE'):
        words += u' ' + name
    return u'{}: {}'.format(words, reason) if reason else words


def _closing(event):
    # type: (Any) -> Optional[Text]
    if event.code in (Status.NORMAL, Status.GOING_AWAY, 1005):
        return None
    return u'the server closed {}'.format(_close_words(event.code, event.reason))


def _rejected(event):
    # type: (Any) -> Text
    """Return the words of a rejection, with the first line of the body, which says why."""
    body = (event.response.body or b'').decode('utf-8', 'replace').strip()
    line = body.split(u'\n')[0].strip()[:200]
    is_html = line.startswith(u'<')
    return u'rejected: {}{}'.format(
        event.reason, u': {}'.format(line) if line and not is_html else u'')


_FAILURES = {
    'connect_fail': lambda event: u'no connection: {}'.format(event.reason),
    'rejected': _rejected,
    'unresponsive': lambda event: u'the server is silent, although it was pinged: ping-timeout',
    'protocol_error': lambda event: u'the server broke the protocol: {}'.format(event.error),
    'closing': _closing,
    'disconnected': lambda event: (
        None if event.graceful else u'disconnected: {}'.format(event.reason)),
    'back_off': lambda event: u'next attempt in {:.1f} s'.format(event.delay),
    'gave_up': lambda event: u'gave up: {}'.format(event.reason),
}  # type: Dict[str, Callable[[Any], Optional[Text]]]

_NEWS = {
    'connecting': lambda event: u'connecting to {}'.format(redact_url(event.url)),
    'redirected': lambda event: u'redirected to {}'.format(redact_url(event.url)),
    'ready': lambda event: u'open{}{}'.format(
        u', subprotocol {}'.format(
            redact_value(u'Sec-WebSocket-Protocol', event.protocol)) if event.protocol else u'',
        u', {}'.format(u', '.join(sorted(event.extensions))) if event.extensions else u''),
    'closing': lambda event: (
        None if _closing(event) else u'the server closed {}'.format(
            _close_words(event.code, event.reason))),
    'closed': lambda event: u'closed {}'.format(_close_words(event.code, event.reason)),
}  # type: Dict[str, Callable[[Any], Optional[Text]]]

_STAGES = {
    'resolve': lambda record: u'{}: {}'.format(record['host'], u', '.join(
        _address_words(address) for address in record['addresses'])),
    'connect': lambda record: u'connected to {}'.format(_address_words(record['address'])),
    'proxy': lambda record: u'through the proxy {}'.format(record['proxy']),
    'tls': lambda record: u'{}, {}{}'.format(
        record['version'], record['cipher'], u', resumed' if record['resumed'] else u''),
    'redirect': lambda record: u'redirect {} to {}'.format(record['status'], record['location']),
}  # type: Dict[str, Callable[[Any], Text]]
