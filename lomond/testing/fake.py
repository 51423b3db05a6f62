"""A WebSocket without a connection: the test gives its events, and looks at what was sent.

Options, states, checks of arguments and errors are those of a real `lomond.websocket.WebSocket`;
what takes the place of its session is in `playing`. It opens no socket and waits for nothing.
"""

from __future__ import absolute_import, division, print_function

from collections import deque
from itertools import chain

from lomond import events
from lomond._compat import TYPE_CHECKING, encode_utf8, text_type
from lomond.events import text_class
from lomond.protocol.connection import SERVER
from lomond.protocol.handshake import Request, rebuild_request
from lomond.testing.matching import check_expected, matches, show, to_message
from lomond.testing.playing import PlayedSession
from lomond.websocket import WebSocket

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Union  # noqa: F401

    from lomond.events import AnyEvent
    from lomond.testing.matching import Expected, Message, Sendable  # noqa: F401

    Script = Iterable[Union[AnyEvent, Sendable]]
    Attempt = Union[Script, Callable[['FakeWebSocket'], Script]]

#: The URL of one that was given none.
URL = u'ws://fake.example/'


class FakeWebSocket(WebSocket):
    """A WebSocket that makes no connection: its events are those that the test gives.

        websocket = FakeWebSocket([u'price 1', u'price 2', Disconnected(u'cut off')])
        for event in websocket: ...
        websocket.assert_sent({'subscribe': 'prices'})

    It goes where a WebSocket goes: into a loop, `lomond.persist.persist`, `lomond.pool.Pool.add`,
    `lomond.aio`, calls such as ``open`` and ``receive``, and a server's handler.

    Each positional argument has the events of one connection: an iterable of events, and of
    messages, which become Text and Binary (a dict or list: its JSON); or a function, called with
    the FakeWebSocket, that returns or yields these while the program sends. What reconnects doesn't
    wait, and ends instead of beginning a connection that has no events; a loop raises
    AssertionError then.

    What the events leave out is added: Ready before the first other event; at the end Disconnected.
    After ``close()`` of the program no further event comes, but Closed and Disconnected. (A
    function runs up to its first event before Ready, as that may be a ConnectFail. To look at what
    the program sends at Ready, it yields a Poll first. At a server's end Ready comes before it.)

    Parameters, by name:

    - ``request``: for a server's handler: what the client has requested, a
      `lomond.server.Request`, or its path as text. It is the attribute ``request``, and the
      ``response`` of Ready.
    - ``url`` and the other options of a WebSocket.

    What a connection would do of its own accord doesn't happen: no Poll, ping, timeout or
    ``max_age``, no fragment, no descriptor or address, no limit of a message's size. ``ping()`` is
    answered at once; a ``send_ping`` isn't. Taking it out of a pool with its connection open raises
    WebSocketUnavailable.
    """

    def __init__(self, *connections, **options):
        # type: (*Attempt, **Any) -> None
        self._scripts = deque(_check_script(script) for script in connections)
        self._number = 0        # of connections that have begun
        request = options.pop('request', None)
        options.setdefault('proxies', {})
        super(FakeWebSocket, self).__init__(options.pop('url', URL), **options)
        #: The messages that were sent: text and bytes.
        self.sent = []  # type: List[Message]
        #: The payloads of the pings, and of the pongs, that were sent.
        self.pings = []  # type: List[bytes]
        self.pongs = []  # type: List[bytes]
        #: The delays after which ``persist`` or a pool would have reconnected, in seconds.
        self.back_offs = []  # type: List[float]
        #: The client's request, where this is a server's end; else None.
        self.request = None  # type: Any
        #: The WSGI environ that a handler of `lomond.wsgi` looks at: a test may set it.
        self.environ = None  # type: Optional[Dict[str, Any]]
        if request is not None:
            if not isinstance(request, Request):
                request = rebuild_request('GET', request, {'Host': 'fake.example'})
            self.request = request
            self._role = SERVER
            self._loop = self.connect()
            # A handler is called once it is open.
            self._events = chain([next(self._loop)], self._loop)

    def assert_sent(self, *expected):
        # type: (*Expected) -> None
        """Raise AssertionError unless exactly these messages were sent, in this order.

        Parameters: each as for `lomond.testing.expect`.
        """
        for index, wanted in enumerate(expected):
            check_expected(wanted)
            if index == len(self.sent):
                raise AssertionError(
                    '{} messages were sent, and not {} as the next one; they are: {}'.format(
                        index, show(wanted), self._show_sent()))
            if not matches(wanted, self.sent[index]):
                raise AssertionError('message {} is {}, not {}; all that were sent: {}'.format(
                    index + 1, show(self.sent[index]), show(wanted), self._show_sent()))
        if len(self.sent) > len(expected):
            raise AssertionError('{} messages were expected, and {} sent: {}'.format(
                len(expected), len(self.sent), self._show_sent()))

    def _show_sent(self):
        # type: () -> str
        return ', '.join(show(message) for message in self.sent) or 'none'

    # -- for drivers --

    def new_session(self, _session_class):
        # type: (Any) -> Any
        """Return what takes the place of a session, whatever its class should be."""
        make = PlayedSession  # type: Any
        return super(FakeWebSocket, self).new_session(make)

    def make_event(self, message, received_time=None):
        # type: (Sendable, Optional[float]) -> Union[events.Text, events.Binary]
        """Return the event of a message, as the options say; its time is now, or another one."""
        message = to_message(message)
        if isinstance(message, bytes):
            return events.Binary(message, received_time)
        made = text_class(self.json_loads, self.text_as_bytes)
        return made(made.from_utf8(encode_utf8(message)), received_time)

    def begin_script(self):
        # type: () -> Optional[Iterator[Any]]
        """Return an iterator over the next connection's events; its session calls this.

        None if there is no connection, as what reconnects is about to end.
        """
        if not self._scripts:
            raise AssertionError(
                'this FakeWebSocket has the events of {} connections, and another one was begun: '
                'give it more, FakeWebSocket(events, more_events)'.format(self._number))
        self._number += 1
        script = self._scripts.popleft()  # type: Any
        if callable(script):
            script = script(self)
            if not _is_script(script):
                raise TypeError('a function given to FakeWebSocket returns or yields events, and '
                                'not {!r}'.format(script))
        return None if script is None else iter(script)

    def attach_machine(self, machine):
        # type: (Any) -> None
        """Let what reconnects this end, if there is nothing to connect to; it calls this."""
        super(FakeWebSocket, self).attach_machine(machine)
        if self._number and not self._scripts:
            self.last_close = object()  # type: Optional[object]
            self._scripts.append(None)      # the attempt that ends it has no events

    def skip_back_off(self, delay):
        # type: (float) -> None
        """Record a delay; what reconnects this calls it, and doesn't wait."""
        self.back_offs.append(delay)

    def _make_calls(self):
        # type: () -> Any
        calls = super(FakeWebSocket, self)._make_calls()
        if self.request is not None:        # as in a handler: it is open already
            calls.adopt(self._loop, self._events, self.session)
        return calls

    def __iter__(self):
        # type: () -> Any
        return self.connect() if self.request is None else self._events


def _is_script(script):
    # type: (Any) -> bool
    return hasattr(script, '__iter__') and not isinstance(script, (bytes, text_type, dict))


def _check_script(script):
    # type: (Any) -> Any
    if callable(script) or _is_script(script):
        for item in script if isinstance(script, (list, tuple)) else ():
            if not isinstance(item, events.Event):
                to_message(item)        # raises
        return script
    raise TypeError('FakeWebSocket takes the events of each connection as a list, or a function '
                    'that returns them, not {!r}: write FakeWebSocket([...])'.format(script))
